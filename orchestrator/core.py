"""The Python API's engine: `Orchestrator`, in-process, on an embedded store.

Everything heavy (store, HTTP, policies) is imported with this module, and this module only when it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from orchestrator import checkup, ending, log, resume, settings, ssh
from orchestrator.adapters import Adapters
from orchestrator.boot import heartbeat
from orchestrator.catalog import Market, gather
from orchestrator.engine import LISTENER, Engine
from orchestrator.errors import (
    BudgetExceeded,
    ConfigError,
    LaunchFailed,
    NoOffer,
    OrchError,
    OutcomeUnclear,
    UsageError,
)
from orchestrator.launch import Bounds, place_of
from orchestrator.machine import Machine
from orchestrator.models import Event, Lease, ProviderState, Stray
from orchestrator.nothing import nothing, why_nothing
from orchestrator.pace import StorePace
from orchestrator.remote import Remote
from orchestrator.renting import Renting
from orchestrator.store import HoldRow, LeaseRow, LostClaim, Store, open_store
from orchestrator.sweep import sweep
from orchestrator.view import lease_views
from policies.errors import BadInput
from policies.judge import judge
from policies.plan import Hold, Plan, SourceState
from policies.policy import load, tighten
from policies.query import query_for
from policies.request import Request, needs
from providers import registry
from providers.base import Context, Offer, Provider, Query
from providers.env import Env, ManualEnv, SystemEnv
from providers.errors import ProviderError

OnEvent = Callable[[Event], None]
ENDS_WAIT_S = 60.0
STRAY_GRACE_S = 60.0
WAIT_EVERY_S = 30.0


class Orchestrator:
    """Plans, rents, keeps account of and ends GPU machines.

    Use it as an async context manager::

        async with Orchestrator() as orch:
            [lease] = await orch.up(Request.of(gpu="l40", policy="cheapest-zero-egress"))
            ...
            await orch.down(lease.id)

    Args:
        sandbox: rent from the emulated market on loopback; starts it if it does not run.
        state_dir: where store, key and sandbox live; default `ORCH_STATE_DIR`, else the XDG state folder.
        settings: variables instead of `./.env` and the environment.
        providers: use only these.
        env: the world; tests and simulation give their own.
    """

    def __init__(
        self,
        *,
        sandbox: bool | None = None,
        state_dir: str | Path | None = None,
        settings: Mapping[str, str] | None = None,
        providers: Sequence[str] | None = None,
        env: Env | None = None,
        adapters: Mapping[str, Callable[[Context], Provider]] | None = None,
    ) -> None:
        self._sandbox_asked = sandbox
        self._state_dir = state_dir
        self._given = settings
        self._names = tuple(providers) if providers is not None else None
        self._env = env
        self._adapters = adapters
        self._stack = contextlib.AsyncExitStack()
        self._engine: Engine | None = None

    # -- opening and closing ------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        self._engine = None

    async def _open(self) -> None:
        values = dict(settings.environment() if self._given is None else self._given)
        if self._state_dir is not None:
            values["ORCH_STATE_DIR"] = str(self._state_dir)
        self.settings = settings.load(values)
        state = self.settings.state_dir
        usable_folder(state)
        self.sandbox = self.settings.orch_sandbox if self._sandbox_asked is None else self._sandbox_asked
        env: Env = self._env or SystemEnv()
        if self.sandbox:
            from providers.sandbox import detach

            try:
                running = await asyncio.to_thread(detach.ensure, state)
            except detach.SandboxError as error:
                raise ConfigError(str(error), hint="look at it: orch sandbox status") from None
            values |= running.settings
            env = self._env or running.env()
        self.env = env
        # Sandbox machines and real ones never share a store: the one's records mean nothing to the other.
        target = self.settings.orch_database_url if not self.sandbox else None
        file = state / ("sandbox.db" if self.sandbox else "orch.db")
        self.store: Store = await open_store(target or file, env)
        self._stack.push_async_callback(self.store.close)
        key_file = Path(self.settings.orch_ssh_key_file or state / "ssh" / "id_ed25519").expanduser()
        public_key = await asyncio.to_thread(ssh.ensure_key, key_file)
        owner = await self.store.owner_id()
        self.values = values
        context = Context(
            env=env, settings=values, owner=owner, pace=StorePace(self.store, env), on_unclassified=log.unclassified
        )
        adapters = self._create_adapters(context)
        self._engine = Engine(env, self.store, adapters, owner, state, key_file, public_key)

    def _create_adapters(self, context: Context) -> Mapping[str, Provider]:
        if self._adapters is not None:
            makers = {name: functools.partial(make, context) for name, make in self._adapters.items()}
        else:
            makers = {
                name: functools.partial(entry.create, context)
                for name, entry in self._chosen().items()
                if entry.configured(self.values) is not None
            }
        adapters = Adapters(makers)
        self._stack.push_async_callback(adapters.aclose)
        return adapters

    def _chosen(self) -> dict[str, registry.Entry]:
        known = registry.entries()
        names = self._names or self.settings.provider_names
        if names is None:
            return known
        for name in names:
            if name not in known:
                raise UsageError(f"there is no provider {name!r}", hint=f"there are {', '.join(sorted(known))}")
        return {name: known[name] for name in names}

    @property
    def engine(self) -> Engine:
        """The open engine.

        Raises:
            OrchError: used outside its ``async with`` block.
        """
        if self._engine is None:
            raise OrchError("the Orchestrator is not open", hint="use it as `async with Orchestrator() as orch:`")
        return self._engine

    # -- the market ---------------------------------------------------------------------------------------

    async def offers(self, query: Query, *, providers: Sequence[str] = ()) -> Market:
        """Ask every configured provider what it rents.

        Raises:
            ConfigError: no provider is configured.
        """
        engine = self.engine
        adapters: dict[str, Provider] = {}
        unusable: dict[str, ConfigError] = {}
        for name in engine.providers:
            if providers and name not in providers:
                continue
            try:
                adapters[name] = engine.providers[name]
            except ConfigError as error:  # a missing package or a bad URL is that provider's failure alone
                unusable[name] = error
        if not adapters:
            raise next(iter(unusable.values())) if unusable else self._nobody(providers)
        market = await gather(adapters, query, env=self.env, store=self.store)
        for name, cannot in unusable.items():
            market.errors[name] = ProviderError(cannot.message, code="not-usable")
            failed = SourceState(provider=name, state="failed", error=cannot.message)
            market = dataclasses.replace(market, sources=(*market.sources, failed))
        for name, why in market.errors.items():
            await engine.emit("source-failed", f"{name}: {why}", provider=name, type=why.type)
        return market

    def _nobody(self, wanted: Sequence[str]) -> OrchError:
        known = registry.entries()
        if wanted:
            for name in wanted:
                if name not in known and name not in self.engine.providers:
                    return UsageError(f"there is no provider {name!r}", hint=f"there are {', '.join(sorted(known))}")
            names = ", ".join(wanted)
            keys = ", ".join(known[name].keys[0] for name in wanted if name in known and known[name].keys)
            return ConfigError(f"{names} is not configured", hint=f"set {keys}, or try it with --sandbox")
        keys = ", ".join(sorted(entry.keys[0] for entry in known.values() if entry.keys))
        return ConfigError(
            "no provider is configured",
            hint=f"set one of {keys} (see .env.example), or try everything without a key: orch --sandbox up ...",
        )

    async def plan(self, request: Request) -> Plan:
        """Read the market and judge it; launches nothing. A plan may be empty.

        Raises:
            UsageError: the request or the policy is wrong.
            ConfigError: no provider is configured, or no source answered because of its key.
            LaunchFailed: no source answered at all.
        """
        try:
            return await self._plan(request)
        except BadInput as error:
            raise UsageError(str(error), hint=error.hint) from error

    async def _plan(self, request: Request) -> Plan:
        request.validate()
        policy = tighten(load(request.policy), request.require)
        query = query_for(request, policy)
        names = [name for name in (request.provider or self.engine.providers) if name not in request.exclude_provider]
        market = await self.offers(query, providers=names if request.provider else ())
        self._must_have_answered(market)
        boots = await self.store.boots()

        def success(offer: Offer) -> float:
            booted, failed = boots.get(place_of(offer), (0.0, 0.0))
            # Laplace with a prior of four good boots: one bad night does not condemn a place.
            return (booted + 4.0) / (booted + failed + 4.0)

        holds = [_hold(hold) for hold in await self.store.holds()]
        sources = (*market.sources, *self._not_configured(request))
        plan = judge(
            market.offers,
            request,
            policy,
            now=self.env.now(),
            holds=holds,
            sources=sources,
            success_rate=success,
            lacking=self._lacking(market.offers) if needs(request) else None,
        )
        self._must_be_enforced(request, plan)
        return plan

    def _lacking(self, offers: Sequence[Offer]) -> dict[tuple[str, str], frozenset[str]]:
        """What each kind of machine of the providers in *offers* cannot do of what a request may need."""
        found: dict[tuple[str, str], frozenset[str]] = {}
        for name in {offer.provider for offer in offers}:
            facts = self.engine.provider(name).facts
            for kind in facts.workloads:
                able = facts.capabilities - (facts.only_containers if kind != "container" else frozenset())
                found[name, kind] = frozenset({"cmd", "env", "ports"}) - able
        return found

    def _not_configured(self, request: Request) -> list[SourceState]:
        """Providers that could be asked if they had a key: said in every plan, so that nobody wonders."""
        if self._adapters is not None or self._names or request.provider:
            return []
        known = [name for name in self._chosen() if name not in self.engine.providers]
        return [SourceState(provider=name, state="not-configured") for name in known]

    def _must_have_answered(self, market: Market) -> None:
        if any(source.state != "failed" for source in market.sources):
            return
        said = "; ".join(f"{name}: {error}" for name, error in market.errors.items())
        if market.errors and all(error.type in ("AuthFailed", "Forbidden") for error in market.errors.values()):
            raise ConfigError(f"no provider accepts its key: {said}", hint="check the keys: orch providers check")
        raise LaunchFailed(f"no provider answered: {said}", hint="try again, or look at: orch providers check")

    # -- renting ------------------------------------------------------------------------------------------

    async def up(self, request: Request, *, plan: Plan | None = None, on_event: OnEvent | None = None) -> list[Lease]:
        """Rent what is asked for, and return once every replica is ready.

        Args:
            plan: launch this plan instead of reading the market again.

        Raises:
            NoOffer: nothing satisfies the policy.
            BudgetExceeded: the cheapest costs more than the budget.
            LaunchFailed: every candidate failed (or one replica of several); what was begun is ended.
            OutcomeUnclear: something may be running whose end could not be confirmed.
            Interrupted: the task was cancelled; what was begun is ended, or the message says what is not.
        """
        listener = LISTENER.set(on_event)
        try:
            policy = tighten(load(request.policy), request.require)
            bounds = Bounds(request.deadline_s or policy.failover.deadline_s, policy.failover.max_spend_usd)
            renting = Renting(
                self.engine, request, bounds, self.plan, self._views, lambda plan: self._check(request, plan)
            )
            if plan is None:
                plan = await self.plan(request)
            if not plan.candidates and request.wait_s:
                plan = await renting.wait_for_candidates(plan)
            self._check(request, plan)
            async with self._beating():
                return await renting.run(plan)
        except BadInput as error:
            raise UsageError(str(error), hint=error.hint) from error
        finally:
            LISTENER.reset(listener)

    def _check(self, request: Request, plan: Plan) -> Plan:
        """*plan*, if it may be launched."""
        if request.keep or request.idle_s is not None:
            raise UsageError("--keep and --idle need a daemon, and there is none yet", hint="leave them out")
        if not plan.candidates:
            over = [drop for drop in plan.dropped if drop.reason == "total_too_high"]
            if request.budget is not None and over:
                raise BudgetExceeded(
                    f"every offer costs more than the budget of {request.budget} USD",
                    hint="a larger budget, fewer --hours, or another policy; `orch plan` shows the costs",
                )
            raise NoOffer(nothing(plan), hint=why_nothing(plan), plan=plan)
        self._must_be_enforced(request, plan)
        return plan

    def _must_be_enforced(self, request: Request, plan: Plan) -> None:
        """Refuse a time to live that nobody would keep at one of the candidates."""
        if request.ttl_s is not None:
            without = {
                candidate.offer.provider
                for candidate in plan.candidates
                if self.engine.provider(candidate.offer.provider).facts.dead_man is None
            }
            if without:
                raise UsageError(
                    f"--ttl has nobody to enforce it at {', '.join(sorted(without))}",
                    hint="leave --ttl out and use `orch down`, or exclude them with --exclude-provider",
                )

    @contextlib.asynccontextmanager
    async def rented(self, request: Request | None = None, **options: Any) -> AsyncIterator[Machine]:
        """Rent one machine for the length of the block, and prove its end on the way out.

        Args:
            request: what is wanted; or give its fields as people write them: ``rented(gpu="l40", hours=2)``.

        Raises:
            OutcomeUnclear: the end could not be confirmed; it goes on with the next command.
            OrchError: as `up`.
        """
        wanted = Request.of(**options) if request is None else request
        if wanted.replicas != 1:
            raise UsageError("rented() is for one machine", hint="use up() and down() for several replicas")
        [lease] = await self.up(wanted)
        machine: Machine | None = None
        try:
            machine = Machine(lease, (await self.remote(lease.id)).target)
            yield machine
        finally:
            # Shielded: a cancelled pipeline must not leave a machine that bills.
            ending_task = asyncio.ensure_future(self.down(lease.id))
            try:
                [ended] = await asyncio.shield(ending_task)
            except asyncio.CancelledError:
                [ended] = await ending_task
                if machine is not None:
                    machine.receipt = ended.receipt
                raise
            if machine is not None:
                machine.receipt = ended.receipt

    # -- looking after ------------------------------------------------------------------------------------

    async def down(self, *refs: str | Lease, everything: bool = False, on_event: OnEvent | None = None) -> list[Lease]:
        """End leases, and return once the provider itself says that nothing is left to bill.

        Raises:
            NoSuchLease: a reference fits no lease.
            OutcomeUnclear: an end could not be confirmed; it goes on with the next command.
        """
        found = [await self.store.find_lease(ref if isinstance(ref, str) else ref.id) for ref in refs]
        if everything:
            found = await self.store.leases()
        listener = LISTENER.set(on_event)
        async with self._beating():
            try:
                for row in found:
                    await self.store.want_down(row.id)
                # Each for itself: one that cannot be ended must not keep the others from it.
                results = await asyncio.gather(*(self._down_one(row.id) for row in found), return_exceptions=True)
            finally:
                LISTENER.reset(listener)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, (OrchError, LostClaim)):
                raise result
        views = await self._views([await self.store.lease(row.id) for row in found])
        if any(view.state not in ("ended", "failed") for view in views):
            if len(found) == 1 and isinstance(results[0], ConfigError):
                raise results[0]
            raise OutcomeUnclear(
                "not every end is confirmed: " + ", ".join(v.name for v in views if v.state == "ending"),
                hint="it may still bill; run the same command again, or look at: orch show NAME",
                leases=tuple(views),
            )
        return views

    async def _down_one(self, lease_id: str) -> None:
        until = self.env.monotonic() + ending.PATIENCE_S
        while True:
            lease = await self.store.claim(lease_id)
            if lease is not None:
                break
            # A command that is launching it holds the claim; it sees the intent and ends it itself.
            if (await self.store.lease(lease_id)).state in ("ended", "failed"):
                return
            if self.env.monotonic() > until:
                return
            await self.env.sleep(0.5)
        if lease.state in ("ended", "failed"):
            await self.store.release(lease_id)
            return
        rows = (await self.store.attempts([lease_id])).get(lease_id, [])
        if rows and lease.state != "ending" and lease.state != "planned":
            await self.engine.move(lease, "ending")
        try:
            await asyncio.gather(*(resume.end(self.engine, row, lease, "user") for row in rows))
            await ending.settle(self.engine, lease, rows)
        finally:
            await self.store.release(lease_id)

    async def resume(self, *, limit_s: float | None = None, on_event: OnEvent | None = None) -> list[Lease]:
        """Finish or end what a dead command left; returns the leases that were taken over.

        Args:
            limit_s: real seconds to spend on each; what is still booting then is left to the next command.
        """
        listener = LISTENER.set(on_event)
        async with self._beating():
            try:
                ids = await resume.resume(self.engine, limit_s=limit_s)
            finally:
                LISTENER.reset(listener)
        return await self._views([await self.store.lease(lease_id) for lease_id in ids])

    async def leases(self, *, everything: bool = False) -> list[Lease]:
        """Open leases, or all."""
        return await self._views(await self.store.leases(everything=everything))

    async def lease(self, ref: str) -> Lease:
        """One lease by id, name or unique beginning of its id. Raises NoSuchLease."""
        [view] = await self._views([await self.store.find_lease(ref)])
        return view

    async def events(self, ref: str | None = None, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """What happened, oldest first; of one lease or of all."""
        lease_id = (await self.store.find_lease(ref)).id if ref else None
        return await self.store.events(lease_id, after=after, limit=limit)

    async def remote(self, ref: str) -> Remote:
        """SSH to a running machine.

        Raises:
            NoSuchLease, UsageError: there is none, or it does not run.
        """
        lease = await self.store.find_lease(ref)
        rows = (await self.store.attempts([lease.id])).get(lease.id, [])
        live = [row for row in rows if row.state == "live" and row.address is not None]
        if not live or live[-1].address is None:
            raise UsageError(f"{lease.name} is {lease.state}: there is nothing to reach", hint="see: orch ps")
        return Remote(self.engine.target(live[-1], live[-1].address))

    async def gc(self, *, delete: bool = False, on_event: OnEvent | None = None) -> list[Stray]:
        """Find machines with our mark that no open lease accounts for; the providers are asked first, our records
        second. With *delete* they are ended.
        """
        listener = LISTENER.set(on_event)
        try:
            return await sweep(self.engine, delete=delete)
        finally:
            LISTENER.reset(listener)

    # -- providers ----------------------------------------------------------------------------------------

    async def providers(self) -> list[ProviderState]:
        """Every registered provider, whether it is configured, and what is held back there."""
        holds = await self.store.holds()
        states = []
        for name, entry in registry.entries().items():
            facts = registry.load(entry.adapter).facts
            mine = [hold for hold in holds if hold.provider == name]
            states.append(
                ProviderState(
                    name=name,
                    title=entry.title,
                    configured_from=entry.configured(self.values),
                    workloads=tuple(facts.workloads),
                    markets=tuple(facts.markets),
                    egress=facts.egress,
                    dead_man=facts.dead_man,
                    holds=tuple({"key": h.key, "until": h.until, "drops": h.drops, "why": h.why} for h in mine),
                )
            )
        return states

    async def check(self, names: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Ask each provider whether it can be used, and what to do where it cannot (`checkup.Finding`, as JSON)."""
        return await checkup.check(self.engine.providers, names, values=self.values, env=self.env, store=self.store)

    # -- inside -------------------------------------------------------------------------------------------

    async def _views(self, leases: Sequence[LeaseRow]) -> list[Lease]:
        attempts = await self.store.attempts([lease.id for lease in leases])
        return lease_views(leases, attempts, self.env)

    @contextlib.asynccontextmanager
    async def _beating(self) -> AsyncIterator[None]:
        """Keep our claims alive while we work. Virtual time has no need of it, and would run away."""
        if isinstance(self.env, ManualEnv):
            yield
            return
        task = asyncio.create_task(heartbeat(self.engine))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def usable_folder(folder: Path) -> None:
    """Make the state folder.

    Raises:
        ConfigError: it cannot be made or written.
    """
    hint = "choose another with --state-dir or ORCH_STATE_DIR"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"the state folder {folder} cannot be made: {error.strerror}", hint=hint) from None
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"the state folder {folder} is not writable", hint=hint)


def _hold(row: HoldRow) -> Hold:
    return Hold(
        provider=row.provider,
        account=row.account,
        region=row.region,
        zone=row.zone,
        instance_type=row.instance_type,
        host_id=row.host_id,
        offer_id=row.offer_id,
        gpu=row.gpu,
        until=row.until,
        drops=row.drops,
        min_usd_per_hour=row.min_usd_per_hour,
        why=row.why,
    )
