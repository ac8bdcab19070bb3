from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

from providers.base import Address, Phase
from providers.errors import AuthFailed, BadWorkload, BootFailed, NoCapacity, Unavailable
from providers.fluence.instances import ssh_address
from tests.contract import fluence_golden as golden
from tests.unit.fluence.kit import (
    CONTAINER_ID,
    CONTAINERS,
    METAL,
    OTHERS_TOKEN,
    TOKEN,
    VM_ID,
    VMS,
    World,
    answer,
    attempt,
    changed,
    container_offer,
    vm_offer,
)

CONTAINER = f"/gpu/instances/{CONTAINER_ID}"
VM = f"/gpu/instances/vms/{VM_ID}"
EVENTS = f"{CONTAINER}/events"


async def seen_container(world: World, router: Any, **fields: Any) -> Any:
    offer = await container_offer(world, router)
    router.get(CONTAINER).respond(json=changed(golden.CONTAINER_DETAIL, name=TOKEN, **fields))
    return await world.provider.find(attempt(offer, CONTAINER_ID))


async def seen_vm(world: World, router: Any, **fields: Any) -> Any:
    offer = await vm_offer(world, router)
    router.get(VM).respond(json=changed(golden.VM_DETAIL, name=TOKEN, **fields))
    return await world.provider.find(attempt(offer, VM_ID))


async def test_a_known_container_is_read_from_its_detail_alone(world: World, router: Any) -> None:
    found = await seen_container(world, router)
    assert found.phase is Phase.RUNNING
    assert found.address == Address(host="provider.example.akash.pub", port=32345, user="root")
    assert (found.id, found.token, found.handle) == (CONTAINER_ID, TOKEN, {"kind": "containers"})
    assert found.usd_per_hour == Decimal("0.48")
    assert found.created_at.isoformat() == "2026-03-04T09:12:05.100200+00:00"
    assert found.failure is None


async def test_a_known_vm_is_read_from_its_detail_alone(world: World, router: Any) -> None:
    found = await seen_vm(world, router)
    assert found.phase is Phase.RUNNING
    assert found.address == Address(host="203.0.113.9", port=22, user="ubuntu")
    assert (found.handle, found.usd_per_hour) == ({"kind": "vms"}, Decimal("0.76"))


@pytest.mark.parametrize(
    ("command", "address"),
    [
        ("ssh ubuntu@203.0.113.9", ("203.0.113.9", 22, "ubuntu")),
        ("ssh -p 2222 shadeform@host-1.example", ("host-1.example", 2222, "shadeform")),
        ("ssh -p2222 root@203.0.113.9", ("203.0.113.9", 2222, "root")),
        ("ssh root@203.0.113.9 -p 2022", ("203.0.113.9", 2022, "root")),
        ("ssh -i ~/.ssh/id -o StrictHostKeyChecking=no -l me 203.0.113.9", ("203.0.113.9", 22, "me")),
        ("ssh ubuntu@2001:db8::9", ("2001:db8::9", 22, "ubuntu")),
        ("ssh ssh://me@203.0.113.9:2200", ("203.0.113.9", 2200, "me")),
        ("ubuntu@203.0.113.9", ("203.0.113.9", 22, "ubuntu")),
        ("ssh 'ubuntu@203.0.113.9", None),
        ("ssh -p", None),
        ("ssh", None),
        ("ssh -p x ubuntu@203.0.113.9", None),
        ("ssh -p 70000 ubuntu@203.0.113.9", None),
        ("ssh -- ubuntu@-oProxyCommand=evil", None),
        ("ssh 'a b@203.0.113.9'", None),
        ("ssh ssh://me@203.0.113.9:99999", None),
    ],
)
def test_the_ssh_command_is_parsed_as_ssh_would(command: str, address: tuple[str, int, str] | None) -> None:
    expected = Address(host=address[0], port=address[1], user=address[2]) if address else None
    assert ssh_address(command) == expected


