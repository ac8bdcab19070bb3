"""The emulated Lambda Cloud's instances over time: boot, address, SSH, bill, end.

Everything happens at its own moment of the world's clock, however rarely somebody looks: `advance` plays all that
has come due.

Billing, by Lambda's page: per minute, from the moment at which the instance has passed its health checks (so that
booting is free) until it is asked to end. Nothing else ends it: not a failed health check, not a shutdown inside.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from providers.lambda_cloud.emulator_market import InstanceType, Market
from providers.lambda_cloud.emulator_options import Options
from providers.sandbox.world import World

PROVIDER = "lambda"
_ALIVE = ("booting", "active", "unhealthy", "terminating")
_BILL_STEP_S = 60
_TIMES = ("created_at", "hidden_until", "shown_until")


@dataclass(slots=True)
class Instance:
    """One rented thing. `type` keeps the price of the moment of launch.

    Attributes:
        status: one of Lambda's words.
        due: what will happen to it, and when, in order.
        stuck: how its boot gets stuck: "booting" for ever, or active with "no_ip", or with "no_ssh"; "" if it does not.
        up: whether SSH answers.
        keys: names of the SSH keys, and `authorized` their public keys at the time of launch.
        hidden_until: it is left out of lists until then (`hidden_get`: its own path does not know it either).
        shown_until: an ended one is shown until then.
        device: what `nvidia-smi` shows, if not the type's card.
    """

    id: str
    type: InstanceType
    region: str
    created_at: datetime
    name: str | None = None
    hostname: str | None = None
    keys: list[str] = field(default_factory=list)
    authorized: list[str] = field(default_factory=list)
    tags: list[dict[str, str]] = field(default_factory=list)
    status: str = "booting"
    due: list[tuple[datetime, str]] = field(default_factory=list)
    stuck: str = ""
    up: bool = False
    ip: str | None = None
    private_ip: str | None = None
    jupyter: str | None = None
    hidden_until: datetime | None = None
    hidden_get: bool = False
    shown_until: datetime | None = None
    device: tuple[str, int] | None = None

    @property
    def alive(self) -> bool:
        """Whether it is there; `terminating` still is."""
        return self.status in _ALIVE

    def subject(self) -> str:
        """What a fault's `subject` is looked for in."""
        return f"{self.type.subject(self.region)} {self.name or ''} {self.id}"

    def shown(self, now: datetime) -> bool:
        """Whether the API knows it at *now*."""
        return self.alive or (self.shown_until is not None and now < self.shown_until)

    def hidden(self, now: datetime) -> bool:
        """Whether lists do not show it yet."""
        return self.hidden_until is not None and now < self.hidden_until

    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        state = asdict(self)
        for name in _TIMES:
            state[name] = None if state[name] is None else state[name].isoformat()
        state["due"] = [[when.isoformat(), what] for when, what in self.due]
        state["device"] = None if self.device is None else list(self.device)
        return state

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Instance:
        """The instance that `dump` wrote."""
        values = dict(state)
        for name in _TIMES:
            values[name] = None if values[name] is None else datetime.fromisoformat(values[name])
        values["type"] = InstanceType(**values["type"])
        values["due"] = [(datetime.fromisoformat(when), what) for when, what in values["due"]]
        values["device"] = None if values["device"] is None else tuple(values["device"])
        return cls(**values)


