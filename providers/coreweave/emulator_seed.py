"""The cluster as it is at the start, and what others rent in it."""

from __future__ import annotations

import uuid
from typing import Any

import providers.coreweave.emulator_pod_rules as pods
import providers.coreweave.emulator_quantity as quantity
from providers.coreweave.emulator_cluster import Cluster, Fate
from providers.coreweave.emulator_market import Market
from providers.coreweave.emulator_pools import FINALIZER, Pools, State
from providers.coreweave.emulator_resources import ACCOUNTS, NAMESPACES, NODES, PODS, POOLS
from providers.coreweave.emulator_scheduler import put_condition

Json = dict[str, Any]

_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system", "cw-hpc-verification")
_IMAGE = "docker.io/library/ubuntu:24.04"


def fixed_id(market: Market, name: str) -> str:
    """The uid of something that is in the cluster from the start: the same for the same organisation and zone."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://cks.invalid/{market.org}/{market.zone}/{name}"))


def fill(cluster: Cluster, pools: Pools) -> None:
    """Make what the market file says is there."""
    for name in _NAMESPACES:
        add_namespace(cluster, name)
    for row in cluster.market.pools:
        _add_pool(cluster, pools, row)
    for row in cluster.market.nodes:
        pool = cluster.store.find(POOLS, "", row["pool"])
        if pool is None:
            raise ValueError(f"the market's node {row['name']!r} is of a pool that is not there: {row['pool']!r}")
        add_node(cluster, pools, pool, row)
    for row in cluster.market.pods:
        for number in range(row.get("count", 1)):
            _add_tenant(cluster, row, f"{row['name']}-{number}")


def add_namespace(cluster: Cluster, name: str) -> None:
    """Make a namespace with its service account, if it is not there."""
    if cluster.store.find(NAMESPACES, "", name) is None:
        metadata = {"name": name, "uid": fixed_id(cluster.market, name)}
        body = {"metadata": metadata, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
        cluster.add(NAMESPACES, body)
        cluster.add(ACCOUNTS, {"metadata": {"name": "default", "namespace": name}})


def _add_pool(cluster: Cluster, pools: Pools, row: Json) -> None:
    marks = {"orch.dev/managed": "true"} if row.get("managed") else {}
    spec: Json = {
        "computeClass": row.get("class", "default"),
        "instanceType": row["type"],
        "autoscaling": row.get("autoscaling", False),
        "targetNodes": row.get("nodes", 0),
        "lifecycle": {"scaleDownStrategy": row.get("strategy", "IdleOnly")},
    }
    spec |= {key: row[key] for key in ("minNodes", "maxNodes", "nodeTaints") if key in row}
    spec |= {"nodeLabels": {**marks, **row.get("nodeLabels", {})}} if marks or "nodeLabels" in row else {}
    metadata: Json = {"name": row["name"], "uid": fixed_id(cluster.market, row["name"]), "generation": 1}
    metadata |= {"finalizers": [FINALIZER], **({"labels": marks} if marks else {})}
    pool = cluster.add(POOLS, {"metadata": metadata, "spec": spec})
    pools.states[pool["metadata"]["uid"]] = State(prepaid=row.get("nodes", 0))


def add_node(cluster: Cluster, pools: Pools, pool: Json, row: Json) -> Json:
    """Make a node that is paid for by some other contract."""
    shape = cluster.market.shapes[pool["spec"]["instanceType"]]
    node = pools.fresh_node(pool, shape, row["name"])
    node["metadata"]["uid"] = fixed_id(cluster.market, row["name"])
    node["metadata"]["labels"] |= {
        "node.coreweave.cloud/state": row.get("state", "production"),
        **row.get("labels", {}),
    }
    taints = [*(node["spec"].get("taints") or []), *row.get("taints", [])]
    node["spec"] |= {"taints": [dict(taint) for taint in taints]} if taints else {}
    node["spec"] |= {"unschedulable": True} if row.get("cordoned") else {}
    return cluster.add(NODES, node)


def _add_tenant(cluster: Cluster, row: Json, name: str) -> None:
    add_namespace(cluster, row["namespace"])
    pod = run_pod(cluster, row["namespace"], name, row["node"], row["gpus"], {}, row.get("priority", 0))
    cluster.fates[pod["metadata"]["uid"]] = Fate(
        pod["metadata"]["uid"], row["namespace"], name, cluster.now, tracked=False, step="ready"
    )


def run_pod(cluster: Cluster, namespace: str, name: str, node: str, gpus: int, labels: Json, priority: int = 0) -> Json:
    """Make a Pod that runs on a node already."""
    limits = {"nvidia.com/gpu": str(gpus), "cpu": str(4 * gpus), "memory": f"{32 * gpus}Gi"}
    container = {"name": "main", "image": _IMAGE, "command": ["sleep", "infinity"], "resources": {"limits": limits}}
    spec = {"nodeName": node, "priority": priority, "containers": [container]}
    marks = {"labels": labels} if labels else {}
    pod = pods.fill({"metadata": {"name": name, "namespace": namespace, **marks}, "spec": spec})
    status = pod["status"]
    for kind in ("PodScheduled", "Initialized", "Ready", "ContainersReady"):
        put_condition(status, cluster, kind, "True")
    row = {"name": "main", "ready": True, "started": True, "restartCount": 0, "image": _IMAGE, "imageID": ""}
    status |= {
        "phase": "Running",
        "startTime": cluster.stamp(),
        "podIP": "10.0.0.2",
        "podIPs": [{"ip": "10.0.0.2"}],
        "containerStatuses": [{**row, "state": {"running": {"startedAt": cluster.stamp()}}, "lastState": {}}],
    }
    return cluster.add(PODS, pod)


def plant(cluster: Cluster, pools: Pools, name: str, owner: str | None) -> Fate:
    """Make a running Pod that somebody else rented, on a node that is paid for."""
    namespace = "team-a" if owner is None else "orch"
    add_namespace(cluster, namespace)
    labels: Json = {}
    if owner is not None:
        parts = name.split("-")
        lease = parts[2] if len(parts) == 4 else name
        labels = {"app.kubernetes.io/managed-by": "orch", "orch.dev/lease": lease, "orch.dev/owner": owner}
    node = _free_node(cluster) or _one_more(cluster, pools)
    pod = run_pod(cluster, namespace, name, node["metadata"]["name"], 1, labels)
    shape = cluster.shape_of(node)
    offer = "" if shape is None else shape.id
    meta = pod["metadata"]
    fate = Fate(meta["uid"], namespace, name, cluster.now, step="ready", offer=offer, subject=f"{name} {offer}")
    cluster.fates[fate.uid] = fate
    cluster.open_pod(fate)
    return fate


def _free_node(cluster: Cluster) -> Json | None:
    for node in cluster.store.all(NODES):
        name = node["metadata"]["name"]
        shape = cluster.shape_of(node)
        if name in cluster.payers or node["spec"].get("unschedulable") or node["spec"].get("taints"):
            continue
        if shape is not None and shape.gpus > sum(quantity.gpus(pod["spec"]) for pod in cluster.pods_on(name)):
            return node
    return None


def _one_more(cluster: Cluster, pools: Pools) -> Json:
    shapes = [shape.id for shape in cluster.market.shapes.values() if shape.gpus]
    if not shapes:
        raise ValueError("the market has no instance type with GPUs to plant on")
    number = len(cluster.store.all(NODES))
    row: Json = {"name": f"planted-{number}", "type": shapes[0], "nodes": 1}
    _add_pool(cluster, pools, row)
    pool = cluster.store.edit(POOLS, "", row["name"])
    return add_node(cluster, pools, pool, {"name": f"gplanted{number}"})
