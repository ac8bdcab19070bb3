"""Microsoft's own models of Compute as judge: azure-mgmt-compute, which is made from the official description.

What the SDK says of an operation (path, parameters, statuses) and of a field (name on the wire, type, enumeration,
whether it may be sent) is held against every exchange. Of Resource Manager's other parts (groups, network, tokens,
prices) no description is at hand: an exchange with them is an unknown operation here. The official examples, which lie
outside the project, are read by `example`; `unlike` says what an answer lacks of one.
"""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import EnumMeta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from providers.sandbox.world import Exchange
from tests.contract.official import Finding

_PLAIN: dict[Any, tuple[type, ...]] = {str: (str,), bool: (bool,), int: (int,), float: (int, float)}
_URL = re.compile(r'_url = \(?\s*"([^"]+)"')
#: The SDK's enumeration of these is deprecated and short of most, says its own text.
_OPEN = frozenset({"$.properties.hardwareProfile.vmSize", "$.value[].properties.hardwareProfile.vmSize"})
#: Sent with every request of an SDK, or with that for a list's next page.
_FRAME = {"api-version", "$skiptoken"}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the SDK.

    Attributes:
        name: for example ``PUT /subscriptions/{subscriptionId}/.../virtualMachines/{vmName}``.
        query: the names of its parameters.
        request, answer: type hints of the bodies, None for none.
        paged: the answer is a page of such.
        statuses: of a success.
    """

    name: str
    pattern: re.Pattern[str]
    method: str
    query: frozenset[str]
    request: Any
    answer: Any
    paged: bool
    statuses: frozenset[int]


class Sdk:
    """All operations of azure-mgmt-compute; a `Judging` for the watch."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.operations = list(_operations())

    def judge(self, exchange: Exchange, *, answered: bool = True) -> tuple[str, list[Finding]]:
        """The operation's name, and all in which *exchange* differs from the SDK's models."""
        fitting = [
            one for one in self.operations if one.method == exchange.method and one.pattern.fullmatch(exchange.path)
        ]
        if not fitting:
            name = f"{exchange.method} {_generic(exchange.path)}"
            return name, [Finding(self.provider, name, "operation", "path", "the SDK of Compute has no such operation")]
        # Of two on one path (images with and without properties) the one whose parameters fit.
        judged = [(one.name, list(self._findings(one, exchange, answered))) for one in fitting]
        return min(judged, key=lambda pair: len(pair[1]))

    def _findings(self, operation: Operation, exchange: Exchange, answered: bool) -> Iterator[Finding]:
        def found(where: str, at: str, message: str) -> Finding:
            return Finding(self.provider, operation.name, where, at, message)

        query = parse_qs(exchange.query, keep_blank_values=True)
        if "api-version" not in query:
            yield found("query", "api-version", "required, and not sent")
        for name in query.keys() - operation.query - _FRAME:
            yield found("query", name, "not described")
        if not any(name.lower() == "authorization" for name in exchange.request_headers):
            yield found("request", "Authorization", "required, and not sent")
        if exchange.request_body:
            if operation.request is None:
                yield found("request", "$", "a body, and none is described")
            else:
                value = _json(exchange.request_body)
                yield from (found("request", *one) for one in problems(operation.request, value, sent=True))
        if answered:
            yield from (found(*one) for one in _answer(operation, exchange))


def _answer(operation: Operation, exchange: Exchange) -> Iterator[tuple[str, str, str]]:
    if exchange.status >= 400:
        yield from (("response", at, message) for at, message in refusal_problems(exchange.body))
        return
    if exchange.status not in operation.statuses:
        yield "status", str(exchange.status), f"a success is one of {sorted(operation.statuses)}"
    if not exchange.body:
        if operation.answer is not None and exchange.status not in (202, 204):
            yield "response", "$", "a body is described, and there is none"
        return
    if operation.answer is None:
        yield "response", "$", "a body, and none is described"
        return
    value, hint = _json(exchange.body), operation.answer
    if not operation.paged:
        yield from (("response", at, message) for at, message in problems(hint, value))
        return
    if not isinstance(value, dict):
        yield "response", "$", "no page of a list"
        return
    for name in value.keys() - {"value", "nextLink"}:
        yield "response", f"$.{name}", "not described"
    for row in value.get("value", []):
        yield from (("response", at, message) for at, message in problems(hint, row, "$.value[]"))


