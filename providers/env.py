"""The outside world as one object: clock, sleep, randomness, ids and outgoing dials.

Everything in `orch` that needs one of these takes an `Env`. Production uses `SystemEnv`, the sandbox a clock
that may run faster than real time, and simulation and tests a clock they turn by hand. Ruff's banned-api rule
forbids the direct calls everywhere else.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol, runtime_checkable

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


@runtime_checkable
class Env(Protocol):
    """What the code may know of, and do to, the world outside its arguments."""

    def now(self) -> datetime:
        """The time in UTC, timezone-aware."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean something."""

    async def sleep(self, seconds: float) -> None:
        """Wait *seconds* of this world's time."""

    def uniform(self, low: float, high: float) -> float:
        """A random number for jitter; never for secrets."""

    def new_id(self, length: int) -> str:
        """A fresh random id of *length* characters from a-z and 2-7 (5 bits each)."""

    def dial(self, host: str, port: int) -> tuple[str, int]:
        """Where a connection to *host*:*port* really goes; the sandbox maps its test network to loopback."""


class SystemEnv:
    """The real world."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    def uniform(self, low: float, high: float) -> float:
        return random.uniform(low, high)  # noqa: S311 - jitter, not a secret

    def new_id(self, length: int) -> str:
        return "".join(secrets.choice(_ALPHABET) for _ in range(length))

    def dial(self, host: str, port: int) -> tuple[str, int]:
        return host, port


class ScaledEnv(SystemEnv):
    """Real time run faster: the sandbox's clock, shared by every process that knows its two numbers.

    Args:
        epoch: Unix seconds at which sandbox time and real time agreed.
        speed: sandbox seconds per real second, > 0.
        dial: maps an address that an emulator handed out to the loopback port behind it.
    """

    def __init__(
        self,
        *,
        epoch: float,
        speed: float = 1.0,
        dial: Callable[[str, int], tuple[str, int]] | None = None,
    ) -> None:
        if speed <= 0:
            raise ValueError(f"speed must be greater than 0, not {speed}")
        self.epoch = epoch
        self.speed = speed
        self._dial = dial

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.epoch + (time.time() - self.epoch) * self.speed, UTC)

    def monotonic(self) -> float:
        return time.monotonic() * self.speed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self.speed)

    def dial(self, host: str, port: int) -> tuple[str, int]:
        return self._dial(host, port) if self._dial else (host, port)


class ManualEnv:
    """Time that moves only when somebody sleeps or turns it: for tests and simulation.

    `sleep` advances the clock by what was asked and lets other tasks run, so code full of waits runs at once.
    Ids and jitter come from *seed*, so a run can be repeated exactly.
    """

    def __init__(self, start: datetime = datetime(2026, 11, 22, 12, 0, tzinfo=UTC), *, seed: int | str = 0) -> None:
        self._now = start
        self._started = start
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._started).total_seconds()

    def advance(self, seconds: float) -> None:
        """Turn the clock forward by *seconds* at once."""
        self._now += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(max(0.0, seconds))
        await asyncio.sleep(0)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def new_id(self, length: int) -> str:
        return "".join(self._random.choice(_ALPHABET) for _ in range(length))

    def dial(self, host: str, port: int) -> tuple[str, int]:
        return host, port
