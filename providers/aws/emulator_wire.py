"""The emulated AWS's wire: form bodies in and XML out (EC2, STS), JSON 1.1 both ways (the other services).

Sources: the service models of botocore 1.44 (names of elements), the EC2 API reference's page on errors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from starlette.responses import Response

NAMESPACES = {
    "ec2": "http://ec2.amazonaws.com/doc/2016-11-15/",
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
}
VERSIONS = {"ec2": "2016-11-15", "sts": "2011-06-15"}
#: X-Amz-Target's first part to the service's name in signatures.
TARGETS = {
    "AWSPriceListService": "pricing",
    "AmazonSSM": "ssm",
    "ServiceQuotasV20190624": "servicequotas",
}

Tree = dict[str, Any]


class Refusal(Exception):
    """The call is refused with one of AWS's codes."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


@dataclass(slots=True)
class Call:
    """One request, read.

    Attributes:
        service: ``ec2``, ``sts``, ``ssm``, ``pricing``, ``servicequotas``, or whatever the signature names.
        action: the operation; empty if the request names none.
        params: EC2 and STS: a tree of the dotted names, numbers as keys; JSON services: the body.
        region: of the signature's scope.
        access_key: as signed with, not yet checked; None without a signature.
        account: whose resources are seen; set once the key is checked.
        verb: of the contract.
    """

    service: str
    action: str
    params: Tree
    region: str = ""
    access_key: str | None = None
    account: str = ""
    verb: str = "other"
    request_id: str = ""
    seen: dict[str, Any] = field(default_factory=dict)

    def text(self, name: str) -> str | None:
        """A single value, or None."""
        return text(self.params, name)

    def need(self, name: str) -> str:
        """A single value that must be there."""
        value = self.text(name)
        if value is None or value == "":
            raise Refusal("MissingParameter", f"The request must contain the parameter {name}")
        return value

    def items(self, name: str) -> list[Any]:
        """A list's items in the order of their numbers."""
        return items(self.params, name)

    def flag(self, name: str) -> bool:
        """A boolean, false if absent."""
        return flag(self.params, name)

    def number(self, name: str) -> int | None:
        """An integer, or None."""
        return number(self.params, name)


def text(tree: Tree, *path: str) -> str | None:
    """The value at *path*, or None."""
    node: Any = tree
    for part in path:
        if not isinstance(node, dict) or part not in node:
            return None
        node = node[part]
    return node if isinstance(node, str) else None


def branch(tree: Tree, name: str) -> Tree:
    """The structure called *name*, empty if there is none."""
    node = tree.get(name)
    return node if isinstance(node, dict) else {}


def items(tree: Tree, name: str) -> list[Any]:
    """A list's items (texts or trees) in the order of their numbers."""
    node = tree.get(name)
    if not isinstance(node, dict):
        return []
    return [node[key] for key in sorted((k for k in node if k.isdigit()), key=int)]


def flag(tree: Tree, name: str) -> bool:
    """A boolean, false if absent.

    Raises:
        Refusal: it is neither true nor false.
    """
    value = text(tree, name)
    if value is None:
        return False
    if value.lower() not in ("true", "false", "1", "0"):
        raise Refusal("InvalidParameterValue", f"Invalid value '{value}' for boolean parameter {name}")
    return value.lower() in ("true", "1")


def number(tree: Tree, name: str) -> int | None:
    """An integer, or None.

    Raises:
        Refusal: it is none.
    """
    value = text(tree, name)
    if value is None:
        return None
    if not value.lstrip("-").isdigit():
        raise Refusal("InvalidParameterValue", f"Value ({value}) for parameter {name} is invalid. Expected an integer")
    return int(value)


def read_form(body: bytes) -> Tree:
    """A form body as a tree: ``Filter.1.Value.2=x`` is ``{"Filter": {"1": {"Value": {"2": "x"}}}}``."""
    tree: Tree = {}
    for name, value in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True):
        *parents, last = name.split(".")
        node = tree
        for part in parents:
            below = node.setdefault(part, {})
            if not isinstance(below, dict):
                break
            node = below
        else:
            node[last] = value
    return tree


