"""Vast.ai behind the provider contract: on demand, and interruptible where it is asked for.

Three traps shape it. Traffic is billed per GB at each host's own price and stands in no hourly rate. A create that is
refused may leave a stopped machine whose disk bills (`ProviderError.left`). And a machine that is outbid stops, bills
on and comes back by itself: it counts as failed, and `terminate` destroys it, for nothing here is ever just stopped.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

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
    key_account,
)
from providers.errors import Forbidden, PriceChanged, Unavailable
from providers.http import check_base_url
from providers.vast import credentials, instances, limits, offers, request, search
from providers.vast.client import API_URL, PAGE_SIZE, Client
from providers.vast.fields import number, whole
from providers.vast.keys import Keys
from providers.vast.market import Sweep

#: Ours, then the vendor's own name for the same.
URL_SETTINGS = ("ORCH_VAST_URL", "VAST_URL")

FACTS = Facts(
    # Not documented. Another client looks three times in ten seconds; one look more costs little.
    consistency_s=30.0,
    # Images are pulled in "loading", one to five minutes as a rule; a host that takes 20 is given up.
    accept_s=1200.0,
    # Only what the SSH probe needs: "running" with SSH refused is how bad hosts look.
    boot_s=300.0,
    rates=limits.RATES,
    page_size=PAGE_SIZE,
    replayable_create=False,
    token_in="tags",  # noqa: S106 - where our mark is: label, and the full owner id in the environment
    terminate_pending=True,
    dead_man=None,  # see the docs page for the key inside a container
    workloads=("container",),
    markets=("marketplace-secure", "marketplace-community"),
    capabilities=frozenset(["image", "cmd", "env", "ports", "disk", "spot", "accept-then-fail", "price-drift"]),
    egress="each host's own price per GB, both ways; some ask nothing",
)


class Vast(Provider):
    """Vast.ai's machines.

    Settings: `VAST_API_KEY` or the official CLI's key file, and `ORCH_VAST_URL` (or the vendor's `VAST_URL`). Without
    a key every method raises `AuthFailed`.

    Raises:
        BadUrl: a URL setting would send the key in the clear.
    """

    name = "vast"
    facts = FACTS

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        setting = next((name for name in URL_SETTINGS if context.settings.get(name)), URL_SETTINGS[0])
        self._base_url = check_base_url(context.settings.get(setting) or API_URL, setting)
        self._opened: tuple[Client, str] | None = None
        self._account: str | None = None
        self._keys = Keys()

    async def account(self) -> str:
        """The user's id; read once, for a key cannot change hands. The key needs the right `user_read`."""
        if self._account is None:
            user, _ = await self._open()[0].user()
            self._account = _user_id(user)
        return self._account

    async def offers(self, query: Query) -> Listing:
        """The cheapest verified offers. Partial where the answer is cut at 64 rows and three searches show no end."""
        client, _ = self._open()
        return await Sweep(client, query, await self.account(), self.env.now).run()

    async def price(self, offer: Offer) -> Offer | None:
        """Look this very ask up again. Ids are issued anew with each edit of a host: then it is gone.

        Raises:
            PriceChanged: the hour costs no more, but traffic or the disk does.
        """
        client, _ = self._open()
        kind, ask_id = offers.target(offer)
        disk = offers.disk_of(offer)
        account = await self.account()
        for row in await client.search(search.quote(ask_id, kind, disk), verb="price"):
            if search.ask_of(row) != ask_id or not offers.is_listed(row):
                continue
            fresh = offers.read(row, kind, disk=disk, account=account, now=self.env.now())
            if fresh is None or (fresh.gpu, fresh.gpu_count) != (offer.gpu, offer.gpu_count):
                return None
            _check_terms(fresh, offer)
            return fresh
        return None

    async def launch(self, offer: Offer, spec: LaunchSpec, token: str) -> Instance:
        """Rent exactly this ask. The answer names the contract and nothing else."""
        client, _ = self._open()
        _, ask_id = offers.target(offer)
        body = request.body(offer, spec, token)
        account = await self.account()

        def made(contract: int, phase: Phase = Phase.UNKNOWN) -> Instance:
            handle = {"kind": "instance", "made_at": self.env.now().isoformat()}
            return Instance(
                provider=self.name,
                account=account,
                id=str(contract),
                handle=handle,
                token=token,
                owner=spec.owner,
                phase=phase,
            )

        contract = await client.rent(ask_id, body, left=made, secrets=tuple(spec.env.values()))
        return made(contract, Phase.PENDING)

    async def find(self, attempt: AttemptRef) -> Instance | None:
        """By id once that is known, else by label. An instance that boots is given our key on the way."""
        client, _ = self._open()
        account = await self.account()
        if attempt.instance_id is None:
            row = await self._labelled(client, attempt)
        else:
            row = await client.instance(attempt.instance_id)
        if row is None:
            return self._missing(attempt, account)
        promise = instances.promise_of(attempt)
        seen = instances.read(row, account=account, now=self.env.now(), promise=promise, token=attempt.token)
        if seen.phase in (Phase.PENDING, Phase.RUNNING):
            running = seen.phase is Phase.RUNNING
            await self._keys.give(client, seen.id, attempt.spec.ssh_public_key, running=running)
        return seen

    async def owned(self) -> list[Instance]:
        """The whole account's instances, 25 a page; ours by label, and by the owner in the environment."""
        client, _ = self._open()
        account = await self.account()
        listed = _identified(await client.instances(verb="owned"))
        now = self.env.now()
        return [
            instances.read(row, account=account, now=now)
            for row in listed
            if instances.is_ours(row, self.context.owner)
        ]

    async def terminate(self, instance: Instance) -> bool:
        """Destroy, then look: True once Vast.ai itself says that there is no such instance. The disk goes with it.

        Raises:
            Forbidden: it was made in another account, and under this key not finding it proves nothing.
        """
        client, _ = self._open()
        account = await self.account()
        if instance.account and instance.account != account:
            raise Forbidden(
                f"instance {instance.id} was made in account {instance.account}, and the key opens {account}",
                code="other-account",
                scope="account",
            )
        await client.destroy(instance.id)
        return await client.instance(instance.id) is None

    async def check(self) -> dict[str, str]:
        """Proves that the key is accepted. Whether it may rent is only known by renting."""
        client, origin = self._open()
        asked_at = self.env.now()
        user, served = await client.user()
        listed = await client.instances(verb="owned")
        ours = sum(instances.is_ours(row, self.context.owner) for row in listed)
        return {
            "account": _user_id(user),
            "key": f"accepted ({origin})",
            "rights": "reading works; whether the key may rent shows at the first launch",
            "balance": _balance(user),
            "instances": f"{len(listed)} in the account, {ours} of this installation",
            "clock_skew": _skew(asked_at, served),
        }

    async def aclose(self) -> None:
        """Close connections."""
        if self._opened is not None:
            await self._opened[0].aclose()
            self._opened = None

    def _open(self) -> tuple[Client, str]:
        """The client and where its key came from; made at first use, so that a missing key is a provider's failure
        and not one of construction."""
        if self._opened is None:
            key, origin = credentials.load(self.context.settings)
            identity = key_account(self.name, key)
            client = Client(self.context, base_url=self._base_url, key=key, identity=identity, facts=FACTS)
            self._opened = (client, origin)
        return self._opened

    async def _labelled(self, client: Client, attempt: AttemptRef) -> dict[str, Any] | None:
        rows = _identified(await client.instances(verb="find", label=attempt.token))
        mine = [row for row in rows if instances.has_token(row, attempt.token, attempt.spec.owner)]
        # Labels are not unique, but an ask can be rented once only: two would be a person's copy. The older counts,
        # and `owned` shows both.
        return min(mine, key=lambda row: whole(row["id"]) or 0, default=None)

    def _missing(self, attempt: AttemptRef, account: str) -> Instance | None:
        """Vast.ai knows no such instance: it is gone, unless we looked too early, or elsewhere."""
        if attempt.instance_id is None or attempt.account != account:
            return None
        made = instances.made_at(attempt.handle)
        # Either way: the time of creation may come from a clock ahead of ours.
        if made is not None and abs(self.env.now() - made) < timedelta(seconds=FACTS.consistency_s):
            return None
        return Instance(
            provider=self.name,
            account=account,
            id=attempt.instance_id,
            handle=dict(attempt.handle or {}),
            token=attempt.token,
            owner=attempt.spec.owner,
            phase=Phase.GONE,
        )


