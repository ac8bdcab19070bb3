"""How long a 429 asks to wait. RunPod says it twice: `Retry-After`, and windows in the `RateLimit` header.

The header is a structured-field list (RFC 9651) with one member a window: ``r`` requests left, ``t`` seconds
until it starts anew. It is left out for callers without limits.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from providers.http import Reply

#: Without any word from the provider: a third of the minute window, which is the narrowest one documented.
GUESS_S = 20.0
#: The widest window documented is a day.
LONGEST_S = 86400.0

_STRING = r'"(?:[^"\\]|\\.)*"'
_PARAMETER = rf"\s*;\s*[a-z*][a-z0-9_.*-]*(?:=(?:{_STRING}|[^\s;,\"]*))?"
_MEMBER = re.compile(rf"\s*({_STRING}|[A-Za-z*][^\s;,=\"]*)((?:{_PARAMETER})*)\s*(,|$)")
_NUMBER = re.compile(r";\s*([a-z*][a-z0-9_.*-]*)=(\d{1,9}(?:\.\d{1,3})?)(?=\s*(?:;|$))")
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


def windows(header: str) -> dict[str, dict[str, float]]:
    """The windows of a `RateLimit` header with their numbers; nothing at all if it is not well formed."""
    found: dict[str, dict[str, float]] = {}
    at = 0
    while at < len(header):
        member = _MEMBER.match(header, at)
        if member is None:
            return {}
        numbers = {name: float(number) for name, number in _NUMBER.findall(re.sub(_STRING, "?", member[2]))}
        found[member[1].strip('"')] = numbers
        at = member.end()
    return found


def wait_s(reply: Reply) -> float:
    """Seconds to wait after *reply*: the longest of what it says.

    `Retry-After` speaks of one window; where another one is used up as well, its end must be waited for, too.
    """
    told = [_retry_after(reply)]
    for window in windows(reply.headers.get("ratelimit", "")).values():
        if window.get("r") == 0:
            told.append(window.get("t"))
    return min(max((t for t in told if t is not None), default=GUESS_S), LONGEST_S)


def _retry_after(reply: Reply) -> float | None:
    value = reply.headers.get("retry-after", "").strip()
    if value[:1].isdigit():
        return reply.retry_after(_ANY_TIME)  # plain seconds need no clock
    try:
        # A date is compared with the server's own clock, so ours may be wrong.
        served = parsedate_to_datetime(reply.headers.get("date", ""))
    except ValueError:
        return None
    return reply.retry_after(served if served.tzinfo else served.replace(tzinfo=UTC))
