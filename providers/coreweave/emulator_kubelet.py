"""The emulated kubelets: images, containers, readiness, deadlines, crashes, and the end of Pods."""

from __future__ import annotations

import fnmatch
import re
import shlex
from typing import Any

from providers.coreweave.emulator_cluster import Cluster, Fate
from providers.coreweave.emulator_resources import CONFIG_MAPS, PODS, SECRETS, Resource
from providers.coreweave.emulator_scheduler import put_condition, running

Json = dict[str, Any]

_IMAGE = re.compile(r"^[a-z0-9]+([._:/-]+[a-z0-9]+)*(:\w[\w.-]{0,127})?(@sha256:[0-9a-f]{64})?$")
_BACKOFF_S = (10.0, 20.0, 40.0, 80.0, 160.0, 300.0)


class Kubelet:
    """All kubelets of the cluster. A node that is not ready has none."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def step(self) -> None:
        """Do what has come due on every node."""
        for pod in self.cluster.store.all(PODS):
            if pod["spec"].get("nodeName") and self._works(pod):
                self._look(pod, self.cluster.fate(pod))

    def _works(self, pod: Json) -> bool:
        node = self.cluster.node_of(pod)
        return node is not None and ready_node(node)

    def _look(self, pod: Json, fate: Fate) -> None:
        now = self.cluster.now
        if "deletionTimestamp" in pod["metadata"]:
            self._stop(pod, fate)
            return
        if not running(pod) or fate.step == "over":
            return
        seconds = pod["spec"].get("activeDeadlineSeconds")
        fate.deadline = None if seconds is None or fate.started_at is None else fate.started_at + seconds
        if fate.step == "":
            self._accept(pod, fate)
        elif fate.deadline is not None and fate.deadline <= now:
            text = "Pod was active on the node longer than the specified deadline"
            self._end(pod, "Failed", "DeadlineExceeded", text)
        elif fate.due is not None and fate.due <= now:
            {"pulling": self._start, "image": self._retry_image, "starting": self._ready, "crash": self._crash}[
                fate.step
            ](pod, fate)

    # The way up.

    def _accept(self, pod: Json, fate: Fate) -> None:
        if fate.fail == "admission":
            text = (
                "Pod was rejected: Allocate failed due to no healthy devices present; "
                "cannot allocate unhealthy devices nvidia.com/gpu, which is unexpected"
            )
            self._end(pod, "Failed", "UnexpectedAdmissionError", text)
            return
        node = self.cluster.node_of(pod) or {}
        changed = self._edit(pod)
        status = changed["status"]
        addresses = {item["type"]: item["address"] for item in node["status"].get("addresses") or []}
        status |= {"startTime": self.cluster.stamp(), "hostIP": addresses.get("InternalIP", "10.16.0.9")}
        put_condition(status, self.cluster, "Initialized", "True")
        self._waiting(changed, "ContainerCreating", "")
        seconds = changed["spec"].get("activeDeadlineSeconds")
        fate.started_at = self.cluster.now
        fate.deadline = None if seconds is None else self.cluster.now + seconds
        fate.step, fate.due = "pulling", self.cluster.later(self.cluster.options.pull_s)
        for image in _images(pod):
            self._say(pod, "Pulling", f'Pulling image "{image}"')

    def _start(self, pod: Json, fate: Fate) -> None:
        if fate.stuck == "ContainerCreating":
            fate.due = None
            return
        if missing := self._unmountable(pod):
            text = f'MountVolume.SetUp failed for volume "{missing[0]}" : {missing[1]} "{missing[2]}" not found'
            # It stays due, so that it goes on as soon as the object is there.
            self._say(pod, "FailedMount", text, kind="Warning")
            return
        wrong = next((image for image in _images(pod) if not _IMAGE.match(image)), None)
        if wrong is not None:
            self._waiting(self._edit(pod), "InvalidImageName", f'Failed to apply default image tag "{wrong}"')
            fate.due = None
            return
        absent = next((image for image in _images(pod) if self._absent(image)), None)
        if absent is not None or fate.fail == "image":
            self._no_image(pod, fate, absent or _images(pod)[0], "ErrImagePull")
            return
        if secret := self._missing_env(pod):
            self._waiting(self._edit(pod), "CreateContainerConfigError", f'secret "{secret}" not found')
            return
        self._run(pod, fate)

    def _run(self, pod: Json, fate: Fate) -> None:
        for image in _images(pod):
            self._say(pod, "Pulled", f'Successfully pulled image "{image}"')
        for container in pod["spec"]["containers"]:
            self._say(pod, "Created", f"Created container: {container['name']}")
            self._say(pod, "Started", f"Started container {container['name']}")
        changed = self._edit(pod)
        status = changed["status"]
        if "podIP" not in status:
            dice = self.cluster.world.random
            address = f"10.0.{dice.randint(0, 255)}.{dice.randint(1, 254)}"
            status |= {"podIP": address, "podIPs": [{"ip": address}]}
        status["phase"] = "Running"
        status["containerStatuses"] = [
            self._container(c, fate, {"running": {"startedAt": self.cluster.stamp()}}) for c in _containers(pod)
        ]
        self._readiness(changed, ready=False)
        dies = fate.fail == "crash" or exit_code(pod) is not None
        fate.step = "crash" if dies else "starting"
        fate.due = None if fate.stuck == "not-ready" and not dies else self.cluster.later(self.cluster.options.ready_s)

    def _ready(self, pod: Json, fate: Fate) -> None:
        fate.due = None
        fate.step = "ready"
        if fate.fail == "evicted":
            text = "The node was low on resource: ephemeral-storage."
            self._end(pod, "Failed", "Evicted", text)
            return
        fate.log.append("Server listening on 0.0.0.0 port 22.")
        changed = self._edit(pod)
        for item in changed["status"]["containerStatuses"]:
            item["ready"] = True
        self._readiness(changed, ready=True)

    # What goes wrong.

    def _no_image(self, pod: Json, fate: Fate, image: str, reason: str) -> None:
        text = f'Failed to pull image "{image}": rpc error: code = NotFound desc = failed to pull and unpack image'
        if reason == "ErrImagePull":
            self._say(pod, "Failed", text, kind="Warning")
        else:
            text = f'Back-off pulling image "{image}"'
            self._say(pod, "BackOff", text)
        self._waiting(self._edit(pod), reason, text)
        fate.step, fate.due = "image", self.cluster.now + _BACKOFF_S[0]

    def _retry_image(self, pod: Json, fate: Fate) -> None:
        absent = next((image for image in _images(pod) if self._absent(image)), None)
        rows = pod["status"].get("containerStatuses") or []
        backing = any((row["state"].get("waiting") or {}).get("reason") == "ImagePullBackOff" for row in rows)
        if absent is None and fate.fail != "image":
            self._run(pod, fate)
            return
        self._no_image(pod, fate, absent or _images(pod)[0], "ErrImagePull" if backing else "ImagePullBackOff")
        if not backing:
            fate.due = self.cluster.now + _BACKOFF_S[-1]

    def _crash(self, pod: Json, fate: Fate) -> None:
        """The container dies, waits, and is started again, ever more slowly."""
        code = exit_code(pod) if fate.fail != "crash" else 1
        code = 1 if code is None else code
        policy = pod["spec"].get("restartPolicy", "Always")
        done = {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}
        done |= {"startedAt": self.cluster.stamp(), "finishedAt": self.cluster.stamp()}
        if policy == "Never" or (policy == "OnFailure" and code == 0):
            self._end(pod, "Succeeded" if code == 0 else "Failed", "", "", terminated=done)
            return
        rows = pod["status"].get("containerStatuses") or []
        if any("running" in row["state"] for row in rows):
            fate.log.append(f"exited with code {code}")
            text = f"back-off {int(_BACKOFF_S[min(fate.restarts, 5)])}s restarting failed container"
            self._waiting(self._edit(pod), "CrashLoopBackOff", text, last={"terminated": done})
            self._say(pod, "BackOff", "Back-off restarting failed container", kind="Warning")
            fate.due = self.cluster.later(_BACKOFF_S[min(fate.restarts, 5)])
            return
        fate.restarts += 1
        self._run(pod, fate)

    def _end(self, pod: Json, phase: str, reason: str, message: str, terminated: Json | None = None) -> None:
        """The Pod has ended by itself, and stays to be seen."""
        changed = self._edit(pod)
        status = changed["status"]
        status["phase"] = phase
        status |= {key: text for key, text in (("reason", reason), ("message", message)) if text}
        done = terminated or {"exitCode": 137, "reason": "Error", "finishedAt": self.cluster.stamp()}
        fate = self.cluster.fate(pod)
        if status.get("containerStatuses") or terminated:
            status["containerStatuses"] = [self._container(c, fate, {"terminated": done}) for c in _containers(pod)]
        self._readiness(changed, ready=False, why="PodCompleted" if phase == "Succeeded" else "PodFailed")
        if reason:
            self._say(pod, reason, message, kind="Warning")
        self.cluster.over(changed)

    def _stop(self, pod: Json, fate: Fate) -> None:
        grace = float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
        if fate.stop_due is None:
            wait = self.cluster.options.stop_s * self.cluster.world.boot_scale
            fate.stop_due = self.cluster.now + min(grace, wait)
            self._say(pod, "Killing", f"Stopping container {pod['spec']['containers'][0]['name']}")
        if fate.stop_due <= self.cluster.now and not fate.ignoring and not pod["metadata"].get("finalizers"):
            self.cluster.remove_pod(pod)

    # Words.

    def _edit(self, pod: Json) -> Json:
        return self.cluster.store.edit(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _say(self, pod: Json, reason: str, message: str, kind: str = "Normal") -> None:
        host = pod["spec"].get("nodeName", "")
        self.cluster.event(PODS, pod, reason, message, "kubelet", kind=kind, host=host)

    def _container(self, container: Json, fate: Fate, state: Json, last: Json | None = None) -> Json:
        image, up = container["image"], "running" in state
        row: Json = {"name": container["name"], "state": state, "lastState": last or {}, "ready": False}
        row |= {"restartCount": fate.restarts, "image": image, "imageID": "", "started": up}
        return (
            {**row, "imageID": f"{image.split(':')[0]}@sha256:{0:064x}", "containerID": "containerd://0"} if up else row
        )

    def _waiting(self, changed: Json, reason: str, message: str, last: Json | None = None) -> None:
        fate = self.cluster.fate(changed)
        state: Json = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        rows = [self._container(c, fate, state, last) for c in _containers(changed)]
        changed["status"]["containerStatuses"] = rows
        self._readiness(changed, ready=False)

    def _readiness(self, changed: Json, *, ready: bool, why: str = "ContainersNotReady") -> None:
        names = [container["name"] for container in _containers(changed)]
        text = "" if ready else f"containers with unready status: [{' '.join(names)}]"
        for kind in ("Ready", "ContainersReady"):
            value = "True" if ready else "False"
            put_condition(changed["status"], self.cluster, kind, value, "" if ready else why, text)
        self.cluster.store.update(PODS, changed)

    # What a container needs.

    def _absent(self, image: str) -> bool:
        return any(fnmatch.fnmatchcase(image, pattern) for pattern in self.cluster.options.missing_images)

    def _unmountable(self, pod: Json) -> tuple[str, str, str] | None:
        namespace = pod["metadata"]["namespace"]
        sources: tuple[tuple[str, str, Resource], ...] = (
            ("secret", "secretName", SECRETS),
            ("configMap", "name", CONFIG_MAPS),
        )
        for volume in pod["spec"].get("volumes") or []:
            for key, named, resource in sources:
                source = volume.get(key)
                if source is None or source.get("optional"):
                    continue
                if self.cluster.store.find(resource, namespace, source.get(named, "")) is None:
                    return volume["name"], key.lower(), source.get(named, "")
        return None

    def _missing_env(self, pod: Json) -> str | None:
        for container in _containers(pod):
            wanted = [item.get("secretRef") for item in container.get("envFrom") or []]
            wanted += [(item.get("valueFrom") or {}).get("secretKeyRef") for item in container.get("env") or []]
            for source in wanted:
                if not source or source.get("optional"):
                    continue
                if self.cluster.store.find(SECRETS, pod["metadata"]["namespace"], source.get("name", "")) is None:
                    return str(source.get("name", ""))
        return None


def _containers(pod: Json) -> list[Json]:
    return list(pod["spec"]["containers"])


def _images(pod: Json) -> list[str]:
    return [container["image"] for container in _containers(pod)]


def exit_code(pod: Json) -> int | None:
    """With what code the first container's command is seen to end at once; None: it stays."""
    container = _containers(pod)[0]
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    if len(words) == 3 and words[0].rsplit("/", 1)[-1] in ("sh", "bash") and words[1] in ("-c", "-lc", "-ec"):
        try:
            words = shlex.split(words[2])
        except ValueError:
            return None
    if len(words) == 1 and words[0].rsplit("/", 1)[-1] in ("true", "false"):
        return int(words[0].endswith("false"))
    if len(words) == 2 and words[0] == "exit" and words[1].isdigit():
        return int(words[1])
    return None


def ready_node(node: Json) -> bool:
    """Whether a node's kubelet answers."""
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)
