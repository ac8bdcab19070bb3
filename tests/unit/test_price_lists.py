"""`orch plan --offers` on published price lists, where they lie beside the project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from policies.judge import judge
from policies.policy import load
from policies.request import Request
from providers.base import Offer
from tests.bench import price_lists

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("ORCH_DATA_DIR") or ROOT.parent / "shared" / "data")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def market() -> list[Offer]:
    if not DATA.is_dir():
        pytest.skip("published price lists are not there: set ORCH_DATA_DIR")
    return price_lists.read_folder(DATA)


def test_a_zero_or_missing_price_is_unknown() -> None:
    assert [price_lists.money(text) for text in ("0.00", "", None, "-1", "n/a", "NaN")] == [None] * 6
    assert price_lists.money("0.76") == Decimal("0.76")


def test_every_table_is_read_and_no_price_is_zero(market: list[Offer]) -> None:
    assert len(market) > 1500
    assert {offer.provider for offer in market} >= {"aws", "azure", "lambda", "runpod", "vast", "shadeform"}
    assert all(offer.usd_per_hour is None or offer.usd_per_hour > 0 for offer in market)


def test_aws_azure_and_lambda_rent_no_l40(market: list[Offer]) -> None:
    assert {offer.provider for offer in market if offer.gpu == "l40"} & {"aws", "azure", "lambda"} == set()


def test_a_plan_on_real_lists_judges_every_offer(market: list[Offer]) -> None:
    plan = judge(market, Request.of(gpu="l40"), load("cheapest"), now=NOW)
    assert plan.candidates
    assert len(plan.candidates) + len(plan.dropped) == len(market)
    assert {candidate.offer.gpu for candidate in plan.candidates} == {"l40"}
    strict = judge(market, Request.of(gpu="l40"), load("cheapest-zero-egress"), now=NOW)
    # No table states egress, so nothing can be promised to be free.
    assert not strict.candidates
    assert "egress_unknown" in {drop.reason for drop in strict.dropped}


def test_the_command_line_plans_on_a_saved_market(market: list[Offer], tmp_path: Path) -> None:
    file = tmp_path / "market.jsonl"
    file.write_bytes(b"".join(msgspec.json.encode(offer) + b"\n" for offer in market))
    argv = [sys.executable, "-m", "orchestrator", "plan", "--offers", str(file), "--now", "2026-11-22T12:00:00Z"]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*argv, "--gpu", "l40s", "--json"], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["made_at"].startswith("2026-11-22T12:00:00")
    totals = [Decimal(candidate["cost"]["total_usd"]) for candidate in document["candidates"]]
    assert totals == sorted(totals)
    assert list(tmp_path.iterdir()) == [file], "planning on a file leaves nothing behind"
