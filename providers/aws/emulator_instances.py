"""EC2's actions on instances, their disks, tags and spot requests."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

import providers.aws.emulator_filters as filters
import providers.aws.emulator_views as views
from providers.aws.emulator_cloud import Action, Cloud
from providers.aws.emulator_instance import Disk, Instance
from providers.aws.emulator_wire import Call, Refusal, Tree, stamp, tags_of

_NAMES = """
    instance-id client-token instance-state-name instance-state-code instance-type availability-zone image-id key-name
    instance-lifecycle spot-instance-request-id reservation-id owner-id subnet-id vpc-id private-ip-address ip-address
    instance.group-id state-reason-code launch-time architecture root-device-type tenancy
""".split()  # noqa: SIM905 - a table


def run_instances(cloud: Cloud, call: Call) -> Tree:
    made = cloud.launcher.run(call)
    return views.reservation(made, cloud.network.site(call.account, call.region))


def describe_instances(cloud: Cloud, call: Call) -> Tree:
    if call.items("InstanceId") and call.number("MaxResults") is not None:
        both = "The parameter instancesSet cannot be used with the parameter maxResults"
        raise Refusal("InvalidParameterCombination", both)
    filters.check(call, _NAMES)
    found = filters.select(call, named(cloud, call), views.known, lambda one: one.tags)
    shown, token = filters.page(call, found)
    site = cloud.network.site(call.account, call.region)
    reservations: dict[str, list[Instance]] = {}
    for one in shown:
        reservations.setdefault(one.reservation, []).append(one)
    return {"reservationSet": [views.reservation(group, site) for group in reservations.values()], "nextToken": token}


def named(cloud: Cloud, call: Call) -> list[Instance]:
    """The instances that the request names by id, or all.

    Raises:
        Refusal: one id is not known (yet, or any more), or is none.
    """
    seen = {one.id: one for one in cloud.fleet.seen(call.account, call.region)}
    wanted = call.items("InstanceId")
    for one in wanted:
        if not re.fullmatch(r"i-([0-9a-f]{8}|[0-9a-f]{17})", one):
            raise Refusal("InvalidInstanceID.Malformed", f'Invalid id: "{one}"')
    missing = [one for one in wanted if one not in seen]
    if missing:
        many = f"IDs '{', '.join(missing)}' do" if len(missing) > 1 else f"ID '{missing[0]}' does"
        raise Refusal("InvalidInstanceID.NotFound", f"The instance {many} not exist")
    return [seen[one] for one in dict.fromkeys(wanted)] if wanted else list(seen.values())


def _ordered(cloud: Cloud, call: Call) -> list[Instance]:
    if not call.items("InstanceId"):
        raise Refusal("MissingParameter", "The request must contain the parameter InstanceId")
    return named(cloud, call)


def terminate_instances(cloud: Cloud, call: Call) -> Tree:
    changes = []
    for one in _ordered(cloud, call):
        before, after = one.state, None
        if one.alive and cloud.fault("ignore_terminate", verb="terminate", subject=one.subject()):
            after = "shutting-down"
        else:
            cloud.fleet.end(one, cloud.world.now(), "Client.UserInitiatedShutdown")
        changes.append(views.change(one, before, after))
    return {"instancesSet": changes}


def stop_instances(cloud: Cloud, call: Call) -> Tree:
    def stop(one: Instance) -> None:
        if one.spot:
            raise Refusal("UnsupportedOperation", f"You can't stop the Spot Instance '{one.id}' of a one-time request.")
        if one.state == "running":
            cloud.fleet.stop(one, cloud.world.now(), "Client.UserInitiatedShutdown")
        elif one.state not in ("stopping", "stopped"):
            raise _wrong_state(one)

    return _change(cloud, call, stop)


def start_instances(cloud: Cloud, call: Call) -> Tree:
    def start(one: Instance) -> None:
        if one.state == "stopped":
            cloud.fleet.start(one, cloud.world.now())
        elif one.state not in ("pending", "running"):
            raise _wrong_state(one)

    return _change(cloud, call, start)


def _change(cloud: Cloud, call: Call, act: Callable[[Instance], None]) -> Tree:
    changes = []
    for one in _ordered(cloud, call):
        before = one.state
        act(one)
        changes.append(views.change(one, before))
    return {"instancesSet": changes}


def _wrong_state(one: Instance) -> Refusal:
    return Refusal("IncorrectInstanceState", f"The instance '{one.id}' is not in a state from which it can do that.")


def describe_instance_status(cloud: Cloud, call: Call) -> Tree:
    filters.check(call, _NAMES)
    found = filters.select(call, named(cloud, call), views.known, lambda one: one.tags)
    if not call.flag("IncludeAllInstances"):
        found = [one for one in found if one.state == "running"]
    shown, token = filters.page(call, found)
    return {"instanceStatusSet": [_status(one) for one in shown], "nextToken": token}


def _status(one: Instance) -> Tree:
    word = "not-applicable" if one.state != "running" else "ok" if one.ready else "initializing"
    passed = {"not-applicable": "", "ok": "passed", "initializing": "initializing"}[word]
    status = {"status": word, "details": [{"name": "reachability", "status": passed}] if passed else []}
    return {
        "instanceId": one.id,
        "availabilityZone": one.zone,
        "instanceState": views.state(one.state),
        "systemStatus": status,
        "instanceStatus": status,
    }


def get_console_output(cloud: Cloud, call: Call) -> Tree:
    call.params["InstanceId"] = {"1": call.need("InstanceId")}
    one = named(cloud, call)[0]
    lines = [f"[    0.000000] Linux version 6.8 ({one.kind})"] if one.running_at else []
    if one.ready:
        lines.append("[   42.000000] cloud-init: finished")
    text = "".join(f"{line}\r\n" for line in lines)
    output = base64.b64encode(text.encode()).decode()
    return {"instanceId": one.id, "timestamp": cloud.world.now(), "output": output}


# Tags.


def create_tags(cloud: Cloud, call: Call) -> Tree:
    wanted, tags = call.items("ResourceId"), tags_of(call.items("Tag"))
    if not wanted or not tags:
        raise Refusal("MissingParameter", "The request must contain the parameters resourceIdSet and tagSet")
    resources = _tagged(cloud, call)
    for one in wanted:
        if one not in resources:
            raise Refusal("InvalidID", f"The ID '{one}' is not valid")
    for one in wanted:
        resources[one][1].update(tags)
    return {"return": True}


def describe_tags(cloud: Cloud, call: Call) -> Tree:
    rows = [(key, kind, k, v) for key, (kind, tags) in _tagged(cloud, call).items() for k, v in tags.items()]
    filters.check(call, ("resource-id", "resource-type", "key", "value"))

    def known(row: tuple[str, str, str, str]) -> dict[str, list[str]]:
        return {"resource-id": [row[0]], "resource-type": [row[1]], "key": [row[2]], "value": [row[3]]}

    shown, token = filters.page(call, filters.select(call, rows, known, lambda row: {row[2]: row[3]}))
    names = ("resourceId", "resourceType", "key", "value")
    return {"tagSet": [dict(zip(names, row, strict=True)) for row in shown], "nextToken": token}


def _tagged(cloud: Cloud, call: Call) -> dict[str, tuple[str, dict[str, str]]]:
    """Everything that can carry tags: its id, what it is, and its tags."""
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for one in cloud.fleet.seen(call.account, call.region):
        found[one.id] = ("instance", one.tags)
        found[one.interface] = ("network-interface", one.network_tags)
        found |= {disk.id: ("volume", disk.tags) for disk in one.disks if disk.deleted_at is None}
    site = cloud.network.site(call.account, call.region)
    found |= {group.id: ("security-group", group.tags) for group in site.groups.values()}
    return found | {pair.id: ("key-pair", pair.tags) for pair in site.keys.values()}


# Disks.


def _disks(cloud: Cloud, call: Call) -> list[tuple[Instance, Disk]]:
    """All volumes there are; those of instances that answers have long forgotten, too."""
    return [
        (one, disk)
        for one in cloud.fleet.instances.values()
        if (one.account, one.region) == (call.account, call.region)
        for disk in one.disks
        if disk.deleted_at is None
    ]


def describe_volumes(cloud: Cloud, call: Call) -> Tree:
    found, wanted = _disks(cloud, call), call.items("VolumeId")
    for key in wanted:
        if key not in {disk.id for _, disk in found}:
            raise Refusal("InvalidVolume.NotFound", f"The volume '{key}' does not exist.")
    filters.check(call, ("volume-id", "status", "availability-zone", "attachment.instance-id", "size", "volume-type"))

    def known(pair: tuple[Instance, Disk]) -> dict[str, list[str]]:
        one, disk = pair
        attached = one.state != "terminated"
        return {
            "volume-id": [disk.id],
            "status": ["in-use" if attached else "available"],
            "availability-zone": [one.zone],
            "attachment.instance-id": [one.id] if attached else [],
            "size": [str(disk.size_gb)],
            "volume-type": [disk.kind],
        }

    found = [pair for pair in found if not wanted or pair[1].id in wanted]
    shown, token = filters.page(call, filters.select(call, found, known, lambda pair: pair[1].tags))
    return {"volumeSet": [views.volume(*pair) for pair in shown], "nextToken": token}


def delete_volume(cloud: Cloud, call: Call) -> Tree:
    wanted = call.need("VolumeId")
    for one, disk in _disks(cloud, call):
        if disk.id == wanted:
            if one.state != "terminated":
                raise Refusal("VolumeInUse", f"Volume {wanted} is currently attached to {one.id}")
            cloud.fleet.delete_disk(one, disk, cloud.world.now())
            return {"return": True}
    raise Refusal("InvalidVolume.NotFound", f"The volume '{wanted}' does not exist.")


# Spot requests.


def _requests(cloud: Cloud, call: Call) -> list[Instance]:
    found = {one.spot_request: one for one in cloud.fleet.seen(call.account, call.region) if one.spot}
    wanted = call.items("SpotInstanceRequestId")
    for key in wanted:
        if key not in found:
            raise Refusal(
                "InvalidSpotInstanceRequestID.NotFound", f"The spot instance request ID '{key}' does not exist"
            )
    return [one for key, one in found.items() if not wanted or key in wanted]


def describe_spot_instance_requests(cloud: Cloud, call: Call) -> Tree:
    filters.check(call, ("spot-instance-request-id", "instance-id", "state", "status-code"))

    def known(one: Instance) -> dict[str, list[str]]:
        shown: dict[str, Any] = views.spot_request(one, cloud.market)
        return {
            "spot-instance-request-id": [one.spot_request],
            "instance-id": [one.id],
            "state": [shown["state"]],
            "status-code": [one.spot_status],
        }

    found = filters.select(call, _requests(cloud, call), known, lambda one: {})
    shown, token = filters.page(call, found)
    return {"spotInstanceRequestSet": [views.spot_request(one, cloud.market) for one in shown], "nextToken": token}


def cancel_spot_instance_requests(cloud: Cloud, call: Call) -> Tree:
    """The instance runs on."""
    if not call.items("SpotInstanceRequestId"):
        raise Refusal("MissingParameter", "The request must contain the parameter SpotInstanceRequestId")
    found = _requests(cloud, call)
    for one in found:
        if one.alive and one.taken_at is None:
            one.spot_status = "request-canceled-and-instance-running"
    rows = [{"spotInstanceRequestId": one.spot_request, "state": "cancelled"} for one in found]
    return {"spotInstanceRequestSet": rows}


def describe_addresses(cloud: Cloud, call: Call) -> Tree:
    """Elastic addresses: this sandbox hands out none, so there never is one left behind."""
    filters.check(call, ("instance-id", "public-ip", "allocation-id", "domain"))
    for key in [*call.items("AllocationId"), *call.items("PublicIp")]:
        code = "InvalidAllocationID.NotFound" if key.startswith("eipalloc-") else "InvalidAddress.NotFound"
        raise Refusal(code, f"The address '{key}' does not exist ({stamp(cloud.world.now())})")
    return {"addressesSet": []}


_PAGE = "Filter MaxResults NextToken"
ACTIONS = {
    "RunInstances": Action(
        run_instances,
        "BlockDeviceMapping ImageId InstanceType KeyName MaxCount MinCount Monitoring Placement SecurityGroupId "
        "SecurityGroup SubnetId UserData TagSpecification InstanceMarketOptions CreditSpecification CpuOptions "
        "CapacityReservationSpecification HibernationOptions MetadataOptions EnclaveOptions PrivateDnsNameOptions "
        "MaintenanceOptions DisableApiStop DisableApiTermination InstanceInitiatedShutdownBehavior ClientToken "
        "NetworkInterface IamInstanceProfile EbsOptimized LaunchTemplate",
    ),
    "DescribeInstances": Action(describe_instances, f"{_PAGE} InstanceId IncludeManagedResources"),
    "TerminateInstances": Action(terminate_instances, "InstanceId Force SkipOsShutdown"),
    "StopInstances": Action(stop_instances, "InstanceId Hibernate SkipOsShutdown Force"),
    "StartInstances": Action(start_instances, "InstanceId AdditionalInfo"),
    "DescribeInstanceStatus": Action(
        describe_instance_status, f"{_PAGE} InstanceId IncludeAllInstances IncludeManagedResources"
    ),
    "GetConsoleOutput": Action(get_console_output, "InstanceId Latest"),
    "CreateTags": Action(create_tags, "ResourceId Tag"),
    "DescribeTags": Action(describe_tags, _PAGE),
    "DescribeVolumes": Action(describe_volumes, f"{_PAGE} VolumeId IncludeManagedResources"),
    "DeleteVolume": Action(delete_volume, "VolumeId"),
    "DescribeSpotInstanceRequests": Action(describe_spot_instance_requests, f"{_PAGE} SpotInstanceRequestId"),
    "CancelSpotInstanceRequests": Action(cancel_spot_instance_requests, "SpotInstanceRequestId"),
    "DescribeAddresses": Action(describe_addresses, "Filter PublicIp AllocationId"),
}
