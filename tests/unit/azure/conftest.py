"""An Azure adapter over the SDK's real pipeline and a scripted server, on a clock that only moves when turned."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from providers.azure.adapter import Azure
from providers.base import AttemptRef, Context, LaunchSpec, Offer
from providers.env import ManualEnv
from providers.naming import make
from tests.unit.azure.wire import Answer, Asked, Wire, refused, rows

OWNER = "0123456789abcdef0123456789abcdef"
OTHER_OWNER = "fedcba9876543210fedcba9876543210"
LEASE = "abcdefghi"
TOKEN = make(OWNER, LEASE, 1)
SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
BEARER = "eyJ0eXAiOiJKV1QifQ.static.token"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeKeyForTests orch"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{TOKEN}"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/{TOKEN}"
NIC = f"{GROUP}/providers/Microsoft.Network/networkInterfaces/{TOKEN}-nic-1a2b"
ADDRESS = f"{GROUP}/providers/Microsoft.Network/publicIPAddresses/{TOKEN}-ip-3c4d"
TAGS = {"orch-owner": OWNER, "orch-lease": LEASE, "orch-token": TOKEN}


def machine(
    state: str = "Succeeded", *statuses: str, tags: dict[str, str] | None = None, id_: str = VM, **properties: Any
) -> dict[str, Any]:
    """A machine as ARM shows it."""
    view = {"instanceView": {"statuses": [{"code": code} for code in statuses]}} if statuses else {}
    return {
        "id": id_,
        "name": id_.rsplit("/", 1)[-1],
        "type": "Microsoft.Compute/virtualMachines",
        "location": "eastus",
        "tags": TAGS if tags is None else tags,
        "properties": {
            "provisioningState": state,
            "timeCreated": "2026-11-22T12:00:00.1234567+00:00",
            "networkProfile": {"networkInterfaces": [{"id": NIC}]},
            **view,
            **properties,
        },
    }


def made(asked: Asked) -> Answer:
    """ARM's answer to a create: what was sent, and the state."""
    body = asked.body
    body["id"], body["name"] = asked.path, asked.path.rsplit("/", 1)[-1]
    body.setdefault("properties", {})["provisioningState"] = "Succeeded"
    return Answer(201, body)


def gone() -> Answer:
    return refused("ResourceNotFound", 404, "was not found")


def free_of_groups() -> Answer:
    return refused("ResourceGroupNotFound", 404, "could not be found")


@pytest.fixture
def env() -> ManualEnv:
    return ManualEnv(datetime(2026, 11, 22, 12, 0, tzinfo=UTC))


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A subscription with nothing in it, where everything can be made."""
    server = Wire()
    server.on("PUT", f"/resourcegroups/{TOKEN}", made)
    server.on("PUT", r"/networkSecurityGroups/[^/]+", made)
    server.on("PUT", r"/virtualNetworks/[^/]+", made)
    server.on("GET", "/virtualMachines", rows())
    server.on("GET", "/resourcegroups", rows())
    server.on("GET", f"/resourceGroups/{TOKEN}/resources", rows())
    server.on("GET", f"/virtualMachines/{TOKEN}", gone())
    server.on("HEAD", f"/resourcegroups/{TOKEN}", Answer(404))
    server.on("DELETE", f"/resourcegroups/{TOKEN}", free_of_groups())
    yield server
    server.close()


@pytest.fixture
def unclassified() -> list[tuple[str, str, str]]:
    return []


@pytest.fixture
def context(env: ManualEnv, wire: Wire, tmp_path: Path, unclassified: list[tuple[str, str, str]]) -> Context:
    return Context(
        env=env,
        settings={
            "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
            "ORCH_AZURE_TOKEN": BEARER,
            "ORCH_AZURE_URL": wire.url,
            "ORCH_AZURE_REGIONS": "eastus",
            "HOME": str(tmp_path),
        },
        owner=OWNER,
        on_unclassified=lambda *what: unclassified.append(what),
    )


@pytest.fixture
async def azure(context: Context) -> AsyncIterator[Azure]:
    adapter = Azure(context)
    yield adapter
    await adapter.aclose()


def an_offer(size: str = "Standard_NC4as_T4_v3", gpu: str = "t4", pricing: Any = "on-demand", **native: Any) -> Offer:
    """A quoted offer in eastus."""
    return Offer(
        offer_id=f"azure/eastus/{size}/{pricing}",
        provider="azure",
        account=SUBSCRIPTION,
        region="eastus",
        instance_type=size,
        gpu=gpu,
        pricing=pricing,
        workloads=("vm",),
        usd_per_hour=Decimal("0.526"),
        native={
            "region": "eastus",
            "size": size,
            "driver": "cuda",
            "generations": "V1,V2",
            "route": "internet",
            **native,
        },
    )


@pytest.fixture
def offer() -> Offer:
    return an_offer()


@pytest.fixture
def spec() -> LaunchSpec:
    return LaunchSpec(
        name=TOKEN, owner=OWNER, lease=LEASE, ssh_public_key=f"{KEY}\n", max_usd_per_hour=Decimal("0.53652")
    )


@pytest.fixture
async def attempt(azure: Azure, offer: Offer, spec: LaunchSpec) -> AttemptRef:
    """As the engine saves it before it asks."""
    return AttemptRef(token=TOKEN, account=SUBSCRIPTION, offer=offer, spec=await azure.resolve(offer, spec))
