"""The emulated Azure's paths: handler, the right that a call needs, the limit it counts against, the verb it serves.

Paths are read in any case, as ARM does; SDKs write both ``resourceGroups`` and ``resourcegroups``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import providers.azure.emulator_account as account
import providers.azure.emulator_catalog as catalog
import providers.azure.emulator_disks as disks
import providers.azure.emulator_groups as groups
import providers.azure.emulator_launch as launch
import providers.azure.emulator_network as network
import providers.azure.emulator_prices as prices
import providers.azure.emulator_vms as vms
from providers.azure.emulator_cloud import Handler
from providers.azure.emulator_resources import TYPES

_S = "/subscriptions/{sub}"
_G = _S + "/resourceGroups/{group}"
_C = "/providers/Microsoft.Compute"
_N = "/providers/Microsoft.Network"
_VM = _G + _C + "/virtualMachines/{name}"
_IMAGE = _S + _C + "/locations/{location}/publishers/{publisher}/artifacttypes/vmimage/offers/{offer}/skus/{sku}"
_TYPE = "{type:networkSecurityGroups|virtualNetworks|publicIPAddresses|networkInterfaces}"
_CHILD = "{type:networkSecurityGroups|virtualNetworks}/{name}/{children:subnets|securityRules}"
_ACTIONS = "{action:deallocate|start|restart|powerOff|redeploy|reapply}"


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table.

    Attributes:
        namespace: the resource provider, "" for none.
        action: the RBAC action, with ``{type}`` for the type in the path.
        policy: Compute's limit that it counts against, or "".
        api: whether the call needs a token, the right subscription and an api-version.
    """

    method: str
    pattern: re.Pattern[str]
    handler: Handler
    namespace: str
    action: str
    policy: str
    verb: str
    api: bool = True


def _compile(template: str) -> re.Pattern[str]:
    text = "/?"
    for part in template.strip("/").split("/"):
        if part.startswith("{") and ":" in part:
            name, _, words = part[1:-1].partition(":")
            part = f"(?P<{name}>{words})"
        elif "{" in part:
            part = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+?)", re.escape(part))
        else:
            part = re.escape(part)
        text += ("" if text == "/?" else "/") + part
    return re.compile(f"{text}/?", re.IGNORECASE)


def _row(line: str, handler: Handler) -> Route:
    """A row from ``METHOD template action policy verb``; ``-`` for no action or policy."""
    method, template, action, policy, verb = line.split()
    names = {"S": _S, "G": _G, "C": _C, "N": _N, "VM": _VM, "IMAGE": _IMAGE}
    for name, path in names.items():
        template = re.sub(rf"<{name}>", lambda _, path=path: path, template)  # type: ignore[misc]
    template = template.replace("<TYPE>", _TYPE).replace("<CHILD>", _CHILD).replace("<ACTIONS>", _ACTIONS)
    parts = action.split("/")
    return Route(
        method=method,
        pattern=_compile(template),
        handler=handler,
        namespace=parts[0] if "/" in action else "",
        action="" if action == "-" else action,
        policy="" if policy == "-" else policy,
        verb=verb,
    )


