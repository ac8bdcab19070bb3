"""Fluence under the contract. The wire is `client.py`, the meaning of refusals `errors.py`.

Three traps shape it. Only an ACTIVE machine can be ended, and a second DELETE is an error, so `terminate`
looks, asks and looks again. Lists hold ended machines and no addresses, so `find` fetches the detail. And a
machine that was accepted may still turn FAILED, which is a lack of capacity and not a bad host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar, TypeVar

import msgspec

from providers.base import (
    AttemptRef,
    Context,
    Facts,
    Instance,
    LaunchSpec,
    Listing,
    Offer,
    Phase,
    Provider,
    Query,
    Rate,
    key_account,
)
from providers.errors import (
    AuthFailed,
    NoCapacity,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Unavailable,
)
from providers.fluence import bodies, offers
from providers.fluence.client import API_URL, Client
from providers.fluence.errors import OS_IMAGE, images_in
from providers.fluence.instances import TERMINAL, doomed, instance_of, phase_of
from providers.fluence.wire import KINDS, Kind, Machine
from providers.http import check_base_url
from providers.naming import is_ours

KEY, URL = "FLUENCE_API_KEY", "ORCH_FLUENCE_URL"
HALF_A_CENT = Decimal("0.005")

T = TypeVar("T")


class Fluence(Provider):
    """Containers, virtual machines and bare metal at Fluence.

    Raises:
        BadUrl: `ORCH_FLUENCE_URL` would send the key in the clear.
    """

    name = "fluence"
    facts: ClassVar[Facts] = Facts(
        consistency_s=180.0,  # unverified: how late a new instance is listed is not documented
        accept_s=900.0,
        boot_s=600.0,
        rates=(Rate(verbs=("*",), spacing_s=0.5),),  # no limit is documented: a courtesy
        replayable_create=False,
        token_in="name",  # noqa: S106 - no password, just where our mark is
        terminate_pending=False,
        dead_man=None,
        workloads=("container", "vm", "bare-metal"),
        markets=("decentralized",),
        capabilities=frozenset({"image", "cmd", "env", "ports", "accept-then-fail", "price-drift"}),
        only_containers=frozenset({"image", "cmd", "env"}),
        egress="0 USD/GB by the provider's claim; no traffic field in plans or bills",
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        key = context.settings.get(KEY, "").strip()
        self._base_url = check_base_url(context.settings.get(URL) or API_URL, URL)
        self._account = key_account(self.name, key)
        self._key = key
        self._client: Client | None = None

    async def account(self) -> str:
        """A keyed hash: the GPU API names no account. With a new key the account looks like another one."""
        self._wire()
        return self._account

    async def offers(self, query: Query) -> Listing:
        """All three trees. Everything listed can be ordered; what is taken is not listed."""
        unique: dict[str, Offer] = {}
        for tree in await _together(self._offers(kind, "offers") for kind in KINDS):
            for offer in tree:
                unique.setdefault(offer.offer_id, offer)
        wanted = [offer for offer in unique.values() if not query.gpus or offer.gpu in query.gpus]
        note = "" if wanted else f"rents no {', '.join(query.gpus) or 'GPU'} now"
        return Listing(wanted, note=note)

    async def price(self, offer: Offer) -> Offer | None:
        """There is no call for one plan, so that tree's plans are read again."""
        kind, _, _ = offers.target(offer)
        return offers.pick(await self._offers(kind, "price"), offer)

    async def resolve(self, offer: Offer, spec: LaunchSpec) -> LaunchSpec:
        """Chooses the image: of the container, or of the operating system from those the option has."""
        kind, _, _ = offers.target(offer)
        bodies.check_fits(kind, spec)
        if kind != "containers":
            return _with_native(spec, os_image=await self._os_image(offer, spec))
        return _with_native(spec, image=spec.image or await self._default_image())

    async def launch(self, offer: Offer, spec: LaunchSpec, token: str) -> Instance:
        kind, plan_id, location = offers.target(offer)
        bodies.check_fits(kind, spec)
        if kind == "containers":
            image = str(spec.native.get("image") or spec.image or bodies.DEFAULT_IMAGE)
            body = bodies.container_body(spec, plan_id=plan_id, location=location, name=token, image=image)
            id_ = await self._create(kind, body)
        else:
            os_image = str(spec.native.get("os_image") or await self._os_image(offer, spec))
            id_ = await self._create_machine(kind, plan_id, spec, token, os_image)
        return Instance(
            provider=self.name,
            account=self._account,
            id=id_,
            handle={"kind": kind},
            token=token,
            phase=Phase.PENDING,
        )

    async def find(self, attempt: AttemptRef) -> Instance | None:
        kind = _kind(attempt.handle) or offers.target(attempt.offer)[0]
        if attempt.instance_id is not None:
            machine = await self._wire().machine(kind, attempt.instance_id, verb="find")
            if machine is not None:
                return await self._seen(machine, attempt)
        listed = [one for one in await self._wire().machines(kind, verb="find") if one.name == attempt.token]
        if not listed:
            return None
        # Names need not be unique: the living one counts, then the newest.
        newest = sorted(listed, key=lambda one: str(one.created_at or ""), reverse=True)
        best = min(newest, key=lambda one: phase_of(one) in TERMINAL)
        if phase_of(best) in TERMINAL:
            return instance_of(best, account=self._account)
        detail = await self._wire().machine(kind, best.id, verb="find")
        if detail is None:  # listed, but its detail is not there yet (or any more): no address
            return instance_of(best, account=self._account)
        return await self._seen(detail, attempt)

    async def owned(self) -> list[Instance]:
        """The marked instances of all three trees that have not ended. History is in the lists, too."""
        trees = await _together(self._wire().machines(kind, verb="owned") for kind in KINDS)
        return [
            instance_of(machine, account=self._account)
            for tree in trees
            for machine in tree
            if is_ours(machine.name, self.context.owner) and phase_of(machine) not in TERMINAL
        ]

    async def terminate(self, instance: Instance) -> bool:
        """Look; if it is not over, ask; look again.

        While it is INITIALIZED nothing can be asked, and a refusal on ACTIVE may be a minimum runtime (20
        minutes with one upstream house): both answer False, to be called again.
        """
        kinds = [kind] if (kind := _kind(instance.handle)) else list(KINDS)
        ended = [await self._end(kind, instance.id) for kind in kinds]
        return all(ended)

    async def check(self) -> dict[str, str]:
        """Proves that the GPU service takes the key; what the account service says may stay unknown."""
        asked_at = self.env.now()
        server = await self._wire().server_time()
        skew = None if server is None or server.tzinfo is None else (asked_at - server).total_seconds()
        return {
            "account": self._account,
            "key": "accepted",
            "rights": "reading works; whether the key may rent shows at the first launch",
            "balance": await self._balance(),
            "service": await self._service(),
            "clock_skew": "unknown" if skew is None else f"{skew:.0f} s",
        }

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _wire(self) -> Client:
        """The client, made at the first call.

        Raises:
            AuthFailed: there is no key, or it cannot be one.
        """
        if self._client is None:
            if not self._key:
                raise AuthFailed(f"{KEY} is not set", code="no-key")
            if not (self._key.isascii() and self._key.isprintable()) or " " in self._key:
                # It would fail deep in the HTTP library, with the key in the message.
                raise AuthFailed(f"{KEY} holds characters that no key has", code="bad-key")
            self._client = Client(
                self.context,
                key=self._key,
                base_url=self._base_url,
                facts=self.facts,
                account=self._account,
            )
        return self._client

    async def _offers(self, kind: Kind, verb: str) -> list[Offer]:
        plans = await self._wire().plans(kind, verb=verb)
        now = self.env.now()
        return [offer for plan in plans for offer in offers.offers_of(plan, account=self._account, observed_at=now)]

    async def _default_image(self) -> str:
        try:
            return bodies.pick_image(await self._wire().default_images())
        except ProviderError:  # nothing is lost: the documented name is a constant
            return bodies.DEFAULT_IMAGE

    async def _os_image(self, offer: Offer, spec: LaunchSpec) -> str:
        known = _options(offer)
        if not known and (fresh := await self.price(offer)) is not None:
            known = _options(fresh)
        chosen = spec.native.get("os_image")
        if isinstance(chosen, str) and (chosen in known or not known):
            return chosen
        return bodies.pick_os(known) or bodies.DEFAULT_OS_IMAGE

    async def _create_machine(self, kind: Kind, plan_id: str, spec: LaunchSpec, token: str, os_image: str) -> str:
        body = bodies.machine_body(spec, plan_id=plan_id, name=token, os_image=os_image)
        try:
            return await self._create(kind, body)
        except NoCapacity as error:
            # A parsed refusal, so nothing was made: one more try with an image that is on its list.
            other = bodies.pick_os(images_in(error.message)) if error.code == OS_IMAGE else None
            if other is None or other == os_image:
                raise
        return await self._create(kind, {**body, "os_image": other})

    async def _create(self, kind: Kind, body: dict[str, object]) -> str:
        try:
            return await self._wire().create(kind, body)
        except NoCapacity as error:
            # The texts of this refusal are not documented: each is counted, so that the table can learn.
            if error.code != OS_IMAGE and self.context.on_unclassified is not None:
                self.context.on_unclassified(self.name, error.code, error.message)
            raise

    async def _seen(self, machine: Machine, attempt: AttemptRef) -> Instance:
        failure, promised = None, attempt.offer.usd_per_hour
        if phase_of(machine) is Phase.RUNNING and machine.container_status == "not_started":
            failure = await self._doomed(machine, attempt.spec)
        seen = instance_of(machine, account=self._account, failure=failure, with_address=True)
        rate = seen.usd_per_hour
        if rate is not None and promised is not None and abs(rate - promised) <= HALF_A_CENT:
            # Bills are rounded to cents; of a cheap machine's rate that is more than a price may drift.
            seen = replace(seen, usd_per_hour=promised)
        return seen

    async def _doomed(self, machine: Machine, spec: LaunchSpec) -> ProviderError | None:
        try:
            events = await self._wire().events(machine.id)
        except ProviderError:  # events only explain; without them the boot deadline decides
            return None
        return doomed(events, own_image=spec.image is None and spec.cmd is None)

    async def _end(self, kind: Kind, id_: str) -> bool:
        phase = await self._phase(kind, id_)
        if phase in TERMINAL:
            return True
        if phase is Phase.PENDING:
            return False
        refused = ""
        try:
            await self._wire().delete(kind, id_)
        except (RateLimited, Unavailable, OutcomeUnknown):
            raise
        except ProviderError as error:
            refused = str(error)
        phase = await self._phase(kind, id_)
        if refused and phase not in TERMINAL and self.context.on_unclassified is not None:
            self.context.on_unclassified(self.name, "delete-refused", refused)
        return phase in TERMINAL

    async def _phase(self, kind: Kind, id_: str) -> Phase:
        """The phase now; GONE if there is no such instance.

        A 404 alone proves little (a path that moved says the same), so the list has to agree.
        """
        machine = await self._wire().machine(kind, id_, verb="terminate")
        if machine is None:
            listed = await self._wire().machines(kind, verb="terminate")
            machine = next((one for one in listed if one.id == id_), None)
        return Phase.GONE if machine is None else phase_of(machine)

    async def _balance(self) -> str:
        try:
            rows = await self._wire().balances()
        except ProviderError:
            return "unknown"
        if len(rows) == 1:
            return f"{rows[0][1]} USD"
        return ", ".join(f"{feature}: {balance} USD" for feature, balance in rows) or "unknown"

    async def _service(self) -> str:
        try:
            status = await self._wire().service_status()
        except ProviderError:
            return "unknown"
        if status.maintenance is None:
            return "unknown"
        return "under maintenance" if status.maintenance else f"up (version {status.version or 'unknown'})"


async def _together(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results, or the first failure once no call is under way any more."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _kind(handle: dict[str, str] | None) -> Kind | None:
    return next((kind for kind in KINDS if handle and handle.get("kind") == kind), None)


def _options(offer: Offer) -> tuple[str, ...]:
    return tuple(filter(None, str(offer.native.get("os_options") or "").split("\n")))


def _with_native(spec: LaunchSpec, **more: str) -> LaunchSpec:
    return msgspec.structs.replace(spec, native={**spec.native, **more})
