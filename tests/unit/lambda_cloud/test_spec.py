"""What is sent, and the golden samples, held against Lambda's own description of its API."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import respx

from providers.base import AttemptRef, Instance, LaunchSpec, Offer, Query
from providers.lambda_cloud import request
from providers.lambda_cloud.adapter import Lambda
from providers.lambda_cloud.errors import TABLE
from tests.contract import lambda_golden as golden
from tests.unit.lambda_cloud.conftest import listed

#: Codes that only old clients have met: the description does not have them.
LEGACY = {"rate-limited", "unknown", "key-in-use", "file-systems-not-supported"}


@pytest.fixture(scope="module")
def document(spec_dir: Path) -> dict[str, Any]:
    file = spec_dir / "lambda" / "openapi.json"
    if not file.is_file():
        pytest.skip("Lambda's openapi.json is not there: set ORCH_SPEC_DIR to the folder of API descriptions")
    loaded: dict[str, Any] = json.loads(file.read_text())
    return loaded


@pytest.fixture
def check(document: dict[str, Any]) -> Callable[[Any, Any], None]:
    """Validates an instance against a schema, or against one of the description's by its name."""

    def validate(schema: Any, instance: Any) -> None:
        whole = {"$ref": f"#/components/schemas/{schema}"} if isinstance(schema, str) else schema
        jsonschema.Draft202012Validator({**whole, "components": document["components"]}).validate(instance)

    return validate


def schema_of(document: dict[str, Any], method: str, path: str, status: int | None = None) -> Any:
    """The schema of an operation's request body, or of its answer with *status*."""
    operation = document["paths"][path][method.lower()]
    part = operation["requestBody"] if status is None else operation["responses"][str(status)]
    return part["content"]["application/json"]["schema"]


ANSWERS: list[tuple[str, str, Any]] = [
    ("GET", golden.INSTANCE_TYPES_PATH, golden.INSTANCE_TYPES),
    ("POST", golden.LAUNCH_PATH, golden.LAUNCHED),
    ("GET", golden.INSTANCES_PATH + "/{id}", golden.INSTANCE),
    ("GET", golden.INSTANCES_PATH, golden.INSTANCES),
    ("GET", golden.INSTANCES_PATH, listed(golden.BOOTING, golden.ACTIVE_WITHOUT_IP, golden.UNHEALTHY)),
    ("GET", golden.INSTANCES_PATH, listed(golden.TERMINATING, golden.TERMINATED, golden.PREEMPTED)),
    ("POST", golden.TERMINATE_PATH, golden.TERMINATE_ANSWER),
    ("GET", golden.SSH_KEYS_PATH, golden.SSH_KEYS),
    ("POST", golden.SSH_KEYS_PATH, golden.SSH_KEY_ADDED),
    ("GET", golden.IMAGES_PATH, golden.IMAGES),
]


@pytest.mark.parametrize(("method", "path", "sample"), ANSWERS)
def test_the_golden_answers_fit_the_description(
    document: dict[str, Any], check: Callable[[Any, Any], None], method: str, path: str, sample: Any
) -> None:
    check(schema_of(document, method, path, 200), sample)


@pytest.mark.parametrize(
    ("path", "sample"),
    [
        (golden.LAUNCH_PATH, golden.LAUNCH_BODY),
        (golden.TERMINATE_PATH, golden.TERMINATE_BODY),
        (golden.SSH_KEYS_PATH, golden.ADD_SSH_KEY_BODY),
    ],
)
def test_the_golden_requests_fit_the_description(
    document: dict[str, Any], check: Callable[[Any, Any], None], path: str, sample: Any
) -> None:
    schema = schema_of(document, "POST", path)
    check({**schema, "additionalProperties": False}, sample)


def test_the_golden_refusals_are_the_documented_ones(document: dict[str, Any]) -> None:
    found: dict[str, list[Any]] = {}
    for name, schema in document["components"]["schemas"].items():
        if name.startswith("ApiError"):
            found.setdefault(schema["properties"]["code"]["const"], []).append(schema)
    for case, (_, body) in golden.ERRORS.items():
        error = body["error"]
        if case in LEGACY or error["code"].startswith("provider/"):
            assert error["code"] not in found
            continue
        fits = [jsonschema.Draft202012Validator(one).is_valid(error) for one in found[error["code"]]]
        assert any(fits), case


