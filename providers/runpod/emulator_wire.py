"""Small change of RunPod's REST v2 wire: problem bodies, rate-limit windows, numbers and times.

Sources: the API description's ErrorResponse, RateLimitHeader and RateLimitPolicyHeader; recorded error bodies.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from math import ceil
from typing import Any

from starlette.responses import HTMLResponse, JSONResponse, Response

CAPACITY = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)
HOST_FULL = "There are not enough free GPUs on the host machine to start this pod."
RULE_BROKEN = "request could not be processed"
WINDOWS = {"minute": 60, "hour": 3600, "day": 86400}


class Refusal(Exception):
    """A request that is answered with a problem body.

    Args:
        status: HTTP status.
        detail: the sentence for people; v2 has no machine-readable code.
        errors: single violations, on a 422.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: list[str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}

    def response(self) -> Response:
        """The answer on the wire."""
        return problem(self.status, self.detail, errors=self.errors, headers=self.headers)


def problem(
    status: int, detail: str, *, errors: list[str] | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """An RFC 9457 answer as v2 writes it: `title`, `status`, `detail` and on a 422 `errors`; no `type`."""
    body: dict[str, Any] = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    if errors is not None:
        body["errors"] = errors
    return JSONResponse(body, status, headers=dict(headers or {}), media_type="application/problem+json")


def invalid(errors: list[str]) -> Refusal:
    """The refusal of a body or query that does not match its schema."""
    return Refusal(422, "Request validation failed.", errors=errors)


def not_found(what: str = "resource") -> Refusal:
    """The refusal of an id that does not exist, or not for this account."""
    return Refusal(404, f"{what} not found")


def cloudflare() -> Response:
    """What stands in front of the API answers to a client that it takes for a robot: no problem body."""
    return HTMLResponse(
        "<!DOCTYPE html><html><head><title>Access denied</title></head>"
        "<body><h1>Error 1010</h1><p>Access denied: bad browser signature</p></body></html>",
        403,
    )


def number(amount: Decimal) -> int | float:
    """An exact amount as a JSON number: the shortest decimal text of a float is the amount's own."""
    return int(amount) if amount == amount.to_integral_value() else float(amount)


def stamp(moment: datetime) -> str:
    """UTC with milliseconds, for example ``2026-08-20T06:16:19.436Z``."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """An RFC 3339 time.

    Raises:
        ValueError: it is none, or has no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or "T" not in text.upper():
        raise ValueError(text)
    return moment


class RateLimits:
    """Requests counted per account in windows aligned to the UTC clock.

    The alignment is read off the description's example, in which all three windows reset on a full minute.

    Args:
        quotas: allowed requests by window name (`WINDOWS`); 0 or nothing for a window that does not exist.
    """

    def __init__(self, quotas: Mapping[str, int]) -> None:
        self.quotas = {name: quotas[name] for name in WINDOWS if quotas.get(name)}
        self.used: dict[str, dict[str, tuple[int, int]]] = {}

    def take(self, account: str, now: datetime) -> Refusal | None:
        """Count one request, or say why it may not be served: the exceeded window that lasts longest."""
        full = [name for name in self.quotas if self._left(account, name, now) <= 0]
        if full:
            return self.refusal(full[-1], self._reset_s(full[-1], now))
        for name in self.quotas:
            index, used = self._current(account, name, now)
            self.used.setdefault(account, {})[name] = (index, used + 1)
        return None

    @staticmethod
    def refusal(window: str, wait_s: int) -> Refusal:
        """The 429 of *window*, to be repeated after *wait_s* seconds."""
        return Refusal(429, f"rate limit exceeded for the {window} window", headers={"Retry-After": str(wait_s)})

    def headers(self, account: str, now: datetime, *, empty_s: int | None = None) -> dict[str, str]:
        """Both headers as structured-field lists; none for an account without limits.

        Args:
            empty_s: show the minute window as used up, with so many seconds to go.
        """
        if not self.quotas:
            return {}
        state = []
        for name in self.quotas:
            left, reset = max(0, self._left(account, name, now)), self._reset_s(name, now)
            if name == "minute" and empty_s is not None:
                left, reset = 0, empty_s
            state.append(f'"{name}";r={left};t={reset}')
        policy = [f'"{name}";q={quota};w={WINDOWS[name]}' for name, quota in self.quotas.items()]
        return {"RateLimit": ", ".join(state), "RateLimit-Policy": ", ".join(policy)}

    def dump(self) -> dict[str, Any]:
        """The counters, ready for JSON."""
        return {account: {name: list(pair) for name, pair in windows.items()} for account, windows in self.used.items()}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave."""
        self.used = {
            account: {name: (int(pair[0]), int(pair[1])) for name, pair in windows.items()}
            for account, windows in state.items()
        }

    def _current(self, account: str, name: str, now: datetime) -> tuple[int, int]:
        index = int(now.timestamp() // WINDOWS[name])
        seen, used = self.used.get(account, {}).get(name, (index, 0))
        return index, used if seen == index else 0

    def _left(self, account: str, name: str, now: datetime) -> int:
        return self.quotas[name] - self._current(account, name, now)[1]

    @staticmethod
    def _reset_s(name: str, now: datetime) -> int:
        return max(1, ceil(WINDOWS[name] - now.timestamp() % WINDOWS[name]))
