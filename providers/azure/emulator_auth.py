"""Who may call the emulated Azure: the token endpoint of Entra ID, and bearer tokens.

The documents around it (OpenID configuration, instance discovery) hold what azure-identity and MSAL read.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import Response

from providers.azure.emulator_options import Options
from providers.azure.emulator_wire import Call, Refusal, reply
from providers.sandbox.world import World

_SCOPES = ("https://management.azure.com", "https://management.core.windows.net")


class Tokens:
    """Bearer tokens that the token endpoint gave out, and until when they are good."""

    def __init__(self, world: World, options: Options) -> None:
        self.world = world
        self.options = options
        self.issued: dict[str, datetime] = {}

    def check(self, call: Call, *, revoked: bool) -> None:
        """Refuse a request without a good token.

        Raises:
            Refusal: 401.
        """
        header = call.headers.get("authorization", "")
        if not header:
            text = "Authentication failed. The 'Authorization' header is missing."
            raise self._refused("AuthenticationFailed", text, call)
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            text = "Authentication failed. The 'Authorization' header is provided in an invalid format."
            raise self._refused("AuthenticationFailedInvalidHeader", text, call)
        if revoked:
            raise self._refused("InvalidAuthenticationToken", "The access token is invalid.", call)
        if token == self.options.token:
            return
        until = self.issued.get(token)
        if until is None:
            raise self._refused("InvalidAuthenticationToken", "The access token is invalid.", call)
        if until <= self.world.now():
            text = f"The access token expiry UTC time '{until:%m/%d/%Y %I:%M:%S %p}' is earlier than current UTC time."
            raise self._refused("ExpiredAuthenticationToken", text, call)

    def _refused(self, code: str, message: str, call: Call) -> Refusal:
        challenge = f'Bearer authorization_uri="{call.base}/{self.options.tenant}", error="invalid_token"'
        return Refusal(code, message, 401, headers={"www-authenticate": challenge})

    # The token endpoint.

    def token(self, call: Call) -> Response:
        """`POST /{tenant}/oauth2/v2.0/token` with a client's secret."""
        form = {name: values[-1] for name, values in parse_qs(call.body.decode("utf-8", "replace")).items()}
        if call.parts["tenant"].lower() != self.options.tenant:
            text = f"AADSTS90002: Tenant '{call.parts['tenant']}' not found."
            return self._entra("invalid_request", text, 90002, 400)
        if form.get("grant_type") != "client_credentials":
            text = "AADSTS70003: The app requested an unsupported grant type."
            return self._entra("unsupported_grant_type", text, 70003, 400)
        if form.get("client_id", "").lower() != self.options.client_id:
            text = f"AADSTS700016: Application with identifier '{form.get('client_id', '')}' was not found."
            return self._entra("unauthorized_client", text, 700016, 400)
        if form.get("client_secret") != self.options.client_secret:
            text = "AADSTS7000215: Invalid client secret provided."
            return self._entra("invalid_client", text, 7000215, 401)
        # The SDK takes its scope from the cloud it is set to, which may be this sandbox itself.
        wanted = form.get("scope", "").split()
        ours = (*_SCOPES, call.base)
        if not any(
            scope.removesuffix("/.default").rstrip("/") in ours for scope in wanted if scope.endswith("/.default")
        ):
            text = "AADSTS70011: The provided value for the input parameter 'scope' is not valid."
            return self._entra("invalid_scope", text, 70011, 400)
        token = f"sandbox.{self.world.letters(40)}"
        self.issued[token] = self.world.now() + timedelta(seconds=self.options.token_s)
        seconds = self.options.token_s
        return reply(
            {"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token},
            headers={"cache-control": "no-store, no-cache"},
        )

    def _entra(self, error: str, text: str, code: int, status: int) -> Response:
        now = self.world.now()
        body = {
            "error": error,
            "error_description": f"{text} Timestamp: {now:%Y-%m-%d %H:%M:%SZ}",
            "error_codes": [code],
            "timestamp": f"{now:%Y-%m-%d %H:%M:%SZ}",
            "trace_id": self.world.uuid(),
            "correlation_id": self.world.uuid(),
            "error_uri": f"https://login.microsoftonline.com/error?code={code}",
        }
        return reply(body, status)

    def configuration(self, call: Call) -> Response:
        """`GET /{tenant}/v2.0/.well-known/openid-configuration`."""
        home = f"{call.base}/{call.parts['tenant']}"
        body: dict[str, Any] = {
            "token_endpoint": f"{home}/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "jwks_uri": f"{home}/discovery/v2.0/keys",
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "issuer": f"{home}/v2.0",
            "request_uri_parameter_supported": False,
            "authorization_endpoint": f"{home}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{home}/oauth2/v2.0/devicecode",
            "tenant_region_scope": "EU",
            "cloud_instance_name": "microsoftonline.com",
        }
        return reply(body)

    def discovery(self, call: Call) -> Response:
        """`GET /common/discovery/instance`: which hosts belong to one cloud."""
        host = call.headers.get("host", "")
        body = {
            "tenant_discovery_endpoint": f"{call.base}/{self.options.tenant}/v2.0/.well-known/openid-configuration",
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
        }
        return reply(body)

    # The state as a file.

    def dump(self) -> dict[str, str]:
        """Tokens and until when they are good."""
        return {token: until.isoformat() for token, until in self.issued.items()}

    def load(self, state: dict[str, str]) -> None:
        """Take over what `dump` gave."""
        self.issued = {token: datetime.fromisoformat(until) for token, until in state.items()}
