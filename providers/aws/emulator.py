"""AWS on loopback: EC2, STS, SSM, Pricing and Service Quotas at one address. Written from AWS's documents of 2026.

This module is the way in and the kit's interface. The parts: `emulator_wire` (forms, XML, JSON), `emulator_auth`
(signatures), `emulator_market` (market file), `emulator_order` and `emulator_launch` (RunInstances),
`emulator_instance` and `emulator_fleet` (instances, clock and money), `emulator_network` (what lies around them),
and the actions in `emulator_instances`, `_catalog`, `_vpc`, `_fleets`, `_account` and `_prices`.

Which service a request is for is said by its signature's scope, which operation by `Action` or `X-Amz-Target`;
the path says nothing, except for the public price list below ``/offers/``.
"""

from __future__ import annotations

import json
from contextvars import ContextVar
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

import providers.aws.emulator_account as account_actions
import providers.aws.emulator_catalog as catalog
import providers.aws.emulator_fleets as fleets
import providers.aws.emulator_instances as instances
import providers.aws.emulator_vpc as vpc
import providers.aws.emulator_wire as wire
from providers.aws.emulator_auth import check, scope, unknown_key
from providers.aws.emulator_cloud import Action, Cloud
from providers.aws.emulator_fleet import Fleet
from providers.aws.emulator_instance import Disk, Instance
from providers.aws.emulator_launch import Launcher
from providers.aws.emulator_market import Market
from providers.aws.emulator_network import Network
from providers.aws.emulator_options import Options
from providers.aws.emulator_prices import PRICING, REGIONS, bulk
from providers.aws.emulator_throttle import Throttle
from providers.aws.emulator_verbs import verb_of
from providers.aws.emulator_wire import Call, Refusal
from providers.sandbox.kit import Emulator, Record, local_path
from providers.sandbox.world import World

ACTIONS: dict[str, dict[str, Action]] = {
    "ec2": {**instances.ACTIONS, **catalog.ACTIONS, **vpc.ACTIONS, **fleets.ACTIONS},
    "sts": account_actions.STS,
    "ssm": account_actions.SSM,
    "servicequotas": account_actions.QUOTAS,
    "pricing": PRICING,
}
_ALWAYS = {"Action", "Version", "DryRun"}
_SPOT_NOTICE_S = 120.0

#: The request that this task is serving: the kit asks for verbs and error answers without showing it.
_CALL: ContextVar[Call | None] = ContextVar("call", default=None)


