"""What the emulated Fluence lets a request body hold, rule by documented rule, refused with 422."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.contract import fluence_golden as golden
from tests.contract.fluence_bench import BODIES, TREES, Bench, bench

#: The field, by a dotted path; a value that breaks its rule (`...`: none at all); the error's type and place.
Rule = tuple[str, Any, str, list[str | int]]
KINDS = ("containers", "vms", "baremetal")


@pytest.fixture
async def fluence() -> AsyncIterator[Bench]:
    async with bench() as served:
        yield served


def _set(where: str, value: Any) -> Any:
    """Change one field, named by a dotted path, of a body."""

    def change(body: dict[str, Any]) -> None:
        *parents, last = where.split(".")
        target: Any = body
        for part in parents:
            target = target[int(part)] if part.isdigit() else target[part]
        if value is ...:
            del target[last]
        else:
            target[last] = value

    return change


_SETTINGS = "container_settings"
_COMMON: list[Rule] = [
    ("name", ..., "missing", ["name"]),
    ("name", 7, "string_type", ["name"]),
    ("name", "", "value_error", ["name"]),
    ("name", "a" * 26, "string_too_long", ["name"]),
    ("name", "Orch-1", "value_error", ["name"]),
    ("name", "orch_1", "value_error", ["name"]),
    ("name", "-orch", "value_error", ["name"]),
    ("name", "orch-", "value_error", ["name"]),
    ("plan_id", ..., "missing", ["plan_id"]),
    ("plan_id", 1, "string_type", ["plan_id"]),
]
_CONTAINER: list[Rule] = [
    (_SETTINGS, ..., "missing", [_SETTINGS]),
    (_SETTINGS, [], "model_attributes_type", [_SETTINGS]),
    (f"{_SETTINGS}.image", ..., "missing", [_SETTINGS, "image"]),
    (f"{_SETTINGS}.image", "Docker.io/x", "value_error", [_SETTINGS, "image"]),
    (f"{_SETTINGS}.image", "x" * 256, "string_too_long", [_SETTINGS, "image"]),
    (f"{_SETTINGS}.expose", ..., "missing", [_SETTINGS, "expose"]),
    (f"{_SETTINGS}.expose", [], "too_short", [_SETTINGS, "expose"]),
    (f"{_SETTINGS}.expose", [{"port": "22"}] * 11, "too_long", [_SETTINGS, "expose"]),
    (f"{_SETTINGS}.expose.0.port", 22, "string_type", [_SETTINGS, "expose", 0, "port"]),
    (f"{_SETTINGS}.expose.0.port", "0", "value_error", [_SETTINGS, "expose", 0, "port"]),
    (f"{_SETTINGS}.expose.0.port", "65536", "value_error", [_SETTINGS, "expose", 0, "port"]),
    (f"{_SETTINGS}.expose.0.port", "ssh", "value_error", [_SETTINGS, "expose", 0, "port"]),
    (f"{_SETTINGS}.expose.0.protocol", "http", "value_error", [_SETTINGS, "expose", 0, "port"]),
    (f"{_SETTINGS}.expose.0.protocol", "sctp", "literal_error", [_SETTINGS, "expose", 0, "protocol"]),
    (f"{_SETTINGS}.environment", [{"name": "A", "value": ""}] * 65, "too_long", [_SETTINGS, "environment"]),
    (f"{_SETTINGS}.environment.0.name", "path", "value_error", [_SETTINGS, "environment", 0, "name"]),
    (f"{_SETTINGS}.environment.0.name", "1A", "value_error", [_SETTINGS, "environment", 0, "name"]),
    (f"{_SETTINGS}.environment.0.name", "SSH_PUBKEY", "value_error", [_SETTINGS, "environment", 0, "name"]),
    (f"{_SETTINGS}.environment.0.value", 1, "string_type", [_SETTINGS, "environment", 0, "value"]),
    (f"{_SETTINGS}.startup_command", "x" * 2049, "string_too_long", [_SETTINGS, "startup_command"]),
    (
        f"{_SETTINGS}.credentials",
        {"host": "quay.io", "username": "u", "password": "p"},
        "literal_error",
        [_SETTINGS, "credentials", "host"],
    ),
    (
        f"{_SETTINGS}.credentials",
        {"host": "ghcr.io", "username": "u"},
        "missing",
        [_SETTINGS, "credentials", "password"],
    ),
    ("constraints", "US", "model_attributes_type", ["constraints"]),
    ("constraints.location", 1, "string_type", ["constraints", "location"]),
    ("ssh_key", 5, "string_type", ["ssh_key"]),
]
_MACHINE: list[Rule] = [
    ("ssh_key", ..., "missing", ["ssh_key"]),
    ("ssh_key", " ", "value_error", ["ssh_key"]),
    ("os_image", ..., "missing", ["os_image"]),
    ("os_image", None, "string_type", ["os_image"]),
]
_RULES = {"containers": _COMMON + _CONTAINER, "vms": _COMMON + _MACHINE, "baremetal": _COMMON + _MACHINE}


@pytest.mark.parametrize("kind", KINDS)
async def test_each_rule_for_a_body_is_enforced(fluence: Bench, kind: str) -> None:
    sample = golden.ERRORS["validation"][1]["detail"][0]
    for where, value, error, loc in _RULES[kind]:
        body = copy.deepcopy(BODIES[kind])
        _set(where, value)(body)
        answer = await fluence.http.post(TREES[kind], json=body)
        assert answer.status_code == 422, (where, value)
        [found] = answer.json()["detail"]
        assert (found["type"], found["loc"]) == (error, ["body", *loc])
        assert sample.keys() - {"ctx"} <= found.keys() <= sample.keys()
        if error == sample["type"]:
            assert found["msg"].startswith("Value error, ")
            assert found["ctx"] == sample["ctx"]
    assert fluence.emulator.records() == []


async def test_all_broken_rules_are_named_at_once(fluence: Bench) -> None:
    answer = await fluence.http.post(TREES["vms"], json={"name": "NO"})
    assert [x["loc"][-1] for x in answer.json()["detail"]] == ["plan_id", "name", "ssh_key", "os_image"]


async def test_bodies_at_the_limits_are_taken(fluence: Bench) -> None:
    settings = {
        "image": "x" * 255,
        "expose": [{"port": str(port)} for port in range(65526, 65536)],
        "environment": [{"name": f"A_{n}", "value": ""} for n in range(64)],
        "startup_command": "x" * 2048,
        "credentials": None,
    }
    await fluence.create("containers", name="a" * 25, container_settings=settings, constraints=None, ssh_key=None)
    by_hand = [{"name": "SSH_PUBKEY", "value": "ssh-ed25519 A"}]
    settings = {**settings, "environment": by_hand}
    await fluence.create("containers", name="a", container_settings=settings, ssh_key=None)
    assert len(await fluence.listed("containers")) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff"])
async def test_a_body_that_is_no_object_is_refused(fluence: Bench, content: bytes) -> None:
    for tree in TREES.values():
        assert (await fluence.http.post(tree, content=content)).status_code == 422
