"""How money, times and records read for people. Pure: the time is an argument, nothing is printed."""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING

from orchestrator.cli.output import Cell

if TYPE_CHECKING:
    from orchestrator.models import Lease

UNKNOWN = "?"
NONE = "-"
_STATE_STYLES = {
    "running": "green",
    "planned": "cyan",
    "launching": "cyan",
    "booting": "cyan",
    "ending": "yellow",
    "failed": "red",
    "ended": "dim",
}


def money(usd: Decimal | None) -> str:
    """USD for display: cents, but four decimals below ten dollars where cents would lose something."""
    if usd is None:
        return UNKNOWN
    cents = usd.quantize(Decimal("0.01"), ROUND_HALF_EVEN)
    if cents == usd or abs(usd) >= 10:
        return f"${cents:,}"
    fine = usd.quantize(Decimal("0.0001"), ROUND_HALF_EVEN)
    if fine == 0:
        return "$0.00" if usd == 0 else "<$0.0001"
    text = f"{fine:f}".rstrip("0")
    whole, _, places = text.partition(".")
    return f"${whole}.{places.ljust(2, '0')}"


def rate(usd_per_hour: Decimal | None) -> str:
    """USD per hour."""
    return UNKNOWN if usd_per_hour is None else f"{money(usd_per_hour)}/h"


def span(seconds: float) -> str:
    """A length of time in at most two units: ``45 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    left = int(max(0, seconds))
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for place, (name, size) in enumerate(units):
        if left >= size or size == 1:
            count, rest = divmod(left, size)
            smaller = units[place + 1] if place + 1 < len(units) else None
            if smaller and rest // smaller[1]:
                return f"{count} {name} {rest // smaller[1]} {smaller[0]}"
            return f"{count} {name}"
    return "0 s"


def ago(then: datetime | None, now: datetime) -> str:
    """How long ago, or ``-``."""
    return NONE if then is None else f"{span((now - then).total_seconds())} ago"


def moment(when: datetime | None) -> str:
    """A point in time, RFC 3339 UTC to the second, or ``-``."""
    return NONE if when is None else when.isoformat(timespec="seconds").replace("+00:00", "Z")


def number(value: float | Decimal | None) -> str:
    """A figure without needless decimals."""
    return UNKNOWN if value is None else f"{float(value):g}"


def state(word: str) -> Cell:
    """A lease's state with its colour; the word alone says it all."""
    return (word, _STATE_STYLES.get(word, ""))


def gpus(gpu: str | None, count: int | None, fraction: float = 1.0) -> str:
    """``2 x h100``; a part of a GPU as ``1/6 a10``."""
    if gpu is None:
        return NONE
    if fraction < 1:
        return f"1/{round(1 / fraction)} {gpu}"
    return f"{count} x {gpu}" if count else gpu


def place(provider: str | None, region: str | None) -> str:
    """``provider region``, or ``-`` before there is one."""
    return " ".join(part for part in (provider, region) if part) or NONE


def ssh_line(lease: Lease) -> str | None:
    """Where SSH answers, ``user@host:port``, or None."""
    if lease.address is None:
        return None
    return f"{lease.address.user}@{lease.address.host}:{lease.address.port}"
