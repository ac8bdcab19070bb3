"""The emulated Google Cloud's calls on instances and disks."""

from __future__ import annotations

from typing import Any

import providers.gcp.emulator_lists as lists
import providers.gcp.emulator_views as views
from providers.gcp.emulator_cloud import Cloud
from providers.gcp.emulator_insert import insert, replayed, stockout
from providers.gcp.emulator_instance import Disk, Instance
from providers.gcp.emulator_operations import Operation, view
from providers.gcp.emulator_rules import labels
from providers.gcp.emulator_wire import Call, Refusal, fingerprint, int_of, invalid, link, missing

Answer = dict[str, Any]

#: Fields of an instance that filters may name.
KNOWN = frozenset(
    {
        *("kind", "id", "creationTimestamp", "name", "description", "tags", "machineType", "status", "statusMessage"),
        *("zone", "canIpForward", "networkInterfaces", "disks", "metadata", "serviceAccounts", "selfLink"),
        *("scheduling", "cpuPlatform", "labels", "labelFingerprint", "guestAccelerators", "startRestricted"),
        *("deletionProtection", "fingerprint", "lastStartTimestamp", "lastStopTimestamp", "hostname"),
        *("minCpuPlatform", "resourceStatus"),
    }
)


def instances_insert(cloud: Cloud, call: Call) -> Answer:
    return view(insert(cloud, call))


def instances_get(cloud: Cloud, call: Call) -> Answer:
    return views.instance(_one(cloud, call, "compute.instances.get"), cloud.fleet, cloud.options)


def instances_list(cloud: Cloud, call: Call) -> Answer:
    path = f"projects/{call.project}/zones/{call.zone}/instances"
    cloud.allow(call, "compute.instances.list", f"projects/{call.project}")
    rows = [row for zone, row in _shown(cloud, call) if zone == call.zone]
    return lists.listing(call, "instance", path, rows, cloud.options.page_limit)


def instances_aggregated(cloud: Cloud, call: Call) -> Answer:
    cloud.allow(call, "compute.instances.list", f"projects/{call.project}")
    rows = [(f"zones/{zone}", row) for zone, row in _shown(cloud, call)]
    scopes = [f"zones/{zone}" for zone in cloud.market.zones]
    return lists.aggregated(call, "instance", "instances", rows, scopes, cloud.options.page_limit)


def _shown(cloud: Cloud, call: Call) -> list[tuple[str, Answer]]:
    wanted, now = lists.wanted(call, KNOWN), cloud.world.now()
    there = sorted((one for one in cloud.fleet.living() if not one.hidden(now)), key=lambda one: (one.zone, one.name))
    rows = ((one.zone, views.instance(one, cloud.fleet, cloud.options)) for one in there)
    return [(zone, row) for zone, row in rows if wanted(row)]


def instances_delete(cloud: Cloud, call: Call) -> Answer:
    target = f"projects/{call.project}/zones/{call.zone}/instances/{call.parts['instance']}"
    cloud.allow(call, "compute.instances.delete", target)
    if (first := replayed(cloud, call, target)) is not None:
        return view(first)
    it = _one(cloud, call, "compute.instances.get")
    running = cloud.operations.all.get(it.deletion)
    if running is not None and not running.done:
        # What a second delete gets is not documented: the operation that runs, or 404.
        if cloud.options.second_delete == 404:
            raise missing(it.path)
        return view(running)
    if it.deletion_protection:
        raise invalid("resource.deletionProtection", "true", "Resource cannot be deleted if it's protected.")
    made = cloud.operations.all.get(it.insert)
    if cloud.options.delete_early == "refuse" and made is not None and not made.done:
        raise Refusal(400, "resourceNotReady", f"The resource '{it.path}' is not ready")
    if cloud.fault("ignore_terminate", verb="terminate", subject=it.subject()):
        # Said to be done, and nothing happens.
        return view(_operation(cloud, call, "delete", it, target, cloud.options.delete_s))
    operation = _operation(cloud, call, "delete", it, target, cloud.options.delete_s)
    it.deletion = operation.name
    cloud.fleet.delete(it)
    return view(operation)


def instances_stop(cloud: Cloud, call: Call) -> Answer:
    it, target, first = _changed(cloud, call, "stop")
    if first is not None:
        return view(first)
    if it.status in ("RUNNING", "STAGING", "PROVISIONING", "REPAIRING"):
        cloud.fleet.stop(it)
        return view(_operation(cloud, call, "stop", it, target, cloud.options.stop_s))
    return view(_operation(cloud, call, "stop", it, target, 0.0))


def instances_start(cloud: Cloud, call: Call) -> Answer:
    it, target, first = _changed(cloud, call, "start")
    if first is not None:
        return view(first)
    if it.status != "TERMINATED":
        if it.status == "RUNNING":
            return view(_operation(cloud, call, "start", it, target, 0.0))
        raise Refusal(400, "resourceNotReady", f"The resource '{it.path}' is not ready")
    shape, seconds = cloud.fleet.shape_of(it), cloud.fleet.boot_s(it.model)
    if not cloud.market.free(it.zone, it.shape, it.model):
        failure = stockout(cloud, shape, it.model, it.zone, it.attached)
        return view(_operation(cloud, call, "start", it, target, cloud.options.stockout_s, failure=failure))
    cloud.fleet.start(it)
    return view(_operation(cloud, call, "start", it, target, seconds))


