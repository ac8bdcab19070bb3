"""What `orch` shows of its records: the JSON of `up`, `ps`, `show`, `down` and `events`.

Times are RFC 3339 UTC, money decimal strings, absent values null.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

from providers.base import Offer

LeaseState = Literal["planned", "launching", "booting", "running", "ending", "ended", "failed"]
AttemptState = Literal["intent", "live", "ending", "closed"]


class Dialled(msgspec.Struct, frozen=True, kw_only=True):
    """Where SSH really answers: the address after `Env.dial`."""

    host: str
    port: int
    user: str


class ErrorView(msgspec.Struct, frozen=True, kw_only=True):
    """An error as the provider gave it, classed."""

    type: str
    code: str
    message: str


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One try to rent one offer."""

    n: int
    token: str
    state: AttemptState
    offer: Offer
    outcome: str | None
    error: ErrorView | None
    started_at: datetime
    ended_at: datetime | None


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Proof of an end.

    Attributes:
        asked_at: when we asked the provider to end it.
        answer: what `terminate` said in the end.
        last_seen_at: when the provider last showed the machine as alive.
        evidence: how we know that it is gone.
        cost_usd: what it cost by our own sums.
    """

    asked_at: datetime | None
    answer: str
    last_seen_at: datetime | None
    evidence: str
    cost_usd: Decimal | None


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Our record of one wanted replica, with its attempts."""

    id: str
    name: str
    state: LeaseState
    request: dict[str, Any]
    policy: str
    provider: str | None
    account: str | None
    region: str | None
    instance_type: str | None
    gpu: str | None
    gpu_count: int | None
    instance_id: str | None
    address: Dialled | None
    usd_per_hour: Decimal | None
    promised_total_usd: Decimal | None
    spent_usd: Decimal | None
    created_at: datetime
    running_at: datetime | None
    ends_at: datetime | None
    ended_at: datetime | None
    attempts: tuple[AttemptView, ...]
    receipt: Receipt | None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened: a past-tense word and its facts.

    Kinds: ``lease-created planned quoted price-changed launching accepted booting probing running
    attempt-failed rate-limited looking terminating terminated lease-ended lease-failed resumed
    orphan-found orphan-ended source-failed waiting interrupted warning``.
    """

    id: int
    at: datetime
    kind: str
    lease: str | None
    attempt: int | None
    provider: str | None
    message: str
    data: dict[str, Any] = {}


class Stray(msgspec.Struct, frozen=True, kw_only=True):
    """A machine at a provider that carries our mark and that no open lease accounts for."""

    provider: str
    account: str
    instance_id: str
    token: str | None
    lease: str | None
    phase: str
    usd_per_hour: Decimal | None
    created_at: datetime | None
    why: str
    ended: bool


class ProviderState(msgspec.Struct, frozen=True, kw_only=True):
    """What `orch providers` shows of one provider."""

    name: str
    title: str
    configured_from: str | None
    workloads: tuple[str, ...]
    markets: tuple[str, ...]
    egress: str
    dead_man: str | None
    holds: tuple[dict[str, Any], ...] = ()
