from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from providers.errors import (
    AuthFailed,
    Forbidden,
    InvalidRequest,
    NoCapacity,
    NoFunds,
    OfferGone,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Then,
    Unavailable,
    Unclassified,
)
from providers.fluence.errors import TABLE, classify, images_in, read
from providers.http import Reply
from tests.contract import fluence_golden as golden
from tests.unit.fluence.kit import CONTAINERS, VMS, World, answer, container_offer, spec, vm_offer


def reply(status: int, body: Any, **headers: str) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, headers, raw)


def golden_reply(case: str) -> Reply:
    return reply(*golden.ERRORS[case])


ROWS: dict[str, tuple[Reply, str, type[ProviderError]]] = {
    "rate-limit": (reply(429, {"detail": "slow"}), "offers", RateLimited),
    "no-json": (reply(400, b"<h1>Bad request</h1>"), "launch", Unclassified),
    "balance-code": (reply(500, {"code": "insufficient_balance", "error": "no"}), "launch", NoFunds),
    "balance": (golden_reply("no-funds"), "launch", NoFunds),
    "payment": (reply(402, {"detail": "pay"}), "launch", NoFunds),
    "key": (golden_reply("bad-key-401"), "offers", AuthFailed),
    "key-code": (reply(403, {"code": "unauthorized", "error": "no"}), "offers", AuthFailed),
    "right-code": (golden_reply("forbidden"), "launch", Forbidden),
    "key-text": (golden_reply("bad-key"), "offers", AuthFailed),
    "right-text": (reply(403, {"detail": "Missing permission akash:write"}), "launch", Forbidden),
    "key-unknown-text": (reply(403, {"detail": "no"}), "offers", AuthFailed),
    "validation": (golden_reply("validation"), "launch", InvalidRequest),
    "os-image": (golden_reply("wrong-image"), "launch", NoCapacity),
    "offer-unavailable": (reply(400, {"detail": "the plan has left the building"}), "launch", NoCapacity),
    "plan-not-found": (golden_reply("not-found"), "launch", OfferGone),
    "not-active": (reply(400, {"detail": "instance is not active"}), "terminate", InvalidRequest),
    "http-404": (golden_reply("not-found"), "find", OfferGone),
    "timeout": (reply(408, {"detail": "timeout"}), "launch", OutcomeUnknown),
    "timeout-read": (reply(408, {"detail": "timeout"}), "find", Unavailable),
    "server": (reply(503, b"<html>busy</html>"), "offers", Unavailable),
    "other": (reply(418, {"detail": "teapot"}), "launch", Unclassified),
}


def first_row(said: Reply, verb: str) -> str:
    return next(row.case for row in TABLE if row.fits(read(said), verb))


def test_every_row_of_the_table_has_a_sample_and_no_case_stands_twice() -> None:
    cases = [row.case for row in TABLE]
    assert sorted(cases) == sorted(ROWS)


@pytest.mark.parametrize("case", ROWS)
def test_each_sample_is_decided_by_its_own_row(case: str) -> None:
    said, verb, error = ROWS[case]
    assert first_row(said, verb) == case
    assert type(classify(said, verb)) is error


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ({"detail": "gone"}, "", "gone"),
        ({"detail": [{"loc": ["body", "name"], "msg": "too long"}, {"msg": "bad"}]}, "", "body.name: too long; bad"),
        ({"error": "Auth failed"}, "", "Auth failed"),
        ({"code": "forbidden", "error": "Not allowed"}, "forbidden", "Not allowed"),
        ({"detail": {"message": "nested"}}, "", "nested"),
        (["odd"], "", '["odd"]'),
        ("plain", "", "plain"),
        ({"code": 7, "detail": 9}, "", '{"code": 7, "detail": 9}'),
        (b"<html><body>Bad <b>gateway</b></body></html>", "", "Bad gateway"),
        (b"\xff\xfe", "", "��"),
        (b"", "", "fluence answered 400 without a text"),
    ],
)
def test_every_known_body_shape_is_read(body: Any, code: str, text: str) -> None:
    said = read(reply(400, body))
    assert (said.code, said.text) == (code, text)


def test_money_is_recognised_before_the_image_and_the_image_before_the_offer() -> None:
    both = "Insufficient balance to deploy instance. Available OS images: A"
    assert isinstance(classify(reply(400, {"detail": both}), "launch"), NoFunds)
    later = "Offer unavailable: Insufficient balance at the house above"
    assert isinstance(classify(reply(400, {"detail": later}), "launch"), NoCapacity)


def test_an_unknown_400_on_create_keeps_its_raw_text_and_holds_only_that_offer() -> None:
    error = classify(reply(400, {"detail": "Plan ist weg"}), "launch")
    assert (error.type, error.scope, error.message) == ("NoCapacity", "offer", "Plan ist weg")
    assert error.then is Then.NEXT_OFFER


