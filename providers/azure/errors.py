"""Azure's refusals and broken answers as types: one table of codes, and the rules for what a code alone does not say.

Sources: the code sets of Azure's own Go SDK extensions and of Karpenter's Azure provider, Microsoft's page of spot
error codes, and messages seen in public issues. Two traps: HTTP 409 is the answer to nearly everything (capacity,
quota, a name in use), and ``OperationNotAllowed`` means quota, throttling or a machine on its way out, told apart by
its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    PriceChanged,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    Scope,
    Unavailable,
    Unclassified,
)
from providers.http import MAX_TEXT

DEFAULT_WAIT_S = 10.0
HOUR_S = 3600.0
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Row:
    """What one code means; `scope` and `hold_s` where they differ from the error's own, `hint` for people."""

    error: type[ProviderError]
    scope: Scope | None = None
    hold_s: float | None = None
    hint: str = ""


#: An offer is a size in a region in one way of paying: just what ran out.
_FULL = Row(NoCapacity, "offer", HOUR_S)
_QUOTA = Row(QuotaExceeded, "region", HOUR_S)
_RATE = Row(RateLimited)
_BUSY = Row(Unavailable, "offer")
_BROKEN = Row(Unavailable, "region")
_KEY = Row(AuthFailed)
_ACCOUNT = Row(Forbidden, "account", HOUR_S)
_OURS = Row(InvalidRequest)
#: The request does not fit that size: another offer will do.
_UNFIT = Row(OfferGone, "offer", DAY_S)
_STALE = Row(OfferGone, "offer")
_ROLE = Row(Forbidden, hint="see the role in docs/providers/azure.md")
_LIMIT = Row(Forbidden, "offer", HOUR_S, "a policy of the subscription forbids it")

