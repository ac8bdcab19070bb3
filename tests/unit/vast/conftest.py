"""A Vast.ai adapter whose wire is respx's, with a clock that only moves when turned or slept on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import respx

from providers.base import AttemptRef, Context, EgressTier, LaunchSpec, Offer
from providers.env import ManualEnv
from providers.naming import make
from providers.vast.adapter import Vast
from tests.contract import vast_golden as golden

KEY = "5ecre7ab1e5ecre7ab1e5ecre7ab1e5e"
OWNER = "0123456789abcdef0123456789abcdef"
LEASE = "abcdefghi"
TOKEN = make(OWNER, LEASE, 1)
BASE = "https://console.vast.ai"


@pytest.fixture
def env() -> ManualEnv:
    return ManualEnv()


@pytest.fixture
def unclassified() -> list[tuple[str, str, str]]:
    """What the adapter counted as refusals that no table knows."""
    return []


@pytest.fixture
def context(env: ManualEnv, tmp_path: Path, unclassified: list[tuple[str, str, str]]) -> Context:
    return Context(
        env=env,
        settings={"VAST_API_KEY": KEY, "HOME": str(tmp_path)},
        owner=OWNER,
        on_unclassified=lambda *what: unclassified.append(what),
    )


@pytest.fixture
async def vast(context: Context) -> AsyncIterator[Vast]:
    adapter = Vast(context)
    yield adapter
    await adapter.aclose()


@pytest.fixture
def wire() -> Iterator[respx.MockRouter]:
    with respx.mock(base_url=BASE, assert_all_called=False) as router:
        router.get("/api/v0/users/current/", name="user").respond(json=golden.USER)
        yield router


@pytest.fixture
def offer() -> Offer:
    """The golden L40S on demand, as a listing gave it."""
    return Offer(
        offer_id=f"vast/on-demand/{golden.ASK_ID}",
        provider="vast",
        account="271828",
        gpu="l40s",
        usd_per_hour=Decimal("0.52"),
        egress=(EgressTier(),),
        ingress_usd_per_gb=Decimal(0),
        native={"ask_id": golden.ASK_ID, "kind": "on-demand", "disk_gb": 54, "storage_usd_per_gb_month": "0.2"},
    )


@pytest.fixture
def bid(offer: Offer) -> Offer:
    """The same ask, interruptible."""
    from msgspec.structs import replace

    return replace(
        offer,
        offer_id=f"vast/bid/{golden.ASK_ID}",
        pricing="spot",
        usd_per_hour=Decimal("0.21"),
        native={**offer.native, "kind": "bid"},
    )


@pytest.fixture
def spec() -> LaunchSpec:
    return LaunchSpec(name=TOKEN, owner=OWNER, lease=LEASE, ssh_public_key="ssh-ed25519 AAAA orch\n")


@pytest.fixture
def attempt(offer: Offer, spec: LaunchSpec) -> Callable[..., AttemptRef]:
    """Makes what the store knows of our one attempt."""

    def build(**known: Any) -> AttemptRef:
        return AttemptRef(**{"token": TOKEN, "account": "271828", "offer": offer, "spec": spec, **known})

    return build


@pytest.fixture
def row() -> Callable[..., dict[str, Any]]:
    """Makes a golden offer row; keywords replace its fields."""

    def build(base: dict[str, Any] = golden.OFFER, **changes: Any) -> dict[str, Any]:
        return {**deepcopy(base), **changes}

    return build
