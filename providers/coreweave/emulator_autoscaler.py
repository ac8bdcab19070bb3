"""The emulated cluster autoscaler: raises and lowers the target of node pools that ask for it."""

from __future__ import annotations

import copy
from typing import Any

from providers.coreweave.emulator_cluster import Cluster
from providers.coreweave.emulator_pools import Pools
from providers.coreweave.emulator_resources import PODS, POOLS
from providers.coreweave.emulator_selectors import fits_node

Json = dict[str, Any]

_SOURCE = "cluster-autoscaler"


class Autoscaler:
    """Looks at Pods that cannot be scheduled, and at nodes that are empty, where any pool is `autoscaling`."""

    def __init__(self, cluster: Cluster, pools: Pools) -> None:
        self.cluster = cluster
        self.pools = pools
        self.looks: dict[str, float] = {}
        self.asked: set[str] = set()
        self.idle: dict[str, float] = {}

    def step(self) -> None:
        """Do what has come due."""
        scaled = [pool for pool in self.cluster.store.all(POOLS) if pool["spec"].get("autoscaling")]
        if not scaled:
            self.looks, self.idle = {}, {}
            return
        self._up(scaled)
        self._down(scaled)

    def timers(self) -> list[float]:
        """When it looks next."""
        return [*(due for uid, due in self.looks.items() if uid not in self.asked), *self.idle.values()]

    def _up(self, scaled: list[Json]) -> None:
        waiting = [
            pod
            for pod in self.cluster.store.all(PODS)
            if not pod["spec"].get("nodeName") and "deletionTimestamp" not in pod["metadata"]
        ]
        there = {pod["metadata"]["uid"] for pod in waiting}
        self.looks = {uid: due for uid, due in self.looks.items() if uid in there}
        self.asked &= there
        for pod in waiting:
            uid = pod["metadata"]["uid"]
            due = self.looks.setdefault(uid, self.cluster.later(self.cluster.options.autoscaler_s))
            if due <= self.cluster.now and uid not in self.asked:
                self.asked.add(uid)
                self._place(pod, scaled)

    def _place(self, pod: Json, scaled: list[Json]) -> None:
        why: dict[str, int] = {}
        for pool in scaled:
            reason = self._misfit(pod, pool)
            if reason is None:
                self._raise(pod, pool)
                return
            why[reason] = why.get(reason, 0) + 1
        said = ", ".join(f"{count} {reason}" for reason, count in sorted(why.items()))
        self.cluster.event(PODS, pod, "NotTriggerScaleUp", f"pod didn't trigger scale-up: {said}", _SOURCE)

    def _misfit(self, pod: Json, pool: Json) -> str | None:
        # An empty pool is known by a few labels only: who requires others never gets a node of it.
        if not fits_node(pod["spec"], self.pools.template(pool)):
            return "node(s) didn't match Pod's node affinity/selector"
        spec = pool["spec"]
        high = spec.get("maxNodes")
        if high is not None and int(spec.get("targetNodes") or 0) >= high:
            return "max node group size reached"
        return None

    def _raise(self, pod: Json, pool: Json) -> None:
        current = self.cluster.store.edit(POOLS, "", pool["metadata"]["name"])
        old = int(current["spec"].get("targetNodes") or 0)
        self._resize(current, old + 1)
        high = current["spec"].get("maxNodes", old + 1)
        text = f"pod triggered scale-up: [{{{pool['metadata']['name']} {old}->{old + 1} (max: {high})}}]"
        self.cluster.event(PODS, pod, "TriggeredScaleUp", text, _SOURCE)

    def _resize(self, pool: Json, target: int) -> None:
        pool["spec"]["targetNodes"] = target
        pool["metadata"]["generation"] += 1
        self.cluster.store.update(POOLS, pool)

    def _down(self, scaled: list[Json]) -> None:
        empty: dict[str, Json] = {}
        for pool in scaled:
            low, target = int(pool["spec"].get("minNodes") or 0), self.pools.target(pool)
            nodes = self.pools.nodes(pool)
            idle = [n for n in nodes if not self.cluster.pods_on(n["metadata"]["name"])]
            if target > low and len(nodes) >= target:
                empty |= {node["metadata"]["name"]: pool for node in idle[: target - low]}
        wait = self.cluster.options.autoscaler_idle_s
        self.idle = {name: self.idle.get(name, self.cluster.later(wait)) for name in empty}
        for name, due in list(self.idle.items()):
            if due <= self.cluster.now:
                del self.idle[name]
                pool = copy.deepcopy(self.cluster.store.edit(POOLS, "", empty[name]["metadata"]["name"]))
                self._resize(pool, int(pool["spec"]["targetNodes"]) - 1)
                return
