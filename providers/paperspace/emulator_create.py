"""The emulated Paperspace's creates: from a body to a machine, or to the refusal that it gets.

There is no idempotency: the same body again is another machine, and names need not be unique. Whether a type is
approved, the team is full or in good standing is refused with a message; the codes of these are not documented
(`Options`), nor is the order of the checks.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any, Protocol

from providers.paperspace.emulator_fleet import Fleet
from providers.paperspace.emulator_machine import Event, Machine
from providers.paperspace.emulator_market import Market
from providers.paperspace.emulator_network import Network
from providers.paperspace.emulator_options import Options
from providers.paperspace.emulator_refusals import NO_CAPACITY, Refusal, missing
from providers.paperspace.emulator_rules import Wanted, check_create
from providers.paperspace.emulator_scripts import Scripts
from providers.sandbox.faults import Fault
from providers.sandbox.world import World

_DOOM_AT = 0.6  # share of the provisioning after which a doomed machine fails


class TakeFault(Protocol):
    """`Emulator.fault`."""

    def __call__(self, kind: str, *, verb: str = "*", subject: str = "") -> Fault | None: ...


class CreateDesk:
    """Makes machines of the market's types for the one team."""

    def __init__(
        self,
        world: World,
        market: Market,
        fleet: Fleet,
        scripts: Scripts,
        network: Network,
        options: Options,
        fault: TakeFault,
    ) -> None:
        self.world = world
        self.market = market
        self.fleet = fleet
        self.scripts = scripts
        self.network = network
        self.options = options
        self.fault = fault

    def available(self, label: str, region: str) -> bool:
        """The answer to whether a type can be had; no promise."""
        about = self.market.types[label].subject(region)
        if self.fault("gone", verb="offers", subject=about):
            self.market.remove(label, region)
        return self.market.free(label, region) > 0

    def create(self, body: dict[str, Any]) -> tuple[Machine, Event]:
        """Serve one create.

        Raises:
            Refusal: any of the known ones, or one that a fault brings about.
        """
        about = self._about(body)
        if self._take("forbidden", about):
            raise Refusal("FORBIDDEN", "You do not have permission to create machines in this team.")
        self._check_standing(about)
        wanted = check_create(body, self.market)
        if odd := self._take("unknown_code", about):
            code, status = str(odd.args.get("code", "HOST_POLICY_7731")), int(odd.args.get("status", 422))
            raise Refusal(code, "The request was refused by host policy 7731.", status=status)
        self._check_named(wanted)
        self._check_team(wanted, about)
        late = self._check_capacity(wanted, about)
        if change := self._take("price_changed", about):
            self._move_price(wanted.machine_type, change)
        machine = self._machine(wanted)
        doom = self._spoil(machine)
        return machine, self.fleet.add(machine, doom=doom or late)

    def start(self, machine: Machine) -> Event:
        """Start what is off, if there is a place for it.

        Raises:
            Refusal: there is none.
        """
        if self.market.free(machine.type, machine.region) == 0:
            raise Refusal(self.options.capacity_code, NO_CAPACITY)
        return self.fleet.start(machine)

    def plant(self, name: str, *, scripted: bool) -> Machine:
        """A running machine that somebody else made, of the cheapest type with a GPU that is anywhere.

        Args:
            scripted: with a startup script of the same name.
        """
        stocked = [of for of in self.market.types.values() if of.gpus and self.market.sold_in(of.label)]
        of = min(stocked, key=lambda each: each.usd_per_hour)
        script = self.scripts.add(name, "#!/bin/sh\ntrue\n").id if scripted else None
        region = self.market.sold_in(of.label)[0]
        template = self.market.templates[0].id
        size = self.market.disk_sizes_gb[0]
        planted = self._machine(Wanted(name, of.label, template, size, region, None, "dynamic", True, script, None))
        self.fleet.add(planted)
        self.fleet.run_at_once(planted)
        return planted

    def _about(self, body: dict[str, Any]) -> str:
        """What faults may name a create by, from a body that nobody has checked yet."""
        wanted = str(body.get("machineType"))
        region = self.market.region(str(body.get("region"))) or str(body.get("region"))
        of = self.market.types.get(wanted)
        return f"{of.subject(region) if of else f'{wanted} {region}'} {body.get('name')}"

    def _take(self, kind: str, about: str) -> Fault | None:
        return self.fault(kind, verb="launch", subject=about)

    def _check_standing(self, about: str) -> None:
        if self._take("no_money", about) or self.options.standing == "no-payment-method":
            raise Refusal(
                self.options.standing_code,
                "Your team's account is not in good standing. Please add a valid payment method.",
            )
        if self.options.standing == "locked":
            raise Refusal(self.options.standing_code, "Your account has been locked. Please contact support.")

    def _check_named(self, wanted: Wanted) -> None:
        template = self.market.template(wanted.template)
        if template is None:
            raise missing("Template")
        if wanted.machine_type in template.without:
            raise Refusal("BAD_REQUEST", f"Template {template.id} cannot be used on {wanted.machine_type}.")
        if wanted.network is not None and self.network.network(wanted.network).region != wanted.region:
            raise Refusal("BAD_REQUEST", "The private network is in another region.")
        if wanted.script is not None:
            self.scripts.get(wanted.script)

    def _check_team(self, wanted: Wanted, about: str) -> None:
        of, options = self.market.types[wanted.machine_type], self.options
        if of.approval and options.approved is not None and of.label not in options.approved:
            raise Refusal(
                options.approval_code, f"Your team is not approved for machine type {of.label}. Please request access."
            )
        full = len(self.fleet.living()) >= options.max_machines
        if self._take("quota", about) or full:
            raise Refusal(
                options.limit_code,
                f"Your team has reached its limit of {options.max_machines} machines. Request a quota increase.",
            )

    def _check_capacity(self, wanted: Wanted, about: str) -> tuple[float, str] | None:
        """Refuses what cannot be had; returns how it fails later, if it is accepted all the same."""
        label, region = wanted.machine_type, wanted.region
        if sold := self._take("sold_out", about):
            if sold.args.get("how") == "off":
                return self._doom_s(sold), "off"
            raise Refusal(self.options.capacity_code, NO_CAPACITY)
        if self._take("gone", about):
            self.market.remove(label, region)
        if self.market.free(label, region) == 0:
            raise Refusal(self.options.capacity_code, NO_CAPACITY)
        return None

    def _move_price(self, label: str, change: Fault) -> None:
        # A fault that lasts for ever means one lasting rise, not one with every machine.
        if change.times >= 0 or not self.market.changed(label):
            self.market.change_price(label, Decimal(str(change.args.get("factor", "1.5"))))

    def _machine(self, wanted: Wanted) -> Machine:
        now = self.world.now()
        return Machine(
            id="ps" + self.world.letters(10),
            name=wanted.name,
            type=wanted.machine_type,
            region=wanted.region,
            template=wanted.template,
            disk_gb=wanted.disk_gb,
            usd_per_hour=str(self.market.usd_per_hour(wanted.machine_type)),
            created_at=now,
            modified_at=now,
            ip_type=wanted.ip_type,
            network=wanted.network,
            script=wanted.script,
            autostop_h=wanted.autostop_h,
            start_on_create=wanted.start,
        )

    def _spoil(self, machine: Machine) -> tuple[float, str] | None:
        """What will go wrong with a new machine; returns when and how its boot fails, if it does."""
        about = self.fleet.subject(machine)
        if stuck := self.fault("boot_stuck", subject=about):
            machine.stuck = str(stuck.args.get("how", "provisioning"))
        if wrong := self.fault("wrong_gpu", subject=about):
            machine.device = (str(wrong.args.get("gpu", "Quadro M4000")), int(wrong.args.get("memory_mib", 8127)))
        if lag := self.fault("list_lag", subject=about):
            machine.hidden_until = machine.created_at + timedelta(seconds=float(lag.args.get("seconds", 30)))
            machine.hidden_get = bool(lag.args.get("get", False))
        doom = self.fault("fail_after_accept", subject=about)
        return (self._doom_s(doom), str(doom.args.get("how", "off"))) if doom else None

    def _doom_s(self, fault: Fault) -> float:
        return float(fault.args.get("seconds", self.options.provision_s * self.world.boot_scale * _DOOM_AT))
