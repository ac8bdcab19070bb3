"""Every reason that an offer can be dropped for, what is said, and which comes first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

import pytest

from policies.errors import BadPolicy, BadRequest
from policies.judge import judge
from policies.plan import Candidate, Dropped, Hold, Plan, Reason
from policies.policy import load, read_policy
from policies.request import Request
from providers.base import EgressTier, Offer

Make = Callable[..., Offer]
NOW = datetime(2026, 11, 22, 14, 43, tzinfo=UTC)
COSTLY = (EgressTier(up_to_gb=Decimal(100)), EgressTier(usd_per_gb=Decimal("0.09")))


def plan(offer: Offer, require: str = "", holds: tuple[Hold, ...] = (), **request: object) -> Plan:
    policy = read_policy(f"[require]\n{require}\n", "p.toml")
    return judge([offer], Request.of(**{"gpu": "l40", **request}), policy, now=NOW, holds=holds)


CASES: list[tuple[str, dict[str, Any], str, dict[str, Any], str]] = [
    # reason, fields of the offer, [require], request, words of the detail
    ("wrong_gpu", {"gpu": "a100-80gb"}, "", {}, "a100-80gb is not l40"),
    ("wrong_gpu", {"gpu": "l40s"}, "", {}, "l40s is not l40"),
    ("wrong_gpu", {"gpu": "no-such-model"}, "", {}, "no-such-model is not l40"),
    ("wrong_gpu", {"gpu": "l4"}, "", {"or_better": True}, " ..."),
    ("wrong_gpu", {"gpu_fraction": 1 / 6}, "", {}, "0.167 of a GPU"),
    ("too_few_gpus", {"gpu_count": 2}, "", {"count": 4}, "2 on the machine, 4 wanted"),
    ("egress_not_free", {"egress": COSTLY}, "egress_free = true", {}, "up to 0.09 USD per GB"),
    ("egress_unknown", {"egress": None}, "egress_free = true", {}, "unknown"),
    ("egress_unknown", {"egress": None}, "max_egress_usd_per_gb = 1", {}, "unknown"),
    ("egress_unknown", {"egress": ()}, "egress_free = true", {}, "unknown"),
    (
        "egress_unknown",
        {"egress_evidence": "claim"},
        "egress_free = true\nevidence = 'contract'",
        {},
        "vouched for by claim only",
    ),
    ("egress_unknown", {"egress_evidence": None}, "egress_free = true\nevidence = 'claim'", {}, "unknown"),
    ("egress_too_dear", {"egress": COSTLY}, "max_egress_usd_per_gb = 0.08", {}, "up to 0.09 USD"),
    ("reliability_too_low", {"reliability": 0.97}, "min_reliability = 0.98", {}, "0.97, at least 0.98 wanted"),
    ("reliability_too_low", {"reliability": None}, "min_reliability = 0.01", {}, "unknown"),
    ("market_not_allowed", {"market": "specialist"}, "markets = ['own']", {}, "specialist"),
    ("market_not_allowed", {"market": "own"}, "exclude_markets = ['own']", {}, "own"),
    ("market_not_allowed", {"market": None}, "exclude_markets = ['own']", {}, "unknown"),
    ("pricing_not_allowed", {"pricing": "spot"}, "", {}, "spot, which the policy does not name"),
    ("pricing_not_allowed", {"pricing": "on-demand"}, "pricing = ['spot']", {}, "on-demand"),
    ("region_not_allowed", {}, "regions = ['us-*']", {}, "EU-NL-1"),
    ("region_not_allowed", {"region": None, "zone": None}, "regions = ['*']", {}, "unknown"),
    ("region_not_allowed", {}, "", {"region": "us-east-1"}, "EU-NL-1"),
    ("region_not_allowed", {}, "regions = ['eu-*']", {"region": "eu-de-*"}, "EU-NL-1"),
    ("country_not_allowed", {}, "countries = ['DE']", {}, "NL"),
    ("country_not_allowed", {"country": None}, "countries = ['DE']", {}, "unknown"),
    ("country_not_allowed", {"country": "US"}, "jurisdictions = ['eu']", {}, "US"),
    ("country_not_allowed", {"country": "GB"}, "jurisdictions = ['eu']", {}, "GB"),
    ("country_not_allowed", {}, "", {"country": "de,us"}, "NL"),
    ("country_not_allowed", {}, "jurisdictions = ['eu']", {"country": "us"}, "NL"),
    ("compliance_missing", {}, "compliance = ['gdpr', 'hipaa', 'iso27001']", {}, "hipaa and iso27001 not stated"),
    ("compliance_missing", {"compliance": ()}, "compliance = ['gdpr']", {}, "unknown"),
    (
        "compliance_missing",
        {"compliance_evidence": "api"},
        "compliance = ['gdpr']\nevidence = 'contract'",
        {},
        "vouched for by api only",
    ),
    ("workload_not_supported", {}, "workloads = ['vm']", {}, "container"),
    ("workload_not_supported", {"workloads": ()}, "workloads = ['vm']", {}, "unknown"),
    ("workload_not_supported", {}, "", {"workload": "vm"}, "container"),
    ("workload_not_supported", {"workloads": ("vm", "bare-metal")}, "", {"image": "a/b"}, "vm or bare-metal"),
    ("workload_not_supported", {}, "workloads = ['vm']", {"workload": "container"}, "container"),
    ("provider_not_allowed", {}, "providers = ['aws']", {}, "runpod"),
    ("provider_not_allowed", {}, "exclude_providers = ['runpod']", {}, "runpod"),
    ("provider_not_allowed", {}, "", {"provider": "aws"}, "runpod"),
    ("provider_not_allowed", {}, "", {"exclude_provider": "runpod"}, "runpod"),
    ("provider_not_allowed", {}, "providers = ['aws']", {"provider": "runpod"}, "runpod"),
    ("price_unknown", {"usd_per_hour": None}, "", {}, "unknown"),
    ("price_unknown", {"usd_per_hour": Decimal(0)}, "", {}, "0 USD an hour cannot be a price"),
    ("price_unknown", {"usd_per_hour": Decimal("-1")}, "", {}, "cannot be a price"),
    ("price_unknown", {"usd_per_hour": Decimal("0.0049")}, "", {}, "cannot be a price"),
    ("price_unknown", {"usd_per_hour": Decimal("0.03"), "gpu_count": 8}, "", {}, "cannot be a price for 8 GPU"),
    ("price_unknown", {"usd_per_hour": Decimal("1000.01")}, "", {}, "cannot be a price"),
    ("price_unknown", {"usd_per_hour": Decimal("NaN")}, "", {}, "cannot be a price"),
    ("price_unknown", {"usd_per_hour": None, "pricing": "prepaid"}, "", {}, "unknown"),
    ("price_too_high", {}, "max_usd_per_hour = 0.79", {}, "0.80 USD an hour, at most 0.79 wanted"),
    ("price_too_high", {}, "", {"max_price": "0.5"}, "at most 0.5 wanted"),
    ("price_too_high", {}, "max_usd_per_hour = 1", {"max_price": "0.5"}, "at most 0.5 wanted"),
    ("price_too_high", {}, "max_usd_per_hour = 0.5", {"max_price": "1"}, "at most 0.5 wanted"),
    ("total_too_high", {}, "max_total_usd = 19.19", {}, "19.20 USD in all, at most 19.19 wanted"),
    ("total_too_high", {}, "", {"budget": "10"}, "at most 10 wanted"),
    ("total_too_high", {}, "", {"budget": "20", "replicas": 2}, "38.40 USD in all"),
    ("price_too_old", {}, "max_price_age_s = 59", {}, "read at 2026-11-22 14:42:00 UTC"),
    ("price_too_old", {"observed_at": None}, "max_price_age_s = 59", {}, "unknown"),
    ("too_small", {}, "", {"disk": 101}, "100 GiB of disk and no price for more, 101 wanted"),
    ("too_small", {"disk_max_gib": 200.0, "storage_usd_per_gib_month": Decimal("0.1")}, "", {"disk": 201}, "at most"),
    ("too_small", {"disk_min_gib": 300.0, "disk_max_gib": 200.0}, "", {}, "300 wanted"),
    ("too_small", {"disk_gib": None}, "", {"disk": 51}, "unknown"),
    ("too_small", {}, "min_vcpus = 17", {}, "16 vCPUs, 17 wanted"),
    ("too_small", {}, "", {"cpus": 32}, "16 vCPUs, 32 wanted"),
    ("too_small", {"vcpus": None}, "", {"cpus": 1}, "unknown"),
    ("too_small", {}, "min_memory_gib = 96", {}, "94 GiB of memory, 96 wanted"),
    ("too_small", {"memory_gib": None}, "", {"memory": "1GiB"}, "unknown"),
    ("sold_out", {"available": False}, "", {}, "none is free"),
    ("sold_out", {"available_count": 0}, "", {}, "none is free"),
    (
        "ends_too_soon",
        {"available_until": NOW + timedelta(hours=23, minutes=59)},
        "",
        {},
        "for rent until 2026-11-23 14:42 UTC only",
    ),
]


@pytest.mark.parametrize(("reason", "fields", "require", "request_", "detail"), CASES)
def test_an_offer_is_dropped_with_its_reason(
    make: Make, reason: str, fields: dict[str, Any], require: str, request_: dict[str, Any], detail: str
) -> None:
    found = plan(make(**fields), require, **request_)
    assert found.candidates == ()
    [drop] = found.dropped
    assert drop.reason == reason
    assert drop.detail == "unknown" if detail == "unknown" else detail in drop.detail


def test_a_hold_that_drops_sets_aside(make: Make) -> None:
    hold = Hold(provider="runpod", until=NOW + timedelta(hours=1), drops=True, why="AuthFailed: wrong key")
    [drop] = plan(make(), holds=(hold,)).dropped
    assert (drop.reason, drop.detail) == ("set_aside", "AuthFailed: wrong key; until 2026-11-22 15:43:00 UTC")


def test_every_reason_has_a_test_here() -> None:
    assert {case[0] for case in CASES} | {"set_aside"} == set(get_args(Reason))


@pytest.mark.parametrize(
    ("fields", "require", "request_"),
    [
        ({}, "", {}),
        ({"egress": COSTLY}, "max_egress_usd_per_gb = 0.09", {}),
        ({"egress": None}, "", {"egress": 500}),
        ({"egress_evidence": "api"}, "egress_free = true\nevidence = 'contract'", {}),
        ({"egress_evidence": "claim"}, "egress_free = true\nevidence = 'claim'", {}),
        ({"egress_evidence": None}, "egress_free = true", {}),
        ({"reliability": 0.98}, "min_reliability = 0.98", {}),
        ({"reliability": None, "market": None, "country": None, "region": None, "compliance": ()}, "", {}),
        ({"market": "own"}, "markets = ['own', 'specialist']", {}),
        ({"pricing": "reserved"}, "", {}),
        ({"pricing": "spot"}, "pricing = ['spot']", {}),
        ({}, "regions = ['eu-nl-1']", {}),
        ({}, "regions = ['eu-nl-1A']", {}),
        ({"region": None}, "regions = ['eu-*']", {}),
        ({"country": "nl"}, "jurisdictions = ['eu']", {"country": "nl"}),
        ({}, "compliance = ['gdpr', 'soc2']\nevidence = 'contract'", {}),
        ({"workloads": ("vm", "container")}, "workloads = ['vm']", {}),
        ({"workloads": ()}, "", {}),
        ({}, "providers = ['runpod']", {"provider": "RunPod"}),
        ({"usd_per_hour": Decimal(0), "pricing": "prepaid"}, "", {}),
        ({"usd_per_hour": Decimal("0.005")}, "", {}),
        ({"usd_per_hour": Decimal(1000)}, "", {}),
        ({}, "max_usd_per_hour = 0.8\nmax_total_usd = 19.2\nmax_price_age_s = 60", {"budget": "19.20"}),
        ({"disk_gib": None}, "", {"disk": 50}),
        ({"disk_gib": 10.0, "storage_usd_per_gib_month": Decimal("0.1"), "disk_max_gib": 500.0}, "", {"disk": 500}),
        ({}, "min_vcpus = 16\nmin_memory_gib = 94", {"disk": 100}),
        ({"available": None}, "", {}),
        ({"available_until": NOW + timedelta(hours=24)}, "", {}),
        ({"gpu_count": 8}, "", {"count": 4}),
        ({"gpu": "l40s"}, "", {"or_better": True}),
        ({"gpu": "l40s"}, "", {"gpu": "l40,l40s"}),
    ],
)
def test_an_offer_is_kept_where_it_satisfies(
    make: Make, fields: dict[str, Any], require: str, request_: dict[str, Any]
) -> None:
    found = plan(make(**fields), require, **request_)
    assert len(found.candidates) == 1
    assert len(found.dropped) == 0


def test_reasons_come_in_their_fixed_order_and_money_comes_late(make: Make) -> None:
    bad = make(
        gpu_count=1,
        egress=COSTLY,
        reliability=0.1,
        market="own",
        pricing="spot",
        country="US",
        compliance=(),
        workloads=("vm",),
        usd_per_hour=Decimal(900),
        available=False,
        available_until=NOW,
        observed_at=None,
        vcpus=1.0,
    )
    require = {
        "egress_not_free": "egress_free = true",
        "reliability_too_low": "min_reliability = 0.9",
        "market_not_allowed": "exclude_markets = ['own']",
        "pricing_not_allowed": "pricing = ['reserved']",
        "region_not_allowed": "regions = ['us']",
        "country_not_allowed": "jurisdictions = ['eu']",
        "compliance_missing": "compliance = ['gdpr']",
        "workload_not_supported": "workloads = ['container']",
        "provider_not_allowed": "providers = ['aws']",
        "price_too_high": "max_usd_per_hour = 1",
        "price_too_old": "max_price_age_s = 1",
        "too_small": "min_vcpus = 8",
    }
    lines = list(require.values())
    for skipped, reason in enumerate(require):
        # Spot is only named where pricing is no more required, so that it stays out of the way.
        text = "\n".join(lines[skipped:]) + ("\npricing = ['spot']" if skipped > 3 else "")
        assert plan(bad, text, budget=1).dropped[0].reason == reason
    assert plan(bad, "pricing = ['spot']", budget=1).dropped[0].reason == "sold_out"
    free = make(usd_per_hour=Decimal(900), available_until=NOW)
    assert plan(free, budget=1).dropped[0].reason == "ends_too_soon"
    hold = Hold(until=NOW + timedelta(1), drops=True)
    assert plan(make(), budget=1, holds=(hold,)).dropped[0].reason == "total_too_high"


def test_a_request_is_checked_before_anything_is_judged(make: Make) -> None:
    with pytest.raises(BadRequest):
        judge([make()], Request(gpu=("l40",), hours=0.0), load("cheapest"), now=NOW)
    with pytest.raises(BadPolicy):
        judge([make()], Request(gpu=("l40",), require=("x=1",)), load("cheapest"), now=NOW)
    with pytest.raises(ValueError, match="no time zone"):
        judge([make()], Request(gpu=("l40",)), load("cheapest"), now=NOW.replace(tzinfo=None))


def test_the_requests_own_requirements_hold_even_if_nobody_tightened_the_policy(make: Make) -> None:
    request = Request(gpu=("l40",), require=("min_reliability=0.995",))
    found = judge([make()], request, load("cheapest"), now=NOW)
    assert [drop.reason for drop in found.dropped] == ["reliability_too_low"]


def test_records_of_a_plan_are_plain(make: Make) -> None:
    found = plan(make(gpu_count=4), count=2)
    assert isinstance(found.candidates[0], Candidate)
    assert found.candidates[0].flags == ("more_gpus",)
    assert isinstance(plan(make(), "markets = ['own']").dropped[0], Dropped)
