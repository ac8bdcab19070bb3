"""AWS's own service models as judge: the files from which the SDKs are made.

EC2 and STS speak forms and XML, the others JSON 1.1. What a model says of a member (its name on the wire, its type,
its enumeration, whether it is required) is held against every request and every answer.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree

from providers.sandbox.world import Exchange
from tests.contract.official import Finding

_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/[^/]*/([a-z0-9-]+)/aws4_request")
#: A value's text by the model's type; blobs, timestamps and maps of texts are taken as they are.
_TEXTS = {
    "integer": re.compile(r"-?\d+"),
    "long": re.compile(r"-?\d+"),
    "double": re.compile(r"-?\d+(\.\d+)?([eE]-?\d+)?"),
    "float": re.compile(r"-?\d+(\.\d+)?([eE]-?\d+)?"),
    "boolean": re.compile(r"true|false"),
    "timestamp": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"),
}
_JSON_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "long": int,
    "double": (int, float),
    "float": (int, float),
    "boolean": bool,
    "timestamp": (int, float),
}
_FRAME = {"Action", "Version"}


class Model:
    """One service's model."""

    def __init__(self, value: dict[str, Any]) -> None:
        self.shapes: dict[str, dict[str, Any]] = value["shapes"]
        self.operations: dict[str, dict[str, Any]] = value["operations"]
        self.version: str = value["metadata"]["apiVersion"]
        self.protocol: str = value["metadata"]["protocol"]
        self.prefix: str = value["metadata"].get("targetPrefix", "")

    def shape(self, name: str) -> dict[str, Any]:
        """The shape called *name*."""
        return self.shapes[name]


class Models:
    """All services that are there; a `Description` for the watch."""

    def __init__(self, provider: str, models: dict[str, Model]) -> None:
        self.provider = provider
        self.models = models

    def judge(self, exchange: Exchange, *, answered: bool = True) -> tuple[str, list[Finding]]:
        """The operation's name, and all in which *exchange* differs from the models.

        No name for the public price list's files: they are documented, and are no operation of any service.
        """
        if exchange.method == "GET" and exchange.path.startswith("/offers/"):
            return "", []
        sent = {key.lower(): value for key, value in exchange.request_headers.items()}
        scope = _SCOPE.search(sent.get("authorization", ""))
        model = self.models.get(scope[1]) if scope else None
        name = f"{exchange.method} {exchange.path}"
        if model is None or scope is None:
            return name, [Finding(self.provider, name, "operation", "path", "no signed call of a described service")]
        reader = _Json if model.protocol == "json" else _Xml
        judged = reader(self.provider, scope[1], model, exchange, sent)
        return judged.name, list(judged.findings(answered=answered))


class _Reader:
    def __init__(self, provider: str, service: str, model: Model, exchange: Exchange, sent: dict[str, str]) -> None:
        self.provider = provider
        self.model = model
        self.exchange = exchange
        self.sent = sent
        self.action = self.read_action()
        self.name = f"{service} {self.action}"

    def read_action(self) -> str:
        raise NotImplementedError

    def request(self, shape: str | None) -> Iterator[Finding]:
        raise NotImplementedError

    def answer(self, node: dict[str, Any]) -> Iterator[Finding]:
        raise NotImplementedError

    def refusal(self) -> Iterator[Finding]:
        raise NotImplementedError

    def findings(self, *, answered: bool) -> Iterator[Finding]:
        node = self.model.operations.get(self.action)
        if node is None:
            yield self.found("operation", "path", "the model has no such operation")
            return
        yield from self.request(node.get("input", {}).get("shape"))
        if not answered:
            return
        if self.exchange.status >= 400:
            yield from self.refusal()
        elif self.exchange.status != 200:
            yield self.found("status", str(self.exchange.status), "AWS answers a success with 200")
        else:
            yield from self.answer(node.get("output", {}))

    def found(self, where: str, at: str, message: str) -> Finding:
        return Finding(self.provider, self.name, where, at, message)

    def wrong(self, where: str, at: str, shape: dict[str, Any], text: str) -> Iterator[Finding]:
        """What is wrong with a scalar's text."""
        kind = shape["type"]
        if kind in {"structure", "list", "map"}:
            yield self.found(where, at, f"a text, and the model has a {kind}")
        elif kind in _TEXTS and not _TEXTS[kind].fullmatch(text):
            yield self.found(where, at, f"{text!r} is no {kind}")
        elif "enum" in shape and text not in shape["enum"]:
            yield self.found(where, at, f"{text!r} is not in the enumeration")

    def missing(self, where: str, at: str, shape: dict[str, Any], given: set[str]) -> Iterator[Finding]:
        for name in shape.get("required", ()):
            if name not in given:
                yield self.found(where, f"{at}.{name}", "required, and not there")


