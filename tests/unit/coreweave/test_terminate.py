"""Ends: everything of the attempt, nothing of anybody else's, and True only when the cluster says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from providers import errors
from providers.base import Instance, LaunchSpec, Phase
from providers.coreweave.adapter import CoreWeave
from providers.env import ManualEnv
from tests.unit.coreweave.conftest import (
    OTHER_OWNER,
    OWNER,
    POOLS,
    TOKEN,
    Api,
    gpu_node,
    only,
    refuse_place,
    stamp,
    status,
)

NS = "/api/v1/namespaces/orch"
POD, SECRET, SERVICE = (f"{NS}/{kind}/{TOKEN}" for kind in ("pods", "secrets", "services"))
POOL = f"{POOLS}/{TOKEN}"


@pytest.fixture
async def made(cloud: CoreWeave, api: Api, spec: LaunchSpec) -> Instance:
    api.put("/api/v1/nodes", gpu_node())
    return await cloud.launch(await only(cloud), spec, TOKEN)


@pytest.fixture
async def node(managed: CoreWeave, api: Api, spec: LaunchSpec) -> Instance:
    """A lease with a node of its own, which has come."""
    api.on_create["pods"] = refuse_place
    offer = await only(managed, gpus=("l40",), pricing=("on-demand",))
    found = await managed.launch(offer, spec, TOKEN)
    api.objects[POOL]["status"] = {"currentNodes": 1}
    machine = gpu_node()
    machine["metadata"]["labels"]["compute.coreweave.com/node-pool"] = TOKEN
    api.put("/api/v1/nodes", machine)
    return found


def lingering(api: Api, item: dict[str, Any]) -> None:
    """Deleted, and kept until somebody confirms."""
    item["metadata"]["deletionTimestamp"] = stamp(api.env.now())


async def test_an_end_takes_pod_service_and_secret(cloud: CoreWeave, api: Api, made: Instance) -> None:
    assert await cloud.terminate(made)
    assert not {POD, SECRET, SERVICE} & api.objects.keys()
    assert await cloud.terminate(made)


async def test_an_end_needs_the_handle_alone(connect: Callable[..., CoreWeave], api: Api, made: Instance) -> None:
    stored = Instance(provider="coreweave", account=made.account, id=made.id, handle=made.handle)
    fresh = connect()
    assert await fresh.terminate(stored)
    await fresh.aclose()
    assert POD not in api.objects


async def test_a_pod_that_lingers_is_not_gone(cloud: CoreWeave, api: Api, made: Instance) -> None:
    api.on_delete["pods"] = lingering
    for _ in range(3):
        assert not await cloud.terminate(made)
    assert SERVICE in api.objects
    del api.objects[POD]
    assert await cloud.terminate(made)


async def test_a_pod_is_dropped_by_force_only_when_its_node_is_gone(cloud: CoreWeave, api: Api, made: Instance) -> None:
    api.on_delete["pods"] = lingering
    assert not await cloud.terminate(made)
    assert all((body or {}).get("gracePeriodSeconds") != 0 for verb, _, body in api.log if verb == "DELETE")
    del api.objects["/api/v1/nodes/g1"]
    assert await cloud.terminate(made)
    assert POD not in api.objects


async def test_a_service_that_gives_its_address_back_slowly_is_waited_for(
    cloud: CoreWeave, api: Api, made: Instance
) -> None:
    api.on_delete["services"] = lingering
    assert not await cloud.terminate(made)
    assert POD not in api.objects
    del api.objects[SERVICE]
    assert await cloud.terminate(made)


async def test_a_pod_made_later_under_the_same_name_is_left_alone(cloud: CoreWeave, api: Api, made: Instance) -> None:
    api.objects[POD]["metadata"]["uid"] = "another"
    for path in (SECRET, SERVICE):
        api.objects[path]["metadata"]["ownerReferences"][0]["uid"] = "another"
    assert await cloud.terminate(made)
    assert {POD, SECRET, SERVICE} <= api.objects.keys()


async def test_nothing_of_another_installation_is_touched(cloud: CoreWeave, api: Api, made: Instance) -> None:
    for path in (POD, SECRET, SERVICE):
        api.objects[path]["metadata"]["labels"]["orch.dev/owner"] = OTHER_OWNER
    assert await cloud.terminate(made)
    assert {POD, SECRET, SERVICE} <= api.objects.keys()
    assert api.calls("DELETE") == []


@pytest.mark.parametrize("path", [POD, SERVICE, SECRET])
async def test_an_end_that_could_not_be_asked_for_raises(cloud: CoreWeave, api: Api, made: Instance, path: str) -> None:
    api.refuse("DELETE", path, *[httpx.Response(500, json={"message": "boom"})] * 3)
    with pytest.raises(errors.Unavailable):
        await cloud.terminate(made)
    assert await cloud.terminate(made)


@pytest.mark.parametrize("body", ["404 page not found\n", "<html>not found</html>"])
async def test_a_strangers_404_proves_nothing(cloud: CoreWeave, api: Api, made: Instance, body: str) -> None:
    api.refuse("GET", POD, *[httpx.Response(404, text=body)] * 3)
    with pytest.raises(errors.ProviderError):
        await cloud.terminate(made)


async def test_another_cluster_is_never_taken_for_this_one(cloud: CoreWeave, api: Api, made: Instance) -> None:
    with pytest.raises(errors.Forbidden):
        await cloud.terminate(replace(made, handle={**made.handle, "cluster": "other"}))
    with pytest.raises(errors.InvalidRequest):
        await cloud.terminate(replace(made, handle={}))


async def test_a_node_of_its_own_goes_with_the_lease(
    managed: CoreWeave, api: Api, node: Instance, env: ManualEnv
) -> None:
    assert not await managed.terminate(node)
    assert POD not in api.objects
    pool = api.objects[POOL]
    assert (pool["spec"]["targetNodes"], pool["spec"]["autoscaling"]) == (0, False)
    # The count alone is not believed while the node is still there, nor the other way round.
    pool["status"] = {"currentNodes": 0}
    assert not await managed.terminate(node)
    del api.objects["/api/v1/nodes/g1"]
    api.on_delete["nodepools"] = lingering
    assert not await managed.terminate(node)
    del api.objects[POOL]
    assert await managed.terminate(node)
    assert await managed.owned() == []


async def test_a_pod_that_lingers_on_a_silent_node_does_not_keep_the_pool_large(
    managed: CoreWeave, api: Api, node: Instance
) -> None:
    api.on_delete["pods"] = lingering
    api.objects[POD]["spec"]["nodeName"] = "g1"
    assert not await managed.terminate(node)
    assert "deletionTimestamp" in api.objects[POD]["metadata"]
    # CoreWeave takes the node once it is empty, or has fallen out; nothing would take it while the pool wants it.
    assert api.objects[POOL]["spec"]["targetNodes"] == 0
    del api.objects["/api/v1/nodes/g1"]
    api.objects[POOL]["status"] = {}
    assert await managed.terminate(node)


@pytest.mark.parametrize("kind", ["services", "secrets"])
async def test_what_may_neither_be_made_nor_seen_does_not_keep_an_end_open_for_ever(
    cloud: CoreWeave, api: Api, made: Instance, kind: str
) -> None:
    path = f"{NS}/{kind}/{TOKEN}"
    denied = status(403, "Forbidden", f'{kind} "{TOKEN}" is forbidden: User "u" cannot get resource "{kind}"')
    del api.objects[path]
    api.refuse("GET", path, denied)
    # Made before the right to look was taken away, it may be there.
    with pytest.raises(errors.Forbidden):
        await cloud.terminate(made)
    api.refuse("GET", path, denied)
    review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    api.refuse("POST", review, httpx.Response(201, json={"status": {"allowed": False}}))
    assert await cloud.terminate(made)


async def test_a_pool_that_somebody_else_changes_meanwhile_is_read_again(
    managed: CoreWeave, api: Api, node: Instance
) -> None:
    api.refuse("PATCH", POOL, status(422, "Invalid", "the server rejected our request"))
    assert not await managed.terminate(node)
    assert api.objects[POOL]["spec"]["targetNodes"] == 0
    patches = [body for verb, _, body in api.log if verb == "PATCH"]
    assert len(patches) == 2
    assert {"op": "test", "path": "/spec/targetNodes", "value": 1} in patches[0]
    assert {"op": "test", "path": "/metadata/uid", "value": api.objects[POOL]["metadata"]["uid"]} in patches[0]


async def test_a_pool_of_another_installation_is_left_alone(managed: CoreWeave, api: Api, node: Instance) -> None:
    api.objects[POOL]["metadata"]["labels"]["orch.dev/owner"] = OTHER_OWNER
    assert await managed.terminate(node)
    assert api.objects[POOL]["spec"]["targetNodes"] == 1


async def test_a_pool_without_a_pod_can_be_ended_from_the_listing(managed: CoreWeave, api: Api, node: Instance) -> None:
    del api.objects[POD], api.objects[SERVICE], api.objects[SECRET]
    [listed] = await managed.owned()
    assert (listed.phase, listed.owner) == (Phase.FAILED, OWNER)
    assert not await managed.terminate(listed)
    del api.objects["/api/v1/nodes/g1"]
    api.objects[POOL]["status"] = {}
    assert await managed.terminate(listed)


async def test_nodes_that_outlive_their_pool_are_not_gone(managed: CoreWeave, api: Api, node: Instance) -> None:
    del api.objects[POOL]
    assert not await managed.terminate(node)
    del api.objects["/api/v1/nodes/g1"]
    assert await managed.terminate(node)