def test_the_echoed_input_of_a_validation_error_is_not_repeated() -> None:
    status, body = golden.ERRORS["validation"]
    body = {"detail": [{**body["detail"][0], "input": "hf_secret_token"}]}
    error = classify(reply(status, body), "launch")
    assert "hf_secret_token" not in str(error)
    assert "body.container_settings.expose.0.port" in str(error)


def test_the_listed_images_are_read_back() -> None:
    assert images_in(golden.ERRORS["wrong-image"][1]["detail"]) == ("A", "B")
    assert images_in("no such list") == ()


def test_a_long_list_of_images_survives_whole() -> None:
    names = [f"ubuntu22.04_cuda12.{n}_shade_os" for n in range(60)]
    text = f"Provided OS image X is not supported. Available OS images: {', '.join(names)}"
    assert images_in(classify(reply(400, {"detail": text}), "launch").message) == tuple(names)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "Wed, 04 Mar 2026 10:00:30 GMT", "date": "Wed, 04 Mar 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "Wed, 04 Mar 2026 10:00:30 GMT"}, 5.0),
        ({"retry-after": "soon", "date": "nonsense"}, 5.0),
        ({"retry-after": "²"}, 5.0),
        ({}, 5.0),
    ],
)
def test_a_429_says_how_long_to_wait(headers: dict[str, str], wait_s: float) -> None:
    error = classify(reply(429, {"detail": "slow down"}, **headers), "launch")
    assert isinstance(error, RateLimited)
    assert error.wait_s == wait_s


def test_a_long_text_is_cut_between_two_words() -> None:
    error = classify(reply(418, {"detail": "word " * 500}), "launch")
    assert len(error.message) < 620
    assert error.message.endswith("word [...]")


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ("bad-key", AuthFailed),
        ("bad-key-401", AuthFailed),
        ("forbidden", Forbidden),
        ("validation", InvalidRequest),
        ("no-funds", NoFunds),
        ("not-found", OfferGone),
    ],
)
async def test_documented_refusals_of_a_create_come_out_typed(
    world: World, router: Any, case: str, error: type[ProviderError]
) -> None:
    offer = await container_offer(world, router)
    route = router.post(CONTAINERS).mock(return_value=answer(case))
    with pytest.raises(error):
        await world.provider.launch(offer, spec(), spec().name)
    assert route.call_count == 1


async def test_an_offer_that_was_taken_sends_to_the_next_and_its_text_is_counted(world: World, router: Any) -> None:
    offer = await vm_offer(world, router)
    router.post(VMS).respond(400, json={"detail": "No such offer any more"})
    with pytest.raises(NoCapacity) as caught:
        await world.provider.launch(offer, spec(), spec().name)
    assert caught.value.then is Then.NEXT_OFFER
    assert world.unclassified == [("fluence", "http-400", "No such offer any more")]


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_5xx_on_create_leaves_the_outcome_unknown_and_is_not_repeated(
    world: World, router: Any, status: int
) -> None:
    offer = await container_offer(world, router)
    route = router.post(CONTAINERS).respond(status, html="<h1>oops</h1>")
    with pytest.raises(OutcomeUnknown):
        await world.provider.launch(offer, spec(), spec().name)
    assert route.call_count == 1


async def test_a_proxys_400_page_on_create_proves_nothing(world: World, router: Any) -> None:
    offer = await container_offer(world, router)
    router.post(CONTAINERS).respond(400, html="<h1>Bad request</h1>")
    with pytest.raises(OutcomeUnknown):
        await world.provider.launch(offer, spec(), spec().name)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"instance_id": null}', b"created"])
async def test_an_accepted_create_without_an_id_leaves_the_outcome_unknown(
    world: World, router: Any, body: bytes
) -> None:
    offer = await container_offer(world, router)
    router.post(CONTAINERS).mock(return_value=httpx.Response(201, content=body))
    with pytest.raises(OutcomeUnknown):
        await world.provider.launch(offer, spec(), spec().name)


async def test_a_create_that_never_reached_fluence_made_nothing(world: World, router: Any) -> None:
    offer = await container_offer(world, router)
    router.post(CONTAINERS).mock(side_effect=httpx.ConnectError("refused"))
    with pytest.raises(Unavailable):
        await world.provider.launch(offer, spec(), spec().name)


async def test_a_lost_answer_to_a_create_leaves_the_outcome_unknown(world: World, router: Any) -> None:
    offer = await container_offer(world, router)
    router.post(CONTAINERS).mock(side_effect=httpx.ReadError("cut"))
    with pytest.raises(OutcomeUnknown):
        await world.provider.launch(offer, spec(), spec().name)


async def test_reads_are_repeated_after_a_5xx(world: World, router: Any) -> None:
    broken = httpx.Response(500, html="<h1>oops</h1>")
    router.get("/gpu/plans/").mock(side_effect=[broken, httpx.Response(200, json=golden.CONTAINER_PLANS)])
    router.get("/gpu/plans/vms").respond(json={"data": []})
    router.get("/gpu/plans/baremetal").respond(json={"data": []})
    from tests.unit.fluence.kit import listing

    assert len((await listing(world)).offers) == 2
