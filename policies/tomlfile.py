"""TOML with line numbers: `tomllib` says what a file holds, a look at its lines says where.

The look understands plain tables and keys, which is all that policies and requests need. Where it finds nothing
the message does without a line.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from policies.errors import BadInput

_TABLE = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PLACE = re.compile(r"(.*?)\s*\(at (?:line (\d+), column \d+|end of document)\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TomlFile:
    """A file that was read.

    Attributes:
        name: as it stands in messages.
        data: its tables; numbers with a point are `Decimal`.
        lines: its text.
    """

    name: str
    data: dict[str, Any]
    lines: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, name: str, error: type[BadInput]) -> TomlFile:
        """Read *text*.

        Raises:
            BadInput: of the class *error*, with file and line, if it is not TOML.
        """
        try:
            data = tomllib.loads(text, parse_float=Decimal)
        except tomllib.TOMLDecodeError as wrong:
            place = _PLACE.fullmatch(str(wrong))
            line = int(place[2]) if place and place[2] else len(text.splitlines())
            raise error(f"not TOML: {place[1] if place else wrong}", file=name, line=line or None) from wrong
        return cls(name, data, tuple(text.splitlines()))

    def line_of(self, table: tuple[str, ...], *keys: str) -> int | None:
        """The line where one of *keys* is set in *table*, or, without keys, where the table begins."""
        wanted = {(*table, key) for key in keys} or {table}
        return next((number for number, path in self._marks() if path in wanted), None)

    def _marks(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        table: tuple[str, ...] = ()
        for number, line in enumerate(self.lines, 1):
            if header := _TABLE.fullmatch(line):
                table = _path(header[1])
                yield number, table
            elif key := _KEY.match(line):
                yield number, (*table, *_path(key[1]))


def _path(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
