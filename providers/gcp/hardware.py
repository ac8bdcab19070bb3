"""What Google's GPU machine types hold, and which family has which GPU.

Most families bundle their GPUs; to an N1 machine they are attached one by one. Google has never rented L40, L40S, A10
or RTX 6000 Ada.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from providers import gpus

#: Prefixes of machine types by canonical GPU name.
FAMILIES: dict[str, tuple[str, ...]] = {
    "l4": ("g2",),
    "rtx-pro-6000": ("g4",),
    "a100-40gb": ("a2",),
    "a100-80gb": ("a2",),
    "h100-sxm": ("a3",),
    "h200": ("a3",),
    "b200": ("a4",),
}
_BUNDLING = ("a2", "a3", "a4", "g2", "g4")
HAS = "L4, T4, V100, P100, P4, RTX PRO 6000, A100, H100, H200, B200"

#: Google's name of an accelerator -> our GPU name, and the region quota that counts it (None: not in that list).
ACCELERATORS: dict[str, tuple[str, str | None]] = {
    "nvidia-l4": ("l4", "NVIDIA_L4_GPUS"),
    "nvidia-tesla-t4": ("t4", "NVIDIA_T4_GPUS"),
    "nvidia-tesla-v100": ("v100-16gb", "NVIDIA_V100_GPUS"),
    "nvidia-tesla-p100": ("p100", "NVIDIA_P100_GPUS"),
    "nvidia-tesla-p4": ("p4", "NVIDIA_P4_GPUS"),
    "nvidia-tesla-a100": ("a100-40gb", "NVIDIA_A100_GPUS"),
    "nvidia-a100-80gb": ("a100-80gb", "NVIDIA_A100_80GB_GPUS"),
    "nvidia-h100-80gb": ("h100-sxm", None),
    "nvidia-h100-mega-80gb": ("h100-sxm", None),
    "nvidia-h200-141gb": ("h200", None),
    "nvidia-b200": ("b200", None),
    "nvidia-rtx-pro-6000": ("rtx-pro-6000", None),
}
#: What is attached to N1 machines: how many, to which types. Eight vCPUs a GPU are allowed for all of them.
_ATTACHED: dict[str, dict[int, tuple[str, ...]]] = {
    "nvidia-tesla-t4": {1: ("n1-standard-4", "n1-standard-8"), 2: ("n1-standard-16",), 4: ("n1-standard-32",)},
    "nvidia-tesla-v100": {
        1: ("n1-standard-8",),
        2: ("n1-standard-16",),
        4: ("n1-standard-32",),
        8: ("n1-standard-64",),
    },
    "nvidia-tesla-p100": {1: ("n1-standard-8",), 2: ("n1-standard-16",), 4: ("n1-standard-32",)},
    "nvidia-tesla-p4": {1: ("n1-standard-8",), 2: ("n1-standard-16",), 4: ("n1-standard-32",)},
}
_N1_SIZES = sorted({name for counts in _ATTACHED.values() for names in counts.values() for name in names})
_SHORT = {"nvidia-tesla-t4": "t4", "nvidia-tesla-v100": "v100", "nvidia-tesla-p100": "p100", "nvidia-tesla-p4": "p4"}

#: Sold as spot, reservation or flex start only (Google's consumption table).
_NOT_ON_DEMAND = ("a3-highgpu-1g", "a3-highgpu-2g", "a3-highgpu-4g", "a3-ultragpu-", "a4-")
#: Local SSDs of 375 GiB that come along, where the API does not say (`bundledLocalSsds`): per GPU.
_SSDS_PER_GPU = {"a2-ultragpu": 1, "a3-highgpu": 2, "a3-megagpu": 2, "a3-ultragpu": 4, "a4-highgpu": 4}
_G4_VCPUS = 48
#: These boot from Hyperdisk only. (A3 Ultra from memory; Hyperdisk serves it in either case.)
_HYPERDISK = ("g4-", "a4-", "a3-ultragpu-")


class Machine(NamedTuple):
    """A machine type with its GPUs in one zone; memory in GiB, `ssds` of 375 GiB each.

    `attached` says that the GPUs must be asked for beside the machine type.
    """

    zone: str
    type: str
    accelerator: str
    gpu_count: int
    vcpus: int
    memory_gib: float
    arch: str
    ssds: int
    attached: bool

    @property
    def name(self) -> str:
        """The offer's name for it: ``g2-standard-4``, ``n1-standard-8+t4x1``."""
        if not self.attached:
            return self.type
        return f"{self.type}+{_SHORT.get(self.accelerator, self.accelerator)}x{self.gpu_count}"

    @property
    def gpu(self) -> str:
        """The canonical name of its GPU, or a plain form of Google's."""
        if self.accelerator in ACCELERATORS:
            return ACCELERATORS[self.accelerator][0]
        return gpus.canonical(self.accelerator) or gpus.slug(self.accelerator)

    @property
    def fraction(self) -> float:
        """The part of one GPU that it holds: the smallest G4 types share a GPU.

        Only their vCPUs tell (48 come with a whole GPU): the API counts a part as one. Not verified.
        """
        share = self.vcpus / (self.gpu_count * _G4_VCPUS)
        return share if self.type.startswith("g4-") and share < 1 else 1.0

    @property
    def on_demand(self) -> bool:
        """Whether it is sold without a reservation and not as spot."""
        return not self.type.startswith(_NOT_ON_DEMAND)

    @property
    def disk_type(self) -> str:
        """The kind of disk that it boots from."""
        return "hyperdisk-balanced" if self.type.startswith(_HYPERDISK) else "pd-balanced"


