"""Python blocks that are marked ``run`` are run, in the sandbox, as a user's program would be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from providers.sandbox import detach
from tests.docs.pages import Block, blocks

pytestmark = pytest.mark.xdist_group("sandbox")
RUNNABLE = [block for block in blocks("python") if "run" in block.words]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if shutil.which("ssh") is None:
        pytest.skip("no ssh on this computer: apt-get install openssh-client")
    state = tmp_path_factory.mktemp("state")
    try:
        yield state
    finally:
        detach.stop(state)


@pytest.mark.parametrize("block", RUNNABLE, ids=lambda block: block.id)
def test_the_example_runs_and_nothing_bills_afterwards(block: Block, home: Path, tmp_path: Path) -> None:
    program = tmp_path / "example.py"
    program.write_text("\n" * (block.line - 1) + block.code, encoding="utf-8")
    sandbox = detach.ensure(home, scenario="calm", speed=5.0)
    before = sandbox.instances()
    env = {key: os.environ[key] for key in ("HOME", "LANG", "TMPDIR") if key in os.environ}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env |= {"PATH": path, "ORCH_STATE_DIR": str(home), "ORCH_SANDBOX": "1"}
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, env=env, cwd=tmp_path, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in sandbox.bill()["lines"] if line["closed_at"] is None] == []
    if ".rented(" in block.code or ".up(" in block.code:
        assert len(sandbox.instances()) > len(before), "the example rented nothing"
