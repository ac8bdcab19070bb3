"""One cluster as the adapter uses it: who it is, what is in it, and what is read of it together."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from providers.base import Instance, Offer, Phase, Query
from providers.coreweave import nodes, offers, pods, pools
from providers.coreweave.client import NODE_POOLS, Kube, path
from providers.coreweave.config import Config
from providers.coreweave.errors import ours
from providers.coreweave.manifests import NAMESPACE, TOKEN, is_ours, selector
from providers.env import Env
from providers.errors import Forbidden, ProviderError

Json = dict[str, Any]

#: What a refusal to look at something optional is known by.
_NOT_TO_BE_SEEN = ("NotFound", "no-api", "rbac", "forbidden-unclear")


@dataclass(frozen=True, slots=True)
class Where:
    """Names of one attempt's objects: all are called by its token."""

    namespace: str
    name: str

    @property
    def pod(self) -> str:
        """Path of the Pod."""
        return path(self.namespace, "pods", self.name)

    @property
    def service(self) -> str:
        """Path of the Service."""
        return path(self.namespace, "services", self.name)

    @property
    def secret(self) -> str:
        """Path of the Secret."""
        return path(self.namespace, "secrets", self.name)

    @property
    def node_pool(self) -> str:
        """Path of the NodePool."""
        return f"{NODE_POOLS}/{self.name}"


