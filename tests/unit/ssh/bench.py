"""Own machines for tests: a real sshd on loopback, with a folder of its own for everything that it would share."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from pwd import getpwuid

import pytest

from providers import naming
from providers.base import AttemptRef, Context, Instance, LaunchSpec, Offer, Query
from providers.env import SystemEnv
from providers.sandbox import nvidia
from providers.ssh.adapter import Ssh

SSHD = "/usr/sbin/sshd"
OWNER = "0123456789abcdef0123456789abcdef"
STRANGER = "fedcba9876543210fedcba9876543210"
LOGIN = getpwuid(os.getuid()).pw_name
MARK = "ORCH_OWN_TOKEN"


def need_sshd() -> None:
    """Skip where there is no OpenSSH server, or not enough of one."""
    if not Path(SSHD).exists():
        pytest.skip("no sshd on this computer: apt-get install openssh-server")
    if shutil.which("ssh") is None:
        pytest.skip("no ssh on this computer: apt-get install openssh-client")
    if not sys.platform.startswith("linux"):
        pytest.skip("own machines run Linux")


def privilege_separation() -> None:
    """Make the empty folder that an sshd of root wants; its service makes it where there is a service.

    It stays: another sshd may need it at any time.
    """
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


def new_key(path: Path) -> str:
    """Make a key pair; returns the public line."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return path.with_name(path.name + ".pub").read_text().strip()


@dataclass
class Machine:
    """One machine: sshd, GPUs, lock place, and an inventory entry for it.

    Attributes:
        extra: further lines of the inventory entry.
    """

    root: Path
    name: str = "desk"
    gpus: int = 2
    model: str = "NVIDIA L40"
    memory_mib: int = 46068
    extra: list[str] = field(default_factory=lambda: ["usd_per_hour = 1.20"])
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.lock_dir = self.root / "lock"
        self.keys = self.root / "ssh" / "authorized_keys"
        self.keys.parent.mkdir(mode=0o700)
        self.admin = new_key(self.root / "admin")
        self.host_key = new_key(self.root / "host")
        self.keys.write_text(self.admin + "\n")
        self.tool = self.root / "bin" / "nvidia-smi"
        self.plug(self.model, self.memory_mib, self.gpus)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def plug(self, model: str, memory_mib: int, count: int, *, key: str = "") -> None:
        """Give it other GPUs."""
        nvidia.write(self.tool, key=key or self.name, gpu=model, memory_mib=memory_mib, count=count)

    @property
    def uuids(self) -> list[str]:
        return nvidia.uuids(self.name, self.gpus)

    def computes(self, *pairs: tuple[str, int]) -> None:
        """These processes, as (GPU uuid, pid), compute now."""
        lines = "".join(f"{uuid} {pid} python3 1024\n" for uuid, pid in pairs)
        self.tool.with_name("nvidia-smi.processes").write_text(lines)

    def start(self) -> None:
        """Answer SSH."""
        config = self.root / "sshd_config"
        config.write_text(
            f"""
Port {self.port}
ListenAddress 127.0.0.1
HostKey {self.root / "host"}
AuthorizedKeysFile {self.keys}
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 100
SetEnv PATH={self.tool.parent}:/usr/local/bin:/usr/bin:/bin
Subsystem sftp /usr/lib/openssh/sftp-server
"""
        )
        log = (self.root / "sshd.log").open("ab")
        self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stdout=log, stderr=log)
        log.close()
        wait_for(self._listens)

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.root / "sshd.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """Do not answer any more; connections that are open stay."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def entry(self) -> str:
        """Its table in an inventory."""
        lines = [
            "[[machine]]",
            f'name = "{self.name}"',
            'host = "127.0.0.1"',
            f"port = {self.port}",
            f'user = "{LOGIN}"',
            f'key_file = "{self.root / "admin"}"',
            'gpu = "L40"',
            f"gpu_count = {self.gpus}",
            f'lock_dir = "{self.lock_dir}"',
            f'authorized_keys = "{self.keys}"',
            *self.extra,
        ]
        return "\n".join(lines) + "\n"

    def records(self) -> list[str]:
        """The tokens of all allocations, by the machine's own files."""
        folder = self.lock_dir / "alloc"
        return sorted(file.name for file in folder.glob("orch-*")) if folder.is_dir() else []

    def record(self, token: str) -> dict[str, str]:
        """One record."""
        lines = (self.lock_dir / "alloc" / token).read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def sweep(self) -> None:
        """End what a failed test left running."""
        for token in [*self.records(), *(file.name for file in (self.lock_dir / "ended").glob("orch-*"))]:
            for mark in (MARK, "ORCH_OWN_TIMER"):
                for pid in marked(token, mark):
                    os.kill(pid, 9)
        for pid in inside(self.root):
            os.kill(pid, 9)


