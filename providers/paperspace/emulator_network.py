"""The emulated Paperspace's private networks and static addresses. Both outlive the machines that use them.

A claimed address bills until it is released, under its own name in the ledger.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from providers.paperspace.emulator_market import Market
from providers.paperspace.emulator_refusals import Refusal, missing
from providers.sandbox.world import World

PROVIDER = "paperspace"


@dataclass(slots=True)
class PrivateNetwork:
    """One network of 254 addresses in one region."""

    id: str
    name: str
    region: str
    network: str
    created_at: datetime


@dataclass(slots=True)
class PublicIp:
    """One claimed address, and the machine that has it."""

    ip: str
    region: str
    created_at: datetime
    machine: str | None = None


class Network:
    """What lies around machines."""

    def __init__(self, world: World, market: Market) -> None:
        self.world = world
        self.market = market
        self.networks: dict[str, PrivateNetwork] = {}
        self.ips: dict[str, PublicIp] = {}

    def add_network(self, name: str, region: str) -> PrivateNetwork:
        """A new private network."""
        made = PrivateNetwork(
            id="n" + self.world.letters(8),
            name=name,
            region=region,
            network=f"10.{64 + len(self.networks) // 256 % 128}.{len(self.networks) % 256}.0",
            created_at=self.world.now(),
        )
        self.networks[made.id] = made
        return made

    def network(self, network_id: str) -> PrivateNetwork:
        """One private network.

        Raises:
            Refusal: there is none of that id.
        """
        if network_id not in self.networks:
            raise missing("Private network")
        return self.networks[network_id]

    def claim(self, region: str, machine: str | None = None) -> PublicIp:
        """A new static address; it bills from now on."""
        made = PublicIp(self.world.address(), region, self.world.now(), machine)
        self.ips[made.ip] = made
        rate = self.market.static_ip_usd_per_hour
        self.world.ledger.open(
            PROVIDER, made.ip, at=self.world.now(), usd_per_hour=rate, name=made.ip, what="static ip"
        )
        return made

    def release(self, ip: str) -> PublicIp:
        """Give an address back.

        Raises:
            Refusal: there is none, or a machine has it.
        """
        found = self.ips.get(ip)
        if found is None:
            raise missing("Public IP")
        if found.machine is not None:
            raise Refusal("CONFLICT", "The public IP is assigned to a machine.")
        self.world.ledger.close(PROVIDER, ip, at=self.world.now())
        return self.ips.pop(ip)

    def unassign(self, machine: str) -> None:
        """A machine is gone: its addresses stay claimed."""
        for found in self.ips.values():
            if found.machine == machine:
                found.machine = None

    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        return {
            "networks": [asdict(each) | {"created_at": each.created_at.isoformat()} for each in self.networks.values()],
            "ips": [asdict(each) | {"created_at": each.created_at.isoformat()} for each in self.ips.values()],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave."""
        networks = [PrivateNetwork(**_read(row)) for row in state["networks"]]
        self.networks = {each.id: each for each in networks}
        self.ips = {each.ip: each for each in (PublicIp(**_read(row)) for row in state["ips"])}


def _read(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"created_at": datetime.fromisoformat(row["created_at"])}
