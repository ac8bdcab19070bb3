"""Azure's retail prices: public, without a key, one list for everything, in pages of up to 1000 meters.

A machine has a meter for each way of paying and each system, told apart by words in their names only. The list is long,
so every question names region and sizes. A missing price is unknown, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from providers.azure.egress import Meter, Route
from providers.azure.errors import refused
from providers.base import Context, Facts
from providers.errors import ProviderError, RateLimited, Unavailable
from providers.http import Http, Reply

HOST = "https://prices.azure.com"
PATH = "/api/retail/prices"
VERSION = "2023-01-01-preview"
MOST_PAGES = 50
#: OData limits the nodes of a filter (to 100, as far as is known): four a size.
_MOST_SIZES = 12
_ABSURD_PER_HOUR = Decimal(10_000)

#: Disk, address and egress of a region. The names of the first two meters are unverified: where they are not found,
#: the published prices stand in.
DISK_METER, ADDRESS_METER = "E10 LRS Disk", "Standard IPv4 Static Public IP"
_DISK_GIB = Decimal(128)
_EGRESS_METER = "Standard Data Transfer Out"
_ROUTES: dict[str, Route] = {
    "rtn preference: mgn": "microsoft",
    "bandwidth - routing preference: internet": "internet",
}
#: Published for the United States: a standard SSD of 128 GiB is 9.60 USD a month, a standard address 0.005 USD an hour.
DISK_USD_PER_GIB_MONTH = Decimal("0.075")
ADDRESS_USD_PER_HOUR = Decimal("0.005")

_NOT_LINUX = ("windows", "cloudservices", "cloud services", "dedicated")


class Price(NamedTuple):
    """USD per hour of one size, regular and spot; None where there is no such meter."""

    regular: Decimal | None = None
    spot: Decimal | None = None


class Extras(NamedTuple):
    """What comes on top in a region."""

    disk_usd_per_gib_month: Decimal
    address_usd_per_hour: Decimal
    egress: tuple[Meter, ...]


class Prices:
    """The price list. Raises `ProviderError` subclasses only.

    Args:
        url: base URL instead of Microsoft's, or None.
    """

    def __init__(self, context: Context, *, url: str | None, facts: Facts) -> None:
        self._context = context
        self._http = Http(
            context,
            provider="azure",
            base_url=url or HOST,
            headers={},
            classify=self._classify,
            facts=facts,
        )

    async def machines(self, region: str, names: Iterable[str], *, verb: str) -> dict[str, Price]:
        """The prices of the sizes *names* in *region*, by name in lower case."""
        wanted = sorted(set(names))
        rows: list[Any] = []
        for start in range(0, len(wanted), _MOST_SIZES):
            chunk = wanted[start : start + _MOST_SIZES]
            rows += await self._rows(f"serviceName eq 'Virtual Machines' and {_in(region)} and {_any(chunk)}", verb)
        return read(rows, region, {name.lower() for name in wanted}, self._context.env.now())

    async def extras(self, region: str, *, verb: str) -> Extras:
        """Disk, address and egress of *region*."""
        meters = " or ".join(f"meterName eq '{name}'" for name in (DISK_METER, ADDRESS_METER, _EGRESS_METER))
        rows = await self._rows(f"{_in(region)} and ({meters})", verb)
        return extras(rows, region, self._context.env.now())

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _rows(self, condition: str, verb: str) -> list[Any]:
        params = {
            "api-version": VERSION,
            "currencyCode": "USD",
            "$filter": f"priceType eq 'Consumption' and {condition}",
        }
        rows: list[Any] = []
        for _ in range(MOST_PAGES):
            answer = await self._http.json("GET", PATH, verb=verb, params=params)
            if not isinstance(answer, dict) or not isinstance(answer.get("Items"), list):
                raise Unavailable("Azure: the answer of the price list is none", code="malformed")
            rows += answer["Items"]
            link = answer.get("NextPageLink")
            if not link:
                return rows
            # Only its query is followed: the address names a port, and could name any host.
            params = dict(parse_qsl(urlsplit(str(link)).query))
        raise Unavailable("Azure: the pages of the price list never end", code="malformed")

    def _classify(self, reply: Reply, verb: str) -> ProviderError:
        made = refused(reply.status, reply.parsed(), effect=False, wait_s=reply.retry_after(self._context.env.now()))
        # There is no key, and no offer that could be gone: whatever else it says, the list cannot be read.
        return made if isinstance(made, RateLimited) else Unavailable(made.message, code=made.code)


def read(rows: Iterable[Any], region: str, names: set[str], now: datetime) -> dict[str, Price]:
    """The Linux prices among *rows*, by size in lower case. Of two prices for one thing the higher is promised."""
    found: dict[str, Price] = {}
    for row in rows:
        usd = _usd(row, region, now)
        if usd is None or not 0 < usd < _ABSURD_PER_HOUR or row.get("unitOfMeasure") != "1 Hour":
            continue
        name = str(row.get("armSkuName") or "").lower()
        words = " ".join(str(row.get(part) or "") for part in ("skuName", "meterName")).lower()
        product = str(row.get("productName") or "").lower()
        if name not in names or "low priority" in words or product.endswith(" win"):
            continue
        if any(word in product or word in words for word in _NOT_LINUX):
            continue
        price = found.get(name, Price())
        if "spot" in words:
            found[name] = price._replace(spot=max(usd, price.spot or usd))
        else:
            found[name] = price._replace(regular=max(usd, price.regular or usd))
    return found


def extras(rows: Sequence[Any], region: str, now: datetime) -> Extras:
    """What *rows* say of disk, address and egress in *region*."""
    disk, address, meters = None, None, list[Meter]()
    for row in rows:
        usd = _usd(row, region, now)
        if usd is None:
            continue
        name, unit = row.get("meterName"), row.get("unitOfMeasure")
        if name == DISK_METER and unit in ("1/Month", "1 /Month") and usd > 0:
            disk = max(usd / _DISK_GIB, disk or Decimal(0))
        elif name == ADDRESS_METER and unit == "1 Hour" and usd > 0:
            address = max(usd, address or Decimal(0))
        elif name == _EGRESS_METER and unit == "1 GB":
            route = _ROUTES.get(str(row.get("productName") or "").lower())
            begin = _decimal(row.get("tierMinimumUnits"))
            if route is not None and begin is not None:
                meters.append(Meter(route, begin, usd))
    return Extras(disk or DISK_USD_PER_GIB_MONTH, address or ADDRESS_USD_PER_HOUR, tuple(meters))


def _usd(row: Any, region: str, now: datetime) -> Decimal | None:
    """The price of a meter that counts now, there, and for everybody."""
    if not isinstance(row, Mapping) or str(row.get("armRegionName") or region).lower() != region:
        return None
    if row.get("type", "Consumption") != "Consumption" or row.get("currencyCode", "USD") != "USD":
        return None
    begin, end = _time(row.get("effectiveStartDate")), _time(row.get("effectiveEndDate"))
    if (begin is not None and begin > now) or (end is not None and end < now):
        return None
    usd = _decimal(row.get("retailPrice"))
    return usd if usd is not None and usd >= 0 else None


def _in(region: str) -> str:
    return f"armRegionName eq '{region}'"


def _any(names: Sequence[str]) -> str:
    """Values are case-sensitive in this version: names are sent as the SKU list spells them."""
    tests = [f"armSkuName eq '{name}'" for name in names]
    return tests[0] if len(tests) == 1 else f"({' or '.join(tests)})"


def _decimal(value: Any) -> Decimal | None:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return Decimal(format(number.normalize(), "f")) if number.is_finite() else None


def _time(value: Any) -> datetime | None:
    try:
        made = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return made if made.tzinfo is not None else None
