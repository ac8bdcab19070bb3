"""Reads the market: what the subscription may rent where, then for how much, over all searched regions at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from providers.azure import quota
from providers.azure.client import COMPUTE, SKUS, Client
from providers.azure.offers import Region, wanted
from providers.azure.prices import Prices
from providers.base import Query
from providers.errors import ProviderError

T = TypeVar("T")


async def read(client: Client, prices: Prices, query: Query, regions: Sequence[str]) -> tuple[list[Region], list[str]]:
    """The market for *query*, and what could not be read, for people.

    Raises:
        ProviderError: nothing can be said of any region.
    """
    results = await asyncio.gather(*(_region(client, prices, query, name) for name in regions))
    failed = [one for one in results if isinstance(one, ProviderError)]
    if failed and len(failed) == len(results):
        raise failed[0]
    market, notes = list[Region](), list[str]()
    for name, result in zip(regions, results, strict=True):
        if isinstance(result, ProviderError):
            notes.append(f"{name} not read: {result}")
        else:
            market.append(result[0])
            notes += result[1]
    return market, notes


async def usages(client: Client, region: str, *, verb: str) -> dict[str, quota.Used]:
    """The compute quotas of *region*, by `quota.key`."""
    path = f"{await client.root()}/providers/Microsoft.Compute/locations/{region}/usages"
    return quota.usages(await client.pages(path, version=COMPUTE, verb=verb))


async def _region(client: Client, prices: Prices, query: Query, name: str) -> tuple[Region, list[str]] | ProviderError:
    notes: list[str] = []
    skus, held = await asyncio.gather(tried(_sizes(client, name)), tried(usages(client, name, verb="offers")))
    if isinstance(skus, ProviderError):
        return skus
    region = Region(name, sizes=[size for size in skus if wanted(size, query)])
    if isinstance(held, ProviderError):
        notes.append(f"quotas of {name} not read: {held}")
    else:
        region.quotas = held
    if not region.sizes:
        return region, []
    found, extras = await asyncio.gather(
        tried(prices.machines(name, [size.name for size in region.sizes], verb="offers")),
        tried(prices.extras(name, verb="offers")),
    )
    if isinstance(found, ProviderError):
        return found  # without prices there is nothing to offer
    region.price = found
    if isinstance(extras, ProviderError):
        notes.append(f"disk and egress prices of {name} not read: {extras}")
    else:
        region.extras = extras
    return region, notes


async def _sizes(client: Client, region: str) -> list[quota.Size]:
    path = f"{await client.root()}/providers/Microsoft.Compute/skus"
    rows = await client.pages(path, version=SKUS, verb="offers", params={"$filter": f"location eq '{region}'"})
    return quota.sizes(rows, region)


async def tried(call: Awaitable[T]) -> T | ProviderError:
    """The result, or the failure as a value."""
    try:
        return await call
    except ProviderError as error:
        return error
