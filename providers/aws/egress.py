"""What leaving AWS costs: 100 GB a month free for the whole account, then tiers by region.

The price list has the tiers; the free allowance is a product of its own there, for all regions together. Borders are
cumulative: the free 100 GB lie inside the first 10 TB. AWS's list does not say whether its GB is 10^9 or 2^30 bytes;
it is taken as 10^9, the dearer reading (by 7 % at most).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from providers.aws.client import Client
from providers.aws.prices import Dimension, Product, products
from providers.base import EgressTier

FREE_GB = Decimal(100)
_FREE = EgressTier(up_to_gb=FREE_GB, usd_per_gb=Decimal(0))
_TO_INTERNET = {"transferType": "AWS Outbound", "toLocation": "External"}

#: The published tiers of the United States and most of Europe, for when the list cannot be read: a claim only.
PUBLISHED = (
    _FREE,
    EgressTier(up_to_gb=Decimal(10_240), usd_per_gb=Decimal("0.09")),
    EgressTier(up_to_gb=Decimal(51_200), usd_per_gb=Decimal("0.085")),
    EgressTier(up_to_gb=Decimal(153_600), usd_per_gb=Decimal("0.07")),
    EgressTier(up_to_gb=None, usd_per_gb=Decimal("0.05")),
)
_PUBLISHED_FOR = frozenset(
    ["us-east-1", "us-east-2", "us-west-2", "eu-central-1", "eu-west-1", "eu-west-2", "eu-west-3", "eu-north-1"]
)


async def tiers(client: Client, regions: Iterable[str], *, verb: str) -> dict[str, tuple[EgressTier, ...]]:
    """The tiers of each region that the price list has."""
    found = await products(client, "AWSDataTransfer", fixed=_TO_INTERNET, any_of={"fromRegionCode": regions}, verb=verb)
    return tiers_of(found)


def tiers_of(found: Iterable[Product]) -> dict[str, tuple[EgressTier, ...]]:
    """`tiers` of products that were read already; a region whose tiers have gaps is left out."""
    by_region: dict[str, list[Dimension]] = {}
    for product in found:
        region = product.attributes.get("fromRegionCode", "")
        by_region.setdefault(region, []).extend(d for d in product.dimensions if d.unit == "GB")
    made = {region: _ladder(dimensions) for region, dimensions in by_region.items() if region}
    return {region: ladder for region, ladder in made.items() if ladder}


def published(region: str) -> tuple[EgressTier, ...] | None:
    """What AWS's public pages say of *region*; None where we do not know."""
    return PUBLISHED if region in _PUBLISHED_FOR else None


def _ladder(dimensions: list[Dimension]) -> tuple[EgressTier, ...]:
    steps = sorted(set(dimensions), key=lambda one: one.begin)
    reached: Decimal | None = Decimal(0)
    ladder: list[EgressTier] = []
    for step in steps:
        if step.begin != reached or (step.end is not None and step.end <= step.begin):
            return ()  # a gap, two prices for one volume, or an end before its beginning
        reached = step.end
        ladder.append(EgressTier(up_to_gb=step.end, usd_per_gb=step.usd))
    if not ladder or reached is not None:
        return ()
    if ladder[0].usd_per_gb == 0 and ladder[0].up_to_gb is not None:
        return tuple(ladder)  # the list shows the free volume itself
    return (_FREE, *(step for step in ladder if step.up_to_gb is None or step.up_to_gb > FREE_GB))
