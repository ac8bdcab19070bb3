"""Ends: terminate until the provider itself says that nothing is left to bill, and keep the receipt."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.engine import Engine, error_view, instance_of, where
from orchestrator.models import Receipt
from orchestrator.spend import accrued
from orchestrator.store import AttemptRow, Debris, LeaseRow
from providers.base import Instance, Phase
from providers.errors import OutcomeUnknown, ProviderError, RateLimited

#: How long an attempt whose outcome stayed unknown is looked for, and ended on sight (design section 4).
WATCH = timedelta(hours=24)
#: How long a command waits for an end before it leaves it to the next one (Fluence may refuse for minutes).
PATIENCE_S = 90.0
_FIRST_POLL_S, _LONGEST_POLL_S = 0.4, 10.0
#: A provider may ask for any wait; one call of ours sleeps no longer than this at a time.
LONGEST_WAIT_S = 30.0
_LOOK_EVERY_S = 2.0


async def end_attempt(
    engine: Engine, row: AttemptRow, lease: LeaseRow, *, why: str, patience_s: float = PATIENCE_S
) -> bool:
    """End an attempt, whatever state it is in.

    Returns:
        True once it is closed; False if the end could not be confirmed in time: it stays `ending`.
    """
    if row.state == "closed":
        return True
    env = engine.env
    until = env.monotonic() + patience_s
    if row.state != "ending":
        row.outcome = row.outcome or why
        row.asked_end_at = env.now()
        await engine.move_attempt(row, lease, "ending")
        await engine.emit("terminating", f"ending {where(row.offer)}: {why}", lease=lease, row=row)
    if row.instance_id is None:
        found = await look(engine, row)
        if found is None:
            await _end_debris(engine, row, until)
            return await _close_unfound(engine, row, lease)
        remember(row, found)
        await engine.store.save_attempt(row, lease)
    gone = await _until_gone(engine, row, until)
    if gone and await _end_debris(engine, row, until):
        await _close_with_receipt(engine, row, lease, gone)
        return True
    await engine.emit(
        "warning",
        f"the end of {where(row.offer)} ({row.instance_id}) is not confirmed yet; it may still bill",
        lease=lease,
        row=row,
    )
    return False


async def look(engine: Engine, row: AttemptRow) -> Instance | None:
    """Find out what became of a create whose answer is not known.

    Looks until the provider's consistency window has passed and two listings in a row showed nothing.

    Raises:
        OutcomeUnknown: it could not look (another account, or the provider is down).
    """
    provider = engine.provider(row.provider)
    env = engine.env
    window = row.started_at + timedelta(seconds=provider.facts.consistency_s)
    give_up = env.monotonic() + provider.facts.consistency_s + 60.0
    misses = 0
    while True:
        try:
            if not await engine.same_account(row):
                raise OutcomeUnknown(
                    f"{row.provider}: the key now opens another account; cannot look for {row.token}",
                    code="other-account",
                )
            found = await provider.find(row.ref)
        except OutcomeUnknown:
            raise
        except ProviderError as error:
            if env.monotonic() > give_up:
                raise OutcomeUnknown(
                    f"{row.provider}: cannot look for {row.token}: {error}", code="cannot-look"
                ) from error
            wait = error.wait_s if isinstance(error, RateLimited) else _LOOK_EVERY_S
            await env.sleep(min(wait, LONGEST_WAIT_S))
            continue
        if found is not None and found.phase is not Phase.GONE:
            return found
        misses += 1
        if misses >= 2 and env.now() >= window:
            return None
        await env.sleep(_LOOK_EVERY_S)


def remember(row: AttemptRow, instance: Instance) -> None:
    """Take over what a provider said of its thing."""
    row.instance_id = instance.id
    row.handle = dict(instance.handle) or row.handle
    if instance.address is not None:
        row.address = instance.address


async def keep_left(engine: Engine, row: AttemptRow, error: ProviderError) -> None:
    """Save what a failed call left behind, before anything else happens."""
    now = engine.env.now()
    items = [
        Debris(
            token=row.token,
            provider=left.provider,
            account=left.account,
            instance_id=left.id,
            handle=dict(left.handle),
            found_at=now,
        )
        for left in error.left
    ]
    if items:
        await engine.store.add_debris(items)
        ids = ", ".join(item.instance_id for item in items)
        await engine.emit("warning", f"the failed call left {ids} behind; ending it", row=row)


async def keep_instance(engine: Engine, row: AttemptRow, instance: Instance) -> None:
    """Save a machine that came of a lease we have lost as something to be terminated, unless its attempt is open."""
    attempts = (await engine.store.attempts([row.lease])).get(row.lease, [])
    stored = next((each for each in attempts if each.token == row.token), None)
    if stored is not None and stored.state != "closed":
        return  # whoever took the lease over finds it by its token
    item = Debris(
        token=row.token,
        provider=instance.provider,
        account=instance.account,
        instance_id=instance.id,
        handle=dict(instance.handle),
        found_at=engine.env.now(),
    )
    await engine.store.add_debris([item])
    for each in await engine.store.debris(row.token):
        await end_debris(engine, each, until=engine.env.monotonic() + PATIENCE_S)


async def end_all_debris(engine: Engine, row: AttemptRow) -> None:
    """End what earlier calls under the attempt's token left behind; what does not end now is left to `resume`."""
    await _end_debris(engine, row, engine.env.monotonic() + PATIENCE_S)


