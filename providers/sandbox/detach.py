"""Starts, finds and stops the one sandbox of a state folder: a process of its own that all commands share.

Below the state folder, in ``sandbox/``: `server.json` (where it answers; mode 0600), `state.json` (everything that
must survive), `server.log`, `machines/` (scratch folders) and two lock files: `ensure.lock` is held while a command
starts a sandbox, `server.lock` by the sandbox itself for as long as it lives. Nothing but the standard library is
imported here.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from providers.env import SystemEnv
from providers.sandbox.client import NoAnswer, Running, SandboxError, call

__all__ = ["Running", "SandboxError", "Setup", "ensure", "folder", "foreground", "running", "stop"]

IDLE_S = 600.0
_START_S = 30.0
_STOP_S = 15.0
_POLL_S = 0.02
_TAIL_LINES = 15
_LOG_LIMIT = 1_000_000
# The sandbox needs no keys, so it does not get any: what it starts could read its environment.
_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHON", "COVERAGE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How a sandbox starts. None means: as it was when it ended, else the default.

    Attributes:
        speed: sandbox seconds per real second (default 1).
        boot_scale: factor on the providers' usual boot times (default 0.04: seconds instead of minutes).
        scenario: see `providers.sandbox.scenario` (default ``default``).
        seed: makes ids repeatable (default: random).
        emulators: ``module:Class`` of each emulator; empty means those of all registered providers.
        idle_s: real seconds after its last machine and its last request at which it ends; None means never.
    """

    speed: float | None = None
    boot_scale: float | None = None
    scenario: str | None = None
    seed: int | None = None
    emulators: tuple[str, ...] = ()
    idle_s: float | None = IDLE_S

    def argv(self) -> list[str]:
        """The same as options of ``python -m providers.sandbox``."""
        words = []
        for name in ("speed", "boot_scale", "scenario", "seed", "idle_s"):
            if (value := getattr(self, name)) is not None:
                words.append(f"--{name.replace('_', '-')}={value}")
        return words + [f"--emulator={target}" for target in self.emulators]


def folder(state_dir: Path | str) -> Path:
    """Where the sandbox of *state_dir* keeps everything."""
    return Path(state_dir).expanduser().absolute() / "sandbox"


def ensure(
    state_dir: Path | str,
    *,
    speed: float | None = None,
    boot_scale: float | None = None,
    scenario: str | None = None,
    seed: int | None = None,
    emulators: tuple[str, ...] = (),
    idle_s: float | None = IDLE_S,
) -> Running:
    """The sandbox of *state_dir*, started if it does not run. One that runs is taken as it is.

    However many commands call this at the same moment, one sandbox is started.

    Raises:
        SandboxError: it could not be started; the message has the reason, or the end of its log.
    """
    if found := running(state_dir):
        return found
    where = folder(state_dir)
    where.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(where / "ensure.lock", _START_S):
        if found := _look(where):
            return found
        from providers.sandbox import scenario as scenarios

        setup = Setup(
            speed=speed,
            boot_scale=boot_scale,
            scenario=None if scenario is None else scenarios.absolute(scenario),
            seed=seed,
            emulators=emulators,
            idle_s=idle_s,
        )
        _start(where, setup)
        found = _look(where)
    if found is None:
        raise SandboxError(f"the sandbox ended right after it had started{_tail(where)}")
    return found


def running(state_dir: Path | str) -> Running | None:
    """The sandbox of *state_dir*, or None if none runs; a stale `server.json` is removed.

    Raises:
        SandboxError: it runs, but does not answer within 10 s.
    """
    where = folder(state_dir)
    if found := _look(where):
        return found
    with contextlib.suppress(SandboxError, FileNotFoundError), locked(where / "ensure.lock", 0):
        # Under the lock nobody else is starting one, so what nobody answers for is stale. Looked at again, because
        # a start may have ended since.
        if found := _look(where):
            return found
        (where / "server.json").unlink()
    return None


def stop(state_dir: Path | str, *, forget: bool = False) -> bool:
    """End the sandbox of *state_dir*; returns whether one ran. Its state stays, so the next start goes on with it.

    Args:
        forget: remove the state as well, with the scratch folders of all machines.

    Raises:
        SandboxError: it does not end within 15 s.
    """
    where = folder(state_dir)
    found = running(state_dir)
    if found is not None:
        with contextlib.suppress(NoAnswer):
            found.call("POST", "/stop")
    if not where.is_dir():
        return False
    try:
        with locked(where / "server.lock", _STOP_S):
            if forget:
                shutil.rmtree(where / "machines", ignore_errors=True)
                (where / "state.json").unlink(missing_ok=True)
    except SandboxError:
        raise SandboxError(f"the sandbox{f' (pid {found.pid})' if found else ''} does not end") from None
    return found is not None


