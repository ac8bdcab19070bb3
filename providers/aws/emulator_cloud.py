"""What the handlers of all actions share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from providers.aws.emulator_fleet import Fleet
from providers.aws.emulator_launch import Launcher, TakeFault
from providers.aws.emulator_market import Market
from providers.aws.emulator_network import Network
from providers.aws.emulator_options import Options
from providers.aws.emulator_wire import Call
from providers.sandbox.world import World


@dataclass(slots=True)
class Cloud:
    """The parts of one emulated AWS."""

    world: World
    options: Options
    market: Market
    network: Network
    fleet: Fleet
    launcher: Launcher
    fault: TakeFault


Handler = Callable[[Cloud, Call], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Action:
    """One operation: what serves it, and the request's top-level names, blank-separated (others are refused)."""

    handler: Handler
    names: str = ""
