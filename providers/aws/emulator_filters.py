"""EC2's filters and pages, the same for every Describe call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from providers.aws.emulator_wire import Call, Refusal, items, text

T = TypeVar("T")
#: A filter's name to the values that a resource has for it.
Values = Mapping[str, Iterable[str]]


def matches(pattern: str, value: str) -> bool:
    """Whether *value* fits a filter value: ``*`` is any text, ``?`` one character, a backslash takes that away."""
    parts = re.findall(r"\\.|[*?]|[^\\*?]+|\\", pattern, re.DOTALL)
    words = {"*": ".*", "?": "."}
    wanted = "".join(
        words.get(part) or re.escape(part[1:] if part[:1] == "\\" and part[1:] else part) for part in parts
    )
    return re.fullmatch(wanted, value, re.DOTALL) is not None


def read(call: Call, name: str = "Filter") -> list[tuple[str, list[str]]]:
    """The request's filters: names, and the values of which one must fit."""
    found = []
    for node in call.items(name):
        filter_name = text(node, "Name") if isinstance(node, dict) else None
        values = [value for value in items(node, "Value") if isinstance(value, str)] if filter_name else []
        if not filter_name or not values:
            raise Refusal("InvalidParameterValue", "The filter must have a name and at least one value")
        found.append((filter_name, values))
    return found


def select(
    call: Call, found: Iterable[T], known: Callable[[T], Values], tags: Callable[[T], dict[str, str]]
) -> list[T]:
    """Those of *found* that every filter of the request lets through.

    Args:
        known: what a resource has to each filter's name; a name that it lacks is no filter of this call.
    """
    filters = read(call)
    return [one for one in found if all(_passes(known(one), tags(one), name, wanted) for name, wanted in filters)]


def check(call: Call, names: Iterable[str]) -> None:
    """Refuse filters that the call does not know, even if there is nothing to filter."""
    known = set(names)
    for name, _ in read(call):
        if name not in known and not name.startswith("tag:") and name != "tag-key":
            raise Refusal("InvalidParameterValue", f"The filter '{name}' is invalid")


def _passes(known: Values, tags: dict[str, str], name: str, wanted: list[str]) -> bool:
    if name == "tag-key":
        values: Iterable[str] = tags
    elif name.startswith("tag:"):
        key = name.removeprefix("tag:")
        values = [tags[key]] if key in tags else []
    elif name in known:
        values = known[name]
    else:
        raise Refusal("InvalidParameterValue", f"The filter '{name}' is invalid")
    return any(matches(pattern, value) for value in values for pattern in wanted)


def page(call: Call, found: Sequence[T], *, least: int = 5, most: int = 1000) -> tuple[list[T], str | None]:
    """One page of *found* by MaxResults and NextToken, and the next page's token."""
    size, token = call.number("MaxResults"), call.text("NextToken")
    if size is not None and not least <= size <= most:
        text_ = f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value between {least} and {most}."
        raise Refusal("InvalidParameterValue", text_)
    return _page(found, size, token)


def _page(found: Sequence[T], size: int | None, token: str | None) -> tuple[list[T], str | None]:
    start = 0
    if token:
        match = re.fullmatch(r"page-(\d{1,9})", token)
        if match is None:
            raise Refusal("InvalidNextToken", "The specified pagination token is invalid.")
        start = int(match[1])
    stop = len(found) if size is None else start + size
    return list(found[start:stop]), f"page-{stop}" if stop < len(found) else None


def json_page(params: Mapping[str, Any], found: Sequence[T], *, most: int = 100) -> tuple[list[T], str | None]:
    """The same for the JSON services, where a page is never longer than *most*."""
    size = params.get("MaxResults", most)
    if not isinstance(size, int) or not 1 <= size <= most:
        raise Refusal("InvalidParameterException", f"MaxResults must be between 1 and {most}")
    return _page(found, size, params.get("NextToken"))
