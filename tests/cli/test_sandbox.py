"""The whole way in the sandbox: real adapters, real HTTP, real SSH, real records, one engine a command."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestrator.cli._group import cli

pytestmark = [
    pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh client here"),
    pytest.mark.skipif(importlib.util.find_spec("asyncssh") is None, reason="the sandbox extra is not installed"),
]
CODE = "from orchestrator.cli import main; main()"


class Orch:
    """Runs `orch` with one state folder, without keys and without a terminal."""

    def __init__(self, folder: Path) -> None:
        keys = ("_API_KEY", "_TOKEN")
        kept = {k: v for k, v in os.environ.items() if not k.endswith(keys) and not k.startswith("ORCH_")}
        # None takes a variable away from `CliRunner`'s environment; a process of its own gets what is left.
        absent = dict.fromkeys(os.environ.keys() - kept.keys())
        given = {"ORCH_STATE_DIR": str(folder / "state"), "HOME": str(folder), "NO_COLOR": "1"}
        self.changes: dict[str, str | None] = absent | given
        self.env = kept | given
        self.folder = folder

    def __call__(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", CODE, *words],
            capture_output=True,
            text=True,
            env=self.env | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *words: str, code: int = 0) -> Any:
        """The document of a command, run in this process, which saves a second of imports each."""
        result = CliRunner(env=self.changes).invoke(cli, [*words, "--json"])
        assert result.exit_code == code, (words, result.exit_code, result.stdout, result.stderr)
        return json.loads(result.stdout)


@pytest.fixture(scope="module")
def orch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orch]:
    run = Orch(tmp_path_factory.mktemp("sandbox"))
    yield run
    run("sandbox", "stop")


def test_a_machine_is_planned_rented_used_and_ended_by_separate_commands(orch: Orch) -> None:
    plan = orch.json("--sandbox", "plan", "--gpu", "l40")
    assert plan["candidates"]
    [lease] = orch.json("--sandbox", "up", "--gpu", "l40", "--provider", "runpod", "--name", "trip")["leases"]
    assert (lease["name"], lease["state"], lease["gpu"]) == ("trip", "running", "l40")

    assert [row["name"] for row in orch.json("--sandbox", "ps")["leases"]] == ["trip"]
    assert "NVIDIA L40" in orch("--sandbox", "exec", "trip", "--", "nvidia-smi", "-L").stdout
    orch("--sandbox", "exec", "trip", "sh", "-c", "exit 7", code=7)
    said = orch("--sandbox", "exec", "trip", "--", "printf", "%s|", "a b", "$HOME", "*").stdout
    assert said == "a b|$HOME|*|"
    argv = orch.json("--sandbox", "ssh", "trip")["argv"]
    through_ssh = subprocess.run([*argv, "echo", "hello"], capture_output=True, text=True, timeout=60)
    assert through_ssh.stdout.strip() == "hello"

    status = orch.json("sandbox", "status")
    assert [row["billing"] for row in status["instances"] if row["alive"]] == [True]

    [ended] = orch.json("--sandbox", "down", "trip")["leases"]
    assert ended["state"] == "ended"
    assert ended["receipt"]["evidence"]
    assert all(line["closed_at"] for line in orch.json("sandbox", "bill")["lines"])
    assert orch.json("--sandbox", "ps") == {"leases": []}
    assert orch.json("--sandbox", "gc") == {"strays": []}
    kinds = [event["kind"] for event in orch.json("--sandbox", "events", "trip")["events"]]
    assert kinds[0] == "lease-created"
    assert "running" in kinds
    assert kinds[-1] == "lease-ended"
    assert "receipt" in orch("--sandbox", "show", "trip").stdout.lower()


def test_offers_that_were_saved_give_the_plan_of_the_market(orch: Orch) -> None:
    market = orch.folder / "market.json"
    market.write_text(json.dumps(orch.json("--sandbox", "offers", "--all")))
    live = orch.json("--sandbox", "plan", "--gpu", "l40")
    saved = orch.json("plan", "--offers", str(market), "--gpu", "l40", "--now", live["made_at"])
    offers = [{row["offer"]["offer_id"] for row in plan["candidates"]} for plan in (live, saved)]
    assert offers[0] == offers[1]


def test_a_fault_is_added_shown_and_cleared(orch: Orch) -> None:
    orch.json("--sandbox", "ps")
    found = orch.json("sandbox", "fault", "sold_out", "runpod", "--times", "2", "--verb", "launch")
    waiting = found["waiting"][-1]
    assert (waiting["kind"], waiting["provider"], waiting["times"], waiting["verb"]) == (
        "sold_out",
        "runpod",
        2,
        "launch",
    )
    slow = orch.json("sandbox", "fault", "slow", "--arg", "seconds=0.5")["waiting"][-1]
    assert slow["args"] == {"seconds": 0.5}
    assert "waiting: sold_out at runpod in launch, 2 times" in orch("sandbox", "fault").stdout
    assert orch.json("sandbox", "fault", "--clear")["waiting"] == []


def test_an_unknown_fault_exits_with_2_and_names_the_menu(orch: Orch) -> None:
    orch.json("--sandbox", "ps")
    assert "sold_out" in orch("sandbox", "fault", "sold_outt", code=2).stderr
    assert "has no value" in orch("sandbox", "fault", "slow", "--arg", "seconds", code=2).stderr


def test_without_a_sandbox_its_commands_say_so(tmp_path: Path) -> None:
    orch = Orch(tmp_path)
    assert orch.json("sandbox", "status") == {"running": False}
    assert orch.json("sandbox", "stop") == {"stopped": False, "forgotten": False}
    error = orch.json("sandbox", "bill", code=5)["error"]
    assert (error["type"], error["message"]) == ("ConfigError", "no sandbox runs")


def test_serving_in_the_foreground_prints_the_environment_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    orch = Orch(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "sandbox", "serve", "--speed", "10"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=orch.env | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=tmp_path,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            lines = [process.stdout.readline()]
            speed = orch.json("sandbox", "status")["speed"]
        finally:
            process.send_signal(signal.SIGINT)
        lines += process.stdout.readlines()
        err = process.stderr.read()
    assert process.returncode == 0
    assert speed == 10
    assert all(line.startswith("export ") for line in lines)
    assert any("RUNPOD_API_KEY=" in line for line in lines)
    assert "serving on http://127.0.0.1:" in err
    assert "the sandbox has ended; its state is kept" in err


def test_real_providers_are_not_needed_for_the_sandbox_and_are_missed_without_it(tmp_path: Path) -> None:
    error = Orch(tmp_path).json("up", "--gpu", "l40", code=5)["error"]
    assert error["type"] == "ConfigError"
    assert "--sandbox" in error["hint"]