@pytest.mark.parametrize("command", [None, "", "connect by hand", "ssh -p x a@b"])
async def test_without_a_usable_ssh_command_the_domain_serves(world: World, router: Any, command: Any) -> None:
    found = await seen_vm(world, router, ssh_connection=command)
    assert found.address == Address(host="203.0.113.9", port=22, user="ubuntu")


async def test_the_fallbacks_user_follows_the_os_image(world: World, router: Any) -> None:
    found = await seen_vm(world, router, ssh_connection=None, os_image="Rocky 9")
    assert found.address == Address(host="203.0.113.9", port=22, user="root")


@pytest.mark.parametrize("network", [None, {"domain": None, "forwarded_ports": [], "uri": None}, "odd"])
async def test_an_active_vm_without_a_domain_is_still_starting(world: World, router: Any, network: Any) -> None:
    found = await seen_vm(world, router, ssh_connection=None, network=network)
    assert (found.phase, found.address, found.failure) == (Phase.RUNNING, None, None)


@pytest.mark.parametrize(
    "ports",
    [
        [],
        None,
        [{"port": "80", "external_port": "32346", "protocol": "tcp"}],
        [{"port": "22", "external_port": "32346", "protocol": "udp"}],
        [{"port": "22", "external_port": "70000", "protocol": "tcp"}],
        [{"port": "22", "protocol": "tcp"}],
        ["22"],
    ],
)
async def test_a_container_without_a_forwarded_port_22_has_no_address(world: World, router: Any, ports: Any) -> None:
    network = {"domain": "x.akash.pub", "forwarded_ports": ports}
    assert (await seen_container(world, router, network=network)).address is None


async def test_ports_may_be_numbers_and_the_protocol_in_capitals(world: World, router: Any) -> None:
    ports = [{"port": 22, "external_port": 32346, "protocol": "TCP"}]
    found = await seen_container(world, router, network={"domain": "x.akash.pub", "forwarded_ports": ports})
    assert found.address == Address(host="x.akash.pub", port=32346, user="root")


async def test_a_container_that_has_not_started_runs_without_an_address(world: World, router: Any) -> None:
    router.get(EVENTS).respond(json=golden.EVENTS)
    found = await seen_container(world, router, container_status="NOT_STARTED")
    assert (found.phase, found.address, found.failure) == (Phase.RUNNING, None, None)


@pytest.mark.parametrize("body", [{}, "x", None])
async def test_unreadable_events_only_explain_nothing(world: World, router: Any, body: Any) -> None:
    router.get(EVENTS).respond(json=body)
    found = await seen_container(world, router, container_status="NOT_STARTED")
    assert (found.phase, found.failure) == (Phase.RUNNING, None)


PULL = [
    '[service-1-a]: [Normal] [Pulling] Pulling image "docker.io/me/mine:2"',
    '[service-1-a]: [Warning] [Failed] Failed to pull image "docker.io/me/mine:2": manifest unknown',
    '[service-1-a]: [Warning] [BackOff] Back-off pulling image "docker.io/me/mine:2"',
]
SLOW_PULL = [PULL[0], "[service-1-a]: [Warning] [Failed] i/o timeout", PULL[2]]
CRASH = ["[service-1-a]: [Warning] [BackOff] Back-off restarting failed container"]


@pytest.mark.parametrize(
    ("events", "fields", "error"),
    [
        (PULL, {"image": "docker.io/me/mine:2"}, BadWorkload),
        (PULL, {}, BootFailed),
        (SLOW_PULL, {"image": "docker.io/me/mine:2"}, BootFailed),
        (CRASH, {"cmd": "false"}, BadWorkload),
        (CRASH, {}, BootFailed),
    ],
)
async def test_a_container_that_will_never_start_is_failed_with_its_events(
    world: World, router: Any, events: list[str], fields: dict[str, Any], error: type[Exception]
) -> None:
    offer = await container_offer(world, router)
    detail = changed(golden.CONTAINER_DETAIL, name=TOKEN, container_status="NOT_STARTED")
    router.get(CONTAINER).respond(json=detail)
    route = router.get(EVENTS).respond(json=events)
    found = await world.provider.find(attempt(offer, CONTAINER_ID, **fields))
    assert found is not None
    assert found.phase is Phase.FAILED
    assert type(found.failure) is error
    assert events[-1] in str(found.failure)
    assert route.calls.last.request.url.params["last"] == "50"


