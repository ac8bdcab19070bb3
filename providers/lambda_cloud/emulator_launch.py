"""The emulated Lambda Cloud's launches: from a body to an instance, or to the refusal that it gets.

Of the order of the checks it is known that what is named (region, filesystem) is looked for before capacity; where
the SSH key comes in is not (`Options.keys_before_capacity`). One launch is one instance; the name is no key to it:
the same body again is another instance.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any, Protocol

from providers.lambda_cloud.emulator_fleet import Fleet, Instance
from providers.lambda_cloud.emulator_keys import KeyRing
from providers.lambda_cloud.emulator_market import InstanceType, Market
from providers.lambda_cloud.emulator_options import Options
from providers.lambda_cloud.emulator_refusals import NO_CAPACITY, Refusal, invalid, missing
from providers.lambda_cloud.emulator_rules import check_launch
from providers.sandbox.faults import Fault
from providers.sandbox.world import World

_HEX = "0123456789abcdef"
_DOOM_AT = 0.6  # share of the boot after which a doomed one fails


class TakeFault(Protocol):
    """`Emulator.fault`."""

    def __call__(self, kind: str, *, verb: str = "*", subject: str = "") -> Fault | None: ...


class LaunchDesk:
    """Makes instances of the market's types for the fleet's account."""

    def __init__(
        self, world: World, market: Market, fleet: Fleet, keys: KeyRing, options: Options, fault: TakeFault
    ) -> None:
        self.world = world
        self.market = market
        self.fleet = fleet
        self.keys = keys
        self.options = options
        self.fault = fault

    def move_prices(self) -> None:
        """Let waiting price changes happen: one takes every type that its subject is about."""
        for verb in ("offers", "price"):
            types = self.market.types()
            texts = {of.name: "\n".join(of.subject(region) for region in self.market.regions) for of in types}
            if (change := self.fault("price_changed", verb=verb, subject="\n".join(texts.values()))) is None:
                continue
            wanted = change.subject.casefold()
            for of in types:
                if wanted in texts[of.name].casefold():
                    self._move_price(of, change)

    def _move_price(self, of: InstanceType, change: Fault) -> None:
        # A fault that lasts for ever means one lasting rise, not one with every read.
        if change.times >= 0 or not self.market.changed(of.name):
            self.market.change_price(of.name, Decimal(str(change.args.get("factor", "1.5"))))

    def launch(self, body: dict[str, Any]) -> Instance:
        """Serve one launch.

        Raises:
            Refusal: any of the documented ones, or one that a fault brings about.
        """
        about = self._about(body)
        self._check_account(about)
        check_launch(body)
        if odd := self._take("unknown_code", about):
            code = str(odd.args.get("code", "instance-operations/launch/host-reserved"))
            raise Refusal(code, "The request was refused by host policy 7731.", status=int(odd.args.get("status", 400)))
        of = self._check_named(body)
        key = body["ssh_key_names"][0]
        if self.options.keys_before_capacity:
            self._public_key(key)
        self._check_quota(about)
        self._check_capacity(of, body["region_name"], about)
        public_key = self._public_key(key)
        if change := self._take("price_changed", about):
            self._move_price(of, change)
            of = self.market.find(of.name) or of
        instance = Instance(
            id=self.world.letters(32, _HEX),
            type=of,
            region=body["region_name"],
            created_at=self.world.now(),
            name=body.get("name"),
            hostname=body.get("hostname"),
            keys=[key],
            authorized=[public_key],
            tags=[{"key": tag["key"], "value": tag["value"]} for tag in body.get("tags", [])],
        )
        self._spoil(instance)
        self.fleet.add(instance)
        return instance

    def plant(self, name: str, tags: list[dict[str, str]]) -> Instance:
        """A running instance that somebody else rented, of the cheapest type with a GPU that is anywhere."""
        stocked = [of for of in self.market.types() if of.gpus and self.market.stocked(of.name)]
        of = min(stocked, key=lambda each: each.cents)
        region = next(iter(self.market.stocked(of.name)))
        planted = Instance(
            id=self.world.letters(32, _HEX),
            type=of,
            region=region,
            created_at=self.world.now(),
            name=name,
            keys=["somebody-else"],
            tags=tags,
        )
        self.fleet.add(planted)
        self.fleet.run_at_once(planted)
        return planted

    def _about(self, body: dict[str, Any]) -> str:
        """What faults may name a launch by, from a body that nobody has checked yet."""
        wanted, region = str(body.get("instance_type_name")), str(body.get("region_name"))
        of = self.market.find(wanted)
        return f"{of.subject(region) if of else f'{wanted} {region}'} {body.get('name')}"

    def _take(self, kind: str, about: str) -> Fault | None:
        return self.fault(kind, verb="launch", subject=about)

    def _check_account(self, about: str) -> None:
        if self._take("forbidden", about):
            raise Refusal("global/forbidden")
        if poor := self._take("no_money", about):
            # Lambda bills afterwards: an account that cannot pay is one without a valid means of payment.
            raise Refusal(str(poor.args.get("code", "global/account-inactive")))
        if self.options.standing == "bad-address":
            raise Refusal("global/invalid-address")

    def _check_named(self, body: dict[str, Any]) -> InstanceType:
        """The type, if everything that the body names is there."""
        status, region = self.options.missing_status, body["region_name"]
        if region not in self.market.regions:
            raise missing(f"Region {region}", status)
        of = self.market.find(body["instance_type_name"])
        if of is None:
            raise missing(f"Instance type {body['instance_type_name']}", status)
        mounts = [mount["file_system_id"] for mount in body.get("file_system_mounts", [])]
        for name in [*body.get("file_system_names", []), *mounts]:
            raise missing(f"Filesystem {name}", status)
        for ruleset in body.get("firewall_rulesets", []):
            raise missing(f"Firewall ruleset {ruleset['id']}", status)
        if "image" in body:
            self._check_image(body["image"], of)
        return of

    def _check_image(self, wanted: dict[str, Any], of: InstanceType) -> None:
        image = self.market.image(wanted, of.arch)
        if image is None:
            name = wanted["id"] if isinstance(wanted.get("id"), str) else wanted["family"]
            raise missing(f"Image {name}", self.options.missing_status)
        if image.arch != of.arch:
            # That an ARM host needs an ARM image is known, what is said otherwise is not.
            raise invalid(f"image {image.id} is for {image.arch}, {of.name} is {of.arch}")

    def _public_key(self, name: str) -> str:
        public_key = self.keys.public_key(name)
        if public_key is None:
            raise missing(f"SSH key {name}", self.options.missing_status)
        return public_key

    def _check_quota(self, about: str) -> None:
        limit = self.options.max_instances
        full = limit is not None and len(self.fleet.living()) >= limit
        if self._take("quota", about) or full:
            raise Refusal("global/quota-exceeded")

    def _check_capacity(self, of: InstanceType, region: str, about: str) -> None:
        if self._take("sold_out", about):
            raise Refusal(NO_CAPACITY)
        if gone := self._take("gone", about):
            # A type stays listed when its last region has gone, unless Lambda stops selling it.
            if gone.args.get("what") == "type":
                self.market.remove(of.name)
                raise missing(f"Instance type {of.name}", self.options.missing_status)
            self.market.remove(of.name, region)
        if self.market.free(of.name, region) == 0:
            raise Refusal(NO_CAPACITY)

    def _spoil(self, instance: Instance) -> None:
        """What will go wrong with a new instance."""
        about, start = instance.subject(), instance.created_at
        if doom := self.fault("fail_after_accept", subject=about):
            boot_s = self.fleet.boot_s(instance.type) * self.world.boot_scale
            at = start + timedelta(seconds=float(doom.args.get("seconds", boot_s * _DOOM_AT)))
            unhealthy = doom.args.get("how", "terminated") == "unhealthy"
            instance.due.append((at, "failed-unhealthy" if unhealthy else "failed"))
        if stuck := self.fault("boot_stuck", subject=about):
            instance.stuck = str(stuck.args.get("how", "booting"))
        if wrong := self.fault("wrong_gpu", subject=about):
            instance.device = (str(wrong.args.get("gpu", "NVIDIA T4")), int(wrong.args.get("memory_mib", 15360)))
        if lag := self.fault("list_lag", subject=about):
            instance.hidden_until = start + timedelta(seconds=float(lag.args.get("seconds", 30)))
            instance.hidden_get = bool(lag.args.get("get", False))