class AwsEmulator(Emulator):
    """AWS's loopback twin: one key, one account, the regions of the market file.

    Attributes:
        options: how it is set up.
        market: what is on sale; quotas may be changed (`market.quotas[code]["vcpus"]`).
        network: VPCs, security groups, key pairs.
        fleet: the instances.
    """

    name: ClassVar[str] = "aws"
    semantic: ClassVar[frozenset[str]] = frozenset(
        [
            "sold_out",
            "gone",
            "fail_after_accept",
            "boot_stuck",
            "wrong_gpu",
            "quota",
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
        self.market = Market(world.market.get(self.name))
        self.network = Network(world, self.options, self.market)
        self.fleet = Fleet(world, self.options, self.market, self.network)
        launcher = Launcher(self.market, self.network, self.fleet, self.fault)
        self.cloud = Cloud(world, self.options, self.market, self.network, self.fleet, launcher, self.fault)
        self._throttle = Throttle()

    # The way in.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads the body first: it alone says which operation, and so which verb, a request is."""
        request = Request(scope, receive)
        body = await request.body()
        call = self._read(request, local_path(request), body)
        token = _CALL.set(call)
        sent = False

        async def again() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        try:
            await super().__call__(scope, again, send)
        finally:
            _CALL.reset(token)

    def _read(self, request: Request, path: str, body: bytes) -> Call:
        found = scope(request.headers.get("authorization"))
        target, _, operation = request.headers.get("x-amz-target", "").rpartition(".")
        call = Call(
            service=found["service"] if found else wire.TARGETS.get(target, "ec2"),
            action=operation,
            params={},
            region=found["region"] if found else "",
            access_key=found["key"] if found else None,
            request_id=self.world.uuid(),
        )
        if path.startswith("/offers/"):
            call.service, call.action, call.verb = "offers", path, "offers"
            return call
        if target:
            call.params = _json_body(body)
        else:
            call.params = wire.read_form(body) if body else wire.read_form(request.url.query.encode())
            call.action = call.text("Action") or ""
        call.verb = verb_of(call)
        return call

    async def handle(self, request: Request) -> Response:
        call = _CALL.get()
        assert call is not None, "requests come in through __call__"
        if call.service == "offers":
            return bulk(self.cloud, call.action)
        try:
            check(request, await request.body(), call, self.options, self.world.now())
            if self.fault("bad_key", verb=call.verb):
                raise unknown_key(call)
            self._place(call)
            other = self.fault("other_account", verb=call.verb) is not None
            call.account = self.options.other_account if other else self.options.account
            if self.options.throttling:
                self._throttle.take(call, self.world.now())
            value = self._action(call).handler(self.cloud, call)
        except Refusal as problem:
            return wire.refused(call, problem)
        return wire.answer(call, value, extra=self.options.extra_fields)

    def _place(self, call: Call) -> None:
        """Refuse a region that is not enabled, or where the service is not."""
        if call.service == "pricing":
            if call.region not in REGIONS:
                raise Refusal("InvalidSignatureException", "Credential should be scoped to a valid region.")
        elif call.service != "sts" and not self._enabled(call.region):
            raise unknown_key(call)

    def _enabled(self, region: str) -> bool:
        return region in self.market.regions and self.market.regions[region].enabled

    def _action(self, call: Call) -> Action:
        action = ACTIONS.get(call.service, {}).get(call.action)
        if call.service not in wire.NAMESPACES:
            if action is None:
                raise Refusal("UnknownOperationException", "")
            return action
        version = call.text("Version")
        if action is None or version != wire.VERSIONS[call.service]:
            text = f"The action {call.action} is not valid for this web service."
            if call.service == "sts":
                text = f"Could not find operation {call.action} for version {version}"
            raise Refusal("InvalidAction", text)
        unknown = call.params.keys() - _ALWAYS - set(action.names.split())
        if unknown:
            raise Refusal("UnknownParameter", f"The parameter {min(unknown)} is not recognized")
        if call.flag("DryRun") and call.action not in ("RunInstances", "CreateFleet"):
            raise Refusal("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
        return action

    def verb(self, method: str, path: str) -> str:
        call = _CALL.get()
        if call is not None:
            return call.verb
        return "offers" if path.startswith("/offers/") else "other"

    # What the kit and tests ask for.

    def advance(self) -> None:
        self.fleet.advance()
        for one in list(self.fleet.instances.values()):
            if one.state != "running" or one.taken_at is not None:
                continue
            if lost := self.fault("host_lost", subject=one.subject()):
                notice = float(lost.args.get("seconds", _SPOT_NOTICE_S if one.spot else 0))
                if one.spot and notice > 0:
                    self.fleet.take(one, notice)
                else:
                    self.lose(one.id)

    def environment(self, base_url: str) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.options.access_key,
            "AWS_SECRET_ACCESS_KEY": self.options.secret_key,
            "AWS_DEFAULT_REGION": self.options.region,
            "ORCH_AWS_URL": base_url,
            # Regions that this account has and this market sells in; others would be asked in vain.
            "ORCH_AWS_REGIONS": ",".join(name for name, region in self.market.regions.items() if region.enabled),
        }

    def records(self) -> list[Record]:
        billing = set(self.world.ledger.billing(self.name))
        return [
            Record(id=i.id, name=i.name, alive=i.alive, billing=i.id in billing, offer=f"{i.kind} {i.zone} {i.market}")
            for i in self.fleet.instances.values()
        ]

    def plant(self, name: str, owner: str | None = None) -> str:
        """A running on-demand instance with the tags Name and, if there is an *owner*, orch-owner."""
        place = next(self.market.places(self.options.region))
        site, now = self.network.site(self.options.account, place.region), self.world.now()
        image, price = self.market.images[0], self.market.on_demand(place.kind, place.region)
        assert price is not None, "what is offered has a price"
        site.hosts += 1
        instance = Instance(
            id=self.network.id("i"),
            account=self.options.account,
            region=place.region,
            zone=place.zone,
            kind=place.kind.name,
            gpu=place.kind.gpu,
            spot=False,
            usd=price,
            reservation=self.network.id("r"),
            index=0,
            token=self.world.uuid(),
            launched_at=now,
            image=image.id(place.region),
            root=image.root,
            user=image.user,
            subnet=next((key for key, one in site.subnets.items() if one.zone == place.zone), ""),
            vpc=site.vpc,
            groups=[site.default_group.id],
            interface=self.network.id("eni"),
            private_ip=f"172.31.{site.hosts >> 8 & 255}.{site.hosts & 255}",
            public=True,
            key_name=None,
            keys=[],
            tags={"Name": name} | ({"orch-owner": owner} if owner else {}),
            disks=[Disk(self.network.id("vol"), image.root, image.size_gb, "gp3", True, now, {})],
        )
        self.fleet.add(instance)
        self.fleet.run_at_once(instance)
        return instance.id

    def lose(self, instance: str) -> None:
        """No notice: spot takes it at once, or its host fails and EC2 ends it."""
        one = self.fleet.instances[instance]
        reason = "Server.SpotInstanceTermination" if one.spot else "Server.InternalError"
        self.fleet.end(one, self.world.now(), reason, at_once=True)

    def rate_limited(self, retry_after: float | None) -> Response:
        # AWS documents no Retry-After; it is sent only where a test asks for one.
        headers = None if retry_after is None else {"retry-after": f"{retry_after:g}"}
        call = _CALL.get() or Call("ec2", "", {})
        if call.service == "ec2":
            problem = Refusal("RequestLimitExceeded", "Request limit exceeded.", 503)
        elif call.service == "sts":
            problem = Refusal("Throttling", "Rate exceeded", 400)
        else:
            problem = Refusal("ThrottlingException", "Rate exceeded", 400)
        return wire.refused(call, problem, headers)

    def broken(self) -> Response:
        call = _CALL.get() or Call("ec2", "", {})
        text = "An internal error has occurred"
        if call.service in wire.NAMESPACES:
            return wire.refused(call, Refusal("InternalError", text, 500))
        return wire.refused(call, Refusal("InternalServerError", text, 500))

    def dump(self) -> dict[str, Any]:
        return {"market": self.market.dump(), "network": self.network.dump(), "fleet": self.fleet.dump()}

    def load(self, state: dict[str, Any]) -> None:
        self.market.load(state["market"])
        self.network.load(state["network"])
        self.fleet.load(state["fleet"])


def _json_body(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
