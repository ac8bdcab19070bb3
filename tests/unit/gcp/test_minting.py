"""Tokens: made by the real google-auth, with a real key, from a token server on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
import respx
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from providers import errors
from providers.base import Context
from providers.gcp import credentials, minting
from providers.gcp.adapter import Gcp

_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_PEM = _RSA.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()


class TokenServer:
    """Gives tokens away, and remembers who asked how."""

    def __init__(self) -> None:
        self.asked: list[dict[str, list[str]]] = []
        self.answer: tuple[int, Any] = (200, {"access_token": "ya29.first", "expires_in": 3599, "token_type": "Bearer"})
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                outer.asked.append(parse_qs(self.rfile.read(length).decode()))
                status, body = outer.answer
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                if 300 <= status < 400:
                    self.send_header("Location", "http://192.0.2.1/")
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/token"


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    made = TokenServer()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def service_account(token_uri: str, **changes: Any) -> dict[str, Any]:
    return {
        "type": "service_account",
        "project_id": "from-the-key",
        "private_key_id": "abc",
        "private_key": _PEM,
        "client_email": "orch@from-the-key.iam.gserviceaccount.com",
        "token_uri": token_uri,
        **changes,
    }


def made(info: dict[str, Any]) -> minting.Tokens:
    return minting.Tokens(credentials.Source("the test", info=info, project="p"))


async def test_a_service_account_signs_for_its_token_and_asks_once(tokens: TokenServer) -> None:
    minted = made(service_account(tokens.url))
    assert await minted.bearer() == "ya29.first"
    assert await minted.bearer() == "ya29.first"
    [asked] = tokens.asked
    assert asked["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    head, body, signature = asked["assertion"][0].split(".")
    _RSA.public_key().verify(_decoded(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
    claims = json.loads(_decoded(body))
    assert claims["iss"] == "orch@from-the-key.iam.gserviceaccount.com"
    assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"


async def test_a_token_that_runs_out_is_made_anew(tokens: TokenServer) -> None:
    tokens.answer = (200, {"access_token": "ya29.short", "expires_in": 1, "token_type": "Bearer"})
    minted = made(service_account(tokens.url))
    assert await minted.bearer() == "ya29.short"
    tokens.answer = (200, {"access_token": "ya29.next", "expires_in": 3599, "token_type": "Bearer"})
    assert await minted.bearer() == "ya29.next"
    assert len(tokens.asked) == 2


async def test_a_user_of_gcloud_gets_a_token_by_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, list[str]]]] = []

    def fetch(url: str, method: str = "GET", *, body: bytes, **_: Any) -> minting.Answer:
        asked.append((f"{method} {url}", parse_qs(body.decode())))
        return minting.Answer(200, Message(), b'{"access_token": "ya29.user", "expires_in": 3599}')

    # google-auth asks Google's own address for users, whatever the file says.
    monkeypatch.setattr(minting, "fetch", fetch)
    info = {"type": "authorized_user", "client_id": "id", "client_secret": "none", "refresh_token": "1//refresh"}
    assert await made(info).bearer() == "ya29.user"
    [(call, form)] = asked
    assert call == "POST https://oauth2.googleapis.com/token"
    assert (form["grant_type"], form["refresh_token"]) == (["refresh_token"], ["1//refresh"])


async def test_the_metadata_server_gives_project_and_token(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(url: str, method: str = "GET", *, headers: dict[str, str], **_: Any) -> minting.Answer:
        said = Message()
        said["Content-Type"] = "application/json"
        said["Metadata-Flavor"] = "Google"
        assert {name.lower(): value for name, value in headers.items()}["metadata-flavor"] == "Google"
        if url.endswith("/project/project-id"):
            return minting.Answer(200, said, b"the-machines-project")
        if "/token" in url:
            return minting.Answer(200, said, b'{"access_token": "ya29.machine", "expires_in": 3599}')
        return minting.Answer(200, said, b'{"email": "default@x", "scopes": [], "aliases": ["default"]}')

    monkeypatch.setattr(minting, "fetch", fetch)
    minted = minting.Tokens(credentials.Source("the metadata server"))
    assert await minted.project() == "the-machines-project"
    assert await minted.bearer() == "ya29.machine"


async def test_a_workload_identity_from_a_file_is_exchanged(tokens: TokenServer, tmp_path: Path) -> None:
    subject = tmp_path / "subject"
    subject.write_text("subject-token")
    info = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": tokens.url,
        "credential_source": {"file": str(subject)},
    }
    assert await made(info).bearer() == "ya29.first"
    assert tokens.asked[0]["subject_token"] == ["subject-token"]


async def test_a_refused_key_says_why_and_never_shows_itself(tokens: TokenServer) -> None:
    tokens.answer = (400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
    with pytest.raises(errors.AuthFailed, match=r"invalid_grant: Invalid JWT Signature\."):
        await made(service_account(tokens.url)).bearer()


async def test_a_redirect_of_the_token_server_is_not_followed(tokens: TokenServer) -> None:
    tokens.answer = (307, {})
    with pytest.raises(errors.ProviderError):
        await made(service_account(tokens.url)).bearer()
    assert len(tokens.asked) == 1


async def test_a_token_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(errors.Unavailable):
        await made(service_account("http://127.0.0.1:9/token")).bearer()


async def test_a_key_is_never_sent_in_the_clear() -> None:
    with pytest.raises(errors.AuthFailed, match="not https"):
        await made(service_account("http://tokens.example.com/")).bearer()


@pytest.mark.parametrize(
    "info", [{"type": "service_account"}, {"type": "nonsense"}, {}, service_account("https://x", private_key="junk")]
)
async def test_a_malformed_key_is_refused_without_being_quoted(info: dict[str, Any]) -> None:
    with pytest.raises(errors.AuthFailed) as caught:
        await made(info).bearer()
    assert "PRIVATE" not in str(caught.value)
    assert "junk" not in str(caught.value)


async def test_the_adapter_uses_the_key_file_for_its_calls(tokens: TokenServer, tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text(json.dumps(service_account(tokens.url)))
    cloud = Gcp(Context(settings={"GOOGLE_APPLICATION_CREDENTIALS": str(key), "HOME": str(tmp_path)}))
    with respx.mock as router:
        url = "https://compute.googleapis.com/compute/v1/projects/from-the-key"
        route = router.get(url).mock(return_value=httpx.Response(200, json={"id": "42", "name": "from-the-key"}))
        assert await cloud.account() == "42"
    assert route.calls.last.request.headers["Authorization"] == "Bearer ya29.first"
    await cloud.aclose()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_a_token_server_that_never_comes_to_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def trickle(*_: object, **__: object) -> minting.Answer:
        over.wait(10.0)
        raise OSError("at last")

    monkeypatch.setattr(minting, "TOTAL_S", 0.2)
    monkeypatch.setattr(minting, "fetch", trickle)
    minted = made(service_account("https://oauth2.example/token"))
    try:
        with pytest.raises(errors.Unavailable):
            await asyncio.wait_for(minted.bearer(), 5.0)
    finally:
        over.set()
