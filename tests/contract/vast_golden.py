# ruff: noqa: E501 - the samples stand as the wire prints them
"""Samples of Vast.ai's wire as constants, each a fresh copy of documented or recorded JSON.

The same samples hold the adapter and the emulator together: the adapter must read them, the emulator must
answer in their shape. What was not seen on the wire says so. Prices are samples, not quotes.

How a machine carries our mark and our key, which both sides must agree on:

- the label is our token (``orch-<owner7>-<lease9>-<nn>``);
- the environment, which the instance gives back as ``extra_env``, holds `OWNER_VARIABLE` (the full owner id) and
  `TOKEN_VARIABLE` (the token again);
- the public key goes to that one instance and not to the account, twice: `ATTACH` (`POST .../instances/{id}/ssh/`)
  once the instance exists, and inside ``onstart``, which writes it into ``authorized_keys``.
"""

from __future__ import annotations

import json
from typing import Any


def _json(text: str) -> Any:
    return json.loads(text)


OWNER_VARIABLE = "ORCH_OWNER"
TOKEN_VARIABLE = "ORCH_TOKEN"

ASK_ID = 31415926
CONTRACT_ID = 27182818

# -- search -----------------------------------------------------------------------------------------------

#: Body of `POST /api/v0/bundles/` for one L40S without an egress price, 50 GB, a day, on demand.
SEARCH_BODY: dict[str, Any] = _json("""
{"type":"on-demand","order":[["dph_total","asc"]],"limit":64,"allocated_storage":54,
 "verified":{"eq":true},"external":{"eq":false},"rentable":{"eq":true},"rented":{"eq":false},
 "gpu_name":{"in":["L40S"]},"num_gpus":{"gte":1},"direct_port_count":{"gte":1},"disk_space":{"gte":54},
 "inet_up_cost":{"lte":0.0},"duration":{"gte":86400},"geolocation":{"in":["DE","FR"]}}
""")

#: Body of the look-up of one ask: by `ask_contract_id`, for a filter on `id` matches nothing.
QUOTE_BODY: dict[str, Any] = _json("""
{"type":"on-demand","order":[["dph_total","asc"]],"limit":64,"allocated_storage":54,
 "verified":{"eq":true},"external":{"eq":false},"rentable":{"eq":true},"rented":{"eq":false},
 "ask_contract_id":{"eq":31415926}}
""")

#: One row of the answer, as documented: a vetted data centre, and no egress price.
OFFER: dict[str, Any] = _json("""
{"id":31415926,"ask_contract_id":31415926,"bundle_id":987654,"machine_id":88888,"host_id":55555,
 "gpu_name":"L40S","num_gpus":1,"gpu_frac":0.125,"gpu_ram":46068,"gpu_total_ram":46068,"gpu_arch":"nvidia",
 "cpu_cores":128,"cpu_cores_effective":16,"cpu_ram":515823,"cpu_arch":"amd64","disk_space":812.4,"disk_bw":3120.0,
 "dph_base":0.52,"dph_total":0.5338,"min_bid":0.21,"is_bid":false,"storage_cost":0.2,"storage_total_cost":0.0138,
 "search":{"gpuCostPerHour":0.52,"diskHour":0.0138,"totalHour":0.5338,"discountTotalHour":0,"discountedTotalPerHour":0.5338},
 "instance":{"gpuCostPerHour":0,"diskHour":0.0138,"totalHour":0.0138,"discountTotalHour":0,"discountedTotalPerHour":0.0138},
 "inet_up":940.1,"inet_down":2210.7,"inet_up_cost":0.0,"inet_down_cost":0.0,"internet_up_cost_per_tb":0.0,"internet_down_cost_per_tb":0.0,
 "reliability":0.9981,"reliability2":0.9981,"expected_reliability":0.99,"verification":"verified","hosting_type":1,
 "static_ip":true,"direct_port_count":249,"public_ipaddr":"203.0.113.42","geolocation":"Frankfurt, DE",
 "cuda_max_good":12.8,"driver_version":"570.86.15","compute_cap":890,"duration":2592000.5,"start_date":1790000000.1,
 "end_date":1798592000.6,"rentable":true,"rented":false,"vms_enabled":false,"score":412.7,"dlperf":58.1,
 "credit_discount_max":0.4,"time_remaining":"","resource_type":"gpu"}
""")

