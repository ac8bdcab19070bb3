"""EC2's documented token buckets: per account, region and action, a size and a refill per second."""

from __future__ import annotations

from datetime import datetime

from providers.aws.emulator_wire import Call, Refusal

_OWN = {"RunInstances": (5, 2), "TerminateInstances": (100, 5), "CreateTags": (100, 10)}
_UNFILTERED = {
    "DescribeInstances",
    "DescribeInstanceStatus",
    "DescribeSpotInstanceRequests",
    "DescribeSecurityGroups",
    "DescribeVolumes",
}


class Throttle:
    """All buckets. They are full at the start, and are not saved with the state."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str, str], tuple[float, datetime]] = {}

    def take(self, call: Call, now: datetime) -> None:
        """Take one token.

        Raises:
            Refusal: the bucket is empty.
        """
        if call.service != "ec2":
            return
        size, refill = _bucket(call)
        key = (call.account, call.region, f"{call.action} {size}")
        left, since = self._buckets.get(key, (float(size), now))
        left = min(float(size), left + (now - since).total_seconds() * refill)
        if left < 1:
            raise Refusal("RequestLimitExceeded", "Request limit exceeded.", 503)
        self._buckets[key] = (left - 1, now)


def _bucket(call: Call) -> tuple[int, int]:
    if call.action in _OWN:
        return _OWN[call.action]
    if not call.action.startswith(("Describe", "Get")):
        return 50, 5
    narrow = call.params.keys() & {"Filter", "MaxResults"} or any(name.endswith("Id") for name in call.params)
    return (50, 10) if call.action in _UNFILTERED and not narrow else (100, 20)
