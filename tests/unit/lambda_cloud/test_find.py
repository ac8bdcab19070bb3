from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import respx

from providers import naming
from providers.base import Address, AttemptRef, Phase
from providers.env import ManualEnv
from providers.errors import ProviderError, Unavailable
from providers.lambda_cloud.adapter import Lambda
from tests.contract import lambda_golden as golden
from tests.unit.lambda_cloud.conftest import ACCOUNT, OTHER_OWNER, listed, machine, paths, refused

PATH = f"{golden.INSTANCES_PATH}/{golden.INSTANCE_ID}"
Attempt = Callable[..., AttemptRef]


@pytest.fixture
def known(attempt: Attempt) -> AttemptRef:
    """An attempt whose machine has an id."""
    return attempt(instance_id=golden.INSTANCE_ID, handle={"kind": "instance"})


async def test_a_running_machine_is_found_with_its_address(
    cloud: Lambda, wire: respx.MockRouter, known: AttemptRef
) -> None:
    wire.get(PATH).respond(json=golden.INSTANCE)
    found = await cloud.find(known)
    assert found is not None
    assert (found.id, found.token, found.owner) == (golden.INSTANCE_ID, golden.TOKEN, golden.OWNER)
    assert (found.provider, found.account, found.phase) == ("lambda", ACCOUNT, Phase.RUNNING)
    assert found.address == Address(host="198.51.100.2", port=22, user="ubuntu")
    assert (found.usd_per_hour, found.failure, found.created_at) == (Decimal("1.29"), None, None)
    assert found.handle == {"kind": "instance"}
    assert paths(wire) == [f"GET /instances/{golden.INSTANCE_ID}"]


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ("booting", Phase.PENDING),
        ("active", Phase.RUNNING),
        ("unhealthy", Phase.UNKNOWN),
        ("terminating", Phase.STOPPING),
        ("terminated", Phase.GONE),
        ("preempted", Phase.GONE),
        ("hibernating", Phase.UNKNOWN),
        ("", Phase.UNKNOWN),
        (None, Phase.UNKNOWN),
        (7, Phase.UNKNOWN),
    ],
)
async def test_every_status_has_its_phase(
    cloud: Lambda, wire: respx.MockRouter, known: AttemptRef, status: Any, phase: Phase
) -> None:
    wire.get(PATH).respond(json={"data": machine(status=status)})
    found = await cloud.find(known)
    assert found is not None
    assert found.phase is phase
    assert (found.address is not None) == (phase is Phase.RUNNING)


@pytest.mark.parametrize("ip", [None, "", "not-an-address", 7, [], "198.51.100"])
async def test_active_without_an_address_has_none(
    cloud: Lambda, wire: respx.MockRouter, known: AttemptRef, ip: Any
) -> None:
    wire.get(PATH).respond(json={"data": machine(ip=ip)})
    found = await cloud.find(known)
    assert found is not None
    assert (found.phase, found.address) == (Phase.RUNNING, None)


async def test_a_booting_machine_lacks_most_fields_and_is_read_all_the_same(
    cloud: Lambda, wire: respx.MockRouter, known: AttemptRef
) -> None:
    bare = {"id": golden.INSTANCE_ID, "status": "booting"}
    wire.get(PATH).respond(json={"data": bare})
    found = await cloud.find(known)
    assert found is not None
    assert (found.phase, found.token, found.owner, found.usd_per_hour) == (Phase.PENDING, None, None, None)


async def test_a_dearer_machine_shows_its_rate(cloud: Lambda, wire: respx.MockRouter, known: AttemptRef) -> None:
    kind = {**golden.ACTIVE["instance_type"], "price_cents_per_hour": 258}
    wire.get(PATH).respond(json={"data": machine(instance_type=kind)})
    found = await cloud.find(known)
    assert found is not None
    assert found.usd_per_hour == Decimal("2.58")


async def test_the_jupyter_secrets_are_not_taken_over(cloud: Lambda, wire: respx.MockRouter, known: AttemptRef) -> None:
    wire.get(PATH).respond(json={"data": machine(jupyter_token="T0PS3CRET", jupyter_url="https://x/?token=T0PS3CRET")})
    assert "T0PS3CRET" not in repr(await cloud.find(known))
    wire.get(PATH).respond(json={"data": machine(id="another", jupyter_token="T0PS3CRET")})
    with pytest.raises(Unavailable) as caught:
        await cloud.find(known)
    assert "T0PS3CRET" not in str(caught.value)