_RES = "Microsoft.Resources/subscriptions"
_CV = "Microsoft.Compute/virtualMachines"
_CD = "Microsoft.Compute/disks"
_CL = "Microsoft.Compute/locations"
_NT = "Microsoft.Network/{type}"
ROUTES: tuple[Route, ...] = (
    _row("GET /subscriptions - - account", account.subscriptions),
    _row(f"GET <S> {_RES}/read - account", account.subscription),
    _row(f"GET <S>/locations {_RES}/locations/read - other", account.locations),
    _row(f"GET <S>/resources {_RES}/resources/read - owned", account.resources),
    _row("GET <S>/providers/{namespace} - - other", account.resource_provider),
    _row("POST <S>/providers/{namespace}/register - - other", account.register),
    _row("GET <S>/providers/Microsoft.Authorization/permissions - - account", account.permissions),
    _row("GET <G>/providers/Microsoft.Authorization/permissions - - account", account.permissions),
    _row("GET <S>/operationresults/{operation} - - other", groups.operation),
    # Resource groups.
    _row(f"GET <S>/resourceGroups {_RES}/resourceGroups/read - other", groups.groups),
    _row(f"PUT <G> {_RES}/resourceGroups/write - other", groups.put_group),
    _row(f"PATCH <G> {_RES}/resourceGroups/write - other", groups.patch_group),
    _row(f"GET <G> {_RES}/resourceGroups/read - other", groups.get_group),
    _row(f"HEAD <G> {_RES}/resourceGroups/read - other", groups.head_group),
    _row(f"DELETE <G> {_RES}/resourceGroups/delete - terminate", groups.delete_group),
    _row(f"GET <G>/resources {_RES}/resourceGroups/resources/read - owned", account.resources),
    # What is for rent.
    _row("GET <S><C>/skus Microsoft.Compute/skus/read - offers", catalog.skus),
    _row(f"GET <S><C>/locations/{{location}}/usages {_CL}/usages/read - offers", catalog.usages),
    _row(
        "GET <S><N>/locations/{location}/usages Microsoft.Network/locations/usages/read - offers",
        catalog.network_usages,
    ),
    _row(f"GET <IMAGE>/versions {_CL}/publishers/read - other", catalog.image_versions),
    _row(f"GET <IMAGE>/versions/{{version}} {_CL}/publishers/read - other", catalog.image),
    # Machines.
    _row(f"GET <S><C>/virtualMachines {_CV}/read HighCostGet owned", vms.listed),
    _row(f"GET <S><C>/locations/{{location}}/virtualMachines {_CV}/read HighCostGet owned", vms.listed),
    _row(f"GET <G><C>/virtualMachines {_CV}/read HighCostGet owned", vms.listed),
    _row(f"PUT <VM> {_CV}/write PutVM launch", launch.put),
    _row(f"GET <VM> {_CV}/read LowCostGet find", vms.get),
    _row(f"PATCH <VM> {_CV}/write UpdateVM other", vms.patch),
    _row(f"DELETE <VM> {_CV}/delete DeleteVM terminate", vms.delete),
    _row(f"GET <VM>/instanceView {_CV}/instanceView/read LowCostGet find", vms.get_instance_view),
    _row(f"POST <VM>/<ACTIONS> {_CV}/{{action}}/action DeleteVM other", vms.act),
    _row(f"POST <VM>/simulateEviction {_CV}/simulateEviction/action UpdateVM other", vms.simulate_eviction),
    _row(
        f"POST <VM>/retrieveBootDiagnosticsData {_CV}/retrieveBootDiagnosticsData/action - other", vms.boot_diagnostics
    ),
    _row(f"GET <VM>/extensions {_CV}/extensions/read LowCostGet other", vms.list_extensions),
    _row(f"PUT <VM>/extensions/{{extension}} {_CV}/extensions/write UpdateVM other", vms.put_extension),
    _row(f"GET <VM>/extensions/{{extension}} {_CV}/extensions/read LowCostGet other", vms.get_extension),
    _row(f"DELETE <VM>/extensions/{{extension}} {_CV}/extensions/delete UpdateVM other", vms.delete_extension),
    _row(
        f"GET <S><C>/locations/{{location}}/operations/{{operation}} {_CL}/operations/read GetOperation other",
        groups.operation,
    ),
    # Disks.
    _row(f"GET <S><C>/disks {_CD}/read - owned", disks.listed),
    _row(f"GET <G><C>/disks {_CD}/read - owned", disks.listed),
    _row(f"PUT <G><C>/disks/{{name}} {_CD}/write - other", disks.put),
    _row(f"GET <G><C>/disks/{{name}} {_CD}/read - find", disks.get),
    _row(f"PATCH <G><C>/disks/{{name}} {_CD}/write - other", disks.patch),
    _row(f"DELETE <G><C>/disks/{{name}} {_CD}/delete - terminate", disks.delete),
    # The network.
    _row(
        "GET <S><N>/locations/{location}/operations/{operation} Microsoft.Network/locations/operations/read - other",
        groups.operation,
    ),
    _row(f"GET <S><N>/<TYPE> {_NT}/read - owned", network.listed),
    _row(f"GET <G><N>/<TYPE> {_NT}/read - owned", network.listed),
    _row(f"PUT <G><N>/<TYPE>/{{name}} {_NT}/write - other", network.put),
    _row(f"GET <G><N>/<TYPE>/{{name}} {_NT}/read - find", network.get),
    _row(f"PATCH <G><N>/<TYPE>/{{name}} {_NT}/write - other", network.patch),
    _row(f"DELETE <G><N>/<TYPE>/{{name}} {_NT}/delete - terminate", network.delete),
    _row(f"GET <G><N>/<CHILD> {_NT}/read - other", network.list_children),
    _row(f"PUT <G><N>/<CHILD>/{{child}} {_NT}/write - other", network.put_child),
    _row(f"GET <G><N>/<CHILD>/{{child}} {_NT}/read - other", network.get_child),
    _row(f"DELETE <G><N>/<CHILD>/{{child}} {_NT}/delete - other", network.delete_child),
)


def _open(method: str, template: str, handler: Handler, verb: str) -> Route:
    return Route(method, _compile(template), handler, "", "", "", verb, api=False)


#: Other hosts of Azure, told apart by their paths; none of them needs a token.
OPEN: tuple[Route, ...] = (
    _open("GET", "/api/retail/prices", prices.prices, "offers"),
    _open("POST", "/{tenant}/oauth2/v2.0/token", lambda cloud, call: cloud.tokens.token(call), "account"),
    _open(
        "GET",
        "/{tenant}/v2.0/.well-known/openid-configuration",
        lambda cloud, call: cloud.tokens.configuration(call),
        "account",
    ),
    _open("GET", "/common/discovery/instance", lambda cloud, call: cloud.tokens.discovery(call), "account"),
    _open("GET", "/bootdiagnostics-{uid}/{blob}.serialconsole.log", vms.boot_log, "other"),
)


def match(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The route of a request, and what its path holds."""
    for route in (*OPEN, *ROUTES):
        if route.method == method and (found := route.pattern.fullmatch(path)):
            return route, found.groupdict()
    return None


def knows(path: str) -> bool:
    """Whether any method is served at that path."""
    return any(route.pattern.fullmatch(path) for route in (*OPEN, *ROUTES))


def action(route: Route, parts: dict[str, str]) -> str:
    """The RBAC action that a call needs, as Azure writes it."""
    found = route.action
    if "{type}" in found:
        kind = TYPES[f"microsoft.network/{parts['type'].lower()}"].partition("/")[2]
        found = found.replace("{type}", kind)
    return found.replace("{action}", parts.get("action", ""))
