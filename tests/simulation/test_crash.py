"""kill -9 at every boundary between us and the world: before and after each provider call and each commit.

After the kill a new process starts on the same store and the same cloud, and settles. The ledger judges: at most one
machine bills, and every machine that bills stands behind a running lease.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core import Orchestrator
from orchestrator.store.db import SqliteDatabase
from policies.request import Request
from providers.base import Context
from providers.env import ManualEnv
from providers.fake import FakeCloud, connect

VERBS = ("account", "offers", "price", "launch", "find", "owned", "terminate")


class Killed(BaseException):
    """The process is dead: nothing it would do next happens."""


class Reaper:
    """Counts boundaries, kills at one of them, and keeps the dead process from doing anything more."""

    def __init__(self, at: int) -> None:
        self.at, self.count, self.dead = at, 0, False

    def pass_by(self) -> None:
        if not self.dead:
            self.count += 1
            self.dead = self.count == self.at
        if self.dead:
            raise Killed


def mortal(adapter: Any, reaper: Reaper) -> Any:
    for verb in VERBS:
        call = getattr(adapter, verb)

        async def guarded(*args: Any, _call: Any = call) -> Any:
            reaper.pass_by()
            answer = await _call(*args)
            reaper.pass_by()
            return answer

        setattr(adapter, verb, guarded)
    return adapter


@contextlib.asynccontextmanager
async def process(state: Path, env: ManualEnv, cloud: FakeCloud, reaper: Reaper) -> AsyncIterator[Orchestrator]:
    def adapter(context: Context) -> Any:
        return mortal(connect(cloud, context), reaper)

    orch = Orchestrator(state_dir=state, settings={"HOME": str(state)}, env=env, adapters={"fake": adapter})
    async with orch:
        database = orch.store._db
        assert isinstance(database, SqliteDatabase)
        begin = database.begin

        @contextlib.asynccontextmanager
        async def mortal_begin(*, write: bool) -> AsyncIterator[Any]:
            if write:
                reaper.pass_by()
            async with begin(write=write) as tx:
                yield tx
            if write:
                reaper.pass_by()

        database.begin = mortal_begin  # type: ignore[method-assign]
        yield orch


def request() -> Request:
    return Request.of(gpu="l40", ready="none", name="only")


async def life(orch: Orchestrator) -> None:
    """What the killed process does: rent, then end."""
    [lease] = await orch.up(request())
    await orch.down(lease.id)


FAULTS = {
    "calm": [],
    "lost": [("lost", {"verb": "launch"})],
    "sold-out": [("sold_out", {"times": 2})],
    "boot-fails": [("fail_after_accept", {"times": 1})],
    "left": [("left", {"times": 1})],
    "lag": [("list_lag", {"seconds": 30, "times": 2}), ("lost", {"verb": "launch"})],
}


async def new_state(folder: Path, template: Path) -> None:
    """A state folder with a store that is migrated already, and an SSH key: making them is not under test."""
    if not template.exists():
        async with Orchestrator(state_dir=template, settings={}, env=ManualEnv(), adapters={}):
            pass
    shutil.copytree(template, folder)


async def one_kill(tmp_path: Path, at: int, faults: list[tuple[str, dict[str, Any]]]) -> bool:
    """Kill at boundary number *at*; returns whether it was ever reached."""
    env = ManualEnv(seed=at)
    cloud = FakeCloud(env)
    for kind, args in faults:
        cloud.faults.add(kind, **args)
    state = tmp_path / str(at)
    await new_state(state, tmp_path / "template")
    reaper = Reaper(at)
    try:
        async with process(state, env, cloud, reaper) as orch:
            await life(orch)
    except Killed:
        pass
    if not reaper.dead:
        assert cloud.ledger.billing() == []
        return False
    cloud.faults.clear()
    env.advance(20)  # the dead holder's claim is over (it has this very process's number)
    async with process(state, env, cloud, Reaper(0)) as orch:
        await orch.resume()
        cloud.advance()
        billing = cloud.ledger.billing()
        running = {lease.instance_id for lease in await orch.leases() if lease.state == "running"}
        assert len(billing) <= 1, f"boundary {at}: {billing} bill"
        assert set(billing) == running, f"boundary {at}: {billing} bill, {running} run by our records"
        assert all(lease.state == "running" for lease in await orch.leases()), "something is left unsettled"
        if running:
            await orch.down("only")
        # What turned up late because of the kill is watched, and ended on sight.
        env.advance(300)
        await orch.resume()
        cloud.advance()
        assert cloud.ledger.billing() == [], f"boundary {at}"
        # Nothing of it stands in the way of the next launch.
        [again] = await orch.up(request())
        assert again.state == "running"
        await orch.down(again.id)
        cloud.advance()
        assert cloud.ledger.billing() == []
    return True


async def every_kill(tmp_path: Path, scenario: str, *, step: int) -> int:
    """Kill at every *step*-th boundary; returns how many boundaries there are."""
    at = 1
    while await one_kill(tmp_path, at, FAULTS[scenario]):
        at += step
        assert at < 1000
    return at


async def test_a_kill_at_any_boundary_leaks_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    boundaries = await every_kill(tmp_path, "calm", step=1)
    assert boundaries > 25, f"only {boundaries} boundaries: the reaper is not wired in"


@pytest.mark.parametrize("scenario", sorted(set(FAULTS) - {"calm"}))
async def test_a_kill_amid_faults_leaks_nothing_and_doubles_nothing(tmp_path: Path, scenario: str) -> None:
    assert await every_kill(tmp_path, scenario, step=5) > 25


@pytest.mark.soak
@pytest.mark.parametrize("scenario", sorted(FAULTS))
async def test_a_kill_at_every_boundary_amid_faults(tmp_path: Path, scenario: str) -> None:
    assert await every_kill(tmp_path, scenario, step=1) > 25
