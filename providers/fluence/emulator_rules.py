"""Fluence's documented rules for request bodies, refused as a pydantic-v2 service refuses them (HTTP 422).

Each function returns the list of errors, empty if the body keeps every rule. Rules that need the price list
(plan, place, OS image, balance) are not here: the service answers those with 400.
"""

from __future__ import annotations

import re
from typing import Any

NAME_MAX = 25
EXPOSE_MAX = 10
ENVIRONMENT_MAX = 64
IMAGE_MAX = 255
COMMAND_MAX = 2048
REGISTRIES = ("docker.io", "ghcr.io")
PROTOCOLS = ("tcp", "udp", "http")

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")

Error = dict[str, Any]


def error(kind: str, loc: list[str | int], msg: str, given: Any, ctx: dict[str, Any] | None = None) -> Error:
    """One entry of a 422 body's `detail`."""
    found: Error = {"type": kind, "loc": loc, "msg": msg, "input": given}
    return found if ctx is None else {**found, "ctx": ctx}


def container(body: Any, *, update: bool = False) -> list[Error]:
    """Errors in the body of a container's create, or of its update (no plan, and ports cannot change)."""
    check = _Check()
    if not check.mapping(body, ["body"]):
        return check.errors
    if not update:
        check.text(body, "plan_id", ["body"])
        constraints = body.get("constraints")
        if constraints is not None and check.mapping(constraints, ["body", "constraints"]):
            check.text(constraints, "location", ["body", "constraints"], optional=True)
    _name(check, body)
    check.text(body, "ssh_key", ["body"], optional=True)
    if "container_settings" not in body:
        check.missing(body, "container_settings", ["body"])
    elif check.mapping(body["container_settings"], ["body", "container_settings"]):
        _settings(check, body["container_settings"], bool(body.get("ssh_key")), update)
    return check.errors


def machine(body: Any) -> list[Error]:
    """Errors in the body of a VM's or bare-metal machine's create: all four fields are required."""
    check = _Check()
    if check.mapping(body, ["body"]):
        check.text(body, "plan_id", ["body"])
        _name(check, body)
        if (key := check.text(body, "ssh_key", ["body"])) is not None and not key.strip():
            check.value(["body", "ssh_key"], "ssh_key must not be empty", key)
        check.text(body, "os_image", ["body"])
    return check.errors


def rename(body: Any) -> list[Error]:
    """Errors in the body of a VM's or bare-metal machine's update."""
    check = _Check()
    if check.mapping(body, ["body"]):
        _name(check, body)
    return check.errors


class _Check:
    def __init__(self) -> None:
        self.errors: list[Error] = []

    def add(self, kind: str, loc: list[str | int], msg: str, given: Any, ctx: dict[str, Any] | None = None) -> None:
        self.errors.append(error(kind, loc, msg, given, ctx))

    def value(self, loc: list[str | int], why: str, given: Any) -> None:
        self.add("value_error", loc, f"Value error, {why}", given, {"error": {}})

    def missing(self, parent: Any, field: str, loc: list[str | int]) -> None:
        self.add("missing", [*loc, field], "Field required", parent)

    def mapping(self, value: Any, loc: list[str | int]) -> bool:
        if isinstance(value, dict):
            return True
        msg = "Input should be a valid dictionary or object to extract fields from"
        self.add("model_attributes_type", loc, msg, value)
        return False

    def text(
        self,
        parent: dict[str, Any],
        field: str,
        loc: list[str | int],
        *,
        optional: bool = False,
        longest: int | None = None,
    ) -> str | None:
        """The string in *field*; None, and an error where one is due, if there is no fit one."""
        where = [*loc, field]
        if field not in parent:
            if not optional:
                self.missing(parent, field, loc)
            return None
        value = parent[field]
        if value is None and optional:
            return None
        if not isinstance(value, str):
            self.add("string_type", where, "Input should be a valid string", value)
            return None
        if longest is not None and len(value) > longest:
            msg = f"String should have at most {longest} characters"
            self.add("string_too_long", where, msg, value, {"max_length": longest})
            return None
        return value

    def array(self, value: Any, loc: list[str | int], least: int, most: int) -> list[Any]:
        """The items of *value* if it is a list of a permitted length, else nothing and an error."""
        if not isinstance(value, list):
            self.add("list_type", loc, "Input should be a valid list", value)
            return []
        if len(value) < least:
            msg = f"List should have at least {least} item after validation, not {len(value)}"
            self.add("too_short", loc, msg, value, {"min_length": least, "actual_length": len(value)})
            return []
        if len(value) > most:
            msg = f"List should have at most {most} items after validation, not {len(value)}"
            self.add("too_long", loc, msg, value, {"max_length": most, "actual_length": len(value)})
            return []
        return value

    def literal(self, value: Any, loc: list[str | int], allowed: tuple[str, ...]) -> bool:
        if value in allowed:
            return True
        expected = ", ".join(f"'{x}'" for x in allowed[:-1]) + f" or '{allowed[-1]}'"
        self.add("literal_error", loc, f"Input should be {expected}", value, {"expected": expected})
        return False


