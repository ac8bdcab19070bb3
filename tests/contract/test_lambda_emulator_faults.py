"""Everything that can be made to go wrong at the emulated Lambda Cloud."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from providers.sandbox.faults import SEMANTIC
from tests.contract import lambda_bench as lb
from tests.contract.lambda_bench import Bench, bench, body

NO_CAPACITY = "instance-operations/launch/insufficient-capacity"
MISSING = "global/object-does-not-exist"


@pytest.fixture
async def served() -> AsyncIterator[Bench]:
    async with bench() as made:
        yield made


async def _places(served: Bench, name: str = "gpu_1x_a10") -> list[str]:
    types = await served.data(lb.TYPES)
    return [place["name"] for place in types[name]["regions_with_capacity_available"]] if name in types else ["unsold"]


async def test_sold_out_is_said_at_launch_of_what_the_list_still_shows(served: Bench) -> None:
    for subject in ("", "gpu_1x_a10", "A10 (24 GB PCIe)", "us-east-1", "gpu_1x_a10 A10 (24 GB PCIe) us-east-1"):
        served.world.faults.add("sold_out", "lambda", subject=subject)
        await served.refused(served.http.post(lb.LAUNCH, json=body()), 400, NO_CAPACITY)
        assert await _places(served) == ["us-east-1", "us-west-1"]
    assert served.emulator.records() == []
    await served.launch()


async def test_a_fault_leaves_other_subjects_alone(served: Bench) -> None:
    served.world.faults.add("sold_out", subject="us-west-1", times=-1)
    await served.launch()
    await served.refused(served.http.post(lb.LAUNCH, json=body(region_name="us-west-1")), 400, NO_CAPACITY)


async def test_gone_takes_the_region_out_of_the_list_for_good(served: Bench) -> None:
    served.world.faults.add("gone", verb="launch")
    for _ in range(2):
        await served.refused(served.http.post(lb.LAUNCH, json=body()), 400, NO_CAPACITY)
        assert await _places(served) == ["us-west-1"]
    await served.launch(region_name="us-west-1")


async def test_gone_may_be_the_whole_type(served: Bench) -> None:
    served.world.faults.add("gone", what="type")
    for _ in range(2):
        error = await served.refused(served.http.post(lb.LAUNCH, json=body()), 404, MISSING)
        assert "gpu_1x_a10" in error["message"]
        assert await _places(served) == ["unsold"]


@pytest.mark.parametrize(
    ("kind", "args", "status", "code"),
    [
        ("no_money", {}, 403, "global/account-inactive"),
        ("no_money", {"code": "global/invalid-address"}, 403, "global/invalid-address"),
        ("quota", {}, 400, "global/quota-exceeded"),
        ("forbidden", {}, 403, "global/forbidden"),
        ("bad_key", {}, 401, "global/invalid-api-key"),
        ("unknown_code", {}, 400, "instance-operations/launch/host-reserved"),
    ],
)
async def test_a_launch_is_refused_for_other_reasons(
    served: Bench, kind: str, args: dict[str, Any], status: int, code: str
) -> None:
    served.world.faults.add(kind, verb="launch", **args)
    await served.data(lb.TYPES)
    await served.refused(served.http.post(lb.LAUNCH, json=body()), status, code)
    assert served.emulator.records() == []
    await served.launch()


async def test_an_unknown_code_may_be_any() -> None:
    async with bench() as served:
        served.world.faults.add("unknown_code", code="provider/odd", status=418)
        answer = await served.http.post(lb.LAUNCH, json=body())
        await served.refused(answer, 418, "provider/odd")
        served.exchanges.clear()  # nothing describes a teapot


async def test_a_revoked_key_is_refused_everywhere(served: Bench) -> None:
    made = await served.launch()
    served.world.faults.add("bad_key", times=-1)
    for path in (lb.TYPES, lb.INSTANCES, f"{lb.INSTANCES}/{made}", lb.KEYS, lb.IMAGES):
        await served.refused(served.http.get(path), 401, "global/invalid-api-key")
    await served.terminate(made, status=401)
    served.world.faults.clear()
    assert await served.listed() == [made]


@pytest.mark.parametrize(("args", "after_s"), [({}, 162), ({"seconds": 40}, 40)])
async def test_a_boot_that_fails_is_gone_and_costs_nothing(served: Bench, args: dict[str, Any], after_s: int) -> None:
    served.world.faults.add("fail_after_accept", **args)
    made = await served.launch()
    served.env.advance(after_s - 1)
    assert (await served.get(made))["status"] == "booting"
    served.env.advance(1)
    await served.refused(served.http.get(f"{lb.INSTANCES}/{made}"), 404, MISSING)
    assert await served.listed() == []
    served.env.advance(3600)
    assert (served.billed(made), served.machines.running) == (Decimal(0), {})


async def test_a_boot_that_fails_may_stay_as_unhealthy_until_it_is_ended(served: Bench) -> None:
    served.world.faults.add("fail_after_accept", how="unhealthy")
    made = await served.launch()
    served.env.advance(7200)
    shown = await served.get(made)
    assert (shown["status"], "ip" in shown) == ("unhealthy", False)
    assert served.emulator.records()[0].alive
    assert served.world.ledger.billing() == []
    await served.terminate(made)
    served.env.advance(30)
    assert await served.listed() == []


@pytest.mark.parametrize(
    ("how", "status", "address", "billing"),
    [("booting", "booting", False, False), ("no_ip", "active", False, True), ("no_ssh", "active", True, True)],
)
async def test_a_boot_that_never_ends(served: Bench, how: str, status: str, address: bool, billing: bool) -> None:
    fault = served.world.faults.add("boot_stuck")
    fault.args |= {} if how == "booting" else {"how": how}  # for ever booting is what happens by itself
    made = await served.launch()
    served.env.advance(86400)
    shown = await served.get(made)
    assert (shown["status"], "ip" in shown) == (status, address)
    assert bool(served.world.ledger.billing()) == billing
    assert served.machines.running == {}
    await served.terminate(made)
    served.env.advance(30)
    assert await served.listed() == []
    assert served.world.ledger.billing() == []


@pytest.mark.parametrize(
    ("args", "seen"),
    [({}, ("NVIDIA T4", 15360)), ({"gpu": "NVIDIA L4", "memory_mib": 23034}, ("NVIDIA L4", 23034))],
)
async def test_a_wrong_gpu_shows_only_inside(served: Bench, args: dict[str, Any], seen: tuple[str, int]) -> None:
    served.world.faults.add("wrong_gpu", subject="a10", **args)
    made = await served.running()
    assert (await served.get(made))["instance_type"]["gpu_description"] == "A10 (24 GB PCIe)"
    machine = served.machines.running[f"lambda:{made}"]
    assert (machine["gpu"], machine["memory_mib"]) == seen


async def _cents(served: Bench, name: str = "gpu_1x_a10") -> int:
    cents: int = (await served.data(lb.TYPES))[name]["instance_type"]["price_cents_per_hour"]
    return cents


@pytest.mark.parametrize("verb", ["*", "offers", "price"])
@pytest.mark.parametrize(("args", "cents"), [({}, 194), ({"factor": 2}, 258), ({"factor": "0.5"}, 65)])
async def test_a_changed_price_stays_changed(served: Bench, verb: str, args: dict[str, Any], cents: int) -> None:
    before = await served.running()
    served.world.faults.add("price_changed", verb=verb, subject="gpu_1x_a10 ", **args)
    assert [await _cents(served), await _cents(served)] == [cents, cents]
    assert await _cents(served, "gpu_1x_h100_pcie") == 329
    after = await served.running()
    served.env.advance(3600 - lb.SSH_S + lb.ACTIVE_S)
    assert (await served.get(after))["instance_type"]["price_cents_per_hour"] == cents
    assert served.billed(after) == Decimal(cents) / 100
    assert (await served.get(before))["instance_type"]["price_cents_per_hour"] == 129


async def test_one_price_change_without_a_subject_is_of_the_whole_market(served: Bench) -> None:
    served.world.faults.add("price_changed", factor=2)
    assert [await _cents(served), await _cents(served, "gpu_1x_gh200")] == [258, 458]
    assert [await _cents(served), await _cents(served, "gpu_1x_gh200")] == [258, 458]


async def test_a_lasting_price_change_is_one_rise(served: Bench) -> None:
    served.world.faults.add("price_changed", subject="us-east-1", times=-1)
    assert [await _cents(served), await _cents(served)] == [194, 194]


async def test_a_price_can_change_between_quote_and_launch(served: Bench) -> None:
    served.world.faults.add("price_changed", verb="launch", factor=2)
    assert await _cents(served) == 129
    made = await served.launch()
    assert (await served.get(made))["instance_type"]["price_cents_per_hour"] == 258


async def test_a_new_machine_can_be_late_in_lists(served: Bench) -> None:
    served.world.faults.add("list_lag", seconds=20)
    made = await served.launch()
    assert await served.listed() == []
    assert (await served.get(made))["status"] == "booting"
    served.env.advance(20)
    assert await served.listed() == [made]


async def test_a_new_machine_can_be_unknown_to_its_own_path_too_and_is_ended_all_the_same(served: Bench) -> None:
    served.world.faults.add("list_lag", seconds=20, get=True)
    made = await served.launch()
    await served.refused(served.http.get(f"{lb.INSTANCES}/{made}"), 404, MISSING)
    await served.terminate(made)
    served.env.advance(31)
    assert await served.listed() == []
    assert [record.alive for record in served.emulator.records()] == [False]


async def test_an_ignored_terminate_says_terminating_and_does_nothing(served: Bench) -> None:
    made = await served.running()
    served.world.faults.add("ignore_terminate", subject=made)
    [said] = (await served.terminate(made))["terminated_instances"]
    assert said["status"] == "terminating"
    served.env.advance(600)
    assert (await served.get(made))["status"] == "active"
    assert served.world.ledger.billing() == [made]
    assert list(served.machines.running) == [f"lambda:{made}"]
    await served.terminate(made)
    assert served.world.ledger.billing() == []


@pytest.mark.parametrize("by_fault", [True, False])
async def test_a_lost_machine_vanishes_without_a_word(served: Bench, by_fault: bool) -> None:
    made, other = await served.running(), await served.running()
    if by_fault:
        served.world.faults.add("host_lost", subject=made)
    else:
        served.emulator.lose(made)
        served.emulator.lose(made)
    assert await served.listed() == [other]
    await served.refused(served.http.get(f"{lb.INSTANCES}/{made}"), 404, MISSING)
    await served.terminate(made, status=404)
    assert list(served.machines.running) == [f"lambda:{other}"]
    assert served.world.ledger.billing() == [other]


async def test_a_lost_machine_may_be_preempted(served: Bench) -> None:
    made = await served.running()
    served.world.faults.add("host_lost", how="preempted")
    assert (await served.get(made))["status"] == "preempted"
    assert await served.listed() == [made]
    assert (served.world.ledger.billing(), served.machines.running) == ([], {})
    await served.terminate(made, status=404)
    served.env.advance(600)
    assert await served.listed() == []


async def test_a_lost_machine_may_be_unhealthy_and_then_bills_until_it_is_ended(served: Bench) -> None:
    made = await served.running()
    served.world.faults.add("host_lost", how="unhealthy")
    shown = await served.get(made)
    assert (shown["status"], "ip" in shown) == ("unhealthy", True)
    served.env.advance(3600)
    assert (await served.get(made))["status"] == "unhealthy"
    assert (served.world.ledger.billing(), served.machines.running) == ([made], {})
    [said] = (await served.post(lb.RESTART, {"instance_ids": [made]}))["restarted_instances"]
    assert said["status"] == "unhealthy"
    await served.terminate(made)
    assert served.world.ledger.billing() == []


async def test_an_unhealthy_machine_may_recover(served: Bench) -> None:
    made = await served.running()
    served.world.faults.add("host_lost", how="unhealthy", recovers_s=120)
    before = await served.get(made)
    assert before["status"] == "unhealthy"
    served.env.advance(120)
    assert await served.get(made) == before | {"status": "active"}
    assert list(served.machines.running) == [f"lambda:{made}"]


async def test_faults_that_no_client_could_tell_are_not_promised(served: Bench) -> None:
    assert SEMANTIC - served.emulator.semantic == {"other_account", "no_money", "left"}


async def test_a_cut_launch_still_made_its_machine(served: Bench) -> None:
    served.world.faults.add("lost", verb="launch")
    with pytest.raises(httpx.TransportError):
        await served.http.post(lb.LAUNCH, json=body())
    [item] = await served.data(lb.INSTANCES)
    assert item["name"] == body()["name"]


async def test_limits_and_breakdowns_answer_in_plain_forms(served: Bench) -> None:
    served.world.faults.add("rate_limit", verb="offers", retry_after=7)
    limited = await served.http.get(lb.TYPES)
    await served.refused(limited, 429, "global/rate-limited")
    assert limited.headers["retry-after"] == "7"
    served.world.faults.add("rate_limit", verb="launch")
    limited = await served.http.post(lb.LAUNCH, json=body())
    assert (limited.status_code, "retry-after" in limited.headers) == (429, False)
    served.world.faults.add("error_before", verb="launch")
    await served.refused(served.http.post(lb.LAUNCH, json=body()), 500, "global/internal-error")
    assert served.emulator.records() == []
