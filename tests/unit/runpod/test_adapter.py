"""The contract over RunPod's wire: launch, find, owned, terminate, check."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest
import respx

from providers import errors
from providers.base import AttemptRef, Context, Instance, LaunchSpec, LocalPace, Offer, Phase
from providers.env import ManualEnv
from providers.naming import make
from providers.runpod.adapter import RunPod
from tests.contract import runpod_golden as golden

PODS = "/v2/pods"
ID = golden.READY["id"]
POD = f"{PODS}/{ID}"
OWNER = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"
TOKEN = make(OWNER, "abcdefghi", 1)

Build = Callable[..., dict[str, Any]]
Attempt = Callable[..., AttemptRef]


async def test_a_launch_sends_one_create_with_our_key_and_agent(
    runpod: RunPod, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec, pod: Build, env: ManualEnv
) -> None:
    wire.post(PODS).respond(201, json=pod(golden.CREATED))
    made = await runpod.launch(offer, spec, TOKEN)
    assert (made.id, made.token, made.owner, made.phase) == (ID, TOKEN, OWNER, Phase.PENDING)
    assert (made.address, made.failure, made.usd_per_hour) == (None, None, Decimal("0.99"))
    assert made.account == await runpod.account()
    assert made.handle == {"kind": "pod", "made_at": env.now().isoformat()}
    [call] = wire.calls
    assert call.request.headers["authorization"].startswith("Bearer rpa_")
    assert call.request.headers["user-agent"].startswith("gpu-orch/")
    assert json.loads(call.request.content)["name"] == TOKEN


async def test_a_rate_above_the_promise_is_handed_out_for_the_engine_to_see(
    runpod: RunPod, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec, pod: Build
) -> None:
    wire.post(PODS).respond(201, json=pod(golden.CREATED, cost=1.25))
    assert (await runpod.launch(offer, spec, TOKEN)).usd_per_hour == Decimal("1.25")


@pytest.mark.parametrize(
    ("status", "body", "type_"),
    [
        (400, golden.CAPACITY, errors.NoCapacity),
        (400, golden.RULE_BROKEN, errors.Unclassified),
        (401, golden.NO_TOKEN, errors.AuthFailed),
        (402, golden.NO_MONEY, errors.NoFunds),
        (403, golden.DENIED, errors.Forbidden),
        (404, golden.NOT_FOUND, errors.OfferGone),
        (422, golden.EXTRA_KEY, errors.InvalidRequest),
        (429, golden.TOO_FAST, errors.RateLimited),
        (500, golden.problem(500, "Internal Server Error", "oops"), errors.OutcomeUnknown),
        (500, golden.CAPACITY, errors.OutcomeUnknown),
        (503, golden.problem(503, "Service Unavailable", "try later"), errors.OutcomeUnknown),
    ],
)
async def test_a_refused_create_is_classed_and_never_sent_twice(
    runpod: RunPod,
    wire: respx.MockRouter,
    offer: Offer,
    spec: LaunchSpec,
    status: int,
    body: Any,
    type_: type[errors.ProviderError],
) -> None:
    wire.post(PODS).respond(status, json=body)
    with pytest.raises(errors.ProviderError) as failure:
        await runpod.launch(offer, spec, TOKEN)
    assert type(failure.value) is type_
    assert len(wire.calls) == 1


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(201, content=b""),
        httpx.Response(201, content=b"null"),
        httpx.Response(201, html="<html>ok</html>"),
        httpx.Response(201, json={"status": "PROVISIONING"}),
        httpx.Response(201, json={"id": 3}),
        httpx.Response(302, headers={"location": "https://example.com"}),
        httpx.Response(403, html="<html>a firewall's page</html>"),
        httpx.Response(524, html="<html>timeout</html>"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
    ],
)
async def test_an_answer_that_cannot_be_read_leaves_the_outcome_unknown(
    runpod: RunPod, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec, answer: Any
) -> None:
    wire.post(PODS).mock(side_effect=[answer])
    with pytest.raises(errors.OutcomeUnknown):
        await runpod.launch(offer, spec, TOKEN)


async def test_cloudflares_block_is_not_read_as_a_bad_key(
    runpod: RunPod, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec
) -> None:
    wire.post(PODS).respond(403, html=golden.CLOUDFLARE_1010)
    with pytest.raises(errors.Unavailable, match="User-Agent") as failure:
        await runpod.launch(offer, spec, TOKEN)
    assert failure.value.scope == "provider"


async def test_the_users_environment_and_the_key_stay_out_of_messages(
    runpod: RunPod,
    wire: respx.MockRouter,
    offer: Offer,
    spec: LaunchSpec,
    unclassified: list[tuple[str, str, str]],
    context: Context,
) -> None:
    secret, key = "hf_verysecret", context.settings["RUNPOD_API_KEY"]
    spec = msgspec.structs.replace(spec, env={"HF_TOKEN": secret, "N": "1"})
    said = golden.problem(400, "Bad Request", f"bad 1: {secret} {key}", f"$.env.HF_TOKEN: '{secret}'")
    for status in (400, 422, 500):
        wire.post(PODS).respond(status, json=said)
        with pytest.raises(errors.ProviderError) as failure:
            await runpod.launch(offer, spec, TOKEN)
        shown = f"{failure.value} {failure.value.message} {failure.value.args} {unclassified}"
        assert secret not in shown
        assert key not in shown
        assert "bad 1" in shown, "short values are left alone"
    assert [code for _, code, _ in unclassified] == ["http-400"]


async def test_a_pod_is_found_by_name_after_an_unknown_outcome(
    runpod: RunPod, wire: respx.MockRouter, pod: Build, attempt: Attempt
) -> None:
    others = [
        pod(id="a", name="somebody-else"),
        pod(id="b", name=make(OWNER, "abcdefghi", 2)),
        pod(id="c", env={"ORCH_OWNER": OTHER}),
    ]
    wire.get(PODS).respond(json={"pods": [*others, pod()]})
    found = await runpod.find(attempt())
    assert found is not None
    assert (found.id, found.phase) == (ID, Phase.RUNNING)
    wire.get(PODS).respond(json={"pods": others})
    assert await runpod.find(attempt()) is None


async def test_of_two_pods_with_one_name_the_older_live_one_is_found(
    runpod: RunPod, wire: respx.MockRouter, pod: Build, attempt: Attempt
) -> None:
    listed = [
        pod(id="gone", status="TERMINATED", createdAt="2026-08-20T06:00:00Z"),
        pod(id="late", createdAt="2026-08-20T06:17:00Z"),
        pod(id="early", createdAt="2026-08-20T06:16:00Z"),
    ]
    wire.get(PODS).respond(json={"pods": listed})
    found = await runpod.find(attempt())
    assert found is not None
    assert found.id == "early"
    assert {one.id for one in await runpod.owned()} == {"late", "early"}


async def test_the_address_is_read_anew_each_time(
    runpod: RunPod, wire: respx.MockRouter, pod: Build, attempt: Attempt
) -> None:
    moved = pod(ssh={"proxy": None, "direct": {"host": "213.173.104.74", "port": 40001, "username": "root"}})
    wire.get(POD).mock(side_effect=[httpx.Response(200, json=pod()), httpx.Response(200, json=moved)])
    ports = []
    for _ in range(2):
        found = await runpod.find(attempt(instance_id=ID))
        assert found is not None
        assert found.address is not None
        ports.append(found.address.port)
    assert ports == [35558, 40001]


async def test_a_known_pod_that_runpod_does_not_know_is_gone(
    runpod: RunPod, wire: respx.MockRouter, attempt: Attempt
) -> None:
    wire.get(POD).respond(404, json=golden.POD_NOT_FOUND)
    found = await runpod.find(attempt(instance_id=ID, handle={"kind": "pod"}))
    assert found is not None
    assert (found.phase, found.id, found.token, found.owner) == (Phase.GONE, ID, TOKEN, OWNER)


async def test_a_pod_that_was_made_a_moment_ago_is_not_called_gone(
    runpod: RunPod, wire: respx.MockRouter, attempt: Attempt, env: ManualEnv
) -> None:
    wire.get(POD).respond(404, json=golden.POD_NOT_FOUND)
    known = attempt(instance_id=ID, handle={"made_at": env.now().isoformat()})
    assert await runpod.find(known) is None
    env.advance(runpod.facts.consistency_s)
    found = await runpod.find(known)
    assert found is not None
    assert found.phase is Phase.GONE
    ahead = {"made_at": (env.now() + timedelta(days=3)).isoformat()}
    assert await runpod.find(attempt(instance_id=ID, handle=ahead)) is not None, "another clock's future"


async def test_under_another_key_a_missing_pod_is_only_not_found(
    runpod: RunPod, wire: respx.MockRouter, attempt: Attempt
) -> None:
    wire.get(POD).respond(404, json=golden.POD_NOT_FOUND)
    assert await runpod.find(attempt(instance_id=ID, account="key-another")) is None


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, html="<html>not here</html>"),
        httpx.Response(404, json={"message": "no Route matched"}),
        httpx.Response(200, html="<html>maintenance</html>"),
        httpx.Response(200, content=b""),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"id": "another"}),
        httpx.Response(410, json=golden.problem(410, "Gone", "this API version is gone")),
        httpx.Response(503),
        httpx.ConnectError("down"),
    ],
)
async def test_odd_answers_never_count_as_gone(
    runpod: RunPod, wire: respx.MockRouter, attempt: Attempt, pod: Build, answer: Any
) -> None:
    def always(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    wire.get(POD).mock(side_effect=always)
    wire.delete(POD).respond(204)
    with pytest.raises(errors.ProviderError):
        await runpod.find(attempt(instance_id=ID))
    with pytest.raises(errors.ProviderError):
        await runpod.terminate(Instance(provider="runpod", account=await runpod.account(), id=ID))
    wire.delete(POD).mock(side_effect=always)
    wire.get(POD).respond(json=pod())
    ended: bool | None = None
    with suppress(errors.ProviderError):
        ended = await runpod.terminate(Instance(provider="runpod", account=await runpod.account(), id=ID))
    assert ended is not True


async def test_owned_is_one_list_filtered_by_our_mark(runpod: RunPod, wire: respx.MockRouter, pod: Build) -> None:
    wire.get(PODS).respond(
        json={
            "pods": [
                pod(id="ours"),
                pod(id="ours-stopped", status="EXITED"),
                pod(id="ours-without-env", env={}),
                pod(id="ours-ended", status="TERMINATED"),
                pod(id="renamed", name="mine now"),
                pod(id="same-seven-characters", env={"ORCH_OWNER": OTHER}),
                pod(id="another-installation", name=make(OTHER, "abcdefghi", 1)),
                {"id": "bare"},
                {"name": "foreign pod without an id"},
            ]
        }
    )
    seen = {one.id: one for one in await runpod.owned()}
    assert sorted(seen) == ["ours", "ours-stopped", "ours-without-env"]
    assert {one.token for one in seen.values()} == {TOKEN}
    assert seen["ours-stopped"].phase is Phase.FAILED
    assert len(wire.calls) == 1


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b'{"pods": null}', b'{"pods": [null]}', b"<html>"])
async def test_an_unreadable_list_never_looks_empty(
    runpod: RunPod, wire: respx.MockRouter, attempt: Attempt, body: bytes
) -> None:
    wire.get(PODS).respond(200, content=body)
    with pytest.raises(errors.Unavailable):
        await runpod.owned()
    with pytest.raises(errors.Unavailable):
        await runpod.find(attempt())


async def test_a_pod_of_ours_without_an_id_makes_the_list_unreadable(
    runpod: RunPod, wire: respx.MockRouter, pod: Build
) -> None:
    wire.get(PODS).respond(json={"pods": [pod(id=None)]})
    with pytest.raises(errors.Unavailable, match="no id"):
        await runpod.owned()


@pytest.fixture
async def machine(runpod: RunPod) -> Instance:
    return Instance(provider="runpod", account=await runpod.account(), id=ID)


async def test_terminate_is_true_only_once_the_pod_is_not_found(
    runpod: RunPod, wire: respx.MockRouter, pod: Build, machine: Instance
) -> None:
    wire.delete(POD).respond(204)
    wire.get(POD).mock(side_effect=[httpx.Response(200, json=pod()), httpx.Response(404, json=golden.POD_NOT_FOUND)])
    assert await runpod.terminate(machine) is False
    assert await runpod.terminate(machine) is True


async def test_a_second_terminate_finds_nothing_and_is_true(
    runpod: RunPod, wire: respx.MockRouter, machine: Instance
) -> None:
    wire.delete(POD).respond(404, json=golden.POD_NOT_FOUND)
    assert await runpod.terminate(machine) is True
    assert len(wire.calls) == 1


async def test_a_tombstone_counts_as_gone(
    runpod: RunPod, wire: respx.MockRouter, pod: Build, machine: Instance
) -> None:
    wire.delete(POD).respond(409, json=golden.CONFLICT)
    wire.get(POD).respond(json=pod(status="TERMINATED"))
    assert await runpod.terminate(machine) is True


async def test_a_conflict_is_not_the_end(runpod: RunPod, wire: respx.MockRouter, pod: Build, machine: Instance) -> None:
    wire.delete(POD).respond(409, json=golden.CONFLICT)
    wire.get(POD).respond(json=pod(locked=True))
    assert await runpod.terminate(machine) is False


async def test_a_lost_answer_to_a_delete_is_asked_again(
    runpod: RunPod, wire: respx.MockRouter, machine: Instance
) -> None:
    wire.delete(POD).mock(side_effect=[httpx.ReadTimeout("slow"), httpx.Response(404, json=golden.POD_NOT_FOUND)])
    assert await runpod.terminate(machine) is True


async def test_under_another_key_not_finding_a_pod_does_not_end_it(runpod: RunPod, wire: respx.MockRouter) -> None:
    wire.delete(POD).respond(404, json=golden.POD_NOT_FOUND)
    with pytest.raises(errors.Forbidden, match="another key"):
        await runpod.terminate(Instance(provider="runpod", account="key-another", id=ID))


async def test_an_id_cannot_lead_the_path_elsewhere(runpod: RunPod, wire: respx.MockRouter, machine: Instance) -> None:
    wire.route().respond(404, json=golden.POD_NOT_FOUND)
    odd = Instance(provider="runpod", account=machine.account, id="../templates/x?y=1")
    assert await runpod.terminate(odd) is True
    assert wire.calls[0].request.url.raw_path == b"/v2/pods/..%2Ftemplates%2Fx%3Fy%3D1"


async def test_a_read_that_is_limited_waits_as_told_and_goes_on(
    runpod: RunPod, wire: respx.MockRouter, env: ManualEnv
) -> None:
    limited = httpx.Response(429, json=golden.TOO_FAST, headers=golden.TOO_FAST_HEADERS)
    wire.get(PODS).mock(side_effect=[limited, httpx.Response(200, json={"pods": []})])
    assert await runpod.owned() == []
    assert 12.0 in env.slept


async def test_polling_is_spaced_out_and_launches_are_not(
    context: Context, env: ManualEnv, wire: respx.MockRouter, offer: Offer, spec: LaunchSpec, pod: Build
) -> None:
    context.pace = LocalPace(env)
    adapter = RunPod(context)
    wire.get(PODS).respond(json={"pods": []})
    wire.post(PODS).respond(201, json=pod(golden.CREATED))
    started = env.now()
    for _ in range(51):
        await adapter.owned()
    assert (env.now() - started).total_seconds() >= 60, "at most 50 polls fit into a minute"
    before = env.now()
    for _ in range(5):
        await adapter.launch(offer, spec, TOKEN)
    assert env.now() == before
    await adapter.aclose()


async def test_check_shows_the_account_and_no_secret(
    runpod: RunPod, wire: respx.MockRouter, pod: Build, context: Context
) -> None:
    wire.get(PODS).respond(json={"pods": [pod(), {"id": "foreign"}]})
    shown = await runpod.check()
    assert shown["account"] == await runpod.account()
    assert shown["pods"] == "2 in the account, 1 of this installation"
    assert context.settings["RUNPOD_API_KEY"] not in str(shown)


async def test_the_base_url_can_be_replaced_and_keeps_its_path(context: Context) -> None:
    context.settings = {**context.settings, "ORCH_RUNPOD_URL": "http://127.0.0.1:9/runpod/"}
    adapter = RunPod(context)
    with respx.mock() as router:
        router.get("http://127.0.0.1:9/runpod/v2/pods").respond(json={"pods": []})
        assert await adapter.owned() == []
    await adapter.aclose()
