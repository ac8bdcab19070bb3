"""Google's discovery documents as judge: Compute v1 and Cloud Billing v1, the files from which the clients are made.

Requests are held to a method's path, parameters and body, answers to the schema of its response: types, formats
(int64 is a string), enumerations, patterns, and members that are not described. The documents know nothing of errors
and of OAuth's token endpoint: errors are held to Google's error model (AIP-193), tokens to RFC 6749.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from providers.sandbox.world import Exchange
from tests.contract.official import Finding

_RANGES = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
_TYPES: dict[str, Any] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "object": dict,
    "array": list,
}
_LONGEST = 160

Problem = tuple[str, str]
Node = dict[str, Any]


class Document:
    """One discovery document."""

    def __init__(self, value: Node) -> None:
        self.schemas: dict[str, Node] = value["schemas"]
        self.parameters: dict[str, Node] = value["parameters"]
        self.base = f"/{value['servicePath']}"
        self.methods = [Method(self, node) for node in _methods(value["resources"])]
        self._judged: dict[tuple[str, str, bytes], list[Problem]] = {}

    def problems(self, schema: Node, body: bytes, method: str = "") -> list[Problem]:
        """What *body* breaks of *schema*, each once; *method* is given for a request of that method.

        Remembered, for whole catalogues come back unchanged a hundred times in a test run.
        """
        key = (str(schema), method, hashlib.sha256(body).digest())
        if key not in self._judged:
            try:
                found = list(self._value(schema, json.loads(body), "$", method))
            except ValueError as error:
                found = [("$", f"no JSON: {error}")]
            self._judged[key] = list(dict.fromkeys(found))
        return self._judged[key]

    def _value(self, node: Node, value: Any, at: str, method: str) -> Iterator[Problem]:
        node = {**node, **self.schemas[node["$ref"]]} if "$ref" in node else node
        kind = node.get("type", "any")
        if kind == "any":
            return
        if not isinstance(value, _TYPES[kind]) or (kind != "boolean" and isinstance(value, bool)):
            yield at, f"{type(value).__name__} is not of type {kind!r}"
        elif kind == "array":
            for one in value:
                yield from self._value(node["items"], one, f"{at}[]", method)
        elif kind == "object":
            yield from self._members(node, value, at, method)
        else:
            yield from ((at, text) for text in scalar_problems(node, value))

    def _members(self, node: Node, value: Node, at: str, method: str) -> Iterator[Problem]:
        named, more = node.get("properties", {}), node.get("additionalProperties")
        for key, member in value.items():
            if key not in named and more is None:
                yield f"{at}.{key}", "not described"
                continue
            if method and named.get(key, {}).get("readOnly"):
                yield f"{at}.{key}", "sent, and for answers only"
            yield from self._value(named.get(key, more), member, f"{at}.{key}", method)
        for key, member in named.items():
            if method in member.get("annotations", {}).get("required", ()) and key not in value:
                yield f"{at}.{key}", "required, and not sent"


class Method:
    """One method of a document."""

    def __init__(self, document: Document, node: Node) -> None:
        self.document = document
        self.node = node
        self.id: str = node["id"]
        self.http: str = node["httpMethod"]
        self.name = f"{self.http} {document.base}{node['flatPath']}"
        self.parameters: dict[str, Node] = node.get("parameters", {})
        # `flatPath` says how many segments a path has, `path` which parameters stand in them.
        self._flat = _pattern(document.base + node["flatPath"])
        self._path = _pattern(document.base + node["path"])

    def fits(self, http: str, path: str) -> dict[str, str] | None:
        """The path's parameters if *http* and *path* ask for this method."""
        if http != self.http or not self._flat.fullmatch(path):
            return None
        found = self._path.fullmatch(path)
        return found.groupdict() if found else None


