"""Rows of a search as offers.

One row is one slice of one machine with its own price, its own prices per GB in both directions, and an end. The
disk is priced apart from the GPU: `usd_per_hour` is the base rate without any disk, so `disk_gib` is 0. Sources:
docs/providers/vast.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from providers.base import Billing, EgressTier, Market, Offer, Query
from providers.errors import InvalidRequest
from providers.vast import names
from providers.vast.fields import (
    country,
    disk_gb,
    gib_of_gb,
    gib_of_mib,
    moment,
    number,
    positive,
    storage_part,
    text,
    traffic_price,
    truth,
    usd_per_gib_month,
    whole,
)
from providers.vast.search import LEAST_BID, Kind, ask_of

#: The GPU bills by the second while the container runs, and nothing while it loads.
BILLING = Billing(increment_s=1, minimum_s=0, while_booting=False)
#: Documented: typically one to five minutes; the middle of it.
BOOT_S = 180.0
#: No bid above it is taken by the wire, USD per hour for the machine.
MOST_BID = 128
#: USD per hour, and per GB and month, above which a figure is a mistake.
_ABSURD, _ABSURD_DISK = 10_000, 100
#: `dph_total` is rounded here and there; a difference below it is no hidden price.
_NOISE = Decimal("1.01")
#: So much more than promised is let pass, as the engine does for the hourly price.
SLACK = Decimal("1.02")
_ARCH = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}


def offer_id(kind: Kind, ask_id: int) -> str:
    """``vast/on-demand/31415926`` or ``vast/bid/31415926``: the same ask can be rented both ways."""
    return f"vast/{kind}/{ask_id}"


def target(offer: Offer) -> tuple[Kind, int]:
    """Kind and ask that *offer* stands for.

    Raises:
        InvalidRequest: it is none of ours.
    """
    provider, _, rest = offer.offer_id.partition("/")
    word, _, ask = rest.partition("/")
    kind: Kind | None = "on-demand" if word == "on-demand" else "bid" if word == "bid" else None
    ask_id = whole(offer.native.get("ask_id")) or whole(ask)
    if provider != "vast" or kind is None or ask_id is None:
        raise InvalidRequest(f"{offer.offer_id!r} is no offer of Vast.ai", code="foreign-offer")
    return kind, ask_id


def read(row: Mapping[str, Any], kind: Kind, *, disk: int, account: str, now: datetime) -> Offer | None:
    """One row as an offer; None for a row that cannot be rented that way at all.

    Args:
        disk: the GB that were asked for, which `dph_total` contains.
    """
    ask_id, gpu_name, count = ask_of(row), text(row.get("gpu_name")), whole(row.get("num_gpus"))
    if ask_id is None or gpu_name is None or count is None:
        return None
    storage = _storage_price(row, disk)
    price = _bid(row) if kind == "bid" else _base_rate(row, storage, disk)
    if kind == "bid" and price is None:
        return None
    memory = gib_of_mib(row.get("gpu_ram"))
    egress = traffic_price(row, "up")
    return Offer(
        offer_id=offer_id(kind, ask_id),
        provider="vast",
        account=account,
        gpu=names.canonical(gpu_name, memory),
        gpu_count=count,
        gpu_memory_gib=memory,
        region=text(row.get("geolocation")),
        country=country(row.get("geolocation")),
        host_id=_id_text(row, "machine_id"),
        instance_type=f"{count}x {gpu_name}",
        arch=_ARCH.get(text(row.get("cpu_arch")) or "amd64"),
        vcpus=_float(positive(row.get("cpu_cores_effective"), most=10_000)),
        memory_gib=_memory(row),
        disk_gib=0,
        disk_min_gib=gib_of_gb(8),
        disk_max_gib=gib_of_gb(row.get("disk_space")),
        market=market_of(row),
        pricing="spot" if kind == "bid" else "on-demand",
        workloads=("container",),
        usd_per_hour=price,
        billing=BILLING,
        egress=None if egress is None else (EgressTier(usd_per_gb=egress),),
        egress_evidence=None if egress is None else "api",
        ingress_usd_per_gb=traffic_price(row, "down"),
        storage_usd_per_gib_month=None if storage is None else usd_per_gib_month(storage),
        address_usd_per_hour=Decimal(0),
        reliability=_reliability(row),
        reliability_source="vendor's host score",
        boot_s=BOOT_S,
        available=truth(row.get("rentable")) is not False and truth(row.get("rented")) is not True,
        available_count=1,  # a slice of one machine
        available_until=_until(row, now),
        observed_at=now,
        native=_native(row, ask_id, kind, disk, storage),
    )


def fits(row: Mapping[str, Any], offer: Offer, query: Query) -> bool:
    """What the filters of the search were to hold back, looked at again; unknown passes, for `judge` explains it."""
    if query.gpus and offer.gpu not in query.gpus:
        return False
    if offer.gpu_count < query.count or not is_listed(row):
        return False
    if query.countries and offer.country is not None and offer.country not in query.countries:
        return False
    return not (query.egress_free and offer.egress and offer.egress[0].usd_per_gb > 0)


def is_listed(row: Mapping[str, Any]) -> bool:
    """Whether a row is one we rent: verified, and with a direct port for SSH."""
    ports = number(row.get("direct_port_count"), least=-1)
    return text(row.get("verification")) in (None, "verified") and (ports is None or ports >= 1)


def dearer(fresh: Offer, promised: Offer) -> str | None:
    """What of *fresh* beside the hourly price costs more than *promised* said, in words; None if nothing does."""
    pairs = (
        ("egress per GB", _per_gb(fresh), _per_gb(promised)),
        ("ingress per GB", fresh.ingress_usd_per_gb, promised.ingress_usd_per_gb),
        ("disk per GiB and month", fresh.storage_usd_per_gib_month, promised.storage_usd_per_gib_month),
    )
    for what, now, then in pairs:
        if then is not None and (now is None or now > then * SLACK):
            return f"{what} costs {'an unknown price' if now is None else f'{now.normalize():f} USD'} now"
    return None


def market_of(row: Mapping[str, Any]) -> Market:
    """Secure Cloud is a vetted data centre; everything else, unknown included, is somebody's machine."""
    secure = row.get("hosting_type") == 1 or row.get("datacenter") is True
    return "marketplace-secure" if secure else "marketplace-community"


