"""How the emulated Paperspace writes things. Field lists: its sample answers and API reference of March 2026."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from providers.paperspace.emulator_machine import Event, Machine
from providers.paperspace.emulator_market import Market, Template
from providers.paperspace.emulator_network import PrivateNetwork, PublicIp
from providers.paperspace.emulator_options import Options
from providers.paperspace.emulator_scripts import Script

_GIB = 1024**3


def machine(it: Machine, market: Market, options: Options) -> dict[str, Any]:
    """A machine wherever one stands."""
    of = market.types[it.type]
    template = market.template(it.template)
    card = {"name": of.gpu, "memory": _size(of.vram_gib * _GIB, options), "count": of.gpus}
    return {
        "id": it.id,
        "name": it.name,
        "state": options.state_words.get(it.state, it.state),
        "os": template.label if template else "",
        "machineType": it.type,
        "agentType": template.agent if template else "",
        "cpus": of.cpus,
        "ram": _size(of.memory_gib * _GIB, options),
        "storageTotal": _size(it.disk_gb * _GIB, options),
        "storageUsed": _size(0, options),
        "accelerators": [card] if of.gpus else [],
        "region": _region(it.region, market, options),
        "privateIp": it.private_ip,
        "networkId": it.network,
        "publicIp": it.public_ip,
        "publicIpType": it.ip_type,
        "usageRate": _rate(Decimal(it.usd_per_hour)),
        "storageRate": _rate(market.disk_usd_per_hour(it.disk_gb)),
        "autoShutdownEnabled": it.autostop_h is not None,
        "updatesPending": False,
        "dtCreated": stamp(it.created_at),
        "dtModified": stamp(it.modified_at),
        "dtDeleted": _maybe(it.deleted_at),
        "reservation": None,
    }


def event(it: Event) -> dict[str, Any]:
    """An event wherever one stands."""
    return {
        "id": it.id,
        "machineId": it.machine_id,
        "name": it.name,
        "state": it.state,
        "error": it.error,
        "dtCreated": stamp(it.created_at),
        "dtStarted": _maybe(it.started_at),
        "dtFinished": _maybe(it.finished_at),
    }


def template(it: Template, market: Market, options: Options) -> dict[str, Any]:
    """An OS template, with all machine types there are."""

    def usable(label: str) -> bool:
        of = market.types[label]
        approved = not of.approval or options.approved is None or label in options.approved
        return approved and label not in it.without

    return {
        "id": it.id,
        "name": it.name,
        "agentType": it.agent,
        "operatingSystemLabel": it.label,
        "defaultSizeGb": it.size_gb,
        "availableMachineTypes": [{"machineTypeLabel": label, "isAvailable": usable(label)} for label in market.types],
        "dtCreated": stamp(it.created),
    }


def script(it: Script, machines: list[Machine]) -> dict[str, Any]:
    """A startup script; its text is shown nowhere (that it is, is not documented)."""
    return {
        "id": it.id,
        "name": it.name,
        "description": it.description,
        "isEnabled": True,
        "isRunOnce": it.run_once,
        "assignedMachineIds": [each.id for each in machines if each.script == it.id],
        "dtCreated": stamp(it.created_at),
        "dtDeleted": None,
    }


def network(it: PrivateNetwork) -> dict[str, Any]:
    """A private network; here regions are written small."""
    return {
        "id": it.id,
        "name": it.name,
        "network": it.network,
        "netmask": "255.255.255.0",
        "region": it.region.lower(),
        "dtCreated": stamp(it.created_at),
        "dtDeleted": None,
    }


def public_ip(it: PublicIp) -> dict[str, Any]:
    """A static address; one that no machine has lacks `assignedMachineId`."""
    shown = {"ip": it.ip, "region": it.region.lower(), "dtCreated": stamp(it.created_at)}
    return shown if it.machine is None else shown | {"assignedMachineId": it.machine}


def session(options: Options, *, other: bool = False) -> dict[str, Any]:
    """Whose key it is; *other* is another team."""
    team_id = options.team_id + (1 if other else 0)
    return {
        "team": {
            "id": team_id,
            "handle": f"t{team_id:x}",
            "namespace": f"team-{team_id:x}",
            "maxMachines": options.max_machines,
        },
        "user": {"id": team_id * 2, "handle": f"u{team_id:x}", "email": f"user-{team_id:x}@example.invalid"},
    }


def standing(options: Options) -> dict[str, Any]:
    """The state of the team's account."""
    messages = {
        "good": [],
        "no-payment-method": ["Add a payment method to create machines."],
        "locked": ["Your account has been locked. Contact support."],
    }
    return {
        "hasPaymentMethod": options.standing != "no-payment-method",
        "isAdminLocked": options.standing == "locked",
        "isInGoodStanding": options.standing == "good",
        "messages": messages[options.standing],
    }


def stamp(when: datetime) -> str:
    """A moment as the wire has it, to the millisecond."""
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z"


def with_extras(value: Any) -> Any:
    """The same answer with a field that no documentation knows in every object."""
    if isinstance(value, dict):
        return {key: with_extras(item) for key, item in value.items()} | {"xNewField": {"since": "later"}}
    if isinstance(value, list):
        return [with_extras(item) for item in value]
    return value


def _maybe(when: datetime | None) -> str | None:
    return None if when is None else stamp(when)


def _size(count: int, options: Options) -> int | str:
    return str(count) if options.text_numbers else count


def _rate(usd: Decimal) -> float:
    """A rate as the JSON number that the wire has; nothing is computed with it here."""
    return float(usd)


def _region(short: str, market: Market, options: Options) -> str:
    if options.machine_region == "long":
        return market.regions[short]
    return short if options.machine_region == "short" else short.lower()
