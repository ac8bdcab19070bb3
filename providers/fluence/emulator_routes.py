"""The emulated Fluence's paths, and what every handler needs of a request."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from providers.fluence.emulator_rules import Error, error
from providers.sandbox.kit import json_reply

_KIND = "(?P<kind>vms|baremetal)"
_ID = "(?P<id>[^/]+)"

#: Path to handler by method, first match wins. A slash at the end is part of the path, as documented.
_ROUTES: tuple[tuple[re.Pattern[str], dict[str, str]], ...] = tuple(
    (re.compile(pattern), methods)
    for pattern, methods in (
        ("/gpu/plans/", {"GET": "plans"}),
        (f"/gpu/plans/{_KIND}", {"GET": "plans"}),
        ("/gpu/default-images/", {"GET": "images"}),
        ("/gpu/instances/", {"GET": "list", "POST": "create"}),
        (f"/gpu/instances/{_KIND}", {"GET": "list", "POST": "create"}),
        (f"/gpu/instances/{_KIND}/{_ID}", {"GET": "detail", "PUT": "update", "DELETE": "terminate"}),
        (f"/gpu/instances/{_ID}/(?P<what>logs|events)", {"GET": "lines"}),
        (f"/gpu/instances/{_ID}", {"GET": "detail", "PUT": "update", "DELETE": "terminate"}),
        ("/v1/service/status", {"GET": "status"}),
        ("/v2/users/balances", {"GET": "balances"}),
    )
)

#: Handler to the verb of the contract that it serves; the rest is "other".
VERBS = {"plans": "offers", "create": "launch", "list": "owned", "detail": "find", "terminate": "terminate"}


@dataclass(slots=True)
class Call:
    """One request on its way: the path's parameters, and whether it sees the empty account."""

    request: Request
    kind: str
    id: str
    what: str
    empty: bool = False


def match(path: str) -> tuple[dict[str, str], re.Match[str]] | None:
    """The handlers by method for exactly that path, and its parameters."""
    for pattern, methods in _ROUTES:
        if found := pattern.fullmatch(path):
            return methods, found
    return None


def other_slash(path: str) -> str:
    """The same path without its last slash, or with one."""
    return path[:-1] if path.endswith("/") else path + "/"


def refused(text: str) -> Response:
    """A 400 with the text in `detail`."""
    return json_reply({"detail": text}, 400)


def invalid(errors: list[Error]) -> Response:
    """A 422 as pydantic-based services give it."""
    return json_reply({"detail": errors}, 422)


async def read_body(request: Request) -> tuple[Any, list[Error]]:
    """The body as JSON, and the error where it is none."""
    raw = await request.body()
    if not raw:
        return None, [error("missing", ["body"], "Field required", None)]
    try:
        return json.loads(raw), []
    except ValueError as problem:
        at = problem.pos if isinstance(problem, json.JSONDecodeError) else 0
        return None, [error("json_invalid", ["body", at], "JSON decode error", {}, {"error": str(problem)})]
