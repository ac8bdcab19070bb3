"""What `orch providers check` asks of Azure: rights, quotas, the clock. Each may stay unknown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from providers.azure import market, quota, sizes
from providers.azure.client import RIGHTS, Client
from providers.errors import AuthFailed, Forbidden, ProviderError
from providers.http import skew_text

#: What renting one machine takes, by what it is for.
NEEDED = (
    "Microsoft.Compute/virtualMachines/read",
    "Microsoft.Compute/virtualMachines/write",
    "Microsoft.Compute/virtualMachines/delete",
    "Microsoft.Compute/virtualMachines/extensions/write",
    "Microsoft.Compute/disks/write",
    "Microsoft.Compute/disks/delete",
    "Microsoft.Compute/skus/read",
    "Microsoft.Compute/locations/usages/read",
    "Microsoft.Network/networkSecurityGroups/write",
    "Microsoft.Network/networkSecurityGroups/join/action",
    "Microsoft.Network/virtualNetworks/write",
    "Microsoft.Network/virtualNetworks/subnets/join/action",
    "Microsoft.Network/networkInterfaces/write",
    "Microsoft.Network/networkInterfaces/join/action",
    "Microsoft.Network/publicIPAddresses/write",
    "Microsoft.Network/publicIPAddresses/join/action",
    "Microsoft.Resources/subscriptions/resourceGroups/read",
    "Microsoft.Resources/subscriptions/resourceGroups/write",
    "Microsoft.Resources/subscriptions/resourceGroups/delete",
)
_UNTOLD = "Azure does not tell; a launch shows it"


async def read(client: Client, region: str) -> dict[str, str]:
    """Lines for people, about *region*.

    Raises:
        ProviderError: the key is refused, or Azure cannot be reached.
    """
    rights = await _rights(client)
    held = await market.tried(market.usages(client, region, verb="account"))
    if isinstance(held, Forbidden):
        rights = f"may not: {held.message}"  # ARM's text names the missing permission
    elif isinstance(held, ProviderError):
        raise held
    lines = {"rights": rights, "quota": _quota(held, region), "clock_skew": skew_text(client.clock_skew_s)}
    if rights.startswith("may not"):
        lines["fix"] = "give the principal the role in docs/providers/azure.md on the subscription"
    elif isinstance(held, dict) and _families(held) == []:
        lines["fix"] = f"ask for GPU quota in {region}: portal, Quotas, Compute (a new subscription has 0)"
    return lines


async def _rights(client: Client) -> str:
    """What the key may do by its roles, as ARM lists them for the caller (that it does is unverified)."""
    path = f"{await client.root()}/providers/Microsoft.Authorization/permissions"
    found = await market.tried(client.pages(path, version=RIGHTS, verb="account"))
    if isinstance(found, AuthFailed):
        raise found
    if isinstance(found, ProviderError):
        return _UNTOLD
    lacking = missing(found)
    if not lacking:
        return "may rent machines"
    more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
    return f"may not: {', '.join(lacking[:3])}{more}"


def missing(rows: Iterable[Any]) -> list[str]:
    """Those of `NEEDED` that none of *rows* (``actions`` and ``notActions``, with wildcards) allows."""
    usable = [row for row in rows if isinstance(row, Mapping)]
    return [
        action
        for action in NEEDED
        if not any(_has(row.get("actions"), action) and not _has(row.get("notActions"), action) for row in usable)
    ]


def _has(patterns: Any, action: str) -> bool:
    for pattern in patterns if isinstance(patterns, list) else ():
        shape = ".*".join(re.escape(part) for part in str(pattern).split("*"))
        if re.fullmatch(shape, action, re.I):
            return True
    return False


def _quota(held: dict[str, quota.Used] | ProviderError, region: str) -> str:
    if isinstance(held, ProviderError):
        return f"unknown ({held.code})"
    families = _families(held)
    general = [
        f"{held[name].free} of {held[name].limit} {held[name].title}"
        for name in (quota.TOTAL, quota.SPOT)
        if name in held
    ]
    return f"{region}: " + "; ".join([*general, *(families or ["no GPU family has any"])])


def _families(held: Mapping[str, quota.Used]) -> list[str]:
    """The GPU families with something left."""
    return [
        f"{one.free} of {one.limit} {one.title}"
        for name, one in sorted(held.items())
        if sizes.is_family(name) and one.free > 0
    ]
