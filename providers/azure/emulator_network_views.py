"""How the emulated network's resources look in answers."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import providers.azure.emulator_resources as kinds
from providers.azure.emulator_resources import Resource
from providers.azure.emulator_store import Store

_CHILDREN = {"subnets": "subnets", "securityrules": "securityRules"}
_DEFAULT_RULES = (
    ("AllowVnetInBound", 65000, "Inbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
    ("AllowAzureLoadBalancerInBound", 65001, "Inbound", "Allow", "AzureLoadBalancer", "*"),
    ("DenyAllInBound", 65500, "Inbound", "Deny", "*", "*"),
    ("AllowVnetOutBound", 65000, "Outbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
    ("AllowInternetOutBound", 65001, "Outbound", "Allow", "*", "Internet"),
    ("DenyAllOutBound", 65500, "Outbound", "Deny", "*", "*"),
)


def view(store: Store, resource: Resource) -> dict[str, Any]:
    """A resource wherever one stands."""
    properties: dict[str, Any] = {"provisioningState": resource.state, "resourceGuid": resource.uid}
    properties |= {key: deepcopy(value) for key, value in resource.properties.items() if key not in properties}
    if resource.kind == kinds.NSG:
        properties["securityRules"] = _children(resource, "securityRules")
        properties["defaultSecurityRules"] = [_default_rule(resource, *rule) for rule in _DEFAULT_RULES]
    elif resource.kind == kinds.VNET:
        properties["subnets"] = _children(resource, "subnets")
        properties.setdefault("virtualNetworkPeerings", [])
        properties.setdefault("enableDdosProtection", False)
    elif resource.kind == kinds.ADDRESS:
        _complete_address(store, resource, properties)
    else:
        _complete_nic(store, resource, properties)
    body: dict[str, Any] = {
        "name": resource.name,
        "id": resource.id,
        "etag": _etag(resource),
        "type": resource.kind,
        "location": resource.location,
        "tags": dict(resource.tags),
        "properties": properties,
    }
    return body | {key: deepcopy(value) for key, value in resource.body.items() if key not in body}


def child_view(parent: Resource, children: str, row: dict[str, Any]) -> dict[str, Any]:
    """A subnet or a security rule."""
    name = _CHILDREN[children.lower()]
    return {
        "name": row["name"],
        "id": f"{parent.id}/{name}/{row['name']}",
        "etag": _etag(parent),
        "type": f"{parent.kind}/{name}",
        "properties": {**deepcopy(row.get("properties", {})), "provisioningState": parent.state},
    }


def _children(resource: Resource, name: str) -> list[dict[str, Any]]:
    return [child_view(resource, name, row) for row in resource.properties.get(name, [])]


def _default_rule(
    group: Resource, name: str, priority: int, direction: str, access: str, source: str, target: str
) -> dict[str, Any]:
    properties = {
        "provisioningState": group.state,
        "priority": priority,
        "direction": direction,
        "access": access,
        "protocol": "*",
        "sourcePortRange": "*",
        "destinationPortRange": "*",
        "sourceAddressPrefix": source,
        "destinationAddressPrefix": target,
    }
    home = f"{group.id}/defaultSecurityRules/{name}"
    kind = f"{group.kind}/defaultSecurityRules"
    return {"name": name, "id": home, "etag": _etag(group), "type": kind, "properties": properties}


def _complete_address(store: Store, resource: Resource, properties: dict[str, Any]) -> None:
    properties.setdefault("publicIPAddressVersion", "IPv4")
    properties.setdefault("idleTimeoutInMinutes", 4)
    properties.setdefault("ipTags", [])
    if held := store.holder_of(resource):
        rows = held[0].properties.get("ipConfigurations", [])
        name = next(row["name"] for row in rows if row.get("properties", {}).get("publicIPAddress") is held[1])
        properties["ipConfiguration"] = {"id": f"{held[0].id}/ipConfigurations/{name}"}


def _complete_nic(store: Store, resource: Resource, properties: dict[str, Any]) -> None:
    properties["ipConfigurations"] = [
        {
            "name": row["name"],
            "id": f"{resource.id}/ipConfigurations/{row['name']}",
            "etag": _etag(resource),
            "type": f"{resource.kind}/ipConfigurations",
            "properties": {
                "provisioningState": resource.state,
                "privateIPAllocationMethod": "Dynamic",
                "privateIPAddressVersion": "IPv4",
                "primary": number == 0,
                **deepcopy(row["properties"]),
            },
        }
        for number, row in enumerate(resource.properties.get("ipConfigurations", []))
    ]
    for name, value in (
        ("dnsSettings", {"dnsServers": [], "appliedDnsServers": []}),
        ("enableAcceleratedNetworking", False),
        ("enableIPForwarding", False),
        ("hostedWorkloads", []),
        ("tapConfigurations", []),
        ("nicType", "Standard"),
    ):
        properties.setdefault(name, value)
    if (vm := store.user_of(resource)) is not None:
        properties["virtualMachine"] = {"id": vm.id}
        properties["primary"] = True


def _etag(resource: Resource) -> str:
    return f'W/"{resource.uid[:-4]}{resource.flow:04x}"'
