"""`orch ssh`: this terminal on that machine."""

from __future__ import annotations

import sys
from typing import Any

import click

from orchestrator.cli._app import current
from orchestrator.cli._complete import refs
from orchestrator.cli._group import Command
from orchestrator.cli._run import run


@click.command("ssh", cls=Command)
@click.argument("ref", shell_complete=refs)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD...]")
def command(ref: str, words: tuple[str, ...]) -> None:
    """Open a shell on a machine.

    The system's ssh takes over, with orch's key and the host key that was pinned at first contact. What stands
    after -- is a command to run there. With --json nothing is opened: the document says how to connect.
    """
    app = current()

    async def work(engine: Any) -> Any:
        return await engine.remote(ref)

    remote = run(app, work)
    wanted = list(words) or None
    argv = remote.ssh_argv(wanted, tty=wanted is not None and sys.stdin.isatty() and sys.stdout.isatty())
    if app.json:
        app.out.document(
            {
                "host": remote.host,
                "port": remote.port,
                "user": remote.user,
                "key_file": str(remote.key_file),
                "argv": argv,
            }
        )
        return
    app.execute(argv)
