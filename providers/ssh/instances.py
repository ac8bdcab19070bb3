"""Allocations as instances of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from providers.base import Address, Instance, LaunchSpec, Phase
from providers.errors import OutcomeUnknown, Unavailable
from providers.ssh.inventory import Machine
from providers.ssh.state import Allocation, State

_PHASES = {"making": Phase.PENDING, "ready": Phase.RUNNING, "ending": Phase.STOPPING}


@dataclass(frozen=True, slots=True)
class Made:
    """What a launch answered: the machine's id, the login, the GPUs."""

    machine_id: str
    login: str
    gpus: str


def made(lines: Iterable[str]) -> Made:
    """Read the answer of a launch.

    Raises:
        OutcomeUnknown: it does not say what was made.
    """
    words = {line.partition(" ")[0]: line.split()[1:] for line in lines}
    if len(words.get("made", ())) != 2 or len(words.get("id", ())) != 1:
        raise OutcomeUnknown("the machine's answer does not say what was allocated", code="no-answer")
    return Made(words["id"][0], *words["made"])


def of_launch(machine: Machine, it: Made, *, token: str, account: str, spec: LaunchSpec, now: datetime) -> Instance:
    """The instance that a launch has just made."""
    return Instance(
        provider="ssh",
        account=account,
        id=f"{machine.name}/{token}",
        handle=_handle(machine.name, it.login, it.machine_id, it.gpus),
        token=token,
        owner=spec.owner,
        phase=Phase.RUNNING,
        address=Address(host=machine.host, port=machine.port, user=it.login),
        created_at=now,
    )


def of_record(machine: Machine, record: Allocation, state: State, *, account: str) -> Instance:
    """The instance behind a record on a machine."""
    phase = _PHASES.get(record.phase, Phase.UNKNOWN)
    ready = phase is Phase.RUNNING
    return Instance(
        provider="ssh",
        account=account,
        id=f"{machine.name}/{record.token}",
        handle=_handle(machine.name, record.login, state.id or "", ",".join(record.gpus)),
        token=record.token,
        owner=record.owner,
        phase=phase,
        address=Address(host=machine.host, port=machine.port, user=record.login) if ready else None,
        created_at=record.created,
    )


def retired(name: str, token: str, account: str, owner: str, handle: Mapping[str, str] | None = None) -> Instance:
    """An allocation that has ended: the machine remembers its end, or the user says that the machine is gone."""
    return Instance(
        provider="ssh",
        account=account,
        id=f"{name}/{token}",
        handle=dict(handle or {"machine": name}),
        token=token,
        owner=owner,
        phase=Phase.GONE,
    )


def another_machine(name: str, expected: str, found: str | None) -> Unavailable:
    """The machine that answers is not the one that was allocated, so it knows nothing of what runs on that one."""
    return Unavailable(
        f"{name} is not the machine that it was (id {found or 'none'}, expected {expected}): if it was reinstalled, "
        f"give it a new name in the inventory and keep the old one with `retired = true`",
        code="other-machine",
        scope="host",
    )


def _handle(name: str, login: str, machine_id: str, gpus: str) -> dict[str, str]:
    return {"machine": name, "login": login, "machine_id": machine_id, "gpus": gpus}
