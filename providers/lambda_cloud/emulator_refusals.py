"""The emulated Lambda Cloud's refusals: codes, statuses, bodies.

Source: the schemas of errors in Lambda's API description 1.10.0, and the fact that clients should look at `code`
alone. The code of a 429, and those of a second SSH key and of a launch that may not be, are clients' lore.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.responses import HTMLResponse, Response

from providers.sandbox.kit import json_reply

INVALID = "global/invalid-parameters"
MISSING = "global/object-does-not-exist"
NO_CAPACITY = "instance-operations/launch/insufficient-capacity"
_SUPPORT = "Contact Support if it goes on."


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is usually said with a code. An empty suggestion is left out."""

    status: int
    message: str
    suggestion: str = ""


_KINDS = {
    "global/invalid-api-key": _Kind(401, "API key was invalid, expired, or deleted.", "Check the API key."),
    "global/account-inactive": _Kind(
        403, "Your account is inactive.", f"Verify your email address and check your payment method. {_SUPPORT}"
    ),
    "global/invalid-address": _Kind(
        403, "Your billing address is invalid.", f"Correct the billing address. {_SUPPORT}"
    ),
    "global/forbidden": _Kind(403, "You are not allowed to do that."),
    NO_CAPACITY: _Kind(400, "Not enough capacity to fulfill launch request."),
    "global/quota-exceeded": _Kind(400, "Quota exceeded.", "Ask Support for a higher quota."),
    INVALID: _Kind(400, "Invalid request data."),
    MISSING: _Kind(404, "Specified instance does not exist."),
    "global/not-found": _Kind(404, "The requested resource was not found."),
    "global/conflict": _Kind(409, "The request conflicts with the current state of the resource."),
    "global/duplicate": _Kind(400, "There is one of that name already."),
    "global/internal-error": _Kind(500, "An internal server error occurred.", f"Try again later. {_SUPPORT}"),
    "global/rate-limited": _Kind(429, "Too many requests.", "Slow down and try again."),
}

#: All codes that this emulator says by itself.
CODES = frozenset(_KINDS)


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        code: Lambda's code.
        message, suggestion: instead of those that usually come with *code*.
        status: the HTTP status, instead of the usual one.
    """

    def __init__(
        self, code: str, message: str | None = None, *, suggestion: str | None = None, status: int | None = None
    ) -> None:
        kind = _KINDS.get(code, _Kind(400, "The request was refused."))
        self.code = code
        self.status = kind.status if status is None else status
        self.message = kind.message if message is None else message
        self.suggestion = kind.suggestion if suggestion is None else suggestion
        super().__init__(f"{code}: {self.message}")

    def response(self, headers: dict[str, str] | None = None) -> Response:
        """The answer on the wire."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.suggestion:
            error["suggestion"] = self.suggestion
        return json_reply({"error": error}, self.status, headers)


def invalid(what: str) -> Refusal:
    """A 400 for a request that breaks a rule; *what* names the rule."""
    return Refusal(INVALID, f"Invalid request data: {what}")


def missing(what: str, status: int) -> Refusal:
    """A launch names something that there is not; *what* says what, for example ``SSH key laptop``."""
    return Refusal(MISSING, f"{what} does not exist.", suggestion="Check the name or the ID.", status=status)


def too_many(wait_s: float | None, *, html: bool = False) -> Response:
    """A 429; *wait_s* in `Retry-After`, if that is said at all."""
    headers = {} if wait_s is None else {"retry-after": f"{wait_s:g}"}
    if html:
        page = "<html><head><title>429 Too Many Requests</title></head><body>Too Many Requests</body></html>"
        return HTMLResponse(page, 429, headers)
    return Refusal("global/rate-limited").response(headers)
