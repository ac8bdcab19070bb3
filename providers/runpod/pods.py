"""RunPod's pods as instances: whose they are, what phase they are in, where SSH answers.

What pods were seen to do that their description does not say: `RUNNING` comes right after create, with no
runtime and no address, while the image is still being pulled; `cost` of a stopped pod is not zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from providers import naming
from providers.base import Address, Instance, Phase
from providers.errors import BootFailed, ProviderError

OWNER_VARIABLE = "ORCH_OWNER"
TOKEN_VARIABLE = "ORCH_TOKEN"  # noqa: S105 - the name of a variable

#: USD per hour above which a rate is a mistake.
_ABSURD = 10_000

_PHASES = {
    "PROVISIONING": Phase.PENDING,
    "STARTING": Phase.PENDING,
    "RUNNING": Phase.RUNNING,
    "EXITED": Phase.FAILED,
    "ERROR": Phase.FAILED,
    "TERMINATED": Phase.GONE,
}
_FAILURES = {
    # orch never stops pods, so nobody asked for it: no more credit, maintenance, or the container ended.
    "EXITED": "the pod was stopped, or its container ended (RunPod does not say which)",
    "ERROR": "the pod's container is in an error state",
}


def is_ours(pod: Mapping[str, Any], owner: str) -> bool:
    """Whether *pod* carries the mark of the installation *owner* (the full owner id).

    The name must be one of ours, and where the environment names an owner, it must be this one: two owners
    may share the seven characters in a name, and a clone made in the console may keep the environment.
    """
    return naming.is_ours(_name(pod), owner) and _may_be(pod, owner)


def has_token(pod: Mapping[str, Any], token: str, owner: str) -> bool:
    """Whether *pod* was made for the attempt *token* of the installation *owner*."""
    return _name(pod) == token and _may_be(pod, owner)


def token_of(pod: Mapping[str, Any]) -> str | None:
    """Our name on *pod*; the environment has it too, should a person have renamed the pod."""
    for text in (pod.get("name"), marker(pod, TOKEN_VARIABLE)):
        if isinstance(text, str) and naming.parse(text):
            return text
    return None


def marker(pod: Mapping[str, Any], variable: str) -> str | None:
    """One variable of the pod's environment; None where it is missing or empty."""
    env = pod.get("env")
    value = env.get(variable) if isinstance(env, dict) else None
    return value if isinstance(value, str) and value else None


def phase_of(pod: Mapping[str, Any]) -> Phase:
    """The phase that RunPod's `status` stands for."""
    return _PHASES.get(_status(pod), Phase.UNKNOWN)


def read(
    pod: Mapping[str, Any],
    pod_id: str,
    *,
    account: str,
    seen_at: datetime,
    created: bool = False,
    token: str | None = None,
) -> Instance:
    """*pod* as an instance.

    Args:
        seen_at: stands in the handle for the time of creation, where the pod does not say it.
        created: this is the answer of a create, whose `cost` is the rate that will be billed; in later reads
            it only counts while the pod runs.
        token: our name on it, where that is known better than from the pod.
    """
    phase = phase_of(pod)
    created_at = _time(pod.get("createdAt"))
    # Our clock where we made it ourselves: `missing` compares with our clock again.
    made_at = seen_at if created or created_at is None else created_at
    return Instance(
        provider="runpod",
        account=account,
        id=pod_id,
        handle={"kind": "pod", "made_at": made_at.isoformat()},
        token=token or token_of(pod),
        owner=marker(pod, OWNER_VARIABLE),
        phase=phase,
        address=_address(pod) if phase is Phase.RUNNING else None,
        failure=_failure(pod),
        usd_per_hour=_rate(pod) if created or phase is Phase.RUNNING else None,
        created_at=created_at,
    )


def made_at(handle: Mapping[str, str] | None) -> datetime | None:
    """When the instance of *handle* was made, by our clock if we made it."""
    return _time((handle or {}).get("made_at"))


def _name(pod: Mapping[str, Any]) -> str | None:
    name = pod.get("name")
    # The environment stands in only where an answer leaves the name out: a pod with another name is not ours.
    return name if isinstance(name, str) else marker(pod, TOKEN_VARIABLE)


def _may_be(pod: Mapping[str, Any], owner: str) -> bool:
    return marker(pod, OWNER_VARIABLE) in (None, owner)


def _status(pod: Mapping[str, Any]) -> str:
    status = pod.get("status")
    return status if isinstance(status, str) else ""


def _failure(pod: Mapping[str, Any]) -> ProviderError | None:
    status = _status(pod)
    if status not in _FAILURES:
        return None
    return BootFailed(f"status {status}: {_FAILURES[status]}", code=f"pod-{status.lower()}", scope="host")


def _address(pod: Mapping[str, Any]) -> Address | None:
    # `ssh.proxy` is always filled, but gives a bare shell only and asks for the account's keys: never used.
    ssh = pod.get("ssh")
    direct = ssh.get("direct") if isinstance(ssh, dict) else None
    if not isinstance(direct, dict):
        return None
    host, port, user = direct.get("host"), direct.get("port"), direct.get("username")
    if not isinstance(host, str) or not host or not isinstance(port, int) or isinstance(port, bool):
        return None
    if not 0 < port < 65536:
        return None
    return Address(host=host, port=port, user=user if isinstance(user, str) and user else "root")


def _rate(pod: Mapping[str, Any]) -> Decimal | None:
    cost = pod.get("cost")
    # JSON numbers arrive as int or Decimal. Zero is what a pod says that bills nothing yet, not a price.
    if not isinstance(cost, int | Decimal) or isinstance(cost, bool) or not 0 < cost < _ABSURD:
        return None
    return Decimal(cost)


def _time(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
