"""What a user writes: `tests/unit/test_public_api.py` has mypy --strict read it as an outsider's program. Never run."""

from __future__ import annotations

from decimal import Decimal
from typing import assert_type

from orchestrator import (
    BudgetExceeded,
    CommandFailed,
    Completed,
    Event,
    Lease,
    Machine,
    NoOffer,
    OrchError,
    Orchestrator,
    Plan,
    Receipt,
    Request,
    sync,
)

WISH = Request.of(gpu="l40,l40s", hours=2, egress="1.5TB", policy="cheapest-zero-egress", budget=5)


async def plan_and_rent() -> Decimal | None:
    async with Orchestrator(sandbox=True, providers=["fluence", "runpod"]) as orch:
        plan = await orch.plan(WISH)
        assert_type(plan, Plan)
        for drop in plan.dropped:
            print(drop.offer.provider, drop.reason, drop.detail)
        best = plan.candidates[0]
        assert_type(best.cost.total_usd, Decimal)
        assert_type(best.offer.usd_per_hour, Decimal | None)
        leases = await orch.up(WISH, plan=plan, on_event=told)
        assert_type(leases, list[Lease])
        [ended] = await orch.down(*leases)
        assert_type(ended.receipt, Receipt | None)
        return ended.receipt.cost_usd if ended.receipt else None


def told(event: Event) -> None:
    print(event.at.isoformat(), event.kind, event.message)


async def on_a_machine() -> Completed:
    async with Orchestrator() as orch, orch.rented(WISH) as machine:
        assert_type(machine, Machine)
        await machine.put("data", "data")
        return await machine.run(["python", "train.py"], timeout_s=3600)


def blocking() -> str:
    try:
        with sync.Orchestrator(sandbox=True) as orch, orch.rented(gpu="l40", hours=2) as machine:
            assert_type(machine, sync.Machine)
            done = machine.run("nvidia-smi", check=False)
            assert_type(done, Completed)
            return done.stdout if done.status == 0 else done.stderr
    except NoOffer as error:
        return f"{error.message}; {error.hint}"
    except (BudgetExceeded, CommandFailed) as error:
        return str(error)
    except OrchError as error:
        assert_type(error.exit_code, int)
        raise SystemExit(error.exit_code) from error
