"""Judge a market: offers, request and policy in; the plan out. Pure: the time is an argument.

Every offer is kept with its cost or dropped with exactly one reason: the first that applies, in the order of
`policies.checks`; then ``total_too_high``; then ``set_aside``. The same market in any order gives the same plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from policies.checks import Lacking, checks
from policies.cost import Cost, Coster, SuccessRate, to_decimal
from policies.holds import HoldIndex
from policies.limits import Limits, limits_of
from policies.model import PolicyLike, Score
from policies.plan import Candidate, DropGroup, Drops, Hold, Plan, SourceState
from policies.policy import tighten_require
from policies.rank import Value, order, scorer
from policies.request import Request
from providers.base import Offer


@dataclass(slots=True)
class _Kept:
    """Offers that are kept, column by column: a hundred thousand rows would keep the garbage collector busy."""

    offers: list[Offer] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)


def judge(
    offers: Iterable[Offer],
    request: Request,
    policy: PolicyLike,
    *,
    now: datetime,
    holds: Iterable[Hold] = (),
    sources: Sequence[SourceState] = (),
    success_rate: SuccessRate | None = None,
    egress_used_gb: Mapping[str, float] | None = None,
    lacking: Lacking | None = None,
) -> Plan:
    """The plan for *request* on the market *offers* under *policy*, tightened by the request's own `require`.

    Args:
        now: when the use would start, timezone-aware.
        holds: places that failed lately; those that are over are ignored.
        sources: what each source said, for the record.
        success_rate: learned share of launches in an offer's place that come up, in [0, 1].
        egress_used_gb: GB a month, by provider, that other use already sends through the account's egress tiers.

        lacking: what providers' machines cannot do of what a request may ask for; None: nothing is known.

    Raises:
        BadRequest: the request cannot be meant.
        BadPolicy: a `require` of the request cannot be read.
    """
    if now.utcoffset() is None:
        raise ValueError("now has no time zone")
    request.validate()
    require = tighten_require(policy.require, request.require)
    limits = limits_of(request, require, now)
    coster = Coster(request, now, success_rate=success_rate, egress_used_gb=egress_used_gb)
    survivors, groups = _filter(offers, limits, lacking)
    use_hours = to_decimal(request.hours) * request.replicas
    score: Score = getattr(policy, "score", None) or scorer(policy.minimize.objective, use_hours)
    kept, held, late = _price(survivors, limits, coster, score, HoldIndex(holds, now))
    candidates = _candidates(kept, request, coster, 1, ())
    candidates += _candidates(held, request, coster, 1 + len(candidates), ("held",))
    return Plan(
        request=request,
        policy=policy.name,
        made_at=now,
        candidates=tuple(candidates),
        dropped=Drops([*groups, *late]),
        sources=tuple(sources),
    )


def _filter(
    offers: Iterable[Offer], limits: Limits, lacking: Lacking | None = None
) -> tuple[list[Offer], list[DropGroup]]:
    """What passes every check, and what does not by the first that it fails."""
    found = list(checks(limits, lacking))
    groups = [DropGroup(check.reason, check.why, []) for check in found]
    gpus, wrong_gpu = limits.gpus, groups[0].offers.append
    rest = [(check.passes, group.offers.append) for check, group in zip(found[1:], groups[1:], strict=True)]
    kept: list[Offer] = []
    for offer in offers:
        # The first check, written out: in a whole market most offers end here.
        if offer.gpu not in gpus or offer.gpu_fraction < 1:
            wrong_gpu(offer)
            continue
        for passes, drop in rest:
            if not passes(offer):
                drop(offer)
                break
        else:
            kept.append(offer)
    return kept, groups


def _price(
    offers: list[Offer], limits: Limits, coster: Coster, score: Score, index: HoldIndex
) -> tuple[_Kept, _Kept, list[DropGroup]]:
    """What is kept, what is kept for last, and what costs too much or is set aside."""
    limit = limits.max_total_usd
    dear = DropGroup("total_too_high", lambda o: _too_dear(coster.cost(o).total_usd, limit), [])
    aside = DropGroup("set_aside", lambda o: _held_because(index.find(o)), [])
    free, held = _Kept(), _Kept()
    any_holds = bool(index)
    for offer in offers:
        cost = coster.cost(offer)
        if limit is not None and cost.total_usd > limit:
            dear.offers.append(offer)
            continue
        hold = index.find(offer) if any_holds else None
        if hold is not None and hold.drops:
            aside.offers.append(offer)
            continue
        into = free if hold is None else held
        into.offers.append(offer)
        into.costs.append(cost)
        into.values.append(score(offer, cost))
    return free, held, [dear, aside]


def _candidates(
    kept: _Kept, request: Request, coster: Coster, first: int, more_flags: tuple[str, ...]
) -> list[Candidate]:
    """*kept* in order, ranked from *first* on."""
    count, replicas = request.count, request.replicas
    found: list[Candidate] = []
    for rank, place in enumerate(order(kept.offers, kept.values), first):
        offer = kept.offers[place]
        known = offer.available_count
        fits = replicas if known is None or known > replicas else known
        flags = coster.flags(offer)
        if offer.gpu_count > count:
            flags += ("more_gpus",)
        if offer.pricing == "prepaid":
            flags += ("prepaid",)
        found.append(Candidate(rank, offer, fits, flags + more_flags, kept.costs[place]))
    return found


def _too_dear(total: Decimal, limit: Decimal | None) -> str:
    return f"{total:.2f} USD in all, at most {limit} wanted"


def _held_because(hold: Hold | None) -> str:
    if hold is None:
        return "set aside"
    return f"{hold.why or 'failed lately'}; until {_utc(hold.until)}"


def _utc(moment: datetime) -> str:
    return f"{moment - (moment.utcoffset() or timedelta()):%Y-%m-%d %H:%M:%S} UTC"
