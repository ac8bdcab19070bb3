"""CoreWeave's node pool controller: adds, bills and takes back whole nodes, and says why it cannot."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from providers.coreweave.emulator_cluster import POOL_LABEL, TYPE_LABEL, Cluster
from providers.coreweave.emulator_market import Shape
from providers.coreweave.emulator_resources import NODES, PODS, POOLS
from providers.coreweave.emulator_scheduler import put_condition, put_plain_condition
from providers.coreweave.emulator_selectors import fits_node
from providers.sandbox.faults import Fault

Json = dict[str, Any]

FINALIZER = "compute.coreweave.com/node-pool"
_SOURCE = "nodepool-controller"


@dataclass(slots=True)
class State:
    """What the controller remembers of one pool. Times are Unix seconds.

    Attributes:
        seen: generation that it acts on; `acts_at`: when it takes up a newer one.
        coming: when each node that is being added arrives.
        going: node to when it is taken back.
        sold_out, over_quota: a fault says so, until somebody asks for less.
        stuck: nodes that are being added never arrive.
        prepaid: so many of its nodes are paid for by another contract, and are replaced for nothing.
    """

    seen: int = 0
    acts_at: float | None = None
    coming: list[float] = field(default_factory=list)
    going: dict[str, float] = field(default_factory=dict)
    sold_out: bool = False
    over_quota: bool = False
    stuck: bool = False
    prepaid: int = 0


class Pools:
    """All node pools of the cluster.

    Args:
        fault: uses up one waiting fault of a kind, for a subject.
    """

    def __init__(self, cluster: Cluster, fault: Callable[[str, str], Fault | None]) -> None:
        self.cluster = cluster
        self.states: dict[str, State] = {}
        self._fault = fault

    def step(self) -> None:
        """Act on every pool."""
        there = self.cluster.store.all(POOLS)
        for pool in there:
            self._act(pool, self.states.setdefault(pool["metadata"]["uid"], State()))
        uids = {pool["metadata"]["uid"] for pool in there}
        self.states = {uid: state for uid, state in self.states.items() if uid in uids}

    def timers(self) -> list[float | None]:
        """When something happens next."""
        found: list[float | None] = []
        for state in self.states.values():
            found += [state.acts_at, *(() if state.stuck else state.coming), *state.going.values()]
        return found

    def _act(self, pool: Json, state: State) -> None:
        now, generation = self.cluster.now, pool["metadata"]["generation"]
        if generation != state.seen and state.acts_at is None:
            state.acts_at = self.cluster.later(self.cluster.options.pool_react_s) if state.seen else now
        if state.acts_at is not None and state.acts_at <= now:
            state.seen, state.acts_at = generation, None
        if state.seen:
            self._arrive(pool, state)
            self._size(pool, state)
            self._report(pool, state)

    # Size.

    def nodes(self, pool: Json) -> list[Json]:
        """The nodes of a pool that are in the cluster."""
        name = pool["metadata"]["name"]
        return [n for n in self.cluster.store.all(NODES) if (n["metadata"].get("labels") or {}).get(POOL_LABEL) == name]

    def _shape(self, pool: Json) -> Shape | None:
        return self.cluster.market.shapes.get(pool["spec"]["instanceType"])

    def _deleting(self, pool: Json) -> bool:
        return "deletionTimestamp" in pool["metadata"]

    def target(self, pool: Json) -> int:
        """How many nodes the pool is to have."""
        return 0 if self._deleting(pool) else int(pool["spec"].get("targetNodes") or 0)

    def _size(self, pool: Json, state: State) -> None:
        if state.acts_at is not None:
            return
        here = [node for node in self.nodes(pool) if node["metadata"]["name"] not in state.going]
        have, want = len(here) + len(state.coming), self.target(pool)
        if want <= have:
            state.sold_out = state.over_quota = False
        if want > have:
            self._grow(pool, state, want, have)
        elif want < have:
            self._shrink(pool, state, have - want, here)
        self._take_back(pool, state)

    def _grow(self, pool: Json, state: State, want: int, have: int) -> None:
        # A node that was just to be taken back is the first to stay.
        while state.going and have < want:
            state.going.pop(next(iter(state.going)))
            have += 1
        room, _, _ = self._room(pool, state, want - have)
        for _ in range(room):
            shortest, longest = self.cluster.options.node_s
            seconds = shortest + (longest - shortest) * self.cluster.world.random.random()
            state.coming.append(self.cluster.later(seconds))
            self._say(pool, "CWNodeAssigned", f"Node assigned to NodePool {pool['metadata']['name']}")

    def _room(self, pool: Json, state: State, wanted: int) -> tuple[int, str, str]:
        """How many of *wanted* more nodes can be added, and the reasons of Quota and Capacity."""
        shape, name = self._shape(pool), pool["metadata"]["name"]
        if shape is None:
            return 0, "Unknown", "Unknown"
        subject = f"{name} {shape.id} {shape.gpu_class} {shape.device}"
        if wanted > 0:
            state.sold_out = state.sold_out or self._fault("sold_out", subject) is not None
            state.over_quota = state.over_quota or self._fault("quota", subject) is not None
        used = self._added(shape.id)
        free = wanted if shape.quota is None else max(0, shape.quota - used)
        free = 0 if state.over_quota else free
        left = wanted if shape.stock is None else max(0, shape.stock - used)
        left = 0 if state.sold_out or self._claimed(pool) else left
        quota = "NotSet" if shape.quota == 0 else "Over" if free < wanted else "Under"
        capacity = "QueuedAwaitingCapacity" if left < min(wanted, free) else "Sufficient"
        return max(0, min(wanted, free, left)), quota, capacity

    def _added(self, type_id: str) -> int:
        """Nodes of a type that are on demand: added, or being added."""
        found = [self.cluster.store.find(NODES, "", name) for name in self.cluster.payers]
        here = sum(1 for n in found if n is not None and n["metadata"]["labels"].get(TYPE_LABEL) == type_id)
        pools = {p["metadata"]["uid"] for p in self.cluster.store.all(POOLS) if p["spec"]["instanceType"] == type_id}
        return here + sum(len(state.coming) for uid, state in self.states.items() if uid in pools)

    def _claimed(self, pool: Json) -> bool:
        """Whether a Pod for which everything is sold out waits for just such nodes."""
        node = self.template(pool)
        return any(
            self.cluster.fate(pod).sold_out and not pod["spec"].get("nodeName") and fits_node(pod["spec"], node)
            for pod in self.cluster.store.all(PODS)
        )

    def _shrink(self, pool: Json, state: State, excess: int, here: list[Json]) -> None:
        if self.cluster.options.cancel_delivery and not self._deleting(pool):
            while excess and state.coming:
                state.coming.remove(max(state.coming))
                excess -= 1
        excess = min(excess, len(here))
        busy_too = (pool["spec"].get("lifecycle") or {}).get("scaleDownStrategy") == "PreferIdle"
        idle = [node for node in here if not self._busy(node)]
        chosen = idle + ([node for node in here if node not in idle] if busy_too else [])
        for node in chosen[:excess]:
            state.going[node["metadata"]["name"]] = self.cluster.later(self.cluster.options.release_s)

    def _busy(self, node: Json) -> bool:
        return bool(self.cluster.pods_on(node["metadata"]["name"]))

    def _take_back(self, pool: Json, state: State) -> None:
        busy_too = (pool["spec"].get("lifecycle") or {}).get("scaleDownStrategy") == "PreferIdle"
        for name, due in list(state.going.items()):
            node = self.cluster.store.find(NODES, "", name)
            if node is None or (self._busy(node) and not busy_too):
                del state.going[name]
            elif due <= self.cluster.now:
                del state.going[name]
                self.cluster.store.remove(NODES, node)
                self._say(pool, "CWNodePoolScaledDown", f"Node {name} removed from NodePool")

    def _arrive(self, pool: Json, state: State) -> None:
        shape = self._shape(pool)
        for due in sorted(state.coming):
            if due > self.cluster.now or state.stuck or shape is None:
                return
            state.coming.remove(due)
            name = f"g{self.cluster.world.letters(6, '0123456789abcdef')}"
            prepaid = [n for n in self.nodes(pool) if n["metadata"]["name"] not in self.cluster.payers]
            node = self.cluster.add(NODES, self.fresh_node(pool, shape, name))
            if len(prepaid) >= state.prepaid:
                self.cluster.bill_node(node, shape.usd_per_hour)
            self._say(pool, "CWNodeRegistered", f"Node {name} registered")
            self._say(pool, "CWNodePoolScaledUp", f"Node {name} added to NodePool")

    # Nodes.

    def template(self, pool: Json) -> Json:
        """What is known of a pool's nodes before there is one: the labels that the cluster autoscaler goes by."""
        spec, meta, shape = pool["spec"], pool["metadata"], self._shape(pool)
        found = {
            TYPE_LABEL: spec["instanceType"],
            "kubernetes.io/arch": "amd64" if shape is None else shape.arch,
            "kubernetes.io/os": "linux",
            POOL_LABEL: meta["name"],
            f"{POOL_LABEL}-uid": meta["uid"],
        }
        return {"metadata": {"name": "template", "labels": {**found, **(spec.get("nodeLabels") or {})}}}

    def fresh_node(self, pool: Json, shape: Shape, name: str) -> Json:
        """A node of a pool, ready for Pods."""
        market, spec = self.cluster.market, pool["spec"]
        found = shape.labels(market.zone, market.region, market.org) | {"kubernetes.io/hostname": name}
        found |= self.template(pool)["metadata"]["labels"]
        dice = self.cluster.world.random
        addresses = [
            {"type": "InternalIP", "address": f"10.16.{dice.randint(0, 255)}.{dice.randint(1, 254)}"},
            {"type": "Hostname", "address": name},
        ]
        status: Json = {"capacity": shape.capacity(), "allocatable": shape.allocatable(), "addresses": addresses}
        put_condition(status, self.cluster, "Ready", "True", "KubeletReady", "kubelet is posting ready status")
        for item in status["conditions"]:
            item["lastHeartbeatTime"] = item.pop("lastProbeTime") or self.cluster.stamp()
        annotations = {"annotations": spec["nodeAnnotations"]} if spec.get("nodeAnnotations") else {}
        taints = {"taints": copy.deepcopy(spec["nodeTaints"])} if spec.get("nodeTaints") else {}
        info = {"kubeletVersion": "v1.35.2", "operatingSystem": "linux", "architecture": shape.arch}
        return {
            "metadata": {"name": name, "labels": found, **annotations},
            "spec": {"providerID": f"coreweave:///{name}", **taints},
            "status": {**status, "nodeInfo": info},
        }

    # What it says.

    def _say(self, pool: Json, reason: str, message: str, kind: str = "Normal") -> None:
        self.cluster.event(POOLS, pool, reason, message, _SOURCE, kind=kind)

    def _report(self, pool: Json, state: State) -> None:
        changed = copy.deepcopy(pool)
        meta = changed["metadata"]
        here, want = len(self.nodes(pool)), self.target(pool)
        if not self._deleting(pool):
            meta["finalizers"] = list(dict.fromkeys([*(meta.get("finalizers") or []), FINALIZER]))
        elif not here and not state.coming:
            meta["finalizers"] = [name for name in meta.get("finalizers") or [] if name != FINALIZER]
            if not meta["finalizers"]:
                self.cluster.store.remove(POOLS, pool)
                return
        status = changed.setdefault("status", {})
        queued = max(0, want - here - len(state.coming))
        status |= {"currentNodes": here, "queuedNodes": queued, self.cluster.options.in_progress: len(state.coming)}
        status["nodeProfile"] = f"{pool['spec']['instanceType']}-default"
        self._conditions(changed, state, queued, at_target=here == want)
        if changed != pool:
            self.cluster.store.update(POOLS, changed)

    def _conditions(self, pool: Json, state: State, queued: int, *, at_target: bool) -> None:
        kind, shape = pool["spec"]["instanceType"], self._shape(pool)
        _, quota, capacity = self._room(pool, state, queued)
        texts = {
            "Under": f"nodePool is under quota for instance type {kind}",
            "NotSet": f"quota limit is 0 for instance type {kind}",
            "Over": f"nodePool is over quota for instance type {kind}",
            "Sufficient": "there is sufficient capacity",
            "QueuedAwaitingCapacity": f"waiting for {queued} nodes of instance type {kind}",
            "Unknown": f"unknown instance type {kind}",
        }
        rows = [
            (
                "Valid",
                shape is not None,
                "Valid" if shape else "InvalidInstanceType",
                texts.get("" if shape else "Unknown", ""),
            ),
            ("Quota", quota == "Under", quota, texts[quota]),
            ("Capacity", capacity == "Sufficient", capacity, texts[capacity]),
            (self.cluster.options.at_target, at_target, "AtTarget" if at_target else "NotAtTarget", ""),
        ]
        for name, value, reason, text in rows:
            word = "True" if value else "False"
            put_plain_condition(pool["status"], self.cluster, name, word, reason, text)
        if quota in ("Over", "NotSet") and queued:
            self._say(pool, "CWOverQuota", texts[quota], kind="Warning")
        if capacity == "QueuedAwaitingCapacity":
            self._say(pool, "CWInsufficientCapacity", texts[capacity], kind="Warning")

    # The state as a file.

    def dump(self) -> Json:
        """What the controller remembers, ready for JSON."""
        return {uid: asdict(state) for uid, state in self.states.items()}

    def load(self, state: Json) -> None:
        """Take over what `dump` gave."""
        self.states = {uid: State(**row) for uid, row in state.items()}
