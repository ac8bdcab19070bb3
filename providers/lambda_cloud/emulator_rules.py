"""What a request to the emulated Lambda Cloud may hold, rule by rule as Lambda's API description has them.

Fields that the description does not know are ignored, with one exception that clients met: `quantity`.
"""

from __future__ import annotations

import re
from typing import Any

from providers.lambda_cloud.emulator_refusals import INVALID, Refusal, invalid

_HOSTNAME = re.compile(r"[a-z0-9][0-9a-z-]{0,62}")
_TAG_KEY = re.compile(r"[a-z][a-z0-9:-]+")
_MOUNT = re.compile(r"(/home|/lambda/nfs|/data)[/a-zA-Z0-9-]*")
_PUBLIC_KEY = re.compile(r"(ssh-|ecdsa-|sk-)[a-zA-Z0-9@.-]+ +[A-Za-z0-9+/]+=* *.*")
_USER_DATA_BYTES = 1_000_000


def check_launch(body: dict[str, Any]) -> None:
    """The body of a launch.

    Raises:
        Refusal: it breaks a rule.
    """
    for name in ("region_name", "instance_type_name"):
        if name not in body:
            raise invalid(f"{name} is required")
        _text(body, name)
    keys = _texts(body, "ssh_key_names")
    if keys is None or len(keys) != 1:
        raise invalid("exactly one SSH key must be named in ssh_key_names")
    _check_quantity(body)
    _text(body, "name", longest=64)
    hostname = _text(body, "hostname")
    if hostname is not None and not _HOSTNAME.fullmatch(hostname):
        raise invalid("hostname must be 1 to 63 of a-z, 0-9 and -, and not begin with -")
    data = _text(body, "user_data")
    if data is not None and len(data.encode()) > _USER_DATA_BYTES:
        raise invalid("user_data must not exceed 1MB")
    _texts(body, "file_system_names")
    _check_image(body)
    _check_tags(body)
    _check_mounts(body)
    for entry in _objects(body, "firewall_rulesets"):
        _needed(entry, "firewall_rulesets", "id")


def check_ids(body: dict[str, Any]) -> list[str]:
    """The `instance_ids` of a terminate or restart.

    Raises:
        Refusal: there are none.
    """
    ids = _texts(body, "instance_ids")
    if ids is None:
        raise invalid("instance_ids is required")
    return ids


def check_rename(body: dict[str, Any]) -> str | None:
    """The new name, or None if none is given.

    Raises:
        Refusal: it breaks a rule.
    """
    return _text(body, "name", longest=64)


def check_key(body: dict[str, Any]) -> tuple[str, str | None]:
    """Name and public key of a new SSH key; None where Lambda is to make the pair.

    Raises:
        Refusal: it breaks a rule.
    """
    name = _text(body, "name", shortest=1, longest=64)
    if name is None:
        raise invalid("name is required")
    public = _text(body, "public_key", shortest=1, longest=4096)
    if public is not None and not _PUBLIC_KEY.fullmatch(public.strip()):
        raise invalid("public_key is no public key")
    return name, public


def _check_quantity(body: dict[str, Any]) -> None:
    # Gone from the description, still understood: one is served, more are too many.
    if (quantity := body.get("quantity", 1)) == 1 and not isinstance(quantity, bool):
        return
    if isinstance(quantity, int) and quantity > 1:
        raise Refusal(INVALID, "Requested too many instances.")
    raise invalid("quantity must be 1")


def _check_image(body: dict[str, Any]) -> None:
    if "image" not in body:
        return
    image = body["image"]
    if not isinstance(image, dict) or not any(isinstance(image.get(name), str) for name in ("id", "family")):
        raise invalid("image must hold an id or a family")


def _check_tags(body: dict[str, Any]) -> None:
    for tag in _objects(body, "tags"):
        key, value = _needed(tag, "tags", "key"), _needed(tag, "tags", "value")
        if len(key) > 55 or not _TAG_KEY.fullmatch(key):
            raise invalid("a tag's key must be 2 to 55 of a-z, 0-9, - and :, and begin with a letter")
        if len(value) > 128:
            raise invalid("a tag's value must not be longer than 128 characters")


def _check_mounts(body: dict[str, Any]) -> None:
    for mount in _objects(body, "file_system_mounts"):
        point = _needed(mount, "file_system_mounts", "mount_point")
        _needed(mount, "file_system_mounts", "file_system_id")
        if len(point) > 256 or not _MOUNT.fullmatch(point):
            raise invalid("a mount point must be below /home, /lambda/nfs or /data")


def _text(body: dict[str, Any], name: str, *, shortest: int = 0, longest: int | None = None) -> str | None:
    if name not in body:
        return None
    value = body[name]
    if not isinstance(value, str):
        raise invalid(f"{name} must be a string")
    if len(value) < shortest or (longest is not None and len(value) > longest):
        raise invalid(f"{name} must have {shortest} to {longest} characters")
    return value


def _texts(body: dict[str, Any], name: str) -> list[str] | None:
    value = body.get(name, [] if name == "file_system_names" else None)
    if value is None and name not in body:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise invalid(f"{name} must be a list of strings")
    return value


def _objects(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = body.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise invalid(f"{name} must be a list of objects")
    return value


def _needed(entry: dict[str, Any], where: str, name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        raise invalid(f"{where} must hold a string {name}")
    return value
