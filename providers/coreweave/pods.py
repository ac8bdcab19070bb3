"""A Pod as an instance: its phase, why it failed, and where SSH answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from providers.base import Address, Phase
from providers.coreweave.errors import ours, trouble
from providers.coreweave.manifests import KIND, LB_TYPE
from providers.coreweave.nodes import condition, is_ready, part
from providers.coreweave.pools import NODE_DEADLINE_S, made_at, moment
from providers.errors import BadWorkload, BootFailed, ProviderError

Json = dict[str, Any]

#: A live scheduler decides in under 2 s; what is idle now is taken by then, or was never there.
SCHEDULE_PATIENCE_S = 20.0
#: From a place on a node to a running container: pulling a large image takes minutes.
START_DEADLINE_S = 1200.0
#: Registries have bad minutes; an image that does not exist is told apart by the message.
REGISTRY_PATIENCE_S = 180.0
SILENT_PATIENCE_S = 60.0
#: A node is marked NotReady 40 s after its last word. A restarted kubelet is not a lost node.
NOT_READY_S = 40.0
COREWEAVE_LB_WAIT_S = 300.0
OTHER_LB_WAIT_S = 60.0

_NEVER_RAN = ("StartError", "ContainerCannotRun")
_PULLING = ("ErrImagePull", "ImagePullBackOff")
_TRANSIENT = (
    "timeout",
    "timed out",
    "toomanyrequests",
    "too many requests",
    "connection refused",
    "connection reset",
    "no such host",
    "i/o",
    "eof",
    "service unavailable",
    "bad gateway",
    "internal server error",
    "deadline exceeded",
    "name resolution",
    "server misbehaving",
    "unreachable",
    "no route to host",
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was seen around a Pod.

    Attributes:
        node: the node it is on, if that was looked for and is there.
        node_looked_for: whether it was.
        service: its Service.
        pool_failure: why no node will come for it, in managed mode.
        events: its events, oldest first.
    """

    node: Json | None = None
    node_looked_for: bool = False
    service: Json | None = None
    pool_failure: ProviderError | None = None
    events: tuple[Json, ...] = ()


def kind_of(pod: Mapping[str, Any]) -> str:
    """Whether it was made for idle GPUs (``idle``) or with a node of its own (``node``)."""
    annotations = part(pod, "metadata").get("annotations")
    kind = annotations.get(KIND) if isinstance(annotations, dict) else None
    return "node" if kind == "node" else "idle"


def node_name(pod: Mapping[str, Any]) -> str | None:
    """The node it was given, if any."""
    name = part(pod, "spec").get("nodeName")
    return name if isinstance(name, str) and name else None


def is_scheduled(pod: Mapping[str, Any]) -> bool:
    """Whether it has a node."""
    return node_name(pod) is not None or (condition(pod, "PodScheduled") or {}).get("status") == "True"


def is_ready_pod(pod: Mapping[str, Any]) -> bool:
    """Whether its readiness probe passes: something listens on the SSH port."""
    return (condition(pod, "Ready") or {}).get("status") == "True"


def unschedulable(pod: Mapping[str, Any]) -> ProviderError | None:
    """The scheduler's own word that there is no place, or None."""
    row = condition(pod, "PodScheduled") or {}
    if row.get("status") != "False" or is_scheduled(pod):
        return None
    return trouble("pod", str(row.get("reason", "")), str(row.get("message", "")))


def state(pod: Mapping[str, Any], around: Surroundings, now: datetime) -> tuple[Phase, ProviderError | None]:
    """Its phase, and why it failed if it did."""
    if error := _lost(pod, around, now) or _disrupted(pod):
        return Phase.FAILED, error
    phase = part(pod, "status").get("phase")
    if phase in ("Failed", "Succeeded"):
        return Phase.FAILED, _ended(pod)
    if part(pod, "metadata").get("deletionTimestamp"):
        return Phase.STOPPING, None
    if error := _stuck(pod, now):
        return Phase.FAILED, error
    if phase == "Pending":
        error = _unplaced(pod, around, now) if not is_scheduled(pod) else _slow(pod, around, now)
        return (Phase.FAILED, error) if error else (Phase.PENDING, None)
    return (Phase.RUNNING, None) if phase == "Running" else (Phase.UNKNOWN, None)


def address(
    pod: Mapping[str, Any], around: Surroundings, now: datetime, wait_s: float | None
) -> tuple[Address | None, ProviderError | None]:
    """Where SSH answers; or why it never will.

    A load balancer that stays pending is given up after *wait_s*. Elsewhere than on CoreWeave, where addresses of
    nodes are private, the node's own port is used then: clusters without a load balancer have only that.
    """
    service = around.service
    if service is None or not is_ready_pod(pod):
        return None, None
    if host := _ingress(service):
        return Address(host=host), None
    spec = part(service, "spec")
    coreweave = LB_TYPE in (part(service, "metadata").get("annotations") or {})
    if spec.get("type") == "LoadBalancer":
        since = made_at(service)
        limit = wait_s if wait_s is not None else COREWEAVE_LB_WAIT_S if coreweave else OTHER_LB_WAIT_S
        if since is None or (now - since).total_seconds() < limit:
            return None, None
        if coreweave:
            return None, ours(
                "no-load-balancer",
                f"no public address after {limit:g} s: the VPC may forbid it (ingress.disablePublicServices)",
            )
    return _node_port(pod, service, around.node), None


def restarts(pod: Mapping[str, Any]) -> int:
    """How often its container was started again."""
    count = _container(pod).get("restartCount")
    return count if isinstance(count, int) else 0


