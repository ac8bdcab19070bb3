"""What holds for every market: the plan is exact, whole, monotone, and does not depend on the order of offers.

`plain_cost` is the cost written a second time, with fractions and straight from the formulas, and slow.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any, get_args

import msgspec
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from policies.cost import Coster, disk_problem
from policies.judge import judge
from policies.keys import KEYS
from policies.model import Minimize, Objective
from policies.plan import Hold, Plan, Reason
from policies.policy import Policy, load, names, tighten
from policies.request import Request
from providers.base import Billing, EgressTier, Offer

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXACT = Fraction(1, 10**18)

# No time is asserted, neither of a test nor of making its examples: other programs may share the machine.
_PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
thorough = settings(max_examples=200, **_PATIENT)  # type: ignore[arg-type]
quick = settings(max_examples=60, **_PATIENT)  # type: ignore[arg-type]

times = st.integers(0, 365 * 86400 * 10**6).map(
    lambda us: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
)
money = st.decimals(0, 50, places=4)
tier_prices = st.sampled_from([Decimal(0), Decimal("0.005"), Decimal("0.02"), Decimal("0.09")])
billings = st.builds(
    Billing,
    increment_s=st.sampled_from([1, 60, 600, 3600]),
    minimum_s=st.sampled_from([0, 60, 3600]),
    aligned_to=st.sampled_from(["start", "clock"]),
    while_booting=st.booleans(),
)


@st.composite
def tiers(draw: st.DrawFn) -> tuple[EgressTier, ...]:
    bounds = sorted(draw(st.sets(st.integers(1, 5000), max_size=3)))
    steps = [EgressTier(up_to_gb=Decimal(bound), usd_per_gb=draw(tier_prices)) for bound in bounds]
    return (*steps, EgressTier(usd_per_gb=draw(tier_prices)))


fields: dict[str, st.SearchStrategy[Any]] = {
    "provider": st.sampled_from(["aws", "runpod", "vast"]),
    "region": st.sampled_from([None, "eu-1", "us-1"]),
    "country": st.sampled_from([None, "DE", "US"]),
    "host_id": st.sampled_from([None, "h1", "h2"]),
    "gpu": st.sampled_from(["l40", "l40", "l40", "l40s", "a10"]),
    "gpu_count": st.sampled_from([1, 2, 8]),
    "gpu_fraction": st.sampled_from([1.0, 1.0, 0.5]),
    "vcpus": st.sampled_from([None, 4.0, 16.0]),
    "memory_gib": st.sampled_from([None, 16.0, 64.0]),
    "disk_gib": st.sampled_from([None, 0.0, 20.5, 100.0]),
    "disk_min_gib": st.sampled_from([None, 10.0, 80.0]),
    "disk_max_gib": st.sampled_from([None, 60.0, 1000.0]),
    "market": st.sampled_from([None, "hyperscaler", "marketplace-community"]),
    "pricing": st.sampled_from(["on-demand", "spot", "reserved", "prepaid"]),
    "workloads": st.sampled_from([(), ("vm",), ("container",), ("vm", "container")]),
    "usd_per_hour": st.none() | money,
    "billing": billings,
    "egress": st.none() | tiers(),
    "egress_evidence": st.sampled_from([None, "claim", "api", "contract"]),
    "ingress_usd_per_gb": st.sampled_from([None, Decimal(0), Decimal("0.01")]),
    "storage_usd_per_gib_month": st.none() | st.sampled_from([Decimal(0), Decimal("0.1"), Decimal("0.15")]),
    "address_usd_per_hour": st.sampled_from([None, Decimal("0.005")]),
    "reliability": st.sampled_from([None, 0.95, 0.97, 0.98, 0.995]),
    "interruptions_per_hour": st.sampled_from([None, 0.0, 0.01, 0.3]),
    "boot_s": st.sampled_from([None, 0.0, 45.5, 600.0]),
    "compliance": st.sampled_from([(), ("gdpr",), ("gdpr", "soc2")]),
    "available": st.sampled_from([None, True, True, False]),
    "available_count": st.sampled_from([None, 0, 1, 5]),
    "available_until": st.none() | times,
    "observed_at": st.none() | times,
}
offers = st.builds(Offer, offer_id=st.just("x"), **fields)
#: Offers that any policy without requirements costs.
priced = st.builds(
    Offer,
    offer_id=st.just("x"),
    **{
        **fields,
        "gpu": st.just("l40"),
        "gpu_fraction": st.just(1.0),
        "usd_per_hour": st.decimals("0.05", 50, places=4),
        "disk_gib": st.sampled_from([0.0, 20.5]),
        "disk_max_gib": st.none(),
        "storage_usd_per_gib_month": st.sampled_from([Decimal(0), Decimal("0.1"), Decimal("0.15")]),
    },
)
markets = st.lists(offers, max_size=8).map(
    lambda found: [msgspec.structs.replace(offer, offer_id=f"offer-{n}") for n, offer in enumerate(found)]
)
hours = st.sampled_from([0.1, 0.45, 1.0, 1 / 3, 24.0]) | st.floats(0.01, 3000)
requests = st.builds(
    Request,
    gpu=st.just(("l40",)),
    count=st.sampled_from([1, 1, 2]),
    replicas=st.integers(1, 4),
    hours=hours,
    egress_gb=st.sampled_from([0.0, 50.5, 500.0]) | st.floats(0, 20_000),
    ingress_gb=st.sampled_from([0.0, 33.3]),
    checkpoint_s=st.sampled_from([0.0, 600.0, 1800.0]),
    disk_gib=st.sampled_from([1, 50, 200]),
    budget=st.sampled_from([None, None, Decimal(20), Decimal(2000)]),
    max_price=st.sampled_from([None, None, Decimal(3)]),
    country=st.sampled_from([(), (), ("DE",)]),
    workload=st.sampled_from([None, None, "vm"]),
)
PAIRS = [
    "egress_free=true",
    "egress_free=false",
    "max_egress_usd_per_gb=0.02",
    "max_egress_usd_per_gb=1",
    "min_reliability=0.97",
    "min_reliability=0.1",
    "markets=hyperscaler",
    "exclude_markets=marketplace-community",
    "pricing=spot",
    "pricing=on-demand,spot",
    "regions=eu-*",
    "regions=*-1",
    "countries=DE,US",
    "jurisdictions=eu",
    "compliance=gdpr",
    "workloads=vm,container",
    "providers=aws,vast",
    "exclude_providers=vast",
    "max_usd_per_hour=5",
    "max_total_usd=500",
    "min_vcpus=8",
    "min_memory_gib=32",
    "max_price_age_s=100d",
]
requirements = st.lists(st.sampled_from(PAIRS), max_size=4)
policies = st.builds(
    lambda name, objective: msgspec.structs.replace(load(name), minimize=Minimize(objective=objective)),
    st.sampled_from(names()),
    st.sampled_from(get_args(Objective)),
)
holds = st.lists(
    st.builds(
        Hold,
        until=times,
        drops=st.booleans(),
        provider=st.sampled_from(["aws", "vast"]),
        region=st.sampled_from([None, "eu-1"]),
        host_id=st.sampled_from([None, "h1"]),
        min_usd_per_hour=st.sampled_from([None, Decimal(5)]),
    ),
    max_size=3,
)


def plain_billed_hours(billing: Billing, seconds: Fraction, start: Fraction) -> Fraction:
    step = Fraction(billing.increment_s)
    if billing.aligned_to == "clock":
        used = (math.ceil((start + seconds) / step) - math.floor(start / step)) * step
    else:
        used = math.ceil(seconds / step) * step
    return max(Fraction(billing.minimum_s), used) / 3600


def plain_walk(tiers: tuple[EgressTier, ...], volume: Fraction) -> Fraction:
    usd, done = Fraction(0), Fraction(0)
    for tier in tiers:
        end = volume if tier.up_to_gb is None else min(volume, Fraction(tier.up_to_gb))
        if end > done:
            usd += (end - done) * Fraction(tier.usd_per_gb)
            done = end
    return usd


def plain_cost(offer: Offer, request: Request, now: datetime, works: Fraction) -> dict[str, Fraction]:
    """Every part as the formulas say it; times to the microsecond."""
    assert offer.usd_per_hour is not None
    price, n, h = Fraction(offer.usd_per_hour), request.replicas, Fraction(str(request.hours))
    start = Fraction((now - EPOCH) // timedelta(microseconds=1), 10**6)
    use_s = Fraction(round(h * 3600 * 10**6), 10**6)
    boot_s = Fraction(str(offer.boot_s or 0))
    billed = plain_billed_hours(offer.billing, use_s, start)
    booted = plain_billed_hours(offer.billing, use_s + boot_s, start)
    failed = plain_billed_hours(offer.billing, boot_s, start)
    months = max(1, math.ceil(h / 730))
    sent, received = n * Fraction(str(request.egress_gb)), Fraction(str(request.ingress_gb))
    container = request.workload == "container" or (
        request.workload is None and (request.image is not None or offer.workloads[:1] == ("container",))
    )
    if offer.ingress_usd_per_gb and container:
        received += 10
    disk = max(Fraction(request.disk_gib), Fraction(str(offer.disk_min_gib or 0)))
    extra = max(Fraction(0), disk - Fraction(str(offer.disk_gib or 0)))
    chance = offer.interruptions_per_hour
    if chance is None:
        chance = 0.05 if offer.pricing == "spot" else 0.0
    lost_s = Fraction(str(request.checkpoint_s)) / 2 + boot_s
    paid_boot = offer.billing.while_booting
    return {
        "compute_usd": n * price * billed,
        "egress_usd": months * plain_walk(offer.egress, sent / months) if offer.egress else Fraction(12, 100) * sent,
        "ingress_usd": n * Fraction(offer.ingress_usd_per_gb or 0) * received,
        "storage_usd": n * extra * Fraction(offer.storage_usd_per_gib_month or 0) * billed / 730,
        "address_usd": n * Fraction(offer.address_usd_per_hour or 0) * billed,
        "boot_usd": n * price * (booted - billed) if paid_boot else Fraction(0),
        "risk_usd": n * price * Fraction(str(chance)) * h * lost_s / 3600,
        "failed_boot_usd": (1 / works - 1) * n * price * failed if paid_boot else Fraction(0),
    }


@given(offer=priced, request=requests, now=times, works=st.sampled_from([1.0, 0.9, 0.25]))
@thorough
def test_the_fast_cost_is_the_plain_cost(offer: Offer, request: Request, now: datetime, works: float) -> None:
    fast = Coster(request, now, success_rate=lambda _: works).cost(offer)
    plain = plain_cost(offer, request, now, Fraction(str(works)))
    for name, value in plain.items():
        assert abs(Fraction(getattr(fast, name)) - value) <= EXACT, name
    assert abs(Fraction(fast.total_usd) - sum(plain.values())) <= EXACT


def total(offer: Offer, request: Request, now: datetime) -> Decimal:
    return Coster(request, now).cost(offer).total_usd


def same(more: Decimal, less: Decimal) -> bool:
    """Whether *more* is not less, but for the last of 28 digits."""
    return more >= less - Decimal("1e-18")


@given(offer=priced, request=requests, now=times, more=st.decimals(0, 10, places=3))
@quick
def test_a_higher_price_never_costs_less(offer: Offer, request: Request, now: datetime, more: Decimal) -> None:
    dearer = msgspec.structs.replace(offer, usd_per_hour=(offer.usd_per_hour or Decimal(0)) + more)
    assert same(total(dearer, request, now), total(offer, request, now))


@given(offer=priced, request=requests, now=times, more=st.floats(0, 500))
@quick
def test_more_egress_never_costs_less(offer: Offer, request: Request, now: datetime, more: float) -> None:
    longer = msgspec.structs.replace(request, egress_gb=request.egress_gb + more)
    assert same(total(offer, longer, now), total(offer, request, now))


@given(offer=priced, request=requests, now=times, more=st.floats(0, 500))
@quick
def test_more_hours_never_cost_less(offer: Offer, request: Request, now: datetime, more: float) -> None:
    longer = msgspec.structs.replace(request, hours=request.hours + more)
    # A further month brings its own tiers, so a falling free share may well make the same volume cheaper.
    assume(math.ceil(longer.hours / 730) == math.ceil(request.hours / 730) or not request.egress_gb)
    assert same(total(offer, longer, now), total(offer, request, now))


def kept(plan: Plan) -> list[str]:
    return [candidate.offer.offer_id for candidate in plan.candidates]


@given(market=markets, request=requests, policy=policies, now=times, held=holds)
@quick
def test_every_offer_is_kept_or_dropped_once_with_one_reason(
    market: list[Offer], request: Request, policy: Policy, now: datetime, held: list[Hold]
) -> None:
    plan = judge(market, request, policy, now=now, holds=held)
    dropped = [drop.offer.offer_id for drop in plan.dropped]
    assert sorted(kept(plan) + dropped) == sorted(offer.offer_id for offer in market)
    assert {drop.reason for drop in plan.dropped} <= set(get_args(Reason))
    assert all(drop.detail for drop in plan.dropped)
    assert [candidate.rank for candidate in plan.candidates] == list(range(1, len(plan.candidates) + 1))
    assert all(disk_problem(candidate.offer, request.disk_gib) is None for candidate in plan.candidates)


@given(market=markets, request=requests, policy=policies, now=times, held=holds, data=st.data())
@quick
def test_shuffling_the_market_gives_the_same_plan(
    market: list[Offer], request: Request, policy: Policy, now: datetime, held: list[Hold], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(market))
    one = judge(market, request, policy, now=now, holds=held)
    other = judge(shuffled, request, policy, now=now, holds=held[::-1])
    assert one.to_json() == other.to_json()


@given(market=markets, request=requests, policy=policies, now=times)
@quick
def test_an_offer_that_is_dropped_never_changes_the_ranking(
    market: list[Offer], request: Request, policy: Policy, now: datetime
) -> None:
    plan = judge(market, request, policy, now=now)
    gone = {drop.offer.offer_id for drop in plan.dropped}
    without = [offer for offer in market if offer.offer_id not in gone]
    assert judge(without, request, policy, now=now).candidates == plan.candidates


@given(market=markets, request=requests, policy=policies, now=times)
@quick
def test_candidates_stand_in_the_order_of_the_plain_cost(
    market: list[Offer], request: Request, policy: Policy, now: datetime
) -> None:
    cheapest = msgspec.structs.replace(policy, minimize=Minimize(objective="expected-cost"))
    candidates = judge(market, request, cheapest, now=now).candidates
    totals = [sum(plain_cost(candidate.offer, request, now, Fraction(1)).values()) for candidate in candidates]
    assert all(before <= after + EXACT for before, after in pairwise(totals))


@given(market=markets, request=requests, policy=policies, now=times, pairs=requirements)
@quick
def test_a_requirement_never_lets_an_offer_in(
    market: list[Offer], request: Request, policy: Policy, now: datetime, pairs: list[str]
) -> None:
    tight = judge(market, request, tighten(policy, pairs), now=now)
    assert set(kept(tight)) <= set(kept(judge(market, request, policy, now=now)))


@given(market=markets, request=requests, now=times)
@quick
def test_a_plan_of_any_market_survives_json(market: list[Offer], request: Request, now: datetime) -> None:
    plan = judge(market, request, load("cheapest"), now=now)
    assert Plan.from_json(plan.to_json()).to_json() == plan.to_json()


def test_the_requirements_tried_here_cover_every_key_that_stands_alone() -> None:
    assert {pair.partition("=")[0] for pair in PAIRS} == set(KEYS) - {"evidence"}
