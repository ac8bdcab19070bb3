"""The code table: every code, and the messages that stand for a code where there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import errors
from providers.http import Reply
from providers.paperspace.errors import TABLE, Said, classify, event_failure
from tests.unit.paperspace.conftest import refusal


def reply(status: int, body: Any, **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, headers, content)


@pytest.mark.parametrize(
    ("status", "code", "verb", "expected"),
    [
        (400, "BAD_REQUEST", "find", errors.InvalidRequest),
        (400, "BAD_REQUEST", "launch", errors.Unclassified),
        (400, "PARSE_ERROR", "launch", errors.InvalidRequest),
        (401, "UNAUTHORIZED", "launch", errors.AuthFailed),
        (403, "FORBIDDEN", "launch", errors.Forbidden),
        (404, "NOT_FOUND", "find", errors.OfferGone),
        (405, "METHOD_NOT_SUPPORTED", "launch", errors.InvalidRequest),
        (408, "TIMEOUT", "launch", errors.OutcomeUnknown),
        (408, "TIMEOUT", "find", errors.Unavailable),
        (409, "CONFLICT", "launch", errors.Unclassified),
        (409, "CONFLICT", "terminate", errors.Unavailable),
        (412, "PRECONDITION_FAILED", "terminate", errors.Unavailable),
        (413, "PAYLOAD_TOO_LARGE", "launch", errors.InvalidRequest),
        (429, "TOO_MANY_REQUESTS", "launch", errors.RateLimited),
        (499, "CLIENT_CLOSED_REQUEST", "launch", errors.OutcomeUnknown),
        (500, "INTERNAL_SERVER_ERROR", "find", errors.Unavailable),
        (418, "TEAPOT", "launch", errors.Unclassified),
    ],
)
def test_codes_are_classed(status: int, code: str, verb: str, expected: type[errors.ProviderError]) -> None:
    found = classify(reply(status, refusal(code, "so it is")), verb)
    assert type(found) is expected
    assert found.message == "so it is"


@pytest.mark.parametrize(
    ("message", "expected", "scope"),
    [
        ("We are currently out of capacity for the selected VM type.", errors.NoCapacity, "offer"),
        ("A6000 is currently unavailable in this region", errors.NoCapacity, "offer"),
        ("You must request approval to use H100 machines", errors.Forbidden, "type"),
        ("H100 is not available until your request was approved", errors.Forbidden, "type"),
        ("You have reached the maximum number of machines", errors.QuotaExceeded, "account"),
        ("Team machine limit exceeded; contact us for approval", errors.QuotaExceeded, "account"),
        ("Your team is not in good standing", errors.NoFunds, "account"),
        ("Please add a payment method first", errors.NoFunds, "account"),
        ("This account has been locked", errors.Forbidden, "account"),
    ],
)
@pytest.mark.parametrize(("status", "code"), [(400, "BAD_REQUEST"), (403, "FORBIDDEN"), (412, "PRECONDITION_FAILED")])
def test_a_refused_launch_is_told_by_its_message(
    status: int, code: str, message: str, expected: type[errors.ProviderError], scope: str
) -> None:
    found = classify(reply(status, refusal(code, message)), "launch")
    assert (type(found), found.scope) == (expected, scope)


def test_a_list_of_wrong_fields_is_our_mistake_and_named_without_values() -> None:
    issues = [{"path": ["diskSize"], "message": "Expected number", "received": "s3cret"}]
    found = classify(reply(400, refusal("BAD_REQUEST", "Input validation failed", issues=issues)), "launch")
    assert type(found) is errors.InvalidRequest
    assert "diskSize: Expected number" in found.message
    assert "s3cret" not in found.message


def test_cloudflares_page_is_a_firewall_and_no_answer_of_the_api() -> None:
    html = b"<html><head><title>Attention Required! | Cloudflare</title></head><body>blocked</body></html>"
    for verb in ("launch", "account", "find"):
        found = classify(reply(403, html), verb)
        assert (type(found), found.code) == (errors.Forbidden, "firewall")
        assert "<" not in found.message


@pytest.mark.parametrize("body", [b"<html>404</html>", {"detail": "no route"}])
def test_a_gateways_not_found_never_means_that_a_machine_is_gone(body: Any) -> None:
    assert type(classify(reply(404, body), "terminate")) is errors.Unavailable
    assert type(classify(reply(404, body), "launch")) is errors.Unclassified


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT", "date": "Sun, 22 Nov 2026 12:00:00 GMT"}, 30.0),
        ({"retry-after": "soon"}, 10.0),
        ({}, 10.0),
        ({"retry-after": "999999999"}, 3600.0),
    ],
)
def test_the_wait_after_too_many_calls(headers: dict[str, str], wait_s: float) -> None:
    found = classify(reply(429, b"", **headers), "find")
    assert isinstance(found, errors.RateLimited)
    assert found.wait_s == wait_s


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Out of capacity in NY2", errors.NoCapacity),
        ("machine limit reached for team", errors.QuotaExceeded),
        ("H100 needs approval", errors.Forbidden),
        ("hypervisor said no", errors.BootFailed),
        ("", errors.BootFailed),
    ],
)
def test_failed_events_are_classed_by_the_same_rows(text: str, expected: type[errors.ProviderError]) -> None:
    found = event_failure(text)
    assert type(found) is expected
    assert found.message


#: A message for each row that goes by messages, by that row's code.
SAMPLES = {
    "standing": "not in good standing",
    "locked": "account locked",
    "limit": "machine limit reached",
    "approval": "needs approval",
    "capacity": "out of capacity",
    "busy": "currently starting",
}


def test_no_row_is_hidden_by_those_before_it() -> None:
    for row in TABLE:
        said = Said(
            status=next(iter(row.status)),  # type: ignore[call-overload]
            code=row.codes[0] if row.codes else "",
            text=SAMPLES[row.code] if row.words else "no",
            parsed=row.parsed is not False,
            issues=row.issues,
        )
        verb = row.verbs[0] if row.verbs else "find"
        assert next(one for one in TABLE if one.fits(said, verb)) is row


@given(
    status=st.integers(400, 599),
    body=st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["code", "message", "details", "issues", "error", "x"]), inner, max_size=4
                )
            ),
            max_leaves=10,
        ),
    ),
    verb=st.sampled_from(["launch", "find", "owned", "terminate", "account"]),
)
def test_whatever_comes_is_classed(status: int, body: Any, verb: str) -> None:
    found = classify(reply(status, body), verb)
    assert isinstance(found, errors.ProviderError)
    assert found.message
    assert len(found.message) <= 620
