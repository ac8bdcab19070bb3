"""What the subscription may rent: restrictions of a size, and the vCPU quotas that it counts against.

A new subscription's quota for GPUs is usually 0, so what can be launched is asked before prices matter. A regular
machine counts against its family and against all vCPUs of the region, a spot machine only against the region's
``lowPriorityCores`` (the "only" is what refusals say, not documentation).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

TOTAL, SPOT = "cores", "lowprioritycores"


class Used(NamedTuple):
    """A quota: how much of it is used, and how much there is."""

    now: int
    limit: int
    title: str

    @property
    def free(self) -> int:
        """What may still be rented."""
        return self.limit - self.now


class Size(NamedTuple):
    """One size in one region, as the SKU list has it. Unknown is None or empty."""

    name: str
    region: str
    family: str
    vcpus: int | None
    memory_gib: float | None
    spot: bool
    generations: str
    restriction: str


def usages(rows: Iterable[Any]) -> dict[str, Used]:
    """The quotas of a region by `key`; what cannot be understood is left out."""
    found: dict[str, Used] = {}
    for row in rows:
        name = row.get("name") if isinstance(row, Mapping) else None
        if not isinstance(name, Mapping) or not isinstance(name.get("value"), str):
            continue
        now, limit = row.get("currentValue"), row.get("limit")
        if isinstance(now, int) and isinstance(limit, int):
            found[key(name["value"])] = Used(now, limit, str(name.get("localizedValue") or name["value"]))
    return found


def key(name: str) -> str:
    """A quota's name for comparing: the lists differ in case and spaces."""
    return "".join(name.lower().split())


def sizes(rows: Iterable[Any], region: str) -> list[Size]:
    """The machine sizes among *rows* of the SKU list that are for *region*."""
    found: dict[str, Size] = {}
    for row in rows:
        if not isinstance(row, Mapping) or str(row.get("resourceType") or "").lower() != "virtualmachines":
            continue
        places = [str(place).lower() for place in _list(row.get("locations"))]
        name = row.get("name")
        if isinstance(name, str) and (not places or region in places):
            found.setdefault(name.lower(), _size(row, name, region))
    return list(found.values())


def short(size: Size, pricing: str, held: Mapping[str, Used] | None) -> str:
    """Why the subscription cannot rent *size* in that way, or nothing if it can as far as is known.

    Args:
        held: the region's quotas, None where they could not be read.
    """
    if size.restriction:
        return size.restriction
    if held is None or size.vcpus is None:
        return ""
    names = [SPOT] if pricing == "spot" else [key(size.family), TOTAL]
    for name in names:
        quota = held.get(name)
        # A family that the list does not have is not known, which is not the same as none.
        if quota is not None and quota.free < size.vcpus:
            return f"quota: {max(0, quota.free)} of {size.vcpus} vCPUs left in {quota.title} ({quota.limit} in all)"
    return ""


def _size(row: Mapping[str, Any], name: str, region: str) -> Size:
    able = {
        str(one.get("name") or "").lower(): str(one.get("value") or "")
        for one in _list(row.get("capabilities"))
        if isinstance(one, Mapping)
    }
    return Size(
        name=name,
        region=region,
        family=str(row.get("family") or ""),
        vcpus=_int(able.get("vcpus")),
        memory_gib=_float(able.get("memorygb")),
        spot=able.get("lowprioritycapable", "True").lower() == "true",
        generations=able.get("hypervgenerations", ""),
        restriction=_restriction(row, region),
    )


def _restriction(row: Mapping[str, Any], region: str) -> str:
    """Why the region is barred. A barred zone is none: offers name no zone, and Azure picks another."""
    for one in _list(row.get("restrictions")):
        if not isinstance(one, Mapping) or str(one.get("type") or "").lower() != "location":
            continue
        info = one.get("restrictionInfo")
        places = _list(info.get("locations") if isinstance(info, Mapping) else None) or _list(one.get("values"))
        if not places or region in [str(place).lower() for place in places]:
            reason = str(one.get("reasonCode") or "restricted")
            return f"{reason}: Azure does not sell it to this subscription in {region}"
    return ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _int(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() and int(text) > 0 else None


def _float(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None
