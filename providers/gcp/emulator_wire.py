"""The emulated Google Cloud's calls, refusals and common shapes: errors, links, times, ids.

Source of the bodies: Compute Engine's documentation of errors, and errors that clients have published (SkyPilot,
dstack, public issues). Compute v1 lists `errors`; the price catalogue answers as google.rpc.Status does.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from starlette.responses import Response

from providers.sandbox.kit import json_reply

PROVIDER = "gcp"
#: Links in answers lead there, whatever address the caller used.
ROOT = "https://www.googleapis.com/compute/v1/"
_LINK = re.compile(r"https://(?:www|compute)\.googleapis\.com/compute/(?:v1|beta)/")
#: Compute Engine writes times in Californian time, with milliseconds.
_PACIFIC = timezone(timedelta(hours=-8))
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


@dataclass(slots=True)
class Call:
    """One request, read.

    Attributes:
        name: of the handler.
        parts: the path's parameters.
        query: the last value of each query parameter.
        body: the JSON object that was sent, or {}.
        user: the e-mail address behind the token.
        billing: whether it is for the price catalogue.
    """

    name: str
    verb: str
    parts: dict[str, str]
    query: dict[str, str]
    body: dict[str, Any] = field(default_factory=dict)
    user: str = ""
    billing: bool = False

    @property
    def project(self) -> str:
        return self.parts["project"]

    @property
    def zone(self) -> str:
        return self.parts["zone"]


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        reason: of the first entry of `errors`, for example ``notFound``.
        domain: of the same.
        info: the ErrorInfo of `details`: reason and metadata; None for no details.
        location: the header or parameter that is to blame.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        domain: str = "global",
        info: tuple[str, dict[str, str]] | None = None,
        location: str = "",
    ) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.domain = domain
        self.info = info
        self.location = location

    def response(self, *, billing: bool = False, headers: dict[str, str] | None = None) -> Response:
        """The answer on the wire."""
        error: dict[str, Any] = {"code": self.status, "message": self.message}
        if not billing:
            entry = {"message": self.message, "domain": self.domain, "reason": self.reason}
            if self.location:
                entry |= {"location": self.location, "locationType": "header"}
            error["errors"] = [entry]
        if billing or self.info is not None or self.status == 401:
            error["status"] = _STATUS.get(self.status, "UNKNOWN")
        if self.info is not None:
            reason, metadata = self.info
            service = "cloudbilling.googleapis.com" if billing else "compute.googleapis.com"
            error["details"] = [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": reason,
                    "domain": "googleapis.com",
                    "metadata": {"service": service, **metadata},
                }
            ]
        return json_reply({"error": error}, self.status, headers)


def invalid(field_name: str, value: object, why: str) -> Refusal:
    """A 400 for a field that breaks a rule."""
    return Refusal(400, "invalid", f"Invalid value for field '{field_name}': '{value}'. {why}")


def missing(path: str) -> Refusal:
    """A 404; *path* is the resource's, for example ``projects/p/zones/z/instances/i``."""
    return Refusal(404, "notFound", f"The resource '{path}' was not found")


def exists(path: str) -> Refusal:
    """A 409."""
    return Refusal(409, "alreadyExists", f"The resource '{path}' already exists")


def forbidden(permission: str, path: str) -> Refusal:
    """A 403 for want of a permission."""
    return Refusal(403, "forbidden", f"Required '{permission}' permission for '{path}'")


def link(path: str) -> str:
    """The full link of a resource's path."""
    return ROOT + path


def path_of(text: str) -> str:
    """The path of a full or partial link, beginning at ``projects/``, ``zones/``, ``regions/`` or ``global/``."""
    return _LINK.sub("", text).strip("/")


def last(text: str) -> str:
    """The name at a link's end."""
    return text.rstrip("/").rsplit("/", 1)[-1]


def stamp(when: datetime) -> str:
    """A time as Compute Engine writes it."""
    return when.astimezone(_PACIFIC).isoformat(timespec="milliseconds")


def number_of(*parts: str) -> str:
    """An id (uint64) that is always the same for the same thing."""
    digest = hashlib.sha256("/".join(parts).encode()).digest()
    return str(int.from_bytes(digest[:8]) >> 1 | 1 << 60)


def fingerprint(value: object) -> str:
    """A fingerprint (eight bytes, base64) that changes with *value*."""
    return base64.b64encode(hashlib.sha256(repr(value).encode()).digest()[:8]).decode()


def text_of(value: object) -> str | None:
    """A string, or None; numbers become strings, as int64 come as either."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return str(value)


def int_of(value: object) -> int | None:
    """An int64 that came as a string or as a number, or None."""
    text = text_of(value)
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,19}", text) else None
