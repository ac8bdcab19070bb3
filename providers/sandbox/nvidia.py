"""Puts an `nvidia-smi` on a machine of the sandbox that reports the GPUs which were paid for."""

from __future__ import annotations

import shlex
import uuid
from pathlib import Path

_SCRIPT = Path(__file__).with_name("nvidia-smi.sh")
_SPACE = uuid.UUID("6f9b3c5e-3b0e-5d43-9a54-7e0d2f6f5a11")


def uuids(key: str, count: int) -> list[str]:
    """The UUIDs of a machine's GPUs: always the same for one machine *key*, and no two alike."""
    return [f"GPU-{uuid.uuid5(_SPACE, f'{key}/{index}')}" for index in range(count)]


def write(target: Path, *, key: str, gpu: str, memory_mib: int, count: int) -> None:
    """Write the script to *target*.

    Args:
        gpu: the name as `nvidia-smi` prints it, for example ``NVIDIA L40``.
        memory_mib: memory of each GPU in MiB.
        count: how many there are.
    """
    # GeForce boards ship with ECC off, and then `nvidia-smi` knows no error counts.
    ecc = "[N/A]" if "GeForce" in gpu else "0"
    head = [
        "#!/bin/sh",
        f"NAME={shlex.quote(gpu)}",
        f"MEMORY={int(memory_mib)}",
        f"UUIDS={shlex.quote(' '.join(uuids(key, count)))}",
        f"ECC={shlex.quote(ecc)}",
    ]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(head) + "\n" + _SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")
    target.chmod(0o755)