def stamp(moment: datetime) -> str:
    """A time as EC2 writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def xml(value: Any) -> str:
    """The inside of an element: structures become elements, lists ``item`` elements; None is left out."""
    if isinstance(value, dict):
        return "".join(f"<{name}>{xml(part)}</{name}>" for name, part in value.items() if part is not None)
    if isinstance(value, list | tuple):
        return "".join(f"<item>{xml(part)}</item>" for part in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    return escape(str(value))


def answer(call: Call, value: Tree, *, extra: bool = False) -> Response:
    """The answer to a call that went well."""
    if call.service not in NAMESPACES:
        return _json(call, value, 200)
    more = {"undocumentedSet": [{"newThing": "x"}], "undocumentedFlag": True} if extra else {}
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<{call.action}Response xmlns="{NAMESPACES[call.service]}">'
    if call.service == "ec2":
        inside = xml({"requestId": call.request_id, **value, **more})
    else:
        result = {f"{call.action}Result": {**value, **more}, "ResponseMetadata": {"RequestId": call.request_id}}
        inside = xml(result)
    return _xml(f"{head}{inside}</{call.action}Response>", 200, call.request_id)


def refused(call: Call, problem: Refusal, headers: dict[str, str] | None = None) -> Response:
    """The answer to a call that is refused, in its service's own form."""
    if call.service == "ec2":
        errors = {"Errors": {"Error": {"Code": problem.code, "Message": problem.message}}}
        inside = xml({**errors, "RequestID": call.request_id})
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Response>{inside}</Response>'
        return _xml(body, problem.status, call.request_id, headers)
    if call.service == "sts":
        kind = "Sender" if problem.status < 500 else "Receiver"
        error = {"Type": kind, "Code": problem.code, "Message": problem.message}
        inside = xml({"Error": error, "RequestId": call.request_id})
        body = f'<ErrorResponse xmlns="{NAMESPACES["sts"]}">{inside}</ErrorResponse>'
        return _xml(body, problem.status, call.request_id, headers)
    kind = f"com.amazonaws.{call.service}#{problem.code}" if call.service == "pricing" else problem.code
    return _json(call, {"__type": kind, "message": problem.message}, problem.status, headers)


def _xml(body: str, status: int, request_id: str, headers: dict[str, str] | None = None) -> Response:
    named = {"x-amzn-requestid": request_id, **(headers or {})}
    return Response(body, status_code=status, headers=named, media_type="text/xml;charset=UTF-8")


def _json(call: Call, value: Any, status: int, headers: dict[str, str] | None = None) -> Response:
    named = {"x-amzn-requestid": call.request_id, **(headers or {})}
    return Response(json.dumps(value), status_code=status, headers=named, media_type="application/x-amz-json-1.1")


def tags_of(nodes: Iterable[Any]) -> dict[str, str]:
    """``Tag.n`` structures as a mapping.

    Raises:
        Refusal: a key or value is too long, reserved, or there are too many.
    """
    found: dict[str, str] = {}
    for node in nodes:
        key, value = text(node, "Key") or "", text(node, "Value") or ""
        if not key or len(key) > 127 or len(value) > 255 or key.lower().startswith("aws:"):
            what = "reserved for internal use" if key.lower().startswith("aws:") else "not of a permitted length"
            raise Refusal("InvalidParameterValue", f"Tag key or value is {what}: {key[:40]}")
        if key in found:
            raise Refusal("InvalidParameterValue", f"Duplicate tag key '{key}' specified.")
        found[key] = value
    if len(found) > 50:
        raise Refusal("TagLimitExceeded", "You have reached the maximum number of tags for a resource (50).")
    return found


def tag_set(tags: dict[str, str]) -> list[Tree]:
    """A mapping as a ``tagSet``."""
    return [{"key": key, "value": value} for key, value in tags.items()]


def tag_specification(call: Call, kind: str, permitted: tuple[str, ...] | None = None) -> dict[str, str]:
    """The tags that the request's ``TagSpecification`` gives to resources of *kind*."""
    found: dict[str, str] = {}
    for node in call.items("TagSpecification"):
        what = text(node, "ResourceType") or ""
        if what not in (permitted or (kind,)):
            raise Refusal(
                "InvalidParameterValue", f"'{what}' is not a valid taggable resource type for this operation."
            )
        if what == kind:
            found |= tags_of(items(node, "Tag"))
    return found
