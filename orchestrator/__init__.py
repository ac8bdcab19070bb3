"""orch: rents the GPU you asked for from whichever provider is truly cheapest under your policy.

The public API. Names are imported when they are used, so that ``import orchestrator`` stays fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import policies as _policies
import providers as _providers

for _package in (_policies, _providers):
    if getattr(_package, "__orch__", None) != "gpu-orch":
        raise ImportError(
            f"the package {_package.__name__!r} found at {getattr(_package, '__file__', '?')} is not gpu-orch's; "
            "another distribution or a folder of that name comes first on sys.path"
        )

__version__ = "0.1.0"

if TYPE_CHECKING:
    from orchestrator.core import Orchestrator
    from orchestrator.errors import (
        BudgetExceeded,
        ConfigError,
        Interrupted,
        LaunchFailed,
        NoOffer,
        NoSuchLease,
        OrchError,
        OutcomeUnclear,
        UsageError,
    )
    from orchestrator.machine import CommandFailed, Completed, Machine
    from orchestrator.models import Event, Lease, Receipt
    from policies.plan import Plan
    from policies.request import Request

_WHERE = {
    "Orchestrator": "orchestrator.core",
    "Machine": "orchestrator.machine",
    "CommandFailed": "orchestrator.machine",
    "Completed": "orchestrator.machine",
    "Receipt": "orchestrator.models",
    "Plan": "policies.plan",
    "Request": "policies.request",
    "Lease": "orchestrator.models",
    "Event": "orchestrator.models",
    **dict.fromkeys(
        (
            "OrchError",
            "UsageError",
            "NoOffer",
            "LaunchFailed",
            "ConfigError",
            "NoSuchLease",
            "BudgetExceeded",
            "OutcomeUnclear",
            "Interrupted",
        ),
        "orchestrator.errors",
    ),
}

__all__ = [
    "BudgetExceeded",
    "CommandFailed",
    "Completed",
    "ConfigError",
    "Event",
    "Interrupted",
    "LaunchFailed",
    "Lease",
    "Machine",
    "NoOffer",
    "NoSuchLease",
    "OrchError",
    "Orchestrator",
    "OutcomeUnclear",
    "Plan",
    "Receipt",
    "Request",
    "UsageError",
]


if not TYPE_CHECKING:  # else every wrong name would pass as Any

    def __getattr__(name: str) -> Any:
        if name not in _WHERE:
            raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
