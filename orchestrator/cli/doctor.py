"""`orch doctor`: whether this computer can run `orch`, and what to do where it cannot."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli._app import current
from orchestrator.cli._group import Command, Option
from orchestrator.cli._run import run
from orchestrator.cli.output import Cell, Table

if TYPE_CHECKING:
    from orchestrator.cli._checks import Check

_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command("doctor", cls=Command)
@click.option("--offline", cls=Option, is_flag=True, help="Ask no provider.")
def command(offline: bool) -> None:
    """Check this computer's setup and the providers.

    Looks at Python, the packages, the state folder, SQLite, the SSH client and key and the clock, and asks every
    provider that has credentials whether it can be used, as `orch providers check` does. Exit code 5 if something
    fails.
    """
    from orchestrator.cli import _checks

    app = current()
    found = _checks.all_checks(app.state_dir, sandbox=app.sandbox)
    if not offline and (app.sandbox or _checks.configured(found)) and not _failed(found):
        found += _checks.asked(run(app, _ask))
    if app.json:
        app.out.document({"checks": [asdict(check) for check in found]})
    else:
        table = Table(["Check", "Result", "Detail"])
        for check in found:
            result: Cell = (check.result, _STYLES[check.result])
            table.add(check.name, result, check.detail)
        app.out.table(table)
    for check in found:
        if check.fix:
            app.out.note(f"hint: {check.name}: {check.fix}")
    if _failed(found):
        click.get_current_context().exit(5)


async def _ask(engine: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = await engine.check()
    return rows


def _failed(found: list[Check]) -> bool:
    return any(check.result == "fail" for check in found)
