"""The objects of one lease: Pod, Secret, Service, and in managed mode a NodePool. All bear the attempt's token.

A bare Pod and no Deployment: a controller would make it anew elsewhere, with an empty disk, and fight failover.
The Pod comes first and owns the rest, so that Kubernetes itself clears up after it, whatever becomes of us; its
containers wait for the Secret.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import Any

from providers.base import LaunchSpec, Offer
from providers.coreweave.bootstrap import SECRETS, STATE, WORK, script
from providers.coreweave.config import Config
from providers.errors import InvalidRequest

Json = dict[str, Any]

MANAGED_BY, MANAGED_BY_VALUE = "app.kubernetes.io/managed-by", "orch"
OWNER, LEASE, TOKEN = "orch.dev/owner", "orch.dev/lease", "orch.dev/token"
#: On NodePools, which are in no namespace themselves: where the Pod is that they are for.
NAMESPACE = "orch.dev/namespace"
REQUEST_HASH, KIND, OFFER = "orch.dev/request-hash", "orch.dev/kind", "orch.dev/offer"
INSTANCE_TYPE = "node.kubernetes.io/instance-type"
PRODUCT = "nvidia.com/gpu.product"
REGION = "topology.kubernetes.io/region"
NODE_POOL = "compute.coreweave.com/node-pool"
GPU = "nvidia.com/gpu"
LB_TYPE = "service.beta.kubernetes.io/coreweave-load-balancer-type"

#: Taints that GPU nodes may carry. `node.coreweave.cloud/reserved` is never tolerated.
TOLERATED = ("nvidia.com/gpu", "is_gpu")
DEFAULT_IMAGE = "docker.io/library/ubuntu:24.04"
GRACE_S = 30
#: Longer than we wait for a place: a Pod for idle GPUs must never make an autoscaler add a node.
SCALE_UP_DELAY = "3600s"

_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*", re.ASCII)
_PORT = re.compile(r"(\d{1,5})/(tcp|udp|http|https)", re.ASCII)


def selector(owner: str) -> str:
    """The label selector for everything that this installation made."""
    return f"{MANAGED_BY}={MANAGED_BY_VALUE},{OWNER}={owner}"


def labels(spec: LaunchSpec, token: str) -> dict[str, str]:
    """Our mark."""
    return {MANAGED_BY: MANAGED_BY_VALUE, OWNER: spec.owner, LEASE: spec.lease, TOKEN: token}


def is_ours(item: Any, owner: str, token: str | None = None) -> bool:
    """Whether an object bears this installation's mark, and that token if one is given."""
    metadata = item.get("metadata") if isinstance(item, dict) else None
    found = metadata.get("labels") if isinstance(metadata, dict) else None
    if not isinstance(found, dict):
        return False
    marked = found.get(MANAGED_BY) == MANAGED_BY_VALUE and found.get(OWNER) == owner
    return marked and (token is None or found.get(TOKEN) == token)


