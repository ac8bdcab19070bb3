"""What rentals cost: GPUs while they run, the disk always, traffic by the byte; and the credit that pays for it.

Sources: docs.vast.ai billing: GPUs per second while running and not while loading; storage per second from creation
to destroy in every state but while the host is offline, a month counted as 720 hours; bandwidth per byte in both
directions. That the image pull counts as download is inferred.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from providers.sandbox.ledger import Line
from providers.sandbox.world import World
from providers.vast.emulator_instance import Instance
from providers.vast.emulator_market import Market

PROVIDER = "vast"
MAIN = "main"
_HORIZON_H = 24 * 3650  # beyond it, credit counts as endless


class Billing:
    """Writes the ledger of Vast's rentals.

    Attributes:
        deposited: USD paid in beyond the market file's balance.
    """

    def __init__(self, world: World, market: Market) -> None:
        self.world = world
        self.market = market
        self.deposited = Decimal(0)
        self._forecast: tuple[datetime | None] | None = None

    # Lines.

    def open_disk(self, instance: Instance, at: datetime) -> None:
        """The disk bills from creation on."""
        self._open(instance, "disk", self.disk_usd(instance), at)

    def open_compute(self, instance: Instance, at: datetime) -> None:
        """The GPUs bill while the container runs."""
        self._open(instance, "compute", instance.hourly, at)

    def rate(self, instance: Instance, at: datetime) -> None:
        """Bring what bills to the rates of the present state."""
        wanted = {"disk": self.disk_usd(instance), "compute": instance.hourly}
        for line in self._lines(instance):
            usd = wanted.get(line.what)
            if line.closed_at is None and usd is not None and Decimal(line.rates[-1][1]) != usd:
                self.world.ledger.rate(PROVIDER, str(instance.id), usd, at=at, what=line.what)
                self._forecast = None

    def close(self, instance: Instance, at: datetime, what: str | None = None) -> None:
        """It bills no more, or only *what* of it does not."""
        self.world.ledger.close(PROVIDER, str(instance.id), at=at, what=what)
        self._forecast = None

    def transfer(self, instance: Instance, at: datetime, *, up_gb: Decimal, down_gb: Decimal, why: str) -> None:
        """Charge traffic: *up_gb* to the internet, *down_gb* from it."""
        ask = instance.ask
        for what, gb, usd in (("egress", up_gb, ask.inet_up_cost), ("ingress", down_gb, ask.inet_down_cost)):
            if not gb * usd:
                continue
            if not any(line.what == what for line in self._lines(instance)):
                # The ledger books charges on lines; traffic has no rate of its own.
                self._open(instance, what, Decimal(0), at)
                if instance.destroyed:
                    self.close(instance, at, what)
            self.world.ledger.charge(PROVIDER, str(instance.id), gb * usd, f"{gb} GB {why}", at=at, what=what)
            self._forecast = None

    def pull(self, instance: Instance, at: datetime) -> None:
        """The image was downloaded."""
        size = self.market.billing["image_gb"]
        self.transfer(instance, at, up_gb=Decimal(0), down_gb=size, why=f"pull of {instance.image}")

    def disk_usd(self, instance: Instance) -> Decimal:
        """USD per hour of the disk in the present state."""
        if instance.offline:
            return Decimal(0)
        usd = instance.ask.storage_usd(instance.disk)
        return usd if instance.scheduled else usd * self.market.billing["stopped_storage_factor"]

    # The account.

    def deposit(self, usd: Decimal) -> None:
        """The owner pays money in. What the lack of it stopped stays stopped."""
        self.deposited += usd
        self._forecast = None

    def balance(self, account: str, at: datetime) -> Decimal:
        """What is left of an account's credit, USD; accounts other than the main one never had any."""
        if account != MAIN:
            return Decimal(0)
        spent = (line.usd(at.timestamp()) for line in self._account_lines())
        return Decimal(str(self.market.account["balance_usd"])) + self.deposited - sum(spent, Decimal(0))

    def broke_at(self, at: datetime) -> datetime | None:
        """When the credit will be used up if nothing changes, seen from *at*; None if not in sight."""
        if self._forecast is None:
            self._forecast = (self._used_up(at),)
        return self._forecast[0]

    def _used_up(self, at: datetime) -> datetime | None:
        burn = sum((Decimal(line.rates[-1][1]) for line in self._account_lines() if line.closed_at is None), Decimal(0))
        if burn <= 0:
            return None
        hours = max(Decimal(0), self.balance(MAIN, at)) / burn
        return None if hours > _HORIZON_H else at + timedelta(seconds=float(hours * 3600))

    def _account_lines(self) -> list[Line]:
        return [line for line in self.world.ledger.lines if (line.provider, line.account) == (PROVIDER, MAIN)]

    def _lines(self, instance: Instance) -> list[Line]:
        return self.world.ledger.of(PROVIDER, str(instance.id))

    def _open(self, instance: Instance, what: str, usd: Decimal, at: datetime) -> None:
        self.world.ledger.open(
            PROVIDER,
            str(instance.id),
            at=at,
            usd_per_hour=usd,
            name=instance.label or "",
            account=instance.account,
            what=what,
        )
        self._forecast = None

    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        return {"deposited": str(self.deposited)}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave."""
        self.deposited = Decimal(state["deposited"])
        self._forecast = None
