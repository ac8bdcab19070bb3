"""A served Azure emulator with a clock that tests turn, driven by Microsoft's own SDK, which reads every answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx
import pytest

from providers.azure.emulator import AzureEmulator
from providers.azure.emulator_options import Options
from providers.env import ManualEnv
from providers.sandbox.serve import serving
from providers.sandbox.world import Exchange, NoMachines, World

pytest.importorskip("azure.mgmt.compute", reason="azure-mgmt-compute is not installed: pip install 'gpu-orch[azure]'")
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError as HttpResponseError
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.mgmt.compute import ComputeManagementClient

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeKeyForTests0000000000000000000000 orch"
T4 = "Standard_NC4as_T4_v3"
A10 = "Standard_NV36ads_A10_v5"
#: eastus, on demand and as Spot.
T4_USD, T4_SPOT_USD = Decimal("0.526"), Decimal("0.149")
GROUP = "orch-rg"
API = {"api-version": "2026-04-01"}


class Bearer(SansIOHTTPPolicy[Any, Any]):
    """Sets the token also over plain http, which the SDK's own policy refuses."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self.token = token

    def on_request(self, request: Any) -> None:
        request.http_request.headers["Authorization"] = f"Bearer {self.token}"


class Credential:
    """Never asked, and required."""

    def get_token(self, *scopes: str, **more: Any) -> AccessToken:
        return AccessToken("unused", 0)


@dataclass
class Bench:
    """The world, the emulator in it, and clients."""

    env: ManualEnv
    world: World
    machines: NoMachines
    emulator: AzureEmulator
    url: str
    settings: dict[str, str]
    http: httpx.AsyncClient
    sdk: ComputeManagementClient
    exchanges: list[Exchange] = field(default_factory=list)

    @property
    def home(self) -> str:
        """The path of the subscription."""
        return f"/subscriptions/{self.emulator.options.subscription}"

    @property
    def group(self) -> str:
        """The path of the resource group that tests use."""
        return f"{self.home}/resourceGroups/{GROUP}"

    def path(self, kind: str, name: str) -> str:
        """The path of a resource in that group."""
        space = "Compute" if kind in ("virtualMachines", "disks") else "Network"
        return f"{self.group}/providers/Microsoft.{space}/{kind}/{name}"

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """One request with token and api-version."""
        headers = {"authorization": f"Bearer {self.settings['ORCH_AZURE_TOKEN']}"} | more.pop("headers", {})
        params = API | more.pop("params", {})
        return await self.http.request(method, f"{self.url}{path}", json=body, params=params, headers=headers, **more)

    async def thread(self, what: Any, *args: Any, **given: Any) -> Any:
        """Call the SDK in a thread.

        Raises:
            HttpResponseError: the answer is an error.
        """
        return await asyncio.to_thread(what, *args, **given)

    def pass_time(self, seconds: float) -> None:
        """Turn the clock and play what has come due."""
        self.env.advance(seconds)
        self.emulator.advance()

    async def prepare(self, region: str = "eastus") -> str:
        """A group, an NSG that opens SSH and a network; the path of the subnet."""
        assert (await self.call("PUT", self.group, {"location": "eastus"})).status_code in (200, 201)
        nsg = self.path("networkSecurityGroups", f"nsg-{region}")
        rule = {
            "priority": 100,
            "protocol": "Tcp",
            "access": "Allow",
            "direction": "Inbound",
            "sourceAddressPrefix": "203.0.113.7/32",
            "sourcePortRange": "*",
            "destinationAddressPrefix": "*",
            "destinationPortRange": "22",
        }
        body: dict[str, Any] = {
            "location": region,
            "properties": {"securityRules": [{"name": "ssh", "properties": rule}]},
        }
        assert (await self.call("PUT", nsg, body)).status_code in (200, 201)
        inside = {"addressPrefix": "10.0.0.0/20", "networkSecurityGroup": {"id": nsg}}
        space = {"addressPrefixes": ["10.0.0.0/16"]}
        body = {"addressSpace": space, "subnets": [{"name": "default", "properties": inside}]}
        network = self.path("virtualNetworks", f"net-{region}")
        made = await self.call("PUT", network, {"location": region, "properties": body})
        assert made.status_code in (200, 201), made.text
        return f"{network}/subnets/default"

    async def nic(self, name: str, subnet: str, region: str = "eastus") -> str:
        """A public address and a NIC with it, classic order; the NIC's path."""
        address = self.path("publicIPAddresses", f"{name}-ip")
        body: dict[str, Any] = {
            "location": region,
            "sku": {"name": "Standard"},
            "properties": {"publicIPAllocationMethod": "Static"},
        }
        made = await self.call("PUT", address, body)
        assert made.status_code == 201, made.text
        inside = {"primary": True, "subnet": {"id": subnet}}
        inside |= {"publicIPAddress": {"id": address, "properties": {"deleteOption": "Delete"}}}
        path = self.path("networkInterfaces", f"{name}-nic")
        body = {"location": region, "properties": {"ipConfigurations": [{"name": "ip", "properties": inside}]}}
        made = await self.call("PUT", path, body)
        assert made.status_code == 201, made.text
        return path

    def order(
        self, subnet: str = "", *, nic: str = "", size: str = T4, spot: bool = False, **changes: Any
    ) -> dict[str, Any]:
        """The body of a machine's PUT, with its network described in place unless a *nic* is given."""
        address = {
            "name": "pip",
            "sku": {"name": "Standard", "tier": "Regional"},
            "properties": {"deleteOption": "Delete", "publicIPAllocationMethod": "Static"},
        }
        inside = {"primary": True, "subnet": {"id": subnet}, "publicIPAddressConfiguration": address}
        described = {
            "name": "nic",
            "properties": {
                "primary": True,
                "deleteOption": "Delete",
                "ipConfigurations": [{"name": "ip", "properties": inside}],
            },
        }
        network: dict[str, Any] = {"networkApiVersion": "2022-11-01", "networkInterfaceConfigurations": [described]}
        if nic:
            network = {"networkInterfaces": [{"id": nic, "properties": {"primary": True, "deleteOption": "Delete"}}]}
        keys = [{"path": "/home/orch/.ssh/authorized_keys", "keyData": KEY}]
        disk = {
            "name": "box-os",
            "createOption": "FromImage",
            "deleteOption": "Delete",
            "diskSizeGB": 128,
            "managedDisk": {"storageAccountType": "StandardSSD_LRS"},
        }
        properties: dict[str, Any] = {
            "hardwareProfile": {"vmSize": size},
            "storageProfile": {
                "imageReference": {
                    "publisher": "microsoft-dsvm",
                    "offer": "ubuntu-hpc",
                    "sku": "2204",
                    "version": "latest",
                },
                "osDisk": disk,
            },
            "osProfile": {
                "computerName": "box",
                "adminUsername": "orch",
                "linuxConfiguration": {"disablePasswordAuthentication": True, "ssh": {"publicKeys": keys}},
            },
            "networkProfile": network,
        }
        if spot:
            properties |= {"priority": "Spot", "evictionPolicy": "Delete", "billingProfile": {"maxPrice": -1}}
        body: dict[str, Any] = {"location": "eastus", "tags": {"orch-owner": "me"}, "properties": properties | changes}
        return body

    async def launch(self, name: str = "box", body: dict[str, Any] | None = None, **how: Any) -> dict[str, Any]:
        """PUT a machine; the answer."""
        if body is None:
            body = self.order(await self.prepare(), **how)
        made = await self.call("PUT", self.path("virtualMachines", name), body)
        assert made.status_code == 201, made.text
        answer: dict[str, Any] = made.json()
        return answer

    async def running(self, name: str = "box", **how: Any) -> dict[str, Any]:
        """Launch a machine and let its boot pass; how GET shows it."""
        await self.launch(name, **how)
        self.pass_time(80)
        return await self.get(name)

    async def get(self, name: str = "box") -> dict[str, Any]:
        """One machine with its instance view."""
        found = await self.call("GET", self.path("virtualMachines", name), params={"$expand": "instanceView"})
        assert found.status_code == 200, found.text
        answer: dict[str, Any] = found.json()
        return answer

    def usd(self, instance: str, what: str = "") -> Decimal:
        """What the ledger holds for an instance, or for those of its lines that begin with *what*."""
        lines = [line for line in self.world.ledger.of("azure", instance) if line.what.startswith(what)]
        return sum((line.usd(self.env.now().timestamp()) for line in lines), Decimal(0))


