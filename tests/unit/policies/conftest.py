"""One L40 offer that every policy likes, and the hour of the tests: 14:43 UTC, in the middle of a clock hour."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from providers.base import Billing, EgressTier, Offer

PLAIN: dict[str, Any] = {
    "offer_id": "plain",
    "provider": "runpod",
    "account": "acct-1",
    "region": "EU-NL-1",
    "zone": "EU-NL-1a",
    "country": "NL",
    "host_id": "host-1",
    "instance_type": "l40-secure",
    "gpu": "l40",
    "vcpus": 16.0,
    "memory_gib": 94.0,
    "disk_gib": 100.0,
    "market": "marketplace-secure",
    "workloads": ("container",),
    "usd_per_hour": Decimal("0.80"),
    "billing": Billing(),
    "egress": (EgressTier(),),
    "egress_evidence": "contract",
    "reliability": 0.99,
    "interruptions_per_hour": 0.0,
    "boot_s": 0.0,
    "compliance": ("gdpr", "soc2"),
    "compliance_evidence": "contract",
    "available": True,
    "observed_at": datetime(2026, 11, 22, 14, 42, tzinfo=UTC),
}


@pytest.fixture(scope="session")
def now() -> datetime:
    return datetime(2026, 11, 22, 14, 43, tzinfo=UTC)


@pytest.fixture(scope="session")
def make() -> Callable[..., Offer]:
    """The plain offer with some fields changed."""
    return lambda **fields: Offer(**{**PLAIN, **fields})
