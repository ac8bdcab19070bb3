"""The emulated Google Cloud's quotas: what they are, what is used, and what happens above.

Regional quotas stop an insert inside its operation (QUOTA_EXCEEDED), the global one with 403 at once; both are seen
in practice. Newer GPUs have a quota for each family, which no list of quotas shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from providers.gcp.emulator_fleet import Fleet
from providers.gcp.emulator_instance import Instance
from providers.gcp.emulator_market import Market
from providers.gcp.emulator_operations import Failure
from providers.gcp.emulator_rules import Order
from providers.gcp.emulator_wire import Refusal

GLOBAL = "GPUS_ALL_REGIONS"
_FAMILY = "GPUS_PER_GPU_FAMILY"
_COUNTED_CPUS = ("n1", "e2")

Use = tuple[str, int]


class Quotas:
    """Limits from the market, usage from the fleet."""

    def __init__(self, market: Market, fleet: Fleet) -> None:
        self.market = market
        self.fleet = fleet

    def refuse_global(self, order: Order, *, forced: bool) -> None:
        """Raise if there would be too many GPUs in all regions together.

        Raises:
            Refusal: there would.
        """
        gpus = _gpus(self.market, order.shape.name, order.attached)[1]
        limit = self.market.quotas["global"][GLOBAL]
        if gpus and (forced or self.usage(None)[GLOBAL] + gpus > limit):
            text = f"Quota '{GLOBAL}' exceeded.  Limit: {limit}.0 globally."
            raise Refusal(403, "quotaExceeded", text, domain="usageLimits")

    def failure(self, order: Order, zone: str, *, metric: str | None = None) -> Failure | None:
        """What an insert fails with if a regional quota is too small, or if a fault names a *metric*."""
        region = self.market.region_of(zone).name
        used = self.usage(region)
        for name, count in self._uses(order):
            limit = self._limit(name)
            if limit is None or (metric not in (None, name) and metric != "*"):
                continue
            if metric is not None or used[name] + count > limit:
                return _exceeded(name, limit, region)
        return None

    def views(self, region: str | None) -> list[dict[str, Any]]:
        """The quotas of a region, or of the project."""
        used = self.usage(region)
        limits = self.market.quotas["global" if region is None else "region"]
        return [{"metric": name, "limit": limit, "usage": used[name]} for name, limit in limits.items()]

    def usage(self, region: str | None) -> Counter[str]:
        """What is used of each metric in a region, or everywhere."""
        found: Counter[str] = Counter()
        for instance in self.fleet.living():
            here = region is None or self.market.region_of(instance.zone).name == region
            if here:
                found["INSTANCES"] += 1
                for name, count in self._used_by(instance):
                    found[name] += count
        for disk in self.fleet.disks.values():
            if not disk.gone and (region is None or self.market.region_of(disk.zone).name == region):
                found[self.market.disks[disk.kind].quota] += disk.size_gb
        return found

    def _used_by(self, instance: Instance) -> Iterator[Use]:
        if not instance.held:
            return
        gpu, count = self.fleet.gpu_of(instance)
        yield from self._machine(instance.shape, instance.attached, instance.model)
        if gpu is not None:
            yield GLOBAL, count
        if instance.nat is not None:
            yield "IN_USE_ADDRESSES", 1

    def _uses(self, order: Order) -> Iterator[Use]:
        yield from self._machine(order.shape.name, order.attached, order.model)
        yield "INSTANCES", 1
        if order.nat is not None:
            yield "IN_USE_ADDRESSES", 1
        for disk in order.disks:
            yield self.market.disks[disk.kind].quota, disk.size_gb

    def _machine(self, shape: str, attached: tuple[str, int] | None, model: str) -> Iterator[Use]:
        name, count = _gpus(self.market, shape, attached)
        if count:
            gpu = self.market.gpus[name]
            spot = gpu.spot_quota if model in ("SPOT", "FLEX_START") else ""
            yield (spot or gpu.quota or f"{_FAMILY}/{gpu.hidden}"), count
        machine = self.market.shapes[shape]
        if machine.family in _COUNTED_CPUS:
            yield "CPUS", machine.vcpus

    def _limit(self, name: str) -> int | None:
        if name.startswith(_FAMILY):
            return self.market.quotas["family"].get(name.partition("/")[2])
        return self.market.quotas["region"].get(name)


def _gpus(market: Market, shape: str, attached: tuple[str, int] | None) -> tuple[str, int]:
    machine = market.shapes[shape]
    return attached or (machine.gpu, machine.gpus)


def _exceeded(name: str, limit: int, region: str) -> Failure:
    metric, _, family = name.partition("/")
    dimensions = {"region": region} | ({"gpu_family": family} if family else {})
    info = {
        "metricName": f"compute.googleapis.com/{metric.lower()}",
        "limitName": f"{metric.replace('_', '-')}-per-project-region",
        "dimensions": dimensions,
        "limit": limit,
    }
    return Failure(
        "QUOTA_EXCEEDED",
        f"Quota '{metric}' exceeded.  Limit: {limit}.0 in region {region}.",
        403,
        [{"quotaInfo": info}],
    )
