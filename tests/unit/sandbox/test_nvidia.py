"""The `nvidia-smi` of the sandbox, run as a program."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path

import pytest

from providers.sandbox import nvidia


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    file = tmp_path / "bin" / "nvidia-smi"
    nvidia.write(file, key="vm-1", gpu="NVIDIA L40", memory_mib=46068, count=2)
    return file


def ask(tool: Path, *words: str) -> str:
    return subprocess.run([tool, *words], check=True, capture_output=True, text=True).stdout


def test_a_query_answers_in_the_format_of_nvidia_s_tool(tool: Path) -> None:
    fields = "name,memory.total,uuid,ecc.errors.uncorrected.volatile.total,utilization.gpu,power.draw,pci.bus_id"
    first, second = nvidia.uuids("vm-1", 2)
    assert ask(tool, f"--query-gpu={fields}", "--format=csv,noheader").splitlines() == [
        f"NVIDIA L40, 46068 MiB, {first}, 0, 0 %, 35.12 W, 00000000:01:00.0",
        f"NVIDIA L40, 46068 MiB, {second}, 0, 0 %, 35.12 W, 00000000:02:00.0",
    ]


def test_the_head_line_names_units(tool: Path) -> None:
    assert ask(tool, "--query-gpu=gpu_name,memory.used,index", "--format=csv").splitlines()[0] == (
        "name, memory.used [MiB], index"
    )


def test_units_can_be_left_out(tool: Path) -> None:
    asked = "--query-gpu=memory.total,memory.used,temperature.gpu,driver_version,count,utilization.gpu"
    rows = ask(tool, asked, "--format=csv,noheader,nounits").splitlines()
    assert rows == ["46068, 0, 31, 580.95.05, 2, 0"] * 2


def test_unknown_fields_are_not_available(tool: Path) -> None:
    assert ask(tool, "--query-gpu=fan.speed", "--format=csv,noheader").splitlines() == ["[N/A]"] * 2


def test_one_gpu_can_be_asked_for(tool: Path) -> None:
    second = nvidia.uuids("vm-1", 2)[1]
    for chosen in ("--id=1", f"--id={second}"):
        assert ask(tool, "-L", chosen) == f"GPU 1: NVIDIA L40 (UUID: {second})\n"


def test_the_table_has_straight_edges(tool: Path) -> None:
    lines = ask(tool).splitlines()[1:]
    assert {len(line) for line in lines} == {91}
    assert sum("NVIDIA L40 " in one and "46068MiB" in two for one, two in itertools.pairwise(lines)) == 2


@pytest.mark.parametrize("words", [("--foo",), ("--query-gpu=name",), ("-i", "9"), ("--query-gpu=", "--format=csv")])
def test_nonsense_is_refused(tool: Path, words: tuple[str, ...]) -> None:
    done = subprocess.run([tool, *words], check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stdout


def test_a_geforce_reports_no_ecc(tmp_path: Path) -> None:
    nvidia.write(tmp_path / "smi", key="k", gpu="NVIDIA GeForce RTX 4090", memory_mib=24564, count=1)
    field = "ecc.errors.uncorrected.aggregate.total"
    assert ask(tmp_path / "smi", f"--query-gpu={field}", "--format=csv,noheader") == "[N/A]\n"


def test_a_name_with_quotes_is_only_a_name(tmp_path: Path) -> None:
    name = "NVIDIA 'x' $(touch owned) `id`"
    nvidia.write(tmp_path / "smi", key="k", gpu=name, memory_mib=1, count=1)
    assert ask(tmp_path / "smi", "--query-gpu=name", "--format=csv,noheader") == name + "\n"


def test_uuids_are_stable_and_differ() -> None:
    assert nvidia.uuids("a", 3) == nvidia.uuids("a", 3)
    assert len({*nvidia.uuids("a", 3), *nvidia.uuids("b", 3)}) == 6
    assert all(re.fullmatch(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", one) for one in nvidia.uuids("a", 3))
