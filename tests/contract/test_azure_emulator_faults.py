"""What goes wrong at the emulated Azure: capacity, quota, wrong requests, limits, and the faults of the menu."""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any

import pytest

from providers.azure.emulator_options import Options
from tests.contract.azure_bench import A10, GROUP, T4, HttpResponseError, bench, code, refusal, statuses

FULL = "Standard_NC24ads_A100_v4"
VM = "virtualMachines"

# -- capacity and quota -----------------------------------------------------------------------------------


async def test_on_demand_without_capacity_fails_after_acceptance_and_leaves_a_failed_machine() -> None:
    async with bench() as b:
        order = b.order(await b.prepare(), size=FULL)
        made = await b.call("PUT", b.path(VM, "box"), order)
        assert made.status_code == 201
        b.pass_time(20)
        operation = made.headers["azure-asyncoperation"].removeprefix(b.url).partition("?")[0]
        failed = (await b.call("GET", operation)).json()
        assert (failed["status"], failed["error"]["code"]) == ("Failed", "AllocationFailed")
        vm = await b.get()
        assert vm["properties"]["provisioningState"] == "Failed"
        assert statuses(vm) == ["ProvisioningState/failed/AllocationFailed"]
        assert b.emulator.records()[0].alive
        assert b.world.ledger.billing() == [vm["id"]]  # its disk and address
        await b.call("DELETE", vm["id"])
        b.pass_time(40)
        assert b.world.ledger.billing() == []


async def test_a_put_on_a_failed_machine_tries_again() -> None:
    async with bench() as b:
        order = b.order(await b.prepare())
        b.world.faults.add("fail_after_accept", code="OverconstrainedAllocationRequest")
        await b.launch("box", order)
        b.pass_time(20)
        assert (await b.get())["properties"]["provisioningState"] == "Failed"
        assert (await b.call("PUT", b.path(VM, "box"), order)).status_code == 200
        b.pass_time(80)
        assert statuses(await b.get()) == ["ProvisioningState/succeeded", "PowerState/running"]
        assert len(b.emulator.records()) == 1


async def test_a_zone_without_capacity_is_named_in_the_failure() -> None:
    async with bench() as b:
        order = b.order(await b.prepare(), size=FULL) | {"zones": ["2"]}
        await b.launch("box", order)
        b.pass_time(20)
        assert statuses(await b.get()) == ["ProvisioningState/failed/ZonalAllocationFailed"]


async def test_a_machine_can_be_failed_and_running() -> None:
    async with bench() as b:
        b.world.faults.add("fail_after_accept", code="OSProvisioningTimedOut", seconds=90)
        vm = await b.launch()
        b.pass_time(95)
        assert statuses(await b.get()) == ["ProvisioningState/failed/OSProvisioningTimedOut", "PowerState/running"]
        assert len(b.machines.running) == 1
        assert b.usd(vm["id"], "compute") > 0


async def test_a_failed_machine_keeps_its_interface_for_180_seconds() -> None:
    async with bench() as b:
        nic = await b.nic("box", await b.prepare())
        order = b.order(nic=nic)
        del order["properties"]["networkProfile"]["networkInterfaces"][0]["properties"]["deleteOption"]
        b.world.faults.add("fail_after_accept")
        vm = await b.launch("box", order)
        b.pass_time(20)
        await b.call("DELETE", vm["id"])
        b.pass_time(40)
        assert code(await b.call("DELETE", nic)) == (400, "NicReservedForAnotherVm")
        assert code(await b.call("PUT", b.path(VM, "other"), order)) == (400, "NicReservedForAnotherVm")
        b.pass_time(120)
        assert code(await b.call("DELETE", nic)) == (400, "NicReservedForAnotherVm")
        b.pass_time(20)
        assert (await b.call("DELETE", nic)).status_code == 202
        b.pass_time(10)
        assert b.world.ledger.billing() == []


async def test_spot_without_capacity_is_refused_at_once_and_makes_nothing() -> None:
    async with bench() as b:
        order = b.order(await b.prepare("westeurope"), size=A10, spot=True) | {"location": "westeurope"}
        refused = await b.call("PUT", b.path(VM, "box"), order)
        assert code(refused) == (409, "SkuNotAvailable")
        assert "Following SKUs have failed for Capacity Restrictions" in refused.text
        assert b.world.ledger.billing() == []
        assert b.emulator.leftovers() == []
        assert b.emulator.records() == []


