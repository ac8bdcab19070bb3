"""Ends: True only once the machine is gone and its startup script is, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import respx

from providers.base import Instance
from providers.env import ManualEnv
from providers.errors import AuthFailed, Forbidden, Unavailable, Unclassified
from providers.paperspace.adapter import Paperspace
from tests.unit.paperspace.conftest import MACHINE_ID, SCRIPT_ID, TOKEN, page, paths, refusal

Make = Callable[..., dict[str, Any]]
Stored = Callable[..., Instance]
GONE = {"status_code": 404, "json": refusal("NOT_FOUND", "no such machine")}
MACHINE, SCRIPT = f"/machines/{MACHINE_ID}", f"/startup-scripts/{SCRIPT_ID}"
ALONE = {"id": SCRIPT_ID, "handle": {"kind": "startup-script", "name": TOKEN}}


def listed_until(wire: respx.MockRouter, drop: respx.Route, *rows: dict[str, Any]) -> None:
    """The startup scripts that there are until *drop* is called, and then no more."""
    wire["scripts"].mock(side_effect=lambda _: httpx.Response(200, json=page(*(() if drop.called else rows))))


async def test_asked_is_not_yet_gone(
    cloud: Paperspace, wire: respx.MockRouter, stored: Stored, machine: Make, script: Make
) -> None:
    end = wire.delete(MACHINE).respond(json={"data": machine(), "event": {"name": "deactivate", "state": "new"}})
    wire.get(MACHINE).respond(json=machine(state="stopping"))
    wire["scripts"].respond(json=page(script()))
    drop = wire.delete(SCRIPT)
    assert not await cloud.terminate(stored())
    assert end.call_count == 1
    assert not drop.called  # a machine that still lives may need it


@pytest.mark.parametrize("listed", [True, False])
async def test_gone_by_its_own_mark_or_by_absence_and_then_the_script_goes(
    cloud: Paperspace, wire: respx.MockRouter, stored: Stored, machine: Make, script: Make, listed: bool
) -> None:
    wire.delete(MACHINE).respond(json={"data": machine(), "event": {}})
    wire.get("/machines").respond(json=page())
    if listed:
        wire.get(MACHINE).respond(json=machine(state="off", dtDeleted="2026-11-22T12:00:00Z"))
    else:
        wire.get(MACHINE).respond(**GONE)
    drop = wire.delete(SCRIPT).respond(json={})
    listed_until(wire, drop, script(), script(id="ss-human", name=f"{TOKEN} copy"))
    assert await cloud.terminate(stored())
    assert drop.call_count == 1
    assert paths(wire).index(f"DELETE {MACHINE}") < paths(wire).index(f"DELETE {SCRIPT}")


async def test_the_handle_alone_is_enough(
    cloud: Paperspace, wire: respx.MockRouter, stored: Stored, script: Make
) -> None:
    wire.delete(MACHINE).respond(**GONE)
    wire.get("/machines").respond(json=page())
    listed_until(wire, wire.delete(SCRIPT).respond(json={}), script())
    assert await cloud.terminate(stored(token=None))


async def test_a_script_that_stays_listed_is_not_gone(
    cloud: Paperspace, wire: respx.MockRouter, stored: Stored, script: Make
) -> None:
    wire.delete(MACHINE).respond(**GONE)
    wire.get("/machines").respond(json=page())
    wire["scripts"].respond(json=page(script()))
    wire.delete(SCRIPT).respond(json={})
    assert not await cloud.terminate(stored())


async def test_a_second_end_is_as_good_as_the_first(cloud: Paperspace, wire: respx.MockRouter, stored: Stored) -> None:
    wire.delete(MACHINE).respond(**GONE)
    wire.get("/machines").respond(json=page())
    assert await cloud.terminate(stored())
    assert await cloud.terminate(stored())


async def test_not_found_is_not_believed_of_a_machine_that_was_made_a_moment_ago(
    cloud: Paperspace, wire: respx.MockRouter, stored: Stored, env: ManualEnv
) -> None:
    wire.delete(MACHINE).respond(**GONE)
    wire.get("/machines").respond(json=page())
    young = stored(handle={"kind": "machine", "name": TOKEN, "made_at": env.now().isoformat()})
    assert not await cloud.terminate(young)
    env.advance(30)
    assert await cloud.terminate(young)


async def test_not_found_is_not_believed_while_the_list_has_it(
    cloud: Paperspace, wire: respx.MockRouter, stored: Stored, machine: Make
) -> None:
    wire.delete(MACHINE).respond(**GONE)
    wire.get("/machines").respond(json=page(machine()))
    assert not await cloud.terminate(stored())


async def test_a_page_that_is_not_found_is_no_machine_that_is_gone(
    cloud: Paperspace, wire: respx.MockRouter, stored: Stored
) -> None:
    wire.delete(MACHINE).respond(status_code=404, html="<html>nothing here</html>")
    with pytest.raises(Unavailable):
        await cloud.terminate(stored())


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (409, refusal("CONFLICT", "no")),
        (412, refusal("PRECONDITION_FAILED", "no")),
        (400, refusal("BAD_REQUEST", "This machine is currently provisioning.")),
    ],
)
async def test_a_busy_machine_is_asked_again_later(
    cloud: Paperspace, wire: respx.MockRouter, stored: Stored, machine: Make, status: int, body: dict[str, Any]
) -> None:
    wire.delete(MACHINE).respond(status_code=status, json=body)
    wire.get(MACHINE).respond(json=machine())
    assert not await cloud.terminate(stored())


@pytest.mark.parametrize(
    ("status", "code", "expected"), [(401, "UNAUTHORIZED", AuthFailed), (418, "TEAPOT", Unclassified)]
)
async def test_a_refused_end_raises(
    cloud: Paperspace, wire: respx.MockRouter, stored: Stored, status: int, code: str, expected: type[Exception]
) -> None:
    wire.delete(MACHINE).respond(status_code=status, json=refusal(code, "no"))
    with pytest.raises(expected):
        await cloud.terminate(stored())


async def test_not_found_under_another_account_proves_nothing(
    cloud: Paperspace, wire: respx.MockRouter, stored: Stored
) -> None:
    wire.delete(MACHINE).respond(**GONE)
    wire.get("/machines").respond(json=page())
    with pytest.raises(Forbidden):
        await cloud.terminate(stored(account="te-other"))
    with pytest.raises(Forbidden):
        await cloud.terminate(stored(account="te-other", **ALONE))


async def test_a_script_alone_is_ended(
    cloud: Paperspace, wire: respx.MockRouter, stored: Stored, machine: Make, script: Make
) -> None:
    dead = machine(dtDeleted="2026-11-22T12:00:00Z")
    wire.get("/machines").respond(json=page(dead, machine(id="other", name=f"{TOKEN}x")))
    drop = wire.delete(SCRIPT).respond(json={})
    twin = wire.delete("/startup-scripts/ss-twin")
    listed_until(wire, drop, script(), script(id="ss-twin"))
    assert await cloud.terminate(stored(**ALONE))
    # A twin may be a later try's, whose machine is not listed yet; `owned` shows it for itself.
    assert (drop.call_count, twin.call_count) == (1, 0)


async def test_a_script_that_turned_out_to_have_a_machine_is_left_to_it(
    cloud: Paperspace, wire: respx.MockRouter, stored: Stored, machine: Make, script: Make
) -> None:
    wire.get("/machines").respond(json=page(machine()))
    wire["scripts"].respond(json=page(script()))
    drop = wire.delete(SCRIPT)
    assert await cloud.terminate(stored(**ALONE))
    assert not drop.called
