"""The start script, run by a real shell with stand-ins for sshd and package managers in its PATH."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from providers.coreweave.bootstrap import script

SSHD = """#!/bin/sh
echo "$*" > "$STAND_IN/sshd-called"
cat "$4" > "$STAND_IN/sshd-config"
exec sleep 60
"""


class Box:
    """A container's view: its folders, its PATH, and the script as its main process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys, self.state, self.work, self.home, self.bin = (
            folder / name for name in ("keys", "state", "work", "home", "bin")
        )
        for path in (self.keys, self.home, self.bin):
            path.mkdir()
        (self.keys / "authorized_keys").write_text("ssh-ed25519 AAAA orch\n")
        (self.keys / "ssh_host_ed25519_key").write_text("a host key\n")
        # Of the real programs only what any image has; no sshd of this computer.
        for name in ("sh", "bash", "cat", "chmod", "mkdir", "env", "grep", "sed", "date", "sleep", "ssh-keygen", "tr"):
            if found := shutil.which(name):
                (self.bin / name).symlink_to(found)

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        text = script(secrets=str(self.keys), state=str(self.state), work=str(self.work), home=str(self.home))
        # What is the machine's own stays as it is.
        text = text.replace("/run/sshd", str(self.folder / "run")).replace("/etc/shadow", str(self.folder / "shadow"))
        text = text.replace("/usr/sbin/sshd /usr/local/sbin/sshd /sbin/sshd", "")
        (self.keys / "start").write_text(text)
        with (self.folder / "output").open("wb") as output:
            return subprocess.Popen(
                [shutil.which("sh") or "/bin/sh", str(self.keys / "start")],
                env={"PATH": str(self.bin), "STAND_IN": str(self.folder), "HOME": str(self.home), **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """All that the container has said."""
        return (self.folder / "output").read_text()

    def wait_for(self, name: str) -> str:
        for _ in range(400):
            path = self.folder / name
            if path.is_file() and path.read_text().endswith("\n"):
                return path.read_text()
            time.sleep(0.025)
        raise AssertionError(f"{name} never appeared")


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to stop, as a kubelet does; what it started goes with it, as in a container."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=10)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_ssh_starts_with_our_key_the_host_key_and_the_environment(box: Box) -> None:
    box.program("sshd", SSHD)
    process = box.start(TRAIN="yes", TERM="dumb")
    config = box.wait_for("sshd-config")
    end(process)
    assert process.returncode == 0
    assert f"HostKey {box.state}/host_ed25519" in config
    assert f"AuthorizedKeysFile {box.state}/authorized_keys" in config
    assert "PasswordAuthentication no" in config
    assert (box.state / "authorized_keys").read_text() == "ssh-ed25519 AAAA orch\n"
    assert (box.state / "host_ed25519").read_text() == "a host key\n"
    assert (box.state / "host_ed25519").stat().st_mode & 0o777 == 0o600
    sessions = (box.home / ".ssh" / "environment").read_text().splitlines()
    assert "TRAIN=yes" in sessions
    assert not any(line.startswith(("TERM=", "HOME=", "PWD=")) for line in sessions)


def test_a_variable_of_several_lines_is_neither_cut_off_nor_taken_for_several(box: Box) -> None:
    box.program("sshd", SSHD)
    (box.keys / "command").write_text('printf "%s\\n" "$CERT" > "$STAND_IN/seen"')
    process = box.start(CERT="first\nLD_PRELOAD=/x\nlast", QUOTED='it\'s $HOME "x" = y')
    box.wait_for("sshd-config")
    assert box.wait_for("seen") == "first\nLD_PRELOAD=/x\nlast\n"
    end(process)
    sessions = (box.home / ".ssh" / "environment").read_text().splitlines()
    assert 'QUOTED=it\'s $HOME "x" = y' in sessions
    assert not any(line.startswith(("CERT=", "LD_PRELOAD=", "last")) for line in sessions)
    assert "CERT has several lines" in box.output


def test_the_settings_are_ones_that_openssh_accepts(box: Box) -> None:
    sshd, keygen = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin"), shutil.which("ssh-keygen")
    if sshd is None or keygen is None:
        pytest.skip("no sshd here (apt-get install openssh-server)")
    (box.keys / "ssh_host_ed25519_key").unlink()
    box.program("sshd", SSHD)
    process = box.start()
    box.wait_for("sshd-config")
    end(process)
    config = box.state / "sshd_config"
    checked = subprocess.run([sshd, "-t", "-f", str(config)], capture_output=True, text=True, check=False)
    # Without its own folder for privilege separation it stops before, or after, having read everything.
    complaints = [line for line in checked.stderr.splitlines() if "privilege separation" not in line]
    assert complaints == []


def test_a_restart_keeps_the_host_key(box: Box) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen here (apt-get install openssh-client)")
    (box.keys / "ssh_host_ed25519_key").unlink()
    box.program("sshd", SSHD)
    keys = []
    for _ in range(2):
        process = box.start()
        box.wait_for("sshd-config")
        end(process)
        keys.append((box.state / "host_ed25519").read_text())
        (box.folder / "sshd-config").unlink()
    assert keys[0] == keys[1]
    assert "OPENSSH PRIVATE KEY" in keys[0]


@pytest.mark.parametrize("manager", ["apt-get", "apk", "dnf", "microdnf", "yum"])
def test_a_missing_sshd_is_installed_by_whatever_the_image_has(box: Box, manager: str) -> None:
    (box.folder / "sshd").write_text(SSHD)
    text = f'#!/bin/sh\necho "$*" >> "$STAND_IN/installed"\ncat "$STAND_IN/sshd" > {box.bin}/sshd\n'
    box.program(manager, f"{text}chmod 755 {box.bin}/sshd\n")
    process = box.start()
    box.wait_for("sshd-config")
    end(process)
    assert "openssh" in (box.folder / "installed").read_text()


def test_the_command_runs_beside_ssh_which_stays_when_it_ends(box: Box) -> None:
    box.program("sshd", SSHD)
    (box.keys / "command").write_text('echo "I\'m $TRAIN" > done.txt; pwd >> done.txt')
    process = box.start(TRAIN="running")
    box.wait_for("sshd-config")
    for _ in range(400):
        if (box.work / "done.txt").is_file() and len((box.work / "done.txt").read_text().splitlines()) == 2:
            break
        time.sleep(0.025)
    assert process.poll() is None
    end(process)
    assert (box.work / "done.txt").read_text() == f"I'm running\n{box.work}\n"
    assert "the command ended with 0" in box.output


def test_a_command_that_dies_at_once_ends_the_container_with_its_status(box: Box) -> None:
    box.program("sshd", SSHD)
    (box.keys / "command").write_text("exit 3")
    process = box.start()
    assert process.wait(timeout=20) == 3
    end(process)


def test_an_image_without_any_way_to_sshd_says_so_and_still_runs_the_command(box: Box) -> None:
    (box.keys / "command").write_text("echo worked")
    process = box.start()
    assert process.wait(timeout=20) == 64
    assert "no SSH" in box.output
    assert "worked" in box.output
