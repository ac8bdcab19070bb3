"""Where a machine is plugged in: a subnet of its zone, and a security group that lets SSH in.

One group serves all machines of an installation with the same open ports in one VPC. Its name says so, and its rules
never change, so making it twice is harmless. It is deleted by whoever finds it unused: after a machine's end, and
after a refused launch that made it. That is safe without any lock, for AWS refuses to delete a group in use, and a
launch whose group vanished under it is refused before any effect and makes the group anew. A group costs nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from providers.aws.client import Client
from providers.errors import Forbidden, InvalidRequest, NoCapacity, ProviderError
from providers.naming import owner7

SSH_PORT = 22
SUBNETS_SETTING = "ORCH_AWS_SUBNETS"
_PORT = re.compile(r"^(\d{1,5})/(tcp|http|https|udp)$", re.ASCII)
_DAY_S = 86_400.0


class Subnet(NamedTuple):
    """A subnet and its VPC."""

    id: str
    vpc: str


async def subnet(client: Client, region: str, zone: str, *, own: Sequence[str] = ()) -> Subnet:
    """The subnet for *zone*: one of the user's *own*, else the default one.

    Raises:
        NoCapacity: that zone has none, but others have.
        Forbidden: that region has none at all.
    """
    chosen = {"Name": "subnet-id", "Values": list(own)} if own else {"Name": "default-for-az", "Values": ["true"]}
    rows = await client.pages("ec2", region, "describe_subnets", verb="resolve", Filters=[chosen])
    known = [row for row in rows if isinstance(row.get("SubnetId"), str) and isinstance(row.get("VpcId"), str)]
    here = [row for row in known if row.get("AvailabilityZone") == zone]
    if here:
        # The roomiest first; the id makes the choice certain.
        best = min(here, key=lambda row: (-_count(row.get("AvailableIpAddressCount")), row["SubnetId"]))
        return Subnet(best["SubnetId"], best["VpcId"])
    if known:
        raise NoCapacity(f"no subnet in {zone}", code="no-subnet", scope="zone", hold_s=_DAY_S)
    raise Forbidden(
        f"no {'such' if own else 'default'} subnet in {region}: make a default VPC, or set {SUBNETS_SETTING}",
        code="VPCIdNotSpecified",
        scope="region",
        hold_s=3600.0,
    )


def open_ports(ports: Sequence[str]) -> list[tuple[str, int]]:
    """Protocol and number of SSH's and of *ports* (``8080/http``, ``9000/tcp``), each once, in order.

    Raises:
        InvalidRequest: one of them is no port.
    """
    found = {("tcp", SSH_PORT)}
    for port in ports:
        match = _PORT.match(port)
        if match is None or not 0 < int(match[1]) < 65536:
            raise InvalidRequest(f"port {port!r} is not like 8080/http or 9000/tcp", code="bad-port")
        found.add(("udp" if match[2] == "udp" else "tcp", int(match[1])))
    return sorted(found)


def group_name(owner: str, ports: Sequence[str]) -> str:
    """The name of the group for *ports*, the same for every machine of the installation *owner*."""
    opened = open_ports(ports)
    if opened == [("tcp", SSH_PORT)]:
        return f"orch-{owner7(owner)}-ssh"
    words = " ".join(f"{protocol}/{number}" for protocol, number in opened)
    return f"orch-{owner7(owner)}-{hashlib.sha256(words.encode()).hexdigest()[:10]}"


async def ensure_group(client: Client, region: str, vpc: str, *, owner: str, ports: Sequence[str]) -> str:
    """The id of the group for *ports* in *vpc* with its rules, made if it is not there."""
    name = group_name(owner, ports)
    found = await _find_group(client, region, vpc, name)
    if found is None:
        made = await _make_group(client, region, vpc, name, owner)
        if made is None:  # somebody else made it in between
            found = await _find_group(client, region, vpc, name)
            if found is None:
                raise NoCapacity(
                    f"the security group {name} exists and is not listed yet", code="InvalidGroup.Duplicate"
                )
        else:
            await _open(client, region, made, ports)
            return made
    # A process that died between the two calls may have left the group without its rules.
    if not found[1]:
        await _open(client, region, found[0], ports)
    return found[0]


async def drop_group(client: Client, region: str, group: str, *, verb: str) -> bool:
    """Delete the group if nothing uses it; whether it is gone. Never raises: a group costs nothing."""
    try:
        await client.call("ec2", region, "delete_security_group", verb=verb, GroupId=group)
    except ProviderError as error:
        return error.code == "InvalidGroup.NotFound"
    return True


async def _find_group(client: Client, region: str, vpc: str, name: str) -> tuple[str, bool] | None:
    """Id of the group, and whether it has any rule."""
    filters = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [vpc]}]
    rows = await client.pages("ec2", region, "describe_security_groups", verb="resolve", Filters=filters)
    for row in rows:
        if row.get("GroupName", name) == name and isinstance(row.get("GroupId"), str):
            return row["GroupId"], bool(row.get("IpPermissions"))
    return None


async def _make_group(client: Client, region: str, vpc: str, name: str, owner: str) -> str | None:
    try:
        # Repeatable: a second one with that name is refused.
        answer = await client.call(
            "ec2",
            region,
            "create_security_group",
            verb="resolve",
            GroupName=name,
            Description="orch: SSH to rented machines; deleted when unused",
            VpcId=vpc,
            TagSpecifications=[
                {
                    "ResourceType": "security-group",
                    "Tags": [{"Key": "Name", "Value": name}, {"Key": "orch-owner", "Value": owner}],
                }
            ],
        )
    except ProviderError as error:
        if error.code == "InvalidGroup.Duplicate":
            return None
        raise
    return str(answer["GroupId"])


async def _open(client: Client, region: str, group: str, ports: Sequence[str]) -> None:
    rules = [
        {
            "IpProtocol": protocol,
            "FromPort": number,
            "ToPort": number,
            "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "orch"}],
        }
        for protocol, number in open_ports(ports)
    ]
    try:
        await client.call(
            "ec2", region, "authorize_security_group_ingress", verb="resolve", GroupId=group, IpPermissions=rules
        )
    except ProviderError as error:
        if error.code != "InvalidPermission.Duplicate":
            raise


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
