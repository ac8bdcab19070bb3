"""RunPod's emulator against RunPod's own description and recordings: the wire, its shapes and its refusals.

`desk` holds every answer given in these tests to the official API description.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract import runpod_golden as golden
from tests.contract.runpod_desk import KEY_LINE, L40, L40S, body, check_exchange, desk, document, market


def shape(value: object) -> object:
    """The keys and types of a JSON value, whole and broken numbers alike."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return float if type(value) is int else type(value)


async def test_a_whole_conversation_holds_to_the_official_description() -> None:
    document()
    async with desk() as d:
        await d.gpus(cloud="COMMUNITY", count="2", minCudaVersion="12")
        await d.http.get("/v2/catalog/gpus")
        await d.http.get("/v2/catalog/gpus/NVIDIA%20L40S?include=AVAILABILITY&product=POD")
        await d.http.get("/v2/catalog/datacenters", params={"include": "GPU_AVAILABILITY"})
        await d.http.get("/v2/catalog/datacenters/EU-RO-1")
        await d.http.put("/v2/account/ssh-keys", json={"keys": [KEY_LINE]})
        pod = await d.create(mounts={"persistent": {"size": 20, "path": "/workspace"}}, globalNetworking=True)
        d.env.advance(60)
        await d.http.get("/v2/pods")
        await d.act(pod, "restart")
        await d.http.patch(f"/v2/pods/{pod['id']}", json={"name": "b"})
        await d.act(pod, "stop")
        await d.act(pod, "start")
        await d.http.get("/v2/billing/pods", params={"bucketSize": "hour", "lastN": "3"})
        assert (await d.act(pod, "terminate")).status_code == 204
        statuses = [exchange.status for exchange in d.exchanges]
    assert statuses == [200] * 6 + [201] + [200] * 6 + [204]


async def test_the_judge_itself_rejects_an_answer_that_breaks_the_description() -> None:
    document()
    async with desk() as d:
        await d.create()
        exchange = d.exchanges[0]
    exchange.body = exchange.body.replace(b'"disk":73', b'"disk":"73"')
    with pytest.raises(Exception, match="is not of type 'integer'"):
        check_exchange(exchange)


# Recorded shapes.


async def test_a_fresh_pod_has_the_recorded_shape() -> None:
    async with desk() as d:
        reply = await d.http.post("/v2/pods", json=golden.CREATE_BODY)
        pod = reply.json()
    assert reply.status_code == 201
    assert shape(pod) == shape(golden.CREATED)
    same = ("name", "status", "actions", "image", "args", "disk", "ports", "env", "registry", "mounts", "gpu")
    assert {key: pod[key] for key in same} == {key: golden.CREATED[key] for key in same}
    rest = ("cloud", "dataCenterId", "cudaVersion", "template", "cost", "locked", "runtime", "startedAt")
    assert {key: pod[key] for key in rest} == {key: golden.CREATED[key] for key in rest}
    assert pod["createdAt"] == "2026-11-22T12:00:00.000Z"
    proxy = pod["ssh"]["proxy"]
    assert (proxy["host"], proxy["port"]) == ("ssh.runpod.io", 22)
    assert proxy["username"].startswith(pod["id"] + "-")


async def test_a_pod_says_running_long_before_it_can_be_reached() -> None:
    async with desk() as d:
        pod = await d.create()
        d.env.advance(3)
        early = await d.pod(pod)
        d.env.advance(41)
        late = await d.pod(pod)
        d.env.advance(2)
        ready = await d.pod(pod)
        again = await d.ready(**golden.CREATE_BODY)
    for seen in (early, late):
        assert (seen["status"], seen["runtime"], seen["ssh"]["direct"]) == ("RUNNING", None, None)
        assert seen["actions"] == golden.RUNNING_BUT_BOOTING["actions"]
    assert shape(again) == shape(golden.READY)
    assert ready["runtime"]["uptime"] == 1
    assert ready["startedAt"] == "2026-11-22T12:00:45.000Z"


async def test_boot_times_follow_the_sandbox_boot_scale() -> None:
    async with desk(boot_scale=0.1) as d:
        pod = await d.create()
        d.env.advance(4.6)
        assert (await d.pod(pod))["ssh"]["direct"] is not None


