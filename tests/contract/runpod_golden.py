"""Documented samples of RunPod's REST v2 wire, as constants, each a fresh copy of recorded or specified JSON.

The same samples hold the adapter and the emulator together: the adapter must read them, the emulator must
answer in their shape. Where a sample was not seen on the wire its comment says so. Prices are samples.
"""

from __future__ import annotations

import json
from typing import Any

PROBLEM_TYPE = "application/problem+json"


def _json(text: str) -> Any:
    return json.loads(text)


#: Query of the catalogue read, once per cloud and count.
GPUS_QUERY: dict[str, str] = {
    "include": "AVAILABILITY",
    "product": "POD",
    "cloud": "SECURE",
    "count": "1",
}

#: `GET /v2/catalog/gpus` with that query: a GPU that is free in one of two data centres, one sold out (then there
#: are no `dataCenters`), one without a serverless pool, and the sentinel that means nothing.
GPUS: dict[str, Any] = _json("""
{"gpus":[
 {"id":"NVIDIA L40S","name":"L40S","pool":"ADA_48_PRO","manufacturer":"NVIDIA","memory":48,
  "secure":true,"community":true,"price":{"secure":0.99,"community":0.79,"serverless":1.9},
  "maxCount":{"secure":8,"community":4},"availability":"LOW",
  "dataCenters":[{"id":"EU-RO-1","name":"EU Romania 1","availability":"LOW"},
                 {"id":"US-DE-1","name":"US Delaware 1","availability":"NONE"}],
  "cudaVersions":[{"version":"12.8","available":true},{"version":"13.0","available":false}]},
 {"id":"NVIDIA L40","name":"L40","pool":"ADA_48","manufacturer":"NVIDIA","memory":48,
  "secure":true,"community":false,"price":{"secure":0.82,"community":0.69,"serverless":1.9},
  "maxCount":{"secure":8,"community":0},"availability":"NONE"},
 {"id":"NVIDIA A100 80GB PCIe","name":"A100 PCIe","pool":null,"manufacturer":"NVIDIA","memory":80,
  "secure":true,"community":true,"price":{"secure":1.39,"community":1.19},
  "maxCount":{"secure":8,"community":2},"availability":"HIGH",
  "dataCenters":[{"id":"EUR-IS-1","name":"EUR Iceland 1","availability":"HIGH"}]},
 {"id":"unknown","name":"unknown","pool":null,"manufacturer":"UNKNOWN","memory":0,
  "secure":true,"community":true,"price":{"secure":0,"community":0},
  "maxCount":{"secure":0,"community":0},"availability":"NONE"}
]}
""")

#: `GET /v2/catalog/datacenters`.
DATA_CENTERS: dict[str, Any] = _json("""
{"dataCenters":[
 {"id":"EU-RO-1","name":"EU Romania 1","region":"EUROPE","globalNetwork":true,
  "networkVolumeTypes":["STANDARD"],"compliance":["GDPR","SOC_2_TYPE_2"]},
 {"id":"EUR-IS-1","name":"EUR Iceland 1","region":"EUROPE","globalNetwork":true,
  "networkVolumeTypes":["STANDARD"],"compliance":["GDPR","ISO_IEC_27001","RENEWABLE"]},
 {"id":"US-DE-1","name":"US Delaware 1","region":"NORTH_AMERICA","globalNetwork":false,
  "networkVolumeTypes":[],"compliance":["SOC_2_TYPE_2","HIPAA"]}
]}
""")

#: Body of `POST /v2/pods`, as recorded.
CREATE_BODY: dict[str, Any] = _json("""
{"name":"orch-7f3a-w0","image":"runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404",
 "gpu":{"id":"NVIDIA L40S","count":1,"minCudaVersion":"12.8"},"cloud":"SECURE","dataCenterIds":["EU-RO-1"],
 "disk":50,"ports":["22/tcp"],"env":{"PUBLIC_KEY":"ssh-ed25519 AAAA orch","ORCH_TOKEN":"7f3a9c"}}
""")

