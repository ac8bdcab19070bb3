"""What a Pod's state means: every way to fail, with the error that it stands for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from providers import errors
from providers.base import AttemptRef, LaunchSpec, Phase
from providers.coreweave.adapter import CoreWeave
from providers.env import ManualEnv
from tests.unit.coreweave.conftest import (
    OTHER_OWNER,
    OWNER,
    POOLS,
    TOKEN,
    Api,
    attempt,
    gpu_node,
    only,
    refuse_place,
    run,
    stamp,
    status,
)

NS = "/api/v1/namespaces/orch"
POD, SERVICE, POOL = f"{NS}/pods/{TOKEN}", f"{NS}/services/{TOKEN}", f"{POOLS}/{TOKEN}"
NODE = "/api/v1/nodes/g1"


@pytest.fixture
async def ref(cloud: CoreWeave, api: Api, spec: LaunchSpec) -> AttemptRef:
    """A launched Pod that has a node."""
    api.put("/api/v1/nodes", gpu_node())
    offer = await only(cloud)
    made = await cloud.launch(offer, spec, TOKEN)
    return await attempt(cloud, offer, spec, instance_id=made.id, handle=made.handle)


def container(api: Api, restarts: int = 0, **state: Any) -> None:
    row = {"name": "main", "restartCount": restarts, "state": state}
    api.objects[POD]["status"]["containerStatuses"] = [row]


async def failure(cloud: CoreWeave, ref: AttemptRef) -> errors.ProviderError | None:
    seen = await cloud.find(ref)
    assert seen is not None
    assert (seen.failure is not None) == (seen.phase is Phase.FAILED)
    assert seen.address is None
    return seen.failure


@pytest.mark.parametrize(
    ("reason", "message", "error"),
    [
        ("ErrImagePull", 'rpc error: code = NotFound desc = "x:1": not found', errors.BadWorkload),
        ("ImagePullBackOff", 'Back-off pulling image "x": ErrImagePull: manifest unknown', errors.BadWorkload),
        ("ErrImagePull", "failed to authorize: 401 Unauthorized", errors.BadWorkload),
        ("InvalidImageName", "couldn't parse image name", errors.BadWorkload),
        ("CreateContainerConfigError", "secret not found", errors.BadWorkload),
        ("RunContainerError", 'exec: "/bin/sh": no such file or directory', errors.BadWorkload),
        ("RunContainerError", "nvidia-container-cli: initialization error: nvml error", errors.BootFailed),
        ("CreateContainerError", "nvidia-container-runtime: no driver", errors.BootFailed),
        ("ErrImagePull", "write /var/lib/containerd/x: no space left on device", errors.BootFailed),
        ("ErrImagePull", "dial tcp 192.0.2.1:443: i/o timeout", None),
        ("ErrImagePull", 'Head "https://r.example/v2/": context deadline exceeded', None),
        ("ErrImagePull", "lookup r.example: server misbehaving", None),
        ("ErrImagePull", "429 Too Many Requests (toomanyrequests)", None),
        ("ImagePullBackOff", 'Back-off pulling image "terraform"', None),
        ("ContainerCreating", "", None),
        ("SomethingNew", "who knows", None),
    ],
)
async def test_what_a_container_waits_for_tells_whose_fault_it_is(
    cloud: CoreWeave, api: Api, ref: AttemptRef, reason: str, message: str, error: type[Exception] | None
) -> None:
    container(api, waiting={"reason": reason, "message": message})
    assert type(await failure(cloud, ref)) is (error or type(None))


async def test_a_registry_that_stays_away_is_not_the_users_fault(
    cloud: CoreWeave, api: Api, ref: AttemptRef, env: ManualEnv
) -> None:
    container(api, waiting={"reason": "ErrImagePull", "message": "i/o timeout"})
    env.advance(181)
    assert isinstance(await failure(cloud, ref), errors.BootFailed)


async def test_a_pull_that_backs_off_without_a_reason_for_long_is_the_images_fault(
    cloud: CoreWeave, api: Api, ref: AttemptRef, env: ManualEnv
) -> None:
    container(api, waiting={"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'})
    env.advance(61)
    assert isinstance(await failure(cloud, ref), errors.BadWorkload)


async def test_a_command_that_dies_again_and_again_is_the_users_fault_with_its_last_words(
    cloud: CoreWeave, api: Api, ref: AttemptRef
) -> None:
    run(api.objects[POD])
    container(api, 1, waiting={"reason": "CrashLoopBackOff", "message": "back-off 10s"})
    assert await failure(cloud, ref) is None
    container(api, 2, waiting={"reason": "CrashLoopBackOff", "message": "back-off 20s"})
    api.refuse("GET", f"{POD}/log", httpx.Response(200, text="ImportError: no module\n"))
    error = await failure(cloud, ref)
    assert isinstance(error, errors.BadWorkload)
    assert "ImportError: no module" in str(error)


async def test_a_container_that_the_nodes_driver_stops_is_the_nodes_fault(
    cloud: CoreWeave, api: Api, ref: AttemptRef
) -> None:
    run(api.objects[POD])
    container(api, 3, waiting={"reason": "CrashLoopBackOff", "message": "back-off 40s"})
    [row] = api.objects[POD]["status"]["containerStatuses"]
    said = "failed to create containerd task: nvidia-container-cli: initialization error: driver not loaded"
    row["lastState"] = {"terminated": {"reason": "StartError", "exitCode": 128, "message": said}}
    assert isinstance(await failure(cloud, ref), errors.BootFailed)
    # What a command itself says of that proves nothing.
    row["lastState"] = {"terminated": {"reason": "Error", "exitCode": 1, "message": said}}
    assert isinstance(await failure(cloud, ref), errors.BadWorkload)


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("Evicted", errors.BootFailed),
        ("NodeLost", errors.BootFailed),
        ("NodeShutdown", errors.BootFailed),
        ("Preempting", errors.NoCapacity),
        ("OutOfnvidia.com/gpu", errors.NoCapacity),
        ("UnexpectedAdmissionError", errors.BootFailed),
        ("DeadlineExceeded", errors.BootFailed),
        ("NeverHeardOf", errors.BootFailed),
        ("", errors.BootFailed),
    ],
)
async def test_a_pod_that_has_failed_says_why(
    cloud: CoreWeave, api: Api, ref: AttemptRef, reason: str, error: type[Exception]
) -> None:
    api.objects[POD]["status"] |= {"phase": "Failed", "reason": reason, "message": "it is over"}
    found = await failure(cloud, ref)
    assert type(found) is error
    assert "it is over" in str(found)


async def test_a_disrupted_pod_has_failed_although_it_still_runs(cloud: CoreWeave, api: Api, ref: AttemptRef) -> None:
    run(api.objects[POD])
    row = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "made room"}
    api.objects[POD]["status"]["conditions"].append(row)
    assert isinstance(await failure(cloud, ref), errors.NoCapacity)


async def test_a_pod_whose_node_is_gone_has_failed(cloud: CoreWeave, api: Api, ref: AttemptRef) -> None:
    run(api.objects[POD])
    del api.objects[NODE]
    error = await failure(cloud, ref)
    assert isinstance(error, errors.BootFailed)
    assert error.code == "node-gone"


async def test_a_node_may_be_silent_for_a_moment(cloud: CoreWeave, api: Api, ref: AttemptRef, env: ManualEnv) -> None:
    run(api.objects[POD])
    silent = {"type": "Ready", "status": "Unknown", "lastTransitionTime": stamp(env.now())}
    api.objects[NODE]["status"]["conditions"] = [silent]
    assert await failure(cloud, ref) is None
    env.advance(41)
    error = await failure(cloud, ref)
    assert error is not None
    assert error.code == "node-not-ready"


async def test_a_lost_node_shows_in_the_listing_too(
    cloud: CoreWeave, api: Api, ref: AttemptRef, env: ManualEnv
) -> None:
    run(api.objects[POD])
    asked = api.calls("GET").count(NODE)
    assert [seen.phase for seen in await cloud.owned()] == [Phase.RUNNING]
    # A Pod that is Ready needs no look at its node.
    assert api.calls("GET").count(NODE) == asked
    api.objects[POD]["status"]["conditions"][-1]["status"] = "False"
    del api.objects[NODE]
    assert [seen.phase for seen in await cloud.owned()] == [Phase.FAILED]


async def test_a_pod_that_is_being_deleted_is_stopping(
    cloud: CoreWeave, api: Api, ref: AttemptRef, env: ManualEnv
) -> None:
    api.objects[POD]["metadata"]["deletionTimestamp"] = stamp(env.now())
    seen = await cloud.find(ref)
    assert seen is not None
    assert seen.phase is Phase.STOPPING


async def test_an_unknown_phase_is_unknown(cloud: CoreWeave, api: Api, ref: AttemptRef) -> None:
    api.objects[POD]["status"] = {"phase": "Dreaming"}
    seen = await cloud.find(ref)
    assert seen is not None
    assert seen.phase is Phase.UNKNOWN


async def test_a_container_that_never_starts_fails_with_the_last_warning(
    cloud: CoreWeave, api: Api, ref: AttemptRef, env: ManualEnv
) -> None:
    event = {"metadata": {"name": "e"}, "type": "Warning", "reason": "FailedMount", "message": "no such disk"}
    api.put(f"{NS}/events", event)
    env.advance(1201)
    error = await failure(cloud, ref)
    assert isinstance(error, errors.BootFailed)
    assert "FailedMount: no such disk" in str(error)


async def test_a_pod_that_lost_its_place_later_has_no_capacity(
    cloud: CoreWeave, api: Api, ref: AttemptRef, env: ManualEnv
) -> None:
    del api.objects[POD]["spec"]["nodeName"]
    refuse_place(api, api.objects[POD])
    assert await failure(cloud, ref) is None
    env.advance(21)
    assert isinstance(await failure(cloud, ref), errors.NoCapacity)


async def test_a_pod_behind_a_scheduling_gate_is_waited_for(
    cloud: CoreWeave, api: Api, ref: AttemptRef, env: ManualEnv
) -> None:
    del api.objects[POD]["spec"]["nodeName"]
    row = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "gated"}
    api.objects[POD]["status"]["conditions"] = [row]
    env.advance(600)
    assert await failure(cloud, ref) is None


async def test_a_pod_that_is_gone_is_not_found(cloud: CoreWeave, api: Api, ref: AttemptRef) -> None:
    del api.objects[POD]
    assert await cloud.find(ref) is None


async def test_a_namesake_of_somebody_else_is_not_found(cloud: CoreWeave, api: Api, ref: AttemptRef) -> None:
    for path in (POD, SERVICE):
        api.objects[path]["metadata"]["labels"]["orch.dev/owner"] = OTHER_OWNER
    assert await cloud.find(ref) is None
    assert await cloud.owned() == []


async def test_a_cluster_that_is_not_in_use_is_no_proof_of_absence(cloud: CoreWeave, ref: AttemptRef) -> None:
    assert ref.handle is not None
    other = AttemptRef(
        token=ref.token, account=ref.account, offer=ref.offer, spec=ref.spec, handle={**ref.handle, "cluster": "other"}
    )
    with pytest.raises(errors.Forbidden, match="ORCH_COREWEAVE_CONTEXT"):
        await cloud.find(other)


# -- whole nodes ------------------------------------------------------------------------------------------


@pytest.fixture
async def waiting(managed: CoreWeave, api: Api, spec: LaunchSpec) -> AttemptRef:
    """A Pod that waits for a node of its own."""
    api.on_create["pods"] = refuse_place
    offer = await only(managed, gpus=("l40",), pricing=("on-demand",))
    made = await managed.launch(offer, spec, TOKEN)
    return await attempt(managed, offer, spec, instance_id=made.id, handle=made.handle)


def say(api: Api, kind: str, status: str, reason: str) -> None:
    api.objects[POOL]["status"] = {"conditions": [{"type": kind, "status": status, "reason": reason}]}


async def test_a_zone_that_stays_full_is_no_capacity_after_a_minute(
    managed: CoreWeave, api: Api, waiting: AttemptRef, env: ManualEnv
) -> None:
    say(api, "Capacity", "False", "QueuedAwaitingCapacity")
    assert await failure(managed, waiting) is None
    env.advance(60)
    error = await failure(managed, waiting)
    assert isinstance(error, errors.NoCapacity)
    assert "QueuedAwaitingCapacity" in str(error)


async def test_quota_that_is_not_set_ends_the_wait_at_once(managed: CoreWeave, api: Api, waiting: AttemptRef) -> None:
    say(api, "Quota", "False", "NotSet")
    error = await failure(managed, waiting)
    assert isinstance(error, errors.QuotaExceeded)
    assert error.hold_s == 6 * 3600


async def test_a_node_on_its_way_is_past_those_doubts(
    managed: CoreWeave, api: Api, waiting: AttemptRef, env: ManualEnv
) -> None:
    say(api, "Quota", "False", "OverQuota")
    api.objects[POOL]["status"]["inProgress"] = 1
    env.advance(600)
    assert await failure(managed, waiting) is None


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("CWInsufficientCapacity", errors.NoCapacity),
        ("CWOverQuota", errors.QuotaExceeded),
        ("CWNodeConfigStaged", None),
    ],
)
async def test_events_of_the_pool_count_where_its_conditions_say_nothing(
    managed: CoreWeave, api: Api, waiting: AttemptRef, env: ManualEnv, reason: str, error: type[Exception] | None
) -> None:
    event = {"metadata": {"name": "e"}, "type": "Warning", "reason": reason, "message": "so it is"}
    api.put("/api/v1/namespaces/default/events", event)
    env.advance(61)
    assert type(await failure(managed, waiting)) is (error or type(None))


async def test_a_node_that_does_not_come_in_time_is_given_up(
    managed: CoreWeave, api: Api, waiting: AttemptRef, env: ManualEnv
) -> None:
    env.advance(timedelta(minutes=41).total_seconds())
    error = await failure(managed, waiting)
    assert isinstance(error, errors.NoCapacity)
    assert error.code == "node-deadline"


async def test_a_pool_whose_pod_is_gone_is_still_found_and_listed(
    managed: CoreWeave, api: Api, waiting: AttemptRef
) -> None:
    del api.objects[POD], api.objects[SERVICE]
    seen = await managed.find(waiting)
    assert seen is not None
    assert (seen.phase, seen.id, seen.token, seen.owner) == (Phase.FAILED, waiting.instance_id, TOKEN, OWNER)
    [listed] = await managed.owned()
    assert (listed.token, listed.handle["kind"], listed.phase) == (TOKEN, "node", Phase.FAILED)


async def test_a_service_whose_pod_is_gone_is_listed_since_its_address_costs_money(
    cloud: CoreWeave, api: Api, ref: AttemptRef
) -> None:
    del api.objects[POD]
    [listed] = await cloud.owned()
    assert (listed.token, listed.phase) == (TOKEN, Phase.FAILED)
    assert await cloud.terminate(listed)
    assert await cloud.owned() == []


async def test_a_pool_of_another_namespaces_pod_is_not_this_accounts(
    connect: Callable[..., CoreWeave], api: Api, waiting: AttemptRef
) -> None:
    elsewhere = connect(ORCH_COREWEAVE_MANAGED="yes", ORCH_COREWEAVE_NAMESPACE="other")
    assert await elsewhere.account() != waiting.account
    # Listed there, a sweep would take it for a stray and shrink it under the lease that lives.
    assert await elsewhere.owned() == []
    await elsewhere.aclose()


async def test_pools_that_may_not_be_seen_are_no_empty_list_where_nodes_may_be_added(
    cloud: CoreWeave, managed: CoreWeave, api: Api
) -> None:
    denied = status(403, "Forbidden", 'nodepools is forbidden: User "u" cannot list resource "nodepools"')
    api.refuse("GET", POOLS, denied, denied)
    with pytest.raises(errors.Forbidden):
        await managed.owned()
    assert await cloud.owned() == []
    api.has_pools = False
    assert await managed.owned() == []