def pod(offer: Offer, spec: LaunchSpec, token: str, config: Config, now: datetime) -> Json:
    """The Pod that rents exactly *offer*.

    Raises:
        InvalidRequest: a variable's name or a port cannot be sent, or the offer is none of ours.
    """
    native = offer.native
    if "kind" not in native or "namespace" not in native:
        raise InvalidRequest(f"offer {offer.offer_id!r} does not say what to rent", code="no-native")
    body: Json = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": GRACE_S,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "affinity": _affinity(offer, token),
        "tolerations": _tolerations(offer, token, config),
        "containers": [_container(offer, spec)],
        "volumes": [
            {"name": "ssh", "secret": {"secretName": token, "defaultMode": 0o400}},
            {"name": "state", "emptyDir": {}},
            {"name": "work", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{_shm_gib(offer)}Gi"}},
        ],
    }
    if spec.ends_at is not None:
        body["activeDeadlineSeconds"] = max(60, int((spec.ends_at - now).total_seconds()))
    if config.pull_secret:
        body["imagePullSecrets"] = [{"name": config.pull_secret}]
    if config.runtime_class:
        body["runtimeClassName"] = config.runtime_class
    annotations = {
        REQUEST_HASH: request_hash(offer, spec),
        OFFER: offer.offer_id,
        KIND: str(native["kind"]),
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "cluster-autoscaler.kubernetes.io/pod-scale-up-delay": SCALE_UP_DELAY,
    }
    metadata: Json = {"name": token, "labels": labels(spec, token), "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body}


def secret(spec: LaunchSpec, token: str, pod_uid: str, host_key: str | None) -> Json:
    """What the container reads at its start: key, host key, script, and the user's command."""
    data = {"authorized_keys": spec.ssh_public_key.strip() + "\n", "start": script()}
    if host_key:
        data["ssh_host_ed25519_key"] = host_key
    if spec.cmd:
        data["command"] = spec.cmd
    metadata = {"name": token, "labels": labels(spec, token), "ownerReferences": [_owned_by(token, pod_uid)]}
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "stringData": data}


