"""Google Cloud's emulator: what an insert may hold, what is refused at once, and what only inside the operation."""

from __future__ import annotations

from typing import Any

import pytest

from providers.gcp.emulator_options import Options
from tests.contract.gcp_bench import (
    FAMILY,
    KEY,
    L4,
    ZONE,
    Bench,
    bench,
    boot_disk,
    order,
    spot,
    standard,
    type_of,
)

AT = f"/zones/{ZONE}/instances"
ID = "6f2e3b9a-9b5e-4c8e-9d7f-0c1b2a3d4e5f"
T4 = {"acceleratorType": f"zones/{ZONE}/acceleratorTypes/nvidia-tesla-t4", "acceleratorCount": 1}
N1 = {"machineType": type_of("n1-standard-8"), "guestAccelerators": [T4]}


async def refused(served: Bench, zone: str = ZONE, **changes: Any) -> tuple[int, str, str]:
    found = await served.refused("POST", f"/zones/{zone}/instances", order(zone, **changes))
    assert served.emulator.records() == []
    assert served.world.ledger.billing() == []
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Orch"},
        {"name": "1orch"},
        {"name": "orch-"},
        {"name": "a" * 64},
        {"name": None},
        {"machineType": "g2-standard-4"},
        {"machineType": "zones/us-central1-b/machineTypes/g2-standard-4"},
        {"labels": {"Orch": "x"}},
        {"labels": {"9": "x"}},
        {"labels": {"orch": "X"}},
        {"labels": {"orch": "x" * 64}},
        {"labels": {"orch:owner": "x"}},
        {"labels": {f"k{number}": "x" for number in range(65)}},
        {"tags": {"items": ["Not-A-Tag"]}},
        {"metadata": {"items": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]}},
        {"metadata": {"items": [{"key": "a", "value": "x" * 262145}]}},
        {"metadata": {"items": [{"key": "a b", "value": "x"}]}},
        {"disks": []},
        {"disks": [boot_disk(diskSizeGb="5")]},
        {"disks": [boot_disk(diskSizeGb="many")]},
        {"disks": [boot_disk(diskType="zones/us-central1-b/diskTypes/pd-balanced")]},
        {"disks": [boot_disk(sourceImage="ubuntu-2204")]},
        {"disks": [{**boot_disk(), "boot": False}]},
        {"networkInterfaces": []},
        # A GPU's machine cannot be moved while it runs, and spot cannot be restarted.
        {"scheduling": standard(onHostMaintenance="MIGRATE")},
        {"scheduling": {"provisioningModel": "STANDARD"}},
        {"scheduling": spot(automaticRestart=True)},
        {"scheduling": spot(provisioningModel="RESERVATION_BOUND")},
        {"scheduling": standard(instanceTerminationAction="DELETE")},
        {"scheduling": spot(maxRunDuration={"seconds": "29"})},
        {"scheduling": spot(maxRunDuration={"seconds": "10368001"})},
        {"scheduling": spot(provisioningModel="FLEX_START")},
        # The GPU is of the machine type.
        {"guestAccelerators": [{**T4, "acceleratorType": f"zones/{ZONE}/acceleratorTypes/nvidia-l4"}]},
        {"guestAccelerators": [T4]},
        {**N1, "guestAccelerators": [{**T4, "acceleratorCount": 3}]},
        {**N1, "machineType": type_of("n1-standard-96")},
        {**N1, "machineType": type_of("e2-standard-4")},
    ],
)
async def test_what_breaks_a_rule_is_invalid_and_makes_nothing(changes: dict[str, Any]) -> None:
    async with bench() as served:
        assert (await refused(served, **changes))[:2] == (400, "invalid")


@pytest.mark.parametrize(
    "changes",
    [
        {"machineType": type_of("g2-standard-5")},
        {"disks": [boot_disk(sourceImage=f"{FAMILY}0")]},
        {"disks": [boot_disk(diskType=f"zones/{ZONE}/diskTypes/floppy")]},
        {"networkInterfaces": [{"network": "global/networks/mine"}]},
        {**N1, "guestAccelerators": [{**T4, "acceleratorType": f"zones/{ZONE}/acceleratorTypes/nvidia-l40s"}]},
    ],
)
async def test_what_there_is_not_is_not_found(changes: dict[str, Any]) -> None:
    async with bench() as served:
        assert (await refused(served, **changes))[:2] == (404, "notFound")


async def test_a_machine_type_that_a_zone_lacks_is_not_found_or_invalid_by_option() -> None:
    async with bench() as served:
        zone = "us-central1-f"
        assert (await refused(served, zone))[:2] == (404, "notFound")
        served.emulator.options.missing_type = "invalid"
        status, reason, text = await refused(served, zone)
        assert (status, reason) == (400, "invalid")
        assert "does not exist in zone" in text


