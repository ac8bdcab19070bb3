"""Shell completion: commands, options, and what is known here without asking anybody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete
from click.testing import Result

from orchestrator.cli._app import App
from orchestrator.cli._group import COMMANDS, cli
from orchestrator.store import LeaseRow, open_store
from policies.policy import names
from providers.env import SystemEnv
from providers.registry import entries


def _complete(*words: str) -> list[str]:
    """What the shell is offered for the last of *words*."""
    shell = ShellComplete(cli, {"obj": App()}, "orch", "_ORCH_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


def test_commands_are_completed() -> None:
    assert _complete("") == list(COMMANDS)
    assert _complete("p") == ["plan", "ps", "policies", "providers"]
    assert _complete("sandbox", "s") == ["serve", "status", "stop"]


def test_options_are_completed_global_ones_too() -> None:
    assert set(_complete("up", "--e")) == {"--egress", "--env", "--exclude-provider"}
    assert _complete("ps", "--js") == ["--json"]
    assert _complete("--no") == ["--no-color"]


def test_gpus_are_completed_in_comma_lists_too() -> None:
    assert _complete("plan", "--gpu", "l40") == ["l40", "l40s"]
    assert _complete("plan", "--gpu", "l4,h100-n") == ["l4,h100-nvl"]
    assert _complete("gpus", "gh") == ["gh200"]


def test_policies_and_providers_are_completed() -> None:
    assert set(_complete("up", "--policy", "")) == set(names())
    assert set(_complete("up", "--provider", "")) == set(entries())
    assert _complete("providers", "check", "run") == ["runpod"]


async def _store(file: Path, *leases: tuple[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    store = await open_store(file, SystemEnv())
    for number, (name, state) in enumerate(leases):
        await store.add_lease(
            LeaseRow(
                id=f"lease234{'abcdef'[number]}",
                name=name,
                state=state,  # type: ignore[arg-type]
                wanted="up",
                request=b"{}",
                policy="cheapest",
                created_at=datetime.now(UTC),
            )
        )
    await store.close()


async def test_open_machines_are_completed_from_the_store(tmp_path: Path) -> None:
    await _store(tmp_path / "xdg" / "orch" / "orch.db", ("trainer", "running"), ("old", "ended"), ("tune", "booting"))
    for command in ("show", "ssh", "exec", "down", "events"):
        assert set(_complete(command, "t")) == {"trainer", "tune"}
    assert _complete("down", "o") == []


async def test_machines_come_from_the_store_that_the_options_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _store(tmp_path / "a" / "orch.db", ("one", "running"))
    await _store(tmp_path / "b" / "sandbox.db", ("two", "running"))
    assert _complete("--state-dir", str(tmp_path / "a"), "show", "") == ["one"]
    assert _complete("show", "--sandbox", "--state-dir", str(tmp_path / "b"), "") == ["two"]
    monkeypatch.setenv("ORCH_STATE_DIR", str(tmp_path / "a"))
    assert _complete("show", "") == ["one"]
    monkeypatch.setenv("ORCH_DATABASE_URL", "postgresql://elsewhere")
    assert _complete("show", "") == []


def test_no_store_or_a_broken_one_completes_nothing_and_makes_nothing(tmp_path: Path) -> None:
    assert _complete("show", "") == []
    assert not (tmp_path / "xdg").exists()
    broken = tmp_path / "x" / "orch.db"
    broken.parent.mkdir()
    broken.write_text("this is no database")
    assert _complete("--state-dir", str(broken.parent), "show", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_asks_orch(
    shell: str, orch: Callable[..., Result], one_document: Callable[[Result], Any]
) -> None:
    result = orch(f"completion {shell}")
    assert result.exit_code == 0
    assert f"_ORCH_COMPLETE={shell}_complete" in result.stdout
    assert result.stderr == ""
    assert one_document(orch(f"completion {shell} --json"))["script"].strip() == result.stdout.strip()


def test_the_bash_script_completes_a_line_through_the_real_program() -> None:
    env = os.environ | {"_ORCH_COMPLETE": "bash_complete", "COMP_WORDS": "orch policies cheapest-z", "COMP_CWORD": "2"}
    code = "from orchestrator.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout == "plain,cheapest-zero-egress\n"
    assert done.stderr == ""
