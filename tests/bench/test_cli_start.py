"""How long `orch` takes to start, and how much memory, against the budgets of the design.

Run with ``pytest tests/bench/test_cli_start.py --benchmark-enable``. Nothing is asserted about speed: the budget and
the memory stand in the report's ``extra_info``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from providers.base import Offer

RUN = "from orchestrator.cli import main; main()"
# Starts the command and writes the most memory it held (KiB on Linux) as the last line of stderr.
MEASURE = (
    "import resource, subprocess, sys\n"
    "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)\n"
    "sys.exit(code)"
)


def _start(*words: str, cwd: Path, code: int = 0) -> None:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HOME": str(cwd)}
    done = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, env=env, cwd=cwd)
    assert done.returncode == code, done.stderr


def _peak_mib(*words: str) -> float:
    command = [sys.executable, "-c", MEASURE, sys.executable, "-c", RUN, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stderr.splitlines()[-1]) / 1024


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("up", "--help")], ids=" ".join)
def test_start_without_work(words: tuple[str, ...], benchmark: Any, tmp_path: Path) -> None:
    benchmark.extra_info |= {"budget_ms": 100, "budget_mib": 40, "peak_mib": round(_peak_mib(*words), 1)}
    benchmark.pedantic(_start, args=words, kwargs={"cwd": tmp_path}, rounds=10, warmup_rounds=1)


def test_plan_on_a_small_saved_market(benchmark: Any, tmp_path: Path) -> None:
    offers = [Offer(offer_id=str(n), provider="p", gpu="l40", available=True) for n in range(100)]
    (tmp_path / "market.json").write_bytes(msgspec.json.encode(offers))
    words = ("plan", "--offers", "market.json", "--gpu", "l40", "--now", "2026-11-22T12:00:00Z", "--json")
    benchmark.extra_info["offers"] = len(offers)
    benchmark.pedantic(_start, args=words, kwargs={"cwd": tmp_path, "code": 3}, rounds=5, warmup_rounds=1)


def test_completing_a_word(benchmark: Any, tmp_path: Path) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "_ORCH_COMPLETE": "bash_complete",
        "COMP_WORDS": "orch up --gpu h1",
        "COMP_CWORD": "3",
    }

    def complete() -> bytes:
        return subprocess.run([sys.executable, "-c", RUN], capture_output=True, env=env, cwd=tmp_path).stdout

    assert b"h100" in benchmark.pedantic(complete, rounds=5, warmup_rounds=1)
