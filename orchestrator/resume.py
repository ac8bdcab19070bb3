"""What an earlier command left when it died: found, then finished or ended.

A lease whose holder is gone and that is not steady is taken over. If its machine exists, its boot is finished; if
nothing was made, the lease fails: nobody waits for it any more, so nothing new is rented. Wanted gone is ended.
Attempts whose outcome stayed unknown are looked for during a day and ended on sight.
"""

from __future__ import annotations

import asyncio

import msgspec

from orchestrator import ending
from orchestrator.boot import WantedGone
from orchestrator.engine import Engine, error_view, where
from orchestrator.errors import ConfigError
from orchestrator.launch import Bounds, Launcher
from orchestrator.lease import IllegalTransition
from orchestrator.store import AttemptRow, LeaseRow, LostClaim
from policies.request import Request
from providers.base import Phase
from providers.errors import OutcomeUnknown, ProviderError

UNSTEADY = ("planned", "launching", "booting", "ending")


async def resume(engine: Engine, *, limit_s: float | None = None) -> list[str]:
    """Take over and settle everything that is unfinished; returns the ids of the leases that were.

    What somebody else works on is left alone. What cannot be settled now (provider down, key gone, still booting
    after *limit_s* real seconds) stays on record, and the next command goes on.
    """
    pending = {row.lease for row in await engine.store.open_attempts() if row.state in ("intent", "ending")}
    work = {
        lease.id for lease in await engine.store.leases() if lease.state in UNSTEADY or lease.wanted == "down"
    } | pending  # an attempt may be open although its lease is over: a machine that turned up late
    touched = [
        lease_id for lease_id in await asyncio.gather(*(_one(engine, id_, limit_s) for id_ in sorted(work))) if lease_id
    ]
    try:
        async with asyncio.timeout(limit_s):
            await _watched(engine)
            await _debris(engine)
    except TimeoutError:
        await engine.emit("warning", "looking after what turned up late goes on with the next command")
    return touched


async def _one(engine: Engine, lease_id: str, limit_s: float | None) -> str | None:
    lease = await engine.store.claim(lease_id)
    if lease is None:
        return None
    try:
        async with asyncio.timeout(limit_s):
            await _settle(engine, lease)
    except TimeoutError:
        await engine.emit("warning", f"{lease.name} is still {lease.state}; the next command goes on", lease=lease)
    except LostClaim:
        return None  # somebody else goes on with it
    except (ProviderError, WantedGone, ConfigError, IllegalTransition) as error:
        # One lease that cannot be settled must not keep the others, or the command after this, from their work.
        await engine.emit("warning", f"{lease.name} is not settled yet: {error}", lease=lease)
    finally:
        await engine.store.release(lease.id)
    return lease.id


async def _settle(engine: Engine, lease: LeaseRow) -> None:
    rows = (await engine.store.attempts([lease.id])).get(lease.id, [])
    await engine.emit("resumed", f"taking over {lease.name}, which was {lease.state}", lease=lease)
    current = rows[-1] if rows else None
    for row in rows:
        # All but the newest attempt can only be ended.
        if row.state != "closed" and (row is not current or row.state == "ending"):
            await end(engine, row, lease, "interrupted")
    if lease.wanted == "down" or lease.state == "ending":
        for row in rows:
            await end(engine, row, lease, "user")
    elif (
        current is not None
        and current.state in ("intent", "live")
        and lease.state != "running"
        and await _finish(engine, lease, current, rows)
    ):
        return
    if lease.state == "running" and current is not None and current.state == "live":
        return
    await ending.settle(engine, lease, rows)


async def end(engine: Engine, row: AttemptRow, lease: LeaseRow, why: str) -> bool:
    """End one attempt; what cannot be looked up or asked for now stays `ending`."""
    try:
        return await ending.end_attempt(engine, row, lease, why=why)
    except (ProviderError, ConfigError) as error:
        await engine.emit("warning", str(error), lease=lease, row=row)
        return False


async def _finish(engine: Engine, lease: LeaseRow, row: AttemptRow, rows: list[AttemptRow]) -> bool:
    """Bring what was begun to running, and say whether it runs; what does not run is ended."""
    request = msgspec.json.decode(lease.request, type=Request)
    launcher = Launcher(engine, request, Bounds())
    try:
        if row.state == "intent" and not await _adopt(engine, lease, row):
            return False
        await launcher.finish_boot(lease, row)
        return True
    except (ProviderError, WantedGone):
        for task in launcher.ends:
            await task
        for each in rows:
            await end(engine, each, lease, "interrupted")
        return False


async def _adopt(engine: Engine, lease: LeaseRow, row: AttemptRow) -> bool:
    """Look for what a create that nobody waited for has made."""
    found = await ending.look(engine, row)
    if found is None:
        row.outcome, row.watch_until = "interrupted", engine.env.now() + ending.WATCH
        await engine.move_attempt(row, lease, "closed")
        return False
    ending.remember(row, found)
    row.accepted_at = engine.env.now()
    await engine.move_attempt(row, lease, "live")
    await engine.emit("accepted", f"found {found.id} at {where(row.offer)}", lease=lease, row=row)
    return True


async def _watched(engine: Engine) -> None:
    """End on sight what turns up late."""
    for row in await engine.store.watched():
        if row.provider not in engine.providers:
            continue
        try:
            if not await engine.same_account(row):
                continue
            found = await engine.provider(row.provider).find(row.ref)
        except ProviderError as error:
            await engine.emit("warning", f"cannot look for {row.token}: {error}", row=row)
            continue
        if found is None or found.phase is Phase.GONE:
            continue
        lease = await engine.store.claim(row.lease)
        if lease is None:
            continue
        try:
            message = f"{found.id} turned up late at {where(row.offer)}"
            await engine.emit("orphan-found", message, lease=lease, row=row)
            ending.remember(row, found)
            row.error = row.error or error_view(OutcomeUnknown("turned up late"))
            # The attempt was closed in the belief that nothing exists; the record follows the facts.
            row.state, row.asked_end_at, row.receipt, row.ended_at = "ending", engine.env.now(), None, None
            await engine.store.save_attempt(row, lease)
            await end(engine, row, lease, "late")
        finally:
            await engine.store.release(lease.id)


async def _debris(engine: Engine) -> None:
    for item in await engine.store.debris():
        if item.provider not in engine.providers:
            continue
        try:
            await ending.end_debris(engine, item, until=engine.env.monotonic() + 30.0)
        except ProviderError as error:
            await engine.emit("warning", f"{item.instance_id} is left over: {error}", provider=item.provider)
