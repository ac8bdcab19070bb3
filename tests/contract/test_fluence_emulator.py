"""The emulated Fluence on the wire: paths, key, shapes and refusals, held against the documented samples."""

from __future__ import annotations

import copy
import json
import os
import re
import tomllib
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import providers.fluence.emulator as emulator_module
from providers.fluence.emulator_options import Options
from tests.contract import fluence_golden as golden
from tests.contract.fluence_bench import BODIES, TREES, Bench, bench, differences, path

KINDS = ("containers", "vms", "baremetal")
UNKNOWN = "b0b00000-0000-4000-8000-0000000000ff"
SPEC_DIR = Path(os.environ.get("ORCH_SPEC_DIR", "../shared/specs")) / "fluence"


@pytest.fixture
async def fluence() -> AsyncIterator[Bench]:
    async with bench() as served:
        yield served


async def test_price_lists_have_the_documented_shape(fluence: Bench) -> None:
    containers = (await fluence.http.get("/gpu/plans/")).json()
    machines = (await fluence.http.get("/gpu/plans/vms")).json()
    assert containers == golden.CONTAINER_PLANS
    assert machines == golden.VM_PLANS
    metal = (await fluence.http.get("/gpu/plans/baremetal")).json()
    assert differences(golden.VM_PLANS, metal) == []
    [option] = metal["data"][0]["availability_by_number"][0]["options"]
    assert (option["deployment_type"], option["pricing"]["hour"]) == ("BAREMETAL", 16.0)


async def test_the_market_file_sells_what_fluences_pages_showed() -> None:
    async with bench(market=None) as served:
        containers = (await served.http.get("/gpu/plans/")).json()
        machines = (await served.http.get("/gpu/plans/vms")).json()
        metal = (await served.http.get("/gpu/plans/baremetal")).json()
    assert differences(golden.CONTAINER_PLANS, containers) == []
    assert differences(golden.VM_PLANS, machines) == []
    assert metal == {"data": []}
    seen = {
        (model["gpu_model"]["model"], number["gpu_count"], option["pricing"]["hour"])
        for model in machines["data"]
        for number in model["availability_by_number"]
        for option in number["options"]
    }
    singles = {"l40": 0.76, "rtx6000ada": 0.67, "rtxa6000": 0.47, "rtx4090": 0.55, "rtx5090": 0.76}
    singles |= {"rtx3090": 0.36, "a10": 0.99, "a100": 1.07, "h200": 3.23, "v100": 0.33}
    assert seen == {(gpu, 1, price) for gpu, price in singles.items()} | {("h200", 1, 4.29), ("v100", 8, 2.90)}
    plans = [row["plan"] for row in containers]
    assert {(p["gpu_model"]["model"], p["pricing"]["hour"]) for p in plans} == {
        ("rtx4090", 0.48),
        ("a100", 1.22),
        ("h100", 1.24),
        ("h200", 2.96),
    }
    assert any(p["supply"]["vcpu"]["count"] == p["supply"]["memory"]["count"] == 1 for p in plans)
    name = re.compile(r"[a-z0-9]+-\d+gi-(sxm|pcie)-\d+gpu-\d+cpu-\d+gb-\d+gb")
    assert all(name.fullmatch(p["name"]) and p["gpu_model"]["interface"].isupper() for p in plans)


async def test_groups_sum_up_their_options() -> None:
    async with bench(market=None) as served:
        models = (await served.http.get("/gpu/plans/vms")).json()["data"]
    h200 = next(m for m in models if m["gpu_model"]["model"] == "h200")
    [number] = h200["availability_by_number"]
    assert h200["minimum_price"] == number["minimum_price"] == 3.23
    assert number["options_available_total"] == len(number["options"]) == 2
    assert number["locations"] == ["paris-france-3", "Texas"]
    assert (number["data_center_available_total"], number["providers_available_total"]) == (2, 1)
    v100 = next(m for m in models if m["gpu_model"]["model"] == "v100")
    assert [n["gpu_count"] for n in v100["availability_by_number"]] == [1, 8]


async def test_plan_ids_outlive_a_restart_and_are_all_different() -> None:
    seen = []
    for _ in range(2):
        async with bench(market=None) as served:
            catalogue = served.emulator.catalogue
            seen.append([plan.id for kind in KINDS for plan in catalogue.on_sale(kind)])
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == len(seen[0])


