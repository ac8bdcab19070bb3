"""Mistakes that mypy must find in a user's program; each line that is wrong names its error. Never run."""

from __future__ import annotations

from orchestrator import Orchestrator, Plan, Request, sync


async def mistakes(plan: Plan) -> None:
    Request(gpu="l40")  # wrong: arg-type
    Request(gpus=("l40",))  # wrong: call-arg
    plan.policy = "cheapest"  # wrong: misc
    Orchestrator(sandbox="yes")  # wrong: arg-type
    async with Orchestrator() as orch:
        orch.plan(plan)  # wrong: arg-type, unused-coroutine
        print((await orch.lease("demo")).cost)  # wrong: attr-defined
    with sync.Orchestrator() as blocking, blocking.rented(gpu="l40") as machine:
        machine.run(3)  # wrong: arg-type
