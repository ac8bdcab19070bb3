"""The emulated Lambda Cloud over time: boot, address, restart, end, bill, rate limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from providers.env import ManualEnv
from providers.lambda_cloud.emulator import LambdaEmulator
from providers.lambda_cloud.emulator_limits import Limits
from providers.lambda_cloud.emulator_options import Options
from providers.sandbox.kit import Record
from providers.sandbox.world import World
from tests.contract import lambda_bench as lb
from tests.contract.lambda_bench import bench, body, unlimited

A_MINUTE = Decimal("1.29") / 60


async def test_a_boot_goes_through_active_without_an_address_to_ssh() -> None:
    async with bench() as served:
        made = await served.launch()
        seen = []
        for seconds in (lb.ACTIVE_S - 1, 1, lb.ADDRESS_S - lb.ACTIVE_S, lb.SSH_S - lb.ADDRESS_S):
            served.env.advance(seconds)
            shown = await served.get(made)
            seen.append((shown["status"], "ip" in shown, bool(served.machines.running)))
        assert seen == [
            ("booting", False, False),
            ("active", False, False),
            ("active", True, False),
            ("active", True, True),
        ]


@pytest.mark.parametrize(
    ("instance_type", "region", "seconds"), [("gpu_2x_h100_sxm5", "us-south-2", 336), ("gpu_8x_a100", "us-east-1", 732)]
)
async def test_more_gpus_boot_longer(instance_type: str, region: str, seconds: int) -> None:
    async with bench() as served:
        made = await served.launch(instance_type_name=instance_type, region_name=region)
        served.env.advance(seconds - 1)
        assert (await served.get(made))["status"] == "booting"
        served.env.advance(1)
        assert (await served.get(made))["status"] == "active"
        served.env.advance(15)
        await served.get(made)
        assert served.machines.running[f"lambda:{made}"]["count"] == int(instance_type[4])


async def test_the_boot_scale_shortens_boots_and_ends() -> None:
    async with bench(boot_scale=0.1) as served:
        made = await served.launch()
        served.env.advance(28.5)
        assert "ip" in await served.get(made)
        assert served.machines.running
        await served.terminate(made)
        served.env.advance(3)
        assert await served.listed() == []


async def test_a_late_look_bills_from_the_moment_at_which_it_became_active() -> None:
    async with bench() as served:
        made = await served.launch()
        served.env.advance(lb.ACTIVE_S + 3600)
        await served.get(made)
        assert served.billed(made) == Decimal("1.29")


async def test_booting_is_free_and_minutes_are_begun_minutes() -> None:
    async with bench() as served:
        made = await served.launch()
        served.env.advance(lb.ACTIVE_S)
        served.emulator.advance()
        assert (served.world.ledger.billing(), served.billed(made)) == ([made], Decimal(0))
        served.env.advance(1)
        assert served.billed(made) == A_MINUTE
        served.env.advance(60)
        assert served.billed(made) == 2 * A_MINUTE
        served.env.advance(59)
        await served.terminate(made)
        assert served.world.ledger.billing() == []
        served.env.advance(3600)
        assert served.billed(made) == 2 * A_MINUTE


async def test_a_machine_that_is_ended_while_it_boots_costs_nothing() -> None:
    async with bench() as served:
        made = await served.launch()
        shown = await served.get(made)
        assert shown["actions"]["terminate"] == {"available": True}
        assert shown["actions"]["restart"]["reason_code"] == "vm-has-not-launched"
        await served.terminate(made)
        served.env.advance(3600)
        assert await served.listed() == []
        assert served.world.ledger.of("lambda", made) == []
        assert served.machines.running == {}


async def test_an_end_takes_a_while_and_nobody_is_at_home_meanwhile() -> None:
    async with bench() as served:
        made = await served.running()
        [ended] = (await served.terminate(made))["terminated_instances"]
        assert ended["status"] == "terminating"
        assert {action["reason_code"] for action in ended["actions"].values()} == {"vm-is-terminating"}
        assert served.machines.running == {}
        served.env.advance(29)
        assert await served.listed() == [made]
        subject = "gpu_1x_a10 A10 (24 GB PCIe) us-east-1"
        assert served.emulator.records() == [Record(made, body()["name"], alive=True, billing=False, offer=subject)]
        served.env.advance(1)
        assert await served.listed() == []
        assert served.emulator.records() == [Record(made, body()["name"], alive=False, billing=False, offer=subject)]


@pytest.mark.parametrize("status", [200, 404])
async def test_a_second_terminate_is_answered_as_the_option_says(status: Any) -> None:
    async with bench(unlimited(second_terminate=status)) as served:
        made = await served.running()
        await served.terminate(made)
        served.env.advance(20)
        await served.terminate(made, status=status)
        served.env.advance(10)
        assert await served.listed() == []
        await served.terminate(made, status=404)


async def test_a_boot_can_be_safe_from_terminates() -> None:
    async with bench(unlimited(terminate_booting=False)) as served:
        made = await served.launch()
        assert (await served.get(made))["actions"]["terminate"]["reason_code"] == "vm-has-not-launched"
        answer = await served.http.post(lb.TERMINATE, json={"instance_ids": [made]})
        await served.refused(answer, 409, "global/conflict")
        served.env.advance(lb.ACTIVE_S)
        await served.terminate(made)


async def test_what_has_ended_may_be_shown_for_a_while() -> None:
    async with bench(unlimited(ended_shown_s=60.0)) as served:
        made = await served.running()
        await served.terminate(made)
        served.env.advance(30)
        shown = await served.get(made)
        assert shown["status"] == "terminated"
        assert await served.listed() == [made]
        await served.terminate(made, status=404)
        served.env.advance(60)
        assert await served.listed() == []
        await served.refused(served.http.get(f"{lb.INSTANCES}/{made}"), 404, "global/object-does-not-exist")


async def test_a_restart_keeps_the_machine_its_address_and_its_bill() -> None:
    async with bench() as served:
        made = await served.launch()
        answer = await served.http.post(lb.RESTART, json={"instance_ids": [made]})
        await served.refused(answer, 409, "global/conflict")
        served.env.advance(lb.SSH_S)
        before = await served.get(made)
        [during] = (await served.post(lb.RESTART, {"instance_ids": [made]}))["restarted_instances"]
        assert during["status"] == "active"
        assert during["actions"]["rebuild"]["reason_code"] == "vm-action-in-progress"
        assert during["actions"]["terminate"] == {"available": True}
        assert served.machines.running == {}
        served.env.advance(90)
        assert await served.get(made) == before
        assert served.machines.running
        assert served.billed(made) == 2 * A_MINUTE
        await served.terminate(made)
        answer = await served.http.post(lb.RESTART, json={"instance_ids": [made]})
        await served.refused(answer, 409, "global/conflict")


async def test_a_terminate_during_a_restart_is_the_end() -> None:
    async with bench() as served:
        made = await served.running()
        await served.post(lb.RESTART, {"instance_ids": [made]})
        await served.terminate(made)
        served.env.advance(3600)
        assert await served.listed() == []
        assert served.machines.running == {}


async def test_some_machines_have_no_private_address() -> None:
    async with bench(unlimited(private_ip=False)) as served:
        shown = await served.get(await served.running())
        assert "ip" in shown
        assert "private_ip" not in shown


# -- rate limits ------------------------------------------------------------------------------------------


async def test_one_request_a_second_is_the_default() -> None:
    async with bench(Options()) as served:
        await served.data(lb.TYPES)
        answer = await served.http.get(lb.INSTANCES)
        await served.refused(answer, 429, "global/rate-limited")
        assert "retry-after" not in answer.headers
        served.env.advance(0.5)
        assert (await served.http.get(lb.KEYS)).status_code == 429
        served.env.advance(0.5)
        await served.data(lb.INSTANCES)


async def test_one_launch_in_twelve_seconds_is_the_default_and_refused_launches_count() -> None:
    async with bench(Options()) as served:
        answer = await served.http.post(lb.LAUNCH, json=body(ssh_key_names=["nobody"]))
        await served.refused(answer, 404, "global/object-does-not-exist")
        for _ in range(11):
            served.env.advance(1)
            await served.refused(served.http.post(lb.LAUNCH, json=body()), 429, "global/rate-limited")
        await served.data(lb.INSTANCES)  # what was refused has used up nothing
        served.env.advance(1)
        await served.launch()
        assert len(served.emulator.records()) == 1


async def test_a_bad_key_is_refused_as_such_however_often() -> None:
    async with bench(Options()) as served:
        for _ in range(3):
            answer = await served.http.get(lb.TYPES, headers={"Authorization": "Bearer other"})
            assert answer.status_code == 401
        await served.data(lb.TYPES)


async def test_a_limit_may_say_how_long_and_may_be_a_page() -> None:
    async with bench(Options(limit_header=True, launch_spacing_s=40.0, limit_body="html")) as served:
        await served.launch()
        served.env.advance(1.5)
        answer = await served.http.post(lb.LAUNCH, json=body())
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "39")
        assert answer.headers["content-type"].startswith("text/html")


async def test_a_steady_pace_with_jitter_passes_and_a_faster_one_does_not() -> None:
    async with bench(Options()) as served:
        for gap in (1.0, 0.95, 1.05, 0.92, 1.08):
            await served.data(lb.TYPES)
            served.env.advance(gap)
        statuses = []
        for _ in range(6):
            statuses.append((await served.http.get(lb.TYPES)).status_code)
            served.env.advance(0.95)
        assert statuses[0] == 200
        assert 429 in statuses


class FastEnv(ManualEnv):
    """A clock that says it runs faster than real time, as the sandbox's may."""

    speed = 100.0


def test_jitter_is_of_real_time_however_fast_the_clock_runs() -> None:
    fast = LambdaEmulator(World(FastEnv()))
    waits = [fast._pace("types") for _ in range(12)]
    assert waits == [None] * 11 + [11.0]


def _at(seconds: float) -> datetime:
    return datetime(2026, 11, 22, 12, tzinfo=UTC) + timedelta(seconds=seconds)


def test_limits_keep_apart_what_they_count_and_survive_a_file() -> None:
    limits = Limits()
    assert limits.take({"request": 1, "launch": 12}, _at(0), 0) is None
    assert limits.take({"request": 1}, _at(1), 0) is None
    assert limits.take({"request": 1, "launch": 12}, _at(2), 0) == 10
    again = Limits()
    again.load(limits.dump())
    assert again.dump() == limits.dump()
    assert again.take({"request": 1, "launch": 12}, _at(11.5), 0.4) == 0.5
    assert again.take({"request": 1, "launch": 12}, _at(11.5), 0.5) is None
    assert again.take({"request": 1, "launch": 12}, _at(23.5), 0) == 0.5
    assert again.take({"request": 0, "launch": 0}, _at(23.5), 0) is None
