"""Where Vast.ai's key comes from: `VAST_API_KEY`, else the files that the official CLI writes.

The CLI's ``vast_tfa_key``, a session key made with a second factor, is left alone: it expires, and a machine must
never outlive the key that ends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from providers.errors import AuthFailed

VARIABLE = "VAST_API_KEY"
FILE = "vastai/vast_api_key"
LEGACY_FILE = ".vast_api_key"


class Credentials(NamedTuple):
    """A key and where it was found (a setting's name or a file, fit to be shown)."""

    key: str
    origin: str

    def __repr__(self) -> str:
        return f"Credentials(origin={self.origin!r})"


def load(settings: Mapping[str, str]) -> Credentials:
    """The key to use: the variable, else the CLI's file, else the older CLI's.

    Raises:
        AuthFailed: there is no key, a file cannot be read, or what is there cannot be a key.
    """
    if value := settings.get(VARIABLE, "").strip():
        return _checked(value, VARIABLE)
    for path in _files(settings):
        try:
            value = path.read_text(encoding="utf-8").strip()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            # The error's class says enough; its text might quote what is in the file.
            raise AuthFailed(f"{path} cannot be read ({type(error).__name__})", code="bad-file") from None
        if value:
            return _checked(value, str(path))
    raise AuthFailed(f"no Vast.ai key: set {VARIABLE}, or write ~/.config/{FILE}", code="no-key")


def _files(settings: Mapping[str, str]) -> tuple[Path, Path]:
    home = Path(settings.get("HOME") or Path.home())
    config = Path(settings.get("XDG_CONFIG_HOME") or home / ".config")
    return config / FILE, home / LEGACY_FILE


def _checked(key: str, origin: str) -> Credentials:
    if not (key.isascii() and key.isprintable() and " " not in key):
        # It would fail deep in the HTTP library, with the key in the message.
        raise AuthFailed(f"the key in {origin} holds characters that no key has", code="bad-key")
    return Credentials(key, origin)
