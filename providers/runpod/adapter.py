"""RunPod behind the provider contract: pods on demand through REST v2. There is no spot product any more."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

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
from providers.errors import Forbidden, ProviderError, Unavailable
from providers.http import check_base_url, skew_text
from providers.runpod import credentials, offers, places, pods, request
from providers.runpod.client import BASE_URL, Client, Deleted

URL_SETTING = "ORCH_RUNPOD_URL"

FACTS = Facts(
    # Unspecified; other clients allow seconds, and one look more costs little.
    consistency_s=60.0,
    # Images are pulled while a pod says STARTING, and while it says RUNNING: 20 min, as dstack allows.
    accept_s=1200.0,
    boot_s=1200.0,
    # 60 calls a minute are documented as an example, for the whole user. Polling is what goes on for ever, so
    # it is held to 50; the rest comes in short bursts (a launch is two calls), and obeys the 429s.
    rates=(Rate(verbs=("find", "owned"), spacing_s=1.2),),
    page_size=None,
    replayable_create=False,
    token_in="tags",  # noqa: S106 - where our mark is: in the environment, which v2 gives back
    terminate_pending=True,
    dead_man=None,  # v2 has no end time; see the docs page for the timer inside a pod
    workloads=("container",),
    markets=("marketplace-secure", "marketplace-community"),
    capabilities=frozenset(["image", "cmd", "env", "ports", "disk", "accept-then-fail", "price-drift"]),
    egress="free both ways, says the pricing page",
)

T = TypeVar("T")


class RunPod(Provider):
    """RunPod's pods.

    Settings: `RUNPOD_API_KEY` or `~/.runpod/config.toml` (under `HOME`), and `ORCH_RUNPOD_URL`. Without a key
    every method raises `AuthFailed`.
    """

    name = "runpod"
    facts = FACTS

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        url = context.settings.get(URL_SETTING) or BASE_URL
        self._base_url = check_base_url(url, URL_SETTING)
        self._opened: tuple[Client, str, str] | None = None

    async def account(self) -> str:
        """A keyed hash of the key, for v2 names no account: another key counts as another account."""
        return self._open()[1]

    async def offers(self, query: Query) -> Listing:
        """Both clouds' catalogues for pods of `query.count` GPUs, and the data centres beside them.

        Partial, with a note, if one of the three reads failed; both catalogues failing raises.
        """
        if "on-demand" not in query.pricing:
            return Listing([], note="rents on demand only")
        client, account, _ = self._open()
        *catalogues, listed = await asyncio.gather(
            *(_tried(client.gpus(cloud, query.count, verb="offers")) for cloud in offers.CLOUDS),
            _tried(client.data_centers(verb="offers")),
        )
        known = None if isinstance(listed, ProviderError) else places.read(listed)
        notes = [f"data centres not read: {listed}"] if isinstance(listed, ProviderError) else []
        found: list[Offer] = []
        failed: list[ProviderError] = []
        for cloud, rows in zip(offers.CLOUDS, catalogues, strict=True):
            if isinstance(rows, ProviderError):
                failed.append(rows)
                notes.append(f"{cloud} not read: {rows}")
            else:
                now = self.env.now()
                found += offers.read(rows, query, cloud=cloud, account=account, now=now, places=known)
        if failed and not found:
            raise failed[0]
        if not found and query.gpus:
            notes.append(f"rents no {', '.join(query.gpus)}")
        return Listing(found, partial=bool(failed) or known is None, note="; ".join(notes))

    async def price(self, offer: Offer) -> Offer | None:
        """Read the catalogue again: one call. A data centre no longer listed is sold out, not gone."""
        client, _, _ = self._open()
        cloud, gpu_id = offer.native.get("cloud"), offer.native.get("gpu_id")
        if cloud not in offers.CLOUDS or not gpu_id:
            return None
        for row in await client.gpus(cloud, offer.gpu_count, verb="price"):
            if row.get("id") == gpu_id:
                return offers.requote(offer, row, self.env.now())
        return None

    async def launch(self, offer: Offer, spec: LaunchSpec, token: str) -> Instance:
        """Create a pod. Its answer's `cost` is handed out as the rate, for the promise to be held against."""
        client, account, _ = self._open()
        body = request.body(offer, spec, token)
        pod = await client.create(body, secrets=tuple(spec.env.values()))
        return pods.read(pod, pod["id"], account=account, seen_at=self.env.now(), created=True, token=token)

    async def find(self, attempt: AttemptRef) -> Instance | None:
        """By id once that is known, else by name and owner in the list; the address is read anew."""
        client, account, _ = self._open()
        if attempt.instance_id is None:
            mine = [
                pod
                for pod in _identified(await client.pods(verb="find"))
                if pods.has_token(pod, attempt.token, attempt.spec.owner)
            ]
            seen = [self._read(pod, account) for pod in mine]
            # Names are not unique. Of two, the live one counts, then the older; `owned` shows both.
            seen.sort(key=lambda one: (one.phase is Phase.GONE, one.handle["made_at"], one.id))
            return seen[0] if seen else None
        pod = await client.pod(attempt.instance_id, verb="find")
        return self._read(pod, account) if pod is not None else self._missing(attempt, account)

    async def owned(self) -> list[Instance]:
        """One list of the whole account; the mark must be in the name, and the owner in the environment."""
        client, account, _ = self._open()
        listed = _identified(await client.pods(verb="owned"))
        ours = [pod for pod in listed if pods.is_ours(pod, self.context.owner)]
        seen = [self._read(pod, account) for pod in ours]
        return [instance for instance in seen if instance.phase is not Phase.GONE]

    async def terminate(self, instance: Instance) -> bool:
        """DELETE, then look: True once RunPod itself says 404. Disks of a pod go with it.

        Raises:
            Forbidden: the pod was made with another key, and under this one a 404 proves nothing.
        """
        client, account, _ = self._open()
        if await client.delete(instance.id) is Deleted.MISSING:
            if instance.account and instance.account != account:
                raise Forbidden(
                    f"pod {instance.id} was made with another key, so not finding it proves nothing",
                    code="other-account",
                    scope="account",
                )
            return True
        pod = await client.pod(instance.id, verb="terminate")
        return pod is None or pods.phase_of(pod) is Phase.GONE

    async def check(self) -> dict[str, str]:
        """The key works for reading. Whether it may rent is only known by renting; v2 shows no balance."""
        client, account, origin = self._open()
        listed = await client.pods(verb="account")
        ours = sum(pods.is_ours(pod, self.context.owner) for pod in listed)
        return {
            "account": account,
            "key": f"accepted ({origin})",
            "pods": f"{len(listed)} in the account, {ours} of this installation",
            "rights": "reading works; whether the key may rent shows at the first launch",
            "quota": "quota and balance are not shown by RunPod's API",
            "clock_skew": skew_text(client.clock_skew_s),
        }

    async def aclose(self) -> None:
        """Close connections."""
        if self._opened is not None:
            await self._opened[0].aclose()
            self._opened = None

    def _open(self) -> tuple[Client, str, str]:
        """The client, its account, and where its key came from; made at first use, so that a missing key is
        a provider's failure and not one of construction."""
        if self._opened is None:
            key, origin = credentials.load(self.context.settings)
            account = key_account(self.name, key)
            client = Client(self.context, base_url=self._base_url, key=key, account=account, facts=FACTS)
            self._opened = (client, account, origin)
        return self._opened

    def _read(self, pod: dict[str, Any], account: str) -> Instance:
        return pods.read(pod, pod["id"], account=account, seen_at=self.env.now())

    def _missing(self, attempt: AttemptRef, account: str) -> Instance | None:
        """RunPod knows no pod with the attempt's id: it is gone, unless we looked too early or elsewhere."""
        made = pods.made_at(attempt.handle)
        # Either way: the time of creation may come from a clock ahead of ours.
        young = made is not None and abs(self.env.now() - made) < timedelta(seconds=FACTS.consistency_s)
        if young or attempt.account != account:
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


async def _tried(call: Coroutine[Any, Any, T]) -> T | ProviderError:
    try:
        return await call
    except ProviderError as error:
        return error


def _identified(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pods that have an id. One with our mark and none makes the listing unreadable."""
    for pod in listed:
        if not _has_id(pod) and (pods.token_of(pod) or pods.marker(pod, pods.OWNER_VARIABLE)):
            raise Unavailable("runpod lists a pod with our mark and no id", code="malformed", scope="provider")
    return [pod for pod in listed if _has_id(pod)]


def _has_id(pod: dict[str, Any]) -> bool:
    return isinstance(pod.get("id"), str) and bool(pod["id"])