async def test_a_restricted_region_refuses_what_its_list_shows() -> None:
    async with bench() as b:
        order = b.order(await b.prepare("southcentralus")) | {"location": "southcentralus"}
        assert code(await b.call("PUT", b.path(VM, "box"), order)) == (409, "SkuNotAvailable")
        zonal = b.order(await b.prepare("westeurope"), spot=True) | {"location": "westeurope", "zones": ["3"]}
        assert code(await b.call("PUT", b.path(VM, "box"), zonal)) == (409, "SkuNotAvailable")
        assert code(await b.call("PUT", b.path(VM, "box"), zonal | {"zones": ["9"]})) == (
            400,
            "InvalidAvailabilityZone",
        )


async def test_stock_is_taken_and_given_back() -> None:
    async with bench() as b:
        subnet = await b.prepare()
        for number in range(3):
            order = b.order(subnet, spot=True)
            order["properties"]["storageProfile"]["osDisk"]["name"] = f"os-{number}"
            made = await b.call("PUT", b.path(VM, f"box-{number}"), order)
            assert made.status_code == (201 if number < 2 else 409)
        await b.call("DELETE", b.path(VM, "box-0"))
        b.pass_time(40)
        assert (await b.call("PUT", b.path(VM, "box-2"), order)).status_code == 201


async def test_quotas_count_cores_of_family_region_and_spot() -> None:
    async with bench() as b:
        subnet, path = await b.prepare(), b.path(VM, "box")
        zero = await b.call("PUT", path, b.order(subnet, size="Standard_ND96isr_H100_v5"))
        assert code(zero) == (409, "OperationNotAllowed")
        assert "exceeding approved standardNDSH100v5Family Cores quota" in zero.text
        assert "Current Limit: 0, Current Usage: 0, Additional Required: 96" in zero.text
        b.emulator.market.set_limit("cores", 3)
        assert "approved Total Regional Cores quota" in (await b.call("PUT", path, b.order(subnet))).text
        b.emulator.market.set_limit("lowPriorityCores", 3, "eastus")
        assert "approved LowPriorityCores quota" in (await b.call("PUT", path, b.order(subnet, spot=True))).text
        b.emulator.market.set_limit("cores", 4)
        assert (await b.call("PUT", path, b.order(subnet))).status_code == 201
        more = b.order(subnet)
        more["properties"]["storageProfile"]["osDisk"]["name"] = "more"
        with pytest.raises(HttpResponseError) as caught:
            await b.thread(b.sdk.virtual_machines.begin_create_or_update, GROUP, "more", more, polling=False)
        assert type(caught.value).__name__ == "ResourceExistsError"  # as for every 409
        assert refusal(caught) == (409, "OperationNotAllowed")
        b.emulator.market.set_limit("publicIPAddresses", 1)
        address = {
            "location": "eastus",
            "sku": {"name": "Standard"},
            "properties": {"publicIPAllocationMethod": "Static"},
        }
        assert code(await b.call("PUT", b.path("publicIPAddresses", "a"), address)) == (
            400,
            "PublicIPCountLimitReached",
        )


# -- wrong requests ---------------------------------------------------------------------------------------


def _set(order: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *parents, last = path.split(".")
    node = order["properties"]
    for name in parents:
        node = node[name]
    if value is None:
        node.pop(last, None)
    else:
        node[last] = value
    return order


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("hardwareProfile.vmSize", "Standard_L40_v9", (400, "InvalidParameter")),
        ("hardwareProfile.vmSize", "Standard_NC8ads_A10_v4", (409, "SkuNotAvailable")),
        ("hardwareProfile.vmSize", None, (400, "InvalidParameter")),
        ("evictionPolicy", "Delete", (409, "EvictionPolicyCanBeSetOnlyOnAzureSpotVirtualMachines")),
        ("priority", "Cheap", (400, "InvalidParameter")),
        ("storageProfile.imageReference.sku", "9999", (400, "PlatformImageNotFound")),
        ("storageProfile.imageReference", None, (400, "InvalidParameter")),
        ("storageProfile.osDisk.diskSizeGB", 10, (409, "OperationNotAllowed")),
        ("storageProfile.osDisk.deleteOption", "Maybe", (400, "InvalidParameter")),
        ("osProfile", None, (400, "InvalidParameter")),
        ("osProfile.adminUsername", "root", (400, "InvalidParameter")),
        ("osProfile.customData", "not base64!", (400, "InvalidParameter")),
        ("osProfile.customData", base64.b64encode(b"x" * 70000).decode(), (400, "InvalidParameter")),
        ("osProfile.linuxConfiguration.ssh.publicKeys", [], (400, "InvalidParameter")),
        ("osProfile.linuxConfiguration.disablePasswordAuthentication", False, (400, "InvalidParameter")),
        ("networkProfile", None, (400, "InvalidParameter")),
        ("networkProfile", {"networkInterfaces": [{"id": "/nowhere"}]}, (404, "NotFound")),
    ],
)
async def test_a_wrong_body_is_refused_and_makes_nothing(path: str, value: Any, expected: tuple[int, str]) -> None:
    async with bench() as b:
        order = _set(b.order(await b.prepare()), path, value)
        assert code(await b.call("PUT", b.path(VM, "box"), order)) == expected
        assert b.emulator.records() == []
        assert b.emulator.leftovers() == []
        assert b.world.ledger.billing() == []


