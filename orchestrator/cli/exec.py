"""`orch exec`: one command on that machine, and its exit status."""

from __future__ import annotations

import sys
from typing import Any

import click

from orchestrator.cli._app import current
from orchestrator.cli._complete import refs
from orchestrator.cli._group import Command
from orchestrator.cli._run import run
from orchestrator.errors import UsageError


class _Exec(Command):
    """Leaves the command's words alone, with or without ``--`` before them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, hoisted(args))


def hoisted(args: list[str]) -> list[str]:
    """*args* with global options that stand between REF and ``--`` moved before REF, and without that ``--``.

    Without ``--`` right behind them such words belong to the command: ``exec m python -m tool --json``.
    """
    start = _skip(args, 0)
    end = _skip(args, start + 1)
    if args[end : end + 1] != ["--"]:
        return args
    return [*args[:start], *args[start + 1 : end], *args[start : start + 1], *args[end + 1 :]]


def _skip(args: list[str], place: int) -> int:
    """The first place from *place* on that holds no global option."""
    while place < len(args) and args[place].startswith("--") and args[place] != "--":
        place += 2 if args[place] == "--state-dir" else 1
    return place


@click.command(
    "exec",
    cls=_Exec,
    context_settings={"allow_interspersed_args": False},
)
@click.argument("ref", shell_complete=refs)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[--] CMD...")
def command(ref: str, words: tuple[str, ...]) -> None:
    """Run a command on a machine and return its exit status.

    Input, output and errors are passed through; 255 means that the machine cannot be reached. Every word
    after REF belongs to the command. With --json the command's own output goes to stderr, and the document
    is {"ref", "exit_status"}.
    """
    app = current()
    wanted = list(words)
    if not wanted:
        raise UsageError("there is no command to run", hint=f"orch exec {ref} -- nvidia-smi")

    async def work(engine: Any) -> int:
        remote = await engine.remote(ref)
        if not app.json:
            return int(await remote.run(wanted))
        return await _beside(remote.ssh_argv(wanted, tty=False))

    status = run(app, work, stopped="stopped; the command there may still run")
    if app.json:
        app.out.document({"ref": ref, "exit_status": status})
    click.get_current_context().exit(status)


async def _beside(argv: list[str]) -> int:
    """Run *argv* with its output on our stderr, since stdout belongs to the document."""
    import asyncio

    process = await asyncio.create_subprocess_exec(*argv, stdout=sys.stderr)
    return await process.wait()
