"""The public price list: `GET /api/retail/prices`, no token, no api-version needed.

Beside what a client looks for it has what clients must see through: Windows, low priority, reservations, DevTest,
meters that ended or have not begun, retired and unrentable sizes. Two different hours have two different meters.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from starlette.responses import Response

from providers.azure.emulator_cloud import Cloud
from providers.azure.emulator_market import Region, Size
from providers.azure.emulator_odata import parse
from providers.azure.emulator_wire import Call, reply

_PREVIEW = "2023-01-01-preview"
_FIELDS = frozenset(
    """armRegionName location meterId meterName productId skuId productName skuName serviceName serviceId serviceFamily
    type priceType armSkuName isPrimaryMeterRegion currencyCode unitOfMeasure reservationTerm tierMinimumUnits
    effectiveStartDate""".split()  # noqa: SIM905 - a table
)
_SPACE = uuid.UUID("0b6a0d7e-4f67-5a7c-9d5f-6e0f7ab3a901")
_EXACT = Decimal("0.000001")


def prices(cloud: Cloud, call: Call) -> Response:
    """One page of the list."""
    if call.query.get("currencycode", "USD").strip("'").upper() != "USD":
        return _bad("The sandbox has prices in USD only.")
    text = call.query.get("$filter", "")
    try:
        # Values became case-sensitive with the preview version.
        test, fields = parse(text, case=call.api_version == _PREVIEW) if text else ((lambda _: True), set())
        skip = int(call.query.get("$skip", 0))
    except ValueError:  # BadFilter is one
        return _bad("Invalid OData parameters supplied")
    if fields - _FIELDS:
        return _bad("Invalid OData parameters supplied")
    _move(cloud)
    primary = call.query.get("meterregion", "").strip("'") == "primary"
    found = [item for item in _written(cloud) if test(item) and (item["isPrimaryMeterRegion"] or not primary)]
    size = min(1000, cloud.options.price_page)
    page = found[skip : skip + size]
    link = None
    if skip + size < len(found):
        link = call.again(__skip=str(skip + size))
    body = {
        "BillingCurrency": "USD",
        "CustomerEntityId": "Default",
        "CustomerEntityType": "Retail",
        "Items": [_plain(item) for item in page],
        "NextPageLink": link,
        "Count": len(page),
    }
    return reply(body, headers={"x-ms-ratelimit-remaining-retailprices-requests": "99"})


def _bad(message: str) -> Response:
    # What an error looks like here is not documented.
    return reply({"Error": {"Code": "BadRequest", "Message": message}}, 400)


def _move(cloud: Cloud) -> None:
    """Let a fault change prices: of all sizes, or of those that its subject names."""
    waiting = [fault for fault in cloud.world.faults.waiting if fault.kind == "price_changed" and fault.times != 0]
    for size, region in _places(cloud) if waiting else ():
        for kind, word in (("regular", "on-demand"), ("spot", "spot")):
            named = [one for one in waiting if one.subject]
            subject = f"{size.name} {region.name} {word}"
            fault = cloud.fault("price_changed", verb="offers", subject=subject) if named else None
            if fault is not None:
                cloud.market.change(size, region.name, kind, Decimal(str(fault.args.get("factor", "1.5"))))
    if (fault := cloud.fault("price_changed", verb="offers", subject="*")) is not None:
        for size, region in _places(cloud):
            for kind in ("regular", "spot"):
                cloud.market.change(size, region.name, kind, Decimal(str(fault.args.get("factor", "1.5"))))


def _places(cloud: Cloud) -> Iterator[tuple[Size, Region]]:
    for size in (*cloud.market.sizes.values(), *cloud.market.others.values()):
        for region in cloud.market.regions.values():
            if cloud.market.on_demand(size, region.name) is not None:
                yield size, region


def _written(cloud: Cloud) -> list[dict[str, Any]]:
    """All items, written down again when a price has changed; with `priceType`, which only filters know."""
    key = repr(cloud.market.factors)
    if cloud.price_list[0] != key:
        cloud.price_list = (key, [item | {"priceType": item["type"]} for item in _items(cloud)])
    return cloud.price_list[1]


def _items(cloud: Cloud) -> Iterator[dict[str, Any]]:
    for size, region in _places(cloud):
        yield from _of_size(cloud, size, region)
    for region in cloud.market.regions.values():
        yield from _of_region(cloud, region)


def _of_size(cloud: Cloud, size: Size, region: Region) -> Iterator[dict[str, Any]]:
    market, rules = cloud.market, cloud.market.given["retail"]
    regular, spot = market.on_demand(size, region.name), market.spot(size, region.name)
    assert regular is not None, "only what is sold has prices"
    windows = Decimal(rules["windows_share"])
    label = size.short.replace("_", " ")
    line = _Line(cloud, size, region)
    yield line.item(label, regular)
    yield line.item(label, regular * windows, windows=True)
    # A meter that ended, and one that has not begun.
    yield line.item(label, regular / 2, start="2024-01-01T00:00:00Z", end="2025-12-31T23:59:00Z")
    yield line.item(label, regular / 3, start="2099-01-01T00:00:00Z")
    yield line.item(f"{label} Low Priority", regular * Decimal(rules["low_priority_share"]))
    yield line.item(label, regular * Decimal("0.9"), kind="DevTestConsumption", windows=True)
    if spot is not None:
        yield line.item(f"{label} Spot", spot)
        yield line.item(f"{label} Spot", spot * windows, windows=True)
    for term, share in rules["reserved_share"].items():
        total = regular * Decimal(share) * int(rules["reserved_hours"][term])
        yield line.item(label, total, kind="Reservation", extra={"reservationTerm": term})


class _Line:
    """The items of one size in one region."""

    def __init__(self, cloud: Cloud, size: Size, region: Region) -> None:
        self.size = size
        self.region = region
        self.effective = str(cloud.market.given["effective"])

    def item(
        self,
        name: str,
        usd: Decimal,
        *,
        windows: bool = False,
        kind: str = "Consumption",
        start: str = "",
        end: str = "",
        extra: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        product = self.size.product + (" Windows" if windows else "")
        words = {"meterName": name, "skuName": name, "productName": product, "armSkuName": self.size.name}
        service = ("Virtual Machines", "DZH313Z7MMC8", "Compute")
        found = _item(self.region, usd, words, service, start or self.effective, kind, extra or {})
        return found | ({"effectiveEndDate": end} if end else {})


def _of_region(cloud: Cloud, region: Region) -> Iterator[dict[str, Any]]:
    """Traffic to the internet by both ways, and the price of an address and of managed disks."""
    start = str(cloud.market.given["effective"])
    traffic = ("Bandwidth", "DZH314HC0WV9", "Networking")
    products = {"mgn": "Rtn Preference: MGN", "internet": "Bandwidth - Routing Preference: Internet"}
    for way, tiers in cloud.market.given["egress"][region.egress].items():
        words = {"meterName": "Standard Data Transfer Out", "skuName": "Standard", "productName": products[way]}
        for least, usd in tiers:
            extra = {"tierMinimumUnits": Decimal(least), "unitOfMeasure": "1 GB"}
            yield _item(region, Decimal(usd), words | {"armSkuName": ""}, traffic, start, "Consumption", extra)
    words = {"meterName": "Standard Data Transfer In", "skuName": "Standard", "productName": products["mgn"]}
    extra = {"unitOfMeasure": "1 GB"}
    yield _item(region, Decimal(0), words | {"armSkuName": ""}, traffic, start, "Consumption", extra)
    fees = cloud.market.given["fees"]
    words = {"meterName": "Standard IPv4 Static Public IP", "skuName": "Standard", "productName": "IP Addresses"}
    network = ("Virtual Network", "DZH318Z0BNXK", "Networking")
    yield _item(region, Decimal(fees["public_ip_hour"]), words | {"armSkuName": ""}, network, start, "Consumption", {})
    storage = ("Storage", "DZH317F1HKN0", "Storage")
    names = {
        "Standard_LRS": ("S", "Standard HDD"),
        "StandardSSD_LRS": ("E", "Standard SSD"),
        "Premium_LRS": ("P", "Premium SSD"),
    }
    for kind, (letter, title) in names.items():
        for number, usd in zip((4, 6, 10, 15, 20, 30, 40), fees["disk_month"][kind].values(), strict=True):
            sku = f"{letter}{number} LRS"
            words = {
                "meterName": f"{sku} Disk",
                "skuName": sku,
                "productName": f"{title} Managed Disks",
                "armSkuName": "",
            }
            yield _item(region, Decimal(usd), words, storage, start, "Consumption", {"unitOfMeasure": "1/Month"})


def _item(
    region: Region,
    usd: Decimal,
    words: dict[str, str],
    service: tuple[str, str, str],
    start: str,
    kind: str,
    extra: dict[str, Any],
) -> dict[str, Any]:
    seed = f"{region.name}/{words}/{kind}/{start}/{extra}"
    product = "DZH318Z0" + hashlib.sha256(words["productName"].encode()).hexdigest()[:4].upper()
    return (
        {
            "currencyCode": "USD",
            "tierMinimumUnits": Decimal(0),
            "retailPrice": usd.quantize(_EXACT),
            "unitPrice": usd.quantize(_EXACT),
            "armRegionName": region.name,
            "location": region.retail,
            "effectiveStartDate": start,
            "meterId": str(uuid.uuid5(_SPACE, seed)),
            "productId": product,
            "skuId": f"{product}/{hashlib.sha256(seed.encode()).hexdigest()[:4].upper()}",
            "serviceName": service[0],
            "serviceId": service[1],
            "serviceFamily": service[2],
            "unitOfMeasure": "1 Hour",
            "type": kind,
            "isPrimaryMeterRegion": True,
        }
        | words
        | extra
    )


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    # JSON numbers: the shortest text that means the same.
    plain = {name: float(value) if isinstance(value, Decimal) else value for name, value in item.items()}
    del plain["priceType"]
    return plain
