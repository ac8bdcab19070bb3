"""What a machine says of itself: its GPUs, what uses them, and who has allocated which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from providers import gpus
from providers.ssh.inventory import Machine


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: its uuid, and its model as in `providers.gpus` (a slug where that knows none)."""

    uuid: str
    model: str
    name: str


@dataclass(frozen=True, slots=True)
class Allocation:
    """One record on the machine. `phase` is making, ready or ending; `created` is by the clock of who made it."""

    token: str
    owner: str
    phase: str
    login: str
    created: datetime | None
    ends: int | None
    gpus: tuple[str, ...]


@dataclass(slots=True)
class State:
    """One look at one machine.

    Attributes:
        id: the machine's id, None as long as nothing was ever allocated there.
        clock: its Unix time.
        place: where records lie: "ok", "missing" (it can be made perhaps), "readonly".
        lacks: programs that are needed and not there.
        used: uuids of GPUs that some process computes on.
        ended: the token that was asked for has ended here.
    """

    id: str | None = None
    uid: int | None = None
    clock: int | None = None
    place: str = "unknown"
    lacks: list[str] = field(default_factory=list)
    gpus: list[Gpu] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    allocations: list[Allocation] = field(default_factory=list)
    ended: bool = False

    def of_model(self, model: str) -> list[Gpu]:
        """Its GPUs of one model."""
        return [gpu for gpu in self.gpus if gpu.model == model]

    def free(self, model: str) -> list[Gpu]:
        """Those of them that nobody has allocated and nothing uses."""
        taken = self.used.union(*(one.gpus for one in self.allocations if not self.over(one)))
        return [gpu for gpu in self.of_model(model) if gpu.uuid not in taken]

    def over(self, allocation: Allocation) -> bool:
        """Its time is past, so the next launch by its login clears it away, as `expire` in own.sh has it."""
        return None not in (allocation.ends, self.clock) and allocation.ends + 120 < self.clock  # type: ignore[operator]

    def free_logins(self, machine: Machine) -> list[str]:
        """The logins of *machine* that hold no allocation; first those whose launch clears one away."""
        busy = {one.login for one in self.allocations if not self.over(one)}
        late = {one.login for one in self.allocations if self.over(one)}
        return sorted((user for user in machine.users if user not in busy), key=lambda user: user not in late)

    def allocation(self, token: str, owner: str) -> Allocation | None:
        """The record of *token*, if it is that installation's."""
        return next((one for one in self.allocations if (one.token, one.owner) == (token, owner)), None)


def read(lines: Iterable[str]) -> State:
    """A `State` from the lines of the script's answer; lines of an unknown kind are passed over."""
    state = State()
    for line in lines:
        kind, _, rest = line.partition(" ")
        words = rest.split()
        if kind == "id" and words:
            state.id = None if words[0] == "-" else words[0]
        elif kind == "uid":
            state.uid = _number(rest)
        elif kind == "clock":
            state.clock = _number(rest)
        elif kind == "place":
            state.place = rest
        elif kind == "lacks":
            state.lacks.append(rest)
        elif kind == "gpu" and len(words) >= 3:
            state.gpus.append(_gpu(words[0], words[1], " ".join(words[2:])))
        elif kind == "app" and words:
            state.used.add(words[0])
        elif kind == "alloc" and len(words) == 7:
            state.allocations.append(_allocation(words))
        elif kind == "ended":
            state.ended = True
    return state


def _gpu(uuid: str, memory_mib: str, name: str) -> Gpu:
    memory = _number(memory_mib)
    return Gpu(uuid, gpus.canonical(name, memory_gib=memory / 1024 if memory else None) or gpus.slug(name), name)


def _allocation(words: list[str]) -> Allocation:
    token, owner, phase, login, created, ends, uuids = words
    return Allocation(token, owner, phase, login, _time(created), _number(ends), tuple(filter(None, uuids.split(","))))


def _time(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None
