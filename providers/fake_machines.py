"""The machines of the fake cloud: their states over time, and what they bill.

States move lazily: `Fleet.advance` plays the events that are due, in the order of their times, so nothing depends
on when somebody looks.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar, Literal

from providers.base import Address, LaunchSpec, Offer, Phase
from providers.env import Env
from providers.gpus import GPUS
from providers.sandbox.ledger import Ledger

_HOURS_PER_MONTH = 730


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How the cloud behaves when nothing goes wrong. Times are seconds.

    Attributes:
        boot_s: from create to `running`, unless the offer says it.
        boot_spread: boot times vary by this fraction up and down, at random.
        address_s: from `running` to an address.
        stop_s: from an accepted terminate to gone; billed until then.
        list_lag_s: a new machine appears in listings and look-ups this much later.
        consistency_s: declared: by then it appears, unless a fault says otherwise.
        remember_s: how long ended machines are still listed, as gone.
        latency_s: a call takes this long, half before its effect and half after it.
        replayable: the same token makes one machine.
        owner_in: whether the full owner id is kept in tags, or shows only in the name.
        terminate_pending: whether a machine can be ended before it runs.
        quota: how many machines an account may hold, None without limit.
        images_missing: container images that do not exist.
        when_lost: what becomes of a lost on-demand machine: listed as gone, listed as failed (not billed any
            more), or not listed at all. Spot machines that were taken are listed as gone.
    """

    boot_s: float = 45.0
    boot_spread: float = 0.0
    address_s: float = 0.0
    stop_s: float = 5.0
    list_lag_s: float = 0.0
    consistency_s: float = 60.0
    remember_s: float = 600.0
    latency_s: float = 0.0
    replayable: bool = False
    owner_in: Literal["name", "tags"] = "tags"
    terminate_pending: bool = True
    quota: int | None = None
    images_missing: frozenset[str] = frozenset()
    when_lost: Literal["gone", "failed", "vanished"] = "gone"


@dataclass(frozen=True, slots=True)
class Record:
    """One instance as the cloud itself sees it, for tests (as `providers.sandbox.kit.Record`)."""

    id: str
    name: str
    alive: bool
    billing: bool
    offer: str = ""


@dataclass(slots=True, eq=False)
class Machine:
    """One instance, inside the cloud.

    `smi_gpu` and `memory_mib` are what a probe on it would read. `failure` is (code, message), and `fate` the
    one it will have once it fails. `view` is room for the adapter's picture of it; the cloud empties it whenever
    something changes.
    """

    id: str
    name: str
    owner: str | None
    account: str
    offer: Offer
    spec: LaunchSpec | None
    usd_per_hour: Decimal
    created_at: datetime
    visible_s: float
    host: str
    smi_gpu: str
    memory_mib: int
    phase: Phase = Phase.PENDING
    address: Address | None = None
    failure: tuple[str, str] | None = None
    fate: tuple[str, str] | None = None
    alive: bool = True
    billing: bool = False
    ended_s: float = math.inf
    view: Any = field(default=None, repr=False)

    def about(self) -> str:
        """The text that a fault's `subject` is looked for in."""
        return f"{self.id} {self.name} {about(self.offer)}"


def about(offer: Offer) -> str:
    """The text that a fault's `subject` is looked for in, where a call is about an offer."""
    return f"{offer.offer_id} {offer.gpu} {offer.region} {offer.zone} {offer.instance_type}"


