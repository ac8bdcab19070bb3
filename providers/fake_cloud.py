"""A cloud in memory: what stands behind `providers.fake`. It knows nothing of the engine or of error types.

One `FakeCloud` is one cloud, however many adapters talk to it, so a "restarted process" finds what it left behind.
Everything follows from the clock of its `Env`, its seed and the order of calls: equal runs have equal `digest`s,
whatever the interpreter's hash seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from providers.base import LaunchSpec, Offer, Phase
from providers.env import Env
from providers.fake_machines import Fleet, Machine, Record, Rules, about, when
from providers.fake_market import default_market
from providers.sandbox.faults import Fault, Faults
from providers.sandbox.ledger import Ledger

#: Transport faults as they are without a wire: what the caller sees before or after the effect.
_UNANSWERED = ("lost", "error_after", "malformed", "html", "truncated", "oversized")


class Refusal(Exception):
    """The cloud says no, or says nothing (code ``no-answer``).

    Attributes:
        wait_s: seconds to wait before the next try, for ``too-many-requests``.
        left: the machine it made nevertheless.
        fresh: a new quote, for ``price-cap``.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        wait_s: float = 5.0,
        left: Machine | None = None,
        fresh: Offer | None = None,
        bucket: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.wait_s = wait_s
        self.left = left
        self.fresh = fresh
        self.bucket = bucket


