"""Azure's offers: one for each size, region and way of paying. No zones: prices do not differ by zone, and without one
Azure looks for room in all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from providers.azure import egress, images, quota, regions, sizes
from providers.azure.prices import ADDRESS_USD_PER_HOUR, DISK_USD_PER_GIB_MONTH, Extras, Price
from providers.base import Billing, Offer, Pricing, Query

#: By the second, from the start of the machine on; that it is no coarser is from memory.
BILLING = Billing(increment_s=1, minimum_s=0, while_booting=True)
#: From the create to SSH: 76 s were recorded for a small machine.
BOOT_S = 120.0
#: The driver extension takes some minutes on top.
DRIVER_S = 420.0
#: The service level agreement for a single machine with standard SSDs; there is none for spot.
RELIABILITY = 0.995
#: Microsoft's own word on its programmes; not checked for each size.
COMPLIANCE = ("soc2", "iso27001", "gdpr", "hipaa")


@dataclass(slots=True)
class Region:
    """What was read of one region. `quotas` None: they could not be read; `price` by size in lower case."""

    name: str
    sizes: list[quota.Size] = field(default_factory=list)
    quotas: dict[str, quota.Used] | None = None
    price: dict[str, Price] = field(default_factory=dict)
    extras: Extras | None = None


def wanted(found: quota.Size, query: Query) -> bool:
    """Whether *query* may be about that size."""
    held = sizes.held(found.name)
    return held is not None and (not query.gpus or held.gpu in query.gpus)


def build(market: list[Region], query: Query, *, account: str, now: datetime) -> list[Offer]:
    """All offers that *query* asks for. What the subscription may not rent is among them, marked."""
    found: list[Offer] = []
    for region in sorted(market, key=lambda one: one.name):
        for size in sorted(region.sizes, key=lambda one: one.name):
            if wanted(size, query):
                found += _ways(region, size, query, account, now)
    return found


def _ways(region: Region, size: quota.Size, query: Query, account: str, now: datetime) -> Iterator[Offer]:
    price = region.price.get(size.name.lower(), Price())
    if "on-demand" in query.pricing and price.regular is not None:
        yield _offer(region, size, "on-demand", price.regular, account, now)
    # A spot price that vanished is no offer, and neither is one for a size that cannot be had as spot.
    if "spot" in query.pricing and price.spot is not None and size.spot:
        yield _offer(region, size, "spot", price.spot, account, now)


def _offer(region: Region, size: quota.Size, pricing: Pricing, usd: Decimal, account: str, now: datetime) -> Offer:
    held = sizes.held(size.name)
    assert held is not None, "`wanted` keeps sizes that are known"
    way = egress.best(region.name, region.extras.egress if region.extras else ())
    why = quota.short(size, pricing, region.quotas)
    return Offer(
        offer_id=f"azure/{region.name}/{size.name}/{pricing}",
        provider="azure",
        account=account,
        region=region.name,
        country=regions.country(region.name),
        instance_type=size.name,
        gpu=held.gpu,
        gpu_count=held.number,
        gpu_fraction=held.fraction,
        gpu_memory_gib=held.memory_gib,
        vcpus=size.vcpus,
        memory_gib=size.memory_gib,
        disk_gib=0.0,  # the root disk is a managed one and paid apart
        disk_min_gib=float(images.LEAST_GIB),
        disk_max_gib=4095.0,
        market="hyperscaler",
        pricing=pricing,
        workloads=("vm",),
        usd_per_hour=usd,
        billing=BILLING,
        egress=way.tiers if way else None,
        egress_route=egress.TITLES[way.route] if way else None,
        egress_evidence=way.evidence if way else None,
        ingress_usd_per_gb=Decimal(0),
        storage_usd_per_gib_month=region.extras.disk_usd_per_gib_month if region.extras else DISK_USD_PER_GIB_MONTH,
        address_usd_per_hour=region.extras.address_usd_per_hour if region.extras else ADDRESS_USD_PER_HOUR,
        reliability=RELIABILITY if pricing == "on-demand" else None,
        reliability_source="SLA for a single machine" if pricing == "on-demand" else None,
        boot_s=BOOT_S + (DRIVER_S if held.driver == "grid" else 0.0),
        compliance=COMPLIANCE,
        compliance_evidence="claim",
        # Quota and restriction can say no; that there is one free now shows at launch only.
        available=False if why else None,
        observed_at=now,
        native=_native(size, held, way, why),
    )


def _native(size: quota.Size, held: sizes.Held, way: egress.Way | None, why: str) -> dict[str, Any]:
    native: dict[str, Any] = {
        "region": size.region,
        "size": size.name,
        "family": size.family,
        "driver": held.driver,
        "generations": size.generations,
        "route": way.route if way else "microsoft",
    }
    return {**native, "unavailable": why} if why else native


def requote(offer: Offer, found: Mapping[str, Price], now: datetime) -> Offer | None:
    """*offer* at the price in *found*; None if it has none any more."""
    price = found.get(place(offer)[1].lower(), Price())
    usd = price.spot if offer.pricing == "spot" else price.regular
    return None if usd is None else msgspec.structs.replace(offer, usd_per_hour=usd, observed_at=now)


def place(offer: Offer) -> tuple[str, str]:
    """Region and size of *offer*."""
    native = offer.native
    return str(native.get("region") or offer.region or ""), str(native.get("size") or offer.instance_type or "")
