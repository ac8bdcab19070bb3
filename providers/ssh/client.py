"""The wire: one run of our script on one machine, through the system's OpenSSH client.

A connection a call; the client is told everything on its command line and reads no configuration of the user's. What
comes back counts only between the two marks that carry this call's nonce.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from providers.base import Context
from providers.errors import Forbidden, OutcomeUnknown, ProviderError, Unavailable
from providers.ssh import errors, pins, script
from providers.ssh.inventory import Inventory, Machine

CONNECT_S = 5
MAX_BYTES = 1024 * 1024
TRIES = 3
#: Verbs that change something on the machine: an answer that is missing proves nothing about them.
EFFECTS = frozenset({"launch", "terminate"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the script said: its lines, its status, and why where that is not 0."""

    lines: list[str]
    status: int
    why: str


@dataclass(frozen=True, slots=True)
class _Ran:
    """How a run of the client ended; `status` is None where it was cut off.

    `err` is what the machine said, `log` what the client itself said.
    """

    status: int | None
    out: str
    err: str
    log: str
    cut: str = ""


class Client:
    """Runs scripts on the machines of an inventory."""

    def __init__(self, context: Context) -> None:
        self._env = context.env
        self._owner = context.owner
        # A workstation's sshd lets ten connections be opened at once; ours are many machines, so the limit is ours.
        self._turns = asyncio.Semaphore(64)

    async def call(
        self,
        inventory: Inventory,
        machine: Machine,
        verb: str,
        values: Mapping[str, str],
        *,
        login: str | None = None,
        timeout_s: float = 20.0,
        tries: int = TRIES,
    ) -> Answer:
        """Run the script there; reads are tried again after what may pass.

        Args:
            verb: a verb of the contract; the script does *launch* and *terminate*, and looks for all others.
            login: as whom; the machine's first login by default.
            timeout_s: real seconds for all tries together.

        Raises:
            ProviderError: it did not run (proven), or (`OutcomeUnknown`) a launch may have.
        """
        tries = 1 if verb in EFFECTS else tries
        clock = asyncio.get_running_loop().time
        end = clock() + timeout_s
        while True:
            tries -= 1
            try:
                async with self._turns:
                    return await self._once(inventory, machine, verb, values, login, max(1.0, end - clock()))
            except _Again as again:
                if tries <= 0 or clock() >= end - 1.0:
                    raise again.error from None
                await self._env.sleep(self._env.uniform(0.2, 0.6))

    async def _once(
        self,
        inventory: Inventory,
        machine: Machine,
        verb: str,
        values: Mapping[str, str],
        login: str | None,
        timeout_s: float,
    ) -> Answer:
        login = login or machine.users[0]
        nonce = self._env.new_id(12)
        text = script.build(verb, machine, login=login, nonce=nonce, owner=self._owner, values=values)
        ran = await _run(self._argv(inventory, machine, login, verb), text, timeout_s)
        answer = _parse(ran.out, nonce)
        if answer is not None:
            return answer
        if ran.status == 255 and (found := errors.refused(machine.name, ran.log)):
            error, again = found
            raise _Again(error) if again else error
        said = ran.cut or errors.last_line(ran.log or ran.err or ran.out)
        if verb == "launch":
            raise OutcomeUnknown(f"{machine.name}: no readable answer to the launch: {said}", code="no-answer")
        raise _Again(Unavailable(f"{machine.name}: no readable answer: {said}", code="no-answer", scope="host"))

    def _argv(self, inventory: Inventory, machine: Machine, login: str, verb: str) -> list[str]:
        ssh = shutil.which("ssh")
        if ssh is None:
            raise Forbidden("there is no SSH client on this computer: apt-get install openssh-client", code="no-ssh")
        host, port = self._env.dial(machine.host, machine.port)
        chosen = {
            "BatchMode": "yes",
            "IdentityFile": pins.quoted(machine.key_file),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "PreferredAuthentications": "publickey",
            "ConnectTimeout": str(CONNECT_S),
            "ConnectionAttempts": "1",
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "ClearAllForwardings": "yes",
            "ControlPath": "none",
            "LogLevel": "ERROR",
            **pins.options(inventory, machine),
        }
        words = [word for name, value in chosen.items() for word in ("-o", f"{name}={value}")]
        # The verb is there for people who read logs, and for the sandbox; the script knows it by itself.
        remote = f"exec sh -s orch-own {verb}"
        return [ssh, "-F", "none", "-T", *words, "-p", str(port), "-l", login, host, "--", remote]


class _Again(Exception):
    """Failed without an effect, and another try may do better."""

    def __init__(self, error: ProviderError) -> None:
        super().__init__(str(error))
        self.error = error


async def _run(argv: list[str], text: str, timeout_s: float) -> _Ran:
    """Run the client with *text* as its input; at most `MAX_BYTES` of its output are taken."""
    # The client's own words go to a file: on stderr they could not be told from the machine's, whose profile may well
    # say "Permission denied" of something else.
    with tempfile.NamedTemporaryFile(prefix="orch-ssh-") as log:
        ran = await _fed([argv[0], "-E", log.name, *argv[1:]], text, timeout_s)
        return dataclasses.replace(ran, log=log.read(MAX_BYTES).decode("utf-8", "replace"))


async def _fed(argv: list[str], text: str, timeout_s: float) -> _Ran:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C at the terminal is not meant for it
    )
    cut = ""
    out = err = b""
    try:
        async with asyncio.timeout(timeout_s):
            _, out, err = await asyncio.gather(
                _feed(process, text), _take(process, process.stdout), _take(process, process.stderr)
            )
            if max(len(out), len(err)) > MAX_BYTES:
                cut = f"more than {MAX_BYTES} bytes"
            else:
                await process.wait()
    except TimeoutError:
        cut = f"nothing within {timeout_s:g} s"
    finally:
        _kill(process)
        # Before the wait: it lasts until the pipes are closed, and one that is full of what nobody reads never is.
        getattr(process, "_transport").close()  # noqa: B009 - typeshed does not know it
        await asyncio.shield(process.wait())
    status = None if cut else process.returncode
    return _Ran(status, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"), "", cut)


def _kill(process: asyncio.subprocess.Process) -> None:
    """End the client and what it has started; it leads a group of its own."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def _feed(process: asyncio.subprocess.Process, text: str) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(text.encode())
        await process.stdin.drain()
        process.stdin.close()


async def _take(process: asyncio.subprocess.Process, stream: asyncio.StreamReader | None) -> bytes:
    """What *stream* gives until its end; a client that says too much is ended."""
    assert stream is not None
    found = bytearray()
    while chunk := await stream.read(65536):
        found += chunk
        if len(found) > MAX_BYTES:
            _kill(process)
            break
    return bytes(found)


def _parse(out: str, nonce: str) -> Answer | None:
    """The answer between the marks; None if it is not there, or not whole."""
    lines = out.splitlines()
    begin = f"orch-own/1 begin {nonce}"
    if begin not in lines:
        return None
    lines = lines[lines.index(begin) + 1 :]
    for index, line in enumerate(lines):
        words = line.split(" ")
        if words[:3] == ["orch-own/1", "end", nonce] and len(words) == 4 and words[3].isdecimal():
            body = lines[:index]
            why = "; ".join(one.partition(" ")[2] for one in body if one.startswith(("why ", "left ")))
            return Answer(body, int(words[3]), why)
    return None
