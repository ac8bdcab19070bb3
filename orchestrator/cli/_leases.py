"""How leases read: the table of `ps`, the page of `show`, and receipts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchestrator.cli import _words as words
from orchestrator.cli.output import Output, Table

if TYPE_CHECKING:
    from orchestrator.models import AttemptView, Lease, Receipt


def document(leases: Sequence[Lease]) -> dict[str, Any]:
    """The JSON of `up`, `ps` and `down`."""
    return {"leases": list(leases)}


def table(leases: Sequence[Lease], now: datetime) -> Table:
    """One row a lease, as `orch ps` shows them."""
    found = Table(["Name", "State", "GPU", "Where", ">Rate", ">Spent", ">Age", "Ends", "SSH"])
    for lease in leases:
        ends = words.NONE if lease.ends_at is None else _until(lease.ends_at, now)
        if lease.ended_at is not None:
            ends = words.ago(lease.ended_at, now)
        found.add(
            lease.name,
            words.state(lease.state),
            words.gpus(lease.gpu, lease.gpu_count),
            words.place(lease.provider, lease.region),
            words.rate(lease.usd_per_hour) if lease.provider else words.NONE,
            words.money(lease.spent_usd),
            words.span((now - lease.created_at).total_seconds()),
            ends,
            words.ssh_line(lease) or words.NONE,
        )
    return found


def _until(when: datetime, now: datetime) -> str:
    left = (when - now).total_seconds()
    return f"in {words.span(left)}" if left > 0 else "now due"


def page(out: Output, lease: Lease, now: datetime) -> None:
    """Everything about one lease, as `orch show` prints it."""
    facts = {
        "name": lease.name,
        "id": lease.id,
        "state": lease.state,
        "policy": lease.policy,
        "where": words.place(lease.provider, lease.region),
        "account": lease.account or words.NONE,
        "instance": " ".join(x for x in (lease.instance_id, lease.instance_type) if x) or words.NONE,
        "gpu": words.gpus(lease.gpu, lease.gpu_count),
        "ssh": words.ssh_line(lease) or words.NONE,
        "rate": words.rate(lease.usd_per_hour) if lease.provider else words.NONE,
        "promised": words.money(lease.promised_total_usd),
        "spent": words.money(lease.spent_usd),
        "created": f"{words.moment(lease.created_at)} ({words.ago(lease.created_at, now)})",
        "running": words.moment(lease.running_at),
        "ends": words.moment(lease.ends_at),
        "ended": words.moment(lease.ended_at),
    }
    facts_lines(out, facts)
    out.data()
    out.data("Request", "bold")
    for key, value in sorted(_asked(lease.request).items()):
        out.data(f"  {key} = {_plain(value)}")
    out.data()
    out.data("Attempts", "bold")
    for attempt in lease.attempts:
        _attempt(out, attempt)
    if not lease.attempts:
        out.data("  none yet")
    if lease.receipt:
        out.data()
        receipt(out, lease.receipt, "Receipt")


def _asked(request: dict[str, Any]) -> dict[str, Any]:
    """What was asked for: everything that is not a default."""
    import msgspec

    from policies.request import Request

    usual = msgspec.to_builtins(Request())
    return {key: value for key, value in request.items() if key not in usual or value != usual[key]}


def facts_lines(out: Output, facts: dict[str, str]) -> None:
    """``name  value`` lines, aligned."""
    width = max(map(len, facts))
    for name, value in facts.items():
        out.data(f"{name.ljust(width)}  {value}")


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    return str(value)


def _attempt(out: Output, attempt: AttemptView) -> None:
    offer = attempt.offer
    where = words.place(offer.provider, offer.region)
    out.data(
        f"  {attempt.n}. {where}, {words.gpus(offer.gpu, offer.gpu_count, offer.gpu_fraction)} at "
        f"{words.rate(offer.usd_per_hour)}: {attempt.state}" + (f", {attempt.outcome}" if attempt.outcome else "")
    )
    out.data(f"     {words.moment(attempt.started_at)} to {words.moment(attempt.ended_at)}, {attempt.token}")
    if attempt.error:
        code = f" [{attempt.error.code}]" if attempt.error.code else ""
        out.data(f"     {attempt.error.type}: {attempt.error.message}{code}", "red")


def receipt(out: Output, proof: Receipt, title: str) -> None:
    """The proof of an end."""
    out.data(title, "bold")
    out.data(f"  asked to end      {words.moment(proof.asked_at)}")
    out.data(f"  provider's answer {proof.answer}")
    out.data(f"  last seen alive   {words.moment(proof.last_seen_at)}")
    out.data(f"  evidence          {proof.evidence}")
    out.data(f"  cost              {words.money(proof.cost_usd)}")
