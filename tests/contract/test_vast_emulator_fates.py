"""Vast.ai's emulator: faults that hit a rental after it was accepted: boots that fail, hosts that go, ends ignored."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract import vast_golden as golden
from tests.contract.vast_desk import (
    L40_EGRESS,
    L40_FREE,
    L40S_TW,
    Desk,
    desk,
)


def fault(d: Desk, kind: str, **more: Any) -> None:
    d.world.faults.add(kind, "vast", **more)


# Boots.

DOOMS: list[tuple[str | None, str, str]] = [
    (None, "created", "OCI runtime create failed:"),
    ("oci", "created", "OCI runtime create failed:"),
    ("image", "loading", "manifest unknown"),
    ("exited", "exited", "exited"),
    ("offline", "offline", ""),
    ("unknown", "unknown", ""),
]


@pytest.mark.parametrize(("how", "word", "text"), DOOMS)
async def test_an_accepted_rental_may_fail_while_it_boots(how: str | None, word: str, text: str) -> None:
    async with desk() as d:
        fault(d, "fail_after_accept", **({} if how is None else {"how": how}))
        made = await d.create()
        d.env.advance(44)
        assert (await d.show(made))["actual_status"] == "loading"
        d.env.advance(1)
        row = await d.show(made)
        assert row["actual_status"] == word
        assert text in (row["status_msg"] or "")
        d.env.advance(86400)
        assert (await d.show(made))["actual_status"] == word
        assert "compute" not in d.bill(made)
        assert d.machines == {}
        assert (await d.destroy(made)).status_code == 200
        assert d.world.ledger.billing() == []


STUCK: list[tuple[str | None, str | None, bool, bool]] = [
    (None, "loading", False, False),
    ("loading", "loading", False, False),
    ("null", None, False, False),
    ("created", "created", False, False),
    ("no_ports", "running", False, True),
    ("no_ssh", "running", True, True),
]


@pytest.mark.parametrize(("how", "word", "ports", "bills"), STUCK)
async def test_a_boot_may_never_end(how: str | None, word: str | None, ports: bool, bills: bool) -> None:
    async with desk() as d:
        fault(d, "boot_stuck", **({} if how is None else {"how": how}))
        made = await d.create()
        d.env.advance(7200)
        row = await d.show(made)
        assert (row["actual_status"], row["ports"] is not None) == (word, ports)
        assert ("compute" in d.open_lines(made)) is bills
        assert d.machines == {}
        await d.destroy(made)
        assert d.world.ledger.billing() == []


async def test_a_rental_may_come_up_with_another_gpu_than_the_api_says() -> None:
    async with desk() as d:
        fault(d, "wrong_gpu", gpu="NVIDIA L4", memory_mib=23034)
        first, second = await d.ready(), await d.ready(L40_EGRESS)
        machine = d.machines[f"vast:{first}"]
        assert (machine["gpu"], machine["memory_mib"]) == ("NVIDIA L4", 23034)
        assert (await d.show(first))["gpu_name"] == "L40"
        assert d.machines[f"vast:{second}"]["gpu"] == "NVIDIA L40"


async def test_a_new_rental_may_be_missing_from_lists_while_the_single_read_has_it() -> None:
    async with desk() as d:
        fault(d, "list_lag", seconds=30)
        made = await d.create()
        assert (await d.page())["instances"] == []
        assert (await d.http.get("/api/v0/instances/")).json()["instances"] == []
        assert (await d.show(made))["id"] == made
        d.env.advance(30)
        assert (await d.page())["instances_found"] == 1
        fault(d, "list_lag", polls=2)
        await d.create(L40_EGRESS)
        assert [(await d.page())["instances_found"] for _ in range(4)] == [1, 1, 2, 2]


# Ends.


async def test_a_destroy_may_be_accepted_and_ignored() -> None:
    async with desk() as d:
        made, other = await d.ready(), await d.ready(L40_EGRESS)
        fault(d, "ignore_terminate", subject=str(made), times=2)
        assert (await d.destroy(other)).json()["success"] is True
        await d.http.request("DELETE", "/api/v0/instances/", json={"instance_ids": [made]})
        assert (await d.destroy(made)).json() == golden.DESTROYED
        assert (await d.show(made))["actual_status"] == "running"
        assert set(d.open_lines(made)) == {"disk", "compute"}
        assert await d.show(other) is None
        await d.destroy(made)
        assert await d.show(made) is None


async def test_a_host_that_goes_offline_bills_nothing_and_the_contract_stays() -> None:
    async with desk() as d:
        made = await d.ready()
        fault(d, "host_lost", subject="L40 ")
        row = await d.show(made)
        assert (row["actual_status"], row["cur_state"], row["ports"]) == ("offline", "running", None)
        assert d.machines == {}
        before = d.bill(made)
        d.env.advance(86400)
        assert d.bill(made) == before
        await d.destroy(made)
        assert await d.show(made) is None


async def test_a_lost_host_may_come_back() -> None:
    async with desk() as d:
        made = await d.ready()
        fault(d, "host_lost", seconds=600, how="unknown")
        assert (await d.show(made))["actual_status"] == "unknown"
        d.env.advance(600 + 40)
        row = await d.show(made)
        assert (row["actual_status"], row["ports"] is not None) == ("running", True)
        assert set(d.open_lines(made)) == {"disk", "compute"}


async def test_a_host_that_comes_back_after_the_owner_stopped_the_rental_does_not_start_it() -> None:
    async with desk() as d:
        made = await d.ready()
        fault(d, "host_lost", seconds=600)
        await d.show(made)
        await d.change(made, state="stopped")
        d.env.advance(1000)
        row = await d.show(made)
        assert (row["actual_status"], row["cur_state"]) == ("stopped", "stopped")
        assert set(d.open_lines(made)) == {"disk"}


async def test_a_container_may_exit_or_vanish() -> None:
    async with desk() as d:
        exited, vanished = await d.ready(), await d.ready(L40_EGRESS)
        fault(d, "host_lost", subject=str(exited), how="exited")
        fault(d, "host_lost", subject=str(vanished), how="vanish")
        assert (await d.show(exited))["actual_status"] == "exited"
        assert set(d.open_lines(exited)) == {"disk"}
        assert await d.show(vanished) is None
        assert d.machines == {}


async def test_an_interruptible_rental_may_be_outbid_by_a_fault() -> None:
    async with desk() as d:
        made, firm = await d.ready(price=0.4), await d.ready(L40S_TW)
        fault(d, "host_lost", how="outbid", usd="0.6", seconds=300, subject=f"{L40_FREE} bid")
        row = await d.show(made)
        assert [row[name] for name in ("cur_state", "next_state", "intended_status")] == ["stopped"] * 3
        d.env.advance(340)
        assert (await d.show(made))["actual_status"] == "running"
        fault(d, "host_lost", how="outbid", subject=str(firm))
        assert (await d.show(firm))["actual_status"] == "offline", "an on-demand rental can only lose its host"


async def test_a_fault_can_give_a_stopped_rentals_gpu_to_somebody_else() -> None:
    async with desk() as d:
        made = await d.ready()
        await d.change(made, state="stopped")
        fault(d, "sold_out", verb="start", seconds=60)
        assert (await d.change(made, state="running")).json()["success"] is False
        d.env.advance(100)
        assert (await d.show(made))["actual_status"] == "running"
