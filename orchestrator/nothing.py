"""Why a plan is empty, in words."""

from __future__ import annotations

from policies.plan import Plan


def nothing(plan: Plan) -> str:
    """Why a plan is empty, in one sentence."""
    if not plan.dropped:
        return "no provider rents that GPU"
    return f"none of {len(plan.dropped)} offers satisfies policy {plan.policy!r}"


def why_nothing(plan: Plan) -> str:
    """What to do about an empty plan: the reasons by number."""
    counts: dict[str, int] = {}
    for drop in plan.dropped:
        counts[drop.reason] = counts.get(drop.reason, 0) + 1
    if not counts:
        return "see what is for rent: orch offers --all; or allow substitutes: --or-better"
    top = sorted(counts.items(), key=lambda item: -item[1])
    return "dropped for " + ", ".join(f"{reason} ({n})" for reason, n in top) + "; `orch plan` shows each"
