"""The real prefect package in local mode: a flow rents, runs, fetches, returns, and however it ends nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.conftest import HERE, PROCESS_S, VENV, Place, python_of

pytestmark = pytest.mark.xdist_group("sandbox")


@pytest.fixture(scope="module")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all flows here: making prefect's database is most of the first start."""
    return tmp_path_factory.mktemp("prefect")


@dataclass
class Flows:
    """Runs `train_flow.py` in an interpreter that has prefect and reaches nothing but loopback."""

    python: Path
    place: Place
    env: dict[str, str]
    log: Path

    def run(self, *words: str, stop_when: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the flow to its end; told to stop (SIGTERM) once the file *stop_when* exists."""
        argv = [str(self.python), str(HERE / "flows" / "train_flow.py"), *words]
        folder = self.place.state
        with open(folder / "out", "w+", encoding="utf-8") as out, open(folder / "err", "w+", encoding="utf-8") as err:
            # Files, and a process group of its own: told to stop, prefect leaves its server behind.
            process = subprocess.Popen(
                argv, stdout=out, stderr=err, env=self.env, cwd=folder, start_new_session=True, text=True
            )
            try:
                if stop_when is not None:
                    _wait_for(stop_when, process)
                    process.terminate()
                status = process.wait(PROCESS_S)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(argv, status, out.read(), err.read())

    def reached_out(self) -> list[str]:
        """What somebody in the flow's processes wanted outside this computer."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        assert any(line.startswith("guarded") for line in lines), "the guard did not stand"
        return [line for line in lines if line.startswith("refused")]


@pytest.fixture
def flows(place: Place, prefect_home: Path, tmp_path: Path) -> Flows:
    python = python_of(VENV, "prefect")
    log = tmp_path / "reached.log"
    env = {
        **place.env,
        "PYTHONPATH": str(HERE / "loopback_only"),
        "LOOPBACK_ONLY_LOG": str(log),
        "PREFECT_HOME": str(prefect_home),
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    return Flows(python, place, env, log)


def _wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + PROCESS_S
    while not file.exists():
        assert process.poll() is None, "the flow ended before it began to work"
        assert time.monotonic() < until, "the flow never began to work"
        time.sleep(0.1)


def _proven_end(place: Place, name: str) -> dict[str, Any]:
    """The lease, which must have ended with a receipt."""
    lease: dict[str, Any] = place.json("show", name)
    assert lease["state"] == "ended"
    assert lease["receipt"]["answer"] == "gone"
    assert lease["receipt"]["evidence"].startswith("terminate confirmed")
    assert Decimal(lease["receipt"]["cost_usd"]) > 0
    return lease


def _nothing_bills(place: Place, machines: int) -> None:
    """By the sandbox's ledger: so many machines were rented, and all of them have ended."""
    lines = place.bill()
    assert len({line["instance"] for line in lines}) == machines
    assert [line for line in lines if line["closed_at"] is None] == []


def test_a_flow_rents_runs_fetches_and_returns_with_the_proof_of_the_end(flows: Flows, tmp_path: Path) -> None:
    done = flows.run("--name", "good", "--result", str(tmp_path / "result.json"))
    assert done.returncode == 0, done.stderr
    returned = json.loads(done.stdout)
    assert returned["result"] == {"gpu": "NVIDIA L40", "loss": 0.25}
    assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8")) == returned["result"]
    lease = _proven_end(flows.place, "good")
    assert returned["provider"] == lease["provider"]
    assert returned["evidence"] == lease["receipt"]["evidence"]
    assert returned["cost_usd"] == lease["receipt"]["cost_usd"]
    _nothing_bills(flows.place, machines=1)
    assert flows.reached_out() == []


def test_a_task_that_fails_fails_its_flow_and_its_retry_rents_anew_and_both_machines_end(
    flows: Flows, tmp_path: Path
) -> None:
    tries = tmp_path / "tries"
    command = f"echo try >> {tries}; echo out of memory >&2; exit 3"
    done = flows.run("--name", "bad", "--command", command, "--retries", "1")
    assert done.returncode == 1
    assert "out of memory" in done.stderr
    assert "CommandFailed" in done.stderr
    assert tries.read_text(encoding="utf-8") == "try\n" * 2
    leases = flows.place.json("ps", "--all")["leases"]
    assert [lease["name"] for lease in leases] == ["bad", "bad"]
    for lease in leases:
        _proven_end(flows.place, lease["id"])
    _nothing_bills(flows.place, machines=2)
    assert flows.reached_out() == []


def test_a_flow_that_is_told_to_stop_ends_its_machine_first(flows: Flows, tmp_path: Path) -> None:
    """SIGTERM is how prefect's workers, systemd and Kubernetes cancel."""
    began = tmp_path / "began"
    done = flows.run("--name", "stopped", "--command", f"touch {began}; sleep 600", stop_when=began)
    assert done.returncode == -signal.SIGTERM
    _proven_end(flows.place, "stopped")
    _nothing_bills(flows.place, machines=1)
