"""Machines in a bad way, with a real sshd: wedged drivers, full disks, mounts, chatty shells, reboots."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from providers import errors
from providers.base import Phase, Query
from providers.ssh import errors as ours
from tests.unit.ssh.bench import Bench, Machine, inside, marked, wait_for


@pytest.fixture
def mounts() -> Iterator[list[Path]]:
    """Unmounts what a test has mounted."""
    made: list[Path] = []
    if os.getuid() != 0:
        pytest.skip("only root can mount")
    yield made
    for place in reversed(made):
        if place.is_mount():
            subprocess.run(["umount", "-l", str(place)], check=True)


def _mount(mounts: list[Path], place: Path, *words: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *words, str(place)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"mounts are forbidden here: {done.stderr.strip()}")
    mounts.append(place)


async def test_what_a_tenant_has_mounted_is_unmounted_and_never_deleted(
    bench: Bench, desk: Machine, mounts: list[Path]
) -> None:
    ssh = bench.adapter()
    ref, made = await bench.launch(ssh)
    precious = desk.root / "precious"
    precious.mkdir()
    (precious / "thesis").write_text("ten years")
    place = desk.lock_dir / "work" / ref.token / "home" / "my data"
    _mount(mounts, place, "--bind", str(precious))
    assert await ssh.terminate(made)
    assert (precious / "thesis").read_text() == "ten years"
    assert not place.is_mount()
    assert desk.records() == []


async def test_a_tenant_who_fills_the_disk_is_ended_all_the_same(
    bench: Bench, desk: Machine, mounts: list[Path]
) -> None:
    small = desk.root / "small"
    _mount(mounts, small, "-t", "tmpfs", "-o", "size=2m", "tmpfs")
    desk.keys = small / "keys"
    desk.keys.write_text(desk.admin + "\n")
    desk.lock_dir = small / "lock"
    desk.stop()
    desk.start()
    bench.write()
    ssh = bench.adapter()
    _, made = await bench.launch(ssh)
    bench.run(made, "cat /dev/zero > everything; for n in 1 2 3 4 5 6 7 8; do echo x > more$n; done")
    with pytest.raises(OSError, match="No space"):
        (small / "probe").write_text("x" * 4096)
    (small / "probe").unlink()
    assert await ssh.terminate(made)
    assert desk.records() == []
    assert desk.keys.read_text() == desk.admin + "\n"


async def test_a_driver_that_hangs_keeps_nobody_from_looking_or_ending(bench: Bench, desk: Machine) -> None:
    ssh = bench.adapter()
    ref, made = await bench.launch(ssh, gpus=2)
    desk.tool.write_text("#!/bin/sh\nexec sleep 300\n")
    found = await ssh.find(ref)
    assert found is not None
    assert found.phase is Phase.RUNNING
    assert [one.token for one in await ssh.owned()] == [ref.token]
    assert await ssh.terminate(made)
    assert desk.records() == []


async def test_a_machine_that_answers_too_late_costs_a_listing_its_time_once(bench: Bench, desk: Machine) -> None:
    desk.tool.write_text("#!/bin/sh\necho x >> " + str(desk.root / "asked") + "\nexec sleep 300\n")
    with pytest.raises(errors.Unavailable):
        await bench.adapter().offers(Query())
    assert (desk.root / "asked").read_text().splitlines() == ["x"]  # the market waits 8 s, so one try is all there is


async def test_what_the_machine_says_is_not_taken_for_the_clients_own_words(bench: Bench, desk: Machine) -> None:
    """A profile complains of its own, and then the connection breaks in the middle of a launch."""
    ssh = bench.adapter()
    ref = await bench.attempt(ssh)
    noisy = desk.root / "noisy"
    noisy.write_text(
        '#!/bin/sh\ncase $SSH_ORIGINAL_COMMAND in *launch) /bin/sh -c "$SSH_ORIGINAL_COMMAND" >/dev/null\n'
        "echo 'cat: /etc/motd.private: Permission denied' >&2\nexit 255;; esac\n"
        'exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    noisy.chmod(0o755)
    desk.keys.write_text(f'command="{noisy}" {desk.admin}\n')
    with pytest.raises(errors.OutcomeUnknown):
        await ssh.launch(ref.offer, ref.spec, ref.token)
    assert desk.records() == [ref.token]
    found = await ssh.find(ref)
    assert found is not None
    assert await ssh.terminate(found)


async def test_a_greeting_without_a_line_end_hides_no_answer(bench: Bench, desk: Machine) -> None:
    noisy = desk.root / "noisy"
    noisy.write_text('#!/bin/sh\nprintf "Welcome! "\nexec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n')
    noisy.chmod(0o755)
    desk.keys.write_text(f'command="{noisy}" {desk.admin}\n')
    ssh = bench.adapter()
    _, made = await bench.launch(ssh)
    assert await ssh.terminate(made)


async def test_after_a_reboot_an_expired_lease_does_not_make_its_machine_look_taken(
    bench: Bench, desk: Machine
) -> None:
    ssh = bench.adapter()
    ref, _ = await bench.launch(ssh, gpus=2)
    record = desk.lock_dir / "alloc" / ref.token
    record.write_text(record.read_text().replace("ends=-", f"ends={int(time.time()) - 600}"))
    [offer] = [one for one in (await ssh.offers(Query())).offers if one.gpu_count == 2]
    assert offer.available
    newer = await bench.attempt(ssh, gpus=2)
    await ssh.launch(newer.offer, newer.spec, newer.token)
    assert desk.records() == [newer.token]


async def test_processes_are_found_below_a_folder_that_is_reached_by_a_link(bench: Bench, desk: Machine) -> None:
    (desk.root / "large").mkdir()
    (desk.root / "link").symlink_to(desk.root / "large")
    desk.extra.append(f'work_dir = "{desk.root / "link"}"')
    bench.write()
    ssh = bench.adapter()
    ref, made = await bench.launch(ssh)
    bench.run(made, "env -i setsid /bin/sleep 305 >/dev/null 2>&1 < /dev/null & exit")
    wait_for(lambda: inside(desk.root / "large"))
    assert marked(ref.token) == []
    assert await ssh.terminate(made)
    assert inside(desk.root / "large") == []


async def test_a_draft_is_never_written_through_a_link_that_lies_in_wait(bench: Bench, desk: Machine) -> None:
    ssh = bench.adapter()
    ref = await bench.attempt(ssh)
    precious = desk.root / "precious"
    precious.write_text("ten years")
    guess = desk.root / "guess"  # runs as the machine's script does, and so knows the number of the process
    guess.write_text(
        f'#!/bin/sh\nmkdir -p {desk.lock_dir}/alloc && ln -s {precious} "{desk.lock_dir}/alloc/.{ref.token}.$$"\n'
        f"exec sh -s\n"
    )
    guess.chmod(0o755)
    desk.keys.write_text(f'command="exec {guess}" {desk.admin}\n')
    made = await ssh.launch(ref.offer, ref.spec, ref.token)
    assert precious.read_text() == "ten years"
    assert await ssh.terminate(made)


async def test_a_host_key_that_cannot_be_pinned_is_not_trusted(bench: Bench, desk: Machine) -> None:
    pins = bench.root / "machines.pins"
    pins.mkdir()
    (pins / "desk").symlink_to(bench.root / "nowhere" / "desk")
    with pytest.raises(errors.Forbidden) as caught:
        await bench.adapter().offers(Query())
    assert caught.value.code == "pins"


def test_what_is_half_made_is_not_called_absent() -> None:
    assert isinstance(ours.from_status("desk", 24, "neither set up nor undone"), errors.OutcomeUnknown)
