"""The adapter in front of the cloud in memory: the same contract as everybody's, without a network.

It carries fast, deterministic simulation. `connect` joins it to a `FakeCloud`; several of them may share one, as
processes share a provider. There are no retries here: a caller sees every fault. What needs a wire to differ
(malformed, truncated ...) is one thing without it: the effect is there and the answer cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from providers.base import AttemptRef, Context, Facts, Instance, LaunchSpec, Listing, Offer, Provider, Query
from providers.errors import (
    AuthFailed,
    BadWorkload,
    BootFailed,
    Forbidden,
    InvalidRequest,
    NoCapacity,
    NoFunds,
    OfferGone,
    OutcomeUnknown,
    PriceChanged,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    Unavailable,
    Unclassified,
)
from providers.fake_cloud import FakeCloud, Refusal
from providers.fake_machines import Machine, Record, Rules
from providers.fake_market import default_market
from providers.naming import is_ours

__all__ = ["TABLE", "Fake", "FakeCloud", "Record", "Rules", "connect", "default_market"]

T = TypeVar("T")

#: Longer than this no answer is waited for.
READ_S = 30.0

#: The cloud's codes. A code that is not here is `Unclassified`.
TABLE: dict[str, type[ProviderError]] = {
    "sold-out": NoCapacity,
    "spot-taken": NoCapacity,
    "offer-gone": OfferGone,
    "price-cap": PriceChanged,
    "quota": QuotaExceeded,
    "bad-key": AuthFailed,
    "other-account": AuthFailed,
    "forbidden": Forbidden,
    "no-funds": NoFunds,
    "too-many-requests": RateLimited,
    "down": Unavailable,
    "broken": Unavailable,
    "still-starting": Unavailable,
    "no-answer": OutcomeUnknown,
    "host-failed": BootFailed,
    "host-lost": BootFailed,
    "image-not-found": BadWorkload,
    "token-reused": InvalidRequest,
    "bad-request": InvalidRequest,
}

#: Verbs with an effect: without an answer, nobody knows whether it came about.
_EFFECTS = frozenset({"launch", "terminate"})


class Fake(Provider):
    """A `Provider` on a `FakeCloud`; without one it makes itself the default one.

    Raises:
        ValueError: the class says other things of itself than the cloud's rules; `connect` makes one that fits.
    """

    name = "fake"
    facts = Facts(
        consistency_s=Rules().consistency_s,
        accept_s=600.0,
        boot_s=300.0,
        token_in=Rules().owner_in,
        replayable_create=Rules().replayable,
        terminate_pending=Rules().terminate_pending,
        dead_man="the cloud itself ends a machine at ends_at",
        workloads=("container", "vm", "bare-metal"),
        markets=("specialist", "marketplace-community", "decentralized", "hyperscaler"),
        # What a launch is given is kept with the machine, where a test can read it.
        capabilities=frozenset(
            {"image", "cmd", "env", "ports", "disk", "spot", "quota", "accept-then-fail", "price-drift"}
        ),
        egress="differs by offer: free, per GB, in tiers, or not known",
    )

    def __init__(self, context: Context, cloud: FakeCloud | None = None) -> None:
        super().__init__(context)
        self.cloud = FakeCloud(context.env, name=self.name) if cloud is None else cloud
        if self.cloud.name != self.name or _facts(self.cloud) != self.facts:
            raise ValueError(f"the cloud {self.cloud.name!r} is not as {type(self).__name__} says: use connect()")

    async def account(self) -> str:
        return await self._ask("account", "", lambda account: account)

    async def offers(self, query: Query) -> Listing:
        found = await self._ask("offers", " ".join(query.gpus), self.cloud.catalogue)
        offers = [offer for offer in found if _wanted(offer, query)]
        note = "" if offers or not query.gpus else f"rents no {' or '.join(query.gpus)}"
        return Listing(offers, note=note)

    async def price(self, offer: Offer) -> Offer | None:
        return await self._ask("price", _about(offer), lambda account: self.cloud.quote(account, offer))

    async def launch(self, offer: Offer, spec: LaunchSpec, token: str) -> Instance:
        def create(account: str) -> Instance:
            if offer.account not in (None, account):
                raise Refusal("other-account", f"the offer is {offer.account}'s, the key opens {account}")
            return self._view(self.cloud.create(account, offer, spec, token, self.context.owner))

        return await self._ask("launch", f"{token} {_about(offer)}", create)

    async def find(self, attempt: AttemptRef) -> Instance | None:
        def look(account: str) -> Instance | None:
            _same_account(attempt.account, account)
            if attempt.instance_id is not None:
                machine = self.cloud.get(account, attempt.instance_id)
                return None if machine is None else self._view(machine)
            mine = [m for m in self.cloud.named(account, attempt.token) if self._mine(m)]
            living = [m for m in mine if m.alive]
            return self._view((living or mine[-1:])[0]) if mine else None

        return await self._ask("find", f"{attempt.instance_id} {attempt.token}", look)

    async def owned(self) -> list[Instance]:
        def look(account: str) -> list[Instance]:
            return [self._view(machine) for machine in self.cloud.living(account) if self._mine(machine)]

        return await self._ask("owned", "", look)

    async def terminate(self, instance: Instance) -> bool:
        def end(account: str) -> bool:
            # Another account's "no such machine" would prove nothing.
            _same_account(instance.account, account)
            return self.cloud.end(account, instance.id)

        return await self._ask("terminate", f"{instance.id} {instance.token}", end)

    async def _ask(self, verb: str, subject: str, do: Callable[[str], T]) -> T:
        """One call: *do* is its effect, given the account that the key opens."""
        half_s = self.cloud.rules.latency_s / 2
        if half_s:
            await self.env.sleep(half_s)
        self.cloud.advance()
        try:
            if self.cloud.faults.waiting:
                result = await self._ask_amid_faults(verb, subject, do)
            else:
                result = do(self.cloud.account)
        except Refusal as refusal:
            raise self._error(refusal, verb) from None
        if half_s:
            await self.env.sleep(half_s)
        return result

    async def _ask_amid_faults(self, verb: str, subject: str, do: Callable[[str], T]) -> T:
        account, hangs_s = self.cloud.before(verb, subject)
        if hangs_s:
            await self.env.sleep(min(hangs_s, READ_S))
            self.cloud.advance()
        try:
            result = do(account)
        except Refusal:
            self.cloud.after(verb, subject)  # a refusal can be lost, too
            raise
        self.cloud.after(verb, subject)
        if hangs_s >= READ_S:
            raise Refusal("no-answer", f"no answer within {READ_S:.0f} s")
        return result

    def _error(self, refusal: Refusal, verb: str) -> ProviderError:
        kind = TABLE.get(refusal.code, Unclassified)
        message, code = f"{self.name}: {refusal.message}", refusal.code
        error: ProviderError
        if kind is RateLimited:
            error = RateLimited(message, wait_s=refusal.wait_s, code=code)
        elif kind is PriceChanged:
            error = PriceChanged(message, now=refusal.fresh, code=code)
        elif kind is OutcomeUnknown and verb not in _EFFECTS:
            error = Unavailable(message, code=code)
        else:
            error = kind(message, code=code, bucket=refusal.bucket)
        if refusal.left is not None:
            error.left = (self._view(refusal.left),)
        if kind is Unclassified and self.context.on_unclassified is not None:
            self.context.on_unclassified(self.name, code, refusal.message)
        return error

    def _mine(self, machine: Machine) -> bool:
        if self.cloud.rules.owner_in == "tags":
            return machine.owner == self.context.owner
        return is_ours(machine.name, self.context.owner)

    def _view(self, machine: Machine) -> Instance:
        if machine.view is None:
            failure = None
            if machine.failure is not None:
                code, message = machine.failure
                failure = TABLE.get(code, Unclassified)(message, code=code)
            machine.view = Instance(
                provider=self.name,
                account=machine.account,
                id=machine.id,
                handle={"kind": "machine", "region": machine.offer.region or ""},
                token=machine.name,
                owner=machine.owner,
                phase=machine.phase,
                address=machine.address,
                failure=failure,
                usd_per_hour=machine.usd_per_hour,
                created_at=machine.created_at,
            )
        view: Instance = machine.view
        return view


def connect(cloud: FakeCloud, context: Context | None = None) -> Fake:
    """An adapter for *cloud* whose name and facts are the cloud's. Call it again for every "process"."""

    class Connected(Fake):
        name = cloud.name
        facts = _facts(cloud)

    return Connected(Context(env=cloud.env) if context is None else context, cloud)


def _facts(cloud: FakeCloud) -> Facts:
    rules = cloud.rules
    return replace(
        Fake.facts,
        consistency_s=rules.consistency_s,
        token_in=rules.owner_in,
        replayable_create=rules.replayable,
        terminate_pending=rules.terminate_pending,
    )


def _same_account(theirs: str, opened: str) -> None:
    if theirs != opened:
        raise Refusal("other-account", f"it is {theirs}'s, and the key opens {opened}")


def _about(offer: Offer) -> str:
    return f"{offer.offer_id} {offer.gpu} {offer.region}"


def _wanted(offer: Offer, query: Query) -> bool:
    return (
        (not query.gpus or offer.gpu in query.gpus)
        and offer.gpu_count >= query.count
        and offer.pricing in query.pricing
        and (not query.countries or offer.country in query.countries)
        and not (query.egress_free and not (offer.egress and all(t.usd_per_gb == 0 for t in offer.egress)))
    )