@dataclass
class Bench:
    """Machines, an inventory, and adapters on it."""

    root: Path
    machines: list[Machine]
    count: int = 0
    unclassified: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Real ones are random, too: processes of another test's lease must not be taken for this one's.
        self.lease = SystemEnv().new_id(9)
        self.public_key = new_key(self.root / "lease")
        self.file = self.root / "machines.toml"
        self.write()

    def write(self, text: str | None = None) -> None:
        """Write the inventory anew, from the machines or as *text*."""
        self.file.write_text("\n".join(one.entry() for one in self.machines) if text is None else text)

    def adapter(self, owner: str = OWNER) -> Ssh:
        """A fresh adapter, as a new process would have."""
        settings = {"ORCH_SSH_INVENTORY": str(self.file), "HOME": str(self.root)}
        told = self.unclassified
        return Ssh(Context(env=SystemEnv(), settings=settings, owner=owner, on_unclassified=lambda *x: told.append(x)))

    async def offer(self, adapter: Ssh, gpus: int = 1, machine: str = "") -> Offer:
        listing = await adapter.offers(Query(gpus=("l40",)))
        return next(
            one for one in listing.offers if one.gpu_count == gpus and machine in ("", str(one.native["machine"]))
        )

    def spec(self, owner: str = OWNER, public_key: str = "", **more: object) -> LaunchSpec:
        self.count += 1
        token = naming.make(owner, self.lease, self.count)
        return LaunchSpec(
            name=token, owner=owner, lease=self.lease, ssh_public_key=public_key or self.public_key, **more
        )  # type: ignore[arg-type]

    async def attempt(self, adapter: Ssh, gpus: int = 1, machine: str = "", **more: object) -> AttemptRef:
        offer = await self.offer(adapter, gpus, machine)
        spec = await adapter.resolve(offer, self.spec(adapter.context.owner, **more))  # type: ignore[arg-type]
        return AttemptRef(token=spec.name, account=await adapter.account(), offer=offer, spec=spec)

    async def launch(self, adapter: Ssh, gpus: int = 1, **more: object) -> tuple[AttemptRef, Instance]:
        ref = await self.attempt(adapter, gpus, **more)  # type: ignore[arg-type]
        return ref, await adapter.launch(ref.offer, ref.spec, ref.token)

    def ssh(self, instance: Instance, *command: str, key: str = "lease") -> list[str]:
        """The command line of a tenant."""
        assert instance.address is not None
        return [
            *("ssh", "-F", "none", "-T", "-i", str(self.root / key), "-p", str(instance.address.port)),
            *self.options,
            f"{instance.address.user}@{instance.address.host}",
            *command,
        ]

    options = (
        *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"),
        *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
    )

    def shell(self, instance: Instance, typed: str) -> str:
        """What a login shell answers to *typed*."""
        return subprocess.run(self.ssh(instance), input=typed, capture_output=True, text=True, timeout=60).stdout

    def open(self, instance: Instance, *command: str) -> subprocess.Popen[bytes]:
        """A tenant's session that stays."""
        null = subprocess.DEVNULL
        return subprocess.Popen(self.ssh(instance, *command), stdin=null, stdout=null, stderr=null)

    def copy(self, instance: Instance, file: Path, to: str, *mode: str) -> subprocess.CompletedProcess[str]:
        """A tenant's scp."""
        assert instance.address is not None
        where = ["-P", str(instance.address.port), *self.options, str(file), f"{instance.address.user}@127.0.0.1:{to}"]
        argv = ["scp", *mode, "-q", "-i", str(self.root / "lease"), *where]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60)

    def run(self, instance: Instance, *command: str, key: str = "lease") -> subprocess.CompletedProcess[str]:
        """A tenant's command."""
        argv = self.ssh(instance, *command, key=key)
        return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)


def marked(token: str, name: str = MARK) -> list[int]:
    """Processes whose environment carries the allocation's mark."""
    wanted, found = f"{name}={token}".encode(), []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def inside(folder: Path) -> list[int]:
    """Processes that work below *folder*, which only a test's machine does."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if os.readlink(link).startswith(f"{folder}/"):
                found.append(int(link.parts[2]))
        except OSError:
            continue
    return found


def running(*command: str) -> list[int]:
    """Processes with that command line."""
    wanted, found = b"\0".join(word.encode() for word in command) + b"\0", []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if (folder / "cmdline").read_bytes() == wanted:
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def start(*command: str) -> subprocess.Popen[bytes]:
    """A process that has nothing to do with any of this."""
    return subprocess.Popen(command)


def wait_for(happened: Callable[[], object], limit_s: float = 20.0) -> None:
    """Wait in real time; fail after *limit_s*."""
    end = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
