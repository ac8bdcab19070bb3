"""A RunPod adapter whose wire is respx's, with a clock that only moves when turned."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import respx

from providers.base import AttemptRef, Context, LaunchSpec, Offer, key_account
from providers.env import ManualEnv
from providers.naming import make
from providers.runpod.adapter import RunPod
from tests.contract import runpod_golden as golden

KEY = "rpa_THISISNOTAREALKEY0123456789"
OWNER = "0123456789abcdef0123456789abcdef"
OTHER_OWNER = "fedcba9876543210fedcba9876543210"
LEASE = "abcdefghi"
TOKEN = make(OWNER, LEASE, 1)
BASE = "https://api.runpod.io"
ACCOUNT = key_account("runpod", KEY)


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
        settings={"RUNPOD_API_KEY": KEY, "HOME": str(tmp_path)},
        owner=OWNER,
        on_unclassified=lambda *what: unclassified.append(what),
    )


@pytest.fixture
async def runpod(context: Context) -> AsyncIterator[RunPod]:
    adapter = RunPod(context)
    yield adapter
    await adapter.aclose()


@pytest.fixture
def wire() -> Iterator[respx.MockRouter]:
    with respx.mock(base_url=BASE, assert_all_called=False) as router:
        yield router


@pytest.fixture
def offer() -> Offer:
    """One L40S in Romania, as the golden catalogue sells it."""
    return Offer(
        offer_id="runpod/secure/EU-RO-1/NVIDIA L40S/1",
        provider="runpod",
        gpu="l40s",
        usd_per_hour=Decimal("0.99"),
        native={"cloud": "SECURE", "gpu_id": "NVIDIA L40S", "data_center": "EU-RO-1"},
    )


@pytest.fixture
def spec() -> LaunchSpec:
    return LaunchSpec(name=TOKEN, owner=OWNER, lease=LEASE, ssh_public_key="ssh-ed25519 AAAA orch\n")


@pytest.fixture
def pod() -> Callable[..., dict[str, Any]]:
    """Makes a golden pod that carries our mark; keywords replace its fields."""

    def build(base: dict[str, Any] = golden.READY, **changes: Any) -> dict[str, Any]:
        marked = {"name": TOKEN, "env": {"ORCH_OWNER": OWNER, "ORCH_TOKEN": TOKEN}}
        return {**deepcopy(base), **marked, **changes}

    return build


@pytest.fixture
def attempt(offer: Offer, spec: LaunchSpec) -> Callable[..., AttemptRef]:
    """Makes what the store knows of our one attempt."""

    def build(**known: Any) -> AttemptRef:
        return AttemptRef(**{"token": TOKEN, "account": ACCOUNT, "offer": offer, "spec": spec, **known})

    return build
