"""Google Cloud on loopback: Compute Engine v1, the Cloud Billing catalogue and an OAuth server at one address.

Written from the discovery documents of Compute v1 (revision 20261106) and Cloud Billing v1 (20260901) and from
Google's documentation. This module is the way in and the kit's interface. The parts: `emulator_routes` (paths),
`emulator_wire` (errors, links), `emulator_auth` (tokens), `emulator_limits` (requests a minute), `emulator_lists`
(filters, pages), `emulator_market` (market file), `emulator_skus` (price catalogue), `emulator_rules` and
`emulator_insert` (inserts), `emulator_quota`, `emulator_operations`, `emulator_instance` and `emulator_fleet`
(machines, clock, bill), `emulator_network` (firewall), `emulator_views` (answers), and the calls in
`emulator_instances`, `emulator_catalog` and `emulator_advice`.

Faults that a client could not tell are not promised: there is no balance, so no `no_money`; the project stands in
every path, so no `other_account`; and what a failed insert leaves is nothing, so no `left`.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

import providers.gcp.emulator_routes as routes
from providers.gcp.emulator_auth import Accounts
from providers.gcp.emulator_catalog import scope_of
from providers.gcp.emulator_cloud import Cloud
from providers.gcp.emulator_fleet import Fleet
from providers.gcp.emulator_insert import move_prices
from providers.gcp.emulator_instance import Disk, Instance
from providers.gcp.emulator_limits import Limits, exceeded
from providers.gcp.emulator_lists import masked
from providers.gcp.emulator_market import Market
from providers.gcp.emulator_network import Network
from providers.gcp.emulator_operations import Operations
from providers.gcp.emulator_options import Options
from providers.gcp.emulator_quota import Quotas
from providers.gcp.emulator_rules import Rules
from providers.gcp.emulator_skus import services, skus
from providers.gcp.emulator_views import with_extras
from providers.gcp.emulator_wire import PROVIDER, Call, Refusal, invalid, missing
from providers.sandbox.kit import Emulator, Record, json_reply, local_path
from providers.sandbox.world import World

#: The label in which `orch` keeps an installation's full owner id at Google Cloud.
OWNER_LABEL = "orch-owner"
_ZONE, _DIGITS = "us-central1-a", "0123456789"
_NOT_FOUND = "<!DOCTYPE html><html><title>Error 404 (Not Found)!!1</title><p><b>404.</b> That's an error.</html>"


class GcpEmulator(Emulator):
    """Google Cloud's loopback twin: one project, the regions of the market file.

    Attributes:
        options: how it is set up.
        market: what is on sale; quotas may be changed (`market.quotas["region"]["NVIDIA_L4_GPUS"]`).
        network: firewall rules.
        operations: all operations there were.
        fleet: instances and disks.
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
        self.network = Network(world, self.options)
        self.operations = Operations(world, self.options)
        self.fleet = Fleet(world, self.market, self.options, self.operations, self.network.lets_in)
        self.accounts = Accounts(world, self.options)
        quotas, rules = Quotas(self.market, self.fleet), Rules(self.market, self.options)
        self.cloud = Cloud(
            world=world,
            options=self.options,
            market=self.market,
            network=self.network,
            operations=self.operations,
            fleet=self.fleet,
            quotas=quotas,
            rules=rules,
            accounts=self.accounts,
            fault=self.fault,
        )
        self._limits = Limits()

    # The way in.

    async def handle(self, request: Request) -> Response:
        found = routes.match(request.method, local_path(request))
        if found is None:
            return HTMLResponse(_NOT_FOUND, 404)
        route, parts = found
        billing = route.name.startswith("billing")
        if route.name == "token":
            return await self.accounts.token(request, revoked=self.fault("bad_key", verb=route.verb) is not None)
        call = Call(route.name, route.verb, parts, dict(request.query_params), billing=billing)
        try:
            call.user = self.accounts.admit(request, call, revoked=self.fault("bad_key", verb=call.verb) is not None)
            answer = self._billing(call) if billing else await self._compute(request, call, route)
            if mask := call.query.get("fields"):
                answer = masked(answer, mask)
        except Refusal as refusal:
            return refusal.response(billing=billing)
        return json_reply(with_extras(answer) if self.options.extra_fields else answer)

    def _billing(self, call: Call) -> dict[str, Any]:
        if call.name == "billing_services":
            return services(call)
        move_prices(self.cloud)
        return skus(self.market, call, self.options.sku_page)

    async def _compute(self, request: Request, call: Call, route: routes.Route) -> dict[str, Any]:
        self._check_place(call)
        if self.options.per_minute is not None:
            number = self.options.project_number
            self._limits.take(call.name, self.world.now(), self.options.per_minute, self.options.limit_status, number)
        if request.method in ("POST", "PATCH"):
            call.body = _read(await request.body())
        if route.name == "operations_wait":
            await self._wait(call)
        if call.name.startswith("zonal"):
            move_prices(self.cloud)
        assert route.handler is not None, "only Compute's routes come here"
        return route.handler(self.cloud, call)

    def _check_place(self, call: Call) -> None:
        images = call.name.startswith("images") and any(one.project == call.project for one in self.market.images)
        if call.project == self.options.project_number:
            call.parts["project"] = self.options.project
        elif call.project != self.options.project and not images:
            raise missing(f"projects/{call.project}")
        self._check_standing()
        if (zone := call.parts.get("zone")) is not None and zone not in self.market.zones:
            raise invalid("zone", zone, "Unknown zone.")
        if (region := call.parts.get("region")) is not None and region not in self.market.regions:
            raise invalid("region", region, "Unknown region.")

    def _check_standing(self) -> None:
        project, number = self.options.project, self.options.project_number
        consumer = {"consumer": f"projects/{number}"}
        if self.options.standing == "api-off":
            text = (
                f"Compute Engine API has not been used in project {number} before or it is disabled. Enable it by "
                f"visiting https://console.developers.google.com/apis/api/compute.googleapis.com/overview?project={number}"
            )
            raise Refusal(403, "accessNotConfigured", text, domain="usageLimits", info=("SERVICE_DISABLED", consumer))
        if self.options.standing == "billing-off":
            text = f"This API method requires billing to be enabled. Please enable billing on project {project}."
            raise Refusal(403, "forbidden", text, info=("BILLING_DISABLED", consumer))

    async def _wait(self, call: Call) -> None:
        """Block until the operation is over, or for two minutes at most."""
        operation = self.operations.find(scope_of(call), call.parts["operation"])
        if operation is None or operation.done:
            return
        left = self.options.wait_s
        if operation.due is not None:
            left = min(left, (operation.due - self.world.now()).total_seconds())
        if left > 0:
            await self.world.env.sleep(left)
        self.advance()

    def verb(self, method: str, path: str) -> str:
        found = routes.match(method, path)
        return "other" if found is None else found[0].verb

    # What the kit and tests ask for.

    def advance(self) -> None:
        self.fleet.advance()
        self.operations.advance()
        for one in self.fleet.living():
            if one.status == "RUNNING" and one.up and (loss := self.fault("host_lost", subject=one.subject())):
                if one.spot:
                    self.fleet.preempt(one, float(loss.args.get("seconds", self.options.notice_s)))
                else:
                    self.fleet.host_error(one, restart=bool(loss.args.get("restart", True)))

    def environment(self, base_url: str) -> dict[str, str]:
        return {
            "GOOGLE_CLOUD_PROJECT": self.options.project,
            "ORCH_GCP_TOKEN": self.options.token,
            "ORCH_GCP_URL": base_url,
        }

    def records(self) -> list[Record]:
        billing = set(self.world.ledger.billing(self.name))
        return [
            Record(it.id, it.name, it.alive, it.id in billing, f"{it.shape} {it.zone} {it.model}")
            for it in self.fleet.instances.values()
        ]

    def plant(self, name: str, owner: str | None = None) -> str:
        """A running machine, with the label `orch-owner` and a GPU if there is an *owner*."""
        now, letters = self.world.now(), self.world.letters
        shape = self.market.shapes["g2-standard-4" if owner else "e2-medium"]
        planted = Instance(
            id=f"2{letters(18, _DIGITS)}",
            name=name,
            project=self.options.project,
            zone=_ZONE,
            shape=shape.name,
            model="STANDARD",
            created_at=now,
            labels={OWNER_LABEL: owner} if owner else {},
            metadata={"ssh-keys": "somebody:ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIElse else"},
            scheduling={
                "onHostMaintenance": "TERMINATE" if shape.gpus else "MIGRATE",
                "automaticRestart": True,
                "preemptible": False,
                "provisioningModel": "STANDARD",
            },
            nat={"type": "ONE_TO_ONE_NAT", "name": "External NAT", "networkTier": "PREMIUM"},
        )
        image = self.market.images[0]
        source = f"projects/{image.project}/global/images/{image.name}"
        disk_id = f"3{letters(18, _DIGITS)}"
        disk = Disk(disk_id, name, _ZONE, "pd-balanced", image.size_gb, source, planted.id, name, True, True, now)
        self.fleet.add(planted, [disk])
        self.fleet.run_at_once(planted)
        return planted.id

    def lose(self, instance: str) -> None:
        """Without notice: spot takes it, or its host fails and it is TERMINATED.

        Args:
            instance: its id or name, or a path that ends in one.
        """
        wanted = instance.rpartition("/")[2]
        found = next(one for one in self.fleet.living() if wanted in (one.id, one.name))
        if found.spot:
            self.fleet.preempt(found, 0)
        else:
            self.fleet.host_error(found)

    def rate_limited(self, retry_after: float | None) -> Response:
        # Google documents no Retry-After; it is sent only where a test asks for one.
        headers = None if retry_after is None else {"retry-after": f"{retry_after:g}"}
        limit, number = self.options.per_minute or 1500, self.options.project_number
        refusal = exceeded("Queries", "defaultPerMinutePerProject", limit, self.options.limit_status, number)
        return refusal.response(headers=headers)

    def broken(self) -> Response:
        return Refusal(503, "backendError", "Backend Error").response()

    def dump(self) -> dict[str, Any]:
        return {
            "market": self.market.dump(),
            "network": self.network.dump(),
            "operations": self.operations.dump(),
            "accounts": self.accounts.dump(),
            "fleet": self.fleet.dump(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.market.load(state["market"])
        self.network.load(state["network"])
        self.operations.load(state["operations"])
        self.accounts.load(state["accounts"])
        self.fleet.load(state["fleet"])


def _read(body: bytes) -> dict[str, Any]:
    """The body, a JSON object or nothing.

    Raises:
        Refusal: it is neither.
    """
    if not body:
        return {}
    try:
        found = json.loads(body)
    except ValueError:
        raise Refusal(400, "parseError", "Parse Error") from None
    if not isinstance(found, dict):
        raise Refusal(400, "parseError", "Parse Error")
    return found
