"""Vast.ai's market as the emulator keeps it: asks (slices of machines), their prices, and who bids against us.

Read from `market.toml` beside this file, or from the part of a sandbox's market that is named ``vast``.
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from providers.vast.emulator_wire import exact

_HERE = Path(__file__).with_name("market.toml")
_MONTH_H = 720  # hours in a month, for prices per GB and month: Vast counts 30 days
_BID_STEP = Decimal("0.001")  # what a bid must be above the other's
_DECIMALS = ("usd_per_hour", "min_bid", "storage_cost", "inet_up_cost", "inet_down_cost", "reliability", "ends_in_h")


@dataclass(frozen=True, slots=True)
class Model:
    """One GPU model. `gpu_ram` is usable MB of one card, `device` and `device_mib` what `nvidia-smi` prints."""

    gpu_ram: int
    device: str
    device_mib: int
    compute_cap: int
    dlperf: float
    total_flops: float
    gpu_mem_bw: float
    gpu_arch: str = "nvidia"


@dataclass(frozen=True, slots=True)
class Ask:
    """One slice of one machine that can be rented. Prices are USD for the whole slice, egress USD per GB.

    Attributes:
        min_bid: the lowest bid that runs, or None where the host takes no bids.
        storage_cost: USD per GB and month.
        ends_in_h: hours from the market's opening to the end of the listing.
        cpu_cores: of the whole machine, as is `cpu_ram` in MB; None (0 in the file) where the host does not say.
    """

    id: int
    gpu_name: str
    machine_id: int
    host_id: int
    usd_per_hour: Decimal
    storage_cost: Decimal
    inet_up_cost: Decimal
    inet_down_cost: Decimal
    reliability: Decimal
    geolocation: str
    ends_in_h: Decimal
    model: Model
    num_gpus: int = 1
    machine_gpus: int = 8
    min_bid: Decimal | None = None
    verification: str = "verified"
    datacenter: bool = False
    static_ip: bool = True
    direct_port_count: int = 200
    disk_space: int = 500
    disk_bw: float = 3000.0
    inet_up: float = 900.0
    inet_down: float = 2000.0
    cpu_cores: int | None = 128
    cpu_cores_effective: float = 16.0
    cpu_ram: int = 515823
    cuda_max_good: float = 12.8
    driver_version: str = "570.86.15"
    vms_enabled: bool = False

    def subject(self, kind: str) -> str:
        """What faults see of it; *kind* is ``on-demand`` or ``bid``."""
        return f"{self.gpu_name} {self.id} {kind} {self.geolocation} {self.machine_id}"

    def storage_usd(self, disk_gb: Decimal) -> Decimal:
        """USD per hour of a disk of so many GB."""
        return self.storage_cost * disk_gb / _MONTH_H

    def dump(self) -> dict[str, Any]:
        """The ask, ready for JSON."""
        return {key: str(value) if isinstance(value, Decimal) else value for key, value in asdict(self).items()}

    @classmethod
    def restore(cls, row: dict[str, Any]) -> Ask:
        """The ask that `dump` wrote, or that a market file describes."""
        values = {key: value for key, value in row.items() if key in {part.name for part in fields(cls)}}
        for key in _DECIMALS:
            if values.get(key) is not None:
                values[key] = Decimal(str(values[key]))
        if "cpu_cores" in values:
            values["cpu_cores"] = values["cpu_cores"] or None
        values["model"] = Model(**values["model"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Wire:
    """How this Vast behaves where documents and clients' observations differ. See `market.toml`; times in seconds."""

    report_s: float = 10.0
    boot_s: float = 75.0
    restart_s: float = 30.0
    ports_s: float = 5.0
    throttle_body: str = "text"
    retry_after: bool = False
    bad_key_status: int = 401
    low_bid_status: int = 400
    low_bid_leaves: str = "always"
    no_credit_status: int = 400
    old_list: str = "rows"
    stopped_word: str = "stopped"
    args_max: int = 4096
    ignored_filters: tuple[str, ...] = ()
    second_factor: tuple[str, ...] = ()


@dataclass(slots=True)
class Rival:
    """Somebody else who wants an ask: with a bid, or (usd None) as an on-demand renter, who outranks all bids."""

    usd: Decimal | None
    until: datetime | None = None