#: A person's machine with prices per GB both ways, nulls where documents have numbers, and no interruptible price.
COMMUNITY_OFFER: dict[str, Any] = {
    **OFFER,
    **_json("""
{"id":16180339,"ask_contract_id":16180339,"machine_id":77777,"host_id":44444,"hosting_type":0,"gpu_name":"RTX 4090","gpu_ram":24564,
 "gpu_total_ram":49128,"num_gpus":2,"dph_base":0.8,"dph_total":0.8225,"min_bid":null,"storage_cost":0.3,"storage_total_cost":0.0225,
 "inet_up_cost":0.004,"inet_down_cost":0.002,"internet_up_cost_per_tb":4.0,"internet_down_cost_per_tb":2.0,"reliability":0.9712,
 "reliability2":0.9712,"cpu_cores":null,"geolocation":"Quebec, CA","static_ip":false,"public_ipaddr":"198.51.100.7"}
"""),
}

OFFERS: dict[str, Any] = {"offers": [OFFER, COMMUNITY_OFFER]}

#: The same ask in a search of type `bid`. That `dph_total` follows the bid there is inferred.
BID_OFFER: dict[str, Any] = {**OFFER, "dph_total": 0.2238, "is_bid": True}

#: At most this many rows come back, whatever `limit` asks for (observed).
MOST_ROWS = 64

# -- create -----------------------------------------------------------------------------------------------

#: Body of `PUT /api/v0/asks/31415926/`, on demand (`price` null). A number there makes it an interruptible bid.
CREATE_BODY: dict[str, Any] = _json("""
{"client_id":"me","image":"vastai/base-image:@vastai-automatic-tag","label":"orch-aerukz4-abcdefghi-01","disk":54,
 "runtype":"ssh_direc ssh_proxy","target_state":"running","cancel_unavail":true,"price":null,
 "env":{"ORCH_OWNER":"0123456789abcdef0123456789abcdef","ORCH_TOKEN":"orch-aerukz4-abcdefghi-01","-p 8080:8080":"1"},
 "onstart":"touch ~/.no_auto_tmux\\nmkdir -p ~/.ssh\\nprintf '\\\\n%s\\\\n' 'ssh-ed25519 AAAA orch' >> ~/.ssh/authorized_keys\\n"}
""")

#: Its answer. The id to use everywhere is `new_contract`; `instance_api_key` is a secret of the container.
CREATED: dict[str, Any] = _json('{"success":true,"new_contract":27182818,"instance_api_key":"5ec2e7ab1e"}')

# -- instances --------------------------------------------------------------------------------------------

#: One instance, running, as the single read and the list give it. Strings carry stray newlines.
INSTANCE: dict[str, Any] = _json("""
{"id":27182818,"label":"orch-aerukz4-abcdefghi-01","machine_id":88888,"host_id":55555,"actual_status":"running","cur_state":"running",
 "next_state":"running","intended_status":"running","status_msg":"success, running vastai/base-image_cuda-12.8/ssh\\n","is_bid":false,"min_bid":0.21,
 "dph_base":0.52,"dph_total":0.535,"storage_cost":0.2,"storage_total_cost":0.015,"image_uuid":"vastai/base-image:@vastai-automatic-tag",
 "image_runtype":"ssh_direc ssh_proxy",
 "extra_env":[["ORCH_OWNER","0123456789abcdef0123456789abcdef"],["ORCH_TOKEN","orch-aerukz4-abcdefghi-01"]],
 "public_ipaddr":"203.0.113.42\\n","ssh_host":"ssh5.vast.ai","ssh_port":12818,"ssh_idx":"5",
 "machine_dir_ssh_port":21000,"direct_port_start":-1,"direct_port_end":-1,
 "ports":{"22/tcp":[{"HostIp":"0.0.0.0","HostPort":"41022"},{"HostIp":"::","HostPort":"41022"}]},
 "start_date":1795348800.2,"end_date":1798592000.6,"uptime_mins":3.2,"gpu_name":"L40S","num_gpus":1,"gpu_util":0.0,"disk_space":54.0,
 "inet_up_cost":0.0,"inet_down_cost":0.0,"reliability2":0.9981,"verification":"verified","geolocation":"Frankfurt, DE"}
""")

