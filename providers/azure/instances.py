"""Azure's machines as ours: phase, address, mark, and why one failed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from providers import naming
from providers.azure.errors import failure
from providers.azure.request import OWNER_TAG, TOKEN_TAG
from providers.base import Instance, Phase
from providers.errors import BootFailed, NoCapacity, ProviderError

_ID = re.compile(
    r"^/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.Compute/virtualMachines/([^/]+)$", re.I
)
#: Power states of a machine that does not compute. Stopped is still allocated and billed, deallocated keeps the disk.
_OFF = frozenset(["stopped", "deallocated"])
_GOING_OFF = frozenset(["stopping", "deallocating"])


class Place(NamedTuple):
    """Where a machine is: its resource group and its name in it."""

    group: str
    name: str


class View(NamedTuple):
    """What Azure says of one machine's state, in lower case; empty where it says nothing."""

    provisioning: str
    power: str
    seen: bool
    code: str
    message: str


def machine_id(subscription: str, group: str, name: str) -> str:
    """The resource id, spelt as ARM documents it."""
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{name}"


def place_of(id_: str) -> Place | None:
    """Group and name in a machine's id. ARM changes the case of groups as it likes: ours are lower case."""
    match = _ID.match(id_)
    if match is None:
        return None
    group, name = match[2], match[3]
    if naming.parse(group.lower()) is not None:
        group = group.lower()
    return Place(group, name.lower() if naming.parse(name.lower()) is not None else name)


def tags(row: Mapping[str, Any]) -> dict[str, str]:
    """The tags as a mapping."""
    found = row.get("tags")
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, Mapping) else {}


def mark(row: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Owner id and token on it. Names of tags are case-insensitive at Azure."""
    found = {key.lower(): value for key, value in tags(row).items()}
    return found.get(OWNER_TAG), found.get(TOKEN_TAG)


def view(row: Mapping[str, Any], statuses: Iterable[Any] | None = None) -> View:
    """The state of *row*; *statuses* are those of another answer on the same machine."""
    properties = _part(row, "properties")
    inner = _part(properties, "instanceView").get("statuses")
    listed = list(statuses) if statuses is not None else list(inner) if isinstance(inner, list) else []
    provisioning, power, code, message = str(properties.get("provisioningState") or "").lower(), "", "", ""
    for status in _statuses(listed):
        words = str(status.get("code") or "").split("/")
        if words[0].lower() == "powerstate" and len(words) > 1:
            power = words[1].lower()
        elif words[0].lower() == "provisioningstate" and len(words) > 1 and words[1].lower() == "failed":
            code, message = words[2] if len(words) > 2 else "", str(status.get("message") or "")
    return View(provisioning, power, bool(listed), code, message)


def phase(seen: View) -> Phase:
    """The phase that *seen* stands for."""
    if seen.provisioning == "deleting" or seen.power in _GOING_OFF:
        return Phase.STOPPING
    if seen.power in _OFF:
        return Phase.FAILED
    if seen.power == "running":
        # Also of a machine whose creation failed: it may well answer, and the deadline decides if it does not.
        return Phase.RUNNING
    if seen.provisioning in ("failed", "canceled"):
        return Phase.FAILED
    if seen.provisioning == "succeeded":
        # The power state is missing at times; only where nothing at all was asked of it does "made" mean "runs".
        return Phase.UNKNOWN if seen.seen else Phase.RUNNING
    return Phase.PENDING


def read(
    row: Mapping[str, Any],
    *,
    account: str,
    region: str | None = None,
    statuses: Iterable[Any] | None = None,
    cause: ProviderError | None = None,
    created: datetime | None = None,
    more: Mapping[str, str] | None = None,
) -> Instance:
    """*row* as an instance, without its address.

    Args:
        cause: why it failed, where another call said so.
        created: our clock's time of the create, if this is its answer.
        more: further parts of the handle.
    """
    owner, token = mark(row)
    id_ = str(row.get("id") or "")
    place = place_of(id_) or Place("", "")
    name = next((text for text in (token, place.name) if naming.parse(text)), None)
    seen = view(row, statuses)
    now_in = phase(seen)
    made = _time(_part(row, "properties").get("timeCreated"))
    handle = {"kind": "vm", "region": region or str(row.get("location") or ""), "group": place.group, "vm": place.name}
    born = created or made
    if born is not None:
        handle["made_at"] = born.isoformat()
    return Instance(
        provider="azure",
        account=account,
        id=machine_id(account, place.group, place.name) if naming.parse(place.group) else id_,
        handle={**handle, **(more or {})},
        token=name,
        owner=owner,
        phase=now_in,
        failure=(cause or _failure(row, seen)) if now_in is Phase.FAILED else None,
        usd_per_hour=None,  # Azure reports no rate
        created_at=made or created,
    )


def remains(
    account: str,
    group: str,
    *,
    owner: str | None,
    region: str = "",
    going: bool = False,
    created: datetime | None = None,
) -> Instance:
    """An attempt's resource group without a machine: never made, taken back, or deleted by somebody.

    Args:
        created: our clock's time of the create, where it was just now.
    """
    age = {"made_at": created.isoformat()} if created else {}
    return Instance(
        provider="azure",
        account=account,
        id=machine_id(account, group, group),
        handle={"kind": "group", "region": region, "group": group, "vm": group, **age},
        token=group if naming.parse(group) else None,
        owner=owner,
        phase=Phase.STOPPING if going else Phase.FAILED,
        failure=None if going else NoCapacity("the machine is gone: never made, or taken back", code="vanished"),
    )


def made_at(handle: Mapping[str, str]) -> datetime | None:
    """When the machine of *handle* was asked for."""
    return _time(handle.get("made_at"))


def interface(row: Mapping[str, Any]) -> str | None:
    """The id of the machine's network interface, once there is one."""
    listed = _part(_part(row, "properties"), "networkProfile").get("networkInterfaces")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, Mapping) and isinstance(one.get("id"), str):
            return str(one["id"])
    return None


def public_address(nic: Any) -> str | None:
    """The id of the public address on an interface."""
    listed = _part(nic, "properties").get("ipConfigurations")
    for one in listed if isinstance(listed, list) else ():
        found = _part(_part(one, "properties"), "publicIPAddress").get("id")
        if isinstance(found, str):
            return found
    return None


def extension_state(row: Mapping[str, Any], name: str) -> str | None:
    """How far the extension *name* is, in lower case; None if the machine has none of that name."""
    listed = row.get("resources")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, Mapping) and str(one.get("name") or one.get("id") or "").rsplit("/", 1)[-1] == name:
            return str(_part(one, "properties").get("provisioningState") or "").lower()
    return None


def _failure(row: Mapping[str, Any], seen: View) -> ProviderError:
    if seen.power in _OFF:
        if seen.power == "deallocated" and str(_part(row, "properties").get("priority") or "").lower() == "spot":
            return NoCapacity("Azure took the spot machine back", code="SpotEvicted", hold_s=3600.0)
        return BootFailed(f"the machine was {seen.power}", code=seen.power, scope="offer")
    return failure(seen.code, seen.message)


def _statuses(listed: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    return (one for one in listed if isinstance(one, Mapping))


def _time(value: Any) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _part(row: Any, key: str) -> Mapping[str, Any]:
    part = row.get(key) if isinstance(row, Mapping) else None
    return part if isinstance(part, Mapping) else {}
