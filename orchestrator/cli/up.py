"""`orch up`: plan, ask, launch down the plan, and say how to reach what runs and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import _leases, _plan
from orchestrator.cli import _words as words
from orchestrator.cli._app import App, current
from orchestrator.cli._ask import confirm
from orchestrator.cli._group import Command
from orchestrator.cli._progress import progress
from orchestrator.cli._run import run
from orchestrator.cli._settle import settle
from orchestrator.cli.options import refuse_unenforced, request_of, request_options
from orchestrator.errors import OrchError

if TYPE_CHECKING:
    from orchestrator.models import Lease
    from policies.plan import Plan
    from policies.request import Request

STOPPING = "stopping: ending what was begun; Ctrl-C again stops waiting for that"
ABANDONED = (
    "stopped without waiting: what was begun may still be running and billing",
    "the next orch command ends it; check with `orch ps` and `orch gc`",
)
SANDBOX_NOTICE = "sandbox: nothing is rented and nothing bills; commands there run as you on this computer"


@click.command("up", cls=Command)
@request_options
def command(yes: bool, detach: bool, **given: Any) -> None:
    """Rent it: launch down the plan until a machine is up and proven.

    Shows the plan, asks on a terminal (--yes does not; the sandbox never asks), and returns when every machine
    is reachable and holds the GPU that is paid for. Ctrl-C ends what was begun. Without --ttl a machine bills
    until `orch down`.
    """
    app = current()
    request = request_of(given)
    refuse_unenforced(request, detach=detach)

    async def work(engine: Any) -> None:
        await settle(app, engine)
        plan: Plan = await engine.plan(request)
        _plan.show(app.out, plan, request, note=True)
        if plan.candidates and not yes and not engine.sandbox:
            confirm(app, _question(plan, request), "--yes")
        with progress(app.out, many=request.replicas > 1) as listener:
            leases: list[Lease] = await engine.up(request, plan=plan, on_event=listener)
        await _report(app, engine, leases)

    run(app, work, stopping=STOPPING, abandoning=ABANDONED)


def _question(plan: Plan, request: Request) -> str:
    best = plan.candidates[0]
    machines = f"{request.replicas} machines" if request.replicas > 1 else "it"
    rate = words.rate(best.offer.usd_per_hour) + " each" * (request.replicas > 1)
    return f"Rent {machines} at {rate}, expected {words.money(best.cost.total_usd)} in all?"


async def _report(app: App, engine: Any, leases: Sequence[Lease]) -> None:
    if engine.sandbox:
        app.out.note(SANDBOX_NOTICE)
    if app.json:
        app.out.document(_leases.document(leases))
        return
    for lease in leases:
        _describe(app, lease, await _ssh(engine, lease), engine.env.now())


def _describe(app: App, lease: Lease, ssh: str | None, now: datetime) -> None:
    app.out.data(
        f"{lease.name} runs: {words.gpus(lease.gpu, lease.gpu_count)} at "
        f"{words.place(lease.provider, lease.region)} for {words.rate(lease.usd_per_hour)}, "
        f"expected {words.money(lease.promised_total_usd)} in all",
        "green",
    )
    app.out.data(f"  connect: orch ssh {lease.name}")
    if ssh:
        app.out.data(f"  or:      {ssh}")
    if lease.ends_at is None:
        app.out.data(f"  bills:   until `orch down {lease.name}`")
    else:
        left = words.span((lease.ends_at - now).total_seconds())
        app.out.data(f"  ends:    {words.moment(lease.ends_at)} by the provider's own timer, in {left}")


async def _ssh(engine: Any, lease: Lease) -> str | None:
    """The system's ssh command line; None while the machine has no address (``--ready none``)."""
    try:
        remote = await engine.remote(lease.id)
    except OrchError:
        return None
    line: str = remote.ssh_line()
    return line
