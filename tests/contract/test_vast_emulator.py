"""Vast.ai's emulator against Vast's own descriptions and samples: search, reads, shapes, keys.

`desk` holds every answer given in these tests to the official endpoint descriptions.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from providers.sandbox.world import Exchange
from tests.contract import vast_golden as golden
from tests.contract.vast_desk import (
    DIFFERENCES,
    KEY_LINE,
    L40_EGRESS,
    L40_ENDING,
    L40_FREE,
    L40_UNVERIFIED,
    NO_BIDS,
    REQUEST_DIFFERENCES,
    RTX_NO_PORTS,
    Desk,
    asks,
    check_exchange,
    check_request,
    desk,
    documents,
    market,
)

BY_PRICE = [["dph_total", "asc"]]


def kind_of(value: object) -> object:
    """A JSON value's type; whole and broken numbers are one, and texts are texts."""
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


def check_shape(seen: dict[str, Any], sample: dict[str, Any], but: tuple[str, ...] = ()) -> None:
    """Everything in a sample is in an answer, as the same kind of value."""
    for name, value in sample.items():
        assert name in seen, name
        if name in but:
            continue
        assert kind_of(seen[name]) == kind_of(value), f"{name}: {seen[name]!r} is not like {value!r}"
        if isinstance(value, dict):
            check_shape(seen[name], value)


# The descriptions.


async def conversation(d: Desk) -> None:
    """Every described call, served and refused."""
    await d.http.get("/api/v0/users/current/")
    await d.http.get("/api/v0/ssh/")
    key = (await d.http.post("/api/v0/ssh/", json={"ssh_key": KEY_LINE})).json()["key"]["id"]
    await d.http.post("/api/v0/ssh/", json={"ssh_key": "pgp"})
    await d.http.get("/api/v0/ssh/")
    await d.search(**golden.SEARCH_BODY)
    await d.search(**golden.QUOTE_BODY)
    await d.http.post("/api/v0/bundles/", content=b"{")
    await d.http.post("/api/v0/bundles/", json={}, headers={"Authorization": "Bearer nobody"})
    await d.http.get("/api/v0/metrics/gpu/current/", params={"verified": "yes", "num_gpus": "1"})
    made = await d.ready(**{name: value for name, value in golden.CREATE_BODY.items() if name != "price"}, price=None)
    second = (await d.put(L40_EGRESS, price=0.3)).json()["new_contract"]
    for ask, change in ((1, {}), (L40_FREE, {}), (NO_BIDS, {"disk": 1}), (NO_BIDS, {"price": 0})):
        assert (await d.put(ask, **change)).status_code >= 400
    wanted = {"q": {"gpu_name": {"eq": "L40S"}}, "num_gpus": 2, "image": "a", "disk": 20}
    launched = (await d.http.put("/api/v0/launch_instance/", json=wanted)).json()["new_contract"]
    await d.http.put("/api/v0/launch_instance/", json={**wanted, "num_gpus": 7})
    await d.page(limit=1, order_by=[{"col": "id", "dir": "desc"}], select_filters={"label": {"neq": "x"}})
    await d.http.get("/api/v1/instances/", params={"select_filters": '{"dph_total":{"gt":1}}'})
    for path in (f"bid_price/{second}", "bid_price/1", f"reboot/{made}", f"recycle/{made}", f"request_logs/{made}"):
        await d.http.put(f"/api/v0/instances/{path}/", json={"client_id": "me", "price": 0.31})
    await d.http.put(f"/api/v0/instances/bid_price/{second}/", json={"client_id": "me", "price": 0})
    d.env.advance(60)
    await d.change(made, label="a")
    await d.change(made, label="a" * 1025)
    await d.change(1, label="a")
    await d.change(made, state="stopped")
    await d.change(made, state="running")
    await d.http.post(f"/api/v0/instances/{made}/ssh/", json={"ssh_key": KEY_LINE + "2"})
    await d.http.get(f"/api/v0/instances/{made}/ssh/")
    await d.http.delete(f"/api/v0/instances/{made}/ssh/{key}/")
    await d.http.delete(f"/api/v0/instances/{made}/ssh/{key}/")
    await d.http.delete(f"/api/v0/instances/{made}/ssh/key/")
    days = {"day": {"gte": 0, "lte": 9999999999}}
    await d.http.get("/api/v0/charges/", params={"select_filters": json.dumps(days), "format": "tree"})
    await d.http.get("/api/v0/charges/")
    await d.http.delete(f"/api/v0/ssh/{key}/")
    await d.http.delete(f"/api/v0/ssh/{key}/")
    await d.show(made)
    for instance in (made, made, second, launched):
        await d.destroy(instance)
    await d.show(made)
    d.vast.fleet.billing.deposit(Decimal(-2000))
    await d.put(L40_FREE)
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer nobody"}):
        for method, path in (("GET", "v0/instances/1/"), ("GET", "v1/instances/"), ("DELETE", "v0/instances/1/")):
            await d.http.request(method, f"/api/{path}", headers=headers)
    d.vast.limits.seconds = {"searches_per_minute": 1, "list": 1}
    for _ in range(2):
        await d.http.get("/api/v1/instances/")
    await d.http.post("/api/v0/bundles/", json={})
    d.vast.limits.seconds = {"searches_per_day": 1}
    await d.http.post("/api/v0/bundles/", json={})


