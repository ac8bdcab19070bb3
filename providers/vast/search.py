"""What is asked of the market: the body of a search, the look-up of one ask, and paging by price.

At most 64 rows come back whatever is asked for, and there are no pages. So rows come cheapest first, and the next
search starts at the last price. The server does not honour every filter, so `offers` looks at each row again.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from providers.base import Query
from providers.vast import names
from providers.vast.fields import disk_gb, positive, whole

Kind = Literal["on-demand", "bid"]
#: How many rows a search gives at most (observed; not documented).
MOST_ROWS = 64
#: Searches in one refresh: ten a minute are allowed, and there is a daily quota.
MOST_SEARCHES = 3
#: The smallest bid the wire takes, USD per hour.
LEAST_BID = 0.001

#: By what a kind is sorted and paged. `min_bid` is a bid's own price; whether `dph_total` follows it is not certain.
_PRICE: dict[Kind, str] = {"on-demand": "dph_total", "bid": "min_bid"}

#: The SDK's defaults, said aloud. "external" machines are other houses' that Vast.ai only lists.
_DEFAULTS: dict[str, Any] = {
    "verified": {"eq": True},
    "external": {"eq": False},
    "rentable": {"eq": True},
    "rented": {"eq": False},
}


def kinds(query: Query) -> tuple[Kind, ...]:
    """Which searches *query* needs. Spot is read only where it is asked for: it costs a search."""
    wanted: tuple[tuple[str, Kind], ...] = (("on-demand", "on-demand"), ("spot", "bid"))
    return tuple(kind for pricing, kind in wanted if pricing in query.pricing)


def body(query: Query, kind: Kind, *, start: Decimal | None = None) -> dict[str, Any]:
    """The search for *query*, from the price *start* (USD per hour) on."""
    disk = disk_gb(query.disk_gib)
    price = _PRICE[kind]
    found: dict[str, Any] = {
        **_head(kind, disk),
        "num_gpus": {"gte": query.count},
        # Without a direct port there is only the slow SSH proxy, which takes the account's keys.
        "direct_port_count": {"gte": 1},
        "disk_space": {"gte": disk},
    }
    if query.gpus:
        found["gpu_name"] = {"in": names.wire_names(query.gpus)}
    if query.egress_free:
        found["inet_up_cost"] = {"lte": 0.0}
    if query.min_duration_s > 0:
        found["duration"] = {"gte": query.min_duration_s}
    if query.countries:
        found["geolocation"] = {"in": list(query.countries)}
    if kind == "bid":
        found[price] = {"gte": LEAST_BID}  # no price means that there is no interruptible variant
    if start is not None:
        found[price] = {"gte": float(start)}
    return found


def quote(ask_id: int, kind: Kind, disk: int) -> dict[str, Any]:
    """The look-up of one ask. A filter on `id` matches nothing, although rows have it."""
    return {**_head(kind, disk), "ask_contract_id": {"eq": ask_id}}


def ask_of(row: Mapping[str, Any]) -> int | None:
    """The id by which a row is rented and looked up."""
    return whole(row.get("ask_contract_id")) or whole(row.get("id"))


def next_start(rows: list[dict[str, Any]], kind: Kind) -> Decimal | None:
    """From which price on the market goes on behind a full answer; None if that answer was all of it."""
    if len(rows) < MOST_ROWS:
        return None
    prices = [price for row in rows if (price := positive(row.get(_PRICE[kind])))]
    return max(prices, default=None)


def _head(kind: Kind, disk: int) -> dict[str, Any]:
    order = [[_PRICE[kind], "asc"]]
    return {"type": kind, "order": order, "limit": MOST_ROWS, "allocated_storage": disk, **_DEFAULTS}
