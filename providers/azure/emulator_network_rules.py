"""What bodies of network resources may hold."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import providers.azure.emulator_resources as kinds
from providers.azure.emulator_catalog import used
from providers.azure.emulator_cloud import Cloud
from providers.azure.emulator_reach import subnet
from providers.azure.emulator_resources import Resource
from providers.azure.emulator_store import Store
from providers.azure.emulator_wire import Refusal

_NAME = re.compile(r"[A-Za-z0-9]([\w.-]{0,78}\w)?")
_WORDS = {
    "protocol": ("tcp", "udp", "icmp", "esp", "ah", "*"),
    "access": ("allow", "deny"),
    "direction": ("inbound", "outbound"),
}


def wrong(target: str, what: str) -> Refusal:
    """400 for a field that is not *what* it must be."""
    return Refusal("InvalidRequestFormat", f"Cannot parse the request: {target} must be {what}.", details=[])


def check(cloud: Cloud, resource: Resource, there: Resource | None) -> None:
    """Check a new body of a resource; *there* is the resource that it would replace.

    Raises:
        Refusal: it breaks a rule.
    """
    if not _NAME.fullmatch(resource.name):
        raise Refusal("InvalidResourceName", f"Resource name {resource.name} is invalid.", details=[])
    match resource.kind:
        case kinds.NSG:
            _check_group(resource)
        case kinds.VNET:
            _check_network(cloud, resource, there)
        case kinds.ADDRESS:
            _check_address(cloud, resource, there)
        case kinds.NIC:
            _check_nic(cloud, resource, there)


def _check_group(resource: Resource) -> None:
    taken: dict[tuple[str, int], str] = {}
    for rule in _rows(resource.properties, "securityRules"):
        name, body = _named(rule, "securityRules"), rule.get("properties", {})
        for field, words in _WORDS.items():
            if str(body.get(field, "")).lower() not in words:
                raise wrong(f"{field} of security rule {name}", f"one of {', '.join(words)}")
        priority = body.get("priority")
        if not isinstance(priority, int) or not 100 <= priority <= 4096:
            text = f"Security rule {name} has invalid Priority. Value provided: {priority} Allowed range 100-4096."
            raise Refusal("SecurityRuleInvalidPriority", text, details=[])
        key = (str(body["direction"]).lower(), priority)
        if key in taken:
            text = f"Security rule {name} conflicts with rule {taken[key]}. Rules cannot have the same Priority."
            raise Refusal("SecurityRuleConflict", text, details=[])
        taken[key] = name
        for end in ("source", "destination"):
            if not (body.get(f"{end}AddressPrefix") or body.get(f"{end}AddressPrefixes")):
                raise wrong(f"{end}AddressPrefix of security rule {name}", "given")
            if not (body.get(f"{end}PortRange") or body.get(f"{end}PortRanges")):
                raise wrong(f"{end}PortRange of security rule {name}", "given")


def _check_network(cloud: Cloud, resource: Resource, there: Resource | None) -> None:
    space = [_prefix(text) for text in (resource.properties.get("addressSpace") or {}).get("addressPrefixes", [])]
    if not space:
        raise wrong("addressSpace.addressPrefixes", "a list of prefixes")
    names = set()
    for row in _rows(resource.properties, "subnets"):
        name, body = _named(row, "subnets"), row.get("properties", {})
        names.add(name.lower())
        own = _prefix(body.get("addressPrefix") or (body.get("addressPrefixes") or [None])[0])
        if not any(own.subnet_of(prefix) for prefix in space):
            text = f"Subnet '{name}' is not valid: its IP address range is outside that of the virtual network."
            raise Refusal("NetcfgInvalidSubnet", text, details=[])
        _need(cloud.store, reference(body, "networkSecurityGroup"), resource, kinds.NSG)
    for row in there.properties.get("subnets", []) if there else ():
        path = f"{resource.key}/subnets/{row['name']}".lower()
        if row["name"].lower() not in names and path in subnets_used(cloud.store):
            text = f"Subnet {row['name']} is in use and cannot be deleted."
            raise Refusal("InUseSubnetCannotBeDeleted", text, details=[])


def _prefix(text: Any) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(str(text))
    except ValueError:
        raise Refusal("InvalidAddressPrefixFormat", f"Address prefix {text} is not formatted correctly.") from None


def _check_address(cloud: Cloud, resource: Resource, there: Resource | None) -> None:
    sku = str((resource.body.get("sku") or {}).get("name", "Basic"))
    if sku.lower() != "standard":
        # Retired on 2025-09-30.
        text = "Cannot create more than 0 IPv4 Basic SKU public IP addresses for this subscription in this region."
        raise Refusal("IPv4BasicSkuPublicIpCountLimitReached", text, details=[])
    if str(resource.properties.get("publicIPAllocationMethod", "Dynamic")).lower() != "static":
        text = f"Standard sku publicIp {resource.id} must have AllocationMethod set to Static."
        raise Refusal("PublicIPAddressWithStandardSkuMustUseStaticAllocation", text, details=[])
    if str(resource.properties.get("publicIPAddressVersion", "IPv4")).lower() != "ipv4":
        raise wrong("publicIPAddressVersion", "IPv4 in this sandbox")
    limit = cloud.market.limit("PublicIPAddresses", resource.location)
    if there is None and used(cloud, "PublicIPAddresses", resource.location) >= limit:
        text = f"Cannot create more than {limit} public IP addresses for this subscription in this region."
        raise Refusal("PublicIPCountLimitReached", text, details=[])
    resource.body["sku"] = {"name": "Standard", "tier": "Regional"} | (resource.body.get("sku") or {})
    resource.properties.pop("ipAddress", None)  # Azure chooses it


def _check_nic(cloud: Cloud, resource: Resource, there: Resource | None) -> None:
    rows = _rows(resource.properties, "ipConfigurations")
    if not rows:
        raise wrong("ipConfigurations", "at least one")
    _need(cloud.store, reference(resource.properties, "networkSecurityGroup"), resource, kinds.NSG)
    for row in rows:
        name, body = _named(row, "ipConfigurations"), row.setdefault("properties", {})
        wanted = reference(body, "subnet")
        if not wanted:
            text = f"Subnet reference is required for ipconfiguration {resource.id}/ipConfigurations/{name}."
            raise Refusal("SubnetReferenceRequired", text, details=[])
        network = wanted.rpartition("/subnets/")[0]
        if subnet(cloud.store, wanted) is None or (found := cloud.store.get(network)) is None:
            raise _missing(wanted, resource)
        if found.location != resource.location:
            raise _missing(wanted, resource)
        _check_held(cloud.store, resource, there, reference(body, "publicIPAddress"))


def _check_held(store: Store, resource: Resource, there: Resource | None, wanted: str) -> None:
    address = _need(store, wanted, resource, kinds.ADDRESS)
    held = store.holder_of(address) if address is not None else None
    if address is not None and held is not None and held[0] is not there:
        text = f"Resource {resource.id} refers to {address.id}, which is already allocated to {held[0].id}."
        raise Refusal("PublicIPAddressInUse", text, details=[])


def _need(store: Store, wanted: str, resource: Resource, kind: str) -> Resource | None:
    if not wanted:
        return None
    found = store.get(wanted)
    if found is None or found.kind != kind or found.location != resource.location:
        raise _missing(wanted, resource)
    return found


def _missing(wanted: str, resource: Resource) -> Refusal:
    text = (
        f"Resource {wanted} referenced by resource {resource.id} was not found. Please make sure that the referenced "
        "resource exists, and that both resources are in the same region."
    )
    return Refusal("InvalidResourceReference", text, details=[])


def reference(properties: dict[str, Any], name: str) -> str:
    """The lower-case id that *properties* refers to under *name*, or ""."""
    found = properties.get(name)
    return str(found.get("id", "")).lower() if isinstance(found, dict) else ""


def subnets_used(store: Store) -> set[str]:
    """The lower-case ids of all subnets that network interfaces are in."""
    rows = [row for nic in store.of(kinds.NIC) for row in nic.properties.get("ipConfigurations", [])]
    return {reference(row.get("properties", {}), "subnet") for row in rows}


def _rows(properties: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = properties.get(name) or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise wrong(name, "a list of objects")
    for row in rows:
        if not isinstance(row.get("properties", {}), dict):
            raise wrong(f"{name}.properties", "an object")
    return rows


def _named(row: dict[str, Any], where: str) -> str:
    name = row.get("name")
    if not isinstance(name, str) or not name:
        raise wrong(f"{where}.name", "a text")
    return name
