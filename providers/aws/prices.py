"""AWS's prices: the price list's products, and what a spot machine costs now.

A product of the price list is a JSON text: ``product.attributes`` and, under ``terms.OnDemand``, its price in one or
more dimensions (tiers). Unknown is None: a product without a price in USD, or with an absurd one, is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from providers.aws.client import Client
from providers.errors import InvalidRequest, Unavailable

#: The price list has its own few regions.
PRICING_REGION = "us-east-1"
#: Per public IPv4 address and hour, in use or not (since February 2024; the same in all regions).
ADDRESS_USD_PER_HOUR = Decimal("0.005")
_ABSURD_PER_HOUR = Decimal(10_000)
#: The price list takes at most 1024 characters in a filter.
_LONGEST_LIST = 40

#: A Linux machine with shared tenancy, on demand; `marketoption` keeps capacity blocks out.
MACHINE = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
}
DISK = {"productFamily": "Storage", "volumeApiName": "gp3"}


class Dimension(NamedTuple):
    """One price of a product: USD per *unit* from *begin* to *end* (None: no end) units a month."""

    unit: str
    usd: Decimal
    begin: Decimal
    end: Decimal | None


class Product(NamedTuple):
    """One product of the price list."""

    attributes: Mapping[str, str]
    dimensions: tuple[Dimension, ...]


async def products(
    client: Client, service: str, *, fixed: Mapping[str, str], any_of: Mapping[str, Iterable[str]], verb: str
) -> list[Product]:
    """Products of *service* whose attributes are *fixed*, and each of *any_of* one of the values named there.

    Values are asked for with ANY_OF, which is young; where that finds nothing or is refused, the first field's
    values are asked for one by one.

    Raises:
        Unavailable: the answer holds something that is no product.
    """
    wanted = {field: sorted(set(values)) for field, values in any_of.items()}
    if not all(wanted.values()):
        return []
    first, *rest = wanted
    found: list[Product] = []
    for start in range(0, len(wanted[first]), _LONGEST_LIST):
        lists = {first: wanted[first][start : start + _LONGEST_LIST], **{field: wanted[field] for field in rest}}
        found += await _chunk(client, service, fixed, lists, verb)
    return [
        product
        for product in found
        if _agrees(product, fixed) and all(product.attributes.get(field) in wanted[field] for field in wanted)
    ]


async def hourly(
    client: Client, types: Iterable[str], regions: Iterable[str], *, verb: str
) -> dict[tuple[str, str], Decimal]:
    """USD per hour of a Linux machine on demand, by (instance type, region)."""
    lists = {"instanceType": types, "regionCode": regions}
    found = await products(client, "AmazonEC2", fixed=MACHINE, any_of=lists, verb=verb)
    return hourly_of(found)


def hourly_of(found: Iterable[Product]) -> dict[tuple[str, str], Decimal]:
    """`hourly` of products that were read already. Of two prices for one thing the higher is promised."""
    prices: dict[tuple[str, str], Decimal] = {}
    for product in found:
        key = (product.attributes.get("instanceType", ""), product.attributes.get("regionCode", ""))
        for dimension in product.dimensions:
            if dimension.unit == "Hrs" and 0 < dimension.usd < _ABSURD_PER_HOUR:
                prices[key] = max(dimension.usd, prices.get(key, dimension.usd))
    return prices


async def disks(client: Client, regions: Iterable[str], *, verb: str) -> dict[str, Decimal]:
    """USD per GiB and month of a gp3 volume, by region (EBS's GB is a GiB)."""
    found = await products(client, "AmazonEC2", fixed=DISK, any_of={"regionCode": regions}, verb=verb)
    return disks_of(found)


def disks_of(found: Iterable[Product]) -> dict[str, Decimal]:
    """`disks` of products that were read already."""
    prices: dict[str, Decimal] = {}
    for product in found:
        region = product.attributes.get("regionCode", "")
        for dimension in product.dimensions:
            if dimension.unit == "GB-Mo" and dimension.usd > 0:
                prices[region] = max(dimension.usd, prices.get(region, dimension.usd))
    return prices


def spot(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Decimal]:
    """USD per hour now, by (instance type, zone), from `SpotPriceHistory`: the newest entry counts."""
    newest: dict[tuple[str, str], tuple[str, Decimal]] = {}
    for row in rows:
        price = decimal(row.get("SpotPrice"))
        name, zone = row.get("InstanceType"), row.get("AvailabilityZone")
        if not isinstance(name, str) or not isinstance(zone, str) or price is None:
            continue
        if not 0 < price < _ABSURD_PER_HOUR or not str(row.get("ProductDescription") or "Linux").startswith("Linux"):
            continue
        moment = row.get("Timestamp")
        at = moment.isoformat() if isinstance(moment, datetime) else str(moment or "")
        if (name, zone) not in newest or at >= newest[name, zone][0]:
            newest[name, zone] = (at, price)
    return {key: price for key, (_, price) in newest.items()}


def parse(text: Any) -> Product:
    """One entry of `PriceList`.

    Raises:
        Unavailable: it is no product: an unreadable price list is never an empty one.
    """
    try:
        document = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        document = None
    product = document.get("product") if isinstance(document, dict) else None
    attributes = product.get("attributes") if isinstance(product, dict) else None
    if not isinstance(document, dict) or not isinstance(product, dict) or not isinstance(attributes, dict):
        raise Unavailable("AWS: an entry of the price list is no product", code="malformed")
    plain = {str(key): str(value) for key, value in attributes.items()}
    plain.setdefault("productFamily", str(product.get("productFamily") or ""))
    return Product(plain, tuple(_dimensions(document.get("terms"))))


async def _chunk(
    client: Client, service: str, fixed: Mapping[str, str], lists: Mapping[str, list[str]], verb: str
) -> list[Product]:
    filters = [_filter(field, value) for field, value in fixed.items()]
    young = any(len(values) > 1 for values in lists.values())
    try:
        found = await _search(client, service, filters + [_any(*item) for item in lists.items()], verb)
    except InvalidRequest:
        if not young:
            raise
        found = []
    if found or not young:
        return found
    first = next(iter(lists))
    for value in lists[first]:
        found += await _search(client, service, [*filters, _filter(first, value)], verb)
    return found


async def _search(client: Client, service: str, filters: list[dict[str, str]], verb: str) -> list[Product]:
    rows = await client.pages(
        "pricing",
        PRICING_REGION,
        "get_products",
        verb=verb,
        ServiceCode=service,
        Filters=filters,
        FormatVersion="aws_v1",
        MaxResults=100,
    )
    return [parse(row) for row in rows]


def _filter(field: str, value: str) -> dict[str, str]:
    return {"Type": "TERM_MATCH", "Field": field, "Value": value}


def _any(field: str, values: list[str]) -> dict[str, str]:
    return (
        _filter(field, values[0]) if len(values) == 1 else {"Type": "ANY_OF", "Field": field, "Value": ",".join(values)}
    )


def _agrees(product: Product, fixed: Mapping[str, str]) -> bool:
    # An attribute that a product does not show was the filter's to judge.
    return all(product.attributes.get(field, value) == value for field, value in fixed.items())


def _dimensions(terms: Any) -> Iterator[Dimension]:
    offered = terms.get("OnDemand") if isinstance(terms, dict) else None
    for term in offered.values() if isinstance(offered, dict) else ():
        listed = term.get("priceDimensions") if isinstance(term, dict) else None
        for one in listed.values() if isinstance(listed, dict) else ():
            made = _dimension(one)
            if made is not None:
                yield made


def _dimension(one: Any) -> Dimension | None:
    per_unit = one.get("pricePerUnit") if isinstance(one, dict) else None
    usd = decimal(per_unit.get("USD")) if isinstance(per_unit, dict) else None
    if usd is None or usd < 0:
        return None
    begin = decimal(one.get("beginRange", "0"))
    end = str(one.get("endRange", "Inf"))
    return Dimension(str(one.get("unit") or ""), usd, begin or Decimal(0), None if end == "Inf" else decimal(end))


def decimal(value: Any) -> Decimal | None:
    """*value* as a plain decimal number, or None if it is none."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    # 1.8610000000 is 1.861; 10 stays 10 and does not become 1E+1.
    return Decimal(format(number.normalize(), "f")) if number.is_finite() else None
