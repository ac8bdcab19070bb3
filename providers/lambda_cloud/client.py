"""Lambda's wire: one method an operation, answers checked for their outermost shape only.

Decides nothing. A listing whose shape is not understood raises, for it would prove an absence otherwise. Answers
about machines hold JupyterLab tokens: no answer's body ever goes into a message.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote

from providers.base import Context, Facts
from providers.errors import OfferGone, OutcomeUnknown, ProviderError, Unavailable
from providers.http import Http, Reply
from providers.lambda_cloud.errors import classify

#: The old host cloud.lambdalabs.com is deprecated and was seen to redirect, which we never follow.
BASE_URL = "https://cloud.lambda.ai"
_API = "/api/v1"

#: Texts of the running launch that no message may hold: a refusal may quote the user data it was sent.
_UNSAID: ContextVar[tuple[str, ...]] = ContextVar("lambda_unsaid", default=())
#: Shorter values are no secrets, and taking them out would garble messages.
_SHORTEST_SECRET = 5


class Client:
    """One key's API.

    Args:
        key: goes into the `Authorization` header and nowhere else.
        base_url: checked by `check_base_url`; `/api/v1` comes below it.
        account: names the pacers, so that two keys do not slow each other.
    """

    def __init__(self, context: Context, *, base_url: str, key: str, account: str, facts: Facts) -> None:
        self._http = Http(
            context,
            provider="lambda",
            base_url=base_url,
            headers={"Authorization": f"Bearer {key}"},
            classify=_classify,
            secrets=(key,),
            facts=facts,
            account_key=account,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @property
    def clock_skew_s(self) -> float | None:
        """Seconds that our clock was ahead of the provider's at its last answer; None before one."""
        return self._http.clock_skew_s

    async def instance_types(self, *, verb: str) -> dict[str, Any]:
        """`listInstanceTypes`: every type by its name, sold-out ones included."""
        data = await self._read("/instance-types", verb)
        if not isinstance(data, dict):
            raise _malformed("a map of instance types")
        return data

    async def images(self) -> list[dict[str, Any]]:
        """`listImages`: one row per image and region."""
        return _rows(await self._read("/images", "account"), "images")

    async def ssh_keys(self) -> list[dict[str, Any]]:
        """`listSSHKeys`: the account's keys."""
        return _rows(await self._read("/ssh-keys", "account"), "SSH keys")

    async def add_ssh_key(self, name: str, public_key: str) -> None:
        """`addSSHKey`, sent once.

        Raises:
            OutcomeUnknown: it may be there now.
        """
        # Without `public_key` Lambda would make a pair: never left out.
        body = {"name": name, "public_key": public_key}
        await self._http.call("POST", f"{_API}/ssh-keys", verb="account", json_body=body)

    async def launch(self, body: dict[str, Any], secrets: tuple[str, ...] = ()) -> list[str]:
        """`launchInstance`, sent once; the new machine's id. *secrets* are kept out of every message.

        Raises:
            OutcomeUnknown: also for a 2xx answer without an id: something was made.
        """
        with _unsaid(secrets):
            reply = await self._http.call("POST", f"{_API}/instance-operations/launch", verb="launch", json_body=body)
        data = _data(reply)
        ids = data.get("instance_ids") if isinstance(data, dict) else None
        if not isinstance(ids, list) or not ids or not all(isinstance(one, str) and one for one in ids):
            raise OutcomeUnknown(f"lambda answered {reply.status} without an instance's id", code="malformed")
        return ids

    async def instance(self, id_: str, *, verb: str) -> dict[str, Any] | None:
        """`getInstance`, or None if Lambda itself says that there is none."""
        try:
            reply = await self._http.call("GET", f"{_API}/instances/{quote(id_, safe='')}", verb=verb)
        except OfferGone:
            return None
        found = _data(reply)
        if not isinstance(found, dict) or found.get("id") != id_:
            raise _malformed(f"the instance {id_!r}")
        return found

    async def instances(self, *, verb: str) -> list[dict[str, Any]]:
        """`listInstances`: every machine of the account. There are no pages and no filters that help."""
        return _rows(await self._read("/instances", verb), "instances")

    async def terminate(self, id_: str) -> bool:
        """`terminateInstance` for one id, since one unknown id may fail a whole batch.

        Repeated where an answer is lost: a second one does no harm.

        Returns:
            Whether it was accepted; False if Lambda says that there is no such machine.
        """
        body = {"instance_ids": [id_]}
        path = f"{_API}/instance-operations/terminate"
        try:
            await self._http.call("POST", path, verb="terminate", json_body=body, repeatable=True)
        except OfferGone:
            return False
        return True

    async def _read(self, path: str, verb: str) -> Any:
        try:
            return _data(await self._http.call("GET", f"{_API}{path}", verb=verb))
        except OfferGone as error:
            # A path that is not there is no empty list.
            raise Unavailable(error.message, code=error.code, scope="provider") from error


def _data(reply: Reply) -> Any:
    body = reply.parsed()
    return body.get("data") if isinstance(body, dict) else None


def _rows(data: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise _malformed(f"a list of {what}")
    return data


def _malformed(what: str) -> Unavailable:
    return Unavailable(f"lambda's answer is not {what}", code="malformed", scope="provider")


def _classify(reply: Reply, verb: str) -> ProviderError:
    error = classify(reply, verb)
    for text in _UNSAID.get():
        error.message = error.message.replace(text, "[redacted]")
    return error


@contextmanager
def _unsaid(secrets: tuple[str, ...]) -> Iterator[None]:
    longest_first = sorted((s for s in secrets if len(s) >= _SHORTEST_SECRET), key=len, reverse=True)
    before = _UNSAID.set(tuple(longest_first))
    try:
        yield
    finally:
        _UNSAID.reset(before)
