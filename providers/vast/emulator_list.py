"""`GET /api/v1/instances/`: filters on stored columns, order, columns, pages of at most 25.

Source: the official description of that call. Which columns are stored is documented by examples only.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Mapping
from functools import cmp_to_key
from typing import Any

from providers.vast.emulator_search import filter_value, holds
from providers.vast.emulator_wire import Refusal, invalid_query

PAGE = 25
_TINY_PAGE = 5  # what a limit of 0 or less means
STORED = frozenset(
    {
        *("id", "label", "actual_status", "cur_state", "next_state", "intended_status", "status_msg", "is_bid"),
        *("gpu_name", "verification", "machine_id", "host_id", "image_uuid", "image_runtype", "start_date", "end_date"),
    }
)

Row = dict[str, Any]


def answer(rows: list[Row], query: Mapping[str, str]) -> dict[str, Any]:
    """One page of *rows*.

    Raises:
        Refusal: 400, the query makes no sense.
    """
    found = _filtered(rows, _json(query, "select_filters", {}))
    order = _order(_json(query, "order_by", []))
    compare = _comparison(order)
    found.sort(key=cmp_to_key(compare))
    after = query.get("after_token")
    rest = found
    if after:
        last = _token(after, order)
        rest = [row for row in found if compare(row, last) > 0]
    page = rest[: _limit(query)]
    more = len(rest) > len(page)
    labels = Counter(row["label"] or "" for row in found)
    return {
        "success": True,
        "instances_found": len(page),
        "total_instances": len(found),
        "label_counts": dict(labels),
        "next_token": _make_token(page[-1], order) if more else None,
        "instances": _columns(page, _json(query, "select_cols", ["*"])),
    }


def _json(query: Mapping[str, str], name: str, default: Any) -> Any:
    text = query.get(name)
    if text is None:
        return default
    try:
        value = json.loads(text)
    except ValueError:
        raise invalid_query(f"{name} is not valid json") from None
    if not isinstance(value, type(default)):
        raise invalid_query(f"{name} has the wrong type")
    return value


def _filtered(rows: list[Row], filters: dict[str, Any]) -> list[Row]:
    tests = {}
    for name, test in filters.items():
        if name not in STORED:
            raise invalid_query(f"{name} is not a valid search key")
        tests[name] = filter_value(test, name)
    return [
        row
        for row in rows
        if all(holds(row.get(name), op, want) for name, test in tests.items() for op, want in test.items())
    ]


def _limit(query: Mapping[str, str]) -> int:
    try:
        limit = int(query.get("limit", PAGE))
    except ValueError:
        raise invalid_query("limit is not an integer") from None
    return min(PAGE, limit) if limit > 0 else _TINY_PAGE


def _columns(rows: list[Row], columns: list[Any]) -> list[Row]:
    if "*" in columns or not columns:
        return rows
    return [{str(name): row.get(str(name)) for name in columns} for row in rows]


# Order and pages.


def _order(order: list[Any]) -> list[tuple[str, int]]:
    found = []
    for item in order:
        column = item.get("col") if isinstance(item, dict) else None
        if column not in STORED:
            raise invalid_query(f"{column} is not a valid order column")
        found.append((column, -1 if item.get("dir") == "desc" else 1))
    return found if any(column == "id" for column, _ in found) else [*found, ("id", 1)]


def _comparison(order: list[tuple[str, int]]) -> Any:
    def compare(left: Row, right: Row) -> int:
        for column, sign in order:
            a, b = _sortable(left.get(column)), _sortable(right.get(column))
            if a != b:
                return sign if a > b else -sign
        return 0

    return compare


def _sortable(value: Any) -> tuple[bool, Any]:
    return (value is not None, value if value is not None else 0)


def _make_token(row: Row, order: list[tuple[str, int]]) -> str:
    values = {column: row.get(column) for column, _ in order}
    return base64.urlsafe_b64encode(json.dumps({"values": values}).encode()).decode()


def _token(text: str, order: list[tuple[str, int]]) -> Row:
    try:
        values = json.loads(base64.urlsafe_b64decode(text.encode()))["values"]
        if set(values) != {column for column, _ in order} or not isinstance(values["id"], int):
            raise ValueError(text)
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise Refusal(400, "invalid_token", "Invalid pagination token") from None
    row: Row = values
    return row
