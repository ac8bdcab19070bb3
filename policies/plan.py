"""The plan: what would be rented in which order, what was dropped and why, and what each source said.

Judging 100,000 offers writes no sentences: dropped offers are kept in groups by reason, and sorted and explained
when somebody looks at them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, NamedTuple, overload

import msgspec

from policies.cost import Cost
from policies.request import Request
from providers.base import Offer

Reason = Literal[
    "wrong_gpu",
    "too_few_gpus",
    "egress_not_free",
    "egress_unknown",
    "egress_too_dear",
    "reliability_too_low",
    "market_not_allowed",
    "pricing_not_allowed",
    "region_not_allowed",
    "country_not_allowed",
    "compliance_missing",
    "workload_not_supported",
    "provider_not_allowed",
    "price_unknown",
    "price_too_high",
    "total_too_high",
    "price_too_old",
    "too_small",
    "sold_out",
    "ends_too_soon",
    "set_aside",
]
Why = Callable[[Offer], str]


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """An offer that was kept.

    Attributes:
        rank: 1 is the best.
        replicas: how many of the wanted machines this offer is known to have, at most as many as are wanted.
        flags: what in the cost is assumed or unknown (`policies.cost`), ``more_gpus`` where the machine has more
            than were asked for, ``prepaid`` where it is part of a machine that is paid for already and bills on,
            ``held`` where it ranks last because it failed lately.
        cost: expected USD for the whole request, as if every replica were rented here.
    """

    rank: int
    offer: Offer
    replicas: int
    flags: tuple[str, ...]
    cost: Cost


class Dropped(msgspec.Struct, frozen=True, gc=False):
    """An offer that was dropped, and the reason; `why` makes the sentence."""

    offer: Offer
    reason: Reason
    why: Why

    @property
    def detail(self) -> str:
        """One line for people; ``unknown`` where the offer does not state what is required."""
        return self.why(self.offer)


class DropGroup(NamedTuple):
    """Offers that were dropped for one reason, in no order."""

    reason: Reason
    why: Why
    offers: list[Offer]


class Drops(Sequence[Dropped]):
    """All dropped offers, by offer id. Counting them is free; the first look at one sorts them."""

    def __init__(self, groups: Sequence[DropGroup]) -> None:
        self._groups = tuple(group for group in groups if group.offers)

    def counts(self) -> dict[Reason, int]:
        """How many offers each reason took, most first."""
        counts: dict[Reason, int] = {}
        for group in self._groups:
            counts[group.reason] = counts.get(group.reason, 0) + len(group.offers)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @cached_property
    def _sorted(self) -> tuple[Dropped, ...]:
        found = [Dropped(offer, reason, why) for reason, why, offers in self._groups for offer in offers]
        found.sort(key=lambda drop: (drop.offer.offer_id, drop.offer.provider, drop.offer.account or ""))
        return tuple(found)

    def __len__(self) -> int:
        return sum(len(group.offers) for group in self._groups)

    def __iter__(self) -> Iterator[Dropped]:
        return iter(self._sorted)

    @overload
    def __getitem__(self, index: int) -> Dropped: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Dropped]: ...
    def __getitem__(self, index: int | slice) -> Dropped | Sequence[Dropped]:
        return self._sorted[index]


class SourceState(msgspec.Struct, frozen=True, kw_only=True):
    """What one provider account said when it was asked.

    Attributes:
        state: ok, partial, stale, failed or not-configured.
        offers: how many it sells.
        observed_at: when the answer was given.
        error: why it failed or is stale, else None.
        note: one line on its answer, for example that it rents no such GPU, else None.
    """

    provider: str
    account: str | None = None
    state: str = "ok"
    offers: int = 0
    observed_at: datetime | None = None
    error: str | None = None
    note: str | None = None


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A place that failed lately. A field that is None stands for any.

    Attributes:
        until: when it is over.
        drops: matching offers are set aside (credentials, money, quota); otherwise they rank last (capacity).
        why: one line for people.
        min_usd_per_hour: only offers at this price or dearer are meant (an account short of money can still pay
            for less).
    """

    until: datetime
    drops: bool
    why: str = ""
    provider: str | None = None
    account: str | None = None
    region: str | None = None
    zone: str | None = None
    instance_type: str | None = None
    host_id: str | None = None
    offer_id: str | None = None
    gpu: str | None = None
    min_usd_per_hour: Decimal | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A ranked list so complete that launching makes no more choices.

    `to_json` and `to_dict` give the document of `orch plan --json`; `from_json` reads it.
    """

    request: Request
    policy: str
    made_at: datetime
    candidates: tuple[Candidate, ...]
    dropped: Sequence[Dropped]
    sources: tuple[SourceState, ...] = ()

    def to_json(self) -> bytes:
        """The plan as one JSON document."""
        return msgspec.json.encode(self._document())

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain dicts, lists, strings and numbers."""
        found: dict[str, Any] = msgspec.json.decode(self.to_json())
        return found

    @classmethod
    def from_json(cls, text: bytes | str) -> Plan:
        """The plan in a document that `to_json` wrote.

        Raises:
            msgspec.ValidationError: it is none.
        """
        document = msgspec.json.decode(text, type=_Document)
        return cls(
            request=document.request,
            policy=document.policy,
            made_at=document.made_at,
            candidates=document.candidates,
            dropped=tuple(Dropped(drop.offer, drop.reason, _said(drop.detail)) for drop in document.dropped),
            sources=document.sources,
        )

    def _document(self) -> dict[str, Any]:
        return {
            "request": self.request,
            "policy": self.policy,
            "made_at": self.made_at,
            "candidates": [_candidate_document(candidate) for candidate in self.candidates],
            "dropped": [{"offer": drop.offer, "reason": drop.reason, "detail": drop.detail} for drop in self.dropped],
            "sources": self.sources,
        }


class _DroppedDocument(msgspec.Struct, frozen=True):
    offer: Offer
    reason: Reason
    detail: str


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    request: Request
    policy: str
    made_at: datetime
    candidates: tuple[Candidate, ...]
    dropped: tuple[_DroppedDocument, ...]
    sources: tuple[SourceState, ...]


def _candidate_document(candidate: Candidate) -> dict[str, Any]:
    cost = candidate.cost
    return {
        "rank": candidate.rank,
        "offer": candidate.offer,
        "replicas": candidate.replicas,
        "flags": candidate.flags,
        "cost": {name: usd_text(getattr(cost, name)) for name in cost.__struct_fields__},
    }


def _said(detail: str) -> Why:
    return lambda _: detail


def usd_text(amount: Decimal) -> str:
    """An amount in full digits, never with an exponent; nothing is rounded."""
    return f"{amount:f}" if amount else "0"
