"""A served Paperspace emulator with a clock that tests turn, and what is known of the real one's answers.

There is no official description of this API in a file. Samples and field lists are those of the project's facts
about Paperspace (sample answers, DigitalOcean's API reference of March 2026, generated types of Paperspace's CLI).
"""

from __future__ import annotations

import base64
import contextlib
import json
import textwrap
import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from providers.env import ManualEnv
from providers.paperspace.emulator import PaperspaceEmulator
from providers.paperspace.emulator_options import Options
from providers.sandbox.serve import serving
from providers.sandbox.world import NoMachines, World

MARKET = Path(__file__).resolve().parents[2] / "providers" / "paperspace" / "market.toml"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0d9F0aJ0d9F0aJ0d9F0aJ0d9F0aJ0d9F0aJ0d9 me@laptop"
#: From create to `starting`, `serviceready`, `ready` and SSH, in seconds, as the options have it.
STARTING_S, SERVICE_S, READY_S, SSH_S = 90, 120, 140, 145

#: A create as it is documented, less the startup script.
BODY: dict[str, Any] = {
    "name": "orch-7k3m9q2x",
    "machineType": "A6000",
    "templateId": "twnlo3zj",
    "diskSize": 100,
    "region": "NY2",
    "publicIpType": "dynamic",
    "startOnCreate": True,
    "emailPassword": False,
    "autoShutdownEnabled": False,
}

#: The sample answer to it. The size of the disk in GB was asked for, and comes in bytes.
CREATED: dict[str, Any] = json.loads("""
{"data":{"id":"ps0example01","name":"orch-7k3m9q2x","state":"provisioning","os":"Ubuntu 20.04","machineType":"A6000",
  "agentType":"LinuxHeadless","cpus":8,"ram":48318382080,"storageTotal":107374182400,"storageUsed":0,
  "accelerators":[{"name":"A6000","memory":51539607552,"count":1}],"region":"East Coast (NY2)","privateIp":null,
  "networkId":null,"publicIp":null,"publicIpType":"dynamic","usageRate":1.89,"storageRate":0.01,
  "autoShutdownEnabled":false,"updatesPending":false,"dtCreated":"2026-03-04T09:00:00.000Z",
  "dtModified":"2026-03-04T09:00:00.000Z","dtDeleted":null,"reservation":null},
 "event":{"id":"ev0example","machineId":"ps0example01","name":"create","state":"new","error":null,
  "dtCreated":"2026-03-04T09:00:00.000Z","dtStarted":null,"dtFinished":null}}
""")
#: Fields whose values differ from machine to machine.
OWN = frozenset({"id", "machineId", "dtCreated", "dtModified"})

#: What other things consist of.
FIELDS = {
    "template": "id name agentType operatingSystemLabel defaultSizeGb availableMachineTypes dtCreated",
    "script": "id name description isEnabled isRunOnce assignedMachineIds dtCreated dtDeleted",
    "network": "id name network netmask region dtCreated dtDeleted",
    "ip": "ip region dtCreated",
    "standing": "hasPaymentMethod isAdminLocked isInGoodStanding messages",
    "team": "id handle namespace maxMachines",
    "user": "id handle email",
}
STATES = {"provisioning", "starting", "restarting", "upgrading", "serviceready", "ready", "stopping", "off"}
EVENT_STATES = {"new", "in progress", "done", "error", "cancelled"}
#: tRPC names and statuses that Paperspace's CLI knows.
CODES = {
    "BAD_REQUEST": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_SUPPORTED": 405,
    "TIMEOUT": 408,
    "CONFLICT": 409,
    "PRECONDITION_FAILED": 412,
    "PAYLOAD_TOO_LARGE": 413,
    "TOO_MANY_REQUESTS": 429,
    "CLIENT_CLOSED_REQUEST": 499,
    "INTERNAL_SERVER_ERROR": 500,
    "PARSE_ERROR": 400,
}


def body(**changes: Any) -> dict[str, Any]:
    """A create's body; None takes a field out."""
    return {key: value for key, value in (BODY | changes).items() if value is not None}


def market(**changes: dict[str, Any]) -> dict[str, Any]:
    """The market file with some types' rows changed, for example ``A6000={"stock": {}}``."""
    part = tomllib.loads(MARKET.read_text(encoding="utf-8"))
    for row in part["types"]:
        row.update(changes.get(row["label"], {}))
    return part


