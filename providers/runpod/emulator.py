"""RunPod's REST v2 on loopback: catalogue, pods, SSH keys, billing, with its rules, limits and quirks.

Written from the API description (REST v2, August 2026), the public documentation and recorded payloads; where these
differ, `market.toml` has a setting. Not modelled: serverless, clusters, CPU pods, templates, network volumes,
registries, and the account's spend cap, whose refusal nobody has published.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from decimal import Decimal
from math import ceil
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response

from providers.runpod import emulator_billing, emulator_rules
from providers.runpod.emulator_catalog import (
    GpuQuery,
    center_include,
    center_list,
    center_view,
    gpu_list,
    gpu_view,
)
from providers.runpod.emulator_create import Creator
from providers.runpod.emulator_lifecycle import PROVIDER, Lifecycle
from providers.runpod.emulator_logs import LogStream
from providers.runpod.emulator_market import Gpu, Market, subject
from providers.runpod.emulator_pods import Pod, allowed, public_keys, view
from providers.runpod.emulator_wire import (
    RateLimits,
    Refusal,
    cloudflare,
    invalid,
    not_found,
    problem,
)
from providers.sandbox.kit import Emulator, Record, json_reply, local_path
from providers.sandbox.world import World

Handler = Callable[[Request, str, str], Awaitable[Response]]
_POD = re.compile(r"/v2/pods/([^/]+)(/action|/logs)?")
_OTHER_ACCOUNT = "other"
_RESTARTING = ("image", "args", "disk", "ports", "env", "mounts")


class RunPodEmulator(Emulator):
    """The loopback twin of RunPod's REST v2.

    Attributes:
        key: the account's API key.
        market: prices and stock, what faults did to them, and what pods take of it.
    """

    name = PROVIDER
    semantic: ClassVar[frozenset[str]] = frozenset(
        {
            *("sold_out", "gone", "fail_after_accept", "boot_stuck", "wrong_gpu", "no_money", "unknown_code"),
            *("price_changed", "bad_key", "forbidden", "other_account", "list_lag", "ignore_terminate"),
            "host_lost",
        }
    )

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.market = Market.read(world.market.get(PROVIDER))
        self.limits = RateLimits(self.market.limits)
        self.life = Lifecycle(world, self.market)
        self.creator = Creator(world, self.market, self.life, self.fault)
        self.key = "rpa_" + world.letters(46, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
        self.ssh_keys: dict[str, list[str]] = {}
        self._routes = [(re.compile(pattern), handlers) for pattern, handlers in self._table().items()]

    def _table(self) -> dict[str, dict[str, Handler]]:
        return {
            "/v2/catalog/gpus": {"GET": self._list_gpus},
            "/v2/catalog/gpus/(.+)": {"GET": self._get_gpu},
            "/v2/catalog/datacenters": {"GET": self._list_centers},
            "/v2/catalog/datacenters/(.+)": {"GET": self._get_center},
            "/v2/pods": {"GET": self._list_pods, "POST": self._create},
            "/v2/pods/([^/]+)": {"GET": self._get_pod, "PATCH": self._update, "DELETE": self._delete},
            "/v2/pods/([^/]+)/action": {"POST": self._act},
            "/v2/pods/([^/]+)/logs": {"GET": self._logs},
            "/v2/account/ssh-keys": {"GET": self._get_keys, "PUT": self._put_keys},
            "/v2/billing/pods": {"GET": self._billing},
        }

    # The kit's side.

    def verb(self, method: str, path: str) -> str:
        if path.startswith("/v2/catalog/"):
            return "offers"
        if path == "/v2/pods":
            return {"POST": "launch", "GET": "owned"}.get(method, "other")
        match = _POD.fullmatch(path)
        if match and match[2] is None:
            return {"GET": "find", "DELETE": "terminate"}.get(method, "other")
        # The path of an action does not say which; terminate is the one that matters.
        return "terminate" if match and match[2] == "/action" else "other"

    def advance(self) -> None:
        self.life.advance()
        for pod in list(self.life.live.values()):
            up = pod.state == "ready" and not pod.dark
            if up and (loss := self.fault("host_lost", subject=pod.subject)):
                self.life.lose(pod, str(loss.args.get("how", "vanish")))

    def environment(self, base_url: str) -> dict[str, str]:
        return {"RUNPOD_API_KEY": self.key, "ORCH_RUNPOD_URL": base_url}

    def records(self) -> list[Record]:
        billing = set(self.world.ledger.billing(PROVIDER))
        return [
            Record(pod.id, pod.name, pod.alive, pod.id in billing, subject(pod.gpu, pod.cloud, pod.place))
            for pod in self.life.pods.values()
        ]

    def plant(self, name: str, owner: str | None = None) -> str:
        return self.creator.plant(name, {} if owner is None else {"ORCH_OWNER": owner}).id

    def lose(self, instance: str) -> None:
        self.life.lose(self.life.pods[instance])

    def rate_limited(self, retry_after: float | None) -> Response:
        now = self.world.now()
        wait = 60 - int(now.timestamp()) % 60 if retry_after is None else ceil(retry_after)
        refusal = self.limits.refusal("minute", wait)
        refusal.headers |= self.limits.headers("main", now, empty_s=wait)
        return refusal.response()

    def broken(self) -> Response:
        return problem(500, "internal server error")

    def dump(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "ssh_keys": self.ssh_keys,
            "limits": self.limits.dump(),
            "gone": sorted(self.market.gone),
            "factors": {name: str(factor) for name, factor in self.market.factors.items()},
            "life": self.life.dump(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.key = state["key"]
        self.ssh_keys = {account: list(keys) for account, keys in state["ssh_keys"].items()}
        self.limits.load(state["limits"])
        self.market.gone = set(state["gone"])
        self.market.factors = {name: Decimal(factor) for name, factor in state["factors"].items()}
        self.life.load(state["life"])

    # The way in: Cloudflare, key, rate limit, route.

    async def handle(self, request: Request) -> Response:
        agent = request.headers.get("user-agent", "")
        if not agent.strip() or agent.lower().startswith("python-urllib"):
            return cloudflare()
        path = local_path(request)
        try:
            account, only_pod = self._authenticate(request, path)
        except Refusal as refusal:
            return refusal.response()
        now = self.world.now()
        limited = self.limits.take(account, now)
        try:
            if limited is not None:
                raise limited
            response = await self._route(request, path, account, only_pod)
        except Refusal as refusal:
            response = refusal.response()
        response.headers.update(self.limits.headers(account, now))
        return response

    def _authenticate(self, request: Request, path: str) -> tuple[str, str | None]:
        """The account that the key opens, and the one pod that it is good for if it is a pod's own."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Refusal(401, "missing bearer token")
        verb, about = self.verb(request.method, path), f"{request.method} {path}"
        if self.fault("bad_key", verb=verb, subject=about):
            raise Refusal(401, "invalid bearer token")
        if key.strip() == self.key:
            stray = self.fault("other_account", verb=verb, subject=about)
            return (_OTHER_ACCOUNT if stray else "main"), None
        for pod in self.life.live.values():
            if key.strip() == pod.own_key:
                return pod.account, pod.id
        # The sentence for a key that is there and wrong was never recorded.
        raise Refusal(401, "invalid bearer token")

    async def _route(self, request: Request, path: str, account: str, only_pod: str | None) -> Response:
        for pattern, handlers in self._routes:
            if (match := pattern.fullmatch(path)) is None:
                continue
            target = match[1] if pattern.groups else ""
            if request.method not in handlers:
                allow = {"Allow": ", ".join(handlers)}
                raise Refusal(405, "The requested method is not allowed for this path.", headers=allow)
            if only_pod is not None and not (path.startswith("/v2/pods/") and target == only_pod):
                raise Refusal(403, "access denied")
            return await handlers[request.method](request, account, target)
        raise not_found()

    # Catalogue.

    async def _list_gpus(self, request: Request, account: str, _: str) -> Response:
        query = GpuQuery.of(request.query_params)
        self._change_prices(self.market.listed())
        return json_reply({"gpus": gpu_list(self.market, query)})

    async def _get_gpu(self, request: Request, account: str, gpu_id: str) -> Response:
        query = GpuQuery.of(request.query_params)
        if (gpu := self.market.find(gpu_id)) is None:
            raise not_found()
        self._change_prices([gpu])
        return json_reply(gpu_view(self.market, gpu, query))

    async def _list_centers(self, request: Request, account: str, _: str) -> Response:
        return json_reply({"dataCenters": center_list(self.market, request.query_params)})

    async def _get_center(self, request: Request, account: str, center_id: str) -> Response:
        include = center_include(request.query_params)
        if (center := self.market.data_centers.get(center_id)) is None:
            raise not_found()
        return json_reply(center_view(self.market, center, include))

    def _change_prices(self, gpus: list[Gpu]) -> None:
        """One waiting `price_changed` raises every price that it is about, from this answer on."""
        sold = [
            (gpu.id, cloud, subject(gpu.id, cloud, place))
            for gpu in gpus
            for cloud in gpu.usd
            for place in ["", *gpu.stock[cloud]]
        ]
        about = "\n".join(text for _, _, text in sold)
        if (change := self.fault("price_changed", verb="offers", subject=about)) is None:
            return
        wanted = change.subject.casefold()
        for gpu_id, cloud in dict.fromkeys((a, b) for a, b, text in sold if wanted in text.casefold()):
            self.market.raise_price(gpu_id, cloud, Decimal(str(change.args.get("factor", "1.5"))))

    # Pods.

    async def _create(self, request: Request, account: str, _: str) -> Response:
        body = emulator_rules.parse(await request.body(), emulator_rules.create_errors)
        pod = self.creator.create(body, account, self.ssh_keys.get(account, []))
        return json_reply(self._view(pod), 201)

    async def _list_pods(self, request: Request, account: str, _: str) -> Response:
        if request.query_params.get("includeClusterPods", "false") not in ("true", "false"):
            raise invalid(["query.includeClusterPods: want true or false"])
        pods = [pod for pod in self.life.live.values() if pod.account == account and not self._hidden(pod)]
        return json_reply({"pods": [self._view(pod) for pod in pods]})

    async def _get_pod(self, request: Request, account: str, pod_id: str) -> Response:
        pod = self._find(account, pod_id)
        if self._hidden(pod):
            raise not_found("pod")
        return json_reply(self._view(pod))

    async def _update(self, request: Request, account: str, pod_id: str) -> Response:
        pod = self._find(account, pod_id)
        body = emulator_rules.parse(await request.body(), emulator_rules.update_errors)
        if "templateId" in body:
            raise not_found()
        emulator_rules.check_update_rules(body, pod.mounts)
        self._apply(pod, body)
        return json_reply(self._view(pod))

    def _apply(self, pod: Pod, body: dict[str, Any]) -> None:
        now = self.world.now()
        before = {name: getattr(pod, name) for name in _RESTARTING}
        for name in ("name", "image", "args", "ports", "env", "locked"):
            if name in body:
                setattr(pod, name, body[name])
        pod.keys = public_keys(pod.env)
        pod.disk = int(body.get("disk", pod.disk))
        pod.mounts = pod.mounts | body.get("mounts", {})
        # Takes effect when the container starts the next time.
        pod.global_networking = body.get("globalNetworking", pod.global_networking)
        if any(getattr(pod, name) != old for name, old in before.items()):
            self.life.resize(pod, at=now)
            self.life.restart(pod, at=now)

    async def _delete(self, request: Request, account: str, pod_id: str) -> Response:
        return self._terminate(self._find(account, pod_id))

    async def _act(self, request: Request, account: str, pod_id: str) -> Response:
        pod, now = self._find(account, pod_id), self.world.now()
        action = emulator_rules.parse(await request.body(), emulator_rules.action_errors)["action"]
        if action not in allowed(pod, now, self.market.wire):
            raise Refusal(409, f"action {action} is not valid for the pod's current status")
        if action == "terminate":
            # Whether a lock holds off a terminate is not documented; here it does not.
            return self._terminate(pod)
        if pod.locked and action in ("stop", "restart"):
            raise Refusal(409, "pod is locked")
        match action:
            case "stop":
                self.life.stop(pod, at=now)
            case "start":
                full = self.fault("sold_out", verb="start", subject=pod.subject) is not None
                self.life.start(pod, at=now, full=full)
            case _:
                self.life.restart(pod, at=now)
        return json_reply(self._view(pod))

    def _terminate(self, pod: Pod) -> Response:
        if not self.fault("ignore_terminate", verb="terminate", subject=pod.subject):
            self.life.terminate(pod, at=self.world.now())
        return Response(status_code=204)

    async def _logs(self, request: Request, account: str, pod_id: str) -> Response:
        pod = self._find(account, pod_id)
        cursor = request.headers.get("last-event-id")
        return LogStream(pod, request.query_params, cursor, self.advance, self.market.wire.logs_open_s)

    def _find(self, account: str, pod_id: str) -> Pod:
        pod = self.life.live.get(pod_id)
        if pod is None or pod.account != account:
            raise not_found("pod")
        return pod

    def _hidden(self, pod: Pod) -> bool:
        return pod.hidden_until is not None and self.world.now() < pod.hidden_until

    def _view(self, pod: Pod) -> dict[str, Any]:
        return view(pod, self.world.now(), self.market.wire)

    # Account.

    async def _get_keys(self, request: Request, account: str, _: str) -> Response:
        return json_reply({"keys": self.ssh_keys.get(account, [])})

    async def _put_keys(self, request: Request, account: str, _: str) -> Response:
        body = emulator_rules.parse(await request.body(), emulator_rules.keys_errors)
        self.ssh_keys[account] = list(body["keys"])
        return json_reply({"keys": self.ssh_keys[account]})

    async def _billing(self, request: Request, account: str, _: str) -> Response:
        lines = [line for line in self.world.ledger.lines if (line.provider, line.account) == (PROVIDER, account)]
        return json_reply(emulator_billing.answer(lines, request.query_params, self.world.now()))
