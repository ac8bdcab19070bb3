"""The emulated AWS's instances over time: boot, bill, stop, end, be taken.

Everything happens at its own moment of the world's clock, in order, however rarely somebody looks.

Billing, by AWS's pages: compute per second with a minimum of 60 seconds for every start, from `running` to the
order to end or stop (nothing while pending, stopping or shutting down); EBS from create to delete, by the GB-month
of 730 hours; a public IPv4 address for as long as it is attached. A spot instance keeps the price of its launch here;
AWS moves it with the market.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from providers.aws.emulator_instance import Disk, Instance
from providers.aws.emulator_market import Market, Place
from providers.aws.emulator_network import Network
from providers.aws.emulator_options import Options
from providers.sandbox.world import World

_HOURS_A_MONTH = 730
_PROVIDER = "aws"


class Fleet:
    """All instances of all accounts, and the tokens that launches were sent with.

    Attributes:
        tokens: (account, region, zone or "", token) to what was asked then and the reservation that came of it.
    """

    def __init__(self, world: World, options: Options, market: Market, network: Network) -> None:
        self.world = world
        self.options = options
        self.market = market
        self.network = network
        self.instances: dict[str, Instance] = {}
        self.tokens: dict[tuple[str, str, str, str], tuple[str, str]] = {}
        self._restless: dict[str, Instance] = {}

    # What there is.

    def seen(self, account: str, region: str) -> list[Instance]:
        """The instances that answers show now, oldest first."""
        now = self.world.now()
        forgotten = now - timedelta(seconds=self.options.visible_s)
        return [
            one
            for one in self.instances.values()
            if (one.account, one.region) == (account, region)
            and not one.hidden(now)
            and (one.ended_at is None or one.ended_at > forgotten)
        ]

    def of_reservation(self, reservation: str) -> list[Instance]:
        """The instances of one launch."""
        return [one for one in self.instances.values() if one.reservation == reservation]

    def free(self, place: Place, *, spot: bool) -> int:
        """How many more there are of a type in a zone."""
        taken = sum(
            1
            for one in self._restless.values()
            if (one.kind, one.zone, one.spot) == (place.kind.name, place.zone, spot) and one.state != "terminated"
        )
        return max(0, self.market.stock(place, spot=spot) - taken)

    def vcpus(self, account: str, region: str, quota: str) -> int:
        """The vCPUs in use that count against a quota."""
        return sum(
            kind.vcpus
            for one in self._restless.values()
            if (one.account, one.region) == (account, region)
            and one.state in ("pending", "running", "shutting-down")
            and (kind := self.market.kinds[one.kind]).quota(spot=one.spot) == quota
        )

    # An instance's life.

    def later(self, seconds: float, start: datetime | None = None) -> datetime:
        """The moment in *seconds* of AWS's usual time, shortened by the world's boot scale."""
        return (start or self.world.now()) + timedelta(seconds=seconds * self.world.boot_scale)

    def add(self, instance: Instance) -> None:
        """Take in a new, pending instance; its disks bill from now on."""
        self.instances[instance.id] = self._restless[instance.id] = instance
        instance.turns_at = self.later(self.options.pending_s)
        if self.options.list_lag_s:
            instance.hidden_until = self.world.now() + timedelta(seconds=self.options.list_lag_s)
        for disk in instance.disks:
            self._bill(instance, disk.what(instance.root), self._disk_rate(instance, disk), self.world.now())

    def advance(self) -> None:
        """Play everything that has come due by the world's time, each at its own moment."""
        now = self.world.now()
        while True:
            due = [(event, one.id) for one in self._restless.values() if (event := one.next_event()) is not None]
            if not due:
                return
            (when, what), key = min(due)
            if when > now:
                return
            instance = self.instances[key]
            match what:
                case "turn":
                    self._turn(instance, when)
                case "ready":
                    instance.ready_at, instance.ready = None, True
                    if instance.guest_off_s is not None:
                        instance.guest_off_at = when + timedelta(seconds=instance.guest_off_s)
                    self.sync_machine(instance)
                case "taken":
                    self.end(instance, when, "Server.SpotInstanceTermination")
                case _:
                    self.guest_off(instance, when)

    def _turn(self, instance: Instance, when: datetime) -> None:
        instance.turns_at = None
        match instance.turns_to:
            case "running":
                self._run(instance, when)
            case "stopped":
                instance.state = "stopped"
            case _:
                self._terminated(instance, when)

    def _run(self, instance: Instance, when: datetime) -> None:
        instance.state, instance.running_at = "running", when
        instance.reason, instance.reason_at = "", None
        self._bill(instance, "compute", instance.usd, when, minimum_s=60)
        if instance.public:
            instance.address = self.world.address()
            self._bill(instance, "address", Decimal(self.market.fees["public_ipv4"]), when, minimum_s=60)
        if not instance.stuck:
            instance.ready_at = self.later(self.options.ready_s, when)

    def run_at_once(self, instance: Instance) -> None:
        """Skip the boot of a new instance."""
        now = self.world.now()
        instance.turns_at = None
        self._run(instance, now)
        instance.ready_at, instance.ready = None, True
        self.sync_machine(instance)

    def end(self, instance: Instance, when: datetime, reason: str, *, at_once: bool = False) -> None:
        """Begin the end of an instance for *reason*: compute and address bill no more; so do the disks at its end."""
        if not instance.alive:
            return
        self._halt(instance, when, reason)
        instance.state, instance.turns_to = "shutting-down", "terminated"
        if instance.spot:
            taken = reason == "Server.SpotInstanceTermination"
            instance.spot_status = "instance-terminated-" + ("no-capacity" if taken else "by-user")
        if at_once:
            self._terminated(instance, when)
        else:
            instance.turns_at = self.later(self.options.shutting_down_s, when)

    def stop(self, instance: Instance, when: datetime, reason: str) -> None:
        """Stop a running instance; its disks bill on."""
        self._halt(instance, when, reason)
        instance.state, instance.turns_to = "stopping", "stopped"
        instance.turns_at = self.later(self.options.shutting_down_s, when)

    def start(self, instance: Instance, when: datetime) -> None:
        """Start a stopped instance; it gets another public address."""
        instance.state, instance.turns_to = "pending", "running"
        instance.launched_at = when
        instance.turns_at = self.later(self.options.pending_s, when)

    def guest_off(self, instance: Instance, when: datetime) -> None:
        """The machine shuts itself down: what its InstanceInitiatedShutdownBehavior says."""
        instance.guest_off_at = None
        if instance.state != "running":
            return
        if instance.on_shutdown == "terminate" or instance.spot:
            self.end(instance, when, "Client.InstanceInitiatedShutdown")
        else:
            self.stop(instance, when, "Client.InstanceInitiatedShutdown")

    def take(self, instance: Instance, notice_s: float) -> None:
        """Spot takes an instance *notice_s* from now; its request says so at once."""
        now = self.world.now()
        instance.spot_status = "instance-terminated-no-capacity"
        instance.taken_at = now + timedelta(seconds=notice_s)

    def _halt(self, instance: Instance, when: datetime, reason: str) -> None:
        instance.ready_at = instance.guest_off_at = instance.taken_at = None
        instance.ready = False
        instance.reason, instance.reason_at = reason, when
        instance.address = None
        self.world.machines.stop(f"aws:{instance.id}")
        for what in ("compute", "address"):
            self.world.ledger.close(_PROVIDER, instance.id, at=when, what=what)

    def _terminated(self, instance: Instance, when: datetime) -> None:
        if not instance.reason or instance.state == "pending":
            instance.reason, instance.reason_at = instance.reason or "Server.InternalError", when
        instance.state, instance.ended_at, instance.turns_at = "terminated", when, None
        del self._restless[instance.id]
        for disk in instance.disks:
            if disk.with_instance and disk.deleted_at is None:
                self.delete_disk(instance, disk, when)

    def delete_disk(self, instance: Instance, disk: Disk, when: datetime) -> None:
        """A volume is gone, and bills no more."""
        disk.deleted_at = when
        self.world.ledger.close(_PROVIDER, instance.id, at=when, what=disk.what(instance.root))

    # Money and machines.

    def _disk_rate(self, instance: Instance, disk: Disk) -> Decimal:
        return self.market.regions[instance.region].gp3 * disk.size_gb / _HOURS_A_MONTH

    def _bill(self, instance: Instance, what: str, usd: Decimal, when: datetime, minimum_s: int = 60) -> None:
        self.world.ledger.open(
            _PROVIDER,
            instance.id,
            at=when,
            usd_per_hour=usd,
            name=instance.name,
            account=instance.account,
            what=what,
            minimum_s=minimum_s,
        )

    def sync_machine(self, instance: Instance) -> None:
        """Let SSH answer if the instance is up, has a public address and a group that lets the world in at 22."""
        key = f"aws:{instance.id}"
        open_ = self.network.opens_ssh(instance.account, instance.region, instance.groups)
        if not (instance.state == "running" and instance.ready and instance.address and open_):
            self.world.machines.stop(key)
            return
        kind = self.market.kinds[instance.kind]
        gpu, memory_mib = instance.device or (kind.device, kind.device_mib)
        self.world.machines.start(
            key,
            host=instance.address,
            port=22,
            user=instance.user,
            authorized_keys=list(instance.keys),
            gpu=gpu,
            memory_mib=memory_mib,
            count=kind.logical_gpus,
        )

    def sync_machines(self) -> None:
        """The same for all, after a security group changed."""
        for instance in self._restless.values():
            if instance.ready:
                self.sync_machine(instance)

    # The state as a file.

    def dump(self) -> dict[str, Any]:
        """Instances and tokens, ready for JSON."""
        return {
            "instances": [instance.dump() for instance in self.instances.values()],
            "tokens": [[*key, *value] for key, value in self.tokens.items()],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave, and start the machines again."""
        restored = [Instance.restore(part) for part in state["instances"]]
        self.instances = {instance.id: instance for instance in restored}
        self._restless = {key: one for key, one in self.instances.items() if one.state != "terminated"}
        self.tokens = {(a, r, z, t): (asked, made) for a, r, z, t, asked, made in state["tokens"]}
        for instance in self._restless.values():
            self.sync_machine(instance)
