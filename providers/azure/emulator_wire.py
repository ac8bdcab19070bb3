"""Azure Resource Manager on the wire: a request, an answer, a refusal in Azure's own shapes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from starlette.responses import Response

_JSON = "application/json; charset=utf-8"


@dataclass(slots=True)
class Call:
    """One request.

    Attributes:
        path: without the sandbox's prefix, percent-decoded.
        base: where this emulator is reached, for example ``http://127.0.0.1:4711/azure``, without a slash at the end.
        query: parameters by lower-case name; `asked` has the names as they were sent.
        headers: by lower-case name.
        parts: what the route found in the path, for example ``group``.
        verb: the verb of the contract that it serves.
    """

    method: str
    path: str
    base: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    request_id: str = ""
    parts: dict[str, str] = field(default_factory=dict)
    verb: str = "other"
    asked: dict[str, str] = field(default_factory=dict)

    @property
    def api_version(self) -> str:
        return self.query.get("api-version", "")

    def again(self, **changes: str) -> str:
        """The URL of this call with other parameters; ``__`` at a name's beginning stands for ``$``."""
        new = {name.replace("__", "$", 1): value for name, value in changes.items()}
        kept = {name: value for name, value in self.asked.items() if name.lower() not in new}
        return f"{self.base}{quote(self.path)}?{urlencode(kept | new)}"

    def json(self) -> dict[str, Any]:
        """The body, a JSON object.

        Raises:
            Refusal: it is none.
        """
        try:
            found = json.loads(self.body)
        except ValueError:
            raise Refusal(
                "InvalidRequestContent", "The request content was invalid and could not be deserialized."
            ) from None
        if not isinstance(found, dict):
            raise Refusal("InvalidRequestContent", "The request content was invalid and could not be deserialized.")
        return found


class Refusal(Exception):
    """An error answer.

    Attributes:
        bare: the body is not wrapped in ``error``, as Compute's throttling answers are.
    """

    def __init__(
        self,
        code: str,
        message: str,
        status: int = 400,
        *,
        target: str | None = None,
        details: list[dict[str, Any]] | None = None,
        bare: bool = False,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.target = target
        self.details = details
        self.bare = bare
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.target is not None:
            error["target"] = self.target
        if self.details is not None:
            error["details"] = self.details
        return error if self.bare else {"error": error}

    def response(self) -> Response:
        """The answer on the wire."""
        return reply(self.body(), self.status, self.headers)


def reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer; with None an empty body."""
    if value is None:
        return Response(status_code=status, headers=headers)
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return Response(body, status, headers, media_type=_JSON)


def invalid(message: str, target: str | None = None) -> Refusal:
    """400 InvalidParameter."""
    return Refusal("InvalidParameter", message, target=target)


def not_found(kind: str, name: str, group: str) -> Refusal:
    """404 for a resource that is not there; *kind* for example ``Microsoft.Compute/virtualMachines``."""
    text = (
        f"The Resource '{kind}/{name}' under resource group '{group}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix"
    )
    return Refusal("ResourceNotFound", text, 404)


def no_group(group: str) -> Refusal:
    """404 for a resource group that is not there."""
    return Refusal("ResourceGroupNotFound", f"Resource group '{group}' could not be found.", 404)


def throttled(namespace: str, policy: str, wait_s: float | None) -> Refusal:
    """429: Compute's bare one with the policy's name, or ARM's.

    Args:
        policy: for example ``PutVM3Min``.
        wait_s: said in Retry-After, in whole seconds, if at all.
    """
    headers = {} if wait_s is None else {"retry-after": str(math.ceil(wait_s))}
    if namespace != "Microsoft.Compute":
        text = (
            "Number of requests for the subscription exceeded the limit. "
            f"Please try again after '{math.ceil(wait_s or 0)}' seconds."
        )
        return Refusal("SubscriptionRequestsThrottled", text, 429, headers=headers)
    inner = {
        "operationGroup": policy,
        "startTime": "",
        "endTime": "",
        "allowedRequestCount": 0,
        "measuredRequestCount": 0,
    }
    details = [{"code": "TooManyRequests", "target": policy, "message": json.dumps(inner)}]
    text = "The server rejected the request because too many requests have been received for this subscription."
    return Refusal("OperationNotAllowed", text, 429, details=details, bare=True, headers=headers)


def stamped(value: Any) -> Any:
    """The same answer with a field that no documentation knows in every object."""
    if isinstance(value, dict):
        return {key: stamped(item) for key, item in value.items()} | {"xNewField": {"since": "later"}}
    if isinstance(value, list):
        return [stamped(item) for item in value]
    return value
