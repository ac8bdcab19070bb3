"""Account, offers, price, and one whole life of a machine at each configured provider. The package says how to run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from orchestrator.core import Orchestrator
from orchestrator.machine import Machine
from orchestrator.models import Lease
from policies.plan import Plan
from policies.request import Request
from providers.base import Instance, Offer, Provider, Query
from providers.gpus import GPUS
from tests.live.budget import VARIABLE, affordable, cap_usd, outlay_usd

pytestmark = [pytest.mark.live, pytest.mark.enable_socket, pytest.mark.xdist_group("live")]

NVIDIA = tuple(sorted(model for model, gpu in GPUS.items() if gpu.vendor == "nvidia"))
TTL_S = 3600.0


async def test_the_credentials_open_an_account_that_keeps_its_name(orch: Orchestrator, name: str) -> None:
    [row] = await orch.check([name])
    assert row["ok"], row
    provider = orch.engine.providers[name]
    account = await provider.account()
    assert account
    assert await provider.account() == account


async def test_offers_have_prices_that_can_be_meant(orch: Orchestrator, name: str) -> None:
    offers = await _offers(orch)
    account = await orch.engine.providers[name].account()
    assert {(offer.provider, offer.account) for offer in offers} == {(name, account)}
    # Idle GPUs of a node that is paid for already cost nothing more.
    paid = [offer for offer in offers if offer.pricing != "prepaid"]
    priced = [offer.usd_per_hour for offer in paid if offer.usd_per_hour is not None]
    assert priced or not paid
    assert all(Decimal("0.005") < price < 1000 for price in priced)
    assert any(offer.gpu in GPUS for offer in offers), {offer.gpu for offer in offers}


async def test_a_listed_offer_can_be_quoted_again_at_its_price(orch: Orchestrator, name: str) -> None:
    provider = orch.engine.providers[name]
    listed = _cheapest(await _offers(orch))[:5]
    quotes = [await provider.price(offer) for offer in listed]
    pairs = [(offer, quote) for offer, quote in zip(listed, quotes, strict=True) if quote is not None]
    assert pairs, "none of the five cheapest offers could be quoted"
    for offer, quote in pairs:
        assert (quote.offer_id, quote.gpu, quote.gpu_count) == (offer.offer_id, offer.gpu, offer.gpu_count)
    assert any(quote.usd_per_hour == offer.usd_per_hour for offer, quote in pairs)


async def test_the_cheapest_machine_runs_answers_and_ends_with_nothing_left(
    orch: Orchestrator, name: str, tmp_path: Path
) -> None:
    cap = cap_usd(os.environ)
    provider = orch.engine.providers[name]
    wish = _wish(name, provider, cap, tmp_path)
    plan = _within(await orch.plan(wish), cap)
    try:
        [lease] = await orch.up(wish, plan=plan)
        assert lease.state == "running"
        machine = Machine(lease, (await orch.remote(lease.id)).target)
        listed = (await machine.run("nvidia-smi -L", timeout_s=60)).stdout
        assert listed.count("GPU ") >= plan.candidates[0].offer.gpu_count, listed
    finally:
        ended = await orch.down(*await orch.leases())
        await orch.gc(delete=True)
    _check_receipt(ended, cap)
    assert await _still_owned(orch, provider) == []


def _wish(name: str, provider: Provider, cap: Decimal, folder: Path) -> Request:
    """Any NVIDIA machine for an hour; one that never comes up may cost the cap and no more."""
    policy = folder / "live.toml"
    policy.write_text(
        f'extends = ["cheapest"]\n\n[failover]\ndeadline_s = 1800\nmax_spend_usd = {cap:f}\n', encoding="utf-8"
    )
    ttl_s = TTL_S if provider.facts.dead_man else None
    return Request(gpu=NVIDIA, provider=(name,), hours=1.0, policy=str(policy), ttl_s=ttl_s)


def _within(plan: Plan, cap: Decimal) -> Plan:
    """The plan, with what is under the cap alone; the test is skipped if nothing is."""
    chosen = affordable(plan.candidates, cap)
    if not chosen:
        if not plan.candidates:
            pytest.skip("nothing is for rent there now")
        least = min(outlay_usd(candidate) for candidate in plan.candidates)
        pytest.skip(f"the cheapest of {len(plan.candidates)} offers needs {least:.2f} USD, {VARIABLE} allows {cap}")
    return msgspec.structs.replace(plan, candidates=tuple(chosen))


def _check_receipt(ended: Sequence[Lease], cap: Decimal) -> None:
    [lease] = ended
    assert lease.state == "ended"
    assert lease.receipt is not None
    assert lease.receipt.answer == "gone"
    assert lease.receipt.cost_usd is not None
    assert 0 < lease.receipt.cost_usd <= cap


async def _offers(orch: Orchestrator) -> list[Offer]:
    market = await orch.offers(Query())
    assert market.errors == {}
    assert market.offers, market.notes
    return market.offers


def _cheapest(offers: Sequence[Offer]) -> list[Offer]:
    found = [offer for offer in offers if offer.available is not False and offer.usd_per_hour is not None]
    return sorted(found, key=lambda offer: (offer.usd_per_hour or Decimal(0), offer.offer_id))


async def _still_owned(orch: Orchestrator, provider: Provider) -> list[Instance]:
    """What carries our mark once listings had the time to catch up."""
    until = orch.env.monotonic() + provider.facts.consistency_s
    while (owned := await provider.owned()) and orch.env.monotonic() < until:
        await orch.env.sleep(5.0)
    return owned
