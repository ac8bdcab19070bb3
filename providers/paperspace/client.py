"""Paperspace's wire: one method an operation, answers checked for their outermost shape only.

Decides nothing. A list whose shape is not understood raises, for it would prove an absence otherwise. Everything
successful is 200; changes answer ``{"data", "event"}``, reads the bare thing, lists one page at a time.
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
from providers.paperspace.errors import classify
from providers.paperspace.fields import record, text, unwrapped

BASE_URL = "https://api.paperspace.com/v1"
#: Rows asked for at once; 120 are allowed.
PAGE_SIZE = 100
_MOST_PAGES = 500

#: Texts of the running launch that no message may hold: a refusal may quote the script it was sent.
_UNSAID: ContextVar[tuple[str, ...]] = ContextVar("paperspace_unsaid", default=())
#: Shorter values are no secrets, and taking them out would garble messages.
_SHORTEST_SECRET = 5


class Client:
    """One key's API.

    Args:
        key: goes into the `Authorization` header and nowhere else.
        base_url: checked by `check_base_url`; ends in ``/v1``.
        identity: names the pacers, so that two keys do not slow each other.
    """

    def __init__(self, context: Context, *, base_url: str, key: str, identity: str, facts: Facts) -> None:
        self._http = Http(
            context,
            provider="paperspace",
            base_url=base_url,
            headers={"Authorization": f"Bearer {key}"},
            classify=_classify,
            secrets=(key,),
            facts=facts,
            account_key=identity,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @property
    def clock_skew_s(self) -> float | None:
        """Seconds that our clock was ahead of the provider's at its last answer; None before one."""
        return self._http.clock_skew_s

    async def session(self) -> dict[str, Any] | None:
        """`GET /auth/session`: team and user; None where the answer is null, which means that nobody is logged in."""
        body = await self._read("/auth/session", "account")
        if body is not None and not isinstance(body, dict):
            raise _malformed("a session")
        return body

    async def standing(self) -> dict[str, Any]:
        """`GET /billing/account-standing`."""
        return record(await self._read("/billing/account-standing", "account"))

    async def health(self) -> str:
        """`GET /health`, a word; it was seen as JSON and might be plain text."""
        reply = await self._http.call("GET", "/health", verb="account", accept_json_only=False)
        return text(reply.parsed()) or reply.text

    async def available(self, label: str, region: str, *, verb: str) -> bool | None:
        """`GET /machine-availability`; None where the answer does not say.

        Raises:
            InvalidRequest, OfferGone: that type is not known, or not there.
        """
        params = {"machineType": label, "region": region}
        body = (await self._http.call("GET", "/machine-availability", verb=verb, params=params)).parsed()
        if not isinstance(body, dict):
            raise _malformed("an availability")
        said = body.get("available")
        return said if isinstance(said, bool) else None

    async def templates(self, *, verb: str) -> list[dict[str, Any]]:
        """`GET /os-templates`, all pages."""
        return await self._all("/os-templates", verb)

    async def machines(self, *, verb: str, name: str | None = None) -> list[dict[str, Any]]:
        """`GET /machines`, all pages; with *name* at least those of that name, and maybe others."""
        return await self._called("/machines", verb, name)

    async def machine(self, id_: str, *, verb: str) -> dict[str, Any] | None:
        """`GET /machines/{id}`, or None if Paperspace itself says that there is none."""
        try:
            reply = await self._http.call("GET", f"/machines/{quote(id_, safe='')}", verb=verb)
        except OfferGone:
            return None
        found = unwrapped(reply.parsed())
        if found.get("id") != id_:
            raise _malformed(f"the machine {id_!r}")
        return found

    async def events(self, machine_id: str, *, verb: str) -> list[dict[str, Any]]:
        """`GET /machine-events` of one machine, the newest page; rows of other machines are dropped."""
        params = {"machineId": machine_id, "limit": PAGE_SIZE}
        reply = await self._http.call("GET", "/machine-events", verb=verb, params=params)
        rows, _ = _page(reply)
        return [row for row in rows if row.get("machineId") in (machine_id, None)]

    async def create_machine(self, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """`POST /machines`, sent once; the new machine, and the event that says how its creation goes.

        Raises:
            OutcomeUnknown: also for a 2xx answer without an id: something was made.
        """
        reply = await self._http.call("POST", "/machines", verb="launch", json_body=body)
        answer = reply.parsed()
        machine = unwrapped(answer)
        if text(machine.get("id")) is None:
            raise OutcomeUnknown(f"paperspace answered {reply.status} without a machine's id", code="malformed")
        return machine, record(record(answer).get("event"))

    async def delete_machine(self, id_: str) -> bool:
        """`DELETE /machines/{id}`, repeated where an answer is lost: a second one does no harm.

        Returns:
            Whether it was accepted; False if Paperspace says that there is no such machine.
        """
        return await self._delete(f"/machines/{quote(id_, safe='')}")

    async def scripts(self, *, verb: str, name: str | None = None) -> list[dict[str, Any]]:
        """`GET /startup-scripts`, all pages, without deleted ones; *name* as for `machines`."""
        rows = await self._called("/startup-scripts", verb, name)
        return [row for row in rows if not row.get("dtDeleted")]

    async def create_script(self, name: str, script: str, secrets: tuple[str, ...] = ()) -> str:
        """`POST /startup-scripts`, sent once; the new script's id. *secrets* are kept out of every message.

        Raises:
            OutcomeUnknown: it may be there now.
        """
        body = {"name": name, "script": script, "isRunOnce": True}
        with _unsaid((script, *script.splitlines(), *secrets)):
            reply = await self._http.call("POST", "/startup-scripts", verb="launch", json_body=body)
        id_ = text(unwrapped(reply.parsed()).get("id"))
        if id_ is None:
            raise OutcomeUnknown(f"paperspace answered {reply.status} without a script's id", code="malformed")
        return id_

    async def delete_script(self, id_: str) -> bool:
        """`DELETE /startup-scripts/{id}`; False if Paperspace says that there is no such script."""
        return await self._delete(f"/startup-scripts/{quote(id_, safe='')}")

    async def _delete(self, path: str) -> bool:
        try:
            # What a deletion answers is not needed: the lists are asked afterwards.
            await self._http.call("DELETE", path, verb="terminate", repeatable=True, accept_json_only=False)
        except OfferGone:
            return False
        return True

    async def _called(self, path: str, verb: str, name: str | None) -> list[dict[str, Any]]:
        """A list, by name if one is given.

        What the filter matches is not documented. A machine that it leaves out would bill unseen, so that nothing
        has the name is believed of the whole list only.
        """
        if name:
            rows = await self._all(path, verb, name=name)
            if any(text(row.get("name")) == name for row in rows):
                return rows
        return await self._all(path, verb)

    async def _all(self, path: str, verb: str, **params: Any) -> list[dict[str, Any]]:
        """Every row of a list, page by page.

        Raises:
            Unavailable: a page is no page, or they do not come to an end.
        """
        rows: list[dict[str, Any]] = []
        after: str | None = None
        seen: set[str] = set()
        while True:
            asked = {"limit": PAGE_SIZE, **params, **({"after": after} if after else {})}
            try:
                reply = await self._http.call("GET", path, verb=verb, params=asked)
            except OfferGone as error:
                # A path that is not there is no empty list.
                raise Unavailable(error.message, code=error.code, scope="provider") from error
            page, after = _page(reply)
            rows += page
            if after is None:
                return rows
            if after in seen or len(seen) >= _MOST_PAGES:
                raise _malformed("a list that ends")
            seen.add(after)

    async def _read(self, path: str, verb: str) -> Any:
        try:
            return (await self._http.call("GET", path, verb=verb)).parsed()
        except OfferGone as error:
            raise Unavailable(error.message, code=error.code, scope="provider") from error


def _page(reply: Reply) -> tuple[list[dict[str, Any]], str | None]:
    """The rows of one page, and what to ask the next one with; None after the last."""
    body = reply.parsed()
    rows = body.get("items") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _malformed("a page of a list")
    after = body.get("nextPage")
    cursor = str(after) if isinstance(after, str | int) and not isinstance(after, bool) and after != "" else None
    if body.get("hasMore") is True and cursor is None:
        raise _malformed("a list: it says that there is more, and not where")
    return rows, cursor if body.get("hasMore") is not False else None


def _malformed(what: str) -> Unavailable:
    return Unavailable(f"paperspace's answer is not {what}", code="malformed", scope="provider")


def _classify(reply: Reply, verb: str) -> ProviderError:
    error = classify(reply, verb)
    for one in _UNSAID.get():
        error.message = error.message.replace(one, "[redacted]")
    return error


@contextmanager
def _unsaid(secrets: tuple[str, ...]) -> Iterator[None]:
    longest_first = sorted((s for s in secrets if len(s) >= _SHORTEST_SECRET), key=len, reverse=True)
    before = _UNSAID.set(tuple(longest_first))
    try:
        yield
    finally:
        _UNSAID.reset(before)