class Cluster:
    """One cluster with its client; `uid` is known after `identify`."""

    def __init__(self, kube: Kube, env: Env) -> None:
        self.kube = kube
        self.env = env
        self.uid = ""
        self.account = ""

    @property
    def name(self) -> str:
        """The context's or cluster's name, for people."""
        return self.kube.target.name

    async def identify(self) -> str:
        """A stable id of the cluster: the uid of its ``kube-system`` namespace.

        Where that may not be read, a hash of the API server's host stands for it; the credentials are proven
        first, so that a refused token is never taken for a lack of rights.
        """
        if not self.uid:
            try:
                found = await self.kube.get("/api/v1/namespaces/kube-system", verb="account")
                uid = nodes.part(found, "metadata").get("uid")
            except ProviderError as error:
                if error.code not in _NOT_TO_BE_SEEN:
                    raise
                await self.kube.allowed("get", "pods")
                uid = None
            host = self.kube.target.vendor_host
            self.uid = str(uid) if uid else "host-" + hashlib.sha256(host.encode()).hexdigest()[:16]
        return self.uid

    async def node_pools(self, *, verb: str, params: Mapping[str, str] | None = None) -> list[Json] | None:
        """CoreWeave's NodePools; None where there is no such thing, or it may not be seen."""
        try:
            return await self.kube.items(NODE_POOLS, verb=verb, params=params)
        except ProviderError as error:
            if error.code in _NOT_TO_BE_SEEN:
                return None
            raise

    async def maybe(self, where: str, *, verb: str) -> Json | None:
        """One object, or None if it is not there or may not be seen."""
        try:
            return await self.kube.find(where, verb=verb)
        except ProviderError as error:
            if error.code in _NOT_TO_BE_SEEN:
                return None
            raise

    async def market(self, query: Query, config: Config, *, verb: str, owner: str) -> tuple[list[Offer], str]:
        """What is for rent here, and what it has if that is nothing."""
        kube, now = self.kube, self.env.now()
        wants_nodes = config.managed and bool({"on-demand", "spot"} & set(query.pricing))
        seen, there, pool_list, rates = await asyncio.gather(
            kube.items("/api/v1/nodes", verb=verb),
            self._all_pods(verb),
            self.node_pools(verb=verb) if wants_nodes else _none(),
            self.maybe(path(config.namespace, "configmaps", offers.PRICES_CONFIG_MAP), verb=verb),
        )
        gpu_nodes = nodes.read(seen, there, config)
        place = offers.Place(account=self.account, cluster=self.uid, context=self.name, zone=self._zone(gpu_nodes))
        prices = offers.Rates(config.prices, offers.published(rates))
        found = offers.idle(gpu_nodes, query, place, prices, config, now) if "prepaid" in query.pricing else []
        if pool_list is not None:
            taken = sum(pools.target(pool) for pool in pool_list if is_ours(pool, owner))
            room = taken < config.max_nodes
            found += offers.added(pool_list, query, place, prices, config, now, room=room)
        has = {node.kind.gpu for node in gpu_nodes}
        if wants_nodes and pool_list is None:
            return found, f"{self.name} has no NodePools that may be seen, so no node can be added"
        note = "" if found else f"{self.name} has {', '.join(sorted(has)) or 'no GPU nodes'}"
        if there is None:
            note = f"{self.name}: Pods of other namespaces may not be listed, so what is idle is not known"
        return found, note

    async def look(self, pod: Json, *, owner: str, full: bool, service: Json | None = None) -> pods.Surroundings:
        """What stands around a Pod.

        Args:
            full: one Pod is looked at closely; else as little as its state asks for is read.
        """
        metadata = pod["metadata"]
        where = Where(metadata.get("namespace", ""), metadata["name"])
        name, pending = pods.node_name(pod), nodes.part(pod, "status").get("phase") == "Pending"
        doubtful = name is not None and (full or not (pending or pods.is_ready_pod(pod)))
        node, looked = await self._node(name) if doubtful and name else (None, False)
        if full and not pending and service is None:
            service = await self.maybe(where.service, verb="find")
        waits = pending and not pods.is_scheduled(pod)
        failure = await self._pool_failure(where, owner) if waits and pods.kind_of(pod) == "node" else None
        events = await self.events(where.namespace, where.name) if full and pending and not waits else ()
        return pods.Surroundings(node, looked, service, failure, events)

    async def instance(
        self, pod: Json, config: Config, *, owner: str, full: bool, service: Json | None = None
    ) -> Instance:
        """A Pod of ours as an instance."""
        around = await self.look(pod, owner=owner, full=full, service=service)
        now = self.env.now()
        phase, failure = pods.state(pod, around, now)
        address = None
        if phase is Phase.RUNNING:
            address, failure = pods.address(pod, around, now, config.lb_wait_s)
        if failure is not None and full and pods.is_users_fault(failure):
            failure.message = await self._explained(pod, failure.message)
        metadata = pod["metadata"]
        return Instance(
            provider="coreweave",
            account=self.account,
            id=str(metadata.get("uid", "")),
            handle=self.handle(metadata.get("namespace", ""), metadata["name"], metadata.get("uid"), pods.kind_of(pod)),
            token=nodes.labels_of(pod).get(TOKEN),
            owner=owner,
            phase=phase,
            address=address,
            failure=failure,
            created_at=pools.made_at(pod),
        )

    def handle(self, namespace: str, name: str, uid: str | None, kind: str) -> dict[str, str]:
        """All that ending it needs."""
        found = {"kind": kind, "cluster": self.uid, "context": self.name, "namespace": namespace, "name": name}
        return {**found, "uid": uid} if uid else found

    def left_over(self, item: Json, namespace: str, *, owner: str, uid: str | None = None) -> Instance:
        """Something of ours whose Pod is gone; *uid* is the Pod's, if it is known."""
        name = item["metadata"]["name"]
        kind = "node" if pools.type_of(item) else "idle"
        ending = bool(item["metadata"].get("deletionTimestamp")) or (kind == "node" and not pools.target(item))
        return Instance(
            provider="coreweave",
            account=self.account,
            id=uid or str(item["metadata"].get("uid", "")),
            handle=self.handle(namespace, name, uid, kind),
            token=nodes.labels_of(item).get(TOKEN),
            owner=owner,
            phase=Phase.STOPPING if ending else Phase.FAILED,
            failure=None if ending else ours("pod-gone", f"the Pod of {name} is gone, and what it had is still there"),
            created_at=pools.made_at(item),
        )

    async def owned(self, config: Config, owner: str) -> list[Instance]:
        """Everything of ours in the namespace, NodePools without a Pod included."""
        params = {"labelSelector": selector(owner)}
        # Where nodes may be added, one may bill in a pool that is not shown to us: that is no empty list.
        lookup = self._all_pools(params) if config.managed else self.node_pools(verb="owned", params=params)
        # Pods last: whatever else is listed had its Pod before, so a Pod that is not listed then is gone.
        services, pool_list = await asyncio.gather(self._services(config, params), lookup)
        there = await self.kube.items(path(config.namespace, "pods"), verb="owned", params=params)
        mine = [pod for pod in there if is_ours(pod, owner)]
        by_name = {item["metadata"]["name"]: item for item in services}
        found = [
            await self.instance(pod, config, owner=owner, full=False, service=by_name.get(pod["metadata"]["name"]))
            for pod in mine
        ]
        names = {pod["metadata"]["name"] for pod in mine}
        # A pool belongs to the namespace of its Pod: one of another namespace is none of this account's.
        here = [pool for pool in pool_list or () if nodes.labels_of(pool).get(NAMESPACE) in (None, config.namespace)]
        for item in [*here, *services]:
            if is_ours(item, owner) and item["metadata"]["name"] not in names:
                names.add(item["metadata"]["name"])
                found.append(self.left_over(item, config.namespace, owner=owner))
        return found

    async def events(self, namespace: str, name: str) -> tuple[Json, ...]:
        """The events about an object, oldest first; none where they may not be seen."""
        params = {"fieldSelector": f"involvedObject.name={name}"}
        try:
            found = await self.kube.items(path(namespace, "events"), verb="find", params=params)
        except ProviderError:
            return ()  # they only explain
        return tuple(sorted(found, key=_when))

    async def _all_pools(self, params: Mapping[str, str]) -> list[Json] | None:
        """Every NodePool of ours; None only where the cluster has no such kind at all."""
        try:
            return await self.kube.items(NODE_POOLS, verb="owned", params=params)
        except Forbidden as error:
            if error.code != "no-api":
                raise
            return None

    async def _services(self, config: Config, params: Mapping[str, str]) -> list[Json]:
        try:
            return await self.kube.items(path(config.namespace, "services"), verb="owned", params=params)
        except Forbidden as error:
            if error.code != "rbac":
                raise
            return []

    async def _all_pods(self, verb: str) -> list[Json] | None:
        try:
            return await self.kube.items("/api/v1/pods", verb=verb)
        except Forbidden as error:
            if error.code not in _NOT_TO_BE_SEEN:
                raise
            return None

    async def _node(self, name: str) -> tuple[Json | None, bool]:
        try:
            return await self.kube.find(f"/api/v1/nodes/{name}", verb="find"), True
        except Forbidden as error:
            if error.code not in _NOT_TO_BE_SEEN:
                raise
            return None, False

    async def _pool_failure(self, where: Where, owner: str) -> ProviderError | None:
        pool = await self.maybe(where.node_pool, verb="find")
        if pool is None or not is_ours(pool, owner):
            return None
        if (error := pools.failure(pool, self.env.now())) or pools.arriving(pool):
            return error
        age = (self.env.now() - (pools.made_at(pool) or self.env.now())).total_seconds()
        if age < pools.CAPACITY_PATIENCE_S:
            return None
        # Events of objects without a namespace are kept in `default`.
        return pools.of_events(await self.events("default", where.name))

    async def _explained(self, pod: Json, message: str) -> str:
        metadata = pod["metadata"]
        said = await self.kube.log(metadata.get("namespace", ""), metadata["name"], previous=True)
        return f"{message}; its last words: {said[-400:]}" if said else message

    def _zone(self, gpu_nodes: list[nodes.Node]) -> str | None:
        if self.kube.target.zone:
            return self.kube.target.zone
        seen = {node.zone or node.kind.region for node in gpu_nodes if node.kind.coreweave} - {None}
        return seen.pop() if len(seen) == 1 else None


async def _none() -> None:
    return None


def _when(event: Mapping[str, Any]) -> str:
    times = (event.get("lastTimestamp"), event.get("eventTime"), event["metadata"].get("creationTimestamp"))
    return next((str(time) for time in times if time), "")
