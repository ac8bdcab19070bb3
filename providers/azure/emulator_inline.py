"""Network interfaces and public addresses that the PUT of a machine describes in place."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import providers.azure.emulator_groups as groups
import providers.azure.emulator_network as network
import providers.azure.emulator_resources as kinds
from providers.azure.emulator_cloud import Cloud
from providers.azure.emulator_order import part
from providers.azure.emulator_resources import Resource, Vm
from providers.azure.emulator_wire import Refusal


def make(cloud: Cloud, vm: Vm) -> None:
    """Make the network interfaces and addresses that the body describes in place.

    How Azure names them is not documented; here the body's name and a part of the machine's id.

    Raises:
        Refusal: one of them breaks a rule; those made before it are taken back.
    """
    profile = vm.properties.setdefault("networkProfile", {})
    made: list[Resource] = []
    rows = list(profile.get("networkInterfaces") or [])
    try:
        for row in profile.pop("networkInterfaceConfigurations", None) or ():
            nic = _inline_nic(cloud, vm, row, made)
            asked = part(row, "properties")
            kept = {"primary": asked.get("primary", True), "deleteOption": asked.get("deleteOption", "Detach")}
            rows.append({"id": nic.id, "properties": kept})
    except Refusal:
        for one in made:
            cloud.store.resources.pop(one.key, None)
        raise
    profile["networkInterfaces"] = rows


def _inline_nic(cloud: Cloud, vm: Vm, row: dict[str, Any], made: list[Resource]) -> Resource:
    asked = part(row, "properties")
    configurations = []
    for one in asked.get("ipConfigurations") or ():
        inner = part(one, "properties")
        own: dict[str, Any] = {name: deepcopy(inner[name]) for name in ("primary", "subnet") if name in inner}
        if described := inner.get("publicIPAddressConfiguration"):
            address = _inline_address(cloud, vm, described)
            made.append(address)
            option = part(described, "properties").get("deleteOption", "Detach")
            own["publicIPAddress"] = {"id": address.id, "properties": {"deleteOption": option}}
        configurations.append({"name": one.get("name"), "properties": own})
    body: dict[str, Any] = {"properties": {"ipConfigurations": configurations}}
    if "networkSecurityGroup" in asked:
        body["properties"]["networkSecurityGroup"] = deepcopy(asked["networkSecurityGroup"])
    name, tags = f"{row.get('name')}-{vm.uid[:8]}", groups.check_tags(row)
    nic = network.make(cloud, kinds.NIC, vm.group, name, vm.location, tags, body)
    made.append(nic)
    nic.state = "Succeeded"
    return nic


def _inline_address(cloud: Cloud, vm: Vm, described: dict[str, Any]) -> Resource:
    properties = {key: deepcopy(value) for key, value in part(described, "properties").items() if key != "deleteOption"}
    body: dict[str, Any] = {"sku": deepcopy(described.get("sku") or {}), "properties": properties}
    name = f"{described.get('name')}-{vm.uid[:8]}"
    address = network.make(cloud, kinds.ADDRESS, vm.group, name, vm.location, groups.check_tags(described), body)
    address.state = "Succeeded"
    return address
