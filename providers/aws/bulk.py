"""The public price list, for keys that may not call `pricing:GetProducts`: no credentials, but hundreds of megabytes.

One CSV file a region with every product of EC2; it is read as a stream, one line at a time, and only lines that name a
GPU type are taken apart. Column names are those that public readers of the file use; unverified live.
"""

from __future__ import annotations

import asyncio
import csv
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from decimal import Decimal
from http.client import HTTPException
from urllib.parse import urlsplit

from providers.aws.prices import Dimension, Product, decimal, hourly_of
from providers.env import Env
from providers.errors import Unavailable
from providers.http import USER_AGENT, is_loopback

HOST = "https://pricing.us-east-1.amazonaws.com"
PATH = "/offers/v1.0/aws/AmazonEC2/current/{region}/index.csv"
#: Lists change a few times a week; the file is too large to be read for every quote.
KEPT_S = 3600.0
_TIMEOUT_S = 30.0
#: Lines of disclaimers before the header; five were seen.
_MOST_PREAMBLE = 20

_GPU_LINE = re.compile(rb'"(?:gr?\d|p\d)[a-z0-9-]*\.[0-9a-z-]+"')
_COLUMNS = {
    "TermType": "OnDemand",
    "Operating System": "Linux",
    "Tenancy": "Shared",
    "Pre Installed S/W": "NA",
    "CapacityStatus": "Used",
    "MarketOption": "OnDemand",
    "Currency": "USD",
}


class Bulk:
    """Reads the public list of a region, and keeps its GPU prices for an hour.

    Args:
        url: base URL instead of AWS's own host.
    """

    def __init__(self, env: Env, url: str | None) -> None:
        self._env = env
        self._url = url or HOST
        self._kept: dict[str, tuple[float, dict[tuple[str, str], Decimal]]] = {}
        self._lock = asyncio.Lock()

    async def hourly(self, types: Iterable[str], regions: Iterable[str]) -> dict[tuple[str, str], Decimal]:
        """USD per hour on demand, by (instance type, region).

        Raises:
            Unavailable: a region's list cannot be read to its end.
        """
        names, found = set(types), dict[tuple[str, str], Decimal]()
        async with self._lock:
            for region in regions:
                found |= await self._region(region)
        return {key: usd for key, usd in found.items() if key[0] in names}

    async def _region(self, region: str) -> dict[tuple[str, str], Decimal]:
        now = self._env.monotonic()
        if region in self._kept and now - self._kept[region][0] < KEPT_S:
            return self._kept[region][1]
        stop = threading.Event()
        try:
            prices = await asyncio.to_thread(self._read, region, stop)
        finally:
            # A cancelled caller must not leave a thread behind that reads on for minutes.
            stop.set()
        self._kept[region] = (now, prices)
        return prices

    def _read(self, region: str, stop: threading.Event) -> dict[tuple[str, str], Decimal]:
        try:
            return hourly_of(products(self._lines(region, stop), region))
        except (urllib.error.URLError, HTTPException, OSError, UnicodeDecodeError, csv.Error) as error:
            raise Unavailable(f"AWS: the public price list of {region}: {error!r}", code="bulk-list") from None

    def _lines(self, region: str, stop: threading.Event) -> Iterator[bytes]:
        loopback = is_loopback(urlsplit(self._url).hostname or "")
        proxies = [urllib.request.ProxyHandler({})] if loopback else []
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked, or is https
            self._url + PATH.format(region=region), headers={"User-Agent": USER_AGENT}
        )
        with urllib.request.build_opener(*proxies).open(request, timeout=_TIMEOUT_S) as answer:
            promised, size = answer.headers.get("Content-Length"), 0
            for line in answer:
                if stop.is_set():
                    raise Unavailable("AWS: nobody waits for the public price list any more", code="bulk-list")
                size += len(line)
                yield line
            if promised is not None and size != int(promised):
                raise Unavailable(f"AWS: the public price list of {region} ended early", code="bulk-list")


def products(lines: Iterable[bytes], region: str) -> list[Product]:
    """The GPU machines on demand among *lines* of the file.

    Raises:
        Unavailable: there is no header: that is not the list.
    """
    columns: list[str] = []
    found: list[Product] = []
    for number, line in enumerate(lines):
        if not columns:
            if line.startswith((b'"SKU"', b"SKU,")):
                columns = _cells(line)
            elif number > _MOST_PREAMBLE:
                break
        elif _GPU_LINE.search(line):
            product = _product(dict(zip(columns, _cells(line), strict=False)), region)
            if product is not None:
                found.append(product)
    if not columns:
        raise Unavailable(f"AWS: the public price list of {region} has no header", code="bulk-list")
    return found


def _product(row: dict[str, str], region: str) -> Product | None:
    # A column that this file does not have cannot speak against a row.
    if any(row.get(column, value) != value for column, value in _COLUMNS.items()):
        return None
    unit = "Hrs" if row.get("Unit", "Hrs") in ("Hrs", "Hours") else ""
    usd = decimal(row.get("PricePerUnit"))
    if usd is None or row.get("Region Code", region) != region:
        return None
    attributes = {"instanceType": row.get("Instance Type", ""), "regionCode": region}
    return Product(attributes, (Dimension(unit, usd, Decimal(0), None),))


def _cells(line: bytes) -> list[str]:
    return next(csv.reader([line.decode("utf-8").rstrip("\r\n")]), [])
