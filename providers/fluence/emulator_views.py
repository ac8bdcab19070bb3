"""How the emulated Fluence writes its instances: lists, details, logs, events, balances."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from providers.fluence.emulator_fleet import Fleet, Instance, environment

#: The account behind the sandbox's key, and the empty one that it opens under the fault `other_account`.
USER_ID = "8f6d0000-0000-4000-8000-00000000f1ce"
OTHER_USER_ID = "8f6d0000-0000-4000-8000-00000000e0e0"

DEFAULT_IMAGES: list[dict[str, Any]] = [
    {
        "slug": "debian-ssh-11",
        "name": "Debian 11 with SSH",
        "description": None,
        "image": "docker.io/fluencelabs/debian-ssh-root:11",
        "expose": [{"port": "22", "protocol": "tcp"}],
        "environment": [],
        "startup_command": None,
        "requires_ssh": True,
    }
]


def stamp(when: datetime) -> str:
    """A moment as Fluence writes it: microseconds and Z."""
    return when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def cents(usdc: Decimal) -> float:
    """Money as a billing object shows it: a JSON number, rounded to cents."""
    return float(usdc.quantize(Decimal("0.01"), ROUND_HALF_UP))


def listed(instance: Instance, words: dict[str, str]) -> dict[str, Any]:
    """One list item. Containers say `instance_status`, machines `status`."""
    status = "instance_status" if instance.kind == "containers" else "status"
    return {
        "id": instance.id,
        "name": instance.name,
        status: words.get(instance.state, instance.state),
        "resources": {"supply": instance.plan.supply(), "gpu_model": instance.plan.model()},
        "domain": instance.address,
        "location": instance.location,
        "created_at": stamp(instance.created_at),
        "updated_at": stamp(instance.updated_at),
    }


def detailed(instance: Instance, words: dict[str, str]) -> dict[str, Any]:
    """The answer to a get."""
    item = listed(instance, words)
    del item["domain"]
    item |= {"billing": _billing(instance), "network": _network(instance)}
    if instance.kind == "containers":
        return item | {
            "container_status": "STARTED" if instance.started else "NOT_STARTED",
            "container_info": {
                "image": instance.container["image"],
                "expose": instance.container["expose"],
                "environment": [{"name": k, "value": v} for k, v in environment(instance).items()],
                "startup_command": instance.container["startup_command"],
            },
        }
    return item | {
        "availability": "vm" if instance.kind == "vms" else "baremetal",
        "os_image": instance.os_image,
        "ssh_connection": _ssh(instance),
        "ssh_key": instance.ssh_key,
    }


def _billing(instance: Instance) -> dict[str, Any]:
    hour = instance.next_charge.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "hourly_usage": cents(instance.plan.usd_per_hour) if instance.alive else 0.0,
        "total_spendings": cents(instance.spent),
        "reserved_amount": cents(instance.reserve),
        "next_billing_period": hour if instance.alive else None,
    }


def _network(instance: Instance) -> dict[str, Any] | None:
    if instance.state != "ACTIVE":
        return None
    ports = [[*key.split("/"), str(outer)] for key, outer in instance.ports.items()]
    return {
        "domain": instance.address,
        "forwarded_ports": [
            {"port": port, "external_port": outer, "protocol": protocol} for port, protocol, outer in ports
        ],
        "uri": instance.uri,
    }


def _ssh(instance: Instance) -> str | None:
    if instance.address is None:
        return None
    port = "" if instance.plan.ssh_port == 22 else f"-p {instance.plan.ssh_port} "
    return f"ssh {port}{instance.plan.ssh_user}@{instance.address}"


def logs(instance: Instance) -> list[str]:
    """What a container printed."""
    return [f"[{instance.pod}] sshd ready"] if instance.started else []


def events(instance: Instance) -> list[str]:
    """What Kubernetes said of a container, in order."""
    if instance.active_at is None:
        return []
    said = ["[Normal] [Scheduled] assigned to a node", "[Normal] [Pulling] pulling the image"]
    if instance.started_at is not None:
        said += [
            "[Normal] [Pulled] image present",
            "[Normal] [Created] container created",
            "[Normal] [Started] container started",
        ]
    if instance.stuck_event:
        said.append(instance.stuck_event)
    return [f"[{instance.pod}]: {text}" for text in said]


def balances(fleet: Fleet | None) -> list[dict[str, Any]]:
    """The account's balance, money as strings; None is the empty account of the fault `other_account`."""
    usage = Decimal(0) if fleet is None else sum((i.spent for i in fleet.instances.values()), Decimal(0))
    hourly = Decimal(0) if fleet is None else sum((i.plan.usd_per_hour for i in fleet.living()), Decimal(0))
    held = Decimal(0) if fleet is None else fleet.balance
    return [
        {
            "balance": _text(held),
            "usage": _text(usage),
            "estimatedUsage": _text(hourly * 24),
            "overage": _text(Decimal(0)),
            "totalDepositedAmount": _text(Decimal(0) if fleet is None else fleet.deposited),
            "userId": OTHER_USER_ID if fleet is None else USER_ID,
            "featureKey": "balance",
            "usageDaysLeft": int(held / (hourly * 24)) if hourly else None,
        }
    ]


def _text(usdc: Decimal) -> str:
    return str(usdc.quantize(Decimal("0.01"), ROUND_HALF_UP))


def with_extras(value: Any) -> Any:
    """The same answer with fields that no documentation knows, in every object."""
    if isinstance(value, dict):
        return {key: with_extras(item) for key, item in value.items()} | {"x_new_field": {"since": "later"}}
    if isinstance(value, list):
        return [with_extras(item) for item in value]
    return value
