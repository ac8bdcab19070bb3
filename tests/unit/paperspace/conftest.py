"""A Paperspace adapter whose wire is respx's, with a clock that only moves when turned."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import respx

from providers import naming
from providers.base import AttemptRef, Context, Instance, LaunchSpec, Offer
from providers.env import ManualEnv
from providers.paperspace.adapter import Paperspace

BASE_URL = "https://api.paperspace.com/v1"
KEY = "secret-not-a-real-key-0123456789"
TEAM = "te0example"
OWNER = "0123456789abcdef0123456789abcdef"
STRANGER = "fedcba9876543210fedcba9876543210"
TOKEN = naming.make(OWNER, "abcdefghi", 1)
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeKeyForTests0000000000000000000000 orch"
MACHINE_ID, SCRIPT_ID = "ps0example01", "ss0example"

TEMPLATES = [
    {
        "id": "twnplain2",
        "name": "paperspace/twnplain2",
        "agentType": "LinuxHeadless",
        "operatingSystemLabel": "Ubuntu 24.04",
        "defaultSizeGb": 50,
        "dtCreated": "2026-01-01T00:00:00.000Z",
        "availableMachineTypes": [{"machineTypeLabel": "A6000", "isAvailable": True}],
    },
    {
        "id": "twnml2204",
        "name": "ML-in-a-Box",
        "agentType": "LinuxHeadless",
        "operatingSystemLabel": "Ubuntu 22.04",
        "defaultSizeGb": 100,
        "dtCreated": "2025-01-01T00:00:00.000Z",
        "availableMachineTypes": [
            {"machineTypeLabel": "A6000", "isAvailable": True},
            {"machineTypeLabel": "A6000x2", "isAvailable": True},
            {"machineTypeLabel": "H100", "isAvailable": False},
            {"machineTypeLabel": "C5", "isAvailable": True},
        ],
    },
    {
        "id": "twnwindow",
        "name": "Windows ML-in-a-Box",
        "agentType": "WindowsDesktop",
        "operatingSystemLabel": "Windows 10",
        "defaultSizeGb": 50,
        "availableMachineTypes": [{"machineTypeLabel": "H100", "isAvailable": True}],
    },
]


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
        settings={"PAPERSPACE_API_KEY": KEY, "HOME": str(tmp_path)},
        owner=OWNER,
        on_unclassified=lambda *what: unclassified.append(what),
    )


@pytest.fixture
async def cloud(context: Context) -> AsyncIterator[Paperspace]:
    adapter = Paperspace(context)
    yield adapter
    await adapter.aclose()


@pytest.fixture
def wire() -> Iterator[respx.MockRouter]:
    """Paperspace's host with an open session and no scripts; a call to a path that a test did not name fails."""
    with respx.mock(base_url=BASE_URL, assert_all_called=False) as router:
        router.get("/auth/session", name="session").respond(
            json={"team": {"id": TEAM, "maxMachines": 5}, "user": {"id": "u0example"}}
        )
        router.get("/billing/account-standing", name="standing").respond(
            json={"hasPaymentMethod": True, "isAdminLocked": False, "isInGoodStanding": True, "messages": []}
        )
        router.get("/os-templates", name="templates").respond(json=page(*TEMPLATES))
        router.get("/startup-scripts", name="scripts").respond(json=page())
        router.get("/machine-events", name="events").respond(json=page())
        yield router


@pytest.fixture
def offer() -> Offer:
    """One A6000 in New York."""
    return Offer(
        offer_id="paperspace/A6000/NY2",
        provider="paperspace",
        account=TEAM,
        gpu="rtx-a6000",
        region="NY2",
        instance_type="A6000",
        usd_per_hour=Decimal("1.89"),
        native={"machine_type": "A6000", "region": "NY2"},
    )


@pytest.fixture
def spec() -> LaunchSpec:
    """A resolved spec."""
    return LaunchSpec(
        name=TOKEN,
        owner=OWNER,
        lease="abcdefghi",
        ssh_public_key=PUBLIC_KEY,
        native={"template": "twnml2204", "disk": 100},
    )


@pytest.fixture
def attempt(offer: Offer, spec: LaunchSpec) -> Callable[..., AttemptRef]:
    """Makes what the store knows of our one attempt."""

    def build(**known: Any) -> AttemptRef:
        return AttemptRef(**{"token": TOKEN, "account": TEAM, "offer": offer, "spec": spec, **known})

    return build


@pytest.fixture
def machine(env: ManualEnv) -> Callable[..., dict[str, Any]]:
    """Makes a machine as the API shows it; *age* is seconds since its creation."""

    def build(age: float = 0.0, **fields: Any) -> dict[str, Any]:
        return {
            "id": MACHINE_ID,
            "name": TOKEN,
            "state": "provisioning",
            "machineType": "A6000",
            "region": "East Coast (NY2)",
            "publicIp": None,
            "usageRate": 1.89,
            "storageRate": 0.01,
            "ram": 48318382080,
            "dtCreated": stamp(env, age),
            "dtDeleted": None,
            **fields,
        }

    return build


@pytest.fixture
def script(env: ManualEnv) -> Callable[..., dict[str, Any]]:
    """Makes a startup script as the list shows it."""

    def build(age: float = 0.0, **fields: Any) -> dict[str, Any]:
        base = {"id": SCRIPT_ID, "name": TOKEN, "dtCreated": stamp(env, age), "dtDeleted": None}
        return {**base, "assignedMachineIds": [], **fields}

    return build


@pytest.fixture
def stored() -> Callable[..., Instance]:
    """Makes what the store hands to `terminate`."""

    def build(**known: Any) -> Instance:
        base = {"provider": "paperspace", "account": TEAM, "id": MACHINE_ID, "token": TOKEN}
        return Instance(**{**base, "handle": {"kind": "machine", "name": TOKEN}, **known})

    return build


def stamp(env: ManualEnv, age: float = 0.0) -> str:
    """A time as the API writes it, *age* seconds ago."""
    return (env.now() - timedelta(seconds=age)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def page(*rows: dict[str, Any], after: str | None = None) -> dict[str, Any]:
    """One page of a list."""
    return {"items": list(rows), "hasMore": after is not None, "nextPage": after}


def refusal(code: str, message: str, **more: Any) -> dict[str, Any]:
    """A refusal's body."""
    return {"code": code, "message": message, **more}


def sent(route: respx.Route, call: int = -1) -> Any:
    """The JSON body of a call that a route has seen."""
    return json.loads(route.calls[call].request.content)


def paths(router: respx.MockRouter) -> list[str]:
    """Method and path of every call, in order."""
    return [f"{call.request.method} {call.request.url.path.removeprefix('/v1')}" for call in router.calls]
