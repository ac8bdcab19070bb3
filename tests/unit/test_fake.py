"""The cloud in memory keeps the contract: states, ownership, repeatability. Money and faults have own files."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import fields
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from providers import naming
from providers.base import Context, Offer, Phase
from providers.env import ManualEnv
from providers.errors import InvalidRequest, QuotaExceeded, Unavailable
from providers.fake import Fake, FakeCloud, Record, Rules, connect
from providers.sandbox import kit
from tests.unit.fake_place import OTHER, OWNER, START, attempt, cloud_with, join, rent, spec, turn, usd


async def test_a_machine_boots_runs_and_ends_and_is_billed_to_the_second() -> None:
    cloud = cloud_with(address_s=20, stop_s=5)
    fake = join(cloud)
    launched = await rent(fake)
    assert (launched.phase, launched.address, launched.owner) == (Phase.PENDING, None, OWNER)
    assert launched.usd_per_hour == Decimal("0.99")
    turn(cloud, 45)
    running = await fake.find(attempt(launched))
    assert running
    assert (running.phase, running.address) == (Phase.RUNNING, None)
    turn(cloud, 20)
    reachable = await fake.find(attempt(launched))
    assert reachable
    assert reachable.address
    machine = cloud.machine_at(reachable.address.host)
    assert machine
    assert (machine.smi_gpu, machine.memory_mib) == ("NVIDIA L40", 49152)
    turn(cloud, 3600 - 65)
    assert await fake.terminate(reachable) is False
    [stopping] = await fake.owned()
    assert stopping.phase is Phase.STOPPING
    turn(cloud, 5)
    assert await fake.owned() == []
    assert await fake.terminate(reachable) is True
    assert usd(cloud, launched.id) == Decimal("0.99") * 3605 / 3600
    assert cloud.machine_at(reachable.address.host) is None
    turn(cloud, 86400)
    assert usd(cloud, launched.id) == Decimal("0.99") * 3605 / 3600


async def test_nobody_needs_to_look_for_a_machine_to_end_in_time() -> None:
    cloud = cloud_with(stop_s=5)
    fake = join(cloud)
    launched = await rent(fake, ends_at=START + timedelta(hours=1))
    turn(cloud, 86400)
    assert cloud.records() == [Record(launched.id, launched.token or "", False, False, "fake/l40-us")]
    assert usd(cloud, launched.id) == Decimal("0.99") * 3605 / 3600


async def test_an_ended_machine_is_listed_as_gone_for_a_while() -> None:
    cloud = cloud_with(remember_s=600)
    fake = join(cloud)
    launched = await rent(fake)
    await fake.terminate(launched)
    turn(cloud, 10)
    for known in (True, False):
        gone = await fake.find(attempt(launched, known=known))
        assert gone
        assert gone.phase is Phase.GONE
    turn(cloud, 600)
    assert await fake.find(attempt(launched)) is None
    assert await fake.find(attempt(launched, known=False)) is None


async def test_two_adapters_are_two_processes_at_one_cloud() -> None:
    cloud = cloud_with()
    launched = await rent(join(cloud))
    restarted = join(cloud)
    assert await restarted.find(attempt(launched, known=False)) == launched
    assert await restarted.owned() == [launched]
    assert await join(cloud, OTHER).owned() == []


async def test_names_are_not_unique_and_the_living_one_is_found() -> None:
    cloud = cloud_with()
    fake = join(cloud)
    first, second = await rent(fake), await rent(fake)
    assert first.id != second.id
    await fake.terminate(first)
    turn(cloud, 10)
    assert await fake.find(attempt(second, known=False)) == (await fake.owned())[0]
    gone = await fake.find(attempt(first))
    assert gone
    assert gone.phase is Phase.GONE


async def test_a_replayable_create_makes_one_machine() -> None:
    cloud = cloud_with(replayable=True)
    fake = join(cloud)
    assert fake.facts.replayable_create
    first, again = await rent(fake), await rent(fake)
    assert first == again
    assert len(cloud.records()) == 1
    with pytest.raises(InvalidRequest):
        await rent(fake, image="another:1")
    with pytest.raises(InvalidRequest):
        await rent(fake, "l40-de")
    assert len(cloud.records()) == 1


async def test_a_new_machine_is_listed_late_but_within_the_window() -> None:
    cloud = cloud_with(list_lag_s=20, consistency_s=30)
    fake = join(cloud)
    assert fake.facts.consistency_s == 30
    launched = await rent(fake)
    assert await fake.find(attempt(launched)) is None
    assert await fake.owned() == []
    turn(cloud, 20)
    assert await fake.find(attempt(launched, known=False)) == launched
    assert await fake.owned() == [launched]


@pytest.mark.parametrize("owner_in", ["tags", "name"])
async def test_machines_of_others_are_never_ours(owner_in: str) -> None:
    cloud = cloud_with(owner_in=owner_in)
    fake = join(cloud)
    theirs = [
        cloud.plant(naming.make(OTHER, "abcdefghi", 1), OTHER),
        cloud.plant("web-server-1"),
        cloud.plant("orch-but-not-really"),
    ]
    ours = await rent(fake)
    assert [i.id for i in await fake.owned()] == [ours.id]
    assert ours.owner == (OWNER if owner_in == "tags" else None)
    assert cloud.ledger.billing() == [*theirs, ours.id]


async def test_a_full_owner_tag_tells_installations_with_alike_names_apart() -> None:
    cloud = cloud_with(owner_in="tags")
    fake = join(cloud)
    cloud.plant(spec().name, OTHER)
    cloud.plant(spec().name)
    assert await fake.owned() == []
    assert await fake.find(attempt(await rent(join(cloud, OTHER)), known=False)) is None


async def test_spot_machines_are_taken_at_the_declared_rate_and_repeatably() -> None:
    async def lifetimes(seed: int) -> list[float]:
        rate = Decimal("0.38")
        offer = Offer(
            offer_id="s",
            provider="fake",
            gpu="l40",
            pricing="spot",
            usd_per_hour=rate,
            interruptions_per_hour=0.5,
        )
        cloud = FakeCloud(ManualEnv(START), offers=[offer], seed=seed, rules=Rules(boot_s=0))
        fake = join(cloud)
        for n in range(1, 201):
            await fake.launch(offer, spec(n), spec(n).name)
        turn(cloud, 1000 * 3600)
        assert await fake.owned() == []
        return [at - START.timestamp() for at, what, _ in cloud.events if what == "lost"]

    once, again, other = await lifetimes(1), await lifetimes(1), await lifetimes(2)
    assert once == again != other
    assert sum(once) / len(once) == pytest.approx(7200, rel=0.2)


async def test_boot_times_follow_offer_and_spread() -> None:
    cloud = cloud_with(boot_spread=0.5)
    fake = join(cloud)
    for n in range(1, 31):
        await rent(fake, n=n)
    turn(cloud, 3600)
    cloud.advance()
    times = [at - START.timestamp() for at, what, _ in cloud.events if what == "running"]
    assert len(set(times)) == 30
    assert all(22.5 <= at <= 67.5 for at in times)


async def test_a_machine_that_must_run_first_cannot_be_ended_before() -> None:
    cloud = cloud_with(terminate_pending=False)
    fake = join(cloud)
    assert not fake.facts.terminate_pending
    machine = await rent(fake)
    with pytest.raises(Unavailable):
        await fake.terminate(machine)
    turn(cloud, 45)
    assert await fake.terminate(machine) is False


async def test_the_account_has_a_quota_and_requests_must_fit_the_offer() -> None:
    cloud = cloud_with(quota=1)
    fake = join(cloud)
    for wrong in ({"workload": "bare-metal"}, {"disk_gib": 501}):
        with pytest.raises(InvalidRequest):
            await rent(fake, **wrong)
    await rent(fake)
    with pytest.raises(QuotaExceeded) as caught:
        await rent(fake, n=2)
    assert caught.value.bucket == "machines"
    assert len(cloud.records()) == 1


async def test_a_process_killed_between_effect_and_answer_leaves_a_machine_that_can_be_found() -> None:
    cloud = cloud_with(latency_s=2)
    fake = join(cloud)
    call = asyncio.create_task(rent(fake))
    for _ in range(10):
        await asyncio.sleep(0)
        if cloud.machines:
            break
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    [found] = await join(cloud).owned()
    assert found.token == spec().name


def test_an_adapter_must_say_what_its_cloud_does() -> None:
    env = ManualEnv(START)
    with pytest.raises(ValueError, match="use connect"):
        Fake(Context(env=env), FakeCloud(env, rules=Rules(replayable=True)))
    with pytest.raises(ValueError, match="use connect"):
        Fake(Context(env=env), FakeCloud(env, name="fake-b"))
    assert connect(FakeCloud(env, name="fake-b")).name == "fake-b"
    assert Fake(Context(env=env)).cloud.name == "fake"


def test_records_are_those_of_the_emulators() -> None:
    assert [(f.name, f.default) for f in fields(Record)] == [(f.name, f.default) for f in fields(kit.Record)]


async def scenario() -> str:
    """Rent, lose and end machines for a day; what happened, as one hash."""
    cloud = FakeCloud(ManualEnv(START), seed=7, rules=Rules(boot_spread=0.3))
    fake = join(cloud)
    plans = ["l40-us", "l40-spot", "l40-de", "l40-hyperscale"]
    for n in range(1, 25):
        await rent(fake, plans[n % 4], n)
        turn(cloud, 3600)
        for machine in (await fake.owned())[:: n % 3 + 1]:
            await fake.terminate(machine)
        if n % 5 == 0:
            cloud.lose((await rent(fake, n=n + 100)).id)
    cloud.advance()
    assert {what for _, what, _ in cloud.events} == {
        "created",
        "running",
        "reachable",
        "stopping",
        "gone",
        "lost",
    }
    return cloud.digest()


def test_equal_runs_are_equal_under_any_hash_seed() -> None:
    digests = set()
    for seed in ("0", "1", "4711"):
        run = subprocess.run(
            [sys.executable, __file__],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(run.stdout.strip())
    assert digests == {asyncio.run(scenario())}
    assert len(next(iter(digests))) == 64


if __name__ == "__main__":
    print(asyncio.run(scenario()))
