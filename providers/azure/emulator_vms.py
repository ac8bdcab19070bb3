"""The emulated Azure's machines after their PUT: read, list, tag, power, end, evict, extend, look at the boot log."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from starlette.responses import PlainTextResponse, Response

import providers.azure.emulator_groups as groups
import providers.azure.emulator_order as orders
import providers.azure.emulator_resources as kinds
from providers.azure.emulator_catalog import paged
from providers.azure.emulator_cloud import Cloud
from providers.azure.emulator_order import part
from providers.azure.emulator_resources import Vm
from providers.azure.emulator_views import instance_view, status_view, vm_view
from providers.azure.emulator_wire import Call, Refusal, invalid, not_found, reply

#: Action to the state and power while it runs, what it ends in, and how long it takes (a part of `deallocate_s`).
_ACTIONS = {
    "deallocate": ("Updating", "deallocating", "deallocated", 1.0),
    "poweroff": ("Updating", "stopping", "stopped", 0.5),
    "restart": ("Updating", "stopping", "restarted", 1.0),
    "redeploy": ("Updating", "stopping", "restarted", 2.0),
    "start": ("Updating", "starting", "restarted", 1.0),
}

#: Actions that have nothing to do, by power.
_THERE = {
    "start": ("starting", "running"),
    "deallocate": ("deallocating", "deallocated"),
    "poweroff": ("stopped", "deallocated"),
}


def _need(cloud: Cloud, call: Call, *, write: bool = False) -> Vm:
    found = groups.need(cloud, kinds.VM, call, write=write)
    assert isinstance(found, Vm), "only machines are of this type"
    return found


def get(cloud: Cloud, call: Call) -> Response:
    """One machine."""
    expand = call.query.get("$expand", "")
    if expand.lower() not in ("", "instanceview", "userdata"):
        raise invalid(f"The value '{expand}' of parameter '$expand' is not valid.", "$expand")
    return reply(vm_view(cloud, _need(cloud, call), instance=expand.lower() == "instanceview"))


def get_instance_view(cloud: Cloud, call: Call) -> Response:
    """A machine's instance view alone."""
    return reply(instance_view(cloud, _need(cloud, call)))


def listed(cloud: Cloud, call: Call) -> Response:
    """All machines of a group or of the subscription; there is no filter for tags."""
    vms = [one for one in groups.seen(cloud, kinds.VM, call) if isinstance(one, Vm)]
    if location := call.parts.get("location"):
        vms = [vm for vm in vms if vm.location == cloud.market.place(location)]
    if call.query.get("statusonly", "").lower() == "true":
        return reply(paged(call, [status_view(cloud, vm) for vm in vms], cloud.options.page_size))
    instance = call.query.get("$expand", "").lower() == "instanceview"
    return reply(paged(call, [vm_view(cloud, vm, instance=instance) for vm in vms], cloud.options.page_size))


def patch(cloud: Cloud, call: Call) -> Response:
    """Change a machine's tags; nothing else is modelled."""
    vm, body = _need(cloud, call, write=True), call.json()
    if body.keys() - {"tags", "identity"}:
        raise invalid("In this sandbox only a machine's tags can be changed.", next(iter(body.keys() - {"tags"})))
    vm.tags = groups.check_tags(body)
    return reply(vm_view(cloud, vm))


def delete(cloud: Cloud, call: Call) -> Response:
    """Begin the end of a machine; 204 if there is none."""
    group = cloud.store.group(call.parts["group"])
    vm = cloud.store.find(kinds.VM, group.name, call.parts["name"])
    if not isinstance(vm, Vm):
        return reply(None, 204)
    if vm.state == "Deleting":
        if cloud.options.second_delete == 409:
            text = f"Operation 'DELETE' is not allowed on VM '{vm.name}' since the VM is marked for deletion."
            raise Refusal("OperationNotAllowed", text, 409)
        pending = next((one.operation for one in cloud.store.events if one.uid == vm.uid and one.what == "deleted"), "")
        if pending in cloud.store.operations:
            return reply(None, 202, cloud.running(call, cloud.store.operations[pending], location=True))
    operation = cloud.store.begin("Microsoft.Compute", vm.location, final=204)
    headers = cloud.running(call, operation, location=True)
    if cloud.fault("ignore_terminate", verb="terminate", subject=vm.subject()):
        cloud.store.finish(operation.id, cloud.world.now())
        return reply(None, 202, headers)
    cloud.life.overrule(vm, "Deleting", "stopping")
    forced = call.query.get("forcedeletion", "").lower() == "true"
    seconds = cloud.options.delete_s / (2 if forced else 1)
    cloud.store.plan(cloud.store.later(seconds), "deleted", vm, operation=operation.id)
    return reply(None, 202, headers)


def act(cloud: Cloud, call: Call) -> Response:
    """Power, redeploy, reapply: 202 and a long-running operation."""
    vm, name = _need(cloud, call, write=True), call.parts["action"].lower()
    if vm.state == "Deleting":
        text = f"Operation '{name}' is not allowed on VM '{vm.name}' since the VM is marked for deletion."
        raise Refusal("OperationNotAllowed", text, 409)
    if vm.state == "Failed" and not vm.allocated and name not in ("deallocate", "reapply"):
        text = f"Operation '{name}' is not allowed on VM '{vm.name}' since the VM has a failed provisioning state."
        raise Refusal("OperationNotAllowed", text, 409)
    operation = cloud.store.begin("Microsoft.Compute", vm.location)
    headers = cloud.running(call, operation, location=True)
    if name == "reapply" or vm.power in _THERE.get(name, ()):
        cloud.store.finish(operation.id, cloud.world.now())
        return reply(None, 202, headers)
    if vm.power == "deallocated" and name != "start":
        raise Refusal("OperationNotAllowed", f"Operation '{name}' needs VM '{vm.name}' to be allocated.", 409)
    if name == "start":
        _take_stock(cloud, vm)
    state, power, final, share = _ACTIONS[name]
    cloud.life.overrule(vm, state, power)
    cloud.store.plan(cloud.store.later(cloud.options.deallocate_s * share), final, vm, operation=operation.id)
    return reply(None, 202, headers)


