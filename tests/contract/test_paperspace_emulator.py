"""Paperspace's emulator on the wire: answers, lists, the way in, and what a request may hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from providers.env import ManualEnv
from providers.paperspace.emulator import PaperspaceEmulator
from providers.paperspace.emulator_options import Options
from providers.sandbox.world import World
from tests.contract import paperspace_bench as pb
from tests.contract.paperspace_bench import Bench, bench, body


@pytest.fixture
async def served() -> AsyncIterator[Bench]:
    async with bench() as made:
        yield made


def _fields(kind: str) -> set[str]:
    return set(pb.FIELDS[kind].split())


# -- machines ---------------------------------------------------------------------------------------------


async def test_a_create_is_answered_like_the_sample(served: Bench) -> None:
    made = await served.ask("POST", "/machines", body())
    assert made.keys() == pb.CREATED.keys()
    for part, sample in pb.CREATED.items():
        assert made[part].keys() == sample.keys()
        for name in sample.keys() - pb.OWN:
            assert made[part][name] == sample[name], name
            assert type(made[part][name]) is type(sample[name]), name
    assert made["event"]["machineId"] == made["data"]["id"]
    assert len(made["data"]["dtCreated"]) == len(pb.CREATED["data"]["dtCreated"])
    assert made["data"]["dtCreated"].endswith("Z")


async def test_a_machine_is_read_without_a_wrapper(served: Bench) -> None:
    made = await served.create()
    assert (await served.machine(made))["id"] == made
    error = await served.get("/machines/ps0nowhere", status=404)
    assert error["code"] == "NOT_FOUND"


async def test_a_list_goes_over_pages_newest_first(served: Bench) -> None:
    made = []
    for number in range(5):
        made.append(await served.create(name=f"m{number}", machineType="P4000"))
        served.pass_s(1)
    first = await served.get("/machines", limit=2)
    assert first.keys() == {"items", "hasMore", "nextPage"}
    assert ([item["id"] for item in first["items"]], first["hasMore"]) == (made[:2:-1], True)
    # What is deleted or made meanwhile does not disturb the pages that follow.
    await served.ask("DELETE", f"/machines/{made[3]}")
    served.pass_s(15)
    await served.create(name="late", machineType="P4000")
    second = await served.get("/machines", limit=2, after=first["nextPage"])
    third = await served.get("/machines", limit=2, after=second["nextPage"])
    assert [item["id"] for page in (second, third) for item in page["items"]] == [made[2], made[1], made[0]]
    assert (third["hasMore"], third["nextPage"]) == (False, None)
    rising = await served.get("/machines", orderBy="name", order="asc", limit=120)
    assert [item["name"] for item in rising["items"]] == ["late", "m0", "m1", "m2", "m4"]


async def test_a_page_has_an_end_even_if_nobody_asked_for_one() -> None:
    async with bench(Options(page_size=3)) as served:
        for _ in range(4):
            await served.create(machineType="P4000")
        found = await served.get("/machines")
        assert (len(found["items"]), found["hasMore"]) == (3, True)
        assert len(await served.listed(after=found["nextPage"])) == 1


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "121"}, {"limit": "x"}, {"orderBy": "state"}, {"order": "up"}, {"after": "x"}]
)
async def test_a_list_that_is_asked_for_wrongly_is_refused(served: Bench, query: dict[str, str]) -> None:
    error = await served.get("/machines", status=400, **query)
    assert error["code"] == "BAD_REQUEST"
    [issue] = error["issues"]
    assert issue["path"] == list(query)
    assert issue["message"]


async def test_a_list_is_filtered_by_name_region_and_type(served: Bench) -> None:
    one = await served.create(name="orch-a")
    two = await served.create(name="orch-a-too", region="CA1")
    three = await served.create(name="other", machineType="A4000", region="West Coast (CA1)")
    assert set(await served.listed(name="orch-A")) == {one, two}
    assert set(await served.listed(region="ca1")) == {two, three}
    assert await served.listed(region="West Coast (CA1)", machineType="A4000") == [three]
    served.emulator.options.name_match = "exact"
    assert await served.listed(name="orch-a") == [one]
    assert await served.get("/machines", region="MARS1", status=400)


@pytest.mark.parametrize("spelling", ["NY2", "ny2", "East Coast (NY2)"])
async def test_a_region_may_be_spelt_in_several_ways(served: Bench, spelling: str) -> None:
    found = await served.machine(await served.create(region=spelling))
    assert found["region"] == "East Coast (NY2)"


@pytest.mark.parametrize(("form", "shown"), [("short", "NY2"), ("lower", "ny2")])
async def test_a_machine_may_spell_its_region_otherwise(form: Any, shown: str) -> None:
    async with bench(Options(machine_region=form)) as served:
        assert (await served.machine(await served.create()))["region"] == shown


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"machineType": None}, "machineType"),
        ({"machineType": "L40S"}, "machineType"),
        ({"templateId": 7}, "templateId"),
        ({"diskSize": None}, "diskSize"),
        ({"diskSize": "100"}, "diskSize"),
        ({"diskSize": 64}, "diskSize"),
        ({"region": "US1"}, "region"),
        ({"region": None}, "region"),
        ({"publicIpType": "elastic"}, "publicIpType"),
        ({"startOnCreate": "yes"}, "startOnCreate"),
        ({"autoShutdownTimeout": "1"}, "autoShutdownTimeout"),
        ({"accessorIds": "me"}, "accessorIds"),
    ],
)
async def test_a_create_that_breaks_a_rule_is_refused(served: Bench, changes: dict[str, Any], wrong: str) -> None:
    error = await served.ask("POST", "/machines", body(**changes), status=400)
    assert error["code"] == "BAD_REQUEST"
    assert [issue["path"] for issue in error["issues"]] == [[wrong]]
    assert served.emulator.records() == []


async def test_all_broken_rules_are_named_at_once_and_unknown_fields_ignored(served: Bench) -> None:
    error = await served.ask("POST", "/machines", {"colour": "red"}, status=400)
    assert {issue["path"][0] for issue in error["issues"]} == {
        "name",
        "machineType",
        "templateId",
        "region",
        "diskSize",
    }
    assert {issue["message"] for issue in error["issues"]} == {"Required"}
    await served.create(colour="red")


async def test_what_a_create_names_must_be_there(served: Bench) -> None:
    assert "emplate" in await served.refused(404, "NOT_FOUND", templateId="tnothing")
    assert "script" in await served.refused(404, "NOT_FOUND", startupScriptId="ssnothing")
    assert "network" in await served.refused(404, "NOT_FOUND", networkId="nnothing")
    await served.refused(400, "BAD_REQUEST", templateId="twindows1", machineType="A100-80G")


async def test_an_update_changes_the_name_at_once_and_the_hardware_only_while_off(served: Bench) -> None:
    made = await served.ready()
    changed = await served.ask("PUT", f"/machines/{made}", {"name": "other"})
    assert (list(changed), changed["data"]["name"]) == (["data"], "other")
    await served.ask("PUT", f"/machines/{made}", {"diskSize": 250}, status=400)
    await served.ask("PATCH", f"/machines/{made}/stop", {})
    served.pass_s(20)
    await served.ask("PUT", f"/machines/{made}", {"diskSize": 50}, status=400)
    data = (await served.ask("PUT", f"/machines/{made}", {"diskSize": 250, "machineType": "A4000"}))["data"]
    assert (data["storageTotal"], data["usageRate"], data["storageRate"]) == (250 * 2**30, 0.76, 0.025)


async def test_sizes_may_come_as_text_and_answers_with_more_fields() -> None:
    async with bench(Options(text_numbers=True)) as served:
        found = await served.machine(await served.create())
        assert (found["ram"], found["storageTotal"], found["storageUsed"]) == ("48318382080", "107374182400", "0")
    async with bench(Options(extra_fields=True)) as served:
        made = await served.ask("POST", "/machines", body())
        assert "xNewField" in made["data"].keys() & made.keys() & made["data"]["accelerators"][0].keys()


# -- the way in -------------------------------------------------------------------------------------------


async def test_without_the_key_there_is_health_templates_and_an_empty_session(served: Bench) -> None:
    served.http.headers.pop("authorization")
    assert await served.get("/health") == "HEALTHY"
    assert await served.get("/auth/session") is None
    assert (await served.get("/os-templates"))["items"]
    for path in ("/machines", "/startup-scripts", "/billing/account-standing", "/machine-events", "/public-ips"):
        assert (await served.get(path, status=401))["code"] == "UNAUTHORIZED"
    served.emulator.options.public_templates = False
    await served.get("/os-templates", status=401)


@pytest.mark.parametrize("header", ["Bearer wrong", "bearer  wrong"])
async def test_a_wrong_key_is_refused_by_the_session_too(served: Bench, header: str) -> None:
    served.http.headers["authorization"] = header
    for path in ("/auth/session", "/machines"):
        assert (await served.get(path, status=401))["code"] == "UNAUTHORIZED"


async def test_the_session_names_team_and_user(served: Bench) -> None:
    found = await served.get("/auth/session")
    assert (found["team"].keys(), found["user"].keys()) == (_fields("team"), _fields("user"))
    assert found["team"]["maxMachines"] == 20
    assert {type(found[part]["id"]) for part in ("team", "user")} == {int}


async def test_paths_and_methods_that_do_not_exist(served: Bench) -> None:
    assert (await served.get("/gpus", status=404))["code"] == "NOT_FOUND"
    assert (await served.http.get("/machines")).status_code == 404  # without the version
    assert (await served.ask("PUT", "/machines", {}, status=405))["code"] == "METHOD_NOT_SUPPORTED"


async def test_a_body_must_be_what_its_type_says(served: Bench) -> None:
    headers = {"content-type": "application/json"}
    for content, code in ((b"{", "PARSE_ERROR"), (b"", "PARSE_ERROR"), (b"[]", "BAD_REQUEST")):
        answer = await served.http.post("/v1/machines", content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_an_empty_patch_needs_an_empty_object_or_no_type_at_all(served: Bench) -> None:
    made = await served.ready()
    path = f"/v1/machines/{made}"
    answer = await served.http.patch(f"{path}/stop", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "PARSE_ERROR")
    assert (await served.http.patch(f"{path}/stop")).status_code == 200
    served.pass_s(20)
    assert (await served.http.patch(f"{path}/start", json={})).status_code == 200


# -- the catalogue ----------------------------------------------------------------------------------------


async def test_availability_is_asked_for_one_type_in_one_region() -> None:
    async with bench(part=pb.market(A6000={"stock": {"NY2": 1}})) as served:

        async def ask(region: str) -> Any:
            return await served.get("/machine-availability", machineType="A6000", region=region)

        assert await ask("NY2") == {"available": True}
        assert await ask("AMS1") == {"available": False}
        made = await served.create()
        assert await ask("NY2") == {"available": False}
        await served.ask("DELETE", f"/machines/{made}")
        served.pass_s(15)
        assert await ask("East Coast (NY2)") == {"available": True}


@pytest.mark.parametrize(
    ("query", "wrong"),
    [({"machineType": "A6000"}, ["region"]), ({"region": "NY2"}, ["machineType"]), ({}, ["machineType", "region"])],
)
async def test_availability_needs_both_of_its_parameters(
    served: Bench, query: dict[str, str], wrong: list[str]
) -> None:
    error = await served.get("/machine-availability", status=400, **query)
    assert [issue["path"][0] for issue in error["issues"]] == wrong


async def test_templates_say_which_machine_types_they_run_on() -> None:
    async with bench(Options(approved=frozenset({"H100"}))) as served:
        [found] = (await served.get("/os-templates", name="Ubuntu 20"))["items"]
        assert found.keys() == _fields("template")
        usable = {row["machineTypeLabel"]: row["isAvailable"] for row in found["availableMachineTypes"]}
        assert (usable["A6000"], usable["H100"], usable["H100x8"]) == (True, True, False)
        assert "L40S" not in usable
        assert len((await served.get("/os-templates"))["items"]) == 4
        assert (await served.get("/custom-templates"))["items"] == []


async def test_the_market_has_the_types_and_prices_that_are_published(served: Bench) -> None:
    types = served.emulator.market.types
    published = {
        "A6000": "1.89",
        "A5000": "1.38",
        "A4000": "0.76",
        "V100": "2.30",
        "P6000": "1.10",
        "H100": "5.95",
        "A100-80G": "3.18",
        "P4000": "0.51",
    }
    assert {label: str(types[label].usd_per_hour) for label in published} == published
    in_amsterdam = {label for label in types if "AMS1" in served.emulator.market.sold_in(label)}
    assert in_amsterdam - {"C5"} == {"GPU+", "P4000", "P5000", "P6000", "RTX4000", "A4000", "V100"}


# -- what lies around machines ----------------------------------------------------------------------------


async def test_startup_scripts_are_made_listed_changed_and_deleted(served: Bench) -> None:
    made = await served.script("#!/bin/sh\ntrue\n")
    other = await served.script("true", name="other", isRunOnce=False)
    machine = await served.create(startupScriptId=made)
    shown = await served.get(f"/startup-scripts/{made}")
    assert shown.keys() == _fields("script")
    assert (shown["isRunOnce"], shown["isEnabled"], shown["assignedMachineIds"]) == (True, True, [machine])
    found = await served.get("/startup-scripts", name="orch-7k3m9q2x")
    assert [item["id"] for item in found["items"]] == [made]
    assert (await served.ask("PUT", f"/startup-scripts/{other}", {"name": "new"}))["name"] == "new"
    assert (await served.ask("DELETE", f"/startup-scripts/{made}"))["dtDeleted"]
    for method in ("GET", "DELETE"):
        await served.ask(method, f"/startup-scripts/{made}", status=404)
    error = await served.ask("POST", "/startup-scripts", {"name": "x"}, status=400)
    assert error["issues"][0]["path"] == ["script"]


async def test_a_script_in_use_may_be_kept_from_being_deleted() -> None:
    async with bench(Options(script_delete_in_use=False)) as served:
        made = await served.script("true")
        machine = await served.create(startupScriptId=made)
        assert (await served.ask("DELETE", f"/startup-scripts/{made}", status=409))["code"] == "CONFLICT"
        await served.ask("DELETE", f"/machines/{machine}")
        served.pass_s(15)
        await served.ask("DELETE", f"/startup-scripts/{made}")


async def test_a_private_network_waits_for_its_machines(served: Bench) -> None:
    network = await served.ask("POST", "/private-networks", {"name": "net", "region": "NY2"})
    assert network.keys() == _fields("network")
    assert (network["netmask"], network["region"]) == ("255.255.255.0", "ny2")
    await served.refused(400, "BAD_REQUEST", networkId=network["id"], region="CA1")
    made = await served.create(networkId=network["id"])
    assert (await served.machine(made))["networkId"] == network["id"]
    await served.ask("DELETE", f"/private-networks/{network['id']}", status=409)
    await served.ask("DELETE", f"/machines/{made}")
    served.pass_s(15)
    await served.ask("DELETE", f"/private-networks/{network['id']}")
    assert (await served.get("/private-networks"))["items"] == []


async def test_a_claimed_address_bills_until_it_is_released(served: Bench) -> None:
    claimed = await served.ask("POST", "/public-ips", {"region": "CA1"})
    assert claimed.keys() == _fields("ip")
    assert (await served.get("/public-ips", region="ca1"))["items"] == [claimed]
    assert served.world.ledger.billing() == [claimed["ip"]]
    await served.ask("DELETE", f"/public-ips/{claimed['ip']}")
    await served.ask("DELETE", f"/public-ips/{claimed['ip']}", status=404)
    assert served.world.ledger.billing() == []


# -- the kit's side ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "verb"),
    [
        ("GET", "/v1/machine-availability", "offers"),
        ("POST", "/v1/machines", "launch"),
        ("GET", "/v1/machines", "owned"),
        ("GET", "/v1/machines/abc", "find"),
        ("DELETE", "/v1/machines/abc", "terminate"),
        ("PUT", "/v1/machines/abc", "other"),
        ("PATCH", "/v1/machines/abc/stop", "other"),
        ("GET", "/v1/auth/session", "account"),
        ("POST", "/v1/startup-scripts", "other"),
        ("DELETE", "/v1/startup-scripts/abc", "other"),
        ("GET", "/v1/os-templates", "other"),
        ("GET", "/elsewhere", "other"),
    ],
)
def test_which_verb_of_the_contract_a_request_serves(method: str, path: str, verb: str) -> None:
    assert PaperspaceEmulator(World(ManualEnv())).verb(method, path) == verb


async def test_a_list_with_a_name_is_a_find(served: Bench) -> None:
    verbs: list[str] = []
    served.world.recorder = lambda exchange: verbs.append(exchange.verb)
    await served.get("/machines", limit=5)
    await served.get("/machines", name="orch-x", limit=5)
    assert verbs == ["owned", "find"]


def test_its_settings_are_a_key_and_a_url_without_the_version() -> None:
    found = PaperspaceEmulator(World(ManualEnv())).environment("http://127.0.0.1:1/paperspace")
    assert found == {
        "PAPERSPACE_API_KEY": "paperspace-sandbox-key",
        "ORCH_PAPERSPACE_URL": "http://127.0.0.1:1/paperspace",
    }
