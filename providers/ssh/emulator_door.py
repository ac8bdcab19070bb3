"""What goes wrong at a machine's door, or behind it: faults as they come about on a machine that one logs in to.

A session says in its command which verb it serves: ``... orch-own VERB`` (docs/providers/ssh.md). What would be an HTTP
error elsewhere is a shell that fails before the script, output that is cut or replaced after it, or a connection that
breaks. What is about a machine is done on the machine: somebody computes on the GPUs, another card is in it, somebody
else holds the lock and does not let go.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from providers.sandbox import nvidia
from providers.sandbox.faults import Fault
from providers.sandbox.gate import Turn
from providers.ssh.emulator_machines import LOCK, Kind, compute

_VERB = re.compile(r"\borch-own (\w+)$")
#: The contract's names for what a script is sent for.
_KNOWN = frozenset({"offers", "price", "launch", "find", "owned", "terminate"})
#: Behind the effect, in place of what the script said.
_AFTER = {
    "error_after": "( {} ) >/dev/null 2>&1; echo 'sh: out of memory' >&2; exit 2",
    "malformed": """( {} ) >/dev/null 2>&1; printf '{{"oops": [1, 2'""",
    "html": "( {} ) >/dev/null 2>&1; echo '<html><body>Sorry, we are down for maintenance</body></html>'",
    "oversized": "( {} ) >/dev/null 2>&1; head -c 34603008 /dev/zero | tr '\\0' ' '",
    "truncated": "( {} ) 2>/dev/null | head -c 40",
}
_FAILING_SHELL = "cat >/dev/null; echo 'sh: 0: cannot fork: Resource temporarily unavailable' >&2; exit 2"
_UNHEARD_OF = "cat >/dev/null; echo 'account locked by policy 4711' >&2; exit 77"


class House(Protocol):
    """What a door needs of the emulator."""

    def fault(self, kind: str, *, verb: str = "*", subject: str = "") -> Fault | None: ...

    def advance(self) -> None: ...

    def moved(self) -> None:
        """Something may have changed on a machine."""

    def reprice(self, name: str, factor: Decimal) -> None:
        """The machine costs *factor* times as much from now on."""

    def busy(self, name: str) -> list[str]:
        """GPUs of the machine on which somebody computes who is none of ours."""

    def is_down(self, name: str) -> bool:
        """Whether the machine is lost."""


class Door:
    """The gate of one machine (`providers.sandbox.gate`)."""

    def __init__(self, house: House, kind: Kind, home: Path) -> None:
        self._house, self._kind, self._home = house, kind, home

    def admits(self, user: str) -> bool:
        """Not with a key that was revoked."""
        return self._house.fault("bad_key", subject=self._kind.subject()) is None

    def turn(self, user: str, command: str | None) -> Turn:
        """One session, with what is to go wrong in it."""
        self._house.advance()
        found = _VERB.search(command or "")
        verb = found[1] if found and found[1] in _KNOWN else "other"
        if self._house.is_down(self._kind.name) or self._take("down", verb) or self._take("drop_before", verb):
            return Turn(None, cut="before", done=self._house.moved)
        slow = self._take("slow", verb)
        wait_s = 0.0 if slow is None else float(slow.args.get("seconds", 30))
        if command is None or self._take("error_before", verb):
            return Turn(None if command is None else _FAILING_SHELL, wait_s, done=self._house.moved)
        if verb == "launch" and self._take("unknown_code", verb):
            return Turn(_UNHEARD_OF, wait_s, done=self._house.moved)
        undo = self._befall(verb)

        def done() -> None:
            for each in undo:
                each()
            self._house.moved()

        if self._take("lost", verb):
            return Turn(f"( {command} ) >/dev/null 2>&1", wait_s, "after", done)
        for kind, instead in _AFTER.items():
            if self._take(kind, verb):
                return Turn(instead.format(command), wait_s, done=done)
        return Turn(command, wait_s, done=done)

    def _take(self, kind: str, verb: str) -> Fault | None:
        return self._house.fault(kind, verb=verb, subject=self._kind.subject())

    def _befall(self, verb: str) -> list[Callable[[], None]]:
        """What happens to the machine for this session; returns what undoes it."""
        undo: list[Callable[[], None]] = []
        kind = self._kind
        if verb == "price" and (fault := self._take("price_changed", verb)):
            self._house.reprice(kind.name, Decimal(str(fault.args.get("factor", 2))))
        if verb == "launch" and self._take("sold_out", verb):
            compute(self._home, kind.uuids)
            undo.append(lambda: compute(self._home, self._house.busy(kind.name)))
        if verb == "launch" and (fault := self._take("wrong_gpu", verb)):
            device, mib = str(fault.args.get("gpu", "NVIDIA A10")), int(fault.args.get("memory_mib", 23028))
            self._plug(f"{kind.key}-swapped", device, mib)
            undo.append(lambda: self._plug(kind.key, kind.device, kind.device_mib))
        if verb == "terminate" and self._take("ignore_terminate", verb):
            undo.append(self._hang_on_lock())
        return undo

    def _plug(self, key: str, device: str, mib: int) -> None:
        tool = self._home / "bin" / "nvidia-smi"
        nvidia.write(tool, key=key, gpu=device, memory_mib=mib, count=self._kind.count)

    def _hang_on_lock(self) -> Callable[[], None]:
        """Hold the machine's lock, as a process that hangs would."""
        try:
            descriptor = os.open(self._home / LOCK / "lock", os.O_RDONLY)
        except OSError:  # nothing was ever allocated
            return lambda: None
        with contextlib.suppress(OSError):  # somebody else holds it: just as well
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lambda: os.close(descriptor)
