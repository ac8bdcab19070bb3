"""Google Cloud's emulator: who may call, what there is, filters, pages, scopes, errors, and the kit's interface."""

from __future__ import annotations

from typing import Any

import pytest

from providers.env import ManualEnv
from providers.gcp.emulator import GcpEmulator
from providers.gcp.emulator_lists import masked, wanted
from providers.gcp.emulator_options import Options
from providers.gcp.emulator_wire import Call, Refusal
from providers.sandbox.world import World
from tests.contract.gcp_bench import BILLING, L4, PROJECT, ZONE, bench, order, spot, standard, type_of

OWNER = "ab" * 16
AT = f"/zones/{ZONE}/instances"


# -- who may call -------------------------------------------------------------------------------------------------


async def test_a_call_without_a_token_is_refused_with_401() -> None:
    async with bench() as served:
        answer = await served.http.get(f"/compute/v1/projects/{PROJECT}", headers={"authorization": ""})
        assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (401, "required")


async def test_a_wrong_token_is_refused_with_auth_error() -> None:
    async with bench() as served:
        for path in (f"/compute/v1/projects/{PROJECT}", BILLING):
            answer = await served.http.get(path, headers={"authorization": "Bearer ya29.wrong"})
            assert (answer.status_code, answer.json()["error"]["status"]) == (401, "UNAUTHENTICATED")


async def test_the_price_catalogue_takes_an_api_key_and_compute_does_not() -> None:
    async with bench() as served:
        key = {"key": served.emulator.options.api_key}
        bare = {"authorization": ""}
        assert (await served.http.get(BILLING, params=key, headers=bare)).status_code == 200
        assert (await served.http.get(BILLING, params={"key": "wrong"}, headers=bare)).status_code == 401
        assert (await served.http.get(f"/compute/v1/projects/{PROJECT}", params=key, headers=bare)).status_code == 401


async def test_another_project_is_not_found_and_the_project_number_is_as_good_as_its_id() -> None:
    async with bench() as served:
        other = await served.http.get("/compute/v1/projects/somebody-elses")
        assert (other.status_code, other.json()["error"]["errors"][0]["reason"]) == (404, "notFound")
        same = await served.http.get(f"/compute/v1/projects/{served.emulator.options.project_number}")
        assert same.json()["name"] == PROJECT


@pytest.mark.parametrize(("standing", "reason"), [("api-off", "accessNotConfigured"), ("billing-off", "forbidden")])
async def test_a_project_that_is_not_set_up_is_refused_with_403(standing: Any, reason: str) -> None:
    async with bench(Options(standing=standing)) as served:
        status, said, _ = await served.refused("GET", "/zones")
        assert (status, said) == (403, reason)


async def test_a_missing_permission_is_named() -> None:
    async with bench(Options(denied={"compute.instances.create", "compute.instances.list"})) as served:
        made = await served.refused("POST", AT, order())
        seen = await served.refused("GET", "/aggregated/instances")
        place = f"projects/{PROJECT}/zones/{ZONE}/instances/orch-l1-a1"
        assert made == (403, "forbidden", f"Required 'compute.instances.create' permission for '{place}'")
        assert "compute.instances.list" in seen[2]


async def test_an_unknown_path_is_no_json_and_an_unknown_place_is_invalid() -> None:
    async with bench() as served:
        assert (await served.http.get("/compute/v1/nothing")).status_code == 404
        assert (await served.refused("GET", "/zones/mars-a/instances"))[:2] == (400, "invalid")
        assert (await served.refused("GET", "/regions/mars"))[:2] == (400, "invalid")


# -- what there is ------------------------------------------------------------------------------------------------


async def test_machine_types_tell_their_gpus_and_memory() -> None:
    async with bench() as served:
        found = await served.get(f"/zones/{ZONE}/machineTypes/{L4}")
        assert (found["guestCpus"], found["memoryMb"]) == (4, 16384)
        assert found["accelerators"] == [{"guestAcceleratorType": "nvidia-l4", "guestAcceleratorCount": 1}]
        share = await served.get("/zones/us-central1-b/machineTypes/g4-standard-6")
        assert share["accelerators"][0]["guestAcceleratorCount"] == 1
        assert "1/8" in share["description"]


async def test_a_zone_has_only_its_own_machine_types_and_gpus() -> None:
    async with bench() as served:
        assert (await served.refused("GET", "/zones/us-central1-f/machineTypes/g2-standard-4"))[:2] == (404, "notFound")
        listed = await served.get("/zones/us-central1-f/acceleratorTypes")
        names = {row["name"] for row in listed["items"]}
        assert "nvidia-tesla-a100" in names
        assert "nvidia-l4" not in names
        assert not any("l40" in name or "a10g" in name for name in names)


