"""The emulated Azure over time: boot, bill, stop, evict, end; and the network and groups around a machine."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from providers.azure.emulator import AzureEmulator
from providers.azure.emulator_options import Options
from providers.env import ManualEnv
from providers.sandbox.world import NoMachines, World
from tests.contract.azure_bench import GROUP, KEY, T4_SPOT_USD, T4_USD, Bench, bench, code, statuses

ADDRESS_USD, DISK_USD = Decimal("0.005"), Decimal("9.60") / 730

# -- boot and bill ----------------------------------------------------------------------------------------


async def test_a_machine_boots_through_azures_states_and_bills_from_starting() -> None:
    async with bench() as b:
        made = await b.launch()
        assert made["properties"]["provisioningState"] == "Creating"
        assert statuses(await b.get()) == ["ProvisioningState/creating"]
        assert b.usd(made["id"], "compute") == 0
        b.pass_time(16)
        assert statuses(await b.get()) == ["ProvisioningState/creating", "PowerState/starting"]
        b.pass_time(25)
        assert statuses(await b.get()) == ["ProvisioningState/creating/OSProvisioningInProgress", "PowerState/running"]
        assert b.machines.running == {}
        b.pass_time(15)
        [machine] = b.machines.running.values()
        assert (machine["user"], machine["authorized_keys"], machine["port"]) == ("orch", [KEY], 22)
        assert (machine["gpu"], machine["memory_mib"], machine["count"]) == ("Tesla T4", 15360, 1)
        b.pass_time(20)
        assert statuses(await b.get()) == ["ProvisioningState/succeeded", "PowerState/running"]
        b.pass_time(3615 - 76)
        assert b.usd(made["id"], "compute") == T4_USD
        both = (ADDRESS_USD + DISK_USD) * 3615 / 3600
        assert abs(b.usd(made["id"]) - T4_USD - both) < Decimal("0.0001")


async def test_the_machines_address_is_found_by_way_of_its_interface() -> None:
    async with bench() as b:
        vm = await b.running()
        [row] = vm["properties"]["networkProfile"]["networkInterfaces"]
        nic = (await b.call("GET", row["id"])).json()
        assert nic["properties"]["virtualMachine"]["id"] == vm["id"]
        inside = nic["properties"]["ipConfigurations"][0]["properties"]
        address = (await b.call("GET", inside["publicIPAddress"]["id"])).json()
        [machine] = b.machines.running.values()
        assert address["properties"]["ipAddress"] == machine["host"]
        assert inside["privateIPAddress"].startswith("10.0.")


async def test_a_delete_takes_all_that_was_made_along_and_ends_the_bill() -> None:
    async with bench() as b:
        vm = await b.running()
        gone = await b.call("DELETE", vm["id"])
        assert (gone.status_code, gone.content) == (202, b"")
        assert gone.headers["location"] == gone.headers["azure-asyncoperation"] + "&monitor=true"
        assert b.machines.running == {}
        assert (await b.get())["properties"]["provisioningState"] == "Deleting"
        location = gone.headers["location"].removeprefix(b.url)
        params = dict(part.split("=") for part in location.partition("?")[2].split("&"))
        assert (await b.call("GET", location.partition("?")[0], params=params)).status_code == 202
        b.pass_time(36)
        assert (await b.call("GET", location.partition("?")[0], params=params)).status_code == 204
        assert code(await b.call("GET", vm["id"])) == (404, "ResourceNotFound")
        assert b.world.ledger.billing() == []
        assert b.emulator.leftovers() == []
        assert (await b.call("DELETE", vm["id"])).status_code == 204
        left = (await b.call("GET", f"{b.group}/resources")).json()["value"]
        assert {row["type"].rpartition("/")[2] for row in left} == {"networkSecurityGroups", "virtualNetworks"}


async def test_what_is_not_marked_delete_stays_and_bills_under_its_own_name() -> None:
    async with bench() as b:
        order = b.order(await b.prepare())
        configuration = order["properties"]["networkProfile"]["networkInterfaceConfigurations"][0]
        del configuration["properties"]["deleteOption"]
        del order["properties"]["storageProfile"]["osDisk"]["deleteOption"]
        vm = await b.launch("box", order)
        assert vm["properties"]["storageProfile"]["osDisk"]["deleteOption"] == "Detach"
        await b.call("DELETE", vm["id"])
        b.pass_time(60)
        disk, address, nic = b.emulator.leftovers()
        assert set(b.world.ledger.billing()) == {disk, address}
        held = await b.call("DELETE", address)
        assert code(held) == (400, "PublicIPAddressCannotBeDeleted")
        await b.call("DELETE", nic)
        b.pass_time(10)
        for one in b.emulator.leftovers():
            assert (await b.call("DELETE", one)).status_code == 202
        b.pass_time(10)
        assert b.world.ledger.billing() == []
        assert b.emulator.leftovers() == []


async def test_a_stopped_machine_bills_and_a_deallocated_one_only_its_disk_and_address() -> None:
    async with bench() as b:
        vm = await b.running()
        assert (await b.call("POST", f"{vm['id']}/powerOff")).status_code == 202
        b.pass_time(30)
        assert statuses(await b.get())[1] == "PowerState/stopped"
        assert "compute" in {line.what for line in b.world.ledger.of("azure", vm["id"]) if line.closed_at is None}
        await b.call("POST", f"{vm['id']}/deallocate")
        assert statuses(await b.get())[1] == "PowerState/deallocating"
        b.pass_time(30)
        assert statuses(await b.get())[1] == "PowerState/deallocated"
        still = {line.what.split()[0] for line in b.world.ledger.of("azure", vm["id"]) if line.closed_at is None}
        assert still == {"disk", "address"}
        assert code(await b.call("POST", f"{vm['id']}/restart")) == (409, "OperationNotAllowed")
        await b.call("POST", f"{vm['id']}/start")
        b.pass_time(31)
        assert statuses(await b.get())[1] == "PowerState/running"
        assert len(b.machines.running) == 1


# -- spot -------------------------------------------------------------------------------------------------


async def test_an_evicted_machine_vanishes_or_is_deallocated_as_its_policy_says() -> None:
    async with bench() as b:
        subnet = await b.prepare()
        vm = await b.launch("box", b.order(subnet, spot=True))
        assert vm["properties"]["evictionPolicy"] == "Delete"
        other = b.order(subnet, spot=True, evictionPolicy="Deallocate")
        other["properties"]["storageProfile"]["osDisk"]["name"] = "other-os"
        kept = await b.launch("kept", other)
        b.pass_time(80)
        for one in (vm, kept):
            assert (await b.call("POST", f"{one['id']}/simulateEviction")).status_code == 204
        b.pass_time(31)
        assert code(await b.call("GET", vm["id"])) == (404, "ResourceNotFound")
        assert statuses(await b.get("kept"))[1] == "PowerState/deallocated"
        assert b.world.ledger.billing() == [kept["id"]]
        assert abs(b.usd(vm["id"], "compute") - T4_SPOT_USD * 95 / 3600) < Decimal("0.000001")
        used = (await b.call("GET", f"{b.home}/providers/Microsoft.Compute/locations/eastus/usages")).json()["value"]
        assert {one["name"]["value"]: one["currentValue"] for one in used}["lowPriorityCores"] == 4


async def test_only_spot_can_be_evicted() -> None:
    async with bench() as b:
        vm = await b.running()
        assert code(await b.call("POST", f"{vm['id']}/simulateEviction")) == (409, "OperationNotAllowed")


@pytest.mark.parametrize("spot", [True, False])
async def test_a_lost_machine_is_gone_or_failed_without_notice(spot: bool) -> None:
    async with bench() as b:
        vm = await b.running(spot=spot)
        b.emulator.lose("box")
        assert b.machines.running == {}
        if spot:
            assert code(await b.call("GET", vm["id"])) == (404, "ResourceNotFound")
        else:
            assert statuses(await b.get()) == [
                "ProvisioningState/failed/InternalExecutionError",
                "PowerState/deallocated",
            ]
        assert "compute" not in {line.what for line in b.world.ledger.of("azure", vm["id"]) if line.closed_at is None}


# -- the same name again ----------------------------------------------------------------------------------


async def test_the_same_put_is_the_same_machine_and_another_one_is_refused() -> None:
    async with bench() as b:
        order = b.order(await b.prepare())
        first = await b.launch("box", order)
        path = b.path("virtualMachines", "box")
        again = await b.call("PUT", path, order)
        assert (again.status_code, again.json()["properties"]["vmId"]) == (200, first["properties"]["vmId"])
        b.pass_time(80)
        assert (await b.call("PUT", path, order)).json()["properties"]["provisioningState"] == "Succeeded"
        changed = json.loads(json.dumps(order))
        changed["properties"]["hardwareProfile"]["vmSize"] = "Standard_NC8as_T4_v3"
        assert code(await b.call("PUT", path, changed)) == (409, "PropertyChangeNotAllowed")
        changed = order | {"location": "westus3"}
        assert code(await b.call("PUT", path, changed)) == (409, "InvalidResourceLocation")
        await b.call("DELETE", path)
        assert code(await b.call("PUT", path, order)) == (409, "OperationNotAllowed")
        assert len(b.emulator.records()) == 1


async def test_a_delete_overrules_a_create_and_its_operation_says_so() -> None:
    async with bench() as b:
        order = b.order(await b.prepare())
        path = b.path("virtualMachines", "box")
        made = await b.call("PUT", path, order)
        assert made.headers["retry-after"] == "10"
        operation = made.headers["azure-asyncoperation"].removeprefix(b.url).partition("?")[0]
        first = await b.call("GET", operation)
        assert (first.json()["status"], first.headers["retry-after"]) == ("InProgress", "50")
        assert first.json().keys() == {"startTime", "status", "name"}
        await b.call("DELETE", path)
        over = (await b.call("GET", operation)).json()
        assert (over["status"], over["error"]["code"]) == ("Canceled", "OperationPreempted")
        b.pass_time(100)
        assert b.world.ledger.billing() == []
        assert b.machines.running == {}


async def test_tags_are_changed_by_patch_and_found_in_the_generic_list() -> None:
    async with bench() as b:
        vm = await b.running()
        changed = await b.call("PATCH", vm["id"], {"tags": {"orch-owner": "you", "Run": "it's"}})
        assert changed.json()["tags"] == {"orch-owner": "you", "Run": "it's"}
        for text, count in (
            ("tagName eq 'orch-owner' and tagValue eq 'you'", 1),
            ("tagName eq 'run' and tagValue eq 'it''s'", 1),
            ("tagName eq 'orch-owner' and tagValue eq 'me'", 0),
            ("tagName eq 'orch-owner'", 1),
            ("resourceType eq 'microsoft.compute/disks'", 1),
            ("substringof('net', name)", 1),
        ):
            found = await b.call("GET", f"{b.home}/resources", params={"$filter": text})
            assert len(found.json()["value"]) == count, text
        mixed = "tagName eq 'a' and resourceType eq 'b'"
        refused = await b.call("GET", f"{b.home}/resources", params={"$filter": mixed})
        assert code(refused) == (400, "InvalidFilterInQueryString")
        many = await b.call("PATCH", vm["id"], {"tags": {str(number): "" for number in range(51)}})
        assert code(many) == (400, "InvalidTags")


async def test_the_generic_list_may_lag_both_ways() -> None:
    async with bench(Options(resources_lag_s=60)) as b:
        vm = await b.running()  # 80 s
        rows = (await b.call("GET", f"{b.home}/resources")).json()["value"]
        assert vm["id"] in {row["id"] for row in rows}
        await b.call("DELETE", vm["id"])
        b.pass_time(40)
        rows = (await b.call("GET", f"{b.home}/resources")).json()["value"]
        assert vm["id"] in {row["id"] for row in rows}
        b.pass_time(60)
        rows = (await b.call("GET", f"{b.home}/resources")).json()["value"]
        assert vm["id"] not in {row["id"] for row in rows}


# -- the network ------------------------------------------------------------------------------------------


async def _classic(b: Bench, **order: Any) -> dict[str, Any]:
    nic = await b.nic("box", await b.prepare())
    return b.order(nic=nic, **order)


async def test_the_classic_order_works_and_its_address_bills_alone_until_it_is_used() -> None:
    async with bench() as b:
        order = await _classic(b)
        address = b.path("publicIPAddresses", "box-ip")
        assert b.world.ledger.billing() == [address]
        vm = await b.launch("box", order)
        assert b.world.ledger.billing() == [vm["id"]]
        b.pass_time(80)
        assert len(b.machines.running) == 1
        in_use = await b.call("DELETE", b.path("networkInterfaces", "box-nic"))
        assert code(in_use) == (400, "NicInUse")
        for kind, name in (("networkSecurityGroups", "nsg-eastus"), ("virtualNetworks", "net-eastus")):
            assert code(await b.call("DELETE", b.path(kind, name)))[0] == 400
        await b.call("DELETE", vm["id"])
        b.pass_time(40)
        assert b.emulator.leftovers() == []


async def test_without_an_open_rule_nobody_comes_in() -> None:
    async with bench() as b:
        await b.running()
        rule = b.path("networkSecurityGroups", "nsg-eastus/securityRules/shut")
        properties = {
            "priority": 4000,
            "protocol": "*",
            "access": "Deny",
            "direction": "Inbound",
            "sourcePortRange": "*",
        }
        properties |= {"sourceAddressPrefix": "*", "destinationAddressPrefix": "*", "destinationPortRange": "0-1024"}
        assert len(b.machines.running) == 1
        await b.call("PUT", rule, {"properties": properties})
        assert len(b.machines.running) == 1  # the rule that allows goes first
        await b.call("PUT", rule, {"properties": properties | {"priority": 99}})
        assert code(await b.call("PUT", rule, {"properties": properties | {"priority": 100}}))[0] == 400
        await b.call("DELETE", b.path("networkSecurityGroups", "nsg-eastus/securityRules/ssh"))
        assert b.machines.running == {}


async def test_bodies_of_network_resources_are_held_to_azures_rules() -> None:
    async with bench() as b:
        subnet = await b.prepare()
        basic: dict[str, Any] = {"location": "eastus", "properties": {"publicIPAllocationMethod": "Static"}}
        address = b.path("publicIPAddresses", "a")
        assert code(await b.call("PUT", address, basic))[1] == "IPv4BasicSkuPublicIpCountLimitReached"
        moving = basic | {"sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Dynamic"}}
        assert code(await b.call("PUT", address, moving))[0] == 400
        assert code(await b.call("PUT", address, {"properties": {}})) == (400, "LocationRequired")
        assert (
            code(await b.call("PUT", address, basic | {"location": "atlantis"}))[1]
            == "LocationNotAvailableForResourceType"
        )
        nowhere = subnet.replace("default", "nowhere")
        configuration = {"name": "ip", "properties": {"subnet": {"id": nowhere}}}
        nic: dict[str, Any] = {"location": "eastus", "properties": {"ipConfigurations": [configuration]}}
        assert code(await b.call("PUT", b.path("networkInterfaces", "n"), nic))[1] == "InvalidResourceReference"
        configuration["properties"] = {"subnet": {"id": subnet}}
        assert code(await b.call("PUT", b.path("networkInterfaces", "n"), nic | {"location": "westus3"}))[0] == 400
        assert (await b.call("PUT", b.path("networkInterfaces", "n"), nic)).status_code == 201
        assert (await b.call("PUT", b.path("networkInterfaces", "n"), nic)).status_code == 200
        outside = {"name": "far", "properties": {"addressPrefix": "192.168.0.0/24"}}
        body = {
            "location": "eastus",
            "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [outside]},
        }
        assert code(await b.call("PUT", b.path("virtualNetworks", "v"), body)) == (400, "NetcfgInvalidSubnet")
        assert (await b.call("DELETE", b.path("virtualNetworks", "v"))).status_code == 204
        missing = await b.call("GET", b.path("virtualNetworks", "v"))
        assert code(missing) == (404, "ResourceNotFound")


async def test_subnets_and_network_resources_settle_and_have_paths_of_their_own() -> None:
    async with bench() as b:
        subnet = await b.prepare()
        assert (await b.call("GET", b.path("virtualNetworks", "net-eastus"))).json()["properties"][
            "provisioningState"
        ] == "Updating"
        b.pass_time(4)
        assert (await b.call("GET", subnet)).json()["properties"]["provisioningState"] == "Succeeded"
        second = subnet.replace("default", "second")
        made = await b.call("PUT", second, {"properties": {"addressPrefix": "10.0.64.0/20"}})
        assert made.status_code == 201
        assert len((await b.call("GET", subnet.rpartition("/")[0])).json()["value"]) == 2
        await b.nic("x", second)
        assert code(await b.call("DELETE", second)) == (400, "InUseSubnetCannotBeDeleted")
        assert (await b.call("DELETE", subnet)).status_code == 202
        everywhere = await b.call("GET", f"{b.home}/providers/Microsoft.Network/networkInterfaces")
        assert [row["name"] for row in everywhere.json()["value"]] == ["x-nic"]


# -- groups -----------------------------------------------------------------------------------------------


async def test_deleting_a_group_ends_everything_in_it() -> None:
    async with bench() as b:
        vm = await b.running()
        assert (await b.call("HEAD", b.group)).status_code == 204
        gone = await b.call("DELETE", b.group, params={"forceDeletionTypes": "Microsoft.Compute/virtualMachines"})
        assert gone.status_code == 202
        location = gone.headers["location"].removeprefix(b.url).partition("?")[0]
        assert (await b.call("GET", location)).status_code == 202
        assert (await b.call("DELETE", b.group)).headers["location"].removeprefix(b.url).startswith(location)
        refused = await b.call("PUT", b.group, {"location": "eastus"})
        assert code(refused) == (409, "ResourceGroupBeingDeleted")
        assert code(await b.call("PUT", vm["id"], b.order("x"))) == (409, "ResourceGroupBeingDeleted")
        b.pass_time(91)
        assert (await b.call("GET", location)).status_code == 200
        assert (await b.call("HEAD", b.group)).status_code == 404
        assert code(await b.call("GET", vm["id"])) == (404, "ResourceGroupNotFound")
        assert b.world.ledger.billing() == []
        assert b.machines.running == {}


async def test_a_group_is_made_at_once_and_stays_where_it_is() -> None:
    async with bench() as b:
        made = await b.call("PUT", b.group.lower(), {"location": "East US", "tags": {"a": "b"}})
        assert (made.status_code, made.json()["properties"]["provisioningState"]) == (201, "Succeeded")
        assert made.json()["location"] == "eastus"
        assert (await b.call("PUT", b.group, {"location": "eastus"})).status_code == 200
        moved = await b.call("PUT", b.group, {"location": "westus3"})
        assert code(moved) == (409, "InvalidResourceGroupLocation")
        assert (await b.call("GET", f"{b.home}/resourcegroups")).json()["value"][0]["name"] == GROUP.lower()
        assert code(await b.call("GET", f"{b.home}/resourceGroups/none")) == (404, "ResourceGroupNotFound")


# -- state ------------------------------------------------------------------------------------------------


async def test_the_state_survives_a_restart_in_the_middle_of_everything() -> None:
    async with bench() as b:
        subnet = await b.prepare()
        vm = await b.launch("box", b.order(subnet))
        b.pass_time(60)
        other = b.order(subnet, spot=True)
        other["properties"]["storageProfile"]["osDisk"]["name"] = "other"
        await b.launch("other", other)
        await b.call("DELETE", b.path("virtualMachines", "other"))
        state = json.loads(json.dumps(b.world.dump()))
        env, machines = ManualEnv(b.env.now()), NoMachines()
        world = World(env, machines=machines)
        emulator = AzureEmulator(world)
        world.load(state)
        assert list(machines.running) == [f"azure:{vm['properties']['vmId']}"]
        env.advance(40)
        emulator.advance()
        assert [(one.name, one.alive) for one in emulator.records()] == [("other", False), ("box", True)]
        assert world.ledger.billing() == [vm["id"]]
        assert emulator.leftovers() == []
        assert emulator.store.vms()[0].state == "Succeeded"
        assert json.loads(json.dumps(emulator.dump())) == json.loads(json.dumps(emulator.dump()))


async def test_planted_machines_run_and_bill_and_carry_their_owner() -> None:
    async with bench() as b:
        mine = b.emulator.plant("orch-abc", owner="f" * 32)
        theirs = b.emulator.plant("my-training-box")
        rows = (await b.call("GET", f"{b.home}/providers/Microsoft.Compute/virtualMachines")).json()["value"]
        assert {row["id"]: row.get("tags") for row in rows} == {mine: {"orch-owner": "f" * 32}, theirs: None}
        assert set(b.world.ledger.billing()) == {mine, theirs}
        await b.call("DELETE", theirs)
        b.pass_time(60)
        assert b.world.ledger.billing() == [mine]
