"""The SSH machines, asked by the system's own `ssh` and `scp`."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from providers.sandbox.machines import SshMachines

from .conftest import Client, KeyPair, new_key

ADDRESS = ("198.18.0.2", 22)


def rent(machines: SshMachines, key: KeyPair, name: str = "vm-1", **changes: Any) -> int:
    """Start one L40 machine; returns its loopback port."""
    machine: dict[str, Any] = {
        "host": ADDRESS[0],
        "port": ADDRESS[1],
        "user": "root",
        "authorized_keys": [key.public],
        "gpu": "NVIDIA L40",
        "memory_mib": 46068,
        "count": 1,
    }
    machine |= changes
    machines.start(name, **machine)
    host, port = machines.dial(machine["host"], machine["port"])
    assert host == "127.0.0.1"
    return port


async def until_alive(file: Path) -> int:
    """The process id that a command wrote to *file*, once it has."""
    for _ in range(500):
        if file.exists() and (text := file.read_text()).endswith("\n"):
            return int(text)
        await asyncio.sleep(0.02)
    raise AssertionError(f"{file} never came")


async def until_dead(pid: int) -> bool:
    for _ in range(250):
        if not alive(pid):
            return True
        await asyncio.sleep(0.02)
    return False


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Where nobody waits for orphans (a container without an init), the dead stay as zombies.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


async def test_a_command_runs_in_the_scratch_folder_and_streams_come_back_apart(
    machines: SshMachines, client: Client, key: KeyPair
) -> None:
    port = rent(machines, key)
    done = await client.ssh(port, 'pwd; echo "$HOME"; echo oops >&2; command -v nvidia-smi; exit 7')
    folder = machines.folder("vm-1")
    assert done.status == 7
    assert done.out.decode().splitlines() == [str(folder), str(folder), str(folder / "bin" / "nvidia-smi")]
    assert done.err == b"oops\n"


async def test_an_address_of_no_machine_stays_as_it_is(machines: SshMachines, key: KeyPair) -> None:
    rent(machines, key)
    assert machines.dial("198.18.0.2", 23) == ("198.18.0.2", 23)
    assert machines.dial("example.org", 22) == ("example.org", 22)


async def test_another_key_or_another_user_is_refused(
    machines: SshMachines, client: Client, key: KeyPair, tmp_path: Path
) -> None:
    port = rent(machines, key, user="ubuntu")
    stranger = new_key(tmp_path / "id_stranger")
    for user, used in (("ubuntu", stranger), ("root", key)):
        done = await client.ssh(port, "true", user=user, key=used)
        assert done.status == 255
        assert b"Permission denied" in done.err
    assert (await client.ssh(port, "true", user="ubuntu")).status == 0


async def test_lines_that_are_no_keys_are_ignored(machines: SshMachines, client: Client, key: KeyPair) -> None:
    port = rent(machines, key, authorized_keys=["", "# a comment", "ssh-ed25519 rubbish", key.public])
    assert (await client.ssh(port, "true")).status == 0


async def test_the_status_of_a_killed_command_is_not_success(
    machines: SshMachines, client: Client, key: KeyPair
) -> None:
    port = rent(machines, key)
    assert (await client.ssh(port, "kill -TERM $$")).status not in (0, None)
    assert (await client.ssh(port, "no-such-command")).status == 127


async def test_input_and_big_output_arrive_whole(machines: SshMachines, client: Client, key: KeyPair) -> None:
    port = rent(machines, key)
    data = os.urandom(3_000_000)
    there = await client.ssh(port, "cat > data; sha256sum < data | cut -d' ' -f1", stdin=data)
    assert there.out.decode().strip() == hashlib.sha256(data).hexdigest()
    back = await client.ssh(port, "cat data")
    assert back.out == data


async def test_a_shell_without_a_terminal_reads_its_commands_from_stdin(
    machines: SshMachines, client: Client, key: KeyPair
) -> None:
    port = rent(machines, key)
    done = await client.ssh(port, stdin=b"echo one\necho $((1 + 1))\nexit 3\n")
    assert (done.status, done.out) == (3, b"one\n2\n")


async def test_a_terminal_is_a_controlling_terminal(machines: SshMachines, client: Client, key: KeyPair) -> None:
    port = rent(machines, key)
    done = await client.ssh(port, "test -t 0 && test -t 1 && stty size < /dev/tty; exit 5", flags=("-tt",))
    assert done.status == 5
    assert len(done.out.split()) == 2
    shell = await client.ssh(port, flags=("-tt",), stdin=b"echo $((40 + 2))\nexit 4\n")
    assert shell.status == 4
    assert b"42\r\n" in shell.out


async def test_nothing_of_the_sandbox_s_environment_leaks(
    machines: SshMachines, client: Client, key: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "secret")
    port = rent(machines, key, env={"JOB": "7", "HOME": "/elsewhere"})
    done = await client.ssh(port, "env")
    found = dict(line.split("=", 1) for line in done.out.decode().splitlines())
    assert found["JOB"] == "7"
    assert found["HOME"] == str(machines.folder("vm-1"))
    assert "RUNPOD_API_KEY" not in found
    assert {name for name in found if "PYTEST" in name or "SSH_AUTH" in name} == set()


@pytest.mark.parametrize("flags", [(), ("-O",)], ids=["sftp", "scp"])
async def test_files_are_copied_both_ways(
    machines: SshMachines, client: Client, key: KeyPair, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    port = rent(machines, key)
    source, back = tmp_path / "source.bin", tmp_path / "back.bin"
    source.write_bytes(os.urandom(300_000))
    up = await client.scp(port, str(source), "root@127.0.0.1:model.bin", *flags)
    assert (up.status, up.err) == (0, b"")
    assert (machines.folder("vm-1") / "model.bin").read_bytes() == source.read_bytes()
    assert (await client.scp(port, "root@127.0.0.1:model.bin", str(back), *flags)).status == 0
    assert back.read_bytes() == source.read_bytes()


async def test_copies_cannot_name_files_outside_the_machine(
    machines: SshMachines, client: Client, key: KeyPair, tmp_path: Path
) -> None:
    port = rent(machines, key)
    done = await client.scp(port, "root@127.0.0.1:../../id_test", str(tmp_path / "stolen"))
    assert done.status != 0
    assert not (tmp_path / "stolen").exists()


async def test_a_machine_that_is_taken_away_takes_its_processes_and_files_along(
    machines: SshMachines, client: Client, key: KeyPair
) -> None:
    port = rent(machines, key)
    folder = machines.folder("vm-1")
    script = "setsid sh -c 'echo $$ > far; exec sleep 600' > /dev/null 2>&1 & echo $$ > near; exec sleep 600"
    session = asyncio.create_task(client.ssh(port, script))
    near, far = await until_alive(folder / "near"), await until_alive(folder / "far")
    assert alive(near)
    assert alive(far)
    machines.stop("vm-1")
    machines.stop("vm-1")
    assert not folder.exists()
    assert (await session).status == 255
    assert await until_dead(near)
    assert await until_dead(far)
    assert (await client.ssh(port, "true")).status == 255
    assert machines.dial(*ADDRESS) == ADDRESS


async def test_a_command_whose_client_went_away_cannot_write_on(
    machines: SshMachines, client: Client, key: KeyPair
) -> None:
    port = rent(machines, key)
    session = asyncio.create_task(client.ssh(port, "echo $$ > pid; exec yes"))
    pid = await until_alive(machines.folder("vm-1") / "pid")
    session.cancel()
    await asyncio.gather(session, return_exceptions=True)
    assert await until_dead(pid)


async def test_machines_come_back_with_their_files_host_key_and_port(
    machines: SshMachines, client: Client, key: KeyPair, tmp_path: Path
) -> None:
    port = rent(machines, key)
    await client.ssh(port, "echo kept > file")
    known = client.known_hosts.read_text()
    state = machines.dump()
    await machines.aclose()
    again = SshMachines(tmp_path / "machines")
    again.load(state)
    try:
        again.start(
            "vm-1",
            **{name: state[0][name] for name in ("host", "port", "user")},
            authorized_keys=[],
            gpu="another",
            memory_mib=1,
            count=9,
        )
        assert again.dial(*ADDRESS) == ("127.0.0.1", port)
        done = await client.ssh(port, "cat file; nvidia-smi -L | wc -l", flags=("-o", "StrictHostKeyChecking=yes"))
        assert (done.status, done.out.split()) == (0, [b"kept", b"1"])
        assert client.known_hosts.read_text() == known
    finally:
        await again.aclose()


async def test_a_taken_port_does_not_keep_a_machine_away(
    machines: SshMachines, client: Client, key: KeyPair, tmp_path: Path
) -> None:
    port = rent(machines, key)
    state = machines.dump()
    again = SshMachines(tmp_path / "other")
    again.load(state)
    try:
        other = again.dial(*ADDRESS)[1]
        assert other != port
        assert (await client.ssh(other, "true")).status in (0, 255)
    finally:
        await again.aclose()


async def test_folders_of_machines_that_nobody_knows_are_removed(tmp_path: Path) -> None:
    (tmp_path / "machines" / "old" / "bin").mkdir(parents=True)
    machines = SshMachines(tmp_path / "machines")
    machines.load([])
    assert list((tmp_path / "machines").iterdir()) == []


async def test_keys_that_look_alike_have_folders_of_their_own(machines: SshMachines) -> None:
    names = ["a/b", "a_b", "a:b", "../x", ".", "x" * 300]
    folders = {machines.folder(name) for name in names}
    assert len(folders) == len(names)
    assert {folder.parent for folder in folders} == {machines.folder("a").parent}


async def test_the_machine_reports_its_gpus(machines: SshMachines, client: Client, key: KeyPair) -> None:
    port = rent(machines, key, count=2)
    query = "nvidia-smi --query-gpu=index,name,memory.total,count,foo --format=csv,noheader"
    done = await client.ssh(port, query)
    assert done.out.decode().splitlines() == [
        "0, NVIDIA L40, 46068 MiB, 2, [N/A]",
        "1, NVIDIA L40, 46068 MiB, 2, [N/A]",
    ]