class Discovery:
    """Both documents; a `Description` for the watch."""

    def __init__(self, provider: str, documents: list[Document]) -> None:
        self.provider = provider
        self.documents = documents

    def judge(self, exchange: Exchange, *, answered: bool = True) -> tuple[str, list[Finding]]:
        """The operation's name, and all in which *exchange* differs from the documents."""
        name = f"{exchange.method} {exchange.path}"
        if name == "POST /token":
            found = [("request", at, text) for at, text in _grant_problems(exchange)]
            found += [("response", at, text) for at, text in _token_problems(exchange)] if answered else []
            return name, [Finding(self.provider, name, *one) for one in found]
        fitting = [
            (method, parts)
            for document in self.documents
            for method in document.methods
            if (parts := method.fits(exchange.method, exchange.path)) is not None
        ]
        if not fitting:
            return name, [Finding(self.provider, name, "operation", "path", "no document has such a method")]
        # A path without parameters outdoes one with them.
        method, parts = min(fitting, key=lambda pair: len(pair[1]))
        return method.name, [
            Finding(self.provider, method.name, *one) for one in _all(method, parts, exchange, answered)
        ]


def _all(method: Method, parts: dict[str, str], exchange: Exchange, answered: bool) -> Iterator[tuple[str, str, str]]:
    sent = {key.lower(): value for key, value in exchange.request_headers.items()}
    query = parse_qs(exchange.query, keep_blank_values=True)
    for name, value in parts.items():
        yield from (("request", name, text) for text in scalar_problems(method.parameters[name], unquote(value)))
    known = {key: node for key, node in method.parameters.items() if node["location"] == "query"}
    for name, texts in query.items():
        node = known.get(name, method.document.parameters.get(name))
        if node is None:
            yield "query", name, "not described"
        elif len(texts) > 1 and not node.get("repeated"):
            yield "query", name, "sent more than once"
        else:
            yield from (("query", name, problem) for text in texts for problem in text_problems(node, text))
    for name, node in known.items():
        if node.get("required") and name not in query:
            yield "query", name, "required, and not sent"
    if method.node.get("scopes") and not sent.get("authorization", "").startswith("Bearer ") and "key" not in query:
        yield "request", "Authorization", "required, and not sent"
    yield from (("request", at, text) for at, text in _request_problems(method, exchange, sent))
    if answered:
        yield from _answer_problems(method, exchange)


def _request_problems(method: Method, exchange: Exchange, sent: dict[str, str]) -> Iterator[Problem]:
    body, schema = exchange.request_body, method.node.get("request")
    if schema is None:
        if body:
            yield "$", "a body, and none is described"
        return
    if not body:
        yield "$", "a body is required, and none was sent"
        return
    media = sent.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        yield "Content-Type", f"{media or 'none'} is not described"
    yield from method.document.problems(schema, body, method.id)


def _answer_problems(method: Method, exchange: Exchange) -> Iterator[tuple[str, str, str]]:
    media = {key.lower(): value for key, value in exchange.headers.items()}.get("content-type", "")
    if media.partition(";")[0].strip().lower() != "application/json":
        yield "response", "Content-Type", f"{media or 'none'} is not described"
    elif exchange.status == 200:
        # A field mask leaves out, it adds nothing: what is left must still fit.
        yield from (
            ("response", at, text) for at, text in method.document.problems(method.node["response"], exchange.body)
        )
    elif exchange.status >= 400:
        yield from (("response", at, text) for at, text in _error_problems(exchange))
    else:
        yield "status", str(exchange.status), "not described"


def _error_problems(exchange: Exchange) -> Iterator[Problem]:
    """Google's error model (AIP-193), and the list `errors` that Compute has besides."""
    try:
        error = json.loads(exchange.body)["error"]
    except (ValueError, KeyError, TypeError):
        yield "$.error", "there is none"
        return
    if error.get("code") != exchange.status:
        yield "$.error.code", f"{error.get('code')!r} is not the status {exchange.status}"
    if not isinstance(error.get("message"), str) or not error["message"]:
        yield "$.error.message", "there is none"
    yield from (
        (f"$.error.{key}", "not described") for key in error.keys() - {"code", "message", "errors", "status", "details"}
    )
    for entry in error.get("errors", ()):
        if (
            not {"message", "domain", "reason"}
            <= entry.keys()
            <= {"message", "domain", "reason", "location", "locationType"}
        ):
            yield "$.error.errors[]", f"has {sorted(entry)}"
    for detail in error.get("details", ()):
        if not str(detail.get("@type", "")).startswith("type.googleapis.com/google.rpc."):
            yield "$.error.details[].@type", f"{detail.get('@type')!r} is no known detail"


