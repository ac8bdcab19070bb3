"""Vast.ai's REST API on loopback: the offer search, rentals and bids, SSH keys, account, with its rules and quirks.

Written from the official endpoint descriptions (August 2026), the guides, and what clients observed of the wire; where
these differ, `market.toml` has a setting. The parts: `emulator_routes` (paths), `emulator_limits`, `emulator_calls`
(handlers), `emulator_search` and `emulator_offers` (the market's face), `emulator_rules` and `emulator_create`
(renting), `emulator_fleet` with `emulator_billing` and `emulator_machines` (rentals over time), `emulator_views`,
`emulator_list`, `emulator_keys`, `emulator_reports`.

Not modelled: templates, volumes, serverless, webhooks, prepaid reservations, bulk creation, price rises at a
contract's end; and `onstart` scripts are not run, so neither is a timer that somebody puts there.
"""

from __future__ import annotations

from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from providers.sandbox.kit import Emulator, Record, local_path
from providers.sandbox.world import World
from providers.vast import emulator_routes
from providers.vast.emulator_billing import MAIN, PROVIDER
from providers.vast.emulator_calls import Call, Calls
from providers.vast.emulator_create import forbidden
from providers.vast.emulator_fleet import Fleet
from providers.vast.emulator_keys import Keys
from providers.vast.emulator_limits import Limits
from providers.vast.emulator_market import Market
from providers.vast.emulator_routes import Route
from providers.vast.emulator_wire import Refusal

_OTHER = "other"


class VastEmulator(Emulator):
    """Vast.ai's loopback twin: one account with credit, in a market of asks.

    Attributes:
        key: the account's API key.
        market: asks, their prices, and rivals for them.
        fleet: rentals; `fleet.billing.deposit` pays in, `fleet.billing.transfer` makes traffic.
    """

    name: ClassVar[str] = PROVIDER
    semantic: ClassVar[frozenset[str]] = frozenset(
        {
            *("sold_out", "gone", "fail_after_accept", "boot_stuck", "wrong_gpu", "no_money", "unknown_code"),
            *("price_changed", "bad_key", "forbidden", "other_account", "list_lag", "ignore_terminate"),
            *("host_lost", "left"),
        }
    )

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.market = Market.read(world.market.get(self.name), world.now())
        self.limits = Limits(self.market.limits, self.market.wire)
        self.keys = Keys(world)
        self.fleet = Fleet(world, self.market, self.keys.lines)
        self.calls = Calls(world, self.market, self.fleet, self.keys, self.fault)
        self.key = world.letters(64, "0123456789abcdef")

    # The kit's side.

    def verb(self, method: str, path: str) -> str:
        found = emulator_routes.match(path)
        return found[0][method].verb if found and method in found[0] else "other"

    def advance(self) -> None:
        self.fleet.advance()
        for instance in list(self.fleet.living.values()):
            if instance.running and (loss := self.fault("host_lost", subject=instance.subject())):
                how, seconds = str(loss.args.get("how", "offline")), loss.args.get("seconds")
                if how == "outbid" and instance.bid is not None:
                    self.fleet.outbid(instance, loss.args.get("usd"), seconds)
                    continue
                how = how if how in ("offline", "unknown", "exited", "vanish") else "offline"
                self.fleet.lose(instance, self.world.now(), how, None if seconds is None else float(seconds))

    def environment(self, base_url: str) -> dict[str, str]:
        return {"VAST_API_KEY": self.key, "ORCH_VAST_URL": base_url}

    def records(self) -> list[Record]:
        billing = set(self.world.ledger.billing(PROVIDER))
        return [
            Record(str(one.id), one.label or "", not one.destroyed, str(one.id) in billing, one.ask.subject(one.kind))
            for one in self.fleet.instances.values()
        ]

    def plant(self, name: str, owner: str | None = None) -> str:
        return str(self.calls.creator.plant(name, owner).id)

    def lose(self, instance: str) -> None:
        self.fleet.lose(self.fleet.instances[int(instance)], self.world.now())

    def outbid(self, instance: str, usd: Any = None, seconds: float | None = None) -> None:
        """Somebody bids *usd* per hour for what an instance runs on, or (None) rents it on demand.

        Args:
            seconds: how long they keep it; None for ever.
        """
        self.fleet.outbid(self.fleet.instances[int(instance)], usd, seconds)

    def rate_limited(self, retry_after: float | None) -> Response:
        headers = {} if retry_after is None else {"Retry-After": f"{float(retry_after):g}"}
        return PlainTextResponse("API requests too frequent", 429, headers=headers)

    def broken(self) -> Response:
        return Refusal(500, "server_error", "Something went wrong on the server").response()

    def dump(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "market": self.market.dump(),
            "fleet": self.fleet.dump(),
            "keys": self.keys.dump(),
            "limits": self.limits.dump(),
            "logs": self.calls.dump_logs(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.key = state["key"]
        self.market.load(state["market"])
        self.keys.load(state["keys"])
        self.fleet.load(state["fleet"])
        self.limits.load(state["limits"])
        self.calls.load_logs(state["logs"])

    # The way in: route, key, rate limit.

    async def handle(self, request: Request) -> Response:
        try:
            return await self._serve(request)
        except Refusal as refusal:
            return refusal.response()

    async def _serve(self, request: Request) -> Response:
        found = emulator_routes.match(local_path(request))
        if found is None:
            raise Refusal(404, "not_found", "Not found")
        methods, parts = found
        route = methods.get(request.method)
        if route is None:
            allow = {"Allow": ", ".join(methods)}
            raise Refusal(405, "method_not_allowed", "The method is not allowed for this path.", headers=allow)
        account, caller = self._authenticate(request, route, parts)
        if route.limit is not None:
            host = request.client.host if request.client else ""
            self.limits.take(route.name, route.limit, f"{caller}@{host}", self.world.now())
        user_id = int(self.market.account["id"]) + (account == _OTHER)
        return await self.calls.handler(route.name)(Call(request, account, user_id, parts))

    def _authenticate(self, request: Request, route: Route, parts: dict[str, str]) -> tuple[str, str]:
        """The account that the key opens, and who calls as far as rate limits go."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else request.query_params.get("api_key", "")
        about = f"{request.method} {local_path(request)}"
        if bad := self.fault("bad_key", verb=route.verb, subject=about):
            raise self._bad_key(route, str(bad.args.get("how", "")))
        if not key:
            if route.key == "any":
                return "guest", "guest"
            raise Refusal(403, "auth_error", "This action requires login.")
        if key == self.key:
            if route.name in self.market.wire.second_factor:
                raise self._bad_key(route, "second_factor")
            stray = route.key != "any" and self.fault("other_account", verb=route.verb, subject=about)
            return (_OTHER if stray else MAIN), MAIN
        own = next((one for one in self.fleet.living.values() if one.own_key == key), None)
        if own is None:
            raise self._bad_key(route, "")
        if route.key == "account" or (route.key == "instance" and parts["id"] != str(own.id)):
            raise forbidden("use this endpoint")
        return own.account, f"instance {own.id}"

    def _bad_key(self, route: Route, how: str) -> Refusal:
        if how == "second_factor":
            return Refusal(401, "auth_error", "This action requires Two Factor Authentication.")
        if how == "session":
            return Refusal(404, "auth_error", "Session expired. Please log in again.")
        as_missing = route.limit == "search" or route.name == "charges"
        return Refusal(404 if as_missing else self.market.wire.bad_key_status, "auth_error", "Invalid user key")
