"""What the emulated CoreWeave has: instance types with prices and quotas, and the cluster as it is at the start."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

Json = dict[str, Any]

_FILE = Path(__file__).with_name("market.toml")
_MONTH_H = Decimal(730)
#: Of a node's memory, what the kubelet reports: 1 024 GB nodes showed 1 055 335 508 Ki.
_KI_PER_GB = 1_030_601


@dataclass(frozen=True, slots=True)
class Shape:
    """An instance type: one whole bare-metal node.

    Attributes:
        device, device_mib: what `nvidia-smi` prints on it; empty on CPU nodes.
        gpu_class, gpu_model: node labels of NVIDIA's.
        usd_per_hour: of the whole node.
        quota: nodes that the organisation may have on demand; None: no end.
        stock: nodes that the zone can still give; None: no end.
    """

    id: str
    gpus: int
    vcpu: int
    memory_gb: int
    usd_per_hour: Decimal
    device: str = ""
    device_mib: int = 0
    gpu_class: str = ""
    gpu_model: str = ""
    arch: str = "amd64"
    quota: int | None = None
    stock: int | None = None

    def capacity(self) -> Json:
        """The node's `status.capacity`."""
        memory = f"{self.memory_gb * _KI_PER_GB}Ki"
        capacity = {"cpu": str(self.vcpu), "memory": memory, "pods": "110", "ephemeral-storage": "15Gi"}
        return {**capacity, "nvidia.com/gpu": str(self.gpus)} if self.gpus else capacity

    def allocatable(self) -> Json:
        """What Pods may use of it."""
        return {**self.capacity(), "cpu": str(self.vcpu - 1), "memory": f"{self.memory_gb * _KI_PER_GB * 99 // 100}Ki"}

    def labels(self, zone: str, region: str, org: str) -> Json:
        """The labels that CoreWeave puts on such a node."""
        found = {
            "beta.kubernetes.io/instance-type": self.id,
            "node.kubernetes.io/instance-type": self.id,
            "kubernetes.io/arch": self.arch,
            "kubernetes.io/os": "linux",
            "node.coreweave.cloud/class": "gpu" if self.gpus else "cpu",
            "node.coreweave.cloud/type": self.id,
            "node.coreweave.cloud/state": "production",
            "node.coreweave.cloud/cluster": "sandbox",
            "topology.kubernetes.io/region": region,
            "topology.kubernetes.io/zone": zone,
            "cks.coreweave.com/org-id": org,
        }
        if self.gpus:
            found |= {
                "gpu.nvidia.com/class": self.gpu_class,
                "gpu.nvidia.com/model": self.gpu_model,
                "gpu.nvidia.com/count": str(self.gpus),
                "gpu.nvidia.com/vram": str(self.device_mib // 1000),
            }
        return found


@dataclass(slots=True)
class Market:
    """The market file.

    Attributes:
        shapes: instance types by id.
        pools, nodes, pods: rows of what is there at the start.
    """

    zone: str
    region: str
    org: str
    address_usd_per_hour: Decimal
    shapes: dict[str, Shape]
    pools: list[Json] = field(default_factory=list)
    nodes: list[Json] = field(default_factory=list)
    pods: list[Json] = field(default_factory=list)

    @classmethod
    def read(cls, rows: Json | None) -> Market:
        """The market file's content for CoreWeave, or None for the file beside this module."""
        rows = tomllib.loads(_FILE.read_text("utf-8")) if rows is None else rows
        monthly = Decimal(str(rows.get("address_usd_per_month", "0")))
        return cls(
            zone=rows.get("zone", "US-EAST-04A"),
            region=rows.get("region", "US-EAST-04"),
            org=rows.get("org", "a4cd2e"),
            address_usd_per_hour=(monthly / _MONTH_H).quantize(Decimal("0.000001")),
            shapes={row["id"]: _shape(row) for row in rows.get("types", [])},
            pools=list(rows.get("pools", [])),
            nodes=list(rows.get("nodes", [])),
            pods=list(rows.get("pods", [])),
        )


def _shape(row: Json) -> Shape:
    names = Shape.__dataclass_fields__.keys() - {"usd_per_hour"}
    known = {key: value for key, value in row.items() if key in names}
    return Shape(**known, usd_per_hour=Decimal(str(row["usd_per_hour"])))
