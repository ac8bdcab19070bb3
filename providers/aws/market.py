"""Reads the market: what is sold where, and for how much, over all searched regions at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from providers.aws import egress, hardware, offers, prices
from providers.aws.client import Client
from providers.aws.offers import Market
from providers.base import Query
from providers.errors import AuthFailed, Forbidden, ProviderError

#: DescribeInstanceTypes takes at most 100 names.
_MOST_NAMES = 100
#: AWS has never rented these, though their names are near others that it has: an answer without asking.
NEVER = {
    "l40": "rents no L40: its g6e machines hold the L40S, another GPU",
    "a10": "rents no A10: its g5 machines hold the A10G, another GPU",
}

T = TypeVar("T")


async def read(client: Client, query: Query, regions: Sequence[str], now: datetime) -> tuple[Market, list[str]]:
    """The market for *query*, and what could not be read, for people.

    Raises:
        ProviderError: nothing can be said of any region.
    """
    market, notes = Market(), list[str]()
    patterns = hardware.patterns([gpu for gpu in query.gpus if gpu not in NEVER])
    zones = await _each(regions, (_zones(client, region, patterns) for region in regions), notes, needed=True)
    types = await _types(client, zones, notes)
    wanted = {name for name, one in types.items() if not query.gpus or one.gpu in query.gpus}
    market.hardware = types
    market.zones = {
        region: {name: places for name, places in sold.items() if name in wanted} for region, sold in zones.items()
    }
    used = [region for region, sold in market.zones.items() if sold]
    if used:
        await _prices(client, market, query, used, sorted(wanted), now, notes)
    return market, notes


async def hourly(
    client: Client, types: Iterable[str], regions: Iterable[str], *, verb: str
) -> dict[tuple[str, str], Decimal]:
    """USD per hour on demand; from the public bulk list where the key may not ask the price list."""
    types, regions = list(types), list(regions)
    try:
        return await prices.hourly(client, types, regions, verb=verb)
    except (Forbidden, AuthFailed):
        return await client.bulk.hourly(types, regions)


async def spot(
    client: Client, region: str, types: Iterable[str], now: datetime, *, verb: str
) -> dict[tuple[str, str], Decimal]:
    """USD per hour of spot machines now, by (type, zone)."""
    rows = await client.pages(
        "ec2",
        region,
        "describe_spot_price_history",
        verb=verb,
        InstanceTypes=list(types),
        ProductDescriptions=["Linux/UNIX"],
        StartTime=now,  # "since now" means the price that holds now
    )
    return prices.spot(rows)


async def zones_of(client: Client, region: str, patterns: Sequence[str], *, verb: str) -> dict[str, set[str]]:
    """The zones in *region* of every instance type that fits *patterns*."""
    rows = await client.pages(
        "ec2",
        region,
        "describe_instance_type_offerings",
        verb=verb,
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": list(patterns)}],
    )
    return offers.zones_of(rows)


async def tried(call: Coroutine[Any, Any, T]) -> T | ProviderError:
    """The result, or the failure as a value."""
    try:
        return await call
    except ProviderError as error:
        return error


async def _zones(client: Client, region: str, patterns: Sequence[str]) -> dict[str, set[str]]:
    return await zones_of(client, region, patterns, verb="offers")


async def _types(
    client: Client, zones: dict[str, dict[str, set[str]]], notes: list[str]
) -> dict[str, hardware.Hardware]:
    """Hardware does not differ by region, so each type is asked for once, where it was seen first."""
    asked: dict[str, str] = {}
    for region, sold in zones.items():
        for name in sold:
            asked.setdefault(name, region)
    chunks: list[tuple[str, list[str]]] = []
    for region in dict.fromkeys(asked.values()):
        names = sorted(name for name, where in asked.items() if where == region)
        chunks += [(region, names[at : at + _MOST_NAMES]) for at in range(0, len(names), _MOST_NAMES)]
    results = await asyncio.gather(*(tried(_describe(client, *chunk)) for chunk in chunks))
    found: dict[str, hardware.Hardware] = {}
    failed: list[ProviderError] = []
    for (region, _), result in zip(chunks, results, strict=True):
        if isinstance(result, ProviderError):
            failed.append(result)
            notes.append(f"instance types of {region} not read: {result}")
        else:
            found |= result
    if failed and not found:
        raise failed[0]
    return found


async def _describe(client: Client, region: str, names: list[str]) -> dict[str, hardware.Hardware]:
    rows = await client.pages("ec2", region, "describe_instance_types", verb="offers", InstanceTypes=names)
    return hardware.read(rows)


async def _prices(
    client: Client, market: Market, query: Query, used: list[str], types: list[str], now: datetime, notes: list[str]
) -> None:
    async def on_demand() -> dict[tuple[str, str], Decimal]:
        return await hourly(client, types, used, verb="offers") if "on-demand" in query.pricing else {}

    async def on_spot() -> dict[tuple[str, str], Decimal]:
        if "spot" not in query.pricing:
            return {}
        calls = (spot(client, region, market.zones[region], now, verb="offers") for region in used)
        by_region = await _each(used, calls, notes, needed=False)
        return {key: usd for found in by_region.values() for key, usd in found.items()}

    listed, spots, disks, tiers = await asyncio.gather(
        tried(on_demand()),
        tried(on_spot()),
        tried(prices.disks(client, used, verb="offers")),
        tried(egress.tiers(client, used, verb="offers")),
    )
    market.hourly = _or_nothing(listed, "prices", notes)
    market.spot = _or_nothing(spots, "spot prices", notes)
    market.disk = _or_nothing(disks, "disk prices", notes)
    market.egress = _or_nothing(tiers, "egress prices", notes)


def _or_nothing(result: dict[Any, T] | ProviderError, what: str, notes: list[str]) -> dict[Any, T]:
    if isinstance(result, ProviderError):
        notes.append(f"{what} not read: {result}")
        return {}
    return result


async def _each(
    regions: Sequence[str], calls: Iterable[Coroutine[Any, Any, T]], notes: list[str], *, needed: bool
) -> dict[str, T]:
    """Every region's answer; a failed region is noted, and all of them failing raises if *needed*."""
    results = await asyncio.gather(*(tried(call) for call in calls))
    found: dict[str, T] = {}
    failed: list[ProviderError] = []
    for region, result in zip(regions, results, strict=True):
        if isinstance(result, ProviderError):
            failed.append(result)
            notes.append(f"{region} not read: {result}")
        else:
            found[region] = result
    if failed and not found and needed:
        raise failed[0]
    return found
