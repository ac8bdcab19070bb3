from __future__ import annotations

from itertools import pairwise

import httpx
import msgspec
import pytest
import respx

from providers.base import Context, LaunchSpec, Offer, Phase
from providers.env import ManualEnv
from providers.errors import (
    AuthFailed,
    BootFailed,
    InvalidRequest,
    NoCapacity,
    OfferGone,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Unavailable,
    Unclassified,
)
from providers.lambda_cloud.adapter import Lambda
from tests.contract import lambda_golden as golden
from tests.unit.lambda_cloud.conftest import ACCOUNT, KEY, paths, refused, sent

KEYS_WITH_OURS = {"data": [*golden.SSH_KEYS["data"], golden.SSH_KEY_ADDED["data"]]}


@pytest.fixture
def resolved(spec: LaunchSpec) -> LaunchSpec:
    """A spec whose key was seen on the account."""
    return msgspec.structs.replace(spec, native={"ssh_key": golden.SSH_KEY_NAME})


async def test_a_launch_sends_what_is_documented_and_names_the_machine(
    cloud: Lambda, wire: respx.MockRouter, offer: Offer, resolved: LaunchSpec, env: ManualEnv
) -> None:
    route = wire.post(golden.LAUNCH_PATH).respond(json=golden.LAUNCHED)
    made = await cloud.launch(offer, resolved, golden.TOKEN)
    assert sent(route) == golden.LAUNCH_BODY
    assert (made.provider, made.account, made.id) == ("lambda", ACCOUNT, golden.INSTANCE_ID)
    assert (made.token, made.owner, made.phase) == (golden.TOKEN, golden.OWNER, Phase.PENDING)
    assert (made.address, made.created_at) == (None, None)
    assert made.handle == {"kind": "instance", "made_at": env.now().isoformat()}
    assert paths(wire) == ["POST /instance-operations/launch"]


async def test_the_key_goes_into_the_header_and_nowhere_else(
    cloud: Lambda, wire: respx.MockRouter, offer: Offer, resolved: LaunchSpec
) -> None:
    route = wire.post(golden.LAUNCH_PATH).respond(json=golden.LAUNCHED)
    await cloud.launch(offer, resolved, golden.TOKEN)
    request = route.calls[0].request
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(request.url)
    assert KEY.encode() not in request.content


# -- the SSH key -------------------------------------------------------------------------------------------


async def test_resolving_looks_for_the_key_and_makes_nothing(
    cloud: Lambda, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec
) -> None:
    wire.get(golden.SSH_KEYS_PATH).respond(json=golden.SSH_KEYS)
    assert (await cloud.resolve(offer, spec)).native == {}
    wire.get(golden.SSH_KEYS_PATH).respond(json=KEYS_WITH_OURS)
    assert (await cloud.resolve(offer, spec)).native == {"ssh_key": golden.SSH_KEY_NAME}
    assert set(paths(wire)) == {"GET /ssh-keys"}


async def test_a_key_that_is_not_there_is_registered_before_the_launch(
    cloud: Lambda, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec
) -> None:
    wire.get(golden.SSH_KEYS_PATH).respond(json=golden.SSH_KEYS)
    added = wire.post(golden.SSH_KEYS_PATH).respond(json=golden.SSH_KEY_ADDED)
    route = wire.post(golden.LAUNCH_PATH).respond(json=golden.LAUNCHED)
    plain = msgspec.structs.replace(spec, ssh_public_key=golden.PUBLIC_KEY)
    await cloud.launch(offer, plain, golden.TOKEN)
    assert sent(added) == golden.ADD_SSH_KEY_BODY
    assert sent(route)["ssh_key_names"] == [golden.SSH_KEY_NAME]
    assert paths(wire) == ["GET /ssh-keys", "POST /ssh-keys", "POST /instance-operations/launch"]


async def test_a_key_that_was_taken_away_since_is_registered_anew_once(
    cloud: Lambda, wire: respx.MockRouter, offer: Offer, resolved: LaunchSpec
) -> None:
    launches = wire.post(golden.LAUNCH_PATH).mock(
        side_effect=[httpx.Response(**refused("resource-not-found")), httpx.Response(200, json=golden.LAUNCHED)]
    )
    wire.get(golden.SSH_KEYS_PATH).respond(json=golden.SSH_KEYS)
    wire.post(golden.SSH_KEYS_PATH).respond(json=golden.SSH_KEY_ADDED)
    made = await cloud.launch(offer, resolved, golden.TOKEN)
    assert made.id == golden.INSTANCE_ID
    assert launches.call_count == 2
    assert paths(wire)[1:4] == ["GET /ssh-keys", "GET /ssh-keys", "POST /ssh-keys"]


async def test_an_unknown_region_or_type_is_an_offer_that_is_gone(
    cloud: Lambda, wire: respx.MockRouter, offer: Offer, resolved: LaunchSpec
) -> None:
    route = wire.post(golden.LAUNCH_PATH).respond(**refused("resource-not-found"))
    wire.get(golden.SSH_KEYS_PATH).respond(json=KEYS_WITH_OURS)
    with pytest.raises(OfferGone):
        await cloud.launch(offer, resolved, golden.TOKEN)
    assert route.call_count == 1