def _name(check: _Check, body: dict[str, Any]) -> None:
    name = check.text(body, "name", ["body"], longest=NAME_MAX)
    if name is not None and not _NAME.fullmatch(name):
        why = "name must have a-z, 0-9 and hyphens only, and no hyphen at either end"
        check.value(["body", "name"], why, name)


def _settings(check: _Check, settings: dict[str, Any], has_key: bool, update: bool) -> None:
    loc: list[str | int] = ["body", "container_settings"]
    image = check.text(settings, "image", loc, longest=IMAGE_MAX)
    if image is not None and (not image or image != image.lower()):
        check.value([*loc, "image"], "image must be given in lower case", image)
    if not update:
        _expose(check, settings, loc)
    if settings.get("environment") is not None:
        _environment(check, settings["environment"], [*loc, "environment"], has_key)
    check.text(settings, "startup_command", loc, optional=True, longest=COMMAND_MAX)
    credentials = settings.get("credentials")
    where = [*loc, "credentials"]
    if credentials is not None and check.mapping(credentials, where):
        host = check.text(credentials, "host", where)
        if host is not None:
            check.literal(host, [*where, "host"], REGISTRIES)
        check.text(credentials, "username", where)
        check.text(credentials, "password", where)


def _expose(check: _Check, settings: dict[str, Any], loc: list[str | int]) -> None:
    if "expose" not in settings:
        check.missing(settings, "expose", loc)
        return
    for index, item in enumerate(check.array(settings["expose"], [*loc, "expose"], 1, EXPOSE_MAX)):
        where = [*loc, "expose", index]
        if not check.mapping(item, where):
            continue
        protocol = item.get("protocol", "tcp")
        fit = check.literal(protocol, [*where, "protocol"], PROTOCOLS)
        port = check.text(item, "port", where)
        if port is None:
            continue
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
            check.value([*where, "port"], "port must be between 1 and 65535", port)
        elif fit and protocol == "http" and int(port) != 80:
            check.value([*where, "port"], "protocol http can be used with port 80 only", port)


def _environment(check: _Check, value: Any, loc: list[str | int], has_key: bool) -> None:
    for index, item in enumerate(check.array(value, loc, 0, ENVIRONMENT_MAX)):
        where = [*loc, index]
        if not check.mapping(item, where):
            continue
        name = check.text(item, "name", where)
        check.text(item, "value", where)
        if name is None:
            continue
        if not _VARIABLE.fullmatch(name):
            why = "name must have A-Z, 0-9 and underscores only, and start with a letter"
            check.value([*where, "name"], why, name)
        elif name == "SSH_PUBKEY" and has_key:
            check.value([*where, "name"], "SSH_PUBKEY is reserved for ssh_key", name)
