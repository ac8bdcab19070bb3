"""Launches: what is sent, the operation that decides, and what is left when it fails."""

from __future__ import annotations

from datetime import timedelta

import httpx
import msgspec
import pytest

from providers import errors
from providers.base import LaunchSpec, Phase
from providers.env import ManualEnv
from providers.gcp.adapter import Gcp
from tests.unit.gcp.conftest import Attempt, offer_of
from tests.unit.gcp.google import IMAGE, KEY, OWNER, TOKEN, ZONE, Google, failed, refusal

INSTANCES = f"zones/{ZONE}/instances"
OPERATIONS = f"zones/{ZONE}/operations"
FULL = failed(
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
    "The zone 'projects/p/zones/us-central1-a' does not have enough resources available to fulfill the request.",
    {"errorInfo": {"reason": "resource_availability", "metadatas": {"zone": ZONE}}},
)


async def launched(cloud: Gcp, spec: LaunchSpec, name: str = "g2-standard-4", pricing: str = "on-demand"):  # type: ignore[no-untyped-def]
    offer = await offer_of(cloud, name, pricing)
    spec = await cloud.resolve(offer, spec)
    return offer, spec, await cloud.launch(offer, spec, TOKEN)


async def test_a_machine_is_asked_for_with_all_that_it_needs(cloud: Gcp, google: Google, spec: LaunchSpec) -> None:
    _, _, made = await launched(cloud, spec)
    body = google.body("POST", "/instances")
    assert body["name"] == TOKEN
    assert body["machineType"] == f"zones/{ZONE}/machineTypes/g2-standard-4"
    assert body["labels"] == {"orch-owner": OWNER, "orch-lease": "leaseaaaa", "orch-token": TOKEN}
    [disk] = body["disks"]
    assert disk["autoDelete"] is True
    assert disk["initializeParams"]["sourceImage"] == IMAGE
    assert disk["initializeParams"]["diskSizeGb"] == "50"
    assert body["networkInterfaces"][0]["accessConfigs"][0]["networkTier"] == "STANDARD"
    assert "guestAccelerators" not in body
    metadata = {item["key"]: item["value"] for item in body["metadata"]["items"]}
    assert metadata == {"ssh-keys": f"ubuntu:{KEY}", "block-project-ssh-keys": "TRUE", "enable-oslogin": "FALSE"}
    assert body["scheduling"] == {
        "provisioningModel": "STANDARD",
        "onHostMaintenance": "TERMINATE",
        "automaticRestart": False,
    }
    assert (made.phase, made.token, made.owner) == (Phase.PENDING, TOKEN, OWNER)
    assert made.id.isdigit()
    assert made.handle == {"kind": "instance", "zone": ZONE, "name": TOKEN, "operation": "operation-1"}


async def test_spot_machines_are_deleted_when_they_are_taken(cloud: Gcp, google: Google, spec: LaunchSpec) -> None:
    await launched(cloud, spec, pricing="spot")
    scheduling = google.body("POST", "/instances")["scheduling"]
    assert scheduling["provisioningModel"] == "SPOT"
    assert scheduling["instanceTerminationAction"] == "DELETE"


async def test_the_dead_man_timer_is_googles_own_and_is_saved_for_a_replay(
    cloud: Gcp, google: Google, spec: LaunchSpec, env: ManualEnv
) -> None:
    spec = msgspec.structs.replace(spec, ends_at=env.now() + timedelta(hours=2))
    offer, resolved, _ = await launched(cloud, spec)
    first = google.body("POST", "/instances")
    assert 7195 <= int(first["scheduling"]["maxRunDuration"]["seconds"]) <= 7205
    assert first["scheduling"]["instanceTerminationAction"] == "DELETE"
    env.advance(600)
    google.instances.clear()
    await cloud.launch(offer, resolved, TOKEN)
    calls = google.sent("POST", "/instances")
    assert calls[0].content == calls[1].content
    assert calls[0].url.params["requestId"] == calls[1].url.params["requestId"]


async def test_a_timer_longer_than_google_takes_is_left_out(
    cloud: Gcp, google: Google, spec: LaunchSpec, env: ManualEnv
) -> None:
    await launched(cloud, msgspec.structs.replace(spec, ends_at=env.now() + timedelta(days=200)))
    assert "maxRunDuration" not in google.body("POST", "/instances")["scheduling"]


