"""RunPod's wire: REST v2, one method an operation, answers checked for their outermost shape only.

Decides nothing. A listing whose shape is not understood raises, for it would prove an absence otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Any
from urllib.parse import quote

from providers.base import Context, Facts
from providers.errors import OfferGone, OutcomeUnknown, ProviderError, Unavailable
from providers.http import Http, Reply
from providers.runpod.errors import classify

BASE_URL = "https://api.runpod.io"

#: Texts of the running call that no message may hold: a 422 may quote the environment it was sent.
_UNSAID: ContextVar[tuple[str, ...]] = ContextVar("runpod_unsaid", default=())
#: Shorter values are no secrets, and taking them out would garble messages.
_SHORTEST_SECRET = 5


class Deleted(Enum):
    """What a DELETE was answered."""

    ACCEPTED = "accepted"
    MISSING = "missing"
    REFUSED = "refused"


class Client:
    """One account's API.

    Args:
        key: goes into the `Authorization` header and nowhere else.
        account: names the pacers, so that two keys do not slow each other.
    """

    def __init__(self, context: Context, *, base_url: str, key: str, account: str, facts: Facts) -> None:
        self._http = Http(
            context,
            provider="runpod",
            base_url=base_url,
            headers={
                "Authorization": f"Bearer {key}",
                "Accept": "application/json, application/problem+json",
            },
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

    async def gpus(self, cloud: str, count: int, *, verb: str) -> list[dict[str, Any]]:
        """`listGpuTypes` with stock for pods of *count* GPUs in *cloud* (SECURE or COMMUNITY)."""
        # `include` and `product` need each other; `cloud` and `count` are allowed with both only.
        params = {"include": "AVAILABILITY", "product": "POD", "cloud": cloud, "count": count}
        return _rows(await self._http.call("GET", "/v2/catalog/gpus", verb=verb, params=params), "gpus")

    async def data_centers(self, *, verb: str) -> list[dict[str, Any]]:
        """`listDataCenters`."""
        return _rows(await self._http.call("GET", "/v2/catalog/datacenters", verb=verb), "dataCenters")

    async def create(self, body: dict[str, Any], secrets: tuple[str, ...] = ()) -> dict[str, Any]:
        """`createPod`, sent once. *secrets* are kept out of every message.

        Raises:
            OutcomeUnknown: also for a 2xx answer without an id: something was made.
        """
        with _unsaid(secrets):
            reply = await self._http.call("POST", "/v2/pods", verb="launch", json_body=body)
        pod = reply.parsed()
        if not isinstance(pod, dict) or not isinstance(pod.get("id"), str) or not pod["id"]:
            raise OutcomeUnknown(f"runpod answered {reply.status} without a pod's id", code="malformed")
        return pod

    async def pod(self, pod_id: str, *, verb: str) -> dict[str, Any] | None:
        """`getPod`, or None if RunPod itself says that there is none."""
        try:
            reply = await self._http.call("GET", _path(pod_id), verb=verb)
        except OfferGone:
            return None
        pod = reply.parsed()
        if not isinstance(pod, dict) or pod.get("id") != pod_id:
            raise _malformed(f"a pod with the id {pod_id!r}")
        return pod

    async def pods(self, *, verb: str) -> list[dict[str, Any]]:
        """`listPods`: the whole account, without members of clusters. There are no pages."""
        return _rows(await self._http.call("GET", "/v2/pods", verb=verb), "pods")

    async def delete(self, pod_id: str) -> Deleted:
        """`deletePod`; repeated where an answer is lost, since a second one finds nothing."""
        try:
            await self._http.call("DELETE", _path(pod_id), verb="terminate", repeatable=True)
        except OfferGone:
            return Deleted.MISSING
        except Unavailable as error:
            if error.code == "http-409-state":
                return Deleted.REFUSED
            raise
        return Deleted.ACCEPTED


def _classify(reply: Reply, verb: str) -> ProviderError:
    error = classify(reply, verb)
    for text in _UNSAID.get():
        error.message = error.message.replace(text, "[redacted]")
    return error


@contextmanager
def _unsaid(secrets: tuple[str, ...]) -> Iterator[None]:
    longest_first = sorted((s for s in secrets if len(s) >= _SHORTEST_SECRET), key=len, reverse=True)
    token = _UNSAID.set(tuple(longest_first))
    try:
        yield
    finally:
        _UNSAID.reset(token)


def _path(pod_id: str) -> str:
    return f"/v2/pods/{quote(pod_id, safe='')}"


def _rows(reply: Reply, key: str) -> list[dict[str, Any]]:
    document = reply.parsed()
    rows = document.get(key) if isinstance(document, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _malformed(f"a list of {key}")
    return rows


def _malformed(what: str) -> Unavailable:
    return Unavailable(f"runpod's answer is not {what}", code="malformed", scope="provider")
