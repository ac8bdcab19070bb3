"""What can go wrong at the emulated CoreWeave, in Kubernetes' own words."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from providers.coreweave.emulator import CoreWeaveEmulator
from tests.contract.coreweave_bench import (
    L40,
    MANAGED,
    PODS,
    POOLS,
    SECRETS,
    SERVICES,
    Bench,
    bench,
    condition,
    namespace,
    pod,
    secret,
)

EVERYWHERE = {
    "sold_out",
    "fail_after_accept",
    "boot_stuck",
    "wrong_gpu",
    "list_lag",
    "ignore_terminate",
    "host_lost",
    "unknown_code",
}


@pytest.fixture
async def cks() -> AsyncIterator[Bench]:
    async with bench() as served:
        yield served


async def running(cks: Bench, name: str = "orch-1", **more: int) -> str:
    made = await cks.rent(name, **more)
    cks.wait(60)
    return str(made["metadata"]["uid"])


def test_it_can_do_what_goes_wrong_everywhere_but_for_prices_that_are_not_on_the_wire() -> None:
    assert CoreWeaveEmulator.semantic >= EVERYWHERE
    assert "price_changed" not in CoreWeaveEmulator.semantic
    assert CoreWeaveEmulator.cannot == {"price_changed"}


# -- capacity -------------------------------------------------------------------------------------------------


async def test_sold_out_shows_as_a_pod_that_cannot_be_scheduled(cks: Bench) -> None:
    cks.world.faults.add("sold_out", verb="launch")
    await cks.rent()
    found = condition(await cks.pod(), "PodScheduled")
    assert (found["status"], found["reason"]) == ("False", "Unschedulable")
    assert "Insufficient nvidia.com/gpu" in found["message"]
    await cks.ask("DELETE", f"{PODS}/orch-1", 200)
    await cks.rent("orch-2")
    assert condition(await cks.pod("orch-2"), "PodScheduled")["status"] == "True"


async def test_sold_out_keeps_the_node_pool_that_the_pod_waits_for_waiting_too(cks: Bench) -> None:
    cks.world.faults.add("sold_out", verb="launch", times=1)
    await cks.rent(gpus=8)
    await cks.scale(1)
    cks.wait(1000)
    found = await cks.ask("GET", MANAGED, 200)
    assert condition(found, "Capacity")["reason"] == "QueuedAwaitingCapacity"
    assert cks.emulator.cluster.payers == {}
    await cks.ask("DELETE", f"{PODS}/orch-1", 200)
    await cks.ask("GET", f"{PODS}/orch-1", 404)


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [("quota", 403, "Forbidden"), ("forbidden", 403, "Forbidden"), ("unknown_code", 423, "TenantOnHold")],
)
async def test_a_refused_pod_leaves_nothing(cks: Bench, kind: str, status: int, reason: str) -> None:
    await cks.http.post("/api/v1/namespaces", json=namespace("orch"))
    cks.world.faults.add(kind, verb="launch")
    said = await cks.ask("POST", PODS, status, json=pod())
    assert said["reason"] == reason
    assert ("exceeded quota:" in said["message"]) == (kind == "quota")
    assert cks.emulator.records() == []
    await cks.ask("POST", PODS, 201, json=pod())


# -- boots ----------------------------------------------------------------------------------------------------


async def test_a_pod_can_fail_after_it_was_taken(cks: Bench) -> None:
    cks.world.faults.add("fail_after_accept")
    await cks.rent()
    found = await cks.pod()
    assert (found["status"]["phase"], found["status"]["reason"]) == ("Failed", "UnexpectedAdmissionError")
    assert found["spec"]["nodeName"] == "g8f31c0"


@pytest.mark.parametrize(
    ("how", "phase", "reason"),
    [("image", "Pending", "ErrImagePull"), ("crash", "Running", "CrashLoopBackOff"), ("evicted", "Failed", "Evicted")],
)
async def test_a_pod_can_fail_in_other_ways(cks: Bench, how: str, phase: str, reason: str) -> None:
    cks.world.faults.add("fail_after_accept", how=how)
    await cks.rent()
    cks.wait(26)
    cks.wait(0 if how == "image" else 15)
    found = await cks.pod()
    rows = found["status"]["containerStatuses"]
    seen = found["status"].get("reason") or rows[0]["state"]["waiting"]["reason"]
    assert (found["status"]["phase"], seen) == (phase, reason)


@pytest.mark.parametrize("state", ["ContainerCreating", "not-ready", "no-address"])
async def test_a_boot_can_be_stuck_in_three_places(cks: Bench, state: str) -> None:
    cks.world.faults.add("boot_stuck", state=state)
    await cks.rent()
    cks.wait(3600)
    found = await cks.pod()
    ready = condition(found, "Ready")["status"] == "True"
    address = bool((await cks.ask("GET", f"{SERVICES}/orch-1", 200))["status"]["loadBalancer"])
    phases = {"ContainerCreating": "Pending", "not-ready": "Running", "no-address": "Running"}
    assert (found["status"]["phase"], ready, address) == (phases[state], state == "no-address", state != "no-address")
    assert cks.machines.running == {}
    await cks.ask("DELETE", f"{PODS}/orch-1", 200)
    cks.wait(10)
    assert cks.world.ledger.billing() == []


async def test_the_machine_can_hold_another_gpu(cks: Bench) -> None:
    cks.world.faults.add("wrong_gpu", gpu="NVIDIA L4", memory_mib=23034)
    await running(cks)
    [machine] = cks.machines.running.values()
    assert (machine["gpu"], machine["memory_mib"]) == ("NVIDIA L4", 23034)


# -- lists and ends -------------------------------------------------------------------------------------------


async def test_only_a_list_from_the_watch_cache_can_lag(cks: Bench) -> None:
    cks.world.faults.add("list_lag", seconds=30)
    await cks.rent()
    assert len((await cks.ask("GET", PODS, 200))["items"]) == 1
    assert (await cks.ask("GET", PODS, 200, params={"resourceVersion": "0"}))["items"] == []
    cks.wait(31)
    assert len((await cks.ask("GET", PODS, 200, params={"resourceVersion": "0"}))["items"]) == 1


async def test_an_end_that_is_ignored_leaves_the_pod_terminating_until_it_is_asked_again(cks: Bench) -> None:
    uid = await running(cks)
    cks.world.faults.add("ignore_terminate")
    await cks.ask("DELETE", f"{PODS}/orch-1", 200)
    cks.wait(3600)
    assert (await cks.pod())["metadata"]["deletionTimestamp"]
    assert cks.world.ledger.billing() == [uid]
    await cks.ask("DELETE", f"{PODS}/orch-1", 200)
    cks.wait(1)
    await cks.ask("GET", f"{PODS}/orch-1", 404)


async def test_what_was_stuck_goes_on_when_the_faults_are_cleared(cks: Bench) -> None:
    await running(cks)
    cks.world.faults.add("ignore_terminate", times=-1)
    for _ in range(3):
        await cks.ask("DELETE", f"{PODS}/orch-1", 200)
        cks.wait(60)
    assert (await cks.pod())["metadata"]["deletionTimestamp"]
    cks.world.faults.clear()
    cks.wait(3)
    await cks.ask("GET", f"{PODS}/orch-1", 404)


# -- hosts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("called", ["uid", "name", "both"])
async def test_a_lost_node_takes_its_pods_along(cks: Bench, called: str) -> None:
    uid = await running(cks)
    cks.emulator.lose({"uid": uid, "name": "orch-1", "both": "orch/orch-1"}[called])
    await cks.ask("GET", "/api/v1/nodes/g8f31c0", 404)
    await cks.ask("GET", f"{PODS}/orch-1", 404)
    cks.wait(3)
    await cks.ask("GET", f"{SECRETS}/orch-1", 404)
    assert cks.world.ledger.billing() == []
    assert cks.machines.running == {}


async def test_a_lost_node_of_a_pool_is_replaced_and_billed_again_unless_it_is_prepaid(cks: Bench) -> None:
    await cks.rent(gpus=8)
    await cks.scale(1)
    cks.wait(1000)
    await running(cks, "orch-2")
    cks.emulator.lose("orch-1")
    cks.emulator.lose("orch-2")
    cks.wait(10)
    assert cks.world.ledger.billing() == []
    cks.wait(1000)
    [replaced] = cks.world.ledger.billing()
    found = await cks.ask("GET", f"/api/v1/nodes/{replaced}", 200)
    assert found["metadata"]["labels"]["compute.coreweave.com/node-pool"] == f"orch-{L40}"
    reserved = await cks.ask("GET", f"{POOLS}/l40-reserved", 200)
    assert reserved["status"]["currentNodes"] == 3


async def test_a_node_that_stops_answering_holds_its_pods_for_minutes(cks: Bench) -> None:
    uid = await running(cks)
    cks.world.faults.add("host_lost", how="not-ready")
    cks.wait(1)
    node = await cks.ask("GET", "/api/v1/nodes/g8f31c0", 200)
    assert condition(node, "Ready")["status"] == "Unknown"
    found = await cks.pod()
    assert (found["status"]["phase"], condition(found, "Ready")["status"]) == ("Running", "False")
    assert "deletionTimestamp" not in found["metadata"]
    assert cks.machines.running == {}
    cks.wait(301)
    assert (await cks.pod())["metadata"]["deletionTimestamp"]
    await cks.ask("DELETE", f"{PODS}/orch-1", 200)
    cks.wait(120)
    assert cks.world.ledger.billing() == [uid]
    cks.wait(600)
    await cks.ask("GET", f"{PODS}/orch-1", 404)
    assert cks.world.ledger.billing() == []


@pytest.mark.parametrize("how", ["evicted", "preempted"])
async def test_a_pod_can_be_driven_away_alone(cks: Bench, how: str) -> None:
    await running(cks)
    cks.world.faults.add("host_lost", how=how)
    cks.wait(1)
    answer = await cks.http.get(f"{PODS}/orch-1")
    if how == "evicted":
        assert (answer.json()["status"]["phase"], answer.json()["status"]["reason"]) == ("Failed", "Evicted")
        assert condition(answer.json(), "DisruptionTarget")["status"] == "True"
    else:
        assert answer.status_code == 404
    await cks.ask("GET", "/api/v1/nodes/g8f31c0", 200)
    [record] = cks.emulator.records()
    assert not record.alive


# -- the wire -------------------------------------------------------------------------------------------------


async def test_a_revoked_token_fails_everything(cks: Bench) -> None:
    await running(cks)
    cks.world.faults.add("bad_key", times=-1)
    for method, path in (("GET", PODS), ("GET", f"{PODS}/orch-1"), ("DELETE", f"{PODS}/orch-1"), ("POST", PODS)):
        said = await cks.ask(method, path, 403, **({"json": pod()} if method == "POST" else {}))
        assert said["reason"] == "Forbidden"
    cks.world.faults.clear()
    assert (await cks.pod())["status"]["phase"] == "Running"


async def test_rate_limits_and_server_errors_are_status_objects(cks: Bench) -> None:
    cks.world.faults.add("rate_limit", verb="owned", retry_after=9)
    answer = await cks.http.get(PODS)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "9")
    assert answer.json()["details"]["retryAfterSeconds"] == 9
    cks.world.faults.add("error_before", verb="owned")
    answer = await cks.http.get(PODS)
    assert (answer.status_code, answer.json()["reason"]) == (500, "InternalError")


@pytest.mark.parametrize(
    ("method", "path", "verb"),
    [
        ("POST", PODS, "launch"),
        ("POST", SECRETS, "other"),
        ("PATCH", MANAGED, "other"),
        ("DELETE", f"{PODS}/x", "terminate"),
        ("DELETE", f"{SERVICES}/x", "terminate"),
        ("POST", f"{PODS}/x/eviction", "terminate"),
        ("GET", f"{PODS}/x", "find"),
        ("GET", "/api/v1/pods", "owned"),
        ("GET", f"{SERVICES}/x", "find"),
        ("GET", "/api/v1/nodes", "offers"),
        ("GET", POOLS, "offers"),
        ("GET", "/api/v1/namespaces/kube-system", "account"),
        ("GET", f"{PODS}/x/log", "other"),
        ("GET", "/nowhere", "other"),
    ],
)
async def test_requests_are_told_apart_by_what_they_are_for(cks: Bench, method: str, path: str, verb: str) -> None:
    assert cks.emulator.verb(method, path) == verb


async def test_what_is_made_beside_a_pod_takes_no_fault_of_a_launch(cks: Bench) -> None:
    await cks.http.post("/api/v1/namespaces", json=namespace("orch"))
    cks.world.faults.add("error_before", verb="launch")
    await cks.ask("POST", SECRETS, 201, json=secret())
    await cks.scale(1)
    await cks.ask("POST", PODS, 500, json=pod())