@dataclass(slots=True)
class Market:
    """All asks, and what happened to them.

    Attributes:
        opened: when the listings were made.
        taken: ask id to the instance that holds it on demand or with a bid.
        factors, gone, renamed: what faults did to asks: price factors, asks that left, old id to new id.
    """

    asks: dict[int, Ask]
    account: dict[str, Any]
    limits: dict[str, float]
    billing: dict[str, Decimal]
    wire: Wire
    opened: datetime
    taken: dict[int, int] = field(default_factory=dict)
    rivals: dict[int, Rival] = field(default_factory=dict)
    factors: dict[int, Decimal] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    renamed: dict[int, int] = field(default_factory=dict)

    @classmethod
    def read(cls, part: dict[str, Any] | None, opened: datetime) -> Market:
        """The market in *part*, or the one in the file beside this module."""
        raw = part or tomllib.loads(_HERE.read_text(encoding="utf-8"))
        asks = [Ask.restore({**row, "model": raw["gpu"][row["gpu_name"]]}) for row in raw["asks"]]
        wire = dict(raw.get("wire", {}))
        for name in ("ignored_filters", "second_factor"):
            wire[name] = tuple(wire.get(name, ()))
        return cls(
            asks={ask.id: ask for ask in asks},
            account=raw["account"],
            limits=raw.get("limits", {}),
            billing={name: Decimal(str(value)) for name, value in raw["billing"].items()},
            wire=Wire(**wire),
            opened=opened,
        )

    # What is there.

    def ends_at(self, ask: Ask) -> datetime:
        """When the listing ends; so do rentals of it."""
        return self.opened + timedelta(seconds=float(ask.ends_in_h * 3600))

    def listed(self, now: datetime) -> list[Ask]:
        """Every ask that is still on the market, rented or not."""
        return [ask for ask in self.asks.values() if ask.id not in self.gone and now < self.ends_at(ask)]

    def find(self, ask_id: int, now: datetime) -> Ask | None:
        """An ask that is still on the market."""
        ask = self.asks.get(ask_id)
        return None if ask is None or ask.id in self.gone or now >= self.ends_at(ask) else ask

    def rentable(self, ask: Ask) -> bool:
        """Whether nobody holds the ask on demand, and we do not hold it at all."""
        rival = self.rivals.get(ask.id)
        return ask.id not in self.taken and (rival is None or rival.usd is not None)

    # Prices.

    def price(self, ask: Ask) -> Decimal:
        """On-demand USD per hour of the GPUs, without the disk."""
        return exact(ask.usd_per_hour * self.factors.get(ask.id, Decimal(1)))

    def min_bid(self, ask: Ask) -> Decimal | None:
        """The bid that wins the ask now, or None where there are no bids."""
        return None if ask.min_bid is None else self.to_beat(self.snapshot(ask))

    def snapshot(self, ask: Ask) -> Ask:
        """*ask* at today's prices, as a rental keeps it."""
        factor = self.factors.get(ask.id, Decimal(1))
        least = None if ask.min_bid is None else exact(ask.min_bid * factor)
        return replace(ask, usd_per_hour=self.price(ask), min_bid=least)

    def hourly(self, ask: Ask, kind: str) -> Decimal | None:
        """USD per hour of the GPUs: on demand, or at the lowest bid that wins."""
        return self.min_bid(ask) if kind == "bid" else self.price(ask)

    def wins(self, ask: Ask, bid: Decimal | None) -> bool:
        """Whether a rental with that *bid* (None: on demand) may run beside the rivals of the moment."""
        rival = self.rivals.get(self.present_id(ask.id))
        if rival is not None and rival.usd is None:
            return False
        return bid is None or (ask.min_bid is not None and bid >= self.to_beat(ask))

    def to_beat(self, ask: Ask) -> Decimal:
        """The bid that a rented ask needs now: the host's least one as it was then, and more than a rival's."""
        least, rival = ask.min_bid or Decimal(0), self.rivals.get(self.present_id(ask.id))
        if rival is not None and rival.usd is not None:
            least = max(least, rival.usd + _BID_STEP)
        return exact(least)

    # What faults do.

    def raise_price(self, ask: Ask, factor: Decimal) -> None:
        """From now on *ask* costs *factor* times as much."""
        self.factors[ask.id] = self.factors.get(ask.id, Decimal(1)) * factor

    def reissue(self, ask: Ask, new_id: int) -> Ask:
        """List *ask* under another id, as Vast does when a host edits a listing; nothing answers to the old one."""
        new = Ask.restore(ask.dump() | {"id": new_id})
        self.asks = {new_id if key == ask.id else key: new if key == ask.id else old for key, old in self.asks.items()}
        self.renamed[ask.id] = new_id
        for table in (self.factors, self.rivals, self.taken):
            _move(table, ask.id, new_id)
        return new

    def present_id(self, ask_id: int) -> int:
        """The id under which a once rented ask is known now."""
        while ask_id in self.renamed:
            ask_id = self.renamed[ask_id]
        return ask_id

    # The state as a file.

    def dump(self) -> dict[str, Any]:
        """What happened to the market, ready for JSON; the asks themselves are in the market file."""
        rivals = {
            str(ask_id): [_text(rival.usd), None if rival.until is None else rival.until.isoformat()]
            for ask_id, rival in self.rivals.items()
        }
        return {
            "opened": self.opened.isoformat(),
            "renamed": {str(old): new for old, new in self.renamed.items()},
            "factors": {str(ask_id): str(factor) for ask_id, factor in self.factors.items()},
            "gone": sorted(self.gone),
            "taken": {str(ask_id): instance for ask_id, instance in self.taken.items()},
            "rivals": rivals,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave."""
        self.opened = datetime.fromisoformat(state["opened"])
        for old, new in state["renamed"].items():
            if int(old) in self.asks:
                self.reissue(self.asks[int(old)], new)
        self.factors = {int(ask_id): Decimal(factor) for ask_id, factor in state["factors"].items()}
        self.gone = set(state["gone"])
        self.taken = {int(ask_id): instance for ask_id, instance in state["taken"].items()}
        self.rivals = {
            int(ask_id): Rival(
                None if usd is None else Decimal(usd), None if until is None else datetime.fromisoformat(until)
            )
            for ask_id, (usd, until) in state["rivals"].items()
        }


def _move(table: dict[int, Any], old: int, new: int) -> None:
    if old in table:
        table[new] = table.pop(old)


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)