class Fleet:
    """All instances of the one account."""

    def __init__(self, world: World, market: Market, options: Options) -> None:
        self.world = world
        self.market = market
        self.options = options
        self.instances: dict[str, Instance] = {}
        self._living: dict[str, Instance] = {}

    def living(self) -> list[Instance]:
        """Instances that are not over, oldest first."""
        return list(self._living.values())

    def add(self, instance: Instance) -> None:
        """Let a new instance boot. Whatever is to go wrong with it must be settled."""
        self.instances[instance.id] = self._living[instance.id] = instance
        self.market.rented[(instance.type.name, instance.region)] += 1
        if instance.stuck != "booting" and not instance.due:
            self._later(instance, instance.created_at, self.boot_s(instance.type), "active")

    def boot_s(self, of: InstanceType) -> float:
        """Seconds from launch to `active`, before the world's boot scale."""
        return self.options.boot_s + self.options.boot_per_gpu_s * max(0, of.gpus - 1)

    def advance(self) -> None:
        """Play everything that has come due by the world's time, each at its own moment."""
        now = self.world.now()
        for instance in self.living():
            while instance.due and instance.due[0][0] <= now:
                when, what = instance.due.pop(0)
                self._play(instance, what, when)

    def run_at_once(self, instance: Instance) -> None:
        """Skip the boot of a new instance."""
        instance.due.clear()
        for what in ("active", "address", "ssh"):
            self._play(instance, what, self.world.now())
        instance.due.clear()

    # What is done to an instance.

    def terminate(self, instance: Instance) -> None:
        """Begin the end: it bills no more, and is gone a little later."""
        now = self.world.now()
        self._down(instance)
        self.world.ledger.close(PROVIDER, instance.id, at=now)
        instance.status, instance.due = "terminating", []
        self._later(instance, now, self.options.terminate_s, "gone")

    def restart(self, instance: Instance) -> None:
        """Reboot the machine. It stays `active` and bills on; SSH is away meanwhile."""
        if instance.up:
            self._down(instance)
            self._later(instance, self.world.now(), self.options.restart_s, "restarted")

    def lose(self, instance: Instance, how: str = "vanish", recovers_s: float | None = None) -> None:
        """The host is lost.

        Args:
            how: ``vanish`` (known to nobody any more), ``preempted``, ``terminated`` or ``unhealthy``; the last
                one still bills.
            recovers_s: after so many seconds what is unhealthy is well again.
        """
        now = self.world.now()
        if how != "unhealthy":
            self._end(instance, now, how)
            return
        self._down(instance)
        instance.status, instance.due = "unhealthy", []
        if recovers_s is not None:
            instance.due.append((now + timedelta(seconds=recovers_s), "recovered"))

    # What happens by itself.

    def _play(self, instance: Instance, what: str, at: datetime) -> None:
        match what:
            case "active":
                self._activate(instance, at)
            case "address":
                self._place(instance, at)
            case "ssh" | "restarted":
                self._up(instance)
            case "recovered":
                instance.status = "active"
                self._up(instance)
            case "failed-unhealthy":
                instance.status = "unhealthy"
            case _:
                self._end(instance, at, "terminated")

    def _activate(self, instance: Instance, at: datetime) -> None:
        instance.status = "active"
        self.world.ledger.open(
            PROVIDER,
            instance.id,
            at=at,
            usd_per_hour=instance.type.usd_per_hour,
            name=instance.name or "",
            increment_s=_BILL_STEP_S,
        )
        if instance.stuck != "no_ip":
            self._later(instance, at, self.options.address_s, "address")

    def _place(self, instance: Instance, at: datetime) -> None:
        instance.ip = self.world.address()
        instance.jupyter = self.world.letters(32, "0123456789abcdef")
        if self.options.private_ip:
            instance.private_ip = f"10.19.{self.world.random.randint(0, 255)}.{self.world.random.randint(2, 254)}"
        if instance.stuck != "no_ssh":
            self._later(instance, at, self.options.ssh_s, "ssh")

    def _up(self, instance: Instance) -> None:
        instance.up = True
        self._start_machine(instance)

    def _down(self, instance: Instance) -> None:
        instance.up = False
        self.world.machines.stop(f"{PROVIDER}:{instance.id}")

    def _end(self, instance: Instance, at: datetime, how: str) -> None:
        shown = {"preempted": self.options.preempted_shown_s, "terminated": self.options.ended_shown_s}
        self._down(instance)
        self.world.ledger.close(PROVIDER, instance.id, at=at)
        instance.status = how if how in shown else "terminated"
        instance.due = []
        instance.shown_until = at + timedelta(seconds=shown.get(how, 0.0))
        self.market.rented[(instance.type.name, instance.region)] -= 1
        del self._living[instance.id]

    def _later(self, instance: Instance, start: datetime, seconds: float, what: str) -> None:
        instance.due.append((start + timedelta(seconds=seconds * self.world.boot_scale), what))

    def _start_machine(self, instance: Instance) -> None:
        if instance.ip is None:
            return
        gpu, memory_mib = instance.device or (instance.type.device, instance.type.device_mib)
        self.world.machines.start(
            f"{PROVIDER}:{instance.id}",
            host=instance.ip,
            port=22,
            user="ubuntu",
            authorized_keys=list(instance.authorized),
            gpu=gpu,
            memory_mib=memory_mib,
            count=instance.type.gpus,
        )

    # The state as a file.

    def dump(self) -> list[dict[str, Any]]:
        """All instances, ready for JSON."""
        return [instance.dump() for instance in self.instances.values()]

    def load(self, state: list[dict[str, Any]]) -> None:
        """Take over what `dump` gave, and start the machines again."""
        restored = [Instance.restore(row) for row in state]
        self.instances = {instance.id: instance for instance in restored}
        self._living = {key: instance for key, instance in self.instances.items() if instance.alive}
        self.market.rented.clear()
        for instance in self._living.values():
            self.market.rented[(instance.type.name, instance.region)] += 1
            if instance.up:
                self._start_machine(instance)
