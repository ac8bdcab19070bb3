"""What all emulators of one sandbox share."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from providers.env import Env
from providers.sandbox.faults import Faults
from providers.sandbox.ledger import Ledger

if TYPE_CHECKING:
    from providers.sandbox.kit import Emulator


class Machines(Protocol):
    """The SSH servers behind running instances."""

    def start(
        self,
        key: str,
        *,
        host: str,
        port: int,
        user: str,
        authorized_keys: list[str],
        gpu: str,
        memory_mib: int,
        count: int,
        env: dict[str, str] | None = None,
    ) -> None:
        """Make *host*:*port* (a sandbox address) answer SSH for *user*, with *count* GPUs of that name.

        *gpu* is the name as `nvidia-smi` prints it, for example ``NVIDIA L40``. Idempotent per *key*.
        """

    def stop(self, key: str) -> None:
        """Take that machine away; nothing happens if it is not there."""


class NoMachines:
    """For tests of the wire alone: remembers what would run, and answers no SSH."""

    def __init__(self) -> None:
        self.running: dict[str, dict[str, Any]] = {}

    def start(self, key: str, **machine: Any) -> None:
        self.running[key] = machine

    def stop(self, key: str) -> None:
        self.running.pop(key, None)


@dataclass(slots=True)
class Exchange:
    """One request and its answer, for contract tests."""

    provider: str
    verb: str
    method: str
    path: str
    query: str
    request_headers: dict[str, str]
    request_body: bytes
    status: int
    headers: dict[str, str]
    body: bytes
    faulty: bool


class World:
    """Clock, randomness, ledger, faults, machines, market, and the emulators living in it.

    Args:
        env: the clock that all of them share.
        market: provider name to that provider's part of the market file (prices, stock; see `market.toml`).
        seed: makes ids repeatable.
        boot_scale: emulators multiply their provider's usual boot times by it.
        folder: where an emulator may keep files that its clients read; None where there is no such place.
    """

    def __init__(
        self,
        env: Env,
        *,
        market: dict[str, Any] | None = None,
        machines: Machines | None = None,
        seed: int = 0,
        boot_scale: float = 1.0,
        folder: Path | None = None,
    ) -> None:
        self.env = env
        self.folder = folder
        self.market = market or {}
        self.machines: Machines = machines or NoMachines()
        self.random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self.boot_scale = boot_scale
        self.ledger = Ledger()
        self.faults = Faults()
        self.emulators: dict[str, Emulator] = {}
        self.recorder: Callable[[Exchange], None] | None = None
        self.changed: Callable[[], None] = lambda: None
        self._next_address = 0

    def now(self) -> datetime:
        """The sandbox's time, UTC."""
        return self.env.now()

    def uuid(self) -> str:
        """A repeatable UUID."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def letters(self, length: int, alphabet: str = "abcdefghijklmnopqrstuvwxyz0123456789") -> str:
        """A repeatable id of *length* characters."""
        return "".join(self.random.choice(alphabet) for _ in range(length))

    def address(self) -> str:
        """A fresh IPv4 address out of 198.18.0.0/15, the range set aside for tests of networks (RFC 2544)."""
        self._next_address += 1
        number = self._next_address % 0x1FFFE + 1
        return f"198.{18 + (number >> 16)}.{(number >> 8) & 255}.{number & 255}"

    def dump(self) -> dict[str, Any]:
        """The state of everything, for a file."""
        return {
            "ledger": self.ledger.dump(),
            "next_address": self._next_address,
            "emulators": {name: emulator.dump() for name, emulator in self.emulators.items()},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave. Emulators that the state does not know start empty."""
        self.ledger.load(state["ledger"])
        self._next_address = state["next_address"]
        for name, part in state["emulators"].items():
            if name in self.emulators:
                self.emulators[name].load(part)
        # Ids must not repeat those of the saved run.
        self.random.seed(f"{self._next_address}:{len(self.ledger.lines)}:{self.now().timestamp()}")
