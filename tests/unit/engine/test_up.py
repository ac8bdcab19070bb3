"""`up` and `down` on the cloud in memory: failover by the error table, receipts, cancel, resume."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from orchestrator.errors import (
    BudgetExceeded,
    ConfigError,
    Interrupted,
    LaunchFailed,
    NoOffer,
    NoSuchLease,
    OutcomeUnclear,
    UsageError,
)
from orchestrator.models import Event
from providers import naming
from tests.unit.engine.conftest import House


async def test_the_cheapest_machine_runs_and_ends_with_a_receipt(house: House) -> None:
    async with house.orch() as orch:
        [lease] = await orch.up(house.request(name="one"), on_event=house.events.append)
        assert (lease.state, lease.name, lease.provider) == ("running", "one", "fake")
        assert len(house.billing()) == 1
        assert [attempt.state for attempt in lease.attempts] == ["live"]
        assert lease.promised_total_usd is not None
        house.env.advance(3600)
        [ended] = await orch.down("one")
    assert ended.state == "ended"
    assert ended.receipt is not None
    assert ended.receipt.answer == "gone"
    assert "looked up" in ended.receipt.evidence
    assert ended.receipt.cost_usd is not None
    assert ended.receipt.cost_usd > 0
    assert house.billing() == []
    for kind in ("lease-created", "quoted", "launching", "accepted", "running"):
        assert kind in house.kinds()


async def test_the_intent_is_saved_before_the_provider_is_asked(house: House) -> None:
    house.cloud.faults.add("lost", verb="launch")
    async with house.orch() as orch:
        [lease] = await orch.up(house.request(), on_event=house.events.append)
    kinds = house.kinds()
    assert kinds.index("launching") < kinds.index("looking") < kinds.index("accepted")
    assert len(lease.attempts) == 1
    assert len(house.billing()) == 1


@pytest.mark.parametrize("kind", ["sold_out", "gone", "unknown_code", "fail_after_accept"])
async def test_a_failed_offer_is_followed_by_the_next_one(house: House, kind: str) -> None:
    async with house.orch() as orch:
        plan = await orch.plan(house.request())
        first = plan.candidates[0].offer
        house.cloud.faults.add(kind, subject=first.offer_id, times=-1)
        [lease] = await orch.up(house.request(), plan=plan, on_event=house.events.append)
        assert lease.state == "running"
        assert lease.attempts[-1].offer.offer_id != first.offer_id
        assert len(house.billing()) == 1
        await orch.down(lease.id)
    assert house.billing() == []
    assert "attempt-failed" in house.kinds()


async def test_a_dearer_quote_is_refused_and_the_next_offer_taken(house: House) -> None:
    async with house.orch() as orch:
        plan = await orch.plan(house.request())
        first = plan.candidates[0].offer
        house.cloud.faults.add("price_changed", subject=first.offer_id, factor=3)
        [lease] = await orch.up(house.request(), plan=plan, on_event=house.events.append)
    assert lease.attempts[-1].offer.offer_id != first.offer_id
    failed = [event for event in house.events if event.kind == "attempt-failed"]
    assert failed[0].data["type"] == "PriceChanged"


async def test_a_rate_limit_is_waited_out_and_is_no_failure(house: House) -> None:
    house.cloud.faults.add("rate_limit", verb="launch", retry_after=11)
    async with house.orch() as orch:
        [lease] = await orch.up(house.request(), on_event=house.events.append)
    assert len(lease.attempts) == 1
    assert "rate-limited" in house.kinds()
    assert 11 in house.env.slept


async def test_all_sold_out_ends_in_one_error_with_every_attempt_and_nothing_bills(house: House) -> None:
    house.cloud.faults.add("sold_out", times=-1)
    async with house.orch() as orch:
        with pytest.raises(LaunchFailed) as caught:
            await orch.up(house.request())
        assert caught.value.exit_code == 4
        [lease] = caught.value.leases
        assert lease.state == "failed"
        assert len(lease.attempts) >= 2
        assert {attempt.error.type for attempt in lease.attempts if attempt.error} == {"NoCapacity"}
        assert await orch.leases() == []
    assert house.billing() == []


async def test_what_a_failed_call_left_is_ended_before_the_attempt_closes(house: House) -> None:
    house.cloud.faults.add("left", times=1)
    async with house.orch() as orch:
        [lease] = await orch.up(house.request())
        assert lease.state == "running"
        assert len(house.billing()) == 1
        assert {attempt.state for attempt in lease.attempts[:-1]} <= {"closed"}
        assert await orch.store.debris() == []


async def test_failed_places_are_remembered_across_commands(house: House) -> None:
    async with house.orch() as orch:
        first = (await orch.plan(house.request())).candidates[0].offer
        house.cloud.faults.add("sold_out", subject=first.offer_id, times=1)
        await orch.up(house.request(name="a"))
    async with house.orch() as orch:
        again = await orch.plan(house.request())
        assert again.candidates[0].offer.offer_id != first.offer_id
        held = next(c for c in again.candidates if c.offer.offer_id == first.offer_id)
        assert "held" in held.flags
        house.env.advance(3600)
        later = await orch.plan(house.request())
        assert later.candidates[0].offer.offer_id == first.offer_id


async def test_no_offer_says_why(house: House) -> None:
    async with house.orch() as orch:
        with pytest.raises(NoOffer) as caught:
            await orch.up(house.request(gpu="mi300x"))
        with pytest.raises(NoOffer) as strict:
            await orch.up(house.request(require="max_usd_per_hour=0.01"))
    assert caught.value.exit_code == 3
    assert "price_too_high" in (strict.value.hint or "")


async def test_a_budget_below_the_cheapest_total_is_refused_before_anything_is_made(house: House) -> None:
    async with house.orch() as orch:
        with pytest.raises(BudgetExceeded) as caught:
            await orch.up(house.request(budget="0.5"))
        assert caught.value.exit_code == 7
        assert await orch.leases(everything=True) == []


async def test_options_without_an_enforcer_are_refused(house: House) -> None:
    async with house.orch() as orch:
        for options in ({"idle": "10m"}, {"keep": True}):
            with pytest.raises(UsageError):
                await orch.up(house.request(**options))


async def test_a_wrong_key_is_a_configuration_error(house: House) -> None:
    house.cloud.faults.add("bad_key", times=-1)
    async with house.orch() as orch:
        with pytest.raises(ConfigError) as caught:
            await orch.plan(house.request())
    assert caught.value.exit_code == 5


async def test_a_provider_that_is_down_is_not_an_empty_market(house: House) -> None:
    house.cloud.faults.add("down", times=-1)
    async with house.orch() as orch:
        with pytest.raises(LaunchFailed):
            await orch.plan(house.request())


async def test_the_last_good_answer_stands_in_for_a_provider_that_is_down(house: House) -> None:
    async with house.orch() as orch:
        await orch.plan(house.request())
        house.cloud.faults.add("down", times=-1)
        house.env.advance(60)
        plan = await orch.plan(house.request())
        assert plan.sources[0].state == "stale"
        assert plan.candidates
        house.env.advance(3600)
        with pytest.raises(LaunchFailed):
            await orch.plan(house.request())


async def test_replicas_get_one_machine_each(house: House) -> None:
    async with house.orch() as orch:
        leases = await orch.up(house.request(replicas=3, name="trio"))
        assert [lease.name for lease in leases] == ["trio-1", "trio-2", "trio-3"]
        assert len(house.billing()) == 3
        await orch.down(everything=True)
    assert house.billing() == []


async def test_names_are_unique_among_open_leases(house: House) -> None:
    async with house.orch() as orch:
        await orch.up(house.request(name="same"))
        with pytest.raises(ConfigError):
            await orch.up(house.request(name="same"))
        assert len(house.billing()) == 1
        await orch.down("same")
        await orch.up(house.request(name="same"))
        assert len(await orch.leases()) == 1


async def test_down_of_an_unknown_lease_is_an_error_of_its_own(house: House) -> None:
    async with house.orch() as orch:
        with pytest.raises(NoSuchLease) as caught:
            await orch.down("nobody")
    assert caught.value.exit_code == 6


async def test_an_end_that_is_ignored_is_never_reported_as_done(house: House) -> None:
    async with house.orch() as orch:
        [lease] = await orch.up(house.request(name="stuck"))
        house.cloud.faults.add("ignore_terminate", times=-1)
        with pytest.raises(OutcomeUnclear) as caught:
            await orch.down("stuck")
        assert caught.value.exit_code == 8
        [still] = await orch.leases()
        assert still.state == "ending"
        assert len(house.billing()) == 1
        house.cloud.faults.clear()
        await orch.resume()
        assert (await orch.lease(lease.id)).state == "ended"
    assert house.billing() == []


async def test_a_provider_that_is_down_never_makes_an_end(house: House) -> None:
    async with house.orch() as orch:
        await orch.up(house.request(name="far"))
        house.cloud.faults.add("down", times=-1)
        with pytest.raises(OutcomeUnclear):
            await orch.down("far")
        house.cloud.faults.clear()
        [lease] = await orch.down("far")
        assert lease.state == "ended"
    assert house.billing() == []


async def test_another_accounts_empty_listing_is_no_proof_of_an_end(house: House) -> None:
    async with house.orch() as orch:
        await orch.up(house.request(name="mine"))
        house.cloud.faults.add("other_account", times=-1)
        with pytest.raises(OutcomeUnclear):
            await orch.down("mine")
        house.cloud.faults.clear()
        await orch.down("mine")
    assert house.billing() == []


async def test_cancel_during_up_ends_what_was_begun(house: House) -> None:
    async with house.orch() as orch:
        house.cloud.faults.add("boot_stuck", times=-1)
        accepted = asyncio.Event()

        def listen(event: Event) -> None:
            if event.kind == "accepted":
                accepted.set()

        task = asyncio.create_task(orch.up(house.request(), on_event=listen))
        await accepted.wait()
        task.cancel()
        with pytest.raises(Interrupted) as caught:
            await task
        assert caught.value.exit_code == 130
        [lease] = caught.value.leases
        assert lease.state == "ended"
    assert house.billing() == []


async def test_a_late_machine_of_an_unknown_outcome_is_ended_on_sight(house: House) -> None:
    async with house.orch() as orch:
        window = orch.engine.provider("fake").facts.consistency_s
        house.cloud.faults.add("list_lag", seconds=window * 20)
        house.cloud.faults.add("lost", verb="launch")
        [lease] = await orch.up(house.request())
        assert lease.attempts[0].outcome == "OutcomeUnknown"
        assert len(house.billing()) == 2
        house.env.advance(window * 30)
        await orch.resume()
        assert len(house.billing()) == 1
        await orch.down(lease.id)
    assert house.billing() == []


async def test_gc_reports_a_stray_and_ends_it_only_when_told(house: House) -> None:
    async with house.orch() as orch:
        await orch.up(house.request(name="kept"))
        stray = house.cloud.plant(naming.make(orch.engine.owner, "straybbbb", 7), owner=orch.engine.owner)
        house.cloud.plant("somebody-elses")
        house.env.advance(600)
        [found] = await orch.gc()
        assert (found.instance_id, found.ended) == (stray, False)
        assert len(house.billing()) == 3
        [ended] = await orch.gc(delete=True)
        assert ended.ended
        assert len(house.billing()) == 2
        assert await orch.gc() == []


async def test_spend_follows_the_ledger(house: House) -> None:
    async with house.orch() as orch:
        await orch.up(house.request(name="paid"))
        house.env.advance(7200)
        [lease] = await orch.down("paid")
    assert lease.receipt is not None
    assert lease.receipt.cost_usd is not None
    bill = sum((Decimal(row["usd"]) for row in house.cloud.ledger.bill(house.env.now())), Decimal(0))
    # The plan's assumption for the image that a container pulls is in our sum; the fake cloud pulls none.
    assumed = 10 * (lease.attempts[-1].offer.ingress_usd_per_gb or Decimal(0))
    assert abs(lease.receipt.cost_usd - assumed - bill) < Decimal("0.05")


async def test_wait_reads_the_market_again_until_something_can_be_had(house: House) -> None:
    house.cloud.faults.add("sold_out", times=40)
    async with house.orch() as orch:
        [lease] = await orch.up(house.request(wait="2h"), on_event=house.events.append)
        assert lease.state == "running"
        assert "waiting" in house.kinds()
        assert len(house.billing()) == 1


async def test_wait_covers_an_empty_plan_and_an_outage_and_has_an_end(house: House) -> None:
    stock = list(house.cloud.market)
    for offer_id in stock:
        house.cloud.restock(offer_id, 0)
    async with house.orch() as orch:
        began = house.env.monotonic()
        with pytest.raises(NoOffer):
            await orch.up(house.request(wait="5m"))
        assert 300 <= house.env.monotonic() - began < 400

        def back(event: Event) -> None:
            if event.kind == "waiting":
                for offer_id in stock:
                    house.cloud.restock(offer_id, 1)

        [lease] = await orch.up(house.request(wait="5m"), on_event=back)
        assert lease.state == "running"


async def test_set_asides_are_shown_and_decay(house: House) -> None:
    house.cloud.faults.add("no_money", verb="launch", times=1)
    async with house.orch() as orch:
        with pytest.raises(LaunchFailed):
            await orch.up(house.request(max_price="0.9"))
        plan = await orch.plan(house.request(max_price="0.9"))
        assert {drop.reason for drop in plan.dropped} >= {"set_aside"}
        [hold] = [hold for hold in await orch.store.holds() if hold.drops]
        assert "NoFunds" in hold.why
        house.env.advance(1000)
        assert (await orch.plan(house.request(max_price="0.9"))).candidates
