"""Machine types as offers: one a type and region, at the snapshot's price, with the stock that was asked for live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from providers import gpus
from providers.base import Billing, EgressTier, Offer, Query
from providers.errors import InvalidRequest
from providers.paperspace import catalog, templates
from providers.paperspace.catalog import Kind
from providers.paperspace.templates import Template

#: "Per-second billing" is advertised; whether it is rounded further was not seen. Which states bill is documented:
#: all but `off`, so booting does.
BILLING = Billing(increment_s=1, minimum_s=0, while_booting=True)
#: "Free unlimited bandwidth", says the limits page; above 1 Gbit/s for 10 s it is throttled.
EGRESS = (EgressTier(up_to_gb=None, usd_per_gb=Decimal(0)),)
#: Assumed by tier: no service level was found.
RELIABILITY = 0.99
#: A few minutes, say the documents: more than ten are abnormal.
BOOT_S = 240.0
#: How many other GPUs a note names.
_OTHERS = 6
_LARGEST = float(catalog.DISK_SIZES[-1])


def wanted(rows: Sequence[dict[str, Any]], query: Query) -> list[Kind]:
    """The machine types that a query is about and that Paperspace has, by the labels its templates name."""
    named = templates.labels(rows)
    known = list(catalog.KINDS.values())
    if named:
        newer = [kind for label in sorted(named - catalog.KINDS.keys()) if (kind := catalog.kind_of(label))]
        known = [kind for kind in known if kind.label in named] + newer
    return [kind for kind in known if kind.count >= query.count and (not query.gpus or kind.gpu in query.gpus)]


def offers_of(
    kind: Kind, template: Template | None, stock: dict[str, bool | None], *, disk_gib: int, account: str, now: datetime
) -> Iterator[Offer]:
    """What *kind* is sold as: one offer for each region in *stock*, which says whether it is free there now."""
    for region, available in stock.items():
        yield _offer(kind, region, available, template, disk_gib, account, now)


def requote(offer: Offer, available: bool | None, now: datetime) -> Offer:
    """*offer* at the snapshot's price, with the stock that the provider has just named."""
    label, _ = target(offer)
    kind = catalog.kind_of(label)
    usd = kind.usd_per_hour if kind else None
    return msgspec.structs.replace(offer, usd_per_hour=usd, available=available, observed_at=now)


def target(offer: Offer) -> tuple[str, str]:
    """Machine-type label and region that *offer* stands for.

    Raises:
        InvalidRequest: it is none of ours.
    """
    label, region = offer.native.get("machine_type"), offer.native.get("region")
    if offer.provider != "paperspace" or not isinstance(label, str) or not isinstance(region, str):
        raise InvalidRequest(f"{offer.offer_id!r} is no offer of Paperspace", code="foreign-offer")
    return label, region


def note(query: Query, found: Sequence[Offer], sold: Iterable[Kind]) -> str:
    """One line for people: what is missing, what there is instead, and how old the prices are."""
    missing = [gpu for gpu in query.gpus if all(offer.gpu != gpu for offer in found)]
    notes = []
    if missing:
        others = ", ".join(_nearest(missing[0], sold))
        notes.append(f"rents no {', '.join(missing)}" + (f" (it has {others})" if others else ""))
    if not query.gpus and not found:
        notes.append("lists no GPUs")
    if found and all(offer.available is False for offer in found):
        notes.append("sold out everywhere now")
    if any(offer.usd_per_hour is not None for offer in found):
        notes.append("its API tells no prices before a launch: these are from a price list of 2026-05-25 or older")
    return "; ".join(notes)


def _nearest(gpu: str, sold: Iterable[Kind]) -> list[str]:
    """The GPUs of *sold*, those with about the memory of *gpu* first."""
    known = gpus.GPUS.get(gpu)
    memory = {kind.gpu: kind.memory_gib or 0.0 for kind in sold}
    away = {name: abs(size - known.memory_gib) if known else -size for name, size in memory.items()}
    return sorted(memory, key=lambda name: (away[name], name))[:_OTHERS]


def _offer(
    kind: Kind,
    region: str,
    available: bool | None,
    template: Template | None,
    disk_gib: int,
    account: str,
    now: datetime,
) -> Offer:
    size = catalog.disk_size(disk_gib, template.size_gib if template else None) or catalog.DISK_SIZES[-1]
    model = kind.model
    native: dict[str, Any] = {"machine_type": kind.label, "region": region}
    if kind.usd_per_hour is not None:
        native |= {"price_source": kind.price_source, "price_date": kind.price_date}
    return Offer(
        offer_id=f"paperspace/{kind.label}/{region}",
        provider="paperspace",
        account=account,
        gpu=kind.gpu,
        gpu_count=kind.count,
        gpu_memory_gib=kind.memory_gib,
        region=region,
        country=catalog.REGIONS.get(region),
        instance_type=kind.label,
        vcpus=model.vcpus * kind.count if model and model.vcpus else None,
        memory_gib=model.ram_gib * kind.count if model and model.ram_gib else None,
        disk_gib=0.0,  # the disk is charged apart, in steps of which this is the one that fits
        disk_min_gib=float(size),
        disk_max_gib=_LARGEST,
        market="specialist",
        workloads=("vm",),
        usd_per_hour=kind.usd_per_hour,
        billing=BILLING,
        egress=EGRESS,
        egress_evidence="claim",
        ingress_usd_per_gb=Decimal(0),
        storage_usd_per_gib_month=catalog.disk_usd_per_gib_month(size),
        address_usd_per_hour=Decimal(0),  # dynamic; only static ones are charged
        reliability=RELIABILITY,
        reliability_source="assumed by tier",
        boot_s=BOOT_S,
        available=available,
        observed_at=now,
        native=native,
    )
