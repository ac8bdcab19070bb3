"""Paperspace Machines on loopback: API v1. Written from DigitalOcean's API reference of March 2026, Paperspace's own
CLI and its documentation.

This module is the way in and the kit's interface. The parts: `emulator_routes` (paths), `emulator_rules` (what a
body may hold), `emulator_lists` (pages), `emulator_market` (types, prices, stock), `emulator_create` (creates),
`emulator_fleet` and `emulator_machine` (machines, events, clock, bill), `emulator_scripts` (startup scripts),
`emulator_network` (networks, addresses), `emulator_around` (the calls for these two), `emulator_views` (answers),
`emulator_refusals` (errors, and the firewall), `emulator_options` (switches for what nobody knows).

Paperspace has no call for prices: a changed one (`price_changed`) shows in `usageRate` of machines made from then on,
and nowhere before. `left` does not exist: nothing tells of a create that fails and leaves something at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

import providers.paperspace.emulator_routes as routes
import providers.paperspace.emulator_rules as rules
import providers.paperspace.emulator_views as views
from providers.paperspace.emulator_around import Around, with_name
from providers.paperspace.emulator_create import CreateDesk
from providers.paperspace.emulator_fleet import Fleet
from providers.paperspace.emulator_lists import page
from providers.paperspace.emulator_machine import Event, Machine
from providers.paperspace.emulator_market import Market
from providers.paperspace.emulator_network import PROVIDER, Network
from providers.paperspace.emulator_options import Options
from providers.paperspace.emulator_refusals import Refusal, blocked, looks_like_attack, missing, too_many
from providers.paperspace.emulator_scripts import Scripts
from providers.sandbox.kit import Emulator, Record, json_reply, local_path
from providers.sandbox.world import World

Handler = Callable[[Request, str], Awaitable[Any]]

#: The query of the request that this task is serving: the kit asks for its verb without showing it.
_QUERY: ContextVar[str] = ContextVar("query", default="")
_ALL_OTHERS = ("list", "scripts", "networks", "ips", "events")
_ORDERS = ("dtCreated", "name")


class PaperspaceEmulator(Emulator):
    """Paperspace's loopback twin: the machines of one team.

    Attributes:
        options: how it is set up.
        market: what is on sale, and where.
        fleet: the machines and their events.
        scripts: the startup scripts.
        network: private networks and static addresses.
    """

    name: ClassVar[str] = PROVIDER
    semantic: ClassVar[frozenset[str]] = frozenset(
        {
            *("sold_out", "gone", "fail_after_accept", "boot_stuck", "wrong_gpu", "no_money", "quota"),
            *("unknown_code", "price_changed", "bad_key", "forbidden", "other_account", "list_lag"),
            *("ignore_terminate", "host_lost"),
        }
    )

    def __init__(self, world: World, options: Options | None = None) -> None:
        super().__init__(world)
        self.options = options or Options()
        self.market = Market(world.market.get(self.name))
        self.scripts = Scripts(world)
        self.network = Network(world, self.market)
        self.fleet = Fleet(world, self.market, self.scripts, self.network, self.options)
        self.desk = CreateDesk(world, self.market, self.fleet, self.scripts, self.network, self.options, self.fault)
        self._around = Around(world, self.market, self.fleet, self.scripts, self.network, self.options)
        self._recent: deque[datetime] = deque()
        self._handlers: dict[str, Handler] = self._own() | {
            "scripts": self._around.list_scripts,
            "script": self._around.get_script,
            "add_script": self._around.add_script,
            "change_script": self._around.change_script,
            "delete_script": self._around.delete_script,
            "networks": self._around.list_networks,
            "network": self._around.get_network,
            "add_network": self._around.add_network,
            "delete_network": self._around.delete_network,
            "ips": self._around.list_ips,
            "claim_ip": self._around.claim_ip,
            "release_ip": self._around.release_ip,
        }

    def _own(self) -> dict[str, Handler]:
        return {
            "health": self._health,
            "session": self._session,
            "standing": self._standing,
            "available": self._available,
            "templates": self._templates,
            "custom_templates": self._custom_templates,
            "create": self._create,
            "list": self._list,
            "get": self._get,
            "update": self._update,
            "start": self._start,
            "stop": self._stop,
            "restart": self._restart,
            "delete": self._delete,
            "events": self._events,
            "event": self._event,
        }

    # The way in: firewall, path, key, rate limit.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = _QUERY.set(scope["query_string"].decode("latin-1"))
        try:
            await super().__call__(scope, receive, send)
        finally:
            _QUERY.reset(token)

    async def handle(self, request: Request) -> Response:
        if self.options.waf and looks_like_attack(await request.body()):
            return blocked(self.world.letters(16, "0123456789abcdef"))
        path = local_path(request)
        found = routes.match(path)
        try:
            if found is None:
                raise Refusal("NOT_FOUND", f"No {request.method} procedure on path {path!r}")
            methods, target = found
            handler = methods.get(request.method)
            if handler is None:
                raise Refusal("METHOD_NOT_SUPPORTED", f"No {request.method} procedure on path {path!r}")
            verb = self.verb(request.method, path)
            known = self._authenticate(request, handler, verb)
            if (wait_s := self._pace()) is not None:
                return too_many(wait_s if self.options.limit_header else None)
            data = await self._serve(handler, verb, request, target, known=known)
        except Refusal as refusal:
            return refusal.response()
        return json_reply(views.with_extras(data) if self.options.extra_fields else data)

    def verb(self, method: str, path: str) -> str:
        found = routes.match(path)
        handler = "" if found is None else found[0].get(method, "")
        if handler == "list" and parse_qs(_QUERY.get()).get("name"):
            return "find"
        return routes.VERBS.get(handler, "other")

    def _authenticate(self, request: Request, handler: str, verb: str) -> bool:
        """Whether a key was shown. A wrong one is refused everywhere but where none is asked for."""
        if handler == "health" or (handler == "templates" and self.options.public_templates):
            return True
        key = routes.bearer(request.headers.get("authorization", ""))
        if self.fault("bad_key", verb=verb) or (key is not None and key != self.options.key):
            raise Refusal("UNAUTHORIZED", "Invalid API key")
        # "If a user is not logged in, this will be null": the session alone answers without a key.
        if key is None and handler != "session":
            raise Refusal("UNAUTHORIZED", "You must be logged in to do that.")
        return key is not None

    def _pace(self) -> float | None:
        """How long the request should have waited, in seconds, or None if it may pass."""
        if self.options.request_limit is None:
            return None
        now, window = self.world.now(), timedelta(minutes=1)
        while self._recent and self._recent[0] <= now - window:
            self._recent.popleft()
        if len(self._recent) >= self.options.request_limit:
            return (self._recent[0] + window - now).total_seconds()
        self._recent.append(now)
        return None

    async def _serve(self, handler: str, verb: str, request: Request, target: str, *, known: bool) -> Any:
        if handler == "session" and not known:
            return None
        if self.fault("other_account", verb=verb):
            return self._as_stranger(handler)
        return await self._handlers[handler](request, target)

    def _as_stranger(self, handler: str) -> Any:
        """What the key of another team sees: itself, and nothing of ours."""
        if handler == "session":
            return views.session(self.options, other=True)
        if handler in _ALL_OTHERS:
            return {"items": [], "hasMore": False, "nextPage": None}
        if handler == "standing":
            return views.standing(self.options)
        raise missing("Resource")

    # What there is.

    async def _health(self, request: Request, target: str) -> Any:
        return "HEALTHY"

    async def _session(self, request: Request, target: str) -> Any:
        return views.session(self.options)

    async def _standing(self, request: Request, target: str) -> Any:
        return views.standing(self.options)

    async def _available(self, request: Request, target: str) -> Any:
        return {"available": self.desk.available(*rules.check_place(request.query_params, self.market))}

    async def _templates(self, request: Request, target: str) -> Any:
        rows = [views.template(each, self.market, self.options) for each in self.market.templates]
        return self._page(request, rows, "name")

    async def _custom_templates(self, request: Request, target: str) -> Any:
        return self._page(request, [], *_ORDERS)

    # Machines.

    async def _create(self, request: Request, target: str) -> Any:
        return self._pair(*self.desk.create(await rules.read_body(request)))

    async def _list(self, request: Request, target: str) -> Any:
        query = request.query_params
        region, wanted = rules.filter_region(query, self.market), query.get("machineType")
        shown = [
            views.machine(it, self.market, self.options)
            for it in self.fleet.machines.values()
            if self.fleet.shown(it, listed=True) and region in (None, it.region) and wanted in (None, it.type)
        ]
        return self._page(request, shown, *_ORDERS, "dtModified")

    async def _get(self, request: Request, target: str) -> Any:
        return views.machine(self._machine(target, deleted=True), self.market, self.options)

    async def _update(self, request: Request, target: str) -> Any:
        machine = self._machine(target)
        wanted = rules.check_update(await rules.read_body(request), self.market)
        size = wanted.get("diskSize", machine.disk_gb)
        if machine.state != "off" and (size != machine.disk_gb or "machineType" in wanted):
            raise Refusal("BAD_REQUEST", f"This machine is currently {machine.state}.")
        if size < machine.disk_gb:
            raise Refusal("BAD_REQUEST", "A disk cannot shrink.")
        machine.name = wanted.get("name", machine.name)
        machine.disk_gb = int(size)
        rate = self.market.disk_usd_per_hour(machine.disk_gb)
        self.world.ledger.rate(PROVIDER, machine.id, rate, at=self.world.now(), what="disk")
        if "machineType" in wanted:
            machine.type = wanted["machineType"]
            machine.usd_per_hour = str(self.market.usd_per_hour(machine.type))
        machine.modified_at = self.world.now()
        return {"data": views.machine(machine, self.market, self.options)}

    async def _start(self, request: Request, target: str) -> Any:
        machine = await self._in_state(request, target, "off")
        return self._pair(machine, self.desk.start(machine))

    async def _stop(self, request: Request, target: str) -> Any:
        machine = await self._in_state(request, target, "ready", "serviceready")
        return self._pair(machine, self.fleet.stop(machine))

    async def _restart(self, request: Request, target: str) -> Any:
        machine = await self._in_state(request, target, "ready")
        return self._pair(machine, self.fleet.restart(machine))

    async def _delete(self, request: Request, target: str) -> Any:
        machine = self._machine(target)
        if machine.deleting and self.options.second_delete != 200:
            if self.options.second_delete == 404:
                raise missing("Machine")
            raise Refusal("CONFLICT", "This machine is currently being deactivated.")
        if machine.deleting:
            done = [event for event in self.fleet.events.values() if event.machine_id == machine.id]
            return self._pair(machine, done[-1])
        if self.fault("ignore_terminate", verb="terminate", subject=self.fleet.subject(machine)):
            return self._pair(machine, self.fleet.pretend(machine))
        return self._pair(machine, self.fleet.delete(machine))

    async def _in_state(self, request: Request, target: str, *states: str) -> Machine:
        await rules.read_body(request)
        machine = self._machine(target)
        if machine.state not in states or machine.deleting:
            # The sentence clients met for a start while it starts; its code is not known.
            raise Refusal("BAD_REQUEST", f"This machine is currently {machine.state}.")
        return machine

    def _machine(self, machine_id: str, *, deleted: bool = False) -> Machine:
        machine = self.fleet.machines.get(machine_id)
        if machine is None or not self.fleet.shown(machine, listed=False) or not (machine.alive or deleted):
            raise missing("Machine")
        return machine

    def _pair(self, machine: Machine, event: Event) -> dict[str, Any]:
        return {"data": views.machine(machine, self.market, self.options), "event": views.event(event)}

    async def _events(self, request: Request, target: str) -> Any:
        wanted = request.query_params.get("machineId")
        rows = [views.event(each) for each in self.fleet.events.values() if wanted in (None, each.machine_id)]
        return self._page(request, rows)

    async def _event(self, request: Request, target: str) -> Any:
        if target not in self.fleet.events:
            raise missing("Machine event")
        return views.event(self.fleet.events[target])

    def _page(self, request: Request, rows: list[dict[str, Any]], *orders: str) -> dict[str, Any]:
        query = request.query_params
        named = with_name(rows, query, self.options) if "name" in orders else rows
        return page(named, query, size=self.options.page_size, orders=orders or ("dtCreated",))

    # What the kit and tests ask for.

    def advance(self) -> None:
        self.fleet.advance()
        for machine in self.fleet.living():
            if machine.state == "ready" and machine.up:
                loss = self.fault("host_lost", subject=self.fleet.subject(machine))
                if loss is not None:
                    self.fleet.lose(machine, str(loss.args.get("how", "off")))

    def environment(self, base_url: str) -> dict[str, str]:
        return {"PAPERSPACE_API_KEY": self.options.key, "ORCH_PAPERSPACE_URL": base_url}

    def records(self) -> list[Record]:
        billing = set(self.world.ledger.billing(self.name))
        return [
            Record(it.id, it.name, it.alive, it.id in billing, self.market.types[it.type].subject(it.region))
            for it in self.fleet.machines.values()
        ]

    def plant(self, name: str, owner: str | None = None) -> str:
        """Only the name can carry a mark here: there are no tags. One with an owner has its startup script, too."""
        return self.desk.plant(name, scripted=owner is not None).id

    def lose(self, instance: str) -> None:
        """Paperspace gives no notice: the machine is found off. Its disk bills on."""
        found = self.fleet.machines[instance]
        if found.alive:
            self.fleet.lose(found)

    def rate_limited(self, retry_after: float | None) -> Response:
        return too_many(retry_after)

    def broken(self) -> Response:
        return Refusal("INTERNAL_SERVER_ERROR", "Internal server error").response()

    def dump(self) -> dict[str, Any]:
        return {
            "market": self.market.dump(),
            "scripts": self.scripts.dump(),
            "network": self.network.dump(),
            "fleet": self.fleet.dump(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.market.load(state["market"])
        self.scripts.load(state["scripts"])
        self.network.load(state["network"])
        self.fleet.load(state["fleet"])
