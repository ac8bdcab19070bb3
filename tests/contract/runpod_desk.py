"""Tools of the RunPod emulator's tests: a desk with a client, and RunPod's own API description as the judge."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import os
import re
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator, FormatChecker, validators
from jsonschema.exceptions import ValidationError
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from providers.env import ManualEnv
from providers.runpod.emulator import RunPodEmulator
from providers.sandbox.serve import serving
from providers.sandbox.world import Exchange, NoMachines, World

ROOT = Path(__file__).resolve().parents[2]
SPEC = Path(os.environ.get("ORCH_SPEC_DIR") or ROOT.parent / "shared" / "specs") / "runpod" / "openapi-v2.json"
MARKET = ROOT / "providers" / "runpod" / "market.toml"
KEY_LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0d9F0 orch"
L40, L40S = "NVIDIA L40", "NVIDIA L40S"


def _ecma_pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Any:
    """JSON Schema's patterns are ECMA 262: ASCII digits, and ``$`` only at the very end."""
    if isinstance(value, str) and not re.search(pattern.replace("$", r"\Z").replace(r"\d", "[0-9]"), value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


_Validator: Any = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {"pattern": _ecma_pattern}
)


@functools.cache
def document() -> dict[str, Any]:
    """The official description; the test is skipped where it is not there."""
    if not SPEC.is_file():
        pytest.skip(f"no RunPod API description at {SPEC} (set ORCH_SPEC_DIR)")
    spec: dict[str, Any] = json.loads(SPEC.read_text(encoding="utf-8"))
    return spec


@functools.cache
def official(pointer: str) -> Any:
    """A validator for the schema at *pointer* in the description, for example ``components/schemas/Pod``."""
    resource = DRAFT202012.create_resource(document())
    registry: Registry[Any] = Registry().with_resource("urn:runpod", resource)
    return _Validator({"$ref": f"urn:runpod#/{pointer}"}, registry=registry, format_checker=FormatChecker())


def schema(name: str) -> Any:
    """A validator for one of the description's named schemas."""
    return official(f"components/schemas/{name}")


def check_exchange(exchange: Exchange) -> None:
    """Hold one answer to the description: status, media type, body, rate-limit headers."""
    about = f"{exchange.method} {exchange.path} -> {exchange.status}"
    found = _operation(exchange.method, exchange.path)
    if found is None:
        schema("ErrorResponse").validate(json.loads(exchange.body))
        return
    pointer, operation = found
    status = str(exchange.status)
    status = status if status in operation["responses"] else "default"
    assert status != "default" or exchange.status >= 400, f"undocumented status: {about}"
    response, place = operation["responses"][status], f"{pointer}/responses/{status}"
    if "$ref" in response:
        place = response["$ref"].removeprefix("#/")
        response = document()["components"]["responses"][place.rpartition("/")[2]]
    if exchange.status != 401:
        assert "ratelimit" in exchange.headers, about
        assert "ratelimit-policy" in exchange.headers, about
    if "content" not in response:
        assert exchange.body == b"", about
        return
    media = exchange.headers["content-type"].partition(";")[0]
    assert media in response["content"], f"{about}: {media}"
    text = exchange.body.decode()
    value = text if media == "text/event-stream" else json.loads(text)
    official(f"{place}/content/{media.replace('/', '~1')}/schema").validate(value)


def _operation(method: str, path: str) -> tuple[str, dict[str, Any]] | None:
    for template, item in document()["paths"].items():
        if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path):
            if method.lower() not in item:
                # The description says 405 once for all, in a component that no operation refers to.
                response = {"$ref": "#/components/responses/MethodNotAllowedError"}
                return "", {"responses": {"405": response}}
            pointer = f"paths/{template.replace('/', '~1')}/{method.lower()}"
            return pointer, item[method.lower()]
    return None


