"""The GPU probe: what a machine must prove before it counts as running.

A POSIX shell script, run over SSH, asks ``nvidia-smi`` for name, memory, uuid and uncorrected ECC errors of each
GPU and, where there is a python3, initialises CUDA through ctypes. `judge` reads its answer; it is pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from providers import gpus
from providers.errors import NotReachable, ProviderError, WrongGpu

SCRIPT = r"""
set -u
command -v nvidia-smi >/dev/null 2>&1 || { echo "probe: no nvidia-smi"; exit 3; }
nvidia-smi --query-gpu=name,memory.total,uuid,ecc.errors.uncorrected.volatile.total \
  --format=csv,noheader,nounits 2>&1 | sed 's/^/gpu: /'
[ -z "${CUDA_VISIBLE_DEVICES-}" ] || echo "visible: $CUDA_VISIBLE_DEVICES"
if command -v python3 >/dev/null 2>&1; then
python3 - <<'PROBE'
import ctypes
try:
    cuda = ctypes.CDLL("libcuda.so.1")
except OSError:
    print("cuda: not checked (no libcuda.so.1)")
else:
    status = cuda.cuInit(0)
    count = ctypes.c_int(0)
    if status == 0:
        status = cuda.cuDeviceGetCount(ctypes.byref(count))
    print("cuda: ok %d" % count.value if status == 0 else "cuda: failed %d" % status)
PROBE
else
echo "cuda: not checked (no python3)"
fi
"""


#: A virtual GPU's name is its board's and a profile: GiB of memory and the licence's letter ("NVIDIA A10-24Q"), as
#: NVIDIA's vGPU guide has it. Azure's A10 sizes are such, whole ones included.
_VGPU = re.compile(r"(?:GRID )?(.+)-\d{1,3}[ABCQ]")


@dataclass(frozen=True, slots=True)
class Probed:
    """What a machine proved.

    Attributes:
        names: GPU names as ``nvidia-smi`` gives them.
        uuids: their ids.
        cuda: ``ok``, or why it was not checked.
    """

    names: tuple[str, ...]
    uuids: tuple[str, ...]
    memory_mib: tuple[int, ...]
    cuda: str

    @property
    def warning(self) -> str | None:
        """What could not be checked."""
        return None if self.cuda == "ok" else f"cuda: {self.cuda}"


def judge(output: str, status: int, *, gpu: str, count: int) -> Probed:
    """Hold the probe's *output* against what is paid for.

    Args:
        gpu: canonical model name, or a slug for a model that the table does not know.
        count: GPUs promised; more are fine, fewer are not.

    Raises:
        WrongGpu: other model, too few, ECC errors, or CUDA that does not start.
        NotReachable: the probe itself did not run.
    """
    rows, cuda = _read(output)
    rows = _visible(rows, output)
    if status == 3 or "probe: no nvidia-smi" in output:
        raise WrongGpu("the machine has no nvidia-smi: no NVIDIA driver is installed", code="no-nvidia-smi")
    if status == 255 or (status != 0 and not rows):
        raise NotReachable(f"the GPU probe did not run (exit {status}): {output.strip()[:200]}", code="probe")
    if not rows:
        raise WrongGpu(f"nvidia-smi shows no GPU: {output.strip()[:200]}", code="no-gpu")
    names = tuple(row[0] for row in rows)
    for name, memory, _, ecc in rows:
        _check_one(name, memory, ecc, gpu)
    if len(rows) < count:
        raise WrongGpu(f"{len(rows)} GPUs where {count} are paid for", code="too-few")
    if cuda.startswith("failed"):
        raise WrongGpu(f"CUDA does not start on the machine ({cuda})", code="cuda-init")
    memory_mib = tuple(row[1] for row in rows)
    return Probed(names, tuple(row[2] for row in rows), memory_mib, "ok" if cuda.startswith("ok") else cuda)


def _check_one(name: str, memory_mib: int, ecc: str, gpu: str) -> None:
    profile = _VGPU.fullmatch(name)
    if profile is not None:
        # A share of a GPU has its profile's memory, so that no memory tells the model.
        found = gpus.canonical(profile[1]) or gpus.slug(profile[1])
    else:
        found = gpus.canonical(name, memory_gib=memory_mib / 1024 if memory_mib else None) or gpus.slug(name)
    if found != gpu:
        raise WrongGpu(f"the machine has {name} where {gpu} is paid for", code="wrong-gpu")
    if ecc.isdigit() and int(ecc) > 0:
        raise WrongGpu(f"{name} reports {ecc} uncorrected ECC errors", code="ecc")


def _read(output: str) -> tuple[list[tuple[str, int, str, str]], str]:
    rows: list[tuple[str, int, str, str]] = []
    cuda = "not checked"
    for line in output.splitlines():
        if line.startswith("gpu: "):
            parts = [part.strip() for part in line.removeprefix("gpu: ").split(",")]
            if len(parts) >= 4:
                rows.append((parts[0], int(parts[1]) if parts[1].isdigit() else 0, parts[2], parts[3]))
        elif line.startswith("cuda: "):
            cuda = line.removeprefix("cuda: ")
    return rows, cuda


def _visible(rows: list[tuple[str, int, str, str]], output: str) -> list[tuple[str, int, str, str]]:
    """The GPUs that CUDA is allowed to use: on a shared machine `nvidia-smi` shows those of others, too.

    Only for what can be understood: indexes, or ids and beginnings of ids that are there.
    """
    said = next((line.removeprefix("visible: ") for line in output.splitlines() if line.startswith("visible: ")), "")
    words = [word.strip() for word in said.split(",") if word.strip()]
    chosen = []
    for word in words:
        found = [row for row in rows if word.startswith("GPU-") and row[2].startswith(word)]
        if word.isdecimal() and int(word) < len(rows):
            found = [rows[int(word)]]
        if len(found) != 1:
            return rows
        chosen += found
    return chosen or rows


def failure(error: Exception) -> ProviderError:
    """Any error of probing as a provider error."""
    return error if isinstance(error, ProviderError) else NotReachable(str(error), code="probe")
