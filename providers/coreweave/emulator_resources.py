"""What kinds of object the emulated API server knows, and how their paths are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

_ALL = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
POOL_GROUP = "compute.coreweave.com"


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object.

    Attributes:
        subresources: what may follow an object's name in a path.
        custom: defined by a CustomResourceDefinition: other rules for patches, lists and generations.
    """

    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    short: tuple[str, ...] = ()
    verbs: tuple[str, ...] = _ALL
    subresources: tuple[str, ...] = ()
    custom: bool = False

    @property
    def api_version(self) -> str:
        """As objects carry it."""
        return f"{self.group}/{self.version}" if self.group else self.version


NAMESPACES = Resource("namespaces", "Namespace", namespaced=False, short=("ns",), subresources=("status",))
NODES = Resource("nodes", "Node", namespaced=False, short=("no",), subresources=("status",))
PODS = Resource("pods", "Pod", short=("po",), subresources=("status", "log", "eviction"))
SERVICES = Resource("services", "Service", short=("svc",), subresources=("status",))
SECRETS = Resource("secrets", "Secret")
CONFIG_MAPS = Resource("configmaps", "ConfigMap", short=("cm",))
EVENTS = Resource("events", "Event", short=("ev",))
QUOTAS = Resource("resourcequotas", "ResourceQuota", short=("quota",), subresources=("status",))
ACCOUNTS = Resource("serviceaccounts", "ServiceAccount", short=("sa",), subresources=("token",))
POOLS = Resource(
    "nodepools",
    "NodePool",
    POOL_GROUP,
    "v1alpha1",
    namespaced=False,
    subresources=("status",),
    custom=True,
)
ACCESS = Resource(
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    "authorization.k8s.io",
    namespaced=False,
    verbs=("create",),
)
WHOAMI = Resource(
    "selfsubjectreviews",
    "SelfSubjectReview",
    "authentication.k8s.io",
    namespaced=False,
    verbs=("create",),
)

RESOURCES = (
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    SECRETS,
    CONFIG_MAPS,
    EVENTS,
    QUOTAS,
    ACCOUNTS,
    POOLS,
    ACCESS,
    WHOAMI,
)
_GROUPS = {(r.group, r.version) for r in RESOURCES}


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names: a resource, or one of the server's own pages (`page`).

    Attributes:
        known: False where the group is there, but has no such resource.
    """

    resource: Resource = PODS
    namespace: str = ""
    name: str = ""
    sub: str = ""
    page: str = ""
    known: bool = True


_PAGES = {"version", "readyz", "livez", "healthz"}


def locate(path: str) -> Place | None:
    """What *path* is, or None if nobody serves it."""
    parts = [part for part in path.split("/") if part]
    if len(parts) == 1 and parts[0] in _PAGES:
        return Place(page=parts[0])
    if parts[:3] == ["v1beta1", "cks", "clusters"] and len(parts) <= 4:
        return Place(page="clusters", name="".join(parts[3:]))
    if parts[:1] == ["api"]:
        return _served("", parts[1:])
    if parts[:1] == ["apis"] and len(parts) >= 3:
        return _served(parts[1], parts[2:])
    if parts[:1] == ["apis"]:
        group = "".join(parts[1:])
        known = not group or any(group == there for there, _ in _GROUPS)
        return Place(page="group" if group else "groups", name=group) if known else None
    return None


def _served(group: str, parts: list[str]) -> Place | None:
    if not parts:
        return Place(page="versions")
    if (group, parts[0]) not in _GROUPS:
        return None
    if len(parts) == 1:
        return Place(page="resources", name=f"{group}/{parts[0]}")
    return _object(group, parts[1:])


def _object(group: str, parts: list[str]) -> Place:
    namespace = ""
    within = len(parts) > 2 and parts[0] == "namespaces" and parts[2] not in NAMESPACES.subresources
    if within:
        namespace, parts = parts[1], parts[2:]
    found = next((r for r in RESOURCES if (r.group, r.plural) == (group, parts[0])), None)
    # A list over all namespaces has none in its path; a single object must have one if it lives in one.
    misplaced = found is not None and found.namespaced != within and (within or len(parts) > 1)
    if found is None or misplaced or len(parts) > 3:
        return Place(known=False)
    sub = parts[2] if len(parts) > 2 else ""
    if sub and sub not in found.subresources:
        return Place(known=False)
    return Place(found, namespace, parts[1] if len(parts) > 1 else "", sub)


# Discovery, as `kubectl` and other clients read it.


def versions() -> Json:
    """`/api`."""
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": "10.16.0.1:443"}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def groups() -> Json:
    """`/apis`."""
    named = sorted({r.group for r in RESOURCES if r.group})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in named]}


def group(name: str) -> Json:
    """`/apis/<group>`."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name)}


def _group(name: str) -> Json:
    found = sorted({r.version for r in RESOURCES if r.group == name})
    rows = [{"groupVersion": f"{name}/{version}", "version": version} for version in found]
    return {"name": name, "versions": rows, "preferredVersion": rows[0]}


def resource_list(group_version: str) -> Json:
    """`/api/v1` and `/apis/<group>/<version>`; *group_version* is ``/v1`` for the core."""
    wanted, version = group_version.rsplit("/", 1)
    rows: list[Json] = []
    for resource in RESOURCES:
        if (resource.group, resource.version) == (wanted, version):
            rows += [_row(resource), *(_subrow(resource, sub) for sub in resource.subresources)]
    name = group_version.lstrip("/")
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": rows}


def _row(resource: Resource) -> Json:
    row: Json = {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    return {**row, "shortNames": list(resource.short)} if resource.short else row


_SUB_VERBS = {"log": ["get"], "eviction": ["create"], "token": ["create"]}
_SUB_KINDS = {
    "eviction": {"group": "policy", "version": "v1", "kind": "Eviction"},
    "token": {"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"},
}


def _subrow(resource: Resource, sub: str) -> Json:
    verbs = _SUB_VERBS.get(sub, ["get", "patch", "update"])
    row = {"name": f"{resource.plural}/{sub}", "singularName": "", "namespaced": resource.namespaced}
    return {**row, "kind": resource.kind, "verbs": verbs, **_SUB_KINDS.get(sub, {})}


@dataclass(slots=True)
class Caller:
    """Who asks, as authorization sees them."""

    name: str
    rights: str
    groups: list[str] = field(default_factory=list)

    def may(self, verb: str, group_name: str, resource: str, namespace: str) -> bool:
        """Whether the caller's role allows *verb* on *resource*; an empty namespace means all of them."""
        if self.rights == "admin":
            return True
        if self.rights != "edit":
            return group_name in (ACCESS.group, WHOAMI.group) and self.name != ANONYMOUS
        reads = verb in ("get", "list", "watch")
        if group_name in (ACCESS.group, WHOAMI.group):
            return True
        if (group_name, resource) in ((POOL_GROUP, "nodepools"), ("", "nodes"), ("", "namespaces")):
            return reads
        return group_name == "" and (bool(namespace) or reads)

    def refusal(self, verb: str, group_name: str, resource: str, namespace: str) -> str:
        """The words of the refusal."""
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        return f'User "{self.name}" cannot {verb} resource "{resource}" in API group "{group_name}" {where}'


ANONYMOUS = "system:anonymous"
