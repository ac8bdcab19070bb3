"""The official API descriptions as judges: every exchange between an adapter and an emulator is held to them.

The files are data for tests and lie outside the project (`ORCH_SPEC_DIR`). Where they and the wire are known to
differ, `differences.toml` says so; nothing else may differ.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

import yaml

from providers.registry import load
from providers.sandbox.world import Exchange
from tests.conftest import SPEC_DIR
from tests.contract.official_schema import Document

#: Provider to the files (a pattern, below the folder of API descriptions) that describe its API.
FILES = {
    "aws": "aws/*.service-2.json.gz",
    "azure": "azure/*.json",
    "gcp": "gcp/*.v1.json*",
    "lambda": "lambda/openapi.json",
    "runpod": "runpod/openapi-v2.json",
    # The single files have the trailing slashes and the limits that the combined one drops.
    "vast": "vast/endpoints/*.yaml",
}
#: Where the description is no OpenAPI: ``module:function`` that reads the files.
READERS = {
    "aws": "tests.contract.aws_official:load",
    "azure": "tests.contract.azure_official:load",
    "gcp": "tests.contract.gcp_official:load",
}
_METHODS = ("get", "put", "post", "delete", "patch")


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing in which an exchange and the description differ.

    Attributes:
        operation: as the description names it, for example ``GET /v2/pods/{id}``; with the path as it was sent if
            the description has no such operation.
        where: operation, request, query, status, response or header.
        at: JSON path without list indexes, or the name of a parameter or header, or a status.
    """

    provider: str
    operation: str
    where: str
    at: str
    message: str

    def __str__(self) -> str:
        return f"{self.provider}: {self.operation}: {self.where} {self.at}: {self.message}"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a description."""

    document: Document
    method: str
    template: str
    node: dict[str, Any]
    parameters: tuple[dict[str, Any], ...]

    @property
    def name(self) -> str:
        return f"{self.method} {self.template}"

    def fits(self, method: str, path: str) -> dict[str, str] | None:
        """The path's parameters if *method* and *path* ask for this operation."""
        pattern = "".join(
            f"(?P<{part[1:-1]}>[^/]+)" if part.startswith("{") else re.escape(part)
            for part in re.split(r"(\{\w+\})", self.template)
        )
        match = re.fullmatch(pattern, path) if method == self.method else None
        return match.groupdict() if match else None


class Judging(Protocol):
    """Whatever a provider has published, made into a judge."""

    def judge(self, exchange: Exchange, *, answered: bool = True) -> tuple[str, list[Finding]]:
        """The operation's name, and all in which *exchange* differs; see `Description.judge`.

        An empty name: it is left out, and not counted.
        """


class Description:
    """All that a provider has published of one API."""

    def __init__(self, provider: str, documents: list[Document]) -> None:
        self.provider = provider
        self.documents = documents
        self.operations = [operation for document in documents for operation in _operations(document)]

    def judge(self, exchange: Exchange, *, answered: bool = True) -> tuple[str, list[Finding]]:
        """The operation's name, and all in which *exchange* differs from the description.

        Where several files describe an operation, one that agrees is enough.

        Args:
            answered: hold the answer to it, too; False where a fault garbled it on the way.
        """
        fitting = [
            (one, found) for one in self.operations if (found := one.fits(exchange.method, exchange.path)) is not None
        ]
        # A path without parameters outdoes one with them.
        fewest = min((len(found) for _, found in fitting), default=0)
        judged = [
            (one.name, list(_Judge(self.provider, one, exchange).findings(found, answered=answered)))
            for one, found in fitting
            if len(found) == fewest
        ]
        if not judged:
            name = f"{exchange.method} {exchange.path}"
            return name, [Finding(self.provider, name, "operation", "path", "the description has no such operation")]
        return min(judged, key=lambda pair: len(pair[1]))


