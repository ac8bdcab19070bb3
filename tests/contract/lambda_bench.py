"""A served Lambda Cloud emulator with a clock that tests turn, and Lambda's own API description as its judge."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import os
import re
import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from providers.env import ManualEnv
from providers.lambda_cloud.emulator import LambdaEmulator
from providers.lambda_cloud.emulator_options import Options
from providers.sandbox.faults import TRANSPORT
from providers.sandbox.serve import serving
from providers.sandbox.world import Exchange, NoMachines, World

ROOT = Path(__file__).resolve().parents[2]
SPEC = Path(os.environ.get("ORCH_SPEC_DIR") or ROOT.parent / "shared" / "specs") / "lambda" / "openapi.json"
MARKET = ROOT / "providers" / "lambda_cloud" / "market.toml"

LAUNCH = "/api/v1/instance-operations/launch"
TERMINATE = "/api/v1/instance-operations/terminate"
RESTART = "/api/v1/instance-operations/restart"
INSTANCES = "/api/v1/instances"
TYPES = "/api/v1/instance-types"
KEYS = "/api/v1/ssh-keys"
IMAGES = "/api/v1/images"
REGIONS = "/api/v1/regions"
FILE_SYSTEMS = "/api/v1/file-systems"

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0d9F0aJ0d9F0aJ0d9F0aJ0d9F0aJ0d9F0aJ0d9 me@laptop"
BODY: dict[str, Any] = {
    "region_name": "us-east-1",
    "instance_type_name": "gpu_1x_a10",
    "ssh_key_names": ["laptop"],
    "name": "orch-aaaaaaa-bbbbbbbbb-01",
}
#: From launch to `active`, to an `ip`, and to SSH, with one GPU; in seconds, as the options have it.
ACTIVE_S, ADDRESS_S, SSH_S = 270, 275, 285

#: Where the emulator answers otherwise than the description says, as method, path and status and code, and why.
#: "*" stands for every operation. Faults that are no answer of Lambda's at all (transport) are not in here.
DIFFERENCES: dict[tuple[str, str], str] = {
    ("*", "429 global/rate-limited"): "limits are described in prose alone; one client's tests expect this code",
    ("*", "429 html"): "the same from a proxy: clients have met answers that are no JSON",
    ("*", "405 text"): "a wrong method is described nowhere; POST /file-systems was seen to give 405",
    ("*", "500 global/internal-error"): "5xx is described for no operation; the code is, for others",
    (f"POST {KEYS}", "400 global/duplicate"): "clients meet it for a second key of one name; described for filesystems",
    (f"POST {LAUNCH}", "403 global/forbidden"): "no right in a workspace; described for reading instances",
    (f"POST {LAUNCH}", "400 instance-operations/launch/host-reserved"): "the fault unknown_code: what nobody described",
    (f"POST {TERMINATE}", "409 global/conflict"): "option terminate_booting: what `vm-has-not-launched` may lead to",
    (f"GET {INSTANCES}/{{id}}", "200 null"): "option null_fields: clients met null where the description has nothing",
    (f"GET {TYPES}", "200 text price"): "option price_as_text: older clients saw a string",
    (f"GET {INSTANCES}/{{id}}", "200 new status"): "option status_words: a word that is in no list yet",
}


@functools.cache
def description() -> dict[str, Any]:
    """The official description; the test is skipped where it is not there."""
    if not SPEC.is_file():
        pytest.skip(f"official specs are not there: set ORCH_SPEC_DIR (looked for lambda/{SPEC.name})")
    document: dict[str, Any] = json.loads(SPEC.read_text(encoding="utf-8"))
    return document


@functools.cache
def official(pointer: str) -> Draft202012Validator:
    """A validator for the schema at *pointer* in the description, for example ``components/schemas/Instance``."""
    resource = DRAFT202012.create_resource(description())
    registry: Registry[Any] = Registry().with_resource("urn:lambda", resource)
    return Draft202012Validator({"$ref": f"urn:lambda#/{pointer}"}, registry=registry)


def request_schema(method: str, path: str) -> Draft202012Validator:
    """A validator for an operation's body."""
    return official(f"paths/{path.replace('/', '~1')}/{method.lower()}/requestBody/content/application~1json/schema")


