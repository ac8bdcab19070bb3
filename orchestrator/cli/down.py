"""`orch down`: the end of machines, with the proof."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli import _complete, _leases
from orchestrator.cli import _words as words
from orchestrator.cli._app import App, current
from orchestrator.cli._ask import confirm
from orchestrator.cli._group import Command, Option
from orchestrator.cli._progress import plain
from orchestrator.cli._run import run
from orchestrator.cli._settle import settle
from orchestrator.errors import Interrupted, UsageError

STOPPING = "stopping; press Ctrl-C again to stop waiting"
STOPPED = "stopped waiting; ends that were asked for go on with the next orch command"
ABANDONED = (
    "stopped waiting; ends that were asked for go on with the next orch command",
    "`orch down` the same machine again, or check with `orch ps`",
)


@click.command("down", cls=Command)
@click.argument("refs", nargs=-1, metavar="[REF]...", shell_complete=_complete.refs)
@click.option("--all", "everything", cls=Option, is_flag=True, help="Every machine that is open.")
@click.option("--yes", "-y", cls=Option, is_flag=True, help="Do not ask (only --all asks).")
def command(refs: tuple[str, ...], everything: bool, yes: bool) -> None:
    """End machines and show the receipts.

    REF is a machine's name, its id, or the beginning of its id. Returns when the provider itself says that
    nothing is left to bill; if that cannot be had, exits with 8 and says how to check.
    """
    app = current()
    if bool(refs) == everything:
        raise UsageError(
            "name the machines, or say --all" if not refs else "name machines or say --all, not both",
            hint="orch ps shows them",
        )

    async def work(engine: Any) -> None:
        if everything and not await _agreed(app, engine, yes):
            _report(app, [])
            return
        _report(app, await engine.down(*refs, everything=everything, on_event=plain(app.out)))
        await _settle_others(app, engine)

    run(app, work, stopping=STOPPING, stopped=STOPPED, abandoning=ABANDONED)


def _report(app: App, leases: list[Any]) -> None:
    if app.json:
        app.out.document(_leases.document(leases))
        return
    for lease in leases:
        app.out.data(f"{lease.name}: {lease.state}, cost {words.money(lease.spent_usd)}")
        if lease.receipt:
            _leases.receipt(app.out, lease.receipt, "receipt")
    if not leases:
        app.out.note("nothing to end")


async def _settle_others(app: App, engine: Any) -> None:
    """Go on with what dead commands left. The receipts are out already, so stopping here is no failure."""
    import asyncio

    try:
        await settle(app, engine)
    except (asyncio.CancelledError, Interrupted):
        app.out.note("stopped; `orch gc` goes on with what earlier commands left", "yellow")


async def _agreed(app: App, engine: Any, yes: bool) -> bool:
    """Whether there is anything to end, and it may be: asks on a terminal, but never in the sandbox."""
    leases = await engine.leases()
    if not leases:
        return False
    if not yes and not engine.sandbox:
        app.out.table(_leases.table(leases, engine.env.now()), note=True)
        confirm(app, f"End {len(leases)} machine{'s' * (len(leases) != 1)}?", "--yes")
    return True
