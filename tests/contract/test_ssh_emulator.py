"""The sandbox's own machines, asked by the system's ssh as any client would."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tomllib
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from providers.env import ManualEnv
from providers.sandbox.machines import SshMachines
from providers.sandbox.world import NoMachines, World
from providers.ssh.emulator import SshEmulator

OTHER = "fedcba9876543210fedcba9876543210"
TOKEN = "orch-aaaaaaa-leaseaaaa-01"
LOOK = "exec sh -s orch-own find"


class House:
    """A world with the twin in it, and an inventory read from its file."""

    def __init__(self, folder: Path) -> None:
        self.env = ManualEnv()
        self.machines = SshMachines(folder / "machines")
        self.world = World(self.env, machines=self.machines, folder=folder)
        self.twin = SshEmulator(self.world)
        settings = self.twin.environment("http://127.0.0.1:1")
        self.file = Path(settings["ORCH_SSH_INVENTORY"])

    @property
    def inventory(self) -> dict[str, dict[str, Any]]:
        rows = tomllib.loads(self.file.read_text())["machine"]
        return {row["name"]: row for row in rows}

    def home(self, name: str) -> Path:
        return self.machines.folder(f"own-{name}")

    async def ssh(self, name: str, command: str, login: str = "gpu0", key: Path | None = None, typed: str = "") -> Any:
        row = self.inventory[name]
        host, port = self.machines.dial(row["host"], 22)
        options = [f"-oIdentityFile={key or row['key_file']}", "-oIdentitiesOnly=yes", "-oIdentityAgent=none"]
        options += [
            "-oStrictHostKeyChecking=no",
            "-oUserKnownHostsFile=/dev/null",
            "-oBatchMode=yes",
            "-oLogLevel=ERROR",
        ]
        argv = ["ssh", "-F", "none", "-T", *options, "-p", str(port), "-l", login, host, "--", command]
        return await asyncio.to_thread(subprocess.run, argv, input=typed, capture_output=True, text=True, timeout=30)

    def record(self, name: str, token: str = TOKEN, gpus: int = 1) -> Path:
        """Allocate as a client's script does: by a file on the machine."""
        uuids = self.twin.kinds[name].uuids[:gpus]
        folder = self.home(name) / "orch-own" / "alloc"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / token).write_text(f"token={token}\nowner={OTHER}\ngpus={' '.join(uuids)}\nphase=ready\n")
        return folder / token


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    if shutil.which("ssh") is None:
        pytest.skip("no ssh on this computer: apt-get install openssh-client")
    made = House(tmp_path)
    yield made
    await made.machines.aclose()


async def test_the_machines_are_on_and_open_to_the_key_of_the_inventory_alone(house: House, tmp_path: Path) -> None:
    assert house.inventory.keys() == {"workstation", "gamer"}
    for name, gpus in (("workstation", 2), ("gamer", 1)):
        listed = await house.ssh(name, "nvidia-smi -L")
        assert len(listed.stdout.splitlines()) == gpus == house.inventory[name]["gpu_count"]
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")]
    await asyncio.to_thread(subprocess.run, argv, check=True)
    assert (await house.ssh("gamer", "true", key=tmp_path / "other")).returncode == 255
    assert (await house.ssh("gamer", "true", login="gpu7")).returncode == 255
    assert Path(house.inventory["gamer"]["key_file"]).stat().st_mode & 0o077 == 0


async def test_a_key_with_a_forced_command_gets_that_command_and_what_it_asked_for(
    house: House, tmp_path: Path
) -> None:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "tenant")]
    await asyncio.to_thread(subprocess.run, argv, check=True)
    public = (tmp_path / "tenant.pub").read_text()
    keys = house.home("workstation") / ".ssh" / "authorized_keys.gpu1"
    keys.parent.mkdir()
    keys.write_text(f'command="echo fenced: \\"$SSH_ORIGINAL_COMMAND\\"",restrict,pty {public}')
    said = await house.ssh("workstation", "whoami", login="gpu1", key=tmp_path / "tenant")
    assert said.stdout == "fenced: whoami\n"
    assert (await house.ssh("workstation", "true", login="gpu0", key=tmp_path / "tenant")).returncode == 255
    keys.unlink()
    assert (await house.ssh("workstation", "true", login="gpu1", key=tmp_path / "tenant")).returncode == 255


async def test_a_record_on_a_machine_costs_the_computed_price_until_it_is_gone(house: House) -> None:
    file = house.record("workstation")
    house.twin.advance()
    [record] = [one for one in house.twin.records() if one.alive]
    assert (record.id, record.name, record.billing) == (f"workstation/{TOKEN}", TOKEN, True)
    house.env.advance(3600)
    row = house.inventory["workstation"]
    # By hand: 16800 / (36 * 200) + 0.750 * 0.32 for two GPUs.
    assert (row["purchase_usd"], row["watts"]) == ("16800", "750")
    file.unlink()
    house.twin.advance()
    [line] = house.world.ledger.bill(house.env.now())
    assert Decimal(line["usd"]).quantize(Decimal("0.0001")) == Decimal("1.2867")
    house.env.advance(3600)
    assert house.world.ledger.bill(house.env.now())[0]["usd"] == line["usd"]
    assert not any(one.alive for one in house.twin.records())


