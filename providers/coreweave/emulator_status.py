"""How the emulated API server says no: `Status` objects, as a real kube-apiserver writes them."""

from __future__ import annotations

from typing import Any

from starlette.responses import PlainTextResponse, Response

from providers.sandbox.kit import json_reply

Json = dict[str, Any]


class Refused(Exception):
    """A request that is answered with a failure.

    Attributes:
        details: the `details` object; None leaves it out, as some answers do.
        retry_after: seconds for the header of that name.
    """

    def __init__(
        self, code: int, reason: str, message: str, details: Json | None = None, *, retry_after: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.retry_after = retry_after

    def response(self) -> Response:
        """The answer on the wire."""
        headers = {} if self.retry_after is None else {"retry-after": self.retry_after}
        return json_reply(self.body(), self.code, headers)

    def body(self) -> Json:
        """The `Status` object."""
        details = {} if self.details is None else {"details": self.details}
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            **details,
            "code": self.code,
        }


class Cause(dict[str, str]):
    """One reason of an `Invalid`: which field, what kind of mistake, in words."""

    def __init__(self, reason: str, field: str, message: str) -> None:
        super().__init__(reason=reason, message=message, field=field)


def required(field: str, why: str = "") -> Cause:
    """A field that must be there."""
    return Cause("FieldValueRequired", field, f"Required value: {why}" if why else "Required value")


def wrong(field: str, value: object, why: str) -> Cause:
    """A field whose value cannot be."""
    return Cause("FieldValueInvalid", field, f"Invalid value: {_quoted(value)}: {why}")


def unsupported(field: str, value: object, supported: tuple[str, ...]) -> Cause:
    """A field that takes certain words only."""
    words = ", ".join(f'"{word}"' for word in supported)
    return Cause("FieldValueNotSupported", field, f"Unsupported value: {_quoted(value)}: supported values: {words}")


def duplicate(field: str, value: object) -> Cause:
    """A value that may occur once only."""
    return Cause("FieldValueDuplicate", field, f"Duplicate value: {_quoted(value)}")


def missing(field: str, value: object) -> Cause:
    """A name of something that is not there."""
    return Cause("FieldValueNotFound", field, f"Not found: {_quoted(value)}")


def fixed(field: str, why: str) -> Cause:
    """A field that may not be changed."""
    return Cause("FieldValueForbidden", field, f"Forbidden: {why}")


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _of(name: str | None, group: str, kind: str) -> Json:
    return {**({"name": name} if name else {}), **({"group": group} if group else {}), "kind": kind}


def full(plural: str, group: str) -> str:
    """A resource as messages name it: with its group, unless that is the core."""
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, group: str, name: str) -> Refused:
    """404: no such object."""
    return Refused(404, "NotFound", f'{full(plural, group)} "{name}" not found', _of(name, group, plural))


def no_resource() -> Refused:
    """404: no such kind of object in a group that is there."""
    return Refused(404, "NotFound", "the server could not find the requested resource", {})


def exists(plural: str, group: str, name: str, *, deleting: bool) -> Refused:
    """409: the name is taken, perhaps by something that is just going."""
    text = f'{full(plural, group)} "{name}" already exists'
    text = f"object is being deleted: {text}" if deleting else text
    return Refused(409, "AlreadyExists", text, _of(name, group, plural))


def modified(plural: str, group: str, name: str) -> Refused:
    """409: the caller's `resourceVersion` is old."""
    text = (
        f'Operation cannot be fulfilled on {full(plural, group)} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return Refused(409, "Conflict", text, _of(name, group, plural))


def precondition(kind: str, group: str, name: str, what: str, asked: str, there: str) -> Refused:
    """409: a delete's precondition does not hold."""
    text = (
        f'Operation cannot be fulfilled on {kind} "{name}": the {what} in the precondition ({asked}) does not match '
        f"the {what} in record ({there}). The object might have been deleted and then recreated"
    )
    return Refused(409, "Conflict", text, _of(name, group, kind))


def invalid(kind: str, group: str, name: str, causes: list[Cause]) -> Refused:
    """422: the object breaks rules."""
    said = [f"{cause['field']}: {cause['message']}" for cause in causes]
    text = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    details = {**_of(name, group, kind), "causes": [dict(cause) for cause in causes]}
    return Refused(422, "Invalid", f'{full(kind, group)} "{name}" is invalid: {text}', details)


def forbidden(plural: str, group: str, name: str | None, why: str) -> Refused:
    """403 from authorization or admission."""
    subject = f'{full(plural, group)} "{name}"' if name else full(plural, group)
    return Refused(403, "Forbidden", f"{subject} is forbidden: {why}", _of(name, group, plural))


def bad_request(message: str) -> Refused:
    """400: the request cannot be understood."""
    return Refused(400, "BadRequest", message)


def unauthorized() -> Refused:
    """401 of plain Kubernetes."""
    return Refused(401, "Unauthorized", "Unauthorized")


def wrong_method() -> Refused:
    """405."""
    text = "the server does not allow this method on the requested resource"
    return Refused(405, "MethodNotAllowed", text, {})


def wrong_type(accepted: tuple[str, ...]) -> Refused:
    """415: a body, or a kind of patch, that is not taken here."""
    text = "the body of the request was in an unknown format - accepted media types include: "
    return Refused(415, "UnsupportedMediaType", text + ", ".join(accepted))


def expired(message: str = "The resourceVersion for the provided list is too old.") -> Refused:
    """410: older than what is kept."""
    return Refused(410, "Expired", message)


def too_many(retry_after: float | None) -> Response:
    """429 of priority and fairness."""
    seconds = None if retry_after is None else max(1, round(retry_after))
    details = None if seconds is None else {"retryAfterSeconds": seconds}
    header = None if seconds is None else f"{seconds}"
    text = "The server has received too many requests and has asked us to try again later"
    return Refused(429, "TooManyRequests", text, details, retry_after=header).response()


def internal(text: str) -> Response:
    """500: the server's own trouble."""
    details = {"causes": [{"message": text}]}
    return Refused(500, "InternalError", f"Internal error occurred: {text}", details).response()


def page_not_found() -> Response:
    """What the server's router says of a path that nobody serves, an unknown API group above all."""
    return PlainTextResponse("404 page not found\n", status_code=404)
