"""Google Cloud's emulator as an OAuth server, with the real google-auth as its client."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from providers.gcp.emulator_options import Options
from tests.contract.gcp_bench import BILLING, PROJECT, Bench, bench


@pytest.fixture(scope="module")
def private_key() -> str:
    """An RSA key made here, for nothing else."""
    pytest.importorskip("google.auth", reason="google-auth is not installed: pip install 'gpu-orch[gcp]'")
    pytest.importorskip("requests", reason="google-auth's own transport needs requests")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def key_file(served: Bench, private_key: str, **changes: str) -> dict[str, str]:
    """A service account's JSON key whose token endpoint is the emulator's."""
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "0123456789abcdef",
        "private_key": private_key,
        "client_email": served.emulator.options.service_accounts[0],
        "client_id": "1",
        "token_uri": f"{served.url}/token",
        **changes,
    }


async def refresh(credentials: Any) -> str:
    """Let google-auth fetch a token over its own transport.

    Raises:
        google.auth.exceptions.RefreshError: the endpoint refused.
    """
    import google.auth.transport.requests
    import requests

    def fetch() -> None:
        with requests.Session() as session:
            session.trust_env = False
            credentials.refresh(google.auth.transport.requests.Request(session=session))

    await asyncio.to_thread(fetch)
    return str(credentials.token)


async def status(served: Bench, token: str, path: str = f"/compute/v1/projects/{PROJECT}") -> int:
    answer = await served.http.get(path, headers={"authorization": f"Bearer {token}"})
    return answer.status_code


CLOUD = "https://www.googleapis.com/auth/cloud-platform"


async def test_google_auth_gets_a_token_for_a_service_account(private_key: str) -> None:
    from google.oauth2 import service_account

    async with bench() as served:
        info = key_file(served, private_key)
        credentials = service_account.Credentials.from_service_account_info(info, scopes=[CLOUD])
        token = await refresh(credentials)
        assert credentials.valid
        assert await status(served, token) == 200
        assert await status(served, token, BILLING) == 200
        served.env.advance(3599)
        assert await status(served, token) == 401
    assert not served.findings


async def test_a_token_for_compute_alone_does_not_open_the_price_catalogue(private_key: str) -> None:
    from google.oauth2 import service_account

    async with bench() as served:
        info = key_file(served, private_key)
        for scope, compute, prices in (("compute", 200, 403), ("cloud-billing.readonly", 403, 200)):
            scopes = [f"https://www.googleapis.com/auth/{scope}"]
            credentials = service_account.Credentials.from_service_account_info(info, scopes=scopes)
            token = await refresh(credentials)
            assert (await status(served, token), await status(served, token, BILLING)) == (compute, prices)


async def test_google_auth_refreshes_the_token_of_a_user(private_key: str) -> None:
    from google.oauth2.credentials import Credentials

    async with bench() as served:
        options = served.emulator.options
        credentials = Credentials(
            None,
            refresh_token=options.refresh_token,
            token_uri=f"{served.url}/token",
            client_id=options.client_id,
            client_secret=options.client_secret,
        )
        assert await status(served, await refresh(credentials)) == 200


async def test_a_self_signed_token_is_as_good_for_its_audience(private_key: str) -> None:
    import google.auth.jwt
    from google.oauth2 import service_account

    async with bench() as served:
        signer = service_account.Credentials.from_service_account_info(key_file(served, private_key))
        for audience, compute, prices in (
            ("https://compute.googleapis.com/", 200, 403),
            ("https://cloudbilling.googleapis.com/", 403, 200),
            ("https://elsewhere.example.com/", 401, 401),
        ):
            own = google.auth.jwt.Credentials.from_signing_credentials(signer, audience=audience)
            own.refresh(None)
            token = own.token.decode()
            assert (await status(served, token), await status(served, token, BILLING)) == (compute, prices)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"client_email": "nobody@orch-sandbox.iam.gserviceaccount.com"}, "account not found"),
        ({"token_uri": ""}, "audience"),
    ],
)
async def test_google_auth_hears_why_a_grant_is_refused(private_key: str, changes: dict[str, str], says: str) -> None:
    from google.auth import exceptions
    from google.oauth2 import service_account

    async with bench() as served:
        # Another audience than the one it is sent to.
        info = key_file(served, private_key, **changes) | {"token_uri": f"{served.url}/token"}
        credentials = service_account.Credentials.from_service_account_info(info, scopes=[CLOUD])
        if "token_uri" in changes:
            credentials = credentials.with_claims({"aud": "https://elsewhere.example.com/"})
        with pytest.raises(exceptions.RefreshError, match=says):
            await refresh(credentials)


async def test_a_revoked_key_gets_no_token(private_key: str) -> None:
    from google.auth import exceptions
    from google.oauth2 import service_account

    async with bench() as served:
        served.world.faults.add("bad_key", times=-1)
        info = key_file(served, private_key)
        credentials = service_account.Credentials.from_service_account_info(info, scopes=[CLOUD])
        with pytest.raises(exceptions.RefreshError, match="invalid_grant"):
            await refresh(credentials)


async def test_an_assertion_of_another_time_is_refused_where_the_clock_is_looked_at(private_key: str) -> None:
    from google.auth import exceptions
    from google.oauth2 import service_account

    async with bench(Options(clock_skew_s=300.0)) as served:
        served.env.advance(-86400 * 365 * 30)
        info = key_file(served, private_key)
        credentials = service_account.Credentials.from_service_account_info(info, scopes=[CLOUD])
        with pytest.raises(exceptions.RefreshError, match="reasonable timeframe"):
            await refresh(credentials)


@pytest.mark.parametrize(
    ("form", "code", "error"),
    [
        ({"assertion": "a.b.c"}, 400, "unsupported_grant_type"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "a.b"}, 400, "invalid_grant"),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}, 400, "invalid_grant"),
        ({"grant_type": "refresh_token", "client_id": "x", "client_secret": "y"}, 401, "invalid_client"),
    ],
)
async def test_the_token_endpoint_refuses_in_oauths_words(form: dict[str, str], code: int, error: str) -> None:
    async with bench() as served:
        answer: httpx.Response = await served.http.post("/token", data=form)
        assert (answer.status_code, answer.json()["error"]) == (code, error)
        wrong = await served.http.post("/token", json=form)
        assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_request")


async def test_a_refresh_token_that_is_not_the_users_is_refused() -> None:
    async with bench() as served:
        options = served.emulator.options
        form = {"grant_type": "refresh_token", "client_id": options.client_id, "client_secret": options.client_secret}
        answer = await served.http.post("/token", data={**form, "refresh_token": "1//other"})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
