"""The contract over Vast.ai's wire: account, launch, find, owned, terminate, check."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import respx

from providers import errors
from providers.base import AttemptRef, Context, Instance, LaunchSpec, Offer, Phase
from providers.env import ManualEnv
from providers.http import BadUrl
from providers.naming import make
from providers.vast.adapter import Vast
from tests.contract import vast_golden as golden

ASK = f"/api/v0/asks/{golden.ASK_ID}/"
ID = str(golden.CONTRACT_ID)
ONE = f"/api/v0/instances/{ID}/"
KEYS = f"{ONE}ssh/"
LIST = "/api/v1/instances/"
OWNER = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"
TOKEN = make(OWNER, "abcdefghi", 1)

Attempt = Callable[..., AttemptRef]


def calls(wire: respx.MockRouter, path: str) -> list[httpx.Request]:
    return [call.request for call in wire.calls if call.request.url.path == path]


def stored(**changes: Any) -> Instance:
    """What a store hands to `terminate`."""
    known = {"provider": "vast", "account": "271828", "id": ID, "handle": {"kind": "instance"}, "token": TOKEN}
    return Instance(**{**known, **changes})


# -- account ----------------------------------------------------------------------------------------------


async def test_the_account_is_the_user_and_read_once(vast: Vast, wire: respx.MockRouter) -> None:
    assert await vast.account() == await vast.account() == "271828"
    assert len(wire.calls) == 1
    request = wire.calls[0].request
    assert request.headers["authorization"] == "Bearer 5ecre7ab1e5ecre7ab1e5ecre7ab1e5e"
    assert request.headers["user-agent"].startswith("gpu-orch/")
    assert "api_key" not in str(request.url)


@pytest.mark.parametrize("user", [{}, {"id": None}, {"id": "x"}, [], "x"])
async def test_an_answer_without_a_user_is_no_account(vast: Vast, wire: respx.MockRouter, user: Any) -> None:
    wire["user"].respond(json=user)
    with pytest.raises(errors.Unavailable):
        await vast.account()


@pytest.mark.parametrize(
    ("case", "code"),
    [("bad-key", "auth_error"), ("two-factor", "two-factor"), ("session", "session-expired"), ("login", "auth_error")],
)
async def test_a_key_that_is_not_accepted_says_why(
    vast: Vast, wire: respx.MockRouter, case: str, code: str, offer: Offer, spec: LaunchSpec, attempt: Attempt
) -> None:
    status, body = golden.ERRORS[case]
    wire.route().respond(status, json=body)
    wire["user"].respond(status, json=body)
    for call in (vast.account(), vast.owned(), vast.find(attempt()), vast.terminate(stored())):
        with pytest.raises(errors.AuthFailed) as caught:
            await call
        assert caught.value.code == code
        assert "5ecre7ab1e" not in str(caught.value)


async def test_without_a_key_every_method_says_so(env: ManualEnv, tmp_path: Any, attempt: Attempt) -> None:
    vast = Vast(Context(env=env, settings={"HOME": str(tmp_path)}, owner=OWNER))
    for call in (vast.account(), vast.owned(), vast.find(attempt()), vast.terminate(stored()), vast.check()):
        with pytest.raises(errors.AuthFailed, match="VAST_API_KEY"):
            await call
    await vast.aclose()


# -- launch -----------------------------------------------------------------------------------------------


async def test_a_launch_takes_exactly_the_chosen_ask(
    vast: Vast, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec, env: ManualEnv
) -> None:
    wire.put(ASK).respond(json=golden.CREATED)
    made = await vast.launch(offer, spec, TOKEN)
    assert (made.id, made.token, made.owner, made.phase) == (ID, TOKEN, OWNER, Phase.PENDING)
    assert (made.account, made.address, made.failure) == ("271828", None, None)
    assert made.handle == {"kind": "instance", "made_at": env.now().isoformat()}
    [sent] = calls(wire, ASK)
    assert json.loads(sent.content)["label"] == TOKEN
    assert json.loads(sent.content)["price"] is None
    assert {call.request.url.path for call in wire.calls} == {"/api/v0/users/current/", ASK}


async def test_an_interruptible_launch_bids_what_was_quoted(
    vast: Vast, wire: respx.MockRouter, bid: Offer, spec: LaunchSpec
) -> None:
    wire.put(ASK).respond(json=golden.CREATED)
    await vast.launch(bid, spec, TOKEN)
    assert json.loads(calls(wire, ASK)[0].content)["price"] == 0.21


@pytest.mark.parametrize(
    ("case", "type_"),
    [
        ("gone-410", errors.OfferGone),
        ("gone-404", errors.OfferGone),
        ("gone-400", errors.OfferGone),
        ("own-offer", errors.OfferGone),
        ("bad-key", errors.AuthFailed),
        ("permission", errors.Forbidden),
        ("no-credit", errors.NoFunds),
        ("spend-rate", errors.QuotaExceeded),
        ("bad-price", errors.PriceChanged),
        ("invalid", errors.InvalidRequest),
        ("vm-key", errors.InvalidRequest),
        ("server", errors.OutcomeUnknown),
        ("too-fast", errors.RateLimited),
    ],
)
async def test_a_refused_create_is_classed_and_never_sent_twice(
    vast: Vast, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec, case: str, type_: Any
) -> None:
    wire.put(ASK).respond(golden.ERRORS[case][0], json=golden.ERRORS[case][1])
    with pytest.raises(errors.ProviderError) as caught:
        await vast.launch(offer, spec, TOKEN)
    assert type(caught.value) is type_
    assert caught.value.left == ()
    assert len(calls(wire, ASK)) == 1


@pytest.mark.parametrize(
    ("case", "type_"),
    [
        ("gone-410", errors.OfferGone),
        ("bad-key", errors.AuthFailed),
        ("no-credit", errors.NoFunds),
        ("spend-rate", errors.QuotaExceeded),
        ("bad-price", errors.PriceChanged),
        ("invalid", errors.InvalidRequest),
        ("invalid-json", errors.InvalidRequest),
        ("server", errors.OutcomeUnknown),
    ],
)
async def test_a_200_that_is_a_refusal_is_classed_like_any_other(
    vast: Vast, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec, case: str, type_: Any
) -> None:
    wire.put(ASK).respond(200, json=golden.ERRORS[case][1])  # some leave `success` out
    with pytest.raises(errors.ProviderError) as caught:
        await vast.launch(offer, spec, TOKEN)
    assert type(caught.value) is type_


@pytest.mark.parametrize("status", [200, 400, 409, 500])
async def test_a_bid_that_was_too_low_names_the_machine_it_left(
    vast: Vast, wire: respx.MockRouter, bid: Offer, spec: LaunchSpec, status: int
) -> None:
    wire.put(ASK).respond(status, json=golden.ERRORS["bid-too-low"][1])
    with pytest.raises(errors.NoCapacity) as caught:
        await vast.launch(bid, spec, TOKEN)
    assert caught.value.code == "bid-too-low"
    [left] = caught.value.left
    assert (left.id, left.account, left.token, left.provider) == (ID, "271828", TOKEN, "vast")
    wire.delete(ONE).respond(json=golden.DESTROYED)
    wire.get(ONE).respond(json=golden.GONE)
    assert await vast.terminate(left)


async def test_any_refusal_that_names_a_contract_has_it_in_left(
    vast: Vast, wire: respx.MockRouter, bid: Offer, spec: LaunchSpec
) -> None:
    for status, code, type_ in ((400, "insufficient_credit", errors.NoFunds), (429, "x", errors.RateLimited)):
        wire.put(ASK).respond(status, json={"success": False, "error": code, "new_contract": 9})
        with pytest.raises(type_) as caught:
            await vast.launch(bid, spec, TOKEN)
        assert [left.id for left in caught.value.left] == ["9"]


async def test_what_one_create_left_is_not_told_of_the_next(
    vast: Vast, wire: respx.MockRouter, bid: Offer, spec: LaunchSpec
) -> None:
    low, gone = golden.ERRORS["bid-too-low"], golden.ERRORS["gone-410"]
    wire.put(ASK).mock(side_effect=[httpx.Response(low[0], json=low[1]), httpx.Response(gone[0], json=gone[1])])
    for type_, count in ((errors.NoCapacity, 1), (errors.OfferGone, 0)):
        with pytest.raises(type_) as caught:
            await vast.launch(bid, spec, TOKEN)
        assert len(caught.value.left) == count


@pytest.mark.parametrize("status", [200, 400])
async def test_an_unknown_refusal_keeps_its_text_and_is_counted(
    vast: Vast, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec, unclassified: list[Any], status: int
) -> None:
    wire.put(ASK).respond(status, json={"success": False, "error": "moon_phase", "msg": "The moon is wrong."})
    with pytest.raises(errors.Unclassified, match="moon is wrong"):
        await vast.launch(offer, spec, TOKEN)
    assert unclassified == [("vast", "moon_phase", "The moon is wrong.")]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, content=b""),
        httpx.Response(200, content=b"null"),
        httpx.Response(200, html="<html>ok</html>"),
        httpx.Response(200, json={"success": True}),
        httpx.Response(200, json={"success": True, "new_contract": "soon"}),
        httpx.Response(308, headers={"location": "https://vast.ai/api/v0/asks/1/"}),
        httpx.Response(403, html="<html>a firewall's page</html>"),
        httpx.Response(502, html="<html>bad gateway</html>"),
        httpx.Response(503, json={"msg": "try later"}),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
    ],
)
async def test_an_answer_that_cannot_be_read_leaves_the_outcome_unknown(
    vast: Vast, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec, answer: Any
) -> None:
    wire.put(ASK).mock(side_effect=[answer])
    with pytest.raises(errors.OutcomeUnknown):
        await vast.launch(offer, spec, TOKEN)
    assert len(calls(wire, ASK)) == 1


async def test_a_refusal_that_quotes_the_environment_shows_none_of_it(
    vast: Vast, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec, unclassified: list[Any]
) -> None:
    from msgspec.structs import replace

    secret = "hf_verysecret"
    wire.put(ASK).respond(400, json={"error": "odd", "msg": f"what is HF_TOKEN={secret}?"})
    with pytest.raises(errors.Unclassified) as caught:
        await vast.launch(offer, replace(spec, env={"HF_TOKEN": secret}), TOKEN)
    assert secret not in str(caught.value)
    assert secret not in str(unclassified)
    assert "[redacted]" in str(caught.value)


async def test_creates_are_spaced(
    vast: Vast, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec, env: ManualEnv
) -> None:
    wire.put(ASK).respond(json=golden.CREATED)
    await vast.launch(offer, spec, TOKEN)
    await vast.launch(offer, spec, TOKEN)
    assert env.slept == [4.5]


# -- find -------------------------------------------------------------------------------------------------


async def test_a_known_instance_is_read_by_its_id(vast: Vast, wire: respx.MockRouter, attempt: Attempt) -> None:
    wire.get(ONE).respond(json=golden.one(golden.INSTANCE))
    wire.get(KEYS).respond(json=golden.INSTANCE_KEYS)
    seen = await vast.find(attempt(instance_id=ID))
    assert seen is not None
    assert (seen.phase, seen.token) == (Phase.RUNNING, TOKEN)
    assert seen.address is not None
    assert calls(wire, ONE)[0].url.params["owner"] == "me"
    assert calls(wire, LIST) == []


async def test_an_unknown_one_is_looked_up_by_its_label(vast: Vast, wire: respx.MockRouter, attempt: Attempt) -> None:
    strange = {**golden.INSTANCE, "id": 1, "label": "somebody's"}
    wire.get(LIST).respond(json=golden.page(strange, {**golden.NEW, "id": 9}, golden.NEW))
    wire.post("/api/v0/instances/9/ssh/").respond(json=golden.ATTACHED)
    seen = await vast.find(attempt())
    assert seen is not None
    assert (seen.id, seen.phase) == ("9", Phase.PENDING)
    [asked] = calls(wire, LIST)
    assert json.loads(asked.url.params["select_filters"]) == {"label": {"eq": TOKEN}}
    assert asked.url.params["limit"] == "25"


async def test_nobody_with_our_label_is_nothing(vast: Vast, wire: respx.MockRouter, attempt: Attempt) -> None:
    wire.get(LIST).respond(json=golden.page())
    assert await vast.find(attempt()) is None


async def test_another_installations_machine_with_our_label_is_not_ours(
    vast: Vast, wire: respx.MockRouter, attempt: Attempt
) -> None:
    wire.get(LIST).respond(json=golden.page({**golden.INSTANCE, "extra_env": [["ORCH_OWNER", OTHER]]}))
    assert await vast.find(attempt()) is None


@pytest.mark.parametrize(
    "gone",
    [
        httpx.Response(200, json=golden.GONE),
        httpx.Response(200, json={"instances": []}),
        httpx.Response(*[golden.ERRORS["no-instance"][0]], json=golden.ERRORS["no-instance"][1]),
        httpx.Response(*[golden.ERRORS["not-found"][0]], json=golden.ERRORS["not-found"][1]),
    ],
)
async def test_null_and_the_apis_own_404_are_gone(
    vast: Vast, wire: respx.MockRouter, attempt: Attempt, gone: httpx.Response
) -> None:
    wire.get(ONE).mock(side_effect=[gone])
    seen = await vast.find(attempt(instance_id=ID, handle={"made_at": "2026-11-22T11:00:00+00:00"}))
    assert seen is not None
    assert (seen.phase, seen.id) == (Phase.GONE, ID)


async def test_a_newborn_that_is_not_there_yet_is_not_gone(
    vast: Vast, wire: respx.MockRouter, attempt: Attempt, env: ManualEnv
) -> None:
    wire.get(ONE).respond(json=golden.GONE)
    ref = attempt(instance_id=ID, handle={"made_at": env.now().isoformat()})
    assert await vast.find(ref) is None
    env.advance(31)
    seen = await vast.find(ref)
    assert seen is not None
    assert seen.phase is Phase.GONE


async def test_under_another_account_not_finding_proves_nothing(
    vast: Vast, wire: respx.MockRouter, attempt: Attempt
) -> None:
    wire.get(ONE).respond(json=golden.GONE)
    assert await vast.find(attempt(instance_id=ID, account="999")) is None


@pytest.mark.parametrize(
    "answer", [{}, {"instances": {}}, {"instances": 7}, {"instances": {**golden.INSTANCE, "id": 5}}, [], "x", None]
)
async def test_an_odd_answer_for_one_instance_is_never_an_absence(
    vast: Vast, wire: respx.MockRouter, attempt: Attempt, answer: Any
) -> None:
    wire.get(ONE).respond(json=answer)
    with pytest.raises(errors.Unavailable):
        await vast.find(attempt(instance_id=ID))


@pytest.mark.parametrize(
    "answer", [httpx.Response(404, html="<html>nginx</html>"), httpx.Response(404, json={"msg": "?"})]
)
async def test_a_404_that_is_not_about_the_instance_is_never_an_absence(
    vast: Vast, wire: respx.MockRouter, attempt: Attempt, answer: httpx.Response
) -> None:
    wire.get(ONE).mock(side_effect=[answer] * 3)
    with pytest.raises(errors.ProviderError):
        await vast.find(attempt(instance_id=ID))


async def test_an_outbid_machine_is_found_as_failed(
    vast: Vast, wire: respx.MockRouter, attempt: Attempt, bid: Offer
) -> None:
    wire.get(ONE).respond(json=golden.one(golden.OUTBID))
    seen = await vast.find(attempt(instance_id=ID, offer=bid))
    assert seen is not None
    assert seen.phase is Phase.FAILED
    assert seen.failure is not None
    assert (seen.failure.type, seen.failure.code) == ("NoCapacity", "outbid")
    assert calls(wire, KEYS) == []


# -- our key on the instance ------------------------------------------------------------------------------


async def test_a_running_machine_is_given_our_key_unless_it_has_it(
    vast: Vast, wire: respx.MockRouter, attempt: Attempt
) -> None:
    wire.get(ONE).respond(json=golden.one(golden.INSTANCE))
    wire.get(KEYS).mock(
        side_effect=[
            httpx.Response(200, json=golden.NO_INSTANCE_KEYS),
            httpx.Response(200, json=golden.INSTANCE_KEYS),
        ]
    )
    attached = wire.post(KEYS).respond(json=golden.ATTACHED)
    for _ in range(4):
        assert await vast.find(attempt(instance_id=ID))
    assert attached.call_count == 1
    assert json.loads(attached.calls[0].request.content) == golden.ATTACH_BODY
    assert len([call for call in calls(wire, KEYS) if call.method == "GET"]) == 2


async def test_a_booting_machine_is_offered_our_key_once(vast: Vast, wire: respx.MockRouter, attempt: Attempt) -> None:
    wire.get(ONE).respond(json=golden.one(golden.LOADING))
    attached = wire.post(KEYS).respond(400, json={"success": False, "msg": "Instance is not running"})
    for _ in range(3):
        seen = await vast.find(attempt(instance_id=ID))
        assert seen is not None
        assert seen.phase is Phase.PENDING
    assert attached.call_count == 1


@pytest.mark.parametrize("answer", [{"success": True, "ssh_keys": "{"}, {"success": False}, {}, {"ssh_keys": [7, {}]}])
async def test_trouble_with_keys_is_left_to_the_ssh_probe(
    vast: Vast, wire: respx.MockRouter, attempt: Attempt, answer: Any
) -> None:
    wire.get(ONE).respond(json=golden.one(golden.INSTANCE))
    wire.get(KEYS).respond(json=answer)
    wire.post(KEYS).respond(500, text="oops")
    seen = await vast.find(attempt(instance_id=ID))
    assert seen is not None
    assert seen.address is not None


async def test_the_account_itself_is_never_given_a_key(
    vast: Vast, wire: respx.MockRouter, attempt: Attempt, offer: Offer, spec: LaunchSpec
) -> None:
    wire.put(ASK).respond(json=golden.CREATED)
    wire.get(ONE).respond(json=golden.one(golden.INSTANCE))
    wire.get(KEYS).respond(json={"ssh_keys": [{"key": "ssh-ed25519 AAAA another comment"}]})
    await vast.launch(offer, spec, TOKEN)
    await vast.find(attempt(instance_id=ID))
    assert not any(call.request.url.path.startswith("/api/v0/ssh") for call in wire.calls)
    assert not any(call.request.method == "POST" for call in wire.calls)  # the same key under another comment


# -- owned ------------------------------------------------------------------------------------------------


async def test_all_pages_are_read_and_only_ours_come_back(vast: Vast, wire: respx.MockRouter) -> None:
    theirs = {**golden.INSTANCE, "id": 2, "label": make(OTHER, "abcdefghi", 1), "extra_env": []}
    plain = {**golden.INSTANCE, "id": 3, "label": None, "extra_env": []}
    outbid = {**golden.OUTBID, "id": 4}
    wire.get(LIST).mock(
        side_effect=[
            httpx.Response(200, json=golden.page(golden.INSTANCE, theirs, next_token="t1", total=4)),
            httpx.Response(200, json=golden.page(plain, outbid, total=4)),
        ]
    )
    owned = await vast.owned()
    assert [(one.id, one.phase) for one in owned] == [(ID, Phase.RUNNING), ("4", Phase.FAILED)]
    assert all(one.token == TOKEN and one.owner == OWNER for one in owned)
    first, second = calls(wire, LIST)
    assert "after_token" not in first.url.params
    assert second.url.params["after_token"] == "t1"
    assert "select_filters" not in first.url.params


async def test_pages_that_never_end_are_an_unreadable_list(vast: Vast, wire: respx.MockRouter) -> None:
    wire.get(LIST).respond(json=golden.page(golden.INSTANCE, next_token="same"))
    with pytest.raises(errors.Unavailable):
        await vast.owned()


@pytest.mark.parametrize("answer", [{}, {"instances": None}, {"instances": [7]}, [], "x", None])
async def test_a_list_of_another_shape_is_never_empty(vast: Vast, wire: respx.MockRouter, answer: Any) -> None:
    wire.get(LIST).respond(json=answer)
    with pytest.raises(errors.Unavailable):
        await vast.owned()


async def test_an_instance_with_our_mark_and_no_id_makes_the_list_unreadable(
    vast: Vast, wire: respx.MockRouter
) -> None:
    wire.get(LIST).respond(json=golden.page({**golden.INSTANCE, "id": None}))
    with pytest.raises(errors.Unavailable):
        await vast.owned()
    wire.get(LIST).respond(json=golden.page({**golden.INSTANCE, "id": None, "label": "theirs"}))
    assert await vast.owned() == []


# -- terminate --------------------------------------------------------------------------------------------


async def test_it_is_over_when_vast_itself_says_that_there_is_none(vast: Vast, wire: respx.MockRouter) -> None:
    wire.delete(ONE).respond(json=golden.DESTROYED)
    wire.get(ONE).mock(
        side_effect=[httpx.Response(200, json=golden.one(golden.INSTANCE)), httpx.Response(200, json=golden.GONE)]
    )
    assert not await vast.terminate(stored())
    assert await vast.terminate(stored())
    deletes = [call for call in calls(wire, ONE) if call.method == "DELETE"]
    assert len(deletes) == 2
    assert json.loads(deletes[0].content) == {}


@pytest.mark.parametrize("case", ["no-instance", "not-found"])
async def test_a_second_end_is_as_good_as_the_first(vast: Vast, wire: respx.MockRouter, case: str) -> None:
    status, body = golden.ERRORS[case]
    wire.delete(ONE).respond(status, json=body)
    wire.get(ONE).respond(json=golden.GONE)
    assert await vast.terminate(stored())


async def test_a_404_that_the_single_read_does_not_confirm_is_no_end(vast: Vast, wire: respx.MockRouter) -> None:
    status, body = golden.ERRORS["no-instance"]
    wire.delete(ONE).respond(status, json=body)
    wire.get(ONE).respond(json=golden.one(golden.INSTANCE))
    assert not await vast.terminate(stored())


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, json=golden.ERRORS["bad-key"][1]),
        httpx.Response(404, html="<html>nginx</html>"),
        httpx.Response(200, json={"success": False, "msg": "not now"}),
        httpx.Response(308, headers={"location": "https://vast.ai/api"}),
        httpx.Response(500, text="oops"),
    ],
)
async def test_an_end_that_was_not_accepted_is_never_called_gone(
    vast: Vast, wire: respx.MockRouter, answer: httpx.Response
) -> None:
    wire.delete(ONE).mock(side_effect=[answer] * 3)
    wire.get(ONE).respond(json=golden.GONE)
    with pytest.raises(errors.ProviderError):
        await vast.terminate(stored())


async def test_a_429_at_the_end_is_waited_out(vast: Vast, wire: respx.MockRouter, env: ManualEnv) -> None:
    wire.delete(ONE).mock(
        side_effect=[httpx.Response(429, text=golden.TOO_FAST_TEXT), httpx.Response(200, json=golden.DESTROYED)]
    )
    wire.get(ONE).respond(json=golden.GONE)
    assert await vast.terminate(stored())
    assert max(env.slept) >= 3


async def test_what_was_made_in_another_account_is_not_called_gone(vast: Vast, wire: respx.MockRouter) -> None:
    with pytest.raises(errors.Forbidden) as caught:
        await vast.terminate(stored(account="999"))
    assert caught.value.code == "other-account"
    assert calls(wire, ONE) == []


async def test_an_outbid_machine_is_destroyed_and_not_just_left_stopped(vast: Vast, wire: respx.MockRouter) -> None:
    wire.delete(ONE).respond(json=golden.DESTROYED)
    wire.get(ONE).mock(
        side_effect=[httpx.Response(200, json=golden.one(golden.OUTBID)), httpx.Response(200, json=golden.GONE)]
    )
    assert not await vast.terminate(stored())
    assert await vast.terminate(stored())
    assert not any(call.request.method == "PUT" for call in wire.calls)


# -- check and settings -----------------------------------------------------------------------------------


async def test_the_check_shows_account_balance_and_no_secret(vast: Vast, wire: respx.MockRouter) -> None:
    wire["user"].respond(json=golden.USER, headers={"Date": "Sun, 22 Nov 2026 11:59:50 GMT"})
    wire.get(LIST).respond(json=golden.page(golden.INSTANCE, {**golden.INSTANCE, "id": 5, "label": "box"}))
    shown = await vast.check()
    assert shown["account"] == "271828"
    assert shown["balance"] == "credit 23.5 USD, balance 0.0 USD"
    assert shown["instances"] == "2 in the account, 1 of this installation"
    assert shown["clock_skew"] == "10 s"
    assert "5ecre7ab1e" not in str(shown)
    assert "example.com" not in str(shown)


async def test_a_check_without_figures_or_date_says_unknown(vast: Vast, wire: respx.MockRouter) -> None:
    wire["user"].respond(json={"id": 7})
    wire.get(LIST).respond(json=golden.page())
    shown = await vast.check()
    assert (shown["balance"], shown["clock_skew"]) == ("unknown", "unknown")


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ({"ORCH_VAST_URL": "http://127.0.0.1:9/vast/"}, "http://127.0.0.1:9/vast"),
        ({"VAST_URL": "https://vast.example.com"}, "https://vast.example.com"),
        ({"ORCH_VAST_URL": "http://127.0.0.1:9", "VAST_URL": "https://vast.example.com"}, "http://127.0.0.1:9"),
    ],
)
async def test_the_base_url_is_a_setting(context: Context, settings: dict[str, str], host: str) -> None:
    vast = Vast(Context(env=context.env, settings={**context.settings, **settings}, owner=OWNER))
    with respx.mock(base_url=host) as router:
        router.get("/api/v0/users/current/").respond(json=golden.USER)
        assert await vast.account() == "271828"
    await vast.aclose()


@pytest.mark.parametrize("name", ["ORCH_VAST_URL", "VAST_URL"])
def test_a_base_url_that_would_send_the_key_in_the_clear_is_refused(context: Context, name: str) -> None:
    with pytest.raises(BadUrl, match=name):
        Vast(Context(env=context.env, settings={name: "http://console.vast.ai"}, owner=OWNER))


async def test_a_redirect_of_the_old_host_is_never_followed(vast: Vast, wire: respx.MockRouter) -> None:
    wire["user"].respond(308, headers={"location": "https://elsewhere.example/api/v0/users/current/"})
    with pytest.raises(errors.Unavailable) as caught:
        await vast.account()
    assert caught.value.code == "redirect"
    assert len(wire.calls) == 1
