"""The emulated Google Cloud's instances and disks as things with a state that can be saved."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

GONE = "GONE"
_TIMES = ("created_at", "started_at", "stopped_at", "hidden_until")


@dataclass(slots=True)
class Disk:
    """A zonal disk.

    Attributes:
        owner: id of the instance that it was made with, under which the ledger has it.
        user: name of the instance that it is attached to, or None.
    """

    id: str
    name: str
    zone: str
    kind: str
    size_gb: int
    image: str
    owner: str
    user: str | None
    auto_delete: bool
    boot: bool
    created_at: datetime
    labels: dict[str, str] = field(default_factory=dict)
    gone: bool = False

    @property
    def line(self) -> str:
        """What the ledger calls it."""
        return f"disk {self.name}"

    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        return {**asdict(self), "created_at": self.created_at.isoformat()}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Disk:
        """What `dump` wrote."""
        return cls(**{**state, "created_at": datetime.fromisoformat(state["created_at"])})


@dataclass(slots=True)
class Instance:
    """One virtual machine.

    Attributes:
        shape: its machine type's name.
        attached: GPUs that are attached to an n1: name and how many.
        model: the provisioning model.
        scheduling: as answers show it, complete.
        nat: its access configuration without the address; None for no external address.
        due: what will happen to it, and when, in order.
        held: whether it has a machine, and so counts against stock and quotas.
        stuck: how its boot gets stuck; "" if it does not.
        doomed: its insert fails or its host dies early: SSH never answers.
        up: whether SSH answers.
        insert, deletion: names of the operations that make and end it.
        hidden_until: lists do not show it until then (`hidden_get`: gets do not, either).
        device: what `nvidia-smi` shows, if not the type's GPU.
    """

    id: str
    name: str
    project: str
    zone: str
    shape: str
    model: str
    created_at: datetime
    attached: tuple[str, int] | None = None
    status: str = "PROVISIONING"
    labels: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    scheduling: dict[str, Any] = field(default_factory=dict)
    description: str = ""
    deletion_protection: bool = False
    service_accounts: list[dict[str, Any]] = field(default_factory=list)
    network: str = "default"
    nat: dict[str, str] | None = None
    nat_ip: str | None = None
    private_ip: str = ""
    due: list[tuple[datetime, str]] = field(default_factory=list)
    held: bool = False
    stuck: str = ""
    doomed: str = ""
    up: bool = False
    insert: str = ""
    deletion: str = ""
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    hidden_until: datetime | None = None
    hidden_get: bool = False
    device: tuple[str, int] | None = None

    @property
    def alive(self) -> bool:
        """Whether it is there, stopped ones included."""
        return self.status != GONE

    @property
    def spot(self) -> bool:
        """Whether spot's prices and rules hold."""
        return self.model == "SPOT"

    @property
    def path(self) -> str:
        return f"projects/{self.project}/zones/{self.zone}/instances/{self.name}"

    def subject(self) -> str:
        """What a fault's `subject` is looked for in."""
        gpu = self.attached[0] if self.attached else ""
        return f"{self.shape} {gpu} {self.zone} {self.model} {self.name} {self.id}"

    def hidden(self, now: datetime) -> bool:
        """Whether lists do not show it yet."""
        return self.hidden_until is not None and now < self.hidden_until

    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        state = asdict(self)
        for name in _TIMES:
            state[name] = None if state[name] is None else state[name].isoformat()
        state["due"] = [[when.isoformat(), what] for when, what in self.due]
        return state

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Instance:
        """What `dump` wrote."""
        values = dict(state)
        for name in _TIMES:
            values[name] = None if values[name] is None else datetime.fromisoformat(values[name])
        values["due"] = [(datetime.fromisoformat(when), what) for when, what in values["due"]]
        for name in ("attached", "device"):
            values[name] = None if values[name] is None else tuple(values[name])
        return cls(**values)


def logins(metadata: dict[str, str]) -> tuple[str, list[str]] | None:
    """The user and the public keys that ``ssh-keys`` lets in; None where nobody can log in with them.

    Each line is ``user:key``; of several users the first one is served. OS Login overrides metadata.
    """
    if metadata.get("enable-oslogin", "").upper() in ("TRUE", "YES", "1", "Y"):
        return None
    found: dict[str, list[str]] = {}
    for line in metadata.get("ssh-keys", "").splitlines():
        user, colon, key = line.strip().partition(":")
        if colon and user and len(key.split()) >= 2:
            found.setdefault(user, []).append(key.strip())
    return next(iter(found.items()), None)
