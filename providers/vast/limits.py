"""How fast Vast.ai may be asked, and how long its 429 asks to wait.

Limits are per endpoint and identity, as smallest intervals (`x-rate-limit` of the API description); the search alone
has ten calls a minute, and a daily quota of unknown size that is reset at midnight UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from providers.base import Rate
from providers.http import Reply

#: Seconds between two calls, by the verb under which `client` makes them. "more" are the second and third search of
#: one refresh: ten a minute is a window and not an interval, so these may come at once; should it be too much after
#: all, the answer is 429 and the listing is marked partial.
INTERVALS_S: dict[tuple[str, ...], float] = {
    ("offers", "price"): 6.0,
    ("more",): 1.0,
    ("launch",): 4.5,
    ("terminate",): 3.0,
    ("find",): 2.0,
    ("owned",): 1.0,
    ("key",): 1.0,
}
RATES = tuple(Rate(verbs=verbs, spacing_s=spacing) for verbs, spacing in INTERVALS_S.items())

#: A create that came too soon is punished with this much more.
CREATE_PENALTY_S = 12.0
#: Added to what the answer names: waiting exactly that long may be a moment too short.
MARGIN_S = 0.25
GUESS_S = 5.0
LONGEST_S = 86_400.0
#: For a quota whose end is not told: look again in an hour.
QUOTA_GUESS_S = 3600.0

_THRESHOLD = re.compile(r"threshold\s*=\s*(\d{1,6}(?:\.\d{1,6})?)", re.ASCII)


def wait_s(reply: Reply, verb: str) -> float:
    """Seconds to wait after a 429: `Retry-After` if there is one, else the named threshold, else our table."""
    told = _retry_after(reply)
    if told is not None:
        return min(max(told, 1.0), LONGEST_S)
    usual = next((interval for verbs, interval in INTERVALS_S.items() if verb in verbs), GUESS_S)
    named = _THRESHOLD.search(reply.body[:4096].decode("utf-8", "replace"))
    wait = float(named[1]) if named else usual
    if verb == "launch" and wait <= usual:
        wait += CREATE_PENALTY_S
    return min(wait + MARGIN_S, LONGEST_S)


def quota_s(reply: Reply) -> float:
    """Seconds until the search quota is reset (`X-RateLimit-Reset`, Unix seconds, by the server's own clock)."""
    reset = reply.headers.get("x-ratelimit-reset", "").strip()
    served = _served_at(reply)
    if served is None or not re.fullmatch(r"\d{1,11}(\.\d+)?", reset, re.ASCII):
        return QUOTA_GUESS_S
    return min(max(float(reset) - served.timestamp(), 60.0), LONGEST_S)


def _retry_after(reply: Reply) -> float | None:
    value = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value, re.ASCII):
        return float(value)
    served = _served_at(reply)
    if not value or served is None:
        return None
    try:
        return reply.retry_after(served)
    except (ValueError, OverflowError):
        return None


def _served_at(reply: Reply) -> datetime | None:
    try:
        moment = parsedate_to_datetime(reply.headers.get("date", ""))
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
