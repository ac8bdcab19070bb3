"""Documented samples of Lambda Cloud's wire (API 1.10.0), as constants, each a fresh copy of its JSON.

The same samples hold the adapter and the emulator together: the adapter must read them, the emulator must answer in
their shape. They fit the published schemas unless a comment says otherwise; prices, ids and tokens are samples.

`ORCH_LAMBDA_URL` replaces `BASE_URL`; every path below it keeps its `/api/v1`. Success is always 200 and
`{"data": ...}`; a refusal is `{"error": {"code", "message", "suggestion"?}}`. There are no pages and no filters.
"""

from __future__ import annotations

import json
from typing import Any

BASE_URL = "https://cloud.lambda.ai"

INSTANCE_TYPES_PATH = "/api/v1/instance-types"
LAUNCH_PATH = "/api/v1/instance-operations/launch"
TERMINATE_PATH = "/api/v1/instance-operations/terminate"
INSTANCES_PATH = "/api/v1/instances"
SSH_KEYS_PATH = "/api/v1/ssh-keys"
IMAGES_PATH = "/api/v1/images"

#: Our mark on a machine: the full owner id and the attempt's token, in tags; the token is its name and hostname, too.
OWNER_TAG = "orch:owner"
TOKEN_TAG = "orch:token"
OWNER = "0123456789abcdef0123456789abcdef"
TOKEN = "orch-aerukz4-abcdefghi-01"


def _json(text: str) -> Any:
    return json.loads(text)


def _type(
    name: str, gpu: str, count: int, cents: int, vcpus: int, memory: int, storage: int, *regions: tuple[str, str]
) -> dict[str, Any]:
    return {
        "instance_type": {
            "name": name,
            "description": f"{count}x {gpu}",
            "gpu_description": gpu,
            "price_cents_per_hour": cents,
            "specs": {"vcpus": vcpus, "memory_gib": memory, "storage_gib": storage, "gpus": count},
        },
        "regions_with_capacity_available": [{"name": name, "description": text} for name, text in regions],
    }


CALIFORNIA = ("us-west-1", "California, USA")
TEXAS = ("us-south-1", "Texas, USA")
GERMANY = ("europe-central-1", "Germany")

#: `GET /instance-types`: a map by name, not a list. The price is the whole machine's, in cents, the same in all
#: regions. What is sold out stays in the map with no region. A CPU type is in it. The list is advisory: a region
#: that is listed may refuse.
INSTANCE_TYPES: dict[str, Any] = {
    "data": {
        "gpu_1x_a10": _type("gpu_1x_a10", "A10 (24 GB PCIe)", 1, 129, 30, 200, 1400, CALIFORNIA, GERMANY),
        "gpu_1x_rtx6000": _type("gpu_1x_rtx6000", "Quadro RTX 6000 (24 GB)", 1, 69, 14, 46, 512),
        "gpu_2x_a6000": _type("gpu_2x_a6000", "RTX A6000 (48 GB)", 2, 218, 28, 200, 1024),
        "gpu_1x_a100_sxm4": _type("gpu_1x_a100_sxm4", "A100 (40 GB SXM4)", 1, 199, 30, 200, 512, TEXAS),
        "gpu_8x_a100_80gb_sxm4": _type("gpu_8x_a100_80gb_sxm4", "A100 (80 GB SXM4)", 8, 2232, 240, 1800, 19456),
        "gpu_1x_h100_pcie": _type("gpu_1x_h100_pcie", "H100 (80 GB PCIe)", 1, 329, 26, 200, 1024, CALIFORNIA),
        "gpu_8x_h100_sxm5": _type("gpu_8x_h100_sxm5", "H100 (80 GB SXM5)", 8, 3192, 208, 1800, 22528, TEXAS),
        "gpu_1x_gh200": _type("gpu_1x_gh200", "GH200 (96 GB)", 1, 229, 64, 432, 4096, GERMANY),
        "gpu_1x_b200_sxm6": _type("gpu_1x_b200_sxm6", "B200 (180 GB SXM6)", 1, 699, 26, 360, 2816),
        "gpu_8x_v100": _type("gpu_8x_v100", "Tesla V100 (16 GB)", 8, 632, 92, 448, 5888),
        "cpu_4x_general": _type("cpu_4x_general", "N/A", 0, 20, 4, 16, 512, CALIFORNIA),
    }
}

#: `GET /ssh-keys`. Keys belong to the account; a launch names exactly one.
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeKeyForTests0000000000000000000000"
SSH_KEY_NAME = "orch-aerukz4-64526e05608cac52"
SSH_KEYS: dict[str, Any] = {
    "data": [
        {
            "id": "ddf9a910ceb744a0bb95242cbba6cb50",
            "name": "my-laptop",
            "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAISomebodyElsesKey000000000000000000000 me@laptop",
        }
    ]
}
#: `POST /ssh-keys` and its answer (no `private_key`: that comes only when Lambda is asked to make a pair).
ADD_SSH_KEY_BODY: dict[str, Any] = {"name": SSH_KEY_NAME, "public_key": PUBLIC_KEY}
SSH_KEY_ADDED: dict[str, Any] = {
    "data": {"id": "0a1b2c3d4e5f40718293a4b5c6d7e8f9", "name": SSH_KEY_NAME, "public_key": PUBLIC_KEY}
}

