"""Microsoft Azure on loopback: Resource Manager, Entra ID's token endpoint and the retail price list at one address.

Written from Azure's documents of 2026. This module is the way in and the kit's interface. The parts:
`emulator_routes` (paths), `emulator_wire` (requests, refusals), `emulator_auth` (tokens), `emulator_limits` (requests
per time), `emulator_market` (market file), `emulator_catalog`, `emulator_account` and `emulator_prices` (what is told
of it), `emulator_store` and `emulator_resources` (what is there), `emulator_life` (clock and bill), `emulator_order`,
`emulator_launch` and `emulator_inline` (the PUT of a machine), `emulator_vms`, `emulator_disks`, `emulator_network*`,
`emulator_groups`, `emulator_reach` (security rules), `emulator_views` (answers), `emulator_options` (switches).

Faults that Azure does not have are not promised: it bills afterwards (`no_money`), the account is in the path
(`other_account`), and a create that is refused leaves nothing that bills (`left`).
"""

from __future__ import annotations

import json
import re
from contextvars import ContextVar
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

import providers.azure.emulator_routes as routes
from providers.azure.emulator_account import check_registered, check_standing
from providers.azure.emulator_auth import Tokens
from providers.azure.emulator_cloud import Cloud
from providers.azure.emulator_life import PROVIDER, Life
from providers.azure.emulator_limits import Limits
from providers.azure.emulator_market import Market
from providers.azure.emulator_options import Options
from providers.azure.emulator_planted import plant
from providers.azure.emulator_resources import ADDRESS, DISK, NIC, Vm
from providers.azure.emulator_store import Store
from providers.azure.emulator_wire import Call, Refusal, invalid, reply, stamped, throttled
from providers.sandbox.kit import Emulator, Record, local_path
from providers.sandbox.world import World

_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

#: The path that this task is serving: the kit asks for error answers without showing it.
_PATH: ContextVar[str] = ContextVar("path", default="")


