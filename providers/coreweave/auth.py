"""How a cluster is told who we are: a token, a token file, a client certificate, or another program's word.

Nothing here is logged or shown. Tokens of files and programs change while we run, so they are asked for anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from providers.env import Env
from providers.errors import AuthFailed

EXEC_TIMEOUT_S = 60.0
_KILL_S = 2.0
#: A token file is read again after this long: kubelets replace the service account's token hourly.
FILE_LIFE_S = 60.0
_EARLY = timedelta(seconds=60)
_EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


@dataclass(frozen=True, slots=True)
class Grant:
    """What goes with a request.

    Attributes:
        token: for the `Authorization` header.
        certificate, key: a client certificate and its key, PEM.
        until: when it must be asked for anew, UTC; None if it does not change.
    """

    token: str | None = field(default=None, repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    until: datetime | None = None


class Auth(ABC):
    """A source of grants. `changes` says whether asking again may help after a refusal."""

    changes = False

    @abstractmethod
    async def grant(self, env: Env) -> Grant:
        """A fresh grant.

        Raises:
            AuthFailed: there is none to be had.
        """


@dataclass(frozen=True, slots=True)
class Fixed(Auth):
    """A token or a certificate that stays as it is."""

    value: Grant

    async def grant(self, env: Env) -> Grant:
        return self.value


@dataclass(frozen=True, slots=True)
class TokenFile(Auth):
    """A token that somebody else keeps fresh in a file."""

    path: Path
    changes = True

    async def grant(self, env: Env) -> Grant:
        try:
            token = self.path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AuthFailed(f"token file {self.path} cannot be read ({type(error).__name__})", code="no-key") from None
        return Grant(checked_token(token, str(self.path)), until=env.now() + timedelta(seconds=FILE_LIFE_S))


@dataclass(frozen=True, slots=True)
class Program(Auth):
    """An exec plugin of a kubeconfig (client.authentication.k8s.io v1 and v1beta1).

    Attributes:
        command: absolute, or to be looked up in PATH; relative ones were resolved against the kubeconfig's folder.
        environment: the process's whole environment.
        cluster: what is told of the cluster, if the kubeconfig asks for that.
    """

    command: str
    arguments: tuple[str, ...] = ()
    version: str = _EXEC_VERSIONS[0]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    cluster: Mapping[str, Any] | None = None
    changes = True

    async def grant(self, env: Env) -> Grant:
        answer = await self._run()
        try:
            document = json.loads(answer)
            status = document["status"]
            if document.get("kind") != "ExecCredential" or document.get("apiVersion") != self.version:
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._failed(f"did not answer with an ExecCredential of {self.version}") from None
        if not isinstance(status, dict):
            raise self._failed("answered without a status")
        token, certificate, key = (
            value if isinstance(value := status.get(name), str) and value else None
            for name in ("token", "clientCertificateData", "clientKeyData")
        )
        if token is None and (certificate is None or key is None):
            raise self._failed("gave neither a token nor a certificate with its key")
        return Grant(
            checked_token(token, self.command) if token else None,
            certificate.encode() if certificate and key else None,
            key.encode() if certificate and key else None,
            _expiry(status.get("expirationTimestamp")),
        )

    async def _run(self) -> bytes:
        if self.version not in _EXEC_VERSIONS:
            raise self._failed(f"speaks {self.version}; known are {', '.join(_EXEC_VERSIONS)}")
        spec: dict[str, Any] = {"interactive": False}
        if self.cluster is not None:
            spec["cluster"] = dict(self.cluster)
        info = {"apiVersion": self.version, "kind": "ExecCredential", "spec": spec}
        try:
            process = await asyncio.create_subprocess_exec(
                self.command,
                *self.arguments,
                env={**self.environment, "KUBERNETES_EXEC_INFO": json.dumps(info)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # so that what it starts itself can be ended with it
            )
        except OSError as error:
            raise self._failed(f"cannot be started ({type(error).__name__})") from None
        try:
            async with asyncio.timeout(EXEC_TIMEOUT_S):
                out, err = await process.communicate()
        except TimeoutError:
            await _kill(process)
            raise self._failed(f"gave no answer within {EXEC_TIMEOUT_S:g} s") from None
        except asyncio.CancelledError:
            await _kill(process)
            raise
        if process.returncode:
            said = err.decode("utf-8", "replace").strip()[-200:]
            raise self._failed(f"ended with {process.returncode}: {said}")
        return out

    def _failed(self, what: str) -> AuthFailed:
        return AuthFailed(f"the kubeconfig's program {self.command!r} {what}", code="exec-plugin")


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End a program with all that it started: a child that holds its pipes would be waited for, too."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_KILL_S):
            await process.wait()


def checked_token(token: str, origin: str) -> str:
    """*token*, if it can go into a header.

    Raises:
        AuthFailed: it cannot, or there is none.
    """
    if not token or not (token.isascii() and token.isprintable() and " " not in token):
        raise AuthFailed(f"what {origin} holds is no token", code="bad-key")
    return token


def still_good(grant: Grant, now: datetime) -> bool:
    """Whether *grant* can be used now, a minute's reserve included."""
    if grant.until is None:
        return True
    return now + min(_EARLY, timedelta(seconds=FILE_LIFE_S / 2)) < grant.until


def tls(authority: bytes | None, grant: Grant) -> ssl.SSLContext | None:
    """Trust in *authority* (PEM; None for the usual ones) and the grant's certificate; None if neither is needed.

    Raises:
        AuthFailed: what was given is no PEM.
    """
    if authority is None and grant.certificate is None:
        return None
    try:
        context = ssl.create_default_context(cadata=authority.decode("ascii") if authority else None)
        if grant.certificate is not None:
            _load_pair(context, grant.certificate, grant.key or b"")
    except (ssl.SSLError, ValueError, OSError) as error:
        raise AuthFailed(
            f"the cluster's certificates cannot be read ({type(error).__name__})", code="bad-certificate"
        ) from None
    return context


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    # OpenSSL reads pairs from files only. The folder is ours alone (0700) and gone at once.
    with tempfile.TemporaryDirectory(prefix="orch-") as folder:
        file = Path(folder) / "pair.pem"
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(certificate.rstrip() + b"\n" + key)
        context.load_cert_chain(file)


def _expiry(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