class _Xml(_Reader):
    """Form in, XML out: EC2's dialect and the older query protocol."""

    def read_action(self) -> str:
        self.form = parse_qsl(self.exchange.request_body.decode(), keep_blank_values=True)
        return dict(self.form).get("Action", "")

    def request(self, shape: str | None) -> Iterator[Finding]:
        form = dict(self.form)
        if form.get("Version") != self.model.version:
            yield self.found("request", "Version", f"{form.get('Version')!r} is not {self.model.version}")
        tree: dict[str, Any] = {}
        for name, value in self.form:
            if name in _FRAME:
                continue
            node = tree
            *path, last = name.split(".")
            for part in path:
                node = node.setdefault(part, {})
            node[last] = value
        if shape is None:
            if tree:
                yield self.found("request", "$", "parameters, and none are described")
            return
        yield from self._sent("$", self.model.shape(shape), tree)

    def _sent(self, at: str, shape: dict[str, Any], value: Any) -> Iterator[Finding]:
        if isinstance(value, str):
            yield from self.wrong("request", at, shape, value)
        elif shape["type"] == "structure":
            members = {self._sent_name(key, member): (key, member) for key, member in shape["members"].items()}
            given = {members[name][0] for name in value if name in members}
            yield from self.missing("request", at, shape, given)
            for name, part in value.items():
                if name not in members:
                    yield self.found("request", f"{at}.{name}", "not described")
                else:
                    yield from self._sent(f"{at}.{name}", self.model.shape(members[name][1]["shape"]), part)
        elif shape["type"] == "list":
            if sorted(value) != sorted(str(number) for number in range(1, len(value) + 1)):
                yield self.found("request", at, "the list is not numbered from 1")
            for part in value.values():
                yield from self._sent(at, self.model.shape(shape["member"]["shape"]), part)
        else:
            yield self.found("request", at, f"a tree, and the model has a {shape['type']}")

    def _sent_name(self, key: str, member: dict[str, Any]) -> str:
        if self.model.protocol != "ec2":
            return str(member.get("locationName", key))
        name = member.get("locationName")
        return str(member.get("queryName") or (name[0].upper() + name[1:] if name else key))

    def answer(self, node: dict[str, Any]) -> Iterator[Finding]:
        root = self._parsed()
        if root is None:
            yield self.found("response", "$", "no XML")
            return
        if _bare(root.tag) != f"{self.action}Response":
            yield self.found("response", "$", f"the outermost element is {_bare(root.tag)}")
        body: ElementTree.Element | None = root
        if wrapper := node.get("resultWrapper"):
            body = next((child for child in root if _bare(child.tag) == wrapper), None)
        elif not any(_bare(child.tag) == "requestId" for child in root):
            yield self.found("response", "$.requestId", "required, and not there")
        if body is None:
            yield self.found("response", "$", f"no {node['resultWrapper']}")
        elif "shape" in node:
            yield from self._got("$", self.model.shape(node["shape"]), body, outermost=True)

    def _got(
        self, at: str, shape: dict[str, Any], element: ElementTree.Element, *, outermost: bool = False
    ) -> Iterator[Finding]:
        kind = shape["type"]
        if kind == "structure":
            members = {str(one.get("locationName", key)): (key, one) for key, one in shape["members"].items()}
            seen: set[str] = set()
            for child in element:
                name = _bare(child.tag)
                if outermost and name == "requestId":
                    continue
                if name not in members:
                    yield self.found("response", f"{at}.{name}", "not described")
                    continue
                if name in seen:
                    yield self.found("response", f"{at}.{name}", "twice")
                seen.add(name)
                yield from self._got(f"{at}.{name}", self.model.shape(members[name][1]["shape"]), child)
        elif kind == "list":
            member = shape["member"]
            for child in element:
                if _bare(child.tag) != member.get("locationName", "member"):
                    yield self.found("response", f"{at}.{_bare(child.tag)}", "not a list's element")
                yield from self._got(at, self.model.shape(member["shape"]), child)
        elif len(element):
            yield self.found("response", at, f"elements, and the model has a {kind}")
        else:
            yield from self.wrong("response", at, shape, (element.text or "").strip())

    def refusal(self) -> Iterator[Finding]:
        root = self._parsed()
        path = ("Errors", "Error") if self.model.protocol == "ec2" else ("Error",)
        node: ElementTree.Element | None = root
        for part in path:
            node = None if node is None else next((one for one in node if _bare(one.tag) == part), None)
        given = set() if node is None else {_bare(child.tag) for child in node}
        if not {"Code", "Message"} <= given:
            yield self.found("response", "$", f"a refusal without {'/'.join(path)}/Code and Message")

    def _parsed(self) -> ElementTree.Element | None:
        try:
            return ElementTree.fromstring(self.exchange.body)
        except ElementTree.ParseError:
            return None


