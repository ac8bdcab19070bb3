"""NodePools: what CoreWeave says of one that is to grow, and whether its nodes have left.

Reasons of conditions are not all documented. What is known is in the table; of the rest, words decide (`quota`,
`capacity`), and else it counts as waiting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from providers.coreweave.errors import trouble
from providers.coreweave.nodes import condition, part
from providers.errors import ProviderError

Json = dict[str, Any]

#: "Queued" resolves some day. After this long it is no capacity for us.
CAPACITY_PATIENCE_S = 60.0
#: Docs say 5 to 15 minutes for a node, others measured 20 for an H100; longer than this is a failure.
NODE_DEADLINE_S = 2400.0
_BAD_CAPACITY = ("queued", "insufficient", "awaiting")


def type_of(pool: Mapping[str, Any]) -> str | None:
    """Its instance type."""
    name = part(pool, "spec").get("instanceType")
    return name if isinstance(name, str) else None


def is_spot(pool: Mapping[str, Any]) -> bool:
    """Whether it holds spot nodes; the spelling differs between documents."""
    return str(part(pool, "spec").get("computeClass", "")).lower() == "spot"


def target(pool: Mapping[str, Any]) -> int:
    """How many nodes it wants."""
    return _count(part(pool, "spec").get("targetNodes"))


def nodes(pool: Mapping[str, Any]) -> int:
    """How many nodes it has, is getting, or waits for."""
    status = part(pool, "status")
    # One document writes inProgress, another inProgressNodes.
    names = ("currentNodes", "queuedNodes", "inProgress", "inProgressNodes")
    return sum(_count(status.get(name)) for name in names)


def arriving(pool: Mapping[str, Any]) -> bool:
    """Whether a node is there or being delivered: past all doubts of quota and capacity."""
    status = part(pool, "status")
    return any(_count(status.get(name)) for name in ("currentNodes", "inProgress", "inProgressNodes"))


def refusal(pool: Mapping[str, Any]) -> ProviderError | None:
    """What stands in the way of its growth for good: quota, or a spec that is not accepted."""
    valid, quota = condition(pool, "Valid"), condition(pool, "Quota")
    if valid is not None and valid.get("status") == "False":
        return trouble("pool", "Valid", _words(valid))
    if quota is not None:
        if _reason(quota) == "notset":
            return trouble("pool", "Quota/NotSet", _words(quota))
        if quota.get("status") == "False":
            return trouble("pool", "Quota", _words(quota))
    return _by_words(pool, "quota")


def waiting(pool: Mapping[str, Any]) -> ProviderError | None:
    """What stands in the way of its growth for now: the zone is full."""
    capacity = condition(pool, "Capacity")
    if capacity is None:
        return _by_words(pool, "capacity")
    full = capacity.get("status") == "False" or any(word in _reason(capacity) for word in _BAD_CAPACITY)
    return trouble("pool", "Capacity", _words(capacity)) if full else None


def failure(pool: Mapping[str, Any], now: datetime, patience_s: float = CAPACITY_PATIENCE_S) -> ProviderError | None:
    """Why no node will come to the pool, or None while one may."""
    if arriving(pool):
        return None
    if error := refusal(pool):
        return error
    since = made_at(pool)
    full = waiting(pool)
    return full if full is not None and (since is None or (now - since).total_seconds() >= patience_s) else None


def of_events(events: Iterable[Mapping[str, Any]]) -> ProviderError | None:
    """What the latest telling event of a pool means; capacity and quota have their own."""
    for event in reversed(list(events)):
        if error := trouble("event", str(event.get("reason", "")), str(event.get("message", ""))):
            return error
        if str(event.get("reason", "")) in ("CWNodeAssigned", "CWNodeRegistered"):
            return None
    return None


def can_grow(pool: Mapping[str, Any]) -> bool | None:
    """Whether the type has quota and capacity, as the pool's conditions say; None where they do not."""
    if refusal(pool) is not None or waiting(pool) is not None:
        return False
    states = [(condition(pool, name) or {}).get("status") for name in ("Quota", "Capacity")]
    return True if states == ["True", "True"] else None


def made_at(item: Mapping[str, Any]) -> datetime | None:
    """When the object was made, UTC."""
    return moment(part(item, "metadata").get("creationTimestamp"))


def moment(text: Any) -> datetime | None:
    """An RFC 3339 time, UTC; None if it is none."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _by_words(pool: Mapping[str, Any], word: str) -> ProviderError | None:
    rows = part(pool, "status").get("conditions")
    for row in rows if isinstance(rows, list) else ():
        if not isinstance(row, dict) or row.get("type") in ("Quota", "Capacity", "Valid"):
            continue
        if row.get("status") == "False" and word in _reason(row):
            return trouble("pool", word.capitalize(), _words(row))
    return None


def _reason(row: Mapping[str, Any]) -> str:
    return str(row.get("reason") or "").lower()


def _words(row: Mapping[str, Any]) -> str:
    return ": ".join(str(row[key]) for key in ("type", "reason", "message") if row.get(key))


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
