"""Ways into a cluster: which one counts, what a kubeconfig may say, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
import yaml

from providers.base import Context
from providers.coreweave import auth, targets
from providers.coreweave.adapter import CoreWeave
from providers.coreweave.auth import FILE_LIFE_S, Fixed, Program, TokenFile
from providers.coreweave.kubeconfig import KubeConfig
from providers.coreweave.targets import Target
from providers.env import ManualEnv
from providers.errors import AuthFailed, ProviderError, Unavailable
from tests.unit.coreweave.conftest import KEY, UID, Api

SERVER = "https://o-1.k8s.us-east-04a.coreweave.com"
CLUSTERS = "https://api.coreweave.com/v1beta1/cks/clusters"


def kubeconfig(path: Path, user: dict[str, Any] | None = None, **cluster: Any) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": SERVER, **cluster}}],
        "users": [{"name": "u", "user": {"token": KEY} if user is None else user}],
        "contexts": [{"name": "ctx", "context": {"cluster": "c", "user": "u", "namespace": "ignored"}}],
        "current-context": "ctx",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return path


async def find(env: ManualEnv, tmp_path: Path, **settings: str) -> list[Target]:
    return await targets.targets(Context(env=env, settings={"HOME": str(tmp_path), **settings}))


async def token_of(target: Target, env: ManualEnv) -> str | None:
    return (await target.auth.grant(env)).token


# -- which one counts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["COREWEAVE_API_TOKEN", "CW_API_TOKEN", "CW_API_ACCESS_TOKEN"])
async def test_a_token_and_our_url_name_the_api_server(env: ManualEnv, tmp_path: Path, name: str) -> None:
    other = kubeconfig(tmp_path / "other")
    [target] = await find(
        env, tmp_path, ORCH_COREWEAVE_URL="http://127.0.0.1:9/cw/", KUBECONFIG=str(other), **{name: KEY}
    )
    assert (target.server, target.origin) == ("http://127.0.0.1:9/cw", name)
    assert await token_of(target, env) == KEY


async def test_a_kubeconfig_comes_before_a_token_alone(env: ManualEnv, tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", {"token": "from-the-file"})
    [target] = await find(env, tmp_path, KUBECONFIG=str(path), COREWEAVE_API_TOKEN=KEY)
    assert (target.name, target.server, target.zone) == ("ctx", SERVER, "US-EAST-04A")
    assert await token_of(target, env) == "from-the-file"


async def test_a_context_without_credentials_takes_the_token(env: ManualEnv, tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", {})
    [target] = await find(env, tmp_path, KUBECONFIG=str(path), COREWEAVE_API_TOKEN=KEY)
    assert await token_of(target, env) == KEY
    with pytest.raises(AuthFailed, match="no credentials"):
        await find(env, tmp_path, KUBECONFIG=str(path))


async def test_the_usual_file_is_the_last_but_one_choice(env: ManualEnv, tmp_path: Path) -> None:
    kubeconfig(tmp_path / ".kube" / "config")
    [target] = await find(env, tmp_path)
    assert target.name == "ctx"


async def test_our_url_moves_the_server_of_a_kubeconfig_and_keeps_its_path(env: ManualEnv, tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", server="https://rancher.example/k8s/clusters/c-1")
    [target] = await find(env, tmp_path, KUBECONFIG=str(path), ORCH_COREWEAVE_URL="http://127.0.0.1:9/cw")
    assert target.server == "http://127.0.0.1:9/cw/k8s/clusters/c-1"
    assert target.vendor_host == "rancher.example"


@pytest.fixture
def wire() -> Iterator[respx.MockRouter]:
    with respx.mock(assert_all_called=False) as router:
        yield router


@pytest.mark.parametrize("key", ["items", "clusters"])
async def test_a_token_alone_asks_coreweave_for_the_clusters(
    env: ManualEnv, tmp_path: Path, wire: respx.MockRouter, key: str
) -> None:
    rows = [
        {"id": "1", "name": "prod", "zone": "RNO2A", "status": "STATUS_RUNNING", "apiServerEndpoint": "a.example:6443"},
        {"id": "2", "name": "new", "zone": "RNO2A", "status": "STATUS_CREATING", "apiServerEndpoint": "b.example"},
    ]
    route = wire.get(CLUSTERS).respond(json={key: rows})
    [target] = await find(env, tmp_path, COREWEAVE_API_TOKEN=KEY)
    assert (target.name, target.server, target.zone) == ("prod", "https://a.example:6443", "RNO2A")
    assert route.calls.last.request.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("word", ["STATUS_UPDATING", "STATUS_UPGRADING", "STATUS_NEVER_HEARD_OF"])
async def test_a_cluster_that_is_being_upgraded_is_still_in_use(
    env: ManualEnv, tmp_path: Path, wire: respx.MockRouter, word: str
) -> None:
    wire.get(CLUSTERS).respond(json={"items": [{"name": "prod", "status": word, "apiServerEndpoint": "a.example"}]})
    for more in ({}, {"ORCH_COREWEAVE_CONTEXT": "prod"}):
        [target] = await find(env, tmp_path, COREWEAVE_API_TOKEN=KEY, **more)
        assert target.name == "prod"


async def test_of_several_clusters_some_must_be_named(env: ManualEnv, tmp_path: Path, wire: respx.MockRouter) -> None:
    rows = [{"name": name, "apiServerEndpoint": f"https://{name}.example"} for name in ("a", "b", "c")]
    wire.get(CLUSTERS).respond(json={"items": rows})
    with pytest.raises(AuthFailed, match="ORCH_COREWEAVE_CONTEXT"):
        await find(env, tmp_path, COREWEAVE_API_TOKEN=KEY)
    found = await find(env, tmp_path, COREWEAVE_API_TOKEN=KEY, ORCH_COREWEAVE_CONTEXT="c,a")
    assert [target.server for target in found] == ["https://c.example", "https://a.example"]
    with pytest.raises(AuthFailed, match="there are a, b, c"):
        await find(env, tmp_path, COREWEAVE_API_TOKEN=KEY, ORCH_COREWEAVE_CONTEXT="d")


async def test_discovery_can_be_moved_too(env: ManualEnv, tmp_path: Path, wire: respx.MockRouter) -> None:
    rows = [{"name": "a", "apiServerEndpoint": "a.example"}]
    wire.get("http://127.0.0.1:9/cw/v1beta1/cks/clusters").respond(json={"items": rows})
    more = {"ORCH_COREWEAVE_URL": "http://127.0.0.1:9/cw", "COREWEAVE_API_ENDPOINT": "https://api.coreweave.com"}
    [target] = await find(env, tmp_path, COREWEAVE_API_TOKEN=KEY, **more)
    assert (target.server, target.vendor_host) == ("http://127.0.0.1:9/cw", "a.example")


@pytest.mark.parametrize(
    ("rows", "said"),
    [([], "no running cluster"), ([{"name": "a", "apiServerEndpoint": ""}], "no public API endpoint")],
)
async def test_clusters_that_cannot_be_used_are_explained(
    env: ManualEnv, tmp_path: Path, wire: respx.MockRouter, rows: list[dict[str, str]], said: str
) -> None:
    wire.get(CLUSTERS).respond(json={"items": rows})
    with pytest.raises(AuthFailed, match=said):
        await find(env, tmp_path, COREWEAVE_API_TOKEN=KEY)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(401, json={"code": "unauthenticated", "message": "no"}), AuthFailed),
        (httpx.Response(200, json=["odd"]), Unavailable),
        (httpx.Response(200, json={"items": ["odd"]}), Unavailable),
    ],
)
async def test_a_discovery_that_fails_raises(
    env: ManualEnv, tmp_path: Path, wire: respx.MockRouter, answer: httpx.Response, error: type[ProviderError]
) -> None:
    wire.get(CLUSTERS).mock(return_value=answer)
    with pytest.raises(error):
        await find(env, tmp_path, COREWEAVE_API_TOKEN=KEY)


async def test_inside_a_cluster_the_service_account_is_used(env: ManualEnv, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("sa-token\n")
    (tmp_path / "ca.crt").write_text("PEM")
    target = targets.in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)
    assert target is not None
    assert (target.server, target.authority) == ("https://10.0.0.1:443", b"PEM")
    assert await token_of(target, env) == "sa-token"
    v6 = targets.in_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}, tmp_path)
    assert v6 is not None
    assert v6.server == "https://[fd00::1]:6443"
    assert targets.in_cluster({}, tmp_path) is None


async def test_no_way_in_says_what_to_do(env: ManualEnv, tmp_path: Path) -> None:
    with pytest.raises(AuthFailed, match="COREWEAVE_API_TOKEN or KUBECONFIG"):
        await find(env, tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"COREWEAVE_API_TOKEN": KEY, "ORCH_COREWEAVE_URL": "http://cluster.example"},
        {"COREWEAVE_API_TOKEN": "two words", "ORCH_COREWEAVE_URL": "https://cluster.example"},
        {"KUBECONFIG": "/nowhere/at/all"},
    ],
)
async def test_a_setting_that_cannot_be_used_is_a_failure_of_credentials(
    env: ManualEnv, tmp_path: Path, settings: dict[str, str]
) -> None:
    with pytest.raises(AuthFailed):
        await find(env, tmp_path, **settings)


def test_the_zone_is_read_from_coreweaves_own_hosts_only() -> None:
    assert targets.zone_of("org-1.k8s.us-east-02a.coreweave.com") == "US-EAST-02A"
    assert targets.zone_of("org-1.k8s.us-east-02a.example.com") is None
    assert targets.zone_of("10.0.0.1") is None


# -- kubeconfig -------------------------------------------------------------------------------------------


def test_several_files_are_merged_and_the_first_wins(tmp_path: Path) -> None:
    first = kubeconfig(tmp_path / "a", {"token": "first"})
    second = tmp_path / "b"
    document = yaml.safe_load(kubeconfig(tmp_path / "x", {"token": "second"}).read_text())
    document["contexts"].append({"name": "more", "context": {"cluster": "c", "user": "u"}})
    document["current-context"] = "more"
    second.write_text(yaml.safe_dump(document))
    merged = KubeConfig([tmp_path / "missing", first, second], {})
    assert (merged.current, merged.names) == ("ctx", ["ctx", "more"])
    auth = merged.entry("more").auth
    assert isinstance(auth, Fixed)
    assert auth.value.token == "first"


def test_certificates_come_inline_or_by_a_path_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "client.pem").write_text("CERT")
    inline = {"certificate-authority-data": base64.b64encode(b"CA").decode()}
    user = {"client-certificate": "client.pem", "client-key-data": base64.b64encode(b"KEY").decode()}
    entry = KubeConfig([kubeconfig(tmp_path / "config", user, **inline)], {}).entry("ctx")
    assert entry.authority == b"CA"
    assert isinstance(entry.auth, Fixed)
    assert (entry.auth.value.certificate, entry.auth.value.key, entry.auth.value.token) == (b"CERT", b"KEY", None)


async def test_a_token_file_is_read_again_as_it_changes(tmp_path: Path, env: ManualEnv) -> None:
    (tmp_path / "t").write_text("one\n")
    entry = KubeConfig([kubeconfig(tmp_path / "config", {"tokenFile": "t", "token": "stale"})], {}).entry("ctx")
    assert isinstance(entry.auth, TokenFile)
    grant = await entry.auth.grant(env)
    assert (grant.token, grant.until) == ("one", env.now() + timedelta(seconds=FILE_LIFE_S))
    (tmp_path / "t").write_text("two")
    assert (await entry.auth.grant(env)).token == "two"
    (tmp_path / "t").unlink()
    with pytest.raises(AuthFailed, match="cannot be read"):
        await entry.auth.grant(env)


@pytest.mark.parametrize(
    ("user", "cluster", "said"),
    [
        ({"username": "u", "password": "p"}, {}, "username"),
        ({"auth-provider": {"name": "gcp"}}, {}, "auth-provider"),
        ({"token": "t", "as": "admin"}, {}, "uses as"),
        (None, {"insecure-skip-tls-verify": True}, "insecure-skip-tls-verify"),
        (None, {"proxy-url": "http://p"}, "proxy-url"),
        (None, {"server": ""}, "no server"),
        (None, {"certificate-authority": "missing.pem"}, "certificate-authority"),
        ({"client-certificate-data": "?"}, {}, "client-certificate"),
        ({"client-certificate-data": "QQ=="}, {}, "needs its key"),
        ({"exec": {"command": ""}}, {}, "no command"),
        ({"exec": {"command": "x", "interactiveMode": "Always"}}, {}, "terminal"),
        ({"token": "two words"}, {}, "no token"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    tmp_path: Path, user: dict[str, Any] | None, cluster: dict[str, Any], said: str
) -> None:
    path = kubeconfig(tmp_path / "config", user, **cluster)
    with pytest.raises(AuthFailed, match=said):
        KubeConfig([path], {}).entry("ctx")


@pytest.mark.parametrize("text", ["{", "- a list", f"token: {KEY}: x"])
def test_a_broken_file_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(AuthFailed) as caught:
        KubeConfig([path], {})
    assert KEY not in str(caught.value)


def test_contexts_that_are_not_there_are_named_with_those_that_are(tmp_path: Path) -> None:
    config = KubeConfig([kubeconfig(tmp_path / "config")], {})
    with pytest.raises(AuthFailed, match=r"no context 'prod' \(it has ctx\)"):
        config.entry("prod")


# -- programs ---------------------------------------------------------------------------------------------


def plugin(folder: Path, body: str) -> Path:
    path = folder / "plugin"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def credential(version: str = "v1", **status: str) -> str:
    kind = {"apiVersion": f"client.authentication.k8s.io/{version}", "kind": "ExecCredential", "status": status}
    return json.dumps(kind)


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_a_program_gives_a_token_and_its_end(tmp_path: Path, env: ManualEnv, version: str) -> None:
    said = credential(version, token="fresh", expirationTimestamp="2026-11-22T13:00:00Z")
    plugin(tmp_path, f'echo "$1 $WHO $KUBERNETES_EXEC_INFO" > "{tmp_path}/seen"; echo \'{said}\'')
    spec = {
        "apiVersion": f"client.authentication.k8s.io/{version}",
        "command": "./plugin",
        "args": ["login"],
        "env": [{"name": "WHO", "value": "me"}],
        "provideClusterInfo": True,
    }
    auth = KubeConfig([kubeconfig(tmp_path / "config", {"exec": spec})], {"PATH": "/usr/bin:/bin"}).entry("ctx").auth
    assert isinstance(auth, Program)
    grant = await auth.grant(env)
    assert (grant.token, grant.until) == ("fresh", env.now() + timedelta(hours=1))
    first, who, info = (tmp_path / "seen").read_text().split(" ", 2)
    assert (first, who) == ("login", "me")
    told = json.loads(info)
    assert told["apiVersion"].endswith(version)
    assert told["spec"]["cluster"]["server"] == SERVER


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo nonsense", "ExecCredential"),
        (f"echo '{credential('v1alpha1', token='x')}'", "ExecCredential"),
        (f"echo '{credential()}'", "neither a token nor"),
        ("echo 'log in first' >&2; exit 4", "ended with 4: log in first"),
        (f"echo '{credential(token='two words')}'", "no token"),
    ],
)
async def test_a_program_that_fails_is_a_failure_of_credentials(
    tmp_path: Path, env: ManualEnv, body: str, said: str
) -> None:
    path = plugin(tmp_path, body)
    with pytest.raises(AuthFailed, match=said):
        await Program(str(path), environment={"PATH": "/usr/bin:/bin"}).grant(env)


async def test_a_program_that_is_not_there_or_too_old_is_named(tmp_path: Path, env: ManualEnv) -> None:
    with pytest.raises(AuthFailed, match="cannot be started"):
        await Program(str(tmp_path / "missing")).grant(env)
    with pytest.raises(AuthFailed, match="v1alpha1"):
        await Program("x", version="client.authentication.k8s.io/v1alpha1").grant(env)


async def test_a_token_that_runs_out_or_is_refused_is_asked_for_anew(
    connect: Callable[..., CoreWeave], env: ManualEnv, tmp_path: Path, wire: respx.MockRouter
) -> None:
    token = tmp_path / "token"
    token.write_text(KEY)
    path = kubeconfig(tmp_path / "config", {"tokenFile": str(token)})
    api = Api(env)
    wire.route(url__startswith=SERVER).mock(side_effect=api.handle)
    adapter = connect(ORCH_COREWEAVE_URL="", COREWEAVE_API_TOKEN="", KUBECONFIG=str(path))
    assert await adapter.account() == f"orch@{UID}"
    sent: list[str] = []

    def strict(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["authorization"].removeprefix("Bearer "))
        return httpx.Response(200, json={"kind": "PodList", "items": []}) if sent[-1] == "next" else httpx.Response(401)

    wire.route(url__startswith=SERVER).mock(side_effect=strict)
    token.write_text("next")
    assert await adapter.owned() == []
    assert set(sent) == {KEY, "next"}
    sent.clear()
    token.write_text("last")
    env.advance(FILE_LIFE_S)
    with pytest.raises(AuthFailed):
        await adapter.owned()
    assert set(sent) == {"last"}
    await adapter.aclose()


async def test_a_program_that_hangs_is_ended_with_all_that_it_started(
    env: ManualEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "EXEC_TIMEOUT_S", 0.5)
    # The child holds the pipes: to wait for their end would be to wait for the child.
    text = f"sleep 300 & echo $! > {tmp_path}/child; wait"
    program = Program("/bin/sh", ("-c", text), environment={"PATH": "/usr/bin:/bin"})
    async with asyncio.timeout(60):
        with pytest.raises(AuthFailed, match="no answer"):
            await program.grant(env)
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    # Dead, or waiting for somebody to take note of that.
    assert not child.exists() or child.read_text().rsplit(")", 1)[1].split()[0] == "Z"