async def test_keys_lie_where_azure_wants_them_and_generations_must_fit() -> None:
    async with bench() as b:
        subnet, path = await b.prepare(), b.path(VM, "box")
        order = b.order(subnet)
        order["properties"]["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"][0]["path"] = (
            "/root/.ssh/authorized_keys"
        )
        assert code(await b.call("PUT", path, order)) == (400, "InvalidParameter")
        image = {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server-gen1", "version": "latest"}
        order = _set(b.order(subnet, size="Standard_NC40ads_H100_v5"), "storageProfile.imageReference", image)
        refused = await b.call("PUT", path, order)
        assert code(refused) == (400, "BadRequest")
        assert "cannot boot Hypervisor Generation '1'" in refused.text


@pytest.mark.parametrize(
    ("cap", "expected"),
    [
        (0.1, (409, "SpotPriceGreaterThanProvidedMaxPrice")),
        (0.1234567, (409, "MaxPriceValueInvalid")),
        (0, (409, "MaxPriceValueInvalid")),
        (0.2, None),
        (-1, None),
    ],
)
async def test_the_spot_cap_is_held_against_the_spot_price(cap: float, expected: tuple[int, str] | None) -> None:
    async with bench() as b:
        order = b.order(await b.prepare(), spot=True, billingProfile={"maxPrice": cap})
        answer = await b.call("PUT", b.path(VM, "box"), order)
        assert answer.status_code == 201 if expected is None else code(answer) == expected


async def test_a_size_that_is_never_spot_says_so_and_unreadable_bodies_are_refused() -> None:
    async with bench() as b:
        subnet, path = await b.prepare("eastus2"), b.path(VM, "box")
        order = b.order(subnet, size="Standard_NCC40ads_H100_v5", spot=True) | {"location": "eastus2"}
        assert code(await b.call("PUT", path, order)) == (409, "AzureSpotIsNotSupportedForThisVMSize")
        raw = await b.call("PUT", path, None, content=b"{", headers={"content-type": "application/json"})
        assert code(raw) == (400, "InvalidRequestContent")
        assert code(await b.call("PUT", path, [1])) == (400, "InvalidRequestContent")


# -- the account ------------------------------------------------------------------------------------------


async def test_a_missing_right_is_named() -> None:
    denied = frozenset(
        {"Microsoft.Network/virtualNetworks/write", "Microsoft.Compute/virtualMachines/deallocate/action"}
    )
    async with bench(Options(denied=denied)) as b:
        await b.call("PUT", b.group, {"location": "eastus"})
        refused = await b.call("PUT", b.path("virtualNetworks", "v"), {"location": "eastus"})
        assert code(refused) == (403, "AuthorizationFailed")
        assert "perform action 'Microsoft.Network/virtualNetworks/write'" in refused.text
        refused = await b.call("POST", f"{b.path(VM, 'box')}/deallocate")
        assert "virtualMachines/deallocate/action" in refused.text


async def test_a_disabled_subscription_can_only_be_read() -> None:
    async with bench(Options(subscription_state="Disabled")) as b:
        assert (await b.call("GET", b.home)).json()["state"] == "Disabled"
        assert code(await b.call("PUT", b.group, {"location": "eastus"})) == (409, "ReadOnlyDisabledSubscription")


async def test_an_unregistered_provider_must_be_registered_first() -> None:
    async with bench(Options(unregistered={"Microsoft.Network"})) as b:
        await b.call("PUT", b.group, {"location": "eastus"})
        network = {"location": "eastus", "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}}
        path, provider = b.path("virtualNetworks", "v"), f"{b.home}/providers/Microsoft.Network"
        assert code(await b.call("PUT", path, network)) == (409, "MissingSubscriptionRegistration")
        assert (await b.call("GET", provider)).json()["registrationState"] == "NotRegistered"
        assert (await b.call("POST", f"{provider}/register")).json()["registrationState"] == "Registering"
        assert (await b.call("GET", provider)).json()["registrationState"] == "Registering"
        b.pass_time(31)
        assert (await b.call("GET", provider)).json()["registrationState"] == "Registered"
        assert (await b.call("PUT", path, network)).status_code == 201


# -- limits -----------------------------------------------------------------------------------------------


async def test_a_machine_may_be_read_so_often_and_no_oftener() -> None:
    async with bench() as b:
        await b.launch()
        path = b.path(VM, "box")
        answers = [await b.call("GET", path) for _ in range(37)]
        assert {one.status_code for one in answers[:36]} == {200}
        assert code(answers[36]) == (429, "OperationNotAllowed")
        body = answers[36].json()
        assert "error" not in body  # Compute's is bare
        assert body["details"][0]["code"] == "TooManyRequests"
        assert answers[36].headers["retry-after"] == "5"
        b.pass_time(5)
        assert (await b.call("GET", path)).status_code == 200


async def test_the_subscription_has_a_limit_of_its_own() -> None:
    async with bench() as b:
        answers = [await b.call("GET", b.home) for _ in range(251)]
        assert code(answers[-1]) == (429, "SubscriptionRequestsThrottled")
        assert [one.status_code for one in answers[:250]] == [200] * 250


@pytest.mark.parametrize(("path", "wrapped"), [("/providers/Microsoft.Compute/virtualMachines", False), ("", True)])
async def test_a_rate_limit_of_the_menu_has_azures_shape_and_says_how_long(path: str, wrapped: bool) -> None:
    async with bench() as b:
        b.world.faults.add("rate_limit", retry_after=6.2)
        answer = await b.call("GET", f"{b.home}{path}")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
        assert ("error" in answer.json()) is wrapped


# -- the menu ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("sold_out", (409, "SkuNotAvailable")),
        ("gone", (409, "SkuNotAvailable")),
        ("quota", (409, "OperationNotAllowed")),
        ("forbidden", (403, "AuthorizationFailed")),
        ("bad_key", (401, "InvalidAuthenticationToken")),
        ("unknown_code", (409, "PlacementLedgerMismatch")),
        ("error_before", (500, "InternalServerError")),
    ],
)
async def test_faults_refuse_a_create_in_azures_words_and_make_nothing(kind: str, expected: tuple[int, str]) -> None:
    async with bench() as b:
        order = b.order(await b.prepare())
        b.world.faults.add(kind, verb="launch")
        refused = await b.call("PUT", b.path(VM, "box"), order)
        assert code(refused) == expected
        assert b.emulator.records() == []
        assert b.world.ledger.billing() == []
        if kind != "gone":
            assert (await b.call("PUT", b.path(VM, "box"), order)).status_code == 201


