"""The emulated Lambda Cloud on the wire: paths, keys, shapes, refusals, what is on sale."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from providers.lambda_cloud.emulator_refusals import CODES, Refusal
from tests.contract import lambda_bench as lb
from tests.contract import lambda_golden as golden
from tests.contract.lambda_bench import bench, body, market, shape, unlimited

#: Fields of an instance that need not be there, and those of an action that is not possible.
OPTIONAL = frozenset(
    [
        "name",
        "ip",
        "private_ip",
        "hostname",
        "jupyter_token",
        "jupyter_url",
        "tags",
        "reason_code",
        "reason_description",
    ]
)


async def test_a_machine_is_rented_used_and_ended() -> None:
    async with bench(key=False) as served:
        types = await served.data(lb.TYPES)
        offer = types["gpu_1x_a10"]
        assert offer["instance_type"]["price_cents_per_hour"] == 129
        region = offer["regions_with_capacity_available"][0]["name"]
        assert await served.data(lb.KEYS) == []
        key = await served.post(lb.KEYS, golden.ADD_SSH_KEY_BODY)
        assert shape(golden.SSH_KEY_ADDED["data"], key) == []
        assert await served.data(lb.KEYS) == [key]
        answer = await served.post(lb.LAUNCH, golden.LAUNCH_BODY | {"region_name": region})
        assert shape(golden.LAUNCHED["data"], answer) == []
        [made] = answer["instance_ids"]
        assert len(made) == 32
        assert set(made) <= set("0123456789abcdef")

        booting = await served.get(made)
        assert shape(golden.BOOTING, booting, OPTIONAL) == []
        assert (booting["status"], booting["name"], booting["hostname"]) == ("booting", golden.TOKEN, golden.TOKEN)
        assert booting["tags"] == golden.LAUNCH_BODY["tags"]
        assert not {"ip", "private_ip", "jupyter_token", "jupyter_url"} & booting.keys()
        assert await served.data(lb.INSTANCES) == [booting]

        served.env.advance(lb.SSH_S)
        active = await served.get(made)
        assert shape(golden.ACTIVE, active) == []
        assert active["status"] == "active"
        machine = served.machines.running[f"lambda:{made}"]
        assert (machine["host"], machine["port"], machine["user"]) == (active["ip"], 22, "ubuntu")
        assert machine["authorized_keys"] == [golden.PUBLIC_KEY]
        assert (machine["gpu"], machine["memory_mib"], machine["count"]) == ("NVIDIA A10", 23028, 1)

        renamed = await served.post(f"{lb.INSTANCES}/{made}", {"name": "other"})
        assert renamed == active | {"name": "other"}
        assert (await served.post(f"{lb.INSTANCES}/{made}", {}))["name"] == "other"

        ended = await served.terminate(made)
        assert shape(golden.TERMINATE_ANSWER["data"], ended, OPTIONAL) == []
        assert [item["status"] for item in ended["terminated_instances"]] == ["terminating"]
        assert (await served.get(made))["status"] == "terminating"
        served.env.advance(30)
        assert await served.listed() == []
        await served.refused(served.http.get(f"{lb.INSTANCES}/{made}"), 404, "global/object-does-not-exist")
        assert served.unpack(await served.http.delete(f"{lb.KEYS}/{key['id']}")) == {}
        assert await served.data(lb.KEYS) == []


async def test_every_answer_has_the_documented_samples_shape() -> None:
    async with bench() as served:
        sample = golden.INSTANCE_TYPES["data"]["gpu_1x_a10"]
        for name, item in (await served.data(lb.TYPES)).items():
            assert shape(sample, item) == []
            assert item["instance_type"]["name"] == name
        assert shape(golden.IMAGES["data"], await served.data(lb.IMAGES)) == []
        assert shape(golden.SSH_KEYS["data"], await served.data(lb.KEYS)) == []
        assert shape([{"name": "", "description": ""}], await served.data(lb.REGIONS)) == []
        assert await served.data(lb.FILE_SYSTEMS) == []


@pytest.mark.parametrize(
    "case", sorted(k for k, (_, sample) in golden.ERRORS.items() if sample["error"]["code"] in CODES)
)
def test_refusals_carry_the_documented_status(case: str) -> None:
    status, sample = golden.ERRORS[case]
    code = sample["error"]["code"]
    answer = Refusal(code, status=status if code == "global/object-does-not-exist" else None).response()
    assert answer.status_code == status
    error = json.loads(bytes(answer.body))["error"]
    assert error["code"] == code
    assert error["message"]


# -- the market -------------------------------------------------------------------------------------------


async def test_no_l40_is_sold_and_sold_out_types_stay_in_the_list() -> None:
    async with bench() as served:
        types = await served.data(lb.TYPES)
    text = json.dumps(types).upper()
    assert "L40" not in text
    assert "ADA" not in text.replace("CANADA", "")
    assert types["gpu_1x_a100"]["regions_with_capacity_available"] == []
    assert types["gpu_8x_a100"]["regions_with_capacity_available"][0] == {
        "name": "us-west-1",
        "description": "California, USA",
    }
    assert types["cpu_4x_general"]["instance_type"]["specs"]["gpus"] == 0
    assert len(types) == 23


def test_the_market_file_agrees_with_the_catalogue_that_it_names() -> None:
    file = lb.SPEC.parents[2] / "data" / "skypilot-catalog" / "lambda_vms.csv"
    if not file.is_file():
        pytest.skip("the SkyPilot catalogue is not beside the specs")
    rows = {row["InstanceType"]: row for row in csv.DictReader(file.read_text("utf-8").splitlines())}
    types = {row["name"]: row for row in market()["types"]}
    assert rows.keys() <= types.keys()
    for name, row in rows.items():
        ours = types[name]
        assert Decimal(ours["earlier_usd"]) == Decimal(row["Price"]), name
        assert (ours["vcpus"], ours["memory_gib"]) == (Decimal(row["vCPUs"]), Decimal(row["MemoryGiB"])), name
        assert ours["gpus"] == Decimal(row["AcceleratorCount"] or 0), name
    regions = {row["Region"] for row in csv.DictReader(file.read_text("utf-8").splitlines())}
    assert regions == set(market()["regions"])


def test_every_row_of_the_market_file_says_what_is_made_up() -> None:
    part = market()
    assert part["observed"].isoformat() == "2026-08-31"
    for row in part["types"]:
        assert Decimal(row["usd_per_hour"]) > 0
        assert set(row.get("illustrative", [])) <= row.keys()
        assert {*row["stock"], *row.get("unlisted", {})} <= part["regions"].keys()


@pytest.mark.parametrize("usd", ["1.295", "0.001"])
async def test_a_price_that_is_no_whole_cents_is_refused_in_the_market_file(usd: str) -> None:
    with pytest.raises(ValueError, match="whole cents"):
        async with bench(part=market(gpu_1x_a10={"usd_per_hour": usd})):
            pass


async def test_stock_runs_out_and_comes_back() -> None:
    async with bench(part=market(gpu_1x_a10={"stock": {"us-east-1": 1}})) as served:

        async def places() -> list[str]:
            found = (await served.data(lb.TYPES))["gpu_1x_a10"]["regions_with_capacity_available"]
            return [place["name"] for place in found]

        assert await places() == ["us-east-1"]
        made = await served.launch()
        assert await places() == []
        code = "instance-operations/launch/insufficient-capacity"
        await served.refused(served.http.post(lb.LAUNCH, json=body()), 400, code)
        await served.refused(served.http.post(lb.LAUNCH, json=body(region_name="us-west-1")), 400, code)
        await served.terminate(made)
        assert await places() == []
        served.env.advance(31)
        assert await places() == ["us-east-1"]


async def test_what_the_list_calls_sold_out_may_be_had_all_the_same() -> None:
    async with bench() as served:
        assert (await served.data(lb.TYPES))["gpu_1x_b200_sxm6"]["regions_with_capacity_available"] == []
        made = await served.launch(instance_type_name="gpu_1x_b200_sxm6")
        assert (await served.get(made))["instance_type"]["name"] == "gpu_1x_b200_sxm6"
        again = served.http.post(lb.LAUNCH, json=body(instance_type_name="gpu_1x_b200_sxm6"))
        await served.refused(again, 400, "instance-operations/launch/insufficient-capacity")


async def test_images_are_in_every_region_under_one_id() -> None:
    async with bench() as served:
        images = await served.data(lb.IMAGES)
        regions = {row["name"] for row in await served.data(lb.REGIONS)}
    assert {row["region"]["name"] for row in images} == regions
    assert len({row["id"] for row in images}) == 5
    assert {(row["family"], row["architecture"]) for row in images} >= {
        ("lambda-stack-24-04", "arm64"),
        ("lambda-stack-22-04", "x86_64"),
    }


# -- against the description ------------------------------------------------------------------------------


async def test_each_difference_in_errors_that_is_listed_is_one(spec_dir: Path) -> None:
    options = unlimited(terminate_booting=False)
    async with bench(options) as served:
        made = await served.launch()
        await served.terminate(made, status=409)
        await served.http.post(lb.FILE_SYSTEMS)
        await served.http.post(lb.KEYS, json={"name": "laptop"})
        for kind in ("forbidden", "unknown_code"):
            served.world.faults.add(kind, verb="launch")
            await served.http.post(lb.LAUNCH, json=body())
        options.request_spacing_s = 5.0
        await served.http.get(lb.KEYS)
        await served.http.get(lb.KEYS)
        options.limit_body = "html"
        await served.http.get(lb.KEYS)
        found = {lb.difference(exchange) for exchange in served.exchanges}
    seen = {(operation, what) for operation, what in filter(None, found)}
    seen |= {("*", what) for _, what in seen}
    described = {
        status for item in lb.description()["paths"].values() for op in item.values() for status in op["responses"]
    }
    assert "500" not in described
    listed = {entry for entry in lb.DIFFERENCES if not entry[1].startswith("200")}
    assert listed - seen == {("*", "500 global/internal-error")}


@pytest.mark.parametrize(
    ("option", "value", "path", "what"),
    [
        ("null_fields", True, f"{lb.INSTANCES}/{{id}}", "200 null"),
        ("status_words", {"booting": "hibernating"}, f"{lb.INSTANCES}/{{id}}", "200 new status"),
        ("price_as_text", True, lb.TYPES, "200 text price"),
    ],
)
async def test_each_difference_in_answers_that_is_listed_is_one(
    spec_dir: Path, option: str, value: Any, path: str, what: str
) -> None:
    async with bench(unlimited(**{option: value}), allowed=(what,)) as served:
        made = await served.launch()
        await served.data(path.format(id=made))
        assert [lb.difference(exchange) for exchange in served.exchanges] == [None, None, (f"GET {path}", "200")]
    assert (f"GET {path}", what) in lb.DIFFERENCES
    assert {entry for entry in lb.DIFFERENCES if entry[1].startswith("200")} == {
        (f"GET {lb.INSTANCES}/{{id}}", "200 null"),
        (f"GET {lb.INSTANCES}/{{id}}", "200 new status"),
        (f"GET {lb.TYPES}", "200 text price"),
    }


async def test_answers_may_have_fields_that_nobody_knows() -> None:
    async with bench(unlimited(extra_fields=True)) as served:
        made = await served.running()
        [item] = await served.data(lb.INSTANCES)
        assert item["id"] == made
        assert item["x_new_field"] == item["actions"]["restart"]["x_new_field"] == {"since": "later"}
        types = await served.data(lb.TYPES)
        assert "x_new_field" not in types
        assert "x_new_field" in types["gpu_1x_a10"]
