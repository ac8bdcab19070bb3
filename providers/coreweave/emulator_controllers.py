"""The emulated cluster's smaller controllers: addresses of Services, machines behind Pods, owners, quotas."""

from __future__ import annotations

import base64
import binascii
import copy
from decimal import Decimal
from typing import Any

import providers.coreweave.emulator_quantity as quantity
from providers.coreweave.emulator_cluster import PROVIDER, TERMINAL, Cluster
from providers.coreweave.emulator_resources import NAMESPACES, PODS, QUOTAS, RESOURCES, SECRETS, SERVICES, Resource

Json = dict[str, Any]

_PUBLIC = "service.beta.kubernetes.io/coreweave-load-balancer-type"


class Addresses:
    """Gives Services of type LoadBalancer an address, and takes it back."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.due: dict[str, float] = {}

    def step(self) -> None:
        """Give what has come due."""
        there: set[str] = set()
        for service in self.cluster.store.all(SERVICES):
            if service["spec"].get("type") != "LoadBalancer":
                continue
            uid = service["metadata"]["uid"]
            there.add(uid)
            if (service["status"].get("loadBalancer") or {}).get("ingress"):
                continue
            due = self.due.setdefault(uid, self.cluster.later(self.cluster.options.address_s))
            if due <= self.cluster.now and self._may(service):
                self._give(service)
        for uid in list(self.cluster.addresses):
            if uid not in there:
                self.cluster.release_address(uid)
        self.due = {uid: due for uid, due in self.due.items() if uid in there}

    def timers(self) -> list[float]:
        """When the next address is given."""
        return list(self.due.values())

    def _public(self, service: Json) -> bool:
        return (service["metadata"].get("annotations") or {}).get(_PUBLIC) == "public"

    def _may(self, service: Json) -> bool:
        if self._public(service) and not self.cluster.options.public_addresses:
            return False
        pods = selected(self.cluster, service)
        return all(self.cluster.fate(pod).stuck != "no-address" for pod in pods)

    def _give(self, service: Json) -> None:
        cluster = self.cluster
        changed = cluster.store.edit(SERVICES, service["metadata"]["namespace"], service["metadata"]["name"])
        dice = cluster.world.random
        inside = f"10.128.{dice.randint(0, 255)}.{dice.randint(1, 254)}"
        address = cluster.world.address() if self._public(service) else inside
        changed["status"]["loadBalancer"] = {"ingress": [{"ip": address}]}
        cluster.store.update(SERVICES, changed)
        if self._public(service):
            fates = [fate for fate in map(cluster.fate, selected(cluster, service)) if fate.tracked]
            cluster.bill_address(changed, fates[0] if fates else None)


def selected(cluster: Cluster, service: Json) -> list[Json]:
    """The Pods that a Service leads to."""
    selector = service["spec"].get("selector") or {}
    if not selector:
        return []
    pods = cluster.store.all(PODS, service["metadata"]["namespace"])
    return [pod for pod in pods if selector.items() <= (pod["metadata"].get("labels") or {}).items()]


class Machines:
    """Lets SSH answer where a Service leads to port 22 of a ready Pod with GPUs."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.running: dict[str, tuple[str, int]] = {}

    def step(self) -> None:
        """Start and stop machines so that they are as the cluster is."""
        wanted: dict[str, tuple[str, int, Json]] = {}
        for service in self.cluster.store.all(SERVICES):
            for pod in selected(self.cluster, service):
                way = self._way_in(service, pod)
                if way is not None:
                    wanted.setdefault(pod["metadata"]["uid"], (*way, pod))
        for uid, place in list(self.running.items()):
            if uid not in wanted or wanted[uid][:2] != place:
                self.cluster.world.machines.stop(f"{PROVIDER}:{uid}")
                del self.running[uid]
        for uid, (host, port, pod) in wanted.items():
            if uid not in self.running:
                self._start(uid, host, port, pod)
                self.running[uid] = (host, port)

    def _way_in(self, service: Json, pod: Json) -> tuple[str, int] | None:
        """The public address that leads to the Pod's SSH server."""
        public = (service["metadata"].get("annotations") or {}).get(_PUBLIC) == "public"
        ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        if not (public and ingress and _ready(pod) and quantity.gpus(pod["spec"])):
            return None
        for port in service["spec"].get("ports") or []:
            if _target(port, pod) == 22:
                return str(ingress[0]["ip"]), int(port["port"])
        return None

    def _start(self, uid: str, host: str, port: int, pod: Json) -> None:
        node = self.cluster.node_of(pod)
        shape = None if node is None else self.cluster.shape_of(node)
        fate = self.cluster.fate(pod)
        device = ("", 0) if shape is None else (shape.device, shape.device_mib)
        gpu, memory_mib = (fate.gpu, fate.memory_mib) if fate.gpu else device
        self.cluster.world.machines.start(
            f"{PROVIDER}:{uid}",
            host=host,
            port=port,
            user="root",
            authorized_keys=self._keys(pod),
            gpu=gpu or "NVIDIA GPU",
            memory_mib=memory_mib,
            count=quantity.gpus(pod["spec"]),
            env=_environment(pod),
        )

    def _keys(self, pod: Json) -> list[str]:
        """The keys in the Secrets that the Pod's containers really mount."""
        mounted = {m.get("name") for c in pod["spec"]["containers"] for m in c.get("volumeMounts") or []}
        found: list[str] = []
        for volume in pod["spec"].get("volumes") or []:
            name = (volume.get("secret") or {}).get("secretName")
            if name is None or volume["name"] not in mounted:
                continue
            secret = self.cluster.store.find(SECRETS, pod["metadata"]["namespace"], name)
            coded = ((secret or {}).get("data") or {}).get("authorized_keys", "")
            try:
                text = base64.b64decode(coded).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue
            found += [line.strip() for line in text.splitlines() if line.strip()]
        return found