async def test_one_failed_pull_is_no_reason_to_give_up(world: World, router: Any) -> None:
    router.get(EVENTS).respond(json=PULL[:2])
    assert (await seen_container(world, router, container_status="NOT_STARTED")).failure is None


@pytest.mark.parametrize("status", ["INITIALIZED", "initiated", "Initialized"])
async def test_initialized_is_pending_in_any_spelling(world: World, router: Any, status: str) -> None:
    found = await seen_vm(world, router, status=status, ssh_connection=None, network=None)
    assert (found.phase, found.address) == (Phase.PENDING, None)


@pytest.mark.parametrize("fields", [{"status": "HIBERNATING"}, {"status": None}, {"status": 7}])
async def test_an_unknown_state_is_unknown_and_not_a_crash(world: World, router: Any, fields: Any) -> None:
    assert (await seen_vm(world, router, **fields)).phase is Phase.UNKNOWN


async def test_failed_after_acceptance_is_a_lack_of_capacity_of_that_offer(world: World, router: Any) -> None:
    found = await seen_vm(world, router, status="FAILED")
    assert found.phase is Phase.FAILED
    assert isinstance(found.failure, NoCapacity)
    assert (found.failure.scope, found.address) == ("offer", None)


async def test_an_end_that_nobody_asked_for_is_gone(world: World, router: Any) -> None:
    offer = await container_offer(world, router)
    router.get(CONTAINER).respond(json=changed(golden.CONTAINER_ENDED_DETAIL, name=TOKEN))
    found = await world.provider.find(attempt(offer, CONTAINER_ID))
    assert found is not None
    assert (found.phase, found.address, found.usd_per_hour, found.failure) == (Phase.GONE, None, None, None)


@pytest.mark.parametrize(("reported", "rate"), [(0.755, "0.76"), (0.77, "0.77"), (1.52, "1.52")])
async def test_a_rate_that_differs_by_rounding_only_counts_as_the_promised_one(
    world: World, router: Any, reported: float, rate: str
) -> None:
    found = await seen_vm(world, router, billing={"hourly_usage": reported})
    assert found.usd_per_hour == Decimal(rate)


async def test_without_an_id_the_name_is_looked_up_in_that_tree_and_the_detail_fetched(
    world: World, router: Any
) -> None:
    offer = await vm_offer(world, router)
    ended = changed(golden.VM_LIST[0], id="old", name=TOKEN, status="ENDED")
    other = changed(golden.VM_LIST[0], id="other", name=OTHERS_TOKEN)
    router.get(VMS).respond(json=[other, ended, changed(golden.VM_LIST[0], name=TOKEN)])
    router.get(VM).respond(json=changed(golden.VM_DETAIL, name=TOKEN))
    found = await world.provider.find(attempt(offer))
    assert found is not None
    assert (found.id, found.address) == (VM_ID, Address(host="203.0.113.9", port=22, user="ubuntu"))


async def test_a_container_is_looked_up_in_the_root_tree(world: World, router: Any) -> None:
    offer = await container_offer(world, router)
    router.get(CONTAINERS).respond(json=[changed(golden.CONTAINER_LIST[0], name=TOKEN)])
    router.get(CONTAINER).respond(json=changed(golden.CONTAINER_DETAIL, name=TOKEN))
    found = await world.provider.find(attempt(offer))
    assert found is not None
    assert (found.phase, found.handle) == (Phase.RUNNING, {"kind": "containers"})


async def test_a_name_that_is_not_listed_is_none(world: World, router: Any) -> None:
    offer = await vm_offer(world, router)
    router.get(VMS).respond(json=golden.VM_LIST)
    assert await world.provider.find(attempt(offer)) is None