#: Azure's code -> what it means. Looked up without regard to case.
TABLE: dict[str, Row] = {
    # Capacity. SkuNotAvailable comes at once, the others mostly as the end of an accepted operation.
    "SkuNotAvailable": Row(NoCapacity, "offer", 23 * HOUR_S),
    "AllocationFailed": _FULL,
    "ZonalAllocationFailed": _FULL,
    "OverconstrainedAllocationRequest": _FULL,
    "OverconstrainedZonalAllocationRequest": _FULL,
    "SpotEvicted": _FULL,
    # Quotas.
    "QuotaExceeded": _QUOTA,
    "ResourceQuotaExceeded": _QUOTA,
    "PublicIPCountLimitReached": _QUOTA,
    "StandardPublicIPCountLimitReached": _QUOTA,
    "NetworkSecurityGroupCountLimitReached": _QUOTA,
    "VirtualNetworkCountLimitReached": _QUOTA,
    "ResourceGroupQuotaExceeded": Row(QuotaExceeded, "account", HOUR_S),
    # Spot. The size may still be had in another way.
    "SpotPriceGreaterThanProvidedMaxPrice": Row(PriceChanged),
    "AzureSpotIsNotSupportedForThisVMSize": _UNFIT,
    "AzureSpotFeatureNotEnabledForSubscription": Row(
        Forbidden, "offer", DAY_S, "this kind of subscription rents no spot machines"
    ),
    "AzureSpotFeatureNotSupportedForAPIVersion": _OURS,
    "MaxPriceValueInvalid": _UNFIT,
    "MaxPriceChangeNotAllowedForAllocatedVMs": _OURS,
    "VMPriorityCannotBeApplied": _UNFIT,
    "EvictionPolicyCanBeSetOnlyOnAzureSpotVirtualMachines": _OURS,
    # Something is under way on the same name.
    "Conflict": _BUSY,
    "AnotherOperationInProgress": _BUSY,
    "ResourceGroupBeingDeleted": _BUSY,
    "ReferencedResourceNotProvisioned": _BUSY,
    "NicReservedForAnotherVm": Row(RateLimited),
    # Network's 429 for a lock, which is no throttle.
    "RetryableError": _BUSY,
    "RetryableErrorDueToAnotherOperation": _BUSY,
    # The name exists already: the caller looks whether it is ours.
    "PreconditionFailed": Row(OutcomeUnknown),
    "PropertyChangeNotAllowed": Row(Unclassified, hint="the name is in use by a machine of other make"),
    # Rates: nothing happened.
    "TooManyRequests": _RATE,
    "SubscriptionRequestsThrottled": _RATE,
    "ResourceRequestsThrottled": _RATE,
    # Keys: ARM's own codes, then those of the token service.
    "AuthenticationFailed": _KEY,
    "AuthenticationFailedMissingToken": _KEY,
    "InvalidAuthenticationToken": _KEY,
    "InvalidAuthenticationTokenTenant": Row(AuthFailed, hint="the token is of another tenant than the subscription"),
    "ExpiredAuthenticationToken": _KEY,
    "invalid_client": Row(AuthFailed, hint="a wrong or expired client secret or certificate"),
    "unauthorized_client": Row(AuthFailed, hint="the tenant does not know that client id"),
    "invalid_grant": _KEY,
    "invalid_request": _KEY,
    "invalid_tenant": _KEY,
    "invalid_scope": _KEY,
    # Rights.
    "AuthorizationFailed": _ROLE,
    "LinkedAuthorizationFailed": _ROLE,
    "LinkedAccessCheckFailed": _ROLE,
    "RequestDisallowedByPolicy": _LIMIT,
    "RequestDisallowedByAzure": _LIMIT,
    "ScopeLocked": Row(Forbidden, "account", HOUR_S, "a lock forbids changes"),
    "ReadOnlyDisabledSubscription": _ACCOUNT,
    "DisabledSubscription": _ACCOUNT,
    "SubscriptionNotFound": _ACCOUNT,
    "InvalidSubscriptionId": _ACCOUNT,
    "SubscriptionNotRegistered": _ACCOUNT,
    "MissingSubscriptionRegistration": Row(
        Forbidden, "account", HOUR_S, "register Microsoft.Compute and Microsoft.Network for the subscription"
    ),
    "MarketplacePurchaseEligibilityFailed": _UNFIT,
    "ResourcePurchaseValidationFailed": Row(BadWorkload, hint="that image's terms must be accepted once"),
    # Absent. Who asks for the end takes it for success.
    "ResourceGroupNotFound": _STALE,
    "ResourceNotFound": _STALE,
    "NotFound": _STALE,
    "ParentResourceNotFound": _STALE,
    # The request.
    "ImageNotFound": Row(BadWorkload),
    "PlatformImageNotFound": Row(BadWorkload),
    "GalleryImageNotFound": Row(BadWorkload),
    "InvalidParameter": _UNFIT,
    "BadRequest": _UNFIT,
    "LocationNotAvailableForResourceType": Row(OfferGone, "region", DAY_S),
    "LocationNotAvailableForResourceGroup": Row(OfferGone, "region", DAY_S),
    "NoRegisteredProviderFound": Row(OfferGone, "region", DAY_S),
    "InvalidRequestFormat": _OURS,
    "InvalidRequestContent": _OURS,
    "InvalidResourceName": _OURS,
    "InvalidResourceReference": _OURS,
    "InvalidApiVersionParameter": _OURS,
    "MissingApiVersionParameter": _OURS,
    # Accepted, and then it did not come up. The machine may even run.
    "OSProvisioningTimedOut": Row(BootFailed, "offer"),
    "OSProvisioningClientError": Row(BootFailed, "offer"),
    "OSProvisioningInternalError": Row(BootFailed, "offer"),
    "VMExtensionProvisioningError": Row(BootFailed, "offer"),
    "VMExtensionProvisioningTimeout": Row(BootFailed, "offer"),
    "VMStartTimedOut": Row(BootFailed, "offer"),
    "NetworkingInternalOperationError": Row(BootFailed, "offer"),
    # The platform. Of a launch these prove nothing: `refused` makes `OutcomeUnknown` of them.
    "InternalServerError": _BROKEN,
    "InternalError": _BROKEN,
    "InternalExecutionError": _BROKEN,
    "ServiceUnavailable": _BROKEN,
    "ServerTimeout": _BROKEN,
    "GatewayTimeout": _BROKEN,
    "OperationTimedOut": _BROKEN,
}
_BY_NAME = {code.lower(): row for code, row in TABLE.items()}

#: Wrappers: the cause is one level further down.
_OUTER = frozenset(["resourceoperationfailure", "resourcedeploymentfailure", "invalidtemplatedeployment"])
_QUOTA_TEXT = re.compile(r"exceeding (?:approved|quota)|quota limit|approved .{0,60}quota", re.I)
_BUCKET = re.compile(r"(?:approved|exceeding)\s+(?:approved\s+)?(.{3,60}?)\s+quota", re.I)
_ENDING_TEXT = re.compile(r"marked for deletion|being deleted", re.I)
_IMAGE_TEXT = re.compile(r"generation '?[12]'?|hypervisor", re.I)


@dataclass(frozen=True, slots=True)
class Said:
    """What an error document says: the code that counts, its text, and every code in it."""

    code: str
    message: str
    codes: frozenset[str] = frozenset()


def said(document: Any) -> Said:
    """The error in *document*: wrapped (``{"error": {...}}``), bare (Compute's throttling), or the token service's."""
    if not isinstance(document, Mapping):
        return Said("", "")
    inner = document.get("error")
    if isinstance(inner, str):  # OAuth: {"error": "invalid_client", "error_description": "AADSTS7000215: ..."}
        return Said(inner, str(document.get("error_description") or inner), frozenset([inner.lower()]))
    error = inner if isinstance(inner, Mapping) else document
    found = list(_walk(error, 0))
    codes = frozenset(code.lower() for code, _ in found if code)
    code, message = found[0]
    for deeper, text in found[1:]:
        if not code or code.lower() in _OUTER:
            code, message = deeper or code, text or message
    return Said(code, message, codes)


