"""AWS's refusals and broken answers as types: one table of codes, and the rules for what has none.

Sources: the EC2 API reference's error codes, Karpenter's sets of capacity codes, and messages seen in public issues.
One trap is why EC2 needs its own rules: missing capacity is an HTTP 500, and yet a plain refusal.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from providers.errors import (
    AuthFailed,
    BadWorkload,
    BootFailed,
    Forbidden,
    InvalidRequest,
    NoCapacity,
    OfferGone,
    OutcomeUnknown,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    Scope,
    Unavailable,
    Unclassified,
)
from providers.http import MAX_TEXT, Reply

DEFAULT_WAIT_S = 5.0
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Row:
    """What one code means; `scope` and `hold_s` where they differ from the error's own, `hint` for people."""

    error: type[ProviderError]
    scope: Scope | None = None
    hold_s: float | None = None
    hint: str = ""


#: Exactly this type, zone and market: an offer.
_FULL = Row(NoCapacity, "offer")
#: No address, no subnet, not sold there: that type in that zone, whatever the market.
_NOT_THERE = Row(NoCapacity, "zone", DAY_S)
_QUOTA = Row(QuotaExceeded, "region")
_RATE = Row(RateLimited)
_BROKEN = Row(Unavailable, "region")
_KEY = Row(AuthFailed)
_RIGHT = Row(Forbidden)
_ACCOUNT = Row(Forbidden, "account", 3600.0)
_OURS = Row(InvalidRequest)
_STALE = Row(OfferGone, "offer")

#: AWS's code -> what it means. Codes of EC2 first, then those of STS, SSM, pricing and quotas.
TABLE: dict[str, Row] = {
    # Capacity. InsufficientInstanceCapacity comes as HTTP 500, and as an entry of a fleet's errors.
    "InsufficientInstanceCapacity": _FULL,
    "UnfulfillableCapacity": _FULL,
    "InsufficientCapacity": _FULL,
    "InsufficientHostCapacity": _FULL,
    "InsufficientReservedInstanceCapacity": _FULL,
    "InsufficientVolumeCapacity": _FULL,
    "InsufficientAddressCapacity": _FULL,
    "ReservationCapacityExceeded": _FULL,
    "SpotMaxPriceTooLow": _FULL,
    "InsufficientFreeAddressesInSubnet": Row(NoCapacity, "zone"),
    "Unsupported": _NOT_THERE,
    "UnsupportedOperation": _NOT_THERE,
    "InvalidInstanceType": Row(OfferGone, "type", DAY_S),
    "InvalidInstanceType.NotFound": Row(OfferGone, "type", DAY_S),
    # Quotas. The vCPU buckets are per region; holding back the type there leaves a smaller one to be tried.
    "VcpuLimitExceeded": _QUOTA,
    # The hold must not reach the same type on demand, so it is as narrow as an offer.
    "MaxSpotInstanceCountExceeded": Row(QuotaExceeded, "offer"),
    "InstanceLimitExceeded": _QUOTA,
    "ResourceCountExceeded": _QUOTA,
    "VolumeLimitExceeded": _QUOTA,
    "AddressLimitExceeded": _QUOTA,
    "SecurityGroupLimitExceeded": _QUOTA,
    # The account as a whole.
    "PendingVerification": Row(Forbidden, "account", 1800.0, "AWS is still verifying the account; it may take hours"),
    "OptInRequired": Row(Forbidden, "account", 3600.0, "the account is not subscribed to this service or region"),
    "Blocked": _ACCOUNT,
    "AccountDisabled": _ACCOUNT,
    # Rates: nothing happened.
    "RequestLimitExceeded": _RATE,
    "Throttling": _RATE,
    "ThrottlingException": _RATE,
    "ThrottledException": _RATE,
    "TooManyRequestsException": _RATE,
    "RequestThrottled": _RATE,
    "SlowDown": _RATE,
    # Broken. Of a launch these prove nothing: `classify` makes `OutcomeUnknown` of them.
    "ServiceUnavailable": _BROKEN,
    "Unavailable": _BROKEN,
    "InternalError": _BROKEN,
    "InternalFailure": _BROKEN,
    "ServerInternal": _BROKEN,
    "InternalErrorException": _BROKEN,
    "InternalServerError": _BROKEN,
    "ServiceUnavailableException": _BROKEN,
    "ServiceException": _BROKEN,
    # Rights and keys.
    "UnauthorizedOperation": Row(Forbidden, hint="see the IAM policy in docs/providers/aws.md"),
    "AccessDenied": Row(Forbidden, hint="see the IAM policy in docs/providers/aws.md"),
    "AccessDeniedException": Row(Forbidden, hint="see the IAM policy in docs/providers/aws.md"),
    # EC2 says this of a wrong key in every region, and of a good key in a region that is not enabled.
    "AuthFailure": Row(AuthFailed, "region", hint="a wrong key, or a region that is not enabled"),
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": Row(
        Forbidden, "offer", 3600.0, "spot needs iam:CreateServiceLinkedRole once, for spot.amazonaws.com"
    ),
    "InvalidClientTokenId": _KEY,
    "SignatureDoesNotMatch": Row(AuthFailed, hint="a wrong secret, or this computer's clock is more than 15 min off"),
    "InvalidSignatureException": Row(
        AuthFailed, hint="a wrong secret, or this computer's clock is more than 15 min off"
    ),
    "MissingAuthenticationToken": _KEY,
    "MissingAuthenticationTokenException": _KEY,
    "IncompleteSignature": _KEY,
    "UnrecognizedClientException": _KEY,
    "OptInRequiredException": _ACCOUNT,
    "ExpiredToken": Row(AuthFailed, hint="the temporary credentials are over: renew them"),
    "ExpiredTokenException": Row(AuthFailed, hint="the temporary credentials are over: renew them"),
    "RequestExpired": Row(AuthFailed, hint="the credentials are over, or this computer's clock is off"),
    # The same token was used with other parameters: something may stand behind it, so look.
    "IdempotentParameterMismatch": Row(OutcomeUnknown),
    # Resolved earlier and gone since. The next attempt looks them up anew.
    "InvalidAMIID.NotFound": _STALE,
    "InvalidAMIID.Unavailable": _STALE,
    "InvalidAMIID.Malformed": Row(BadWorkload),
    "InvalidGroup.NotFound": _STALE,
    "InvalidGroupId.Malformed": _OURS,
    "InvalidSubnetID.NotFound": _STALE,
    "InvalidKeyPair.NotFound": _OURS,
    "InvalidInstanceID.NotFound": _STALE,
    "InvalidInstanceID.Malformed": _OURS,
    "VPCIdNotSpecified": Row(Forbidden, "region", 3600.0, "no default VPC there: name subnets in ORCH_AWS_SUBNETS"),
    "InvalidParameterValue": _OURS,
    "InvalidParameterCombination": _OURS,
    "InvalidParameter": _OURS,
    "MissingParameter": _OURS,
    "UnknownParameter": _OURS,
    "InvalidBlockDeviceMapping": _OURS,
    "InvalidUserData.Malformed": _OURS,
    "InvalidAction": _OURS,
    "ValidationError": _OURS,
    "ValidationException": _OURS,
    "InvalidParameterException": _OURS,
    "InvalidNextTokenException": _OURS,
    "ExpiredNextTokenException": _OURS,
    "ParameterNotFound": _STALE,
    "ParameterVersionNotFound": _STALE,
    "NotFoundException": _STALE,
    "NoSuchResourceException": _STALE,
    # Only where something exists already or is in use; the callers look at these codes themselves.
    "InvalidGroup.Duplicate": _OURS,
    "InvalidPermission.Duplicate": _OURS,
    "DependencyViolation": _OURS,
    "InvalidGroup.InUse": _OURS,
    "OperationNotPermitted": Row(Forbidden, "offer", hint="termination protection may be on"),
    "DryRunOperation": _OURS,
}

