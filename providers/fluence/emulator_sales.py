"""The emulated Fluence's shop: prices that move, and creates with all that can be wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Protocol

from starlette.responses import Response

import providers.fluence.emulator_rules as rules
from providers.fluence.emulator_fleet import Fleet, Instance, NoBalance
from providers.fluence.emulator_market import Catalogue, Plan
from providers.fluence.emulator_options import Options
from providers.fluence.emulator_routes import invalid, refused
from providers.sandbox.faults import Fault
from providers.sandbox.kit import json_reply


class TakeFault(Protocol):
    """`Emulator.fault`."""

    def __call__(self, kind: str, *, verb: str = "*", subject: str = "") -> Fault | None: ...


@dataclass(slots=True)
class Order:
    """One create: the plan if there is one, what was asked, and what faults may name it by."""

    plan: Plan | None
    asked: dict[str, Any]
    place: str | None
    subject: str


class Shop:
    """Sells plans of the catalogue to the fleet's account."""

    def __init__(self, catalogue: Catalogue, fleet: Fleet, options: Options, fault: TakeFault) -> None:
        self.catalogue = catalogue
        self.fleet = fleet
        self.options = options
        self.fault = fault

    def move_prices(self, kind: str) -> None:
        """Let waiting price changes happen: one without a subject takes the whole market, others one plan."""
        for verb in ("offers", "price"):
            if change := self.fault("price_changed", verb=verb):
                for each in ("vms", "baremetal", "containers"):
                    for plan in self.catalogue.on_sale(each):
                        self._move_price(plan, change)
            for plan in self.catalogue.on_sale(kind):
                if change := self.fault("price_changed", verb=verb, subject=plan.subject()):
                    self._move_price(plan, change)

    def _move_price(self, plan: Plan, change: Fault) -> None:
        # A fault that lasts for ever means one lasting rise, not one with every read.
        if change.times >= 0 or not self.catalogue.changed(plan.id):
            self.catalogue.change_price(plan.id, Decimal(str(change.args.get("factor", "1.5"))))

    def create(self, kind: str, body: Any, unreadable: list[rules.Error], *, empty: bool) -> Response | Instance:
        """Serve one create: the new instance, or the refusal.

        Args:
            unreadable: why the body is no JSON, if it is none.
            empty: the request came to the account that holds nothing.
        """
        order = self._order(kind, body)
        if self.fault("forbidden", verb="launch", subject=order.subject):
            return forbidden(self.options)
        errors = unreadable or (rules.container(body) if kind == "containers" else rules.machine(body))
        if errors:
            return invalid(errors)
        if odd := self.fault("unknown_code", verb="launch", subject=order.subject):
            answer = {"code": odd.args.get("code", "upstream_mismatch_7"), "error": "Deployment rejected"}
            return json_reply(answer, int(odd.args.get("status", 409)))
        plan = self._still_sold(order)
        if plan is None:
            return refused(self.options.unavailable_text)
        if misfit := _misfit(plan, order):
            return refused(misfit)
        if change := self.fault("price_changed", verb="launch", subject=order.subject):
            self._move_price(plan, change)
            plan = self.catalogue.get(kind, plan.id) or plan
        poor = self.fault("no_money", verb="launch", subject=order.subject) is not None
        try:
            if poor or empty:
                raise NoBalance
            return self._rent(plan, order)
        except NoBalance:
            return refused("Insufficient balance to deploy instance")

    def _order(self, kind: str, body: Any) -> Order:
        """What a body that nobody has checked yet seems to ask for."""
        asked = body if isinstance(body, dict) else {}
        plan_id, constraints = str(asked.get("plan_id")), asked.get("constraints")
        plan = self.catalogue.get(kind, plan_id)
        place = constraints.get("location") if kind == "containers" and isinstance(constraints, dict) else None
        subject = plan.subject(place) if plan else plan_id
        return Order(plan, asked, place, f"{subject} {asked.get('name')}")

    def _still_sold(self, order: Order) -> Plan | None:
        if order.plan is None or self.fault("sold_out", verb="launch", subject=order.subject):
            return None
        if self.fault("gone", verb="launch", subject=order.subject):
            self.catalogue.remove(order.plan.id)
            return None
        return order.plan

    def _rent(self, plan: Plan, order: Order) -> Instance:
        place = order.place or self.fleet.world.random.choice(plan.locations)
        instance = self.fleet.create(plan, order.asked["name"], place)
        instance.ssh_key = order.asked.get("ssh_key")
        if plan.kind == "containers":
            instance.container = kept_settings(order.asked["container_settings"])
        else:
            instance.os_image = order.asked["os_image"]
        self._decide_fate(instance)
        return instance

    def _decide_fate(self, instance: Instance) -> None:
        """What will go wrong with a new instance."""
        subject, now = instance.subject(), self.fleet.world.now()
        if failing := self.fault("fail_after_accept", subject=subject):
            instance.turns_to = "FAILED"
            if "seconds" in failing.args:
                instance.turns_at = now + timedelta(seconds=float(failing.args["seconds"]))
        if stuck := self.fault("boot_stuck", subject=subject):
            # Only ACTIVE can be ended, so that is where it gets stuck unless a test wants it worse.
            if str(stuck.args.get("state", "ACTIVE")).upper() == "INITIALIZED":
                instance.turns_at = None
            instance.stuck, instance.stuck_event = True, stuck.args.get("event")
        if wrong := self.fault("wrong_gpu", subject=subject):
            memory_mib = int(wrong.args.get("memory_mib", 15360))
            instance.device = (str(wrong.args.get("gpu", "NVIDIA T4")), memory_mib)
        if lag := self.fault("list_lag", subject=subject):
            instance.hidden_lists = int(lag.args.get("polls", 0))
            seconds = float(lag.args.get("seconds", 0 if "polls" in lag.args else 30))
            instance.hidden_until = now + timedelta(seconds=seconds)


def forbidden(options: Options) -> Response:
    """The key may not do that. Undocumented for GPU paths; the account API answers with a code."""
    text = "Not allowed to call this endpoint"
    if options.auth_shape == "detail":
        return json_reply({"detail": text}, 403)
    return json_reply({"code": "forbidden", "error": text}, 403)


def kept_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Valid container settings as they are kept and shown again; registry credentials are neither."""
    return {
        "image": settings["image"],
        "expose": [{"port": x["port"], "protocol": x.get("protocol", "tcp")} for x in settings["expose"]],
        "environment": [{"name": x["name"], "value": x["value"]} for x in settings.get("environment") or []],
        "startup_command": settings.get("startup_command"),
    }


def _misfit(plan: Plan, order: Order) -> str | None:
    """Why *plan* cannot be had that way: another place, or an OS image that it does not offer."""
    if order.place is not None and order.place not in plan.locations:
        return f"Location {order.place} is not available for the selected plan"
    if plan.kind == "containers" or order.asked["os_image"] in plan.os_options:
        return None
    return (
        f"Provided OS image {order.asked['os_image']} is not supported for the selected offer. "
        f"Available OS images: {', '.join(plan.os_options)}"
    )
