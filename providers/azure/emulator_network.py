"""The emulated network: security groups, networks with subnets, public addresses, network interfaces.

What bodies may hold stands in `emulator_network_rules`, how answers look in `emulator_network_views`.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from starlette.responses import Response

import providers.azure.emulator_groups as groups
import providers.azure.emulator_network_rules as rules
import providers.azure.emulator_resources as kinds
from providers.azure.emulator_catalog import paged
from providers.azure.emulator_cloud import Cloud
from providers.azure.emulator_network_views import child_view, view
from providers.azure.emulator_resources import Resource
from providers.azure.emulator_wire import Call, Refusal, not_found, reply

_CHILDREN = {"subnets": kinds.VNET, "securityrules": kinds.NSG}
_LISTS = {"subnets": "subnets", "securityrules": "securityRules"}


def _kind(call: Call) -> str:
    return kinds.TYPES[f"microsoft.network/{call.parts['type'].lower()}"]


def put(cloud: Cloud, call: Call) -> Response:
    """Make or change a resource; it settles a little later."""
    kind, body = _kind(call), call.json()
    group = cloud.store.group(call.parts["group"], write=True)
    there = cloud.store.find(kind, group.name, call.parts["name"])
    groups.check_created(there, call)
    place, tags = cloud.place(body.get("location"), kind), groups.check_tags(body)
    if there is not None:
        groups.check_location(there, place)
        if there.state == "Deleting":
            text = f"Cannot proceed with operation because resource {there.id} is being deleted."
            raise Refusal("AnotherOperationInProgress", text, 409)
    made = make(cloud, kind, group.name, call.parts["name"], place, tags, body, there)
    operation = cloud.store.begin("Microsoft.Network", place)
    cloud.store.plan(cloud.store.later(cloud.options.network_s), "settled", made, operation=operation.id)
    cloud.life.sync(cloud.world.now())
    return reply(view(cloud.store, made), 200 if there else 201, cloud.running(call, operation))


def make(
    cloud: Cloud,
    kind: str,
    group: str,
    name: str,
    place: str,
    tags: dict[str, str],
    body: dict[str, Any],
    there: Resource | None = None,
) -> Resource:
    """A new network resource, or an old one with a new body. It is in the store when this returns.

    Raises:
        Refusal: the body breaks a rule, or a quota does.
    """
    body = {
        key: deepcopy(value) for key, value in body.items() if key not in ("location", "tags", "id", "name", "type")
    }
    if not isinstance(body.get("properties", {}), dict):
        raise rules.wrong("properties", "an object")
    resource = Resource(
        uid=cloud.world.uuid(),
        kind=kind,
        subscription=cloud.options.subscription,
        group=group,
        name=name,
        location=place,
        created_at=cloud.world.now(),
        tags=tags,
        body=body,
        state="Updating",
    )
    rules.check(cloud, resource, there)
    if there is None:
        _number(cloud, resource)
        cloud.store.add(resource)
        return resource
    there.tags, there.flow, there.state = tags, there.flow + 1, "Updating"
    old, there.body = there.body, resource.body
    _keep(there, old.get("properties", {}))
    _number(cloud, there)
    return there


def _number(cloud: Cloud, resource: Resource) -> None:
    """Give a new resource the numbers that Azure gives it."""
    if resource.kind == kinds.ADDRESS:
        resource.properties.setdefault("ipAddress", cloud.world.address())
    elif resource.kind == kinds.NIC:
        taken = len(cloud.store.of(kinds.NIC)) + 4
        resource.properties.setdefault(
            "macAddress", "00-0D-3A-" + "-".join(f"{(taken >> s) & 255:02X}" for s in (16, 8, 0))
        )
        for number, row in enumerate(resource.properties.get("ipConfigurations", [])):
            row["properties"].setdefault("privateIPAddress", f"10.0.{(taken >> 8) & 15}.{(taken + number) & 255}")


def _keep(resource: Resource, old: dict[str, Any]) -> None:
    """What Azure gave stays, whatever a later PUT says."""
    if resource.kind == kinds.ADDRESS:
        resource.properties["ipAddress"] = old["ipAddress"]
    elif resource.kind == kinds.NIC:
        resource.properties["macAddress"] = old["macAddress"]
        known = {row["name"]: row["properties"] for row in old.get("ipConfigurations", [])}
        for row in resource.properties.get("ipConfigurations", []):
            if row["name"] in known:
                row["properties"].setdefault("privateIPAddress", known[row["name"]]["privateIPAddress"])


def get(cloud: Cloud, call: Call) -> Response:
    """One resource."""
    return reply(view(cloud.store, groups.need(cloud, _kind(call), call)))


def listed(cloud: Cloud, call: Call) -> Response:
    """All of a type, in a group or in the subscription."""
    rows = [view(cloud.store, one) for one in groups.seen(cloud, _kind(call), call)]
    return reply(paged(call, rows, cloud.options.page_size))


def patch(cloud: Cloud, call: Call) -> Response:
    """Change a resource's tags."""
    found = groups.need(cloud, _kind(call), call, write=True)
    found.tags = groups.check_tags(call.json())
    return reply(view(cloud.store, found))


