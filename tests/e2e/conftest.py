"""The whole thing: the real command line and API, real HTTP, the detached sandbox, SSH machines."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class House:
    """A state folder with its own sandbox."""

    state: Path
    env: dict[str, str]

    def orch(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "orchestrator", *words]
        return subprocess.run(argv, capture_output=True, text=True, env=self.env, timeout=timeout, cwd=self.state)

    def start(self, *words: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "orchestrator", *words]
        return subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env, cwd=self.state
        )

    def json(self, *words: str) -> Any:
        done = self.orch(*words, "--json")
        return json.loads(done.stdout)

    def billing(self) -> list[dict[str, Any]]:
        """Compute lines of the ledger that are open."""
        lines = self.json("sandbox", "bill")["lines"]
        return [line for line in lines if line["closed_at"] is None]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    if shutil.which("ssh") is None:
        pytest.skip("no ssh on this computer: apt-get install openssh-client")
    state = tmp_path / "state"
    state.mkdir()
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
    root = str(Path(__file__).parents[2])
    env = {**kept, "ORCH_STATE_DIR": str(state), "ORCH_SANDBOX": "1", "PYTHONPATH": root, "NO_COLOR": "1"}
    made = House(state, env)
    try:
        yield made
    finally:
        made.orch("down", "--all", "--yes")
        made.orch("sandbox", "stop")
