"""`GET /v2/pods/{id}/logs`: Server-Sent Events.

Source: the API description's getPodLogs. The description calls an event's id its time; its own example appends a
counter to it. Ids here are the plain time, and both forms are understood as `Last-Event-ID`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from providers.runpod.emulator_catalog import Params
from providers.runpod.emulator_pods import Pod
from providers.runpod.emulator_wire import parse_time

_POLL_S = 0.1
_HEADERS = {"Cache-Control": "no-cache", "Connection": "keep-alive", "X-Accel-Buffering": "no"}


class LogStream(Response):
    """The backlog at once, then what the pod goes on to log.

    `body` holds the backlog alone. The real stream never ends by itself; this one ends when the client leaves, the
    pod is gone, or after *open_s* real seconds.
    """

    media_type = "text/event-stream"

    def __init__(
        self, pod: Pod, query: Mapping[str, str], cursor: str | None, advance: Callable[[], None], open_s: float
    ) -> None:
        source, skip = _selection(pod, query, cursor)
        self._pod, self._source, self._advance, self._open_s = pod, source, advance, open_s
        self._sent = len(pod.log)
        super().__init__(_events(pod.log[:], source, skip), headers=_HEADERS)
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": bytes(self.body), "more_body": True})
        left = self._open_s
        while left > 0 and self._pod.alive and not await _gone(receive, min(_POLL_S, left)):
            left -= _POLL_S
            self._advance()
            fresh, self._sent = self._pod.log[self._sent :], len(self._pod.log)
            if events := _events(fresh, self._source, lambda _: False):
                await send({"type": "http.response.body", "body": events, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive, wait_s: float) -> bool:
    """Whether the client leaves within *wait_s* real seconds."""
    with contextlib.suppress(TimeoutError):
        message = await asyncio.wait_for(receive(), wait_s)
        return bool(message["type"] == "http.disconnect")
    return False


def _selection(
    pod: Pod, query: Mapping[str, str], cursor: str | None
) -> tuple[str | None, Callable[[tuple[str, str, str]], bool]]:
    """The source asked for, and a test for lines of the backlog that are not wanted."""
    params = Params(query)
    source = params.value("source", ("container", "system"))
    tail = params.whole("tail", 0, 5000)
    after = _time(params, "Last-Event-ID", cursor.partition("/")[0] if cursor else None)
    since = _time(params, "since", query.get("since"))
    params.done()
    if after is not None:
        return source, lambda row: parse_time(row[0]) <= after
    if since is not None:
        return source, lambda row: parse_time(row[0]) < since
    wanted = [row for row in pod.log if source in (None, row[1])]
    keep = wanted[max(0, len(wanted) - (100 if tail is None else tail)) :]
    return source, lambda row: row not in keep


def _time(params: Params, name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return parse_time(text).astimezone(UTC)
    except ValueError:
        params.errors.append(f"{name}: want an RFC 3339 time")
        return None


def _events(
    rows: list[tuple[str, str, str]], source: str | None, skip: Callable[[tuple[str, str, str]], bool]
) -> bytes:
    chosen = [row for row in rows if source in (None, row[1]) and not skip(row)]
    texts = []
    for at, origin, line in chosen:
        data = json.dumps({"ts": at, "source": origin, "line": line})
        texts.append(f"id: {at}\ndata: {data}\n\n")
    return "".join(texts).encode()
