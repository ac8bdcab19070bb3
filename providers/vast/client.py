"""Vast.ai's wire: one method an endpoint, answers checked for their outermost shape only.

Trailing slashes are part of the paths: without them the answer is a redirect, which is not followed. A 200 that says
``success: false`` is a refusal like any other. A listing whose shape is not understood raises, for it would prove an
absence otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from providers.base import Context, Facts, Instance
from providers.errors import OutcomeUnknown, ProviderError, Unavailable
from providers.http import Http, Reply
from providers.vast.errors import NO_INSTANCE, classify, contract_of

API_URL = "https://console.vast.ai"
#: Rows per page of the instance list; more are not given.
PAGE_SIZE = 25

#: Shorter values are no secrets, and taking them out would garble messages.
_SHORTEST_SECRET = 5


@dataclass(frozen=True, slots=True)
class _Create:
    """What the running create has to add to an error: texts it must not hold, and what the call left behind."""

    secrets: tuple[str, ...]
    left: Callable[[int], Instance]


_CREATE: ContextVar[_Create | None] = ContextVar("vast_create", default=None)


class Client:
    """One account's API. All methods raise `ProviderError` subclasses only.

    Args:
        key: goes into the `Authorization` header and nowhere else.
        identity: names the pacers: limits are counted per key.
    """

    def __init__(self, context: Context, *, base_url: str, key: str, identity: str, facts: Facts) -> None:
        self._context = context
        self._http = Http(
            context,
            provider="vast",
            base_url=base_url,
            headers={"Authorization": f"Bearer {key}"},
            classify=self._classify,
            secrets=(key,),
            facts=facts,
            account_key=identity,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def user(self) -> tuple[dict[str, Any], str]:
        """`GET /users/current/`: the account, and the answer's `Date` header."""
        reply = await self._call("GET", "/api/v0/users/current/", verb="account")
        return _object(reply.parsed(), "an account"), reply.headers.get("date", "")

    async def search(self, body: Mapping[str, Any], *, verb: str) -> list[dict[str, Any]]:
        """`POST /bundles/`: offers that fit *body*, 64 at most. Changes nothing, so it may be repeated."""
        reply = await self._call("POST", "/api/v0/bundles/", verb=verb, json_body=dict(body), repeatable=True)
        rows = _object(reply.parsed(), "a list of offers").get("offers")
        # The API description shows one bare object where the wire has a list.
        return _rows([rows] if isinstance(rows, dict) else rows, "offers")

    async def rent(
        self, ask_id: int, body: Mapping[str, Any], *, left: Callable[[int], Instance], secrets: tuple[str, ...] = ()
    ) -> int:
        """`PUT /asks/{id}/`, sent once: the new contract's id.

        Args:
            left: makes an instance of a contract's id; a refusal that names one has it in `ProviderError.left`.
            secrets: kept out of every message: a refusal may quote the environment it was sent.

        Raises:
            OutcomeUnknown: also for a success without a contract.
        """
        longest_first = sorted((s for s in secrets if len(s) >= _SHORTEST_SECRET), key=len, reverse=True)
        token = _CREATE.set(_Create(tuple(longest_first), left))
        try:
            reply = await self._call("PUT", f"/api/v0/asks/{ask_id}/", verb="launch", json_body=dict(body))
        finally:
            _CREATE.reset(token)
        contract = contract_of(reply.parsed())
        if contract is None:
            raise OutcomeUnknown(f"vast answered {reply.status} without new_contract", code="malformed")
        return contract

    async def instance(self, id_: str) -> dict[str, Any] | None:
        """`GET /instances/{id}/`, or None if Vast.ai itself says that there is none: null, or a 404 of its own."""
        try:
            reply = await self._call("GET", _instance(id_), verb="find", params={"owner": "me"})
        except ProviderError as error:
            if error.code == NO_INSTANCE:
                return None
            raise
        document = _object(reply.parsed(), f"instance {id_}")
        if "instances" in document and document["instances"] in (None, []):
            return None
        row = _object(document.get("instances"), f"instance {id_}")
        if str(row.get("id")) != id_:
            raise _malformed(f"instance {id_}")
        return row

    async def instances(self, *, verb: str, label: str | None = None) -> list[dict[str, Any]]:
        """`GET /api/v1/instances/`: all of the account's, or those with that label; every page."""
        params: dict[str, Any] = {"limit": PAGE_SIZE, "order_by": '[{"col":"id","dir":"asc"}]'}
        if label is not None:
            params["select_filters"] = json.dumps({"label": {"eq": label}}, separators=(",", ":"))
        found: list[dict[str, Any]] = []
        seen: set[str] = set()
        while True:
            reply = await self._call("GET", "/api/v1/instances/", verb=verb, params=params)
            document = _object(reply.parsed(), "a list of instances")
            found += _rows(document.get("instances"), "instances")
            after = document.get("next_token")
            if not after:
                return found
            if not isinstance(after, str) or after in seen:
                raise _malformed("a list of instances that ends")
            seen.add(after)
            params["after_token"] = after

    async def destroy(self, id_: str) -> None:
        """`DELETE /instances/{id}/`. Repeatable: one that is gone already is no failure."""
        try:
            await self._call("DELETE", _instance(id_), verb="terminate", json_body={}, repeatable=True)
        except ProviderError as error:
            if error.code != NO_INSTANCE:
                raise

    async def keys(self, id_: str) -> list[str]:
        """`GET /instances/{id}/ssh/`: the public keys of one instance."""
        reply = await self._call("GET", f"{_instance(id_)}ssh/", verb="key")
        listed = _object(reply.parsed(), "a list of keys").get("ssh_keys")
        if isinstance(listed, str):  # documented: JSON inside a string
            try:
                listed = json.loads(listed)
            except ValueError:
                raise _malformed("a list of keys") from None
        rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
        values = (row.get("public_key") or row.get("key") for row in rows)
        return [value for value in values if isinstance(value, str)]

    async def attach(self, id_: str, public_key: str) -> None:
        """`POST /instances/{id}/ssh/`: give one instance a key. Repeatable."""
        body = {"ssh_key": public_key}
        await self._call("POST", f"{_instance(id_)}ssh/", verb="key", json_body=body, repeatable=True)

    async def _call(self, method: str, path: str, *, verb: str, **more: Any) -> Reply:
        reply = await self._http.call(method, path, verb=verb, **more)
        if _is_refusal(reply.parsed()):
            raise self._refused(reply, verb)
        return reply

    def _refused(self, reply: Reply, verb: str) -> ProviderError:
        """What a 200 that is a refusal means; `Http` does the same for other statuses."""
        error = self._classify(reply, verb)
        error.message = self._http.redact(error.message)
        error.args = (error.message,)
        if error.type == "Unclassified" and self._context.on_unclassified is not None:
            self._context.on_unclassified("vast", error.code, error.message)
        return error

    def _classify(self, reply: Reply, verb: str) -> ProviderError:
        error = classify(reply, verb)
        create = _CREATE.get()
        if create is not None:
            for text in create.secrets:
                error.message = error.message.replace(text, "[redacted]")
            contract = contract_of(reply.parsed())
            error.left = (create.left(contract),) if contract is not None else ()
        return error


def _is_refusal(document: Any) -> bool:
    """Whether a 2xx body says no. Some refusals leave `success` out."""
    if not isinstance(document, dict):
        return False
    success, error = document.get("success"), document.get("error")
    return success is False or (success is not True and isinstance(error, str) and bool(error))


def _instance(id_: str) -> str:
    if not (id_.isascii() and id_.isdigit()):
        raise _malformed(f"{id_!r} as an instance's id")
    return f"/api/v0/instances/{id_}/"


def _object(document: Any, what: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise _malformed(what)
    return document


def _rows(rows: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _malformed(f"a list of {what}")
    return rows


def _malformed(what: str) -> Unavailable:
    return Unavailable(f"vast's answer is not {what}", code="malformed", scope="provider")
