"""CoreWeave's Kubernetes Service (CKS) on loopback. Written from CoreWeave's and Kubernetes' documentation of 2026-11.

This module is the way in and the kit's interface. The API server: `emulator_api` (who asks for what),
`emulator_resources` (paths and discovery), `emulator_objects` (create, change, delete), `emulator_lists` (lists and
watches), `emulator_selectors`, `emulator_patch`, `emulator_rules` and `emulator_pod_rules` (what is valid),
`emulator_status` (refusals), `emulator_store`. What acts on its objects: `emulator_scheduler`, `emulator_kubelet`,
`emulator_controllers` (addresses, SSH, owners, quotas), `emulator_pools` and `emulator_autoscaler` (whole nodes),
`emulator_nodes` (what happens to them). `emulator_cluster` holds the clock, the Pods' fates and the money;
`emulator_market` and `emulator_seed` are the cluster at the start.

Not emulated: YAML and protobuf bodies, server-side apply, foreground deletion (it acts as background), exec and
port-forward, volumes beyond Secrets and ConfigMaps, and the network. CoreWeave's API names no prices, so that no
price can change on the wire: the fault `price_changed` does not exist here.
"""

from __future__ import annotations

from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response

import providers.coreweave.emulator_seed as seed
import providers.coreweave.emulator_status as status
from providers.coreweave.emulator_api import Api
from providers.coreweave.emulator_autoscaler import Autoscaler
from providers.coreweave.emulator_cluster import PROVIDER, TERMINAL, Cluster, Fate
from providers.coreweave.emulator_controllers import Addresses, Collector, Machines, Quotas
from providers.coreweave.emulator_kubelet import Kubelet
from providers.coreweave.emulator_market import Market
from providers.coreweave.emulator_nodes import Nodes
from providers.coreweave.emulator_options import Options
from providers.coreweave.emulator_pools import Pools
from providers.coreweave.emulator_resources import NODES, PODS, Caller, Place, locate
from providers.coreweave.emulator_scheduler import Scheduler
from providers.coreweave.emulator_verbs import verb_of
from providers.sandbox.faults import Fault
from providers.sandbox.kit import Emulator, Record, json_reply, local_path
from providers.sandbox.world import World

Json = dict[str, Any]

_ROUNDS = 30


