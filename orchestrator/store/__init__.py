"""The durable records: leases, attempts, events, holds, pacing, cached offers. See `store.Store`."""

from orchestrator.store.rows import AttemptRow, Debris, HoldRow, LeaseRow
from orchestrator.store.store import LostClaim, Store, open_store

__all__ = ["AttemptRow", "Debris", "HoldRow", "LeaseRow", "LostClaim", "Store", "open_store"]
