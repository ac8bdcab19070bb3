"""What goes wrong with own machines, as types: two tables.

`TABLE` maps the statuses that our script on the machine ends with (`own.sh`); `REFUSALS` what the OpenSSH client says
when no script ran at all. Both concern one machine, so their scope is ``host``: the other machines are none the worse.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from providers.errors import (
    AuthFailed,
    BootFailed,
    Forbidden,
    InvalidRequest,
    NoCapacity,
    OfferGone,
    OutcomeUnknown,
    ProviderError,
    Scope,
    Unavailable,
    Unclassified,
    WrongGpu,
)

NO_CAPACITY, LOCKED, OTHER_MACHINE, ENDED, NOT_YET, LOGIN_BUSY = 10, 11, 15, 16, 20, 22
Report = Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One status of the script: its code for people, what to make of it, and how far it reaches."""

    code: str
    error: type[ProviderError]
    scope: Scope = "host"
    hold_s: float | None = None


TABLE: dict[int, Row] = {
    # Fewer GPUs may still be free on that machine.
    NO_CAPACITY: Row("gpus-taken", NoCapacity, "offer"),
    LOCKED: Row("locked", Unavailable),
    12: Row("lock-place", Forbidden),
    13: Row("nvidia-smi", WrongGpu),
    14: Row("other-gpus", WrongGpu),
    OTHER_MACHINE: Row("other-machine", Unavailable),
    ENDED: Row("ended", OfferGone, "offer", 0.0),
    17: Row("setup", BootFailed),
    18: Row("tools", Forbidden),
    19: Row("other-owner", InvalidRequest),
    NOT_YET: Row("not-yet", Unavailable),
    21: Row("other-user", Forbidden),
    LOGIN_BUSY: Row("login-taken", NoCapacity),
    23: Row("same-key", Forbidden),
    # It is there: only a look, and then an end, will do.
    24: Row("half-made", OutcomeUnknown),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One way in which the OpenSSH client fails before anything ran on the machine.

    Attributes:
        pattern: looked for in its stderr, whatever the case.
        again: a read may be tried again at once.
        hint: what to do.
    """

    pattern: str
    code: str
    error: type[ProviderError]
    again: bool = False
    hint: str = ""


#: Read from the top, the first that fits decides. The words are those of OpenSSH 7.4 to 10.
REFUSALS: tuple[Refusal, ...] = (
    Refusal(
        r"host key verification failed|remote host identification has changed|no \S+ host key is known",
        "host-key",
        AuthFailed,
        hint="its host key is not the pinned one: somebody else may be answering there. If the machine was "
        "reinstalled, set host_key in the inventory, or remove its pin (docs/providers/ssh.md)",
    ),
    Refusal(
        r"permission denied|too many authentication failures|no supported authentication methods",
        "key-refused",
        AuthFailed,
        hint="put the public key of key_file into the login's authorized_keys there",
    ),
    Refusal(
        r"unprotected private key|bad permissions|invalid format|no such identity|error in libcrypto|"
        r"incorrect passphrase",
        "key-file",
        AuthFailed,
        hint="key_file cannot be used: it must be a private key without passphrase, mode 0600",
    ),
    Refusal(r"could not resolve hostname|name or service not known", "no-such-host", Unavailable),
    Refusal(
        r"connect to \S+ (?:\S+ )?port \d+: (?:connection timed out|no route|network is unreachable|host is down)|"
        r"connection timed out during|operation timed out",
        "no-route",
        Unavailable,
    ),
    Refusal(r"connect to \S+ (?:\S+ )?port \d+:", "not-listening", Unavailable, again=True),
    # sshd drops connections while too many are being opened (MaxStartups).
    Refusal(r"kex_exchange_identification|ssh_exchange_identification|banner exchange", "dropped", Unavailable, True),
    Refusal(r"no matching (?:\S+ )+found|protocol mismatch", "protocol", Unavailable),
)


def refused(machine: str, stderr: str) -> tuple[ProviderError, bool] | None:
    """What the client's *stderr* means and whether to try again, or None if it proves no refusal."""
    for row in REFUSALS:
        if re.search(row.pattern, stderr, re.IGNORECASE):
            said = row.hint or last_line(stderr)
            return row.error(f"{machine}: {said}", code=row.code, scope="host"), row.again
    return None


def from_status(machine: str, status: int, why: str, report: Report | None = None) -> ProviderError:
    """The error for a status of the script; one that no table knows is counted."""
    row = TABLE.get(status)
    text = f"{machine}: {why or 'no reason given'}"
    if row is None:
        if report is not None:
            report("ssh", f"status-{status}", why)
        return Unclassified(text, code=f"status-{status}", scope="host")
    return row.error(text, code=row.code, scope=row.scope, hold_s=row.hold_s)


def last_line(text: str) -> str:
    """The last line that says something, at most 300 characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "the SSH client said nothing"
