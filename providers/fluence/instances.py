"""Fluence's instances as the contract's: phase, address, and why a container will never start."""

from __future__ import annotations

import getopt
import re
import shlex
from urllib.parse import urlsplit

from providers.base import Address, Instance, Phase
from providers.errors import BadWorkload, BootFailed, NoCapacity, ProviderError
from providers.fluence.wire import Machine

#: `INITIALIZED` in the API reference, "Initiated" in prose. Any other word is UNKNOWN: look again later.
#: ACTIVE means that the machine is there and bills, not that it can be reached: that takes an address.
PHASES = {
    "initialized": Phase.PENDING,
    "initiated": Phase.PENDING,
    "active": Phase.RUNNING,
    "failed": Phase.FAILED,
    "ended": Phase.GONE,
}
#: Nothing is left and nothing bills: after FAILED all money comes back.
TERMINAL = frozenset({Phase.FAILED, Phase.GONE})

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*")
# OpenSSH's options: those followed by a colon take a value.
_SSH_OPTIONS = "B:b:c:D:E:e:F:I:i:J:L:l:m:O:o:P:p:Q:R:S:W:w:46AaCfGgKkMNnqsTtVvXxYy"

_GIVES_UP = re.compile(r"\[BackOff\]|CrashLoopBackOff|ImagePullBackOff", re.IGNORECASE)
_CRASHES = re.compile(r"restarting failed|CrashLoopBackOff", re.IGNORECASE)
_IMAGE_WRONG = re.compile(
    r"manifest unknown|not found|does not exist|access denied|authorization failed|authentication required"
    r"|unauthorized|InvalidImageName|invalid reference format",
    re.IGNORECASE,
)


def phase_of(machine: Machine) -> Phase:
    """The contract's word for Fluence's."""
    return PHASES.get(machine.status, Phase.UNKNOWN)


def instance_of(
    machine: Machine, *, account: str, failure: ProviderError | None = None, with_address: bool = False
) -> Instance:
    """The contract's view of *machine*.

    Args:
        failure: why it will never come up, if that is known from elsewhere; its phase is FAILED then, although
            Fluence calls it ACTIVE and bills it until its end.
        with_address: *machine* is a detail answer: only those say where SSH answers.
    """
    phase = phase_of(machine) if failure is None else Phase.FAILED
    if phase is Phase.FAILED and failure is None:
        # Upstream had no machine after all. The money comes back and the next offer may have better luck.
        failure = NoCapacity("fluence: provisioning failed after the order was accepted", code="FAILED")
    rate = machine.hourly_usage  # 0 once it has ended
    return Instance(
        provider="fluence",
        account=account,
        id=machine.id,
        handle={"kind": machine.kind},
        token=machine.name,
        phase=phase,
        address=address_of(machine) if with_address and phase is Phase.RUNNING else None,
        failure=failure,
        usd_per_hour=rate if rate else None,
        created_at=machine.created_at,
    )


def address_of(machine: Machine) -> Address | None:
    """Where SSH answers according to a detail answer, or None as long as that is not known."""
    if machine.kind == "containers":
        return _container_address(machine)
    found = ssh_address(machine.ssh_connection) if machine.ssh_connection else None
    if found is not None or machine.domain is None or not _HOST.fullmatch(machine.domain):
        return found
    # Documented: the domain serves when there is no command. Which user is a guess by the image's name.
    ubuntu = "ubuntu" in (machine.os_image or "").casefold()
    return Address(host=machine.domain, port=22, user="ubuntu" if ubuntu else "root")


def ssh_address(command: str) -> Address | None:
    """The address in a command like ``ssh -p 2222 ubuntu@203.0.113.9``, or None if it is no such command."""
    try:
        words = shlex.split(command)
        options, rest = getopt.gnu_getopt(words[1:], _SSH_OPTIONS) if words[:1] == ["ssh"] else ([], words)
    except (ValueError, getopt.GetoptError):
        return None
    if not rest or (words[0] != "ssh" and ("@" not in command or len(words) != 1)):
        return None  # a bare user@host is understood, prose is not
    given = dict(options)
    if rest[0].startswith("ssh://"):
        return _from_url(rest[0], given.get("-l"))
    user, at, host = rest[0].rpartition("@")
    return _address(host, given.get("-p", "22"), user if at else given.get("-l", "root"))


def doomed(events: list[str], *, own_image: bool) -> ProviderError | None:
    """What a container's events say against it ever starting; None if there is still hope.

    Kubernetes' BackOff reason is the sign: something failed at least twice. An image that nobody can pull and
    a command that dies are the user's; with our own image and no command they are the host's.

    Args:
        own_image: neither image nor command is the user's.
    """
    if not any(_GIVES_UP.search(line) for line in events):
        return None
    tail = " | ".join(line.strip() for line in events[-5:])[:600]
    crashes = any(_CRASHES.search(line) for line in events)
    code = "crash-loop" if crashes else "image-pull"
    what = "dies after every start" if crashes else "cannot get its image"
    wrong = crashes or any(_IMAGE_WRONG.search(line) for line in events)
    kind = BadWorkload if wrong and not own_image else BootFailed
    return kind(f"fluence: the container {what}: {tail}", code=code)


def _container_address(machine: Machine) -> Address | None:
    # ACTIVE with NOT_STARTED: the place is rented and bills, the container does not run (yet).
    if machine.container_status == "not_started" or machine.domain is None:
        return None
    for port in machine.ports:
        if port.inside == 22 and port.protocol == "tcp" and _HOST.fullmatch(machine.domain):
            return Address(host=machine.domain, port=port.outside, user="root")
    return None


def _from_url(url: str, user: str | None) -> Address | None:
    try:
        parts = urlsplit(url)
        return _address(parts.hostname or "", str(parts.port or 22), parts.username or user or "root")
    except ValueError:
        return None


def _address(host: str, port: str, user: str) -> Address | None:
    host = host.removeprefix("[").removesuffix("]")
    number = int(port) if re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) else 0
    if not _HOST.fullmatch(host) or not _USER.fullmatch(user) or not 0 < number < 65536:
        return None
    return Address(host=host, port=number, user=user)
