"""What every part of the engine works with: the world, the store, the providers, and the event stream."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from orchestrator import lease as machine
from orchestrator import log
from orchestrator.errors import ConfigError
from orchestrator.models import AttemptState, ErrorView, Event, LeaseState
from orchestrator.ssh import Target
from orchestrator.store import AttemptRow, Debris, LeaseRow, Store
from providers.base import Address, Instance, Offer, Provider
from providers.env import Env
from providers.errors import ProviderError

#: A price this much above the promise is another price (design: 2 %).
PRICE_SLACK = Decimal("1.02")

#: Told of every event that the current call brings about, as it is saved; calls side by side have their own.
LISTENER: ContextVar[Callable[[Event], None] | None] = ContextVar("orch_listener", default=None)


@dataclass(slots=True)
class Engine:
    """The engine's surroundings.

    Attributes:
        providers: adapters in use, by name.
        owner: the installation's full owner id.
        public_key: OpenSSH line that machines get.
    """

    env: Env
    store: Store
    providers: Mapping[str, Provider]
    owner: str
    state_dir: Path
    key_file: Path
    public_key: str
    _accounts: dict[str, str] = field(default_factory=dict)

    async def emit(
        self,
        kind: str,
        message: str,
        *,
        lease: LeaseRow | None = None,
        row: AttemptRow | None = None,
        provider: str | None = None,
        **data: Any,
    ) -> None:
        """Save an event, log it, and tell whoever listens."""
        event = await self.store.add_event(
            kind,
            message,
            lease=lease.id if lease else row.lease if row else None,
            attempt=row.n if row else None,
            provider=provider or (row.provider if row else None),
            data=data,
        )
        log.event(event)
        listener = LISTENER.get()
        if listener is not None:
            # Whoever listens may break (a closed pipe); what is being rented or ended must not break with it.
            with contextlib.suppress(Exception):
                listener(event)

    async def move(self, lease: LeaseRow, state: LeaseState) -> None:
        """Take a lease along one edge of its machine, and save it."""
        machine.check(lease.state, state)
        lease.state = state
        now = self.env.now()
        if state == "running":
            lease.running_at = lease.running_at or now
        if state in ("ended", "failed"):
            lease.ended_at = now
        await self.store.save_lease(lease)

    async def move_attempt(self, row: AttemptRow, lease: LeaseRow, state: AttemptState) -> None:
        """Take an attempt along one edge of its machine, and save it."""
        machine.check_attempt(row.state, state)
        row.state = state
        if state == "closed":
            row.ended_at = row.ended_at or self.env.now()
        await self.store.save_attempt(row, lease)

    def provider(self, name: str) -> Provider:
        """The adapter called *name*.

        Raises:
            ConfigError: its credentials are not there (any more).
        """
        try:
            return self.providers[name]
        except KeyError:
            raise ConfigError(
                f"{name} is not configured, but a machine there is on record",
                hint=f"set {name}'s credentials again, so that the machine can be looked after and ended",
            ) from None

    async def same_account(self, row: AttemptRow | Debris) -> bool:
        """Whether our key still opens the account where the attempt was made; else we could not look."""
        return await self.provider(row.provider).account() == row.account

    def target(self, row: AttemptRow, address: Address) -> Target:
        """How SSH reaches a machine."""
        host, port = self.env.dial(address.host, address.port)
        known = self.state_dir / "known_hosts" / row.token
        return Target(host, port, address.user, self.key_file, known, row.token)


def error_view(error: ProviderError) -> ErrorView:
    """An error as the store keeps it."""
    return ErrorView(type=error.type, code=error.code, message=error.message)


def instance_of(row: AttemptRow | Debris) -> Instance:
    """What `terminate` needs, from our own record."""
    return Instance(
        provider=row.provider,
        account=row.account,
        id=row.instance_id or "",
        handle=row.handle or {},
        token=row.token,
    )


def too_dear(rate: Decimal | None, promised: Decimal) -> bool:
    """Whether the provider now asks more than was promised, beyond the slack."""
    return rate is not None and rate > promised * PRICE_SLACK


def where(offer: Offer) -> str:
    """An offer in a few words, for people."""
    place = "/".join(part for part in (offer.region, offer.zone) if part) or offer.country
    kind = offer.instance_type or f"{offer.gpu_count}x {offer.gpu}"
    # A marketplace may sell the same thing twice, once without a place: the market tells them apart.
    return f"{offer.provider} {kind}" + (f" in {place}" if place else f" ({offer.market})" if offer.market else "")
