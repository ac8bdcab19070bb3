"""One machine and one event of the emulated Paperspace, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

_TIMES = ("created_at", "modified_at", "deleted_at", "hidden_until")
_EVENT_TIMES = ("created_at", "started_at", "finished_at")


@dataclass(slots=True)
class Event:
    """Something that is done to a machine.

    Attributes:
        state: new, in progress, done, error or cancelled.
        error: what went wrong, in words.
    """

    id: str
    machine_id: str
    name: str
    created_at: datetime
    state: str = "new"
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether it is not over."""
        return self.state in ("new", "in progress")

    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        return _written(asdict(self), _EVENT_TIMES)

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Event:
        """The event that `dump` wrote."""
        return cls(**_read(state, _EVENT_TIMES))


@dataclass(slots=True)
class Machine:
    """One machine, from its creation on; `state` is one of Paperspace's words.

    Attributes:
        usd_per_hour: of the compute, as text; kept from the moment of creation.
        due: what will happen to it, when, and the event that this is part of, in order.
        stuck: how its boot gets stuck: "provisioning" or "serviceready" for ever, or ready with "no_ip" or "no_ssh".
        up: whether SSH answers.
        holds: whether it takes one from the stock. What is off does not.
        ip_type: static, dynamic or none.
        authorized: the public keys that its startup script put in, `scripted` whether that ran already.
        autostop_h: hours after which the automatic shutdown stops it, or None.
        hidden_until: lists do not show it until then (`hidden_get`: nor does its own path).
        device: what `nvidia-smi` shows, if not the type's card.
    """

    id: str
    name: str
    type: str
    region: str
    template: str
    disk_gb: int
    usd_per_hour: str
    created_at: datetime
    modified_at: datetime
    state: str = "provisioning"
    ip_type: str = "none"
    public_ip: str | None = None
    private_ip: str | None = None
    network: str | None = None
    script: str | None = None
    autostop_h: float | None = None
    start_on_create: bool = True
    deleting: bool = False
    deleted_at: datetime | None = None
    due: list[tuple[datetime, str, str]] = field(default_factory=list)
    stuck: str = ""
    up: bool = False
    holds: bool = False
    metered: bool = False
    scripted: bool = False
    authorized: list[str] = field(default_factory=list)
    hidden_until: datetime | None = None
    hidden_get: bool = False
    device: tuple[str, int] | None = None

    @property
    def alive(self) -> bool:
        """Whether it is there; one that is off, or is being deleted, still is."""
        return self.deleted_at is None

    def subject(self, gpu: str) -> str:
        """What a fault's `subject` is looked for in."""
        return f"{self.type} {gpu} {self.region} {self.name} {self.id}"

    def hidden(self, now: datetime) -> bool:
        """Whether lists do not show it yet."""
        return self.hidden_until is not None and now < self.hidden_until

    def later(self, when: datetime, what: str, event: str = "") -> None:
        """Let *what* happen at *when*."""
        self.due.append((when, what, event))
        self.due.sort(key=lambda each: each[0])

    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        state = _written(asdict(self), _TIMES)
        state["due"] = [[when.isoformat(), what, event] for when, what, event in self.due]
        state["device"] = None if self.device is None else list(self.device)
        return state

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Machine:
        """The machine that `dump` wrote."""
        values = _read(state, _TIMES)
        values["due"] = [(datetime.fromisoformat(when), what, event) for when, what, event in values["due"]]
        values["device"] = None if values["device"] is None else tuple(values["device"])
        return cls(**values)


def _written(state: dict[str, Any], times: tuple[str, ...]) -> dict[str, Any]:
    return state | {name: None if state[name] is None else state[name].isoformat() for name in times}


def _read(state: dict[str, Any], times: tuple[str, ...]) -> dict[str, Any]:
    return state | {name: None if state[name] is None else datetime.fromisoformat(state[name]) for name in times}