async def test_a_filter_leaves_scopes_with_a_warning_where_nothing_fits() -> None:
    async with bench() as served:
        found = await served.get("/aggregated/machineTypes", filter="name=g2-standard-4")
        assert [row["name"] for row in found["items"][f"zones/{ZONE}"]["machineTypes"]] == ["g2-standard-4"]
        empty = found["items"]["zones/us-central1-f"]
        assert empty["warning"]["code"] == "NO_RESULTS_ON_PAGE"
        assert "machineTypes" not in empty


async def test_more_than_500_machine_types_take_a_second_page() -> None:
    async with bench() as served:
        first = await served.get("/aggregated/machineTypes")
        second = await served.get("/aggregated/machineTypes", pageToken=first["nextPageToken"])
        rows = [
            row for page in (first, second) for scope in page["items"].values() for row in scope.get("machineTypes", ())
        ]
        assert "nextPageToken" not in second
        assert len({row["id"] for row in rows}) == len(rows) > 500


async def test_a_list_is_paged_and_its_token_belongs_to_it() -> None:
    async with bench(Options(page_limit=2)) as served:
        names: list[str] = []
        query: dict[str, str] = {}
        while True:
            page = await served.get("/zones", **query)
            assert len(page["items"]) <= 2
            names += [row["name"] for row in page["items"]]
            if "nextPageToken" not in page:
                break
            query = {"pageToken": page["nextPageToken"]}
        assert names == sorted(served.emulator.market.zones)
        token = (await served.get("/zones"))["nextPageToken"]
        assert (await served.refused("GET", "/regions", pageToken=token))[:2] == (400, "invalid")
        assert (await served.refused("GET", "/zones", maxResults="501"))[:2] == (400, "invalid")


async def test_regions_and_the_project_show_quotas_and_what_is_used_of_them() -> None:
    async with bench() as served:
        await served.running()

        def used(found: dict[str, Any]) -> dict[str, float]:
            return {row["metric"]: row["usage"] for row in found["quotas"]}

        region, project = await served.get("/regions/us-central1"), await served.get("")
        assert used(region)["PREEMPTIBLE_NVIDIA_L4_GPUS"] == 1
        assert used(region)["NVIDIA_L4_GPUS"] == 0
        assert used(region)["SSD_TOTAL_GB"] == 100
        assert used(project)["GPUS_ALL_REGIONS"] == 1
        assert not [row for row in region["quotas"] if "B200" in row["metric"] or "H200" in row["metric"]]


async def test_the_newest_image_of_a_family_is_found_in_its_own_project() -> None:
    async with bench() as served:
        base = "/compute/v1/projects/ubuntu-os-accelerator-images/global/images"
        found = (await served.http.get(f"{base}/family/ubuntu-accelerator-2204-amd64-with-nvidia-580")).json()
        assert found["family"] == "ubuntu-accelerator-2204-amd64-with-nvidia-580"
        assert (await served.http.get(f"{base}/{found['name']}")).json()["id"] == found["id"]
        assert (await served.http.get(f"{base}/family/nothing")).status_code == 404


async def test_a_field_mask_leaves_only_what_it_names() -> None:
    async with bench() as served:
        found = await served.get("/zones", fields="items(name,region),nextPageToken")
        assert found.keys() == {"items"}
        assert {tuple(row) for row in found["items"]} == {("name", "region")}


def test_field_masks_reach_into_maps_and_reject_nonsense() -> None:
    value = {"items": {"zones/a": {"instances": [{"name": "x", "id": "1"}]}, "zones/b": {"warning": {}}}, "id": "p"}
    assert masked(value, "items/*/instances/name") == {
        "items": {"zones/a": {"instances": [{"name": "x"}]}, "zones/b": {}}
    }
    with pytest.raises(Refusal):
        masked(value, "items(name")


async def test_advice_says_how_likely_capacity_is_and_where() -> None:
    ask = {
        "size": 1,
        "instanceProperties": {"scheduling": {"provisioningModel": "SPOT"}},
        "instanceFlexibilityPolicy": {"instanceSelections": {"a": {"machineTypes": [L4, "g2-standard-8"]}}},
        "distributionPolicy": {"targetShape": "ANY_SINGLE_ZONE", "zones": [{"zone": f"zones/{ZONE}"}]},
    }
    async with bench() as served:
        [best] = (await served.call("POST", "/regions/us-central1/advice/capacity", ask))["recommendations"]
        assert 0 < best["scores"]["obtainability"] <= 1
        assert best["shards"][0]["zone"].endswith(ZONE)
        for number in range(6):
            await served.insert(name=f"x{number}")
        again = (await served.call("POST", "/regions/us-central1/advice/capacity", ask))["recommendations"]
        assert [shard["machineType"] for one in again for shard in one["shards"]] == ["g2-standard-8"]
        served.emulator.options.advice = "closed"
        assert (await served.refused("POST", "/regions/us-central1/advice/capacity", ask))[:2] == (403, "forbidden")


