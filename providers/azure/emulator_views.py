"""How the emulated Azure's machines look in answers."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from providers.azure.emulator_cloud import Cloud
from providers.azure.emulator_order import part
from providers.azure.emulator_resources import Vm

_POWER = {
    "starting": "VM starting",
    "running": "VM running",
    "stopping": "VM stopping",
    "stopped": "VM stopped",
    "deallocating": "VM deallocating",
    "deallocated": "VM deallocated",
}


def vm_view(cloud: Cloud, vm: Vm, *, instance: bool = False) -> dict[str, Any]:
    """A machine wherever one stands; with its instance view if *instance*."""
    properties = deepcopy(vm.properties)
    _complete_storage(cloud, vm, properties)
    _complete_profile(properties)
    for row in properties.get("networkProfile", {}).get("networkInterfaces", []):
        row.setdefault("properties", {}).setdefault("deleteOption", "Detach")
    properties |= {
        "provisioningState": vm.state,
        "vmId": vm.uid,
        "timeCreated": vm.created_at.isoformat(),
    }
    if instance:
        properties["instanceView"] = instance_view(cloud, vm)
    body: dict[str, Any] = {"name": vm.name, "id": vm.id, "type": vm.kind, "location": vm.location}
    if vm.tags:
        body["tags"] = dict(vm.tags)
    if vm.extensions:
        body["resources"] = [deepcopy(one) for one in vm.extensions.values()]
    body |= {key: deepcopy(value) for key, value in vm.body.items() if key not in (*body, "properties", "type")}
    return body | {"properties": properties}


def _complete_storage(cloud: Cloud, vm: Vm, properties: dict[str, Any]) -> None:
    storage = properties["storageProfile"]
    storage["imageReference"]["exactVersion"] = vm.image_version
    disk, there = storage.setdefault("osDisk", {}), cloud.store.get(vm.disk)
    disk.setdefault("createOption", "FromImage")
    disk.setdefault("name", f"{vm.name}_OsDisk")
    disk.setdefault("caching", "ReadWrite")
    disk.setdefault("deleteOption", "Detach")
    disk["osType"] = "Linux"
    managed = disk.setdefault("managedDisk", {})
    managed.setdefault("storageAccountType", "Standard_LRS")
    if there is not None:
        managed["id"] = there.id
        disk["diskSizeGB"] = there.properties["diskSizeGB"]
    storage.setdefault("dataDisks", [])


def _complete_profile(properties: dict[str, Any]) -> None:
    profile = part(properties, "osProfile")
    profile.setdefault("secrets", [])
    profile.setdefault("allowExtensionOperations", True)
    profile.setdefault("requireGuestProvisionSignal", True)
    linux = profile.setdefault("linuxConfiguration", {})
    linux.setdefault("disablePasswordAuthentication", False)
    linux.setdefault("provisionVMAgent", True)
    linux.setdefault("patchSettings", {"patchMode": "ImageDefault", "assessmentMode": "ImageDefault"})


def status_view(cloud: Cloud, vm: Vm) -> dict[str, Any]:
    """A machine in a list with statusOnly."""
    view = instance_view(cloud, vm)
    inner = {"provisioningState": vm.state, "vmId": vm.uid, "instanceView": {"statuses": view["statuses"]}}
    return {"name": vm.name, "id": vm.id, "type": vm.kind, "location": vm.location, "properties": inner}


def instance_view(cloud: Cloud, vm: Vm) -> dict[str, Any]:
    """What goes on in a machine: the last operation's state, and the power."""
    when = (vm.changed_at or vm.created_at).isoformat()
    view: dict[str, Any] = {"statuses": _statuses(cloud, vm, when)}
    if vm.disk:
        disk = {"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded"}
        view["disks"] = [{"name": vm.disk.rpartition("/")[2], "statuses": [disk | {"time": when}]}]
    if vm.ready:
        ready = {"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Ready"}
        text = "Guest Agent is running"
        view["vmAgent"] = {
            "vmAgentVersion": "2.14.0.1",
            "statuses": [ready | {"message": text, "time": when}],
            "extensionHandlers": [],
        }
        view |= {"computerName": vm.properties["osProfile"]["computerName"], "osName": "ubuntu", "osVersion": "24.04"}
    if part(part(vm.properties, "diagnosticsProfile"), "bootDiagnostics").get("enabled"):
        view["bootDiagnostics"] = {}
    if vm.extensions:
        view["extensions"] = [_extension(one, when) for one in vm.extensions.values()]
    image = part(part(vm.properties, "storageProfile"), "imageReference")
    found = cloud.market.image(*(str(image.get(name, "")) for name in ("publisher", "offer", "sku")))
    return view | ({"hyperVGeneration": found.generation} if found else {})


def _statuses(cloud: Cloud, vm: Vm, when: str) -> list[dict[str, Any]]:
    state = vm.state.lower()
    code = f"ProvisioningState/{state}" + (f"/{vm.detail}" if vm.detail else "")
    status = {"code": code, "level": "Info", "displayStatus": _said(vm)}
    if vm.state == "Failed" and vm.error:
        status |= {"level": "Error", "message": vm.error[1]}
    found = [status | {"time": when}]
    if vm.power and not cloud.options.no_power_state:
        found.append({"code": f"PowerState/{vm.power}", "level": "Info", "displayStatus": _POWER[vm.power]})
    return found


def _said(vm: Vm) -> str:
    words = {"Succeeded": "Provisioning succeeded", "Failed": "Provisioning failed"}
    return words.get(vm.state, vm.state)


def _extension(extension: dict[str, Any], when: str) -> dict[str, Any]:
    properties = extension["properties"]
    done = properties["provisioningState"] == "Succeeded"
    status = {
        "code": f"ProvisioningState/{'succeeded' if done else 'transitioning'}",
        "level": "Info",
        "displayStatus": "Provisioning succeeded" if done else "Transitioning",
        "time": when,
    }
    version = properties.get("typeHandlerVersion", "1.0")
    kind = f"{properties['publisher']}.{properties['type']}"
    return {"name": extension["name"], "type": kind, "typeHandlerVersion": version, "statuses": [status]}