def service(offer: Offer, spec: LaunchSpec, token: str, pod_uid: str, config: Config) -> Json:
    """The way in: SSH and the user's ports."""
    ports: list[Json] = [{"name": "ssh", "port": 22, "targetPort": 22, "protocol": "TCP"}]
    ports += [
        {"name": f"p{number}-{protocol.lower()}", "port": number, "targetPort": number, "protocol": protocol}
        for number, protocol in _ports(spec)
    ]
    body: Json = {
        "type": config.service,
        # The client's own address is seen, and a node port answers on the Pod's own node.
        "externalTrafficPolicy": "Local",
        "selector": {TOKEN: token, OWNER: spec.owner},
        "ports": ports,
    }
    metadata: Json = {"name": token, "labels": labels(spec, token), "ownerReferences": [_owned_by(token, pod_uid)]}
    if config.service == "LoadBalancer":
        if config.source_ranges:
            body["loadBalancerSourceRanges"] = list(config.source_ranges)
        if offer.native.get("coreweave"):
            # Without it CoreWeave hands out an address inside the VPC only.
            metadata["annotations"] = {LB_TYPE: "public"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": body}


def node_pool(offer: Offer, spec: LaunchSpec, token: str, compute_class: str) -> Json:
    """A pool of one node for this attempt alone, so that its end can be told from every other node's.

    The taint keeps other Pods out: the node is paid for by this lease, and a stranger on it would keep it alive.
    Where the lease has an end time, CoreWeave's autoscaler takes the empty node away even if we do not.
    """
    body: Json = {
        "instanceType": offer.instance_type,
        "computeClass": compute_class,
        "targetNodes": 1,
        "autoscaling": spec.ends_at is not None,
        "nodeLabels": {"orch.dev/managed": "true", TOKEN: token},
        "nodeTaints": [{"key": TOKEN, "value": token, "effect": "NoSchedule"}],
    }
    if spec.ends_at is not None:
        body |= {"minNodes": 0, "maxNodes": 1}
    marks = {**labels(spec, token), "orch.dev/managed": "true", NAMESPACE: str(offer.native["namespace"])}
    metadata = {"name": token, "labels": marks}
    return {
        "apiVersion": "compute.coreweave.com/v1alpha1",
        "kind": "NodePool",
        "metadata": metadata,
        "spec": body,
    }


def namespace(name: str) -> Json:
    """Our namespace. It is never removed: it costs nothing, and others may use it."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {MANAGED_BY: "orch"}}}


def request_hash(offer: Offer, spec: LaunchSpec) -> str:
    """For people who compare: the same request has the same hash."""
    words = [offer.offer_id, spec.image, spec.cmd, sorted(spec.env.items()), spec.ports, spec.ssh_public_key]
    return "sha256:" + hashlib.sha256(json.dumps(words).encode()).hexdigest()


def _container(offer: Offer, spec: LaunchSpec) -> Json:
    gpus = str(offer.gpu_count)
    sizes = {name: str(offer.native[name]) for name in ("cpu", "memory", "cpu_request", "memory_request")}
    return {
        "name": "main",
        "image": spec.image or DEFAULT_IMAGE,
        "command": ["/bin/sh", f"{SECRETS}/start"],
        "env": _environment(spec),
        "ports": [
            {"name": "ssh", "containerPort": 22, "protocol": "TCP"},
            *({"containerPort": number, "protocol": protocol} for number, protocol in _ports(spec)),
        ],
        "readinessProbe": {"tcpSocket": {"port": 22}, "periodSeconds": 5},
        # Installing packages and logging in as root need it, whatever the image's own user is.
        "securityContext": {"runAsUser": 0},
        "resources": {
            "limits": {GPU: gpus, "cpu": sizes["cpu"], "memory": sizes["memory"]},
            "requests": {GPU: gpus, "cpu": sizes["cpu_request"], "memory": sizes["memory_request"]},
        },
        "volumeMounts": [
            {"name": "ssh", "mountPath": SECRETS, "readOnly": True},
            {"name": "state", "mountPath": STATE},
            {"name": "work", "mountPath": WORK},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - the container's shared memory
        ],
    }


def _environment(spec: LaunchSpec) -> list[Json]:
    for name in spec.env:
        if not _VARIABLE.fullmatch(name):
            raise InvalidRequest(f"{name!r} cannot be the name of a variable", code="bad-variable")
    # Without it NVIDIA's runtime brings nvidia-smi and no CUDA into images that do not ask.
    every = {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility", **spec.env}
    # Kubernetes reads $(NAME) in values; $$ stands for one $.
    return [{"name": name, "value": value.replace("$", "$$")} for name, value in every.items()]


def _affinity(offer: Offer, token: str) -> Json:
    wanted: list[tuple[str, str]] = []
    if offer.instance_type:
        wanted.append((INSTANCE_TYPE, offer.instance_type))
    if product := offer.native.get("product"):
        wanted.append((PRODUCT, str(product)))
    if region := offer.native.get("node_region"):
        wanted.append((REGION, str(region)))
    if offer.native["kind"] == "node":
        wanted.append((NODE_POOL, token))
    if not wanted:
        raise InvalidRequest(f"offer {offer.offer_id!r} names no nodes", code="no-native")
    terms = [{"key": key, "operator": "In", "values": [value]} for key, value in wanted]
    required = {"nodeSelectorTerms": [{"matchExpressions": terms}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def _tolerations(offer: Offer, token: str, config: Config) -> list[Json]:
    found: list[Json] = [{"key": key, "operator": "Exists"} for key in (*TOLERATED, *config.tolerations)]
    if offer.native["kind"] == "node":
        found.append({"key": TOKEN, "operator": "Equal", "value": token, "effect": "NoSchedule"})
    return found


def _ports(spec: LaunchSpec) -> list[tuple[int, str]]:
    found: dict[tuple[int, str], None] = {}
    for word in spec.ports:
        match = _PORT.fullmatch(word)
        if match is None or not 0 < int(match[1]) < 65536:
            raise InvalidRequest(f"port {word!r} is not like 8080/http or 9000/tcp", code="bad-port")
        found[int(match[1]), "UDP" if match[2] == "udp" else "TCP"] = None
    found.pop((22, "TCP"), None)
    return list(found)


def _shm_gib(offer: Offer) -> int:
    """Shared memory: PyTorch's loaders want much of it. It counts towards the container's memory limit."""
    return max(1, min(16 * offer.gpu_count, int((offer.memory_gib or 4) / 2)))


def _owned_by(name: str, uid: str) -> Json:
    return {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid, "blockOwnerDeletion": False}
