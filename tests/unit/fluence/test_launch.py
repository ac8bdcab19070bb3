from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from providers.base import Phase
from providers.errors import InvalidRequest, NoCapacity
from providers.fluence.bodies import DEFAULT_IMAGE, pick_os, startup_command
from tests.contract import fluence_golden as golden
from tests.unit.fluence.kit import (
    API_KEY,
    CONTAINERS,
    METAL,
    PUBLIC_KEY,
    TOKEN,
    VMS,
    World,
    answer,
    changed,
    container_offer,
    listing,
    sent,
    serve_plans,
    spec,
    vm_offer,
)

IMAGES = "/gpu/default-images/"


@pytest.mark.parametrize("status", [200, 201, 202])
async def test_a_container_is_ordered_with_place_image_key_and_port_22(world: World, router: Any, status: int) -> None:
    offer = await container_offer(world, router)
    route = router.post(CONTAINERS).respond(status, json=golden.CREATED)
    made = await world.provider.launch(offer, spec(env={"MODEL_PATH": "/models"}), TOKEN)
    expected = changed(golden.CREATE_CONTAINER_BODY, name=TOKEN, ssh_key=PUBLIC_KEY)
    assert sent(route) == expected
    assert (made.id, made.handle, made.token) == (golden.CREATED["instance_id"], {"kind": "containers"}, TOKEN)
    assert made.phase is Phase.PENDING
    assert made.account == await world.provider.account()


async def test_only_the_documented_header_carries_the_key(world: World, router: Any) -> None:
    offer = await container_offer(world, router)
    route = router.post(CONTAINERS).respond(json=golden.CREATED)
    await world.provider.launch(offer, spec(), TOKEN)
    headers = route.calls.last.request.headers
    assert headers["x-api-key"] == API_KEY
    assert "authorization" not in headers
    assert headers["content-type"] == "application/json"


async def test_the_place_of_the_chosen_offer_is_the_constraint(world: World, router: Any) -> None:
    serve_plans(router, golden.CONTAINER_PLANS)
    german = (await listing(world)).offers[1]
    route = router.post(CONTAINERS).respond(json=golden.CREATED)
    await world.provider.launch(german, spec(), TOKEN)
    assert sent(route)["constraints"] == {"location": "DE"}


async def test_an_offer_without_a_place_is_ordered_without_a_constraint(world: World, router: Any) -> None:
    serve_plans(router, [{"plan": golden.CONTAINER_PLANS[0]["plan"]}])
    offer = (await listing(world)).offers[0]
    route = router.post(CONTAINERS).respond(json=golden.CREATED)
    await world.provider.launch(offer, spec(), TOKEN)
    assert "constraints" not in sent(route)


async def test_a_vm_is_ordered_by_the_options_id_with_all_four_fields(world: World, router: Any) -> None:
    offer = await vm_offer(world, router)
    route = router.post(VMS).respond(json=golden.CREATED)
    resolved = await world.provider.resolve(offer, spec())
    made = await world.provider.launch(offer, resolved, TOKEN)
    assert sent(route) == changed(golden.CREATE_VM_BODY, name=TOKEN, ssh_key=PUBLIC_KEY)
    assert made.handle == {"kind": "vms"}


async def test_bare_metal_is_ordered_in_its_own_tree(world: World, router: Any) -> None:
    serve_plans(router, metal=golden.VM_PLANS)
    offer = (await listing(world)).offers[0]
    router.post(METAL).respond(json=golden.CREATED)
    assert (await world.provider.launch(offer, spec(), TOKEN)).handle == {"kind": "baremetal"}


async def test_resolve_takes_fluences_own_ssh_image_by_its_slug(world: World, router: Any) -> None:
    offer = await container_offer(world, router)
    other = changed(golden.DEFAULT_IMAGES[0], slug="jupyter", image="docker.io/x/jupyter:1")
    moved = changed(golden.DEFAULT_IMAGES[0], image="docker.io/fluencelabs/debian-ssh-root:11.2")
    router.get(IMAGES).respond(json=[other, moved])
    resolved = await world.provider.resolve(offer, spec())
    assert resolved.native["image"] == "docker.io/fluencelabs/debian-ssh-root:11.2"
    route = router.post(CONTAINERS).respond(json=golden.CREATED)
    await world.provider.launch(offer, resolved, TOKEN)
    assert sent(route)["container_settings"]["image"] == "docker.io/fluencelabs/debian-ssh-root:11.2"


