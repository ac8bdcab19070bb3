"""Who may call the emulated Google Cloud: bearer tokens, an API key for the catalogue, and the token endpoint.

Source: RFC 6749, RFC 7523 and Google's page on service accounts' OAuth. A service account's assertion is a JWT that
its private key signs; the sandbox has no public key to it and looks at all the rest. A self-signed JWT for the
audience ``https://compute.googleapis.com/`` is a bearer token, too.
"""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response

from providers.gcp.emulator_options import Options
from providers.gcp.emulator_wire import Call, Refusal
from providers.sandbox.kit import json_reply
from providers.sandbox.world import World

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFE_S = 3599
_LONGEST_S = 3600
_SCOPE = "https://www.googleapis.com/auth/"
_ALL = "cloud-platform"
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"


class GrantRefused(Exception):
    """The token endpoint says no: OAuth's code and a description."""


class Accounts:
    """The tokens that were given out, besides those of the options."""

    def __init__(self, world: World, options: Options) -> None:
        self.world = world
        self.options = options
        self.tokens: dict[str, tuple[str, list[str], datetime]] = {}

    # The token endpoint.

    async def token(self, request: Request, *, revoked: bool) -> Response:
        """Answer ``POST /token``."""
        form = {key: values[-1] for key, values in parse_qs((await request.body()).decode("utf-8", "replace")).items()}
        media = request.headers.get("content-type", "").partition(";")[0].strip()
        try:
            if media != "application/x-www-form-urlencoded":
                raise GrantRefused("invalid_request", "The request must be form-encoded.")
            user, scopes = self._grant(form, revoked=revoked)
        except GrantRefused as refusal:
            code, text = refusal.args
            status = 401 if code == "invalid_client" else 400
            return json_reply({"error": code, "error_description": text}, status)
        value = f"ya29.c.{self.world.letters(40, _LETTERS)}"
        self.tokens[value] = (user, scopes, self.world.now() + timedelta(seconds=_LIFE_S))
        answer = {"access_token": value, "expires_in": _LIFE_S, "token_type": "Bearer"}
        if form.get("grant_type") == "refresh_token":
            answer["scope"] = " ".join(f"{_SCOPE}{scope}" for scope in scopes)
        return json_reply(answer)

    def _grant(self, form: dict[str, str], *, revoked: bool) -> tuple[str, list[str]]:
        match form.get("grant_type"):
            case kind if kind == JWT_GRANT:
                if revoked:
                    raise GrantRefused("invalid_grant", "Invalid JWT Signature.")
                return self._assertion(form.get("assertion", ""))
            case "refresh_token":
                return self._refresh(form, revoked=revoked)
            case kind:
                raise GrantRefused("unsupported_grant_type", f"Invalid grant_type: {kind or ''}")

    def _refresh(self, form: dict[str, str], *, revoked: bool) -> tuple[str, list[str]]:
        options = self.options
        if (form.get("client_id"), form.get("client_secret")) != (options.client_id, options.client_secret):
            raise GrantRefused("invalid_client", "The OAuth client was not found.")
        if revoked or form.get("refresh_token") != options.refresh_token:
            raise GrantRefused("invalid_grant", "Token has been expired or revoked.")
        return "user@example.com", [_ALL]

    def _assertion(self, text: str) -> tuple[str, list[str]]:
        header, claims = _read(text)
        if header.get("alg") != "RS256" or header.get("typ", "JWT") != "JWT":
            raise GrantRefused("invalid_grant", "Invalid JWT: the algorithm must be RS256.")
        if claims.get("iss") not in self.options.service_accounts:
            raise GrantRefused("invalid_grant", "Invalid grant: account not found")
        if not str(claims.get("aud", "")).rstrip("/").endswith("/token"):
            raise GrantRefused("invalid_grant", "Invalid JWT: Failed audience check.")
        self._check_times(claims)
        scopes = str(claims.get("scope", "")).split()
        if not scopes:
            raise GrantRefused("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        return str(claims["iss"]), [scope.removeprefix(_SCOPE) for scope in scopes]

    def _check_times(self, claims: dict[str, Any]) -> None:
        issued, expires = claims.get("iat"), claims.get("exp")
        if not isinstance(issued, (int, float)) or not isinstance(expires, (int, float)):
            raise GrantRefused("invalid_grant", "Invalid JWT: iat and exp are required.")
        skew = self.options.clock_skew_s
        early = skew is not None and abs(self.world.now().timestamp() - issued) > skew
        if early or not 0 < expires - issued <= _LONGEST_S:
            text = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
            raise GrantRefused("invalid_grant", f"{text} Check your iat and exp values in the JWT claim.")

    # Calls.

    def admit(self, request: Request, call: Call, *, revoked: bool) -> str:
        """The caller's e-mail address.

        Raises:
            Refusal: the caller is not known, or the token lacks the scope.
        """
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        value = value.strip()
        if call.billing and not value and call.query.get("key") == self.options.api_key and not revoked:
            return "key"
        if scheme.lower() != "bearer" or not value:
            raise Refusal(
                401, "required", "Login Required.", location="Authorization", info=("CREDENTIALS_MISSING", {})
            )
        known = None if revoked else self._known(value)
        if known is None:
            text = "Request had invalid authentication credentials. Expected OAuth 2 access token."
            raise Refusal(401, "authError", text, location="Authorization", info=("ACCESS_TOKEN_TYPE_UNSUPPORTED", {}))
        user, scopes = known
        wanted = {_ALL, "cloud-billing", "cloud-billing.readonly"} if call.billing else {_ALL, "compute"}
        if not call.billing and call.name.endswith(("_get", "_list", "_aggregated", "_wait")):
            wanted |= {"compute.readonly", "cloud-platform.read-only"}
        if not wanted & set(scopes):
            text = "Request had insufficient authentication scopes."
            raise Refusal(403, "insufficientPermissions", text, info=("ACCESS_TOKEN_SCOPE_INSUFFICIENT", {}))
        return user

    def _known(self, value: str) -> tuple[str, list[str]] | None:
        if value == self.options.token:
            return self.options.service_accounts[0], [_ALL]
        if value in self.tokens:
            user, scopes, until = self.tokens[value]
            return (user, scopes) if self.world.now() < until else None
        return self._self_signed(value)

    def _self_signed(self, value: str) -> tuple[str, list[str]] | None:
        try:
            header, claims = _read(value)
            self._check_times(claims)
        except GrantRefused:
            return None
        own = claims.get("iss") in self.options.service_accounts and claims.get("sub") == claims.get("iss")
        if header.get("alg") != "RS256" or not own:
            return None
        if claims.get("aud") == "https://compute.googleapis.com/":
            return str(claims["iss"]), ["compute"]
        if claims.get("aud") == "https://cloudbilling.googleapis.com/":
            return str(claims["iss"]), ["cloud-billing"]
        scopes = str(claims.get("scope", "")).split()
        return (str(claims["iss"]), [scope.removeprefix(_SCOPE) for scope in scopes]) if scopes else None

    def dump(self) -> list[list[Any]]:
        """The tokens, ready for JSON."""
        return [[value, user, scopes, until.isoformat()] for value, (user, scopes, until) in self.tokens.items()]

    def load(self, state: list[list[Any]]) -> None:
        """Take over what `dump` gave."""
        self.tokens = {value: (user, scopes, datetime.fromisoformat(until)) for value, user, scopes, until in state}


def _read(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a JWT that has a signature."""
    parts = text.split(".")
    try:
        header, claims, signature = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts)
        found = json.loads(header), json.loads(claims)
    except ValueError:
        raise GrantRefused("invalid_grant", "Bad Request") from None
    # An RSA signature is as long as its key, of 2048 bits at least.
    if not all(isinstance(one, dict) for one in found) or len(signature) < 256:
        raise GrantRefused("invalid_grant", "Invalid JWT Signature.")
    return found