@pytest.mark.parametrize(("status", "phase"), [("ENDED", Phase.GONE), ("FAILED", Phase.FAILED)])
async def test_an_ended_instance_is_found_from_the_list_alone(
    world: World, router: Any, status: str, phase: Phase
) -> None:
    offer = await vm_offer(world, router)
    router.get(VMS).respond(json=[changed(golden.VM_LIST[0], name=TOKEN, status=status)])
    found = await world.provider.find(attempt(offer))
    assert found is not None
    assert found.phase is phase


async def test_a_listed_instance_without_a_detail_has_no_address_yet(world: World, router: Any) -> None:
    offer = await vm_offer(world, router)
    router.get(VMS).respond(json=[changed(golden.VM_LIST[0], name=TOKEN, status="INITIALIZED")])
    router.get(VM).mock(return_value=answer("not-found"))
    for ref in (attempt(offer), attempt(offer, VM_ID)):
        found = await world.provider.find(ref)
        assert found is not None
        assert (found.phase, found.address) == (Phase.PENDING, None)


async def test_a_detail_without_an_id_cannot_be_read(world: World, router: Any) -> None:
    offer = await vm_offer(world, router)
    router.get(VM).respond(json=[])
    with pytest.raises(Unavailable):
        await world.provider.find(attempt(offer, VM_ID))


async def test_a_revoked_key_is_no_absence(world: World, router: Any) -> None:
    offer = await vm_offer(world, router)
    router.get(VM).mock(return_value=answer("bad-key"))
    with pytest.raises(AuthFailed):
        await world.provider.find(attempt(offer, VM_ID))


async def test_owned_reads_all_three_trees_and_keeps_what_is_ours_and_alive(world: World, router: Any) -> None:
    row, container = golden.VM_LIST[0], golden.CONTAINER_LIST[0]
    router.get(CONTAINERS).respond(
        json=[changed(container, id="c1", name=TOKEN), changed(container, id="c2", name="my-own")]
    )
    router.get(VMS).respond(
        json=[
            changed(row, id="v1", name=TOKEN, status="INITIALIZED"),
            changed(row, id="v2", name=TOKEN, status="ENDED"),
            changed(row, id="v3", name=TOKEN, status="FAILED"),
            changed(row, id="v4", name=OTHERS_TOKEN),
            changed(row, id="v5", name=None),
        ]
    )
    router.get(METAL).respond(json=[changed(row, id="b1", name=TOKEN, status="RESIZING")])
    found = await world.provider.owned()
    assert [(one.id, one.handle["kind"], one.phase) for one in found] == [
        ("c1", "containers", Phase.RUNNING),
        ("v1", "vms", Phase.PENDING),
        ("b1", "baremetal", Phase.UNKNOWN),
    ]
    assert {one.token for one in found} == {TOKEN}
    assert {one.account for one in found} == {await world.provider.account()}


@pytest.mark.parametrize("path", [CONTAINERS, VMS, METAL])
@pytest.mark.parametrize("broken", ["status", {}, [{"id": "x"}], [{"name": TOKEN}], [None]])
async def test_an_unreadable_tree_fails_owned_instead_of_hiding_machines(
    world: World, router: Any, path: str, broken: Any
) -> None:
    for each in (CONTAINERS, VMS, METAL):
        router.get(each).respond(json=[])
    reply = httpx.Response(503) if broken == "status" else httpx.Response(200, json=broken)
    router.get(path).mock(return_value=reply)
    with pytest.raises(Unavailable):
        await world.provider.owned()


async def test_an_attempt_without_a_kind_in_its_handle_uses_the_offers(world: World, router: Any) -> None:
    offer = await vm_offer(world, router)
    router.get(VM).respond(json=changed(golden.VM_DETAIL, name=TOKEN))
    ref = msgspec.structs.replace(attempt(offer, VM_ID), handle={})
    found = await world.provider.find(ref)
    assert found is not None
    assert found.handle == {"kind": "vms"}