# -- not there ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["instance-not-found", "not-found", "resource-not-found"])
async def test_what_is_neither_known_nor_listed_is_gone(
    cloud: Lambda, wire: respx.MockRouter, known: AttemptRef, case: str
) -> None:
    wire.get(PATH).respond(**refused(case))
    wire.get(golden.INSTANCES_PATH).respond(json=listed())
    found = await cloud.find(known)
    assert found is not None
    assert (found.phase, found.id, found.token) == (Phase.GONE, golden.INSTANCE_ID, golden.TOKEN)


async def test_a_machine_that_is_listed_is_not_gone_whatever_its_path_says(
    cloud: Lambda, wire: respx.MockRouter, known: AttemptRef
) -> None:
    wire.get(PATH).respond(**refused("not-found"))
    wire.get(golden.INSTANCES_PATH).respond(json=golden.INSTANCES)
    found = await cloud.find(known)
    assert found is not None
    assert found.phase is Phase.RUNNING


async def test_a_machine_that_was_just_made_may_show_up_late(
    cloud: Lambda, wire: respx.MockRouter, attempt: Attempt, env: ManualEnv
) -> None:
    wire.get(PATH).respond(**refused("instance-not-found"))
    wire.get(golden.INSTANCES_PATH).respond(json=listed())
    handle = {"kind": "instance", "made_at": env.now().isoformat()}
    ref = attempt(instance_id=golden.INSTANCE_ID, handle=handle)
    assert await cloud.find(ref) is None
    env.advance(cloud.facts.consistency_s)
    found = await cloud.find(ref)
    assert found is not None
    assert found.phase is Phase.GONE


@pytest.mark.parametrize("ahead", [timedelta(seconds=30), timedelta(days=2)])
async def test_a_clock_that_is_ahead_is_not_trusted_for_ever(
    cloud: Lambda, wire: respx.MockRouter, attempt: Attempt, env: ManualEnv, ahead: timedelta
) -> None:
    wire.get(PATH).respond(**refused("instance-not-found"))
    wire.get(golden.INSTANCES_PATH).respond(json=listed())
    handle = {"made_at": (env.now() + ahead).isoformat()}
    found = await cloud.find(attempt(instance_id=golden.INSTANCE_ID, handle=handle))
    assert (found is None) == (ahead.days == 0)


async def test_under_another_key_not_finding_it_proves_nothing(
    cloud: Lambda, wire: respx.MockRouter, attempt: Attempt
) -> None:
    wire.get(PATH).respond(**refused("instance-not-found"))
    wire.get(golden.INSTANCES_PATH).respond(json=listed())
    assert await cloud.find(attempt(instance_id=golden.INSTANCE_ID, account="key-of-yesterday")) is None


@pytest.mark.parametrize("answer", [{"status_code": 404, "html": "<html>no</html>"}, {"status_code": 404}])
async def test_a_proxys_404_is_no_proof(
    cloud: Lambda, wire: respx.MockRouter, known: AttemptRef, answer: dict[str, Any]
) -> None:
    wire.get(PATH).respond(**answer)
    with pytest.raises(Unavailable):
        await cloud.find(known)


# -- by token ----------------------------------------------------------------------------------------------


async def test_without_an_id_the_tags_find_it(cloud: Lambda, wire: respx.MockRouter, attempt: Attempt) -> None:
    other = machine(id="f" * 32, name="my-box", tags=[])
    renamed = machine(name="renamed in the console")
    wire.get(golden.INSTANCES_PATH).respond(json=listed(other, renamed))
    found = await cloud.find(attempt())
    assert found is not None
    assert (found.id, found.token) == (golden.INSTANCE_ID, golden.TOKEN)
    assert paths(wire) == ["GET /instances"]


async def test_where_lists_have_no_tags_the_name_finds_it(
    cloud: Lambda, wire: respx.MockRouter, attempt: Attempt
) -> None:
    wire.get(golden.INSTANCES_PATH).respond(json=listed(machine(golden.BOOTING, "tags")))
    found = await cloud.find(attempt())
    assert found is not None
    assert (found.id, found.token, found.owner) == (golden.INSTANCE_ID, golden.TOKEN, None)


