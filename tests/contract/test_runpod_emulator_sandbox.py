"""RunPod's emulator: what tests and the sandbox see of it beside the wire: verbs, plants, losses, saved state."""

from __future__ import annotations

import pytest

from providers.env import ManualEnv
from providers.runpod.emulator import RunPodEmulator
from providers.sandbox.kit import Record
from providers.sandbox.world import World
from tests.contract import runpod_golden as golden
from tests.contract.runpod_desk import KEY_LINE, L40, body, desk, market


@pytest.mark.parametrize(
    ("method", "path", "verb"),
    [
        ("GET", "/v2/catalog/gpus", "offers"),
        ("GET", "/v2/catalog/gpus/NVIDIA L40", "offers"),
        ("GET", "/v2/catalog/datacenters", "offers"),
        ("POST", "/v2/pods", "launch"),
        ("GET", "/v2/pods", "owned"),
        ("GET", "/v2/pods/abc", "find"),
        ("DELETE", "/v2/pods/abc", "terminate"),
        ("POST", "/v2/pods/abc/action", "terminate"),
        ("PATCH", "/v2/pods/abc", "other"),
        ("GET", "/v2/pods/abc/logs", "other"),
        ("GET", "/v2/account/ssh-keys", "other"),
        ("GET", "/v2/billing/pods", "other"),
    ],
)
def test_which_verb_of_the_contract_a_request_serves(method: str, path: str, verb: str) -> None:
    assert RunPodEmulator(World(ManualEnv())).verb(method, path) == verb


async def test_planted_pods_run_and_bill_and_carry_the_owner_in_env() -> None:
    async with desk() as d:
        owner = "ab" * 16
        theirs, strangers = d.runpod.plant("orch-x", owner), d.runpod.plant("jupyter")
        pods = {pod["id"]: pod for pod in (await d.http.get("/v2/pods")).json()["pods"]}
        assert d.world.ledger.billing("runpod") == [theirs, strangers]
    assert pods[theirs]["env"] == {"ORCH_OWNER": owner}
    assert pods[strangers]["env"] == {}
    assert {(pod["status"], pod["runtime"] is None) for pod in pods.values()} == {("RUNNING", False)}


async def test_a_lost_pod_vanishes_and_bills_no_more() -> None:
    async with desk() as d:
        pod = await d.ready()
        d.runpod.lose(pod["id"])
        assert (await d.http.get(f"/v2/pods/{pod['id']}")).status_code == 404
        assert (await d.http.get("/v2/pods")).json() == {"pods": []}
        assert d.machines == {}
        assert d.runpod.records() == [
            Record(pod["id"], pod["name"], alive=False, billing=False, offer=f"{L40} SECURE EU-RO-1")
        ]


async def test_a_pods_own_key_is_good_for_that_pod_alone() -> None:
    async with desk() as d:
        pod, other = await d.ready(), await d.ready()
        key = d.machines[f"runpod:{pod['id']}"]["env"]["RUNPOD_API_KEY"]
        own = {"Authorization": f"Bearer {key}"}
        assert (await d.http.get(f"/v2/pods/{pod['id']}", headers=own)).status_code == 200
        for method, path in (("GET", "/v2/pods"), ("POST", "/v2/pods"), ("DELETE", f"/v2/pods/{other['id']}")):
            denied = await d.http.request(method, path, headers=own)
            assert (denied.status_code, denied.json()) == (403, golden.DENIED)
        assert (await d.http.delete(f"/v2/pods/{pod['id']}", headers=own)).status_code == 204
        assert (await d.http.get(f"/v2/pods/{pod['id']}", headers=own)).status_code == 401


async def test_dump_and_load_round_trip_everything() -> None:
    async with desk(market(limits={"minute": 60, "hour": 3000, "day": 50000})) as d:
        await d.http.put("/v2/account/ssh-keys", json={"keys": [KEY_LINE]})
        ready = await d.ready(mounts={"persistent": {"size": 20, "path": "/w"}}, globalNetworking=True)
        booting, stopped, ended = await d.create(), await d.create(), await d.create()
        await d.act(stopped, "stop")
        await d.http.delete(f"/v2/pods/{ended['id']}")
        d.world.faults.add("gone", "runpod", subject="RTX 4090")
        d.world.faults.add("price_changed", "runpod", subject=f"{L40} SECURE", factor="1.1")
        gone = await d.http.post("/v2/pods", json=body(gpu={"id": "NVIDIA GeForce RTX 4090"}, dataCenterIds=[]))
        assert gone.status_code == 400
        before = (await d.gpus(), (await d.http.get("/v2/pods")).json(), dict(d.machines))
        state = d.world.dump()
        async with desk(market(limits={"minute": 60, "hour": 3000, "day": 50000}), seed=9) as e:
            e.env.advance(60)
            e.world.load(state)
            assert e.world.dump() == state
            assert isinstance(e.runpod, RunPodEmulator)
            e.http.headers["Authorization"] = f"Bearer {d.runpod.key}"
            after = (await e.gpus(), (await e.http.get("/v2/pods")).json(), dict(e.machines))
            assert after == before
            assert after[0][L40]["price"]["secure"] == 0.902
            assert {pod["id"] for pod in after[1]["pods"]} == {ready["id"], booting["id"], stopped["id"]}
            assert e.runpod.records() == d.runpod.records()
            assert (await e.http.get("/v2/account/ssh-keys")).json() == {"keys": [KEY_LINE]}
            e.env.advance(60)
            assert (await e.pod(booting))["ssh"]["direct"] is not None


async def test_two_worlds_with_one_seed_give_the_same_pods() -> None:
    async with desk(seed=5) as d, desk(seed=5) as e:
        assert await d.ready() == await e.ready()
