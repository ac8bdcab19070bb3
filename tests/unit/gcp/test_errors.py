"""Google's refusals, with the bodies that the fact sheet has, and operations by the same table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import errors
from providers.gcp.errors import TABLE, classify, ended, operation_error
from providers.http import Reply
from tests.unit.gcp.google import failed, refusal

NOON = datetime(2026, 11, 22, 12, 0, 20, tzinfo=UTC)


def classified(answer: httpx.Response, **headers: str) -> errors.ProviderError:
    return classify(Reply(answer.status_code, headers, answer.content), "launch", now=NOON)


@pytest.mark.parametrize(
    ("status", "reason", "message", "expected"),
    [
        (403, "quotaExceeded", "Quota 'NVIDIA_L4_GPUS' exceeded. Limit: 1.0 in region us-central1.", "QuotaExceeded"),
        (403, "rateLimitExceeded", "Rate Limit Exceeded", "RateLimited"),
        (429, "whatever", "slow down", "RateLimited"),
        (400, "resourceNotReady", "The resource is not ready", "Unavailable"),
        (409, "alreadyExists", "The resource already exists", "OutcomeUnknown"),
        (404, "notFound", "The resource 'projects/p/zones/z/machineTypes/g9' was not found", "OfferGone"),
        (400, "invalid", "Invalid value for field 'resource.name'", "InvalidRequest"),
        (
            400,
            "invalid",
            "Invalid value for field 'resource.machineType'. The referenced resource does not exist.",
            "OfferGone",
        ),
        (412, "conditionNotMet", "Precondition failed", "InvalidRequest"),
        (412, "conditionNotMet", "Constraint constraints/compute.vmExternalIpAccess violated", "Forbidden"),
        (401, "authError", "Invalid Credentials", "AuthFailed"),
        (403, "forbidden", "Required 'compute.instances.create' permission for 'projects/p'", "Forbidden"),
        (403, "insufficientPermissions", "Request had insufficient authentication scopes.", "Forbidden"),
        (403, "accessNotConfigured", "Compute Engine API has not been used in project 1", "Forbidden"),
        (503, "backendError", "Backend error", "Unavailable"),
        (503, "backendError", "A g2-standard-4 VM instance is currently unavailable in the z zone", "NoCapacity"),
        (418, "teapot", "short and stout", "Unclassified"),
    ],
)
def test_a_refusal_is_typed_by_its_reason(status: int, reason: str, message: str, expected: str) -> None:
    error = classified(refusal(status, reason, message))
    assert error.type == expected
    assert error.code == reason
    assert message in error.message


def test_the_details_outdo_the_reason() -> None:
    exhausted = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "CONCURRENT_OPERATIONS_QUOTA_EXCEEDED",
        "domain": "compute.googleapis.com",
    }
    error = classified(refusal(403, "quotaExceeded", "Quota exceeded", exhausted))
    assert error.type == "RateLimited"


def test_a_missing_permission_is_named() -> None:
    error = classified(refusal(403, "forbidden", "Required 'compute.instances.create' permission for 'projects/p'"))
    assert "missing: compute.instances.create" in error.message


def test_a_rate_limit_waits_for_the_next_minute_or_as_long_as_told() -> None:
    limited = refusal(403, "rateLimitExceeded", "Rate Limit Exceeded")
    error = classified(limited)
    assert isinstance(error, errors.RateLimited)
    assert error.wait_s == pytest.approx(40.5)
    told = classified(limited, **{"retry-after": "7"})
    assert isinstance(told, errors.RateLimited)
    assert told.wait_s == 7


def test_the_quota_of_all_regions_holds_back_the_provider() -> None:
    message = "Quota 'GPUS_ALL_REGIONS' exceeded.  Limit: 0.0 globally."
    error = classified(refusal(403, "quotaExceeded", message))
    assert (error.type, error.scope, error.bucket) == ("QuotaExceeded", "provider", "GPUS_ALL_REGIONS")
    in_operation = operation_error(failed("QUOTA_EXCEEDED", message, status=403))
    assert in_operation is not None
    assert (in_operation.scope, in_operation.bucket) == ("provider", "GPUS_ALL_REGIONS")


def test_a_quota_without_a_quoted_name_is_read_from_the_details() -> None:
    info = {
        "metricName": "compute.googleapis.com/gpus_per_gpu_family",
        "limitName": "GPUS-PER-GPU-FAMILY-per-project-region",
        "dimensions": {"gpu_family": "NVIDIA_H100", "region": "us-central1"},
        "limit": 0,
    }
    error = operation_error(failed("QUOTA_EXCEEDED", "Quota exceeded.", {"quotaInfo": info}, status=403))
    assert error is not None
    assert error.bucket == "GPUS-PER-GPU-FAMILY-per-project-region gpu_family=NVIDIA_H100 region=us-central1"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ZONE_RESOURCE_POOL_EXHAUSTED", "NoCapacity"),
        ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "NoCapacity"),
        ("REGION_RESOURCE_POOL_EXHAUSTED", "NoCapacity"),
        ("UNSUPPORTED_OPERATION", "NoCapacity"),
        ("IP_SPACE_EXHAUSTED", "NoCapacity"),
        ("RESOURCE_NOT_READY", "NoCapacity"),
        ("INTERNAL_ERROR", "NoCapacity"),
        ("QUOTA_EXCEEDED", "QuotaExceeded"),
        ("RESOURCE_ALREADY_EXISTS", "OutcomeUnknown"),
        ("PERMISSIONS_ERROR", "Forbidden"),
        ("RESOURCE_NOT_FOUND", "OfferGone"),
        ("NEVER_HEARD_OF", "Unclassified"),
    ],
)
def test_an_operations_end_is_typed_by_the_same_table(code: str, expected: str) -> None:
    error = operation_error(failed(code, "so it goes"))
    assert error is not None
    assert (error.type, error.code) == (expected, code)


def test_an_operation_that_went_well_has_no_error() -> None:
    assert operation_error({"status": "DONE", "progress": 100}) is None


@pytest.mark.parametrize("operation", [{"error": {}}, {"error": {"errors": []}}, {"httpErrorStatusCode": 503}])
def test_a_failure_without_words_is_a_failure(operation: dict[str, Any]) -> None:
    assert operation_error({"status": "DONE", **operation}) is not None


@pytest.mark.parametrize(("status", "expected"), [(403, "Unclassified"), (404, "Unclassified"), (502, "Unavailable")])
def test_a_foreign_page_proves_nothing(status: int, expected: str) -> None:
    assert classified(httpx.Response(status, text="<html>proxy</html>")).type == expected


def test_a_stopped_machine_is_blamed_on_capacity_only_where_it_is_that() -> None:
    assert ended("TERMINATED", "", spot=True).type == "NoCapacity"
    assert ended("TERMINATED", "", spot=False).type == "BootFailed"
    assert ended("STOPPED", "does not have enough resources available", spot=False).type == "NoCapacity"


def test_every_row_makes_an_error_with_words() -> None:
    for code, row in TABLE.items():
        error = classified(refusal(400, code, "text"))
        assert isinstance(error, row.error)
        assert error.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON, JSON)
def test_nothing_that_an_answer_holds_crashes_the_reader(first: Any, second: Any, third: Any) -> None:
    body = {"error": {"message": first, "errors": second, "details": third, "status": first}}
    answer = httpx.Response(400, json=body)
    assert isinstance(classified(answer), errors.ProviderError)
    operation_error({"status": "DONE", "error": {"errors": second}})
    operation_error(
        {"status": "DONE", "error": {"errors": [{"code": first, "message": second, "errorDetails": third}]}}
    )
