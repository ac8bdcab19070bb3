"""`orch show`: everything about one machine."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli import _leases
from orchestrator.cli._app import current
from orchestrator.cli._complete import refs
from orchestrator.cli._group import Command
from orchestrator.cli._run import run


@click.command("show", cls=Command)
@click.argument("ref", shell_complete=refs)
def command(ref: str) -> None:
    """Show everything about one machine.

    REF is a machine's name, its id, or the beginning of its id. The page has the request, every attempt with
    its error, and the receipt of the end.
    """
    app = current()

    async def work(engine: Any) -> tuple[Any, Any]:
        return await engine.lease(ref), engine.env.now()

    lease, now = run(app, work)
    if app.json:
        app.out.document(lease)
    else:
        _leases.page(app.out, lease, now)
