"""Every row of the table, and every documented shape of a refusal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.errors import BY_NAME, NoCapacity, ProviderError, QuotaExceeded, RateLimited
from providers.http import Reply
from providers.vast import limits
from providers.vast.errors import NO_INSTANCE, TABLE, Row, classify, contract_of, read
from tests.contract import vast_golden as golden

VERBS = ("account", "offers", "more", "price", "launch", "find", "owned", "terminate", "key")


def reply(status: int, body: Any, **headers: str) -> Reply:
    raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def case(name: str, verb: str = "launch") -> ProviderError:
    return classify(reply(*golden.ERRORS[name]), verb)


@pytest.mark.parametrize(
    ("name", "verb", "type_", "code", "scope"),
    [
        ("bad-key", "launch", "AuthFailed", "auth_error", "provider"),
        ("bad-key", "offers", "AuthFailed", "auth_error", "provider"),
        ("bad-key", "find", "AuthFailed", "auth_error", "provider"),
        ("bad-key", "terminate", "AuthFailed", "auth_error", "provider"),
        ("bad-key-401", "owned", "AuthFailed", "auth_error", "provider"),
        ("login", "launch", "AuthFailed", "auth_error", "provider"),
        ("two-factor", "account", "AuthFailed", "two-factor", "provider"),
        ("session", "account", "AuthFailed", "session-expired", "provider"),
        ("permission", "launch", "Forbidden", "permission_denied", "provider"),
        ("gone-410", "launch", "OfferGone", "no_such_ask", "offer"),
        ("gone-404", "launch", "OfferGone", "no_such_ask", "offer"),
        ("gone-400", "launch", "OfferGone", "no_such_ask", "offer"),
        ("own-offer", "launch", "OfferGone", "own-offer", "offer"),
        ("bid-too-low", "launch", "NoCapacity", "bid-too-low", "offer"),
        ("bad-price", "launch", "PriceChanged", "invalid_price", "offer"),
        ("vm-key", "launch", "InvalidRequest", "no_ssh_key_for_vm", "offer"),
        ("invalid", "launch", "InvalidRequest", "invalid_args", "offer"),
        ("invalid-json", "offers", "InvalidRequest", "invalid_request", "offer"),
        ("no-credit", "launch", "NoFunds", "insufficient_credit", "account"),
        ("no-billing", "launch", "NoFunds", "missing_billing", "account"),
        ("spend-rate", "launch", "QuotaExceeded", "spend-rate", "account"),
        ("no-instance", "find", "OfferGone", NO_INSTANCE, "offer"),
        ("no-instance", "terminate", "OfferGone", NO_INSTANCE, "offer"),
        ("not-found", "terminate", "OfferGone", NO_INSTANCE, "offer"),
        ("server", "launch", "OutcomeUnknown", "server_error", "offer"),
        ("server", "owned", "Unavailable", "server_error", "provider"),
        ("too-fast", "launch", "RateLimited", "http-429", "provider"),
        ("quota", "offers", "RateLimited", "search_quota_exceeded", "provider"),
        ("quota", "more", "RateLimited", "search_quota_exceeded", "provider"),
        ("quota", "price", "QuotaExceeded", "search_quota_exceeded", "account"),
    ],
)
def test_documented_refusals(name: str, verb: str, type_: str, code: str, scope: str) -> None:
    error = case(name, verb)
    assert (error.type, error.code, error.scope) == (type_, code, scope)
    assert error.message


def test_every_documented_refusal_stands_in_the_list_above() -> None:
    [marks] = [mark for mark in test_documented_refusals.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    assert {row[0] for row in marks.args[1]} == set(golden.ERRORS)


@pytest.mark.parametrize(
    ("status", "body", "verb", "type_"),
    [
        (402, {"msg": "pay"}, "launch", "NoFunds"),
        (403, {"msg": "no"}, "launch", "Forbidden"),
        (403, {"error": "forbidden", "msg": "your role may not do that"}, "terminate", "Forbidden"),
        (401, {"msg": "API key restricted to reading"}, "launch", "Forbidden"),
        (401, "who are you", "launch", "AuthFailed"),
        (410, {"msg": "taken"}, "launch", "OfferGone"),
        (410, {"msg": "this API is gone"}, "owned", "Unclassified"),
        (404, {"error": "not_found", "msg": "?"}, "launch", "Unclassified"),
        (404, {"msg": "no such page"}, "terminate", "Unclassified"),
        (404, "<html>nginx 404</html>", "terminate", "Unavailable"),
        (403, "<html>firewall</html>", "owned", "Unavailable"),
        (404, "<html>nginx 404</html>", "launch", "Unclassified"),
        (408, {"msg": "slow"}, "launch", "OutcomeUnknown"),
        (408, {"msg": "slow"}, "owned", "Unavailable"),
        (400, {"msg": "Something went wrong on the server"}, "launch", "OutcomeUnknown"),
        (502, "<html>bad gateway</html>", "launch", "Unavailable"),
        (400, {"error": "x", "msg": "You have been outbid"}, "launch", "NoCapacity"),
        (400, {"error": "x", "msg": "Your bid must be higher than 0.3"}, "launch", "NoCapacity"),
        (400, {"error": "x", "msg": "Insufficient credits"}, "launch", "NoFunds"),
        (400, {"error": "brand_new", "msg": "never seen"}, "launch", "Unclassified"),
        (418, {}, "owned", "Unclassified"),
        (200, {"success": False, "error": "brand_new"}, "launch", "Unclassified"),
        (200, golden.REFUSED_200, "launch", "OfferGone"),
        (429, {}, "find", "RateLimited"),
        (429, golden.TOO_FAST_TEXT, "launch", "RateLimited"),
    ],
)
def test_other_refusals(status: int, body: Any, verb: str, type_: str) -> None:
    assert classify(reply(status, body), verb).type == type_


def test_a_firewalls_403_on_create_proves_nothing() -> None:
    # `Http` makes OutcomeUnknown of an unclassified page; Forbidden would claim that nothing was made.
    for page in ("<html>blocked</html>", "<html>403 Forbidden</html>", "not allowed"):
        assert classify(reply(403, page), "launch").type == "Unclassified"
        assert classify(reply(403, page), "owned").type == "Unavailable"


def test_the_wrong_key_is_seen_before_the_missing_offer() -> None:
    body = {"error": "auth_error", "msg": "error 404/3603: no_such_ask? Invalid user key"}
    assert classify(reply(404, body), "launch").type == "AuthFailed"


def test_a_refusal_that_names_a_contract_is_a_bid_too_low_whatever_it_says() -> None:
    for status in (200, 400, 403, 409, 500, 503):
        error = classify(reply(status, {"success": False, "msg": "try again", "new_contract": 7}), "launch")
        assert isinstance(error, NoCapacity), status
        assert error.code == "bid-too-low"
    known = {"success": False, "error": "insufficient_credit", "new_contract": 7}
    assert classify(reply(400, known), "launch").type == "NoFunds"


@pytest.mark.parametrize(
    ("body", "contract"),
    [
        ({"new_contract": 7}, 7),
        ({"new_contract": "7"}, 7),
        ({"new_contract": None}, None),
        ({"new_contract": 0}, None),
        ({"new_contract": True}, None),
        ({"new_contract": "x"}, None),
        ([], None),
        (None, None),
    ],
)
def test_the_contract_a_create_names(body: Any, contract: int | None) -> None:
    assert contract_of(body) == contract


def test_the_container_key_in_a_refusal_is_not_repeated() -> None:
    body = {"success": False, "new_contract": 7, "instance_api_key": "5ec2e7ab1e"}
    assert "5ec2e7ab1e" not in classify(reply(400, body), "launch").message


def test_the_spend_rate_holds_one_model_of_the_account() -> None:
    error = case("spend-rate")
    assert isinstance(error, QuotaExceeded)
    assert error.bucket == "spend rate"


@pytest.mark.parametrize("body", [{"msg": 3, "error": ["x"], "detail": {}}, [1], "text", 7, None, {"error": "e" * 99}])
@pytest.mark.parametrize("status", [200, 400, 401, 402, 403, 404, 408, 410, 418, 422, 429, 500, 503])
def test_no_shape_of_body_breaks_the_reader(status: int, body: Any) -> None:
    for verb in VERBS:
        error = classify(reply(status, body), verb)
        assert error.message
        assert error.code


def test_long_texts_are_cut_between_words() -> None:
    said = read(reply(400, {"msg": "word " * 1000}))
    assert len(said.text) < 620
    assert said.text.endswith("word [...]")


def test_the_table_is_data_and_each_row_is_named_once() -> None:
    assert len({row.case for row in TABLE}) == len(TABLE)
    assert all(isinstance(row, Row) and row.error.__name__ in BY_NAME and row.source for row in TABLE)


# Which answer each row of the table is there for; the next test holds it complete.
WITNESSES: dict[str, tuple[int, Any, str]] = {
    "search-quota": (*golden.ERRORS["quota"], "offers"),
    "quote-quota": (*golden.ERRORS["quota"], "price"),
    "rate-limit": (429, golden.TOO_FAST_TEXT, "find"),
    "key": (*golden.ERRORS["bad-key"], "launch"),
    "two-factor": (*golden.ERRORS["two-factor"], "account"),
    "session": (*golden.ERRORS["session"], "account"),
    "right": (*golden.ERRORS["permission"], "launch"),
    "key-code": (*golden.ERRORS["login"], "launch"),
    "login": (401, {"msg": "Unauthorized"}, "owned"),
    "page": (404, "<html>", "launch"),
    "page-read": (404, "<html>", "owned"),
    "offer-gone": (*golden.ERRORS["gone-404"], "launch"),
    "own-offer": (*golden.ERRORS["own-offer"], "launch"),
    "offer-gone-status": (410, {"msg": "taken"}, "launch"),
    "money": (*golden.ERRORS["no-credit"], "launch"),
    "payment": (402, {"msg": "pay"}, "launch"),
    "spend-rate": (*golden.ERRORS["spend-rate"], "launch"),
    "bid-too-low": (*golden.ERRORS["bid-too-low"], "launch"),
    "bid-refused": (400, {"msg": "the bid is too low"}, "launch"),
    "no-resources": (400, {"msg": "Required resources are currently unavailable, state change queued"}, "launch"),
    "price": (*golden.ERRORS["bad-price"], "launch"),
    "no-instance": (*golden.ERRORS["no-instance"], "find"),
    "not-found": (*golden.ERRORS["not-found"], "terminate"),
    "server-words": (*golden.ERRORS["server"], "launch"),
    "server-words-read": (*golden.ERRORS["server"], "owned"),
    "validation": (*golden.ERRORS["invalid"], "launch"),
    "forbidden": (403, {"msg": "no"}, "launch"),
    "timeout": (408, {"msg": "slow"}, "launch"),
    "timeout-read": (408, {"msg": "slow"}, "find"),
    "server": (500, "oops", "launch"),
    "other": (418, {"msg": "tea"}, "launch"),
}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.case)
def test_every_row_is_reached(row: Row) -> None:
    status, body, verb = WITNESSES[row.case]
    said = read(reply(status, body))
    assert next(each for each in TABLE if each.fits(said, verb)) is row


# -- how long to wait -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "verb", "wait"),
    [
        (reply(429, golden.TOO_FAST_TEXT), "terminate", 3.25),
        (reply(429, {"detail": "API requests too frequent endpoint threshold=9"}), "owned", 9.25),
        (reply(429, golden.TOO_FAST_BARE), "find", 2.25),
        (reply(429, golden.TOO_FAST_BARE), "price", 6.25),
        (reply(429, golden.TOO_FAST_BARE), "account", 5.25),
        # A create that came too soon is punished; a longer threshold than the usual one says it all.
        (reply(429, golden.ERRORS["too-fast"][1]), "launch", 16.75),
        (reply(429, golden.TOO_FAST_BARE), "launch", 16.75),
        (reply(429, {"detail": "threshold=7.0"}), "launch", 7.25),
        # Retry-After is not documented, and wins where it comes.
        (reply(429, golden.TOO_FAST_TEXT, retry_after="7"), "launch", 7.0),
        (reply(429, golden.TOO_FAST_TEXT, retry_after="0"), "launch", 1.0),
        (
            reply(429, "", retry_after="Sun, 22 Nov 2026 12:00:20 GMT", date="Sun, 22 Nov 2026 12:00:00 GMT"),
            "find",
            20.0,
        ),
        (reply(429, "", retry_after="soon"), "find", 2.25),
        (reply(429, "", retry_after="soon", date="Sun, 22 Nov 2026 12:00:00 GMT"), "find", 2.25),
    ],
)
def test_how_long_a_429_asks_to_wait(answer: Reply, verb: str, wait: float) -> None:
    error = classify(answer, verb)
    assert isinstance(error, RateLimited)
    assert error.wait_s == pytest.approx(wait)


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        ({"x_ratelimit_reset": "1795392000", "date": "Sun, 22 Nov 2026 12:00:00 GMT"}, 43200.0),
        ({"x_ratelimit_reset": "1795392000", "date": "Tue, 24 Nov 2026 12:00:00 GMT"}, 60.0),
        ({"x_ratelimit_reset": "1795392000"}, limits.QUOTA_GUESS_S),
        ({"x_ratelimit_reset": "tomorrow", "date": "Sun, 22 Nov 2026 12:00:00 GMT"}, limits.QUOTA_GUESS_S),
        ({}, limits.QUOTA_GUESS_S),
    ],
)
def test_when_the_search_quota_ends(headers: dict[str, str], left: float) -> None:
    assert limits.quota_s(reply(429, golden.ERRORS["quota"][1], **headers)) == left


def test_the_documented_intervals_are_kept() -> None:
    spacing = {verb: rate.spacing_s for rate in limits.RATES for verb in rate.verbs}
    assert spacing == {
        "offers": 6.0,
        "price": 6.0,
        "more": 1.0,
        "launch": 4.5,
        "terminate": 3.0,
        "find": 2.0,
        "owned": 1.0,
        "key": 1.0,
    }
