"""The small market that the fake cloud sells when nobody configures another: one L40 of every kind, and a few more.

Prices and places are invented. Every offer differs from the others in something that a policy looks at.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from providers.base import Billing, EgressTier, Offer

_FREE = (EgressTier(),)
#: As hyperscalers bill: a free allowance, then steps.
_TIERS = (
    EgressTier(up_to_gb=Decimal(100)),
    EgressTier(up_to_gb=Decimal(10_100), usd_per_gb=Decimal("0.09")),
    EgressTier(usd_per_gb=Decimal("0.085")),
)
_MEMORY = {"l40": 48.0, "l40s": 48.0, "l4": 24.0, "rtx-6000-ada": 48.0, "a100-80gb": 80.0, "h100-sxm": 80.0}


def _offer(provider: str, plan: str, gpu: str, usd: str, **more: Any) -> Offer:
    usual: dict[str, Any] = {
        "offer_id": f"{provider}/{plan}",
        "provider": provider,
        "gpu": gpu,
        "instance_type": plan,
        "gpu_memory_gib": _MEMORY[gpu],
        "vcpus": 16.0,
        "memory_gib": 128.0,
        "disk_gib": 500.0,
        "disk_max_gib": 500.0,
        "market": "specialist",
        "workloads": ("container", "vm"),
        "usd_per_hour": Decimal(usd),
        "egress": _FREE,
        "egress_evidence": "contract",
        "reliability": 0.99,
        "reliability_source": "contract",
        "boot_s": 45.0,
        "native": {"plan": plan},
    }
    return Offer(**{**usual, **more})


def default_market(provider: str = "fake") -> list[Offer]:
    """The offers, all of *provider*."""
    return [
        _offer(
            provider,
            "l40-us",
            "l40",
            "0.99",
            region="us-east",
            zone="us-east-1",
            country="US",
            compliance=("soc2",),
            compliance_evidence="contract",
        ),
        _offer(
            provider,
            "l40-de",
            "l40",
            "1.09",
            region="eu-central",
            zone="eu-central-1",
            country="DE",
            compliance=("gdpr", "iso27001"),
            compliance_evidence="contract",
        ),
        _offer(
            provider,
            "l40-community",
            "l40",
            "0.45",
            region="us-west",
            country="US",
            market="marketplace-community",
            workloads=("container",),
            host_id="host-17",
            available_count=1,
            reliability=0.93,
            reliability_source="vendor",
            egress=(EgressTier(usd_per_gb=Decimal("0.02")),),
            egress_evidence="api",
            ingress_usd_per_gb=Decimal("0.01"),
            disk_gib=0.0,
            disk_min_gib=8.0,
            disk_max_gib=1000.0,
            storage_usd_per_gib_month=Decimal("0.15"),
            billing=Billing(while_booting=False),
        ),
        _offer(
            provider,
            "l40-hourly",
            "l40",
            "0.62",
            region="eu-west",
            country="FR",
            market="decentralized",
            reliability=0.97,
            reliability_source="assumed",
            egress=None,
            egress_evidence=None,
            billing=Billing(increment_s=3600, minimum_s=3600, aligned_to="clock"),
            deposit_usd=Decimal("1.86"),
        ),
        _offer(
            provider,
            "l40-hyperscale",
            "l40",
            "1.85",
            region="us-central",
            zone="us-central-b",
            country="US",
            market="hyperscaler",
            workloads=("vm",),
            reliability=0.995,
            egress=_TIERS,
            egress_route="internet",
            disk_gib=0.0,
            disk_max_gib=4000.0,
            storage_usd_per_gib_month=Decimal("0.08"),
            address_usd_per_hour=Decimal("0.005"),
            billing=Billing(minimum_s=60),
        ),
        _offer(
            provider,
            "l40-spot",
            "l40",
            "0.38",
            region="us-east",
            zone="us-east-2",
            country="US",
            pricing="spot",
            interruptions_per_hour=0.05,
        ),
        _offer(
            provider,
            "l40-sold-out",
            "l40",
            "0.30",
            region="us-east",
            country="US",
            available=False,
            available_count=0,
        ),
        _offer(
            provider,
            "l40-x8",
            "l40",
            "7.60",
            region="us-east",
            country="US",
            gpu_count=8,
            workloads=("bare-metal",),
            vcpus=128.0,
            memory_gib=1024.0,
            boot_s=600.0,
        ),
        _offer(provider, "l40s-us", "l40s", "1.25", region="us-east", country="US"),
        _offer(provider, "ada-nl", "rtx-6000-ada", "0.79", region="eu-west", country="NL"),
        _offer(provider, "l4-us", "l4", "0.55", region="us-east", country="US"),
        _offer(provider, "a100-us", "a100-80gb", "1.60", region="us-west", country="US"),
        _offer(provider, "h100-us", "h100-sxm", "2.90", region="us-west", country="US"),
    ]
