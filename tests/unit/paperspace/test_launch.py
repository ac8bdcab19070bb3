"""Launch: script, then machine, and never a script that is left behind unsaid."""

from __future__ import annotations

import base64
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest
import respx

from providers.base import LaunchSpec, Offer, Phase
from providers.env import ManualEnv
from providers.errors import (
    AuthFailed,
    Forbidden,
    NoCapacity,
    OutcomeUnknown,
    RateLimited,
    Unavailable,
    Unclassified,
)
from providers.paperspace.adapter import Paperspace
from tests.unit.paperspace.conftest import (
    KEY,
    MACHINE_ID,
    PUBLIC_KEY,
    SCRIPT_ID,
    TEAM,
    TOKEN,
    page,
    paths,
    refusal,
    sent,
)

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def made(wire: respx.MockRouter) -> respx.Route:
    return wire.post("/startup-scripts").respond(json={"id": SCRIPT_ID, "name": TOKEN})


@pytest.fixture
def dropped(wire: respx.MockRouter) -> respx.Route:
    return wire.delete(f"/startup-scripts/{SCRIPT_ID}").respond(json={"id": SCRIPT_ID})


async def test_script_and_machine_carry_the_attempts_name(
    cloud: Paperspace,
    wire: respx.MockRouter,
    made: respx.Route,
    offer: Offer,
    spec: LaunchSpec,
    machine: Make,
    env: ManualEnv,
) -> None:
    create = wire.post("/machines").respond(
        json={"data": machine(), "event": {"id": "ev1", "machineId": MACHINE_ID, "name": "create", "state": "new"}}
    )
    instance = await cloud.launch(offer, spec, TOKEN)
    assert (instance.id, instance.token, instance.account, instance.phase) == (MACHINE_ID, TOKEN, TEAM, Phase.PENDING)
    assert instance.handle == {"kind": "machine", "name": TOKEN, "made_at": env.now().isoformat()}
    assert (instance.usd_per_hour, instance.failure) == (Decimal("1.89"), None)
    script = sent(made)
    assert (script["name"], script["isRunOnce"]) == (TOKEN, True)
    packed = script["script"].split("'END'\n")[1].split("\nEND\n")[0]
    assert PUBLIC_KEY in base64.b64decode(packed).decode()
    body = sent(create)
    assert (body["name"], body["startupScriptId"], body["diskSize"]) == (TOKEN, SCRIPT_ID, 100)
    assert (body["machineType"], body["region"], body["templateId"]) == ("A6000", "NY2", "twnml2204")
    assert paths(wire)[-2:] == ["POST /startup-scripts", "POST /machines"]


@pytest.mark.parametrize("wrapped", [True, False])
async def test_wrapped_and_bare_answers_are_understood(
    cloud: Paperspace, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec, machine: Make, wrapped: bool
) -> None:
    script = {"id": SCRIPT_ID}
    wire.post("/startup-scripts").respond(json={"data": script} if wrapped else script)
    wire.post("/machines").respond(json={"data": machine()} if wrapped else machine())
    assert (await cloud.launch(offer, spec, TOKEN)).id == MACHINE_ID


async def test_without_a_resolved_template_one_is_looked_for(
    cloud: Paperspace, wire: respx.MockRouter, made: respx.Route, offer: Offer, spec: LaunchSpec, machine: Make
) -> None:
    create = wire.post("/machines").respond(json={"data": machine(), "event": None})
    await cloud.launch(offer, msgspec.structs.replace(spec, native={}), TOKEN)
    assert sent(create)["templateId"] == "twnml2204"


async def test_a_create_whose_event_has_failed_already_is_failed(
    cloud: Paperspace, wire: respx.MockRouter, made: respx.Route, offer: Offer, spec: LaunchSpec, machine: Make
) -> None:
    event = {"id": "ev1", "name": "create", "state": "error", "error": "Out of capacity for this VM type"}
    wire.post("/machines").respond(json={"data": machine(), "event": event})
    instance = await cloud.launch(offer, spec, TOKEN)
    assert instance.phase is Phase.FAILED
    assert isinstance(instance.failure, NoCapacity)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, refusal("BAD_REQUEST", "Out of capacity for the selected VM type"), NoCapacity),
        (403, refusal("FORBIDDEN", "no"), Forbidden),
        (401, refusal("UNAUTHORIZED", "no"), AuthFailed),
        (429, refusal("TOO_MANY_REQUESTS", "slow down"), RateLimited),
        (400, refusal("WHATEVER", "hm"), Unclassified),
    ],
)
async def test_a_refused_machine_takes_its_script_along(
    cloud: Paperspace,
    wire: respx.MockRouter,
    made: respx.Route,
    dropped: respx.Route,
    offer: Offer,
    spec: LaunchSpec,
    status: int,
    body: dict[str, Any],
    expected: type[Exception],
) -> None:
    wire.post("/machines").respond(status_code=status, json=body)
    with pytest.raises(expected) as caught:
        await cloud.launch(offer, spec, TOKEN)
    assert dropped.call_count == 1
    assert caught.value.left == ()  # type: ignore[attr-defined]


