"""Single values of Vast.ai's answers, read leniently: null, missing, absurd or of another type is None.

JSON numbers arrive as int or `Decimal` (`providers.http`); a float can only be a NaN or an infinity.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

#: Hours of the month by which Vast.ai prices disks (`storage_cost × GB / 720` an hour).
HOURS_PER_STORAGE_MONTH = 720
#: Hours of the month in `Offer.storage_usd_per_gib_month`.
HOURS_PER_MONTH = 730

_GB, _GIB = 10**9, 2**30
_MOST = Decimal(10) ** 15
_LEAST = Decimal(10) ** -15
_COUNTRY = re.compile(r"(?:^|[,\s])([A-Z]{2})$")


def number(value: Any, least: float = 0, most: float = 10**15) -> Decimal | None:
    """A number between *least* and *most*, both included."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    exact = Decimal(value)
    if not exact.is_finite() or exact.copy_abs() > _MOST or (exact and exact.copy_abs() < _LEAST):
        return None  # compared before anything is computed: an exponent of a million would overflow
    return exact if least <= exact <= most else None


def positive(value: Any, most: float = 10**15) -> Decimal | None:
    """A number above 0: prices and sizes, where 0 is a missing value."""
    found = number(value, most=most)
    return found or None


def whole(value: Any) -> int | None:
    """A whole number above 0, also as text: ids."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value, re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 10**18:
        return None
    return value


def text(value: Any) -> str | None:
    """A text without the blanks and newlines that stray around many of them."""
    return (value.strip() or None) if isinstance(value, str) else None


def truth(value: Any) -> bool | None:
    """A yes or no."""
    return value if isinstance(value, bool) else None


def moment(value: Any) -> datetime | None:
    """Unix seconds between 2000 and 2100, as a time in UTC."""
    seconds = number(value, 946_684_800, 4_102_444_800)
    return None if seconds is None else datetime.fromtimestamp(float(seconds), UTC)


def country(geolocation: Any) -> str | None:
    """The two-letter code at the end of ``City/State, CC``; None where a country is spelled out."""
    found = _COUNTRY.search(text(geolocation) or "")
    return found[1] if found else None


def gib_of_mib(value: Any) -> float | None:
    """GiB of what the wire calls MB: its figures are those of `nvidia-smi` and the kernel, in MiB."""
    found = positive(value, most=10**9)
    return None if found is None else float(found / 1024)


def gib_of_gb(value: Any) -> float | None:
    """GiB of a disk size in GB (10^9 bytes)."""
    found = positive(value, most=10**9)
    return None if found is None else float(found * _GB / _GIB)


def disk_gb(disk_gib: int) -> int:
    """Whole GB that hold at least *disk_gib* GiB; at least 8, the smallest disk there is."""
    return max(8, -(-disk_gib * _GIB // _GB))


def usd_per_gib_month(usd_per_gb_month: Decimal) -> Decimal:
    """A disk price of the wire (GB, 720 hours) in the contract's terms (GiB, 730 hours)."""
    return usd_per_gb_month * (HOURS_PER_MONTH * _GIB) / (HOURS_PER_STORAGE_MONTH * _GB)


def storage_part(usd_per_gb_month: Decimal, gb: Decimal) -> Decimal:
    """USD per hour for *gb* of disk."""
    return usd_per_gb_month * gb / HOURS_PER_STORAGE_MONTH


def traffic_price(row: Mapping[str, Any], direction: str) -> Decimal | None:
    """USD per GB *up* (out of the machine) or *down*; 0 is really free, None is unknown.

    Two fields say the same; where one says 0 and the other does not, the dearer one is believed.
    """
    per_gb = number(row.get(f"inet_{direction}_cost"), most=10)
    per_tb = number(row.get(f"internet_{direction}_cost_per_tb"), most=10_000)
    if per_tb is not None and not per_gb:
        return per_tb / 1000
    return per_gb
