"""The PUT of a machine: conditions, the same machine again, rights, quota, capacity, faults; and then a new machine."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from decimal import Decimal
from typing import Any

from starlette.responses import Response

import providers.azure.emulator_disks as disks
import providers.azure.emulator_groups as groups
import providers.azure.emulator_inline as inline
import providers.azure.emulator_network as network
import providers.azure.emulator_order as orders
import providers.azure.emulator_resources as kinds
from providers.azure.emulator_catalog import used
from providers.azure.emulator_cloud import Cloud
from providers.azure.emulator_order import Order, no_sku, part
from providers.azure.emulator_resources import Resource, Vm
from providers.azure.emulator_views import vm_view
from providers.azure.emulator_wire import Call, Refusal, invalid, reply

_DELETE = ("Delete", "Detach")


def put(cloud: Cloud, call: Call) -> Response:
    """Make a machine, or confirm one that is there."""
    group = cloud.store.group(call.parts["group"], write=True)
    there = cloud.store.find(kinds.VM, group.name, call.parts["name"])
    body = call.json()
    groups.check_created(there, call)
    order = orders.read(cloud, call.parts["name"], body)
    if isinstance(there, Vm):
        return _again(cloud, call, there, order)
    vm = _new(cloud, call, group.name, order)
    operation = cloud.store.begin("Microsoft.Compute", order.region)
    cloud.life.boot(vm, operation.id)
    if lag := cloud.fault("list_lag", subject=vm.subject()):
        vm.hidden_until = cloud.world.now() + timedelta(seconds=float(lag.args.get("seconds", 30)))
    cloud.life.sync(cloud.world.now())
    return reply(vm_view(cloud, vm), 201, cloud.running(call, operation))


# The same machine again.


def _again(cloud: Cloud, call: Call, vm: Vm, order: Order) -> Response:
    """A PUT on a machine that is there: the same one, with the tags of the new body.

    One whose boot failed is tried again [inferred]; to change its size is not modelled.
    """
    groups.check_location(vm, order.region)
    if vm.state == "Deleting":
        text = (
            f"Operation 'PUT' is not allowed on VM '{vm.name}' since the VM is marked for deletion. You can only retry "
            "the Delete operation (or wait for an ongoing one to complete)."
        )
        raise Refusal("OperationNotAllowed", text, 409)
    if name := _changed(vm, order):
        raise Refusal("PropertyChangeNotAllowed", f"Changing property '{name}' is not allowed.", 409, target=name)
    vm.tags = order.tags
    running = cloud.store.operations.get(vm.creating)
    if vm.state == "Failed" and not vm.allocated:
        _check_quota(cloud, order, vm)
        running = cloud.store.begin("Microsoft.Compute", vm.location)
        if _free(cloud, order) <= 0:
            vm.fate = (_no_room(order), cloud.options.start_s)
        cloud.life.boot(vm, running.id)
    elif running is None or running.ended is not None:
        running = cloud.store.begin("Microsoft.Compute", vm.location)
        cloud.store.finish(running.id, cloud.world.now())
    cloud.life.sync(cloud.world.now())
    return reply(vm_view(cloud, vm), 200, cloud.running(call, running))


def _changed(vm: Vm, order: Order) -> str:
    """The first property in which an order differs from the machine that has its name."""
    old, new = vm.properties, order.properties
    profile, asked = part(old, "osProfile"), part(new, "osProfile")
    same = {
        "hardwareProfile.vmSize": vm.size == order.size.name,
        "zones": vm.zone == order.zone,
        "priority": vm.spot == order.spot,
        "evictionPolicy": vm.eviction == order.eviction,
        "osProfile.adminUsername": vm.user == order.user,
        "osProfile.computerName": profile.get("computerName") == asked.get("computerName", vm.name),
        "osProfile.customData": vm.secrets == order.secrets,
        "linuxConfiguration.ssh.publicKeys": vm.keys == order.keys,
        "imageReference": _names(old) == _names(new),
        "osDisk.name": _disk_name(vm.name, old) == _disk_name(vm.name, new)
        or not part(part(new, "storageProfile"), "osDisk").get("name"),
        "networkProfile": _interfaces(new) in ([], _interfaces(old)),
    }
    return next((name for name, agrees in same.items() if not agrees), "")


def _names(properties: dict[str, Any]) -> list[str]:
    found = part(part(properties, "storageProfile"), "imageReference")
    return [str(found.get(name, "")).lower() for name in ("publisher", "offer", "sku", "version")]


def _disk_name(vm: str, properties: dict[str, Any]) -> str:
    return str(part(part(properties, "storageProfile"), "osDisk").get("name") or f"{vm}_OsDisk")


def _interfaces(properties: dict[str, Any]) -> list[str]:
    rows = part(properties, "networkProfile").get("networkInterfaces") or []
    return sorted(str(row.get("id", "")).lower() for row in rows)


# A new machine.


def _new(cloud: Cloud, call: Call, group: str, order: Order) -> Vm:
    """A new machine, in the store with its disk and what its body asks for of the network.

    Raises:
        Refusal: and nothing was made.
    """
    vm = _draft(cloud, group, order)
    nics = _attached(cloud, vm, order)
    if not nics and not part(order.properties, "networkProfile").get("networkInterfaceConfigurations"):
        raise invalid("Virtual machine must have at least one network interface.", "networkProfile")
    disk = _disk_name(order.name, order.properties)
    if cloud.store.find(kinds.DISK, group, disk) is not None:
        text = f"Disk {disk} already exists in resource group {group.upper()}. Only CreateOption.Attach is supported."
        raise Refusal("ConflictingUserInput", text, 409, target=f"/subscriptions/.../disks/{disk}")
    _refuse_by_fault(cloud, vm, order, nics)
    _check_quota(cloud, order)
    vm.rate = str(_price(cloud, vm, order))
    _check_capacity(cloud, vm, order, nics)
    inline.make(cloud, vm)
    _decide_fate(cloud, vm, order)
    if vm.fate is None or cloud.options.failed_disk:
        made = disks.make(cloud, group, disk, order.region, {}, order.disk_kind, order.disk_gb, "Linux")
        vm.disk = made.id
    cloud.store.add(vm)
    return vm


def _draft(cloud: Cloud, group: str, order: Order) -> Vm:
    now = cloud.world.now()
    body = {key: deepcopy(value) for key, value in order.body.items() if key not in ("location", "tags", "id", "name")}
    properties = body["properties"]
    profile = properties["osProfile"]
    for secret in ("customData", "adminPassword"):
        profile.pop(secret, None)
    profile.setdefault("computerName", order.name)
    if order.spot:
        properties["evictionPolicy"] = order.eviction
    lag = cloud.options.list_lag_s
    return Vm(
        uid=cloud.world.uuid(),
        kind=kinds.VM,
        subscription=cloud.options.subscription,
        group=group,
        name=order.name,
        location=order.region,
        created_at=now,
        tags=order.tags,
        body=body,
        size=order.size.name,
        spot=order.spot,
        eviction=order.eviction,
        rate="0",
        zone=order.zone,
        user=order.user,
        keys=order.keys,
        secrets=order.secrets,
        image_version=order.version,
        hidden_until=now + timedelta(seconds=lag) if lag else None,
    )


def _attached(cloud: Cloud, vm: Vm, order: Order) -> list[Resource]:
    """The network interfaces that a body names.

    Raises:
        Refusal: one is not there, elsewhere, in use or reserved.
    """
    found = []
    for row in part(order.properties, "networkProfile").get("networkInterfaces") or ():
        wanted = str(row.get("id", "")) if isinstance(row, dict) else ""
        nic = cloud.store.get(wanted)
        if nic is None or nic.kind != kinds.NIC:
            text = f"The Resource '{wanted}' referenced by resource '{vm.id}' was not found."
            raise Refusal("NotFound", text, 404)
        if nic.location != order.region:
            raise Refusal("InvalidResourceReference", f"{nic.id} is not in location {order.region}.")
        network.check_reserved(cloud, nic, vm.id)
        user = cloud.store.user_of(nic)
        if user is not None:
            text = f"Network Interface {nic.id} is used by existing resource {user.id}."
            raise Refusal("NicInUse", text, 400, details=[])
        if part(row, "properties").get("deleteOption") not in (None, *_DELETE):
            raise invalid("The value of parameter 'networkInterfaces.deleteOption' is not valid.")
        found.append(nic)
    return found


def _refuse_by_fault(cloud: Cloud, vm: Vm, order: Order, nics: list[Resource]) -> None:
    subject = vm.subject()
    if cloud.fault("gone", verb="launch", subject=subject):
        cloud.market.remove(order.size, order.region)
        raise no_sku(order.size, order.region)
    if odd := cloud.fault("unknown_code", verb="launch", subject=subject):
        code = str(odd.args.get("code", "PlacementLedgerMismatch"))
        raise Refusal(code, "The placement ledger does not balance.", int(odd.args.get("status", 409)))
    if cloud.fault("quota", verb="launch", subject=subject):
        raise _over(order, f"{order.size.family} Cores", 0, 0)
    if cloud.fault("sold_out", verb="launch", subject=subject):
        raise _refused_for_capacity(cloud, vm, nics, order)
    if change := cloud.fault("price_changed", verb="launch", subject=subject):
        kind = "spot" if order.spot else "regular"
        cloud.market.change(order.size, order.region, kind, Decimal(str(change.args.get("factor", "1.5"))))


def _refused_for_capacity(cloud: Cloud, vm: Vm, nics: list[Resource], order: Order) -> Refusal:
    """409 SkuNotAvailable; whether Azure keeps the network interfaces reserved then, too, is an option."""
    if cloud.options.reserve_on_refusal:
        for nic in nics:
            seconds = cloud.options.nic_reserved_s * cloud.world.boot_scale
            nic.reserved_until, nic.reserved_for = cloud.world.now() + timedelta(seconds=seconds), vm.id
    return no_sku(order.size, order.region, order.zone)


def _check_quota(cloud: Cloud, order: Order, own: Vm | None = None) -> None:
    if own is not None:
        return  # it is counted already
    names = (
        {"lowPriorityCores": "LowPriorityCores"} if order.spot else {order.size.family: f"{order.size.family} Cores"}
    )
    if not order.spot:
        names |= {"cores": "Total Regional Cores"}
    for name, title in names.items():
        limit, usage = cloud.market.limit(name, order.region), used(cloud, name, order.region)
        if usage + order.size.vcpus > limit:
            raise _over(order, title, limit, usage)
    limit = cloud.market.limit("virtualMachines", order.region)
    if used(cloud, "virtualMachines", order.region) >= limit:
        text = f"The maximum number of virtual machines in location {order.region} is {limit}."
        raise Refusal("QuotaExceeded", text, 409)


def _over(order: Order, title: str, limit: int, usage: int) -> Refusal:
    more = order.size.vcpus
    text = (
        f"Operation could not be completed as it results in exceeding approved {title} quota. Additional details - "
        f"Deployment Model: Resource Manager, Location: {order.region}, Current Limit: {limit}, "
        f"Current Usage: {usage}, Additional Required: {more}, (Minimum) New Limit Required: {usage + more}. Setup "
        "Alerts when Quota reaches threshold. Learn more at https://aka.ms/quotamonitoringalerting . Submit a request "
        "for Quota increase at https://aka.ms/ProdportalCRP/ by specifying parameters listed in the 'Details' section "
        "for deployment to succeed. Please read more about quota limits at "
        "https://docs.microsoft.com/en-us/azure/azure-supportability/regional-quota-requests"
    )
    return Refusal("OperationNotAllowed", text, 409)


def _price(cloud: Cloud, vm: Vm, order: Order) -> Decimal:
    market = cloud.market
    found = market.spot(order.size, order.region) if order.spot else market.on_demand(order.size, order.region)
    if found is None:
        raise no_sku(order.size, order.region)
    if order.max_price is not None and found > order.max_price:
        # Its HTTP status is not documented.
        text = (
            f"Unable to perform operation '{vm.name}' since the provided max price '{order.max_price} USD' is lower "
            f"than the current spot price '{found} USD' for Azure Spot VM size '{order.size.name}'."
        )
        raise Refusal("SpotPriceGreaterThanProvidedMaxPrice", text, 409)
    return found


def _check_capacity(cloud: Cloud, vm: Vm, order: Order, nics: list[Resource]) -> None:
    """Restrictions, and Spot without capacity, are refused at once; on demand fails later."""
    region = cloud.market.regions[order.region]
    barred = order.zone in region.restricted_zones if order.zone else False
    if region.restricted or barred:
        raise no_sku(order.size, order.region, order.zone)
    if order.spot and _free(cloud, order) <= 0:
        raise _refused_for_capacity(cloud, vm, nics, order)


def _free(cloud: Cloud, order: Order) -> int:
    return cloud.life.free(order.size, order.region, spot=order.spot)


def _no_room(order: Order) -> str:
    return "ZonalAllocationFailed" if order.zone else "AllocationFailed"


def _decide_fate(cloud: Cloud, vm: Vm, order: Order) -> None:
    """What will go wrong with a new machine."""
    subject, usual_s = vm.subject(), cloud.options.start_s
    if _free(cloud, order) <= 0:
        vm.fate = (_no_room(order), usual_s)
    if failing := cloud.fault("fail_after_accept", subject=subject):
        vm.fate = (str(failing.args.get("code", _no_room(order))), float(failing.args.get("seconds", usual_s)))
    if stuck := cloud.fault("boot_stuck", subject=subject):
        vm.stuck = str(stuck.args.get("state", "creating"))
    if wrong := cloud.fault("wrong_gpu", subject=subject):
        vm.device = (str(wrong.args.get("gpu", "NVIDIA L4")), int(wrong.args.get("memory_mib", 23034)))
