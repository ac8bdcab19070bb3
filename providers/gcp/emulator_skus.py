"""The emulated Cloud Billing catalogue: one SKU for each part of a machine, and others that look like it.

There is no SKU of a machine type. What a part costs where is only to be told by its description, as the real
catalogue has them (read by public repositories in 2025 and 2026): "G2 Instance Core running in Americas", "Nvidia L4
GPU attached to Spot Preemptible VMs running in Virginia". Source of the shapes: the description of Cloud Billing v1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from providers.gcp.emulator_market import Gpu, Market, Region, nanos
from providers.gcp.emulator_wire import Call, Refusal

COMPUTE = "6F81-5844-456A"
_SERVICES = ((COMPUTE, "Compute Engine"), ("E505-1604-58F8", "Networking"), ("95FF-2EF5-5EA1", "Cloud Storage"))
_RATES = {"USD": Decimal(1), "EUR": Decimal("0.92"), "GBP": Decimal("0.79")}
#: usage unit: its words, base unit, the base unit's words, base units in one
_UNITS: dict[str, tuple[str, str, str, int]] = {
    "h": ("hour", "s", "second", 3600),
    "GiBy.h": ("gibibyte hour", "By.s", "byte second", 2**30 * 3600),
    "GiBy.mo": ("gibibyte month", "By.s", "byte second", 2**30 * 2592000),
    "GiBy": ("gibibyte", "By", "byte", 2**30),
    "count": ("count", "count", "count", 1),
}
_TARGETS = ("Americas", "Western Europe", "APAC", "China", "Australia")
_LARGEST = 5000

Tiers = list[tuple[Decimal, Decimal]]


@dataclass(frozen=True, slots=True)
class Sku:
    """One row of the catalogue; `tiers` are (from so many units, USD per unit)."""

    description: str
    family: str
    group: str
    usage: str
    unit: str
    regions: tuple[str, ...]
    tiers: Tiers


def services(call: Call) -> dict[str, Any]:
    """The answer to ``GET /v1/services``."""
    rows = [
        {
            "name": f"services/{key}",
            "serviceId": key,
            "displayName": title,
            "businessEntityName": "businessEntities/GCP",
        }
        for key, title in _SERVICES
    ]
    shown, token = _page(call, rows, _LARGEST)
    return {"services": shown, "nextPageToken": token}


def skus(market: Market, call: Call, limit: int) -> dict[str, Any]:
    """The answer to ``GET /v1/services/{id}/skus``."""
    service = call.parts["service"]
    if service not in dict(_SERVICES):
        raise Refusal(404, "notFound", f"Service {service} not found.")
    currency = call.query.get("currencyCode") or "USD"
    if currency not in _RATES:
        raise Refusal(400, "invalid", f"Invalid currency code {currency}.")
    found = list(catalogue(market)) if service == COMPUTE else []
    shown, token = _page(call, found, limit)
    return {"skus": [_view(sku, market, currency) for sku in shown], "nextPageToken": token}


def _page(call: Call, rows: list[Any], limit: int) -> tuple[list[Any], str]:
    size, token = call.query.get("pageSize") or "0", call.query.get("pageToken") or "0"
    if not size.isdecimal() or not token.isdecimal():
        raise Refusal(400, "invalid", "Request contains an invalid argument.")
    start = int(token)
    end = start + min(int(size) or _LARGEST, _LARGEST, limit)
    return rows[start:end], str(end) if end < len(rows) else ""


def catalogue(market: Market) -> Iterator[Sku]:
    """All SKUs of Compute Engine."""
    yield from _machines(market)
    yield from _gpus(market)
    yield from _storage(market)
    yield from _network(market)
    yield from _decoys(market)


def _places(market: Market, style: str) -> Iterator[tuple[str, tuple[str, ...], Region]]:
    """Word, regions of one SKU, and one of them: an area may hold several regions at one price."""
    found: dict[tuple[str, Decimal], list[Region]] = {}
    for region in market.regions.values():
        word = region.area if style == "area" else region.city
        found.setdefault((word, region.factor), []).append(region)
    for (word, _), regions in found.items():
        yield word, tuple(region.name for region in regions), regions[0]


def _apart(market: Market, family: str, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Decimal]]:
    """The regions of one SKU by price: a fault may have changed one of them alone."""
    found: dict[Decimal, list[str]] = {}
    for name in names:
        found.setdefault(market.factor(family, market.regions[name]), []).append(name)
    for factor, regions in found.items():
        yield tuple(regions), factor


def _machines(market: Market) -> Iterator[Sku]:
    for family in market.families.values():
        for word, names, _ in _places(market, family.place):
            for regions, factor in _apart(market, family.name, names):
                for part, prices, unit, group in (
                    ("Core", family.core, "h", "CPU"),
                    ("Ram", family.ram, "GiBy.h", "RAM"),
                ):
                    if prices is None:
                        continue
                    for prefix, usage, usd in (
                        ("", "OnDemand", prices[0]),
                        ("Spot Preemptible ", "Preemptible", prices[1]),
                    ):
                        text = f"{prefix}{family.sku} {part} running in {word}"
                        tiers = [(Decimal(0), nanos(usd * factor))]
                        yield Sku(text, "Compute", family.group or group, usage, unit, regions, tiers)


def _gpus(market: Market) -> Iterator[Sku]:
    for gpu in market.gpus.values():
        sold = {zone.rpartition("-")[0] for zone in gpu.zones}
        for word, names, _ in _places(market, gpu.place):
            here = tuple(name for name in names if name in sold)
            for regions, factor in _apart(market, gpu.family, here):
                for text, usage, usd in _gpu_rows(gpu, word, regions):
                    yield Sku(text, "Compute", "GPU", usage, "h", regions, [(Decimal(0), nanos(usd * factor))])
    for shape in market.shapes.values():
        if shape.slice is None:
            continue
        for word, names, _ in _places(market, "city"):
            for regions, factor in _apart(market, shape.family, names):
                text = f"{shape.share_sku} running in {word}"
                tiers = [(Decimal(0), nanos(shape.slice[0] * factor))]
                yield Sku(text, "Compute", "GPU", "OnDemand", "h", regions, tiers)
                text = f"{shape.share_sku} attached to Spot Preemptible VMs running in {word}"
                tiers = [(Decimal(0), nanos(shape.slice[1] * factor))]
                yield Sku(text, "Compute", "GPU", "Preemptible", "h", regions, tiers)


def _gpu_rows(gpu: Gpu, word: str, regions: tuple[str, ...]) -> Iterator[tuple[str, str, Decimal]]:
    name = gpu.sku_in.get(regions[0], gpu.sku)
    yield f"{name} running in {word}", "OnDemand", gpu.usd[0]
    spot = (
        f"{gpu.spot_sku} running in {word}"
        if gpu.spot_sku
        else f"{name} attached to Spot Preemptible VMs running in {word}"
    )
    yield spot, gpu.spot_usage, gpu.usd[1]


def _storage(market: Market) -> Iterator[Sku]:
    for word, names, region in _places(market, "area"):
        suffix = "" if word == "Americas" else f" in {word}"
        local = [(Decimal(0), nanos(Decimal(market.fees["local_ssd"]) * region.factor))]
        yield Sku(f"SSD backed Local Storage{suffix}", "Storage", "LocalSSD", "OnDemand", "GiBy.mo", names, local)
        text = f"SSD backed Local Storage attached to Spot Preemptible VMs{suffix}"
        yield Sku(text, "Storage", "LocalSSD", "Preemptible", "GiBy.mo", names, local)
        for disk in market.disks.values():
            tiers = [(start, nanos(usd * region.factor)) for start, usd in disk.tiers]
            yield Sku(f"{disk.sku}{suffix}", "Storage", disk.group, "OnDemand", "GiBy.mo", names, tiers)


def _network(market: Market) -> Iterator[Sku]:
    fees = market.fees["address"]
    everywhere = ("global",)
    for text, key in (("a Standard VM", "standard"), ("a Spot Preemptible VM", "spot")):
        tiers = [(Decimal(0), Decimal(0)), (Decimal(fees["free_h"]), Decimal(fees[key]))]
        yield Sku(f"External IP Charge on {text}", "Network", "IpAddress", "OnDemand", "h", everywhere, tiers)
    premium, standard = market.egress["premium"], market.egress["standard"]
    for word, names, _ in _places(market, "area"):
        for target in _TARGETS:
            text = f"Network Internet Data Transfer Out from {word} to {target}"
            tiers = _tiers(premium.get(target, premium["default"]))
            yield Sku(text, "Network", "PremiumInternetEgress", "OnDemand", "GiBy", names, tiers)
            text = f"Network Internet Data Transfer In from {target} to {word}"
            yield Sku(text, "Network", "PremiumInternetIngress", "OnDemand", "GiBy", names, _tiers([["0", "0"]]))
    for region in market.regions.values():
        text = f"Network Standard Data Transfer Out to Internet from {region.city}"
        tiers = _tiers(standard.get(region.name, standard["default"]))
        yield Sku(text, "Network", "StandardInternetEgress", "OnDemand", "GiBy", (region.name,), tiers)
        text = f"Network Vpn Internet Data Transfer Out from {region.city} to Americas"
        yield Sku(text, "Network", "VPNInternetEgress", "OnDemand", "GiBy", (region.name,), _tiers([["0", "0.19"]]))


def _tiers(rows: list[list[str]]) -> Tiers:
    return [(Decimal(start), Decimal(usd)) for start, usd in rows]


def _decoys(market: Market) -> Iterator[Sku]:
    """What is sold beside the plain parts, in words that a careless match takes for them."""
    for family in market.families.values():
        name = family.name.upper()
        for word, names, region in _places(market, family.place):
            factor = market.factor(family.name, region)
            for part, unit, group, low in (("Core", "h", "CPU", "0.0193"), ("Ram", "GiBy.h", "RAM", "0.0021")):
                usd = nanos(Decimal(low) * factor)
                for text, usage in (
                    (f"{name} Sole Tenancy Instance {part} running in {word}", "OnDemand"),
                    (f"Sole Tenancy Premium for {name} Sole Tenancy Instance {part} running in {word}", "OnDemand"),
                    (f"{name} Custom Instance {part} running in {word}", "OnDemand"),
                    (f"{name} Custom Extended Instance {part} running in {word}", "OnDemand"),
                    (f"Commitment v1: {name} {part} in {word} for 1 Year", "Commit1Yr"),
                    (f"DWS Defined Duration {name} {part} running in {word}", "OnDemand"),
                    (f"Reserved {name} {part} in {word} in Calendar Mode", "OnDemand"),
                ):
                    yield Sku(text, "Compute", group, usage, unit, names, [(Decimal(0), usd)])
    for gpu in market.gpus.values():
        for word, names, region in _places(market, gpu.place):
            usd = nanos(gpu.usd[0] * market.factor(gpu.family, region) / 2)
            for text, usage in (
                (f"Commitment v1: {gpu.sku} running in {word} for 1 Year", "Commit1Yr"),
                (f"Reserved {gpu.sku} in {word} in DWS Calendar Mode", "OnDemand"),
                (f"{gpu.sku} attached to DWS Defined Duration VMs running in {word}", "OnDemand"),
                (f"{gpu.sku} attached to Sole Tenancy VMs running in {word}", "OnDemand"),
                (f"{gpu.sku.removesuffix(' GPU')} Virtual Workstation GPU running in {word}", "OnDemand"),
            ):
                yield Sku(text, "Compute", "GPU", usage, "h", names, [(Decimal(0), usd)])


def _view(sku: Sku, market: Market, currency: str) -> dict[str, Any]:
    key = sku_id(sku)
    single = sku.regions != ("global",)
    words, base, base_words, factor = _UNITS[sku.unit]
    kind = "GLOBAL" if not single else "REGIONAL" if len(sku.regions) == 1 else "MULTI_REGIONAL"
    expression = {
        "usageUnit": sku.unit,
        "usageUnitDescription": words,
        "baseUnit": base,
        "baseUnitDescription": base_words,
        "baseUnitConversionFactor": factor,
        "displayQuantity": 1,
        "tieredRates": [
            {"startUsageAmount": int(start), "unitPrice": money(usd * _RATES[currency], currency)}
            for start, usd in sku.tiers
        ],
    }
    info: dict[str, Any] = {
        "summary": "",
        "pricingExpression": expression,
        "currencyConversionRate": float(_RATES[currency]),
        "effectiveTime": market.effective,
    }
    if len(sku.tiers) > 1:
        info["aggregationInfo"] = {
            "aggregationLevel": "ACCOUNT",
            "aggregationInterval": "MONTHLY",
            "aggregationCount": 1,
        }
    return {
        "name": f"services/{COMPUTE}/skus/{key}",
        "skuId": key,
        "description": sku.description,
        "category": {
            "serviceDisplayName": "Compute Engine",
            "resourceFamily": sku.family,
            "resourceGroup": sku.group,
            "usageType": sku.usage,
        },
        "serviceRegions": list(sku.regions),
        "pricingInfo": [info],
        "serviceProviderName": "Google",
        "geoTaxonomy": {"type": kind, "regions": list(sku.regions) if single else []},
    }


def sku_id(sku: Sku) -> str:
    """An id that is always the same for one description and place."""
    digest = hashlib.sha256(f"{sku.description}/{sku.regions}".encode()).hexdigest().upper()
    return f"{digest[:4]}-{digest[4:8]}-{digest[8:12]}"


def money(amount: Decimal, currency: str = "USD") -> dict[str, Any]:
    """google.type.Money: whole units as a string, the rest in 1e-9."""
    units = int(amount)
    return {"currencyCode": currency, "units": str(units), "nanos": int((amount - units) * 10**9)}
