"""Prices out of Google's list of SKUs, which has no machine types: a machine costs its cores, memory, GPUs and SSDs.

What an SKU is for stands in its description only. The patterns are as loose as certainty allows, and what they do not
know stays unknown. Google's GB of memory and disk are GiB.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

import msgspec

from providers.gcp.hardware import Machine

HOURS_PER_MONTH = Decimal(730)
SSD_GIB = 375
#: List prices for when an SKU is not found: us-central1, seen before 2026-11 and not re-checked.
SNAPSHOT_SSD_USD = Decimal("0.08")
SNAPSHOT_DISK_USD = {"pd-balanced": Decimal("0.10"), "hyperdisk-balanced": Decimal("0.08")}
SNAPSHOT_ADDRESS_USD = {False: Decimal("0.005"), True: Decimal("0.0025")}
GLOBAL = "global"

_SKIPPED = re.compile(
    r"sole tenan|reserved|commit|premium|custom|calendar|\bdws\b|flex|upgrade|licens|workstation|\bvws\b", re.IGNORECASE
)
_INSTANCE = re.compile(
    r"^(n1 predefined|g2|g4|a2|a3 ?plus|a3 ?mega|a3 ?ultra|a3|a4) (?:predefined )?instance (core|ram)\b"
)
_FAMILY_OF = {"n1 predefined": "n1", "a3plus": "a3mega"}
_GPUS = (
    (re.compile(r"\ba100\b.*\b80\s?gb\b"), "nvidia-a100-80gb"),
    (re.compile(r"\ba100\b"), "nvidia-tesla-a100"),
    (re.compile(r"\bh100\b.*\b(?:mega|plus)\b"), "nvidia-h100-mega-80gb"),
    (re.compile(r"\bh100\b"), "nvidia-h100-80gb"),
    (re.compile(r"\bh200\b"), "nvidia-h200-141gb"),
    (re.compile(r"\bb200\b"), "nvidia-b200"),
    (re.compile(r"\brtx (?:pro )?6000\b"), "nvidia-rtx-pro-6000"),
    (re.compile(r"\bl4\b"), "nvidia-l4"),
    (re.compile(r"\bt4\b"), "nvidia-tesla-t4"),
    (re.compile(r"\bv100\b"), "nvidia-tesla-v100"),
    (re.compile(r"\bp100\b"), "nvidia-tesla-p100"),
    (re.compile(r"\bp4\b"), "nvidia-tesla-p4"),
)
_STANDARD_EGRESS = re.compile(r"\bstandard\b.*\b(?:egress|data transfer out)\b|\b(?:egress|out)\b.*\bstandard tier\b")
_SPOT = {"OnDemand": False, "Preemptible": True}
_UNITS = {
    "core": {"h"},
    "ram": {"GiBy.h", "GBy.h"},
    "gpu": {"h"},
    "slice": {"h"},
    "address": {"h"},
    "disk": {"GiBy.mo", "GBy.mo"},
    "ssd": {"GiBy.mo", "GBy.mo"},
    "egress": {"GiBy", "GBy"},
}


class Key(NamedTuple):
    """What a price is for. `kind`: core, ram, gpu, slice (a GPU with its share of all else), disk, ssd, address,
    egress; `name`: the family, accelerator or disk type."""

    kind: str
    name: str
    spot: bool


class Step(NamedTuple):
    """One tier: from that amount on, USD a unit."""

    start: Decimal
    usd: Decimal


class Price(NamedTuple):
    """An SKU's tiers, and the token of the page that it stands on."""

    steps: tuple[Step, ...]
    page: str

    @property
    def usd(self) -> Decimal:
        """The price past every free allowance."""
        return self.steps[-1].usd


class _Money(msgspec.Struct):
    units: str | int = 0
    nanos: int = 0


class _Tier(msgspec.Struct, rename="camel"):
    start_usage_amount: Decimal = Decimal(0)
    unit_price: _Money = msgspec.field(default_factory=_Money)


class _Expression(msgspec.Struct, rename="camel"):
    usage_unit: str = ""
    tiered_rates: list[_Tier] = []


class _Info(msgspec.Struct, rename="camel"):
    pricing_expression: _Expression = msgspec.field(default_factory=_Expression)


class _Category(msgspec.Struct, rename="camel"):
    usage_type: str = ""


class _Sku(msgspec.Struct, rename="camel"):
    description: str = ""
    category: _Category = msgspec.field(default_factory=_Category)
    service_regions: list[str] = []
    pricing_info: list[_Info] = []


class _Page(msgspec.Struct, rename="camel"):
    skus: list[msgspec.Raw] = []
    next_page_token: str = ""


Book = dict[tuple[Key, str], Price]


class Rates:
    """The prices that were read, by what they are for and region."""

    def __init__(self, book: Book | None = None) -> None:
        self.book: Book = dict(book or {})

    def get(self, kind: str, name: str, region: str, *, spot: bool = False) -> Price | None:
        """The price in *region*, else one for everywhere, else None."""
        key = Key(kind, name, spot)
        return self.book.get((key, region)) or self.book.get((key, GLOBAL))


