"""Ending: Pod, Service, Secret, and in managed mode the node, each until the cluster itself says that it is gone.

Order: the Pod first, for CoreWeave takes empty nodes only. The pool is told to shrink as soon as its Pod has been asked
to go, though: a Pod on a node that has fallen silent lingers for as long as the node is there, and the pool would
keep it there, billing. What does not bear our mark, or belongs to a namesake
that was made later, is never touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from providers.coreweave import nodes, pods, pools
from providers.coreweave.cluster import Cluster, Where
from providers.coreweave.manifests import NODE_POOL, is_ours
from providers.errors import ProviderError

Json = dict[str, Any]

_TRIES = 3


async def end(cluster: Cluster, handle: Mapping[str, str], owner: str) -> bool:
    """Ask for the end of everything that *handle* stands for, or look whether it has come.

    Returns:
        True once all of it is gone, and in managed mode the node has left.
    """
    where, uid = Where(handle["namespace"], handle["name"]), handle.get("uid")
    pod = await cluster.kube.find(where.pod, verb="terminate")
    if pod is not None and uid and pod["metadata"].get("uid") != uid:
        # The name is in use again: what was ours has gone, and its Secret and Service with it.
        return await _owned_gone(cluster, where, owner, uid)
    if pod is not None and is_ours(pod, owner, handle["name"]) and not await _pod_gone(cluster, where, pod):
        if handle.get("kind") == "node":
            await _node_gone(cluster, where, owner)
        return False
    owned, node = await asyncio.gather(
        _owned_gone(cluster, where, owner, None),
        _node_gone(cluster, where, owner) if handle.get("kind") == "node" else _yes(),
    )
    return owned and node


def belongs_to(item: Mapping[str, Any], pod_uid: str) -> bool:
    """Whether the Pod with that uid owns the object."""
    rows = nodes.part(item, "metadata").get("ownerReferences")
    return any(isinstance(row, dict) and row.get("uid") == pod_uid for row in rows or ())


async def _pod_gone(cluster: Cluster, where: Where, pod: Json) -> bool:
    uid = pod["metadata"].get("uid")
    await cluster.kube.delete(where.pod, uid=uid)
    there = await cluster.kube.find(where.pod, verb="terminate")
    if there is None or there["metadata"].get("uid") != uid:
        return True
    name = pods.node_name(there)
    if name is None or not there["metadata"].get("deletionTimestamp"):
        return False
    if await _is_there(cluster, f"/api/v1/nodes/{name}"):
        return False
    # Its kubelet, which alone could confirm the end, is gone with the node.
    await cluster.kube.delete(where.pod, uid=uid, force=True)
    return await cluster.kube.find(where.pod, verb="terminate") is None


async def _is_there(cluster: Cluster, where: str) -> bool:
    """Whether an object is there; what may not be looked at counts as there."""
    try:
        return await cluster.kube.find(where, verb="terminate") is not None
    except ProviderError as error:
        if error.code not in ("rbac", "forbidden-unclear"):
            raise
        return True


async def _owned_gone(cluster: Cluster, where: Where, owner: str, pod_uid: str | None) -> bool:
    """Service (with its address) and Secret. With *pod_uid*, only what that Pod owns is meant."""

    async def gone(path: str) -> bool:
        try:
            there = await cluster.kube.find(path, verb="terminate")
        except ProviderError as error:
            if error.code != "rbac" or await _could_make(cluster, where, path):
                raise
            # Who may neither see nor make it has none; a Pod's own go with it in any case.
            return True
        if there is None or not is_ours(there, owner, where.name):
            return True
        if pod_uid is not None and not belongs_to(there, pod_uid):
            return True
        uid = there["metadata"].get("uid")
        await cluster.kube.delete(path, uid=uid)
        # A load balancer's finalizer keeps the Service until the address is given back.
        left = await cluster.kube.find(path, verb="terminate")
        return left is None or left["metadata"].get("uid") != uid

    return all(await asyncio.gather(gone(where.service), gone(where.secret)))


async def _could_make(cluster: Cluster, where: Where, path: str) -> bool:
    kind = "services" if path == where.service else "secrets"
    return await cluster.kube.allowed("create", kind, namespace=where.namespace)


async def _node_gone(cluster: Cluster, where: Where, owner: str) -> bool:
    """The attempt's NodePool: to 0, wait until it is empty, delete, wait. Finalizers are never stripped."""
    pool = await cluster.kube.find(where.node_pool, verb="terminate")
    if pool is None:
        return not await _has_nodes(cluster, where)
    if not is_ours(pool, owner, where.name):
        return True
    for _ in range(_TRIES):
        if not _wants_nodes(pool):
            break
        await cluster.kube.patch(where.node_pool, _to_zero(pool), verb="terminate")
        # Lost a race or not, what counts is what is there now.
        found = await cluster.kube.find(where.node_pool, verb="terminate")
        if found is None:
            return not await _has_nodes(cluster, where)
        pool = found
    if _wants_nodes(pool) or pools.nodes(pool) or await _has_nodes(cluster, where):
        return False
    await cluster.kube.delete(where.node_pool, uid=pool["metadata"].get("uid"))
    return await cluster.kube.find(where.node_pool, verb="terminate") is None


def _wants_nodes(pool: Json) -> bool:
    return pools.target(pool) > 0 or nodes.part(pool, "spec").get("autoscaling") is True


def _to_zero(pool: Json) -> list[Json]:
    """A patch that only holds while nobody else has changed the pool's size (or made it anew)."""
    spec, uid = nodes.part(pool, "spec"), pool["metadata"].get("uid")
    tests: list[Json] = [{"op": "test", "path": "/metadata/uid", "value": uid}] if uid else []
    if "targetNodes" in spec:
        tests.append({"op": "test", "path": "/spec/targetNodes", "value": spec["targetNodes"]})
    changes: list[Json] = [
        {"op": "add", "path": "/spec/autoscaling", "value": False},
        {"op": "add", "path": "/spec/targetNodes", "value": 0},
    ]
    if spec.get("minNodes"):
        changes.append({"op": "replace", "path": "/spec/minNodes", "value": 0})
    return tests + changes


async def _has_nodes(cluster: Cluster, where: Where) -> bool:
    try:
        params = {"labelSelector": f"{NODE_POOL}={where.name}"}
        return bool(await cluster.kube.items("/api/v1/nodes", verb="terminate", params=params))
    except ProviderError as error:
        if error.code not in ("rbac", "forbidden-unclear"):
            raise
        return False  # the pool's own count has to do


async def _yes() -> bool:
    return True
