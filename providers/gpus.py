"""GPU names and what they mean: one normaliser for providers' words and users', and the figures behind names.

A name that is not known stays unknown: nothing here guesses. `providers/gpus_data.py` holds the figures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from providers.gpus_data import TABLE, Gpu

__all__ = [
    "GPUS",
    "Gpu",
    "UnknownGpu",
    "at_least",
    "canonical",
    "expand",
    "get",
    "memory_matches",
    "slug",
]

#: Every model by its canonical name, in the table's order.
GPUS: dict[str, Gpu] = {gpu.name: gpu for gpu in TABLE}

# What a machine reports is less than the nominal memory (ECC, reserved, or decimal GB read as GiB): down to
# 22.0 of 24 GiB was seen. A little more appears too: B200 is sold as 180 and as 192.
_LEAST, _MOST = 0.90, 1.08

# Words that tell no two models of the table apart. "NVLink" is here because an SXM board and a bridged PCIe
# pair are both called that.
_NOISE_WORDS = """nvidia geforce tesla amd instinct radeon generation gen edition server blackwell lovelace
    tensor core gpu graphics nvlink oam ac"""
_NOISE = frozenset(_NOISE_WORDS.split())
_MEMORY = re.compile(r"^(\d{1,3})(?:gb|gib|gi|g)$")
_MEMORY_TYPE = re.compile(r"^(?:hbm\d?e?|gddr\d?x?)$")
_FORM = re.compile(r"^(pcie|sxm|nvl)\d?$")
# Words written without any separator: "h100sxm5", "l40s48gb". Digits would run together in "a10080gb".
_GLUED_FORM = re.compile(r"^(.*\d)((?:pcie|sxm|nvl)\d?)$")
_GLUED_MEMORY = re.compile(r"^(.*\d[a-z]+)(\d{2,3}(?:gb|gib|gi))$")


class UnknownGpu(ValueError):
    """A GPU name that is not in the table, or that could be several models.

    Attributes:
        word: what was asked.
        nearest: canonical names that might be meant, best first.
    """

    def __init__(self, word: str, nearest: tuple[str, ...]) -> None:
        hint = f"; did you mean {', '.join(nearest)}?" if nearest else ""
        super().__init__(f"unknown GPU {word!r}{hint}")
        self.word = word
        self.nearest = nearest


class _Words:
    """A name taken apart: the model's key and what else the words said."""

    __slots__ = ("form", "key", "memory", "memory_type", "sound")

    def __init__(self, text: str) -> None:
        self.form: str | None = None
        self.memory: float | None = None
        self.memory_type: str | None = None
        self.sound = True
        kept: list[str] = []
        for word in _split(text):
            if not self._take(word) and word not in _NOISE:
                kept.append(word)
        self.key = _join(kept)

    def _take(self, word: str) -> bool:
        if match := _MEMORY.match(word):
            self.sound = self.sound and self.memory in (None, float(match[1]))
            self.memory = float(match[1])
        elif match := _FORM.match(word):
            self.sound = self.sound and self.form in (None, match[1])
            self.form = match[1]
        elif _MEMORY_TYPE.match(word):
            self.memory_type = word
        else:
            return False
        return True


def _split(text: str) -> list[str]:
    words: list[str] = []
    for word in re.sub(r"[^a-z0-9]+", " ", text.lower()).split():
        if words and words[-1].isdigit() and word in ("gb", "gib", "gi"):
            words[-1] += word
        elif match := _GLUED_MEMORY.match(word) or _GLUED_FORM.match(word):
            words += [match[1], match[2]]
        else:
            words.append(word)
    return words


def _join(words: list[str]) -> str:
    # Two runs of digits never grow together: "a10 0" is not "a100".
    key = ""
    for word in words:
        key += ("-" if key[-1:].isdigit() and word[0].isdigit() else "") + word
    return key


def _whole(text: str) -> str:
    return _join([word for word in _split(text) if word not in _NOISE])


def _keys() -> tuple[dict[str, tuple[Gpu, ...]], dict[str, Gpu]]:
    """What keys may mean, and which whole names mean exactly one model whatever their parts say."""
    several: dict[str, list[Gpu]] = {}
    for gpu in TABLE:
        several.setdefault(_Words(gpu.family or gpu.name).key, []).append(gpu)
    # Said without "Quadro" or "Ada", this name was used twice; only the memory tells which.
    several["rtx6000"] = [GPUS["quadro-rtx-6000"], GPUS["rtx-6000-ada"]]
    short = {"a6000": "rtx-a6000", "a5000": "rtx-a5000", "a4000": "rtx-a4000", "6000ada": "rtx-6000-ada"}
    short |= {"5000ada": "rtx-5000-ada", "4090": "rtx-4090", "5090": "rtx-5090", "3090": "rtx-3090"}
    short |= {"rtxpro6000ws": "rtx-pro-6000-workstation", "rtxpro6000se": "rtx-pro-6000"}
    for key, name in short.items():
        several[key] = [GPUS[name]]
    whole = {_whole(name): gpu for gpu in TABLE for name in (gpu.name, *gpu.smi_names)}
    return {key: tuple(gpus) for key, gpus in several.items()}, whole


_BY_KEY, _BY_WHOLE_NAME = _keys()


