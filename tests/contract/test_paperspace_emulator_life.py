"""A machine's life at the emulated Paperspace: states, events, addresses, SSH, bill, end."""

from __future__ import annotations

import base64
import gzip
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from providers.paperspace.emulator_options import Options
from providers.paperspace.emulator_scripts import authorized_keys, switches_off_after
from tests.contract import paperspace_bench as pb
from tests.contract.paperspace_bench import Bench, bench

OWNER = "ab" * 16


@pytest.fixture
async def served() -> AsyncIterator[Bench]:
    async with bench() as made:
        yield made


async def test_a_machine_goes_through_its_states_and_its_event_with_it(served: Bench) -> None:
    made = await served.create()
    seen, passed = [], 0
    for until in (1, 2, pb.STARTING_S, pb.SERVICE_S, pb.READY_S):
        served.pass_s(until - passed)
        passed = until
        found, [(_, event, _)] = await served.machine(made), await served.events(made)
        seen.append((found["state"], event, found["publicIp"] is not None))
    assert seen == [
        ("provisioning", "new", False),
        ("provisioning", "in progress", False),
        ("starting", "in progress", True),
        ("serviceready", "in progress", True),
        ("ready", "done", True),
    ]
    [row] = (await served.get("/machine-events", machineId=made))["items"]
    assert row["dtCreated"] < row["dtStarted"] < row["dtFinished"]
    assert await served.get(f"/machine-events/{row['id']}") == row
    await served.get("/machine-events/evnothing", status=404)


async def test_boot_times_are_scaled() -> None:
    async with bench(boot_scale=0.1) as served:
        made = await served.create()
        served.pass_s(14)
        assert (await served.machine(made))["state"] == "ready"


async def test_ssh_answers_for_the_key_that_the_startup_script_carries(served: Bench) -> None:
    script = await served.script(pb.wrapped(pb.plain()))
    made = await served.create(startupScriptId=script)
    served.pass_s(pb.READY_S)
    assert served.machines.running == {}
    served.pass_s(5)
    running = served.machines.running[f"paperspace:{made}"]
    assert running == {
        "host": (await served.machine(made))["publicIp"],
        "port": 22,
        "user": "paperspace",
        "authorized_keys": [pb.PUBLIC_KEY],
        "gpu": "NVIDIA RTX A6000",
        "memory_mib": 49140,
        "count": 1,
    }


async def test_a_script_that_is_deleted_before_the_boot_lets_nobody_in(served: Bench) -> None:
    script = await served.script(pb.wrapped(pb.plain()))
    made = await served.create(startupScriptId=script)
    await served.ask("DELETE", f"/startup-scripts/{script}")
    served.pass_s(pb.SSH_S)
    assert served.machines.running[f"paperspace:{made}"]["authorized_keys"] == []


async def test_a_script_that_is_deleted_after_the_boot_is_not_missed(served: Bench) -> None:
    script = await served.script(pb.wrapped(pb.plain()))
    made = await served.ready(startupScriptId=script)
    await served.ask("DELETE", f"/startup-scripts/{script}")
    await served.ask("PATCH", f"/machines/{made}/restart", {})
    assert served.machines.running == {}
    served.pass_s(65)
    assert served.machines.running[f"paperspace:{made}"]["authorized_keys"] == [pb.PUBLIC_KEY]


def _once(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "script",
    [
        pb.plain(),
        pb.wrapped(pb.plain()),
        f"echo {_once(pb.PUBLIC_KEY)} | base64 -d >> $HOME/.ssh/$NAME\n",
        f"base64 -d <<A | gunzip | sh\n{base64.b64encode(gzip.compress(pb.plain().encode())).decode()}\nA\n",
        pb.wrapped(pb.wrapped(pb.plain())),
        pb.wrapped(f"echo {_once(pb.PUBLIC_KEY)} | base64 -d"),
    ],
)
def test_a_key_is_found_plainly_or_in_base64(script: str) -> None:
    assert authorized_keys(script) == [pb.PUBLIC_KEY]


