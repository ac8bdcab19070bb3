"""What every provider would bill: the ground truth for leak, double-launch and cost tests.

The ledger is written by emulators from their own documented billing rules. It knows nothing of `orch`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any


@dataclass(slots=True)
class Line:
    """One thing that bills: the compute of an instance, its disk, an address.

    Attributes:
        rates: (from when in Unix seconds, USD per hour); the last one holds until `closed_at`.
        increment_s, minimum_s, clock: the provider's rounding, as in its price page.
        one_off: (when, USD, why): single charges and refunds (negative).
    """

    provider: str
    account: str
    instance: str
    name: str
    what: str
    opened_at: float
    rates: list[tuple[float, str]]
    increment_s: int = 1
    minimum_s: int = 0
    clock: bool = False
    closed_at: float | None = None
    voided: bool = False
    one_off: list[tuple[float, str, str]] = field(default_factory=list)

    def usd(self, now: float) -> Decimal:
        """USD billed until *now* (Unix seconds), rounded as the provider rounds, not to cents."""
        extra = sum((Decimal(usd) for _, usd, _ in self.one_off), Decimal(0))
        if self.voided:
            return extra
        end = now if self.closed_at is None else self.closed_at
        if len(self.rates) == 1:
            return Decimal(self.rates[0][1]) * self._billed_s(self.opened_at, end) / 3600 + extra
        total = Decimal(0)
        for (start, usd), (stop, _) in zip(self.rates, [*self.rates[1:], (end, "0")], strict=True):
            total += Decimal(usd) * Decimal(str(max(0.0, min(stop, end) - start))) / 3600
        return total + extra

    def _billed_s(self, start: float, end: float) -> Decimal:
        step = self.increment_s
        if self.clock:
            steps = -(-int(end) // step) - int(start) // step
            return Decimal(max(self.minimum_s, max(1, steps) * step))
        # To the millisecond: differences of Unix times are not exact. Decimal's // cuts towards zero: no ceiling.
        used = Decimal(str(round(max(0.0, end - start), 3)))
        return Decimal(max(self.minimum_s, math.ceil(used / step) * step))


class Ledger:
    """All lines of all providers. Times are `datetime` in, Unix seconds inside."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def open(
        self,
        provider: str,
        instance: str,
        *,
        at: datetime,
        usd_per_hour: Decimal,
        name: str = "",
        account: str = "",
        what: str = "compute",
        increment_s: int = 1,
        minimum_s: int = 0,
        clock: bool = False,
    ) -> None:
        """Start billing *what* of *instance*."""
        stamp = at.timestamp()
        rates = [(stamp, str(usd_per_hour))]
        self.lines.append(Line(provider, account, instance, name, what, stamp, rates, increment_s, minimum_s, clock))

    def rate(self, provider: str, instance: str, usd_per_hour: Decimal, *, at: datetime, what: str = "compute") -> None:
        """Change the rate of an open line from *at* on (a stopped machine's cheaper disk, a new spot price)."""
        for line in self._open(provider, instance, what):
            line.rates.append((at.timestamp(), str(usd_per_hour)))

    def charge(
        self, provider: str, instance: str, usd: Decimal, why: str, *, at: datetime, what: str = "compute"
    ) -> None:
        """A single charge, or a refund if negative."""
        for line in self.of(provider, instance):
            if line.what == what:
                line.one_off.append((at.timestamp(), str(usd), why))
                return

    def close(self, provider: str, instance: str, *, at: datetime, what: str | None = None) -> None:
        """Stop billing *instance*, or only *what* of it."""
        for line in self._open(provider, instance, what):
            line.closed_at = at.timestamp()

    def void(self, provider: str, instance: str, *, at: datetime) -> None:
        """End *instance* and bill nothing for it (a provider that refunds failed launches)."""
        for line in self._open(provider, instance, None):
            line.closed_at = at.timestamp()
            line.voided = True

    def of(self, provider: str, instance: str) -> list[Line]:
        """The lines of one instance."""
        return [line for line in self.lines if (line.provider, line.instance) == (provider, instance)]

    def billing(self, provider: str | None = None) -> list[str]:
        """Ids of the instances that bill right now, each once, oldest first."""
        open_lines = (line for line in self.lines if line.closed_at is None and provider in (None, line.provider))
        return list(dict.fromkeys(line.instance for line in open_lines))

    def bill(self, now: datetime) -> list[dict[str, Any]]:
        """One row per line, as `orch sandbox bill` shows it."""
        stamp = now.timestamp()
        rows = []
        for line in self.lines:
            rows.append(
                {
                    "provider": line.provider,
                    "instance": line.instance,
                    "name": line.name,
                    "what": line.what,
                    "usd_per_hour": line.rates[-1][1],
                    "opened_at": _iso(line.opened_at),
                    "closed_at": None if line.closed_at is None else _iso(line.closed_at),
                    "usd": str(line.usd(stamp)),
                    "charges": [{"usd": usd, "why": why} for _, usd, why in line.one_off],
                }
            )
        return rows

    def _open(self, provider: str, instance: str, what: str | None) -> list[Line]:
        lines = (line for line in self.of(provider, instance) if line.closed_at is None)
        return [line for line in lines if what in (None, line.what)]

    def dump(self) -> list[dict[str, Any]]:
        """The state, for a file."""
        return [asdict(line) for line in self.lines]

    def load(self, rows: list[dict[str, Any]]) -> None:
        """Take over what `dump` gave."""
        self.lines = []
        for row in rows:
            pairs = {"rates": [tuple(x) for x in row["rates"]], "one_off": [tuple(x) for x in row["one_off"]]}
            self.lines.append(Line(**{**row, **pairs}))


def _iso(stamp: float) -> str:
    return datetime.fromtimestamp(stamp, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
