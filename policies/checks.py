"""Which offers fall out, and what is said of each: one check per reason, in the order in which reasons are given.

A check exists only where the request or the policy asks for it, so what is not required costs nothing. Checks return
a bool and write no sentence; `why` makes one when somebody asks. A required fact that an offer does not state drops it,
with the detail "unknown".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

from policies.cost import disk_need_gib, disk_problem
from policies.keys import glob
from policies.limits import LEAST_USD_PER_GPU_HOUR, MOST_USD_PER_GPU_HOUR, Limits
from policies.plan import Reason, Why
from providers.base import Offer

Passes = Callable[[Offer], bool]
UNKNOWN = "unknown"


class Check(NamedTuple):
    """A reason to drop an offer: those that do not pass."""

    reason: Reason
    passes: Passes
    why: Why


#: (provider, workload) to the capabilities ("cmd", "env", "ports") that such a machine there lacks.
Lacking = Mapping[tuple[str, str], frozenset[str]]


def checks(limits: Limits, lacking: Lacking | None = None) -> Iterator[Check]:
    """Every check that *limits* call for, but those that need the cost, in order."""
    yield _gpu(limits)
    yield Check("too_few_gpus", lambda o: o.gpu_count >= limits.count, lambda o: _gpus(o, limits.count))
    yield from _egress(limits)
    yield from _trust(limits)
    yield from _place(limits)
    yield from _use(limits)
    yield from _ability(limits, lacking or {})
    yield from _price(limits)
    yield from _size(limits)
    yield Check("sold_out", _is_sold, _why_not)
    yield Check(
        "ends_too_soon",
        lambda o: o.available_until is None or o.available_until >= limits.ends,
        lambda o: f"for rent until {o.available_until:%Y-%m-%d %H:%M} UTC only",
    )


def _gpu(limits: Limits) -> Check:
    gpus = limits.gpus

    def why(offer: Offer) -> str:
        if offer.gpu in gpus:
            return f"{offer.gpu_fraction:.3g} of a GPU, not a whole one"
        few = sorted(gpus)[:4]
        return f"{offer.gpu} is not {' or '.join(few)}{' ...' if len(gpus) > 4 else ''}"

    return Check("wrong_gpu", lambda o: o.gpu in gpus and o.gpu_fraction >= 1, why)


def _gpus(offer: Offer, count: int) -> str:
    return f"{offer.gpu_count} on the machine, {count} wanted"


def _egress(limits: Limits) -> Iterator[Check]:
    evidence = limits.egress_evidence
    if limits.egress_free:
        yield Check("egress_not_free", lambda o: not o.egress or _dearest(o) == 0, _egress_price)
    if limits.wants_egress:
        yield Check(
            "egress_unknown",
            lambda o: bool(o.egress) and (evidence is None or o.egress_evidence in evidence),
            lambda o: _weak(o.egress_evidence) if o.egress else UNKNOWN,
        )
    most = limits.max_egress
    if most is not None:
        yield Check("egress_too_dear", lambda o: _dearest(o) <= most, _egress_price)


def _dearest(offer: Offer) -> Decimal:
    tiers = offer.egress or ()
    if len(tiers) == 1:
        return tiers[0].usd_per_gb
    return max(tier.usd_per_gb for tier in tiers)


def _egress_price(offer: Offer) -> str:
    return f"egress costs up to {_dearest(offer):f} USD per GB"


def _weak(evidence: str | None) -> str:
    return UNKNOWN if evidence is None else f"vouched for by {evidence} only"


def _trust(limits: Limits) -> Iterator[Check]:
    least = limits.min_reliability
    if least is not None:
        yield Check(
            "reliability_too_low",
            lambda o: o.reliability is not None and o.reliability >= least,
            lambda o: UNKNOWN if o.reliability is None else f"{o.reliability:g}, at least {least:g} wanted",
        )
    allowed, excluded = limits.markets, limits.exclude_markets
    if allowed is not None or excluded:
        yield Check(
            "market_not_allowed",
            lambda o: o.market is not None and o.market not in excluded and (allowed is None or o.market in allowed),
            lambda o: o.market or UNKNOWN,
        )
    pricing = limits.pricing
    yield Check("pricing_not_allowed", lambda o: o.pricing in pricing, lambda o: _pricing(o, pricing))


def _pricing(offer: Offer, allowed: frozenset[str]) -> str:
    if offer.pricing == "spot" and allowed:
        return "spot, which the policy does not name"
    return offer.pricing


def _place(limits: Limits) -> Iterator[Check]:
    if limits.regions:
        yield Check("region_not_allowed", _regions(limits.regions), lambda o: o.region or o.zone or UNKNOWN)
    countries = limits.countries
    if countries is not None:
        yield Check(
            "country_not_allowed",
            lambda o: o.country is not None and o.country.upper() in countries,
            lambda o: o.country or UNKNOWN,
        )
    if limits.compliance:
        yield _compliance(limits.compliance, limits.compliance_evidence)


def _regions(groups: tuple[tuple[str, ...], ...]) -> Passes:
    matchers = [[glob(text) for text in group] for group in groups]
    known: dict[tuple[str | None, str | None], bool] = {}

    def passes(offer: Offer) -> bool:
        place = (offer.region, offer.zone)
        found = known.get(place)
        if found is None:
            names = [name.lower() for name in place if name]
            found = known[place] = all(any(match(n) for match in group for n in names) for group in matchers)
        return found

    return passes


def _compliance(needed: frozenset[str], evidence: frozenset[str] | None) -> Check:
    def why(offer: Offer) -> str:
        missing = sorted(needed.difference(offer.compliance))
        if missing:
            return f"{' and '.join(missing)} not stated" if offer.compliance else UNKNOWN
        return _weak(offer.compliance_evidence)

    return Check(
        "compliance_missing",
        lambda o: needed.issubset(o.compliance) and (evidence is None or o.compliance_evidence in evidence),
        why,
    )


def _ability(limits: Limits, lacking: Lacking) -> Iterator[Check]:
    needs = limits.needs
    if not needs or not lacking:
        return

    def missing(offer: Offer) -> list[str]:
        able = (needs - lacking.get((offer.provider, kind), frozenset()) for kind in offer.workloads)
        return sorted(needs.difference(*able)) if offer.workloads else []

    def why(offer: Offer) -> str:
        options = " and ".join(f"--{'port' if name == 'ports' else name}" for name in missing(offer))
        return f"a {' or '.join(offer.workloads)} of {offer.provider} takes no {options}"

    yield Check("workload_not_supported", lambda o: not missing(o), why)


def _use(limits: Limits) -> Iterator[Check]:
    workloads = limits.workloads
    if workloads is not None:
        yield Check(
            "workload_not_supported",
            lambda o: not workloads.isdisjoint(o.workloads),
            lambda o: f"{' or '.join(o.workloads)}, not {' or '.join(sorted(workloads))}" if o.workloads else UNKNOWN,
        )
    allowed, excluded = limits.providers, limits.exclude_providers
    if allowed is not None or excluded:
        yield Check(
            "provider_not_allowed",
            lambda o: o.provider not in excluded and (allowed is None or o.provider in allowed),
            lambda o: o.provider,
        )


def _price(limits: Limits) -> Iterator[Check]:
    yield Check("price_unknown", _has_price, _price_doubt)
    most = limits.max_usd_per_hour
    if most is not None:
        yield Check(
            "price_too_high",
            lambda o: o.usd_per_hour is not None and o.usd_per_hour <= most,
            lambda o: f"{o.usd_per_hour:f} USD an hour, at most {most:f} wanted",
        )
    oldest = limits.oldest
    if oldest is not None:
        yield Check(
            "price_too_old",
            lambda o: o.observed_at is not None and o.observed_at >= oldest,
            lambda o: UNKNOWN if o.observed_at is None else f"read at {o.observed_at:%Y-%m-%d %H:%M:%S} UTC",
        )


def _has_price(offer: Offer) -> bool:
    # Floats, because a NaN from somebody's table must compare and not raise.
    if offer.usd_per_hour is None:
        return False
    rate, gpus = float(offer.usd_per_hour), offer.gpu_count
    least = 0.0 if offer.pricing == "prepaid" else LEAST_USD_PER_GPU_HOUR * gpus
    return least <= rate <= MOST_USD_PER_GPU_HOUR * gpus


def _price_doubt(offer: Offer) -> str:
    if offer.usd_per_hour is None:
        return UNKNOWN
    return f"{offer.usd_per_hour} USD an hour cannot be a price for {offer.gpu_count} GPU"


def _size(limits: Limits) -> Iterator[Check]:
    disk, vcpus, memory = limits.disk_gib, limits.min_vcpus, limits.min_memory_gib
    yield Check("too_small", lambda o: disk_problem(o, disk) is None, lambda o: _disk(o, disk))
    if vcpus is not None:
        yield Check(
            "too_small",
            lambda o: o.vcpus is not None and o.vcpus >= vcpus,
            lambda o: UNKNOWN if o.vcpus is None else f"{o.vcpus:g} vCPUs, {vcpus:g} wanted",
        )
    if memory is not None:
        yield Check(
            "too_small",
            lambda o: o.memory_gib is not None and o.memory_gib >= memory,
            lambda o: UNKNOWN if o.memory_gib is None else f"{o.memory_gib:g} GiB of memory, {memory:g} wanted",
        )


def _disk(offer: Offer, disk_gib: int) -> str:
    if disk_problem(offer, disk_gib) == UNKNOWN:
        return UNKNOWN
    need = disk_need_gib(offer, disk_gib)
    if offer.disk_max_gib is not None and need > offer.disk_max_gib:
        return f"{offer.disk_max_gib:g} GiB of disk at most, {need:g} wanted"
    return f"{offer.disk_gib:g} GiB of disk and no price for more, {need:g} wanted"


def _why_not(offer: Offer) -> str:
    said = offer.native.get("unavailable")
    return said if isinstance(said, str) and said else "the provider says that none is free"


def _is_sold(offer: Offer) -> bool:
    return offer.available is not False and offer.available_count != 0
