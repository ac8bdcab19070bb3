"""Machines behind a real sshd, and an inventory of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ssh.bench import Bench, Machine, need_sshd, privilege_separation


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Makes machines that answer; they are ended after the test with all that ran there."""
    need_sshd()
    made: list[Machine] = []

    def make(name: str = "desk", **more: Any) -> Machine:
        made.append(Machine(tmp_path / name, name, **more))
        made[-1].start()
        return made[-1]

    privilege_separation()
    yield make
    for machine in made:
        machine.sweep()
        machine.stop()


@pytest.fixture
def desk(machines: Callable[..., Machine]) -> Machine:
    """A workstation with two L40."""
    return machines()


@pytest.fixture
def bench(tmp_path: Path, desk: Machine) -> Bench:
    """One machine and its inventory."""
    return Bench(tmp_path, [desk])
