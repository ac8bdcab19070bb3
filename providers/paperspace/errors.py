"""Paperspace's refusals as types: one table, read from the top, the first row that fits decides.

A refusal is ``{"code", "message", "details"|"issues"?}`` with tRPC's names as codes. They tell bad input from a
missing right, but not a full region from a type that was never approved: no code for those is documented, so the
table looks at the message there, and only there. What stands before the API (Cloudflare) answers in HTML. The text
of a failed machine event is read with the same rows. Sources: docs/providers/paperspace.md.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from providers.errors import (
    AuthFailed,
    BootFailed,
    Forbidden,
    InvalidRequest,
    NoCapacity,
    NoFunds,
    OfferGone,
    OutcomeUnknown,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    Scope,
    Unavailable,
    Unclassified,
)
from providers.http import Reply, http_date

#: Without a `Retry-After`, which is not documented: what the one long-serving client starts with.
DEFAULT_WAIT_S = 10.0
LONGEST_WAIT_S = 3600.0
LONGEST_TEXT = 600

_CLIENT = range(400, 500)
_SERVER = range(500, 600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A refusal as it reads. `issues` says that it lists what is wrong with the fields that were sent."""

    status: int
    code: str
    text: str
    parsed: bool
    issues: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of refusal.

    Attributes:
        error: what to make of it.
        codes: vendor codes, any one of which must be there; empty means whatever.
        status: HTTP statuses it comes with. A 5xx is no refusal, whatever its code: the effect may be there.
        words: what its message must contain, where the code does not say.
        verbs: the contract's verbs it applies to; empty means all.
        parsed: whether the body has to be JSON (True), must not be (False), or may be either (None).
        issues: True if it must list wrong fields.
        scope, hold_s: where they differ from the error's own.
        code: our code for it, where the vendor gives none or the same for everything.
        source: where the row comes from.
    """

    error: type[ProviderError]
    codes: tuple[str, ...] = ()
    status: Container[int] = _CLIENT
    words: re.Pattern[str] | None = None
    verbs: tuple[str, ...] = ()
    parsed: bool | None = None
    issues: bool = False
    scope: Scope | None = None
    hold_s: float | None = None
    code: str = ""
    source: str = "the official CLI's list of codes"

    def fits(self, said: Said, verb: str) -> bool:
        """Whether this row is about *said* in answer to *verb*."""
        return (
            said.status in self.status
            and (not self.codes or said.code in self.codes)
            and (not self.verbs or verb in self.verbs)
            and (self.parsed is None or self.parsed == said.parsed)
            and (said.issues or not self.issues)
            and (self.words is None or self.words.search(said.text) is not None)
        )


def _words(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


_LAUNCH = ("launch",)
_FUNDS = _words(
    r"good.?standing|payment|billing|past.?due|unpaid|overdue|outstanding|credit card|insufficient (?:funds|balance)"
)
_LOCKED = _words(r"\block(?:ed)?\b|suspended|deactivated")
_QUOTA = _words(
    r"quota|max(?:imum)?\W?(?:number of )?machines|(?:machine|team|account|resource)s?\b.{0,40}\blimit"
    r"|\blimit\b.{0,40}(?:reached|exceeded|machines)|(?:reached|exceed\w*)\b.{0,40}\blimit"
)
_APPROVAL = _words(r"approv|not (?:been )?enabled for|request access|(?:not|don't) have access|whitelist|allowlist")
_CAPACITY = _words(
    r"capacity|sold out|out of stock|no (?:available )?(?:hosts?|machines?|gpus?) (?:are )?(?:free|available|left)"
    r"|(?:not|un)(?: currently)?.?available|insufficient (?:resources|hosts)"
)
_BUSY = _words(
    r"currently (?:starting|stopping|restarting|provisioning|upgrading)|pending (?:event|operation)|in progress"
)
_SEEN = "no code is documented; messages that clients have quoted, and what such a message would say"
_BUSY_CODES = ("CONFLICT", "PRECONDITION_FAILED")
_GIVEN_UP = ("TIMEOUT", "CLIENT_CLOSED_REQUEST", "INTERNAL_SERVER_ERROR")

TABLE: tuple[Row, ...] = (
    Row(error=RateLimited, status=(429,), source="seen by clients; no limit is published"),
    Row(error=RateLimited, codes=("TOO_MANY_REQUESTS",)),
    # The key and the account. Nothing else can be had with them until a person does something.
    Row(error=AuthFailed, codes=("UNAUTHORIZED",)),
    Row(error=AuthFailed, status=(401,), source="whatever the body: no 401 comes after an effect"),
    # Cloudflare turns away startup scripts that look like an attack, before the API sees anything.
    Row(error=Forbidden, status=(403,), parsed=False, code="firewall", source="a client's bug report"),
    Row(error=NoFunds, status=(402,), parsed=True, source="not documented; what the status means"),
    Row(error=NoFunds, words=_FUNDS, verbs=_LAUNCH, parsed=True, code="standing", source=_SEEN),
    Row(error=Forbidden, words=_LOCKED, verbs=_LAUNCH, parsed=True, scope="account", code="locked", source=_SEEN),
    Row(error=QuotaExceeded, words=_QUOTA, verbs=_LAUNCH, parsed=True, scope="account", code="limit", source=_SEEN),
    # H100 and others are rented out after a person has approved it: one or two working days.
    Row(
        error=Forbidden,
        words=_APPROVAL,
        verbs=_LAUNCH,
        parsed=True,
        scope="type",
        hold_s=3600.0,
        code="approval",
        source=_SEEN,
    ),
    Row(error=NoCapacity, words=_CAPACITY, verbs=_LAUNCH, parsed=True, scope="offer", code="capacity", source=_SEEN),
    Row(error=Forbidden, codes=("FORBIDDEN",)),
    Row(error=Forbidden, status=(403,), source="not documented without the code"),
    # A machine on its way from one state to another takes no orders: ask again.
    Row(error=Unavailable, words=_BUSY, verbs=("terminate",), scope="offer", code="busy", source="seen for start"),
    Row(error=OfferGone, codes=("NOT_FOUND",), status=(404,)),
    # Somebody gave up waiting: that proves nothing of a launch.
    Row(error=OutcomeUnknown, codes=_GIVEN_UP, verbs=_LAUNCH),
    Row(error=OutcomeUnknown, status=(408, 499), verbs=_LAUNCH, source="not documented without the code"),
    Row(error=Unavailable, codes=_GIVEN_UP, scope="provider"),
    Row(error=Unavailable, status=(408, 499), scope="provider", source="not documented without the code"),
    Row(error=Unclassified, codes=_BUSY_CODES, verbs=_LAUNCH),
    Row(error=Unavailable, codes=_BUSY_CODES, scope="offer", code="busy"),
    # What is wrong with a launch may be the place as well as the request, unless it names the fields.
    Row(error=InvalidRequest, codes=("BAD_REQUEST",), issues=True),
    Row(error=Unclassified, codes=("BAD_REQUEST",), verbs=_LAUNCH, source="its message is none that we know"),
    Row(error=InvalidRequest, codes=("BAD_REQUEST", "PARSE_ERROR", "PAYLOAD_TOO_LARGE", "METHOD_NOT_SUPPORTED")),
    # A page that is not the API's own proves nothing about a launch: http.py makes `OutcomeUnknown` of it.
    Row(error=Unclassified, parsed=False, verbs=_LAUNCH, source="a proxy's page"),
    Row(error=Unavailable, parsed=False, scope="provider", code="not-json", source="a proxy's page"),
    # Not Paperspace's own words, so it never means that a machine is gone.
    Row(error=Unclassified, status=(404,), verbs=_LAUNCH, source="a gateway's JSON"),
    Row(error=Unavailable, status=(404,), scope="provider", source="a gateway's JSON"),
    # One API serves all regions. For a launch http.py turns it into `OutcomeUnknown`.
    Row(error=Unavailable, status=_SERVER, scope="provider"),
    Row(error=Unclassified, source="whatever is left"),
)


def classify(reply: Reply, verb: str) -> ProviderError:
    """The typed error for a refusal (any status of 400 and up) in answer to *verb* of the contract."""
    said = read(reply)
    row = next((row for row in TABLE if row.fits(said, verb)), TABLE[-1])
    code = row.code or said.code or f"http-{said.status}"
    if issubclass(row.error, RateLimited):
        return row.error(said.text, wait_s=_wait_s(reply), code=code)
    return row.error(said.text, code=code, scope=row.scope, hold_s=row.hold_s)


def event_failure(text: str) -> ProviderError:
    """What the text of a failed machine event means, by the table's own rows; without a clue the host is at fault."""
    said = Said(status=400, code="", text=_cut(text), parsed=True)
    row = next((row for row in TABLE if row.words is not None and row.fits(said, "launch")), None)
    if row is None:
        return BootFailed(said.text or "paperspace: the machine's event failed without a text", code="event-error")
    return row.error(said.text, code=row.code, scope=row.scope, hold_s=row.hold_s)


