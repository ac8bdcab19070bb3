"""Ways in which a machine could go on billing with nobody to end it; each was a bug once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from orchestrator import ssh
from orchestrator.boot import boot
from orchestrator.errors import ConfigError, OrchError, OutcomeUnclear, UsageError
from orchestrator.models import Event
from providers import errors
from providers.fake import Rules
from tests.unit.engine.conftest import House


async def test_a_late_machine_whose_end_is_not_confirmed_is_ended_by_a_later_command(house: House) -> None:
    house.cloud.faults.add("lost", verb="launch")
    house.cloud.faults.add("list_lag", seconds=500, times=1)
    async with house.orch() as orch:
        [lease] = await orch.up(house.request())
        await orch.down(lease.id)
        house.env.advance(600)
        house.cloud.faults.clear()
        house.cloud.faults.add("ignore_terminate", times=-1)
        await orch.resume()
        assert len(house.billing()) == 1
        house.cloud.faults.clear()
        await orch.resume()
    assert house.billing() == []


async def test_rented_without_an_address_is_ended(house: House) -> None:
    house.cloud.rules = Rules(address_s=30.0)
    async with house.orch() as orch:
        with pytest.raises(UsageError):
            async with orch.rented(house.request()):
                raise AssertionError("there was nothing to reach")
        assert await orch.leases() == []
    assert house.billing() == []


async def test_what_a_repeated_call_left_is_ended(house: House) -> None:
    house.cloud.faults.add("left", times=1, code="broken")
    async with house.orch() as orch:
        [lease] = await orch.up(house.request())
        assert house.billing() == [lease.instance_id]


async def test_a_refused_replay_does_not_close_an_unknown_outcome(house: House) -> None:
    house.cloud.rules = Rules(replayable=True)
    house.cloud.faults.add("lost", verb="launch", times=1)
    async with house.orch() as orch:
        adapter: Any = orch.engine.providers["fake"]
        launch, calls = adapter.launch, []

        async def once_refused(*args: Any) -> Any:
            calls.append(args)
            if len(calls) == 2:
                raise errors.AuthFailed("the key was revoked in between")
            return await launch(*args)

        adapter.launch = once_refused
        [lease] = await orch.up(house.request())
        assert house.billing() == [lease.instance_id]


async def test_whoever_listens_may_break_without_breaking_the_launch(house: House) -> None:
    def ear(event: Event) -> None:
        raise BrokenPipeError(32, "pipe")

    async with house.orch() as orch:
        [lease] = await orch.up(house.request(), on_event=ear)
        assert lease.state == "running"
        await orch.down(lease.id, on_event=ear)
    assert house.billing() == []


async def test_an_error_that_nobody_foresaw_ends_what_was_begun(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def yes(*args: Any, **more: Any) -> bool:
        return True

    async with house.orch() as orch:
        monkeypatch.setattr(ssh, "answers", yes)
        monkeypatch.setattr(ssh.shutil, "which", lambda name: None)
        with pytest.raises(ConfigError):
            await orch.up(house.request(ready="gpu"))
    assert house.billing() == []


async def test_a_stuck_boot_is_given_up_by_the_record_and_not_by_the_watcher(house: House) -> None:
    """A take-over does not give a machine its whole boot time again."""
    house.cloud.faults.add("boot_stuck", times=-1)
    async with house.orch() as orch:
        accepted = asyncio.Event()

        def listen(event: Event) -> None:
            if event.kind == "accepted":
                accepted.set()

        task = asyncio.create_task(orch.up(house.request(), on_event=listen))
        await accepted.wait()
        [row] = await orch.store.open_attempts()
        facts = orch.engine.provider("fake").facts
        row.accepted_at = house.env.now() - timedelta(seconds=facts.accept_s + facts.boot_s + 1)
        lease = await orch.store.lease(row.lease)
        began = house.env.monotonic()
        with pytest.raises(errors.ProviderError):
            await boot(orch.engine, row, lease, ready="none")
        assert house.env.monotonic() - began < 60
        task.cancel()
        with pytest.raises(OrchError):
            await task
    assert house.billing() == []


async def test_a_bug_in_one_adapter_is_that_providers_failure(house: House) -> None:
    async with house.orch() as orch:
        adapter: Any = orch.engine.providers["fake"]

        async def broken(*args: Any) -> Any:
            raise KeyError("oops")

        adapter.offers = broken
        with pytest.raises(OrchError) as caught:
            await orch.plan(house.request())
        assert "KeyError" in str(caught.value)


async def test_a_settled_lease_with_an_old_end_unconfirmed_does_not_block_the_next_command(house: House) -> None:
    house.cloud.faults.add("fail_after_accept", times=1)
    house.cloud.faults.add("ignore_terminate", times=-1)
    async with house.orch() as orch:
        [lease] = await orch.up(house.request())
        assert lease.state == "running"
        house.cloud.faults.clear()
        await orch.resume()
        assert (await orch.lease(lease.id)).state == "running"
        assert house.billing() == [lease.instance_id]
        await orch.down(lease.id)
    assert house.billing() == []


async def test_a_machine_wanted_gone_is_not_launched_at_all(house: House) -> None:
    async with house.orch() as orch:

        def listen(event: Event) -> None:
            if event.kind == "lease-created":
                gone.append(asyncio.ensure_future(orch.store.want_down(str(event.lease))))

        gone: list[asyncio.Future[None]] = []
        with pytest.raises(OrchError):
            await orch.up(house.request(), on_event=listen)
        assert gone
    assert house.billing() == []


async def test_a_provider_that_cannot_be_used_here_is_a_failed_source_and_not_the_end(house: House) -> None:
    """A package that is not installed, or a bad URL: the others still rent."""

    def unusable(context: Any) -> Any:
        raise ValueError("needs a package that is not installed")

    orch = house.orch()
    orch._adapters = {"broken": unusable, **(orch._adapters or {})}
    async with orch:
        [lease] = await orch.up(house.request(), on_event=house.events.append)
        assert lease.provider == "fake"
        assert "source-failed" in house.kinds()
        with pytest.raises(OutcomeUnclear, match="could not look everywhere: broken") as caught:
            await orch.gc()
        assert caught.value.strays == ()
        await orch.down(lease.id)
    assert house.billing() == []
