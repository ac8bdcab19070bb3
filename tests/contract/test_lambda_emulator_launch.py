"""The way into the emulated Lambda Cloud: API keys, SSH keys, launches that are served and that are refused."""

from __future__ import annotations

import base64
from typing import Any

import asyncssh
import httpx
import pytest

from tests.contract import lambda_bench as lb
from tests.contract import lambda_golden as golden
from tests.contract.lambda_bench import bench, body, market, shape, unlimited

# -- the way in -------------------------------------------------------------------------------------------


def _basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


HEADERS = [
    ("Bearer lambda-sandbox-key", 200),
    ("bearer lambda-sandbox-key", 200),
    (_basic("lambda-sandbox-key:"), 200),
    (_basic("lambda-sandbox-key") + ":", 200),
    ("Basic lambda-sandbox-key", 200),
    (_basic("lambda-sandbox-key:x"), 401),
    (_basic("lambda-sandbox-key"), 401),
    (_basic("other:"), 401),
    ("Basic \u00e9", 401),
    ("Bearer other", 401),
    ("Bearer", 401),
    ("Digest lambda-sandbox-key", 401),
    ("lambda-sandbox-key", 401),
    ("", 401),
]


async def test_the_key_comes_as_bearer_or_basic() -> None:
    wanted, sample = golden.ERRORS["invalid-api-key"]
    async with bench(key=False) as served:
        for header, status in HEADERS:
            answer = await served.http.get(lb.TYPES, headers=[(b"Authorization", header.encode())])
            assert answer.status_code == status, header
            if status == 200:
                continue
            error = served.unpack(answer, wanted)
            assert shape(sample["error"], error) == []
            assert (error["code"], error["message"]) == (sample["error"]["code"], sample["error"]["message"])


async def test_httpx_own_basic_auth_is_understood() -> None:
    async with bench(key=False) as served:
        del served.http.headers["Authorization"]
        assert (await served.http.get(lb.TYPES)).status_code == 401
        assert (await served.http.get(lb.TYPES, auth=("lambda-sandbox-key", ""))).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/instance-types", 404),
        ("GET", "/api/v1", 404),
        ("GET", "/api/v1/instance-types/", 404),
        ("GET", "/api/v1/instances/a/b", 404),
        ("POST", lb.FILE_SYSTEMS, 405),
        ("DELETE", f"{lb.INSTANCES}/0920582c7ff041399e34823a0be62549", 405),
        ("GET", lb.LAUNCH, 405),
        ("PUT", lb.KEYS, 405),
    ],
)
async def test_other_paths_and_methods_are_refused(method: str, path: str, status: int) -> None:
    async with bench(key=False) as served:
        answer = await served.http.request(method, path)
        if status == 404:
            await served.refused(answer, 404, "global/not-found")
        else:
            assert answer.status_code == 405
            assert answer.headers["allow"]


async def test_an_inactive_account_is_refused_everything() -> None:
    async with bench(key=False) as served:
        served.emulator.options.standing = "inactive"
        for path in (lb.TYPES, lb.INSTANCES, lb.KEYS, lb.IMAGES, lb.REGIONS, lb.FILE_SYSTEMS):
            await served.refused(served.http.get(path), 403, "global/account-inactive")
        await served.refused(served.http.post(lb.LAUNCH, json=body()), 403, "global/account-inactive")


async def test_a_bad_billing_address_refuses_launches_alone() -> None:
    async with bench() as served:
        served.emulator.options.standing = "bad-address"
        await served.data(lb.TYPES)
        await served.refused(served.http.post(lb.LAUNCH, json=body()), 403, "global/invalid-address")
        assert served.emulator.records() == []


# -- SSH keys ---------------------------------------------------------------------------------------------


async def test_a_second_key_of_one_name_is_refused_and_one_key_may_have_two_names() -> None:
    async with bench() as served:
        again = {"name": "laptop", "public_key": golden.PUBLIC_KEY}
        await served.refused(served.http.post(lb.KEYS, json=again), 400, "global/duplicate")
        served.emulator.options.duplicate_key_code = "global/invalid-parameters"
        await served.refused(served.http.post(lb.KEYS, json=again), 400, "global/invalid-parameters")
        await served.post(lb.KEYS, {"name": "laptop-2", "public_key": lb.PUBLIC_KEY})
        assert [key["name"] for key in await served.data(lb.KEYS)] == ["laptop", "laptop-2"]


async def test_without_a_public_key_a_pair_is_made_whose_private_key_is_shown_once() -> None:
    async with bench() as served:
        made = await served.post(lb.KEYS, {"name": "fresh"})
        private = asyncssh.import_private_key(made.pop("private_key"))
        assert private.export_public_key().decode().split()[:2] == made["public_key"].split()[:2]
        assert made in await served.data(lb.KEYS)
        await served.launch(ssh_key_names=["fresh"])


async def test_a_deleted_key_stays_on_machines_that_have_it() -> None:
    async with bench() as served:
        made = await served.launch()
        [key] = await served.data(lb.KEYS)
        await served.http.delete(f"{lb.KEYS}/{key['id']}")
        await served.refused(served.http.delete(f"{lb.KEYS}/{key['id']}"), 404, "global/not-found")
        await served.refused(served.http.post(lb.LAUNCH, json=body()), 404, "global/object-does-not-exist")
        served.env.advance(lb.SSH_S)
        assert (await served.get(made))["ssh_key_names"] == ["laptop"]
        assert served.machines.running[f"lambda:{made}"]["authorized_keys"] == [lb.PUBLIC_KEY]