class AzureEmulator(Emulator):
    """Azure's loopback twin: one tenant, one subscription, the regions of the market file.

    Attributes:
        options: how it is set up.
        market: what is on sale; quotas may be changed (`market.set_limit`).
        store: what is in the subscription.
    """

    name: ClassVar[str] = PROVIDER
    semantic: ClassVar[frozenset[str]] = frozenset(
        {
            *("sold_out", "gone", "fail_after_accept", "boot_stuck", "wrong_gpu", "quota", "unknown_code"),
            *("price_changed", "bad_key", "forbidden", "list_lag", "ignore_terminate", "host_lost"),
        }
    )

    def __init__(self, world: World, options: Options | None = None) -> None:
        super().__init__(world)
        self.options = options or Options()
        self.market = Market(world.market.get(self.name))
        self.store = Store(world, self.options)
        self.life = Life(world, self.options, self.market, self.store)
        self.tokens = Tokens(world, self.options)
        self.cloud = Cloud(world, self.options, self.market, self.store, self.life, self.tokens, self.fault)
        self._limits = Limits()

    # The way in: path, token, right, limit.

    async def handle(self, request: Request) -> Response:
        asked = dict(parse_qsl(request.url.query, keep_blank_values=True))
        call = Call(
            method=request.method,
            path=local_path(request),
            base=f"{request.url.scheme}://{request.headers.get('host', '')}{request.scope.get('root_path', '')}",
            query={name.lower(): value for name, value in asked.items()},
            asked=asked,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=await request.body(),
            request_id=self.world.uuid(),
        )
        headers: dict[str, str] = {}
        try:
            response = self._serve(call, headers)
        except Refusal as refusal:
            response = refusal.response()
        if request.method == "HEAD" or response.status_code == 204:
            response.body = b""
            response.headers["content-length"] = "0"
            if response.status_code == 204:
                del response.headers["content-length"]
        for name, value in {**headers, **_identity(call)}.items():
            response.headers[name] = value
        return response

    def _serve(self, call: Call, headers: dict[str, str]) -> Response:
        found = routes.match(call.method, call.path)
        if found is not None:
            route, call.parts = found
            call.verb = route.verb
            if not route.api:
                return self._answer(call, route)
        self.tokens.check(call, revoked=self.fault("bad_key", verb=call.verb) is not None)
        self._check_path(call)
        if found is None:
            raise _no_such(call)
        self._authorize(call, route)
        if self.options.throttling:
            subject = f"{call.parts.get('group', '')}/{call.parts.get('name', call.parts.get('operation', ''))}"
            headers |= self._limits.take(call.method, route.policy, subject, self.world.now())
        if call.method not in ("GET", "HEAD") and call.path.rpartition("/")[2].lower() != "register":
            check_standing(self.cloud)
            if call.method != "DELETE":
                check_registered(self.cloud, route.namespace)
        return self._answer(call, route)

    def _answer(self, call: Call, route: routes.Route) -> Response:
        response = route.handler(self.cloud, call)
        if self.options.extra_fields and response.body and route.api:
            again = reply(stamped(json.loads(bytes(response.body))), response.status_code)
            for name in ("azure-asyncoperation", "azure-asyncnotification", "location", "retry-after"):
                if name in response.headers:
                    again.headers[name] = response.headers[name]
            return again
        return response

    def _check_path(self, call: Call) -> None:
        """The api-version, and the subscription that the path names."""
        version = call.query.get("api-version")
        if not version:
            text = "The api-version query parameter (?api-version=) is required for all requests."
            raise Refusal("MissingApiVersionParameter", text)
        if not _VERSION.fullmatch(version):
            raise Refusal("InvalidApiVersionParameter", f"The api-version '{version}' is invalid.")
        parts = call.path.strip("/").split("/")
        if parts[0].lower() != "subscriptions" or len(parts) < 2:
            return
        if not _GUID.fullmatch(parts[1]):
            text = f"The provided subscription identifier '{parts[1]}' is malformed or invalid."
            raise Refusal("InvalidSubscriptionId", text)
        if parts[1].lower() != self.options.subscription:
            raise Refusal("SubscriptionNotFound", f"The subscription '{parts[1]}' could not be found.", 404)

    def _authorize(self, call: Call, route: routes.Route) -> None:
        wanted = routes.action(route, call.parts)
        launching = route.verb == "launch" and self.fault("forbidden", verb="launch", subject=call.path)
        if launching or (wanted and wanted in self.options.denied):
            text = (
                f"The client '{self.options.client_id}' with object id '{self.options.object_id}' does not have "
                f"authorization to perform action '{wanted}' over scope '{call.path}' or the scope is invalid. "
                "If access was recently granted, please refresh your credentials."
            )
            raise Refusal("AuthorizationFailed", text, 403)

    def verb(self, method: str, path: str) -> str:
        _PATH.set(path)
        found = routes.match(method, path)
        return found[0].verb if found else "other"

    # What the kit and tests ask for.

    def advance(self) -> None:
        self.life.advance()
        for vm in self.store.vms():
            if vm.power == "running" and vm.state != "Deleting" and self.fault("host_lost", subject=vm.subject()):
                self.life.lose(vm)

    def environment(self, base_url: str) -> dict[str, str]:
        # azure-identity refuses an http authority, so that a client on loopback takes the token as it is.
        return {
            "AZURE_SUBSCRIPTION_ID": self.options.subscription,
            "AZURE_TENANT_ID": self.options.tenant,
            "ORCH_AZURE_TOKEN": self.options.token,
            "ORCH_AZURE_URL": base_url,
        }

    def records(self) -> list[Record]:
        billing = set(self.world.ledger.billing(self.name))
        gone = [Record(one.id, one.name, False, one.id in billing, one.offer) for one in self.store.past]
        there = [
            Record(
                vm.id, vm.name, True, vm.id in billing, f"{vm.size} {vm.location} {'spot' if vm.spot else 'on-demand'}"
            )
            for vm in self.store.vms()
        ]
        return gone + there

    def leftovers(self) -> list[str]:
        """Ids of disks, addresses and network interfaces that belong to no machine; only the latter cost nothing."""
        found = []
        for kind in (DISK, ADDRESS, NIC):
            for one in self.store.of(kind):
                vm = self.store.user_of(one) if kind == NIC else self.life.machine_of(one)
                found += [] if vm else [one.id]
        return found

    def plant(self, name: str, owner: str | None = None) -> str:
        """A running on-demand machine *name*, with the tag ``orch-owner`` if there is an *owner*."""
        return plant(self.cloud, name, owner).id

    def lose(self, instance: str) -> None:
        """No notice: spot takes the machine, or it fails for good. *instance* is its id, `vmId` or name."""
        named = (vm for vm in self.store.vms() if instance.lower() in (vm.key, vm.uid, vm.name.lower()))
        found: Vm | None = next(named, None)
        if found is None:
            raise KeyError(instance)
        self.life.lose(found)

    def rate_limited(self, retry_after: float | None) -> Response:
        namespace = "Microsoft.Compute" if "/microsoft.compute/" in _PATH.get().lower() else "Microsoft.Resources"
        return throttled(namespace, "HighCostGet3Min", retry_after).response()

    def broken(self) -> Response:
        text = "The server encountered an internal error. Please retry the request."
        return Refusal("InternalServerError", text, 500).response()

    def dump(self) -> dict[str, Any]:
        return {
            "market": self.market.dump(),
            "tokens": self.tokens.dump(),
            "unregistered": sorted(self.options.unregistered),
            "store": self.store.dump(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.market.load(state["market"])
        self.tokens.load(state["tokens"])
        self.options.unregistered = set(state["unregistered"])
        self.store.load(state["store"])
        self.life.resume()


def _identity(call: Call) -> dict[str, str]:
    headers = {"x-ms-request-id": call.request_id, "x-ms-correlation-request-id": call.request_id}
    mine = call.headers.get("x-ms-client-request-id")
    if mine and call.headers.get("x-ms-return-client-request-id", "").lower() == "true":
        headers["x-ms-client-request-id"] = mine
    return headers


def _no_such(call: Call) -> Refusal:
    if routes.knows(call.path):
        text = f"The requested resource does not support http method '{call.method}'."
        return Refusal("UnsupportedHttpMethod", text, 405)
    match = re.search(r"/providers/([^/]+)/([^/]+)", call.path, re.IGNORECASE)
    if match is None:
        return invalid(f"The request path '{call.path}' is not served in this sandbox.")
    text = (
        f"The resource type '{match[2]}' could not be found in the namespace '{match[1]}' for api version "
        f"'{call.api_version}'."
    )
    return Refusal("InvalidResourceType", text, 404)
