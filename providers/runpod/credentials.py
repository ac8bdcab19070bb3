"""Where RunPod's key comes from: `RUNPOD_API_KEY`, else the file that RunPod's own tools write."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from providers.errors import AuthFailed

VARIABLE = "RUNPOD_API_KEY"
FILE = ".runpod/config.toml"


class Credentials(NamedTuple):
    """A key and where it was found (a setting's name or a file, fit to be shown)."""

    key: str
    origin: str

    def __repr__(self) -> str:
        return f"Credentials(origin={self.origin!r})"


def load(settings: Mapping[str, str]) -> Credentials:
    """The key to use.

    The file has two documented forms: the Python SDK's ``[default]`` table with ``api_key``, and runpodctl's
    top-level ``apikey``. Where it has both, the table wins, as it does for the SDK.

    Raises:
        AuthFailed: there is no key, the file cannot be read, or what is there cannot be a key.
    """
    if value := settings.get(VARIABLE, "").strip():
        return _checked(value, VARIABLE)
    path = Path(settings.get("HOME") or Path.home()) / FILE
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AuthFailed(f"no RunPod key: set {VARIABLE}, or write ~/{FILE}", code="no-key") from None
    except (OSError, ValueError) as error:
        # The error's class says enough; its text might quote the line with the key.
        raise AuthFailed(f"~/{FILE} cannot be read ({type(error).__name__})", code="bad-file") from None
    if found := _from_file(document):
        return _checked(found, f"~/{FILE}")
    raise AuthFailed(f"~/{FILE} has neither [default] api_key nor apikey", code="no-key")


def _from_file(document: dict[str, Any]) -> str | None:
    default = document.get("default")
    for table in (default if isinstance(default, dict) else {}, document):
        # runpodctl's settings library ignores case, so the file may say apiKey.
        names = {name.lower().replace("_", ""): value for name, value in table.items()}
        value = names.get("apikey")
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None


def _checked(key: str, origin: str) -> Credentials:
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise AuthFailed(f"the key in {origin} holds characters that no key has", code="bad-key")
    return Credentials(key, origin)