@pytest.mark.parametrize("script", ["", "true", "ssh-keygen -t ssh-ed25519", _once("no key " * 9), "A" * 101, "====\n"])
def test_a_script_without_a_key_has_none(script: str) -> None:
    assert authorized_keys(script) == []


@pytest.mark.parametrize(
    ("script", "seconds"),
    [
        ("shutdown -h +30", 1800.0),
        (pb.wrapped("systemd-run --on-active=2h systemctl poweroff\nshutdown -P +300\n"), 7200.0),
        ("systemd-run --on-active=5 echo hello", None),
        ("echo done", None),
    ],
)
def test_a_script_may_switch_the_machine_off_later(script: str, seconds: float | None) -> None:
    assert switches_off_after(script) == seconds


async def test_a_machine_that_switches_itself_off_bills_its_disk_alone(served: Bench) -> None:
    script = await served.script("shutdown -h +60")
    made = await served.create(startupScriptId=script)
    served.pass_s(pb.SERVICE_S + 3600)
    assert (await served.machine(made))["state"] == "off"
    compute = served.billed(made, "compute")
    served.pass_s(36000)
    assert (served.billed(made, "compute"), served.machines.running) == (compute, {})
    assert served.world.ledger.billing() == [made]


async def test_a_machine_without_a_public_address_answers_no_ssh(served: Bench) -> None:
    for wish in ("none", None):
        made = await served.ready(publicIpType=wish)
        found = await served.machine(made)
        assert (found["state"], found["publicIp"], found["publicIpType"]) == ("ready", None, "none")
    assert served.machines.running == {}


async def test_a_dynamic_address_is_lost_at_stop_and_another_one_comes_at_start(served: Bench) -> None:
    made = await served.ready()
    first = (await served.machine(made))["publicIp"]
    stopped = await served.ask("PATCH", f"/machines/{made}/stop", {})
    assert (stopped["data"]["state"], stopped["event"]["name"], stopped["event"]["state"]) == (
        "stopping",
        "stop",
        "new",
    )
    assert served.machines.running == {}
    served.pass_s(20)
    found = await served.machine(made)
    assert (found["state"], found["publicIp"]) == ("off", None)
    await served.ask("PATCH", f"/machines/{made}/start", {})
    error = await served.ask("PATCH", f"/machines/{made}/start", {}, status=400)
    assert error["message"] == "This machine is currently starting."
    served.pass_s(55)
    found = await served.machine(made)
    assert found["state"] == "ready"
    assert found["publicIp"] not in (None, first)
    assert await served.events(made) == [("create", "done", None), ("stop", "done", None), ("start", "done", None)]


async def test_what_cannot_be_done_in_a_state_is_refused(served: Bench) -> None:
    made = await served.create()
    for call in ("start", "stop", "restart"):
        error = await served.ask("PATCH", f"/machines/{made}/{call}", {}, status=400)
        assert error["message"] == "This machine is currently provisioning."
    await served.ask("PATCH", "/machines/psnothing/stop", {}, status=404)


async def test_a_machine_may_be_made_without_being_started(served: Bench) -> None:
    made = await served.create(startOnCreate=False)
    served.pass_s(pb.STARTING_S)
    found = await served.machine(made)
    assert (found["state"], found["publicIp"]) == ("off", None)
    assert await served.events(made) == [("create", "done", None)]


async def test_automatic_shutdown_comes_under_a_running_job(served: Bench) -> None:
    made = await served.create(autoShutdownEnabled=True, autoShutdownTimeout=1)
    assert (await served.machine(made))["autoShutdownEnabled"] is True
    served.pass_s(pb.READY_S + 3599)
    assert (await served.machine(made))["state"] == "ready"
    served.pass_s(21)
    assert (await served.machine(made))["state"] == "off"
    assert (await served.events(made))[-1] == ("stop", "done", None)


# -- the end ----------------------------------------------------------------------------------------------


