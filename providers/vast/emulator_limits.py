"""Vast's rate limits: a minimum interval per endpoint and caller, ten searches a minute, and a daily search quota.

Sources: `x-rate-limit` of the official endpoint descriptions; the official client 1.9.1 for the quota's answer. How
the penalty after a create that came too early works is not described; here it is a pause that further early calls do
not make longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from starlette.responses import JSONResponse, Response

from providers.vast.emulator_market import Wire
from providers.vast.emulator_wire import PlainRefusal, Refusal

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)


class Throttled(PlainRefusal):
    """A call that came too early.

    Args:
        threshold: seconds that must lie between two calls, or None where the limit is another.
        wait_s: seconds until a call would be served.
    """

    def __init__(self, wire: Wire, threshold: float | None, wait_s: float) -> None:
        text = "API requests too frequent"
        if threshold is not None:
            # The text answers put a colon there, the described JSON ones do not.
            joint = " " if wire.throttle_body == "json" else ": "
            text += f"{joint}endpoint threshold={threshold:.1f}"
        headers = {"Retry-After": str(max(1, ceil(wait_s)))} if wire.retry_after else {}
        super().__init__(429, text, headers=headers)
        self.as_json = wire.throttle_body == "json"

    def response(self) -> Response:
        if self.as_json:
            return JSONResponse({"detail": self.body["msg"]}, 429, headers=self.headers)
        return super().response()


class Limits:
    """What was served when, per caller.

    Args:
        seconds: minimum interval by endpoint name, and the two search limits; 0 or nothing for no limit.
    """

    def __init__(self, seconds: Mapping[str, float], wire: Wire) -> None:
        self.seconds = seconds
        self.wire = wire
        self._free_at: dict[str, datetime] = {}
        self._punished: set[str] = set()
        self._searches: dict[str, list[datetime]] = {}
        self._today: dict[str, tuple[str, int]] = {}

    def take(self, call: str, name: str, caller: str, now: datetime) -> None:
        """Count one *call*, to which the limit *name* applies.

        Raises:
            Refusal: 429.
        """
        if name == "search":
            self._search(caller, now)
            return
        least = self.seconds.get(name, 0)
        if not least:
            return
        key = f"{call} {caller}"
        free_at = self._free_at.get(key)
        if free_at is None or now >= free_at:
            self._free_at[key] = now + timedelta(seconds=least)
            self._punished.discard(key)
            return
        penalty = self.seconds.get(f"{name}_penalty", 0)
        if penalty and key not in self._punished:
            self._punished.add(key)
            free_at = self._free_at[key] = max(free_at, now + timedelta(seconds=penalty))
        raise Throttled(self.wire, least, (free_at - now).total_seconds())

    def _search(self, caller: str, now: datetime) -> None:
        self._quota(caller, now)
        most = self.seconds.get("searches_per_minute", 0)
        recent = [when for when in self._searches.get(caller, []) if when > now - _MINUTE]
        if most and len(recent) >= most:
            raise Throttled(self.wire, None, (recent[0] + _MINUTE - now).total_seconds())
        self._searches[caller] = [*recent, now]
        day, used = self._used(caller, now)
        self._today[caller] = (day, used + 1)

    def _quota(self, caller: str, now: datetime) -> None:
        most = self.seconds.get("searches_per_day", 0)
        if not most or self._used(caller, now)[1] < most:
            return
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY
        headers = {"X-RateLimit-Reset": str(int(midnight.timestamp()))}
        raise Refusal(429, "search_quota_exceeded", "Daily search quota exceeded", headers=headers)

    def _used(self, caller: str, now: datetime) -> tuple[str, int]:
        day = now.date().isoformat()
        seen, used = self._today.get(caller, (day, 0))
        return day, used if seen == day else 0

    def dump(self) -> dict[str, Any]:
        """The counters, ready for JSON."""
        return {
            "free_at": {key: when.isoformat() for key, when in self._free_at.items()},
            "punished": sorted(self._punished),
            "searches": {key: [when.isoformat() for when in times] for key, times in self._searches.items()},
            "today": {key: list(pair) for key, pair in self._today.items()},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave."""
        self._free_at = {key: datetime.fromisoformat(when) for key, when in state["free_at"].items()}
        self._punished = set(state["punished"])
        self._searches = {
            key: [datetime.fromisoformat(when) for when in times] for key, times in state["searches"].items()
        }
        self._today = {key: (str(pair[0]), int(pair[1])) for key, pair in state["today"].items()}
