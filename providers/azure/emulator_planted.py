"""Machines that somebody else rented, for tests of what is left alone."""

from __future__ import annotations

import providers.azure.emulator_disks as disks
import providers.azure.emulator_network as network
import providers.azure.emulator_resources as kinds
from providers.azure.emulator_cloud import Cloud
from providers.azure.emulator_resources import Group, Vm

#: The tag in which `orch` keeps an installation's full owner id at Azure.
OWNER_TAG = "orch-owner"


def plant(cloud: Cloud, name: str, owner: str | None) -> Vm:
    """A running on-demand machine with disk, interface and address, in a resource group of its own kind."""
    size = next(iter(cloud.market.sizes.values()))
    region = next(
        name for name, one in cloud.market.regions.items() if cloud.market.sold(size, name) and not one.restricted
    )
    price = cloud.market.on_demand(size, region)
    assert price is not None, "what is sold has a price"
    wanted = cloud.options.plant_group
    group = cloud.store.groups.setdefault(wanted.lower(), Group(wanted, region, {})).name
    tags = {OWNER_TAG: owner} if owner else {}
    subnet = _network(cloud, group, region)
    address = network.make(cloud, kinds.ADDRESS, group, f"{name}-ip", region, tags, _ADDRESS)
    inside = {"subnet": {"id": subnet}, "publicIPAddress": {"id": address.id, "properties": {"deleteOption": "Delete"}}}
    body = {"properties": {"ipConfigurations": [{"name": "ip", "properties": inside}]}}
    nic = network.make(cloud, kinds.NIC, group, f"{name}-nic", region, tags, body)
    address.state = nic.state = "Succeeded"
    image = cloud.market.images[0]
    vm = Vm(
        uid=cloud.world.uuid(),
        kind=kinds.VM,
        subscription=cloud.options.subscription,
        group=group,
        name=name,
        location=region,
        created_at=cloud.world.now(),
        tags=tags,
        body={"properties": _properties(name, size.name, nic.id, (image.publisher, image.offer, image.sku))},
        size=size.name,
        spot=False,
        eviction="",
        rate=str(price),
        user="azureuser",
        image_version=image.versions[-1],
    )
    disk = disks.make(cloud, group, f"{name}_OsDisk", region, {}, "StandardSSD_LRS", image.size_gb, "Linux")
    vm.disk = disk.id
    cloud.store.add(vm)
    cloud.life.run_at_once(vm)
    return vm


_ADDRESS = {"sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}


def _network(cloud: Cloud, group: str, region: str) -> str:
    found = cloud.store.find(kinds.VNET, group, "workshop-net")
    if found is None:
        inside = {"name": "default", "properties": {"addressPrefix": "10.9.0.0/20"}}
        body = {"properties": {"addressSpace": {"addressPrefixes": ["10.9.0.0/16"]}, "subnets": [inside]}}
        found = network.make(cloud, kinds.VNET, group, "workshop-net", region, {}, body)
        found.state = "Succeeded"
    return f"{found.id}/subnets/default"


def _properties(name: str, size: str, nic: str, image: tuple[str, str, str]) -> dict[str, object]:
    publisher, offer, sku = image
    return {
        "hardwareProfile": {"vmSize": size},
        "storageProfile": {
            "imageReference": {"publisher": publisher, "offer": offer, "sku": sku, "version": "latest"},
            "osDisk": {"createOption": "FromImage", "name": f"{name}_OsDisk", "deleteOption": "Delete"},
        },
        "osProfile": {"computerName": name, "adminUsername": "azureuser"},
        "networkProfile": {
            "networkInterfaces": [{"id": nic, "properties": {"primary": True, "deleteOption": "Delete"}}]
        },
    }
