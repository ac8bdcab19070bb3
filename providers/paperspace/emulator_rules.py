"""What a request to the emulated Paperspace may hold. Fields that nobody knows are ignored.

Which fields are needed, and their types, are documented; that a wrong one is answered with `issues` is in the
generated types of Paperspace's CLI, the words of an issue are not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from providers.paperspace.emulator_market import Market
from providers.paperspace.emulator_refusals import Refusal, invalid, issue

Issues = list[dict[str, Any]]
_NAMES = {str: "string", bool: "boolean", int: "number", dict: "object", list: "array"}
_IP_TYPES = ("static", "dynamic", "none")
_BOOLEANS = ("startOnCreate", "enableNvlink", "emailPassword", "autoShutdownEnabled", "autoShutdownForce")
_MORE_BOOLEANS = ("autoSnapshotEnabled", "takeInitialSnapshot", "restorePointEnabled")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A checked create. `region` is the short name."""

    name: str
    machine_type: str
    template: str
    disk_gb: int
    region: str
    network: str | None
    ip_type: str
    start: bool
    script: str | None
    autostop_h: float | None


async def read_body(request: Request) -> dict[str, Any]:
    """The body, a JSON object; no body is an empty one unless its type is promised to be JSON.

    Raises:
        Refusal: it cannot be read.
    """
    raw = await request.body()
    promised = "json" in request.headers.get("content-type", "")
    if not raw and not promised:
        return {}
    try:
        body = json.loads(raw)
    except ValueError:
        raise Refusal("PARSE_ERROR", "Failed to parse request body") from None
    if not isinstance(body, dict):
        raise invalid({"code": "invalid_type", "path": [], "message": "Expected object"})
    return body


def check_create(body: dict[str, Any], market: Market) -> Wanted:
    """The body of a create.

    Raises:
        Refusal: it breaks rules, all of which are named.
    """
    wrong: Issues = []
    for name in ("name", "machineType", "templateId"):
        _text(body, name, wrong, needed=True)
    if isinstance(body.get("machineType"), str) and body["machineType"] not in market.types:
        wrong.append(issue("machineType", "Invalid machine type", "invalid_enum_value"))
    region = _region(body.get("region"), market, wrong)
    disk = _disk(body, market, wrong, needed=True)
    for name in ("networkId", "startupScriptId"):
        _text(body, name, wrong)
    if body.get("publicIpType", "none") not in _IP_TYPES:
        wrong.append(issue("publicIpType", f"Expected {' | '.join(_IP_TYPES)}", "invalid_enum_value"))
    for name in (*_BOOLEANS, *_MORE_BOOLEANS):
        _flag(body, name, wrong)
    hours = _number(body, "autoShutdownTimeout", wrong)
    if not _is_texts(body.get("accessorIds", [])):
        wrong.append(issue("accessorIds", "Expected array of string"))
    if wrong:
        raise invalid(*wrong)
    return Wanted(
        name=body["name"],
        machine_type=body["machineType"],
        template=body["templateId"],
        disk_gb=int(disk or 0),
        region=region or "",
        network=body.get("networkId"),
        # What comes without a wish is not documented; the old API gave no address.
        ip_type=body.get("publicIpType", "none"),
        start=body.get("startOnCreate", True),
        script=body.get("startupScriptId"),
        autostop_h=(hours or 24.0) if body.get("autoShutdownEnabled") else None,
    )


def check_update(body: dict[str, Any], market: Market) -> dict[str, Any]:
    """What an update may change: `name`, `machineType`, `diskSize`; absent ones are left out.

    Raises:
        Refusal: it breaks a rule.
    """
    wrong: Issues = []
    _text(body, "name", wrong)
    _text(body, "machineType", wrong)
    if isinstance(body.get("machineType"), str) and body["machineType"] not in market.types:
        wrong.append(issue("machineType", "Invalid machine type", "invalid_enum_value"))
    _disk(body, market, wrong)
    if wrong:
        raise invalid(*wrong)
    return {name: body[name] for name in ("name", "machineType", "diskSize") if body.get(name) is not None}


def check_script(body: dict[str, Any], *, new: bool) -> None:
    """The body of a new (or changed) startup script.

    Raises:
        Refusal: it breaks a rule.
    """
    wrong: Issues = []
    for name in ("name", "script"):
        _text(body, name, wrong, needed=new)
    _text(body, "description", wrong)
    _flag(body, "isRunOnce", wrong)
    if wrong:
        raise invalid(*wrong)


def check_network(body: dict[str, Any], market: Market) -> tuple[str, str]:
    """Name and region of a new private network.

    Raises:
        Refusal: one of them breaks a rule.
    """
    wrong: Issues = []
    _text(body, "name", wrong, needed=True)
    region = _region(body.get("region"), market, wrong)
    if wrong:
        raise invalid(*wrong)
    return body["name"], region or ""


def check_region(body: dict[str, Any], market: Market) -> str:
    """The region of a new address.

    Raises:
        Refusal: there is none such.
    """
    wrong: Issues = []
    region = _region(body.get("region"), market, wrong)
    if wrong:
        raise invalid(*wrong)
    return region or ""


def check_place(query: Mapping[str, str], market: Market) -> tuple[str, str]:
    """Machine type and region of a question for availability; both are needed.

    Raises:
        Refusal: one of them is missing or unknown.
    """
    wrong: Issues = []
    wanted = query.get("machineType")
    if wanted is None:
        wrong.append(issue("machineType", "Required"))
    elif wanted not in market.types:
        wrong.append(issue("machineType", "Invalid machine type", "invalid_enum_value"))
    region = _region(query.get("region"), market, wrong)
    if wrong:
        raise invalid(*wrong)
    return wanted or "", region or ""


def filter_region(query: Mapping[str, str], market: Market) -> str | None:
    """The region that a list is filtered by, or None.

    Raises:
        Refusal: there is none such.
    """
    return check_region(dict(query), market) if "region" in query else None


def _text(body: dict[str, Any], name: str, wrong: Issues, *, needed: bool = False) -> None:
    value = body.get(name)
    if value is None and not (needed or name in body):
        return
    if not isinstance(value, str):
        wrong.append(issue(name, "Required" if value is None else f"Expected string, received {_kind(value)}"))
    elif not value:
        wrong.append(issue(name, "String must contain at least 1 character(s)", "too_small"))


def _flag(body: dict[str, Any], name: str, wrong: Issues) -> None:
    if not isinstance(body.get(name, False), bool):
        wrong.append(issue(name, f"Expected boolean, received {_kind(body[name])}"))


def _number(body: dict[str, Any], name: str, wrong: Issues, *, needed: bool = False) -> float | None:
    value = body.get(name)
    if value is None and not (needed or name in body):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        wrong.append(issue(name, "Required" if value is None else f"Expected number, received {_kind(value)}"))
        return None
    return value


def _disk(body: dict[str, Any], market: Market, wrong: Issues, *, needed: bool = False) -> float | None:
    size = _number(body, "diskSize", wrong, needed=needed)
    if size is not None and size not in market.disk_sizes_gb:
        sizes = " | ".join(map(str, market.disk_sizes_gb))
        wrong.append(issue("diskSize", f"Invalid disk size. Expected {sizes}", "invalid_union"))
    return size


def _region(value: object, market: Market, wrong: Issues) -> str | None:
    found = market.region(value) if isinstance(value, str) else None
    if found is None:
        wrong.append(issue("region", "Required" if value is None else "Invalid region", "invalid_union"))
    return found


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _kind(value: object) -> str:
    return "null" if value is None else _NAMES.get(type(value), "number")
