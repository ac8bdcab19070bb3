"""Exchanges recorded from a real kube-apiserver, replayed against the emulator and compared.

Compared are status, media type, `Retry-After`, the keys of every object and the types of their values, and those
values that a client goes by: kind, reason, code, the parts of `details`. Not compared are messages, which differ
between Kubernetes' versions, and what each server makes up: uids, versions, times, ports, addresses.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

Json = dict[str, Any]

#: Values that must be the same, wherever they stand.
_SAME = {
    "apiVersion",
    "code",
    "field",
    "finalizers",
    "group",
    "kind",
    "labels",
    "name",
    "namespace",
    "phase",
    "qosClass",
    "reason",
    "requests",
    "limits",
    "retryAfterSeconds",
    "status",
    "targetNodes",
    "tolerations",
    "type",
}

#: Trace to the places that differ on purpose, each with the reason.
DIFFERENCES: dict[str, dict[str, str]] = {
    "events-list": {
        "$.items: 1 instead of 2 items": "the recorded scheduler tried twice within 14 ms, and said the same twice",
        "$.items[0].metadata.name": "the server makes the name up",
    },
}


def read(folder: Path) -> list[Json]:
    """The recorded exchanges, in order."""
    text = (folder / "coreweave" / "kube-apiserver-traces.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


async def replay(http: httpx.AsyncClient, request: Json, tokens: dict[str, str | None]) -> httpx.Response:
    """Send one recorded request, as the same kind of user."""
    headers: dict[str, str] = {}
    token = tokens[request["auth"]]
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    if request.get("content_type"):
        headers["content-type"] = request["content_type"]
    body = request.get("body")
    content = body if isinstance(body, str) else None if body is None else json.dumps(body)
    return await http.request(
        request["method"], request["path"], params=request["query"], headers=headers, content=content
    )


def compare(trace: Json, answer: httpx.Response) -> list[str]:
    """Where *answer* differs from the recorded one, less what may differ."""
    expected = trace["response"]
    kind, recorded = answer.headers.get("content-type", ""), expected["content_type"]
    found = [] if answer.status_code == expected["status"] else [f"status {answer.status_code}: {answer.text}"]
    found += [] if kind.partition(";")[0] == recorded.partition(";")[0] else [f"content type {kind}"]
    if "retry_after" in expected and answer.headers.get("retry-after") != expected["retry_after"]:
        found.append(f"retry-after {answer.headers.get('retry-after')}")
    if "stream" in expected:
        events = [json.loads(line) for line in answer.text.splitlines()]
        found += differences(expected["stream"], events)
    elif isinstance(expected["body"], str):
        found += [] if answer.text == expected["body"] else ["text differs"]
    else:
        found += differences(expected["body"], answer.json())
    allowed = DIFFERENCES.get(trace["name"], {})
    return [text for text in found if not any(text.startswith(start) for start in allowed)]


def unused(trace: Json, answer: httpx.Response) -> list[str]:
    """Listed differences that no longer occur."""
    listed = DIFFERENCES.get(trace["name"], {})
    seen = differences(trace["response"].get("body"), answer.json()) if listed else []
    return [start for start in listed if not any(text.startswith(start) for text in seen)]


def differences(expected: Any, answer: Any, where: str = "$") -> list[str]:
    """Where *answer* has other keys, types, lengths or telling values than *expected*."""
    if isinstance(expected, dict) and isinstance(answer, dict):
        found = [f"{where}.{key}: missing" for key in sorted(expected.keys() - answer.keys())]
        found += [f"{where}.{key}: unexpected" for key in sorted(answer.keys() - expected.keys())]
        for key in sorted(expected.keys() & answer.keys()):
            found += differences(expected[key], answer[key], f"{where}.{key}")
        return found
    if isinstance(expected, list) and isinstance(answer, list):
        found = [] if len(expected) == len(answer) else [f"{where}: {len(answer)} instead of {len(expected)} items"]
        for number, (one, other) in enumerate(zip(expected, answer, strict=False)):
            found += differences(one, other, f"{where}[{number}]")
        return found
    if type(expected) is not type(answer):
        return [f"{where}: {answer!r} is no {type(expected).__name__}"]
    last = where.rpartition(".")[2].partition("[")[0]
    if (last in _SAME or ".labels." in where or ".resources." in where) and expected != answer:
        return [f"{where}: {answer!r} instead of {expected!r}"]
    return []
