"""What the emulated Lambda Cloud lets a request body hold, rule by rule, and that Lambda's schemas agree with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.contract import lambda_bench as lb
from tests.contract.lambda_bench import bench, body

#: A change that breaks a rule, and whether the description's schema knows that rule too; else prose or clients do.
BROKEN: list[tuple[dict[str, Any], bool]] = [
    ({"region_name": None}, True),
    ({"region_name": 1}, True),
    ({"instance_type_name": None}, True),
    ({"instance_type_name": ["gpu_1x_a10"]}, True),
    ({"ssh_key_names": None}, True),
    ({"ssh_key_names": "laptop"}, True),
    ({"ssh_key_names": [1]}, True),
    ({"ssh_key_names": []}, False),
    ({"ssh_key_names": ["laptop", "laptop"]}, False),
    ({"name": 7}, True),
    ({"name": "x" * 65}, True),
    ({"hostname": ""}, True),
    ({"hostname": "x" * 64}, True),
    ({"hostname": "-x"}, True),
    ({"hostname": "Orch"}, True),
    ({"hostname": "a_b"}, True),
    ({"hostname": "a.b"}, True),
    ({"image": "lambda-stack-24-04"}, True),
    ({"image": {}}, True),
    ({"image": {"name": "lambda-stack-24-04"}}, True),
    ({"image": {"id": 5}}, True),
    ({"user_data": 5}, True),
    ({"user_data": "x" * 1_000_001}, False),
    ({"user_data": "\u00e9" * 500_001}, False),
    ({"tags": {"key": "value"}}, True),
    ({"tags": ["orch"]}, True),
    ({"tags": [{"key": "orch"}]}, True),
    ({"tags": [{"value": "x"}]}, True),
    ({"tags": [{"key": "orch", "value": 1}]}, True),
    ({"tags": [{"key": "x", "value": ""}]}, True),
    ({"tags": [{"key": "Orch", "value": ""}]}, True),
    ({"tags": [{"key": "orch_owner", "value": ""}]}, True),
    ({"tags": [{"key": "1orch", "value": ""}]}, True),
    ({"tags": [{"key": "x" * 56, "value": ""}]}, True),
    ({"tags": [{"key": "orch", "value": "x" * 129}]}, True),
    ({"file_system_names": "data"}, True),
    ({"file_system_names": [1]}, True),
    ({"file_system_mounts": [{"mount_point": "/data/x"}]}, True),
    ({"file_system_mounts": [{"mount_point": "/mnt/x", "file_system_id": "f"}]}, True),
    ({"file_system_mounts": [{"mount_point": "/data/" + "x" * 251, "file_system_id": "f"}]}, True),
    ({"firewall_rulesets": [{}]}, True),
    ({"firewall_rulesets": "r"}, True),
    ({"quantity": 2}, False),
    ({"quantity": 0}, False),
    ({"quantity": "1"}, False),
    ({"quantity": True}, False),
]
#: What is just allowed.
ALLOWED: list[dict[str, Any]] = [
    {"name": ""},
    {"name": "My box, \u00fc & more " + "x" * 40},
    {"hostname": "0" + "x" * 61 + "-"},
    {"user_data": "x" * 1_000_000},
    {"tags": []},
    {"tags": [{"key": "a" + "-" * 53 + ":", "value": "x" * 128}, {"key": "ab", "value": ""}]},
    {"file_system_names": [], "file_system_mounts": [], "firewall_rulesets": []},
    {"image": {"family": "lambda-stack-22-04", "more": 1}},
    {"quantity": 1},
    {"something_new": {"x": 1}},
]


async def test_each_rule_for_a_launch_is_enforced(spec_dir: Path) -> None:
    schema = lb.request_schema("POST", lb.LAUNCH)
    async with bench() as served:
        for change, in_schema in BROKEN:
            content = body(**change)
            error = await served.refused(served.http.post(lb.LAUNCH, json=content), 400, "global/invalid-parameters")
            assert error["message"], change
            assert schema.is_valid(content) != in_schema, change
        assert served.emulator.records() == []


async def test_what_the_rules_allow_is_served(spec_dir: Path) -> None:
    schema = lb.request_schema("POST", lb.LAUNCH)
    async with bench(part=lb.market(gpu_1x_a10={"stock": {"us-east-1": 99}})) as served:
        for change in ALLOWED:
            assert schema.is_valid(body(**change)), change
            await served.launch(**change)
        assert len(await served.listed()) == len(ALLOWED)


async def test_more_than_one_at_a_time_is_refused_in_the_words_that_clients_met() -> None:
    async with bench() as served:
        answer = await served.http.post(lb.LAUNCH, json=body(quantity=2))
        error = await served.refused(answer, 400, "global/invalid-parameters")
        assert error["message"] == "Requested too many instances."


@pytest.mark.parametrize("path", [lb.LAUNCH, lb.TERMINATE, lb.RESTART, lb.KEYS])
async def test_a_body_that_is_no_object_is_refused(path: str) -> None:
    async with bench(key=False) as served:
        for content in (b"", b"{", b"[]", b"null", b'"x"', b"\xff"):
            answer = await served.http.post(path, content=content)
            await served.refused(answer, 400, "global/invalid-parameters")


async def test_the_rules_for_ids_are_enforced(spec_dir: Path) -> None:
    async with bench(key=False) as served:
        for path in (lb.TERMINATE, lb.RESTART):
            for content in ({}, {"instance_ids": "a"}, {"instance_ids": [1]}, {"instance_ids": None}):
                await served.refused(served.http.post(path, json=content), 400, "global/invalid-parameters")
                assert not lb.request_schema("POST", path).is_valid(content)


async def test_the_rules_for_keys_are_enforced(spec_dir: Path) -> None:
    schema = lb.request_schema("POST", lb.KEYS)
    broken: list[tuple[dict[str, Any], bool]] = [
        ({"public_key": lb.PUBLIC_KEY}, True),
        ({"name": "", "public_key": lb.PUBLIC_KEY}, True),
        ({"name": "x" * 65, "public_key": lb.PUBLIC_KEY}, True),
        ({"name": 1, "public_key": lb.PUBLIC_KEY}, True),
        ({"name": "x", "public_key": ""}, True),
        ({"name": "x", "public_key": 1}, True),
        ({"name": "x", "public_key": f"{lb.PUBLIC_KEY} {'x' * 4096}"}, True),
        ({"name": "x", "public_key": "not a key"}, False),
        ({"name": "x", "public_key": "-----BEGIN OPENSSH PRIVATE KEY-----"}, False),
    ]
    async with bench(key=False) as served:
        for content, in_schema in broken:
            await served.refused(served.http.post(lb.KEYS, json=content), 400, "global/invalid-parameters")
            assert schema.is_valid(content) != in_schema, content
        assert await served.data(lb.KEYS) == []
        for number, line in enumerate((lb.PUBLIC_KEY, lb.PUBLIC_KEY.rsplit(" ", 1)[0], f"{lb.PUBLIC_KEY}\n")):
            made = await served.post(lb.KEYS, {"name": f"{number}" * 64, "public_key": line})
            assert made["public_key"] == line


async def test_a_name_may_be_changed_to_what_a_launch_could_have_said(spec_dir: Path) -> None:
    async with bench() as served:
        made = await served.launch()
        path = f"{lb.INSTANCES}/{made}"
        for name in (5, "x" * 65):
            await served.refused(served.http.post(path, json={"name": name}), 400, "global/invalid-parameters")
            assert not lb.request_schema("POST", f"{lb.INSTANCES}/{{id}}").is_valid({"name": name})
        assert (await served.get(made))["name"] == body()["name"]
        assert (await served.post(path, {"name": ""}))["name"] == ""
