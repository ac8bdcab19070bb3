"""The GPU table is consistent in itself, and names from everywhere end at the right row or at none."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers import gpus
from providers.gpus import GPUS, Gpu, UnknownGpu, at_least, canonical, expand, memory_matches, slug

ROWS = [pytest.param(gpu, id=gpu.name) for gpu in GPUS.values()]
REQUIRED = """l40 l40s l4 a10 a10g t4 a40 rtx-a6000 rtx-6000-ada rtx-pro-6000 a100-40gb a100-80gb
    h100-pcie h100-sxm h100-nvl h200 b200 mi300x"""

#: Floating-point operations per core and clock: a fused multiply-add is two; AMD's CDNA 3 issues two of them.
FLOP_PER_CORE = {"nvidia": 2, "amd": 4}
#: Vendors that publish no boost clock, or no FP32, for a model we list.
NO_CLOCK = {"rtx-pro-6000", "b300"}

NAMES: list[tuple[str, float | None, str | None, str | None]] = [
    ("NVIDIA L40", None, None, "l40"),
    ("l40", 48, "pcie", "l40"),
    ("L40S", None, None, "l40s"),
    ("L40S", 44.7, None, "l40s"),
    ("NVIDIA L4", 22.35, None, "l4"),
    ("NVIDIA A100 80GB PCIe", None, None, "a100-80gb"),
    ("NVIDIA A100-SXM4-80GB", None, None, "a100-80gb"),
    ("NVIDIA A100-PCIE-40GB", None, None, "a100-40gb"),
    ("A100 SXM4", 80, None, "a100-80gb"),
    ("A100 PCIE", 39.6, None, "a100-40gb"),
    ("a100", 80, None, "a100-80gb"),
    ("a100", 80, "SXM4", "a100-80gb"),
    ("A100-40GB", None, None, "a100-40gb"),
    ("A100_PCIE_80GB", None, None, "a100-80gb"),
    ("A100 80 GB", None, None, "a100-80gb"),
    ("A100 (40 GB SXM4)", None, None, "a100-40gb"),
    ("NVIDIA H100 80GB HBM3", None, None, "h100-sxm"),
    ("H100 SXM", None, None, "h100-sxm"),
    ("H100 (80 GB SXM5)", None, None, "h100-sxm"),
    ("H100SXM5", None, None, "h100-sxm"),
    ("H100 NVL", None, None, "h100-nvl"),
    ("NVIDIA H100 PCIe", None, None, "h100-pcie"),
    ("h100", None, "pcie", "h100-pcie"),
    ("h100", None, "SXM", "h100-sxm"),
    ("h100", None, "PCIE", "h100-pcie"),
    ("h100", 80, "SXM5", "h100-sxm"),
    ("h100", 94, None, "h100-nvl"),
    ("h100", 94, "pcie", "h100-nvl"),
    ("NVIDIA H200", 140.4, None, "h200"),
    ("h200", 141, "sxm", "h200"),
    ("nvidia-h200-141gb", None, None, "h200"),
    ("H200 NVL", None, None, "h200-nvl"),
    ("h200", None, "nvl", "h200-nvl"),
    ("NVIDIA B200", 180, None, "b200"),
    ("NVIDIA B200", 192, None, "b200"),
    ("NVIDIA B300 SXM6 AC", 268.6, None, "b300"),
    ("RTX 6000Ada", None, None, "rtx-6000-ada"),
    ("RTX 6000 Ada Generation", None, None, "rtx-6000-ada"),
    ("rtx6000ada", 48, "pcie", "rtx-6000-ada"),
    ("RTX6000-Ada", None, None, "rtx-6000-ada"),
    ("RTX 6000 (24 GB)", None, None, "quadro-rtx-6000"),
    ("Quadro RTX 6000", None, None, "quadro-rtx-6000"),
    ("rtxa6000", None, None, "rtx-a6000"),
    ("RTX A6000", None, None, "rtx-a6000"),
    ("RTX-A6000", None, None, "rtx-a6000"),
    ("A6000", None, None, "rtx-a6000"),
    ("a4000", 16, None, "rtx-a4000"),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", None, None, "rtx-pro-6000"),
    ("RTX PRO Server 6000", 96, None, "rtx-pro-6000"),
    ("RTXPro6000", None, None, "rtx-pro-6000"),
    ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", None, None, "rtx-pro-6000-workstation"),
    ("Tesla T4", None, None, "t4"),
    ("nvidia-tesla-t4", None, None, "t4"),
    ("A10g", None, None, "a10g"),
    ("NVIDIA A10G", 22.35, None, "a10g"),
    ("A10 (24 GB PCIe)", None, None, "a10"),
    ("NVIDIA GeForce RTX 4090", None, None, "rtx-4090"),
    ("RTX_4090", None, None, "rtx-4090"),
    ("rtx5090", 32, "pcie", "rtx-5090"),
    ("Tesla V100-SXM2-16GB", None, None, "v100-16gb"),
    ("v100", 32, "sxm", "v100-32gb"),
    ("GH200 (96 GB)", None, None, "gh200"),
    ("GH200_480GB", None, None, "gh200"),
    ("AMD Instinct MI300X OAM", None, None, "mi300x"),
]

NOT_NAMES: list[tuple[str, float | None, str | None]] = [
    ("a100", None, None),
    ("a100", None, "SXM4"),
    ("h100", None, None),
    ("h100 80gb", None, None),
    ("h100", 94, "sxm"),
    ("H100 SXM", None, "pcie"),
    ("RTX 6000", None, None),
    ("RTX 6000 Ada", 24, None),
    ("a100-80gb", 40, None),
    ("l40", 24, None),
    ("A10", 4, None),
    ("v100", None, None),
    ("A10 0", 80, None),
    ("gpu_1x_a10", None, None),
    ("1x L40", None, None),
    ("A100X", 80, None),
    ("A800", 80, None),
    ("T4g", None, None),
    ("V100S", 32, None),
    ("Tesla V100-FHHL-16GB", None, None),
    ("NVIDIA A10-8Q", None, None),
    ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", None, None),
    ("NVIDIA GeForce RTX 4090 Laptop GPU", None, None),
    ("NVIDIA GeForce RTX 4090 D", None, None),
    ("NVIDIA GeForce RTX 3090 Ti", None, None),
    ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", None, None),
    ("RTX PRO 4500", 32, None),
    ("GH200", 144, None),
    ("GB200", None, None),
    ("unknown", None, None),
    ("NVIDIA", None, None),
    ("80GB", None, None),
    ("", None, None),
]


def test_every_model_that_orch_promises_is_in_the_table() -> None:
    assert set(REQUIRED.split()) <= set(GPUS)
    assert len(GPUS) == len(gpus.TABLE)


@pytest.mark.parametrize("gpu", ROWS)
def test_fp32_is_cores_times_clock(gpu: Gpu) -> None:
    if gpu.name in NO_CLOCK:
        assert gpu.boost_mhz is None
        return
    assert gpu.cores
    assert gpu.boost_mhz
    computed = gpu.cores * FLOP_PER_CORE[gpu.vendor] * gpu.boost_mhz / 1e6
    assert gpu.fp32_tflops == pytest.approx(computed, rel=0.03)


def test_the_l40_has_the_figures_of_its_datasheet() -> None:
    l40 = GPUS["l40"]
    assert (l40.fp32_tflops, l40.fp16_tflops, l40.fp8_tflops) == (90.5, 181.05, 362)
    assert (l40.memory_gib, l40.memory_type, l40.bandwidth_gb_s, l40.watts) == (48, "GDDR6", 864, 300)
    assert (l40.encoders, l40.decoders, l40.rt_cores) == (3, 3, 142)
    assert {"encode:av1", "decode:av1"} <= set(l40.codecs)
    assert (l40.nvlink_gb_s, l40.mig_instances) == (None, 0)


@pytest.mark.parametrize("gpu", ROWS)
def test_throughput_is_dense_and_doubles_as_numbers_halve(gpu: Gpu) -> None:
    if gpu.fp8_tflops is not None:
        assert gpu.fp8_tflops == pytest.approx(2 * (gpu.fp16_tflops or 0), rel=0.05)
    if gpu.int8_tops is not None:
        # INT8 runs at twice the FP16 rate; four times where FP32 accumulation halves FP16 (GeForce).
        assert round(gpu.int8_tops / (gpu.fp16_tflops or 1), 1) in (2.0, 4.0)
    if gpu.vendor == "nvidia" and gpu.fp32_tflops and gpu.fp16_tflops and not gpu.memory_type.startswith("HBM"):
        # A sparse figure taken by mistake would show as 8 (graphics chips: 2, or 4 at full rate; Turing 8).
        assert round(gpu.fp16_tflops / gpu.fp32_tflops) in ((8,) if gpu.architecture == "Turing" else (2, 4))


@pytest.mark.parametrize("gpu", ROWS)
def test_fp8_is_given_where_the_architecture_has_it_only(gpu: Gpu) -> None:
    has_fp8 = gpu.vendor == "amd" or float(gpu.compute_capability) >= 8.9
    assert (gpu.fp8_tflops is not None) == has_fp8


@pytest.mark.parametrize("gpu", ROWS)
def test_memory_and_bandwidth_belong_together(gpu: Gpu) -> None:
    seconds_to_read_all = gpu.memory_gib * 2**30 / 1e9 / gpu.bandwidth_gb_s
    assert 0.01 < seconds_to_read_all < 0.1
    low, high = {"GDDR6": (300, 960), "GDDR6X": (900, 1010), "GDDR7": (1500, 1800)}.get(gpu.memory_type, (900, 8000))
    assert low <= gpu.bandwidth_gb_s <= high


@pytest.mark.parametrize("gpu", ROWS)
def test_rows_are_complete_in_words(gpu: Gpu) -> None:
    assert gpu.source
    assert gpu.smi_names
    assert gpu.title.startswith({"nvidia": "NVIDIA ", "amd": "AMD "}[gpu.vendor])
    assert all(codec.partition(":")[0] in ("encode", "decode") for codec in gpu.codecs)
    assert ("encode:h264" in gpu.codecs) == bool(gpu.encoders) or gpu.encoders is None
    assert gpu.name == slug(gpu.name)


@pytest.mark.parametrize("gpu", ROWS)
def test_a_model_is_known_by_its_own_names(gpu: Gpu) -> None:
    for name in (gpu.name, gpu.name.upper(), gpu.name.replace("-", " "), gpu.title, *gpu.smi_names):
        assert canonical(name) == gpu.name
        assert canonical(name, gpu.memory_gib * 0.93) == gpu.name
    assert expand(gpu.name) == (gpu.name,)


@pytest.mark.parametrize(("text", "memory", "interface", "name"), NAMES)
def test_names_from_the_wire_are_understood(
    text: str, memory: float | None, interface: str | None, name: str | None
) -> None:
    assert canonical(text, memory, interface) == name


@pytest.mark.parametrize(("text", "memory", "interface"), NOT_NAMES)
def test_what_is_not_certain_stays_unknown(text: str, memory: float | None, interface: str | None) -> None:
    assert canonical(text, memory, interface) is None


@settings(deadline=None)
@given(st.text(max_size=40), st.none() | st.floats(0, 400), st.none() | st.text(max_size=8))
def test_no_text_breaks_the_normaliser(text: str, memory: float | None, interface: str | None) -> None:
    assert canonical(text, memory, interface) in {*GPUS, None}
    assert slug(text)


def test_a_slug_keeps_unknown_models_apart() -> None:
    assert slug("NVIDIA RTX PRO 4500 Blackwell") == "rtx-pro-4500-blackwell"
    assert slug(" Tesla  P100_PCIe ") == "tesla-p100-pcie"
    assert slug("???") == "unknown"


@pytest.mark.parametrize(
    ("name", "reported", "fits"),
    [
        ("l4", 22.5, True),
        ("l40s", 46, True),
        ("l40s", 46068 / 1024, True),
        ("t4", 15109 / 1024, True),
        ("a10g", 22888 / 1024, True),
        ("l40", 24, False),
        ("l40", 40, False),
        ("a100-80gb", 40, False),
        ("a100-40gb", 80, False),
        ("l40", 96, False),
    ],
)
def test_usable_memory_is_compared_with_slack(name: str, reported: float, fits: bool) -> None:
    assert memory_matches(name, reported) is fits


def test_memory_of_an_unknown_model_cannot_be_judged() -> None:
    with pytest.raises(UnknownGpu):
        memory_matches("rtx-pro-4500", 32)


def test_words_expand_to_models() -> None:
    assert expand("l40, L40S") == ("l40", "l40s")
    assert expand(["a100", "l40"]) == ("a100-40gb", "a100-80gb", "l40")
    assert expand("h100") == ("h100-pcie", "h100-sxm", "h100-nvl")
    assert expand("h100-80gb") == ("h100-pcie", "h100-sxm")
    assert expand("A100-80GB,a100,a100-80gb") == ("a100-80gb", "a100-40gb")
    assert expand("h200") == ("h200",)
    assert expand(" , ") == ()


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("l40x", "l40"),
        ("h10", "h100-sxm"),
        ("a1000", "a100-80gb"),
        ("rtx4080", "rtx-4090"),
        ("rtx-6000", "rtx-6000-ada"),
    ],
)
def test_an_unknown_word_names_its_neighbours(word: str, nearest: str) -> None:
    with pytest.raises(UnknownGpu) as caught:
        expand(f"l40,{word}")
    assert caught.value.word == word
    assert nearest in caught.value.nearest
    assert nearest in str(caught.value)


def test_a_word_like_nothing_has_no_neighbours() -> None:
    with pytest.raises(UnknownGpu) as caught:
        expand("zzzz")
    assert caught.value.nearest == ()


def test_or_better_adds_models_that_lose_nothing() -> None:
    better = at_least(["l40"])
    assert better[0] == "l40"
    assert {"l40s", "rtx-6000-ada", "h100-pcie", "h200"} <= set(better)
    # No FP8; less memory; other software; another CPU.
    assert not {"a100-80gb", "rtx-a6000", "a40", "rtx-4090", "mi300x", "gh200", "l4"} & set(better)


def test_or_better_is_better_in_every_figure() -> None:
    for name, gpu in GPUS.items():
        for other in at_least([name])[1:]:
            assert GPUS[other].memory_gib >= gpu.memory_gib
            assert GPUS[other].bandwidth_gb_s >= gpu.bandwidth_gb_s
            assert (GPUS[other].fp16_tflops or 0) >= (gpu.fp16_tflops or 0)
            assert (GPUS[other].fp8_tflops or 0) >= (gpu.fp8_tflops or 0)


def test_or_better_never_loses_bf16() -> None:
    assert "v100-32gb" not in at_least(["a10g"])
    assert "v100-32gb" in at_least(["v100-16gb"])


def test_or_better_of_several_is_what_any_of_them_allows_and_keeps_unknown_names() -> None:
    assert at_least(["rtx-pro-4500"]) == ("rtx-pro-4500",)
    assert set(at_least(["l40", "a40"])) == {*at_least(["l40"]), *at_least(["a40"])}


def test_the_table_imports_nothing_heavy() -> None:
    code = "import sys, providers.gpus; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"difflib", "httpx", "asyncio", "providers.base"} & set(done.stdout.split())
