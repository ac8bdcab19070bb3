"""`orch exec`: one command on that machine, and its exit status."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click

from orchestrator.cli._app import current
from orchestrator.cli._complete import refs
from orchestrator.cli._group import Command
from orchestrator.cli._run import run
from orchestrator.cli.ssh import without_dashes
from orchestrator.errors import UsageError


@click.command(
    "exec",
    cls=Command,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
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
    wanted = list(without_dashes(words))
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
    process = await asyncio.create_subprocess_exec(*argv, stdout=sys.stderr)
    return await process.wait()