async def test_the_documented_lifecycle_can_be_chosen() -> None:
    async with desk(market(wire={"lifecycle": "documented"})) as d:
        seen = [(await d.create())["status"]]
        pod = (await d.http.get("/v2/pods")).json()["pods"][0]
        for seconds in (3, 43):
            d.env.advance(seconds)
            seen.append((await d.pod(pod))["status"])
    assert seen == ["PROVISIONING", "STARTING", "RUNNING"]


async def test_a_reachable_pod_has_an_ssh_server_behind_its_direct_address() -> None:
    async with desk() as d:
        pod = await d.ready(gpu={"id": L40S, "count": 2}, dataCenterIds=[])
        direct, machine = pod["ssh"]["direct"], d.machines[f"runpod:{pod['id']}"]
        tcp = [port for port in pod["runtime"]["ports"] if port["private"] == 22]
    assert tcp == [{"ip": direct["host"], "private": 22, "public": direct["port"], "type": "tcp"}]
    assert direct["command"] == f"ssh root@{direct['host']} -p {direct['port']}"
    assert direct["host"].startswith("198.18.")
    env = machine.pop("env")
    assert machine == {
        "host": direct["host"],
        "port": direct["port"],
        "user": "root",
        "authorized_keys": [KEY_LINE],
        "gpu": L40S,
        "memory_mib": 46068,
        "count": 2,
    }
    assert env["PUBLIC_KEY"] == KEY_LINE
    assert env["RUNPOD_POD_ID"] == pod["id"]


@pytest.mark.parametrize(
    "change", [{"ports": ["8888/http"]}, {"ports": None}, {"env": {}}, {"startSsh": True, "env": {}}]
)
async def test_without_port_22_or_without_a_key_there_is_no_direct_ssh(change: dict[str, object]) -> None:
    async with desk() as d:
        pod = await d.ready(**change)
        assert pod["runtime"] is not None
        assert pod["ssh"]["direct"] is None
        assert pod["ssh"]["proxy"] is not None
        assert d.machines == {}


async def test_start_ssh_puts_the_accounts_keys_into_pods_made_later() -> None:
    async with desk() as d:
        before = await d.create(env={}, startSsh=True)
        put = await d.http.put("/v2/account/ssh-keys", json={"keys": [KEY_LINE, "ssh-rsa BBBB"]})
        got = await d.http.get("/v2/account/ssh-keys")
        after = await d.ready(env={"A": "b"}, startSsh=True)
        own = await d.create(env={"PUBLIC_KEY": "ssh-rsa CCCC"}, startSsh=True)
        assert d.machines[f"runpod:{after['id']}"]["authorized_keys"] == [KEY_LINE, "ssh-rsa BBBB"]
        early = await d.pod(before)
    assert put.json() == got.json() == {"keys": [KEY_LINE, "ssh-rsa BBBB"]}
    assert after["env"] == {"A": "b", "PUBLIC_KEY": f"{KEY_LINE}\nssh-rsa BBBB"}
    assert own["env"] == {"PUBLIC_KEY": "ssh-rsa CCCC"}
    assert early["ssh"]["direct"] is None


async def test_names_are_not_unique_and_env_comes_back_verbatim() -> None:
    async with desk() as d:
        env = {"PUBLIC_KEY": KEY_LINE, "ORCH_TOKEN": "a=b; $x\n\u00e9"}
        first, second = await d.create(env=env), await d.create(env=env)
        pods = (await d.http.get("/v2/pods", params={"name": first["name"], "includeClusterPods": "false"})).json()
    assert first["id"] != second["id"]
    assert [pod["id"] for pod in pods["pods"]] == [first["id"], second["id"]]
    assert {pod["name"] for pod in pods["pods"]} == {body()["name"]}
    assert all(pod["env"] == env for pod in pods["pods"])


async def test_community_pods_have_no_data_centre() -> None:
    async with desk() as d:
        pod = await d.create(cloud="COMMUNITY", dataCenterIds=None)
        refused = await d.http.post("/v2/pods", json=body(cloud="COMMUNITY"))
    assert (pod["dataCenterId"], pod["cloud"], pod["cost"]) == (None, "COMMUNITY", 0.69)
    assert (refused.status_code, refused.json()) == (400, golden.CAPACITY)


