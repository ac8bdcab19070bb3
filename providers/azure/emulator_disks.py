"""The emulated managed disks: those that machines bring, and empty ones."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

import providers.azure.emulator_groups as groups
import providers.azure.emulator_resources as kinds
from providers.azure.emulator_catalog import paged
from providers.azure.emulator_cloud import Cloud
from providers.azure.emulator_resources import Resource
from providers.azure.emulator_store import Store
from providers.azure.emulator_wire import Call, Refusal, invalid, reply


def put(cloud: Cloud, call: Call) -> Response:
    """Make an empty disk, or change its tags; other sources than Empty are not modelled."""
    body = call.json()
    group = cloud.store.group(call.parts["group"], write=True)
    there = cloud.store.find(kinds.DISK, group.name, call.parts["name"])
    groups.check_created(there, call)
    place, tags = cloud.place(body.get("location"), kinds.DISK), groups.check_tags(body)
    operation = cloud.store.begin("Microsoft.Compute", place)
    if there is not None:
        groups.check_location(there, place)
        there.tags = tags
        cloud.store.finish(operation.id, cloud.world.now())
        return reply(view(cloud.store, there), 200, cloud.running(call, operation))
    properties = body.get("properties") or {}
    if (properties.get("creationData") or {}).get("createOption") != "Empty":
        raise invalid("Required parameter 'disk.creationData.createOption' is missing or not Empty.")
    size_gb = properties.get("diskSizeGB")
    if not isinstance(size_gb, int) or not 1 <= size_gb <= 32767:
        raise invalid(f"Value '{size_gb}' for disk.diskSizeGb is invalid.", "disk.diskSizeGb")
    kind = str((body.get("sku") or {}).get("name", "Standard_LRS"))
    made = make(cloud, group.name, call.parts["name"], place, tags, kind, size_gb)
    made.state = "Updating"
    cloud.store.plan(cloud.store.later(cloud.options.network_s), "settled", made, operation=operation.id)
    cloud.life.sync(cloud.world.now())
    return reply(view(cloud.store, made), 202, cloud.running(call, operation))


def make(
    cloud: Cloud, group: str, name: str, place: str, tags: dict[str, str], kind: str, size_gb: int, os_type: str = ""
) -> Resource:
    """A new disk, in the store; one with an *os_type* came from an image."""
    disk = Resource(
        uid=cloud.world.uuid(),
        kind=kinds.DISK,
        subscription=cloud.options.subscription,
        group=group,
        name=name,
        location=place,
        created_at=cloud.world.now(),
        tags=tags,
        body={"sku": {"name": kind}, "properties": {"diskSizeGB": size_gb, "osType": os_type}},
    )
    cloud.store.add(disk)
    return disk


def get(cloud: Cloud, call: Call) -> Response:
    """One disk."""
    return reply(view(cloud.store, groups.need(cloud, kinds.DISK, call)))


def listed(cloud: Cloud, call: Call) -> Response:
    """All disks, of a group or of the subscription."""
    rows = [view(cloud.store, one) for one in groups.seen(cloud, kinds.DISK, call)]
    return reply(paged(call, rows, cloud.options.page_size))


def patch(cloud: Cloud, call: Call) -> Response:
    """Change a disk's tags."""
    found = groups.need(cloud, kinds.DISK, call, write=True)
    found.tags = groups.check_tags(call.json())
    return reply(view(cloud.store, found))


def delete(cloud: Cloud, call: Call) -> Response:
    """Begin the end of a disk that no machine has; 204 if there is none."""
    group = cloud.store.group(call.parts["group"])
    found = cloud.store.find(kinds.DISK, group.name, call.parts["name"])
    if found is None:
        return reply(None, 204)
    if owner := _owner(cloud.store, found):
        text = f"Disk {found.name} is attached to VM {owner}."
        raise Refusal("OperationNotAllowed", text, 409)
    return groups.end(cloud, call, found, cloud.options.network_delete_s)


def view(store: Store, disk: Resource) -> dict[str, Any]:
    """A disk wherever one stands."""
    owner = _owner(store, disk)
    sku = disk.body["sku"]["name"]
    body: dict[str, Any] = {
        "name": disk.name,
        "id": disk.id,
        "type": disk.kind,
        "location": disk.location,
        "tags": dict(disk.tags),
        "sku": {"name": sku, "tier": sku.partition("_")[0].replace("SSD", "")},
        "properties": {
            "osType": disk.properties["osType"] or None,
            "creationData": {"createOption": "FromImage" if disk.properties["osType"] else "Empty"},
            "diskSizeGB": disk.properties["diskSizeGB"],
            "diskSizeBytes": disk.properties["diskSizeGB"] * 1024**3,
            "timeCreated": disk.created_at.isoformat(),
            "provisioningState": disk.state,
            "diskState": "Attached" if owner else "Unattached",
            "uniqueId": disk.uid,
        },
    }
    properties = body["properties"]
    body["properties"] = {key: value for key, value in properties.items() if value is not None}
    return body | ({"managedBy": owner} if owner else {})


def _owner(store: Store, disk: Resource) -> str:
    return next((vm.id for vm in store.vms() if vm.disk.lower() == disk.key), "")
