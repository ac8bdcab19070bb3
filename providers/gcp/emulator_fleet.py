"""The emulated Google Cloud's machines over time: boot, address, SSH, bill, preemption, end.

Everything happens at its own moment of the world's clock, however rarely somebody looks: `advance` plays all that
has come due. Billing, by Google's page: a VM by the second from RUNNING until it is stopped or gone, 60 s at least;
disks from when they are made until they are deleted, also those of a stopped VM; an external address while in use.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from providers.gcp.emulator_instance import GONE, Disk, Instance, logins
from providers.gcp.emulator_market import Gpu, Market, Shape
from providers.gcp.emulator_operations import Failure, Operations
from providers.gcp.emulator_options import Options
from providers.gcp.emulator_wire import PROVIDER
from providers.sandbox.world import World

_BILL_MINIMUM_S = 60
_PORT = 22


class Fleet:
    """All instances and disks of the one project.

    Args:
        open_port: whether the firewall lets the world in at a port of an instance.
    """

    def __init__(
        self,
        world: World,
        market: Market,
        options: Options,
        operations: Operations,
        open_port: Callable[[Instance, int], bool],
    ) -> None:
        self.world = world
        self.market = market
        self.options = options
        self.operations = operations
        self.open_port = open_port
        self.instances: dict[str, Instance] = {}
        self.disks: dict[str, Disk] = {}
        self._living: dict[str, Instance] = {}
        self._hosts = 0

    # What there is.

    def living(self) -> list[Instance]:
        """Instances that are there, oldest first."""
        return list(self._living.values())

    def find(self, zone: str, name: str) -> Instance | None:
        """A living instance by name or id."""
        found = (one for one in self._living.values() if one.zone == zone and name in (one.name, one.id))
        return next(found, None)

    def disk(self, zone: str, name: str) -> Disk | None:
        """A disk by name or id."""
        found = (one for one in self.disks.values() if one.zone == zone and name in (one.name, one.id) and not one.gone)
        return next(found, None)

    def disks_of(self, instance: Instance) -> list[Disk]:
        """What is attached, the boot disk first."""
        found = [
            disk
            for disk in self.disks.values()
            if (disk.zone, disk.user) == (instance.zone, instance.name) and not disk.gone
        ]
        return sorted(found, key=lambda disk: not disk.boot)

    def shape_of(self, instance: Instance) -> Shape:
        """Its machine type."""
        return self.market.shapes[instance.shape]

    def gpu_of(self, instance: Instance) -> tuple[Gpu | None, int]:
        """Its GPUs, attached or of the machine type."""
        shape = self.shape_of(instance)
        name, count = instance.attached or (shape.gpu, shape.gpus)
        return (self.market.gpus[name], count) if count else (None, 0)

    # A new one.

    def add(self, instance: Instance, disks: list[Disk], *, hold: bool = True) -> None:
        """Let a new instance appear, which takes a machine out of the stock if it is to *hold* one."""
        self.instances[instance.id] = self._living[instance.id] = instance
        self._hosts += 1
        instance.private_ip = f"10.128.{self._hosts >> 8 & 255}.{self._hosts & 255}"
        for disk in disks:
            self.disks[disk.id] = disk
        self._hold(instance, hold)

    def boot(self, instance: Instance, at: datetime) -> None:
        """Plan a boot that will succeed, unless it is stuck or doomed."""
        first = self.options.start_s + (self.options.flex_s if instance.model == "FLEX_START" else 0)
        if instance.model == "FLEX_START":
            instance.status = "PENDING"
            self._later(instance, at, first, "provision")
        self._later(instance, at, first + self.options.provision_s, "stage")
        if instance.stuck != "operation":
            self._later(instance, at, first + self.options.provision_s + self.options.stage_s, "run")

    def boot_s(self, model: str) -> float:
        """Seconds from insert to RUNNING, before the world's boot scale."""
        options = self.options
        wait = options.flex_s if model == "FLEX_START" else 0.0
        return options.start_s + wait + options.provision_s + options.stage_s

    def run_at_once(self, instance: Instance) -> None:
        """Skip the boot of a new instance."""
        instance.due.clear()
        for what in ("stage", "run", "ssh"):
            self._play(instance, what, self.world.now())
        instance.due = [one for one in instance.due if one[1] == "expire"]

    def plan_stockout(self, instance: Instance, at: datetime) -> None:
        """Its insert will fail; until then it is seen as PROVISIONING."""
        self._later(instance, at, self.options.stockout_s, "refused")

    # What is done to an instance.

    def delete(self, instance: Instance) -> None:
        """Begin the end. The operation is the caller's."""
        insert = self.operations.all.get(instance.insert)
        now = self.world.now()
        if insert is not None and not insert.done:
            # What an insert says whose instance was deleted meanwhile is not documented.
            gone = Failure("RESOURCE_NOT_FOUND", f"The resource '{instance.path}' was not found", 404)
            self.operations.end(insert, gone, now)
        self._down(instance)
        instance.status = "STOPPING"
        instance.due = [(now + self._scaled(self.options.delete_s), "deleted")]

    def stop(self, instance: Instance) -> None:
        """Begin to stop; it ends as TERMINATED, and its disks bill on."""
        self._down(instance)
        instance.status = "STOPPING"
        instance.due = [(self.world.now() + self._scaled(self.options.stop_s), "stopped")]

    def start(self, instance: Instance) -> None:
        """Begin to start a stopped one."""
        instance.status, instance.due = "PROVISIONING", []
        self._hold(instance, True)
        self.boot(instance, self.world.now())

    def delete_disk(self, disk: Disk, at: datetime) -> None:
        """A disk is gone, and bills no more."""
        disk.gone = True
        self.world.ledger.close(PROVIDER, disk.owner, at=at, what=disk.line)

    def preempt(self, instance: Instance, notice_s: float) -> None:
        """Spot takes it back: soft off now, the end after *notice_s*."""
        now = self.world.now()
        self.operations.event(
            "compute.instances.preempted",
            instance.project,
            instance.zone,
            instance.path,
            instance.id,
            at=now,
            text="Instance was preempted.",
        )
        if notice_s > 0:
            instance.status = "STOPPING"
            instance.due = [(now + timedelta(seconds=notice_s), "preempted")]
        else:
            self._ended(instance, now)

    def host_error(self, instance: Instance, *, restart: bool = True) -> None:
        """Its host is lost. A VM that restarts by itself is repaired, any other one is TERMINATED."""
        now = self.world.now()
        text = "Instance terminated by Compute Engine."
        kind = "compute.instances.hostError"
        self.operations.event(kind, instance.project, instance.zone, instance.path, instance.id, at=now, text=text)
        if not (restart and instance.scheduling.get("automaticRestart")):
            self._stopped(instance, now)
            return
        self._down(instance)
        for what in ("compute", "address"):
            self.world.ledger.close(PROVIDER, instance.id, at=now, what=what)
        instance.status, instance.due = "REPAIRING", []
        self._later(instance, now, self.options.provision_s + self.options.stage_s, "run")

    # What happens by itself.

    def advance(self) -> None:
        """Play everything that has come due by the world's time, each at its own moment."""
        now = self.world.now()
        for instance in self.living():
            while instance.due and instance.due[0][0] <= now:
                when, what = instance.due.pop(0)
                self._play(instance, what, when)

    def _play(self, instance: Instance, what: str, at: datetime) -> None:
        match what:
            case "provision":
                instance.status = "PROVISIONING"
            case "stage":
                self._stage(instance, at)
            case "run":
                self._run(instance, at)
            case "ssh":
                self._up(instance)
            case "refused":
                self._vanish(instance, at, all_disks=True)
            case "host":
                if instance.spot:
                    self.preempt(instance, 0)
                else:
                    self.host_error(instance, restart=False)
            case "stopped":
                self._stopped(instance, at)
            case "deleted":
                self._vanish(instance, at)
            case _:  # preempted, expire
                self._over(instance, what, at)

    def _over(self, instance: Instance, what: str, at: datetime) -> None:
        if what == "expire":
            # The name of this event is a guess; that it happens is documented.
            kind = "compute.instances.scheduledVMTermination"
            text = "Instance reached its maximum run duration."
            self.operations.event(kind, instance.project, instance.zone, instance.path, instance.id, at=at, text=text)
        self._ended(instance, at)

    def _ended(self, instance: Instance, at: datetime) -> None:
        """By its termination action: gone, or stopped."""
        if instance.scheduling.get("instanceTerminationAction") == "DELETE":
            self._vanish(instance, at)
        else:
            self._stopped(instance, at)

    def _stage(self, instance: Instance, at: datetime) -> None:
        instance.status = "STAGING"
        for disk in self.disks_of(instance):
            if not any(line.what == disk.line for line in self.world.ledger.of(PROVIDER, disk.owner)):
                usd = self.market.disk_usd_per_hour(disk.kind, disk.size_gb, disk.zone)
                self.world.ledger.open(
                    PROVIDER, disk.owner, at=at, usd_per_hour=usd, name=instance.name, what=disk.line
                )
        if instance.nat is not None and instance.stuck != "no_ip":
            instance.nat_ip = instance.nat_ip or self.world.address()

    def _run(self, instance: Instance, at: datetime) -> None:
        instance.status, instance.started_at = "RUNNING", at
        shape = self.shape_of(instance)
        usd = self.market.usd_per_hour(shape, instance.zone, spot=instance.spot, attached=instance.attached)
        ledger = self.world.ledger
        ledger.open(PROVIDER, instance.id, at=at, usd_per_hour=usd, name=instance.name, minimum_s=_BILL_MINIMUM_S)
        if instance.nat_ip is not None:
            usd = self.market.address_usd_per_hour(spot=instance.spot)
            ledger.open(PROVIDER, instance.id, at=at, usd_per_hour=usd, name=instance.name, what="address")
        if instance.stuck != "no_ssh" and not instance.doomed:
            self._later(instance, at, self.options.ssh_s, "ssh")
        if instance.doomed:
            self._insert(instance, at + timedelta(seconds=float(instance.doomed)), "host")
        if duration := instance.scheduling.get("maxRunDuration"):
            self._insert(instance, at + timedelta(seconds=int(duration["seconds"])), "expire")

    def _up(self, instance: Instance) -> None:
        instance.up = True
        self.reach(instance)

    def reach(self, instance: Instance) -> None:
        """Let SSH answer, or not, as the firewall and the metadata have it."""
        key = f"{PROVIDER}:{instance.id}"
        user = logins(instance.metadata)
        if not instance.up or instance.nat_ip is None or user is None or not self.open_port(instance, _PORT):
            self.world.machines.stop(key)
            return
        gpu, count = self.gpu_of(instance)
        device = (
            instance.device
            or self.shape_of(instance).share_device
            or ((gpu.device, gpu.device_mib) if gpu is not None else ("", 0))
        )
        self.world.machines.start(
            key,
            host=instance.nat_ip,
            port=_PORT,
            user=user[0],
            authorized_keys=list(user[1]),
            gpu=device[0],
            memory_mib=device[1],
            count=count,
        )

    def _down(self, instance: Instance) -> None:
        instance.up = False
        self.world.machines.stop(f"{PROVIDER}:{instance.id}")

    def _stopped(self, instance: Instance, at: datetime) -> None:
        self._down(instance)
        self._hold(instance, False)
        for what in ("compute", "address"):
            self.world.ledger.close(PROVIDER, instance.id, at=at, what=what)
        instance.status, instance.stopped_at, instance.due, instance.nat_ip = "TERMINATED", at, [], None

    def _vanish(self, instance: Instance, at: datetime, *, all_disks: bool = False) -> None:
        self._down(instance)
        self._hold(instance, False)
        for what in ("compute", "address"):
            self.world.ledger.close(PROVIDER, instance.id, at=at, what=what)
        for disk in self.disks_of(instance):
            disk.user = None
            if disk.auto_delete or all_disks:
                self.delete_disk(disk, at)
        instance.status, instance.due, instance.nat_ip = GONE, [], None
        self._living.pop(instance.id, None)

    def _hold(self, instance: Instance, held: bool) -> None:
        """Take a machine out of the stock, or give it back."""
        self.market.rented[(instance.zone, instance.shape, instance.model)] += held - instance.held
        instance.held = held

    def _scaled(self, seconds: float) -> timedelta:
        return timedelta(seconds=seconds * self.world.boot_scale)

    def _later(self, instance: Instance, start: datetime, seconds: float, what: str) -> None:
        self._insert(instance, start + self._scaled(seconds), what)

    def _insert(self, instance: Instance, when: datetime, what: str) -> None:
        instance.due.append((when, what))
        instance.due.sort(key=lambda one: one[0])

    # The state as a file.

    def dump(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "hosts": self._hosts,
            "instances": [instance.dump() for instance in self.instances.values()],
            "disks": [disk.dump() for disk in self.disks.values()],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave, and start the machines again."""
        self._hosts = state["hosts"]
        restored = [Instance.restore(row) for row in state["instances"]]
        self.instances = {instance.id: instance for instance in restored}
        self._living = {instance.id: instance for instance in restored if instance.alive}
        self.disks = {row["id"]: Disk.restore(row) for row in state["disks"]}
        self.market.rented.clear()
        for instance in self._living.values():
            self.market.rented[(instance.zone, instance.shape, instance.model)] += instance.held
            self.reach(instance)