class FakeCloud(Fleet):
    """The world: offers, machines, clock, ledger, faults.

    The ledger is up to date after `advance`, `records` or any call of an adapter; what happened in between is
    written with the time at which it happened.

    Args:
        env: the clock; the adapters in front of this cloud are given the same.
        name: the provider's name, in offers, ledger lines and faults.
        offers: what is sold, or None for `default_market`. `available_count` is the stock; None has no end.
        rules: how it behaves when nothing goes wrong.
        ledger, faults: may be shared with other clouds.
        seed: makes boot times and spot interruptions repeatable.
    """

    def __init__(
        self,
        env: Env,
        *,
        name: str = "fake",
        offers: Sequence[Offer] | None = None,
        rules: Rules | None = None,
        ledger: Ledger | None = None,
        faults: Faults | None = None,
        account: str = "fake-account",
        seed: int | str = 0,
    ) -> None:
        # An empty ledger is an object too: no "or".
        super().__init__(env, name, rules or Rules(), Ledger() if ledger is None else ledger, seed)
        self.faults = Faults() if faults is None else faults
        self.account = account
        self.market = {o.offer_id: o for o in (default_market(name) if offers is None else offers)}
        self._sent_gb: dict[tuple[str, int, int], Decimal] = {}

    # For tests and simulation: what the cloud itself knows and does.

    def records(self) -> list[Record]:
        """Every machine there ever was, oldest first."""
        self.advance()
        return [Record(m.id, m.name, m.alive, m.billing, m.offer.offer_id) for m in self.machines.values()]

    def plant(self, name: str, owner: str | None = None) -> str:
        """Make a running, billing machine that somebody else rented under *name*; return its id.

        *owner* is the full owner id of another `orch` installation, or None for a machine without `orch`'s tags.
        """
        self.advance()
        offer = next(offer for offer in self.market.values() if offer.usd_per_hour is not None)
        machine = self._add(self.account, offer, None, name, owner)
        self._run(self.now_s, machine)
        self._reachable(self.now_s, machine)
        return machine.id

    def lose(self, instance: str) -> None:
        """The host of *instance* is lost, or spot took it, now."""
        self.advance()
        machine = self.machines[instance]
        if machine.alive:
            self._lost(self.now_s, machine)

    def reprice(self, offer_id: str, usd_per_hour: Decimal, *, running: bool = False) -> None:
        """From now on that offer has this price; with *running*, machines rented from it have it too."""
        self.advance()
        self.market[offer_id] = msgspec.structs.replace(self.market[offer_id], usd_per_hour=usd_per_hour)
        for machine in self._alive.values():
            if running and machine.offer.offer_id == offer_id:
                machine.usd_per_hour = usd_per_hour
                self._note(self.now_s, "repriced", machine)
                self.ledger.rate(self.name, machine.id, usd_per_hour, at=when(self.now_s))

    def restock(self, offer_id: str, count: int | None) -> None:
        """From now on *count* more machines of that offer can be had (None: as many as one likes)."""
        stock = None if count is None else count + self._held.get(offer_id, 0)
        offer = self.market[offer_id]
        self.market[offer_id] = msgspec.structs.replace(offer, available=None, available_count=stock)

    def withdraw(self, offer_id: str) -> None:
        """That offer is not sold any more; machines rented from it stay."""
        self.market.pop(offer_id, None)

    def machine_at(self, host: str) -> Machine | None:
        """The machine that answers at address *host*, for a simulated probe."""
        self.advance()
        reachable = (m for m in self._alive.values() if m.address is not None and m.address.host == host)
        return next(reachable, None)

    def transfer(self, instance: str, gb: Decimal) -> Decimal:
        """*instance* sends *gb* GB (10^9 bytes) to the internet: the charge in USD, by tiers, account and month.

        Raises:
            ValueError: the offer's egress price is not known.
        """
        machine, now = self.machines[instance], self.env.now()
        if machine.offer.egress is None:
            raise ValueError(f"{machine.offer.offer_id} has no known egress price")
        month = (machine.account, now.year, now.month)
        reached = self._sent_gb.get(month, Decimal(0))
        end, usd = reached + gb, Decimal(0)
        for tier in machine.offer.egress:
            top = end if tier.up_to_gb is None else min(tier.up_to_gb, end)
            if top > reached:
                usd += (top - reached) * tier.usd_per_gb
                reached = top
        self._sent_gb[month] = end
        self.ledger.charge(self.name, instance, usd, f"egress {gb} GB", at=now)
        return usd

    # The cloud's API: what an adapter asks for, each time between `before` and `after`.

    def before(self, verb: str, subject: str) -> tuple[str, float]:
        """What goes wrong before a call's effect: (the account that the key opens, seconds the call hangs).

        Raises:
            Refusal: the call ends here, without any effect.
        """
        hangs_s = 0.0
        if self._fault("down", verb, subject):
            raise Refusal("down", "cannot be reached")
        if self._fault("drop_before", verb, subject):
            raise Refusal("no-answer", "the connection was cut")
        if slow := self._fault("slow", verb, subject):
            hangs_s = float(slow.args.get("seconds", 30))
        if self._fault("error_before", verb, subject):
            raise Refusal("broken", "internal error")
        if limit := self._fault("rate_limit", verb, subject):
            raise Refusal("too-many-requests", "slow down", wait_s=float(limit.args.get("retry_after") or 5))
        if self._fault("redirect", verb, subject):
            raise Refusal("no-answer", "answered with a redirect")
        if self._fault("bad_key", verb, subject):
            raise Refusal("bad-key", "this key is not valid")
        self._lose_by_fault(verb)
        other = self._fault("other_account", verb, subject)
        return (f"{self.account}-other" if other else self.account), hangs_s

    def after(self, verb: str, subject: str) -> None:
        """What goes wrong after a call's effect.

        Raises:
            Refusal: the effect is there, the answer is not.
        """
        for kind in _UNANSWERED:
            if self._fault(kind, verb, subject):
                raise Refusal("no-answer", f"no readable answer ({kind})")

    def catalogue(self, account: str) -> list[Offer]:
        """Everything sold, sold-out included and marked."""
        quotes = (self._quoted(offer, account) for offer in self.market.values())
        return [offer for offer in quotes if offer is not None]

    def quote(self, account: str, offer: Offer, verb: str = "price") -> Offer | None:
        """That offer's conditions now, or None if it is not sold any more."""
        drift = self._fault("price_changed", verb, about(offer))
        if drift and (current := self.market.get(offer.offer_id)):
            factor = Decimal(str(drift.args.get("factor", "1.5")))
            self.reprice(offer.offer_id, (current.usd_per_hour or Decimal(0)) * factor)
        sold = self.market.get(offer.offer_id)
        return None if sold is None else self._quoted(sold, account)

    def create(self, account: str, offer: Offer, spec: LaunchSpec, token: str, owner: str) -> Machine:
        """Rent *offer* under *token*.

        Raises:
            Refusal: and nothing was made, unless it has `left`.
        """
        if self.rules.replayable:
            for made in self.named(account, token):
                if made.offer.offer_id != offer.offer_id or made.spec != spec:
                    raise Refusal("token-reused", f"{token} was used for another request")
                return made
        if self.faults.waiting:
            self._refuse_by_fault(offer)
        current = self.quote(account, offer, "launch")
        if current is None:
            raise Refusal("offer-gone", f"{offer.offer_id} is not sold any more")
        left = self._fault("left", "launch", about(offer))
        if left is None:
            self._check(account, current, spec)
        machine = self._add(account, current, spec, token, owner)
        if left is not None:
            self._bill(self.now_s, machine)
            code = str(left.args.get("code", "sold-out"))
            machine.fate = (code, "half made")
            self._fail(self.now_s, machine)
            raise Refusal(code, "failed half-way", left=machine)
        self._settle(machine)
        return machine

    def get(self, account: str, instance: str) -> Machine | None:
        """The listed machine with that id."""
        machine = self.machines.get(instance)
        return machine if machine is not None and self._listed(machine, account) else None

    def named(self, account: str, token: str) -> list[Machine]:
        """The listed machines with that name, oldest first."""
        return [m for m in self._by_token.get(token, ()) if self._listed(m, account)]

    def living(self, account: str) -> list[Machine]:
        """Every listed machine of the account that is not gone, oldest first."""
        now = self.now_s
        return [m for m in self._alive.values() if m.visible_s <= now and m.account == account]

    def end(self, account: str, instance: str) -> bool:
        """Ask for the end of a machine, or look whether it has come: True once it is not there any more.

        Raises:
            Refusal: it may not be ended now.
        """
        machine = self.machines.get(instance)
        if machine is None or machine.account != account or not machine.alive:
            return True
        if machine.phase is Phase.PENDING and not self.rules.terminate_pending:
            raise Refusal("still-starting", f"{instance} is still starting")
        if machine.phase is not Phase.STOPPING:
            if self._fault("ignore_terminate", "terminate", machine.about()):
                self._note(self.now_s, "ignored", machine)
                return False
            self._stop(self.now_s, machine)
            self.advance()  # where stopping takes no time
        return not machine.alive

    # Inside.

    def _fault(self, kind: str, verb: str, subject: str) -> Fault | None:
        return self.faults.take(self.name, kind, verb=verb, subject=subject) if self.faults.waiting else None

    def _quoted(self, offer: Offer, account: str) -> Offer | None:
        now = when(self.now_s)
        if offer.available_until is not None and offer.available_until <= now:
            return None
        count, available = offer.available_count, offer.available is not False
        if count is not None:
            count = max(0, count - self._held.get(offer.offer_id, 0))
            available = available and count > 0
        return msgspec.structs.replace(
            offer, account=account, available=available, available_count=count, observed_at=now
        )

    def _listed(self, machine: Machine, account: str) -> bool:
        if machine.account != account or machine.visible_s > self.now_s:
            return False
        return machine.alive or self.now_s <= machine.ended_s + self.rules.remember_s

    def _check(self, account: str, offer: Offer, spec: LaunchSpec) -> None:
        usd, cap = offer.usd_per_hour, spec.max_usd_per_hour
        if usd is None:
            raise Refusal("bad-request", f"{offer.offer_id} has no price")
        if cap is not None and usd > cap:
            raise Refusal("price-cap", f"{offer.offer_id} costs {usd}, more than {cap} an hour", fresh=offer)
        if spec.workload is not None and spec.workload not in offer.workloads:
            raise Refusal("bad-request", f"{offer.offer_id} does not run a {spec.workload}")
        if offer.disk_max_gib is not None and spec.disk_gib > offer.disk_max_gib:
            raise Refusal("bad-request", f"{offer.offer_id} has no disk of {spec.disk_gib} GiB")
        if not offer.available:
            raise Refusal("sold-out", f"no {offer.offer_id} is free")
        if self.rules.quota is not None and len(self.living(account)) >= self.rules.quota:
            raise Refusal("quota", f"the account may hold {self.rules.quota} machines", bucket="machines")

    def _refuse_by_fault(self, offer: Offer) -> None:
        subject = about(offer)
        if self._fault("forbidden", "launch", subject):
            raise Refusal("forbidden", "this key may not create machines")
        if self._fault("gone", "launch", subject):
            self.withdraw(offer.offer_id)
        if self._fault("sold_out", "launch", subject):
            raise Refusal("sold-out", f"no {offer.offer_id} is free")
        if self._fault("no_money", "launch", subject):
            raise Refusal("no-funds", "the balance is too low")
        if quota := self._fault("quota", "launch", subject):
            raise Refusal("quota", "the quota is used up", bucket=quota.args.get("bucket"))
        if unknown := self._fault("unknown_code", "launch", subject):
            raise Refusal(str(unknown.args.get("code", "e-4711")), "the moon is in the wrong phase")

    def _settle(self, machine: Machine) -> None:
        """Decide what becomes of a new machine, and when."""
        subject = machine.about()
        if lag := self._fault("list_lag", "launch", subject):
            machine.visible_s = self.now_s + float(lag.args.get("seconds", 30))
        if wrong := self._fault("wrong_gpu", "launch", subject):
            machine.smi_gpu = str(wrong.args.get("gpu", "NVIDIA GeForce RTX 3090"))
            machine.memory_mib = int(wrong.args.get("memory_mib", 24576))
        up_s = self.now_s + self._boot_time(machine.offer)
        if failed := self._fault("fail_after_accept", "launch", subject):
            machine.fate = (str(failed.args.get("code", "host-failed")), "it did not start")
        elif machine.spec is not None and machine.spec.image in self.rules.images_missing:
            machine.fate = ("image-not-found", f"there is no image {machine.spec.image}")
        if machine.fate is not None:
            self._plan(up_s, "fail", machine)
            return
        stuck = self._fault("boot_stuck", "launch", subject)
        if stuck is None or stuck.args.get("phase") == "running":
            self._plan(up_s, "run", machine)
        if stuck is None:
            self._plan(up_s + self.rules.address_s, "reachable", machine)

    def _lose_by_fault(self, verb: str) -> None:
        if not any(fault.kind == "host_lost" and fault.times for fault in self.faults.waiting):
            return
        for machine in list(self._alive.values()):
            if machine.phase is Phase.RUNNING and self._fault("host_lost", verb, machine.about()):
                self._lost(self.now_s, machine)