async def test_a_whole_conversation_holds_to_the_official_descriptions_but_for_the_listed_differences() -> None:
    documents()
    async with desk() as d:
        await conversation(d)
    used: set[tuple[str, str]] = set().union(*map(check_exchange, d.exchanges))
    assert used == set(DIFFERENCES)
    asked: set[tuple[str, str]] = set().union(*map(check_request, d.exchanges))
    assert asked == set(REQUEST_DIFFERENCES)
    statuses = {exchange.status for exchange in d.exchanges}
    assert statuses == {200, 400, 401, 403, 404, 410, 429}


async def test_the_judge_itself_rejects_an_answer_that_breaks_the_descriptions() -> None:
    documents()
    async with desk() as d:
        made = await d.create()
        await d.show(made)
        exchange: Exchange = d.exchanges[-1]
    exchange.body = exchange.body.replace(b'"num_gpus":1', b'"num_gpus":"1"')
    with pytest.raises(AssertionError, match="is not of type 'integer'"):
        check_exchange(exchange)
    exchange.status = 418
    with pytest.raises(AssertionError, match="418 is not described"):
        check_exchange(exchange)


# Samples.


async def test_offers_have_the_sampled_shape_nulls_included() -> None:
    async with desk() as d:
        verified = (await d.search(ask_contract_id={"eq": L40_FREE}))[0]
        no_bids = (await d.search(ask_contract_id={"eq": NO_BIDS}))[0]
        silent_host = (await d.search(gpu_name={"eq": "H100 NVL"}))[0]
        bid = (await d.search(ask_contract_id={"eq": L40_FREE}, type="bid"))[0]
    check_shape(verified, golden.OFFER)
    check_shape(no_bids, golden.COMMUNITY_OFFER, but=("cpu_cores",))
    check_shape(bid, golden.BID_OFFER)
    assert (no_bids["min_bid"], silent_host["cpu_cores"], verified["external"]) == (None, None, None)
    assert verified["search"]["totalHour"] == verified["dph_total"]


async def test_an_instance_has_the_sampled_shape_from_the_first_moment_on() -> None:
    async with desk() as d:
        answer = (await d.put(L40_FREE, **golden.CREATE_BODY)).json()
        check_shape(answer, golden.CREATED)
        new = await d.show(answer["new_contract"])
        d.env.advance(90)
        running = await d.show(answer["new_contract"])
        page = await d.page()
        await d.destroy(answer["new_contract"])
        gone = (await d.http.get(f"/api/v0/instances/{answer['new_contract']}/")).json()
    check_shape(new, golden.NEW, but=("public_ipaddr", "gpu_util"))
    check_shape(running, golden.INSTANCE)
    check_shape(page, golden.page(golden.INSTANCE))
    assert gone == golden.GONE
    assert running["image_uuid"] == golden.CREATE_BODY["image"]
    assert dict(running["extra_env"]) == golden.CREATE_BODY["env"]
    assert running["public_ipaddr"] == running["public_ipaddr"].strip() + "\n"
    assert running["status_msg"].endswith("/ssh\n")
    assert page["instances"] == [running]


