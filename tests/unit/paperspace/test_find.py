"""Finding machines, and telling those that will never run from those that will."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from providers import naming
from providers.base import Address, AttemptRef, Instance, Phase
from providers.env import ManualEnv
from providers.errors import BootFailed, NoCapacity, QuotaExceeded, Unavailable
from providers.paperspace import instances
from providers.paperspace.adapter import Paperspace
from tests.unit.paperspace.conftest import (
    MACHINE_ID,
    OWNER,
    SCRIPT_ID,
    STRANGER,
    TEAM,
    TOKEN,
    page,
    refusal,
    stamp,
)

Make = Callable[..., dict[str, Any]]
Attempt = Callable[..., AttemptRef]
READY = {"state": "ready", "publicIp": "184.105.0.7"}
GONE = {"status_code": 404, "json": refusal("NOT_FOUND", "no such machine")}


async def test_by_its_exact_name_whatever_the_filter_matches(
    cloud: Paperspace, wire: respx.MockRouter, attempt: Attempt, machine: Make
) -> None:
    rows = [machine(id="other", name=f"{TOKEN}x", **READY), machine(**READY)]
    route = wire.get("/machines").respond(json=page(*rows))
    found = await cloud.find(attempt())
    assert found is not None
    assert (found.id, found.token, found.phase) == (MACHINE_ID, TOKEN, Phase.RUNNING)
    assert found.address == Address(host="184.105.0.7", port=22, user="paperspace")
    assert route.calls.last.request.url.params["name"] == TOKEN


async def test_all_pages_are_read(cloud: Paperspace, wire: respx.MockRouter, attempt: Attempt, machine: Make) -> None:
    last = wire.get("/machines", params={"after": "7"}).respond(json=page(machine(**READY)))
    wire.get("/machines").respond(json={"items": [machine(id="x", name="y")], "hasMore": True, "nextPage": 7})
    found = await cloud.find(attempt())
    assert found is not None
    assert last.call_count == 1


@pytest.mark.parametrize(
    "body",
    [
        {"items": [], "hasMore": True, "nextPage": None},
        {"items": [], "hasMore": True, "nextPage": "again"},
        {"items": None},
        {"rows": []},
        [],
        {"items": ["text"], "hasMore": False},
    ],
)
async def test_a_list_that_makes_no_sense_is_no_absence(
    cloud: Paperspace, wire: respx.MockRouter, attempt: Attempt, body: Any
) -> None:
    wire.get("/machines").respond(json=body)
    with pytest.raises(Unavailable):
        await cloud.find(attempt())


async def test_a_live_machine_counts_before_a_deleted_one_of_the_same_name(
    cloud: Paperspace, wire: respx.MockRouter, attempt: Attempt, machine: Make
) -> None:
    dead = machine(id="dead", dtDeleted="2026-11-22T00:00:00Z")
    wire.get("/machines").respond(json=page(dead, machine(**READY)))
    assert replace_id(await cloud.find(attempt())) == MACHINE_ID
    wire.get("/machines").respond(json=page(dead))
    found = await cloud.find(attempt())
    assert found is not None
    assert (found.phase, found.usd_per_hour) == (Phase.GONE, None)


def replace_id(instance: Instance | None) -> str | None:
    return None if instance is None else instance.id


async def test_by_id_and_its_rate_may_be_a_text(
    cloud: Paperspace, wire: respx.MockRouter, attempt: Attempt, machine: Make
) -> None:
    wire.get(f"/machines/{MACHINE_ID}").respond(json=machine(**READY, usageRate="2.13", ram="48318382080"))
    found = await cloud.find(attempt(instance_id=MACHINE_ID))
    assert found is not None
    assert found.usd_per_hour == Decimal("2.13")


async def test_an_address_that_the_list_lacks_is_fetched(
    cloud: Paperspace, wire: respx.MockRouter, attempt: Attempt, machine: Make
) -> None:
    wire.get("/machines").respond(json=page(machine(state="ready")))
    wire.get(f"/machines/{MACHINE_ID}").respond(json=machine(**READY))
    found = await cloud.find(attempt())
    assert found is not None
    assert found.address is not None


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("provisioning", Phase.PENDING),
        ("starting", Phase.PENDING),
        ("restarting", Phase.PENDING),
        ("upgrading", Phase.PENDING),
        ("serviceready", Phase.PENDING),
        ("stopping", Phase.STOPPING),
        ("dreaming", Phase.UNKNOWN),
        (None, Phase.UNKNOWN),
    ],
)
async def test_states_are_phases_and_only_ready_has_an_address(
    cloud: Paperspace, wire: respx.MockRouter, attempt: Attempt, machine: Make, state: Any, phase: Phase
) -> None:
    wire.get(f"/machines/{MACHINE_ID}").respond(json=machine(state=state, publicIp="184.105.0.7"))
    found = await cloud.find(attempt(instance_id=MACHINE_ID))
    assert found is not None
    assert (found.phase, found.address) == (phase, None)


# -- machines that will never run -------------------------------------------------------------------------


def event(env: ManualEnv, name: str, state: str, *, age: float = 0.0, error: str | None = None) -> dict[str, Any]:
    return {
        "id": f"ev-{name}-{age}",
        "machineId": MACHINE_ID,
        "name": name,
        "state": state,
        "error": error,
        "dtCreated": stamp(env, age),
    }


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("Insufficient capacity", NoCapacity),
        ("team machine limit reached", QuotaExceeded),
        ("disk image is broken", BootFailed),
        (None, BootFailed),
    ],
)
async def test_a_failed_create_shows_in_the_events_alone(
    cloud: Paperspace,
    wire: respx.MockRouter,
    attempt: Attempt,
    machine: Make,
    env: ManualEnv,
    error: str | None,
    expected: type[Exception],
) -> None:
    wire.get(f"/machines/{MACHINE_ID}").respond(json=machine(age=5))
    others = {**event(env, "create", "done", age=1), "machineId": "other"}
    wire["events"].respond(json=page(others, event(env, "create", "error", age=5, error=error)))
    found = await cloud.find(attempt(instance_id=MACHINE_ID))
    assert found is not None
    assert found.phase is Phase.FAILED
    assert type(found.failure) is expected
    assert wire["events"].calls.last.request.url.params["machineId"] == MACHINE_ID


@pytest.mark.parametrize(
    ("age", "state", "phase"),
    [
        (10, None, Phase.PENDING),
        (10, "done", Phase.PENDING),
        (60, None, Phase.FAILED),
        (60, "done", Phase.FAILED),
        (60, "in progress", Phase.PENDING),
        (400, "in progress", Phase.FAILED),
        (400, "new", Phase.FAILED),
    ],
)
async def test_a_machine_that_stays_off_is_a_lack_of_capacity(
    cloud: Paperspace,
    wire: respx.MockRouter,
    attempt: Attempt,
    machine: Make,
    env: ManualEnv,
    age: float,
    state: str | None,
    phase: Phase,
) -> None:
    wire.get(f"/machines/{MACHINE_ID}").respond(json=machine(age=age, state="off"))
    wire["events"].respond(json=page(*([event(env, "create", state, age=age)] if state else [])))
    found = await cloud.find(attempt(instance_id=MACHINE_ID))
    assert found is not None
    assert found.phase is phase
    assert (type(found.failure) if found.failure else None) is (NoCapacity if phase is Phase.FAILED else None)


async def test_a_machine_that_somebody_stopped_is_not_a_lack_of_capacity(
    cloud: Paperspace, wire: respx.MockRouter, attempt: Attempt, machine: Make, env: ManualEnv
) -> None:
    wire.get(f"/machines/{MACHINE_ID}").respond(json=machine(age=4000, state="off"))
    wire["events"].respond(json=page(event(env, "stop", "done", age=60), event(env, "create", "done", age=4000)))
    found = await cloud.find(attempt(instance_id=MACHINE_ID))
    assert found is not None
    assert found.phase is Phase.FAILED
    assert found.failure is not None
    assert (type(found.failure), found.failure.code) == (BootFailed, "stopped")


async def test_without_events_the_age_still_tells(
    cloud: Paperspace, wire: respx.MockRouter, attempt: Attempt, machine: Make
) -> None:
    wire.get(f"/machines/{MACHINE_ID}").respond(json=machine(age=60, state="off"))
    wire["events"].respond(status_code=500, json=refusal("INTERNAL_SERVER_ERROR", "sorry"))
    found = await cloud.find(attempt(instance_id=MACHINE_ID))
    assert found is not None
    assert isinstance(found.failure, NoCapacity)


# -- machines that are not there --------------------------------------------------------------------------


async def test_a_machine_missed_early_is_not_gone_yet_and_later_is(
    cloud: Paperspace, wire: respx.MockRouter, attempt: Attempt, env: ManualEnv
) -> None:
    wire.get(f"/machines/{MACHINE_ID}").respond(**GONE)
    wire.get("/machines").respond(json=page())
    handle = {"kind": "machine", "name": TOKEN, "made_at": env.now().isoformat()}
    ref = attempt(instance_id=MACHINE_ID, handle=handle)
    assert await cloud.find(ref) is None
    env.advance(200)
    found = await cloud.find(ref)
    assert found is not None
    assert found.phase is Phase.GONE


async def test_a_machine_that_the_list_still_has_is_not_gone(
    cloud: Paperspace, wire: respx.MockRouter, attempt: Attempt, machine: Make
) -> None:
    wire.get(f"/machines/{MACHINE_ID}").respond(**GONE)
    wire.get("/machines").respond(json=page(machine(**READY)))
    found = await cloud.find(attempt(instance_id=MACHINE_ID))
    assert found is not None
    assert found.phase is Phase.RUNNING


async def test_missing_under_another_account_proves_nothing(
    cloud: Paperspace, wire: respx.MockRouter, attempt: Attempt
) -> None:
    wire.get(f"/machines/{MACHINE_ID}").respond(**GONE)
    wire.get("/machines").respond(json=page())
    assert await cloud.find(attempt(instance_id=MACHINE_ID, account="te-other")) is None


async def test_a_script_alone_is_no_machine_and_is_swept_once_no_launch_can_still_need_it(
    cloud: Paperspace, wire: respx.MockRouter, attempt: Attempt, script: Make, env: ManualEnv
) -> None:
    wire.get("/machines").respond(json=page())
    rows = page(script(), script(id="ss-human", name=f"{TOKEN} copy"))
    wire["scripts"].respond(json=rows)
    drop = wire.delete(f"/startup-scripts/{SCRIPT_ID}").respond(json={})
    assert await cloud.find(attempt()) is None
    assert not drop.called
    env.advance(700)
    assert await cloud.find(attempt()) is None
    assert drop.call_count == 1


async def test_a_sweep_that_fails_does_not_hide_what_was_found(
    cloud: Paperspace, wire: respx.MockRouter, attempt: Attempt
) -> None:
    wire.get("/machines").respond(json=page())
    wire["scripts"].mock(side_effect=httpx.ConnectError("down"))
    assert await cloud.find(attempt()) is None
    assert wire["scripts"].called


# -- owned ------------------------------------------------------------------------------------------------


async def test_ours_are_told_by_their_names(cloud: Paperspace, wire: respx.MockRouter, machine: Make) -> None:
    rows = [
        machine(age=90, **READY),
        machine(id="deleted", name=naming.make(OWNER, "abcdefghi", 2), dtDeleted="2026-11-22T00:00:00Z"),
        machine(id="stranger", name=naming.make(STRANGER, "abcdefghi", 1)),
        machine(id="human", name="my box"),
        machine(id="off", name=naming.make(OWNER, "abcdefghi", 3), state="off", age=900),
    ]
    wire.get("/machines").respond(json=page(*rows))
    found = await cloud.owned()
    assert [(one.id, one.phase) for one in found] == [(MACHINE_ID, Phase.RUNNING), ("off", Phase.FAILED)]
    assert found[0].handle == {"kind": "machine", "name": TOKEN}
    assert found[0].created_at is not None


async def test_a_script_is_shown_only_where_no_machine_of_its_name_lives(
    cloud: Paperspace, wire: respx.MockRouter, machine: Make, script: Make
) -> None:
    orphan = naming.make(OWNER, "abcdefghi", 9)
    rows = [
        script(),
        script(id="ss-orphan", name=orphan, age=100),
        script(id="ss-deleted", name=naming.make(OWNER, "abcdefghi", 8), dtDeleted="2026-11-22T00:00:00Z"),
        script(id="ss-stranger", name=naming.make(STRANGER, "abcdefghi", 9)),
        script(id="ss-human", name="setup"),
    ]
    wire["scripts"].respond(json=page(*rows))
    wire.get("/machines").respond(json=page(machine(**READY)))
    first, second = await cloud.owned()
    assert first.id == MACHINE_ID
    assert (second.id, second.token, second.phase) == ("ss-orphan", orphan, Phase.FAILED)
    assert second.handle == {"kind": "startup-script", "name": orphan}
    assert second.created_at is not None


async def test_a_row_of_ours_without_an_id_makes_the_list_unreadable(
    cloud: Paperspace, wire: respx.MockRouter, machine: Make
) -> None:
    wire.get("/machines").respond(json=page(machine(id=None)))
    with pytest.raises(Unavailable):
        await cloud.owned()


async def test_a_list_of_scripts_that_cannot_be_read_is_no_empty_cloud(
    cloud: Paperspace, wire: respx.MockRouter
) -> None:
    wire.get("/machines").respond(json=page())
    wire["scripts"].respond(status_code=404, json=refusal("NOT_FOUND", "moved"))
    with pytest.raises(Unavailable):
        await cloud.owned()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["name", "state", "publicIp", "usageRate", "dtCreated", "dtDeleted", "machineType"]
EVENT_FIELDS = ["name", "state", "error", "dtCreated"]
EVENT_NAMES = st.sampled_from(["create", "start", "stop", "new", "error", "off"])


@given(
    machine=st.dictionaries(st.sampled_from(FIELDS), VALUES | st.sampled_from(["off", "ready"])),
    events=st.lists(st.dictionaries(st.sampled_from(EVENT_FIELDS), VALUES | EVENT_NAMES), max_size=4),
)
def test_whatever_a_machine_looks_like_it_is_read(machine: dict[str, Any], events: list[dict[str, Any]]) -> None:
    seen = instances.read({**machine, "id": "ps1"}, account=TEAM, now=ManualEnv().now(), events=events)
    assert (seen.failure is not None) == (seen.phase is Phase.FAILED)
    assert seen.usd_per_hour is None or seen.usd_per_hour > 0
    assert replace(seen).id == "ps1"


async def test_a_filter_that_matches_in_its_own_way_hides_nothing(
    cloud: Paperspace, wire: respx.MockRouter, attempt: Attempt, machine: Make
) -> None:
    # What the filter by name matches is not documented: here, nothing at all.
    wire.get("/machines", params={"name": TOKEN}).respond(json=page())
    wire.get("/machines").respond(json=page(machine(id="other", name="box"), machine(**READY)))
    found = await cloud.find(attempt())
    assert found is not None
    assert found.id == MACHINE_ID


async def test_a_filter_that_matches_in_its_own_way_keeps_no_script(
    cloud: Paperspace, wire: respx.MockRouter, script: Make, stored: Callable[..., Instance]
) -> None:
    there = [script()]
    wire["scripts"].mock(
        side_effect=lambda request: httpx.Response(200, json=page(*([] if "name" in request.url.params else there)))
    )
    wire.get("/machines").respond(json=page())
    wire.delete(f"/machines/{MACHINE_ID}").respond(404, json=refusal("NOT_FOUND", "no"))

    def drop(request: httpx.Request) -> httpx.Response:
        there.clear()
        return httpx.Response(200, json={})

    wire.delete(f"/startup-scripts/{SCRIPT_ID}").mock(side_effect=drop)
    assert await cloud.terminate(stored())
    assert not there
