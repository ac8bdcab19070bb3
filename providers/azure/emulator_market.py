"""What the emulated Azure rents: sizes, regions, prices that can move, stock, quota, restrictions, images.

Prices are Decimal, USD an hour. What changes while it runs is kept apart from the market file, so that it can be saved.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("market.toml")
_CENT = Decimal("0.00001")


@dataclass(frozen=True, slots=True)
class Size:
    """A VM size. `gpus` is what the SKU API says, `devices` what is on the machine; `device_mib` of each.

    Attributes:
        quota_name: how `usages` calls the family.
        product: how the price list calls the series.
        rentable: False for what only stands in the price list (`listed`: and in the SKU list).
    """

    name: str
    family: str
    quota_name: str
    product: str
    vcpus: int
    memory_gib: int
    gpus: int
    generations: str
    device: str
    device_mib: int
    devices: int
    spot: bool
    rentable: bool
    listed: bool

    @property
    def short(self) -> str:
        """Without ``Standard_``."""
        return self.name.partition("_")[2]


@dataclass(frozen=True, slots=True)
class Region:
    """A region; `sku_name` is how the SKU API writes it, `retail` how the price list names the place."""

    name: str
    display: str
    retail: str
    geography: str
    egress: str
    zones: tuple[str, ...]
    paired: str
    sku_name: str
    restricted: str
    restricted_zones: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Image:
    """A platform image; the last of `versions` is the latest. `generation` is V1 or V2."""

    publisher: str
    offer: str
    sku: str
    versions: tuple[str, ...]
    generation: str
    size_gb: int


class Market:
    """The price list and all that can be had.

    Args:
        market: the market file's content for Azure, or None for the file beside this module.
    """

    def __init__(self, market: dict[str, Any] | None = None) -> None:
        self.given: dict[str, Any] = tomllib.loads(_FILE.read_text("utf-8")) if market is None else market
        self._rows: dict[str, dict[str, Any]] = {row["name"].lower(): row for row in self.given["sizes"]}
        others = {row["name"].lower(): row for row in self.given.get("others", [])}
        self.sizes = {key: _size(row, rentable=True) for key, row in self._rows.items()}
        self.others = {key: _size(row, rentable=False) for key, row in others.items()}
        self._rows |= others
        self.regions = {name: _region(name, row) for name, row in self.given["regions"].items()}
        self.elsewhere = frozenset(self.given.get("elsewhere", {}).get("names", ()))
        self.images = [_image(row) for row in self.given["images"]]
        self.gone: set[tuple[str, str]] = set()
        self.factors: dict[tuple[str, str, str], Decimal] = {}
        #: (family, cores or low_priority_cores, region or "*") to a limit that a test or fault has set.
        self.limits: dict[tuple[str, str], int] = {}

    # Where what exists.

    def place(self, location: str) -> str | None:
        """The region's plain name for any way to write it ("East US", "EastUS"), or None if there is none."""
        plain = location.replace(" ", "").lower()
        return plain if plain in self.regions or plain in self.elsewhere else None

    def size(self, name: str) -> Size | None:
        """The rentable size of that name."""
        return self.sizes.get(name.lower())

    def sold(self, size: Size, region: str) -> bool:
        """Whether the region has that size at all."""
        return region in self._rows[size.name.lower()]["usd"] and (size.name, region) not in self.gone

    def sizes_in(self, region: str) -> Iterator[Size]:
        """All sizes that the SKU list shows in a region."""
        for size in (*self.sizes.values(), *self.others.values()):
            if size.listed and self.sold(size, region):
                yield size

    def remove(self, size: Size, region: str) -> None:
        """The region has the size no more."""
        self.gone.add((size.name, region))

    def stock(self, size: Size, region: str, *, spot: bool) -> int:
        """How many there are at most, rented ones included."""
        row = self._rows[size.name.lower()].get("spot_stock" if spot else "stock", {})
        return int(row.get(region, self.given["stock"]["spot" if spot else "on_demand"]))

    def zones(self, size: Size, region: str) -> tuple[str, ...]:
        """The zones of a region that have the size."""
        return self.regions[region].zones if region in self.regions else ()

    # Quota.

    def limit(self, name: str, region: str) -> int:
        """The limit of a quota in a region: a family, ``cores``, ``lowPriorityCores``, ``virtualMachines``, ...

        A limit that `set_limit` gave goes first.
        """
        for key in ((name.lower(), region), (name.lower(), "*")):
            if key in self.limits:
                return self.limits[key]
        quota = self.given["quota"]
        plain = {
            "cores": "cores",
            "lowprioritycores": "low_priority_cores",
            "virtualmachines": "virtual_machines",
            "publicipaddresses": "public_ips",
        }
        if name.lower() in plain:
            return int(quota[plain[name.lower()]])
        if region not in self.regions or name.lower() in {one.lower() for one in quota["zero"]}:
            return 0
        return int(quota["family"])

    def set_limit(self, name: str, limit: int, region: str = "*") -> None:
        """Change a quota, for tests."""
        self.limits[name.lower(), region] = limit

    # Prices.

    def on_demand(self, size: Size, region: str) -> Decimal | None:
        """USD an hour on Linux, or None if it is not sold there."""
        usd = self._rows[size.name.lower()]["usd"].get(region)
        return None if usd is None else Decimal(usd) * self._factor(size, region, "regular")

    def spot(self, size: Size, region: str) -> Decimal | None:
        """USD an hour on Linux as Spot, or None."""
        row = self._rows[size.name.lower()]
        regular = row["usd"].get(region)
        if regular is None or not size.spot:
            return None
        own = row.get("spot_usd", {}).get(region)
        first = Decimal(own) if own else (Decimal(regular) * Decimal(row["spot_share"])).quantize(_CENT)
        return first * self._factor(size, region, "spot")

    def change(self, size: Size, region: str, kind: str, factor: Decimal) -> None:
        """From now on it costs *factor* times as much; *kind* is regular or spot."""
        self.factors[size.name, region, kind] = self._factor(size, region, kind) * factor

    def _factor(self, size: Size, region: str, kind: str) -> Decimal:
        return self.factors.get((size.name, region, kind), Decimal(1))

    def disk_month(self, kind: str, size_gb: int) -> Decimal:
        """USD a month for a managed disk: the price of the smallest tier that holds it."""
        tiers = self.given["fees"]["disk_month"]
        table = tiers.get(kind) or tiers["Premium_LRS"]
        fitting = [int(gb) for gb in table if int(gb) >= size_gb]
        return Decimal(table[str(min(fitting) if fitting else max(int(gb) for gb in table))])

    # Images.

    def image(self, publisher: str, offer: str, sku: str) -> Image | None:
        """The image of that name, in any case."""
        wanted = (publisher.lower(), offer.lower(), sku.lower())
        return next((i for i in self.images if (i.publisher.lower(), i.offer.lower(), i.sku.lower()) == wanted), None)

    # The state as a file.

    def dump(self) -> dict[str, Any]:
        """What differs from the market file."""
        return {
            "gone": sorted(map(list, self.gone)),
            "factors": [[*key, str(factor)] for key, factor in self.factors.items()],
            "limits": [[*key, limit] for key, limit in self.limits.items()],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave."""
        self.gone = {(size, region) for size, region in state["gone"]}
        self.factors = {(size, region, kind): Decimal(factor) for size, region, kind, factor in state["factors"]}
        self.limits = {(name, region): limit for name, region, limit in state["limits"]}


def _size(row: dict[str, Any], *, rentable: bool) -> Size:
    return Size(
        name=row["name"],
        family=row["family"],
        quota_name=row.get("quota_name", f"{row['family']} vCPUs"),
        product=row["product"],
        vcpus=row["vcpus"],
        memory_gib=row["memory_gib"],
        gpus=row["gpus"],
        generations=row.get("generations", "V1,V2"),
        device=row.get("device", ""),
        device_mib=row.get("device_mib", 0),
        devices=row.get("devices", 0),
        spot=row.get("spot", rentable),
        rentable=rentable,
        listed=row.get("listed", True),
    )


def _region(name: str, row: dict[str, Any]) -> Region:
    return Region(
        name=name,
        display=row["display"],
        retail=row["retail"],
        geography=row["geography"],
        egress=row.get("egress", "world"),
        zones=tuple(row["zones"]),
        paired=row["paired"],
        sku_name=row.get("sku_name", name),
        restricted=row.get("restricted", ""),
        restricted_zones=tuple(row.get("restricted_zones", ())),
    )


def _image(row: dict[str, Any]) -> Image:
    return Image(
        publisher=row["publisher"],
        offer=row["offer"],
        sku=row["sku"],
        versions=tuple(row["versions"]),
        generation=row["generation"],
        size_gb=row["size_gb"],
    )