#: Its 201 answer, as recorded. `ssh.proxy` is filled from the start and must never be used.
CREATED: dict[str, Any] = _json("""
{"id":"5xpma5eg46tqjq","name":"orch-7f3a-w0","status":"PROVISIONING","actions":["stop","terminate"],
 "image":"runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404","args":"","disk":50,"ports":["22/tcp"],
 "env":{"PUBLIC_KEY":"ssh-ed25519 AAAA orch","ORCH_TOKEN":"7f3a9c"},"registry":null,"mounts":{},
 "gpu":{"id":"NVIDIA L40S","count":1},"cloud":"SECURE","dataCenterId":"EU-RO-1","cudaVersion":"12.8",
 "ssh":{"proxy":{"host":"ssh.runpod.io","port":22,"username":"5xpma5eg46tqjq-64411eb2",
   "command":"ssh 5xpma5eg46tqjq-64411eb2@ssh.runpod.io"},"direct":null},
 "template":null,"cost":0.99,"locked":false,"globalNetworking":{"enabled":false},"runtime":null,
 "createdAt":"2026-08-20T06:16:19.436Z","startedAt":null}
""")

#: What a pod that said RUNNING right after create looked like: no runtime and no address yet.
RUNNING_BUT_BOOTING: dict[str, Any] = {
    **CREATED,
    "status": "RUNNING",
    "actions": ["stop", "restart", "terminate"],
    "startedAt": "2026-08-20T06:16:21.000Z",
}

#: The parts of a pod that differ once it is reachable, as recorded.
READY: dict[str, Any] = {
    **RUNNING_BUT_BOOTING,
    "runtime": _json("""
{"uptime":3,"cpu":{"util":0},"memory":{"util":0},"gpus":[{"util":0,"memoryUtil":0}],
 "ports":[{"ip":"213.173.104.74","private":22,"public":35558,"type":"tcp"},
          {"ip":"100.65.14.155","private":19123,"public":60821,"type":"http"}]}
"""),
    "ssh": {
        **CREATED["ssh"],
        "direct": {
            "host": "213.173.104.74",
            "port": 35558,
            "username": "root",
            "command": "ssh root@213.173.104.74 -p 35558",
        },
    },
}

#: A stopped pod: the specification says `cost` is 0 then, the recording says it is not.
STOPPED: dict[str, Any] = {**CREATED, "status": "EXITED", "actions": ["start", "terminate"], "cost": 0.72}

#: `GET /v2/pods`: the whole account, no pages.
PODS: dict[str, Any] = {"pods": [READY]}


def problem(status: int, title: str, detail: str, *errors: str) -> dict[str, Any]:
    """An RFC 9457 body as v2 writes it (no `type`, no code)."""
    body: dict[str, Any] = {"title": title, "status": status, "detail": detail}
    return {**body, "errors": list(errors)} if errors else body


#: Sold out, recorded. The catalogue may have said HIGH a second before.
CAPACITY_TEXT = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)
CAPACITY = problem(400, "Bad Request", CAPACITY_TEXT)
RULE_BROKEN = problem(400, "Bad Request", "request could not be processed")
NO_TOKEN = problem(401, "Unauthorized", "missing bearer token")
#: The status is documented, the wording was not seen.
NO_MONEY = problem(402, "Payment Required", "insufficient balance")
DENIED = problem(403, "Forbidden", "access denied")
#: Documented in words; the exact sentence was not seen.
NO_POOL = problem(403, "Forbidden", "account cannot use this pool")
NOT_FOUND = problem(404, "Not Found", "resource not found")
POD_NOT_FOUND = problem(404, "Not Found", "pod not found")
WRONG_METHOD = problem(405, "Method Not Allowed", "The requested method is not allowed for this path.")
#: The status is documented; the wording was not seen.
CONFLICT = problem(409, "Conflict", "the pod's status does not allow that")
EXTRA_KEY = problem(
    422,
    "Unprocessable Entity",
    "Request validation failed.",
    "$: additional properties 'bogus' not allowed",
)
WRONG_ACTION = problem(
    422,
    "Unprocessable Entity",
    "Request validation failed.",
    "$.action: value must be one of 'start', 'stop', 'restart', 'terminate'",
)
TOO_FAST = problem(429, "Too Many Requests", "rate limit exceeded for the minute window")
TOO_FAST_HEADERS = {
    "Retry-After": "12",
    "RateLimit": '"minute";r=0;t=12, "hour";r=2800;t=1812, "day";r=49500;t=45012',
    "RateLimit-Policy": '"minute";q=60;w=60, "hour";q=3000;w=3600, "day";q=50000;w=86400',
}

#: Cloudflare, in front of the API, to a client without a User-Agent it likes: 403, HTML, no problem+json. Only
#: the status, the type and "Error 1010" were recorded.
CLOUDFLARE_1010 = (
    "<!DOCTYPE html><html><head><title>Access denied</title></head>"
    "<body><h1>Error 1010</h1><p>The owner of this website has banned your access.</p></body></html>"
)