async def test_keys_and_account_have_the_sampled_shape() -> None:
    async with desk() as d:
        user = (await d.http.get("/api/v0/users/current/")).json()
        made = await d.ready()
        none = (await d.http.get(f"/api/v0/instances/{made}/ssh/")).json()
        attached = (await d.http.post(f"/api/v0/instances/{made}/ssh/", json={"ssh_key": KEY_LINE})).json()
        keys = (await d.http.get(f"/api/v0/instances/{made}/ssh/")).json()
        destroyed = (await d.destroy(made)).json()
    check_shape(user, golden.USER)
    assert (user["balance"], user["credit"]) == (1000.0, 1000.0)
    assert none == golden.NO_INSTANCE_KEYS
    assert attached == golden.ATTACHED
    assert destroyed == golden.DESTROYED
    check_shape(keys, golden.INSTANCE_KEYS)
    assert [row["public_key"] for row in json.loads(keys["ssh_keys"])] == [KEY_LINE]


# The search.


async def test_the_l40_market_has_something_to_choose_between() -> None:
    async with desk() as d:
        rows = {row["id"]: row for row in await d.search(gpu_name={"eq": "L40"}, verified={}, order=BY_PRICE)}
    assert list(rows)[:4] == [L40_UNVERIFIED, L40_EGRESS, L40_ENDING, L40_FREE]
    assert (rows[L40_FREE]["inet_up_cost"], rows[L40_FREE]["hosting_type"]) == (0.0, 1)
    assert rows[L40_EGRESS]["inet_up_cost"] > 0
    assert rows[L40_UNVERIFIED]["verification"] == "unverified"
    assert rows[L40_ENDING]["duration"] < 7200


async def test_without_filters_only_verified_free_offers_come() -> None:
    async with desk() as d:
        assert L40_UNVERIFIED not in await d.ids()
        assert L40_UNVERIFIED in await d.ids(verified={"eq": False})
        assert set(await d.ids(verification={"in": ["deverified"]}, verified={})) == {31430276}
        before = len(await d.ids())
        made = await d.create()
        assert L40_FREE not in await d.ids()
        rented = await d.search(rentable={"eq": False}, rented={"eq": True})
        assert [(row["id"], row["rented"]) for row in rented] == [(L40_FREE, True)]
        await d.destroy(made)
        assert len(await d.ids()) == before


OPERATORS: list[tuple[dict[str, Any], str]] = [
    ({"gpu_name": {"eq": "H200"}}, "row['gpu_name'] == 'H200'"),
    ({"gpu_name": {"neq": "H200"}}, "row['gpu_name'] != 'H200'"),
    ({"gpu_name": {"notin": ["L40", "L40S"]}}, "row['gpu_name'] not in ('L40', 'L40S')"),
    ({"num_gpus": {"in": [2, 4]}}, "row['num_gpus'] in (2, 4)"),
    ({"num_gpus": {"gt": 1, "lt": 8}}, "1 < row['num_gpus'] < 8"),
    ({"num_gpus": {"eq": "2"}}, "row['num_gpus'] == 2"),
    ({"gpu_ram": {"gte": 46068}}, "row['gpu_ram'] >= 46068"),
    ({"dph_total": {"lte": 0.6}}, "row['dph_total'] <= 0.6"),
    ({"inet_up_cost": {"lte": 0.0}}, "row['inet_up_cost'] == 0"),
    ({"inet_up_cost": {"eq": 0}}, "row['inet_up_cost'] == 0"),
    ({"geolocation": {"in": ["DE", "FR"]}}, "row['geolocation'][-2:] in ('DE', 'FR')"),
    ({"datacenter": {"eq": True}}, "row['hosting_type'] == 1"),
    ({"reliability2": {"gte": 0.998}}, "row['reliability'] >= 0.998"),
    ({"target_reliability": 0.99}, "row['expected_reliability'] >= 0.99"),
    ({"duration": {"gte": 86400}}, "row['duration'] >= 86400"),
    ({"static_ip": {"eq": "true"}}, "row['static_ip']"),
    ({"direct_port_count": {"lt": 1}}, "row['direct_port_count'] == 0"),
    ({"driver_version": {"gte": "570.86.15"}}, "True"),
    ({"driver_version": {"gt": "570.86.15"}}, "False"),
    ({"vms_enabled": {"eq": True}}, "row['vms_enabled']"),
    ({"allocated_storage": 1300}, "row['disk_space'] >= 1300"),
    ({"cpu_cores": {"gte": 1}}, "row['cpu_cores'] is not None"),
    ({"nothing_of_the_sort": {"gte": 1}}, "True"),
    ({"cpu_ram": {"gte": 10**9}}, "True"),  # the market file says that this one is not honoured
    ({"id": {"eq": L40_FREE}}, "False"),
]


