"""The emulated kube-scheduler: which node a Pod gets, and what it says when there is none."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import providers.coreweave.emulator_quantity as quantity
import providers.coreweave.emulator_selectors as selectors
from providers.coreweave.emulator_cluster import TERMINAL, Cluster
from providers.coreweave.emulator_resources import NODES, PODS

Json = dict[str, Any]

_HARD = ("NoSchedule", "NoExecute")


class Scheduler:
    """Binds Pods to nodes: oldest first, cheapest fit by weight of preference, then the emptiest node."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def step(self) -> None:
        """Try every Pod that has no node."""
        store = self.cluster.store
        waiting = [pod for pod in store.all(PODS) if self._waits(pod)]
        waiting.sort(key=lambda pod: (-pod["spec"].get("priority", 0), self.cluster.fate(pod).created_at))
        for pod in waiting:
            self._try(pod)

    def _waits(self, pod: Json) -> bool:
        spec, meta = pod["spec"], pod["metadata"]
        return not spec.get("nodeName") and "deletionTimestamp" not in meta and not spec.get("schedulingGates")

    def _try(self, pod: Json) -> None:
        fits: list[tuple[int, Decimal, str]] = []
        misses: Counter[str] = Counter()
        nodes = self.cluster.store.all(NODES)
        for node in nodes:
            name = node["metadata"]["name"]
            there = self.cluster.pods_on(name)
            reasons = self._misfits(pod, node, there)
            if not reasons:
                fits.append((-selectors.preference(pod["spec"], node), _load(node, there), name))
            misses.update(reasons)
        if fits:
            self._bind(pod, min(fits)[2])
        elif not self._preempt(pod):
            said = ", ".join(f"{count} {reason}" for reason, count in sorted(misses.items()))
            text = f"0/{len(nodes)} nodes are available: {said}." if nodes else "no nodes available to schedule pods"
            self._refuse(pod, text)

    def _misfits(self, pod: Json, node: Json, there: list[Json]) -> list[str]:
        """Why *pod* cannot go to *node*: the words of the first check that fails."""
        spec = pod["spec"]
        if node["spec"].get("unschedulable"):
            return ["node(s) were unschedulable"]
        for taint in node["spec"].get("taints") or []:
            if taint["effect"] in _HARD and not selectors.tolerates(spec, taint):
                return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"]
        if not selectors.fits_node(spec, node):
            return ["node(s) didn't match Pod's node affinity/selector"]
        return self._short(pod, node, there)

    def _short(self, pod: Json, node: Json, there: list[Json]) -> list[str]:
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        used = quantity.total(there)
        found = ["Too many pods"] if used["pods"] + 1 > quantity.parse(allocatable.get("pods", 110)) else []
        wanted = quantity.requests(pod["spec"])
        taken = self.cluster.fate(pod).sold_out
        for name, amount in sorted(wanted.items()):
            free = quantity.parse(allocatable.get(name, 0)) - used.get(name, Decimal(0))
            if amount > free or (taken and name == quantity.GPU):
                found.append(f"Insufficient {name}")
        return found

    def _bind(self, pod: Json, node: str) -> None:
        store, cluster = self.cluster.store, self.cluster
        bound = store.edit(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])
        bound["spec"]["nodeName"] = node
        put_condition(bound["status"], self.cluster, "PodScheduled", "True")
        bound = store.update(PODS, bound)
        name = f"{bound['metadata']['namespace']}/{bound['metadata']['name']}"
        text = f"Successfully assigned {name} to {node}"
        cluster.event(PODS, bound, "Scheduled", text, "default-scheduler", action="Binding")

    def _refuse(self, pod: Json, message: str) -> None:
        bound = self.cluster.store.edit(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])
        put_condition(bound["status"], self.cluster, "PodScheduled", "False", "Unschedulable", message)
        bound = self.cluster.store.update(PODS, bound)
        self.cluster.event(PODS, bound, "FailedScheduling", message, "default-scheduler", kind="Warning")

    def _preempt(self, pod: Json) -> bool:
        """Drive away Pods of lower priority, if that makes room: CoreWeave's own checks of idle nodes."""
        priority = pod["spec"].get("priority", 0)
        for node in self.cluster.store.all(NODES):
            there = self.cluster.pods_on(node["metadata"]["name"])
            victims = [other for other in there if other["spec"].get("priority", 0) < priority]
            rest = [other for other in there if other not in victims]
            if victims and not self._misfits(pod, node, rest):
                for victim in victims:
                    text = f"Preempted by pod {pod['metadata']['uid']} on node {node['metadata']['name']}"
                    self.cluster.event(PODS, victim, "Preempted", text, "default-scheduler", action="Preempting")
                    self.cluster.remove_pod(victim)
                self._bind(pod, node["metadata"]["name"])
                return True
        return False


def _load(node: Json, there: list[Json]) -> Decimal:
    """How full a node is, by GPUs and then by cores."""
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    used = quantity.total(there)
    share = Decimal(0)
    for name, weight in ((quantity.GPU, Decimal(100)), ("cpu", Decimal(1))):
        whole = quantity.parse(allocatable.get(name, 0))
        share += weight * used.get(name, Decimal(0)) / whole if whole else Decimal(0)
    return share


def put_condition(
    status: Json, cluster: Cluster, kind: str, value: str, reason: str = "", message: str = "", **more: Any
) -> None:
    """Set one condition of a Pod or a node; its time changes with its value only."""
    conditions: list[Json] = status.get("conditions") or []
    known = next((item for item in conditions if item["type"] == kind), None)
    same = known is not None and known["status"] == value
    since = known.get("lastTransitionTime") if known is not None and same else cluster.stamp()
    fresh: Json = {"type": kind, "status": value, "lastProbeTime": None, "lastTransitionTime": since}
    fresh |= {key: text for key, text in (("reason", reason), ("message", message)) if text} | more
    fresh = {key: text for key, text in fresh.items() if text is not _DROP}
    status["conditions"] = [fresh if item is known else item for item in conditions] + ([] if known else [fresh])


_DROP: Any = object()


def put_plain_condition(status: Json, cluster: Cluster, kind: str, value: str, reason: str, message: str) -> None:
    """Set one condition of an object whose conditions have no time of a probe."""
    put_condition(status, cluster, kind, value, reason, message, lastProbeTime=_DROP)


def running(pod: Json) -> bool:
    """Whether a Pod is on a node and has not ended."""
    return bool(pod["spec"].get("nodeName")) and (pod.get("status") or {}).get("phase") not in TERMINAL
