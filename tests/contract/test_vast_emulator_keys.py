"""Vast.ai's emulator: API keys and who may do what with them, SSH keys, logs."""

from __future__ import annotations

import json

from tests.contract import vast_golden as golden
from tests.contract.vast_desk import (
    KEY_LINE,
    L40_EGRESS,
    L40_FREE,
    desk,
    market,
)

# API keys.


async def test_a_wrong_key_is_a_404_at_the_search_and_a_401_elsewhere() -> None:
    async with desk() as d:
        d.http.headers["Authorization"] = "Bearer " + "0" * 64
        search = await d.http.post("/api/v0/bundles/", json={})
        charges = await d.http.get("/api/v0/charges/")
        others = [await d.http.get(path) for path in ("/api/v0/users/current/", "/api/v1/instances/")]
        others += [await d.put(L40_FREE), await d.destroy(1)]
    for reply in (search, charges):
        assert (reply.status_code, reply.json()) == golden.ERRORS["bad-key"]
    for reply in others:
        assert (reply.status_code, reply.json()) == golden.ERRORS["bad-key-401"]


async def test_a_wrong_key_may_be_a_404_everywhere() -> None:
    async with desk(market(wire={"bad_key_status": 404})) as d:
        d.http.headers["Authorization"] = "Bearer nobody"
        reply = await d.http.get("/api/v0/users/current/")
        d.exchanges.clear()  # the descriptions know the 401 only
    assert (reply.status_code, reply.json()) == golden.ERRORS["bad-key"]


async def test_no_key_is_a_403_and_a_key_in_the_query_is_good() -> None:
    async with desk() as d:
        del d.http.headers["Authorization"]
        reply = await d.http.get("/api/v1/instances/")
        assert (reply.status_code, reply.json()) == golden.ERRORS["login"]
        good = await d.http.get("/api/v1/instances/", params={"api_key": d.vast.key})
        assert good.status_code == 200


async def test_a_call_may_need_a_second_factor() -> None:
    async with desk(market(wire={"second_factor": ["ssh_add"]})) as d:
        reply = await d.http.post("/api/v0/ssh/", json={"ssh_key": KEY_LINE})
        assert (await d.http.get("/api/v0/ssh/")).status_code == 404
    assert reply.status_code == 401
    assert "Two Factor Authentication" in reply.json()["msg"]


async def test_an_instances_own_key_is_good_for_that_instance_alone() -> None:
    async with desk() as d:
        answer = (await d.put(L40_FREE)).json()
        other = await d.create(L40_EGRESS)
        own, made = {"Authorization": f"Bearer {answer['instance_api_key']}"}, answer["new_contract"]
        path = f"/api/v0/instances/{made}/"
        assert (await d.http.get(path, headers=own)).json()["instances"]["id"] == made
        assert (await d.http.put(path, json={"state": "stopped"}, headers=own)).json() == {"success": True}
        for method, denied in (("GET", f"/api/v0/instances/{other}/"), ("GET", "/api/v1/instances/")):
            assert (await d.http.request(method, denied, headers=own)).status_code == 403
        assert (await d.http.delete(path, headers=own)).status_code == 200
        assert (await d.http.get(path, headers=own)).status_code == 401


async def test_unknown_paths_and_methods_are_refused() -> None:
    async with desk() as d:
        assert (await d.http.post("/api/v0/bundles", json={})).status_code == 404
        assert (await d.http.get("/api/v0/users/current")).status_code == 200, "so asks the official client"
        assert (await d.http.get("/api/v2/instances/")).status_code == 404
        wrong = await d.http.get("/api/v0/bundles/")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


# SSH keys.


