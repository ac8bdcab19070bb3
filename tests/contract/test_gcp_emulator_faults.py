"""Google Cloud's emulator: each fault that it can have, in Google's words."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
import pytest

from providers.gcp.emulator import GcpEmulator
from tests.contract.gcp_bench import (
    BILLING,
    L4,
    PROJECT,
    UP_S,
    USD,
    ZONE,
    bench,
    order,
    spot,
    standard,
)
from tests.contract.gcp_prices import price

AT = f"/zones/{ZONE}/instances"
VM = f"{AT}/orch-l1-a1"
#: What goes wrong at any provider of machines (tests/conformance).
EVERYWHERE = {
    *("sold_out", "fail_after_accept", "boot_stuck", "wrong_gpu", "price_changed", "list_lag"),
    *("ignore_terminate", "host_lost", "unknown_code"),
}


def test_it_can_have_every_fault_that_every_provider_has() -> None:
    assert GcpEmulator.semantic >= EVERYWHERE


@pytest.mark.parametrize("code", ["", "ZONE_RESOURCE_POOL_EXHAUSTED", "STOCKOUT"])
async def test_sold_out_fails_the_operation_and_leaves_nothing(code: str) -> None:
    async with bench() as served:
        served.world.faults.add("sold_out", verb="launch", **({"code": code} if code else {}))
        done = await served.failed()
        [error] = done["error"]["errors"]
        assert error["code"] == (code or "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS")
        assert served.emulator.fleet.living() == []
        assert served.world.ledger.billing() == []


async def test_faults_can_be_of_one_zone_or_machine_type() -> None:
    async with bench() as served:
        served.world.faults.add("sold_out", subject="us-east4-a", times=-1)
        assert "error" not in await served.wait(await served.insert())
        await served.failed("us-east4-a")


async def test_what_is_gone_is_in_the_zone_no_more() -> None:
    async with bench() as served:
        served.world.faults.add("gone")
        assert (await served.refused("POST", AT, order()))[:2] == (404, "notFound")
        assert (await served.refused("GET", f"/zones/{ZONE}/machineTypes/{L4}"))[0] == 404
        await served.insert("us-central1-b")


async def test_a_quota_fault_names_the_gpus_metric_of_the_region_or_the_one_it_is_told() -> None:
    async with bench() as served:
        served.world.faults.add("quota")
        [error] = (await served.failed())["error"]["errors"]
        assert "'PREEMPTIBLE_NVIDIA_L4_GPUS'" in error["message"]
        served.world.faults.add("quota", metric="IN_USE_ADDRESSES")
        [error] = (await served.failed())["error"]["errors"]
        assert "'IN_USE_ADDRESSES'" in error["message"]
        served.world.faults.add("quota", metric="GPUS_ALL_REGIONS")
        assert (await served.refused("POST", AT, order()))[:2] == (403, "quotaExceeded")


async def test_an_unknown_code_stands_in_the_operation_or_in_the_refusal() -> None:
    async with bench() as served:
        served.world.faults.add("unknown_code")
        [error] = (await served.failed())["error"]["errors"]
        assert error["code"] == "HOST_POLICY_VIOLATION_7731"
        served.world.faults.add("unknown_code", where="http", code="hostPolicy", status=409)
        assert (await served.refused("POST", AT, order()))[:2] == (409, "hostPolicy")
        assert served.emulator.fleet.living() == []


async def test_forbidden_names_the_permission() -> None:
    async with bench() as served:
        served.world.faults.add("forbidden", verb="launch")
        status, reason, text = await served.refused("POST", AT, order())
        assert (status, reason) == (403, "forbidden")
        assert "compute.instances.create" in text
        await served.insert()


async def test_a_bad_key_is_refused_everywhere() -> None:
    async with bench() as served:
        await served.insert()
        served.world.faults.add("bad_key", times=-1)
        for method, path in (("GET", VM), ("DELETE", VM), ("GET", "/aggregated/instances"), ("GET", "")):
            assert (await served.refused(method, path))[:2] == (401, "authError")
        assert (await served.http.get(BILLING)).status_code == 401
        assert len(served.emulator.fleet.living()) == 1


async def test_the_price_changes_in_the_catalogue_and_on_the_bill() -> None:
    async with bench() as served:
        assert price(await served.skus(), "us-central1", spot=False) == USD
        served.world.faults.add("price_changed", factor=2, times=-1)
        twice = price(await served.skus(), "us-central1", spot=False)
        assert twice == 2 * USD
        assert price(await served.skus(), "us-central1", spot=False) == twice
        vm = await served.running(scheduling=standard())
        [line] = [line for line in served.world.ledger.of("gcp", vm["id"]) if line.what == "compute"]
        assert Decimal(line.rates[0][1]) == twice


async def test_the_price_can_change_in_one_region_alone() -> None:
    async with bench() as served:
        served.world.faults.add("price_changed", factor="1.5", subject="us-west1")
        rows = await served.skus()
        assert price(rows, "us-central1", spot=False) == USD
        assert price(rows, "us-west1", spot=False) == USD * Decimal("1.5")


@pytest.mark.parametrize("model", ["SPOT", "STANDARD"])
async def test_a_machine_can_fail_after_it_ran_and_never_let_anybody_in(model: str) -> None:
    async with bench() as served:
        served.world.faults.add("fail_after_accept")
        made = await served.insert(scheduling=spot() if model == "SPOT" else standard())
        assert "error" not in await served.wait(made)
        assert (await served.get(VM))["status"] == "RUNNING"
        served.env.advance(30)
        if model == "SPOT":
            assert (await served.refused("GET", VM))[0] == 404
        else:
            assert (await served.get(VM))["status"] == "TERMINATED"
        assert served.machines.running == {}


async def test_or_the_operation_can_fail_with_an_internal_error() -> None:
    async with bench() as served:
        served.world.faults.add("fail_after_accept", how="operation")
        done = await served.failed()
        assert (done["error"]["errors"][0]["code"], done["httpErrorStatusCode"]) == ("INTERNAL_ERROR", 500)
        assert served.emulator.fleet.living() == []


@pytest.mark.parametrize(
    ("how", "status", "address", "done"),
    [
        (None, "STAGING", True, "RUNNING"),
        ("operation", "STAGING", True, "RUNNING"),
        ("no_ip", "RUNNING", False, "DONE"),
        ("no_ssh", "RUNNING", True, "DONE"),
    ],
)
async def test_a_boot_can_be_stuck_in_three_ways(how: str | None, status: str, address: bool, done: str) -> None:
    async with bench() as served:
        served.world.faults.add("boot_stuck", **({"how": how} if how else {}))
        made = await served.insert()
        served.env.advance(3600)
        found = await served.get(VM)
        assert found["status"] == status
        assert ("natIP" in found["networkInterfaces"][0]["accessConfigs"][0]) is address
        assert (await served.get(f"/zones/{ZONE}/operations/{made['name']}"))["status"] == done
        assert served.machines.running == {}
        if how == "no_ssh":
            assert "Kernel panic" in (await served.get(f"{VM}/serialPort"))["contents"]
        await served.wait(await served.call("DELETE", VM))
        assert served.world.ledger.billing() == []


async def test_another_gpu_can_be_inside() -> None:
    async with bench() as served:
        served.world.faults.add("wrong_gpu", gpu="NVIDIA T4", memory_mib=15360)
        await served.running()
        [machine] = served.machines.running.values()
        assert (machine["gpu"], machine["memory_mib"]) == ("NVIDIA T4", 15360)


async def test_a_new_machine_can_be_missing_in_lists_or_everywhere() -> None:
    async with bench() as served:
        served.world.faults.add("list_lag", seconds=20)
        await served.insert()
        assert await served.names() == []
        assert (await served.get(VM))["name"] == "orch-l1-a1"
        served.env.advance(20)
        assert await served.names() == ["orch-l1-a1"]
        served.world.faults.add("list_lag", seconds=20, get=True)
        await served.insert(name="hidden")
        assert (await served.refused("GET", f"{AT}/hidden"))[0] == 404
        # Its name is taken all the same.
        assert (await served.refused("POST", AT, order(name="hidden")))[0] == 409


async def test_a_delete_can_be_said_to_be_done_while_nothing_happens() -> None:
    async with bench() as served:
        vm = await served.running()
        served.world.faults.add("ignore_terminate")
        done = await served.wait(await served.call("DELETE", VM))
        assert (done["status"], "error" in done) == ("DONE", False)
        assert (await served.get(VM))["status"] == "RUNNING"
        assert served.world.ledger.billing() == [vm["id"]]
        assert len(served.machines.running) == 1
        await served.wait(await served.call("DELETE", VM))
        assert served.world.ledger.billing() == []


async def test_a_rate_limit_comes_in_googles_words() -> None:
    async with bench() as served:
        served.world.faults.add("rate_limit", verb="launch", retry_after=7)
        url = f"/compute/v1/projects/{PROJECT}{AT}"
        answer = await served.http.post(url, json=order())
        assert (answer.status_code, answer.headers["retry-after"]) == (403, "7")
        assert answer.json()["error"]["errors"][0] == {
            "message": answer.json()["error"]["message"],
            "domain": "usageLimits",
            "reason": "rateLimitExceeded",
        }
        served.world.faults.add("rate_limit")
        assert "retry-after" not in (await served.http.post(url, json=order())).headers
        assert served.emulator.records() == []


async def test_a_broken_backend_is_a_503() -> None:
    async with bench() as served:
        served.world.faults.add("error_before", verb="find")
        assert (await served.refused("GET", VM))[:2] == (503, "backendError")


async def test_a_lost_answer_leaves_the_machine_and_the_request_id_finds_its_operation() -> None:
    async with bench() as served:
        request = "6f2e3b9a-9b5e-4c8e-9d7f-0c1b2a3d4e5f"
        served.world.faults.add("lost", verb="launch")
        with pytest.raises(httpx.TransportError):
            await served.call("POST", AT, order(), requestId=request)
        again: dict[str, Any] = await served.call("POST", AT, order(), requestId=request)
        assert again["clientOperationId"] == request
        served.env.advance(UP_S)
        assert await served.names() == ["orch-l1-a1"]
