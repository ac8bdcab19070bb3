"""How the emulated Google Cloud lists things: filters (AIP-160's subset, and eq/ne), pages, scopes, field masks."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Any

from providers.gcp.emulator_wire import Call, Refusal, invalid, link

Item = dict[str, Any]
Test = Callable[[Item], bool]

_TOKEN = re.compile(
    r"""\s*(?:(?P<open>\()|(?P<close>\))|(?P<op><=|>=|!=|=|<|>|:)
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<word>[^\s()<>=!:"']+))""",
    re.VERBOSE,
)
_OLD = re.compile(r"\(?\s*([\w.-]+)\s+(eq|ne)\s+(\"[^\"]*\"|'[^']*'|[^\s)]+)\s*\)?")
_LARGEST = 500
_EMPTY = "NO_RESULTS_ON_PAGE"


def wanted(call: Call, known: frozenset[str] | None = None) -> Test:
    """The call's filter as a test.

    Args:
        known: names of fields that the things have; another one is refused.

    Raises:
        Refusal: it is none, or names an unknown field.
    """
    text = call.query.get("filter", "").strip()
    if not text:
        return lambda item: True
    try:
        if _OLD.match(text):
            return _old(text, known)
        parser = _Parser(text, known)
        found = parser.expression()
        if parser.tokens:
            raise ValueError(parser.tokens[0][1])
    except (ValueError, IndexError, re.error):
        raise invalid("filter", text, "Invalid list filter expression.") from None
    return found


def page(call: Call, items: list[Item], limit: int) -> tuple[list[Item], str | None]:
    """The items of the page that was asked for, and the next page's token."""
    size = call.query.get("maxResults", "500")
    if not size.isdecimal() or int(size) > _LARGEST:
        raise invalid("maxResults", size, "Must be less than or equal to 500")
    key = hashlib.sha256(f"{call.name}{sorted(call.parts.items())}{call.query.get('filter')}".encode()).hexdigest()[:12]
    start = _start(call, key)
    end = start + max(1, min(int(size) or _LARGEST, limit))
    token = base64.urlsafe_b64encode(f"{key}:{end}".encode()).decode() if end < len(items) else None
    return items[start:end], token


def _start(call: Call, key: str) -> int:
    token = call.query.get("pageToken")
    if not token:
        return 0
    try:
        found, _, start = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
        if found != key:
            raise ValueError
        return int(start)
    except ValueError:
        raise invalid("pageToken", token, "Invalid page token.") from None


def listing(call: Call, kind: str, path: str, items: list[Item], limit: int) -> Item:
    """The answer to a list of one collection; *kind* is that of one item, for example ``instance``."""
    shown, token = page(call, items, limit)
    answer: Item = {"kind": f"compute#{kind}List", "id": path, "selfLink": link(path)}
    if shown:
        answer["items"] = shown
    if token:
        answer["nextPageToken"] = token
    return answer


def aggregated(
    call: Call, kind: str, plural: str, found: Iterable[tuple[str, Item]], scopes: Iterable[str], limit: int
) -> Item:
    """The answer to an aggregated list.

    Args:
        found: (scope, item), a scope being for example ``zones/us-central1-a``.
        scopes: all there are; those without an item on the page carry a warning.
    """
    rows = [{"scope": scope, "item": item} for scope, item in found]
    shown, token = page(call, rows, limit)
    items: dict[str, Item] = {}
    for scope in scopes:
        here = [row["item"] for row in shown if row["scope"] == scope]
        items[scope] = {plural: here} if here else {"warning": _warning(scope)}
    path = f"projects/{call.project}/aggregated/{plural}"
    answer = {"kind": f"compute#{kind}AggregatedList", "id": path, "selfLink": link(path), "items": items}
    if token:
        answer["nextPageToken"] = token
    return answer


def _warning(scope: str) -> Item:
    return {
        "code": _EMPTY,
        "message": f"There are no results for scope '{scope}' on this page.",
        "data": [{"key": "scope", "value": scope}],
    }


class _Parser:
    """AIP-160: a sequence is an AND, and OR binds tighter than AND."""

    def __init__(self, text: str, known: frozenset[str] | None) -> None:
        self.known = known
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise ValueError(text[at:])
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()

    def expression(self) -> Test:
        tests = [self._either()]
        while self.tokens and self.tokens[0][0] != "close":
            if self.tokens[0] == ("word", "AND"):
                self.tokens.pop(0)
            tests.append(self._either())
        return lambda item: all(test(item) for test in tests)

    def _either(self) -> Test:
        tests = [self._term()]
        while self.tokens and self.tokens[0] == ("word", "OR"):
            self.tokens.pop(0)
            tests.append(self._term())
        return lambda item: any(test(item) for test in tests)

    def _term(self) -> Test:
        kind, text = self.tokens.pop(0)
        if (kind, text) == ("word", "NOT"):
            inner = self._term()
            return lambda item: not inner(item)
        if kind == "open":
            inner = self.expression()
            if self.tokens.pop(0)[0] != "close":
                raise ValueError(text)
            return inner
        if kind != "word" or self.tokens[0][0] != "op":
            raise ValueError(text)
        negative, name = text.startswith("-"), text.removeprefix("-")
        _check_name(name, self.known)
        _, operator = self.tokens.pop(0)
        kind, value = self.tokens.pop(0)
        if kind not in ("word", "text"):
            raise ValueError(value)
        test = _comparison(name, operator, _plain(value) if kind == "text" else value)
        return (lambda item: not test(item)) if negative else test


def _old(text: str, known: frozenset[str] | None) -> Test:
    """``name eq regex``, or several in parentheses."""
    tests: list[Test] = []
    at = 0
    while at < len(text.rstrip()):
        match = _OLD.match(text, at)
        if match is None:
            raise ValueError(text[at:])
        _check_name(match[1], known)
        tests.append(_matching(match[1], re.compile(_plain(match[3])), match[2] == "eq"))
        at = match.end()
        at += len(text[at:]) - len(text[at:].lstrip())
    return lambda item: all(test(item) for test in tests)


def _matching(name: str, pattern: re.Pattern[str], same: bool) -> Test:
    return lambda item: any(pattern.fullmatch(_text(value)) for value in _values(item, name)) is same


def _check_name(name: str, known: frozenset[str] | None) -> None:
    if not re.fullmatch(r"[A-Za-z_][\w.-]*", name) or (known is not None and name.partition(".")[0] not in known):
        raise ValueError(name)


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text[:1] in ("'", '"') else text


def _comparison(name: str, operator: str, wanted_value: str) -> Test:
    def test(item: Item) -> bool:
        values = _values(item, name)
        if operator == ":":
            return bool(values) if wanted_value == "*" else any(_has(value, wanted_value) for value in values)
        if operator == "!=":
            return not any(_same(value, wanted_value) for value in values)
        if operator == "=":
            return any(_same(value, wanted_value) for value in values)
        return any(_ordered(value, operator, wanted_value) for value in values)

    return test


def _values(item: Any, name: str) -> list[Any]:
    found = [item]
    for part in name.split("."):
        found = [one[part] for one in found if isinstance(one, dict) and part in one]
        found = [inner for one in found for inner in (one if isinstance(one, list) else [one])]
    return found


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _same(value: Any, wanted_value: str) -> bool:
    if "*" in wanted_value:
        return re.fullmatch(re.escape(wanted_value).replace(r"\*", ".*"), _text(value)) is not None
    return _text(value) == wanted_value


def _has(value: Any, wanted_value: str) -> bool:
    if isinstance(value, dict):
        return wanted_value in value
    return wanted_value.replace("*", "").casefold() in _text(value).casefold()


def _ordered(value: Any, operator: str, wanted_value: str) -> bool:
    left, right = _text(value), wanted_value
    try:
        order = (float(left) > float(right)) - (float(left) < float(right))
    except ValueError:
        order = (left > right) - (left < right)
    return {"<": order < 0, ">": order > 0, "<=": order <= 0, ">=": order >= 0}[operator]


# Field masks: `fields=items(name,labels/orch),nextPageToken`.


def masked(value: Any, mask: str) -> Any:
    """*value* with the fields that *mask* names.

    Raises:
        Refusal: the mask cannot be read.
    """
    try:
        tree, rest = _mask(mask)
        if rest:
            raise ValueError(rest)
    except (ValueError, IndexError):
        raise Refusal(400, "invalidParameter", f"Invalid field selection {mask}") from None
    return _apply(value, tree)


def _mask(text: str) -> tuple[Item, str]:
    tree: Item = {}
    while text and text[0] != ")":
        match = re.match(r"[\w*-]+(?:/[\w*-]+)*", text)
        if match is None:
            raise ValueError(text)
        names, text = match[0].split("/"), text[match.end() :]
        inner: Item = {}
        if text.startswith("("):
            inner, text = _mask(text[1:])
            if not text.startswith(")"):
                raise ValueError(text)
            text = text[1:]
        node = tree
        for name in names[:-1]:
            node = node.setdefault(name, {})
        node.setdefault(names[-1], {}).update(inner)
        text = text.removeprefix(",")
    return tree, text


def _apply(value: Any, tree: Item) -> Any:
    if not tree:
        return value
    if isinstance(value, list):
        return [_apply(one, tree) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _apply(one, tree[key if key in tree else "*"]) for key, one in value.items() if key in tree or "*" in tree
    }
