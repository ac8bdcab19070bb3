"""A served CoreWeave emulator with a clock that tests turn, and the objects that a renter of one GPU makes."""

from __future__ import annotations

import contextlib
import copy
import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from providers.coreweave import emulator_market
from providers.coreweave.emulator import CoreWeaveEmulator
from providers.coreweave.emulator_options import Options
from providers.env import ManualEnv
from providers.sandbox.serve import serving
from providers.sandbox.world import NoMachines, World

Json = dict[str, Any]

START = datetime(2026, 11, 22, 7, 20, 40, tzinfo=UTC)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeKeyForTests0000000000000000000000 me"
L40, H100 = "gd-8xl40-i128", "gd-8xh100ib-i128"
PODS, SECRETS, SERVICES = (f"/api/v1/namespaces/orch/{plural}" for plural in ("pods", "secrets", "services"))
POOLS = "/apis/compute.coreweave.com/v1alpha1/nodepools"
MANAGED = f"{POOLS}/orch-{L40}"
MERGE = {"content-type": "application/merge-patch+json"}


def pod(name: str = "orch-1", *, types: tuple[str, ...] = (L40,), gpus: int = 1, **spec: Any) -> Json:
    """A Pod as a renter of *gpus* GPUs makes it; *spec* replaces fields of its spec."""
    require = [{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": list(types)}]
    required = {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": require}]}
    }
    container = {
        "name": "main",
        "image": "docker.io/library/ubuntu:24.04",
        "command": ["/bin/sh", "-c", "exec sshd -D"],
        "env": [{"name": "COLOUR", "value": "blue"}],
        "ports": [{"name": "ssh", "containerPort": 22}],
        "readinessProbe": {"tcpSocket": {"port": 22}, "periodSeconds": 5},
        "resources": {
            "limits": {"nvidia.com/gpu": str(gpus), "cpu": "15", "memory": "110Gi"},
            "requests": {"cpu": "8", "memory": "64Gi"},
        },
        "volumeMounts": [{"name": "ssh", "mountPath": "/run/orch/ssh", "readOnly": True}],
    }
    body: Json = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "affinity": {"nodeAffinity": required},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "containers": [container],
        "volumes": [{"name": "ssh", "secret": {"secretName": name, "defaultMode": 256}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": _metadata(name), "spec": {**body, **spec}}


def secret(name: str = "orch-1") -> Json:
    """The Secret with the renter's key."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": _metadata(name), "stringData": {"authorized_keys": KEY}}


def service(name: str = "orch-1", owner: Json | None = None) -> Json:
    """The Service that gives the Pod a public address."""
    metadata = _metadata(name)
    metadata["annotations"] = {"service.beta.kubernetes.io/coreweave-load-balancer-type": "public"}
    if owner is not None:
        metadata["ownerReferences"] = [reference(owner)]
    ports = [{"name": "ssh", "port": 22, "targetPort": 22, "protocol": "TCP"}]
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "selector": {"orch.dev/lease": name}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {**spec, "ports": ports}}


def reference(owner: Json) -> Json:
    """What makes *owner* the owner of another object."""
    return {"apiVersion": "v1", "kind": "Pod", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}


def _metadata(name: str) -> Json:
    return {"name": name, "labels": {"app.kubernetes.io/managed-by": "orch", "orch.dev/lease": name}}


@dataclass
class Bench:
    """The world, the emulator in it, and a client that has the token."""

    env: ManualEnv
    world: World
    machines: NoMachines
    emulator: CoreWeaveEmulator
    http: httpx.AsyncClient

    async def ask(self, method: str, path: str, status: int, **more: Any) -> Json:
        """One request whose answer must have *status*."""
        answer = await self.http.request(method, path, **more)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        found: Json = answer.json()
        return found

    async def rent(self, name: str = "orch-1", **more: Any) -> Json:
        """Make Secret, Pod and Service as one lease does; the Pod as it was accepted."""
        await self.http.post("/api/v1/namespaces", json=namespace("orch"))
        await self.ask("POST", SECRETS, 201, json=secret(name))
        made = await self.ask("POST", PODS, 201, json=pod(name, **more))
        owners = {"metadata": {"ownerReferences": [reference(made)]}}
        await self.ask("PATCH", f"{SECRETS}/{name}", 200, json=owners, headers=MERGE)
        await self.ask("POST", SERVICES, 201, json=service(name, made))
        return made

    async def pod(self, name: str = "orch-1") -> Json:
        """A Pod as it is now."""
        return await self.ask("GET", f"{PODS}/{name}", 200)

    async def scale(self, target: int, path: str = MANAGED) -> Json:
        """Change the target of a node pool."""
        return await self.ask("PATCH", path, 200, json={"spec": {"targetNodes": target}}, headers=MERGE)

    async def reasons(self, name: str) -> set[str]:
        """The reasons of the events of an object, in any namespace."""
        params = {"fieldSelector": f"involvedObject.name={name}"}
        found = await self.ask("GET", "/api/v1/events", 200, params=params)
        return {item["reason"] for item in found["items"]}

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.env.advance(seconds)
        self.emulator.advance()

    def billed(self) -> Decimal:
        """All that the ledger holds, USD."""
        return sum((line.usd(self.env.now().timestamp()) for line in self.world.ledger.lines), Decimal(0))


def namespace(name: str) -> Json:
    """A namespace to make."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def condition(thing: Json, kind: str) -> Json:
    """One condition of an object."""
    [found] = [item for item in thing["status"]["conditions"] if item["type"] == kind]
    return dict(found)


def with_idle_l40s() -> Json:
    """The market file with one of the six notebooks that fill its L40 node."""
    found = tomllib.loads(Path(emulator_market.__file__).with_name("market.toml").read_text("utf-8"))
    [notebook] = [row for row in found["pods"] if row["name"] == "notebook"]
    notebook["count"] = 1
    return found


@contextlib.asynccontextmanager
async def bench(
    options: Options | None = None, *, market: Json | None = None, boot_scale: float = 1.0
) -> AsyncIterator[Bench]:
    """Serve a fresh emulator; `market=None` is the market file, with idle L40s: five in one node."""
    env, machines = ManualEnv(START), NoMachines()
    markets = {"coreweave": copy.deepcopy(with_idle_l40s() if market is None else market)}
    world = World(env, market=markets, machines=machines, boot_scale=boot_scale)
    emulator = CoreWeaveEmulator(world, options)
    async with serving(world) as url:
        settings = emulator.environment(f"{url}/coreweave")
        async with httpx.AsyncClient(
            base_url=settings["ORCH_COREWEAVE_URL"],
            headers={"authorization": f"Bearer {settings['COREWEAVE_API_TOKEN']}"},
            trust_env=False,
        ) as http:
            yield Bench(env, world, machines, emulator, http)
