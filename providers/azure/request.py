"""The bodies that a launch sends. Everything comes from the saved spec, so a replay is word for word the same.

One resource group holds one attempt: its name is the attempt's, and deleting it takes along whatever Azure made in it,
also what has a name that nobody knows beforehand (interface and address of a one-call create). Nothing is shared, so no
machine's end can touch another's, of this installation or of any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_UP, Decimal
from typing import Any

from providers.base import LaunchSpec, Offer
from providers.errors import InvalidRequest

OWNER_TAG, LEASE_TAG, TOKEN_TAG = "orch-owner", "orch-lease", "orch-token"
USER = "orch"
SSH_FROM_SETTING = "ORCH_AZURE_SSH_FROM"
SUBNET = "default"
#: What the inline interface is made with; the SDK knows this version and 2020-11-01.
INLINE_NETWORK_VERSION = "2022-11-01"

_PORT = re.compile(r"^(\d{1,5})/(tcp|http|https|udp)$", re.ASCII)
_SOURCE = re.compile(r"^(\*|[A-Za-z]+|[0-9a-fA-F:.]+(/\d{1,3})?)$")
#: A standard SSD is billed by these sizes, so the disk is as large as what is paid for.
_DISK_STEPS = (64, 128, 256, 512, 1024, 2048, 4095)
#: Azure takes five decimals; the promise was given with the engine's slack already.
_PRICE_STEP = Decimal("0.00001")


def nsg_name(token: str) -> str:
    """The attempt's security group."""
    return f"{token}-nsg"


def vnet_name(token: str) -> str:
    """The attempt's network."""
    return f"{token}-net"


def tags(spec: LaunchSpec, token: str) -> dict[str, str]:
    """Our mark: the full owner id is what counts."""
    return {OWNER_TAG: spec.owner, LEASE_TAG: spec.lease, TOKEN_TAG: token}


def open_ports(ports: Sequence[str]) -> list[tuple[str, int]]:
    """Protocol and number of SSH's and of *ports* (``8080/http``, ``9000/tcp``), each once, in order.

    Raises:
        InvalidRequest: one of them is no port.
    """
    found = {("Tcp", 22)}
    for port in ports:
        match = _PORT.match(port)
        if match is None or not 0 < int(match[1]) < 65536:
            raise InvalidRequest(f"port {port!r} is not like 8080/http or 9000/tcp", code="bad-port")
        found.add(("Udp" if match[2] == "udp" else "Tcp", int(match[1])))
    return sorted(found)


def sources(settings: Mapping[str, str]) -> list[str]:
    """From where the open ports may be reached; anywhere unless `ORCH_AZURE_SSH_FROM` says otherwise.

    Raises:
        InvalidRequest: one of them is no network.
    """
    listed = settings.get(SSH_FROM_SETTING, "").replace(",", " ").split()
    for one in listed:
        if not _SOURCE.match(one):
            raise InvalidRequest(f"{SSH_FROM_SETTING}: {one!r} is no network (203.0.113.0/24)", code="bad-network")
    return listed or ["*"]


def group(region: str, spec: LaunchSpec, token: str) -> dict[str, Any]:
    """The resource group."""
    return {"location": region, "tags": tags(spec, token)}


def security_group(region: str, spec: LaunchSpec, token: str) -> dict[str, Any]:
    """Lets in SSH and the workload's ports. A standard address is closed without one."""
    allowed = list(spec.native.get("sources") or ["*"])
    one = len(allowed) == 1
    source = {"sourceAddressPrefix": allowed[0]} if one else {"sourceAddressPrefixes": allowed}
    rules = [
        {
            "name": f"{protocol.lower()}-{port}",
            "properties": {
                "priority": 100 + number,
                "protocol": protocol,
                "access": "Allow",
                "direction": "Inbound",
                **source,
                "sourcePortRange": "*",
                "destinationAddressPrefix": "*",
                "destinationPortRange": str(port),
            },
        }
        for number, (protocol, port) in enumerate(open_ports(spec.ports))
    ]
    return {"location": region, "tags": tags(spec, token), "properties": {"securityRules": rules}}


