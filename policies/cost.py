"""Expected USD for a whole request on one offer, in parts, exactly.

All arithmetic is `Decimal` or whole numbers; volumes and times are turned so that a division comes last and at most
once per part. What a part rests on when the offer does not say is told in a flag:

- ``egress_assumed``: no egress price is known, 0.12 USD per GB is assumed;
- ``ingress_assumed``: ingress is charged and an image is pulled, 10 GB more are assumed;
- ``ingress_unknown``: data comes in, and whether that is charged is not known: nothing is counted;
- ``interruptions_assumed``: a spot offer without a figure, 0.05 an hour is assumed;
- ``boot_unknown``: booting is billed, and how long it takes is not known: nothing is counted;
- ``disk_unknown``: neither the included disk nor the price of more is known: nothing is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from policies.request import DEFAULT_DISK_GIB, Request, is_container
from providers.base import Billing, EgressTier, Offer

ZERO = Decimal(0)
ASSUMED_EGRESS_USD_PER_GB = Decimal("0.12")
ASSUMED_IMAGE_GB = Decimal(10)
ASSUMED_SPOT_INTERRUPTIONS_PER_HOUR = Decimal("0.05")
#: A place that never worked is not infinitely dear: one success in twenty is the least that is believed.
LEAST_SUCCESS_RATE = Decimal("0.05")
HOURS_PER_MONTH = 730

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MICRO = 10**6
_HOUR_S = Decimal(3600)
_STORAGE_S = Decimal(3600 * HOURS_PER_MONTH)

SuccessRate = Callable[[Offer], float]


class Cost(msgspec.Struct, frozen=True, gc=False):
    """Expected USD for the whole request (all replicas), not rounded. `total_usd` is the sum of the parts."""

    compute_usd: Decimal
    egress_usd: Decimal
    ingress_usd: Decimal
    storage_usd: Decimal
    address_usd: Decimal
    boot_usd: Decimal
    risk_usd: Decimal
    failed_boot_usd: Decimal
    total_usd: Decimal


def to_decimal(number: float | Decimal) -> Decimal:
    """The decimal that *number* is written as: 0.1 is one tenth."""
    return Decimal(number) if isinstance(number, int) else Decimal(str(number))


def billed_s(billing: Billing, duration_us: int, start_us: int) -> int:
    """Seconds that are billed for a use.

    Args:
        duration_us: microseconds of use.
        start_us: its start, microseconds since 1970-01-01 UTC; matters where billing follows the clock.
    """
    step = max(1, billing.increment_s) * _MICRO
    if billing.aligned_to == "clock":
        steps = _ceil_div(start_us + duration_us, step) - start_us // step
    else:
        steps = _ceil_div(duration_us, step)
    return max(billing.minimum_s, steps * step // _MICRO)


def walk(tiers: tuple[EgressTier, ...], volume_gb: Decimal, *, months: int = 1, used_gb: Decimal = ZERO) -> Decimal:
    """USD for *volume_gb* sent evenly over *months* months, through the tiers in order.

    The bounds of the tiers are stretched by the months instead of dividing the volume, which is the same and exact.
    What is sent beyond the last bound costs as much as in the last tier.

    Args:
        used_gb: GB a month of the account's tiers that other use fills first.
    """
    position = used_gb * months
    left, usd, price = volume_gb, ZERO, ZERO
    for tier in tiers:
        if left <= 0:
            return usd
        price = tier.usd_per_gb
        if tier.up_to_gb is None:
            break
        room = min(left, tier.up_to_gb * months - position)
        if room > 0:
            usd += room * price
            position += room
            left -= room
    return usd + left * price if left > 0 else usd


def disk_need_gib(offer: Offer, disk_gib: int) -> float:
    """GiB of disk that would be rented: what is wanted, or the least that can be had."""
    least = offer.disk_min_gib
    return disk_gib if least is None or least < disk_gib else least


def disk_problem(offer: Offer, disk_gib: int) -> str | None:
    """Why the disk cannot be had: ``small`` (too little can be had), ``unknown``; None if it can.

    A machine that says nothing of its disk is believed to have the default one (flagged), and no more.
    """
    need = disk_need_gib(offer, disk_gib)
    if offer.disk_max_gib is not None and need > offer.disk_max_gib:
        return "small"
    if offer.storage_usd_per_gib_month is not None:
        return None
    if offer.disk_gib is None:
        return "unknown" if need > DEFAULT_DISK_GIB else None
    return "small" if need > offer.disk_gib else None


@dataclass(frozen=True, slots=True)
class _Times:
    """What one way of billing and one boot time come to, for all replicas together, in seconds."""

    use_s: Decimal
    boot_s: Decimal
    failed_boot_s: Decimal
    lost_s: Decimal  # seconds lost by one interruption, times hours of use


class Coster:
    """Costs of many offers for one request at one time; what offers share is computed once.

    Args:
        now: when the use starts, timezone-aware.
        success_rate: learned share of launches in an offer's place that come up, in [0, 1]; None is 1 for all.
        egress_used_gb: GB a month by provider that other use has already sent through the account's tiers.
    """

    def __init__(
        self,
        request: Request,
        now: datetime,
        *,
        success_rate: SuccessRate | None = None,
        egress_used_gb: Mapping[str, float] | None = None,
    ) -> None:
        hours = to_decimal(request.hours)
        self._hours = hours
        self._use_us = round(hours * 3600 * _MICRO)
        self._start_us = (now - _EPOCH) // _MICROSECOND
        self._replicas = Decimal(request.replicas)
        self._checkpoint_s = to_decimal(request.checkpoint_s)
        self._disk_gib = request.disk_gib
        self._months = max(1, math.ceil(hours / HOURS_PER_MONTH))
        self._egress_gb = self._replicas * to_decimal(request.egress_gb)
        self._ingress_gb = to_decimal(request.ingress_gb)
        self._container = is_container(request)
        self._any_workload = request.workload is None
        self._success_rate = success_rate
        self._used_gb = {name: to_decimal(gb) for name, gb in (egress_used_gb or {}).items()}
        self._times: dict[tuple[object, ...], _Times] = {}
        self._decimals: dict[float, Decimal] = {}
        self._walked: dict[int, tuple[tuple[EgressTier, ...], Decimal]] = {}

    def cost(self, offer: Offer) -> Cost:
        """The cost of *offer*, which must have an hourly price and no `disk_problem`."""
        rate = offer.usd_per_hour
        if rate is None:
            raise ValueError(f"offer {offer.offer_id} has no price")
        times = self._times_of(offer)
        compute = rate * times.use_s / _HOUR_S
        boot = rate * times.boot_s / _HOUR_S if times.boot_s else ZERO
        egress = self._egress(offer)
        ingress = self._ingress(offer) if offer.ingress_usd_per_gb else ZERO
        storage = self._storage(offer, times) if offer.storage_usd_per_gib_month else ZERO
        address = offer.address_usd_per_hour
        address = address * times.use_s / _HOUR_S if address else ZERO
        risk = self._risk(offer, rate, times)
        failed = self._failed_boots(offer, rate, times) if self._success_rate else ZERO
        total = compute + egress + ingress + storage + address + boot + risk + failed
        return Cost(compute, egress, ingress, storage, address, boot, risk, failed, total)

    def flags(self, offer: Offer) -> tuple[str, ...]:
        """What in the cost of *offer* is assumed or unknown; see the module's text."""
        flags: tuple[str, ...] = ()
        if not offer.egress:
            flags += ("egress_assumed",)
        if offer.ingress_usd_per_gb is None:
            if self._ingress_gb:
                flags += ("ingress_unknown",)
        elif offer.ingress_usd_per_gb and self._pulls_image(offer):
            flags += ("ingress_assumed",)
        if offer.interruptions_per_hour is None and offer.pricing == "spot":
            flags += ("interruptions_assumed",)
        if offer.boot_s is None and offer.billing.while_booting:
            flags += ("boot_unknown",)
        if offer.disk_gib is None and offer.storage_usd_per_gib_month is None:
            flags += ("disk_unknown",)
        return flags

    def _times_of(self, offer: Offer) -> _Times:
        billing, boot_s = offer.billing, offer.boot_s
        key = (billing.increment_s, billing.minimum_s, billing.aligned_to, billing.while_booting, boot_s)
        found = self._times.get(key)
        if found is None:
            found = self._times[key] = self._work_out(billing, boot_s)
        return found

    def _work_out(self, billing: Billing, boot_s: float | None) -> _Times:
        boot = to_decimal(boot_s or 0)
        boot_us = round(boot * _MICRO)
        use = billed_s(billing, self._use_us, self._start_us)
        with_boot = failed = 0
        if billing.while_booting:
            with_boot = billed_s(billing, self._use_us + boot_us, self._start_us) - use
            failed = billed_s(billing, boot_us, self._start_us)
        lost_s = self._hours * (self._checkpoint_s / 2 + boot)
        return _Times(*(self._replicas * part for part in (use, with_boot, failed, lost_s)))

    def _egress(self, offer: Offer) -> Decimal:
        tiers, volume = offer.egress, self._egress_gb
        if not volume:
            return ZERO
        if not tiers:
            return ASSUMED_EGRESS_USD_PER_GB * volume
        if len(tiers) == 1:
            return tiers[0].usd_per_gb * volume
        if used := self._used_gb.get(offer.provider):
            return walk(tiers, volume, months=self._months, used_gb=used)
        # Offers of one price list share the tuple. It is kept beside the result, so its id stays its own.
        found = self._walked.get(id(tiers))
        if found is None:
            found = self._walked[id(tiers)] = tiers, walk(tiers, volume, months=self._months)
        return found[1]

    def _ingress(self, offer: Offer) -> Decimal:
        volume = self._ingress_gb + ASSUMED_IMAGE_GB if self._pulls_image(offer) else self._ingress_gb
        return self._replicas * volume * (offer.ingress_usd_per_gb or ZERO)

    def _pulls_image(self, offer: Offer) -> bool:
        return self._container or (self._any_workload and offer.workloads[:1] == ("container",))

    def _storage(self, offer: Offer, times: _Times) -> Decimal:
        extra = disk_need_gib(offer, self._disk_gib) - (offer.disk_gib or 0)
        if extra <= 0:
            return ZERO
        return self._decimal(extra) * (offer.storage_usd_per_gib_month or ZERO) * times.use_s / _STORAGE_S

    def _risk(self, offer: Offer, rate: Decimal, times: _Times) -> Decimal:
        chance = offer.interruptions_per_hour
        if chance is None:
            if offer.pricing != "spot":
                return ZERO
            return rate * ASSUMED_SPOT_INTERRUPTIONS_PER_HOUR * times.lost_s / _HOUR_S
        return rate * self._decimal(chance) * times.lost_s / _HOUR_S if chance else ZERO

    def _failed_boots(self, offer: Offer, rate: Decimal, times: _Times) -> Decimal:
        """(1 / p - 1) x one failed boot: the machine's price for the time that booting is billed."""
        if self._success_rate is None or not times.failed_boot_s:
            return ZERO
        works = max(LEAST_SUCCESS_RATE, self._decimal(self._success_rate(offer)))
        if works >= 1:
            return ZERO
        return (1 - works) * rate * times.failed_boot_s / _HOUR_S / works

    def _decimal(self, number: float) -> Decimal:
        found = self._decimals.get(number)
        if found is None:
            found = self._decimals[number] = to_decimal(number)
        return found


def _ceil_div(number: int, step: int) -> int:
    return -(-number // step)
