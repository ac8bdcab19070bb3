"""Which image a machine starts from: one with the driver inside where there is one, else plain Ubuntu.

Sources: Azure's HPC images (NVIDIA driver and CUDA inside) for T4, A100, H100 and H200. An A10 is a slice of a card and
needs the GRID driver, which no image of Microsoft's brings: Ubuntu, and the driver extension after the boot. Both
images are of generation 2, and neither is sold by plan. No security type is sent: "standard" needs a registration, and
with secure boot on the driver would not load. "Latest" is what is asked for; Azure keeps the version that it chose.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from providers.errors import InvalidRequest, OfferGone

#: Least size in GiB of the root disk that the image needs.
LEAST_GIB = 64
_DAY_S = 86_400.0
_URN = re.compile(r"^([^:/\s]+):([^:/\s]+):([^:/\s]+):([^:/\s]+)$")
_DEFAULT = {
    "cuda": {"publisher": "microsoft-dsvm", "offer": "ubuntu-hpc", "sku": "2204", "version": "latest"},
    "grid": {
        "publisher": "Canonical",
        "offer": "0001-com-ubuntu-server-jammy",
        "sku": "22_04-lts-gen2",
        "version": "latest",
    },
}


class Image(NamedTuple):
    """A VM body's ``imageReference``, and the driver that is still to be installed (``grid``) or none."""

    reference: dict[str, str]
    driver: str


def choose(driver: str, generations: str, wanted: str | None) -> Image:
    """The image for a size.

    Args:
        driver: how the size comes to its driver (`sizes.Driver`).
        generations: the API's ``HyperVGenerations``, for example ``V1,V2``; empty if it says nothing.
        wanted: the user's own, as ``publisher:offer:sku:version`` or the id of an image, or None.

    Raises:
        InvalidRequest: *wanted* is no image of Azure's.
        OfferGone: that size starts from none of the default images.
    """
    if wanted is not None:
        return Image(_own(wanted.strip()), "")
    if driver not in _DEFAULT:
        raise OfferGone(
            "this size needs NVIDIA's GRID driver 20, which no default image has: name an image of your own",
            code="needs-own-image",
            scope="type",
            hold_s=_DAY_S,
        )
    if generations and "V2" not in generations.upper():
        raise OfferGone(
            f"this size starts images of generation {generations} only", code="generation", scope="type", hold_s=_DAY_S
        )
    return Image(dict(_DEFAULT[driver]), "grid" if driver == "grid" else "")


def _own(text: str) -> dict[str, str]:
    match = _URN.match(text)
    if match is not None:
        return dict(zip(("publisher", "offer", "sku", "version"), match.groups(), strict=True))
    start = text.lower()
    if start.startswith("/communitygalleries/"):
        return {"communityGalleryImageId": text}
    if start.startswith("/sharedgalleries/"):
        return {"sharedGalleryImageId": text}
    if start.startswith("/subscriptions/") and "/providers/microsoft.compute/" in start:
        return {"id": text}
    raise InvalidRequest(
        f"image {text!r}: an Azure machine starts from publisher:offer:sku:version, a gallery image or an image's id",
        code="bad-image",
    )


def extension(region: str) -> dict[str, Any]:
    """The body of the extension that installs the GRID driver; some minutes, and it may reboot the machine.

    The version is pinned because GRID 17 breaks CUDA on the A10.
    """
    return {
        "location": region,
        "properties": {
            "publisher": "Microsoft.HpcCompute",
            "type": "NvidiaGpuDriverLinux",
            "typeHandlerVersion": "1.11",
            "autoUpgradeMinorVersion": True,
            "settings": {"driverVersion": "535.161"},
        },
    }
