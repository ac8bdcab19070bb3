"""One error, one hint, one exit code, and stdout that is one document or nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

from orchestrator import errors
from orchestrator.cli._failures import explain
from orchestrator.errors import OrchError

WORDS = ["plan", "up --yes", "ps", "show x", "events", "down x", "offers", "gc", "providers", "providers check"]


@pytest.mark.parametrize("line", WORDS)
def test_an_unexpected_failure_is_one_line_without_a_traceback(
    line: str, orch: Callable[..., Result], engine: Any, one_document: Callable[[Result], Any]
) -> None:
    engine.fails["open"] = RuntimeError("the roof fell in")
    needed = " --gpu l40" if line.startswith(("plan", "up")) else ""
    shown = orch(line + needed)
    assert shown.exit_code == 1
    assert shown.stdout == ""
    assert shown.stderr.splitlines() == [
        "error: RuntimeError: the roof fell in",
        "hint: run it again with --verbose for the traceback",
    ]
    document = orch(f"--json {line}{needed}")
    assert document.exit_code == 1
    assert one_document(document)["error"]["type"] == "Unexpected"


def test_verbose_shows_the_traceback_on_stderr(
    orch: Callable[..., Result], engine: Any, one_document: Callable[[Result], Any]
) -> None:
    engine.fails["leases"] = RuntimeError("the roof fell in")
    result = orch("ps --verbose --json")
    assert "Traceback" in result.stderr
    assert "_note" in result.stderr
    assert one_document(result)["error"]["message"] == "RuntimeError: the roof fell in"


def test_an_expected_failure_has_no_traceback_even_with_verbose(orch: Callable[..., Result]) -> None:
    result = orch("show nobody --verbose")
    assert result.exit_code == 6
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "line", ["plan --jsn --json", "--json nonsense", "ps --json extra", "--json completion ksh", "--json show"]
)
def test_usage_errors_are_documents_too(
    line: str, orch: Callable[..., Result], one_document: Callable[[Result], Any]
) -> None:
    result = orch(line)
    assert result.exit_code == 2
    error = one_document(result)["error"]
    assert error["type"] == "UsageError"
    assert error["hint"].startswith("orch")
    assert error["message"] in result.stderr


def test_json_among_the_words_of_a_remote_command_is_not_ours(
    orch: Callable[..., Result], engine: Any, make: SimpleNamespace
) -> None:
    result = orch("exec nobody -- tool --json")
    assert result.exit_code == 6
    assert result.stdout == ""


def test_every_error_class_of_the_engine_keeps_its_exit_code() -> None:
    found = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, OrchError)}
    codes = {cls.__name__: explain(cls("what")).code for cls in found}
    assert codes == {
        "OrchError": 1,
        "UsageError": 2,
        "NoOffer": 3,
        "LaunchFailed": 4,
        "ConfigError": 5,
        "NoSuchLease": 6,
        "BudgetExceeded": 7,
        "OutcomeUnclear": 8,
        "Interrupted": 130,
    }


def test_ctrl_c_exits_with_130(orch: Callable[..., Result], engine: Any) -> None:
    engine.fails["leases"] = KeyboardInterrupt()  # type: ignore[assignment]
    result = orch("ps")
    assert result.exit_code == 130
    assert "error: stopped" in result.stderr


def test_a_reader_that_goes_away_is_no_error_message() -> None:
    code = "from orchestrator.cli import main; main()"
    command = f'"{sys.executable}" -c "{code}" gpus --json | head -c 10'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.stdout == '{"gpus":[{'
    assert done.stderr == ""


def test_a_closed_stdout_ends_quietly(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    code = "from orchestrator.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "gpus"], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == ""
