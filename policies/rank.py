"""The order of what is left: an objective, then reliability, boot time and offer id, so that no market has two orders.

Objectives, each the smaller the better; an offer that does not state what its objective needs comes last:

- ``expected-cost``: expected USD for the whole request;
- ``hourly-price``: USD an hour for the machine alone;
- ``usd-per-tflop-hour``: expected USD per TFLOPS (dense FP16) of all the machine's GPUs, per hour;
- ``usd-per-bandwidth``: expected USD per GB/s of memory bandwidth of all its GPUs, per hour;
- ``interruptions``: expected interruptions an hour (unknown: 0.05 for spot, else 0);
- ``boot-time``: seconds until it is usable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Literal

from policies.cost import ASSUMED_SPOT_INTERRUPTIONS_PER_HOUR, Cost, to_decimal
from policies.model import Objective, Score
from providers.base import Offer
from providers.gpus import GPUS

Value = Decimal | float
_LAST = float("inf")
_SPOT = float(ASSUMED_SPOT_INTERRUPTIONS_PER_HOUR)


def scorer(objective: Objective, use_hours: Decimal) -> Score:
    """What *objective* gives an offer with its cost.

    Args:
        use_hours: hours of use times replicas, which ratios are per.
    """
    if objective == "usd-per-tflop-hour":
        return _per("fp16_tflops", use_hours)
    if objective == "usd-per-bandwidth":
        return _per("bandwidth_gb_s", use_hours)
    simple: dict[str, Callable[[Offer, Cost], Value]] = {
        "expected-cost": lambda offer, cost: cost.total_usd,
        "hourly-price": lambda offer, cost: _LAST if offer.usd_per_hour is None else offer.usd_per_hour,
        "interruptions": lambda offer, cost: _interruptions(offer),
        "boot-time": lambda offer, cost: _LAST if offer.boot_s is None else offer.boot_s,
    }
    return simple[objective]


def order(offers: Sequence[Offer], values: Sequence[Value]) -> list[int]:
    """The indexes of *offers* from best to worst by *values*, ties broken.

    Floats sort many times faster than exact values with their tie breakers, and rounding never swaps two values; so
    floats go first, and only runs of equal ones are looked at exactly.
    """
    floats = [float(value) for value in values]
    ranked = sorted(range(len(floats)), key=floats.__getitem__)

    def exact(index: int) -> tuple[Value, float, float, str, str, str]:
        offer = offers[index]
        return (
            values[index],
            _LAST if offer.reliability is None else -offer.reliability,
            _LAST if offer.boot_s is None else offer.boot_s,
            offer.offer_id,
            offer.provider,
            offer.account or "",
        )

    ordered = [floats[index] for index in ranked]
    begins = [0, *(place for place, pair in enumerate(pairwise(ordered), 1) if pair[0] != pair[1]), len(ordered)]
    for begin, end in pairwise(begins):
        if end - begin > 1:
            ranked[begin:end] = sorted(ranked[begin:end], key=exact)
    return ranked


def _interruptions(offer: Offer) -> float:
    if offer.interruptions_per_hour is not None:
        return offer.interruptions_per_hour
    return _SPOT if offer.pricing == "spot" else 0.0


def _per(figure: Literal["fp16_tflops", "bandwidth_gb_s"], use_hours: Decimal) -> Score:
    divisors: dict[tuple[str, int], Decimal | None] = {}

    def score(offer: Offer, cost: Cost) -> Value:
        key = (offer.gpu, offer.gpu_count)
        if key not in divisors:
            gpu = GPUS.get(offer.gpu)
            number = getattr(gpu, figure) if gpu else None
            divisors[key] = to_decimal(number) * offer.gpu_count * use_hours if number else None
        divisor = divisors[key]
        return _LAST if divisor is None else cost.total_usd / divisor

    return score
