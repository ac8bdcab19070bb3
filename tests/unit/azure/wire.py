"""Azure's wire on loopback, scripted by tests: what each call answers, and what was asked."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

PREFIX = "/azure"


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)


@dataclass
class Answer:
    """What to send. `cut` closes the connection instead; `short` promises more bytes than it sends."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    text: str | None = None
    cut: bool = False
    short: bool = False

    def data(self) -> bytes:
        if self.text is not None:
            return self.text.encode()
        return b"" if self.body is None else json.dumps(self.body).encode()


Reaction = Callable[[Asked], Answer]


class Wire:
    """A server that answers as told; several answers to one call are used up in turn, the last one stays."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._rules: list[tuple[str, re.Pattern[str], list[Answer | Reaction]]] = []
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                self._send(wire.react(self.command, self.path, dict(self.headers), text))

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - http.server's names

            def _send(self, answer: Answer) -> None:
                if answer.cut:
                    self.close_connection = True
                    return
                data = answer.data()
                self.send_response_only(answer.status)  # without a Date of the real clock
                self.send_header("Content-Type", "application/json; charset=utf-8")
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data) * (2 if answer.short else 1)))
                self.end_headers()
                if self.command != "HEAD":
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
        self.root = f"http://127.0.0.1:{self._server.server_port}"
        self.url = self.root + PREFIX

    def on(self, method: str, pattern: str, *answers: Answer | Reaction) -> None:
        """Answer calls whose path fits *pattern* (without regard to case, to the end); the newest rule wins."""
        self._rules.insert(0, (method, re.compile(f"{pattern}$", re.I), list(answers)))

    def of(self, method: str, pattern: str = "") -> list[Asked]:
        return [one for one in self.asked if one.method == method and re.search(f"{pattern}$", one.path, re.I)]

    def react(self, method: str, target: str, headers: dict[str, str], text: str) -> Answer:
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = unquote(parts.path).removeprefix(PREFIX)
        asked = Asked(method, path, query, {name.lower(): value for name, value in headers.items()}, text)
        self.asked.append(asked)
        for wanted, pattern, waiting in self._rules:
            if wanted == method and pattern.search(path):
                answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
                return answer(asked) if callable(answer) else answer
        return refused("ResourceNotFound", 404, f"nothing is scripted for {method} {path}")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def refused(code: str, status: int, message: str = "no", **headers: str) -> Answer:
    """ARM's error document."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"error": {"code": code, "message": message}}, named)


def rows(*found: Any, link: str | None = None) -> Answer:
    """A page of a list."""
    return Answer(200, {"value": list(found), "nextLink": link})
