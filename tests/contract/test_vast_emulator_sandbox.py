"""Vast.ai's emulator: rate limits and quota, and what the sandbox sees beside the wire: verbs, plants, saved state."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from providers.env import ManualEnv
from providers.sandbox.kit import Record
from providers.sandbox.world import World
from providers.vast.emulator import VastEmulator
from tests.contract import vast_golden as golden
from tests.contract.vast_desk import (
    KEY_LINE,
    L40_EGRESS,
    L40_ENDING,
    L40_FREE,
    L40S_TW,
    MARKET,
    Desk,
    desk,
    market,
)

LIMITS = tomllib.loads(MARKET.read_text(encoding="utf-8"))["limits"]


def limited(**changes: Any) -> dict[str, Any]:
    """The market with its real rate limits."""
    return market(limits=LIMITS, **changes)


async def call(d: Desk, name: str, made: int) -> int:
    """One call to an endpoint; its status."""
    calls: dict[str, tuple[str, str, Any]] = {
        "create": ("PUT", f"/api/v0/asks/{L40_FREE}/", {}),
        "launch": ("PUT", "/api/v0/launch_instance/", {}),
        "change_bid": ("PUT", f"/api/v0/instances/bid_price/{made}/", {}),
        "destroy": ("DELETE", "/api/v0/instances/1/", {}),
        "show": ("GET", f"/api/v0/instances/{made}/", None),
        "list": ("GET", "/api/v1/instances/", None),
        "list_old": ("GET", "/api/v0/instances/", None),
        "manage": ("PUT", f"/api/v0/instances/{made}/", {"label": "x"}),
        "reboot": ("PUT", f"/api/v0/instances/reboot/{made}/", {}),
        "ssh_add": ("POST", "/api/v0/ssh/", {"ssh_key": KEY_LINE}),
        "ssh_show": ("GET", "/api/v0/ssh/", None),
        "metrics": ("GET", "/api/v0/metrics/gpu/current/", None),
        "charges": ("GET", "/api/v0/charges/", None),
        "user": ("GET", "/api/v0/users/current/", None),
    }
    method, path, body = calls[name]
    return (await d.http.request(method, path, json=body)).status_code


INTERVALS = [
    ("launch", 5),
    ("change_bid", 5.5),
    ("destroy", 3),
    ("show", 2),
    ("list", 1),
    ("list_old", 1),
    ("manage", 1),
    ("reboot", 1),
    ("ssh_add", 1),
    ("ssh_show", 1),
    ("metrics", 3),
    ("charges", 1),
]


@pytest.mark.parametrize(("name", "seconds"), INTERVALS)
async def test_two_calls_to_one_endpoint_must_lie_so_far_apart(name: str, seconds: float) -> None:
    async with desk(limited()) as d:
        made = await d.create()
        assert await call(d, name, made) != 429
        d.env.advance(seconds - 0.1)
        assert await call(d, name, made) == 429
        d.env.advance(0.1)
        assert await call(d, name, made) != 429


async def test_endpoints_do_not_limit_each_other_and_the_account_is_not_limited() -> None:
    async with desk(limited()) as d:
        made = await d.create()
        for name, _ in INTERVALS:
            assert await call(d, name, made) != 429
        assert {await call(d, "user", made) for _ in range(5)} == {200}


async def test_a_create_that_comes_too_early_costs_a_pause_that_does_not_grow() -> None:
    async with desk(limited()) as d:
        made = await d.create()
        seen = []
        for seconds in (4, 4, 4, 3.9, 0.1):
            d.env.advance(seconds)
            seen.append(await call(d, "create", made) == 429)
        assert seen == [True, True, True, True, False]
        d.env.advance(4.5)
        assert await call(d, "create", made) != 429


async def test_the_refusal_is_text_and_says_the_threshold() -> None:
    async with desk(limited()) as d:
        replies = [await d.destroy(1) for _ in range(2)]
    assert (replies[1].status_code, replies[1].text) == (429, golden.TOO_FAST_TEXT)
    assert replies[1].headers["content-type"].startswith("text/plain")
    assert "retry-after" not in replies[1].headers


async def test_the_refusal_may_be_json_with_a_retry_after() -> None:
    async with desk(limited(wire={"throttle_body": "json", "retry_after": True})) as d:
        await d.create()
        reply = await d.put(L40_EGRESS)
    assert (reply.status_code, reply.json()) == golden.ERRORS["too-fast"]
    assert reply.headers["retry-after"] == "12"


async def test_limits_hold_per_key() -> None:
    async with desk(limited()) as d:
        answer = (await d.put(L40_FREE)).json()
        path = f"/api/v0/instances/{answer['new_contract']}/"
        own = {"Authorization": f"Bearer {answer['instance_api_key']}"}
        statuses = [(await d.http.get(path, headers=headers)).status_code for headers in ({}, own, {}, own)]
    assert statuses == [200, 200, 429, 429]


async def test_ten_searches_a_minute_are_served_through_both_searches() -> None:
    async with desk(limited()) as d:
        for _ in range(5):
            await d.search()
            assert (await d.http.put("/api/v0/search/asks/", json={"q": {}})).status_code == 200
            d.env.advance(6)
        reply = await d.http.post("/api/v0/bundles/", json={})
        assert (reply.status_code, reply.text) == (429, golden.TOO_FAST_BARE)
        d.env.advance(30)
        await d.search()
        await d.search()
        assert (await d.http.post("/api/v0/bundles/", json={})).status_code == 429


async def test_the_search_quota_ends_at_midnight_utc() -> None:
    async with desk(market(limits={"searches_per_day": 3})) as d:
        for _ in range(3):
            await d.search()
        reply = await d.http.post("/api/v0/bundles/", json={})
        assert (reply.status_code, reply.json()["error"]) == (429, "search_quota_exceeded")
        reset = datetime.fromtimestamp(int(reply.headers["x-ratelimit-reset"]), UTC)
        assert reset == datetime(2026, 11, 23, tzinfo=UTC)
        await d.create()
        d.env.advance((reset - d.env.now()).total_seconds() - 1)
        assert (await d.http.post("/api/v0/bundles/", json={})).status_code == 429
        d.env.advance(1)
        await d.search()


# The sandbox's side.


@pytest.mark.parametrize(
    ("method", "path", "verb"),
    [
        ("POST", "/api/v0/bundles/", "offers"),
        ("PUT", "/api/v0/search/asks/", "offers"),
        ("PUT", "/api/v0/asks/1/", "launch"),
        ("PUT", "/api/v0/launch_instance/", "launch"),
        ("GET", "/api/v1/instances/", "owned"),
        ("GET", "/api/v0/instances/", "owned"),
        ("GET", "/api/v0/instances/1/", "find"),
        ("DELETE", "/api/v0/instances/1/", "terminate"),
        ("DELETE", "/api/v0/instances/", "terminate"),
        ("GET", "/api/v0/users/current/", "account"),
        ("PUT", "/api/v0/instances/1/", "other"),
        ("PUT", "/api/v0/instances/bid_price/1/", "other"),
        ("POST", "/api/v0/ssh/", "other"),
        ("GET", "/api/v0/metrics/gpu/current/", "other"),
        ("PATCH", "/api/v0/bundles/", "other"),
        ("GET", "/nowhere", "other"),
    ],
)
def test_which_verb_of_the_contract_a_request_serves(method: str, path: str, verb: str) -> None:
    assert VastEmulator(World(ManualEnv())).verb(method, path) == verb


def test_the_market_file_is_read_by_itself_and_the_settings_name_key_and_address() -> None:
    world = World(ManualEnv())
    vast = VastEmulator(world)
    assert world.emulators == {"vast": vast}
    assert len(vast.market.asks) == 23
    settings = vast.environment("http://127.0.0.1:1/vast")
    assert settings == {"VAST_API_KEY": vast.key, "ORCH_VAST_URL": "http://127.0.0.1:1/vast"}
    assert len(vast.key) == 64


async def test_planted_rentals_run_and_bill_and_carry_the_owner_in_their_environment() -> None:
    async with desk() as d:
        before = await d.ids()
        owner = "ab" * 16
        theirs, strangers = d.vast.plant("orch-x", owner), d.vast.plant("jupyter")
        rows = {row["id"]: row for row in (await d.page())["instances"]}
        assert d.world.ledger.billing("vast") == [theirs, strangers]
        assert await d.ids() == before, "they are on machines of their own"
        assert set(d.machines) == {f"vast:{theirs}", f"vast:{strangers}"}
    assert rows[int(theirs)]["extra_env"] == [["ORCH_OWNER", owner]]
    assert rows[int(strangers)]["extra_env"] == []
    assert [(row["label"], row["actual_status"]) for row in rows.values()] == [
        ("orch-x", "running"),
        ("jupyter", "running"),
    ]


async def test_a_lost_rental_is_offline_at_once_and_bills_nothing_until_it_is_destroyed() -> None:
    async with desk() as d:
        made = await d.ready()
        d.vast.lose(str(made))
        assert (await d.show(made))["actual_status"] == "offline"
        assert d.open_lines(made) == {"disk": "0"}
        offer = f"L40 {L40_FREE} on-demand Frankfurt, DE 40101"
        label = (await d.show(made))["label"]
        assert d.vast.records() == [Record(str(made), label, alive=True, billing=True, offer=offer)]
        await d.destroy(made)
        assert d.vast.records() == [Record(str(made), label, alive=False, billing=False, offer=offer)]


async def scene(d: Desk) -> list[int]:
    """Rentals in every state, keys, changed prices, edited listings, rivals."""
    await d.http.post("/api/v0/ssh/", json={"ssh_key": KEY_LINE})
    running, outbid = await d.ready(), await d.ready(L40_EGRESS, price=0.4)
    d.vast.outbid(str(outbid), usd="0.5", seconds=3600)
    d.world.faults.add("wrong_gpu", "vast")
    booting = await d.create(L40S_TW, label=None)
    ended = await d.create(L40_ENDING)
    await d.destroy(ended)
    d.world.faults.add("gone", "vast", subject="H200")
    await d.put(31460012)
    d.world.faults.add("price_changed", "vast", subject="A100 PCIE", factor="1.1", reissue=True)
    await d.search()
    await d.http.put(f"/api/v0/instances/request_logs/{running}/", json={})
    return [running, outbid, booting]


async def looks(d: Desk) -> list[Any]:
    """All that a client can see."""
    found: list[Any] = [await d.search(verified={}), (await d.page())["instances"], dict(d.machines)]
    for path in ("ssh/", "users/current/"):
        found.append((await d.http.get(f"/api/v0/{path}")).json())
    return [*found, d.vast.records()]


async def test_dump_and_load_round_trip_everything() -> None:
    async with desk(limited()) as d:
        d.vast.limits.seconds = {}
        running, outbid, booting = await scene(d)
        d.vast.limits.seconds = LIMITS
        await call(d, "metrics", running)
        before = await looks(d)
        d.vast.advance()
        state = json.loads(json.dumps(d.world.dump()))
        async with desk(limited(), seed=9) as e:
            e.env.advance((d.env.now() - e.env.now()).total_seconds())
            e.world.load(state)
            assert json.loads(json.dumps(e.world.dump())) == state
            e.http.headers["Authorization"] = f"Bearer {d.vast.key}"
            assert await call(e, "metrics", running) == 429
            e.vast.limits.seconds = {}
            assert await looks(e) == before
            e.env.advance(3700)
            rows = {row["id"]: row for row in (await e.page())["instances"]}
            assert {row["actual_status"] for row in rows.values()} == {"running"}
            assert set(rows) == {running, outbid, booting}
            assert e.machines[f"vast:{booting}"]["gpu"] == "NVIDIA T4"
            assert set(e.open_lines(outbid)) == {"disk", "compute", "ingress"}


async def test_a_listing_ends_at_the_same_time_after_a_restart() -> None:
    async with desk() as d:
        d.env.advance(3600)
        await d.search()
        state = json.loads(json.dumps(d.world.dump()))
        async with desk() as e:
            e.env.advance(5399)
            e.world.load(state)
            e.http.headers["Authorization"] = f"Bearer {d.vast.key}"
            assert L40_ENDING in await e.ids()
            e.env.advance(1)
            assert L40_ENDING not in await e.ids()


async def test_two_worlds_with_one_seed_give_the_same_rentals() -> None:
    async with desk(seed=5) as d, desk(seed=5) as e:
        assert await d.show(await d.ready()) == await e.show(await e.ready())
        assert d.vast.key == e.vast.key


def test_every_row_of_the_market_says_where_its_price_is_from() -> None:
    tables = tomllib.loads(MARKET.read_text(encoding="utf-8"))
    assert {row["source"] for row in tables["asks"]} == {"catalog", "sheet", "none"}
    assert {row["gpu_name"] for row in tables["asks"]} == set(tables["gpu"])
    for row in tables["asks"]:
        assert Decimal(row["usd_per_hour"]) > Decimal(row.get("min_bid", "0")) >= 0
        assert Decimal(0) <= Decimal(row["inet_up_cost"]) <= Decimal("0.02")
    assert len({row["id"] for row in tables["asks"]}) == len(tables["asks"])