async def test_a_script_that_cannot_be_taken_away_is_named(
    cloud: Paperspace, wire: respx.MockRouter, made: respx.Route, dropped: respx.Route, offer: Offer, spec: LaunchSpec
) -> None:
    wire.post("/machines").mock(side_effect=httpx.ConnectError("down"))
    dropped.mock(side_effect=httpx.ConnectError("down"))
    with pytest.raises(Unavailable) as caught:
        await cloud.launch(offer, spec, TOKEN)
    [left] = caught.value.left
    assert (left.id, left.token, left.handle) == (SCRIPT_ID, TOKEN, {"kind": "startup-script", "name": TOKEN})


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ReadTimeout("late"),
        httpx.Response(500, json=refusal("INTERNAL_SERVER_ERROR", "sorry")),
        httpx.Response(502, text="<html>bad gateway</html>"),
        httpx.Response(200, text="<html>what</html>"),
        httpx.Response(200, json={"data": {"name": TOKEN}}),
    ],
)
async def test_an_unknown_outcome_keeps_the_script_and_names_it(
    cloud: Paperspace,
    wire: respx.MockRouter,
    made: respx.Route,
    dropped: respx.Route,
    offer: Offer,
    spec: LaunchSpec,
    answer: Any,
) -> None:
    route = wire.post("/machines")
    route.mock(side_effect=answer) if isinstance(answer, Exception) else route.mock(return_value=answer)
    with pytest.raises(OutcomeUnknown) as caught:
        await cloud.launch(offer, spec, TOKEN)
    assert route.call_count == 1
    assert not dropped.called  # the machine may be there, and about to read it
    assert [left.handle["kind"] for left in caught.value.left] == ["startup-script"]


async def test_a_script_whose_answer_was_lost_is_used_if_it_is_there(
    cloud: Paperspace, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec, machine: Make, script: Make
) -> None:
    wire.post("/startup-scripts").mock(side_effect=httpx.ReadTimeout("late"))
    wire["scripts"].respond(json=page(script(id="other", name=f"{TOKEN}x"), script(id="ss-lost")))
    create = wire.post("/machines").respond(json={"data": machine(), "event": {}})
    await cloud.launch(offer, spec, TOKEN)
    assert sent(create)["startupScriptId"] == "ss-lost"


async def test_a_script_that_nobody_can_find_stops_before_the_machine(
    cloud: Paperspace, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec
) -> None:
    wire.post("/startup-scripts").mock(side_effect=httpx.ReadTimeout("late"))
    create = wire.post("/machines")
    with pytest.raises(Unavailable) as caught:
        await cloud.launch(offer, spec, TOKEN)
    assert not create.called
    assert [left.token for left in caught.value.left] == [TOKEN]


async def test_the_firewalls_page_sends_us_to_the_next_provider(
    cloud: Paperspace, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec
) -> None:
    wire.post("/startup-scripts").respond(status_code=403, html="<html>Cloudflare: you have been blocked</html>")
    with pytest.raises(Forbidden) as caught:
        await cloud.launch(offer, spec, TOKEN)
    assert (caught.value.code, caught.value.scope) == ("firewall", "provider")


async def test_a_script_that_is_wrong_as_it_is_does_not_stop_other_providers(
    cloud: Paperspace, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec
) -> None:
    issues = [{"path": ["script"], "message": "too long"}]
    wire.post("/startup-scripts").respond(status_code=400, json=refusal("BAD_REQUEST", "no", issues=issues))
    with pytest.raises(Forbidden) as caught:
        await cloud.launch(offer, spec, TOKEN)
    assert caught.value.scope == "provider"


async def test_neither_key_nor_script_nor_values_get_into_messages(
    cloud: Paperspace, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec
) -> None:
    def quoting(request: httpx.Request) -> httpx.Response:
        quoted = request.content.decode() + request.headers["authorization"] + "hunter2-value"
        return httpx.Response(400, json=refusal("BAD_REQUEST", f"bad: {quoted}"[:550]))

    wire.post("/startup-scripts").mock(side_effect=quoting)
    with pytest.raises(Unclassified) as caught:
        await cloud.launch(offer, msgspec.structs.replace(spec, env={"PASSWORD": "hunter2-value"}), TOKEN)
    assert KEY not in str(caught.value)
    assert "hunter2-value" not in str(caught.value)
