"""Rows of RunPod's GPU catalogue as offers.

Prices are list prices for a single GPU; discounts of an account are not shown. Stock is a hint: only a create
tells. v2 says nothing of vCPUs and memory, so both are unknown. Sources: docs/providers/runpod.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

from providers import gpus
from providers.base import Billing, EgressTier, Market, Offer, Query
from providers.runpod.places import Place, country

Cloud = Literal["SECURE", "COMMUNITY"]
CLOUDS: tuple[Cloud, ...] = ("SECURE", "COMMUNITY")

#: Matched on the id alone: other names of the same card differ between RunPod's own interfaces.
GPU_IDS: dict[str, str] = {
    "NVIDIA L40": "l40",
    "NVIDIA L40S": "l40s",
    "NVIDIA L4": "l4",
    "NVIDIA RTX 6000 Ada Generation": "rtx-6000-ada",
    "NVIDIA RTX A6000": "rtx-a6000",
    "NVIDIA A40": "a40",
    "NVIDIA A100 80GB PCIe": "a100-80gb",
    "NVIDIA A100-SXM4-80GB": "a100-80gb",
    "NVIDIA H100 PCIe": "h100-pcie",
    "NVIDIA H100 80GB HBM3": "h100-sxm",
    "NVIDIA H100 NVL": "h100-nvl",
    "NVIDIA H200": "h200",
    "NVIDIA B200": "b200",
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": "rtx-pro-6000",
    "Tesla T4": "t4",
}
_SENTINEL = "unknown"

_MARKETS: dict[Cloud, Market] = {"SECURE": "marketplace-secure", "COMMUNITY": "marketplace-community"}
_RELIABILITY: dict[Cloud, float] = {"SECURE": 0.98, "COMMUNITY": 0.95}

#: Container disk, 0.10 USD per GB and month (pricing page), turned into GiB once, here.
DISK_USD_PER_GIB_MONTH = Decimal("0.10") * 2**30 / 10**9
#: Above it a figure is no price (and no memory size) of one GPU, but a mistake: unknown.
_ABSURD = 1000

#: An assumption: nobody publishes boot times. It is the time the docs give a pod's HTTP proxy to come up; a
#: host that does not have the image yet takes minutes.
BOOT_S = 60.0


def gpu_of(row: Mapping[str, Any]) -> str | None:
    """The canonical name of a row's GPU, a plain form of its id if there is none; None for no GPU at all."""
    gpu_id = row.get("id")
    if not isinstance(gpu_id, str) or not gpu_id or gpu_id == _SENTINEL:
        return None
    if known := GPU_IDS.get(gpu_id):
        return known
    return gpus.canonical(gpu_id, memory_gib=_memory(row)) or gpus.slug(gpu_id)


def price_of(row: Mapping[str, Any], cloud: Cloud, count: int) -> Decimal | None:
    """USD per hour for *count* GPUs; None if the row names no sensible price: zero is not free."""
    value = _number(_part(row, "price", cloud))
    return None if value is None else value * count


def read(
    rows: Iterable[Mapping[str, Any]],
    query: Query,
    *,
    cloud: Cloud,
    account: str,
    now: datetime,
    places: Mapping[str, Place] | None,
) -> list[Offer]:
    """What *cloud*'s catalogue sells of the asked GPUs, for pods of `query.count` GPUs.

    SECURE makes one offer a data centre. COMMUNITY makes one in all: its hosts have no address but a country, and
    v2's create takes no country. *places* is None if the list of data centres could not be read.
    """
    found: dict[str, Offer] = {}
    for row in rows:
        if not query.gpus or gpu_of(row) in query.gpus:
            for offer in _of_row(row, cloud, query.count, account, now, places or {}):
                found.setdefault(offer.offer_id, offer)
    return list(found.values())


