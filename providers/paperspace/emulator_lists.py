"""The emulated Paperspace's lists: filters, order, pages."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

from providers.paperspace.emulator_refusals import invalid, issue

_MOST = 120  # "limit integer 1 - 120" in the API reference of March 2026


def page(
    rows: Sequence[dict[str, Any]],
    query: Mapping[str, str],
    *,
    size: int,
    orders: Sequence[str] = ("dtCreated",),
    key: str = "id",
) -> dict[str, Any]:
    """One page of *rows* as the wire has it.

    Args:
        query: `after`, `limit`, `orderBy` and `order` are read.
        size: items on a page without `limit`.
        orders: fields that `orderBy` may name; the first one is the default. Without `order` it is descending.
        key: the field that tells rows apart.

    Raises:
        Refusal: a parameter breaks a rule.
    """
    field, order = query.get("orderBy", orders[0]), query.get("order", "desc")
    limit, wrong = _limit(query.get("limit", str(size)))
    if field not in orders:
        wrong.append(issue("orderBy", f"Invalid enum value. Expected {' | '.join(orders)}", "invalid_enum_value"))
    if order not in ("asc", "desc"):
        wrong.append(issue("order", "Invalid enum value. Expected asc | desc", "invalid_enum_value"))
    after = _cursor(query["after"]) if query.get("after") else None
    if query.get("after") and after is None:
        wrong.append(issue("after", "Invalid cursor", "custom"))
    if wrong:
        raise invalid(*wrong)

    def place(row: dict[str, Any]) -> tuple[str, str]:
        return str(row[field]), str(row[key])

    ordered = sorted(rows, key=place, reverse=order == "desc")
    if after is not None:
        ordered = [row for row in ordered if (place(row) < after if order == "desc" else place(row) > after)]
    items, more = ordered[:limit], len(ordered) > limit
    following = base64.urlsafe_b64encode(json.dumps(place(items[-1])).encode()).decode() if more else None
    return {"items": items, "hasMore": more, "nextPage": following}


def _limit(text: str) -> tuple[int, list[dict[str, Any]]]:
    if text.isdecimal() and 1 <= int(text) <= _MOST:
        return int(text), []
    return 1, [
        issue("limit", f"Number must be between 1 and {_MOST}", "too_big" if text.isdecimal() else "invalid_type")
    ]


def _cursor(text: str) -> tuple[str, str] | None:
    try:
        value = json.loads(base64.urlsafe_b64decode(text))
    except (binascii.Error, ValueError):
        return None
    if isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value):
        return value[0], value[1]
    return None
