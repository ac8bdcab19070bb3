"""Google's refusals as types: one table for synchronous answers and for what operations end with.

Two traps shape it. Missing capacity is no HTTP status: the create is accepted, and its operation fails later. And one
status, 403, means a missing right, an exhausted quota or a call too many; only the reason tells which.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from providers.errors import (
    AuthFailed,
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

DAY_S = 86_400.0
#: Request quotas fill again at the next full minute.
MOST_WAIT_S = 60.0
ALL_GPUS = "GPUS_ALL_REGIONS"
#: What a create is refused with whose name is taken: by our own earlier one, if its labels say so.
EXISTS = frozenset(["alreadyExists", "RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"])


@dataclass(frozen=True, slots=True)
class Row:
    """What one code means; `scope` and `hold_s` where they differ from the error's own, `hint` for people."""

    error: type[ProviderError]
    scope: Scope | None = None
    hold_s: float | None = None
    hint: str = ""


#: Exactly this type, zone and way of paying: an offer.
_FULL = Row(NoCapacity, "offer", 300.0)
_QUOTA = Row(QuotaExceeded, "region")
_RATE = Row(RateLimited)
_BUSY = Row(Unavailable, "zone")
_BROKEN = Row(Unavailable, "region")
_KEY = Row(AuthFailed)
_RIGHT = Row(Forbidden)
_API_OFF = Row(Forbidden, "provider", 3600.0, "enable the Compute Engine and Cloud Billing APIs in the project")
_BILLING = Row(Forbidden, "provider", 3600.0, "link a billing account that is in order to the project")
_SCOPE = Row(Forbidden, hint="the token lacks the scope cloud-platform")
_OURS = Row(InvalidRequest)
_GONE = Row(OfferGone, "offer", DAY_S)
_EXISTS = Row(OutcomeUnknown)

#: Google's code -> what it means: reasons of refusals, then codes of operations.
TABLE: dict[str, Row] = {
    # Capacity.
    "ZONE_RESOURCE_POOL_EXHAUSTED": _FULL,
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS": _FULL,
    "RESOURCE_POOL_EXHAUSTED": _FULL,
    "insufficientCapacity": _FULL,
    "STOCKOUT": _FULL,
    "VM_MIN_COUNT_NOT_REACHED": _FULL,
    "resource_availability": _FULL,
    # Seen where a spot machine is taken away while it is being made.
    "UNSUPPORTED_OPERATION": _FULL,
    "IP_SPACE_EXHAUSTED": Row(NoCapacity, "zone", 600.0),
    "IP_SPACE_EXHAUSTED_WITH_DETAILS": Row(NoCapacity, "zone", 600.0),
    # Quotas.
    "QUOTA_EXCEEDED": _QUOTA,
    "quotaExceeded": _QUOTA,
    "limitExceeded": _QUOTA,
    # Rates: nothing happened.
    "rateLimitExceeded": _RATE,
    "userRateLimitExceeded": _RATE,
    "RATE_LIMIT_EXCEEDED": _RATE,
    "CONCURRENT_OPERATIONS_QUOTA_EXCEEDED": _RATE,
    "RESOURCE_EXHAUSTED": _RATE,
    "concurrentOperationsQuotaExceeded": _RATE,
    # Busy: the same call a little later.
    "RESOURCE_OPERATION_RATE_EXCEEDED": _BUSY,
    "resourceNotReady": _BUSY,
    "RESOURCE_NOT_READY": _BUSY,
    "resourceInUseByAnotherResource": _BUSY,
    "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE": _BUSY,
    # Ours, made earlier. `adapter` looks for it first; this is for every other place.
    "alreadyExists": _EXISTS,
    "RESOURCE_ALREADY_EXISTS": _EXISTS,
    "ALREADY_EXISTS": _EXISTS,
    # A machine type, an accelerator or an image that the zone does not have (any more).
    "notFound": _GONE,
    "NOT_FOUND": _GONE,
    "resourceNotFound": _GONE,
    "RESOURCE_NOT_FOUND": _GONE,
    # The request.
    "invalid": _OURS,
    "invalidParameter": _OURS,
    "badRequest": _OURS,
    "required": _OURS,
    "parseError": _OURS,
    "INVALID_ARGUMENT": _OURS,
    "INVALID_USAGE": _OURS,
    "INVALID_FIELD_VALUE": _OURS,
    "conditionNotMet": _OURS,
    "CONDITION_NOT_MET": _OURS,
    "FAILED_PRECONDITION": _OURS,
    # Keys and rights.
    "authError": _KEY,
    "UNAUTHENTICATED": _KEY,
    "ACCESS_TOKEN_EXPIRED": _KEY,
    "ACCESS_TOKEN_TYPE_UNSUPPORTED": _KEY,
    "CREDENTIALS_MISSING": _KEY,
    "ACCOUNT_STATE_INVALID": _KEY,
    "forbidden": _RIGHT,
    "insufficientPermissions": _RIGHT,
    "PERMISSION_DENIED": _RIGHT,
    "PERMISSIONS_ERROR": _RIGHT,
    "IAM_PERMISSION_DENIED": _RIGHT,
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": _SCOPE,
    "accessNotConfigured": _API_OFF,
    "SERVICE_DISABLED": _API_OFF,
    "USER_PROJECT_DENIED": _RIGHT,
    "CONSUMER_INVALID": _RIGHT,
    "CONSUMER_SUSPENDED": _BILLING,
    "BILLING_DISABLED": _BILLING,
    "billingNotEnabled": _BILLING,
    # Broken. Of a create these prove nothing: `Http` makes `OutcomeUnknown` of them.
    "backendError": _BROKEN,
    "internalError": _BROKEN,
    "INTERNAL_ERROR": _BROKEN,
    "INTERNAL": _BROKEN,
    "UNAVAILABLE": _BROKEN,
    "serviceUnavailable": _BROKEN,
    "DEADLINE_EXCEEDED": _BROKEN,
}