@pytest.mark.parametrize(("query", "rule"), OPERATORS, ids=lambda value: str(value)[:50])
async def test_a_search_gives_exactly_what_its_filters_let_through(query: dict[str, Any], rule: str) -> None:
    async with desk() as d:
        everything = await d.search(verified={})
        found = [row["id"] for row in await d.search(verified={}, **query)]
    assert len(everything) == 23
    expected = [row["id"] for row in everything if eval(rule, {"row": row})]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize(
    "query",
    [
        {"type": "weekly"},
        {"num_gpus": {"between": [1, 2]}},
        {"num_gpus": {"in": 3}},
        {"order": "dph_total"},
        {"limit": 0},
        {"limit": "many"},
        {"allocated_storage": "big"},
    ],
)
async def test_a_search_that_makes_no_sense_is_a_400(query: dict[str, Any]) -> None:
    async with desk() as d:
        reply = await d.http.post("/api/v0/bundles/", json=query)
    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_request")


async def test_order_and_limit_are_kept_and_the_default_is_the_score() -> None:
    async with desk() as d:
        prices = [row["dph_total"] for row in await d.search(order=[["dph_total", "desc"]], limit=5)]
        assert prices == sorted(prices, reverse=True)
        assert len(prices) == 5
        two_keys = await d.search(order=[["num_gpus", "desc"], ["dph_total", "asc"]])
        assert [(-row["num_gpus"], row["dph_total"]) for row in two_keys] == sorted(
            (-row["num_gpus"], row["dph_total"]) for row in two_keys
        )
        scores = [row["score"] for row in await d.search()]
        assert scores == sorted(scores, reverse=True)
        last = (await d.search(verified={}, order=[["cpu_cores", "desc"]]))[-1]
        assert last["cpu_cores"] is None


async def test_prices_count_the_disk_that_was_asked_for_by_720_hours_a_month() -> None:
    async with desk() as d:
        for storage in (8, 50, 300):
            row = (await d.search(ask_contract_id={"eq": L40_FREE}, allocated_storage=storage))[0]
            disk = Decimal("0.15") * storage / 720
            assert Decimal(str(row["dph_total"])) == (Decimal("0.62") + disk).quantize(Decimal("1e-10"))
            assert row["storage_total_cost"] == pytest.approx(float(disk))
        default = (await d.search(ask_contract_id={"eq": L40_FREE}))[0]
        assert default["storage_total_cost"] == pytest.approx(0.15 * 8 / 720)


async def test_a_search_for_bids_shows_the_least_bid_as_the_price_and_leaves_out_who_takes_none() -> None:
    async with desk() as d:
        plain = {row["id"]: row for row in await d.search(type="ondemand")}
        bids = {row["id"]: row for row in await d.search(type="bid")}
    assert set(plain) - set(bids) == {row["id"] for row in plain.values() if row["min_bid"] is None} != set()
    for row in bids.values():
        assert row["dph_base"] == row["min_bid"] == plain[row["id"]]["min_bid"]
        assert row["dph_total"] < plain[row["id"]]["dph_total"]
        assert row["is_bid"]


