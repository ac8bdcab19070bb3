"""What can be wrong with the words a person gave: each error says what, where, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable


class BadInput(ValueError):
    """Something a person wrote cannot be used.

    Attributes:
        message: what is wrong, one sentence without a full stop.
        hint: what to do about it, or None.
        file, line: where it stands, as far as that is known; `str()` puts them in front as compilers do.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, file: str | None = None, line: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.file = file
        self.line = line

    def __str__(self) -> str:
        if self.file is None:
            return self.message if self.line is None else f"line {self.line}: {self.message}"
        return f"{self.file}:{'' if self.line is None else f'{self.line}:'} {self.message}"


class BadRequest(BadInput):
    """A request that cannot be meant: a number out of bounds, an unknown unit, options that exclude each other."""


class BadPolicy(BadInput):
    """A policy that cannot be found or read, or a `--require` that is no requirement."""


class BadOffers(BadInput):
    """A saved market that cannot be read."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """``did you mean NAME?`` for a misspelt word, else the list of all there are."""
    from difflib import get_close_matches  # needed for mistakes only

    names = sorted(known)
    plain = {name.replace("_", "-").lower(): name for name in names}
    close = get_close_matches(word.replace("_", "-").lower(), plain, n=2, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(plain[name] for name in close) + "?"
    return "known are " + ", ".join(names) if names else None
