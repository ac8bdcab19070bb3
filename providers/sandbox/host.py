"""The process that is the sandbox: a world with its machines, kept in a file, served, and ended when idle."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from providers import registry
from providers.env import ScaledEnv, SystemEnv
from providers.sandbox import scenario
from providers.sandbox.client import HOST, SandboxError
from providers.sandbox.control import Control
from providers.sandbox.detach import Setup, locked
from providers.sandbox.faults import Fault
from providers.sandbox.machines import SshMachines
from providers.sandbox.serve import environment, serving
from providers.sandbox.store import StateFile, read_state, write_private
from providers.sandbox.world import World

BOOT_SCALE = 0.04
_SSHD = "providers.sandbox.sshd"
_TICK_S = 0.5
_HANDOVER_S = 10.0
_HAPPENED_KEPT = 1000

_log = logging.getLogger(__name__)


class Sandbox:
    """Everything that lives in one state folder's sandbox. Make it inside a running event loop.

    Raises:
        SandboxError: the saved state, the scenario or an emulator cannot be used.
    """

    def __init__(self, folder: Path, setup: Setup) -> None:
        saved = read_state(folder / "state.json") or {}
        self.clock = _clock(saved, setup.speed)
        self.machines = SshMachines(folder / "machines")
        if setup.boot_scale is not None and setup.boot_scale < 0:
            raise SandboxError(f"the boot scale must be 0 or more, not {setup.boot_scale}")
        scale = setup.boot_scale if setup.boot_scale is not None else saved.get("boot_scale", BOOT_SCALE)
        seed = int.from_bytes(os.urandom(8)) if setup.seed is None else setup.seed
        self.world = World(self.clock, machines=self.machines, seed=seed, boot_scale=scale, folder=folder)
        _load_emulators(self.world, setup.emulators)
        self.scenario = setup.scenario or saved.get("scenario", scenario.DEFAULT)
        if not saved or setup.scenario is not None:
            self.world.faults.waiting = self.scenario_faults(self.scenario)
        self.port: int = saved.get("port", 0)
        self.token: str = saved.get("token") or SystemEnv().new_id(40)
        if saved:
            try:
                self._restore(saved, keep_faults=setup.scenario is None)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                _log.exception("the saved state cannot be used")
                raise SandboxError(f"the saved state in {folder} does not fit this program: {error!r}") from error
        self._file = StateFile(folder / "state.json", self._dump)
        self.world.changed = self.save
        self.ending = False
        self._complaints: set[str] = set()

    def _restore(self, saved: dict[str, Any], *, keep_faults: bool) -> None:
        # Machines first: an emulator's `load` starts those that run, and they must come back as they were.
        self.machines.load(saved["machines"])
        self.world.load(saved["world"])
        self.world.faults.happened = [tuple(row) for row in saved["happened"]]
        if keep_faults:
            self.world.faults.waiting = [Fault(**row) for row in saved["waiting"]]

    def _dump(self) -> dict[str, Any]:
        faults = self.world.faults
        return {
            "epoch": self.clock.epoch,
            "speed": self.clock.speed,
            "boot_scale": self.world.boot_scale,
            "scenario": self.scenario,
            "port": self.port,
            "token": self.token,
            "waiting": [asdict(fault) for fault in faults.waiting],
            "happened": faults.happened[-_HAPPENED_KEPT:],
            "machines": self.machines.dump(),
            "world": self.world.dump(),
        }

    def save(self) -> None:
        """Bring the state file up to date."""
        self._file.save()

    def advance(self) -> None:
        """Bring every provider up to the sandbox's time."""
        for emulator in self.world.emulators.values():
            emulator.advance()

    def tick(self) -> None:
        """Let time pass while nobody asks: machines boot and end. What fails is logged once."""
        try:
            self.advance()
            self.save()
        except Exception as error:
            if repr(error) not in self._complaints:
                self._complaints.add(repr(error))
                _log.exception("the sandbox could not move on")

    def busy(self) -> bool:
        """Whether any instance lives or bills."""
        records = (record for emulator in self.world.emulators.values() for record in emulator.records())
        return any(record.alive or record.billing for record in records)

    def scenario_faults(self, name: str) -> list[Fault]:
        """The faults of scenario *name* for the providers that are here."""
        kinds = {key: emulator.semantic for key, emulator in self.world.emulators.items()}
        return scenario.load(name, kinds, known=registry.entries())

    def about(self) -> dict[str, Any]:
        """What a client must know."""
        url = f"http://{HOST}:{self.port}"
        return {
            "base_url": url,
            "pid": os.getpid(),
            "epoch": self.clock.epoch,
            "speed": self.clock.speed,
            "scenario": self.scenario,
            "settings": environment(self.world, url),
        }


