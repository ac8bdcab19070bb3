"""RunPod's refusals, as data, and how an answer is read with them.

v2 answers with RFC 9457 problems: `title`, `status`, `detail`, sometimes `errors`; there is no code, so a few
rows go by words of `detail`. Sources: the OpenAPI description of v2, and answers recorded in August 2026.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from providers.errors import (
    AuthFailed,
    Forbidden,
    InvalidRequest,
    NoCapacity,
    NoFunds,
    OfferGone,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Scope,
    Unavailable,
    Unclassified,
)
from providers.http import Reply
from providers.runpod import limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of refusal.

    Attributes:
        status: HTTP status.
        error: what it means.
        says: any one of these (lower case) must be in the answer's words; empty means whatever it says.
        verbs: only in calls that serve one of these verbs; empty means all.
        body: what the body must be: "problem" (RFC 9457, from RunPod itself), "json" (any object), "any".
        scope, hold_s: where they differ from the error's own.
        hint: added to the provider's words where those alone would mislead.
    """

    status: int
    error: type[ProviderError]
    says: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    body: Literal["problem", "json", "any"] = "any"
    scope: Scope | None = None
    hold_s: float | None = None
    hint: str = ""


#: By our code for it, which stands in `ProviderError.code`. The first row that fits counts.
TABLE: dict[str, Row] = {
    # Capacity is a plain 400 with a sentence. The same sentence comes when the data centre is too narrow a
    # choice or no host has the wanted CUDA version, so it never says more than "not this offer".
    "no-instances": Row(
        status=400,
        error=NoCapacity,
        body="json",
        says=(
            "no longer any instances available",
            "no instances currently available",
            "no instances available",
            "not enough free gpus",
            "does not have the resources to deploy",
        ),
    ),
    # v1 and GraphQL spoke of the balance with other statuses; whether v2 ever does is not known.
    "balance": Row(
        status=400,
        error=NoFunds,
        verbs=("launch",),
        body="json",
        says=("insufficient balance", "insufficient funds", "not enough balance", "not enough funds"),
    ),
    # A create that breaks a rule may pass with another offer, says the vendor. In other calls it is our bug.
    "http-400": Row(status=400, error=Unclassified, verbs=("launch",), body="json"),
    "http-400-other": Row(status=400, error=InvalidRequest, body="json"),
    "http-401": Row(status=401, error=AuthFailed),
    "http-402": Row(status=402, error=NoFunds),
    "cloudflare-1010": Row(
        status=403,
        error=Unavailable,
        # As a page or plain text (seen), or as the JSON that Cloudflare writes for callers who accept JSON.
        says=("error 1010", "error code: 1010", "error-1010", '"error_code":1010', '"error_code": 1010'),
        scope="provider",
        hold_s=300.0,
        hint="Cloudflare, in front of RunPod, refused our User-Agent; the key was not looked at",
    ),
    "pool-forbidden": Row(status=403, error=Forbidden, body="json", says=("pool",), scope="offer"),
    "http-403": Row(status=403, error=Forbidden, body="json"),
    # Only RunPod's own words prove that a pod is gone: a proxy's or gateway's 404 proves nothing.
    "http-404": Row(status=404, error=OfferGone, body="problem"),
    "http-405": Row(status=405, error=InvalidRequest, body="json"),
    # Somebody gave up waiting for our request: it may have gone through.
    "http-408": Row(status=408, error=OutcomeUnknown, verbs=("launch",)),
    "http-408-read": Row(status=408, error=Unavailable, scope="provider"),
    "http-409": Row(status=409, error=Unclassified, verbs=("launch",), body="json"),
    "http-409-state": Row(status=409, error=Unavailable, body="json", scope="offer"),
    "http-410": Row(
        status=410,
        error=InvalidRequest,
        scope="provider",
        hint="RunPod has retired this version of its API; orch needs an upgrade",
    ),
    "http-422": Row(status=422, error=InvalidRequest, body="json"),
    "http-429": Row(status=429, error=RateLimited),
}


def classify(reply: Reply, verb: str) -> ProviderError:
    """What a refusal (status 400 and up) of a call that served *verb* means."""
    parsed = reply.parsed()
    document: dict[str, Any] | None = parsed if isinstance(parsed, dict) else None
    text = _message(reply, document)
    words = f"{text}\n{reply.body[:65536].decode('utf-8', 'replace')}".lower()
    for code, row in TABLE.items():
        if _fits(row, reply.status, verb, document, words):
            return _make(row, code, reply, text)
    if reply.status >= 500:
        # One API serves all places. For a create the HTTP layer turns this into OutcomeUnknown, which it must
        # be: RunPod has answered 500 to creates whose pod was made, and billed.
        return Unavailable(text, code=f"http-{reply.status}", scope="provider")
    if document is None and verb != "launch":
        return Unavailable(text, code="not-json", scope="provider")
    return Unclassified(text, code=f"http-{reply.status}")


def _fits(row: Row, status: int, verb: str, document: dict[str, Any] | None, words: str) -> bool:
    if row.status != status or (row.verbs and verb not in row.verbs):
        return False
    if row.body != "any" and document is None:
        return False
    if row.body == "problem" and not _is_own_problem(document or {}, status):
        return False
    return not row.says or any(said in words for said in row.says)


def _is_own_problem(document: dict[str, Any], status: int) -> bool:
    named = isinstance(document.get("title"), str) or document.get("status") == status
    return named and isinstance(document.get("detail"), str) and not document.get("cloudflare_error")


def _make(row: Row, code: str, reply: Reply, text: str) -> ProviderError:
    message = f"{text} ({row.hint})" if row.hint else text
    if row.error is RateLimited:
        return RateLimited(message, wait_s=limits.wait_s(reply), code=code)
    return row.error(message, code=code, scope=row.scope, hold_s=row.hold_s)


def _message(reply: Reply, document: dict[str, Any] | None) -> str:
    """The provider's own words, else the beginning of whatever came."""
    if document is None:
        return f"HTTP {reply.status} with no problem document: {reply.text[:200]!r}"
    words = [document.get("detail"), document.get("error"), document.get("title")]
    text: str = next((word for word in words if isinstance(word, str) and word), reply.text)
    errors = document.get("errors")
    if isinstance(errors, list) and errors:
        text = f"{text} {'; '.join(str(error) for error in errors)}"
    return text[:600]
