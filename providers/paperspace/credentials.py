"""Where Paperspace's key comes from: `PAPERSPACE_API_KEY`, else the files of the official CLI, else the old one.

``pspace login`` keeps ``~/.paperspace/credentials.toml`` with one key a team in its table ``keys``, and the name of
the team in use as ``team`` in ``~/.paperspace/config.toml``. Older tools, and SkyPilot's users, have
``~/.paperspace/config.json`` with ``apiKey``.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from providers.errors import AuthFailed
from providers.paperspace.fields import record, text

VARIABLE = "PAPERSPACE_API_KEY"
KEYS_FILE = ".paperspace/credentials.toml"
TEAM_FILE = ".paperspace/config.toml"
OLD_FILE = ".paperspace/config.json"


class Credentials(NamedTuple):
    """A key and where it was found (a setting's name or a file, fit to be shown)."""

    key: str
    origin: str

    def __repr__(self) -> str:
        return f"Credentials(origin={self.origin!r})"


def load(settings: Mapping[str, str]) -> Credentials:
    """The key to use. What a key looks like is not documented, so its form is not judged.

    Raises:
        AuthFailed: there is none, it cannot be told which of several teams is meant, a file cannot be read, or
            what is there cannot be sent as a header.
    """
    if value := settings.get(VARIABLE, "").strip():
        return _checked(value, VARIABLE)
    home = Path(settings.get("HOME") or Path.home())
    if (found := _of_team(home)) is not None:
        return found
    if (old := text(record(_read(home, OLD_FILE, json.loads)).get("apiKey"))) is not None:
        return _checked(old, f"~/{OLD_FILE}")
    raise AuthFailed(f"no Paperspace key: set {VARIABLE}, or run `pspace login`", code="no-key")


def _of_team(home: Path) -> Credentials | None:
    table = record(record(_read(home, KEYS_FILE, tomllib.loads)).get("keys"))
    keys = {team: key for team, value in table.items() if (key := text(value)) is not None}
    if not keys:
        return None
    chosen = text(record(_read(home, TEAM_FILE, tomllib.loads)).get("team"))
    if chosen is None and len(keys) == 1:
        chosen = next(iter(keys))
    if chosen not in keys:
        which = f"team {chosen!r} of ~/{TEAM_FILE} is" if chosen else f"~/{TEAM_FILE} names no team, several are"
        raise AuthFailed(f"{which} {'not ' if chosen else ''}in ~/{KEYS_FILE}: set {VARIABLE}", code="no-team")
    return _checked(keys[chosen], f"~/{KEYS_FILE}, team {chosen}")


def _read(home: Path, file: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse((home / file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        # The error's class says enough; its text might quote the line with the key.
        raise AuthFailed(f"~/{file} cannot be read ({type(error).__name__})", code="bad-file") from None


def _checked(key: str, origin: str) -> Credentials:
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise AuthFailed(f"the key in {origin} holds characters that no header can carry", code="bad-key")
    return Credentials(key, origin)
