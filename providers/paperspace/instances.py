"""Paperspace's machines as instances: phase, address, and why one will never run.

No state says "failed". A create may be answered with success and fail later, which shows in the machine's events;
or it may be answered with success, and the machine lies there in `off` for ever: there was no capacity. `off` bills
its disk, so it is never GONE.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from providers import naming
from providers.base import Address, Instance, Phase
from providers.errors import BootFailed, NoCapacity, ProviderError
from providers.paperspace.errors import event_failure
from providers.paperspace.fields import moment, text, usd_per_hour
from providers.paperspace.request import USER

MACHINE, SCRIPT = "machine", "startup-script"

#: `serviceready`: the agent is up, the machine is not ready yet. `off` is judged by age and events.
PHASES = {
    "provisioning": Phase.PENDING,
    "starting": Phase.PENDING,
    "restarting": Phase.PENDING,
    "upgrading": Phase.PENDING,
    "serviceready": Phase.PENDING,
    "ready": Phase.RUNNING,
    "stopping": Phase.STOPPING,
}
OFF = "off"
#: Seconds after its creation for which `off` may be on the way to `starting`: without any event that goes on, and
#: with one. Others have waited more than an hour for a machine that was left there.
OFF_GRACE_S, OFF_PATIENCE_S = 45.0, 300.0

_ONGOING = frozenset({"new", "in progress"})
_STARTS = frozenset({"create", "start", "restart"})
_STOPS = frozenset({"stop", "deactivate"})


def is_ours(row: Mapping[str, Any], owner: str) -> bool:
    """Whether a machine or a startup script carries the mark of the installation *owner*, which is in its name."""
    return naming.is_ours(text(row.get("name")), owner)


def is_marked(row: Mapping[str, Any]) -> bool:
    """Whether any installation of orch has named it."""
    return naming.parse(text(row.get("name"))) is not None


def is_deleted(row: Mapping[str, Any]) -> bool:
    """Whether a machine or a startup script that is still listed has been deleted."""
    return bool(row.get("dtDeleted"))


def handle_of(name: str | None, *, made_at: datetime | None = None) -> dict[str, str]:
    """All that the end of a machine needs: its name tells the startup script. `made_at` only until it was seen."""
    handle = {"kind": MACHINE}
    if name:
        handle["name"] = name
    if made_at is not None:
        handle["made_at"] = made_at.isoformat()
    return handle


def age_s(handle: Mapping[str, str] | None, now: datetime) -> float | None:
    """Seconds since the launch that wrote *handle*; None if the machine has been seen since, or nobody knows."""
    try:
        then = datetime.fromisoformat((handle or {}).get("made_at", ""))
    except ValueError:
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    # Another computer's clock may have written it.
    return abs((now - then).total_seconds())


def needs_events(machine: Mapping[str, Any]) -> bool:
    """Whether only the events tell how it is with *machine*."""
    return not is_deleted(machine) and text(machine.get("state")) not in ("ready", "stopping")


def read(
    machine: Mapping[str, Any], *, account: str, now: datetime, events: Sequence[Mapping[str, Any]] = ()
) -> Instance:
    """*machine*, which has an id, as an instance.

    Args:
        events: its events where they were asked for: they tell why it does not run.
    """
    phase, failure = _phase(machine, events, now)
    name = text(machine.get("name"))
    return Instance(
        provider="paperspace",
        account=account,
        id=str(machine["id"]),
        handle=handle_of(name),
        token=name if naming.parse(name) else None,
        phase=phase,
        address=_address(machine) if phase is Phase.RUNNING else None,
        failure=failure,
        usd_per_hour=usd_per_hour(machine.get("usageRate")) if phase is not Phase.GONE else None,
        created_at=moment(machine.get("dtCreated")),
    )


def read_script(script: Mapping[str, Any], *, account: str) -> Instance:
    """A startup script of ours without a machine, so that whoever lists what is left can end it."""
    name = text(script.get("name"))
    return Instance(
        provider="paperspace",
        account=account,
        id=str(script["id"]),
        handle={"kind": SCRIPT, "name": name or ""},
        token=name if naming.parse(name) else None,
        phase=Phase.FAILED,
        failure=BootFailed("a startup script without a machine; it costs nothing", code="no-machine", hold_s=0.0),
        created_at=moment(script.get("dtCreated")),
    )


def failure_of(machine: Mapping[str, Any], events: Sequence[Mapping[str, Any]], now: datetime) -> ProviderError | None:
    """Why *machine*, which does not run, never will; None while there is hope."""
    newest = _newest(events, _STARTS)
    state = text((newest or {}).get("state"))
    if newest is not None and state == "error":
        return event_failure(text(newest.get("error")) or "")
    if newest is not None and state == "cancelled":
        return BootFailed("paperspace cancelled the machine's start", code="event-cancelled")
    if text(machine.get("state")) != OFF:
        return None
    stopped = _newest(events, _STOPS)
    if stopped is not None and _when(stopped) >= _when(newest or {}):
        return BootFailed("the machine was stopped; it is off", code="stopped")
    if _age_s(machine, now) < (OFF_PATIENCE_S if state in _ONGOING else OFF_GRACE_S):
        return None
    return NoCapacity("paperspace made the machine and never started it: it stays off", code="stays-off")


def _phase(
    machine: Mapping[str, Any], events: Sequence[Mapping[str, Any]], now: datetime
) -> tuple[Phase, ProviderError | None]:
    if is_deleted(machine):
        return Phase.GONE, None
    state = text(machine.get("state")) or ""
    if state in ("ready", "stopping"):
        return PHASES[state], None
    failure = failure_of(machine, events, now)
    if failure is not None:
        return Phase.FAILED, failure
    return (Phase.PENDING if state == OFF else PHASES.get(state, Phase.UNKNOWN)), None


def _newest(events: Sequence[Mapping[str, Any]], names: frozenset[str]) -> Mapping[str, Any] | None:
    return max((event for event in events if text(event.get("name")) in names), key=_when, default=None)


def _when(event: Mapping[str, Any]) -> datetime:
    return moment(event.get("dtCreated")) or datetime.min.replace(tzinfo=UTC)


def _age_s(machine: Mapping[str, Any], now: datetime) -> float:
    """Seconds since its creation, by its own word; without it, it counts as old."""
    made = moment(machine.get("dtCreated"))
    return float("inf") if made is None else (now - made).total_seconds()


def _address(machine: Mapping[str, Any]) -> Address | None:
    try:
        host = str(ipaddress.ip_address(text(machine.get("publicIp")) or ""))
    except ValueError:
        return None
    return Address(host=host, port=22, user=USER)
