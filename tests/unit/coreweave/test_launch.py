"""Launches: what is made, in which order, what is found again, and what a refusal leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

from providers import errors
from providers.base import Address, LaunchSpec, Phase
from providers.coreweave.adapter import CoreWeave
from providers.env import ManualEnv
from tests.unit.coreweave.conftest import (
    OTHER_OWNER,
    OWNER,
    POOLS,
    TOKEN,
    UID,
    Api,
    attempt,
    gpu_node,
    only,
    refuse_place,
    run,
    schedule,
    status,
)

NS = "/api/v1/namespaces/orch"
POD, SECRET, SERVICE = (f"{NS}/{kind}/{TOKEN}" for kind in ("pods", "secrets", "services"))
POOL = f"{POOLS}/{TOKEN}"
NODE = "/api/v1/nodes/g1"


@pytest.fixture(autouse=True)
def node(api: Api) -> None:
    api.put("/api/v1/nodes", gpu_node())


async def test_a_launch_makes_a_pod_that_owns_its_secret_and_service(
    cloud: CoreWeave, api: Api, spec: LaunchSpec
) -> None:
    offer = await only(cloud, count=2)
    made = await cloud.launch(offer, spec, TOKEN)
    assert api.calls("POST") == [f"{NS}/pods", f"{NS}/secrets", f"{NS}/services"]
    pod = api.objects[POD]
    assert (made.id, made.token, made.owner, made.phase) == (pod["metadata"]["uid"], TOKEN, OWNER, Phase.PENDING)
    assert made.handle == {
        "kind": "idle",
        "cluster": UID,
        "context": "token",
        "namespace": "orch",
        "name": TOKEN,
        "uid": made.id,
    }
    marks = {"app.kubernetes.io/managed-by": "orch", "orch.dev/owner": OWNER, "orch.dev/token": TOKEN}
    for path in (POD, SECRET, SERVICE):
        labels = api.objects[path]["metadata"]["labels"]
        assert marks.items() <= labels.items()
        assert all(len(value) <= 63 for value in labels.values())
    for path in (SECRET, SERVICE):
        [owner] = api.objects[path]["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", TOKEN, made.id)
    container = pod["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert container["resources"]["requests"]["nvidia.com/gpu"] == "2"
    [term] = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term["matchExpressions"] == [
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["gd-8xl40-i128"]},
        {"key": "topology.kubernetes.io/region", "operator": "In", "values": ["US-EAST-04"]},
    ]
    keys = api.objects[SECRET]["stringData"]
    assert keys["authorized_keys"] == "ssh-ed25519 AAAA orch\n"
    service = api.objects[SERVICE]
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["spec"]["selector"]["orch.dev/token"] == TOKEN
    assert service["metadata"]["annotations"] == {"service.beta.kubernetes.io/coreweave-load-balancer-type": "public"}


async def test_the_host_key_in_the_secret_is_one_that_openssh_reads(
    cloud: CoreWeave, api: Api, spec: LaunchSpec
) -> None:
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    await cloud.launch(await only(cloud), spec, TOKEN)
    text = api.objects[SECRET]["stringData"]["ssh_host_ed25519_key"]
    key = serialization.load_ssh_private_key(text.encode(), None)
    assert type(key).__name__.endswith("Ed25519PrivateKey")


async def test_command_environment_image_ports_and_end_are_passed_on(
    connect: Callable[..., CoreWeave], api: Api, spec: LaunchSpec, env: ManualEnv
) -> None:
    more = {"ORCH_COREWEAVE_PULL_SECRET": "regcred", "ORCH_COREWEAVE_RUNTIME_CLASS": "nvidia"}
    adapter = connect(ORCH_COREWEAVE_SOURCE_RANGES="192.0.2.0/24", **more)
    full = msgspec.structs.replace(
        spec,
        image="ghcr.io/me/train:1",
        cmd="python train.py --x '$HOME'",
        env={"A": "1", "B": "cost $(A) $$"},
        ports=("8080/http", "9000/udp", "22/tcp"),
        ends_at=env.now() + timedelta(hours=2),
    )
    await adapter.launch(await only(adapter), full, TOKEN)
    await adapter.aclose()
    pod, service = api.objects[POD]["spec"], api.objects[SERVICE]["spec"]
    container = pod["containers"][0]
    assert container["image"] == "ghcr.io/me/train:1"
    values = {row["name"]: row["value"] for row in container["env"]}
    assert values == {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility", "A": "1", "B": "cost $$(A) $$$$"}
    assert pod["activeDeadlineSeconds"] == 7200
    assert (pod["imagePullSecrets"], pod["runtimeClassName"]) == ([{"name": "regcred"}], "nvidia")
    assert api.objects[SECRET]["stringData"]["command"] == "python train.py --x '$HOME'"
    assert [(row["port"], row["protocol"]) for row in service["ports"]] == [(22, "TCP"), (8080, "TCP"), (9000, "UDP")]
    assert service["loadBalancerSourceRanges"] == ["192.0.2.0/24"]


@pytest.mark.parametrize("change", [{"ports": ("eighty/tcp",)}, {"ports": ("70000/tcp",)}, {"env": {"A B": "1"}}])
async def test_what_cannot_be_sent_is_refused_before_anything_is_made(
    cloud: CoreWeave, api: Api, spec: LaunchSpec, change: dict[str, Any]
) -> None:
    offer = await only(cloud)
    with pytest.raises(errors.InvalidRequest):
        await cloud.launch(offer, msgspec.structs.replace(spec, **change), TOKEN)
    assert api.calls("POST") == []


async def test_pods_for_idle_gpus_never_make_an_autoscaler_add_a_node(
    cloud: CoreWeave, api: Api, spec: LaunchSpec
) -> None:
    await cloud.launch(await only(cloud), spec, TOKEN)
    notes = api.objects[POD]["metadata"]["annotations"]
    assert notes["cluster-autoscaler.kubernetes.io/pod-scale-up-delay"] == "3600s"
    assert notes["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


async def test_a_missing_namespace_is_made(cloud: CoreWeave, api: Api, spec: LaunchSpec) -> None:
    del api.objects[NS]
    await cloud.launch(await only(cloud), spec, TOKEN)
    assert NS in api.objects


async def test_a_namespace_that_may_not_be_looked_at_is_taken_as_there(
    cloud: CoreWeave, api: Api, spec: LaunchSpec
) -> None:
    message = 'namespaces "orch" is forbidden: User "u" cannot get resource "namespaces"'
    api.refuse("GET", NS, status(403, "Forbidden", message))
    assert (await cloud.launch(await only(cloud), spec, TOKEN)).phase is Phase.PENDING


async def test_asking_again_under_the_same_token_finds_what_is_there(
    cloud: CoreWeave, connect: Callable[..., CoreWeave], api: Api, spec: LaunchSpec
) -> None:
    offer = await only(cloud)
    first = await cloud.launch(offer, spec, TOKEN)
    key = api.objects[SECRET]["stringData"]
    again = connect()
    second = await again.launch(offer, spec, TOKEN)
    await again.aclose()
    assert (second.id, second.handle) == (first.id, first.handle)
    assert api.objects[SECRET]["stringData"] == key
    assert sum(path.startswith(f"{NS}/pods/") for path in api.objects) == 1


@pytest.mark.parametrize("lost", [f"{NS}/secrets", f"{NS}/services"])
async def test_a_launch_that_breaks_off_is_taken_up_where_it_was(
    cloud: CoreWeave, api: Api, spec: LaunchSpec, lost: str
) -> None:
    offer = await only(cloud)
    api.refuse("POST", lost, *[httpx.ReadError("gone")] * 3)
    with pytest.raises(errors.OutcomeUnknown) as caught:
        await cloud.launch(offer, spec, TOKEN)
    assert not caught.value.left
    assert POD in api.objects
    made = await cloud.launch(offer, spec, TOKEN)
    assert made.id == api.objects[POD]["metadata"]["uid"]
    assert {SECRET, SERVICE} <= api.objects.keys()


async def test_a_lost_answer_to_the_pod_is_unknown_and_sent_once(cloud: CoreWeave, api: Api, spec: LaunchSpec) -> None:
    offer = await only(cloud)
    api.refuse("POST", f"{NS}/pods", httpx.ReadError("gone"))
    with pytest.raises(errors.OutcomeUnknown):
        await cloud.launch(offer, spec, TOKEN)
    assert api.calls("POST") == [f"{NS}/pods"]


async def test_a_pod_of_our_name_that_is_not_ours_is_left_alone(cloud: CoreWeave, api: Api, spec: LaunchSpec) -> None:
    offer = await only(cloud)
    labels = {"app.kubernetes.io/managed-by": "orch", "orch.dev/owner": OTHER_OWNER, "orch.dev/token": TOKEN}
    api.put(f"{NS}/pods", {"metadata": {"name": TOKEN, "labels": labels}, "spec": {}, "status": {}})
    with pytest.raises(errors.Unclassified) as caught:
        await cloud.launch(offer, spec, TOKEN)
    assert (caught.value.code, caught.value.then) == ("name-taken", errors.Then.NEXT_OFFER)
    assert POD in api.objects
    assert api.calls("DELETE") == []


async def test_no_place_after_a_while_is_no_capacity_and_leaves_nothing(
    cloud: CoreWeave, api: Api, spec: LaunchSpec, env: ManualEnv
) -> None:
    offer = await only(cloud)
    api.on_create["pods"] = refuse_place
    with pytest.raises(errors.NoCapacity, match="3 Insufficient nvidia") as caught:
        await cloud.launch(offer, spec, TOKEN)
    assert not caught.value.left
    assert not {POD, SECRET, SERVICE} & api.objects.keys()
    assert 20 <= sum(env.slept) < 40


async def test_what_does_not_go_after_a_refusal_is_named_as_left(cloud: CoreWeave, api: Api, spec: LaunchSpec) -> None:
    offer = await only(cloud)
    api.on_create["pods"] = refuse_place
    api.on_delete["pods"] = lambda api, pod: None
    with pytest.raises(errors.NoCapacity) as caught:
        await cloud.launch(offer, spec, TOKEN)
    [left] = caught.value.left
    api.on_delete.clear()
    assert await cloud.terminate(left)
    assert POD not in api.objects


async def test_a_quota_of_the_namespace_is_a_quota(cloud: CoreWeave, api: Api, spec: LaunchSpec) -> None:
    offer = await only(cloud)
    message = f'pods "{TOKEN}" is forbidden: exceeded quota: q, requested: requests.nvidia.com/gpu=1'
    api.refuse("POST", f"{NS}/pods", status(403, "Forbidden", message))
    with pytest.raises(errors.QuotaExceeded):
        await cloud.launch(offer, spec, TOKEN)


async def test_a_refused_secret_takes_the_pod_back(cloud: CoreWeave, api: Api, spec: LaunchSpec) -> None:
    offer = await only(cloud)
    message = 'secrets is forbidden: User "u" cannot create resource "secrets" in API group ""'
    api.refuse("POST", f"{NS}/secrets", status(403, "Forbidden", message))
    with pytest.raises(errors.Forbidden, match="cannot create resource") as caught:
        await cloud.launch(offer, spec, TOKEN)
    assert not caught.value.left
    assert POD not in api.objects


# -- whole nodes ------------------------------------------------------------------------------------------


def grow(*conditions: tuple[str, str, str], **counts: int) -> Callable[[Api, dict[str, Any]], None]:
    def hook(api: Api, pool: dict[str, Any]) -> None:
        rows = [{"type": kind, "status": said, "reason": reason} for kind, said, reason in conditions]
        pool["status"] = {"conditions": rows, **counts}

    return hook


GOOD = (("Quota", "True", "Under"), ("Capacity", "True", "Sufficient"))


async def test_a_whole_node_gets_a_pool_of_its_own(managed: CoreWeave, api: Api, spec: LaunchSpec) -> None:
    api.on_create |= {"pods": refuse_place, "nodepools": grow(*GOOD, inProgress=1)}
    offer = await only(managed, gpus=("l40",), pricing=("on-demand",))
    made = await managed.launch(offer, spec, TOKEN)
    assert (made.phase, made.handle["kind"]) == (Phase.PENDING, "node")
    pool = api.objects[POOL]
    assert pool["spec"] == {
        "instanceType": "gd-8xl40-i128",
        "computeClass": "default",
        "targetNodes": 1,
        "autoscaling": False,
        "nodeLabels": {"orch.dev/managed": "true", "orch.dev/token": TOKEN},
        "nodeTaints": [{"key": "orch.dev/token", "value": TOKEN, "effect": "NoSchedule"}],
    }
    assert pool["metadata"]["labels"]["orch.dev/owner"] == OWNER
    spec_ = api.objects[POD]["spec"]
    [term] = spec_["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert {row["key"]: row["values"] for row in term["matchExpressions"]} == {
        "node.kubernetes.io/instance-type": ["gd-8xl40-i128"],
        "compute.coreweave.com/node-pool": [TOKEN],
    }
    assert {"key": "orch.dev/token", "operator": "Equal", "value": TOKEN, "effect": "NoSchedule"} in spec_[
        "tolerations"
    ]
    # The Pod first: a crash in between leaves nothing that costs money.
    posts = api.calls("POST")
    assert posts.index(f"{NS}/pods") < posts.index(POOLS)


async def test_a_lease_with_an_end_lets_the_autoscaler_take_the_node(
    managed: CoreWeave, api: Api, spec: LaunchSpec, env: ManualEnv
) -> None:
    api.on_create |= {"pods": refuse_place, "nodepools": grow(*GOOD)}
    ending = msgspec.structs.replace(spec, ends_at=env.now() + timedelta(hours=1))
    await managed.launch(await only(managed, gpus=("l40",), pricing=("on-demand",)), ending, TOKEN)
    pool = api.objects[POOL]["spec"]
    assert (pool["autoscaling"], pool["minNodes"], pool["maxNodes"], pool["targetNodes"]) == (True, 0, 1, 1)


@pytest.mark.parametrize(
    ("conditions", "error", "hold_s"),
    [
        ([("Quota", "False", "NotSet")], errors.QuotaExceeded, 6 * 3600),
        ([("Quota", "False", "OverQuota")], errors.QuotaExceeded, 3600),
        ([("Valid", "False", "InvalidInstanceType")], errors.Unclassified, 3600),
        ([("Quota", "True", "Under"), ("Capacity", "False", "QueuedAwaitingCapacity")], errors.NoCapacity, 180),
        ([("Ready", "False", "InsufficientCapacity")], errors.NoCapacity, 180),
    ],
)
async def test_a_node_that_will_not_come_is_refused_in_seconds_and_leaves_nothing(
    managed: CoreWeave,
    api: Api,
    spec: LaunchSpec,
    conditions: list[tuple[str, str, str]],
    error: type[errors.ProviderError],
    hold_s: float,
) -> None:
    api.on_create |= {"pods": refuse_place, "nodepools": grow(*conditions)}
    offer = await only(managed, gpus=("l40",), pricing=("on-demand",))
    with pytest.raises(error) as caught:
        await managed.launch(offer, spec, TOKEN)
    assert (caught.value.scope, caught.value.hold_s) == ("offer", hold_s)
    assert not caught.value.left
    assert not {POD, POOL, SECRET, SERVICE} & api.objects.keys()


async def test_silence_about_a_pool_is_acceptance(managed: CoreWeave, api: Api, spec: LaunchSpec) -> None:
    api.on_create |= {"pods": refuse_place}
    made = await managed.launch(await only(managed, gpus=("l40",), pricing=("on-demand",)), spec, TOKEN)
    assert made.phase is Phase.PENDING


async def test_the_limit_of_nodes_refuses_before_anything_is_made(
    managed: CoreWeave, api: Api, spec: LaunchSpec
) -> None:
    offer = await only(managed, gpus=("l40",), pricing=("on-demand",))
    for name in ("a", "b"):
        pool = {"metadata": {"name": name, "labels": marks()}, "spec": {"targetNodes": 1}}
        api.put(POOLS, pool)
    with pytest.raises(errors.QuotaExceeded, match="limit is 2"):
        await managed.launch(offer, spec, TOKEN)
    assert api.calls("POST") == []


async def test_of_two_launches_that_saw_the_last_place_the_later_gives_way(
    managed: CoreWeave, api: Api, spec: LaunchSpec, env: ManualEnv
) -> None:
    offer = await only(managed, gpus=("l40",), pricing=("on-demand",))

    def rivals(api: Api, pod: dict[str, Any]) -> None:
        refuse_place(api, pod)
        for name in ("a", "b"):
            api.put(POOLS, {"metadata": {"name": name, "labels": marks()}, "spec": {"targetNodes": 1}})
        env.advance(1)

    api.on_create["pods"] = rivals
    with pytest.raises(errors.QuotaExceeded) as caught:
        await managed.launch(offer, spec, TOKEN)
    assert not caught.value.left
    assert not {POD, POOL} & api.objects.keys()
    assert {f"{POOLS}/a", f"{POOLS}/b"} <= api.objects.keys()


async def test_a_spot_pool_whose_class_is_refused_is_asked_for_in_the_other_spelling(
    connect: Callable[..., CoreWeave], api: Api, spec: LaunchSpec
) -> None:
    adapter = connect(ORCH_COREWEAVE_MANAGED="1", ORCH_COREWEAVE_PRICES="gd-8xl40-i128:spot=4")
    api.on_create |= {"pods": refuse_place, "nodepools": grow(*GOOD)}
    offer = await only(adapter, gpus=("l40",), pricing=("spot",))
    assert offer.usd_per_hour == Decimal(4)
    api.refuse("POST", POOLS, status(422, "Invalid", "computeClass: Unsupported value"))
    await adapter.launch(offer, spec, TOKEN)
    assert api.objects[POOL]["spec"]["computeClass"] == "spot"
    await adapter.aclose()


@pytest.mark.parametrize(
    ("answer", "error", "hold_s"),
    [
        (status(422, "Invalid", "spec.instanceType: Invalid value"), errors.Unclassified, 3600),
        (status(403, "Forbidden", 'User "u" cannot create resource "nodepools"'), errors.Forbidden, 300),
    ],
)
async def test_a_pool_that_may_not_be_made_holds_back_its_own_offer_only(
    managed: CoreWeave,
    api: Api,
    spec: LaunchSpec,
    answer: httpx.Response,
    error: type[errors.ProviderError],
    hold_s: float,
) -> None:
    api.on_create["pods"] = refuse_place
    offer = await only(managed, gpus=("l40",), pricing=("on-demand",))
    api.refuse("POST", POOLS, answer)
    with pytest.raises(error) as caught:
        await managed.launch(offer, spec, TOKEN)
    assert (caught.value.scope, caught.value.hold_s) == ("offer", hold_s)
    assert not caught.value.left
    assert POD not in api.objects


@pytest.mark.parametrize("path", [POD, POOL])
async def test_a_look_that_fails_after_the_pod_is_made_is_an_unknown_outcome(
    managed: CoreWeave, api: Api, spec: LaunchSpec, path: str
) -> None:
    api.on_create["pods"] = refuse_place
    offer = await only(managed, gpus=("l40",), pricing=("on-demand",))
    api.refuse("GET", path, *[httpx.Response(503)] * 3)
    with pytest.raises(errors.OutcomeUnknown):
        await managed.launch(offer, spec, TOKEN)
    assert {POD, POOL} <= api.objects.keys()
    again = await managed.launch(offer, spec, TOKEN)
    assert again.id == api.objects[POD]["metadata"]["uid"]


async def test_nodes_are_not_added_once_leave_is_taken_back(
    managed: CoreWeave, cloud: CoreWeave, api: Api, spec: LaunchSpec
) -> None:
    offer = await only(managed, gpus=("l40",), pricing=("on-demand",))
    with pytest.raises(errors.Forbidden, match="ORCH_COREWEAVE_MANAGED"):
        await cloud.launch(offer, spec, TOKEN)
    assert api.calls("POST") == []


def marks(owner: str = OWNER, token: str = "") -> dict[str, str]:
    return {"app.kubernetes.io/managed-by": "orch", "orch.dev/owner": owner, "orch.dev/token": token}


# -- the way to an address --------------------------------------------------------------------------------


async def test_a_running_pod_has_an_address_once_its_load_balancer_has(
    cloud: CoreWeave, api: Api, spec: LaunchSpec
) -> None:
    offer = await only(cloud)
    made = await cloud.launch(offer, spec, TOKEN)
    ref = await attempt(cloud, offer, spec, instance_id=made.id, handle=made.handle)
    seen = await cloud.find(ref)
    assert seen is not None
    assert (seen.phase, seen.address) == (Phase.PENDING, None)
    run(api.objects[POD])
    seen = await cloud.find(ref)
    assert seen is not None
    assert (seen.phase, seen.address) == (Phase.RUNNING, None)
    api.objects[SERVICE]["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}
    seen = await cloud.find(ref)
    assert seen is not None
    assert seen.address == Address(host="203.0.113.7", port=22, user="root")
    api.objects[SERVICE]["status"] = {"loadBalancer": {"ingress": [{"hostname": "x.example"}]}}
    seen = await cloud.find(ref)
    assert seen is not None
    assert seen.address is not None
    assert seen.address.host == "x.example"


async def test_an_address_that_coreweave_never_gives_is_explained(
    cloud: CoreWeave, api: Api, spec: LaunchSpec, env: ManualEnv
) -> None:
    offer = await only(cloud)
    await cloud.launch(offer, spec, TOKEN)
    run(api.objects[POD])
    api.objects[SERVICE]["spec"]["ports"][0]["nodePort"] = 31022
    env.advance(299)
    seen = await cloud.find(await attempt(cloud, offer, spec))
    assert seen is not None
    assert (seen.address, seen.failure) == (None, None)
    env.advance(2)
    seen = await cloud.find(await attempt(cloud, offer, spec))
    assert seen is not None
    # Its nodes' own addresses are private.
    assert seen.address is None
    assert isinstance(seen.failure, errors.NotReachable)
    assert "disablePublicServices" in str(seen.failure)


@pytest.mark.parametrize("external", [None, "198.51.100.9"])
async def test_a_cluster_without_load_balancers_is_reached_by_a_port_of_its_node(
    cloud: CoreWeave, api: Api, spec: LaunchSpec, env: ManualEnv, external: str | None
) -> None:
    addresses = [{"type": "ExternalIP", "address": external}] if external else []
    del api.objects[NODE]
    labels = {"nvidia.com/gpu.product": "NVIDIA-L40"}
    api.put("/api/v1/nodes", gpu_node(labels=labels, addresses=addresses))
    offer = await only(cloud)
    await cloud.launch(offer, spec, TOKEN)
    run(api.objects[POD])
    api.objects[SERVICE]["spec"]["ports"][0]["nodePort"] = 31022
    seen = await cloud.find(await attempt(cloud, offer, spec))
    assert seen is not None
    assert seen.address is None
    env.advance(61)
    seen = await cloud.find(await attempt(cloud, offer, spec))
    assert seen is not None
    assert seen.address == Address(host=external or "10.1.2.3", port=31022)


async def test_node_ports_can_be_asked_for_at_once(
    connect: Callable[..., CoreWeave], api: Api, spec: LaunchSpec
) -> None:
    adapter = connect(ORCH_COREWEAVE_SERVICE="NodePort")
    offer = await only(adapter)
    await adapter.launch(offer, spec, TOKEN)
    assert api.objects[SERVICE]["spec"]["type"] == "NodePort"
    run(api.objects[POD])
    api.objects[SERVICE]["spec"]["ports"][0]["nodePort"] = 31022
    seen = await adapter.find(await attempt(adapter, offer, spec))
    await adapter.aclose()
    assert seen is not None
    assert seen.address == Address(host="10.1.2.3", port=31022)


async def test_the_key_never_stands_in_an_object(cloud: CoreWeave, api: Api, spec: LaunchSpec) -> None:
    await cloud.launch(await only(cloud), spec, TOKEN)
    assert "CW-SECRET" not in json.dumps(api.objects)


async def test_a_scheduler_that_is_slow_to_answer_is_waited_for(cloud: CoreWeave, api: Api, spec: LaunchSpec) -> None:
    offer = await only(cloud)

    def late(api: Api, pod: dict[str, Any]) -> None:
        pod["status"] = {"phase": "Pending"}

    api.on_create["pods"] = late
    api.on_create["services"] = lambda api, item: schedule()(api, api.objects[POD])
    made = await cloud.launch(offer, spec, TOKEN)
    assert (made.phase, made.failure) == (Phase.PENDING, None)