# -- filters ------------------------------------------------------------------------------------------------------

ITEM = {
    "name": "orch-1",
    "status": "RUNNING",
    "labels": {"orch-lease": "l1", "team": "a b"},
    "scheduling": {"automaticRestart": False},
    "guestCpus": 8,
    "tags": {"items": ["orch", "x"]},
    "operationType": "compute.instances.preempted",
}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", True),
        ("labels.orch-lease=l1", True),
        ("labels.orch-lease = l2", False),
        ("labels.orch-lease:*", True),
        ("labels.orch-owner:*", False),
        ("NOT labels.orch-owner:*", True),
        ("-labels.orch-owner:*", True),
        ("status=RUNNING AND labels.orch-lease=l1", True),
        ("status=RUNNING labels.orch-lease=l2", False),
        ("(status=TERMINATED) OR (status=RUNNING)", True),
        # OR binds tighter than AND.
        ("status=TERMINATED AND status=RUNNING OR name=orch-1", False),
        ('operationType="compute.instances.preempted"', True),
        ("operationType = 'compute.instances.preempted'", True),
        ("scheduling.automaticRestart = false", True),
        ("guestCpus >= 8", True),
        ("guestCpus > 10", False),
        ("guestCpus < 10", True),
        ("name = orch-*", True),
        ("name:RCH", True),
        ("name != orch-1", False),
        ("labels.nothing != x", True),
        ("tags.items:orch", True),
        ('labels.team = "a b"', True),
        ("name eq orch-.*", True),
        ("name ne .*1", False),
        ("(name eq 'orch-1') (status eq RUNNING)", True),
        ("(name eq 'orch-1') (status eq STOPPED)", False),
    ],
)
def test_filters_select_as_documented(text: str, fits: bool) -> None:
    call = Call("instances_list", "owned", {}, {"filter": text})
    assert wanted(call)(ITEM) is fits


@pytest.mark.parametrize(
    "text", ["name", "name=", "=x", "(name=x", "name=x)", "a b", "name ~ x", "nmae=x", "label.a=b"]
)
def test_a_filter_that_cannot_be_read_or_names_an_unknown_field_is_refused(text: str) -> None:
    with pytest.raises(Refusal) as caught:
        wanted(Call("instances_list", "owned", {}, {"filter": text}), frozenset({"name", "labels"}))
    assert (caught.value.status, caught.value.reason) == (400, "invalid")


async def test_instances_are_found_by_label_status_and_name_in_all_zones() -> None:
    async with bench() as served:
        await served.running()
        await served.insert("us-east4-a", name="other", labels={"team": "x"}, scheduling=standard())
        assert await served.names() == ["orch-l1-a1", "other"]
        assert await served.names(filter="labels.orch-lease=l1") == ["orch-l1-a1"]
        assert await served.names(filter="labels.team:*") == ["other"]
        assert await served.names(filter="status=RUNNING") == ["orch-l1-a1"]
        assert await served.names(filter="name=nobody") == []
        assert (await served.refused("GET", "/aggregated/instances", filter="labls.a=b"))[:2] == (400, "invalid")


async def test_instances_are_paged_across_zones() -> None:
    async with bench() as served:
        for zone in (ZONE, "us-central1-b", "us-east4-a"):
            await served.insert(zone, name="same-name")
        first = await served.get("/aggregated/instances", maxResults="2")
        second = await served.get("/aggregated/instances", maxResults="2", pageToken=first["nextPageToken"])
        seen = [key for page in (first, second) for key, one in page["items"].items() if "instances" in one]
        assert sorted(seen) == ["zones/us-central1-a", "zones/us-central1-b", "zones/us-east4-a"]
        assert "nextPageToken" not in second


# -- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 429])
async def test_more_calls_than_a_minute_allows_are_refused_until_the_next_minute(status: Any) -> None:
    async with bench(Options(per_minute=3, limit_status=status)) as served:
        for _ in range(3):
            await served.get("/zones")
        said = await served.refused("GET", "/zones")
        assert said[:2] == (status, "rateLimitExceeded")
        await served.get("")
        served.env.advance(60)
        await served.get("/zones")


