"""The emulated Fluence over time: boot, clock-hour billing, ends, and a state that survives a restart."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from providers.env import ManualEnv
from providers.fluence.emulator import FluenceEmulator
from providers.fluence.emulator_options import Options
from providers.sandbox.world import NoMachines, World
from tests.contract.fluence_bench import BODIES, MARKET, START, TREES, Bench, bench, path

L40 = BODIES["vms"]["plan_id"]


@pytest.fixture
async def fluence() -> AsyncIterator[Bench]:
    async with bench() as served:
        yield served


def books(emulator: FluenceEmulator) -> Decimal:
    """All the money there is: on the account, in reserves, and spent."""
    held = sum((i.reserve + i.spent for i in emulator.fleet.instances.values()), Decimal(0))
    return emulator.fleet.balance + held


# Boot.


async def test_a_vm_boots_then_gets_its_address(fluence: Bench) -> None:
    made = await fluence.create()
    detail = await fluence.get(made)
    assert (detail["status"], detail["network"], detail["ssh_connection"]) == ("INITIALIZED", None, None)
    fluence.env.advance(149)
    assert (await fluence.get(made))["status"] == "INITIALIZED"
    fluence.env.advance(2)
    detail = await fluence.get(made)
    assert (detail["status"], detail["network"]["domain"]) == ("ACTIVE", None)
    assert fluence.machines.running == {}
    fluence.env.advance(9)
    detail = await fluence.get(made)
    machine = fluence.machines.running[f"fluence:{made}"]
    assert detail["network"]["domain"] == machine["host"] == (await fluence.listed())[0]["domain"]
    assert machine["host"].startswith("198.18.")
    assert (machine["port"], machine["user"], machine["count"]) == (22, "ubuntu", 1)
    assert machine["authorized_keys"] == [BODIES["vms"]["ssh_key"]]
    assert (machine["gpu"], machine["memory_mib"]) == ("NVIDIA L40", 46068)


async def test_a_container_is_reached_through_its_forwarded_port(fluence: Bench) -> None:
    made = await fluence.create("containers")
    fluence.env.advance(151)
    detail = await fluence.get(made, "containers")
    assert (detail["instance_status"], detail["container_status"]) == ("ACTIVE", "NOT_STARTED")
    fluence.env.advance(10)
    detail = await fluence.get(made, "containers")
    assert detail["container_status"] == "STARTED"
    machine = fluence.machines.running[f"fluence:{made}"]
    [forwarded] = detail["network"]["forwarded_ports"]
    assert forwarded == {"port": "22", "external_port": str(machine["port"]), "protocol": "tcp"}
    assert (machine["user"], machine["host"]) == ("root", detail["network"]["domain"])
    assert machine["env"] == {"MODEL_PATH": "/models", "SSH_PUBKEY": BODIES["containers"]["ssh_key"]}


async def test_a_container_without_port_22_has_no_way_in(fluence: Bench) -> None:
    body = {**BODIES["containers"]["container_settings"], "expose": [{"port": "80", "protocol": "http"}]}
    made = await fluence.running("containers", container_settings=body)
    assert (await fluence.get(made, "containers"))["container_status"] == "STARTED"
    assert fluence.machines.running == {}


async def test_boot_times_follow_the_worlds_scale() -> None:
    async with bench(boot_scale=0.1) as served:
        made = await served.create()
        served.env.advance(15)
        assert (await served.get(made))["status"] == "ACTIVE"
        served.env.advance(1)
        assert (await served.get(made))["ssh_connection"]


# Money.


async def test_three_hours_leave_the_account_at_create_and_two_come_back(fluence: Bench) -> None:
    made = await fluence.running()
    assert fluence.emulator.fleet.balance == Decimal("97.72")
    assert (await fluence.get(made))["billing"] == {
        "hourly_usage": 0.76,
        "total_spendings": 0.76,
        "reserved_amount": 1.52,
        "next_billing_period": "2026-11-22T15:00:00Z",
    }
    await fluence.delete(made)
    assert fluence.emulator.fleet.balance == Decimal("99.24")
    assert fluence.billed(made) == Decimal("0.76")


async def test_ten_minutes_across_the_full_hour_cost_two_hours(fluence: Bench) -> None:
    made = await fluence.running()
    fluence.env.advance(27 * 60)
    assert (await fluence.get(made))["billing"] == {
        "hourly_usage": 0.76,
        "total_spendings": 1.52,
        "reserved_amount": 1.52,
        "next_billing_period": "2026-11-22T16:00:00Z",
    }
    assert fluence.emulator.fleet.balance == Decimal("96.96")
    await fluence.delete(made)
    fluence.env.advance(86400)
    assert fluence.billed(made) == Decimal("1.52")
    assert fluence.emulator.fleet.balance == Decimal("98.48")


async def test_billing_shows_cents_of_an_exact_sum() -> None:
    market = {"vms": [{**MARKET["vms"][0], "usd_per_hour": "0.755"}]}
    async with bench(market=market) as served:
        made = await served.running()
        served.env.advance(3600)
        billing = (await served.get(made))["billing"]
        assert (billing["hourly_usage"], billing["total_spendings"]) == (0.76, 1.51)
        assert served.billed(made) == Decimal("1.510")


async def test_an_empty_account_lives_on_its_reserve_and_then_ends_at_the_full_hour(fluence: Bench) -> None:
    fluence.emulator.fleet.balance = Decimal("2.28")
    made = await fluence.running()
    fluence.env.advance(2 * 3600)  # 16:45: charged at create, 15:00 and 16:00
    detail = await fluence.get(made)
    assert (detail["status"], detail["billing"]["reserved_amount"]) == ("ACTIVE", 0.0)
    fluence.env.advance(3600)
    detail = await fluence.get(made)
    assert (detail["status"], detail["network"]) == ("ENDED", None)
    assert detail["billing"]["total_spendings"] == 2.28
    assert fluence.billed(made) == Decimal("2.28")
    assert fluence.machines.running == {}
    assert fluence.world.ledger.billing() == []


async def test_money_paid_in_fills_the_reserve_again(fluence: Bench) -> None:
    fluence.emulator.fleet.balance = Decimal("2.50")
    made = await fluence.running()
    fluence.env.advance(2 * 3600)
    assert (await fluence.get(made))["billing"]["reserved_amount"] == 0.22
    fluence.emulator.fleet.deposit(Decimal(1))
    assert (await fluence.get(made))["billing"]["reserved_amount"] == 1.22
    fluence.env.advance(3600)
    assert (await fluence.get(made))["status"] == "ACTIVE"


async def test_a_refund_fills_the_reserves_of_other_instances(fluence: Bench) -> None:
    fluence.emulator.fleet.balance = Decimal("2.28")
    made = await fluence.create()
    fluence.env.advance(75 * 60 + 30)
    fluence.emulator.advance()
    fluence.emulator.fleet.balance = Decimal("1.44")
    fluence.world.faults.add("fail_after_accept", subject="rtx4090")
    await fluence.create("containers")
    fluence.env.advance(120)  # 16:00:30: the last reserve is charged
    assert (await fluence.get(made))["billing"]["reserved_amount"] == 0.0
    fluence.env.advance(60)  # the container has failed
    assert (await fluence.get(made))["billing"]["reserved_amount"] == 1.44
    fluence.env.advance(3600)
    assert (await fluence.get(made))["status"] == "ACTIVE"


async def test_a_failed_launch_is_refunded_whole(fluence: Bench) -> None:
    fluence.env.advance(16 * 60)  # the failure comes after 15:00, and so after the second charge
    fluence.world.faults.add("fail_after_accept", subject="L40 vms us-central-3")
    made = await fluence.create()
    fluence.env.advance(120)
    assert (await fluence.get(made))["billing"]["total_spendings"] == 1.52
    fluence.env.advance(31)
    detail = await fluence.get(made)
    assert detail["status"] == "FAILED"
    assert detail["billing"] == {
        "hourly_usage": 0.0,
        "total_spendings": 0.0,
        "reserved_amount": 0.0,
        "next_billing_period": None,
    }
    assert fluence.emulator.fleet.balance == 100
    assert fluence.billed(made) == 0
    assert (await fluence.delete(made)).status_code == 400


@pytest.mark.parametrize(("seconds", "hours"), [(0, 1), (0.5, 1), (1, 2), (3600.5, 2), (3601, 3)])
def test_the_stroke_of_the_hour_counts_as_the_ledger_counts_it(seconds: float, hours: int) -> None:
    env = ManualEnv(START)
    world = World(env, market={"fluence": MARKET})
    emulator = FluenceEmulator(world)
    made = emulator.plant("somebody")
    env.advance(17 * 60 + seconds)
    emulator.advance()
    emulator.lose(made)
    assert emulator.fleet.instances[made].spent == hours * Decimal("0.76")
    assert world.ledger.of("fluence", made)[0].usd(env.now().timestamp()) == hours * Decimal("0.76")


@example([("plant", Decimal(0)), ("wait", Decimal(1021)), ("plant", Decimal(0))], Decimal(0))
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["plant", "lose", "deposit", "wait"]),
            st.decimals(0, 30000, places=3, allow_nan=False),
        ),
        max_size=25,
    ),
    st.decimals(0, 12, places=2),
)
def test_no_cent_is_lost_and_the_ledger_agrees(steps: list[tuple[str, Decimal]], balance: Decimal) -> None:
    env = ManualEnv(START)
    world = World(env, market={"fluence": MARKET})
    emulator = FluenceEmulator(world, Options(balance=balance))
    for what, amount in steps:
        if what == "plant":
            emulator.plant("somebody")
        elif what == "lose" and emulator.fleet.living():
            emulator.lose(emulator.fleet.living()[0].id)
        elif what == "deposit":
            emulator.fleet.deposit(amount / 10000)
        else:
            env.advance(float(amount))
        emulator.advance()
        assert books(emulator) == emulator.fleet.deposited
        assert emulator.fleet.balance >= 0
        for instance in emulator.fleet.instances.values():
            [line] = world.ledger.of("fluence", instance.id)
            assert line.usd(env.now().timestamp()) == instance.spent
    assert world.ledger.billing() == [r.id for r in emulator.records() if r.billing]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400_000), st.integers(1, 40))
def test_it_does_not_matter_how_often_somebody_looks(seconds: int, looks: int) -> None:
    ends = []
    for times in (1, looks):
        env = ManualEnv(START)
        emulator = FluenceEmulator(World(env, market={"fluence": MARKET}), Options(balance=Decimal(40)))
        for _ in range(3):
            emulator.plant("somebody")
        for _ in range(times):
            env.advance(seconds / times)
            emulator.advance()
        env._now = START + timedelta(seconds=seconds)
        emulator.advance()
        ends.append(emulator.dump())
    assert ends[0] == ends[1]


# The end.


async def test_only_an_active_instance_can_be_ended(fluence: Bench) -> None:
    made = await fluence.create()
    early = await fluence.delete(made)
    assert (early.status_code, early.json().keys()) == (400, {"detail"})
    fluence.env.advance(151)
    done = await fluence.delete(made)
    assert (done.status_code, done.content) == (204, b"")
    assert (await fluence.get(made))["status"] == "ENDED"
    assert (await fluence.delete(made)).status_code == 400
    assert [item["status"] for item in await fluence.listed()] == ["ENDED"]
    assert [(r.alive, r.billing) for r in fluence.emulator.records()] == [(False, False)]


async def test_a_minimum_runtime_can_be_switched_on(fluence: Bench) -> None:
    fluence.emulator.options.minimum_runtime_s = 1200
    made = await fluence.running()
    refusal = await fluence.delete(made)
    assert (refusal.status_code, refusal.json().keys()) == (400, {"detail"})
    fluence.env.advance(1200)
    assert (await fluence.delete(made)).status_code == 204


async def test_a_machine_goes_with_its_instance(fluence: Bench) -> None:
    made = await fluence.running("baremetal")
    assert fluence.machines.running[f"fluence:{made}"]["port"] == 2222
    assert fluence.machines.running[f"fluence:{made}"]["count"] == 8
    await fluence.delete(made, "baremetal")
    assert fluence.machines.running == {}


# Updates.


async def test_a_container_takes_new_settings_but_keeps_its_ports(fluence: Bench) -> None:
    made = await fluence.running("containers")
    before = await fluence.get(made, "containers")
    body = {
        "name": "renamed",
        "container_settings": {"image": "docker.io/library/other:1", "expose": [{"port": "99"}]},
        "ssh_key": "ssh-ed25519 NEW",
    }
    where = path("containers", made)
    answer = await fluence.http.put(where, json=body)
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await fluence.get(made, "containers"))["container_status"] == "NOT_STARTED"
    assert (await fluence.http.put(where, json=body)).status_code == 400
    fluence.env.advance(21)
    after = await fluence.get(made, "containers")
    assert (after["name"], after["container_status"]) == ("renamed", "STARTED")
    assert after["container_info"]["image"] == "docker.io/library/other:1"
    assert after["container_info"]["expose"] == before["container_info"]["expose"]
    assert after["network"] == before["network"]
    machine = fluence.machines.running[f"fluence:{made}"]
    assert (machine["authorized_keys"], machine["env"]) == (
        ["ssh-ed25519 NEW"],
        {"SSH_PUBKEY": "ssh-ed25519 NEW"},
    )


@pytest.mark.parametrize("kind", ["vms", "baremetal"])
async def test_a_machine_can_only_be_renamed(fluence: Bench, kind: str) -> None:
    made = await fluence.create(kind)
    assert (await fluence.http.put(path(kind, made), json={"name": "other"})).status_code == 204
    assert (await fluence.get(made, kind))["name"] == "other"
    assert (await fluence.http.put(path(kind, made), json={"name": "No"})).status_code == 422


@pytest.mark.parametrize(
    ("method", "where", "verb"),
    [
        ("GET", "/gpu/plans/", "offers"),
        ("GET", "/gpu/plans", "offers"),
        ("GET", "/gpu/plans/baremetal", "offers"),
        ("POST", "/gpu/instances/", "launch"),
        ("POST", "/gpu/instances/vms", "launch"),
        ("GET", "/gpu/instances/", "owned"),
        ("GET", "/gpu/instances/vms", "owned"),
        ("GET", f"/gpu/instances/{L40}", "find"),
        ("GET", f"/gpu/instances/vms/{L40}", "find"),
        ("DELETE", f"/gpu/instances/{L40}", "terminate"),
        ("DELETE", f"/gpu/instances/baremetal/{L40}", "terminate"),
        ("PUT", f"/gpu/instances/{L40}", "other"),
        ("GET", f"/gpu/instances/{L40}/logs", "other"),
        ("GET", "/v2/users/balances", "other"),
        ("GET", "/nowhere", "other"),
    ],
)
def test_requests_serve_verbs_of_the_contract(method: str, where: str, verb: str) -> None:
    emulator = FluenceEmulator(World(ManualEnv(START), market={"fluence": MARKET}))
    assert emulator.verb(method, where) == verb


# Around it.


async def test_a_planted_vm_is_there_runs_and_bills(fluence: Bench) -> None:
    fluence.emulator.fleet.balance = Decimal(0)
    made = fluence.emulator.plant("orch-aaaaaaa-bbbbbbbbb-01", "0" * 32)
    [item] = await fluence.listed()
    assert (item["id"], item["name"], item["status"]) == (made, "orch-aaaaaaa-bbbbbbbbb-01", "ACTIVE")
    assert (await fluence.get(made))["ssh_connection"]
    assert fluence.world.ledger.billing() == [made]
    [record] = fluence.emulator.records()
    assert (record.name, record.alive, record.billing, record.offer) == (item["name"], True, True, L40)
    assert (await fluence.delete(made)).status_code == 204


async def test_the_whole_state_survives_a_restart(fluence: Bench) -> None:
    fluence.world.faults.add("price_changed", subject="rtx4090")
    await fluence.http.get("/gpu/plans/")
    fluence.world.faults.add("gone", subject="h100")
    await fluence.http.post(TREES["baremetal"], json=BODIES["baremetal"])
    fluence.world.faults.add("wrong_gpu", verb="launch")
    running = await fluence.running("containers")
    ended = await fluence.running()
    await fluence.delete(ended)
    fluence.world.faults.add("list_lag", seconds=3600)
    pending = await fluence.create()
    saved = json.loads(json.dumps(fluence.world.dump()))

    async with bench() as other:
        other.env._now = fluence.env.now()
        other.world.load(saved)
        assert json.loads(json.dumps(other.world.dump())) == saved
        assert other.machines.running == fluence.machines.running != {}
        for kind, made in (("containers", running), ("vms", ended), ("vms", pending)):
            assert await other.get(made, kind) == await fluence.get(made, kind)
        for kind in TREES:
            assert await other.listed(kind) == await fluence.listed(kind)
        for tree in ("/gpu/plans/", "/gpu/plans/vms", "/gpu/plans/baremetal"):
            assert (await other.http.get(tree)).json() == (await fluence.http.get(tree)).json()
        assert (await other.http.get("/gpu/plans/baremetal")).json() == {"data": []}
        for served in (other, fluence):
            served.env.advance(5 * 3600)
        assert (await other.get(pending))["billing"] == (await fluence.get(pending))["billing"]
        assert other.emulator.dump()["fleet"]["balance"] == fluence.emulator.dump()["fleet"]["balance"]
        assert other.world.ledger.dump() == fluence.world.ledger.dump()


async def test_settings_lead_a_client_to_the_emulator(fluence: Bench) -> None:
    settings = fluence.emulator.environment("http://127.0.0.1:1/fluence")
    assert settings == {
        "FLUENCE_API_KEY": fluence.emulator.options.key,
        "ORCH_FLUENCE_URL": "http://127.0.0.1:1/fluence",
    }


def test_machines_are_named_as_nvidia_smi_names_them() -> None:
    emulator = FluenceEmulator(World(ManualEnv(START), machines=NoMachines()))
    names = {plan.gpu: plan.device for kind in ("vms", "containers") for plan in emulator.catalogue.on_sale(kind)}
    assert names["l40"] == "NVIDIA L40"
    assert names["rtx6000ada"] == "NVIDIA RTX 6000 Ada Generation"
    assert names["h100"] == "NVIDIA H100 80GB HBM3"
    assert all(name.startswith(("NVIDIA ", "Tesla ")) for name in names.values())
