"""Vast.ai's emulator: what a create may hold, how it is refused, and the list of rentals."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.contract import vast_golden as golden
from tests.contract.vast_desk import (
    KEY_LINE,
    L40_EGRESS,
    L40_FREE,
    L40S_TW,
    NO_BIDS,
    RTX_NO_PORTS,
    VM_HOST,
    asks,
    body,
    desk,
    market,
)

# Bodies.


async def test_what_the_official_client_sends_is_taken_as_it_is() -> None:
    sent = {
        "client_id": "me",
        "image": "pytorch/pytorch:latest",
        "env": {"A": "b", "-p 70001:70001": "1"},
        "price": None,
        "disk": 16,
        "label": None,
        "extra": None,
        "onstart": None,
        "image_login": None,
        "python_utf8": False,
        "lang_utf8": False,
        "use_jupyter_lab": False,
        "jupyter_dir": None,
        "force": False,
        "cancel_unavail": False,
        "template_hash_id": None,
        "user": None,
        "runtype": "ssh_direc ssh_proxy",
    }
    async with desk() as d:
        reply = await d.http.put(f"/api/v0/asks/{L40_FREE}/", json=sent)
        assert reply.status_code == 200
        row = (await d.page())["instances"][0]
    assert reply.json()["success"] is True
    assert (row["label"], row["image_uuid"], row["disk_space"], row["is_bid"]) == (None, sent["image"], 16.0, False)
    assert row["extra_env"] == [["A", "b"], ["-p 70001:70001", "1"]]


async def test_defaults_fill_what_is_left_out() -> None:
    async with desk() as d:
        plain = await d.http.put(f"/api/v0/asks/{L40_FREE}/", json={"image": "a"})
        with_args = await d.http.put(f"/api/v0/asks/{L40_EGRESS}/", json={"image": "a", "args": ["x"]})
        first, second = [await d.show(reply.json()["new_contract"]) for reply in (plain, with_args)]
    assert (first["image_runtype"], first["disk_space"], first["label"]) == ("ssh", 10.0, None)
    assert (second["image_runtype"], second["image_args"]) == ("args", ["x"])


async def test_a_string_of_docker_flags_for_env_is_taken_and_not_applied() -> None:
    async with desk() as d:
        made = await d.ready(env="-e A=b -p 8080:8080")
        row = await d.show(made)
    assert row["extra_env"] == []
    assert list(row["ports"]) == ["22/tcp"]


INVALID: list[tuple[dict[str, Any], str]] = [
    ({"image": None}, "invalid_args"),
    ({"image": 5}, "invalid_args"),
    ({"image": "a" * 1025}, "invalid_args"),
    ({"image": None, "template_hash_id": "4e17788f74f075dd9aab7d0d4427968f"}, "invalid_args"),
    ({"label": "a" * 257}, "invalid_args"),
    ({"onstart": "a" * 4000, "args": ["b" * 97]}, "invalid_args"),
    ({"disk": 7.9}, "invalid_args"),
    ({"disk": "50"}, "invalid_args"),
    ({"disk": 813}, "invalid_args"),
    ({"runtype": "vnc"}, "invalid_args"),
    ({"env": ["A=b"]}, "invalid_args"),
    ({"env": {"A" * 257: "b"}}, "invalid_args"),
    ({"env": {"A": "b" * 32768}}, "invalid_args"),
    ({"env": {f"-p {port}:{port}": "1" for port in range(65)}}, "invalid_args"),
    ({"cancel_unavail": "yes"}, "invalid_args"),
    ({"target_state": "paused"}, "invalid_args"),
    ({"vm": True}, "invalid_args"),
    ({"price": 0.0009}, "invalid_price"),
    ({"price": 128.1}, "invalid_price"),
    ({"price": "0.4"}, "invalid_price"),
]


@pytest.mark.parametrize(("change", "error"), INVALID, ids=lambda value: str(value)[:40])
async def test_a_body_that_breaks_a_rule_is_a_400_and_rents_nothing(change: dict[str, Any], error: str) -> None:
    async with desk() as d:
        reply = await d.put(L40_FREE, **change)
        assert d.vast.records() == []
    assert (reply.status_code, reply.json()["success"], reply.json()["error"]) == (400, False, error)


async def test_bodies_that_are_no_object_are_invalid_json() -> None:
    async with desk() as d:
        for raw in (b"{", b"[1]", b"\xff", b'{"image": NaN}'):
            reply = await d.http.put(f"/api/v0/asks/{L40_FREE}/", content=raw)
            assert reply.status_code == 400
            assert reply.json()["msg"].startswith("error 400/1782: Invalid args: invalid json")
        reply = await d.http.put("/api/v0/asks/L40/", json=body())
        assert reply.json()["msg"] == "error 400/3467: Invalid args: 'id' is required and must be a valid offer ID"


async def test_the_longest_script_may_be_another_one() -> None:
    async with desk(market(wire={"args_max": 16384})) as d:
        assert (
            (await d.put(L40_FREE, onstart="a" * 16385)).json()["msg"].startswith("error 400/3471: Invalid args: len(")
        )
        assert (await d.put(L40_FREE, onstart="a" * 16384)).status_code == 200


# Lost races.


async def test_an_ask_that_was_never_there_is_a_404_that_says_so_in_its_text() -> None:
    async with desk() as d:
        reply = await d.put(31415927)
    status, sample = golden.ERRORS["gone-404"]
    text = json.loads(json.dumps(sample).replace("31415926", "31415927"))
    assert (reply.status_code, reply.json()) == (status, text)


async def test_an_ask_that_we_hold_already_is_a_410_with_cancel_unavail() -> None:
    async with desk() as d:
        await d.create()
        reply = await d.put(L40_FREE)
        assert (reply.status_code, reply.json()) == golden.ERRORS["gone-410"]
        default = await d.put(L40_FREE, cancel_unavail=None)
        assert default.status_code == 410
        assert len(d.vast.records()) == 1


async def test_without_cancel_unavail_a_taken_ask_is_queued_for_and_bills_its_disk() -> None:
    async with desk() as d:
        first = await d.create()
        second = await d.create(cancel_unavail=False)
        row = await d.show(second)
        assert (row["cur_state"], row["next_state"], row["intended_status"]) == ("stopped", "running", "running")
        assert set(d.open_lines(second)) == {"disk"}
        await d.destroy(first)
        d.env.advance(90)
        assert (await d.show(second))["actual_status"] == "running"


async def test_ones_own_machine_cannot_be_rented_by_others() -> None:
    async with desk(market(asks=asks({"host_id": 190234}))) as d:
        reply = await d.put(L40_FREE)
    assert (reply.status_code, reply.json()) == golden.ERRORS["own-offer"]


# Money.


async def test_without_credit_nothing_is_rented() -> None:
    async with desk(market(account={"balance_usd": "0"})) as d:
        reply = await d.put(L40_FREE)
        assert (await d.http.get("/api/v0/users/current/")).json()["credit"] == 0
        assert d.vast.records() == []
        d.vast.fleet.billing.deposit(Decimal(5))
        await d.create()
    assert (reply.status_code, reply.json()["error"]) == (400, "insufficient_credit")
    assert "Insufficient credits" in reply.json()["msg"]


# Bids.


async def test_a_bid_makes_an_interruptible_rental_at_that_price() -> None:
    async with desk() as d:
        made = await d.ready(price=0.31)
        row = await d.show(made)
        assert d.open_lines(made)["compute"] == "0.31"
    assert (row["is_bid"], row["dph_base"], row["min_bid"]) == (True, 0.31, 0.31)


async def test_no_price_means_on_demand_even_after_a_search_for_bids() -> None:
    async with desk() as d:
        assert L40_FREE in await d.ids(type="bid")
        made = await d.ready(price=None)
        assert d.open_lines(made)["compute"] == "0.62"


async def test_too_low_a_bid_fails_and_leaves_a_stopped_contract_that_bills_its_disk() -> None:
    async with desk() as d:
        reply = await d.put(L40_FREE, price=0.30)
        assert reply.status_code == 400
        answer = reply.json()
        assert answer["success"] is False
        left = answer["new_contract"]
        row = await d.show(left)
        assert (row["cur_state"], row["next_state"], row["intended_status"]) == ("stopped",) * 3
        assert (row["label"], row["is_bid"], row["uptime_mins"]) == (body()["label"], True, None)
        assert set(d.open_lines(left)) == {"disk"}
        assert L40_FREE in await d.ids(), "the ask is still there for others"
        d.env.advance(3600)
        assert d.bill(left) == {"disk": Decimal("0.15") * 50 / 720 * Decimal("1.25")}
        assert (await d.destroy(left)).status_code == 200
        assert d.world.ledger.billing() == []


async def test_a_left_contract_starts_once_its_bid_is_raised() -> None:
    async with desk() as d:
        left = (await d.put(L40_FREE, price=0.30)).json()["new_contract"]
        await d.http.put(f"/api/v0/instances/bid_price/{left}/", json={"client_id": "me", "price": 0.31})
        d.env.advance(90)
        assert (await d.show(left))["actual_status"] == "running"


async def test_the_low_bid_answer_may_be_a_200_and_leave_nothing_under_cancel_unavail() -> None:
    async with desk(market(wire={"low_bid_status": 200, "low_bid_leaves": "unless_cancel"})) as d:
        careful = await d.put(L40_FREE, price=0.30)
        assert (careful.status_code, careful.json()["success"]) == (200, False)
        assert "new_contract" not in careful.json()
        careless = await d.put(L40_FREE, price=0.30, cancel_unavail=None)
        assert "new_contract" in careless.json()
        assert len(d.vast.records()) == 1


async def test_a_host_that_takes_no_bids_refuses_one() -> None:
    async with desk() as d:
        reply = await d.put(NO_BIDS, price=2.0)
        assert d.vast.records() == []
    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_price")


@pytest.mark.parametrize("price", [None, "0.4", 0.0005, 32.01])
async def test_a_change_of_bid_has_bounds(price: Any) -> None:
    async with desk() as d:
        made = await d.create(price=0.31)
        change = {"client_id": "me", "price": price}
        reply = await d.http.put(f"/api/v0/instances/bid_price/{made}/", json=change)
        assert (await d.show(made))["dph_base"] == 0.31
    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_args")
    assert reply.json()["msg"].startswith("Please set a bid price")


async def test_an_on_demand_rental_has_no_bid_to_change() -> None:
    async with desk() as d:
        made = await d.create()
        reply = await d.http.put(f"/api/v0/instances/bid_price/{made}/", json={"client_id": "me", "price": 1})
    assert reply.status_code == 400


# VMs, ports, launch modes.


async def test_a_vm_wants_a_key_on_the_account_first() -> None:
    async with desk() as d:
        vm = {"image": "docker.io/vastai/kvm:ubuntu_terminal"}
        reply = await d.put(VM_HOST, **vm)
        assert (reply.status_code, reply.json()["error"]) == (400, "no_ssh_key_for_vm")
        await d.http.post("/api/v0/ssh/", json={"ssh_key": KEY_LINE})
        made = await d.ready(VM_HOST, **vm)
        assert d.machines[f"vast:{made}"]["authorized_keys"] == [KEY_LINE]
        late = await d.http.post(f"/api/v0/instances/{made}/ssh/", json={"ssh_key": KEY_LINE + "2"})
        assert late.status_code == 400


async def test_a_proxy_launch_is_reached_at_the_proxy_and_jupyter_one_port_further() -> None:
    async with desk() as d:
        plain = await d.ready(L40_FREE, runtype="ssh", env={})
        jupyter = await d.ready(L40_EGRESS, runtype="jupyter_proxy ssh_proxy", env={})
        no_ports = await d.ready(RTX_NO_PORTS)
        for made, step in ((plain, 0), (jupyter, 1), (no_ports, 0)):
            row = await d.show(made)
            machine = d.machines[f"vast:{made}"]
            assert row["ports"] is None
            assert (machine["host"], machine["port"]) == (row["ssh_host"], row["ssh_port"] + step)
            assert row["ssh_host"].startswith("198.18.")


async def test_the_args_mode_has_no_ssh_server_but_its_ports() -> None:
    async with desk() as d:
        made = await d.ready(runtype="args", args=["serve"])
        row = await d.show(made)
        assert list(row["ports"]) == ["8080/tcp"]
        assert d.machines == {}


async def test_port_flags_map_ports_and_numbers_from_70000_stay_the_same() -> None:
    async with desk() as d:
        env = {"-p 53:53/udp": "1", "-p 70001:70001": "1", "-p 8000:80": "1", "-h box": "1", "A": "b"}
        row = await d.show(await d.ready(env=env))
    ports = {inner: outer[0]["HostPort"] for inner, outer in row["ports"].items()}
    assert set(ports) == {"22/tcp", "53/udp", "70001/tcp", "80/tcp"}
    assert ports["70001/tcp"] == "70001"
    assert all(40000 <= int(ports[name]) < 60000 for name in ("22/tcp", "53/udp", "80/tcp"))
    assert [outer["HostIp"] for outer in row["ports"]["22/tcp"]] == ["0.0.0.0", "::"]


async def test_two_rentals_of_one_machine_share_its_address_and_no_port() -> None:
    rows = asks({"id": 1, "machine_id": 7}, {"id": 2, "machine_id": 7})
    async with desk(market(asks=rows)) as d:
        first, second = [await d.show(await d.ready(ask)) for ask in (1, 2)]
    assert first["public_ipaddr"] == second["public_ipaddr"]
    assert first["ports"]["22/tcp"] != second["ports"]["22/tcp"]


async def test_a_rental_can_be_made_stopped() -> None:
    async with desk() as d:
        made = await d.ready(target_state="stopped")
        row = await d.show(made)
        assert (row["cur_state"], row["intended_status"]) == ("stopped", "stopped")
        assert set(d.open_lines(made)) == {"disk"}


async def test_the_server_can_pick_the_offer_itself() -> None:
    async with desk() as d:
        wanted = {"gpu_name": {"eq": "L40S"}, "order": [["dph_total", "asc"]]}
        whole = {"q": wanted, "num_gpus": 1, **body()}
        reply = await d.http.put("/api/v0/launch_instance/", json=whole)
        none = await d.http.put("/api/v0/launch_instance/", json={**whole, "num_gpus": 16})
        bad = await d.http.put("/api/v0/launch_instance/", json=body())
        assert d.vast.records()[0].offer.startswith(f"L40S {L40S_TW} on-demand Taichung City, TW ")
    assert (reply.status_code, none.status_code, bad.status_code) == (200, 404, 400)