def delete(cloud: Cloud, call: Call) -> Response:
    """Begin the end of a resource that nothing uses; 204 if there is none."""
    kind = _kind(call)
    group = cloud.store.group(call.parts["group"])
    found = cloud.store.find(kind, group.name, call.parts["name"])
    if found is None:
        return reply(None, 204)
    _check_free(cloud, found)
    return groups.end(cloud, call, found, cloud.options.network_delete_s)


def _check_free(cloud: Cloud, resource: Resource) -> None:
    store = cloud.store
    if resource.kind == kinds.NIC:
        check_reserved(cloud, resource, "")
        if (vm := store.user_of(resource)) is not None:
            raise groups.is_used(resource, "NicInUse", f"existing resource {vm.id}")
    elif resource.kind == kinds.ADDRESS:
        if (held := store.holder_of(resource)) is not None:
            raise groups.is_used(resource, "PublicIPAddressCannotBeDeleted", f"ip configuration of {held[0].id}")
    elif resource.kind == kinds.NSG:
        if by := _user_of_group(cloud, resource):
            raise groups.is_used(resource, "InUseNetworkSecurityGroupCannotBeDeleted", by)
    elif by := next((one for one in rules.subnets_used(store) if one.startswith(f"{resource.key}/")), ""):
        raise groups.is_used(resource, "InUseSubnetCannotBeDeleted", by)


def check_reserved(cloud: Cloud, nic: Resource, vm_id: str) -> None:
    """A machine that could not be made holds its network interfaces for a while.

    Raises:
        Refusal: it is held for another machine than *vm_id*.
    """
    until = nic.reserved_until
    if until is None or until <= cloud.world.now() or nic.reserved_for.lower() == vm_id.lower():
        return
    text = (
        f"Nic(s) in request is reserved for another Virtual Machine for 180 seconds. Please provide another nic(s) or "
        f"retry after 180 seconds. Reserved VM: {nic.reserved_for}"
    )
    raise Refusal("NicReservedForAnotherVm", text, 400, details=[])


def _user_of_group(cloud: Cloud, group: Resource) -> str:
    for one in cloud.store.of(kinds.NIC):
        if rules.reference(one.properties, "networkSecurityGroup") == group.key:
            return one.id
    for one in cloud.store.of(kinds.VNET):
        for row in one.properties.get("subnets", []):
            if rules.reference(row.get("properties", {}), "networkSecurityGroup") == group.key:
                return f"{one.id}/subnets/{row['name']}"
    return ""


# Subnets and security rules by their own paths.


def put_child(cloud: Cloud, call: Call) -> Response:
    """Make or change a subnet or a security rule."""
    parent, rows = _parent(cloud, call, write=True)
    body, name = call.json(), call.parts["child"]
    old = next((row for row in rows if row["name"].lower() == name.lower()), None)
    row = {"name": old["name"] if old else name, "properties": deepcopy(body.get("properties", {}))}
    changed = deepcopy(parent.properties)
    changed[_LISTS[call.parts["children"].lower()]] = [row if one is old else one for one in rows] + (
        [] if old else [row]
    )
    make(cloud, parent.kind, parent.group, parent.name, parent.location, parent.tags, {"properties": changed}, parent)
    operation = cloud.store.begin("Microsoft.Network", parent.location)
    cloud.store.plan(cloud.store.later(cloud.options.network_s), "settled", parent, operation=operation.id)
    cloud.life.sync(cloud.world.now())
    view_ = child_view(parent, call.parts["children"], row)
    return reply(view_, 200 if old else 201, cloud.running(call, operation))


def get_child(cloud: Cloud, call: Call) -> Response:
    """One subnet or security rule."""
    parent, rows = _parent(cloud, call)
    row = next((row for row in rows if row["name"].lower() == call.parts["child"].lower()), None)
    if row is None:
        raise not_found(f"{parent.kind}/{parent.name}/{call.parts['children']}", call.parts["child"], parent.group)
    return reply(child_view(parent, call.parts["children"], row))


def list_children(cloud: Cloud, call: Call) -> Response:
    """All subnets or security rules."""
    parent, rows = _parent(cloud, call)
    return reply({"value": [child_view(parent, call.parts["children"], row) for row in rows]})


def delete_child(cloud: Cloud, call: Call) -> Response:
    """Take a subnet or security rule away; 204 if there is none."""
    parent, rows = _parent(cloud, call, write=True)
    row = next((row for row in rows if row["name"].lower() == call.parts["child"].lower()), None)
    if row is None:
        return reply(None, 204)
    wanted = f"{parent.key}/subnets/{row['name']}".lower()
    if parent.kind == kinds.VNET and wanted in rules.subnets_used(cloud.store):
        raise groups.is_used(parent, "InUseSubnetCannotBeDeleted", wanted)
    rows.remove(row)
    operation = cloud.store.begin("Microsoft.Network", parent.location, final=204)
    cloud.store.finish(operation.id, cloud.world.now())
    cloud.life.sync(cloud.world.now())
    return reply(None, 202, cloud.running(call, operation, location=True))


def _parent(cloud: Cloud, call: Call, *, write: bool = False) -> tuple[Resource, list[dict[str, Any]]]:
    children = call.parts["children"].lower()
    found = groups.need(cloud, _CHILDREN[children], call, write=write)
    rows: list[dict[str, Any]] = found.properties.setdefault(_LISTS[children], [])
    return found, rows