_FULL_TEXT = re.compile(
    r"does not have enough resources available|is currently unavailable in the|resource pool exhausted|\bstockout\b",
    re.IGNORECASE,
)
_MISSING_TEXT = re.compile(r"The referenced \w+ (?:resource )?(?:does not exist|cannot be found)", re.IGNORECASE)
_POLICY_TEXT = re.compile(r"\bconstraints/[\w.]+|\borganization policy\b", re.IGNORECASE)
_BUCKET = re.compile(r"'([A-Z][A-Z0-9_]+)' exceeded")
_PERMISSION = re.compile(r"'([a-z]+\.[a-zA-Z]+\.[a-zA-Z]+)' permission")
#: Codes that the table does not know yet, by their shape.
_SHAPES = (
    (re.compile(r"RESOURCE_POOL_EXHAUSTED"), _FULL),
    (re.compile(r"QUOTA_EXCEEDED"), _QUOTA),
)


def classify(reply: Reply, verb: str, *, now: datetime | None = None) -> ProviderError:
    """The typed error for a refusal; whatever is not Google's own form proves nothing.

    Args:
        now: for the wait until the next full minute, and for `Retry-After` headers that hold a date.
    """
    body = reply.parsed()
    error = body.get("error") if isinstance(body, dict) else None
    wait_s = reply.retry_after(now or datetime.fromtimestamp(0, UTC))
    if not isinstance(error, dict):
        return _foreign(reply, wait_s)
    message = _text(error.get("message")) or reply.text
    codes = list(_reasons(error))
    row = _row(codes, message) or _by_status(reply.status)
    shown = next(iter(codes), "") or f"http-{reply.status}"
    if row.error is RateLimited:
        return RateLimited(_cut(message), wait_s=_wait(now) if wait_s is None else wait_s, code=shown)
    return _made(row, shown, message, _bucket(message, error.get("details")))


def operation_error(operation: Mapping[str, Any]) -> ProviderError | None:
    """Why a finished *operation* failed; None if it did not.

    What might pass by itself counts as missing capacity: under the same request id the same operation would answer.
    """
    listed = _list(_dict(operation.get("error")).get("errors"))
    errors = [one for one in listed if isinstance(one, dict)]
    status = operation.get("httpErrorStatusCode")
    if not errors and "error" not in operation and not (isinstance(status, int) and status >= 400):
        return None
    first = errors[0] if errors else {}
    code = _text(first.get("code")) or f"http-{status or 'unknown'}"
    details = [one for one in _list(first.get("errorDetails")) if isinstance(one, dict)]
    message = _text(first.get("message")) or _text(operation.get("httpErrorMessage")) or code
    inner = [_text(_dict(one.get("errorInfo")).get("reason")) for one in details]
    row = _row([code, *filter(None, inner)], message) or Row(Unclassified)
    if row.error in (Unavailable, RateLimited):
        row = Row(NoCapacity, "offer", 60.0)
    return _made(row, code, message, _bucket(message, details))


