"""A served Google Cloud emulator with a clock that tests turn; the discovery documents judge all that it says."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx

from providers.env import ManualEnv
from providers.gcp.emulator import GcpEmulator
from providers.gcp.emulator_options import Options
from providers.sandbox.serve import serving
from providers.sandbox.world import Exchange, NoMachines, World
from tests.conftest import SPEC_DIR
from tests.contract.gcp_official import Discovery, load
from tests.contract.official import Finding

FILES = "gcp/*.v1.json*"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeKeyForTests0000000000000000000000 orch"
PROJECT = "orch-sandbox"
ZONE = "us-central1-a"
L4 = "g2-standard-4"
#: us-central1's price of `L4`, on demand and as spot: the sheet's 0.707, and core, memory and GPU as spot.
USD = Decimal("0.706788")
SPOT_USD = Decimal("0.361216")
#: From insert until RUNNING, and until SSH answers, with the options' times.
RUN_S, UP_S = 16, 56
FAMILY = "projects/ubuntu-os-accelerator-images/global/images/family/ubuntu-accelerator-2204-amd64-with-nvidia-580"
BILLING = "/v1/services/6F81-5844-456A/skus"
_DOCUMENTS: list[Discovery] = []


def documents() -> Discovery | None:
    """The official descriptions, or None where they are not there."""
    files = sorted(SPEC_DIR.glob(FILES))
    if not _DOCUMENTS and files:
        _DOCUMENTS.append(load("gcp", files, SPEC_DIR))
    return _DOCUMENTS[0] if _DOCUMENTS else None


@dataclass
class Bench:
    """The world, the emulator in it, and a client."""

    env: ManualEnv
    world: World
    machines: NoMachines
    emulator: GcpEmulator
    http: httpx.AsyncClient
    url: str
    settings: dict[str, str]
    findings: dict[Finding, None] = field(default_factory=dict)
    operations: set[str] = field(default_factory=set)
    judged: int = 0

    def record(self, exchange: Exchange) -> None:
        """Judge one exchange."""
        if (judge := documents()) is not None:
            name, found = judge.judge(exchange)
            self.judged += 1
            self.operations.add(name)
            self.findings |= dict.fromkeys(found)

    async def call(
        self, method: str, path: str, body: Any = None, *, status: int = 200, **query: str
    ) -> dict[str, Any]:
        """Call Compute, *path* being below the project; the answer, whose status must be *status*."""
        url = f"/compute/v1/projects/{PROJECT}{path}"
        answer = await self.http.request(method, url, json=body, params=query)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def get(self, path: str, *, status: int = 200, **query: str) -> dict[str, Any]:
        """Read from Compute."""
        return await self.call("GET", path, status=status, **query)

    async def refused(self, method: str, path: str, body: Any = None, **query: str) -> tuple[int, str, str]:
        """Status, reason and message of a refusal."""
        answer = await self.http.request(method, f"/compute/v1/projects/{PROJECT}{path}", json=body, params=query)
        error = answer.json()["error"]
        assert error["code"] == answer.status_code
        return answer.status_code, error["errors"][0]["reason"], error["message"]

    async def insert(self, zone: str = ZONE, **changes: Any) -> dict[str, Any]:
        """Insert an instance; the operation."""
        return await self.call("POST", f"/zones/{zone}/instances", order(zone, **changes))

    async def failed(self, zone: str = ZONE, **changes: Any) -> dict[str, Any]:
        """Insert an instance and wait until its operation has failed; the operation."""
        made = await self.wait(await self.insert(zone, **changes))
        assert made["error"], made
        return made

    async def wait(self, operation: dict[str, Any]) -> dict[str, Any]:
        """Wait for an operation of a zone."""
        zone = operation["zone"].rpartition("/")[2]
        return await self.call("POST", f"/zones/{zone}/operations/{operation['name']}/wait")

    async def running(self, zone: str = ZONE, **changes: Any) -> dict[str, Any]:
        """Insert an instance and let its boot pass; the instance."""
        made = await self.insert(zone, **changes)
        self.env.advance(UP_S)
        return await self.get(f"/zones/{zone}/instances/{made['targetLink'].rpartition('/')[2]}")

    async def names(self, **query: str) -> list[str]:
        """Names in the aggregated list of instances."""
        found = await self.call("GET", "/aggregated/instances", None, status=200, **query)
        return [one["name"] for scope in found["items"].values() for one in scope.get("instances", ())]

    async def skus(self, **query: str) -> list[dict[str, Any]]:
        """The whole price catalogue."""
        rows: list[dict[str, Any]] = []
        token = ""
        while True:
            page = (await self.http.get(BILLING, params={"pageToken": token, **query})).json()
            rows += page["skus"]
            token = page["nextPageToken"]
            if not token:
                return rows

    def usd(self, instance: str, what: str) -> Decimal:
        """What the ledger holds for an instance's lines of that kind."""
        self.emulator.advance()
        lines = [line for line in self.world.ledger.of("gcp", instance) if line.what.startswith(what)]
        return sum((line.usd(self.env.now().timestamp()) for line in lines), Decimal(0))