def wanted(names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The bundling families and the attachable accelerators that may hold the GPUs *names* (empty: all)."""
    asked = set(names)
    if not asked:
        return _BUNDLING, tuple(_ATTACHED)
    families = {family for name in asked for family in FAMILIES.get(name, ())}
    attached = tuple(name for name in _ATTACHED if ACCELERATORS[name][0] in asked)
    return tuple(sorted(families)), attached


def type_filter(families: Iterable[str], attached: Iterable[str]) -> str:
    """The list filter, a regular expression that has to match whole names."""
    parts = [f"{family}-.+" for family in families] + (list(_N1_SIZES) if tuple(attached) else [])
    return f'name eq "{"|".join(parts)}"'


def bundled(zone: str, row: Mapping[str, Any]) -> Machine | None:
    """A machine type that has GPUs of its own; None for any other, and for what cannot be understood."""
    listed = row.get("accelerators")
    first = listed[0] if isinstance(listed, list) and len(listed) == 1 and isinstance(listed[0], Mapping) else {}
    accelerator = str(first.get("guestAcceleratorType") or "").rpartition("/")[2]
    count = _int(first.get("guestAcceleratorCount"))
    # The last are licences for the same GPU as a virtual workstation.
    if not accelerator or not count or accelerator.endswith("-vws"):
        return None
    return _machine(zone, row, accelerator, count, attached=False)


def attached(zone: str, row: Mapping[str, Any], accelerators: Mapping[str, int]) -> Iterator[Machine]:
    """What an N1 type becomes with the *accelerators* of its zone (name to how many fit one machine)."""
    for accelerator, most in accelerators.items():
        for count, names in _ATTACHED.get(accelerator, {}).items():
            if row.get("name") in names and count <= most:
                machine = _machine(zone, row, accelerator, count, attached=True)
                if machine is not None:
                    yield machine


def quota_metric(accelerator: str, *, spot: bool) -> str | None:
    """The region's quota that counts an accelerator, or None where it is not in that list."""
    metric = ACCELERATORS.get(accelerator, ("", None))[1]
    if spot and accelerator == "nvidia-h100-80gb":
        return "PREEMPTIBLE_NVIDIA_H100_GPUS"
    return f"PREEMPTIBLE_{metric}" if metric and spot else metric


def _machine(zone: str, row: Mapping[str, Any], accelerator: str, count: int, *, attached: bool) -> Machine | None:
    name, vcpus, memory = row.get("name"), _int(row.get("guestCpus")), _int(row.get("memoryMb"))
    deprecated = row.get("deprecated")
    gone = isinstance(deprecated, Mapping) and deprecated.get("state") in ("OBSOLETE", "DELETED")
    if not isinstance(name, str) or not name or not vcpus or not memory or gone:
        return None
    return Machine(
        zone=zone,
        type=name,
        accelerator=accelerator,
        gpu_count=count,
        vcpus=vcpus,
        memory_gib=memory / 1024,
        arch="arm64" if row.get("architecture") == "ARM64" else "x86_64",
        ssds=_ssds(name, row, count),
        attached=attached,
    )


def _ssds(name: str, row: Mapping[str, Any], count: int) -> int:
    said = row.get("bundledLocalSsds")
    if isinstance(said, Mapping) and "partitionCount" in said:
        return _int(said.get("partitionCount"))
    family = name.rpartition("-")[0]
    return _SSDS_PER_GPU.get(family, 0) * count


def _int(value: Any) -> int:
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
