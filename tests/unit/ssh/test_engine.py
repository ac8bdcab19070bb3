"""The engine on own machines behind a real sshd: rent, end, and sweep with one machine off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.core import Orchestrator
from orchestrator.errors import OutcomeUnclear
from orchestrator.models import Event
from policies.request import Request
from providers import naming
from providers.base import LaunchSpec
from providers.ssh.adapter import Ssh
from tests.unit.ssh.bench import Bench, Machine


def _orchestrator(bench: Bench, tmp_path: Path) -> Orchestrator:
    settings = {"ORCH_SSH_INVENTORY": str(bench.file), "HOME": str(bench.root)}
    return Orchestrator(settings=settings, state_dir=tmp_path / "state", adapters={"ssh": Ssh})


async def test_two_leases_follow_each_other_and_the_second_finds_nothing_of_the_first(
    bench: Bench, desk: Machine, tmp_path: Path
) -> None:
    async with _orchestrator(bench, tmp_path) as orch:
        for _ in range(2):
            [lease] = await orch.up(Request.of(gpu="l40"))
            assert (lease.provider, lease.state) == ("ssh", "running")
            home = desk.lock_dir / "work" / lease.attempts[0].token / "home"
            assert [file.name for file in home.iterdir()] == [".profile"]
            (home / "mine").write_text("x")
            [ended] = await orch.down(lease.id)
            assert ended.state == "ended"
            assert ended.receipt is not None
            assert ended.receipt.cost_usd
            assert not home.exists()
        assert desk.records() == []


async def test_one_machine_that_is_off_does_not_keep_the_sweep_from_the_others(
    bench: Bench, desk: Machine, machines: Callable[..., Machine], tmp_path: Path
) -> None:
    box = machines("box", gpus=1)
    bench.machines.append(box)
    bench.write()
    told: list[Event] = []
    async with _orchestrator(bench, tmp_path) as orch:
        ssh = orch.engine.providers["ssh"]
        token = naming.make(orch.engine.owner, "leasezzzz", 1)
        spec = LaunchSpec(name=token, owner=orch.engine.owner, lease="leasezzzz", ssh_public_key=bench.public_key)
        offer = await bench.offer(ssh, machine="desk")  # type: ignore[arg-type]
        await ssh.launch(offer, spec, token)
        record = desk.lock_dir / "alloc" / token
        record.write_text(record.read_text().replace("created=20", "created=19"))  # older than the grace
        box.stop()
        with pytest.raises(OutcomeUnclear, match="box") as caught:
            await orch.gc(delete=True, on_event=told.append)
        [stray] = caught.value.strays
        assert (stray.token, stray.ended) == (token, True)
        assert desk.records() == []
        assert [event.kind for event in told if "box" in event.message] == ["source-failed"]
