"""Lambda's instance types as offers: one per region with capacity, and one marked sold out where there is none.

The price is the machine's and the same in every region. GPU model and memory stand in texts only (``A10 (24 GB
PCIe)``). Sources: docs/providers/lambda.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import msgspec

from providers import gpus
from providers.base import Billing, EgressTier, Offer
from providers.errors import InvalidRequest
from providers.lambda_cloud.places import country_of

#: Metered per minute, "from the moment the instance is launched and passes health checks": booting is not billed.
BILLING = Billing(increment_s=60, minimum_s=0, while_booting=False)
#: "Not charged for ingress or egress", says the billing page of the documentation.
EGRESS = (EgressTier(up_to_gb=None, usd_per_gb=Decimal(0)),)
#: Assumed by tier: no service level that covers on-demand machines was found.
RELIABILITY = 0.99

_DESCRIPTION = re.compile(r"\s*(?:(\d{1,3})x\s+)?(.*?)\s*(?:\(\s*(\d{1,4})\s*GB\b\s*([A-Za-z0-9 ]*)\))?\s*", re.ASCII)
_NAME = re.compile(r"gpu_(\d{1,3})x_(.+)", re.ASCII)
#: Grace hosts (GH200, GB200) are ARM, all others x86.
_GRACE = re.compile(r"G[HB]\d", re.IGNORECASE)
#: USD per hour above which a figure is a mistake: unknown.
_ABSURD = 10_000


class Gpus(NamedTuple):
    """What a type holds: how many, of what, with how much memory each (GiB, if said), in which kind of host."""

    number: int
    name: str
    memory_gib: float | None
    arch: str


def offers_of(name: str, item: Any, *, account: str, now: datetime) -> Iterator[Offer]:
    """What the type *name* is sold as; nothing for one without GPUs, or whose entry cannot be read."""
    entry = _dict(item)
    kind = _dict(entry.get("instance_type"))
    found = gpus_of(name, kind)
    if found is None:
        return
    regions = regions_of(entry)
    if regions is None:
        yield _offer(name, kind, found, None, None, None, account, now)
        return
    for region, description in regions.items():
        yield _offer(name, kind, found, region, description, True, account, now)
    if not regions:
        yield _offer(name, kind, found, None, None, False, account, now)


def requote(offer: Offer, item: Any, now: datetime) -> Offer:
    """*offer* at the price and stock that its type's fresh entry names."""
    entry = _dict(item)
    regions = regions_of(entry)
    _, region = target(offer)
    available: bool | None = region in regions if regions is not None else None
    return msgspec.structs.replace(
        offer,
        usd_per_hour=usd_per_hour(_dict(entry.get("instance_type")).get("price_cents_per_hour")),
        available=available if region else False,
        observed_at=now,
    )


def target(offer: Offer) -> tuple[str, str | None]:
    """Instance type and region that *offer* stands for.

    Raises:
        InvalidRequest: it is none of ours.
    """
    name, region = offer.native.get("instance_type"), offer.native.get("region")
    if offer.provider != "lambda" or not isinstance(name, str) or not name:
        raise InvalidRequest(f"{offer.offer_id!r} is no offer of Lambda", code="foreign-offer")
    return name, region if isinstance(region, str) and region else None


def usd_per_hour(cents: Any) -> Decimal | None:
    """An hourly price in USD from whole cents; None if it is no sensible price: zero is not free."""
    try:
        # An integer; older clients saw a text.
        value = Decimal(cents) / 100 if isinstance(cents, int | str | Decimal) and not isinstance(cents, bool) else None
    except InvalidOperation:
        return None
    return value if value is not None and value.is_finite() and 0 < value <= _ABSURD else None


def gpus_of(name: str, kind: Mapping[str, Any]) -> Gpus | None:
    """The GPUs of a type, or None if it has none.

    The model is taken from the GPU's description, else the type's, else from the type's name (``gpu_1x_a10``). A
    model that is not certain gets a plain name that is no model's.
    """
    named = _NAME.fullmatch(name)
    texts = [_text(kind.get("gpu_description")), _text(kind.get("description"))]
    matches = [match for text in texts if text and (match := _DESCRIPTION.fullmatch(text)) and match[2]]
    said = next((match for match in matches if match[3]), None)
    if named is None and said is None:
        return None  # a CPU type: "N/A", no memory
    model = said[2] if said else named[2].replace("_", " ") if named else ""
    memory = float(said[3]) if said else None
    count = _count(kind, [match[1] for match in matches], named[1] if named else None)
    if count == 0:
        return None
    gpu = _model(model, memory, (said[4].strip() if said else "") or None)
    return Gpus(count, gpu, memory, "arm64" if _GRACE.match(model) else "x86_64")


def regions_of(entry: Mapping[str, Any]) -> dict[str, str | None] | None:
    """The regions with capacity and their descriptions; None if the entry does not say."""
    listed = entry.get("regions_with_capacity_available")
    if not isinstance(listed, list):
        return None
    rows = [_dict(row) for row in listed]
    return {str(row["name"]): _text(row.get("description")) for row in rows if _text(row.get("name"))}


def _offer(
    name: str,
    kind: Mapping[str, Any],
    found: Gpus,
    region: str | None,
    description: str | None,
    available: bool | None,
    account: str,
    now: datetime,
) -> Offer:
    specs = _dict(kind.get("specs"))
    disk = _number(specs.get("storage_gib"))
    native = {"instance_type": name, "arch": found.arch}
    return Offer(
        offer_id=f"lambda/{name}/{region or '-'}",
        provider="lambda",
        account=account,
        gpu=found.name,
        gpu_count=found.number,
        gpu_memory_gib=found.memory_gib,
        arch=found.arch,
        region=region,
        country=country_of(region, description) if region else None,
        instance_type=name,
        vcpus=_number(specs.get("vcpus")),
        memory_gib=_number(specs.get("memory_gib")),
        disk_gib=disk,
        disk_max_gib=disk,  # local, included, and not for the choosing
        market="specialist",
        workloads=("vm",),
        usd_per_hour=usd_per_hour(kind.get("price_cents_per_hour")),
        billing=BILLING,
        egress=EGRESS,
        egress_evidence="claim",
        ingress_usd_per_gb=Decimal(0),
        address_usd_per_hour=Decimal(0),
        reliability=RELIABILITY,
        reliability_source="assumed by tier",
        boot_s=boot_s(found.number),
        available=available,
        observed_at=now,
        native=native | {"region": region} if region else native,
    )


def boot_s(count: int) -> float:
    """Seconds until a machine of *count* GPUs is up: measured 238-333 for one and 600-900 for eight, by others."""
    return 290.0 if count == 1 else 750.0 if count >= 8 else 450.0


def _model(model: str, memory_gib: float | None, interface: str | None) -> str:
    known = gpus.canonical(model, memory_gib=memory_gib, interface=interface)
    plain = gpus.slug(model)
    if known is not None or plain not in gpus.GPUS:
        return known or plain
    # The name is known but the memory is not that model's: it must not pass for it.
    return f"{plain}-{memory_gib:g}gib" if memory_gib is not None else f"{plain}-unknown"


def _count(kind: Mapping[str, Any], described: list[str | None], named: str | None) -> int:
    given = _dict(kind.get("specs")).get("gpus")
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= 999:
        return given
    return int(next((text for text in (*described, named) if text), "1"))


def _number(value: Any) -> float | None:
    if not isinstance(value, int | Decimal) or isinstance(value, bool) or not 0 < value < 10**9:
        return None
    return float(value)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
