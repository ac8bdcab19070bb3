"""The emulated Vast's rentals over time: boot, lose and win their GPUs, fail, end.

Everything happens at its own moment of the world's clock, in order, however rarely somebody looks: `advance` plays
all that has come due since the last look. What it costs is in `emulator_billing`, SSH in `emulator_machines`.

Sources: docs.vast.ai on instance states, interruptible rentals and listing ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from providers.sandbox.world import World
from providers.vast.emulator_billing import Billing
from providers.vast.emulator_instance import Instance
from providers.vast.emulator_machines import Machines
from providers.vast.emulator_market import Market, Rival

_PURGE = timedelta(hours=48)  # from the listing's end to the deletion of what was rented there
_DOOM_AT = 0.6  # share of the boot after which a doomed one fails
_NEVER_UP = ("loading", "null", "created")
_BOOT = ("report", "up", "ports", "fail")
#: How a boot can fail, and what the instance says then: `actual_status` and `status_msg`.
DOOMS = {
    "oci": (
        "created",
        "Error response from daemon: failed to create task for container: failed to create shim task: OCI runtime "
        "create failed: runc create failed: unable to start container process\n",
    ),
    "image": ("loading", "Error response from daemon: manifest for {image} not found: manifest unknown\n"),
    "exited": ("exited", "exited, {image}/ssh\n"),
    "offline": ("offline", None),
    "unknown": ("unknown", None),
}


class Fleet:
    """All rentals of all accounts, those that are over too, by id in the order of their creation."""

    def __init__(self, world: World, market: Market, account_keys: Callable[[str], list[str]]) -> None:
        self.world = world
        self.market = market
        self.billing = Billing(world, market)
        self.machines = Machines(world, market, account_keys)
        self.instances: dict[int, Instance] = {}
        self.living: dict[int, Instance] = {}
        self._next_id = 27_000_000
        self._clock = world.now()

    def new_id(self) -> int:
        """The number of a new contract, which asks have as well as rentals."""
        self._next_id += self.world.random.randint(1, 60)
        while self._next_id in self.market.asks:
            self._next_id += 1
        return self._next_id

    def of(self, account: str) -> list[Instance]:
        """What *account* rents, oldest first."""
        return [instance for instance in self.living.values() if instance.account == account]

    def find(self, account: str, instance_id: int) -> Instance | None:
        """A living rental of *account*."""
        instance = self.living.get(instance_id)
        return instance if instance is not None and instance.account == account else None

    # What owners do.

    def add(self, instance: Instance, at: datetime) -> None:
        """Take a new rental up. Its disk bills from now on; it starts at once if nobody is in its way."""
        self.instances[instance.id] = self.living[instance.id] = instance
        instance.events["end"] = instance.end_at
        self.billing.open_disk(instance, at)
        self.schedule(instance, at)
        if not instance.scheduled:
            instance.actual = self.market.wire.stopped_word

    def want(self, instance: Instance, running: bool, at: datetime) -> None:
        """The owner starts or stops it; a start may have to wait."""
        instance.wanted = running
        self.schedule(instance, at)

    def rebid(self, instance: Instance, bid: Decimal, at: datetime) -> None:
        """Another bid: it may win or lose its GPUs by it, and pays it from now on."""
        instance.bid = bid
        self.billing.rate(instance, at)
        self.schedule(instance, at)

    def reboot(self, instance: Instance, at: datetime, *, pull: bool) -> None:
        """Stop and start the container without giving up the GPUs; *pull* makes it anew from the image."""
        if not instance.scheduled or instance.offline:
            return
        self._halt(instance, at)
        instance.actual = "recycling" if pull else "rebooting"
        instance.first_up = instance.first_up and not pull
        self._boot(instance, at)

    def destroy(self, instance: Instance, at: datetime) -> None:
        """The end of it and of everything that it bills."""
        self._halt(instance, at)
        instance.destroyed, instance.scheduled, instance.wanted = True, False, False
        instance.events.clear()
        del self.living[instance.id]
        self.billing.close(instance, at)
        self._release(instance, at)

    # What others do.

    def lose(self, instance: Instance, at: datetime, how: str = "offline", back_s: float | None = None) -> None:
        """The host goes.

        Args:
            how: ``offline`` or ``unknown`` (the contract stays; neither GPUs nor disk bill meanwhile), ``exited``
                (the container ended), ``vanish`` (nothing is left of it).
            back_s: seconds after which an offline host is back.
        """
        if how == "vanish":
            self.destroy(instance, at)
            return
        self._halt(instance, at)
        if how == "exited":
            instance.actual, instance.status_msg = how, DOOMS["exited"][1]
            return
        instance.actual, instance.offline = how, True
        self.billing.rate(instance, at)
        if back_s is not None:
            instance.events["back"] = at + timedelta(seconds=back_s)

    def outbid(self, instance: Instance, usd: Any, seconds: Any) -> None:
        """Somebody bids *usd* per hour for what *instance* runs on, or (None) rents it on demand.

        Args:
            seconds: how long they keep it; None for ever.
        """
        now = self.world.now()
        until = None if seconds is None else now + timedelta(seconds=float(seconds))
        self.rival(instance.ask.id, Rival(None if usd is None else Decimal(str(usd)), until), now)

    def rival(self, ask_id: int, rival: Rival | None, at: datetime) -> None:
        """Somebody bids for an ask or rents it, or (None) gives it up: whoever we have there wins or loses."""
        ask_id = self.market.present_id(ask_id)
        if rival is None:
            self.market.rivals.pop(ask_id, None)
        else:
            self.market.rivals[ask_id] = rival
        for instance in list(self.living.values()):
            if self.market.present_id(instance.ask.id) == ask_id and not self._safe(instance, rival):
                self.schedule(instance, at)

    @staticmethod
    def _safe(instance: Instance, rival: Rival | None) -> bool:
        # Nobody takes the GPUs of a running on-demand rental.
        return rival is not None and instance.bid is None and instance.scheduled

    # The scheduler.

    def schedule(self, instance: Instance, at: datetime) -> None:
        """Start or stop it as its owner, its listing, its bid and the rivals allow."""
        holder = self.market.taken.get(self._place(instance))
        free = holder in (None, instance.id) and self.market.wins(instance.ask, instance.bid)
        keeps = instance.scheduled and instance.bid is None
        may = instance.wanted and not instance.ended and (free or keeps)
        if may and not instance.scheduled:
            instance.scheduled = True
            self.market.taken[self._place(instance)] = instance.id
            self._boot(instance, at)
        elif not may and instance.scheduled:
            self._halt(instance, at)
            instance.scheduled = False
            if not instance.offline:
                instance.actual = self.market.wire.stopped_word
            self._release(instance, at)
        self.billing.rate(instance, at)

    def _place(self, instance: Instance) -> int:
        return self.market.present_id(instance.ask.id)

    def _release(self, instance: Instance, at: datetime) -> None:
        """Give the GPUs back; who has waited longest for them starts."""
        place = self._place(instance)
        if self.market.taken.get(place) != instance.id:
            return
        del self.market.taken[place]
        for other in list(self.living.values()):
            if other.wanted and other is not instance and self._place(other) == place:
                self.schedule(other, at)

    def _boot(self, instance: Instance, at: datetime) -> None:
        wire, scale = self.market.wire, self.world.boot_scale
        takes = (wire.restart_s if instance.first_up else wire.boot_s) * scale
        if instance.stuck != "null":
            instance.events["report"] = at + timedelta(seconds=min(wire.report_s * scale, takes))
        if instance.doom is not None:
            instance.events["fail"] = at + timedelta(seconds=takes * _DOOM_AT)
        elif instance.stuck not in _NEVER_UP:
            instance.events["up"] = at + timedelta(seconds=takes)

    def _halt(self, instance: Instance, at: datetime) -> None:
        """The container is no more: no machine, no ports, no GPU charge."""
        for name in _BOOT:
            instance.events.pop(name, None)
        self.machines.stop(instance)
        self.billing.close(instance, at, "compute")
        instance.ports, instance.up_at = {}, None

    # Time.

    def advance(self) -> None:
        """Play everything that has come due by the world's time, each at its own moment."""
        now = self.world.now()
        while (due := min(self._due(), key=lambda pair: pair[0], default=None)) and due[0] <= now:
            self._clock = max(self._clock, due[0])
            due[1](due[0])
        self._clock = now

    def _due(self) -> Iterator[tuple[datetime, Callable[[datetime], None]]]:
        for instance in self.living.values():
            for name, when in instance.events.items():
                yield when, partial(self._play, instance, name)
        for ask_id, rival in self.market.rivals.items():
            if rival.until is not None:
                yield rival.until, partial(self.rival, ask_id, None)
        if any(instance.scheduled for instance in self.living.values()):
            broke_at = self.billing.broke_at(self._clock)
            if broke_at is not None:
                yield broke_at, self._broke

    def _play(self, instance: Instance, name: str, at: datetime) -> None:
        del instance.events[name]
        played: dict[str, Callable[[Instance, datetime], None]] = {
            "report": self._report,
            "up": self._up,
            "ports": self._ports,
            "fail": self._fail,
            "back": self._back,
            "end": self._end,
            "purge": self.destroy,
        }
        played[name](instance, at)

    def _report(self, instance: Instance, at: datetime) -> None:
        instance.actual = "created" if instance.stuck == "created" else "loading"
        instance.status_msg = f"{instance.image}: Pulling from {instance.image.partition(':')[0]}\n"

    def _up(self, instance: Instance, at: datetime) -> None:
        if not instance.first_up:
            self.billing.pull(instance, at)
        instance.first_up, instance.actual, instance.up_at = True, "running", at
        short = instance.image.replace(":", "_")
        instance.status_msg = f"success, running {short}/{'ssh' if instance.sshd else 'args'}\n"
        self.billing.open_compute(instance, at)
        if instance.stuck != "no_ports":
            wait = self.market.wire.ports_s * self.world.boot_scale
            instance.events["ports"] = at + timedelta(seconds=wait)

    def _ports(self, instance: Instance, at: datetime) -> None:
        self.machines.map_ports(instance, list(self.living.values()))
        self.machines.start(instance)

    def _fail(self, instance: Instance, at: datetime) -> None:
        how = instance.doom or "exited"
        instance.actual, text = DOOMS[how]
        instance.status_msg = text.format(image=instance.image) if text else instance.status_msg
        instance.events.pop("report", None)
        if how in ("offline", "unknown"):
            self.lose(instance, at, how)

    def _back(self, instance: Instance, at: datetime) -> None:
        instance.offline = False
        if instance.scheduled:
            self._boot(instance, at)
        else:
            instance.actual = self.market.wire.stopped_word
        self.billing.rate(instance, at)

    def _end(self, instance: Instance, at: datetime) -> None:
        instance.ended = True
        self.schedule(instance, at)
        instance.events["purge"] = at + _PURGE

    def _broke(self, at: datetime) -> None:
        """The credit is used up: everything stops at once, and does not start again by itself."""
        for instance in list(self.living.values()):
            if instance.wanted:
                self.want(instance, False, at)

    def run_at_once(self, instance: Instance) -> None:
        """Skip the boot of a new rental."""
        now = self.world.now()
        for name in ("report", "up", "ports"):
            if name in instance.events:
                self._play(instance, name, now)

    # The state as a file.

    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        return {
            "next_id": self._next_id,
            "billing": self.billing.dump(),
            "machines": self.machines.dump(),
            "instances": [instance.dump() for instance in self.instances.values()],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave, and start the machines again."""
        self._next_id = state["next_id"]
        self.billing.load(state["billing"])
        self.machines.load(state["machines"])
        rentals = [Instance.restore(row) for row in state["instances"]]
        self.instances = {instance.id: instance for instance in rentals}
        self.living = {instance.id: instance for instance in rentals if not instance.destroyed}
        for instance in self.living.values():
            self.machines.start(instance)
