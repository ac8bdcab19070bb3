"""How the emulated Lambda Cloud writes things: instance types, instances, images, regions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from providers.lambda_cloud.emulator_fleet import Instance
from providers.lambda_cloud.emulator_market import InstanceType, Market
from providers.lambda_cloud.emulator_options import Options

_ACTIONS = ("migrate", "rebuild", "restart", "cold_reboot", "terminate")
_REASONS = {
    "vm-has-not-launched": "The instance is still being launched.",
    "vm-is-terminating": "The instance is on its way out.",
    "vm-action-in-progress": "Something else is being done to the instance.",
}


def region(market: Market, name: str) -> dict[str, str]:
    """A region wherever one stands."""
    return {"name": name, "description": market.regions[name]}


def regions(market: Market) -> list[dict[str, str]]:
    """The answer to `GET /regions`."""
    return [region(market, name) for name in market.regions]


def instance_type(of: InstanceType, options: Options) -> dict[str, Any]:
    """A type wherever one stands."""
    return {
        "name": of.name,
        "description": of.description,
        "gpu_description": of.gpu,
        "price_cents_per_hour": str(of.cents) if options.price_as_text else of.cents,
        "specs": {
            "vcpus": of.vcpus,
            "memory_gib": of.memory_gib,
            "storage_gib": of.storage_gib,
            "gpus": of.gpus,
        },
    }


def instance_types(market: Market, options: Options) -> dict[str, Any]:
    """The answer to `GET /instance-types`: a map by name, sold-out types with no region."""
    return {
        of.name: {
            "instance_type": instance_type(of, options),
            "regions_with_capacity_available": [region(market, place) for place in market.places(of.name)],
        }
        for of in market.types()
    }


def images(market: Market) -> list[dict[str, Any]]:
    """The answer to `GET /images`: one row for each image and region."""
    return [
        {
            "id": image.id,
            "created_time": _stamp(image.updated),
            "updated_time": _stamp(image.updated),
            "name": image.family,
            "description": image.description,
            "family": image.family,
            "version": image.version,
            "architecture": image.arch,
            "region": place,
        }
        for place in regions(market)
        for image in market.images
    ]


def instance(it: Instance, market: Market, options: Options, *, status: str | None = None) -> dict[str, Any]:
    """An instance wherever one stands. What is not known yet is absent.

    Args:
        status: said instead of the real one (a terminate that is answered and ignored).
    """
    said = status or it.status
    known: dict[str, Any] = {
        "id": it.id,
        "name": it.name,
        "ip": it.ip,
        "private_ip": it.private_ip,
        "status": options.status_words.get(said, said),
        "ssh_key_names": list(it.keys),
        "file_system_names": [],
        "region": region(market, it.region),
        "instance_type": instance_type(it.type, options),
        "hostname": it.hostname or it.ip,
        "jupyter_token": it.jupyter,
        "jupyter_url": _jupyter(it),
        "is_reserved": False,
        "actions": _actions(it, said, options),
        "tags": [dict(tag) for tag in it.tags] or None,
    }
    return {name: value for name, value in known.items() if value is not None or options.null_fields}


def _jupyter(it: Instance) -> str | None:
    # A host that cannot be, so that nobody ever sends a token anywhere.
    return None if it.jupyter is None else f"https://jupyter-{it.id}.lambda.invalid/?token={it.jupyter}"


def _actions(it: Instance, status: str, options: Options) -> dict[str, Any]:
    return {action: _action(_obstacle(it, status, action, options)) for action in _ACTIONS}


def _obstacle(it: Instance, status: str, action: str, options: Options) -> str:
    if not it.alive or status == "terminating":
        return "vm-is-terminating"
    if status == "booting":
        return "" if action == "terminate" and options.terminate_booting else "vm-has-not-launched"
    restarting = any(what == "restarted" for _, what in it.due)
    return "vm-action-in-progress" if restarting and action != "terminate" else ""


def _action(obstacle: str) -> dict[str, Any]:
    if not obstacle:
        return {"available": True}
    return {"available": False, "reason_code": obstacle, "reason_description": _REASONS[obstacle]}


def _stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def with_extras(value: Any) -> Any:
    """The same answer with fields that no documentation knows, in every object but maps by name."""
    if isinstance(value, dict):
        by_name = bool(value) and all(isinstance(item, dict) and "instance_type" in item for item in value.values())
        more = {} if by_name else {"x_new_field": {"since": "later"}}
        return {key: with_extras(item) for key, item in value.items()} | more
    if isinstance(value, list):
        return [with_extras(item) for item in value]
    return value
