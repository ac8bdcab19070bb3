"""What the API server adds to a new object, and what it then demands of it."""

from __future__ import annotations

import base64
import re
from decimal import Decimal
from typing import Any

import providers.coreweave.emulator_pod_rules as pods
import providers.coreweave.emulator_quantity as quantity
import providers.coreweave.emulator_rules as rules
from providers.coreweave.emulator_cluster import Cluster
from providers.coreweave.emulator_resources import (
    CONFIG_MAPS,
    NAMESPACES,
    NODES,
    PODS,
    POOLS,
    QUOTAS,
    SECRETS,
    SERVICES,
    Resource,
)
from providers.coreweave.emulator_status import Cause, forbidden

Json = dict[str, Any]

_NODE_INFO = [
    "machineID",
    "systemUUID",
    "bootID",
    "kernelVersion",
    "osImage",
    "containerRuntimeVersion",
    "kubeletVersion",
    "kubeProxyVersion",
    "operatingSystem",
    "architecture",
]


def filled(cluster: Cluster, resource: Resource, thing: Json) -> Json:
    """A new object with what the server adds to it."""
    if resource is PODS:
        return pods.fill(thing)
    if resource is SERVICES:
        return _filled_service(cluster, thing)
    if resource is SECRETS:
        thing.setdefault("type", "Opaque")
        plain = thing.pop("stringData", None) or {}
        coded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
        if coded or "data" in thing:
            thing["data"] = {**(thing.get("data") or {}), **coded}
    if resource is NAMESPACES:
        thing |= {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    if resource is NODES:
        spec = thing.setdefault("spec", {})
        spec["taints"] = [
            *(spec.get("taints") or []),
            {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"},
        ]
        info = dict.fromkeys(_NODE_INFO, "")
        thing["status"] = {"daemonEndpoints": {"kubeletEndpoint": {"Port": 0}}, "nodeInfo": info}
    if resource is QUOTAS:
        thing["status"] = {}
    if resource.custom:
        thing["metadata"]["generation"] = 1
        thing.pop("status", None)
    return thing


def _filled_service(cluster: Cluster, thing: Json) -> Json:
    spec, dice = thing.setdefault("spec", {}), cluster.world.random
    kind = spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if kind != "ExternalName" and spec.get("clusterIP") is None:
        spec["clusterIP"] = f"10.96.{dice.randint(0, 255)}.{dice.randint(1, 254)}"
    if "clusterIP" in spec:
        spec["clusterIPs"] = [spec["clusterIP"]]
    open_ports = kind in ("LoadBalancer", "NodePort")
    for port in spec.get("ports") or []:
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
        if open_ports:
            port.setdefault("nodePort", dice.randint(30000, 32767))
    if open_ports and spec.setdefault("externalTrafficPolicy", "Cluster") == "Local" and kind == "LoadBalancer":
        spec.setdefault("healthCheckNodePort", dice.randint(30000, 32767))
    return {**thing, "status": {"loadBalancer": {}}}


def causes(cluster: Cluster, resource: Resource, thing: Json) -> list[Cause]:
    """What is wrong with an object that was filled in, beside its metadata."""
    if resource is PODS:
        return pods.check(thing)
    if resource is SERVICES:
        return rules.service(thing)
    if resource in (SECRETS, CONFIG_MAPS):
        return rules.secret(thing)
    if resource is POOLS:
        return rules.pool(thing, cluster.options.spot_word)
    return rules.node(thing) if resource is NODES else []


def check_quota(cluster: Cluster, pod: Json) -> None:
    """Hold a new Pod against the quotas of its namespace.

    Raises:
        Refused: 403, with `exceeded quota:` in the message.
    """
    asked = {f"requests.{name}": amount for name, amount in quantity.requests(pod["spec"]).items()} | {
        "pods": Decimal(1),
        "count/pods": Decimal(1),
    }
    asked |= {name: asked[f"requests.{name}"] for name in ("cpu", "memory") if f"requests.{name}" in asked}
    name = pod["metadata"]["name"]
    for quota in cluster.store.all(QUOTAS, pod["metadata"]["namespace"]):
        hard, used = quota["status"].get("hard") or {}, quota["status"].get("used") or {}
        over = [
            key
            for key, limit in hard.items()
            if key in asked and quantity.parse(used.get(key, 0)) + asked[key] > quantity.parse(limit)
        ]
        if over:
            rows = [",".join(f"{key}={_amount(table.get(key, 0))}" for key in over) for table in (asked, used, hard)]
            why = f"requested: {rows[0]}, used: {rows[1]}, limited: {rows[2]}"
            raise forbidden("pods", "", name, f"exceeded quota: {quota['metadata']['name']}, {why}")


def _amount(value: object) -> str:
    text = quantity.text(value) if isinstance(value, Decimal) else str(value)
    return re.sub(r"\.0+$", "", text)
