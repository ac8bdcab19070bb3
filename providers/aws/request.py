"""The parameters of RunInstances: everything comes from the saved spec, so a replay is word for word the same."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from providers.aws import offers
from providers.base import LaunchSpec, Offer
from providers.errors import InvalidRequest

OWNER_TAG, LEASE_TAG, TOKEN_TAG = "orch-owner", "orch-lease", "orch-token"
LONGEST_TOKEN = 64
#: The engine lets a price be 2 % above the promise; a cap right at it would end machines over a cent.
_HEADROOM = Decimal("1.02")
_CENT_OF_A_CENT = Decimal("0.0001")


def client_token(token: str, zone: str) -> str:
    """EC2's idempotency token for one attempt. It names the zone, because EC2 keeps tokens per zone.

    Raises:
        InvalidRequest: it is longer than EC2 takes.
    """
    made = f"{token}-{zone}"
    if len(made) > LONGEST_TOKEN or not made.isascii():
        raise InvalidRequest(f"client token {made!r} is longer than {LONGEST_TOKEN} characters", code="bad-token")
    return made


def run_instances(offer: Offer, spec: LaunchSpec, token: str, *, group: str) -> dict[str, Any]:
    """What RunInstances is sent for exactly *offer*; *spec* has been resolved."""
    _, zone, instance_type = offers.place(offer)
    native = spec.native
    params: dict[str, Any] = {
        "ImageId": native["image"],
        "InstanceType": instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": client_token(token, zone),
        "UserData": native["user_data"],
        # Subnet and group stand in here: beside an interface that asks for a public address they are refused.
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": native["subnet"],
                "AssociatePublicIpAddress": True,
                "DeleteOnTermination": True,
                "Groups": [group],
            }
        ],
        "BlockDeviceMappings": [_disk(device, spec) for device in str(native["devices"]).split()],
        "TagSpecifications": _tags(offer, spec, token),
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required"},
    }
    if offer.pricing == "spot":
        params["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": _spot(spec)}
    return params


def tags(spec: LaunchSpec, token: str) -> dict[str, str]:
    """Our mark: the name for people, the full owner id for us."""
    return {"Name": token, OWNER_TAG: spec.owner, LEASE_TAG: spec.lease, TOKEN_TAG: token}


def _tags(offer: Offer, spec: LaunchSpec, token: str) -> list[dict[str, Any]]:
    kinds = ["instance", "volume", "network-interface"]
    if offer.pricing == "spot":
        kinds.append("spot-instances-request")
    pairs = [{"Key": key, "Value": value} for key, value in tags(spec, token).items()]
    return [{"ResourceType": kind, "Tags": pairs} for kind in kinds]


def _disk(device: str, spec: LaunchSpec) -> dict[str, Any]:
    # Further disks of an image are kept by default: each is told to go with the machine.
    ebs: dict[str, Any] = {"DeleteOnTermination": True}
    if device == spec.native["root"]:
        ebs |= {"VolumeSize": int(spec.native["disk_gib"]), "VolumeType": "gp3"}
    return {"DeviceName": device, "Ebs": ebs}


def _spot(spec: LaunchSpec) -> dict[str, str]:
    options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
    if spec.max_usd_per_hour is not None:
        options["MaxPrice"] = str((spec.max_usd_per_hour * _HEADROOM).quantize(_CENT_OF_A_CENT))
    return options