def _lost(pod: Mapping[str, Any], around: Surroundings, now: datetime) -> ProviderError | None:
    name = node_name(pod)
    if name is None or not around.node_looked_for:
        return None
    if around.node is None:
        return ours("node-gone", f"node {name} is gone")
    if is_ready(around.node):
        return None
    row = condition(around.node, "Ready") or {}
    since = moment(row.get("lastTransitionTime"))
    if since is not None and (now - since).total_seconds() < NOT_READY_S:
        return None
    return ours("node-not-ready", f"node {name} is not ready: {row.get('message') or row.get('reason') or '?'}")


def _disrupted(pod: Mapping[str, Any]) -> ProviderError | None:
    row = condition(pod, "DisruptionTarget") or {}
    if row.get("status") != "True":
        return None
    reason, message = str(row.get("reason", "")), str(row.get("message", ""))
    return trouble("pod", reason, message) or BootFailed(message or reason, code=reason or "disrupted")


def _ended(pod: Mapping[str, Any]) -> ProviderError:
    status = part(pod, "status")
    last = part(part(_container(pod), "state"), "terminated")
    reason = str(status.get("reason") or last.get("reason") or "")
    message = str(status.get("message") or last.get("message") or f"the Pod is {status.get('phase')}")
    return trouble("pod", reason, message) or BootFailed(f"{reason}: {message}", code=reason or "pod-failed")


def _stuck(pod: Mapping[str, Any], now: datetime) -> ProviderError | None:
    """A container that waits for something that will not come."""
    row = part(part(_container(pod), "state"), "waiting")
    reason, message = str(row.get("reason") or ""), str(row.get("message") or "")
    error = trouble("container", reason, f"{reason}: {message}")
    if error is None:
        return None
    if reason == "CrashLoopBackOff":
        last = part(part(_container(pod), "lastState"), "terminated")
        if last.get("reason") in _NEVER_RAN:
            # Not the command's end, but the runtime's word on why there was no command.
            error = trouble("container", "RunContainerError", str(last.get("message") or "")) or error
        # Once may be bad luck.
        return error if restarts(pod) >= 2 else None
    if reason in _PULLING and isinstance(error, BadWorkload):
        return _not_pulled(error, message, _age(pod, now))
    return error


def _not_pulled(error: ProviderError, message: str, age_s: float) -> ProviderError | None:
    """An image that is wrong is wrong everywhere; a registry with a bad minute gets time."""
    text = message.lower()
    if any(word in text for word in _TRANSIENT):
        if age_s < REGISTRY_PATIENCE_S:
            return None
        return ours("registry", f"the image's registry does not answer: {message}")
    # "Back-off pulling image" alone hides the reason, which older kubelets show every other time.
    silent = not text or (text.startswith("back-off pulling") and "errimagepull" not in text)
    return None if silent and age_s < SILENT_PATIENCE_S else error


def _unplaced(pod: Mapping[str, Any], around: Surroundings, now: datetime) -> ProviderError | None:
    age = (now - (made_at(pod) or now)).total_seconds()
    if kind_of(pod) == "node":
        if around.pool_failure is not None:
            return around.pool_failure
        late = age >= NODE_DEADLINE_S
        return ours("node-deadline", f"no node came within {NODE_DEADLINE_S / 60:g} min") if late else None
    refused = unschedulable(pod)
    if refused is None or age < SCHEDULE_PATIENCE_S:
        return None
    return refused


def _slow(pod: Mapping[str, Any], around: Surroundings, now: datetime) -> ProviderError | None:
    if _age(pod, now) < START_DEADLINE_S:
        return None
    said = last_warning(around.events)
    return ours("start-deadline", f"no container within {START_DEADLINE_S / 60:g} min. {said}".strip())


def last_warning(events: Iterable[Mapping[str, Any]]) -> str:
    """The last thing that somebody complained about."""
    warnings = [event for event in events if event.get("type") == "Warning"]
    return f"{warnings[-1].get('reason', '')}: {warnings[-1].get('message', '')}" if warnings else ""


def _age(pod: Mapping[str, Any], now: datetime) -> float:
    """Seconds since the Pod got its node."""
    row = condition(pod, "PodScheduled") or {}
    since = moment(row.get("lastTransitionTime")) or made_at(pod)
    return (now - since).total_seconds() if since else 0.0


def _container(pod: Mapping[str, Any]) -> Json:
    rows = part(pod, "status").get("containerStatuses")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and row.get("name") == "main":
            return row
    return {}


def _ingress(service: Mapping[str, Any]) -> str | None:
    rows = part(part(service, "status"), "loadBalancer").get("ingress")
    for row in rows if isinstance(rows, list) else ():
        for key in ("ip", "hostname"):
            if isinstance(row, dict) and isinstance(row.get(key), str) and row[key]:
                return str(row[key])
    return None


def _node_port(pod: Mapping[str, Any], service: Mapping[str, Any], node: Json | None) -> Address | None:
    for row in part(service, "spec").get("ports") or ():
        if isinstance(row, dict) and row.get("name") == "ssh":
            port = row.get("nodePort")
            host = _external(node) or part(pod, "status").get("hostIP")
            if isinstance(port, int) and 0 < port < 65536 and isinstance(host, str) and host:
                return Address(host=host, port=port)
    return None


def _external(node: Json | None) -> str | None:
    for row in part(node or {}, "status").get("addresses") or ():
        if isinstance(row, dict) and row.get("type") == "ExternalIP" and row.get("address"):
            return str(row["address"])
    return None


def is_users_fault(error: ProviderError | None) -> bool:
    """Whether the container's own words would explain it."""
    return isinstance(error, BadWorkload) and error.code == "CrashLoopBackOff"
