"""A Lambda adapter whose wire is respx's, with a clock that only moves when turned."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import respx

from providers.base import AttemptRef, Context, Instance, LaunchSpec, Offer, key_account
from providers.env import ManualEnv
from providers.lambda_cloud.adapter import Lambda
from tests.contract import lambda_golden as golden

KEY = "secret_not-a-real-key_0123456789"
ACCOUNT = key_account("lambda", KEY)
OTHER_OWNER = "fedcba9876543210fedcba9876543210"

Refuse = Callable[[str], dict[str, Any]]


@pytest.fixture
def env() -> ManualEnv:
    return ManualEnv()


@pytest.fixture
def unclassified() -> list[tuple[str, str, str]]:
    """What the adapter counted as refusals that no table knows."""
    return []


@pytest.fixture
def context(env: ManualEnv, tmp_path: Path, unclassified: list[tuple[str, str, str]]) -> Context:
    return Context(
        env=env,
        settings={"LAMBDA_API_KEY": KEY, "HOME": str(tmp_path)},
        owner=golden.OWNER,
        on_unclassified=lambda *what: unclassified.append(what),
    )


@pytest.fixture
async def cloud(context: Context) -> AsyncIterator[Lambda]:
    adapter = Lambda(context)
    yield adapter
    await adapter.aclose()


@pytest.fixture
def wire() -> Iterator[respx.MockRouter]:
    """Lambda's host; a call to a path that a test did not name fails."""
    with respx.mock(base_url=golden.BASE_URL, assert_all_called=False) as router:
        yield router


@pytest.fixture
def offer() -> Offer:
    """One A10 in California, as the golden list sells it."""
    return Offer(
        offer_id="lambda/gpu_1x_a10/us-west-1",
        provider="lambda",
        account=ACCOUNT,
        gpu="a10",
        region="us-west-1",
        instance_type="gpu_1x_a10",
        usd_per_hour=Decimal("1.29"),
        native={"instance_type": "gpu_1x_a10", "region": "us-west-1", "arch": "x86_64"},
    )


@pytest.fixture
def spec() -> LaunchSpec:
    """A spec that was not resolved yet: nothing is known of keys and images."""
    return LaunchSpec(
        name=golden.TOKEN, owner=golden.OWNER, lease="abcdefghi", ssh_public_key=f"{golden.PUBLIC_KEY} orch\n"
    )


@pytest.fixture
def attempt(offer: Offer, spec: LaunchSpec) -> Callable[..., AttemptRef]:
    """Makes what the store knows of our one attempt."""

    def build(**known: Any) -> AttemptRef:
        return AttemptRef(**{"token": golden.TOKEN, "account": ACCOUNT, "offer": offer, "spec": spec, **known})

    return build


@pytest.fixture
def stored() -> Callable[..., Instance]:
    """Makes what the store hands to `terminate`."""

    def build(**known: Any) -> Instance:
        return Instance(
            **{
                "provider": "lambda",
                "account": ACCOUNT,
                "id": golden.INSTANCE_ID,
                "handle": {"kind": "instance"},
                "token": golden.TOKEN,
                **known,
            }
        )

    return build


def refused(case: str) -> dict[str, Any]:
    """One of the golden refusals, as keywords of respx's `respond` and of `httpx.Response`."""
    status, body = golden.ERRORS[case]
    return {"status_code": status, "json": body}


def machine(base: dict[str, Any] = golden.ACTIVE, *without: str, **changes: Any) -> dict[str, Any]:
    """A deep copy of a golden machine that lacks some fields and has others."""
    return {key: value for key, value in {**deepcopy(base), **changes}.items() if key not in without}


def listed(*machines: dict[str, Any]) -> dict[str, Any]:
    """The answer of the list of instances."""
    return {"data": list(machines)}


def sent(route: respx.Route, call: int = -1) -> Any:
    """The JSON body of a call that a route has seen."""
    return json.loads(route.calls[call].request.content)


def paths(router: respx.MockRouter) -> list[str]:
    """Method and path of every call, in order."""
    return [f"{call.request.method} {call.request.url.path.removeprefix('/api/v1')}" for call in router.calls]
