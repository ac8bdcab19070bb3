"""Lambda's refusals as types: one table, read from the top, the first row that fits decides.

A refusal is ``{"error": {"code", "message", "suggestion"?}}`` and only the code is meant to be branched on. Old
versions had a ``field_errors`` beside it. What Lambda's servers and what stands before them say in other forms is
told apart by status. Sources: the API description 1.10.0, and what its clients have met.
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
    QuotaExceeded,
    RateLimited,
    Scope,
    Unavailable,
    Unclassified,
)
from providers.http import Reply

#: Without a `Retry-After`, which is not documented: what the longest-serving client starts with.
DEFAULT_WAIT_S = 10.0
LONGEST_WAIT_S = 3600.0
LONGEST_TEXT = 600

_CLIENT = range(400, 500)
_SERVER = range(500, 600)
_ANY = range(400, 600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of refusal.

    Attributes:
        error: what to make of it.
        codes: vendor codes, any one of which must be there; one that ends in ``/`` stands for all that begin with
            it. Empty means whatever.
        status: HTTP statuses it comes with. A 5xx is no refusal, whatever its code: the effect may be there.
        verbs: the contract's verbs it applies to; empty means all.
        parsed: whether the body has to be JSON (True), must not be (False), or may be either (None).
        scope, hold_s, bucket: where they differ from the error's own.
        code: our code for it, where the vendor gives none and the status says too little.
        source: where the row comes from.
    """

    error: type[ProviderError]
    codes: tuple[str, ...] = ()
    status: Container[int] = _CLIENT
    verbs: tuple[str, ...] = ()
    parsed: bool | None = None
    scope: Scope | None = None
    hold_s: float | None = None
    bucket: str | None = None
    code: str = ""
    source: str = "API description"

    def fits(self, said: Said, verb: str) -> bool:
        """Whether this row is about *said* in answer to *verb*."""
        return (
            said.status in self.status
            and (not self.verbs or verb in self.verbs)
            and (self.parsed is None or self.parsed == said.parsed)
            and (not self.codes or any(_is_code(said.code, code) for code in self.codes))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A refusal as it reads: the vendor's code if there is one, and its text."""

    status: int
    code: str
    text: str
    parsed: bool


_LAUNCH = ("launch",)
_CAPACITY = "instance-operations/launch/insufficient-capacity"
_OTHER_REGION = "instance-operations/launch/file-system-in-wrong-region"
_NO_FILE_SYSTEMS = "instance-operations/launch/file-systems-not-supported"

TABLE: tuple[Row, ...] = (
    Row(error=RateLimited, status=(429,), source="no status or body is documented"),
    Row(error=RateLimited, codes=("global/rate-limited",), source="one client's tests"),
    # The key and the account. Nothing else can be had with them until a person does something.
    Row(error=AuthFailed, codes=("global/invalid-api-key",)),
    Row(error=AuthFailed, status=(401,), source="whatever the body: no 401 comes after an effect"),
    Row(error=Forbidden, codes=("global/account-inactive", "global/invalid-address"), scope="account"),
    Row(error=Forbidden, codes=("global/forbidden",)),
    Row(error=NoFunds, status=(402,), parsed=True, source="not documented; what the status means"),
    # Launch. An offer is one type in one region, which is just what this code is about; stock comes and goes.
    Row(error=NoCapacity, codes=(_CAPACITY,), scope="offer", hold_s=60.0),
    # The code does not say of what; clients skip the GPU family.
    Row(error=QuotaExceeded, codes=("global/quota-exceeded",), scope="account", bucket="GPU family"),
    Row(error=InvalidRequest, codes=("global/invalid-parameters",)),
    # An unknown key, region, type or image at launch, which looks whether it is the key. Elsewhere: it is gone.
    Row(error=OfferGone, codes=("global/object-does-not-exist",), status=(400, 404)),
    Row(error=OfferGone, codes=("global/not-found",), status=(404,)),
    # We mount no file systems, so these two should never be seen.
    Row(error=OfferGone, codes=(_OTHER_REGION,)),
    Row(error=InvalidRequest, codes=(_NO_FILE_SYSTEMS,), source="old clients"),
    # A fault behind a launch proves nothing about it, whatever the status: look before anything else.
    Row(
        error=OutcomeUnknown,
        codes=("provider/", "global/internal-error", "global/unknown"),
        status=_ANY,
        verbs=_LAUNCH,
        source="the description has provider/ without a status, and internal-error with 409 elsewhere",
    ),
    Row(
        error=Unavailable,
        codes=("provider/", "global/internal-error", "global/unknown"),
        status=_ANY,
        scope="provider",
        source="as above; global/unknown: old clients",
    ),
    Row(error=Unclassified, codes=("global/conflict",), verbs=_LAUNCH, source="documented for restart only"),
    Row(error=Unavailable, codes=("global/conflict",), scope="offer"),
    # Things that stay on the account. After the first two the keys are listed again (`keys.py`).
    Row(error=Unclassified, codes=("global/duplicate",), verbs=_LAUNCH, source="names need not be unique there"),
    Row(
        error=InvalidRequest,
        codes=("global/duplicate", "ssh-keys/key-in-use"),
        source="documented for file systems; seen for keys by old clients",
    ),
    Row(
        error=Unavailable,
        codes=("filesystems/filesystem-in-use", "firewall-rulesets/firewall-ruleset-in-use"),
        scope="offer",
    ),
    # No code that we know. A page that is not the API's own proves nothing about a launch: of what is not JSON,
    # http.py makes `OutcomeUnknown` there.
    Row(error=OutcomeUnknown, status=(408,), verbs=_LAUNCH, source="not documented: somebody gave up waiting"),
    Row(error=Unavailable, status=(408,), scope="provider", source="not documented"),
    Row(error=Unclassified, parsed=False, verbs=_LAUNCH, source="a proxy's or firewall's page"),
    Row(error=Unavailable, parsed=False, scope="provider", code="not-json", source="the same"),
    # Not Lambda's own words, so it never means that a machine is gone.
    Row(error=Unclassified, status=(404,), verbs=_LAUNCH, source="a gateway's JSON"),
    Row(error=Unavailable, status=(404,), scope="provider", source="a gateway's JSON"),
    Row(error=Forbidden, status=(403,), source="not documented without one of the codes above"),
    # One API serves all regions. For a launch http.py turns it into `OutcomeUnknown`.
    Row(error=Unavailable, status=_SERVER, scope="provider", source="not documented"),
    Row(error=Unclassified, source="whatever is left"),
)


def classify(reply: Reply, verb: str) -> ProviderError:
    """The typed error for a refusal (any status of 400 and up) in answer to *verb* of the contract."""
    said = read(reply)
    for row in TABLE:
        if row.fits(said, verb):
            return _make(row, said, reply)
    return Unclassified(said.text, code=said.code or f"http-{said.status}")


def read(reply: Reply) -> Said:
    """A refusal in the documented form, or whatever else came."""
    body = reply.parsed()
    error = body.get("error") if isinstance(body, dict) else None
    code, text = "", ""
    if isinstance(error, dict):
        code = _text(error.get("code"))
        text = " ".join(filter(None, (_text(error.get("message")), _text(error.get("suggestion")))))
    elif isinstance(body, dict):
        text = _text(error) or _text(body.get("message")) or _text(body.get("detail"))
    if isinstance(body, dict) and (fields := _field_errors(body.get("field_errors"))):
        text = f"{text} ({fields})".strip()
    if not text:
        raw = reply.body[:65536].decode("utf-8", "replace")
        text = " ".join(re.sub(r"<[^>]*>", " ", raw).split())
    return Said(
        status=reply.status,
        code=code,
        text=_cut(text) or f"lambda answered {reply.status} without a text",
        parsed=body is not None,
    )


def _field_errors(fields: Any) -> str:
    if not isinstance(fields, dict):
        return ""
    said = (
        f"{name}: {_text(detail.get('message')) or _text(detail.get('code'))}"
        for name, detail in fields.items()
        if isinstance(detail, dict)
    )
    return "; ".join(said)


def _is_code(code: str, wanted: str) -> bool:
    return code.startswith(wanted) if wanted.endswith("/") else code == wanted


def _make(row: Row, said: Said, reply: Reply) -> ProviderError:
    code = said.code or row.code or f"http-{said.status}"
    if issubclass(row.error, RateLimited):
        return row.error(said.text, wait_s=wait_s(reply), code=code)
    return row.error(said.text, code=code, scope=row.scope, hold_s=row.hold_s, bucket=row.bucket)


def wait_s(reply: Reply) -> float:
    """Seconds to wait after a 429: `Retry-After` if it is there; a date in it counts from the answer's own `Date`."""
    value = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", value, re.ASCII):
        return min(float(value), LONGEST_WAIT_S)
    try:
        served: datetime = parsedate_to_datetime(reply.headers.get("date", ""))
        asked = parsedate_to_datetime(value)
        return min(max(0.0, (asked - served).total_seconds()), LONGEST_WAIT_S)
    except (ValueError, OverflowError, TypeError):  # no date, or only one of the two has a time zone
        return DEFAULT_WAIT_S


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _cut(text: str) -> str:
    """*text*, cut between two words: half a secret could not be found and taken out any more."""
    if len(text) <= LONGEST_TEXT:
        return text
    head, _, _ = text[:LONGEST_TEXT].rpartition(" ")
    return f"{head} [...]"
