"""A CoreWeave adapter whose wire is respx's, in front of a cluster that keeps objects and decides nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from providers.base import AttemptRef, Context, LaunchSpec, Offer, Query
from providers.coreweave.adapter import CoreWeave
from providers.env import ManualEnv
from providers.naming import make

SERVER = "https://cluster.k8s.us-east-04a.coreweave.com"
KEY = "CW-SECRET-not-a-real-key"
OWNER = "0123456789abcdef0123456789abcdef"
OTHER_OWNER = "fedcba9876543210fedcba9876543210"
TOKEN = make(OWNER, "abcdefghi", 1)
UID = "11111111-2222-3333-4444-555555555555"
POOLS = "/apis/compute.coreweave.com/v1alpha1/nodepools"
Json = dict[str, Any]
Hook = Callable[["Api", Json], None]


def status(code: int, reason: str, message: str, **details: Any) -> httpx.Response:
    """A refusal as Kubernetes words it."""
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code}
    return httpx.Response(code, json={**body, "message": message, "reason": reason, "details": details})


class Api:
    """Objects by path. What a real cluster's parts would do is written into `on_create` and `on_delete` hooks."""

    def __init__(self, env: ManualEnv) -> None:
        self.env = env
        self.objects: dict[str, Json] = {}
        self.log: list[tuple[str, str, Any]] = []
        self.on_create: dict[str, Hook] = {}
        self.on_delete: dict[str, Hook] = {}
        self.answers: dict[tuple[str, str], list[httpx.Response | Exception]] = {}
        self.has_pools = True
        self._count = 0
        self.put("/api/v1/namespaces", {"metadata": {"name": "kube-system", "uid": UID}})
        self.put("/api/v1/namespaces", {"metadata": {"name": "orch"}})

    def put(self, collection: str, item: Json) -> Json:
        """Put an object there as if somebody had made it."""
        self._count += 1
        made = {"uid": f"uid-{self._count}", "creationTimestamp": stamp(self.env.now())}
        found = {**deepcopy(item), "metadata": {**made, **item["metadata"]}}
        if "/namespaces/" in collection:
            found["metadata"].setdefault("namespace", collection.split("/namespaces/")[1].split("/")[0])
        self.objects[f"{collection}/{found['metadata']['name']}"] = found
        return found

    def refuse(self, method: str, path: str, *answers: httpx.Response | Exception) -> None:
        """The next requests of that kind are answered so, one after the other."""
        self.answers[method, path] = list(answers)

    def calls(self, method: str) -> list[str]:
        """The paths that were asked for with *method*."""
        return [path for verb, path, _ in self.log if verb == method]

    def handle(self, request: httpx.Request) -> httpx.Response:
        path, method = request.url.path, request.method
        body = json.loads(request.content) if request.content else None
        self.log.append((method, path, body))
        if waiting := self.answers.get((method, path)):
            answer = waiting.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return status(401, "Unauthorized", "Unauthorized")
        if path.startswith(POOLS) and not self.has_pools:
            return httpx.Response(404, text="404 page not found\n")
        act: Callable[[httpx.Request, str, Any], httpx.Response] = getattr(self, f"_{method.lower()}")
        return act(request, path, body)

    def _get(self, request: httpx.Request, path: str, body: Any) -> httpx.Response:
        if path in self.objects:
            return httpx.Response(200, json=self.objects[path])
        kind = path.rsplit("/", 2)[-2 if _is_named(path) else -1]
        if _is_named(path):
            return status(404, "NotFound", f'{kind} "{path.rsplit("/", 1)[1]}" not found', kind=kind)
        wanted = dict(part.split("=") for part in request.url.params.get("labelSelector", "").split(",") if part)
        found = [
            item
            for at, item in self.objects.items()
            if _listed(at, path) and wanted.items() <= (item["metadata"].get("labels") or {}).items()
        ]
        return httpx.Response(200, json={"kind": "List", "metadata": {"resourceVersion": "1"}, "items": found})

    def _post(self, request: httpx.Request, path: str, body: Any) -> httpx.Response:
        if path.endswith("selfsubjectaccessreviews"):
            return httpx.Response(201, json={**body, "status": {"allowed": True}})
        at = f"{path}/{body['metadata']['name']}"
        if at in self.objects:
            return status(409, "AlreadyExists", f"{at} already exists")
        made = self.put(path, body)
        if hook := self.on_create.get(path.rsplit("/", 1)[1]):
            hook(self, made)
        return httpx.Response(201, json=made)

    def _delete(self, request: httpx.Request, path: str, body: Any) -> httpx.Response:
        item = self.objects.get(path)
        if item is None:
            return status(404, "NotFound", f"{path} not found")
        if (uid := (body or {}).get("preconditions", {}).get("uid")) and uid != item["metadata"]["uid"]:
            return status(409, "Conflict", "the UID in the precondition does not match")
        kind = path.rsplit("/", 2)[1]
        if kind in self.on_delete and (body or {}).get("gracePeriodSeconds") != 0:
            self.on_delete[kind](self, item)
        else:
            del self.objects[path]
        return httpx.Response(200, json=item)

    def _patch(self, request: httpx.Request, path: str, body: Any) -> httpx.Response:
        assert request.headers["content-type"] == "application/json-patch+json"
        item = self.objects[path]
        for operation in body:
            *parents, last = operation["path"].strip("/").split("/")
            place = item
            for name in parents:
                place = place.setdefault(name, {})
            if operation["op"] == "test" and place.get(last) != operation["value"]:
                return status(422, "Invalid", "the server rejected our request due to an error in our request")
            if operation["op"] != "test":
                place[last] = operation["value"]
        return httpx.Response(200, json=item)


