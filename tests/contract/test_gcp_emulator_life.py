"""Google Cloud's emulator: machines over time, their operations, and what they cost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from providers.gcp.emulator_options import Options
from tests.contract.gcp_bench import (
    RUN_S,
    SPOT_USD,
    UP_S,
    USD,
    ZONE,
    bench,
    boot_disk,
    spot,
    standard,
    type_of,
)

AT = f"/zones/{ZONE}/instances"
VM = f"{AT}/orch-l1-a1"
DISK_USD = Decimal("0.1") * 100 / 730
ADDRESS_USD, SPOT_ADDRESS_USD = Decimal("0.005"), Decimal("0.0025")
PREEMPTED = 'operationType="compute.instances.preempted"'


async def test_a_machine_passes_through_its_states_and_gets_an_address() -> None:
    async with bench() as served:
        made = await served.insert()
        assert (made["status"], made["progress"]) == ("PENDING", 0)
        seen = []
        for _ in range(UP_S):
            found = await served.get(VM)
            seen.append((found["status"], "natIP" in found["networkInterfaces"][0]["accessConfigs"][0]))
            served.env.advance(1)
        assert list(dict.fromkeys(seen)) == [("PROVISIONING", False), ("STAGING", True), ("RUNNING", True)]
        assert served.machines.running == {}
        await served.get(VM)
        assert len(served.machines.running) == 1


async def test_an_operation_is_pending_running_and_done() -> None:
    async with bench() as served:
        made = await served.insert()
        path = f"/zones/{ZONE}/operations/{made['name']}"
        served.env.advance(1)
        running = await served.get(path)
        assert (running["status"], "startTime" in running, "endTime" in running) == ("RUNNING", True, False)
        served.env.advance(RUN_S)
        done = await served.get(path)
        assert (done["status"], done["progress"]) == ("DONE", 100)
        assert done["targetId"] == (await served.get(VM))["id"]
        assert (await served.get(f"/zones/{ZONE}/operations/{made['id']}"))["name"] == made["name"]
        assert (await served.refused("GET", f"/zones/us-east4-a/operations/{made['name']}"))[0] == 404


async def test_waiting_blocks_until_the_operation_is_done_or_two_minutes_have_passed() -> None:
    async with bench(Options(stage_s=300.0)) as served:
        made = await served.insert()
        start = served.env.now()
        assert (await served.wait(made))["status"] == "RUNNING"
        assert (served.env.now() - start).total_seconds() == 120
        await served.wait(made)
        assert (await served.wait(made))["status"] == "DONE"
        assert (served.env.now() - start).total_seconds() == 306


async def test_waiting_may_return_at_once() -> None:
    async with bench(Options(wait_s=0.0)) as served:
        assert (await served.wait(await served.insert()))["status"] == "PENDING"


async def test_times_can_be_scaled() -> None:
    async with bench(boot_scale=0.1) as served:
        await served.insert()
        served.env.advance(UP_S / 10)
        assert (await served.get(VM))["status"] == "RUNNING"
        assert len(served.machines.running) == 1


async def test_a_new_machine_may_be_visible_late() -> None:
    async with bench(Options(visible_s=3.0)) as served:
        made = await served.insert()
        assert (await served.refused("GET", VM))[0] == 404
        assert await served.names() == []
        listed = await served.get(f"/zones/{ZONE}/operations", filter=f'targetLink="{made["targetLink"]}"')
        assert [row["name"] for row in listed["items"]] == [made["name"]]
        served.env.advance(3)
        assert await served.names() == ["orch-l1-a1"]


# -- money --------------------------------------------------------------------------------------------------------


async def test_a_machine_bills_by_the_second_from_running_until_it_is_gone() -> None:
    async with bench() as served:
        vm = (await served.running(scheduling=standard()))["id"]
        served.env.advance(3600 - (UP_S - RUN_S))
        assert served.usd(vm, "compute") == USD
        assert served.usd(vm, "address") == ADDRESS_USD
        await served.wait(await served.call("DELETE", VM))
        served.env.advance(86400)
        assert served.usd(vm, "compute") == USD * 3630 / 3600
        assert served.usd(vm, "disk") == DISK_USD * 3640 / 3600
        assert served.world.ledger.billing() == []


async def test_a_minute_is_the_least_that_compute_costs() -> None:
    async with bench(Options(delete_s=1.0)) as served:
        vm = (await served.insert())["targetId"]
        served.env.advance(RUN_S + 1)
        await served.wait(await served.call("DELETE", VM))
        assert served.usd(vm, "compute") == SPOT_USD / 60


async def test_spot_has_spots_prices() -> None:
    async with bench() as served:
        vm = (await served.running())["id"]
        served.env.advance(3600 - (UP_S - RUN_S))
        assert served.usd(vm, "compute") == SPOT_USD
        assert served.usd(vm, "address") == SPOT_ADDRESS_USD


async def test_booting_costs_nothing_but_the_disk() -> None:
    async with bench(Options(stage_s=600.0)) as served:
        vm = (await served.insert())["targetId"]
        served.env.advance(300)
        assert served.usd(vm, "compute") == 0
        assert served.usd(vm, "disk") > 0


async def test_a_stopped_machine_bills_its_disk_alone_and_gets_another_address_when_it_starts() -> None:
    async with bench() as served:
        before = await served.running(scheduling=standard())
        await served.wait(await served.call("POST", f"{VM}/stop"))
        stopped = await served.get(VM)
        assert stopped["status"] == "TERMINATED"
        assert "natIP" not in stopped["networkInterfaces"][0]["accessConfigs"][0]
        assert served.machines.running == {}
        first = served.usd(before["id"], "compute")
        served.env.advance(7200)
        assert served.usd(before["id"], "compute") == first
        assert [record.billing for record in served.emulator.records()] == [True]
        await served.wait(await served.call("POST", f"{VM}/start"))
        after = await served.get(VM)
        assert after["status"] == "RUNNING"
        addresses = {one["networkInterfaces"][0]["accessConfigs"][0]["natIP"] for one in (before, after)}
        assert len(addresses) == 2
        served.env.advance(3600)
        assert served.usd(before["id"], "compute") == first + USD


async def test_a_stopped_machine_holds_no_gpu_and_may_not_start_again() -> None:
    async with bench() as served:
        await served.running(scheduling=standard())
        await served.wait(await served.call("POST", f"{VM}/stop"))
        quotas = {row["metric"]: row["usage"] for row in (await served.get("/regions/us-central1"))["quotas"]}
        assert quotas["NVIDIA_L4_GPUS"] == 0
        for number in range(8):
            await served.insert(name=f"x{number}", scheduling=standard())
        done = await served.wait(await served.call("POST", f"{VM}/start"))
        assert done["error"]["errors"][0]["code"].startswith("ZONE_RESOURCE_POOL_EXHAUSTED")
        assert (await served.get(VM))["status"] == "TERMINATED"


async def test_a_disk_that_is_kept_bills_until_it_is_deleted_itself() -> None:
    async with bench() as served:
        vm = (await served.running(disks=[{**boot_disk(), "autoDelete": False}]))["id"]
        disk = f"/zones/{ZONE}/disks/orch-l1-a1"
        status, reason, _ = await served.refused("DELETE", disk)
        assert (status, reason) == (400, "resourceInUseByAnotherResource")
        await served.wait(await served.call("DELETE", VM))
        found = await served.get(disk)
        assert "users" not in found
        assert served.world.ledger.billing() == [vm]
        assert [(one.alive, one.billing) for one in served.emulator.records()] == [(False, True)]
        await served.call("DELETE", disk)
        assert served.world.ledger.billing() == []
        assert (await served.refused("DELETE", disk))[:2] == (404, "notFound")


async def test_attached_gpus_and_local_ssds_are_billed() -> None:
    async with bench() as served:
        gpu = {"acceleratorType": f"zones/{ZONE}/acceleratorTypes/nvidia-tesla-t4", "acceleratorCount": 2}
        kind = type_of("n1-standard-8")
        t4 = (await served.running(name="a", machineType=kind, guestAccelerators=[gpu], scheduling=standard()))["id"]
        ssd = (await served.running(name="b", machineType=type_of("a2-ultragpu-1g"), scheduling=standard()))["id"]
        lines = {
            line.instance: Decimal(line.rates[0][1]) for line in served.world.ledger.lines if line.what == "compute"
        }
        assert lines[t4] == 8 * Decimal("0.031611") + 30 * Decimal("0.004237") + 2 * Decimal("0.35")
        assert lines[ssd].quantize(Decimal("0.001")) == Decimal("5.069")


# -- the end ------------------------------------------------------------------------------------------------------


async def test_a_deleted_machine_stops_and_is_gone_with_its_disk() -> None:
    async with bench() as served:
        vm = (await served.running())["id"]
        made = await served.call("DELETE", VM)
        assert made["operationType"] == "delete"
        assert (await served.get(VM))["status"] == "STOPPING"
        assert served.machines.running == {}
        assert (await served.wait(made))["status"] == "DONE"
        assert (await served.refused("GET", VM))[0] == 404
        assert (await served.refused("DELETE", VM))[0] == 404
        assert (await served.refused("GET", f"/zones/{ZONE}/disks/orch-l1-a1"))[0] == 404
        assert served.world.ledger.billing() == []
        assert [(one.id, one.alive) for one in served.emulator.records()] == [(vm, False)]


async def test_deleting_again_gets_the_same_operation_or_404() -> None:
    async with bench() as served:
        await served.running()
        first = await served.call("DELETE", VM)
        assert (await served.call("DELETE", VM))["name"] == first["name"]
        served.emulator.options.second_delete = 404
        assert (await served.refused("DELETE", VM))[0] == 404


async def test_a_machine_can_be_deleted_while_it_boots_and_its_insert_fails_then() -> None:
    async with bench() as served:
        made = await served.insert()
        served.env.advance(7)
        await served.wait(await served.call("DELETE", VM))
        insert = await served.get(f"/zones/{ZONE}/operations/{made['name']}")
        assert insert["error"]["errors"][0]["code"] == "RESOURCE_NOT_FOUND"
        served.env.advance(600)
        assert served.emulator.fleet.living() == []
        assert served.world.ledger.billing() == []


async def test_deleting_early_can_be_told_to_be_refused() -> None:
    async with bench(Options(delete_early="refuse")) as served:
        made = await served.insert()
        assert (await served.refused("DELETE", VM))[:2] == (400, "resourceNotReady")
        await served.wait(made)
        await served.call("DELETE", VM)


async def test_a_protected_machine_is_not_deleted() -> None:
    async with bench() as served:
        await served.running(deletionProtection=True)
        assert (await served.refused("DELETE", VM))[0] == 400


async def test_the_dead_mans_switch_deletes_the_machine() -> None:
    async with bench() as served:
        scheduling = standard(maxRunDuration={"seconds": "3600"}, instanceTerminationAction="DELETE")
        found = await served.running(scheduling=scheduling)
        assert found["scheduling"]["terminationTime"] == "2026-11-22T05:00:16.000-08:00"
        served.env.advance(3600 - (UP_S - RUN_S) - 1)
        assert (await served.get(VM))["status"] == "RUNNING"
        served.env.advance(1)
        assert (await served.refused("GET", VM))[0] == 404
        assert served.usd(found["id"], "compute") == USD
        assert served.world.ledger.billing() == []


async def test_without_the_action_the_switch_only_stops_it_and_the_disk_bills_on() -> None:
    async with bench() as served:
        await served.running(scheduling=standard(maxRunDuration={"seconds": "60"}))
        served.env.advance(60)
        assert (await served.get(VM))["status"] == "TERMINATED"
        assert len(served.world.ledger.billing()) == 1


async def test_preempted_spot_is_gone_with_delete_and_the_operation_proves_it() -> None:
    async with bench() as served:
        vm = await served.running()
        served.emulator.lose(vm["id"])
        assert (await served.refused("GET", VM))[0] == 404
        assert served.world.ledger.billing() == []
        [proof] = (await served.get(f"/zones/{ZONE}/operations", filter=PREEMPTED))["items"]
        assert (proof["targetLink"], proof["targetId"]) == (vm["selfLink"], vm["id"])
        both = f'({PREEMPTED}) AND (targetLink="{vm["selfLink"]}")'
        assert len((await served.get(f"/zones/{ZONE}/operations", filter=both))["items"]) == 1


async def test_preempted_spot_is_stopped_by_default_and_bills_its_disk() -> None:
    async with bench() as served:
        vm = await served.running(scheduling=spot(instanceTerminationAction=None))
        assert vm["scheduling"]["instanceTerminationAction"] == "STOP"
        served.emulator.lose("orch-l1-a1")
        assert (await served.get(VM))["status"] == "TERMINATED"
        assert served.world.ledger.billing() == [vm["id"]]
        await served.wait(await served.call("DELETE", VM))
        assert served.world.ledger.billing() == []


async def test_a_preemption_gives_thirty_seconds() -> None:
    async with bench() as served:
        await served.running()
        served.world.faults.add("host_lost")
        assert (await served.get(VM))["status"] == "STOPPING"
        served.env.advance(29)
        assert (await served.get(VM))["status"] == "STOPPING"
        served.env.advance(1)
        assert (await served.refused("GET", VM))[0] == 404


async def test_a_lost_host_terminates_an_on_demand_machine_or_restarts_it_as_it_was_told() -> None:
    async with bench() as served:
        await served.running(scheduling=standard())
        served.emulator.lose("orch-l1-a1")
        assert (await served.get(VM))["status"] == "TERMINATED"
        again = await served.running(name="again", scheduling=standard(automaticRestart=True))
        served.emulator.lose(again["id"])
        assert (await served.get(f"{AT}/again"))["status"] == "REPAIRING"
        assert not served.machines.running
        served.env.advance(UP_S)
        assert (await served.get(f"{AT}/again"))["status"] == "RUNNING"
        assert len(served.machines.running) == 1
        lines = [line for line in served.world.ledger.of("gcp", again["id"]) if line.closed_at is None]
        assert sorted(line.what for line in lines) == ["address", "compute", "disk again"]


# -- small things -------------------------------------------------------------------------------------------------


async def test_labels_are_set_with_the_fingerprint_of_those_that_are_there() -> None:
    async with bench() as served:
        found = await served.running()
        body: dict[str, Any] = {"labels": {"a": "b"}, "labelFingerprint": found["labelFingerprint"]}
        await served.call("POST", f"{VM}/setLabels", body)
        assert (await served.get(VM))["labels"] == {"a": "b"}
        assert (await served.refused("POST", f"{VM}/setLabels", body))[:2] == (412, "conditionNotMet")


async def test_the_console_shows_the_boot_and_can_be_read_on() -> None:
    async with bench() as served:
        await served.insert()
        assert (await served.get(f"{VM}/serialPort"))["contents"] == ""
        served.env.advance(UP_S)
        first = await served.get(f"{VM}/serialPort", port="1", start="0")
        assert "login:" in first["contents"]
        rest = await served.get(f"{VM}/serialPort", start=first["next"])
        assert (rest["contents"], rest["start"]) == ("", first["next"])


async def test_old_operations_are_forgotten() -> None:
    async with bench() as served:
        made = await served.wait(await served.insert())
        served.env.advance(14 * 86400)
        assert (await served.refused("GET", f"/zones/{ZONE}/operations/{made['name']}"))[0] == 404
        assert "items" not in await served.get(f"/zones/{ZONE}/operations")


async def test_a_share_of_a_gpu_is_what_the_machine_shows() -> None:
    async with bench() as served:
        zone = "us-central1-b"
        kind = type_of("g4-standard-6", zone)
        await served.running(zone, machineType=kind, disks=[boot_disk(zone, "hyperdisk-balanced")])
        [machine] = served.machines.running.values()
        assert machine["memory_mib"] < 97887 / 4


async def test_two_worlds_with_one_seed_give_the_same_machines() -> None:
    async with bench(seed=5) as first, bench(seed=5) as second:
        assert await first.running() == await second.running()


async def test_a_machine_of_several_gpus_has_them_all() -> None:
    async with bench() as served:
        await served.running(machineType=type_of("g2-standard-24"))
        [machine] = served.machines.running.values()
        assert (machine["gpu"], machine["count"]) == ("NVIDIA L4", 2)
