"""Which GPU an Azure size holds: the API names none, so it comes from the size's name.

Sources: Microsoft's GPU size pages and their tables (A10 v5, NC H100 v5 and RTX PRO 6000 read page by page). Two traps:
the API reports one whole GPU for a sixth of one, and retired series stay in its lists; only the names below are sold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from providers import gpus

#: How a machine comes to its NVIDIA driver: ``cuda`` inside the default image, ``grid`` by an extension after the
#: boot (an A10 refuses the CUDA driver), ``own`` only with an image that the user brings.
Driver = Literal["cuda", "grid", "own"]


class Held(NamedTuple):
    """What one size holds: a *number* of GPUs; `fraction` below 1 is a part of one."""

    gpu: str
    number: int
    fraction: float
    driver: Driver

    @property
    def memory_gib(self) -> float:
        """Memory of what is rented of one GPU."""
        return gpus.get(self.gpu).memory_gib * self.fraction


#: Series of which the CPUs in the name tell what the size holds: CPUs -> (GPUs, part of one).
_A10_V5 = {6: (1, 1 / 6), 12: (1, 1 / 3), 18: (1, 1 / 2), 36: (1, 1.0), 72: (2, 1.0)}
# The API says one GPU for all three, others take the smallest for half of one, and by price the largest would hold two:
# the least of what is said is promised.
_A10_V4 = {8: (1, 1 / 2), 16: (1, 1.0), 32: (1, 1.0)}
_T4 = {4: (1, 1.0), 8: (1, 1.0), 16: (1, 1.0), 64: (4, 1.0)}
_A100 = {24: (1, 1.0), 48: (2, 1.0), 96: (4, 1.0)}
_H100_NVL = {40: (1, 1.0), 80: (2, 1.0)}
_EIGHT = {96: (8, 1.0)}
# Unverified: the pages say "a fraction to two", and the prices of these sizes stand to each other as here. Sizes with
# fewer CPUs fit no such step and are left out.
_RTX_PRO = {32: (1, 1 / 4), 36: (1, 1 / 4), 64: (1, 1 / 2), 72: (1, 1 / 2)}
_RTX_PRO |= dict.fromkeys((128, 132, 144), (1, 1.0)) | dict.fromkeys((256, 264, 288, 320, 324), (2, 1.0))

# Left out on purpose: NCC40ads_H100_v5 (confidential machines need an image and a driver set-up of their own).
_SERIES: tuple[tuple[re.Pattern[str], dict[int, tuple[int, float]], str, Driver], ...] = (
    (re.compile(r"^standard_nv(\d+)adm?s_a10_v5$"), _A10_V5, "a10", "grid"),
    (re.compile(r"^standard_nc(\d+)ads_a10_v4$"), _A10_V4, "a10", "grid"),
    (re.compile(r"^standard_nc(\d+)as_t4_v3$"), _T4, "t4", "cuda"),
    (re.compile(r"^standard_nc(\d+)ads_a100_v4$"), _A100, "a100-80gb", "cuda"),
    (re.compile(r"^standard_nd(96)asr(?:_a100)?_v4$"), _EIGHT, "a100-40gb", "cuda"),
    (re.compile(r"^standard_nd(96)amsr?_a100_v4$"), _EIGHT, "a100-80gb", "cuda"),
    (re.compile(r"^standard_nc(\d+)adi?s_h100_v5$"), _H100_NVL, "h100-nvl", "cuda"),
    (re.compile(r"^standard_nd(96)is\w*_h100_v5$"), _EIGHT, "h100-sxm", "cuda"),
    (re.compile(r"^standard_nd(96)is\w*_h200_v5$"), _EIGHT, "h200", "cuda"),
    (re.compile(r"^standard_nc(\d+)l?ds_xl_rtxpro6000bse_v6$"), _RTX_PRO, "rtx-pro-6000", "own"),
)

_FAMILY = re.compile(r"^standardn[cdv]\w*family$|^ndisrh200v5")

#: Every model that is sold, for notes.
MODELS = tuple(dict.fromkeys(gpu for _, _, gpu, _ in _SERIES))
_TITLES = "A10, T4, A100, H100, H200, RTX PRO 6000"
#: The nearest that there is, for people.
_NEAREST = {"l40": "A10 (24 GB)", "l40s": "A10 (24 GB)", "l4": "A10 (24 GB)", "rtx-6000-ada": "RTX PRO 6000"}


def held(name: str) -> Held | None:
    """What the size *name* (any case) holds, or None if it is none of ours."""
    text = name.lower()
    for shape, steps, gpu, driver in _SERIES:
        match = shape.match(text)
        if match is not None and int(match[1]) in steps:
            count, fraction = steps[int(match[1])]
            return Held(gpu, count, fraction, driver)
    return None


def missing(wanted: tuple[str, ...]) -> list[str]:
    """A line for each of *wanted* that Azure rents in no region."""
    return list(_lines(wanted))


def _lines(wanted: tuple[str, ...]) -> Iterator[str]:
    for gpu in wanted:
        if gpu not in MODELS:
            title = gpus.GPUS[gpu].title.removeprefix("NVIDIA ") if gpu in gpus.GPUS else gpu
            near = f"; nearest: {_NEAREST[gpu]}" if gpu in _NEAREST else ""
            yield f"rents no {title} (it has {_TITLES}{near})"


def is_family(name: str) -> bool:
    """Whether *name* (a quota's, see `quota.key`) is a family of machines with GPUs that are sold here."""
    return _FAMILY.search(name) is not None
