"""The startup script: what it does on a machine, and how little of that is seen on the wire."""

from __future__ import annotations

import base64
import getpass
import os
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from providers.base import LaunchSpec, Offer
from providers.errors import InvalidRequest, Unclassified
from providers.paperspace import request
from tests.unit.paperspace.conftest import PUBLIC_KEY, TOKEN


def unpacked(script: str) -> str:
    """The part that does the work, out of its envelope."""
    return base64.b64decode(script.split("'END'\n")[1].split("\nEND\n")[0]).decode()


def run(script: str, home: Path) -> None:
    """Run the inner part as the current user, with *home* as the machine user's."""
    user = getpass.getuser()
    group = subprocess.run(["id", "-gn"], capture_output=True, text=True, check=True).stdout.strip()
    script = script.replace("user=paperspace\n", f"user={user}\n").replace("home=/home/paperspace\n", f"home={home}\n")
    script = script.replace('-g "$user"', f"-g {group}").replace('"$user:$user"', f'"$user:{group}"')
    script = script.replace("/etc/profile.d/orch.sh", str(home / "profile.sh"))
    subprocess.run(["bash", "-e"], input=script, text=True, check=True, capture_output=True)


def test_nothing_on_the_wire_looks_like_an_attack(spec: LaunchSpec) -> None:
    script = request.startup_script(msgspec.structs.replace(spec, cmd="curl x | bash", env={"A": "../../etc/passwd"}))
    for word in ("authorized_keys", ".ssh", "/etc/", "curl", "|", ";", "$(", "`", "&&", "chmod", "chown", "sudo"):
        assert word not in script
    assert script.startswith("#!/bin/bash\n")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_script_lets_the_key_in_once_and_keeps_others(spec: LaunchSpec, tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    keys = tmp_path / ".ssh" / "authorized_keys"
    keys.write_text("ssh-rsa AAAA teammate")  # without an end of line, as console editors leave it
    inner = unpacked(request.startup_script(spec))
    for _ in range(2):
        run(inner, tmp_path)
    lines = [line for line in keys.read_text().splitlines() if line]
    assert lines == ["ssh-rsa AAAA teammate", PUBLIC_KEY]
    assert keys.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".ssh").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_environment_reaches_ssh_commands_unchanged(spec: LaunchSpec, tmp_path: Path) -> None:
    value = 'it\'s $HOME "quoted"\nsecond line'
    (tmp_path / ".bashrc").write_text("# first\n")
    run(unpacked(request.startup_script(msgspec.structs.replace(spec, env={"WORD": value}))), tmp_path)
    shown = subprocess.run(
        ["bash", "-c", f'. {tmp_path}/.bashrc; printf %s "$WORD"'], capture_output=True, text=True, check=True
    )
    assert shown.stdout == value


#: What systemd does to the arguments of a unit's command, and then runs it: https://systemd.io (ExecStart=).
SYSTEMD_RUN = r"""#!/usr/bin/env python3
import os, re, sys
words = sys.argv[1:]  # the first is this program's own path
command = words[next(n for n, word in enumerate(words) if word.startswith("/")):]
def put(found):
    return "$" if found[0] == "$$" else os.environ.get(found[1], "")
os.execv(command[0], [re.sub(r"\$\$|\$\{(\w+)\}", put, word) for word in command])
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_command_reaches_the_shell_unchanged(
    spec: LaunchSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "bin" / "systemd-run"
    stand_in.parent.mkdir()
    stand_in.write_text(SYSTEMD_RUN)
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))  # a login shell reads the files there
    (tmp_path / ".bashrc").write_text("")
    command = f'for n in 1 2; do echo "it\'s ${{n}} $n %h $$x" >> {tmp_path}/seen\ndone'
    run(unpacked(request.startup_script(msgspec.structs.replace(spec, cmd=command))), tmp_path)
    seen = re.sub(r"\d+x", "PIDx", (tmp_path / "seen").read_text())
    assert seen == "it's 1 1 %h PIDx\nit's 2 2 %h PIDx\n"
    assert (tmp_path / ".orch-command").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_whole_script_is_valid_shell(spec: LaunchSpec) -> None:
    full = msgspec.structs.replace(spec, cmd="python train.py --name 'x y'", env={"A": "1"})
    for text in (request.startup_script(full), request.inner_script(full)):
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    assert "systemd-run" in request.inner_script(full)


@pytest.mark.parametrize("key", ["", "ssh-ed25519", "ssh-ed25519 AAAA\nssh-rsa BBBB", "a " + "b" * 20_000])
def test_what_is_no_key_line_is_refused(spec: LaunchSpec, key: str) -> None:
    with pytest.raises(InvalidRequest):
        request.startup_script(msgspec.structs.replace(spec, ssh_public_key=key))


def test_ports_leave_the_choice_to_other_providers(spec: LaunchSpec) -> None:
    with pytest.raises(Unclassified):
        request.check_fits(msgspec.structs.replace(spec, ports=("8080/http",)))


def test_the_body_stops_nothing_by_itself_and_claims_nothing_that_stays(offer: Offer, spec: LaunchSpec) -> None:
    body = request.body(offer, spec, TOKEN, template="t1", disk=250, script="ss1")
    assert body == {
        "name": TOKEN,
        "machineType": "A6000",
        "templateId": "t1",
        "diskSize": 250,
        "region": "NY2",
        "publicIpType": "dynamic",
        "startOnCreate": True,
        "startupScriptId": "ss1",
        "emailPassword": False,
        "autoShutdownEnabled": False,
        "autoSnapshotEnabled": False,
    }


def test_boards_of_eight_get_nvlink(offer: Offer, spec: LaunchSpec) -> None:
    eight = msgspec.structs.replace(offer, gpu_count=8)
    assert request.body(eight, spec, TOKEN, template="t1", disk=100, script="ss1")["enableNvlink"] is True


def test_a_disk_larger_than_any_is_refused(spec: LaunchSpec) -> None:
    with pytest.raises(InvalidRequest):
        request.disk_of(msgspec.structs.replace(spec, disk_gib=2001), 100)
