"""CoreWeave's instance types: a dated snapshot, for the API names no prices.

Whole nodes, North America, on demand, as coreweave.com/pricing listed them on 2026-10-04 (transcribed by a third
party; the L40 and L40S rates agree with two other surveys). Spot, Flex and Reserved rates are not public. Types
that are sized in racks (GB200, GB300, Vera Rubin) cannot be added one node at a time and are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

PRICE_SOURCE = "coreweave.com/pricing list price, read 2026-10-04"

#: A public IPv4 address, per month; metered by the minute.
ADDRESS_USD_PER_MONTH = Decimal(4)
HOURS_PER_MONTH = 730


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeType:
    """One instance type.

    Attributes:
        gpu: canonical model, `count` of them in a node.
        vcpus, memory_gb, nvme_tb: of the whole node, in decimal units as the vendor writes them.
        usd_per_hour: of the whole node; None where it is not published.
        zones: zones that list it, where all of them are known; empty where they are not.
    """

    gpu: str
    count: int
    vcpus: int
    memory_gb: int
    nvme_tb: Decimal | None
    usd_per_hour: Decimal | None
    arch: str = "x86_64"
    zones: tuple[str, ...] = ()


def _type(gpu: str, count: int, vcpus: int, memory: int, nvme: str | None, usd: str | None, **more: str) -> NodeType:
    return NodeType(
        gpu=gpu,
        count=count,
        vcpus=vcpus,
        memory_gb=memory,
        nvme_tb=Decimal(nvme) if nvme else None,
        usd_per_hour=Decimal(usd) if usd else None,
        arch=more.get("arch", "x86_64"),
        zones=tuple(more.get("zones", "").split()),
    )


TYPES: dict[str, NodeType] = {
    "gd-8xl40-i128": _type("l40", 8, 128, 1024, "7.68", "10.00", zones="RNO2A US-EAST-02A US-EAST-04A"),
    "gd-8xl40s-i128": _type("l40s", 8, 128, 1024, "7.68", "18.00", zones="US-EAST-04A"),
    "gd-8xa100-i128": _type("a100-80gb", 8, 128, 2048, "7.68", "21.60", zones="RNO2A US-EAST-04A"),
    "gd-8xh100ib-i128": _type("h100-sxm", 8, 128, 2048, "30.7", "49.24"),
    "gd-8xh200ib-i128": _type("h200", 8, 128, 2048, "30.7", "50.44"),
    "b200-8x": _type("b200", 8, 128, 2048, None, "68.80"),
    "b300-8x": _type("b300", 8, 192, 4096, None, None),
    "rtxp6000-8x": _type("rtx-pro-6000", 8, 128, 1024, None, "20.00"),
    # Half the memory; its price is not published.
    "rtxp6000-8x-v2": _type("rtx-pro-6000", 8, 128, 512, None, None),
    "gd-1xgh200": _type("gh200", 1, 72, 480, None, "6.50", arch="arm64", zones="RNO2A US-EAST-04A"),
}

_COUNTRIES = {"US": "US", "RNO": "US", "ORD": "US", "LAS": "US", "LGA": "US", "CA": "CA"}


def country(place: str | None) -> str | None:
    """The ISO country of a zone or region (US-EAST-04A, RNO2A); None where the name does not say it."""
    head = re.match("[A-Z]+", (place or "").upper())
    return _COUNTRIES.get(head[0]) if head else None


def sold_in(kind: NodeType, zone: str | None) -> bool | None:
    """Whether *zone* lists the type; None where either is not known."""
    if not kind.zones or not zone:
        return None
    wanted = zone.upper()
    # A region (US-EAST-04) stands for all its zones.
    return any(listed == wanted or listed.startswith(wanted) for listed in kind.zones)
