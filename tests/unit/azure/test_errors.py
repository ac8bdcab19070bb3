"""The code table, and what a code alone does not say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import errors
from providers.azure.errors import TABLE, failure, refusal, refused, said

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "code", "message", "details", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("code", sorted(TABLE))
def test_every_code_of_the_table_becomes_its_error(code: str) -> None:
    made = refusal(code, "text", status=409)
    row = TABLE[code]
    assert type(made) is row.error
    assert (made.code, made.message.startswith("text")) == (code, True)
    assert row.scope in (None, made.scope)
    assert refusal(code.upper(), "text", status=409).type == made.type, "codes are told apart without case"


@pytest.mark.parametrize(
    ("code", "message", "status", "kind"),
    [
        ("OperationNotAllowed", "exceeding approved Total Regional Cores quota", 409, errors.QuotaExceeded),
        ("OperationNotAllowed", "exceeding approved standardNVADSA10v5Family Cores quota", 409, errors.QuotaExceeded),
        ("OperationNotAllowed", "VM 'x' is marked for deletion", 409, errors.Unavailable),
        ("Conflict", "the resource is being deleted", 409, errors.Unavailable),
        ("OperationNotAllowed", "something else", 409, errors.Unclassified),
        ("RetryableErrorDueToAnotherOperation", "lock", 429, errors.Unavailable),
        ("WhateverCountLimitReached", "", 400, errors.QuotaExceeded),
        ("MoonAllocationFailed", "", 409, errors.NoCapacity),
        ("", "", 401, errors.AuthFailed),
        ("", "", 403, errors.Forbidden),
        ("", "", 429, errors.RateLimited),
        ("", "", 500, errors.Unavailable),
        ("", "", 418, errors.Unclassified),
    ],
)
def test_text_and_status_decide_where_the_code_does_not(code: str, message: str, status: int, kind: type) -> None:
    assert type(refusal(code, message, status=status)) is kind


def test_the_cause_is_found_inside_its_wrappers() -> None:
    inner = {"code": "SkuNotAvailable", "message": "not here"}
    middle = {"code": "ResourceOperationFailure", "message": "failed", "details": [inner]}
    what = said({"error": {"code": "InvalidTemplateDeployment", "message": "see details", "details": [middle]}})
    assert (what.code, what.message) == ("SkuNotAvailable", "not here")
    plain = said({"error": {"code": "Conflict", "message": "busy", "details": [inner]}})
    assert plain.code == "Conflict", "a code that says something itself is kept"


def test_a_failed_machine_is_never_a_refused_request() -> None:
    assert isinstance(failure("AllocationFailed", "x"), errors.NoCapacity)
    for code in ("", "InvalidParameter", "InternalExecutionError", "NeverHeardOf", "Conflict"):
        assert type(failure(code, "x")) is errors.BootFailed


def test_the_wait_is_azures_own() -> None:
    made = refused(429, {"error": {"code": "TooManyRequests", "message": "slow"}}, effect=True, wait_s=1200.0)
    assert isinstance(made, errors.RateLimited)
    assert made.wait_s == 1200.0


@given(document=JSON, status=st.integers(300, 599), effect=st.booleans())
def test_no_document_is_too_strange(document: Any, status: int, effect: bool) -> None:
    made = refused(status, document, effect=effect)
    assert isinstance(made, errors.ProviderError)
    assert made.message
    assert made.code
    if effect and (status >= 500 or status < 400):
        assert not isinstance(made, errors.Unavailable | errors.Unclassified)
