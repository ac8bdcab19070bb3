"""Google's wire: one call at a time, pages, and answers checked for their outermost shape only. Decides nothing.

`ORCH_GCP_URL` stands in for the scheme and host of both APIs; the vendor's paths below it stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from providers.base import Context, Facts
from providers.errors import Forbidden, OfferGone, OutcomeUnknown, ProviderError, Unavailable
from providers.gcp.errors import classify
from providers.gcp.minting import Tokens
from providers.http import Http, Reply

COMPUTE_URL = "https://compute.googleapis.com"
BILLING_URL = "https://cloudbilling.googleapis.com"
PAGE_SIZE = 500
#: Google's id of the service Compute Engine.
SKUS_PATH = "/v1/services/6F81-5844-456A/skus"
_SKU_PAGE_SIZE = 5000
#: Only what is read is asked for: the whole list is tens of megabytes.
_SKU_FIELDS = (
    "nextPageToken,skus(skuId,description,category,serviceRegions,"
    "pricingInfo(pricingExpression(usageUnit,tieredRates)))"
)
_MOST_PAGES = 1000
#: A 404 about one of these says that we look in the wrong place, not that a thing is gone.
_CONTAINER = re.compile(r"'projects/[^/']+(?:/(?:zones|regions)/[^/']+)?'")


class Client:
    """One project's API.

    Args:
        project: the project's id.
        url: checked base URL in place of both vendor hosts, or None.
        quota_project: sent along where a user's credentials name one.
    """

    def __init__(
        self,
        context: Context,
        tokens: Tokens,
        *,
        project: str,
        url: str | None,
        facts: Facts,
        quota_project: str | None = None,
        secrets: tuple[str, ...] = (),
    ) -> None:
        self.project = project
        self._tokens = tokens
        self._bearer = ""
        self._env = context.env
        extra = {"X-Goog-User-Project": quota_project} if quota_project else {}

        def http(base: str) -> Http:
            return Http(
                context,
                provider="gcp",
                base_url=base,
                headers=extra,
                classify=self._classify,
                secrets=secrets,
                facts=facts,
                account_key=project,
            )

        self._compute = http(url or COMPUTE_URL)
        self._billing = self._compute if url else http(BILLING_URL)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._compute.aclose()
        if self._billing is not self._compute:
            await self._billing.aclose()

    @property
    def clock_skew_s(self) -> float | None:
        """How far our clock is ahead of Google's, by its last answer."""
        return self._compute.clock_skew_s

    async def get(self, path: str, *, verb: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """One resource or one page; *path* lies below the project unless it starts with ``projects/``."""
        return _object(await self._call(self._compute, "GET", self._path(path), verb=verb, params=params))

    async def seek(self, path: str, *, verb: str) -> dict[str, Any] | None:
        """A resource, or None if Google itself says that there is no such thing.

        Raises:
            Forbidden: the project or zone itself is not there: that proves nothing of what is in it.
        """
        try:
            return await self.get(path, verb=verb)
        except OfferGone as error:
            _really_absent(error)
            return None

    async def pages(
        self, path: str, *, verb: str, params: dict[str, Any] | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Every page of a list."""
        token: str | None = None
        for _ in range(_MOST_PAGES):
            more = {"pageToken": token} if token else {}
            page = await self.get(path, verb=verb, params={"maxResults": PAGE_SIZE, **(params or {}), **more})
            yield page
            following = page.get("nextPageToken")
            if not following:
                return
            if not isinstance(following, str) or following == token:
                break
            token = following
        raise Unavailable(f"gcp: the pages of {path} do not end", code="malformed", scope="provider")

    async def post(
        self, path: str, body: dict[str, Any], *, verb: str, request_id: str | None = None
    ) -> dict[str, Any]:
        """A create, sent once; its operation. Under the same *request_id* it is done once only.

        Raises:
            OutcomeUnknown: also for an accepted create whose answer names no operation.
        """
        params = {"requestId": request_id} if request_id else None
        reply = await self._call(self._compute, "POST", self._path(path), verb=verb, params=params, body=body)
        operation = reply.parsed()
        if not isinstance(operation, dict) or not isinstance(operation.get("name"), str):
            raise OutcomeUnknown(f"gcp answered {reply.status} without an operation", code="malformed")
        return operation

    async def delete(self, path: str, *, verb: str) -> dict[str, Any] | None:
        """A delete, repeated where an answer is lost; its operation, or None if there is no such thing.

        No request id goes along: under the same one a delete that failed would be answered instead of repeated.
        """
        try:
            reply = await self._call(self._compute, "DELETE", self._path(path), verb=verb, repeatable=True)
        except OfferGone as error:
            _really_absent(error)
            return None
        return _object(reply)

    async def skus(self, page_token: str = "", *, size: int = _SKU_PAGE_SIZE) -> bytes:
        """One page of the public price list, as it came."""
        params: dict[str, Any] = {"pageSize": size, "currencyCode": "USD", "fields": _SKU_FIELDS}
        if page_token:
            params["pageToken"] = page_token
        # The page is decoded elsewhere, and once.
        reply = await self._call(self._billing, "GET", SKUS_PATH, verb="price", params=params, json_only=False)
        return reply.body

    async def _call(
        self,
        http: Http,
        method: str,
        path: str,
        *,
        verb: str,
        params: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
        repeatable: bool | None = None,
        json_only: bool = True,
    ) -> Reply:
        self._bearer = bearer = await self._tokens.bearer()
        try:
            return await http.call(
                method,
                path,
                verb=verb,
                params=params,
                json_body=body,
                headers={"Authorization": f"Bearer {bearer}"},
                repeatable=repeatable,
                accept_json_only=json_only,
            )
        except ProviderError as error:
            if bearer in error.message:
                error.message = error.message.replace(bearer, "[redacted]")
                error.args = (error.message,)
            raise

    def _path(self, path: str) -> str:
        return f"/compute/v1/{path if path.startswith('projects/') else f'{self.root}/{path}'.rstrip('/')}"

    @property
    def root(self) -> str:
        """``projects/<id>``."""
        # A domain-scoped project's id holds a colon (example.com:name), which a path may.
        return f"projects/{quote(self.project, safe=':')}"

    def _classify(self, reply: Reply, verb: str) -> ProviderError:
        error = classify(reply, verb, now=self._env.now())
        # Before anybody counts or logs it: a proxy's page may repeat what it was sent.
        error.message = error.message.replace(self._bearer or "\0", "[redacted]")
        return error


def _really_absent(error: OfferGone) -> None:
    if _CONTAINER.search(error.message):
        raise Forbidden(error.message, code=error.code) from error


def _object(reply: Reply) -> dict[str, Any]:
    body = reply.parsed()
    if not isinstance(body, dict):
        raise Unavailable(f"gcp answered {reply.status} with no JSON object", code="malformed", scope="provider")
    return body
