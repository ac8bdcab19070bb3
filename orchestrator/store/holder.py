"""Names of the processes that work on leases, and whether one of them is dead.

A holder on this computer whose process is gone loses its claims at once, so that the command after a kill -9
goes on without waiting for the claim's time. Holders elsewhere are judged by time alone.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from providers.env import Env


def new(env: Env) -> str:
    """A name for this process: ``host|pid|start|random``."""
    pid = os.getpid()
    return f"{_host()}|{pid}|{_started(pid) or ''}|{env.new_id(8)}"


def is_dead(name: str | None) -> bool:
    """Whether *name* was a process of this computer and is certainly no more."""
    parts = (name or "").split("|")
    if len(parts) != 4 or parts[0] != _host() or not parts[1].isdigit():
        return False
    pid, start = int(parts[1]), parts[2]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    now = _started(pid)
    # The number may have been given to another process since; the start time tells them apart.
    return bool(start and now and now != start)


def _host() -> str:
    """This computer, as far as process numbers go: containers with one name may count them apart."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{socket.gethostname()[:60]}{space.removeprefix('pid:')}"


def _started(pid: int) -> str | None:
    """The process's start in clock ticks since boot, with the boot's id, where the system tells (Linux)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        state, *rest = text.rpartition(")")[2].split()
        if state == "Z":
            return "zombie"
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()[:8]
        return f"{boot}.{rest[18]}"
    except (OSError, IndexError):
        return None
