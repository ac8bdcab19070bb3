"""What the emulated AWS sells: types with their shapes, regions, prices that can move, stock, images, quotas.

Prices are Decimal, USD an hour. Everything that changes while it runs (prices, types that are gone) is kept apart
from the market file, so that it can be saved.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("market.toml")


@dataclass(frozen=True, slots=True)
class Kind:
    """An instance type. `gpus` is what the API calls Count, 0 for a slice of a GPU; `partition` is the slice."""

    name: str
    gpu: str
    gpus: int
    gpu_mib: int
    vcpus: int
    memory_mib: int
    storage_gb: int
    network: str
    device: str
    device_mib: int
    logical_gpus: int
    partition: Decimal
    usage_classes: tuple[str, ...]
    network_cards: int

    @property
    def family(self) -> str:
        """For example ``g6e``."""
        return self.name.partition(".")[0]

    def quota(self, *, spot: bool) -> str:
        """The quota code whose vCPUs it uses."""
        return {"g": ("L-DB2E81BA", "L-3819A6DF"), "p": ("L-417A185B", "L-7212CCBC")}[self.name[0]][spot]


@dataclass(frozen=True, slots=True)
class Place:
    """A type in one zone; what faults name by `subject`."""

    kind: Kind
    region: str
    zone: str

    def subject(self, *, spot: bool) -> str:
        """``<gpu> <instance type> <zone> <on-demand|spot>``."""
        return f"{self.kind.gpu} {self.kind.name} {self.zone} {'spot' if spot else 'on-demand'}"


@dataclass(frozen=True, slots=True)
class Region:
    """A region; `zones` maps a zone's name to its id. A region that is not enabled has none here."""

    name: str
    location: str
    enabled: bool
    zones: dict[str, str]
    illustrative_spot: dict[str, Decimal]
    gp3: Decimal


@dataclass(frozen=True, slots=True)
class Image:
    """A machine image; its id differs from region to region. `size_gb` is the least root disk."""

    name: str
    ssm: str
    owner: str
    alias: str
    user: str
    root: str
    size_gb: int
    created: str

    def id(self, region: str) -> str:
        """The image's id in a region, always the same."""
        return "ami-" + hashlib.sha256(f"{region}/{self.name}".encode()).hexdigest()[:17]


@dataclass(slots=True)
class Change:
    """A spot price that moved: when and to what."""

    at: datetime
    usd: Decimal