def _is_named(path: str) -> bool:
    parts = path.strip("/").split("/")
    if parts[:2] == ["api", "v1"]:
        return len(parts) in (4, 6)
    return len(parts) > len(POOLS.strip("/").split("/"))


def _listed(at: str, path: str) -> bool:
    collection, _ = at.rsplit("/", 1)
    across = path == "/api/v1/pods" and collection.endswith("/pods")
    return collection == path or across


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def gpu_node(name: str = "g1", *, gpus: int = 8, labels: dict[str, str] | None = None, **changes: Any) -> Json:
    """A Ready L40 node of CoreWeave's."""
    marked = {
        "node.kubernetes.io/instance-type": "gd-8xl40-i128",
        "gpu.nvidia.com/class": "L40",
        "topology.kubernetes.io/region": "US-EAST-04",
        "node.coreweave.cloud/state": "production",
        "kubernetes.io/arch": "amd64",
    }
    allocatable = {"nvidia.com/gpu": str(gpus), "cpu": "127", "memory": "1050000000Ki", "ephemeral-storage": "15Gi"}
    return {
        "metadata": {"name": name, "labels": marked if labels is None else labels},
        "spec": changes.pop("spec", {}),
        "status": {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": "True"}], **changes},
    }


def schedule(node: str = "g1") -> Hook:
    """A scheduler that puts every Pod there."""

    def hook(api: Api, pod: Json) -> None:
        pod["spec"]["nodeName"] = node
        row = {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(api.env.now())}
        pod["status"] = {"phase": "Pending", "conditions": [row]}

    return hook


def refuse_place(api: Api, pod: Json) -> None:
    """A scheduler that has no place."""
    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    row = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    pod["status"] = {"phase": "Pending", "conditions": [row]}


def run(pod: Json) -> None:
    """What a kubelet says of a Pod that runs and answers on its SSH port."""
    pod["status"]["phase"] = "Running"
    pod["status"]["hostIP"] = "10.1.2.3"
    pod["status"]["conditions"].append({"type": "Ready", "status": "True"})
    pod["status"]["containerStatuses"] = [{"name": "main", "restartCount": 0, "state": {"running": {}}}]


@pytest.fixture
def env() -> ManualEnv:
    return ManualEnv()


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    return {"COREWEAVE_API_TOKEN": KEY, "ORCH_COREWEAVE_URL": SERVER, "HOME": str(tmp_path)}


@pytest.fixture
def unclassified() -> list[tuple[str, str, str]]:
    return []


@pytest.fixture
def connect(
    env: ManualEnv, settings: dict[str, str], unclassified: list[tuple[str, str, str]]
) -> Callable[..., CoreWeave]:
    """A fresh adapter, as a new process would have; keywords are further settings."""

    def build(owner: str = OWNER, **more: str) -> CoreWeave:
        def count(*what: str) -> None:
            unclassified.append((what[0], what[1], what[2]))

        context = Context(env=env, settings={**settings, **more}, owner=owner, on_unclassified=count)
        return CoreWeave(context)

    return build


@pytest.fixture
async def cloud(connect: Callable[..., CoreWeave]) -> AsyncIterator[CoreWeave]:
    adapter = connect()
    yield adapter
    await adapter.aclose()


@pytest.fixture
async def managed(connect: Callable[..., CoreWeave]) -> AsyncIterator[CoreWeave]:
    """One that may add nodes, at most two."""
    adapter = connect(ORCH_COREWEAVE_MANAGED="yes", ORCH_COREWEAVE_MAX_NODES="2")
    yield adapter
    await adapter.aclose()


@pytest.fixture
def api(env: ManualEnv) -> Iterator[Api]:
    found = Api(env)
    found.on_create["pods"] = schedule()
    with respx.mock(assert_all_called=False) as router:
        router.route(url__startswith=SERVER).mock(side_effect=found.handle)
        yield found


@pytest.fixture
def spec() -> LaunchSpec:
    return LaunchSpec(name=TOKEN, owner=OWNER, lease="abcdefghi", ssh_public_key="ssh-ed25519 AAAA orch\n")


async def only(adapter: CoreWeave, **query: Any) -> Offer:
    """The single offer that the query finds."""
    [offer] = (await adapter.offers(Query(**query))).offers
    return offer


async def attempt(adapter: CoreWeave, offer: Offer, spec: LaunchSpec, **known: Any) -> AttemptRef:
    return AttemptRef(token=TOKEN, account=await adapter.account(), offer=offer, spec=spec, **known)
