"""What lies in the emulated subscription: resource groups, resources, virtual machines, long-running operations.

Names of groups and resources are kept as they were first sent and found in any case, as ARM does.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, TypeVar

VM = "Microsoft.Compute/virtualMachines"
DISK = "Microsoft.Compute/disks"
NIC = "Microsoft.Network/networkInterfaces"
ADDRESS = "Microsoft.Network/publicIPAddresses"
NSG = "Microsoft.Network/networkSecurityGroups"
VNET = "Microsoft.Network/virtualNetworks"
#: Lower-case type to how ARM writes it.
TYPES = {kind.lower(): kind for kind in (VM, DISK, NIC, ADDRESS, NSG, VNET)}

_TIMES = ("created_at", "hidden_until", "reserved_until", "changed_at", "started", "ended", "when")
_T = TypeVar("_T")


@dataclass(slots=True)
class Group:
    """A resource group."""

    name: str
    location: str
    tags: dict[str, str]
    deleting: bool = False


@dataclass(slots=True, kw_only=True)
class Resource:
    """One resource.

    Attributes:
        uid: its `resourceGuid` or `vmId`; unlike the id it is never used again.
        kind: its type, for example ``Microsoft.Compute/disks``.
        group: its group's name, as the group has it.
        body: all top-level fields that it was given except location and tags.
        state: `provisioningState`.
        flow: goes up when a new operation overrules what was to happen; older events are void.
        hidden_until: lists leave it out until then.
        reserved_until, reserved_for: a NIC that a failed VM still holds.
        billed_to: under which instance of the ledger it bills, "" for not at all.
    """

    uid: str
    kind: str
    subscription: str
    group: str
    name: str
    location: str
    created_at: datetime
    tags: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    state: str = "Succeeded"
    flow: int = 0
    hidden_until: datetime | None = None
    reserved_until: datetime | None = None
    reserved_for: str = ""
    billed_to: str = ""

    @property
    def id(self) -> str:
        """The resource id."""
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.group}/providers/{self.kind}/{self.name}"

    @property
    def key(self) -> str:
        """The id in lower case."""
        return self.id.lower()

    @property
    def properties(self) -> dict[str, Any]:
        """What the request said under ``properties``."""
        found: dict[str, Any] = self.body.setdefault("properties", {})
        return found

    def hidden(self, now: datetime) -> bool:
        """Whether lists do not show it yet."""
        return self.hidden_until is not None and now < self.hidden_until


@dataclass(slots=True, kw_only=True)
class Vm(Resource):
    """A virtual machine; `body` is what its PUT said, without secrets.

    Attributes:
        size: the name in the market.
        rate: USD an hour, as text.
        power: running, starting, ...; "" where Azure tells none.
        allocated: it holds hardware, and bills.
        ready: SSH answers, as far as the machine itself goes.
        detail: what stands behind ``ProvisioningState/<state>``.
        error: code and message of a failed operation.
        fate: how its boot fails: (code, seconds); `stuck`: creating, starting or running for ever.
        device: what `nvidia-smi` shows, if not the size's.
        secrets: a fingerprint of what may not change and is never shown (customData).
        disk: the resource id of the OS disk, "" if there is none (yet).
        creating: the operation that its PUT began.
    """

    size: str
    spot: bool
    eviction: str
    rate: str
    zone: str = ""
    power: str = ""
    allocated: bool = False
    ready: bool = False
    detail: str = ""
    error: tuple[str, str] | None = None
    fate: tuple[str, float] | None = None
    stuck: str = ""
    device: tuple[str, int] | None = None
    user: str = ""
    keys: list[str] = field(default_factory=list)
    secrets: str = ""
    disk: str = ""
    image_version: str = ""
    extensions: dict[str, dict[str, Any]] = field(default_factory=dict)
    creating: str = ""
    changed_at: datetime | None = None

    def subject(self) -> str:
        """What a fault's `subject` is looked for in."""
        market = "spot" if self.spot else "on-demand"
        return f"{self.size} {self.location} {market} {self.name} {self.uid} {self.id}"


@dataclass(slots=True)
class Operation:
    """A long-running operation. `missing` is what its `Location` answers at the end: 200 or 204."""

    id: str
    namespace: str
    location: str
    started: datetime
    status: str = "InProgress"
    ended: datetime | None = None
    error: dict[str, Any] | None = None
    polled: bool = False
    final: int = 200


@dataclass(slots=True)
class Event:
    """Something that will happen to the resource *uid* if its `flow` is still the same."""

    when: datetime
    number: int
    what: str
    uid: str
    flow: int = 0
    operation: str = ""


def pack(thing: Any) -> dict[str, Any]:
    """A dataclass of this module, ready for JSON."""
    state = asdict(thing)
    for name in _TIMES:
        if isinstance(state.get(name), datetime):
            state[name] = state[name].isoformat()
    return state


def unpack(kind: type[_T], state: dict[str, Any]) -> _T:
    """What `pack` gave."""
    found = {one.name: state[one.name] for one in fields(kind) if one.name in state}  # type: ignore[arg-type]
    for name in _TIMES:
        if isinstance(found.get(name), str):
            found[name] = datetime.fromisoformat(found[name])
    for name in ("error", "fate", "device"):
        if isinstance(found.get(name), list):
            found[name] = tuple(found[name])
    return kind(**found)
