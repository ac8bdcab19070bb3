"""RunPod's market as the emulator keeps it: prices, data centres, and how many GPUs are free where.

Read from `market.toml` beside this file, or from the part of a sandbox's market that is named ``runpod``.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

_HERE = Path(__file__).with_name("market.toml")
_GB_MONTH_H = 730  # hours in a month, for prices per GB and month


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU type. Prices are USD per GPU and hour; None where that cloud does not offer it.

    Attributes:
        stock: free GPUs by data centre (SECURE) or by country (COMMUNITY), when nobody here has rented any.
        cuda: CUDA versions of its hosts, and whether hosts with that version have anything free.
        reported_mib: what `nvidia-smi` prints as the memory of one.
    """

    id: str
    name: str
    manufacturer: str
    memory_gb: int
    reported_mib: int
    pool: str | None
    usd: dict[str, Decimal]
    serverless_usd: Decimal | None
    max_count: dict[str, int]
    stock: dict[str, dict[str, int]]
    cuda: dict[str, bool]


@dataclass(frozen=True, slots=True)
class DataCenter:
    """One data centre of the SECURE cloud."""

    id: str
    name: str
    country: str
    region: str
    global_network: bool
    volumes: tuple[str, ...] = ()
    compliance: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wire:
    """How this RunPod behaves where documents and recordings differ; times in seconds. See `market.toml`."""

    boot_s: float = 45.0
    provision_s: float = 2.0
    restart_s: float = 10.0
    lifecycle: str = "recorded"
    stopped_cost: str = "documented"
    logs_open_s: float = 2.0


@dataclass(slots=True)
class Market:
    """All of it. `factors` and `gone` are what faults changed, `rented` what pods take."""

    gpus: dict[str, Gpu]
    data_centers: dict[str, DataCenter]
    limits: dict[str, int]
    storage: dict[str, Decimal]
    balance_usd: Decimal
    wire: Wire
    factors: dict[str, Decimal] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    rented: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    @classmethod
    def read(cls, part: dict[str, Any] | None = None) -> Market:
        """The market in *part*, or the one in the file beside this module."""
        raw = part or tomllib.loads(_HERE.read_text(encoding="utf-8"))
        centers = [
            DataCenter(**{**row, "volumes": _tuple(row, "volumes"), "compliance": _tuple(row, "compliance")})
            for row in raw["data_centers"]
        ]
        return cls(
            gpus={row["id"]: _gpu(row) for row in raw["gpus"]},
            data_centers={center.id: center for center in centers},
            limits=raw.get("limits", {}),
            storage={name: Decimal(usd) for name, usd in raw["storage"].items()},
            balance_usd=Decimal(raw["account"]["balance_usd"]),
            wire=Wire(**raw.get("wire", {})),
        )

    def listed(self) -> list[Gpu]:
        """What the catalogue shows."""
        return [gpu for gpu in self.gpus.values() if gpu.id not in self.gone]

    def find(self, gpu_id: str) -> Gpu | None:
        """A listed GPU type."""
        return None if gpu_id in self.gone else self.gpus.get(gpu_id)

    def usd(self, gpu: Gpu, cloud: str) -> Decimal | None:
        """Today's price of one GPU for an hour, or None where that cloud does not offer it."""
        price = gpu.usd.get(cloud)
        return None if price is None else price * self.factors.get(f"{gpu.id} {cloud}", Decimal(1))

    def raise_price(self, gpu_id: str, cloud: str, factor: Decimal) -> None:
        """From now on that GPU costs *factor* times as much in that cloud."""
        key = f"{gpu_id} {cloud}"
        self.factors[key] = self.factors.get(key, Decimal(1)) * factor

    def free(self, gpu: Gpu, cloud: str, place: str) -> int:
        """GPUs free at *place* (data centre or country)."""
        stock = gpu.stock[cloud].get(place, 0)
        return max(0, stock - self.rented[(gpu.id, cloud, place)])

    def disk_usd(self, size_gb: int) -> Decimal:
        """USD per hour of a running pod's container disk."""
        return self.storage["container_disk"] * size_gb / _GB_MONTH_H

    def volume_usd(self, size_gb: int, *, running: bool) -> Decimal:
        """USD per hour of a host volume, which costs twice as much while the pod is stopped."""
        return self.storage["volume_running" if running else "volume_stopped"] * size_gb / _GB_MONTH_H


def subject(gpu_id: str, cloud: str, *more: str) -> str:
    """What faults see of a thing at RunPod: GPU, cloud, then data centres, a name, an id."""
    return " ".join([gpu_id, cloud, *(part for part in more if part)])


def version(text: str) -> tuple[int, ...]:
    """A CUDA version to compare by its numbers: 12.11 is above 12.2."""
    return tuple(int(part) for part in text.split("."))


def cuda_choice(gpu: Gpu, *, exact: tuple[str, ...] = (), minimum: str | None = None) -> list[tuple[str, bool]]:
    """The CUDA versions of *gpu*'s hosts that a request allows, and whether they have anything free."""
    return [
        (name, available)
        for name, available in gpu.cuda.items()
        if (not exact or name in exact) and (minimum is None or version(name) >= version(minimum))
    ]


def level(units: int) -> str:
    """Stock as the catalogue words it. The real thresholds are not published; these are the emulator's."""
    if units <= 0:
        return "NONE"
    return "LOW" if units < 8 else "MEDIUM" if units < 32 else "HIGH"


def _gpu(row: dict[str, Any]) -> Gpu:
    usd = {"SECURE": row.get("secure_usd"), "COMMUNITY": row.get("community_usd")}
    serverless = row.get("serverless_usd")
    return Gpu(
        id=row["id"],
        name=row["name"],
        manufacturer=row["manufacturer"],
        memory_gb=row["memory_gb"],
        reported_mib=row.get("reported_mib", row["memory_gb"] * 1024),
        pool=row.get("pool"),
        usd={cloud: Decimal(price) for cloud, price in usd.items() if price is not None},
        serverless_usd=None if serverless is None else Decimal(serverless),
        max_count={"SECURE": row.get("max_secure", 0), "COMMUNITY": row.get("max_community", 0)},
        stock={"SECURE": row.get("stock", {}), "COMMUNITY": row.get("community_stock", {})},
        cuda=row.get("cuda", {}),
    )


def _tuple(row: dict[str, Any], key: str) -> tuple[str, ...]:
    return tuple(row.get(key, ()))