@pytest.mark.parametrize("status", [404, 500])
async def test_without_the_list_of_images_the_documented_one_is_used(world: World, router: Any, status: int) -> None:
    offer = await container_offer(world, router)
    router.get(IMAGES).respond(status, json={"detail": "no"})
    assert (await world.provider.resolve(offer, spec())).native["image"] == DEFAULT_IMAGE


async def test_the_users_image_is_kept_and_no_list_is_asked_for(world: World, router: Any) -> None:
    offer = await container_offer(world, router)
    assert (await world.provider.resolve(offer, spec(image="docker.io/me/mine:2"))).native["image"].endswith("mine:2")


async def test_a_vm_offer_from_a_file_gets_its_os_image_from_the_fresh_plan(world: World, router: Any) -> None:
    offer = msgspec.structs.replace(await vm_offer(world, router), native={})
    assert (await world.provider.resolve(offer, spec())).native["os_image"] == "Ubuntu Server 22.04"


async def test_an_os_image_of_an_earlier_offer_is_not_carried_over(world: World, router: Any) -> None:
    offer = await vm_offer(world, router)
    earlier = spec(native={"os_image": "ubuntu22.04_cuda12.4_shade_os"})
    assert (await world.provider.resolve(offer, earlier)).native["os_image"] == "Ubuntu Server 22.04"


@pytest.mark.parametrize(
    ("options", "best"),
    [
        (("Ubuntu Server 22.04",), "Ubuntu Server 22.04"),
        (("windows-2022", "debian12", "ubuntu24.04"), "ubuntu24.04"),
        (("ubuntu24.04", "ubuntu22.04_cuda12.4_shade_os"), "ubuntu22.04_cuda12.4_shade_os"),
        (("Ubuntu 18.04", "Ubuntu 24.04"), "Ubuntu 24.04"),
        (("Rocky 9",), "Rocky 9"),
        ((), None),
    ],
)
def test_ubuntu_with_cuda_is_the_first_choice(options: tuple[str, ...], best: str | None) -> None:
    assert pick_os(options) == best
    assert pick_os(tuple(reversed(options))) == best


async def test_a_refused_os_image_is_replaced_once_by_a_listed_one(world: World, router: Any) -> None:
    offer = await vm_offer(world, router)
    taken = [answer("wrong-image"), httpx.Response(201, json=golden.CREATED)]
    route = router.post(VMS).mock(side_effect=taken)
    made = await world.provider.launch(offer, spec(), TOKEN)
    assert made.id == golden.CREATED["instance_id"]
    assert (sent(route, 0)["os_image"], sent(route, 1)["os_image"]) == ("Ubuntu Server 22.04", "A")
    assert {sent(route, 0)["name"], sent(route, 1)["name"]} == {TOKEN}


async def test_a_second_refused_os_image_sends_to_the_next_offer(world: World, router: Any) -> None:
    offer = await vm_offer(world, router)
    route = router.post(VMS).mock(return_value=answer("wrong-image"))
    with pytest.raises(NoCapacity) as caught:
        await world.provider.launch(offer, spec(), TOKEN)
    assert (route.call_count, caught.value.scope, caught.value.code) == (2, "offer", "os-image")


async def test_a_refusal_that_lists_only_the_refused_image_is_not_repeated(world: World, router: Any) -> None:
    offer = await vm_offer(world, router)
    text = "Provided OS image is not supported. Available OS images: Ubuntu Server 22.04"
    route = router.post(VMS).respond(400, json={"detail": text})
    with pytest.raises(NoCapacity):
        await world.provider.launch(offer, spec(), TOKEN)
    assert route.call_count == 1


async def test_an_option_that_lists_no_os_images_learns_them_from_the_refusal(world: World, router: Any) -> None:
    plans = msgspec.json.decode(msgspec.json.encode(golden.VM_PLANS))
    del plans["data"][0]["availability_by_number"][0]["options"][0]["os_options"]
    serve_plans(router, vms=plans)
    offer = (await listing(world)).offers[0]
    text = "Provided OS image X is not supported for the selected offer. Available OS images: ubuntu24.04"
    created = httpx.Response(200, json=golden.CREATED)
    route = router.post(VMS).mock(side_effect=[httpx.Response(400, json={"detail": text}), created])
    await world.provider.launch(offer, await world.provider.resolve(offer, spec()), TOKEN)
    assert sent(route)["os_image"] == "ubuntu24.04"


@pytest.mark.parametrize("field", [{"image": "x/y:1"}, {"cmd": "python train.py"}, {"env": {"A": "1"}}])
async def test_a_vm_never_gets_what_only_containers_can_run(world: World, router: Any, field: dict[str, Any]) -> None:
    offer = await vm_offer(world, router)
    route = router.post(VMS).respond(json=golden.CREATED)
    for call in (world.provider.resolve(offer, spec(**field)), world.provider.launch(offer, spec(**field), TOKEN)):
        with pytest.raises(InvalidRequest, match="container"):
            await call
    assert not route.called