async def test_a_port_above_70000_asks_for_the_same_port_inside_and_outside() -> None:
    async with desk() as d:
        pod = await d.ready(ports=["22/tcp", "70001/tcp"])
        ssh, same = (port for port in pod["runtime"]["ports"] if port["type"] == "tcp")
    assert ssh["private"] == 22
    assert same["private"] == same["public"] != 70001


# Refusals.


async def test_a_client_without_a_proper_user_agent_meets_cloudflare() -> None:
    async with desk() as d:
        for agent in ("", "Python-urllib/3.12"):
            reply = await d.http.get("/v2/pods", headers={"User-Agent": agent})
            assert reply.status_code == 403
            assert reply.headers["content-type"].startswith("text/html")
            assert "Error 1010" in reply.text
            assert "ratelimit" not in reply.headers


@pytest.mark.parametrize(
    ("header", "detail"),
    [(None, "missing bearer token"), ("Basic abc", "missing bearer token"), ("Bearer rpa_no", "invalid bearer token")],
)
async def test_a_missing_or_wrong_key_is_a_401_without_rate_limit_headers(header: str | None, detail: str) -> None:
    async with desk() as d:
        del d.http.headers["Authorization"]
        reply = await d.http.get("/v2/pods", headers={"Authorization": header} if header else {})
    assert reply.status_code == 401
    assert reply.json() == {**golden.NO_TOKEN, "detail": detail}
    assert reply.headers["content-type"] == golden.PROBLEM_TYPE
    assert "ratelimit" not in reply.headers


async def test_unknown_things_are_404() -> None:
    async with desk() as d:
        assert (await d.http.get("/v2/pods/nosuch")).json() == golden.POD_NOT_FOUND
        assert (await d.http.delete("/v2/pods/nosuch")).json() == golden.POD_NOT_FOUND
        assert (await d.http.get("/v2/pods/nosuch/logs")).status_code == 404
        assert (await d.act({"id": "nosuch"}, "stop")).json() == golden.POD_NOT_FOUND
        assert (await d.http.get("/v2/catalog/gpus/NVIDIA%20L999")).json() == golden.NOT_FOUND
        assert (await d.http.get("/v2/catalog/datacenters/XX-1")).json() == golden.NOT_FOUND
        assert (await d.http.get("/v1/pods")).json() == golden.NOT_FOUND
        unknown_template = await d.http.post("/v2/pods", json=body(templateId="nosuch"))
        assert (unknown_template.status_code, unknown_template.json()) == (404, golden.NOT_FOUND)


WRONG_METHODS = [
    ("PUT", "/v2/pods", "GET, POST"),
    ("POST", "/v2/pods/x", "GET, PATCH, DELETE"),
    ("GET", "/v2/pods/x/action", "POST"),
    ("DELETE", "/v2/account/ssh-keys", "GET, PUT"),
    ("POST", "/v2/catalog/gpus", "GET"),
]


async def test_a_wrong_method_is_a_405_that_names_the_right_ones() -> None:
    async with desk() as d:
        for method, path, allow in WRONG_METHODS:
            reply = await d.http.request(method, path)
            assert (reply.status_code, reply.json()) == (405, golden.WRONG_METHOD), path
            assert reply.headers["allow"] == allow


async def test_bodies_that_break_the_schema_are_422_and_bodies_that_are_no_json_400() -> None:
    async with desk() as d:
        extra = await d.http.post("/v2/pods", json=body(bogus=1))
        pod = await d.create()
        action = await d.act(pod, "explode")
        name = await d.http.patch(f"/v2/pods/{pod['id']}", json={"name": ""})
        keys = await d.http.put("/v2/account/ssh-keys", json={"keys": ["pgp"]})
        for raw in (b"{", b"", b'{"name": NaN}', b"\xff"):
            reply = await d.http.post("/v2/pods", content=raw)
            assert (reply.status_code, reply.json()) == (400, golden.RULE_BROKEN)
    assert (extra.status_code, extra.json()) == (422, golden.EXTRA_KEY)
    assert (action.status_code, action.json()) == (422, golden.WRONG_ACTION)
    assert (name.status_code, keys.status_code) == (422, 422)