@pytest.mark.parametrize("name", ["a3-highgpu-1g", "a3-highgpu-2g", "a3-highgpu-4g"])
async def test_some_machine_types_are_not_sold_on_demand(name: str) -> None:
    async with bench() as served:
        kind = type_of(name)
        status, reason, text = await refused(served, machineType=kind, scheduling=standard())
        assert (status, reason) == (400, "invalid")
        assert "STANDARD" in text
        assert "error" not in await served.wait(await served.insert(machineType=kind))


async def test_b200_and_h200_are_sold_as_spot_only() -> None:
    async with bench() as served:
        for zone, name in (("us-central1-b", "a4-highgpu-8g"), ("us-west1-c", "a3-ultragpu-8g")):
            changes = {"machineType": type_of(name, zone), "disks": [boot_disk(zone, "hyperdisk-balanced")]}
            assert (
                await served.refused("POST", f"/zones/{zone}/instances", order(zone, scheduling=standard(), **changes))
            )[0] == 400
            assert "error" not in await served.wait(await served.insert(zone, **changes))


@pytest.mark.parametrize("name", ["g4-standard-48", "a4-highgpu-8g"])
async def test_the_newest_families_take_hyperdisk_alone_and_older_ones_do_not(name: str) -> None:
    async with bench() as served:
        zone = "us-central1-b"
        text = (await refused(served, zone, machineType=type_of(name, zone)))[2]
        assert text == f"pd-balanced disk type cannot be used by {name} machine type."
        await refused(served, disks=[boot_disk(kind="hyperdisk-balanced")])
        await served.insert(zone, machineType=type_of(name, zone), disks=[boot_disk(zone, "hyperdisk-balanced")])


async def test_gpus_are_attached_to_n1_machines() -> None:
    async with bench() as served:
        found = await served.running(**N1)
        assert found["guestAccelerators"][0]["acceleratorType"].endswith("nvidia-tesla-t4")
        [machine] = served.machines.running.values()
        assert (machine["gpu"], machine["count"], machine["memory_mib"]) == ("Tesla T4", 1, 15360)


async def test_the_same_gpu_beside_the_machine_types_own_can_be_told_to_be_accepted() -> None:
    gpu = {"acceleratorType": f"zones/{ZONE}/acceleratorTypes/nvidia-l4", "acceleratorCount": 1}
    async with bench(Options(bundled_gpus="accept")) as served:
        found = await served.running(guestAccelerators=[gpu])
        assert found["guestAccelerators"][0]["acceleratorCount"] == 1


async def test_full_links_are_as_good_as_partial_ones() -> None:
    async with bench() as served:
        root = "https://www.googleapis.com/compute/v1/projects/orch-sandbox"
        await served.insert(
            machineType=f"{root}/zones/{ZONE}/machineTypes/{L4}",
            networkInterfaces=[{"network": f"{root}/global/networks/default"}],
            disks=[boot_disk(sourceImage=f"https://compute.googleapis.com/compute/v1/{FAMILY}")],
        )


# -- names and request ids ----------------------------------------------------------------------------------------


async def test_a_taken_name_is_refused_with_409_and_another_zone_has_other_names() -> None:
    async with bench() as served:
        await served.insert()
        assert (await served.refused("POST", AT, order()))[:2] == (409, "alreadyExists")
        await served.insert("us-central1-b")
        assert len(served.emulator.records()) == 2


async def test_a_disk_that_was_left_behind_takes_the_name_too() -> None:
    async with bench() as served:
        kept = {**boot_disk(), "autoDelete": False}
        await served.running(disks=[kept])
        await served.wait(await served.call("DELETE", f"{AT}/orch-l1-a1"))
        status, reason, text = await served.refused("POST", AT, order())
        assert (status, reason) == (409, "alreadyExists")
        assert "/disks/orch-l1-a1" in text


async def test_a_request_id_is_served_once() -> None:
    async with bench() as served:
        first = await served.call("POST", AT, order(), requestId=ID)
        again = await served.call("POST", AT, order(), requestId=ID)
        assert first["name"] == again["name"]
        assert first["clientOperationId"] == ID
        assert len(served.emulator.records()) == 1
        assert (await served.refused("POST", AT, order(), requestId=ID.replace("6", "7")))[0] == 409


async def test_a_request_id_leads_to_the_first_operation_also_if_that_failed() -> None:
    async with bench() as served:
        served.world.faults.add("sold_out")
        first = await served.wait(await served.call("POST", AT, order(), requestId=ID))
        again = await served.call("POST", AT, order(), requestId=ID)
        assert again == first
        assert again["error"]["errors"][0]["code"].startswith("ZONE_RESOURCE_POOL_EXHAUSTED")
        assert served.emulator.fleet.living() == []


