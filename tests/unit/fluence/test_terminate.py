from __future__ import annotations

from typing import Any

import httpx
import pytest

from providers.base import Instance
from providers.errors import AuthFailed, RateLimited, Unavailable
from tests.contract import fluence_golden as golden
from tests.unit.fluence.kit import CONTAINER_ID, CONTAINERS, METAL, VM_ID, VMS, World, answer, changed, instance

VM = f"/gpu/instances/vms/{VM_ID}"
CONTAINER = f"/gpu/instances/{CONTAINER_ID}"


def vm(status: str) -> httpx.Response:
    return httpx.Response(200, json=changed(golden.VM_DETAIL, status=status))


def container(status: str) -> httpx.Response:
    return httpx.Response(200, json=changed(golden.CONTAINER_DETAIL, instance_status=status))


async def end_vm(world: World) -> bool:
    return await world.provider.terminate(instance("vms", VM_ID, world))


@pytest.mark.parametrize("status", ["ENDED", "FAILED", "ended"])
async def test_what_has_ended_needs_no_delete(world: World, router: Any, status: str) -> None:
    router.get(VM).mock(return_value=vm(status))
    route = router.delete(VM).respond(204)
    assert await end_vm(world) is True
    assert not route.called


async def test_initialized_cannot_be_ended_yet_and_is_not_asked(world: World, router: Any) -> None:
    router.get(VM).mock(return_value=vm("INITIALIZED"))
    route = router.delete(VM).respond(400, json={"detail": "not active"})
    assert await end_vm(world) is False
    assert not route.called


async def test_an_accepted_delete_counts_only_once_the_end_is_seen(world: World, router: Any) -> None:
    router.get(VM).mock(side_effect=[vm("ACTIVE"), vm("ACTIVE"), vm("ENDED")])
    route = router.delete(VM).respond(204)
    assert await end_vm(world) is False
    assert await end_vm(world) is True
    assert route.call_count == 1


async def test_a_delete_that_ends_at_once_is_confirmed_in_the_same_call(world: World, router: Any) -> None:
    router.get(CONTAINER).mock(side_effect=[container("ACTIVE"), container("ENDED")])
    router.delete(CONTAINER).respond(204)
    assert await world.provider.terminate(instance("containers", CONTAINER_ID, world)) is True


async def test_bare_metal_is_ended_in_its_own_tree(world: World, router: Any) -> None:
    path = f"{METAL}/{VM_ID}"
    router.get(path).mock(side_effect=[vm("ACTIVE"), vm("ENDED")])
    route = router.delete(path).respond(204)
    assert await world.provider.terminate(instance("baremetal", VM_ID, world)) is True
    assert route.called


async def test_a_refused_delete_of_what_ended_meanwhile_is_a_success(world: World, router: Any) -> None:
    router.get(VM).mock(side_effect=[vm("ACTIVE"), vm("ENDED")])
    router.delete(VM).respond(400, json={"detail": "instance is not active"})
    assert await end_vm(world) is True
    assert world.unclassified == []


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 418, 422])
async def test_any_refusal_on_an_active_machine_is_to_be_repeated(world: World, router: Any, status: int) -> None:
    router.get(VM).mock(return_value=vm("ACTIVE"))
    route = router.delete(VM).respond(status, json={"detail": "minimum runtime is 20 minutes"})
    assert await end_vm(world) is False
    assert await end_vm(world) is False
    assert route.call_count == 2
    assert ("fluence", "delete-refused") in [(name, code) for name, code, _ in world.unclassified]
    assert "minimum runtime" in world.unclassified[-1][2]


async def test_a_state_nobody_knows_is_asked_to_end(world: World, router: Any) -> None:
    router.get(VM).mock(side_effect=[vm("SUSPENDED"), vm("ENDED")])
    route = router.delete(VM).respond(204)
    assert await end_vm(world) is True
    assert route.called


async def test_an_unknown_id_is_gone_if_the_list_agrees(world: World, router: Any) -> None:
    router.get(VM).mock(return_value=answer("not-found"))
    router.get(VMS).respond(json=[changed(golden.VM_LIST[0], id="another")])
    assert await end_vm(world) is True


async def test_a_404_alone_is_not_believed_while_the_list_shows_it_alive(world: World, router: Any) -> None:
    router.get(VM).mock(return_value=answer("not-found"))
    router.get(VMS).respond(json=golden.VM_LIST)
    router.delete(VM).mock(return_value=answer("not-found"))
    assert await end_vm(world) is False


async def test_an_unreadable_list_does_not_confirm_a_404(world: World, router: Any) -> None:
    router.get(VM).mock(return_value=answer("not-found"))
    router.get(VMS).respond(503)
    with pytest.raises(Unavailable):
        await end_vm(world)


async def test_a_handle_without_a_kind_is_looked_for_in_every_tree(world: World, router: Any) -> None:
    for path in (f"/gpu/instances/{VM_ID}", f"{METAL}/{VM_ID}"):
        router.get(path).mock(return_value=answer("not-found"))
    router.get(CONTAINERS).respond(json=[])
    router.get(METAL).respond(json=[])
    router.get(VM).mock(side_effect=[vm("ACTIVE"), vm("ACTIVE"), vm("ENDED")])
    route = router.delete(VM).respond(204)
    nowhere = Instance(provider="fluence", account="x", id=VM_ID)
    assert await world.provider.terminate(nowhere) is False
    assert await world.provider.terminate(nowhere) is True
    assert route.call_count == 1


async def test_a_revoked_key_never_looks_like_an_end(world: World, router: Any) -> None:
    router.get(VM).mock(return_value=answer("bad-key"))
    with pytest.raises(AuthFailed):
        await end_vm(world)


async def test_an_outage_never_looks_like_an_end(world: World, router: Any) -> None:
    router.get(VM).respond(502, html="<h1>bad gateway</h1>")
    with pytest.raises(Unavailable):
        await end_vm(world)


async def test_a_rate_limit_on_delete_is_passed_on_with_its_wait(world: World, router: Any) -> None:
    router.get(VM).mock(return_value=vm("ACTIVE"))
    router.delete(VM).respond(429, headers={"retry-after": "90"}, json={"detail": "slow"})
    with pytest.raises(RateLimited) as caught:
        await end_vm(world)
    assert caught.value.wait_s == 90.0


async def test_a_delete_whose_answer_was_lost_is_sent_again_and_the_refusal_understood(
    world: World, router: Any
) -> None:
    router.get(VM).mock(side_effect=[vm("ACTIVE"), vm("ENDED")])
    refused = httpx.Response(400, json={"detail": "instance is not active"})
    route = router.delete(VM).mock(side_effect=[httpx.ReadError("cut"), refused])
    assert await end_vm(world) is True
    assert route.call_count == 2
