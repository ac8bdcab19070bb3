"""What Paperspace rents, where and for how much: the parts that its API does not tell.

There is no price endpoint and no list of machine types with their hardware. So types, regions and prices are a
dated snapshot here; whether a type can be had now is asked live (`offers.py`), and what a machine really costs is
read from the machine (`usageRate`), so that one dearer than promised is ended. Sources: docs/providers/paperspace.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from providers import gpus

#: Every region and the country it lies in. The API takes these short names and answers with longer ones.
REGIONS: Mapping[str, str] = {"NY2": "US", "CA1": "US", "AMS1": "NL"}

_PAGE = "https://www.paperspace.com/pricing, as transcribed by others"
_CATALOG = "SkyPilot's catalog"
UNDATED = "undated"


class Model(NamedTuple):
    """One GPU that is rented: what its machine-type label begins with, and one such GPU's figures.

    Attributes:
        gpu: canonical name, or a plain name where the GPU table has none.
        memory_gib: of one GPU.
        regions: where it is sold, by the documentation's table.
        counts: how many may be in one machine: ``x2`` and so on behind the label.
        vcpus: with one GPU, where they are known.
        ram_gib: with one GPU, where it is known.
        usd: per GPU and hour, where it is known.
        source, date: where and when that was read.
    """

    gpu: str
    memory_gib: float
    regions: tuple[str, ...]
    counts: tuple[int, ...] = (1,)
    vcpus: float | None = None
    ram_gib: float | None = None
    usd: str | None = None
    source: str = _PAGE
    date: str = "2026-05-25"


_ALL = ("NY2", "CA1", "AMS1")
_NY = ("NY2",)
#: By label. The page also shows 2.24 for H100 and 1.15 for A100-80G: those are for commitments of years.
MODELS: Mapping[str, Model] = {
    "GPU+": Model("quadro-m4000", 8, ("NY2", "AMS1")),
    "P4000": Model("quadro-p4000", 8, _ALL, usd="0.51", source=_CATALOG, date=UNDATED),
    "P5000": Model("quadro-p5000", 16, _ALL),
    "P6000": Model("quadro-p6000", 24, _ALL, usd="1.10"),
    "RTX4000": Model("quadro-rtx-4000", 8, _ALL),
    "RTX5000": Model("quadro-rtx-5000", 16, _NY),
    "A4000": Model("rtx-a4000", 16, _ALL, (1, 2, 4), usd="0.76"),
    "A5000": Model("rtx-a5000", 24, ("NY2", "CA1"), (1, 2), usd="1.38"),
    "A6000": Model("rtx-a6000", 48, ("NY2", "CA1"), (1, 2, 4), vcpus=8, ram_gib=45, usd="1.89"),
    "V100": Model("v100-16gb", 16, ("NY2", "AMS1"), usd="2.30"),
    "V100-32G": Model("v100-32gb", 32, _NY, (1, 2, 4), vcpus=8, usd="2.30", source=_CATALOG, date=UNDATED),
    "A100": Model("a100-40gb", 40, _NY, (1, 4), vcpus=12, usd="3.09", source=_CATALOG, date=UNDATED),
    "A100-80G": Model("a100-80gb", 80, _NY, (1, 8), vcpus=12, usd="3.18", source=_CATALOG, date=UNDATED),
    # Sold as "HGX H100", which is the SXM board; the probe looks at what is really there.
    "H100": Model("h100-sxm", 80, _NY, (1, 8), vcpus=15, usd="5.95", source=_CATALOG, date=UNDATED),
}
#: The one label that clients ask NVLink for: whole boards of eight.
NVLINK_COUNT = 8

#: The sizes a disk can have, GB (its answer shows that these are GiB).
DISK_SIZES = (50, 100, 250, 500, 1000, 2000)
#: What is sold everywhere by the clients' lists; 50 only where a template itself is that small.
USUAL_DISK = 100
#: USD per GiB and month. 50 GB are "$5 a month"; the example of 100 GB shows a `storageRate` of 0.01 an hour.
_SMALL_DISK_USD, _DISK_USD = Decimal("0.10"), Decimal("0.073")

_LABEL = re.compile(r"(.+?)(?:x(\d{1,2}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Kind:
    """One machine type: its label, what is in it, and where it is sold."""

    label: str
    gpu: str
    count: int
    memory_gib: float | None
    regions: tuple[str, ...]
    model: Model | None = None

    @property
    def usd_per_hour(self) -> Decimal | None:
        """The snapshot's price for the whole machine; None if it has none.

        Several GPUs cost as many times the price of one in every row that is known.
        """
        usd = self.model.usd if self.model else None
        return None if usd is None else Decimal(usd) * self.count

    @property
    def price_source(self) -> str:
        """Where that price comes from, for people; empty without a price."""
        if self.model is None or self.model.usd is None:
            return ""
        return self.model.source if self.count == 1 else f"{self.model.source}, times {self.count}"

    @property
    def price_date(self) -> str:
        """The day it was read, ``undated``, or empty without a price."""
        return self.model.date if self.model is not None and self.model.usd is not None else ""


def kinds() -> dict[str, Kind]:
    """Every machine type of the snapshot by its label."""
    found = {}
    for name, model in MODELS.items():
        for count in model.counts:
            label = name if count == 1 else f"{name}x{count}"
            found[label] = Kind(label, model.gpu, count, model.memory_gib, model.regions, model)
    return found


KINDS: Mapping[str, Kind] = kinds()


def kind_of(label: str) -> Kind | None:
    """The machine type with that label; None if it has no GPU that we know.

    A label that is newer than the snapshot counts if it names a GPU for certain: without a price, in any region.
    """
    if label in KINDS:
        return KINDS[label]
    match = _LABEL.fullmatch(label)
    if match is None:
        return None
    count = int(match[2] or 1)
    model = MODELS.get(match[1])
    gpu = model.gpu if model else gpus.canonical(match[1])
    if gpu is None or not count:
        return None
    memory = model.memory_gib if model else float(gpus.GPUS[gpu].memory_gib)
    # A count that the snapshot lacks has no price: nobody has seen one.
    return Kind(label, gpu, count, memory, model.regions if model else _ALL)


def disk_size(wanted_gib: int, template_gib: int | None) -> int | None:
    """The smallest disk that can be had with *wanted_gib* GiB and room for a template; None if none is as large."""
    least = max(wanted_gib, template_gib or USUAL_DISK)
    return next((size for size in DISK_SIZES if size >= least), None)


def disk_usd_per_gib_month(size: int) -> Decimal:
    """What a GiB of a disk of *size* costs a month, for the machine's whole life. Larger disks may be cheaper."""
    return _SMALL_DISK_USD if size <= DISK_SIZES[0] else _DISK_USD
