"""The emulated Fluence's instances over time: boot, bill, end; and the one account that pays for them.

Everything happens at its own moment of the world's clock, in order, however rarely somebody looks: `advance`
plays all that has come due since the last look. Money is Decimal and is never rounded here.

Billing, by Fluence's pages: UTC clock hours, prepaid. At create three hours leave the balance: one is
charged, two are the instance's reserve. At each full hour one is charged to the reserve, which is then
filled up from the balance; the first charge that the reserve cannot pay ends the instance. What is left
of the reserve comes back at the end; a launch that fails is refunded whole. The charge is taken one
second into the hour, so that a machine that ends on the stroke of the hour does not pay for the next one,
as the sandbox's ledger counts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from providers.fluence.emulator_market import UPFRONT_HOURS, Plan
from providers.fluence.emulator_options import Options
from providers.sandbox.world import World

_HOUR = timedelta(hours=1)
_CHARGE_DELAY = timedelta(seconds=1)


class NoBalance(Exception):
    """The account cannot pay the three hours that a create takes."""


@dataclass(slots=True)
class Instance:
    """One rented thing. `plan` keeps the price of the moment of create.

    Attributes:
        state: INITIALIZED, ACTIVE, FAILED or ENDED.
        turns_at, turns_to: when it leaves INITIALIZED, and for which state; None: never.
        ready_at: when it gets its address (VM) or its container starts; None: it is, or never will be.
        started, started_at: whether SSH answers, and a container runs; and since when it first did.
        address, ports, uri: where it is, the outer port of each ``22/tcp``, and the address of http port 80.
        pod: the container's name in its logs.
        stuck, stuck_event: it becomes ACTIVE but never gets ready, and what its events say of that.
        spent, reserve: USDC charged so far, and held for the next charges.
        hidden_until, hidden_lists: it is left out of lists until then, and from so many of them.
        device: what `nvidia-smi` shows, if not the plan's card.
    """

    id: str
    kind: str
    name: str
    plan: Plan
    location: str
    created_at: datetime
    updated_at: datetime
    next_charge: datetime
    ssh_key: str | None = None
    os_image: str | None = None
    container: dict[str, Any] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    uri: str | None = None
    pod: str = ""
    state: str = "INITIALIZED"
    turns_at: datetime | None = None
    turns_to: str = "ACTIVE"
    active_at: datetime | None = None
    stuck: bool = False
    stuck_event: str | None = None
    ready_at: datetime | None = None
    started: bool = False
    started_at: datetime | None = None
    address: str | None = None
    spent: Decimal = Decimal(0)
    reserve: Decimal = Decimal(0)
    hidden_until: datetime | None = None
    hidden_lists: int = 0
    device: tuple[str, int] | None = None

    @property
    def alive(self) -> bool:
        """Whether it is, or will be, there; and so whether it bills."""
        return self.state in ("INITIALIZED", "ACTIVE")

    @property
    def rolling(self) -> bool:
        """Whether a container is just being rolled out, so that it takes no update."""
        return self.state == "ACTIVE" and self.ready_at is not None

    def subject(self) -> str:
        """What a fault's `subject` is looked for in."""
        return f"{self.plan.subject(self.location)} {self.id} {self.name}"

    def next_event(self) -> tuple[datetime, str]:
        """When something happens to this living instance next, and what."""
        due = [(self.next_charge + _CHARGE_DELAY, "charge")]
        if self.state == "INITIALIZED" and self.turns_at is not None:
            due.append((self.turns_at, "turn"))
        if self.state == "ACTIVE" and self.ready_at is not None:
            due.append((self.ready_at, "ready"))
        return min(due)

    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Instance:
        """The instance that `dump` wrote."""
        values = dict(state)
        plan = dict(values["plan"])
        plan["usd_per_hour"] = Decimal(plan["usd_per_hour"])
        plan["locations"], plan["os_options"] = tuple(plan["locations"]), tuple(plan["os_options"])
        values["plan"] = Plan(**plan)
        for part in fields(cls):
            value = values[part.name]
            if value is not None and part.name.endswith(("_at", "_until", "next_charge")):
                values[part.name] = datetime.fromisoformat(value)
        values["spent"], values["reserve"] = Decimal(values["spent"]), Decimal(values["reserve"])
        values["device"] = tuple(values["device"]) if values["device"] else None
        return cls(**values)


