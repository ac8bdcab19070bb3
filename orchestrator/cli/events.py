"""`orch events`: what happened, in order."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli import _words as words
from orchestrator.cli._app import App, current
from orchestrator.cli._complete import refs
from orchestrator.cli._group import Command, Option
from orchestrator.cli._run import run

POLL_S = 1.0
PAGE = 1000


@click.command("events", cls=Command)
@click.argument("ref", required=False, shell_complete=refs)
@click.option(
    "--follow", "-f", cls=Option, is_flag=True, help="Go on showing new ones; Ctrl-C, or the machine's end, stops."
)
def command(ref: str | None, follow: bool) -> None:
    """Show what happened.

    Without REF: of all machines. With --json one document {"events": [...]}; with --follow, too, its rows are
    written one a line as they come, and the document is closed at the end.
    """
    import asyncio

    app = current()

    async def work(engine: Any) -> bool:
        if ref is not None:
            await engine.lease(ref)  # an unknown one is an error, not an empty list
        with app.out.stream("events") as rows:
            try:
                await _write(app, engine, ref, follow, rows.add)
            except asyncio.CancelledError:
                # Stopping is how following ends. The document is whole; only the exit code tells.
                return True
        return False

    if run(app, work):
        click.get_current_context().exit(130)


async def _write(app: App, engine: Any, ref: str | None, follow: bool, add: Any) -> None:
    last = 0
    while True:
        over = follow and ref is not None and (await engine.lease(ref)).state in ("ended", "failed")
        page = await engine.events(ref, after=last, limit=PAGE)
        for event in page:
            last = event.id
            add(event)
            _line(app, event)
        if len(page) < PAGE:
            if over or not follow:
                return
            await engine.env.sleep(POLL_S)


def _line(app: App, event: Any) -> None:
    who = event.lease or words.NONE
    number = f"#{event.attempt}" if event.attempt else ""
    app.out.data(f"{words.moment(event.at)}  {who}{number}  {event.kind}  {event.message}".rstrip())