def test_every_row_of_the_market_file_says_what_is_made_up() -> None:
    rows = tomllib.loads(Path(emulator_module.__file__).with_name("market.toml").read_text("utf-8"))
    assert rows["observed"].isoformat() == "2026-02-20"
    for row in rows["vms"] + rows["containers"]:
        assert Decimal(row["usd_per_hour"]) > 0
        made_up = row.get("illustrative", [])
        assert set(made_up) <= row.keys()
        assert not {"gpu", "vram", "gpus", "usd_per_hour"} & set(made_up)


async def test_default_images_have_the_documented_shape(fluence: Bench) -> None:
    images = (await fluence.http.get("/gpu/default-images/")).json()
    assert differences(golden.DEFAULT_IMAGES, images) == []
    assert (images[0]["slug"], images[0]["image"]) == (
        golden.DEFAULT_IMAGES[0]["slug"],
        golden.DEFAULT_IMAGES[0]["image"],
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("moment", ["pending", "active without address", "running", "ended"])
async def test_instances_have_the_documented_shape_in_every_state(fluence: Bench, kind: str, moment: str) -> None:
    made = await fluence.create(kind)
    fluence.env.advance({"pending": 0, "active without address": 151}.get(moment, 161))
    if moment == "ended":
        assert (await fluence.delete(made, kind)).status_code == 204
    is_container = kind == "containers"
    [item] = await fluence.listed(kind)
    assert differences(golden.CONTAINER_LIST if is_container else golden.VM_LIST, [item]) == []
    detail = await fluence.get(made, kind)
    assert differences(golden.CONTAINER_DETAIL if is_container else golden.VM_DETAIL, detail) == []
    assert detail["id"] == item["id"] == made
    for when in (detail["created_at"], detail["updated_at"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", when)
    following = detail["billing"]["next_billing_period"]
    assert following == (None if moment == "ended" else "2026-11-22T15:00:00Z")
    assert detail["resources"]["gpu_model"]["interface"].islower()


async def test_an_ended_container_shows_what_the_documentation_lists(fluence: Bench) -> None:
    made = await fluence.running("containers")
    await fluence.delete(made, "containers")
    detail = await fluence.get(made, "containers")
    sample = golden.CONTAINER_ENDED_DETAIL
    for field in ("instance_status", "container_status", "network", "billing"):
        assert detail[field] == sample[field]


async def test_machines_say_vm_or_baremetal_and_how_to_log_in(fluence: Bench) -> None:
    vm = await fluence.get(await fluence.running("vms"), "vms")
    metal = await fluence.get(await fluence.running("baremetal"), "baremetal")
    assert (vm["availability"], metal["availability"]) == ("vm", "baremetal")
    assert vm["ssh_connection"] == f"ssh ubuntu@{vm['network']['domain']}"
    assert metal["ssh_connection"] == f"ssh -p 2222 root@{metal['network']['domain']}"
    assert vm["network"]["forwarded_ports"] == []
    assert (vm["ssh_key"], vm["os_image"]) == (BODIES["vms"]["ssh_key"], BODIES["vms"]["os_image"])


async def test_a_container_shows_its_settings_but_never_its_registry_password(fluence: Bench) -> None:
    body = copy.deepcopy(BODIES["containers"])
    body["container_settings"] |= {
        "credentials": {"host": "ghcr.io", "username": "me", "password": "hunter2"},
        "expose": [{"port": "22"}, {"port": "80", "protocol": "http"}, {"port": "9000", "protocol": "udp"}],
        "startup_command": "sleep infinity",
    }
    made = await fluence.running("containers", **body)
    detail = await fluence.get(made, "containers")
    info = detail["container_info"]
    assert info["environment"] == [
        {"name": "MODEL_PATH", "value": "/models"},
        {"name": "SSH_PUBKEY", "value": body["ssh_key"]},
    ]
    assert (info["startup_command"], info["expose"][0]) == ("sleep infinity", {"port": "22", "protocol": "tcp"})
    assert "hunter2" not in json.dumps(detail) + json.dumps(fluence.emulator.dump())
    ports = detail["network"]["forwarded_ports"]
    assert [(p["port"], p["protocol"]) for p in ports] == [("22", "tcp"), ("9000", "udp")]
    assert all(30000 <= int(p["external_port"]) <= 32767 for p in ports)
    assert detail["network"]["uri"].endswith(".invalid")


async def test_logs_and_events_are_lists_of_lines(fluence: Bench) -> None:
    made = await fluence.running("containers")
    where = path("containers", made)
    logs = (await fluence.http.get(f"{where}/logs")).json()
    events = (await fluence.http.get(f"{where}/events")).json()
    assert all(re.fullmatch(r"\[service-1-\w+-\w+\] .+", line) for line in logs)
    assert logs
    reasons = [re.fullmatch(r"\[service-1-\w+-\w+\]: \[Normal\] \[(\w+)\] .+", line) for line in events]
    assert [r and r[1] for r in reasons] == ["Scheduled", "Pulling", "Pulled", "Created", "Started"]
    assert (await fluence.http.get(f"{where}/events?last=2")).json() == events[-2:]
    assert (await fluence.http.get(f"{where}/events?last=0")).json() == []
    bad = await fluence.http.get(f"{where}/logs?last=two")
    assert (bad.status_code, bad.json()["detail"][0]["loc"]) == (422, ["query", "last"])
    assert (await fluence.http.get(f"{path('vms', await fluence.create())}/logs")).status_code == 404


async def test_the_account_api_answers_in_the_documented_shape(fluence: Bench) -> None:
    status = await fluence.http.get("/v1/service/status", headers={"X-API-KEY": ""})
    assert status.json() == golden.SERVICE_STATUS
    assert differences(golden.BALANCES, (await fluence.http.get("/v2/users/balances")).json()) == []
    await fluence.create("vms")
    [row] = (await fluence.http.get("/v2/users/balances")).json()
    assert (row["balance"], row["usage"], row["totalDepositedAmount"]) == ("97.72", "0.76", "100.00")
    assert row["usageDaysLeft"] == 5
    assert (await fluence.http.get("/v2/users/balances?entitlementKey=other")).json() == []


@pytest.mark.skipif(not SPEC_DIR.is_dir(), reason="Fluence's own API description is not here (ORCH_SPEC_DIR)")
async def test_the_account_api_answers_by_the_providers_own_description(fluence: Bench) -> None:
    spec = json.loads((SPEC_DIR / "fluence-public-0.10.0.openapi.json").read_text("utf-8"))

    def check(where: str, status: str, value: Any) -> None:
        content = spec["paths"][where]["get"]["responses"][status]["content"]
        schema = content["application/json"]["schema"]
        jsonschema.validate(value, {**schema, "components": spec["components"]})

    await fluence.create("vms")
    check("/v1/service/status", "200", (await fluence.http.get("/v1/service/status")).json())
    check("/v2/users/balances", "200", (await fluence.http.get("/v2/users/balances")).json())
    refusal = await fluence.http.get("/v2/users/balances", headers={"X-API-KEY": "wrong"})
    check("/v2/users/balances", str(refusal.status_code), refusal.json())


@pytest.mark.parametrize("key", ["", "wrong"])
@pytest.mark.parametrize(
    ("shape", "status", "fields"),
    [("error", 403, {"error"}), ("code", 401, {"code", "error"}), ("detail", 403, {"detail"})],
)
async def test_a_bad_key_is_refused_in_the_chosen_shape(
    fluence: Bench, key: str, shape: Any, status: int, fields: set[str]
) -> None:
    fluence.emulator.options.auth_shape = shape
    for method, where in (("GET", "/gpu/plans/"), ("POST", TREES["vms"]), ("DELETE", path("vms", UNKNOWN))):
        answer = await fluence.http.request(method, where, headers={"X-API-KEY": key})
        assert (answer.status_code, answer.json().keys()) == (status, fields)
    if shape == "error":
        assert (answer.status_code, answer.json()) == golden.ERRORS["bad-key"]
    assert fluence.emulator.records() == []


@pytest.mark.parametrize("status", [200, 201])
async def test_a_create_answers_with_the_chosen_status(fluence: Bench, status: int) -> None:
    fluence.emulator.options.create_status = status
    answer = await fluence.http.post(TREES["containers"], json=BODIES["containers"])
    assert answer.status_code == status
    assert differences(golden.CREATED, answer.json()) == []


@pytest.mark.parametrize(
    ("method", "wrong", "right"),
    [
        ("GET", "/gpu/plans?a=1", "/gpu/plans/?a=1"),
        ("GET", "/gpu/plans/vms/", "/gpu/plans/vms"),
        ("GET", "/gpu/default-images", "/gpu/default-images/"),
        ("POST", "/gpu/instances", "/gpu/instances/"),
        ("POST", "/gpu/instances/vms/", "/gpu/instances/vms"),
        ("DELETE", f"/gpu/instances/vms/{UNKNOWN}/", f"/gpu/instances/vms/{UNKNOWN}"),
    ],
)
async def test_a_wrong_slash_is_redirected(fluence: Bench, method: str, wrong: str, right: str) -> None:
    answer = await fluence.http.request(method, wrong)
    assert answer.status_code == 307
    assert answer.headers["location"] == f"{fluence.http.base_url}".rstrip("/") + right
    assert fluence.emulator.records() == []
    followed = await fluence.http.request(method, wrong, follow_redirects=True, json=BODIES["vms"])
    assert followed.status_code in (200, 404, 422, 400)


async def test_unknown_paths_and_methods_are_refused(fluence: Bench) -> None:
    assert (await fluence.http.get("/gpu/regions")).status_code == 404
    assert (await fluence.http.patch(TREES["vms"])).status_code == 405
    assert (await fluence.http.delete("/gpu/plans/")).status_code == 405


@pytest.mark.parametrize("kind", KINDS)
async def test_ids_must_be_uuids_of_that_tree(fluence: Bench, kind: str) -> None:
    elsewhere = await fluence.create("vms" if kind == "containers" else "containers")
    for method in ("GET", "DELETE"):
        bad = await fluence.http.request(method, path(kind, "not-a-uuid"))
        assert bad.status_code == 422
        assert bad.json()["detail"][0]["type"] == "uuid_parsing"
        for unknown in (UNKNOWN, elsewhere):
            answer = await fluence.http.request(method, path(kind, unknown))
            assert answer.status_code == 404
            assert differences(golden.ERRORS["not-found"][1], answer.json()) == []


async def test_a_plan_that_is_not_there_is_refused_with_the_chosen_text(fluence: Bench) -> None:
    fluence.emulator.options.unavailable_text = "sorry, somebody was faster"
    for kind, plan in (("vms", UNKNOWN), ("vms", BODIES["baremetal"]["plan_id"]), ("containers", "nonsense")):
        answer = await fluence.http.post(TREES[kind], json={**BODIES[kind], "plan_id": plan})
        assert (answer.status_code, answer.json()) == (400, {"detail": "sorry, somebody was faster"})


async def test_os_image_and_place_must_be_ones_of_the_plan(fluence: Bench) -> None:
    answer = await fluence.http.post(TREES["baremetal"], json={**BODIES["baremetal"], "os_image": "ubuntu"})
    assert (answer.status_code, answer.json()["detail"]) == (
        400,
        "Provided OS image ubuntu is not supported for the selected offer. "
        "Available OS images: ubuntu22.04_cuda12.4_shade_os, ubuntu24.04",
    )
    body = {**BODIES["containers"], "constraints": {"location": "FR"}}
    answer = await fluence.http.post(TREES["containers"], json=body)
    assert (answer.status_code, type(answer.json()["detail"])) == (400, str)
    made = await fluence.create("containers", constraints={"location": "DE"})
    assert (await fluence.get(made, "containers"))["location"] == "DE"


async def test_an_account_that_cannot_pay_three_hours_is_refused(fluence: Bench) -> None:
    fluence.emulator.fleet.balance = Decimal("2.27")
    answer = await fluence.http.post(TREES["vms"], json=BODIES["vms"])
    assert (answer.status_code, answer.json()) == golden.ERRORS["no-funds"]
    assert fluence.world.ledger.lines == []
    fluence.emulator.fleet.balance = Decimal("2.28")
    await fluence.create("vms")
    assert fluence.emulator.fleet.balance == 0


async def test_names_may_repeat(fluence: Bench) -> None:
    assert await fluence.create() != await fluence.create()
    assert len({item["id"] for item in await fluence.listed()}) == 2


async def test_unknown_fields_and_states_can_be_switched_on() -> None:
    async with bench(Options(extra_fields=True, status_words={"ACTIVE": "HIBERNATING"})) as served:
        await served.running()
        [item] = await served.listed()
        assert item["status"] == "HIBERNATING"
        assert "x_new_field" in item
        assert "x_new_field" in item["resources"]["supply"]["vcpu"]
