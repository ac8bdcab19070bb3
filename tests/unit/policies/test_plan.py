"""The plan: its order, its holds, and its JSON."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from policies.judge import judge
from policies.plan import Hold, Plan, SourceState
from policies.policy import Policy, load
from policies.query import query_for
from policies.request import Request
from providers.base import Offer

Make = Callable[..., Offer]
NOW = datetime(2026, 11, 22, 14, 43, tzinfo=UTC)
LATER = NOW + timedelta(minutes=3)
L40 = Request(gpu=("l40",))


def ids(plan: Plan) -> list[str]:
    return [candidate.offer.offer_id for candidate in plan.candidates]


def plan(offers: list[Offer], request: Request = L40, **more: object) -> Plan:
    return judge(offers, request, load("cheapest"), now=NOW, **more)  # type: ignore[arg-type]


def test_ties_break_by_reliability_then_boot_time_then_id(make: Make) -> None:
    offers = [
        make(offer_id="d", reliability=0.9),
        make(offer_id="c", reliability=None),
        make(offer_id="b", reliability=0.99, boot_s=0.0),
        make(offer_id="a", reliability=0.99, boot_s=0.0),
    ]
    assert ids(plan(offers)) == ["a", "b", "d", "c"]
    prepaid = {"pricing": "prepaid", "usd_per_hour": Decimal(0)}
    boots = [make(offer_id=str(n), boot_s=boot, **prepaid) for n, boot in enumerate((None, 9.0, 5.0))]
    assert ids(plan(boots)) == ["2", "1", "0"]


def test_amounts_that_floats_cannot_tell_apart_are_ranked_exactly(make: Make) -> None:
    dear = make(offer_id="a", usd_per_hour=Decimal("0.800000000000000000001"))
    cheap = make(offer_id="b", usd_per_hour=Decimal("0.80"))
    assert float(dear.usd_per_hour or 0) == float(cheap.usd_per_hour or 0)
    assert ids(plan([dear, cheap])) == ["b", "a"]


def test_a_place_that_had_no_capacity_ranks_last_and_says_so(make: Make) -> None:
    cheap = make(offer_id="cheap", usd_per_hour=Decimal("0.5"), region="us")
    dear = make(offer_id="dear")
    found = plan([cheap, dear], holds=[Hold(provider="runpod", region="us", until=LATER, drops=False)])
    assert ids(found) == ["dear", "cheap"]
    assert [candidate.flags for candidate in found.candidates] == [(), ("held",)]
    assert [candidate.rank for candidate in found.candidates] == [1, 2]


def test_held_offers_keep_their_order_among_themselves(make: Make) -> None:
    offers = [make(offer_id=name, usd_per_hour=Decimal(price)) for name, price in (("b", 2), ("a", 3), ("c", 1))]
    assert ids(plan(offers, holds=[Hold(until=LATER, drops=False)])) == ["c", "b", "a"]


def test_a_hold_reaches_as_far_as_the_fields_it_names(make: Make) -> None:
    offer = make()
    fields = ("provider", "account", "region", "zone", "instance_type", "host_id", "offer_id", "gpu")
    for field in fields:
        inside = Hold(until=LATER, drops=True, **{field: getattr(offer, field)})
        outside = Hold(until=LATER, drops=True, **{field: "elsewhere"})
        assert [drop.reason for drop in plan([offer], holds=[inside]).dropped] == ["set_aside"]
        assert ids(plan([offer], holds=[outside])) == ["plain"]
    both = Hold(provider="runpod", region="elsewhere", until=LATER, drops=True)
    assert ids(plan([offer], holds=[both])) == ["plain"]


def test_a_hold_that_is_over_is_forgotten(make: Make) -> None:
    assert ids(plan([make()], holds=[Hold(until=NOW, drops=True)])) == ["plain"]


def test_of_several_holds_the_one_that_drops_counts_then_the_longest(make: Make) -> None:
    holds = [
        Hold(provider="runpod", until=LATER, drops=True, why="short"),
        Hold(provider="runpod", until=LATER + timedelta(hours=1), drops=True, why="long"),
        Hold(host_id="host-1", until=LATER + timedelta(hours=2), drops=False, why="soft"),
    ]
    for order in (holds, holds[::-1]):
        [drop] = plan([make()], holds=order).dropped
        assert drop.detail.startswith("long; until ")


def test_an_account_without_money_still_offers_what_is_cheaper(make: Make) -> None:
    offers = [make(offer_id="cheap", usd_per_hour=Decimal("0.5")), make(offer_id="dear")]
    hold = Hold(account="acct-1", until=LATER, drops=True, min_usd_per_hour=Decimal("0.80"))
    found = plan(offers, holds=[hold])
    assert ids(found) == ["cheap"]
    assert [drop.offer.offer_id for drop in found.dropped] == ["dear"]


def test_a_candidate_says_how_many_replicas_it_is_known_to_have(make: Make) -> None:
    request = Request(gpu=("l40",), replicas=4)
    offers = [make(offer_id=str(count), available_count=count) for count in (1, 4, 9, None)]
    found = {c.offer.offer_id: (c.replicas, c.cost.compute_usd) for c in plan(offers, request).candidates}
    whole = Decimal("0.80") * 24 * 4
    assert found == {"1": (1, whole), "4": (4, whole), "9": (4, whole), "None": (4, whole)}


def test_a_bad_place_becomes_dearer(make: Make) -> None:
    offers = [
        make(offer_id="bad", usd_per_hour=Decimal("0.79"), boot_s=3600.0),
        make(offer_id="good", usd_per_hour=Decimal("0.80"), boot_s=3600.0),
    ]
    found = plan(offers, success_rate=lambda offer: 0.5 if offer.offer_id == "bad" else 1.0)
    assert ids(found) == ["good", "bad"]


def test_a_python_policy_may_bring_its_own_score(make: Make) -> None:
    offers = [make(offer_id=str(n), vcpus=float(n), usd_per_hour=Decimal(n)) for n in (1, 2, 3)]
    policy = Policy(name="most-cores", score=lambda offer, cost: -(offer.vcpus or 0))
    assert ids(judge(offers, L40, policy, now=NOW)) == ["3", "2", "1"]


def test_the_document_has_the_fixed_shape(make: Make) -> None:
    source = SourceState(provider="runpod", account="acct-1", state="ok", offers=2, observed_at=NOW)
    found = plan([make(boot_s=30.0), make(offer_id="x", gpu="h100-sxm")], sources=[source])
    document = found.to_dict()
    assert list(document) == ["request", "policy", "made_at", "candidates", "dropped", "sources"]
    [candidate] = document["candidates"]
    assert list(candidate) == ["rank", "offer", "replicas", "flags", "cost"]
    assert list(candidate["cost"]) == [
        "compute_usd",
        "egress_usd",
        "ingress_usd",
        "storage_usd",
        "address_usd",
        "boot_usd",
        "risk_usd",
        "failed_boot_usd",
        "total_usd",
    ]
    assert candidate["offer"]["offer_id"] == "plain"
    assert (candidate["rank"], candidate["replicas"], candidate["flags"]) == (1, 1, [])
    [dropped] = document["dropped"]
    assert list(dropped) == ["offer", "reason", "detail"]
    assert (dropped["reason"], dropped["detail"]) == ("wrong_gpu", "h100-sxm is not l40")
    assert list(document["sources"][0]) == ["provider", "account", "state", "offers", "observed_at", "error", "note"]
    assert document["made_at"] == "2026-11-22T14:43:00Z"
    assert document["request"]["gpu"] == ["l40"]
    assert document == msgspec.json.decode(found.to_json())


def test_money_is_written_as_plain_decimal_strings(make: Make) -> None:
    tiny = plan([make(boot_s=0.000001, usd_per_hour=Decimal("0.0051"), interruptions_per_hour=1e-9)])
    cost = tiny.to_dict()["candidates"][0]["cost"]
    assert all(isinstance(amount, str) and "E" not in amount for amount in cost.values())
    assert cost["egress_usd"] == "0"
    assert Decimal(cost["risk_usd"]) == tiny.candidates[0].cost.risk_usd > 0


def test_a_plan_survives_json(make: Make) -> None:
    found = plan([make(), make(offer_id="x", gpu="a10"), make(offer_id="y", available=False)])
    again = Plan.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    assert again.candidates == found.candidates
    assert [drop.detail for drop in again.dropped] == [drop.detail for drop in found.dropped]


def test_dropped_offers_are_counted_and_sorted_by_id(make: Make) -> None:
    offers = [make(offer_id=name, gpu="a10") for name in "cab"] + [make(offer_id="aa", available=False)]
    dropped = plan(offers).dropped
    assert len(dropped) == 4
    assert [drop.offer.offer_id for drop in dropped] == ["a", "aa", "b", "c"]
    assert dropped.counts() == {"wrong_gpu": 3, "sold_out": 1}  # type: ignore[attr-defined]
    assert dropped[-1].offer.offer_id == "c"
    assert len(dropped[1:3]) == 2


def test_an_empty_market_gives_an_empty_plan() -> None:
    found = plan([])
    assert found.candidates == ()
    assert len(found.dropped) == 0
    assert found.to_dict()["dropped"] == []


def test_a_query_asks_for_what_the_policy_allows() -> None:
    request = Request.of(gpu="l40", country="de,us", hours=2, disk=80, count=2)
    query = query_for(request, load("eu-compliant"))
    assert (query.gpus, query.count, query.countries) == (("l40",), 2, ("DE",))
    assert (query.disk_gib, query.min_duration_s, query.egress_free) == (80, 7200, False)
    assert query.pricing == ("on-demand", "prepaid", "reserved")
    assert query_for(Request.of(gpu="l40"), load("cheapest-zero-egress")).egress_free
    assert "spot" in query_for(Request.of(gpu="l40"), load("cheapest-spot")).pricing
    assert query_for(Request.of(gpu="l40", require=["egress_free=true"]), load("cheapest")).egress_free
