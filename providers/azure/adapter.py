"""Azure behind the provider contract: GPU machines by the size, on demand and spot.

Three traps shape it. Accepted is not made: a machine that found no room fails minutes later, stays as a record, and
must be deleted. Most of what comes along with a machine outlives it unless told otherwise, so each attempt has a
resource group of its own, and the group's end is the proof. And everything is named before it is asked for, so a lost
answer is looked up by name, never in lists, which lag.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

import msgspec

from providers import naming
from providers.azure import (
    checks,
    credentials,
    groups,
    images,
    instances,
    machines,
    market,
    offers,
    prices,
    regions,
    request,
    sizes,
    userdata,
)
from providers.azure.client import NETWORK, Client
from providers.base import (
    Address,
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
)
from providers.errors import (
    AuthFailed,
    BootFailed,
    Forbidden,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Unavailable,
    Unclassified,
)
from providers.http import check_base_url

URL_SETTING = "ORCH_AZURE_URL"
#: ARM may not know a group everywhere at once: so young, "not found" is no proof of an end.
_YOUNG_S = 30.0
#: Refusals that mean: there is something of that name already.
_TAKEN = frozenset(["preconditionfailed", "propertychangenotallowed", "conflict", "anotheroperationinprogress"])
#: Of an on-demand size it means "not sold here", of a spot one also "none free now", which passes sooner.
_NOT_SOLD, _SPOT_HOLD_S = "skunotavailable", 3600.0

FACTS = Facts(
    # By name a machine is there with the answer to its create; some seconds for other front ends.
    consistency_s=60.0,
    # The driver extension of an A10 counts as booting and takes some minutes.
    accept_s=1200.0,
    boot_s=600.0,
    # Per subscription: writes and deletes are filled up by 10 a second, reads by 25.
    rates=(Rate(verbs=("launch", "terminate"), spacing_s=0.1), Rate(verbs=("find", "owned", "offers"), spacing_s=0.04)),
    page_size=None,
    replayable_create=True,
    token_in="tags",  # noqa: S106 - where our mark is
    terminate_pending=True,
    dead_man=None,  # a machine that shuts itself down stays allocated and is billed on
    workloads=("vm",),
    markets=("hyperscaler",),
    capabilities=frozenset(["image", "cmd", "env", "ports", "disk", "spot", "quota", "accept-then-fail"]),
    egress="100 GB a month free, then 0.04 USD/GB by the internet (USA) or 0.087 and less by Microsoft's network",
)


class Azure(Provider):
    """Azure's GPU machines.

    Settings: `AZURE_SUBSCRIPTION_ID`; `AZURE_TENANT_ID` and `AZURE_CLIENT_ID` with `AZURE_CLIENT_SECRET`,
    `AZURE_CLIENT_CERTIFICATE_PATH` or `AZURE_FEDERATED_TOKEN_FILE`, else the login of `az` (`AZURE_CONFIG_DIR`);
    `AZURE_AUTHORITY_HOST`, `AZURE_TOKEN_CREDENTIALS`; `ORCH_AZURE_REGIONS`, `ORCH_AZURE_SSH_FROM`, `ORCH_AZURE_URL`,
    `ORCH_AZURE_TOKEN` (loopback only).

    Raises:
        MissingExtra: azure-mgmt-compute is not installed.
        BadUrl: `ORCH_AZURE_URL` would send tokens in the clear.
        BadToken: `ORCH_AZURE_TOKEN` without a loopback `ORCH_AZURE_URL`.
        BadRegion: a region cannot be one.
    """

    name = "azure"
    facts: ClassVar[Facts] = FACTS

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        settings = context.settings
        url = settings.get(URL_SETTING)
        self._url = check_base_url(url, URL_SETTING) if url else None
        self._regions = regions.searched(settings)
        credentials.check_installed()
        self._client = Client(context, url=self._url, facts=FACTS)
        self._price_list: prices.Prices | None = None

    async def account(self) -> str:
        """The subscription's id: it stands in every path, so another one can never be asked by mistake."""
        return await self._client.subscription()

    async def offers(self, query: Query) -> Listing:
        """Every size with such a GPU in the searched regions, at live prices.

        What quota or a restriction forbids is there, not available, with the reason in `Offer.native`. Partial, with
        a note, where a region could not be read; no region at all raises.
        """
        notes = sizes.missing(query.gpus)
        if not {"on-demand", "spot"} & set(query.pricing):
            return Listing([], note="rents on demand and spot only")
        if query.gpus and len(notes) == len(query.gpus):
            return Listing([], note="; ".join(notes))
        account = await self.account()
        read, failed = await market.read(self._client, self._prices(), query, self._regions)
        found = offers.build(read, query, account=account, now=self.env.now())
        sold = {offer.gpu for offer in found}
        absent = [gpu for gpu in query.gpus if gpu not in sold and gpu in sizes.MODELS]
        if absent:
            notes.append(f"rents no {', '.join(absent)} in {', '.join(self._regions)}")
        barred = sum(offer.available is False for offer in found)
        if barred:
            notes.append(f"quota or a restriction of the subscription forbids {barred} of {len(found)} offers")
        return Listing(found, partial=bool(failed), note="; ".join([*notes, *failed]))

    async def price(self, offer: Offer) -> Offer | None:
        """The price list's answer for that size and region: one call, without a key."""
        region, size = offers.place(offer)
        found = await self._prices().machines(region, [size], verb="price")
        return offers.requote(offer, found, self.env.now())

    async def resolve(self, offer: Offer, spec: LaunchSpec) -> LaunchSpec:
        """Choose the image and write down all that the create needs. Asks nobody."""
        native = offer.native
        image = images.choose(str(native.get("driver") or ""), str(native.get("generations") or ""), spec.image)
        request.open_ports(spec.ports)
        return msgspec.structs.replace(
            spec,
            native={
                **spec.native,
                "image": image.reference,
                "driver": image.driver,
                "ssh_user": request.USER,
                "disk_gib": request.disk_gib(spec.disk_gib, images.LEAST_GIB),
                "custom_data": userdata.document(spec, user=request.USER),
                "route": str(native.get("route") or "microsoft"),
                "sources": request.sources(self.context.settings),
            },
        )

    async def launch(self, offer: Offer, spec: LaunchSpec, token: str) -> Instance:
        """Make the attempt's group and network, then the machine: that call is sent once.

        A machine of that name that is ours already is taken for the answer of an earlier call.
        """
        if "image" not in spec.native:
            spec = await self.resolve(offer, spec)
        account = await self.account()
        region, _ = offers.place(offer)
        asked_at = self.env.now()
        # What is refused here has made nothing.
        root = await groups.make(self._client, region, spec, token)
        try:
            await groups.connect(self._client, self.env, root, region, spec, token)
            body = request.machine(offer, spec, token, root=root)
            row, operation = await machines.create(self._client, token, token, body)
        except ProviderError as error:
            if offer.pricing == "spot" and error.code.lower() == _NOT_SOLD:
                error.hold_s = _SPOT_HOLD_S
            return await self._refused(error, region, spec, token)
        made = instances.read(
            row, account=account, region=region, created=asked_at, more={"operation": operation} if operation else {}
        )
        # The answer's tags are what we sent; a phase comes from `find` only.
        return replace(made, token=token, owner=spec.owner, phase=Phase.PENDING, failure=None)

    async def find(self, attempt: AttemptRef) -> Instance | None:
        """By name, which no lag can hide. Installs the driver where the image has none, and until that is done the
        machine counts as pending."""
        account = await self.account()
        group, name = _place(attempt)
        row = await machines.get(self._client, group, name, verb="find")
        if row is None:
            # Something may be left of a machine that there was: it must still be ended.
            known = attempt.instance_id is not None and naming.parse(group) is not None
            if known and await groups.exists(self._client, group, verb="find"):
                return instances.remains(account, group, owner=attempt.spec.owner, region=attempt.offer.region or "")
            return None
        if instances.mark(row) != (attempt.spec.owner, attempt.token):
            return None  # somebody else's thing of that name
        handle = attempt.handle or {}
        found = instances.read(row, account=account, more=handle)
        if found.phase is Phase.FAILED and not instances.view(row).code:
            cause = await machines.cause(self._client, handle.get("operation", ""))
            return replace(found, failure=cause or found.failure)
        return await self._reachable(found, row, attempt) if found.phase is Phase.RUNNING else found

    async def owned(self) -> list[Instance]:
        """Every machine and every resource group with our full owner id: three lists, whatever there is.

        Raises:
            ProviderError: one of them cannot be read: half a list would look like the whole.
        """
        account, owner = await self.account(), self.context.owner
        rows, states, ours = await _all(
            machines.listed(self._client, verb="owned"),
            machines.states(self._client, verb="owned"),
            groups.owned(self._client, owner, verb="owned"),
        )
        found = [
            instances.read(row, account=account, statuses=states.get(str(row.get("id") or "").lower()))
            for row in rows
            if instances.mark(row)[0] == owner
        ]
        seen = {instance.handle["group"] for instance in found}
        for group, going in sorted(ours.items()):
            if group not in seen and naming.is_ours(group, owner):
                found.append(await self._alone(account, group, going))
        return found

    async def terminate(self, instance: Instance) -> bool:
        """Ask for the machine's end, then for its group's. True once the group is gone: nothing can be left in it.

        Raises:
            Forbidden: it is another subscription's, so that not finding it proves nothing.
        """
        account = await self.account()
        if instance.account and instance.account != account:
            raise Forbidden(
                f"{instance.id} belongs to subscription {instance.account}; the settings now name {account}",
                code="other-account",
                scope="account",
            )
        place = instances.place_of(instance.id) or instances.Place("", "")
        group, name = instance.handle.get("group") or place.group, instance.handle.get("vm") or place.name
        if not group or not name:
            raise InvalidRequest(f"{instance.id!r} is no machine of Azure's", code="bad-id")
        row = await machines.get(self._client, group, name, verb="terminate")
        # Looked at first: deletes of one machine are limited to a few a minute.
        if row is not None and not await self._delete(row, group, name):
            return False
        if not naming.is_ours(group, self.context.owner):
            return True  # not a group that we made: whatever else is in it is not ours to delete
        return await groups.end(self._client, group, verb="terminate") and not self._is_young(instance)

    async def check(self) -> dict[str, str]:
        """Key, rights, quotas and clock."""
        account = await self.account()
        lines = await checks.read(self._client, self._regions[0])
        return {
            "account": account,
            "key": f"accepted ({credentials.title(self.context.settings, self._url)})",
            "regions": ", ".join(self._regions),
            **lines,
        }

    async def aclose(self) -> None:
        """Close connections."""
        await self._client.aclose()
        if self._price_list is not None:
            await self._price_list.aclose()

    def _prices(self) -> prices.Prices:
        if self._price_list is None:
            self._price_list = prices.Prices(self.context, url=self._url, facts=FACTS)
        return self._price_list

    async def _refused(self, error: ProviderError, region: str, spec: LaunchSpec, token: str) -> Instance:
        """What a launch that raised *error* comes to: a machine of an earlier call, or the error itself.

        Raises:
            ProviderError: *error*, with `left` if anything that may cost is there all the same.
        """
        taken = error.code.lower() in _TAKEN
        if not taken and isinstance(error, OutcomeUnknown | Unavailable | AuthFailed | RateLimited):
            # Nobody knows yet, or the same call comes again: what was prepared for it stays. `owned` shows it.
            raise error
        account = await self.account()
        remains = instances.remains(account, token, owner=spec.owner, region=region, created=self.env.now())
        row: dict[str, Any] | None = None
        try:
            row = await machines.get(self._client, token, token, verb="launch")
            if row is None and not taken:
                if await groups.costs(self._client, token, verb="launch"):
                    error.left = (remains,)
                else:
                    await groups.end(self._client, token, verb="launch")
        except ProviderError:
            # It could not be looked at, or not be ended: the engine does both until it is proven gone.
            error.left = (remains,)
        if row is None:
            raise error
        if instances.mark(row) != (spec.owner, token):
            raise Unclassified(f"{token} is in use by somebody else's machine", code="name-in-use")
        if taken:
            return instances.read(row, account=account, region=region)
        error.left = (instances.read(row, account=account, region=region),)
        raise error

    async def _reachable(self, found: Instance, row: dict[str, Any], attempt: AttemptRef) -> Instance:
        """*found* with its address, once its driver is there."""
        if attempt.spec.native.get("driver") == "grid":
            state = await self._driver(found, row)
            if state == "failed":
                failure = BootFailed("the NVIDIA driver extension failed", code="VMExtensionProvisioningError")
                return replace(found, phase=Phase.FAILED, failure=failure)
            if state != "succeeded":
                return replace(found, phase=Phase.PENDING)
        host = await self._address(row)
        user = str(attempt.spec.native.get("ssh_user") or request.USER)
        return replace(found, address=Address(host=host, port=22, user=user) if host else None)

    async def _driver(self, found: Instance, row: dict[str, Any]) -> str:
        """How far the driver is; it is installed as soon as Azure's agent on the machine answers."""
        group, name = found.handle["group"], found.handle["vm"]
        state = await machines.driver_state(self._client, group, name, row)
        if state is not None:
            return state or "creating"
        if instances.view(row).provisioning == "creating":
            return "waiting"  # extensions are refused until the machine is made
        try:
            await machines.install_driver(self._client, group, name, found.handle["region"])
        except (RateLimited, Unavailable, OutcomeUnknown):
            return "waiting"
        except ProviderError:
            # Refused for good: the GPU probe says whether the machine is of any use.
            return "succeeded"
        return "creating"

    async def _address(self, row: dict[str, Any]) -> str | None:
        """The public address: machine, interface and address are three things at Azure."""
        try:
            nic = await self._part(instances.interface(row))
            address = await self._part(instances.public_address(nic))
        except ProviderError as error:
            if groups.is_absent(error):
                return None
            raise
        properties = address.get("properties") if isinstance(address, dict) else None
        host = properties.get("ipAddress") if isinstance(properties, dict) else None
        return host if isinstance(host, str) and host else None

    async def _part(self, id_: str | None) -> Any:
        return None if id_ is None else await self._client.arm("GET", id_, version=NETWORK, verb="find")

    async def _alone(self, account: str, group: str, going: bool) -> Instance:
        """A group whose machine no list shows: the machine itself if lists only lag, else what is left."""
        row = None if going else await machines.get(self._client, group, group, verb="owned")
        if row is not None and instances.mark(row)[0] == self.context.owner:
            return instances.read(row, account=account)
        return instances.remains(account, group, owner=self.context.owner, going=going)

    async def _delete(self, row: dict[str, Any], group: str, name: str) -> bool:
        if instances.mark(row)[0] not in (None, self.context.owner):
            raise Forbidden(f"{group}/{name} is another installation's machine", code="not-ours", scope="offer")
        if instances.view(row).provisioning == "deleting":
            return False
        return await machines.delete(self._client, group, name)

    def _is_young(self, instance: Instance) -> bool:
        made = instances.made_at(instance.handle) or instance.created_at
        return made is not None and abs(self.env.now() - made) < timedelta(seconds=_YOUNG_S)


def _place(attempt: AttemptRef) -> instances.Place:
    handle = attempt.handle or {}
    return instances.Place(handle.get("group") or attempt.token, handle.get("vm") or attempt.token)


async def _all(first: Awaitable[Any], second: Awaitable[Any], third: Awaitable[Any]) -> tuple[Any, Any, Any]:
    """All three, or the first failure once no call is under way any more."""
    tasks = [asyncio.ensure_future(call) for call in (first, second, third)]
    try:
        one, two, three = await asyncio.gather(*tasks)
        return one, two, three
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
