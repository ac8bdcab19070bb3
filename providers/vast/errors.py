"""Vast.ai's refusals as types: one table, read from the top, the first row that fits decides.

The usual body is ``{"success": false, "error": "<code>", "msg": "error 404/3603: <code> text"}``, but the status, the
code and the text contradict each other: a bad key is a 404, a taken offer is an ``invalid_args``, and a 200 may be a
refusal. So rows go by words as well. Sources: the API description, the official SDK, and other clients' notes.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from providers.errors import (
    AuthFailed,
    Forbidden,
    InvalidRequest,
    NoCapacity,
    NoFunds,
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
from providers.http import Reply
from providers.vast import limits
from providers.vast.fields import whole

NO_INSTANCE = "no_such_instance"
BID_TOO_LOW = "bid-too-low"
LONGEST_TEXT = 600

_ANY = range(200, 600)
_REFUSED = range(200, 500)
_CLIENT = range(400, 500)
_SERVER = range(500, 600)
_SEARCHES = ("offers", "more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A refusal as it reads.

    Attributes:
        code: the body's `error`, empty if there is none.
        text: its words.
        parsed: whether the body was a JSON object, that is, the API's own.
        contract: the instance that exists although the call failed (`new_contract`).
    """

    status: int
    code: str
    text: str
    parsed: bool
    contract: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of refusal.

    Attributes:
        case: what it is.
        error: what to make of it.
        status: HTTP statuses it comes with; 200 is a refusal with ``success: false``.
        verbs: the calls it applies to; empty means all.
        codes: vendor codes, any one of which fits.
        pattern: a regular expression that may be found in the text instead of a code (case ignored). A row with
            neither codes nor pattern fits whatever is said.
        parsed: whether the body has to be JSON (True), must not be (False), or may be either (None).
        contract: whether it must name an instance that it leaves behind.
        code: the error's code; else the vendor's, else the status.
        hint: added to the provider's words where those alone would mislead.
        source: where the row comes from; "unverified" was never seen.
    """

    case: str
    error: type[ProviderError]
    status: Container[int] = _ANY
    verbs: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    pattern: str = ""
    parsed: bool | None = None
    contract: bool = False
    code: str = ""
    scope: Scope | None = None
    hold_s: float | None = None
    bucket: str | None = None
    hint: str = ""
    source: str = "official"

    def fits(self, said: Said, verb: str) -> bool:
        """Whether this row is about *said* in answer to *verb*."""
        if said.status not in self.status or (self.verbs and verb not in self.verbs):
            return False
        if (self.parsed is not None and self.parsed != said.parsed) or (self.contract and said.contract is None):
            return False
        if not self.codes and not self.pattern:
            return True
        return said.code in self.codes or bool(self.pattern and re.search(self.pattern, said.text, re.IGNORECASE))


_NO_RIGHT = r"permission|not permitted|not authori[sz]ed|not allowed|insufficient scope|forbidden|restricted"

TABLE: tuple[Row, ...] = (
    # A listing can wait for an older answer; a quote cannot, and each further one would only be refused as well.
    Row(
        case="search-quota",
        error=RateLimited,
        status=(429,),
        verbs=_SEARCHES,
        codes=("search_quota_exceeded",),
        pattern=r"search.quota",
        code="search_quota_exceeded",
    ),
    Row(
        case="quote-quota",
        error=QuotaExceeded,
        status=(429,),
        codes=("search_quota_exceeded",),
        pattern=r"search.quota",
        code="search_quota_exceeded",
    ),
    Row(case="rate-limit", error=RateLimited, status=(429,), code="http-429"),
    # Before everything else that is a 404: a wrong key is one, and must never read as "gone".
    Row(case="key", error=AuthFailed, pattern=r"invalid (user|api) key"),
    Row(
        case="two-factor",
        error=AuthFailed,
        status=_CLIENT,
        pattern=r"two.factor|\b2fa\b",
        code="two-factor",
        hint="this account wants a second factor for that call: use an API key that does not need it",
    ),
    Row(
        case="session",
        error=AuthFailed,
        status=_CLIENT,
        pattern=r"session expired|log in again",
        code="session-expired",
    ),
    Row(case="right", error=Forbidden, status=(401, 403), pattern=_NO_RIGHT, parsed=True, source="unverified"),
    Row(case="key-code", error=AuthFailed, codes=("auth_error",)),
    Row(case="login", error=AuthFailed, status=(401,)),
    # A page that is not the API's own (a proxy's, a firewall's) proves nothing: `http` makes `OutcomeUnknown` of it.
    Row(case="page", error=Unclassified, status=_CLIENT, verbs=("launch",), parsed=False, source="unverified"),
    Row(case="page-read", error=Unavailable, status=_CLIENT, parsed=False, scope="provider", source="unverified"),
    # Three shapes: 410 with this code, 404 with `invalid_args`, 400 with the words.
    Row(
        case="offer-gone",
        error=OfferGone,
        verbs=("launch",),
        codes=("no_such_ask",),
        pattern=r"no_such_ask",
        parsed=True,
        code="no_such_ask",
    ),
    Row(
        case="own-offer",
        error=OfferGone,
        status=(403,),
        verbs=("launch",),
        pattern=r"is not your own",
        code="own-offer",
        hold_s=3600.0,
    ),
    Row(case="offer-gone-status", error=OfferGone, status=(410,), verbs=("launch",), parsed=True),
    Row(
        case="money",
        error=NoFunds,
        codes=("insufficient_credit", "missing_billing"),
        pattern=r"insufficient (credit|fund|balance)|not enough (credit|fund|balance)",
        parsed=True,
        source="code official, status unverified",
    ),
    Row(case="payment", error=NoFunds, status=(402,), source="unverified"),
    # New accounts may only spend so much an hour. Cheaper models may still pass, so the hold is the model's.
    Row(
        case="spend-rate",
        error=QuotaExceeded,
        verbs=("launch",),
        pattern=r"spend(ing)?[ -](rate|limit)",
        parsed=True,
        code="spend-rate",
        bucket="spend rate",
        source="unverified",
    ),
    # The body of a failed create names an instance: stopped, and its disk bills. Seen for bids that were too low.
    Row(
        case=BID_TOO_LOW,
        error=NoCapacity,
        verbs=("launch",),
        contract=True,
        code=BID_TOO_LOW,
        scope="offer",
        source="other clients",
    ),
    Row(
        case="bid-refused",
        error=NoCapacity,
        status=_REFUSED,
        verbs=("launch",),
        pattern=r"\bbid\b.*\b(low|below|minimum|higher|outbid)\b|\boutbid\b",
        code=BID_TOO_LOW,
        scope="offer",
        source="unverified",
    ),
    # These words are documented for a restart whose GPU went to somebody else.
    Row(
        case="no-resources",
        error=NoCapacity,
        status=_REFUSED,
        verbs=("launch",),
        pattern=r"resources are (currently )?unavailable",
        code="no-resources",
        scope="offer",
        source="other clients",
    ),
    # The bid is the quote of a moment ago: the price moved, or the answer of the search was wrong.
    Row(case="price", error=PriceChanged, verbs=("launch",), codes=("invalid_price",)),
    Row(case="no-instance", error=OfferGone, codes=(NO_INSTANCE,), code=NO_INSTANCE),
    Row(
        case="not-found",
        error=OfferGone,
        status=(404,),
        verbs=("find", "terminate"),
        codes=("not_found",),
        code=NO_INSTANCE,
    ),
    # Often an image tag that does not exist; sometimes after the effect.
    Row(
        case="server-words",
        error=OutcomeUnknown,
        verbs=("launch",),
        codes=("server_error",),
        pattern=r"something went wrong on the server",
        source="other clients",
    ),
    Row(case="server-words-read", error=Unavailable, codes=("server_error",), scope="provider"),
    Row(
        case="validation",
        error=InvalidRequest,
        status=_REFUSED,
        codes=("invalid_args", "invalid_request", "no_ssh_key_for_vm", "label_too_long", "invalid_token"),
    ),
    Row(case="forbidden", error=Forbidden, status=(403,)),
    Row(case="timeout", error=OutcomeUnknown, status=(408,), verbs=("launch",), source="unverified"),
    Row(case="timeout-read", error=Unavailable, status=(408,), source="unverified"),
    Row(case="server", error=Unavailable, status=_SERVER, scope="provider"),
    Row(case="other", error=Unclassified, status=_REFUSED, source="whatever is left"),
)


def classify(reply: Reply, verb: str) -> ProviderError:
    """The typed error for a refusal in answer to *verb*: a status of 400 and up, or a 200 with ``success: false``.

    What the refused create left behind is not in it; `contract_of` reads that, and `client` adds it.
    """
    said = read(reply)
    for row in TABLE:
        if row.fits(said, verb):
            return _make(row, said, reply, verb)
    return Unclassified(said.text, code=said.code or f"http-{said.status}")


def read(reply: Reply) -> Said:
    """A refusal in any of its shapes. Of a JSON body only the words are taken: it may hold keys of a container."""
    body = reply.parsed()
    document: dict[str, Any] = body if isinstance(body, dict) else {}
    words = (document.get(key) for key in ("msg", "message", "detail", "error"))
    found = next((word.strip() for word in words if isinstance(word, str) and word.strip()), "")
    if not found and isinstance(body, str):
        found = body.strip()
    if not found and body is None:
        found = " ".join(re.sub(r"<[^>]*>", " ", reply.body[:65536].decode("utf-8", "replace")).split())
    code = document.get("error")
    return Said(
        status=reply.status,
        code=code.strip() if isinstance(code, str) and len(code) <= 64 else "",
        text=_cut(found) or f"vast answered {reply.status} without a text",
        parsed=bool(document) or body == {},
        contract=contract_of(document),
    )


def contract_of(document: Any) -> int | None:
    """The id of the instance that a create's answer names, refused or not."""
    return whole(document.get("new_contract")) if isinstance(document, dict) else None


def _make(row: Row, said: Said, reply: Reply, verb: str) -> ProviderError:
    message = f"{said.text} ({row.hint})" if row.hint else said.text
    code = row.code or said.code or f"http-{said.status}"
    if row.error is RateLimited:
        wait = limits.quota_s(reply) if row.case == "search-quota" else limits.wait_s(reply, verb)
        return RateLimited(message, wait_s=wait, code=code)
    if row.error is PriceChanged:
        return PriceChanged(message, code=code)
    hold_s = limits.quota_s(reply) if row.case == "quote-quota" else row.hold_s
    return row.error(message, code=code, scope=row.scope, hold_s=hold_s, bucket=row.bucket)


def _cut(text: str) -> str:
    """*text*, cut between two words: half a secret could not be found and taken out any more."""
    if len(text) <= LONGEST_TEXT:
        return text
    head, _, _ = text[:LONGEST_TEXT].rpartition(" ")
    return f"{head} [...]"
