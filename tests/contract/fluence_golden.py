# ruff: noqa: E501 - the samples stand as the documentation prints them
"""Documented samples of Fluence's GPU wire, as constants, each a fresh copy of the documentation's JSON.

The same samples hold the adapter and the emulator together: the adapter must read them, the emulator must answer
in their shape. Field lists come from Fluence's documentation as of 2026-02; prices are samples, not quotes.
"""

from __future__ import annotations

import json
from typing import Any


def _json(text: str) -> Any:
    return json.loads(text)


#: `GET /gpu/plans/`: a bare array; interface in upper case; one plan that can be placed in two countries.
CONTAINER_PLANS: list[dict[str, Any]] = _json("""
[{"plan":{"id":"1d0f3c7e-0000-4000-8000-000000000001","name":"rtx4090-24gi-pcie-1gpu-8cpu-32gb-100gb",
  "supply":{"vcpu":{"count":8},"memory":{"count":32,"units":"Gi"},"storage":{"count":100,"units":"Gi"},"gpu_count":1},
  "gpu_model":{"vendor":"nvidia","model":"rtx4090","vram":"24Gi","interface":"PCIE"},
  "pricing":{"hour":0.48,"upfront_hours":3,"currency":"USDC"}},
  "attributes":{"location":["US","DE"]}}]
""")

#: `GET /gpu/plans/vms` (and `/baremetal`): wrapped in `data`; interface in lower case; the price is the option's.
VM_PLANS: dict[str, Any] = _json("""
{"data":[{"gpu_model":{"vendor":"nvidia","model":"l40","vram":"48Gi","interface":"pcie"},"minimum_price":0.76,
 "availability_by_number":[{"gpu_count":1,"minimum_price":0.76,"options_available_total":1,"providers_available_total":1,
  "data_center_available_total":1,"locations":["us-central-3"],"providers":["massed-compute"],
  "options":[{"id":"5a1e0000-0000-4000-8000-000000000002","location":"us-central-3","provider":"massed-compute",
   "vcpu":{"count":14},"memory":{"count":119,"units":"Gi"},"storage":{"count":582,"units":"Gi"},"deployment_type":"VM",
   "pricing":{"hour":0.76,"upfront_hours":3,"currency":"USDC"},"nvlink":false,"os_options":["Ubuntu Server 22.04"]}]}]}]}
""")

#: `GET /gpu/default-images/`: the documented shape with the documented slug and image.
DEFAULT_IMAGES: list[dict[str, Any]] = _json("""
[{"slug":"debian-ssh-11","name":"Debian SSH 11","description":null,
  "image":"docker.io/fluencelabs/debian-ssh-root:11","expose":[{"port":"22","protocol":"tcp"}],
  "environment":[],"startup_command":null,"requires_ssh":true}]
""")

#: Body of `POST /gpu/instances/`.
CREATE_CONTAINER_BODY: dict[str, Any] = _json("""
{"plan_id":"1d0f3c7e-0000-4000-8000-000000000001","name":"orch-7k3m9q2x",
 "container_settings":{"image":"docker.io/fluencelabs/debian-ssh-root:11","expose":[{"port":"22","protocol":"tcp"}],
  "environment":[{"name":"MODEL_PATH","value":"/models"}]},
 "constraints":{"location":"US"},"ssh_key":"ssh-ed25519 AAAA… u@h"}
""")

#: Body of `POST /gpu/instances/vms` (and `/baremetal`): all four fields are required.
CREATE_VM_BODY: dict[str, Any] = _json("""
{"plan_id":"5a1e0000-0000-4000-8000-000000000002","name":"orch-7k3m9q2x",
 "ssh_key":"ssh-ed25519 AAAA… u@h","os_image":"Ubuntu Server 22.04"}
""")

#: Answer of every create.
CREATED: dict[str, Any] = _json('{"instance_id":"b0b00000-0000-4000-8000-000000000003"}')

#: `GET /gpu/instances/vms`: `status`, ended instances included.
VM_LIST: list[dict[str, Any]] = _json("""
[{"id":"b0b00000-0000-4000-8000-000000000004","name":"orch-7k3m9q2x","status":"ACTIVE",
 "resources":{"supply":{"vcpu":{"count":14},"memory":{"count":119,"units":"Gi"},"storage":{"count":582,"units":"Gi"},"gpu_count":1},
  "gpu_model":{"vendor":"nvidia","model":"l40","vram":"48Gi","interface":"pcie"}},
 "domain":"203.0.113.9","location":"us-central-3","created_at":"2026-03-04T09:12:05.100200Z","updated_at":"2026-03-04T09:14:31.300400Z"}]
""")

#: `GET /gpu/instances/`: the same with `instance_status` (the documentation gives no whole sample).
CONTAINER_LIST: list[dict[str, Any]] = _json("""
[{"id":"b0b00000-0000-4000-8000-000000000003","name":"orch-7k3m9q2x","instance_status":"ACTIVE",
 "resources":{"supply":{"vcpu":{"count":8},"memory":{"count":32,"units":"Gi"},"storage":{"count":100,"units":"Gi"},"gpu_count":1},
  "gpu_model":{"vendor":"nvidia","model":"rtx4090","vram":"24Gi","interface":"pcie"}},
 "domain":"provider.example.akash.pub","location":"US","created_at":"2026-03-04T09:12:05.100200Z","updated_at":"2026-03-04T09:13:40.500600Z"}]
""")