def _ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _target(port: Json, pod: Json) -> int | None:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    for container in pod["spec"]["containers"]:
        for item in container.get("ports") or []:
            if item.get("name") == target:
                return int(item["containerPort"])
    return None


def _environment(pod: Json) -> dict[str, str]:
    rows = pod["spec"]["containers"][0].get("env") or []
    return {row["name"]: row["value"] for row in rows if "value" in row}


class Collector:
    """Removes what belongs to something that is gone, Pods of nodes that are gone, and namespaces' content."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.due: dict[str, float] = {}

    def step(self) -> None:
        """Collect what has come due."""
        self.cluster.forget_events()
        self._empty_namespaces()
        for pod in self.cluster.store.all(PODS):
            if pod["spec"].get("nodeName") and self.cluster.node_of(pod) is None:
                self.cluster.remove_pod(pod)
        alive = {thing["metadata"]["uid"] for _, thing in self.cluster.store.everything()}
        orphans = [
            (resource, thing)
            for resource, thing in self.cluster.store.everything()
            if _owners(thing) and not any(owner.get("uid") in alive for owner in _owners(thing))
        ]
        self.due = {
            thing["metadata"]["uid"]: self.due.get(
                thing["metadata"]["uid"], self.cluster.later(self.cluster.options.collect_s)
            )
            for _, thing in orphans
        }
        for resource, thing in orphans:
            if self.due[thing["metadata"]["uid"]] <= self.cluster.now:
                self._remove(resource, thing)

    def timers(self) -> list[float]:
        """When the next object is collected."""
        return list(self.due.values())

    def _remove(self, resource: Resource, thing: Json) -> None:
        if resource is PODS and thing["spec"].get("nodeName") and thing["status"].get("phase") not in TERMINAL:
            marked = copy.deepcopy(thing)
            grace = marked["spec"].get("terminationGracePeriodSeconds", 30)
            marked["metadata"].setdefault("deletionGracePeriodSeconds", grace)
            marked["metadata"].setdefault("deletionTimestamp", self.cluster.stamp(self.cluster.now + grace))
            self.cluster.store.update(PODS, marked)
        elif resource is PODS:
            self.cluster.remove_pod(thing)
        elif thing["metadata"].get("finalizers"):
            marked = copy.deepcopy(thing)
            marked["metadata"].setdefault("deletionTimestamp", self.cluster.stamp())
            self.cluster.store.update(resource, marked)
        else:
            self.cluster.store.remove(resource, thing)

    def _empty_namespaces(self) -> None:
        for namespace in self.cluster.store.all(NAMESPACES):
            if namespace["status"]["phase"] != "Terminating":
                continue
            name = namespace["metadata"]["name"]
            rest = [(r, t) for r in RESOURCES if r.namespaced for t in self.cluster.store.all(r, name)]
            for resource, thing in rest:
                self._remove(resource, thing)
            if not any(self.cluster.store.all(r, name) for r in RESOURCES if r.namespaced):
                self.cluster.store.remove(NAMESPACES, namespace)


def _owners(thing: Json) -> list[Json]:
    return list(thing["metadata"].get("ownerReferences") or [])


class Quotas:
    """Keeps count of what a namespace's Pods ask for."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def step(self) -> None:
        """Bring every ResourceQuota's status up to date."""
        for quota in self.cluster.store.all(QUOTAS):
            hard = quota["spec"].get("hard") or {}
            pods = [
                pod
                for pod in self.cluster.store.all(PODS, quota["metadata"]["namespace"])
                if (pod.get("status") or {}).get("phase") not in TERMINAL
            ]
            sums = quantity.total(pods)
            used = {key: quantity.text(sums.get(_counted(key), Decimal(0))) for key in hard}
            changed = copy.deepcopy(quota)
            changed["status"] = {"hard": hard, "used": used}
            self.cluster.store.update(QUOTAS, changed)


def _counted(key: str) -> str:
    return {"count/pods": "pods"}.get(key, key.removeprefix("requests."))
