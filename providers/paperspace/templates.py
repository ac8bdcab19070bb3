"""Operating systems: which template a machine of a type is made from, and which types can be had at all.

Of all lists only this one names the machine-type labels. "ML in a Box" is Paperspace's Ubuntu with NVIDIA's driver;
whether plain Ubuntu has it on GPU machines is not documented, so that is second choice and the GPU probe decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from providers.paperspace.fields import number, record, text

_WITH_DRIVER = re.compile(r"ml[\W_]*in[\W_]*a[\W_]*box|mliab", re.IGNORECASE)
_UNUSABLE = re.compile(r"windows|desktop|centos|debian|fedora|red ?hat|rhel", re.IGNORECASE)
_UBUNTU = re.compile(r"ubuntu\D{0,20}(\d{2})\.(\d{2})", re.IGNORECASE)


class Template(NamedTuple):
    """One operating system: its id, what it is called, how much disk it needs (GB), and its merits, best last."""

    id: str
    title: str
    size_gib: int | None
    merit: tuple[bool, tuple[int, int], bool, str]


def labels(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """Every machine-type label that any template names, whether the template is for it or not."""
    return {label for row in rows for label in _types(row)}


def pick(rows: Iterable[Mapping[str, Any]], label: str) -> Template | None:
    """The best Linux for machines of type *label*: with the driver, then the newest Ubuntu; None if there is none.

    A template that lists no types at all is taken to be for any: what an absent list means is not documented.
    """
    fitting = [
        template for row in rows if _types(row).get(label, not _types(row)) and (template := _read(row)) is not None
    ]
    return max(fitting, key=lambda one: one.merit, default=None)


def _types(row: Mapping[str, Any]) -> dict[str, bool]:
    """Machine-type labels, and whether the template can be used with each."""
    listed = row.get("availableMachineTypes")
    found: dict[str, bool] = {}
    for one in listed if isinstance(listed, list) else []:
        label = text(record(one).get("machineTypeLabel"))
        if label is not None:
            found[label] = record(one).get("isAvailable") is not False
    return found


def _read(row: Mapping[str, Any]) -> Template | None:
    id_ = text(row.get("id"))
    title = " ".join(filter(None, (text(row.get("name")), text(row.get("operatingSystemLabel")))))
    agent = text(row.get("agentType")) or ""
    ubuntu, driver = _UBUNTU.search(title), bool(_WITH_DRIVER.search(title))
    usable = (ubuntu or driver or "ubuntu" in title.casefold()) and not _UNUSABLE.search(f"{title} {agent}")
    if id_ is None or not usable:
        return None
    size = number(row.get("defaultSizeGb"))
    version = (int(ubuntu[1]), int(ubuntu[2])) if ubuntu else (0, 0)
    newest = text(row.get("dtCreated")) or ""
    headless = "headless" in agent.casefold()
    return Template(
        id_, title, int(size) if size is not None and size > 0 else None, (driver, version, headless, newest)
    )
