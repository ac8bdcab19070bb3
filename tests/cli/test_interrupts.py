"""Ctrl-C: the first one ends what was begun, the second stops waiting, and both say what is the case."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# An engine whose `up` takes for ever, ends what it began when it is cancelled (which takes `undo_s` real seconds), and
# tells in a file how far it came.
ENGINE = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from orchestrator.cli._app import App
from orchestrator.cli._group import cli
from orchestrator.errors import Interrupted
from policies.judge import judge
from policies.policy import load
from policies.request import Request
from providers.base import Offer
from providers.env import SystemEnv
from decimal import Decimal

log, undo_s, words = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]

def tell(text):
    with log.open("a") as file:
        file.write(text + "\\n")

class Engine:
    sandbox = True
    env = SystemEnv()
    async def __aenter__(self): return self
    async def __aexit__(self, *error): tell("closed")
    async def resume(self, limit_s=None, on_event=None): return []
    async def plan(self, request):
        offer = Offer(offer_id="a", provider="p", gpu="l40", usd_per_hour=Decimal(1), available=True)
        return judge([offer], request, load("cheapest"), now=datetime.now(UTC))
    async def leases(self, everything=False):
        tell("begun")
        await asyncio.sleep(60)
    async def up(self, request, plan=None, on_event=None):
        tell("begun")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            tell("ending")
            try:
                if undo_s < 0:
                    while True:
                        try:
                            await asyncio.sleep(60)
                        except asyncio.CancelledError:
                            tell("deaf")
                await asyncio.sleep(undo_s)
            except asyncio.CancelledError:
                tell("saved")
                raise Interrupted("stopped twice: it may still be running", hint="orch gc") from None
            tell("ended")
            raise Interrupted("stopped; what was begun is ended, nothing bills") from None

cli.main(words, obj=App(factory=lambda **k: Engine(), hard_exit=True))
"""


class Command:
    """A command line in a process of its own, and the file in which its engine tells how far it came."""

    def __init__(self, folder: Path, undo_s: float, *words: str) -> None:
        self.log = folder / "log"
        self.log.touch()
        self.process = subprocess.Popen(
            [sys.executable, "-c", ENGINE, str(self.log), str(undo_s), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, word: str) -> None:
        """Until the engine tells *word*; a command that ends before fails the test."""
        while word not in self.log.read_text().split():
            if self.process.poll() is not None:
                pytest.fail(f"it ended before {word!r}: {self.process.communicate()[1]}")
            try:
                self.process.wait(0.02)
            except subprocess.TimeoutExpired:
                continue

    def end(self) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err

    @property
    def told(self) -> list[str]:
        return self.log.read_text().split()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_one_ends_what_was_begun(number: signal.Signals, tmp_path: Path) -> None:
    command = Command(tmp_path, 0.05, "up", "--gpu", "l40", "--json")
    command.wait_for("begun")
    command.process.send_signal(number)
    code, out, err = command.end()
    assert code == 130
    assert json.loads(out)["error"]["type"] == "Interrupted"
    assert "stopping: ending what was begun; Ctrl-C again stops waiting for that" in err
    assert "error: stopped; what was begun is ended, nothing bills" in err
    assert command.told == ["begun", "ending", "ended", "closed"]


def test_the_second_one_stops_waiting_and_says_how_to_check(tmp_path: Path) -> None:
    command = Command(tmp_path, 60, "up", "--gpu", "l40")
    command.wait_for("begun")
    command.process.send_signal(signal.SIGINT)
    command.wait_for("ending")
    command.process.send_signal(signal.SIGINT)
    code, out, err = command.end()
    assert (code, out) == (130, "")
    assert "error: stopped twice: it may still be running" in err
    assert "hint: orch gc" in err
    assert command.told == ["begun", "ending", "saved", "closed"]


@pytest.mark.parametrize("times", [2, 3])
def test_an_engine_that_hangs_is_left_all_the_same(times: int, tmp_path: Path) -> None:
    command = Command(tmp_path, -1, "up", "--gpu", "l40", "--json")
    command.wait_for("begun")
    command.process.send_signal(signal.SIGINT)
    command.wait_for("ending")
    command.process.send_signal(signal.SIGINT)
    command.wait_for("deaf")
    if times == 3:
        command.process.send_signal(signal.SIGINT)
    code, out, err = command.end()
    assert code == 130
    error: dict[str, Any] = json.loads(out)["error"]
    assert error["message"] == "stopped without waiting: what was begun may still be running and billing"
    assert error["hint"] == "the next orch command ends it; check with `orch ps` and `orch gc`"
    assert "Traceback" not in err


def test_a_command_that_only_looks_is_stopped_at_once(tmp_path: Path) -> None:
    command = Command(tmp_path, 0, "ps")
    command.wait_for("begun")
    command.process.send_signal(signal.SIGINT)
    code, out, err = command.end()
    assert (code, out) == (130, "")
    assert err == "error: stopped; nothing was begun\n"
