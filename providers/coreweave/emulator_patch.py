"""The three kinds of patch: JSON patch (RFC 6902), JSON merge patch (RFC 7386), strategic merge patch."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

from providers.coreweave.emulator_status import Refused, bad_request, wrong_type

Json = dict[str, Any]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


def apply(thing: Json, patch: Any, content_type: str, *, custom: bool) -> Json:
    """*thing* after *patch*. Server-side apply is not emulated, and is refused like an unknown type.

    Raises:
        Refused: 415 for another kind of patch, 422 if it cannot be applied, 400 if it is none.
    """
    kinds: dict[str, Callable[[Json, Any], Json]] = {JSON_PATCH: json_patch, MERGE_PATCH: merge}
    accepted: tuple[str, ...] = (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
    if not custom:
        kinds[STRATEGIC_PATCH] = strategic
        accepted = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
    kind = kinds.get(content_type)
    if kind is None:
        raise wrong_type(accepted)
    if not isinstance(patch, list if content_type == JSON_PATCH else dict):
        raise bad_request("error decoding patch: json: cannot unmarshal the body into a patch of this type")
    return kind(thing, patch)


def merge(thing: Any, patch: Any) -> Any:
    """RFC 7386: null removes, objects merge, all else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(thing) if isinstance(thing, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


#: Lists that a strategic merge patch merges by a key; all others are replaced.
_KEYS = {
    "spec.containers": "name",
    "spec.initContainers": "name",
    "spec.containers.env": "name",
    "spec.containers.ports": "containerPort",
    "spec.containers.volumeMounts": "mountPath",
    "spec.volumes": "name",
    "spec.imagePullSecrets": "name",
    "spec.ports": "port",
    "status.conditions": "type",
    "status.podIPs": "ip",
    "status.addresses": "type",
    "metadata.ownerReferences": "uid",
}
_SETS = {"metadata.finalizers"}


def strategic(thing: Any, patch: Any, path: str = "") -> Any:
    """Like a merge patch, but some lists merge by a key, and finalizers are added."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = {} if patch.get("$patch") == "replace" or not isinstance(thing, dict) else dict(thing)
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        where = f"{path}.{key}" if path else key
        if value is None:
            result.pop(key, None)
        elif isinstance(value, list) and where in _KEYS:
            result[key] = _merged(result.get(key) or [], value, _KEYS[where], where)
        elif isinstance(value, list) and where in _SETS:
            result[key] = list(dict.fromkeys([*(result.get(key) or []), *value]))
        else:
            result[key] = strategic(result.get(key), value, where)
    return result


def _merged(there: list[Json], patch: list[Json], key: str, path: str) -> list[Json]:
    """The items of *patch* that are new come first, as the real server puts them."""
    known = {item.get(key): item for item in there}
    if any(item.get("$patch") == "replace" for item in patch):
        return [copy.deepcopy(item) for item in patch if "$patch" not in item]
    gone = {item.get(key) for item in patch if item.get("$patch") == "delete"}
    changes = {item.get(key): item for item in patch if item.get("$patch") != "delete"}
    added = [copy.deepcopy(item) for name, item in changes.items() if name not in known]
    kept = [
        strategic(item, changes[name], path) if name in changes else item
        for name, item in known.items()
        if name not in gone
    ]
    return [*added, *kept]


def json_patch(thing: Json, operations: Any) -> Json:
    """RFC 6902, all or nothing.

    Raises:
        Refused: 422, an operation failed, a `test` above all.
    """
    result: Any = copy.deepcopy(thing)
    try:
        for operation in operations:
            result = _operate(result, operation)
    except (KeyError, IndexError, TypeError, ValueError) as problem:
        text = "the server rejected our request due to an error in our request"
        raise Refused(422, "Invalid", text, {}) from problem
    if not isinstance(result, dict):
        raise bad_request("the patched document is no object")
    return result


def _operate(document: Any, operation: Json) -> Any:
    name, path = operation["op"], _pointer(operation["path"])
    if name == "test":
        if _read(document, path) != operation.get("value"):
            raise ValueError(f"testing path {operation['path']} failed")
        return document
    if name in ("move", "copy"):
        source = _pointer(operation["from"])
        value = copy.deepcopy(_read(document, source))
        document = _removed(document, source) if name == "move" else document
        return _added(document, path, value)
    if name == "add":
        return _added(document, path, copy.deepcopy(operation["value"]))
    if name == "remove":
        return _removed(document, path)
    if name == "replace":
        _read(document, path)
        document = _removed(document, path) if path else document
        return _added(document, path, copy.deepcopy(operation["value"]))
    raise ValueError(f"unknown operation {name}")


def _pointer(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise ValueError(f"no JSON pointer: {path}")
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _read(document: Any, path: list[str]) -> Any:
    for part in path:
        document = document[_index(part, document)] if isinstance(document, list) else document[part]
    return document


def _index(part: str, items: list[Any]) -> int:
    if not re.fullmatch(r"0|[1-9]\d*", part) or int(part) > len(items):
        raise IndexError(part)
    return int(part)


def _added(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _read(document, path[:-1])
    if isinstance(parent, list):
        parent.insert(len(parent) if path[-1] == "-" else _index(path[-1], parent), value)
    else:
        parent[path[-1]] = value
    return document


def _removed(document: Any, path: list[str]) -> Any:
    parent = _read(document, path[:-1])
    if isinstance(parent, list):
        del parent[_index(path[-1], parent)]
    else:
        del parent[path[-1]]
    return document