def test_every_code_of_the_description_is_in_the_table(document: dict[str, Any]) -> None:
    known = {code for row in TABLE for code in row.codes}
    schemas = document["components"]["schemas"]
    codes = {
        schema["properties"]["code"]["const"]
        for name, schema in schemas.items()
        # Tickets and fabrics are nothing of ours; their codes are among these all the same.
        if name.startswith("ApiError")
    }
    assert len(codes) >= 14
    assert codes <= known


def test_every_status_of_the_description_has_a_phase(document: dict[str, Any]) -> None:
    from providers.lambda_cloud.instances import PHASES

    assert set(document["components"]["schemas"]["InstanceStatus"]["enum"]) == set(PHASES)


VARIANTS: list[dict[str, Any]] = [
    {},
    {"env": {"A": "1"}, "cmd": "python train.py"},
    {"native": {"image_id": "5c0cb0b4-0000-4000-8000-000000000002"}},
    {"disk_gib": 1000},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_launch_we_send_fits_the_description(
    document: dict[str, Any],
    check: Callable[[Any, Any], None],
    offer: Offer,
    spec: LaunchSpec,
    variant: dict[str, Any],
) -> None:
    body = request.body(offer, msgspec.structs.replace(spec, **variant), golden.TOKEN, ssh_key=golden.SSH_KEY_NAME)
    schema = schema_of(document, "POST", golden.LAUNCH_PATH)
    check({**schema, "additionalProperties": False}, body)


def test_the_description_would_refuse_what_it_does_not_know(
    document: dict[str, Any], check: Callable[[Any, Any], None]
) -> None:
    schema = {**schema_of(document, "POST", golden.LAUNCH_PATH), "additionalProperties": False}
    body = golden.LAUNCH_BODY
    wrong: list[dict[str, Any]] = [
        {**body, "quantity": 1},
        {**body, "hostname": "Not-A-Host"},
        {**body, "tags": [{"key": "Orch:Owner", "value": "x"}]},
        {**body, "tags": [{"key": "orch:owner", "value": "x" * 129}]},
        {**body, "name": "x" * 65},
        {key: value for key, value in body.items() if key != "ssh_key_names"},
    ]
    for one in wrong:
        with pytest.raises(jsonschema.ValidationError):
            check(schema, one)


async def test_every_call_we_make_is_described(
    document: dict[str, Any],
    check: Callable[[Any, Any], None],
    cloud: Lambda,
    wire: respx.MockRouter,
    offer: Offer,
    spec: LaunchSpec,
    attempt: Callable[..., AttemptRef],
    stored: Callable[..., Instance],
) -> None:
    one = f"{golden.INSTANCES_PATH}/{golden.INSTANCE_ID}"
    for method, path, answer in ANSWERS:
        wire.request(method, path.replace("/{id}", f"/{golden.INSTANCE_ID}")).respond(json=answer)
    grace = msgspec.structs.replace(
        offer, arch="arm64", native={"instance_type": "gpu_1x_gh200", "region": "europe-central-1"}
    )
    await cloud.offers(Query())
    await cloud.price(offer)
    await cloud.launch(offer, await cloud.resolve(offer, spec), golden.TOKEN)
    await cloud.resolve(grace, spec)
    await cloud.find(attempt())
    await cloud.find(attempt(instance_id=golden.INSTANCE_ID))
    await cloud.owned()
    await cloud.terminate(stored())
    await cloud.check()
    seen = set()
    for call in wire.calls:
        path = call.request.url.path.replace(one, golden.INSTANCES_PATH + "/{id}")
        seen.add((call.request.method, path))
        assert not call.request.url.params
        if call.request.content:
            schema = schema_of(document, call.request.method, path)
            check({**schema, "additionalProperties": False}, json.loads(call.request.content))
        else:
            assert call.request.method.lower() in document["paths"][path]
    assert seen == {(method, path) for method, path, _ in ANSWERS}


def test_the_descriptions_own_examples_can_be_read(document: dict[str, Any]) -> None:
    from providers.env import ManualEnv
    from providers.lambda_cloud import instances, offers

    data = schema_of(document, "POST", golden.TERMINATE_PATH, 200)["properties"]["data"]
    [ending] = data["examples"][0]["terminated_instances"]
    seen = instances.read(ending, account="a")
    assert (seen.phase.value, seen.address, str(seen.usd_per_hour), seen.token) == ("stopping", None, "15.92", None)
    [(name, item)] = document["components"]["schemas"]["InstanceTypes"]["example"].items()
    [sold] = offers.offers_of(name, item, account="a", now=ManualEnv().now())
    assert (sold.gpu, sold.gpu_count, sold.gpu_memory_gib, sold.country) == ("example-gpu", 8, 40.0, "US")