class Market:
    """The price list and all that can be had.

    Args:
        market: the market file's content for AWS, or None for the file beside this module.
    """

    def __init__(self, market: dict[str, Any] | None = None) -> None:
        self.given: dict[str, Any] = tomllib.loads(_FILE.read_text("utf-8")) if market is None else market
        self.gone: set[tuple[str, str]] = set()
        self.factors: dict[tuple[str, str], Decimal] = {}
        self.spot_changes: dict[tuple[str, str], list[Change]] = {}
        self.regions = {name: _region(name, row) for name, row in self.given["regions"].items()}
        self._rows: dict[str, dict[str, Any]] = {row["name"]: row for row in self.given["types"]}
        self.kinds = {name: _kind(row) for name, row in self._rows.items()}
        self.images = [_image(row) for row in self.given["images"]]
        self.quotas: dict[str, dict[str, Any]] = {k: dict(v) for k, v in self.given["quotas"].items()}
        self.fees: dict[str, Any] = self.given["fees"]
        self.published: str = self.given["published"]

    # Where what exists.

    def places(self, region: str) -> Iterator[Place]:
        """Every type in every zone of *region* where it is offered now."""
        for kind in self.kinds.values():
            for zone in self.zones_of(kind, region):
                yield Place(kind, region, zone)

    def zones_of(self, kind: Kind, region: str) -> list[str]:
        """The zones of *region* that offer *kind* now."""
        row = self._rows[kind.name].get("regions", {}).get(region)
        if row is None or not self.regions[region].enabled:
            return []
        zones = [region + letter for letter in row["zones"]]
        return [zone for zone in zones if (kind.name, zone) not in self.gone]

    def zone_id(self, zone: str) -> str:
        """The id that means the same zone in every account."""
        return self.regions[zone[:-1]].zones[zone]

    def stock(self, place: Place, *, spot: bool) -> int:
        """How many there are at most, rented ones included."""
        own = self._rows[place.kind.name].get("spot_stock" if spot else "stock", {})
        return int(own.get(place.zone, self.given["stock"]["spot" if spot else "default"]))

    def remove(self, place: Place) -> None:
        """The zone offers the type no more."""
        self.gone.add((place.kind.name, place.zone))

    # Prices.

    def on_demand(self, kind: Kind, region: str) -> Decimal | None:
        """USD an hour, or None if it is not sold there."""
        row = self._rows[kind.name].get("regions", {}).get(region)
        if row is None:
            return None
        return Decimal(row["usd"]) * self.factors.get((kind.name, region), Decimal(1))

    def spot(self, place: Place) -> Decimal | None:
        """USD an hour now, or None: there is no spot price there."""
        changes = self.spot_changes.get((place.kind.name, place.zone))
        return changes[-1].usd if changes else self.first_spot(place)

    def first_spot(self, place: Place) -> Decimal | None:
        """The spot price of the market file."""
        row = self._rows[place.kind.name].get("regions", {}).get(place.region)
        if row is None or "spot" not in place.kind.usage_classes:
            return None
        own = row.get("spot", {}).get(place.zone[-1])
        if own is not None:
            return Decimal(own)
        share = self.regions[place.region].illustrative_spot.get(place.zone)
        return None if share is None else (Decimal(row["usd"]) * share).quantize(Decimal("0.0001"))

    def change_on_demand(self, kind: Kind, region: str, factor: Decimal) -> None:
        """From now on it costs *factor* times as much."""
        self.factors[kind.name, region] = self.factors.get((kind.name, region), Decimal(1)) * factor

    def change_spot(self, place: Place, factor: Decimal, at: datetime) -> None:
        """From *at* on its spot price is *factor* times as high."""
        if (now := self.spot(place)) is not None:
            self.spot_changes.setdefault((place.kind.name, place.zone), []).append(Change(at, now * factor))

    # Images.

    def image(self, image_id: str, region: str) -> Image | None:
        """The image of that id."""
        return next((image for image in self.images if image.id(region) == image_id), None)

    # The state as a file.

    def dump(self) -> dict[str, Any]:
        """What differs from the market file."""
        return {
            "gone": sorted(map(list, self.gone)),
            "factors": [[*key, str(factor)] for key, factor in self.factors.items()],
            "spot": [
                [*key, [[change.at.isoformat(), str(change.usd)] for change in changes]]
                for key, changes in self.spot_changes.items()
            ],
            "quotas": {code: row["vcpus"] for code, row in self.quotas.items()},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave."""
        self.gone = {(kind, zone) for kind, zone in state["gone"]}
        self.factors = {(kind, region): Decimal(factor) for kind, region, factor in state["factors"]}
        self.spot_changes = {
            (kind, zone): [Change(datetime.fromisoformat(at), Decimal(usd)) for at, usd in changes]
            for kind, zone, changes in state["spot"]
        }
        for code, vcpus in state["quotas"].items():
            if code in self.quotas:
                self.quotas[code]["vcpus"] = vcpus


def _region(name: str, row: dict[str, Any]) -> Region:
    return Region(
        name=name,
        location=row["location"],
        enabled=row.get("enabled", True),
        zones={name + letter: zone_id for letter, zone_id in row.get("zones", {}).items()},
        illustrative_spot={name + k: Decimal(v) for k, v in row.get("illustrative_spot", {}).items()},
        gp3=Decimal(row.get("gp3", "0.08")),
    )


def _kind(row: dict[str, Any]) -> Kind:
    return Kind(
        name=row["name"],
        gpu=row["gpu"],
        gpus=row["gpus"],
        gpu_mib=row["gpu_mib"],
        vcpus=row["vcpus"],
        memory_mib=row["memory_mib"],
        storage_gb=row["storage_gb"],
        network=row["network"],
        device=row["device"],
        device_mib=row["device_mib"],
        logical_gpus=row.get("logical_gpus", row["gpus"]),
        partition=Decimal(row.get("partition", "1.0")),
        usage_classes=tuple(row.get("usage_classes", ("on-demand", "spot"))),
        network_cards=row.get("network_cards", 1),
    )


def _image(row: dict[str, Any]) -> Image:
    return Image(
        name=row["name"],
        ssm=row.get("ssm", ""),
        owner=row["owner"],
        alias=row.get("alias", ""),
        user=row["user"],
        root=row["root"],
        size_gb=row["size_gb"],
        created=row["created"],
    )
