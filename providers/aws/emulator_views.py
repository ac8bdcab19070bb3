"""Instances, disks and spot requests as EC2's answers show them (element names: the EC2 model of botocore 1.44)."""

from __future__ import annotations

from typing import Any

from providers.aws.emulator_instance import CODES, REASONS, Disk, Instance
from providers.aws.emulator_market import Market
from providers.aws.emulator_network import Site
from providers.aws.emulator_wire import Tree, stamp, tag_set


def state(name: str) -> Tree:
    """A state with its code."""
    return {"code": CODES[name], "name": name}


def reservation(instances: list[Instance], site: Site) -> Tree:
    """The instances of one launch, as RunInstances and DescribeInstances show them."""
    first = instances[0]
    return {
        "reservationId": first.reservation,
        "ownerId": first.account,
        "groupSet": [],
        "instancesSet": [instance(one, site) for one in instances],
    }


def instance(one: Instance, site: Site) -> Tree:
    """One instance. Addresses are absent while it has none, and network facts once it is terminated."""
    there = one.state != "terminated"
    groups = [{"groupId": key, "groupName": site.groups[key].name} for key in one.groups if key in site.groups]
    public_name = f"ec2-{one.address.replace('.', '-')}.compute-1.amazonaws.com" if one.address else ""
    return {
        "instanceId": one.id,
        "imageId": one.image,
        "instanceState": state(one.state),
        "privateDnsName": f"ip-{one.private_ip.replace('.', '-')}.ec2.internal" if there else "",
        "dnsName": public_name,
        "reason": f"{REASONS.get(one.reason, one.reason)} ({stamp(one.reason_at)})"
        if one.reason and one.reason_at
        else "",
        "keyName": one.key_name,
        "amiLaunchIndex": one.index,
        "productCodes": [],
        "instanceType": one.kind,
        "launchTime": one.launched_at,
        "placement": {"availabilityZone": one.zone, "groupName": "", "tenancy": "default"},
        "monitoring": {"state": "disabled"},
        "subnetId": one.subnet if there else None,
        "vpcId": one.vpc if there else None,
        "privateIpAddress": one.private_ip if there else None,
        "ipAddress": one.address,
        "stateReason": _reason(one),
        "architecture": "x86_64",
        "rootDeviceType": "ebs",
        "rootDeviceName": one.root,
        "blockDeviceMapping": [_attached(disk) for disk in one.disks if disk.deleted_at is None and there],
        "virtualizationType": "hvm",
        "clientToken": one.token,
        "tagSet": tag_set(one.tags),
        "hypervisor": "xen",
        "groupSet": groups if there else [],
        "networkInterfaceSet": [_interface(one, groups)] if there else [],
        "instanceLifecycle": "spot" if one.spot else None,
        "spotInstanceRequestId": one.spot_request or None,
        "ebsOptimized": False,
        "enaSupport": True,
    }


def _reason(one: Instance) -> Tree | None:
    if one.state in ("pending", "running") or not one.reason:
        return {"code": "pending", "message": "pending"} if one.state == "pending" else None
    return {"code": one.reason, "message": f"{one.reason}: {REASONS.get(one.reason, one.reason)}"}


def _attached(disk: Disk) -> Tree:
    ebs = {
        "volumeId": disk.id,
        "status": "attached",
        "attachTime": disk.created_at,
        "deleteOnTermination": disk.with_instance,
    }
    return {"deviceName": disk.device, "ebs": ebs}


def _interface(one: Instance, groups: list[Tree]) -> Tree:
    association = {"publicIp": one.address, "ipOwnerId": "amazon"} if one.address else None
    return {
        "networkInterfaceId": one.interface,
        "subnetId": one.subnet,
        "vpcId": one.vpc,
        "ownerId": one.account,
        "status": "in-use",
        "privateIpAddress": one.private_ip,
        "groupSet": groups,
        "attachment": {"deviceIndex": 0, "status": "attached", "deleteOnTermination": True},
        "association": association,
    }


def volume(one: Instance, disk: Disk) -> Tree:
    """A disk."""
    attached = one.state != "terminated"
    attachment = {
        "volumeId": disk.id,
        "instanceId": one.id,
        "device": disk.device,
        "status": "attached",
        "attachTime": disk.created_at,
        "deleteOnTermination": disk.with_instance,
    }
    return {
        "volumeId": disk.id,
        "size": disk.size_gb,
        "snapshotId": "",
        "availabilityZone": one.zone,
        "status": "in-use" if attached else "available",
        "createTime": disk.created_at,
        "attachmentSet": [attachment] if attached else [],
        "tagSet": tag_set(disk.tags),
        "volumeType": disk.kind,
        "encrypted": False,
    }


def spot_request(one: Instance, market: Market) -> Tree:
    """The one-time spot request behind an instance."""
    over = not one.alive or one.spot_status.startswith("request-canceled")
    cancelled = one.spot_status.startswith("request-canceled")
    return {
        "spotInstanceRequestId": one.spot_request,
        "spotPrice": market.on_demand(market.kinds[one.kind], one.region) or one.usd,
        "type": "one-time",
        "state": "cancelled" if cancelled else "closed" if over else "active",
        "status": {
            "code": one.spot_status,
            "updateTime": one.reason_at or one.launched_at,
            "message": one.spot_status.replace("-", " "),
        },
        "instanceId": one.id,
        "createTime": one.launched_at,
        "productDescription": "Linux/UNIX",
        "launchedAvailabilityZone": one.zone,
        "instanceInterruptionBehavior": "terminate",
        "tagSet": [],
    }


def change(one: Instance, before: str, after: str | None = None) -> Tree:
    """What an order to end, stop or start did."""
    return {"instanceId": one.id, "currentState": state(after or one.state), "previousState": state(before)}


def known(one: Instance) -> dict[str, list[Any]]:
    """What an instance has to each filter's name."""
    there = one.state != "terminated"
    return {
        "instance-id": [one.id],
        "client-token": [one.token],
        "instance-state-name": [one.state],
        "instance-state-code": [str(CODES[one.state])],
        "instance-type": [one.kind],
        "availability-zone": [one.zone],
        "image-id": [one.image],
        "key-name": [one.key_name or ""],
        "instance-lifecycle": ["spot"] if one.spot else [],
        "spot-instance-request-id": [one.spot_request] if one.spot else [],
        "reservation-id": [one.reservation],
        "owner-id": [one.account],
        "subnet-id": [one.subnet] if there else [],
        "vpc-id": [one.vpc] if there else [],
        "private-ip-address": [one.private_ip] if there else [],
        "ip-address": [one.address] if one.address else [],
        "instance.group-id": one.groups,
        "state-reason-code": [one.reason] if one.reason else [],
        "launch-time": [stamp(one.launched_at)],
        "architecture": ["x86_64"],
        "root-device-type": ["ebs"],
        "tenancy": ["default"],
    }
