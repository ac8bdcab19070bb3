"""`PUT /api/v0/asks/{id}/`: from a body to a rental, or to the refusal that Vast gives for it.

Sources: the official create description; clients' observations for the shapes of a lost race, for a bid below the
price, and for what happens without `cancel_unavail`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from starlette.responses import JSONResponse, Response

from providers.sandbox.faults import Fault
from providers.sandbox.world import World
from providers.vast.emulator_fleet import DOOMS, Fleet
from providers.vast.emulator_instance import Instance
from providers.vast.emulator_market import Ask, Market
from providers.vast.emulator_rules import Order, read_order
from providers.vast.emulator_wire import Refusal, invalid_args, no_such_ask

Take = Callable[..., Fault | None]
_HEX = "0123456789abcdef"
_PLANT_DISK_GB = Decimal(20)


class Creator:
    """Makes rentals.

    Args:
        fault: uses up a waiting fault (`Emulator.fault`).
    """

    def __init__(self, world: World, market: Market, fleet: Fleet, fault: Take) -> None:
        self.world = world
        self.market = market
        self.fleet = fleet
        self.fault = fault

    def create(self, ask_id: int, body: dict[str, Any], account: str) -> Response:
        """Serve one create.

        Raises:
            Refusal: any of the documented refusals, or one that a fault brings about.
        """
        ask = self.market.find(ask_id, self.world.now())
        about = self._about(ask, ask_id, body)
        if self._take("forbidden", about):
            raise forbidden("create instances")
        order = read_order(body, ask_id, self.market.wire.args_max)
        if ask is None:
            raise no_such_ask("404", ask_id)
        if ask.host_id == self.market.account["id"]:
            text = f"error 403/3586: Offer {ask_id} is not your own. Hosts can only rent their own machines."
            raise Refusal(403, "invalid_args", text, ask_id=ask_id)
        self._refuse(ask, order, about)
        self._check_fit(ask, order, account)
        self._check_credit(about, account)
        if change := self._take("price_changed", about):
            self.market.raise_price(ask, Decimal(str(change.args.get("factor", "1.5"))))
        return self._rent(ask, order, account, about)

    def _about(self, ask: Ask | None, ask_id: int, body: dict[str, Any]) -> str:
        """What faults may name a create by, read off a body that nobody has checked yet."""
        kind = "on-demand" if body.get("price") is None else "bid"
        return f"{ask.subject(kind) if ask else f'{ask_id} {kind}'} {body.get('label') or ''}"

    def _take(self, kind: str, about: str) -> Fault | None:
        return self.fault(kind, verb="launch", subject=about)

    # Refusals.

    def _refuse(self, ask: Ask, order: Order, about: str) -> None:
        """The refusals that faults bring about."""
        if odd := self._take("unknown_code", about):
            code, status = str(odd.args.get("code", "host_policy_7731")), int(odd.args.get("status", 400))
            raise Refusal(status, code, f"error {status}/7731: {code}", ask_id=ask.id)
        if gone := self._take("gone", about):
            if gone.args.get("reissue"):
                self.market.reissue(ask, self.fleet.new_id())
            else:
                self.market.gone.add(ask.id)
            raise no_such_ask(str(gone.args.get("shape", "404")), ask.id)
        if sold := self._take("sold_out", about):
            raise no_such_ask(str(sold.args.get("shape", "410" if order.cancel else "404")), ask.id)

    def _check_fit(self, ask: Ask, order: Order, account: str) -> None:
        if order.disk > ask.disk_space:
            raise invalid_args(3467, f"'disk' is more than the {ask.disk_space} GB of the offer", ask_id=ask.id)
        if order.bid is not None and ask.min_bid is None:
            text = "error 400/3495: invalid price: this offer takes no bids"
            raise Refusal(400, "invalid_price", text, ask_id=ask.id)
        if order.vm and not ask.vms_enabled:
            raise invalid_args(3467, "this machine has no VMs", ask_id=ask.id)
        if order.vm and not self.fleet.machines.account_keys(account):
            text = "error 400/3478: no_ssh_key_for_vm Please add an SSH key to your account first."
            raise Refusal(400, "no_ssh_key_for_vm", text, ask_id=ask.id)

    def _check_credit(self, about: str, account: str) -> None:
        poor = self._take("no_money", about)
        if poor and poor.args.get("how") == "spend_rate":
            # Officially there is such a cap for new accounts; its code and words are not published.
            text = "Your account's spend rate limit does not allow this instance."
            raise Refusal(self.market.wire.no_credit_status, "spend_rate_limit", text)
        if poor or self.fleet.billing.balance(account, self.world.now()) <= 0:
            text = "Insufficient credits. Please add credit to your account."
            raise Refusal(self.market.wire.no_credit_status, "insufficient_credit", text)

    # The rental.

    def _rent(self, ask: Ask, order: Order, account: str, about: str) -> Response:
        leaves = self._take("left", about)
        least = self.market.min_bid(ask)
        low = order.bid is not None and (least is None or order.bid < least)
        if leaves or low:
            return self._low_bid(ask, order, account, left=bool(leaves))
        if not self.market.rentable(ask) and order.cancel:
            raise no_such_ask("410", ask.id)
        instance = self._make(ask, order, account)
        self._spoil(instance, about)
        self.fleet.add(instance, self.world.now())
        return JSONResponse({"success": True, "new_contract": instance.id, "instance_api_key": instance.own_key})

    def _low_bid(self, ask: Ask, order: Order, account: str, *, left: bool) -> Response:
        """The call fails, and yet there is a stopped contract that bills its disk."""
        body: dict[str, Any] = {
            "success": False,
            "error": "invalid_price",
            "msg": "error 400/3743: bid is below the price of this offer; the instance was created stopped.",
            "ask_id": ask.id,
        }
        if left or self.market.wire.low_bid_leaves == "always" or not order.cancel:
            instance = self._make(ask, order, account)
            if order.bid is None:
                instance.wanted = False  # the fault hit an on-demand order, which could never lose by its bid
            elif left:
                # The offer's price moved in between: the bid stays too low until it is raised.
                instance.ask = replace(instance.ask, min_bid=order.bid * 2)
            self.fleet.add(instance, self.world.now())
            body["new_contract"] = instance.id
        return JSONResponse(body, self.market.wire.low_bid_status)

    def _make(self, ask: Ask, order: Order, account: str) -> Instance:
        now = self.world.now()
        number = self.fleet.new_id()
        return Instance(
            id=number,
            account=account,
            ask=self.market.snapshot(ask),
            label=order.label,
            image=order.image,
            runtype=order.runtype,
            disk=order.disk,
            created_at=now,
            end_at=self.market.ends_at(ask),
            own_key=self.world.letters(64, _HEX),
            ssh_port=10000 + number % 30000,
            jupyter_token=self.world.letters(64, _HEX),
            usd_per_hour=None if order.bid is not None else self.market.price(ask),
            bid=order.bid,
            env=dict(order.env),
            onstart=order.onstart,
            args=list(order.args),
            vm=order.vm,
            wanted=order.running,
        )

    def _spoil(self, instance: Instance, about: str) -> None:
        """What will go wrong with an accepted rental."""
        about = f"{about} {instance.id}"
        if doom := self._take("fail_after_accept", about):
            how = str(doom.args.get("how", "oci"))
            instance.doom = how if how in DOOMS else "oci"
        if stuck := self._take("boot_stuck", about):
            instance.stuck = str(stuck.args.get("how", "loading"))
        if wrong := self._take("wrong_gpu", about):
            device, memory_mib = str(wrong.args.get("gpu", "NVIDIA T4")), int(wrong.args.get("memory_mib", 15360))
            instance.device = (device, memory_mib)
        if lag := self._take("list_lag", about):
            instance.hidden_lists = int(lag.args.get("polls", 0))
            seconds = float(lag.args.get("seconds", 0 if "polls" in lag.args else 5))
            instance.hidden_until = instance.created_at + timedelta(seconds=seconds)

    def plant(self, label: str, owner: str | None) -> Instance:
        """A running rental that somebody else made with this account, on a machine that is not on the market."""
        listed = next(iter(self.market.asks.values()))
        env = {} if owner is None else {"ORCH_OWNER": owner}
        body = {
            "image": "vastai/base-image:@vastai-automatic-tag",
            "label": label,
            "disk": float(_PLANT_DISK_GB),
            "runtype": "ssh_direc ssh_proxy",
            "env": env,
        }
        order = read_order(body, listed.id, self.market.wire.args_max)
        row = listed.dump() | {"id": self.fleet.new_id(), "machine_id": 60_000 + len(self.fleet.instances)}
        instance = self._make(Ask.restore(row), order, "main")
        instance.end_at = instance.created_at + timedelta(days=30)
        self.fleet.add(instance, self.world.now())
        self.fleet.run_at_once(instance)
        return instance


def forbidden(what: str) -> Refusal:
    """The key has no permission for it; that this is a 403 with such a code is inferred."""
    return Refusal(403, "not_authorized", f"Not authorized to {what} with this key")