async def test_a_request_id_is_forgotten_some_day() -> None:
    async with bench(Options(request_id_kept_s=60)) as served:
        await served.wait(await served.call("POST", AT, order(), requestId=ID))
        served.env.advance(60)
        assert (await served.refused("POST", AT, order(), requestId=ID))[0] == 409


@pytest.mark.parametrize("wrong", ["", "x", "00000000-0000-0000-0000-000000000000", ID.replace("-", "")])
async def test_a_request_id_must_be_a_uuid_and_not_zero(wrong: str) -> None:
    async with bench() as served:
        assert (await served.refused("POST", AT, order(), requestId=wrong))[:2] == (400, "invalid")
        assert served.emulator.records() == []


# -- capacity and quotas ------------------------------------------------------------------------------------------


async def test_no_capacity_arrives_inside_the_operation_and_names_other_zones() -> None:
    async with bench() as served:
        for number in range(6):
            await served.insert(name=f"x{number}")
        made = await served.insert()
        assert made["status"] == "PENDING"
        assert (await served.get(f"{AT}/orch-l1-a1"))["status"] == "PROVISIONING"
        done = await served.wait(made)
        [error] = done["error"]["errors"]
        assert (done["status"], done["httpErrorStatusCode"]) == ("DONE", 503)
        assert error["code"] == "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"
        assert "does not have enough resources available" in error["message"]
        [info] = [one["errorInfo"] for one in error["errorDetails"] if "errorInfo" in one]
        assert info["metadatas"]["zonesAvailable"] == "us-central1-b,us-central1-c"
        assert (await served.refused("GET", f"{AT}/orch-l1-a1"))[0] == 404
        assert "orch-l1-a1" not in {row["name"] for row in (await served.get(f"/zones/{ZONE}/disks"))["items"]}
        # On-demand machines are another stock.
        assert "error" not in await served.wait(await served.insert(scheduling=standard()))


async def test_capacity_comes_back_when_a_machine_ends() -> None:
    async with bench() as served:
        for number in range(6):
            await served.insert(name=f"x{number}")
        await served.wait(await served.call("DELETE", f"{AT}/x0"))
        assert "error" not in await served.wait(await served.insert())


async def test_a_regions_quota_stops_an_insert_inside_the_operation() -> None:
    async with bench() as served:
        served.emulator.market.quotas["region"]["PREEMPTIBLE_NVIDIA_L4_GPUS"] = 1
        await served.running(name="first")
        done = await served.failed("us-central1-b")
        [error] = done["error"]["errors"]
        assert (error["code"], done["httpErrorStatusCode"]) == ("QUOTA_EXCEEDED", 403)
        assert error["message"] == "Quota 'PREEMPTIBLE_NVIDIA_L4_GPUS' exceeded.  Limit: 1.0 in region us-central1."
        [quota] = [one["quotaInfo"] for one in error["errorDetails"]]
        assert (quota["limit"], quota["dimensions"]) == (1, {"region": "us-central1"})
        assert "error" not in await served.wait(await served.insert("us-east4-a"))


async def test_the_quota_of_all_regions_stops_it_at_once() -> None:
    async with bench() as served:
        served.emulator.market.quotas["global"]["GPUS_ALL_REGIONS"] = 0
        text = (await refused(served))[2]
        assert text == "Quota 'GPUS_ALL_REGIONS' exceeded.  Limit: 0.0 globally."
        await served.insert(machineType=type_of("e2-medium"), scheduling=spot())


async def test_newer_gpus_have_a_quota_that_no_list_shows() -> None:
    async with bench() as served:
        served.emulator.market.quotas["family"]["NVIDIA_RTX_PRO_6000"] = 0
        zone = "us-central1-b"
        disks = [boot_disk(zone, "hyperdisk-balanced")]
        done = await served.failed(zone, machineType=type_of("g4-standard-48", zone), disks=disks)
        [error] = done["error"]["errors"]
        assert error["errorDetails"][0]["quotaInfo"]["dimensions"]["gpu_family"] == "NVIDIA_RTX_PRO_6000"


async def test_regional_quotas_can_be_told_to_be_refused_at_once() -> None:
    async with bench(Options(quota_at_once=True)) as served:
        served.emulator.market.quotas["region"]["PREEMPTIBLE_NVIDIA_L4_GPUS"] = 0
        assert (await refused(served))[:2] == (403, "quotaExceeded")


