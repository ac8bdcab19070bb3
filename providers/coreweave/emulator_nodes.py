"""What happens to nodes by themselves: they vanish, or stop answering, and CoreWeave replaces them."""

from __future__ import annotations

import copy
from typing import Any

from providers.coreweave.emulator_cluster import Cluster
from providers.coreweave.emulator_resources import NODES, PODS
from providers.coreweave.emulator_scheduler import put_condition, put_plain_condition, running

Json = dict[str, Any]

_UNREACHABLE = "node.kubernetes.io/unreachable"


class Nodes:
    """Loses nodes, and clears up after those that stopped answering."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        #: Node that does not answer to the moment when it is taken out of the cluster, Unix seconds.
        self.dead: dict[str, float] = {}

    def timers(self) -> list[float]:
        """When the next one is taken out."""
        return list(self.dead.values())

    def step(self) -> None:
        """Do what has come due on dead nodes."""
        for name, due in list(self.dead.items()):
            node = self.cluster.store.find(NODES, "", name)
            if node is None or due <= self.cluster.now:
                self.dead.pop(name)
                if node is not None:
                    self.cluster.store.remove(NODES, node)
                continue
            for pod in self.cluster.pods_on(name):
                self._drive_away(pod)

    def lose(self, pod: Json, how: str) -> None:
        """Take the host away from under a Pod.

        Args:
            how: ``node`` (the node is gone at once), ``not-ready`` (it stops answering), ``evicted`` (the Pod
                fails), ``preempted`` (the Pod is deleted, as a spot node's are).
        """
        node = self.cluster.node_of(pod)
        if how in ("evicted", "preempted") and running(pod):
            self._fail(pod, "Evicted" if how == "evicted" else "Preempted")
            if how == "preempted":
                self.cluster.remove_pod(pod)
        elif node is None:
            self.cluster.remove_pod(pod)
        elif how == "not-ready":
            self._silence(node)
        else:
            self.cluster.store.remove(NODES, node)

    def _fail(self, pod: Json, reason: str) -> None:
        changed = self.cluster.store.edit(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])
        changed["status"] |= {"phase": "Failed", "reason": reason, "message": "The node was low on resource: memory."}
        put_condition(changed["status"], self.cluster, "DisruptionTarget", "True", "TerminationByKubelet", reason)
        put_condition(changed["status"], self.cluster, "Ready", "False", "PodFailed")
        self.cluster.store.update(PODS, changed)
        self.cluster.over(changed)

    def _silence(self, node: Json) -> None:
        changed = copy.deepcopy(node)
        text = "Kubelet stopped posting node status."
        put_plain_condition(changed["status"], self.cluster, "Ready", "Unknown", "NodeStatusUnknown", text)
        taints = [*(changed["spec"].get("taints") or [])]
        taints += [{"key": _UNREACHABLE, "effect": effect} for effect in ("NoSchedule", "NoExecute")]
        changed["spec"]["taints"] = taints
        self.cluster.store.update(NODES, changed)
        name = node["metadata"]["name"]
        self.dead[name] = self.cluster.later(self.cluster.options.replace_s)
        for pod in self.cluster.pods_on(name):
            fate = self.cluster.fate(pod)
            fate.evict_due = self.cluster.now + self.cluster.options.unreachable_s
            fate.due = None
            told = self.cluster.store.edit(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])
            put_condition(told["status"], self.cluster, "Ready", "False")
            self.cluster.store.update(PODS, told)

    def _drive_away(self, pod: Json) -> None:
        """The taint manager deletes it, but no kubelet confirms: it stays until the node is gone."""
        fate = self.cluster.fate(pod)
        if fate.evict_due is None or fate.evict_due > self.cluster.now:
            return
        fate.evict_due = None
        changed = self.cluster.store.edit(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])
        grace = changed["spec"].get("terminationGracePeriodSeconds", 30)
        changed["metadata"].setdefault("deletionTimestamp", self.cluster.stamp(self.cluster.now + grace))
        changed["metadata"].setdefault("deletionGracePeriodSeconds", grace)
        put_condition(changed["status"], self.cluster, "DisruptionTarget", "True", "DeletionByTaintManager")
        self.cluster.store.update(PODS, changed)
