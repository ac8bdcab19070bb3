"""Holds: which offers a failure takes out for a while, as narrowly as its code allows."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.store.rows import HoldRow
from providers.base import Offer
from providers.errors import NoFunds, ProviderError, QuotaExceeded

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_MACHINE = frozenset({"NoCapacity", "OfferGone", "QuotaExceeded", "BootFailed", "WrongGpu", "NotReachable"})


def hold_for(error: ProviderError, offer: Offer) -> HoldRow | None:
    """What to hold back after *error* on *offer*, or None if nothing (`until` is set by the store)."""
    if error.hold_s <= 0:
        return None
    fields: dict[str, object] = {"account": offer.account}
    scope = error.scope
    if scope == "offer" or (scope == "host" and not offer.host_id):
        fields["offer_id"] = offer.offer_id
    elif scope == "host":
        fields["host_id"] = offer.host_id
    elif scope in ("zone", "region", "type"):
        if scope != "type":
            fields["region"] = offer.region
        if scope == "zone":
            fields["zone"] = offer.zone
        # Missing capacity and quota concern a kind of machine; an outage concerns everything there.
        if error.type in _MACHINE or scope == "type":
            fields["instance_type"] = offer.instance_type
    elif scope == "provider":
        fields["account"] = None
    if isinstance(error, NoFunds):
        # A cheaper offer in that account may still be affordable.
        fields["min_usd_per_hour"] = offer.usd_per_hour
    if isinstance(error, QuotaExceeded) and error.bucket and scope == "account":
        fields["gpu"] = offer.gpu
    key = "|".join([offer.provider, error.type, *(f"{name}={fields[name]}" for name in sorted(fields))])
    return HoldRow(
        key=key,
        provider=offer.provider,
        until=_NEVER,
        drops=error.hold_drops,
        why=f"{error.type}: {error}"[:300],
        **fields,  # type: ignore[arg-type]
    )


def matches(hold: HoldRow, offer: Offer) -> bool:
    """Whether *offer* lies inside what *hold* holds back."""
    if hold.provider != offer.provider:
        return False
    for name in ("account", "region", "zone", "instance_type", "host_id", "offer_id", "gpu"):
        wanted = getattr(hold, name)
        if wanted is not None and wanted != getattr(offer, name):
            return False
    floor = hold.min_usd_per_hour
    return floor is None or offer.usd_per_hour is None or offer.usd_per_hour >= floor
