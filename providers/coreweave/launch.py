"""Making one attempt's objects, in an order that no crash can turn into a leak.

The Pod comes first: its name is the token, so that there can be only one, and it owns Secret and Service. Asked
again under the same token, each step finds what is there and goes on. In managed mode the NodePool comes last: a
crash before it leaves a Pod that waits, and costs nothing.
"""

from __future__ import annotations

from typing import Any

from providers.base import Instance, LaunchSpec, Offer, Phase
from providers.coreweave import ending, hostkey, manifests, pods, pools
from providers.coreweave.client import NODE_POOLS, path
from providers.coreweave.cluster import Cluster, Where
from providers.coreweave.config import Config
from providers.coreweave.errors import ours
from providers.errors import Forbidden, OutcomeUnknown, ProviderError, RateLimited, Unavailable

Json = dict[str, Any]

#: How long we watch for a place or for CoreWeave's word on quota and capacity, before we call it accepted.
VERDICT_S = 20.0
#: How long a refused launch's own remains are cleared up before they are handed on as left.
CLEAR_S = 15.0
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.3, 2.0
#: The way these documents write it first; one client writes "spot".
_SPOT = ("Spot", "spot")


class Launch:
    """One attempt's launch."""

    def __init__(self, cluster: Cluster, offer: Offer, spec: LaunchSpec, token: str, config: Config) -> None:
        self._cluster, self._kube, self._env = cluster, cluster.kube, cluster.env
        self._offer, self._spec, self._token, self._config = offer, spec, token, config
        self._where = Where(str(offer.native.get("namespace") or config.namespace), token)
        self._is_node = offer.native.get("kind") == "node"

    async def run(self) -> Instance:
        """All of it.

        Raises:
            OutcomeUnknown: something may have been made; asking again under the same token goes on from there.
            ProviderError: refused, and nothing is left but what `left` names.
        """
        body = manifests.pod(self._offer, self._spec, self._token, self._config, self._env.now())
        if self._is_node:
            await self._check_limit()
        await self._ensure_namespace()
        pod = await self._kube.create(path(self._where.namespace, "pods"), body, verb="launch")
        try:
            pod = pod or await self._adopt()
            if not pod["metadata"].get("deletionTimestamp"):
                await self._dependents(pod)
                if self._is_node:
                    await self._add_node()
                pod = await self._verdict(pod)
            return await self._cluster.instance(pod, self._config, owner=self._spec.owner, full=False)
        except (RateLimited, Unavailable, OutcomeUnknown) as error:
            # The Pod is there. Asked again, we find it and go on.
            raise OutcomeUnknown(error.message, code=error.code) from error
        except ProviderError as error:
            if pod is not None:
                await self._clear(pod, error)
            raise

    async def _ensure_namespace(self) -> None:
        where = f"/api/v1/namespaces/{self._where.namespace}"
        try:
            if await self._kube.find(where, verb="account") is not None:
                return
            await self._kube.create(
                "/api/v1/namespaces", manifests.namespace(self._where.namespace), verb="account", repeatable=True
            )
        except ProviderError as error:
            # Who may not look at it, or make it, may still work in it: the Pod's create tells.
            if error.code not in ("rbac", "forbidden-unclear"):
                raise

    async def _adopt(self) -> Json:
        """The Pod of our name that is there: an earlier create of ours went through, or somebody took the name."""
        pod = await self._kube.find(self._where.pod, verb="launch")
        if pod is None:
            raise OutcomeUnknown(f"Pod {self._token} was there and is gone again", code="AlreadyExists")
        if not manifests.is_ours(pod, self._spec.owner, self._token):
            raise ours("name-taken", f"a Pod named {self._token} is there and is not ours")
        return pod

    async def _dependents(self, pod: Json) -> None:
        uid = str(pod["metadata"].get("uid", ""))
        kept = await hostkey.make()
        secret = manifests.secret(self._spec, self._token, uid, kept)
        await self._create_owned("secrets", self._where.secret, secret, uid)
        service = manifests.service(self._offer, self._spec, self._token, uid, self._config)
        await self._create_owned("services", self._where.service, service, uid)

    async def _create_owned(self, kind: str, where: str, body: Json, pod_uid: str) -> None:
        for _ in range(3):
            if await self._kube.create(path(self._where.namespace, kind), body, verb="launch", repeatable=True):
                return
            there = await self._kube.find(where, verb="launch")
            if there is None:
                continue
            if not manifests.is_ours(there, self._spec.owner, self._token):
                raise ours("name-taken", f"{kind} named {self._token} is there and is not ours")
            if ending.belongs_to(there, pod_uid) and not there["metadata"].get("deletionTimestamp"):
                return
            # A namesake's, on its way out.
            await self._kube.delete(where, uid=there["metadata"].get("uid"), verb="launch")
            await self._env.sleep(1.0)
        raise Unavailable(f"{kind} {self._token} of an earlier Pod does not go", code="AlreadyExists")

    async def _add_node(self) -> None:
        """The attempt's own NodePool of one node; quota and capacity show later."""
        if await self._create_pool() is None:
            there = await self._kube.find(self._where.node_pool, verb="launch")
            if there is not None and not manifests.is_ours(there, self._spec.owner, self._token):
                raise ours("name-taken", f"a NodePool named {self._token} is there and is not ours")
            if there is None or there["metadata"].get("deletionTimestamp") or not pools.target(there):
                raise ours("name-taken", f"the NodePool {self._token} is being removed")
        # Two launches may both have seen the last free place. The later pool gives way, as both can tell.
        await self._check_limit()

    async def _create_pool(self) -> Json | None:
        classes = list(_SPOT) if self._offer.pricing == "spot" else ["default"]
        while True:
            body = manifests.node_pool(self._offer, self._spec, self._token, classes.pop(0))
            try:
                return await self._kube.create(NODE_POOLS, body, verb="launch", repeatable=True)
            except ProviderError as error:
                if error.code == "Invalid" and not classes:
                    # This type is not to be had here; that says nothing of other offers.
                    raise ours("pool-refused", error.message) from None
                if error.code != "Invalid":
                    raise _about_pools(error) from None

    async def _check_limit(self) -> None:
        params = {"labelSelector": manifests.selector(self._spec.owner)}
        try:
            there = await self._kube.items(NODE_POOLS, verb="launch", params=params)
        except ProviderError as error:
            raise _about_pools(error) from None
        growing = [pool for pool in there if pools.target(pool) > 0 and not pool["metadata"].get("deletionTimestamp")]
        growing.sort(key=lambda pool: (str(pool["metadata"].get("creationTimestamp")), pool["metadata"]["name"]))
        before = 0
        for pool in growing:
            if pool["metadata"]["name"] == self._token:
                break
            before += pools.target(pool)
        if before >= self._config.max_nodes:
            raise ours("max-nodes", f"{before} nodes are rented already, the limit is {self._config.max_nodes}")

    async def _verdict(self, pod: Json) -> Json:
        """Watch until the Pod has a place, or CoreWeave has said whether its node will come."""
        until, pause = self._env.monotonic() + VERDICT_S, _FIRST_LOOK_S
        refused: ProviderError | None = None
        while True:
            pod = await self._kube.get(self._where.pod, verb="launch")
            if pods.is_scheduled(pod):
                return pod
            if self._is_node:
                pool = await self._kube.get(self._where.node_pool, verb="launch")
                if error := pools.refusal(pool):
                    raise error
                if pools.arriving(pool) or pools.can_grow(pool):
                    return pod
                refused = pools.waiting(pool)
            else:
                refused = pods.unschedulable(pod)
            if self._env.monotonic() >= until:
                break
            await self._env.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_LOOK_S)
        if refused is not None:
            raise refused
        return pod

    async def _clear(self, pod: Json, error: ProviderError) -> None:
        """Take back what was made. What does not go in time is named in `error.left`."""
        uid = str(pod["metadata"].get("uid", ""))
        instance = Instance(
            provider="coreweave",
            account=self._cluster.account,
            id=uid,
            handle=self._cluster.handle(
                self._where.namespace, self._token, uid or None, "node" if self._is_node else "idle"
            ),
            token=self._token,
            owner=self._spec.owner,
            phase=Phase.STOPPING,
        )
        until, pause = self._env.monotonic() + CLEAR_S, _FIRST_LOOK_S
        while True:
            try:
                if await ending.end(self._cluster, instance.handle, self._spec.owner):
                    return
            except ProviderError:
                pass  # it stays in `left`, and the engine goes on asking
            if self._env.monotonic() >= until:
                break
            await self._env.sleep(pause)
            pause = min(pause * 2, _LONGEST_LOOK_S)
        error.left = (instance,)


def _about_pools(error: ProviderError) -> ProviderError:
    """Rights that are missing for NodePools say nothing of idle GPUs: only this offer is held back."""
    if isinstance(error, Forbidden):
        error.scope = "offer"
    return error