async def end_debris(engine: Engine, item: Debris, *, until: float) -> bool:
    """Terminate one left-over until it is gone; False if that could not be confirmed in time."""
    if not await engine.same_account(item):
        return False
    provider = engine.provider(item.provider)
    pause = _FIRST_POLL_S
    while True:
        try:
            if await provider.terminate(instance_of(item)):
                await engine.store.debris_gone(item)
                return True
        except ProviderError as error:
            if isinstance(error, RateLimited):
                pause = max(pause, min(error.wait_s, LONGEST_WAIT_S))
        if engine.env.monotonic() >= until:
            return False
        await engine.env.sleep(pause)
        pause = min(pause * 2, _LONGEST_POLL_S)


async def _end_debris(engine: Engine, row: AttemptRow, until: float) -> bool:
    items = await engine.store.debris(row.token)
    return all([await end_debris(engine, item, until=until) for item in items])


async def _until_gone(engine: Engine, row: AttemptRow, until: float) -> str | None:
    """Ask and look until it is gone; returns the evidence, or None when time is up."""
    provider = engine.provider(row.provider)
    env = engine.env
    pause = _FIRST_POLL_S
    while True:
        try:
            if not await engine.same_account(row):
                return None
            if await provider.terminate(instance_of(row)):
                # A second witness: the provider's own listing or record must agree.
                seen = await provider.find(row.ref)
                # FAILED is an end too where the provider's `terminate` says that nothing is billed (Fluence).
                if seen is None or seen.phase in (Phase.GONE, Phase.FAILED):
                    state = "no longer listed" if seen is None else f"listed as {_ended(seen.phase)}"
                    return f"terminate confirmed, then looked up: {state} at {env.now():%Y-%m-%dT%H:%M:%SZ}"
                row.last_seen_at = env.now()
        except ProviderError as error:
            row.error = row.error or error_view(error)
            if isinstance(error, RateLimited):
                pause = max(pause, min(error.wait_s, LONGEST_WAIT_S))
        if env.monotonic() >= until:
            return None
        await env.sleep(pause)
        pause = min(pause * 1.6, _LONGEST_POLL_S)


def _ended(phase: Phase) -> str:
    return "ended" if phase is Phase.GONE else "failed"


async def _close_unfound(engine: Engine, row: AttemptRow, lease: LeaseRow) -> bool:
    if await engine.store.debris(row.token):
        return False
    row.watch_until = engine.env.now() + WATCH
    row.outcome = row.outcome or "OutcomeUnknown"
    evidence = "never listed within the provider's consistency window; watched for 24 h more"
    row.receipt = Receipt(
        asked_at=row.asked_end_at, answer="nothing to end", last_seen_at=None, evidence=evidence, cost_usd=None
    )
    await engine.move_attempt(row, lease, "closed")
    return True


async def _close_with_receipt(engine: Engine, row: AttemptRow, lease: LeaseRow, evidence: str) -> None:
    now = engine.env.now()
    if row.offer.pricing == "prepaid":
        evidence += "; prepaid: the node that it was on bills on"
    row.ended_at = now
    row.receipt = Receipt(
        asked_at=row.asked_end_at,
        answer="gone",
        last_seen_at=row.last_seen_at,
        evidence=evidence,
        cost_usd=accrued(row, now),
    )
    await engine.move_attempt(row, lease, "closed")
    await engine.emit(
        "terminated",
        f"{where(row.offer)} ({row.instance_id}) is gone",
        lease=lease,
        row=row,
        evidence=evidence,
        cost_usd=str(row.receipt.cost_usd),
    )


async def settle(engine: Engine, lease: LeaseRow, rows: list[AttemptRow]) -> None:
    """Close the lease if every attempt is closed; otherwise it stays `ending`."""
    if lease.state in ("ended", "failed"):
        return
    if any(row.state != "closed" for row in rows):
        if lease.state not in ("ending", "planned"):
            await engine.move(lease, "ending")
        return
    ran = any(row.running_at is not None for row in rows)
    ended = lease.state != "planned" and (ran or lease.wanted == "down")
    await engine.move(lease, "ended" if ended else "failed")
    word = "ended" if ended else "failed"
    await engine.emit(f"lease-{word}", f"{lease.name} has {word}", lease=lease)
