"""The detached sandbox: one per state folder, whoever is killed when."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from providers import registry
from providers.sandbox import detach, processes
from providers.sandbox.client import Running, SandboxError

from .conftest import Client, KeyPair

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="counts processes in /proc")
EMULATORS = ("tiny_emulator:TinyEmulator",)
HERE = Path(__file__).parent


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder; whatever runs for it is ended."""
    monkeypatch.syspath_prepend(str(HERE))
    folder = tmp_path / "state"
    yield folder
    for pid in servers(folder):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not servers(folder))
    for machine in (detach.folder(folder) / "machines").glob("*"):
        processes.kill_marked(str(machine))


def servers(state: Path) -> list[int]:
    """The processes that are a sandbox of *state*."""
    wanted = f"--folder={detach.folder(state)}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_for(check: Callable[[], Any], seconds: float = 15.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.02)
    raise AssertionError("it never came about")


def start(state: Path, **options: Any) -> Running:
    options = {"scenario": "calm", "boot_scale": 0.0, "seed": 1, "emulators": EMULATORS, **options}
    return detach.ensure(state, **options)


def ask(running: Running, method: str, path: str, body: Any = None) -> Any:
    """One request to the tiny provider."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    headers = {"authorization": f"Bearer {running.settings['TINY_API_KEY']}"}
    connection.request(method, f"/tiny{path}", None if body is None else json.dumps(body), headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def rent(running: Running, key: str = "", name: str = "vm") -> dict[str, Any]:
    """A running machine."""
    made = ask(running, "POST", "/machines", {"name": name, "key": key})
    found: dict[str, Any] = ask(running, "GET", f"/machines/{made['id']}")
    return found


def test_a_second_start_finds_the_first(state: Path) -> None:
    first, second = start(state), start(state, speed=5.0, scenario="outage")
    assert (first.pid, first.port, first.token) == (second.pid, second.port, second.token)
    assert (second.speed, second.scenario) == (1.0, "calm")
    assert servers(state) == [first.pid]
    assert (detach.folder(state) / "server.json").stat().st_mode & 0o777 == 0o600
    assert (detach.folder(state) / "state.json").stat().st_mode & 0o777 == 0o600


def test_four_commands_at_once_start_one_sandbox(state: Path) -> None:
    script = (
        f"import sys; sys.path[:0] = {[str(HERE), str(HERE.parents[2])]!r}\n"
        "from providers.sandbox import detach\n"
        f"print(detach.ensure({str(state)!r}, scenario='calm', emulators={EMULATORS!r}).pid)"
    )
    pipe = subprocess.PIPE
    commands = [subprocess.Popen([sys.executable, "-c", script], stdout=pipe, stderr=pipe) for _ in range(4)]
    told = [command.communicate(timeout=60) for command in commands]
    assert [command.returncode for command in commands] == [0] * 4, told
    assert {int(out) for out, _ in told} == set(servers(state))
    assert len(servers(state)) == 1


def test_killing_whoever_started_it_does_not_end_it(state: Path) -> None:
    script = (
        f"import sys, time; sys.path[:0] = {[str(HERE), str(HERE.parents[2])]!r}\n"
        "from providers.sandbox import detach\n"
        f"print(detach.ensure({str(state)!r}, scenario='calm', emulators={EMULATORS!r}).pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        os.killpg(starter.pid, signal.SIGKILL)
    found = detach.running(state)
    assert found is not None
    assert found.pid == pid
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    parent, session, terminal = int(fields[1]), int(fields[3]), int(fields[4])
    assert starter.pid not in (parent, session)
    assert session != pid  # so it can never get a terminal
    assert terminal == 0


def test_it_gets_no_keys_of_whoever_started_it(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "very-secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    assert b"very-secret" not in Path(f"/proc/{start(state).pid}/environ").read_bytes()


async def test_a_killed_sandbox_comes_back_as_it_was(state: Path, client: Client, key: KeyPair) -> None:
    first = start(state)
    first.faults.add("sold_out", "tiny", subject="unlucky", times=3)
    assert ask(first, "POST", "/machines", {"name": "unlucky", "key": ""}) == {"error": "sold out"}
    vm, ended = rent(first, key.public), rent(first, name="short")
    ask(first, "DELETE", f"/machines/{ended['id']}")
    host, port = first.dial(vm["host"], 22)
    assert (await client.ssh(port, "echo kept > file; setsid sleep 600 > /dev/null 2>&1 & echo $!")).status == 0
    folder = next((detach.folder(state) / "machines").glob("tiny_*"))
    left = [int(p.parent.name) for p in Path("/proc").glob("[0-9]*/cwd") if is_in(p, folder)]
    assert left
    os.kill(first.pid, signal.SIGKILL)

    again = start(state, scenario=None)
    assert again.pid != first.pid
    assert (again.port, again.token, again.epoch) == (first.port, first.token, first.epoch)
    assert ask(again, "GET", f"/machines/{vm['id']}") == vm
    assert again.dial(vm["host"], 22) == (host, port)
    strict = ("-o", "StrictHostKeyChecking=yes")
    assert (await client.ssh(port, "cat file", flags=strict)).out == b"kept\n"
    assert [line["closed_at"] is None for line in again.bill()["lines"]] == [True, False]
    assert [row["alive"] for row in again.instances()] == [True, False]
    told = again.faults.list()
    assert [(fault["kind"], fault["times"]) for fault in told["waiting"]] == [("sold_out", 2)]
    assert told["happened"] == [{"provider": "tiny", "kind": "sold_out", "subject": "unlucky"}]
    # What still ran on the machine did not survive what was a reboot to it.
    wait_for(lambda: not [pid for pid in left if is_in(Path(f"/proc/{pid}/cwd"), folder)])


def is_in(link: Path, folder: Path) -> bool:
    try:
        return Path(os.readlink(link)) == folder
    except OSError:
        return False


def test_nothing_that_was_told_is_lost_whenever_it_is_killed(state: Path) -> None:
    told = []
    for number in range(3):
        running = start(state, scenario=None)
        told += [rent(running, name=f"vm-{number}-{n}")["id"] for n in range(3)]
        os.kill(running.pid, signal.SIGKILL)
    again = start(state, scenario=None)
    assert [row["id"] for row in again.instances()] == told
    assert len(set(told)) == 9
    hosts = [row["host"] for row in ask(again, "GET", "/machines")]
    assert len(set(hosts)) == 9


def test_it_ends_when_nobody_needs_it_any_more(state: Path) -> None:
    running = start(state, idle_s=0.3)
    vm = rent(running)
    time.sleep(1.2)
    assert servers(state) == [running.pid]
    ask(running, "DELETE", f"/machines/{vm['id']}")
    wait_for(lambda: not servers(state))
    assert not (detach.folder(state) / "server.json").exists()
    assert detach.running(state) is None
    assert [row["id"] for row in start(state).instances()] == [vm["id"]]


def test_stop_ends_it_and_keeps_the_state(state: Path) -> None:
    assert detach.stop(state) is False
    vm = rent(start(state))
    assert detach.stop(state) is True
    wait_for(lambda: not servers(state))
    assert detach.running(state) is None
    assert detach.stop(state) is False
    again = start(state)
    assert [row["id"] for row in again.instances()] == [vm["id"]]
    assert detach.stop(state, forget=True) is True
    assert start(state).instances() == []
    assert not list((detach.folder(state) / "machines").glob("*"))


def test_a_start_right_after_a_stop_gets_one_that_stays(state: Path) -> None:
    first = start(state)
    vm = rent(first)
    first.call("POST", "/stop")
    again = start(state)
    assert again.pid != first.pid
    wait_for(lambda: servers(state) == [again.pid])
    assert ask(again, "GET", f"/machines/{vm['id']}") == vm


def test_all_registered_providers_come_back_with_the_same_settings(state: Path) -> None:
    first = start(state, emulators=(), scenario=None)
    assert first.scenario == "default"
    for entry in registry.entries().values():
        if entry.url_setting is not None:
            assert first.settings[entry.url_setting].startswith("http://127.0.0.1:")
        assert entry.configured({"HOME": str(state), **first.settings}), entry.name
    os.kill(first.pid, signal.SIGKILL)
    again = start(state, emulators=(), scenario=None)
    assert again.settings == first.settings


def test_a_stale_file_is_removed(state: Path) -> None:
    file = detach.folder(state) / "server.json"
    file.parent.mkdir(parents=True)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        for pid in (2**22 - 1, os.getpid()):
            file.write_text(json.dumps({"pid": pid, "port": silent.getsockname()[1], "token": "x"}))
            assert detach.running(state) is None
            assert not file.exists()
    file.write_text("{")
    assert detach.running(state) is None
    assert start(state).pid in servers(state)


def test_somebody_else_on_its_port_is_not_it(state: Path, tmp_path: Path) -> None:
    running = start(state)
    other = tmp_path / "other"
    file = detach.folder(other) / "server.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"pid": running.pid, "port": running.port, "token": "another"}))
    assert detach.running(other) is None
    assert detach.running(state) is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"emulators": ("nowhere_at_all:Emulator",)}, "nowhere_at_all"),
        ({"emulators": ("tiny_emulator:Missing",)}, "Missing"),
        ({"scenario": "no-such-scenario"}, "no-such-scenario"),
        ({"speed": -1.0}, "speed must be greater than 0"),
        ({"boot_scale": -1.0}, "boot scale must be 0 or more"),
    ],
)
def test_a_start_that_cannot_work_says_why(state: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(SandboxError, match="could not start") as caught:
        start(state, **options)
    assert words in str(caught.value)
    assert detach.running(state) is None
    assert servers(state) == []


def test_a_start_that_dies_shows_the_end_of_its_log(state: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken_emulator.py"
    broken.write_text("raise RuntimeError('the reason of it all')\n")
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(SandboxError, match="the reason of it all"):
            start(state, emulators=("broken_emulator:Emulator",))
    finally:
        sys.path.remove(str(tmp_path))


def test_an_unreadable_state_is_not_thrown_away(state: Path) -> None:
    file = detach.folder(state) / "state.json"
    file.parent.mkdir(parents=True)
    for text in ("{", '{"version": 99, "state": {}}'):
        file.write_text(text)
        with pytest.raises(SandboxError, match=r"state\.json"):
            start(state)
        assert file.read_text() == text


def test_the_control_api_wants_its_token(state: Path) -> None:
    running = start(state)
    for path, status in (("health", 200), ("environment", 401), ("bill", 401), ("stop", 401)):
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
        connection.request("POST" if path == "stop" else "GET", f"/_sandbox/{path}")
        assert connection.getresponse().status == status
        connection.close()


def test_a_lost_host_bills_no_more_and_cannot_be_lost_twice(state: Path) -> None:
    running = start(state)
    vm = rent(running)
    running.lose("tiny", vm["id"])
    assert ask(running, "GET", f"/machines/{vm['id']}")["state"] == "gone"
    assert running.dial(vm["host"], 22) == (vm["host"], 22)
    with pytest.raises(SandboxError, match="no living instance"):
        running.lose("tiny", vm["id"])
    with pytest.raises(SandboxError, match="no provider 'huge'"):
        running.lose("huge", vm["id"])


def test_faults_are_added_listed_and_cleared(state: Path) -> None:
    running = start(state, scenario="default")
    assert {fault["kind"] for fault in running.faults.list()["waiting"]} == {"sold_out"}
    running.faults.scenario("random:3")
    assert len(running.faults.list()["waiting"]) > 1
    running.faults.clear()
    assert running.faults.list()["waiting"] == []
    with pytest.raises(SandboxError, match="did you mean 'sold_out'"):
        running.faults.add("soldout")
    with pytest.raises(SandboxError, match="provider 'huge'"):
        running.faults.add("sold_out", "huge")
    running.faults.add("rate_limit", "tiny", retry_after=3)
    assert running.faults.list()["waiting"][0]["args"] == {"retry_after": 3}


def test_the_clock_is_the_one_that_clients_share(state: Path) -> None:
    running = start(state, speed=1000.0)
    vm = rent(running)
    env = running.env()
    before = env.now()
    time.sleep(0.1)
    assert (env.now() - before).total_seconds() >= 100
    told = running.clock()
    assert (told["epoch"], told["speed"]) == (running.epoch, 1000.0)
    assert float(running.bill()["total_usd"]) >= 0.01  # 100 s at 0.36 USD/h
    detach.stop(state)
    with pytest.raises(SandboxError, match="still bill here"):
        start(state, speed=2.0)
    again = start(state)
    assert (again.epoch, again.speed) == (running.epoch, 1000.0)
    ask(again, "DELETE", f"/machines/{vm['id']}")
    detach.stop(state)
    assert start(state, speed=2.0).speed == 2.0


async def test_in_the_foreground_it_serves_until_it_is_cancelled(state: Path) -> None:
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    setup = detach.Setup(emulators=EMULATORS, scenario="calm", boot_scale=0.0)
    serving = asyncio.create_task(detach.foreground(state, told.put_nowait, setup))
    answer = await told.get()
    found = await asyncio.to_thread(detach.running, state)
    assert found is not None
    assert answer["base_url"] == found.base_url
    assert (
        answer["settings"] == found.settings == {"TINY_API_KEY": "tiny-key", "ORCH_TINY_URL": f"{found.base_url}/tiny"}
    )
    assert (await asyncio.to_thread(start, state)).pid == os.getpid()
    vm = await asyncio.to_thread(rent, found)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert detach.running(state) is None
    assert [row["id"] for row in start(state).instances()] == [vm["id"]]
    with pytest.raises(SandboxError, match="runs already"):
        await detach.foreground(state, told.put_nowait, setup)


async def test_stop_ends_one_in_the_foreground(state: Path) -> None:
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    serving = asyncio.create_task(detach.foreground(state, told.put_nowait, detach.Setup(emulators=EMULATORS)))
    await told.get()
    assert await asyncio.to_thread(detach.stop, state) is True
    await serving
