"""Short words for tests of the cloud in memory: make one, join it, turn its clock, rent, read the bill."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from providers import naming
from providers.base import AttemptRef, Context, Instance, LaunchSpec, Offer
from providers.env import ManualEnv
from providers.fake import Fake, FakeCloud, Rules, connect, default_market

OWNER = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2
START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def cloud_with(*, offers: list[Offer] | None = None, **rules: Any) -> FakeCloud:
    return FakeCloud(ManualEnv(START), offers=offers, rules=Rules(**rules))


def join(cloud: FakeCloud, owner: str = OWNER) -> Fake:
    return connect(cloud, Context(env=cloud.env, owner=owner))


def turn(cloud: FakeCloud, seconds: float) -> None:
    assert isinstance(cloud.env, ManualEnv)
    cloud.env.advance(seconds)


def spec(n: int = 1, owner: str = OWNER, **more: Any) -> LaunchSpec:
    name = naming.make(owner, "abcdefghi", n)
    return LaunchSpec(name=name, owner=owner, lease="abcdefghi", ssh_public_key="ssh-ed25519 AAAA", **more)


def sold(cloud: FakeCloud, plan: str = "l40-us") -> Offer:
    return cloud.market[f"{cloud.name}/{plan}"]


async def rent(fake: Fake, plan: str = "l40-us", n: int = 1, **more: Any) -> Instance:
    order = spec(n, fake.context.owner, **more)
    return await fake.launch(sold(fake.cloud, plan), order, order.name)


def attempt(instance: Instance, n: int = 1, *, known: bool = True) -> AttemptRef:
    order = spec(n)
    return AttemptRef(
        token=order.name,
        account=instance.account,
        offer=default_market()[0],
        spec=order,
        instance_id=instance.id if known else None,
    )


def usd(cloud: FakeCloud, instance: str) -> Decimal:
    now = cloud.env.now().timestamp()
    return sum((line.usd(now) for line in cloud.ledger.of(cloud.name, instance)), Decimal(0))
