"""What an hour of an own machine costs: as the user says, or computed from what it cost to buy and to run.

    USD per hour = purchase_usd / (write_off_months * hours_per_month) + watts / 1000 * usd_per_kwh

The purchase is spread over the hours in which the machine is really used until it is written off, so a machine that
idles is dear. Power counts for the hours of use only; *watts* is the whole machine under load, at the wall.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

#: The keys that make a price.
PARTS = ("purchase_usd", "write_off_months", "hours_per_month", "watts", "usd_per_kwh")
_STEP = Decimal("0.000001")


def usd_per_hour(row: Mapping[str, Any]) -> Decimal:
    """USD per hour of the whole machine, to a millionth of a dollar.

    Args:
        row: the machine's keys; money and figures are `Decimal`.

    Raises:
        ValueError: neither price nor all parts are given, or both are, or a divisor is 0.
    """
    given = [part for part in PARTS if part in row]
    if "usd_per_hour" in row:
        if given:
            raise ValueError(f"give either usd_per_hour or {', '.join(PARTS)}, not both")
        price: Decimal = row["usd_per_hour"]
        return price
    missing = [part for part in PARTS if part not in row]
    if missing:
        what = f"{', '.join(missing)} missing" if given else "no price"
        raise ValueError(f"{what}: give usd_per_hour, or all of {', '.join(PARTS)}")
    hours = row["write_off_months"] * row["hours_per_month"]
    if hours <= 0:
        raise ValueError("write_off_months and hours_per_month must be above 0")
    if row["hours_per_month"] > 744:
        raise ValueError("a month has no more than 744 hours")
    total: Decimal = row["purchase_usd"] / hours + row["watts"] / 1000 * row["usd_per_kwh"]
    return total.quantize(_STEP, ROUND_HALF_UP)


def share(price: Decimal, count: int, of: int) -> Decimal:
    """What *count* of a machine's *of* GPUs cost an hour: their part of the whole."""
    return price if count == of else (price * count / of).quantize(_STEP, ROUND_HALF_UP)
