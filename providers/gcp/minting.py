"""Bearer tokens, made by google-auth in a thread. It is imported when the first token is needed and no earlier.

google-auth judges a token's age by the real clock: tokens are Google's, and so is their time.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from providers.errors import AuthFailed, ProviderError, Unavailable
from providers.gcp.credentials import Source
from providers.http import MAX_TEXT, USER_AGENT, is_loopback

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
#: The metadata server speaks plain http, on a link that does not leave the machine.
_METADATA_HOSTS = frozenset(["metadata.google.internal", "metadata", "169.254.169.254"])
_PROJECT_URL = "http://metadata.google.internal/computeMetadata/v1/project/project-id"
_TIMEOUT_S = 20.0
#: Seconds for one token with all of google-auth's own repeats: what is limited above is the pause between two bytes.
TOTAL_S = 90.0
_MOST_BYTES = 1024 * 1024


class MissingExtra(ValueError):
    """google-auth is not installed."""


def check_installed() -> None:
    """Make sure, without importing it, that google-auth is there.

    Raises:
        MissingExtra: says how to get it.
    """
    try:
        found = importlib.util.find_spec("google.auth") is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise MissingExtra("GCP needs google-auth, which is not installed: pip install 'gpu-orch[gcp]'")


class Answer(NamedTuple):
    """What google-auth wants of a transport's answer."""

    status: int
    headers: Message
    data: bytes


class Tokens:
    """The bearer tokens of one *source*, made anew before they run out."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = asyncio.Lock()
        self._credentials: Any = None

    async def bearer(self) -> str:
        """A token that is good for some minutes at least.

        Raises:
            AuthFailed: the credentials are not taken.
            Unavailable: whoever gives the tokens cannot be reached.
            MissingExtra: google-auth is not installed.
        """
        if self._source.token is not None:
            return self._source.token
        async with self._lock:
            if self._credentials is None or not self._credentials.valid:
                try:
                    async with asyncio.timeout(TOTAL_S):
                        await asyncio.to_thread(self._refresh)
                except TimeoutError:
                    self._credentials = None  # the thread still has the old ones
                    raise Unavailable("no token in time", code="token-server", scope="provider") from None
            return str(self._credentials.token)

    async def project(self) -> str:
        """The project's id; asked of the metadata server if the source names none.

        Raises:
            AuthFailed: it names none, either.
        """
        if self._source.project is not None:
            return self._source.project
        try:
            answer = await asyncio.to_thread(fetch, _PROJECT_URL, headers={"Metadata-Flavor": "Google"})
        except OSError:
            raise AuthFailed("no Google credentials, and no metadata server here", code="no-key") from None
        name = answer.data.decode("utf-8", "replace").strip()
        if answer.status != 200 or not name:
            raise AuthFailed("the metadata server names no project: set GOOGLE_CLOUD_PROJECT", code="no-project")
        return name

    def _refresh(self) -> None:
        check_installed()
        exceptions: Any = importlib.import_module("google.auth.exceptions")

        def request(
            url: str,
            method: str = "GET",
            body: bytes | str | None = None,
            headers: Mapping[str, str] | None = None,
            timeout: float | None = None,
            **_: Any,
        ) -> Answer:
            try:
                return fetch(url, method, body=body, headers=headers, timeout_s=timeout)
            except (OSError, HTTPException) as error:
                raise exceptions.TransportError(f"{type(error).__name__}: {error}") from error

        try:
            if self._credentials is None:
                self._credentials = _credentials(self._source)
            self._credentials.refresh(request)
        except ProviderError:
            raise
        except exceptions.TransportError as error:
            raise Unavailable(_cut(f"no token: {error}"), code="token-server", scope="provider") from None
        except exceptions.RefreshError as error:
            if getattr(error, "retryable", False):
                raise Unavailable(_cut(f"no token: {_said(error)}"), code="token-server", scope="provider") from None
            raise AuthFailed(_cut(f"Google gives no token: {_said(error)}"), code="no-token") from None
        except (exceptions.GoogleAuthError, ValueError, KeyError, TypeError) as error:
            # A malformed key: its text is not repeated, for it might quote the key.
            raise AuthFailed(
                f"the credentials of {self._source.origin} cannot be used ({type(error).__name__})", code="bad-file"
            ) from None


def fetch(
    url: str,
    method: str = "GET",
    *,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
) -> Answer:
    """One request, for use in a thread; redirects are answers and are not followed.

    Raises:
        AuthFailed: *url* would carry a secret in the clear.
        OSError: there is no answer.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    local = is_loopback(host) or host in _METADATA_HOSTS
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise AuthFailed(f"the credentials name {parts.scheme}://{host}, which is not https", code="bad-token-uri")
    handlers: list[Any] = [_NoRedirect(), *([urllib.request.ProxyHandler({})] if local else [])]
    data = body.encode() if isinstance(body, str) else body
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked above
        url, data=data, headers={"User-Agent": USER_AGENT, **(headers or {})}, method=method
    )
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout_s or _TIMEOUT_S) as answer:
            return Answer(answer.status, answer.headers, answer.read(_MOST_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read(_MOST_BYTES))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _credentials(source: Source) -> Any:
    """google-auth's object for *source*, each kind by its own maker: the general one would read any file."""
    scopes = list(SCOPES)
    if source.info is None:
        return importlib.import_module("google.auth.compute_engine").Credentials(scopes=scopes)
    info = dict(source.info)
    kind = info.get("type")
    if kind == "service_account":
        module = importlib.import_module("google.oauth2.service_account")
        return module.Credentials.from_service_account_info(info, scopes=scopes)
    if kind == "authorized_user":
        return importlib.import_module("google.oauth2.credentials").Credentials.from_authorized_user_info(info)
    if kind == "external_account_authorized_user":
        module = importlib.import_module("google.auth.external_account_authorized_user")
        return module.Credentials.from_info(info)
    if kind == "impersonated_service_account":
        module = importlib.import_module("google.auth.impersonated_credentials")
        return module.Credentials.from_impersonated_service_account_info(info, scopes=scopes)
    if kind == "external_account":
        return _external(info, scopes)
    raise AuthFailed(f"{source.origin}: credentials of an unknown type {str(kind)[:40]!r}", code="bad-file")


def _external(info: dict[str, Any], scopes: list[str]) -> Any:
    """Workload identity: Amazon's, an executable's, or a file's or URL's."""
    source = info.get("credential_source")
    parts = source if isinstance(source, dict) else {}
    name = "identity_pool"
    if str(parts.get("environment_id") or "").startswith("aws"):
        name = "aws"
    elif "executable" in parts:
        name = "pluggable"
    return importlib.import_module(f"google.auth.{name}").Credentials.from_info(info, scopes=scopes)


def _said(error: Exception) -> str:
    """The token server's own words, if google-auth has kept them."""
    for part in error.args:
        body = part if isinstance(part, dict) else None
        if isinstance(part, str) and part.startswith("{"):
            try:
                body = json.loads(part)
            except ValueError:
                body = None
        if isinstance(body, dict) and body.get("error"):
            return f"{body['error']}: {body.get('error_description') or ''}".strip(": ")
    return str(error.args[0]) if error.args else type(error).__name__


def _cut(text: str) -> str:
    return text.strip()[:MAX_TEXT]