def _take_stock(cloud: Cloud, vm: Vm) -> None:
    """Hold hardware for a deallocated machine that starts.

    Raises:
        Refusal: there is none.
    """
    size = cloud.market.sizes[vm.size.lower()]
    if not vm.allocated and cloud.life.free(size, vm.location, spot=vm.spot) <= 0:
        if vm.spot:
            raise orders.no_sku(size, vm.location, vm.zone)
        text = "Allocation failed. We do not have sufficient capacity for the requested VM size in this region."
        raise Refusal("AllocationFailed", text, 409)
    vm.allocated = True


def simulate_eviction(cloud: Cloud, call: Call) -> Response:
    """Spot takes the machine a little later."""
    vm = _need(cloud, call, write=True)
    if not vm.spot:
        text = f"Operation 'simulateEviction' is not allowed on VM '{vm.name}': it is no Azure Spot VM."
        raise Refusal("OperationNotAllowed", text, 409)
    cloud.store.plan(cloud.store.later(cloud.options.evict_s), "evicted", vm)
    return reply(None, 204)


# Extensions.


def put_extension(cloud: Cloud, call: Call) -> Response:
    """Install an extension; it is done minutes later. What it would do inside is not modelled."""
    vm, body, name = _need(cloud, call, write=True), call.json(), call.parts["extension"]
    asked = part(body, "properties")
    for field in ("publisher", "type", "typeHandlerVersion"):
        if not isinstance(asked.get(field), str):
            raise invalid(f"Required parameter '{field}' is missing (null).", field)
    if not vm.allocated or vm.state == "Deleting":
        text = "Cannot modify extensions in the VM when the VM is not running."
        raise Refusal("OperationNotAllowed", text, 409)
    key, new = name.lower(), name.lower() not in vm.extensions
    properties = {key: deepcopy(value) for key, value in asked.items() if key != "protectedSettings"}
    vm.extensions[key] = {
        "name": name,
        "id": f"{vm.id}/extensions/{name}",
        "type": f"{kinds.VM}/extensions",
        "location": vm.location,
        "tags": groups.check_tags(body),
        "properties": {"autoUpgradeMinorVersion": False, "settings": {}, **properties, "provisioningState": "Creating"},
    }
    operation = cloud.store.begin("Microsoft.Compute", vm.location)
    when = cloud.store.later(cloud.options.extension_s)
    cloud.store.plan(when, f"extension:{key}", vm, operation=operation.id)
    return reply(vm.extensions[key], 201 if new else 200, cloud.running(call, operation))


def get_extension(cloud: Cloud, call: Call) -> Response:
    """One extension."""
    return reply(_extension(_need(cloud, call), call))


def list_extensions(cloud: Cloud, call: Call) -> Response:
    """All extensions of a machine."""
    return reply({"value": list(_need(cloud, call).extensions.values())})


def delete_extension(cloud: Cloud, call: Call) -> Response:
    """Take an extension away."""
    vm = _need(cloud, call, write=True)
    operation = cloud.store.begin("Microsoft.Compute", vm.location, final=204)
    cloud.store.finish(operation.id, cloud.world.now())
    if vm.extensions.pop(call.parts["extension"].lower(), None) is None:
        return reply(None, 204)
    return reply(None, 202, cloud.running(call, operation, location=True))


def _extension(vm: Vm, call: Call) -> dict[str, Any]:
    found = vm.extensions.get(call.parts["extension"].lower())
    if found is None:
        raise not_found(f"{kinds.VM}/{vm.name}/extensions", call.parts["extension"], vm.group)
    return found


# The boot log.


def boot_diagnostics(cloud: Cloud, call: Call) -> Response:
    """Where the boot log can be read without a token, for a while."""
    vm = _need(cloud, call)
    if not part(part(vm.properties, "diagnosticsProfile"), "bootDiagnostics").get("enabled"):
        text = f"Boot diagnostics is not enabled for VM '{vm.name}'."
        raise Refusal("OperationNotAllowed", text, 409)
    home = f"{call.base}/bootdiagnostics-{vm.uid}/{vm.name}"
    signature = "sv=2024-11-04&se=2099-01-01T00%3A00%3A00Z&sr=b&sp=r&sig=sandbox"
    body = {
        "consoleScreenshotBlobUri": f"{home}.screenshot.bmp?{signature}",
        "serialConsoleLogBlobUri": f"{home}.serialconsole.log?{signature}",
    }
    return reply(body)


def boot_log(cloud: Cloud, call: Call) -> Response:
    """A machine's serial console, as its storage account would serve it."""
    vm = cloud.store.vm(call.parts["uid"].lower())
    if vm is None or call.query.get("sig") != "sandbox":
        return PlainTextResponse("<?xml version='1.0'?><Error><Code>BlobNotFound</Code></Error>", 404)
    lines = [f"[    0.000000] Linux version 6.8.0-azure ({vm.size})"] if vm.power == "running" else []
    lines += ["[   42.000000] cloud-init: finished"] if vm.ready else []
    return PlainTextResponse("".join(f"{line}\r\n" for line in lines))