async def test_gpus_of_n1_machines_are_asked_for_apart(cloud: Gcp, google: Google, spec: LaunchSpec) -> None:
    await launched(cloud, spec, "n1-standard-16+t4x2")
    body = google.body("POST", "/instances")
    assert body["machineType"].endswith("/n1-standard-16")
    [card] = body["guestAccelerators"]
    assert card["acceleratorType"].endswith(f"zones/{ZONE}/acceleratorTypes/nvidia-tesla-t4")
    assert card["acceleratorCount"] == 2


async def test_command_and_environment_go_as_user_data(cloud: Gcp, google: Google, spec: LaunchSpec) -> None:
    await launched(cloud, msgspec.structs.replace(spec, cmd="python train.py", env={"A": "it's"}))
    items = {item["key"]: item["value"] for item in google.body("POST", "/instances")["metadata"]["items"]}
    assert items["user-data"].startswith("#cloud-config\n")
    assert "python train.py" in items["user-data"]


@pytest.mark.parametrize(
    "wrong",
    [{"image": "pytorch/pytorch:latest"}, {"env": {"1A": "x"}}, {"ports": ("nonsense",)}, {"ssh_public_key": "x"}],
)
async def test_what_cannot_be_sent_is_refused_before_anything_is_asked_for(
    cloud: Gcp, google: Google, spec: LaunchSpec, wrong: dict[str, object]
) -> None:
    offer = await offer_of(cloud, "g2-standard-4")
    with pytest.raises(errors.InvalidRequest):
        await cloud.resolve(offer, msgspec.structs.replace(spec, **wrong))
    assert google.sent("POST") == []


async def test_an_own_image_is_pinned_by_its_link(cloud: Gcp, google: Google, spec: LaunchSpec) -> None:
    google.answer(
        "GET",
        "projects/me/global/images/family/mine",
        httpx.Response(200, json={"name": "mine-7", "diskSizeGb": "200"}),
    )
    await launched(cloud, msgspec.structs.replace(spec, image="projects/me/global/images/family/mine"))
    [disk] = google.body("POST", "/instances")["disks"]
    assert disk["initializeParams"]["sourceImage"] == "projects/me/global/images/mine-7"
    assert disk["initializeParams"]["diskSizeGb"] == "200"


async def test_missing_capacity_inside_the_operation_is_no_machine(
    cloud: Gcp, google: Google, spec: LaunchSpec, attempt: Attempt
) -> None:
    google.outcome = FULL
    offer = await offer_of(cloud, "g2-standard-4")
    resolved = await cloud.resolve(offer, spec)
    with pytest.raises(errors.NoCapacity) as caught:
        await cloud.launch(offer, resolved, TOKEN)
    assert caught.value.code == "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"
    assert (caught.value.scope, caught.value.left) == ("offer", ())
    assert len(google.sent("DELETE", f"/instances/{TOKEN}")) == 1  # swept
    assert await cloud.find(attempt(offer, with_spec=resolved)) is None


async def test_a_failure_that_comes_late_shows_in_find(
    cloud: Gcp, google: Google, spec: LaunchSpec, attempt: Attempt
) -> None:
    google.looks = 1000
    offer, resolved, made = await launched(cloud, spec)
    google.instances.clear()
    google.operations["operation-1"].update(looks=0)
    ref = attempt(offer, made, resolved)
    google.outcome = {"status": "RUNNING"}
    pending = await cloud.find(ref)
    assert pending is not None
    assert (pending.phase, pending.id) == (Phase.PENDING, made.id)
    assert not await cloud.terminate(made)  # it may still appear
    google.outcome = FULL
    found = await cloud.find(ref)
    assert found is not None
    assert found.phase is Phase.FAILED
    assert isinstance(found.failure, errors.NoCapacity)
    assert await cloud.terminate(made)


async def test_a_quota_named_in_the_operation_is_told(cloud: Gcp, google: Google, spec: LaunchSpec) -> None:
    google.outcome = failed(
        "QUOTA_EXCEEDED",
        "Quota 'NVIDIA_L4_GPUS' exceeded.  Limit: 1.0 in region us-central1.",
        {"quotaInfo": {"metricName": "compute.googleapis.com/nvidia_l4_gpus", "limitName": "NVIDIA-L4-GPUS"}},
        status=403,
    )
    with pytest.raises(errors.QuotaExceeded) as caught:
        await launched(cloud, spec)
    assert (caught.value.bucket, caught.value.scope) == ("NVIDIA_L4_GPUS", "region")