class _Json(_Reader):
    """JSON 1.1 both ways."""

    def read_action(self) -> str:
        prefix, _, action = self.sent.get("x-amz-target", "").partition(".")
        return action if prefix == self.model.prefix else ""

    def request(self, shape: str | None) -> Iterator[Finding]:
        yield from self._value("request", "$", self.model.shape(shape or ""), json.loads(self.exchange.request_body))

    def answer(self, node: dict[str, Any]) -> Iterator[Finding]:
        try:
            value = json.loads(self.exchange.body)
        except ValueError:
            yield self.found("response", "$", "no JSON")
            return
        yield from self._value("response", "$", self.model.shape(node["shape"]), value)

    def refusal(self) -> Iterator[Finding]:
        try:
            value = json.loads(self.exchange.body)
        except ValueError:
            value = None
        if not isinstance(value, dict) or "__type" not in value:
            yield self.found("response", "$", "a refusal without __type")

    def _value(self, where: str, at: str, shape: dict[str, Any], value: Any) -> Iterator[Finding]:
        kind = shape["type"]
        if kind == "structure":
            if not isinstance(value, dict):
                yield self.found(where, at, "not an object")
                return
            yield from self.missing(where, at, shape, set(value))
            for name, part in value.items():
                if name not in shape["members"]:
                    yield self.found(where, f"{at}.{name}", "not described")
                elif part is not None or where == "request":
                    inner = self.model.shape(shape["members"][name]["shape"])
                    yield from self._value(where, f"{at}.{name}", inner, part)
        elif kind == "list":
            if not isinstance(value, list):
                yield self.found(where, at, "not a list")
                return
            for part in value:
                yield from self._value(where, at, self.model.shape(shape["member"]["shape"]), part)
        elif kind in _JSON_TYPES and (
            not isinstance(value, _JSON_TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")
        ):
            yield self.found(where, at, f"{value!r} is no {kind}")
        elif "enum" in shape and value not in shape["enum"]:
            yield self.found(where, at, f"{value!r} is not in the enumeration")


def _bare(tag: str) -> str:
    return tag.rpartition("}")[2]


def load(provider: str, files: list[Path], folder: Path) -> Models:
    """The models in *files*, by the names that signatures have for the services."""
    found = {}
    for file in files:
        value = json.loads(gzip.decompress(file.read_bytes()))
        metadata = value["metadata"]
        found[metadata.get("signingName", metadata["endpointPrefix"])] = Model(value)
    # The price list's signing name in requests is that of the service, not of its host.
    return Models(provider, {name.removeprefix("api."): model for name, model in found.items()})
