"""Runs what one SSH session asks for as a process of this computer, and carries bytes between the two.

It behaves as OpenSSH's server does: without a terminal a session lasts until the command has ended *and*
nobody holds its output any more; with one, until the command has ended. A client that goes away closes the
pipes (the command gets SIGPIPE or end of file) or hangs up the terminal (SIGHUP).
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import os
import pty
import signal
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh

from providers.sandbox import processes

_CHUNK = 64 * 1024
_LAST_WORDS_S = 0.05
_END_OF_INPUT = b"\x04"
# A session leader without a terminal gets the first one that it opens as its controlling terminal. So `sh`
# opens it, and no Python has to run between fork and exec.
_ON_TERMINAL = 'exec <>"$0" >&0 2>&0; exec "$@"'

Process = asyncssh.SSHServerProcess[bytes]


async def run(
    process: Process,
    *,
    environment: dict[str, str],
    folder: Path,
    running: processes.Running,
    command: str | None,
    silent: bool = False,
) -> None:
    """Serve one session until it is over.

    Args:
        running: learns of the process group.
        environment: of the process, whole; TERM is added where the client has a terminal.
        folder: where it starts.
        command: what runs, None for a shell; not always what the client has asked for.
        silent: the client does not learn how it ended.
    """
    if process.subsystem:
        process.stderr.write(f"this machine has no subsystem {process.subsystem}\n".encode())
        process.exit(1)
        return
    try:
        if process.term_type:
            environment = {**environment, "TERM": process.term_type}
            await _Terminal(process, command, folder, environment, running).serve(processes.SHELL, silent=silent)
        else:
            await _Pipes(process, command, folder, environment, running).serve(processes.SHELL, silent=silent)
    except OSError as error:  # no more processes, or the machine is just being taken away
        with contextlib.suppress(OSError):
            process.stderr.write(f"the sandbox could not run this: {error}\n".encode())
        process.exit(255)


class _Session(abc.ABC):
    """What both kinds share. `_fds` are our ends, `_theirs` the process's."""

    def __init__(
        self,
        process: Process,
        command: str | None,
        folder: Path,
        environment: dict[str, str],
        running: processes.Running,
    ) -> None:
        self._process = process
        self._command = command
        self._running = running
        self._folder = folder
        self._environment = environment
        self._child: asyncio.subprocess.Process | None = None
        self._fds: set[int] = set()
        self._theirs: set[int] = set()

    async def serve(self, shell: str, *, silent: bool = False) -> None:
        """Start *shell*, carry bytes until the session is over, and report how it ended."""
        tasks: list[asyncio.Task[Any]] = []
        child = None
        try:
            child = self._child = await self._start(shell)
            self._running.add(child.pid)
            closed = asyncio.create_task(self._process.wait_closed())
            finished = asyncio.create_task(self._finish(child))
            tasks = [closed, finished, asyncio.create_task(self._feed())]
            await asyncio.wait({closed, finished}, return_when=asyncio.FIRST_COMPLETED)
            if finished.done():
                finished.result()
                if not silent:
                    self._report(child.returncode or 0)
        finally:
            await _cancel(tasks)
            for fd in self._fds | self._theirs:
                os.close(fd)
            self._fds.clear()
            if child is not None:
                await child.wait()
                self._running.remove(child.pid)

    @abc.abstractmethod
    async def _start(self, shell: str) -> asyncio.subprocess.Process: ...

    @abc.abstractmethod
    async def _finish(self, child: asyncio.subprocess.Process) -> None: ...

    @abc.abstractmethod
    async def _end_of_input(self) -> None: ...

    @abc.abstractmethod
    def _input(self) -> int: ...

    async def _spawn(self, argv: list[str], stdin: int, stdout: int, stderr: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=self._folder,
            env=self._environment,
            start_new_session=True,
        )

    async def _feed(self) -> None:
        """Carry the client's input, window sizes and signals to the process."""
        while True:
            try:
                data = await self._process.stdin.read(_CHUNK)
            except asyncssh.TerminalSizeChanged as change:
                self._resize(change.width, change.height)
                continue
            except asyncssh.SignalReceived as received:
                self._signal(getattr(signal, f"SIG{received.signal}", None))
                continue
            except asyncssh.BreakReceived:
                self._signal(signal.SIGINT)
                continue
            except (OSError, asyncssh.Error):
                return
            if not data:
                await self._end_of_input()
                return
            if not await _write(self._input(), data):
                return

    def _resize(self, width: int, height: int) -> None:  # noqa: B027 - a pipe has no size
        pass

    def _signal(self, number: int | None) -> None:
        if number is not None and self._child is not None and self._child.returncode is None:
            processes.kill_group(self._child.pid, number)

    def _report(self, status: int) -> None:
        if status >= 0:
            self._process.exit(status)
        else:
            self._process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))


