"""Quantities as people write them: ``500GB``, ``1.5TB``, ``200GiB``, ``30m``, ``2h``.

Letters are taken as they stand (``gb`` could be bits), nothing is guessed: what is not listed here is a
`BadRequest`. Volumes sent over networks are billed per GB of 10^9 bytes, disks and memory per GiB of 2^30.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from policies.errors import BadRequest

_BYTES = {"GB": 10**9, "TB": 10**12, "GiB": 2**30, "TiB": 2**40}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_QUANTITY = re.compile(r"(-?)(\d+(?:\.\d+)?|\.\d+)([A-Za-z]*)", re.ASCII)

Text = str | int | float | Decimal


def volume_gb(value: Text, name: str) -> float:
    """GB (10^9 bytes) of ``500``, ``500GB``, ``1.5TB``, ``200GiB`` or ``2TiB``; a bare number is GB.

    Raises:
        BadRequest: anything else. *name* is the option that the message speaks of.
    """
    return float(_bytes(value, name, bare="GB") / 10**9)


def size_gib(value: Text, name: str) -> float:
    """GiB (2^30 bytes), written as for `volume_gb`; a bare number is GiB.

    Raises:
        BadRequest: anything else.
    """
    return float(_bytes(value, name, bare="GiB") / 2**30)


def duration_s(value: Text, name: str, *, bare: str | None = None) -> float:
    """Seconds of ``90s``, ``30m``, ``2h`` or ``1d``.

    Args:
        bare: the unit of a bare number, or None where a bare number other than 0 is refused, because hours
            taken for seconds cost money.

    Raises:
        BadRequest: anything else.
    """
    number, unit = _split(value, name, "a duration", "write 90s, 30m, 2h or 1d")
    if not unit:
        if number and bare is None:
            raise BadRequest(f"{name}: {value} has no unit", hint=f"write {value}m, {value}h or {value}s")
        unit = bare or "s"
    if unit not in _SECONDS:
        raise BadRequest(f"{name}: {unit!r} is not a unit of time", hint="write 90s, 30m, 2h or 1d")
    return float(number * _SECONDS[unit])


def number(value: Text, name: str) -> float:
    """A plain number without a unit.

    Raises:
        BadRequest: it is none.
    """
    return float(decimal(value, name))


def whole(value: Text, name: str) -> int:
    """A whole number.

    Raises:
        BadRequest: it is none.
    """
    found = decimal(value, name)
    if found != found.to_integral_value():
        raise BadRequest(f"{name}: {value} is not a whole number")
    return int(found)


def money(value: Text, name: str) -> Decimal:
    """USD as a decimal; a leading ``$`` is understood.

    Raises:
        BadRequest: it is no amount.
    """
    return decimal(value.strip().removeprefix("$") if isinstance(value, str) else value, name)


def decimal(value: Text, name: str) -> Decimal:
    """A finite decimal number, exactly as written.

    Raises:
        BadRequest: it is none.
    """
    try:
        found = Decimal(str(value).strip()) if not isinstance(value, bool) else Decimal("NaN")
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite():
        raise BadRequest(f"{name}: {value!r} is not a number")
    return found


def _bytes(value: Text, name: str, *, bare: str) -> Decimal:
    number, unit = _split(value, name, "an amount of data", "write 500GB, 1.5TB, 200GiB or 2TiB")
    unit = unit or bare
    if unit not in _BYTES:
        alike = {known.lower(): known for known in _BYTES}.get(unit.lower())
        hint = f"write {number}{alike}" if alike else "units are GB, TB (10^9, 10^12) and GiB, TiB (2^30, 2^40)"
        raise BadRequest(f"{name}: {unit!r} is not a unit of data", hint=hint)
    return number * _BYTES[unit]


def _split(value: Text, name: str, what: str, hint: str) -> tuple[Decimal, str]:
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value.strip())
        if not match:
            raise BadRequest(f"{name}: {value!r} is not {what}", hint=hint)
        sign, digits, unit = match.groups()
        return _not_negative(Decimal(sign + digits), value, name), unit
    return _not_negative(decimal(value, name), value, name), ""


def _not_negative(number: Decimal, value: Text, name: str) -> Decimal:
    if number < 0:
        raise BadRequest(f"{name}: {value} must not be negative")
    return number
