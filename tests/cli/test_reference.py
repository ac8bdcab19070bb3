"""`docs/cli.md` is the command line as it is: every command, option, default and exit code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import click
import pytest

from orchestrator import errors
from orchestrator.cli._group import COMMANDS, cli
from orchestrator.cli.options import request_options

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
GLOBAL = {"json", "sandbox", "state_dir", "verbose", "no_color"}


@click.command()
@request_options
def _asking(**given: object) -> None: ...


REQUEST = [param for param in _asking.params if isinstance(param, click.Option)]


def _row(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    value = "" if option.is_flag else f"`{option.metavar or option.type.name.upper()}`".replace("|", "\\|")
    return f"| {names} | {value} | {option.help} |"


def _sections() -> dict[str, str]:
    """The text under each heading, by heading, without its sub-headings' text."""
    parts = re.split(r"^#{2,3} (.+)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| `-")]


def _commands() -> Iterable[tuple[str, click.Command]]:
    ctx = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(ctx, name)
        assert command is not None
        yield f"orch {name}", command
        if isinstance(command, click.Group):
            yield from ((f"orch {name} {sub}", part) for sub, part in command.commands.items())


ALL = dict(_commands())


def test_the_page_has_a_section_for_every_command_and_for_no_other() -> None:
    described = {heading.strip("`") for heading in _sections() if heading.startswith("`orch")}
    assert described == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_the_options_of_each_command_are_those_of_the_program(name: str) -> None:
    shared = {param.name for param in REQUEST}
    text = _sections()[f"`{name}`"]
    takes_requests = "[request options](#request-options)" in text
    options = [param for param in ALL[name].params if isinstance(param, click.Option) and param.name not in GLOBAL]
    assert takes_requests == (shared <= {option.name for option in options})
    own = [option for option in options if not takes_requests or option.name not in shared]
    assert _rows(text) == [_row(option) for option in own]


@pytest.mark.parametrize("name", ALL)
def test_the_arguments_of_each_command_are_named(name: str) -> None:
    text = _sections()[f"`{name}`"]
    usage = re.search(r"^    (orch .+)$", text, re.MULTILINE)
    assert usage, name
    assert usage[1].startswith(name)
    for param in ALL[name].params:
        if isinstance(param, click.Argument):
            assert param.make_metavar(click.Context(ALL[name])).strip("[].").split("]")[0] in usage[1]


def test_the_request_options_are_those_of_the_program() -> None:
    assert _rows(_sections()["Request options"]) == [_row(option) for option in REQUEST]


def test_the_global_options_are_those_of_the_program() -> None:
    options = [param for param in cli.params if isinstance(param, click.Option) and param.name in GLOBAL]
    assert _rows(_sections()["Global options"]) == [_row(option) for option in options]


def test_every_exit_code_is_explained_with_its_error() -> None:
    text = _sections()["Exit codes"]
    listed = {int(code): name for code, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", text, re.MULTILINE)}
    known = {
        cls.exit_code: cls.__name__
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.OrchError)
    }
    assert listed == known | {1: "Unexpected"}
    assert re.search(r"^\| 0 \|", text, re.MULTILINE)


def test_commands_that_are_not_there_are_not_described() -> None:
    for absent in ("orch logs", "orch extend", "orch cost", "orch adopt", "orch daemon"):
        assert absent not in PAGE
