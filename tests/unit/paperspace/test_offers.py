"""The market: the snapshot's types joined with live stock."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest
import respx

from providers.base import LaunchSpec, Offer, Query
from providers.env import ManualEnv
from providers.errors import AuthFailed, Forbidden, InvalidRequest, NoCapacity, NoFunds, Unavailable
from providers.paperspace import catalog
from providers.paperspace.adapter import Paperspace
from tests.unit.paperspace.conftest import TEAM, TEMPLATES, page, refusal


def stock(wire: respx.MockRouter, answers: dict[tuple[str, str], Any]) -> respx.Route:
    """Answers the availability of places; those that are not named are free."""

    def answer(request: httpx.Request) -> httpx.Response:
        where = (request.url.params["machineType"], request.url.params["region"])
        found = answers.get(where, True)
        return found if isinstance(found, httpx.Response) else httpx.Response(200, json={"available": found})

    return wire.get("/machine-availability").mock(side_effect=answer)


async def test_types_and_regions_become_offers_with_live_stock(
    cloud: Paperspace, wire: respx.MockRouter, env: ManualEnv
) -> None:
    stock(wire, {("A6000", "CA1"): False})
    listing = await cloud.offers(Query(gpus=("rtx-a6000",), disk_gib=120))
    by_id = {offer.offer_id: offer for offer in listing.offers}
    assert sorted(by_id) == [
        "paperspace/A6000/CA1",
        "paperspace/A6000/NY2",
        "paperspace/A6000x2/CA1",
        "paperspace/A6000x2/NY2",
    ]
    one = by_id["paperspace/A6000/NY2"]
    assert (one.usd_per_hour, one.available, one.country) == (Decimal("1.89"), True, "US")
    assert (one.account, one.market, one.source, one.observed_at) == (TEAM, "specialist", "live", env.now())
    assert one.native["price_date"] == "2026-05-25"
    assert "pricing" in one.native["price_source"]
    assert (one.disk_gib, one.disk_min_gib, one.disk_max_gib) == (0, 250, 2000)
    assert by_id["paperspace/A6000/CA1"].available is False
    two = by_id["paperspace/A6000x2/NY2"]
    assert (two.gpu_count, two.usd_per_hour) == (2, Decimal("3.78"))
    assert "times 2" in two.native["price_source"]
    assert "2026-05-25" in listing.note


async def test_a_gpu_that_is_not_rented_is_said_with_the_nearest(cloud: Paperspace, wire: respx.MockRouter) -> None:
    route = stock(wire, {})
    listing = await cloud.offers(Query(gpus=("l40",)))
    assert listing.offers == []
    assert listing.note.startswith("rents no l40 (it has rtx-a6000, ")
    assert not route.called


async def test_a_type_without_a_usable_system_is_sold_out_without_asking(
    cloud: Paperspace, wire: respx.MockRouter
) -> None:
    route = stock(wire, {})
    listing = await cloud.offers(Query(gpus=("h100-sxm",)))
    assert [(offer.instance_type, offer.available) for offer in listing.offers] == [("H100", False)]
    assert "sold out" in listing.note
    assert not route.called


async def test_a_type_that_no_template_names_is_not_sold(cloud: Paperspace, wire: respx.MockRouter) -> None:
    stock(wire, {})
    listing = await cloud.offers(Query())
    assert {offer.instance_type for offer in listing.offers} == {"A6000", "A6000x2", "H100"}


async def test_a_label_newer_than_the_snapshot_is_offered_without_a_price(
    cloud: Paperspace, wire: respx.MockRouter
) -> None:
    types = [{"machineTypeLabel": label, "isAvailable": True} for label in ("L40Sx2", "C10", "Air")]
    wire["templates"].respond(json=page({**TEMPLATES[1], "availableMachineTypes": types}))
    stock(wire, {})
    listing = await cloud.offers(Query())
    assert {(offer.gpu, offer.gpu_count, offer.usd_per_hour) for offer in listing.offers} == {("l40s", 2, None)}
    assert {offer.region for offer in listing.offers} == set(catalog.REGIONS)


async def test_without_any_labels_the_whole_snapshot_counts(cloud: Paperspace, wire: respx.MockRouter) -> None:
    rows = [{key: value for key, value in row.items() if key != "availableMachineTypes"} for row in TEMPLATES]
    wire["templates"].respond(json=page(*rows))
    stock(wire, {})
    listing = await cloud.offers(Query())
    assert {offer.instance_type for offer in listing.offers} == set(catalog.KINDS)
    assert len({offer.offer_id for offer in listing.offers}) == len(listing.offers)
    assert all(offer.usd_per_hour is None or offer.usd_per_hour > 0 for offer in listing.offers)


async def test_a_place_where_a_type_is_refused_is_left_out(cloud: Paperspace, wire: respx.MockRouter) -> None:
    bad = httpx.Response(400, json=refusal("BAD_REQUEST", "unknown machine type"))
    stock(wire, {("A6000", "NY2"): bad})
    listing = await cloud.offers(Query(gpus=("rtx-a6000",)))
    assert "paperspace/A6000/NY2" not in {offer.offer_id for offer in listing.offers}
    assert len(listing.offers) == 3


@pytest.mark.parametrize("answer", [{"available": "yes"}, {}])
async def test_an_answer_that_does_not_say_is_unknown(
    cloud: Paperspace, wire: respx.MockRouter, answer: dict[str, Any]
) -> None:
    wire.get("/machine-availability").respond(json=answer)
    listing = await cloud.offers(Query(gpus=("rtx-a6000",)))
    assert {offer.available for offer in listing.offers} == {None}


async def test_an_outage_raises_and_never_comes_back_empty(cloud: Paperspace, wire: respx.MockRouter) -> None:
    stock(wire, {("A6000x2", "CA1"): httpx.Response(502, text="<html>bad gateway</html>")})
    with pytest.raises(Unavailable):
        await cloud.offers(Query(gpus=("rtx-a6000",)))


async def test_a_bad_key_fails_even_for_a_gpu_that_is_not_rented(cloud: Paperspace, wire: respx.MockRouter) -> None:
    wire["session"].respond(status_code=401, json=refusal("UNAUTHORIZED", "no"))
    with pytest.raises(AuthFailed):
        await cloud.offers(Query(gpus=("l40",)))


async def test_spot_is_not_sold(cloud: Paperspace, wire: respx.MockRouter) -> None:
    listing = await cloud.offers(Query(pricing=("spot",)))
    assert (listing.offers, listing.note) == ([], "rents on demand only")


async def test_pages_of_templates_are_read_to_the_end(cloud: Paperspace, wire: respx.MockRouter) -> None:
    pages = [page(TEMPLATES[0], after="c2"), page(TEMPLATES[1])]
    wire["templates"].mock(side_effect=[httpx.Response(200, json=one) for one in pages])
    stock(wire, {})
    listing = await cloud.offers(Query(count=2))
    assert {offer.instance_type for offer in listing.offers} == {"A6000x2"}
    assert [call.request.url.params.get("after") for call in wire["templates"].calls] == [None, "c2"]


async def test_the_quote_asks_for_the_stock_once(cloud: Paperspace, wire: respx.MockRouter, offer: Offer) -> None:
    route = stock(wire, {("A6000", "NY2"): False})
    quote = await cloud.price(offer)
    assert quote is not None
    assert (quote.offer_id, quote.available, quote.usd_per_hour) == (offer.offer_id, False, Decimal("1.89"))
    assert route.call_count == 1


async def test_a_type_that_is_not_known_any_more_has_no_quote(
    cloud: Paperspace, wire: respx.MockRouter, offer: Offer
) -> None:
    wire.get("/machine-availability").respond(status_code=404, json=refusal("NOT_FOUND", "no such type"))
    assert await cloud.price(offer) is None


async def test_an_offer_of_another_provider_is_refused(cloud: Paperspace, offer: Offer) -> None:
    with pytest.raises(InvalidRequest):
        await cloud.price(msgspec.structs.replace(offer, provider="lambda"))


@pytest.mark.parametrize(
    ("wanted", "template", "size"),
    [
        (50, None, 100),
        (50, 50, 50),
        (50, 100, 100),
        (100, 100, 100),
        (101, 100, 250),
        (2000, 50, 2000),
        (2001, 50, None),
    ],
)
def test_disks_come_in_steps(wanted: int, template: int | None, size: int | None) -> None:
    assert catalog.disk_size(wanted, template) == size


async def test_the_disk_of_an_offer_costs_what_its_step_costs(cloud: Paperspace, wire: respx.MockRouter) -> None:
    stock(wire, {})
    listing = await cloud.offers(Query(gpus=("rtx-a6000",), count=2, disk_gib=10))
    [offer, *_] = listing.offers
    assert offer.disk_min_gib == 100
    assert offer.storage_usd_per_gib_month is not None
    # 100 GB at the documented example's 0.01 USD an hour.
    assert offer.storage_usd_per_gib_month * 100 / 730 == Decimal("0.01")


# -- resolve ----------------------------------------------------------------------------------------------


def bare(spec: LaunchSpec) -> LaunchSpec:
    return msgspec.structs.replace(spec, native={})


async def test_the_system_with_the_driver_is_chosen_and_pinned(
    cloud: Paperspace, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec
) -> None:
    resolved = await cloud.resolve(offer, bare(spec))
    assert (resolved.native["template"], resolved.native["disk"]) == ("twnml2204", 100)
    # A pinned template is not looked for again.
    assert await cloud.resolve(offer, resolved) == resolved
    assert wire["templates"].call_count == 1


async def test_plain_ubuntu_is_second_choice_and_windows_none(
    cloud: Paperspace, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec
) -> None:
    wire["templates"].respond(json=page(TEMPLATES[2], TEMPLATES[0]))
    assert (await cloud.resolve(offer, bare(spec))).native == {
        "template": "twnplain2",
        "template_title": "paperspace/twnplain2 Ubuntu 24.04",
        "disk": 50,
    }
    wire["templates"].respond(json=page(TEMPLATES[2]))
    with pytest.raises(NoCapacity):
        await cloud.resolve(offer, bare(spec))


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        ({"isInGoodStanding": False, "messages": ["unpaid invoice"]}, NoFunds),
        ({"isAdminLocked": True, "isInGoodStanding": True}, Forbidden),
    ],
)
async def test_an_account_in_bad_standing_is_refused_before_anything_is_made(
    cloud: Paperspace,
    wire: respx.MockRouter,
    offer: Offer,
    spec: LaunchSpec,
    standing: dict[str, Any],
    expected: type[Exception],
) -> None:
    wire["standing"].respond(json=standing)
    with pytest.raises(expected):
        await cloud.resolve(offer, spec)


async def test_a_key_that_may_not_see_the_standing_may_still_rent(
    cloud: Paperspace, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec
) -> None:
    wire["standing"].respond(status_code=403, json=refusal("FORBIDDEN", "admins only"))
    assert await cloud.resolve(offer, spec) == spec


@pytest.mark.parametrize("change", [{"image": "ubuntu"}, {"ssh_public_key": "nonsense"}, {"env": {"A B": "1"}}])
async def test_what_cannot_be_done_is_refused_at_once(
    cloud: Paperspace, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec, change: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest):
        await cloud.resolve(offer, msgspec.structs.replace(spec, **change))
    assert not wire.calls


def test_regions_are_those_of_the_documentations_table() -> None:
    sold = {label for label, kind in catalog.KINDS.items() if kind.count == 1 and "AMS1" in kind.regions}
    assert sold == {"GPU+", "P4000", "P5000", "P6000", "RTX4000", "A4000", "V100"}
