"""What goes wrong on the way to a machine and on it, with a real sshd: typed, narrow, and never taken for an end."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from providers import errors, naming
from providers.base import LaunchSpec, Phase, Query
from providers.env import SystemEnv
from providers.ssh import script
from providers.ssh.inventory import Machine as Entry
from tests.unit.ssh.bench import LOGIN, OWNER, STRANGER, Bench, Machine, marked, new_key

Makes = Callable[..., Machine]


async def test_another_host_key_is_a_clear_error_and_the_first_one_is_pinned(bench: Bench, desk: Machine) -> None:
    await bench.adapter().offers(Query())
    desk.stop()
    (desk.root / "host").unlink()
    new_key(desk.root / "host")
    desk.start()
    with pytest.raises(errors.AuthFailed, match="host key is not the pinned one") as caught:
        await bench.adapter().offers(Query())
    assert (caught.value.code, caught.value.scope) == ("host-key", "host")
    shutil.rmtree(bench.root / "machines.pins")
    assert (await bench.adapter().offers(Query())).offers


async def test_a_host_key_in_the_inventory_counts_at_first_contact(bench: Bench, desk: Machine) -> None:
    desk.extra.append(f'host_key = "{desk.host_key}"')
    bench.write()
    assert (await bench.adapter().offers(Query())).offers
    desk.extra[-1] = f'host_key = "{new_key(bench.root / "other")}"'
    bench.write()
    with pytest.raises(errors.AuthFailed) as caught:
        await bench.adapter().offers(Query())
    assert caught.value.code == "host-key"


async def test_a_key_that_the_machine_does_not_know_is_refused_as_such_in_every_verb(
    bench: Bench, desk: Machine
) -> None:
    ssh = bench.adapter()
    ref, made = await bench.launch(ssh)
    kept = desk.keys.read_text()
    desk.keys.write_text("")
    for call in (ssh.owned(), ssh.find(ref), ssh.terminate(made), ssh.launch(ref.offer, ref.spec, ref.token)):
        with pytest.raises(errors.AuthFailed) as caught:
            await call
        assert caught.value.code == "key-refused"
    desk.keys.write_text(kept)
    assert await ssh.terminate(made)


async def test_a_machine_that_is_off_is_marked_and_the_others_are_offered(bench: Bench, machines: Makes) -> None:
    box = machines("box", gpus=1)
    bench.machines.append(box)
    bench.write()
    ssh = bench.adapter()
    ref, made = await bench.launch(ssh, machine="box")
    box.stop()
    listing = await ssh.offers(Query())
    assert {(one.host_id, one.available) for one in listing.offers} == {("desk", True), ("box", False)}
    assert listing.partial
    assert "box" in listing.note
    # Nothing is proven about it, and what could be seen elsewhere is not lost.
    mine, other = await bench.launch(ssh, machine="desk")
    with pytest.raises(errors.Unavailable) as caught:
        await ssh.owned()
    assert caught.value.seen is not None
    assert [one.token for one in caught.value.seen] == [mine.token]
    for call in (ssh.find(ref), ssh.terminate(made)):
        with pytest.raises(errors.Unavailable):
            await call
    box.start()
    assert await ssh.terminate(made)
    assert await ssh.terminate(other)


async def test_a_machine_that_left_the_inventory_could_not_be_looked_at_until_it_is_retired(
    bench: Bench, desk: Machine, machines: Makes
) -> None:
    ssh = bench.adapter()
    ref, made = await bench.launch(ssh)
    other = machines("other")
    bench.write(other.entry())
    for call in (ssh.find(ref), ssh.terminate(made)):
        with pytest.raises(errors.Unavailable) as caught:
            await call
        assert caught.value.code == "not-in-inventory"
    assert (await ssh.account()) == ref.account
    bench.write(other.entry() + '\n[[machine]]\nname = "desk"\nretired = true\n')
    found = await ssh.find(ref)
    assert found is not None
    assert found.phase is Phase.GONE
    assert await ssh.terminate(made)
    assert {one.host_id for one in (await ssh.offers(Query())).offers} == {"other"}


async def test_another_machine_behind_the_same_name_proves_nothing(bench: Bench, desk: Machine) -> None:
    ssh = bench.adapter()
    ref, made = await bench.launch(ssh)
    ref = msgspec.structs.replace(ref, instance_id=made.id, handle=made.handle)
    kept = desk.lock_dir.rename(desk.root / "kept")
    for call in (ssh.find(ref), ssh.terminate(made)):
        with pytest.raises(errors.Unavailable) as caught:
            await call
        assert caught.value.code == "other-machine"
    if desk.lock_dir.exists():
        shutil.rmtree(desk.lock_dir)
    kept.rename(desk.lock_dir)
    assert await ssh.terminate(made)


async def test_gpus_on_which_somebody_computes_are_not_taken(bench: Bench, desk: Machine) -> None:
    ssh = bench.adapter()
    ref = await bench.attempt(ssh, gpus=2)
    desk.computes((desk.uuids[0], os.getpid()))
    with pytest.raises(errors.NoCapacity) as caught:
        await ssh.launch(ref.offer, ref.spec, ref.token)
    assert caught.value.scope == "offer"
    assert desk.records() == []
    offers = {one.gpu_count: one for one in (await ssh.offers(Query())).offers}
    assert (offers[1].available, offers[2].available) == (True, False)
    single, made = await bench.launch(ssh, gpus=1)
    assert desk.record(single.token)["gpus"] == desk.uuids[1]
    assert await ssh.terminate(made)


async def test_a_machine_with_other_gpus_than_the_inventory_says_is_not_rented(bench: Bench, desk: Machine) -> None:
    ssh = bench.adapter()
    ref = await bench.attempt(ssh)
    desk.plug("NVIDIA A10", 23028, 2, key="swapped")
    with pytest.raises(errors.WrongGpu):
        await ssh.launch(ref.offer, ref.spec, ref.token)
    with pytest.raises(errors.WrongGpu):
        await ssh.resolve(ref.offer, bench.spec())
    listing = await ssh.offers(Query())
    assert [one.available for one in listing.offers] == [False, False]
    assert "NVIDIA A10" in listing.note
    desk.tool.unlink()
    with pytest.raises(errors.WrongGpu):
        await ssh.launch(ref.offer, ref.spec, ref.token)


async def test_the_machines_own_key_is_never_given_to_a_tenant(bench: Bench, desk: Machine) -> None:
    ssh = bench.adapter()
    offer = await bench.offer(ssh)
    spec = await ssh.resolve(offer, bench.spec(public_key=desk.admin))
    with pytest.raises(errors.Forbidden) as caught:
        await ssh.launch(offer, spec, spec.name)
    assert caught.value.code == "same-key"
    assert desk.records() == []


async def test_what_cannot_be_set_up_is_undone(bench: Bench, desk: Machine) -> None:
    (desk.root / "full").write_text("no folder")
    desk.extra.append(f'work_dir = "{desk.root / "full" / "work"}"')
    bench.write()
    ssh = bench.adapter()
    ref = await bench.attempt(ssh)
    before = desk.keys.read_text()
    with pytest.raises(errors.BootFailed) as caught:
        await ssh.launch(ref.offer, ref.spec, ref.token)
    assert (caught.value.code, caught.value.left) == ("setup", ())
    assert desk.records() == []
    assert desk.keys.read_text() == before
    assert await ssh.find(ref) is None


async def test_a_launch_whose_client_is_killed_is_one_allocation_or_none(bench: Bench, desk: Machine) -> None:
    ssh = bench.adapter()
    for wait_s in (0.1, 0.25, 0.4, 0.6):
        ref = await bench.attempt(ssh)
        task = asyncio.create_task(ssh.launch(ref.offer, ref.spec, ref.token))
        await asyncio.sleep(wait_s)
        task.cancel()  # kills the ssh client, as kill -9 of orch would
        await asyncio.gather(task, return_exceptions=True)
        again = await bench.adapter().launch(ref.offer, ref.spec, ref.token)
        assert desk.records() == [ref.token]
        assert len(desk.keys.read_text().splitlines()) == 2
        assert bench.run(again, "echo in").stdout == "in\n"
        assert await bench.adapter().terminate(again)
        assert len(desk.keys.read_text().splitlines()) == 1


async def test_a_script_that_dies_half_way_is_finished_or_undone_under_its_token(bench: Bench, desk: Machine) -> None:
    ssh = bench.adapter()
    first = await bench.attempt(ssh)
    await ssh.terminate(await ssh.launch(first.offer, first.spec, first.token))
    ref = await bench.attempt(ssh)
    # As power loss leaves it: the record is there, the key is not.
    record = desk.lock_dir / "alloc" / ref.token
    record.write_text(
        f"token={ref.token}\nowner={OWNER}\nlease=x\nlogin={LOGIN}\nuid={os.getuid()}\ngpus={desk.uuids[0]}\n"
        f"created=2026-11-22T12:00:00Z\nends=-\nphase=making\ndir={desk.lock_dir}/work/{ref.token}\n"
        f"keys={desk.keys}\ndedicated=no\n"
    )
    found = await ssh.find(ref)
    assert found is not None
    assert (found.phase, found.address) == (Phase.PENDING, None)
    again = await ssh.launch(ref.offer, ref.spec, ref.token)
    assert bench.run(again, "echo in").stdout == "in\n"
    record.write_text(record.read_text().replace("phase=ready", "phase=making"))
    assert await ssh.terminate(again)
    assert desk.records() == []


async def test_the_lock_that_somebody_holds_is_waited_for_and_never_taken_for_an_end(
    bench: Bench, desk: Machine
) -> None:
    ssh = bench.adapter()
    ref, made = await bench.launch(ssh)
    holder = await asyncio.create_subprocess_exec("flock", str(desk.lock_dir / "lock"), "sleep", "30")
    await asyncio.sleep(0.3)
    assert not await ssh.terminate(made)
    found = await ssh.find(ref)
    assert found is not None
    assert found.phase is Phase.RUNNING
    holder.send_signal(signal.SIGKILL)
    await holder.wait()
    for child in _holders(desk):  # the command that flock ran holds it, too
        os.kill(child, signal.SIGKILL)
    assert await ssh.terminate(made)


def _holders(desk: Machine) -> list[int]:
    """Processes that have the lock file open."""
    lock, found = str(desk.lock_dir / "lock"), []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) == lock:
                found.append(int(link.parts[2]))
        except OSError:
            continue
    return sorted(set(found))


async def test_what_a_login_shell_says_is_not_taken_for_an_answer(bench: Bench, desk: Machine) -> None:
    noisy = desk.root / "noisy"
    noisy.write_text(
        "#!/bin/sh\necho 'orch-own/1 begin x'\necho 'orch-own/1 end x 0'\necho 'Welcome!'\n"
        'exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    noisy.chmod(0o755)
    desk.keys.write_text(f'command="{noisy}" {desk.admin}\n')
    ssh = bench.adapter()
    _, made = await bench.launch(ssh)
    assert [one.token for one in await ssh.owned()] == [made.token]
    assert await ssh.terminate(made)


async def test_a_lock_place_that_cannot_be_written_says_what_to_do(bench: Bench, desk: Machine) -> None:
    (desk.root / "file").write_text("")
    desk.extra.append(f'lock_dir = "{desk.root / "file" / "lock"}"')
    bench.write(desk.entry().replace(f'lock_dir = "{desk.lock_dir}"\n', ""))
    ssh = bench.adapter()
    ref = await bench.attempt(ssh)
    with pytest.raises(errors.Forbidden, match="install -d -m 1777") as caught:
        await ssh.launch(ref.offer, ref.spec, ref.token)
    assert (caught.value.code, caught.value.scope) == ("lock-place", "host")


async def test_images_and_ports_are_refused_before_anything_is_asked(bench: Bench) -> None:
    ssh = bench.adapter()
    offer = await bench.offer(ssh)
    with pytest.raises(errors.InvalidRequest):
        await ssh.resolve(offer, bench.spec(image="ubuntu"))
    with pytest.raises(errors.Unclassified) as caught:
        await ssh.resolve(offer, bench.spec(ports=("8080/http",)))
    assert caught.value.hold_s == 0
    for env in ({"CUDA_VISIBLE_DEVICES": "0"}, {"BAD NAME": "x"}):
        spec = await ssh.resolve(offer, bench.spec(env=env))
        with pytest.raises(errors.InvalidRequest):
            await ssh.launch(offer, spec, spec.name)


async def test_check_names_what_would_make_a_launch_fail(bench: Bench, desk: Machine, machines: Makes) -> None:
    said = await bench.adapter().check()
    assert {"account", "key", "rights", "quota", "clock_skew", "machine desk"} <= said.keys()
    assert said["quota"] == "2 of 2 GPUs are free"
    assert abs(int(said["clock_skew"].removesuffix(" s"))) <= 2
    assert "fix" not in said
    box = machines("box", gpus=1)
    bench.machines.append(box)
    bench.write()
    box.stop()
    said = await bench.adapter().check()
    assert said["key"].startswith("accepted by 1 of 2 machines")
    assert "box" in said["fix"]
    desk.stop()
    with pytest.raises(errors.Unavailable):
        await bench.adapter().check()


def test_two_unix_users_see_the_same_lock(tmp_path: Path) -> None:
    """Without sshd: the script itself, run as two users, of two installations."""
    if os.getuid() != 0:
        pytest.skip("only root can be two users")
    if shutil.which("flock") is None:
        pytest.skip("no flock on this computer: apt-get install util-linux")
    shared = Path(f"/tmp/orch-test-{os.getpid()}")  # pytest's own folder is closed to others
    shared.mkdir(mode=0o755)
    try:
        desk = Machine(shared / "desk")
        shared.joinpath("desk").chmod(0o755)
        first = _as_user(desk, 65534, OWNER, naming.make(OWNER, "leaseaaaa", 1), tmp_path)
        assert "made" in first
        assert (desk.lock_dir / "alloc").stat().st_mode & 0o7777 == 0o1777
        second = _as_user(desk, 65533, STRANGER, naming.make(STRANGER, "leaseaaaa", 1), tmp_path)
        assert "0 of 2 GPUs are free" in second
        stolen = _as_user(desk, 65533, OWNER, naming.make(OWNER, "leaseaaaa", 1), tmp_path, verb="terminate")
        assert "only that user can end it" in stolen
        assert len(desk.records()) == 1
        assert "gone" in _as_user(desk, 65534, OWNER, naming.make(OWNER, "leaseaaaa", 1), tmp_path, verb="terminate")
        assert "made" in _as_user(desk, 65533, STRANGER, naming.make(STRANGER, "leaseaaaa", 2), tmp_path)
    finally:
        shutil.rmtree(shared)


def _as_user(desk: Machine, uid: int, owner: str, token: str, folder: Path, verb: str = "launch") -> str:
    home = desk.root.parent / f"home-{uid}"
    if not home.exists():
        home.mkdir(mode=0o700)
        os.chown(home, uid, uid)
        desk.root.parent.chmod(0o1777)
        desk.root.chmod(0o1777)
        desk.tool.parent.chmod(0o755)
    entry = Entry(name="desk", users=(f"user{uid}",), lock_dir=str(desk.lock_dir), authorized_keys="~/.ssh/keys")
    key = folder / f"key-{uid}"
    public = key.with_name(key.name + ".pub").read_text() if key.exists() else new_key(key)
    spec = LaunchSpec(name=token, owner=owner, lease="leaseaaaa", ssh_public_key=public)
    gpus = " ".join(desk.uuids)
    values = script.launch_values(spec, entry, gpus=gpus, count=2, machine_id="", now=SystemEnv().now())
    text = script.build(
        verb, entry, login=f"user{uid}", nonce="n", owner=owner, values={**values, "TOKEN": token, "MACHINE_ID": ""}
    )
    env = {"HOME": str(home), "PATH": f"{desk.tool.parent}:/usr/bin:/bin"}
    done = subprocess.run(
        ["sh", "-s"], input=text, capture_output=True, text=True, user=uid, group=uid, extra_groups=[], env=env, cwd="/"
    )
    return done.stdout


def test_a_dedicated_login_is_emptied_whatever_the_environment_says(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can be another user")
    shared = Path(f"/tmp/orch-test-{os.getpid()}")
    shared.mkdir(mode=0o755)
    uid = 65531
    token = naming.make(OWNER, "leaseaaaa", 1)
    try:
        desk = Machine(shared / "desk")
        assert "made" in _as_user(desk, uid, OWNER, token, tmp_path)
        record = desk.lock_dir / "alloc" / token
        record.write_text(record.read_text().replace("dedicated=no", "dedicated=yes"))
        hidden = subprocess.Popen(["sleep", "300"], user=uid, group=uid, extra_groups=[], env={}, cwd="/")
        assert marked(token) == []
        assert "gone" in _as_user(desk, uid, OWNER, token, tmp_path, verb="terminate")
        assert hidden.wait(timeout=5) != 0
        assert desk.records() == []
    finally:
        shutil.rmtree(shared)
