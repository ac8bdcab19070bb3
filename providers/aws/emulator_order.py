"""What a RunInstances request asks for, checked against EC2's rules.

Sources: the EC2 model of botocore 1.44, the API reference's list of client errors. Whether there is a machine is
not decided here.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from providers.aws.emulator_market import Image, Kind, Market
from providers.aws.emulator_network import Site, Subnet
from providers.aws.emulator_wire import Call, Refusal, Tree, branch, flag, items, number, tag_specification, text

_MARKETS = ("spot", "capacity-block", "interruptible-capacity-reservation", "on-demand")
_TAGGABLE = ("instance", "volume", "network-interface", "spot-instances-request", "elastic-gpu")
_NOT_ASKED = ("ClientToken", "Action", "Version", "DryRun")


@dataclass(frozen=True, slots=True)
class DiskOrder:
    """A volume to make."""

    device: str
    size_gb: int
    kind: str
    with_instance: bool


@dataclass(frozen=True, slots=True)
class Order:
    """One checked request. `zone` and `subnet` are None where AWS may choose; prices are USD an hour."""

    kind: Kind
    image: Image
    least: int
    most: int
    zone: str | None
    subnet: str | None
    groups: list[str]
    public: bool
    key_name: str | None
    public_key: str | None
    user_data: bytes
    disks: list[DiskOrder]
    spot: bool
    max_price: Decimal | None
    on_shutdown: str
    tags: dict[str, str]
    disk_tags: dict[str, str]
    network_tags: dict[str, str]
    token: str
    fingerprint: str


def read(call: Call, market: Market, site: Site) -> Order:
    """The order in *call*.

    Raises:
        Refusal: a parameter is missing, malformed, unknown or does not go with another.
    """
    kind = _kind(call, market)
    image = _image(call, market)
    least, most = _counts(call)
    cards = call.items("NetworkInterface")
    zone, subnet = _place(call, cards, market, site)
    spot, max_price = _market(call)
    key_name = call.text("KeyName")
    if key_name is not None and key_name not in site.keys:
        raise Refusal("InvalidKeyPair.NotFound", f"The key pair '{key_name}' does not exist")
    _check_details(call)
    return Order(
        kind=kind,
        image=image,
        least=least,
        most=most,
        zone=zone,
        subnet=subnet,
        groups=_groups(call, cards, site),
        public=_public(cards),
        key_name=key_name,
        public_key=site.keys[key_name].public_key if key_name else None,
        user_data=_user_data(call),
        disks=_disks(call, image),
        spot=spot,
        max_price=max_price,
        on_shutdown=call.text("InstanceInitiatedShutdownBehavior") or "stop",
        tags=tag_specification(call, "instance", _TAGGABLE),
        disk_tags=tag_specification(call, "volume", _TAGGABLE),
        network_tags=tag_specification(call, "network-interface", _TAGGABLE),
        token=_token(call),
        fingerprint=fingerprint(call.params),
    )


def fingerprint(params: Tree) -> str:
    """All parameters that a replay must repeat, as one text."""
    return json.dumps({k: v for k, v in params.items() if k not in _NOT_ASKED}, sort_keys=True)


def _token(call: Call) -> str:
    token = call.text("ClientToken") or ""
    if len(token) > 64 or not token.isascii():
        raise Refusal(
            "InvalidParameterValue", "Value for parameter clientToken is invalid. Expected 64 ASCII characters at most"
        )
    return token


def _kind(call: Call, market: Market) -> Kind:
    name = call.need("InstanceType")
    if name not in market.kinds:
        raise Refusal("InvalidParameterValue", f"Invalid value '{name}' for InstanceType.")
    return market.kinds[name]


def _image(call: Call, market: Market) -> Image:
    image_id = call.need("ImageId")
    if not image_id.startswith("ami-"):
        raise Refusal("InvalidAMIID.Malformed", f'Invalid id: "{image_id}" (expecting "ami-...")')
    image = market.image(image_id, call.region)
    if image is None:
        raise Refusal("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
    return image


def _counts(call: Call) -> tuple[int, int]:
    call.need("MinCount")
    call.need("MaxCount")
    least, most = call.number("MinCount") or 0, call.number("MaxCount") or 0
    if least < 1 or most < least:
        raise Refusal("InvalidParameterValue", f"Value ({least}, {most}) for parameters minCount, maxCount is invalid.")
    return least, most


def _place(call: Call, cards: list[Tree], market: Market, site: Site) -> tuple[str | None, str | None]:
    placement = branch(call.params, "Placement")
    zone, zone_id = text(placement, "AvailabilityZone"), text(placement, "AvailabilityZoneId")
    zones = market.regions[call.region].zones
    if zone_id is not None:
        if zone is not None:
            both = "Only one of AvailabilityZone and AvailabilityZoneId may be specified"
            raise Refusal("InvalidParameterCombination", both)
        zone = next((name for name, each in zones.items() if each == zone_id), zone_id)
    if zone is not None and zone not in zones:
        raise Refusal("InvalidParameterValue", f"Invalid availability zone: [{zone}]")
    subnet_id = call.text("SubnetId")
    if cards and subnet_id is not None:
        beside = "Network interfaces and an instance-level subnet ID may not be specified on the same request"
        raise Refusal("InvalidParameterCombination", beside)
    subnet_id = subnet_id or next((found for card in cards if (found := text(card, "SubnetId"))), None)
    if subnet_id is None:
        return zone, None
    subnet = _subnet(subnet_id, site)
    if zone not in (None, subnet.zone):
        wrong = f"The subnet '{subnet_id}' is not in the availability zone '{zone}'"
        raise Refusal("InvalidParameterValue", wrong)
    return subnet.zone, subnet_id


def _subnet(subnet_id: str, site: Site) -> Subnet:
    if subnet_id not in site.subnets:
        raise Refusal("InvalidSubnetID.NotFound", f"The subnet ID '{subnet_id}' does not exist")
    return site.subnets[subnet_id]


def _groups(call: Call, cards: list[Tree], site: Site) -> list[str]:
    beside = [*call.items("SecurityGroupId"), *call.items("SecurityGroup")]
    if cards and beside:
        both = "Network interfaces and an instance-level security groups may not be specified on the same request"
        raise Refusal("InvalidParameterCombination", both)
    wanted = beside or [one for card in cards[:1] for one in items(card, "SecurityGroupId")]
    found = []
    for one in wanted:
        group = next((g for g in site.groups.values() if one in (g.id, g.name)), None)
        if group is None:
            raise Refusal("InvalidGroup.NotFound", f"The security group '{one}' does not exist in VPC '{site.vpc}'")
        found.append(group.id)
    return found or [site.default_group.id]


def _public(cards: list[Tree]) -> bool:
    if not cards:
        return True  # a default subnet gives public addresses
    asked = [flag(card, "AssociatePublicIpAddress") for card in cards if "AssociatePublicIpAddress" in card]
    if any(asked) and len(cards) > 1:
        many = "associatePublicIPAddress cannot be specified when launching with multiple network interfaces."
        raise Refusal("InvalidParameterCombination", many)
    # With several network interfaces there is never an automatic address.
    return asked[0] if asked else len(cards) == 1


def _user_data(call: Call) -> bytes:
    try:
        raw = base64.b64decode(call.text("UserData") or "", validate=True)
    except (binascii.Error, ValueError):
        raise Refusal("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.") from None
    if len(raw) > 16384:
        raise Refusal("InvalidUserData.Malformed", "User data is limited to 16384 bytes")
    return raw


def _disks(call: Call, image: Image) -> list[DiskOrder]:
    found = {image.root: DiskOrder(image.root, image.size_gb, "gp3", True)}
    for node in call.items("BlockDeviceMapping"):
        device, ebs = text(node, "DeviceName"), branch(node, "Ebs")
        if not device:
            raise Refusal("MissingParameter", "The request must contain the parameter deviceName")
        if not ebs:
            continue  # NVMe disks of the machine itself need no mapping and cost nothing
        is_root = device == image.root
        size = number(ebs, "VolumeSize") or (image.size_gb if is_root else 0)
        if is_root and size < image.size_gb:
            small = f"Volume of size {size}GB is smaller than snapshot, expect size >= {image.size_gb}GB"
            raise Refusal("InvalidBlockDeviceMapping", small)
        if size < 1:
            raise Refusal("MissingParameter", "The request must contain the parameter size or snapshotId")
        # Kept after the instance's end unless the request says otherwise; only the root's default is to go with it.
        gone = flag(ebs, "DeleteOnTermination") if "DeleteOnTermination" in ebs else is_root
        found[device] = DiskOrder(device, size, text(ebs, "VolumeType") or "gp2", gone)
    return list(found.values())


def _market(call: Call) -> tuple[bool, Decimal | None]:
    options = branch(call.params, "InstanceMarketOptions")
    market = text(options, "MarketType") or ("spot" if "SpotOptions" in options else "on-demand")
    if market not in _MARKETS:
        raise Refusal("InvalidParameterValue", f"Invalid value '{market}' for MarketType")
    if market not in ("spot", "on-demand"):
        raise Refusal("Unsupported", f"No reservation was given that market type {market} could use.")
    spot = branch(options, "SpotOptions")
    behaviour, kind = text(spot, "InstanceInterruptionBehavior"), text(spot, "SpotInstanceType") or "one-time"
    if behaviour not in (None, "terminate") and kind == "one-time":
        raise Refusal("InvalidParameterCombination", "A one-time Spot request can only be terminated when interrupted")
    if kind != "one-time":
        raise Refusal("Unsupported", "This sandbox has no persistent Spot requests.")
    price = text(spot, "MaxPrice")
    try:
        return market == "spot", None if price is None else Decimal(price)
    except InvalidOperation:
        raise Refusal("InvalidParameterValue", f"Invalid value '{price}' for MaxPrice") from None


def _check_details(call: Call) -> None:
    behaviour = call.text("InstanceInitiatedShutdownBehavior")
    if behaviour not in (None, "stop", "terminate"):
        raise Refusal("InvalidParameterValue", f"Invalid value '{behaviour}' for InstanceInitiatedShutdownBehavior")
    tokens = text(branch(call.params, "MetadataOptions"), "HttpTokens")
    if tokens not in (None, "optional", "required"):
        raise Refusal("InvalidParameterValue", f"Invalid value '{tokens}' for HttpTokens")
    profile = branch(call.params, "IamInstanceProfile")
    if profile:
        name = text(profile, "Name") or text(profile, "Arn")
        raise Refusal("InvalidParameterValue", f"Value ({name}) for parameter iamInstanceProfile is invalid.")
