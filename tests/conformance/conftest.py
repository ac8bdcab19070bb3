"""One real adapter in front of one emulator (or the fake cloud), for every registered provider."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from providers import naming, registry
from providers.base import AttemptRef, Context, Instance, LaunchSpec, Offer, Provider, Query
from providers.env import ManualEnv
from providers.fake import FakeCloud, connect
from providers.sandbox.faults import Faults
from providers.sandbox.ledger import Ledger
from providers.sandbox.machines import SshMachines
from providers.sandbox.serve import serving
from providers.sandbox.world import World
from tests.contract.official_watch import Watch

OWNER = "0123456789abcdef0123456789abcdef"
STRANGER = "fedcba9876543210fedcba9876543210"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeKeyForTests0000000000000000000000 orch"
EMULATED = sorted(name for name, entry in registry.entries().items() if entry.emulator)
ALL = [*EMULATED, "fake"]


@dataclass
class Cloud:
    """A provider under test, its twin, and the truth of what bills."""

    name: str
    env: ManualEnv
    twin: Any
    faults: Faults
    ledger: Ledger
    create: Callable[..., Provider]
    settings: dict[str, str]
    unclassified: list[tuple[str, str, str]] = field(default_factory=list)
    made: list[Provider] = field(default_factory=list)
    _count: int = 0

    def provider(self, *, owner: str = OWNER, settings: dict[str, str] | None = None) -> Provider:
        """A fresh adapter, as a new process would have."""
        context = Context(
            env=self.env,
            settings=settings or self.settings,
            owner=owner,
            on_unclassified=lambda *what: self.unclassified.append(what),
        )
        self.made.append(self.create(context))
        return self.made[-1]

    async def offer(self, provider: Provider) -> Offer:
        """The cheapest offer that can be had now."""
        listing = await provider.offers(Query())
        usable = [offer for offer in listing.offers if offer.available is not False and offer.usd_per_hour]
        assert usable, f"{self.name} offers nothing: {listing.note}"
        return min(usable, key=lambda offer: (offer.usd_per_hour or Decimal(0), offer.offer_id))

    async def attempt(self, provider: Provider, offer: Offer | None = None, owner: str = OWNER) -> AttemptRef:
        """A resolved attempt, as the engine saves it before it asks."""
        offer = offer or await self.offer(provider)
        self._count += 1
        token = naming.make(owner, "leaseaaaa", self._count)
        spec = LaunchSpec(
            name=token, owner=owner, lease="leaseaaaa", ssh_public_key=KEY, max_usd_per_hour=offer.usd_per_hour
        )
        spec = await provider.resolve(offer, spec)
        return AttemptRef(token=token, account=await provider.account(), offer=offer, spec=spec)

    async def launch(self, provider: Provider, ref: AttemptRef) -> Instance:
        return await provider.launch(ref.offer, ref.spec, ref.token)

    def billing(self) -> list[str]:
        """What bills now or will: everything that exists, by the twin's word and by the ledger's."""
        self.twin.advance()
        there = [record.id for record in self.twin.records() if record.alive or record.billing]
        return list(dict.fromkeys([*there, *self.ledger.billing()]))


@pytest.fixture(params=ALL)
async def cloud(request: pytest.FixtureRequest) -> AsyncIterator[Cloud]:
    async with running(request.param) as made:
        yield made


@pytest.fixture
async def make_cloud() -> AsyncIterator[Callable[[str], Any]]:
    """For tests that are parametrised by provider and something else."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(name: str) -> Cloud:
            return await stack.enter_async_context(running(name))

        yield make


@contextlib.asynccontextmanager
async def running(name: str) -> AsyncIterator[Cloud]:
    """The provider *name* in front of its twin.

    Where there is an official description of its API, every exchange must agree with it.
    """
    env = ManualEnv()
    if name == "fake":
        fake = FakeCloud(env)
        made = Cloud(name, env, fake, fake.faults, fake.ledger, lambda context: connect(fake, context), {})
        yield made
        return
    entry = registry.entries()[name]
    kind = registry.load(entry.emulator or "")
    async with contextlib.AsyncExitStack() as stack:
        world = World(env, boot_scale=0.1)
        if kind.needs_machines:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orch-")))
            machines = SshMachines(folder / "machines")
            stack.push_async_callback(machines.aclose)
            env.dial = machines.dial  # type: ignore[method-assign]
            world = World(env, boot_scale=0.1, machines=machines, folder=folder)
        world.recorder = watch = Watch(name, world)
        emulator = kind(world)
        base = await stack.enter_async_context(serving(world))
        settings = emulator.environment(f"{base}/{name}")
        made = Cloud(name, env, emulator, world.faults, world.ledger, entry.create, settings)
        try:
            yield made
        finally:
            for provider in made.made:
                await provider.aclose()
    watch.check()


async def until_running(cloud: Cloud, provider: Provider, ref: AttemptRef, limit_s: float = 3600) -> Instance:
    """Look until the machine has an address."""
    end = cloud.env.monotonic() + limit_s
    while cloud.env.monotonic() < end:
        found = await provider.find(ref)
        if found is not None and found.address is not None and str(found.phase) == "running":
            return found
        await cloud.env.sleep(5)
    raise AssertionError(f"{cloud.name}: never running within {limit_s} s")


async def until_gone(cloud: Cloud, provider: Provider, instance: Instance, limit_s: float = 3600) -> None:
    """Terminate until the provider says True."""
    end = cloud.env.monotonic() + limit_s
    while cloud.env.monotonic() < end:
        if await provider.terminate(instance):
            return
        await cloud.env.sleep(5)
    raise AssertionError(f"{cloud.name}: not gone within {limit_s} s")