@contextlib.asynccontextmanager
async def bench(options: Options | None = None, *, boot_scale: float = 1.0) -> AsyncIterator[Bench]:
    """Serve a fresh emulator with the market file beside it."""
    env, machines = ManualEnv(), NoMachines()
    world = World(env, machines=machines, boot_scale=boot_scale)
    emulator = AzureEmulator(world, options)
    async with serving(world) as base, httpx.AsyncClient(trust_env=False) as http:
        settings = emulator.environment(f"{base}/azure")
        url = settings["ORCH_AZURE_URL"]
        sdk = ComputeManagementClient(
            Credential(),
            emulator.options.subscription,
            base_url=url,
            credential_scopes=["https://management.azure.com/.default"],
            authentication_policy=Bearer(settings["ORCH_AZURE_TOKEN"]),
            retry_total=0,
            connection_timeout=10,
            read_timeout=30,
            use_env_settings=False,
        )
        served = Bench(env, world, machines, emulator, url, settings, http, sdk)
        world.recorder = served.exchanges.append
        try:
            yield served
        finally:
            sdk.close()


def statuses(vm: dict[str, Any]) -> list[str]:
    """The codes of a machine's instance view."""
    return [one["code"] for one in vm["properties"]["instanceView"]["statuses"]]


def code(response: httpx.Response) -> tuple[int, str]:
    """HTTP status and code of an error."""
    body = response.json()
    return response.status_code, (body.get("error") or body)["code"]


def refusal(caught: pytest.ExceptionInfo[HttpResponseError]) -> tuple[int | None, str | None]:
    """HTTP status and code as the SDK read them."""
    error = caught.value.error
    return caught.value.status_code, error.code if error else None
