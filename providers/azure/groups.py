"""An attempt's resource group: made with its network before the machine, and ended with everything in it."""

from __future__ import annotations

import asyncio
from typing import Any

from providers.azure import instances, request
from providers.azure.client import GROUPS, NETWORK, REGISTRATION, Client
from providers.base import LaunchSpec
from providers.env import Env
from providers.errors import ProviderError, RateLimited, Unavailable

#: A group or network takes seconds; after this it is not waited for.
_PATIENCE_S = 90.0
_POLL_S = 1.0
#: A resource provider that was just registered is ready after a minute or two.
_REGISTRATION_S = 30.0
_NAMESPACES = ("Microsoft.Compute", "Microsoft.Network")
UNREGISTERED = "missingsubscriptionregistration"
#: The answer to HEAD has no body, and so no code.
_NO_BODY = "http-404"
#: What costs nothing: our own network, and nothing else.
_FREE = frozenset(["microsoft.network/networksecuritygroups", "microsoft.network/virtualnetworks"])


async def path(client: Client, name: str) -> str:
    """The group's path, as ids are spelt."""
    return f"{await client.root()}/resourceGroups/{name}"


async def _call_path(client: Client, name: str) -> str:
    # Documented in lower case for calls; ARM takes both.
    return f"{await client.root()}/resourcegroups/{name}"


async def make(client: Client, region: str, spec: LaunchSpec, token: str) -> str:
    """Make the group, or take the one that an earlier call made; its path. The engine decides whether to repeat."""
    await _put(client, await _call_path(client, token), request.group(region, spec, token), GROUPS)
    return await path(client, token)


async def connect(client: Client, env: Env, root: str, region: str, spec: LaunchSpec, token: str) -> None:
    """Make security group and network in the group at *root*, both at once, and wait until they can be used.

    Each call is safe to repeat and makes nothing that costs.

    Raises:
        RateLimited: the subscription had to be made ready first; ask again after the wait.
    """
    parts = f"{root}/providers/Microsoft.Network"
    wanted = {
        f"{parts}/networkSecurityGroups/{request.nsg_name(token)}": request.security_group(region, spec, token),
        f"{parts}/virtualNetworks/{request.vnet_name(token)}": request.network(region, spec, token),
    }
    calls = [asyncio.ensure_future(_made(client, env, where, body)) for where, body in wanted.items()]
    try:
        await asyncio.gather(*calls)
    finally:
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def exists(client: Client, name: str, *, verb: str) -> bool:
    """Whether the group is there."""
    try:
        await client.arm("HEAD", await _call_path(client, name), version=GROUPS, verb=verb)
    except ProviderError as error:
        if is_absent(error) or error.code == _NO_BODY:
            return False
        raise
    return True


async def end(client: Client, name: str, *, verb: str) -> bool:
    """Ask for the group's end, with all that is in it; True if it is gone.

    Asked again while it goes, it is accepted again or answers with a conflict: both mean that it is under way.
    """
    params = {"forceDeletionTypes": "Microsoft.Compute/virtualMachines"}
    try:
        await client.arm("DELETE", await _call_path(client, name), version=GROUPS, verb=verb, params=params)
    except ProviderError as error:
        if is_absent(error):
            return True
        if not is_under_way(error):
            raise
    return not await exists(client, name, verb=verb)


async def costs(client: Client, name: str, *, verb: str) -> bool:
    """Whether anything that may cost is in the group. The list lags, so "no" is no proof of an end."""
    try:
        rows = await client.pages(f"{await path(client, name)}/resources", version=GROUPS, verb=verb)
    except ProviderError as error:
        if is_absent(error):
            return False
        raise
    kinds = [str(row.get("type") or "").lower() for row in rows if isinstance(row, dict)]
    return any(kind not in _FREE for kind in kinds)


async def owned(client: Client, owner: str, *, verb: str) -> dict[str, bool]:
    """The names of all groups with our full mark, and whether each is on its way out."""
    params = {"$filter": f"tagName eq '{request.OWNER_TAG}' and tagValue eq '{owner}'"}
    rows = await client.pages(f"{await client.root()}/resourcegroups", version=GROUPS, verb=verb, params=params)
    found: dict[str, bool] = {}
    for row in rows:
        if isinstance(row, dict) and instances.mark(row)[0] == owner:
            state = (row.get("properties") or {}).get("provisioningState")
            found[str(row.get("name") or "").lower()] = str(state or "").lower() == "deleting"
    return found


async def register(client: Client) -> None:
    """Register the resource providers that a new subscription has not used yet.

    Raises:
        RateLimited: always, unless the right to do so is missing: it takes a minute or two.
    """
    for namespace in _NAMESPACES:
        where = f"{await client.root()}/providers/{namespace}/register"
        await client.arm("POST", where, version=REGISTRATION, verb="resolve")
    raise RateLimited(
        "Azure is registering Microsoft.Compute and Microsoft.Network for the subscription",
        wait_s=_REGISTRATION_S,
        code="MissingSubscriptionRegistration",
    )


def is_absent(error: ProviderError) -> bool:
    """Whether *error* is ARM's own word that the thing, or the group it would be in, is not there.

    A bare 404 is not: it may be a proxy's.
    """
    return error.code.lower() in ("resourcegroupnotfound", "resourcenotfound", "notfound")


def is_under_way(error: ProviderError) -> bool:
    """Whether *error* says that something (an end, too) is being done to the thing already."""
    return isinstance(error, Unavailable) and error.code.lower() in (
        "conflict",
        "anotheroperationinprogress",
        "resourcegroupbeingdeleted",
        "operationnotallowed",
    )


async def _made(client: Client, env: Env, where: str, body: dict[str, Any]) -> None:
    """PUT one part of the network and wait until it can be used."""
    row = await _put(client, where, body, NETWORK)
    until = env.monotonic() + _PATIENCE_S
    while (state := _state(row)) in ("updating", "creating", "inprogress"):
        if env.monotonic() > until:
            raise Unavailable(f"Azure: {where.rsplit('/', 1)[-1]} is not ready after {_PATIENCE_S:g} s", code="network")
        await env.sleep(_POLL_S)
        row = await client.arm("GET", where, version=NETWORK, verb="resolve")
    if state in ("failed", "canceled"):
        raise Unavailable(f"Azure: {where.rsplit('/', 1)[-1]} could not be made", code="network")


async def _put(client: Client, where: str, body: dict[str, Any], version: str) -> Any:
    try:
        return await client.arm("PUT", where, version=version, verb="resolve", body=body, repeat=False)
    except ProviderError as error:
        if error.code.lower() == UNREGISTERED:
            await register(client)
        raise


def _state(row: Any) -> str:
    properties = row.get("properties") if isinstance(row, dict) else None
    return str(properties.get("provisioningState") or "").lower() if isinstance(properties, dict) else ""
