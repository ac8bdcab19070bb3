"""`orch plan`: what a request would rent, what it costs, and why every other offer lost."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import _plan
from orchestrator.cli._app import current
from orchestrator.cli._group import Command, Option
from orchestrator.cli.options import refuse_unenforced, request_of, request_options
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from policies.plan import Plan
    from policies.request import Request


@click.command("plan", cls=Command)
@request_options
@click.option(
    "--offers",
    "market",
    cls=Option,
    metavar="FILE",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Plan on a saved market (`orch offers --json`, or JSON lines; - is stdin): no key, no network.",
)
@click.option("--now", cls=Option, metavar="TIME", help="With --offers: plan as of this time, RFC 3339.")
@click.option("--all", "everything", cls=Option, is_flag=True, help="Show every candidate and every dropped offer.")
def command(market: str | None, now: str | None, everything: bool, detach: bool, **given: Any) -> None:
    """Show what would be rented, its cost, and why the rest lost.

    Takes the same options as `orch up`, and rents nothing. Exit code 3 if no offer satisfies the policy.
    """
    app = current()
    request = request_of(given)
    refuse_unenforced(request, detach=detach)
    if now is not None and market is None:
        raise UsageError("--now is for saved markets", hint="a live market is always of this moment; add --offers FILE")
    plan = _fresh(request) if market is None else _saved(request, market, now)
    if app.json:
        app.out.document(plan.to_dict())
    else:
        _plan.show(app.out, plan, request, note=False, everything=everything)
    if not plan.candidates:
        app.out.note("no offer satisfies the policy; the reasons are above" if not app.json else "no offer is left")
        click.get_current_context().exit(3)


def _fresh(request: Request) -> Plan:
    from orchestrator.cli._run import run

    async def work(engine: Any) -> Plan:
        found: Plan = await engine.plan(request)
        return found

    return run(current(), work)


def _saved(request: Request, file: str, now: str | None) -> Plan:
    """Judge a saved market: pure, without engine, key, network or state folder."""
    from policies.judge import judge
    from policies.offers import load_offers
    from policies.policy import load

    when = _time(now)
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        hint = "--offers takes what `orch offers --json` writes"
        raise UsageError(f"{file}: {error.strerror}", hint=hint) from None
    offers = load_offers(data, file="stdin" if file == "-" else file)
    return judge(offers, request, load(request.policy), now=when)


def _time(text: str | None) -> datetime:
    if text is None:
        from providers.env import SystemEnv

        return SystemEnv().now()
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--now: {text!r} is not a time", hint="write it like 2026-11-22T12:00:00Z") from None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
