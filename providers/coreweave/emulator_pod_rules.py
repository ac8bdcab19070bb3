"""What the API server demands of Pods, and what it fills in."""

from __future__ import annotations

import copy
import re
from typing import Any

import providers.coreweave.emulator_quantity as quantity
from providers.coreweave.emulator_rules import is_key, is_label, is_subdomain, label_cause, label_value, port_number
from providers.coreweave.emulator_status import (
    Cause,
    bad_request,
    duplicate,
    fixed,
    missing,
    required,
    unsupported,
    wrong,
)

Json = dict[str, Any]

#: What the server knows; it drops any other field without a word, a misspelt one too.
_SPEC = frozenset(
    [
        "activeDeadlineSeconds",
        "affinity",
        "automountServiceAccountToken",
        "containers",
        "dnsConfig",
        "dnsPolicy",
        "enableServiceLinks",
        "ephemeralContainers",
        "hostAliases",
        "hostIPC",
        "hostNetwork",
        "hostPID",
        "hostUsers",
        "hostname",
        "imagePullSecrets",
        "initContainers",
        "nodeName",
        "nodeSelector",
        "os",
        "overhead",
        "preemptionPolicy",
        "priority",
        "priorityClassName",
        "readinessGates",
        "resourceClaims",
        "resources",
        "restartPolicy",
        "runtimeClassName",
        "schedulerName",
        "schedulingGates",
        "securityContext",
        "serviceAccount",
        "serviceAccountName",
        "setHostnameAsFQDN",
        "shareProcessNamespace",
        "subdomain",
        "terminationGracePeriodSeconds",
        "tolerations",
        "topologySpreadConstraints",
        "volumes",
    ]
)
_CONTAINER = frozenset(
    [
        "args",
        "command",
        "env",
        "envFrom",
        "image",
        "imagePullPolicy",
        "lifecycle",
        "livenessProbe",
        "name",
        "ports",
        "readinessProbe",
        "resizePolicy",
        "resources",
        "restartPolicy",
        "securityContext",
        "startupProbe",
        "stdin",
        "stdinOnce",
        "terminationMessagePath",
        "terminationMessagePolicy",
        "tty",
        "volumeDevices",
        "volumeMounts",
        "workingDir",
    ]
)
_EVICTED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_ENV_NAME = re.compile(r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")


def decode(pod: Json) -> None:
    """Check types and quantities of a Pod before any rule is looked at.

    Raises:
        Refused: 400, as a decoder says it.
    """
    spec = pod.get("spec") or {}
    for container in _containers(spec):
        resources = container.get("resources") or {}
        for part in ("limits", "requests"):
            for name, amount in (resources.get(part) or {}).items():
                try:
                    quantity.parse(amount)
                except ValueError as problem:
                    raise bad_request(f"Pod in version 'v1' cannot be handled as a Pod: {name}: {problem}") from None
        if any(not isinstance(item, str) for key in ("command", "args") for item in container.get(key) or []):
            raise bad_request("Pod in version 'v1' cannot be handled as a Pod: command and args are lists of strings")
        if any(not isinstance(item.get("value", ""), str) for item in container.get("env") or []):
            raise bad_request("Pod in version 'v1' cannot be handled as a Pod: env value of type string")


def unknown(pod: Json) -> list[str]:
    """The fields that the server does not know, for callers who ask for a strict look (`fieldValidation=Strict`)."""
    spec = pod.get("spec") or {}
    found = [f"spec.{key}" for key in sorted(spec.keys() - _SPEC)]
    for part in ("initContainers", "containers"):
        for number, container in enumerate(spec.get(part) or []):
            found += [f"spec.{part}[{number}].{key}" for key in sorted(container.keys() - _CONTAINER)]
    return found


def _containers(spec: Json) -> list[Json]:
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def fill(pod: Json) -> Json:
    """The Pod with all that the server and its admission plugins add, in a state before scheduling."""
    pod = copy.deepcopy(pod)
    spec: Json = {key: value for key, value in (pod.get("spec") or {}).items() if key in _SPEC}
    pod["spec"] = spec
    for part in ("containers", "initContainers"):
        if part in spec:
            spec[part] = [_filled(container) for container in spec[part] or []]
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("priority", 0)
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    for volume in spec.get("volumes") or []:
        for source in ("secret", "configMap"):
            if isinstance(volume.get(source), dict):
                volume[source].setdefault("defaultMode", 420)
    tolerations = spec.get("tolerations") or []
    spec["tolerations"] = tolerations + [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        for key in _EVICTED
        if not any(item.get("key") in (key, None) and item.get("effect") in ("NoExecute", None) for item in tolerations)
    ]
    return {**pod, "status": {"phase": "Pending", "qosClass": quantity.quality(spec)}}


def _filled(container: Json) -> Json:
    container = {key: value for key, value in container.items() if key in _CONTAINER}
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    image = str(container.get("image", ""))
    latest = image.endswith(":latest") or ":" not in image.rsplit("/", 1)[-1]
    container.setdefault("imagePullPolicy", "Always" if latest and "@" not in image else "IfNotPresent")
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
    for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
        if container.get(probe):
            container[probe] = {**_PROBE, **container[probe]}
    resources = container.setdefault("resources", {}) or {}
    if resources.get("limits"):
        resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
    return container


def check(pod: Json) -> list[Cause]:
    """What is wrong with a Pod that was filled in."""
    spec = pod["spec"]
    causes: list[Cause] = []
    if not spec.get("containers"):
        causes.append(required("spec.containers"))
    volumes, found = _volumes(spec)
    causes += found
    for part in ("initContainers", "containers"):
        names: set[str] = set()
        for number, container in enumerate(spec.get(part) or []):
            where = f"spec.{part}[{number}]"
            causes += _container(where, container, volumes)
            if container.get("name") in names:
                causes.append(duplicate(f"{where}.name", container["name"]))
            names.add(str(container.get("name")))
    policies = ("Always", "Never", "OnFailure")
    if spec["restartPolicy"] not in policies:
        causes.append(unsupported("spec.restartPolicy", spec["restartPolicy"], policies))
    grace, deadline = spec["terminationGracePeriodSeconds"], spec.get("activeDeadlineSeconds")
    if grace < 0:
        causes.append(wrong("spec.terminationGracePeriodSeconds", grace, "must be greater than or equal to 0"))
    if deadline is not None and not (isinstance(deadline, int) and 1 <= deadline <= 2**31 - 1):
        causes.append(wrong("spec.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive"))
    return causes + _placement(spec)


def _volumes(spec: Json) -> tuple[set[str], list[Cause]]:
    names: set[str] = set()
    causes: list[Cause] = []
    for number, volume in enumerate(spec.get("volumes") or []):
        where, name = f"spec.volumes[{number}]", volume.get("name")
        if not is_label(name):
            causes.append(label_cause(f"{where}.name", name or "") if name else required(f"{where}.name"))
        elif name in names:
            causes.append(duplicate(f"{where}.name", name))
        names.add(str(name))
        if len(volume) < 2:
            causes.append(required(where, "must specify a volume type"))
        source = volume.get("secret")
        if source is not None and not source.get("secretName"):
            causes.append(required(f"{where}.secret.secretName"))
        mode = (source or {}).get("defaultMode", 420)
        if not (isinstance(mode, int) and 0 <= mode <= 0o777):
            causes.append(wrong(f"{where}.secret.defaultMode", mode, "must be a number between 0 and 0777 (octal)"))
    return names, causes


def _container(where: str, container: Json, volumes: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    name = container.get("name")
    if not name:
        causes.append(required(f"{where}.name"))
    elif not is_label(name):
        causes.append(label_cause(f"{where}.name", name))
    if not str(container.get("image") or "").strip():
        causes.append(required(f"{where}.image"))
    pull = ("Always", "IfNotPresent", "Never")
    if container["imagePullPolicy"] not in pull:
        causes.append(unsupported(f"{where}.imagePullPolicy", container["imagePullPolicy"], pull))
    for number, port in enumerate(container.get("ports") or []):
        causes += port_number(f"{where}.ports[{number}].containerPort", port.get("containerPort"))
        if "name" in port and not (is_label(port["name"]) and len(port["name"]) <= 15):
            text = "must be no more than 15 characters of a-z, 0-9 and '-'"
            causes.append(wrong(f"{where}.ports[{number}].name", port["name"], text))
    for number, item in enumerate(container.get("env") or []):
        if not _ENV_NAME.match(str(item.get("name") or "")):
            text = "a valid environment variable name must consist of letters, digits, '_', '-', or '.'"
            causes.append(wrong(f"{where}.env[{number}].name", item.get("name") or "", text))
    paths: set[str] = set()
    for number, mount in enumerate(container.get("volumeMounts") or []):
        path = mount.get("mountPath")
        if mount.get("name") not in volumes:
            causes.append(missing(f"{where}.volumeMounts[{number}].name", mount.get("name") or ""))
        if not path:
            causes.append(required(f"{where}.volumeMounts[{number}].mountPath"))
        elif path in paths:
            causes.append(wrong(f"{where}.volumeMounts[{number}].mountPath", path, "must be unique"))
        paths.add(str(path))
    return causes + _resources(where, container)


def _resources(where: str, container: Json) -> list[Cause]:
    resources = container.get("resources") or {}
    limits, wanted = resources.get("limits") or {}, resources.get("requests") or {}
    causes: list[Cause] = []
    for part, amounts in (("limits", limits), ("requests", wanted)):
        for name, amount in amounts.items():
            if quantity.parse(amount) < 0:
                causes.append(wrong(f"{where}.resources.{part}[{name}]", amount, "must be greater than or equal to 0"))
            if "/" in name and quantity.parse(amount) % 1:
                causes.append(wrong(f"{where}.resources.{part}[{name}]", amount, "must be an integer"))
    for name, amount in wanted.items():
        field, limit = f"{where}.resources.requests", limits.get(name)
        if "/" in name and limit is None:
            text = "Limit must be set for non overcommitable resources"
            causes.append(required(f"{where}.resources.limits", text))
        elif "/" in name and quantity.parse(limit) != quantity.parse(amount):
            causes.append(wrong(field, amount, f"must be equal to {name} limit"))
        elif limit is not None and quantity.parse(amount) > quantity.parse(limit):
            causes.append(wrong(field, amount, f"must be less than or equal to {name} limit of {limit}"))
    return causes


_OPERATORS = ("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")


def _placement(spec: Json) -> list[Cause]:
    causes: list[Cause] = []
    for key, value in (spec.get("nodeSelector") or {}).items():
        causes += [] if is_key(key) else [wrong("spec.nodeSelector", key, "must be a qualified name")]
        causes += label_value(f"spec.nodeSelector[{key}]", value)
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required_part = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    root = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    if required_part is not None and not required_part.get("nodeSelectorTerms"):
        causes.append(required(f"{root}.nodeSelectorTerms", "must have at least one node selector term"))
    for number, term in enumerate((required_part or {}).get("nodeSelectorTerms") or []):
        for index, item in enumerate(term.get("matchExpressions") or []):
            causes += _expression(f"{root}.nodeSelectorTerms[{number}].matchExpressions[{index}]", item)
    for number, item in enumerate(spec.get("tolerations") or []):
        where = f"spec.tolerations[{number}]"
        if item.get("operator", "Equal") not in ("Equal", "Exists"):
            causes.append(unsupported(f"{where}.operator", item["operator"], ("Equal", "Exists")))
        elif item.get("operator") == "Exists" and item.get("value"):
            causes.append(wrong(f"{where}.operator", item["value"], "value must be empty when `operator` is 'Exists'"))
        elif not item.get("key") and item.get("operator") != "Exists":
            causes.append(wrong(f"{where}.operator", item.get("operator") or "", "must be Exists when `key` is empty"))
        if "tolerationSeconds" in item and item.get("effect") != "NoExecute":
            causes.append(wrong(f"{where}.effect", item.get("effect") or "", "effect must be 'NoExecute'"))
    secrets = spec.get("imagePullSecrets") or []
    bad = [item for item in secrets if not is_subdomain(item.get("name"))]
    return causes + [required("spec.imagePullSecrets[0].name") for _ in bad[:1]]


def _expression(where: str, item: Json) -> list[Cause]:
    operator, values = item.get("operator"), item.get("values") or []
    if operator not in _OPERATORS:
        return [wrong(f"{where}.operator", operator or "", "not a valid selector operator")]
    if operator in ("In", "NotIn") and not values:
        return [required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")]
    if operator in ("Exists", "DoesNotExist") and values:
        return [fixed(f"{where}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")]
    return []


_CHANGEABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, "
    "`spec.activeDeadlineSeconds` or `spec.tolerations` (only additions to existing tolerations)"
)


def check_change(before: Json, after: Json) -> list[Cause]:
    """What is wrong with a change of a Pod: hardly anything of its spec may change."""
    old, new = _frozen(before["spec"]), _frozen(after["spec"])
    added = after["spec"].get("tolerations") or []
    lost = [item for item in before["spec"].get("tolerations") or [] if item not in added]
    causes = [fixed("spec", _CHANGEABLE)] if old != new or lost else []
    shorter, longer = after["spec"].get("activeDeadlineSeconds"), before["spec"].get("activeDeadlineSeconds")
    if longer is not None and (shorter is None or shorter > longer):
        text = "must be less than or equal to previous value"
        causes.append(wrong("spec.activeDeadlineSeconds", shorter, text))
    return causes


def _frozen(spec: Json) -> Json:
    kept = {key: value for key, value in spec.items() if key not in ("activeDeadlineSeconds", "tolerations")}
    for part in ("containers", "initContainers"):
        if part in kept:
            kept[part] = [{k: v for k, v in item.items() if k != "image"} for item in kept[part]]
    return kept


def whole_status(status: Json) -> Json:
    """A Pod's status as the server writes it back: fields that are never left out are there."""
    status = copy.deepcopy(status)
    for condition in status.get("conditions") or []:
        condition.setdefault("lastProbeTime", None)
        condition.setdefault("lastTransitionTime", None)
    for part in ("containerStatuses", "initContainerStatuses"):
        for item in status.get(part) or []:
            item.setdefault("lastState", {})
            item.setdefault("state", {})
    if status.get("podIP"):
        status.setdefault("podIPs", [{"ip": status["podIP"]}])
    return status
