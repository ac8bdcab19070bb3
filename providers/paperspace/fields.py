"""Reading single fields of Paperspace's answers: what is missing or of another kind is None, and never a crash."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

#: USD per hour above which a figure is a mistake: unknown.
_ABSURD = 10_000


def record(value: Any) -> dict[str, Any]:
    """*value* if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def text(value: Any) -> str | None:
    """*value* if it is a text that says something, stripped."""
    return value.strip() or None if isinstance(value, str) else None


def number(value: Any) -> Decimal | None:
    """*value* as a number. Sizes and rates are typed as numbers but were never seen: texts are taken, too."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        found = Decimal(value)
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def usd_per_hour(value: Any) -> Decimal | None:
    """A rate in USD per hour; None if it is no sensible price: zero is not free.

    The unit of `usageRate` is not documented; the example's figure is the list price per hour.
    """
    found = number(value)
    return found if found is not None and 0 < found <= _ABSURD else None


def moment(value: Any) -> datetime | None:
    """An ISO 8601 time in UTC; None if it is none."""
    try:
        found = datetime.fromisoformat(text(value) or "")
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def unwrapped(value: Any) -> dict[str, Any]:
    """The thing itself: changes answer ``{"data": thing, "event": ...}``, reads answer the bare thing."""
    outer = record(value)
    inner = outer.get("data")
    return inner if isinstance(inner, dict) and "id" not in outer else outer