async def test_a_size_that_is_gone_leaves_the_list() -> None:
    async with bench() as b:
        b.world.faults.add("gone", subject=f"{T4} eastus")
        found = await b.thread(lambda: list(b.sdk.resource_skus.list(filter="location eq 'eastus'")))
        assert T4 not in {sku.name for sku in found}
        order = b.order(await b.prepare())
        assert code(await b.call("PUT", b.path(VM, "box"), order)) == (409, "SkuNotAvailable")


async def test_a_refused_machine_keeps_an_interface_that_it_was_given() -> None:
    async with bench() as b:
        nic = await b.nic("box", await b.prepare())
        b.world.faults.add("sold_out")
        assert code(await b.call("PUT", b.path(VM, "box"), b.order(nic=nic))) == (409, "SkuNotAvailable")
        assert code(await b.call("DELETE", nic)) == (400, "NicReservedForAnotherVm")
        b.pass_time(181)
        assert (await b.call("DELETE", nic)).status_code == 202


async def test_a_stuck_boot_stays_where_it_is_for_ever() -> None:
    for state, seen in (
        ("creating", ["ProvisioningState/creating"]),
        ("starting", ["ProvisioningState/creating", "PowerState/starting"]),
        ("running", ["ProvisioningState/succeeded", "PowerState/running"]),
    ):
        async with bench() as b:
            b.world.faults.add("boot_stuck", state=state)
            await b.launch()
            b.pass_time(86400)
            assert statuses(await b.get()) == seen
            assert b.machines.running == {}
            await b.call("DELETE", b.path(VM, "box"))
            b.pass_time(40)
            assert b.world.ledger.billing() == []


