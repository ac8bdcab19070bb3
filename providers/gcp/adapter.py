"""Google Compute Engine behind the provider contract: GPU machines, on demand and spot, zone by zone.

Traps that shape it: a create answers 200 long before it is known whether there is any capacity, so its operation is
watched; names are unique per zone only; a stopped machine's disk bills on, so every end is a deletion; and prices are
those of cores, memory and GPUs, found by their descriptions.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import msgspec

from providers.base import (
    AttemptRef,
    Context,
    Facts,
    Instance,
    LaunchSpec,
    Listing,
    Offer,
    Provider,
    Query,
    Rate,
)
from providers.errors import (
    AuthFailed,
    Forbidden,
    OutcomeUnknown,
    ProviderError,
    Unavailable,
)
from providers.gcp import (
    checks,
    credentials,
    firewall,
    hardware,
    images,
    instances,
    launching,
    market,
    minting,
    offers,
    operations,
    prices,
    quotas,
    regions,
    request,
)
from providers.gcp.catalog import Catalog
from providers.gcp.client import Client
from providers.gcp.credentials import URL_SETTING
from providers.gcp.errors import EXISTS
from providers.gcp.together import both, tried
from providers.http import check_base_url

NETWORK_SETTING = "ORCH_GCP_NETWORK"
_DROP_S = 20.0
_MOST_LACKING = 4

FACTS = Facts(
    # Reads by name are exact at once; lists are taken to be, and a margin does no harm.
    consistency_s=60.0,
    accept_s=900.0,
    boot_s=600.0,
    # A project has 1500 calls a minute by default.
    rates=(Rate(verbs=("*",), spacing_s=0.045),),
    page_size=500,
    replayable_create=True,
    token_in="tags",  # noqa: S106 - where our mark is
    terminate_pending=True,
    dead_man="maxRunDuration with the action DELETE: Google itself deletes the machine (up to 120 days ahead)",
    workloads=("vm",),
    markets=("hyperscaler",),
    capabilities=frozenset(["image", "cmd", "env", "ports", "disk", "spot", "quota", "accept-then-fail"]),
    egress="200 GiB a month free where listed, then 0.085 USD/GiB and less (Standard Tier), Premium Tier from 0.12",
)


class _Opened(NamedTuple):
    client: Client
    catalog: Catalog
    origin: str


class Gcp(Provider):
    """Google Cloud's GPU machines.

    Settings: `GOOGLE_APPLICATION_CREDENTIALS`, else gcloud's file (under `CLOUDSDK_CONFIG`, else `HOME`), else the
    metadata server; `GOOGLE_CLOUD_PROJECT` or `CLOUDSDK_CORE_PROJECT`; `ORCH_GCP_REGIONS`, `ORCH_GCP_NETWORK` (the
    name of a network with automatic subnets); `ORCH_GCP_URL`, and with a loopback one `ORCH_GCP_TOKEN`.

    Raises:
        MissingExtra: google-auth is not installed.
        BadUrl: `ORCH_GCP_URL` would send tokens in the clear.
        BadRegion: a region cannot be one.
    """

    name = "gcp"
    facts: ClassVar[Facts] = FACTS

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        settings = context.settings
        url = settings.get(URL_SETTING)
        self._url = check_base_url(url, URL_SETTING) if url else None
        self._regions = regions.searched(settings)
        self._network = settings.get(NETWORK_SETTING, "").strip() or request.DEFAULT_NETWORK
        if not settings.get(credentials.TOKEN_SETTING):
            minting.check_installed()
        self._opening = asyncio.Lock()
        self._opened: _Opened | None = None
        self._account: str | None = None

    async def account(self) -> str:
        """The project's number, from Compute Engine: unlike its id, it is never given to another project."""
        if self._account is None:
            client = (await self._open()).client
            project = await client.seek("", verb="account")
            if project is None:
                raise Forbidden(f"there is no project {client.project}, or the key may not see it", code="notFound")
            self._account = str(project.get("id") or project.get("name") or client.project)
        return self._account

    async def offers(self, query: Query) -> Listing:
        """Every type with such a GPU in every zone of the searched regions, at live prices.

        Partial, with a note, where a zone could not be read. Offers beyond the project's quota are marked as not to
        be had, and the note says which quota it is.
        """
        if not set(offers.WAYS) & set(query.pricing):
            return Listing([], note="rents on demand and spot only")
        if query.gpus and not any(hardware.wanted([gpu]) != ((), ()) for gpu in query.gpus):
            return Listing([], note=_rents_no(query.gpus))
        opened = await self._open()
        (account, (machines, notes)), (rates, table) = await both(
            both(self.account(), market.read(opened.client, query.gpus, self._regions)),
            both(opened.catalog.rates(), tried(quotas.read(opened.client, verb="offers"))),
        )
        if isinstance(table, AuthFailed):
            raise table
        partial = bool(notes)
        if isinstance(table, ProviderError):
            notes.append(f"quotas not read: {table}")
        read = offers.Market(machines, rates, None if isinstance(table, ProviderError) else table)
        found, lacking = offers.build(read, query, account=account, now=self.env.now())
        if lacking:
            more = f" and {len(lacking) - _MOST_LACKING} more" if len(lacking) > _MOST_LACKING else ""
            notes.append(f"no quota left: {', '.join(lacking[:_MOST_LACKING])}{more}")
        sold = {offer.gpu for offer in found}
        never = [gpu for gpu in query.gpus if hardware.wanted([gpu]) == ((), ())]
        absent = [gpu for gpu in query.gpus if gpu not in sold and gpu not in never]
        if never:
            notes.insert(0, _rents_no(never))
        if absent:
            notes.insert(0, f"no {', '.join(absent)} for sale that way in {', '.join(self._regions)}")
        return Listing(found, partial=partial, note="; ".join(notes))

    async def price(self, offer: Offer) -> Offer | None:
        """Whether the zone still has that type, and what its parts cost on Google's list now."""
        client, catalog, _ = await self._open()
        kind, zone = offers.machine_type_of(offer), offers.zone_of(offer)
        keys = prices.parts_of(kind, str(offer.native.get("accelerator") or ""), spot=offer.pricing == "spot")
        found, rates = await both(
            market.again(client, zone, kind, attached=bool(offer.native.get("attached"))),
            catalog.fresh(keys, regions.of_zone(zone)),
        )
        return offers.requote(offer, found, rates, self.env.now())

    async def resolve(self, offer: Offer, spec: LaunchSpec) -> LaunchSpec:
        """Pins the exact image, and looks whether the network lets SSH in."""
        client = (await self._open()).client
        image, rule = await both(
            images.resolve(client, arch=offer.arch or "x86_64", wanted=spec.image),
            firewall.needed(client, self._network, spec.ports),
        )
        native: dict[str, Any] = {
            **spec.native,
            "image": image.path,
            "ssh_user": images.USER,
            "disk_gib": max(spec.disk_gib, image.least_gib, int(offers.LEAST_DISK_GIB)),
            "network": self._network,
            "firewall": spec.name if rule else "",
        }
        seconds = request.run_seconds(spec.ends_at, self.env.now())
        if seconds is not None:
            native["max_run_s"] = seconds
        resolved = msgspec.structs.replace(spec, native=native)
        request.instance(offer, resolved, spec.name, project=client.project)  # what cannot be sent is refused here
        return resolved

    async def launch(self, offer: Offer, spec: LaunchSpec, token: str) -> Instance:
        """Insert, sent once, and its operation watched for missing capacity.

        A repeat under the same token is the same request; where the name is taken, the machine is ours if its labels
        say so.
        """
        client = (await self._open()).client
        account = await self.account()
        if "image" not in spec.native:
            spec = await self.resolve(offer, spec)
        rule = str(spec.native.get("firewall") or "")
        try:
            if rule:
                await firewall.ensure(client, self.env, spec, rule)
            return await launching.insert(client, self.context, account, offer, spec, token)
        except OutcomeUnknown:
            raise
        except ProviderError as error:
            if rule and not await self._dropped(client, rule, spec.owner):
                left = instances.rule(rule, account=account, zone=offers.zone_of(offer), owner=spec.owner)
                error.left = (*error.left, left)
            raise

    async def find(self, attempt: AttemptRef) -> Instance | None:
        """By name in the attempt's zone, where it is unique; else by the operation that is to make it."""
        client = (await self._open()).client
        account = await self.account()
        spec, handle = attempt.spec, attempt.handle or {}
        zone, name = handle.get("zone") or offers.zone_of(attempt.offer), handle.get("name") or attempt.token
        making = handle.get("operation", "")
        row = await client.seek(f"zones/{zone}/instances/{name}", verb="find")
        if row is not None and instances.is_ours(row, spec.owner):
            user = str(spec.native.get("ssh_user") or "") or None
            return instances.read(row, account=account, zone=zone, user=user, operation=making)
        rule = str(spec.native.get("firewall") or "")
        operation = await self._operation(client, attempt, zone, name)
        if operation is not None:
            known = instances.begun(operation, account=account, zone=zone, name=name, owner=spec.owner, firewall=rule)
            if not operations.is_done(operation):
                return known
            failure = operations.failure(operation)
            # Nobody has to end what a create that was never answered has not made.
            if failure is not None and attempt.instance_id is not None and failure.code not in EXISTS:
                return instances.failed(replace(known, id=attempt.instance_id), failure)
        if rule and await firewall.is_there(client, rule, spec.owner, verb="find"):
            return instances.rule(rule, account=account, zone=zone, owner=spec.owner)
        return None

    async def owned(self) -> list[Instance]:
        """Every machine with our full owner id, in all zones of the project, stopped ones included.

        Raises:
            Unavailable: a zone could not be read: half a list would look like the whole.
        """
        client = (await self._open()).client
        account = await self.account()
        owner = self.context.owner
        params = {"filter": f"labels.{request.OWNER_LABEL}={owner}"}
        found: list[Instance] = []
        async for zone, rows, warning in market.scopes(client, "instances", "instances", verb="owned", params=params):
            if warning:
                raise Unavailable(f"gcp: the machines of {zone} cannot be listed now", code=warning, scope="provider")
            found += [instances.read(row, account=account, zone=zone) for row in rows if instances.is_ours(row, owner)]
        return found

    async def terminate(self, instance: Instance) -> bool:
        """Ask for the deletion until there is no such machine; then its firewall rule, if it has one.

        Disk and address go with the machine. While the operation that makes it runs, it may still appear.

        Raises:
            Forbidden: it is another project's, so that not finding it proves nothing.
        """
        client = (await self._open()).client
        account = await self.account()
        handle = instance.handle
        zone, name = handle.get("zone", ""), handle.get("name") or instance.token or ""
        if instance.account and instance.account != account:
            raise Forbidden(f"{instance.id} is in another project than the key opens now", code="other-account")
        # Also where only the rule was found: its machine may have come after it.
        path = f"zones/{zone}/instances/{name}"
        row = await client.seek(path, verb="terminate")
        ours = row is None or str(row.get("id")) == instance.id or instances.is_ours(row, self.context.owner)
        if ours and await launching.delete(client, path):
            return False
        if handle.get("operation"):
            making = await operations.get(client, f"zones/{zone}", handle["operation"], verb="terminate")
            if making is not None and not operations.is_done(making):
                return False
        rule = handle.get("firewall", "")
        return not rule or await firewall.drop(client, rule, self.context.owner, verb="terminate")

    async def check(self) -> dict[str, str]:
        """Key, rights as far as they show, quotas and clock."""
        client, _, origin = await self._open()
        account = await self.account()
        return {
            "account": account,
            "key": f"accepted ({origin})",
            "project": client.project,
            "regions": ", ".join(self._regions),
            **await checks.read(client, self._regions),
        }

    async def aclose(self) -> None:
        """Close connections."""
        if self._opened is not None:
            await self._opened.catalog.aclose()
            await self._opened.client.aclose()
            self._opened = None

    async def _open(self) -> _Opened:
        """The client, made at first use, so that missing credentials are a provider's failure."""
        async with self._opening:
            if self._opened is None:
                source = credentials.load(self.context.settings)
                tokens = minting.Tokens(source)
                client = Client(
                    self.context,
                    tokens,
                    project=await tokens.project(),
                    url=self._url,
                    facts=FACTS,
                    quota_project=source.quota_project,
                    secrets=(source.token,) if source.token else (),
                )
                self._opened = _Opened(client, Catalog(client, self.env), source.origin)
            return self._opened

    async def _operation(self, client: Client, attempt: AttemptRef, zone: str, name: str) -> dict[str, Any] | None:
        making = (attempt.handle or {}).get("operation")
        if making:
            return await operations.get(client, f"zones/{zone}", making, verb="find")
        if attempt.instance_id is not None:
            return None
        asked = request.request_id("insert", attempt.token, zone)
        return await operations.find_insert(client, zone, name, asked, verb="find")

    async def _dropped(self, client: Client, rule: str, owner: str) -> bool:
        end = self.env.monotonic() + _DROP_S
        while True:
            if await tried(firewall.drop(client, rule, owner, verb="resolve")) is True:
                return True
            if self.env.monotonic() >= end:
                return False
            await self.env.sleep(2.0)


def _rents_no(names: tuple[str, ...] | list[str]) -> str:
    return f"rents no {', '.join(name.upper() for name in names)} (it has {hardware.HAS})"
