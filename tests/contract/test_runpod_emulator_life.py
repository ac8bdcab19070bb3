"""RunPod's emulator: what pods do over time, what that bills, and what they log."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from providers.runpod.emulator_billing import bucket_end, bucket_start
from providers.runpod.emulator_wire import parse_time
from tests.contract import runpod_golden as golden
from tests.contract.runpod_desk import KEY_LINE, L40, Desk, body, desk, market

DISK_HOUR = "0.01"  # 73 GB at 0.10 USD per GB and month of 730 hours
VOLUME = {"persistent": {"size": 73, "path": "/workspace"}}


def usd(d: Desk, pod: dict[str, Any]) -> dict[str, Decimal]:
    """What the pod has cost so far, by ledger line."""
    sums: dict[str, Decimal] = {}
    for line in d.world.ledger.of("runpod", pod["id"]):
        sums[line.what] = sums.get(line.what, Decimal(0)) + line.usd(d.env.now().timestamp())
    return sums


# Bills.


async def test_a_pod_bills_compute_and_disk_by_the_second_from_create_to_delete() -> None:
    async with desk() as d:
        pod = await d.create(gpu={"id": L40, "count": 2})
        assert d.open_lines(pod) == {"compute": "1.64", "disk": DISK_HOUR}
        d.env.advance(1799.2)
        reply = await d.http.delete(f"/v2/pods/{pod['id']}")
        d.env.advance(5000)
        assert (reply.status_code, reply.content) == (204, b"")
        assert d.world.ledger.billing("runpod") == []
        assert usd(d, pod) == {"compute": Decimal("0.82"), "disk": Decimal("0.005")}
    assert pod["cost"] == 1.64


async def test_a_second_delete_is_a_404_and_the_pod_leaves_the_list() -> None:
    async with desk() as d:
        pod = await d.ready()
        statuses = [(await d.http.delete(f"/v2/pods/{pod['id']}")).status_code for _ in range(2)]
        again = await d.act(pod, "terminate")
        assert (await d.http.get("/v2/pods")).json() == {"pods": []}
        assert d.machines == {}
    assert statuses == [204, 404]
    assert again.json() == golden.POD_NOT_FOUND


async def test_a_stopped_pod_bills_its_volume_twice_as_high_and_nothing_else() -> None:
    async with desk() as d:
        pod = await d.ready(mounts=VOLUME)
        running = d.open_lines(pod)
        stopped = (await d.act(pod, "stop")).json()
        idle, bill = d.open_lines(pod), usd(d, pod)
        d.env.advance(3600)
        later = usd(d, pod)
        started = (await d.act(pod, "start")).json()
        assert d.open_lines(pod) == running
        d.env.advance(60)
        assert (await d.pod(pod))["ssh"]["direct"] is not None
    assert running == {"compute": "0.82", "disk": DISK_HOUR, "volume": DISK_HOUR}
    assert idle == {"disk": "0", "volume": "0.02"}
    assert {what: later[what] - bill[what] for what in bill} == {
        "compute": Decimal(0),
        "disk": Decimal(0),
        "volume": Decimal("0.02"),
    }
    assert (stopped["status"], stopped["cost"], stopped["actions"]) == ("EXITED", 0, ["start", "terminate"])
    assert (stopped["runtime"], stopped["ssh"]["direct"]) == (None, None)
    assert stopped["cudaVersion"] == "12.8"
    assert (started["cost"], started["runtime"]) == (0.82, None)


async def test_the_cost_of_a_stopped_pod_can_stay_as_it_was_recorded() -> None:
    async with desk(market(wire={"stopped_cost": "recorded"})) as d:
        pod = await d.ready()
        assert (await d.act(pod, "stop")).json()["cost"] == 0.82


async def test_billing_history_adds_up_to_the_ledger() -> None:
    async with desk() as d:
        pod = await d.ready(mounts=VOLUME)
        d.env.advance(3600 - 60)
        await d.act(pod, "stop")
        d.env.advance(1800)
        other = await d.create()
        d.env.advance(1800)
        await d.http.delete(f"/v2/pods/{other['id']}")
        query = {"bucketSize": "hour", "lastN": "3"}
        history = (await d.http.get("/v2/billing/pods", params=query)).json()
        alone = (await d.http.get("/v2/billing/pods", params={"podId": pod["id"]})).json()
    hours = [r for r in history["records"] if r["podId"] == pod["id"]]
    assert [(r["startTime"][11:16], r["gpuAmount"], r["diskAmount"]) for r in hours] == [
        ("12:00", 0.82, 0.02),
        ("13:00", 0, 0.02),
        ("14:00", 0, 0),
    ]
    assert history["metadata"]["recordCount"] == 6
    assert history["metadata"]["uniquePodCount"] == 2
    assert history["metadata"]["totals"] == {
        "totalAmount": 1.275,
        "gpuAmount": 1.23,
        "cpuAmount": 0,
        "diskAmount": 0.045,
    }
    assert alone["metadata"]["query"] == {
        "startTime": "2026-10-23T00:00:00.000Z",
        "endTime": "2026-11-23T00:00:00.000Z",
        "bucketSize": "day",
        "podId": pod["id"],
    }
    assert alone["metadata"]["totals"]["totalAmount"] == 0.86


BILLING_QUERIES = [
    ("lastN=2&startTime=2026-11-01T00:00:00Z", 400),
    ("startTime=2026-11-22T00:00:00Z&endTime=2026-11-21T00:00:00Z", 400),
    ("lastN=0", 422),
    ("lastN=x", 422),
    ("bucketSize=fortnight", 422),
    ("startTime=yesterday", 422),
    ("startTime=2026-11-01", 422),
    ("endTime=9999-12-31T23:59:59Z&startTime=0001-01-01T00:00:00Z&bucketSize=year", 200),
    ("lastN=99999999&bucketSize=month", 200),
    ("what=ever", 200),
]


async def test_the_rules_of_billing_queries() -> None:
    async with desk() as d:
        await d.create()
        for query, status in BILLING_QUERIES:
            assert (await d.http.get(f"/v2/billing/pods?{query}")).status_code == status, query


@pytest.mark.parametrize(
    ("size", "start", "end"),
    [
        ("hour", "2024-02-29T13:00:00Z", "2024-02-29T14:00:00Z"),
        ("day", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
        ("week", "2024-02-26T00:00:00Z", "2024-03-04T00:00:00Z"),
        ("month", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
        ("year", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"),
    ],
)
def test_buckets_follow_the_calendar(size: str, start: str, end: str) -> None:
    first = bucket_start(parse_time("2024-02-29T13:45:10Z"), size)
    assert (first, bucket_end(first, size)) == (parse_time(start), parse_time(end))


# Actions.


async def test_actions_follow_the_status() -> None:
    async with desk() as d:
        pod = await d.create()
        refused = [(await d.act(pod, action)).status_code for action in ("start", "restart")]
        stopped = await d.act(pod, "stop")
        refused += [(await d.act(pod, action)).status_code for action in ("stop", "restart")]
        assert (await d.act(pod, "start")).status_code == 200
        d.env.advance(60)
        refused.append((await d.act(pod, "start")).status_code)
    assert stopped.json()["status"] == "EXITED"
    assert refused == [409] * 5


async def test_a_restart_shows_the_old_port_first_and_a_new_one_later() -> None:
    async with desk() as d:
        pod = await d.ready()
        old = pod["ssh"]["direct"]
        restarted = (await d.act(pod, "restart")).json()
        assert d.machines == {}
        d.env.advance(5)
        still = await d.pod(pod)
        d.env.advance(6)
        new = await d.pod(pod)
        assert d.machines[f"runpod:{pod['id']}"]["port"] == new["ssh"]["direct"]["port"]
    assert restarted["ssh"]["direct"] == still["ssh"]["direct"] == old
    assert new["ssh"]["direct"]["port"] != old["port"]
    assert new["ssh"]["direct"]["host"] == old["host"]
    assert new["runtime"]["uptime"] == 1


async def test_a_stopped_pod_may_find_its_host_full() -> None:
    async with desk() as d:
        pod = await d.ready(gpu={"id": "NVIDIA L40S", "count": 6})
        await d.act(pod, "stop")
        other = await d.create(gpu={"id": "NVIDIA L40S"})
        full = await d.act(pod, "start")
        await d.http.delete(f"/v2/pods/{other['id']}")
        assert (await d.act(pod, "start")).status_code == 200
    assert full.status_code == 400
    assert full.json()["detail"] == ("There are not enough free GPUs on the host machine to start this pod.")


async def test_a_locked_pod_cannot_be_stopped_but_can_be_ended() -> None:
    async with desk() as d:
        pod = await d.ready()
        locked = await d.http.patch(f"/v2/pods/{pod['id']}", json={"locked": True})
        refused = [(await d.act(pod, action)).status_code for action in ("stop", "restart")]
        await d.http.patch(f"/v2/pods/{pod['id']}", json={"locked": False})
        assert (await d.act(pod, "restart")).status_code == 200
        await d.http.patch(f"/v2/pods/{pod['id']}", json={"locked": True})
        assert (await d.act(pod, "terminate")).status_code == 204
    assert locked.json()["locked"] is True
    assert refused == [409, 409]


async def test_a_rename_leaves_the_container_alone_and_other_edits_restart_it() -> None:
    async with desk() as d:
        pod = await d.ready()
        path = f"/v2/pods/{pod['id']}"
        renamed = (await d.http.patch(path, json={"name": "new name"})).json()
        assert f"runpod:{pod['id']}" in d.machines
        edited = (await d.http.patch(path, json={"env": {"PUBLIC_KEY": "ssh-rsa NEW"}, "disk": 146})).json()
        assert d.machines == {}
        assert d.open_lines(pod)["disk"] == "0.02"
        d.env.advance(11)
        after = await d.pod(pod)
        assert d.machines[f"runpod:{pod['id']}"]["authorized_keys"] == ["ssh-rsa NEW"]
    assert renamed["name"] == "new name"
    assert renamed["ssh"] == pod["ssh"]
    assert edited["env"] == {"PUBLIC_KEY": "ssh-rsa NEW"}
    assert after["ssh"]["direct"]["port"] != pod["ssh"]["direct"]["port"]


async def test_mounts_keep_the_kind_they_were_made_with() -> None:
    async with desk() as d:
        bare, stored = await d.create(), await d.create(mounts=VOLUME)
        moved = {"persistent": {"size": 146, "path": "/data"}}
        network = {"network": [{"volumeId": "v", "path": "/v"}]}
        answers = [
            (await d.http.patch(f"/v2/pods/{pod['id']}", json={"mounts": mounts})).status_code
            for pod, mounts in (
                (bare, {}),
                (bare, moved),
                (stored, network),
                (stored, {"network": []}),
                (stored, moved),
            )
        ]
        template = await d.http.patch(f"/v2/pods/{bare['id']}", json={"templateId": "nosuch"})
        assert (await d.pod(stored))["mounts"] == moved
        assert d.open_lines(stored)["volume"] == "0.02"
    assert answers == [200, 400, 400, 400, 200]
    assert template.status_code == 404


async def test_global_networking_gives_a_private_address_at_the_next_start() -> None:
    async with desk() as d:
        pod = await d.ready()
        path = f"/v2/pods/{pod['id']}"
        switched = (await d.http.patch(path, json={"globalNetworking": True})).json()
        await d.act(pod, "restart")
        d.env.advance(11)
        linked = (await d.pod(pod))["globalNetworking"]
    assert switched["globalNetworking"] == {"enabled": False}
    assert linked["enabled"] is True
    assert linked["internalDns"] == f"{pod['id']}.runpod.internal"


# Logs.


def events(text: str) -> list[dict[str, str]]:
    """The payloads of a stream, each with its id checked against its time."""
    found = []
    for block in text.strip().split("\n\n"):
        if block:
            first, second = block.split("\n")
            data = json.loads(second.removeprefix("data: "))
            assert first == f"id: {data['ts']}"
            found.append(data)
    return found


async def test_logs_are_server_sent_events_that_can_be_resumed() -> None:
    async with desk(market(wire={"logs_open_s": 0.0})) as d:
        pod = await d.ready()
        url = f"/v2/pods/{pod['id']}/logs"
        reply = await d.http.get(url)
        everything = events(reply.text)
        system = events((await d.http.get(url, params={"source": "system"})).text)
        last = events((await d.http.get(url, params={"tail": "1"})).text)
        since = events((await d.http.get(url, params={"since": everything[1]["ts"], "tail": "0"})).text)
        cursor = {"Last-Event-ID": f"{everything[0]['ts']}/000000000001"}
        resumed = events((await d.http.get(url, headers=cursor)).text)
        none = (await d.http.get(url, params={"tail": "0"})).text
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-accel-buffering"] == "no"
    assert [event["source"] for event in everything] == ["system", "system", "container"]
    assert everything[0]["line"] == f"create container {body()['image']}"
    assert system == everything[:2]
    assert last == everything[-1:]
    assert since == resumed == everything[1:]
    assert none == ""


async def test_an_open_log_stream_goes_on_with_what_happens_later() -> None:
    async with desk(market(wire={"logs_open_s": 30.0})) as d:
        pod = await d.create()
        seen = ""
        async with d.http.stream("GET", f"/v2/pods/{pod['id']}/logs") as stream:
            async for chunk in stream.aiter_text():
                seen += chunk
                if len(events(seen)) == 1:
                    d.env.advance(60)
                if len(events(seen)) == 3:
                    break
    assert events(seen)[2]["source"] == "container"


async def test_malformed_log_queries_are_422() -> None:
    async with desk() as d:
        pod = await d.create()
        for query in ("tail=-1", "tail=5001", "tail=x", "source=kernel", "since=now"):
            assert (await d.http.get(f"/v2/pods/{pod['id']}/logs?{query}")).status_code == 422, query


async def test_a_failed_boot_is_explained_in_the_system_log() -> None:
    async with desk(market(wire={"logs_open_s": 0.0})) as d:
        d.world.faults.add("fail_after_accept", "runpod")
        pod = await d.create(env={"PUBLIC_KEY": KEY_LINE})
        d.env.advance(60)
        log = events((await d.http.get(f"/v2/pods/{pod['id']}/logs", params={"source": "system"})).text)
    assert log[-1]["line"].startswith("error:")
