"""Pinned host keys as files that the OpenSSH client reads: one for each machine.

A key in the inventory counts alone. Without one, the first contact pins what the machine shows, in a folder beside the
inventory, and any other key is refused from then on.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from providers.errors import Forbidden
from providers.ssh.inventory import Inventory, Machine


def alias(machine: Machine) -> str:
    """The name under which a machine's host key is looked up, whatever its address."""
    return f"orch-own-{machine.name}"


def options(inventory: Inventory, machine: Machine) -> dict[str, str]:
    """The client's options about host keys.

    Raises:
        Forbidden: the folder for pins cannot be written.
    """
    file = inventory.pins / machine.name
    try:
        inventory.pins.mkdir(parents=True, exist_ok=True, mode=0o700)
        if machine.host_keys:
            file = inventory.pins / f"{machine.name}.inventory"
            _write(file, "".join(f"{alias(machine)} {key}\n" for key in machine.host_keys))
        else:
            # The client goes on where it cannot write a pin, and would trust anybody at every contact.
            file.touch(mode=0o600)
    except OSError as error:
        raise Forbidden(
            f"host keys cannot be kept in {inventory.pins} ({error.strerror}): set `pins` in the inventory to a folder "
            "that can be written",
            code="pins",
        ) from None
    known = bool(machine.host_keys) or (file.is_file() and file.stat().st_size > 0)
    return {
        "UserKnownHostsFile": quoted(file),
        "GlobalKnownHostsFile": os.devnull,
        "HostKeyAlias": alias(machine),
        "StrictHostKeyChecking": "yes" if known else "accept-new",
        "UpdateHostKeys": "no",
    }


def quoted(path: Path) -> str:
    """A path as an option's value: ssh splits at spaces and expands percent signs."""
    return '"' + str(path).replace("%", "%%") + '"'


def _write(file: Path, text: str) -> None:
    """Make *file* say *text*; whoever reads it meanwhile sees the old or the new."""
    with contextlib.suppress(FileNotFoundError):
        if file.read_text(encoding="utf-8") == text:
            return
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)
