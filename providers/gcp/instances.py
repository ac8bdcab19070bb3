"""Google's instances as ours: phase, address, mark, and why one ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from providers import naming
from providers.base import Address, Instance, Phase
from providers.errors import BootFailed, ProviderError
from providers.gcp.errors import ended
from providers.gcp.images import USER
from providers.gcp.request import OWNER_LABEL, TOKEN_LABEL

_PHASES = {
    "PENDING": Phase.PENDING,
    "PROVISIONING": Phase.PENDING,
    "STAGING": Phase.PENDING,
    "RUNNING": Phase.RUNNING,
    "PENDING_STOP": Phase.STOPPING,
    "STOPPING": Phase.STOPPING,
    "DEPROVISIONING": Phase.STOPPING,
    # orch stops and suspends nothing. What stands still does not compute, and its disk bills on; a machine in
    # repair has lost what it did. All of them are ended.
    "TERMINATED": Phase.FAILED,
    "STOPPED": Phase.FAILED,
    "SUSPENDING": Phase.FAILED,
    "SUSPENDED": Phase.FAILED,
    "REPAIRING": Phase.FAILED,
}
KIND, RULE_KIND = "instance", "firewall"


def labels(row: Mapping[str, Any]) -> dict[str, str]:
    """The labels as a mapping of texts."""
    found = row.get("labels")
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, Mapping) else {}


def is_ours(row: Mapping[str, Any], owner: str) -> bool:
    """Whether the full owner id on it is ours."""
    return labels(row).get(OWNER_LABEL) == owner


def read(
    row: Mapping[str, Any],
    *,
    account: str,
    zone: str,
    user: str | None = None,
    operation: str = "",
) -> Instance:
    """*row* as an instance.

    Args:
        user: as whom SSH logs in, where that is known better than from the metadata.
        operation: the name of the operation that makes it, if it is known.
    """
    name, marks = str(row.get("name") or ""), labels(row)
    status = str(row.get("status") or "")
    phase = _PHASES.get(status, Phase.UNKNOWN)
    failure = None
    if phase is Phase.FAILED:
        failure = ended(status, str(row.get("statusMessage") or ""), spot=_is_spot(row))
    return Instance(
        provider="gcp",
        account=account,
        id=str(row.get("id") or name),
        handle=handle(zone, name, operation=operation, firewall=_rule(row, name)),
        token=_token(marks, name),
        owner=marks.get(OWNER_LABEL),
        phase=phase,
        address=_address(row, user or _user(row)) if phase is Phase.RUNNING else None,
        failure=failure,
        created_at=_time(row.get("creationTimestamp")),
    )


def begun(operation: Mapping[str, Any], *, account: str, zone: str, name: str, owner: str, firewall: str) -> Instance:
    """What *operation* is making, which cannot be seen itself yet."""
    return Instance(
        provider="gcp",
        account=account,
        id=str(operation.get("targetId") or name),
        handle=handle(zone, name, operation=str(operation.get("name") or ""), firewall=firewall),
        token=name,
        owner=owner,
        phase=Phase.PENDING,
        created_at=_time(operation.get("insertTime")),
    )


def failed(known: Instance, failure: ProviderError) -> Instance:
    """*known*, whose operation has ended in *failure*: nothing was made, or nothing is left of it."""
    return Instance(
        provider=known.provider,
        account=known.account,
        id=known.id,
        handle=known.handle,
        token=known.token,
        owner=known.owner,
        phase=Phase.FAILED,
        failure=failure,
        created_at=known.created_at,
    )


def rule(name: str, *, account: str, zone: str, owner: str) -> Instance:
    """A firewall rule whose machine was never made: it has to be ended, and bills nothing."""
    return Instance(
        provider="gcp",
        account=account,
        id=name,
        handle={**handle(zone, name, firewall=name), "kind": RULE_KIND},
        token=name,
        owner=owner,
        phase=Phase.FAILED,
        failure=BootFailed("only its firewall rule was made", code="interrupted", scope="offer", hold_s=0.0),
    )


def handle(zone: str, name: str, *, operation: str = "", firewall: str = "") -> dict[str, str]:
    """All that `terminate` needs."""
    made = {"kind": KIND, "zone": zone, "name": name}
    if operation:
        made["operation"] = operation
    if firewall:
        made["firewall"] = firewall
    return made


def _rule(row: Mapping[str, Any], name: str) -> str:
    """The firewall rule of the machine's own, which its tag tells of."""
    tags = row.get("tags")
    items = tags.get("items") if isinstance(tags, Mapping) else None
    return name if naming.parse(name) and isinstance(items, list) and name in items else ""


def _token(marks: Mapping[str, str], name: str) -> str | None:
    return next((text for text in (marks.get(TOKEN_LABEL), name) if naming.parse(text)), None)


def _is_spot(row: Mapping[str, Any]) -> bool:
    scheduling = row.get("scheduling")
    if not isinstance(scheduling, Mapping):
        return False
    return scheduling.get("provisioningModel") == "SPOT" or scheduling.get("preemptible") is True


def _address(row: Mapping[str, Any], user: str) -> Address | None:
    interfaces = row.get("networkInterfaces")
    for interface in interfaces if isinstance(interfaces, list) else ():
        configs = interface.get("accessConfigs") if isinstance(interface, Mapping) else None
        for config in configs if isinstance(configs, list) else ():
            host = config.get("natIP") if isinstance(config, Mapping) else None
            if isinstance(host, str) and host:
                return Address(host=host, port=22, user=user)
    return None


def _user(row: Mapping[str, Any]) -> str:
    metadata = row.get("metadata")
    items = metadata.get("items") if isinstance(metadata, Mapping) else None
    for item in items if isinstance(items, list) else ():
        if isinstance(item, Mapping) and item.get("key") == "ssh-keys":
            return str(item.get("value") or "").partition(":")[0].strip() or USER
    return USER


def _time(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