async def test_a_key_that_cannot_be_registered_asks_for_no_machine(
    cloud: Lambda, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec
) -> None:
    wire.get(golden.SSH_KEYS_PATH).respond(json=golden.SSH_KEYS)
    wire.post(golden.SSH_KEYS_PATH).respond(**refused("invalid-api-key"))
    launches = wire.post(golden.LAUNCH_PATH)
    with pytest.raises(AuthFailed):
        await cloud.launch(offer, spec, golden.TOKEN)
    assert not launches.called


# -- images ------------------------------------------------------------------------------------------------


async def test_an_arm_host_gets_the_newest_lambda_stack_of_its_kind_and_region(
    cloud: Lambda, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec
) -> None:
    wire.get(golden.SSH_KEYS_PATH).respond(json=KEYS_WITH_OURS)
    wire.get(golden.IMAGES_PATH).respond(json=golden.IMAGES)
    route = wire.post(golden.LAUNCH_PATH).respond(json=golden.LAUNCHED)
    native = {"instance_type": "gpu_1x_gh200", "region": "europe-central-1", "arch": "arm64"}
    grace = msgspec.structs.replace(offer, gpu="gh200", region="europe-central-1", arch="arm64", native=native)
    full = await cloud.resolve(grace, spec)
    assert full.native["image_id"] == "5c0cb0b4-0000-4000-8000-000000000002"
    await cloud.launch(grace, full, golden.TOKEN)
    assert sent(route)["image"] == {"id": "5c0cb0b4-0000-4000-8000-000000000002"}


async def test_an_arm_host_without_a_listed_image_gets_the_default(
    cloud: Lambda, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec
) -> None:
    wire.get(golden.SSH_KEYS_PATH).respond(json=KEYS_WITH_OURS)
    wire.get(golden.IMAGES_PATH).respond(json={"data": []})
    native = {"instance_type": "gpu_1x_gh200", "region": "europe-central-1"}
    grace = msgspec.structs.replace(offer, arch="arm64", native=native)
    assert "image_id" not in (await cloud.resolve(grace, spec)).native


# -- refusals and unknown outcomes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "type_"),
    [
        ("insufficient-capacity", "NoCapacity"),
        ("quota-exceeded", "QuotaExceeded"),
        ("invalid-parameters", "InvalidRequest"),
        ("invalid-api-key", "AuthFailed"),
        ("account-inactive", "Forbidden"),
        ("invalid-address", "Forbidden"),
        ("forbidden", "Forbidden"),
        ("internal-error", "OutcomeUnknown"),
        ("provider-unavailable", "OutcomeUnknown"),
        ("rate-limited", "RateLimited"),
    ],
)
async def test_a_refused_launch_is_typed_and_sent_once(
    cloud: Lambda, wire: respx.MockRouter, offer: Offer, resolved: LaunchSpec, case: str, type_: str
) -> None:
    route = wire.post(golden.LAUNCH_PATH).respond(**refused(case))
    with pytest.raises(ProviderError) as caught:
        await cloud.launch(offer, resolved, golden.TOKEN)
    assert caught.value.type == type_
    assert caught.value.left == ()
    assert route.call_count == 1


async def test_a_code_that_nobody_knows_is_kept_and_counted(
    cloud: Lambda,
    wire: respx.MockRouter,
    offer: Offer,
    resolved: LaunchSpec,
    unclassified: list[tuple[str, str, str]],
) -> None:
    wire.post(golden.LAUNCH_PATH).respond(400, json=golden.refusal("global/brand-new", "Something new."))
    with pytest.raises(Unclassified):
        await cloud.launch(offer, resolved, golden.TOKEN)
    assert unclassified == [("lambda", "global/brand-new", "Something new.")]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
        httpx.Response(502, html="<html>bad gateway</html>"),
        httpx.Response(403, html="<html>blocked</html>"),
        httpx.Response(301, headers={"location": "https://cloud.lambdalabs.com/"}),
        httpx.Response(200, html="<html>hello</html>"),
        httpx.Response(200, json={"data": {}}),
        httpx.Response(200, json={"data": {"instance_ids": []}}),
        httpx.Response(200, json={"data": {"instance_ids": [None]}}),
        httpx.Response(200, json={"data": [1]}),
        httpx.Response(200, json=None),
        httpx.Response(200),
    ],
    ids=str,
)
async def test_an_unclear_launch_is_never_repeated(
    cloud: Lambda,
    wire: respx.MockRouter,
    offer: Offer,
    resolved: LaunchSpec,
    answer: httpx.Response | Exception,
) -> None:
    route = wire.post(golden.LAUNCH_PATH).mock(side_effect=[answer])
    with pytest.raises(OutcomeUnknown):
        await cloud.launch(offer, resolved, golden.TOKEN)
    assert route.call_count == 1


