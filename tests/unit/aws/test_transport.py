"""What goes wrong between us and AWS: refused, cut, garbled, slow down; and what each proves."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest

from providers import errors
from providers.aws.adapter import Aws
from providers.base import Context, LaunchSpec, Offer
from providers.env import ManualEnv
from tests.unit.aws.conftest import KEY_ID, SECRET, TOKEN
from tests.unit.aws.wire import Answer, Wire, instance, items, refused, reservations, xml

HTML = "<html><body>Sorry, we are down for maintenance</body></html>"
FULL = "We currently do not have sufficient g6e.xlarge capacity in the Availability Zone you requested (us-east-1a)."

GARBLED = {
    "cut": Answer(cut=True),
    "json": Answer('{"oops": [1, 2'),
    "html": Answer(HTML),
    "empty": Answer(""),
    "truncated": Answer("<RunInstancesResponse><instancesSet><item><instan", short=True),
    "another answer": xml("DescribeVolumes"),
    "redirect": Answer(status=302, headers={"Location": "http://192.0.2.1/"}),
    "proxy's 502": Answer(HTML, status=502),
    "proxy's 404": Answer(HTML, status=404),
    "own 500": refused("InternalError", 500),
    "own 503": refused("Unavailable", 503),
    "unknown 500": refused("SomethingNew", 500),
    "another 500": refused("ServiceUnavailable", 503),
}


def with_group(wire: Wire) -> None:
    group = f"<groupId>sg-0b</groupId><groupName>{_group()}</groupName>" + items(
        "ipPermissions", "<ipProtocol>tcp</ipProtocol><fromPort>22</fromPort><toPort>22</toPort>"
    )
    wire.on("DescribeSecurityGroups", xml("DescribeSecurityGroups", items("securityGroupInfo", group)))
    wire.on("DeleteSecurityGroup", xml("DeleteSecurityGroup", "<return>true</return>"))


def _group() -> str:
    from providers.aws.network import group_name
    from tests.unit.aws.conftest import OWNER

    return group_name(OWNER, ())


@pytest.mark.parametrize("name", GARBLED)
async def test_a_launch_without_a_readable_answer_has_an_unknown_outcome_and_was_sent_once(
    name: str, aws: Aws, wire: Wire, offer: Offer, resolved: LaunchSpec
) -> None:
    with_group(wire)
    wire.on("RunInstances", GARBLED[name])
    with pytest.raises(errors.OutcomeUnknown):
        await aws.launch(offer, resolved, TOKEN)
    assert len(wire.of("RunInstances")) == 1
    # Something may use the group now.
    assert not wire.of("DeleteSecurityGroup")


@pytest.mark.parametrize("name", GARBLED)
async def test_a_listing_that_cannot_be_read_raises_after_three_tries(name: str, aws: Aws, wire: Wire) -> None:
    wire.on("DescribeInstances", GARBLED[name])
    with pytest.raises(errors.ProviderError):
        await aws.owned()
    assert len(wire.of("DescribeInstances")) == (1 if name == "proxy's 404" else 3)


async def test_a_read_is_tried_again_after_one_fault(aws: Aws, wire: Wire) -> None:
    wire.on("DescribeInstances", Answer(cut=True), xml("DescribeInstances", reservations()))
    assert await aws.owned() == []


async def test_a_full_zone_is_known_at_once_although_it_is_a_500(
    aws: Aws, wire: Wire, env: ManualEnv, offer: Offer, resolved: LaunchSpec
) -> None:
    with_group(wire)
    wire.on("RunInstances", refused("InsufficientInstanceCapacity", 500, FULL))
    with pytest.raises(errors.NoCapacity) as caught:
        await aws.launch(offer, resolved, TOKEN)
    assert (caught.value.code, caught.value.scope, caught.value.hold_s) == (
        "InsufficientInstanceCapacity",
        "offer",
        180,
    )
    assert caught.value.message == FULL
    assert len(wire.of("RunInstances")) == 1
    assert not any(seconds > 0 for seconds in env.slept)
    assert [one.params["GroupId"] for one in wire.of("DeleteSecurityGroup")] == ["sg-0b"]


async def test_a_provider_that_is_not_there_is_proven_to_come_before_the_effect(
    context: Context, offer: Offer, resolved: LaunchSpec
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {**context.settings, "ORCH_AWS_URL": f"http://127.0.0.1:{port}"}
    adapter = Aws(Context(env=context.env, settings=settings, owner=context.owner))
    try:
        with pytest.raises(errors.Unavailable) as caught:
            await adapter._run("us-east-1", offer, resolved, TOKEN, "sg-0b", "G")
        assert caught.value.code == "not-reached"
    finally:
        await adapter.aclose()


async def test_a_rate_limit_on_a_launch_says_how_long_and_is_not_repeated(
    aws: Aws, wire: Wire, offer: Offer, resolved: LaunchSpec
) -> None:
    with_group(wire)
    wire.on("RunInstances", refused("RequestLimitExceeded", 503, "Request limit exceeded.", Retry_After="7"))
    with pytest.raises(errors.RateLimited) as caught:
        await aws.launch(offer, resolved, TOKEN)
    assert caught.value.wait_s == 7
    assert len(wire.of("RunInstances")) == 1


async def test_a_read_waits_out_a_rate_limit(aws: Aws, wire: Wire, env: ManualEnv) -> None:
    limited = refused("RequestLimitExceeded", 503, "Request limit exceeded.")
    wire.on("DescribeInstances", limited, xml("DescribeInstances", reservations()))
    assert await aws.owned() == []
    assert max(env.slept) == 5


async def test_an_unknown_code_keeps_its_text_and_is_counted(
    aws: Aws, wire: Wire, offer: Offer, resolved: LaunchSpec, unclassified: list[tuple[str, str, str]]
) -> None:
    with_group(wire)
    wire.on("RunInstances", refused("MoonPhaseUnsuitable", 400, "the moon is wrong"))
    with pytest.raises(errors.Unclassified) as caught:
        await aws.launch(offer, resolved, TOKEN)
    assert caught.value.message == "the moon is wrong"
    assert unclassified == [("aws", "MoonPhaseUnsuitable", "the moon is wrong")]


async def test_keys_never_show_in_an_error(aws: Aws, wire: Wire) -> None:
    wire.on("GetCallerIdentity", refused("InvalidClientTokenId", 403, f"{KEY_ID} and {SECRET} are wrong"))
    with pytest.raises(errors.AuthFailed) as caught:
        await aws.account()
    assert KEY_ID not in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_pages_are_followed_to_the_end_and_never_in_a_circle(aws: Aws, wire: Wire) -> None:
    from tests.unit.aws.conftest import OWNER
    from tests.unit.aws.wire import tag_set

    ours = tag_set(orch_owner=OWNER, orch_token=TOKEN)
    first = xml("DescribeInstances", reservations(instance("i-1", tags=ours), next_token="two"))
    wire.on("DescribeInstances", first, xml("DescribeInstances", reservations(instance("i-2", tags=ours))))
    assert [one.id for one in await aws.owned()] == ["i-1", "i-2"]
    assert wire.of("DescribeInstances")[1].params["NextToken"] == "two"
    wire.on("DescribeInstances", first)
    with pytest.raises(errors.Unavailable):
        await aws.owned()


async def test_a_page_that_fails_never_leaves_half_a_list(aws: Aws, wire: Wire) -> None:
    first = xml("DescribeInstances", reservations(instance("i-1"), next_token="two"))
    wire.on("DescribeInstances", first, Answer(HTML))
    with pytest.raises(errors.Unavailable):
        await aws.owned()


async def test_one_base_url_serves_every_service_and_the_signature_tells_them_apart(aws: Aws, wire: Wire) -> None:
    wire.on("DescribeInstances", xml("DescribeInstances", reservations()))
    await aws.owned()
    asked = {one.action: (one.service, one.region, one.key_id, one.path) for one in wire.asked}
    assert asked["GetCallerIdentity"] == ("sts", "us-east-1", KEY_ID, "/aws/")
    assert asked["DescribeInstances"] == ("ec2", "us-east-1", KEY_ID, "/aws/")


async def test_credentials_that_are_over_are_read_anew_once(context: Context, wire: Wire, tmp_path: Path) -> None:
    file = tmp_path / ".aws" / "credentials"
    file.parent.mkdir()
    file.write_text("[default]\naws_access_key_id = ASIAOLD\naws_secret_access_key = x\naws_session_token = y\n")
    settings = {key: value for key, value in context.settings.items() if not key.startswith("AWS_")}
    settings["AWS_EC2_METADATA_DISABLED"] = "true"
    adapter = Aws(Context(env=context.env, settings=settings, owner=context.owner))

    def renew(_: object) -> Answer:
        file.write_text(file.read_text().replace("ASIAOLD", "ASIANEW"))
        return refused("ExpiredToken", 403, "The security token included in the request is expired")

    from tests.unit.aws.wire import identity

    wire.on("GetCallerIdentity", renew, identity())
    try:
        assert await adapter.account() == "123456789012"
    finally:
        await adapter.aclose()
    assert [one.key_id for one in wire.of("GetCallerIdentity")] == ["ASIAOLD", "ASIANEW"]


async def test_a_replay_is_word_for_word_the_same(aws: Aws, wire: Wire, offer: Offer, resolved: LaunchSpec) -> None:
    with_group(wire)
    made = xml("RunInstances", items("instancesSet", instance()))
    wire.on("RunInstances", Answer(cut=True), made)
    with pytest.raises(errors.OutcomeUnknown):
        await aws.launch(offer, resolved, TOKEN)
    stored = msgspec.json.decode(msgspec.json.encode(resolved), type=LaunchSpec)
    await aws.launch(offer, stored, TOKEN)
    first, second = wire.of("RunInstances")
    assert first.params == second.params