def _candidates(text: str, memory_gib: float | None, interface: str | None) -> tuple[Gpu, ...]:
    given = _FORM.match(re.sub(r"[^a-z0-9]", "", (interface or "").lower()))
    form = given[1] if given else None
    exact = _BY_WHOLE_NAME.get(_whole(text))
    if exact and _narrow((exact,), (memory_gib,), form):
        return (exact,)
    words = _Words(text)
    if not words.sound or (form and words.form and form != words.form):
        return ()
    gpus = _narrow(_BY_KEY.get(words.key, ()), (memory_gib, words.memory), form or words.form)
    if len(gpus) > 1 and words.memory_type:
        gpus = [gpu for gpu in gpus if gpu.memory_type.lower() == words.memory_type]
    if form is None and words.form is None:
        # The plain name means the plain model: "H200 141GB" is the SXM one, the other is called "H200 NVL".
        gpus = [gpu for gpu in gpus if gpu.name == gpu.family] or gpus
    return tuple(gpus)


def _narrow(gpus: Sequence[Gpu], memories: tuple[float | None, ...], form: str | None) -> list[Gpu]:
    left = [gpu for gpu in gpus if all(size is None or _fits(gpu, size) for size in memories)]
    if form is None:
        return left
    usual = [gpu for gpu in left if not gpu.forms or gpu.forms[0] == form]
    return usual or [gpu for gpu in left if form in gpu.forms]


def _fits(gpu: Gpu, reported_gib: float) -> bool:
    return gpu.memory_gib * _LEAST <= reported_gib <= gpu.memory_gib * _MOST


def canonical(text: str, memory_gib: float | None = None, interface: str | None = None) -> str | None:
    """The canonical name of what a provider or a user calls *text*, or None if that is not certain.

    Case, separators, vendor words, memory sizes and form factors are understood. A memory that does not fit
    (a slice of a GPU, the sum of several) makes a name unknown. A form factor matters only where models
    differ by it, since resellers state it carelessly elsewhere.

    Args:
        memory_gib: memory of one GPU as the provider reports it, nominal or usable, if it does.
        interface: its form factor ("pcie", "SXM", "SXM5", "NVL"), if the provider says it apart; others are
            ignored.
    """
    found = _candidates(text, memory_gib, interface)
    return found[0].name if len(found) == 1 else None


def slug(text: str) -> str:
    """A plain lower-case-hyphen form of any model's name, for `Offer.gpu` where `canonical` knows none."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return plain.removeprefix("nvidia-") or "unknown"


def get(name: str) -> Gpu:
    """The model with that canonical name.

    Raises:
        UnknownGpu: there is none.
    """
    if name not in GPUS:
        raise UnknownGpu(name, _nearest(name))
    return GPUS[name]


def memory_matches(name: str, reported_gib: float) -> bool:
    """Whether a machine reporting *reported_gib* for one GPU may hold the model *name*.

    Usable memory is up to 10 % less than nominal (an L4 reports 22.5 of 24).

    Raises:
        UnknownGpu: nothing is known of that model, so there is nothing to compare with.
    """
    return _fits(get(name), reported_gib)


def expand(words: str | Iterable[str]) -> tuple[str, ...]:
    """The canonical names that a user's `--gpu` words mean, each once, in the order asked.

    Words may hold comma lists. A family's name means all its models (a100: both sizes; h100: PCIe, SXM and
    NVL) unless a model has that very name (h200).

    Raises:
        UnknownGpu: a word is in no table, or is the name of models too different to be a family.
    """
    names: dict[str, None] = {}
    for text in [words] if isinstance(words, str) else words:
        for word in filter(None, (part.strip() for part in text.split(","))):
            names.update(dict.fromkeys(_meant(word)))
    return tuple(names)


def _meant(word: str) -> tuple[str, ...]:
    found = _candidates(word, None, None)
    if found and len({gpu.family or gpu.name for gpu in found}) == 1:
        return tuple(gpu.name for gpu in found)
    raise UnknownGpu(word, tuple(gpu.name for gpu in found) or _nearest(word))


def _nearest(word: str) -> tuple[str, ...]:
    from difflib import get_close_matches  # 5 ms, needed for mistakes only

    key = _Words(word).key or slug(word)
    known = _BY_KEY | {gpu.name: (gpu,) for gpu in TABLE}
    close = get_close_matches(key, known, n=4, cutoff=0.6)
    return tuple(dict.fromkeys(gpu.name for match in close for gpu in known[match]))[:4]


def at_least(names: Iterable[str]) -> tuple[str, ...]:
    """*names*, then every model that is at least as good as any of them, in the table's order.

    As good means memory, bandwidth, FP16/BF16 and FP8, each. A figure that is None is as good as None only.
    Software must go on working, so the vendor is the same, BF16 is not lost, and a model that comes with a
    CPU of another architecture does not count. Names that are not in the table are kept and add nothing.
    """
    asked = dict.fromkeys(names)
    models = [GPUS[name] for name in asked if name in GPUS]
    better = (gpu.name for gpu in TABLE if any(_as_good(gpu, model) for model in models))
    return tuple({**asked, **dict.fromkeys(better)})


def _as_good(gpu: Gpu, than: Gpu) -> bool:
    if (gpu.vendor, gpu.host_arch) != (than.vendor, than.host_arch) or (_bf16(than) and not _bf16(gpu)):
        return False
    pairs = (
        (gpu.memory_gib, than.memory_gib),
        (gpu.bandwidth_gb_s, than.bandwidth_gb_s),
        (gpu.fp16_tflops, than.fp16_tflops),
        (gpu.fp8_tflops, than.fp8_tflops),
    )
    return all(theirs is None or (ours is not None and ours >= theirs) for ours, theirs in pairs)


def _bf16(gpu: Gpu) -> bool:
    # NVIDIA's tensor cores know BF16 from compute capability 8.0 (Ampere) on.
    return gpu.vendor == "amd" or float(gpu.compute_capability) >= 8
