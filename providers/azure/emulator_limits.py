"""How often the emulated Azure may be asked: ARM's token buckets for a subscription, Compute's for a machine.

Sizes and refills: Microsoft's pages on request limits since 2024 (azure.md, Errors). Buckets are not saved with the
state: a restarted sandbox starts with full ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from providers.azure.emulator_wire import throttled

#: Burst and refill a second, for a subscription.
_ARM = {"reads": (250.0, 25.0), "writes": (200.0, 10.0), "deletes": (200.0, 10.0)}
#: Policy to (burst, refill a minute) for a machine, or None, and for the subscription in a region.
_COMPUTE: dict[str, tuple[tuple[float, float] | None, tuple[float, float]]] = {
    "PutVM": ((12, 4), (1500, 500)),
    "DeleteVM": ((12, 4), (1500, 500)),
    "UpdateVM": ((12, 4), (1500, 500)),
    "LowCostGet": ((36, 12), (24000, 8000)),
    "HighCostGet": (None, (900, 300)),
    "GetOperation": ((45, 15), (15000, 5000)),
}


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: datetime


class Limits:
    """Full buckets at first."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def take(self, method: str, policy: str, subject: str, now: datetime) -> dict[str, str]:
        """Count one request; the headers that tell what is left.

        Args:
            policy: Compute's policy, or "" for a call that Compute does not count.
            subject: the machine or operation that the call is about.

        Raises:
            Refusal: 429.
        """
        kind = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}.get(method, "writes")
        burst, refill = _ARM[kind]
        left, wait_s = self._draw(("arm", kind), burst, refill, now)
        if wait_s > 0:
            raise throttled("Microsoft.Resources", kind, wait_s)
        headers = {f"x-ms-ratelimit-remaining-subscription-{kind}": str(int(left))}
        if not policy:
            return headers
        of_one, of_all = _COMPUTE[policy]
        if of_one is not None:
            _, wait_s = self._draw((policy, subject.lower()), of_one[0], of_one[1] / 60, now)
            if wait_s > 0:
                raise throttled("Microsoft.Compute", f"{policy}3Min", wait_s)
        left, wait_s = self._draw((policy, ""), of_all[0], of_all[1] / 60, now)
        if wait_s > 0:
            raise throttled("Microsoft.Compute", f"{policy}30Min", wait_s)
        text = f"Microsoft.Compute/{policy}3Min;{int(left)},Microsoft.Compute/{policy}30Min;{int(left)}"
        return headers | {"x-ms-ratelimit-remaining-resource": text}

    def _draw(self, key: tuple[str, str], burst: float, refill_s: float, now: datetime) -> tuple[float, float]:
        """What is left, and how long to wait where there was nothing."""
        bucket = self._buckets.setdefault(key, _Bucket(burst, now))
        passed = max(0.0, (now - bucket.at).total_seconds())
        bucket.tokens, bucket.at = min(burst, bucket.tokens + passed * refill_s), now
        if bucket.tokens < 1:
            return 0, (1 - bucket.tokens) / refill_s
        bucket.tokens -= 1
        return bucket.tokens, 0
