"""One official API description as JSON Schema: values are held to it, and members that it does not name are found.

OpenAPI 3.1 schemas are JSON Schema 2020-12 as they stand. Those of OpenAPI 3.0 are an older dialect, which is put into
2020-12 first: `nullable`, boolean exclusive bounds, and siblings of `$ref`, which 3.0 ignores.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, TypeVar

from jsonschema import Draft202012Validator, FormatChecker, validators
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry
from referencing.jsonschema import DRAFT202012

T = TypeVar("T")

_BASE = "urn:official"
_FORMATS = FormatChecker()
_KINDS = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}
#: A message quotes the value that is wrong, which may be a whole listing.
_LONGEST_MESSAGE = 240


@_FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    return "T" in value.upper() and datetime.fromisoformat(value).tzinfo is not None


def _ecma_pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    """Patterns are ECMA 262: digits are ASCII, and ``$`` is the very end, not before a last newline, too."""
    ecma = re.sub(r"(?<!\\)\$(?![^\[]*\])", r"\\Z", pattern)
    if isinstance(value, str) and not re.search(ecma, value, re.ASCII):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


_Validator: Any = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {"pattern": _ecma_pattern}
)


class Document:
    """One API description.

    Args:
        value: the parsed file.
        source: its name, for people.

    A schema is a node of `value`, as it stands there.
    """

    def __init__(self, value: dict[str, Any], source: str) -> None:
        old = str(value["openapi"]).startswith("3.0")
        self.value: dict[str, Any] = _absolute(value, old=old)
        self.source = source
        resource = DRAFT202012.create_resource(self.value)
        self._registry: Registry[Any] = Registry().with_resource(_BASE, resource)
        self._validators: dict[int, Any] = {}
        self._judged: dict[tuple[int, bytes], list[tuple[str, str]]] = {}

    def follow(self, node: Any) -> Any:
        """*node*, or what it refers to."""
        while isinstance(node, dict) and "$ref" in node:
            target: Any = self.value
            for part in node["$ref"].removeprefix(f"{_BASE}#/").split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")]
            node = target
        return node

    def problems(self, schema: Any, value: Any) -> list[tuple[str, str]]:
        """What *value* breaks of *schema*, as (JSON path without list indexes, message), each once."""
        if id(schema) not in self._validators:
            self._validators[id(schema)] = _Validator(schema, registry=self._registry, format_checker=_FORMATS)
        errors = self._validators[id(schema)].iter_errors(value)
        return _unique((_path(error), _message(error)) for error in errors)

    def body_problems(self, schema: Any, body: bytes, *, is_json: bool) -> list[tuple[str, str]]:
        """What *body* breaks of *schema*, and its members that are not described.

        Remembered, for whole catalogues come back unchanged a hundred times in a test run.
        """
        key = (id(schema), hashlib.sha256(body).digest())
        if key not in self._judged:
            self._judged[key] = list(self._body_problems(schema, body, is_json=is_json))
        return self._judged[key]

    def _body_problems(self, schema: Any, body: bytes, *, is_json: bool) -> Iterator[tuple[str, str]]:
        value: Any = body.decode()
        if is_json:
            try:
                value = json.loads(body)
            except ValueError as error:
                yield "$", f"no JSON: {error}"
                return
        yield from self.problems(schema, value)
        yield from ((at, "not described") for at in self.undescribed(schema, value))

    def undescribed(self, schema: Any, value: Any, path: str = "$") -> list[str]:
        """JSON paths of members of *value* that *schema* neither names nor leaves room for.

        Most descriptions forbid nothing, and would accept any misspelt member; this is what finds it.
        """
        parts = list(self._parts(schema))
        if isinstance(value, list):
            items = [part["items"] for part in parts if "items" in part]
            return _unique(found for one in value for found in self._least(items, one, f"{path}[]"))
        if not isinstance(value, dict):
            return []
        named: dict[str, list[Any]] = {}
        for part in parts:
            for key, member in part.get("properties", {}).items():
                named.setdefault(key, []).append(member)
        more = [part["additionalProperties"] for part in parts if part.get("additionalProperties", False) is not False]
        found: list[str] = []
        for key, member in value.items():
            if key in named or more:
                found += self._least(named.get(key, more), member, f"{path}.{key}")
            elif named:
                found.append(f"{path}.{key}")
        return _unique(found)

    def _least(self, schemas: list[Any], value: Any, path: str) -> list[str]:
        """By the most generous of several schemas of the same value."""
        return min((self.undescribed(schema, value, path) for schema in schemas), key=len, default=[])

    def _parts(self, schema: Any) -> Iterator[dict[str, Any]]:
        """*schema* and every schema composed into it."""
        if not isinstance(schema, dict):
            return
        yield schema
        if "$ref" in schema:
            yield from self._parts(self.follow(schema))
        for kind in ("allOf", "anyOf", "oneOf"):
            for part in schema.get(kind, ()):
                yield from self._parts(part)
        for kind in ("then", "else"):
            yield from self._parts(schema.get(kind))


def _absolute(node: Any, *, old: bool) -> Any:
    """A copy of *node* whose references hold wherever it stands, in 2020-12's words if it is *old*."""
    if isinstance(node, list):
        return [_absolute(item, old=old) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _absolute(item, old=old) for key, item in node.items()}
    if isinstance(node.get("$ref"), str):
        reference = {"$ref": _BASE + node["$ref"]}
        return reference if old else made | reference
    return _modern(made) if old else made


def _modern(schema: dict[str, Any]) -> dict[str, Any]:
    """One schema of OpenAPI 3.0 in JSON Schema 2020-12."""
    made = dict(schema)
    # Asked for by type: a map of properties may have members of these names.
    if made.get("nullable") is True and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
        if isinstance(made.get("enum"), list):
            made["enum"] = [*made["enum"], None]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(made.get(exclusive), bool) and made.pop(exclusive) and bound in made:
            made[exclusive] = made.pop(bound)
    return made


def _path(error: ValidationError) -> str:
    return "$" + "".join("[]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)


def _message(error: ValidationError) -> str:
    if error.context:
        return _no_choice(error)
    if error.validator == "type":
        return f"{_KINDS[type(error.instance)]} is not of type {error.validator_value!r}"
    text = error.message
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}..."


def _no_choice(error: ValidationError) -> str:
    """Why none of several schemas fits: by the constant that tells them apart, if there is one."""
    constants = {one.schema_path[0]: one for one in error.context or () if one.validator == "const"}
    choices: Any = error.validator_value
    if len(constants) == len(choices):
        one = next(iter(constants.values()))
        return f"{_path(one)} {one.instance!r} is none of {[one.validator_value for one in constants.values()]}"
    inner = best_match(error.context or ())
    return f"{_path(inner)} {_message(inner)} (and no other choice fits)"


def _unique(found: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(found))