async def ordered(world: World, router: Any, **fields: Any) -> dict[str, Any]:
    """The container settings that are sent for a spec."""
    offer = await container_offer(world, router)
    route = router.post(CONTAINERS).respond(json=golden.CREATED)
    await world.provider.launch(offer, spec(**fields), TOKEN)
    settings: dict[str, Any] = sent(route)["container_settings"]
    return settings


async def test_ports_are_texts_and_http_exists_on_port_80_only(world: World, router: Any) -> None:
    settings = await ordered(world, router, ports=("8080/http", "80/http", "9000", "53/udp", "22/tcp", "9000/tcp"))
    assert settings["expose"] == [
        {"port": "22", "protocol": "tcp"},
        {"port": "8080", "protocol": "tcp"},
        {"port": "80", "protocol": "http"},
        {"port": "9000", "protocol": "tcp"},
        {"port": "53", "protocol": "udp"},
    ]


STUBS = {
    "mkdir": 'for each; do case "$each" in /*ssh) /bin/mkdir -p "$each";; esac; done',
    "sshd": 'echo "sshd started" >> "$LOG"',
    "ssh-keygen": 'echo "host keys made" >> "$LOG"',
    "sleep": 'echo "sleeps $1" >> "$LOG"',
}


def run_bash(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, timeout=30, check=False)


async def test_a_command_starts_ssh_first_and_the_machine_outlives_it(
    world: World, router: Any, tmp_path: Path
) -> None:
    command = 'echo "it\'s $WORD" >> "$LOG"; exit 1'
    script = (await ordered(world, router, cmd=command))["startup_command"]
    for name, body in STUBS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    log, home = tmp_path / "log", tmp_path / "home"
    script = script.replace("/run/sshd", str(tmp_path / "run-ssh"))  # the one path outside the home folder
    done = run_bash(
        script,
        PATH=f"{tmp_path}:/usr/bin:/bin",
        HOME=str(home),
        LOG=str(log),
        WORD="done",
        SSH_PUBKEY=PUBLIC_KEY,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert log.read_text().splitlines() == ["host keys made", "sshd started", "it's done", "sleeps infinity"]
    keys = home / ".ssh" / "authorized_keys"
    assert keys.read_text() == f"{PUBLIC_KEY}\n"
    assert (keys.stat().st_mode & 0o777, keys.parent.stat().st_mode & 0o777) == (0o600, 0o700)


async def test_without_a_command_the_image_keeps_its_own(world: World, router: Any) -> None:
    settings = await ordered(world, router, image="docker.io/me/mine:2")
    assert "startup_command" not in settings
    assert settings["image"] == "docker.io/me/mine:2"


@pytest.mark.parametrize(
    "fields",
    [
        {"env": {"SSH_PUBKEY": "x"}},
        {"env": {"lower": "x"}},
        {"env": {"_A": "x"}},
        {"env": {f"V{n}": "x" for n in range(65)}},
        {"ports": ("0",)},
        {"ports": ("65536",)},
        {"ports": ("http",)},
        {"ports": ("80/sctp",)},
        {"ports": tuple(str(9000 + n) for n in range(10))},
        {"image": "Docker.io/Me:1"},
        {"image": "x" * 256},
        {"cmd": "x" * 2048},
    ],
)
async def test_what_fluence_cannot_take_is_refused_before_anything_is_sent(
    world: World, router: Any, fields: dict[str, Any]
) -> None:
    offer = await container_offer(world, router)
    route = router.post(CONTAINERS).respond(json=golden.CREATED)
    with pytest.raises(InvalidRequest):
        await world.provider.launch(offer, spec(**fields), TOKEN)
    assert not route.called


@pytest.mark.parametrize("name", ["", "-a", "a-", "Orch", "o" * 26, "a_b"])
async def test_a_name_that_fluence_refuses_is_never_sent(world: World, router: Any, name: str) -> None:
    offer = await container_offer(world, router)
    with pytest.raises(InvalidRequest):
        await world.provider.launch(offer, spec(), name)


def test_the_longest_command_fits_exactly() -> None:
    room = 2048 - len(startup_command("a")) + 1
    assert len(startup_command("a" * room)) == 2048
    with pytest.raises(InvalidRequest, match=f"room for {room}"):
        startup_command("a" * (room + 1))
