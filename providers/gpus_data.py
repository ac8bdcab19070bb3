"""The GPU table: vendors' figures, one row a model. `providers/gpus.py` is the way to use it.

How figures are chosen, so that rows can be compared:

- throughput is dense (a vendor's "with sparsity" figure is twice that) and at the boost clock;
- FP16 is the tensor figure with FP32 accumulation, which is also the BF16 one. Cards that halve it (GeForce,
  L40, A10G) show the halved figure, and their FP8 is with FP32 accumulation, too;
- where one name covers several forms, the row has the figures that every form keeps, and `source` says which;
- None is "not known for sure", never "none": no RT cores is 0;
- AV1 decoding by Hopper and data-centre Blackwell is left out, not denied.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU model.

    Attributes:
        name: the canonical name, as in `--gpu` and `Offer.gpu`.
        title: for people.
        memory_gib: nominal memory of one GPU; what machines report is less (`gpus.memory_matches`).
        bandwidth_gb_s: memory bandwidth, 10^9 bytes a second.
        fp32_tflops, fp16_tflops, fp8_tflops: dense TFLOPS; vector FP32, tensor FP16/BF16 and FP8. FP8 None:
            the hardware has no FP8, or the figure is not known.
        int8_tops: dense tensor TOPS.
        cores: CUDA cores or stream processors.
        encoders, decoders: video engines (NVENC, NVDEC).
        codecs: what those do: ``encode:h264``, ``decode:av1`` ...
        nvlink_gb_s: GPU to GPU, both directions together.
        mig_instances: how many hardware partitions at most; 0 where there are none.
        watts: the highest board power.
        compute_capability: CUDA's, or AMD's gfx target.
        smi_names: the names that `nvidia-smi` (or `rocm-smi`) prints.
        source: where the figures come from.
        family: what a group of rows is called that differ in memory or form only, else the name itself.
        forms: form factors that tell the rows of a family apart (pcie, sxm, nvl), the usual one first; empty
            where one row covers all.
        host_arch: the CPU architecture that comes with it, if it comes with one only.
    """

    name: str
    title: str
    vendor: Literal["nvidia", "amd"] = "nvidia"
    architecture: str
    memory_gib: float
    memory_type: str
    bandwidth_gb_s: float
    fp32_tflops: float | None
    fp16_tflops: float | None
    fp8_tflops: float | None = None
    int8_tops: float | None = None
    cores: int | None = None
    boost_mhz: int | None = None
    encoders: int | None = None
    decoders: int | None = None
    codecs: tuple[str, ...] = ()
    rt_cores: int | None = None
    nvlink_gb_s: float | None = None
    mig_instances: int | None = 0
    watts: int | None = None
    compute_capability: str
    smi_names: tuple[str, ...]
    source: str
    family: str = ""
    forms: tuple[str, ...] = ()
    host_arch: str | None = None


_DECODE = ("decode:h264", "decode:hevc", "decode:vp9")
_DECODE_AV1 = (*_DECODE, "decode:av1")
_TURING = ("encode:h264", "encode:hevc", *_DECODE)
_AMPERE = ("encode:h264", "encode:hevc", *_DECODE_AV1)
_ADA = ("encode:h264", "encode:hevc", "encode:av1", *_DECODE_AV1)

