"""Whole nodes: how a node pool grows, waits, bills and shrinks, and what the ledger says of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from providers.coreweave.emulator_options import Options
from tests.contract.coreweave_bench import L40, MANAGED, MERGE, PODS, POOLS, Bench, bench, condition

H200_POOL = f"{POOLS}/orch-gd-8xh200ib-i128"


@pytest.fixture
async def cks() -> AsyncIterator[Bench]:
    async with bench() as served:
        yield served


async def pool(cks: Bench, path: str = MANAGED) -> dict[str, Any]:
    return await cks.ask("GET", path, 200)


def counts(found: dict[str, Any]) -> tuple[int, int, int]:
    status = found["status"]
    return status["currentNodes"], status["inProgress"], status["queuedNodes"]


async def on_a_fresh_node(cks: Bench, name: str = "orch-1", gpus: int = 8) -> dict[str, Any]:
    """A Pod that fits on no node that is there, and a node pool that is raised for it."""
    made = await cks.rent(name, gpus=gpus)
    await cks.scale(1)
    cks.wait(1000)
    assert condition(await cks.pod(name), "Ready")["status"] == "True"
    return made


# -- up and down ----------------------------------------------------------------------------------------------


async def test_a_pool_grows_in_a_quarter_of_an_hour_and_bills_from_when_the_node_is_there(cks: Bench) -> None:
    found = await cks.scale(1)
    assert counts(found) == (0, 0, 0)
    cks.wait(3)
    found = await pool(cks)
    assert counts(found) == (0, 1, 0)
    assert condition(found, "Ready")["status"] == "False"
    cks.wait(290)
    assert counts(await pool(cks)) == (0, 1, 0)
    assert cks.world.ledger.billing() == []
    cks.wait(620)
    found = await pool(cks)
    assert counts(found) == (1, 0, 0)
    assert condition(found, "Ready")["status"] == "True"
    [node] = [
        n
        for n in await nodes(cks)
        if n["metadata"]["labels"].get("compute.coreweave.com/node-pool") == found["metadata"]["name"]
    ]
    assert node["metadata"]["labels"]["node.kubernetes.io/instance-type"] == L40
    assert node["metadata"]["labels"]["gpu.nvidia.com/class"] == "L40"
    assert node["metadata"]["labels"]["orch.dev/managed"] == "true"
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    assert cks.world.ledger.billing() == [node["metadata"]["name"]]
    before = cks.billed()
    cks.wait(3600)
    assert cks.billed() - before == Decimal(10)


async def nodes(cks: Bench) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await cks.ask("GET", "/api/v1/nodes", 200))["items"]
    return found


async def test_an_empty_node_is_taken_back_and_a_busy_one_is_not(cks: Bench) -> None:
    await on_a_fresh_node(cks)
    await cks.scale(0)
    cks.wait(600)
    assert counts(await pool(cks)) == (1, 0, 0)
    await cks.ask("DELETE", f"{PODS}/orch-1", 200)
    cks.wait(50)
    assert counts(await pool(cks)) == (1, 0, 0)
    cks.wait(20)
    assert counts(await pool(cks)) == (0, 0, 0)
    assert cks.world.ledger.billing() == []
    assert await cks.reasons("orch-" + L40) >= {"CWNodeAssigned", "CWNodeRegistered", "CWNodePoolScaledDown"}


async def test_a_node_that_is_still_coming_can_be_called_back_for_nothing(cks: Bench) -> None:
    await cks.scale(2)
    cks.wait(10)
    assert counts(await pool(cks)) == (0, 2, 0)
    await cks.scale(0)
    cks.wait(2000)
    assert counts(await pool(cks)) == (0, 0, 0)
    assert cks.billed() == 0


async def test_where_it_cannot_be_called_back_it_comes_and_goes_and_is_billed() -> None:
    async with bench(Options(cancel_delivery=False)) as cks:
        await cks.scale(1)
        cks.wait(10)
        await cks.scale(0)
        cks.wait(2000)
        assert counts(await pool(cks)) == (0, 0, 0)
        assert Decimal("0.16") < cks.billed() < Decimal("0.18")  # one minute of 10 USD an hour


async def test_a_fresh_node_is_billed_whole_to_the_pod_that_it_came_for(cks: Bench) -> None:
    made = await on_a_fresh_node(cks)
    uid = made["metadata"]["uid"]
    assert cks.world.ledger.billing() == [uid]
    rates = {line.what.split()[0]: line.rates[-1][1] for line in cks.world.ledger.of("coreweave", uid)}
    assert rates == {"pod": "0", "address": "0.005479", "node": "10.00"}
    await cks.ask("DELETE", f"{PODS}/orch-1", 200)
    cks.wait(20)
    [node] = cks.world.ledger.billing()
    assert node != uid
    cks.wait(3600)
    assert cks.world.ledger.billing() == [node]


async def test_no_second_is_lost_or_billed_twice_when_a_node_changes_hands(cks: Bench) -> None:
    await cks.rent("orch-0", gpus=5)
    await on_a_fresh_node(cks, "orch-1", gpus=4)
    await cks.rent("orch-2", gpus=4)
    cks.wait(600)
    await cks.ask("DELETE", f"{PODS}/orch-1", 200)
    cks.wait(600)
    await cks.ask("DELETE", f"{PODS}/orch-2", 200)
    cks.wait(600)
    lines = sorted((x for x in cks.world.ledger.lines if x.what.startswith("node")), key=lambda line: line.opened_at)
    assert len({line.instance for line in lines}) == 3
    for one, other in pairwise(lines):
        assert one.closed_at == other.opened_at
    assert lines[-1].closed_at is None


async def test_a_pod_on_a_paid_node_costs_nothing_but_its_address(cks: Bench) -> None:
    await cks.rent()
    cks.wait(3600)
    assert Decimal("0.005") < cks.billed() < Decimal("0.0055")
    assert len(cks.world.ledger.billing()) == 1


# -- what stands in the way -----------------------------------------------------------------------------------


async def test_without_quota_no_node_ever_comes_and_the_pool_says_so(cks: Bench) -> None:
    assert condition(await pool(cks, H200_POOL), "Quota")["reason"] == "NotSet"
    await cks.scale(1, H200_POOL)
    cks.wait(7200)
    found = await pool(cks, H200_POOL)
    assert counts(found) == (0, 0, 1)
    assert (condition(found, "Quota")["status"], condition(found, "Quota")["reason"]) == ("False", "NotSet")
    assert "quota limit is 0 for instance type" in condition(found, "Quota")["message"]
    assert "CWOverQuota" in await cks.reasons("orch-gd-8xh200ib-i128")


async def test_beyond_its_quota_a_pool_waits(cks: Bench) -> None:
    await cks.scale(6)
    cks.wait(1000)
    found = await pool(cks)
    assert counts(found) == (4, 0, 2)
    assert condition(found, "Quota")["reason"] == "Over"


async def test_a_full_zone_queues_until_there_is_room(cks: Bench) -> None:
    cks.world.faults.add("sold_out", times=1)
    await cks.scale(1)
    cks.wait(3)
    found = await pool(cks)
    assert counts(found) == (0, 0, 1)
    assert (condition(found, "Capacity")["status"], condition(found, "Capacity")["reason"]) == (
        "False",
        "QueuedAwaitingCapacity",
    )
    assert "CWInsufficientCapacity" in await cks.reasons("orch-" + L40)
    cks.wait(7200)
    assert counts(await pool(cks)) == (0, 0, 1)
    await cks.scale(0)
    cks.wait(3)
    await cks.scale(1)
    cks.wait(1000)
    assert counts(await pool(cks)) == (1, 0, 0)


async def test_a_quota_fault_can_be_the_pools(cks: Bench) -> None:
    cks.world.faults.add("quota", where="pool")
    await cks.scale(1)
    cks.wait(3)
    assert condition(await pool(cks), "Quota")["reason"] == "Over"


# -- the custom resource --------------------------------------------------------------------------------------


def fresh(**spec: Any) -> dict[str, Any]:
    body = {"instanceType": L40, "targetNodes": 0, **spec}
    head = {"apiVersion": "compute.coreweave.com/v1alpha1", "kind": "NodePool", "metadata": {"name": "mine"}}
    return {**head, "spec": {key: value for key, value in body.items() if value is not None}}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"instanceType": None}, "spec.instanceType"),
        ({"targetNodes": None}, "spec"),
        ({"targetRacks": 1}, "spec"),
        ({"targetNodes": -1}, "spec.targetNodes"),
        ({"targetNodes": "1"}, "spec.targetNodes"),
        ({"targetNodes": 3, "maxNodes": 2}, "spec.targetNodes"),
        ({"minNodes": 1}, "spec.targetNodes"),
        ({"computeClass": "cheap"}, "spec.computeClass"),
        ({"computeClass": "spot"}, "spec.computeClass"),
        ({"lifecycle": {"scaleDownStrategy": "Never"}}, "spec.lifecycle.scaleDownStrategy"),
    ],
)
async def test_a_pool_that_breaks_a_rule_is_invalid(cks: Bench, spec: dict[str, Any], field: str) -> None:
    said = await cks.ask("POST", POOLS, 422, json=fresh(**spec))
    assert said["details"]["causes"][0]["field"] == field
    assert said["details"]["group"] == "compute.coreweave.com"


async def test_the_other_spelling_of_spot_can_be_the_right_one() -> None:
    async with bench(Options(spot_word="spot")) as cks:
        await cks.ask("POST", POOLS, 422, json=fresh(computeClass="Spot"))
        await cks.ask("POST", POOLS, 201, json=fresh(computeClass="spot"))


async def test_the_instance_type_of_a_pool_is_for_ever(cks: Bench) -> None:
    patch = {"spec": {"instanceType": "gd-8xl40s-i128"}}
    said = await cks.ask("PATCH", MANAGED, 422, json=patch, headers=MERGE)
    assert "InstanceType cannot be changed" in said["message"]


async def test_an_unknown_instance_type_is_not_valid(cks: Bench) -> None:
    await cks.ask("POST", POOLS, 201, json=fresh(instanceType="gd-8xl40", targetNodes=1))
    cks.wait(3600)
    found = await pool(cks, f"{POOLS}/mine")
    assert condition(found, "Valid")["status"] == "False"
    assert counts(found) == (0, 0, 1)


async def test_two_who_raise_a_pool_at_once_cannot_both_win(cks: Bench) -> None:
    guarded = [
        {"op": "test", "path": "/spec/targetNodes", "value": 0},
        {"op": "replace", "path": "/spec/targetNodes", "value": 1},
    ]
    headers = {"content-type": "application/json-patch+json"}
    await cks.ask("PATCH", MANAGED, 200, json=guarded, headers=headers)
    assert (await cks.ask("PATCH", MANAGED, 422, json=guarded, headers=headers))["reason"] == "Invalid"
    version = (await pool(cks))["metadata"]["resourceVersion"]
    patch = {"metadata": {"resourceVersion": version}, "spec": {"targetNodes": 2}}
    await cks.ask("PATCH", MANAGED, 200, json=patch, headers=MERGE)
    assert (await cks.ask("PATCH", MANAGED, 409, json=patch, headers=MERGE))["reason"] == "Conflict"


async def test_a_pool_is_deleted_only_when_its_last_node_is_gone(cks: Bench) -> None:
    await on_a_fresh_node(cks)
    seen = await cks.ask("DELETE", MANAGED, 200)
    assert seen["metadata"]["deletionTimestamp"]
    assert seen["metadata"]["finalizers"]
    cks.wait(3600)
    assert (await pool(cks))["status"]["currentNodes"] == 1
    await cks.ask("DELETE", f"{PODS}/orch-1", 200)
    cks.wait(100)
    await cks.ask("GET", MANAGED, 404)
    assert cks.world.ledger.billing() == []


async def test_words_that_the_documents_spell_in_two_ways_can_be_the_other_one() -> None:
    async with bench(Options(in_progress="inProgressNodes", at_target="AtTarget")) as cks:
        await cks.scale(1)
        cks.wait(3)
        found = await pool(cks)
        assert found["status"]["inProgressNodes"] == 1
        assert condition(found, "AtTarget")["status"] == "False"


# -- the cluster autoscaler -----------------------------------------------------------------------------------


def scaled(**changes: Any) -> dict[str, Any]:
    """A market whose only nodes come by the autoscaler."""
    row = {"name": "burst", "type": L40, "autoscaling": True, "minNodes": 0, "maxNodes": 1, **changes}
    shape = {"id": L40, "gpus": 8, "vcpu": 128, "memory_gb": 1024, "usd_per_hour": "10", "gpu_class": "L40"}
    return {"types": [shape], "pools": [row]}


async def test_the_autoscaler_adds_a_node_for_a_pod_and_takes_it_away_when_it_is_empty() -> None:
    async with bench(market=scaled()) as cks:
        await cks.rent()
        cks.wait(11)
        assert "TriggeredScaleUp" in await cks.reasons("orch-1")
        cks.wait(1000)
        assert condition(await cks.pod(), "Ready")["status"] == "True"
        await cks.ask("DELETE", f"{PODS}/orch-1", 200)
        cks.wait(700)
        assert counts(await pool(cks, f"{POOLS}/burst")) == (0, 0, 0)
        assert cks.world.ledger.billing() == []


async def test_the_autoscaler_does_not_know_the_labels_of_nodes_that_are_not_there() -> None:
    async with bench(market=scaled()) as cks:
        await cks.rent(nodeSelector={"gpu.nvidia.com/class": "L40"})
        cks.wait(60)
        assert "NotTriggerScaleUp" in await cks.reasons("orch-1")
        assert counts(await pool(cks, f"{POOLS}/burst")) == (0, 0, 0)


async def test_the_autoscaler_keeps_to_the_pools_largest_size() -> None:
    async with bench(market=scaled(maxNodes=0)) as cks:
        await cks.rent()
        cks.wait(60)
        found = await cks.ask("GET", "/api/v1/namespaces/orch/events", 200)
        said = {item["reason"]: item["message"] for item in found["items"]}
        assert "max node group size reached" in said["NotTriggerScaleUp"]
