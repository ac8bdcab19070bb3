"""The emulated kube-apiserver: who asks, what for, and how the answer is wrapped."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

import providers.coreweave.emulator_lists as lists
import providers.coreweave.emulator_resources as resources
from providers.coreweave.emulator_cluster import Cluster
from providers.coreweave.emulator_objects import Objects
from providers.coreweave.emulator_resources import ACCESS, ACCOUNTS, ANONYMOUS, NAMESPACES, PODS, WHOAMI, Caller, Place
from providers.coreweave.emulator_status import (
    Refused,
    bad_request,
    forbidden,
    no_resource,
    page_not_found,
    unauthorized,
    wrong_method,
    wrong_type,
)
from providers.sandbox.kit import json_reply

Json = dict[str, Any]

_BODIES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_VERSION = {
    "major": "1",
    "minor": "35",
    "gitVersion": "v1.35.2",
    "gitTreeState": "clean",
    "goVersion": "go1.25.6",
    "compiler": "gc",
    "platform": "linux/amd64",
}


class Api:
    """Answers requests to the Kubernetes API.

    Args:
        advance: brings the cluster up to the present, for watches.
        before_pod: what may go wrong when a Pod is made; raises `Refused`.
        after_pod: decides a new Pod's fate.
        on_delete: told of every Pod that somebody deletes.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        advance: Callable[[], None],
        before_pod: Callable[[Json, Caller], None],
        after_pod: Callable[[Json], None],
        on_delete: Callable[[Json], None],
    ) -> None:
        self.cluster = cluster
        self.objects = Objects(cluster)
        self._advance = advance
        self._before_pod = before_pod
        self._after_pod = after_pod
        self._on_delete = on_delete

    async def handle(self, request: Request, place: Place | None, *, bad_key: bool) -> Response:
        """Answer one request."""
        try:
            if place is not None and place.page in ("version", "readyz", "livez", "healthz"):
                return json_reply(_VERSION) if place.page == "version" else PlainTextResponse("ok")
            caller = self.caller(request, bad_key=bad_key)
            if place is None:
                return page_not_found()
            if place.page:
                return self._discovery(place, caller, request.method)
            if not place.known:
                raise no_resource()
            return await self._object(request, place, caller)
        except Refused as refusal:
            return refusal.response()

    def caller(self, request: Request, *, bad_key: bool) -> Caller:
        """Who asks.

        Raises:
            Refused: 401, where an unknown token is answered so.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not token or scheme.lower() != "bearer":
            return Caller(ANONYMOUS, "none", ["system:unauthenticated"])
        user = None if bad_key else self.cluster.options.user(token)
        if user is not None:
            groups = ["system:masters"] if user.rights == "admin" else []
            return Caller(user.name, user.rights, [*groups, "system:authenticated"])
        if self.cluster.options.bad_token == "unauthorized":  # noqa: S105 - no password
            raise unauthorized()
        # CKS's gateway says 403. That its words are those for a caller without a token is a guess.
        return Caller(ANONYMOUS, "none", ["system:unauthenticated"])

    def _discovery(self, place: Place, caller: Caller, method: str) -> Response:
        if caller.name == ANONYMOUS:
            text = f'forbidden: User "{ANONYMOUS}" cannot get path'
            raise Refused(403, "Forbidden", text, {})
        if method != "GET":
            raise wrong_method()
        pages: dict[str, Callable[[], Json]] = {
            "versions": resources.versions,
            "groups": resources.groups,
            "group": lambda: resources.group(place.name),
            "resources": lambda: resources.resource_list(place.name),
        }
        return json_reply(pages[place.page]())

    # One request for objects.

    async def _object(self, request: Request, place: Place, caller: Caller) -> Response:
        verb = _verb(request, place)
        self._authorize(caller, verb, place)
        if place.resource in (ACCESS, WHOAMI):
            body = await self._body(request)
            reply = _access(body, caller) if place.resource is ACCESS else _whoami(caller, self.cluster)
            return json_reply(reply, 201)
        if place.sub in ("log", "eviction", "token"):
            return await self._special(request, place)
        if verb == "list":
            return json_reply(lists.page(self.cluster, place, request.query_params))
        if verb == "watch":
            return lists.watch(self.cluster, place, request.query_params, self._advance)
        if verb == "get":
            return json_reply(self.objects.get(place))
        if verb == "create":
            return await self._create(request, place, caller)
        if verb == "deletecollection":
            return await self._delete_all(request, place)
        if verb == "delete":
            return await self._delete(request, place)
        return await self._change(request, place, verb)

    def _authorize(self, caller: Caller, verb: str, place: Place) -> None:
        resource = place.resource
        plural = f"{resource.plural}/{place.sub}" if place.sub else resource.plural
        if not caller.may(verb, resource.group, resource.plural, place.namespace):
            why = caller.refusal(verb, resource.group, plural, place.namespace)
            raise forbidden(resource.plural, resource.group, place.name or None, why)

    async def _create(self, request: Request, place: Place, caller: Caller) -> Response:
        body = await self._body(request)
        dry = _dry(request)
        if place.resource is PODS and not dry:
            self._before_pod(body, caller)
        strict = request.query_params.get("fieldValidation") == "Strict"
        made = self.objects.create(place, body, dry=dry, strict=strict)
        if place.resource is PODS and not dry:
            self.objects.adopt(made)
            self._after_pod(made)
        return json_reply(made, 201)

    async def _change(self, request: Request, place: Place, verb: str) -> Response:
        if verb == "update":
            return json_reply(self.objects.replace(place, await self._body(request), dry=_dry(request)))
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        patch = _parsed(await request.body(), place)
        return json_reply(self.objects.patch(place, kind, patch, dry=_dry(request)))

    async def _delete(self, request: Request, place: Place) -> Response:
        thing, going = self._deleted(place, await self._delete_options(request))
        resource = place.resource
        if going or resource is PODS:
            return json_reply(thing)
        group = {"group": resource.group} if resource.group else {}
        details = {"name": place.name, **group, "kind": resource.plural, "uid": thing["metadata"]["uid"]}
        return json_reply(
            {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        )

    def _deleted(self, place: Place, options: Json) -> tuple[Json, bool]:
        found = self.objects.delete(place, options)
        if place.resource is PODS:
            self._on_delete(found[0])
        return found

    async def _delete_all(self, request: Request, place: Place) -> Response:
        options = await self._delete_options(request)
        found = lists.selected(self.cluster, place, request.query_params)
        for thing in found:
            one = Place(place.resource, place.namespace, thing["metadata"]["name"])
            self._deleted(one, {**options, "preconditions": None})
        meta = {"resourceVersion": str(self.cluster.store.revision)}
        return json_reply(lists.listing(place.resource, found, meta))

    async def _delete_options(self, request: Request) -> Json:
        options: Json = await self._body(request) if await request.body() else {}
        for key in ("gracePeriodSeconds", "propagationPolicy"):
            if key in request.query_params:
                options[key] = request.query_params[key]
        policy = options.get("propagationPolicy") or "Background"
        if policy not in ("Background", "Foreground", "Orphan"):
            raise bad_request(f"invalid propagationPolicy {policy!r}")
        return options

    async def _body(self, request: Request) -> Json:
        kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
        if kind not in _BODIES[:1]:
            raise wrong_type(_BODIES)
        body = _parsed(await request.body(), resources.locate("/api/v1/pods") or Place())
        if not isinstance(body, dict):
            raise bad_request("couldn't get version/kind; json parse error: cannot unmarshal into an object")
        return body

    # Logs, evictions and tokens.

    async def _special(self, request: Request, place: Place) -> Response:
        thing = self.objects.get(Place(place.resource, place.namespace, place.name))
        if place.sub == "log":
            return self._log(request, thing)
        body = await self._body(request)
        if place.resource is ACCOUNTS:
            return self._token(place, body)
        options = body.get("deleteOptions") or {}
        self._deleted(Place(PODS, place.namespace, place.name), options)
        done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        return json_reply(done, 201)

    def _log(self, request: Request, pod: Json) -> Response:
        container = request.query_params.get("container") or pod["spec"]["containers"][0]["name"]
        name = pod["metadata"]["name"]
        if all(item["name"] != container for item in pod["spec"]["containers"]):
            raise bad_request(f"container {container} is not valid for pod {name}")
        rows = (pod.get("status") or {}).get("containerStatuses") or [{"name": container, "state": {"waiting": {}}}]
        waiting = next((row["state"].get("waiting") for row in rows if row["name"] == container), None)
        lines = self.cluster.fate(pod).log
        if waiting is not None and not lines:
            why = waiting.get("reason", "ContainerCreating")
            raise bad_request(f'container "{container}" in pod "{name}" is waiting to start: {why}')
        tail = request.query_params.get("tailLines")
        if tail is not None and not tail.isdigit():
            raise bad_request("tailLines must be a whole number")
        lines = lines if tail is None else lines[len(lines) - min(int(tail), len(lines)) :]
        return PlainTextResponse("".join(f"{line}\n" for line in lines))

    def _token(self, place: Place, body: Json) -> Response:
        seconds = int((body.get("spec") or {}).get("expirationSeconds") or 3600)
        status = {
            "token": f"eyJhbGciOiJSUzI1NiJ9.{self.cluster.world.letters(40)}.{self.cluster.world.letters(40)}",
            "expirationTimestamp": self.cluster.stamp(self.cluster.now + seconds),
        }
        meta = {"name": place.name, "namespace": place.namespace, "creationTimestamp": self.cluster.stamp()}
        reply = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": meta}
        return json_reply({**reply, "spec": body.get("spec") or {}, "status": status}, 201)


_WATCHES = ("true", "1")
_METHODS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def _verb(request: Request, place: Place) -> str:
    """The verb that authorization and the handlers know.

    Raises:
        Refused: 405.
    """
    verb = _METHODS.get(request.method, "")
    if not place.name:
        verb = {"get": "list", "create": "create", "delete": "deletecollection"}.get(verb, "")
        if verb == "list" and request.query_params.get("watch") in _WATCHES:
            verb = "watch"
    elif place.sub in ("eviction", "token"):
        verb = verb if verb == "create" else ""
    elif place.sub == "log":
        verb = verb if verb == "get" else ""
    elif verb == "create" or (place.sub and verb == "delete"):
        verb = ""
    nowhere = place.resource.namespaced and not place.namespace and verb in ("create", "deletecollection")
    special = bool(place.sub) and place.sub != "status"
    allowed = special or verb in place.resource.verbs
    if place.resource is NAMESPACES and verb == "deletecollection":
        allowed = False
    if not verb or nowhere or not allowed:
        raise wrong_method()
    return verb


def _dry(request: Request) -> bool:
    value = request.query_params.get("dryRun")
    if value not in (None, "", "All"):
        raise bad_request(f"invalid dryRun {value!r}")
    return value == "All"


def _parsed(raw: bytes, place: Place) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        text = f"the object provided is unrecognized (must be of type {place.resource.kind}): "
        shown = raw[:40].decode("utf-8", "replace")
        raise bad_request(f"{text}couldn't get version/kind; json parse error: unexpected input ({shown})") from None


def _access(body: Json, caller: Caller) -> Json:
    asked = (body.get("spec") or {}).get("resourceAttributes") or {}
    place = [str(asked.get(key) or "") for key in ("verb", "group", "resource", "namespace")]
    # A question about all verbs or resources is one about an administrator.
    wild = "*" in place and caller.rights != "admin"
    allowed = not wild and caller.may(place[0], place[1], place[2], place[3])
    status: Json = {"allowed": allowed}
    return {
        "kind": ACCESS.kind,
        "apiVersion": ACCESS.api_version,
        "metadata": {"creationTimestamp": None},
        "spec": body.get("spec") or {},
        "status": status,
    }


def _whoami(caller: Caller, cluster: Cluster) -> Json:
    info: Json = {"username": caller.name, "groups": caller.groups}
    meta = {"creationTimestamp": cluster.stamp()}
    return {
        "kind": WHOAMI.kind,
        "apiVersion": WHOAMI.api_version,
        "metadata": meta,
        "status": {"userInfo": info},
    }