class _Judge:
    """Holds one exchange to one operation."""

    def __init__(self, provider: str, operation: Operation, exchange: Exchange) -> None:
        self.provider = provider
        self.operation = operation
        self.document = operation.document
        self.exchange = exchange
        self.sent = {key.lower(): value for key, value in exchange.request_headers.items()}

    def findings(self, path: dict[str, str], *, answered: bool) -> Iterator[Finding]:
        yield from self._parameters(path)
        yield from self._authorization()
        yield from self._request()
        if answered:
            yield from self._answer()

    def _found(self, where: str, at: str, message: str) -> Finding:
        return Finding(self.provider, self.operation.name, where, at, message)

    def _parameters(self, path: dict[str, str]) -> Iterator[Finding]:
        query = parse_qs(self.exchange.query, keep_blank_values=True)
        known = {p["name"]: p for p in self.operation.parameters if p["in"] == "query"}
        for name in query.keys() - known.keys():
            yield self._found("query", name, "not described")
        for name, parameter in known.items():
            if name in query:
                yield from self._parameter("query", parameter, query[name])
            elif parameter.get("required"):
                yield self._found("query", name, "required, and not sent")
        for parameter in self.operation.parameters:
            if parameter["in"] == "path":
                yield from self._parameter("request", parameter, [unquote(path[parameter["name"]])])

    def _parameter(self, where: str, parameter: dict[str, Any], texts: list[str]) -> Iterator[Finding]:
        schema = parameter["schema"]
        values: list[Any] = [*texts, *(_parsed(text) for text in texts)]
        if self.document.follow(schema).get("type") == "array":
            values = [texts if parameter.get("explode", True) else texts[0].split(",")]
        problems = [self.document.problems(schema, value) for value in values]
        for _, message in min(problems, key=len):
            yield self._found(where, parameter["name"], message)

    def _authorization(self) -> Iterator[Finding]:
        wanted = self.operation.node.get("security", self.document.value.get("security"))
        if wanted and "authorization" not in self.sent:
            yield self._found("request", "Authorization", "required, and not sent")

    def _request(self) -> Iterator[Finding]:
        body = self.exchange.request_body
        described = self.document.follow(self.operation.node.get("requestBody"))
        if described is None:
            if body:
                yield self._found("request", "$", "a body, and none is described")
            return
        if body:
            yield from self._content("request", described, body, self.sent.get("content-type", ""))
        elif described.get("required"):
            yield self._found("request", "$", "a body is required, and none was sent")

    def _answer(self) -> Iterator[Finding]:
        responses, status = self.operation.node["responses"], self.exchange.status
        # What stands as default means errors everywhere, whatever the word says.
        keys = (str(status), f"{status // 100}XX", *(["default"] if status >= 400 else []))
        key = next((key for key in keys if key in responses), None)
        if key is None:
            yield self._found("status", str(status), "not described")
            return
        described = self.document.follow(responses[key])
        yield from self._headers(described)
        if "content" in described:
            media = self.exchange.headers.get("content-type", "")
            yield from self._content("response", described, self.exchange.body, media)
        elif self.exchange.body:
            yield self._found("response", "$", f"a body with {status}, and none is described")

    def _headers(self, described: dict[str, Any]) -> Iterator[Finding]:
        given = {key.lower(): value for key, value in self.exchange.headers.items()}
        for name, node in described.get("headers", {}).items():
            header = self.document.follow(node)
            text = given.get(name.lower())
            if text is None:
                if header.get("required"):
                    yield self._found("header", name, "required, and not given")
                continue
            problems = (self.document.problems(header.get("schema", True), value) for value in (text, _parsed(text)))
            for _, message in min(problems, key=len):
                yield self._found("header", name, message)

    def _content(self, where: str, described: dict[str, Any], body: bytes, media: str) -> Iterator[Finding]:
        kind = media.partition(";")[0].strip().lower()
        if kind not in described["content"]:
            yield self._found(where, "Content-Type", f"{kind or 'none'} is not described")
            return
        schema = described["content"][kind].get("schema", True)
        for at, message in self.document.body_problems(schema, body, is_json=kind.endswith("json")):
            yield self._found(where, at, message)


def _operations(document: Document) -> Iterator[Operation]:
    for template, item in document.value["paths"].items():
        for method in _METHODS:
            if method in item:
                nodes = [*item.get("parameters", ()), *item[method].get("parameters", ())]
                parameters = tuple(document.follow(node) for node in nodes)
                yield Operation(document, method.upper(), template, item[method], parameters)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@functools.cache
def description(provider: str, folder: Path = SPEC_DIR) -> Judging | None:
    """What *provider* has published, or None if it has published nothing or the files are not there."""
    files = sorted(folder.glob(FILES[provider])) if provider in FILES else []
    if files and provider in READERS:
        judge: Judging = load(READERS[provider])(provider, files, folder)
        return judge
    documents = []
    for file in files:
        text = file.read_text(encoding="utf-8")
        value = json.loads(text) if file.suffix == ".json" else yaml.load(text, Loader=_Loader)
        documents.append(Document(value, str(file.relative_to(folder))))
    return Description(provider, documents) if documents else None


class _Loader(yaml.CSafeLoader):
    """YAML as JSON has it: dates stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
