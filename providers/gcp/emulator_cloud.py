"""The parts of the emulated Google Cloud, as its handlers see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from providers.gcp.emulator_auth import Accounts
from providers.gcp.emulator_fleet import Fleet
from providers.gcp.emulator_market import Market
from providers.gcp.emulator_network import Network
from providers.gcp.emulator_operations import Operations
from providers.gcp.emulator_options import Options
from providers.gcp.emulator_quota import Quotas
from providers.gcp.emulator_rules import Rules
from providers.gcp.emulator_wire import Call, forbidden
from providers.sandbox.faults import Fault
from providers.sandbox.world import World


class TakeFault(Protocol):
    """`Emulator.fault`."""

    def __call__(self, kind: str, *, verb: str = "*", subject: str = "") -> Fault | None: ...


@dataclass(slots=True)
class Cloud:
    """Everything."""

    world: World
    options: Options
    market: Market
    network: Network
    operations: Operations
    fleet: Fleet
    quotas: Quotas
    rules: Rules
    accounts: Accounts
    fault: TakeFault

    def allow(self, call: Call, permission: str, path: str) -> None:
        """Raise if the caller lacks *permission* on *path*.

        Raises:
            Refusal: it does.
        """
        if permission in self.options.denied:
            raise forbidden(permission, path)
