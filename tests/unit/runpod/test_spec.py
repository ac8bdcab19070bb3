"""What is sent, and the golden samples, held against RunPod's own description of v2."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import respx

from providers.base import LaunchSpec, Offer, Query
from providers.runpod.adapter import RunPod
from providers.runpod.request import body
from tests.contract import runpod_golden as golden

ROOT = Path(__file__).resolve().parents[3]
FILE = Path(os.environ.get("ORCH_SPEC_DIR") or ROOT / "../shared/specs") / "runpod" / "openapi-v2.json"
TOKEN = "orch-aerukz4-abcdefghi-01"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    if not FILE.is_file():
        pytest.skip("RunPod's openapi-v2.json is not there: set ORCH_SPEC_DIR to the folder of API descriptions")
    loaded: dict[str, Any] = json.loads(FILE.read_text())
    return loaded


@pytest.fixture
def check(document: dict[str, Any]) -> Callable[[str, Any], None]:
    """Validates an instance against one of the description's schemas."""

    def validate(name: str, instance: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(instance)

    return validate


VARIANTS: list[dict[str, Any]] = [
    {},
    {"image": "me/mine:1", "cmd": "python -c 'print(1)'"},
    {"env": {"A": "1"}, "ports": ("8888/http", "9000/tcp"), "disk_gib": 1},
    {"disk_gib": 2000, "native": {"min_cuda_version": ""}},
]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("cloud", ["SECURE", "COMMUNITY"])
def test_every_body_we_send_fits_the_description(
    check: Callable[[str, Any], None], offer: Offer, spec: LaunchSpec, variant: dict[str, Any], cloud: str
) -> None:
    there = msgspec.structs.replace(offer, gpu_count=2, native={**offer.native, "cloud": cloud})
    check("CreatePodRequest", body(there, msgspec.structs.replace(spec, **variant), TOKEN))


def test_the_description_would_refuse_what_it_does_not_know(
    check: Callable[[str, Any], None], offer: Offer, spec: LaunchSpec
) -> None:
    sent = body(offer, spec, TOKEN)
    for wrong in ({**sent, "bogus": 1}, {**sent, "disk": 0}, {**sent, "gpu": {**sent["gpu"], "ids": []}}):
        with pytest.raises(jsonschema.ValidationError):
            check("CreatePodRequest", wrong)


async def test_every_call_we_make_is_described(
    document: dict[str, Any], runpod: RunPod, wire: respx.MockRouter, offer: Offer
) -> None:
    wire.get("/v2/catalog/gpus").respond(json=golden.GPUS)
    wire.get("/v2/catalog/datacenters").respond(json=golden.DATA_CENTERS)
    wire.get("/v2/pods").respond(json=golden.PODS)
    await runpod.offers(Query(count=2))
    await runpod.price(offer)
    await runpod.owned()
    assert len(wire.calls) == 5
    for call in wire.calls:
        operation = document["paths"][call.request.url.path][call.request.method.lower()]
        known = {p["name"]: p["schema"] for p in map(_resolver(document), operation.get("parameters", []))}
        for name, value in call.request.url.params.items():
            assert name in known, f"{name} is no parameter of {operation['operationId']}"
            assert value in _allowed(document, known[name]) or known[name].get("type") == "integer"


def _resolver(document: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def resolve(node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in node:
            return node
        found: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return dict(found)

    return resolve


def _allowed(document: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    resolve = _resolver(document)
    schema = resolve(schema)
    if "items" in schema:
        schema = resolve(schema["items"])
    for part in schema.get("allOf", []):
        schema = {**schema, **resolve(part)}
    return list(schema.get("enum", []))


SAMPLES: list[tuple[str, Any]] = [
    ("ListGpuTypesResponse", golden.GPUS),
    ("ListDataCentersResponse", golden.DATA_CENTERS),
    ("CreatePodRequest", golden.CREATE_BODY),
    ("Pod", golden.CREATED),
    ("Pod", golden.RUNNING_BUT_BOOTING),
    ("Pod", golden.READY),
    ("Pod", golden.STOPPED),
    ("ListPodsResponse", golden.PODS),
    ("ErrorResponse", golden.CAPACITY),
    ("ErrorResponse", golden.NO_TOKEN),
    ("ErrorResponse", golden.POD_NOT_FOUND),
    ("ErrorResponse", golden.EXTRA_KEY),
    ("ErrorResponse", golden.TOO_FAST),
]


@pytest.mark.parametrize(("name", "sample"), SAMPLES)
def test_the_golden_samples_fit_the_description(check: Callable[[str, Any], None], name: str, sample: Any) -> None:
    check(name, sample)


def test_the_descriptions_own_examples_can_be_read(document: dict[str, Any]) -> None:
    from providers.env import ManualEnv
    from providers.http import Reply
    from providers.runpod import offers, pods

    def example(path: str, method: str, status: str) -> Any:
        content = document["paths"][path][method]["responses"][status]["content"]["application/json"]
        [found] = content["examples"].values()
        return Reply(200, {}, json.dumps(found["value"]).encode()).json()

    now = ManualEnv().now()
    made = pods.read(example("/v2/pods", "post", "201"), "7h9k2m4n6p", account="a", seen_at=now, created=True)
    assert (made.phase.value, made.address, str(made.usd_per_hour)) == ("pending", None, "0.44")
    rows = example("/v2/catalog/gpus", "get", "200")["gpus"]
    [sold] = offers.read(rows, Query(), cloud="SECURE", account="a", now=now, places=None)
    assert (sold.gpu, sold.country, str(sold.usd_per_hour)) == ("rtx-4090", "US", "0.44")