def read(reply: Reply) -> Said:
    """A refusal in the documented form, or whatever else came."""
    body = reply.parsed()
    outer: dict[str, Any] = body if isinstance(body, dict) else {}
    inner = outer.get("error")
    # tRPC's own form has it one level down; no answer in that form was seen.
    source = inner if isinstance(inner, dict) and "message" not in outer else outer
    issues = next((outer[key] for key in ("issues", "details") if isinstance(outer.get(key), list | dict)), None)
    text = " ".join(filter(None, (_text(source.get("message")) or _text(inner), _fields(issues))))
    if not text:
        raw = reply.body[:65536].decode("utf-8", "replace")
        text = " ".join(re.sub(r"<[^>]*>", " ", raw).split())
    return Said(
        status=reply.status,
        code=_text(source.get("code")),
        text=_cut(text) or f"paperspace answered {reply.status} without a text",
        parsed=body is not None,
        issues=bool(issues),
    )


def _fields(issues: Any) -> str:
    """Names and complaints of the wrong fields, and none of the values that were sent."""
    rows = issues if isinstance(issues, list) else []
    said = []
    for row in rows[:10]:
        if isinstance(row, dict):
            path = row.get("path")
            name = ".".join(map(str, path)) if isinstance(path, list) else _text(path)
            said.append(": ".join(filter(None, (name, _text(row.get("message"))))))
    return f"({'; '.join(said)})" if said else ""


def _wait_s(reply: Reply) -> float:
    """Seconds to wait after a 429: `Retry-After` if it is there; a date in it counts from the answer's own `Date`."""
    value = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", value, re.ASCII):
        return min(float(value), LONGEST_WAIT_S)
    asked, served = http_date(value), http_date(reply.headers.get("date", ""))
    if asked is None or served is None:
        return DEFAULT_WAIT_S
    return min(max(0.0, (asked - served).total_seconds()), LONGEST_WAIT_S)


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _cut(text: str) -> str:
    """*text*, cut between two words: half a secret could not be found and taken out any more."""
    if len(text) <= LONGEST_TEXT:
        return text
    head, _, _ = text[:LONGEST_TEXT].rpartition(" ")
    return f"{head} [...]"
