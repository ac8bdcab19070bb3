"""Lists and watches of the emulated API server."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.datastructures import QueryParams
from starlette.responses import StreamingResponse

import providers.coreweave.emulator_selectors as selectors
from providers.coreweave.emulator_cluster import Cluster
from providers.coreweave.emulator_resources import PODS, Place, Resource
from providers.coreweave.emulator_status import Refused, bad_request, expired
from providers.coreweave.emulator_store import Change

Json = dict[str, Any]

_LOOK_S = 0.05
_LONGEST_WATCH_S = 300.0


class WatchResponse(StreamingResponse):
    """Changes, one JSON object per line. There is no body to record, and none to measure beforehand."""

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        super().__init__(lines, media_type="application/json")
        self.body = b""


def selected(cluster: Cluster, place: Place, query: QueryParams) -> list[Json]:
    """The objects of a collection that the selectors leave.

    Raises:
        Refused: 400, a selector cannot be read.
    """
    test = _test(place, query)
    stale = query.get("resourceVersion") == "0"
    found = [thing for thing in cluster.store.all(place.resource, place.namespace) if test(thing)]
    if not (stale and place.resource is PODS):
        return found
    # Only such a list may come from a watch cache that lags behind.
    return [pod for pod in found if cluster.fate(pod).hidden_until <= cluster.now]


def _test(place: Place, query: QueryParams) -> Callable[[Json], bool]:
    by_label = selectors.labels(query.get("labelSelector", ""))
    by_field = selectors.fields(query.get("fieldSelector", ""), place.resource.plural)
    return lambda thing: by_label(thing) and by_field(thing)


def page(cluster: Cluster, place: Place, query: QueryParams) -> Json:
    """The answer to a list, with `limit` and `continue`.

    Raises:
        Refused: 400, 410 or 504.
    """
    limit = _whole(query.get("limit"), "limit") or cluster.options.page_limit or 0
    start, revision = _resumed(cluster, query.get("continue", ""))
    if not query.get("continue"):
        _check_version(cluster, query.get("resourceVersion", ""))
    found = selected(cluster, place, query)
    rows = [thing for thing in found if _key(thing) > start] if start else found
    meta: Json = {"resourceVersion": str(revision)}
    if place.resource.custom:
        meta["continue"] = ""
    if limit and len(rows) > limit:
        last = json.dumps({"rv": revision, "start": _key(rows[limit - 1])}).encode()
        meta["continue"] = base64.urlsafe_b64encode(last).decode()
        if not query.get("labelSelector") and not query.get("fieldSelector"):
            meta["remainingItemCount"] = len(rows) - limit
        rows = rows[:limit]
    return listing(place.resource, rows, meta)


def listing(resource: Resource, rows: list[Json], meta: Json) -> Json:
    """A list object; items of built-in kinds do not repeat their kind."""
    items = rows if resource.custom else [{k: v for k, v in r.items() if k not in ("kind", "apiVersion")} for r in rows]
    return {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": meta, "items": items}


def _key(thing: Json) -> list[str]:
    return [thing["metadata"].get("namespace", ""), thing["metadata"]["name"]]


def _resumed(cluster: Cluster, token: str) -> tuple[list[str], int]:
    if not token:
        return [], cluster.store.revision
    try:
        state = json.loads(base64.urlsafe_b64decode(token.encode()))
        start, revision = list(state["start"]), int(state["rv"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise bad_request("continue key is not valid: the token cannot be decoded") from None
    if revision < cluster.store.floor:
        text = "The provided continue parameter is too old to display a consistent list result."
        raise expired(text)
    return start, revision


def _whole(text: str | None, name: str) -> int:
    if text and not text.isdigit():
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax ({name})')
    return int(text or 0)


def _check_version(cluster: Cluster, text: str) -> int:
    """The revision that the caller names; 504 if it has not come yet."""
    version = _whole(text, "resourceVersion")
    current = cluster.store.revision
    if version > current:
        causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
        message = f"Timeout: Too large resource version: {version}, current: {current}"
        raise Refused(504, "Timeout", message, {"causes": causes, "retryAfterSeconds": 1}, retry_after="1")
    return version


def watch(cluster: Cluster, place: Place, query: QueryParams, advance: Callable[[], None]) -> WatchResponse:
    """A stream of changes since `resourceVersion`, or of what there is and then of changes.

    Raises:
        Refused: 400 or 504. A revision that is too old is an ERROR event in the stream.
    """
    test = _test(place, query)
    version = _check_version(cluster, query.get("resourceVersion", ""))
    limit_s = min(_whole(query.get("timeoutSeconds"), "timeoutSeconds") or _LONGEST_WATCH_S, _LONGEST_WATCH_S)
    marks = query.get("allowWatchBookmarks") in ("true", "1")
    return WatchResponse(_stream(cluster, place, test, version, float(limit_s), advance, marks=marks))


async def _stream(
    cluster: Cluster,
    place: Place,
    test: Callable[[Json], bool],
    version: int,
    limit_s: float,
    advance: Callable[[], None],
    *,
    marks: bool,
) -> AsyncIterator[bytes]:
    if version and version < cluster.store.floor:
        gone = expired(f"too old resource version: {version} ({cluster.store.floor})")
        yield _line("ERROR", gone.body())
        return
    seen = version or cluster.store.revision
    if not version:
        for thing in filter(test, cluster.store.all(place.resource, place.namespace)):
            yield _line("ADDED", thing)
    end, waited = cluster.now + limit_s, 0.0
    while True:
        advance()
        for change in [change for change in cluster.store.history if change.revision > seen]:
            if (what := _seen(change, place, test)) is not None:
                yield _line(what, change.after)
        seen = max(seen, cluster.store.revision)
        if cluster.now >= end or waited >= limit_s:
            break
        waited += _LOOK_S
        await asyncio.sleep(_LOOK_S)  # noqa: TID251 - the stream stays open in real time
    if marks:
        yield _line("BOOKMARK", _bookmark(place.resource, seen))


def _seen(change: Change, place: Place, test: Callable[[Json], bool]) -> str | None:
    """What a change is to somebody who sees only what *test* lets through."""
    thing = change.after
    here = change.plural == place.resource.plural
    if not here or (place.namespace and thing["metadata"].get("namespace") != place.namespace):
        return None
    before = change.before is not None and test(change.before)
    after = change.what != "DELETED" and test(thing)
    if before and after:
        return "MODIFIED"
    return "ADDED" if after else "DELETED" if before else None


_EMPTY: dict[str, Json] = {
    "Pod": {"spec": {"containers": None}, "status": {}},
    "Service": {"spec": {}, "status": {"loadBalancer": {}}},
    "Namespace": {"spec": {}, "status": {}},
}


def _bookmark(resource: Resource, revision: int) -> Json:
    meta = {"resourceVersion": str(revision), "creationTimestamp": None}
    empty = _EMPTY.get(resource.kind, {})
    return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta, **empty}


def _line(what: str, thing: Json) -> bytes:
    return json.dumps({"type": what, "object": thing}).encode() + b"\n"