async def test_a_launch_that_never_left_may_be_tried_again(
    cloud: Lambda, wire: respx.MockRouter, offer: Offer, resolved: LaunchSpec
) -> None:
    route = wire.post(golden.LAUNCH_PATH).mock(side_effect=httpx.ConnectError("no route"))
    with pytest.raises(Unavailable):
        await cloud.launch(offer, resolved, golden.TOKEN)
    assert route.call_count == 1


async def test_more_machines_than_asked_for_are_all_handed_back_to_be_ended(
    cloud: Lambda, wire: respx.MockRouter, offer: Offer, resolved: LaunchSpec
) -> None:
    wire.post(golden.LAUNCH_PATH).respond(json={"data": {"instance_ids": ["a" * 32, "b" * 32]}})
    with pytest.raises(BootFailed) as caught:
        await cloud.launch(offer, resolved, golden.TOKEN)
    assert [one.id for one in caught.value.left] == ["a" * 32, "b" * 32]


async def test_a_rate_limit_without_a_word_waits_ten_seconds(
    cloud: Lambda, wire: respx.MockRouter, offer: Offer, resolved: LaunchSpec
) -> None:
    wire.post(golden.LAUNCH_PATH).respond(429)
    with pytest.raises(RateLimited) as caught:
        await cloud.launch(offer, resolved, golden.TOKEN)
    assert caught.value.wait_s == 10.0


async def test_no_message_shows_the_key_or_the_environment(
    cloud: Lambda,
    wire: respx.MockRouter,
    offer: Offer,
    resolved: LaunchSpec,
    unclassified: list[tuple[str, str, str]],
) -> None:
    said = f"bad user_data: export TOKEN=hunter2-hunter2 for {KEY}"
    wire.post(golden.LAUNCH_PATH).respond(400, json=golden.refusal("global/brand-new", said))
    secretive = msgspec.structs.replace(resolved, env={"TOKEN": "hunter2-hunter2"})
    with pytest.raises(Unclassified) as caught:
        await cloud.launch(offer, secretive, golden.TOKEN)
    for text in (str(caught.value), unclassified[0][2]):
        assert "hunter2" not in text
        assert KEY not in text


# -- what is refused before anything is sent ----------------------------------------------------------------


async def test_a_type_without_a_region_is_not_asked_for(
    cloud: Lambda, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec
) -> None:
    nowhere = msgspec.structs.replace(offer, native={"instance_type": "gpu_1x_a10"})
    with pytest.raises(NoCapacity):
        await cloud.launch(nowhere, spec, golden.TOKEN)
    assert not wire.calls  # nor was a key registered


async def test_an_image_is_refused_and_ports_only_leave_this_offer_out(
    cloud: Lambda, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec
) -> None:
    for verb in (cloud.resolve, lambda offer, spec: cloud.launch(offer, spec, golden.TOKEN)):
        with pytest.raises(InvalidRequest):
            await verb(offer, msgspec.structs.replace(spec, image="me/mine:1"))
    with pytest.raises(Unclassified) as caught:
        await cloud.resolve(offer, msgspec.structs.replace(spec, ports=("8080/http",)))
    assert (caught.value.then.value, caught.value.hold_s) == ("next-offer", 0.0)
    assert not wire.calls


# -- pace --------------------------------------------------------------------------------------------------


async def test_launches_are_twelve_seconds_apart_and_all_calls_one(
    cloud: Lambda, wire: respx.MockRouter, offer: Offer, resolved: LaunchSpec, env: ManualEnv
) -> None:
    at: list[tuple[str, float]] = []

    def note(path: str, body: object) -> None:
        def answer(request: httpx.Request) -> httpx.Response:
            at.append((request.method, env.monotonic()))
            return httpx.Response(200, json=body)

        wire.route(path=path).mock(side_effect=answer)

    note(golden.LAUNCH_PATH, golden.LAUNCHED)
    note(golden.INSTANCES_PATH, golden.INSTANCES)
    for _ in range(3):
        await cloud.launch(offer, resolved, golden.TOKEN)
        await cloud.owned()
        await cloud.owned()
    launches = [when for method, when in at if method == "POST"]
    assert all(later - earlier >= 12.0 for earlier, later in pairwise(launches))
    everything = [when for _, when in at]
    assert all(later - earlier >= 1.0 for earlier, later in pairwise(everything))


async def test_two_keys_do_not_slow_each_other_and_all_processes_share(
    context: Context, wire: respx.MockRouter
) -> None:
    seen: list[tuple[str, float]] = []

    class Noting:
        async def wait(self, key: str, spacing_s: float) -> None:
            seen.append((key, spacing_s))

    context.pace = Noting()
    wire.get(golden.INSTANCES_PATH).respond(json=golden.INSTANCES)
    adapter = Lambda(context)
    await adapter.owned()
    await adapter.aclose()
    assert seen == [(f"lambda:{ACCOUNT}:*", 1.05)]
    assert all(rate.spacing_s >= 1 for rate in adapter.facts.rates)  # so the engine keeps them in the store