def instances_set_labels(cloud: Cloud, call: Call) -> Answer:
    it, target, first = _changed(cloud, call, "setLabels")
    if first is not None:
        return view(first)
    if call.body.get("labelFingerprint") != fingerprint(sorted(it.labels.items())):
        raise Refusal(412, "conditionNotMet", "Labels fingerprint either invalid or resource labels have changed")
    it.labels = labels(call.body.get("labels", {}))
    return view(_operation(cloud, call, "setLabels", it, target, cloud.options.start_s))


def instances_serial_get(cloud: Cloud, call: Call) -> Answer:
    it = _one(cloud, call, "compute.instances.getSerialPortOutput")
    start, port = int_of(call.query.get("start", "0")), int_of(call.query.get("port", "1"))
    if port is None or not 1 <= port <= 4:
        raise invalid("port", call.query.get("port"), "Must be between 1 and 4.")
    text = "".join(f"{line}\r\n" for line in _console(it)) if port == 1 else ""
    begin = min(max(0, start or 0), len(text))
    return {
        "kind": "compute#serialPortOutput",
        "selfLink": link(f"{it.path}/serialPort"),
        "contents": text[begin:],
        "start": str(begin),
        "next": str(len(text)),
    }


def _console(it: Instance) -> list[str]:
    if it.started_at is None:
        return []
    lines = [
        "SeaBIOS (version 1.8.2-google)",
        "[    0.000000] Linux version 6.8.0-1040-gcp",
        f"[    4.100000] systemd[1]: Set hostname to <{it.name}>.",
    ]
    if it.stuck == "no_ssh":
        return [*lines, "[   90.000000] Kernel panic - not syncing: VFS: Unable to mount root fs"]
    if it.up:
        lines += ["google_guest_agent: GCE Agent Started", f"{it.name} login: "]
    return lines


# Disks.


def disks_get(cloud: Cloud, call: Call) -> Answer:
    return views.disk(_disk(cloud, call), call.project)


def disks_list(cloud: Cloud, call: Call) -> Answer:
    path = f"projects/{call.project}/zones/{call.zone}/disks"
    rows = [row for zone, row in _disks(cloud, call) if zone == call.zone]
    return lists.listing(call, "disk", path, rows, cloud.options.page_limit)


def disks_aggregated(cloud: Cloud, call: Call) -> Answer:
    rows = [(f"zones/{zone}", row) for zone, row in _disks(cloud, call)]
    scopes = [f"zones/{zone}" for zone in cloud.market.zones]
    return lists.aggregated(call, "disk", "disks", rows, scopes, cloud.options.page_limit)


def _disks(cloud: Cloud, call: Call) -> list[tuple[str, Answer]]:
    wanted = lists.wanted(call)
    there = sorted((one for one in cloud.fleet.disks.values() if not one.gone), key=lambda one: (one.zone, one.name))
    rows = ((one.zone, views.disk(one, call.project)) for one in there)
    return [(zone, row) for zone, row in rows if wanted(row)]


def disks_delete(cloud: Cloud, call: Call) -> Answer:
    target = f"projects/{call.project}/zones/{call.zone}/disks/{call.parts['disk']}"
    cloud.allow(call, "compute.disks.delete", target)
    if (first := replayed(cloud, call, target)) is not None:
        return view(first)
    it = _disk(cloud, call)
    if it.user is not None:
        user = f"projects/{call.project}/zones/{it.zone}/instances/{it.user}"
        text = f"The disk resource '{target}' is already being used by '{user}'"
        raise Refusal(400, "resourceInUseByAnotherResource", text)
    cloud.fleet.delete_disk(it, cloud.world.now())
    operation = cloud.operations.begin(
        "delete",
        call.project,
        f"zones/{call.zone}",
        target,
        it.id,
        user=call.user,
        request=f"{call.name} {target}",
        request_id=call.query.get("requestId", ""),
        seconds=cloud.options.start_s,
    )
    return view(operation)


# What they share.


def _disk(cloud: Cloud, call: Call) -> Disk:
    found = cloud.fleet.disk(call.zone, call.parts["disk"])
    if found is None:
        raise missing(f"projects/{call.project}/zones/{call.zone}/disks/{call.parts['disk']}")
    return found


def _one(cloud: Cloud, call: Call, permission: str) -> Instance:
    path = f"projects/{call.project}/zones/{call.zone}/instances/{call.parts['instance']}"
    cloud.allow(call, permission, path)
    it = cloud.fleet.find(call.zone, call.parts["instance"])
    if it is None or (it.hidden_get and it.hidden(cloud.world.now()) and call.name == "instances_get"):
        raise missing(path)
    return it


def _changed(cloud: Cloud, call: Call, what: str) -> tuple[Instance, str, Operation | None]:
    """The instance, the call's target, and the operation of the same request if it came before."""
    target = f"projects/{call.project}/zones/{call.zone}/instances/{call.parts['instance']}"
    cloud.allow(call, f"compute.instances.{what}", target)
    first = replayed(cloud, call, target)
    return _one(cloud, call, f"compute.instances.{what}"), target, first


def _operation(
    cloud: Cloud, call: Call, kind: str, it: Instance, target: str, seconds: float, **more: Any
) -> Operation:
    return cloud.operations.begin(
        kind,
        call.project,
        f"zones/{call.zone}",
        it.path,
        it.id,
        user=call.user,
        request=f"{call.name} {target}",
        request_id=call.query.get("requestId", ""),
        seconds=seconds,
        **more,
    )
