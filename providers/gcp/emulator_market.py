"""What the emulated Google Cloud sells: regions, machine types, GPUs, images, stock, quotas, and what all costs.

Read from `market.toml` beside this file, or from the part of a sandbox's market that is named ``gcp``.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("market.toml")
_HOURS = 730
#: GiB of one local SSD.
SSD_GIB = 375
MODELS = ("STANDARD", "SPOT", "FLEX_START")


@dataclass(frozen=True, slots=True)
class Region:
    """A region. `area`, `city` and `destination` are words of SKUs; `factor` multiplies us-central1's prices."""

    name: str
    area: str
    city: str
    factor: Decimal
    zones: tuple[str, ...]
    destination: str


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU. Prices are USD per hour and GPU in us-central1, on demand and as spot.

    Attributes:
        quota, spot_quota: the metrics of a region; "" where there is none that lists show.
        hidden: the family under which newer ones are limited, unseen.
        attach: for GPUs that are attached: how many may be, to how many vCPUs at most.
        device, device_mib: as `nvidia-smi` prints them.
    """

    name: str
    title: str
    sku: str
    sku_in: dict[str, str]
    spot_sku: str
    spot_usage: str
    place: str
    usd: tuple[Decimal, Decimal]
    quota: str
    spot_quota: str
    hidden: str
    family: str
    zones: tuple[str, ...]
    device: str
    device_mib: int
    largest: int
    attach: dict[int, int]


@dataclass(frozen=True, slots=True)
class Shape:
    """A machine type. `share` is "1/8" where its one GPU is a share of one; `slice` is what that costs."""

    name: str
    family: str
    vcpus: int
    memory_gib: Decimal
    gpu: str
    gpus: int
    ssds: int
    models: tuple[str, ...]
    disks: tuple[str, ...]
    zones: tuple[str, ...]
    share: str = ""
    share_sku: str = ""
    slice: tuple[Decimal, Decimal] | None = None
    share_device: tuple[str, int] | None = None

    @property
    def memory_mb(self) -> int:
        return int(self.memory_gib * 1024)

    @property
    def shared_cpu(self) -> bool:
        """Whether it has half of each vCPU."""
        return self.name.endswith("-medium")


@dataclass(frozen=True, slots=True)
class Image:
    """A machine image."""

    project: str
    name: str
    family: str
    size_gb: int


@dataclass(frozen=True, slots=True)
class DiskType:
    """A kind of disk: its SKU's words, tiers (from GiB, USD per GiB and month), and what the sandbox bills."""

    name: str
    sku: str
    group: str
    tiers: tuple[tuple[Decimal, Decimal], ...]
    usd_per_gib_month: Decimal
    quota: str


@dataclass(frozen=True, slots=True)
class Family:
    """A machine family: its SKUs' words, and USD per vCPU-hour and GiB-hour, on demand and as spot; None: no SKU."""

    name: str
    sku: str
    group: str
    place: str
    core: tuple[Decimal, Decimal] | None
    ram: tuple[Decimal, Decimal] | None


