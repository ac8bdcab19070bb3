"""The emulated Google Cloud's paths: which handler serves which, and for which verb of the contract.

Paths are the vendor's own, all under one base URL: ``/compute/v1`` of Compute Engine, ``/v1/services`` of Cloud
Billing, ``/token`` of the OAuth server.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote

import providers.gcp.emulator_advice as advice
import providers.gcp.emulator_catalog as catalog
import providers.gcp.emulator_instances as instances
from providers.gcp.emulator_cloud import Cloud
from providers.gcp.emulator_wire import Call

COMPUTE = "/compute/v1/"
TOKEN = "/token"  # noqa: S105 - a path
BILLING = "/v1/services"

Handler = Callable[[Cloud, Call], dict[str, Any]]
_P = "projects/{project}"
_Z = f"{_P}/zones/{{zone}}"
_R = f"{_P}/regions/{{region}}"
_G = f"{_P}/global"
_I = f"{_Z}/instances/{{instance}}"
_KINDS = "{plural:machineTypes|acceleratorTypes|diskTypes}"


class Route(NamedTuple):
    """One path of one method."""

    method: str
    pattern: re.Pattern[str]
    name: str
    verb: str
    handler: Handler | None


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)(?::([^}]+))?\}", template)
    text = "".join(
        re.escape(parts[at]) + (f"(?P<{parts[at + 1]}>{parts[at + 2] or '[^/]+'})" if at + 1 < len(parts) else "")
        for at in range(0, len(parts), 3)
    )
    return re.compile(text)


_TABLE: tuple[tuple[str, str, str, str, Handler | None], ...] = (
    ("GET", _P, "project_get", "account", catalog.project_get),
    ("GET", f"{_P}/regions", "regions_list", "offers", catalog.regions_list),
    ("GET", _R, "regions_get", "other", catalog.regions_get),
    ("GET", f"{_P}/zones", "zones_list", "offers", catalog.zones_list),
    ("GET", _Z, "zones_get", "other", catalog.zones_get),
    ("GET", f"{_Z}/{_KINDS}", "zonal_list", "offers", catalog.zonal_list),
    ("GET", f"{_Z}/{_KINDS}/{{name}}", "zonal_get", "price", catalog.zonal_get),
    ("GET", f"{_P}/aggregated/{_KINDS}", "zonal_aggregated", "offers", catalog.zonal_aggregated),
    ("GET", f"{_G}/images", "images_list", "other", catalog.images_list),
    ("GET", f"{_G}/images/family/{{family}}", "images_family_get", "other", catalog.images_family_get),
    ("GET", f"{_G}/images/{{image}}", "images_get", "other", catalog.images_get),
    ("GET", f"{_G}/networks", "networks_list", "other", catalog.networks_list),
    ("GET", f"{_G}/networks/{{network}}", "networks_get", "other", catalog.networks_get),
    ("GET", f"{_R}/addresses", "addresses_list", "other", catalog.addresses_list),
    ("GET", f"{_P}/aggregated/addresses", "addresses_aggregated", "other", catalog.addresses_aggregated),
    ("GET", f"{_G}/firewalls", "firewalls_list", "other", catalog.firewalls_list),
    ("POST", f"{_G}/firewalls", "firewalls_insert", "other", catalog.firewalls_insert),
    ("GET", f"{_G}/firewalls/{{firewall}}", "firewalls_get", "other", catalog.firewalls_get),
    ("PATCH", f"{_G}/firewalls/{{firewall}}", "firewalls_patch", "other", catalog.firewalls_patch),
    ("DELETE", f"{_G}/firewalls/{{firewall}}", "firewalls_delete", "other", catalog.firewalls_delete),
    *(
        row
        for place in (_Z, _G, _R)
        for row in (
            ("GET", f"{place}/operations", "operations_list", "other", catalog.operations_list),
            ("GET", f"{place}/operations/{{operation}}", "operations_get", "other", catalog.operations_get),
            ("POST", f"{place}/operations/{{operation}}/wait", "operations_wait", "other", catalog.operations_get),
        )
    ),
    ("GET", f"{_P}/aggregated/operations", "operations_aggregated", "other", catalog.operations_aggregated),
    ("GET", f"{_P}/aggregated/instances", "instances_aggregated", "owned", instances.instances_aggregated),
    ("GET", f"{_Z}/instances", "instances_list", "owned", instances.instances_list),
    ("POST", f"{_Z}/instances", "instances_insert", "launch", instances.instances_insert),
    ("GET", _I, "instances_get", "find", instances.instances_get),
    ("DELETE", _I, "instances_delete", "terminate", instances.instances_delete),
    ("POST", f"{_I}/stop", "instances_stop", "other", instances.instances_stop),
    ("POST", f"{_I}/start", "instances_start", "other", instances.instances_start),
    ("POST", f"{_I}/setLabels", "instances_set_labels", "other", instances.instances_set_labels),
    ("GET", f"{_I}/serialPort", "instances_serial_get", "other", instances.instances_serial_get),
    ("GET", f"{_Z}/disks", "disks_list", "other", instances.disks_list),
    ("GET", f"{_P}/aggregated/disks", "disks_aggregated", "other", instances.disks_aggregated),
    ("GET", f"{_Z}/disks/{{disk}}", "disks_get", "other", instances.disks_get),
    ("DELETE", f"{_Z}/disks/{{disk}}", "disks_delete", "other", instances.disks_delete),
    ("POST", f"{_R}/advice/capacity", "advice_capacity", "other", advice.capacity),
    ("POST", f"{_R}/advice/capacityHistory", "advice_history", "other", advice.capacity_history),
)
_COMPUTE = [
    Route(method, _pattern(COMPUTE + template), name, verb, handler) for method, template, name, verb, handler in _TABLE
]
_OTHERS = [
    Route("POST", re.compile(re.escape(TOKEN)), "token", "other", None),
    Route("GET", re.compile(BILLING), "billing_services", "offers", None),
    Route("GET", _pattern(f"{BILLING}/{{service}}/skus"), "billing_skus", "offers", None),
]
_ROUTES = [*_COMPUTE, *_OTHERS]


def match(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The route of a request and the path's parameters."""
    for route in _ROUTES:
        if route.method == method and (found := route.pattern.fullmatch(path)):
            return route, {key: unquote(value) for key, value in found.groupdict().items()}
    return None