async def test_another_attempt_and_another_owner_are_not_it(
    cloud: Lambda, wire: respx.MockRouter, attempt: Attempt
) -> None:
    next_token = naming.make(golden.OWNER, "abcdefghi", 2)
    wire.get(golden.INSTANCES_PATH).respond(
        json=listed(
            machine(id="1" * 32, name=next_token, tags=[{"key": "orch:token", "value": next_token}]),
            machine(id="2" * 32, tags=[{"key": "orch:owner", "value": OTHER_OWNER}]),
        )
    )
    assert await cloud.find(attempt()) is None


async def test_of_two_the_living_one_counts(cloud: Lambda, wire: respx.MockRouter, attempt: Attempt) -> None:
    dead = machine(golden.TERMINATED, id="0" * 32)
    wire.get(golden.INSTANCES_PATH).respond(json=listed(dead, machine()))
    found = await cloud.find(attempt())
    assert found is not None
    assert (found.id, found.phase) == (golden.INSTANCE_ID, Phase.RUNNING)
    wire.get(golden.INSTANCES_PATH).respond(json=listed(dead))
    found = await cloud.find(attempt())
    assert found is not None
    assert found.phase is Phase.GONE


# -- owned -------------------------------------------------------------------------------------------------


async def test_all_that_carries_our_mark_and_lives_is_owned(cloud: Lambda, wire: respx.MockRouter) -> None:
    second = naming.make(golden.OWNER, "abcdefghi", 2)
    wire.get(golden.INSTANCES_PATH).respond(
        json=listed(
            machine(),
            machine(golden.BOOTING, "tags", id="1" * 32, name=second),
            machine(golden.TERMINATED, id="2" * 32),
            machine(golden.PREEMPTED, id="3" * 32),
            machine(golden.UNHEALTHY, id="4" * 32),
            machine(id="5" * 32, name="my-training-box", tags=[]),
            machine(id="6" * 32, name="orch-but-not-really", tags=None),
            machine(id="7" * 32, name=None, tags="?"),
        )
    )
    owned = await cloud.owned()
    assert [(one.id[0], one.token, one.phase.value) for one in owned] == [
        ("0", golden.TOKEN, "running"),
        ("1", second, "pending"),
        ("4", golden.TOKEN, "unknown"),
    ]
    assert all(one.handle == {"kind": "instance"} for one in owned)
    assert len(wire.calls) == 1


async def test_the_full_owner_must_match_where_tags_are_there(cloud: Lambda, wire: respx.MockRouter) -> None:
    twin = golden.OWNER[:12] + "0" * 20  # the same seven characters in a name
    name = naming.make(twin, "abcdefghi", 1)
    assert naming.is_ours(name, golden.OWNER)
    tags = [{"key": "orch:owner", "value": twin}, {"key": "orch:token", "value": name}]
    wire.get(golden.INSTANCES_PATH).respond(json=listed(machine(name=name, tags=tags)))
    assert await cloud.owned() == []


@pytest.mark.parametrize("answer", [{"data": {}}, {"data": None}, {}, [], {"data": ["x"]}, {"data": [None]}])
async def test_a_list_that_cannot_be_read_is_never_empty(cloud: Lambda, wire: respx.MockRouter, answer: Any) -> None:
    wire.get(golden.INSTANCES_PATH).respond(json=answer)
    with pytest.raises(Unavailable) as caught:
        await cloud.owned()
    assert caught.value.code == "malformed"


async def test_a_marked_machine_without_an_id_makes_the_list_unreadable(cloud: Lambda, wire: respx.MockRouter) -> None:
    wire.get(golden.INSTANCES_PATH).respond(json=listed(machine(golden.ACTIVE, "id")))
    with pytest.raises(Unavailable):
        await cloud.owned()
    wire.get(golden.INSTANCES_PATH).respond(json=listed(machine(golden.ACTIVE, "id", "tags", name="a-strangers")))
    assert await cloud.owned() == []


@pytest.mark.parametrize("case", ["not-found", "forbidden", "account-inactive", "invalid-api-key", "internal-error"])
async def test_a_refused_list_raises(cloud: Lambda, wire: respx.MockRouter, case: str) -> None:
    wire.get(golden.INSTANCES_PATH).respond(**refused(case))
    with pytest.raises(ProviderError) as caught:
        await cloud.owned()
    assert caught.value.type != "OfferGone"