#: Codes that the table does not know yet, by their shape.
_SHAPES = (
    (re.compile(r"^(Insufficient|Unfulfillable)\w*Capacity$"), _FULL),
    (re.compile(r"^\w+LimitExceeded$"), _QUOTA),
    (re.compile(r"^InvalidParameter"), _OURS),
    (re.compile(r"^AuthFailure\."), _RIGHT),
)

#: Why EC2 ended a machine that was accepted, where that is not a code of the table.
_REASONS: dict[str, type[ProviderError]] = {
    "SpotInstanceTermination": NoCapacity,
    "SpotInstanceShutdown": NoCapacity,
    "ScheduledStop": BootFailed,
}
#: The owner's own doing, by API or from inside.
_OWN_DOING = frozenset(
    ["Client.UserInitiatedShutdown", "Client.InstanceInitiatedShutdown", "Client.UserInitiatedHibernate"]
)


def refusal(
    code: str,
    message: str,
    *,
    status: int = 0,
    wait_s: float | None = None,
    bucket: str | None = None,
) -> ProviderError:
    """The typed error for AWS's *code* with its *message*.

    Args:
        status: HTTP status, which decides where the table does not know the code; 0 if there was none.
        wait_s: seconds that a `Retry-After` header asked for.
        bucket: the quota that the refused launch counts against.
    """
    row = TABLE.get(code) or next((row for shape, row in _SHAPES if shape.match(code)), None) or _by_status(status)
    text = f"{message} ({row.hint})" if row.hint else message
    text = _cut(text) or f"AWS answered {status or code} without a text"
    if row.error is RateLimited:
        return RateLimited(text, wait_s=DEFAULT_WAIT_S if wait_s is None else wait_s, code=code)
    return row.error(
        text,
        code=code,
        scope=row.scope,
        hold_s=row.hold_s,
        bucket=bucket if row.error is QuotaExceeded else None,
    )


