"""The emulated Google Cloud's rate limits: so many requests of a class in each minute of the clock.

Source: Compute Engine's page on API rate quotas: buckets of a project, refilled when the next minute begins.
"""

from __future__ import annotations

from datetime import datetime

from providers.gcp.emulator_wire import Refusal

_CLASSES = {
    "_insert": ("mutate", "Queries", "defaultPerMinutePerProject"),
    "_aggregated": ("list", "List requests", "ListRequestsPerMinutePerProject"),
    "_list": ("list", "List requests", "ListRequestsPerMinutePerProject"),
    "_get": ("read", "Read requests", "ReadRequestsPerMinutePerProject"),
}


class Limits:
    """Requests of the present minute by class."""

    def __init__(self) -> None:
        self._minute = -1
        self._taken: dict[str, int] = {}

    def take(self, name: str, now: datetime, limit: int, status: int, project: str) -> None:
        """Count a request of the handler *name*.

        Raises:
            Refusal: the minute's bucket is empty.
        """
        minute = int(now.timestamp()) // 60
        if minute != self._minute:
            self._minute, self._taken = minute, {}
        ending = next((end for end in _CLASSES if name.endswith(end)), "_insert")
        bucket = _CLASSES[ending][0]
        if self._taken.get(bucket, 0) >= limit:
            raise exceeded(_CLASSES[ending][1], _CLASSES[ending][2], limit, status, project)
        self._taken[bucket] = self._taken.get(bucket, 0) + 1


def exceeded(metric: str, name: str, limit: int, status: int, project: str) -> Refusal:
    """The refusal of one request too many."""
    text = (
        f"Quota exceeded for quota metric '{metric}' and limit '{metric} per minute' of service "
        f"'compute.googleapis.com' for consumer 'project_number:{project}'."
    )
    metadata = {
        "consumer": f"projects/{project}",
        "quota_limit": name,
        "quota_limit_value": str(limit),
        "quota_location": "global",
        "quota_metric": "compute.googleapis.com/default",
    }
    return Refusal(status, "rateLimitExceeded", text, domain="usageLimits", info=("RATE_LIMIT_EXCEEDED", metadata))
