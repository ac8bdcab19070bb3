"""Pipeline tools from virtual environments of their own (`make test-integrations`), each test with its own sandbox."""

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

from providers import registry

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VENV = ROOT / ".venv-integrations"
PROCESS_S = 120.0


def python_of(venv: Path, package: str) -> Path:
    """The interpreter of *venv*, which must have *package*; otherwise the test is skipped with the reason."""
    reason = venv / "why-not.txt"
    if reason.is_file():
        pytest.skip(f"{package} could not be installed: {reason.read_text(encoding='utf-8').strip()}")
    found = venv / "bin" / "python"
    if not found.is_file():
        pytest.skip(f"{package} is not installed: run make test-integrations")
    done = subprocess.run([found, "-c", f"import {package}"], capture_output=True, text=True, timeout=PROCESS_S)
    if done.returncode != 0:
        pytest.skip(f"{package} is not installed in {venv.name}: {done.stderr.strip().splitlines()[-1]}")
    return found


@dataclass
class Place:
    """A state folder with its own sandbox, and an environment for programs that know nothing of it but that."""

    state: Path
    env: dict[str, str]

    def orch(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "orchestrator", *words]
        return subprocess.run(
            argv, capture_output=True, text=True, env=self.env, timeout=PROCESS_S, cwd=self.state, check=False
        )

    def json(self, *words: str) -> Any:
        done = self.orch(*words, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def bill(self) -> list[dict[str, Any]]:
        """Every line of the sandbox's ledger."""
        lines: list[dict[str, Any]] = self.json("sandbox", "bill")["lines"]
        return lines


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    if shutil.which("ssh") is None:
        pytest.skip("no ssh on this computer: apt-get install openssh-client")
    state = tmp_path / "state"
    state.mkdir()
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
    # The tools' environments have gpu-orch with the sandbox extra, and no vendor's.
    plain = ",".join(entry.name for entry in registry.entries().values() if entry.extra is None)
    ours = {"ORCH_STATE_DIR": str(state), "ORCH_SANDBOX": "1", "ORCH_PROVIDERS": plain, "NO_COLOR": "1"}
    made = Place(state, {**kept, **ours})
    try:
        yield made
    finally:
        made.orch("down", "--all", "--yes")
        made.orch("sandbox", "stop")
