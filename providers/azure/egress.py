"""What leaving Azure costs, and by which way: Microsoft's own network, or the internet ("ISP"), which is cheaper.

The way is chosen when the public address is made, so the launch asks for the one that the offer was priced with. Live
prices are the `Bandwidth` meters, one per tier; without them stands what was published, as a claim. Whether Azure's GB
is 10^9 or 2^30 bytes is not said; it is taken as 10^9, the dearer reading (by 7 % at most).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

from providers.azure import regions
from providers.base import EgressTier, Evidence

Route = Literal["microsoft", "internet"]
#: What `Offer.egress_route` calls them.
TITLES: dict[Route, str] = {"microsoft": "Microsoft network", "internet": "internet routing preference (ISP)"}

_FREE = EgressTier(up_to_gb=Decimal(100), usd_per_gb=Decimal(0))


def _ladder(*steps: tuple[int | None, str]) -> tuple[EgressTier, ...]:
    return (
        _FREE,
        *(EgressTier(up_to_gb=None if end is None else Decimal(end), usd_per_gb=Decimal(usd)) for end, usd in steps),
    )


# North America and Europe by Microsoft's network: tiers as collected from Azure's prices in May 2026.
_MICROSOFT = _ladder((10_340, "0.087"), (51_300, "0.083"), (153_700, "0.07"), (None, "0.05"))
# By the internet only the first 10 TB are known (Microsoft's blog of September 2025). Azure's tiers fall with the
# volume, so the known price is an upper bound for what lies above.
_INTERNET_US = _ladder((None, "0.04"))
_INTERNET_AU = _ladder((None, "0.06"))

_EUROPE = frozenset(["NL", "IE", "SE", "FR", "DE", "CH", "GB", "NO", "PL", "ES", "IT", "AT", "BE", "DK"])


class Way(NamedTuple):
    """One way out, with its price list."""

    route: Route
    tiers: tuple[EgressTier, ...]
    evidence: Evidence


class Meter(NamedTuple):
    """One tier of a way, as the price list has it: USD per GB from *begin* GB a month on."""

    route: Route
    begin: Decimal
    usd: Decimal


def best(region: str, meters: Sequence[Meter]) -> Way | None:
    """The cheapest way out of *region*: live meters win over what was published; None if nothing is known."""
    live = {route: tiers for route in TITLES if (tiers := _live(route, meters))}
    if live:
        route = min(live, key=lambda one: _cost(live[one]))
        return Way(route, live[route], "contract")
    return _published(region)


def _published(region: str) -> Way | None:
    country = regions.country(region)
    if country == "US":
        return Way("internet", _INTERNET_US, "claim")
    if country == "AU":
        return Way("internet", _INTERNET_AU, "claim")
    return Way("microsoft", _MICROSOFT, "claim") if country in _EUROPE or country in ("CA", "MX") else None


def _live(route: Route, meters: Sequence[Meter]) -> tuple[EgressTier, ...]:
    # Two prices for one step cannot both hold: the higher one is promised.
    steps: dict[Decimal, Decimal] = {}
    for meter in meters:
        if meter.route == route:
            steps[meter.begin] = max(meter.usd, steps.get(meter.begin, meter.usd))
    begins = sorted(steps)
    if not begins or begins[0] != 0:
        return ()
    ends: list[Decimal | None] = [*begins[1:], None]
    return tuple(EgressTier(up_to_gb=end, usd_per_gb=steps[begin]) for begin, end in zip(begins, ends, strict=True))


def _cost(tiers: tuple[EgressTier, ...]) -> Decimal:
    """USD for 1 TB a month: a usual volume, and enough to tell the ways apart."""
    left, begin, usd = Decimal(1000), Decimal(0), Decimal(0)
    for tier in tiers:
        width = left if tier.up_to_gb is None else min(left, tier.up_to_gb - begin)
        usd, left, begin = usd + width * tier.usd_per_gb, left - width, tier.up_to_gb or begin
    return usd
