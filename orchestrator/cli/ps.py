"""`orch ps`: your machines."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli import _leases
from orchestrator.cli._app import current
from orchestrator.cli._group import Command, Option
from orchestrator.cli._run import run

UNFINISHED = ("planned", "launching", "booting", "ending")


@click.command("ps", cls=Command)
@click.option("--all", "everything", cls=Option, is_flag=True, help="Also those that have ended or failed.")
def command(everything: bool) -> None:
    """List your machines.

    Shows every lease that is open: wanted, launching, running, or on its way out. What it has cost so far is
    orch's own sum; the provider's bill is the truth.
    """
    app = current()

    async def work(engine: Any) -> tuple[list[Any], Any]:
        return await engine.leases(everything=everything), engine.env.now()

    leases, now = run(app, work)
    if app.json:
        app.out.document(_leases.document(leases))
    elif leases:
        app.out.table(_leases.table(leases, now))
    else:
        app.out.note("no machines" if everything else "no open machines (--all shows those that have ended)")
    unfinished = [lease.name for lease in leases if lease.state in UNFINISHED]
    if unfinished:
        names = ", ".join(unfinished)
        app.out.note(f"hint: {names}: if no command works on it any more, `orch gc` finishes or ends it")