def _json(body: bytes) -> Any:
    """The value, or the text itself where it is no JSON, which no model of an object agrees with."""
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")[:80]


def refusal_problems(body: bytes) -> Iterator[tuple[str, str]]:
    """In what a refusal is not as azure-core reads one: code and message, under ``error`` or bare."""
    value = _json(body)
    error = value.get("error", value) if isinstance(value, dict) else None
    if not isinstance(error, dict):
        yield "$.error", "no object"
        return
    for name in ("code", "message"):
        if not isinstance(error.get(name), str) or not error[name]:
            yield f"$.error.{name}", "no text"
    for name in error.keys() - {"code", "message", "target", "details", "innererror", "additionalInfo"}:
        yield f"$.error.{name}", "not described"


def problems(hint: Any, value: Any, at: str = "$", *, sent: bool = False) -> Iterator[tuple[str, str]]:
    """Where a JSON value differs from the SDK's type hint, and how.

    Args:
        sent: the value is part of a request: what can only be read must not be there.
    """
    choices = list(typing.get_args(hint)) if typing.get_origin(hint) is typing.Union else [hint]
    if value is None:
        if type(None) not in choices:
            yield at, "null"
        return
    choices = [one for one in choices if one is not type(None)]
    enums: list[Any] = [one for one in choices if isinstance(one, EnumMeta)]
    if enums:
        if at not in _OPEN and value not in {member.value for enum in enums for member in enum}:
            yield at, f"{value!r} is not in the enumeration"
        return
    found = [list(_one(choice, value, at, sent=sent)) for choice in choices]
    yield from min(found, key=len, default=[])


def _one(hint: Any, value: Any, at: str, *, sent: bool) -> Iterator[tuple[str, str]]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        if not isinstance(value, _PLAIN[hint]) or (isinstance(value, bool) and hint is not bool):
            yield at, f"{value!r} is no {hint.__name__}"
    elif hint is datetime:
        try:
            datetime.fromisoformat(str(value).replace("Z", "+00:00"))
        except ValueError:
            yield at, f"{value!r} is no time"
    elif origin is list:
        if not isinstance(value, list):
            yield at, "not a list"
            return
        for part in value:
            yield from problems(args[0], part, f"{at}[]", sent=sent)
    elif origin is dict:
        if not isinstance(value, dict):
            yield at, "not an object"
            return
        for part in value.values():
            yield from problems(args[1], part, f"{at}{{}}", sent=sent)
    elif _is_model(hint):
        yield from _model(hint, value, at, sent=sent)


def _is_model(hint: Any) -> bool:
    from azure.mgmt.compute._utils.model_base import Model

    return inspect.isclass(hint) and issubclass(hint, Model)


def _model(model: Any, value: Any, at: str, *, sent: bool) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict):
        yield at, "not an object"
        return
    fields = _fields(model)
    for name, part in value.items():
        if name not in fields:
            yield f"{at}.{name}", "not described"
            continue
        hint, read_only = fields[name]
        if sent and read_only:
            yield f"{at}.{name}", "can only be read"
        else:
            yield from problems(hint, part, f"{at}.{name}", sent=sent)
    for name, (hint, read_only) in fields.items():
        if name not in value and not read_only and type(None) not in typing.get_args(hint):
            yield f"{at}.{name}", "required, and not there"


_KNOWN: dict[Any, dict[str, tuple[Any, bool]]] = {}


def _fields(model: Any) -> dict[str, tuple[Any, bool]]:
    """A model's fields by their names on the wire: type hint, and whether they can only be read."""
    if model not in _KNOWN:
        from azure.mgmt.compute import models
        from azure.mgmt.compute.models import _enums, _models

        model({})  # the SDK learns its own fields when the first one is made
        names = {**vars(typing), **vars(_enums), **vars(_models), "_models": models}
        hints: dict[str, Any] = {}
        for base in reversed(model.__mro__):
            hints |= vars(base).get("__annotations__", {})
        found = {}
        for key, field in model._attr_to_rest_field.items():
            hint = hints.get(key, Any)
            hint = eval(hint, names) if isinstance(hint, str) else _resolved(hint, names)
            found[field._rest_name] = (hint, field._visibility == ["read"])
        _KNOWN[model] = found
    return _KNOWN[model]


def _resolved(hint: Any, names: dict[str, Any]) -> Any:
    class Holder:
        __annotations__ = {"it": hint}

    return typing.get_type_hints(Holder, globalns=names)["it"]


