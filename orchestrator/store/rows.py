"""The records as the engine holds them: one struct per table that it changes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from orchestrator.models import AttemptState, ErrorView, LeaseState, Receipt
from providers.base import Address, AttemptRef, LaunchSpec, Offer

OPEN_LEASE: tuple[LeaseState, ...] = ("planned", "launching", "booting", "running", "ending")
OPEN_ATTEMPT: tuple[AttemptState, ...] = ("intent", "live", "ending")


class LeaseRow(msgspec.Struct, kw_only=True):
    """A lease as it stands in the store; `request` is the JSON of the Request."""

    id: str
    name: str
    state: LeaseState
    wanted: str
    request: bytes
    policy: str
    created_at: datetime
    attempt_n: int = 0
    promised_total_usd: Decimal | None = None
    running_at: datetime | None = None
    ends_at: datetime | None = None
    ended_at: datetime | None = None
    owner: str | None = None
    owner_until: datetime | None = None
    fence: int = 0
    version: int = 0


class AttemptRow(msgspec.Struct, kw_only=True):
    """An attempt as it stands in the store."""

    token: str
    lease: str
    n: int
    state: AttemptState
    provider: str
    account: str
    offer: Offer
    spec: LaunchSpec
    promised_usd_per_hour: Decimal
    started_at: datetime
    outcome: str | None = None
    instance_id: str | None = None
    handle: dict[str, str] | None = None
    address: Address | None = None
    error: ErrorView | None = None
    accepted_at: datetime | None = None
    running_at: datetime | None = None
    asked_end_at: datetime | None = None
    last_seen_at: datetime | None = None
    ended_at: datetime | None = None
    receipt: Receipt | None = None
    watch_until: datetime | None = None

    @property
    def ref(self) -> AttemptRef:
        """What a provider needs to find it."""
        return AttemptRef(
            token=self.token,
            account=self.account,
            offer=self.offer,
            spec=self.spec,
            instance_id=self.instance_id,
            handle=self.handle,
        )


class Debris(msgspec.Struct, kw_only=True):
    """Something that a failed call left behind at a provider and that must be terminated."""

    token: str
    provider: str
    account: str
    instance_id: str
    handle: dict[str, str]
    found_at: datetime
    gone_at: datetime | None = None
    id: int = 0


class HoldRow(msgspec.Struct, kw_only=True):
    """A place that is held back after a failure there. None in a field means any.

    `drops`: candidates in it are set aside; otherwise they only rank last.
    """

    key: str
    provider: str
    until: datetime
    drops: bool
    why: str
    account: str | None = None
    region: str | None = None
    zone: str | None = None
    instance_type: str | None = None
    host_id: str | None = None
    offer_id: str | None = None
    gpu: str | None = None
    min_usd_per_hour: Decimal | None = None
    repeats: int = 1
    placed_at: datetime | None = None


def lease_values(row: LeaseRow) -> dict[str, Any]:
    """The columns of a lease."""
    return {**msgspec.structs.asdict(row), "request": row.request.decode()}


def lease_row(row: Mapping[str, Any]) -> LeaseRow:
    """A lease from its columns."""
    return LeaseRow(**{**row, "request": row["request"].encode()})


_DOCUMENTS: dict[str, Any] = {
    "offer": Offer,
    "spec": LaunchSpec,
    "handle": dict[str, str],
    "address": Address,
    "error": ErrorView,
    "receipt": Receipt,
}
_DECODERS = {name: msgspec.json.Decoder(kind).decode for name, kind in _DOCUMENTS.items()}


def attempt_values(row: AttemptRow) -> dict[str, Any]:
    """The columns of an attempt."""
    values = msgspec.structs.asdict(row)
    for name in _DOCUMENTS:
        if values[name] is not None:
            values[name] = msgspec.json.encode(values[name]).decode()
    return values


def attempt_row(row: Mapping[str, Any]) -> AttemptRow:
    """An attempt from its columns."""
    values = dict(row)
    for name, decode in _DECODERS.items():
        if (text := values[name]) is not None:
            values[name] = decode(text)
    return AttemptRow(**values)
