"""Kubernetes quantities: ``15500m`` CPUs, ``1050000000Ki`` bytes, ``8`` GPUs. Exact, in `Decimal`."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

_FORM = re.compile(r"([+-]?[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]{1,3})?)(n|u|m|k|Ki|[MGTPE]i?)?", re.ASCII)
_UNITS: dict[str, Decimal] = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    **{letter: Decimal(10 ** (3 * power)) for power, letter in enumerate("MGTPE", 2)},
    **{f"{letter}i": Decimal(2 ** (10 * power)) for power, letter in enumerate("KMGTPE", 1)},
}

GIB = 2**30


def parse(value: Any) -> Decimal | None:
    """The number a quantity stands for (bytes for sizes); None if it is no quantity."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    match = _FORM.fullmatch(str(value).strip())
    if match is None:
        return None
    try:
        return Decimal(match[1]) * _UNITS[match[2] or ""]
    except InvalidOperation:
        return None


def amount(resources: Any, name: str) -> Decimal:
    """That resource of a ``limits``, ``requests`` or ``allocatable`` map; 0 where it is not there."""
    return (parse(resources.get(name)) if isinstance(resources, dict) else None) or Decimal(0)
