"""Google as these tests script it: one project with machine types, price list, quotas, firewall and operations.

It is no emulator: it holds just enough state to answer, and every answer can be replaced by a test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx

PROJECT, NUMBER = "my-project", "123456789012345"
OWNER = "0123456789abcdef0123456789abcdef"
TOKEN = "orch-aerukz4-leaseaaaa-01"
ZONE = "us-central1-a"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeKeyForTests0000000000000000000000 orch"
BASE = "https://compute.googleapis.com/compute/v1/"
IMAGE = "projects/ubuntu-os-accelerator-images/global/images/ubuntu-accelerator-2204-580-v20261101"

Answer = httpx.Response | Callable[[httpx.Request], httpx.Response]


def machine_type(name: str, cpus: int, gib: float, gpu: str = "", count: int = 0, **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "guestCpus": cpus, "memoryMb": int(gib * 1024), "architecture": "X86_64"}
    if gpu:
        row["accelerators"] = [{"guestAcceleratorType": gpu, "guestAcceleratorCount": count}]
    return {**row, **more}


TYPES = {
    "us-central1-a": [
        machine_type("g2-standard-4", 4, 16, "nvidia-l4", 1),
        machine_type("g2-standard-24", 24, 96, "nvidia-l4", 2),
        machine_type("g4-standard-6", 6, 22, "nvidia-rtx-pro-6000", 1),
        machine_type("g4-standard-48", 48, 180, "nvidia-rtx-pro-6000", 1),
        machine_type("a2-ultragpu-1g", 12, 170, "nvidia-a100-80gb", 1, bundledLocalSsds={"partitionCount": 1}),
        machine_type("a3-highgpu-1g", 26, 234, "nvidia-h100-80gb", 1),
        machine_type("a3-highgpu-8g", 208, 1872, "nvidia-h100-80gb", 8),
        machine_type("a4-highgpu-8g", 224, 3968, "nvidia-b200", 8),
        machine_type("n1-standard-4", 4, 15),
        machine_type("n1-standard-8", 8, 30),
        machine_type("n1-standard-16", 16, 60),
    ],
    "europe-west4-b": [machine_type("g2-standard-4", 4, 16, "nvidia-l4", 1)],
    "southamerica-east1-a": [machine_type("g2-standard-4", 4, 16, "nvidia-l4", 1)],
}


def sku(what: str, usd: str, unit: str = "h", *regions: str, usage: str = "OnDemand", **more: Any) -> dict[str, Any]:
    whole, _, part = usd.partition(".")
    price = {"currencyCode": "USD", "units": whole, "nanos": int((part + "0" * 9)[:9])}
    tiers = more.get("tiers") or [{"startUsageAmount": 0, "unitPrice": price}]
    return {
        "skuId": what,
        "description": what,
        "category": {"resourceFamily": "Compute", "usageType": usage},
        "serviceRegions": list(regions or ("us-central1", "europe-west4")),
        "pricingInfo": [{"pricingExpression": {"usageUnit": unit, "tieredRates": tiers}}],
    }


SKUS = [
    [
        sku("G2 Instance Core running in Americas", "0.024988"),
        sku("G2 Instance Ram running in Americas", "0.002927", "GiBy.h"),
        sku("Nvidia L4 GPU running in Americas", "0.560004"),
        sku("Commitment v1: G2 Cpu in Americas for 1 Year", "0.001", usage="Commit1Yr"),
        sku("G2 Instance Core running in Reserved", "0.001"),
        sku("G2 Custom Instance Core running in Americas", "9"),
    ],
    [
        sku("Spot Preemptible G2 Instance Core running in Americas", "0.01", usage="Preemptible"),
        sku("Spot Preemptible G2 Instance Ram running in Americas", "0.001", "GiBy.h", usage="Preemptible"),
        sku("Nvidia L4 GPU attached to Spot Preemptible VMs running in Americas", "0.2", usage="Preemptible"),
        sku("N1 Predefined Instance Core running in Americas", "0.031611"),
        sku("N1 Predefined Instance Ram running in Americas", "0.004237", "GiBy.h"),
        sku("Nvidia Tesla T4 GPU running in Americas", "0.35"),
        sku("A2 Instance Core running in Americas", "0.031611"),
        sku("A2 Instance Ram running in Americas", "0.004237", "GiBy.h"),
        sku("Nvidia Tesla A100 GPU running in Americas", "2.933908"),
        sku("Nvidia Tesla A100 80GB GPU running in Americas", "3.92808"),
        sku("SSD backed Local Storage in Americas", "0.08", "GiBy.mo"),
        sku("A3 Instance Core running in Americas", "0.029"),
        sku("A3 Instance Ram running in Americas", "0.0025", "GiBy.h"),
        sku("Nvidia H100 80GB GPU running in Americas", "9.8"),
        sku("G4 Instance Core running in Americas", "0.03"),
        sku("G4 Instance Ram running in Americas", "0.003", "GiBy.h"),
        sku("RTX 6000 96GB running in Americas", "2.5"),
        sku("Spot Preemptible A4 Nvidia B200 (1 gpu slice) running in Americas", "4.5", usage="Preemptible"),
        sku("Balanced PD Capacity", "0.1", "GiBy.mo"),
        sku("External IP Charge on a Standard VM", "0.005", "h", "global"),
        sku("External IP Charge on a Spot Preemptible VM", "0.0025", "h", "global", usage="Preemptible"),
    ],
]
DEFAULT_RULE = {
    "name": "default-allow-ssh",
    "network": f"{BASE}projects/{PROJECT}/global/networks/default",
    "direction": "INGRESS",
    "sourceRanges": ["0.0.0.0/0"],
    "allowed": [{"IPProtocol": "tcp", "ports": ["22"]}],
}


def refusal(status: int, reason: str, message: str, *details: dict[str, Any]) -> httpx.Response:
    """A synchronous refusal as the fact sheet has it."""
    error: dict[str, Any] = {
        "code": status,
        "message": message,
        "errors": [{"message": message, "domain": "global", "reason": reason}],
    }
    if details:
        error["details"] = list(details)
    return httpx.Response(status, json={"error": error})


def failed(code: str, message: str, *details: dict[str, Any], status: int = 503) -> dict[str, Any]:
    """The end of an operation that failed."""
    error: dict[str, Any] = {"code": code, "message": message}
    if details:
        error["errorDetails"] = list(details)
    return {"status": "DONE", "error": {"errors": [error]}, "httpErrorStatusCode": status}


class Google:
    """The project. `calls` are all requests; `answers` replace what `(method, path)` would answer, once each."""

    def __init__(self) -> None:
        self.calls: list[httpx.Request] = []
        self.answers: dict[tuple[str, str], list[Answer]] = {}
        self.instances: dict[tuple[str, str], dict[str, Any]] = {}
        self.firewalls: dict[str, dict[str, Any]] = {"default-allow-ssh": DEFAULT_RULE}
        self.operations: dict[str, dict[str, Any]] = {}
        self.types = json.loads(json.dumps(TYPES))
        self.skus = json.loads(json.dumps(SKUS))
        self.cards = {"us-central1-a": {"nvidia-tesla-t4": 4}}
        self.quotas: dict[str, list[dict[str, Any]]] = {"us-central1": [], "europe-west4": []}
        self.project_quotas: list[dict[str, Any]] = []
        #: What becomes of the next insert's operation, and how many looks it takes.
        self.outcome: dict[str, Any] = {"status": "DONE"}
        self.looks = 2

    def answer(self, method: str, path: str, *answers: Answer) -> None:
        """Answer the next calls of *path* (below the project) that way."""
        self.answers.setdefault((method, path), []).extend(answers)

    def sent(self, method: str, ending: str = "") -> list[httpx.Request]:
        """The calls of *method* whose path ends so."""
        return [call for call in self.calls if call.method == method and call.url.path.endswith(ending)]

    def body(self, method: str, ending: str) -> Any:
        """The body of the last such call."""
        return json.loads(self.sent(method, ending)[-1].content)

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.calls.append(request)
        path = request.url.path.removeprefix("/compute/v1/").removeprefix(f"projects/{PROJECT}").strip("/")
        waiting = self.answers.get((request.method, path))
        if waiting:
            answer = waiting.pop(0)
            return answer if isinstance(answer, httpx.Response) else answer(request)
        for method, pattern, act in self._routes():
            match = re.fullmatch(pattern, path)
            if match and method == request.method:
                made = act(request, *match.groups())
                return made if isinstance(made, httpx.Response) else httpx.Response(200, json=made)
        return self._absent(path)

    def _routes(self) -> list[tuple[str, str, Callable[..., Any]]]:
        return [
            ("GET", "", lambda _: {"id": NUMBER, "name": PROJECT, "quotas": self.project_quotas}),
            ("GET", "regions", lambda _: {"items": [{"name": n, "quotas": q} for n, q in self.quotas.items()]}),
            ("GET", "aggregated/machineTypes", lambda _: self._scoped("machineTypes", self.types)),
            ("GET", "aggregated/acceleratorTypes", lambda _: self._scoped("acceleratorTypes", self._cards())),
            ("GET", "aggregated/instances", lambda _: self._scoped("instances", self._by_zone())),
            ("GET", r"zones/([^/]+)/machineTypes", lambda _, zone: {"items": self.types.get(zone, [])}),
            ("GET", "v1/services/6F81-5844-456A/skus", self._skus),
            ("GET", r"projects/ubuntu.*/family/.*-580", lambda _: {"selfLink": BASE + IMAGE, "diskSizeGb": "20"}),
            ("GET", "global/firewalls", lambda _: {"items": list(self.firewalls.values())}),
            ("GET", "global/firewalls/(.+)", lambda _, name: self.firewalls.get(name) or self._absent(name)),
            ("POST", "global/firewalls", self._make_rule),
            ("DELETE", "global/firewalls/(.+)", self._drop_rule),
            ("POST", r"zones/([^/]+)/instances", self._insert),
            ("GET", r"zones/([^/]+)/instances/([^/]+)", self._get),
            ("DELETE", r"zones/([^/]+)/instances/([^/]+)", self._delete),
            ("GET", r"zones/[^/]+/operations", lambda _: {"items": list(self.operations.values())}),
            ("GET", r"(?:zones/[^/]+|global)/operations/(.+)", self._look),
        ]

    def _absent(self, path: str) -> httpx.Response:
        return refusal(404, "notFound", f"The resource 'projects/{PROJECT}/{path}' was not found")

    def _scoped(self, key: str, zones: dict[str, list[Any]]) -> dict[str, Any]:
        empty = {"warning": {"code": "NO_RESULTS_ON_PAGE", "message": "none"}}
        items = {f"zones/{zone}": {key: rows} if rows else empty for zone, rows in zones.items()}
        return {"kind": f"compute#{key}AggregatedList", "items": {"zones/asia-east1-a": empty, **items}}

    def _cards(self) -> dict[str, list[Any]]:
        return {
            zone: [{"name": name, "maximumCardsPerInstance": most} for name, most in cards.items()]
            for zone, cards in self.cards.items()
        }

    def _by_zone(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for (zone, _), row in self.instances.items():
            found.setdefault(zone, []).append(row)
        return found

    def _skus(self, request: httpx.Request) -> dict[str, Any]:
        at = int(request.url.params.get("pageToken") or 0)
        following = str(at + 1) if at + 1 < len(self.skus) else ""
        return {"skus": self.skus[at], "nextPageToken": following}

    def _operation(self, kind: str, zone: str, name: str, **more: Any) -> dict[str, Any]:
        number = len(self.operations) + 1
        operation = {
            "kind": "compute#operation",
            "name": f"operation-{number}",
            "operationType": kind,
            "status": "RUNNING",
            "targetId": str(7000 + number),
            "targetLink": f"{BASE}projects/{PROJECT}/zones/{zone}/instances/{name}",
            "insertTime": "2026-11-22T04:00:00.000-08:00",
            **more,
        }
        self.operations[operation["name"]] = operation
        return operation

    def _insert(self, request: httpx.Request, zone: str) -> Any:
        body = json.loads(request.content)
        if (zone, body["name"]) in self.instances:
            return refusal(409, "alreadyExists", f"The resource '{body['name']}' already exists")
        operation = self._operation(
            "insert", zone, body["name"], clientOperationId=request.url.params["requestId"], looks=self.looks
        )
        if "error" not in self.outcome:
            row = {
                **body,
                "id": operation["targetId"],
                "status": "PROVISIONING",
                "creationTimestamp": operation["insertTime"],
            }
            self.instances[zone, body["name"]] = row
        return operation

    def _look(self, _: httpx.Request, name: str) -> Any:
        operation = self.operations.get(name)
        if operation is None:
            return self._absent(f"operations/{name}")
        operation["looks"] = operation.get("looks", 0) - 1
        if operation["looks"] <= 0:
            operation.update(self.outcome if operation["operationType"] == "insert" else {"status": "DONE"})
        return operation

    def _get(self, _: httpx.Request, zone: str, name: str) -> Any:
        return self.instances.get((zone, name)) or self._absent(f"zones/{zone}/instances/{name}")

    def _delete(self, _: httpx.Request, zone: str, name: str) -> Any:
        if self.instances.pop((zone, name), None) is None:
            return self._absent(f"zones/{zone}/instances/{name}")
        return self._operation("delete", zone, name)

    def _make_rule(self, request: httpx.Request) -> Any:
        body = json.loads(request.content)
        self.firewalls[body["name"]] = body
        return self._operation("insert-rule", "global", body["name"])

    def _drop_rule(self, _: httpx.Request, name: str) -> Any:
        if self.firewalls.pop(name, None) is None:
            return self._absent(f"global/firewalls/{name}")
        return self._operation("delete", "global", name)

    def run(self, zone: str = ZONE, name: str = TOKEN, **changes: Any) -> dict[str, Any]:
        """Bring a machine to RUNNING with an address, or to whatever *changes* say."""
        row = self.instances[zone, name]
        row["status"] = "RUNNING"
        row["networkInterfaces"] = [{"accessConfigs": [{"natIP": "203.0.113.7"}], "networkIP": "10.0.0.2"}]
        row.update(changes)
        return row
