"""Transport faults, for every adapter that goes through `providers/http.py` or its own HTTP client."""

from __future__ import annotations

import contextlib

import pytest

from providers import errors
from tests.conformance.conftest import EMULATED, Cloud, until_gone, until_running
from tests.conformance.test_contract import transport

READ_FAULTS = ["malformed", "html", "truncated", "oversized", "redirect", "drop_before", "lost", "error_before", "down"]
#: The effect happens, and the answer is not one.
GARBLED = ["malformed", "html", "truncated"]
#: Nothing happens, and there is no answer either.
WITHOUT_EFFECT = ["drop_before", "error_before", "redirect", "down"]


def at(kinds: list[str]) -> list[tuple[str, str]]:
    """Every emulated provider with every one of *kinds* that it can have."""
    return [(name, kind) for kind in kinds for name in EMULATED if kind in transport(name)]


@pytest.mark.parametrize(("name", "kind"), at(READ_FAULTS))
async def test_a_listing_that_cannot_be_read_raises_and_is_never_empty(name: str, kind: str, make_cloud) -> None:  # type: ignore[no-untyped-def]
    cloud: Cloud = await make_cloud(name)
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    instance = await cloud.launch(provider, ref)
    cloud.faults.add(kind, verb="owned", times=-1)
    with pytest.raises(errors.ProviderError):
        await provider.owned()
    cloud.faults.clear()
    assert [seen.id for seen in await provider.owned()] == [instance.id]
    await until_gone(cloud, provider, instance)


@pytest.mark.parametrize(("name", "kind"), at(["malformed", "truncated", "drop_before", "error_before"]))
async def test_a_read_is_tried_again_after_one_fault(name: str, kind: str, make_cloud) -> None:  # type: ignore[no-untyped-def]
    cloud: Cloud = await make_cloud(name)
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    instance = await cloud.launch(provider, ref)
    cloud.faults.add(kind, verb="owned", times=1)
    assert [seen.id for seen in await provider.owned()] == [instance.id]
    await until_gone(cloud, provider, instance)


@pytest.mark.parametrize(("name", "kind"), at(["rate_limit"]))
async def test_a_read_waits_out_a_rate_limit(name: str, kind: str, make_cloud) -> None:  # type: ignore[no-untyped-def]
    cloud: Cloud = await make_cloud(name)
    provider = cloud.provider()
    await provider.account()
    cloud.faults.add(kind, verb="owned", retry_after=9)
    assert await provider.owned() == []
    assert max(cloud.env.slept) >= 9


@pytest.mark.parametrize(("name", "kind"), at(GARBLED))
async def test_a_create_whose_answer_is_garbled_has_an_unknown_outcome(name: str, kind: str, make_cloud) -> None:  # type: ignore[no-untyped-def]
    cloud: Cloud = await make_cloud(name)
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    cloud.faults.add(kind, verb="launch")
    with pytest.raises(errors.OutcomeUnknown):
        await cloud.launch(provider, ref)
    assert len(cloud.billing()) == 1
    found = await cloud.provider().find(ref)
    assert found is not None
    await until_gone(cloud, provider, found)
    assert cloud.billing() == []


@pytest.mark.parametrize(("name", "kind"), at(WITHOUT_EFFECT))
async def test_a_create_without_an_answer_is_never_called_refused(name: str, kind: str, make_cloud) -> None:  # type: ignore[no-untyped-def]
    cloud: Cloud = await make_cloud(name)
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    cloud.faults.add(kind, verb="launch")
    with pytest.raises((errors.OutcomeUnknown, errors.Unavailable)):
        await cloud.launch(provider, ref)
    assert cloud.billing() == []
    assert await cloud.provider().find(ref) is None


@pytest.mark.parametrize(("name", "kind"), at(["malformed", "html", "error_before", "error_after", "lost", "down"]))
async def test_an_end_that_could_not_be_asked_for_is_never_called_gone(name: str, kind: str, make_cloud) -> None:  # type: ignore[no-untyped-def]
    cloud: Cloud = await make_cloud(name)
    provider = cloud.provider()
    ref = await cloud.attempt(provider)
    instance = await cloud.launch(provider, ref)
    await until_running(cloud, provider, ref)
    cloud.faults.add(kind, verb="terminate", times=-1)
    gone = False
    with contextlib.suppress(errors.ProviderError):
        gone = await provider.terminate(instance)
    assert not gone or cloud.billing() == []
    cloud.faults.clear()
    await until_gone(cloud, provider, instance)
    assert cloud.billing() == []
