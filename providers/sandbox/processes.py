"""Ends everything that runs on one machine of the sandbox, as taking away its power would.

A process group is not enough: a job-control shell puts every job into a group of its own, and `setsid`
leaves the session. So every process of a machine carries the machine's folder in its environment under
`MARK`, and on systems with ``/proc`` whatever carries it is killed, even if it outlived the sandbox that
started it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

MARK = "ORCH_SANDBOX_MACHINE"
SHELL = "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"
_ROUNDS = 5


class Running:
    """The process groups of one machine.

    Args:
        mark: what its processes carry under `MARK`: the path of the machine's folder.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._pids: set[int] = set()
        self._ended = False

    def add(self, pid: int) -> None:
        """A process group has begun. Where the machine has ended meanwhile, so does the group."""
        self._pids.add(pid)
        if self._ended:
            kill_group(pid)

    def remove(self, pid: int) -> None:
        """The group's first process has ended and was waited for; its id may soon mean another one."""
        self._pids.discard(pid)

    def kill(self) -> None:
        """End all of them, for good."""
        self._ended = True
        for pid in self._pids:
            kill_group(pid)
        kill_marked(self._mark)


def kill_group(pid: int, number: int = signal.SIGKILL) -> None:
    """Send signal *number* to the process group that *pid* leads; nothing happens if it has ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def kill_marked(mark: str, proc: Path = Path("/proc")) -> int:
    """Kill every process whose environment says `MARK` = *mark*; returns how many there were.

    It looks again until none is left, because a process may fork while it is being killed. Without *proc*
    (not Linux) it finds nothing.
    """
    killed: set[int] = set()
    for _ in range(_ROUNDS):
        found = _marked(mark, proc)
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not found - killed:
            break
        killed |= found
    return len(killed)


def _marked(mark: str, proc: Path) -> set[int]:
    wanted = f"{MARK}={mark}".encode()
    found = set()
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(proc):
            if entry.name.isdigit() and int(entry.name) != os.getpid() and _carries(entry.path, wanted):
                found.add(int(entry.name))
    return found


def _carries(folder: str, wanted: bytes) -> bool:
    try:
        environment = Path(folder, "environ").read_bytes()
    except OSError:  # ended meanwhile, or somebody else's
        return False
    return wanted in environment.split(b"\0")
