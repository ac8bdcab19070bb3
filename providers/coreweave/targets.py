"""Which clusters there are to use, and how to get in. The first of these that is there counts:

1. a token (`COREWEAVE_API_TOKEN`, `CW_API_TOKEN`, `CW_API_ACCESS_TOKEN`) with `ORCH_COREWEAVE_URL`: that URL is the
   API server. With `COREWEAVE_API_ENDPOINT` beside them the clusters are asked for there, as in 3;
2. `KUBECONFIG`, or ``~/.kube/config`` where `ORCH_COREWEAVE_CONTEXT` names contexts: those, else the current one;
3. a token alone: CoreWeave's own API lists the clusters; more than one has to be chosen from by name;
4. ``~/.kube/config`` and its current context;
5. a Pod's own service account.

`ORCH_COREWEAVE_URL` takes the place of every scheme and host above, whose paths stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from providers.base import Context
from providers.coreweave import config
from providers.coreweave.auth import Auth, Fixed, Grant, TokenFile, checked_token
from providers.coreweave.errors import classify
from providers.coreweave.kubeconfig import KubeConfig, files_of
from providers.errors import AuthFailed, Unavailable
from providers.http import BadUrl, Http, check_base_url

URL_SETTING = "ORCH_COREWEAVE_URL"
ENDPOINT_SETTING = "COREWEAVE_API_ENDPOINT"
TOKEN_SETTINGS = ("COREWEAVE_API_TOKEN", "CW_API_TOKEN", "CW_API_ACCESS_TOKEN")
API_URL = "https://api.coreweave.com"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: Clusters with no API to talk to. One that is being updated or upgraded serves on, and what is rented in it has to be
#: ended all the same; a status that is not known yet says nothing against it.
_NOT_UP = frozenset({"STATUS_CREATING", "STATUS_FAILED", "STATUS_DELETING", "STATUS_DELETED"})


@dataclass(frozen=True, slots=True)
class Target:
    """One cluster's API server.

    Attributes:
        name: of the context or cluster, for people.
        server: base URL, checked.
        vendor_host: the host that the vendor or the file named, before `ORCH_COREWEAVE_URL`.
        origin: where the credentials came from, fit to be shown.
        zone: CoreWeave's availability zone, where it is known.
    """

    name: str
    server: str
    vendor_host: str
    auth: Auth
    origin: str
    authority: bytes | None = None
    zone: str | None = None


async def targets(context: Context) -> list[Target]:
    """Every cluster to use.

    Raises:
        AuthFailed: there are no credentials, or what is there cannot be used.
        ProviderError: CoreWeave's API did not list the clusters.
    """
    settings = context.settings
    token = _token(settings)
    url, listed = settings.get(URL_SETTING), settings.get(ENDPOINT_SETTING)
    wanted = config.contexts(settings)
    if token and url and not listed:
        server = _checked(url, URL_SETTING)
        return [Target(wanted[0] if wanted else "token", server, _host(url), _fixed(token), token[1])]
    if settings.get("KUBECONFIG") or (wanted and not token and _there(settings)):
        return _of_files(settings, wanted, token)
    if token:
        return await _discovered(context, token, wanted)
    if _there(settings):
        return _of_files(settings, wanted, None)
    inside = in_cluster(settings)
    if inside is None:
        names = f"{TOKEN_SETTINGS[0]} or KUBECONFIG"
        raise AuthFailed(f"no way into a cluster: set {names}, or write ~/.kube/config", code="no-key")
    return [inside]


def in_cluster(settings: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> Target | None:
    """The cluster that we run in ourselves, or None if we run in none."""
    host, port = settings.get("KUBERNETES_SERVICE_HOST"), settings.get("KUBERNETES_SERVICE_PORT") or "443"
    token, authority = folder / "token", folder / "ca.crt"
    if not host or not token.is_file():
        return None
    shown = f"[{host}]" if ":" in host else host
    server = settings.get(URL_SETTING) or f"https://{shown}:{port}"
    trusted = authority.read_bytes() if authority.is_file() else None
    return Target("in-cluster", _checked(server, URL_SETTING), host, TokenFile(token), "service account", trusted)


def zone_of(host: str) -> str | None:
    """The zone in ``<org>-<id>.k8s.<zone>.coreweave.com``."""
    parts = host.lower().split(".")
    return parts[2].upper() if len(parts) == 5 and parts[1] == "k8s" and parts[3:] == ["coreweave", "com"] else None


def _of_files(settings: Mapping[str, str], wanted: tuple[str, ...], token: tuple[str, str] | None) -> list[Target]:
    files = KubeConfig(files_of(settings), settings)
    names = wanted or ((files.current,) if files.current else ())
    if not names:
        raise AuthFailed(
            f"the kubeconfig has no current context: name one with {config.CONTEXT_SETTING}", code="no-context"
        )
    found = []
    for name in names:
        entry = files.entry(name)
        auth, origin = entry.auth, f"kubeconfig, context {name}"
        if auth is None and token is not None:
            auth, origin = _fixed(token), token[1]
        if auth is None:
            raise AuthFailed(f"context {name!r} has no credentials that orch knows", code="no-key")
        server = _moved(entry.server, settings.get(URL_SETTING))
        host = _host(entry.server)
        found.append(Target(name, server, host, auth, origin, entry.authority, zone_of(host)))
    return found


async def _discovered(context: Context, token: tuple[str, str], wanted: tuple[str, ...]) -> list[Target]:
    settings = context.settings
    base = _moved(settings.get(ENDPOINT_SETTING) or API_URL, settings.get(URL_SETTING))
    rows = await _clusters(context, base, token[0])
    usable = {str(row.get("name") or row.get("id")): row for row in rows if row.get("status") not in _NOT_UP}
    if not usable:
        raise AuthFailed("the CoreWeave organisation has no running cluster", code="no-cluster")
    if not wanted and len(usable) > 1:
        raise AuthFailed(
            f"there are several clusters: name some of {', '.join(sorted(usable))} with {config.CONTEXT_SETTING}",
            code="no-context",
        )
    found = []
    for name in wanted or tuple(usable):
        row = usable.get(name)
        if row is None:
            known = ", ".join(sorted(usable))
            raise AuthFailed(f"there is no running cluster {name!r} (there are {known})", code="no-context")
        endpoint = str(row.get("apiServerEndpoint") or "")
        if not endpoint:
            raise AuthFailed(f"cluster {name!r} has no public API endpoint", code="private-cluster")
        # The answer may carry the scheme, or the host alone.
        full = endpoint if "://" in endpoint else f"https://{endpoint}"
        zone = row.get("zone")
        server = _moved(full, settings.get(URL_SETTING))
        known_zone = zone if isinstance(zone, str) and zone else zone_of(_host(full))
        found.append(Target(name, server, _host(full), _fixed(token), token[1], None, known_zone))
    return found


async def _clusters(context: Context, base: str, token: str) -> list[dict[str, Any]]:
    http = Http(
        context,
        provider="coreweave",
        base_url=base,
        headers={"Authorization": f"Bearer {token}"},
        classify=classify,
        secrets=(token,),
    )
    try:
        document = (await http.call("GET", "/v1beta1/cks/clusters", verb="account")).parsed()
    finally:
        await http.aclose()
    # Third parties name the list differently.
    rows = (document.get("items") or document.get("clusters") or []) if isinstance(document, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Unavailable("CoreWeave's answer is not a list of clusters", code="malformed", scope="provider")
    return rows


def _there(settings: Mapping[str, str]) -> bool:
    return any(file.is_file() for file in files_of(settings))


def _token(settings: Mapping[str, str]) -> tuple[str, str] | None:
    for name in TOKEN_SETTINGS:
        if value := settings.get(name, "").strip():
            return checked_token(value, name), name
    return None


def _fixed(token: tuple[str, str]) -> Fixed:
    return Fixed(Grant(token[0]))


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _moved(url: str, base: str | None) -> str:
    """*url*, with scheme and host replaced by those of *base* (whose own path comes first)."""
    if not base:
        return _checked(url, "the API server's address")
    return _checked(_checked(base, URL_SETTING) + urlsplit(url).path, URL_SETTING)


def _checked(url: str, variable: str) -> str:
    try:
        return check_base_url(url, variable)
    except BadUrl as error:
        raise AuthFailed(str(error), code="bad-url") from None
