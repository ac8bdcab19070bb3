"""Scenarios: which faults wait when a sandbox starts. TOML files, or made up from a seed.

A scenario is named by the name of a file in `scenarios/`, by a path (with a slash, or ending in ``.toml``), or as
``random:SEED``.
"""

from __future__ import annotations

import difflib
import random
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from providers.sandbox.client import SandboxError
from providers.sandbox.faults import SEMANTIC, TRANSPORT, Fault

DEFAULT = "default"
_FOLDER = Path(__file__).with_name("scenarios")
_VERBS = ("*", "offers", "price", "launch", "find", "owned", "terminate", "account", "other")
_TYPES: dict[str, type] = {"kind": str, "provider": str, "verb": str, "subject": str, "times": int, "args": dict}


class ScenarioError(SandboxError):
    """The scenario cannot be used; the message says where and why."""


def builtin() -> dict[str, str]:
    """The scenarios that come along: name to description."""
    found = {}
    for file in sorted(_FOLDER.glob("*.toml")):
        found[file.stem] = str(tomllib.loads(file.read_text(encoding="utf-8")).get("description", ""))
    return found


def absolute(name: str) -> str:
    """*name* such that it means the same in another working folder."""
    return str(Path(name).absolute()) if _is_path(name) else name


def load(name: str, emulators: Mapping[str, frozenset[str]], *, known: Iterable[str] = ()) -> list[Fault]:
    """The faults of scenario *name*.

    Args:
        emulators: provider name to the semantic faults that its emulator can have.
        known: further provider names that a file may speak of, although they are not in this sandbox.

    Raises:
        ScenarioError: there is no such scenario, or it is wrong.
    """
    if name.startswith("random:"):
        return generate(name.removeprefix("random:"), emulators)
    file = Path(name) if _is_path(name) else _FOLDER / f"{name}.toml"
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise ScenarioError(f"there is no scenario {name!r}{_others(name, builtin())}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"cannot read scenario {file}: {error}") from None
    return parse(text, str(file), {"*", *emulators, *known})


def parse(text: str, file: str, providers: Iterable[str]) -> list[Fault]:
    """The faults that the TOML *text* asks for; *file* is for messages.

    Raises:
        ScenarioError: with file and line.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{file}: {error}") from None
    for key in document.keys() - {"description", "fault"}:
        raise ScenarioError(f"{file}:{_line(text, key)}: unknown key {key!r}{_others(key, ('description', 'fault'))}")
    rows = document.get("fault", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ScenarioError(f"{file}:{_line(text, 'fault')}: 'fault' must be written as [[fault]] tables")
    return [_fault(row, frozenset(providers), _Where(file, text, number).error) for number, row in enumerate(rows)]


def fault(row: dict[str, Any], providers: Iterable[str]) -> Fault:
    """One fault out of a request's body.

    Raises:
        ScenarioError: it asks for something that there is not.
    """
    return _fault(row, frozenset(providers), lambda key, message: ScenarioError(message))


class _Where:
    """Finds the line of a key in the n-th ``[[fault]]`` table, for messages."""

    def __init__(self, file: str, text: str, number: int) -> None:
        self._file = file
        lines = text.splitlines()
        heads = [i for i, line in enumerate(lines) if re.match(r"\s*\[\[\s*fault\s*\]\]", line)]
        self._start = heads[number] if number < len(heads) else 0
        end = heads[number + 1] if number + 1 < len(heads) else len(lines)
        self._block = lines[self._start : end]

    def error(self, key: str, message: str) -> ScenarioError:
        for offset, line in enumerate(self._block):
            if re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[.=]", line):
                return ScenarioError(f"{self._file}:{self._start + offset + 1}: {message}")
        return ScenarioError(f"{self._file}:{self._start + 1}: {message}")


def _fault(row: dict[str, Any], providers: frozenset[str], error: Callable[[str, str], ScenarioError]) -> Fault:
    for key, value in row.items():
        if key not in _TYPES:
            raise error(key, f"unknown key {key!r}{_others(key, _TYPES)}")
        if not isinstance(value, _TYPES[key]) or isinstance(value, bool):
            raise error(key, f"{key} must be a {_TYPES[key].__name__}, not {value!r}")
    if "kind" not in row:
        raise error("kind", "a fault needs a kind")
    allowed: tuple[tuple[str, Iterable[str]], ...] = (
        ("kind", TRANSPORT | SEMANTIC),
        ("provider", providers),
        ("verb", _VERBS),
    )
    for key, values in allowed:
        if key in row and row[key] not in values:
            raise error(key, f"unknown {key} {row[key]!r}{_others(row[key], values)}")
    if row.get("times", 1) < -1:
        raise error("times", "times must be -1 (for ever) or more")
    return Fault(**row)


def _line(text: str, key: str) -> int:
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(rf"\s*\[*\s*[\"']?{re.escape(key)}\b", line):
            return number
    return 1


def _others(wrong: str, right: Iterable[str]) -> str:
    names = sorted(right)
    close = difflib.get_close_matches(wrong, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(names)}"


def _is_path(name: str) -> bool:
    return "/" in name or name.endswith(".toml")


# What a fault needs so that it hurts, but not for ever: verb, and arguments.
_SPICE: dict[str, tuple[str, dict[str, Any]]] = {
    "rate_limit": ("*", {"retry_after": 1}),
    "slow": ("offers", {"seconds": 2}),
    "wrong_gpu": ("*", {"gpu": "NVIDIA L4", "memory_mib": 23034}),
    "price_changed": ("*", {"factor": 1.5}),
    "list_lag": ("*", {"seconds": 5}),
}
_OF_ONE_VERB = {"error_after": "launch", "lost": "launch", "drop_before": "*", "error_before": "*", "down": "offers"}


def generate(seed: str, emulators: Mapping[str, frozenset[str]]) -> list[Fault]:
    """Between three and nine faults that end, the same ones for the same *seed* and providers."""
    dice = random.Random(f"orch-scenario:{seed}")  # noqa: S311 - repeatable on purpose
    faults = []
    for _ in range(dice.randint(3, 9)):
        provider = dice.choice(sorted(emulators) or ["*"])
        kind = dice.choice(sorted(TRANSPORT | emulators.get(provider, frozenset())))
        verb, args = _SPICE.get(kind, (_OF_ONE_VERB.get(kind, "*"), {}))
        faults.append(Fault(kind, provider, verb, times=dice.randint(1, 2), args=dict(args)))
    return faults
