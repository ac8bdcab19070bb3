"""`--require KEY=VALUE`: it tightens, it never loosens."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.errors import BadPolicy
from policies.keys import DEFAULT_PRICING, KEYS, common, glob
from policies.policy import load, read_policy, tighten


@pytest.mark.parametrize(
    ("pair", "field", "value"),
    [
        ("egress_free=true", "egress_free", True),
        ("egress-free=TRUE", "egress_free", True),
        ("max_egress_usd_per_gb=0.05", "max_egress_usd_per_gb", Decimal("0.05")),
        ("min_reliability=0.98", "min_reliability", 0.98),
        ("markets=specialist, own", "markets", ("specialist", "own")),
        ("countries=de,uk", "countries", ("DE", "GB")),
        ("compliance=SOC2", "compliance", ("soc2",)),
        ("max_price_age_s=10m", "max_price_age_s", 600.0),
        ("max_price_age_s=90", "max_price_age_s", 90.0),
        ("min_memory_gib=64", "min_memory_gib", 64.0),
    ],
)
def test_a_requirement_is_added(pair: str, field: str, value: object) -> None:
    assert getattr(tighten(load("cheapest"), [pair]).require, field) == value


@pytest.mark.parametrize(
    ("old", "pair", "value"),
    [
        ("egress_free = true", "egress_free=false", True),
        ("min_reliability = 0.98", "min_reliability=0.5", 0.98),
        ("min_reliability = 0.98", "min_reliability=0.99", 0.99),
        ("max_usd_per_hour = 1", "max_usd_per_hour=2", Decimal(1)),
        ("max_usd_per_hour = 1", "max_usd_per_hour=0.5", Decimal("0.5")),
        ("min_vcpus = 8", "min_vcpus=4", 8.0),
        ("markets = ['specialist', 'own']", "markets=own,hyperscaler", ("own",)),
        ("markets = ['specialist']", "markets=own", ()),
        ("exclude_markets = ['own']", "exclude_markets=specialist", ("own", "specialist")),
        ("compliance = ['gdpr']", "compliance=soc2", ("gdpr", "soc2")),
        ("compliance = ['gdpr']\nevidence = 'contract'", "evidence=claim", "contract"),
        ("compliance = ['gdpr']\nevidence = 'claim'", "evidence=contract", "contract"),
        ("regions = ['eu-*']", "regions=eu-west-*,us-east-1", ("eu-west-*",)),
        ("regions = ['eu-west-1']", "regions=eu-*", ("eu-west-1",)),
        ("regions = ['eu-west-1']", "regions=us-*", ()),
        ("pricing = ['spot', 'on-demand']", "pricing=spot", ("spot",)),
    ],
)
def test_of_two_values_the_stricter_stays(old: str, pair: str, value: object) -> None:
    policy = read_policy(f"[require]\n{old}\n", "p.toml")
    field = pair.partition("=")[0]
    assert getattr(tighten(policy, [pair]).require, field) == value


def test_spot_cannot_be_let_in_by_tightening() -> None:
    assert tighten(load("cheapest"), ["pricing=spot"]).require.pricing == ()
    assert tighten(load("cheapest"), ["pricing=spot,reserved"]).require.pricing == ("reserved",)
    assert "spot" not in DEFAULT_PRICING


def test_several_requirements_add_up_and_twice_is_once() -> None:
    pairs = ["min_vcpus=4", "min_vcpus=8", "providers=aws,gcp", "providers=gcp"]
    once = tighten(load("reliable"), pairs)
    assert (once.require.min_vcpus, once.require.providers) == (8.0, ("gcp",))
    assert tighten(once, pairs) == once
    assert (once.name, once.minimize) == ("reliable", load("reliable").minimize)


@pytest.mark.parametrize(
    ("pair", "message", "hint"),
    [
        ("egress_fre=true", "'egress_fre' is no requirement", "did you mean egress_free?"),
        ("=true", "'' is no requirement", "known are"),
        ("egress_free", "egress_free: no value", "write egress_free=true"),
        ("min_vcpus", "min_vcpus: no value", "write min_vcpus=VALUE"),
        ("egress_free=yes", "egress_free: 'yes' is text", "true or false"),
        ("min_reliability=high", "min_reliability: 'high' is not a number", None),
        ("min_reliability=2", "min_reliability: 2 is not between", None),
        ("max_usd_per_hour=nan", "max_usd_per_hour: 'nan' is not a number", None),
        ("markets=", "markets: the list is empty", None),
        ("markets=special", "markets: 'special' is not one", "did you mean specialist?"),
        ("evidence=claim", "evidence: nothing is required", "egress_free"),
        ("max_price_age_s=5w", "max_price_age_s: 'w' is not a unit of time", None),
    ],
)
def test_a_requirement_that_cannot_be_read_is_refused(pair: str, message: str, hint: str | None) -> None:
    with pytest.raises(BadPolicy) as error:
        tighten(load("cheapest"), [pair])
    assert str(error.value).startswith(message)
    assert hint is None or hint in (error.value.hint or "")


PATTERNS = st.lists(st.text(alphabet="ab*", min_size=1, max_size=4), min_size=1, max_size=3)


@given(old=PATTERNS, new=PATTERNS, name=st.text(alphabet="ab", max_size=6))
@settings(deadline=None)
def test_patterns_in_common_never_match_what_either_list_does_not(old: list[str], new: list[str], name: str) -> None:
    if any(glob(word)(name) for word in common(old, new)):
        assert any(glob(word)(name) for word in old)
        assert any(glob(word)(name) for word in new)


def test_a_pattern_takes_everything_but_the_star_literally() -> None:
    assert glob("eu-*")("eu-west-1")
    assert not glob("eu-?est")("eu-west")
    assert not glob("eu.west")("eu-west")
    assert glob("US (Texas) [1]")("us (texas) [1]")


def test_the_table_of_keys_is_whole() -> None:
    for name, key in KEYS.items():
        assert key.name == name
        assert key.help
        assert key.reasons
