"""Where Lambda's key comes from: two environment variables, else the file that SkyPilot's users have.

Lambda has no official command line tool or SDK, so there is no single name for the variable: its documents and most
tools say `LAMBDA_API_KEY`, a generated client says `LAMBDA_CLOUD_API_TOKEN`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from providers.errors import AuthFailed

#: The first that is set counts.
VARIABLES = ("LAMBDA_API_KEY", "LAMBDA_CLOUD_API_TOKEN")
FILE = ".lambda_cloud/lambda_keys"


class Credentials(NamedTuple):
    """A key and where it was found (a setting's name or a file, fit to be shown)."""

    key: str
    origin: str

    def __repr__(self) -> str:
        return f"Credentials(origin={self.origin!r})"


def load(settings: Mapping[str, str]) -> Credentials:
    """The key to use. What a key looks like is not documented, so its form is not judged.

    Raises:
        AuthFailed: there is no key, the file cannot be read, or what is there cannot be sent as a header.
    """
    for variable in VARIABLES:
        if value := settings.get(variable, "").strip():
            return _checked(value, variable)
    path = Path(settings.get("HOME") or Path.home()) / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise AuthFailed(f"no Lambda key: set {VARIABLES[0]}, or write ~/{FILE}", code="no-key") from None
    except (OSError, ValueError) as error:
        # The error's class says enough; its text might quote the line with the key.
        raise AuthFailed(f"~/{FILE} cannot be read ({type(error).__name__})", code="bad-file") from None
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() == "api_key" and value.strip():
            return _checked(value.strip(), f"~/{FILE}")
    raise AuthFailed(f"~/{FILE} has no line `api_key = ...`", code="no-key")


def _checked(key: str, origin: str) -> Credentials:
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise AuthFailed(f"the key in {origin} holds characters that no header can carry", code="bad-key")
    return Credentials(key, origin)
