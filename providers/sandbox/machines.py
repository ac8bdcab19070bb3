"""The machines behind running instances: for each an SSH server on loopback, in a scratch folder of its own.

A command on such a machine runs on this computer as whoever runs the sandbox: nothing here is a jail. What
it gets is another home, a `PATH` that begins with the machine's own tools, and none of the sandbox's
environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pwd
import re
import shutil
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from providers.sandbox import nvidia, processes

if TYPE_CHECKING:
    from providers.sandbox.gate import Gate
    from providers.sandbox.sshd import Server

_GONE = ".gone-"


@dataclass(frozen=True, slots=True)
class Spec:
    """What a machine is; enough to bring it back after the sandbox was restarted.

    Attributes:
        host, port: its sandbox address.
        host_key: its private host key.
        loopback_port: where it really listens.
    """

    key: str
    host: str
    port: int
    user: str
    authorized_keys: list[str]
    gpu: str
    memory_mib: int
    count: int
    env: dict[str, str]
    host_key: str
    loopback_port: int


class SshMachines:
    """`Machines` with real SSH servers (`providers.sandbox.world`). Use it inside a running event loop.

    Args:
        root: the folder below which every machine gets its own.

    Attributes:
        gates: who decides, by machine key, who comes in and what becomes of a session; without one it is as usual.
    """

    def __init__(self, root: Path) -> None:
        self.gates: dict[str, Gate] = {}
        self._root = root.resolve()
        self._specs: dict[str, Spec] = {}
        self._servers: dict[str, Server] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def start(
        self,
        key: str,
        *,
        host: str,
        port: int,
        user: str,
        authorized_keys: list[str],
        gpu: str,
        memory_mib: int,
        count: int,
        env: dict[str, str] | None = None,
    ) -> None:
        """Make *host*:*port* answer SSH. Connections are accepted when this returns, and answered soon after.

        Raises:
            ModuleNotFoundError: asyncssh is not installed (extra ``sandbox``).
        """
        if key in self._specs:
            return
        from providers.sandbox.sshd import new_host_key

        shutil.rmtree(self.folder(key), ignore_errors=True)
        keys, variables = list(authorized_keys), dict(env or {})
        self._run(
            Spec(
                key,
                host,
                port,
                user,
                keys,
                gpu,
                memory_mib,
                count,
                variables,
                new_host_key(),
                loopback_port=0,
            )
        )

    def stop(self, key: str) -> None:
        """Take that machine away: its connections, processes and files. Nothing happens if there is none."""
        if self._specs.pop(key, None) is None:
            return
        server = self._shut(key)
        # Out of the way at once, so that a machine of the same key starts empty; emptied when there is time.
        gone = self._root / f"{_GONE}{self.folder(key).name}-{os.urandom(4).hex()}"
        with contextlib.suppress(FileNotFoundError):
            self.folder(key).rename(gone)
        task = asyncio.get_running_loop().create_task(self._clean(server, gone))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def dial(self, host: str, port: int) -> tuple[str, int]:
        """Where a connection to that sandbox address goes; an address of no machine stays as it is."""
        for spec in self._specs.values():
            if (spec.host, spec.port) == (host, port):
                return "127.0.0.1", spec.loopback_port
        return host, port

    def folder(self, key: str) -> Path:
        """The scratch folder of machine *key*."""
        plain = re.sub(r"[^A-Za-z0-9._-]", "_", key)[:60].lstrip(".")
        if plain != key:  # two keys must not share a folder
            plain = f"{plain}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
        return self._root / plain

    def running(self) -> list[Spec]:
        """All machines, oldest first."""
        return list(self._specs.values())

    def dump(self) -> list[dict[str, Any]]:
        """The state, for a file that only the user may read: it holds host keys."""
        return [asdict(spec) for spec in self._specs.values()]

    def load(self, rows: list[dict[str, Any]]) -> None:
        """Bring back the machines that `dump` gave, with their files, on their ports where these are free.

        Processes that outlived the sandbox are killed: to those machines it was a reboot. Folders of machines
        that are not among them are removed.
        """
        specs = [Spec(**row) for row in rows]
        kept = {self.folder(spec.key).name for spec in specs}
        for folder in self._root.iterdir() if self._root.is_dir() else ():
            processes.kill_marked(str(folder))
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)
        for spec in specs:
            self._run(spec)

    async def aclose(self) -> None:
        """End all servers and processes. Files and `dump` stay as they are."""
        servers = [self._shut(key) for key in list(self._servers)]
        await asyncio.gather(*(server.wait_closed() for server in servers if server), *self._closing)

    def _run(self, spec: Spec) -> None:
        from providers.sandbox.sshd import Server

        listener = _listener(spec.loopback_port)
        spec = Spec(**{**asdict(spec), "loopback_port": listener.getsockname()[1]})
        folder = self.folder(spec.key)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        tool = folder / "bin" / "nvidia-smi"
        nvidia.write(tool, key=spec.key, gpu=spec.gpu, memory_mib=spec.memory_mib, count=spec.count)
        self._servers[spec.key] = Server(
            listener,
            user=spec.user,
            authorized_keys=spec.authorized_keys,
            host_key=spec.host_key,
            folder=folder,
            environment=environment(folder, spec),
            gate=lambda: self.gates.get(spec.key),
        )
        self._specs[spec.key] = spec

    def _shut(self, key: str) -> Server | None:
        server = self._servers.pop(key, None)
        if server is not None:
            server.close()
        return server

    async def _clean(self, server: Server | None, gone: Path) -> None:
        if server is not None:
            await server.wait_closed()
        await asyncio.to_thread(shutil.rmtree, gone, ignore_errors=True)


def environment(folder: Path, spec: Spec) -> dict[str, str]:
    """What a command on the machine finds in its environment: its own, and nothing of the sandbox's."""
    return {
        **{name: value for name, value in spec.env.items() if name and "=" not in name},
        "PATH": f"{folder / 'bin'}:{os.environ.get('PATH') or os.defpath}",
        "HOME": str(folder),
        "USER": pwd.getpwuid(os.getuid()).pw_name,
        "LOGNAME": pwd.getpwuid(os.getuid()).pw_name,
        "SHELL": processes.SHELL,
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "PS1": f"{spec.user}@{spec.host}:\\w\\$ ",
        "NVIDIA_VISIBLE_DEVICES": "all",
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
        processes.MARK: str(folder),
    }


def _listener(port: int) -> socket.socket:
    """A listening loopback socket on *port*, or on any if that one is 0 or taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.bind(("127.0.0.1", 0))
    listener.listen(100)
    listener.setblocking(False)
    return listener
