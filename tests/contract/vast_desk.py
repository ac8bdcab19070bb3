"""Tools of the Vast.ai emulator's tests: a desk with a client, and Vast's own endpoint descriptions as the judge."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import tomllib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from providers.env import ManualEnv
from providers.sandbox.serve import serving
from providers.sandbox.world import Exchange, NoMachines, World
from providers.vast.emulator import VastEmulator

ROOT = Path(__file__).resolve().parents[2]
SPEC = Path(os.environ.get("ORCH_SPEC_DIR") or ROOT.parent / "shared" / "specs") / "vast" / "endpoints"
MARKET = ROOT / "providers" / "vast" / "market.toml"
KEY_LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0d9F0 orch"
#: Asks of the market file: free egress in a data centre; cheaper with egress; unverified; ends within two hours.
L40_FREE, L40_EGRESS, L40_UNVERIFIED, L40_ENDING = 31415926, 31415984, 31416003, 31416058
L40S_TW, RTX_NO_PORTS, NO_BIDS, VM_HOST = 31420011, 31430188, 31423398, 31420090

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

#: Where the emulator leaves the official descriptions, each with the reason. Keys: call, then what deviates.
DIFFERENCES: dict[tuple[str, str], str] = {
    ("GET /api/v0/instances/{id}/", "200 instances"): "a rental that is gone is null (clients)",
    (
        "GET /api/v0/instances/{id}/",
        "200 instances.ports",
    ): "a map like Docker's; the described int array is wrong (clients)",
    ("GET /api/v0/instances/{id}/", "200 instances.extra_env[]"): "pairs, as the list's description has it",
    ("any call", "401"): "the refusal of a bad key is described for most calls, and holds for all",
    ("any call", "403"): "the refusal of a missing key is described for one call, and holds for all",
    ("any call", "429"): "text, as clients met it (the described JSON is a setting), where it is not described too",
    ("PUT /api/v0/asks/{id}/", "400 error"): "insufficient_credit is no described code; clients have met it",
    ("PUT /api/v0/launch_instance/", "200 new_contract"): "an integer, as from the other create (guide)",
}
#: Where requests leave them: what the official client and the guides send.
REQUEST_DIFFERENCES: dict[tuple[str, str], str] = {
    ("PUT /api/v0/asks/{id}/", "env"): "an object (guide, official client); a described flags string is not applied",
    ("PUT /api/v0/asks/{id}/", "price"): "null for on demand (official client)",
    ("PUT /api/v0/asks/{id}/", "runtype"): "the official client sends the literal 'ssh_direc ssh_proxy'",
    ("POST /api/v0/bundles/", "type"): "on-demand, as in the description's own example",
    ("POST /api/v0/bundles/", "order"): "one pair is enough (official client); the description asks for two",
}


_ANYWHERE = ("401", "403", "429")


@dataclass(frozen=True, slots=True)
class Operation:
    """One described call: the file, the path as a template, and the description's part about it."""

    file: str
    template: str
    method: str
    part: dict[str, Any]

    @property
    def call(self) -> str:
        """For example ``GET /api/v0/ssh/``."""
        return f"{self.method} {self.template}"


