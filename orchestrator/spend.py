"""What a machine has cost so far, by our own sums and the provider's own rounding (design section 5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from orchestrator.store.rows import AttemptRow
from policies.cost import ASSUMED_IMAGE_GB, billed_s

_MONTH_H = Decimal(730)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def accrued(row: AttemptRow, now: datetime) -> Decimal | None:
    """USD until the end of an attempt, or until *now*: compute, disk, address, and traffic in for the image.

    Egress is not metered here. Compute counts from acceptance, or from running where the provider bills no boot; the
    image's traffic is the plan's assumption. A machine that was accepted and then failed for lack of capacity was
    never there to be billed. None where nothing was ever accepted.
    """
    if row.accepted_at is None and row.instance_id is None:
        return None
    if row.running_at is None and row.error is not None and row.error.type == "NoCapacity":
        return Decimal(0)
    offer = row.offer
    accepted = row.accepted_at or row.started_at
    end = row.ended_at or now
    start = accepted if offer.billing.while_booting else row.running_at
    usd = Decimal(0) if start is None else (offer.usd_per_hour or Decimal(0)) * _hours(row, start, end)
    beside = (offer.address_usd_per_hour or Decimal(0)) + disk_usd_per_hour(row)
    usd += beside * _hours(row, accepted, end)
    if offer.ingress_usd_per_gb and row.spec.workload == "container":
        usd += offer.ingress_usd_per_gb * ASSUMED_IMAGE_GB
    return usd


def _hours(row: AttemptRow, start: datetime, end: datetime) -> Decimal:
    used_us = max(0, (end - start) // _MICROSECOND)
    return Decimal(billed_s(row.offer.billing, used_us, (start - _EPOCH) // _MICROSECOND)) / 3600


def disk_usd_per_hour(row: AttemptRow) -> Decimal:
    """USD an hour for the disk beyond what the offer includes."""
    offer = row.offer
    if not offer.storage_usd_per_gib_month:
        return Decimal(0)
    wanted = Decimal(str(max(row.spec.disk_gib, offer.disk_min_gib or 0)))
    extra = max(Decimal(0), wanted - Decimal(str(offer.disk_gib or 0)))
    return extra * offer.storage_usd_per_gib_month / _MONTH_H
