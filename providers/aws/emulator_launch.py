"""RunInstances: the same token twice, faults, quotas and stock; and then a new instance.

The scope of a client token follows the EC2 guide on idempotency: with a zone or subnet given (also inside a network
interface, which is inferred) it is that zone, otherwise the region.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Protocol

import providers.aws.emulator_order as orders
import providers.aws.emulator_userdata as userdata
from providers.aws.emulator_fleet import Fleet
from providers.aws.emulator_instance import Disk, Instance
from providers.aws.emulator_market import Market, Place
from providers.aws.emulator_network import Network
from providers.aws.emulator_order import Order
from providers.aws.emulator_wire import Call, Refusal
from providers.sandbox.faults import Fault


class TakeFault(Protocol):
    """`Emulator.fault`."""

    def __call__(self, kind: str, *, verb: str = "*", subject: str = "") -> Fault | None: ...


class Launcher:
    """Turns orders into instances."""

    def __init__(self, market: Market, network: Network, fleet: Fleet, fault: TakeFault) -> None:
        self.market = market
        self.network = network
        self.fleet = fleet
        self.fault = fault

    def run(self, call: Call) -> list[Instance]:
        """Serve one RunInstances: the new instances, or those that the same token made before.

        Raises:
            Refusal: and nothing was made.
        """
        order = orders.read(call, self.market, self.network.site(call.account, call.region))
        if self.fault("forbidden", verb="launch", subject=self._subject(call, order)):
            raise forbidden("ec2:RunInstances")
        if call.flag("DryRun"):
            raise Refusal("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
        scope = (call.account, call.region, order.zone or "", order.token)
        if order.token and scope in self.fleet.tokens:
            asked, reservation = self.fleet.tokens[scope]
            if asked != order.fingerprint:
                raise mismatch()
            return self.fleet.of_reservation(reservation)
        made = self.make(call, order)
        if order.token:
            self.fleet.tokens[scope] = (order.fingerprint, made[0].reservation)
        return made

    def _subject(self, call: Call, order: Order) -> str:
        """What faults may name before it is decided where the machine goes: every zone that it could go to."""
        zones = [order.zone] if order.zone else self.market.zones_of(order.kind, call.region)
        return " ".join(Place(order.kind, call.region, zone).subject(spot=order.spot) for zone in zones)

    def make(self, call: Call, order: Order) -> list[Instance]:
        """New instances for a checked order, in one zone.

        Raises:
            Refusal: there is no capacity, the quota or a price forbids it, or a fault does.
        """
        place = self._place(call, order)
        subject = place.subject(spot=order.spot) + f" {order.tags.get('Name', '')}"
        self._refuse(order, place, subject)
        if change := self.fault("price_changed", verb="launch", subject=subject):
            self.move_price(place, order.spot, change)
        price = self._price(order, place)
        count = self._count(call, order, place)
        reservation = self.network.id("r")
        made = [self._instance(call, order, place, price, reservation, index) for index in range(count)]
        for instance in made:
            self.fleet.add(instance)
            self._decide_fate(instance)
        return made

    # Where, for how much, how many.

    def _place(self, call: Call, order: Order) -> Place:
        """The zone: the one that was asked for, or the first one with free machines."""
        zones = self.market.zones_of(order.kind, call.region)
        if order.subnet is None and not self.network.site(call.account, call.region).subnets:
            raise Refusal(
                "VPCIdNotSpecified", "No default VPC for this user. GroupName is only supported for default VPC."
            )
        if order.zone is not None:
            place = Place(order.kind, call.region, order.zone)
            if order.zone not in zones:
                raise _unsupported(place, zones)
            if self.fault("gone", verb="launch", subject=place.subject(spot=order.spot)):
                self.market.remove(place)
                raise _unsupported(place, [zone for zone in zones if zone != order.zone])
            return place
        places = [Place(order.kind, call.region, zone) for zone in zones]
        for place in places:
            if self.fault("gone", verb="launch", subject=place.subject(spot=order.spot)):
                self.market.remove(place)
        places = [place for place in places if (order.kind.name, place.zone) not in self.market.gone]
        if not places:
            none = "The requested configuration is currently not supported."
            raise Refusal("Unsupported", none)
        return max(places, key=lambda place: self.fleet.free(place, spot=order.spot) >= order.least)

    def _refuse(self, order: Order, place: Place, subject: str) -> None:
        if odd := self.fault("unknown_code", verb="launch", subject=subject):
            code = str(odd.args.get("code", "CapacityLedgerMismatch"))
            raise Refusal(code, "The placement ledger does not balance.", int(odd.args.get("status", 400)))
        if self.fault("no_money", verb="launch", subject=subject):
            raise Refusal("Blocked", "Your account is currently blocked. Contact your billing department.")
        if self.fault("quota", verb="launch", subject=subject):
            raise _over_quota(order, limit=0)
        if self.fault("sold_out", verb="launch", subject=subject):
            raise self._no_capacity(order, place)

    def _price(self, order: Order, place: Place) -> Decimal:
        price = self.market.spot(place) if order.spot else self.market.on_demand(order.kind, place.region)
        if price is None:
            raise self._no_capacity(order, place)
        if order.spot and order.max_price is not None and order.max_price < price:
            low = (
                f"Your Spot request price of {order.max_price} is lower than the minimum required "
                f"Spot request fulfillment price of {price}."
            )
            raise Refusal("SpotMaxPriceTooLow", low)
        return price

    def _count(self, call: Call, order: Order, place: Place) -> int:
        """As many as fit, at least the order's `least`."""
        code = order.kind.quota(spot=order.spot)
        limit = int(self.market.quotas[code]["vcpus"])
        by_quota = (limit - self.fleet.vcpus(call.account, call.region, code)) // order.kind.vcpus
        if by_quota < order.least:
            raise _over_quota(order, limit)
        free = self.fleet.free(place, spot=order.spot)
        if free < order.least:
            raise self._no_capacity(order, place)
        return min(order.most, by_quota, free)

    def _no_capacity(self, order: Order, place: Place) -> Refusal:
        # HTTP 500, a server error: clients that repeat every 500 repeat this one too.
        if order.spot:
            text = "There is no Spot capacity available that matches your request."
            return Refusal("InsufficientInstanceCapacity", text, 500)
        others = [
            zone
            for zone in self.market.zones_of(place.kind, place.region)
            if zone != place.zone and self.fleet.free(Place(place.kind, place.region, zone), spot=False)
        ]
        hint = f" or choosing {', '.join(others)}" if others else ""
        text = (
            f"We currently do not have sufficient {place.kind.name} capacity in the Availability Zone you requested "
            f"({place.zone}). Our system will be working on provisioning additional capacity. You can currently get "
            f"{place.kind.name} capacity by not specifying an Availability Zone in your request{hint}."
        )
        return Refusal("InsufficientInstanceCapacity", text, 500)

    def move_price(self, place: Place, spot: bool, change: Fault) -> None:
        """Let one price move as a fault wants."""
        factor = Decimal(str(change.args.get("factor", "1.5")))
        if spot:
            self.market.change_spot(place, factor, self.fleet.world.now())
        else:
            self.market.change_on_demand(place.kind, place.region, factor)

    # The instance.

    def _instance(
        self, call: Call, order: Order, place: Place, price: Decimal, reservation: str, index: int
    ) -> Instance:
        site, now, new = self.network.site(call.account, call.region), self.fleet.world.now(), self.network.id
        site.hosts += 1
        subnet = order.subnet or next(key for key, one in site.subnets.items() if one.zone == place.zone)
        disks = [
            Disk(new("vol"), disk.device, disk.size_gb, disk.kind, disk.with_instance, now, dict(order.disk_tags))
            for disk in order.disks
        ]
        keys = ([order.public_key] if order.public_key else []) + userdata.authorized_keys(order.user_data)
        return Instance(
            id=new("i"),
            account=call.account,
            region=call.region,
            zone=place.zone,
            kind=order.kind.name,
            gpu=order.kind.gpu,
            spot=order.spot,
            usd=price,
            reservation=reservation,
            index=index,
            token=order.token,
            launched_at=now,
            image=order.image.id(call.region),
            root=order.image.root,
            user=order.image.user,
            subnet=subnet,
            vpc=site.vpc,
            groups=list(order.groups),
            interface=new("eni"),
            private_ip=f"172.31.{site.hosts >> 8 & 255}.{site.hosts & 255}",
            public=order.public,
            key_name=order.key_name,
            keys=list(dict.fromkeys(keys)),
            tags=dict(order.tags),
            disks=disks,
            on_shutdown=order.on_shutdown,
            spot_request=f"sir-{self.fleet.world.letters(8)}" if order.spot else "",
            spot_status="fulfilled" if order.spot else "",
            guest_off_s=userdata.switches_off_after(order.user_data, self.fleet.world.now()),
            network_tags=dict(order.network_tags),
        )

    def _decide_fate(self, instance: Instance) -> None:
        """What will go wrong with a new instance."""
        subject, now = instance.subject(), self.fleet.world.now()
        if failing := self.fault("fail_after_accept", subject=subject):
            instance.turns_to = "terminated"
            instance.reason = str(failing.args.get("code", "Server.InsufficientInstanceCapacity"))
            if "seconds" in failing.args:
                instance.turns_at = now + timedelta(seconds=float(failing.args["seconds"]))
        if stuck := self.fault("boot_stuck", subject=subject):
            if str(stuck.args.get("state", "pending")) == "pending":
                instance.turns_at = None
            else:
                instance.stuck, instance.public = True, False
        if wrong := self.fault("wrong_gpu", subject=subject):
            instance.device = (str(wrong.args.get("gpu", "Tesla T4")), int(wrong.args.get("memory_mib", 15360)))
        if lag := self.fault("list_lag", subject=subject):
            instance.hidden_until = now + timedelta(seconds=float(lag.args.get("seconds", 30)))


def mismatch() -> Refusal:
    """The token was used before with other parameters."""
    text = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
    return Refusal("IdempotentParameterMismatch", text)


def forbidden(what: str) -> Refusal:
    """The key may not do that."""
    text = f"You are not authorized to perform this operation. The user sandbox may not perform: {what}"
    return Refusal("UnauthorizedOperation", text, 403)


def _unsupported(place: Place, zones: list[str]) -> Refusal:
    hint = f" or choosing {', '.join(zones)}" if zones else ""
    text = (
        f"Your requested instance type ({place.kind.name}) is not supported in your requested Availability Zone "
        f"({place.zone}). Please retry your request by not specifying an Availability Zone{hint}."
    )
    return Refusal("Unsupported", text)


def _over_quota(order: Order, limit: int) -> Refusal:
    if order.spot:
        return Refusal("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
    text = (
        f"You have requested more vCPU capacity than your current vCPU limit of {limit} allows for the instance bucket "
        "that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to "
        "request an adjustment to this limit."
    )
    return Refusal("VcpuLimitExceeded", text)