#: `GET /gpu/instances/{id}`.
CONTAINER_DETAIL: dict[str, Any] = _json("""
{"id":"b0b00000-0000-4000-8000-000000000003","name":"orch-7k3m9q2x","instance_status":"ACTIVE","container_status":"STARTED",
 "resources":{"supply":{"vcpu":{"count":8},"memory":{"count":32,"units":"Gi"},"storage":{"count":100,"units":"Gi"},"gpu_count":1},
  "gpu_model":{"vendor":"nvidia","model":"rtx4090","vram":"24Gi","interface":"pcie"}},"location":"US",
 "container_info":{"image":"docker.io/fluencelabs/debian-ssh-root:11","expose":[{"port":"22","protocol":"tcp"}],
  "environment":[{"name":"SSH_PUBKEY","value":"ssh-ed25519 AAAA…"}],"startup_command":null},
 "billing":{"hourly_usage":0.48,"total_spendings":0.48,"reserved_amount":0.96,"next_billing_period":"2026-03-04T10:00:00Z"},
 "network":{"domain":"provider.example.akash.pub","forwarded_ports":[{"port":"22","external_port":"32345","protocol":"tcp"}],"uri":null},
 "created_at":"2026-03-04T09:12:05.100200Z","updated_at":"2026-03-04T09:13:40.500600Z"}
""")

#: `GET /gpu/instances/{id}` after its end, by the documented list of what changes then.
CONTAINER_ENDED_DETAIL: dict[str, Any] = {
    **_json(json.dumps(CONTAINER_DETAIL)),
    "instance_status": "ENDED",
    "container_status": "NOT_STARTED",
    "billing": {
        "hourly_usage": 0,
        "total_spendings": 0.48,
        "reserved_amount": 0,
        "next_billing_period": None,
    },
    "network": None,
}

#: `GET /gpu/instances/vms/{id}`.
VM_DETAIL: dict[str, Any] = _json("""
{"id":"b0b00000-0000-4000-8000-000000000004","name":"orch-7k3m9q2x","status":"ACTIVE","availability":"vm",
 "resources":{"supply":{"vcpu":{"count":14},"memory":{"count":119,"units":"Gi"},"storage":{"count":582,"units":"Gi"},"gpu_count":1},
  "gpu_model":{"vendor":"nvidia","model":"l40","vram":"48Gi","interface":"pcie"}},"location":"us-central-3",
 "os_image":"Ubuntu Server 22.04","ssh_connection":"ssh ubuntu@203.0.113.9",
 "billing":{"hourly_usage":0.76,"total_spendings":0.76,"reserved_amount":1.52,"next_billing_period":"2026-03-04T10:00:00Z"},
 "network":{"domain":"203.0.113.9","forwarded_ports":[],"uri":null},"ssh_key":"ssh-ed25519 AAAA… u@h",
 "created_at":"2026-03-04T09:12:05.100200Z","updated_at":"2026-03-04T09:14:31.300400Z"}
""")

#: `GET /gpu/instances/{id}/logs?last=N`.
LOGS: list[str] = ["[service-1-aaaa-bbbb] sshd ready"]

#: `GET /gpu/instances/{id}/events?last=N`.
EVENTS: list[str] = ["[service-1-aaaa-bbbb]: [Normal] [Pulled] image present"]

#: `GET /v1/service/status` and `GET /v2/users/balances` of the account API on the same host.
SERVICE_STATUS: dict[str, Any] = _json('{"maintenanceMode": false, "version": "0.10.0"}')
BALANCES: list[dict[str, Any]] = _json("""
[{"balance":"100.50","usage":"0.00","estimatedUsage":"0.00","overage":"0.00","totalDepositedAmount":"100.50",
  "userId":"8f6d0000-0000-4000-8000-000000000005","featureKey":"balance","usageDaysLeft":null}]
""")

#: Error bodies by case: HTTP status and body. The text for a plan that is gone is not documented.
ERRORS: dict[str, tuple[int, Any]] = {
    "bad-key": (403, {"error": "Auth failed. No such API Key"}),
    "bad-key-401": (401, {"code": "unauthorized", "error": "Unauthorized"}),
    "forbidden": (403, {"code": "forbidden", "error": "Forbidden"}),
    "validation": (
        422,
        {
            "detail": [
                {
                    "type": "value_error",
                    "loc": ["body", "container_settings", "expose", 0, "port"],
                    "msg": "Value error, port must be between 1 and 65535",
                    "input": "0",
                    "ctx": {"error": {}},
                }
            ]
        },
    ),
    "no-funds": (400, {"detail": "Insufficient balance to deploy instance"}),
    "wrong-image": (
        400,
        {"detail": "Provided OS image X is not supported for the selected offer. Available OS images: A, B"},
    ),
    "not-found": (404, {"detail": "Not found"}),
}
