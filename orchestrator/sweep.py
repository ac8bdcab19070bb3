"""The orphan sweep: the providers are asked first, our records second."""

from __future__ import annotations

from datetime import timedelta

from orchestrator import ending
from orchestrator.engine import Engine
from orchestrator.errors import ConfigError, OutcomeUnclear
from orchestrator.models import Stray
from providers import naming
from providers.base import Instance, Phase, Provider
from providers.errors import ProviderError

STRAY_GRACE_S = 60.0


async def sweep(engine: Engine, *, delete: bool) -> list[Stray]:
    """Find machines with our mark that no open lease accounts for, and with *delete* end them.

    One provider that cannot be asked does not keep the others from being swept.

    Raises:
        OutcomeUnclear: at the end, if a provider could not be asked, or not all of it; `strays` holds what was found.
    """
    strays: list[Stray] = []
    unseen: list[str] = []
    for name in engine.providers:
        try:
            provider = engine.providers[name]
        except ConfigError as error:
            await engine.emit("source-failed", f"{name}: {error}", provider=name)
            unseen.append(f"{name}: {error}")
            continue
        try:
            account = await provider.account()
            alive = await provider.owned()
        except ProviderError as error:
            await engine.emit("source-failed", f"{name}: {error}", provider=name)
            unseen.append(f"{name}: {error}")
            if error.seen is None:
                continue
            # One own machine that is off must not keep the others from being swept: what was seen is there.
            alive = list(error.seen)
        alive_leases = {lease.id for lease in await engine.store.leases()}
        known = {
            row.token
            for row in await engine.store.open_attempts()
            if row.account == account and row.lease in alive_leases
        }
        for instance in alive:
            age = None if instance.created_at is None else engine.env.now() - instance.created_at
            newborn = age is not None and age < timedelta(seconds=STRAY_GRACE_S)
            if instance.token in known or newborn or instance.phase is Phase.GONE:
                continue
            ended = delete and await _end(engine, provider, instance)
            parts = naming.parse(instance.token)
            strays.append(
                Stray(
                    provider=name,
                    account=account,
                    instance_id=instance.id,
                    token=instance.token,
                    lease=parts.lease if parts else None,
                    phase=str(instance.phase),
                    usd_per_hour=instance.usd_per_hour,
                    created_at=instance.created_at,
                    why="carries our mark, and no open lease accounts for it",
                    ended=ended,
                )
            )
    if unseen:
        raise OutcomeUnclear(
            f"could not look everywhere: {'; '.join(unseen)}",
            hint="where it could not look nothing is known; try again, or see: orch providers check",
            strays=tuple(strays),
        )
    return strays


async def _end(engine: Engine, provider: Provider, instance: Instance) -> bool:
    until = engine.env.monotonic() + ending.PATIENCE_S
    while engine.env.monotonic() < until:
        try:
            if await provider.terminate(instance):
                await engine.emit("orphan-ended", f"{instance.id} is gone", provider=provider.name)
                return True
        except ProviderError as error:
            await engine.emit("warning", f"{instance.id}: {error}", provider=provider.name)
        await engine.env.sleep(2.0)
    return False
