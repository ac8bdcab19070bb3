"""AWS's wire on loopback, scripted by tests: what each action answers, and what was asked."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
_SCOPE = re.compile(r"Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")


@dataclass
class Asked:
    """One request: the action, its parameters (a form's or JSON's), and what the signature was made for."""

    action: str
    params: dict[str, Any]
    region: str
    service: str
    key_id: str
    path: str


@dataclass
class Answer:
    """What to send. `cut` closes the connection instead; `short` promises more bytes than it sends."""

    body: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    short: bool = False


Reaction = Callable[[Asked], Answer]


class Wire:
    """A server that answers as told; several answers to one action are used up in turn, the last one stays."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._answers: dict[str, list[Answer | Reaction]] = {}
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                self._send(wire.react(self.path, dict(self.headers), body))

            def do_GET(self) -> None:
                self._send(wire.react(self.path, dict(self.headers), ""))

            def _send(self, answer: Answer) -> None:
                if answer.cut:
                    self.close_connection = True
                    return
                data = answer.body.encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data) * (2 if answer.short else 1)))
                self.end_headers()
                self.wfile.write(data)
                if answer.short:
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/aws"

    def on(self, action: str, *answers: Answer | Reaction) -> None:
        self._answers[action] = list(answers)

    def of(self, action: str) -> list[Asked]:
        return [one for one in self.asked if one.action == action]

    def react(self, path: str, headers: dict[str, str], body: str) -> Answer:
        asked = _asked(path, headers, body)
        self.asked.append(asked)
        waiting = self._answers.get(asked.action)
        if not waiting:
            return refused("InvalidAction", 400, f"nothing is scripted for {asked.action}")
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return answer(asked) if callable(answer) else answer

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def xml(action: str, inner: str = "") -> Answer:
    """A whole answer of EC2 to *action*."""
    return Answer(
        f'<?xml version="1.0" encoding="UTF-8"?><{action}Response xmlns="{NAMESPACE}">'
        f"<requestId>59dbff89</requestId>{inner}</{action}Response>"
    )


def refused(code: str, status: int, message: str = "no", **headers: str) -> Answer:
    """EC2's error document."""
    return Answer(
        f"<Response><Errors><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error></Errors>"
        "<RequestID>ea966190</RequestID></Response>",
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
    )


def said(document: Any) -> Answer:
    """A JSON service's answer."""
    return Answer(json.dumps(document), headers={"Content-Type": "application/x-amz-json-1.1"})


def json_refused(code: str, message: str = "no") -> Answer:
    """A JSON service's refusal."""
    return Answer(json.dumps({"__type": f"com.amazonaws.pricing#{code}", "message": message}), 400)


def identity(account: str = "123456789012") -> Answer:
    """STS's answer."""
    return Answer(
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
        f"<Arn>arn:aws:iam::{account}:user/orch</Arn><UserId>AIDA</UserId><Account>{account}</Account>"
        "</GetCallerIdentityResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>"
        "</GetCallerIdentityResponse>"
    )


def items(name: str, *rows: str) -> str:
    """A list element of EC2."""
    return f"<{name}>{''.join(f'<item>{row}</item>' for row in rows)}</{name}>"


def tag_set(**tags: str) -> str:
    rows = (f"<key>{key.replace('_', '-')}</key><value>{value}</value>" for key, value in tags.items())
    return items("tagSet", *rows)


def instance(
    id_: str = "i-0123456789abcdef0",
    state: str = "pending",
    *,
    tags: str = "",
    ip: str = "",
    reason: tuple[str, str] | None = None,
    token: str = "",
    launched: str = "2026-11-22T12:00:00.000Z",
    groups: str = "",
) -> str:
    """An instance's element, as the fact sheet shows it."""
    address = f"<ipAddress>{ip}</ipAddress>" if ip else ""
    why = f"<stateReason><code>{reason[0]}</code><message>{reason[1]}</message></stateReason>" if reason else ""
    return (
        f"<instanceId>{id_}</instanceId><imageId>ami-0abc1234</imageId>"
        f"<instanceState><code>0</code><name>{state}</name></instanceState><reason/>{address}{why}"
        f"<instanceType>g6e.xlarge</instanceType><launchTime>{launched}</launchTime><clientToken>{token}</clientToken>"
        f"<placement><availabilityZone>us-east-1a</availabilityZone></placement>{groups}{tags}"
    )


def reservations(*instances: str, next_token: str = "") -> str:
    more = f"<nextToken>{next_token}</nextToken>" if next_token else ""
    return items("reservationSet", *(items("instancesSet", one) for one in instances)) + more


def terminating(id_: str, state: str) -> Answer:
    return xml(
        "TerminateInstances",
        items("instancesSet", f"<instanceId>{id_}</instanceId><currentState><name>{state}</name></currentState>"),
    )


def _asked(path: str, headers: dict[str, str], body: str) -> Asked:
    match = _SCOPE.search(headers.get("Authorization", ""))
    key_id, region, service = (match[1], match[2], match[3]) if match else ("", "", "")
    target = headers.get("X-Amz-Target")
    if target:
        return Asked(target.rpartition(".")[2], json.loads(body), region, service, key_id, path)
    form = {name: values[0] for name, values in parse_qs(body, keep_blank_values=True).items()}
    return Asked(form.get("Action", path), form, region, service, key_id, path)
