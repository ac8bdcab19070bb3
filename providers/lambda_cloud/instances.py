"""Lambda's machines as instances: whose they are, what phase they are in, where SSH answers.

A machine says nothing of when it was made. `ip`, `name` and others may be absent or null while it boots. The
JupyterLab token and URL among its fields are secrets and are never taken over.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from providers import naming
from providers.base import Address, Instance, Phase
from providers.lambda_cloud.offers import usd_per_hour

OWNER_TAG = "orch:owner"
TOKEN_TAG = "orch:token"  # noqa: S105 - the name of a tag
USER = "ubuntu"

#: `active` means that it bills, not that it can be reached. `unhealthy` has failed its health checks and may
#: recover: it is neither running nor failed, and whoever waits for it has a deadline; like any other word it is
#: UNKNOWN. `preempted` is gone although nobody asked and no spot tier is sold; as pending it would be waited for.
PHASES = {
    "booting": Phase.PENDING,
    "active": Phase.RUNNING,
    "unhealthy": Phase.UNKNOWN,
    "terminating": Phase.STOPPING,
    "terminated": Phase.GONE,
    "preempted": Phase.GONE,
}


def is_ours(machine: Mapping[str, Any], owner: str) -> bool:
    """Whether *machine* carries the mark of the installation *owner* (the full owner id).

    Its tag decides, for names can be changed by people and tags cannot. Only where an answer has no such tag
    (whether lists give tags back was not seen) the name counts, with its seven characters of the owner.
    """
    tagged = tag(machine, OWNER_TAG)
    return naming.is_ours(_text(machine.get("name")), owner) if tagged is None else tagged == owner


def has_token(machine: Mapping[str, Any], token: str, owner: str) -> bool:
    """Whether *machine* was made for the attempt *token* of the installation *owner*."""
    return token_of(machine) == token and is_ours(machine, owner)


def is_marked(machine: Mapping[str, Any]) -> bool:
    """Whether any installation of orch has marked it."""
    return token_of(machine) is not None or tag(machine, OWNER_TAG) is not None


def token_of(machine: Mapping[str, Any]) -> str | None:
    """Our token on *machine*, from its tag, else from its name."""
    for text in (tag(machine, TOKEN_TAG), _text(machine.get("name"))):
        if naming.parse(text):
            return text
    return None


def tag(machine: Mapping[str, Any], key: str) -> str | None:
    """The value of one tag; None where it is missing or empty."""
    tags = machine.get("tags")
    for one in tags if isinstance(tags, list) else []:
        if isinstance(one, dict) and one.get("key") == key:
            return _text(one.get("value"))
    return None


def phase_of(machine: Mapping[str, Any]) -> Phase:
    """The phase that Lambda's `status` stands for."""
    return PHASES.get(_text(machine.get("status")) or "", Phase.UNKNOWN)


def read(machine: Mapping[str, Any], *, account: str) -> Instance:
    """*machine*, which has an id, as an instance."""
    phase = phase_of(machine)
    return Instance(
        provider="lambda",
        account=account,
        id=str(machine["id"]),
        # Without `made_at`: it has been seen, so a later "does not exist" can be believed.
        handle={"kind": "instance"},
        token=token_of(machine),
        owner=tag(machine, OWNER_TAG),
        phase=phase,
        address=_address(machine) if phase is Phase.RUNNING else None,
        usd_per_hour=_rate(machine) if phase is not Phase.GONE else None,
    )


def made(id_: str, *, account: str, token: str, owner: str, now: datetime) -> Instance:
    """What a launch has made, of which only the id is known. Its handle says when, by our clock."""
    return Instance(
        provider="lambda",
        account=account,
        id=id_,
        handle={"kind": "instance", "made_at": now.isoformat()},
        token=token,
        owner=owner,
        phase=Phase.PENDING,
    )


def age_s(handle: Mapping[str, str] | None, now: datetime) -> float | None:
    """Seconds since the launch that wrote *handle*; None if the machine has been seen since, or nobody knows."""
    try:
        moment = datetime.fromisoformat((handle or {}).get("made_at", ""))
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    # Another computer's clock may have written it.
    return abs((now - moment).total_seconds())


def _address(machine: Mapping[str, Any]) -> Address | None:
    try:
        host = str(ipaddress.ip_address(_text(machine.get("ip")) or ""))
    except ValueError:
        return None
    return Address(host=host, port=22, user=USER)


def _rate(machine: Mapping[str, Any]) -> Decimal | None:
    kind = machine.get("instance_type")
    return usd_per_hour(kind.get("price_cents_per_hour")) if isinstance(kind, dict) else None


def _text(value: Any) -> str | None:
    return value or None if isinstance(value, str) else None
