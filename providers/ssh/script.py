"""Puts together what is fed to ``sh -s`` on a machine: variables, the library `own.sh`, and one last line that runs it.

Nothing of it stands on a command line, so no environment variable of a workload shows in the machine's ``ps``.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from providers.base import LaunchSpec
from providers.errors import InvalidRequest
from providers.ssh.inventory import Machine

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
#: As the pack of the allocation sets them; a workload's own would break the fence around its GPUs.
_RESERVED = frozenset({"ORCH_OWN_TOKEN", "ORCH_OWN_TIMER", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HOME"})
_KEY = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/]+=*", re.ASCII)


@functools.cache
def library() -> str:
    """The text of `own.sh`."""
    return Path(__file__).with_name("own.sh").read_text(encoding="utf-8")


def build(verb: str, machine: Machine, *, login: str, nonce: str, owner: str, values: Mapping[str, str]) -> str:
    """The whole script for one call; *values* are further variables."""
    known = {
        "VERB": verb,
        "NONCE": nonce,
        "OWNER": owner,
        "LOGIN": login,
        "ROOT": machine.lock_dir.rstrip("/"),
        "WORK": machine.work_dir.rstrip("/"),
        "KEYS": machine.authorized_keys.replace("%u", login),
        "DEDICATED": "yes" if machine.dedicated else "no",
        **dict.fromkeys(("TOKEN", "MACHINE_ID", "NOW"), ""),
        **values,
    }
    variables = "".join(f"{name}={shlex.quote(value)}\n" for name, value in known.items())
    return f"{variables}{library()}\nown_main\n"


def launch_values(
    spec: LaunchSpec, machine: Machine, *, gpus: str, count: int, machine_id: str, now: datetime
) -> dict[str, str]:
    """The variables of a launch.

    Raises:
        InvalidRequest: the key or an environment variable cannot be written down on the machine.
    """
    key = " ".join(spec.ssh_public_key.split()[:2])
    if not _KEY.fullmatch(key):
        raise InvalidRequest("the lease's public key is no OpenSSH public key line", code="bad-ssh-key")
    if spec.cmd and "\0" in spec.cmd:
        raise InvalidRequest("a command cannot hold a zero byte", code="invalid-spec")
    ttl = "" if spec.ends_at is None else str(max(1, round((spec.ends_at - now).total_seconds())))
    return {
        "LEASE": spec.lease,
        "ELIGIBLE": gpus,
        "COUNT": str(count),
        "MACHINE_ID": machine_id,
        "NOW": stamp(now),
        "TTL_S": ttl,
        "PUBLIC_KEY": key,
        # Forwarding survives the end of the last session, so it is for logins that are ended whole.
        "KEY_OPTIONS": "restrict,pty,port-forwarding" if machine.dedicated else "restrict,pty",
        "EXPORTS": exports(spec.env),
        "COMMAND": spec.cmd or "",
        "OWN_LIBRARY": library(),
    }


def exports(env: Mapping[str, str]) -> str:
    """Lines of shell that set the workload's environment."""
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise InvalidRequest(f"environment variable {name!r} cannot be set", code="invalid-spec")
        if name in _RESERVED:
            raise InvalidRequest(f"{name} is set by the allocation itself", code="invalid-spec")
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items())


def stamp(when: datetime) -> str:
    """A time as records hold it."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
