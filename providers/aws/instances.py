"""EC2's instances as ours: phase, address, mark, and why one ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from providers import naming
from providers.aws.errors import failure
from providers.aws.images import USER
from providers.aws.request import OWNER_TAG, TOKEN_TAG
from providers.base import Address, Instance, Phase
from providers.errors import BootFailed, ProviderError

_PHASES = {
    "pending": Phase.PENDING,
    "running": Phase.RUNNING,
    "shutting-down": Phase.STOPPING,
    "stopping": Phase.STOPPING,
    # orch never stops a machine. A stopped one does not compute, and its disk bills on.
    "stopped": Phase.FAILED,
    "terminated": Phase.GONE,
}
#: Every state but `terminated`.
ALIVE = ("pending", "running", "stopping", "stopped", "shutting-down")


def rows_of(reservations: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The instances of all *reservations*."""
    for reservation in reservations:
        listed = reservation.get("Instances")
        for row in listed if isinstance(listed, list) else ():
            if isinstance(row, Mapping) and isinstance(row.get("InstanceId"), str):
                yield row


def state(row: Mapping[str, Any], key: str = "State") -> str:
    """EC2's word for the state."""
    part = row.get(key)
    name = part.get("Name") if isinstance(part, Mapping) else None
    return name if isinstance(name, str) else ""


def tags(row: Mapping[str, Any]) -> dict[str, str]:
    """The tags as a mapping; those of an ended instance fade away."""
    listed = row.get("Tags")
    pairs = listed if isinstance(listed, list) else []
    return {str(pair.get("Key")): str(pair.get("Value") or "") for pair in pairs if isinstance(pair, Mapping)}


def is_ours(row: Mapping[str, Any], owner: str) -> bool:
    """Whether the full owner id on it is ours."""
    return tags(row).get(OWNER_TAG) == owner


def read(
    row: Mapping[str, Any],
    *,
    account: str,
    region: str,
    seen_at: datetime,
    token: str | None = None,
    user: str = USER,
    created: bool = False,
) -> Instance:
    """*row* as an instance.

    Args:
        token: our name on it, where that is known better than from the answer.
        user: as whom SSH logs in.
        created: this is the answer of a create, whose time is our clock's *seen_at*.
    """
    marks, word = tags(row), state(row)
    phase = _PHASES.get(word, Phase.UNKNOWN)
    cause = _failure(row, word)
    if cause is not None and phase in (Phase.GONE, Phase.STOPPING, Phase.FAILED):
        phase = Phase.FAILED
    made = _time(row.get("LaunchTime"))
    return Instance(
        provider="aws",
        account=account,
        id=str(row["InstanceId"]),
        handle=_handle(row, region, seen_at if created or made is None else made),
        token=token or _token(row, marks),
        owner=marks.get(OWNER_TAG),
        phase=phase,
        address=_address(row, user) if phase is Phase.RUNNING else None,
        failure=cause,
        usd_per_hour=None,  # EC2 reports no rate
        created_at=made,
    )


def made_at(handle: Mapping[str, str]) -> datetime | None:
    """When the instance of *handle* was made."""
    try:
        moment = datetime.fromisoformat(handle.get("made_at", ""))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def best(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Of several with one token the living one, then the newest."""
    order = sorted(rows, key=lambda row: str(_time(row.get("LaunchTime")) or ""), reverse=True)
    return min(order, key=lambda row: state(row) == "terminated", default=None)


def _failure(row: Mapping[str, Any], word: str) -> ProviderError | None:
    if word == "stopped":
        reason = _reason(row)
        return failure(*reason) or BootFailed("the machine was stopped", code=reason[0] or "stopped", scope="offer")
    return failure(*_reason(row)) if word in ("shutting-down", "terminated") else None


def _reason(row: Mapping[str, Any]) -> tuple[str, str]:
    part = row.get("StateReason")
    reason = part if isinstance(part, Mapping) else {}
    message = str(reason.get("Message") or row.get("StateTransitionReason") or "")
    return str(reason.get("Code") or ""), message


def _token(row: Mapping[str, Any], marks: Mapping[str, str]) -> str | None:
    # The client token is the name and a zone.
    begun = str(row.get("ClientToken") or "")[:25]
    return next((text for text in (marks.get(TOKEN_TAG), marks.get("Name"), begun) if naming.parse(text)), None)


def _handle(row: Mapping[str, Any], region: str, made: datetime) -> dict[str, str]:
    handle = {"kind": "instance", "region": region, "made_at": made.isoformat()}
    groups = row.get("SecurityGroups")
    interfaces = row.get("NetworkInterfaces")
    listed = list(groups) if isinstance(groups, list) else []
    for interface in interfaces if isinstance(interfaces, list) else ():
        listed += interface.get("Groups") or []
    # Never a group that is not orch's: it would be deleted at the end.
    ours = {str(group.get("GroupId")) for group in listed if str(group.get("GroupName") or "").startswith("orch-")}
    if ours:
        handle["groups"] = " ".join(sorted(ours))
    return handle


def _address(row: Mapping[str, Any], user: str) -> Address | None:
    host = row.get("PublicIpAddress") or row.get("PublicDnsName")
    return Address(host=host, port=22, user=user) if isinstance(host, str) and host else None


def _time(value: Any) -> datetime | None:
    if not isinstance(value, datetime):
        return None
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
