"""Fluence's refusals as types: one table, read from the top, the first row that fits decides.

The GPU service documents few texts, and none for the commonest refusal (an offer that was taken); so a 400 on
create that is neither about money nor about the image counts as "offer unavailable", with the raw text kept.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

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

NOT_FOUND = "http-404"
OS_IMAGE = "os-image"
DEFAULT_WAIT_S = 5.0
LONGEST_TEXT = 600
#: The list of images that a refused one answers with is read back from the message, so it is kept longer.
LONGEST_IMAGE_TEXT = 8000

_CLIENT = range(400, 500)
_SERVER = range(500, 600)
_ANY = range(400, 600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of refusal.

    Attributes:
        case: what it is; becomes the error's code where neither the vendor nor the status says it better.
        error: what to make of it.
        status: HTTP statuses it comes with.
        verbs: the contract's verbs it applies to; empty means all.
        codes: vendor codes, any one of which must be there; empty means whatever.
        pattern: a regular expression that must be found in the text (case ignored); empty means whatever.
        parsed: whether the body has to be JSON (True), must not be (False), or may be either (None).
        source: where the row comes from. "unverified" was never seen on the GPU service.
    """

    case: str
    error: type[ProviderError]
    status: Container[int] = _ANY
    verbs: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    pattern: str = ""
    parsed: bool | None = None
    scope: Scope | None = None
    hold_s: float | None = None
    source: str = "documented"

    def fits(self, said: Said, verb: str) -> bool:
        """Whether this row is about *said* in answer to *verb*."""
        return (
            said.status in self.status
            and (not self.verbs or verb in self.verbs)
            and (not self.codes or said.code in self.codes)
            and (self.parsed is None or self.parsed == said.parsed)
            and (not self.pattern or re.search(self.pattern, said.text, re.IGNORECASE) is not None)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A refusal as it reads: the vendor's code if there is one, and its text."""

    status: int
    code: str
    text: str
    parsed: bool


_KEY_WORDS = r"auth failed|api[ _-]?key|not authenticated|unauthori[sz]ed|invalid (token|credential)"
_RIGHT_WORDS = r"forbidden|permission|scope|not allowed|read.?only"

TABLE: tuple[Row, ...] = (
    Row(case="rate-limit", error=RateLimited, status=(429,), source="unverified: no limit is documented"),
    # A page that is not the API's own proves nothing about a create (a proxy's, a firewall's): http.py makes
    # `OutcomeUnknown` of it. 401 is left out: no answer 401 comes after an effect.
    Row(
        case="no-json",
        error=Unclassified,
        status=[status for status in _CLIENT if status != 401],
        verbs=("launch",),
        parsed=False,
        source="unverified",
    ),
    Row(case="balance-code", error=NoFunds, codes=("insufficient_balance",), source="account API"),
    Row(case="balance", error=NoFunds, status=(400,), pattern=r"^\s*insufficient balance"),
    Row(case="payment", error=NoFunds, status=(402,), source="unverified"),
    Row(case="key", error=AuthFailed, status=(401,), source="account API"),
    Row(case="key-code", error=AuthFailed, status=(403,), codes=("unauthorized",), source="account API"),
    Row(case="right-code", error=Forbidden, status=(403,), codes=("forbidden",), source="account API"),
    Row(case="key-text", error=AuthFailed, status=(403,), pattern=_KEY_WORDS),
    Row(case="right-text", error=Forbidden, status=(403,), pattern=_RIGHT_WORDS, source="unverified"),
    # The documented 403 is a missing or unknown key, so that is what an unknown text most likely means.
    Row(case="key-unknown-text", error=AuthFailed, status=(403,), parsed=True, source="unverified"),
    Row(case="validation", error=InvalidRequest, status=(422,)),
    # A VM's operating system, not the user's image. Nothing was made; `launch` tries once with a listed one.
    Row(
        case=OS_IMAGE,
        error=NoCapacity,
        status=(400,),
        verbs=("launch",),
        pattern=r"Available OS images:",
        scope="offer",
    ),
    Row(
        case="offer-unavailable",
        error=NoCapacity,
        status=(400,),
        verbs=("launch",),
        scope="offer",
        source="documented as a case, its text is not",
    ),
    Row(case="plan-not-found", error=OfferGone, status=(404,), verbs=("launch",), source="unverified"),
    # Never leaves the adapter: it reads the state and decides. Not `Unavailable`, which would be repeated.
    Row(
        case="not-active",
        error=InvalidRequest,
        status=(400, 409),
        verbs=("terminate",),
        source="documented as a case, its text is not",
    ),
    Row(case=NOT_FOUND, error=OfferGone, status=(404,), source="inferred"),
    Row(case="timeout", error=OutcomeUnknown, status=(408,), verbs=("launch",), source="unverified"),
    Row(case="timeout-read", error=Unavailable, status=(408,), source="unverified"),
    Row(case="server", error=Unavailable, status=_SERVER, scope="provider"),
    Row(case="other", error=Unclassified, status=_CLIENT, source="whatever is left"),
)


def classify(reply: Reply, verb: str) -> ProviderError:
    """The typed error for a refusal (any status of 400 and up) in answer to *verb* of the contract."""
    said = read(reply)
    for row in TABLE:
        if row.fits(said, verb):
            return _make(row, said, reply)
    return Unclassified(_cut(said.text), code=said.code or f"http-{said.status}")


def read(reply: Reply) -> Said:
    """A refusal in any of the known body shapes.

    They are ``{"detail": str}``, ``{"detail": [...]}``, ``{"error": str}``, ``{"code", "error"}``, and no JSON.
    """
    body = reply.parsed()
    code, text = _read_body(body)
    if not text:
        raw = reply.body[:65536].decode("utf-8", "replace")
        text = " ".join(re.sub(r"<[^>]*>", " ", raw).split())
    return Said(
        status=reply.status,
        code=code,
        text=text or f"fluence answered {reply.status} without a text",
        parsed=body is not None,
    )


def images_in(message: str) -> tuple[str, ...]:
    """The OS images that a refusal lists behind ``Available OS images:``."""
    _, found, rest = message.partition("Available OS images:")
    return tuple(name for part in rest.split(",") if (name := part.strip().rstrip("."))) if found else ()


def _read_body(body: Any) -> tuple[str, str]:
    if isinstance(body, str):
        return "", body
    if not isinstance(body, dict):
        return "", ""
    code = body.get("code")
    for key in ("detail", "error", "message"):
        text = _text_of(body.get(key))
        if text:
            return (code if isinstance(code, str) else ""), text
    return (code if isinstance(code, str) else ""), ""


def _text_of(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        return "; ".join(found for item in value if (found := _text_of(item)))
    if isinstance(value, dict):
        # One item of a validation error. Its `input` echoes what was sent (secrets, too): never repeated.
        where = value.get("loc")
        place = ".".join(str(part) for part in where) + ": " if isinstance(where, list) else ""
        said = next((value[key] for key in ("msg", "message", "error") if isinstance(value.get(key), str)), "")
        return f"{place}{said}".strip()
    return ""


def _make(row: Row, said: Said, reply: Reply) -> ProviderError:
    if issubclass(row.error, RateLimited):
        return row.error(_cut(said.text), wait_s=_wait_s(reply), code="http-429")
    named = row.case if row.case in {OS_IMAGE, NOT_FOUND} else ""
    text = _cut(said.text, LONGEST_IMAGE_TEXT if row.case == OS_IMAGE else LONGEST_TEXT)
    return row.error(text, code=named or said.code or f"http-{said.status}", scope=row.scope, hold_s=row.hold_s)


def _wait_s(reply: Reply) -> float:
    """What `Retry-After` asks; a date in it counts from the answer's own `Date`, so no skewed clock harms."""
    try:
        now = parsedate_to_datetime(reply.headers.get("date", ""))
    except (ValueError, OverflowError):
        now = None
    return _retry_after(reply, now)


def _retry_after(reply: Reply, now: datetime | None) -> float:
    value = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", value, re.ASCII):
        return float(value)
    if now is None or now.tzinfo is None:
        return DEFAULT_WAIT_S
    try:
        wait = reply.retry_after(now)
    except (ValueError, OverflowError):
        wait = None
    return DEFAULT_WAIT_S if wait is None else wait


def _cut(text: str, longest: int = LONGEST_TEXT) -> str:
    """*text*, cut between two words: half a secret could not be found and taken out any more."""
    if len(text) <= longest:
        return text
    head, _, _ = text[:longest].rpartition(" ")
    return f"{head} [...]"