def _base_rate(row: Mapping[str, Any], storage: Decimal | None, disk: int) -> Decimal | None:
    """USD per hour without the disk.

    `dph_total` contains the disk that was asked for. Should it contain more than base and disk, that is paid too.
    """
    base = positive(row.get("dph_base"), most=_ABSURD)
    total = positive(row.get("dph_total"), most=_ABSURD)
    if total is None or storage is None:
        return base
    rest = total - storage_part(storage, Decimal(disk))
    if base is None or rest > base * _NOISE:
        return rest if rest > 0 else None
    return base


def _bid(row: Mapping[str, Any]) -> Decimal | None:
    """The price to beat now, USD per hour for the whole machine; None: it cannot be rented interruptibly."""
    return number(row.get("min_bid"), least=LEAST_BID, most=MOST_BID)


def _storage_price(row: Mapping[str, Any], disk: int) -> Decimal | None:
    """USD per GB and month of 720 hours."""
    price = number(row.get("storage_cost"), most=_ABSURD_DISK)
    if price is not None:
        return price
    total = number(row.get("storage_total_cost"), most=_ABSURD)
    return None if total is None else total * 720 / disk


def _reliability(row: Mapping[str, Any]) -> float | None:
    score = number(row.get("reliability"), most=1)
    return _float(score if score is not None else number(row.get("reliability2"), most=1))


def _memory(row: Mapping[str, Any]) -> float | None:
    """The slice's share of the machine's memory; how large that is follows from its share of the cores."""
    whole_machine = gib_of_mib(row.get("cpu_ram"))
    cores = positive(row.get("cpu_cores"), most=10_000)
    own = positive(row.get("cpu_cores_effective"), most=10_000)
    if whole_machine is None or cores is None or own is None:
        return None
    return whole_machine * min(1.0, float(own / cores))


def _until(row: Mapping[str, Any], now: datetime) -> datetime | None:
    """When the listing ends, and with it the machine: the earlier of its end date and of the seconds left."""
    ends = [end] if (end := moment(row.get("end_date"))) else []
    left = number(row.get("duration"), most=10**9)
    if left is not None:
        ends.append(now + timedelta(seconds=float(left)))
    return min(ends, default=None)


def _native(
    row: Mapping[str, Any], ask_id: int, kind: Kind, disk: int, storage: Decimal | None
) -> dict[str, str | int | float]:
    native: dict[str, str | int | float] = {"ask_id": ask_id, "kind": kind, "disk_gb": disk}
    for name in ("machine_id", "host_id"):
        if found := _id_text(row, name):
            native[name] = found
    if storage is not None:
        native["storage_usd_per_gb_month"] = f"{storage:f}"
    for name in ("min_bid", "dph_total", "cuda_max_good", "inet_down"):
        if (value := number(row.get(name))) is not None:
            native[name] = f"{value:f}"
    for name in ("gpu_name", "driver_version"):
        if word := text(row.get(name)):
            native[name] = word
    return native


def disk_of(offer: Offer) -> int:
    """The GB with which *offer* was searched, so that a quote is made of the same numbers."""
    return whole(offer.native.get("disk_gb")) or disk_gb(50)


def _id_text(row: Mapping[str, Any], name: str) -> str | None:
    found = whole(row.get(name))
    return None if found is None else str(found)


def _per_gb(offer: Offer) -> Decimal | None:
    return max(tier.usd_per_gb for tier in offer.egress) if offer.egress else None


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