async def test_a_deleted_machine_is_shown_as_such_for_a_while_and_then_unknown(served: Bench) -> None:
    made = await served.ready()
    deleted = await served.ask("DELETE", f"/machines/{made}")
    assert deleted.keys() == pb.CREATED.keys()
    assert (deleted["event"]["name"], deleted["data"]["dtDeleted"]) == ("deactivate", None)
    assert served.machines.running == {}
    found = await served.machine(made)
    assert (found["state"], found["dtDeleted"]) == ("stopping", None)
    assert await served.listed() == [made]
    served.pass_s(15)
    assert (await served.machine(made))["dtDeleted"] is not None
    assert await served.listed() == []
    assert [record.alive for record in served.emulator.records()] == [False]
    await served.ask("DELETE", f"/machines/{made}", status=404)
    served.pass_s(10)
    await served.get(f"/machines/{made}", status=404)
    assert await served.events(made) == [("create", "done", None), ("deactivate", "done", None)]


async def test_a_deleted_machine_may_vanish_at_once_or_stay_in_lists() -> None:
    async with bench(Options(deleted_shown_s=0)) as served:
        made = await served.create()
        await served.ask("DELETE", f"/machines/{made}")
        served.pass_s(15)
        await served.get(f"/machines/{made}", status=404)
    async with bench(Options(deleted_shown_s=3600, deleted_listed=True)) as served:
        made = await served.create()
        await served.ask("DELETE", f"/machines/{made}")
        served.pass_s(15)
        [item] = (await served.get("/machines"))["items"]
        assert (item["id"], item["dtDeleted"] is None) == (made, False)


@pytest.mark.parametrize(("again", "status"), [(200, 200), (404, 404), (409, 409)])
async def test_a_second_delete_may_be_answered_in_three_ways(again: Any, status: int) -> None:
    async with bench(Options(second_delete=again)) as served:
        made = await served.create()
        first = await served.ask("DELETE", f"/machines/{made}")
        second = await served.ask("DELETE", f"/machines/{made}", status=status)
        assert status != 200 or second["event"]["id"] == first["event"]["id"]
        assert await served.listed() == [made]


async def test_a_machine_that_boots_can_be_deleted_and_its_create_is_cancelled(served: Bench) -> None:
    made = await served.create()
    served.pass_s(5)
    await served.ask("DELETE", f"/machines/{made}")
    served.pass_s(15)
    assert await served.events(made) == [("create", "cancelled", None), ("deactivate", "done", None)]
    assert served.world.ledger.billing() == []
    served.pass_s(3600)
    assert served.machines.running == {}


async def test_a_static_address_stays_and_bills_when_its_machine_is_gone(served: Bench) -> None:
    made = await served.ready(publicIpType="static")
    ip = (await served.machine(made))["publicIp"]
    await served.ask("DELETE", f"/public-ips/{ip}", status=409)
    await served.ask("PATCH", f"/machines/{made}/stop", {})
    served.pass_s(20)
    assert (await served.machine(made))["publicIp"] == ip
    [shown] = (await served.get("/public-ips"))["items"]
    assert shown["assignedMachineId"] == made
    await served.ask("DELETE", f"/machines/{made}")
    served.pass_s(15)
    assert served.world.ledger.billing() == [ip]
    await served.ask("DELETE", f"/public-ips/{ip}")
    assert served.world.ledger.billing() == []


# -- the bill ---------------------------------------------------------------------------------------------


async def test_compute_bills_in_every_state_but_off_and_the_disk_always(served: Bench) -> None:
    made = await served.create()
    served.pass_s(3600)
    assert served.billed(made, "compute") == Decimal("1.89")
    await served.ask("PATCH", f"/machines/{made}/stop", {})
    served.pass_s(20)
    upto = served.billed(made, "compute")
    assert upto == (Decimal("1.89") * 3620 / 3600).quantize(Decimal("0.0001"))
    served.pass_s(7200 - 20)
    assert served.billed(made, "compute") == upto
    await served.ask("PATCH", f"/machines/{made}/start", {})
    served.pass_s(3600)
    assert served.billed(made, "compute") == upto + Decimal("1.89")
    assert served.billed(made, "disk") == Decimal("0.04")
    await served.ask("DELETE", f"/machines/{made}")
    served.pass_s(15)
    final = served.billed(made, "compute"), served.billed(made, "disk")
    served.pass_s(36000)
    assert (served.billed(made, "compute"), served.billed(made, "disk")) == final
    assert served.world.ledger.billing() == []


