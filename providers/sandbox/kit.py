"""What an emulator is made of. An emulator speaks one provider's wire protocol and enforces its rules.

An emulator is written from the provider's documents alone. It never imports the adapter, its client or its
error table, so that the two cannot share a mistake; what it may import is this package.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

from providers.sandbox.faults import TRANSPORT, Fault
from providers.sandbox.world import Exchange, World

Handler = Callable[[Request], Awaitable[Response]]


class AbortConnection(Exception):
    """The connection is cut without an answer. `serve` closes the socket."""


@dataclass(frozen=True, slots=True)
class Record:
    """One instance as the provider itself sees it, for tests."""

    id: str
    name: str
    alive: bool
    billing: bool
    offer: str = ""


class Emulator(abc.ABC):
    """One provider's loopback twin.

    Subclasses answer requests in `handle` and say which verb of the contract a request serves. Before every
    request `advance` brings state machines up to the world's time.

    Attributes:
        name: the provider's name in the registry.
        semantic: the semantic faults (`providers.sandbox.faults`) that this provider can have at all.
        transport: the transport faults that it can have.
        cannot: semantic faults that every cloud has and this provider, by its nature, has not.
        needs_machines: whether it lives in real machines (`providers.sandbox.machines`), which tests must give it.
        fatal_query_params: see subclasses.
    """

    name: ClassVar[str]
    semantic: ClassVar[frozenset[str]]
    transport: ClassVar[frozenset[str]] = TRANSPORT
    cannot: ClassVar[frozenset[str]] = frozenset()
    needs_machines: ClassVar[bool] = False

    def __init__(self, world: World) -> None:
        self.world = world
        world.emulators[self.name] = self

    # What a subclass writes.

    @abc.abstractmethod
    async def handle(self, request: Request) -> Response:
        """Answer one request; `request.url.path` has no sandbox prefix."""

    @abc.abstractmethod
    def verb(self, method: str, path: str) -> str:
        """Which verb of the contract a request serves: offers, price, launch, find, owned, terminate, account
        or other. Where one call serves several verbs, the first of: launch, terminate, find, owned, offers."""

    @abc.abstractmethod
    def advance(self) -> None:
        """Bring every instance to the state it has at the world's time: boot, fail, bill, end."""

    @abc.abstractmethod
    def environment(self, base_url: str) -> dict[str, str]:
        """The settings a client needs to use this emulator at *base_url*: key and `ORCH_..._URL`."""

    @abc.abstractmethod
    def records(self) -> list[Record]:
        """Every instance there ever was."""

    @abc.abstractmethod
    def plant(self, name: str, owner: str | None = None) -> str:
        """Make a running, billing instance that somebody else rented under *name*; return its id.

        *owner* is the full owner id of another `orch` installation, written where the adapters' docs say that
        it stands (tags, environment), or None for a machine that has nothing to do with `orch`.
        """

    @abc.abstractmethod
    def lose(self, instance: str) -> None:
        """The host of *instance* is lost, or spot took it: what the provider does then, without notice."""

    @abc.abstractmethod
    def rate_limited(self, retry_after: float | None) -> Response:
        """The provider's own answer to too many requests."""

    @abc.abstractmethod
    def broken(self) -> Response:
        """The provider's own (or its proxy's) 5xx answer."""

    @abc.abstractmethod
    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""

    @abc.abstractmethod
    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave."""

    # What the kit does for all.

    def fault(self, kind: str, *, verb: str = "*", subject: str = "") -> Fault | None:
        """Use up one waiting fault of that kind at this provider."""
        return self.world.faults.take(self.name, kind, verb=verb, subject=subject)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.advance()
        path = _local_path(scope)
        verb = self.verb(request.method, path)
        body = await request.body()
        waiting = len(self.world.faults.happened)
        response = await self._with_faults(request, verb)
        self.advance()
        self.world.changed()
        self._record(request, path, verb, body, response, faulty=len(self.world.faults.happened) > waiting)
        await response(scope, receive, send)

    async def _with_faults(self, request: Request, verb: str) -> Response:
        if self.fault("down", verb=verb) or self.fault("drop_before", verb=verb):
            raise AbortConnection
        if slow := self.fault("slow", verb=verb):
            await asyncio.sleep(float(slow.args.get("seconds", 30)))  # noqa: TID251 - the wire is slow in real time
        if self.fault("error_before", verb=verb):
            return self.broken()
        if limit := self.fault("rate_limit", verb=verb):
            return self.rate_limited(limit.args.get("retry_after"))
        if self.fault("redirect", verb=verb):
            return Response(status_code=302, headers={"location": "http://192.0.2.1/elsewhere"})
        response = await self.handle(request)
        if self.fault("lost", verb=verb):
            self.world.changed()
            raise AbortConnection
        if self.fault("error_after", verb=verb):
            return self.broken()
        if self.fault("malformed", verb=verb):
            return Response(b'{"oops": [1, 2', status_code=response.status_code, media_type="application/json")
        if self.fault("html", verb=verb):
            return HTMLResponse("<html><body>Sorry, we are down for maintenance</body></html>", status_code=200)
        if self.fault("oversized", verb=verb):
            return Response(b" " * (33 * 1024 * 1024), media_type="application/json")
        if self.fault("truncated", verb=verb):
            return _Truncated(bytes(response.body), status_code=response.status_code, media_type="application/json")
        return response

    def _record(self, request: Request, path: str, verb: str, body: bytes, response: Response, *, faulty: bool) -> None:
        if self.world.recorder is None:
            return
        self.world.recorder(
            Exchange(
                self.name,
                verb,
                request.method,
                path,
                request.url.query,
                dict(request.headers),
                body,
                response.status_code,
                dict(response.headers),
                bytes(getattr(response, "body", b"")),
                faulty,
            )
        )


class _Truncated(Response):
    """Promises more bytes than it sends, so that the connection ends in the middle of the body."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = self.body
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": bytes(body)[: len(body) // 2], "more_body": True})
        raise AbortConnection


def _local_path(scope: Scope) -> str:
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path


def local_path(request: Request) -> str:
    """The request's path without the sandbox's prefix, percent-decoded."""
    return _local_path(request.scope)


def json_reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return JSONResponse(value, status_code=status, headers=headers)
