"""Every row of the table of refusals, and what has no row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers import errors
from providers.errors import ProviderError, QuotaExceeded, RateLimited
from providers.http import Reply
from providers.lambda_cloud.errors import TABLE, classify, read
from tests.contract import lambda_golden as golden

PAGE = b"<html><head><title>Sorry</title></head><body>Try later</body></html>"
GATEWAY = {"message": "no Route matched with those values"}


def reply(status: int, body: Any, headers: dict[str, str] | None = None) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, {k.lower(): v for k, v in (headers or {}).items()}, raw)


def case(name: str, status: int | None = None) -> Reply:
    documented, body = golden.ERRORS[name]
    return reply(status or documented, body)


#: The number of its row in the table, the answer, the verb, the type that is made of it.
ROWS: list[tuple[int, Reply, str, type[ProviderError]]] = [
    (0, reply(429, PAGE), "launch", errors.RateLimited),
    (0, case("rate-limited"), "launch", errors.RateLimited),
    (1, case("rate-limited", 400), "owned", errors.RateLimited),
    (2, case("invalid-api-key"), "offers", errors.AuthFailed),
    (2, case("invalid-api-key", 403), "launch", errors.AuthFailed),
    (3, reply(401, PAGE), "launch", errors.AuthFailed),
    (4, case("account-inactive"), "offers", errors.Forbidden),
    (4, case("invalid-address"), "launch", errors.Forbidden),
    (5, case("forbidden"), "owned", errors.Forbidden),
    (6, reply(402, GATEWAY), "launch", errors.NoFunds),
    (7, case("insufficient-capacity"), "launch", errors.NoCapacity),
    (8, case("quota-exceeded"), "launch", errors.QuotaExceeded),
    (9, case("invalid-parameters"), "launch", errors.InvalidRequest),
    (9, case("invalid-parameters"), "terminate", errors.InvalidRequest),
    (10, case("resource-not-found"), "launch", errors.OfferGone),
    (10, case("resource-not-found", 404), "launch", errors.OfferGone),
    (10, case("instance-not-found"), "find", errors.OfferGone),
    (10, case("instance-not-found"), "terminate", errors.OfferGone),
    (11, case("not-found"), "terminate", errors.OfferGone),
    (12, case("file-system-in-wrong-region"), "launch", errors.OfferGone),
    (13, case("file-systems-not-supported"), "launch", errors.InvalidRequest),
    (14, case("internal-error"), "launch", errors.OutcomeUnknown),
    (14, case("internal-error", 409), "launch", errors.OutcomeUnknown),
    (14, case("provider-unavailable"), "launch", errors.OutcomeUnknown),
    (14, case("provider-unavailable", 400), "launch", errors.OutcomeUnknown),
    (14, case("unknown"), "launch", errors.OutcomeUnknown),
    (15, case("internal-error", 409), "terminate", errors.Unavailable),
    (15, case("provider-unavailable"), "owned", errors.Unavailable),
    (15, case("unknown"), "find", errors.Unavailable),
    (16, case("conflict"), "launch", errors.Unclassified),
    (17, case("conflict"), "terminate", errors.Unavailable),
    (18, case("duplicate"), "launch", errors.Unclassified),
    (19, case("duplicate"), "account", errors.InvalidRequest),
    (19, case("key-in-use"), "account", errors.InvalidRequest),
    (20, case("filesystem-in-use"), "terminate", errors.Unavailable),
    (20, case("firewall-ruleset-in-use"), "terminate", errors.Unavailable),
    (21, reply(408, PAGE), "launch", errors.OutcomeUnknown),
    (22, reply(408, PAGE), "owned", errors.Unavailable),
    (23, reply(403, PAGE), "launch", errors.Unclassified),
    (23, reply(400, b""), "launch", errors.Unclassified),
    (24, reply(403, PAGE), "owned", errors.Unavailable),
    (25, reply(404, GATEWAY), "launch", errors.Unclassified),
    (26, reply(404, GATEWAY), "find", errors.Unavailable),
    (27, reply(403, GATEWAY), "launch", errors.Forbidden),
    (28, reply(502, PAGE), "launch", errors.Unavailable),
    (28, reply(500, GATEWAY), "find", errors.Unavailable),
    (29, reply(400, golden.refusal("global/brand-new", "No.")), "launch", errors.Unclassified),
    (29, reply(409, golden.refusal("global/brand-new", "No.")), "launch", errors.Unclassified),
]


@pytest.mark.parametrize(("row", "answer", "verb", "type_"), ROWS)
def test_each_refusal_means_what_the_table_says(row: int, answer: Reply, verb: str, type_: type[ProviderError]) -> None:
    error = classify(answer, verb)
    assert type(error) is type_
    said = read(answer)
    assert next(number for number, one in enumerate(TABLE) if one.fits(said, verb)) == row
    assert error.code == (said.code or TABLE[row].code or f"http-{answer.status}")
    assert error.message


def test_every_row_of_the_table_is_tried_above() -> None:
    assert {row[0] for row in ROWS} == set(range(len(TABLE)))


def test_every_documented_refusal_is_in_the_table_by_its_code() -> None:
    known = {code for row in TABLE for code in row.codes}
    for _, body in golden.ERRORS.values():
        code = body["error"]["code"]
        assert code in known or any(code.startswith(start) for start in known if start.endswith("/")), code


def test_every_type_in_the_table_is_one_that_the_store_knows() -> None:
    assert all(errors.BY_NAME[row.error.__name__] is row.error for row in TABLE)


def test_a_lack_of_capacity_holds_that_type_in_that_region_for_a_minute() -> None:
    error = classify(case("insufficient-capacity"), "launch")
    assert (error.scope, error.hold_s) == ("offer", 60.0)


def test_a_quota_concerns_one_kind_of_gpu_in_the_account() -> None:
    error = classify(case("quota-exceeded"), "launch")
    assert isinstance(error, QuotaExceeded)
    assert (error.scope, error.bucket, error.hold_s) == ("account", "GPU family", 3600.0)


@pytest.mark.parametrize("name", ["account-inactive", "invalid-address"])
def test_an_account_that_may_not_rent_is_left_alone(name: str) -> None:
    error = classify(case(name), "launch")
    assert (error.then, error.scope, error.hold_drops) == (errors.Then.NEXT_PROVIDER, "account", True)


@pytest.mark.parametrize("name", sorted(golden.ERRORS))
def test_no_5xx_of_a_launch_is_ever_a_refusal(name: str) -> None:
    # http.py makes OutcomeUnknown of Unavailable and Unclassified there.
    error = classify(case(name, 500), "launch")
    assert error.type in {"OutcomeUnknown", "Unavailable", "Unclassified"}


@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.parametrize("body", [PAGE, b"", b"[]", b"null", GATEWAY, {"error": "not found"}, {"error": {}}])
@pytest.mark.parametrize("verb", ["find", "terminate", "owned"])
def test_what_is_not_lambdas_own_word_never_means_gone(status: int, body: Any, verb: str) -> None:
    assert not isinstance(classify(reply(status, body), verb), errors.OfferGone)


def test_message_and_suggestion_are_kept_and_old_field_errors_too() -> None:
    assert classify(case("quota-exceeded"), "launch").message == (
        "Quota exceeded. Contact Support to increase your quota."
    )
    old = {
        **golden.refusal("global/invalid-parameters", "Invalid request data."),
        "field_errors": {"quantity": {"code": "global/invalid-parameters", "message": "Requested too many instances."}},
    }
    assert classify(reply(400, old), "launch").message == (
        "Invalid request data. (quantity: Requested too many instances.)"
    )


def test_a_page_is_read_without_its_tags_and_cut_between_words() -> None:
    assert classify(reply(503, PAGE), "owned").message == "Sorry Try later"
    long = classify(reply(400, golden.refusal("x/y", "word " * 400)), "launch").message
    assert len(long) <= 610
    assert long.endswith("word [...]")


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, 10.0),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "soon"}, 10.0),
        ({"Retry-After": "-4"}, 10.0),
        ({"Retry-After": "999999"}, 3600.0),
        ({"Retry-After": "Sun, 22 Nov 2026 12:00:30 GMT", "Date": "Sun, 22 Nov 2026 12:00:10 GMT"}, 20.0),
        ({"Retry-After": "Sun, 22 Nov 2026 12:00:00 GMT", "Date": "Sun, 22 Nov 2026 12:00:10 GMT"}, 0.0),
        ({"Retry-After": "Sun, 22 Nov 2026 12:00:30 GMT"}, 10.0),
        ({"Retry-After": "Sun, 22 Nov 2026 12:00:30 -0000", "Date": "Sun, 22 Nov 2026 12:00:10 GMT"}, 10.0),
    ],
)
def test_a_rate_limit_says_how_long_to_wait(headers: dict[str, str], wait: float) -> None:
    error = classify(reply(429, golden.ERRORS["rate-limited"][1], headers), "launch")
    assert isinstance(error, RateLimited)
    assert error.wait_s == wait


@pytest.mark.parametrize(
    "body", [{"error": 3}, {"error": {"code": 3, "message": None}}, {"field_errors": [1]}, {"error": [1]}, [1], "x"]
)
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 418, 429, 500])
def test_no_shape_of_body_breaks_the_reader(status: int, body: Any) -> None:
    for verb in ("launch", "find", "terminate", "offers"):
        assert classify(reply(status, body), verb).message
