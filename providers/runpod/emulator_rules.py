"""What RunPod's v2 demands of request bodies: first the schema (422), then the rules across fields (400).

Written by hand from the API description's CreatePodRequest, UpdatePodRequest, PodActionRequest and
UpdateSshKeysRequest. Integers are JSON Schema's: 50.0 is one, true is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from providers.runpod.emulator_wire import RULE_BROKEN, Refusal, invalid

Check = Callable[[Any, str], Iterator[str]]

ACTIONS = ("start", "stop", "restart", "terminate")
CLOUDS = ("SECURE", "COMMUNITY")
CUDA = re.compile(r"[0-9]+\.[0-9]+")
_KEY_LINE = re.compile(r"(ssh|ecdsa|sk)-[^\s]+ [^\s]+([ \t][^\n\r]*)?")
_PORT = re.compile(r"([0-9]{1,6})/(http|tcp)")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", dict: "object", list: "array", int: "integer", float: "number"}
    return names[type(value)]


def _text(min_length: int = 0, pattern: re.Pattern[str] | None = None) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, str):
            yield f"{path}: got {_kind(value)}, want string"
        elif len(value) < min_length:
            yield f"{path}: length must be at least {min_length}, got {len(value)}"
        elif pattern is not None and not pattern.fullmatch(value):
            yield f"{path}: does not match pattern {pattern.pattern!r}"

    return check


def _one_of(values: tuple[str, ...]) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        # A list or object cannot be in a tuple of texts, and == with a bool or number is false.
        if not isinstance(value, str) or value not in values:
            yield f"{path}: value must be one of {', '.join(repr(v) for v in values)}"

    return check


def _integer(minimum: int) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole:
            yield f"{path}: got {_kind(value)}, want integer"
        elif value < minimum:
            yield f"{path}: must be at least {minimum}, got {value}"

    return check


def _boolean(value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, bool):
        yield f"{path}: got {_kind(value)}, want boolean"


def _or_null(check: Check) -> Check:
    def either(value: Any, path: str) -> Iterator[str]:
        if value is not None:
            yield from check(value, path)

    return either


def _array(of: Check, max_items: int | None = None) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{path}: got {_kind(value)}, want array"
            return
        if max_items is not None and len(value) > max_items:
            yield f"{path}: must have at most {max_items} items, got {len(value)}"
        for index, item in enumerate(value):
            yield from of(item, f"{path}[{index}]")

    return check


def _mapping(of: Check) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{path}: got {_kind(value)}, want object"
            return
        for key, item in value.items():
            yield from of(item, f"{path}.{key}")

    return check


def _object(known: Mapping[str, Check], required: tuple[str, ...] = ()) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{path}: got {_kind(value)}, want object"
            return
        if extra := [key for key in value if key not in known]:
            yield f"{path}: additional properties {', '.join(repr(key) for key in extra)} not allowed"
        for key in required:
            if key not in value:
                yield f"{path}: missing property '{key}'"
        for key, inner in known.items():
            if key in value:
                yield from inner(value[key], f"{path}.{key}")

    return check


_MOUNTS = _object(
    {
        "persistent": _object({"size": _integer(10), "path": _text()}, ("size", "path")),
        "network": _array(_object({"volumeId": _text(), "path": _text()}, ("volumeId", "path")), max_items=1),
    }
)
_GPU = _object(
    {
        "id": _text(),
        "count": _integer(1),
        "allowedCudaVersions": _array(_text(pattern=CUDA)),
        "minCudaVersion": _text(pattern=CUDA),
    },
    ("id",),
)
_CONTAINER: dict[str, Check] = {
    "args": _text(),
    "disk": _integer(1),
    "env": _mapping(_text()),
    "image": _text(),
    "ports": _array(_text()),
    "registry": _or_null(_text()),
    "mounts": _MOUNTS,
    "globalNetworking": _boolean,
    "name": _text(1),
}
_CREATE = _object(
    _CONTAINER
    | {
        "cloud": _one_of(CLOUDS),
        "cpu": _object({"id": _text(1), "vcpuCount": _integer(2)}, ("id", "vcpuCount")),
        "dataCenterIds": _array(_text()),
        "gpu": _GPU,
        "startJupyter": _boolean,
        "startSsh": _boolean,
        "templateId": _text(1),
    },
    ("name",),
)
_UPDATE = _object(_CONTAINER | {"locked": _boolean, "templateId": _text()})
_ACTION = _object({"action": _one_of(ACTIONS)}, ("action",))
_KEYS = _object({"keys": _array(_text(pattern=_KEY_LINE))}, ("keys",))


def create_errors(body: Any) -> list[str]:
    """Every way in which *body* breaks the schema of a create; empty if it holds."""
    errors = list(_CREATE(body, "$"))
    if isinstance(body, dict) and "templateId" not in body and "image" not in body:
        errors.append("$: missing property 'image'")
    return errors


def update_errors(body: Any) -> list[str]:
    """The same for a PATCH of a pod."""
    return list(_UPDATE(body, "$"))


def action_errors(body: Any) -> list[str]:
    """The same for an action on a pod."""
    return list(_ACTION(body, "$"))


def keys_errors(body: Any) -> list[str]:
    """The same for a PUT of the account's SSH keys."""
    return list(_KEYS(body, "$"))