#: Just rented: the host has not reported.
NEW: dict[str, Any] = {
    **INSTANCE,
    "actual_status": None,
    "status_msg": None,
    "ports": None,
    "public_ipaddr": None,
    "uptime_mins": None,
}
#: The image is pulled and the container started; the GPU is not charged.
LOADING: dict[str, Any] = {**NEW, "actual_status": "loading", "status_msg": "pulling vastai/base-image"}
#: The first moments of `running`: no ports yet.
RUNNING_WITHOUT_PORTS: dict[str, Any] = {**INSTANCE, "ports": {}}
#: An interruptible one that was outbid: stopped three times over, disk and traffic go on billing, and it comes back.
OUTBID: dict[str, Any] = {
    **INSTANCE,
    "is_bid": True,
    "dph_base": 0.21,
    "dph_total": 0.225,
    "actual_status": "exited",
    "cur_state": "stopped",
    "next_state": "stopped",
    "intended_status": "stopped",
    "ports": None,
}
#: What a bid that was too low leaves behind.
LEFT: dict[str, Any] = {**OUTBID, "actual_status": None, "status_msg": None, "public_ipaddr": None}
STATUS_BAD_IMAGE = "Error response from daemon: manifest for me/mine:1 not found: manifest unknown"
STATUS_OCI = "failed to start: OCI runtime create failed: runc create failed: unable to start container process"


def one(instance: dict[str, Any] | None) -> dict[str, Any]:
    """`GET /api/v0/instances/{id}/?owner=me`. Gone is 200 with null."""
    return {"instances": instance}


def page(*instances: dict[str, Any], next_token: str | None = None, total: int | None = None) -> dict[str, Any]:
    """`GET /api/v1/instances/?limit=25&...`: at most 25 a page."""
    return {
        "success": True,
        "instances_found": len(instances),
        "total_instances": len(instances) if total is None else total,
        "label_counts": {},
        "next_token": next_token,
        "instances": list(instances),
    }


GONE = one(None)
DESTROYED: dict[str, Any] = _json('{"success":true,"msg":"Instance destroyed successfully"}')

# -- keys and account -------------------------------------------------------------------------------------

ATTACH_BODY: dict[str, Any] = {"ssh_key": "ssh-ed25519 AAAA orch"}
ATTACHED: dict[str, Any] = _json('{"success":true,"msg":"SSH key attached successfully"}')
#: `GET /api/v0/instances/{id}/ssh/`: the list is a string of JSON (documented).
INSTANCE_KEYS: dict[str, Any] = _json("""
{"success":true,"ssh_keys":"[{\\"id\\": 1, \\"name\\": \\"orch\\", \\"public_key\\": \\"ssh-ed25519 AAAA orch\\"}]"}
""")
NO_INSTANCE_KEYS: dict[str, Any] = {"success": True, "ssh_keys": "[]"}

#: `GET /api/v0/users/current/`.
USER: dict[str, Any] = _json("""
{"id":271828,"key_id":4711,"email":"someone@example.com","balance":0.0,"credit":23.5,"ssh_key":"","sid":"S1"}
""")

# -- refusals ---------------------------------------------------------------------------------------------

