"""A scripted conversation of a real adapter with its emulator: every verb, and every fault that is answered."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

import msgspec

from providers import naming
from providers.base import AttemptRef, Instance, LaunchSpec, Offer, Provider, Query
from providers.errors import ProviderError
from tests.conformance.conftest import KEY, OWNER, Cloud, running, until_gone, until_running
from tests.contract.official import Finding
from tests.contract.official_report import Tally
from tests.contract.official_watch import Watch

#: Transport faults that are answered in the provider's own words.
ANSWERED = ("rate_limit", "error_before", "error_after")
#: Transport faults that put something else in the answer's place: the request alone can be judged.
GARBLED = ("malformed", "html", "truncated", "oversized", "redirect")
#: Seconds between looks at a new machine: while it is accepted, boots, runs, and may have failed.
_LOOKS_S = (0, 5, 30, 120, 600)
_SPOT = Query(pricing=("spot",))


@dataclass
class Heard:
    """What one provider's conversation showed."""

    tally: Tally
    unlisted: dict[Finding, None] = field(default_factory=dict)


async def converse(name: str) -> Heard:
    """Hold the whole conversation with *name*."""
    heard = Heard(Tally(""))
    for act in (_life, _crowd, _refused, _disturbed):
        async with running(name) as cloud:
            watch = cloud.twin.world.recorder
            assert isinstance(watch, Watch)
            await act(cloud)
            heard.tally.source = watch.tally.source
            heard.tally.add(watch.tally)
            heard.unlisted |= watch.unlisted
            # All that differs is shown at once, not one act's share of it.
            watch.unlisted.clear()
    return heard


async def _life(cloud: Cloud) -> None:
    """One machine of each kind that is sold, from the first look at the market to looking for what is gone."""
    provider = cloud.provider()
    await provider.account()
    await provider.check()
    for number, offer in enumerate(await _sorts(provider), 1):
        assert await provider.price(offer) is not None
        ref = await attempt(provider, offer, number)
        made = await cloud.launch(provider, ref)
        await until_running(cloud, provider, ref)
        known = msgspec.structs.replace(ref, instance_id=made.id, handle=made.handle)
        assert await provider.find(known) is not None
        assert await provider.owned()
        await until_gone(cloud, provider, made)
        assert await provider.terminate(made)
        await provider.find(known)
    assert await provider.owned() == []


async def _crowd(cloud: Cloud) -> None:
    """More machines of somebody else than a page of a list holds; and a narrow search."""
    provider = cloud.provider()
    for number in range((provider.facts.page_size or 1) + 1):
        cloud.twin.plant(f"training-{number}")
    assert await provider.owned() == []
    narrow = Query(gpus=("a100-80gb", "l40s"), count=2, egress_free=True, min_duration_s=3600, countries=("US",))
    await provider.offers(narrow)


async def _refused(cloud: Cloud) -> None:
    """Every fault that this provider can have, each through all verbs."""
    semantic: frozenset[str] = cloud.twin.semantic
    for number, kind in enumerate(sorted(semantic), 1):
        provider = cloud.provider()
        ref = await attempt(provider, await cloud.offer(provider), number)
        lag: dict[str, Any] = {"seconds": provider.facts.consistency_s / 2} if kind == "list_lag" else {}
        cloud.faults.add(kind, times=-1, **lag)
        await _all_verbs(cloud, cloud.provider(), ref)
        await _tidy(cloud, provider)


async def _disturbed(cloud: Cloud) -> None:
    """Every fault of the transport that is answered at all, once in each verb."""
    for number, kind in enumerate((*ANSWERED, *GARBLED), 1):
        provider = cloud.provider()
        ref = await attempt(provider, await cloud.offer(provider), number)
        more: dict[str, Any] = {"retry_after": 7} if kind == "rate_limit" else {}
        for verb in ("offers", "price", "launch", "find", "owned", "terminate", "account"):
            cloud.faults.add(kind, verb=verb, **more)
        await _all_verbs(cloud, cloud.provider(), ref)
        await _tidy(cloud, provider)


async def _all_verbs(cloud: Cloud, provider: Provider, ref: AttemptRef) -> None:
    """Every verb once, whatever comes of it."""
    made: Instance | None = None
    with contextlib.suppress(ProviderError):
        await provider.check()
    with contextlib.suppress(ProviderError):
        await provider.offers(Query())
    with contextlib.suppress(ProviderError):
        await provider.price(ref.offer)
    with contextlib.suppress(ProviderError):
        made = await cloud.launch(provider, ref)
    for wait in _LOOKS_S:
        await cloud.env.sleep(wait)
        with contextlib.suppress(ProviderError):
            await provider.find(ref)
            await provider.owned()
    if made is not None:
        known = msgspec.structs.replace(ref, instance_id=made.id, handle=made.handle)
        with contextlib.suppress(ProviderError):
            await provider.find(known)
        with contextlib.suppress(ProviderError):
            await provider.terminate(made)


async def _tidy(cloud: Cloud, provider: Provider) -> None:
    """End what is left, without faults: a lost machine may have to be ended, too."""
    cloud.faults.clear()
    await cloud.env.sleep(provider.facts.consistency_s)
    for instance in await provider.owned():
        await until_gone(cloud, provider, instance)
    assert cloud.billing() == []


async def _sorts(provider: Provider) -> list[Offer]:
    """The cheapest offer of each market, way of paying, kind of host, and number of GPUs (one, or more)."""
    found: dict[tuple[object, ...], Offer] = {}
    offers = [*(await provider.offers(Query())).offers, *(await provider.offers(Query(count=2))).offers]
    if "spot" in provider.facts.capabilities:
        offers += (await provider.offers(_SPOT)).offers
    usable = [offer for offer in offers if offer.available is not False and offer.usd_per_hour]
    for offer in sorted(usable, key=lambda offer: (offer.usd_per_hour, offer.offer_id)):
        found.setdefault((offer.market, offer.pricing, offer.arch, offer.gpu_count > 1), offer)
    assert found, f"{provider.name} sells nothing"
    return list(found.values())


async def attempt(provider: Provider, offer: Offer, number: int) -> AttemptRef:
    """A resolved attempt at *offer* that asks for everything the provider can do."""
    can = provider.facts.capabilities
    token = naming.make(OWNER, "leasecccc", number)
    spec = LaunchSpec(
        name=token,
        owner=OWNER,
        lease="leasecccc",
        ssh_public_key=KEY,
        image="docker.io/library/ubuntu:24.04" if "image" in can and "container" in provider.facts.workloads else None,
        cmd="sleep 60 && echo 'done'" if "cmd" in can else None,
        env={"MODEL": "a b"} if "env" in can else {},
        ports=("8080/http", "9000/tcp") if "ports" in can else (),
        disk_gib=60 if "disk" in can else 50,
        max_usd_per_hour=offer.usd_per_hour,
    )
    spec = await provider.resolve(offer, spec)
    return AttemptRef(token=token, account=await provider.account(), offer=offer, spec=spec)
