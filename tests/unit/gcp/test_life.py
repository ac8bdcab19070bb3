"""Looking, listing and ending."""

from __future__ import annotations

import httpx
import pytest

from providers import errors
from providers.base import Address, Instance, LaunchSpec, Phase
from providers.gcp.adapter import Gcp
from tests.unit.gcp.conftest import Attempt, offer_of
from tests.unit.gcp.google import BASE, NUMBER, OWNER, PROJECT, TOKEN, ZONE, Google, refusal
from tests.unit.gcp.test_launch import launched

PATH = f"zones/{ZONE}/instances/{TOKEN}"


async def test_a_running_machine_has_an_address(cloud: Gcp, google: Google, spec: LaunchSpec, attempt: Attempt) -> None:
    offer, resolved, made = await launched(cloud, spec)
    found = await cloud.find(attempt(offer, made, resolved))
    assert found is not None
    assert (found.phase, found.address) == (Phase.PENDING, None)
    google.run()
    found = await cloud.find(attempt(offer, made, resolved))
    assert found is not None
    assert (found.id, found.phase) == (made.id, Phase.RUNNING)
    assert found.address == Address(host="203.0.113.7", port=22, user="ubuntu")


@pytest.mark.parametrize("status", ["TERMINATED", "STOPPED", "SUSPENDED", "REPAIRING"])
async def test_a_machine_that_stands_still_has_failed_and_is_deleted(
    cloud: Gcp, google: Google, spec: LaunchSpec, attempt: Attempt, status: str
) -> None:
    offer, resolved, made = await launched(cloud, spec)
    google.run(status=status)
    found = await cloud.find(attempt(offer, made, resolved))
    assert found is not None
    assert found.phase is Phase.FAILED
    assert isinstance(found.failure, errors.BootFailed)
    assert [one.phase for one in await cloud.owned()] == [Phase.FAILED]
    assert not await cloud.terminate(found)
    assert await cloud.terminate(found)
    assert google.instances == {}


async def test_a_stopped_spot_machine_was_taken_away(
    cloud: Gcp, google: Google, spec: LaunchSpec, attempt: Attempt
) -> None:
    offer, resolved, made = await launched(cloud, spec, pricing="spot")
    google.run(status="TERMINATED")
    found = await cloud.find(attempt(offer, made, resolved))
    assert found is not None
    assert isinstance(found.failure, errors.NoCapacity)


async def test_an_unknown_status_is_unknown(cloud: Gcp, google: Google, spec: LaunchSpec, attempt: Attempt) -> None:
    offer, resolved, made = await launched(cloud, spec)
    google.run(status="HIBERNATING")
    found = await cloud.find(attempt(offer, made, resolved))
    assert found is not None
    assert found.phase is Phase.UNKNOWN


async def test_a_namesake_with_another_owner_is_not_found(cloud: Gcp, google: Google, attempt: Attempt) -> None:
    offer = await offer_of(cloud, "g2-standard-4")
    google.instances[ZONE, TOKEN] = {"name": TOKEN, "id": "1", "labels": {"orch-owner": "f" * 32}}
    assert await cloud.find(attempt(offer)) is None


async def test_a_namesake_of_another_owner_is_never_deleted(cloud: Gcp, google: Google) -> None:
    google.instances[ZONE, TOKEN] = {"name": TOKEN, "id": "1", "labels": {"orch-owner": "f" * 32}}
    ours = Instance(provider="gcp", account=NUMBER, id="2", handle={"zone": ZONE, "name": TOKEN}, token=TOKEN)
    assert await cloud.terminate(ours)
    assert (ZONE, TOKEN) in google.instances


async def test_everything_of_this_installation_is_listed_over_all_pages(
    cloud: Gcp, google: Google, spec: LaunchSpec
) -> None:
    await launched(cloud, spec)
    row = google.instances[ZONE, TOKEN]
    other = {**row, "name": "other", "id": "9", "labels": {"orch-owner": "f" * 32}}
    elsewhere = {**row, "name": "orch-aerukz4-leaseaaaa-02", "id": "8"}
    elsewhere["labels"] = {**row["labels"], "orch-token": elsewhere["name"]}
    first = {"items": {f"zones/{ZONE}": {"instances": [row, other]}}, "nextPageToken": "two"}
    second = {"items": {"zones/asia-east1-a": {"instances": [elsewhere]}}}
    path = "aggregated/instances"
    google.answer("GET", path, httpx.Response(200, json=first), httpx.Response(200, json=second))
    found = await cloud.owned()
    assert [(one.token, one.handle["zone"]) for one in found] == [
        (TOKEN, ZONE),
        ("orch-aerukz4-leaseaaaa-02", "asia-east1-a"),
    ]
    calls = google.sent("GET", path)
    assert calls[0].url.params["filter"] == f"labels.orch-owner={OWNER}"
    assert calls[1].url.params["pageToken"] == "two"


