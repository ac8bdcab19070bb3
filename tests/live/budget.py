"""What the live tests may spend: offers whose expected cost for one hour, deposit included, stays under the cap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

from policies.plan import Candidate

DEFAULT_USD = "2"
VARIABLE = "ORCH_LIVE_MAX_USD"


def cap_usd(settings: Mapping[str, str]) -> Decimal:
    """The most USD that one launch may cost.

    Raises:
        ValueError: the variable holds no amount.
    """
    text = settings.get(VARIABLE) or DEFAULT_USD
    try:
        cap = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{VARIABLE}: {text!r} is no amount of USD") from None
    if not cap.is_finite() or cap <= 0:
        raise ValueError(f"{VARIABLE}: {text} is no amount of USD")
    return cap


def outlay_usd(candidate: Candidate) -> Decimal:
    """USD that must be there for it: its expected cost, and the deposit where there is one."""
    return candidate.cost.total_usd + (candidate.offer.deposit_usd or Decimal(0)) * candidate.replicas


def affordable(candidates: Sequence[Candidate], cap: Decimal) -> list[Candidate]:
    """The cheapest candidates that stay under *cap* together: failover may try all of them."""
    chosen: list[Candidate] = []
    left = cap
    for candidate in sorted(candidates, key=outlay_usd):
        left -= outlay_usd(candidate)
        if left < 0:
            break
        chosen.append(candidate)
    return chosen
