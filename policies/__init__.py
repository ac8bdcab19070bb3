"""Policies: which offers may be rented, what each would cost in all, and in which order to try them.

`request` says what is wanted, `policy` what is allowed and what counts, `judge` makes the plan out of both and a
market, `cost` says what a plan costs. Pure: nothing here asks a provider or reads a clock, and files are read only by
`policy.load`. Names are imported when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from policies.cost import Cost
    from policies.errors import BadInput, BadOffers, BadPolicy, BadRequest
    from policies.offers import load_offers
    from policies.plan import Candidate, Dropped, Hold, Plan, SourceState
    from policies.policy import Policy, load, tighten
    from policies.query import query_for
    from policies.request import Request

#: Read by `orchestrator` at import, because `policies` is a common top-level name.
__orch__ = "gpu-orch"

_WHERE = {
    "BadInput": "errors",
    "BadOffers": "errors",
    "BadPolicy": "errors",
    "BadRequest": "errors",
    "Candidate": "plan",
    "Cost": "cost",
    "Dropped": "plan",
    "Hold": "plan",
    "Plan": "plan",
    "Policy": "policy",
    "Request": "request",
    "SourceState": "plan",
    "load": "policy",
    "load_offers": "offers",
    "query_for": "query",
    "tighten": "policy",
}

__all__ = [
    "BadInput",
    "BadOffers",
    "BadPolicy",
    "BadRequest",
    "Candidate",
    "Cost",
    "Dropped",
    "Hold",
    "Plan",
    "Policy",
    "Request",
    "SourceState",
    "load",
    "load_offers",
    "query_for",
    "tighten",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'policies' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"policies.{_WHERE[name]}"), name)
