"""The filters of the emulated Azure's lists: the part of OData that its documents show.

``eq``, ``ne``, ``and``, ``or``, ``not``, brackets, and the functions ``contains``, ``startswith``, ``endswith`` and
``substringof``, alone or compared with true or false.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<word>[A-Za-z_][\w/.]*)|(?P<number>-?\d+(?:\.\d+)?)|(?P<mark>[(),]))"
)
_FUNCTIONS = ("contains", "startswith", "endswith", "substringof")

Test = Callable[[Mapping[str, Any]], bool]


class BadFilter(ValueError):
    """The filter cannot be read."""


def parse(text: str, *, case: bool = True) -> tuple[Test, set[str]]:
    """A test for rows (fields by name), and the names of the fields that the filter uses.

    Args:
        case: whether upper and lower case of values differ.

    Raises:
        BadFilter: it is no filter that is understood here.
    """
    reader = _Reader(_tokens(text), case)
    test = reader.either()
    if reader.at < len(reader.tokens):
        raise BadFilter(f"unexpected {reader.tokens[reader.at][1]!r}")
    return test, reader.fields


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at, text = [], 0, text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadFilter(f"unexpected {text[at:]!r}")
        kind = str(match.lastgroup)
        found.append((kind, match[kind]))
        at = match.end()
    return found


class _Reader:
    def __init__(self, tokens: list[tuple[str, str]], case: bool) -> None:
        self.tokens = tokens
        self.case = case
        self.at = 0
        self.fields: set[str] = set()

    def either(self) -> Test:
        tests = [self.both()]
        while self._word("or"):
            tests.append(self.both())
        return lambda row: any(test(row) for test in tests)

    def both(self) -> Test:
        tests = [self.one()]
        while self._word("and"):
            tests.append(self.one())
        return lambda row: all(test(row) for test in tests)

    def one(self) -> Test:
        if self._word("not"):
            inner = self.one()
            return lambda row: not inner(row)
        if self._mark("("):
            inner = self.either()
            self._need(")")
            return inner
        kind, text = self._next()
        if kind != "word":
            raise BadFilter(f"unexpected {text!r}")
        if text.lower() in _FUNCTIONS and self._mark("("):
            return self._function(text.lower())
        return self._comparison(text)

    def _function(self, name: str) -> Test:
        first = self._next()
        self._need(",")
        second = self._next()
        self._need(")")
        field, value = (second, first) if name == "substringof" else (first, second)
        if field[0] != "word" or value[0] != "text":
            raise BadFilter(f"{name} needs a field and a text")
        self.fields.add(field[1])
        wanted = self._fold(_text(value[1]))

        def test(row: Mapping[str, Any]) -> bool:
            found = self._fold(str(row.get(field[1], "")))
            if name == "startswith":
                return found.startswith(wanted)
            return found.endswith(wanted) if name == "endswith" else wanted in found

        if self._word("eq"):
            _, word = self._next()
            if word.lower() == "false":
                return lambda row: not test(row)
            if word.lower() != "true":
                raise BadFilter(f"{name} is true or false")
        return test

    def _comparison(self, field: str) -> Test:
        self.fields.add(field)
        _, operator = self._next()
        kind, text = self._next()
        if operator.lower() not in ("eq", "ne"):
            raise BadFilter(f"unknown operator {operator!r}")
        wanted = self._value(kind, text)
        same = operator.lower() == "eq"
        return lambda row: (self._known(row.get(field)) == wanted) is same

    def _value(self, kind: str, text: str) -> Any:
        if kind == "text":
            return self._fold(_text(text))
        if kind == "number":
            return Decimal(text)
        if text.lower() in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[text.lower()]
        raise BadFilter(f"{text!r} is no value")

    def _known(self, value: Any) -> Any:
        return self._fold(value) if isinstance(value, str) else value

    def _fold(self, text: str) -> str:
        return text if self.case else text.casefold()

    def _next(self) -> tuple[str, str]:
        if self.at >= len(self.tokens):
            raise BadFilter("unexpected end")
        self.at += 1
        return self.tokens[self.at - 1]

    def _word(self, word: str) -> bool:
        if self.at < len(self.tokens) and self.tokens[self.at][1].lower() == word and self.tokens[self.at][0] == "word":
            self.at += 1
            return True
        return False

    def _mark(self, mark: str) -> bool:
        if self.at < len(self.tokens) and self.tokens[self.at] == ("mark", mark):
            self.at += 1
            return True
        return False

    def _need(self, mark: str) -> None:
        if not self._mark(mark):
            raise BadFilter(f"{mark!r} is missing")


def _text(token: str) -> str:
    return token[1:-1].replace("''", "'")
