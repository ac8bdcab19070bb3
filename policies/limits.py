"""What a request and a policy together allow, as sets and numbers that are quick to compare with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from policies.geo import JURISDICTIONS, country_code
from policies.keys import DEFAULT_PRICING
from policies.model import Require
from policies.request import Request, is_container, needs, wanted_gpus

Words = frozenset[str]
N = TypeVar("N", float, Decimal)

#: A price per GPU and hour outside these USD is a slip of somebody's table, not a price: unknown.
LEAST_USD_PER_GPU_HOUR = 0.005
MOST_USD_PER_GPU_HOUR = 1000.0

#: Which evidence satisfies `evidence = ...`. A price in the provider's API is what it bills, so it counts as contract.
EGRESS_EVIDENCE = {"claim": frozenset({"claim", "api", "contract"}), "contract": frozenset({"api", "contract"})}
#: An API that lists a certificate claims it; only a contract promises it.
COMPLIANCE_EVIDENCE = {"claim": frozenset({"claim", "api", "contract"}), "contract": frozenset({"contract"})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Both together, the stricter of each. None is no limit; an empty set allows nothing.

    Attributes:
        regions: groups of patterns; a region must match one of every group.
        oldest: prices read before are too old.
        ends: machines must be for rent until then.
        needs: capabilities that the machine must have ("cmd", "env", "ports").
    """

    gpus: Words
    count: int
    egress_free: bool
    wants_egress: bool
    max_egress: Decimal | None
    egress_evidence: Words | None
    min_reliability: float | None
    markets: Words | None
    exclude_markets: Words
    pricing: Words
    regions: tuple[tuple[str, ...], ...]
    countries: Words | None
    compliance: Words
    compliance_evidence: Words | None
    workloads: Words | None
    providers: Words | None
    exclude_providers: Words
    max_usd_per_hour: Decimal | None
    max_total_usd: Decimal | None
    oldest: datetime | None
    disk_gib: int
    min_vcpus: float | None
    min_memory_gib: float | None
    ends: datetime
    needs: Words = frozenset()


def limits_of(request: Request, require: Require, now: datetime) -> Limits:
    """The limits of *request* under *require* at *now*.

    Raises:
        BadRequest: no known GPU is asked for.
    """
    kind = "container" if is_container(request) else request.workload
    age = require.max_price_age_s
    evidence = require.evidence
    return Limits(
        gpus=wanted_gpus(request),
        count=request.count,
        egress_free=require.egress_free,
        wants_egress=require.wants_egress,
        max_egress=require.max_egress_usd_per_gb,
        egress_evidence=EGRESS_EVIDENCE[evidence] if evidence else None,
        min_reliability=require.min_reliability,
        markets=_words(require.markets),
        exclude_markets=frozenset(require.exclude_markets or ()),
        pricing=frozenset(DEFAULT_PRICING if require.pricing is None else require.pricing),
        regions=tuple(group for group in (require.regions, request.region or None) if group is not None),
        countries=_both(_both(_words(require.countries), _asked_countries(request)), _jurisdictions(require)),
        compliance=frozenset(require.compliance or ()),
        compliance_evidence=COMPLIANCE_EVIDENCE[evidence] if evidence else None,
        workloads=_both(_words(require.workloads), _words((kind,) if kind else None)),
        providers=_both(_words(require.providers), _asked(request.provider)),
        exclude_providers=frozenset(
            name.lower() for name in (*(require.exclude_providers or ()), *request.exclude_provider)
        ),
        max_usd_per_hour=_stricter(min, require.max_usd_per_hour, request.max_price),
        max_total_usd=_stricter(min, require.max_total_usd, request.budget),
        oldest=None if age is None else now - timedelta(seconds=min(age, 1e9)),
        disk_gib=request.disk_gib,
        min_vcpus=_stricter(max, require.min_vcpus, request.cpus),
        min_memory_gib=_stricter(max, require.min_memory_gib, request.memory_gib),
        ends=now + timedelta(hours=request.hours),
        needs=needs(request),
    )


def _words(words: tuple[str, ...] | None) -> Words | None:
    return None if words is None else frozenset(words)


def _asked(words: tuple[str, ...]) -> Words | None:
    return frozenset(word.lower() for word in words) if words else None


def _asked_countries(request: Request) -> Words | None:
    return frozenset(country_code(word) for word in request.country) if request.country else None


def _jurisdictions(require: Require) -> Words | None:
    if require.jurisdictions is None:
        return None
    return frozenset(country for name in require.jurisdictions for country in JURISDICTIONS[name])


def _both(one: Words | None, other: Words | None) -> Words | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _stricter(choose: Callable[[N, N], N], one: N | None, other: N | None) -> N | None:
    if one is None or other is None:
        return other if one is None else one
    return choose(one, other)