@pytest.mark.parametrize(
    "body",
    [
        {"items": {"zones/a": {"warning": {"code": "UNREACHABLE"}}}},
        {"items": {}, "unreachables": ["zones/a"]},
        {"items": {}, "warning": {"code": "PARTIAL_SUCCESS"}},
        {"surprise": True},
        [],
    ],
)
async def test_a_list_that_is_not_whole_raises(cloud: Gcp, google: Google, body: object) -> None:
    google.answer("GET", "aggregated/instances", httpx.Response(200, json=body))
    with pytest.raises(errors.Unavailable):
        await cloud.owned()


async def test_pages_that_never_end_raise(cloud: Gcp, google: Google) -> None:
    page = httpx.Response(200, json={"items": {}, "nextPageToken": "again"})
    google.answer("GET", "aggregated/instances", page, page, page)
    with pytest.raises(errors.Unavailable, match="do not end"):
        await cloud.owned()


async def test_an_end_is_only_believed_when_google_knows_no_such_machine(
    cloud: Gcp, google: Google, spec: LaunchSpec
) -> None:
    _, _, made = await launched(cloud, spec)
    deleting = httpx.Response(200, json={"name": "operation-9", "status": "RUNNING"})
    google.answer("DELETE", PATH, deleting, deleting)
    assert not await cloud.terminate(made)
    assert not await cloud.terminate(made)
    assert (ZONE, TOKEN) in google.instances
    assert not await cloud.terminate(made)
    assert await cloud.terminate(made)
    assert await cloud.terminate(made)
    assert all("requestId" not in call.url.params for call in google.sent("DELETE"))


async def test_a_deletion_that_failed_is_told(cloud: Gcp, google: Google, spec: LaunchSpec) -> None:
    _, _, made = await launched(cloud, spec)
    done = {"name": "o", "status": "DONE", "error": {"errors": [{"code": "PERMISSIONS_ERROR", "message": "no"}]}}
    google.answer("DELETE", PATH, httpx.Response(200, json=done))
    with pytest.raises(errors.Forbidden):
        await cloud.terminate(made)


async def test_a_missing_project_or_zone_proves_no_end(cloud: Gcp, google: Google, spec: LaunchSpec) -> None:
    _, _, made = await launched(cloud, spec)
    gone = refusal(404, "notFound", f"The resource 'projects/{PROJECT}' was not found")
    google.answer("GET", PATH, gone)
    with pytest.raises(errors.Forbidden):
        await cloud.terminate(made)


async def test_a_page_of_a_proxy_proves_no_end(cloud: Gcp, google: Google, spec: LaunchSpec) -> None:
    _, _, made = await launched(cloud, spec)
    google.answer("GET", PATH, httpx.Response(404, text="<html>not here</html>"))
    with pytest.raises(errors.ProviderError):
        await cloud.terminate(made)


async def test_under_another_projects_key_nothing_is_called_gone(cloud: Gcp, google: Google) -> None:
    elsewhere = Instance(provider="gcp", account="99", id="1", handle={"zone": ZONE, "name": TOKEN}, token=TOKEN)
    with pytest.raises(errors.Forbidden):
        await cloud.terminate(elsewhere)


async def test_the_account_is_the_projects_number(cloud: Gcp, google: Google) -> None:
    assert await cloud.account() == NUMBER
    assert await cloud.account() == NUMBER
    assert len(google.calls) == 1


async def test_a_project_that_is_not_there_is_no_account(cloud: Gcp, google: Google) -> None:
    google.answer("GET", "", refusal(404, "notFound", f"The resource 'projects/{PROJECT}' was not found"))
    with pytest.raises(errors.Forbidden):
        await cloud.account()


async def test_the_check_says_what_to_do(cloud: Gcp, google: Google) -> None:
    google.project_quotas = [{"metric": "GPUS_ALL_REGIONS", "limit": 0.0, "usage": 0.0}]
    google.quotas["us-central1"] = [{"metric": "NVIDIA_L4_GPUS", "limit": 8.0, "usage": 1.0}]
    lines = await cloud.check()
    assert lines["account"] == NUMBER
    assert lines["key"] == "accepted (the metadata server of this machine)"
    assert "NVIDIA_L4_GPUS 1 of 8 used in us-central1" in lines["quota"]
    assert "GPUS_ALL_REGIONS is 0" in lines["fix"]
    assert {"rights", "clock_skew"} <= set(lines)


async def test_the_check_names_a_missing_permission(cloud: Gcp, google: Google) -> None:
    google.answer("GET", "regions", refusal(403, "forbidden", "Required 'compute.regions.list' permission for 'p'"))
    lines = await cloud.check()
    assert "compute.regions.list" in lines["rights"]
    assert "roles/compute.instanceAdmin.v1" in lines["fix"]


async def test_every_call_stays_below_the_project(cloud: Gcp, google: Google, spec: LaunchSpec) -> None:
    await launched(cloud, spec)
    compute = [call for call in google.calls if call.url.host == "compute.googleapis.com"]
    assert {str(call.url).startswith(BASE) for call in compute} == {True}
    assert {call.url.host for call in google.calls} == {"compute.googleapis.com", "cloudbilling.googleapis.com"}
