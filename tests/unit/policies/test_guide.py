"""The guide says what the code does."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import get_args

from policies.judge import judge
from policies.keys import KEYS
from policies.model import Objective
from policies.plan import Reason
from policies.policy import as_policy, load, names, read_policy
from policies.request import Request
from providers.base import EgressTier, Offer

GUIDE = (Path(__file__).parents[3] / "docs" / "policies.md").read_text(encoding="utf-8")
KINDS = {"flag": "true or false", "money": "number", "number": "number", "evidence": "text"}


def code(language: str) -> str:
    [block] = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    return str(block)


def test_every_key_of_require_is_in_its_table_as_the_code_has_it() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (`.*`) \|$", GUIDE, re.MULTILINE)
    reasons = {key.name: ", ".join(f"`{reason}`" for reason in key.reasons) for key in KEYS.values()}
    assert rows == [(key.name, KINDS.get(key.kind, "list"), key.help, reasons[key.name]) for key in KEYS.values()]
    for key in KEYS.values():
        assert all(f"`{word}`" in GUIDE for word in key.choices)


def test_every_built_in_policy_is_described_as_it_describes_itself() -> None:
    for name in names():
        policy = load(name)
        if policy.source == "builtin":
            assert f"| `{name}` | {policy.description} |" in GUIDE


def test_every_objective_and_every_reason_is_named() -> None:
    for objective in get_args(Objective):
        assert f"| `{objective}` |" in GUIDE
    listed = GUIDE[GUIDE.index("## Reasons") : GUIDE.index("## A policy in Python")]
    assert set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", listed)) == set(get_args(Reason))


def test_the_example_policy_is_one() -> None:
    policy = read_policy(code("toml"), "ours.toml")
    assert policy.require.egress_free
    assert policy.require.max_usd_per_hour == 2
    assert policy.failover.deadline_s == 900


def test_the_example_in_python_is_a_policy_that_ranks() -> None:
    scope: dict[str, type] = {}
    exec(code("python"), scope)
    policy = as_policy(scope["QuietNeighbours"]())
    offers = [
        Offer(
            offer_id=name,
            provider="x",
            gpu="l40",
            usd_per_hour=Decimal(usd),
            vcpus=cpus,
            egress=(EgressTier(),),
            boot_s=0,
        )
        for name, usd, cpus in (("small", "0.5", 8.0), ("large", "0.8", 32.0), ("tiny", "0.1", 4.0))
    ]
    plan = judge(offers, Request.of(gpu="l40"), policy, now=datetime(2026, 11, 22, tzinfo=UTC))
    assert [candidate.offer.offer_id for candidate in plan.candidates] == ["large", "small"]
    assert [drop.reason for drop in plan.dropped] == ["too_small"]
