"""What happens to pods over time: boot, fail, stop, start, restart, end, and what each of it bills.

Sources: docs.runpod.io pods/pricing (per second; container disk 0.10 USD per GB and month, nothing while stopped;
host volume 0.10 running, 0.20 stopped; at a balance of 0 pods without a network volume are terminated; the charge
runs every 5 minutes) and the API description's actions.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from providers.runpod.emulator_market import Market
from providers.runpod.emulator_pods import Pod, State
from providers.runpod.emulator_wire import HOST_FULL, Refusal
from providers.sandbox.world import World

PROVIDER = "runpod"
CHARGE_EVERY_S = 300
_INTERNAL_HTTP = 19123  # every recorded pod also maps this port of RunPod's own


class Lifecycle:
    """All pods of all accounts, dead ones too, by id in the order of their creation."""

    def __init__(self, world: World, market: Market) -> None:
        self.world = world
        self.market = market
        self.pods: dict[str, Pod] = {}
        self.live: dict[str, Pod] = {}
        self.charged_at = world.now()

    # Beginnings.

    def add(self, pod: Pod) -> None:
        """Take *pod* up: its GPUs are taken, and it bills from `created_at`."""
        self.pods[pod.id] = self.live[pod.id] = pod
        self.market.rented[(pod.gpu, pod.cloud, pod.place)] += pod.count
        self._open(pod, "compute", pod.usd_per_hour, pod.created_at)
        self._open(pod, "disk", self.market.disk_usd(pod.disk), pod.created_at)
        if size := _volume_gb(pod):
            self._open(pod, "volume", self.market.volume_usd(size, running=True), pod.created_at)
        pod.say(pod.created_at, "system", f"create container {pod.image}")

    def boot_s(self) -> float:
        """Seconds from create to reachable."""
        return self.market.wire.boot_s * self.world.boot_scale

    # Time.

    def advance(self) -> None:
        """Bring every live pod to the state it has now, and charge the accounts when it is time."""
        now = self.world.now()
        for pod in list(self.live.values()):
            if pod.state == "booting":
                self._boot(pod, now)
            elif pod.restart_until is not None and now >= pod.restart_until:
                self._connect(pod, pod.restart_until)
        if (now - self.charged_at).total_seconds() >= CHARGE_EVERY_S:
            self.charged_at = now
            for account in sorted({pod.account for pod in self.live.values()}):
                if self.balance(account) <= 0:
                    self._evict(account)

    def balance(self, account: str) -> Decimal:
        """What is left of the account's credit, USD."""
        now = self.world.now().timestamp()
        lines = self.world.ledger.lines
        spent = (line.usd(now) for line in lines if (line.provider, line.account) == (PROVIDER, account))
        return self.market.balance_usd - sum(spent, Decimal(0))

    def _boot(self, pod: Pod, now: datetime) -> None:
        if pod.fails_at is not None and now >= pod.fails_at:
            pod.say(pod.fails_at, "system", "error: container stopped while starting")
            self._fall(pod, pod.fails_as, pod.fails_at)
            pod.fails_at = None
        elif pod.ready_at is not None and now >= pod.ready_at:
            self._connect(pod, pod.ready_at)

    def _connect(self, pod: Pod, at: datetime) -> None:
        self.world.machines.stop(self._key(pod))
        pod.state, pod.started_at, pod.restart_until = "ready", at, None
        pod.address = pod.address or self.world.address()
        pod.global_ip = self._private_ip("10.65") if pod.global_networking else None
        pod.mapping = [self._mapped(pod, port) for port in pod.ports if pod.stuck != "no_address"]
        pod.mapping.append(self._mapped(pod, f"{_INTERNAL_HTTP}/http"))
        pod.say(at, "system", "start container")
        pod.say(at, "container", "Container is running.")
        self.start_machine(pod)

    def _mapped(self, pod: Pod, port: str) -> dict[str, Any]:
        text, _, kind = port.partition("/")
        private, public = int(text), self.world.random.randint(10000, 64999)
        ip = pod.address if kind == "tcp" else self._private_ip("100.65")
        # A number above 70000 asks for the same port inside and outside.
        return {"ip": ip, "private": public if private > 70000 else private, "public": public, "type": kind}

    def _private_ip(self, prefix: str) -> str:
        return f"{prefix}.{self.world.random.randint(0, 255)}.{self.world.random.randint(1, 254)}"

    # Actions.

    def stop(self, pod: Pod, *, at: datetime) -> None:
        """Stop *pod*: its GPUs are free for others, its compute bills no more."""
        pod.say(at, "system", "stop container")
        self._fall(pod, "exited", at)

    def start(self, pod: Pod, *, at: datetime, full: bool) -> None:
        """Start a stopped or failed pod on the host that it is tied to.

        Args:
            full: a fault says that the host has no GPU left.

        Raises:
            Refusal: the host has not enough free GPUs.
        """
        gpu = self.market.gpus.get(pod.gpu)
        free = 0 if gpu is None else self.market.free(gpu, pod.cloud, pod.place)
        if full or (pod.state == "exited" and free < pod.count):
            raise Refusal(400, HOST_FULL)
        if pod.state == "exited":
            self.market.rented[(pod.gpu, pod.cloud, pod.place)] += pod.count
            self._open(pod, "compute", pod.usd_per_hour, at)
            self._rate_storage(pod, at, running=True)
        pod.state, pod.boot_from, pod.dark = "booting", at, False
        pod.ready_at = None if pod.stuck == "silent" else at + timedelta(seconds=self.boot_s())
        pod.say(at, "system", "start container")

    def restart(self, pod: Pod, *, at: datetime) -> None:
        """Restart the container in place: a new port, while the old one is shown for a little longer."""
        if pod.state != "ready":
            return
        self.world.machines.stop(self._key(pod))
        wait = self.market.wire.restart_s * self.world.boot_scale
        pod.restart_until = at + timedelta(seconds=wait)
        pod.say(at, "system", "restart container")

    def resize(self, pod: Pod, *, at: datetime) -> None:
        """The disks changed size, so they bill otherwise from now on."""
        self._rate_storage(pod, at, running=pod.state != "exited")

    def terminate(self, pod: Pod, *, at: datetime) -> None:
        """The end of *pod* and of everything that it bills. Nothing happens to one that has ended."""
        if not pod.alive:
            return
        self._leave(pod)
        pod.state = "terminated"
        self.world.ledger.close(PROVIDER, pod.id, at=at)
        del self.live[pod.id]

    def lose(self, pod: Pod, how: str = "vanish") -> None:
        """The host of *pod* is lost.

        Args:
            how: ``vanish`` (gone from the API), ``exited``, ``error``, or ``silent``: the API keeps saying
                RUNNING without a runtime; a host that is down is not billed, the disk is.
        """
        at = self.world.now()
        if how == "silent":
            self.world.machines.stop(self._key(pod))
            pod.dark = True
            self.world.ledger.close(PROVIDER, pod.id, at=at, what="compute")
        elif how in ("exited", "error"):
            self._fall(pod, "exited" if how == "exited" else "error", at)
        else:
            self.terminate(pod, at=at)

    def _evict(self, account: str) -> None:
        # There are no network volumes here, so nothing is merely stopped.
        for pod in [pod for pod in self.live.values() if pod.account == account]:
            self.terminate(pod, at=self.world.now())

    def _fall(self, pod: Pod, state: State, at: datetime) -> None:
        """To EXITED, which bills no compute, or to ERROR, which by the description of `cost` still does."""
        if state == "exited":
            self._leave(pod)
            self.world.ledger.close(PROVIDER, pod.id, at=at, what="compute")
            self._rate_storage(pod, at, running=False)
        self.world.machines.stop(self._key(pod))
        pod.state, pod.mapping, pod.restart_until, pod.started_at = state, [], None, None

    def _leave(self, pod: Pod) -> None:
        """Give the GPUs back and end the machine; a stopped pod has given them back already."""
        if pod.state != "exited":
            self.market.rented[(pod.gpu, pod.cloud, pod.place)] -= pod.count
        self.world.machines.stop(self._key(pod))

    # Bills.

    def _open(self, pod: Pod, what: str, usd: Decimal, at: datetime) -> None:
        ledger = self.world.ledger
        ledger.open(PROVIDER, pod.id, at=at, usd_per_hour=usd, name=pod.name, account=pod.account, what=what)

    def _rate_storage(self, pod: Pod, at: datetime, *, running: bool) -> None:
        disk = self.market.disk_usd(pod.disk) if running else Decimal(0)
        self.world.ledger.rate(PROVIDER, pod.id, disk, at=at, what="disk")
        if size := _volume_gb(pod):
            usd = self.market.volume_usd(size, running=running)
            self.world.ledger.rate(PROVIDER, pod.id, usd, at=at, what="volume")

    # Machines.

    @staticmethod
    def _key(pod: Pod) -> str:
        return f"{PROVIDER}:{pod.id}"

    def start_machine(self, pod: Pod) -> None:
        """Make the pod's address answer SSH, if it is to have any."""
        port, gpu = pod.ssh_port(), self.market.gpus.get(pod.gpu)
        if pod.state != "ready" or pod.dark or port is None or pod.address is None or gpu is None:
            return
        self.world.machines.start(
            self._key(pod),
            host=pod.address,
            port=port,
            user="root",
            authorized_keys=list(pod.keys),
            gpu=pod.wrong_gpu or pod.gpu,
            memory_mib=pod.wrong_mib or gpu.reported_mib,
            count=pod.count,
            env=_container_env(pod, port),
        )

    # Files.

    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        return {"charged_at": self.charged_at.isoformat(), "pods": [pod.dump() for pod in self.pods.values()]}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave, and start the machines again."""
        self.charged_at = datetime.fromisoformat(state["charged_at"])
        pods = [Pod.loaded(row) for row in state["pods"]]
        self.pods = {pod.id: pod for pod in pods}
        self.live = {pod.id: pod for pod in pods if pod.alive}
        self.market.rented.clear()
        for pod in self.live.values():
            if pod.state != "exited":
                self.market.rented[(pod.gpu, pod.cloud, pod.place)] += pod.count
            if pod.restart_until is None:
                self.start_machine(pod)


def _volume_gb(pod: Pod) -> int:
    return int(pod.mounts.get("persistent", {}).get("size", 0))


def _container_env(pod: Pod, port: int) -> dict[str, str]:
    """What the container sees: its own environment and RunPod's."""
    own = {
        "RUNPOD_POD_ID": pod.id,
        "RUNPOD_DC_ID": pod.data_center or "",
        "RUNPOD_PUBLIC_IP": pod.address or "",
        "RUNPOD_TCP_PORT_22": str(port),
        "RUNPOD_API_KEY": pod.own_key,
    }
    return own | pod.env
