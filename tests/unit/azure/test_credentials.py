"""Where keys come from, what they become, and what `orch providers check` says of them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from providers.azure import credentials
from providers.azure.adapter import Azure
from providers.azure.checks import NEEDED
from providers.azure.regions import BadRegion
from providers.base import AttemptRef, Context
from providers.env import ManualEnv
from providers.errors import AuthFailed, Forbidden, Unavailable
from providers.http import USER_AGENT, BadUrl
from tests.unit.azure.conftest import BEARER, OWNER, SUBSCRIPTION, TOKEN
from tests.unit.azure.test_offers import usage
from tests.unit.azure.wire import Answer, Asked, Wire, refused, rows

TENANT, CLIENT, SECRET = "aaaaaaaa-0000", "bbbbbbbb-0000", "s3cr3t~value.of.a.client"
PATH = f"/{TENANT}/oauth2/v2.0/token"
MACHINE = f"/virtualMachines/{TOKEN}"


def with_(context: Context, **settings: str) -> Azure:
    kept = {name: value for name, value in context.settings.items() if name != "ORCH_AZURE_TOKEN"}
    merged = {name: value for name, value in {**kept, **settings}.items() if value}
    return Azure(Context(env=context.env, settings=merged, owner=OWNER))


def token(text: str = "token-1", lasts: int = 3599) -> Answer:
    return Answer(200, {"token_type": "Bearer", "expires_in": lasts, "ext_expires_in": lasts, "access_token": text})


@pytest.fixture
def secret(context: Context) -> Azure:
    return with_(context, AZURE_TENANT_ID=TENANT, AZURE_CLIENT_ID=CLIENT, AZURE_CLIENT_SECRET=SECRET)


def test_importing_the_adapter_loads_no_azure_package() -> None:
    code = (
        "import sys, providers.azure.adapter as a; from providers.base import Context;"
        "a.Azure(Context(settings={'AZURE_SUBSCRIPTION_ID': 'x'}));"
        "bad = [m for m in sys.modules if m in ('requests', 'msal') or m.startswith(('azure.core', 'azure.mgmt.', "
        "'azure.identity'))]; assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr


async def test_a_client_secret_is_exchanged_once_and_again_before_the_token_ends(
    secret: Azure, wire: Wire, env: ManualEnv
) -> None:
    wire.on("POST", PATH, token("token-1"), token("token-2"))
    try:
        await secret.owned()
        await secret.owned()
        [asked] = wire.of("POST", PATH)
        assert parse_qs(asked.text) == {
            "grant_type": ["client_credentials"],
            "client_id": [CLIENT],
            "client_secret": [SECRET],
            "scope": ["https://management.azure.com/.default"],
        }
        assert asked.headers["user-agent"] == USER_AGENT
        assert "authorization" not in asked.headers
        env.advance(3400)
        await secret.owned()
    finally:
        await secret.aclose()
    assert len(wire.of("POST", PATH)) == 2
    assert wire.of("GET")[0].headers["authorization"] == "Bearer token-1"
    assert wire.of("GET")[-1].headers["authorization"] == "Bearer token-2"


async def test_a_token_that_ends_early_is_renewed_once(secret: Azure, wire: Wire) -> None:
    wire.on("POST", PATH, token("old"), token("new"))

    def groups(asked: Asked) -> Answer:
        fresh = asked.headers["authorization"] == "Bearer new"
        return rows() if fresh else refused("ExpiredAuthenticationToken", 401, "the token is over")

    wire.on("GET", "/resourcegroups", groups)
    try:
        assert await secret.owned() == []
        assert len(wire.of("POST", PATH)) == 2
        wire.on("GET", "/resourcegroups", refused("ExpiredAuthenticationToken", 401, "the token is over"))
        with pytest.raises(AuthFailed):
            await secret.owned()
    finally:
        await secret.aclose()


async def test_a_wrong_secret_is_refused_and_stays_unsaid(secret: Azure, attempt: AttemptRef, wire: Wire) -> None:
    said = f"AADSTS7000215: Invalid client secret {SECRET} provided for app '{CLIENT}'."
    wire.on("POST", PATH, Answer(401, {"error": "invalid_client", "error_description": said}))
    try:
        calls = (
            secret.owned,
            lambda: secret.find(attempt),
            lambda: secret.launch(attempt.offer, attempt.spec, TOKEN),
        )
        for call in calls:
            with pytest.raises(AuthFailed) as caught:
                await call()
            assert "AADSTS7000215" in str(caught.value)
            for value in (SECRET, CLIENT, TENANT):
                assert value not in str(caught.value)
    finally:
        await secret.aclose()
    assert not [one for one in wire.asked if one.path != PATH]


@pytest.mark.parametrize(
    "answer", [Answer(200, text="<html>"), Answer(200, {"hello": 1}), Answer(503, text="x"), Answer(cut=True)]
)
async def test_a_token_service_that_is_broken_is_no_wrong_key(
    secret: Azure, attempt: AttemptRef, wire: Wire, answer: Answer
) -> None:
    wire.on("POST", PATH, answer)
    try:
        with pytest.raises(Unavailable):
            await secret.launch(attempt.offer, attempt.spec, TOKEN)
    finally:
        await secret.aclose()


async def test_a_federated_token_is_read_anew_from_its_file(context: Context, wire: Wire, tmp_path: Path) -> None:
    file = tmp_path / "federated"
    file.write_text("assertion-1\n")
    wire.on("POST", PATH, token())
    azure = with_(context, AZURE_TENANT_ID=TENANT, AZURE_CLIENT_ID=CLIENT, AZURE_FEDERATED_TOKEN_FILE=str(file))
    try:
        await azure.owned()
    finally:
        await azure.aclose()
    form = parse_qs(wire.of("POST", PATH)[0].text)
    assert form["client_assertion"] == ["assertion-1"]
    assert form["client_assertion_type"][0].endswith("jwt-bearer")
    file.unlink()
    azure = with_(context, AZURE_TENANT_ID=TENANT, AZURE_CLIENT_ID=CLIENT, AZURE_FEDERATED_TOKEN_FILE=str(file))
    with pytest.raises(AuthFailed):
        await azure.owned()
    await azure.aclose()


def az(folder: Path, script: str) -> str:
    program = folder / "az"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


async def test_the_login_of_az_is_used_where_nothing_else_is_said(context: Context, wire: Wire, tmp_path: Path) -> None:
    path = az(tmp_path, f'echo "$AZURE_CONFIG_DIR $*" >> {tmp_path}/calls; echo \'{{"accessToken": "from-az"}}\'')
    profile = {"subscriptions": [{"id": "other"}, {"id": SUBSCRIPTION.upper(), "isDefault": True}]}
    own = tmp_path / "config"
    own.mkdir()
    (own / "azureProfile.json").write_text(json.dumps(profile), encoding="utf-8-sig")
    azure = with_(context, AZURE_SUBSCRIPTION_ID="", PATH=path, AZURE_CONFIG_DIR=str(own))
    try:
        assert await azure.account() == SUBSCRIPTION
        await azure.owned()
    finally:
        await azure.aclose()
    assert wire.of("GET")[0].headers["authorization"] == "Bearer from-az"
    calls = (tmp_path / "calls").read_text().split("\n")
    assert calls[0] == f"{own} account get-access-token --output json --resource https://management.azure.com"


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("echo 'Please run az login' >&2; exit 1", AuthFailed),
        ("echo nonsense", Unavailable),
        ("kill -9 $$", AuthFailed),
    ],
)
async def test_an_az_that_gives_no_token_is_told_apart(
    context: Context, tmp_path: Path, script: str, kind: type
) -> None:
    azure = with_(context, PATH=az(tmp_path, script))
    with pytest.raises(kind):
        await azure.owned()
    await azure.aclose()


async def test_without_any_credentials_people_are_told_what_to_set(context: Context, tmp_path: Path) -> None:
    azure = with_(context, PATH=str(tmp_path))
    with pytest.raises(AuthFailed) as caught:
        await azure.owned()
    assert "AZURE_CLIENT_ID" in str(caught.value)
    await azure.aclose()


async def test_the_only_subscription_is_found_and_of_several_one_must_be_named(context: Context, wire: Wire) -> None:
    one = {"subscriptionId": SUBSCRIPTION, "state": "Enabled", "displayName": "mine"}
    off = {"subscriptionId": "off", "state": "Disabled"}
    settings = {name: value for name, value in context.settings.items() if name != "AZURE_SUBSCRIPTION_ID"}
    for found, good in (([one, off], True), ([one, {**one, "subscriptionId": "two"}], False), ([off], False)):
        wire.on("GET", "/subscriptions", rows(*found))
        azure = Azure(Context(env=context.env, settings=settings, owner=OWNER))
        try:
            if good:
                assert await azure.account() == SUBSCRIPTION
            else:
                with pytest.raises(Forbidden):
                    await azure.account()
        finally:
            await azure.aclose()


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"ORCH_AZURE_URL": "http://example.org"}, BadUrl),
        ({"ORCH_AZURE_TOKEN": BEARER}, credentials.BadToken),
        ({"ORCH_AZURE_TOKEN": BEARER, "ORCH_AZURE_URL": "https://example.org"}, credentials.BadToken),
        ({"ORCH_AZURE_REGIONS": "east us/../x"}, BadRegion),
        (
            {
                "AZURE_AUTHORITY_HOST": "http://example.org",
                "AZURE_TENANT_ID": "t",
                "AZURE_CLIENT_ID": "c",
                "AZURE_CLIENT_SECRET": "s",
            },
            BadUrl,
        ),
    ],
)
def test_settings_that_would_give_a_key_away_are_refused(settings: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        Azure(Context(settings=settings))


def test_a_certificate_and_a_managed_identity_are_told_apart_by_their_settings() -> None:
    base = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c"}
    assert credentials.kind({**base, "AZURE_CLIENT_CERTIFICATE_PATH": "/x.pem"}, None) == "certificate"
    assert credentials.kind({"AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential"}, None) == "managed"
    assert credentials.kind({}, None) == "cli"


async def test_an_unusable_certificate_is_a_wrong_key(context: Context, tmp_path: Path) -> None:
    pytest.importorskip("azure.identity")
    (tmp_path / "bad.pem").write_text("nonsense")
    settings = {
        "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_CLIENT_CERTIFICATE_PATH": str(tmp_path / "bad.pem"),
    }
    azure = Azure(Context(env=context.env, settings=settings, owner=OWNER))
    with pytest.raises(AuthFailed):
        await azure.owned()
    await azure.aclose()


# -- check ------------------------------------------------------------------------------------------------


def can(wire: Wire, *actions: str, never: tuple[str, ...] = ()) -> None:
    wire.on("GET", "/permissions", rows({"actions": list(actions), "notActions": list(never)}))


async def test_check_says_who_may_do_what_and_how_much(azure: Azure, wire: Wire, env: ManualEnv) -> None:
    can(wire, "*")
    wire.on("GET", "/usages", rows(usage("cores", 1, 10), usage("Standard NCASv3_T4 Family", 0, 4), usage("x", 0, 9)))
    lines = await azure.check()
    assert lines["account"] == SUBSCRIPTION
    assert lines["key"] == "accepted (ORCH_AZURE_TOKEN)"
    assert lines["rights"] == "may rent machines"
    assert "9 of 10 cores!" in lines["quota"]
    assert "4 of 4 Standard NCASv3_T4 Family!" in lines["quota"]
    assert lines["clock_skew"] == "unknown"
    assert "fix" not in lines
    for value in lines.values():
        assert BEARER not in value


async def test_check_names_missing_rights_and_missing_quota(azure: Azure, wire: Wire) -> None:
    wire.on("GET", "/usages", rows(usage("cores", 0, 10), usage("StandardNVADSA10v5Family", 0, 0)))
    can(wire, "Microsoft.Compute/*", "*/read", never=("Microsoft.Compute/disks/*",))
    lines = await azure.check()
    assert lines["rights"].startswith("may not: Microsoft.Compute/disks/write")
    assert "role" in lines["fix"]
    can(wire, *NEEDED)
    lines = await azure.check()
    assert "no GPU family has any" in lines["quota"]
    assert "quota" in lines["fix"]
    wire.on("GET", "/permissions", refused("NotFound", 404))
    assert "launch shows it" in (await azure.check())["rights"]
    text = "does not have authorization to perform action 'Microsoft.Compute/locations/usages/read'"
    wire.on("GET", "/usages", refused("AuthorizationFailed", 403, text))
    assert "usages/read" in (await azure.check())["rights"]


async def test_check_raises_for_a_refused_key(azure: Azure, wire: Wire) -> None:
    wire.on("GET", "/permissions", refused("InvalidAuthenticationToken", 401))
    wire.on("GET", "/usages", refused("InvalidAuthenticationToken", 401))
    with pytest.raises(AuthFailed):
        await azure.check()


async def test_the_clock_is_compared_with_azures(azure: Azure, wire: Wire, env: ManualEnv) -> None:
    can(wire, "*")
    answer = rows()
    answer.headers["Date"] = "Sun, 22 Nov 2026 11:59:00 GMT"
    wire.on("GET", "/usages", answer)
    assert env.now() == datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    assert (await azure.check())["clock_skew"] == "60 s"


async def test_a_refused_token_is_dropped_without_stopping_everything_else(
    secret: Azure, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetching, go_on = threading.Event(), threading.Event()
    answers = iter([token("old"), token("new"), token("newer")])
    turned: list[bool] = []

    def slowly(_: Asked) -> Answer:
        answer = next(answers)
        if answer.body["access_token"] == "new":
            fetching.set()
            turned.append(go_on.wait(3.0))  # as long as a token authority, or `az`, may take
        return answer

    wire.on("POST", PATH, slowly)
    tokens = secret._client._tokens
    await asyncio.to_thread(tokens.get)
    tokens.forget()
    renewing = asyncio.create_task(asyncio.to_thread(tokens.get))
    await asyncio.to_thread(fetching.wait, 5.0)

    # Another call comes back refused while the new token is on its way: the loop must turn on.
    def over(_: Any) -> Any:
        raise AuthFailed("the token is over", code="ExpiredAuthenticationToken")

    monkeypatch.setattr(secret._client, "_client", over)
    asyncio.get_running_loop().call_later(0.3, go_on.set)
    with pytest.raises(AuthFailed):
        await secret._client.sdk(lambda sdk: None, verb="find")
    await renewing
    await secret.aclose()
    assert turned == [True]
