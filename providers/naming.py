"""Our names on providers' things: ``orch-<owner7>-<lease9>-<nn>``, 25 characters of a-z, 0-9 and hyphens.

25 is the narrowest provider's limit (Fluence). `nn` counts attempts over a lease's whole life, in base 36.
Where tags exist the full owner id is written too and must match; where only the name is there, the seven
characters of the owner are the mark.
"""

from __future__ import annotations

import base64
import re
from typing import NamedTuple

_NAME = re.compile(r"^orch-([a-z2-7]{7})-([a-z2-7]{9})-([0-9a-z]{2})$")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
MAX_ATTEMPTS = 36 * 36


class Name(NamedTuple):
    """The parts of one of our names."""

    owner7: str
    lease: str
    attempt: int


def owner7(owner: str) -> str:
    """The seven characters (35 bits) of the owner id, 32 hexadecimal digits, that fit into a name."""
    return base64.b32encode(bytes.fromhex(owner)).decode().lower()[:7]


def make(owner: str, lease: str, attempt: int) -> str:
    """The name of attempt number *attempt* (from 1) of *lease* (nine characters a-z, 2-7).

    Raises:
        ValueError: the lease has used up its 1295 names, or an argument has a wrong form.
    """
    if not 0 < attempt < MAX_ATTEMPTS:
        raise ValueError(f"attempt {attempt} does not fit into a name (1 to {MAX_ATTEMPTS - 1})")
    name = f"orch-{owner7(owner)}-{lease}-{_DIGITS[attempt // 36]}{_DIGITS[attempt % 36]}"
    if not _NAME.match(name):
        raise ValueError(f"{name!r} is no valid name: a lease id has nine characters a-z, 2-7")
    return name


def parse(name: str | None) -> Name | None:
    """The parts of *name*, or None if it is not one of orch's names (of any installation)."""
    match = _NAME.match(name or "")
    if not match:
        return None
    nn = match[3]
    return Name(match[1], match[2], _DIGITS.index(nn[0]) * 36 + _DIGITS.index(nn[1]))


def is_ours(name: str | None, owner: str) -> bool:
    """Whether *name* carries this installation's mark."""
    parts = parse(name)
    return parts is not None and parts.owner7 == owner7(owner)
