"""What the emulated Lambda Cloud sells: instance types, regions, images, and how much of what is free where.

Read from `market.toml` beside this file, or from the part of a sandbox's market that is named ``lambda``.
"""

from __future__ import annotations

import tomllib
import uuid
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("market.toml")


@dataclass(frozen=True, slots=True)
class InstanceType:
    """One thing for rent.

    Attributes:
        cents: US cents per hour for the whole instance with all its `gpus`.
        device, device_mib: name and memory in MiB of one GPU, as `nvidia-smi` prints them.
    """

    name: str
    description: str
    gpu: str
    gpus: int
    cents: int
    vcpus: int
    memory_gib: int
    storage_gib: int
    arch: str = "x86_64"
    device: str = ""
    device_mib: int = 0

    @property
    def usd_per_hour(self) -> Decimal:
        """The same price in USD."""
        return Decimal(self.cents) / 100

    def subject(self, region: str) -> str:
        """What a fault's `subject` is looked for in: instance type, GPU description, region."""
        return f"{self.name} {self.gpu} {region}"


@dataclass(frozen=True, slots=True)
class Image:
    """A machine image of one architecture; it is in every region under the same id."""

    id: str
    family: str
    version: str
    description: str
    arch: str
    updated: datetime


class Market:
    """Types with their prices and stock, regions, images; what faults changed, and what instances take.

    Args:
        part: the market file's content for Lambda, or None for the file beside this module.
    """

    def __init__(self, part: dict[str, Any] | None = None) -> None:
        rows = tomllib.loads(_FILE.read_text("utf-8")) if part is None else part
        self.regions: dict[str, str] = dict(rows["regions"])
        self.images = [image for row in rows["images"] for image in _images(row)]
        self.rented: Counter[tuple[str, str]] = Counter()
        self._types = {row["name"]: _type(row) for row in rows["types"]}
        self._shown: dict[str, dict[str, int]] = {row["name"]: row.get("stock", {}) for row in rows["types"]}
        self._unlisted: dict[str, dict[str, int]] = {row["name"]: row.get("unlisted", {}) for row in rows["types"]}
        self._cents: dict[str, int] = {}
        self._gone: set[tuple[str, str]] = set()

    def types(self) -> list[InstanceType]:
        """All types that are listed, sold out or not, at their present prices."""
        return [self._now(found) for name, found in self._types.items() if (name, "*") not in self._gone]

    def find(self, name: str) -> InstanceType | None:
        """A listed type."""
        found = self._types.get(name)
        return None if found is None or (name, "*") in self._gone else self._now(found)

    def places(self, name: str) -> list[str]:
        """The regions that the list shows for a type."""
        stock = self._shown[name]
        return [region for region in stock if self._left(stock, name, region) > 0]

    def free(self, name: str, region: str) -> int:
        """Instances of a type that can really be had in *region*, listed or not."""
        both = Counter(self._shown[name]) + Counter(self._unlisted[name])
        return max(0, self._left(both, name, region))

    def stocked(self, name: str) -> list[str]:
        """The regions that have a type when nobody has rented any."""
        return [*self._shown[name], *self._unlisted[name]]

    def image(self, wanted: dict[str, Any], arch: str) -> Image | None:
        """The image that a launch names by `id` or `family`; of a family the newest for *arch*."""
        if isinstance(wanted.get("id"), str):
            return next((image for image in self.images if image.id == wanted["id"]), None)
        family = [image for image in self.images if image.family == wanted["family"] and image.arch == arch]
        return max(family, key=lambda image: image.updated, default=None)

    def change_price(self, name: str, factor: Decimal) -> None:
        """From now on the type costs *factor* times as much, in whole cents."""
        cents = (self._now(self._types[name]).cents * factor).quantize(Decimal(1), ROUND_HALF_UP)
        self._cents[name] = int(cents)

    def changed(self, name: str) -> bool:
        """Whether the price is no longer the market file's."""
        return name in self._cents

    def remove(self, name: str, region: str = "*") -> None:
        """Take a type out of *region*, or out of the list altogether."""
        self._gone.add((name, region))

    def dump(self) -> dict[str, Any]:
        """What differs from the market file, ready for JSON."""
        return {"cents": dict(self._cents), "gone": sorted(map(list, self._gone))}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave; types that the market file has no more are forgotten."""
        self._cents = {name: cents for name, cents in state["cents"].items() if name in self._types}
        self._gone = {(name, region) for name, region in state["gone"]}

    def _now(self, found: InstanceType) -> InstanceType:
        cents = self._cents.get(found.name)
        return found if cents is None else replace(found, cents=cents)

    def _left(self, stock: dict[str, int], name: str, region: str) -> int:
        gone = (name, region) in self._gone or (name, "*") in self._gone
        return 0 if gone else stock.get(region, 0) - self.rented[(name, region)]


def _type(row: dict[str, Any]) -> InstanceType:
    cents = Decimal(row["usd_per_hour"]) * 100
    if cents != int(cents):
        raise ValueError(f"{row['name']}: {row['usd_per_hour']} USD are no whole cents")
    return InstanceType(
        name=row["name"],
        description=row.get("description", f"{row['gpus']}x {row['gpu']}"),
        gpu=row["gpu"],
        gpus=row["gpus"],
        cents=int(cents),
        vcpus=row["vcpus"],
        memory_gib=row["memory_gib"],
        storage_gib=row["storage_gib"],
        arch=row.get("arch", "x86_64"),
        device=row.get("device", f"NVIDIA {row['gpu'].partition(' (')[0]}"),
        device_mib=row.get("device_mib", 0),
    )


def _images(row: dict[str, Any]) -> list[Image]:
    """One row of the market file: an image for each architecture. Ids outlive a restart."""
    family, version = row["family"], row["version"]
    return [
        Image(
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://lambda.invalid/{family}/{version}/{arch}")),
            family=family,
            version=version,
            description=row["description"],
            arch=arch,
            updated=row["updated"].astimezone(UTC),
        )
        for arch in row["architectures"]
    ]