class CoreWeaveEmulator(Emulator):
    """One CKS cluster, its kube-apiserver and its node pools, and the list of clusters beside it.

    Attributes:
        options: how it is set up.
        cluster: objects, clock, fates and money.
    """

    name: ClassVar[str] = PROVIDER
    semantic: ClassVar[frozenset[str]] = frozenset(
        [
            "sold_out",
            "fail_after_accept",
            "boot_stuck",
            "wrong_gpu",
            "quota",
            "unknown_code",
            "bad_key",
            "forbidden",
            "list_lag",
            "ignore_terminate",
            "host_lost",
        ]
    )
    #: No price is on the wire.
    cannot: ClassVar[frozenset[str]] = frozenset(["price_changed"])

    def __init__(self, world: World, options: Options | None = None) -> None:
        super().__init__(world)
        self.options = options or Options()
        self.cluster = Cluster(world, self.options, Market.read(world.market.get(self.name)))
        self.pools = Pools(self.cluster, self._pool_fault)
        self.nodes = Nodes(self.cluster)
        self.autoscaler = Autoscaler(self.cluster, self.pools)
        self.addresses = Addresses(self.cluster)
        self.collector = Collector(self.cluster)
        self.machines = Machines(self.cluster)
        self._steps = [
            ("pools", self.pools.step),
            ("autoscaler", self.autoscaler.step),
            ("kubelet", self.nodes.step),
            ("gc", self.collector.step),
            ("scheduler", Scheduler(self.cluster).step),
            ("kubelet", Kubelet(self.cluster).step),
            ("quota", Quotas(self.cluster).step),
            ("services", self.addresses.step),
            ("services", self.machines.step),
        ]
        self.api = Api(
            self.cluster,
            advance=self.advance,
            before_pod=self._before_pod,
            after_pod=self._after_pod,
            on_delete=self._on_delete,
        )
        seed.fill(self.cluster, self.pools)
        self._settle()

    # The way in.

    async def handle(self, request: Request) -> Response:
        path = local_path(request)
        bad_key = self.fault("bad_key", verb=self.verb(request.method, path)) is not None
        place = locate(path)
        if place is not None and place.page == "clusters":
            return self._clusters(request, place, bad_key=bad_key)
        return await self.api.handle(request, place, bad_key=bad_key)

    def verb(self, method: str, path: str) -> str:
        return verb_of(method, locate(path))

    def _clusters(self, request: Request, place: Place, *, bad_key: bool) -> Response:
        """CKS's own API. How its errors are spelled in JSON is not documented; this is Connect's way."""
        token = request.headers.get("authorization", "").partition(" ")[2]
        if bad_key or self.options.user(token) is None:
            return json_reply({"code": "unauthenticated", "message": "invalid or expired token"}, 401)
        if request.method != "GET":
            return json_reply({"code": "unimplemented", "message": "not emulated"}, 501)
        market = self.cluster.market
        row = {
            "id": seed.fixed_id(market, "cluster"),
            "name": "sandbox",
            "zone": market.zone,
            "vpcId": seed.fixed_id(market, "vpc"),
            "public": True,
            "version": "v1.35",
            "network": {"podCidrName": "pods", "serviceCidrName": "services", "internalLbCidrNames": ["lb"]},
            "apiServerEndpoint": str(request.base_url).rstrip("/"),
            "createdAt": "2026-01-12T08:00:00Z",
            "updatedAt": "2026-10-02T08:00:00Z",
            "isUpgradeable": False,
            "status": "STATUS_RUNNING",
        }
        if not place.name:
            return json_reply({self.options.clusters_key: [row]})
        if place.name == row["id"]:
            return json_reply(row)
        return json_reply({"code": "not_found", "message": f"cluster {place.name} not found"}, 404)

    # What goes wrong.

    def _before_pod(self, body: Json, caller: Caller) -> None:
        name = str((body.get("metadata") or {}).get("name") or "")
        if self.fault("forbidden", verb="launch", subject=name):
            namespace = str((body.get("metadata") or {}).get("namespace") or "orch")
            raise status.forbidden("pods", "", None, caller.refusal("create", "", "pods", namespace))
        if self._take("quota", "namespace", name, verb="launch"):
            why = "exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=8, "
            raise status.forbidden("pods", "", name, f"{why}limited: requests.nvidia.com/gpu=8")
        if self.fault("unknown_code", verb="launch", subject=name):
            text = f'pods "{name}" cannot be taken on while the tenant is on hold'
            raise status.Refused(423, "TenantOnHold", text, {"name": name, "kind": "pods"})

    def _after_pod(self, pod: Json) -> None:
        fate = self.cluster.fates[pod["metadata"]["uid"]]
        fate.sold_out = self.fault("sold_out", verb="launch", subject=fate.subject) is not None
        if failing := self.fault("fail_after_accept", verb="launch", subject=fate.subject):
            fate.fail = str(failing.args.get("how", "admission"))
        if stuck := self.fault("boot_stuck", verb="launch", subject=fate.subject):
            fate.stuck = str(stuck.args.get("state", "ContainerCreating"))
        if wrong := self.fault("wrong_gpu", verb="launch", subject=fate.subject):
            fate.gpu = str(wrong.args.get("gpu", "NVIDIA T4"))
            fate.memory_mib = int(wrong.args.get("memory_mib", 15360))
        if lag := self.fault("list_lag", verb="launch", subject=fate.subject):
            fate.hidden_until = self.cluster.now + float(lag.args.get("seconds", 30))

    def _pool_fault(self, kind: str, subject: str) -> Fault | None:
        return self._take(kind, "pool", subject) if kind == "quota" else self.fault(kind, subject=subject)

    def _take(self, kind: str, where: str, subject: str, verb: str = "*") -> Fault | None:
        """Use up a fault that has its effect in one of several places; the namespace's, unless it says so."""
        for waiting in self.world.faults.waiting:
            if waiting.kind == kind and waiting.args.get("where", "namespace") == where and waiting.times:
                return self.fault(kind, verb=verb, subject=subject)
        return None

    def _on_delete(self, pod: Json) -> None:
        """A Pod whose end is ignored stays `Terminating`; asked again, it goes."""
        fate = self.cluster.fate(pod)
        bound = bool(pod["spec"].get("nodeName")) and fate.ended_at is None
        fate.ignoring = bound and self.fault("ignore_terminate", verb="terminate", subject=fate.subject) is not None

    def _release_ignored(self) -> None:
        """When a test has cleared its faults, what was stuck goes on."""
        waiting = any(
            fault.kind == "ignore_terminate" and fault.provider in ("*", self.name)
            for fault in self.world.faults.waiting
        )
        for fate in self.cluster.fates.values() if not waiting else ():
            fate.ignoring = False

    # Time.

    def advance(self) -> None:
        now = self.world.now().timestamp()
        self._release_ignored()
        self._settle()
        while (due := self._next()) is not None and due <= now:
            self.cluster.now = max(due, self.cluster.now)
            self._settle()
        self.cluster.now = max(now, self.cluster.now)
        for fate in [fate for fate in self.cluster.fates.values() if fate.tracked and fate.step == "ready"]:
            if lost := self.fault("host_lost", subject=fate.subject):
                self._lose(fate, str(lost.args.get("how", "node")))
        self._settle()

    def _settle(self) -> None:
        """Let every controller act until there is nothing more to do at this moment."""
        for _ in range(_ROUNDS):
            before = self.cluster.store.revision
            for name, step in self._steps:
                if name in self.options.controllers:
                    step()
            self.cluster.settle_nodes()
            if self.cluster.store.revision == before:
                return

    def _next(self) -> float | None:
        """The next moment at which something happens by itself."""
        timers: list[float | None] = [timer for fate in self.cluster.fates.values() for timer in fate.timers()]
        parts: dict[str, list[float | None]] = {
            "pools": self.pools.timers(),
            "autoscaler": [*self.autoscaler.timers()],
            "kubelet": [*timers, *self.nodes.timers()],
            "gc": [*self.collector.timers()],
            "services": [*self.addresses.timers()],
        }
        found = [timer for name, part in parts.items() if name in self.options.controllers for timer in part]
        later = [timer for timer in found if timer is not None and timer > self.cluster.now]
        return min(later, default=None)

    # What the kit and tests ask for.

    def environment(self, base_url: str) -> dict[str, str]:
        """The token, the cluster, and the consent to change node pools; not "1", which is a part of many texts."""
        return {
            "COREWEAVE_API_TOKEN": self.options.token,
            "ORCH_COREWEAVE_URL": base_url,
            "ORCH_COREWEAVE_MANAGED": self.options.managed,
        }

    def records(self) -> list[Record]:
        billing = set(self.world.ledger.billing(self.name))
        tracked = [fate for fate in self.cluster.fates.values() if fate.tracked]
        return [Record(f.uid, f.name, f.ended_at is None, f.uid in billing, f.offer) for f in tracked]

    def plant(self, name: str, owner: str | None = None) -> str:
        self.cluster.now = max(self.world.now().timestamp(), self.cluster.now)
        return seed.plant(self.cluster, self.pools, name, owner).uid

    def lose(self, instance: str) -> None:
        """The Pod's node is gone, and with it the Pod. *instance* is its uid, its name, or namespace and name."""
        for fate in self.cluster.fates.values():
            if instance in (fate.uid, fate.name, f"{fate.namespace}/{fate.name}") and fate.ended_at is None:
                self._lose(fate, "node")
                self._settle()
                return

    def _lose(self, fate: Fate, how: str) -> None:
        pod = self.cluster.store.find(PODS, fate.namespace, fate.name)
        if pod is not None and pod["metadata"]["uid"] == fate.uid and pod["status"].get("phase") not in TERMINAL:
            self.nodes.lose(pod, how)

    def lose_node(self, name: str, how: str = "node") -> None:
        """A node, and all that runs on it, is lost.

        Raises:
            KeyError: there is no such node.
        """
        self.cluster.store.edit(NODES, "", name)
        there = self.cluster.pods_on(name)
        if there:
            self.nodes.lose(there[0], how)
        else:
            self.cluster.store.remove(NODES, self.cluster.store.edit(NODES, "", name))
        self._settle()

    def rate_limited(self, retry_after: float | None) -> Response:
        return status.too_many(retry_after)

    def broken(self) -> Response:
        return status.internal("etcdserver: request timed out")

    def dump(self) -> dict[str, Any]:
        return {
            "cluster": self.cluster.dump(),
            "pools": self.pools.dump(),
            "dead": dict(self.nodes.dead),
            "autoscaler": {"looks": self.autoscaler.looks, "idle": self.autoscaler.idle},
            "asked": sorted(self.autoscaler.asked),
            "addresses": dict(self.addresses.due),
            "collector": dict(self.collector.due),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.cluster.load(state["cluster"])
        self.pools.load(state["pools"])
        self.nodes.dead = dict(state["dead"])
        self.autoscaler.looks = dict(state["autoscaler"]["looks"])
        self.autoscaler.idle = dict(state["autoscaler"]["idle"])
        self.autoscaler.asked = set(state["asked"])
        self.addresses.due, self.collector.due = dict(state["addresses"]), dict(state["collector"])
        self.machines.running.clear()
        self.machines.step()
