"""The emulated CKS cluster: who may ask, what is refused, and what a lease is made of."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from providers.coreweave.emulator_options import Options, User
from tests.contract.coreweave_bench import (
    H100,
    KEY,
    L40,
    MANAGED,
    MERGE,
    PODS,
    POOLS,
    SECRETS,
    SERVICES,
    Bench,
    bench,
    condition,
    namespace,
    pod,
    secret,
    service,
)


@pytest.fixture
async def cks() -> AsyncIterator[Bench]:
    async with bench() as served:
        yield served


# -- a lease --------------------------------------------------------------------------------------------------


async def test_a_pod_on_a_paid_node_boots_gets_an_address_and_answers_ssh(cks: Bench) -> None:
    made = await cks.rent()
    seen = await cks.pod()
    assert seen["spec"]["nodeName"] == "g8f31c0"
    assert condition(seen, "PodScheduled")["status"] == "True"
    assert seen["status"]["phase"] == "Pending"
    assert seen["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ContainerCreating"
    cks.wait(26)
    seen = await cks.pod()
    assert (seen["status"]["phase"], condition(seen, "Ready")["status"]) == ("Running", "False")
    assert cks.machines.running == {}
    cks.wait(16)
    seen = await cks.pod()
    assert condition(seen, "Ready")["status"] == "True"
    [ingress] = (await cks.ask("GET", f"{SERVICES}/orch-1", 200))["status"]["loadBalancer"]["ingress"]
    machine = cks.machines.running[f"coreweave:{made['metadata']['uid']}"]
    assert (machine["host"], machine["port"], machine["user"]) == (ingress["ip"], 22, "root")
    assert ingress["ip"].startswith("198.18.")
    assert machine["authorized_keys"] == [KEY]
    assert (machine["gpu"], machine["memory_mib"], machine["count"]) == ("NVIDIA L40", 46068, 1)
    assert machine["env"] == {"COLOUR": "blue"}


async def test_deleting_the_pod_takes_secret_service_and_address_along(cks: Bench) -> None:
    await cks.rent()
    cks.wait(60)
    seen = await cks.ask("DELETE", f"{PODS}/orch-1", 200)
    assert seen["metadata"]["deletionGracePeriodSeconds"] == 30
    assert (await cks.pod())["metadata"]["deletionTimestamp"]
    assert cks.machines.running == {}
    cks.wait(6)
    await cks.ask("GET", f"{PODS}/orch-1", 404)
    await cks.ask("GET", f"{SERVICES}/orch-1", 200)
    assert len(cks.world.ledger.billing()) == 1
    cks.wait(3)
    await cks.ask("GET", f"{SERVICES}/orch-1", 404)
    await cks.ask("GET", f"{SECRETS}/orch-1", 404)
    assert cks.world.ledger.billing() == []


async def test_a_service_whose_owner_was_gone_before_it_came_is_collected_too(cks: Bench) -> None:
    await cks.http.post("/api/v1/namespaces", json=namespace("orch"))
    made = await cks.ask("POST", PODS, 201, json=pod())
    await cks.ask("DELETE", f"{PODS}/orch-1", 200)
    cks.wait(10)
    again = await cks.ask("POST", PODS, 201, json=pod())
    assert again["metadata"]["uid"] != made["metadata"]["uid"]
    await cks.ask("POST", SERVICES, 201, json=service(owner=made))
    cks.wait(3)
    await cks.ask("GET", f"{SERVICES}/orch-1", 404)
    await cks.ask("GET", f"{PODS}/orch-1", 200)


async def test_without_its_secret_a_pod_does_not_start_and_says_why(cks: Bench) -> None:
    await cks.http.post("/api/v1/namespaces", json=namespace("orch"))
    await cks.ask("POST", PODS, 201, json=pod())
    cks.wait(60)
    assert (await cks.pod())["status"]["phase"] == "Pending"
    events = await cks.ask("GET", "/api/v1/namespaces/orch/events", 200, params={"fieldSelector": "reason=FailedMount"})
    assert 'secret "orch-1" not found' in events["items"][0]["message"]
    await cks.ask("POST", SECRETS, 201, json=secret())
    cks.wait(30)
    assert (await cks.pod())["status"]["phase"] == "Running"


async def test_a_secret_that_is_not_mounted_gives_no_way_in(cks: Bench) -> None:
    body = pod()
    del body["spec"]["containers"][0]["volumeMounts"]
    await cks.http.post("/api/v1/namespaces", json=namespace("orch"))
    await cks.ask("POST", SECRETS, 201, json=secret())
    await cks.ask("POST", PODS, 201, json=body)
    await cks.ask("POST", SERVICES, 201, json=service())
    cks.wait(60)
    [machine] = cks.machines.running.values()
    assert machine["authorized_keys"] == []


async def test_without_the_public_annotation_the_address_is_an_inner_one(cks: Bench) -> None:
    await cks.rent()
    body = service("inner")
    body["metadata"].pop("annotations")
    await cks.ask("POST", SERVICES, 201, json=body)
    cks.wait(60)
    found = await cks.ask("GET", f"{SERVICES}/inner", 200)
    assert found["status"]["loadBalancer"]["ingress"][0]["ip"].startswith("10.")
    assert len(cks.world.ledger.lines) == 2  # the Pod, and the one public address


async def test_a_vpc_that_forbids_public_services_leaves_them_pending() -> None:
    async with bench(Options(public_addresses=False)) as cks:
        await cks.rent()
        cks.wait(600)
        assert (await cks.ask("GET", f"{SERVICES}/orch-1", 200))["status"]["loadBalancer"] == {}
        assert cks.machines.running == {}


async def test_the_server_answers_again_for_a_name_that_is_just_going(cks: Bench) -> None:
    await cks.rent()
    await cks.ask("DELETE", f"{PODS}/orch-1", 200)
    said = await cks.ask("POST", PODS, 409, json=pod())
    assert said["message"].startswith("object is being deleted:")


async def test_a_misspelt_field_is_dropped_without_a_word_as_the_real_server_does(cks: Bench) -> None:
    await cks.http.post("/api/v1/namespaces", json=namespace("orch"))
    made = await cks.ask("POST", PODS, 201, json=pod(activeDeadlineSecond=60))
    assert "activeDeadlineSecond" not in made["spec"]
    params = {"fieldValidation": "Strict"}
    said = await cks.ask("POST", PODS, 400, json=pod("orch-2", activeDeadlineSecond=60), params=params)
    assert 'unknown field "spec.activeDeadlineSecond"' in said["message"]
    await cks.ask("POST", PODS, 201, json=pod("orch-2"), params=params)


# -- who may ask ----------------------------------------------------------------------------------------------


async def test_a_bad_token_is_forbidden_and_not_unauthorized(cks: Bench) -> None:
    headers = {"authorization": "Bearer CW-SECRET-other"}
    said = await cks.ask("GET", PODS, 403, headers=headers)
    assert (said["reason"], said["details"]) == ("Forbidden", {"kind": "pods"})
    answer = await cks.http.get("/v1beta1/cks/clusters", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_a_user_of_namespaces_may_not_change_node_pools() -> None:
    options = Options(users={"CW-SECRET-dev": User("dev", "edit")})
    async with bench(options) as cks:
        headers = {"authorization": "Bearer CW-SECRET-dev"}
        await cks.ask("GET", POOLS, 200, headers=headers)
        patch = {"json": {"spec": {"targetNodes": 1}}, "headers": {**MERGE, **headers}}
        said = await cks.ask("PATCH", MANAGED, 403, **patch)
        assert 'cannot patch resource "nodepools"' in said["message"]
        allowed = [await _may(cks, headers, verb) for verb in ("list", "patch")]
        assert allowed == [True, False]


async def _may(cks: Bench, headers: dict[str, str], verb: str) -> bool:
    spec = {"resourceAttributes": {"verb": verb, "group": "compute.coreweave.com", "resource": "nodepools"}}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    return bool((await cks.ask("POST", path, 201, json=body, headers=headers))["status"]["allowed"])


async def test_the_server_says_who_asks(cks: Bench) -> None:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    seen = await cks.ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", 201, json=body)
    assert seen["status"]["userInfo"]["username"] == "admin"


async def test_clusters_and_versions_are_told(cks: Bench) -> None:
    [cluster] = (await cks.ask("GET", "/v1beta1/cks/clusters", 200))["items"]
    assert cluster["apiServerEndpoint"] == str(cks.http.base_url).rstrip("/")
    assert cluster["status"] == "STATUS_RUNNING"
    assert (await cks.ask("GET", f"/v1beta1/cks/clusters/{cluster['id']}", 200)) == cluster
    assert (await cks.ask("GET", "/version", 200))["gitVersion"].startswith("v1.")
    assert (await cks.http.get("/readyz")).text == "ok"


async def test_discovery_names_what_there_is(cks: Bench) -> None:
    assert (await cks.ask("GET", "/api", 200))["versions"] == ["v1"]
    names = {row["name"] for row in (await cks.ask("GET", "/api/v1", 200))["resources"]}
    assert {"pods", "pods/log", "services", "secrets", "nodes", "events"} <= names
    groups = [group["name"] for group in (await cks.ask("GET", "/apis", 200))["groups"]]
    assert "compute.coreweave.com" in groups
    found = await cks.ask("GET", "/apis/compute.coreweave.com/v1alpha1", 200)
    assert [row["name"] for row in found["resources"]] == ["nodepools", "nodepools/status"]
    assert (await cks.http.get("/apis/nope.example")).text == "404 page not found\n"


# -- lists ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("orch.dev/lease=orch-1", ["orch-1"]),
        ("orch.dev/lease==orch-2", ["orch-2"]),
        ("orch.dev/lease!=orch-1,app.kubernetes.io/managed-by", ["orch-2"]),
        ("orch.dev/lease in (orch-1, orch-3)", ["orch-1"]),
        ("orch.dev/lease notin (orch-1),orch.dev/lease", ["orch-2"]),
        ("!orch.dev/lease", []),
        ("", ["orch-1", "orch-2"]),
    ],
)
async def test_label_selectors_choose(cks: Bench, selector: str, expected: list[str]) -> None:
    await cks.rent("orch-1")
    await cks.rent("orch-2")
    found = await cks.ask("GET", PODS, 200, params={"labelSelector": selector})
    assert [item["metadata"]["name"] for item in found["items"]] == expected


async def test_a_list_comes_in_pages_when_asked_or_made_to(cks: Bench) -> None:
    names: list[str] = []
    token = ""
    for _ in range(9):
        found = await cks.ask("GET", "/api/v1/nodes", 200, params={"limit": "2", "continue": token})
        names += [item["metadata"]["name"] for item in found["items"]]
        token = found["metadata"].get("continue", "")
        if not token:
            break
        assert len(found["items"]) == 2
        assert found["metadata"]["remainingItemCount"] == 5 - len(names)
    assert len(names) == len(set(names)) == 5
    cks.emulator.options.page_limit = 3
    found = await cks.ask("GET", "/api/v1/nodes", 200)
    assert len(found["items"]) == 3
    assert found["metadata"]["continue"]
    await cks.ask("GET", "/api/v1/nodes", 400, params={"continue": "???"})


async def test_field_selectors_know_a_few_fields_only(cks: Bench) -> None:
    found = await cks.ask("GET", "/api/v1/pods", 200, params={"fieldSelector": "spec.nodeName=g8f31c0"})
    assert {item["metadata"]["namespace"] for item in found["items"]} == {"research"}
    said = await cks.ask("GET", "/api/v1/pods", 400, params={"fieldSelector": "spec.image=x"})
    assert "field label not supported" in said["message"]


async def test_a_watch_goes_on_from_its_revision_and_an_old_one_is_gone(cks: Bench) -> None:
    before = (await cks.ask("GET", "/api/v1/pods", 200))["metadata"]["resourceVersion"]
    await cks.rent()
    params = {"watch": "1", "resourceVersion": before, "timeoutSeconds": "1", "labelSelector": "orch.dev/lease=orch-1"}
    lines = (await cks.http.get(PODS, params=params)).text.splitlines()
    assert '"type": "ADDED"' in lines[0]
    assert '"nodeName": "g8f31c0"' in lines[-1]
    for number in range(600):
        patch = {"metadata": {"labels": {"n": str(number)}}}
        cks.emulator.api.objects.patch(_place(), "application/merge-patch+json", patch)
        cks.emulator.api.objects.patch(_place(), "application/merge-patch+json", {"metadata": {"labels": {"n": None}}})
    [line] = (await cks.http.get(PODS, params=params)).text.splitlines()
    assert '"type": "ERROR"' in line
    assert '"code": 410' in line


def _place() -> Any:
    from providers.coreweave.emulator_resources import PODS as RESOURCE
    from providers.coreweave.emulator_resources import Place

    return Place(RESOURCE, "orch", "orch-1")


# -- refusals -------------------------------------------------------------------------------------------------


def _container(**changes: Any) -> list[dict[str, Any]]:
    return [{**pod()["spec"]["containers"][0], **changes}]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"restartPolicy": "Sometimes"}, "spec.restartPolicy"),
        ({"activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds"),
        ({"volumes": []}, "spec.containers[0].volumeMounts[0].name"),
        ({"containers": _container(image="")}, "spec.containers[0].image"),
        ({"containers": _container(name="Main")}, "spec.containers[0].name"),
        ({"containers": _container(ports=[{"containerPort": 0}])}, "spec.containers[0].ports[0].containerPort"),
        ({"containers": _container(env=[{"name": "1 X", "value": ""}])}, "spec.containers[0].env[0].name"),
        (
            {"containers": _container(resources={"requests": {"nvidia.com/gpu": "1"}})},
            "spec.containers[0].resources.limits",
        ),
        (
            {"containers": _container(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "2"}})},
            "spec.containers[0].resources.requests",
        ),
        ({"tolerations": [{"key": "x", "operator": "Exists", "value": "y"}]}, "spec.tolerations[0].operator"),
    ],
)
async def test_a_pod_that_breaks_a_rule_is_invalid_and_the_field_is_named(
    cks: Bench, spec: dict[str, Any], field: str
) -> None:
    await cks.http.post("/api/v1/namespaces", json=namespace("orch"))
    said = await cks.ask("POST", PODS, 422, json=pod(**spec))
    assert field in [cause["field"] for cause in said["details"]["causes"]]
    assert cks.emulator.records() == []


async def test_labels_and_quantities_and_data_are_checked(cks: Bench) -> None:
    await cks.http.post("/api/v1/namespaces", json=namespace("orch"))
    body = pod()
    body["metadata"]["labels"]["orch.dev/lease"] = "x" * 64
    said = await cks.ask("POST", PODS, 422, json=body)
    assert said["details"]["causes"][0]["field"] == "metadata.labels"
    bad = pod(containers=_container(resources={"limits": {"memory": "lots"}}))
    assert (await cks.ask("POST", PODS, 400, json=bad))["reason"] == "BadRequest"
    await cks.ask("POST", SECRETS, 400, json={**secret(), "data": {"x": "no base64!"}})
    said = await cks.ask("POST", SERVICES, 422, json={**service(), "metadata": {"name": "1x"}})
    assert said["details"]["causes"][0]["field"] == "metadata.name"


async def test_secrets_are_kept_as_base64(cks: Bench) -> None:
    await cks.http.post("/api/v1/namespaces", json=namespace("orch"))
    made = await cks.ask("POST", SECRETS, 201, json=secret())
    assert base64.b64decode(made["data"]["authorized_keys"]).decode() == KEY
    assert "stringData" not in made


async def test_a_namespaces_quota_refuses_and_counts(cks: Bench) -> None:
    await cks.http.post("/api/v1/namespaces", json=namespace("orch"))
    quota = {"metadata": {"name": "gpus"}, "spec": {"hard": {"requests.nvidia.com/gpu": "1"}}}
    quota |= {"apiVersion": "v1", "kind": "ResourceQuota"}
    await cks.ask("POST", "/api/v1/namespaces/orch/resourcequotas", 201, json=quota)
    await cks.rent("orch-1")
    said = await cks.ask("POST", PODS, 403, json=pod("orch-2"))
    assert (
        "exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=1" in said["message"]
    )
    await cks.ask("DELETE", f"{PODS}/orch-1", 200, params={"gracePeriodSeconds": "0"})
    await cks.ask("POST", PODS, 201, json=pod("orch-2"))


async def test_a_namespace_goes_with_all_that_is_in_it(cks: Bench) -> None:
    await cks.rent()
    seen = await cks.ask("DELETE", "/api/v1/namespaces/orch", 200)
    assert seen["status"]["phase"] == "Terminating"
    said = await cks.ask("POST", PODS, 403, json=pod("orch-2"))
    assert said["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    cks.wait(10)
    await cks.ask("GET", "/api/v1/namespaces/orch", 404)
    assert cks.world.ledger.billing() == []


async def test_a_dry_run_makes_nothing(cks: Bench) -> None:
    await cks.http.post("/api/v1/namespaces", json=namespace("orch"))
    await cks.ask("POST", PODS, 201, json=pod(), params={"dryRun": "All"})
    await cks.ask("GET", f"{PODS}/orch-1", 404)
    assert cks.emulator.records() == []


async def test_a_collection_is_deleted_by_its_labels(cks: Bench) -> None:
    await cks.rent("orch-1")
    await cks.rent("orch-2")
    found = await cks.ask("DELETE", PODS, 200, params={"labelSelector": "orch.dev/lease=orch-1"})
    assert [item["metadata"]["name"] for item in found["items"]] == ["orch-1"]
    cks.wait(10)
    await cks.ask("GET", f"{PODS}/orch-1", 404)
    await cks.ask("GET", f"{PODS}/orch-2", 200)


# -- who gets which node --------------------------------------------------------------------------------------


async def test_no_pod_is_put_on_a_cordoned_or_reserved_node_or_beside_too_many_others(cks: Bench) -> None:
    await cks.rent("orch-1", gpus=5)
    await cks.rent("orch-2")
    seen = condition(await cks.pod("orch-2"), "PodScheduled")
    assert (seen["status"], seen["reason"]) == ("False", "Unschedulable")
    assert seen["message"].startswith("0/5 nodes are available: ")
    assert "1 Insufficient nvidia.com/gpu" in seen["message"]
    assert "1 node(s) were unschedulable" in seen["message"]
    assert "untolerated taint {node.coreweave.cloud/reserved: triage}" in seen["message"]
    params = {"fieldSelector": "involvedObject.name=orch-2,reason=FailedScheduling"}
    assert len((await cks.ask("GET", "/api/v1/namespaces/orch/events", 200, params=params))["items"]) == 1


async def test_coreweaves_own_checks_give_way(cks: Bench) -> None:
    await cks.rent(types=(H100,), gpus=8)
    assert (await cks.pod())["spec"]["nodeName"] == "gd9042a"
    found = await cks.ask("GET", "/api/v1/namespaces/cw-hpc-verification/pods", 200)
    assert found["items"] == []


async def test_a_taint_that_is_not_tolerated_keeps_away(cks: Bench) -> None:
    await cks.rent(types=(H100,), tolerations=[])
    assert "untolerated taint {nvidia.com/gpu: present}" in condition(await cks.pod(), "PodScheduled")["message"]


async def test_an_unknown_token_kind_or_path_is_refused_in_kubernetes_words(cks: Bench) -> None:
    async with httpx.AsyncClient(base_url=cks.http.base_url, trust_env=False) as anybody:
        assert (await anybody.get(PODS)).json()["message"].startswith('pods is forbidden: User "system:anonymous"')
    assert (await cks.ask("GET", "/api/v1/namespaces/orch/things", 404))["reason"] == "NotFound"
    assert (await cks.ask("POST", "/api/v1/pods", 405, json=pod()))["reason"] == "MethodNotAllowed"
    wrong = {**pod(), "kind": "Job"}
    await cks.http.post("/api/v1/namespaces", json=namespace("orch"))
    assert (await cks.ask("POST", PODS, 400, json=wrong))["reason"] == "BadRequest"


def test_the_market_has_a_date_a_source_and_the_documented_prices() -> None:
    from providers.coreweave.emulator_market import Market

    market = Market.read(None)
    assert market.shapes[L40].usd_per_hour == 10
    assert market.shapes[H100].gpus == 8
    assert str(market.address_usd_per_hour) == "0.005479"
