"""A cluster with a CA of its own that asks for client certificates, on loopback and for real."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from providers import errors
from providers.coreweave.adapter import CoreWeave
from tests.unit.coreweave.conftest import UID

x509 = pytest.importorskip("cryptography.x509")
from cryptography.hazmat.primitives import hashes  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat  # noqa: E402


@dataclass
class Pair:
    certificate: bytes
    key: bytes


class Authority:
    """A CA that signs one server and one client."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test ca")])
        self.certificate = self._sign(self._name, self._key.public_key(), ca=True).public_bytes(Encoding.PEM)

    def issue(self, name: str) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        signed = self._sign(subject, key.public_key(), ca=False)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Pair(signed.public_bytes(Encoding.PEM), private)

    def _sign(self, subject: Any, public: Any, *, ca: bool) -> Any:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if ca:
            usage = x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            )
            builder = builder.add_extension(usage, critical=True)
        else:
            host = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([host]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def server(authority: Authority, tmp_path: Path) -> AsyncIterator[str]:
    """Answers every request with a namespace, to clients whose certificate the CA has signed."""
    import asyncio

    own = authority.issue("server")
    pair = tmp_path / "server.pem"
    pair.write_bytes(own.certificate + own.key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=authority.certificate.decode())
    context.load_cert_chain(pair)
    context.verify_mode = ssl.CERT_REQUIRED

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            body = json.dumps({"metadata": {"name": "kube-system", "uid": UID}}).encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            writer.write(head.encode() + b"connection: close\r\n\r\n" + body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    running = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    port = running.sockets[0].getsockname()[1]
    yield f"https://127.0.0.1:{port}"
    running.close()


def write(path: Path, url: str, authority: bytes | None, pair: Pair | None) -> str:
    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    cluster = {"server": url, **({"certificate-authority-data": text(authority)} if authority else {})}
    user = {"client-certificate-data": text(pair.certificate), "client-key-data": text(pair.key)} if pair else {}
    document = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user or {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(document))
    return str(path)


async def test_a_clusters_own_ca_and_a_client_certificate_are_used(
    connect: Callable[..., CoreWeave], authority: Authority, server: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "config", server, authority.certificate, authority.issue("me"))
    adapter = connect(ORCH_COREWEAVE_URL="", COREWEAVE_API_TOKEN="", KUBECONFIG=path)
    assert await adapter.account() == f"orch@{UID}"
    await adapter.aclose()


async def test_a_server_that_the_given_ca_has_not_signed_is_not_talked_to(
    connect: Callable[..., CoreWeave], authority: Authority, server: str, tmp_path: Path
) -> None:
    for trusted in (None, Authority().certificate):
        path = write(tmp_path / "config", server, trusted, authority.issue("me"))
        adapter = connect(ORCH_COREWEAVE_URL="", COREWEAVE_API_TOKEN="", KUBECONFIG=path)
        with pytest.raises(errors.Unavailable):
            await adapter.account()
        await adapter.aclose()


async def test_certificates_that_are_none_are_a_failure_of_credentials(
    connect: Callable[..., CoreWeave], authority: Authority, server: str, tmp_path: Path
) -> None:
    for trusted, pair in ((b"no pem", None), (authority.certificate, Pair(b"no", b"pem"))):
        path = write(tmp_path / "config", server, trusted, pair)
        adapter = connect(ORCH_COREWEAVE_URL="", COREWEAVE_API_TOKEN="", KUBECONFIG=path)
        with pytest.raises(errors.AuthFailed, match="certificates"):
            await adapter.account()
        await adapter.aclose()
