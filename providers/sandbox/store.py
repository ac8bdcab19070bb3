"""The sandbox's state as a file, so that killing it loses nothing that a client was told."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from providers.sandbox.client import SandboxError

_VERSION = 1


class StateError(SandboxError):
    """The state file cannot be used; the message says why."""


def write_private(file: Path, data: bytes) -> None:
    """Replace *file* (mode 0600) in one step: a reader sees the old bytes or the new ones."""
    # Not synced to the disk: this outlives the death of the process, not that of the computer, where the machines
    # that it tells of are gone as well.
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(data)
        part.replace(file)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        raise


def read_state(file: Path) -> dict[str, Any] | None:
    """The saved state, or None if there is none.

    Raises:
        StateError: it is unreadable, or another version of this program wrote it.
    """
    try:
        state = json.loads(file.read_bytes())
        version = state["version"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(f"cannot read {file}: {error!r}") from None
    if version != _VERSION:
        raise StateError(f"{file} has version {version}, and this program reads version {_VERSION}")
    found: dict[str, Any] = state["state"]
    return found


class StateFile:
    """Writes what *state* gives to *file* whenever it has changed."""

    def __init__(self, file: Path, state: Callable[[], dict[str, Any]]) -> None:
        self._file = file
        self._state = state
        self._written = b""

    def save(self) -> None:
        """Bring the file up to date. Cheap if nothing has changed.

        It is called before every answer, of reads too: a read may be what moved a machine on, and its answer tells
        of addresses that must not change when the sandbox comes back.
        """
        data = json.dumps({"version": _VERSION, "state": self._state()}).encode()
        if data != self._written:
            write_private(self._file, data)
            self._written = data
