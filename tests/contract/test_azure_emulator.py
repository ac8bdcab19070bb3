"""The emulated Azure through Microsoft's own SDK, and its catalogue, prices and tokens as the documents have them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from providers.azure.emulator_options import Options
from tests.contract.azure_bench import (
    A10,
    GROUP,
    KEY,
    T4,
    T4_SPOT_USD,
    T4_USD,
    HttpResponseError,
    bench,
    code,
    refusal,
    statuses,
)
from tests.contract.azure_official import Sdk, problems, unlike

# -- the SDK ----------------------------------------------------------------------------------------------


async def test_the_sdk_makes_finds_lists_and_ends_a_machine() -> None:
    async with bench() as b:
        order = b.order(await b.prepare(), spot=True)
        vms = b.sdk.virtual_machines
        poller = await b.thread(vms.begin_create_or_update, GROUP, "box", order, polling=False)
        made = await b.thread(poller.result)
        assert made.properties.provisioning_state == "Creating"
        b.pass_time(80)
        found = await b.thread(vms.get, GROUP, "BOX", expand="instanceView")
        assert found.properties.provisioning_state == "Succeeded"
        assert found.properties.priority == "Spot"
        assert [one.code for one in found.properties.instance_view.statuses] == [
            "ProvisioningState/succeeded",
            "PowerState/running",
        ]
        everywhere = await b.thread(lambda: list(vms.list_all(status_only="true")))
        assert [vm.name for vm in everywhere] == ["box"]
        assert everywhere[0].properties.instance_view.statuses[1].code == "PowerState/running"
        here = await b.thread(lambda: list(vms.list(GROUP)))
        assert [vm.properties.vm_id for vm in here] == [found.properties.vm_id]
        await b.thread(vms.begin_delete, GROUP, "box", force_deletion=True, polling=False)
        b.pass_time(40)
        with pytest.raises(HttpResponseError) as caught:
            await b.thread(vms.get, GROUP, "box")
        assert refusal(caught) == (404, "ResourceNotFound")
        await b.thread(vms.begin_delete, GROUP, "box", polling=False)  # absent: 204


async def test_the_sdks_own_poller_reads_success_and_failure() -> None:
    async with bench(Options(retry_after=False), boot_scale=0) as b:
        order = b.order(await b.prepare())
        vms = b.sdk.virtual_machines
        poller = await b.thread(vms.begin_create_or_update, GROUP, "box", order, polling_interval=0.01)
        made = await b.thread(poller.result)
        assert (poller.status(), made.properties.provisioning_state) == ("Succeeded", "Succeeded")
        poller = await b.thread(vms.begin_deallocate, GROUP, "box", polling_interval=0.01)
        await b.thread(poller.result)
        assert "PowerState/deallocated" in statuses(await b.get())
        poller = await b.thread(vms.begin_start, GROUP, "box", polling_interval=0.01)
        await b.thread(poller.result)
        poller = await b.thread(vms.begin_delete, GROUP, "box", polling_interval=0.01)
        await b.thread(poller.result)
        b.world.faults.add("fail_after_accept")
        poller = await b.thread(vms.begin_create_or_update, GROUP, "box", order, polling_interval=0.01)
        with pytest.raises(HttpResponseError) as caught:
            await b.thread(poller.result)
        assert refusal(caught) == (200, "AllocationFailed")


async def test_the_sdk_makes_only_where_nothing_is() -> None:
    async with bench() as b:
        order, vms = b.order(await b.prepare()), b.sdk.virtual_machines
        only = {"If-None-Match": "*"}
        await b.thread(vms.begin_create_or_update, GROUP, "box", order, polling=False, headers=only)
        with pytest.raises(HttpResponseError) as caught:
            await b.thread(vms.begin_create_or_update, GROUP, "box", order, polling=False, headers=only)
        assert refusal(caught) == (412, "PreconditionFailed")


async def test_every_exchange_of_a_long_conversation_is_as_the_sdks_models_say() -> None:
    async with bench(Options(page_size=2, sku_page=7)) as b:
        subnet = await b.prepare()
        for number in range(3):
            order = b.order(subnet, diagnosticsProfile={"bootDiagnostics": {"enabled": True}}, spot=number == 2)
            order["properties"]["storageProfile"]["osDisk"]["name"] = f"os-{number}"
            order["zones"] = ["1"]
            await b.launch(f"box-{number}", order)
        b.pass_time(80)
        sdk, vms = b.sdk, b.sdk.virtual_machines
        extension = {
            "location": "eastus",
            "properties": {
                "publisher": "Microsoft.HpcCompute",
                "type": "NvidiaGpuDriverLinux",
                "typeHandlerVersion": "1.11",
                "autoUpgradeMinorVersion": True,
                "settings": {},
            },
        }
        extensions = sdk.virtual_machine_extensions
        await b.thread(extensions.begin_create_or_update, GROUP, "box-0", "gpu", extension, polling=False)
        disk = {"location": "eastus", "sku": {"name": "Premium_LRS"}}
        disk |= {"properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 32}}
        await b.thread(sdk.disks.begin_create_or_update, GROUP, "data", disk, polling=False)
        assert len(await b.thread(lambda: list(vms.list_all(expand="instanceView")))) == 3
        assert len(await b.thread(lambda: list(vms.list(GROUP)))) == 3
        assert len(await b.thread(lambda: list(sdk.disks.list()))) == 4
        assert len(await b.thread(lambda: list(sdk.resource_skus.list(filter="location eq 'westus3'")))) > 20
        assert len(await b.thread(lambda: list(sdk.usage.list("westus3")))) > 10
        image = ("eastus", "Canonical", "ubuntu-24_04-lts", "server")
        assert len(await b.thread(sdk.virtual_machine_images.list, *image)) == 2
        assert (await b.thread(sdk.virtual_machine_images.get, *image, "latest")).properties.plan is None
        assert (await b.thread(vms.instance_view, GROUP, "box-0")).vm_agent.statuses[0].display_status == "Ready"
        uris = await b.thread(vms.retrieve_boot_diagnostics_data, GROUP, "box-0")
        assert "cloud-init" in (await b.http.get(uris.serial_console_log_blob_uri)).text
        await b.thread(vms.simulate_eviction, GROUP, "box-2")
        for begin in (
            vms.begin_restart,
            vms.begin_power_off,
            vms.begin_reapply,
            vms.begin_redeploy,
            vms.begin_deallocate,
        ):
            await b.thread(begin, GROUP, "box-1", polling=False)
        await b.thread(vms.begin_update, GROUP, "box-0", {"tags": {"a": "b"}}, polling=False)
        await b.thread(vms.begin_delete, GROUP, "box-0", polling=False)
        with pytest.raises(HttpResponseError):
            await b.thread(vms.get, GROUP, "nobody")
        judge = Sdk("azure")
        judged = [judge.judge(exchange) for exchange in b.exchanges if "/Microsoft.Compute/" in exchange.path]
        assert [str(one) for _, findings in judged for one in findings] == []
        assert len({name for name, _ in judged}) >= 20


def test_the_judge_sees_what_is_wrong() -> None:
    from azure.mgmt.compute import models

    wrong = {"location": 5, "properties": {"priority": "Cheap", "osProfile": {"nickname": "x"}, "timeCreated": "soon"}}
    assert dict(problems(models.VirtualMachine, wrong)) == {
        "$.location": "5 is no str",
        "$.properties.priority": "'Cheap' is not in the enumeration",
        "$.properties.osProfile.nickname": "not described",
        "$.properties.timeCreated": "'soon' is no time",
    }
    sent = {"location": "eastus", "properties": {"vmId": "x"}}
    assert list(problems(models.VirtualMachine, sent, sent=True)) == [("$.properties.vmId", "can only be read")]
    assert list(unlike({"a": [{"b": 1}], "c": "x"}, {"a": [{"b": "1"}]})) == ["$.a[].b: str for int", "$.c: missing"]


# -- what is for rent -------------------------------------------------------------------------------------


async def test_skus_say_what_a_size_is_and_where_it_is_barred() -> None:
    async with bench() as b:
        found = await b.thread(lambda: list(b.sdk.resource_skus.list(filter="location eq 'westus3'")))
        skus = {sku.name: sku for sku in found if sku.resource_type == "virtualMachines"}
        a10 = skus[A10]
        assert a10.family == "StandardNVADSA10v5Family"
        assert a10.locations == ["WestUS3"]
        assert {one.name: one.value for one in a10.capabilities}["vCPUs"] == "36"
        assert a10.location_info[0].zone_details[0].name == ["1"]
        assert a10.restrictions == []
        barred = await b.thread(lambda: list(b.sdk.resource_skus.list(filter="location eq 'southcentralus'")))
        reasons = {(one.type, one.reason_code) for sku in barred if sku.name == A10 for one in sku.restrictions}
        assert reasons == {("Location", "NotAvailableForSubscription"), ("Zone", "NotAvailableForSubscription")}
        assert {sku.resource_type for sku in barred} == {"virtualMachines", "disks"}
        assert await b.thread(lambda: list(b.sdk.resource_skus.list(filter="location eq 'uksouth'"))) == []
        assert not any("L40" in name for name in skus)


async def test_no_other_filter_of_skus_exists() -> None:
    async with bench() as b:
        path = f"{b.home}/providers/Microsoft.Compute/skus"
        refused = await b.call("GET", path, params={"$filter": "name eq 'x'"})
        assert code(refused) == (400, "InvalidParameter")
        everything = (await b.call("GET", path)).json()["value"]
        places = {place.lower() for sku in everything for place in sku["locations"]}
        assert places == set(b.emulator.market.regions)


async def test_usages_count_what_runs_and_hold_the_zero_of_a_new_subscription() -> None:
    async with bench() as b:
        subnet = await b.prepare()
        await b.launch("box", b.order(subnet))
        spot = b.order(subnet, spot=True)
        spot["properties"]["storageProfile"]["osDisk"]["name"] = "other"
        await b.launch("spot", spot)
        used = {
            one.name.value: (one.current_value, one.limit)
            for one in await b.thread(lambda: list(b.sdk.usage.list("eastus")))
        }
        assert used["Standard NCASv3_T4 Family"] == (4, 288)
        assert used["cores"] == (4, 1000)
        assert used["lowPriorityCores"] == (4, 400)
        assert used["virtualMachines"][0] == 2
        assert used["standardNDSH100v5Family"] == (0, 0)
        addresses = await b.call("GET", f"{b.home}/providers/Microsoft.Network/locations/eastus/usages")
        assert {one["name"]["value"]: one["currentValue"] for one in addresses.json()["value"]}[
            "PublicIPAddresses"
        ] == 2
        lost = await b.call("GET", f"{b.home}/providers/Microsoft.Compute/locations/atlantis/usages")
        assert code(lost) == (400, "NoRegisteredProviderFound")


async def test_locations_subscription_and_rights_are_told() -> None:
    async with bench(Options(denied=frozenset({"Microsoft.Compute/virtualMachines/write"}))) as b:
        rows = (await b.call("GET", f"{b.home}/locations")).json()["value"]
        zones = {row["name"]: [one["logicalZone"] for one in row.get("availabilityZoneMappings", [])] for row in rows}
        assert zones["eastus"] == ["1", "2", "3"]
        assert zones["australiaeast"] == []
        own = (await b.call("GET", b.home)).json()
        assert (own["subscriptionId"], own["state"]) == (b.emulator.options.subscription, "Enabled")
        assert (await b.call("GET", "/subscriptions")).json()["value"] == [own]
        rights = (await b.call("GET", f"{b.home}/providers/Microsoft.Authorization/permissions")).json()["value"][0]
        assert rights["notActions"] == ["Microsoft.Compute/virtualMachines/write"]


# -- prices -----------------------------------------------------------------------------------------------

VMS = "serviceName eq 'Virtual Machines' and priceType eq 'Consumption' and armRegionName eq 'eastus'"


async def prices(b: Any, text: str, **more: str) -> list[dict[str, Any]]:
    """All items of a filter, page by page, without a token."""
    params: dict[str, str] | None = {"api-version": "2023-01-01-preview", "$filter": text, **more}
    found, url = [], f"{b.url}/api/retail/prices"
    while url:
        answer = await b.http.get(url, params=params)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["Count"] == len(body["Items"]) <= 1000
        found += body["Items"]
        url, params = body["NextPageLink"], None
    return found


async def test_prices_have_the_quoted_fields_and_the_market_files_numbers() -> None:
    async with bench() as b:
        items = await prices(b, f"{VMS} and armSkuName eq '{T4}'")
        now = [one for one in items if "2026" in one["effectiveStartDate"] and "Windows" not in one["productName"]]
        usd = {one["meterName"]: Decimal(str(one["retailPrice"])) for one in now}
        assert usd == {
            "NC4as T4 v3": T4_USD,
            "NC4as T4 v3 Spot": T4_SPOT_USD,
            "NC4as T4 v3 Low Priority": Decimal("0.2104"),
        }
        quoted = {
            "currencyCode": "USD",
            "tierMinimumUnits": 0.0,
            "retailPrice": 0.6,
            "unitPrice": 0.6,
            "armRegionName": "eastus",
            "location": "US East",
            "effectiveStartDate": "",
            "meterId": "",
            "meterName": "",
            "productId": "",
            "skuId": "",
            "productName": "",
            "skuName": "",
            "serviceName": "",
            "serviceId": "DZH313Z7MMC8",
            "serviceFamily": "Compute",
            "unitOfMeasure": "1 Hour",
            "type": "Consumption",
            "isPrimaryMeterRegion": True,
            "armSkuName": "",
        }
        for item in items:
            assert list(unlike(quoted, item)) == []
            assert item.keys() - quoted.keys() <= {"effectiveEndDate", "reservationTerm"}


async def test_prices_come_in_pages_and_hold_what_must_be_seen_through() -> None:
    async with bench(Options(price_page=50)) as b:
        items = await prices(b, VMS)
        assert len(items) > 100
        assert len({(one["meterId"]) for one in items}) == len(items)
        assert any("Windows" in one["productName"] for one in items)
        assert any(one.get("effectiveEndDate", "9") < "2026" for one in items)
        assert any(one["effectiveStartDate"] > "2090" for one in items)
        assert any("RTXPRO6000" in one["armSkuName"] for one in items)
        reserved = await prices(b, f"armSkuName eq '{T4}' and priceType eq 'Reservation'")
        assert {one["reservationTerm"] for one in reserved} == {"1 Year", "3 Years"}


async def test_traffic_has_tiers_by_both_ways() -> None:
    async with bench() as b:
        items = await prices(
            b, "serviceName eq 'Bandwidth' and armRegionName eq 'eastus' and meterName eq 'Standard Data Transfer Out'"
        )
        tiers: dict[str, list[tuple[float, float]]] = {}
        for one in items:
            tiers.setdefault(one["productName"], []).append((one["tierMinimumUnits"], one["retailPrice"]))
        assert tiers["Rtn Preference: MGN"][:3] == [(0, 0), (100, 0.087), (10340, 0.083)]
        assert tiers["Bandwidth - Routing Preference: Internet"] == [(0, 0), (100, 0.04)]


async def test_price_filters_are_odata_and_case_sensitive_in_the_preview() -> None:
    async with bench() as b:
        one_region = f"armSkuName eq '{T4}' and (armRegionName eq 'eastus' or armRegionName eq 'westus3')"
        plain = f"{one_region} and contains(productName,'Windows') eq false and not contains(meterName,'Low')"
        found = await prices(b, f"{plain} and priceType eq 'Consumption'")
        assert {one["armRegionName"] for one in found} == {"eastus", "westus3"}
        assert not any("Windows" in one["productName"] for one in found)
        assert await prices(b, f"armSkuName eq '{T4.lower()}'") == []
        assert await prices(b, f"armSkuName eq '{T4.lower()}'", **{"api-version": "2021-10-01-preview"})
        for text in ("armSkuName", "armSkuName like 'x'", "colour eq 'x'", "armSkuName eq 'x", "(armSkuName eq 'x'"):
            refused = await b.http.get(f"{b.url}/api/retail/prices", params={"$filter": text})
            assert refused.status_code == 400, text


# -- tokens -----------------------------------------------------------------------------------------------


async def test_azure_identity_gets_a_token_that_works_until_it_ends() -> None:
    identity = pytest.importorskip(
        "azure.identity", reason="azure-identity is not installed: pip install azure-identity"
    )
    from azure.core.pipeline.transport import RequestsTransport

    async with bench() as b:
        host = b.url.removeprefix("http://").partition("/")[0]

        class Plain(RequestsTransport):  # type: ignore[misc]
            """azure-identity insists on https; loopback has none, so the last step speaks http."""

            def send(self, request: Any, **more: Any) -> Any:
                where = f"https://{host}/"
                rest = request.url.removeprefix(where).removeprefix("azure/")
                assert request.url.startswith((where, "https://login.microsoftonline.com/"))
                request.url = f"http://{host}/azure/{rest.removeprefix('https://login.microsoftonline.com/')}"
                request.headers["X-Forwarded-Proto"] = "https"
                return super().send(request, **more)

        options, scope = b.emulator.options, "https://management.azure.com/.default"

        def credential(secret: str) -> Any:
            return identity.ClientSecretCredential(
                options.tenant, options.client_id, secret, authority=f"https://{host}",
                disable_instance_discovery=True, transport=Plain(),
            )  # fmt: skip

        token = (await b.thread(credential(options.client_secret).get_token, scope)).token
        headers = {"authorization": f"Bearer {token}"}
        assert (await b.call("GET", b.home, headers=headers)).status_code == 200
        b.pass_time(4000)
        assert code(await b.call("GET", b.home, headers=headers)) == (401, "ExpiredAuthenticationToken")
        from azure.core.exceptions import ClientAuthenticationError

        with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
            await b.thread(credential("wrong").get_token, scope)


async def test_the_token_endpoint_refuses_as_entra_does() -> None:
    async with bench() as b:
        options = b.emulator.options
        url = f"{b.url}/{options.tenant}/oauth2/v2.0/token"
        form = {
            "grant_type": "client_credentials",
            "client_id": options.client_id,
            "client_secret": options.client_secret,
        }
        form["scope"] = "https://management.azure.com/.default"
        good = (await b.http.post(url, data=form)).json()
        assert good.keys() == {"token_type", "expires_in", "ext_expires_in", "access_token"}
        for changed, error in (
            ({"grant_type": "password"}, "unsupported_grant_type"),
            ({"client_id": "x"}, "unauthorized_client"),
            ({"client_secret": "x"}, "invalid_client"),
            ({"scope": "https://graph.microsoft.com/.default"}, "invalid_scope"),
        ):
            refused = await b.http.post(url, data=form | changed)
            assert refused.status_code in (400, 401)
            assert refused.json()["error"] == error
        configuration = (await b.http.get(f"{b.url}/{options.tenant}/v2.0/.well-known/openid-configuration")).json()
        assert configuration["token_endpoint"] == url
        discovery = (await b.http.get(f"{b.url}/common/discovery/instance", params={"api-version": "1.1"})).json()
        assert discovery["tenant_discovery_endpoint"].startswith(b.url)


# -- the way in -------------------------------------------------------------------------------------------


async def test_every_call_needs_a_version_a_token_and_the_right_subscription() -> None:
    async with bench() as b:
        headers = {"authorization": f"Bearer {b.settings['ORCH_AZURE_TOKEN']}"}
        bare = await b.http.get(f"{b.url}{b.home}", headers=headers)
        assert code(bare) == (400, "MissingApiVersionParameter")
        assert code(await b.call("GET", b.home, params={"api-version": "latest"})) == (
            400,
            "InvalidApiVersionParameter",
        )
        anonymous = await b.http.get(f"{b.url}{b.home}", params={"api-version": "2022-12-01"})
        assert code(anonymous) == (401, "AuthenticationFailed")
        assert "Bearer" in anonymous.headers["www-authenticate"]
        wrong = await b.call("GET", b.home, headers={"authorization": "Bearer nonsense"})
        assert code(wrong) == (401, "InvalidAuthenticationToken")
        other = "/subscriptions/00000000-0000-4000-8000-000000000000"
        assert code(await b.call("GET", other)) == (404, "SubscriptionNotFound")
        assert code(await b.call("GET", "/subscriptions/mine")) == (400, "InvalidSubscriptionId")
        odd = await b.call("GET", f"{b.home}/providers/Microsoft.Compute/teapots")
        assert code(odd) == (404, "InvalidResourceType")


async def test_paths_are_read_in_any_case_and_answers_carry_azures_headers() -> None:
    async with bench() as b:
        await b.launch()
        path = b.path("virtualMachines", "BOX").replace("resourceGroups", "RESOURCEGROUPS").lower()
        found = await b.call(
            "GET", path.replace(b.emulator.options.subscription, b.emulator.options.subscription.upper())
        )
        assert found.json()["name"] == "box"
        assert found.headers["content-type"] == "application/json; charset=utf-8"
        assert found.headers["x-ms-request-id"]
        assert int(found.headers["x-ms-ratelimit-remaining-subscription-reads"]) < 250
        assert found.headers["x-ms-ratelimit-remaining-resource"].startswith("Microsoft.Compute/LowCostGet3Min;")
        assert KEY in found.text


async def test_fields_that_nobody_knows_do_not_disturb_the_sdk() -> None:
    async with bench(Options(extra_fields=True)) as b:
        await b.running()
        found = await b.thread(b.sdk.virtual_machines.get, GROUP, "box", expand="instanceView")
        assert found.properties.instance_view.statuses[1].code == "PowerState/running"