def difference(exchange: Exchange) -> tuple[str, str] | None:
    """In which way an answer differs from the description: operation, and status with code. None if it does not."""
    template = _template(exchange.path)
    operation = description()["paths"].get(template, {}).get(exchange.method.lower())
    about = f"{exchange.method} {template}"
    kind = exchange.headers["content-type"].partition(";")[0].rpartition("/")[2]
    if kind != "json":
        return about, f"{exchange.status} {'text' if kind == 'plain' else kind}"
    body = json.loads(exchange.body)
    if operation is None:
        # Outside of what is described, errors still look like errors.
        official("components/schemas/ApiErrorNotFound").validate(body["error"])
        assert exchange.status == 404
        return None
    if exchange.status == 200 and exchange.request_body:
        request_schema(exchange.method, template).validate(json.loads(exchange.request_body))
    said = "" if exchange.status == 200 else f" {body['error']['code']}"
    if str(exchange.status) not in operation["responses"]:
        return about, f"{exchange.status}{said}"
    place = f"paths/{template.replace('/', '~1')}/{exchange.method.lower()}/responses/{exchange.status}"
    fits = official(f"{place}/content/application~1json/schema").is_valid(body)
    return None if fits else (about, f"{exchange.status}{said}")


def _template(path: str) -> str:
    for template in description()["paths"]:
        if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path):
            # A fixed path goes before one with a parameter.
            return path if path in description()["paths"] else str(template)
    return path


def check_all(exchanges: list[Exchange], allowed: tuple[str, ...]) -> None:
    """Hold exchanges to the description; *allowed* says in which known ways a 200 may differ."""
    for exchange in exchanges:
        if (found := difference(exchange)) is None:
            continue
        operation, what = found
        listed = {(operation, what), ("*", what)} & DIFFERENCES.keys()
        if what == "200":
            listed = {entry for entry in DIFFERENCES if entry[0] == operation and entry[1] in allowed}
        assert listed, f"{operation} -> {what}: {exchange.body[:500]!r}"


def market(**changes: dict[str, Any]) -> dict[str, Any]:
    """The market file with some types' rows changed, for example ``gpu_1x_a10={"stock": {}}``."""
    part = tomllib.loads(MARKET.read_text(encoding="utf-8"))
    for row in part["types"]:
        row.update(changes.get(row["name"], {}))
    return part


def body(**changes: Any) -> dict[str, Any]:
    """A launch's body; None takes a field out."""
    return {key: value for key, value in (copy.deepcopy(BODY) | changes).items() if value is not None}


