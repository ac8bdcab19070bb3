"""What a machine has cost so far, by our own sums and the provider's own rounding (design section 5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from orchestrator.store.rows import AttemptRow
from policies.cost import billed_s

_MONTH_H = Decimal(730)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def accrued(row: AttemptRow, now: datetime) -> Decimal | None:
    """USD of compute, disk and address from acceptance until the end or *now*; egress is not metered here.

    None where nothing was ever accepted. A machine that failed before it ran counts in full, although some
    providers refund it (Fluence): a bill may be lower than this, not higher.
    """
    if row.accepted_at is None and row.instance_id is None:
        return None
    offer = row.offer
    start = row.accepted_at or row.started_at
    end = row.ended_at or now
    used_us = max(0, (end - start) // _MICROSECOND)
    hours = Decimal(billed_s(offer.billing, used_us, (start - _EPOCH) // _MICROSECOND)) / 3600
    rate = offer.usd_per_hour or Decimal(0)
    rate += offer.address_usd_per_hour or Decimal(0)
    return (rate + disk_usd_per_hour(row)) * hours


def disk_usd_per_hour(row: AttemptRow) -> Decimal:
    """USD an hour for the disk beyond what the offer includes."""
    offer = row.offer
    if not offer.storage_usd_per_gib_month:
        return Decimal(0)
    wanted = Decimal(str(max(row.spec.disk_gib, offer.disk_min_gib or 0)))
    extra = max(Decimal(0), wanted - Decimal(str(offer.disk_gib or 0)))
    return extra * offer.storage_usd_per_gib_month / _MONTH_H
