"""One `up`: its leases, their launch side by side, and what becomes of them on success, failure and cancel."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import msgspec

from orchestrator import ending, resume
from orchestrator.boot import WantedGone
from orchestrator.engine import Engine
from orchestrator.errors import Interrupted, LaunchFailed, OrchError, OutcomeUnclear
from orchestrator.launch import Bounds, Exhausted, Launcher
from orchestrator.models import Lease
from orchestrator.store import AttemptRow, LeaseRow, LostClaim
from policies.plan import Plan
from policies.request import Request
from providers.env import ManualEnv
from providers.errors import OutcomeUnknown, ProviderError

ENDS_WAIT_S = 60.0
WAIT_EVERY_S = 30.0


class Renting:
    """What one call of `Orchestrator.up` works with.

    Args:
        plan: reads the market and judges it, for `--wait`.
        views: turns leases into what users see.
        check: refuses a plan that must not be launched (nothing kept, no enforcer for an option).
    """

    def __init__(
        self,
        engine: Engine,
        request: Request,
        bounds: Bounds,
        plan: Callable[[Request], Awaitable[Plan]],
        views: Callable[[Sequence[LeaseRow]], Awaitable[list[Lease]]],
        check: Callable[[Plan], Plan],
    ) -> None:
        self.engine, self.request = engine, request
        self.env, self.store = engine.env, engine.store
        self.plan, self.views, self.check = plan, views, check
        self.launcher = Launcher(engine, request, bounds)
        self.waiting_until = self.env.monotonic() + request.wait_s
        self.leases: list[LeaseRow] = []
        self.rows: dict[str, list[AttemptRow]] = {}

    async def run(self, plan: Plan) -> list[Lease]:
        """Launch every replica of *plan*; raises as `Orchestrator.up` says."""
        try:
            for number in range(self.request.replicas):
                lease = await self._new_lease(plan, number)
                self.leases.append(lease)
                self.rows[lease.id] = []
            results = await self._launch_all(plan)
            await self._finish_ends()
            return await self._report(results)
        except asyncio.CancelledError:
            await self._undo()
            raise AssertionError("unreachable") from None
        finally:
            for lease in self.leases:
                with contextlib.suppress(Exception):
                    await self.store.release(lease.id)

    async def _new_lease(self, plan: Plan, number: int) -> LeaseRow:
        request = self.request
        lease_id = self.env.new_id(9)
        gpu = plan.candidates[0].offer.gpu
        name = request.name or f"{gpu}-{lease_id[:4]}"
        if request.name and request.replicas > 1:
            name = f"{request.name}-{number + 1}"
        now = self.env.now()
        row = LeaseRow(
            id=lease_id,
            name=name,
            state="planned",
            wanted="up",
            request=msgspec.json.encode(request),
            policy=plan.policy,
            created_at=now,
            promised_total_usd=plan.candidates[0].cost.total_usd / request.replicas,
            ends_at=None if request.ttl_s is None else now + timedelta(seconds=request.ttl_s),
        )
        await self.store.add_lease(row)
        await self.engine.emit("lease-created", f"{name} ({lease_id})", lease=row)
        return row

    async def _launch_all(self, plan: Plan) -> list[AttemptRow | BaseException]:
        async def one(lease: LeaseRow) -> AttemptRow:
            current = plan
            while True:
                try:
                    return await self.launcher.run(lease, current.candidates, self.rows[lease.id])
                except Exhausted as error:
                    over = self.env.monotonic() >= self.waiting_until
                    if over or self._out_of_time(lease) or (error.last is not None and not _worth_waiting(error.last)):
                        raise
                    current = self.check(await self.wait_for_candidates(None))

        tasks = [asyncio.create_task(one(lease)) for lease in self.leases]
        try:
            return list(await asyncio.gather(*tasks, return_exceptions=True))
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    def _out_of_time(self, lease: LeaseRow) -> bool:
        return lease.ends_at is not None and self.env.now() >= lease.ends_at

    async def wait_for_candidates(self, plan: Plan | None) -> Plan:
        """Read the market again and again, with fresh quotes, until something can be had or time is up (`--wait`)."""
        while True:
            left = self.waiting_until - self.env.monotonic()
            if left <= 0 and plan is not None:
                return plan
            await self.engine.emit(
                "waiting", f"nothing can be had now; reading the market again for {max(0, left):.0f} s"
            )
            await self.env.sleep(min(WAIT_EVERY_S, max(0.0, left)))
            try:
                plan = await self.plan(self.request)
            except LaunchFailed:
                if self.env.monotonic() >= self.waiting_until:
                    raise
                continue
            if plan.candidates:
                return plan

    async def _finish_ends(self) -> None:
        """Failed attempts are being ended beside; wait for them, within reason."""
        if self.launcher.ends:
            await asyncio.wait(self.launcher.ends, timeout=None if isinstance(self.env, ManualEnv) else ENDS_WAIT_S)

    async def _report(self, results: Sequence[AttemptRow | BaseException]) -> list[Lease]:
        leases, rows = self.leases, self.rows
        failed: list[BaseException] = []
        for lease, result in zip(leases, results, strict=True):
            if isinstance(result, AttemptRow):
                continue
            failed.append(result)
            if isinstance(result, LostClaim):
                continue
            if not isinstance(result, Exhausted):
                # Wanted gone, or something unforeseen: whatever was begun for this replica ends.
                await self._end_rows(lease, rows[lease.id], "user" if isinstance(result, WantedGone) else "error")
            await ending.settle(self.engine, lease, rows[lease.id])
        views = tuple(await self.views(leases))
        if any(isinstance(error, LostClaim) for error in failed):
            # We were stopped for so long (a closed lid, SIGSTOP) that somebody else went on with our lease.
            raise OutcomeUnclear(
                "another orch command has taken the launch over, because this one stood still",
                hint="see what it made of it: orch ps",
                leases=views,
            )
        unexpected = [e for e in failed if not isinstance(e, (Exhausted, WantedGone, OrchError))]
        if unexpected:
            raise unexpected[0]
        if not failed:
            return list(views)
        if any(lease.state == "ending" for lease in leases):
            raise OutcomeUnclear(
                "the launch failed, and the end of what it had begun is not confirmed: it may still bill",
                hint="the next orch command goes on ending it; look at: orch ps, orch gc",
                leases=views,
            )
        first = failed[0]
        if isinstance(first, OrchError):
            raise first
        if isinstance(first, WantedGone):
            raise Interrupted("somebody ended the lease while it was launched", leases=views)
        assert isinstance(first, Exhausted)
        some = f"{len(failed)} of {len(leases)} replicas failed" if len(leases) > 1 else "every candidate failed"
        tries = sum(len(view.attempts) for view in views)
        last = f"; last: {first.last}" if first.last else ""
        hint = "nothing runs and nothing bills; `orch events` tells every step"
        if len(failed) < len(leases):
            hint = "the other replicas run and bill; `orch ps` shows them"
        raise LaunchFailed(f"{some} after {tries} attempts: {first.why}{last}", hint=hint, leases=views)

    async def _undo(self) -> None:
        """End what a cancelled `up` has begun. A second cancel leaves it to the next command."""
        engine, leases, rows = self.engine, self.leases, self.rows
        try:
            for lease in leases:
                await self.store.want_down(lease.id)
                lease.wanted = "down"
            await engine.emit("interrupted", "stopped by the user; ending what was begun")
            # Side by side, and each for itself: what goes wrong with one must not keep the others from ending.
            await asyncio.gather(*(self._undo_one(lease) for lease in leases), return_exceptions=True)
            await self._finish_ends()
            for lease in leases:
                with contextlib.suppress(LostClaim):
                    await ending.settle(engine, lease, rows[lease.id])
        except asyncio.CancelledError:
            raise Interrupted(
                "stopped twice: what was begun may still be running and billing",
                hint="the next orch command ends it; check with: orch ps, orch gc",
                leases=tuple(await self.views(leases)),
            ) from None
        views = tuple(await self.views(leases))
        if any(lease.state == "ending" for lease in leases):
            raise Interrupted(
                "stopped; the end of what was begun is not confirmed: it may still bill",
                hint="the next orch command goes on ending it; look at: orch ps, orch gc",
                leases=views,
            ) from None
        raise Interrupted("stopped; what was begun is ended, nothing bills", leases=views) from None

    async def _undo_one(self, lease: LeaseRow) -> None:
        await self._land(lease, self.rows[lease.id])
        await self._end_rows(lease, self.rows[lease.id], "cancelled")

    async def _land(self, lease: LeaseRow, rows: list[AttemptRow]) -> None:
        """A launch call that was on its way is waited for: it may have had its effect."""
        for row in rows:
            task = self.launcher.inflight.pop(row.token, None)
            if row.state != "intent":
                continue
            if task is None:
                if row.token not in self.launcher.asked:  # the intent was saved, and the provider never asked
                    row.outcome = "cancelled"
                    await self.engine.move_attempt(row, lease, "closed")
                continue
            try:
                instance = await asyncio.shield(task)
            except ProviderError as error:
                await ending.keep_left(self.engine, row, error)
                unsure = row.token in self.launcher.unsure or isinstance(error, OutcomeUnknown)
                if not unsure and not await self.store.debris(row.token):
                    row.outcome = error.type
                    await self.engine.move_attempt(row, lease, "closed")
                continue
            ending.remember(row, instance)
            row.accepted_at = self.env.now()
            await self.engine.move_attempt(row, lease, "live")

    async def _end_rows(self, lease: LeaseRow, rows: list[AttemptRow], why: str) -> None:
        for row in rows:
            if row.state != "closed" and row.state != "ending":
                await resume.end(self.engine, row, lease, why)


def _worth_waiting(error: ProviderError) -> bool:
    return error.type not in ("InvalidRequest", "BadWorkload", "AuthFailed", "Forbidden")
