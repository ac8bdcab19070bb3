"""Nodes and what is idle on them: allocatable GPUs less those of the Pods that are there.

GPU nodes are told by their `nvidia.com/gpu` resource, so this works on any cluster with NVIDIA's device plugin. The
model comes from CoreWeave's instance type, else from the labels of GPU feature discovery. Nodes whose GPUs are
shared or cut (time slicing, MPS, MIG) are left out: a slice is not the GPU that is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from providers import gpus
from providers.coreweave.catalog import TYPES
from providers.coreweave.config import Config
from providers.coreweave.manifests import GPU, INSTANCE_TYPE, PRODUCT, REGION, TOLERATED
from providers.coreweave.quantities import amount, parse

#: Low-priority test Pods of CoreWeave's own, which make room for anybody.
IGNORED_NAMESPACES = frozenset({"cw-hpc-verification"})
_ARCH = {"amd64": "x86_64", "arm64": "arm64"}
_COREWEAVE = ("node.coreweave.cloud/", "compute.coreweave.com/", "cks.coreweave.com/")
_OVER = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Kind:
    """What nodes have in common that a Pod can be sent to: the unit of an offer.

    The zone is no part of it: nothing sends a Pod to one, and an offer for each would have the same id.
    """

    gpu: str
    instance_type: str | None
    product: str | None
    region: str | None
    arch: str | None
    coreweave: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One GPU node.

    Attributes:
        usable: Ready, open for Pods of ours, and not in repair.
        gpus, cpu, memory, storage: allocatable; bytes for the last two.
        free_gpus, free_cpu, free_memory: of these not spoken for; None where Pods may not be listed.
    """

    name: str
    kind: Kind
    zone: str | None
    usable: bool
    gpus: int
    cpu: Decimal
    memory: Decimal
    storage: Decimal | None
    free_gpus: int | None
    free_cpu: Decimal | None
    free_memory: Decimal | None


def read(nodes: Iterable[Any], pods: Iterable[Any] | None, config: Config) -> list[Node]:
    """Every whole-GPU node. *pods* are those of all namespaces; None if they may not be listed."""
    used = None if pods is None else _used(pods)
    found = []
    for item in nodes:
        name = item["metadata"]["name"]
        have = part(item, "status").get("allocatable")
        count, kind = int(amount(have, GPU)), kind_of(item)
        if count < 1 or kind is None:
            continue
        cpu, memory = amount(have, "cpu"), amount(have, "memory")
        taken = (used or {}).get(name, _Used())
        found.append(
            Node(
                name=name,
                kind=kind,
                zone=labels_of(item).get("topology.kubernetes.io/zone"),
                usable=is_ready(item) and is_open(item, config),
                gpus=count,
                cpu=cpu,
                memory=memory,
                storage=parse(have.get("ephemeral-storage")) if isinstance(have, dict) else None,
                free_gpus=None if used is None else max(0, count - int(taken.gpus)),
                free_cpu=None if used is None else cpu - taken.cpu,
                free_memory=None if used is None else memory - taken.memory,
            )
        )
    return found


def kind_of(node: Mapping[str, Any]) -> Kind | None:
    """What sort of node it is; None if its GPU is shared, cut, or said nowhere."""
    labels = labels_of(node)
    instance_type, product = labels.get(INSTANCE_TYPE), labels.get(PRODUCT)
    if _is_shared(labels, product):
        return None
    known = TYPES.get(instance_type or "")
    gpu = known.gpu if known else _named(labels)
    if gpu is None or (instance_type is None and product is None):
        return None
    coreweave = known is not None or any(key.startswith(_COREWEAVE) for key in labels)
    arch = labels.get("kubernetes.io/arch")
    return Kind(
        gpu,
        instance_type,
        # CoreWeave's type says it all, and an empty pool's autoscaler knows no other label.
        None if coreweave and instance_type else product,
        labels.get(REGION),
        _ARCH.get(arch, arch) if arch else (known.arch if known else "x86_64"),
        coreweave,
    )


def is_ready(node: Mapping[str, Any]) -> bool:
    """Whether its kubelet says Ready."""
    return (condition(node, "Ready") or {}).get("status") == "True"


def condition(item: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """One of an object's conditions."""
    rows = part(item, "status").get("conditions")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and row.get("type") == name:
            return row
    return None


def is_open(node: Mapping[str, Any], config: Config) -> bool:
    """Whether our Pods may go there: not cordoned, not in repair, no taint that they do not tolerate."""
    spec = part(node, "spec")
    if spec.get("unschedulable") or node["metadata"].get("deletionTimestamp"):
        return False
    if labels_of(node).get("node.coreweave.cloud/state", "production") != "production":
        return False
    tolerated = {*TOLERATED, *config.tolerations}
    taints = [taint for taint in spec.get("taints") or () if isinstance(taint, dict)]
    return all(taint.get("effect") == "PreferNoSchedule" or taint.get("key") in tolerated for taint in taints)


def part(item: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object's `spec`, `status` or `metadata`; empty where it is missing or no object."""
    value = item.get(name)
    return value if isinstance(value, dict) else {}


def labels_of(item: Mapping[str, Any]) -> dict[str, str]:
    """An object's labels."""
    labels = item["metadata"].get("labels")
    return {str(key): str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}


def _is_shared(labels: Mapping[str, str], product: str | None) -> bool:
    if labels.get("nvidia.com/gpu.sharing-strategy", "none") not in ("none", ""):
        return True
    return product is not None and ("-MIG-" in product or product.endswith("-SHARED"))


def _named(labels: Mapping[str, str]) -> str | None:
    mib = parse(labels.get("nvidia.com/gpu.memory"))
    memory = float(mib) / 1024 if mib else None
    texts = [labels[key] for key in (PRODUCT, "gpu.nvidia.com/model", "gpu.nvidia.com/class") if labels.get(key)]
    for text in texts:
        # H100_NVLINK_80GB is what CoreWeave calls an SXM board.
        if name := gpus.canonical(re.sub("nvlink", "sxm", text, flags=re.IGNORECASE), memory):
            return name
    return gpus.slug(texts[0]) if texts else None


@dataclass(slots=True)
class _Used:
    gpus: Decimal = Decimal(0)
    cpu: Decimal = Decimal(0)
    memory: Decimal = Decimal(0)


def _used(pods: Iterable[Any]) -> dict[str, _Used]:
    """What is spoken for, by node. Terminating Pods still hold what they have."""
    found: dict[str, _Used] = {}
    for pod in pods:
        spec = part(pod, "spec")
        node, over = spec.get("nodeName"), part(pod, "status").get("phase") in _OVER
        if not node or over or pod["metadata"].get("namespace") in IGNORED_NAMESPACES:
            continue
        total = found.setdefault(node, _Used())
        for name, resource in (("gpus", GPU), ("cpu", "cpu"), ("memory", "memory")):
            setattr(total, name, getattr(total, name) + _asked(spec, resource))
    return found


def _asked(spec: Mapping[str, Any], resource: str) -> Decimal:
    """What a Pod keeps of a node: the sum of its containers, or its greediest first step."""

    def each(key: str) -> list[Decimal]:
        containers = spec.get(key)
        return [_request(one, resource) for one in containers if isinstance(one, dict)] if containers else []

    return max([sum(each("containers"), Decimal(0)), *each("initContainers")])


def _request(container: Mapping[str, Any], resource: str) -> Decimal:
    resources = container.get("resources")
    if not isinstance(resources, dict):
        return Decimal(0)
    # A limit without a request is a request, too; for GPUs both are the same.
    return amount(resources.get("requests"), resource) or amount(resources.get("limits"), resource)