def parse(raw: bytes, errors: Callable[[Any], list[str]]) -> dict[str, Any]:
    """The JSON object in *raw*, which holds to the schema that *errors* checks.

    Raises:
        Refusal: 400 if it is no JSON at all, 422 if it breaks the schema.
    """
    try:
        body = json.loads(raw, parse_constant=_no_constant)
    except ValueError:
        raise Refusal(400, RULE_BROKEN) from None
    if found := errors(body):
        raise invalid(found)
    whole: dict[str, Any] = body
    return whole


def check_create_rules(body: dict[str, Any]) -> None:
    """Refuse what the schema allows and the handler does not.

    The rules are documented, the sentences that name them were not seen; the status is 400 in every case.

    Raises:
        Refusal: 400.
    """
    if ("gpu" in body) == ("cpu" in body):
        raise Refusal(400, "exactly one of gpu or cpu must be set")
    mounts = body.get("mounts", {})
    if "persistent" in mounts and "network" in mounts:
        raise Refusal(400, "mounts.persistent and mounts.network are mutually exclusive")
    if "cpu" in body:
        _check_cpu_rules(body)
    gpu = body.get("gpu", {})
    if gpu.get("minCudaVersion") and gpu.get("allowedCudaVersions"):
        raise Refusal(400, "gpu.minCudaVersion and gpu.allowedCudaVersions are mutually exclusive")
    check_ports(body.get("ports", []))


def _check_cpu_rules(body: dict[str, Any]) -> None:
    vcpus = int(body["cpu"]["vcpuCount"])
    if vcpus & (vcpus - 1):
        raise Refusal(400, "cpu.vcpuCount must be a power of two")
    if "persistent" in body.get("mounts", {}):
        raise Refusal(400, "mounts.persistent is not available on cpu pods")
    if body.get("globalNetworking"):
        raise Refusal(400, "globalNetworking requires an NVIDIA GPU")


def check_ports(ports: list[str]) -> None:
    """Ports are ``<number>/http`` or ``<number>/tcp``; UDP is not supported.

    Raises:
        Refusal: 400.
    """
    for port in ports:
        if not _PORT.fullmatch(port):
            raise Refusal(400, f"invalid port {port!r}")


def check_update_rules(body: dict[str, Any], mounts: dict[str, Any]) -> None:
    """The rules of a PATCH against a pod that has *mounts*: the kind of mount was fixed at create.

    Raises:
        Refusal: 400.
    """
    wanted = body.get("mounts", {})
    if wanted.get("network") == []:
        raise Refusal(400, "clearing mounts is not supported")
    if any(kind not in mounts for kind in wanted):
        raise Refusal(400, "the kind of a mount is fixed at create")
    check_ports(body.get("ports", []))


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
