"""Paperspace Machines behind the provider contract: one virtual machine a launch, on demand.

Traps that shape it: the API tells no prices, so the promise is a dated list's and the machine's own `usageRate` is
held against it; a create may succeed and the machine stay `off`, which is a lack of capacity; SSH keys have no API,
so each launch brings a startup script that has to go again; names are not unique and nothing can be replayed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
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
    Forbidden,
    InvalidRequest,
    NoCapacity,
    OfferGone,
    OutcomeUnknown,
    ProviderError,
    Unavailable,
)
from providers.http import check_base_url
from providers.paperspace import checks, credentials, instances, offers, request, scripts, templates
from providers.paperspace.catalog import Kind
from providers.paperspace.client import BASE_URL, PAGE_SIZE, Client
from providers.paperspace.fields import record, text

URL_SETTING = "ORCH_PAPERSPACE_URL"  # replaces scheme and host; the vendor's path stays
VENDOR_URL_SETTING = "PAPERSPACE_API_URL"  # the vendor's own: all of it, with the path
#: For how long after a launch "does not exist" is not believed by `terminate`. Nobody has seen a machine show up
#: late under its id, so this is short; `find` waits out the whole consistency window.
UNSEEN_S = 10.0
#: Questions for availability under way at once: there is one for each type and region, and limits are not published.
AT_ONCE = 6

T = TypeVar("T")

FACTS = Facts(
    # How late a new machine is listed is not known; two minutes are what clients of others were bitten by.
    consistency_s=120.0,
    # More than ten minutes of provisioning are abnormal, say the documents.
    accept_s=900.0,
    boot_s=600.0,
    # No limit is published, only that there is one: a courtesy.
    rates=(Rate(verbs=("find", "owned", "terminate"), spacing_s=0.1),),
    page_size=PAGE_SIZE,
    replayable_create=False,
    token_in="name",  # noqa: S106 - no password, just where our mark is
    terminate_pending=True,
    dead_man=None,  # auto-shutdown only stops: the disk bills on
    workloads=("vm",),
    markets=("specialist",),
    capabilities=frozenset({"cmd", "env", "disk", "accept-then-fail", "price-in-machine"}),
    egress="free and unlimited, says the limits page; above 1 Gbit/s for 10 s it is throttled to 200 Mbit/s",
)


class Paperspace(Provider):
    """Paperspace's on-demand machines.

    Settings: `PAPERSPACE_API_KEY` or the files of `pspace` under `HOME` (see `credentials`), `PAPERSPACE_API_URL`,
    `ORCH_PAPERSPACE_URL`. Without a key every method raises `AuthFailed`.

    Raises:
        BadUrl: one of the URLs would send the key in the clear.
    """

    name = "paperspace"
    facts: ClassVar[Facts] = FACTS

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        ours, theirs = context.settings.get(URL_SETTING), context.settings.get(VENDOR_URL_SETTING)
        if ours:
            self._base_url = f"{check_base_url(ours, URL_SETTING)}/v1"
        else:
            self._base_url = check_base_url(theirs or BASE_URL, VENDOR_URL_SETTING)
        self._opened: tuple[Client, credentials.Credentials] | None = None
        self._account: str | None = None

    async def account(self) -> str:
        """The team's id; read once, for a key belongs to one team. A keyed hash where the session names no team."""
        if self._account is None:
            self._account = self._account_of(await self._session())
        return self._account

    async def offers(self, query: Query) -> Listing:
        """Every type with GPUs in every region it is sold in; the stock of each is asked for, one by one."""
        if "on-demand" not in query.pricing:
            return Listing([], note="rents on demand only")
        client, _ = self._open()
        account = await self.account()
        rows = await client.templates(verb="offers")
        wanted = offers.wanted(rows, query)
        free = await self._stock([(kind, region) for kind in wanted for region in kind.regions], rows)
        now = self.env.now()
        found: list[Offer] = []
        for kind in wanted:
            stock = {region: free[kind.label, region] for region in kind.regions if (kind.label, region) in free}
            template = templates.pick(rows, kind.label)
            found += offers.offers_of(kind, template, stock, disk_gib=query.disk_gib, account=account, now=now)
        return Listing(found, note=offers.note(query, found, offers.wanted(rows, Query())))

    async def price(self, offer: Offer) -> Offer | None:
        """Ask for the stock again: one call. The price is the list's; None if the type is not sold there any more."""
        label, region = offers.target(offer)
        try:
            available = await self._open()[0].available(label, region, verb="price")
        except (InvalidRequest, OfferGone):
            return None
        return offers.requote(offer, available, self.env.now())

    async def resolve(self, offer: Offer, spec: LaunchSpec) -> LaunchSpec:
        """Chooses operating system and disk, and asks whether the account may pay at all. Makes nothing."""
        client, _ = self._open()
        request.check_fits(spec)
        label, _ = offers.target(offer)
        await checks.standing(client)
        native: dict[str, Any] = {}
        if "template" not in spec.native:
            native |= await self._template(client, label, spec)
        return msgspec.structs.replace(spec, native={**spec.native, **native})

    async def launch(self, offer: Offer, spec: LaunchSpec, token: str) -> Instance:
        """Make the startup script, then the machine with it. A refused machine takes its script along."""
        client, _ = self._open()
        request.check_fits(spec)
        label, _ = offers.target(offer)
        account = await self.account()
        native = spec.native if "template" in spec.native else await self._template(client, label, spec)
        secrets = (*spec.env.values(), *([spec.cmd] if spec.cmd else []))
        script = await scripts.make(client, token, request.startup_script(spec), account=account, secrets=secrets)
        disk = native.get("disk") or request.disk_of(spec, None)
        body = request.body(offer, spec, token, template=str(native["template"]), disk=int(disk), script=script)
        try:
            machine, event = await client.create_machine(body)
        except OutcomeUnknown as error:
            # If the machine was made it may still read its script. Its end waits for that to be known (`terminate`).
            error.left += (instances.read_script({"id": script, "name": token}, account=account),)
            raise
        except ProviderError as error:
            error.left += await scripts.drop(client, script, token, account=account)
            raise
        now = self.env.now()
        seen = instances.read({**machine, "name": token}, account=account, now=now, events=[event])
        seen.handle.update(instances.handle_of(token, made_at=now))
        return seen

    async def find(self, attempt: AttemptRef) -> Instance | None:
        """By id once that is known, else by its exact name in the list. A startup script alone is no instance."""
        client, _ = self._open()
        account = await self.account()
        if attempt.instance_id is not None:
            machine = await self._look(attempt.instance_id, attempt.token, "find")
            return self._missing(attempt, account) if machine is None else await self._seen(machine, account)
        listed = scripts.named(await client.machines(verb="find", name=attempt.token), attempt.token)
        # Names are not unique. Of two, a live one counts, then the older; `owned` shows both.
        listed.sort(key=lambda row: (instances.is_deleted(row), str(row.get("dtCreated") or ""), str(row["id"])))
        if listed:
            return await self._seen(dict(listed[0]), account)
        if attempt.account == account:
            await scripts.sweep(client, attempt.token, owner=self.context.owner, now=self.env.now())
        return None

    async def owned(self) -> list[Instance]:
        """All machines with our mark, and the startup scripts with our mark that no machine came with."""
        client, _ = self._open()
        account, now, owner = await self.account(), self.env.now(), self.context.owner
        # Scripts first: a machine that is made meanwhile is then seen with its script, and not the script alone.
        marked = [row for row in _identified(await client.scripts(verb="owned")) if instances.is_ours(row, owner)]
        machines = [row for row in _identified(await client.machines(verb="owned")) if instances.is_ours(row, owner)]
        alive = [row for row in machines if not instances.is_deleted(row)]
        names = {text(row.get("name")) for row in alive}
        orphans = [row for row in marked if text(row.get("name")) not in names]
        found = [instances.read(row, account=account, now=now) for row in alive]
        return found + [instances.read_script(row, account=account) for row in orphans]

    async def terminate(self, instance: Instance) -> bool:
        """Ask, then look: True once the machine is deleted or not known any more, and its script is gone, too.

        A startup script alone (`left`, or an orphan of `owned`) ends at once, unless there is a machine of that
        name: then it is that machine's and goes with it, and there is nothing apart to end.

        Raises:
            Forbidden: it was made under another account, where not finding it proves nothing.
            ProviderError: it was refused, and the machine is still there.
        """
        client, _ = self._open()
        name = instance.token or instance.handle.get("name")
        if instance.handle.get("kind") != instances.SCRIPT:
            ended = await self._end_machine(instance, name)
            return ended and (name is None or await scripts.end_all(client, name))
        await self._same_account(instance)
        if name is None or await self._alive(name):
            return True
        return await scripts.end_one(client, instance.id, name, now=self.env.now(), settled_s=FACTS.consistency_s)

    async def check(self) -> dict[str, str]:
        """The key opens a session; limits and standing are what the account says of itself."""
        client, known = self._open()
        session = await self._session()
        account = self._account_of(session)
        return await checks.report(client, session, account=account, origin=known.origin, owner=self.context.owner)

    async def aclose(self) -> None:
        """Close connections."""
        if self._opened is not None:
            await self._opened[0].aclose()
            self._opened = None

    def _open(self) -> tuple[Client, credentials.Credentials]:
        """The client and its credentials; made at first use, so that a missing key is a provider's failure and not
        one of construction."""
        if self._opened is None:
            known = credentials.load(self.context.settings)
            identity = key_account(self.name, known.key)
            client = Client(self.context, base_url=self._base_url, key=known.key, identity=identity, facts=FACTS)
            self._opened = (client, known)
        return self._opened

    async def _session(self) -> dict[str, Any]:
        session = await self._open()[0].session()
        if session is None:
            raise AuthFailed("paperspace opens no session with the key", code="no-session")
        return session

    def _account_of(self, session: dict[str, Any]) -> str:
        return text(record(session.get("team")).get("id")) or key_account(self.name, self._open()[1].key)

    async def _stock(
        self, places: list[tuple[Kind, str]], rows: list[dict[str, Any]]
    ) -> dict[tuple[str, str], bool | None]:
        """Whether each type is free in each region; a place where it is not sold is left out."""
        client, _ = self._open()
        gate = asyncio.Semaphore(AT_ONCE)

        async def ask(kind: Kind, region: str) -> tuple[tuple[str, str], bool | None] | None:
            where = (kind.label, region)
            if rows and templates.pick(rows, kind.label) is None:
                return where, False  # no operating system of ours boots on it
            async with gate:
                try:
                    return where, await client.available(kind.label, region, verb="offers")
                except (InvalidRequest, OfferGone):
                    return None

        return dict(filter(None, await _together(ask(kind, region) for kind, region in places)))

    async def _template(self, client: Client, label: str, spec: LaunchSpec) -> dict[str, Any]:
        chosen = templates.pick(await client.templates(verb="account"), label)
        if chosen is None:
            raise NoCapacity(f"paperspace has no Ubuntu for machines of type {label}", code="no-template", scope="type")
        disk = request.disk_of(spec, chosen.size_gib)
        return {"template": chosen.id, "template_title": chosen.title, "disk": disk}

    async def _seen(self, machine: dict[str, Any], account: str) -> Instance:
        """*machine* with what its events say, where only those tell."""
        client, _ = self._open()
        events: list[dict[str, Any]] = []
        if instances.needs_events(machine):
            try:
                events = await client.events(str(machine["id"]), verb="find")
            except ProviderError:
                events = []  # they only explain: without them age and the boot deadline decide
        seen = instances.read(machine, account=account, now=self.env.now(), events=events)
        if seen.phase is Phase.RUNNING and seen.address is None:
            # Whether lists show the address was not seen.
            alone = await client.machine(seen.id, verb="find")
            if alone is not None:
                seen = instances.read(alone, account=account, now=self.env.now())
        return seen

    async def _look(self, id_: str, name: str | None, verb: str, *, exists: bool = True) -> dict[str, Any] | None:
        """The machine as Paperspace shows it, or None if it is neither known by its id nor listed.

        A single "not found" proves little (a path that has moved says the same), so the list has to agree.

        Args:
            exists: False if Paperspace has just said that it knows no such id: then only the list is asked.
        """
        client, _ = self._open()
        machine = await client.machine(id_, verb=verb) if exists else None
        if machine is None:
            listed = _identified(await client.machines(verb=verb, name=name))
            machine = next((row for row in listed if row["id"] == id_), None)
        return machine

    async def _alive(self, name: str) -> bool:
        listed = scripts.named(await self._open()[0].machines(verb="terminate", name=name), name)
        return any(not instances.is_deleted(row) for row in listed)

    async def _end_machine(self, instance: Instance, name: str | None) -> bool:
        client, _ = self._open()
        known = True
        try:
            accepted = known = await client.delete_machine(instance.id)
        except Unavailable as error:
            if error.code != "busy":
                raise
            accepted = False  # on its way from one state to another: it is asked again next time
        machine = await self._look(instance.id, name, "terminate", exists=known)
        if machine is not None or accepted:
            return machine is None or instances.is_deleted(machine)
        await self._same_account(instance)
        age = instances.age_s(instance.handle, self.env.now())
        return age is None or age >= UNSEEN_S

    async def _same_account(self, instance: Instance) -> None:
        account = await self.account()
        if instance.account and instance.account != account:
            raise Forbidden(
                f"{instance.id} is in another account, so not finding it proves nothing",
                code="other-account",
                scope="account",
            )

    def _missing(self, attempt: AttemptRef, account: str) -> Instance | None:
        """Paperspace knows no machine with the attempt's id: it is gone, unless we looked too early or elsewhere."""
        age = instances.age_s(attempt.handle, self.env.now())
        if (age is not None and age < FACTS.consistency_s) or attempt.account != account:
            return None
        return Instance(
            provider=self.name,
            account=account,
            id=attempt.instance_id or "",
            handle=dict(attempt.handle or {}),
            token=attempt.token,
            phase=Phase.GONE,
        )


def _identified(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that have an id. One of ours without makes the listing unreadable."""
    rows = [row for row in listed if text(row.get("id"))]
    if any(instances.is_marked(row) for row in listed if row not in rows):
        raise Unavailable("paperspace lists something with our mark and no id", code="malformed", scope="provider")
    return rows


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
