"""Every code of the fact sheet, and what each proves."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from botocore import exceptions as boto
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from providers import errors
from providers.aws.errors import DAY_S, TABLE, classify, failure, refusal

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

#: code, HTTP status, type, scope: written from AWS's documents, not from the table.
CODES = [
    ("InsufficientInstanceCapacity", 500, errors.NoCapacity, "offer"),
    ("UnfulfillableCapacity", 500, errors.NoCapacity, "offer"),
    ("InsufficientCapacity", 500, errors.NoCapacity, "offer"),
    ("InsufficientHostCapacity", 500, errors.NoCapacity, "offer"),
    ("InsufficientReservedInstanceCapacity", 500, errors.NoCapacity, "offer"),
    ("InsufficientVolumeCapacity", 500, errors.NoCapacity, "offer"),
    ("InsufficientAddressCapacity", 500, errors.NoCapacity, "offer"),
    ("ReservationCapacityExceeded", 400, errors.NoCapacity, "offer"),
    ("SpotMaxPriceTooLow", 400, errors.NoCapacity, "offer"),
    ("Unsupported", 400, errors.NoCapacity, "zone"),
    ("InsufficientFreeAddressesInSubnet", 400, errors.NoCapacity, "zone"),
    ("VcpuLimitExceeded", 400, errors.QuotaExceeded, "region"),
    ("MaxSpotInstanceCountExceeded", 400, errors.QuotaExceeded, "offer"),
    ("InstanceLimitExceeded", 400, errors.QuotaExceeded, "region"),
    ("ResourceCountExceeded", 400, errors.QuotaExceeded, "region"),
    ("VolumeLimitExceeded", 400, errors.QuotaExceeded, "region"),
    ("AddressLimitExceeded", 400, errors.QuotaExceeded, "region"),
    ("PendingVerification", 400, errors.Forbidden, "account"),
    ("OptInRequired", 401, errors.Forbidden, "account"),
    ("Blocked", 400, errors.Forbidden, "account"),
    ("AccountDisabled", 400, errors.Forbidden, "account"),
    ("RequestLimitExceeded", 503, errors.RateLimited, "provider"),
    ("ThrottlingException", 400, errors.RateLimited, "provider"),
    ("ServiceUnavailable", 503, errors.Unavailable, "region"),
    ("Unavailable", 503, errors.Unavailable, "region"),
    ("InternalError", 500, errors.Unavailable, "region"),
    ("InternalFailure", 500, errors.Unavailable, "region"),
    ("ServerInternal", 500, errors.Unavailable, "region"),
    ("UnauthorizedOperation", 403, errors.Forbidden, "provider"),
    ("AccessDeniedException", 400, errors.Forbidden, "provider"),
    ("AuthFailure", 401, errors.AuthFailed, "region"),
    ("InvalidClientTokenId", 403, errors.AuthFailed, "provider"),
    ("SignatureDoesNotMatch", 403, errors.AuthFailed, "provider"),
    ("MissingAuthenticationToken", 403, errors.AuthFailed, "provider"),
    ("UnrecognizedClientException", 400, errors.AuthFailed, "provider"),
    ("ExpiredToken", 400, errors.AuthFailed, "provider"),
    ("RequestExpired", 400, errors.AuthFailed, "provider"),
    ("IdempotentParameterMismatch", 400, errors.OutcomeUnknown, "offer"),
    ("InvalidInstanceID.NotFound", 400, errors.OfferGone, "offer"),
    ("InvalidAMIID.NotFound", 400, errors.OfferGone, "offer"),
    ("InvalidGroup.NotFound", 400, errors.OfferGone, "offer"),
    ("InvalidSubnetID.NotFound", 400, errors.OfferGone, "offer"),
    ("InvalidKeyPair.NotFound", 400, errors.InvalidRequest, "offer"),
    ("InvalidInstanceType", 400, errors.OfferGone, "type"),
    ("InvalidParameterValue", 400, errors.InvalidRequest, "offer"),
    ("InvalidParameterCombination", 400, errors.InvalidRequest, "offer"),
    ("MissingParameter", 400, errors.InvalidRequest, "offer"),
    ("ValidationError", 400, errors.InvalidRequest, "offer"),
    ("InvalidUserData.Malformed", 400, errors.InvalidRequest, "offer"),
    ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", 403, errors.Forbidden, "offer"),
    ("VPCIdNotSpecified", 400, errors.Forbidden, "region"),
    # Codes that nobody listed, by their shape or status.
    ("InsufficientMoonCapacity", 500, errors.NoCapacity, "offer"),
    ("FleetVcpuLimitExceeded", 400, errors.QuotaExceeded, "region"),
    ("InvalidParameterDependency", 400, errors.InvalidRequest, "offer"),
    ("BrandNew", 400, errors.Unclassified, "offer"),
    ("BrandNew", 401, errors.AuthFailed, "provider"),
    ("BrandNew", 403, errors.Forbidden, "provider"),
    ("BrandNew", 429, errors.RateLimited, "provider"),
    ("BrandNew", 503, errors.Unavailable, "region"),
]


def said(code: str, status: int, message: str = "the text", **headers: str) -> ClientError:
    meta = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": meta}, "RunInstances")


@pytest.mark.parametrize(("code", "status", "expected", "scope"), CODES)
def test_every_code_has_its_type_and_scope(
    code: str, status: int, expected: type[errors.ProviderError], scope: str
) -> None:
    made = classify(said(code, status), effect=False)
    assert type(made) is expected
    assert (made.code, made.scope) == (code, scope)
    assert "the text" in made.message


@pytest.mark.parametrize(("code", "status", "expected", "scope"), CODES)
def test_of_a_launch_only_what_proves_nothing_becomes_an_unknown_outcome(
    code: str, status: int, expected: type[errors.ProviderError], scope: str
) -> None:
    made = classify(said(code, status), effect=True)
    assert type(made) is (errors.OutcomeUnknown if expected is errors.Unavailable else expected)


@pytest.mark.parametrize("code", sorted(TABLE))
def test_every_row_makes_its_error(code: str) -> None:
    row = TABLE[code]
    made = refusal(code, "said")
    assert type(made) is row.error
    if row.error is not errors.RateLimited:
        assert made.scope == (row.scope or row.error.default_scope)
        assert made.hold_s == (row.error.default_hold_s if row.hold_s is None else row.hold_s)


def test_a_zone_that_does_not_sell_a_type_is_held_back_for_long() -> None:
    assert refusal("Unsupported", "not supported in your requested Availability Zone").hold_s == DAY_S


def test_the_quota_that_a_launch_counts_against_is_named() -> None:
    text = "You have requested more vCPU capacity than your current vCPU limit of 0 allows for the instance bucket"
    made = classify(said("VcpuLimitExceeded", 400, text), effect=True, bucket="G and VT vCPUs, on-demand")
    assert (made.bucket, made.scope) == ("G and VT vCPUs, on-demand", "region")
    assert classify(said("InternalError", 500), effect=False, bucket="G").bucket is None


def test_a_wait_is_taken_from_the_header_in_either_form() -> None:
    def wait(**headers: str) -> float:
        made = classify(said("RequestLimitExceeded", 503, **headers), effect=True, now=NOW)
        assert isinstance(made, errors.RateLimited)
        return made.wait_s

    assert wait() == 5
    assert wait(**{"Retry-After": "7"}) == 7
    assert wait(**{"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}) == 30


URL = "https://ec2.us-east-1.amazonaws.com/"
BEFORE = [
    boto.ConnectTimeoutError(endpoint_url=URL),
    boto.EndpointConnectionError(endpoint_url=URL),
    boto.ProxyConnectionError(proxy_url=URL),
]
AFTER = [
    boto.ReadTimeoutError(endpoint_url=URL),
    boto.ConnectionClosedError(endpoint_url=URL),
    boto.IncompleteReadError(actual_bytes=1, expected_bytes=2),
    boto.HTTPClientError(error="boom"),
    boto.SSLError(endpoint_url=URL, error="boom"),
    ResponseParserError("Unable to parse response"),
    UnicodeDecodeError("utf-8", b"x", 0, 1, "boom"),
]
NO_KEY = [
    boto.NoCredentialsError(),
    boto.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
    boto.ProfileNotFound(profile="nobody"),
    boto.UnauthorizedSSOTokenError(),
    boto.CredentialRetrievalError(provider="process", error_msg="exit 1"),
]


def _name(error: Exception) -> str:
    return type(error).__name__


@pytest.mark.parametrize("error", BEFORE, ids=_name)
@pytest.mark.parametrize("effect", [True, False])
def test_what_never_left_is_proven_to_have_had_no_effect(error: Exception, effect: bool) -> None:
    made = classify(error, effect=effect)
    assert (made.type, made.code) == ("Unavailable", "not-reached")


@pytest.mark.parametrize("error", AFTER, ids=_name)
def test_what_was_sent_and_not_answered_is_unknown_for_a_launch_and_repeatable_for_a_read(error: Exception) -> None:
    assert classify(error, effect=True).type == "OutcomeUnknown"
    assert classify(error, effect=False).type == "Unavailable"


@pytest.mark.parametrize("error", NO_KEY, ids=_name)
def test_missing_credentials_are_a_matter_of_the_key(error: Exception) -> None:
    assert classify(error, effect=True).type == "AuthFailed"


def test_parameters_that_botocore_refuses_were_never_sent() -> None:
    assert classify(boto.ParamValidationError(report="x"), effect=True).type == "InvalidRequest"


@pytest.mark.parametrize("response", [{}, {"Error": {}}, {"Error": {"Code": "404"}}, {"Error": {"Code": ""}}])
@pytest.mark.parametrize("status", [404, 403, 502])
def test_a_page_that_is_not_awss_own_proves_nothing_of_a_launch(response: dict[str, object], status: int) -> None:
    whole = {**response, "ResponseMetadata": {"HTTPStatusCode": status}}
    made = classify(ClientError(whole, "RunInstances"), effect=True)
    assert (made.type, made.code) == ("OutcomeUnknown", f"http-{status}")


REASONS = [
    ("Server.InsufficientInstanceCapacity", errors.NoCapacity),
    ("Server.SpotInstanceTermination", errors.NoCapacity),
    ("Client.VolumeLimitExceeded", errors.QuotaExceeded),
    ("Server.InternalError", errors.BootFailed),
    ("Client.InternalError", errors.BootFailed),
    ("Client.InvalidSnapshot.NotFound", errors.BootFailed),
    ("Server.SomethingNew", errors.BootFailed),
]


@pytest.mark.parametrize(("code", "expected"), REASONS)
def test_why_an_accepted_machine_ended_is_classed_by_the_same_table(
    code: str, expected: type[errors.ProviderError]
) -> None:
    made = failure(code, "the reason")
    assert type(made) is expected
    assert (made.code, made.message) == (code, "the reason")


@pytest.mark.parametrize("code", ["", "Client.UserInitiatedShutdown", "Client.InstanceInitiatedShutdown"])
def test_an_end_that_was_asked_for_is_no_failure(code: str) -> None:
    assert failure(code, "x") is None
