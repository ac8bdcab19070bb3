"""GPU names: the wire's, with spaces, and ours.

Searches take the wire's names only; a list of them by our names makes the filter. Where the wire has one name for
several sizes (``A100 PCIE``) the memory of the answer tells. The ``A100X``, a card with a network chip, is none of
ours: its own tools do not call it an A100.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from providers import gpus

#: Canonical name to the wire's. What is missing here is looked for under its title.
#: Sources: other clients' maps, the official list of names; "RTX PRO 6000 S" and "Q RTX 6000" are unverified.
WIRE_NAMES: dict[str, tuple[str, ...]] = {
    "l40": ("L40",),
    "l40s": ("L40S",),
    "l4": ("L4",),
    "a10": ("A10",),
    "a10g": ("A10g", "A10G"),
    "a40": ("A40",),
    "a30": ("A30",),
    "t4": ("Tesla T4",),
    "v100-16gb": ("Tesla V100",),
    "v100-32gb": ("Tesla V100",),
    "a100-40gb": ("A100 PCIE", "A100 SXM4"),
    "a100-80gb": ("A100 PCIE", "A100 SXM4"),
    "h100-pcie": ("H100 PCIE",),
    "h100-sxm": ("H100 SXM",),
    "h100-nvl": ("H100 NVL",),
    "h200": ("H200",),
    "h200-nvl": ("H200 NVL",),
    "gh200": ("GH200 SXM", "GH200"),
    "b200": ("B200",),
    "b300": ("B300",),
    "rtx-6000-ada": ("RTX 6000Ada",),
    "rtx-5000-ada": ("RTX 5000Ada",),
    "rtx-a6000": ("RTX A6000",),
    "rtx-a5000": ("RTX A5000",),
    "rtx-a4000": ("RTX A4000",),
    "rtx-pro-6000": ("RTX PRO 6000 S",),
    "rtx-pro-6000-workstation": ("RTX PRO 6000 WS",),
    "quadro-rtx-6000": ("Q RTX 6000",),
    "rtx-5090": ("RTX 5090",),
    "rtx-4090": ("RTX 4090",),
    "rtx-3090": ("RTX 3090",),
    "mi300x": ("MI300X",),
}
#: Wire names that only one of our names can mean, whatever the words say.
_SINGLE: dict[str, str] = {
    names[index]: name
    for name, names in WIRE_NAMES.items()
    for index in range(len(names))
    if sum(names[index] in others for others in WIRE_NAMES.values()) == 1
}
_TITLE_NOISE = re.compile(r"^(NVIDIA|AMD)( GeForce| Instinct)? ")


def wire_names(names: Iterable[str]) -> list[str]:
    """What to ask a search for, to find the GPUs with our *names*; sorted, each once."""
    found: set[str] = set()
    for name in names:
        if name in WIRE_NAMES:
            found.update(WIRE_NAMES[name])
        elif name in gpus.GPUS:
            found.add(_TITLE_NOISE.sub("", gpus.GPUS[name].title))
    return sorted(found)


def canonical(wire_name: str, memory_gib: float | None) -> str:
    """Our name of a row's GPU; a plain form that is no model's name where the model is not certain.

    Memory is the usable one of a single GPU: up to 10 % less than nominal.
    """
    spaced = " ".join(wire_name.replace("_", " ").split())
    single = _SINGLE.get(spaced)
    if single is not None and (memory_gib is None or gpus.memory_matches(single, memory_gib)):
        return single
    known = gpus.canonical(spaced, memory_gib=memory_gib)
    if known is not None:
        return known
    plain = gpus.slug(spaced)
    if plain not in gpus.GPUS:
        return plain
    # A known name with a memory that is not that model's must not pass for it.
    return f"{plain}-{memory_gib:.0f}gib" if memory_gib is not None else f"{plain}-unknown"
