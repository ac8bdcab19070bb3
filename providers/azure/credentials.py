"""Where Azure's keys come from, and the bearer tokens that they are turned into.

A client secret and a federated token are exchanged here, by the one POST that this takes, so that the same code runs
against the sandbox over plain http. Certificates and managed identities go through azure-identity (imported only then),
the command line's login through `az` itself.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, urlsplit

from providers.azure import wire
from providers.azure.errors import refused
from providers.env import Env
from providers.errors import AuthFailed, ProviderError, Unavailable
from providers.http import CONNECT_S, MAX_TEXT, READ_S, check_base_url, is_loopback

SUBSCRIPTION, TENANT, CLIENT = "AZURE_SUBSCRIPTION_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_ID"
SECRET, CERTIFICATE = "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH"
CERTIFICATE_PASSWORD, FEDERATED = "AZURE_CLIENT_CERTIFICATE_PASSWORD", "AZURE_FEDERATED_TOKEN_FILE"
AUTHORITY, CONFIG_DIR, CHOSEN = "AZURE_AUTHORITY_HOST", "AZURE_CONFIG_DIR", "AZURE_TOKEN_CREDENTIALS"
STATIC = "ORCH_AZURE_TOKEN"

RESOURCE = "https://management.azure.com"
SCOPE = f"{RESOURCE}/.default"
_AUTHORITY = "https://login.microsoftonline.com"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#: A token is renewed this long before its end.
_EARLY = timedelta(minutes=5)
#: Starting `az` alone takes seconds.
_CLI_S = 30

Kind = Literal["static", "secret", "federated", "certificate", "managed", "cli"]
_TITLES: dict[Kind, str] = {
    "static": STATIC,
    "secret": f"{CLIENT} with {SECRET}",
    "federated": f"{CLIENT} with {FEDERATED}",
    "certificate": f"{CLIENT} with {CERTIFICATE}",
    "managed": "the managed identity of this machine",
    "cli": "az login",
}


class MissingExtra(ValueError):
    """A package that the settings ask for is not installed."""


class BadToken(ValueError):
    """A static token for something that is not this computer."""


class Token(NamedTuple):
    """A bearer token and when it ends (UTC)."""

    text: str
    ends_at: datetime


def check_installed() -> None:
    """Make sure, without importing it, that azure-mgmt-compute is there.

    Raises:
        MissingExtra: says how to get it.
    """
    try:
        found = importlib.util.find_spec("azure.mgmt.compute") is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise MissingExtra("Azure needs azure-mgmt-compute, which is not installed: pip install 'gpu-orch[azure]'")


def kind(settings: Mapping[str, str], url: str | None) -> Kind:
    """Which credentials *settings* hold, the most explicit first; without any, the login of `az`.

    Raises:
        BadToken: `ORCH_AZURE_TOKEN` without a loopback `ORCH_AZURE_URL`.
    """
    if settings.get(STATIC):
        if url is None or not is_loopback(urlsplit(url).hostname or ""):
            raise BadToken(f"{STATIC} is for the sandbox: it is only sent to a loopback address (ORCH_AZURE_URL)")
        return "static"
    if settings.get(TENANT) and settings.get(CLIENT):
        if settings.get(SECRET):
            return "secret"
        if settings.get(CERTIFICATE):
            return "certificate"
        if settings.get(FEDERATED):
            return "federated"
    # Asking for a managed identity is a network probe of seconds off Azure: only when it is named.
    return "managed" if "managedidentity" in settings.get(CHOSEN, "").lower() else "cli"


def title(settings: Mapping[str, str], url: str | None) -> str:
    """Where the credentials come from, for people."""
    return _TITLES[kind(settings, url)]


def secrets(settings: Mapping[str, str]) -> tuple[str, ...]:
    """What must never appear in a message: the ids stay out, too, for logs are passed on."""
    names = (SECRET, STATIC, CERTIFICATE_PASSWORD, CLIENT, TENANT, SUBSCRIPTION)
    # A few letters are no secret, and would take every such letter out of a message.
    return tuple(value for name in names if len(value := settings.get(name, "").strip()) >= 6)


class Tokens:
    """Keeps the token of one account. For threads: `get` blocks while a new one is fetched.

    Args:
        url: base URL that stands for the token authority, too, or None for Microsoft's.
    """

    def __init__(self, settings: Mapping[str, str], env: Env, url: str | None) -> None:
        self.kind = kind(settings, url)
        self._settings = settings
        self._env = env
        self._authority = url or check_base_url(_authority(settings), AUTHORITY)
        self._lock = threading.Lock()
        self._token: Token | None = None

    def get(self) -> str:
        """A token that is good for some minutes.

        Raises:
            AuthFailed: the credentials are refused, or there are none.
            Unavailable: the authority cannot be reached.
        """
        with self._lock:
            if self._token is None or self._env.now() + _EARLY >= self._token.ends_at:
                self._token = self._fetch()
            return self._token.text

    def forget(self) -> bool:
        """Drop the token, so that the next call gets a fresh one; False where there can be no other."""
        with self._lock:
            self._token = None
        return self.kind != "static"

    def _fetch(self) -> Token:
        if self.kind == "static":
            return Token(self._settings[STATIC].strip(), self._env.now() + timedelta(days=3650))
        if self.kind == "cli":
            return self._from_cli()
        if self.kind in ("certificate", "managed"):
            return self._from_identity()
        return self._exchange()

    def _exchange(self) -> Token:
        form = {"grant_type": "client_credentials", "client_id": self._setting(CLIENT), "scope": SCOPE}
        if self.kind == "secret":
            form["client_secret"] = self._setting(SECRET)
        else:
            form["client_assertion_type"] = _ASSERTION
            form["client_assertion"] = _file(self._setting(FEDERATED), FEDERATED)
        path = f"/{quote(self._setting(TENANT), safe='')}/oauth2/v2.0/token"
        status, document = wire.post_form(self._authority, path, form)
        if status != 200:
            raise _refusal(status, document)
        return self._read(document, "access_token", "expires_in")

    def _from_cli(self) -> Token:
        program = shutil.which("az", path=self._settings.get("PATH") or os.environ.get("PATH"))
        if program is None:
            raise AuthFailed(
                f"no Azure credentials: set {TENANT}, {CLIENT} and {SECRET}, or install the Azure CLI and log in",
                code="no-key",
            )
        command = [program, "account", "get-access-token", "--output", "json", "--resource", RESOURCE]
        if self._settings.get(SUBSCRIPTION):
            command += ["--subscription", self._setting(SUBSCRIPTION)]
        own = {name: value for name in (CONFIG_DIR, "HOME", "PATH") if (value := self._settings.get(name))}
        try:
            done = subprocess.run(  # noqa: S603 - the user's own program, with no text of others in it
                command, capture_output=True, text=True, timeout=_CLI_S, check=False, env={**os.environ, **own}
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise Unavailable(f"'az account get-access-token' did not run: {error!r}", code="az") from None
        if done.returncode != 0:
            said = done.stderr.strip()[-MAX_TEXT:] or f"exit {done.returncode}"
            raise AuthFailed(f"'az account get-access-token': {said} (run 'az login')", code="az-login")
        try:
            document = json.loads(done.stdout)
        except ValueError:
            document = None
        # No time is taken from it: `expiresOn` is a local time without a zone. Asking again early does no harm.
        return self._read(document, "accessToken", "")

    def _from_identity(self) -> Token:
        try:
            identity: Any = importlib.import_module("azure.identity")
        except ImportError:
            raise AuthFailed(
                f"{_TITLES[self.kind]} needs azure-identity: pip install azure-identity", code="no-identity"
            ) from None
        options = {"connection_timeout": CONNECT_S, "read_timeout": READ_S}
        try:
            if self.kind == "certificate":
                made = identity.CertificateCredential(
                    self._setting(TENANT),
                    self._setting(CLIENT),
                    self._setting(CERTIFICATE),
                    password=self._settings.get(CERTIFICATE_PASSWORD) or None,
                    authority=self._authority,
                    **options,
                )
            else:
                made = identity.ManagedIdentityCredential(client_id=self._settings.get(CLIENT) or None, **options)
            with made:
                found = made.get_token(SCOPE)
        except Exception as error:
            raise AuthFailed(f"{_TITLES[self.kind]}: {error}"[:MAX_TEXT], code=type(error).__name__) from None
        life = max(0.0, float(found.expires_on) - self._env.now().timestamp())
        return Token(str(found.token), self._env.now() + timedelta(seconds=life))

    def _read(self, document: Any, text: str, life: str) -> Token:
        found = document if isinstance(document, dict) else {}
        token, seconds = found.get(text), found.get(life, 600)
        if not isinstance(token, str) or not token:
            raise Unavailable("Azure: the answer to the request for a token holds none", code="malformed")
        try:
            lasts = timedelta(seconds=float(seconds))
        except (TypeError, ValueError):
            lasts = timedelta(seconds=600)
        return Token(token, self._env.now() + lasts)

    def _setting(self, name: str) -> str:
        return self._settings.get(name, "").strip()


def profile_subscription(settings: Mapping[str, str]) -> str | None:
    """The subscription that `az` uses by default, from its own file; None if there is none."""
    home = Path(settings.get("HOME") or Path.home())
    file = Path(settings.get(CONFIG_DIR) or home / ".azure") / "azureProfile.json"
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))  # az writes a byte order mark
    except (OSError, ValueError):
        return None
    listed = document.get("subscriptions") if isinstance(document, dict) else None
    for row in listed if isinstance(listed, list) else ():
        if isinstance(row, dict) and row.get("isDefault") is True and isinstance(row.get("id"), str):
            return str(row["id"])
    return None


def _authority(settings: Mapping[str, str]) -> str:
    host = settings.get(AUTHORITY, "").strip() or _AUTHORITY
    return host if "://" in host else f"https://{host}"


def _file(path: str, setting: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise AuthFailed(f"{setting}: {error}", code="no-file") from None


def _refusal(status: int, document: Any) -> ProviderError:
    made = refused(status, document, effect=False)
    # Whatever else the token service refuses with, the credentials are what it refuses.
    return AuthFailed(made.message, code=made.code) if 400 <= status < 500 and made.type == "Unclassified" else made