def decode(body: bytes, token: str) -> tuple[Book, str]:
    """What one page (asked for with *token*) says that matters here, and the token of the next one.

    Raises:
        ValueError: it is not the list.
    """
    page = msgspec.json.decode(body, type=_Page)
    book: Book = {}
    decoder = msgspec.json.Decoder(_Sku)
    for raw in page.skus:
        try:
            sku = decoder.decode(raw)
        except ValueError:
            continue  # one that cannot be read prices nothing
        for key, region, price in _read(sku, token):
            # Two for one thing: the dearer, so that no promise is broken.
            known = book.get((key, region))
            if known is None or price.usd > known.usd:
                book[key, region] = price
    return book, page.next_page_token


def hourly(machine: Machine, region: str, rates: Rates, *, spot: bool) -> Decimal | None:
    """USD an hour for the whole machine, or None if a part of it has no known price."""
    if machine.fraction < 1:
        return None  # how a part of a GPU is priced is not known
    whole = rates.get("slice", machine.accelerator, region, spot=spot)
    if whole is not None:
        # From the SKU's name ("1 gpu slice") the rest of the machine is in it; not verified.
        return machine.gpu_count * whole.usd
    family = family_of(machine.type)
    core = rates.get("core", family, region, spot=spot)
    ram = rates.get("ram", family, region, spot=spot)
    gpu = rates.get("gpu", machine.accelerator, region, spot=spot)
    if core is None or ram is None or gpu is None:
        return None
    parts = machine.vcpus * core.usd + Decimal(str(machine.memory_gib)) * ram.usd + machine.gpu_count * gpu.usd
    if machine.ssds:
        ssd = rates.get("ssd", "local", region, spot=spot)
        monthly = SNAPSHOT_SSD_USD if ssd is None else ssd.usd
        parts += machine.ssds * SSD_GIB * monthly / HOURS_PER_MONTH
    return parts


def parts_of(machine_type: str, accelerator: str, *, spot: bool) -> list[Key]:
    """The prices that a machine's price is made of."""
    family = family_of(machine_type)
    parts = [("core", family), ("ram", family), ("gpu", accelerator), ("slice", accelerator)]
    if machine_type.startswith(("a2-ultragpu-", "a3-", "a4-")):
        parts.append(("ssd", "local"))
    return [Key(kind, name, spot) for kind, name in parts]


def family_of(machine_type: str) -> str:
    """Under which name the SKUs have a machine type's cores and memory."""
    words = machine_type.split("-")
    if words[0] == "a3" and len(words) > 1 and words[1] in ("megagpu", "ultragpu"):
        return f"a3{words[1].removesuffix('gpu')}"
    return words[0]


def disk_usd(disk_type: str, region: str, rates: Rates) -> Decimal:
    """USD per GiB and month."""
    price = rates.get("disk", disk_type, region)
    return SNAPSHOT_DISK_USD[disk_type] if price is None else price.usd


def address_usd(region: str, rates: Rates, *, spot: bool) -> Decimal:
    """USD per hour of an external IPv4 address in use."""
    price = rates.get("address", "ipv4", region, spot=spot)
    return SNAPSHOT_ADDRESS_USD[spot] if price is None else price.usd


def _read(sku: _Sku, token: str) -> Iterator[tuple[Key, str, Price]]:
    spot = _SPOT.get(sku.category.usage_type)
    found = None if spot is None else _what(sku.description)
    if found is None or spot is None or not sku.pricing_info:
        return
    expression = sku.pricing_info[-1].pricing_expression
    if expression.usage_unit and expression.usage_unit not in _UNITS[found[0]]:
        return
    steps = tuple(sorted(Step(tier.start_usage_amount, _usd(tier.unit_price)) for tier in expression.tiered_rates))
    # A price of nothing is no price.
    if not steps or steps[-1].usd <= 0:
        return
    spot = spot or (found[0] == "address" and "spot" in sku.description.lower())
    for region in sku.service_regions:
        yield Key(found[0], found[1], spot), region, Price(steps, token)


def _what(description: str) -> tuple[str, str] | None:
    text = description.lower().removeprefix("spot preemptible ").removeprefix("preemptible ")
    if text.startswith("external ip charge on a"):
        return "address", "ipv4"
    if text.startswith("balanced pd capacity"):
        return "disk", "pd-balanced"
    if text.startswith("hyperdisk balanced capacity"):
        return "disk", "hyperdisk-balanced"
    if _STANDARD_EGRESS.search(text) and "internet" in text:
        return "egress", "standard"
    if _SKIPPED.search(text):
        return None
    if text.startswith("ssd backed local storage"):
        return "ssd", "local"
    if match := _INSTANCE.match(text):
        family = match[1] if match[1] in _FAMILY_OF else match[1].replace(" ", "")
        return match[2], _FAMILY_OF.get(family, family)
    return _gpu(text)


def _gpu(text: str) -> tuple[str, str] | None:
    if "gb200" in text or not ("gpu" in text or "nvidia" in text or "rtx" in text):
        return None
    name = next((name for pattern, name in _GPUS if pattern.search(text)), None)
    if name is None:
        return None
    return ("slice" if "slice" in text else "gpu"), name


def _usd(money: _Money) -> Decimal:
    return Decimal(str(money.units)) + Decimal(money.nanos).scaleb(-9)
