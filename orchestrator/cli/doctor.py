"""`orch doctor`: whether this computer can run `orch`, and what to do where it cannot."""

from __future__ import annotations

from dataclasses import asdict

import click

from orchestrator.cli._app import current
from orchestrator.cli._group import Command
from orchestrator.cli.output import Cell, Table

_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command("doctor", cls=Command)
def command() -> None:
    """Check this computer's setup.

    Looks at Python, the packages, the state folder, SQLite, the SSH client and key, the providers'
    credentials and the clock. Asks no provider (`orch providers check` does). Exit code 5 if something fails.
    """
    from orchestrator.cli import _checks

    app = current()
    found = _checks.all_checks(app.state_dir)
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
    if any(check.result == "fail" for check in found):
        click.get_current_context().exit(5)
