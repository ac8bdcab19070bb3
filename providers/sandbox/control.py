"""The sandbox's own API, under ``/_sandbox/``: what `orch sandbox ...` and tests ask a detached sandbox.

All but ``health`` want the token of `server.json` as a bearer, because any page in a browser can reach loopback.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from providers.sandbox import scenario
from providers.sandbox.client import SandboxError

if TYPE_CHECKING:
    from providers.sandbox.host import Sandbox


class Control:
    """The ASGI application behind ``/_sandbox/``."""

    def __init__(self, sandbox: Sandbox, token: str, stop: Callable[[], None]) -> None:
        self._sandbox = sandbox
        self._token = token
        self._stop = stop
        self._router: ASGIApp = Router(
            [
                Route("/health", self._health),
                Route("/environment", self._environment),
                Route("/dial", self._dial),
                Route("/bill", self._bill),
                Route("/instances", self._instances),
                Route("/clock", self._clock),
                Route("/faults", self._faults, methods=["GET"]),
                Route("/faults", self._add_faults, methods=["POST"]),
                Route("/faults", self._clear_faults, methods=["DELETE"]),
                Route("/lose", self._lose, methods=["POST"]),
                Route("/stop", self._stop_it, methods=["POST"]),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not scope["path"].endswith("/health") and not hmac.compare_digest(given, self._token):
            await JSONResponse({"error": "wrong token"}, 401)(scope, receive, send)
            return
        if self._sandbox.ending:  # whoever looks for a sandbox now must start the next one
            await JSONResponse({"sandbox": True, "error": "the sandbox is ending"}, 503)(scope, receive, send)
            return
        try:
            await self._router(scope, receive, send)
        except (SandboxError, ValueError) as error:
            await JSONResponse({"sandbox": True, "error": str(error)}, 400)(scope, receive, send)

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _environment(self, request: Request) -> Response:
        return JSONResponse(self._sandbox.about())

    async def _dial(self, request: Request) -> Response:
        query = request.query_params
        if "host" in query:
            host, port = self._sandbox.machines.dial(query["host"], int(query.get("port", "22")))
            return JSONResponse({"host": host, "port": port})
        rows = [
            {"host": spec.host, "port": spec.port, "loopback_port": spec.loopback_port}
            for spec in self._sandbox.machines.running()
        ]
        return JSONResponse({"addresses": rows})

    async def _bill(self, request: Request) -> Response:
        self._sandbox.advance()
        world = self._sandbox.world
        lines = world.ledger.bill(world.now())
        total = sum((Decimal(line["usd"]) for line in lines), Decimal(0))
        return self._saved({"now": world.now().isoformat(), "total_usd": str(total), "lines": lines})

    async def _instances(self, request: Request) -> Response:
        self._sandbox.advance()
        rows = [
            {"provider": name, **asdict(record)}
            for name, emulator in self._sandbox.world.emulators.items()
            for record in emulator.records()
        ]
        return self._saved({"instances": rows})

    async def _clock(self, request: Request) -> Response:
        clock = self._sandbox.clock
        return JSONResponse({"now": clock.now().isoformat(), "epoch": clock.epoch, "speed": clock.speed})

    async def _faults(self, request: Request) -> Response:
        faults = self._sandbox.world.faults
        happened = [{"provider": p, "kind": kind, "subject": subject} for p, kind, subject in faults.happened]
        return JSONResponse({"waiting": [asdict(fault) for fault in faults.waiting], "happened": happened})

    async def _add_faults(self, request: Request) -> Response:
        body = await _body(request)
        world = self._sandbox.world
        if "scenario" in body:
            world.faults.waiting += self._sandbox.scenario_faults(str(body["scenario"]))
        else:
            world.faults.waiting.append(scenario.fault(body, {"*", *world.emulators}))
        return self._saved({"waiting": len(world.faults.waiting)})

    async def _clear_faults(self, request: Request) -> Response:
        self._sandbox.world.faults.clear()
        return self._saved({"waiting": 0})

    async def _lose(self, request: Request) -> Response:
        body = await _body(request)
        provider, instance = str(body.get("provider")), str(body.get("instance"))
        emulator = self._sandbox.world.emulators.get(provider)
        if emulator is None:
            raise SandboxError(f"the sandbox has no provider {provider!r}")
        self._sandbox.advance()
        if instance not in {record.id for record in emulator.records() if record.alive}:
            raise SandboxError(f"{provider} has no living instance {instance!r}")
        emulator.lose(instance)
        self._sandbox.advance()
        return self._saved({"lost": instance})

    async def _stop_it(self, request: Request) -> Response:
        self._sandbox.ending = True
        self._stop()
        return JSONResponse({"stopping": True})

    def _saved(self, answer: dict[str, Any]) -> Response:
        """An answer that holds even if the sandbox is killed right after it."""
        self._sandbox.save()
        return JSONResponse(answer)


async def _body(request: Request) -> dict[str, Any]:
    body = json.loads(await request.body() or b"{}")
    if not isinstance(body, dict):
        raise SandboxError("the body must be a JSON object")
    return body
