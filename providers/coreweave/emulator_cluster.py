"""The emulated cluster: its objects, its clock, its Pods' fates, and what they cost."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from providers.coreweave.emulator_market import Market, Shape
from providers.coreweave.emulator_options import Options
from providers.coreweave.emulator_resources import EVENTS, NODES, PODS, Resource
from providers.coreweave.emulator_store import Store
from providers.sandbox.world import World

Json = dict[str, Any]

PROVIDER = "coreweave"
TYPE_LABEL = "node.kubernetes.io/instance-type"
POOL_LABEL = "compute.coreweave.com/node-pool"
TERMINAL = ("Succeeded", "Failed")
_EVENT_LIFE_S = 3600.0


@dataclass(slots=True)
class Fate:
    """What the API objects do not say of one Pod. Times are Unix seconds.

    Attributes:
        tracked: somebody made it over the wire, or it was planted: it counts as an instance.
        subject: what a fault's `subject` is looked for in.
        offer: the instance types that it may run on.
        sold_out: other tenants are always quicker.
        fail: how it fails once it is on a node: ``admission``, ``image``, ``crash``, ``evicted``.
        stuck: where its boot ends: ``ContainerCreating``, ``not-ready``, ``no-address``.
        gpu, memory_mib: what `nvidia-smi` shows, if not the node's cards.
        hidden_until: lists from the watch cache (`resourceVersion=0`) leave it out until then.
        step, due: where the kubelet is with it, and when it goes on; None: not by itself.
        started_at: when its kubelet took it on; `deadline`: when its `activeDeadlineSeconds` since then are over.
        stop_due: when the kubelet has stopped it; `ignoring`: it never does.
        evict_due: when the taint of an unreachable node drives it away.
        ended_at: when it was over; None: it is not.
        log: what its container printed.
    """

    uid: str
    namespace: str
    name: str
    created_at: float
    tracked: bool = True
    subject: str = ""
    offer: str = ""
    sold_out: bool = False
    fail: str = ""
    stuck: str = ""
    gpu: str = ""
    memory_mib: int = 0
    hidden_until: float = 0.0
    step: str = ""
    due: float | None = None
    restarts: int = 0
    started_at: float | None = None
    deadline: float | None = None
    stop_due: float | None = None
    ignoring: bool = False
    evict_due: float | None = None
    ended_at: float | None = None
    log: list[str] = field(default_factory=list)

    def timers(self) -> Iterable[float | None]:
        """When something happens to it by itself."""
        return (self.due, self.deadline, self.stop_due, self.evict_due)


class Cluster:
    """One CKS cluster. Controllers and the API server work on this; it knows neither."""

    def __init__(self, world: World, options: Options, market: Market) -> None:
        self.world = world
        self.options = options
        self.market = market
        self.store = Store()
        self.now = world.now().timestamp()
        self.fates: dict[str, Fate] = {}
        #: On-demand node to the instance whose ledger line pays for it now.
        self.payers: dict[str, str] = {}
        #: Service uid to the instance whose ledger line pays for its public address.
        self.addresses: dict[str, str] = {}

    # Time.

    def moment(self, at: float | None = None) -> datetime:
        """A Unix time as a `datetime`."""
        return datetime.fromtimestamp(self.now if at is None else at, UTC)

    def stamp(self, at: float | None = None) -> str:
        """A moment as Kubernetes writes it: whole seconds and Z."""
        return self.moment(at).strftime("%Y-%m-%dT%H:%M:%SZ")

    def later(self, seconds: float) -> float:
        """The moment in *seconds* of the usual time, shortened by the world's boot scale."""
        return self.now + seconds * self.world.boot_scale

    # Objects.

    def add(self, resource: Resource, thing: Json) -> Json:
        """Keep an object that the cluster itself makes, with the metadata that the server adds."""
        thing = copy.deepcopy(thing)
        thing = {"apiVersion": resource.api_version, "kind": resource.kind, **thing}
        thing["metadata"] = {"uid": self.world.uuid(), "creationTimestamp": self.stamp(), **thing["metadata"]}
        return self.store.add(resource, thing)

    def node_of(self, pod: Json) -> Json | None:
        """The node that a Pod is bound to, if it is still there."""
        name = pod["spec"].get("nodeName")
        return self.store.find(NODES, "", name) if name else None

    def shape_of(self, node: Json) -> Shape | None:
        """What the node's instance type is."""
        found = (node["metadata"].get("labels") or {}).get(TYPE_LABEL)
        return self.market.shapes.get(found) if found else None

    def fate(self, pod: Json) -> Fate:
        """The fate of a Pod; a Pod that nobody rented gets one that is not tracked."""
        meta = pod["metadata"]
        return self.fates.setdefault(
            meta["uid"], Fate(meta["uid"], meta["namespace"], meta["name"], self.now, tracked=False)
        )

    def pods_on(self, node: str) -> list[Json]:
        """The Pods of a node that take up room."""
        return [
            pod
            for pod in self.store.all(PODS)
            if pod["spec"].get("nodeName") == node and (pod.get("status") or {}).get("phase") not in TERMINAL
        ]

    # Events.

    def event(self, resource: Resource, thing: Json, reason: str, message: str, source: str, **more: str) -> None:
        """Record what happened to an object. The same again is counted, or left out if it is the scheduler's.

        Keyword Args:
            kind: ``Normal`` or ``Warning``.
            host: the node whose kubelet says it.
        """
        kind, scheduler = more.get("kind", "Normal"), source == "default-scheduler"
        namespace = thing["metadata"].get("namespace") or "default"
        for known in self.store.all(EVENTS, namespace):
            same = known["involvedObject"].get("uid") == thing["metadata"]["uid"]
            if same and (known["reason"], known["message"]) == (reason, message):
                self._again(known, scheduler=scheduler)
                return
        meta = thing["metadata"]
        involved = {"kind": resource.kind, "name": meta["name"], "uid": meta["uid"]}
        involved |= {"apiVersion": resource.api_version, "resourceVersion": meta.get("resourceVersion", "")}
        if meta.get("namespace"):
            involved["namespace"] = meta["namespace"]
        event: Json = {
            "metadata": {
                "name": f"{meta['name']}.{self.world.letters(16, '0123456789abcdef')}",
                "namespace": namespace,
            },
            "involvedObject": involved,
            "reason": reason,
            "message": message,
            "source": {},
            "firstTimestamp": None,
            "lastTimestamp": None,
            "type": kind,
            "eventTime": None,
            "reportingComponent": source,
            "reportingInstance": "",
        }
        if scheduler:
            micro = self.moment().isoformat(timespec="microseconds").replace("+00:00", "Z")
            event |= {"eventTime": micro, "action": more.get("action", "Scheduling")}
            event["reportingInstance"] = "default-scheduler-cks"
        else:
            event["source"] = {"component": source, **({"host": more["host"]} if "host" in more else {})}
            event |= {"firstTimestamp": self.stamp(), "lastTimestamp": self.stamp(), "count": 1}
        self.add(EVENTS, event)

    def _again(self, known: Json, *, scheduler: bool) -> None:
        if scheduler or known.get("lastTimestamp") == self.stamp():
            return
        event = copy.deepcopy(known)
        event["count"] = event.get("count", 1) + 1
        event["lastTimestamp"] = self.stamp()
        self.store.update(EVENTS, event)

    def forget_events(self) -> None:
        """Events live for an hour."""
        oldest = self.stamp(self.now - _EVENT_LIFE_S)
        for event in self.store.all(EVENTS):
            if (event.get("lastTimestamp") or event["metadata"]["creationTimestamp"]) < oldest:
                self.store.remove(EVENTS, event)

    # The end of a Pod.

    def remove_pod(self, pod: Json) -> None:
        """The Pod is gone from the API."""
        self.store.remove(PODS, pod)
        self.over(pod)

    def over(self, pod: Json) -> None:
        """The Pod has ended: it takes no room, and its ledger line is closed."""
        fate = self.fate(pod)
        fate.due = fate.deadline = fate.stop_due = fate.evict_due = None
        fate.step = "over"
        if fate.ended_at is None:
            fate.ended_at = self.now
            self.world.ledger.close(PROVIDER, fate.uid, at=self.moment(), what="pod")

    # Money: what nodes that were added, and public addresses, cost.

    def open_pod(self, fate: Fate) -> None:
        """A Pod costs nothing by itself: it runs on a node that is paid for, by whom is another line's matter."""
        self._open(fate.uid, fate.name, "pod", Decimal(0))

    def bill_node(self, node: Json, price: Decimal) -> None:
        """From now on a node that was added is paid for, whole, whoever runs on it."""
        name = node["metadata"]["name"]
        self.payers[name] = name
        self._open(name, name, f"node {name}", price)

    def settle_nodes(self) -> None:
        """Book each added node to the oldest Pod on it, or to itself while it is empty; close those that went."""
        for name, payer in list(self.payers.items()):
            node = self.store.find(NODES, "", name)
            if node is None:
                self._close(payer, f"node {name}")
                del self.payers[name]
                continue
            fates = [fate for fate in map(self.fate, self.pods_on(name)) if fate.tracked and fate.ended_at is None]
            first = min(fates, key=lambda fate: (fate.created_at, fate.uid), default=None)
            wanted, label = (name, name) if first is None else (first.uid, first.name)
            if wanted != payer:
                rate = self._rate(payer, f"node {name}")
                self._close(payer, f"node {name}")
                self._open(wanted, label, f"node {name}", rate)
                self.payers[name] = wanted

    def bill_address(self, service: Json, payer: Fate | None) -> None:
        """A public address is metered by the minute."""
        uid = service["metadata"]["uid"]
        instance = uid if payer is None else payer.uid
        self.addresses[uid] = instance
        price = self.market.address_usd_per_hour
        self._open(instance, service["metadata"]["name"], f"address {uid}", price, increment_s=60)

    def release_address(self, service_uid: str) -> None:
        """The Service is gone, and its address with it."""
        payer = self.addresses.pop(service_uid, None)
        if payer is not None:
            self._close(payer, f"address {service_uid}")

    def _open(self, instance: str, name: str, what: str, price: Decimal, *, increment_s: int = 1) -> None:
        self.world.ledger.open(
            PROVIDER,
            instance,
            at=self.moment(),
            usd_per_hour=price,
            name=name,
            what=what,
            increment_s=increment_s,
        )

    def _close(self, instance: str, what: str) -> None:
        self.world.ledger.close(PROVIDER, instance, at=self.moment(), what=what)

    def _rate(self, instance: str, what: str) -> Decimal:
        lines = [line for line in self.world.ledger.of(PROVIDER, instance) if line.what == what]
        return Decimal(lines[-1].rates[-1][1])

    # The state as a file.

    def dump(self) -> Json:
        """All of it, ready for JSON."""
        return {
            "store": self.store.dump(),
            "now": self.now,
            "fates": [asdict(fate) for fate in self.fates.values()],
            "payers": dict(self.payers),
            "addresses": dict(self.addresses),
        }

    def load(self, state: Json) -> None:
        """Take over what `dump` gave."""
        self.store.load(state["store"])
        self.now = state["now"]
        self.fates = {row["uid"]: Fate(**row) for row in state["fates"]}
        self.payers, self.addresses = dict(state["payers"]), dict(state["addresses"])