# One row a model, a few dense lines each: easier to hold against a datasheet than one value a line.
# fmt: off
TABLE: tuple[Gpu, ...] = (
    # Ada Lovelace
    Gpu(name="l40", title="NVIDIA L40", architecture="Ada Lovelace", compute_capability="8.9",
        memory_gib=48, memory_type="GDDR6", bandwidth_gb_s=864, cores=18176, boost_mhz=2490, rt_cores=142,
        fp32_tflops=90.5, fp16_tflops=181.05, fp8_tflops=362, int8_tops=362, watts=300,
        encoders=3, decoders=3, codecs=_ADA, smi_names=("NVIDIA L40",), source="NVIDIA L40 datasheet"),
    Gpu(name="l40s", title="NVIDIA L40S", architecture="Ada Lovelace", compute_capability="8.9",
        memory_gib=48, memory_type="GDDR6", bandwidth_gb_s=864, cores=18176, boost_mhz=2520, rt_cores=142,
        fp32_tflops=91.6, fp16_tflops=362.05, fp8_tflops=733, int8_tops=733, watts=350,
        encoders=3, decoders=3, codecs=_ADA, smi_names=("NVIDIA L40S",), source="NVIDIA L40S datasheet"),
    Gpu(name="l4", title="NVIDIA L4", architecture="Ada Lovelace", compute_capability="8.9",
        memory_gib=24, memory_type="GDDR6", bandwidth_gb_s=300, cores=7424, boost_mhz=2040, rt_cores=58,
        fp32_tflops=30.3, fp16_tflops=121, fp8_tflops=242.5, int8_tops=242.5, watts=72,
        encoders=2, decoders=4, codecs=_ADA, smi_names=("NVIDIA L4",), source="NVIDIA L4 datasheet"),
    Gpu(name="rtx-6000-ada", title="NVIDIA RTX 6000 Ada Generation", architecture="Ada Lovelace",
        compute_capability="8.9", memory_gib=48, memory_type="GDDR6", bandwidth_gb_s=960, cores=18176,
        boost_mhz=2505, rt_cores=142, fp32_tflops=91.1, fp16_tflops=364.25, fp8_tflops=728.5,
        int8_tops=728.5, watts=300, encoders=3, decoders=3, codecs=_ADA,
        smi_names=("NVIDIA RTX 6000 Ada Generation",),
        source="NVIDIA RTX 6000 Ada Generation datasheet (1457 TFLOPS sparse FP8)"),
    Gpu(name="rtx-5000-ada", title="NVIDIA RTX 5000 Ada Generation", architecture="Ada Lovelace",
        compute_capability="8.9", memory_gib=32, memory_type="GDDR6", bandwidth_gb_s=576, cores=12800,
        boost_mhz=2550, rt_cores=100, fp32_tflops=65.3, fp16_tflops=261.1, fp8_tflops=522.2,
        int8_tops=522.2, watts=250, encoders=2, decoders=2, codecs=_ADA,
        smi_names=("NVIDIA RTX 5000 Ada Generation",),
        source="NVIDIA RTX 5000 Ada Generation datasheet (1044.4 TFLOPS sparse FP8)"),
    Gpu(name="rtx-4090", title="NVIDIA GeForce RTX 4090", architecture="Ada Lovelace",
        compute_capability="8.9", memory_gib=24, memory_type="GDDR6X", bandwidth_gb_s=1008, cores=16384,
        boost_mhz=2520, rt_cores=128, fp32_tflops=82.6, fp16_tflops=165.2, fp8_tflops=330.3,
        int8_tops=660.6, watts=450, encoders=2, decoders=1, codecs=_ADA,
        smi_names=("NVIDIA GeForce RTX 4090",), source="NVIDIA Ada GPU architecture whitepaper, appendix A"),
    # Blackwell
    Gpu(name="rtx-pro-6000", title="NVIDIA RTX PRO 6000 Blackwell Server Edition", architecture="Blackwell",
        compute_capability="12.0", memory_gib=96, memory_type="GDDR7", bandwidth_gb_s=1597, cores=24064,
        rt_cores=188, fp32_tflops=120, fp16_tflops=500, fp8_tflops=1000, watts=600, encoders=4, decoders=4,
        codecs=_ADA, mig_instances=4, smi_names=("NVIDIA RTX PRO 6000 Blackwell Server Edition",),
        source="NVIDIA RTX PRO 6000 Blackwell Server Edition datasheet; FP8 and FP16 from its 4 PFLOPS sparse"
               " FP4 by halving; no boost clock published"),
    Gpu(name="rtx-pro-6000-workstation", title="NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
        architecture="Blackwell", compute_capability="12.0", memory_gib=96, memory_type="GDDR7",
        bandwidth_gb_s=1792, cores=24064, boost_mhz=2617, rt_cores=188, fp32_tflops=126, fp16_tflops=503.8,
        fp8_tflops=1007.6, int8_tops=1007.6, watts=600, encoders=4, decoders=4, codecs=_ADA, mig_instances=4,
        smi_names=("NVIDIA RTX PRO 6000 Blackwell Workstation Edition",),
        source="NVIDIA RTX PRO 6000 Blackwell Workstation Edition datasheet; RTX Blackwell PRO whitepaper"),
    Gpu(name="rtx-5090", title="NVIDIA GeForce RTX 5090", architecture="Blackwell",
        compute_capability="12.0", memory_gib=32, memory_type="GDDR7", bandwidth_gb_s=1792, cores=21760,
        boost_mhz=2407, rt_cores=170, fp32_tflops=104.8, fp16_tflops=209.5, fp8_tflops=419, int8_tops=838,
        watts=575, encoders=3, decoders=2, codecs=_ADA, smi_names=("NVIDIA GeForce RTX 5090",),
        source="NVIDIA RTX Blackwell GPU architecture whitepaper, appendix A"),
    Gpu(name="b200", title="NVIDIA B200", architecture="Blackwell", compute_capability="10.0",
        memory_gib=180, memory_type="HBM3e", bandwidth_gb_s=7700, cores=18944, boost_mhz=1965, rt_cores=0,
        fp32_tflops=75, fp16_tflops=2250, fp8_tflops=4500, int8_tops=4500, watts=1000, encoders=0,
        decoders=7, codecs=_DECODE, nvlink_gb_s=1800, mig_instances=7, smi_names=("NVIDIA B200",),
        source="NVIDIA HGX B200 datasheet, per GPU (DGX B200 states 8 TB/s); Blackwell technical brief"),
    Gpu(name="b300", title="NVIDIA B300", architecture="Blackwell Ultra", compute_capability="10.3",
        memory_gib=288, memory_type="HBM3e", bandwidth_gb_s=8000, rt_cores=0, fp32_tflops=None,
        fp16_tflops=2250, fp8_tflops=4500, encoders=0, nvlink_gb_s=1800, mig_instances=7,
        smi_names=("NVIDIA B300 SXM6 AC",), source="NVIDIA HGX B300 datasheet, per GPU"),
    # Hopper
    Gpu(name="h100-pcie", title="NVIDIA H100 PCIe", architecture="Hopper", compute_capability="9.0",
        memory_gib=80, memory_type="HBM2e", bandwidth_gb_s=2000, cores=14592, boost_mhz=1755, rt_cores=0,
        fp32_tflops=51.2, fp16_tflops=756, fp8_tflops=1513, int8_tops=1513, watts=350, encoders=0,
        decoders=7, codecs=_DECODE, nvlink_gb_s=600, mig_instances=7, smi_names=("NVIDIA H100 PCIe",),
        source="NVIDIA H100 datasheet (PCIe)", family="h100", forms=("pcie",)),
    Gpu(name="h100-sxm", title="NVIDIA H100 SXM", architecture="Hopper", compute_capability="9.0",
        memory_gib=80, memory_type="HBM3", bandwidth_gb_s=3350, cores=16896, boost_mhz=1980, rt_cores=0,
        fp32_tflops=66.9, fp16_tflops=989.4, fp8_tflops=1978.9, int8_tops=1978.9, watts=700, encoders=0,
        decoders=7, codecs=_DECODE, nvlink_gb_s=900, mig_instances=7, smi_names=("NVIDIA H100 80GB HBM3",),
        source="NVIDIA H100 datasheet (SXM)", family="h100", forms=("sxm",)),
    Gpu(name="h100-nvl", title="NVIDIA H100 NVL", architecture="Hopper", compute_capability="9.0",
        memory_gib=94, memory_type="HBM3", bandwidth_gb_s=3938, cores=16896, boost_mhz=1785, rt_cores=0,
        fp32_tflops=60.3, fp16_tflops=835.5, fp8_tflops=1671, int8_tops=1671, watts=400, encoders=0,
        decoders=7, codecs=_DECODE, nvlink_gb_s=600, mig_instances=7, smi_names=("NVIDIA H100 NVL",),
        source="NVIDIA H100 NVL product brief and datasheet, one of the pair", family="h100",
        forms=("nvl", "pcie")),
    Gpu(name="h200", title="NVIDIA H200", architecture="Hopper", compute_capability="9.0",
        memory_gib=141, memory_type="HBM3e", bandwidth_gb_s=4800, cores=16896, boost_mhz=1980, rt_cores=0,
        fp32_tflops=66.9, fp16_tflops=989.4, fp8_tflops=1978.9, int8_tops=1978.9, watts=700, encoders=0,
        decoders=7, codecs=_DECODE, nvlink_gb_s=900, mig_instances=7, smi_names=("NVIDIA H200",),
        source="NVIDIA H200 datasheet (SXM)", family="h200", forms=("sxm",)),
    Gpu(name="h200-nvl", title="NVIDIA H200 NVL", architecture="Hopper", compute_capability="9.0",
        memory_gib=141, memory_type="HBM3e", bandwidth_gb_s=4800, cores=16896, boost_mhz=1785, rt_cores=0,
        fp32_tflops=60.3, fp16_tflops=835.5, fp8_tflops=1671, int8_tops=1671, watts=600, encoders=0,
        decoders=7, codecs=_DECODE, nvlink_gb_s=900, mig_instances=7, smi_names=("NVIDIA H200 NVL",),
        source="NVIDIA H200 datasheet (NVL)", family="h200", forms=("nvl", "pcie")),
    Gpu(name="gh200", title="NVIDIA GH200 96GB", architecture="Hopper", compute_capability="9.0",
        memory_gib=96, memory_type="HBM3", bandwidth_gb_s=4000, cores=16896, boost_mhz=1980, rt_cores=0,
        fp32_tflops=66.9, fp16_tflops=989.4, fp8_tflops=1978.9, int8_tops=1978.9, encoders=0,
        nvlink_gb_s=900, mig_instances=7, smi_names=("NVIDIA GH200 480GB",), host_arch="aarch64",
        source="NVIDIA GH200 datasheet (HBM3); 480GB in its name is the CPU's memory"),
    # Ampere
    Gpu(name="a100-40gb", title="NVIDIA A100 40GB", architecture="Ampere", compute_capability="8.0",
        memory_gib=40, memory_type="HBM2", bandwidth_gb_s=1555, cores=6912, boost_mhz=1410, rt_cores=0,
        fp32_tflops=19.5, fp16_tflops=312, int8_tops=624, watts=400, encoders=0, decoders=5, codecs=_DECODE,
        nvlink_gb_s=600, mig_instances=7, smi_names=("NVIDIA A100-SXM4-40GB", "NVIDIA A100-PCIE-40GB"),
        source="NVIDIA A100 datasheet; watts are SXM's, PCIe has 250", family="a100"),
    Gpu(name="a100-80gb", title="NVIDIA A100 80GB", architecture="Ampere", compute_capability="8.0",
        memory_gib=80, memory_type="HBM2e", bandwidth_gb_s=1935, cores=6912, boost_mhz=1410, rt_cores=0,
        fp32_tflops=19.5, fp16_tflops=312, int8_tops=624, watts=400, encoders=0, decoders=5, codecs=_DECODE,
        nvlink_gb_s=600, mig_instances=7, smi_names=("NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB PCIe"),
        source="NVIDIA A100 datasheet; bandwidth is PCIe's, SXM has 2039 GB/s; watts are SXM's, PCIe has 300",
        family="a100"),
    Gpu(name="a40", title="NVIDIA A40", architecture="Ampere", compute_capability="8.6",
        memory_gib=48, memory_type="GDDR6", bandwidth_gb_s=696, cores=10752, boost_mhz=1740, rt_cores=84,
        fp32_tflops=37.4, fp16_tflops=149.7, int8_tops=299.3, watts=300, encoders=1, decoders=2,
        codecs=_AMPERE, nvlink_gb_s=112.5, smi_names=("NVIDIA A40",), source="NVIDIA A40 datasheet"),
    Gpu(name="a30", title="NVIDIA A30", architecture="Ampere", compute_capability="8.0",
        memory_gib=24, memory_type="HBM2", bandwidth_gb_s=933, cores=3584, boost_mhz=1440, rt_cores=0,
        fp32_tflops=10.3, fp16_tflops=165, int8_tops=330, watts=165, encoders=0, decoders=4, codecs=_DECODE,
        nvlink_gb_s=200, mig_instances=4, smi_names=("NVIDIA A30",), source="NVIDIA A30 datasheet"),
    Gpu(name="a10", title="NVIDIA A10", architecture="Ampere", compute_capability="8.6",
        memory_gib=24, memory_type="GDDR6", bandwidth_gb_s=600, cores=9216, boost_mhz=1695, rt_cores=72,
        fp32_tflops=31.2, fp16_tflops=125, int8_tops=250, watts=150, encoders=1, decoders=2, codecs=_AMPERE,
        smi_names=("NVIDIA A10",), source="NVIDIA A10 datasheet"),
    Gpu(name="a10g", title="NVIDIA A10G", architecture="Ampere", compute_capability="8.6",
        memory_gib=24, memory_type="GDDR6", bandwidth_gb_s=600, cores=10240, boost_mhz=1710, rt_cores=80,
        fp32_tflops=35, fp16_tflops=70, int8_tops=140, watts=300, encoders=1, decoders=2, codecs=_AMPERE,
        smi_names=("NVIDIA A10G",), source="NVIDIA A10G datasheet for AWS; 80 SMs as CUDA reports"),
    Gpu(name="rtx-a6000", title="NVIDIA RTX A6000", architecture="Ampere", compute_capability="8.6",
        memory_gib=48, memory_type="GDDR6", bandwidth_gb_s=768, cores=10752, boost_mhz=1800, rt_cores=84,
        fp32_tflops=38.7, fp16_tflops=154.8, int8_tops=309.7, watts=300, encoders=1, decoders=2,
        codecs=_AMPERE, nvlink_gb_s=112.5, smi_names=("NVIDIA RTX A6000",),
        source="NVIDIA RTX A6000 datasheet; GA102 whitepaper"),
    Gpu(name="rtx-a5000", title="NVIDIA RTX A5000", architecture="Ampere", compute_capability="8.6",
        memory_gib=24, memory_type="GDDR6", bandwidth_gb_s=768, cores=8192, boost_mhz=1695, rt_cores=64,
        fp32_tflops=27.8, fp16_tflops=111.1, int8_tops=222.2, watts=230, encoders=1, decoders=2,
        codecs=_AMPERE, nvlink_gb_s=112.5, smi_names=("NVIDIA RTX A5000",),
        source="NVIDIA RTX A5000 datasheet"),
    Gpu(name="rtx-a4000", title="NVIDIA RTX A4000", architecture="Ampere", compute_capability="8.6",
        memory_gib=16, memory_type="GDDR6", bandwidth_gb_s=448, cores=6144, boost_mhz=1560, rt_cores=48,
        fp32_tflops=19.2, fp16_tflops=76.7, int8_tops=153.4, watts=140, encoders=1, decoders=1,
        codecs=_AMPERE, smi_names=("NVIDIA RTX A4000",), source="NVIDIA RTX A4000 datasheet"),
    Gpu(name="rtx-3090", title="NVIDIA GeForce RTX 3090", architecture="Ampere", compute_capability="8.6",
        memory_gib=24, memory_type="GDDR6X", bandwidth_gb_s=936, cores=10496, boost_mhz=1695, rt_cores=82,
        fp32_tflops=35.6, fp16_tflops=71, int8_tops=284, watts=350, encoders=1, decoders=1, codecs=_AMPERE,
        nvlink_gb_s=112.5, smi_names=("NVIDIA GeForce RTX 3090",),
        source="NVIDIA GA102 GPU architecture whitepaper, appendix A"),
    # Turing and Volta
    Gpu(name="t4", title="NVIDIA T4", architecture="Turing", compute_capability="7.5",
        memory_gib=16, memory_type="GDDR6", bandwidth_gb_s=320, cores=2560, boost_mhz=1590, rt_cores=40,
        fp32_tflops=8.1, fp16_tflops=65, int8_tops=130, watts=70, encoders=1, decoders=2, codecs=_TURING,
        smi_names=("Tesla T4",), source="NVIDIA T4 datasheet"),
    Gpu(name="quadro-rtx-6000", title="NVIDIA Quadro RTX 6000", architecture="Turing",
        compute_capability="7.5", memory_gib=24, memory_type="GDDR6", bandwidth_gb_s=672, cores=4608,
        boost_mhz=1770, rt_cores=72, fp32_tflops=16.3, fp16_tflops=130.5, int8_tops=261, watts=295,
        encoders=1, decoders=1, codecs=_TURING, nvlink_gb_s=100, smi_names=("Quadro RTX 6000",),
        source="NVIDIA Quadro RTX 6000 datasheet; Turing whitepaper, appendix"),
    Gpu(name="v100-16gb", title="NVIDIA V100 16GB", architecture="Volta", compute_capability="7.0",
        memory_gib=16, memory_type="HBM2", bandwidth_gb_s=900, cores=5120, boost_mhz=1380, rt_cores=0,
        fp32_tflops=14.1, fp16_tflops=112, watts=300, codecs=("encode:h264", "encode:hevc", *_DECODE),
        smi_names=("Tesla V100-SXM2-16GB", "Tesla V100-PCIE-16GB"), family="v100",
        source="NVIDIA V100 datasheet; throughput is PCIe's, SXM2 has 15.7 and 125 TFLOPS; watts are SXM2's"),
    Gpu(name="v100-32gb", title="NVIDIA V100 32GB", architecture="Volta", compute_capability="7.0",
        memory_gib=32, memory_type="HBM2", bandwidth_gb_s=900, cores=5120, boost_mhz=1380, rt_cores=0,
        fp32_tflops=14.1, fp16_tflops=112, watts=300, codecs=("encode:h264", "encode:hevc", *_DECODE),
        smi_names=("Tesla V100-SXM2-32GB", "Tesla V100-PCIE-32GB"), family="v100",
        source="NVIDIA V100 datasheet; throughput is PCIe's, SXM2 has 15.7 and 125 TFLOPS; watts are SXM2's"),
    # AMD
    Gpu(name="mi300x", title="AMD Instinct MI300X", vendor="amd", architecture="CDNA 3",
        compute_capability="gfx942", memory_gib=192, memory_type="HBM3", bandwidth_gb_s=5300, cores=19456,
        boost_mhz=2100, rt_cores=0, fp32_tflops=163.4, fp16_tflops=1307.4, fp8_tflops=2614.9,
        int8_tops=2614.9, watts=750, mig_instances=None, smi_names=("AMD Instinct MI300X",),
        source="AMD Instinct MI300X datasheet"),
)
# fmt: on