class _Pipes(_Session):
    """A session without a terminal: three pipes."""

    async def _start(self, shell: str) -> asyncio.subprocess.Process:
        inner_in, self._in = os.pipe()
        self._out, inner_out = os.pipe()
        self._err, inner_err = os.pipe()
        self._fds |= {self._in, self._out, self._err}
        self._theirs |= {inner_in, inner_out, inner_err}
        for fd in self._fds:
            os.set_blocking(fd, False)
        command = self._command
        argv = [shell] if command is None else [shell, "-c", command]
        child = await self._spawn(argv, inner_in, inner_out, inner_err)
        while self._theirs:  # or our reads would never see the end
            os.close(self._theirs.pop())
        return child

    async def _finish(self, child: asyncio.subprocess.Process) -> None:
        await asyncio.gather(_pump(self._out, self._process.stdout), _pump(self._err, self._process.stderr))
        await child.wait()

    def _input(self) -> int:
        return self._in

    async def _end_of_input(self) -> None:
        self._fds.discard(self._in)
        os.close(self._in)


class _Terminal(_Session):
    """A session with a pseudo-terminal: one wire for everything."""

    async def _start(self, shell: str) -> asyncio.subprocess.Process:
        self._master, inner = pty.openpty()
        self._fds.add(self._master)
        self._theirs.add(inner)  # kept open, so that the terminal lasts until the session is over
        os.set_blocking(self._master, False)
        self._resize(*self._process.term_size[:2])
        command = self._command
        interactive = [shell, "--noprofile", "--norc", "-i"] if shell.endswith("bash") else [shell, "-i"]
        inside = interactive if command is None else [shell, "-c", command]
        argv = ["/bin/sh", "-c", _ON_TERMINAL, os.ttyname(inner), *inside]
        null = asyncio.subprocess.DEVNULL
        return await self._spawn(argv, null, null, null)

    async def _finish(self, child: asyncio.subprocess.Process) -> None:
        pump = asyncio.create_task(_pump(self._master, self._process.stdout))
        try:
            await child.wait()
            await asyncio.wait({pump}, timeout=_LAST_WORDS_S)
        finally:
            await _cancel([pump])

    def _input(self) -> int:
        return self._master

    async def _end_of_input(self) -> None:
        await _write(self._master, _END_OF_INPUT)

    def _resize(self, width: int, height: int) -> None:
        if width and height:
            termios.tcsetwinsize(self._master, (height, width))


async def _pump(fd: int, writer: asyncssh.SSHWriter[bytes]) -> None:
    """Carry what the process writes to *fd* to the client, until the end or until nobody listens."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await _read(fd):
            writer.write(data)
            await writer.drain()


async def _read(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, _CHUNK)
        except BlockingIOError:
            loop = asyncio.get_running_loop()
            await _ready(loop.add_reader, loop.remove_reader, fd)
        except OSError:  # EIO: the terminal's other side is closed
            return b""


async def _write(fd: int, data: bytes) -> bool:
    """Write all of *data*; False if nobody reads any more."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            loop = asyncio.get_running_loop()
            await _ready(loop.add_writer, loop.remove_writer, fd)
        except OSError:
            return False
    return True


async def _ready(add: Callable[..., None], remove: Callable[[int], Any], fd: int) -> None:
    happened = asyncio.Event()
    add(fd, happened.set)
    try:
        await happened.wait()
    finally:
        remove(fd)


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
