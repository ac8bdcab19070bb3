"""The main job, as a person does it."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import House

pytestmark = pytest.mark.xdist_group("sandbox")


def test_up_fails_over_runs_answers_and_ends_with_nothing_left(house: House) -> None:
    up = house.orch("up", "--gpu", "l40", "--policy", "cheapest-zero-egress", "--name", "job")
    assert up.returncode == 0, up.stderr
    assert "attempt-failed" in up.stderr
    show = house.json("show", "job")
    lease = show.get("lease", show)
    assert lease["state"] == "running"
    assert len(lease["attempts"]) >= 2
    assert lease["attempts"][0]["error"]["type"] in ("NoCapacity", "OfferGone")
    assert lease["gpu"] == "l40"
    smi = house.orch("exec", "job", "--", "nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    assert smi.stdout.strip() == "NVIDIA L40"
    assert house.orch("exec", "job", "--", "sh", "-c", "exit 7").returncode == 7
    assert len(house.billing()) >= 1
    down = house.json("down", "job")
    [ended] = down["leases"]
    assert ended["state"] == "ended"
    assert ended["receipt"]["evidence"]
    assert house.billing() == []


def test_up_as_json_is_one_document(house: House) -> None:
    up = house.orch("up", "--gpu", "l40", "--json", "--name", "doc")
    assert up.returncode == 0, up.stderr
    [lease] = json.loads(up.stdout)["leases"]
    assert lease["address"]["host"] == "127.0.0.1"
    assert lease["usd_per_hour"]


def test_a_gpu_that_nobody_rents_ends_with_exit_3(house: House) -> None:
    done = house.orch("up", "--gpu", "mi300x")
    assert done.returncode == 3
    assert "hint:" in done.stderr


def test_ctrl_c_ends_what_was_begun(house: House) -> None:
    house.orch("offers", "--gpu", "l40")  # the sandbox runs from here on
    process = house.start("up", "--gpu", "l40", "--name", "stopped")
    assert process.stderr is not None
    for line in process.stderr:
        if "accepted" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert house.billing() == []


@pytest.mark.parametrize("moment", ["lease-created", "attempt-failed", "accepted", "booting", "probing"])
def test_the_command_after_a_kill_9_finishes_or_ends_the_machine(house: House, moment: str) -> None:
    house.orch("offers", "--gpu", "l40")
    process = house.start("up", "--gpu", "l40", "--name", "killed")
    assert process.stderr is not None
    for line in process.stderr:
        if moment in line:
            break
    process.kill()
    process.communicate()
    settle(house)


@pytest.mark.soak
def test_kill_9_at_random_moments_twenty_times(house: House) -> None:
    """A create that was cut off is looked for during the provider's whole consistency window: minutes at worst."""
    house.orch("offers", "--gpu", "l40")
    for seed in range(20):
        process = house.start("up", "--gpu", "l40", "--name", f"killed-{seed}")
        time.sleep(random.Random(seed).uniform(0.5, 8.0))
        process.kill()
        process.communicate()
        settle(house)


def settle(house: House) -> None:
    """The next command finds what there is; the ledger and our records agree; `down` leaves nothing."""
    house.orch("ps")
    leases = house.json("ps")["leases"]
    compute = [line for line in house.billing() if line["what"] == "compute"]
    running = {lease["instance_id"] for lease in leases if lease["state"] == "running"}
    assert {lease["state"] for lease in leases} <= {"running", "launching"}
    assert {line["instance"] for line in compute} == running
    assert len(running) <= 1
    house.orch("down", "--all", "--yes", timeout=400)
    assert house.billing() == []


def test_the_blocking_api_rents_runs_copies_and_proves_the_end(house: House, tmp_path: Path) -> None:
    from orchestrator import CommandFailed
    from orchestrator.sync import Orchestrator

    source = tmp_path / "in.txt"
    source.write_text("hello\n", encoding="utf-8")
    with Orchestrator(sandbox=True, state_dir=house.state, settings=house.env) as orch:
        with orch.rented(gpu="l40", hours=2) as machine:
            assert machine.run("nvidia-smi -L").stdout.startswith("GPU 0: NVIDIA L40")
            machine.put(source, "data.txt")
            machine.run(["sh", "-c", "tr a-z A-Z < data.txt > out.txt"])
            machine.get("out.txt", tmp_path / "out.txt")
            with pytest.raises(CommandFailed) as caught:
                machine.run("exit 3")
            assert caught.value.completed.status == 3
            assert machine.run("exit 3", check=False).status == 3
        assert machine.receipt is not None
        assert orch.leases() == []
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == "HELLO\n"
    assert house.billing() == []


async def test_the_api_ends_the_machine_when_the_pipeline_fails_or_is_cancelled(house: House) -> None:
    from orchestrator import Orchestrator

    async with Orchestrator(sandbox=True, state_dir=house.state, settings=house.env) as orch:
        with pytest.raises(ZeroDivisionError):
            async with orch.rented(gpu="l40", ready="ssh"):
                _ = 1 / 0
        assert await orch.leases() == []

        running = asyncio.Event()

        async def pipeline() -> None:
            async with orch.rented(gpu="l40", ready="ssh") as machine:
                running.set()
                await machine.run("sleep 600")

        task = asyncio.create_task(pipeline())
        await running.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await orch.leases() == []
    assert house.billing() == []


async def test_the_blocking_api_works_inside_a_running_loop(house: House) -> None:
    """As in a notebook."""
    from orchestrator import Request
    from orchestrator.sync import Orchestrator

    with Orchestrator(sandbox=True, state_dir=house.state, settings=house.env) as orch:
        assert orch.plan(Request.of(gpu="l40")).candidates
