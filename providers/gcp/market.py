"""Reads what is sold where: machine types with their GPUs, zone by zone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from providers.errors import AuthFailed, ProviderError, RateLimited, Unavailable
from providers.gcp import hardware
from providers.gcp.client import Client
from providers.gcp.hardware import Machine
from providers.gcp.regions import of_zone
from providers.gcp.together import both

#: Warnings that a list came with less than there is. (An empty zone has one, too: NO_RESULTS_ON_PAGE.)
_INCOMPLETE = frozenset(["UNREACHABLE", "PARTIAL_SUCCESS", "LIST_OVERHEAD_QUOTA_EXCEED"])
_SOME = "some zones"


async def read(client: Client, gpus: Iterable[str], regions: Iterable[str]) -> tuple[list[Machine], list[str]]:
    """All machines in *regions* that may hold *gpus* (empty: any), and what could not be read, for people.

    Raises:
        ProviderError: the types cannot be read at all.
    """
    names, places, notes = set(gpus), set(regions), list[str]()
    families, attachable = hardware.wanted(names)
    if not families and not attachable:
        return [], notes
    (types, missed), cards = await both(
        _types(client, hardware.type_filter(families, attachable)), _accelerators(client, notes, bool(attachable))
    )
    notes += [f"{place} not read" for place in missed]
    found = [machine for zone, row in types if of_zone(zone) in places for machine in machines(zone, row, cards)]
    return [machine for machine in found if not names or machine.gpu in names], notes


async def again(client: Client, zone: str, machine_type: str, *, attached: bool) -> list[Machine]:
    """All machines of exactly that type in *zone*, now."""
    listed: list[Mapping[str, Any]] = []
    async for page in client.pages(
        f"zones/{zone}/machineTypes", verb="price", params={"filter": f"name = {machine_type}"}
    ):
        listed += _rows(page, "items")
    cards = await _accelerators(client, [], attached, verb="price", needed=zone)
    return [machine for row in listed if row.get("name") == machine_type for machine in machines(zone, row, cards)]


def machines(zone: str, row: Mapping[str, Any], cards: Mapping[str, Mapping[str, int]]) -> list[Machine]:
    """What a machine type is, with its own GPUs or with any that its zone can attach."""
    own = hardware.bundled(zone, row)
    if own is not None:
        return [own]
    return list(hardware.attached(zone, row, cards.get(zone, {})))


async def scopes(
    client: Client, path: str, key: str, *, verb: str, params: dict[str, Any] | None = None
) -> AsyncIterator[tuple[str, list[Mapping[str, Any]], str]]:
    """An aggregated list: zone, its rows, and the code of a warning that some are missing ("" for none)."""
    async for page in client.pages(f"aggregated/{path}", verb=verb, params=params):
        items = page.get("items")
        if not isinstance(items, dict) and not str(page.get("kind")).endswith("List"):
            raise Unavailable(f"gcp: no list of {path}", code="malformed", scope="provider")
        for scope, part in items.items() if isinstance(items, dict) else ():
            if isinstance(part, dict):
                yield str(scope).rpartition("/")[2], _rows(part, key), _warning(part)
        if warning := _warning(page):
            yield _SOME, [], warning
        unreachable = page.get("unreachables")
        for place in unreachable if isinstance(unreachable, list) else ():
            yield str(place).rpartition("/")[2], [], "UNREACHABLE"


def _warning(part: Mapping[str, Any]) -> str:
    warning = part.get("warning")
    code = warning.get("code") if isinstance(warning, dict) else None
    return str(code) if code in _INCOMPLETE else ""


async def _types(client: Client, wanted: str) -> tuple[list[tuple[str, Mapping[str, Any]]], list[str]]:
    found: list[tuple[str, Mapping[str, Any]]] = []
    missed: dict[str, None] = {}
    async for zone, rows, warning in scopes(
        client, "machineTypes", "machineTypes", verb="offers", params={"filter": wanted}
    ):
        found += [(zone, row) for row in rows]
        if warning:
            missed[zone] = None
    return found, list(missed)


async def _accelerators(
    client: Client, notes: list[str], asked: bool, *, verb: str = "offers", needed: str = ""
) -> dict[str, dict[str, int]]:
    """By zone: which accelerators it has, and how many of one fit a machine. Only N1 machines need to know.

    Args:
        notes: gets a line for whatever could not be read.
        needed: the zone without which there is no answer.
    """
    found: dict[str, dict[str, int]] = {}
    if not asked:
        return found
    try:
        async for zone, rows, warning in scopes(client, "acceleratorTypes", "acceleratorTypes", verb=verb):
            if warning and needed and zone in (needed, _SOME):
                raise Unavailable(f"gcp: the GPUs of {zone} cannot be listed now", code=warning, scope="zone")
            if warning:
                notes.append(f"GPUs to attach to N1 machines in {zone} not read")
            for row in rows:
                name, most = row.get("name"), row.get("maximumCardsPerInstance")
                if isinstance(name, str):
                    found.setdefault(zone, {})[name] = most if isinstance(most, int) else 1
    except ProviderError as error:
        if needed or isinstance(error, AuthFailed | RateLimited):
            raise
        notes.append(f"GPUs to attach to N1 machines not read: {error}")
    return found


def _rows(page: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    listed = page.get(key)
    return [row for row in listed if isinstance(row, Mapping)] if isinstance(listed, list) else []
