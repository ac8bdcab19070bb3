"""What the cloud in memory sells and bills."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest

from providers.base import Billing, Offer, Query
from providers.errors import NoCapacity, PriceChanged
from providers.fake import default_market
from providers.gpus import GPUS
from tests.unit.fake_place import START, cloud_with, join, rent, sold, spec, turn, usd


async def test_offers_are_filtered_marked_and_dated() -> None:
    fake = join(cloud_with())
    found = (await fake.offers(Query(gpus=("l40",)))).offers
    assert {o.gpu for o in found} == {"l40"}
    assert {o.account for o in found} == {"fake-account"}
    assert {o.observed_at for o in found} == {START}
    assert {o.offer_id for o in found if not o.available} == {"fake/l40-sold-out"}
    assert "fake/l40-spot" not in {o.offer_id for o in found}
    spot = (await fake.offers(Query(gpus=("l40",), pricing=("spot",)))).offers
    assert [o.offer_id for o in spot] == ["fake/l40-spot"]
    eight = (await fake.offers(Query(count=8))).offers
    assert [o.gpu_count for o in eight] == [8]
    free = (await fake.offers(Query(gpus=("l40",), egress_free=True, countries=("DE",)))).offers
    assert [o.offer_id for o in free] == ["fake/l40-de"]
    none = await fake.offers(Query(gpus=("b200",)))
    assert (none.offers, none.note) == ([], "rents no b200")


def test_the_default_market_names_known_models_and_differs_in_every_price() -> None:
    market = default_market()
    assert {offer.gpu for offer in market} <= set(GPUS)
    assert len({offer.offer_id for offer in market}) == len(market)
    assert len({offer.usd_per_hour for offer in market}) == len(market)
    assert len({offer.market for offer in market}) == 4


async def test_stock_is_taken_and_comes_back() -> None:
    cloud = cloud_with(stop_s=0)
    fake = join(cloud)
    only = await rent(fake, "l40-community")
    quote = await fake.price(sold(cloud, "l40-community"))
    assert quote
    assert (quote.available, quote.available_count) == (False, 0)
    with pytest.raises(NoCapacity):
        await rent(fake, "l40-community", 2)
    assert await fake.terminate(only) is True
    await rent(fake, "l40-community", 3)
    cloud.restock("fake/l40-community", 1)
    await rent(fake, "l40-community", 4)
    with pytest.raises(NoCapacity):
        await rent(fake, "l40-community", 5)
    cloud.restock("fake/l40-sold-out", None)
    await rent(fake, "l40-sold-out", 6)


async def test_prices_change_and_a_cap_is_kept() -> None:
    cloud = cloud_with()
    fake = join(cloud)
    offer = sold(cloud)
    early = await rent(fake)
    cloud.reprice(offer.offer_id, Decimal("1.20"))
    quote = await fake.price(offer)
    assert quote
    assert quote.usd_per_hour == Decimal("1.20")
    with pytest.raises(PriceChanged) as caught:
        await fake.launch(offer, spec(2, max_usd_per_hour=Decimal("0.99")), spec(2).name)
    assert caught.value.now == quote
    assert len(cloud.records()) == 1
    later = await rent(fake, n=3, max_usd_per_hour=Decimal("1.20"))
    assert later.usd_per_hour == Decimal("1.20")
    turn(cloud, 3600)
    assert usd(cloud, early.id) == Decimal("0.99")
    cloud.reprice(offer.offer_id, Decimal("2"), running=True)
    turn(cloud, 3600)
    assert usd(cloud, early.id) == Decimal("2.99")
    assert {i.usd_per_hour for i in await fake.owned()} == {Decimal("2")}
    cloud.withdraw(offer.offer_id)
    assert await fake.price(offer) is None


async def test_an_offer_ends_at_its_time() -> None:
    until = START + timedelta(seconds=60)
    cloud = cloud_with(offers=[Offer(offer_id="a", provider="fake", gpu="l40", available_until=until)])
    fake = join(cloud)
    assert await fake.price(cloud.market["a"])
    turn(cloud, 60)
    assert await fake.price(cloud.market["a"]) is None


async def test_every_charge_of_an_offer_is_on_the_bill() -> None:
    cloud = cloud_with(stop_s=0)
    fake = join(cloud)
    machine = await rent(fake, "l40-hyperscale", disk_gib=100)
    turn(cloud, 3600)
    lines = {line.what: line.usd(cloud.env.now().timestamp()) for line in cloud.ledger.of("fake", machine.id)}
    assert lines == {
        "compute": Decimal("1.85"),
        "disk": Decimal(100) * Decimal("0.08") / 730,
        "address": Decimal("0.005"),
    }
    await fake.terminate(machine)
    assert cloud.ledger.billing() == []


async def test_booting_is_free_where_the_offer_says_so() -> None:
    cloud = cloud_with()
    machine = await rent(join(cloud), "l40-community", disk_gib=0)
    turn(cloud, 45)
    assert [r.billing for r in cloud.records()] == [True]
    turn(cloud, 3600)
    disk = Decimal(8) * Decimal("0.15") / 730  # the host's least, though none was asked for
    assert usd(cloud, machine.id) == Decimal("0.45") + disk


async def test_clock_hours_are_billed_whole() -> None:
    cloud = cloud_with(stop_s=0)
    fake = join(cloud)
    turn(cloud, 3000)
    machine = await rent(fake, "l40-hourly")
    turn(cloud, 1200)
    await fake.terminate(machine)
    assert usd(cloud, machine.id) == Decimal("0.62") * 2


async def test_traffic_is_billed_by_tiers_per_account_and_month() -> None:
    cloud = cloud_with()
    fake = join(cloud)
    first, second = await rent(fake, "l40-hyperscale"), await rent(fake, "l40-hyperscale", 2)
    assert cloud.transfer(first.id, Decimal(60)) == 0
    assert cloud.transfer(second.id, Decimal(60)) == 20 * Decimal("0.09")
    assert cloud.transfer(first.id, Decimal(10_000)) == 9_980 * Decimal("0.09") + 20 * Decimal("0.085")
    turn(cloud, 86400 * 30)
    assert cloud.transfer(first.id, Decimal(100)) == 0
    with pytest.raises(ValueError, match="no known egress price"):
        cloud.transfer((await rent(fake, "l40-hourly", 3)).id, Decimal(1))


def test_billing_rules_of_offers_reach_the_ledger() -> None:
    offer = Offer(
        offer_id="m",
        provider="fake",
        gpu="l40",
        usd_per_hour=Decimal(6),
        billing=Billing(increment_s=60, minimum_s=600),
    )
    cloud = cloud_with(offers=[offer], stop_s=0)

    async def run(seconds: float) -> Decimal:
        machine = await join(cloud).launch(offer, spec(), spec().name)
        turn(cloud, seconds)
        await join(cloud).terminate(machine)
        return usd(cloud, machine.id)

    assert asyncio.run(run(30)) == Decimal(1)
    assert asyncio.run(run(601)) == Decimal("1.1")
