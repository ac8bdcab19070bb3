"""Google's discovery documents as judges of what the adapter sends: paths, parameters, bodies, and no unknown field."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema

_STANDARD = "fields", "alt", "key", "prettyPrint", "quotaUser"


class Discovery:
    """One API as its discovery document has it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.prefix = "/" + document["servicePath"]
        self.defs = {name: _schema(node) for name, node in document["schemas"].items()}
        self.methods = list(_methods(document))

    @classmethod
    def load(cls, file: Path) -> Discovery:
        text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        return cls(json.loads(text))

    def method(self, request: httpx.Request) -> dict[str, Any] | None:
        """The method that *request* calls, the one with the fewest parameters in its path first."""
        fitting = [
            node
            for node in self.methods
            if node["httpMethod"] == request.method
            and re.fullmatch(_pattern(self.prefix + node.get("flatPath", node["path"])), request.url.path)
        ]
        return min(fitting, key=lambda node: node["path"].count("{"), default=None)

    def problems(self, request: httpx.Request) -> list[str]:
        """All in which *request* differs from the document."""
        node = self.method(request)
        if node is None:
            return [f"no method {request.method} {request.url.path}"]
        known = {*node.get("parameters", {}), *_STANDARD}
        found = [f"{node['id']}: no parameter {name}" for name in request.url.params if name not in known]
        if "request" not in node:
            return found + ([f"{node['id']}: takes no body"] if request.content else [])
        return found + [f"{node['id']}: {text}" for text in self.body_problems(node["request"]["$ref"], request)]

    def body_problems(self, name: str, request: httpx.Request) -> Iterator[str]:
        """What is wrong with the body, held to the schema *name*."""
        schema = {"$ref": f"#/$defs/{name}", "$defs": self.defs}
        for error in jsonschema.Draft202012Validator(schema).iter_errors(json.loads(request.content)):
            yield f"{error.json_path}: {error.message[:200]}"


def _methods(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from node.get("methods", {}).values()
    for resource in node.get("resources", {}).values():
        yield from _methods(resource)


def _pattern(path: str) -> str:
    # {+parent} spans several segments.
    parts = re.split(r"(\{\+?\w+\})", path)
    return "".join((".+" if "+" in part else "[^/]+") if part.startswith("{") else re.escape(part) for part in parts)


def _schema(node: Any) -> Any:
    """Discovery's dialect as JSON Schema; a field that is not named may not be sent, nor one that is read-only."""
    if isinstance(node, list):
        return [_schema(one) for one in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return {"$ref": f"#/$defs/{node['$ref']}"}
    if node.get("type") == "any":
        return {}
    made = {key: _schema(node[key]) for key in ("items", "enum", "additionalProperties", "type") if key in node}
    if "properties" in node:
        fields = {name: part for name, part in node["properties"].items() if not part.get("readOnly")}
        made["properties"] = {name: _schema(part) for name, part in fields.items()}
        made.setdefault("additionalProperties", False)
    if node.get("format") in ("int64", "uint64") and node.get("type") == "string":
        made["pattern"] = "^-?[0-9]+$"
    return made
