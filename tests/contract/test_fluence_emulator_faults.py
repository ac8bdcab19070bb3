"""Everything that can be made to go wrong at the emulated Fluence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.contract.fluence_bench import BODIES, TREES, Bench, bench, path

L40 = BODIES["vms"]["plan_id"]


@pytest.fixture
async def fluence() -> AsyncIterator[Bench]:
    async with bench() as served:
        yield served


@pytest.mark.parametrize("subject", ["", "L40", "vms", "us-central-3", L40])
@pytest.mark.parametrize("kind", ["sold_out", "gone"])
async def test_a_plan_that_is_taken_is_refused(fluence: Bench, kind: str, subject: str) -> None:
    fluence.world.faults.add(kind, "fluence", subject=subject)
    answer = await fluence.http.post(TREES["vms"], json=BODIES["vms"])
    assert answer.status_code == 400
    assert answer.json() == {"detail": fluence.emulator.options.unavailable_text}
    listed = (await fluence.http.get("/gpu/plans/vms")).json()["data"]
    assert bool(listed) == (kind == "sold_out")
    again = await fluence.http.post(TREES["vms"], json=BODIES["vms"])
    assert again.status_code == (200 if kind == "sold_out" else 400)


async def test_a_fault_leaves_other_subjects_alone(fluence: Bench) -> None:
    fluence.world.faults.add("sold_out", subject="baremetal")
    await fluence.create("vms")
    answer = await fluence.http.post(TREES["baremetal"], json=BODIES["baremetal"])
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("kind", "args", "status", "fields"),
    [
        ("no_money", {}, 400, {"detail"}),
        ("forbidden", {}, 403, {"code", "error"}),
        ("bad_key", {}, 403, {"error"}),
        ("unknown_code", {}, 409, {"code", "error"}),
        ("unknown_code", {"status": 418}, 418, {"code", "error"}),
    ],
)
async def test_a_create_is_refused_for_other_reasons(
    fluence: Bench, kind: str, args: dict[str, Any], status: int, fields: set[str]
) -> None:
    fluence.world.faults.add(kind, verb="launch", **args)
    assert (await fluence.http.get("/gpu/plans/vms")).status_code == 200
    answer = await fluence.http.post(TREES["vms"], json=BODIES["vms"])
    assert (answer.status_code, answer.json().keys()) == (status, fields)
    assert fluence.emulator.records() == []
    await fluence.create()


@pytest.mark.parametrize("kind", ["vms", "containers"])
async def test_a_stuck_boot_is_active_bills_and_can_be_ended(fluence: Bench, kind: str) -> None:
    fluence.world.faults.add("boot_stuck", event="[Warning] [Failed] no such image")
    made = await fluence.running(kind)
    fluence.env.advance(3600)
    detail = await fluence.get(made, kind)
    assert detail["network"] == {"domain": None, "forwarded_ports": [], "uri": None}
    if kind == "containers":
        assert (detail["instance_status"], detail["container_status"]) == ("ACTIVE", "NOT_STARTED")
        events = (await fluence.http.get(f"{path(kind, made)}/events")).json()
        assert "[Warning] [Failed] no such image" in events[-1]
        assert (await fluence.http.get(f"{path(kind, made)}/logs")).json() == []
    assert fluence.machines.running == {}
    assert fluence.world.ledger.billing() == [made]
    assert (await fluence.delete(made, kind)).status_code == 204


async def test_a_boot_can_be_stuck_before_active_too(fluence: Bench) -> None:
    fluence.world.faults.add("boot_stuck", state="INITIALIZED")
    made = await fluence.running()
    fluence.env.advance(86400)
    assert (await fluence.get(made))["status"] == "INITIALIZED"
    assert (await fluence.delete(made)).status_code == 400


@pytest.mark.parametrize(
    ("args", "seen"),
    [({}, ("NVIDIA T4", 15360)), ({"gpu": "NVIDIA L4", "memory_mib": 23034}, ("NVIDIA L4", 23034))],
)
async def test_a_wrong_gpu_shows_only_inside(fluence: Bench, args: dict[str, Any], seen: tuple[str, int]) -> None:
    fluence.world.faults.add("wrong_gpu", subject="l40", **args)
    made = await fluence.running()
    assert (await fluence.get(made))["resources"]["gpu_model"]["model"] == "l40"
    machine = fluence.machines.running[f"fluence:{made}"]
    assert (machine["gpu"], machine["memory_mib"]) == seen


async def _l40(fluence: Bench) -> float:
    [model] = (await fluence.http.get("/gpu/plans/vms")).json()["data"]
    [number] = model["availability_by_number"]
    [option] = number["options"]
    assert model["minimum_price"] == number["minimum_price"] == option["pricing"]["hour"]
    price: float = option["pricing"]["hour"]
    return price


@pytest.mark.parametrize("verb", ["*", "offers", "price"])
@pytest.mark.parametrize(("args", "price"), [({}, 1.14), ({"factor": 2}, 1.52), ({"factor": "0.5"}, 0.38)])
async def test_a_changed_price_stays_changed(fluence: Bench, verb: str, args: dict[str, Any], price: float) -> None:
    before = await fluence.running()
    fluence.world.faults.add("price_changed", verb=verb, subject=L40, **args)
    assert [await _l40(fluence), await _l40(fluence)] == [price, price]
    after = await fluence.create()
    assert (await fluence.get(after))["billing"]["hourly_usage"] == price
    assert (await fluence.get(before))["billing"]["hourly_usage"] == 0.76
    assert fluence.billed(after) == Decimal(str(price))


async def test_a_price_can_change_between_quote_and_create(fluence: Bench) -> None:
    fluence.world.faults.add("price_changed", verb="launch")
    assert await _l40(fluence) == 0.76
    made = await fluence.create()
    assert (await fluence.get(made))["billing"]["hourly_usage"] == 1.14


async def test_a_lasting_price_change_is_one_rise(fluence: Bench) -> None:
    fluence.world.faults.add("price_changed", times=-1)
    assert [await _l40(fluence), await _l40(fluence)] == [1.14, 1.14]


async def test_another_account_shows_nothing_of_this_one(fluence: Bench) -> None:
    made = await fluence.running()
    [mine] = (await fluence.http.get("/v2/users/balances")).json()
    fluence.world.faults.add("other_account", times=4)
    [other] = (await fluence.http.get("/v2/users/balances")).json()
    assert (other["balance"], other["userId"] != mine["userId"]) == ("0.00", True)
    assert await fluence.listed() == []
    assert (await fluence.http.get(path("vms", made))).status_code == 404
    assert (await fluence.http.post(TREES["vms"], json=BODIES["vms"])).status_code == 400
    assert [item["id"] for item in await fluence.listed()] == [made]


async def test_a_new_instance_can_be_late_in_lists(fluence: Bench) -> None:
    fluence.world.faults.add("list_lag", seconds=20)
    made = await fluence.create()
    assert await fluence.listed() == []
    assert (await fluence.get(made))["status"] == "INITIALIZED"
    fluence.env.advance(20)
    assert [item["id"] for item in await fluence.listed()] == [made]
    fluence.world.faults.add("list_lag", polls=2)
    await fluence.create()
    assert [len(await fluence.listed()) for _ in range(3)] == [1, 1, 2]


async def test_an_ignored_delete_says_204_and_does_nothing(fluence: Bench) -> None:
    made = await fluence.running()
    fluence.world.faults.add("ignore_terminate", subject=made)
    assert (await fluence.delete(made)).status_code == 204
    assert (await fluence.get(made))["status"] == "ACTIVE"
    assert fluence.world.ledger.billing() == [made]
    assert (await fluence.delete(made)).status_code == 204
    assert fluence.world.ledger.billing() == []


@pytest.mark.parametrize("by_fault", [True, False])
async def test_a_lost_host_is_ended_without_a_word(fluence: Bench, by_fault: bool) -> None:
    made, other = await fluence.running(), await fluence.running()
    if by_fault:
        fluence.world.faults.add("host_lost", subject=made)
    else:
        fluence.emulator.lose(made)
        fluence.emulator.lose(made)
    assert [item["status"] for item in await fluence.listed()] == ["ENDED", "ACTIVE"]
    assert list(fluence.machines.running) == [f"fluence:{other}"]
    assert fluence.world.ledger.billing() == [other]


async def test_a_cut_create_still_made_its_instance(fluence: Bench) -> None:
    fluence.world.faults.add("lost", verb="launch")
    with pytest.raises(httpx.TransportError):
        await fluence.http.post(TREES["vms"], json=BODIES["vms"])
    [item] = await fluence.listed()
    assert item["name"] == BODIES["vms"]["name"]


async def test_limits_and_breakdowns_answer_in_plain_forms(fluence: Bench) -> None:
    fluence.world.faults.add("rate_limit", verb="offers", retry_after=7)
    limited = await fluence.http.get("/gpu/plans/")
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "7")
    fluence.world.faults.add("rate_limit", verb="offers")
    assert "retry-after" not in (await fluence.http.get("/gpu/plans/vms")).headers
    fluence.world.faults.add("error_before", verb="launch")
    broken = await fluence.http.post(TREES["vms"], json=BODIES["vms"])
    assert (broken.status_code, broken.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert fluence.emulator.records() == []
