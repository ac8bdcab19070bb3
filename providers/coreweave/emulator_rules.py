"""What the API server demands of every object: names, labels, owners; and of Services, Secrets and Namespaces."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from providers.coreweave.emulator_resources import (
    CONFIG_MAPS,
    NAMESPACES,
    POOLS,
    SECRETS,
    SERVICES,
    Resource,
)
from providers.coreweave.emulator_status import Cause, bad_request, duplicate, fixed, required, unsupported, wrong

Json = dict[str, Any]

_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_LABEL_1035 = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_WORD = re.compile(r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
_DATA_KEY = re.compile(r"^[-._a-zA-Z0-9]+$")
_SIZE = 1024 * 1024

_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character"
)
_LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character"
)
_WORD_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character"
)


def is_label(text: object) -> bool:
    """Whether *text* is an RFC 1123 label of at most 63 characters."""
    return isinstance(text, str) and len(text) <= 63 and bool(_LABEL.match(text))


def is_subdomain(text: object) -> bool:
    """Whether *text* is an RFC 1123 subdomain of at most 253 characters."""
    return isinstance(text, str) and len(text) <= 253 and bool(_SUBDOMAIN.match(text))


def label_cause(field: str, value: object) -> Cause:
    """The refusal of a value that is no RFC 1123 label."""
    return wrong(field, value, _LABEL_TEXT)


def metadata(resource: Resource, thing: Json) -> list[Cause]:
    """What is wrong with an object's name, labels, annotations and owners."""
    meta = thing["metadata"]
    causes = [*_name(resource, meta.get("name"))]
    for key, value in (meta.get("labels") or {}).items():
        causes += [wrong("metadata.labels", key, f"name part {_WORD_TEXT}")] if not is_key(key) else []
        causes += label_value("metadata.labels", value)
    annotations = meta.get("annotations") or {}
    for key in annotations:
        causes += [wrong("metadata.annotations", key, f"name part {_WORD_TEXT}")] if not is_key(key.lower()) else []
    if sum(len(str(k)) + len(str(v)) for k, v in annotations.items()) > 256 * 1024:
        causes.append(Cause("FieldValueTooLong", "metadata.annotations", "Too long: must have at most 262144 bytes"))
    for number, owner in enumerate(meta.get("ownerReferences") or []):
        where = f"metadata.ownerReferences[{number}]"
        for part in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(part):
                causes.append(wrong(f"{where}.{part}", owner.get(part) or "", f"{part} must not be empty"))
    return causes


def _name(resource: Resource, name: object) -> list[Cause]:
    if not name:
        return [required("metadata.name", "name or generateName is required")]
    if resource is SERVICES and not (isinstance(name, str) and len(name) <= 63 and _LABEL_1035.match(name)):
        return [wrong("metadata.name", name, _LABEL_1035_TEXT)]
    if resource is NAMESPACES and not is_label(name):
        return [wrong("metadata.name", name, _LABEL_TEXT)]
    return [] if is_subdomain(name) else [wrong("metadata.name", name, _SUBDOMAIN_TEXT)]


def is_key(key: str) -> bool:
    """Whether *key* is a label's key: perhaps a domain and a slash, then a word."""
    prefix, slash, word = key.rpartition("/")
    return (not slash or is_subdomain(prefix)) and len(word) <= 63 and bool(_WORD.match(word))


def label_value(field: str, value: object) -> list[Cause]:
    """What is wrong with a label's value."""
    if value == "" or (isinstance(value, str) and len(value) <= 63 and _WORD.match(value)):
        return []
    long = isinstance(value, str) and len(value) > 63
    return [wrong(field, value, "must be no more than 63 characters" if long else _WORD_TEXT)]


def typed(resource: Resource, thing: Json) -> None:
    """Check that an object is of the shape that the server decodes, before any rule is looked at.

    Raises:
        Refused: 400, as a decoder says it.
    """
    meta = thing.get("metadata")
    if not isinstance(meta, dict):
        raise bad_request(f"{resource.kind} in version {resource.version!r} cannot be handled: metadata is no object")
    for where, mapping in (("labels", meta.get("labels")), ("annotations", meta.get("annotations"))):
        for key, value in (mapping or {}).items():
            if not isinstance(value, str):
                raise _undecodable(resource, f"metadata.{where}.{key}", "string")
    spec = thing.get("spec")
    if spec is not None and not isinstance(spec, dict):
        raise _undecodable(resource, "spec", "object")
    if resource in (SECRETS, CONFIG_MAPS):
        _decode_data(resource, thing)


def _undecodable(resource: Resource, field: str, wanted: str) -> Exception:
    text = f"{resource.kind} in version {resource.version!r} cannot be handled as a {resource.kind}: json: "
    return bad_request(f"{text}cannot unmarshal into Go struct field {field} of type {wanted}")


def _decode_data(resource: Resource, thing: Json) -> None:
    for key, value in {**(thing.get("data") or {}), **(thing.get("stringData") or {})}.items():
        if not isinstance(value, str):
            raise _undecodable(resource, f"data.{key}", "string")
    if resource is SECRETS:
        for value in (thing.get("data") or {}).values():
            try:
                base64.b64decode(value, validate=True)
            except binascii.Error:
                text = "Secret in version 'v1' cannot be handled as a Secret: illegal base64 data"
                raise bad_request(text) from None


# Services, Secrets, node pools.


