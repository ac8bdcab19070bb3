"""What Vast's calls do, once a request has a route and an account: one method for each name in `emulator_routes`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from providers.sandbox.kit import json_reply
from providers.sandbox.world import World
from providers.vast import emulator_list, emulator_reports, emulator_rules
from providers.vast.emulator_billing import PROVIDER
from providers.vast.emulator_create import Creator, Take
from providers.vast.emulator_fleet import Fleet
from providers.vast.emulator_instance import Instance
from providers.vast.emulator_keys import Keys
from providers.vast.emulator_market import Ask, Market
from providers.vast.emulator_offers import offer
from providers.vast.emulator_search import Query
from providers.vast.emulator_views import instance_view
from providers.vast.emulator_wire import Refusal, invalid_args, no_such_instance, parse_object

_QUEUED = "Required resources are currently unavailable, state change queued."
_NO_QUERY = Refusal(400, "invalid_request", "Invalid json body")
_LOG_UPLOAD_S = 1.0


@dataclass(slots=True)
class Call:
    """One request on its way: who asks (`account`, with `user_id`), and the parts of its path."""

    request: Request
    account: str
    user_id: int
    parts: dict[str, str]

    async def body(self) -> dict[str, Any]:
        """Its JSON body."""
        return parse_object(await self.request.body())


class Calls:
    """The handlers.

    Args:
        fault: uses up a waiting fault (`Emulator.fault`).

    Attributes:
        logs: uploaded logs by name: from when they can be fetched, and what they say.
    """

    def __init__(self, world: World, market: Market, fleet: Fleet, keys: Keys, fault: Take) -> None:
        self.world = world
        self.market = market
        self.fleet = fleet
        self.keys = keys
        self.fault = fault
        self.creator = Creator(world, market, fleet, fault)
        self.logs: dict[str, tuple[datetime, str]] = {}

    def handler(self, name: str) -> Callable[[Call], Awaitable[Response]]:
        """The handler of a route's name."""
        found: Callable[[Call], Awaitable[Response]] = getattr(self, f"_{name}")
        return found

    def dump_logs(self) -> dict[str, list[str]]:
        """`logs`, ready for JSON."""
        return {name: [when.isoformat(), text] for name, (when, text) in self.logs.items()}

    def load_logs(self, state: dict[str, list[str]]) -> None:
        """Take over what `dump_logs` gave."""
        self.logs = {name: (datetime.fromisoformat(when), text) for name, (when, text) in state.items()}

    # The market.

    async def _search(self, call: Call) -> Response:
        return json_reply({"offers": self._offers(await self._query(call))})

    async def _search_asks(self, call: Call) -> Response:
        body = await self._query(call)
        if not isinstance(body.get("q"), dict):
            raise _NO_QUERY
        rows, columns = self._offers(body["q"]), body.get("select_cols") or ["*"]
        if "*" not in columns:
            rows = [{name: row.get(name) for name in columns} for row in rows]
        return json_reply({"success": True, "offers": rows})

    @staticmethod
    async def _query(call: Call) -> dict[str, Any]:
        try:
            return await call.body()
        except Refusal:
            raise _NO_QUERY from None

    def _offers(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        query = Query.of(body, self.market.wire.ignored_filters)
        rows = query.select(self._rows(query))
        if rows and self._prices_move(query, [self.market.asks[row["id"]] for row in rows]):
            rows = query.select(self._rows(query))
        return rows

    def _rows(self, query: Query) -> list[dict[str, Any]]:
        now, address = self.world.now(), self.fleet.machines.address
        return [
            offer(self.market, ask, query.kind, query.storage_gb, address(ask.machine_id), now)
            for ask in self.market.listed(now)
        ]

    def _prices_move(self, query: Query, asks: list[Ask]) -> bool:
        """Let a waiting price change happen to those of *asks* that it is about."""
        kind = "bid" if query.kind == "bid" else "on-demand"
        about = {ask: ask.subject(kind) for ask in asks}
        verbs = ("offers", "price") if "ask_contract_id" in query.where else ("offers",)
        for verb in verbs:
            if change := self.fault("price_changed", verb=verb, subject="\n".join(about.values())):
                for ask in [ask for ask, text in about.items() if change.subject.casefold() in text.casefold()]:
                    # A fault that lasts for ever means one lasting rise, not one with every search.
                    if change.times >= 0 or ask.id not in self.market.factors:
                        self.market.raise_price(ask, Decimal(str(change.args.get("factor", "1.5"))))
                    if change.args.get("reissue"):
                        self.market.reissue(ask, self.fleet.new_id())
                return True
        return False

    async def _gpu_types(self, call: Call) -> Response:
        return json_reply(emulator_reports.gpu_types(self.market))

    async def _gpu_names(self, call: Call) -> Response:
        return json_reply(emulator_reports.gpu_names(self.market))

    async def _metrics(self, call: Call) -> Response:
        return json_reply(emulator_reports.metrics(self.market, call.request.query_params, self.world.now()))

    # Renting.

    async def _create(self, call: Call) -> Response:
        body = await call.body()
        if not call.parts["id"].isdecimal():
            raise invalid_args(3467, "'id' is required and must be a valid offer ID")
        return self.creator.create(int(call.parts["id"]), body, call.account)

    async def _launch(self, call: Call) -> Response:
        body = await call.body()
        wanted = body.get("q")
        if not isinstance(wanted, dict) or not isinstance(body.get("num_gpus"), int):
            raise Refusal(400, "invalid_query", "Invalid query parameters")
        rows = self._offers({**wanted, "num_gpus": {"eq": body["num_gpus"]}})
        if not rows:
            raise Refusal(404, "no_offers", "No offers match the query")
        rest = {name: value for name, value in body.items() if name not in ("q", "num_gpus")}
        return self.creator.create(rows[0]["id"], rest, call.account)

    # Rentals.

    def _instance(self, call: Call) -> Instance:
        if not call.parts["id"].isdecimal():
            raise invalid_args(1782, "invalid instance_id")
        instance = self.fleet.find(call.account, int(call.parts["id"]))
        if instance is None:
            raise no_such_instance(call.parts["id"])
        return instance

    def _view(self, instance: Instance) -> dict[str, Any]:
        return instance_view(instance, self.market, self.fleet.machines, self.fleet.billing, self.world.now())

    def _listed(self, account: str) -> list[dict[str, Any]]:
        return [self._view(one) for one in self.fleet.of(account) if not self._hidden(one)]

    def _hidden(self, instance: Instance) -> bool:
        if instance.hidden_until is not None and self.world.now() < instance.hidden_until:
            return True
        instance.hidden_lists -= 1
        return instance.hidden_lists >= 0

    async def _show(self, call: Call) -> Response:
        try:
            return json_reply({"instances": self._view(self._instance(call))})
        except Refusal as refusal:
            if refusal.status != 404:
                raise
            return json_reply({"instances": None})

    async def _list(self, call: Call) -> Response:
        return json_reply(emulator_list.answer(self._listed(call.account), call.request.query_params))

    async def _list_old(self, call: Call) -> Response:
        if self.market.wire.old_list == "gone":
            raise Refusal(410, "deprecated_endpoint", "This endpoint is deprecated, use /api/v1/instances/.")
        return json_reply({"instances": self._listed(call.account)})

    async def _manage(self, call: Call) -> Response:
        return self._change(self._instance(call), await call.body())

    async def _manage_many(self, call: Call) -> Response:
        body = await call.body()
        for instance in self._many(call, body.get("ids")):
            self._change(instance, {name: value for name, value in body.items() if name != "ids"})
        return json_reply({"success": True})

    def _many(self, call: Call, ids: Any) -> list[Instance]:
        """The account's instances among *ids*. The answer of the bulk calls is not described."""
        if not isinstance(ids, list) or not all(isinstance(one, int) for one in ids):
            raise invalid_args(1782, "a list of ids is required")
        found = [self.fleet.find(call.account, one) for one in ids]
        return [instance for instance in found if instance is not None]

    def _change(self, instance: Instance, body: dict[str, Any]) -> Response:
        label, running = emulator_rules.read_label(body), emulator_rules.read_state(body)
        if label is None and running is None:
            raise Refusal(400, "invalid_request", "Nothing to change")
        if label is not None:
            instance.label = label
        if running is None:
            return json_reply({"success": True, "msg": f"label for {instance.id} set to {label!r}"})
        return self._start(instance) if running else self._stop(instance)

    def _stop(self, instance: Instance) -> Response:
        self.fleet.want(instance, False, self.world.now())
        return json_reply({"success": True})

    def _start(self, instance: Instance) -> Response:
        now = self.world.now()
        if self.fleet.billing.balance(instance.account, now) <= 0:
            raise Refusal(400, "missing_billing", "Please add credit to your account.")
        if instance.ended:
            raise invalid_args(1782, "the contract has ended")
        taken = None if instance.scheduled else self.fault("sold_out", verb="start", subject=instance.subject())
        if taken is not None:
            self.fleet.outbid(instance, None, taken.args.get("seconds"))
        self.fleet.want(instance, True, now)
        if instance.scheduled:
            return json_reply({"success": True})
        return json_reply({"success": False, "msg": _QUEUED})

    async def _destroy(self, call: Call) -> Response:
        self._end(self._instance(call))
        return json_reply({"success": True, "msg": "Instance destroyed successfully"})

    async def _destroy_many(self, call: Call) -> Response:
        for instance in self._many(call, (await call.body()).get("instance_ids")):
            self._end(instance)
        return json_reply({"success": True, "msg": "Instances destroyed successfully"})

    def _end(self, instance: Instance) -> None:
        if not self.fault("ignore_terminate", verb="terminate", subject=instance.subject()):
            self.fleet.destroy(instance, self.world.now())

    async def _change_bid(self, call: Call) -> Response:
        instance = self._instance(call)
        bid = emulator_rules.read_rebid(await call.body(), instance.ask.num_gpus)
        if instance.bid is None:
            raise Refusal(400, "invalid_args", "Not an interruptible instance")
        self.fleet.rebid(instance, bid, self.world.now())
        return json_reply({"success": True})

    async def _reboot(self, call: Call) -> Response:
        self.fleet.reboot(self._instance(call), self.world.now(), pull=False)
        return json_reply({"success": True})

    async def _recycle(self, call: Call) -> Response:
        self.fleet.reboot(self._instance(call), self.world.now(), pull=True)
        return json_reply({"success": True})

    async def _request_logs(self, call: Call) -> Response:
        instance = self._instance(call)
        name = self.world.letters(40, "0123456789abcdef")
        ready = self.world.now() + timedelta(seconds=_LOG_UPLOAD_S)
        self.logs[name] = (ready, emulator_reports.log_text(instance))
        url = call.request.url
        root = call.request.scope.get("root_path", "")
        return json_reply(
            {"success": True, "result_url": f"{url.scheme}://{url.netloc}{root}/instance_logs/{name}.log"}
        )

    async def _log_file(self, call: Call) -> Response:
        ready, text = self.logs.get(call.parts["id"], (None, ""))
        if ready is None or self.world.now() < ready:
            return PlainTextResponse("<Error><Code>NoSuchKey</Code></Error>", 404, media_type="application/xml")
        return PlainTextResponse(text)

    # Keys and account.

    async def _ssh_show(self, call: Call) -> Response:
        return self.keys.show(call.account)

    async def _ssh_add(self, call: Call) -> Response:
        rentals = self.fleet.of(call.account)
        return self.keys.add(call.account, call.user_id, await call.body(), rentals, self.fleet.machines)

    async def _ssh_delete(self, call: Call) -> Response:
        return self.keys.delete(call.account, _number(call.parts["id"]))

    async def _instance_keys(self, call: Call) -> Response:
        return self.keys.show_of(self._instance(call), self.fleet.machines)

    async def _attach(self, call: Call) -> Response:
        return self.keys.attach(self._instance(call), call.user_id, await call.body(), self.fleet.machines)

    async def _detach(self, call: Call) -> Response:
        return self.keys.detach(self._instance(call), _number(call.parts["key"]), self.fleet.machines)

    async def _user(self, call: Call) -> Response:
        credit = self.fleet.billing.balance(call.account, self.world.now())
        key = next(iter(self.keys.lines(call.account)), None)
        return json_reply(emulator_reports.user(self.market, call.account, call.user_id, credit, key))

    async def _charges(self, call: Call) -> Response:
        lines = [line for line in self.world.ledger.lines if (line.provider, line.account) == (PROVIDER, call.account)]
        rentals = {str(one.id): one for one in self.fleet.instances.values()}
        return json_reply(emulator_reports.charges(lines, rentals, call.request.query_params, self.world.now()))


def _number(text: str) -> int:
    if not text.isdecimal():
        raise Refusal(400, "invalid_request", "Invalid request parameters")
    return int(text)