def _grant_problems(exchange: Exchange) -> Iterator[Problem]:
    """A request to OAuth's token endpoint (RFC 6749 4.1.3 and 6, RFC 7523 2.1)."""
    sent = {key.lower(): value for key, value in exchange.request_headers.items()}
    if not sent.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        yield "Content-Type", f"{sent.get('content-type')!r} is no form"
    needs = {
        "urn:ietf:params:oauth:grant-type:jwt-bearer": {"assertion"},
        "refresh_token": {"refresh_token", "client_id"},
    }
    form = parse_qs(exchange.request_body.decode("utf-8", "replace"))
    grant = form.get("grant_type", [""])[0]
    for name in (
        needs.get(grant, {"grant_type"}) - form.keys() - ({"grant_type"} if grant and grant not in needs else set())
    ):
        yield name, "required, and not sent"


def _token_problems(exchange: Exchange) -> Iterator[Problem]:
    """Its answer (RFC 6749 5.1 and 5.2)."""
    try:
        answer = json.loads(exchange.body)
    except ValueError as error:
        yield "$", f"no JSON: {error}"
        return
    if exchange.status == 200:
        if not isinstance(answer.get("access_token"), str) or str(answer.get("token_type")).lower() != "bearer":
            yield "$", f"no bearer token in {sorted(answer)}"
        if not isinstance(answer.get("expires_in"), int):
            yield "$.expires_in", "is no number"
    elif exchange.status in (400, 401) and not isinstance(answer.get("error"), str):
        yield "$.error", "is no code"


def scalar_problems(node: Node, value: Any) -> Iterator[str]:
    """What a JSON string, number or boolean breaks of its schema."""
    shown = repr(value) if len(repr(value)) <= _LONGEST else f"{repr(value)[:_LONGEST]}..."
    if "enum" in node and value not in node["enum"]:
        yield f"{shown} is none of {node['enum'][:12]}"
    if "pattern" in node and not re.fullmatch(node["pattern"], str(value)):
        yield f"{shown} does not match {node['pattern']!r}"
    if "minimum" in node and float(value) < float(node["minimum"]):
        yield f"{shown} is below {node['minimum']}"
    if "maximum" in node and float(value) > float(node["maximum"]):
        yield f"{shown} is above {node['maximum']}"
    if (problem := _format_problem(node, value)) is not None:
        yield f"{shown} {problem}"


def _format_problem(node: Node, value: Any) -> str | None:
    form = node.get("format", "")
    if form in _RANGES:
        low, high = _RANGES[form]
        if isinstance(value, str) and not re.fullmatch(r"-?\d+", value):
            return f"is no {form}"
        return None if low <= int(value) <= high else f"is beyond {form}"
    try:
        if form == "byte":
            base64.b64decode(value.replace("-", "+").replace("_", "/"), validate=True)
        elif form == "google-datetime":
            if not value.endswith("Z") or datetime.fromisoformat(value).tzinfo is None:
                raise ValueError
        elif form == "google-duration":
            if not re.fullmatch(r"-?\d+(\.\d{1,9})?s", value):
                raise ValueError
        elif "RFC3339" in node.get("description", "") and datetime.fromisoformat(value).tzinfo is None:
            raise ValueError
    except ValueError:
        return f"is no {form or 'RFC3339 time'}"
    return None


def text_problems(node: Node, text: str) -> Iterator[str]:
    """What the text of a parameter breaks: it is read as the parameter's type first."""
    match node.get("type"):
        case "boolean" if text not in ("true", "false"):
            yield f"{text!r} is no boolean"
        case "integer" if not re.fullmatch(r"-?\d+", text):
            yield f"{text!r} is no integer"
        case "integer":
            yield from scalar_problems(node, int(text))
        case _:
            yield from scalar_problems(node, text)


def _methods(resources: Node) -> Iterator[Node]:
    for resource in resources.values():
        yield from resource.get("methods", {}).values()
        yield from _methods(resource.get("resources", {}))


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\+?)(\w+)\}", template)
    text = re.escape(parts[0])
    for slashes, name, rest in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        text += f"(?P<{name}>{'.+' if slashes else '[^/]+'}){re.escape(rest)}"
    return re.compile(text)


def load(provider: str, files: list[Path], folder: Path) -> Discovery:
    """The documents in *files*; ``.gz`` is unpacked."""
    texts = (gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes() for file in files)
    return Discovery(provider, [Document(json.loads(text)) for text in texts])
