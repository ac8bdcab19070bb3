"""Vast.ai's emulator: rentals over time: boot, stop, lose and win their GPUs, end, and what all of it costs."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from tests.contract.vast_desk import (
    KEY_LINE,
    L40_EGRESS,
    L40_ENDING,
    L40_FREE,
    L40S_TW,
    Desk,
    desk,
    market,
)

HOUR = Decimal(3600)
DISK = Decimal("0.15") * 50 / 720  # 50 GB on the L40 with free egress, USD per hour
STOPPED_DISK = DISK * Decimal("1.25")
THREE_STOPPED = ("stopped", "stopped", "stopped")


async def states(d: Desk, made: int) -> tuple[str, str, str]:
    row = await d.show(made)
    return row["cur_state"], row["next_state"], row["intended_status"]


async def actual(d: Desk, made: int) -> str | None:
    word: str | None = (await d.show(made))["actual_status"]
    return word


# Boot.


async def test_a_boot_goes_from_null_over_loading_to_running_and_the_ports_come_last() -> None:
    async with desk() as d:
        made = await d.create()
        seen = []
        for seconds in (0, 9, 1, 64, 1, 4, 1):
            d.env.advance(seconds)
            row = await d.show(made)
            seen.append((row["actual_status"], row["ports"] is not None, f"vast:{made}" in d.machines))
        assert row["cur_state"] == "running"
    assert seen == [
        (None, False, False),
        (None, False, False),
        ("loading", False, False),
        ("loading", False, False),
        ("running", False, False),
        ("running", False, False),
        ("running", True, True),
    ]


async def test_boot_times_follow_the_sandbox_boot_scale() -> None:
    async with desk(boot_scale=0.1) as d:
        made = await d.create()
        d.env.advance(8)
        assert (await d.show(made))["ports"] is not None


async def test_behind_the_direct_port_stands_a_machine_with_that_gpu() -> None:
    async with desk() as d:
        await d.http.post("/api/v0/ssh/", json={"ssh_key": KEY_LINE})
        made = await d.ready(31450031, onstart="env >> /etc/environment", env={"A": "b"})
        row, machine = await d.show(made), d.machines[f"vast:{made}"]
        env = machine.pop("env")
    assert machine == {
        "host": row["public_ipaddr"].strip(),
        "port": int(row["ports"]["22/tcp"][0]["HostPort"]),
        "user": "root",
        "authorized_keys": [KEY_LINE],
        "gpu": "NVIDIA H100 80GB HBM3",
        "memory_mib": 81559,
        "count": 2,
    }
    assert env["A"] == "b"
    assert env["CONTAINER_ID"] == str(made)
    assert env["VAST_CONTAINERLABEL"] == f"C.{made}"
    assert env["VAST_TCP_PORT_22"] == str(machine["port"])
    assert env["SSH_PUBLIC_KEY"] == KEY_LINE
    assert len(env["CONTAINER_API_KEY"]) == 64


async def test_the_owners_variables_are_not_in_a_login_unless_a_script_puts_them_there() -> None:
    async with desk() as d:
        made = await d.ready(env={"A": "b"})
        assert "A" not in d.machines[f"vast:{made}"]["env"]
        assert (await d.show(made))["extra_env"] == [["A", "b"]]


# Stop, start, reboot.


async def test_a_stopped_rental_bills_its_dearer_disk_and_other_ports_come_with_the_next_start() -> None:
    async with desk() as d:
        made = await d.ready()
        before = (await d.show(made))["ports"]
        assert (await d.change(made, state="stopped")).json() == {"success": True}
        assert await states(d, made) == THREE_STOPPED
        assert d.machines == {}
        assert d.open_lines(made) == {"disk": str(STOPPED_DISK)}
        assert L40_FREE in await d.ids(), "its GPU is free for others"
        assert (await d.change(made, state="running")).json() == {"success": True}
        assert d.open_lines(made) == {"disk": str(DISK)}
        d.env.advance(40)
        row = await d.show(made)
        assert row["actual_status"] == "running"
        assert row["ports"].keys() == before.keys()
        assert row["ports"] != before
        assert set(d.open_lines(made)) == {"disk", "compute"}


async def test_a_start_waits_where_the_gpu_went_to_somebody_else_and_happens_by_itself_later() -> None:
    async with desk() as d:
        made = await d.ready()
        await d.change(made, state="stopped")
        d.vast.outbid(str(made), seconds=600)
        assert L40_FREE not in await d.ids()
        reply = await d.change(made, state="running")
        assert (reply.status_code, reply.json()["success"]) == (200, False)
        assert "state change queued" in reply.json()["msg"]
        assert await states(d, made) == ("stopped", "running", "running")
        d.env.advance(599)
        assert await states(d, made) == ("stopped", "running", "running")
        d.env.advance(1 + 40)
        assert await actual(d, made) == "running"


async def test_a_queued_start_is_cancelled_by_a_stop() -> None:
    async with desk() as d:
        made = await d.ready()
        await d.change(made, state="stopped")
        d.vast.outbid(str(made), seconds=600)
        await d.change(made, state="running")
        assert (await d.change(made, state="stopped")).json() == {"success": True}
        d.env.advance(3600)
        assert await states(d, made) == THREE_STOPPED
        assert set(d.open_lines(made)) == {"disk"}


async def test_stopped_containers_may_read_exited() -> None:
    async with desk(market(wire={"stopped_word": "exited"})) as d:
        made = await d.ready()
        await d.change(made, state="stopped")
        assert await actual(d, made) == "exited"


async def test_a_reboot_keeps_the_gpu_and_a_recycle_pulls_again() -> None:
    async with desk() as d:
        made = await d.ready(L40_EGRESS)
        pulled = d.bill(made)["ingress"]
        for action, word, takes in (("reboot", "rebooting", 35), ("recycle", "recycling", 80)):
            assert (await d.http.put(f"/api/v0/instances/{action}/{made}/", json={})).json() == {"success": True}
            assert await actual(d, made) == word
            assert set(d.open_lines(made)) == {"disk", "ingress"}
            assert L40_EGRESS not in await d.ids()
            d.env.advance(takes)
            assert await actual(d, made) == "running"
        assert d.bill(made)["ingress"] == 2 * pulled


async def test_labels_change_and_what_says_nothing_changes_nothing() -> None:
    async with desk() as d:
        made = await d.create()
        reply = await d.change(made, label="new")
        assert reply.json() == {"success": True, "msg": f"label for {made} set to 'new'"}
        assert (await d.show(made))["label"] == "new"
        for change in ({}, {"state": "paused"}, {"label": 5}):
            assert (await d.change(made, **change)).status_code == 400
        too_long = await d.change(made, label="a" * 1025)
        assert (too_long.status_code, too_long.json()["error"]) == (400, "label_too_long")
        assert (await d.show(made))["label"] == "new"


# Bills.


async def test_gpus_bill_per_second_of_running_and_the_disk_from_creation_on() -> None:
    async with desk() as d:
        made = await d.create()
        d.env.advance(75)
        assert d.bill(made) == {"disk": DISK * 75 / HOUR, "compute": 0}
        d.env.advance(100)
        await d.destroy(made)
        d.env.advance(10_000)
        assert d.bill(made) == {"disk": DISK * 175 / HOUR, "compute": Decimal("0.62") * 100 / HOUR}


async def test_the_hour_of_a_stop_is_exact_however_rarely_somebody_looks() -> None:
    async with desk() as d:
        made = await d.create(price=0.4)
        d.vast.outbid(str(made), usd="0.5", seconds=7200)  # it never got as far as running
        d.env.advance(7200 + 75 + 1000)
        bill = d.bill(made)
        assert bill["compute"] == Decimal("0.4") * 1000 / HOUR
        assert bill["disk"] == pytest.approx((STOPPED_DISK * 7200 + DISK * 1075) / HOUR)


async def test_a_host_may_charge_for_traffic_both_ways_and_for_the_image() -> None:
    async with desk() as d:
        made = await d.ready(L40_EGRESS)
        assert d.bill(made)["ingress"] == 8 * Decimal("0.004")
        instance = d.vast.fleet.instances[made]
        now = d.env.now()
        d.vast.fleet.billing.transfer(instance, now, up_gb=Decimal(100), down_gb=Decimal(10), why="test")
        bill = d.bill(made)
        assert (bill["egress"], bill["ingress"]) == (Decimal("1.2"), 18 * Decimal("0.004"))
        await d.destroy(made)
        assert d.world.ledger.billing() == []


async def test_free_traffic_leaves_no_line() -> None:
    async with desk() as d:
        made = await d.ready()
        instance = d.vast.fleet.instances[made]
        d.vast.fleet.billing.transfer(instance, d.env.now(), up_gb=Decimal(500), down_gb=Decimal(500), why="test")
        assert set(d.bill(made)) == {"disk", "compute"}


async def test_charges_show_what_the_ledger_says() -> None:
    async with desk() as d:
        made = await d.ready(L40_EGRESS, label="x")
        d.env.advance(3510)
        days = {"day": {"gte": d.env.now().timestamp() - 86400, "lte": d.env.now().timestamp()}}
        query = {"select_filters": json.dumps(days), "format": "tree"}
        reply = (await d.http.get("/api/v0/charges/", params=query)).json()
        [row] = reply["results"]
        items = {item["type"]: item["amount"] for item in row["items"]}
        before = {"select_filters": json.dumps({"day": {"gte": 0, "lte": 1}})}
        assert (await d.http.get("/api/v0/charges/", params=before)).json()["results"] == []
        bill = d.bill(made)
    assert (row["source"], row["type"], row["metadata"]) == (f"instance-{made}", "instance", {"label": "x"})
    assert items == {"gpu": 0.48, "disk": 0.007, "bwd": 0.032}
    assert row["amount"] == pytest.approx(float(sum(bill.values())), abs=0.0005)


async def test_when_the_credit_is_used_up_everything_stops_at_that_moment() -> None:
    async with desk(market(account={"balance_usd": "0.62"})) as d:
        made = await d.create()
        bidding = await d.create(L40S_TW, price=0.5)
        d.env.advance(86400)
        assert await states(d, made) == await states(d, bidding) == THREE_STOPPED
        spent = d.bill(made)["compute"] + d.bill(bidding)["compute"] + d.bill(bidding)["ingress"]
        # The rest went into two disks of about 0.01 USD an hour, for half an hour.
        assert Decimal("0.60") < spent < Decimal("0.62")
        assert d.machines == {}
        refused = await d.change(made, state="running")
        assert (refused.status_code, refused.json()["error"]) == (400, "missing_billing")
        d.vast.fleet.billing.deposit(Decimal(10))
        assert await states(d, made) == THREE_STOPPED
        assert (await d.change(made, state="running")).json() == {"success": True}


# Bids.


async def test_an_outbid_rental_is_stopped_keeps_billing_its_disk_and_comes_back_by_itself() -> None:
    async with desk() as d:
        made = await d.ready(price=0.4)
        d.vast.outbid(str(made), usd="0.45", seconds=1800)
        row = await d.show(made)
        assert await states(d, made) == THREE_STOPPED
        assert (row["actual_status"], row["ports"], row["min_bid"]) == ("stopped", None, 0.451)
        assert d.open_lines(made) == {"disk": str(STOPPED_DISK)}
        assert d.machines == {}
        d.env.advance(1800 + 35)
        row = await d.show(made)
        assert (row["actual_status"], row["min_bid"]) == ("running", 0.31)
        assert row["ports"] is not None
        assert set(d.open_lines(made)) == {"disk", "compute"}


async def test_a_higher_bid_wins_the_gpu_back_and_is_what_it_costs_from_then_on() -> None:
    async with desk() as d:
        made = await d.ready(price=0.4)
        d.vast.outbid(str(made), usd="0.45")
        assert (await d.search(ask_contract_id={"eq": L40_FREE}, type="bid"))[0]["min_bid"] == 0.451
        for bid, wins in ((0.45, False), (0.46, True)):
            reply = await d.http.put(f"/api/v0/instances/bid_price/{made}/", json={"client_id": "me", "price": bid})
            assert reply.json() == {"success": True}
            assert ((await states(d, made))[0] == "running") is wins
        d.env.advance(40)
        assert d.open_lines(made)["compute"] == "0.46"


async def test_a_bid_above_the_rivals_does_not_lose() -> None:
    async with desk() as d:
        made = await d.ready(price=0.5)
        d.vast.outbid(str(made), usd="0.45")
        assert await actual(d, made) == "running"
        d.vast.outbid(str(made), usd=None)
        assert await states(d, made) == THREE_STOPPED, "on demand outranks every bid"


async def test_an_on_demand_rental_is_never_outbid() -> None:
    async with desk() as d:
        made = await d.ready()
        for usd in ("50", None):
            d.vast.outbid(str(made), usd=usd)
            assert await actual(d, made) == "running"


async def test_an_ask_under_a_rival_costs_more_to_bid_for() -> None:
    async with desk() as d:
        made = await d.ready(price=0.4)
        d.vast.outbid(str(made), usd="0.45")
        await d.destroy(made)
        assert (await d.put(L40_FREE, price=0.45)).status_code == 400
        assert (await d.put(L40_FREE, price=0.451)).status_code == 200


# Ends.


async def test_the_end_of_the_listing_stops_a_rental_and_deletes_it_two_days_later() -> None:
    async with desk() as d:
        made = await d.ready(L40_ENDING)
        assert (await d.show(made))["end_date"] == pytest.approx(d.env.now().timestamp() + 5400 - 90)
        d.env.advance(5400 - 90)
        assert await states(d, made) == THREE_STOPPED
        assert set(d.open_lines(made)) == {"disk"}
        assert (await d.change(made, state="running")).status_code == 400
        d.env.advance(48 * 3600 - 1)
        assert await d.show(made) is not None
        d.env.advance(1)
        assert await d.show(made) is None
        assert d.world.ledger.billing() == []


async def test_a_destroyed_rental_is_null_and_a_second_destroy_a_404() -> None:
    async with desk() as d:
        made = await d.ready()
        assert (await d.destroy(made)).json()["success"] is True
        assert await d.show(made) is None
        again = await d.destroy(made)
        assert (again.status_code, again.json()["error"]) == (404, "no_such_instance")
        assert d.machines == {}
        assert L40_FREE in await d.ids()
        assert (await d.page())["instances"] == []


async def test_many_can_be_stopped_and_destroyed_at_once() -> None:
    async with desk() as d:
        made = [await d.ready(ask) for ask in (L40_FREE, L40_EGRESS)]
        reply = await d.http.put("/api/v0/instances/", json={"ids": made, "state": "stopped"})
        assert reply.json()["success"] is True
        assert [await states(d, one) for one in made] == [THREE_STOPPED] * 2
        reply = await d.http.request("DELETE", "/api/v0/instances/", json={"instance_ids": [*made, 1]})
        assert reply.json()["success"] is True
        assert d.world.ledger.billing() == []
        assert (await d.http.request("DELETE", "/api/v0/instances/", json={})).status_code == 400
