"""The command starts without what it does not use: time is lost in imports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from click.testing import Result

import orchestrator

HEAVY = {
    "alembic",
    "asyncio",
    "asyncssh",
    "httpx",
    "msgspec",
    "pydantic",
    "rich",
    "sqlalchemy",
    "starlette",
    "structlog",
}
RUN = """
import sys
sys.argv = ["orch", *sys.argv[1:]]
from orchestrator.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
finally:
    print("\\n".join(sys.modules), file=sys.stderr)
"""


def _modules(code: str, *words: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return {line.partition(".")[0] for line in done.stderr.splitlines()}


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--version"]])
def test_help_and_version_import_nothing_heavy(words: list[str]) -> None:
    loaded = _modules(RUN, *words)
    assert "click" in loaded
    assert loaded & HEAVY == set()


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = _modules("import sys, orchestrator; print('\\n'.join(sys.modules), file=sys.stderr)")
    assert "orchestrator" in loaded
    assert loaded & (HEAVY | {"click"}) == set()


def test_only_the_chosen_command_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", RUN, "gpus", "--help"], capture_output=True, text=True, check=True)
    commands = {line for line in done.stderr.splitlines() if line.startswith("orchestrator.cli.")}
    assert "orchestrator.cli.gpus" in commands
    assert not commands & {"orchestrator.cli.up", "orchestrator.cli.ps", "orchestrator.cli._run"}


@pytest.mark.parametrize("command", ["up", "plan", "ps", "show", "down", "events", "ssh", "exec", "gc"])
def test_the_help_of_a_command_imports_no_engine(command: str) -> None:
    assert _modules(RUN, command, "--help") & (HEAVY | {"sqlite3"}) == set()


def test_the_version_is_the_packages(orch: Callable[..., Result]) -> None:
    assert orch("--version").stdout == f"orch {orchestrator.__version__}\n"


def test_the_console_script_exits_with_the_fixed_codes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from orchestrator.cli import main; main()", "gpus", "h900"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[0].startswith("error: no GPU model is called 'h900'")
    assert done.stderr.splitlines()[1].startswith("hint: did you mean h")