async def test_what_a_session_allocates_is_seen_when_it_ends(house: House) -> None:
    alloc = f"mkdir -p orch-own/alloc; printf 'owner={OTHER}\\ngpus=%s\\n' GPU-1 > orch-own/alloc/{TOKEN}"
    await house.ssh("gamer", alloc)
    assert house.world.ledger.billing("ssh") == [f"gamer/{TOKEN}"]


async def test_faults_come_about_in_the_sessions_of_their_verb(house: House) -> None:
    house.world.faults.add("drop_before", verb="launch", times=-1)
    house.world.faults.add("error_before", verb="owned", times=-1)
    house.world.faults.add("html", verb="offers", times=-1)
    script = "echo effect >> happened; echo answer\n"
    assert (await house.ssh("gamer", LOOK, typed=script)).stdout == "answer\n"
    assert (await house.ssh("gamer", "exec sh -s orch-own launch", typed=script)).returncode == 255
    failed = await house.ssh("gamer", "exec sh -s orch-own owned", typed=script)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "answer" not in (await house.ssh("gamer", "exec sh -s orch-own offers", typed=script)).stdout
    assert (house.home("gamer") / "happened").read_text().split() == ["effect", "effect"]
    house.world.faults.add("lost", verb="find")
    lost = await house.ssh("gamer", LOOK, typed=script)
    assert (lost.returncode, lost.stdout) == (255, "")
    assert (house.home("gamer") / "happened").read_text().split() == ["effect"] * 3


async def test_sold_out_and_wrong_gpu_last_for_one_launch(house: House) -> None:
    launch = "exec sh -s orch-own launch"
    apps = "nvidia-smi --query-compute-apps=gpu_uuid,pid --format=csv,noheader\n"
    house.world.faults.add("sold_out")
    assert len((await house.ssh("workstation", launch, typed=apps)).stdout.splitlines()) == 2
    assert (await house.ssh("workstation", launch, typed=apps)).stdout == ""
    house.world.faults.add("wrong_gpu")
    assert "NVIDIA A10" in (await house.ssh("gamer", launch, typed="nvidia-smi -L\n")).stdout
    assert "RTX 4090" in (await house.ssh("gamer", launch, typed="nvidia-smi -L\n")).stdout


async def test_a_revoked_key_opens_nothing_and_a_lost_machine_keeps_what_it_holds(house: House) -> None:
    fault = house.world.faults.add("bad_key", times=-1, subject="gamer")
    assert "Permission denied" in (await house.ssh("gamer", "true")).stderr
    assert (await house.ssh("workstation", "true")).returncode == 0
    fault.times = 0
    assert (await house.ssh("gamer", "true")).returncode == 0
    house.record("gamer")
    house.twin.advance()
    house.twin.lose(f"gamer/{TOKEN}")
    assert (await house.ssh("gamer", "true")).returncode == 255
    assert house.world.ledger.billing("ssh") == [f"gamer/{TOKEN}"]


async def test_a_new_price_stands_in_the_inventory_and_what_is_allocated_keeps_its_own(house: House) -> None:
    house.record("gamer")
    house.twin.advance()
    house.world.faults.add("price_changed", factor=3)
    await house.ssh("gamer", "exec sh -s orch-own price", typed=":\n")
    assert Decimal(house.inventory["gamer"]["usd_per_hour"]) == Decimal("1.35")
    assert house.world.ledger.bill(house.env.now())[0]["usd_per_hour"] == "0.45"


async def test_everything_comes_back_after_a_restart(house: House, tmp_path: Path) -> None:
    house.record("workstation")
    house.twin.plant("somebody")
    house.twin.advance()
    kept, machines, before = house.world.dump(), house.machines.dump(), house.file.read_text()
    await house.machines.aclose()
    again = SshMachines(tmp_path / "machines")
    again.load(machines)
    world = World(house.env, machines=again, folder=tmp_path)
    twin = SshEmulator(world)
    world.load(kept)
    assert Path(twin.environment("")["ORCH_SSH_INVENTORY"]).read_text() == before
    assert [one.alive for one in twin.records()] == [True, True]
    assert world.ledger.billing("ssh") == [f"workstation/{TOKEN}"]
    assert (tmp_path / "machines" / "own-workstation" / "orch-own" / "alloc" / TOKEN).exists()
    await again.aclose()


def test_without_real_machines_there_is_an_inventory_all_the_same() -> None:
    world = World(ManualEnv(), machines=NoMachines())
    twin = SshEmulator(world)
    file = Path(twin.environment("")["ORCH_SSH_INVENTORY"])
    assert len(tomllib.loads(file.read_text())["machine"]) == 2
    identifier = twin.plant(TOKEN, owner=OTHER)
    assert world.ledger.billing("ssh") == [identifier]