def _operations() -> Iterator[Operation]:
    from azure.mgmt.compute import operations
    from azure.mgmt.compute.operations import _operations as source

    builders = {
        name[len("build_") : -len("_request")]: made
        for name, made in vars(source).items()
        if name.startswith("build_") and name.endswith("_request")
    }
    for name, group in vars(operations).items():
        if not name.endswith("Operations"):
            continue
        prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", name.removesuffix("Operations")).lower()
        for method, made in vars(group).items():
            builder = builders.get(f"{prefix}_{method.removeprefix('begin_')}")
            if method.startswith("_") or builder is None or not _URL.search(text := inspect.getsource(builder)):
                continue
            initial = getattr(group, f"_{method.removeprefix('begin_')}_initial", made)
            yield _operation(text, made, inspect.getsource(initial))


def _operation(builder: str, made: Any, sender: str) -> Operation:
    template = _URL.findall(builder)[0].partition("?")[0]
    method = re.findall(r'HttpRequest\(method="(\w+)"', builder)[0]
    hints = made.__annotations__
    answer, paged = hints.get("return"), False
    origin, args = typing.get_origin(answer), typing.get_args(answer)
    if origin is not None and origin.__name__ in ("LROPoller", "ItemPaged"):
        answer, paged = args[0], origin.__name__ == "ItemPaged"
    if isinstance(answer, typing.ForwardRef | str):
        from azure.mgmt.compute import models

        answer = getattr(models, str(getattr(answer, "__forward_arg__", answer)).rpartition(".")[2])
    body = next((hints[name] for name in ("parameters", "extension_parameters", "disk", "body") if name in hints), None)
    models_of = [one for one in typing.get_args(body) if _is_model(one)]
    statuses = {
        int(text) for found in re.findall(r"status_code not in \[([\d, ]+)\]", sender) for text in found.split(",")
    }
    pattern = "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", template))
    return Operation(
        name=f"{method} {template}",
        pattern=re.compile(pattern, re.IGNORECASE),
        method=method,
        query=frozenset(re.findall(r'_params\["([^"]+)"\]', builder)),
        request=models_of[0] if models_of else None,
        answer=None if answer in (None, type(None)) else answer,
        paged=paged,
        statuses=frozenset(statuses),
    )


def _generic(path: str) -> str:
    """A path with the names taken out, so that two of a kind count as one operation."""
    text = re.sub(r"(?i)/(subscriptions|locations|operations|operationresults)/[^/]+", r"/\1/{}", path)
    text = re.sub(r"(?i)/resourcegroups(/[^/]+)?", lambda found: "/resourceGroups" + ("/{}" if found[1] else ""), text)
    # Behind a provider's namespace types and names take turns.
    head, provider, tail = text.partition("/providers/")
    parts = tail.split("/")
    return head + provider + "/".join("{}" if number and number % 2 == 0 else part for number, part in enumerate(parts))


def load(provider: str, files: list[Path], folder: Path) -> Sdk:
    """The judge; the official examples in *files* need none."""
    pytest.importorskip(
        "azure.mgmt.compute", reason="azure-mgmt-compute is not installed: pip install 'gpu-orch[azure]'"
    )
    return Sdk(provider)


# The official examples.


def example(folder: Path, name: str) -> dict[str, Any]:
    """One of the examples; the test is skipped where they are not."""
    file = folder / "azure" / f"{name}.json"
    if not file.is_file():
        pytest.skip(f"no {file.name}: set ORCH_SPEC_DIR to the folder of official API descriptions")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def unlike(official: Any, ours: Any, at: str = "$") -> Iterator[str]:
    """What an answer lacks of an example, or has as another JSON type. Of lists the first entries are compared."""
    if isinstance(official, dict):
        if not isinstance(ours, dict):
            yield f"{at}: no object"
            return
        for name, part in official.items():
            if name not in ours:
                yield f"{at}.{name}: missing"
            elif part is not None:
                yield from unlike(part, ours[name], f"{at}.{name}")
    elif isinstance(official, list):
        if not isinstance(ours, list):
            yield f"{at}: no list"
        elif official and ours:
            yield from unlike(official[0], ours[0], f"{at}[]")
        elif official:
            yield f"{at}: empty"
    elif type(official) is not type(ours):
        yield f"{at}: {type(ours).__name__} for {type(official).__name__}"
