"""Who stands at a machine's door: for emulators of things that answer SSH themselves.

A gate may refuse logins, and may have a session go wrong: before its command has run, or after.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Turn:
    """What becomes of one session.

    Attributes:
        command: what runs instead of what was asked for; None is a shell.
        wait_s: real seconds before it begins.
        cut: the connection is cut "before" the command runs, or "after" it, with nothing said of its end.
        done: called when the session is over.
    """

    command: str | None
    wait_s: float = 0.0
    cut: str = ""
    done: Callable[[], None] = _nothing


class Gate(Protocol):
    """What an emulator puts in front of one machine."""

    def admits(self, user: str) -> bool:
        """Whether *user* may come in at all, whatever the key."""

    def turn(self, user: str, command: str | None) -> Turn:
        """What becomes of a session of *user* that asks for *command*."""