async def foreground(
    state_dir: Path | str, announce: Callable[[dict[str, Any]], None], setup: Setup | None = None
) -> None:
    """Serve the sandbox of *state_dir* in this process until the task is cancelled or somebody stops it.

    Args:
        announce: called once it answers, with `base_url`, `settings`, `pid`, `token`, `epoch`, `speed`, `scenario`.
        setup: by default one that never ends because it is idle.

    Raises:
        SandboxError: one runs already, or it cannot start.
    """
    if found := running(state_dir):
        raise SandboxError(f"a sandbox runs already (pid {found.pid}, {found.base_url})")
    from providers.sandbox import host

    await host.run(folder(state_dir), setup or Setup(idle_s=None), announce)


@contextlib.contextmanager
def locked(file: Path, timeout_s: float) -> Iterator[None]:
    """Hold *file* locked against other processes.

    Raises:
        SandboxError: somebody else holds it for longer than *timeout_s*.
    """
    clock = SystemEnv()
    deadline = clock.monotonic() + timeout_s
    with open(file, "ab") as held:
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if clock.monotonic() >= deadline:
                    raise SandboxError(f"another process holds {file}") from None
                time.sleep(_POLL_S)
        yield


def _look(where: Path) -> Running | None:
    """Who answers with the token in `server.json`, if anybody does."""
    try:
        known = json.loads((where / "server.json").read_bytes())
        pid, port, token = int(known["pid"]), int(known["port"]), str(known["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    try:
        os.kill(pid, 0)
        told = call(port, token, "GET", "/environment")
    except (ProcessLookupError, PermissionError, NoAnswer):
        return None
    except SandboxError as error:
        raise SandboxError(f"{error}; `kill -9 {pid}` ends it, and the next start goes on with its state") from None
    return Running(
        pid=pid,
        port=port,
        token=token,
        epoch=told["epoch"],
        speed=told["speed"],
        scenario=told["scenario"],
        settings=told["settings"],
    )


def _start(where: Path, setup: Setup) -> None:
    """Start the process and wait until it answers.

    It tells through a pipe how that went. The process that we start forks once more and ends, so the sandbox is
    nobody's child, has no terminal, and needs nobody to wait for it.
    """
    log = where / "server.log"
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(where / "server.log.1")
    hear, tell = os.pipe()
    try:
        with open(log, "ab") as out:
            # -P: the working folder must not be importable.
            command = [sys.executable, "-P", "-m", "providers.sandbox", f"--folder={where}", f"--tell={tell}"]
            child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [*command, *setup.argv()],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=where,
                env=_environment(),
                start_new_session=True,
                pass_fds=(tell,),
            )
        os.close(tell)
        tell = -1
        told = _hear(hear)
        child.wait()
    finally:
        os.close(hear)
        if tell >= 0:
            os.close(tell)
    if "ok" in told:
        return
    reasons = [line.removeprefix("error ") for line in told if line.startswith("error ")]
    raise SandboxError(f"the sandbox could not start: {json.loads(reasons[0])}" if reasons else _unclear(where, told))


def _hear(pipe: int) -> list[str]:
    """The lines that the new process tells, until it closes the pipe (it ends, or it says ``ok``)."""
    clock, data = SystemEnv(), b""
    deadline = clock.monotonic() + _START_S
    while (left := deadline - clock.monotonic()) > 0:
        if not select.select([pipe], [], [], left)[0]:
            break
        chunk = os.read(pipe, 65536)
        if not chunk:
            return data.decode().splitlines()
        data += chunk
    told = data.decode().splitlines()
    for line in told:
        if line.startswith("pid "):  # half started, and nobody would know of it
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line[4:]), signal.SIGKILL)
    return [*told, "late"]


def _unclear(where: Path, told: list[str]) -> str:
    what = f"did not answer within {_START_S:.0f} s" if "late" in told else "ended at once"
    return f"the sandbox {what}{_tail(where)}"


def _tail(where: Path) -> str:
    log = where / "server.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:] if log.exists() else []
    return "\n".join([f"; the end of {log}:", *lines]) if lines else f"; {log} is empty"


def _environment() -> dict[str, str]:
    """What the sandbox's process gets of ours. It finds the same modules as this process does."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    return {**kept, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
