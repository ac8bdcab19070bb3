"""Where AWS's keys come from: the settings, else the shared files, by botocore's own chain.

boto3 is an extra and takes half a second to import, so nothing here imports it before it is used.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEY_ID, SECRET, TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
PROFILE = "AWS_PROFILE"


class MissingExtra(ValueError):
    """boto3 is not installed."""


def check_installed() -> None:
    """Make sure, without importing it, that boto3 is there.

    Raises:
        MissingExtra: says how to get it.
    """
    if importlib.util.find_spec("boto3") is None:
        raise MissingExtra("AWS needs boto3, which is not installed: pip install 'gpu-orch[aws]'")


def source(settings: Mapping[str, str]) -> str:
    """Where the credentials come from, for people."""
    if settings.get(KEY_ID) and settings.get(SECRET):
        return KEY_ID
    if profile := settings.get(PROFILE):
        return f"profile {profile}"
    return "the default profile of the shared files, or the role of this machine"


def secrets(settings: Mapping[str, str]) -> tuple[str, ...]:
    """What must never appear in a message."""
    return tuple(value for name in (SECRET, TOKEN, KEY_ID) if (value := settings.get(name, "").strip()))


def session(settings: Mapping[str, str]) -> Any:
    """A boto3 session (not thread-safe) with the credentials of *settings*, which win over the real environment.

    Static keys come from the settings alone. Otherwise botocore's chain decides: profiles with keys, SSO,
    assumed roles and processes, web identity, container and instance roles.
    """
    core = importlib.import_module("botocore.session").Session(session_vars={"profile": (None, None, None, None)})
    home = Path(settings.get("HOME") or Path.home()) / ".aws"
    core.set_config_variable("config_file", settings.get("AWS_CONFIG_FILE") or str(home / "config"))
    core.set_config_variable(
        "credentials_file", settings.get("AWS_SHARED_CREDENTIALS_FILE") or str(home / "credentials")
    )
    core.register_component("data_loader", _loader(core.get_config_variable("data_path")))
    keys: dict[str, str] = {}
    if settings.get(KEY_ID) and settings.get(SECRET):
        keys = {"aws_access_key_id": settings[KEY_ID].strip(), "aws_secret_access_key": settings[SECRET].strip()}
        if settings.get(TOKEN):
            keys["aws_session_token"] = settings[TOKEN].strip()
    else:
        if settings.get(PROFILE):
            core.set_config_variable("profile", settings[PROFILE])
        chain = core.get_component("credential_provider")
        chain.remove("env")  # the settings already hold the environment, and may override it
        if settings.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            chain.remove("iam-role")
    return importlib.import_module("boto3").session.Session(botocore_session=core, **keys)


@functools.cache
def _loader(path: str | None) -> Any:
    """The reader of botocore's service models, shared by all sessions: EC2's alone takes a third of a second."""
    return importlib.import_module("botocore.loaders").create_loader(path)
