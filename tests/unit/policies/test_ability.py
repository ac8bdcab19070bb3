"""What a kind of machine cannot do drops it, and says which option is to blame."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from policies.judge import judge
from policies.policy import load
from policies.request import Request
from providers.base import EgressTier, Offer

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LACKING = {("fluence", "vm"): frozenset({"cmd", "env"}), ("lambda", "vm"): frozenset({"ports"})}


def offer(provider: str, kind: Any, **more: Any) -> Offer:
    base: dict[str, Any] = {
        "offer_id": f"{provider}-{kind}",
        "provider": provider,
        "gpu": "l40",
        "workloads": (kind,),
        "usd_per_hour": Decimal(1),
        "egress": (EgressTier(),),
    }
    return Offer(**base | more)


MARKET = [offer("fluence", "vm"), offer("fluence", "container"), offer("lambda", "vm")]


def kept(**options: Any) -> tuple[list[str], dict[str, str]]:
    """Ids that stay, and why the others do not."""
    plan = judge(MARKET, Request.of(gpu="l40", **options), load("cheapest"), now=NOW, lacking=LACKING)
    assert {drop.reason for drop in plan.dropped} <= {"workload_not_supported"}
    return [one.offer.offer_id for one in plan.candidates], {drop.offer.offer_id: drop.detail for drop in plan.dropped}


def test_a_command_or_environment_leaves_out_what_takes_none() -> None:
    ids, why = kept(cmd="train", env={"A": "1"})
    assert sorted(ids) == ["fluence-container", "lambda-vm"]
    assert why["fluence-vm"] == "a vm of fluence takes no --cmd and --env"


def test_a_command_does_not_ask_for_a_container() -> None:
    assert "lambda-vm" in kept(cmd="train", workload="vm")[0]


def test_ports_leave_out_who_opens_none() -> None:
    ids, why = kept(port=("8080/http",))
    assert "lambda-vm" not in ids
    assert why["lambda-vm"] == "a vm of lambda takes no --port"


def test_an_image_is_for_containers_and_the_reason_says_so() -> None:
    ids, why = kept(image="a/b")
    assert ids == ["fluence-container"]
    assert why["lambda-vm"] == "vm, not container"


def test_without_such_wishes_nobody_is_left_out() -> None:
    assert len(kept()[0]) == 3


def test_an_offer_that_a_quota_forbids_is_not_called_out_of_stock() -> None:
    barred = offer("azure", "vm", available=False, native={"unavailable": "quota NCADS is 0 in eastus"})
    plan = judge([barred], Request.of(gpu="l40"), load("cheapest"), now=NOW)
    [drop] = plan.dropped
    assert (drop.reason, drop.detail) == ("sold_out", "quota NCADS is 0 in eastus")


def test_prepaid_is_flagged() -> None:
    idle = offer("coreweave", "container", usd_per_hour=Decimal(0), pricing="prepaid")
    [candidate] = judge([idle], Request.of(gpu="l40"), load("cheapest"), now=NOW).candidates
    assert "prepaid" in candidate.flags
