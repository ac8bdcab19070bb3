"""How a plan reads: what was kept and what it costs, what was dropped and why, and what each source said."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrator.cli import _words as words
from orchestrator.cli.output import Cell, Output, Table

if TYPE_CHECKING:
    from policies.plan import Candidate, Dropped, Plan
    from policies.request import Request
    from providers.base import Offer

#: Candidates that are shown unless all are asked for.
SHOWN = 10
#: Different details that are shown for one reason.
DETAILS = 3
#: Parts of a cost beside compute and egress, which always have a column; these have one if any offer has them.
_PARTS = {
    "ingress_usd": "Ingress",
    "storage_usd": "Disk",
    "address_usd": "Address",
    "boot_usd": "Boot",
    "risk_usd": "Risk",
    "failed_boot_usd": "Failures",
}
_STATE_STYLES = {"ok": "green", "partial": "yellow", "stale": "yellow", "failed": "red"}


def show(out: Output, plan: Plan, request: Request, *, note: bool, everything: bool = False) -> None:
    """Print *plan*; beside the answer if *note*, so that `up` keeps stdout for the machine."""
    say = out.note if note else out.data
    say(headline(plan, request), "bold")
    if request.egress_gb == 0:
        say("egress 0 GB: nothing is counted for data that leaves (--egress says how much)")
    shown = plan.candidates if everything else plan.candidates[:SHOWN]
    if shown:
        out.table(kept(shown), note=note)
    for candidate in shown:
        if "prepaid" in candidate.flags:
            share = candidate.offer.native.get("allocated_usd_per_hour")
            part = f": its share of the node is {words.rate(Decimal(str(share)))}" if share else ""
            say(f"{candidate.rank} is prepaid{part}; the node is paid for already, and bills on after the lease")
    if len(plan.candidates) > len(shown):
        say(f"and {len(plan.candidates) - len(shown)} more (orch plan --all shows them)")
    if plan.dropped:
        say(f"dropped {len(plan.dropped)}:")
        out.table(reasons(plan.dropped), note=note)
        if everything:
            out.table(dropped(plan.dropped), note=note)
    say("sources:")
    for source in plan.sources:
        say(f"  {source_line(source, plan.made_at)}", _STATE_STYLES.get(source.state))
    if not plan.sources:
        say("  none")


def headline(plan: Plan, request: Request) -> str:
    """What was asked for, in one line."""
    machines = f"{request.replicas} machines with " if request.replicas > 1 else ""
    wanted = f"{machines}{request.count} x {' or '.join(request.gpu)}{' or better' * request.or_better}"
    return f"{wanted} for {words.number(request.hours)} h, policy {plan.policy}: {_verdict(plan)}"


def _verdict(plan: Plan) -> str:
    if not plan.candidates:
        return "nothing satisfies it"
    best = plan.candidates[0]
    count = len(plan.candidates)
    return f"{count} offer{'s' * (count != 1)}, the best costs {words.money(best.cost.total_usd)} in all"


def kept(candidates: Sequence[Candidate]) -> Table:
    """Candidates with the parts of their cost. What is the same for all, or nothing, has no column."""
    parts = {field: title for field, title in _PARTS.items() if any(getattr(c.cost, field) for c in candidates)}
    machines = len({_gpus(candidate.offer) for candidate in candidates}) > 1
    flagged = any(candidate.flags for candidate in candidates)
    titles = ["#", "Offer", *["GPU"] * machines, ">Rate", ">Compute", ">Egress"]
    table = Table([*titles, *(f">{title}" for title in parts.values()), ">Total", *["Notes"] * flagged])
    for candidate in candidates:
        cost, offer = candidate.cost, candidate.offer
        table.add(
            str(candidate.rank),
            offer_name(offer),
            *[_gpus(offer)] * machines,
            words.rate(offer.usd_per_hour),
            words.money(cost.compute_usd),
            words.money(cost.egress_usd),
            *(words.money(getattr(cost, field)) for field in parts),
            (words.money(cost.total_usd), "bold"),
            *[", ".join(candidate.flags)] * flagged,
        )
    return table


def _gpus(offer: Offer) -> str:
    return words.gpus(offer.gpu, offer.gpu_count, offer.gpu_fraction)


def offer_name(offer: Offer) -> str:
    """Where an offer is and what the provider calls it."""
    spot = "spot" if offer.pricing == "spot" else None
    place = offer.zone or offer.region or offer.country or offer.market
    parts = (offer.provider, place, offer.instance_type, spot)
    return " ".join(part for part in parts if part)


def reasons(dropped: Sequence[Dropped]) -> Table:
    """How many offers fell to each reason, most first, with a few details."""
    counts: dict[str, int] = {}
    details: dict[str, dict[str, None]] = {}
    for drop in dropped:
        counts[drop.reason] = counts.get(drop.reason, 0) + 1
        some = details.setdefault(drop.reason, {})
        if len(some) < DETAILS:  # a detail is a sentence that is made when it is asked for
            some[drop.detail] = None
    table = Table([">Offers", "Reason", "For example"])
    for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        table.add(str(count), reason, "; ".join(filter(None, details[reason])))
    return table


def dropped(rows: Sequence[Dropped]) -> Table:
    """Every dropped offer with its reason."""
    table = Table(["Dropped offer", "GPU", ">Rate", "Reason", "Detail"])
    for drop in rows:
        offer = drop.offer
        table.add(
            offer_name(offer),
            _gpus(offer),
            words.rate(offer.usd_per_hour),
            drop.reason,
            drop.detail,
        )
    return table


def source_line(source: Any, now: Any) -> str:
    """What one source said and when."""
    if source.state == "not-configured":
        return f"{source.provider} not configured"
    count = f"{source.offers} offer{'s' * (source.offers != 1)}"
    seen = "" if source.observed_at is None else f", {words.ago(source.observed_at, now)}"
    said = "".join(f": {text}" for text in (source.note, source.error) if text)
    return f"{source.provider} {source.state}, {count}{seen}{said}"


def offers(rows: Sequence[Offer]) -> Table:
    """Offers as `orch offers` shows them, cheapest first."""
    table = Table(["Offer", "GPU", ">Rate", "Egress", ">vCPUs", ">Memory", ">Disk", "Free", "Pricing", "Id"])
    for offer in rows:
        table.add(
            offer_name(offer),
            _gpus(offer),
            words.rate(offer.usd_per_hour),
            egress(offer),
            words.number(offer.vcpus),
            words.number(offer.memory_gib),
            words.number(offer.disk_gib),
            _free(offer),
            offer.pricing,
            offer.offer_id,
        )
    return table


def by_price(offer: Offer) -> tuple[bool, Decimal, str]:
    """Sort key: the hourly price of one GPU, unknown prices last."""
    price = offer.usd_per_hour
    return (price is None, (price or Decimal(0)) / max(1, offer.gpu_count), offer.offer_id)


def egress(offer: Offer) -> str:
    """The price of data that leaves: free, unknown, or USD per GB."""
    if offer.egress is None:
        return words.UNKNOWN
    prices = list(dict.fromkeys(tier.usd_per_gb for tier in offer.egress))
    if not any(prices):
        return "free"
    return " then ".join(f"{words.money(price)}/GB" for price in prices)


def _free(offer: Offer) -> Cell:
    if offer.available is None:
        return words.UNKNOWN
    if not offer.available:
        return ("sold out", "dim")
    return str(offer.available_count) if offer.available_count else "yes"
