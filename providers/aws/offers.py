"""EC2's offers: one for each instance type, zone and way of paying."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from providers.aws import egress, regions
from providers.aws.hardware import Hardware
from providers.aws.prices import ADDRESS_USD_PER_HOUR
from providers.base import Billing, EgressTier, Evidence, Offer, Pricing, Query

#: By the second with a minimum of a minute; `pending` is not billed, but from `running` to SSH is.
BILLING = Billing(increment_s=1, minimum_s=60, while_booting=True)
#: SSH answers 30 to 120 s after `running`.
BOOT_S = 90.0
#: The service level agreement for a single instance.
RELIABILITY = 0.995
#: AWS's own word on its programmes; not checked for each instance type.
COMPLIANCE = ("soc2", "iso27001", "gdpr", "hipaa")


@dataclass(slots=True)
class Market:
    """What was read of the market.

    Attributes:
        zones: for each region, the zones of each instance type.
        hourly: USD on demand by (type, region).
        spot: USD by (type, zone).
        disk: USD per GiB and month by region.
        egress: tiers by region, from the price list.
    """

    zones: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    hardware: dict[str, Hardware] = field(default_factory=dict)
    hourly: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    spot: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    disk: dict[str, Decimal] = field(default_factory=dict)
    egress: dict[str, tuple[EgressTier, ...]] = field(default_factory=dict)


def zones_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """The zones of each instance type, from `InstanceTypeOfferings`."""
    found: dict[str, set[str]] = {}
    for row in rows:
        name, zone = row.get("InstanceType"), row.get("Location")
        if isinstance(name, str) and isinstance(zone, str) and name and zone:
            found.setdefault(name, set()).add(zone)
    return found


def build(market: Market, query: Query, *, account: str, now: datetime) -> list[Offer]:
    """All offers that *query* asks for. Spot is offered where it has a price: a price that vanished is no offer."""
    found: list[Offer] = []
    for region, types in sorted(market.zones.items()):
        for name, zones in sorted(types.items()):
            hardware = market.hardware.get(name)
            if hardware is None or (query.gpus and hardware.gpu not in query.gpus):
                continue
            for zone in sorted(zones):
                found += _ways(market, query, hardware, region, zone, account, now)
    return found


def _ways(
    market: Market, query: Query, hardware: Hardware, region: str, zone: str, account: str, now: datetime
) -> Iterator[Offer]:
    if "on-demand" in query.pricing and hardware.on_demand:
        usd = market.hourly.get((hardware.name, region))
        yield _offer(market, hardware, region, zone, "on-demand", usd, account, now)
    if "spot" in query.pricing and (usd := market.spot.get((hardware.name, zone))) is not None:
        yield _offer(market, hardware, region, zone, "spot", usd, account, now)


def _offer(
    market: Market,
    hardware: Hardware,
    region: str,
    zone: str,
    pricing: Pricing,
    usd: Decimal | None,
    account: str,
    now: datetime,
) -> Offer:
    tiers, evidence = _egress(market, region)
    return Offer(
        offer_id=f"aws/{zone}/{hardware.name}/{pricing}",
        provider="aws",
        account=account,
        region=region,
        zone=zone,
        country=regions.country(region),
        instance_type=hardware.name,
        gpu=hardware.gpu,
        gpu_count=hardware.gpu_count,
        gpu_fraction=hardware.gpu_fraction,
        gpu_memory_gib=hardware.gpu_memory_gib,
        arch=hardware.arch,
        vcpus=hardware.vcpus,
        memory_gib=hardware.memory_gib,
        disk_gib=0.0,  # the root disk is EBS and paid apart; the instance store does not hold the system
        market="hyperscaler",
        pricing=pricing,
        workloads=("bare-metal",) if hardware.bare_metal else ("vm",),
        usd_per_hour=usd,
        billing=BILLING,
        egress=tiers,
        egress_evidence=evidence,
        ingress_usd_per_gb=Decimal(0),
        storage_usd_per_gib_month=market.disk.get(region),
        address_usd_per_hour=ADDRESS_USD_PER_HOUR,
        reliability=RELIABILITY,
        reliability_source="SLA for a single instance",
        boot_s=BOOT_S,
        compliance=COMPLIANCE,
        compliance_evidence="claim",
        available=None,  # sold there; whether there is one now shows at launch only
        observed_at=now,
        native={"region": region, "zone": zone, "instance_type": hardware.name, "arch": hardware.arch or "x86_64"},
    )


def _egress(market: Market, region: str) -> tuple[tuple[EgressTier, ...] | None, Evidence | None]:
    if tiers := market.egress.get(region):
        return tiers, "contract"
    known = egress.published(region)
    return known, "claim" if known else None


def requote(offer: Offer, usd: Decimal | None, now: datetime) -> Offer:
    """*offer* at a fresh price."""
    return msgspec.structs.replace(offer, usd_per_hour=usd, observed_at=now)


def place(offer: Offer) -> tuple[str, str, str]:
    """Region, zone and instance type of *offer*."""
    native = offer.native
    region, zone = native.get("region") or offer.region, native.get("zone") or offer.zone
    return str(region or ""), str(zone or ""), str(native.get("instance_type") or offer.instance_type or "")