def _check_terms(fresh: Offer, promised: Offer) -> None:
    """A dearer hour is left to the caller, who has both prices; what is on no hourly rate is said here."""
    now, then = fresh.usd_per_hour, promised.usd_per_hour
    if now is None or then is None or now > then * offers.SLACK:
        return
    if why := offers.dearer(fresh, promised):
        raise PriceChanged(f"vast ask {fresh.native['ask_id']}: {why}", now=fresh, code="terms-changed")


def _identified(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The instances that have an id. One with our mark and none makes the listing unreadable."""
    for row in rows:
        if whole(row.get("id")) is None and instances.token_of(row):
            raise Unavailable("vast lists an instance with our mark and no id", code="malformed", scope="provider")
    return [row for row in rows if whole(row.get("id")) is not None]


def _user_id(user: dict[str, Any]) -> str:
    found = whole(user.get("id"))
    if found is None:
        raise Unavailable("vast's answer names no user id", code="malformed", scope="provider")
    return str(found)


def _balance(user: dict[str, Any]) -> str:
    """Both figures, as what their signs mean is not documented."""
    known = {name: number(user.get(name), least=-(10**9)) for name in ("credit", "balance")}
    return ", ".join(f"{name} {value:f} USD" for name, value in known.items() if value is not None) or "unknown"


def _skew(asked_at: datetime, served: str) -> str:
    try:
        moment = parsedate_to_datetime(served)
    except (ValueError, OverflowError):
        return "unknown"
    return "unknown" if moment.tzinfo is None else f"{(asked_at - moment).total_seconds():.0f} s"
