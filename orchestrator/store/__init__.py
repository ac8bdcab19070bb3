"""The durable records: leases, attempts, events, holds, pacing, cached offers. See `store.Store`.

Names are imported when they are used: the records alone (`rows`) cost no SQLAlchemy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.store.rows import AttemptRow, Debris, HoldRow, LeaseRow
    from orchestrator.store.store import LostClaim, Store, open_store

__all__ = ["AttemptRow", "Debris", "HoldRow", "LeaseRow", "LostClaim", "Store", "open_store"]
_ROWS = ("AttemptRow", "Debris", "HoldRow", "LeaseRow")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{'rows' if name in _ROWS else 'store'}"), name)
