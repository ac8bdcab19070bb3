"""`orch providers`: who there is to rent from, and whether their credentials work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import _complete
from orchestrator.cli import _words as words
from orchestrator.cli._app import current
from orchestrator.cli._group import Group
from orchestrator.cli._run import run
from orchestrator.cli.output import Cell, Table

if TYPE_CHECKING:
    from orchestrator.cli.output import Output


@click.group("providers", cls=Group, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List the providers, or check their credentials.

    Asks nobody: shows what is known of each provider beforehand, where its credentials were found, and what
    is held back there after failures. `orch providers check` asks them.
    """
    if ctx.invoked_subcommand is not None:
        return
    app = current()

    async def work(engine: Any) -> list[Any]:
        return list(await engine.providers())

    found = run(app, work)
    if app.json:
        app.out.document({"providers": found})
        return
    table = Table(["Provider", "Credentials", "Market", "Workloads", "Egress", "Ends by itself"])
    for provider in found:
        table.add(
            provider.name,
            provider.configured_from or ("not configured", "dim"),
            ", ".join(provider.markets),
            ", ".join(provider.workloads),
            provider.egress or words.UNKNOWN,
            provider.dead_man or "no",
        )
    app.out.table(table)
    for provider in found:
        for hold in provider.holds:
            app.out.data(f"held back: {provider.name}: {_hold(hold)}", "yellow")


_RESULTS: dict[bool | None, Cell] = {
    True: ("ok", "green"),
    False: ("failed", "red"),
    None: ("not configured", "dim"),
}


def _hold(hold: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in hold.items() if value not in (None, "", []))


@command.command("check")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_complete.providers)
@click.pass_context
def check(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Ask each provider whether it can be used.

    Shows for each where the credentials come from, whether it is reachable and the key is valid, what the key may
    do, the quota, how far the clocks differ, how many offers there are, and what to do where something is amiss.
    Without NAME: all of them; those without credentials are only listed. Exit code 5 if one cannot be used, if a
    named one has no credentials, or if none has.
    """
    app = current()

    async def work(engine: Any) -> Sequence[dict[str, Any]]:
        found: Sequence[dict[str, Any]] = await engine.check(names)
        return found

    rows = run(app, work)
    if app.json:
        app.out.document({"providers": rows})
    else:
        _show(app.out, rows)
    for row in rows:
        if row["hint"]:
            app.out.note(f"hint: {row['provider']}: {row['hint']}")
    missing = names and any(row["ok"] is None for row in rows)
    if missing or any(row["ok"] is False for row in rows) or not any(row["ok"] for row in rows):
        ctx.exit(5)


_YES: dict[bool | None, Cell] = {True: "yes", False: ("no", "red"), None: words.UNKNOWN}


def _show(out: Output, rows: Sequence[dict[str, Any]]) -> None:
    """The figures as a table, and under it the sentences, which would break any table."""
    table = Table(["Provider", "Result", "Credentials", "Reachable", "Key valid", "Clock", ">Offers", ">To be had"])
    for row in rows:
        asked = row["ok"] is not None
        table.add(
            row["provider"],
            _RESULTS[row["ok"]],
            row["configured_from"] or words.NONE,
            _YES[row["reachable"]] if asked else words.NONE,
            _YES[row["key_valid"]] if asked else words.NONE,
            row["clock_skew"] or (words.UNKNOWN if asked else words.NONE),
            words.NONE if row["offers"] is None else str(row["offers"]),
            words.NONE if row["available"] is None else str(row["available"]),
        )
    out.table(table)
    for row in rows:
        said = {key: row[key] for key in ("account", "rights", "quota") if row[key]} | row["detail"]
        for key, text in said.items():
            out.data(f"{row['provider']}: {key}: {text}", "red" if key == "error" else None)