class Market:
    """The market file, and what faults and rented machines change.

    Args:
        part: the market file's content for Google Cloud, or None for the file beside this module.
    """

    def __init__(self, part: dict[str, Any] | None = None) -> None:
        rows = tomllib.loads(_FILE.read_text("utf-8")) if part is None else part
        self.effective: str = rows["effective"]
        self.quotas: dict[str, dict[str, int]] = {key: dict(value) for key, value in rows["quotas"].items()}
        self.regions = {name: _region(name, row) for name, row in rows["regions"].items()}
        places = {name: _zones(value) for name, value in rows["places"].items()}
        self.families = {name: _family(name, row) for name, row in rows["families"].items()}
        self.gpus = {row["name"]: _gpu(row, places) for row in rows["gpus"]}
        self.shapes = {shape.name: shape for row in rows["shapes"] for shape in _shapes(row, places)}
        self.disks = {name: _disk(name, row) for name, row in rows["disks"].items()}
        self.images = [image for row in rows["images"] for image in _images(row)]
        self.fees: dict[str, Any] = rows["fees"]
        self.egress: dict[str, dict[str, list[list[str]]]] = rows["egress"]
        self.rented: Counter[tuple[str, str, str]] = Counter()
        self.stock: dict[str, int] = rows["stock"]
        self.scarce = {(row["zone"], row["type"]): row["models"] for row in rows["scarce"]}
        self._factors: dict[tuple[str, str], Decimal] = {}
        self._gone: set[tuple[str, str]] = set()

    # Where and what.

    @property
    def zones(self) -> list[str]:
        """All zones."""
        return [zone for region in self.regions.values() for zone in region.zones]

    def region_of(self, zone: str) -> Region:
        """The region that a zone is in."""
        return self.regions[zone.rpartition("-")[0]]

    def shapes_in(self, zone: str) -> list[Shape]:
        """Machine types of a zone by name."""
        found = (shape for shape in self.shapes.values() if zone in shape.zones)
        return sorted((one for one in found if (zone, one.name) not in self._gone), key=lambda one: one.name)

    def shape(self, zone: str, name: str) -> Shape | None:
        """A machine type, if the zone has it."""
        found = self.shapes.get(name)
        return found if found is not None and zone in found.zones and (zone, name) not in self._gone else None

    def gpus_in(self, zone: str) -> list[Gpu]:
        """GPUs of a zone by name."""
        return sorted((gpu for gpu in self.gpus.values() if zone in gpu.zones), key=lambda gpu: gpu.name)

    def image(self, project: str, *, name: str = "", family: str = "") -> Image | None:
        """An image by name, or the newest of a family."""
        for image in self.images:
            if image.project == project and (image.name == name or (family and image.family == family)):
                return image
        return None

    # Stock.

    def free(self, zone: str, shape: str, model: str) -> int:
        """Machines of a type that can still be had; GPUs that are attached are not counted apart."""
        scarce = self.scarce.get((zone, shape), {})
        return max(0, int(scarce.get(model, self.stock.get(model, 0))) - self.rented[(zone, shape, model)])

    def elsewhere(self, zone: str, shape: str, model: str) -> list[str]:
        """Other zones of the region that have capacity."""
        zones = self.region_of(zone).zones
        return [one for one in zones if one != zone and self.shape(one, shape) and self.free(one, shape, model)]

    def remove(self, zone: str, shape: str) -> None:
        """The zone does not have that type any more."""
        self._gone.add((zone, shape))

    # Prices.

    def factor(self, family: str, region: Region) -> Decimal:
        """What us-central1's prices of a family are multiplied by."""
        return region.factor * self._factors.get((family, region.name), Decimal(1))

    def change_price(self, family: str, region: str, factor: Decimal) -> None:
        """From now on a family costs *factor* times as much in a region."""
        self._factors[(family, region)] = self._factors.get((family, region), Decimal(1)) * factor

    def changed(self, family: str, region: str) -> bool:
        """Whether its price is no longer the market file's."""
        return (family, region) in self._factors

    def subject(self, family: str, region: Region) -> str:
        """What a price fault's `subject` is looked for in."""
        shapes = [shape.name for shape in self.shapes.values() if shape.family == family]
        gpus = [f"{gpu.name} {gpu.sku}" for gpu in self.gpus.values() if gpu.family == family]
        return " ".join([family, region.name, *region.zones, *shapes, *gpus])

    def usd_per_hour(self, shape: Shape, zone: str, *, spot: bool, attached: tuple[str, int] | None = None) -> Decimal:
        """The whole machine without disks and addresses, with *attached* GPUs (name, how many)."""
        region, kind = self.region_of(zone), int(spot)
        family = self.families[shape.family]
        factor = self.factor(shape.family, region)
        if shape.slice is not None:
            return nanos(shape.slice[kind] * factor)
        vcpus = Decimal(shape.vcpus) / (2 if shape.shared_cpu else 1)
        total = Decimal(0)
        if family.core is not None and family.ram is not None:
            total += vcpus * nanos(family.core[kind] * factor) + shape.memory_gib * nanos(family.ram[kind] * factor)
        gpu, count = attached or (shape.gpu, shape.gpus)
        if count:
            total += count * nanos(self.gpus[gpu].usd[kind] * factor)
        # A slice pays for the local SSDs, too.
        if family.core is not None and shape.ssds:
            total += shape.ssds * SSD_GIB * nanos(Decimal(self.fees["local_ssd"]) * region.factor) / _HOURS
        return total

    def disk_usd_per_hour(self, kind: str, size_gb: int, zone: str) -> Decimal:
        """A disk."""
        return self.disks[kind].usd_per_gib_month * self.region_of(zone).factor * size_gb / _HOURS

    def address_usd_per_hour(self, *, spot: bool) -> Decimal:
        """An external IPv4 address in use. The account's free hours are left out."""
        return Decimal(self.fees["address"]["spot" if spot else "standard"])

    # The state as a file.

    def dump(self) -> dict[str, Any]:
        """What differs from the market file, ready for JSON."""
        return {
            "factors": [[*key, str(value)] for key, value in self._factors.items()],
            "gone": sorted(map(list, self._gone)),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave."""
        self._factors = {(family, region): Decimal(value) for family, region, value in state["factors"]}
        self._gone = {(zone, shape) for zone, shape in state["gone"]}


def nanos(usd: Decimal) -> Decimal:
    """A price as SKUs can hold it: nine digits after the point."""
    return usd.quantize(Decimal("1e-9"))


def _zones(rows: list[str]) -> tuple[str, ...]:
    return tuple(
        f"{region}-{letter}" for region, _, letters in (row.rpartition("-") for row in rows) for letter in letters
    )


def _region(name: str, row: dict[str, str]) -> Region:
    zones = tuple(f"{name}-{letter}" for letter in row["zones"])
    return Region(name, row["area"], row["city"], Decimal(row["factor"]), zones, row["destination"])


def _pair(values: list[str] | None) -> tuple[Decimal, Decimal] | None:
    return None if values is None else (Decimal(values[0]), Decimal(values[1]))


def _family(name: str, row: dict[str, Any]) -> Family:
    place = row.get("place", "area")
    return Family(name, row["sku"], row.get("group", ""), place, _pair(row.get("core")), _pair(row.get("ram")))


def _gpu(row: dict[str, Any], places: dict[str, tuple[str, ...]]) -> Gpu:
    quota = row.get("quota", "")
    usd = _pair(row["usd"])
    assert usd is not None
    return Gpu(
        name=row["name"],
        title=row["title"],
        sku=row["sku"],
        sku_in=row.get("sku_in", {}),
        spot_sku=row.get("spot_sku", ""),
        spot_usage=row.get("spot_usage", "Preemptible"),
        place=row.get("place", "area"),
        usd=usd,
        quota=quota,
        spot_quota=row.get("spot_quota", f"PREEMPTIBLE_{quota}" if quota else ""),
        hidden=row.get("hidden", ""),
        family=row["family"],
        zones=places[row["places"]],
        device=row["device"],
        device_mib=row["device_mib"],
        largest=row["max"],
        attach={int(count): vcpus for count, vcpus in row.get("attach", {}).items()},
    )


def _shapes(row: dict[str, Any], places: dict[str, tuple[str, ...]]) -> list[Shape]:
    share, device = row.get("share_sku"), row.get("share_device")
    return [
        Shape(
            name=name,
            family=row["family"],
            vcpus=vcpus,
            memory_gib=Decimal(str(memory)),
            gpu=row.get("gpu", ""),
            gpus=more[0] if more else 0,
            ssds=more[1] if len(more) > 1 else 0,
            models=tuple(row.get("models", MODELS)),
            disks=tuple(row.get("disks", ("pd-standard", "pd-balanced", "pd-ssd"))),
            zones=places[row["places"]],
            share=row.get("share", ""),
            share_sku=share[0] if share else "",
            slice=_pair(share[1:]) if share else None,
            share_device=(device[0], device[1]) if device else None,
        )
        for name, vcpus, memory, *more in row["types"]
    ]


def _disk(name: str, row: dict[str, Any]) -> DiskType:
    tiers = tuple((Decimal(start), Decimal(usd)) for start, usd in row["tiers"])
    return DiskType(name, row["sku"], row["group"], tiers, Decimal(row["bill"]), row["quota"])


def _images(row: dict[str, Any]) -> list[Image]:
    return [Image(row["project"], f"{family}-v{row['version']}", family, row["size_gb"]) for family in row["families"]]
