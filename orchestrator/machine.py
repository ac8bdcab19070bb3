"""A rented machine as pipelines use it: run a command, put files, get files.

`Machine` is async; `orchestrator.sync` has its blocking twin.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ConfigError, OrchError
from orchestrator.models import Lease, Receipt
from orchestrator.ssh import Target

UNREACHABLE = 255


class CommandFailed(OrchError):
    """A remote command ended with another status than 0. `completed` holds its output."""

    def __init__(self, completed: Completed) -> None:
        tail = (completed.stderr or completed.stdout).strip().splitlines()[-1:]
        super().__init__(f"{completed.command!r} ended with {completed.status}" + (f": {tail[0]}" if tail else ""))
        self.completed = completed

    def __reduce__(self) -> tuple[type[CommandFailed], tuple[Completed]]:
        """Made again from what it is made of: pipeline tools send exceptions between processes."""
        return type(self), (self.completed,)


@dataclass(frozen=True, slots=True)
class Completed:
    """What a remote command did. Status 255 means that SSH itself failed."""

    command: str
    status: int
    stdout: str
    stderr: str


@dataclass(slots=True)
class Machine:
    """One running machine.

    Attributes:
        lease: our record of it, as it was when the machine became ready.
        receipt: proof of its end, once `rented` has ended it.
    """

    lease: Lease
    target: Target
    receipt: Receipt | None = None

    async def run(
        self, command: str | Sequence[str], *, check: bool = True, timeout_s: float | None = None
    ) -> Completed:
        """Run *command* with the machine's shell and collect its output.

        Args:
            command: a shell line, or words that arrive as they are.
            check: raise if it does not end with 0.
            timeout_s: seconds after which it is given up (the remote side may go on).

        Raises:
            CommandFailed: it ended with another status, and *check* is set.
            TimeoutError: it took longer than *timeout_s*.
        """
        line = command if isinstance(command, str) else shlex.join(command)
        status, out, err = await _run(self.target.argv([line]), timeout_s)
        completed = Completed(line, status, out, err)
        if check and status != 0:
            raise CommandFailed(completed)
        return completed

    async def put(self, local: str | Path, remote: str) -> None:
        """Copy a file or folder there. Relative *remote* paths start in the user's home folder.

        Raises:
            CommandFailed: scp could not do it.
        """
        await self._copy([str(local), self._at(remote)])

    async def get(self, remote: str, local: str | Path) -> None:
        """Copy a file or folder from there.

        Raises:
            CommandFailed: scp could not do it.
        """
        await self._copy([self._at(remote), str(local)])

    def _at(self, remote: str) -> str:
        host = f"[{self.target.host}]" if ":" in self.target.host else self.target.host
        return f"{self.target.user}@{host}:{remote}"

    async def _copy(self, ends: list[str]) -> None:
        scp = shutil.which("scp")
        if scp is None:
            raise ConfigError("there is no scp on this computer", hint="install it: apt-get install openssh-client")
        argv = [scp, "-F", "none", "-q", "-r", "-p", *self.target.options(), "-o", "BatchMode=yes"]
        status, out, err = await _run([*argv, "-P", str(self.target.port), "--", *ends], None)
        if status != 0:
            raise CommandFailed(Completed(f"scp {ends[0]} {ends[1]}", status, out, err))


async def _run(argv: list[str], timeout_s: float | None) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    status = process.returncode if process.returncode is not None else UNREACHABLE
    return status, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")
