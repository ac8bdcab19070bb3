"""An allocation's life on a machine behind a real sshd."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from providers import errors
from providers.base import Instance, Phase, Query
from tests.unit.ssh.bench import LOGIN, STRANGER, Bench, Machine, marked, running, start, wait_for

Begun = Callable[[subprocess.Popen[bytes]], subprocess.Popen[bytes]]


@pytest.fixture
def begun() -> Iterator[Begun]:
    """Ends processes that a test has begun, however it goes."""
    with contextlib.ExitStack() as stack:

        def keep(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield keep


async def test_a_gpu_is_taken_found_listed_and_given_back(bench: Bench, desk: Machine) -> None:
    ssh = bench.adapter()
    ref, made = await bench.launch(ssh)
    assert (made.id, made.phase, made.token) == (f"desk/{ref.token}", Phase.RUNNING, ref.token)
    assert made.address is not None
    assert (made.address.port, made.address.user) == (desk.port, LOGIN)
    record = desk.record(ref.token)
    assert (record["gpus"], record["phase"], record["owner"]) == (desk.uuids[0], "ready", ref.spec.owner)
    found = await bench.adapter().find(ref)
    assert found is not None
    assert (found.id, found.handle, found.address) == (made.id, made.handle, made.address)
    [mine] = await ssh.owned()
    assert (mine.id, mine.token, mine.owner) == (made.id, ref.token, ref.spec.owner)
    assert await ssh.terminate(made)
    assert desk.records() == []
    assert await ssh.owned() == []
    again = await ssh.find(ref)
    assert again is not None
    assert again.phase is Phase.GONE


async def test_a_session_sees_its_own_gpu_and_its_own_folder(bench: Bench, desk: Machine) -> None:
    ssh = bench.adapter()
    _, first = await bench.launch(ssh, env={"GREETING": "it's me"})
    said = bench.run(first, 'echo "$CUDA_VISIBLE_DEVICES|$GREETING|$HOME|$PWD|$TMPDIR"').stdout.strip()
    gpu, greeting, home, folder, temp = said.split("|")
    assert (gpu, greeting) == (desk.uuids[0], "it's me")
    assert home == folder == str(desk.lock_dir / "work" / str(first.token) / "home")
    assert Path(temp).stat().st_mode & 0o777 == 0o700
    assert bench.run(first, "exit 7").returncode == 7
    assert await ssh.terminate(first)


async def test_a_login_shell_is_fenced_in_too(bench: Bench, desk: Machine) -> None:
    ssh = bench.adapter()
    _, made = await bench.launch(ssh)
    said = bench.shell(made, "echo $CUDA_VISIBLE_DEVICES; nvidia-smi -L | wc -l\n")
    assert said.split() == [desk.uuids[0], "2"]
    assert await ssh.terminate(made)


async def test_files_travel_by_sftp_and_scp(bench: Bench, desk: Machine, tmp_path: Path) -> None:
    ssh = bench.adapter()
    _, made = await bench.launch(ssh)
    (tmp_path / "data.txt").write_text("forty-two")
    for mode, name in (("-s", "by-sftp"), ("-O", "by-scp")):
        done = bench.copy(made, tmp_path / "data.txt", name, mode)
        assert done.returncode == 0, done.stderr
        assert bench.run(made, f"cat {name}").stdout == "forty-two"
    assert await ssh.terminate(made)
    assert not (desk.lock_dir / "work" / str(made.token)).exists()


async def test_the_command_runs_once_however_often_the_launch_is_sent(bench: Bench, desk: Machine) -> None:
    ssh = bench.adapter()
    ref, made = await bench.launch(ssh, cmd="echo $CUDA_VISIBLE_DEVICES >> ran; sleep 300")
    assert (await ssh.launch(ref.offer, ref.spec, ref.token)).handle == made.handle
    ran = desk.lock_dir / "work" / ref.token / "home" / "ran"
    wait_for(ran.exists)
    wait_for(ran.read_text)
    assert ran.read_text().split() == [desk.uuids[0]]
    assert marked(ref.token)
    assert await ssh.terminate(made)
    assert marked(ref.token) == []


async def test_what_the_tenant_left_running_ends_with_the_lease_and_nothing_else_does(
    bench: Bench, desk: Machine, begun: Begun
) -> None:
    ssh = bench.adapter()
    bystander = begun(start("sleep", "300"))
    ref, made = await bench.launch(ssh)
    # Elsewhere, in a session of its own; without our mark, but in our folder; and one that ignores the polite request.
    for command in (
        "cd /; setsid sleep 301 >/dev/null 2>&1 < /dev/null & exit",
        "env -i setsid /bin/sleep 302 >/dev/null 2>&1 < /dev/null & exit",
        "setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' >/dev/null 2>&1 </dev/null & exit",
    ):
        assert bench.run(made, command).returncode == 0
    folder = str(desk.lock_dir / "work" / ref.token / "home")
    hidden = [pid for pid in running("/bin/sleep", "302") if os.readlink(f"/proc/{pid}/cwd") == folder]
    assert len(hidden) == 1
    assert len(marked(ref.token)) >= 2
    open_session = begun(bench.open(made, "sleep 303"))
    wait_for(lambda: len(marked(ref.token)) >= 3)
    assert await ssh.terminate(made)
    assert marked(ref.token) == []
    assert hidden[0] not in running("/bin/sleep", "302")  # one that waits to be reaped has no command line any more
    assert open_session.wait(timeout=10) != 0
    assert bystander.poll() is None
    assert desk.process is not None
    assert desk.process.poll() is None


async def test_the_key_opens_nothing_after_the_end_and_other_lines_stay(bench: Bench, desk: Machine) -> None:
    ssh = bench.adapter()
    others = "# a comment\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9999999999999999999999999999999999999999999 somebody"
    desk.keys.write_text(desk.keys.read_text() + others)  # no newline at its end
    before = desk.keys.read_text()
    _, made = await bench.launch(ssh)
    assert bench.run(made, "true").returncode == 0
    line = desk.keys.read_text().splitlines()[-1]
    assert line.startswith('command="')
    assert "restrict,pty" in line
    assert await ssh.terminate(made)
    assert desk.keys.read_text() == before + "\n"
    denied = bench.run(made, "true")
    assert denied.returncode == 255
    assert "Permission denied" in denied.stderr


async def test_terminating_twice_or_by_handle_alone_is_as_good_as_once(bench: Bench, desk: Machine) -> None:
    _, made = await bench.launch(bench.adapter())
    stored = Instance(provider="ssh", account=made.account, id=made.id, handle=made.handle, token=made.token)
    assert await bench.adapter().terminate(stored)
    assert await bench.adapter().terminate(stored)
    assert await bench.adapter().terminate(dataclasses.replace(stored, handle={}, token=None))
    assert desk.records() == []


async def test_a_launch_that_comes_after_the_end_makes_nothing(bench: Bench, desk: Machine) -> None:
    ssh = bench.adapter()
    ref = await bench.attempt(ssh)
    gone = Instance(provider="ssh", account=ref.account, id=f"desk/{ref.token}", token=ref.token)
    first = await bench.attempt(ssh)
    assert await ssh.terminate(await ssh.launch(first.offer, first.spec, first.token))
    assert await ssh.terminate(gone)  # nothing is there yet: its answer was lost, and the script still waits
    with pytest.raises(errors.OfferGone):
        await ssh.launch(ref.offer, ref.spec, ref.token)
    assert desk.records() == []


async def test_the_timer_on_the_machine_ends_the_lease_and_never_the_next_one(bench: Bench, desk: Machine) -> None:
    ssh = bench.adapter()
    soon = ssh.env.now() + timedelta(seconds=3)
    ref, made = await bench.launch(ssh, ends_at=soon, cmd="sleep 304")
    assert marked(ref.token, "ORCH_OWN_TIMER")
    await asyncio.to_thread(wait_for, lambda: desk.records() == [], 60)
    assert marked(ref.token) == []
    assert not (desk.lock_dir / "work" / ref.token).exists()
    found = await ssh.find(ref)
    assert found is not None
    assert found.phase is Phase.GONE
    await asyncio.to_thread(wait_for, lambda: not marked(ref.token, "ORCH_OWN_TIMER"))
    # Ended early: its timer goes with it, and whoever comes next has nothing to fear.
    ref, made = await bench.launch(ssh, ends_at=ssh.env.now() + timedelta(seconds=600))
    assert marked(ref.token, "ORCH_OWN_TIMER")
    assert await ssh.terminate(made)
    assert marked(ref.token, "ORCH_OWN_TIMER") == []


async def test_after_a_reboot_an_expired_lease_is_refused_entry_and_cleared_by_the_next_launch(
    bench: Bench, desk: Machine
) -> None:
    ssh = bench.adapter()
    ref, made = await bench.launch(ssh, gpus=2, ends_at=ssh.env.now() + timedelta(seconds=600))
    for pid in marked(ref.token, "ORCH_OWN_TIMER"):
        os.kill(pid, 9)  # what a reboot does
    record = desk.lock_dir / "alloc" / ref.token
    record.write_text(record.read_text().replace(f"ends={desk.record(ref.token)['ends']}", "ends=1000"))
    enter = desk.lock_dir / "work" / ref.token / "enter"
    enter.write_text(enter.read_text().replace("ends='", "ends='1000' was='"))
    refused = bench.run(made, "true")
    assert (refused.returncode, refused.stderr.strip()) == (254, "this lease is over")
    newer = await bench.attempt(ssh, gpus=2)
    await ssh.launch(newer.offer, newer.spec, newer.token)
    assert desk.records() == [newer.token]
    assert (desk.lock_dir / "ended" / ref.token).exists()


async def test_nothing_of_a_workload_shows_on_the_machines_command_lines(bench: Bench, desk: Machine) -> None:
    ssh = bench.adapter()
    ref, made = await bench.launch(ssh, env={"TOKEN_OF_MINE": "swordfish"}, ends_at=ssh.env.now() + timedelta(hours=1))
    lines = [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline")]
    assert not [line for line in lines if b"swordfish" in line]
    assert (desk.lock_dir / "work" / ref.token / "env").stat().st_mode & 0o077 == 0
    assert await ssh.terminate(made)


async def test_two_installations_never_hold_one_gpu(bench: Bench, desk: Machine) -> None:
    mine, theirs = bench.adapter(), bench.adapter(STRANGER)
    ours, others = await bench.attempt(mine, gpus=2), await bench.attempt(theirs, gpus=2)
    both = await asyncio.gather(
        mine.launch(ours.offer, ours.spec, ours.token),
        theirs.launch(others.offer, others.spec, others.token),
        return_exceptions=True,
    )
    [made] = [one for one in both if isinstance(one, Instance)]
    [error] = [one for one in both if isinstance(one, BaseException)]
    assert isinstance(error, errors.NoCapacity)
    assert desk.records() == [made.token]
    loser = theirs if made.owner == mine.context.owner else mine
    assert await loser.owned() == []
    with pytest.raises(errors.InvalidRequest):
        await loser.terminate(made)
    assert desk.records() == [made.token]
    listing = await loser.offers(Query(gpus=("l40",)))
    assert [offer.available for offer in listing.offers] == [False, False]
