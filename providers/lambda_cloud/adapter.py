"""Lambda Cloud behind the provider contract: one virtual machine a launch, on demand.

Traps that shape it: no idempotency of any kind, so an unclear launch is looked for by tags and names and never
repeated; no time of creation, so the handle keeps ours; one call a second for the whole key; and a machine that
shuts itself down goes on billing until the API is told to end it.
"""

from __future__ import annotations

from typing import Any, ClassVar

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
    BootFailed,
    Forbidden,
    InvalidRequest,
    OfferGone,
    ProviderError,
    Unavailable,
    Unclassified,
)
from providers.http import check_base_url, skew_text
from providers.lambda_cloud import credentials, instances, keys, offers, request
from providers.lambda_cloud.client import BASE_URL, Client

URL_SETTING = "ORCH_LAMBDA_URL"
#: For how long after a launch "does not exist" is not believed by `terminate`. Nobody has seen a machine show up
#: late, so this is short; `find` waits out the whole consistency window.
UNSEEN_S = 20.0
CONFLICT = "global/conflict"

FACTS = Facts(
    # How late a new machine is listed is not known; clients that were bitten wait one to two minutes.
    consistency_s=120.0,
    # Up in about 5 min with one GPU and 15 with eight; some hang for ever.
    accept_s=1200.0,
    # `active` may come before the address, and the address before sshd.
    boot_s=300.0,
    # One launch in 12 s and one call a second, says the API description; of the key or of the account it does not
    # say. A little more, for calls may catch up with each other on their way.
    rates=(Rate(verbs=("launch",), spacing_s=12.2), Rate(verbs=("*",), spacing_s=1.05)),
    page_size=None,
    replayable_create=False,
    token_in="tags",  # noqa: S106 - no password, just where our mark is
    terminate_pending=True,
    dead_man=None,  # a shutdown inside the machine does not end billing, and there is no end time
    workloads=("vm",),
    markets=("specialist",),
    capabilities=frozenset({"cmd", "env", "accept-then-fail", "price-drift"}),
    egress="free both ways, says the billing page",
)