#: `POST /instance-operations/launch`. `quantity` is no field of it any more. `image` and `user_data` are sent only
#: where they are needed (an ARM host; a command or environment).
LAUNCH_BODY: dict[str, Any] = {
    "region_name": "us-west-1",
    "instance_type_name": "gpu_1x_a10",
    "ssh_key_names": [SSH_KEY_NAME],
    "name": TOKEN,
    "hostname": TOKEN,
    "tags": [{"key": OWNER_TAG, "value": OWNER}, {"key": TOKEN_TAG, "value": TOKEN}],
}
INSTANCE_ID = "0920582c7ff041399e34823a0be62549"
LAUNCHED: dict[str, Any] = {"data": {"instance_ids": [INSTANCE_ID]}}

_ACTIONS = ("migrate", "rebuild", "restart", "cold_reboot", "terminate")
#: While booting nothing may be done to the machine, says the open set of reasons; whether a terminate is refused
#: then is not known.
_BLOCKED = {
    "available": False,
    "reason_code": "vm-has-not-launched",
    "reason_description": "The instance has not launched yet.",
}

#: `GET /instances/{id}` right after launch: no `ip`, no `private_ip`, no Jupyter fields.
BOOTING: dict[str, Any] = {
    "id": INSTANCE_ID,
    "name": TOKEN,
    "status": "booting",
    "ssh_key_names": [SSH_KEY_NAME],
    "file_system_names": [],
    "region": {"name": "us-west-1", "description": "California, USA"},
    "instance_type": INSTANCE_TYPES["data"]["gpu_1x_a10"]["instance_type"],
    "hostname": TOKEN,
    "is_reserved": False,
    "actions": {action: dict(_BLOCKED) for action in _ACTIONS},
    "tags": [{"key": OWNER_TAG, "value": OWNER}, {"key": TOKEN_TAG, "value": TOKEN}],
}

#: Running, and its address came with it (`ip` may come a little later). User `ubuntu`, port 22. The Jupyter fields
#: are secrets; this token is made up.
ACTIVE: dict[str, Any] = {
    **BOOTING,
    "status": "active",
    "ip": "198.51.100.2",
    "private_ip": "10.0.2.100",
    "jupyter_token": "00000000000000000000000000000000",
    "jupyter_url": "https://jupyter-0000.lambdaspaces.com/?token=00000000000000000000000000000000",
    "actions": {action: {"available": True} for action in _ACTIONS},
}
#: `active` without an address yet.
ACTIVE_WITHOUT_IP: dict[str, Any] = {key: value for key, value in ACTIVE.items() if key not in ("ip", "private_ip")}
#: Failed health checks; it may recover, so it is not an end (and no running machine either).
UNHEALTHY: dict[str, Any] = {**ACTIVE, "status": "unhealthy"}
TERMINATING: dict[str, Any] = {**ACTIVE, "status": "terminating"}
#: Gone; it usually disappears from lists instead.
TERMINATED: dict[str, Any] = {**ACTIVE, "status": "terminated"}
#: Gone without the user asking: how a lost host shows, unless it just disappears.
PREEMPTED: dict[str, Any] = {**ACTIVE, "status": "preempted"}

INSTANCE: dict[str, Any] = {"data": ACTIVE}
INSTANCES: dict[str, Any] = {"data": [ACTIVE]}

#: `POST /instance-operations/terminate` and its answer. A second one may be answered so again, or with 404
#: `global/object-does-not-exist`: not known.
TERMINATE_BODY: dict[str, Any] = {"instance_ids": [INSTANCE_ID]}
TERMINATE_ANSWER: dict[str, Any] = {"data": {"terminated_instances": [TERMINATING]}}

