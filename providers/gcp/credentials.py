"""Where Google's credentials and the project come from: the settings, then the files of gcloud, then this machine.

The order is that of Application Default Credentials. Only what is read here is decided here; tokens are made in
`minting`, which imports google-auth.
"""

from __future__ import annotations

import configparser
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from providers.errors import AuthFailed
from providers.http import is_loopback

URL_SETTING = "ORCH_GCP_URL"
TOKEN_SETTING = "ORCH_GCP_TOKEN"  # noqa: S105 - a setting's name
FILE_SETTING = "GOOGLE_APPLICATION_CREDENTIALS"
#: The first that is set counts.
PROJECT_SETTINGS = ("GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT")
CONFIG_SETTING = "CLOUDSDK_CONFIG"
ADC_FILE = "application_default_credentials.json"


@dataclass(frozen=True, slots=True)
class Source:
    """Credentials that were found.

    Attributes:
        origin: where, fit to be shown.
        token: a fixed bearer token, for loopback only.
        info: the content of a credentials file; None with a token, and for the metadata server.
        project: the project's id, or None if only the metadata server may know it.
        quota_project: the project that calls are billed to, where a user's credentials name one.
    """

    origin: str
    token: str | None = field(default=None, repr=False)
    info: Mapping[str, Any] | None = field(default=None, repr=False)
    project: str | None = None
    quota_project: str | None = None

    @property
    def is_metadata(self) -> bool:
        """Whether tokens come from the metadata server of the machine that this runs on."""
        return self.token is None and self.info is None


def load(settings: Mapping[str, str]) -> Source:
    """The credentials to use.

    Raises:
        AuthFailed: there are none, a file cannot be read, no project is named, or `ORCH_GCP_TOKEN` would leave this
            computer.
    """
    config = _config_folder(settings)
    source = _found(settings, config)
    info = source.info or {}
    named = [settings.get(name, "").strip() for name in PROJECT_SETTINGS]
    project = next(filter(None, [*named, _text(info, "project_id"), _active_project(config)]), None)
    quota_project = _text(info, "quota_project_id")
    project = project or quota_project
    if project is None and not source.is_metadata:
        raise AuthFailed(f"no Google Cloud project: set {PROJECT_SETTINGS[0]}", code="no-project")
    return Source(source.origin, source.token, source.info, project, quota_project)


def _found(settings: Mapping[str, str], config: Path) -> Source:
    if token := settings.get(TOKEN_SETTING, "").strip():
        host = urlsplit(settings.get(URL_SETTING, "")).hostname or ""
        if not is_loopback(host):
            raise AuthFailed(f"{TOKEN_SETTING} is for a loopback {URL_SETTING} only", code="token-not-loopback")
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise AuthFailed(f"{TOKEN_SETTING} holds characters that no header can carry", code="bad-key")
        return Source(TOKEN_SETTING, token=token)
    if named := settings.get(FILE_SETTING, "").strip():
        return Source(FILE_SETTING, info=_read(Path(named).expanduser(), FILE_SETTING))
    adc = config / ADC_FILE
    if adc.is_file():
        return Source(f"gcloud's {ADC_FILE}", info=_read(adc, ADC_FILE))
    if any(settings.get(name) for name in PROJECT_SETTINGS):
        # Says who configured this that it runs on a machine of Google's; elsewhere the first call fails.
        return Source("the metadata server of this machine")
    raise AuthFailed(
        f"no Google credentials: set {FILE_SETTING}, or run `gcloud auth application-default login`", code="no-key"
    )


def _read(path: Path, name: str) -> Mapping[str, Any]:
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        # The error's class says enough; its text might quote a line with the key.
        raise AuthFailed(f"{name}: the file cannot be read ({type(error).__name__})", code="bad-file") from None
    if not isinstance(info, dict):
        raise AuthFailed(f"{name}: the file holds no credentials", code="bad-file")
    return info


def _config_folder(settings: Mapping[str, str]) -> Path:
    if named := settings.get(CONFIG_SETTING, "").strip():
        return Path(named).expanduser()
    return Path(settings.get("HOME") or Path.home()) / ".config" / "gcloud"


def _active_project(config: Path) -> str | None:
    """The project that `gcloud config set project` has written, as gcloud's own files keep it."""
    try:
        active = (config / "active_config").read_text(encoding="utf-8").strip() or "default"
    except (OSError, ValueError):
        active = "default"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(config / "configurations" / f"config_{active}", encoding="utf-8")
        return parser.get("core", "project", fallback="").strip() or None
    except (configparser.Error, OSError, ValueError):
        return None


def _text(info: Mapping[str, Any], key: str) -> str | None:
    value = info.get(key)
    return value.strip() or None if isinstance(value, str) else None
