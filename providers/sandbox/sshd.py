"""The SSH server of one machine. Imported when the first machine starts, as asyncssh takes half a second."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import cast

import asyncssh

from providers.sandbox import processes, sessions
from providers.sandbox.gate import Gate, Turn

_log = logging.getLogger(__name__)
# What OpenSSH's server lets a client set, as Debian configures it.
_CLIENT_MAY_SET = ("LANG", "LC_")
_FORCED = re.compile(r'^(?:[^" ]|"(?:[^"\\]|\\.)*")*?command="((?:[^"\\]|\\.)*)"(?:[^" ]|"(?:[^"\\]|\\.)*")* +(.*)$')


def new_host_key() -> str:
    """A fresh Ed25519 host key, as an OpenSSH private key file's text."""
    return asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()


def public_keys(lines: list[str]) -> set[bytes]:
    """The keys of `authorized_keys` lines; lines that are none are ignored, as sshd does."""
    found = set()
    for line in lines:
        try:
            found.add(asyncssh.import_public_key(line).public_data)
        except (asyncssh.KeyImportError, ValueError):
            _log.warning("ignored an authorized key that is none: %.40s", line)
    return found


def public_line(private: str) -> str:
    """The public line of an OpenSSH private key file's text."""
    return asyncssh.import_private_key(private).export_public_key().decode().strip()


def own_keys(file: Path) -> dict[bytes, str | None]:
    """The keys of a machine's own `authorized_keys`, each with the command it forces, if it does.

    As sshd reads it: the first line with a key counts. Options but `command` are not enforced here.
    """
    found: dict[bytes, str | None] = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        forced = _FORCED.match(line)
        text = forced[2] if forced else line
        for words in (text, text.partition(" ")[2]):  # perhaps behind other options
            for key in public_keys([words]) if words.startswith(("ssh-", "ecdsa-", "sk-")) else ():
                found.setdefault(key, forced[1].replace('\\"', '"') if forced else None)
    return found


class Server:
    """Answers SSH on *listener* for one user with certain public keys, and for nobody else.

    Keys that stand in the machine's own ``~/.ssh/authorized_keys`` open it as well. Several users, who share the
    machine's folder, are written with commas in between; each has ``~/.ssh/authorized_keys.USER`` besides.

    Args:
        listener: a bound and listening loopback socket; the server owns it from now on.
        folder: the machine's scratch folder: home, working folder, and all that SFTP sees.
        environment: of every command.
        gate: gives who decides on logins and sessions, or None.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        user: str,
        authorized_keys: list[str],
        host_key: str,
        folder: Path,
        environment: dict[str, str],
        gate: Callable[[], Gate | None] = lambda: None,
    ) -> None:
        self._listener = listener
        self.users = user.split(",")
        self.gate = gate
        self.forced: dict[asyncssh.SSHServerConnection, str] = {}
        self._given = public_keys(authorized_keys)
        self._host_key = host_key
        self._folder = folder
        self._environment = environment
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self.closed = False
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._running = processes.Running(str(folder))
        self._tasks: set[asyncio.Task[None]] = set()
        self._spawn(self._start())

    async def _start(self) -> None:
        self._acceptor = await asyncssh.listen(
            sock=self._listener,
            server_factory=lambda: _Gate(self),
            server_host_keys=[asyncssh.import_private_key(self._host_key)],
            process_factory=self._session,
            sftp_factory=self._sftp,
            allow_scp=True,
            encoding=None,
            line_editor=False,
            agent_forwarding=False,
            x11_forwarding=False,
            gss_host=None,
            server_version="orch_sandbox",
        )
        if self.closed:
            self._acceptor.close()

    def keys(self, user: str) -> dict[bytes, str | None]:
        """The keys that open the machine for *user* now, with the command that each forces, if it does."""
        if user not in self.users:
            return {}
        home = self._folder / ".ssh"
        own = own_keys(home / "authorized_keys") | own_keys(home / f"authorized_keys.{user}")
        return {**own, **dict.fromkeys(self._given)}

    def _session(self, process: sessions.Process) -> None:
        sent = {k: v for k, v in process.env.items() if k.startswith(_CLIENT_MAY_SET)}
        connection = cast(asyncssh.SSHServerConnection, process.channel.get_connection())
        command = process.command
        if (forced := self.forced.get(connection)) is not None:
            sent |= {} if command is None else {"SSH_ORIGINAL_COMMAND": command}
            command = forced
        gate = self.gate()
        turn = gate.turn(connection.get_extra_info("username"), command) if gate else Turn(command)
        # Not asyncssh's own task: the process may outlive the connection, and somebody must wait for it.
        self._spawn(self._serve(process, connection, turn, {**self._environment, **sent}))

    async def _serve(
        self,
        process: sessions.Process,
        connection: asyncssh.SSHServerConnection,
        turn: Turn,
        environment: dict[str, str],
    ) -> None:
        try:
            if turn.wait_s:
                await asyncio.sleep(turn.wait_s)  # noqa: TID251 - the wire is slow in real time
            if turn.cut != "before":
                await sessions.run(
                    process,
                    environment=environment,
                    folder=self._folder,
                    running=self._running,
                    command=turn.command,
                    silent=bool(turn.cut),
                )
        finally:
            turn.done()
            if turn.cut:
                connection.abort()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("a machine's SSH server failed", exc_info=error)

    def _sftp(self, channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        return _Files(channel, chroot=str(self._folder).encode())

    def close(self) -> None:
        """Answer no more, cut every connection and kill every process, at once."""
        self.closed = True
        if self._acceptor is not None:
            self._acceptor.close()
        self._running.kill()
        for connection in list(self.connections):
            connection.abort()

    async def wait_closed(self) -> None:
        """Wait until what a closed server had begun is over."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Files(asyncssh.SFTPServer):
    """SFTP that ends as OpenSSH's does: without an exit status, `scp` reports every copy as failed."""

    def exit(self) -> None:
        if self.channel.get_subsystem() == "sftp":
            self.channel.exit(0)


class _Gate(asyncssh.SSHServer):
    """Who comes in: exactly the machine's user, with exactly one of its keys."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._server.connections.add(conn)
        if self._server.closed:
            conn.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._server.connections.discard(self._connection)
            self._server.forced.pop(self._connection, None)

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        gate, keys = self._server.gate(), self._server.keys(username)
        if key.public_data not in keys or not (gate is None or gate.admits(username)):
            return False
        forced = keys[key.public_data]
        if self._connection is not None and forced is not None:
            self._server.forced[self._connection] = forced
        return True
