"""Fluence's GPU Cloud on loopback. Written from Fluence's own documentation of 2026-02.

This module is the way in and the kit's interface. The parts: `emulator_routes` (paths), `emulator_rules`
(what a body may hold), `emulator_market` (price list), `emulator_sales` (creates), `emulator_fleet`
(instances, clock and money), `emulator_views` (answers), `emulator_options` (switches for what the
documentation leaves open).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

import providers.fluence.emulator_routes as routes
import providers.fluence.emulator_rules as rules
import providers.fluence.emulator_views as views
from providers.fluence.emulator_fleet import Fleet, Instance
from providers.fluence.emulator_market import Catalogue, container_list, machine_list
from providers.fluence.emulator_options import Options
from providers.fluence.emulator_routes import Call, invalid, refused
from providers.fluence.emulator_sales import Shop, kept_settings
from providers.sandbox.kit import Emulator, Record, json_reply, local_path
from providers.sandbox.world import World


class FluenceEmulator(Emulator):
    """Fluence's loopback twin: containers, VMs and bare metal, one account with a balance.

    Attributes:
        options: how it is set up.
        fleet: instances and money; `fleet.deposit` pays in, `fleet.balance` may be set.
        catalogue: what is on sale.
    """

    name: ClassVar[str] = "fluence"
    semantic: ClassVar[frozenset[str]] = frozenset(
        [
            "sold_out",
            "gone",
            "fail_after_accept",
            "boot_stuck",
            "wrong_gpu",
            "no_money",
            "unknown_code",
            "price_changed",
            "bad_key",
            "forbidden",
            "other_account",
            "list_lag",
            "ignore_terminate",
            "host_lost",
        ]
    )

    def __init__(self, world: World, options: Options | None = None) -> None:
        super().__init__(world)
        self.options = options or Options()
        self.catalogue = Catalogue(world.market.get(self.name))
        self.fleet = Fleet(world, self.options)
        self.shop = Shop(self.catalogue, self.fleet, self.options, self.fault)
        self._handlers: dict[str, Callable[[Call], Awaitable[Response]]] = {
            "plans": self._plans,
            "images": self._images,
            "list": self._list,
            "create": self._create,
            "detail": self._detail,
            "update": self._update,
            "terminate": self._terminate,
            "lines": self._lines,
            "balances": self._balances,
        }

    # The way in: path, slash, method, key.

    async def handle(self, request: Request) -> Response:
        path = local_path(request)
        found = routes.match(path)
        if found is None:
            if routes.match(routes.other_slash(path)) is None:
                return json_reply({"detail": "Not Found"}, 404)
            url = request.url.replace(path=routes.other_slash(request.url.path))
            return RedirectResponse(str(url), status_code=307)
        methods, match = found
        handler = methods.get(request.method)
        if handler is None:
            return json_reply({"detail": "Method Not Allowed"}, 405, {"allow": ", ".join(methods)})
        if handler == "status":
            return self._reply({"maintenanceMode": False, "version": "0.10.0"})
        verb = routes.VERBS.get(handler, "other")
        bad = request.headers.get("x-api-key") != self.options.key
        if self.fault("bad_key", verb=verb) or bad:
            return self._bad_key(account_api=handler == "balances")
        parts = match.groupdict()
        kind = parts.get("kind") or "containers"
        call = Call(request, kind, parts.get("id") or "", parts.get("what") or "")
        call.empty = self.fault("other_account", verb=verb) is not None
        return await self._handlers[handler](call)

    def verb(self, method: str, path: str) -> str:
        found = routes.match(path) or routes.match(routes.other_slash(path))
        return "other" if found is None else routes.VERBS.get(found[0].get(method, ""), "other")

    def _bad_key(self, *, account_api: bool) -> Response:
        # The account API's own description says 401 with a code; for GPU paths there is only an old sample.
        if account_api or self.options.auth_shape == "code":
            return json_reply({"code": "unauthorized", "error": "Auth token invalid or missing"}, 401)
        text = "Auth failed. No such API Key"
        return json_reply({"detail" if self.options.auth_shape == "detail" else "error": text}, 403)

    def _reply(self, value: Any, status: int = 200) -> Response:
        return json_reply(views.with_extras(value) if self.options.extra_fields else value, status)

    # Price list and account.

    async def _plans(self, call: Call) -> Response:
        self.shop.move_prices(call.kind)
        plans = self.catalogue.on_sale(call.kind)
        return self._reply(container_list(plans) if call.kind == "containers" else machine_list(plans))

    async def _images(self, call: Call) -> Response:
        return self._reply(views.DEFAULT_IMAGES)

    async def _balances(self, call: Call) -> Response:
        rows = views.balances(None if call.empty else self.fleet)
        wanted = call.request.query_params.get("entitlementKey")
        return self._reply([row for row in rows if wanted in (None, row["featureKey"])])

    # Instances.

    async def _create(self, call: Call) -> Response:
        body, unreadable = await routes.read_body(call.request)
        made = self.shop.create(call.kind, body, unreadable, empty=call.empty)
        if isinstance(made, Response):
            return made
        return self._reply({"instance_id": made.id}, self.options.create_status)

    async def _list(self, call: Call) -> Response:
        shown = [] if call.empty else [i for i in self.fleet.instances.values() if i.kind == call.kind]
        words = self.options.status_words
        return self._reply([views.listed(i, words) for i in shown if not self._hidden(i)])

    def _hidden(self, instance: Instance) -> bool:
        if instance.hidden_until is not None and self.world.now() < instance.hidden_until:
            return True
        if instance.hidden_lists > 0:
            instance.hidden_lists -= 1
            return True
        return False

    def _instance(self, call: Call) -> Instance | Response:
        try:
            wanted = str(uuid.UUID(call.id))
        except ValueError as problem:
            loc: list[str | int] = ["path", "instance_id"]
            msg = f"Input should be a valid UUID, {problem}"
            found = rules.error("uuid_parsing", loc, msg, call.id, {"error": str(problem)})
            return invalid([found])
        instance = self.fleet.instances.get(wanted)
        if instance is None or instance.kind != call.kind or call.empty:
            return json_reply({"detail": "Instance not found"}, 404)
        return instance

    async def _detail(self, call: Call) -> Response:
        instance = self._instance(call)
        if isinstance(instance, Response):
            return instance
        return self._reply(views.detailed(instance, self.options.status_words))

    async def _update(self, call: Call) -> Response:
        instance = self._instance(call)
        if isinstance(instance, Response):
            return instance
        body, errors = await routes.read_body(call.request)
        is_container = call.kind == "containers"
        errors = errors or (rules.container(body, update=True) if is_container else rules.rename(body))
        if errors:
            return invalid(errors)
        if not is_container:
            instance.name, instance.updated_at = body["name"], self.world.now()
            return Response(status_code=204)
        if instance.state != "ACTIVE" or instance.rolling:
            return refused("Instance can not be updated now")
        settings = kept_settings({**body["container_settings"], "expose": instance.container["expose"]})
        self.fleet.update(instance, body["name"], settings, body.get("ssh_key"))
        return Response(status_code=204)

    async def _terminate(self, call: Call) -> Response:
        instance = self._instance(call)
        if isinstance(instance, Response):
            return instance
        if instance.state != "ACTIVE":
            return refused("Instance is not active")
        ran = self.world.now() - (instance.active_at or instance.created_at)
        if ran.total_seconds() < self.options.minimum_runtime_s:
            return refused("Instance has not reached the minimum runtime yet")
        if not self.fault("ignore_terminate", verb="terminate", subject=instance.subject()):
            self.fleet.end(instance, self.world.now())
        return Response(status_code=204)

    async def _lines(self, call: Call) -> Response:
        instance = self._instance(call)
        if isinstance(instance, Response):
            return instance
        lines = views.logs(instance) if call.what == "logs" else views.events(instance)
        last = call.request.query_params.get("last")
        if last is None:
            return self._reply(lines)
        if not re.fullmatch(r"-?\d{1,9}", last):
            msg = "Input should be a valid integer, unable to parse string as an integer"
            return invalid([rules.error("int_parsing", ["query", "last"], msg, last)])
        return self._reply(lines[-int(last) :] if int(last) > 0 else [])

    # What the kit and tests ask for.

    def advance(self) -> None:
        self.fleet.advance()
        for instance in self.fleet.living():
            if instance.started and self.fault("host_lost", subject=instance.subject()):
                self.fleet.end(instance, self.world.now())

    def environment(self, base_url: str) -> dict[str, str]:
        return {"FLUENCE_API_KEY": self.options.key, "ORCH_FLUENCE_URL": base_url}

    def records(self) -> list[Record]:
        return [
            Record(id=i.id, name=i.name, alive=i.alive, billing=i.alive, offer=i.plan.id)
            for i in self.fleet.instances.values()
        ]

    def plant(self, name: str, owner: str | None = None) -> str:
        """A running VM under *name*, the only mark Fluence has. Money is paid in if the account is short."""
        plans = [p for kind in ("vms", "baremetal") for p in self.catalogue.on_sale(kind)]
        if not plans:
            raise ValueError("the market has no VM and no bare-metal plan to plant")
        plan = plans[0]
        while not self.fleet.affordable(plan):  # what is paid in fills other machines' reserves first
            self.fleet.deposit(3 * plan.usd_per_hour)
        instance = self.fleet.create(plan, name, plan.locations[0])
        instance.ssh_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE planted"
        instance.os_image = plan.os_options[0] if plan.os_options else None
        self.fleet.run_at_once(instance)
        return instance.id

    def lose(self, instance: str) -> None:
        """Fluence gives no notice: the instance is ENDED, as if its user had ended it."""
        found = self.fleet.instances[instance]
        if found.alive:
            self.fleet.end(found, self.world.now())

    def rate_limited(self, retry_after: float | None) -> Response:
        # No limit is documented; this is what a limiter in front of such a service says.
        headers = None if retry_after is None else {"retry-after": f"{retry_after:g}"}
        return json_reply({"detail": "Too Many Requests"}, 429, headers)

    def broken(self) -> Response:
        page = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
        return HTMLResponse(page, status_code=502)

    def dump(self) -> dict[str, Any]:
        return {"catalogue": self.catalogue.dump(), "fleet": self.fleet.dump()}

    def load(self, state: dict[str, Any]) -> None:
        self.catalogue.load(state["catalogue"])
        self.fleet.load(state["fleet"])
