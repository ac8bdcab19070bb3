"""A GCP adapter whose wire is scripted and held to the specs, with a clock that only moves when turned."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest
import respx

from providers.base import AttemptRef, Context, Instance, LaunchSpec, Offer, Query
from providers.env import ManualEnv
from providers.gcp.adapter import Gcp
from providers.gcp.minting import Tokens
from tests.conftest import SPEC_DIR
from tests.unit.gcp.google import KEY, NUMBER, OWNER, PROJECT, TOKEN, Google
from tests.unit.gcp.official import Discovery

BEARER = "ya29.not-a-real-token"


@functools.cache
def discovery(name: str) -> Discovery | None:
    """The official description, or None where it is not there."""
    file = SPEC_DIR / "gcp" / name
    return Discovery.load(file) if file.is_file() else None


def problems(call: httpx.Request) -> list[str]:
    """In what *call* differs from Google's description."""
    judge = discovery("compute.v1.json.gz" if call.url.path.startswith("/compute/") else "cloudbilling.v1.json")
    return judge.problems(call) if judge else []


@pytest.fixture
def env() -> ManualEnv:
    return ManualEnv()


@pytest.fixture
def unclassified() -> list[tuple[str, str, str]]:
    return []


@pytest.fixture
def settings() -> dict[str, str]:
    return {"GOOGLE_CLOUD_PROJECT": PROJECT, "HOME": "/nonexistent"}


@pytest.fixture
def google() -> Iterator[Google]:
    """Google's two hosts. Whatever a test makes the adapter send has to agree with the discovery documents."""
    made = Google()
    with respx.mock(assert_all_called=False) as router:
        router.route(host="compute.googleapis.com").mock(side_effect=made.handle)
        router.route(host="cloudbilling.googleapis.com").mock(side_effect=made.handle)
        yield made
    assert [text for call in made.calls for text in problems(call)] == []
    assert {call.headers["Authorization"] for call in made.calls} <= {f"Bearer {BEARER}"}


@pytest.fixture
async def cloud(
    env: ManualEnv,
    google: Google,
    settings: dict[str, str],
    unclassified: list[tuple[str, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Gcp]:
    async def bearer(_: Tokens) -> str:
        return BEARER

    monkeypatch.setattr(Tokens, "bearer", bearer)  # `test_minting` has the real ones
    adapter = Gcp(
        Context(env=env, settings=settings, owner=OWNER, on_unclassified=lambda *what: unclassified.append(what))
    )
    yield adapter
    await adapter.aclose()


@pytest.fixture
def spec() -> LaunchSpec:
    return LaunchSpec(name=TOKEN, owner=OWNER, lease="leaseaaaa", ssh_public_key=KEY)


Attempt = Callable[..., AttemptRef]


@pytest.fixture
def attempt(spec: LaunchSpec) -> Attempt:
    """Makes what the store knows of our one attempt."""

    def build(offer: Offer, made: Instance | None = None, with_spec: LaunchSpec | None = None) -> AttemptRef:
        return AttemptRef(
            token=TOKEN,
            account=NUMBER,
            offer=offer,
            spec=with_spec or spec,
            instance_id=made.id if made else None,
            handle=made.handle if made else None,
        )

    return build


async def offer_of(cloud: Gcp, name: str, pricing: str = "on-demand") -> Offer:
    """The listed offer of the machine type *name* in us-central1-a."""
    listing = await cloud.offers(Query(pricing=("on-demand", "spot")))
    wanted = f"gcp/us-central1-a/{name}/{pricing}"
    return next(offer for offer in listing.offers if offer.offer_id == wanted)
