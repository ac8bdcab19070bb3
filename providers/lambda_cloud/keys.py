"""The SSH key of a launch, which on Lambda is a thing of the account that is named at launch.

One key an installation, named after its owner and its own content, so that all processes agree on the name without
asking each other. It is registered just before it is needed and then stays: it costs nothing, and taking it away
when "nothing uses it" would race with a launch that has just seen it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from providers import naming
from providers.errors import (
    Forbidden,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    Unavailable,
    Unclassified,
)
from providers.lambda_cloud.client import Client

LONGEST_KEY = 4096
TRIES = 3
#: What an existing key is refused with; the code for keys is not documented.
_TAKEN = frozenset({"global/duplicate", "ssh-keys/key-in-use"})


def name_of(public_key: str, owner: str) -> str:
    """``orch-<owner7>-<16 hexadecimal digits of its SHA-256>``: the name we register *public_key* under."""
    digest = hashlib.sha256(" ".join(blob(public_key)).encode()).hexdigest()
    return f"orch-{naming.owner7(owner)}-{digest[:16]}"


def blob(public_key: str) -> tuple[str, ...]:
    """Type and key of an OpenSSH line: what counts. Comment and white space do not."""
    return tuple(public_key.split()[:2])


def registered(listed: Iterable[Mapping[str, Any]], public_key: str, owner: str) -> str | None:
    """The name under which *public_key* is on the account already: ours if it is there, else anybody's."""
    wanted, found = blob(public_key), []
    for row in listed:
        name, text = row.get("name"), row.get("public_key")
        if isinstance(name, str) and name and isinstance(text, str) and blob(text) == wanted:
            found.append(name)
    ours = name_of(public_key, owner)
    return ours if ours in found else min(found, default=None)


def check(public_key: str) -> str:
    """*public_key* as it is sent: one line, stripped.

    Raises:
        InvalidRequest: it is none, or longer than Lambda takes.
    """
    line = public_key.strip()
    if len(blob(line)) < 2 or "\n" in line or len(line) > LONGEST_KEY:
        raise InvalidRequest(f"no public key line of at most {LONGEST_KEY} characters", code="bad-ssh-key")
    return line


async def ensure(client: Client, public_key: str, owner: str) -> str:
    """The name of *public_key* on the account, registered now if it was not. Safe to do twice at once.

    Raises:
        Forbidden: its name is taken by another key.
        Unavailable: it cannot be told whether it is there. No machine was asked for.
    """
    line = check(public_key)
    name = name_of(line, owner)
    refused: ProviderError | None = None
    for _ in range(TRIES):
        listed = await client.ssh_keys()
        if found := registered(listed, line, owner):
            return found
        if any(row.get("name") == name for row in listed):
            raise Forbidden(f"the SSH key {name!r} on the account is another key: remove it", code="ssh-key-name")
        if refused is not None and not isinstance(refused, OutcomeUnknown) and refused.code not in _TAKEN:
            raise refused
        try:
            await client.add_ssh_key(name, line)
        except (InvalidRequest, OutcomeUnknown, Unclassified) as error:
            # Another process was faster, or the answer got lost, or it is a true refusal: the list knows.
            refused = error
            continue
        return name
    raise Unavailable(f"the SSH key could not be registered: {refused}", code="ssh-key", scope="provider")