def network(region: str, spec: LaunchSpec, token: str) -> dict[str, Any]:
    """A network with one small subnet, which nothing else is plugged into."""
    return {
        "location": region,
        "tags": tags(spec, token),
        "properties": {
            "addressSpace": {"addressPrefixes": ["10.0.0.0/24"]},
            "subnets": [{"name": SUBNET, "properties": {"addressPrefix": "10.0.0.0/24"}}],
        },
    }


def machine(offer: Offer, spec: LaunchSpec, token: str, *, root: str) -> dict[str, Any]:
    """The VM, with interface, address and disk in the same call, all to be deleted with it.

    Args:
        root: the resource group's path, ``/subscriptions/.../resourceGroups/...``.
    """
    native, marks = spec.native, tags(spec, token)
    properties: dict[str, Any] = {
        "hardwareProfile": {"vmSize": str(offer.instance_type)},
        "storageProfile": {"imageReference": dict(native["image"]), "osDisk": _disk(spec, token)},
        "osProfile": _login(spec, token),
        "networkProfile": {
            "networkApiVersion": INLINE_NETWORK_VERSION,
            "networkInterfaceConfigurations": [_interface(native, token, root, marks)],
        },
    }
    if offer.pricing == "spot":
        properties |= {
            "priority": "Spot",
            "evictionPolicy": "Delete",  # the default would leave the disk, and bill it
            "billingProfile": {"maxPrice": max_price(spec.max_usd_per_hour)},
        }
    return {"location": str(offer.region), "tags": marks, "properties": properties}


def max_price(usd: Decimal | None) -> float:
    """USD per hour above which Azure takes a spot machine back; -1 means up to the regular price."""
    if usd is None or usd <= 0:
        return -1
    return float(usd.quantize(_PRICE_STEP, rounding=ROUND_UP))


def disk_gib(wanted: int, least: int) -> int:
    """The size of the disk that is asked for: the next one that is billed."""
    need = max(wanted, least)
    return next((step for step in _DISK_STEPS if step >= need), need)


def _disk(spec: LaunchSpec, token: str) -> dict[str, Any]:
    return {
        "name": f"{token}-os",
        "createOption": "FromImage",
        "deleteOption": "Delete",
        "diskSizeGB": int(spec.native["disk_gib"]),
        "caching": "ReadWrite",
        "managedDisk": {"storageAccountType": "StandardSSD_LRS"},
    }


def _login(spec: LaunchSpec, token: str) -> dict[str, Any]:
    user = str(spec.native.get("ssh_user") or USER)
    key = {"path": f"/home/{user}/.ssh/authorized_keys", "keyData": spec.ssh_public_key.strip()}
    profile: dict[str, Any] = {
        "computerName": token,
        "adminUsername": user,
        "linuxConfiguration": {"disablePasswordAuthentication": True, "ssh": {"publicKeys": [key]}},
    }
    if custom := spec.native.get("custom_data"):
        profile["customData"] = custom
    return profile


def _interface(native: Mapping[str, Any], token: str, root: str, marks: dict[str, str]) -> dict[str, Any]:
    parts = f"{root}/providers/Microsoft.Network"
    public: dict[str, Any] = {"deleteOption": "Delete", "publicIPAllocationMethod": "Static"}
    if native.get("route") == "internet":
        # Cannot be changed later; without it the address uses Microsoft's network, which costs more.
        public["ipTags"] = [{"ipTagType": "RoutingPreference", "tag": "Internet"}]
    address = {
        "name": f"{token}-ip",
        "sku": {"name": "Standard", "tier": "Regional"},
        "tags": marks,
        "properties": public,
    }
    configuration = {
        "name": "ip",
        "properties": {
            "primary": True,
            "subnet": {"id": f"{parts}/virtualNetworks/{vnet_name(token)}/subnets/{SUBNET}"},
            "publicIPAddressConfiguration": address,
        },
    }
    return {
        "name": f"{token}-nic",
        "tags": marks,
        "properties": {
            "primary": True,
            "deleteOption": "Delete",
            "networkSecurityGroup": {"id": f"{parts}/networkSecurityGroups/{nsg_name(token)}"},
            "ipConfigurations": [configuration],
        },
    }