async def test_account_keys_are_kept_listed_and_deleted() -> None:
    async with desk() as d:
        none = await d.http.get("/api/v0/ssh/")
        assert none.status_code == 404
        added = (await d.http.post("/api/v0/ssh/", json={"ssh_key": KEY_LINE})).json()["key"]
        again = (await d.http.post("/api/v0/ssh/", json={"ssh_key": KEY_LINE})).json()["key"]
        assert added == again
        assert (added["public_key"], added["user_id"], added["deleted_at"]) == (KEY_LINE, 190234, None)
        assert [row["key"] for row in (await d.http.get("/api/v0/ssh/")).json()] == [KEY_LINE]
        for bad in ({}, {"ssh_key": ""}, {"ssh_key": "not a key"}, {"ssh_key": None}):
            reply = await d.http.post("/api/v0/ssh/", json=bad)
            assert (reply.status_code, reply.json()["error"]) == (400, "no_ssh_key")
        assert (await d.http.delete(f"/api/v0/ssh/{added['id']}/")).json() == {"success": True}
        gone = await d.http.delete(f"/api/v0/ssh/{added['id']}/")
        assert (gone.status_code, gone.json()["error"]) == (400, "no_ssh_key")


async def test_a_key_attached_while_it_boots_is_there_when_ssh_answers() -> None:
    async with desk() as d:
        made = await d.create()
        await d.http.post(f"/api/v0/instances/{made}/ssh/", json={"ssh_key": KEY_LINE})
        d.env.advance(90)
        await d.show(made)
        assert d.machines[f"vast:{made}"]["authorized_keys"] == [KEY_LINE]
        assert (await d.http.get("/api/v0/ssh/")).status_code == 404, "it is none of the account's"


async def test_a_key_that_the_start_script_writes_lets_somebody_in_and_is_not_attached_twice() -> None:
    async with desk() as d:
        script = f"mkdir -p ~/.ssh\nprintf '%s\\n' '{KEY_LINE}' >> ~/.ssh/authorized_keys\n"
        made = await d.ready(onstart=script)
        machine = d.machines[f"vast:{made}"]
        assert machine["authorized_keys"] == [KEY_LINE]
        await d.http.post(f"/api/v0/instances/{made}/ssh/", json={"ssh_key": KEY_LINE})
        assert d.machines[f"vast:{made}"] is machine, "a machine would lose its files by another start"


async def test_a_key_can_be_attached_to_a_running_rental_and_detached_again() -> None:
    async with desk() as d:
        made = await d.ready()
        path = f"/api/v0/instances/{made}/ssh/"
        await d.http.post(path, json={"ssh_key": KEY_LINE})
        assert d.machines[f"vast:{made}"]["authorized_keys"] == [KEY_LINE]
        [row] = json.loads((await d.http.get(path)).json()["ssh_keys"])
        detached = await d.http.delete(f"{path}{row['id']}/")
        assert detached.json() == {"success": True, "msg": "SSH key removed from instance."}
        assert d.machines[f"vast:{made}"]["authorized_keys"] == []
        missing = await d.http.delete(f"{path}{row['id']}/")
        assert (missing.status_code, missing.json()["error"]) == (404, "no_such_ssh_key")
        elsewhere = await d.http.post("/api/v0/instances/1/ssh/", json={"ssh_key": KEY_LINE})
        assert elsewhere.status_code == 404


async def test_a_new_account_key_reaches_rentals_that_nobody_could_enter() -> None:
    async with desk() as d:
        locked, booting = await d.ready(), await d.create(L40_EGRESS)
        await d.http.post("/api/v0/ssh/", json={"ssh_key": KEY_LINE})
        assert d.machines[f"vast:{locked}"]["authorized_keys"] == [KEY_LINE]
        entered = d.machines[f"vast:{locked}"]
        await d.http.post("/api/v0/ssh/", json={"ssh_key": KEY_LINE + "2"})
        assert d.machines[f"vast:{locked}"] is entered
        d.env.advance(90)
        await d.show(booting)
        assert d.machines[f"vast:{booting}"]["authorized_keys"] == [KEY_LINE, KEY_LINE + "2"]


async def test_logs_are_uploaded_a_moment_later_to_an_address_that_takes_no_key() -> None:
    async with desk() as d:
        made = await d.ready()
        reply = (await d.http.put(f"/api/v0/instances/request_logs/{made}/", json={"tail": "100"})).json()
        url = reply["result_url"]
        assert (await d.http.get(url, headers={"Authorization": ""})).status_code == 404
        d.env.advance(2)
        log = await d.http.get(url, headers={"Authorization": ""})
        assert (log.status_code, log.text) == (200, "Created container\nsshd is running\n")