async def test_at_most_64_rows_come_back_and_paging_by_price_finds_the_rest() -> None:
    rows = asks(*({"id": 100 + n, "machine_id": 900 + n, "usd_per_hour": f"{0.3 + n / 100:.2f}"} for n in range(150)))
    async with desk(market(asks=rows)) as d:
        seen: dict[int, float] = {}
        pages = 0
        while True:
            floor = {"dph_total": {"gte": max(seen.values())}} if seen else {}
            page = await d.search(order=BY_PRICE, limit=3000, **floor)
            pages += 1
            assert len(page) <= 64
            before = len(seen)
            seen |= {row["id"]: row["dph_total"] for row in page}
            if len(seen) == before:
                break
    assert (len(seen), pages) == (150, 4)


async def test_the_newer_search_answers_the_same_and_can_leave_columns_out() -> None:
    async with desk() as d:
        query = {"gpu_name": {"eq": "L40"}, "type": "bid"}
        reply = await d.http.put("/api/v0/search/asks/", json={"select_cols": ["*"], "q": query})
        assert reply.json()["offers"] == await d.search(**query)
        few = await d.http.put("/api/v0/search/asks/", json={"select_cols": ["id", "huh"], "q": query})
        assert few.json()["offers"][0].keys() == {"id", "huh"}
        bare = await d.http.put("/api/v0/search/asks/", json=query)
        assert (bare.status_code, bare.json()["msg"]) == (400, "Invalid json body")


async def test_a_listing_that_ended_is_gone_from_the_search_and_from_the_market() -> None:
    async with desk() as d:
        d.env.advance(5399)
        assert L40_ENDING in await d.ids()
        d.env.advance(1)
        assert L40_ENDING not in await d.ids()
        assert (await d.put(L40_ENDING)).status_code == 404


async def test_the_catalogue_of_models_needs_no_key() -> None:
    async with desk() as d:
        del d.http.headers["Authorization"]
        types = (await d.http.get("/api/v0/gpu_types/")).json()["gpu_types"]
        names = (await d.http.get("/api/v0/gpu_names/unique/")).json()["gpu_names"]
        assert await d.ids(gpu_name={"eq": "H200"}) == [31460012]
    assert {"canonical_name": "L40", "gpu_ram_mb": 46068}.items() <= types[5].items()
    assert [row["name"] for row in types] == names
    assert "RTX 6000Ada" in names


async def test_metrics_price_a_model_without_a_search() -> None:
    async with desk() as d:
        await d.create(L40_FREE)
        guide = {"verified": "true", "hosting_type": "1", "num_gpus": "1"}
        strict = {
            row["gpu_name"]: row
            for row in (await d.http.get("/api/v0/metrics/gpu/current/", params=guide)).json()["gpus"]
        }
        wide = (await d.http.get("/api/v0/metrics/gpu/current/", params={"verified": "all"})).json()["gpus"]
    assert set(strict) == {"A100 SXM4", "H100 SXM", "H200", "L40", "L40S"}
    assert (strict["L40"]["total"], strict["L40"]["available"], strict["L40"]["rented_verified"]) == (1, 0, 1)
    assert (strict["L40"]["price_p10"], strict["L40"]["price_median"]) == (0.62, 0.62)
    l40 = next(row for row in wide if row["gpu_name"] == "L40")
    assert (l40["total"], l40["price_p10"], l40["price_median"], l40["price_p90"]) == (5, 0.44, 0.53, 0.62)
    assert l40["avail_unverified"] == 1


async def test_an_offer_without_direct_ports_says_so() -> None:
    async with desk() as d:
        assert (await d.search(ask_contract_id={"eq": RTX_NO_PORTS}))[0]["direct_port_count"] == 0