class Fleet:
    """All instances of the one account, and its balance in USDC."""

    def __init__(self, world: World, options: Options) -> None:
        self.world = world
        self.options = options
        self.balance = options.balance
        self.deposited = options.balance
        self.instances: dict[str, Instance] = {}
        self._living: dict[str, Instance] = {}

    def living(self) -> list[Instance]:
        """Instances that are not over, oldest first."""
        return list(self._living.values())

    def later(self, seconds: float) -> datetime:
        """The moment in *seconds* of the provider's usual time, shortened by the world's boot scale."""
        return self.world.now() + timedelta(seconds=seconds * self.world.boot_scale)

    # The account.

    def credit(self, usdc: Decimal) -> None:
        """Put money into the account; reserves that ran low are filled up at once."""
        self.balance += usdc
        for instance in self._living.values():
            self._fill(instance)

    def deposit(self, usdc: Decimal) -> None:
        """The owner of the account pays money in."""
        self.deposited += usdc
        self.credit(usdc)

    def affordable(self, plan: Plan) -> bool:
        """Whether the balance holds the hours that a create takes."""
        return self.balance >= UPFRONT_HOURS * plan.usd_per_hour

    def _fill(self, instance: Instance) -> None:
        target = (UPFRONT_HOURS - 1) * instance.plan.usd_per_hour
        amount = max(Decimal(0), min(self.balance, target - instance.reserve))
        self.balance -= amount
        instance.reserve += amount

    # An instance's life.

    def create(self, plan: Plan, name: str, location: str) -> Instance:
        """A new instance, paid for, that boots.

        Raises:
            NoBalance: the account cannot pay; nothing happened.
        """
        if not self.affordable(plan):
            raise NoBalance
        now = self.world.now()
        instance = Instance(
            id=self.world.uuid(),
            kind=plan.kind,
            name=name,
            plan=plan,
            location=location,
            created_at=now,
            updated_at=now,
            next_charge=now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + _HOUR,
            turns_at=self.later(self.options.boot_s),
            pod=f"service-1-{self.world.letters(10)}-{self.world.letters(5)}",
        )
        self.balance -= UPFRONT_HOURS * plan.usd_per_hour
        instance.spent = plan.usd_per_hour
        instance.reserve = (UPFRONT_HOURS - 1) * plan.usd_per_hour
        self.instances[instance.id] = self._living[instance.id] = instance
        self.world.ledger.open(
            "fluence",
            instance.id,
            at=now,
            usd_per_hour=plan.usd_per_hour,
            name=name,
            increment_s=3600,
            clock=True,
        )
        return instance

    def advance(self) -> None:
        """Play everything that has come due by the world's time, each at its own moment."""
        now = self.world.now()
        while self._living:
            (when, what), instance = min(((i.next_event(), i) for i in self._living.values()), key=lambda pair: pair[0])
            if when > now:
                return
            if what == "charge":
                self._charge(instance, when)
            elif what == "turn":
                self._turn(instance, when)
            else:
                self._ready(instance, when)

    def end(self, instance: Instance, at: datetime, state: str = "ENDED") -> None:
        """End a living instance at *at*: no more charges, the reserve comes back, the machine is gone.

        ENDED keeps what was charged; FAILED gives that back as well.
        """
        instance.state, instance.updated_at = state, at
        instance.turns_at = instance.ready_at = instance.address = instance.uri = None
        instance.started = False
        instance.ports = {}
        del self._living[instance.id]
        self.world.machines.stop(f"fluence:{instance.id}")
        refund, instance.reserve = instance.reserve, Decimal(0)
        if state == "FAILED":
            refund += instance.spent
            instance.spent = Decimal(0)
            self.world.ledger.void("fluence", instance.id, at=at)
        else:
            self.world.ledger.close("fluence", instance.id, at=at)
        self.credit(refund)

    def update(self, instance: Instance, name: str, container: dict[str, Any], ssh_key: str | None) -> None:
        """Replace a container's settings; its ports stay, and it is down while it is rolled out."""
        instance.name, instance.container, instance.ssh_key = name, container, ssh_key
        instance.updated_at = self.world.now()
        instance.started = False
        self.world.machines.stop(f"fluence:{instance.id}")
        instance.ready_at = None if instance.stuck else self.later(self.options.update_s)

    def run_at_once(self, instance: Instance) -> None:
        """Skip the boot of a new instance."""
        now = self.world.now()
        self._turn(instance, now)
        self._ready(instance, now)

    def _charge(self, instance: Instance, when: datetime) -> None:
        price = instance.plan.usd_per_hour
        if instance.reserve < price:
            # The hour that was paid for is over, and the next one is not paid: the end is at the full hour.
            self.end(instance, instance.next_charge)
            instance.updated_at = when
            return
        instance.reserve -= price
        instance.spent += price
        instance.next_charge += _HOUR
        self._fill(instance)

    def _turn(self, instance: Instance, when: datetime) -> None:
        if instance.turns_to == "FAILED":
            self.end(instance, when, "FAILED")
            return
        instance.state = "ACTIVE"
        instance.active_at = instance.updated_at = when
        instance.turns_at = None
        wait = timedelta(seconds=self.options.ready_s * self.world.boot_scale)
        instance.ready_at = None if instance.stuck else when + wait

    def _ready(self, instance: Instance, when: datetime) -> None:
        instance.ready_at = None
        instance.started = True
        instance.started_at = instance.started_at or when
        instance.updated_at = when
        if instance.address is None:
            self._place(instance)
        self.start_machine(instance)

    def _place(self, instance: Instance) -> None:
        instance.address = self.world.address()
        for item in instance.container.get("expose", []):
            if item["protocol"] == "http":
                instance.uri = f"{self.world.letters(26)}.ingress.invalid"
                continue
            port = self.world.random.randint(30000, 32767)
            while port in instance.ports.values():
                port = self.world.random.randint(30000, 32767)
            instance.ports[f"{item['port']}/{item['protocol']}"] = port

    def start_machine(self, instance: Instance) -> None:
        """Let SSH answer for a started instance, if it has a way in at all."""
        port = instance.ports.get("22/tcp") if instance.kind == "containers" else instance.plan.ssh_port
        if not instance.started or instance.address is None or port is None:
            return
        gpu, memory_mib = instance.device or (instance.plan.device, instance.plan.device_mib)
        self.world.machines.start(
            f"fluence:{instance.id}",
            host=instance.address,
            port=port,
            user="root" if instance.kind == "containers" else instance.plan.ssh_user,
            authorized_keys=[instance.ssh_key] if instance.ssh_key else [],
            gpu=gpu,
            memory_mib=memory_mib,
            count=instance.plan.gpus,
            env=environment(instance),
        )

    # The state as a file.

    def dump(self) -> dict[str, Any]:
        """Balance and instances, ready for JSON."""
        return {
            "balance": str(self.balance),
            "deposited": str(self.deposited),
            "instances": [instance.dump() for instance in self.instances.values()],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave, and start the machines again."""
        self.balance, self.deposited = Decimal(state["balance"]), Decimal(state["deposited"])
        restored = [Instance.restore(part) for part in state["instances"]]
        self.instances = {instance.id: instance for instance in restored}
        self._living = {key: instance for key, instance in self.instances.items() if instance.alive}
        for instance in self._living.values():
            self.start_machine(instance)


def environment(instance: Instance) -> dict[str, str]:
    """A container's environment as the program in it sees it: its own, and the key as SSH_PUBKEY."""
    found = {item["name"]: item["value"] for item in instance.container.get("environment", [])}
    if instance.kind == "containers" and instance.ssh_key:
        found["SSH_PUBKEY"] = instance.ssh_key
    return found


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
