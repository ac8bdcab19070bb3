"""SSH to machines: our key, pinned host keys, commands, and the probe that proves the GPU.

The system's OpenSSH client does the work (package openssh-client); it is on nearly every machine, costs no
import, and is what `orch ssh` hands the terminal to.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ConfigError
from providers.base import Address
from providers.env import Env

CONNECT_S = 10
_NO_CLIENT = ConfigError("there is no SSH client on this computer", hint="install it: apt-get install openssh-client")


def ensure_key(path: Path) -> str:
    """The installation's public key line; the pair is made at first use (ed25519, 0600).

    Raises:
        ConfigError: the key cannot be read or made.
    """
    public = path.with_name(path.name + ".pub")
    if not path.exists():
        keygen = shutil.which("ssh-keygen")
        if keygen is None:
            raise _NO_CLIENT
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Made under another name first: two commands may start at once, and neither may see half a key.
        draft = path.with_name(f"{path.name}.{os.getpid()}.new")
        made = subprocess.run(  # noqa: S603 - fixed program, our own path
            [keygen, "-q", "-t", "ed25519", "-N", "", "-C", "orch", "-f", str(draft)],
            capture_output=True,
            text=True,
        )
        if made.returncode != 0:
            raise ConfigError(f"ssh-keygen could not make {path}: {made.stderr.strip()}")
        draft_public = draft.with_name(draft.name + ".pub")
        try:
            os.link(draft, path)
            draft_public.replace(public)
        except FileExistsError:
            pass
        finally:
            draft.unlink(missing_ok=True)
            draft_public.unlink(missing_ok=True)
    try:
        return public.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"the public key {public} cannot be read: {error.strerror}",
            hint="ORCH_SSH_KEY_FILE names the private key; its .pub must lie beside it",
        ) from None


@dataclass(frozen=True, slots=True)
class Target:
    """One machine over SSH: where it is dialled, as whom, with which key, and where its host key is pinned."""

    host: str
    port: int
    user: str
    key_file: Path
    known_hosts: Path
    alias: str

    def argv(self, command: Sequence[str] | None = None, *, tty: bool = False, batch: bool = True) -> list[str]:
        """The command line of the system's ssh.

        Raises:
            ConfigError: there is no ssh.
        """
        ssh = shutil.which("ssh")
        if ssh is None:
            raise _NO_CLIENT
        argv = [ssh, "-F", "none", *self.options(), "-p", str(self.port)]
        if batch:
            argv += ["-o", "BatchMode=yes"]
        argv += ["-tt"] if tty else ["-T"] if command is not None else []
        argv += [f"{self.user}@{self.host}"]
        return argv + (["--", *command] if command is not None else [])

    def options(self) -> list[str]:
        """Options that ssh, scp and sftp share."""
        # The first contact pins the host key; any other key at that address is refused afterwards.
        pairs = {
            "IdentityFile": self.key_file,
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": os.devnull,
            "HostKeyAlias": self.alias,
            "StrictHostKeyChecking": "yes" if self.known_hosts.exists() else "accept-new",
            "ConnectTimeout": CONNECT_S,
            "ServerAliveInterval": 15,
            "ServerAliveCountMax": 4,
            "PasswordAuthentication": "no",
            "LogLevel": "ERROR",
        }
        return [word for name, value in pairs.items() for word in ("-o", f"{name}={value}")]


@dataclass(frozen=True, slots=True)
class Result:
    """What a remote command answered. 255 is SSH's own failure."""

    status: int
    stdout: str
    stderr: str


async def run(target: Target, script: str, *, timeout_s: float) -> Result:
    """Run *script* with the machine's ``sh`` and return its answer; 255 if it did not end in *timeout_s*."""
    target.known_hosts.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    process = await asyncio.create_subprocess_exec(
        *target.argv(["sh", "-s"]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C at the terminal is ours to handle
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate(script.encode())
    except TimeoutError:
        return Result(255, "", f"no answer within {timeout_s:g} s")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return Result(process.returncode or 0, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


async def answers(address: Address, env: Env, *, timeout_s: float = 5.0) -> bool:
    """Whether something that speaks SSH answers there: a TCP connection and a banner."""
    host, port = env.dial(address.host, address.port)
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return (await reader.read(4)).startswith(b"SSH-")
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
