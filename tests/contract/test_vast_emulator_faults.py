"""Vast.ai's emulator: every fault that it can bring about, in Vast's own words."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from providers.sandbox.faults import SEMANTIC
from providers.vast.emulator import VastEmulator
from tests.contract import vast_golden as golden
from tests.contract.vast_desk import (
    KEY_LINE,
    L40_EGRESS,
    L40_ENDING,
    L40_FREE,
    Desk,
    body,
    desk,
)

HOUR = Decimal(3600)


def fault(d: Desk, kind: str, **more: Any) -> None:
    d.world.faults.add(kind, "vast", **more)


async def refused(d: Desk, ask: int = L40_FREE, **changes: Any) -> tuple[int, dict[str, Any]]:
    """Status and body of a create that fails and rents nothing."""
    before = len(d.vast.records())
    reply = await d.put(ask, **changes)
    answer: dict[str, Any] = reply.json()
    assert answer["success"] is False
    assert len(d.vast.records()) == before
    return reply.status_code, answer


def test_the_emulator_says_which_faults_it_has() -> None:
    assert VastEmulator.semantic == SEMANTIC - {"quota"}


# Refusals of a create.


async def test_sold_out_is_a_lost_race_although_the_offer_stays_listed() -> None:
    async with desk() as d:
        fault(d, "sold_out", subject=f"L40 {L40_FREE}", times=2)
        assert await refused(d) == golden.ERRORS["gone-410"]
        assert await refused(d, cancel_unavail=False) == golden.ERRORS["gone-404"]
        assert L40_FREE in await d.ids()
        await d.create()


@pytest.mark.parametrize("shape", ["410", "404", "400", "200"])
async def test_a_lost_race_comes_in_every_shape_that_was_seen(shape: str) -> None:
    async with desk() as d:
        fault(d, "sold_out", shape=shape)
        status, answer = await refused(d)
    assert status == int(shape)
    assert "no_such_ask" in answer["msg"]
    if shape in ("410", "404"):
        assert (status, answer) == golden.ERRORS[f"gone-{shape}"]
    assert answer["error"] == ("no_such_ask" if shape == "410" else "invalid_args")


async def test_an_offer_that_is_gone_leaves_the_market_for_good() -> None:
    async with desk() as d:
        fault(d, "gone", subject=str(L40_FREE))
        assert L40_FREE in await d.ids()
        await d.create(L40_EGRESS)
        assert await refused(d) == golden.ERRORS["gone-404"]
        assert L40_FREE not in await d.ids(verified={}, rentable={})
        assert await refused(d) == golden.ERRORS["gone-404"]


async def test_an_edited_listing_comes_back_under_another_id_on_the_same_machine() -> None:
    async with desk() as d:
        machine = {row["id"]: row["machine_id"] for row in await d.search()}[L40_FREE]
        fault(d, "gone", subject=str(L40_FREE), reissue=True)
        await refused(d)
        [row] = await d.search(machine_id={"eq": machine})
        assert row["id"] != L40_FREE
        assert await d.ids(ask_contract_id={"eq": L40_FREE}) == []
        await d.create(row["id"])
        assert await d.ids(machine_id={"eq": machine}) == []


async def test_no_money_and_the_spend_rate_cap() -> None:
    async with desk() as d:
        fault(d, "no_money")
        status, answer = await refused(d)
        assert (status, answer["error"]) == (400, "insufficient_credit")
        fault(d, "no_money", how="spend_rate")
        status, answer = await refused(d)
        assert "spend rate" in answer["msg"]
        await d.create()


async def test_unknown_codes_and_a_key_that_may_not_create() -> None:
    async with desk() as d:
        fault(d, "unknown_code")
        status, answer = await refused(d)
        assert (status, answer["error"]) == (400, "host_policy_7731")
        fault(d, "unknown_code", code="moon_phase", status=200)
        assert await refused(d) == (
            200,
            {"success": False, "error": "moon_phase", "msg": "error 200/7731: moon_phase", "ask_id": L40_FREE},
        )
        fault(d, "forbidden", subject="L40 ")
        status, answer = await refused(d)
        assert (status, answer["error"]) == (403, "not_authorized")
        await d.create()


@pytest.mark.parametrize("price", [None, 0.4])
async def test_what_a_failed_create_leaves_bills_its_disk_and_has_our_label(price: float | None) -> None:
    async with desk() as d:
        fault(d, "left")
        reply = await d.put(L40_FREE, price=price)
        assert (reply.status_code, reply.json()["success"]) == (400, False)
        left = reply.json()["new_contract"]
        row = await d.show(left)
        assert row["label"] == body()["label"]
        assert [row[name] for name in ("cur_state", "next_state", "intended_status")] == ["stopped"] * 3
        d.env.advance(7200)
        assert set(d.open_lines(left)) == {"disk"}
        assert (await d.destroy(left)).status_code == 200
        assert d.world.ledger.billing() == []


async def test_faults_name_an_offer_by_gpu_id_kind_place_and_machine() -> None:
    async with desk() as d:
        for subject in ("L40 31415926", "31415926 on-demand", "Frankfurt, DE", "on-demand Frankfurt, DE 40101"):
            fault(d, "sold_out", subject=subject)
            await d.create(L40_EGRESS)
            await refused(d)
            await d.destroy(d.vast.fleet.of("main")[0].id)
        fault(d, "sold_out", subject="31415926 bid")
        await d.destroy(await d.create())
        await refused(d, price=0.4)


async def test_a_fault_of_another_provider_or_verb_does_not_happen() -> None:
    async with desk() as d:
        d.world.faults.add("sold_out", "runpod")
        fault(d, "bad_key", verb="terminate")
        fault(d, "sold_out", subject="B200")
        made = await d.create()
        assert (await d.destroy(made)).status_code == 401
        assert (await d.destroy(made)).status_code == 200


# Prices.


async def test_a_changed_price_shows_in_the_search_and_stays() -> None:
    async with desk() as d:
        before = {row["id"]: row["dph_base"] for row in await d.search()}
        fault(d, "price_changed", subject=f"L40 {L40_FREE}", factor=2)
        assert await d.ids(gpu_name={"eq": "H200"}) == [31460012]
        for _ in range(2):
            after = {row["id"]: row["dph_base"] for row in await d.search()}
            assert after.pop(L40_FREE) == 1.24
            assert after == {ask: usd for ask, usd in before.items() if ask != L40_FREE}
        assert (await d.search(ask_contract_id={"eq": L40_FREE}, type="bid"))[0]["min_bid"] == 0.62


async def test_a_lasting_fault_raises_a_price_once_and_filters_see_the_new_one() -> None:
    async with desk() as d:
        fault(d, "price_changed", times=-1, factor="1.5")
        assert await d.ids(dph_total={"lte": 0.65}, ask_contract_id={"eq": L40_FREE}) == []
        for _ in range(3):
            [row] = await d.search(ask_contract_id={"eq": L40_FREE})
            assert row["dph_base"] == 0.93


async def test_a_price_that_changes_at_the_quote_alone() -> None:
    async with desk() as d:
        fault(d, "price_changed", verb="price", factor=2)
        assert {row["id"]: row["dph_base"] for row in await d.search()}[L40_FREE] == 0.62
        assert (await d.search(ask_contract_id={"eq": L40_FREE}))[0]["dph_base"] == 1.24


async def test_a_price_that_changes_at_the_create_is_what_the_rental_costs() -> None:
    async with desk() as d:
        fault(d, "price_changed", verb="launch", factor="1.1")
        made = await d.ready()
        assert (await d.show(made))["dph_base"] == 0.682
        assert d.open_lines(made)["compute"] == "0.682"


async def test_a_changed_price_may_come_with_a_new_id() -> None:
    async with desk() as d:
        fault(d, "price_changed", subject=str(L40_FREE), factor=2, reissue=True)
        [row] = await d.search(machine_id={"eq": 40101})
        assert (row["dph_base"], row["id"] == L40_FREE) == (1.24, False)


# Keys and accounts.


@pytest.mark.parametrize(
    ("how", "status", "text"),
    [
        ("", 401, "Invalid user key"),
        ("second_factor", 401, "Two Factor Authentication"),
        ("session", 404, "Session expired. Please log in again."),
    ],
)
async def test_a_key_that_opens_nothing_any_more(how: str, status: int, text: str) -> None:
    async with desk() as d:
        fault(d, "bad_key", how=how, times=2)
        replies = [await d.http.get("/api/v1/instances/"), await d.put(L40_FREE)]
        for reply in replies:
            assert reply.status_code == status
            assert text in reply.json()["msg"]
        assert d.vast.records() == []
        await d.page()


async def test_the_key_may_suddenly_open_an_empty_account() -> None:
    async with desk() as d:
        made = await d.ready()
        mine = (await d.http.get("/api/v0/users/current/")).json()["id"]
        fault(d, "other_account", times=6)
        user = (await d.http.get("/api/v0/users/current/")).json()
        assert (user["id"] != mine, user["credit"]) == (True, 0.0)
        assert (await d.page())["instances"] == []
        assert await d.show(made) is None
        assert (await d.destroy(made)).status_code == 404
        assert (await d.http.get("/api/v0/ssh/")).status_code == 404
        assert (await refused(d, L40_EGRESS))[1]["error"] == "insufficient_credit"
        assert (await d.show(made))["actual_status"] == "running"


# Transport.


async def test_the_kits_own_refusals_are_vasts() -> None:
    async with desk() as d:
        fault(d, "error_before", verb="launch")
        assert (await refused(d)) == golden.ERRORS["server"]
        fault(d, "rate_limit", verb="launch", retry_after=7)
        fault(d, "rate_limit", verb="owned")
        limited = await d.put(L40_FREE)
        bare = await d.http.get("/api/v1/instances/")
        assert d.vast.records() == []
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "7")
    assert (bare.status_code, bare.text) == (429, golden.TOO_FAST_BARE)
    assert "retry-after" not in bare.headers


async def test_faults_of_a_launch_can_be_told_apart_by_label() -> None:
    async with desk() as d:
        fault(d, "boot_stuck", subject="replica-2")
        first, second = await d.ready(L40_FREE, label="replica-1"), await d.ready(L40_ENDING, label="replica-2")
        assert (await d.show(first))["actual_status"] == "running"
        assert (await d.show(second))["actual_status"] == "loading"
        assert KEY_LINE not in str(d.machines)
