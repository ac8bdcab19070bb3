"""`orch gc`: machines at the providers that carry our mark and that no open lease accounts for."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from orchestrator.cli import _words as words
from orchestrator.cli._app import current
from orchestrator.cli._group import Command, Option
from orchestrator.cli._progress import plain
from orchestrator.cli._run import run
from orchestrator.cli._settle import settle
from orchestrator.cli.output import Table
from orchestrator.errors import OutcomeUnclear

#: Seconds spent on finishing each thing that a dead command left, before the providers are asked.
SETTLE_S = 20.0
ABANDONED = (
    "stopped waiting; ends that were asked for go on at the providers",
    "`orch gc` shows what is still there",
)


@click.command("gc", cls=Command)
@click.option("--delete", cls=Option, is_flag=True, help="End what is found, with a receipt each.")
def command(delete: bool) -> None:
    """Find machines that nobody accounts for.

    Lists what every configured provider says is ours first, and compares it with the store afterwards. Also
    finishes what a command that died has left unfinished. Exit code 8 if --delete could not end all of it.
    """
    app = current()

    async def work(engine: Any) -> tuple[list[Any], datetime, OutcomeUnclear | None]:
        # Bounded: people ask this when they are worried, and what is still booting is no stray.
        await settle(app, engine, limit_s=SETTLE_S)
        try:
            found, unclear = await engine.gc(delete=delete, on_event=plain(app.out)), None
        except OutcomeUnclear as error:
            found, unclear = list(error.strays), error
        return found, engine.env.now(), unclear

    strays, now, unclear = run(
        app, work, stopping="stopping", stopped="stopped before all providers were asked", abandoning=ABANDONED
    )
    if unclear is not None and app.json:
        said = {"type": type(unclear).__name__, "message": unclear.message, "hint": unclear.hint}
        app.out.document({"strays": strays, "error": said})
    elif app.json:
        app.out.document({"strays": strays})
    elif not strays and unclear is None:
        app.out.note("every machine that carries our mark belongs to an open lease")
    elif strays:
        app.out.table(_table(strays, now))
    if unclear is not None:
        raise unclear
    left = [stray for stray in strays if not stray.ended]
    if left and not delete:
        app.out.note("hint: orch gc --delete ends them")
    if left and delete:
        app.out.error(
            f"{len(left)} of {len(strays)} could not be ended for sure",
            "run `orch gc --delete` again, or look at the provider's console",
        )
        click.get_current_context().exit(8)


def _table(strays: list[Any], now: datetime) -> Table:
    table = Table(["Provider", "Instance", "Name", "Phase", ">Rate", "Made", "Why", "Ended"])
    for stray in strays:
        table.add(
            stray.provider,
            stray.instance_id,
            stray.token or words.NONE,
            stray.phase,
            words.rate(stray.usd_per_hour),
            words.ago(stray.created_at, now),
            stray.why,
            ("yes", "green") if stray.ended else ("no", "yellow"),
        )
    return table
