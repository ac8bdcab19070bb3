"""What the PUT of a machine may hold, rule by rule; what comes out is an order that can be served."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import providers.azure.emulator_groups as groups
from providers.azure.emulator_cloud import Cloud
from providers.azure.emulator_market import Image, Size
from providers.azure.emulator_resources import VM
from providers.azure.emulator_wire import Refusal, invalid

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")
_KEY = re.compile(r"(ssh-rsa|ssh-ed25519) [A-Za-z0-9+/]+={0,3}( .*)?\s*")
_USERS = frozenset(
    """administrator admin user user1 test user2 test1 user3 admin1 1 123 a actuser adm admin2 aspnet backup console
    david guest john owner root server sql support support_388945a0 sys test2 test3 user4 user5""".split()  # noqa: SIM905 - a table
)
_DISKS = ("Standard_LRS", "StandardSSD_LRS", "Premium_LRS", "StandardSSD_ZRS", "Premium_ZRS", "PremiumV2_LRS")
_CUSTOM_DATA = 65535


@dataclass(slots=True)
class Order:
    """A machine that was asked for, all names checked.

    Attributes:
        max_price: USD an hour, or None for no cap of its own.
        version: the image's, resolved.
        secrets: a fingerprint of what is never shown again.
    """

    name: str
    region: str
    size: Size
    zone: str
    tags: dict[str, str]
    spot: bool
    eviction: str
    max_price: Decimal | None
    image: Image
    version: str
    disk_gb: int
    disk_kind: str
    user: str
    keys: list[str]
    secrets: str
    properties: dict[str, Any]
    body: dict[str, Any]


def read(cloud: Cloud, name: str, body: dict[str, Any]) -> Order:
    """The order in a body.

    Raises:
        Refusal: it breaks a rule.
    """
    if not _NAME.fullmatch(name):
        text = "Linux host name cannot exceed 64 characters in length or contain reserved characters."
        raise invalid(text, "vmName")
    region, tags = cloud.place(body.get("location"), VM), groups.check_tags(body)
    properties = body.get("properties")
    if not isinstance(properties, dict):
        raise _missing("properties")
    size = _size(cloud, properties, region)
    zone = _zone(cloud, body, region)
    spot, eviction, cap = _priority(properties, size)
    image, version = _image(cloud, properties, size)
    disk_gb, disk_kind = _disk(properties, image)
    user, keys, secrets = _profile(properties, name)
    return Order(
        name=name,
        region=region,
        size=size,
        zone=zone,
        tags=tags,
        spot=spot,
        eviction=eviction,
        max_price=cap,
        image=image,
        version=version,
        disk_gb=disk_gb,
        disk_kind=disk_kind,
        user=user,
        keys=keys,
        secrets=secrets,
        properties=properties,
        body=body,
    )


def _missing(name: str) -> Refusal:
    return invalid(f"Required parameter '{name}' is missing (null).", name)


def part(properties: dict[str, Any], name: str) -> dict[str, Any]:
    """The object under a name, empty if it is absent.

    Raises:
        Refusal: it is no object.
    """
    found = properties.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        text = f"Error converting value to an object. Path 'properties.{name}'."
        raise Refusal("InvalidRequestContent", f"The request content was invalid: {text}")
    return found


def _size(cloud: Cloud, properties: dict[str, Any], region: str) -> Size:
    name = part(properties, "hardwareProfile").get("vmSize")
    if not isinstance(name, str) or not name:
        raise _missing("hardwareProfile.vmSize")
    found = cloud.market.size(name)
    if found is None:
        raise invalid(f"The value {name} provided for the VM size is not valid.", "vmSize")
    if not cloud.market.sold(found, region):
        raise no_sku(found, region)
    return found


def no_sku(size: Size, region: str, zone: str = "") -> Refusal:
    """409 SkuNotAvailable."""
    where = f"{region} zone {zone}" if zone else region
    text = (
        f"The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: {size.name}' is "
        f"currently not available in location '{where}'. Please try another size or deploy to a different location or "
        "different zone. See https://aka.ms/azureskunotavailable for details."
    )
    return Refusal("SkuNotAvailable", text, 409)


def _zone(cloud: Cloud, body: dict[str, Any], region: str) -> str:
    zones = body.get("zones")
    if not zones:
        return ""
    if not isinstance(zones, list) or len(zones) != 1:
        raise Refusal("InvalidResourceZones", "A virtual machine can be in one availability zone only.")
    there = cloud.market.regions[region].zones if region in cloud.market.regions else ()
    if str(zones[0]) not in there:
        text = (
            f"The zone(s) '{zones[0]}' for resource '{VM}' is not supported. "
            f"The supported zones for location '{region}' are '{','.join(there)}'"
        )
        raise Refusal("InvalidAvailabilityZone", text)
    return str(zones[0])


def _priority(properties: dict[str, Any], size: Size) -> tuple[bool, str, Decimal | None]:
    """Whether it is Spot, the eviction policy, and the cap."""
    priority = str(properties.get("priority", "Regular"))
    eviction, billing = properties.get("evictionPolicy"), part(properties, "billingProfile")
    if priority not in ("Regular", "Spot", "Low"):
        raise invalid(f"The value '{priority}' of parameter 'priority' is not valid.", "priority")
    if priority == "Regular":
        if eviction is not None:
            code = "EvictionPolicyCanBeSetOnlyOnAzureSpotVirtualMachines"
            raise Refusal(code, "Eviction policy can be set only on Azure Spot Virtual Machines.", 409)
        if billing.get("maxPrice") is not None:
            code = "MaxPriceCanBeSetOnlyOnAzureSpotVirtualMachines"
            raise Refusal(code, "Max price can be set only on Azure Spot Virtual Machines.", 409)
        return False, "", None
    if not size.spot:
        text = f"Azure Spot is not supported for VM size {size.name}."
        raise Refusal("AzureSpotIsNotSupportedForThisVMSize", text, 409)
    if eviction not in (None, "Delete", "Deallocate"):
        raise invalid(f"The value '{eviction}' of parameter 'evictionPolicy' is not valid.", "evictionPolicy")
    return True, str(eviction or "Deallocate"), _cap(billing.get("maxPrice"))


def _cap(value: Any) -> Decimal | None:
    if value is None:
        return None
    try:
        cap = Decimal(str(value))
    except InvalidOperation:
        cap = Decimal(0)
    if cap == -1:
        return None
    if cap <= 0 or isinstance(value, bool) or round(cap, 5) != cap:
        text = "The max price value must be -1 or greater than 0, with at most 5 decimals."
        raise Refusal("MaxPriceValueInvalid", text, 409)
    return cap


def _image(cloud: Cloud, properties: dict[str, Any], size: Size) -> tuple[Image, str]:
    found = part(part(properties, "storageProfile"), "imageReference")
    if not found:
        raise _missing("imageReference")
    if found.get("id") or found.get("communityGalleryImageId") or found.get("sharedGalleryImageId"):
        text = "The gallery image is not available in this region. Please contact image owner to replicate it."
        raise Refusal("GalleryImageNotFound", text, 404)
    names = [str(found.get(name, "")) for name in ("publisher", "offer", "sku", "version")]
    image = cloud.market.image(*names[:3])
    version = image.versions[-1] if image and names[3].lower() == "latest" else names[3]
    if image is None or version not in image.versions:
        text = (
            f"The platform image '{':'.join(names)}' is not available. "
            "Verify that all fields in the storage profile are correct."
        )
        raise Refusal("PlatformImageNotFound", text, 400, target="imageReference")
    if image.generation not in size.generations.split(","):
        number = image.generation.removeprefix("V")
        text = f"The selected VM size '{size.name}' cannot boot Hypervisor Generation '{number}'."
        raise Refusal("BadRequest", text)
    return image, version


def _disk(properties: dict[str, Any], image: Image) -> tuple[int, str]:
    """Size in GB and kind of the OS disk."""
    found = part(part(properties, "storageProfile"), "osDisk")
    if found.get("createOption", "FromImage") != "FromImage":
        raise invalid("In this sandbox an OS disk is made FromImage.", "osDisk.createOption")
    for name, words in (("deleteOption", ("Delete", "Detach")), ("caching", ("None", "ReadOnly", "ReadWrite"))):
        if found.get(name) not in (None, *words):
            raise invalid(f"The value '{found.get(name)}' of parameter 'osDisk.{name}' is not valid.", f"osDisk.{name}")
    size_gb = found.get("diskSizeGB", image.size_gb)
    if not isinstance(size_gb, int) or isinstance(size_gb, bool) or size_gb > 4095:
        raise invalid(f"The value '{size_gb}' of parameter 'osDisk.diskSizeGB' is not valid.", "osDisk.diskSizeGB")
    if size_gb < image.size_gb:
        text = (
            f"The specified disk size {size_gb} GB is smaller than the size of the corresponding disk in the VM image: "
            f"{image.size_gb} GB. This is not allowed."
        )
        raise Refusal("OperationNotAllowed", text, 409, target="osDisk.diskSizeGB")
    kind = str(part(found, "managedDisk").get("storageAccountType", "Standard_LRS"))
    if kind not in _DISKS:
        raise invalid(f"The value '{kind}' of parameter 'managedDisk.storageAccountType' is not valid.")
    return size_gb, kind


def _profile(properties: dict[str, Any], name: str) -> tuple[str, list[str], str]:
    """The administrator, the keys of those who may come in, and a fingerprint of the secrets."""
    found = part(properties, "osProfile")
    if not found:
        raise _missing("osProfile")
    user = found.get("adminUsername")
    if not isinstance(user, str) or not user:
        raise _missing("osProfile.adminUsername")
    if user.lower() in _USERS or len(user) > 64 or user.endswith("."):
        text = (
            "The Admin Username specified is not allowed. For more information about disallowed usernames, see "
            "https://aka.ms/vmosprofile"
        )
        raise invalid(text, "adminUsername")
    computer = found.get("computerName", name)
    if not isinstance(computer, str) or not _NAME.fullmatch(computer):
        raise invalid(f"The value '{computer}' of parameter 'computerName' is not valid.", "computerName")
    linux = part(found, "linuxConfiguration")
    keys = [_key(row, user) for row in part(linux, "ssh").get("publicKeys") or ()]
    password = found.get("adminPassword")
    if linux.get("disablePasswordAuthentication") is True:
        if not keys:
            text = "Authentication using either SSH or by user name and password must be enabled in Linux profile."
            raise invalid(text, "linuxConfiguration")
    elif not _strong(password):
        text = (
            "The supplied password must be between 6-72 characters long and must satisfy at least 3 of password "
            "complexity requirements."
        )
        raise invalid(text, "adminPassword")
    data = _custom_data(found.get("customData"))
    return user, keys, hashlib.sha256(json.dumps([password, data]).encode()).hexdigest()


def _key(row: Any, user: str) -> str:
    path, text = (row.get("path"), row.get("keyData")) if isinstance(row, dict) else (None, None)
    if path != f"/home/{user}/.ssh/authorized_keys":
        said = (
            "Destination path for SSH public keys is currently limited to its default value "
            f"/home/{user}/.ssh/authorized_keys due to a known issue in Linux provisioning agent."
        )
        raise invalid(said, "linuxConfiguration.ssh.publicKeys.path")
    if not isinstance(text, str) or not _KEY.fullmatch(text):
        said = "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid."
        raise invalid(said, "linuxConfiguration.ssh.publicKeys.keyData")
    return text.strip()


def _strong(password: Any) -> bool:
    if not isinstance(password, str) or not 6 <= len(password) <= 72:
        return False
    return sum(bool(re.search(kind, password)) for kind in ("[a-z]", "[A-Z]", r"\d", r"[\W_]")) >= 3


def _custom_data(text: Any) -> str:
    if text is None:
        return ""
    try:
        data = base64.b64decode(str(text), validate=True)
    except binascii.Error:
        raise invalid("Custom data in OSProfile must be in Base64 encoding.", "customData") from None
    if len(data) > _CUSTOM_DATA:
        text = f"Custom data in OSProfile must be in Base64 encoding and with a maximum length of {87380} characters."
        raise invalid(text, "customData")
    return str(text)