class Lambda(Provider):
    """Lambda's on-demand machines.

    Settings: `LAMBDA_API_KEY`, `LAMBDA_CLOUD_API_TOKEN` or `~/.lambda_cloud/lambda_keys` (under `HOME`), and
    `ORCH_LAMBDA_URL`. Without a key every method raises `AuthFailed`.

    Raises:
        BadUrl: `ORCH_LAMBDA_URL` would send the key in the clear.
    """

    name = "lambda"
    facts: ClassVar[Facts] = FACTS

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._base_url = check_base_url(context.settings.get(URL_SETTING) or BASE_URL, URL_SETTING)
        self._opened: tuple[Client, str, str] | None = None

    async def account(self) -> str:
        """A keyed hash of the key: no call names the account. Another key counts as another account."""
        return self._open()[1]

    async def offers(self, query: Query) -> Listing:
        """Every type with GPUs, once per region that has capacity; without any, once and sold out."""
        if "on-demand" not in query.pricing:
            return Listing([], note="rents on demand only")
        client, account, _ = self._open()
        types = await client.instance_types(verb="offers")
        now = self.env.now()
        found = [o for name, item in types.items() for o in offers.offers_of(name, item, account=account, now=now)]
        wanted = [offer for offer in found if not query.gpus or offer.gpu in query.gpus]
        missing = [gpu for gpu in query.gpus if all(offer.gpu != gpu for offer in wanted)]
        has = ", ".join(dict.fromkeys(offer.gpu for offer in found))
        notes = [f"rents no {', '.join(missing)} (it has {has or 'none now'})"] if missing else []
        if not query.gpus and not wanted:
            notes.append("lists no GPUs")
        if wanted and all(offer.available is False for offer in wanted):
            notes.append("sold out in every region now")
        return Listing(wanted, note="; ".join(notes))

    async def price(self, offer: Offer) -> Offer | None:
        """Read the list of types again: one call. A region no longer listed is sold out, not gone."""
        client, _, _ = self._open()
        name, _ = offers.target(offer)
        types = await client.instance_types(verb="price")
        return offers.requote(offer, types[name], self.env.now()) if name in types else None

    async def resolve(self, offer: Offer, spec: LaunchSpec) -> LaunchSpec:
        """Looks for our SSH key on the account, and for an ARM host's image. Makes nothing."""
        client, _, _ = self._open()
        request.check_fits(spec)
        _, region = offers.target(offer)
        native: dict[str, Any] = {}
        line = keys.check(spec.ssh_public_key)
        key = keys.registered(await client.ssh_keys(), line, spec.owner)
        if key is not None:
            native["ssh_key"] = key
        if offer.arch == "arm64" and region and "image_id" not in spec.native:
            # The default is "the latest Lambda Stack"; whether that is one for ARM on ARM hosts is not said.
            image = request.image_for(await client.images(), region=region, arch="arm64")
            if image is not None:
                native["image_id"] = image
        return msgspec.structs.replace(spec, native={**spec.native, **native})

    async def launch(self, offer: Offer, spec: LaunchSpec, token: str) -> Instance:
        """Register our key if it is not there, and ask for one machine."""
        client, account, _ = self._open()
        request.body(offer, spec, token, ssh_key="-")  # what cannot be sent is refused before a key is registered
        known = spec.native.get("ssh_key")
        name = known if isinstance(known, str) and known else await self._register(spec)
        try:
            ids = await self._send(offer, spec, token, name)
        except OfferGone:
            # Key, region, type or image is unknown; only the message says which. Nothing was made, so if it is the
            # key that somebody took away, it is registered anew and asked for once more.
            if keys.registered(await client.ssh_keys(), spec.ssh_public_key, spec.owner) == name:
                raise
            ids = await self._send(offer, spec, token, await self._register(spec))
        now = self.env.now()
        new = [instances.made(id_, account=account, token=token, owner=spec.owner, now=now) for id_ in ids]
        if len(new) > 1:
            what = f"lambda made {len(new)} machines where one was asked for"
            raise BootFailed(what, code="several", scope="offer", left=tuple(new))
        return new[0]

    async def find(self, attempt: AttemptRef) -> Instance | None:
        """By id once that is known, else by tags and name in the list."""
        client, account, _ = self._open()
        if attempt.instance_id is not None:
            machine = await self._look(attempt.instance_id, "find")
            return self._missing(attempt, account) if machine is None else instances.read(machine, account=account)
        listed = _identified(await client.instances(verb="find"))
        mine = [one for one in listed if instances.has_token(one, attempt.token, attempt.spec.owner)]
        seen = [instances.read(one, account=account) for one in mine]
        # Names and tags are not unique. Of two, a live one counts; which is older nobody says. `owned` shows both.
        seen.sort(key=lambda one: (one.phase is Phase.GONE, one.id))
        return seen[0] if seen else None

    async def owned(self) -> list[Instance]:
        """One list of the whole account."""
        client, account, _ = self._open()
        listed = _identified(await client.instances(verb="owned"))
        seen = [instances.read(one, account=account) for one in listed if instances.is_ours(one, self.context.owner)]
        return [instance for instance in seen if instance.phase is not Phase.GONE]

    async def terminate(self, instance: Instance) -> bool:
        """Ask, then look: True once Lambda shows it ended, or neither knows nor lists it any more.

        It is asked again every time: a machine that says `terminating` may have been asked in vain.

        Raises:
            Forbidden: the machine was made with another key, and under this one not finding it proves nothing.
            ProviderError: it was refused, and the machine is still there.
        """
        client, account, _ = self._open()
        refused: ProviderError | None = None
        accepted = False
        try:
            accepted = await client.terminate(instance.id)
        except (InvalidRequest, Unclassified, Unavailable) as error:
            if isinstance(error, Unavailable) and error.code != CONFLICT:
                raise
            refused = error  # perhaps because it is ending already, or has not come up yet
        machine = await self._look(instance.id, "terminate", exists=accepted or refused is not None)
        if machine is not None:
            if refused is not None and instances.phase_of(machine) not in (Phase.STOPPING, Phase.GONE):
                raise refused
            return instances.phase_of(machine) is Phase.GONE
        if accepted:
            return True
        if instance.account and instance.account != account:
            raise Forbidden(
                f"{instance.id} was made with another key, so not finding it proves nothing",
                code="other-account",
                scope="account",
            )
        age = instances.age_s(instance.handle, self.env.now())
        return age is None or age >= UNSEEN_S

    async def check(self) -> dict[str, str]:
        """The key works for reading. Keys have no scopes; whether the account may rent shows at a launch."""
        client, account, origin = self._open()
        listed = await client.instances(verb="account")
        ours = sum(instances.is_ours(one, self.context.owner) for one in listed)
        return {
            "account": account,
            "key": f"accepted ({origin})",
            "instances": f"{len(listed)} in the account, {ours} of this installation",
            "rights": "keys have no scopes; whether the account may rent shows at the first launch",
            "quota": "quota and balance are not shown by Lambda's API",
            "clock_skew": skew_text(client.clock_skew_s),
        }

    async def aclose(self) -> None:
        """Close connections."""
        if self._opened is not None:
            await self._opened[0].aclose()
            self._opened = None

    def _open(self) -> tuple[Client, str, str]:
        """The client, its account, and where its key came from; made at first use, so that a missing key is a
        provider's failure and not one of construction."""
        if self._opened is None:
            key, origin = credentials.load(self.context.settings)
            account = key_account(self.name, key)
            client = Client(self.context, base_url=self._base_url, key=key, account=account, facts=FACTS)
            self._opened = (client, account, origin)
        return self._opened

    async def _register(self, spec: LaunchSpec) -> str:
        return await keys.ensure(self._open()[0], spec.ssh_public_key, spec.owner)

    async def _send(self, offer: Offer, spec: LaunchSpec, token: str, ssh_key: str) -> list[str]:
        body = request.body(offer, spec, token, ssh_key=ssh_key)
        secrets = (*spec.env.values(), *([spec.cmd] if spec.cmd else []))
        return await self._open()[0].launch(body, secrets=secrets)

    async def _look(self, id_: str, verb: str, *, exists: bool = True) -> dict[str, Any] | None:
        """The machine as Lambda shows it, or None if it is neither known by its id nor listed.

        A single "does not exist" proves little (a path that has moved says the same), so the list has to agree.

        Args:
            exists: False if Lambda has just said that it knows no such id: then only the list is asked.
        """
        client = self._open()[0]
        machine = await client.instance(id_, verb=verb) if exists else None
        if machine is None:
            listed = _identified(await client.instances(verb=verb))
            machine = next((one for one in listed if one["id"] == id_), None)
        return machine

    def _missing(self, attempt: AttemptRef, account: str) -> Instance | None:
        """Lambda knows no machine with the attempt's id: it is gone, unless we looked too early or elsewhere."""
        age = instances.age_s(attempt.handle, self.env.now())
        if (age is not None and age < FACTS.consistency_s) or attempt.account != account:
            return None
        return Instance(
            provider=self.name,
            account=account,
            id=attempt.instance_id or "",
            handle=dict(attempt.handle or {}),
            token=attempt.token,
            owner=attempt.spec.owner,
            phase=Phase.GONE,
        )


def _identified(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The machines that have an id. One with our mark and none makes the listing unreadable."""
    named = [one for one in listed if isinstance(one.get("id"), str) and one["id"]]
    if any(instances.is_marked(one) for one in listed if one not in named):
        raise Unavailable("lambda lists an instance with our mark and no id", code="malformed", scope="provider")
    return named