def _of_row(
    row: Mapping[str, Any],
    cloud: Cloud,
    count: int,
    account: str,
    now: datetime,
    places: Mapping[str, Place],
) -> Iterator[Offer]:
    gpu = gpu_of(row)
    if gpu is None or not _is_sold(row, cloud):
        return
    named: list[str | None] = []
    if cloud == "SECURE" and _can_be_had(row, cloud, count):
        named += _data_centers(row)
    for data_center in named or [None]:
        place = places.get(data_center or "")
        available, level = stock(row, cloud, count, data_center)
        native: dict[str, Any] = {"cloud": cloud, "gpu_id": row["id"], "availability": level}
        if data_center:
            native["data_center"] = data_center
        if place and place.continent:
            native["continent"] = place.continent
        yield Offer(
            offer_id=f"runpod/{cloud.lower()}/{data_center or '-'}/{row['id']}/{count}",
            provider="runpod",
            account=account,
            gpu=gpu,
            gpu_count=count,
            gpu_memory_gib=_memory(row),
            region=data_center,
            country=country(data_center) if data_center else None,
            instance_type=row["id"],
            disk_gib=0,
            disk_min_gib=1,
            market=_MARKETS[cloud],
            workloads=("container",),
            usd_per_hour=price_of(row, cloud, count),
            # Whether the time before the container runs is billed is not said; taken as billed.
            billing=Billing(increment_s=1, minimum_s=0, while_booting=True),
            egress=(EgressTier(),),
            egress_evidence="claim",
            ingress_usd_per_gb=Decimal(0),
            storage_usd_per_gib_month=DISK_USD_PER_GIB_MONTH,
            address_usd_per_hour=Decimal(0),
            reliability=_RELIABILITY[cloud],
            reliability_source="assumed by tier",
            boot_s=BOOT_S,
            compliance=place.compliance if place else (),
            compliance_evidence="api" if place else None,
            available=available,
            observed_at=now,
            native=native,
        )


def requote(offer: Offer, row: Mapping[str, Any], now: datetime) -> Offer:
    """*offer* at the price and stock that *row* names now."""
    cloud: Cloud = offer.native["cloud"]
    available, level = stock(row, cloud, offer.gpu_count, offer.native.get("data_center"))
    return msgspec.structs.replace(
        offer,
        usd_per_hour=price_of(row, cloud, offer.gpu_count),
        available=available,
        observed_at=now,
        native={**offer.native, "availability": level},
    )


def stock(row: Mapping[str, Any], cloud: Cloud, count: int, data_center: str | None) -> tuple[bool | None, str]:
    """Whether *count* GPUs are free there, as far as the catalogue knows, and its own word for how many."""
    if not _can_be_had(row, cloud, count):
        return False, "NONE"
    level = row.get("availability")
    if data_center is not None:
        # A data centre that is not listed has none of that GPU.
        entries = (entry for entry in _entries(row) if entry.get("id") == data_center)
        level = next(entries, {"availability": "NONE"}).get("availability")
    word = level.upper() if isinstance(level, str) else "UNKNOWN"
    return {"NONE": False, "LOW": True, "MEDIUM": True, "HIGH": True}.get(word), word


def _is_sold(row: Mapping[str, Any], cloud: Cloud) -> bool:
    # A type may carry a price in a cloud that does not have it now: that is sold out, not absent.
    return row.get(cloud.lower()) is not False or price_of(row, cloud, 1) is not None


def _can_be_had(row: Mapping[str, Any], cloud: Cloud, count: int) -> bool:
    most = _part(row, "maxCount", cloud)
    small = isinstance(most, int) and not isinstance(most, bool) and count > most
    return row.get(cloud.lower()) is not False and not small


def _data_centers(row: Mapping[str, Any]) -> list[str]:
    ids = (entry.get("id") for entry in _entries(row))
    return list(dict.fromkeys(name for name in ids if isinstance(name, str) and name and name != _SENTINEL))


def _entries(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    entries = row.get("dataCenters")
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _part(row: Mapping[str, Any], key: str, cloud: Cloud) -> Any:
    part = row.get(key)
    return part.get(cloud.lower()) if isinstance(part, dict) else None


def _memory(row: Mapping[str, Any]) -> float | None:
    # "VRAM in GB" is the nominal figure (48, 80, 141), which stands for GiB in every vendor's table.
    value = _number(row.get("memory"))
    return None if value is None else float(value)


def _number(value: Any) -> Decimal | None:
    # JSON numbers arrive as int or Decimal; a float can only be a NaN or an infinity.
    if not isinstance(value, int | Decimal) or isinstance(value, bool) or not 0 < value <= _ABSURD:
        return None
    return Decimal(value)