#: Case to status and JSON body. `unverified`: the status or the words were not seen.
ERRORS: dict[str, tuple[int, dict[str, Any]]] = {
    "bad-key": (404, _json('{"success":false,"error":"auth_error","msg":"Invalid user key"}')),
    "bad-key-401": (401, _json('{"success":false,"error":"auth_error","msg":"Invalid user key"}')),
    "login": (403, _json('{"success":false,"error":"auth_error","msg":"This action requires login."}')),
    "two-factor": (401, _json('{"success":false,"msg":"This endpoint requires Two Factor Authentication."}')),
    "session": (404, _json('{"success":false,"msg":"Session expired. Please log in again."}')),
    "permission": (  # unverified
        403,
        _json('{"success":false,"error":"permission_denied","msg":"API key lacks the permission instance_write."}'),
    ),
    "gone-410": (
        410,
        _json(
            '{"success":false,"error":"no_such_ask","msg":"error 410/3907: no_such_ask Instance type 31415926 is no longer available.","ask_id":31415926}'
        ),
    ),
    "gone-404": (
        404,
        _json(
            '{"success":false,"error":"invalid_args","msg":"error 404/3603: no_such_ask Instance type by id 31415926 is not available.","ask_id":31415926}'
        ),
    ),
    "gone-400": (
        400,
        _json(
            '{"success":false,"error":"invalid_args","msg":"error 400/3603: no_such_ask Instance type by id 31415926 is not available."}'
        ),
    ),
    "own-offer": (
        403,
        _json(
            '{"success":false,"error":"invalid_args","msg":"error 403/3586: Offer 31415926 is not your own. Hosts can only rent their own machines.","ask_id":31415926}'
        ),
    ),
    "bid-too-low": (  # unverified: only that the body has `new_contract` was seen
        400,
        _json(
            '{"success":false,"error":"bid_too_low","msg":"Your bid is too low to start the instance.","new_contract":27182818}'
        ),
    ),
    "bad-price": (400, _json('{"success":false,"error":"invalid_price","msg":"Invalid price."}')),
    "vm-key": (
        400,
        _json('{"success":false,"error":"no_ssh_key_for_vm","msg":"Add an SSH key to your account first."}'),
    ),
    "invalid": (
        400,
        _json('{"success":false,"error":"invalid_args","msg":"error 400/3467: Invalid args: \'image\' is required"}'),
    ),
    "invalid-json": (400, _json('{"error":"invalid_request","msg":"error 400/1782: invalid json"}')),
    "no-credit": (
        400,
        _json('{"success":false,"error":"insufficient_credit","msg":"Insufficient credits"}'),
    ),  # unverified status
    "no-billing": (400, _json('{"success":false,"error":"missing_billing","msg":"Add a payment method first."}')),
    "spend-rate": (  # unverified
        400,
        _json(
            '{"success":false,"error":"invalid_request","msg":"This rental would exceed your account\'s spend rate limit."}'
        ),
    ),
    "no-instance": (
        404,
        _json('{"success":false,"error":"no_such_instance","msg":"Instance with that ID does not exist."}'),
    ),
    "not-found": (404, _json('{"success":false,"error":"not_found","msg":"Instance not found"}')),
    "server": (500, _json('{"success":false,"error":"server_error","msg":"Something went wrong on the server"}')),
    "too-fast": (429, _json('{"detail":"API requests too frequent endpoint threshold=4.5"}')),
    "quota": (429, _json('{"error":"search_quota_exceeded","msg":"Daily search quota exceeded."}')),
}
#: A 429 may be plain text.
TOO_FAST_TEXT = "API requests too frequent: endpoint threshold=3.0"
TOO_FAST_BARE = "API requests too frequent"
#: Comes with "quota": Unix seconds of the next UTC midnight.
QUOTA_HEADERS = {"X-RateLimit-Reset": "1795392000", "Date": "Sun, 22 Nov 2026 12:00:00 GMT"}
#: A 200 that is a refusal.
REFUSED_200: dict[str, Any] = _json(
    '{"success":false,"error":"no_such_ask","msg":"no_such_ask Instance type 31415926 is no longer available."}'
)
