"""Google's offers: one for each machine type (with its GPUs), zone and way of paying."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import msgspec

from providers import gpus
from providers.base import Billing, Offer, Pricing, Query
from providers.gcp import egress, prices, regions
from providers.gcp.hardware import Machine
from providers.gcp.prices import Rates
from providers.gcp.quotas import Quotas

#: By the second, a minute at least; PROVISIONING and STAGING are not billed, but from RUNNING to SSH is.
BILLING = Billing(increment_s=1, minimum_s=60, while_booting=True)
BOOT_S = 90.0
#: Assumed for hyperscalers; the service level agreement for a single machine could not be checked for GPU families.
RELIABILITY = 0.995
#: Google's own word on its programmes; not checked for each machine type.
COMPLIANCE = ("soc2", "iso27001", "gdpr", "hipaa")
LEAST_DISK_GIB = 10.0
WAYS: tuple[Pricing, ...] = ("on-demand", "spot")


class Market(NamedTuple):
    """What was read; `quotas` is None where they could not be."""

    machines: list[Machine]
    rates: Rates
    quotas: Quotas | None


def build(market: Market, query: Query, *, account: str, now: datetime) -> tuple[list[Offer], list[str]]:
    """All offers for *query*, and which quotas keep some of them from being rented, in words."""
    found: list[Offer] = []
    lacking: dict[str, None] = {}
    for machine in sorted(set(market.machines)):
        for pricing in _ways(machine, query):
            usd = prices.hourly(machine, regions.of_zone(machine.zone), market.rates, spot=pricing == "spot")
            if pricing == "spot" and usd is None:
                continue  # a spot price that is not there is no offer
            why = market.quotas.lacking(machine, spot=pricing == "spot") if market.quotas else None
            if why:
                lacking[why] = None
            found.append(_offer(machine, pricing, usd, market.rates, account, now, why=why))
    return found, list(lacking)


def _ways(machine: Machine, query: Query) -> Iterator[Pricing]:
    for pricing in WAYS:
        if pricing in query.pricing and (pricing == "spot" or machine.on_demand):
            yield pricing


def _offer(
    machine: Machine,
    pricing: Pricing,
    usd: Decimal | None,
    rates: Rates,
    account: str,
    now: datetime,
    *,
    why: str | None,
) -> Offer:
    region, spot = regions.of_zone(machine.zone), pricing == "spot"
    way = egress.route(region, rates)
    known = gpus.GPUS.get(machine.gpu)
    return Offer(
        offer_id=f"gcp/{machine.zone}/{machine.name}/{pricing}",
        provider="gcp",
        account=account,
        region=region,
        zone=machine.zone,
        country=regions.country(region),
        instance_type=machine.name,
        gpu=machine.gpu,
        gpu_count=machine.gpu_count,
        gpu_fraction=machine.fraction,
        gpu_memory_gib=known.memory_gib * machine.fraction if known else None,
        arch=machine.arch,
        vcpus=float(machine.vcpus),
        memory_gib=machine.memory_gib,
        disk_gib=0.0,  # the boot disk is paid apart; local SSDs do not hold the system
        disk_min_gib=LEAST_DISK_GIB,
        market="hyperscaler",
        pricing=pricing,
        workloads=("vm",),
        usd_per_hour=usd,
        billing=BILLING,
        egress=way.tiers,
        egress_route=way.name,
        egress_evidence=way.evidence,
        ingress_usd_per_gb=Decimal(0),
        storage_usd_per_gib_month=prices.disk_usd(machine.disk_type, region, rates),
        address_usd_per_hour=prices.address_usd(region, rates, spot=spot),
        reliability=RELIABILITY if not spot else None,
        reliability_source="assumed for hyperscalers" if not spot else None,
        boot_s=BOOT_S,
        compliance=COMPLIANCE,
        compliance_evidence="claim",
        available=False if why else None,  # None: sold there; whether there is one now shows at launch only
        observed_at=now,
        native={
            "zone": machine.zone,
            "machine_type": machine.type,
            "accelerator": machine.accelerator,
            "accelerator_count": machine.gpu_count,
            "attached": int(machine.attached),
            "disk_type": machine.disk_type,
            "network_tier": way.network_tier,
            **({"unavailable": why} if why else {}),
        },
    )


def requote(offer: Offer, found: Iterable[Machine], rates: Rates, now: datetime) -> Offer | None:
    """*offer* at a fresh price, or None if its zone does not sell that machine that way any more."""
    machine = next((one for one in found if one.name == offer.instance_type), None)
    if machine is None or (offer.pricing == "on-demand" and not machine.on_demand):
        return None
    usd = prices.hourly(machine, regions.of_zone(machine.zone), rates, spot=offer.pricing == "spot")
    if usd is None and offer.pricing == "spot":
        return None
    return msgspec.structs.replace(offer, usd_per_hour=usd, observed_at=now)


def zone_of(offer: Offer) -> str:
    """The offer's zone."""
    return str(offer.native.get("zone") or offer.zone or "")


def machine_type_of(offer: Offer) -> str:
    """Google's name of the offer's machine type, without what is attached."""
    return str(offer.native.get("machine_type") or (offer.instance_type or "").partition("+")[0])