async def test_an_operations_unknown_code_is_counted_and_moves_on(
    cloud: Gcp, google: Google, spec: LaunchSpec, unclassified: list[tuple[str, str, str]]
) -> None:
    google.outcome = failed("SOMETHING_NEW", "never seen before", status=400)
    with pytest.raises(errors.Unclassified, match="never seen before"):
        await launched(cloud, spec)
    assert unclassified == [("gcp", "SOMETHING_NEW", "never seen before")]


async def test_our_own_earlier_machine_is_adopted_by_its_labels(cloud: Gcp, google: Google, spec: LaunchSpec) -> None:
    offer, resolved, made = await launched(cloud, spec)
    again = await cloud.launch(offer, resolved, TOKEN)
    assert (again.id, again.token) == (made.id, TOKEN)
    assert len(google.instances) == 1


async def test_another_ones_machine_of_that_name_is_never_adopted(cloud: Gcp, google: Google, spec: LaunchSpec) -> None:
    offer = await offer_of(cloud, "g2-standard-4")
    google.instances[ZONE, TOKEN] = {"name": TOKEN, "id": "1", "labels": {"orch-owner": "f" * 32}}
    with pytest.raises(errors.Unclassified, match="not ours"):
        await cloud.launch(offer, await cloud.resolve(offer, spec), TOKEN)
    assert (ZONE, TOKEN) in google.instances


async def test_a_lost_answer_is_unknown_and_its_operation_is_found(
    cloud: Gcp, google: Google, spec: LaunchSpec, attempt: Attempt
) -> None:
    offer = await offer_of(cloud, "g2-standard-4")
    resolved = await cloud.resolve(offer, spec)

    def lost(request: httpx.Request) -> httpx.Response:
        google._insert(request, ZONE)
        raise httpx.ReadError("cut", request=request)

    google.answer("POST", INSTANCES, lost)
    with pytest.raises(errors.OutcomeUnknown):
        await cloud.launch(offer, resolved, TOKEN)
    row = google.instances.pop((ZONE, TOKEN))  # not visible yet
    found = await cloud.find(attempt(offer, with_spec=resolved))
    assert found is not None
    assert (found.id, found.phase) == (row["id"], Phase.PENDING)
    assert found.handle["operation"] == "operation-1"


async def test_a_5xx_of_the_insert_proves_nothing(cloud: Gcp, google: Google, spec: LaunchSpec) -> None:
    offer = await offer_of(cloud, "g2-standard-4")
    resolved = await cloud.resolve(offer, spec)
    google.answer("POST", INSTANCES, refusal(503, "backendError", "try again"))
    with pytest.raises(errors.OutcomeUnknown):
        await cloud.launch(offer, resolved, TOKEN)


async def test_a_network_that_lets_ssh_in_needs_no_rule(cloud: Gcp, google: Google, spec: LaunchSpec) -> None:
    _, resolved, _ = await launched(cloud, spec)
    assert resolved.native["firewall"] == ""
    assert google.sent("POST", "/firewalls") == []
    assert google.body("POST", "/instances")["tags"] == {"items": ["orch"]}


async def test_rules_that_may_not_be_read_are_taken_to_let_ssh_in(cloud: Gcp, google: Google, spec: LaunchSpec) -> None:
    google.answer("GET", "global/firewalls", refusal(403, "forbidden", "Required 'compute.firewalls.list' permission"))
    offer = await offer_of(cloud, "g2-standard-4")
    assert (await cloud.resolve(offer, spec)).native["firewall"] == ""


@pytest.mark.parametrize(
    "change",
    [{"disabled": True}, {"sourceRanges": ["10.0.0.0/8"]}, {"targetTags": ["web"]}, {"network": "x/other"}],
)
async def test_a_closed_network_gets_a_rule_for_this_machine_alone(
    cloud: Gcp, google: Google, spec: LaunchSpec, change: dict[str, object]
) -> None:
    google.firewalls["default-allow-ssh"] = {**google.firewalls["default-allow-ssh"], **change}
    _, _, made = await launched(cloud, spec)
    rule = google.firewalls[TOKEN]
    assert rule["targetTags"] == [TOKEN]
    assert rule["allowed"] == [{"IPProtocol": "tcp", "ports": ["22"]}]
    assert TOKEN in google.body("POST", "/instances")["tags"]["items"]
    assert made.handle["firewall"] == TOKEN
    while not await cloud.terminate(made):
        pass
    assert TOKEN not in google.firewalls


