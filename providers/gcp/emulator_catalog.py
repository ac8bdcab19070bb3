"""The emulated Google Cloud's calls on what there is: zones, regions, machine types, GPUs, images, networks, quotas."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import providers.gcp.emulator_lists as lists
import providers.gcp.emulator_views as views
from providers.gcp.emulator_cloud import Cloud
from providers.gcp.emulator_operations import view
from providers.gcp.emulator_wire import Call, invalid, missing

Answer = dict[str, Any]
Handler = Callable[[Cloud, Call], Answer]


def project_get(cloud: Cloud, call: Call) -> Answer:
    cloud.allow(call, "compute.projects.get", f"projects/{call.project}")
    return views.project(cloud.options, cloud.quotas.views(None))


def regions_get(cloud: Cloud, call: Call) -> Answer:
    cloud.allow(call, "compute.regions.get", f"projects/{call.project}/regions/{call.parts['region']}")
    region = cloud.market.regions[call.parts["region"]]
    return views.region(region, call.project, cloud.quotas.views(region.name))


def regions_list(cloud: Cloud, call: Call) -> Answer:
    rows = (
        views.region(region, call.project, cloud.quotas.views(region.name))
        for region in sorted(cloud.market.regions.values(), key=lambda one: one.name)
    )
    return _list(cloud, call, "region", f"projects/{call.project}/regions", rows)


def zones_get(cloud: Cloud, call: Call) -> Answer:
    return views.zone(call.zone, call.project)


def zones_list(cloud: Cloud, call: Call) -> Answer:
    rows = (views.zone(name, call.project) for name in sorted(cloud.market.zones))
    return _list(cloud, call, "zone", f"projects/{call.project}/zones", rows)


# Of zones: each has a list and an aggregated list.


def _machine_types(cloud: Cloud, call: Call, zone: str) -> Iterable[Answer]:
    return (views.machine_type(one, zone, call.project, cloud.market) for one in cloud.market.shapes_in(zone))


def _accelerator_types(cloud: Cloud, call: Call, zone: str) -> Iterable[Answer]:
    return (views.accelerator_type(one, zone, call.project) for one in cloud.market.gpus_in(zone))


def _disk_types(cloud: Cloud, call: Call, zone: str) -> Iterable[Answer]:
    kinds = sorted(cloud.market.disks.values(), key=lambda one: one.name)
    return (views.disk_type(one, zone, call.project) for one in kinds)


_ZONAL: dict[str, tuple[str, Callable[[Cloud, Call, str], Iterable[Answer]]]] = {
    "machineTypes": ("machineType", _machine_types),
    "acceleratorTypes": ("acceleratorType", _accelerator_types),
    "diskTypes": ("diskType", _disk_types),
}


def zonal_get(cloud: Cloud, call: Call) -> Answer:
    """One machine type, GPU or kind of disk."""
    plural, name = call.parts["plural"], call.parts["name"]
    for row in _ZONAL[plural][1](cloud, call, call.zone):
        if name in (row["name"], row["id"]):
            return row
    raise missing(f"projects/{call.project}/zones/{call.zone}/{plural}/{name}")


def zonal_list(cloud: Cloud, call: Call) -> Answer:
    """Those of one zone."""
    kind, rows = _ZONAL[call.parts["plural"]]
    path = f"projects/{call.project}/zones/{call.zone}/{call.parts['plural']}"
    return _list(cloud, call, kind, path, rows(cloud, call, call.zone))


def zonal_aggregated(cloud: Cloud, call: Call) -> Answer:
    """Those of all zones."""
    plural = call.parts["plural"]
    kind, rows = _ZONAL[plural]
    wanted = lists.wanted(call)
    zones = sorted(cloud.market.zones)
    found = [(f"zones/{zone}", row) for zone in zones for row in rows(cloud, call, zone) if wanted(row)]
    scopes = [f"zones/{zone}" for zone in zones]
    return lists.aggregated(call, kind, plural, found, scopes, cloud.options.page_limit)


# Images, networks, addresses.


def images_get(cloud: Cloud, call: Call) -> Answer:
    found = cloud.market.image(call.project, name=call.parts["image"])
    if found is None:
        raise missing(f"projects/{call.project}/global/images/{call.parts['image']}")
    return views.image(found)


def images_family_get(cloud: Cloud, call: Call) -> Answer:
    found = cloud.market.image(call.project, family=call.parts["family"])
    if found is None:
        raise missing(f"projects/{call.project}/global/images/family/{call.parts['family']}")
    return views.image(found)


def images_list(cloud: Cloud, call: Call) -> Answer:
    rows = (views.image(image) for image in cloud.market.images if image.project == call.project)
    return _list(cloud, call, "image", f"projects/{call.project}/global/images", rows)


def networks_get(cloud: Cloud, call: Call) -> Answer:
    for row in cloud.network.views():
        if call.parts["network"] in (row["name"], row["id"]):
            return row
    raise missing(f"projects/{call.project}/global/networks/{call.parts['network']}")


def networks_list(cloud: Cloud, call: Call) -> Answer:
    return _list(cloud, call, "network", f"projects/{call.project}/global/networks", cloud.network.views())


def addresses_list(cloud: Cloud, call: Call) -> Answer:
    """Reserved addresses: this sandbox reserves none, and those of machines are ephemeral."""
    path = f"projects/{call.project}/regions/{call.parts['region']}/addresses"
    return _list(cloud, call, "address", path, ())


def addresses_aggregated(cloud: Cloud, call: Call) -> Answer:
    """The same of all regions."""
    scopes = ["global", *(f"regions/{name}" for name in cloud.market.regions)]
    return lists.aggregated(call, "address", "addresses", [], scopes, cloud.options.page_limit)


# Firewall rules.


def firewalls_get(cloud: Cloud, call: Call) -> Answer:
    return cloud.network.rule(call.parts["firewall"])


def firewalls_list(cloud: Cloud, call: Call) -> Answer:
    rows = sorted(cloud.network.rules.values(), key=lambda rule: str(rule["name"]))
    return _list(cloud, call, "firewall", f"projects/{call.project}/global/firewalls", rows)


def firewalls_insert(cloud: Cloud, call: Call) -> Answer:
    cloud.allow(call, "compute.firewalls.create", cloud.network.path(str(call.body.get("name"))))
    return _firewall(cloud, call, "insert", cloud.network.add(call.body))


def firewalls_patch(cloud: Cloud, call: Call) -> Answer:
    cloud.allow(call, "compute.firewalls.update", cloud.network.path(call.parts["firewall"]))
    return _firewall(cloud, call, "patch", cloud.network.change(call.parts["firewall"], call.body))


def firewalls_delete(cloud: Cloud, call: Call) -> Answer:
    cloud.allow(call, "compute.firewalls.delete", cloud.network.path(call.parts["firewall"]))
    return _firewall(cloud, call, "delete", cloud.network.remove(call.parts["firewall"]))


def _firewall(cloud: Cloud, call: Call, kind: str, rule: Answer) -> Answer:
    for instance in cloud.fleet.living():
        cloud.fleet.reach(instance)
    target = cloud.network.path(rule["name"])
    seconds = cloud.options.start_s
    made = cloud.operations.begin(
        kind, call.project, "global", target, rule["id"], user=call.user, seconds=seconds,
        request_id=call.query.get("requestId", ""), request=f"{call.name} {target}",
    )  # fmt: skip
    return view(made)


# Operations.


def operations_get(cloud: Cloud, call: Call) -> Answer:
    found = cloud.operations.find(scope_of(call), call.parts["operation"])
    if found is None:
        raise missing(f"projects/{call.project}/{scope_of(call)}/operations/{call.parts['operation']}")
    return view(found)


def operations_list(cloud: Cloud, call: Call) -> Answer:
    rows = (view(operation) for operation in cloud.operations.listed(scope_of(call)))
    return _list(cloud, call, "operation", f"projects/{call.project}/{scope_of(call)}/operations", rows)


def operations_aggregated(cloud: Cloud, call: Call) -> Answer:
    wanted = lists.wanted(call)
    rows = [(one.scope, view(one)) for one in cloud.operations.listed(None)]
    scopes = ["global", *(f"zones/{zone}" for zone in cloud.market.zones)]
    found = [row for row in rows if wanted(row[1])]
    return lists.aggregated(call, "operation", "operations", found, scopes, cloud.options.page_limit)


def scope_of(call: Call) -> str:
    """The scope of the operations that a path is about."""
    for kind in ("zone", "region"):
        if kind in call.parts:
            return f"{kind}s/{call.parts[kind]}"
    return "global"


def _list(cloud: Cloud, call: Call, kind: str, path: str, rows: Iterable[Answer]) -> Answer:
    order = call.query.get("orderBy")
    if order not in (None, "name", "creationTimestamp desc"):
        raise invalid("orderBy", order, "Must be name or creationTimestamp desc.")
    wanted = lists.wanted(call)
    found = [row for row in rows if wanted(row)]
    if order == "creationTimestamp desc":
        found.sort(key=lambda row: str(row.get("creationTimestamp", row.get("insertTime", ""))), reverse=True)
    return lists.listing(call, kind, path, found, cloud.options.page_limit)
