"""Lambda Cloud's emulator: what tests and the sandbox see of it beside the wire: verbs, plants, saved state."""

from __future__ import annotations

import pytest

from providers.env import ManualEnv
from providers.lambda_cloud.emulator import LambdaEmulator
from providers.sandbox.world import World
from tests.contract import lambda_bench as lb
from tests.contract import lambda_golden as golden
from tests.contract.lambda_bench import bench, body, unlimited

OWNER = "ab" * 16


@pytest.mark.parametrize(
    ("method", "path", "verb"),
    [
        ("GET", lb.TYPES, "offers"),
        ("POST", lb.LAUNCH, "launch"),
        ("GET", lb.LAUNCH, "other"),
        ("GET", lb.INSTANCES, "owned"),
        ("GET", f"{lb.INSTANCES}/abc", "find"),
        ("POST", f"{lb.INSTANCES}/abc", "other"),
        ("POST", lb.TERMINATE, "terminate"),
        ("POST", lb.RESTART, "other"),
        ("GET", lb.KEYS, "other"),
        ("POST", lb.KEYS, "other"),
        ("GET", lb.IMAGES, "other"),
        ("GET", "/elsewhere", "other"),
    ],
)
def test_which_verb_of_the_contract_a_request_serves(method: str, path: str, verb: str) -> None:
    assert LambdaEmulator(World(ManualEnv())).verb(method, path) == verb


def test_its_settings_are_a_key_and_a_url() -> None:
    found = LambdaEmulator(World(ManualEnv())).environment("http://127.0.0.1:1/lambda")
    assert found == {"LAMBDA_API_KEY": "lambda-sandbox-key", "ORCH_LAMBDA_URL": "http://127.0.0.1:1/lambda"}


async def test_planted_machines_run_and_bill_and_carry_the_owner_in_a_tag() -> None:
    async with bench() as served:
        theirs, strangers = served.emulator.plant("orch-x", OWNER), served.emulator.plant("jupyter")
        shown = {item["id"]: item for item in await served.data(lb.INSTANCES)}
        assert served.world.ledger.billing() == [theirs, strangers]
        assert len(served.machines.running) == 2
    assert shown[theirs]["tags"] == [{"key": golden.OWNER_TAG, "value": OWNER}]
    assert (shown[theirs]["name"], shown[strangers]["name"]) == ("orch-x", "jupyter")
    assert "tags" not in shown[strangers]
    assert {(item["status"], "ip" in item) for item in shown.values()} == {("active", True)}


async def test_planting_does_not_need_free_stock() -> None:
    async with bench(part=lb.market(gpu_1x_a10={"stock": {"us-east-1": 1}})) as served:
        planted = [served.emulator.plant("a"), served.emulator.plant("b")]
        assert await served.listed() == planted
        assert (await served.data(lb.TYPES))["gpu_1x_a10"]["regions_with_capacity_available"] == []


async def test_dump_and_load_round_trip_everything() -> None:
    options = unlimited(ended_shown_s=3600.0, request_spacing_s=0.5)

    async def see(served: lb.Bench) -> list[object]:
        seen = []
        for path in (lb.TYPES, lb.INSTANCES, lb.KEYS):
            served.env.advance(0.5)
            seen.append(await served.data(path))
        return [*seen, dict(served.machines.running)]

    async with bench(options) as first:
        emulator, faults = first.emulator, first.world.faults

        async def launch(**changes: str) -> str:
            first.env.advance(1)
            return await first.launch(**changes)

        first.env.advance(1)
        ready, ended = await launch(), await launch()
        faults.add("wrong_gpu", gpu="NVIDIA L4", memory_mib=23034)
        wrong = await launch()
        faults.add("boot_stuck", how="no_ip")
        stuck = await launch()
        first.env.advance(lb.SSH_S + 1)
        await first.terminate(ended)
        first.env.advance(31)
        faults.add("price_changed", factor="1.1", verb="launch", subject="h100_pcie")
        booting = await launch(instance_type_name="gpu_1x_h100_pcie", region_name="us-west-3")
        faults.add("gone", subject="us-west-1")
        first.env.advance(1)
        gone = await first.http.post(lb.LAUNCH, json=body(region_name="us-west-1"))
        assert gone.status_code == 400
        faults.add("list_lag", seconds=600)
        hidden = await launch()
        before = await see(first)
        state = first.world.dump()
        now = first.env.now()

    async with bench(options, seed=9, key=False) as second:
        second.env.advance((now - second.env.now()).total_seconds())
        second.world.load(state)
        assert second.world.dump() == state
        assert second.emulator.records() == emulator.records()
        assert (await second.http.get(lb.TYPES)).status_code == 429
        assert await see(second) == before
        types = before[0]
        assert isinstance(types, dict)
        assert types["gpu_1x_h100_pcie"]["instance_type"]["price_cents_per_hour"] == 362
        assert [place["name"] for place in types["gpu_1x_a10"]["regions_with_capacity_available"]] == ["us-east-1"]
        statuses = {item["id"]: item["status"] for item in await _later(second, 1, lb.INSTANCES)}
        assert statuses == {
            ready: "active",
            ended: "terminated",
            wrong: "active",
            stuck: "active",
            booting: "booting",
        }
        assert second.machines.running[f"lambda:{wrong}"]["gpu"] == "NVIDIA L4"
        after = {item["id"]: item["status"] for item in await _later(second, 600, lb.INSTANCES)}
        assert after[booting] == after[hidden] == "active"
        assert second.world.ledger.billing() == [ready, wrong, stuck, booting, hidden]


async def _later(served: lb.Bench, seconds: float, path: str) -> list[dict[str, str]]:
    served.env.advance(seconds)
    found: list[dict[str, str]] = await served.data(path)
    return found


async def test_two_worlds_with_one_seed_give_the_same_machines() -> None:
    async with bench(seed=5) as first, bench(seed=5) as second:
        assert await first.get(await first.running()) == await second.get(await second.running())


async def test_a_machine_that_was_up_answers_again_after_a_restart_of_the_sandbox() -> None:
    async with bench() as first:
        up, restarting = await first.running(), await first.running()
        await first.post(lb.RESTART, {"instance_ids": [restarting]})
        state, now = first.world.dump(), first.env.now()
    async with bench(key=False) as second:
        second.env.advance((now - second.env.now()).total_seconds())
        second.world.load(state)
        assert list(second.machines.running) == [f"lambda:{up}"]
        second.env.advance(90)
        await second.data(lb.INSTANCES)
        assert list(second.machines.running) == [f"lambda:{up}", f"lambda:{restarting}"]
