"""Every row of the table of refusals, and what has no row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers import errors
from providers.errors import ProviderError, RateLimited, Unclassified
from providers.http import Reply
from providers.runpod.errors import TABLE, classify
from tests.contract import runpod_golden as golden

PAGE = b"<html><body>Sorry</body></html>"


def reply(status: int, body: Any, headers: dict[str, str] | None = None) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, {k.lower(): v for k, v in (headers or {}).items()}, raw)


def old(detail: str) -> dict[str, Any]:
    """A 400 in RunPod's shape with another sentence."""
    return golden.problem(400, "Bad Request", detail)


ROWS: list[tuple[str, int, Any, str, type[ProviderError]]] = [
    ("no-instances", 400, golden.CAPACITY, "launch", errors.NoCapacity),
    (
        "no-instances",
        400,
        old("There are no longer any instances available with enough disk space."),
        "launch",
        errors.NoCapacity,
    ),
    (
        "no-instances",
        400,
        old("This machine does not have the resources to deploy your pod."),
        "launch",
        errors.NoCapacity,
    ),
    ("balance", 400, old("Insufficient balance to deploy."), "launch", errors.NoFunds),
    ("http-400", 400, golden.RULE_BROKEN, "launch", errors.Unclassified),
    ("http-400-other", 400, golden.RULE_BROKEN, "offers", errors.InvalidRequest),
    ("http-401", 401, golden.NO_TOKEN, "offers", errors.AuthFailed),
    ("http-401", 401, PAGE, "launch", errors.AuthFailed),
    ("http-402", 402, golden.NO_MONEY, "launch", errors.NoFunds),
    ("http-402", 402, b"", "launch", errors.NoFunds),
    ("cloudflare-1010", 403, golden.CLOUDFLARE_1010.encode(), "launch", errors.Unavailable),
    ("cloudflare-1010", 403, b"error code: 1010", "offers", errors.Unavailable),
    (
        "cloudflare-1010",
        403,
        {"title": "Error 1010: Access denied", "status": 403, "detail": "no", "cloudflare_error": True},
        "launch",
        errors.Unavailable,
    ),
    ("pool-forbidden", 403, golden.NO_POOL, "launch", errors.Forbidden),
    ("http-403", 403, golden.DENIED, "launch", errors.Forbidden),
    ("http-404", 404, golden.POD_NOT_FOUND, "find", errors.OfferGone),
    ("http-404", 404, golden.NOT_FOUND, "launch", errors.OfferGone),
    ("http-405", 405, golden.WRONG_METHOD, "terminate", errors.InvalidRequest),
    ("http-408", 408, PAGE, "launch", errors.OutcomeUnknown),
    ("http-408-read", 408, PAGE, "owned", errors.Unavailable),
    ("http-409", 409, golden.CONFLICT, "launch", errors.Unclassified),
    ("http-409-state", 409, golden.CONFLICT, "terminate", errors.Unavailable),
    ("http-410", 410, PAGE, "owned", errors.InvalidRequest),
    ("http-422", 422, golden.EXTRA_KEY, "launch", errors.InvalidRequest),
    ("http-429", 429, golden.TOO_FAST, "launch", errors.RateLimited),
]


@pytest.mark.parametrize(("code", "status", "body", "verb", "type_"), ROWS)
def test_each_refusal_means_what_the_table_says(
    code: str, status: int, body: Any, verb: str, type_: type[ProviderError]
) -> None:
    error = classify(reply(status, body), verb)
    assert (type(error), error.code) == (type_, code)


def test_every_row_of_the_table_is_tried_above() -> None:
    assert {row[0] for row in ROWS} == set(TABLE)


def test_every_type_in_the_table_is_one_that_the_store_knows() -> None:
    assert all(errors.BY_NAME[row.error.__name__] is row.error for row in TABLE.values())


def test_the_rows_that_every_create_may_meet_hold_back_no_more_than_they_must() -> None:
    assert classify(reply(400, golden.CAPACITY), "launch").scope == "offer"
    assert classify(reply(403, golden.NO_POOL), "launch").scope == "offer"
    assert classify(reply(403, golden.DENIED), "launch").scope == "provider"
    assert classify(reply(402, golden.NO_MONEY), "launch").scope == "account"


def test_the_providers_own_words_are_kept() -> None:
    assert classify(reply(400, golden.CAPACITY), "launch").message == golden.CAPACITY_TEXT
    said = classify(reply(422, golden.EXTRA_KEY), "launch").message
    assert said == "Request validation failed. $: additional properties 'bogus' not allowed"


def test_a_cloudflare_block_speaks_of_the_user_agent_and_not_of_the_key() -> None:
    error = classify(reply(403, b"<head>" + b" " * 5000 + golden.CLOUDFLARE_1010.encode()), "launch")
    assert error.code == "cloudflare-1010"
    assert "User-Agent" in error.message


def test_a_retired_api_says_so() -> None:
    assert "retired" in classify(reply(410, {}), "launch").message


def test_a_rate_limit_carries_its_wait() -> None:
    error = classify(reply(429, golden.TOO_FAST, golden.TOO_FAST_HEADERS), "launch")
    assert isinstance(error, RateLimited)
    assert error.wait_s == 12.0


@pytest.mark.parametrize(
    "body",
    [
        PAGE,
        b"",
        b"[]",
        b"null",
        {"message": "no Route matched with those values"},
        {"detail": "pod not found"},
        {"title": "Not Found", "status": 404, "detail": "Error 1016", "cloudflare_error": True},
    ],
)
@pytest.mark.parametrize("verb", ["find", "terminate"])
def test_a_404_that_is_not_runpods_own_never_means_gone(body: Any, verb: str) -> None:
    assert not isinstance(classify(reply(404, body), verb), errors.OfferGone)


@pytest.mark.parametrize("status", [500, 502, 503, 520, 524])
@pytest.mark.parametrize("body", [PAGE, golden.problem(500, "Internal Server Error", "oops")])
def test_a_5xx_is_unavailable_for_the_http_layer_to_judge(status: int, body: Any) -> None:
    error = classify(reply(status, body), "launch")
    assert (error.type, error.code, error.scope) == ("Unavailable", f"http-{status}", "provider")


def test_a_5xx_with_the_words_of_a_refusal_is_still_no_refusal() -> None:
    # v1 answered capacity with 500; RunPod has also made pods and answered 500.
    body = {"error": "create pod: There are no instances currently available", "status": 500}
    assert classify(reply(500, body), "launch").type == "Unavailable"


def test_an_unknown_refusal_is_unclassified_and_an_odd_page_proves_nothing() -> None:
    assert isinstance(classify(reply(418, golden.problem(418, "Teapot", "short")), "launch"), Unclassified)
    assert isinstance(classify(reply(403, PAGE), "launch"), Unclassified)  # the HTTP layer: OutcomeUnknown
    assert classify(reply(403, PAGE), "owned").type == "Unavailable"
    assert isinstance(classify(reply(403, b"<html>worker pool busy</html>"), "launch"), Unclassified)


@pytest.mark.parametrize("body", [{"detail": 3, "errors": "x", "title": None}, {"errors": [{"a": 1}]}, [1], "x"])
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 410, 418, 422, 429, 500])
def test_no_shape_of_body_breaks_the_reader(status: int, body: Any) -> None:
    for verb in ("launch", "find", "terminate", "offers"):
        assert classify(reply(status, body), verb).message