def market(**changes: Any) -> dict[str, Any]:
    """The market file with some tables changed (``limits={...}`` and so on), and wide rate limits."""
    tables = tomllib.loads(MARKET.read_text(encoding="utf-8"))
    tables["limits"] = {"minute": 10_000, "hour": 100_000, "day": 1_000_000}
    for name, change in changes.items():
        tables[name] = tables[name] | change
    return tables


def body(**changes: Any) -> dict[str, Any]:
    """A create body for one L40 in EU-RO-1 with SSH; None takes a key out."""
    base: dict[str, Any] = {
        "name": "orch-aaaaaaa-bbbbbbbbb-01",
        "image": "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404",
        "gpu": {"id": L40, "count": 1},
        "cloud": "SECURE",
        "dataCenterIds": ["EU-RO-1"],
        "disk": 73,
        "ports": ["22/tcp"],
        "env": {"PUBLIC_KEY": KEY_LINE, "ORCH_OWNER": "0" * 32},
    }
    return {name: value for name, value in (copy.deepcopy(base) | changes).items() if value is not None}


class Desk:
    """A world with a RunPod, and a client of it."""

    def __init__(self, env: ManualEnv, world: World, runpod: RunPodEmulator, http: httpx.AsyncClient) -> None:
        self.env = env
        self.world = world
        self.runpod = runpod
        self.http = http
        self.exchanges: list[Exchange] = []
        world.recorder = self.exchanges.append

    @property
    def machines(self) -> dict[str, dict[str, Any]]:
        """The SSH servers that would run."""
        machines = self.world.machines
        assert isinstance(machines, NoMachines)
        return machines.running

    async def create(self, **changes: Any) -> dict[str, Any]:
        """A pod made from `body`."""
        reply = await self.http.post("/v2/pods", json=body(**changes))
        assert reply.status_code == 201, reply.text
        pod: dict[str, Any] = reply.json()
        return pod

    async def pod(self, pod: dict[str, Any]) -> dict[str, Any]:
        """The pod as it is now."""
        reply = await self.http.get(f"/v2/pods/{pod['id']}")
        assert reply.status_code == 200, reply.text
        now: dict[str, Any] = reply.json()
        return now

    async def ready(self, **changes: Any) -> dict[str, Any]:
        """A pod that has booted."""
        pod = await self.create(**changes)
        self.env.advance(60)
        return await self.pod(pod)

    async def act(self, pod: dict[str, Any], action: str) -> httpx.Response:
        """An action on the pod."""
        return await self.http.post(f"/v2/pods/{pod['id']}/action", json={"action": action})

    async def gpus(self, **query: str) -> dict[str, dict[str, Any]]:
        """The catalogue with stock, by GPU id."""
        params = {"include": "AVAILABILITY", "product": "POD"} | query
        reply = await self.http.get("/v2/catalog/gpus", params=params)
        assert reply.status_code == 200, reply.text
        return {gpu["id"]: gpu for gpu in reply.json()["gpus"]}

    def open_lines(self, pod: dict[str, Any]) -> dict[str, str]:
        """What the pod bills now: ledger line to USD per hour."""
        lines = self.world.ledger.of("runpod", pod["id"])
        return {line.what: line.rates[-1][1] for line in lines if line.closed_at is None}


@contextlib.asynccontextmanager
async def desk(part: dict[str, Any] | None = None, **options: Any) -> AsyncIterator[Desk]:
    """Serve a RunPod; at the end every answer that no fault spoilt is held to the description, if it is there."""
    env = ManualEnv()
    world = World(env, market={"runpod": part or market()}, **options)
    runpod = RunPodEmulator(world)
    async with serving(world) as url:
        settings = runpod.environment(f"{url}/runpod")
        headers = {"Authorization": f"Bearer {settings['RUNPOD_API_KEY']}", "User-Agent": "orch-test/1"}
        async with httpx.AsyncClient(base_url=settings["ORCH_RUNPOD_URL"], headers=headers) as http:
            place = Desk(env, world, runpod, http)
            yield place
    if SPEC.is_file():
        for exchange in place.exchanges:
            if not exchange.faulty and b"Error 1010" not in exchange.body:
                check_exchange(exchange)
