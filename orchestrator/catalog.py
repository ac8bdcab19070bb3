"""The market: every configured provider asked side by side, with a deadline.

A slow or failing provider never holds up the others; its last good answer stands in for it, marked stale, while it is
young enough. What each source said, and when, is part of every plan.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from orchestrator.store import Store
from policies.plan import SourceState
from providers.base import Listing, Offer, Provider, Query
from providers.env import Env
from providers.errors import ProviderError, RateLimited

DEADLINE_S = 8.0
STALE_S = 900.0


@dataclass(frozen=True, slots=True)
class Market:
    """What is for rent, and who said so.

    Attributes:
        notes: provider name to one line on its answer ("rents no L40").
        errors: provider name to the error that kept it from answering.
    """

    offers: list[Offer]
    sources: tuple[SourceState, ...]
    notes: dict[str, str] = field(default_factory=dict)
    errors: dict[str, ProviderError] = field(default_factory=dict)


@dataclass(slots=True)
class _Answer:
    account: str
    listing: Listing
    at: datetime


async def gather(
    providers: Mapping[str, Provider], query: Query, *, env: Env, store: Store, deadline_s: float = DEADLINE_S
) -> Market:
    """Ask every provider at once, and wait for none longer than *deadline_s* (real seconds)."""
    tasks = {name: asyncio.create_task(_ask(provider, query, env)) for name, provider in providers.items()}
    if tasks:
        await asyncio.wait(tasks.values(), timeout=deadline_s)
    offers: list[Offer] = []
    states: list[SourceState] = []
    market = Market(offers, (), {}, {})
    for name, task in tasks.items():
        error = await _error_of(task, name)
        if error is None:
            answer = task.result()
            listed = answer.listing
            offers += listed.offers
            state = "partial" if listed.partial else "ok"
            states.append(_state(name, answer.account, state, listed.offers, answer.at, note=listed.note or None))
            if listed.note:
                market.notes[name] = listed.note
            await store.save_offers(_key(name, query), answer.account, msgspec.json.encode(listed.offers))
            continue
        market.errors[name] = error
        states.append(await _stand_in(name, query, error, offers, env, store))
    return Market(offers, tuple(states), market.notes, market.errors)


async def _ask(provider: Provider, query: Query, env: Env) -> _Answer:
    account = await provider.account()
    listing = await provider.offers(query)
    return _Answer(account, listing, env.now())


async def _error_of(task: asyncio.Task[_Answer], name: str) -> ProviderError | None:
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return ProviderError(f"{name} did not answer in time", code="deadline")
    error = task.exception()
    if error is None or isinstance(error, ProviderError):
        return error
    if isinstance(error, Exception):
        # A bug in one adapter is that provider's failure, not everybody's.
        return ProviderError(f"{name}: {type(error).__name__}: {error}", code="adapter-bug")
    raise error


async def _stand_in(
    name: str, query: Query, error: ProviderError, offers: list[Offer], env: Env, store: Store
) -> SourceState:
    """The last good answer instead, if it is young; a wrong key makes it worthless."""
    cached = await store.cached_offers(_key(name, query))
    usable = isinstance(error, RateLimited) or error.code == "deadline" or error.type == "Unavailable"
    if cached and usable and env.now() - cached[0] <= timedelta(seconds=STALE_S):
        at, account, blob = cached
        old = msgspec.json.decode(blob, type=list[Offer])
        offers += old
        return _state(name, account, "stale", old, at, str(error))
    return _state(name, None, "failed", [], None, str(error))


def _state(
    name: str,
    account: str | None,
    state: str,
    offers: list[Offer],
    at: datetime | None,
    error: str | None = None,
    note: str | None = None,
) -> SourceState:
    return SourceState(
        provider=name, account=account, state=state, offers=len(offers), observed_at=at, error=error, note=note
    )


def _key(name: str, query: Query) -> str:
    return f"{name}:{hashlib.sha256(msgspec.json.encode(query)).hexdigest()[:32]}"
