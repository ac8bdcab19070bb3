"""The offer search: operators on columns, the order, the cap of 64 rows.

Sources: the official search description (operators, defaults) and the SDK's notes on columns that the server
translates (`verified`, `datacenter`, `geolocation`, `allocated_storage`, `target_reliability`). Clients observed
the cap, and that a filter on `id` matches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from providers.vast.emulator_offers import driver_number
from providers.vast.emulator_wire import invalid_query, is_number

CAP = 64
DEFAULT_STORAGE_GB = Decimal(8)
_KINDS = {
    "on-demand": "on-demand",
    "ondemand": "on-demand",
    "bid": "bid",
    "interruptible": "bid",
    "reserved": "reserved",
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "verified": {"eq": True},
    "rentable": {"eq": True},
    "rented": {"eq": False},
    "external": {"eq": False},
}
#: Keys of a query that are no columns; those that nothing here depends on are accepted and forgotten.
_PLAIN = {
    *("type", "order", "limit", "allocated_storage", "target_reliability", "disable_bundling", "select_cols"),
    *("extra_ids", "gpu_option", "show_incompatible", "sort_option", "template_id"),
}
_OPERATORS = ("eq", "neq", "gt", "gte", "lt", "lte", "in", "notin")
_ALIASES = {
    "dphtotal": "dph_total",
    "gpu_totalram": "gpu_total_ram",
    "ubuntu_version": "os_version",
    "cuda_vers": "cuda_max_good",
}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """One search as it was asked for.

    Attributes:
        kind: ``on-demand``, ``bid`` or ``reserved``.
        where: column to operators to values.
    """

    kind: str
    where: dict[str, dict[str, Any]]
    order: tuple[tuple[str, bool], ...]
    limit: int
    storage_gb: Decimal

    @classmethod
    def of(cls, body: dict[str, Any], ignored: tuple[str, ...] = ()) -> Query:
        """The query in a request's body.

        Args:
            ignored: columns whose filters the server takes and does not honour.

        Raises:
            Refusal: 400, it makes no sense.
        """
        kind = body.get("type", "on-demand")
        if not isinstance(kind, str) or kind not in _KINDS:
            raise invalid_query(f"unknown type {kind!r}")
        where = {name: dict(test) for name, test in _DEFAULTS.items() if name not in body}
        for name, test in body.items():
            if name in _PLAIN or test is None:
                continue
            name = _ALIASES.get(name, name)
            # The SDK also sends bare values for a few columns.
            where[name] = _test(name, test if isinstance(test, dict) else {"eq": test})
        if (least := body.get("target_reliability")) is not None:
            where["expected_reliability"] = {"gte": least}
        storage = to_number(body.get("allocated_storage", DEFAULT_STORAGE_GB))
        if storage is None or storage < 0:
            raise invalid_query("allocated_storage must be a number")
        where = {name: test for name, test in where.items() if name not in ignored}
        return cls(_KINDS[kind], where, _order(body.get("order")), _limit(body.get("limit")), storage)

    def select(self, rows: list[Row]) -> list[Row]:
        """The rows that match, in order, at most `limit` of them."""
        found = [row for row in rows if all(_holds(row, name, test) for name, test in self.where.items())]
        found = [row for row in found if row["disk_space"] >= self.storage_gb]
        if self.kind == "bid":
            found = [row for row in found if row["min_bid"] is not None]
        for column, descending in reversed(self.order):
            _sort(found, column, descending)
        return found[: self.limit]


def _test(name: str, test: dict[str, Any]) -> dict[str, Any]:
    for operator, value in test.items():
        if operator not in _OPERATORS:
            raise invalid_query(f"unknown operator {operator!r} for {name}")
        if operator in ("in", "notin") and not isinstance(value, list):
            raise invalid_query(f"{operator} wants a list for {name}")
    return test


def _order(order: Any) -> tuple[tuple[str, bool], ...]:
    if order is None:
        return (("score", True),)
    if not isinstance(order, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in order):
        raise invalid_query("order must be a list of [column, direction]")
    return tuple((_ALIASES.get(str(column), str(column)), direction == "desc") for column, direction in order)


def _limit(limit: Any) -> int:
    value = CAP if limit is None else to_number(limit)
    if value is None or value < 1:
        raise invalid_query("limit must be a positive integer")
    return min(CAP, int(value))


def _sort(rows: list[Row], column: str, descending: bool) -> None:
    """Sort in place and keep the order of equals; rows without a value come last."""

    def key(row: Row) -> tuple[bool, Any]:
        value = row.get(column)
        return ((value is None) != descending, 0 if value is None else value)

    try:
        rows.sort(key=key, reverse=descending)
    except TypeError:
        raise invalid_query(f"cannot order by {column}") from None


# Operators.


def _holds(row: Row, column: str, test: dict[str, Any]) -> bool:
    if column == "id" and test:
        return False  # observed: an offer is found by `ask_contract_id` only
    if column == "rented" and test.get("eq") in (True, "true"):
        return True  # by the description it lets one's own in, and keeps the others
    have = _column(row, column)
    if column == "driver_version":
        test = {operator: _driver(value) for operator, value in test.items()}
    return have is _UNKNOWN or all(holds(have, operator, value) for operator, value in test.items())


def _driver(value: Any) -> Any:
    return driver_number(value) if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+){1,2}", value) else value


_UNKNOWN: Any = object()
_VIRTUAL: dict[str, Callable[[Row], Any]] = {
    "verified": lambda row: row["verification"] == "verified",
    "datacenter": lambda row: row["hosting_type"] == 1,
    "geolocation": lambda row: row["geolocation"].rpartition(",")[2].strip(),
    "driver_version": lambda row: row["driver_vers"],
}


def _column(row: Row, column: str) -> Any:
    """A row's value; `_UNKNOWN` for a column that there is not, whose filter is ignored."""
    virtual = _VIRTUAL.get(column)
    return virtual(row) if virtual else row.get(column, _UNKNOWN)


def holds(have: Any, operator: str, want: Any) -> bool:
    """Whether a column's value passes one operator. Numbers may come as text, as the CLI sends them."""
    if operator in ("in", "notin"):
        return any(_equal(have, one) for one in want) == (operator == "in")
    if operator in ("eq", "neq"):
        return _equal(have, want) == (operator == "eq")
    left, right = to_number(have), to_number(want)
    if left is None or right is None:
        return False
    return {"gt": left > right, "gte": left >= right, "lt": left < right, "lte": left <= right}[operator]


def _equal(have: Any, want: Any) -> bool:
    if have is None:
        return want in (None, False)
    if isinstance(have, bool):
        return (str(want).lower() in ("true", "1")) == have
    if is_number(have) and (number := to_number(want)) is not None:
        return to_number(have) == number
    return bool(have == want)


def to_number(value: Any) -> Decimal | None:
    """A JSON number, or a number in text; None for anything else."""
    if isinstance(value, Decimal):
        return value
    if not is_number(value) and not isinstance(value, str):
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def filter_value(test: Any, name: str) -> dict[str, Any]:
    """A column's operators in a list's filters, checked.

    Raises:
        Refusal: 400.
    """
    if not isinstance(test, dict):
        raise invalid_query(f"{name} is not a valid filter")
    return _test(name, test)
