"""What the emulated Paperspace rents: machine types, regions, templates, prices, and how much of what is free where.

Read from `market.toml` beside this file, or from the part of a sandbox's market that is named ``paperspace``.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("market.toml")


@dataclass(frozen=True, slots=True)
class MachineType:
    """One thing for rent.

    Attributes:
        label: the `machineType` of the wire.
        gpu, gpus, vram_gib: name of the card, how many, and GiB of each; no card: "", 0, 0.
        usd_per_hour: for the whole machine, without its disk.
        approval: whether a team must be approved for it.
        device, device_mib: name and memory in MiB of one GPU, as `nvidia-smi` prints them.
    """

    label: str
    gpu: str
    gpus: int
    vram_gib: int
    usd_per_hour: Decimal
    cpus: int
    memory_gib: int
    approval: bool = False
    device: str = ""
    device_mib: int = 0

    def subject(self, region: str) -> str:
        """What a fault's `subject` is looked for in: machine type, GPU, region."""
        return f"{self.label} {self.gpu} {region}"


@dataclass(frozen=True, slots=True)
class Template:
    """A disk image. `without` are the machine types that it does not run on."""

    id: str
    name: str
    agent: str
    label: str
    size_gb: int
    created: datetime
    without: frozenset[str] = field(default_factory=frozenset)


class Market:
    """Types with their prices and stock, regions, templates; what faults changed, and what machines take.

    Args:
        part: the market file's content for Paperspace, or None for the file beside this module.
    """

    def __init__(self, part: dict[str, Any] | None = None) -> None:
        rows = tomllib.loads(_FILE.read_text("utf-8")) if part is None else part
        self.regions: dict[str, str] = dict(rows["regions"])
        self.templates = [_template(row) for row in rows["templates"]]
        self.types = {row["label"]: _type(row) for row in rows["types"]}
        self.disk_sizes_gb: tuple[int, ...] = tuple(rows["disk_sizes_gb"])
        self.static_ip_usd_per_hour = Decimal(rows["static_ip_usd_per_hour"])
        self.rented: Counter[tuple[str, str]] = Counter()
        self._disk = Decimal(rows["disk_usd_per_hour_per_100_gb"])
        self._stock: dict[str, dict[str, int]] = {row["label"]: row.get("stock", {}) for row in rows["types"]}
        self._factors: dict[str, str] = {}
        self._gone: set[tuple[str, str]] = set()

    def region(self, text: str) -> str | None:
        """The short name of a region that may be written as ``NY2``, ``ny2`` or ``East Coast (NY2)``."""
        for short, full in self.regions.items():
            if text in (short, short.lower(), full):
                return short
        return None

    def template(self, template_id: str) -> Template | None:
        """A template by its id."""
        return next((each for each in self.templates if each.id == template_id), None)

    def free(self, label: str, region: str) -> int:
        """Machines of a type that can be had in *region* (short name)."""
        if (label, region) in self._gone:
            return 0
        return max(0, self._stock[label].get(region, 0) - self.rented[(label, region)])

    def sold_in(self, label: str) -> list[str]:
        """The regions that have a type when nobody has rented any."""
        return list(self._stock[label])

    def usd_per_hour(self, label: str) -> Decimal:
        """What a machine made now costs while it is not off."""
        return self.types[label].usd_per_hour * Decimal(self._factors.get(label, "1"))

    def disk_usd_per_hour(self, size_gb: int) -> Decimal:
        """What a disk of that size costs, machine off or not."""
        return self._disk * size_gb / 100

    def change_price(self, label: str, factor: Decimal) -> None:
        """Machines of a type that are made from now on cost *factor* times as much; those there are do not."""
        self._factors[label] = str(Decimal(self._factors.get(label, "1")) * factor)

    def changed(self, label: str) -> bool:
        """Whether the price is no longer the market file's."""
        return label in self._factors

    def remove(self, label: str, region: str) -> None:
        """No more machines of a type in *region*."""
        self._gone.add((label, region))

    def dump(self) -> dict[str, Any]:
        """What differs from the market file, ready for JSON."""
        return {"factors": dict(self._factors), "gone": sorted(map(list, self._gone))}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave; types that the market file has no more are forgotten."""
        self._factors = {label: factor for label, factor in state["factors"].items() if label in self.types}
        self._gone = {(label, region) for label, region in state["gone"]}


def _type(row: dict[str, Any]) -> MachineType:
    return MachineType(
        label=row["label"],
        gpu=row.get("gpu", row["label"]) if row["gpus"] else "",
        gpus=row["gpus"],
        vram_gib=row.get("vram_gib", 0),
        usd_per_hour=Decimal(row["usd_per_hour"]),
        cpus=row["cpus"],
        memory_gib=row["memory_gib"],
        approval=row.get("approval", False),
        device=row.get("device", ""),
        device_mib=row.get("device_mib", 0),
    )


def _template(row: dict[str, Any]) -> Template:
    return Template(
        id=row["id"],
        name=row["name"],
        agent=row["agent"],
        label=row["label"],
        size_gb=row["size_gb"],
        created=row["created"].astimezone(UTC),
        without=frozenset(row.get("without", ())),
    )
