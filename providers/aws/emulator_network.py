"""What lies around instances: default VPC and subnets, security groups, key pairs, launch templates."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any

from providers.aws.emulator_market import Market
from providers.aws.emulator_options import Options
from providers.sandbox.world import World

_HEX = "0123456789abcdef"


@dataclass(slots=True)
class Group:
    """A security group; `rules` are its ingress rules: protocol, from, to, CIDR or the other group's id."""

    id: str
    name: str
    description: str
    vpc: str
    tags: dict[str, str] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class KeyPair:
    """An imported public key."""

    id: str
    name: str
    public_key: str
    created: str
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Subnet:
    """A default subnet: one in every zone, which gives its instances public addresses."""

    id: str
    zone: str
    cidr: str


@dataclass(slots=True)
class Template:
    """A launch template's first and only version: what RunInstances would be given."""

    id: str
    name: str
    token: str
    data: dict[str, Any]


@dataclass(slots=True)
class Site:
    """One account's network in one region."""

    vpc: str
    subnets: dict[str, Subnet]
    groups: dict[str, Group]
    keys: dict[str, KeyPair] = field(default_factory=dict)
    templates: dict[str, Template] = field(default_factory=dict)
    hosts: int = 3

    @property
    def default_group(self) -> Group:
        """The group of instances that name none."""
        return next(group for group in self.groups.values() if group.name == "default")


class Network:
    """All accounts' networks, made when they are first looked at."""

    def __init__(self, world: World, options: Options, market: Market) -> None:
        self.world = world
        self.options = options
        self.market = market
        self._sites: dict[tuple[str, str], Site] = {}

    def id(self, prefix: str) -> str:
        """A fresh id such as ``sg-0123456789abcdef0``."""
        return f"{prefix}-0{self.world.letters(16, _HEX)}"

    def site(self, account: str, region: str) -> Site:
        """The network of an account in an enabled region."""
        key = (account, region)
        if key not in self._sites:
            self._sites[key] = self._new(account, region)
        return self._sites[key]

    def _new(self, account: str, region: str) -> Site:
        # Ids follow from account and region, so that looking does not change what comes later.
        def fixed(prefix: str, what: str) -> str:
            return f"{prefix}-0{hashlib.sha256(f'{account}/{region}/{what}'.encode()).hexdigest()[:16]}"

        vpc = fixed("vpc", "default")
        subnets = {
            fixed("subnet", zone): Subnet(fixed("subnet", zone), zone, f"172.31.{16 * index}.0/20")
            for index, zone in enumerate(self.market.regions[region].zones)
        }
        group = Group(fixed("sg", "default"), "default", "default VPC security group", vpc)
        group.rules.append({"protocol": "-1", "from": None, "to": None, "cidr": None, "group": group.id})
        return Site(vpc, subnets if self.options.default_vpc else {}, {group.id: group})

    def opens_ssh(self, account: str, region: str, groups: list[str]) -> bool:
        """Whether one of the groups lets anybody on the internet in at port 22."""
        site = self.site(account, region)
        return any(
            rule["cidr"] == "0.0.0.0/0" and (rule["protocol"] == "-1" or _covers(rule, 22))
            for group in groups
            if group in site.groups
            for rule in site.groups[group].rules
        )

    def dump(self) -> list[dict[str, Any]]:
        """The state, ready for JSON."""
        return [{"account": a, "region": r, **asdict(site)} for (a, r), site in self._sites.items()]

    def load(self, rows: list[dict[str, Any]]) -> None:
        """Take over what `dump` gave."""
        self._sites = {}
        for row in rows:
            site = Site(
                vpc=row["vpc"],
                subnets={key: Subnet(**part) for key, part in row["subnets"].items()},
                groups={key: Group(**part) for key, part in row["groups"].items()},
                keys={key: KeyPair(**part) for key, part in row["keys"].items()},
                templates={key: Template(**part) for key, part in row["templates"].items()},
                hosts=row["hosts"],
            )
            self._sites[row["account"], row["region"]] = site


def _covers(rule: dict[str, Any], port: int) -> bool:
    if rule["protocol"] not in ("tcp", "6"):
        return False
    return rule["from"] is not None and rule["from"] <= port <= rule["to"]
