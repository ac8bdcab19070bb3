"""From accepted to gone: what a machine's states mean, where it answers, what is ours, and when an end is proven."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from providers.azure.adapter import Azure
from providers.base import Address, AttemptRef, Context, Instance, Phase
from providers.env import ManualEnv
from providers.errors import (
    BootFailed,
    Forbidden,
    InvalidRequest,
    NoCapacity,
    ProviderError,
    QuotaExceeded,
    Unavailable,
)
from tests.unit.azure.conftest import (
    ADDRESS,
    GROUP,
    NIC,
    OTHER_OWNER,
    OWNER,
    SUBSCRIPTION,
    TAGS,
    TOKEN,
    VM,
    an_offer,
    gone,
    machine,
    made,
)
from tests.unit.azure.wire import Answer, Wire, refused, rows

MACHINE = f"/virtualMachines/{TOKEN}"
DRIVER = f"{MACHINE}/extensions/orch-nvidia-driver"
OTHER_TOKEN = "orch-aerukzu-bbbbbbbbb-01"
RUNNING = "PowerState/running"


def reachable(wire: Wire) -> None:
    inner = {"privateIPAddress": "10.0.0.4", "publicIPAddress": {"id": ADDRESS}}
    wire.on("GET", NIC, Answer(200, {"id": NIC, "properties": {"ipConfigurations": [{"properties": inner}]}}))
    wire.on("GET", ADDRESS, Answer(200, {"id": ADDRESS, "properties": {"ipAddress": "203.0.113.9"}}))


def instance(**handle: str) -> Instance:
    handle = {"kind": "vm", "region": "eastus", "group": TOKEN, "vm": TOKEN, **handle}
    return Instance(provider="azure", account=SUBSCRIPTION, id=VM, handle=handle, token=TOKEN, owner=OWNER)


@pytest.mark.parametrize(
    ("state", "statuses", "phase"),
    [
        ("Creating", [], Phase.PENDING),
        ("Creating", ["ProvisioningState/creating/OSProvisioningInProgress"], Phase.PENDING),
        ("Creating", [RUNNING], Phase.RUNNING),
        ("Updating", ["PowerState/starting"], Phase.PENDING),
        ("Succeeded", ["ProvisioningState/succeeded", RUNNING], Phase.RUNNING),
        ("Succeeded", ["ProvisioningState/succeeded"], Phase.UNKNOWN),
        ("Succeeded", ["", "PowerState/stopping"], Phase.STOPPING),
        ("Succeeded", ["PowerState/deallocating"], Phase.STOPPING),
        ("Succeeded", ["PowerState/stopped"], Phase.FAILED),
        ("Succeeded", ["PowerState/deallocated"], Phase.FAILED),
        ("Failed", ["ProvisioningState/failed/AllocationFailed"], Phase.FAILED),
        ("Failed", ["ProvisioningState/failed/OSProvisioningTimedOut", RUNNING], Phase.RUNNING),
        ("Canceled", [], Phase.FAILED),
        ("Deleting", [RUNNING], Phase.STOPPING),
        ("SomethingNew", ["SomethingNew/else", "PowerState/new"], Phase.PENDING),
    ],
)
async def test_states_are_read_as_what_they_mean(
    azure: Azure, attempt: AttemptRef, wire: Wire, state: str, statuses: list[str], phase: Phase
) -> None:
    wire.on("GET", MACHINE, Answer(200, machine(state, *statuses)))
    found = await azure.find(attempt)
    assert found is not None
    assert found.phase is phase
    assert found.address is None, "there is no interface yet"
    assert (found.failure is not None) == (phase is Phase.FAILED)
    assert wire.of("GET", MACHINE)[0].query["$expand"] == "instanceView"


async def test_the_address_is_that_of_the_public_address_of_the_interface(
    azure: Azure, attempt: AttemptRef, wire: Wire
) -> None:
    wire.on("GET", MACHINE, Answer(200, machine("Succeeded", RUNNING)))
    reachable(wire)
    found = await azure.find(attempt)
    assert found is not None
    assert found.address == Address(host="203.0.113.9", port=22, user="orch")
    assert found.created_at is not None
    wire.on("GET", ADDRESS, Answer(200, {"id": ADDRESS, "properties": {}}))
    found = await azure.find(attempt)
    assert found is not None
    assert found.address is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("ProvisioningState/failed/AllocationFailed", NoCapacity),
        ("ProvisioningState/failed/OverconstrainedZonalAllocationRequest", NoCapacity),
        ("ProvisioningState/failed/QuotaExceeded", QuotaExceeded),
        ("ProvisioningState/failed/OSProvisioningTimedOut", BootFailed),
        ("ProvisioningState/failed/InternalExecutionError", BootFailed),
        ("ProvisioningState/failed", BootFailed),
    ],
)
async def test_a_machine_that_failed_after_it_was_accepted_says_why(
    azure: Azure, attempt: AttemptRef, wire: Wire, status: str, kind: type
) -> None:
    wire.on("GET", MACHINE, Answer(200, machine("Failed", status)))
    found = await azure.find(attempt)
    assert found is not None
    assert type(found.failure) is kind


async def test_the_operation_says_why_where_the_machine_does_not(azure: Azure, attempt: AttemptRef, wire: Wire) -> None:
    wire.on("GET", MACHINE, Answer(200, machine("Failed")))
    error = {"code": "ZonalAllocationFailed", "message": "Allocation failed."}
    wire.on("GET", "/operations/op-1", Answer(200, {"name": "op-1", "status": "Failed", "error": error}))
    operation = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/eastus/operations/op-1?p=1"
    known = msgspec.structs.replace(
        attempt, instance_id=VM, handle={"group": TOKEN, "vm": TOKEN, "operation": operation}
    )
    found = await azure.find(known)
    assert found is not None
    assert isinstance(found.failure, NoCapacity)
    assert found.failure.code == "ZonalAllocationFailed"
    wire.on("GET", "/operations/op-1", gone())
    found = await azure.find(known)
    assert found is not None
    assert isinstance(found.failure, BootFailed), "an operation that is forgotten proves nothing"


async def test_spot_that_was_taken_back_is_missing_capacity(azure: Azure, attempt: AttemptRef, wire: Wire) -> None:
    wire.on("GET", MACHINE, Answer(200, machine("Succeeded", "PowerState/deallocated", priority="Spot")))
    found = await azure.find(attempt)
    assert found is not None
    assert isinstance(found.failure, NoCapacity)


async def test_what_never_was_is_none_and_what_vanished_must_still_be_ended(
    azure: Azure, attempt: AttemptRef, wire: Wire
) -> None:
    wire.on("HEAD", f"/resourcegroups/{TOKEN}", Answer(204))
    assert await azure.find(attempt) is None
    known = msgspec.structs.replace(attempt, instance_id=VM, handle={"group": TOKEN, "vm": TOKEN})
    found = await azure.find(known)
    assert found is not None
    assert (found.phase, found.id) == (Phase.FAILED, VM)
    assert isinstance(found.failure, NoCapacity)
    wire.on("HEAD", f"/resourcegroups/{TOKEN}", Answer(404))
    assert await azure.find(known) is None


async def test_somebody_elses_machine_of_that_name_is_not_found(azure: Azure, attempt: AttemptRef, wire: Wire) -> None:
    for tags in ({**TAGS, "orch-owner": OTHER_OWNER}, {**TAGS, "orch-token": OTHER_TOKEN}, {}):
        wire.on("GET", MACHINE, Answer(200, machine("Succeeded", RUNNING, tags=tags)))
        assert await azure.find(attempt) is None


async def test_a_proxys_404_is_no_absence(azure: Azure, attempt: AttemptRef, wire: Wire) -> None:
    wire.on("GET", MACHINE, Answer(404, text="<html>not found</html>"))
    with pytest.raises(ProviderError):
        await azure.find(attempt)
    with pytest.raises(ProviderError):
        await azure.terminate(instance())


# -- the driver of an A10 ---------------------------------------------------------------------------------


@pytest.fixture
async def a10(azure: Azure, attempt: AttemptRef) -> AttemptRef:
    offer = an_offer("Standard_NV36ads_A10_v5", "a10", driver="grid")
    spec = await azure.resolve(offer, msgspec.structs.replace(attempt.spec, native={}))
    return msgspec.structs.replace(attempt, offer=offer, spec=spec)


async def test_an_a10_gets_its_driver_by_extension_and_is_pending_until_it_is_there(
    azure: Azure, a10: AttemptRef, wire: Wire
) -> None:
    reachable(wire)
    assert a10.spec.native["image"]["publisher"] == "Canonical"
    wire.on("GET", MACHINE, Answer(200, machine("Creating", RUNNING)))
    found = await azure.find(a10)
    assert found is not None
    assert found.phase is Phase.PENDING
    assert wire.of("PUT") == [], "extensions are refused until the machine is made"
    wire.on("GET", MACHINE, Answer(200, machine("Succeeded", RUNNING)))
    wire.on("PUT", DRIVER, made)
    found = await azure.find(a10)
    assert found is not None
    assert (found.phase, found.address) == (Phase.PENDING, None)
    [sent] = wire.of("PUT", DRIVER)
    assert sent.body["properties"]["type"] == "NvidiaGpuDriverLinux"
    assert sent.body["properties"]["settings"] == {"driverVersion": "535.161"}
    for state, phase in (("Creating", Phase.PENDING), ("Failed", Phase.FAILED), ("Succeeded", Phase.RUNNING)):
        row = machine("Succeeded", RUNNING)
        row["resources"] = [{"id": f"{VM}/extensions/orch-nvidia-driver", "properties": {"provisioningState": state}}]
        wire.on("GET", MACHINE, Answer(200, row))
        found = await azure.find(a10)
        assert found is not None
        assert found.phase is phase
        assert (found.address is not None) == (phase is Phase.RUNNING)
        assert isinstance(found.failure, BootFailed) == (phase is Phase.FAILED)
    assert len(wire.of("PUT", DRIVER)) == 1


async def test_the_extension_is_looked_up_where_the_machine_does_not_name_it(
    azure: Azure, a10: AttemptRef, wire: Wire
) -> None:
    reachable(wire)
    wire.on("GET", MACHINE, Answer(200, machine("Succeeded", RUNNING)))
    body = {"id": f"{VM}/extensions/orch-nvidia-driver", "properties": {"provisioningState": "Succeeded"}}
    wire.on("GET", DRIVER, Answer(200, body))
    found = await azure.find(a10)
    assert found is not None
    assert found.address is not None
    assert wire.of("PUT") == []


async def test_a_refused_extension_leaves_the_word_to_the_gpu_probe(azure: Azure, a10: AttemptRef, wire: Wire) -> None:
    reachable(wire)
    wire.on("GET", MACHINE, Answer(200, machine("Succeeded", RUNNING)))
    wire.on("PUT", DRIVER, refused("RequestDisallowedByPolicy", 403))
    found = await azure.find(a10)
    assert found is not None
    assert found.address is not None
    wire.on("PUT", DRIVER, refused("Conflict", 409))
    found = await azure.find(a10)
    assert found is not None
    assert found.phase is Phase.PENDING, "a conflict passes"


# -- what is ours -----------------------------------------------------------------------------------------


def group(name: str, owner: str = OWNER, state: str = "Succeeded") -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}",
        "name": name,
        "tags": {"orch-owner": owner, "orch-token": name},
        "properties": {"provisioningState": state},
    }


async def test_owned_are_the_machines_with_our_full_mark_from_all_pages(azure: Azure, wire: Wire) -> None:
    other = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/ORCH/providers/Microsoft.Compute/virtualMachines/box"
    second = f"{wire.url}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/virtualMachines?page=2"
    shouted = machine(id_=VM.replace(TOKEN, TOKEN.upper(), 1))

    def machines(asked: Any) -> Answer:
        if asked.query.get("statusOnly") == "true":
            view = {"instanceView": {"statuses": [{"code": RUNNING}]}}
            return rows({"id": VM.upper(), "properties": view})
        if asked.query.get("page") == "2":
            return rows(shouted)
        return rows(machine(id_=other, tags={}), machine(id_=other, tags={"orch-owner": OTHER_OWNER}), link=second)

    wire.on("GET", "/virtualMachines", machines)
    [found] = await azure.owned()
    assert found.id == VM, "ARM's spelling of groups changes, ids must not"
    assert (found.token, found.owner, found.handle["group"]) == (TOKEN, OWNER, TOKEN)
    # The states came under an id in another case.
    assert found.phase in (Phase.RUNNING, Phase.UNKNOWN)


async def test_a_power_state_from_the_second_list_decides(azure: Azure, wire: Wire) -> None:
    def machines(asked: Any) -> Answer:
        view = {"instanceView": {"statuses": [{"code": "PowerState/stopped"}]}}
        return rows({"id": VM.upper(), "properties": view}) if "statusOnly" in asked.query else rows(machine())

    wire.on("GET", "/virtualMachines", machines)
    [found] = await azure.owned()
    assert found.phase is Phase.FAILED


async def test_a_group_without_a_machine_is_owned_and_a_lagging_list_does_not_make_one(
    azure: Azure, wire: Wire
) -> None:
    strangers = group(OTHER_TOKEN, OTHER_OWNER)
    wire.on("GET", "/resourcegroups", rows(group(TOKEN), strangers))
    [found] = await azure.owned()
    assert (found.token, found.phase, found.handle["group"]) == (TOKEN, Phase.FAILED, TOKEN)
    assert wire.of("GET", "/resourcegroups")[0].query["$filter"].endswith(f"tagValue eq '{OWNER}'")
    wire.on("GET", MACHINE, Answer(200, machine("Creating")))
    [found] = await azure.owned()
    assert found.phase is Phase.PENDING
    wire.on("GET", "/resourcegroups", rows(group(TOKEN, state="Deleting")))
    [found] = await azure.owned()
    assert found.phase is Phase.STOPPING


@pytest.mark.parametrize("pattern", ["/virtualMachines", "/resourcegroups"])
@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {"oops": 1}),
        Answer(200, {"value": None}),
        Answer(200, text='{"value": ['),
        Answer(200, text="<html></html>"),
        Answer(200, {"value": []}, short=True),
        Answer(307, None, {"Location": "http://127.0.0.1:9/"}),
        Answer(cut=True),
        refused("ServiceUnavailable", 503),
    ],
    ids=["no-list", "null", "malformed", "html", "truncated", "redirect", "cut", "503"],
)
async def test_a_list_that_cannot_be_read_raises_and_is_never_empty(
    azure: Azure, wire: Wire, pattern: str, answer: Answer
) -> None:
    wire.on("GET", pattern, answer)
    with pytest.raises(Unavailable):
        await azure.owned()


async def test_a_read_is_tried_again_after_one_fault_and_waits_out_a_throttle(
    azure: Azure, wire: Wire, env: ManualEnv
) -> None:
    wire.on("GET", "/resourcegroups", Answer(cut=True), rows())
    assert await azure.owned() == []
    wire.on("GET", "/resourcegroups", refused("TooManyRequests", 429, "slow", Retry_After="21"), rows())
    assert await azure.owned() == []
    assert max(env.slept) >= 21


async def test_the_token_is_not_sent_to_the_host_of_a_strange_next_page(azure: Azure, wire: Wire) -> None:
    thief = Wire()
    try:
        wire.on("GET", "/virtualMachines", rows(link=f"{thief.url}/subscriptions/x/virtualMachines?a=1"))
        with pytest.raises(InvalidRequest):
            await azure.owned()
        assert thief.asked == []
    finally:
        thief.close()


async def test_pages_that_turn_in_a_circle_end(azure: Azure, wire: Wire) -> None:
    wire.on("GET", "/resourcegroups", rows(link=f"{wire.url}/subscriptions/{SUBSCRIPTION}/resourcegroups?page=1"))
    with pytest.raises(Unavailable):
        await azure.owned()


# -- the end ----------------------------------------------------------------------------------------------


async def test_an_end_is_proven_only_when_the_group_is_gone(azure: Azure, wire: Wire) -> None:
    ours = instance()
    wire.on("GET", MACHINE, Answer(200, machine("Succeeded", RUNNING)), Answer(200, machine("Deleting")), gone())
    wire.on("DELETE", MACHINE, Answer(202))
    wire.on("DELETE", f"/resourcegroups/{TOKEN}", Answer(202), refused("ResourceGroupBeingDeleted", 409), Answer(202))
    wire.on("HEAD", f"/resourcegroups/{TOKEN}", Answer(204), Answer(204), Answer(404))
    assert not await azure.terminate(ours)
    [asked] = wire.of("DELETE", MACHINE)
    assert asked.query["forceDeletion"].lower() == "true"
    assert not await azure.terminate(ours), "it is being deleted"
    assert len(wire.of("DELETE", MACHINE)) == 1
    assert wire.of("DELETE", f"/resourcegroups/{TOKEN}") == []
    assert not await azure.terminate(ours), "the group is there"
    assert not await azure.terminate(ours), "a conflict is an end under way"
    assert await azure.terminate(ours)
    wire.on("DELETE", f"/resourcegroups/{TOKEN}", refused("ResourceGroupNotFound", 404))
    assert await azure.terminate(ours), "twice is as good as once"
    assert "forceDeletionTypes" in wire.of("DELETE", f"/resourcegroups/{TOKEN}")[0].query


async def test_an_end_that_is_accepted_and_ignored_is_asked_for_again(azure: Azure, wire: Wire) -> None:
    wire.on("GET", MACHINE, Answer(200, machine("Succeeded", RUNNING)))
    wire.on("DELETE", MACHINE, Answer(202))
    for _ in range(3):
        assert not await azure.terminate(instance())
    assert len(wire.of("DELETE", MACHINE)) == 3


async def test_a_machine_that_is_already_absent_lets_the_group_go_at_once(azure: Azure, wire: Wire) -> None:
    wire.on("GET", MACHINE, Answer(200, machine("Succeeded")))
    wire.on("DELETE", MACHINE, Answer(204))
    assert await azure.terminate(instance())


async def test_an_interface_that_is_held_for_some_minutes_only_delays_the_end(azure: Azure, wire: Wire) -> None:
    wire.on("GET", MACHINE, gone())
    wire.on("DELETE", f"/resourcegroups/{TOKEN}", Answer(202))
    wire.on("HEAD", f"/resourcegroups/{TOKEN}", Answer(204))
    for _ in range(3):  # the group's end fails inside Azure, and is asked for again
        assert not await azure.terminate(instance())
    assert len(wire.of("DELETE", f"/resourcegroups/{TOKEN}")) == 3


async def test_a_group_that_is_seconds_old_is_not_gone_because_it_is_unknown(
    azure: Azure, wire: Wire, env: ManualEnv
) -> None:
    young = instance(made_at=env.now().isoformat())
    assert not await azure.terminate(young)
    env.advance(60)
    assert await azure.terminate(young)


@pytest.mark.parametrize(
    "answer", [Answer(200, text="<html>"), Answer(200, text="{"), Answer(cut=True), refused("InternalError", 500)]
)
async def test_an_end_that_could_not_be_asked_for_is_never_called_gone(
    azure: Azure, wire: Wire, answer: Answer
) -> None:
    wire.on("GET", MACHINE, answer)
    with pytest.raises(ProviderError):
        await azure.terminate(instance())
    wire.on("GET", MACHINE, gone())
    wire.on("DELETE", f"/resourcegroups/{TOKEN}", answer)
    wire.on("HEAD", f"/resourcegroups/{TOKEN}", Answer(204))
    try:
        ended = await azure.terminate(instance())
    except ProviderError:
        ended = False
    assert not ended


async def test_what_is_not_ours_is_not_ended(azure: Azure, wire: Wire) -> None:
    with pytest.raises(Forbidden):
        await azure.terminate(replace(instance(), account="somebody-elses"))
    wire.on("GET", MACHINE, Answer(200, machine(tags={**TAGS, "orch-owner": OTHER_OWNER})))
    with pytest.raises(Forbidden):
        await azure.terminate(instance())
    with pytest.raises(InvalidRequest):
        await azure.terminate(replace(instance(), id="what", handle={}))
    assert wire.of("DELETE") == []


async def test_a_machine_in_a_group_that_we_did_not_make_takes_no_group_along(azure: Azure, wire: Wire) -> None:
    id_ = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/shared/providers/Microsoft.Compute/virtualMachines/{TOKEN}"
    wire.on("GET", MACHINE, gone())
    assert await azure.terminate(replace(instance(group="shared"), id=id_))
    assert wire.of("DELETE") == []


async def test_a_stored_handle_is_enough_for_another_process(azure: Azure, context: Context, wire: Wire) -> None:
    stored = msgspec.json.decode(msgspec.json.encode(instance().handle), type=dict[str, str])
    bare = Instance(provider="azure", account=SUBSCRIPTION, id=VM, handle=stored)
    assert await azure.terminate(bare)
    assert await azure.terminate(replace(bare, handle={})), "the id alone says it, too"
    assert GROUP in VM
