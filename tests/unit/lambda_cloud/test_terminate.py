from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import respx

from providers.base import Instance
from providers.env import ManualEnv
from providers.errors import Forbidden, ProviderError
from providers.lambda_cloud.adapter import UNSEEN_S, Lambda
from tests.contract import lambda_golden as golden
from tests.unit.lambda_cloud.conftest import listed, machine, paths, refused, sent

PATH = f"{golden.INSTANCES_PATH}/{golden.INSTANCE_ID}"
Stored = Callable[..., Instance]


def show(wire: respx.MockRouter, state: dict[str, Any] | None) -> None:
    """What reads show: *state*, or no such machine."""
    if state is None:
        wire.get(PATH).respond(**refused("instance-not-found"))
    else:
        wire.get(PATH).respond(json={"data": state})
    wire.get(golden.INSTANCES_PATH).respond(json=listed(*([] if state is None else [state])))


async def test_an_end_is_asked_for_and_then_looked_for(cloud: Lambda, wire: respx.MockRouter, stored: Stored) -> None:
    route = wire.post(golden.TERMINATE_PATH).respond(json=golden.TERMINATE_ANSWER)
    show(wire, golden.TERMINATING)
    assert not await cloud.terminate(stored())
    assert sent(route) == golden.TERMINATE_BODY  # one id a call: one wrong id may fail a batch
    assert paths(wire) == ["POST /instance-operations/terminate", f"GET /instances/{golden.INSTANCE_ID}"]


@pytest.mark.parametrize("state", [golden.TERMINATED, golden.PREEMPTED, None])
async def test_it_is_over_when_lambda_says_so(
    cloud: Lambda, wire: respx.MockRouter, stored: Stored, state: dict[str, Any] | None
) -> None:
    wire.post(golden.TERMINATE_PATH).respond(json=golden.TERMINATE_ANSWER)
    show(wire, state)
    assert await cloud.terminate(stored())


@pytest.mark.parametrize("case", ["instance-not-found", "resource-not-found", "not-found"])
async def test_a_second_end_finds_nothing_and_is_as_good(
    cloud: Lambda, wire: respx.MockRouter, stored: Stored, case: str
) -> None:
    wire.post(golden.TERMINATE_PATH).respond(**refused(case))
    show(wire, None)
    assert await cloud.terminate(stored())
    assert await cloud.terminate(stored())


@pytest.mark.parametrize(
    "state", [golden.BOOTING, golden.ACTIVE, golden.UNHEALTHY, golden.TERMINATING, machine(status="new-word")]
)
async def test_an_end_that_is_accepted_and_ignored_is_never_called_gone(
    cloud: Lambda, wire: respx.MockRouter, stored: Stored, state: dict[str, Any]
) -> None:
    route = wire.post(golden.TERMINATE_PATH).respond(json=golden.TERMINATE_ANSWER)
    show(wire, state)
    for _ in range(3):
        assert not await cloud.terminate(stored())
    assert route.call_count == 3  # it is asked again every time


async def test_what_is_still_listed_is_not_gone_though_its_id_is_unknown(
    cloud: Lambda, wire: respx.MockRouter, stored: Stored
) -> None:
    wire.post(golden.TERMINATE_PATH).respond(**refused("instance-not-found"))
    wire.get(golden.INSTANCES_PATH).respond(json=golden.INSTANCES)
    assert not await cloud.terminate(stored())
    assert paths(wire)[-1] == "GET /instances"


async def test_right_after_a_launch_an_unknown_id_is_not_believed(
    cloud: Lambda, wire: respx.MockRouter, stored: Stored, env: ManualEnv
) -> None:
    wire.post(golden.TERMINATE_PATH).respond(**refused("instance-not-found"))
    show(wire, None)
    young = stored(handle={"kind": "instance", "made_at": env.now().isoformat()})
    assert not await cloud.terminate(young)
    env.advance(UNSEEN_S)
    assert await cloud.terminate(young)


async def test_right_after_a_launch_an_accepted_end_is_believed(
    cloud: Lambda, wire: respx.MockRouter, stored: Stored, env: ManualEnv
) -> None:
    wire.post(golden.TERMINATE_PATH).respond(json=golden.TERMINATE_ANSWER)
    show(wire, None)
    assert await cloud.terminate(stored(handle={"made_at": env.now().isoformat()}))


async def test_under_another_key_not_finding_it_proves_nothing(
    cloud: Lambda, wire: respx.MockRouter, stored: Stored
) -> None:
    wire.post(golden.TERMINATE_PATH).respond(**refused("instance-not-found"))
    show(wire, None)
    with pytest.raises(Forbidden) as caught:
        await cloud.terminate(stored(account="key-of-yesterday"))
    assert caught.value.code == "other-account"


@pytest.mark.parametrize("case", ["conflict", "invalid-parameters"])
async def test_a_refused_end_of_a_machine_that_is_still_there_raises(
    cloud: Lambda, wire: respx.MockRouter, stored: Stored, case: str
) -> None:
    wire.post(golden.TERMINATE_PATH).respond(**refused(case))
    show(wire, golden.BOOTING)
    with pytest.raises(ProviderError) as caught:
        await cloud.terminate(stored())
    assert caught.value.code == golden.ERRORS[case][1]["error"]["code"]


@pytest.mark.parametrize("case", ["conflict", "invalid-parameters"])
async def test_a_refusal_because_it_ends_already_is_no_failure(
    cloud: Lambda, wire: respx.MockRouter, stored: Stored, case: str
) -> None:
    wire.post(golden.TERMINATE_PATH).respond(**refused(case))
    show(wire, golden.TERMINATING)
    assert not await cloud.terminate(stored())
    show(wire, None)
    assert await cloud.terminate(stored())


@pytest.mark.parametrize("case", ["invalid-api-key", "account-inactive", "internal-error", "provider-unavailable"])
async def test_an_end_that_cannot_be_asked_for_raises(
    cloud: Lambda, wire: respx.MockRouter, stored: Stored, case: str
) -> None:
    wire.post(golden.TERMINATE_PATH).respond(**refused(case))
    show(wire, None)
    with pytest.raises(ProviderError):
        await cloud.terminate(stored())


async def test_a_lost_answer_is_asked_for_again_since_that_does_no_harm(
    cloud: Lambda, wire: respx.MockRouter, stored: Stored
) -> None:
    route = wire.post(golden.TERMINATE_PATH).mock(
        side_effect=[httpx.ReadTimeout("slow"), httpx.Response(200, json=golden.TERMINATE_ANSWER)]
    )
    show(wire, golden.TERMINATED)
    assert await cloud.terminate(stored())
    assert route.call_count == 2


async def test_a_list_that_cannot_be_read_proves_no_end(cloud: Lambda, wire: respx.MockRouter, stored: Stored) -> None:
    wire.post(golden.TERMINATE_PATH).respond(**refused("instance-not-found"))
    wire.get(golden.INSTANCES_PATH).respond(json={"data": None})
    with pytest.raises(ProviderError):
        await cloud.terminate(stored())


async def test_the_ssh_key_stays_for_the_next_launch(cloud: Lambda, wire: respx.MockRouter, stored: Stored) -> None:
    wire.post(golden.TERMINATE_PATH).respond(json=golden.TERMINATE_ANSWER)
    show(wire, None)
    assert await cloud.terminate(stored())
    assert not [path for path in paths(wire) if "ssh-keys" in path]
