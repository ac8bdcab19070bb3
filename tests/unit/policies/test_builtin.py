"""Every built-in policy on a small market: two RunPod tiers, Fluence, a hyperscaler, and Vast hosts."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from policies.judge import judge
from policies.plan import Plan
from policies.policy import load, read_policy, tighten
from policies.request import Request
from providers.base import Billing, EgressTier, Offer
from providers.gpus import GPUS

NOW = datetime(2026, 11, 22, 14, 43, tzinfo=UTC)
FREE = (EgressTier(),)
HYPERSCALER = (
    EgressTier(up_to_gb=Decimal(100)),
    EgressTier(up_to_gb=Decimal(10_240), usd_per_gb=Decimal("0.09")),
    EgressTier(usd_per_gb=Decimal("0.085")),
)


def offer(offer_id: str, provider: str, gpu: str, usd: str, **fields: Any) -> Offer:
    common = {"disk_gib": 100.0, "observed_at": NOW, "available": True, "boot_s": 60.0}
    return Offer(offer_id=offer_id, provider=provider, gpu=gpu, usd_per_hour=Decimal(usd), **{**common, **fields})


def vast(offer_id: str, usd: str, egress: str | None, **fields: Any) -> Offer:
    tiers = None if egress is None else (EgressTier(usd_per_gb=Decimal(egress)),)
    return offer(
        offer_id,
        "vast",
        "l40",
        usd,
        **{
            "market": "marketplace-community",
            "workloads": ("container",),
            "egress": tiers,
            "egress_evidence": "api" if tiers else None,
            "reliability": 0.96,
            "country": "DE",
            "disk_gib": 0.0,
            "storage_usd_per_gib_month": Decimal("0.15"),
            "boot_s": 45.0,
            **fields,
        },
    )


MARKET = [
    offer(
        "runpod-community",
        "runpod",
        "l40",
        "0.69",
        market="marketplace-community",
        workloads=("container",),
        egress=FREE,
        egress_evidence="contract",
        reliability=0.95,
        country="CA",
        boot_s=90.0,
    ),
    offer(
        "runpod-secure",
        "runpod",
        "l40",
        "0.82",
        market="marketplace-secure",
        workloads=("container",),
        egress=FREE,
        egress_evidence="contract",
        reliability=0.98,
        country="NL",
        compliance=("gdpr", "soc2"),
        compliance_evidence="contract",
        boot_s=80.0,
    ),
    offer(
        "fluence-vm",
        "fluence",
        "l40",
        "0.76",
        market="decentralized",
        workloads=("vm",),
        egress=FREE,
        egress_evidence="claim",
        reliability=0.97,
        country="US",
        billing=Billing(increment_s=3600, aligned_to="clock"),
        deposit_usd=Decimal("2.28"),
        boot_s=150.0,
    ),
    offer(
        "aws-g6e",
        "aws",
        "l40s",
        "1.861",
        market="hyperscaler",
        workloads=("vm",),
        egress=HYPERSCALER,
        egress_evidence="contract",
        reliability=0.995,
        country="DE",
        compliance=("gdpr", "soc2", "iso27001", "hipaa"),
        boot_s=70.0,
        disk_gib=0.0,
        storage_usd_per_gib_month=Decimal("0.08"),
        address_usd_per_hour=Decimal("0.005"),
    ),
    offer(
        "aws-g6e-spot",
        "aws",
        "l40s",
        "0.55",
        market="hyperscaler",
        pricing="spot",
        workloads=("vm",),
        egress=HYPERSCALER,
        egress_evidence="contract",
        reliability=0.995,
        country="DE",
        interruptions_per_hour=0.05,
        boot_s=70.0,
    ),
    vast("vast-free", "0.60", "0"),
    vast("vast-paid", "0.50", "0.02"),
    vast("vast-unknown", "0.45", None),
]


def judged(policy: str, gpu: str = "l40", **options: object) -> Plan:
    return judge(MARKET, Request.of(gpu=gpu, **options), load(policy), now=NOW)


def ranking(policy: str, gpu: str = "l40", **options: object) -> list[str]:
    return [candidate.offer.offer_id for candidate in judged(policy, gpu, **options).candidates]


def reasons(policy: str, gpu: str = "l40", **options: object) -> dict[str, str]:
    return {drop.offer.offer_id: drop.reason for drop in judged(policy, gpu, **options).dropped}


def test_cheapest_without_egress_goes_by_rent_and_disk() -> None:
    assert ranking("cheapest") == [
        "vast-unknown",
        "vast-paid",
        "vast-free",
        "runpod-community",
        "fluence-vm",
        "runpod-secure",
    ]


def test_cheapest_with_much_egress_counts_it_and_fears_the_unknown() -> None:
    order = ranking("cheapest", egress="1TB")
    assert order[:4] == ["vast-free", "runpod-community", "fluence-vm", "runpod-secure"]
    assert order[4:] == ["vast-paid", "vast-unknown"]


def test_cheapest_takes_no_spot_and_only_the_model_asked_for() -> None:
    dropped = reasons("cheapest", gpu="l40,l40s")
    assert dropped == {"aws-g6e-spot": "pricing_not_allowed"}
    assert reasons("cheapest")["aws-g6e"] == "wrong_gpu"


def test_cheapest_zero_egress_keeps_what_never_charges_whatever_the_volume() -> None:
    for egress in ("0", "50GB", "10TB"):
        kept = ranking("cheapest-zero-egress", gpu="l40,l40s", egress=egress)
        assert kept == ["vast-free", "runpod-community", "fluence-vm", "runpod-secure"]
    dropped = reasons("cheapest-zero-egress", gpu="l40,l40s")
    assert dropped["aws-g6e"] == dropped["vast-paid"] == "egress_not_free"
    assert dropped["vast-unknown"] == "egress_unknown"


def test_zero_egress_by_contract_leaves_claims_out() -> None:
    policy = tighten(load("cheapest-zero-egress"), ["evidence=contract"])
    plan = judge(MARKET, Request.of(gpu="l40"), policy, now=NOW)
    assert "fluence-vm" not in [candidate.offer.offer_id for candidate in plan.candidates]
    assert len(plan.candidates) == 3


def test_two_clock_hours_make_fluence_lose_a_short_job() -> None:
    # 14:43 to 15:10: Fluence bills two hours, RunPod 27 minutes.
    plan = judged("cheapest-zero-egress", hours="27m")
    costs = {candidate.offer.offer_id: candidate.cost.total_usd for candidate in plan.candidates}
    assert costs["fluence-vm"] == Decimal("1.52")
    assert ranking("cheapest-zero-egress", hours="27m")[-1] == "fluence-vm"


def test_cheapest_spot_weighs_spot_with_its_losses() -> None:
    order = ranking("cheapest-spot", gpu="l40s")
    assert order == ["aws-g6e-spot", "aws-g6e"]
    [spot, _] = judged("cheapest-spot", gpu="l40s").candidates
    assert spot.cost.risk_usd == Decimal("0.55") * Decimal("0.05") * 24 * 970 / 3600
    assert ranking("cheapest-spot", gpu="l40s", hours="2h", egress="0", checkpoint="30d") == ["aws-g6e", "aws-g6e-spot"]


def test_reliable_wants_98_percent_and_no_community() -> None:
    assert ranking("reliable") == ["runpod-secure"]
    dropped = reasons("reliable")
    assert dropped["fluence-vm"] == "reliability_too_low"
    secure_but_community = vast("x", "0.5", "0", reliability=0.999)
    plan = judge([secure_but_community], Request.of(gpu="l40"), load("reliable"), now=NOW)
    assert plan.dropped[0].reason == "market_not_allowed"


def test_balanced_wants_97_percent_and_no_community() -> None:
    assert ranking("balanced") == ["fluence-vm", "runpod-secure"]


def test_eu_compliant_wants_an_eu_country_and_gdpr() -> None:
    assert ranking("eu-compliant", gpu="l40,l40s") == ["runpod-secure", "aws-g6e"]
    dropped = reasons("eu-compliant")
    assert dropped["fluence-vm"] == dropped["runpod-community"] == "country_not_allowed"
    assert dropped["vast-free"] == "compliance_missing"


def test_best_value_goes_by_money_per_tflop_hour() -> None:
    [first, *_] = judged("best-value", gpu="l40,l40s").candidates
    values = {
        candidate.offer.offer_id: candidate.cost.total_usd / 24 / Decimal(str(GPUS[candidate.offer.gpu].fp16_tflops))
        for candidate in judged("best-value", gpu="l40,l40s").candidates
    }
    assert first.offer.offer_id == min(values, key=values.__getitem__)
    assert list(values) == sorted(values, key=values.__getitem__)
    # A machine with twice the GPUs at less than twice the price is better value, and not cheaper.
    double = offer("double", "aws", "l40s", "3.00", gpu_count=2, egress=FREE, boot_s=0.0)
    single = offer("single", "aws", "l40s", "1.60", egress=FREE, boot_s=0.0)
    request = Request.of(gpu="l40s")
    for policy, best in (("best-value", "double"), ("cheapest", "single")):
        assert judge([double, single], request, load(policy), now=NOW).candidates[0].offer.offer_id == best


def test_fastest_goes_by_boot_time() -> None:
    assert ranking("fastest") == [
        "vast-free",
        "vast-paid",
        "vast-unknown",
        "runpod-secure",
        "runpod-community",
        "fluence-vm",
    ]


@pytest.mark.parametrize(
    ("objective", "order"),
    [
        ("hourly-price", ["vast-unknown", "vast-paid", "vast-free", "runpod-community", "fluence-vm", "runpod-secure"]),
        (
            "interruptions",
            ["runpod-secure", "fluence-vm", "vast-free", "vast-paid", "vast-unknown", "runpod-community"],
        ),
    ],
)
def test_other_objectives_order_by_what_they_say(objective: str, order: list[str]) -> None:
    policy = read_policy(f"[minimize]\nobjective = '{objective}'\n", "p.toml")
    plan = judge(MARKET, Request.of(gpu="l40", egress="1TB"), policy, now=NOW)
    assert [candidate.offer.offer_id for candidate in plan.candidates] == order


def test_bandwidth_is_weighed_as_value_is() -> None:
    policy = read_policy("[minimize]\nobjective = 'usd-per-bandwidth'\n", "p.toml")
    a = offer("a", "x", "h100-sxm", "2.0", egress=FREE)
    b = offer("b", "x", "l40", "0.6", egress=FREE)
    assert GPUS["h100-sxm"].bandwidth_gb_s / 2.0 > GPUS["l40"].bandwidth_gb_s / 0.6
    plan = judge([b, a], Request.of(gpu="h100-sxm,l40"), policy, now=NOW)
    assert [candidate.offer.offer_id for candidate in plan.candidates] == ["a", "b"]
