"""Policies in files: found, read, extended, and refused with the place where they are wrong."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import policies.policy
from policies.errors import BadPolicy
from policies.keys import KEYS
from policies.model import Policy, Require, describe
from policies.policy import load, names, read_policy

BUILTIN = {
    "cheapest",
    "cheapest-zero-egress",
    "cheapest-spot",
    "reliable",
    "balanced",
    "eu-compliant",
    "best-value",
    "fastest",
}

FULL = """
description = "everything at once"

[require]
egress_free = true
max_egress_usd_per_gb = 0.05
min_reliability = 0.98
markets = ["specialist", "hyperscaler"]
exclude_markets = ["marketplace-community"]
pricing = ["on-demand", "spot"]
regions = ["eu-*"]
countries = ["de", "NL"]
jurisdictions = ["eu"]
compliance = ["gdpr", "soc2"]
workloads = ["vm"]
providers = ["aws"]
exclude_providers = ["vast"]
max_usd_per_hour = 1
max_total_usd = 99.5
min_vcpus = 8
min_memory_gib = 32.5
max_price_age_s = 600
evidence = "contract"

[minimize]
objective = "hourly-price"

[failover]
deadline_s = 300
max_spend_usd = 0.5
"""


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str, str], str]:
    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_every_built_in_policy_is_there_and_says_what_it_is() -> None:
    assert set(names()) >= BUILTIN
    for name in BUILTIN:
        policy = load(name)
        assert (policy.name, policy.source) == (name, "builtin")
        assert policy.description.endswith(".")
        assert "\n" not in policy.description


def test_a_file_may_state_every_key() -> None:
    policy = read_policy(FULL, "full.toml")
    assert set(policy.require.stated()) == set(KEYS)
    assert policy.require.max_egress_usd_per_gb == Decimal("0.05")
    assert policy.require.countries == ("DE", "NL")
    assert policy.require.min_vcpus == 8.0
    assert policy.minimize.objective == "hourly-price"
    assert (policy.failover.deadline_s, policy.failover.max_spend_usd) == (300.0, Decimal("0.5"))
    assert describe(policy)["require"]["max_total_usd"] == "99.5"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "[require]\n\negress_fre = true\n",
            "p.toml:3: 'egress_fre' is no key of [require]",
            "did you mean egress_free?",
        ),
        ("egress_free = true\n", "p.toml:1: 'egress_free' is no key of a policy", "it belongs under [require]"),
        ("[require]\nobjective = 'boot-time'\n", "p.toml:2: 'objective' is no key of [require]", "under [minimize]"),
        ("[requires]\n", "p.toml:1: 'requires' is no key of a policy", "did you mean require?"),
        ("require = 5\n", "p.toml:1: require: must be a table", "write [require]"),
        ("[require]\negress_free = 1\n", "p.toml:2: egress_free: 1 is a number", "true or false"),
        ("[require]\nmin_reliability = '0.9'\n", "p.toml:2: min_reliability: '0.9' is text", "it must be a number"),
        ("[require]\nmin_reliability = 98\n", "p.toml:2: min_reliability: 98 is not between 0 and 1", None),
        ("[require]\nmin_reliability = nan\n", "p.toml:2: min_reliability: ", None),
        ("[require]\nmin_vcpus = true\n", "p.toml:2: min_vcpus: True is true or false", "it must be a number"),
        ("[require]\nmax_usd_per_hour = -1\n", "p.toml:2: max_usd_per_hour: -1 is not between", None),
        ("[require]\nmarkets = 'specialist'\n", "p.toml:2: markets: 'specialist' is text", "it must be a list"),
        ("[require]\nmarkets = []\n", "p.toml:2: markets: the list is empty", "leave the key out"),
        ("[require]\nmarkets = ['special']\n", "p.toml:2: markets: 'special' is not one of its words", "specialist"),
        ("[require]\nmarkets = [1]\n", "p.toml:2: markets: 1 is a number", "it must be text"),
        ("[require]\ncountries = ['Germany']\n", "p.toml:2: countries: 'Germany' is not a two-letter code", "ISO"),
        ("[require]\nevidence = 'api'\n", "p.toml:2: evidence: 'api' is not one of its words", "claim"),
        ("[require]\nevidence = 'claim'\n", "p.toml: evidence: nothing is required", "require egress_free"),
        ("[minimize]\nobjective = 'cost'\n", "p.toml:2: objective: 'cost' is not one of its words", "expected-cost"),
        ("[failover]\ndeadline_s = '5m'\n", "p.toml:2: deadline_s: '5m' is text", "it must be a number"),
        ("[failover]\ndeadline_s = 0\n", "p.toml:2: deadline_s: 0 is too little", None),
        ("[failover]\nmax_spend = 1\n", "p.toml:2: 'max_spend' is no key of [failover]", "max_spend_usd"),
        ("description = 5\n", "p.toml:1: description: must be text", None),
        ("extends = 'cheapest'\n", "p.toml:1: extends: must be a list", "extends = ["),
        ("\nextends = ['cheepest']\n", "p.toml:2: there is no policy 'cheepest'", "did you mean cheapest"),
        ("[require\n", "p.toml:1: not TOML", None),
        ("[require]\negress_free = yes\n", "p.toml:2: not TOML", None),
        ("a = [1,\n", "p.toml:1: not TOML", None),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_line_and_suggestion(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(BadPolicy) as error:
        read_policy(text, "p.toml")
    assert str(error.value).startswith(message)
    assert hint is None or hint in (error.value.hint or "")


def test_a_dotted_key_is_found_in_its_line() -> None:
    with pytest.raises(BadPolicy, match=r"^p\.toml:2: "):
        read_policy("description = ''\nrequire.min_reliability = 2\n", "p.toml")


def test_an_unknown_policy_names_the_nearest() -> None:
    with pytest.raises(BadPolicy) as error:
        load("cheapest-zero-egres")
    assert "did you mean cheapest-zero-egress" in (error.value.hint or "")


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadPolicy, match=r"none\.toml: cannot be read: No such file"):
        load(str(tmp_path / "none.toml"))
    (tmp_path / "latin.toml").write_bytes(b"description = '\xe9'\n")
    with pytest.raises(BadPolicy, match="not UTF-8"):
        load(str(tmp_path / "latin.toml"))


def test_a_file_extends_policies_by_name_and_by_path(save: Callable[[str, str], str]) -> None:
    save("team.toml", "[require]\nproviders = ['aws', 'lambda']\n[failover]\nmax_spend_usd = 3\n")
    path = save("mine.toml", "extends = ['reliable', './team.toml']\n[require]\nmin_reliability = 0.9\n")
    policy = load(path)
    assert policy.require.stated() == {
        "min_reliability": 0.9,
        "exclude_markets": ("marketplace-community",),
        "providers": ("aws", "lambda"),
    }
    assert (policy.minimize.objective, policy.failover.max_spend_usd) == ("expected-cost", Decimal(3))
    assert (policy.source, policy.name) == ("file", path)


def test_what_two_parents_require_is_combined_by_the_stricter(save: Callable[[str, str], str]) -> None:
    save("a.toml", "[require]\nproviders = ['aws', 'lambda']\nmax_usd_per_hour = 2\n")
    save("b.toml", "[require]\nproviders = ['lambda', 'gcp']\nmax_usd_per_hour = 3\ncompliance = ['gdpr']\n")
    policy = load(save("c.toml", "extends = ['./a.toml', './b.toml', 'balanced', 'reliable', 'fastest']\n"))
    assert policy.require.providers == ("lambda",)
    assert policy.require.max_usd_per_hour == 2
    assert policy.require.min_reliability == 0.98
    assert policy.require.compliance == ("gdpr",)
    assert policy.minimize.objective == "boot-time"


def test_policies_that_extend_each_other_are_refused_with_the_circle(save: Callable[[str, str], str]) -> None:
    save("b.toml", "\nextends = ['./a.toml']\n")
    path = save("a.toml", "extends = ['./b.toml']\n")
    with pytest.raises(
        BadPolicy, match=r"b\.toml:2: extends: the policies extend each other: .*a\.toml -> .*b\.toml -> "
    ):
        load(path)
    with pytest.raises(BadPolicy, match="extend each other"):
        load(save("self.toml", "extends = ['./self.toml']\n"))


def test_an_error_in_a_parent_names_the_parent(save: Callable[[str, str], str]) -> None:
    save("bad.toml", "[require]\n\nmarkets = 3\n")
    with pytest.raises(BadPolicy, match=r"bad\.toml:3: markets"):
        load(save("child.toml", "extends = ['./bad.toml']\n"))


class Cautious:
    """A policy as an outside package would write one."""

    name = "cautious"
    description = "Only what was read a minute ago."
    require = Require(max_price_age_s=60.0)
    minimize = load("fastest").minimize
    failover = load("fastest").failover

    def score(self, offer: Any, cost: Any) -> Any:
        return offer.boot_s


def test_an_entry_point_brings_a_policy_that_files_may_extend(
    monkeypatch: pytest.MonkeyPatch, save: Callable[[str, str], str]
) -> None:
    class Point:
        name = "cautious"

        def load(self) -> Any:
            return Cautious

    monkeypatch.setattr(policies.policy, "_entry_points", lambda: {"cautious": Point()})
    assert "cautious" in names()
    policy = load("cautious")
    assert isinstance(policy, Policy)
    assert (policy.require.max_price_age_s, policy.source) == (60.0, "entry point")
    assert policy.score is not None
    child = load(save("child.toml", "extends = ['cautious', 'reliable']\n"))
    assert (child.require.max_price_age_s, child.require.min_reliability) == (60.0, 0.98)
    assert child.score is not None
    monkeypatch.setattr(
        policies.policy, "_entry_points", lambda: {"odd": EntryPoint("odd", "math:pi", "orch.policies")}
    )
    with pytest.raises(BadPolicy, match="the object behind policy 'odd' is no policy"):
        load("odd")
