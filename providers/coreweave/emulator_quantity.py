"""Kubernetes quantities: ``500m``, ``110Gi``, ``8``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

Json = dict[str, Any]

_FORM = re.compile(r"^([+-]?(?:\d+(?:\.\d*)?|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d+)?$")
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}

GPU = "nvidia.com/gpu"


def parse(text: object) -> Decimal:
    """The number that a quantity stands for, in its base unit (cores, bytes, pieces).

    Raises:
        ValueError: it is no quantity.
    """
    match = _FORM.match(str(text)) if isinstance(text, str | int) and not isinstance(text, bool) else None
    if match is None:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    number, unit = Decimal(match[1]), match[2] or ""
    if unit in _BINARY:
        return number * Decimal(1024) ** _BINARY[unit]
    if unit in _DECIMAL:
        return number.scaleb(_DECIMAL[unit])
    return number * Decimal(f"1{unit}") if unit else number


def requests(spec: Json) -> dict[str, Decimal]:
    """What a Pod's containers ask for together; init containers run before and count by their largest."""
    total: dict[str, Decimal] = {}
    for container in spec.get("containers") or []:
        for name, amount in _asked(container).items():
            total[name] = total.get(name, Decimal(0)) + amount
    for container in spec.get("initContainers") or []:
        for name, amount in _asked(container).items():
            total[name] = max(total.get(name, Decimal(0)), amount)
    return total


def _asked(container: Json) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    found = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: parse(amount) for name, amount in found.items()}


def gpus(spec: Json) -> int:
    """How many GPUs a Pod asks for."""
    return int(requests(spec).get(GPU, Decimal(0)))


def total(pods: Iterable[Json]) -> dict[str, Decimal]:
    """What several Pods ask for together; each counts as one of the node's ``pods`` too."""
    sums: dict[str, Decimal] = {"pods": Decimal(0)}
    for pod in pods:
        sums["pods"] += 1
        for name, amount in requests(pod["spec"]).items():
            sums[name] = sums.get(name, Decimal(0)) + amount
    return sums


def quality(spec: Json) -> str:
    """The Pod's quality-of-service class. Only cpu and memory count."""
    asked: list[tuple[Json, Json]] = []
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        resources = container.get("resources") or {}
        limits, wanted = resources.get("limits") or {}, resources.get("requests") or {}
        asked.append(({k: limits[k] for k in _CLASSED if k in limits}, {k: wanted[k] for k in _CLASSED if k in wanted}))
    if not any(limits or wanted for limits, wanted in asked):
        return "BestEffort"
    whole = all(len(limits) == len(_CLASSED) and _same(limits, wanted) for limits, wanted in asked)
    return "Guaranteed" if whole else "Burstable"


_CLASSED = ("cpu", "memory")


def _same(limits: Json, wanted: Json) -> bool:
    return all(parse(wanted.get(name, amount)) == parse(amount) for name, amount in limits.items())


def text(amount: Decimal) -> str:
    """A plain number as Kubernetes writes it."""
    return f"{amount.normalize():f}"
