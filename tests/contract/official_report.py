"""A pytest plugin: the table of exchanges that were held to official descriptions, summed over all test workers.

It is loaded from `tests/conftest.py`, since the process that prints a parallel run collects no tests of its own and
so never loads this folder's conftest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

_COLUMNS = ("provider", "official source", "exchanges", "requests only", "operations", "listed differences")


@dataclass(slots=True)
class Tally:
    """What was seen of one provider.

    Attributes:
        source: the files of the description, below the folder of descriptions.
        validated: exchanges whose request and answer were both held to the description.
        requests: exchanges whose answer a fault garbled, so that only the request was.
        operations: names of the operations.
        differences: the listed differences that occurred, as text.
    """

    source: str
    validated: int = 0
    requests: int = 0
    operations: set[str] = field(default_factory=set)
    differences: set[str] = field(default_factory=set)

    def add(self, other: Tally) -> None:
        """Count *other*'s exchanges, too."""
        self.validated += other.validated
        self.requests += other.requests
        self.operations |= other.operations
        self.differences |= other.differences

    def dump(self) -> dict[str, Any]:
        """Plain values, fit to be sent from a test worker."""
        return {
            "source": self.source,
            "validated": self.validated,
            "requests": self.requests,
            "operations": sorted(self.operations),
            "differences": sorted(self.differences),
        }

    @classmethod
    def load(cls, value: dict[str, Any]) -> Tally:
        """What `dump` gave."""
        sets = {key: set(value[key]) for key in ("operations", "differences")}
        return cls(value["source"], value["validated"], value["requests"], **sets)


#: Everything seen in this process, by provider.
SEEN: dict[str, Tally] = {}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker sends what it has seen to the process that prints."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["official"] = {name: tally.dump() for name, tally in SEEN.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Sum up what a worker has seen."""
    for name, tally in getattr(node, "workeroutput", {}).get("official", {}).items():
        counted = Tally.load(tally)
        SEEN.setdefault(name, Tally(counted.source)).add(counted)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not SEEN:
        return
    terminalreporter.section("exchanges held to official API descriptions")
    for line in table(SEEN):
        terminalreporter.line(line)


def table(seen: dict[str, Tally]) -> list[str]:
    """Lines for people."""
    rows = [_COLUMNS, *(_row(name, tally) for name, tally in sorted(seen.items()))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(name: str, tally: Tally) -> tuple[str, ...]:
    counts = (tally.validated, tally.requests, len(tally.operations), len(tally.differences))
    return (name, tally.source, *map(str, counts))