async def test_a_flexible_start_waits_for_capacity_as_pending() -> None:
    flex = {
        "provisioningModel": "FLEX_START",
        "instanceTerminationAction": "DELETE",
        "onHostMaintenance": "TERMINATE",
        "maxRunDuration": {"seconds": "3600"},
    }
    async with bench() as served:
        done = await served.wait(await served.insert(scheduling=flex))
        assert "error" not in done
        assert (await served.get(f"{AT}/orch-l1-a1"))["status"] == "PENDING"
        served.env.advance(120)
        assert (await served.get(f"{AT}/orch-l1-a1"))["status"] == "RUNNING"
        served.env.advance(3600)
        assert (await served.refused("GET", f"{AT}/orch-l1-a1"))[0] == 404


# -- who can log in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "user"),
    [
        ({"ssh-keys": f"ubuntu:{KEY}"}, "ubuntu"),
        ({"ssh-keys": f"orch:{KEY}\nother:{KEY}"}, "orch"),
        ({"ssh-keys": KEY}, None),
        ({"ssh-keys": "ubuntu:"}, None),
        ({"ssh-keys": f"ubuntu:{KEY}", "enable-oslogin": "TRUE"}, None),
        ({}, None),
    ],
)
async def test_the_user_and_the_key_come_from_the_metadata(metadata: dict[str, str], user: str | None) -> None:
    async with bench() as served:
        items = [{"key": key, "value": value} for key, value in metadata.items()]
        found = await served.running(metadata={"items": items})
        assert found["status"] == "RUNNING"
        machines = list(served.machines.running.values())
        assert [machine["user"] for machine in machines] == ([user] if user else [])
        for machine in machines:
            assert machine["authorized_keys"] == [KEY]
            assert machine["host"] == found["networkInterfaces"][0]["accessConfigs"][0]["natIP"]


async def test_without_an_access_configuration_there_is_no_address_and_no_ssh() -> None:
    async with bench() as served:
        found = await served.running(networkInterfaces=[{"network": "global/networks/default"}])
        assert "accessConfigs" not in found["networkInterfaces"][0]
        assert served.machines.running == {}


async def test_ssh_needs_a_firewall_rule_that_lets_it_in() -> None:
    rule = {
        "name": "orch-ssh",
        "network": "global/networks/default",
        "direction": "INGRESS",
        "sourceRanges": ["0.0.0.0/0"],
        "targetTags": ["orch"],
        "allowed": [{"IPProtocol": "tcp", "ports": ["20-30"]}],
    }
    async with bench(Options(default_ssh=False)) as served:
        await served.running()
        assert served.machines.running == {}
        await served.call(
            "POST", "/global/firewalls", {**rule, "name": "web", "allowed": [{"IPProtocol": "tcp", "ports": ["80"]}]}
        )
        await served.call("POST", "/global/firewalls", {**rule, "name": "others", "targetTags": ["other"]})
        assert served.machines.running == {}
        made = await served.call("POST", "/global/firewalls", rule)
        assert made["targetLink"].endswith("/global/firewalls/orch-ssh")
        assert len(served.machines.running) == 1
        assert (await served.refused("POST", "/global/firewalls", rule))[:2] == (409, "alreadyExists")
        await served.call("PATCH", "/global/firewalls/orch-ssh", {"name": "orch-ssh", "disabled": True})
        assert served.machines.running == {}
        await served.call("PATCH", "/global/firewalls/orch-ssh", {"name": "orch-ssh", "disabled": False})
        await served.call("DELETE", "/global/firewalls/orch-ssh")
        assert served.machines.running == {}
        assert (await served.refused("DELETE", "/global/firewalls/orch-ssh"))[:2] == (404, "notFound")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Bad"},
        {"allowed": None},
        {"allowed": [{"IPProtocol": "smoke"}]},
        {"allowed": [{"IPProtocol": "tcp", "ports": ["ssh"]}]},
        {"sourceRanges": ["everywhere"]},
        {"targetTags": ["Bad Tag"]},
        {"priority": 70000},
    ],
)
async def test_a_firewall_rule_that_breaks_a_rule_is_refused(changes: dict[str, Any]) -> None:
    async with bench() as served:
        rule = {"name": "a", "allowed": [{"IPProtocol": "tcp", "ports": ["22"]}], **changes}
        assert (await served.refused("POST", "/global/firewalls", rule))[0] == 400
        assert [row["name"] for row in (await served.get("/global/firewalls"))["items"]] == ["default-allow-ssh"]


async def test_a_body_that_is_no_json_object_is_a_parse_error() -> None:
    async with bench() as served:
        for content in (b"{", b"[]"):
            url = f"/compute/v1/projects/orch-sandbox{AT}"
            answer = await served.http.post(url, content=content, headers={"content-type": "application/json"})
            assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "parseError")
