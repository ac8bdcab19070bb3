"""The emulated Paperspace's startup scripts, and what a machine's first boot would do with one.

A script is shell. Two things are read out of it: the public keys that it lets in, and whether it switches the
machine off after some time. Both are also looked for in blocks of base64 (in one word, or over the lines of a
here-document), because a script that shows them plainly does not get past the firewall.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from providers.paperspace.emulator_refusals import missing
from providers.sandbox.world import World

_KEY = re.compile(
    r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521))[ \t]+AAAA[0-9A-Za-z+/=]+(?:[ \t]+[\w.@:+-]+)?"
)
_WORD = re.compile(r"[0-9A-Za-z+/]{24,}={0,2}")
_BLOCK_LINE = re.compile(r"[0-9A-Za-z+/]+={0,2}")
_HERE = re.compile(r"<<-?\s*[\"']?(\w+)")
_SHUTDOWN = re.compile(r"\bshutdown\b[^\n;&|]*?\+(\d+)")
_TIMER = re.compile(r"--on-active[= ][\"']?(\d+)[ ]?([a-z]*)")
_UNITS = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hr": 3600, "d": 86400}
_DEPTH = 2  # base64 within base64


@dataclass(slots=True)
class Script:
    """One startup script. `script` is its text, which no answer shows."""

    id: str
    name: str
    script: str
    run_once: bool
    created_at: datetime
    description: str | None = None


class Scripts:
    """The team's startup scripts, by id, oldest first. Names need not be unique."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rows: dict[str, Script] = {}

    def add(self, name: str, script: str, *, run_once: bool = False, description: str | None = None) -> Script:
        """Keep a new script."""
        made = Script("ss" + self.world.letters(8), name, script, run_once, self.world.now(), description)
        self.rows[made.id] = made
        return made

    def get(self, script_id: str) -> Script:
        """One script.

        Raises:
            Refusal: there is none of that id.
        """
        if script_id not in self.rows:
            raise missing("Startup script")
        return self.rows[script_id]

    def dump(self) -> list[dict[str, Any]]:
        """The scripts, ready for JSON."""
        return [asdict(each) | {"created_at": each.created_at.isoformat()} for each in self.rows.values()]

    def load(self, state: list[dict[str, Any]]) -> None:
        """Take over what `dump` gave."""
        rows = [Script(**{**row, "created_at": datetime.fromisoformat(row["created_at"])}) for row in state]
        self.rows = {row.id: row for row in rows}


def authorized_keys(script: str) -> list[str]:
    """The public keys in a script, each once, wherever it puts them."""
    return list(dict.fromkeys(match[0] for text in texts(script) for match in _KEY.finditer(text)))


def switches_off_after(script: str) -> float | None:
    """Seconds after which the machine switches itself off by the script's wish, or None."""
    due: list[float] = []
    for text in texts(script):
        due += [60.0 * int(minutes) for minutes in _SHUTDOWN.findall(text)]
        if re.search(r"shutdown|poweroff|halt", text):
            due += [float(count) * _UNITS.get(unit, 1) for count, unit in _TIMER.findall(text)]
    return min(due, default=None)


def texts(script: str, depth: int = _DEPTH) -> Iterator[str]:
    """The script, and every text that base64 in it stands for."""
    yield script
    if depth == 0:
        return
    for candidate in dict.fromkeys(_candidates(script)):
        if (decoded := _decoded(candidate)) is not None:
            yield from texts(decoded, depth - 1)


def _candidates(script: str) -> Iterator[str]:
    """Runs of lines that hold base64 and nothing else, each joined, and words within other lines."""
    ends = set(_HERE.findall(script))  # the word that ends a here-document looks like base64, too
    run: list[str] = []
    for line in [*script.splitlines(), ""]:
        text = line.strip()
        if _BLOCK_LINE.fullmatch(text) and text not in ends:
            run.append(text)
            continue
        yield "".join(run)
        run = []
        yield from _WORD.findall(line)


def _decoded(word: str) -> str | None:
    try:
        raw = base64.b64decode(word, validate=True)
        return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    except (binascii.Error, ValueError, OSError, EOFError, zlib.error):
        return None
