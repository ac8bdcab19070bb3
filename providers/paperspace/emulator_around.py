"""The emulated Paperspace's calls for what lies around machines: startup scripts, private networks, addresses.

What a create answers is not wrapped here (seen for private networks, taken over for the others), and what a delete
answers is not documented: the thing itself, with `dtDeleted` where it has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

import providers.paperspace.emulator_rules as rules
import providers.paperspace.emulator_views as views
from providers.paperspace.emulator_fleet import Fleet
from providers.paperspace.emulator_lists import page
from providers.paperspace.emulator_market import Market
from providers.paperspace.emulator_network import Network
from providers.paperspace.emulator_options import Options
from providers.paperspace.emulator_refusals import Refusal
from providers.paperspace.emulator_scripts import Scripts
from providers.sandbox.world import World

_ORDERS = ("dtCreated", "name")


class Around:
    """Handlers, each of a request and the id in its path."""

    def __init__(
        self, world: World, market: Market, fleet: Fleet, scripts: Scripts, network: Network, options: Options
    ) -> None:
        self.world = world
        self.market = market
        self.fleet = fleet
        self.scripts = scripts
        self.network = network
        self.options = options

    async def list_scripts(self, request: Request, target: str) -> Any:
        """`GET /startup-scripts`."""
        rows = [views.script(each, self.fleet.living()) for each in self.scripts.rows.values()]
        return page(self._named(request, rows), request.query_params, size=self.options.page_size, orders=_ORDERS)

    async def get_script(self, request: Request, target: str) -> Any:
        """`GET /startup-scripts/{id}`."""
        return views.script(self.scripts.get(target), self.fleet.living())

    async def add_script(self, request: Request, target: str) -> Any:
        """`POST /startup-scripts`."""
        body = await rules.read_body(request)
        rules.check_script(body, new=True)
        run_once, about = body.get("isRunOnce", False), body.get("description")
        made = self.scripts.add(body["name"], body["script"], run_once=run_once, description=about)
        return views.script(made, [])

    async def change_script(self, request: Request, target: str) -> Any:
        """`PUT /startup-scripts/{id}`."""
        script, body = self.scripts.get(target), await rules.read_body(request)
        rules.check_script(body, new=False)
        script.name, script.script = body.get("name", script.name), body.get("script", script.script)
        script.run_once = body.get("isRunOnce", script.run_once)
        script.description = body.get("description", script.description)
        return views.script(script, self.fleet.living())

    async def delete_script(self, request: Request, target: str) -> Any:
        """`DELETE /startup-scripts/{id}`."""
        shown = views.script(self.scripts.get(target), self.fleet.living())
        if shown["assignedMachineIds"] and not self.options.script_delete_in_use:
            raise Refusal("CONFLICT", "The startup script is assigned to a machine.")
        del self.scripts.rows[target]
        return shown | {"dtDeleted": views.stamp(self.world.now())}

    async def list_networks(self, request: Request, target: str) -> Any:
        """`GET /private-networks`."""
        region = rules.filter_region(request.query_params, self.market)
        rows = [views.network(each) for each in self.network.networks.values() if region in (None, each.region)]
        return page(self._named(request, rows), request.query_params, size=self.options.page_size, orders=_ORDERS)

    async def get_network(self, request: Request, target: str) -> Any:
        """`GET /private-networks/{id}`."""
        return views.network(self.network.network(target))

    async def add_network(self, request: Request, target: str) -> Any:
        """`POST /private-networks`."""
        name, region = rules.check_network(await rules.read_body(request), self.market)
        return views.network(self.network.add_network(name, region))

    async def delete_network(self, request: Request, target: str) -> Any:
        """`DELETE /private-networks/{id}`, which must wait for the machines in it."""
        found = self.network.network(target)
        if any(machine.network == target for machine in self.fleet.living()):
            raise Refusal("CONFLICT", "The private network is in use by a machine.")
        del self.network.networks[target]
        return views.network(found) | {"dtDeleted": views.stamp(self.world.now())}

    async def list_ips(self, request: Request, target: str) -> Any:
        """`GET /public-ips`."""
        region = rules.filter_region(request.query_params, self.market)
        rows = [views.public_ip(each) for each in self.network.ips.values() if region in (None, each.region)]
        return page(rows, request.query_params, size=self.options.page_size, key="ip")

    async def claim_ip(self, request: Request, target: str) -> Any:
        """`POST /public-ips`."""
        region = rules.check_region(await rules.read_body(request), self.market)
        return views.public_ip(self.network.claim(region))

    async def release_ip(self, request: Request, target: str) -> Any:
        """`DELETE /public-ips/{ip}`."""
        return views.public_ip(self.network.release(target))

    def _named(self, request: Request, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return with_name(rows, request.query_params, self.options)


def with_name(rows: list[dict[str, Any]], query: Mapping[str, str], options: Options) -> list[dict[str, Any]]:
    """The rows that the `name` filter lets through; its real rule is unknown (`Options.name_match`)."""
    wanted = query.get("name")
    if not wanted:
        return rows
    if options.name_match == "exact":
        return [row for row in rows if row["name"] == wanted]
    return [row for row in rows if wanted.casefold() in row["name"].casefold()]