async def test_too_many_operations_at_once_are_refused() -> None:
    async with bench(Options(max_operations=1)) as served:
        made = await served.insert()
        assert (await served.refused("POST", AT, order(name="second")))[:2] == (403, "rateLimitExceeded")
        await served.wait(made)
        await served.insert(name="second")


# -- the kit ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "verb"),
    [
        ("POST", f"/compute/v1/projects/p/zones/{ZONE}/instances", "launch"),
        ("GET", f"/compute/v1/projects/p/zones/{ZONE}/instances", "owned"),
        ("GET", "/compute/v1/projects/p/aggregated/instances", "owned"),
        ("GET", f"/compute/v1/projects/p/zones/{ZONE}/instances/x", "find"),
        ("DELETE", f"/compute/v1/projects/p/zones/{ZONE}/instances/x", "terminate"),
        ("GET", "/compute/v1/projects/p/aggregated/machineTypes", "offers"),
        ("GET", BILLING, "offers"),
        ("GET", "/compute/v1/projects/p", "account"),
        ("GET", f"/compute/v1/projects/p/zones/{ZONE}/operations/o", "other"),
        ("POST", "/token", "other"),
        ("GET", "/elsewhere", "other"),
    ],
)
def test_which_verb_of_the_contract_a_request_serves(method: str, path: str, verb: str) -> None:
    assert GcpEmulator(World(ManualEnv())).verb(method, path) == verb


def test_its_settings_are_a_project_a_token_and_a_url() -> None:
    found = GcpEmulator(World(ManualEnv())).environment("http://127.0.0.1:1/gcp")
    assert found.keys() == {"GOOGLE_CLOUD_PROJECT", "ORCH_GCP_TOKEN", "ORCH_GCP_URL"}
    assert found["ORCH_GCP_URL"] == "http://127.0.0.1:1/gcp"


async def test_planted_machines_run_and_bill_and_carry_the_owner_in_a_label() -> None:
    async with bench() as served:
        theirs, strangers = served.emulator.plant("orch-x", OWNER), served.emulator.plant("jupyter")
        assert served.world.ledger.billing() == [theirs, strangers]
        assert await served.names(filter=f"labels.orch-owner={OWNER}") == ["orch-x"]
        assert await served.names() == ["jupyter", "orch-x"]
        assert {(one.alive, one.billing) for one in served.emulator.records()} == {(True, True)}


async def test_unknown_fields_can_be_told_to_stand_in_every_answer() -> None:
    async with bench(Options(extra_fields=True), odd_answers=True) as served:
        found = await served.running()
        assert "xNewField" in found
        assert found["labels"].keys() == {"orch-lease", "orch-owner"}
        listed = await served.get("/aggregated/instances")
        assert all("/" in scope for scope in listed["items"])


async def test_dump_and_load_round_trip_everything() -> None:
    async def see(served: Any) -> list[Any]:
        paths = ("/aggregated/instances", "/aggregated/disks", "/aggregated/operations", "/global/firewalls")
        return [*[await served.get(path) for path in paths], await served.skus(), dict(served.machines.running)]

    async with bench() as first:
        rule = {"name": "a", "allowed": [{"IPProtocol": "tcp", "ports": ["22"]}]}
        await first.call("POST", "/global/firewalls", rule)
        await first.running(name="up")
        await first.call("DELETE", f"{AT}/up", requestId="6f2e3b9a-9b5e-4c8e-9d7f-0c1b2a3d4e5f")
        await first.running(name="long", scheduling=spot(maxRunDuration={"seconds": "86400"}))
        first.world.faults.add("boot_stuck")
        await first.insert("us-east4-a", name="stuck")
        first.world.faults.add("price_changed", factor="1.5", subject="g2")
        first.world.faults.add("gone", subject="us-west1-a")
        assert (await first.refused("POST", "/zones/us-west1-a/instances", order("us-west1-a")))[0] == 404
        await first.insert("us-central1-b", name="booting", machineType=type_of(L4, "us-central1-b"))
        before, state, now = await see(first), first.world.dump(), first.env.now()
    async with bench(seed=7) as second:
        second.env.advance((now - second.env.now()).total_seconds())
        second.world.load(state)
        assert second.world.dump() == state
        assert await see(second) == before
        again = await second.call("DELETE", f"{AT}/up", requestId="6f2e3b9a-9b5e-4c8e-9d7f-0c1b2a3d4e5f")
        assert again["operationType"] == "delete"
        second.env.advance(60)
        assert (await second.get("/zones/us-central1-b/instances/booting"))["status"] == "RUNNING"
        assert await second.names() == ["long", "booting", "stuck"]