RULE_BREAKERS: list[dict[str, Any]] = [
    {"gpu": None},
    {"cpu": {"id": "cpu5c", "vcpuCount": 4}},
    {"gpu": None, "cpu": {"id": "cpu5c", "vcpuCount": 6}},
    {"gpu": None, "cpu": {"id": "c", "vcpuCount": 4}, "mounts": {"persistent": {"size": 10, "path": "/w"}}},
    {"gpu": None, "cpu": {"id": "c", "vcpuCount": 4}, "globalNetworking": True},
    {"gpu": {"id": L40, "minCudaVersion": "12.8", "allowedCudaVersions": ["12.8"]}},
    {"mounts": {"persistent": {"size": 10, "path": "/w"}, "network": []}},
    {"mounts": {"network": [{"volumeId": "nosuch", "path": "/w"}]}},
    {"registry": "nosuch"},
    {"ports": ["22"]},
    {"ports": ["53/udp"]},
]


async def test_a_create_that_breaks_a_rule_is_a_400_and_rents_nothing() -> None:
    async with desk() as d:
        for change in RULE_BREAKERS:
            reply = await d.http.post("/v2/pods", json=body(**change))
            assert (reply.status_code, reply.json()["title"]) == (400, "Bad Request"), change
            assert reply.json()["detail"] != golden.CAPACITY_TEXT, change
        assert d.runpod.records() == []


UNPLACEABLE: list[dict[str, Any]] = [
    {"gpu": {"id": "NVIDIA L999"}},
    {"gpu": {"id": "unknown"}},
    {"gpu": {"id": L40, "count": 9}},
    {"gpu": {"id": L40, "minCudaVersion": "12.11"}},
    {"gpu": {"id": L40S, "allowedCudaVersions": ["13.0"]}, "dataCenterIds": []},
    {"dataCenterIds": ["EU-SE-1"]},
    {"dataCenterIds": ["XX-1"]},
    {"gpu": {"id": "NVIDIA RTX PRO 4500 Blackwell"}, "cloud": "COMMUNITY", "dataCenterIds": []},
    {"gpu": None, "cpu": {"id": "cpu5c", "vcpuCount": 4}},
    {"dataCenterIds": ["CA-MTL-1"], "globalNetworking": True},
]


async def test_what_cannot_be_placed_is_refused_with_the_capacity_sentence() -> None:
    async with desk() as d:
        for change in UNPLACEABLE:
            reply = await d.http.post("/v2/pods", json=body(**change))
            assert (reply.status_code, reply.json()) == (400, golden.CAPACITY), change
        assert d.runpod.records() == []


async def test_the_stock_of_a_data_centre_runs_out_and_comes_back() -> None:
    async with desk() as d:
        one = {"gpu": {"id": L40S, "count": 3}}
        pods = [await d.create(**one), await d.create(**one)]
        refused = await d.http.post("/v2/pods", json=body(gpu={"id": L40S}))
        elsewhere = await d.create(gpu={"id": L40S}, dataCenterIds=["EU-RO-1", "EUR-IS-2"])
        centers = {c["id"]: c["availability"] for c in (await d.gpus())[L40S]["dataCenters"]}
        await d.http.delete(f"/v2/pods/{pods[0]['id']}")
        again = await d.create(**one)
    assert refused.json() == golden.CAPACITY
    assert elsewhere["dataCenterId"] == "EUR-IS-2"
    assert centers["EU-RO-1"] == "NONE"
    assert again["dataCenterId"] == "EU-RO-1"


async def test_too_little_credit_for_an_hour_is_a_402() -> None:
    async with desk(market(account={"balance_usd": "0.829"})) as d:
        reply = await d.http.post("/v2/pods", json=body())
        assert (reply.status_code, reply.json()) == (402, golden.NO_MONEY)
        # 0.82 USD of compute fit, the hour's 0.01 USD of disk on top do not; a smaller disk does.
        assert (await d.http.post("/v2/pods", json=body(disk=10))).status_code == 201


async def test_pods_are_terminated_when_the_credit_is_used_up() -> None:
    async with desk(market(account={"balance_usd": "1.65"})) as d:
        pod = await d.create()
        d.env.advance(3600)
        assert (await d.pod(pod))["status"] == "RUNNING"
        d.env.advance(3600)
        assert (await d.http.get(f"/v2/pods/{pod['id']}")).status_code == 404
        assert d.runpod.records()[0].billing is False
