"""What EC2's GPU instance types hold, from DescribeInstanceTypes, and which GPU each family has.

Traps: fractions of an L4 have ``Count`` 0; GPU memory is decimal for some models and binary for others, so the
figure comes from the GPU table; members that an old SDK does not know are missing from its answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from providers import gpus

#: Families of instance types by canonical GPU name: only what narrows a search. AWS has no L40 and no plain A10.
FAMILIES: dict[str, tuple[str, ...]] = {
    "l40s": ("g6e",),
    "l4": ("g6", "gr6", "g6f", "gr6f"),
    "a10g": ("g5",),
    "t4": ("g4dn",),
    "t4g": ("g5g",),
    "rtx-pro-4500": ("g7",),
    "rtx-pro-6000": ("g7e",),
    "a100-40gb": ("p4d",),
    "a100-80gb": ("p4de",),
    "h100-sxm": ("p5",),
    "h200": ("p5e", "p5en"),
    "b200": ("p6-b200",),
    "b300": ("p6-b300",),
    "v100-16gb": ("p3",),
    "v100-32gb": ("p3dn",),
}
#: Every family whose name may stand for a GPU, for searches that the table above cannot narrow.
ANY = ("g*", "p*")

_SXM = frozenset(["H100", "A100"])
_ARCHITECTURES = {"arm64": "arm64", "x86_64": "x86_64"}


class Hardware(NamedTuple):
    """One instance type: memory in GiB, `gpu_fraction` below 1 for a part of one GPU."""

    name: str
    gpu: str
    gpu_count: int
    gpu_fraction: float
    gpu_memory_gib: float | None
    arch: str | None
    vcpus: float | None
    memory_gib: float | None
    bare_metal: bool
    spot: bool
    on_demand: bool


def patterns(wanted: Iterable[str]) -> list[str]:
    """The values of the ``instance-type`` filter that find every type with one of the *wanted* GPUs."""
    names = list(wanted)
    if not names or any(name not in FAMILIES for name in names):
        return list(ANY)
    return [f"{family}.*" for name in names for family in FAMILIES[name]]


def read(rows: Iterable[Mapping[str, Any]]) -> dict[str, Hardware]:
    """The NVIDIA types among *rows* (`InstanceTypes`), by name; what cannot be understood is left out."""
    found = (_one(row) for row in rows if isinstance(row, Mapping))
    return {one.name: one for one in found if one is not None}


def quota_bucket(instance_type: str, pricing: str) -> tuple[str, str]:
    """Name and code of the vCPU quota that an instance type counts against (the spot codes are from memory)."""
    family = "P" if instance_type.startswith("p") else "G and VT"
    codes = {
        ("P", "on-demand"): "L-417A185B",
        ("G and VT", "on-demand"): "L-DB2E81BA",
        ("P", "spot"): "L-7212CCBC",
        ("G and VT", "spot"): "L-3819A6DF",
    }
    way = "spot" if pricing == "spot" else "on-demand"
    return f"{family} vCPUs, {way}", codes[family, way]


def _one(row: Mapping[str, Any]) -> Hardware | None:
    name, gpu = row.get("InstanceType"), _first_gpu(row)
    if not isinstance(name, str) or gpu is None:
        return None
    count, logical = _int(gpu.get("Count")), _int(gpu.get("LogicalGpuCount"))
    fraction = _number(gpu.get("GpuPartitionSize")) or 1.0
    if not 0 < fraction <= 1 or (not count and not (logical and fraction < 1)):
        return None  # a fraction whose size this SDK does not know
    model, memory = _model(str(gpu.get("Name") or ""), _mib(gpu), fraction)
    usage = row.get("SupportedUsageClasses")
    # An unlisted class is not sold; a missing list says nothing.
    classes = set(usage) if isinstance(usage, list) and usage else {"on-demand", "spot"}
    return Hardware(
        name=name,
        gpu=model,
        gpu_count=count or logical,
        gpu_fraction=fraction,
        gpu_memory_gib=memory,
        arch=_architecture(row),
        vcpus=_number(_part(row, "VCpuInfo").get("DefaultVCpus")),
        memory_gib=_gib(_part(row, "MemoryInfo").get("SizeInMiB")),
        bare_metal=row.get("BareMetal") is True or ".metal" in name,
        spot="spot" in classes,
        on_demand="on-demand" in classes,
    )


def _first_gpu(row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    listed = _part(row, "GpuInfo").get("Gpus")
    gpu = listed[0] if isinstance(listed, list) and len(listed) == 1 else None
    if not isinstance(gpu, Mapping) or str(gpu.get("Manufacturer") or "NVIDIA").upper() != "NVIDIA":
        return None
    return gpu


def _model(name: str, mib: float | None, fraction: float) -> tuple[str, float | None]:
    """Our name of the model, and the memory of what is rented of one GPU."""
    whole = None if mib is None else mib / 1024 / fraction
    form = "SXM" if name.upper() in _SXM else None
    canonical = gpus.canonical(name, memory_gib=whole, interface=form) or gpus.canonical(name)
    if canonical is None:
        return gpus.slug(name), None if mib is None else mib / 1024
    nominal = gpus.get(canonical).memory_gib * fraction
    return canonical, float(nominal)


def _architecture(row: Mapping[str, Any]) -> str | None:
    listed = _part(row, "ProcessorInfo").get("SupportedArchitectures")
    words = [word for word in listed if isinstance(word, str)] if isinstance(listed, list) else []
    return next((_ARCHITECTURES[word] for word in words if word in _ARCHITECTURES), None)


def _mib(gpu: Mapping[str, Any]) -> float | None:
    return _number(_part(gpu, "MemoryInfo").get("SizeInMiB"))


def _gib(mib: Any) -> float | None:
    number = _number(mib)
    return None if number is None else number / 1024


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None


def _int(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _part(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = row.get(key)
    return part if isinstance(part, Mapping) else {}
