"""`orch ps`: your machines."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import _leases
from orchestrator.cli._app import App, current
from orchestrator.cli._group import Command, Option
from orchestrator.cli._run import run
from orchestrator.cli._settle import settle

if TYPE_CHECKING:
    from orchestrator.models import Lease

#: Seconds that `ps` spends on finishing what a dead command left, before it shows what there is.
SETTLE_S = 20.0
UNFINISHED = ("planned", "launching", "booting", "ending")


@click.command("ps", cls=Command)
@click.option("--all", "everything", cls=Option, is_flag=True, help="Also those that have ended or failed.")
def command(everything: bool) -> None:
    """List your machines.

    Shows every lease that is open: wanted, launching, running, or on its way out. What it has cost so far is
    orch's own sum; the provider's bill is the truth.
    """
    app = current()
    leases, now = _quick(app, everything) or run(app, _thorough(app, everything))
    if app.json:
        app.out.document(_leases.document(leases))
    elif leases:
        app.out.table(_leases.table(leases, now))
    else:
        app.out.note("no machines" if everything else "no open machines (--all shows those that have ended)")
    unfinished = [lease.name for lease in leases if lease.state in UNFINISHED]
    if unfinished:
        names = ", ".join(unfinished)
        app.out.note(f"hint: {names}: another command works on it, or the next `orch ps` goes on finishing it")


def _quick(app: App, everything: bool) -> tuple[list[Lease], datetime] | None:
    """Straight from the file, in the plain case; None where the engine is needed."""
    import os

    if not app.embedded or app.sandbox or app.verbose or os.environ.get("ORCH_SANDBOX"):
        return None
    from orchestrator import quick
    from providers.env import SystemEnv

    folder = quick.state_dir(app.state_dir)
    env = SystemEnv()
    leases = None if folder is None else quick.leases(folder / "orch.db", env, everything=everything)
    return None if leases is None else (leases, env.now())


def _thorough(app: App, everything: bool) -> Callable[[Any], Awaitable[tuple[list[Lease], datetime]]]:
    async def work(engine: Any) -> tuple[list[Lease], datetime]:
        # What a dead command left is finished or ended here too, but nobody waits long for a list.
        await settle(app, engine, limit_s=SETTLE_S)
        return await engine.leases(everything=everything), engine.env.now()

    return work
