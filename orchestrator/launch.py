"""Launch: walk down the plan until one machine runs, with every failure typed by what to do next.

Order of one attempt, each step saved before the next: quote, intent, launch, handle, boot, running. A crash after any
step is resumed from the row (`resume`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from orchestrator import ending
from orchestrator import lease as machine
from orchestrator.boot import WantedGone, boot
from orchestrator.engine import PRICE_SLACK, Engine, error_view, too_dear, where
from orchestrator.holds import hold_for, matches
from orchestrator.spend import accrued
from orchestrator.store import AttemptRow, HoldRow, LeaseRow, LostClaim
from policies.plan import Candidate
from policies.request import Request, is_container
from providers import naming
from providers.base import Instance, LaunchSpec, Offer
from providers.errors import (
    BadWorkload,
    InvalidRequest,
    OfferGone,
    OutcomeUnknown,
    PriceChanged,
    ProviderError,
    RateLimited,
    Unavailable,
)

RETRIES_HERE = 2
LONGEST_RATE_WAIT_S = 120.0
_T = TypeVar("_T")
_STOPS = (InvalidRequest, BadWorkload)


@dataclass(slots=True)
class Bounds:
    """How far failover may go: seconds, and USD spent on tries that failed (None: no bound)."""

    deadline_s: float | None = None
    max_spend_usd: Decimal | None = None


class Exhausted(Exception):
    """No candidate is left, or a bound was reached. `why` says which; `last` is the last error."""

    def __init__(self, why: str, last: ProviderError | None) -> None:
        super().__init__(why)
        self.why = why
        self.last = last


@dataclass(slots=True)
class Launcher:
    """Launches the leases of one `up`. Siblings share what they learn and never take the same single machine.

    Attributes:
        inflight: launch calls on their way, by token; a cancel waits for them, because they may have an effect.
        ends: ends of failed attempts that go on beside the next try.
        asked: tokens under which a provider was asked to launch.
        unsure: tokens of which one answer was lost: a later refusal under them proves nothing.
    """

    engine: Engine
    request: Request
    bounds: Bounds
    inflight: dict[str, asyncio.Task[Instance]] = field(default_factory=dict)
    ends: set[asyncio.Task[bool]] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    _taken: set[str] = field(default_factory=set)

    async def run(self, lease: LeaseRow, candidates: Sequence[Candidate], rows: list[AttemptRow]) -> AttemptRow:
        """Try candidates until one runs; *rows* collects every attempt.

        Raises:
            Exhausted: nothing runs. Ends of failed attempts may still be going on in `ends`.
            WantedGone: somebody wants the lease gone.
        """
        env = self.engine.env
        started = env.monotonic()
        left = [candidate.offer for candidate in candidates]
        totals = {candidate.offer.offer_id: candidate.cost.total_usd for candidate in candidates}
        last: ProviderError | None = None
        while True:
            if self.bounds.deadline_s is not None and env.monotonic() - started > self.bounds.deadline_s:
                raise Exhausted(f"the policy's {self.bounds.deadline_s:g} s for failover are over", last)
            if self._overspent(rows):
                raise Exhausted(f"failed tries cost more than {self.bounds.max_spend_usd} USD", last)
            if await self.engine.store.wanted(lease.id) == "down":
                raise WantedGone
            if lease.ends_at is not None and env.now() >= lease.ends_at:
                raise Exhausted("its time was over before it ran", last)
            offer = self._next(left, await self.engine.store.holds())
            if offer is None:
                raise Exhausted("no candidate is left", last)
            left.remove(offer)
            self._taken.add(offer.offer_id)
            # What is promised is what the offer that is really taken was planned to cost.
            lease.promised_total_usd = totals[offer.offer_id] / self.request.replicas
            try:
                return await self._attempt(lease, offer, rows)
            except ProviderError as error:
                last = error
                self._taken.discard(offer.offer_id)
                await self._after(error, offer, lease, rows)
                if isinstance(error, _STOPS):
                    raise Exhausted("no other offer would differ", error) from error

    def _next(self, left: list[Offer], holds: Sequence[HoldRow]) -> Offer | None:
        """The best offer that is not set aside; places with a capacity hold come last."""
        fallback: Offer | None = None
        for offer in left:
            if offer.offer_id in self._taken and (offer.available_count or 1) <= 1 and offer.host_id:
                continue
            held = [hold for hold in holds if matches(hold, offer)]
            if any(hold.drops for hold in held):
                continue
            if not held:
                return offer
            fallback = fallback or offer
        return fallback

    def _overspent(self, rows: Sequence[AttemptRow]) -> bool:
        limit = self.bounds.max_spend_usd
        if limit is None:
            return False
        now = self.engine.env.now()
        return sum((accrued(row, now) or Decimal(0) for row in rows), Decimal(0)) > limit

    async def _after(self, error: ProviderError, offer: Offer, lease: LeaseRow, rows: list[AttemptRow]) -> None:
        hold = hold_for(error, offer)
        if hold is not None:
            await self.engine.store.place_hold(hold, error.hold_s)
        row = rows[-1] if rows and rows[-1].offer.offer_id == offer.offer_id else None
        await self.engine.emit(
            "attempt-failed",
            f"{where(offer)}: {error}",
            lease=lease,
            row=row,
            provider=offer.provider,
            type=error.type,
            code=error.code,
            offer_id=offer.offer_id,
            held=hold.key if hold else None,
        )

    async def _attempt(self, lease: LeaseRow, offer: Offer, rows: list[AttemptRow]) -> AttemptRow:
        quoted = await self._quote(lease, offer)
        row = await self._intend(lease, quoted, offer, rows)
        try:
            instance = await self._launch(lease, row)
        except ProviderError as error:
            await self._refused(lease, row, error)
            raise
        await self._accepted(lease, row, instance)
        await ending.end_all_debris(self.engine, row)
        return await self.finish_boot(lease, row)

    async def finish_boot(self, lease: LeaseRow, row: AttemptRow) -> AttemptRow:
        """From accepted to running; used for a fresh attempt and for one that a dead command left.

        Raises:
            ProviderError: it failed; its end goes on in `ends`.
        """
        engine = self.engine
        if lease.state != "booting":
            await engine.move(lease, "booting")
        try:
            proof = await boot(engine, row, lease, ready=self.request.ready)
        except ProviderError as error:
            row.error, row.outcome = error_view(error), error.type
            await engine.store.save_attempt(row, lease)
            await ending.keep_left(engine, row, error)
            await engine.store.note_boot(place_of(row.offer), booted=False)
            self._end_beside(row, lease, error.type)
            raise
        row.running_at, row.outcome = engine.env.now(), "running"
        await engine.store.save_attempt(row, lease)
        await engine.move(lease, "running")
        await engine.store.note_boot(place_of(row.offer), booted=True)
        if proof is not None and proof.warning:
            await engine.emit("warning", proof.warning, lease=lease, row=row)
        names = ", ".join(proof.names) if proof else "GPU not checked"
        await engine.emit("running", f"{where(row.offer)} runs: {names}", lease=lease, row=row)
        return row

    async def _quote(self, lease: LeaseRow, offer: Offer) -> Offer:
        """Re-quote exactly this offer, just before the create."""
        provider = self.engine.provider(offer.provider)

        async def ask() -> Offer | None:
            return await provider.price(offer)

        fresh = await self._patiently(ask, lease, offer)
        if fresh is None or fresh.available is False:
            raise OfferGone(f"{where(offer)} is not for rent any more", code="not-quoted")
        promised = offer.usd_per_hour
        if fresh.usd_per_hour is None or promised is None:
            raise PriceChanged(f"{where(offer)} has no price any more", now=fresh)
        if too_dear(fresh.usd_per_hour, promised):
            raise PriceChanged(
                f"{where(offer)} now costs {fresh.usd_per_hour} USD/h, planned were {promised}", now=fresh
            )
        await self.engine.emit(
            "quoted", f"{where(offer)} at {fresh.usd_per_hour} USD/h", lease=lease, provider=offer.provider
        )
        return fresh

    async def _intend(self, lease: LeaseRow, quoted: Offer, planned: Offer, rows: list[AttemptRow]) -> AttemptRow:
        """Save the intent: token, account, offer, promise and the fully resolved spec."""
        engine, request = self.engine, self.request
        assert planned.usd_per_hour is not None, "`_quote` refuses offers without a price"
        provider = engine.provider(quoted.provider)
        account = await provider.account()
        n = lease.attempt_n + 1
        token = naming.make(engine.owner, lease.id, n)
        workload = request.workload or ("container" if is_container(request) else None)
        if workload not in quoted.workloads:
            workload = quoted.workloads[0] if quoted.workloads else None
        spec = LaunchSpec(
            name=token,
            owner=engine.owner,
            lease=lease.id,
            ssh_public_key=engine.public_key,
            workload=workload,
            image=request.image,
            cmd=request.cmd,
            env=dict(request.env),
            ports=tuple(request.port),
            disk_gib=int(request.disk_gib),
            max_usd_per_hour=planned.usd_per_hour * PRICE_SLACK,
            ends_at=lease.ends_at,
        )
        spec = await provider.resolve(quoted, spec)
        assert planned.usd_per_hour is not None
        row = AttemptRow(
            token=token,
            lease=lease.id,
            n=n,
            state="intent",
            provider=quoted.provider,
            account=account,
            offer=quoted,
            spec=spec,
            promised_usd_per_hour=planned.usd_per_hour,
            started_at=engine.env.now(),
        )
        lease.attempt_n = n
        if lease.state != "launching":
            machine.check(lease.state, "launching")
            lease.state = "launching"
        rows.append(row)  # before it is saved: a cancel in between must find it
        await engine.store.add_attempt(row, lease)
        await engine.emit("launching", f"asking {where(quoted)}", lease=lease, row=row, token=token)
        return row

    async def _launch(self, lease: LeaseRow, row: AttemptRow) -> Instance:
        """Ask the provider, as often as the error table allows; the answer, or the look-up's."""
        provider = self.engine.provider(row.provider)

        async def ask() -> Instance:
            # If somebody took the lease over while we stood still, nothing may be rented under it any more.
            await self.engine.store.save_attempt(row, lease)
            task = asyncio.ensure_future(provider.launch(row.offer, row.spec, row.token))
            self.inflight[row.token] = task
            self.asked.add(row.token)
            try:
                # A cancelled caller must not cut the call: it may have its effect all the same.
                return await asyncio.shield(task)
            except ProviderError as error:
                if isinstance(error, OutcomeUnknown):
                    self.unsure.add(row.token)
                # Saved at once: a repeated call answers differently, and what the first one left would be forgotten.
                await ending.keep_left(self.engine, row, error)
                raise

        try:
            return await self._patiently(ask, lease, row.offer)
        except OutcomeUnknown as error:
            if provider.facts.replayable_create:
                await self.engine.emit("looking", f"asking again under the same token: {error}", row=row)
                return await self._replay(ask, lease, row, error)
            return await self._look(lease, row, error)

    async def _replay(
        self, ask: Callable[[], Awaitable[Instance]], lease: LeaseRow, row: AttemptRow, error: OutcomeUnknown
    ) -> Instance:
        try:
            return await self._patiently(ask, lease, row.offer)
        except OutcomeUnknown as again:
            return await self._look(lease, row, again)
        except ProviderError:
            # The first call may have had its effect, whatever this one says of itself.
            return await self._look(lease, row, error)

    async def _look(self, lease: LeaseRow, row: AttemptRow, error: OutcomeUnknown) -> Instance:
        await ending.keep_left(self.engine, row, error)
        await self.engine.emit("looking", f"{where(row.offer)}: {error}; looking for {row.token}", lease=lease, row=row)
        found = await ending.look(self.engine, row)
        if found is None:
            raise OutcomeUnknown(f"{error.message}; never listed", code=error.code)
        return found

    async def _patiently(self, ask: Callable[[], Awaitable[_T]], lease: LeaseRow, offer: Offer) -> _T:
        """Ask, waiting out rate limits and repeating what is proven to have had no effect."""
        env = self.engine.env
        waited, tries = 0.0, 0
        while True:
            try:
                return await ask()
            except RateLimited as error:
                waited += error.wait_s
                if waited > LONGEST_RATE_WAIT_S:
                    raise
                await self.engine.emit(
                    "rate-limited",
                    f"{offer.provider} asks to wait {error.wait_s:g} s",
                    lease=lease,
                    provider=offer.provider,
                )
                await env.sleep(error.wait_s)
            except Unavailable:
                tries += 1
                if tries > RETRIES_HERE:
                    raise
                await env.sleep(env.uniform(0.3, 0.6) * 2**tries)

    async def _accepted(self, lease: LeaseRow, row: AttemptRow, instance: Instance) -> None:
        ending.remember(row, instance)
        row.accepted_at = self.engine.env.now()
        try:
            await self.engine.move_attempt(row, lease, "live")
        except LostClaim:
            # Somebody took the lease over while we stood still, and may have closed the attempt as never made.
            await ending.keep_instance(self.engine, row, instance)
            raise
        self.inflight.pop(row.token, None)
        await self.engine.emit("accepted", f"{where(row.offer)}: accepted as {instance.id}", lease=lease, row=row)

    async def _refused(self, lease: LeaseRow, row: AttemptRow, error: ProviderError) -> None:
        """Close a refused attempt; what it left behind, or may have made, is ended beside the next try."""
        row.error, row.outcome = error_view(error), error.type
        self.inflight.pop(row.token, None)
        debris = await self.engine.store.debris(row.token)
        if isinstance(error, OutcomeUnknown):
            if error.code in ("other-account", "cannot-look"):
                await self.engine.move_attempt(row, lease, "ending")
                return
            row.watch_until = self.engine.env.now() + ending.WATCH
        if debris:
            await self.engine.move_attempt(row, lease, "ending")
            self._end_beside(row, lease, error.type)
            return
        await self.engine.move_attempt(row, lease, "closed")

    def _end_beside(self, row: AttemptRow, lease: LeaseRow, why: str) -> None:
        task = asyncio.create_task(ending.end_attempt(self.engine, row, lease, why=why))
        self.ends.add(task)


def place_of(offer: Offer) -> str:
    """The key under which boots that worked and failed are counted."""
    return "|".join(
        [offer.provider, offer.region or "", offer.zone or "", offer.host_id or "", offer.instance_type or offer.gpu]
    )