async def run(
    folder: Path,
    setup: Setup,
    announce: Callable[[dict[str, Any]], None],
    *,
    stopping: asyncio.Event | None = None,
) -> None:
    """Be the sandbox of *folder* until *stopping* is set, somebody asks for the end, or it has been idle.

    Args:
        announce: called once it answers.

    Raises:
        SandboxError: it cannot start, or another process is the sandbox of *folder*.
    """
    if importlib.util.find_spec("asyncssh") is None:
        raise SandboxError("the sandbox needs asyncssh: pip install 'gpu-orch[sandbox]'")
    stopping = stopping or asyncio.Event()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # One that is just ending still holds it for a moment.
    with locked(folder / "server.lock", _HANDOVER_S):
        sandbox = Sandbox(folder, setup)
        try:
            async with _served(sandbox, folder, stopping) as idle:
                _log.info("serving on port %d, scenario %s", sandbox.port, sandbox.scenario)
                announce({**sandbox.about(), "token": sandbox.token})
                await idle(setup.idle_s)
        finally:
            await sandbox.machines.aclose()
        _log.info("ended")


@contextlib.asynccontextmanager
async def _served(
    sandbox: Sandbox, folder: Path, stopping: asyncio.Event
) -> AsyncIterator[Callable[[float | None], Any]]:
    """Serve *sandbox*; yields what waits for its end."""
    real = SystemEnv()
    asked_at = real.monotonic()

    def asked() -> None:
        nonlocal asked_at
        asked_at = real.monotonic()

    async def until_idle(idle_s: float | None) -> None:
        warm = None
        while not await _set_within(stopping, _TICK_S):
            sandbox.tick()
            if sandbox.busy():
                asked()
                # Half a second of imports, done while the first machine boots, and only if there is one.
                warm = warm or asyncio.create_task(asyncio.to_thread(importlib.import_module, _SSHD))
            elif idle_s is not None and real.monotonic() - asked_at >= idle_s:
                _log.info("nobody has asked anything for %s s", idle_s)
                break
        sandbox.ending = True

    control = Control(sandbox, sandbox.token, stopping.set)
    async with contextlib.AsyncExitStack() as stack:
        try:
            served = serving(sandbox.world, port=sandbox.port, control=control, on_request=asked)
            url = await stack.enter_async_context(served)
        except OSError:  # somebody else has taken the port meanwhile
            url = await stack.enter_async_context(serving(sandbox.world, control=control, on_request=asked))
        sandbox.port = int(url.rsplit(":", 1)[1])
        sandbox.tick()
        known = {"pid": os.getpid(), "port": sandbox.port, "token": sandbox.token}
        about = {"epoch": sandbox.clock.epoch, "speed": sandbox.clock.speed, "scenario": sandbox.scenario}
        write_private(folder / "server.json", json.dumps(known | about).encode())
        try:
            yield until_idle
        finally:
            (folder / "server.json").unlink(missing_ok=True)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        return await asyncio.wait_for(event.wait(), seconds)
    return False


def _clock(saved: dict[str, Any], speed: float | None) -> ScaledEnv:
    """The saved clock goes on; a fresh one starts now. Another speed is possible only while nothing bills."""
    if speed is not None and speed <= 0:
        raise SandboxError(f"the speed must be greater than 0, not {speed}")
    if saved and speed in (None, saved["speed"]):
        return ScaledEnv(epoch=saved["epoch"], speed=saved["speed"])
    if any(line["closed_at"] is None for line in saved.get("world", {}).get("ledger", ())):
        raise SandboxError(
            f"machines from a run at speed {saved['speed']:g} still bill here; end them before the speed changes"
        )
    return ScaledEnv(epoch=SystemEnv().now().timestamp(), speed=speed or 1.0)


def _load_emulators(world: World, targets: tuple[str, ...]) -> None:
    wanted = [(target, target) for target in targets] or [
        (entry.name, entry.emulator) for entry in registry.entries().values() if entry.emulator
    ]
    for name, target in wanted:
        try:
            registry.load(target)(world)
        except (ImportError, AttributeError) as error:
            raise SandboxError(f"cannot load the emulator of {name} ({target}): {error}") from error