def service(thing: Json) -> list[Cause]:
    """What is wrong with a Service's spec."""
    spec = thing.get("spec") or {}
    causes: list[Cause] = []
    kinds = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
    if spec.get("type", "ClusterIP") not in kinds:
        causes.append(unsupported("spec.type", spec["type"], kinds))
    ports = spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None":
        causes.append(required("spec.ports"))
    for number, port in enumerate(ports):
        where = f"spec.ports[{number}]"
        if len(ports) > 1 and not port.get("name"):
            causes.append(required(f"{where}.name"))
        causes += port_number(f"{where}.port", port.get("port"))
        if isinstance(port.get("targetPort"), int):
            causes += port_number(f"{where}.targetPort", port["targetPort"])
        if port.get("protocol", "TCP") not in ("TCP", "UDP", "SCTP"):
            causes.append(unsupported(f"{where}.protocol", port["protocol"], ("SCTP", "TCP", "UDP")))
    policy = spec.get("externalTrafficPolicy")
    if policy is not None and spec.get("type", "ClusterIP") not in ("LoadBalancer", "NodePort"):
        causes.append(wrong("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services"))
    elif policy not in (None, "Cluster", "Local"):
        causes.append(unsupported("spec.externalTrafficPolicy", policy, ("Cluster", "Local")))
    for key, value in (spec.get("selector") or {}).items():
        causes += label_value(f"spec.selector[{key}]", value)
    return causes


def port_number(field: str, value: object) -> list[Cause]:
    """What is wrong with a port's number."""
    right = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535
    return [] if right else [wrong(field, 0 if value is None else value, "must be between 1 and 65535, inclusive")]


def secret(thing: Json) -> list[Cause]:
    """What is wrong with a Secret's or ConfigMap's data."""
    data = thing.get("data") or {}
    text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
    causes = [wrong(f"data[{key}]", key, text) for key in data if not _DATA_KEY.match(key)]
    if sum(len(value) for value in data.values()) > _SIZE:
        causes.append(Cause("FieldValueTooLong", "data", f"Too long: must have at most {_SIZE} bytes"))
    needed = {"kubernetes.io/dockerconfigjson": ".dockerconfigjson"}.get(thing.get("type", ""))
    if needed is not None and needed not in data:
        causes.append(required(f"data[{needed}]"))
    return causes


_NUMBERS = ("targetNodes", "targetRacks", "minNodes", "maxNodes")


def pool(thing: Json, spot_word: str) -> list[Cause]:
    """What is wrong with a node pool's spec, by the documented rules."""
    spec = thing.get("spec") or {}
    causes = [] if spec.get("instanceType") else [required("spec.instanceType")]
    for name in _NUMBERS:
        value = spec.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            causes.append(Cause("FieldValueTypeInvalid", f"spec.{name}", f'Invalid value: "{value}": must be integer'))
        elif value is not None and value < 0:
            causes.append(wrong(f"spec.{name}", value, f"spec.{name} in body should be greater than or equal to 0"))
    if causes:
        return causes
    targets = [name for name in ("targetNodes", "targetRacks") if spec.get(name) is not None]
    if len(targets) != 1:
        causes.append(wrong("spec", "object", "exactly one of targetNodes and targetRacks must be set"))
    low, high = spec.get("minNodes"), spec.get("maxNodes")
    target = spec.get("targetNodes")
    if target is not None and low is not None and target < low:
        causes.append(wrong("spec.targetNodes", target, "must be at least minNodes"))
    if target is not None and high is not None and target > high:
        causes.append(wrong("spec.targetNodes", target, "must be at most maxNodes"))
    words = ("default", spot_word)
    if spec.get("computeClass", "default") not in words:
        causes.append(unsupported("spec.computeClass", spec["computeClass"], words))
    strategy = (spec.get("lifecycle") or {}).get("scaleDownStrategy", "IdleOnly")
    if strategy not in ("IdleOnly", "PreferIdle"):
        causes.append(unsupported("spec.lifecycle.scaleDownStrategy", strategy, ("IdleOnly", "PreferIdle")))
    if spec.get("image") and (spec.get("gpu") or {}).get("version"):
        causes.append(wrong("spec.image", "object", "image and gpu.version are mutually exclusive"))
    return causes


def node(thing: Json) -> list[Cause]:
    """What is wrong with a node's taints."""
    taints = (thing.get("spec") or {}).get("taints") or []
    effects = ("NoExecute", "NoSchedule", "PreferNoSchedule")
    causes = []
    for number, taint in enumerate(taints):
        if taint.get("effect") not in effects:
            causes.append(unsupported(f"spec.taints[{number}].effect", taint.get("effect") or "", effects))
    seen = {(taint.get("key"), taint.get("effect")) for taint in taints}
    return causes + ([duplicate("spec.taints", taints[-1].get("key"))] if len(seen) < len(taints) else [])


def changed(resource: Resource, before: Json, after: Json) -> list[Cause]:
    """What is wrong with a change, beyond what the object alone shows."""
    old, new = before.get("spec") or {}, after.get("spec") or {}
    if resource is POOLS and old.get("instanceType") != new.get("instanceType"):
        return [wrong("spec.instanceType", "string", "InstanceType cannot be changed")]
    if resource is SECRETS and before.get("type") != after.get("type"):
        return [wrong("type", after.get("type") or "", "field is immutable")]
    if resource is SECRETS and before.get("immutable") and before.get("data") != after.get("data"):
        return [fixed("data", "field is immutable when `immutable` is set")]
    if resource is SERVICES and old.get("clusterIP") and old.get("clusterIP") != new.get("clusterIP"):
        return [wrong("spec.clusterIP", new.get("clusterIP") or "", "field is immutable")]
    return []
