"""Lets SSH (and what else is asked for) in: by the network's own rule, else by a rule of one machine's own.

A rule of ours bears the machine's name and is for the tag of the same name, so that it opens nothing else. It is made
before the machine, and deleted after it. It costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from providers.base import LaunchSpec
from providers.env import Env
from providers.errors import Forbidden, InvalidRequest, OfferGone, OutcomeUnknown, ProviderError
from providers.gcp import operations, request
from providers.gcp.client import Client
from providers.gcp.errors import EXISTS

SSH_PORT = 22
_PORT = re.compile(r"^(\d{1,5})/(tcp|http|https|udp)$", re.ASCII)
_ANYWHERE = {"0.0.0.0/0"}
_RULE_S = 60.0


def open_ports(ports: Sequence[str]) -> dict[str, list[int]]:
    """Numbers by protocol of SSH's port and *ports* (``8080/http``, ``9000/tcp``, ``53/udp``), in order.

    Raises:
        InvalidRequest: one of them is no port.
    """
    found: dict[str, set[int]] = {"tcp": {SSH_PORT}}
    for port in ports:
        match = _PORT.match(port)
        if match is None or not 0 < int(match[1]) < 65536:
            raise InvalidRequest(f"port {port!r} is not like 8080/http or 9000/tcp", code="bad-port")
        found.setdefault("udp" if match[2] == "udp" else "tcp", set()).add(int(match[1]))
    return {protocol: sorted(numbers) for protocol, numbers in sorted(found.items())}


async def needed(client: Client, network: str, ports: Sequence[str]) -> bool:
    """Whether a machine in *network* needs a rule of its own.

    Where the rules may not be read, the network is taken to let SSH in, as Google makes the default one.
    """
    wanted = open_ports(ports)
    try:
        rules = [rule async for rule in _rules(client)]
    except (Forbidden, OfferGone):
        return wanted != {"tcp": [SSH_PORT]}
    name = network.rpartition("/")[2]
    general = [rule for rule in rules if _is_general(rule, name)]
    return not all(
        any(_allows(rule, protocol, number) for rule in general)
        for protocol, numbers in wanted.items()
        for number in numbers
    )


async def ensure(client: Client, env: Env, spec: LaunchSpec, name: str) -> None:
    """Make the rule *name* if it is not there.

    Raises:
        ProviderError: it could not be made; what may be half made is gone, or will be found by its name.
    """
    if await client.seek(f"global/firewalls/{name}", verb="resolve") is not None:
        return
    try:
        # Without a request id: a repeat after the rule was deleted has to make it anew. Its name is unique anyway.
        made = await client.post("global/firewalls", body(spec, name), verb="resolve")
    except OutcomeUnknown as error:
        if error.code in EXISTS:
            return
        raise
    done = await operations.until_done(client, env, "global", made, limit_s=_RULE_S, verb="resolve")
    failure = operations.failure(done)
    if failure is not None and failure.code not in EXISTS:
        raise failure


async def is_there(client: Client, name: str, owner: str, *, verb: str) -> bool:
    """Whether the rule *name* of ours is there."""
    rule = await client.seek(f"global/firewalls/{name}", verb=verb)
    return rule is not None and _is_ours(rule, owner)


async def drop(client: Client, name: str, owner: str, *, verb: str) -> bool:
    """Ask for the rule's end; whether it is gone."""
    rule = await client.seek(f"global/firewalls/{name}", verb=verb)
    if rule is None or not _is_ours(rule, owner):
        return True
    try:
        return await client.delete(f"global/firewalls/{name}", verb=verb) is None
    except ProviderError as error:
        if error.code in ("resourceNotReady", "RESOURCE_NOT_READY"):
            return False  # it is being made or deleted
        raise


def body(spec: LaunchSpec, name: str) -> dict[str, Any]:
    """What `firewalls.insert` is sent."""
    network = str(spec.native.get("network") or request.DEFAULT_NETWORK)
    return {
        "name": name,
        "description": _mark(spec.owner),
        "network": network if "/" in network else f"global/networks/{network}",
        "direction": "INGRESS",
        "sourceRanges": sorted(_ANYWHERE),
        "targetTags": [name],
        "allowed": [
            {"IPProtocol": protocol, "ports": [str(number) for number in numbers]}
            for protocol, numbers in open_ports(spec.ports).items()
        ],
    }


def _mark(owner: str) -> str:
    # Rules have no labels.
    return f"orch: lets SSH into one machine; orch-owner={owner}"


def _is_ours(rule: Mapping[str, Any], owner: str) -> bool:
    return f"orch-owner={owner}" in str(rule.get("description") or "")


async def _rules(client: Client) -> AsyncIterator[Mapping[str, Any]]:
    async for page in client.pages("global/firewalls", verb="resolve"):
        items = page.get("items")
        for rule in items if isinstance(items, list) else ():
            if isinstance(rule, Mapping):
                yield rule


def _is_general(rule: Mapping[str, Any], network: str) -> bool:
    """Whether a rule lets anybody in to every machine of the network."""
    return (
        str(rule.get("network") or "").rpartition("/")[2] == network
        and rule.get("direction", "INGRESS") == "INGRESS"
        and rule.get("disabled") is not True
        and not rule.get("targetTags")
        and not rule.get("targetServiceAccounts")
        and bool(_ANYWHERE & set(rule.get("sourceRanges") or ()))
    )


def _allows(rule: Mapping[str, Any], protocol: str, number: int) -> bool:
    listed = rule.get("allowed")
    for part in listed if isinstance(listed, list) else ():
        if not isinstance(part, Mapping) or str(part.get("IPProtocol")).lower() not in (protocol, "all"):
            continue
        ports = part.get("ports")
        if not ports or any(low <= number <= high for low, high in _ranges(ports)):
            return True
    return False


def _ranges(ports: Any) -> Iterator[tuple[int, int]]:
    for text in ports if isinstance(ports, list) else ():
        low, _, high = str(text).partition("-")
        if low.isdigit() and (high or low).isdigit():
            yield int(low), int(high or low)
