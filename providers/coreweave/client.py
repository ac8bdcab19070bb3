"""One cluster's Kubernetes API: JSON in, JSON out, and a few rules of the wire. Decides nothing about GPUs.

A listing whose shape is not understood raises, for it would prove an absence otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from providers.base import Context, Facts
from providers.coreweave import auth
from providers.coreweave.errors import classify
from providers.coreweave.targets import Target
from providers.errors import AuthFailed, Forbidden, OutcomeUnknown, ProviderError, Unavailable
from providers.http import Http, Reply

PAGE = 500
#: Pages of one listing. More would be a server that never ends.
MOST_PAGES = 200
NODE_POOLS = "/apis/compute.coreweave.com/v1alpha1/nodepools"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

Json = dict[str, Any]


def path(namespace: str, kind: str, name: str = "") -> str:
    """``/api/v1/namespaces/NS/KIND[/NAME]``."""
    base = f"/api/v1/namespaces/{quote(namespace, safe='')}/{kind}"
    return f"{base}/{quote(name, safe='')}" if name else base


class Kube:
    """One cluster's API server, opened at first use."""

    def __init__(self, context: Context, target: Target, facts: Facts) -> None:
        self.target = target
        self._context = context
        self._facts = facts
        self._http: Http | None = None
        self._grant: auth.Grant | None = None
        self._skew: float | None = None

    @property
    def clock_skew_s(self) -> float | None:
        """Seconds that our clock was ahead of the server's at its last answer; None before one."""
        return self._http.clock_skew_s if self._http else self._skew

    async def aclose(self) -> None:
        """Close connections."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def get(self, where: str, *, verb: str) -> Json:
        """One object.

        Raises:
            OfferGone: with the code ``NotFound``: the server itself says that there is none.
        """
        return _object(await self._call("GET", where, verb=verb), where)

    async def find(self, where: str, *, verb: str) -> Json | None:
        """One object, or None if the server itself says that there is none."""
        try:
            return await self.get(where, verb=verb)
        except ProviderError as error:
            if error.code == "NotFound":
                return None
            raise

    async def items(self, where: str, *, verb: str, params: Mapping[str, str] | None = None) -> list[Json]:
        """Every object of a listing, all pages. A listing that expires half-way is read anew, once."""
        try:
            return await self._pages(where, verb, dict(params or {}))
        except ProviderError as error:
            if error.code != "Expired":
                raise
        return await self._pages(where, verb, dict(params or {}))

    async def create(self, where: str, body: Json, *, verb: str, repeatable: bool = False) -> Json | None:
        """Make an object; None if one of that name is there already.

        Raises:
            OutcomeUnknown: also for a 2xx answer that is no object: something was made.
        """
        try:
            reply = await self._call("POST", where, verb=verb, body=body, repeatable=repeatable)
        except ProviderError as error:
            if error.code == "AlreadyExists":
                return None
            raise
        made = reply.parsed()
        if not isinstance(made, dict) or not isinstance(made.get("metadata"), dict):
            raise OutcomeUnknown(f"the cluster answered {reply.status} without an object", code="malformed")
        return made

    async def delete(self, where: str, *, uid: str | None, verb: str = "terminate", force: bool = False) -> None:
        """Ask for an object's end. Not there any more, or another one by now, is as good.

        Args:
            uid: only the object with that uid is meant, never a namesake made later.
            force: drop the API object at once; only where its node is gone for good.
        """
        body: Json = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        if force:
            body["gracePeriodSeconds"] = 0
        try:
            await self._call("DELETE", where, verb=verb, body=body, repeatable=True)
        except ProviderError as error:
            if error.code not in ("NotFound", "Conflict"):
                raise

    async def patch(self, where: str, operations: Sequence[Json], *, verb: str) -> bool:
        """A JSON patch whose `test` operations guard it; False if it came too late (the object has changed)."""
        headers = {"Content-Type": "application/json-patch+json"}
        try:
            # Repeated, its own tests fail: that is told apart by reading the object again, as for any race.
            await self._call("PATCH", where, verb=verb, body=list(operations), repeatable=True, headers=headers)
        except ProviderError as error:
            if error.code in ("Invalid", "Conflict", "NotFound"):
                return False
            raise
        return True

    async def allowed(self, verb: str, resource: str, *, group: str = "", namespace: str = "") -> bool:
        """Whether our credentials may *verb* that resource (``pods/log`` names a subresource)."""
        name, _, sub = resource.partition("/")
        attributes = {"verb": verb, "group": group, "resource": name, "subresource": sub, "namespace": namespace}
        spec = {"resourceAttributes": {key: value for key, value in attributes.items() if value}}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
        reply = await self._call("POST", REVIEWS, verb="account", body=body, repeatable=True)
        status = _object(reply, REVIEWS).get("status")
        return isinstance(status, dict) and status.get("allowed") is True

    async def log(self, namespace: str, pod: str, *, lines: int = 20, previous: bool = False) -> str:
        """The end of the main container's log; empty where it cannot be had."""
        params = {"container": "main", "tailLines": str(lines), "limitBytes": "4096"}
        if previous:
            params["previous"] = "true"
        try:
            where = path(namespace, "pods", pod) + "/log"
            reply = await self._call("GET", where, verb="find", params=params, text=True)
        except ProviderError:
            return ""  # the reason stands without it
        return reply.text

    async def _pages(self, where: str, verb: str, params: dict[str, str]) -> list[Json]:
        found: list[Json] = []
        for _ in range(MOST_PAGES):
            reply = await self._call("GET", where, verb=verb, params={"limit": str(PAGE), **params})
            document = reply.parsed()
            items = document.get("items") if isinstance(document, dict) else None
            if items is None and isinstance(document, dict) and str(document.get("kind", "")).endswith("List"):
                items = []  # Go writes an empty list as null in places
            if not isinstance(items, list) or not all(_named(item) for item in items):
                raise Unavailable(f"the answer to {where} is not a list", code="malformed", scope="region")
            found += items
            metadata = document.get("metadata")
            more = metadata.get("continue") if isinstance(metadata, dict) else None
            if not isinstance(more, str) or not more:
                return found
            params["continue"] = more
        raise Unavailable(f"the listing of {where} does not end", code="malformed", scope="region")

    async def _call(
        self,
        method: str,
        where: str,
        *,
        verb: str,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        repeatable: bool | None = None,
        headers: Mapping[str, str] | None = None,
        text: bool = False,
    ) -> Reply:
        async def once(fresh: bool) -> Reply:
            http, token = await self._open(fresh)
            sent = {**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
            return await http.call(
                method,
                where,
                verb=verb,
                params=params,
                json_body=body,
                headers=sent,
                repeatable=repeatable,
                accept_json_only=not text,
            )

        try:
            return await once(False)
        except AuthFailed:
            if not self.target.auth.changes:
                raise
        except Forbidden as error:
            if error.code != "forbidden-unclear" or where == REVIEWS:
                raise
            raise await self._which(error) from None
        # A refused token had no effect, and a fresh one may do.
        return await once(True)

    async def _which(self, error: Forbidden) -> ProviderError:
        """Whether an unclear 403 is about rights or about the token: anybody who is known may ask for a review."""
        try:
            await self.allowed("get", "pods")
        except (AuthFailed, Forbidden):
            return AuthFailed(f"{error.message} (the token is not accepted for anything)", code="bad-token")
        except ProviderError:
            return error
        return error

    async def _open(self, fresh: bool) -> tuple[Http, str | None]:
        env, target = self._context.env, self.target
        if self._grant is None or fresh or not auth.still_good(self._grant, env.now()):
            grant = await target.auth.grant(env)
            old = self._grant
            if self._http is not None and old is not None and old.certificate != grant.certificate:
                self._skew = self._http.clock_skew_s
                await self.aclose()
            self._grant = grant
        if self._http is None:
            self._http = Http(
                self._context,
                provider="coreweave",
                base_url=target.server,
                headers={},
                classify=self._classify,
                facts=self._facts,
                account_key=target.vendor_host,
                tls=auth.tls(target.authority, self._grant),
            )
        return self._http, self._grant.token

    def _classify(self, reply: Reply, verb: str) -> ProviderError:
        error = classify(reply, verb)
        token = self._grant.token if self._grant else None
        if token:
            error.message = error.message.replace(token, "[redacted]")
            error.args = (error.message,)
        return error


def _object(reply: Reply, where: str) -> Json:
    document = reply.parsed()
    if not isinstance(document, dict):
        raise Unavailable(f"the answer to {where} is no object", code="malformed", scope="region")
    return document


def _named(item: Any) -> bool:
    metadata = item.get("metadata") if isinstance(item, dict) else None
    return isinstance(metadata, dict) and isinstance(metadata.get("name"), str)