async def test_asked_ports_are_opened_by_a_rule(cloud: Gcp, google: Google, spec: LaunchSpec) -> None:
    await launched(cloud, msgspec.structs.replace(spec, ports=("8080/http", "53/udp")))
    assert google.firewalls[TOKEN]["allowed"] == [
        {"IPProtocol": "tcp", "ports": ["22", "8080"]},
        {"IPProtocol": "udp", "ports": ["53"]},
    ]


async def test_a_refused_machine_takes_its_rule_with_it(
    cloud: Gcp, google: Google, spec: LaunchSpec, attempt: Attempt
) -> None:
    del google.firewalls["default-allow-ssh"]
    google.outcome = FULL
    with pytest.raises(errors.NoCapacity) as caught:
        await launched(cloud, spec)
    assert caught.value.left == ()
    assert google.firewalls == {}


async def test_a_rule_that_cannot_be_taken_away_is_named_as_left(cloud: Gcp, google: Google, spec: LaunchSpec) -> None:
    del google.firewalls["default-allow-ssh"]
    google.outcome = FULL
    refused = refusal(403, "forbidden", "Required 'compute.firewalls.delete' permission for 'x'")
    google.answer("DELETE", f"global/firewalls/{TOKEN}", *[refused] * 20)
    with pytest.raises(errors.NoCapacity) as caught:
        await launched(cloud, spec)
    [left] = caught.value.left
    google.answers.clear()
    assert not await cloud.terminate(left)
    assert await cloud.terminate(left)
    assert google.firewalls == {}


async def test_a_rule_without_its_machine_is_found_by_its_name_and_ended(
    cloud: Gcp, google: Google, spec: LaunchSpec, attempt: Attempt
) -> None:
    del google.firewalls["default-allow-ssh"]
    offer = await offer_of(cloud, "g2-standard-4")
    resolved = await cloud.resolve(offer, spec)
    google.answer("POST", INSTANCES, refusal(503, "backendError", "down"))
    with pytest.raises(errors.OutcomeUnknown):
        await cloud.launch(offer, resolved, TOKEN)
    found = await cloud.find(attempt(offer, with_spec=resolved))
    assert found is not None
    assert (found.handle["kind"], found.phase) == ("firewall", Phase.FAILED)
    assert not await cloud.terminate(found)
    assert await cloud.terminate(found)
    assert await cloud.find(attempt(offer, with_spec=resolved)) is None


async def test_a_machine_that_turns_up_after_its_rule_was_found_is_ended_with_it(
    cloud: Gcp, google: Google, spec: LaunchSpec, attempt: Attempt
) -> None:
    del google.firewalls["default-allow-ssh"]
    offer = await offer_of(cloud, "g2-standard-4")
    resolved = await cloud.resolve(offer, spec)
    google.answer("POST", INSTANCES, refusal(503, "backendError", "down"))
    with pytest.raises(errors.OutcomeUnknown):
        await cloud.launch(offer, resolved, TOKEN)
    rule = await cloud.find(attempt(offer, with_spec=resolved))
    assert rule is not None
    assert rule.handle["kind"] == "firewall"
    # The insert of which no answer came takes effect after all; the engine still holds the rule's handle.
    made = await cloud.launch(offer, resolved, TOKEN)
    google.run()
    assert (await cloud.owned())[0].id == made.id
    for _ in range(5):
        if await cloud.terminate(rule):
            break
    assert google.instances == {}
    assert google.firewalls == {}


async def test_a_failed_insert_whose_end_could_not_be_asked_for_is_named_as_left(
    cloud: Gcp, google: Google, spec: LaunchSpec
) -> None:
    google.outcome = FULL
    down = refusal(503, "backendError", "down")
    google.answer("DELETE", f"{INSTANCES}/{TOKEN}", *[down] * 3)
    with pytest.raises(errors.NoCapacity) as caught:
        await launched(cloud, spec)
    [left] = caught.value.left
    assert (left.token, left.handle["zone"]) == (TOKEN, ZONE)
    assert await cloud.terminate(left)
