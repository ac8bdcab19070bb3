"""The emulated Paperspace's refusals: tRPC names, statuses, bodies, and the page of what stands in front of it.

Sources: the error codes and the error body (`code`, `message`, `issues`) in Paperspace's own CLI. The words of most
messages are this sandbox's; quoted ones are marked.
"""

from __future__ import annotations

import html
import re
from typing import Any

from starlette.responses import HTMLResponse, Response

from providers.sandbox.kit import json_reply

#: tRPC name to HTTP status, as Paperspace's CLI knows them.
STATUS = {
    "BAD_REQUEST": 400,
    "PARSE_ERROR": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_SUPPORTED": 405,
    "TIMEOUT": 408,
    "CONFLICT": 409,
    "PRECONDITION_FAILED": 412,
    "PAYLOAD_TOO_LARGE": 413,
    "TOO_MANY_REQUESTS": 429,
    "CLIENT_CLOSED_REQUEST": 499,
    "INTERNAL_SERVER_ERROR": 500,
}

#: Seen for notebooks (Paperspace/gradient-cli issue 327): "out of capacity for the selected VM type".
NO_CAPACITY = "We are currently out of capacity for the selected VM type. Try again later or select a different type."

_ATTACKS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"authorized_keys",
        r"/etc/(passwd|shadow|sudoers)",
        r"\b(curl|wget)\b[^\n|]*\|\s*(sudo\s+)?(ba|da|z)?sh\b",
        r"/dev/tcp/",
        r"<script\b",
    )
)


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        code: the tRPC name.
        message: for people.
        issues: one for each rule that the input broke; only with BAD_REQUEST.
        status: the HTTP status, instead of the usual one.
    """

    def __init__(
        self, code: str, message: str, *, issues: list[dict[str, Any]] | None = None, status: int | None = None
    ) -> None:
        self.code = code
        self.message = message
        self.issues = issues
        self.status = status or STATUS.get(code, 400)
        super().__init__(f"{code}: {message}")

    def response(self, headers: dict[str, str] | None = None) -> Response:
        """The answer on the wire."""
        body: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.issues:
            body["issues"] = self.issues
        return json_reply(body, self.status, headers)


def issue(where: str, message: str, code: str = "invalid_type") -> dict[str, Any]:
    """One broken rule."""
    return {"code": code, "path": [where], "message": message}


def invalid(*issues: dict[str, Any]) -> Refusal:
    """A 400 for input that breaks rules."""
    return Refusal("BAD_REQUEST", "Input validation failed", issues=list(issues))


def missing(what: str) -> Refusal:
    """A 404; *what* is a thing's name, for example ``Machine``."""
    return Refusal("NOT_FOUND", f"{what} not found")


def too_many(wait_s: float | None) -> Response:
    """A 429; *wait_s* in `Retry-After`, if that is said at all."""
    headers = {} if wait_s is None else {"retry-after": f"{wait_s:g}"}
    return Refusal("TOO_MANY_REQUESTS", "Too many requests, please try again later.").response(headers)


def looks_like_attack(body: bytes) -> bool:
    """Whether the firewall in front of the API stops a request with that body (SkyPilot issue 3498).

    What it really looks for is Cloudflare's secret; these are the usual suspects, read in plain text only.
    """
    text = body.decode("utf-8", "replace")
    return any(pattern.search(text) for pattern in _ATTACKS)


def blocked(ray: str) -> Response:
    """The firewall's page: a 403 that is no JSON."""
    page = (
        "<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head><body>"
        "<h1>Sorry, you have been blocked</h1><p>You are unable to access paperspace.com</p>"
        f"<p>Cloudflare Ray ID: {html.escape(ray)}</p></body></html>"
    )
    return HTMLResponse(page, 403, {"server": "cloudflare", "cf-ray": f"{ray}-SBX"})
