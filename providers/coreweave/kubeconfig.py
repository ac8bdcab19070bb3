"""Kubeconfig files: several in `KUBECONFIG`, merged as kubectl does it, and what a context in them means.

The first file that names a cluster, user or context wins; paths are relative to the file that holds them. Not
understood, and refused by name rather than passed over: `insecure-skip-tls-verify`, `proxy-url`,
`tls-server-name`, `username`/`password` and `auth-provider` (gone from Kubernetes), and impersonation.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from providers.coreweave.auth import Auth, Fixed, Grant, Program, TokenFile, checked_token
from providers.errors import AuthFailed

_REFUSED_CLUSTER = ("insecure-skip-tls-verify", "proxy-url", "tls-server-name")
_REFUSED_USER = ("username", "password", "auth-provider", "as", "as-groups", "as-uid", "as-user-extra")


@dataclass(frozen=True, slots=True)
class Entry:
    """One context, resolved.

    Attributes:
        name: the context's.
        server: URL of the API server, as the file has it.
        authority: PEM of the CA that signs its certificate; None for the usual ones.
        auth: None where the user entry holds no credentials at all.
    """

    name: str
    server: str
    authority: bytes | None
    auth: Auth | None


class KubeConfig:
    """One or more files, merged.

    Raises:
        AuthFailed: none of the files is there, or one cannot be read.
    """

    def __init__(self, files: list[Path], environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._found: dict[str, dict[str, tuple[dict[str, Any], Path]]] = {"clusters": {}, "users": {}, "contexts": {}}
        self._current = ""
        there = [file for file in files if file.is_file()]
        if not there:
            raise AuthFailed(f"no kubeconfig at {', '.join(map(str, files)) or 'any path'}", code="no-key")
        for file in there:
            self._take(file)

    @property
    def current(self) -> str:
        """The current context's name; empty if no file sets one."""
        return self._current

    @property
    def names(self) -> list[str]:
        """Every context's name."""
        return sorted(self._found["contexts"])

    def entry(self, name: str) -> Entry:
        """What the context *name* means.

        Raises:
            AuthFailed: there is no such context, or something in it cannot be used.
        """
        context, _ = self._one("contexts", name, name)
        cluster, at = self._one("clusters", str(context.get("cluster", "")), name)
        server = cluster.get("server")
        if not isinstance(server, str) or not server:
            raise AuthFailed(f"context {name!r}: its cluster has no server", code="bad-file")
        _refuse(cluster, _REFUSED_CLUSTER, name)
        authority = _data(cluster, "certificate-authority", at.parent, name)
        auth = None
        if user := context.get("user"):
            settings, home = self._one("users", str(user), name)
            _refuse(settings, _REFUSED_USER, name)
            auth = self._auth(settings, home.parent, name, _told(cluster, authority))
        return Entry(name, server, authority, auth)

    def _auth(self, user: dict[str, Any], folder: Path, name: str, cluster: dict[str, Any]) -> Auth | None:
        token, certificate = user.get("token"), _data(user, "client-certificate", folder, name)
        key = _data(user, "client-key", folder, name)
        if (certificate is None) != (key is None):
            raise AuthFailed(f"context {name!r}: a client certificate needs its key, and the reverse", code="bad-file")
        if isinstance(file := user.get("tokenFile"), str) and file and certificate is None:
            return TokenFile(folder / file)  # as for kubectl, the file wins over a token beside it
        if (isinstance(token, str) and token) or certificate is not None:
            sound = checked_token(token, f"context {name!r}") if isinstance(token, str) and token else None
            return Fixed(Grant(sound, certificate, key))
        if isinstance(plugin := user.get("exec"), dict):
            return self._program(plugin, folder, name, cluster)
        return None

    def _program(self, plugin: dict[str, Any], folder: Path, name: str, cluster: dict[str, Any]) -> Program:
        command = plugin.get("command")
        if not isinstance(command, str) or not command:
            raise AuthFailed(f"context {name!r}: its exec plugin has no command", code="bad-file")
        if plugin.get("interactiveMode") == "Always":
            raise AuthFailed(f"context {name!r}: its exec plugin wants a terminal", code="bad-file")
        if os.sep in command:
            command = str(folder / command)
        environment = dict(self._environment)
        for pair in plugin.get("env") or ():
            if isinstance(pair, dict) and isinstance(pair.get("name"), str):
                environment[pair["name"]] = str(pair.get("value", ""))
        return Program(
            command,
            tuple(str(argument) for argument in plugin.get("args") or ()),
            str(plugin.get("apiVersion", "")),
            environment,
            cluster if plugin.get("provideClusterInfo") is True else None,
        )

    def _take(self, file: Path) -> None:
        import yaml  # only kubeconfig users pay for it

        try:
            document = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except (OSError, ValueError, yaml.YAMLError) as error:
            # The error's own text may quote a line with a token.
            raise AuthFailed(f"{file} cannot be read ({type(error).__name__})", code="bad-file") from None
        if not isinstance(document, dict):
            raise AuthFailed(f"{file} is no kubeconfig", code="bad-file")
        if not self._current and isinstance(document.get("current-context"), str):
            self._current = document["current-context"]
        for kind, found in self._found.items():
            single = kind.removesuffix("s")
            for item in document.get(kind) or ():
                if isinstance(item, dict) and isinstance(item.get(single), dict):
                    found.setdefault(str(item.get("name")), (item[single], file))

    def _one(self, kind: str, name: str, context: str) -> tuple[dict[str, Any], Path]:
        found = self._found[kind].get(name)
        if found is not None:
            return found
        if kind == "contexts":
            known = ", ".join(self.names) or "none"
            raise AuthFailed(f"the kubeconfig has no context {name!r} (it has {known})", code="no-context")
        single = kind.removesuffix("s")
        raise AuthFailed(f"context {context!r}: the kubeconfig has no {single} {name!r}", code="bad-file")


def files_of(settings: Mapping[str, str]) -> list[Path]:
    """Where kubeconfig files are looked for: `KUBECONFIG`'s list, else ``~/.kube/config`` under `HOME`."""
    listed = [Path(part).expanduser() for part in settings.get("KUBECONFIG", "").split(os.pathsep) if part]
    return listed or [Path(settings.get("HOME") or Path.home()) / ".kube" / "config"]


def _data(entry: dict[str, Any], key: str, folder: Path, context: str) -> bytes | None:
    """Bytes that are given inline (``KEY-data``, base64) or as a file's path; inline wins."""
    inline, path = entry.get(f"{key}-data"), entry.get(key)
    try:
        if isinstance(inline, str) and inline:
            return base64.b64decode(inline, validate=True)
        if isinstance(path, str) and path:
            return (folder / path).read_bytes()
    except (OSError, binascii.Error) as error:
        raise AuthFailed(
            f"context {context!r}: {key} cannot be read ({type(error).__name__})", code="bad-file"
        ) from None
    return None


def _refuse(entry: dict[str, Any], keys: tuple[str, ...], context: str) -> None:
    for key in keys:
        if entry.get(key):
            raise AuthFailed(f"context {context!r} uses {key}, which orch does not support", code="bad-file")


def _told(cluster: dict[str, Any], authority: bytes | None) -> dict[str, Any]:
    """What a program with `provideClusterInfo` is told."""
    told = {"server": cluster["server"]}
    if authority:
        told["certificate-authority-data"] = base64.b64encode(authority).decode()
    for extension in cluster.get("extensions") or ():
        if isinstance(extension, dict) and extension.get("name") == "client.authentication.k8s.io/exec":
            told["config"] = extension.get("extension")
    return told
