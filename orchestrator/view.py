"""Records as users see them: rows of the store turned into `models.Lease`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from orchestrator.models import AttemptView, Dialled, Lease, Receipt
from orchestrator.spend import accrued
from orchestrator.store.rows import AttemptRow, LeaseRow
from providers.env import Env


def lease_view(row: LeaseRow, attempts: list[AttemptRow], env: Env) -> Lease:
    """One lease with its attempts; the current machine is the newest attempt that was accepted."""
    now = env.now()
    current = _current(attempts)
    offer = current.offer if current else None
    return Lease(
        id=row.id,
        name=row.name,
        state=row.state,
        request=msgspec.json.decode(row.request),
        policy=row.policy,
        provider=current.provider if current else None,
        account=current.account if current else None,
        region=offer.region if offer else None,
        instance_type=offer.instance_type if offer else None,
        gpu=offer.gpu if offer else None,
        gpu_count=offer.gpu_count if offer else None,
        instance_id=current.instance_id if current else None,
        address=_address(row, current, env),
        usd_per_hour=offer.usd_per_hour if offer else None,
        promised_total_usd=row.promised_total_usd,
        spent_usd=_spent(attempts, now),
        created_at=row.created_at,
        running_at=row.running_at,
        ends_at=row.ends_at,
        ended_at=row.ended_at,
        attempts=tuple(attempt_view(attempt) for attempt in attempts),
        receipt=_receipt(current),
    )


def lease_views(leases: Sequence[LeaseRow], attempts: Mapping[str, list[AttemptRow]], env: Env) -> list[Lease]:
    """Many leases at once."""
    return [lease_view(lease, attempts.get(lease.id, []), env) for lease in leases]


def attempt_view(row: AttemptRow) -> AttemptView:
    """One attempt."""
    return AttemptView(
        n=row.n,
        token=row.token,
        state=row.state,
        offer=row.offer,
        outcome=row.outcome,
        error=row.error,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def _current(attempts: list[AttemptRow]) -> AttemptRow | None:
    accepted = [attempt for attempt in attempts if attempt.instance_id is not None]
    running = [attempt for attempt in accepted if attempt.running_at is not None]
    return (running or accepted or [None])[-1]  # type: ignore[list-item]


def _address(row: LeaseRow, current: AttemptRow | None, env: Env) -> Dialled | None:
    if current is None or current.address is None or row.state in ("ended", "failed"):
        return None
    host, port = env.dial(current.address.host, current.address.port)
    return Dialled(host=host, port=port, user=current.address.user)


def _spent(attempts: list[AttemptRow], now: datetime) -> Decimal | None:
    known = [usd for attempt in attempts if (usd := accrued(attempt, now)) is not None]
    return sum(known, Decimal(0)) if known else None


def _receipt(current: AttemptRow | None) -> Receipt | None:
    return current.receipt if current else None
