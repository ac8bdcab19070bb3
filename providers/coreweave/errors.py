"""Everything a Kubernetes cluster can refuse or report, as one table, and how it is read.

HTTP refusals are `Status` objects with a `reason`; other troubles stand in conditions of Pods and NodePools, in a
container's waiting reason, and in events. Messages differ between versions, so few words of them are trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from providers.errors import (
    AuthFailed,
    BadWorkload,
    BootFailed,
    Forbidden,
    InvalidRequest,
    NoCapacity,
    NotReachable,
    OfferGone,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    Scope,
    Unavailable,
    Unclassified,
)
from providers.http import Reply

Where = Literal["http", "pod", "container", "pool", "event", "ours"]

HOUR_S = 3600.0
#: Without any word from the server.
GUESSED_WAIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of refusal or trouble.

    Attributes:
        where: what reports it.
        error: what it means.
        status: HTTP status, for ``http`` rows.
        reason: the object's `reason` (any case); empty means whatever it says.
        says: any one of these (lower case) must be in its message; empty means whatever it says.
        scope, hold_s: where they differ from the error's own.
        hint: added to the message where that alone would mislead.
    """

    where: Where
    error: type[ProviderError]
    status: int = 0
    reason: str = ""
    says: tuple[str, ...] = ()
    scope: Scope | None = None
    hold_s: float | None = None
    hint: str = ""


def _http(status: int, error: type[ProviderError], reason: str = "", **more: Any) -> Row:
    return Row(where="http", status=status, error=error, reason=reason, **more)


def _seen(where: Where, error: type[ProviderError], reason: str, **more: Any) -> Row:
    return Row(where=where, error=error, reason=reason, **more)


#: In the words of container runtimes: NVIDIA's hook found no working driver, or the node's disk is full.
_HOST_TROUBLE = ("nvidia-container", "nvml error", "no space left on device")

#: By our code for it, which stands in `ProviderError.code`. The first row that fits counts.
TABLE: dict[str, Row] = {
    # -- HTTP ---------------------------------------------------------------------------------------------------
    "Unauthorized": _http(401, AuthFailed),
    # Namespaced quota (`ResourceQuota`) is refused as Forbidden. It says nothing of other namespaces or nodes.
    "quota": _http(403, QuotaExceeded, "Forbidden", says=("exceeded quota:",), scope="offer"),
    "anonymous": _http(403, AuthFailed, "Forbidden", says=('user "system:anonymous"',)),
    "admission-webhook": _http(403, Forbidden, says=("admission webhook",)),
    # The namespace itself is being deleted: nothing can be made in it.
    # A namespace's own account comes a moment after it; nothing was made.
    "no-account-yet": _http(403, Unavailable, "Forbidden", says=("error looking up service account",), scope="offer"),
    "terminating-namespace": _http(403, Forbidden, "Forbidden", says=("because it is being terminated",)),
    "rbac": _http(403, Forbidden, "Forbidden", says=(" cannot ",)),
    # CoreWeave's endpoint answers a bad token with 403, too; `Kube` finds out which it is.
    "forbidden-unclear": _http(403, Forbidden),
    "NotFound": _http(404, OfferGone, "NotFound"),
    "no-api": _http(404, Forbidden, says=("404 page not found",), scope="offer"),
    "AlreadyExists": _http(409, InvalidRequest, "AlreadyExists"),
    "Conflict": _http(409, InvalidRequest, "Conflict"),
    "webhook-400": _http(400, Forbidden, says=("admission webhook",)),
    # The cluster's own rules (ValidatingAdmissionPolicy, webhooks) may use this status: no fault of the request.
    "admission-policy": _http(422, Forbidden, says=("validatingadmissionpolicy", "admission webhook")),
    "BadRequest": _http(400, InvalidRequest, "BadRequest"),
    "MethodNotAllowed": _http(405, InvalidRequest),
    "Expired": _http(410, Unavailable),
    "UnsupportedMediaType": _http(415, InvalidRequest),
    "Invalid": _http(422, InvalidRequest, "Invalid"),
    "TooManyRequests": _http(429, RateLimited),
    # -- Pods -------------------------------------------------------------------------------------------------------
    "Unschedulable": _seen("pod", NoCapacity, "Unschedulable"),
    "OutOfGpu": _seen("pod", NoCapacity, "OutOfnvidia.com/gpu"),
    "UnexpectedAdmissionError": _seen("pod", BootFailed, "UnexpectedAdmissionError"),
    "Evicted": _seen("pod", BootFailed, "Evicted"),
    "Preempted": _seen("pod", NoCapacity, "Preempting"),
    "PreemptionByScheduler": _seen("pod", NoCapacity, "PreemptionByScheduler"),
    "NodeLost": _seen("pod", BootFailed, "NodeLost"),
    "NodeShutdown": _seen("pod", BootFailed, "NodeShutdown"),
    "Shutdown": _seen("pod", BootFailed, "Shutdown"),
    "Terminated": _seen("pod", BootFailed, "Terminated"),
    "DeletionByTaintManager": _seen("pod", BootFailed, "DeletionByTaintManager"),
    "EvictionByEvictionAPI": _seen("pod", BootFailed, "EvictionByEvictionAPI"),
    "DeletionByPodGC": _seen("pod", BootFailed, "DeletionByPodGC"),
    "TerminationByKubelet": _seen("pod", BootFailed, "TerminationByKubelet"),
    "DeadlineExceeded": _seen("pod", BootFailed, "DeadlineExceeded", hold_s=0.0, hint="its end time has come"),
    # -- containers -------------------------------------------------------------------------------------------------
    # The node's driver or disk is at fault, whatever image is started.
    **{
        f"host/{reason}": _seen("container", BootFailed, reason, says=_HOST_TROUBLE)
        for reason in ("CreateContainerError", "RunContainerError", "ErrImagePull", "ImagePullBackOff")
    },
    "ErrImagePull": _seen("container", BadWorkload, "ErrImagePull"),
    "ImagePullBackOff": _seen("container", BadWorkload, "ImagePullBackOff"),
    "InvalidImageName": _seen("container", BadWorkload, "InvalidImageName"),
    "ErrImageNeverPull": _seen("container", BadWorkload, "ErrImageNeverPull"),
    "CreateContainerConfigError": _seen("container", BadWorkload, "CreateContainerConfigError"),
    "CreateContainerError": _seen("container", BadWorkload, "CreateContainerError"),
    "RunContainerError": _seen("container", BadWorkload, "RunContainerError"),
    "CrashLoopBackOff": _seen("container", BadWorkload, "CrashLoopBackOff"),
    # -- NodePools --------------------------------------------------------------------------------------------------
    # Held by the offer alone: idle GPUs of the same type in nodes that are there can still be had.
    "Quota/NotSet": _seen(
        "pool",
        QuotaExceeded,
        "Quota/NotSet",
        scope="offer",
        hold_s=6 * HOUR_S,
        hint="CoreWeave has set no quota for it, so no node will ever come",
    ),
    "Quota": _seen("pool", QuotaExceeded, "Quota", scope="offer"),
    "Capacity": _seen("pool", NoCapacity, "Capacity"),
    "Valid": _seen("pool", Unclassified, "Valid", hold_s=HOUR_S),
    # -- events -----------------------------------------------------------------------------------------------------
    "CWInsufficientCapacity": _seen("event", NoCapacity, "CWInsufficientCapacity"),
    "CWOverQuota": _seen("event", QuotaExceeded, "CWOverQuota", scope="offer"),
    "NotTriggerScaleUp": _seen("event", NoCapacity, "NotTriggerScaleUp"),
    "FailedScheduling": _seen("event", NoCapacity, "FailedScheduling"),
    # -- what we find ourselves -------------------------------------------------------------------------------------
    "max-nodes": _seen("ours", QuotaExceeded, "max-nodes", scope="offer", hold_s=300.0),
    "pool-refused": _seen("ours", Unclassified, "pool-refused", hold_s=HOUR_S),
    "node-gone": _seen("ours", BootFailed, "node-gone"),
    "node-not-ready": _seen("ours", BootFailed, "node-not-ready"),
    "pod-gone": _seen("ours", BootFailed, "pod-gone"),
    "node-deadline": _seen("ours", NoCapacity, "node-deadline", hold_s=HOUR_S),
    "start-deadline": _seen("ours", BootFailed, "start-deadline"),
    "registry": _seen("ours", BootFailed, "registry"),
    "ended": _seen("ours", BootFailed, "ended"),
    "no-load-balancer": _seen("ours", NotReachable, "no-load-balancer", scope="offer"),
    "name-taken": _seen("ours", Unclassified, "name-taken"),
}


