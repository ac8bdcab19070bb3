"""One refresh: what is pushed down, paging by price, and when a listing is partial. Then the quote of one ask."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest
import respx
from msgspec.structs import replace

from providers import errors
from providers.base import Context, Offer, Query
from providers.env import ManualEnv
from providers.vast import market
from providers.vast.adapter import Vast
from tests.contract import vast_golden as golden

SEARCH = "/api/v0/bundles/"
Build = Callable[..., dict[str, Any]]


def bodies(wire: respx.MockRouter) -> list[dict[str, Any]]:
    """What the searches were sent."""
    return [json.loads(call.request.content) for call in wire.calls if call.request.url.path == SEARCH]


class Shop:
    """A market that cuts its answers at 64 rows and honours the price filters, as the server does."""

    def __init__(self, row: Build, count: int, *, step: float = 0.001) -> None:
        self.rows = [
            row(id=number, ask_contract_id=number, dph_base=0.5 + step * number, dph_total=0.52 + step * number)
            for number in range(1, count + 1)
        ]
        for number, each in enumerate(self.rows, 1):
            each["min_bid"] = 0.2 + step * number

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        [[field, _]] = body["order"]
        least = body.get(field, {}).get("gte", 0)
        found = sorted((row for row in self.rows if row[field] >= least), key=lambda row: float(row[field]))
        return httpx.Response(200, json={"offers": found[: golden.MOST_ROWS]})


async def test_everything_the_server_can_filter_is_pushed_down(vast: Vast, wire: respx.MockRouter) -> None:
    wire.post(SEARCH).respond(json=golden.OFFERS)
    query = Query(gpus=("l40s",), egress_free=True, disk_gib=50, min_duration_s=86400, countries=("DE", "FR"))
    listing = await vast.offers(query)
    assert bodies(wire) == [golden.SEARCH_BODY]
    assert [offer.offer_id for offer in listing.offers] == ["vast/on-demand/31415926"]
    assert (listing.partial, listing.note) == (False, "")
    assert {offer.account for offer in listing.offers} == {"271828"}


async def test_nothing_is_filtered_that_was_not_asked_for(vast: Vast, wire: respx.MockRouter) -> None:
    wire.post(SEARCH).respond(json=golden.OFFERS)
    listing = await vast.offers(Query())
    assert {offer.gpu for offer in listing.offers} == {"l40s", "rtx-4090"}
    [body] = bodies(wire)
    for absent in ("gpu_name", "inet_up_cost", "geolocation", "duration", "min_bid", "dph_total", "id"):
        assert absent not in body
    assert body["verified"] == {"eq": True}


async def test_gpu_names_go_out_with_spaces(vast: Vast, wire: respx.MockRouter) -> None:
    wire.post(SEARCH).respond(json={"offers": []})
    await vast.offers(Query(gpus=("rtx-4090", "a100-80gb", "rtx-6000-ada")))
    assert bodies(wire)[0]["gpu_name"] == {"in": ["A100 PCIE", "A100 SXM4", "RTX 4090", "RTX 6000Ada"]}


async def test_a_model_nobody_here_knows_costs_no_search(vast: Vast, wire: respx.MockRouter) -> None:
    listing = await vast.offers(Query(gpus=("tpu-v5",)))
    assert (listing.offers, listing.note, bodies(wire)) == ([], "rents no tpu-v5", [])


async def test_a_market_without_the_gpu_says_so(vast: Vast, wire: respx.MockRouter) -> None:
    wire.post(SEARCH).respond(json={"offers": []})
    listing = await vast.offers(Query(gpus=("l40",)))
    assert (listing.offers, listing.partial, listing.note) == ([], False, "rents no l40 now")


async def test_a_full_answer_is_paged_by_price_until_it_ends(vast: Vast, wire: respx.MockRouter, row: Build) -> None:
    wire.post(SEARCH).mock(side_effect=Shop(row, 100))
    listing = await vast.offers(Query())
    assert len(listing.offers) == 100
    assert not listing.partial
    first, second = bodies(wire)
    assert "dph_total" not in first
    # The last price once more: others may ask the same.
    assert second["dph_total"] == {"gte": pytest.approx(0.584)}


async def test_three_searches_are_the_most_and_the_rest_is_admitted(
    vast: Vast, wire: respx.MockRouter, row: Build
) -> None:
    wire.post(SEARCH).mock(side_effect=Shop(row, 500))
    listing = await vast.offers(Query())
    assert len(bodies(wire)) == 3
    assert len(listing.offers) == 64 + 63 + 63
    assert listing.partial
    assert "64" in listing.note
    prices = [offer.usd_per_hour for offer in listing.offers if offer.usd_per_hour]
    assert prices == sorted(prices)


async def test_exactly_one_page_is_looked_behind_once(vast: Vast, wire: respx.MockRouter, row: Build) -> None:
    wire.post(SEARCH).mock(side_effect=Shop(row, 64))
    listing = await vast.offers(Query())
    assert len(listing.offers) == 64
    assert not listing.partial
    assert len(bodies(wire)) == 2


async def test_more_than_a_page_at_one_price_does_not_turn_in_circles(
    vast: Vast, wire: respx.MockRouter, row: Build
) -> None:
    wire.post(SEARCH).mock(side_effect=Shop(row, 100, step=0.0))
    listing = await vast.offers(Query())
    assert len(bodies(wire)) == 2
    assert len(listing.offers) == 64
    assert listing.partial


async def test_spot_is_searched_only_when_it_is_asked_for(vast: Vast, wire: respx.MockRouter) -> None:
    wire.post(SEARCH).respond(json=golden.OFFERS)
    assert {offer.pricing for offer in (await vast.offers(Query())).offers} == {"on-demand"}
    assert [body["type"] for body in bodies(wire)] == ["on-demand"]


async def test_on_demand_and_spot_are_two_searches_and_two_offers_of_one_ask(
    vast: Vast, wire: respx.MockRouter
) -> None:
    wire.post(SEARCH).respond(json={"offers": [golden.OFFER]})
    listing = await vast.offers(Query(pricing=("on-demand", "spot")))
    assert [offer.offer_id for offer in listing.offers] == ["vast/on-demand/31415926", "vast/bid/31415926"]
    assert [body["type"] for body in bodies(wire)] == ["on-demand", "bid"]
    assert bodies(wire)[1]["order"] == [["min_bid", "asc"]]
    assert bodies(wire)[1]["min_bid"] == {"gte": 0.001}


async def test_spot_alone_is_paged_by_its_own_price(vast: Vast, wire: respx.MockRouter, row: Build) -> None:
    wire.post(SEARCH).mock(side_effect=Shop(row, 70))
    listing = await vast.offers(Query(pricing=("spot",)))
    assert len(listing.offers) == 70
    assert {offer.pricing for offer in listing.offers} == {"spot"}
    assert bodies(wire)[1]["min_bid"] == {"gte": pytest.approx(0.264)}


async def test_two_kinds_share_the_three_searches(vast: Vast, wire: respx.MockRouter, row: Build) -> None:
    wire.post(SEARCH).mock(side_effect=Shop(row, 500))
    listing = await vast.offers(Query(pricing=("on-demand", "spot")))
    assert [body["type"] for body in bodies(wire)] == ["on-demand", "bid", "on-demand"]
    assert listing.partial


async def test_reserved_alone_is_not_rented_here(vast: Vast, wire: respx.MockRouter) -> None:
    listing = await vast.offers(Query(pricing=("reserved",)))
    assert listing.offers == []
    assert listing.note
    assert bodies(wire) == []


async def test_a_first_search_that_fails_raises(vast: Vast, wire: respx.MockRouter) -> None:
    wire.post(SEARCH).respond(503, text="down")
    with pytest.raises(errors.Unavailable):
        await vast.offers(Query())


@pytest.mark.parametrize("answer", [{}, {"offers": None}, {"offers": "x"}, {"offers": [1]}, [], "x", None])
async def test_an_answer_of_another_shape_is_never_an_empty_market(
    vast: Vast, wire: respx.MockRouter, answer: Any
) -> None:
    wire.post(SEARCH).respond(json=answer)
    with pytest.raises(errors.Unavailable):
        await vast.offers(Query())


async def test_the_descriptions_bare_object_is_read_as_one_offer(vast: Vast, wire: respx.MockRouter) -> None:
    wire.post(SEARCH).respond(json={"offers": golden.OFFER})
    assert len((await vast.offers(Query())).offers) == 1


async def test_a_later_search_that_fails_makes_the_listing_partial(
    vast: Vast, wire: respx.MockRouter, row: Build
) -> None:
    shop = Shop(row, 500)
    first = shop(httpx.Request("POST", SEARCH, json={"order": [["dph_total", "asc"]]}))
    wire.post(SEARCH).mock(side_effect=[first, *[httpx.Response(500, text="oops")] * 3])
    listing = await vast.offers(Query())
    assert len(listing.offers) == 64
    assert listing.partial
    assert "failed" in listing.note


async def test_a_spot_search_that_fails_leaves_the_on_demand_offers(vast: Vast, wire: respx.MockRouter) -> None:
    quota = httpx.Response(429, json=golden.ERRORS["quota"][1], headers=golden.QUOTA_HEADERS)
    wire.post(SEARCH).mock(side_effect=[httpx.Response(200, json=golden.OFFERS), quota])
    listing = await vast.offers(Query(pricing=("on-demand", "spot")))
    assert len(listing.offers) == 2
    assert listing.partial
    assert "bid offers not read" in listing.note


async def test_a_later_search_that_hangs_does_not_cost_the_answer(
    vast: Vast, wire: respx.MockRouter, row: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(row, 500)

    async def slow(request: httpx.Request) -> httpx.Response:
        if "dph_total" in json.loads(request.content):
            await asyncio.Event().wait()
        return shop(request)

    monkeypatch.setattr(market, "MORE_S", 0.01)
    wire.post(SEARCH).mock(side_effect=slow)
    listing = await vast.offers(Query())
    assert len(listing.offers) == 64
    assert listing.partial
    assert "time" in listing.note


async def test_the_used_up_search_quota_says_when_it_ends(vast: Vast, wire: respx.MockRouter, env: ManualEnv) -> None:
    wire.post(SEARCH).respond(429, json=golden.ERRORS["quota"][1], headers=golden.QUOTA_HEADERS)
    with pytest.raises(errors.RateLimited) as caught:
        await vast.offers(Query())
    assert (caught.value.code, caught.value.wait_s) == ("search_quota_exceeded", 12 * 3600)
    assert len(bodies(wire)) == 1  # no retry
    assert env.slept == []


async def test_searches_and_quotes_share_one_pace_of_ten_a_minute(
    vast: Vast, wire: respx.MockRouter, env: ManualEnv, offer: Offer
) -> None:
    wire.post(SEARCH).respond(json=golden.OFFERS)
    await vast.offers(Query())
    await vast.price(offer)
    await vast.price(offer)
    assert env.slept == [6.0, 6.0]


async def test_another_key_has_its_own_pace(context: Context, wire: respx.MockRouter, env: ManualEnv) -> None:
    wire.post(SEARCH).respond(json=golden.OFFERS)
    for key in ("a" * 32, "b" * 32):
        adapter = Vast(
            Context(env=env, settings={**context.settings, "VAST_API_KEY": key}, owner="0" * 32, pace=context.pace)
        )
        await adapter.offers(Query())
        await adapter.aclose()
    assert env.slept == []


# -- the quote of one ask ---------------------------------------------------------------------------------


async def test_an_ask_is_looked_up_by_its_contract_id_with_the_same_disk(
    vast: Vast, wire: respx.MockRouter, offer: Offer
) -> None:
    wire.post(SEARCH).respond(json=golden.OFFERS)
    fresh = await vast.price(offer)
    assert bodies(wire) == [golden.QUOTE_BODY]
    assert fresh is not None
    assert (fresh.offer_id, fresh.usd_per_hour) == (offer.offer_id, Decimal("0.52"))


async def test_the_quote_of_a_listed_offer_is_its_listed_price(vast: Vast, wire: respx.MockRouter) -> None:
    wire.post(SEARCH).respond(json={"offers": [golden.OFFER]})
    listed = (await vast.offers(Query(pricing=("on-demand", "spot")))).offers
    for offer in listed:
        fresh = await vast.price(offer)
        assert fresh is not None
        assert replace(fresh, observed_at=None, available_until=None) == replace(
            offer, observed_at=None, available_until=None
        )


async def test_a_bid_is_quoted_by_a_bid_search(vast: Vast, wire: respx.MockRouter, bid: Offer, row: Build) -> None:
    wire.post(SEARCH).respond(json={"offers": [row(golden.BID_OFFER, min_bid=0.3)]})
    fresh = await vast.price(bid)
    assert bodies(wire)[0]["type"] == "bid"
    assert fresh is not None
    assert fresh.usd_per_hour == Decimal("0.3")


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [golden.COMMUNITY_OFFER],
        [{**golden.OFFER, "gpu_name": "L4", "gpu_ram": 23034}],
        [{**golden.OFFER, "num_gpus": 2}],
        [{**golden.OFFER, "verification": "deverified"}],
    ],
)
async def test_an_ask_that_is_gone_or_another_thing_is_not_quoted(
    vast: Vast, wire: respx.MockRouter, offer: Offer, rows: Any
) -> None:
    wire.post(SEARCH).respond(json={"offers": rows})
    assert await vast.price(offer) is None


async def test_a_bid_whose_ask_takes_no_bids_any_more_is_not_quoted(
    vast: Vast, wire: respx.MockRouter, bid: Offer, row: Build
) -> None:
    wire.post(SEARCH).respond(json={"offers": [row(min_bid=None)]})
    assert await vast.price(bid) is None


async def test_a_dearer_hour_is_quoted_for_the_caller_to_judge(
    vast: Vast, wire: respx.MockRouter, offer: Offer, row: Build
) -> None:
    wire.post(SEARCH).respond(json={"offers": [row(dph_base=0.6, dph_total=0.615, inet_up_cost=0.1)]})
    fresh = await vast.price(offer)
    assert fresh is not None
    assert fresh.usd_per_hour == Decimal("0.6")


@pytest.mark.parametrize(
    "fields",
    [
        {"inet_up_cost": 0.01},
        {"inet_down_cost": 0.01},
        {"inet_up_cost": None, "internet_up_cost_per_tb": None},
    ],
)
async def test_traffic_that_costs_more_than_promised_is_a_changed_price(
    vast: Vast, wire: respx.MockRouter, offer: Offer, row: Build, fields: Any
) -> None:
    wire.post(SEARCH).respond(json={"offers": [row(**fields)]})
    with pytest.raises(errors.PriceChanged) as caught:
        await vast.price(offer)
    assert caught.value.now is not None
    assert caught.value.code == "terms-changed"


async def test_a_dearer_disk_is_a_changed_price_too(vast: Vast, wire: respx.MockRouter, row: Build) -> None:
    wire.post(SEARCH).mock(
        side_effect=[
            httpx.Response(200, json={"offers": [golden.OFFER]}),
            httpx.Response(200, json={"offers": [row(storage_cost=0.4, dph_total=0.55)]}),
        ]
    )
    [offer] = (await vast.offers(Query())).offers
    with pytest.raises(errors.PriceChanged, match="disk"):
        await vast.price(offer)


async def test_a_quote_against_the_quota_holds_the_account_until_it_ends(
    vast: Vast, wire: respx.MockRouter, offer: Offer
) -> None:
    wire.post(SEARCH).respond(429, json=golden.ERRORS["quota"][1], headers=golden.QUOTA_HEADERS)
    with pytest.raises(errors.QuotaExceeded) as caught:
        await vast.price(offer)
    assert (caught.value.scope, caught.value.hold_s) == ("account", 12 * 3600)


async def test_a_search_waits_out_a_short_429(vast: Vast, wire: respx.MockRouter, env: ManualEnv, offer: Offer) -> None:
    slow_down = httpx.Response(429, text=golden.TOO_FAST_BARE)
    wire.post(SEARCH).mock(side_effect=[slow_down, httpx.Response(200, json=golden.OFFERS)])
    assert await vast.price(offer)
    assert max(env.slept) >= 6
