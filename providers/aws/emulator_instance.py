"""One instance of the emulated AWS, its disks, and what is due to happen to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from typing import Any

#: Instance states and their codes, by the API reference.
CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}

REASONS = {
    "Client.UserInitiatedShutdown": "User initiated shutdown",
    "Client.InstanceInitiatedShutdown": "Instance initiated shutdown",
    "Server.InsufficientInstanceCapacity": "Insufficient capacity to satisfy instance request",
    "Server.InternalError": "Internal error on launch",
    "Server.SpotInstanceTermination": "Spot instance termination",
    "Client.VolumeLimitExceeded": "Volume limit exceeded",
    "Client.InternalError": "Client error on launch",
}


@dataclass(slots=True)
class Disk:
    """An EBS volume; `deleted_at` None: it is there, and bills."""

    id: str
    device: str
    size_gb: int
    kind: str
    with_instance: bool
    created_at: datetime
    tags: dict[str, str]
    deleted_at: datetime | None = None

    def what(self, root: str) -> str:
        """Its line in the ledger."""
        return "disk" if self.device == root else f"disk {self.device}"


@dataclass(slots=True)
class Instance:
    """One instance that was launched. `usd` is its price at launch.

    Attributes:
        turns_at, turns_to, reason: its next state and why, if that is due.
        ready_at: when SSH will answer; None: it does, or never will.
        guest_off_s, guest_off_at: a shutdown that the machine's own user data ordered: seconds after it is up; when.
        taken_at: when spot takes it, after the notice.
        ended_at: when it became terminated.
        hidden_until: unknown to all calls until then.
        device: what `nvidia-smi` shows (name, MiB), if not the type's card.
        keys: the public keys that it lets in.
        on_shutdown: stop or terminate.
        public: it gets a public address when it runs.
    """

    id: str
    account: str
    region: str
    zone: str
    kind: str
    gpu: str
    spot: bool
    usd: Decimal
    reservation: str
    index: int
    token: str
    launched_at: datetime
    image: str
    root: str
    user: str
    subnet: str
    vpc: str
    groups: list[str]
    interface: str
    private_ip: str
    public: bool
    key_name: str | None
    keys: list[str]
    tags: dict[str, str]
    disks: list[Disk]
    on_shutdown: str = "stop"
    spot_request: str = ""
    spot_status: str = ""
    profile: str = ""
    state: str = "pending"
    turns_at: datetime | None = None
    turns_to: str = "running"
    reason: str = ""
    reason_at: datetime | None = None
    running_at: datetime | None = None
    ready_at: datetime | None = None
    ready: bool = False
    stuck: bool = False
    guest_off_s: float | None = None
    guest_off_at: datetime | None = None
    taken_at: datetime | None = None
    ended_at: datetime | None = None
    address: str | None = None
    hidden_until: datetime | None = None
    device: tuple[str, int] | None = None
    network_tags: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The tag Name."""
        return self.tags.get("Name", "")

    @property
    def alive(self) -> bool:
        """Whether it is there, or can come back."""
        return self.state not in ("shutting-down", "terminated")

    @property
    def market(self) -> str:
        """``spot`` or ``on-demand``."""
        return "spot" if self.spot else "on-demand"

    def subject(self) -> str:
        """What a fault's `subject` is looked for in."""
        return f"{self.gpu} {self.kind} {self.zone} {self.market} {self.id} {self.name}"

    def hidden(self, now: datetime) -> bool:
        """Whether the answers do not know it yet."""
        return self.hidden_until is not None and now < self.hidden_until

    def next_event(self) -> tuple[datetime, str] | None:
        """What happens to it next, and when."""
        due = [
            (when, what)
            for when, what in (
                (self.turns_at, "turn"),
                (self.ready_at, "ready"),
                (self.taken_at, "taken"),
                (self.guest_off_at, "guest_off"),
            )
            if when is not None
        ]
        return min(due) if due else None

    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Instance:
        """The instance that `dump` wrote."""
        values = _revive(state)
        values["usd"] = Decimal(values["usd"])
        values["device"] = tuple(values["device"]) if values["device"] else None
        values["disks"] = [Disk(**_revive(disk)) for disk in values["disks"]]
        names = {part.name for part in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in names})


def _revive(state: dict[str, Any]) -> dict[str, Any]:
    return {
        key: datetime.fromisoformat(value) if isinstance(value, str) and key.endswith(("_at", "_until")) else value
        for key, value in state.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