def classify(reply: Reply, verb: str) -> ProviderError:
    """What a refusal (status 400 and up) means. The verb makes no difference: the server does not know it."""
    document = reply.parsed()
    status: dict[str, Any] = document if isinstance(document, dict) else {}
    text = _message(reply, status)
    # Connect errors carry `code` as a word; a `Status` has the number there.
    reason = str(status.get("reason") or (status.get("code") if isinstance(status.get("code"), str) else "") or "")
    for code, row in TABLE.items():
        if row.where == "http" and row.status == reply.status and _fits(row, reason, f"{text} {reply.text}"):
            if row.error is RateLimited:
                return RateLimited(text, wait_s=_wait_s(reply, status), code=code)
            return _make(row, code, text)
    if reply.status >= 500:
        return Unavailable(text, code=f"http-{reply.status}", scope="region")
    if not status:
        # A proxy's or gateway's page: it proves nothing.
        return Unclassified(text, code="not-json") if verb == "launch" else Unavailable(text, code="not-json")
    return Unclassified(text, code=reason or f"http-{reply.status}")


def trouble(where: Where, reason: str, message: str) -> ProviderError | None:
    """The error that a reported *reason* stands for; None if the table does not know it."""
    for code, row in TABLE.items():
        if row.where == where and _fits(row, reason, message):
            return _make(row, code, message or reason)
    return None


def ours(code: str, message: str) -> ProviderError:
    """The error of one of our own findings."""
    return _make(TABLE[code], code, message)


def _fits(row: Row, reason: str, message: str) -> bool:
    if row.reason and row.reason.lower() != reason.lower():
        return False
    return not row.says or any(said in message.lower() for said in row.says)


def _make(row: Row, code: str, text: str) -> ProviderError:
    message = f"{text} ({row.hint})" if row.hint else text
    return row.error(message[:600], code=code, scope=row.scope, hold_s=row.hold_s)


def _wait_s(reply: Reply, status: dict[str, Any]) -> float:
    details = status.get("details")
    told = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    header = reply.headers.get("retry-after", "").strip()
    if header.isascii() and header.isdigit():
        return float(header)
    return float(told) if isinstance(told, int) and not isinstance(told, bool) and told > 0 else GUESSED_WAIT_S


def _message(reply: Reply, status: dict[str, Any]) -> str:
    message = status.get("message")
    if isinstance(message, str) and message:
        return message
    return f"HTTP {reply.status}: {reply.text[:200]!r}"
