"""A served Fluence emulator with a clock that tests turn, and a way to compare answers with documented samples."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx

from providers.env import ManualEnv
from providers.fluence.emulator import FluenceEmulator
from providers.fluence.emulator_options import Options
from providers.sandbox.serve import serving
from providers.sandbox.world import NoMachines, World
from tests.contract import fluence_golden as golden

#: 14:43, as in the provider's own billing sample: 17 minutes to the next full hour.
START = datetime(2026, 11, 22, 14, 43, tzinfo=UTC)

#: The documentation's sample plans under their own ids, and a bare-metal one, of which it shows none.
MARKET: dict[str, Any] = {
    "vms": [
        {
            "id": "5a1e0000-0000-4000-8000-000000000002",
            "gpu": "l40",
            "vram": "48Gi",
            "interface": "pcie",
            "gpus": 1,
            "usd_per_hour": "0.76",
            "location": "us-central-3",
            "provider": "massed-compute",
            "vcpu": 14,
            "memory_gib": 119,
            "storage_gib": 582,
            "os_options": ["Ubuntu Server 22.04"],
        }
    ],
    "baremetal": [
        {
            "id": "5a1e0000-0000-4000-8000-000000000009",
            "gpu": "h100",
            "vram": "80Gi",
            "interface": "sxm",
            "gpus": 8,
            "usd_per_hour": "16",
            "location": "Finland 2",
            "provider": "sesterce",
            "vcpu": 200,
            "memory_gib": 1800,
            "storage_gib": 20000,
            "os_options": ["ubuntu22.04_cuda12.4_shade_os", "ubuntu24.04"],
            "ssh_user": "root",
            "ssh_port": 2222,
        }
    ],
    "containers": [
        {
            "id": "1d0f3c7e-0000-4000-8000-000000000001",
            "gpu": "rtx4090",
            "vram": "24Gi",
            "interface": "pcie",
            "gpus": 1,
            "usd_per_hour": "0.48",
            "locations": ["US", "DE"],
            "vcpu": 8,
            "memory_gib": 32,
            "storage_gib": 100,
        }
    ],
}

VM_BODY: dict[str, Any] = golden.CREATE_VM_BODY
CONTAINER_BODY: dict[str, Any] = golden.CREATE_CONTAINER_BODY
METAL_BODY: dict[str, Any] = {
    **VM_BODY,
    "plan_id": "5a1e0000-0000-4000-8000-000000000009",
    "os_image": "ubuntu24.04",
}
TREES = {"containers": "/gpu/instances/", "vms": "/gpu/instances/vms", "baremetal": "/gpu/instances/baremetal"}
BODIES = {"containers": CONTAINER_BODY, "vms": VM_BODY, "baremetal": METAL_BODY}


@dataclass
class Bench:
    """The world, the emulator in it, and a client that has the key."""

    env: ManualEnv
    world: World
    machines: NoMachines
    emulator: FluenceEmulator
    http: httpx.AsyncClient

    async def create(self, kind: str = "vms", **changes: Any) -> str:
        """Rent something; the new instance's id."""
        answer = await self.http.post(TREES[kind], json={**BODIES[kind], **changes})
        assert answer.status_code in (200, 201), answer.text
        made: str = answer.json()["instance_id"]
        return made

    async def running(self, kind: str = "vms", **changes: Any) -> str:
        """Rent something and wait until it is reachable."""
        made = await self.create(kind, **changes)
        self.env.advance(161)
        self.emulator.advance()
        return made

    async def get(self, made: str, kind: str = "vms") -> dict[str, Any]:
        """An instance's detail."""
        answer = await self.http.get(path(kind, made))
        assert answer.status_code == 200, answer.text
        detail: dict[str, Any] = answer.json()
        return detail

    async def listed(self, kind: str = "vms") -> list[dict[str, Any]]:
        """One tree's list."""
        answer = await self.http.get(TREES[kind])
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()
        return items

    async def delete(self, made: str, kind: str = "vms") -> httpx.Response:
        """Ask for an instance's end."""
        return await self.http.delete(path(kind, made))

    def billed(self, made: str) -> Decimal:
        """What the ledger holds for one instance, USD."""
        [line] = self.world.ledger.of("fluence", made)
        return line.usd(self.env.now().timestamp())


@contextlib.asynccontextmanager
async def bench(
    options: Options | None = None, *, market: dict[str, Any] | None = MARKET, boot_scale: float = 1.0
) -> AsyncIterator[Bench]:
    """Serve a fresh emulator; `market=None` is the market file."""
    env, machines = ManualEnv(START), NoMachines()
    markets = {} if market is None else {"fluence": copy.deepcopy(market)}
    world = World(env, market=markets, machines=machines, boot_scale=boot_scale)
    emulator = FluenceEmulator(world, options)
    async with serving(world) as url:
        settings = emulator.environment(f"{url}/fluence")
        async with httpx.AsyncClient(
            base_url=settings["ORCH_FLUENCE_URL"],
            headers={"X-API-KEY": settings["FLUENCE_API_KEY"]},
            trust_env=False,
        ) as http:
            yield Bench(env, world, machines, emulator, http)


def path(kind: str, made: str) -> str:
    """Where one instance is."""
    return f"{TREES[kind].rstrip('/')}/{made}"


#: Fields that the documentation calls nullable.
_NULLABLE = {
    "description",
    "domain",
    "network",
    "next_billing_period",
    "requires_ssh",
    "ssh_connection",
    "startup_command",
    "uri",
    "usageDaysLeft",
}


def differences(sample: Any, answer: Any, where: str = "$") -> list[str]:
    """Where *answer* has other keys or types than *sample*; list items are all held against the first sample."""
    if where.rsplit(".", 1)[-1] in _NULLABLE and (sample is None or answer is None):
        return []
    if isinstance(sample, dict) and isinstance(answer, dict):
        wrong = [f"{where}.{key}: missing" for key in sorted(sample.keys() - answer.keys())]
        wrong += [f"{where}.{key}: unexpected" for key in sorted(answer.keys() - sample.keys())]
        for key in sample.keys() & answer.keys():
            wrong += differences(sample[key], answer[key], f"{where}.{key}")
        return wrong
    if isinstance(sample, list) and isinstance(answer, list):
        found = [differences(sample[0], item, f"{where}[]") for item in answer if sample]
        return [text for part in found for text in part]
    if _type(sample) != _type(answer):
        return [f"{where}: {json.dumps(answer)} is no {_type(sample)}"]
    return []


def _type(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if number else type(value).__name__
