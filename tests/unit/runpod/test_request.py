"""The body of the create, and the start command inside it."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import msgspec
import pytest

from providers.base import LaunchSpec, Offer
from providers.errors import InvalidRequest, Unclassified
from providers.runpod.request import body, disk_gb, start_args, start_script
from tests.contract import runpod_golden as golden

TOKEN = "orch-aerukz4-abcdefghi-01"


def changed(struct: LaunchSpec, **changes: object) -> LaunchSpec:
    return msgspec.structs.replace(struct, **changes)


def at(offer: Offer, **native: object) -> Offer:
    return msgspec.structs.replace(offer, native={**offer.native, **native})


def test_the_body_is_the_recorded_one(offer: Offer, spec: LaunchSpec) -> None:
    sent = body(offer, spec, TOKEN)
    assert sent["env"] == {
        "PUBLIC_KEY": "ssh-ed25519 AAAA orch",
        "ORCH_OWNER": spec.owner,
        "ORCH_TOKEN": TOKEN,
    }
    same = {**sent, "name": golden.CREATE_BODY["name"], "env": golden.CREATE_BODY["env"], "disk": 50}
    assert same == golden.CREATE_BODY


@pytest.mark.parametrize(("gib", "gb"), [(0, 1), (1, 2), (50, 54), (100, 108), (1000, 1074)])
def test_the_disk_is_never_smaller_than_was_asked(gib: int, gb: int) -> None:
    assert disk_gb(gib) == gb
    assert disk_gb(gib) * 10**9 >= gib * 2**30


def test_ssh_is_always_among_the_ports_and_once(offer: Offer, spec: LaunchSpec) -> None:
    assert body(offer, spec, TOKEN)["ports"] == ["22/tcp"]
    more = changed(spec, ports=("8888/http", "22/tcp", "9000/tcp"))
    assert body(offer, more, TOKEN)["ports"] == ["22/tcp", "8888/http", "9000/tcp"]


@pytest.mark.parametrize("port", ["8080", "53/udp", "x/tcp", "", "22/tcp\n"])
def test_a_port_that_cannot_be_opened_is_refused_before_anything_is_sent(
    offer: Offer, spec: LaunchSpec, port: str
) -> None:
    with pytest.raises(InvalidRequest, match="port"):
        body(offer, changed(spec, ports=(port,)), TOKEN)


def test_only_a_secure_offer_names_its_data_centre(offer: Offer, spec: LaunchSpec) -> None:
    assert body(offer, spec, TOKEN)["dataCenterIds"] == ["EU-RO-1"]
    assert "dataCenterIds" not in body(at(offer, data_center=""), spec, TOKEN)
    community = body(at(offer, cloud="COMMUNITY"), spec, TOKEN)
    assert "dataCenterIds" not in community
    assert community["cloud"] == "COMMUNITY"


def test_our_marks_win_over_the_users_environment(offer: Offer, spec: LaunchSpec) -> None:
    env = {"ORCH_OWNER": "x", "ORCH_TOKEN": "y", "MODEL": "llama", "PUBLIC_KEY": "ssh-rsa BBBB me"}
    sent = body(offer, changed(spec, env=env), TOKEN)["env"]
    assert (sent["ORCH_OWNER"], sent["ORCH_TOKEN"], sent["MODEL"]) == (spec.owner, TOKEN, "llama")
    assert sent["PUBLIC_KEY"].splitlines() == ["ssh-ed25519 AAAA orch", "ssh-rsa BBBB me"]


def test_the_default_image_brings_its_cuda_floor_and_another_image_brings_none(offer: Offer, spec: LaunchSpec) -> None:
    assert body(offer, spec, TOKEN)["gpu"]["minCudaVersion"] == "12.8"
    own = changed(spec, image="me/mine:1")
    assert "minCudaVersion" not in body(offer, own, TOKEN)["gpu"]
    assert body(offer, own, TOKEN)["image"] == "me/mine:1"


def test_the_cuda_floor_can_be_chosen_or_taken_away(offer: Offer, spec: LaunchSpec) -> None:
    for chosen, sent in (("12.4", "12.4"), ("", None)):
        gpu = body(offer, changed(spec, native={"min_cuda_version": chosen}), TOKEN)["gpu"]
        assert gpu.get("minCudaVersion") == sent
        assert body(at(offer, min_cuda_version=chosen), spec, TOKEN)["gpu"].get("minCudaVersion") == sent
    with pytest.raises(InvalidRequest, match="min_cuda_version"):
        body(offer, changed(spec, native={"min_cuda_version": "twelve"}), TOKEN)


def test_the_default_image_is_not_sent_to_a_gpu_it_cannot_use(offer: Offer, spec: LaunchSpec) -> None:
    amd = at(offer, gpu_id="AMD Instinct MI300X OAM")
    with pytest.raises(Unclassified, match="image"):
        body(amd, spec, TOKEN)
    assert body(amd, changed(spec, image="rocm/mine"), TOKEN)["gpu"] == {
        "id": "AMD Instinct MI300X OAM",
        "count": 1,
    }


def test_an_offer_from_elsewhere_is_not_guessed_at(offer: Offer, spec: LaunchSpec) -> None:
    with pytest.raises(InvalidRequest):
        body(msgspec.structs.replace(offer, native={}), spec, TOKEN)


def test_without_a_command_the_image_keeps_its_own(offer: Offer, spec: LaunchSpec) -> None:
    assert "args" not in body(offer, spec, TOKEN)
    assert "args" in body(offer, changed(spec, cmd="python train.py"), TOKEN)


NASTY = """printf '%s|' "it's" 'a "b"' $HOME; echo "$(echo x)"; printf '%s' 'back\\slash' && exit 3"""
SAID = 'it\'s|a "b"|/nowhere|x\nback\\slash'


def shell(argv: list[str]) -> subprocess.CompletedProcess[str]:
    env = {"HOME": "/nowhere", "PATH": "/usr/local/bin:/usr/bin:/bin"}
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, env=env, check=False)


def test_a_command_survives_the_way_into_the_container_whatever_is_in_it() -> None:
    argv = shlex.split(start_args(NASTY))
    assert argv[:2] == ["sh", "-c"]
    assert len(argv) == 3
    done = shell(argv)
    assert (done.stdout, done.stderr, done.returncode) == (SAID, "", 3)


def test_the_images_own_start_goes_on_as_the_main_process_so_ssh_works(tmp_path: Path) -> None:
    start = tmp_path / "start it.sh"
    start.write_text("#!/bin/sh\nsleep 0.3\necho sshd-is-up\nexit 7\n")
    start.chmod(0o755)
    done = shell(["sh", "-c", start_script(NASTY, str(start))])
    assert done.returncode == 7, "the command's end does not end the container"
    assert SAID in done.stdout
    assert "sshd-is-up" in done.stdout


def test_an_image_without_that_start_gets_the_command_alone(tmp_path: Path) -> None:
    done = shell(["sh", "-c", start_script("exit 5", str(tmp_path / "none"))])
    assert done.returncode == 5
