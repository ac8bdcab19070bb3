"""Serves a `World` on loopback: one port, one path prefix per provider, real sockets.

`serving` runs it inside the caller's event loop (tests, `orch sandbox serve`); `detach` runs it as a process
of its own that later commands share.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from providers.sandbox.kit import AbortConnection
from providers.sandbox.world import World

_log = logging.getLogger(__name__)


class _Protocol(H11Protocol):
    """uvicorn's protocol, which also tells the application its transport, so that a fault can cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class Market:
    """The ASGI application: routes ``/<provider>/...`` to that provider's emulator.

    Args:
        control: answers paths under ``/_sandbox/`` (the detached server's own API), if there is one.
        on_request: called for every request.
    """

    def __init__(
        self, world: World, control: ASGIApp | None = None, on_request: Callable[[], None] | None = None
    ) -> None:
        self.world = world
        self.control = control
        self.on_request = on_request or (lambda: None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.on_request()
        first: str = [*scope["path"].split("/"), ""][1]
        app: Any = self.control if first == "_sandbox" else self.world.emulators.get(first)
        if app is None:
            missing = JSONResponse({"error": f"the sandbox has no provider {first!r}"}, status_code=404)
            await missing(scope, receive, send)
            return
        try:
            await app({**scope, "root_path": f"/{first}"}, receive, send)
        except AbortConnection:
            scope["state"]["transport"].abort()
        except Exception:
            # uvicorn is silent here, and answers 500: without this line nobody would learn of the mistake.
            _log.exception("%s %s failed", scope["method"], scope["path"])
            raise


@contextlib.asynccontextmanager
async def serving(
    world: World,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    control: ASGIApp | None = None,
    on_request: Callable[[], None] | None = None,
) -> AsyncIterator[str]:
    """Serve *world* until the block ends; yields the base URL, for example ``http://127.0.0.1:4711``.

    Raises:
        OSError: *port* is taken.
    """
    # With the protocol named, asyncio switches Nagle's delay off; without, every answer waits 40 ms for an ACK.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    config = uvicorn.Config(
        Market(world, control, on_request),
        http=_Protocol,
        lifespan="off",
        log_config=None,
        log_level="critical",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(_run(server, listener))
    while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)  # noqa: TID251 - the listener's start is real time
    try:
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


async def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    # `serve` would install signal handlers that belong to whoever runs this loop.
    with contextlib.suppress(asyncio.CancelledError):
        await server._serve([listener])


def environment(world: World, base_url: str) -> dict[str, str]:
    """The settings of every emulator of *world*, served at *base_url*."""
    settings: dict[str, str] = {}
    for name, emulator in world.emulators.items():
        settings |= emulator.environment(f"{base_url}/{name}")
    return settings
