"""Small change of Vast.ai's wire: error bodies, numbers, JSON bodies.

Sources: the error examples of the official endpoint descriptions, and answers that clients have met; the shapes
differ from endpoint to endpoint, as they do at Vast.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

_EXACT = Decimal("1e-10")  # so that a price survives the way into a JSON number and back


class Refusal(Exception):
    """A request that is not served.

    Args:
        status: HTTP status. 200 is possible: Vast also refuses with ``success: false`` in a 200.
        error: the code for programs, or None where Vast sends none.
        msg: the text for people; clients find ``no_such_ask`` and the like in it.
        headers: of the answer.
        more: further fields of the body.
    """

    def __init__(
        self, status: int, error: str | None, msg: str, *, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(msg)
        self.status = status
        self.body: dict[str, Any] = {"success": False} | ({} if error is None else {"error": error})
        self.body |= {"msg": msg} | more
        self.headers = headers or {}

    def response(self) -> Response:
        """The answer on the wire."""
        return JSONResponse(self.body, self.status, headers=self.headers)


class PlainRefusal(Refusal):
    """A refusal whose body is text, as rate limits are answered."""

    def __init__(self, status: int, text: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, None, text, headers=headers)

    def response(self) -> Response:
        return PlainTextResponse(self.body["msg"], self.status, headers=self.headers)


def invalid_args(number: int, what: str, **more: Any) -> Refusal:
    """A 400 of the kind ``error 400/3467: Invalid args: ...``."""
    return Refusal(400, "invalid_args", f"error 400/{number}: Invalid args: {what}", **more)


def invalid_query(what: str) -> Refusal:
    """A 400 about a search or a list that cannot be read."""
    return Refusal(400, "invalid_request", f"Error in query parameters: {what}")


def no_such_ask(shape: str, ask_id: int) -> Refusal:
    """The refusal of an ask that is gone or taken, in one of its shapes.

    Args:
        shape: ``410`` (the instance cannot start and `cancel_unavail` holds), ``404`` (no such ask; the code is
            ``invalid_args`` and only the text says it), ``400`` (seen by clients), ``200`` (``success: false``).
    """
    if shape == "410":
        text = f"error 410/3907: no_such_ask Instance type {ask_id} is no longer available."
        return Refusal(410, "no_such_ask", text, ask_id=ask_id)
    status = int(shape)
    text = f"error {404 if status == 200 else status}/3603: no_such_ask Instance type by id {ask_id} is not available."
    return Refusal(status, "invalid_args", text, ask_id=ask_id)


def no_such_instance(instance_id: int | str) -> Refusal:
    """The 404 of an instance that is not there, or not this account's."""
    return Refusal(404, "no_such_instance", f"Instance {instance_id} not found.")


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in a request's body; an empty body is an empty object.

    Raises:
        Refusal: 400, it is none.
    """
    try:
        value = json.loads(raw or b"{}", parse_constant=_no_constant)
    except ValueError:
        raise invalid_args(1782, "invalid json") from None
    if not isinstance(value, dict):
        raise invalid_args(1782, f"invalid json: {value}")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def exact(amount: Decimal) -> Decimal:
    """*amount* as it goes over the wire: at most ten decimals, so that a client can send it back unchanged."""
    short = amount.quantize(_EXACT).normalize()
    # Decimal writes a normalized 100 as 1E+2.
    return short.quantize(Decimal(1)) if short == short.to_integral_value() else short


def number(amount: Decimal) -> float:
    """*amount* as a JSON number, whose shortest text is the amount's own."""
    return float(exact(amount))


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
