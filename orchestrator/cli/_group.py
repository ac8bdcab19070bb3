"""The `orch` group: knows every command's name and one line of help, and imports only the one that runs."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from orchestrator.cli._app import App

#: Section of the help page, then command: (module in this package, one line of help).
SECTIONS: dict[str, dict[str, str]] = {
    "Rent": {
        "plan": "Show what would be rented, its cost, and why the rest lost.",
        "up": "Rent it: launch down the plan until a machine is up and proven.",
        "down": "End machines and show the receipts.",
        "offers": "List what is for rent now.",
    },
    "Use": {
        "ps": "List your machines.",
        "show": "Show everything about one machine.",
        "events": "Show what happened.",
        "ssh": "Open a shell on a machine.",
        "exec": "Run a command on a machine and return its exit status.",
    },
    "Know": {
        "policies": "List the policies, or show one.",
        "providers": "List the providers, or check their credentials.",
        "gpus": "List the GPU models and their names.",
    },
    "Care": {
        "gc": "Find machines that nobody accounts for.",
        "sandbox": "Run the loopback market: every provider, no money.",
        "doctor": "Check this computer's setup and the providers.",
        "completion": "Print the completion script of a shell.",
    },
}
COMMANDS: dict[str, str] = {name: line for part in SECTIONS.values() for name, line in part.items()}
SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Option(click.Option):
    """An option that stands under a heading of its own in the help page."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Note a global option on the `App`; an absent one never undoes what was given before the command."""
    app = ctx.find_root().obj
    if value and isinstance(app, App) and param.name:
        setattr(app, param.name, value)


def _global_options() -> list[click.Parameter]:
    texts = {
        "--json": "One JSON document on stdout, everything else on stderr.",
        "--sandbox": "Use the loopback market: real adapters, emulated providers, no money.",
        "--state-dir": "Where the store lives (default $XDG_STATE_HOME/orch).",
        "--verbose": "Show tracebacks and debug logs on stderr.",
        "--no-color": "No colours (so does the environment variable NO_COLOR).",
    }
    shared: dict[str, Any] = {"expose_value": False, "is_eager": True, "callback": _remember}
    options: list[click.Parameter] = []
    for name, text in texts.items():
        kind: dict[str, Any] = {"is_flag": True}
        if name == "--state-dir":
            kind = {"type": click.Path(file_okay=False), "metavar": "DIR"}
        options.append(Option([name], help=text, section="Global options", **kind, **shared))
    return options


class Command(click.Command):
    """A command with the global options and its own options in sections."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["context_settings"] = {**SETTINGS, **(kwargs.get("context_settings") or {})}
        super().__init__(*args, **kwargs)
        self.params.extend(_global_options())

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        format_sections(self, ctx, formatter)


class Group(click.Group):
    """A command with sub-commands, for example ``orch sandbox``."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["context_settings"] = {**SETTINGS, **(kwargs.get("context_settings") or {})}
        super().__init__(*args, **kwargs)
        self.params.extend(_global_options())

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        format_sections(self, ctx, formatter)


def format_sections(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the options of *command* under their headings, the global ones last."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record and not isinstance(param, click.Argument):
            sections.setdefault(getattr(param, "section", "Options"), []).append(record)
    common = sections.pop("Global options", [])
    help_only = sections.pop("Options", [])
    for title, rows in [*sections.items(), ("Options", help_only), ("Global options", common)]:
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


class Root(Group):
    """`orch` itself. Commands are imported at first use; failures become one error, one hint, one exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"orchestrator.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise click.exceptions.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, part in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(part.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name, help=line) for name, line in COMMANDS.items() if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run the command line and exit. *extra* may hold ``obj``, an `App`, for tests and embedding."""
        argv = list(sys.argv[1:] if args is None else args)
        app = extra.pop("obj", None) or App(hard_exit=args is None)
        run: Callable[..., Any] = super().main
        try:
            result = run(argv, "orch", complete_var, standalone_mode=False, obj=app, **extra)
            code = result if isinstance(result, int) else 0
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt) as error:
            from orchestrator.cli._failures import Abandoned, report

            code = report(app, error, argv)
            if isinstance(error, Abandoned) and app.hard_exit:
                leave(code)
        sys.exit(code)


def leave(code: int) -> NoReturn:
    """End this process at once, whatever threads still wait for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from orchestrator import __version__

        click.echo(f"orch {__version__}")
        ctx.exit()


@click.command(
    "orch",
    cls=Root,
    epilog="Try it without any account: orch --sandbox up --gpu l40 --hours 1",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Rent the GPU you asked for from whichever provider is truly cheapest under your policy."""
