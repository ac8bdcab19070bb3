"""An SSH host key for one Pod, made where the `cryptography` package is there.

Without it the container makes its own at first start and keeps it in a volume, which serves as well: the key is
only there to be the same after a restart of the container.
"""

from __future__ import annotations

import asyncio


async def make() -> str | None:
    """A fresh ed25519 private key in OpenSSH's form, or None where none can be made here."""
    return await asyncio.to_thread(_make)


def _make() -> str | None:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    except ImportError:
        return None
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
