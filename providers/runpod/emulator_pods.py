"""A pod as the emulator keeps it, and what a pod looks like on the wire.

Sources: the API description's Pod schema; payloads recorded on 2026-08-20 for the shapes of a fresh and a ready pod.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from providers.runpod.emulator_market import Wire, subject
from providers.runpod.emulator_wire import number, stamp

State = Literal["booting", "ready", "exited", "error", "terminated"]
_ACTIONS = {
    "PROVISIONING": ["stop", "terminate"],
    "STARTING": ["stop", "terminate"],
    "RUNNING": ["stop", "restart", "terminate"],
    "EXITED": ["start", "terminate"],
    "ERROR": ["start", "terminate"],
    "TERMINATED": [],
}
_TIMES = ("created_at", "boot_from", "ready_at", "fails_at", "hidden_until", "restart_until", "started_at")


@dataclass(slots=True)
class Pod:
    """One pod.

    Attributes:
        place: data centre id, or the country of a COMMUNITY host, which the wire never shows.
        usd_per_hour: compute of all its GPUs.
        boot_from: when the present boot began.
        ready_at: when it will be, or became, reachable; None if it never will.
        fails_at, fails_as: when a doomed boot ends, and in which state.
        hidden_until: until then lists and reads do not know it.
        restart_until: end of a restart; until then the old port is still shown.
        dark: the host is down, while the API goes on saying RUNNING.
        keys: the public keys that its sshd accepts.
        own_key: the API key inside the container, good for this pod alone.
        mapping: the live port mappings, as in `runtime.ports`.
        log: (when, source, line).
    """

    id: str
    account: str
    name: str
    image: str
    args: str
    disk: int
    ports: list[str]
    env: dict[str, str]
    mounts: dict[str, Any]
    gpu: str
    count: int
    cloud: str
    place: str
    cuda: str | None
    usd_per_hour: Decimal
    route: str
    own_key: str
    created_at: datetime
    boot_from: datetime
    ready_at: datetime | None
    keys: list[str] = field(default_factory=list)
    global_networking: bool = False
    global_ip: str | None = None
    locked: bool = False
    state: State = "booting"
    fails_at: datetime | None = None
    fails_as: State = "error"
    stuck: str | None = None
    wrong_gpu: str | None = None
    wrong_mib: int = 0
    hidden_until: datetime | None = None
    restart_until: datetime | None = None
    started_at: datetime | None = None
    dark: bool = False
    address: str | None = None
    mapping: list[dict[str, Any]] = field(default_factory=list)
    log: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        """Whether RunPod still has it."""
        return self.state != "terminated"

    @property
    def data_center(self) -> str | None:
        """Its data centre; COMMUNITY hosts have none."""
        return self.place if self.cloud == "SECURE" else None

    @property
    def subject(self) -> str:
        """What faults see of it."""
        return subject(self.gpu, self.cloud, self.data_center or "", self.name, self.id)

    def status(self, now: datetime, wire: Wire) -> str:
        """The wire's status. RUNNING says nothing about being reachable: that is how it was recorded."""
        if self.state != "booting":
            return {"ready": "RUNNING"}.get(self.state, self.state.upper())
        if now < self.boot_from + timedelta(seconds=wire.provision_s):
            return "PROVISIONING"
        if wire.lifecycle == "documented" and self.stuck is None:
            return "STARTING"
        return "RUNNING"

    def say(self, at: datetime, source: str, line: str) -> None:
        """Add a line to the log."""
        self.log.append((stamp(at), source, line))

    def ssh_port(self) -> int | None:
        """The public port of its sshd, once there is one.

        A pod without any key gets no direct SSH here. The description leaves open whether the real one shows a
        port behind which no login can succeed.
        """
        if not self.keys:
            return None
        ports = [row["public"] for row in self.mapping if (row["private"], row["type"]) == (22, "tcp")]
        return ports[0] if ports else None

    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        row = asdict(self)
        row["usd_per_hour"] = str(self.usd_per_hour)
        for name in _TIMES:
            row[name] = row[name] and row[name].isoformat()
        return row

    @classmethod
    def loaded(cls, row: dict[str, Any]) -> Pod:
        """What `dump` gave."""
        times = {name: row[name] and datetime.fromisoformat(row[name]) for name in _TIMES}
        log = [(at, source, line) for at, source, line in row["log"]]
        return cls(**{**row, **times, "usd_per_hour": Decimal(row["usd_per_hour"]), "log": log})


def public_keys(env: dict[str, str]) -> list[str]:
    """The SSH keys that an image's start hook takes from the environment, one a line."""
    return [line.strip() for line in env.get("PUBLIC_KEY", "").splitlines() if line.strip()]


def view(pod: Pod, now: datetime, wire: Wire) -> dict[str, Any]:
    """The pod as JSON."""
    status = pod.status(now, wire)
    return {
        "id": pod.id,
        "name": pod.name,
        "status": status,
        "actions": list(_ACTIONS[status]),
        "image": pod.image,
        "args": pod.args,
        "disk": pod.disk,
        "ports": list(pod.ports),
        "env": dict(pod.env),
        "registry": None,
        "mounts": pod.mounts,
        "gpu": {"id": pod.gpu, "count": pod.count},
        "cloud": pod.cloud,
        "dataCenterId": pod.data_center,
        "cudaVersion": pod.cuda,
        "ssh": {"proxy": _endpoint("ssh.runpod.io", 22, pod.route), "direct": _direct(pod)},
        "template": None,
        "cost": _cost(pod, status, wire),
        "locked": pod.locked,
        "globalNetworking": _global(pod),
        "runtime": _runtime(pod, now),
        "createdAt": stamp(pod.created_at),
        "startedAt": None if pod.started_at is None else stamp(pod.started_at),
    }


def allowed(pod: Pod, now: datetime, wire: Wire) -> list[str]:
    """The actions that its status allows."""
    return _ACTIONS[pod.status(now, wire)]


def _cost(pod: Pod, status: str, wire: Wire) -> int | float:
    # The description: 0 when EXITED or TERMINATED. A stopped pod was recorded with its full rate.
    if status in ("EXITED", "TERMINATED") and wire.stopped_cost == "documented":
        return 0
    return number(pod.usd_per_hour)


def _endpoint(host: str, port: int, user: str) -> dict[str, Any]:
    suffix = "" if port == 22 else f" -p {port}"
    return {"host": host, "port": port, "username": user, "command": f"ssh {user}@{host}{suffix}"}


def _direct(pod: Pod) -> dict[str, Any] | None:
    port = pod.ssh_port()
    if pod.state != "ready" or pod.dark or port is None or pod.address is None:
        return None
    return _endpoint(pod.address, port, "root")


def _runtime(pod: Pod, now: datetime) -> dict[str, Any] | None:
    if pod.state != "ready" or pod.dark or pod.started_at is None:
        return None
    return {
        "uptime": max(0, int((now - pod.started_at).total_seconds())),
        "cpu": {"util": 0},
        "memory": {"util": 0},
        "gpus": [{"util": 0, "memoryUtil": 0} for _ in range(pod.count)],
        "ports": [dict(row) for row in pod.mapping],
    }


def _global(pod: Pod) -> dict[str, Any]:
    if pod.global_ip is None:
        return {"enabled": False}
    return {"enabled": True, "ip": pod.global_ip, "internalDns": f"{pod.id}.runpod.internal"}
