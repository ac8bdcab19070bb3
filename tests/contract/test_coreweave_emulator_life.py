"""The emulated cluster's Pods over time: images, crashes, deadlines, ends, and a state that survives a restart."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from providers.coreweave.emulator import CoreWeaveEmulator
from providers.sandbox.world import NoMachines, World
from tests.contract.coreweave_bench import KEY, MERGE, PODS, SERVICES, Bench, bench, condition, namespace, pod


@pytest.fixture
async def cks() -> AsyncIterator[Bench]:
    async with bench() as served:
        yield served


def containers(**changes: Any) -> list[dict[str, Any]]:
    return [{**pod()["spec"]["containers"][0], **changes}]


def waiting(found: dict[str, Any]) -> str:
    [row] = found["status"]["containerStatuses"]
    return str(row["state"]["waiting"]["reason"])


# -- images and commands --------------------------------------------------------------------------------------


async def test_an_image_that_no_registry_has_is_tried_again_ever_more_slowly(cks: Bench) -> None:
    await cks.rent(containers=containers(image="docker.io/library/does-not-exist:1"))
    cks.wait(26)
    assert waiting(await cks.pod()) == "ErrImagePull"
    cks.wait(11)
    assert waiting(await cks.pod()) == "ImagePullBackOff"
    assert {"Failed", "BackOff"} <= await cks.reasons("orch-1")
    cks.wait(3600)
    assert (await cks.pod())["status"]["phase"] == "Pending"
    await cks.ask("DELETE", f"{PODS}/orch-1", 200)
    cks.wait(10)
    await cks.ask("GET", f"{PODS}/orch-1", 404)


async def test_an_image_that_cannot_be_a_name_is_not_even_tried(cks: Bench) -> None:
    await cks.rent(containers=containers(image="Ubuntu:24.04"))
    cks.wait(26)
    assert waiting(await cks.pod()) == "InvalidImageName"


async def test_a_secret_that_the_environment_needs_must_be_there(cks: Bench) -> None:
    wanted = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "token"}}}]
    await cks.rent(containers=containers(env=wanted))
    cks.wait(26)
    assert waiting(await cks.pod()) == "CreateContainerConfigError"


async def test_a_command_that_dies_is_started_again_and_again(cks: Bench) -> None:
    await cks.rent(containers=containers(command=["/bin/sh", "-c", "exit 3"]))
    cks.wait(41)
    found = await cks.pod()
    assert waiting(found) == "CrashLoopBackOff"
    assert found["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 3
    cks.wait(120)
    assert (await cks.pod())["status"]["containerStatuses"][0]["restartCount"] >= 2
    log = await cks.http.get(f"{PODS}/orch-1/log", params={"tailLines": "1"})
    assert log.text == "exited with code 3\n"


@pytest.mark.parametrize(("command", "phase"), [(["true"], "Succeeded"), (["false"], "Failed")])
async def test_a_command_that_is_not_started_again_ends_its_pod(cks: Bench, command: list[str], phase: str) -> None:
    await cks.rent(containers=containers(command=command), restartPolicy="Never")
    cks.wait(60)
    assert (await cks.pod())["status"]["phase"] == phase
    [record] = cks.emulator.records()
    assert not record.alive
    await cks.ask("DELETE", f"{PODS}/orch-1", 200)
    await cks.ask("GET", f"{PODS}/orch-1", 404)


async def test_logs_are_not_there_before_the_container_is(cks: Bench) -> None:
    await cks.rent()
    said = await cks.ask("GET", f"{PODS}/orch-1/log", 400)
    assert said["message"].endswith("is waiting to start: ContainerCreating")
    cks.wait(60)
    answer = await cks.http.get(f"{PODS}/orch-1/log", params={"container": "main"})
    assert (answer.headers["content-type"], answer.text) == (
        "text/plain; charset=utf-8",
        "Server listening on 0.0.0.0 port 22.\n",
    )


# -- ends -----------------------------------------------------------------------------------------------------


async def test_a_pod_ends_by_itself_at_its_deadline(cks: Bench) -> None:
    await cks.rent(activeDeadlineSeconds=300)
    cks.wait(299)
    assert len(cks.machines.running) == 1
    cks.wait(2)
    found = await cks.pod()
    assert (found["status"]["phase"], found["status"]["reason"]) == ("Failed", "DeadlineExceeded")
    assert cks.machines.running == {}
    # The Pod's own line is closed; the address bills until somebody deletes the Pod.
    [line] = [line for line in cks.world.ledger.lines if line.closed_at is None]
    assert line.what.startswith("address")
    assert line.instance == found["metadata"]["uid"]


async def test_the_deadline_can_be_made_shorter_and_never_longer(cks: Bench) -> None:
    await cks.rent(activeDeadlineSeconds=300)
    patch = {"spec": {"activeDeadlineSeconds": 200}}
    await cks.ask("PATCH", f"{PODS}/orch-1", 200, json=patch, headers=MERGE)
    patch = {"spec": {"activeDeadlineSeconds": 400}}
    await cks.ask("PATCH", f"{PODS}/orch-1", 422, json=patch, headers=MERGE)
    cks.wait(210)
    assert (await cks.pod())["status"]["reason"] == "DeadlineExceeded"


async def test_a_delete_for_another_uid_touches_nothing(cks: Bench) -> None:
    made = await cks.rent()
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "other"}}
    said = await cks.ask("DELETE", f"{PODS}/orch-1", 409, json=options)
    assert said["reason"] == "Conflict"
    options["preconditions"] = {"uid": made["metadata"]["uid"]}
    await cks.ask("DELETE", f"{PODS}/orch-1", 200, json={**options, "propagationPolicy": "Background"})
    cks.wait(10)
    await cks.ask("GET", f"{PODS}/orch-1", 404)


async def test_orphans_stay_when_that_is_asked_for(cks: Bench) -> None:
    await cks.rent()
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Orphan"}
    await cks.ask("DELETE", f"{PODS}/orch-1", 200, json=options)
    cks.wait(60)
    assert "ownerReferences" not in (await cks.ask("GET", f"{SERVICES}/orch-1", 200))["metadata"]
    assert len(cks.world.ledger.billing()) == 1  # a leak, and it shows


async def test_an_unscheduled_pod_is_gone_at_once(cks: Bench) -> None:
    await cks.rent(gpus=8)
    seen = await cks.ask("DELETE", f"{PODS}/orch-1", 200)
    assert seen["metadata"]["deletionGracePeriodSeconds"] == 0
    await cks.ask("GET", f"{PODS}/orch-1", 404)


async def test_an_eviction_is_a_delete(cks: Bench) -> None:
    await cks.rent()
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "orch-1", "namespace": "orch"}}
    assert (await cks.ask("POST", f"{PODS}/orch-1/eviction", 201, json=body))["status"] == "Success"
    cks.wait(10)
    await cks.ask("GET", f"{PODS}/orch-1", 404)


# -- others ---------------------------------------------------------------------------------------------------


async def test_planted_machines_run_and_are_told_apart_by_their_owner(cks: Bench) -> None:
    stranger = "fedcba9876543210fedcba9876543210"
    theirs = cks.emulator.plant("orch-7xgbukt-leasebbbb-01", owner=stranger)
    plain = cks.emulator.plant("my-training-box")
    found = await cks.ask("GET", "/api/v1/pods", 200, params={"labelSelector": "app.kubernetes.io/managed-by=orch"})
    [seen] = found["items"]
    assert seen["metadata"]["uid"] == theirs
    assert seen["metadata"]["labels"]["orch.dev/owner"] == stranger
    assert seen["metadata"]["labels"]["orch.dev/lease"] == "leasebbbb"
    assert cks.world.ledger.billing() == [theirs, plain]
    assert [record.alive for record in cks.emulator.records()] == [True, True]


async def test_there_is_always_room_to_plant(cks: Bench) -> None:
    for number in range(12):
        cks.emulator.plant(f"box-{number}")
    assert len(cks.world.ledger.billing()) == 12


# -- a restart ------------------------------------------------------------------------------------------------


async def test_the_state_survives_a_restart_in_the_middle_of_everything(cks: Bench) -> None:
    await cks.rent("orch-1")
    await cks.scale(1)
    cks.wait(60)
    await cks.rent("orch-2", gpus=8)
    await cks.ask("DELETE", f"{PODS}/orch-1", 200)
    state = json.loads(json.dumps(cks.world.dump()))
    env, machines = cks.env, NoMachines()
    world = World(env, machines=machines)
    again = CoreWeaveEmulator(world)
    world.load(state)
    assert again.records() == cks.emulator.records()
    for emulator, running in ((cks.emulator, cks.machines), (again, machines)):
        env_now = env.now()
        emulator.advance()
        assert running.running == {}
        assert env.now() == env_now
    env.advance(1000)
    again.advance()
    [mine] = [record for record in again.records() if record.alive]
    assert mine.name == "orch-2"
    [machine] = machines.running.values()
    assert machine["authorized_keys"] == [KEY]
    assert world.ledger.billing() == [mine.id]
    assert json.loads(json.dumps(again.dump()))["cluster"]["store"]["revision"] == again.cluster.store.revision


async def test_running_machines_come_back_after_a_restart(cks: Bench) -> None:
    await cks.rent()
    cks.wait(60)
    machines = NoMachines()
    world = World(cks.env, machines=machines)
    again = CoreWeaveEmulator(world)
    world.load(json.loads(json.dumps(cks.world.dump())))
    assert machines.running == cks.machines.running
    assert again.cluster.store.floor == again.cluster.store.revision


async def test_boot_times_follow_the_worlds_scale() -> None:
    async with bench(boot_scale=0.1) as cks:
        await cks.rent()
        cks.wait(5)
        assert condition(await cks.pod(), "Ready")["status"] == "True"


async def test_the_same_seed_gives_the_same_cluster() -> None:
    seen = []
    for _ in range(2):
        async with bench() as cks:
            await cks.http.post("/api/v1/namespaces", json=namespace("orch"))
            seen.append((await cks.ask("POST", PODS, 201, json=pod()))["metadata"]["uid"])
    assert seen[0] == seen[1]
