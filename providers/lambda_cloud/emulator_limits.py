"""The emulated Lambda Cloud's rate limits: so many seconds between two requests, and between two launches.

Source: the introduction of Lambda's API description. Whether a key or an account is counted is not said (here there
is one of each), nor how: this is a leaky bucket, so that a request which comes a little early is served and the
next one must wait for it. A refused request takes nothing from the bucket.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any


class Limits:
    """When the next request of each class may come."""

    def __init__(self) -> None:
        self._next: dict[str, datetime] = {}

    def take(self, spacings: Mapping[str, float], now: datetime, slack_s: float) -> float | None:
        """Count one request against all *spacings* (class of limit to seconds; 0 or less: none).

        Args:
            slack_s: how much too early it may come, in seconds.

        Returns:
            None if it may pass, else the seconds to wait.
        """
        waits = [
            (self._next[name] - now).total_seconds() for name, s in spacings.items() if s > 0 and name in self._next
        ]
        if waits and max(waits) > slack_s:
            return max(waits)
        for name, spacing_s in spacings.items():
            due = max(now, self._next.get(name, now))
            self._next[name] = due + timedelta(seconds=max(0.0, spacing_s))
        return None

    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        return {name: when.isoformat() for name, when in self._next.items()}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave."""
        self._next = {name: datetime.fromisoformat(when) for name, when in state.items()}
