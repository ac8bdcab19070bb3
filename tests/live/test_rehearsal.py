"""The live tests themselves, without money: the cap holds; at the emulated providers they pass and leave nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from policies.cost import Cost
from policies.plan import Candidate
from providers import registry
from providers.base import Offer
from providers.sandbox import detach
from tests.live.budget import affordable, cap_usd

ROOT = Path(__file__).parents[2]


def _candidate(total: str, deposit: str | None = None) -> Candidate:
    held = None if deposit is None else Decimal(deposit)
    offer = Offer(offer_id=f"{total}+{deposit}", provider="here", gpu="l4", deposit_usd=held)
    parts = dict.fromkeys(Cost.__struct_fields__, Decimal(0)) | {"total_usd": Decimal(total)}
    return Candidate(rank=1, offer=offer, replicas=1, flags=(), cost=Cost(**parts))


def test_the_deposit_counts_and_the_sum_of_all_tries_stays_under_the_cap() -> None:
    dear, cheap, deposit = _candidate("1.50"), _candidate("0.40"), _candidate("0.50", "1.20")
    assert affordable([dear, deposit, cheap], Decimal(2)) == [cheap, dear]
    assert affordable([deposit], Decimal("1.69")) == []
    assert affordable([deposit], Decimal("1.70")) == [deposit]
    assert affordable([dear, dear], Decimal(2)) == [dear]
    assert affordable([], Decimal(2)) == []


def test_the_cap_is_two_dollars_unless_it_is_given_and_must_be_an_amount() -> None:
    assert cap_usd({}) == 2
    assert cap_usd({"ORCH_LIVE_MAX_USD": "0.75"}) == Decimal("0.75")
    for bad in ("much", "0", "-1", "nan", "inf"):
        with pytest.raises(ValueError, match="ORCH_LIVE_MAX_USD"):
            cap_usd({"ORCH_LIVE_MAX_USD": bad})


def _pytest(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/live", *words]
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
    return subprocess.run(argv, capture_output=True, text=True, env={**kept, **env}, cwd=ROOT, timeout=600, check=False)


def test_live_tests_are_off_unless_they_are_asked_for_twice() -> None:
    unmarked = _pytest({"ORCH_LIVE": "1"}, "--collect-only")
    assert "test_rehearsal.py" in unmarked.stdout
    assert "test_live.py" not in unmarked.stdout
    unset = _pytest({}, "-m", "live")
    assert "set ORCH_LIVE=1" in unset.stdout
    assert re.search(r"^\d+ skipped", unset.stdout, re.MULTILINE), unset.stdout
    assert "passed" not in unset.stdout


@pytest.mark.xdist_group("sandbox")
def test_in_the_sandbox_every_provider_passes_the_live_tests_and_nothing_bills_afterwards(tmp_path: Path) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("no ssh on this computer: apt-get install openssh-client")
    env = {"ORCH_LIVE": "1", "ORCH_SANDBOX": "1", "ORCH_LIVE_STATE_DIR": str(tmp_path), "ORCH_LIVE_MAX_USD": "500"}
    # Nothing goes wrong on purpose here, and the clock runs faster: the providers' pace is kept by its time.
    sandbox = detach.ensure(tmp_path, scenario="calm", speed=5.0)
    try:
        done = _pytest(env, "-m", "live")
        assert done.returncode == 0, done.stdout[-6000:]
        assert "skipped" not in done.stdout, done.stdout[-3000:]
        lines = sandbox.bill()["lines"]
    finally:
        detach.stop(tmp_path)
    emulated = {entry.name for entry in registry.entries().values() if entry.emulator}
    assert {line["provider"] for line in lines} == emulated
    assert [line for line in lines if line["closed_at"] is None] == []
