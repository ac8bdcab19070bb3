"""Which offers lie in a place that failed lately: one lookup per kind of hold, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from operator import attrgetter
from typing import Any

from policies.plan import Hold
from providers.base import Offer

_FIELDS = ("provider", "account", "region", "zone", "instance_type", "host_id", "offer_id", "gpu")


class HoldIndex:
    """The holds that are in force at *now*, by the fields that they name."""

    def __init__(self, holds: Iterable[Hold], now: datetime) -> None:
        shapes: dict[tuple[str, ...], dict[Any, list[Hold]]] = {}
        for hold in holds:
            if hold.until <= now:
                continue
            names = tuple(name for name in _FIELDS if getattr(hold, name) is not None)
            shapes.setdefault(names, {}).setdefault(_key(names)(hold), []).append(hold)
        self._shapes = [(_key(names), by_key) for names, by_key in shapes.items()]

    def __bool__(self) -> bool:
        return bool(self._shapes)

    def find(self, offer: Offer) -> Hold | None:
        """The hold that weighs most on *offer*: one that drops before one that does not, then the longest."""
        worst: Hold | None = None
        for key, by_key in self._shapes:
            for hold in by_key.get(key(offer), ()):
                if _reaches(hold, offer) and (worst is None or _weight(hold) > _weight(worst)):
                    worst = hold
        return worst


def _key(names: tuple[str, ...]) -> Callable[[Any], Any]:
    return attrgetter(*names) if names else lambda _: ()


def _reaches(hold: Hold, offer: Offer) -> bool:
    floor, rate = hold.min_usd_per_hour, offer.usd_per_hour
    return floor is None or rate is None or rate >= floor


def _weight(hold: Hold) -> tuple[bool, datetime, str]:
    return hold.drops, hold.until, hold.why
