"""Which image a machine boots: by default Ubuntu with NVIDIA's driver, pinned to one exact image per attempt.

A family's newest image may change between a launch and its replay, so it is looked up once, in `resolve`.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from providers.errors import InvalidRequest, OfferGone
from providers.gcp.client import Client

PROJECT = "ubuntu-os-accelerator-images"
#: Newest driver first; the names are seen in public scripts.
FAMILIES = {
    "x86_64": tuple(f"ubuntu-accelerator-2204-amd64-with-nvidia-{driver}" for driver in (580, 570, 550)),
    "arm64": tuple(f"ubuntu-accelerator-2204-arm64-with-nvidia-{driver}" for driver in (580, 570, 550)),
}
USER = "ubuntu"

_IMAGE = re.compile(r"^(?:https://(?:www|compute)\.googleapis\.com/compute/v1/)?(projects/[^/]+/global/images/.+)$")


class Image(NamedTuple):
    """An exact image: its path below the API's root, and the disk it needs in GiB."""

    path: str
    least_gib: int


async def resolve(client: Client, *, arch: str, wanted: str | None) -> Image:
    """The image to boot.

    Args:
        wanted: ``projects/P/global/images/NAME`` or ``projects/P/global/images/family/F``; None for the default.

    Raises:
        InvalidRequest: *wanted* is neither.
        OfferGone: there is no such image.
    """
    if wanted is not None:
        match = _IMAGE.match(wanted.strip())
        if match is None:
            raise InvalidRequest(
                f"image {wanted!r}: a machine of Google Cloud boots an image like projects/P/global/images/NAME or "
                "projects/P/global/images/family/F; run a container with docker over SSH",
                code="bad-image",
            )
        row = await client.seek(match[1], verb="resolve")
        if row is None:
            raise OfferGone(f"there is no image {wanted}", code="notFound")
        return _read(row, match[1])
    for family in FAMILIES.get(arch, FAMILIES["x86_64"]):
        path = f"projects/{PROJECT}/global/images/family/{family}"
        row = await client.seek(path, verb="resolve")
        if row is not None:
            return _read(row, path)
    raise OfferGone(f"no image with NVIDIA's driver for {arch} in {PROJECT}", code="no-image", scope="provider")


def _read(row: dict[str, Any], asked: str) -> Image:
    link = row.get("selfLink")
    match = _IMAGE.match(link) if isinstance(link, str) else None
    name = row.get("name")
    path = match[1] if match else None
    if path is None and isinstance(name, str) and name:
        path = f"{asked.partition('/global/images/')[0]}/global/images/{name}"
    # int64 is a string in Google's JSON.
    size = row.get("diskSizeGb")
    least = int(size) if isinstance(size, int) or (isinstance(size, str) and size.isdigit()) else 0
    return Image(path or asked, least)