#: `GET /images`: one row per image and region.
IMAGES: dict[str, Any] = _json("""
{"data":[
 {"id":"43336648-096d-4cba-9aa2-f9bb7727639d","created_time":"2026-05-11T09:00:00Z","updated_time":"2026-05-12T09:00:00Z",
  "name":"lambda-stack-24-04","description":"Lambda Stack 24.04","family":"lambda-stack-24-04","version":"24.4.5",
  "architecture":"x86_64","region":{"name":"europe-central-1","description":"Germany"}},
 {"id":"5c0cb0b4-0000-4000-8000-000000000001","created_time":"2025-11-01T09:00:00Z","updated_time":"2025-11-02T09:00:00Z",
  "name":"lambda-stack-22-04","description":"Lambda Stack 22.04","family":"lambda-stack-22-04","version":"22.4.9",
  "architecture":"arm64","region":{"name":"europe-central-1","description":"Germany"}},
 {"id":"5c0cb0b4-0000-4000-8000-000000000002","created_time":"2026-05-11T09:00:00Z","updated_time":"2026-05-12T09:00:00Z",
  "name":"lambda-stack-24-04","description":"Lambda Stack 24.04","family":"lambda-stack-24-04","version":"24.4.5",
  "architecture":"arm64","region":{"name":"europe-central-1","description":"Germany"}},
 {"id":"5c0cb0b4-0000-4000-8000-000000000003","created_time":"2026-06-11T09:00:00Z","updated_time":"2026-06-12T09:00:00Z",
  "name":"ubuntu-24-04","description":"Ubuntu LTS","family":"ubuntu-lts","version":"24.04.01",
  "architecture":"arm64","region":{"name":"europe-central-1","description":"Germany"}},
 {"id":"5c0cb0b4-0000-4000-8000-000000000004","created_time":"2026-06-11T09:00:00Z","updated_time":"2026-06-12T09:00:00Z",
  "name":"lambda-stack-24-04","description":"Lambda Stack 24.04","family":"lambda-stack-24-04","version":"24.4.6",
  "architecture":"arm64","region":{"name":"us-south-1","description":"Texas, USA"}}
]}
""")


def refusal(code: str, message: str, suggestion: str | None = None) -> dict[str, Any]:
    """A refusal's body."""
    error = {"code": code, "message": message}
    return {"error": error if suggestion is None else {**error, "suggestion": suggestion}}


_CHECK_KEY = "Check your API key or create a new one, then try again."
_ACTIVATE = (
    "Make sure you have verified your email address and have a valid payment method. "
    "Contact Support if problems continue."
)
_ADDRESS = "Make sure your billing address is valid. Contact Support if problems continue."
_AGAIN = "Try again later. Contact Support if the problem persists."
_ENOUGH = "Not enough capacity to fulfill launch request."

#: Refusals by case: HTTP status, body. Where the schemas give no default text, the wording is ours.
ERRORS: dict[str, tuple[int, dict[str, Any]]] = {
    "invalid-api-key": (
        401,
        refusal("global/invalid-api-key", "API key was invalid, expired, or deleted.", _CHECK_KEY),
    ),
    "account-inactive": (403, refusal("global/account-inactive", "Your account is inactive.", _ACTIVATE)),
    "invalid-address": (403, refusal("global/invalid-address", "Your billing address is invalid.", _ADDRESS)),
    "forbidden": (403, refusal("global/forbidden", "You do not have permission to do that.")),
    "insufficient-capacity": (400, refusal("instance-operations/launch/insufficient-capacity", _ENOUGH)),
    "quota-exceeded": (
        400,
        refusal("global/quota-exceeded", "Quota exceeded.", "Contact Support to increase your quota."),
    ),
    "invalid-parameters": (400, refusal("global/invalid-parameters", "Invalid request data.")),
    "instance-not-found": (404, refusal("global/object-does-not-exist", "Specified instance does not exist.")),
    #: At launch, for an unknown key, region, type or image, as 400 or 404.
    "resource-not-found": (
        400,
        refusal("global/object-does-not-exist", "SSH key orch-aerukz4 was not found.", "Check the name."),
    ),
    "not-found": (404, refusal("global/not-found", "The requested resource was not found.")),
    "file-system-in-wrong-region": (
        400,
        refusal("instance-operations/launch/file-system-in-wrong-region", "The filesystem is in another region."),
    ),
    "conflict": (
        409,
        refusal("global/conflict", "The request conflicts with the current state of the resource."),
    ),
    "internal-error": (500, refusal("global/internal-error", "An internal server error occurred.", _AGAIN)),
    "duplicate": (400, refusal("global/duplicate", "An SSH key with that name exists already.")),
    "filesystem-in-use": (400, refusal("filesystems/filesystem-in-use", "The filesystem is in use.")),
    "firewall-ruleset-in-use": (
        400,
        refusal(
            "firewall-rulesets/firewall-ruleset-in-use",
            "Firewall ruleset is in use by one or more instances.",
            "Terminate all instances that are using the ruleset before deleting it.",
        ),
    ),
    #: As the introduction prints it; its status is not said.
    "provider-unavailable": (
        503,
        refusal("provider/internal-unavailable", "Provider unavailable", "Try again shortly"),
    ),
    #: Neither the status nor the code of a rate limit is documented; one client's tests expect this.
    "rate-limited": (429, refusal("global/rate-limited", "Too many requests.")),
    #: Old codes, seen in clients only.
    "unknown": (500, refusal("global/unknown", "An unknown error occurred.")),
    "key-in-use": (400, refusal("ssh-keys/key-in-use", "The SSH key is in use.")),
    "file-systems-not-supported": (
        400,
        refusal("instance-operations/launch/file-systems-not-supported", "File systems are not supported there."),
    ),
}