def classify(
    error: Exception, *, effect: bool, now: datetime | None = None, bucket: str | None = None
) -> ProviderError:
    """What an exception of botocore means.

    Args:
        effect: the call may make something that bills and was not repeatable: what proves nothing about it
            becomes `OutcomeUnknown`. Otherwise it becomes `Unavailable`.
        now: for `Retry-After` headers that hold a date.
    """
    boto: Any = importlib.import_module("botocore.exceptions")  # an extra's: imported late
    if isinstance(error, ProviderError):
        return error
    if isinstance(error, boto.ClientError):
        return _refused(error.response, effect=effect, now=now, bucket=bucket)
    said = _cut(f"AWS: {type(error).__name__}: {error}")
    # The connection itself failed: nothing was sent.
    if isinstance(error, boto.ConnectTimeoutError | boto.EndpointConnectionError | boto.ProxyConnectionError):
        return Unavailable(said, code="not-reached")
    # Cut at some later point: TLS, a reset, a read that timed out, a body that ended early.
    if isinstance(error, boto.ConnectionError | boto.HTTPClientError | boto.IncompleteReadError):
        return _unsure(said, "transport", effect)
    if isinstance(error, boto.ParamValidationError | boto.ValidationError | boto.InvalidRegionError):
        return InvalidRequest(said, code=type(error).__name__)
    if isinstance(error, _no_credentials(boto)):
        return AuthFailed(said, code="no-key")
    if isinstance(error, boto.BotoCoreError):
        # Configuration, endpoints, profiles: all of it is looked at before anything is sent.
        return InvalidRequest(said, code=type(error).__name__)
    # A body that is not the protocol's (ResponseParserError), or anything else: it went out.
    return _unsure(said, "malformed", effect)


def failure(code: str, message: str) -> ProviderError | None:
    """Why an accepted machine ended, from its `stateReason`; None where we or the machine asked for it.

    The prefix says whose fault (``Server.InsufficientInstanceCapacity``); the rest is a code of the table.
    """
    if not code or code in _OWN_DOING:
        return None
    short = code.partition(".")[2] if code.startswith(("Server.", "Client.")) else code
    text = message or code
    row = TABLE.get(short)
    if short in _REASONS:
        return _REASONS[short](text, code=code, scope="offer")
    if row is not None and row.error in (NoCapacity, QuotaExceeded):
        return row.error(text, code=code, scope=row.scope, hold_s=row.hold_s)
    return BootFailed(text, code=code, scope="offer")


def _refused(response: Any, *, effect: bool, now: datetime | None, bucket: str | None) -> ProviderError:
    answer = response if isinstance(response, dict) else {}
    error, meta = _dict(answer.get("Error")), _dict(answer.get("ResponseMetadata"))
    status = meta.get("HTTPStatusCode")
    status = status if isinstance(status, int) else 0
    code, message = str(error.get("Code") or ""), str(error.get("Message") or "")
    # A page of a proxy has no code, or (JSON protocols, generic 5xx pages) its status stands in for one.
    own = bool(code) and not code.isdigit()
    code = code if own else f"http-{status}"
    if 0 < status < 400:
        return _unsure(f"AWS answered with a redirect ({status})", "redirect", effect)
    wait_s = None
    if now is not None:
        headers = {str(key).lower(): str(value) for key, value in _dict(meta.get("HTTPHeaders")).items()}
        wait_s = Reply(status, headers, b"").retry_after(now)
    made = refusal(code, message, status=status, wait_s=wait_s, bucket=bucket)
    if effect and isinstance(made, Unavailable):
        return OutcomeUnknown(made.message, code=made.code)
    if effect and not own and not isinstance(made, AuthFailed | RateLimited):
        # Not the API's own words: whoever said that may not know what the API did.
        return OutcomeUnknown(made.message, code=made.code)
    return made


def _by_status(status: int) -> Row:
    if status == 401:
        return _KEY
    if status == 403:
        return _RIGHT
    if status == 429:
        return _RATE
    return _BROKEN if status >= 500 or status == 408 else Row(Unclassified)


def _no_credentials(boto: Any) -> tuple[type[Exception], ...]:
    names = (
        "NoCredentialsError PartialCredentialsError CredentialRetrievalError MetadataRetrievalError ProfileNotFound"
        " ConfigNotFound ConfigParseError SSOError UnauthorizedSSOTokenError TokenRetrievalError NoAuthTokenError"
        " RefreshWithMFAUnsupportedError InvalidConfigError InfiniteLoopConfigError UnknownCredentialError LoginError"
    )
    # By name: older and newer botocore do not have all of them.
    return tuple(getattr(boto, name) for name in names.split() if hasattr(boto, name))


def _unsure(text: str, code: str, effect: bool) -> ProviderError:
    return OutcomeUnknown(text, code=code) if effect else Unavailable(text, code=code)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _cut(text: str) -> str:
    return text.strip()[:MAX_TEXT]
