"""The only place that prints. Data goes to stdout, everything else to stderr.

With ``--json`` stdout carries exactly one JSON document; what would be data for people is then left out, and
notes still go to stderr. Nothing depends on colour alone. rich is imported only when a table is drawn on a
terminal; elsewhere columns are aligned with blanks, so that the text is stable and nothing is cut off.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import click

#: Texts longer than this may be folded on a narrow terminal.
FOLDED_FROM = 24

#: One cell: a text, or a text with a style (``dim``, ``bold``, ``red``, ``green``, ``yellow``, ``cyan``).
Cell = str | tuple[str, str]


@dataclass(slots=True)
class Table:
    """Rows under titles. A title that starts with ``>`` is aligned to the right (figures)."""

    titles: Sequence[str]
    rows: list[Sequence[Cell]] = field(default_factory=list)

    def add(self, *cells: Cell) -> None:
        """Append one row."""
        self.rows.append(cells)


class Output:
    """Prints for one command.

    Args:
        json: whether stdout belongs to one JSON document.
        no_color: the ``--no-color`` option; NO_COLOR and ``TERM=dumb`` have the same effect.

    Attributes:
        answered: the document is out, or begun: a failure after it goes to stderr alone.
    """

    def __init__(self, *, json: bool = False, no_color: bool = False) -> None:
        self.json = json
        self.answered = False
        self._plain = no_color or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"

    # -- data: stdout ------------------------------------------------------------------------------------

    def document(self, value: Any) -> None:
        """Print *value* as the one JSON document. Decimals become strings, times RFC 3339."""
        import msgspec

        self.answered = True
        text = msgspec.json.encode(value, enc_hook=_encode)
        if sys.stdout.isatty():
            text = msgspec.json.format(text, indent=2)
        self._write(sys.stdout, text.decode())

    @contextmanager
    def stream(self, name: str) -> Iterator[_Rows]:
        """One document ``{name: [...]}`` whose rows are written as they come; it is closed in any case."""
        rows = _Rows(self, name)
        try:
            yield rows
        finally:
            rows.close()

    def data(self, text: str = "", style: str | None = None) -> None:
        """One line of the answer, for people; nothing with ``--json``."""
        if not self.json:
            self._write(sys.stdout, self.styled(text, style, sys.stdout))

    def raw(self, text: str) -> None:
        """Text as it is on stdout (a completion script)."""
        self._write(sys.stdout, text.rstrip("\n"))

    # -- the rest: stderr --------------------------------------------------------------------------------

    def note(self, text: str = "", style: str | None = None) -> None:
        """One line beside the answer: progress, warnings, questions."""
        self._write(sys.stderr, self.styled(text, style, sys.stderr))

    def error(self, message: str, hint: str | None) -> None:
        """``error: what`` and, on a line of its own, ``hint: what to do``."""
        self.note(f"{self.styled('error:', 'red', sys.stderr)} {message}")
        if hint:
            self.note(f"{self.styled('hint:', 'cyan', sys.stderr)} {hint}")

    # -- both --------------------------------------------------------------------------------------------

    def table(self, table: Table, *, note: bool = False) -> None:
        """Draw *table* on stdout, or beside the answer if *note*."""
        if self.json and not note:
            return
        stream = sys.stderr if note else sys.stdout
        if stream.isatty():
            self._rich_table(table, stream)
            return
        for line in plain_table(table):
            self._write(stream, line)

    def colored(self, stream: IO[str]) -> bool:
        """Whether *stream* is a terminal that shall see colours."""
        return stream.isatty() and not self._plain

    def styled(self, text: str, style: str | None, stream: IO[str]) -> str:
        """*text* with terminal codes for *style* if *stream* takes colours."""
        if not style or not text or not self.colored(stream):
            return text
        if style in ("bold", "dim"):
            return click.style(text, bold=style == "bold" or None, dim=style == "dim" or None)
        return click.style(text, fg=style)

    def _rich_table(self, table: Table, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        console = Console(file=stream, no_color=self._plain, highlight=False)
        widths = _widths(table)
        if sum(min(width, FOLDED_FROM) for width in widths) + 2 * len(widths) > console.width:
            # Too narrow even with every long text folded: the terminal may break lines, but nothing is cut off.
            for line in plain_table(table):
                self._write(stream, line)
            return
        drawn = RichTable(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="" if self._plain else "bold")
        for title, width in zip(table.titles, widths, strict=True):
            drawn.add_column(
                title.lstrip(">"),
                justify="right" if title.startswith(">") else "left",
                overflow="fold",
                no_wrap=width <= FOLDED_FROM,
            )
        for row in table.rows:
            cells = map(_split, row)
            drawn.add_row(*(Text(text, "" if self._plain else style) for text, style in cells))
        console.print(drawn)

    def _write(self, stream: IO[str], text: str) -> None:
        stream.write(text + "\n")
        stream.flush()


class _Rows:
    """The rows of a streamed document."""

    def __init__(self, out: Output, name: str) -> None:
        self._out = out
        self._first = True
        if out.json:
            out.answered = True
            out._write(sys.stdout, f'{{"{name}": [')

    def add(self, row: Any) -> None:
        """Write one row, a JSON object on a line of its own."""
        if not self._out.json:
            return
        import msgspec

        text = msgspec.json.encode(row, enc_hook=_encode).decode()
        self._out._write(sys.stdout, text if self._first else f",{text}")
        self._first = False

    def close(self) -> None:
        """End the document."""
        if self._out.json:
            self._out._write(sys.stdout, "]}")


def plain_table(table: Table) -> Iterable[str]:
    """The lines of *table*: columns two blanks apart, no lines, no codes, no blanks at the end."""
    titles = [title.lstrip(">").upper() for title in table.titles]
    rows = [[_split(cell)[0] for cell in row] for row in table.rows]
    widths = _widths(table)
    right = [title.startswith(">") for title in table.titles]
    for row in [titles, *rows]:
        cells = [
            text.rjust(width) if flush else text.ljust(width)
            for text, width, flush in zip(row, widths, right, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def _widths(table: Table) -> list[int]:
    """Characters of the longest text of each column."""
    rows = [[title.lstrip(">") for title in table.titles], *([_split(cell)[0] for cell in row] for row in table.rows)]
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _split(cell: Cell) -> tuple[str, str]:
    return cell if isinstance(cell, tuple) else (cell, "")


def _encode(value: Any) -> Any:
    """What msgspec does not know: anything that can say itself as a dictionary."""
    to_dict = getattr(value, "to_dict", None)
    if to_dict is not None:
        return to_dict()
    raise NotImplementedError(f"cannot write {type(value).__name__} as JSON")