def refusal(
    code: str, message: str, *, status: int = 0, codes: frozenset[str] = frozenset(), wait_s: float | None = None
) -> ProviderError:
    """The typed error for Azure's *code* with its *message*.

    Args:
        status: HTTP status, which decides where the table does not know the code; 0 if there was none.
        codes: further codes of the same answer, lower case.
        wait_s: seconds that a `Retry-After` header asked for.
    """
    row, bucket = _row(code, message, status, codes)
    text = f"{message} ({row.hint})" if row.hint else message
    text = text.strip()[:MAX_TEXT] or f"Azure answered {status or code} without a text"
    code = code or f"http-{status}"
    if row.error is RateLimited:
        return RateLimited(text, wait_s=DEFAULT_WAIT_S if wait_s is None else wait_s, code=code)
    if row.error is PriceChanged:
        return PriceChanged(text, code=code)
    return row.error(text, code=code, scope=row.scope, hold_s=row.hold_s, bucket=bucket)


def failure(code: str, message: str) -> ProviderError:
    """Why an accepted machine failed, by the code of its operation or status."""
    made = refusal(code, message or code or "Azure gives no reason", status=0)
    if isinstance(made, NoCapacity | QuotaExceeded | BootFailed | PriceChanged | Forbidden | BadWorkload):
        return made
    return BootFailed(made.message, code=code or "failed", scope="offer")


def refused(status: int, document: Any, *, effect: bool, wait_s: float | None = None) -> ProviderError:
    """What an answer of 300 and up means.

    Args:
        effect: the call may make something that bills, so what proves nothing about it becomes `OutcomeUnknown`.
    """
    if status < 400:
        return unsure(f"Azure answered with a redirect ({status})", "redirect", effect)
    what = said(document)
    made = refusal(what.code, what.message, status=status, codes=what.codes, wait_s=wait_s)
    if effect and not what.code and not isinstance(made, AuthFailed | RateLimited):
        # Not the API's own words: whoever said that (a proxy) may not know what the API did.
        return OutcomeUnknown(made.message, code=made.code)
    if effect and (status >= 500 or status == 408) and isinstance(made, Unavailable | Unclassified):
        return OutcomeUnknown(made.message, code=made.code)
    return made


def unsure(text: str, code: str, effect: bool) -> ProviderError:
    """The error for a call whose answer proves nothing."""
    return OutcomeUnknown(text, code=code) if effect else Unavailable(text, code=code)


def _row(code: str, message: str, status: int, codes: frozenset[str]) -> tuple[Row, str | None]:
    known = _BY_NAME.get(code.lower())
    throttled = bool(codes & {"toomanyrequests", "subscriptionrequeststhrottled", "resourcerequeststhrottled"})
    if throttled or (status == 429 and (known is None or known.error is not Unavailable)):
        return _RATE, None
    if code.lower() in ("operationnotallowed", "badrequest", "conflict", "quotaexceeded", "resourcequotaexceeded"):
        if _QUOTA_TEXT.search(message):
            return _quota(message)
        if code.lower() != "badrequest" and _ENDING_TEXT.search(message):
            return _BUSY, None
        if code.lower() == "operationnotallowed":
            return Row(Unclassified), None
    if known is not None:
        return known, None
    if _IMAGE_TEXT.search(message) and status in (400, 409):
        return _UNFIT, None
    return _by_code(code.lower()) or _by_status(status), None


def _quota(message: str) -> tuple[Row, str | None]:
    """A quota and its name.

    Spot machines have a quota of vCPUs of their own (``LowPriorityCores``), so neither kind holds the other back:
    the offer alone is what is out. Other quotas count both.
    """
    match = _BUCKET.search(message)
    bucket = match[1].strip() if match else None
    cores = "cores" in (bucket or message).lower()
    hint = "ask for a higher quota in the portal" if re.search(r"Current Limit: 0\b", message) else ""
    return Row(QuotaExceeded, "offer" if cores else "region", HOUR_S, hint), bucket


def _by_code(code: str) -> Row | None:
    """Codes that the table does not know yet, by their shape."""
    if code.startswith("retryableerror"):
        return _BUSY
    if code.endswith(("countlimitreached", "quotaexceeded", "limitexceeded")):
        return _QUOTA
    if code.endswith("allocationfailed") or code.startswith("overconstrained"):
        return _FULL
    if code.endswith("imagenotfound"):
        return Row(BadWorkload)
    return None


def _by_status(status: int) -> Row:
    if status == 401:
        return _KEY
    if status == 403:
        return _ROLE
    if status == 404:
        return _STALE
    if status == 429:
        return _RATE
    return _BROKEN if status >= 500 or status == 408 else Row(Unclassified)


def _walk(error: Mapping[str, Any], depth: int) -> Iterator[tuple[str, str]]:
    """Code and text of *error* and of all its details, outside first."""
    code, message = error.get("code"), error.get("message")
    yield str(code or ""), str(message or "")
    details = error.get("details")
    for one in details if isinstance(details, list) and depth < 4 else ():
        if isinstance(one, Mapping):
            yield from _walk(one, depth + 1)
