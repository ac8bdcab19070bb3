"""The emulator's hand-written body rules against the schemas of RunPod's own API description."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.runpod import emulator_rules as rules
from tests.contract import runpod_golden as golden
from tests.contract.runpod_desk import KEY_LINE, body, schema

GOOD: list[dict[str, Any]] = [
    body(),
    golden.CREATE_BODY,
    {"name": "a", "image": "b"},
    {"name": "a", "templateId": "30zmvf89kd"},
    body(disk=50.0, gpu={"id": "NVIDIA L40", "count": 2.0}),
    body(registry=None, mounts={}, args="sleep infinity", startSsh=True, startJupyter=False),
    body(mounts={"persistent": {"size": 10, "path": "/workspace"}}, globalNetworking=True),
    body(mounts={"network": [{"volumeId": "v", "path": "/v"}]}, cloud="COMMUNITY"),
    body(gpu={"id": "x", "allowedCudaVersions": ["12.8", "12.11"], "minCudaVersion": "12.1"}),
    body(gpu=None, cpu={"id": "cpu5c", "vcpuCount": 4}),
    body(env={}, ports=[], dataCenterIds=[]),
]
BAD: list[Any] = [
    None,
    [],
    "pod",
    {},
    {"name": "a"},
    {"image": "a"},
    body(name=""),
    body(name=7),
    body(bogus=1),
    body(image=["a"]),
    body(templateId=""),
    body(disk=0),
    body(disk=50.5),
    body(disk=True),
    body(disk="50"),
    body(cloud="ALL"),
    body(cloud=[]),
    body(ports="22/tcp"),
    body(ports=[22]),
    body(env={"A": 1}),
    body(env=[]),
    body(registry=1),
    body(dataCenterIds="EU-RO-1"),
    body(startSsh="yes"),
    body(globalNetworking=0),
    body(mounts={"persistent": {"size": 9, "path": "/w"}}),
    body(mounts={"persistent": {"size": 10}}),
    body(mounts={"persistent": {"size": 10, "path": "/w", "type": "x"}}),
    body(mounts={"network": [{"volumeId": "a", "path": "/a"}, {"volumeId": "b", "path": "/b"}]}),
    body(mounts={"network": {"volumeId": "a", "path": "/a"}}),
    body(mounts={"objects": []}),
    body(gpu={"count": 1}),
    body(gpu={"id": "x", "count": 0}),
    body(gpu={"id": "x", "pool": "y"}),
    body(gpu={"id": "x", "minCudaVersion": "12"}),
    body(gpu={"id": "x", "minCudaVersion": "12.8\n"}),
    body(gpu={"id": "x", "allowedCudaVersions": ["12.8", 12]}),
    body(cpu={"id": "", "vcpuCount": 4}),
    body(cpu={"id": "c", "vcpuCount": 1}),
    body(cpu={"id": "c", "vcpuCount": 2, "memory": 3}),
]
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 70)
    | st.sampled_from([0.5, 1.0, 10.0, 1e30])
    | st.sampled_from(["", "x", "SECURE", "COMMUNITY", "12.8", "12", "22/tcp", "/w", "1٢.8"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "id", "size"]), inner),
    max_leaves=4,
)
_KEYS = st.sampled_from(
    [
        *("name", "image", "gpu", "cpu", "cloud", "disk", "ports", "env", "args", "registry", "mounts"),
        *("templateId", "dataCenterIds", "startSsh", "startJupyter", "globalNetworking", "locked", "bogus"),
        *("id", "count", "minCudaVersion", "allowedCudaVersions", "vcpuCount"),
        *("persistent", "network", "size", "path", "volumeId"),
    ]
)


def _containers(value: Any) -> list[Any]:
    """*value* and every object and list inside it."""
    if not isinstance(value, dict | list):
        return []
    inner = value.values() if isinstance(value, dict) else value
    return [value, *(found for item in inner for found in _containers(item))]


@st.composite
def mutants(draw: st.DrawFn) -> Any:
    """A good body with one to three things in it removed, replaced or added."""
    mutant: Any = copy.deepcopy(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 3))):
        target: Any = draw(st.sampled_from(_containers(mutant)))
        fresh, in_place = draw(_VALUES), draw(st.booleans())
        if isinstance(target, list):
            if target and in_place:
                target[draw(st.integers(0, len(target) - 1))] = fresh
            else:
                target.append(fresh)
        elif target and in_place:
            key = draw(st.sampled_from(sorted(target)))
            if draw(st.booleans()):
                target[key] = fresh
            else:
                del target[key]
        else:
            target[draw(_KEYS)] = fresh
    return mutant


@pytest.mark.parametrize("good", GOOD)
def test_a_create_that_the_description_allows_has_no_errors(good: Any) -> None:
    assert rules.create_errors(good) == []
    assert schema("CreatePodRequest").is_valid(good)


@pytest.mark.parametrize("bad", BAD)
def test_a_create_that_the_description_forbids_has_errors(bad: Any) -> None:
    assert rules.create_errors(bad)
    assert not schema("CreatePodRequest").is_valid(bad)


@settings(max_examples=400, deadline=None)
@given(mutants())
def test_the_create_rules_agree_with_the_description_on_mutated_bodies(mutant: Any) -> None:
    assert (rules.create_errors(mutant) == []) == schema("CreatePodRequest").is_valid(mutant), mutant


@settings(max_examples=200, deadline=None)
@given(mutants())
def test_the_update_rules_agree_with_the_description_on_mutated_bodies(mutant: Any) -> None:
    assert (rules.update_errors(mutant) == []) == schema("UpdatePodRequest").is_valid(mutant), mutant


@pytest.mark.parametrize(
    "value",
    [
        {"action": "stop"},
        {"action": "explode"},
        {"action": None},
        {"action": "stop", "force": True},
        {},
        [],
    ],
)
def test_the_action_rules_agree_with_the_description(value: Any) -> None:
    assert (rules.action_errors(value) == []) == schema("PodActionRequest").is_valid(value)


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [KEY_LINE],
        ["ssh-rsa AAAA"],
        ["sk-ssh-ed25519@openssh.com AAAA\tme and you"],
        ["ecdsa-sha2-nistp256 AAAA "],
        ["pgp AAAA"],
        ["ssh-rsa"],
        ["ssh-rsa AAAA\n"],
        ["ssh-rsa AAAA a\nssh-rsa BBBB b"],
        [1],
        "ssh-rsa AAAA",
    ],
)
def test_the_key_rules_agree_with_the_description(keys: Any) -> None:
    value = {"keys": keys}
    assert (rules.keys_errors(value) == []) == schema("UpdateSshKeysRequest").is_valid(value)


def test_the_recorded_violations_are_worded_as_recorded() -> None:
    assert rules.create_errors(body(bogus=1)) == golden.EXTRA_KEY["errors"]
    assert rules.action_errors({"action": "explode"}) == golden.WRONG_ACTION["errors"]


def test_every_violation_of_a_body_is_named() -> None:
    wrong = body(name="", disk=0, gpu={"count": "1"}, image=None)
    assert sorted(rules.create_errors(wrong)) == [
        "$.disk: must be at least 1, got 0",
        "$.gpu.count: got string, want integer",
        "$.gpu: missing property 'id'",
        "$.name: length must be at least 1, got 0",
        "$: missing property 'image'",
    ]