async def test_a_wrong_gpu_is_what_the_machine_shows() -> None:
    async with bench() as b:
        b.world.faults.add("wrong_gpu", gpu="Tesla V100-PCIE-16GB", memory_mib=16384)
        await b.running()
        [machine] = b.machines.running.values()
        assert (machine["gpu"], machine["memory_mib"]) == ("Tesla V100-PCIE-16GB", 16384)


async def test_a_new_machine_is_not_in_lists_for_a_while_and_is_by_its_name() -> None:
    async with bench() as b:
        b.world.faults.add("list_lag", seconds=20)
        await b.launch()
        assert (await b.call("GET", f"{b.home}/providers/Microsoft.Compute/virtualMachines")).json()["value"] == []
        rows = (await b.call("GET", f"{b.home}/resources")).json()["value"]
        assert "box" not in {row["name"] for row in rows}
        assert (await b.call("GET", b.path(VM, "box"))).status_code == 200
        b.pass_time(21)
        assert len((await b.call("GET", f"{b.group}/providers/Microsoft.Compute/virtualMachines")).json()["value"]) == 1


async def test_an_ignored_terminate_is_accepted_and_its_operation_succeeds() -> None:
    async with bench() as b:
        vm = await b.running()
        b.world.faults.add("ignore_terminate")
        gone = await b.call("DELETE", vm["id"])
        assert gone.status_code == 202
        operation = gone.headers["azure-asyncoperation"].removeprefix(b.url).partition("?")[0]
        assert (await b.call("GET", operation)).json()["status"] == "Succeeded"
        b.pass_time(100)
        assert statuses(await b.get()) == ["ProvisioningState/succeeded", "PowerState/running"]
        assert b.world.ledger.billing() == [vm["id"]]


async def test_an_ignored_end_of_a_group_leaves_its_machines() -> None:
    async with bench() as b:
        vm = await b.running()
        b.world.faults.add("ignore_terminate")
        gone = await b.call("DELETE", b.group)
        location = gone.headers["location"].removeprefix(b.url).partition("?")[0]
        assert (await b.call("GET", location)).status_code == 200
        b.pass_time(200)
        assert statuses(await b.get()) == ["ProvisioningState/succeeded", "PowerState/running"]
        assert b.world.ledger.billing() == [vm["id"]]


@pytest.mark.parametrize("second", [202, 409])
async def test_a_second_delete_is_accepted_or_refused_as_set(second: int) -> None:
    async with bench(Options(second_delete=second)) as b:
        vm = await b.running()
        first = await b.call("DELETE", vm["id"])
        again = await b.call("DELETE", vm["id"])
        assert again.status_code == second
        if second == 202:
            assert again.headers["azure-asyncoperation"] == first.headers["azure-asyncoperation"]
        else:
            assert "marked for deletion" in again.text


async def test_a_changed_price_shows_in_the_list_and_on_the_bill() -> None:
    async with bench() as b:
        params = {"$filter": f"armSkuName eq '{T4}' and armRegionName eq 'eastus' and meterName eq 'NC4as T4 v3'"}

        async def regular() -> Decimal:
            items = (await b.http.get(f"{b.url}/api/retail/prices", params=params)).json()["Items"]
            [item] = [
                one
                for one in items
                if one["type"] == "Consumption"
                and "Windows" not in one["productName"]
                and "2026" in one["effectiveStartDate"]
            ]
            return Decimal(str(item["retailPrice"]))

        assert await regular() == Decimal("0.526")
        b.world.faults.add("price_changed", factor=2)
        assert await regular() == Decimal("1.052")
        vm = await b.running()
        b.pass_time(3600 - 65)
        assert b.usd(vm["id"], "compute") == Decimal("1.052")


async def test_host_lost_takes_a_running_machine() -> None:
    async with bench() as b:
        await b.running(spot=True)
        b.world.faults.add("host_lost", subject=T4)
        b.emulator.advance()
        assert [one.alive for one in b.emulator.records()] == [False]
        assert b.world.ledger.billing() == []


async def test_power_may_be_missing_for_good() -> None:
    async with bench(Options(no_power_state=True)) as b:
        await b.running()
        assert statuses(await b.get()) == ["ProvisioningState/succeeded"]
