"""What leaving Google costs: the cheaper of its two network tiers, by region.

The tier is chosen with the machine's address (`networkTier`). Google counts GiB; both borders and prices are turned
into GB of 10^9 bytes here, and nowhere else.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, NamedTuple

from providers.base import EgressTier, Evidence
from providers.gcp.prices import Rates, Step

GIB_IN_GB = Decimal("1.073741824")
NetworkTier = Literal["STANDARD", "PREMIUM"]

_TIB = Decimal(1024)
#: Published prices per GiB, seen in 2026 at second hand: a claim only. Standard's monthly free GiB are left out.
_STANDARD = (
    Step(Decimal(0), Decimal("0.085")),
    Step(10 * _TIB, Decimal("0.065")),
    Step(150 * _TIB, Decimal("0.045")),
)
#: To everywhere but China (0.23) and Australia (0.19).
_PREMIUM = (Step(Decimal(0), Decimal("0.12")), Step(_TIB, Decimal("0.11")), Step(10 * _TIB, Decimal("0.08")))
#: Where the Standard tier is known to be had (from memory), among the regions that its published prices are for.
#: Elsewhere a machine that asks for it would be refused.
_HAS_STANDARD = frozenset(
    {
        "us-central1",
        "us-east1",
        "us-east4",
        "us-west1",
        "us-west2",
        "us-west3",
        "us-west4",
        "northamerica-northeast1",
        "europe-west1",
        "europe-west2",
        "europe-west3",
        "europe-west4",
        "europe-west6",
    }
)
_PREMIUM_KNOWN = ("us-", "northamerica-", "europe-", "asia-")
#: Volume by which the two are compared: they differ in every tier in the same direction.
_COMPARED_GB = Decimal(1000)


class Route(NamedTuple):
    """A network tier and its prices; *tiers* is None where they are not known."""

    network_tier: NetworkTier
    tiers: tuple[EgressTier, ...] | None
    evidence: Evidence | None

    @property
    def name(self) -> str:
        """For people, as in `Offer.egress_route`."""
        return "Standard Tier" if self.network_tier == "STANDARD" else "Premium Tier"


def route(region: str, rates: Rates) -> Route:
    """The cheapest known way out of *region*; Premium, which exists everywhere, where nothing is known."""
    ways: list[Route] = []
    if (listed := rates.get("egress", "standard", region)) is not None:
        ways.append(Route("STANDARD", in_gb(listed.steps), "api"))
    elif region in _HAS_STANDARD:
        ways.append(Route("STANDARD", in_gb(_STANDARD), "claim"))
    if region.startswith(_PREMIUM_KNOWN):
        ways.append(Route("PREMIUM", in_gb(_PREMIUM), "claim"))
    known = [way for way in ways if way.tiers]
    return min(known, key=_usd) if known else Route("PREMIUM", None, None)


def in_gb(steps: tuple[Step, ...]) -> tuple[EgressTier, ...] | None:
    """Tiers per GB from steps per GiB; None if they do not begin at nothing."""
    if not steps or steps[0].start != 0:
        return None
    borders = [*(step.start * GIB_IN_GB for step in steps[1:]), None]
    return tuple(
        EgressTier(up_to_gb=border, usd_per_gb=step.usd / GIB_IN_GB)
        for step, border in zip(steps, borders, strict=True)
    )


def _usd(way: Route) -> Decimal:
    done, total = Decimal(0), Decimal(0)
    for tier in way.tiers or ():
        end = _COMPARED_GB if tier.up_to_gb is None else min(tier.up_to_gb, _COMPARED_GB)
        total += max(Decimal(0), end - done) * tier.usd_per_gb
        done = max(done, end)
    return total