def _openapi30(node: Any) -> Any:
    """OpenAPI 3.0's `nullable` as JSON Schema; examples left out."""
    if isinstance(node, list):
        return [_openapi30(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _openapi30(value) for key, value in node.items() if key not in ("example", "examples")}
    if node.get("nullable") is True and isinstance(node.get("type"), str):
        found["type"] = [node["type"], "null"]
    return found


@functools.cache
def documents() -> dict[str, dict[str, Any]]:
    """The official descriptions by file name; the test is skipped where they are not there."""
    if not SPEC.is_dir():
        pytest.skip(f"no Vast.ai descriptions at {SPEC} (set ORCH_SPEC_DIR)")
    return {file.stem: yaml.load(file.read_text(encoding="utf-8"), _LOADER) for file in sorted(SPEC.glob("*.yaml"))}


@functools.cache
def _operations() -> list[Operation]:
    return [
        Operation(name, path.rstrip("/") + "/", method.upper(), part)
        for name, document in documents().items()
        for path, methods in document["paths"].items()
        for method, part in methods.items()
    ]


@functools.cache
def _validator(file: str, pointer: str) -> Any:
    document = _openapi30(documents()[file])
    registry: Registry[Any] = Registry().with_resource("urn:vast", DRAFT202012.create_resource(document))
    return Draft202012Validator({"$ref": f"urn:vast#{pointer}"}, registry=registry)


def operations(method: str, path: str) -> list[Operation]:
    """The described calls that a request may be; several descriptions share one path."""
    path = path.rstrip("/") + "/"
    found = [
        one
        for one in _operations()
        if one.method == method and re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", one.template), path)
    ]
    exact = [one for one in found if one.template == path]
    return exact or found


def _pointer(operation: Operation, *rest: str) -> str:
    path = next(path for path in documents()[operation.file]["paths"] if path.rstrip("/") + "/" == operation.template)
    parts = ["paths", path, operation.method.lower(), *rest, "content", "application/json", "schema"]
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def _place(error: Any) -> str:
    text = ""
    for part in error.absolute_path:
        text += "[]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _deviations(exchange: Exchange, operation: Operation) -> Iterator[tuple[tuple[str, str], str]]:
    """What an answer has that *operation* does not describe."""
    call = re.sub(r"\{[^}]+\}", "{id}", operation.template, count=1)
    call, status = f"{operation.method} {call}", str(exchange.status)
    responses = operation.part["responses"]
    if status not in responses and "default" not in responses:
        yield ("any call" if status in _ANYWHERE else call, status), f"{status} is not described"
        return
    status = status if status in responses else "default"
    if "content" not in responses[status]:
        return
    if not exchange.headers["content-type"].startswith("application/json"):
        yield ("any call", str(exchange.status)), "the answer is no JSON"
        return
    validator = _validator(operation.file, _pointer(operation, "responses", status))
    for error in validator.iter_errors(json.loads(exchange.body)):
        yield (call, f"{exchange.status} {_place(error)}".strip()), error.message


def check_exchange(exchange: Exchange) -> set[tuple[str, str]]:
    """Hold one answer to the descriptions, but for `DIFFERENCES`; which of these it needed."""
    candidates = operations(exchange.method, exchange.path)
    if not candidates:
        return set()
    judged = [list(_deviations(exchange, operation)) for operation in candidates]
    best = min(judged, key=len)
    unexplained = [(key, why) for key, why in best if key not in DIFFERENCES]
    assert not unexplained, f"{exchange.method} {exchange.path} -> {exchange.status}: {unexplained}"
    return {key for key, _ in best}


def check_request(exchange: Exchange) -> set[tuple[str, str]]:
    """Hold one served request to the descriptions, but for `REQUEST_DIFFERENCES`; which of these it needed."""
    used: set[tuple[str, str]] = set()
    candidates = [one for one in operations(exchange.method, exchange.path) if "requestBody" in one.part]
    if not candidates or exchange.status != 200 or not exchange.request_body:
        return used
    judged = []
    for operation in candidates:
        validator = _validator(operation.file, _pointer(operation, "requestBody"))
        judged.append(
            [(_place(error), error.message) for error in validator.iter_errors(json.loads(exchange.request_body))]
        )
    for place, why in min(judged, key=len):
        key = (f"{exchange.method} {candidates[0].template}", place)
        assert key in REQUEST_DIFFERENCES, f"{key}: {why}"
        used.add(key)
    return used


def market(**changes: Any) -> dict[str, Any]:
    """The market file without rate limits, and with some tables changed (``wire={...}`` and so on)."""
    tables = tomllib.loads(MARKET.read_text(encoding="utf-8"))
    tables["limits"] = {}
    for name, change in changes.items():
        tables[name] = tables[name] | change if isinstance(change, dict) else change
    return tables


def asks(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    """The market file's first ask (an L40 with free egress) with changes, once for each of *rows*."""
    first = tomllib.loads(MARKET.read_text(encoding="utf-8"))["asks"][0]
    return [{**first, **row} for row in rows]


def body(**changes: Any) -> dict[str, Any]:
    """A create body for a container with direct SSH; None takes a key out, a key of None stays with `price`."""
    base: dict[str, Any] = {
        "client_id": "me",
        "image": "vastai/base-image:@vastai-automatic-tag",
        "label": "orch-aaaaaaa-bbbbbbbbb-01",
        "disk": 50,
        "runtype": "ssh_direc ssh_proxy",
        "env": {"ORCH_OWNER": "0" * 32, "-p 8080:8080": "1"},
        "onstart": "touch ~/.no_auto_tmux",
        "cancel_unavail": True,
    }
    return {name: value for name, value in (base | changes).items() if value is not None or name == "price"}


class Desk:
    """A world with a Vast, and a client of it."""

    def __init__(self, env: ManualEnv, world: World, vast: VastEmulator, http: httpx.AsyncClient) -> None:
        self.env = env
        self.world = world
        self.vast = vast
        self.http = http
        self.exchanges: list[Exchange] = []
        world.recorder = self.exchanges.append

    @property
    def machines(self) -> dict[str, dict[str, Any]]:
        """The SSH servers that would run."""
        machines = self.world.machines
        assert isinstance(machines, NoMachines)
        return machines.running

    async def search(self, **query: Any) -> list[dict[str, Any]]:
        """The offers of a search, as a client with the official client's defaults asks."""
        reply = await self.http.post("/api/v0/bundles/", json=query)
        assert reply.status_code == 200, reply.text
        rows: list[dict[str, Any]] = reply.json()["offers"]
        return rows

    async def ids(self, **query: Any) -> list[int]:
        """The ids of the offers of a search, in order."""
        return [row["id"] for row in await self.search(**query)]

    async def put(self, ask: int, **changes: Any) -> httpx.Response:
        """A create."""
        return await self.http.put(f"/api/v0/asks/{ask}/", json=body(**changes))

    async def create(self, ask: int = L40_FREE, **changes: Any) -> int:
        """A new rental's id."""
        reply = await self.put(ask, **changes)
        assert reply.status_code == 200, reply.text
        made: int = reply.json()["new_contract"]
        return made

    async def ready(self, ask: int = L40_FREE, **changes: Any) -> int:
        """A rental that has booted."""
        made = await self.create(ask, **changes)
        self.env.advance(90)
        self.vast.advance()
        return made

    async def show(self, instance: int) -> Any:
        """A rental as it is now; None if it is gone."""
        reply = await self.http.get(f"/api/v0/instances/{instance}/", params={"owner": "me"})
        assert reply.status_code == 200, reply.text
        return reply.json()["instances"]

    async def page(self, **query: Any) -> dict[str, Any]:
        """One page of the list; values that are no text go as JSON."""
        params = {key: value if isinstance(value, str) else json.dumps(value) for key, value in query.items()}
        reply = await self.http.get("/api/v1/instances/", params=params)
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    async def change(self, instance: int, **change: Any) -> httpx.Response:
        """A change of state or label."""
        return await self.http.put(f"/api/v0/instances/{instance}/", json=change)

    async def destroy(self, instance: int) -> httpx.Response:
        """The end of a rental."""
        return await self.http.request("DELETE", f"/api/v0/instances/{instance}/", json={})

    def open_lines(self, instance: int) -> dict[str, str]:
        """What a rental bills now: ledger line to USD per hour."""
        self.vast.advance()
        lines = self.world.ledger.of("vast", str(instance))
        return {line.what: line.rates[-1][1] for line in lines if line.closed_at is None}

    def bill(self, instance: int) -> dict[str, Any]:
        """What a rental has cost until now, USD by kind of line."""
        self.vast.advance()
        found: dict[str, Any] = {}
        for line in self.world.ledger.of("vast", str(instance)):
            found[line.what] = found.get(line.what, 0) + line.usd(self.env.now().timestamp())
        return found


@contextlib.asynccontextmanager
async def desk(part: dict[str, Any] | None = None, **options: Any) -> AsyncIterator[Desk]:
    """Serve a Vast; at the end every answer that no fault spoilt is held to the descriptions, if they are there."""
    env = ManualEnv()
    world = World(env, market={"vast": part or market()}, **options)
    vast = VastEmulator(world)
    async with serving(world) as url:
        settings = vast.environment(f"{url}/vast")
        headers = {"Authorization": f"Bearer {settings['VAST_API_KEY']}", "User-Agent": "orch-test/1"}
        async with httpx.AsyncClient(base_url=settings["ORCH_VAST_URL"], headers=headers) as http:
            place = Desk(env, world, vast, http)
            yield place
    if SPEC.is_dir():
        for exchange in place.exchanges:
            if not exchange.faulty:
                check_exchange(exchange)