class Fleet:
    """All machines there ever were, and the clock that moves them."""

    def __init__(self, env: Env, name: str, rules: Rules, ledger: Ledger, seed: int | str) -> None:
        self.env = env
        self.name = name
        self.rules = rules
        self.ledger = ledger
        self.machines: dict[str, Machine] = {}
        #: Everything that ever happened to a machine: (Unix seconds, what, id).
        self.events: list[tuple[float, str, str]] = []
        self.now_s = env.now().timestamp()
        self._alive: dict[str, Machine] = {}
        self._by_token: dict[str, list[Machine]] = {}
        self._held: dict[str, int] = {}
        self._due: list[tuple[float, int, str, Machine]] = []
        self._planned = 0
        self._random = random.Random(f"{name}:{seed}")  # noqa: S311 - repeatable on purpose
        self._first_address = zlib.crc32(name.encode())

    def advance(self) -> None:
        """Bring every machine to the state it has now: boot, fail, end, be taken."""
        self.now_s = self.env.now().timestamp()
        while self._due and self._due[0][0] <= self.now_s:
            at, _, what, machine = heapq.heappop(self._due)
            if machine.alive:
                self._HAPPENINGS[what](self, at, machine)

    def digest(self) -> str:
        """One hash over all events: equal for equal runs."""
        return hashlib.sha256(repr(self.events).encode()).hexdigest()

    def _add(self, account: str, offer: Offer, spec: LaunchSpec | None, name: str, owner: str | None) -> Machine:
        number = len(self.machines) + 1
        model = GPUS.get(offer.gpu)
        machine = Machine(
            id=f"{self.name}-{number:06d}",
            name=name,
            owner=owner if self.rules.owner_in == "tags" else None,
            account=account,
            offer=offer,
            spec=spec,
            usd_per_hour=offer.usd_per_hour or Decimal(0),
            created_at=when(self.now_s),
            visible_s=self.now_s + self.rules.list_lag_s,
            host=self._new_address(number),
            smi_gpu=model.smi_names[0] if model else offer.gpu,
            memory_mib=int((offer.gpu_memory_gib or 0) * 1024),
        )
        self.machines[machine.id] = self._alive[machine.id] = machine
        self._by_token.setdefault(name, []).append(machine)
        self._held[offer.offer_id] = self._held.get(offer.offer_id, 0) + 1
        self._note(self.now_s, "created", machine)
        if offer.billing.while_booting:
            self._bill(self.now_s, machine)
        if spec is not None and spec.ends_at is not None:
            self._plan(spec.ends_at.timestamp(), "stop", machine)
        return machine

    def _new_address(self, number: int) -> str:
        # Out of 198.18.0.0/15, the range set aside for tests of networks (RFC 2544).
        at = (self._first_address + number) % 0x1FFFE + 1
        return f"198.{18 + (at >> 16)}.{(at >> 8) & 255}.{at & 255}"

    def _boot_time(self, offer: Offer) -> float:
        usual = self.rules.boot_s if offer.boot_s is None else offer.boot_s
        spread = self.rules.boot_spread
        return usual * self._random.uniform(1 - spread, 1 + spread) if spread else usual

    def _plan(self, at: float, what: str, machine: Machine) -> None:
        self._planned += 1  # equal times happen in the order in which they were planned
        heapq.heappush(self._due, (at, self._planned, what, machine))

    def _note(self, at: float, what: str, machine: Machine) -> None:
        machine.view = None
        self.events.append((at, what, machine.id))

    # What happens to machines; `at` is the time it happens, which may lie before the last look at the clock.

    def _run(self, at: float, machine: Machine) -> None:
        if machine.phase is not Phase.PENDING:
            return
        machine.phase = Phase.RUNNING
        self._note(at, "running", machine)
        self._bill(at, machine)
        rate = machine.offer.interruptions_per_hour
        if machine.offer.pricing == "spot" and rate:
            lifetime_s = -math.log(1 - self._random.uniform(0, 1)) / rate * 3600
            self._plan(at + lifetime_s, "lost", machine)

    def _reachable(self, at: float, machine: Machine) -> None:
        if machine.phase is Phase.RUNNING:
            machine.address = Address(host=machine.host)
            self._note(at, "reachable", machine)

    def _fail(self, at: float, machine: Machine) -> None:
        if machine.phase in (Phase.PENDING, Phase.RUNNING):
            machine.phase, machine.failure = Phase.FAILED, machine.fate
            self._note(at, "failed", machine)

    def _stop(self, at: float, machine: Machine) -> None:
        if machine.phase is not Phase.STOPPING:
            machine.phase = Phase.STOPPING
            self._note(at, "stopping", machine)
            self._plan(at + self.rules.stop_s, "gone", machine)

    def _gone(self, at: float, machine: Machine) -> None:
        machine.phase, machine.alive, machine.ended_s, machine.address = Phase.GONE, False, at, None
        del self._alive[machine.id]
        self._held[machine.offer.offer_id] -= 1
        self._unbill(at, machine)
        self._note(at, "gone", machine)

    def _lost(self, at: float, machine: Machine) -> None:
        spot = machine.offer.pricing == "spot"
        machine.fate = ("spot-taken", "spot took it") if spot else ("host-lost", "its host was lost")
        self._note(at, "lost", machine)
        if not spot and self.rules.when_lost == "failed":
            self._unbill(at, machine)
            self._fail(at, machine)
            return
        machine.failure = machine.fate
        self._gone(at, machine)
        if not spot and self.rules.when_lost == "vanished":
            machine.ended_s = -math.inf

    _HAPPENINGS: ClassVar[dict[str, Callable[[Fleet, float, Machine], None]]] = {
        "run": _run,
        "reachable": _reachable,
        "fail": _fail,
        "stop": _stop,
        "gone": _gone,
        "lost": _lost,
    }

    def _bill(self, at: float, machine: Machine) -> None:
        if machine.billing:
            return
        machine.billing = True
        billing = machine.offer.billing
        for what, usd_per_hour in _charges(machine):
            self.ledger.open(
                self.name,
                machine.id,
                at=when(at),
                usd_per_hour=usd_per_hour,
                name=machine.name,
                account=machine.account,
                what=what,
                increment_s=billing.increment_s,
                minimum_s=billing.minimum_s,
                clock=billing.aligned_to == "clock",
            )

    def _unbill(self, at: float, machine: Machine) -> None:
        if machine.billing:
            machine.billing = False
            self.ledger.close(self.name, machine.id, at=when(at))


def _charges(machine: Machine) -> list[tuple[str, Decimal]]:
    """What a machine bills: (what, USD per hour)."""
    offer = machine.offer
    charges = [("compute", machine.usd_per_hour)]
    size = max(machine.spec.disk_gib if machine.spec else 0, offer.disk_min_gib or 0)
    extra = Decimal(str(size)) - Decimal(str(offer.disk_gib or 0))
    if offer.storage_usd_per_gib_month and extra > 0:
        charges.append(("disk", extra * offer.storage_usd_per_gib_month / _HOURS_PER_MONTH))
    if offer.address_usd_per_hour:
        charges.append(("address", offer.address_usd_per_hour))
    return charges


def when(stamp: float) -> datetime:
    """Unix seconds as a UTC time."""
    return datetime.fromtimestamp(stamp, UTC)
