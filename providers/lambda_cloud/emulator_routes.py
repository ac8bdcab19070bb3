"""The emulated Lambda Cloud's paths, the way in with a key, and the body of a request.

Not modelled: filesystems (the list is empty), firewalls, audit events, tickets and cluster partitions. As on the
real service, `/file-systems` has a hyphen where it is listed and answers POST with 405.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from starlette.requests import Request

from providers.lambda_cloud.emulator_refusals import invalid

_ROUTES: tuple[tuple[re.Pattern[str], dict[str, str]], ...] = tuple(
    (re.compile(f"/api/v1{pattern}"), methods)
    for pattern, methods in (
        ("/instance-types", {"GET": "types"}),
        ("/instance-operations/launch", {"POST": "launch"}),
        ("/instance-operations/terminate", {"POST": "terminate"}),
        ("/instance-operations/restart", {"POST": "restart"}),
        ("/instances", {"GET": "list"}),
        ("/instances/([^/]+)", {"GET": "get", "POST": "rename"}),
        ("/ssh-keys", {"GET": "keys", "POST": "add_key"}),
        ("/ssh-keys/([^/]+)", {"DELETE": "delete_key"}),
        ("/images", {"GET": "images"}),
        ("/regions", {"GET": "regions"}),
        ("/file-systems", {"GET": "file_systems"}),
    )
)

#: Handler to the verb of the contract that it serves; the rest is "other".
VERBS = {"types": "offers", "launch": "launch", "list": "owned", "get": "find", "terminate": "terminate"}


def match(path: str) -> tuple[dict[str, str], str] | None:
    """The handlers by method for that path, and the id in it."""
    for pattern, methods in _ROUTES:
        if found := pattern.fullmatch(path):
            return methods, found[1] if pattern.groups else ""
    return None


def keys_of(header: str) -> set[str]:
    """The API keys that an Authorization header may mean: none, one, or two readings of the same text.

    Bearer and Basic are allowed; Basic holds the base64 of the key and a colon, or the bare key.
    """
    scheme, _, text = header.strip().partition(" ")
    text = text.strip()
    if not text:
        return set()
    if scheme.lower() == "bearer":
        return {text}
    if scheme.lower() != "basic":
        return set()
    found = {text}
    try:
        user, colon, password = base64.b64decode(text.removesuffix(":"), validate=True).decode().partition(":")
    except ValueError:  # no base64, or no text in it
        return found
    if not password and (colon or text.endswith(":")):
        found.add(user)
    return found


async def read_body(request: Request) -> dict[str, Any]:
    """The body, a JSON object.

    Raises:
        Refusal: it is none.
    """
    try:
        body = json.loads(await request.body())
    except ValueError:
        raise invalid("the body is no JSON") from None
    if not isinstance(body, dict):
        raise invalid("the body is no object")
    return body