def order(zone: str = ZONE, **changes: Any) -> dict[str, Any]:
    """The body of an insert: an L4 as spot. A change replaces a member, None removes it."""
    base: dict[str, Any] = {
        "name": "orch-l1-a1",
        "machineType": f"zones/{zone}/machineTypes/{L4}",
        "labels": {"orch-lease": "l1", "orch-owner": "ab" * 16},
        "tags": {"items": ["orch"]},
        "disks": [boot_disk(zone)],
        "networkInterfaces": [
            {
                "network": "global/networks/default",
                "accessConfigs": [{"type": "ONE_TO_ONE_NAT", "name": "External NAT", "networkTier": "STANDARD"}],
            }
        ],
        "scheduling": spot(),
        "metadata": {"items": [{"key": "ssh-keys", "value": f"ubuntu:{KEY}"}]},
    }
    return {key: value for key, value in {**base, **changes}.items() if value is not None}


def boot_disk(zone: str = ZONE, kind: str = "pd-balanced", **changes: Any) -> dict[str, Any]:
    """A boot disk; *changes* are of its initializeParams."""
    new = {"sourceImage": FAMILY, "diskSizeGb": "100", "diskType": f"zones/{zone}/diskTypes/{kind}", **changes}
    return {"boot": True, "autoDelete": True, "initializeParams": new}


def spot(**changes: Any) -> dict[str, Any]:
    """The scheduling of a spot machine."""
    base = {
        "provisioningModel": "SPOT",
        "instanceTerminationAction": "DELETE",
        "onHostMaintenance": "TERMINATE",
        "automaticRestart": False,
    }
    return {key: value for key, value in {**base, **changes}.items() if value is not None}


def standard(**changes: Any) -> dict[str, Any]:
    """The scheduling of an on-demand machine with a GPU."""
    base = {"provisioningModel": "STANDARD", "onHostMaintenance": "TERMINATE", "automaticRestart": False}
    return {**base, **changes}


def type_of(name: str, zone: str = ZONE) -> str:
    """A machine type's partial link."""
    return f"zones/{zone}/machineTypes/{name}"


@contextlib.asynccontextmanager
async def bench(
    options: Options | None = None, *, boot_scale: float = 1.0, seed: int = 0, odd_answers: bool = False
) -> AsyncIterator[Bench]:
    """Serve a fresh emulator with the market file beside it.

    Args:
        odd_answers: it is told to say what the documents do not know.
    """
    env, machines = ManualEnv(), NoMachines()
    world = World(env, machines=machines, boot_scale=boot_scale, seed=seed)
    emulator = GcpEmulator(world, options)
    async with serving(world) as base:
        settings = emulator.environment(f"{base}/gcp")
        headers = {"authorization": f"Bearer {settings['ORCH_GCP_TOKEN']}"}
        async with httpx.AsyncClient(base_url=settings["ORCH_GCP_URL"], headers=headers, trust_env=False) as http:
            served = Bench(env, world, machines, emulator, http, settings["ORCH_GCP_URL"], settings)
            world.recorder = served.record
            yield served
    # Requests may be wrong, for that is what tests try; answers may not.
    wrong = [one for one in served.findings if one.where in ("response", "status", "header")]
    assert odd_answers or not wrong, "not as the discovery documents say:\n" + "\n".join(map(str, wrong))
