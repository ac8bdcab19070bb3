"""The account, several clusters, and what a check says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import respx

from providers import errors
from providers.base import Query
from providers.coreweave.adapter import CoreWeave
from providers.env import ManualEnv
from tests.unit.coreweave.conftest import KEY, OWNER, POOLS, TOKEN, UID, Api, gpu_node, status

SYSTEM = "/api/v1/namespaces/kube-system"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


async def test_the_account_is_namespace_and_cluster(
    cloud: CoreWeave, connect: Callable[..., CoreWeave], api: Api
) -> None:
    assert await cloud.account() == f"orch@{UID}"
    elsewhere = connect(ORCH_COREWEAVE_NAMESPACE="team")
    assert await elsewhere.account() == f"team@{UID}"
    await elsewhere.aclose()


async def test_without_sight_of_kube_system_the_host_stands_for_the_cluster(cloud: CoreWeave, api: Api) -> None:
    message = 'namespaces "kube-system" is forbidden: User "u" cannot get resource "namespaces"'
    api.refuse("GET", SYSTEM, status(403, "Forbidden", message))
    account = await cloud.account()
    assert account.startswith("orch@host-")
    # Proven to be a matter of rights, not of the token.
    assert REVIEWS in api.calls("POST")


@pytest.mark.parametrize("answer", [status(401, "Unauthorized", "Unauthorized"), httpx.Response(403, text="no")])
async def test_a_refused_token_is_no_account(cloud: CoreWeave, api: Api, answer: httpx.Response) -> None:
    api.refuse("GET", SYSTEM, answer)
    api.refuse("POST", REVIEWS, *[answer] * 3)
    with pytest.raises(errors.AuthFailed):
        await cloud.account()


async def test_without_credentials_every_verb_says_what_is_missing(connect: Callable[..., CoreWeave]) -> None:
    adapter = connect(COREWEAVE_API_TOKEN="", ORCH_COREWEAVE_URL="")
    for call in (adapter.account(), adapter.offers(Query()), adapter.owned(), adapter.check()):
        with pytest.raises(errors.AuthFailed, match="KUBECONFIG"):
            await call


async def test_a_check_asks_for_every_right_and_shows_quotas(managed: CoreWeave, api: Api) -> None:
    quota = {"hard": {"requests.nvidia.com/gpu": "8"}, "used": {"requests.nvidia.com/gpu": "2"}}
    api.put("/api/v1/namespaces/orch/resourcequotas", {"metadata": {"name": "q"}, "status": quota})
    rows = [{"type": "Quota", "status": "True", "reason": "Under"}]
    pool = {"metadata": {"name": "p"}, "spec": {"instanceType": "gd-8xl40-i128"}, "status": {"conditions": rows}}
    api.put(POOLS, pool)
    found = await managed.check()
    assert found["account"] == f"orch@{UID}"
    assert found["key"] == "accepted (COREWEAVE_API_TOKEN)"
    assert found["rights"] == "may do all that is needed"
    assert "2 of 8 requests.nvidia.com/gpu" in found["quota"]
    assert "NodePool p (gd-8xl40-i128): Under/?" in found["quota"]
    assert found["clock_skew"] == "unknown"
    assert "at most 2 nodes" in found["managed"]
    assert "fix" not in found
    asked = {
        (spec["verb"], spec["resource"], spec.get("subresource", ""))
        for _, path, body in api.log
        if path == REVIEWS
        for spec in [body["spec"]["resourceAttributes"]]
    }
    assert {("create", "pods", ""), ("get", "pods", "log"), ("patch", "nodepools", ""), ("list", "nodes", "")} <= asked
    assert api.calls("POST") == [REVIEWS] * len(api.calls("POST"))
    assert KEY not in str(found)


async def test_a_check_names_the_rights_that_are_missing(cloud: CoreWeave, api: Api) -> None:
    def review(request: httpx.Request, path: str, body: dict[str, Any]) -> httpx.Response:
        allowed = body["spec"]["resourceAttributes"]["resource"] not in ("secrets", "events")
        return httpx.Response(201, json={**body, "status": {"allowed": allowed}})

    api._post = review  # type: ignore[method-assign]
    found = await cloud.check()
    assert found["rights"].startswith("may not create secrets, get secrets, delete secrets; less is known without")
    assert "list events" in found["rights"]
    assert "create secrets" in found["fix"]
    assert "CKS Admin" not in found["fix"]


@pytest.fixture
def two(env: ManualEnv, tmp_path: Any) -> str:
    """A kubeconfig with two clusters."""
    path = tmp_path / "config"
    names = ("one", "two")
    path.write_text(
        "\n".join(
            [
                "clusters:",
                *(f"- {{name: {name}, cluster: {{server: 'https://{name}.example'}}}}" for name in names),
                "users:",
                f"- {{name: u, user: {{token: {KEY}}}}}",
                "contexts:",
                *(f"- {{name: {name}, context: {{cluster: {name}, user: u}}}}" for name in names),
            ]
        )
    )
    return str(path)


async def test_several_clusters_are_one_market(connect: Callable[..., CoreWeave], env: ManualEnv, two: str) -> None:
    adapter = connect(ORCH_COREWEAVE_URL="", COREWEAVE_API_TOKEN="", KUBECONFIG=two, ORCH_COREWEAVE_CONTEXT="one,two")
    apis = {name: Api(env) for name in ("one", "two")}
    apis["two"].objects[SYSTEM]["metadata"]["uid"] = "other"
    with respx.mock(assert_all_called=False) as router:
        for name, api in apis.items():
            api.put("/api/v1/nodes", gpu_node())
            router.route(url__startswith=f"https://{name}.example").mock(side_effect=api.handle)
        assert await adapter.account() == f"orch@{UID}+orch@other"
        listing = await adapter.offers(Query())
        assert {offer.native["context"] for offer in listing.offers} == {"one", "two"}
        assert len({offer.offer_id for offer in listing.offers}) == 2
        apis["two"].refuse("GET", "/api/v1/nodes", *[httpx.Response(503)] * 3)
        half = await adapter.offers(Query())
        assert half.partial
        assert "two not read" in half.note
        assert len(half.offers) == 1
        mine = {"app.kubernetes.io/managed-by": "orch", "orch.dev/owner": OWNER, "orch.dev/token": TOKEN}
        apis["one"].put("/api/v1/namespaces/orch/pods", {"metadata": {"name": TOKEN, "labels": mine}})
        apis["two"].refuse("GET", "/api/v1/namespaces/orch/pods", *[httpx.Response(503)] * 3)
        with pytest.raises(errors.Unavailable) as caught:
            await adapter.owned()
        assert [instance.token for instance in caught.value.seen or ()] == [TOKEN]
        assert [instance.token for instance in await adapter.owned()] == [TOKEN]
        for api in apis.values():
            api.refuse("GET", "/api/v1/nodes", *[httpx.Response(503)] * 3)
        with pytest.raises(errors.Unavailable):
            await adapter.offers(Query())
    await adapter.aclose()


async def test_two_contexts_of_one_cluster_are_one_cluster(
    connect: Callable[..., CoreWeave], env: ManualEnv, two: str
) -> None:
    adapter = connect(ORCH_COREWEAVE_URL="", COREWEAVE_API_TOKEN="", KUBECONFIG=two, ORCH_COREWEAVE_CONTEXT="one,two")
    api = Api(env)
    api.put("/api/v1/nodes", gpu_node())
    with respx.mock(assert_all_called=False) as router:
        router.route(url__regex=r"https://(one|two)\.example").mock(side_effect=api.handle)
        assert await adapter.account() == f"orch@{UID}"
        assert len((await adapter.offers(Query())).offers) == 1
    await adapter.aclose()


async def test_the_same_account_under_whatever_name_the_context_has(
    connect: Callable[..., CoreWeave], env: ManualEnv, two: str
) -> None:
    accounts = []
    for name in ("one", "two"):
        adapter = connect(ORCH_COREWEAVE_URL="", COREWEAVE_API_TOKEN="", KUBECONFIG=two, ORCH_COREWEAVE_CONTEXT=name)
        with respx.mock(assert_all_called=False) as router:
            router.route(url__regex=r"https://(one|two)\.example").mock(side_effect=Api(env).handle)
            accounts.append(await adapter.account())
        await adapter.aclose()
    assert accounts == [f"orch@{UID}"] * 2
