"""Label and field selectors, as list, watch and delete-collection take them, and as affinity terms write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from providers.coreweave.emulator_status import bad_request

Json = dict[str, Any]
Test = Callable[[Json], bool]

_SET = re.compile(r"^([^\s=!,()]+)\s+(in|notin)\s+\(([^()]*)\)$")
_EQUAL = re.compile(r"^([^\s=!,()]+)\s*(==|=|!=)\s*([^=,()]*)$")
_HAS = re.compile(r"^(!?)\s*([^\s=!,()]+)$")


def labels(text: str) -> Test:
    """A test of an object by its labels.

    Raises:
        Refused: 400, the selector cannot be read.
    """
    tests = [_requirement(part.strip()) for part in _split(text)] if text.strip() else []
    return lambda thing: all(test(thing["metadata"].get("labels") or {}) for test in tests)


def _split(text: str) -> list[str]:
    """At commas outside of brackets."""
    return re.split(r",(?![^(]*\))", text)


def _requirement(text: str) -> Callable[[Json], bool]:
    if match := _SET.match(text):
        key, operator = match[1], match[2]
        values = {value.strip() for value in match[3].split(",")}
        # "notin" holds for objects without the label, too.
        return (
            (lambda found: found.get(key) in values) if operator == "in" else lambda found: found.get(key) not in values
        )
    if match := _EQUAL.match(text):
        key, operator, value = match[1], match[2], match[3].strip()
        return (lambda found: found.get(key) != value) if operator == "!=" else lambda found: found.get(key) == value
    if match := _HAS.match(text):
        absent, key = bool(match[1]), match[2]
        return lambda found: (key in found) != absent
    if text.count("=") > 1:
        raise bad_request("found '=', expected: ',' or 'end of string'")
    raise bad_request(f"unable to parse requirement: {text!r}")


_FIELDS = {
    "pods": {"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "status.phase", "status.podIP"},
    "nodes": {"spec.unschedulable"},
    "namespaces": {"status.phase"},
    "secrets": {"type"},
    "events": {
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    },
}


def fields(text: str, plural: str) -> Test:
    """A test of an object by a few of its fields.

    Raises:
        Refused: 400, the selector cannot be read, or names a field that this resource cannot be selected by.
    """
    allowed = {"metadata.name", "metadata.namespace"} | _FIELDS.get(plural, set())
    tests = [_field(part, allowed) for part in text.split(",") if part]
    return lambda thing: all(test(thing) for test in tests)


def _field(text: str, allowed: set[str]) -> Test:
    match = re.match(r"^([^=!]+?)(==|=|!=)(.*)$", text)
    if match is None:
        raise bad_request(f"invalid selector: {text!r}; can't understand {text!r}")
    path, operator, value = match[1], match[2], match[3]
    if path not in allowed:
        raise bad_request(f"field label not supported: {path}")
    return lambda thing: (_read(thing, path) == value) == (operator != "!=")


def _read(thing: Json, path: str) -> str:
    value: Any = thing
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


# Affinity.


def node_matches(term: Json, node: Json) -> bool:
    """Whether a node selector term fits; one without any requirement fits nothing."""
    found, name = node["metadata"].get("labels") or {}, node["metadata"]["name"]
    by_label, by_field = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not by_label and not by_field:
        return False
    wanted = all(_expression(item, found) for item in by_label)
    return wanted and all(_expression(item, {"metadata.name": name}) for item in by_field)


def _expression(item: Json, found: Json) -> bool:
    key, operator, values = item.get("key", ""), item.get("operator"), item.get("values") or []
    value = found.get(key)
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if operator == "Exists":
        return key in found
    if operator == "DoesNotExist":
        return key not in found
    if operator not in ("Gt", "Lt") or value is None or not re.fullmatch(r"-?\d+", str(value)):
        return False
    bound = int(values[0]) if values and re.fullmatch(r"-?\d+", str(values[0])) else None
    return bound is not None and (int(value) > bound if operator == "Gt" else int(value) < bound)


def fits_node(spec: Json, node: Json) -> bool:
    """Whether a Pod's node selector and required node affinity allow *node*."""
    found = node["metadata"].get("labels") or {}
    if any(found.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    terms = required_terms(spec)
    return terms is None or any(node_matches(term, node) for term in terms)


def required_terms(spec: Json) -> list[Json] | None:
    """The required node selector terms, of which one must fit; None if the Pod requires nothing."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return None if required is None else list(required.get("nodeSelectorTerms") or [])


def preference(spec: Json, node: Json) -> int:
    """The weight of the preferred node affinity terms that fit."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or []
    return sum(item.get("weight", 0) for item in preferred if node_matches(item.get("preference") or {}, node))


def tolerates(spec: Json, taint: Json) -> bool:
    """Whether a Pod tolerates *taint*."""
    return any(toleration_fits(item, taint) for item in spec.get("tolerations") or [])


def toleration_fits(item: Json, taint: Json) -> bool:
    """Whether one toleration is for *taint*. Without a key, `Exists` is for all."""
    if item.get("effect") and item["effect"] != taint["effect"]:
        return False
    if item.get("key") and item["key"] != taint["key"]:
        return False
    if item.get("operator", "Equal") == "Exists":
        return True
    return bool(item.get("key")) and item.get("value", "") == taint.get("value", "")
