"""The group: every command is there, help is whole, and global options stand anywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import pytest
from click.testing import Result

from orchestrator.cli._app import App
from orchestrator.cli._group import COMMANDS, cli
from orchestrator.cli._group import Group as OrchGroup

GLOBAL = {"--json", "--sandbox", "--state-dir", "--verbose", "--no-color"}


def _commands() -> dict[str, click.Command]:
    ctx = click.Context(cli)
    found: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = cli.get_command(ctx, name)
        assert command is not None
        found[name] = command
        if isinstance(command, click.Group):
            found |= {f"{name} {sub}": part for sub, part in command.commands.items()}
    return found


def test_the_fixed_commands_are_there() -> None:
    wanted = "up plan offers ps show events ssh exec down policies providers gpus gc sandbox doctor"
    assert set(wanted.split()) <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_group_is_the_commands_own(name: str) -> None:
    command = _commands()[name]
    assert command.name == name
    assert (command.help or "").splitlines()[0] == COMMANDS[name]


@pytest.mark.parametrize("name", _commands())
def test_every_command_takes_the_global_options_and_says_so(name: str, orch: Callable[..., Result]) -> None:
    command = _commands()[name]
    assert {option for param in command.params for option in param.opts} >= GLOBAL
    page = orch(*name.split(), "-h")
    assert page.exit_code == 0
    assert "Global options:" in page.stdout
    assert page.stderr == ""


def test_every_option_and_argument_of_every_command_is_explained(orch: Callable[..., Result]) -> None:
    for name, command in _commands().items():
        for param in command.params:
            if isinstance(param, click.Option):
                assert param.help, (name, param.name)
        assert len((command.help or "").split()) > 5, name


def test_no_arguments_show_the_help_and_exit_with_2(orch: Callable[..., Result]) -> None:
    result = orch("")
    assert result.exit_code == 2
    assert "Usage: orch" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "line", ["--json ps", "ps --json", "--state-dir X --json ps --all", "ps --all --json --state-dir X"]
)
def test_global_options_stand_before_or_after_the_command(
    line: str, orch: Callable[..., Result], app: App, one_document: Callable[[Result], Any]
) -> None:
    result = orch(line)
    assert result.exit_code == 0, result.stderr
    assert one_document(result) == {"leases": []}
    assert app.state_dir == ("X" if "X" in line else None)


def test_an_option_before_the_command_is_not_undone_after_it(orch: Callable[..., Result], app: App) -> None:
    orch("--sandbox --verbose ps")
    assert (app.sandbox, app.verbose) == (True, True)


def test_the_engine_gets_the_global_options(orch: Callable[..., Result], engine: Any) -> None:
    orch("ps --sandbox --state-dir here")
    assert engine.opened_with == {"sandbox": True, "state_dir": "here"}


def test_without_the_option_the_environment_decides_on_the_sandbox(orch: Callable[..., Result], engine: Any) -> None:
    orch("ps")
    assert engine.opened_with == {"sandbox": None, "state_dir": None}


def test_a_misspelt_command_is_answered_with_the_nearest(orch: Callable[..., Result]) -> None:
    result = orch("offer")
    assert result.exit_code == 2
    assert "'offers'" in result.stderr
    assert "hint: orch --help" in result.stderr


def test_a_misspelt_option_is_answered_with_the_nearest(orch: Callable[..., Result]) -> None:
    result = orch("plan --egres 5")
    assert result.exit_code == 2
    assert "'--egress'" in result.stderr
    assert "hint: orch plan --help" in result.stderr


def test_nested_groups_are_ours(orch: Callable[..., Result]) -> None:
    groups = [command for command in _commands().values() if isinstance(command, click.Group)]
    assert groups
    assert all(isinstance(group, OrchGroup) for group in groups)
