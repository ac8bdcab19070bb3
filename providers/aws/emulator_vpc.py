"""EC2's actions on what lies around instances: VPCs, subnets, security groups, key pairs."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Any

import providers.aws.emulator_filters as filters
from providers.aws.emulator_cloud import Action, Cloud
from providers.aws.emulator_network import Group, KeyPair, Site, Subnet
from providers.aws.emulator_wire import Call, Refusal, Tree, items, number, stamp, tag_set, tag_specification, text

_PUBLIC_KEY = re.compile(r"(ssh-ed25519|ssh-rsa) [A-Za-z0-9+/]+=*( .*)?")


def _site(cloud: Cloud, call: Call) -> Site:
    return cloud.network.site(call.account, call.region)


def describe_vpcs(cloud: Cloud, call: Call) -> Tree:
    filters.check(call, ("vpc-id", "is-default", "isDefault", "state", "cidr", "owner-id"))
    site, wanted = _site(cloud, call), call.items("VpcId")
    there = [site.vpc] if site.subnets else []
    for key in wanted:
        if key not in there:
            raise Refusal("InvalidVpcID.NotFound", f"The vpc ID '{key}' does not exist")

    def known(vpc: str) -> dict[str, list[str]]:
        default = {"is-default": ["true"], "isDefault": ["true"]}
        return {
            "vpc-id": [vpc],
            "state": ["available"],
            "cidr": ["172.31.0.0/16"],
            "owner-id": [call.account],
            **default,
        }

    shown, token = filters.page(call, filters.select(call, there, known, lambda vpc: {}))
    rows = [
        {
            "vpcId": vpc,
            "ownerId": call.account,
            "state": "available",
            "cidrBlock": "172.31.0.0/16",
            "isDefault": True,
            "instanceTenancy": "default",
        }
        for vpc in shown
    ]
    return {"vpcSet": rows, "nextToken": token}


def describe_subnets(cloud: Cloud, call: Call) -> Tree:
    names = "subnet-id vpc-id availability-zone availability-zone-id availabilityZone default-for-az defaultForAz state"
    filters.check(call, (*names.split(), "map-public-ip-on-launch"))
    site, wanted = _site(cloud, call), call.items("SubnetId")
    for key in wanted:
        if key not in site.subnets:
            raise Refusal("InvalidSubnetID.NotFound", f"The subnet ID '{key}' does not exist")
    found = [one for one in site.subnets.values() if not wanted or one.id in wanted]

    def known(one: Subnet) -> dict[str, list[str]]:
        return {
            "subnet-id": [one.id],
            "vpc-id": [site.vpc],
            "availability-zone": [one.zone],
            "availabilityZone": [one.zone],
            "availability-zone-id": [cloud.market.zone_id(one.zone)],
            "default-for-az": ["true"],
            "defaultForAz": ["true"],
            "map-public-ip-on-launch": ["true"],
            "state": ["available"],
        }

    shown, token = filters.page(call, filters.select(call, found, known, lambda one: {}))
    rows = [
        {
            "subnetId": one.id,
            "state": "available",
            "vpcId": site.vpc,
            "ownerId": call.account,
            "cidrBlock": one.cidr,
            "availableIpAddressCount": 4091,
            "availabilityZone": one.zone,
            "availabilityZoneId": cloud.market.zone_id(one.zone),
            "defaultForAz": True,
            "mapPublicIpOnLaunch": True,
        }
        for one in shown
    ]
    return {"subnetSet": rows, "nextToken": token}


# Security groups.


def describe_security_groups(cloud: Cloud, call: Call) -> Tree:
    filters.check(call, ("group-id", "group-name", "vpc-id", "description", "owner-id"))
    site = _site(cloud, call)
    found = list(site.groups.values())
    for name in [*call.items("GroupId"), *call.items("GroupName")]:
        if not any(name in (one.id, one.name) for one in found):
            raise _no_group(name, site)
    if wanted := {*call.items("GroupId"), *call.items("GroupName")}:
        found = [one for one in found if one.id in wanted or one.name in wanted]

    def known(one: Group) -> dict[str, list[str]]:
        return {
            "group-id": [one.id],
            "group-name": [one.name],
            "vpc-id": [one.vpc],
            "description": [one.description],
            "owner-id": [call.account],
        }

    shown, token = filters.page(call, filters.select(call, found, known, lambda one: one.tags))
    return {"securityGroupInfo": [_group(one, call.account) for one in shown], "nextToken": token}


def _no_group(name: str, site: Site) -> Refusal:
    return Refusal("InvalidGroup.NotFound", f"The security group '{name}' does not exist in VPC '{site.vpc}'")


def _group(one: Group, account: str) -> Tree:
    egress = {"ipProtocol": "-1", "groups": [], "ipRanges": [{"cidrIp": "0.0.0.0/0"}], "ipv6Ranges": []}
    return {
        "ownerId": account,
        "groupId": one.id,
        "groupName": one.name,
        "groupDescription": one.description,
        "vpcId": one.vpc,
        "ipPermissions": _permissions(one, account),
        "ipPermissionsEgress": [egress],
        "tagSet": tag_set(one.tags),
    }


def _permissions(one: Group, account: str) -> list[Tree]:
    """The rules, those of one protocol and port range together."""
    found: dict[tuple[Any, ...], Tree] = {}
    for rule in one.rules:
        key = (rule["protocol"], rule["from"], rule["to"])
        row = found.setdefault(
            key,
            {
                "ipProtocol": key[0],
                "fromPort": key[1],
                "toPort": key[2],
                "groups": [],
                "ipRanges": [],
                "ipv6Ranges": [],
            },
        )
        if rule["group"]:
            row["groups"].append({"userId": account, "groupId": rule["group"]})
        elif ":" in rule["cidr"]:
            row["ipv6Ranges"].append({"cidrIpv6": rule["cidr"]})
        else:
            row["ipRanges"].append({"cidrIp": rule["cidr"]})
    return list(found.values())


def create_security_group(cloud: Cloud, call: Call) -> Tree:
    name, description, site = call.need("GroupName"), call.need("GroupDescription"), _site(cloud, call)
    if len(name) > 255 or name.startswith("sg-"):
        raise Refusal("InvalidParameterValue", f"Invalid value '{name[:40]}' for groupName.")
    if not re.fullmatch(r"[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}", description):
        raise Refusal("InvalidParameterValue", "Invalid value for GroupDescription: a character is not permitted.")
    vpc = call.text("VpcId")
    if not site.subnets and vpc is None:
        raise Refusal("VPCIdNotSpecified", "No default VPC for this user")
    if vpc not in (None, site.vpc):
        raise Refusal("InvalidVpcID.NotFound", f"The vpc ID '{vpc}' does not exist")
    if any(one.name == name for one in site.groups.values()):
        twice = f"The security group '{name}' already exists for VPC '{site.vpc}'"
        raise Refusal("InvalidGroup.Duplicate", twice)
    tags = tag_specification(call, "security-group")
    group = Group(cloud.network.id("sg"), name, description, site.vpc, tags)
    site.groups[group.id] = group
    return {"groupId": group.id, "tagSet": tag_set(tags)}


def delete_security_group(cloud: Cloud, call: Call) -> Tree:
    site = _site(cloud, call)
    group = _named_group(call, site)
    if group.name == "default":
        raise Refusal("CannotDelete", "the specified group: default cannot be deleted by a user")
    if any(group.id in one.groups and one.state != "terminated" for one in cloud.fleet.instances.values()):
        raise Refusal("DependencyViolation", f"resource {group.id} has a dependent object")
    del site.groups[group.id]
    return {"return": True, "groupId": group.id}


def _named_group(call: Call, site: Site) -> Group:
    wanted = call.text("GroupId") or call.text("GroupName")
    if wanted is None:
        raise Refusal("MissingParameter", "The request must contain the parameter groupId")
    for one in site.groups.values():
        if wanted in (one.id, one.name):
            return one
    raise _no_group(wanted, site)


def authorize_security_group_ingress(cloud: Cloud, call: Call) -> Tree:
    group = _named_group(call, _site(cloud, call))
    nodes = call.items("IpPermissions") or [_old_style(call)]
    rules = [rule for node in nodes for rule in _rules(node)]
    if not rules:
        raise Refusal("InvalidParameterValue", "No IP permission names a source.")
    for rule in rules:
        if rule in group.rules:
            peer, ports = rule["cidr"] or rule["group"], f"from port: {rule['from']}, to port: {rule['to']}"
            what = f"peer: {peer}, {rule['protocol']}, {ports}"
            raise Refusal("InvalidPermission.Duplicate", f'the specified rule "{what}, ALLOW" already exists')
    group.rules += rules
    cloud.fleet.sync_machines()
    made = [
        {
            "securityGroupRuleId": cloud.network.id("sgr"),
            "groupId": group.id,
            "groupOwnerId": call.account,
            "isEgress": False,
            "ipProtocol": rule["protocol"],
            "fromPort": -1 if rule["from"] is None else rule["from"],
            "toPort": -1 if rule["to"] is None else rule["to"],
            "cidrIpv4": rule["cidr"],
        }
        for rule in rules
    ]
    return {"return": True, "securityGroupRuleSet": made}


def _old_style(call: Call) -> Tree:
    ranges = {"1": {"CidrIp": call.text("CidrIp")}} if call.text("CidrIp") else {}
    return {**{k: v for k, v in call.params.items() if k in ("IpProtocol", "FromPort", "ToPort")}, "IpRanges": ranges}


def _rules(node: Tree) -> list[dict[str, Any]]:
    protocol, first, last = text(node, "IpProtocol"), number(node, "FromPort"), number(node, "ToPort")
    if protocol is None:
        raise Refusal("MissingParameter", "The request must contain the parameter ipProtocol")
    protocol = {"6": "tcp", "17": "udp", "1": "icmp"}.get(protocol, protocol.lower())
    if protocol in ("tcp", "udp"):
        if first is None or last is None:
            raise Refusal("MissingParameter", "The request must contain the parameters fromPort and toPort")
        if not 0 <= first <= last <= 65535:
            raise Refusal("InvalidParameterValue", f"Invalid value for portRange: {first}-{last}.")
    base = {"protocol": protocol, "from": first, "to": last}
    found: list[dict[str, Any]] = []
    for part in items(node, "IpRanges"):
        cidr = text(part, "CidrIp") or ""
        if not re.fullmatch(r"(\d{1,3}\.){3}\d{1,3}/\d{1,2}", cidr):
            raise Refusal("InvalidParameterValue", f"CIDR block {cidr} is malformed")
        found.append({**base, "cidr": cidr, "group": None})
    found += [{**base, "cidr": text(part, "CidrIpv6"), "group": None} for part in items(node, "Ipv6Ranges")]
    return found + [{**base, "cidr": None, "group": text(part, "GroupId")} for part in items(node, "Groups")]


# Key pairs.


def describe_key_pairs(cloud: Cloud, call: Call) -> Tree:
    filters.check(call, ("key-name", "key-pair-id", "fingerprint"))
    site, wanted = _site(cloud, call), [*call.items("KeyName"), *call.items("KeyPairId")]
    for name in wanted:
        if not any(name in (one.name, one.id) for one in site.keys.values()):
            raise Refusal("InvalidKeyPair.NotFound", f"The key pair '{name}' does not exist")
    found = [one for one in site.keys.values() if not wanted or one.name in wanted or one.id in wanted]

    def known(one: KeyPair) -> dict[str, list[str]]:
        return {"key-name": [one.name], "key-pair-id": [one.id], "fingerprint": [_fingerprint(one.public_key)]}

    full = call.flag("IncludePublicKey")
    rows = [
        {
            "keyPairId": one.id,
            "keyName": one.name,
            "keyType": "ed25519" if one.public_key.startswith("ssh-ed25519") else "rsa",
            "keyFingerprint": _fingerprint(one.public_key),
            "createTime": one.created,
            "tagSet": tag_set(one.tags),
            "publicKey": one.public_key if full else None,
        }
        for one in filters.select(call, found, known, lambda one: one.tags)
    ]
    return {"keySet": rows}


def import_key_pair(cloud: Cloud, call: Call) -> Tree:
    name, site = call.need("KeyName"), _site(cloud, call)
    try:
        key = base64.b64decode(call.need("PublicKeyMaterial"), validate=True).decode("ascii").strip()
    except (binascii.Error, ValueError):
        key = ""
    if not _PUBLIC_KEY.fullmatch(key):
        raise Refusal("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
    if name in site.keys:
        raise Refusal("InvalidKeyPair.Duplicate", f"The keypair '{name}' already exists.")
    tags = tag_specification(call, "key-pair")
    pair = KeyPair(cloud.network.id("key"), name, key, stamp(cloud.world.now()), tags)
    site.keys[name] = pair
    return {
        "keyName": name,
        "keyFingerprint": _fingerprint(key),
        "keyPairId": pair.id,
        "tagSet": tag_set(tags),
    }


def delete_key_pair(cloud: Cloud, call: Call) -> Tree:
    """A key pair that is not there is no error."""
    site = _site(cloud, call)
    wanted = call.text("KeyName") or call.text("KeyPairId")
    if wanted is None:
        raise Refusal("MissingParameter", "The request must contain the parameter KeyName")
    pair = next((one for one in site.keys.values() if wanted in (one.name, one.id)), None)
    if pair is not None:
        del site.keys[pair.name]
    return {"return": True, "keyPairId": pair.id if pair else None}


def _fingerprint(key: str) -> str:
    raw = base64.b64decode(key.split()[1] + "==")
    return base64.b64encode(hashlib.sha256(raw).digest()).decode().rstrip("=")


_PAGE = "Filter MaxResults NextToken"
ACTIONS = {
    "DescribeVpcs": Action(describe_vpcs, f"{_PAGE} VpcId"),
    "DescribeSubnets": Action(describe_subnets, f"{_PAGE} SubnetId"),
    "DescribeSecurityGroups": Action(describe_security_groups, f"{_PAGE} GroupId GroupName"),
    "CreateSecurityGroup": Action(create_security_group, "GroupName GroupDescription VpcId TagSpecification"),
    "DeleteSecurityGroup": Action(delete_security_group, "GroupId GroupName"),
    "AuthorizeSecurityGroupIngress": Action(
        authorize_security_group_ingress,
        "GroupId GroupName IpPermissions CidrIp FromPort ToPort IpProtocol TagSpecification",
    ),
    "DescribeKeyPairs": Action(describe_key_pairs, "KeyName KeyPairId IncludePublicKey Filter"),
    "ImportKeyPair": Action(import_key_pair, "KeyName PublicKeyMaterial TagSpecification"),
    "DeleteKeyPair": Action(delete_key_pair, "KeyName KeyPairId"),
}
