"""Scenario files and seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from providers.sandbox import scenario
from providers.sandbox.faults import SEMANTIC, TRANSPORT, Faults

EMULATORS = {"fluence": SEMANTIC, "vast": SEMANTIC, "runpod": SEMANTIC}


def test_every_scenario_that_comes_along_is_valid_and_described() -> None:
    found = scenario.builtin()
    assert {"default", "calm"} <= set(found)
    for name, description in found.items():
        assert description, name
        assert (scenario.load(name, EMULATORS) == []) == (name == "calm")


def test_by_default_the_cheapest_l40s_are_sold_out_for_ever_and_nothing_else_is() -> None:
    faults = Faults()
    faults.waiting = scenario.load("default", EMULATORS)
    for _ in range(20):
        assert faults.take("runpod", "sold_out", verb="launch", subject="NVIDIA L40 COMMUNITY orch-x")
        assert faults.take("vast", "sold_out", verb="launch", subject="L40 31415984 on-demand Montreal, CA 40117")
        assert faults.take("vast", "sold_out", verb="launch", subject="L40 31415926 on-demand Frankfurt, DE 40101")
    for provider, subject in (
        ("vast", "L40 31416071 on-demand Amsterdam, NL 40155"),
        ("runpod", "NVIDIA L40 SECURE"),
        ("runpod", "NVIDIA L40S COMMUNITY"),
        ("fluence", "NVIDIA L40 COMMUNITY"),
    ):
        assert faults.take(provider, "sold_out", verb="launch", subject=subject) is None


def test_a_file_is_read_with_all_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        '[[fault]]\nkind = "rate_limit"\nprovider = "runpod"\nverb = "offers"\nsubject = "L40"\ntimes = 3\n'
        "args = { retry_after = 2 }\n"
    )
    [fault] = scenario.load(str(file), EMULATORS)
    assert (fault.kind, fault.provider, fault.verb, fault.subject) == ("rate_limit", "runpod", "offers", "L40")
    assert (fault.times, fault.args) == (3, {"retry_after": 2})


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('[[fault]]\nkind = "sold_out"\n\n[[fault]]\nprovider = "*"\nkind = "soldout"\n', 6, "'sold_out'"),
        ('[[fault]]\nkind = "lost"\ntime = 3\n', 3, "'times'"),
        ('[[fault]]\nkind = "lost"\ntimes = "3"\n', 3, "int"),
        ('[[fault]]\nkind = "lost"\ntimes = true\n', 3, "int"),
        ('[[fault]]\nkind = "lost"\ntimes = -2\n', 3, "-1"),
        ('[[fault]]\nkind = "lost"\nverb = "lunch"\n', 3, "'launch'"),
        ('[[fault]]\nkind = "lost"\nprovider = "runpot"\n', 3, "'runpod'"),
        ("\n[[fault]]\ntimes = 1\n", 2, "needs a kind"),
        ('[[faults]]\nkind = "lost"\n', 1, "'fault'"),
        ('[fault]\nkind = "lost"\n', 1, "[[fault]]"),
    ],
)
def test_mistakes_are_told_with_file_line_and_a_hint(text: str, line: int, words: str) -> None:
    with pytest.raises(scenario.ScenarioError) as caught:
        scenario.parse(text, "x.toml", {"*", *EMULATORS})
    assert str(caught.value).startswith(f"x.toml:{line}: ")
    assert words in str(caught.value)


def test_broken_toml_is_told_with_its_line() -> None:
    with pytest.raises(scenario.ScenarioError, match=r"x\.toml: .*line 2"):
        scenario.parse("[[fault]]\nkind = \n", "x.toml", {"*"})


def test_an_unknown_name_is_told_with_the_closest_one() -> None:
    with pytest.raises(scenario.ScenarioError, match="did you mean 'default'"):
        scenario.load("defualt", EMULATORS)
    with pytest.raises(scenario.ScenarioError, match="no scenario"):
        scenario.load("./nowhere.toml", EMULATORS)


def test_a_seed_always_gives_the_same_faults_and_every_one_ends() -> None:
    seeds = [scenario.load(f"random:{seed}", EMULATORS) for seed in range(30)]
    assert seeds == [scenario.load(f"random:{seed}", EMULATORS) for seed in range(30)]
    assert len({repr(faults) for faults in seeds}) > 20
    kinds = {fault.kind for faults in seeds for fault in faults}
    assert kinds & SEMANTIC
    assert kinds & TRANSPORT
    assert all(fault.times > 0 for faults in seeds for fault in faults)


def test_a_seed_asks_only_for_what_the_provider_can_have() -> None:
    only = {"tiny": frozenset(["sold_out"])}
    for seed in range(30):
        for fault in scenario.load(f"random:{seed}", only):
            assert fault.provider == "tiny"
            assert fault.kind in TRANSPORT | {"sold_out"}


def test_only_paths_are_made_absolute() -> None:
    assert scenario.absolute("calm") == "calm"
    assert scenario.absolute("random:7") == "random:7"
    assert scenario.absolute("mine.toml") == str(Path("mine.toml").absolute())
