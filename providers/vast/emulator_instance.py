"""A rental ("contract") as the emulator keeps it.

Sources: the official instance descriptions for states; what clients observed of outbid and queued instances.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from providers.vast.emulator_market import Ask

KVM_IMAGE = "docker.io/vastai/kvm:"
_PORT_FLAG = re.compile(r"-p (\d+):(\d+)(/tcp|/udp)?")
_SAME_PORT_FROM = 70000  # such a port number asks for the same number inside and out


@dataclass(slots=True)
class Instance:
    """One rental.

    Attributes:
        ask: the slice as it was when it was rented.
        usd_per_hour: the on-demand price at that time, or None for an interruptible one.
        bid: what an interruptible one bids per hour, or None.
        env: as asked for, with the ``-p`` port flags among it.
        wanted: the owner wants it to run.
        scheduled: the scheduler gives it its GPUs.
        actual: what the host last reported of the container; None before the first report.
        events: what happens next and when: report, up, ports, fail, back, purge.
        stuck: how a boot that never ends looks (``loading``, ``null``, ``created``, ``no_ports``, ``no_ssh``).
        doom: how a boot fails.
        offline: the host is lost.
        ended: the listing ended.
        first_up: the image has been pulled once.
        ports: inner port such as ``22/tcp`` to the outer port number.
        ssh_port: of the SSH proxy.
        own_key: the API key inside the container, good for this instance alone.
        extra_keys, dropped_keys: public keys that were attached to it, or detached from it.
        device: what `nvidia-smi` shows, if not the ask's card.
        hidden_until, hidden_lists: it is left out of lists until then, and from so many of them.
    """

    id: int
    account: str
    ask: Ask
    label: str | None
    image: str
    runtype: str
    disk: Decimal
    created_at: datetime
    end_at: datetime
    own_key: str
    ssh_port: int
    jupyter_token: str
    usd_per_hour: Decimal | None = None
    bid: Decimal | None = None
    env: dict[str, str] = field(default_factory=dict)
    onstart: str | None = None
    args: list[str] = field(default_factory=list)
    vm: bool = False
    wanted: bool = True
    scheduled: bool = False
    destroyed: bool = False
    actual: str | None = None
    status_msg: str | None = None
    events: dict[str, datetime] = field(default_factory=dict)
    stuck: str | None = None
    doom: str | None = None
    offline: bool = False
    ended: bool = False
    first_up: bool = False
    up_at: datetime | None = None
    ports: dict[str, int] = field(default_factory=dict)
    extra_keys: list[str] = field(default_factory=list)
    dropped_keys: list[str] = field(default_factory=list)
    device: tuple[str, int] | None = None
    hidden_until: datetime | None = None
    hidden_lists: int = 0

    @property
    def kind(self) -> str:
        """``on-demand`` or ``bid``."""
        return "on-demand" if self.bid is None else "bid"

    @property
    def running(self) -> bool:
        """Whether the container is up."""
        return self.actual == "running"

    @property
    def hourly(self) -> Decimal:
        """USD per hour of the GPUs while it runs."""
        return self.bid if self.bid is not None else self.usd_per_hour or Decimal(0)

    @property
    def outbid(self) -> bool:
        """It should run, and the scheduler does not let it because of its bid."""
        return self.wanted and not self.scheduled and self.bid is not None

    def states(self) -> tuple[str, str, str]:
        """`cur_state`, `next_state` and `intended_status`.

        An interruptible one that lost is ``stopped`` three times over, as clients observed, although it comes back
        by itself; a start that waits for GPUs which somebody else rented is queued.
        """
        current = "running" if self.scheduled else "stopped"
        coming = "running" if self.wanted and not (self.outbid or self.ended) else "stopped"
        return current, coming, coming

    @property
    def direct(self) -> bool:
        """Whether it gets ports of the machine's own address."""
        return "direc" in self.runtype and self.ask.direct_port_count > 0

    @property
    def sshd(self) -> bool:
        """Whether Vast puts an SSH server into the container."""
        return self.vm or any(part.startswith(("ssh", "jupyter")) for part in self.runtype.split())

    def inner_ports(self) -> list[tuple[str, int | None]]:
        """Ports to map: ``22/tcp`` and the outer port if it must be a certain one."""
        wanted: dict[str, int | None] = {}
        if self.sshd and self.direct:
            wanted["22/tcp"] = None
        for flag in self.env:
            if match := _PORT_FLAG.fullmatch(flag):
                inner, protocol = int(match[2]), (match[3] or "/tcp")[1:]
                wanted[f"{inner}/{protocol}"] = inner if inner >= _SAME_PORT_FROM else None
        return list(wanted.items()) if self.ask.direct_port_count > 0 else []

    def variables(self) -> dict[str, str]:
        """The environment without the port flags."""
        return {name: value for name, value in self.env.items() if not name.startswith("-")}

    def subject(self) -> str:
        """What a fault's `subject` is looked for in."""
        return f"{self.ask.subject(self.kind)} {self.id} {self.label or ''}"

    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        state = {part.name: getattr(self, part.name) for part in fields(self)}
        return {key: _plain(value) for key, value in state.items()}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Instance:
        """The instance that `dump` wrote."""
        values = dict(state)
        values["ask"] = Ask.restore(values["ask"])
        for name in ("disk", "usd_per_hour", "bid"):
            values[name] = None if values[name] is None else Decimal(values[name])
        for name in ("created_at", "end_at", "up_at", "hidden_until"):
            values[name] = None if values[name] is None else datetime.fromisoformat(values[name])
        values["events"] = {name: datetime.fromisoformat(when) for name, when in values["events"].items()}
        values["device"] = tuple(values["device"]) if values["device"] else None
        return cls(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, Ask):
        return value.dump()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple | list) else value
