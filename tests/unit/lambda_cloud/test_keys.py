"""The SSH key on the account: found by its content, named by its owner, registered once by whoever needs it first."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import msgspec
import pytest
import respx

from providers.base import LaunchSpec, Offer
from providers.env import ManualEnv
from providers.errors import Forbidden, InvalidRequest, RateLimited, Unavailable, Unclassified
from providers.lambda_cloud import keys
from providers.lambda_cloud.adapter import FACTS, Lambda
from providers.lambda_cloud.client import Client
from tests.contract import lambda_golden as golden
from tests.unit.lambda_cloud.conftest import ACCOUNT, KEY, OTHER_OWNER, refused, sent

OURS = golden.SSH_KEY_ADDED["data"]


class Keys:
    """The account's keys as Lambda keeps them, with names that must be unique."""

    def __init__(self, wire: respx.MockRouter, *rows: dict[str, Any]) -> None:
        self.rows = list(rows)
        wire.get(golden.SSH_KEYS_PATH).mock(side_effect=self.show)
        self.posts = wire.post(golden.SSH_KEYS_PATH).mock(side_effect=self.add)

    def show(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"data": list(self.rows)})

    def add(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if any(row["name"] == body["name"] for row in self.rows):
            return httpx.Response(**refused("duplicate"))
        self.rows.append({"id": f"{len(self.rows):032d}", **body})
        return httpx.Response(200, json={"data": self.rows[-1]})


@pytest.fixture
async def client(cloud: Lambda) -> Any:
    made = Client(cloud.context, base_url=golden.BASE_URL, key=KEY, account=ACCOUNT, facts=FACTS)
    yield made
    await made.aclose()


async def ensure(client: Client) -> str:
    return await keys.ensure(client, golden.PUBLIC_KEY, golden.OWNER)


def test_the_name_tells_owner_and_content_and_nothing_else() -> None:
    name = keys.name_of(golden.PUBLIC_KEY, golden.OWNER)
    assert name == golden.SSH_KEY_NAME
    assert keys.name_of(f"  {golden.PUBLIC_KEY}   me@laptop \n", golden.OWNER) == name
    assert keys.name_of(golden.PUBLIC_KEY, OTHER_OWNER) != name
    assert keys.name_of(golden.PUBLIC_KEY + "A", golden.OWNER) != name


async def test_a_key_is_registered_once_and_then_reused(client: Client, wire: respx.MockRouter) -> None:
    account = Keys(wire, *golden.SSH_KEYS["data"])
    assert await ensure(client) == await ensure(client) == golden.SSH_KEY_NAME
    assert account.posts.call_count == 1
    assert sent(account.posts) == golden.ADD_SSH_KEY_BODY


async def test_the_same_key_under_another_name_is_used_as_it_is(client: Client, wire: respx.MockRouter) -> None:
    account = Keys(wire, {**OURS, "name": "my-laptop", "public_key": f"{golden.PUBLIC_KEY} me@laptop\n"})
    assert await ensure(client) == "my-laptop"
    assert not account.posts.called


def test_our_own_name_is_preferred_and_else_the_choice_is_always_the_same() -> None:
    rows = [{**OURS, "name": name} for name in ("zebra", golden.SSH_KEY_NAME, "ape")]
    assert keys.registered(rows, golden.PUBLIC_KEY, golden.OWNER) == golden.SSH_KEY_NAME
    assert keys.registered(rows[::2], golden.PUBLIC_KEY, golden.OWNER) == "ape"
    assert keys.registered([{"name": 1}, {"public_key": golden.PUBLIC_KEY}, {}], golden.PUBLIC_KEY, "0" * 32) is None


async def test_two_at_once_agree_on_one_key(client: Client, wire: respx.MockRouter) -> None:
    account = Keys(wire)
    assert set(await asyncio.gather(ensure(client), ensure(client))) == {golden.SSH_KEY_NAME}
    assert len(account.rows) == 1


@pytest.mark.parametrize("case", ["duplicate", "key-in-use", "invalid-parameters"])
async def test_whatever_a_duplicate_is_refused_with_the_list_settles_it(
    client: Client, wire: respx.MockRouter, case: str
) -> None:
    account = Keys(wire)

    def faster(request: httpx.Request) -> httpx.Response:
        account.rows.append(dict(OURS))
        return httpx.Response(**refused(case))

    wire.post(golden.SSH_KEYS_PATH).mock(side_effect=faster)
    assert await ensure(client) == golden.SSH_KEY_NAME


@pytest.mark.parametrize("lost", [httpx.ReadTimeout("slow"), httpx.Response(500), httpx.Response(200, html="<p>")])
async def test_a_lost_answer_is_settled_by_the_list(
    client: Client, wire: respx.MockRouter, lost: httpx.Response | Exception
) -> None:
    account = Keys(wire)

    def made_and_lost(request: httpx.Request) -> httpx.Response:
        account.rows.append(dict(OURS))
        if isinstance(lost, Exception):
            raise lost
        return lost

    route = wire.post(golden.SSH_KEYS_PATH).mock(side_effect=made_and_lost)
    assert await ensure(client) == golden.SSH_KEY_NAME
    assert route.call_count == 1


async def test_a_lost_request_is_sent_again_once_the_list_shows_nothing(client: Client, wire: respx.MockRouter) -> None:
    Keys(wire)
    route = wire.post(golden.SSH_KEYS_PATH).mock(
        side_effect=[httpx.ReadTimeout("slow"), httpx.Response(200, json=golden.SSH_KEY_ADDED)]
    )
    assert await ensure(client) == golden.SSH_KEY_NAME
    assert route.call_count == 2


async def test_what_stays_unclear_is_no_unknown_launch(client: Client, wire: respx.MockRouter) -> None:
    Keys(wire)
    wire.post(golden.SSH_KEYS_PATH).mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(Unavailable) as caught:  # OutcomeUnknown would make the engine look for a machine
        await ensure(client)
    assert caught.value.code == "ssh-key"


@pytest.mark.parametrize(
    ("case", "type_"),
    [("invalid-parameters", InvalidRequest), ("rate-limited", RateLimited), ("forbidden", Forbidden)],
)
async def test_a_true_refusal_is_passed_on(
    client: Client, wire: respx.MockRouter, case: str, type_: type[Exception]
) -> None:
    Keys(wire)
    wire.post(golden.SSH_KEYS_PATH).respond(**refused(case))
    with pytest.raises(type_):
        await ensure(client)


async def test_an_unknown_refusal_is_passed_on(client: Client, wire: respx.MockRouter) -> None:
    Keys(wire)
    wire.post(golden.SSH_KEYS_PATH).respond(400, json=golden.refusal("ssh-keys/brand-new", "No."))
    with pytest.raises(Unclassified):
        await ensure(client)


async def test_a_name_taken_by_another_key_needs_a_person(client: Client, wire: respx.MockRouter) -> None:
    Keys(wire, {**OURS, "public_key": "ssh-ed25519 AAAAanother"})
    with pytest.raises(Forbidden) as caught:
        await ensure(client)
    assert (caught.value.code, golden.SSH_KEY_NAME in caught.value.message) == ("ssh-key-name", True)


@pytest.mark.parametrize("bad", ["", "ssh-ed25519", "ssh-rsa " + "A" * 5000, "ssh-rsa AAAA\nssh-rsa BBBB"])
async def test_what_is_no_key_line_is_never_sent(
    cloud: Lambda, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec, bad: str
) -> None:
    with pytest.raises(InvalidRequest):
        await cloud.resolve(offer, msgspec.structs.replace(spec, ssh_public_key=bad))
    with pytest.raises(InvalidRequest):
        await cloud.launch(offer, msgspec.structs.replace(spec, ssh_public_key=bad), golden.TOKEN)
    assert not wire.calls


async def test_registering_keeps_to_one_call_a_second_and_takes_no_turn_of_a_launch(
    client: Client, wire: respx.MockRouter, env: ManualEnv
) -> None:
    Keys(wire)
    await ensure(client)
    assert env.slept == pytest.approx([1.05])
