"""RunPod's emulator: every fault that it can bring about, in RunPod's own words."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from providers.runpod.emulator import RunPodEmulator
from tests.contract import runpod_golden as golden
from tests.contract.runpod_desk import L40, L40S, Desk, body, desk

ANYWHERE: dict[str, Any] = {"dataCenterIds": None}


def fault(d: Desk, kind: str, **more: Any) -> None:
    d.world.faults.add(kind, "runpod", **more)


async def refused(d: Desk, **changes: Any) -> dict[str, Any]:
    """The problem body of a create that is refused and rents nothing."""
    before = len(d.runpod.records())
    reply = await d.http.post("/v2/pods", json=body(**changes))
    assert reply.status_code >= 400
    assert reply.headers["content-type"] == golden.PROBLEM_TYPE
    assert len(d.runpod.records()) == before
    problem: dict[str, Any] = reply.json()
    return problem


def test_the_emulator_says_which_faults_it_has() -> None:
    without = {"quota", "left"}
    from providers.sandbox.faults import SEMANTIC

    assert RunPodEmulator.semantic == SEMANTIC - without


# Refusals of a create.


async def test_sold_out_is_the_recorded_sentence_although_the_catalogue_says_high() -> None:
    async with desk() as d:
        fault(d, "sold_out", subject=f"{L40} SECURE EU-RO-1")
        stock = {row["id"]: row["availability"] for row in (await d.gpus())[L40]["dataCenters"]}
        assert stock["EU-RO-1"] == "HIGH"
        await d.create(dataCenterIds=["CA-MTL-1"])
        await d.create(cloud="COMMUNITY", dataCenterIds=None)
        assert await refused(d) == golden.CAPACITY
        await d.create()


async def test_sold_out_without_a_data_centre_hits_the_one_that_would_be_chosen() -> None:
    async with desk() as d:
        fault(d, "sold_out", subject="EU-RO-1")
        assert await refused(d, **ANYWHERE) == golden.CAPACITY
        fault(d, "sold_out", subject="COMMUNITY", times=-1)
        for _ in range(2):
            assert await refused(d, cloud="COMMUNITY", **ANYWHERE) == golden.CAPACITY
        await d.create(**ANYWHERE)


async def test_a_gpu_that_is_gone_leaves_the_catalogue_for_good() -> None:
    async with desk() as d:
        fault(d, "gone", subject=f"{L40} SECURE")
        assert L40 in await d.gpus()
        assert await refused(d) == golden.CAPACITY
        assert L40 not in await d.gpus()
        assert (await d.http.get(f"/v2/catalog/gpus/{L40}")).status_code == 404
        centers = (await d.http.get("/v2/catalog/datacenters?include=GPU_AVAILABILITY")).json()["dataCenters"]
        assert L40 not in [gpu["id"] for row in centers for gpu in row.get("gpuAvailability", [])]
        assert await refused(d) == golden.CAPACITY
        await d.create(gpu={"id": L40S})


async def test_no_money_unknown_code_and_forbidden() -> None:
    async with desk() as d:
        fault(d, "no_money")
        assert await refused(d) == golden.NO_MONEY
        fault(d, "forbidden", subject=L40)
        assert await refused(d) == golden.DENIED
        fault(d, "unknown_code")
        problem = await refused(d)
        assert problem["status"] == 400
        assert problem["detail"] not in (golden.CAPACITY_TEXT, golden.RULE_BROKEN["detail"])
        fault(d, "unknown_code", detail="the moon is full")
        assert (await refused(d))["detail"] == "the moon is full"
        await d.create()


async def test_a_fault_of_another_provider_or_verb_does_not_happen() -> None:
    async with desk() as d:
        d.world.faults.add("sold_out", "vast")
        fault(d, "bad_key", verb="terminate")
        fault(d, "sold_out", subject="NVIDIA B200")
        pod = await d.create()
        assert (await d.http.delete(f"/v2/pods/{pod['id']}")).status_code == 401
        assert (await d.pod(pod))["id"] == pod["id"]


# Keys and accounts.


async def test_a_revoked_key_is_a_401() -> None:
    async with desk() as d:
        fault(d, "bad_key", times=2)
        replies = [await d.http.get("/v2/pods"), await d.http.post("/v2/pods", json=body())]
        assert [reply.status_code for reply in replies] == [401, 401]
        assert d.runpod.records() == []
        assert (await d.http.get("/v2/pods")).status_code == 200


async def test_the_key_may_suddenly_open_an_empty_account() -> None:
    async with desk() as d:
        pod = await d.ready()
        path = f"/v2/pods/{pod['id']}"
        fault(d, "other_account", times=5)
        assert (await d.http.get("/v2/pods")).json() == {"pods": []}
        assert (await d.http.get(path)).status_code == 404
        assert (await d.http.delete(path)).status_code == 404
        assert (await d.http.get("/v2/billing/pods")).json()["records"] == []
        theirs = await d.create()
        assert [row["id"] for row in (await d.http.get("/v2/pods")).json()["pods"]] == [pod["id"]]
        assert (await d.http.get(f"/v2/pods/{theirs['id']}")).status_code == 404


# Accepted, and then.


@pytest.mark.parametrize(("args", "status"), [({}, "ERROR"), ({"status": "EXITED"}, "EXITED")])
async def test_a_pod_may_fail_while_it_boots(args: dict[str, Any], status: str) -> None:
    async with desk() as d:
        fault(d, "fail_after_accept", **args)
        pod = await d.create()
        d.env.advance(20)
        assert (await d.pod(pod))["status"] == "RUNNING"
        d.env.advance(20)
        failed = await d.pod(pod)
        assert (failed["status"], failed["actions"]) == (status, ["start", "terminate"])
        assert (failed["runtime"], failed["ssh"]["direct"]) == (None, None)
        # By the description `cost` is 0 only when EXITED or TERMINATED, so ERROR goes on billing.
        assert ("compute" in d.open_lines(pod)) is (status == "ERROR")
        assert failed["cost"] == (0.82 if status == "ERROR" else 0)
        d.env.advance(1000)
        assert (await d.pod(pod))["status"] == status
        assert (await d.http.delete(f"/v2/pods/{pod['id']}")).status_code == 204
        assert d.world.ledger.billing("runpod") == []


async def test_a_failed_pod_gives_its_gpus_back_exactly_once() -> None:
    async with desk() as d:
        free = d.runpod.market.free(d.runpod.market.gpus[L40], "SECURE", "EU-RO-1")
        for status in ("ERROR", "EXITED"):
            fault(d, "fail_after_accept", status=status)
            pod = await d.create()
            d.env.advance(60)
            await d.http.delete(f"/v2/pods/{pod['id']}")
        assert d.runpod.market.free(d.runpod.market.gpus[L40], "SECURE", "EU-RO-1") == free


async def test_a_stuck_boot_says_running_for_ever_and_bills() -> None:
    async with desk() as d:
        fault(d, "boot_stuck")
        pod = await d.create()
        d.env.advance(86400)
        stuck = await d.pod(pod)
        assert (stuck["status"], stuck["runtime"], stuck["ssh"]["direct"]) == ("RUNNING", None, None)
        assert stuck["ssh"]["proxy"] is not None
        assert d.open_lines(pod)["compute"] == "0.82"
        assert d.machines == {}


async def test_a_pod_may_run_without_ever_getting_an_address() -> None:
    async with desk() as d:
        fault(d, "boot_stuck", how="no_address")
        pod = await d.ready()
    assert pod["ssh"]["direct"] is None
    assert [port["private"] for port in pod["runtime"]["ports"]] == [19123]


async def test_a_wrong_gpu_shows_only_inside() -> None:
    async with desk() as d:
        fault(d, "wrong_gpu")
        pod = await d.ready()
        machine = d.machines[f"runpod:{pod['id']}"]
        assert (machine["gpu"], machine["memory_mib"]) == ("NVIDIA T4", 15360)
        assert pod["gpu"]["id"] == L40
        fault(d, "wrong_gpu", gpu="NVIDIA L4", memory_mib=23034)
        machine = d.machines[f"runpod:{(await d.ready())['id']}"]
        assert (machine["gpu"], machine["memory_mib"]) == ("NVIDIA L4", 23034)


async def test_a_lagging_list_hides_a_new_pod_that_already_bills() -> None:
    async with desk() as d:
        fault(d, "list_lag", seconds=6)
        pod = await d.create()
        d.env.advance(5)
        assert (await d.http.get("/v2/pods")).json() == {"pods": []}
        assert (await d.http.get(f"/v2/pods/{pod['id']}")).json() == golden.POD_NOT_FOUND
        assert d.world.ledger.billing("runpod") == [pod["id"]]
        d.env.advance(1)
        assert len((await d.http.get("/v2/pods")).json()["pods"]) == 1
        assert (await d.pod(pod))["id"] == pod["id"]


async def test_an_ignored_terminate_answers_204_and_the_pod_bills_on() -> None:
    async with desk() as d:
        pod = await d.ready()
        fault(d, "ignore_terminate", subject=pod["id"], times=2)
        assert (await d.http.delete(f"/v2/pods/{pod['id']}")).status_code == 204
        assert (await d.act(pod, "terminate")).status_code == 204
        assert (await d.pod(pod))["ssh"]["direct"] is not None
        assert d.world.ledger.billing("runpod") == [pod["id"]]
        assert (await d.http.delete(f"/v2/pods/{pod['id']}")).status_code == 204
        assert d.world.ledger.billing("runpod") == []


@pytest.mark.parametrize(
    ("how", "status", "bills"),
    [
        ("exited", "EXITED", {"disk"}),
        ("error", "ERROR", {"compute", "disk"}),
        ("silent", "RUNNING", {"disk"}),
    ],
)
async def test_a_lost_host_may_leave_a_pod_behind(how: str, status: str, bills: set[str]) -> None:
    async with desk() as d:
        pod = await d.ready()
        fault(d, "host_lost", subject=pod["id"], how=how)
        lost = await d.pod(pod)
        assert (lost["status"], lost["runtime"], lost["ssh"]["direct"]) == (status, None, None)
        assert d.machines == {}
        assert set(d.open_lines(pod)) == bills
        assert (await d.http.delete(f"/v2/pods/{pod['id']}")).status_code == 204
        assert d.world.ledger.billing("runpod") == []


async def test_a_lost_host_usually_takes_the_pod_with_it() -> None:
    async with desk() as d:
        fault(d, "host_lost", subject="SECURE EU-RO-1")
        pod = await d.create()
        d.env.advance(30)
        assert (await d.pod(pod))["status"] == "RUNNING"
        d.env.advance(30)
        assert (await d.http.get(f"/v2/pods/{pod['id']}")).status_code == 404
        assert d.world.ledger.billing("runpod") == []


# Prices.


async def test_a_changed_price_holds_from_the_next_catalogue_read_on() -> None:
    async with desk() as d:
        old = await d.create()
        fault(d, "price_changed", subject=f"{L40} SECURE")
        assert (await d.create())["cost"] == 0.82
        for _ in range(2):
            assert (await d.gpus())[L40]["price"] == {"secure": 1.23, "community": 0.69, "serverless": 1.9}
        assert (await d.gpus())[L40S]["price"]["secure"] == 0.99
        assert (await d.create())["cost"] == 1.23
        assert (await d.pod(old))["cost"] == 0.82


async def test_a_changed_price_without_a_subject_is_about_all_that_is_asked() -> None:
    async with desk() as d:
        fault(d, "price_changed", factor="0.5")
        single = (await d.http.get(f"/v2/catalog/gpus/{L40}")).json()["price"]
        assert (single["secure"], single["community"]) == (0.41, 0.345)
        assert (await d.gpus())[L40S]["price"]["secure"] == 0.99
        fault(d, "price_changed", factor=2)
        every = await d.gpus()
        assert (every[L40]["price"]["secure"], every[L40S]["price"]["secure"]) == (0.82, 1.98)


# The wire's own faults, in RunPod's words.


@pytest.mark.parametrize(("kind", "left"), [("error_before", 0), ("error_after", 1)])
async def test_a_500_may_or_may_not_have_created_the_pod(kind: str, left: int) -> None:
    async with desk() as d:
        fault(d, kind, verb="launch")
        reply = await d.http.post("/v2/pods", json=body())
        assert reply.status_code == 500
        assert reply.headers["content-type"] == golden.PROBLEM_TYPE
        assert reply.json()["status"] == 500
        pods = (await d.http.get("/v2/pods")).json()["pods"]
        assert [pod["name"] for pod in pods] == [body()["name"]] * left
        assert len(d.world.ledger.billing("runpod")) == left


async def test_a_lost_answer_leaves_a_pod_that_bills() -> None:
    async with desk() as d:
        fault(d, "lost", verb="launch")
        with pytest.raises(httpx.TransportError):
            await d.http.post("/v2/pods", json=body())
        assert len((await d.http.get("/v2/pods")).json()["pods"]) == 1


@pytest.mark.parametrize(("args", "wait"), [({"retry_after": 7.5}, "8"), ({}, "48")])
async def test_a_429_carries_retry_after_and_both_headers(args: dict[str, Any], wait: str) -> None:
    async with desk() as d:
        d.env.advance(12)
        fault(d, "rate_limit", verb="owned", **args)
        reply = await d.http.get("/v2/pods")
    assert (reply.status_code, reply.json()) == (429, golden.TOO_FAST)
    assert reply.headers["retry-after"] == wait
    assert reply.headers["ratelimit"].startswith(f'"minute";r=0;t={wait}, "hour";r=')
    assert reply.headers["ratelimit-policy"].startswith('"minute";q=')
