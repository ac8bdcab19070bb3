"""The vendors' own clients, from PyPI and in an environment of their own, as outside judges of the emulators."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from providers.env import ScaledEnv
from providers.runpod.emulator import RunPodEmulator
from providers.sandbox.kit import Emulator
from providers.sandbox.serve import serving
from providers.sandbox.world import Exchange, World
from providers.vast.emulator import VastEmulator
from tests.contract.official_watch import Watch
from tests.integrations.conftest import HERE, PROCESS_S, VENV, python_of

CLIENTS = VENV / "clients"
#: Sandbox seconds per second: so that machines boot at once, and a limit of one call in 4.5 s is kept by walking pace.
SPEED = 60.0


@dataclass
class Stand:
    """An emulator on loopback, and official clients that reach nothing else."""

    emulator: Emulator
    env: dict[str, str]
    log: Path
    watch: Watch
    exchanges: list[Exchange] = field(default_factory=list)

    def record(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        self.watch(exchange)

    async def run(self, *argv: str | Path) -> str:
        """Standard output of a program that must succeed."""
        process = await asyncio.create_subprocess_exec(
            *map(str, argv), env=self.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await asyncio.wait_for(process.communicate(), PROCESS_S)
        assert process.returncode == 0, f"{argv}: {err.decode()}\n{out.decode()}"
        return out.decode()

    async def json(self, *argv: str | Path) -> Any:
        return json.loads(await self.run(*argv))

    def billing(self) -> list[str]:
        """Ids of what bills."""
        self.emulator.advance()
        return self.emulator.world.ledger.billing()

    def check(self) -> None:
        """No answer was a server's failure, nobody looked elsewhere, and all answers are as officially described."""
        assert [one for one in self.exchanges if one.status >= 500] == []
        lines = self.log.read_text(encoding="utf-8").splitlines()
        assert any(line.startswith("guarded") for line in lines), "the guard did not stand"
        assert [line for line in lines if line.startswith("refused")] == []
        # What the client sends is the vendor's own affair.
        answers = [one for one in self.watch.unlisted if one.where in ("status", "response", "header")]
        assert answers == []


@contextlib.asynccontextmanager
async def standing(kind: type[Emulator], tmp_path: Path) -> AsyncIterator[Stand]:
    world = World(ScaledEnv(epoch=time.time(), speed=SPEED), boot_scale=0.1)
    emulator = kind(world)
    log = tmp_path / "reached.log"
    async with serving(world) as base:
        url = f"{base}/{emulator.name}"
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": str(HERE / "loopback_only"),
            "LOOPBACK_ONLY_LOG": str(log),
            "VASTAI_NO_UPDATE_CHECK": "1",
            "COLUMNS": "250",  # narrow tables lose columns
            "VAST_URL": url,
            "RUNPOD_API_BASE_URL": url,
            **emulator.environment(url),
        }
        stand = Stand(emulator, env, log, Watch(emulator.name, world, {}))
        world.recorder = stand.record
        yield stand


async def test_the_official_vast_sdk_searches_rents_shows_and_destroys(tmp_path: Path) -> None:
    python = python_of(CLIENTS, "vastai")
    async with standing(VastEmulator, tmp_path) as stand:
        seen = await stand.json(python, HERE / "clients" / "vast_life.py")
        contract = seen["made"]["new_contract"]
        assert seen["made"]["success"] is True
        prices = [offer["dph_total"] for offer in seen["offers"]]
        assert prices == sorted(prices)
        assert {offer["inet_up_cost"] for offer in seen["offers"]} == {0}
        assert seen["first"]["id"] == contract
        running = seen["running"]
        assert (running["label"], running["gpu_name"]) == ("official-client", seen["offers"][0]["gpu_name"])
        assert running["extra_env"]["GREETING"] == "hello"
        assert {"22/tcp", "8000/tcp"} <= running["ports"].keys()
        assert [row["id"] for row in seen["listed"]] == [contract]
        assert seen["destroyed"]["success"] is True
        assert seen["after"] == [None, []]
        assert stand.billing() == []
        stand.check()


async def test_the_official_vast_command_line_searches_rents_shows_and_destroys(tmp_path: Path) -> None:
    python_of(CLIENTS, "vastai")
    vastai = CLIENTS / "bin" / "vastai"
    async with standing(VastEmulator, tmp_path) as stand:
        offers = await stand.json(vastai, "search", "offers", "gpu_name=L40S num_gpus=1", "-o", "dph_total", "--raw")
        assert {offer["gpu_name"] for offer in offers} == {"L40S"}
        ask = str(offers[0]["id"])
        made = await stand.json(
            vastai, "create", "instance", ask, "--image", "ubuntu:24.04", "--disk", "20", "--ssh", "--direct", "--raw"
        )
        contract = str(made["new_contract"])
        assert len(stand.billing()) == 1
        shown = await stand.json(vastai, "show", "instance", contract, "--raw")
        assert str(shown["id"]) == contract
        # Tables for people use columns that programs do not.
        assert contract in await stand.run(vastai, "show", "instances", "--no-color")
        [row] = await stand.json(vastai, "show", "instances", "--raw")
        assert str(row["id"]) == contract
        assert "destroying" in await stand.run(vastai, "destroy", "instance", contract, "-y")
        assert await stand.json(vastai, "show", "instances", "--raw") == []
        assert stand.billing() == []
        stand.check()


async def test_the_official_runpod_package_asks_for_machines_through_graphql_alone(tmp_path: Path) -> None:
    """So it cannot judge our emulator, which speaks REST v2: GraphQL is to end early in 2027 (runpod.md, verdict)."""
    python = python_of(CLIENTS, "runpod")
    async with standing(RunPodEmulator, tmp_path) as stand:
        seen = await stand.json(python, HERE / "clients" / "runpod_calls.py")
        assert seen["version"] == "1.12.0"
        # Calls of the public interface that are about machines, and not made here: none.
        other = {"get_endpoints", "get_credentials"}
        assert {name for name in seen["public"] if name not in other} == seen["calls"].keys()
        assert {(one.method, one.path) for one in stand.exchanges} == {("POST", "/graphql")}
        assert len(stand.exchanges) == len(seen["calls"])
        # The emulator says of GraphQL what it says of any path that it does not have.
        assert {one.status for one in stand.exchanges} == {404}
        # It looks at no status, and of a termination's answer at nothing at all.
        assert {name for name, end in seen["calls"].items() if end == "fine"} == {"terminate_pod"}


def test_the_official_runpod_package_names_no_address_of_rest_v2_for_machines() -> None:
    """Read in its source, beside what it was seen to do: `/v2` there is the host of serverless jobs."""
    python = python_of(CLIENTS, "runpod")
    [package] = (python.parents[1] / "lib").glob("python3*/site-packages/runpod")
    source = "\n".join(file.read_text(encoding="utf-8") for file in package.rglob("*.py"))
    assert "/graphql" in source
    assert "https://api.runpod.ai/v2" in source
    for path in ("/v2/pods", "api.runpod.io/v2", "/v2/catalog", "rest.runpod.io"):
        assert path not in source
