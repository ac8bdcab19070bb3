"""Watches the exchanges of one emulator: judged by the official description, less the listed differences, counted.

`differences.toml` is the only list of what may differ. A finding that no entry covers fails the test in which it
turns up; an entry that covers nothing any more fails `test_exchanges.py`.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from providers.sandbox.faults import TRANSPORT
from providers.sandbox.world import Exchange, World
from tests.contract.official import FILES, Finding, description
from tests.contract.official_report import SEEN, Tally

LIST = Path(__file__).with_name("differences.toml")
WHERE = ("operation", "request", "query", "status", "response", "header")
_KEYS = {"provider", "operation", "where", "at", "says", "reason", "source"}
#: No provider's answers are this long; `providers.sandbox.kit` makes them so on request.
_OVERSIZED = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Difference:
    """One entry of the list.

    Attributes:
        operation: a pattern (``*`` and ``?``; brackets stand for themselves) for `Finding.operation`.
        where: one of `WHERE`.
        at: a pattern, like `operation`, for `Finding.at`.
        says: a regular expression that the finding's message must match somewhere.
        reason: why the wire is right and the description is not, or what the sandbox does on purpose.
        source: where that is known from: a fact sheet and its section.
    """

    provider: str
    operation: str
    where: str
    at: str
    says: str
    reason: str
    source: str

    def covers(self, finding: Finding) -> bool:
        """Whether *finding* is this difference."""
        return (
            (self.provider, self.where) == (finding.provider, finding.where)
            and _like(finding.operation, self.operation)
            and _like(finding.at, self.at)
            and re.search(self.says, finding.message) is not None
        )

    def __str__(self) -> str:
        says = f" ({self.says})" if self.says else ""
        return f"{self.provider}: {self.operation}: {self.where} {self.at}{says}"


class Watch:
    """A recorder for `World.recorder`. It judges nothing where the provider has published no description.

    Args:
        seen: where it counts, too, beside its own `tally`; everything seen in this process, unless given.
    """

    def __init__(self, provider: str, world: World, seen: dict[str, Tally] | None = None) -> None:
        self.provider = provider
        self.tally = Tally(FILES.get(provider, ""))
        self.unlisted: dict[Finding, None] = {}
        self._world = world
        self._seen = SEEN if seen is None else seen
        self._description = description(provider)

    def __call__(self, exchange: Exchange) -> None:
        """Judge one exchange and count it."""
        if self._description is None:
            return
        answered = not self._is_garbled(exchange)
        name, findings = self._description.judge(exchange, answered=answered)
        if not name:
            return  # of a service that the description leaves out as a whole: nothing to hold it to
        seen = Tally(self.tally.source)
        if not any(finding.where == "operation" for finding in findings):
            seen = Tally(self.tally.source, int(answered), int(not answered), {name})
        for finding in findings:
            entry = next((one for one in differences() if one.covers(finding)), None)
            if entry is None:
                self.unlisted[finding] = None
            else:
                seen.differences.add(str(entry))
        self.tally.add(seen)
        self._seen.setdefault(self.provider, Tally(seen.source)).add(seen)

    def check(self) -> None:
        """Fail on what differs and is not listed."""
        what = "\n".join(str(finding) for finding in self.unlisted)
        assert not self.unlisted, f"not as the official description says, and not in {LIST.name}:\n{what}"

    def _is_garbled(self, exchange: Exchange) -> bool:
        """Whether a fault put something else in the answer's place.

        A cut answer is recorded whole, a lost one not at all. The mark of the fault is looked for in the answer,
        for answers to requests that run side by side are recorded in any order.
        """
        happened = {kind for provider, kind, _ in self._world.faults.happened if provider == self.provider}
        marks = {
            "malformed": exchange.body.startswith(b'{"oops"'),
            "html": exchange.body.startswith(b"<html>") and exchange.status == 200,
            "oversized": len(exchange.body) > _OVERSIZED,
            "redirect": exchange.status == 302,
            # It changes the media type, and of what it cuts nothing but a success is sure to be JSON.
            "truncated": exchange.status >= 400,
        }
        assert marks.keys() <= TRANSPORT
        return exchange.faulty and any(marks[kind] for kind in happened & marks.keys())


@functools.cache
def differences(file: Path = LIST) -> tuple[Difference, ...]:
    """The list; an entry with several places is several differences.

    Raises:
        ValueError: an entry lacks something, or has something that no entry has.
    """
    entries = tomllib.loads(file.read_text(encoding="utf-8")).get("difference", [])
    return tuple(one for number, entry in enumerate(entries, 1) for one in _expanded(number, entry, file))


def _expanded(number: int, entry: dict[str, Any], file: Path) -> Iterator[Difference]:
    entry = {"says": "", **entry}
    if entry.keys() != _KEYS or entry["where"] not in WHERE or not (entry["reason"] and entry["source"]):
        raise ValueError(f"{file.name}: entry {number}: needs {sorted(_KEYS)}, where from {WHERE}, reason and source")
    for at in [entry["at"]] if isinstance(entry["at"], str) else entry["at"]:
        yield Difference(**{**entry, "at": at})


def _like(text: str, pattern: str) -> bool:
    return fnmatchcase(text, pattern.replace("[", "[[]"))
