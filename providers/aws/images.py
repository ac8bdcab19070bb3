"""Which machine image a machine starts from, and as whom SSH logs in.

The default is AWS's own Deep Learning Base image with the open NVIDIA driver, Docker and CUDA; its newest id comes
from a public SSM parameter, else from a search among AWS's images. It is looked up once per attempt, in `resolve`,
for "latest" may move between a launch and its replay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from providers.aws.client import Client
from providers.errors import AuthFailed, InvalidRequest, OfferGone, ProviderError, RateLimited

PARAMETER = "/aws/service/deeplearning/ami/{arch}/base-oss-nvidia-driver-gpu-ubuntu-{ubuntu}/latest/ami-id"
UBUNTU = ("22.04", "24.04")
OWNER = "898082745236"
#: The name for arm64 is from memory.
NAMES = {
    "x86_64": "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) *",
    "arm64": "Deep Learning ARM64 Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) *",
}
USER, ROOT = "ubuntu", "/dev/sda1"

_AMI = re.compile(r"^ami-[0-9a-f]{8,17}$")
_SSM = "resolve:ssm:"


class Image(NamedTuple):
    """An image in one region: its SSH user, root device, the disk it needs (GiB), and all devices on EBS."""

    id: str
    user: str = USER
    root: str = ROOT
    least_gib: int = 0
    devices: tuple[str, ...] = (ROOT,)


async def resolve(client: Client, region: str, *, arch: str, wanted: str | None) -> Image:
    """The image to start in *region*.

    Args:
        wanted: an AMI's id or an SSM parameter (``/aws/service/...``); None for the default.

    Raises:
        InvalidRequest: *wanted* is neither.
        OfferGone: there is no such image in that region.
    """
    if wanted is None:
        return await _described(client, region, await _default(client, region, arch), sure=False)
    if wanted.startswith(("/", _SSM)):
        return await _described(client, region, await _parameter(client, region, wanted.removeprefix(_SSM)), sure=False)
    if not _AMI.fullmatch(wanted):
        raise InvalidRequest(
            f"image {wanted!r}: an AWS machine starts from an AMI (ami-...) or an SSM parameter (/aws/service/...)",
            code="bad-image",
        )
    return await _described(client, region, wanted, sure=True)


async def _default(client: Client, region: str, arch: str) -> str:
    for ubuntu in UBUNTU:
        try:
            return await _parameter(client, region, PARAMETER.format(arch=arch, ubuntu=ubuntu))
        except (AuthFailed, RateLimited):
            raise
        except ProviderError:  # not there, or SSM may not be read: the search below needs EC2 only
            continue
    rows = await client.pages(
        "ec2",
        region,
        "describe_images",
        verb="resolve",
        Owners=[OWNER],
        Filters=[
            {"Name": "name", "Values": [NAMES.get(arch, NAMES["x86_64"])]},
            {"Name": "state", "Values": ["available"]},
        ],
    )
    images = [row for row in rows if isinstance(row.get("ImageId"), str)]
    if not images:
        raise OfferGone(f"no deep-learning image for {arch} in {region}", code="no-image", scope="region")
    # Creation dates are ISO 8601, so they sort as text; the id makes the choice certain.
    newest = max(images, key=lambda row: (str(row.get("CreationDate") or ""), str(row["ImageId"])))
    return str(newest["ImageId"])


async def _parameter(client: Client, region: str, name: str) -> str:
    answer = await client.call("ssm", region, "get_parameter", verb="resolve", Name=name)
    parameter = answer["Parameter"]
    value = parameter.get("Value") if isinstance(parameter, dict) else None
    if not isinstance(value, str) or not value.startswith("ami-"):
        raise OfferGone(f"the parameter {name} holds no image id", code="no-image")
    return value


async def _described(client: Client, region: str, image_id: str, *, sure: bool) -> Image:
    """What the image says of itself. For AWS's own (not *sure*) its documented layout stands in."""
    try:
        answer = await client.call("ec2", region, "describe_images", verb="resolve", ImageIds=[image_id])
    except (AuthFailed, RateLimited):
        raise
    except ProviderError:
        if sure:
            raise
        return Image(image_id)
    row = next((row for row in answer["Images"] if row.get("ImageId") == image_id), None)
    if row is not None:
        return read(row, image_id)
    if sure:
        raise OfferGone(f"there is no image {image_id} in {region}", code="InvalidAMIID.NotFound")
    return Image(image_id)


def read(row: Mapping[str, Any], image_id: str) -> Image:
    """An image from `Images`. Devices on EBS are named, so that a launch can have each deleted at the end."""
    root = row.get("RootDeviceName")
    root = root if isinstance(root, str) and root else ROOT
    least, devices = 0, [root]
    mappings = row.get("BlockDeviceMappings")
    for mapping in mappings if isinstance(mappings, list) else ():
        ebs, device = mapping.get("Ebs"), mapping.get("DeviceName")
        if not isinstance(ebs, dict) or not isinstance(device, str):
            continue
        if device == root and isinstance(ebs.get("VolumeSize"), int):
            least = ebs["VolumeSize"]
        devices.append(device)
    return Image(image_id, _user(row, root), root, least, tuple(dict.fromkeys(devices)))


def _user(row: Mapping[str, Any], root: str) -> str:
    words = f"{row.get('Name') or ''} {row.get('Description') or ''}".lower()
    if "ubuntu" in words:
        return "ubuntu"
    if "debian" in words:
        return "admin"
    return "ec2-user" if "amazon linux" in words or "al2023" in words or root == "/dev/xvda" else USER
