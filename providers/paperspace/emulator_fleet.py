"""The emulated Paperspace's machines over time: events, states, addresses, SSH, bill, end.

Everything happens at its own moment of the world's clock, however rarely somebody looks: `advance` plays all that
has come due.

Billing: compute in every state but `off`, by the second (or the hour: `Options.bill_step_s`), the disk from create
to the end, off or not. A static address bills on its own (`emulator_network`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from providers.paperspace.emulator_machine import Event, Machine
from providers.paperspace.emulator_market import Market
from providers.paperspace.emulator_network import PROVIDER, Network
from providers.paperspace.emulator_options import Options
from providers.paperspace.emulator_scripts import Scripts, authorized_keys, switches_off_after
from providers.sandbox.world import World

_USER = "paperspace"
BOOT_ERROR = "Machine failed to provision: no host accepted it."


class Fleet:
    """All machines of the one team, and what was done to them."""

    def __init__(self, world: World, market: Market, scripts: Scripts, network: Network, options: Options) -> None:
        self.world = world
        self.market = market
        self.scripts = scripts
        self.network = network
        self.options = options
        self.machines: dict[str, Machine] = {}
        self.events: dict[str, Event] = {}

    def living(self) -> list[Machine]:
        """Machines that are not deleted, oldest first."""
        return [machine for machine in self.machines.values() if machine.alive]

    def subject(self, machine: Machine) -> str:
        """What a fault's `subject` is looked for in."""
        return machine.subject(self.market.types[machine.type].gpu)

    def shown(self, machine: Machine, *, listed: bool) -> bool:
        """Whether the API knows it now: by its own path, or in lists."""
        now = self.world.now()
        if machine.hidden(now) and (listed or machine.hidden_get):
            return False
        if machine.deleted_at is None:
            return True
        lasts = timedelta(seconds=self.options.deleted_shown_s)
        return now < machine.deleted_at + lasts and (self.options.deleted_listed or not listed)

    def advance(self) -> None:
        """Play everything that has come due by the world's time, each at its own moment."""
        now = self.world.now()
        for machine in self.living():
            while machine.due and machine.due[0][0] <= now:
                when, what, event = machine.due.pop(0)
                self._play(machine, what, event, when)

    # What is done to a machine.

    def add(self, machine: Machine, *, doom: tuple[float, str] | None = None) -> Event:
        """Let a new machine boot. Whatever else is to go wrong with it must be settled.

        Args:
            doom: after how many seconds its boot fails, and how (``off``, ``error`` or ``stuck``).
        """
        now = machine.created_at
        self.machines[machine.id] = machine
        event = self._begin(machine, "create")
        self._hold(machine, True)
        if self.options.bill_boot:
            self._meter(machine, True, now)
        self.world.ledger.open(
            PROVIDER,
            machine.id,
            at=now,
            usd_per_hour=self.market.disk_usd_per_hour(machine.disk_gb),
            name=machine.name,
            what="disk",
        )
        if machine.ip_type == "static":
            machine.public_ip = self.network.claim(machine.region, machine.id).ip
        if doom is not None:
            machine.later(now + timedelta(seconds=doom[0]), f"failed-{doom[1]}", event.id)
        elif machine.stuck != "provisioning":
            first = "starting" if machine.start_on_create else "stopped"
            self._later(machine, now, self.options.provision_s, first, event.id)
        return event

    def start(self, machine: Machine) -> Event:
        """Start what is off."""
        event = self._begin(machine, "start")
        self._hold(machine, True)
        self._starting(machine, event.id, self.world.now())
        return event

    def stop(self, machine: Machine) -> Event:
        """Stop what runs; a dynamic address is lost."""
        event = self._begin(machine, "stop")
        self._stopping(machine, event.id, self.world.now())
        return event

    def restart(self, machine: Machine) -> Event:
        """Reboot; SSH is away meanwhile, the bill runs on."""
        event = self._begin(machine, "restart")
        self._down(machine)
        self._state(machine, "restarting", self.world.now())
        self._later(machine, self.world.now(), self.options.restart_s, "ready", event.id)
        return event

    def delete(self, machine: Machine) -> Event:
        """Begin the end. Until then it bills as before; what else was going on is cancelled."""
        now = self.world.now()
        machine.due.clear()
        for event in self.events.values():
            if event.machine_id == machine.id and event.open:
                event.state, event.finished_at = "cancelled", now
        event = self._begin(machine, "deactivate")
        machine.deleting = True
        self._down(machine)
        if machine.state != "off":
            self._state(machine, "stopping", now)
        self._later(machine, now, self.options.delete_s, "deleted", event.id)
        return event

    def pretend(self, machine: Machine) -> Event:
        """The event of a delete that is accepted and then forgotten."""
        event = Event("ev" + self.world.letters(8), machine.id, "deactivate", self.world.now())
        self.events[event.id] = event
        return event

    def lose(self, machine: Machine, how: str = "off") -> None:
        """The host is lost: the machine is found ``off``, or (``vanish``) known to nobody any more."""
        now = self.world.now()
        machine.due.clear()
        if how == "vanish":
            self._deleted(machine, now)
            machine.deleted_at = now - timedelta(seconds=self.options.deleted_shown_s)
        else:
            self._off(machine, now)

    def run_at_once(self, machine: Machine) -> None:
        """Skip the boot of a new machine."""
        now = self.world.now()
        event = next(each.id for each in self.events.values() if each.machine_id == machine.id)
        for what in ("begun", "starting", "serviceready", "ready", "ssh"):
            self._play(machine, what, event, now)
        machine.due.clear()

    # What happens by itself.

    def _play(self, machine: Machine, what: str, event: str, at: datetime) -> None:
        match what:
            case "begun":
                self.events[event].state, self.events[event].started_at = "in progress", at
            case "starting":
                self._starting(machine, event, at)
            case "serviceready":
                self._serviceready(machine, event, at)
            case "ready":
                self._ready(machine, event, at)
            case "ssh":
                self._up(machine)
            case "stopped" | "poweroff":
                self._off(machine, at)
                self._finish(event, at)
            case "autostop":
                self._stopping(machine, self._begin(machine, "stop", at).id, at)
            case "deleted":
                self._deleted(machine, at)
                self._finish(event, at)
            case "failed-stuck":
                self._finish(event, at, BOOT_ERROR)
            case "failed-error":
                self._off(machine, at)
                self._finish(event, at, BOOT_ERROR)
            case _:  # "failed-off": looks like success
                self._off(machine, at)
                self._finish(event, at)

    def _starting(self, machine: Machine, event: str, at: datetime) -> None:
        self._state(machine, "starting", at)
        self._meter(machine, True, at)
        if machine.ip_type == "dynamic" and machine.stuck != "no_ip":
            machine.public_ip = self.world.address()
        if machine.private_ip is None:
            machine.private_ip = f"10.0.{self.world.random.randint(0, 255)}.{self.world.random.randint(2, 254)}"
        self._later(machine, at, self.options.start_s, "serviceready", event)

    def _serviceready(self, machine: Machine, event: str, at: datetime) -> None:
        self._state(machine, "serviceready", at)
        self._run_script(machine, at)
        if machine.stuck != "serviceready":
            self._later(machine, at, self.options.service_s, "ready", event)

    def _ready(self, machine: Machine, event: str, at: datetime) -> None:
        self._state(machine, "ready", at)
        self._finish(event, at)
        if machine.stuck != "no_ssh":
            self._later(machine, at, self.options.ssh_s, "ssh")
        if machine.autostop_h is not None:
            # An SSH session is no activity to it, so that it comes under a running job.
            machine.later(at + timedelta(hours=machine.autostop_h), "autostop")

    def _run_script(self, machine: Machine, at: datetime) -> None:
        # The agent fetches it at boot: one that was deleted before leaves a machine that lets nobody in.
        script = self.scripts.rows.get(machine.script or "")
        if script is None or (machine.scripted and script.run_once):
            return
        machine.scripted = True
        machine.authorized = list(dict.fromkeys([*machine.authorized, *authorized_keys(script.script)]))
        if (seconds := switches_off_after(script.script)) is not None:
            # That a machine which switches itself off is shown as `off` is not documented.
            machine.later(at + timedelta(seconds=seconds), "poweroff")

    def _stopping(self, machine: Machine, event: str, at: datetime) -> None:
        machine.due = [each for each in machine.due if each[1] == "begun"]
        self._down(machine)
        self._state(machine, "stopping", at)
        self._later(machine, at, self.options.stop_s, "stopped", event)

    def _off(self, machine: Machine, at: datetime) -> None:
        self._down(machine)
        self._state(machine, "off", at)
        self._meter(machine, False, at)
        self._hold(machine, False)
        machine.due.clear()
        if machine.ip_type == "dynamic":
            machine.public_ip = None

    def _deleted(self, machine: Machine, at: datetime) -> None:
        self._off(machine, at)
        self.world.ledger.close(PROVIDER, machine.id, at=at)
        self.network.unassign(machine.id)
        machine.deleted_at = at

    # Small steps.

    def _begin(self, machine: Machine, name: str, at: datetime | None = None) -> Event:
        at = at or self.world.now()
        event = Event("ev" + self.world.letters(8), machine.id, name, at)
        self.events[event.id] = event
        self._later(machine, at, self.options.event_s, "begun", event.id)
        return event

    def _finish(self, event_id: str, at: datetime, error: str | None = None) -> None:
        event = self.events.get(event_id)
        if event is not None and event.open:
            event.state, event.error = "done" if error is None else "error", error
            event.started_at, event.finished_at = event.started_at or at, at

    def _state(self, machine: Machine, state: str, at: datetime) -> None:
        machine.state, machine.modified_at = state, at

    def _later(self, machine: Machine, start: datetime, seconds: float, what: str, event: str = "") -> None:
        machine.later(start + timedelta(seconds=seconds * self.world.boot_scale), what, event)

    def _hold(self, machine: Machine, holds: bool) -> None:
        if machine.holds != holds:
            self.market.rented[(machine.type, machine.region)] += 1 if holds else -1
            machine.holds = holds

    def _meter(self, machine: Machine, on: bool, at: datetime) -> None:
        if machine.metered == on:
            return
        machine.metered = on
        if not on:
            self.world.ledger.close(PROVIDER, machine.id, at=at, what="compute")
            return
        self.world.ledger.open(
            PROVIDER,
            machine.id,
            at=at,
            usd_per_hour=Decimal(machine.usd_per_hour),
            name=machine.name,
            increment_s=self.options.bill_step_s,
        )

    def _up(self, machine: Machine) -> None:
        if machine.public_ip is None:
            return
        machine.up = True
        of = self.market.types[machine.type]
        gpu, memory_mib = machine.device or (of.device, of.device_mib)
        self.world.machines.start(
            f"{PROVIDER}:{machine.id}",
            host=machine.public_ip,
            port=22,
            user=_USER,
            authorized_keys=list(machine.authorized),
            gpu=gpu,
            memory_mib=memory_mib,
            count=of.gpus,
        )

    def _down(self, machine: Machine) -> None:
        machine.up = False
        self.world.machines.stop(f"{PROVIDER}:{machine.id}")

    # The state as a file.

    def dump(self) -> dict[str, Any]:
        """All machines and events, ready for JSON."""
        return {
            "machines": [machine.dump() for machine in self.machines.values()],
            "events": [event.dump() for event in self.events.values()],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave, and start the machines again."""
        machines = [Machine.restore(row) for row in state["machines"]]
        self.machines = {machine.id: machine for machine in machines}
        self.events = {event.id: event for event in (Event.restore(row) for row in state["events"])}
        self.market.rented.clear()
        for machine in machines:
            if machine.holds:
                self.market.rented[(machine.type, machine.region)] += 1
            if machine.up:
                self._up(machine)
