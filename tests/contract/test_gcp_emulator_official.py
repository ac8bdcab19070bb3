"""Every call of Google Cloud's emulator, held to Google's discovery documents; and the judge that does it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

import providers.gcp.emulator_routes as routes
from providers.gcp.emulator_options import Options
from providers.sandbox.world import Exchange
from tests.contract.gcp_bench import (
    BILLING,
    FAMILY,
    FILES,
    L4,
    PROJECT,
    UP_S,
    ZONE,
    Bench,
    bench,
    boot_disk,
    documents,
    order,
    spot,
    standard,
)
from tests.contract.gcp_official import Discovery

AT = f"/zones/{ZONE}/instances"
VM = f"{AT}/orch-l1-a1"
REGION = "/regions/us-central1"
ID = "6f2e3b9a-9b5e-4c8e-9d7f-0c1b2a3d4e5f"
RULE = {
    "name": "orch-ssh",
    "network": "global/networks/default",
    "direction": "INGRESS",
    "sourceRanges": ["0.0.0.0/0"],
    "targetTags": ["orch"],
    "allowed": [{"IPProtocol": "tcp", "ports": ["22"]}],
}
ADVICE = {
    "size": 1,
    "instanceProperties": {"scheduling": {"provisioningModel": "SPOT"}},
    "instanceFlexibilityPolicy": {"instanceSelections": {"a": {"machineTypes": [L4]}}},
    "distributionPolicy": {"targetShape": "ANY_SINGLE_ZONE", "zones": [{"zone": f"zones/{ZONE}"}]},
}
HISTORY = {
    "types": ["PRICE", "PREEMPTION"],
    "instanceProperties": {"machineType": L4, "scheduling": {"provisioningModel": "SPOT"}},
    "locationPolicy": {"location": f"zones/{ZONE}"},
}


@pytest.fixture
def judge() -> Discovery:
    found = documents()
    if found is None:
        pytest.skip(f"no {FILES}: set ORCH_SPEC_DIR to the folder of official API descriptions")
    return found


# -- the whole conversation ---------------------------------------------------------------------------------------


async def converse(served: Bench) -> None:
    """Every call that the emulator knows, as a client would send it."""
    await _look_around(served)
    insert = await served.call("POST", AT, order(), requestId=ID)
    await served.get(f"/zones/{ZONE}/operations/{insert['name']}")
    await served.wait(insert)
    served.env.advance(UP_S)
    vm = await served.get(VM)
    await served.get(AT, filter="status=RUNNING", maxResults="10", orderBy="name")
    await served.get("/aggregated/instances", filter="labels.orch-lease:*", includeAllScopes="true")
    await served.get(f"{VM}/serialPort", port="1", start="0")
    await served.call("POST", f"{VM}/setLabels", {"labels": {"a": "b"}, "labelFingerprint": vm["labelFingerprint"]})
    await served.get(f"/zones/{ZONE}/disks")
    await served.get(f"/zones/{ZONE}/disks/orch-l1-a1")
    await served.get("/aggregated/disks")
    await served.insert(name="od", scheduling=standard(maxRunDuration={"seconds": "3600"}), disks=[_kept()])
    served.env.advance(UP_S)
    await served.wait(await served.call("POST", f"{AT}/od/stop"))
    await served.get(f"{AT}/od")
    await served.wait(await served.call("POST", f"{AT}/od/start"))
    await served.wait(await served.call("DELETE", f"{AT}/od"))
    await served.call("DELETE", f"/zones/{ZONE}/disks/od")
    await served.call("DELETE", VM, requestId=ID)
    await _fail(served)
    await served.get(f"/zones/{ZONE}/operations", filter='operationType="compute.instances.preempted"')
    await served.get("/aggregated/operations")
    await served.get("/global/operations")


def _kept() -> dict[str, Any]:
    return {**boot_disk(labels={"a": "b"}), "autoDelete": False}


async def _look_around(served: Bench) -> None:
    for path in ("", "/regions", REGION, "/zones", f"/zones/{ZONE}", "/global/networks", "/global/networks/default"):
        await served.get(path)
    for kind, name in (("machineTypes", L4), ("acceleratorTypes", "nvidia-l4"), ("diskTypes", "pd-balanced")):
        await served.get(f"/zones/{ZONE}/{kind}")
        await served.get(f"/zones/{ZONE}/{kind}/{name}")
        # Compute has an aggregated list of disk types, too.
        await served.get(f"/aggregated/{kind}", filter=f"name={name}", fields="items")
    images = "/compute/v1/projects/ubuntu-os-accelerator-images/global/images"
    found = (await served.http.get(f"/compute/v1/{FAMILY}")).json()
    await served.http.get(f"{images}/{found['name']}")
    await served.http.get(images)
    await served.get(f"{REGION}/addresses")
    await served.get("/aggregated/addresses")
    await served.call("POST", f"{REGION}/advice/capacity", ADVICE)
    await served.call("POST", f"{REGION}/advice/capacityHistory", HISTORY)
    made = await served.call("POST", "/global/firewalls", RULE, requestId=ID)
    await served.get(f"/global/operations/{made['name']}")
    await served.call("POST", f"/global/operations/{made['name']}/wait")
    await served.get("/global/firewalls")
    await served.get("/global/firewalls/orch-ssh")
    await served.call("PATCH", "/global/firewalls/orch-ssh", {"name": "orch-ssh", "priority": 900})
    await served.call("DELETE", "/global/firewalls/orch-ssh")
    await served.http.get("/v1/services", params={"pageSize": "10"})
    await served.http.get(BILLING, params={"currencyCode": "USD", "pageSize": "5000", "pageToken": ""})
    await _regional(served)


async def _regional(served: Bench) -> None:
    """No call of this emulator makes an operation of a region, and asking for one must still be right."""
    await served.get(f"{REGION}/operations")
    for method, more in (("GET", ""), ("POST", "/wait")):
        await served.refused(method, f"{REGION}/operations/operation-1{more}")


async def _fail(served: Bench) -> None:
    """Operations that fail, each in its own way, and a machine that spot took."""
    for kind in ("sold_out", "quota", "unknown_code"):
        served.world.faults.add(kind)
        await served.failed(name=f"x-{kind.replace('_', '-')}")
    await served.running(name="taken", scheduling=spot(instanceTerminationAction="STOP"))
    served.emulator.lose("taken")
    await served.get(f"{AT}/taken")
    await served.refused("GET", f"{AT}/nobody")
    await served.refused("POST", AT, order(name="taken"))
    await served.http.get(f"/compute/v1/projects/{PROJECT}", headers={"authorization": "Bearer x"})
    for kind in ("rate_limit", "error_before"):
        served.world.faults.add(kind)
        await served.refused("GET", f"{AT}/taken")


async def test_every_answer_and_every_request_is_as_the_discovery_documents_say(judge: Discovery) -> None:
    async with bench() as served:
        await converse(served)
    assert not served.findings, "\n".join(map(str, served.findings))
    assert served.judged > 70


async def test_every_route_of_the_emulator_is_a_described_method_and_is_exercised(judge: Discovery) -> None:
    async with bench() as served:
        await converse(served)
        described = {method.name: method for document in judge.documents for method in document.methods}
        assert served.operations <= described.keys()
        missing = {
            route.name
            for route in routes._ROUTES
            if route.name != "token" and not any(_serves(route, name) for name in served.operations)
        }
        assert not missing


def _serves(route: routes.Route, operation: str) -> bool:
    method, _, template = operation.partition(" ")
    path = re.sub(r"\{\w+\}", "x1", template)
    return method == route.method and route.pattern.fullmatch(path) is not None


@pytest.mark.parametrize(
    "options", [Options(page_limit=1), Options(quota_at_once=True, limit_status=429, second_delete=404)]
)
async def test_other_options_are_as_described_too(judge: Discovery, options: Options) -> None:
    async with bench(options) as served:
        await served.running()
        for path in ("/aggregated/instances", "/aggregated/disks", "/zones", "/aggregated/machineTypes"):
            await served.get(path)
        served.world.faults.add("rate_limit", retry_after=1)
        await served.refused("GET", VM)
        served.emulator.market.quotas["region"]["PREEMPTIBLE_NVIDIA_L4_GPUS"] = 0
        await served.http.post(f"/compute/v1/projects/{PROJECT}{AT}", json=order(name="more"))
        await served.call("DELETE", VM)
        await served.http.delete(f"/compute/v1/projects/{PROJECT}{VM}")
    assert not served.findings, "\n".join(map(str, served.findings))


# -- the judge itself ---------------------------------------------------------------------------------------------


def exchange(body: Any, method: str = "GET", path: str = f"{AT}/x", status: int = 200, **changes: Any) -> Exchange:
    values: dict[str, Any] = {
        "provider": "gcp",
        "verb": "find",
        "method": method,
        "path": path if path.startswith(("/compute/", "/v1/")) else f"/compute/v1/projects/{PROJECT}{path}",
        "query": "",
        "request_headers": {"authorization": "Bearer x", "content-type": "application/json"},
        "request_body": b"",
        "status": status,
        "headers": {"content-type": "application/json"},
        "body": body if isinstance(body, bytes) else json.dumps(body).encode(),
        "faulty": False,
    }
    return Exchange(**{**values, **changes})


@pytest.mark.parametrize(
    ("answer", "at", "says"),
    [
        ({"id": 7}, "$.id", "not of type 'string'"),
        ({"id": "seven"}, "$.id", "no uint64"),
        ({"id": "-1"}, "$.id", "beyond uint64"),
        ({"status": "HAPPY"}, "$.status", "is none of"),
        ({"colour": "blue"}, "$.colour", "not described"),
        ({"disks": [{"diskSizeGb": 100}]}, "$.disks[].diskSizeGb", "not of type"),
        ({"disks": [{"index": "0"}]}, "$.disks[].index", "not of type"),
        ({"labels": {"a": 1}}, "$.labels.a", "not of type"),
        ({"fingerprint": "???"}, "$.fingerprint", "no byte"),
        ({"name": "Bad Name"}, "$.name", "does not match"),
        ({"creationTimestamp": "yesterday"}, "$.creationTimestamp", "RFC3339"),
        ({"deletionProtection": 1}, "$.deletionProtection", "not of type"),
    ],
)
def test_the_judge_finds_what_is_wrong_in_an_answer(judge: Discovery, answer: Any, at: str, says: str) -> None:
    _, [finding] = judge.judge(exchange(answer))
    assert (finding.where, finding.at) == ("response", at)
    assert says in finding.message


@pytest.mark.parametrize(
    ("changes", "where", "at"),
    [
        ({"path": "/compute/v1/projects/p/zones/z/machines"}, "operation", "path"),
        ({"path": "/compute/v1/projects/p/zones/Zone/instances/x"}, "request", "zone"),
        ({"method": "PATCH"}, "operation", "path"),
        ({"query": "requestid=1"}, "query", "requestid"),
        ({"query": "prettyPrint=perhaps"}, "query", "prettyPrint"),
        ({"request_headers": {}}, "request", "Authorization"),
        ({"request_body": b"{}"}, "request", "$"),
        ({"status": 302}, "status", "302"),
        ({"status": 404}, "response", "$.error"),
        ({"headers": {"content-type": "text/html"}}, "response", "Content-Type"),
        ({"body": b'{"oops'}, "response", "$"),
    ],
)
def test_the_judge_finds_what_is_wrong_around_it(judge: Discovery, changes: Any, where: str, at: str) -> None:
    _, findings = judge.judge(exchange(**{"body": {}, **changes}))
    assert (where, at) in {(one.where, one.at) for one in findings}


def test_the_judge_finds_what_is_wrong_in_a_request(judge: Discovery) -> None:
    body = {"machineTyp": "x", "id": "1", "disks": [{"initializeParams": {"diskSizeGb": 100}}]}
    sent = exchange({}, "POST", AT, request_body=json.dumps(body).encode())
    _, findings = judge.judge(sent)
    assert {(one.at, one.message.partition(",")[0]) for one in findings if one.where == "request"} == {
        ("$.machineTyp", "not described"),
        ("$.id", "sent"),
        ("$.name", "required"),
        ("$.disks[].initializeParams.diskSizeGb", "int is not of type 'string'"),
    }


def test_the_judge_knows_both_documents(judge: Discovery) -> None:
    assert {document.base for document in judge.documents} == {"/compute/v1/", "/"}
    name, _ = judge.judge(exchange({"skus": []}, path=BILLING))
    assert name == "GET /v1/services/{servicesId}/skus"
