"""What the sandbox's tests share: SSH key pairs, machines, and the system's own `ssh`."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from providers.sandbox.machines import SshMachines


@dataclass(frozen=True)
class KeyPair:
    file: Path
    public: str


@dataclass(frozen=True)
class Done:
    status: int
    out: bytes
    err: bytes


class Client:
    """OpenSSH's client, told to read no settings of whoever runs the tests."""

    def __init__(self, folder: Path, key: KeyPair) -> None:
        self.folder = folder
        self.key = key
        self.known_hosts = folder / "known_hosts"

    def options(self, port: int, *, key: KeyPair | None = None, flag: str = "-p") -> list[str]:
        settings = [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            f"UserKnownHostsFile={self.known_hosts}",
            "GlobalKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=10",
        ]
        words = [word for setting in settings for word in ("-o", setting)]
        return ["-F", "/dev/null", "-i", str((key or self.key).file), flag, str(port), *words]

    async def ssh(
        self,
        port: int,
        *command: str,
        user: str = "root",
        key: KeyPair | None = None,
        stdin: bytes = b"",
        flags: tuple[str, ...] = (),
    ) -> Done:
        return await run("ssh", *self.options(port, key=key), *flags, f"{user}@127.0.0.1", *command, stdin=stdin)

    async def scp(self, port: int, source: str, target: str, *flags: str) -> Done:
        return await run("scp", *self.options(port, flag="-P"), *flags, source, target)


async def run(*argv: str, stdin: bytes = b"") -> Done:
    """Run a program to its end, at most 30 s."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Done(process.returncode, out, err)


def new_key(file: Path) -> KeyPair:
    key = asyncssh.generate_private_key("ssh-ed25519")
    file.write_bytes(key.export_private_key())
    file.chmod(0o600)
    return KeyPair(file, key.export_public_key().decode().strip())


@pytest.fixture
def key(tmp_path: Path) -> KeyPair:
    return new_key(tmp_path / "id_test")


@pytest.fixture
def client(tmp_path: Path, key: KeyPair) -> Client:
    if not shutil.which("ssh") or not shutil.which("scp"):
        pytest.skip("needs OpenSSH's client: apt-get install openssh-client")
    return Client(tmp_path, key)


@pytest.fixture
async def machines(tmp_path: Path) -> AsyncIterator[SshMachines]:
    found = SshMachines(tmp_path / "machines")
    yield found
    for spec in found.running():
        found.stop(spec.key)
    await found.aclose()