# -- launches ---------------------------------------------------------------------------------------------


NOWHERE: list[tuple[dict[str, Any], str]] = [
    ({"ssh_key_names": ["nobody"]}, "SSH key nobody"),
    ({"region_name": "mars-1"}, "Region mars-1"),
    ({"instance_type_name": "gpu_1x_l40"}, "Instance type gpu_1x_l40"),
    ({"image": {"family": "windows"}}, "Image windows"),
    ({"image": {"id": "43336648-096d-4cba-9aa2-f9bb7727639d"}}, "Image 43336648"),
    ({"file_system_names": ["data"]}, "Filesystem data"),
    ({"file_system_mounts": [{"mount_point": "/data/x", "file_system_id": "f1"}]}, "Filesystem f1"),
    ({"firewall_rulesets": [{"id": "r1"}]}, "Firewall ruleset r1"),
]


@pytest.mark.parametrize("status", [404, 400])
async def test_a_launch_that_names_what_does_not_exist_is_refused(status: Any) -> None:
    async with bench(unlimited(missing_status=status)) as served:
        for change, named in NOWHERE:
            answer = await served.http.post(lb.LAUNCH, json=body(**change))
            error = await served.refused(answer, status, "global/object-does-not-exist")
            assert named in error["message"]
            assert error["suggestion"]
        assert served.emulator.records() == []


async def test_what_is_named_is_looked_for_before_capacity_and_the_key_where_the_option_says() -> None:
    async with bench(part=market(gpu_1x_a10={"stock": {}})) as served:
        everything_wrong = body(region_name="mars-1", ssh_key_names=["nobody"])
        error = await served.refused(
            served.http.post(lb.LAUNCH, json=everything_wrong), 404, "global/object-does-not-exist"
        )
        assert "mars-1" in error["message"]
        no_key = body(ssh_key_names=["nobody"])
        await served.refused(served.http.post(lb.LAUNCH, json=no_key), 404, "global/object-does-not-exist")
        served.emulator.options.keys_before_capacity = False
        code = "instance-operations/launch/insufficient-capacity"
        await served.refused(served.http.post(lb.LAUNCH, json=no_key), 400, code)


async def test_an_arm_host_needs_an_arm_image() -> None:
    async with bench() as served:
        images = {(row["family"], row["architecture"]): row["id"] for row in await served.data(lb.IMAGES)}
        arm = {"instance_type_name": "gpu_1x_gh200", "region_name": "us-east-3"}
        x86 = {"id": images["lambda-stack-24-04", "x86_64"]}
        await served.refused(served.http.post(lb.LAUNCH, json=body(**arm, image=x86)), 400, "global/invalid-parameters")
        without_arm = body(**arm, image={"family": "gpu-base-24-04"})
        await served.refused(served.http.post(lb.LAUNCH, json=without_arm), 404, "global/object-does-not-exist")
        await served.launch(**arm, image={"id": images["lambda-stack-24-04", "arm64"]})
        await served.launch(**arm, image={"family": "lambda-stack-24-04"})
        await served.launch(image=x86)


async def test_the_same_body_twice_is_two_machines_of_one_name() -> None:
    async with bench() as served:
        made = [await served.launch(), await served.launch()]
        assert await served.listed() == made
        assert len(set(made)) == 2
        assert {item["name"] for item in await served.data(lb.INSTANCES)} == {body()["name"]}


async def test_the_quota_ends_launches_until_something_has_ended() -> None:
    async with bench(unlimited(max_instances=1)) as served:
        made = await served.launch()
        error = await served.refused(served.http.post(lb.LAUNCH, json=body()), 400, "global/quota-exceeded")
        assert error["suggestion"]
        await served.terminate(made)
        served.env.advance(31)
        await served.launch()


async def test_a_machine_without_name_and_tags_does_not_show_them() -> None:
    async with bench() as served:
        made = await served.running(name=None)
        shown = await served.get(made)
        assert not {"name", "tags"} & shown.keys()
        assert shown["hostname"] == shown["ip"]


# -- instances that are not there, batches ----------------------------------------------------------------


async def test_an_unknown_instance_is_not_found() -> None:
    nobody = "0920582c7ff041399e34823a0be62549"
    wanted, sample = golden.ERRORS["instance-not-found"]
    async with bench() as served:
        calls: list[httpx.Response] = [
            await served.http.get(f"{lb.INSTANCES}/{nobody}"),
            await served.http.post(f"{lb.INSTANCES}/{nobody}", json={"name": "x"}),
            await served.http.post(lb.TERMINATE, json={"instance_ids": [nobody]}),
            await served.http.post(lb.RESTART, json={"instance_ids": [nobody]}),
        ]
        for answer in calls:
            error = await served.refused(answer, wanted, sample["error"]["code"])
            assert error["message"] == sample["error"]["message"]


async def test_one_wrong_id_spoils_a_whole_terminate() -> None:
    async with bench() as served:
        made = await served.running()
        await served.terminate(made, "f" * 32, status=404)
        assert (await served.get(made))["status"] == "active"
        other = await served.running()
        both = await served.terminate(made, other, made)
        assert [item["id"] for item in both["terminated_instances"]] == [made, other]
        assert await served.terminate() == {"terminated_instances": []}


async def test_nothing_here_is_in_a_cluster() -> None:
    async with bench() as served:
        await served.launch()
        assert await served.data(f"{lb.INSTANCES}?cluster_id=c1") == []