def ended(status: str, message: str, *, spot: bool) -> ProviderError:
    """Why a machine that was accepted is in *status* (TERMINATED and the like); spot machines are taken away."""
    text = message or f"the machine is {status}"
    if spot or _FULL_TEXT.search(message):
        return NoCapacity(_cut(text), code="preempted" if spot else status, scope="offer")
    return BootFailed(_cut(text), code=status, scope="offer")


def _made(row: Row, code: str, message: str, bucket: str | None) -> ProviderError:
    scope, text = row.scope, message
    if row.error is Forbidden and (match := _PERMISSION.search(message)):
        text = f"{message} (missing: {match[1]}; roles/compute.instanceAdmin.v1 has what orch needs)"
    elif row.hint:
        text = f"{message} ({row.hint})"
    if row.error is not QuotaExceeded:
        return row.error(_cut(text), code=code, scope=scope, hold_s=row.hold_s)
    # One bucket counts the GPUs of all regions: no other place there would differ.
    scope = "provider" if bucket == ALL_GPUS else scope
    return QuotaExceeded(_cut(text), code=code, scope=scope, hold_s=row.hold_s, bucket=bucket)


def _row(codes: list[str], message: str) -> Row | None:
    found = next((TABLE[code] for code in codes if code in TABLE), None)
    if found is None:
        found = next((row for code in codes for shape, row in _SHAPES if shape.search(code)), None)
    if (found is None or found.error in (InvalidRequest, Unavailable, RateLimited)) and _FULL_TEXT.search(message):
        return _FULL
    if found is not None and found.error is InvalidRequest:
        if _MISSING_TEXT.search(message):
            return _GONE
        if _POLICY_TEXT.search(message):
            return Row(Forbidden, "provider", 3600.0, "the organisation's policy forbids it")
    return found


def _reasons(error: Mapping[str, Any]) -> Iterator[str]:
    """The codes of a refusal, the most exact first."""
    for part in (*_list(error.get("details")), *_list(error.get("errors"))):
        if isinstance(part, dict) and (reason := _text(part.get("reason"))):
            yield reason
    if status := _text(error.get("status")):
        yield status


def _bucket(message: str, details: Any) -> str | None:
    """The exhausted quota: named in the text, else in the details of an operation's error."""
    if match := _BUCKET.search(message):
        return match[1]
    for part in _list(details):
        info = _dict(_dict(part).get("quotaInfo")) or _dict(_dict(part).get("metadatas"))
        name = _text(info.get("limitName")) or _text(info.get("metricName"))
        if name:
            sizes = sorted(f"{key}={value}" for key, value in _dict(info.get("dimensions")).items())
            return " ".join([name, *sizes])[:120]
    return None


def _by_status(status: int) -> Row:
    known = {401: _KEY, 403: _RIGHT, 404: _GONE, 400: _OURS, 412: _OURS, 429: _RATE, 408: _BROKEN}
    return known.get(status) or (_BROKEN if status >= 500 else Row(Unclassified))


def _foreign(reply: Reply, wait_s: float | None) -> ProviderError:
    """A page of a proxy, or of nothing that we know: it does not speak for Google."""
    text, code = reply.text or f"answered {reply.status}", f"http-{reply.status}"
    if reply.status == 429:
        return RateLimited(text, wait_s=5.0 if wait_s is None else wait_s, code=code)
    if reply.status == 401:
        return AuthFailed(text, code=code)
    return Unavailable(text, code=code) if reply.status >= 500 else Unclassified(text, code=code)


def _wait(now: datetime | None) -> float:
    return 20.0 if now is None else MOST_WAIT_S - now.second + 0.5


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _cut(text: str) -> str:
    return text.strip()[:MAX_TEXT]