async def test_billing_may_be_by_the_hour_and_leave_out_provisioning() -> None:
    async with bench(Options(bill_step_s=3600, bill_boot=False)) as served:
        made = await served.create()
        served.pass_s(pb.STARTING_S - 1)
        assert (served.billed(made, "compute"), served.world.ledger.billing()) == (Decimal(0), [made])
        served.pass_s(61)
        assert served.billed(made, "compute") == Decimal("1.89")


# -- beside the wire --------------------------------------------------------------------------------------


async def test_planted_machines_run_and_bill_and_need_no_stock() -> None:
    part = pb.market(**{"GPU+": {"stock": {"NY2": 1}}})
    async with bench(part=part) as served:
        theirs, strangers = served.emulator.plant("orch-x", OWNER), served.emulator.plant("jupyter")
        shown = {item["id"]: item for item in (await served.get("/machines"))["items"]}
        assert [(shown[each]["name"], shown[each]["state"]) for each in (theirs, strangers)] == [
            ("orch-x", "ready"),
            ("jupyter", "ready"),
        ]
        assert served.world.ledger.billing() == [theirs, strangers]
        assert len(served.machines.running) == 2
        [script] = (await served.get("/startup-scripts"))["items"]
        assert (script["name"], script["assignedMachineIds"]) == ("orch-x", [theirs])


async def test_dump_and_load_round_trip_everything() -> None:
    paths = ("/machines", "/machine-events", "/startup-scripts", "/private-networks", "/public-ips")

    async def see(served: Bench) -> list[Any]:
        return [*[await served.get(path, limit=120) for path in paths], dict(served.machines.running)]

    async with bench() as first:
        faults = first.world.faults
        script = await first.script(pb.wrapped(pb.plain()))
        await first.ask("POST", "/private-networks", {"name": "net", "region": "NY2"})
        up = await first.create(startupScriptId=script, publicIpType="static")
        faults.add("wrong_gpu", gpu="NVIDIA L4", memory_mib=23034)
        wrong = await first.create(machineType="A4000")
        off, deleted = await first.ready(), await first.create()
        await first.ask("PATCH", f"/machines/{off}/stop", {})
        await first.ask("DELETE", f"/machines/{deleted}")
        first.pass_s(20)
        faults.add("price_changed", factor=2)
        booting = await first.create(machineType="A5000")
        faults.add("gone")
        await first.refused(400, "BAD_REQUEST", machineType="V100")
        faults.add("list_lag", seconds=600)
        hidden = await first.create(machineType="A4000")
        before, state, now = await see(first), first.world.dump(), first.env.now()
        records = first.emulator.records()
    async with bench(seed=9) as second:
        second.env.advance((now - second.env.now()).total_seconds())
        second.world.load(state)
        assert second.world.dump() == state
        assert second.emulator.records() == records
        assert await see(second) == before
        assert second.machines.running[f"paperspace:{up}"]["authorized_keys"] == [pb.PUBLIC_KEY]
        assert second.machines.running[f"paperspace:{wrong}"]["gpu"] == "NVIDIA L4"
        second.pass_s(600)
        states = {item["id"]: item["state"] for item in (await second.get("/machines"))["items"]}
        assert states == {up: "ready", wrong: "ready", off: "off", booting: "ready", hidden: "ready"}
        assert (await second.machine(booting))["usageRate"] == 2.76
        gone = await second.get("/machine-availability", machineType="V100", region="NY2")
        assert gone == {"available": False}


async def test_two_worlds_with_one_seed_give_the_same_machines() -> None:
    async with bench(seed=5) as first, bench(seed=5) as second:
        assert await first.machine(await first.ready()) == await second.machine(await second.ready())
