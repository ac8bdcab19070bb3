"""Whether the world reaches an emulated machine: its public address, and the security rules on the way to it."""

from __future__ import annotations

from typing import Any

from providers.azure.emulator_resources import Resource, Vm
from providers.azure.emulator_store import Store, addresses

_INSIDE = ("virtualnetwork", "azureloadbalancer")
_SSH = 22


def public_address(store: Store, vm: Vm) -> str | None:
    """The public IPv4 address of a machine's first network interface, or None."""
    for nic, _ in store.nics(vm)[:1]:
        for reference in addresses(nic):
            found = store.get(str(reference.get("id", "")))
            if found is not None:
                return str(found.properties.get("ipAddress") or "") or None
    return None


def opens_ssh(store: Store, vm: Vm) -> bool:
    """Whether port 22 is open to the outside.

    A Standard address is closed until a network security group allows; where the subnet and the interface each have
    one, both must. An allowed source counts as open whatever it is: the sandbox cannot know its client's address.
    """
    rows = store.nics(vm)
    if not rows:
        return False
    nic = rows[0][0]
    found = [group for group in (_group(store, nic.properties), _group(store, _subnet(store, nic))) if group]
    return bool(found) and all(_allows(group) for group in found)


def _group(store: Store, properties: dict[str, Any]) -> Resource | None:
    return store.get(str((properties.get("networkSecurityGroup") or {}).get("id", "")))


def _subnet(store: Store, nic: Resource) -> dict[str, Any]:
    for row in nic.properties.get("ipConfigurations", []):
        found = subnet(store, str((row.get("properties", {}).get("subnet") or {}).get("id", "")))
        if found is not None:
            properties: dict[str, Any] = found.get("properties", {})
            return properties
    return {}


def subnet(store: Store, subnet_id: str) -> dict[str, Any] | None:
    """The entry of a subnet in its network, by its resource id."""
    network, _, name = subnet_id.rpartition("/subnets/")
    found = store.get(network)
    rows = found.properties.get("subnets", []) if found else []
    return next((row for row in rows if str(row.get("name", "")).lower() == name.lower()), None)


def _allows(group: Resource) -> bool:
    rules = [rule.get("properties", {}) for rule in group.properties.get("securityRules", [])]
    for rule in sorted(rules, key=lambda one: int(one.get("priority", 4096))):
        if str(rule.get("direction", "")).lower() == "inbound" and _meets_ssh(rule):
            return str(rule.get("access", "")).lower() == "allow"
    return False


def _meets_ssh(rule: dict[str, Any]) -> bool:
    if str(rule.get("protocol", "")).lower() not in ("tcp", "*"):
        return False
    sources = [str(rule.get("sourceAddressPrefix") or ""), *map(str, rule.get("sourceAddressPrefixes") or ())]
    if all(source.lower() in ("", *_INSIDE) for source in sources):
        return False
    ranges = [str(rule.get("destinationPortRange") or ""), *map(str, rule.get("destinationPortRanges") or ())]
    return any(_covers(text) for text in ranges)


def _covers(text: str) -> bool:
    if text == "*":
        return True
    low, _, high = text.partition("-")
    return low.isdigit() and int(low) <= _SSH <= int(high if high.isdigit() else low)
