"""Lambda Cloud on loopback. Written from Lambda's API description 1.10.0 and its documentation of 2026.

This module is the way in and the kit's interface. The parts: `emulator_routes` (paths, keys), `emulator_limits`
(requests per time), `emulator_rules` (what a body may hold), `emulator_market` (types, regions, images, stock),
`emulator_launch` (launches), `emulator_fleet` (instances, clock, bill), `emulator_keys` (SSH keys),
`emulator_views` (answers), `emulator_refusals` (errors), `emulator_options` (switches for what is left open).

Faults that a client could not tell are not promised. `other_account` does not exist: nothing on this wire names an
account, and a key is of one account. `no_money` can be asked for, but Lambda bills afterwards and has only
`global/account-inactive` for it, which an address that was never verified gives as well.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

import providers.lambda_cloud.emulator_routes as routes
import providers.lambda_cloud.emulator_views as views
from providers.lambda_cloud.emulator_fleet import PROVIDER, Fleet, Instance
from providers.lambda_cloud.emulator_keys import KeyRing
from providers.lambda_cloud.emulator_launch import LaunchDesk
from providers.lambda_cloud.emulator_limits import Limits
from providers.lambda_cloud.emulator_market import Market
from providers.lambda_cloud.emulator_options import Options
from providers.lambda_cloud.emulator_refusals import MISSING, Refusal, too_many
from providers.lambda_cloud.emulator_rules import check_ids, check_rename
from providers.sandbox.faults import Fault
from providers.sandbox.kit import Emulator, Record, json_reply, local_path
from providers.sandbox.world import World

#: The tag in which `orch` keeps an installation's full owner id at Lambda.
OWNER_TAG = "orch:owner"


class LambdaEmulator(Emulator):
    """Lambda Cloud's loopback twin: on-demand machines of one account, billed by the minute.

    Attributes:
        options: how it is set up.
        market: what is on sale, and where.
        fleet: the instances.
        keys: the account's SSH keys.
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
        self.fleet = Fleet(world, self.market, self.options)
        self.keys = KeyRing(world, self.options)
        self.limits = Limits()
        self.desk = LaunchDesk(world, self.market, self.fleet, self.keys, self.options, self.fault)
        self._handlers: dict[str, Callable[[Request, str], Awaitable[Any]]] = {
            "types": self._types,
            "launch": self._launch,
            "terminate": self._terminate,
            "restart": self._restart,
            "list": self._list,
            "get": self._get,
            "rename": self._rename,
            "keys": self._keys,
            "add_key": self._add_key,
            "delete_key": self._delete_key,
            "images": self._images,
            "regions": self._regions,
            "file_systems": self._file_systems,
        }

    # The way in: path, key, rate limit.

    async def handle(self, request: Request) -> Response:
        found = routes.match(local_path(request))
        if found is None:
            return Refusal("global/not-found").response()
        methods, target = found
        handler = methods.get(request.method)
        if handler is None:
            # Seen for POST /file-systems; what the body holds was not recorded.
            return PlainTextResponse("Method Not Allowed", 405, {"allow": ", ".join(methods)})
        try:
            self._authenticate(request, routes.VERBS.get(handler, "other"))
            if (wait_s := self._pace(handler)) is not None:
                said = float(math.ceil(wait_s)) if self.options.limit_header else None
                return too_many(said, html=self.options.limit_body == "html")
            data = await self._handlers[handler](request, target)
        except Refusal as refusal:
            return refusal.response()
        return json_reply({"data": views.with_extras(data) if self.options.extra_fields else data})

    def verb(self, method: str, path: str) -> str:
        found = routes.match(path)
        return "other" if found is None else routes.VERBS.get(found[0].get(method, ""), "other")

    def _authenticate(self, request: Request, verb: str) -> None:
        known = self.options.key in routes.keys_of(request.headers.get("authorization", ""))
        if self.fault("bad_key", verb=verb) or not known:
            raise Refusal("global/invalid-api-key")
        if self.options.standing == "inactive":
            raise Refusal("global/account-inactive")

    def _pace(self, handler: str) -> float | None:
        """How long the request should have waited, or None if it may pass."""
        spacings = {"request": self.options.request_spacing_s}
        if handler == "launch":
            spacings["launch"] = self.options.launch_spacing_s
        # Jitter is of real time, however fast the sandbox's clock runs.
        slack_s = self.options.slack_s * float(getattr(self.world.env, "speed", 1.0))
        return self.limits.take(spacings, self.world.now(), slack_s)

    # What is on sale.

    async def _types(self, request: Request, target: str) -> Any:
        self.desk.move_prices()
        return views.instance_types(self.market, self.options)

    async def _images(self, request: Request, target: str) -> Any:
        return views.images(self.market)

    async def _regions(self, request: Request, target: str) -> Any:
        return views.regions(self.market)

    async def _file_systems(self, request: Request, target: str) -> Any:
        return []

    # SSH keys.

    async def _keys(self, request: Request, target: str) -> Any:
        return self.keys.listed()

    async def _add_key(self, request: Request, target: str) -> Any:
        return self.keys.add(await routes.read_body(request))

    async def _delete_key(self, request: Request, target: str) -> Any:
        self.keys.delete(target)
        return {}

    # Instances.

    async def _launch(self, request: Request, target: str) -> Any:
        return {"instance_ids": [self.desk.launch(await routes.read_body(request)).id]}

    async def _list(self, request: Request, target: str) -> Any:
        if request.query_params.get("cluster_id"):
            return []  # nothing that can be launched here is in a cluster
        now = self.world.now()
        shown = [it for it in self.fleet.instances.values() if it.shown(now) and not it.hidden(now)]
        return [self._view(it) for it in shown]

    async def _get(self, request: Request, target: str) -> Any:
        return self._view(self._instance(target))

    async def _rename(self, request: Request, target: str) -> Any:
        instance = self._instance(target)
        name = check_rename(await routes.read_body(request))
        instance.name = instance.name if name is None else name
        return self._view(instance)

    async def _terminate(self, request: Request, target: str) -> Any:
        wanted = check_ids(await routes.read_body(request))
        # That one wrong id spoils the whole call is likely, not documented.
        found = [self._terminable(each) for each in dict.fromkeys(wanted)]
        for instance in found:
            ignored = self.fault("ignore_terminate", verb="terminate", subject=instance.subject())
            if ignored is None and instance.status != "terminating":
                self.fleet.terminate(instance)
        return {"terminated_instances": [self._view(instance, status="terminating") for instance in found]}

    def _terminable(self, instance_id: str) -> Instance:
        instance = self.fleet.instances.get(instance_id)
        over = instance is None or not instance.alive
        again = instance is not None and instance.status == "terminating" and self.options.second_terminate == 404
        if instance is None or over or again:
            raise Refusal(MISSING)
        if instance.status == "booting" and not self.options.terminate_booting:
            raise Refusal("global/conflict")
        return instance

    async def _restart(self, request: Request, target: str) -> Any:
        found = [self._instance(each) for each in dict.fromkeys(check_ids(await routes.read_body(request)))]
        for instance in found:
            if instance.status not in ("active", "unhealthy"):
                raise Refusal("global/conflict")
        for instance in found:
            self.fleet.restart(instance)
        return {"restarted_instances": [self._view(instance) for instance in found]}

    def _instance(self, instance_id: str) -> Instance:
        instance, now = self.fleet.instances.get(instance_id), self.world.now()
        if instance is None or not instance.shown(now) or (instance.hidden_get and instance.hidden(now)):
            raise Refusal(MISSING)
        return instance

    def _view(self, instance: Instance, *, status: str | None = None) -> dict[str, Any]:
        return views.instance(instance, self.market, self.options, status=status)

    # What the kit and tests ask for.

    def advance(self) -> None:
        self.fleet.advance()
        for instance in self.fleet.living():
            if instance.status == "active" and instance.up and (loss := self._loss(instance)):
                recovers_s = loss.args.get("recovers_s")
                how = str(loss.args.get("how", "vanish"))
                self.fleet.lose(instance, how, None if recovers_s is None else float(recovers_s))

    def _loss(self, instance: Instance) -> Fault | None:
        return self.fault("host_lost", subject=instance.subject())

    def environment(self, base_url: str) -> dict[str, str]:
        return {"LAMBDA_API_KEY": self.options.key, "ORCH_LAMBDA_URL": base_url}

    def records(self) -> list[Record]:
        billing = set(self.world.ledger.billing(self.name))
        return [
            Record(it.id, it.name or "", it.alive, it.id in billing, it.type.subject(it.region))
            for it in self.fleet.instances.values()
        ]

    def plant(self, name: str, owner: str | None = None) -> str:
        return self.desk.plant(name, [] if owner is None else [{"key": OWNER_TAG, "value": owner}]).id

    def lose(self, instance: str) -> None:
        """Lambda gives no notice: the instance is in no list any more, and bills no more."""
        found = self.fleet.instances[instance]
        if found.alive:
            self.fleet.lose(found)

    def rate_limited(self, retry_after: float | None) -> Response:
        return too_many(retry_after, html=self.options.limit_body == "html")

    def broken(self) -> Response:
        return Refusal("global/internal-error").response()

    def dump(self) -> dict[str, Any]:
        return {
            "market": self.market.dump(),
            "keys": self.keys.dump(),
            "limits": self.limits.dump(),
            "instances": self.fleet.dump(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.market.load(state["market"])
        self.keys.load(state["keys"])
        self.limits.load(state["limits"])
        self.fleet.load(state["instances"])
