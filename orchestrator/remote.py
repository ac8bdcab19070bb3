"""A running machine over SSH, for `orch ssh`, `orch exec` and pipelines."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.ssh import Target


@dataclass(frozen=True, slots=True)
class Remote:
    """How to reach one machine."""

    target: Target

    @property
    def host(self) -> str:
        """Where it is dialled."""
        return self.target.host

    @property
    def port(self) -> int:
        """The port that is dialled."""
        return self.target.port

    @property
    def user(self) -> str:
        """The remote user."""
        return self.target.user

    @property
    def key_file(self) -> Path:
        """The private key that opens it."""
        return self.target.key_file

    def ssh_argv(self, command: Sequence[str] | None = None, *, tty: bool = False) -> list[str]:
        """The system's ssh command line; *command* is quoted, so its words arrive as they are."""
        words = None if command is None else [shlex.join(command)]
        return self.target.argv(words, tty=tty, batch=command is not None)

    def ssh_line(self) -> str:
        """A command line that a person can copy: key, pinned host key, address."""
        target = self.target
        known = f"-o UserKnownHostsFile={target.known_hosts} -o HostKeyAlias={target.alias}"
        return f"ssh -i {target.key_file} {known} -p {target.port} {target.user}@{target.host}"

    async def run(self, command: Sequence[str]) -> int:
        """Run *command* there with our own standard streams; its exit status, 255 if unreachable."""
        process = await asyncio.create_subprocess_exec(*self.ssh_argv(command))
        return await process.wait()