@dataclass
class Bench:
    """The world, the emulator in it, and a client that has the key."""

    env: ManualEnv
    world: World
    machines: NoMachines
    emulator: LambdaEmulator
    http: httpx.AsyncClient
    exchanges: list[Exchange] = field(default_factory=list)
    seen: int = 0

    def record(self, exchange: Exchange) -> None:
        """Keep an exchange, unless a fault of transport spoilt it."""
        new = self.world.faults.happened[self.seen :]
        self.seen = len(self.world.faults.happened)
        if not any(kind in TRANSPORT for _, kind, _ in new):
            self.exchanges.append(exchange)

    async def data(self, path: str, status: int = 200) -> Any:
        """What is read at *path*."""
        return self.unpack(await self.http.get(path), status)

    async def post(self, path: str, content: Any, status: int = 200) -> Any:
        """What a POST gives."""
        return self.unpack(await self.http.post(path, json=content), status)

    def unpack(self, answer: httpx.Response, status: int = 200) -> Any:
        """The payload of an answer that must have that status; of a refusal the error."""
        assert answer.status_code == status, answer.text
        content = answer.json()
        assert list(content) == ["data" if status == 200 else "error"]
        return next(iter(content.values()))

    async def refused(self, answer: httpx.Response | Any, status: int, code: str) -> dict[str, Any]:
        """The error of an answer (or of one that is to come)."""
        error: dict[str, Any] = self.unpack(answer if isinstance(answer, httpx.Response) else await answer, status)
        assert error["code"] == code
        return error

    async def launch(self, **changes: Any) -> str:
        """Rent something; the new instance's id."""
        [made] = (await self.post(LAUNCH, body(**changes)))["instance_ids"]
        return str(made)

    async def running(self, **changes: Any) -> str:
        """Rent something with one GPU and wait until it is reachable."""
        made = await self.launch(**changes)
        self.env.advance(SSH_S)
        self.emulator.advance()
        return made

    async def get(self, made: str) -> dict[str, Any]:
        """One instance."""
        found: dict[str, Any] = await self.data(f"{INSTANCES}/{made}")
        return found

    async def listed(self) -> list[str]:
        """The ids in the list."""
        return [item["id"] for item in await self.data(INSTANCES)]

    async def terminate(self, *made: str, status: int = 200) -> Any:
        """Ask for the end."""
        return await self.post(TERMINATE, {"instance_ids": list(made)}, status)

    def billed(self, made: str) -> Decimal:
        """What the ledger holds for one instance, USD."""
        lines = self.world.ledger.of("lambda", made)
        return sum((line.usd(self.env.now().timestamp()) for line in lines), Decimal(0))


@contextlib.asynccontextmanager
async def bench(
    options: Options | None = None,
    *,
    part: dict[str, Any] | None = None,
    boot_scale: float = 1.0,
    seed: int = 0,
    key: bool = True,
    allowed: tuple[str, ...] = (),
) -> AsyncIterator[Bench]:
    """Serve a fresh emulator; at the end every exchange is held to the description, if that is there.

    Args:
        options: without any, there are no rate limits.
        part: Lambda's part of the market; None is the market file.
        key: whether the account has the SSH key ``laptop``.
        allowed: in which known ways a 200 may differ (`DIFFERENCES`).
    """
    env, machines = ManualEnv(), NoMachines()
    markets = {} if part is None else {"lambda": part}
    world = World(env, market=markets, machines=machines, boot_scale=boot_scale, seed=seed)
    emulator = LambdaEmulator(world, options or unlimited())
    async with serving(world) as url:
        settings = emulator.environment(f"{url}/lambda")
        headers = {"Authorization": f"Bearer {settings['LAMBDA_API_KEY']}"}
        async with httpx.AsyncClient(base_url=settings["ORCH_LAMBDA_URL"], headers=headers, trust_env=False) as http:
            served = Bench(env, world, machines, emulator, http)
            world.recorder = served.record
            if key:
                await served.post(KEYS, {"name": "laptop", "public_key": PUBLIC_KEY})
                env.advance(1)
            yield served
    if SPEC.is_file():
        check_all(served.exchanges, allowed)


def unlimited(**changes: Any) -> Options:
    """Options without rate limits."""
    return Options(**({"request_spacing_s": 0.0, "launch_spacing_s": 0.0} | changes))


def shape(sample: Any, answer: Any, optional: frozenset[str] = frozenset(), where: str = "$") -> list[str]:
    """Where *answer* has other keys or types than *sample*; fields in *optional* may be absent on either side."""
    if isinstance(sample, dict) and isinstance(answer, dict):
        wrong = [f"{where}.{key}" for key in sorted((sample.keys() ^ answer.keys()) - optional)]
        for key in sample.keys() & answer.keys():
            wrong += shape(sample[key], answer[key], optional, f"{where}.{key}")
        return wrong
    if isinstance(sample, list) and isinstance(answer, list):
        return [text for item in answer for text in shape(sample[0], item, optional, f"{where}[]") if sample]
    return [] if type(sample) is type(answer) else [f"{where}: {json.dumps(answer)} is no {type(sample).__name__}"]