def wrapped(script: str) -> str:
    """A script that carries another one in base64, over the lines of a here-document."""
    lines = "\n".join(textwrap.wrap(base64.b64encode(script.encode()).decode(), 76))
    return f"#!/bin/bash\nbase64 -d <<'EOF' > /tmp/s\n{lines}\nEOF\nbash /tmp/s\n"


def plain(key: str = PUBLIC_KEY) -> str:
    """A script that lets a key in, for everybody to read."""
    return f"#!/bin/bash\nmkdir -p ~/.ssh\necho '{key}' >> ~/.ssh/authorized_keys\n"


@dataclass
class Bench:
    """The world, the emulator in it, and a client that has the key."""

    env: ManualEnv
    world: World
    machines: NoMachines
    emulator: PaperspaceEmulator
    http: httpx.AsyncClient

    async def ask(self, method: str, path: str, content: Any = None, *, status: int = 200, **query: Any) -> Any:
        """What a request gives; a refusal must have the documented form."""
        more: dict[str, Any] = {} if content is None else {"json": content}
        answer = await self.http.request(method, f"/v1{path}", params=query or None, **more)
        assert answer.status_code == status, answer.text
        found = answer.json()
        if status != 200:
            assert found.keys() <= {"code", "message", "issues"}
            assert CODES.get(found["code"], status) == status
            assert found["message"]
        return found

    async def get(self, path: str, *, status: int = 200, **query: Any) -> Any:
        """What is read at *path*."""
        return await self.ask("GET", path, status=status, **query)

    async def create(self, **changes: Any) -> str:
        """Make a machine; its id."""
        made: str = (await self.ask("POST", "/machines", body(**changes)))["data"]["id"]
        return made

    async def refused(self, status: int, code: str, **changes: Any) -> str:
        """The message of a create that must be refused."""
        error = await self.ask("POST", "/machines", body(**changes), status=status)
        assert error["code"] == code
        return str(error["message"])

    async def ready(self, **changes: Any) -> str:
        """Make a machine and wait until it is reachable."""
        made = await self.create(**changes)
        self.pass_s(SSH_S)
        return made

    async def machine(self, made: str) -> dict[str, Any]:
        """One machine, which has all its fields and a state that is known."""
        found: dict[str, Any] = await self.get(f"/machines/{made}")
        assert found.keys() == CREATED["data"].keys()
        assert found["state"] in STATES
        return found

    async def events(self, made: str) -> list[tuple[str, str, str | None]]:
        """Name, state and error of what was done to a machine, oldest first."""
        rows = (await self.get("/machine-events", machineId=made, order="asc"))["items"]
        for row in rows:
            assert row.keys() == CREATED["event"].keys()
            assert row["state"] in EVENT_STATES
        return [(row["name"], row["state"], row["error"]) for row in rows]

    async def script(self, text: str, **changes: Any) -> str:
        """A startup script; its id."""
        wanted = {"name": "orch-7k3m9q2x", "script": text, "isRunOnce": True} | changes
        return str((await self.ask("POST", "/startup-scripts", wanted))["id"])

    async def listed(self, **query: Any) -> list[str]:
        """The ids in the list of machines."""
        return [item["id"] for item in (await self.get("/machines", **query))["items"]]

    def pass_s(self, seconds: float) -> None:
        """Let time go by."""
        self.env.advance(seconds)
        self.emulator.advance()

    def billed(self, made: str, what: str) -> Decimal:
        """What the ledger holds for one thing, USD to the hundredth of a cent."""
        now = self.env.now().timestamp()
        lines = [line for line in self.world.ledger.of("paperspace", made) if line.what == what]
        return sum((line.usd(now) for line in lines), Decimal(0)).quantize(Decimal("0.0001"))


@contextlib.asynccontextmanager
async def bench(
    options: Options | None = None, *, part: dict[str, Any] | None = None, boot_scale: float = 1.0, seed: int = 0
) -> AsyncIterator[Bench]:
    """Serve a fresh emulator; *part* is Paperspace's part of the market, None the market file."""
    env, machines = ManualEnv(), NoMachines()
    markets = {} if part is None else {"paperspace": part}
    world = World(env, market=markets, machines=machines, boot_scale=boot_scale, seed=seed)
    emulator = PaperspaceEmulator(world, options)
    async with serving(world) as url:
        settings = emulator.environment(f"{url}/paperspace")
        headers = {"Authorization": f"Bearer {settings['PAPERSPACE_API_KEY']}"}
        base = settings["ORCH_PAPERSPACE_URL"]
        async with httpx.AsyncClient(base_url=base, headers=headers, trust_env=False) as http:
            yield Bench(env, world, machines, emulator, http)
