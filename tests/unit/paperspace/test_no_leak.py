"""Killed at any call, before or after its effect: what is there is listed, and what is listed can be ended."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import respx

from providers.base import Context, Instance, LaunchSpec, Offer
from providers.env import ManualEnv
from providers.errors import ProviderError, RateLimited
from providers.paperspace.adapter import Paperspace
from tests.unit.paperspace.conftest import TOKEN, page, refusal, stamp


class Killed(BaseException):
    """The process dies here."""


@dataclass
class Team:
    """A team's machines and startup scripts, behind the few calls that make and end them."""

    env: ManualEnv
    machines: dict[str, dict[str, Any]] = field(default_factory=dict)
    scripts: dict[str, dict[str, Any]] = field(default_factory=dict)
    writes: int = 0
    kill_at: tuple[int, str] | None = None
    lose_at: tuple[int, str] | None = None
    refuse_at: tuple[int, ...] = ()
    listed: bool = True

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1")
        if request.method == "GET":
            return self.read(path, request.url.params.get("name"))
        self.writes += 1
        self.interrupt("before")
        if self.writes in self.refuse_at:
            return httpx.Response(429, json=refusal("TOO_MANY_REQUESTS", "slow down"))
        answer = self.write(request.method, path, request)
        self.interrupt("after")
        return answer

    def interrupt(self, when: str) -> None:
        if self.kill_at == (self.writes, when):
            raise Killed
        if self.lose_at == (self.writes, when):
            raise httpx.ReadTimeout("nobody answers")

    def read(self, path: str, name: str | None) -> httpx.Response:
        kind, _, id_ = path.strip("/").partition("/")
        rows = self.machines if kind == "machines" else self.scripts
        if id_:
            found = rows.get(id_)
            return httpx.Response(200, json=found) if found else httpx.Response(404, json=refusal("NOT_FOUND", "no"))
        if kind == "machines" and not self.listed:
            rows = {}
        return httpx.Response(200, json=page(*(row for row in rows.values() if name in (None, row["name"]))))

    def write(self, method: str, path: str, request: httpx.Request) -> httpx.Response:
        kind, _, id_ = path.strip("/").partition("/")
        rows = self.machines if kind == "machines" else self.scripts
        if method == "DELETE":
            known = rows.pop(id_, None)
            return httpx.Response(200, json={}) if known else httpx.Response(404, json=refusal("NOT_FOUND", "no"))
        body = json.loads(request.content)
        if kind == "machines" and body["startupScriptId"] not in self.scripts:
            return httpx.Response(400, json=refusal("BAD_REQUEST", "no such startup script"))
        made = {"id": f"{kind}-{self.writes}", "name": body["name"], "dtCreated": stamp(self.env), "dtDeleted": None}
        rows[made["id"]] = made | {"state": "provisioning"}
        return httpx.Response(200, json={"data": made, "event": {}} if kind == "machines" else made)

    def left(self) -> list[str]:
        return [*self.machines, *self.scripts]


@pytest.fixture
def team(env: ManualEnv, wire: respx.MockRouter) -> Team:
    made = Team(env)
    wire["scripts"].mock(side_effect=made)
    wire.route().mock(side_effect=made)
    return made


async def end(cloud: Paperspace, env: ManualEnv, instance: Instance) -> None:
    for _ in range(20):
        if await cloud.terminate(instance):
            return
        await env.sleep(5)
    raise AssertionError(f"{instance.id} does not end")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", [1, 2])
async def test_a_launch_killed_at_any_call_leaves_nothing_that_is_not_listed(
    context: Context, team: Team, offer: Offer, spec: LaunchSpec, call: int, when: str
) -> None:
    team.kill_at = (call, when)
    with pytest.raises(Killed):
        await Paperspace(context).launch(offer, spec, TOKEN)
    cloud = Paperspace(context)
    strays = await cloud.owned()
    assert bool(strays) == bool(team.left())
    assert {stray.token for stray in strays} <= {TOKEN}
    for stray in strays:
        await end(cloud, context.env, stray)  # type: ignore[arg-type]
    assert team.left() == []
    assert await cloud.owned() == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", [1, 2])
async def test_a_lost_answer_leaves_nothing_that_is_not_named_or_found(
    context: Context, team: Team, offer: Offer, spec: LaunchSpec, call: int, when: str
) -> None:
    team.lose_at = (call, when)
    cloud = Paperspace(context)
    instances: list[Instance] = []
    try:
        instances.append(await cloud.launch(offer, spec, TOKEN))
    except ProviderError as error:
        instances += error.left
    for one in list(team.machines.values()):
        # What was named as left never takes the script from under a machine that may still need it.
        for left in instances:
            if left.handle["kind"] == "startup-script":
                assert await cloud.terminate(left)
        assert len(team.scripts) == 1
        instances.append(Instance(provider="paperspace", account=await cloud.account(), id=one["id"], token=TOKEN))
    for instance in instances:
        await end(cloud, context.env, instance)  # type: ignore[arg-type]
    assert team.left() == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", [3, 4])
async def test_an_end_killed_at_any_call_can_be_finished(
    context: Context, team: Team, offer: Offer, spec: LaunchSpec, call: int, when: str
) -> None:
    instance = await Paperspace(context).launch(offer, spec, TOKEN)
    assert len(team.left()) == 2
    team.kill_at = (call, when)
    with pytest.raises(Killed):
        await Paperspace(context).terminate(instance)
    assert bool(await Paperspace(context).owned()) == bool(team.left())
    await end(Paperspace(context), context.env, instance)  # type: ignore[arg-type]
    assert team.left() == []


async def test_a_machine_deleted_by_hand_leaves_a_script_that_is_listed(
    context: Context, team: Team, offer: Offer, spec: LaunchSpec
) -> None:
    cloud = Paperspace(context)
    instance = await cloud.launch(offer, spec, TOKEN)
    team.machines.clear()
    assert [stray.handle["kind"] for stray in await cloud.owned()] == ["startup-script"]
    await end(cloud, context.env, instance)  # type: ignore[arg-type]
    assert team.left() == []


async def test_what_an_earlier_try_left_does_not_take_the_script_of_a_machine_that_is_not_listed_yet(
    context: Context, team: Team, offer: Offer, spec: LaunchSpec, env: ManualEnv
) -> None:
    # Asked too fast: the machine is refused, and then the end of its script, too, three times over.
    team.refuse_at = (2, 3, 4, 5)
    cloud = Paperspace(context)
    with pytest.raises(RateLimited) as caught:
        await cloud.launch(offer, spec, TOKEN)
    [left] = caught.value.left
    assert list(team.scripts) == [left.id]
    made = await cloud.launch(offer, spec, TOKEN)
    team.listed = False
    assert await cloud.terminate(left)
    [kept] = team.scripts
    assert kept != left.id
    team.listed = True
    await end(cloud, env, made)
    assert team.left() == []


async def test_a_lost_script_is_not_ended_before_its_machine_would_be_listed(
    context: Context, team: Team, offer: Offer, spec: LaunchSpec, env: ManualEnv
) -> None:
    cloud = Paperspace(context)
    await cloud.launch(offer, spec, TOKEN)
    team.listed = False
    by_name = {"kind": "startup-script", "name": TOKEN}
    lost = Instance(provider="paperspace", account=await cloud.account(), id=TOKEN, handle=by_name, token=TOKEN)
    assert not await cloud.terminate(lost)
    assert team.scripts
    team.machines.clear()
    env.advance(121)
    await end(cloud, env, lost)
    assert team.left() == []
