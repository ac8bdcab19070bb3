"""Request options as people write them, on a command line, in a TOML file or in Python, made into a `Request`.

A bare number is hours for ``hours``, GB for ``egress`` and ``ingress``, GiB for ``disk`` and ``memory``. Other
durations need a unit, so that nobody's hours are taken for seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from policies import units
from policies.errors import BadRequest, nearest
from policies.geo import country_code
from policies.request import Request

Reader = Callable[[Any, str], Any]


def build(options: Mapping[str, object]) -> Request:
    """A valid request.

    Args:
        options: values by option name (``egress``, ``exclude-provider`` or ``exclude_provider``) or by field name
            (``egress_gb``, ``ttl_s``: a bare number is then in that unit). None means "not given". Lists may be
            lists, tuples or, but for `require`, `env` and `port`, comma-separated text.

    Raises:
        BadRequest: an option is unknown, cannot be read or is out of bounds.
    """
    fields: dict[str, Any] = {}
    for option, value in options.items():
        if value is None:
            continue
        field, read = _option(option)
        if field in fields:
            raise BadRequest(f"{option}: given twice, once as {field}")
        fields[field] = read(value, option)
    return Request(**fields).validate()


def read_request(text: str, file: str) -> Request:
    """The request in a TOML file: option names as keys.

    Raises:
        BadRequest: with file and line.
    """
    from policies.tomlfile import TomlFile

    document = TomlFile.parse(text, file, BadRequest)
    try:
        return build(document.data)
    except BadRequest as error:
        option = error.message.partition(":")[0]
        line = document.line_of((), option, option.replace("-", "_"), option.replace("_", "-"))
        raise BadRequest(error.message, hint=error.hint, file=file, line=line) from error


def _option(name: str) -> tuple[str, Reader]:
    plain = name.replace("-", "_")
    if plain in _OPTIONS:
        return _OPTIONS[plain]
    raise BadRequest(f"{name}: there is no such option", hint=nearest(plain, _OPTIONS))


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise BadRequest(f"{name}: {value!r} is neither true nor false")
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"{name}: {value!r} is not text")
    return value


def _items(value: object, name: str) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, Iterable):
        raise BadRequest(f"{name}: {value!r} is not a list")
    return tuple(_text(item, name) for item in items)


def _words(value: object, name: str) -> tuple[str, ...]:
    parts = (part.strip() for item in _items(value, name) for part in item.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def _lower_words(value: object, name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _words(value, name))


def _countries(value: object, name: str) -> tuple[str, ...]:
    return tuple(country_code(word) for word in _words(value, name))


def _ports(value: object, name: str) -> tuple[str, ...]:
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(f"{item}/tcp" if str(item).isdigit() else str(item) for item in items)


def _env(value: object, name: str) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {str(key): _text(text, name) for key, text in value.items()}
    found: dict[str, str] = {}
    for item in _items(value, name):
        key, sign, text = item.partition("=")
        if not sign:
            raise BadRequest(f"{name}: {item!r} has no value", hint="write --env NAME=VALUE")
        found[key] = text
    return found


def _hours(value: Any, name: str) -> float:
    return units.duration_s(value, name, bare="h") / 3600


def _seconds(value: Any, name: str) -> float:
    return units.duration_s(value, name, bare="s" if name.endswith("_s") else None)


def _disk(value: Any, name: str) -> int:
    # Rounded up: a disk of 500 GB is asked for as 466 GiB. The tiny allowance forgives binary fractions.
    return math.ceil(units.size_gib(value, name) - 1e-9)


def _choice(value: object, name: str) -> str:
    return _text(value, name).strip().lower()


_OPTIONS: dict[str, tuple[str, Reader]] = {
    "gpu": ("gpu", _words),
    "count": ("count", units.whole),
    "replicas": ("replicas", units.whole),
    "or_better": ("or_better", _flag),
    "policy": ("policy", _text),
    "require": ("require", _items),
    "hours": ("hours", _hours),
    "egress": ("egress_gb", units.volume_gb),
    "ingress": ("ingress_gb", units.volume_gb),
    "checkpoint": ("checkpoint_s", _seconds),
    "disk": ("disk_gib", _disk),
    "cpus": ("cpus", units.number),
    "memory": ("memory_gib", units.size_gib),
    "region": ("region", _words),
    "country": ("country", _countries),
    "provider": ("provider", _lower_words),
    "exclude_provider": ("exclude_provider", _lower_words),
    "workload": ("workload", _choice),
    "image": ("image", _text),
    "cmd": ("cmd", _text),
    "env": ("env", _env),
    "port": ("port", _ports),
    "max_price": ("max_price", units.money),
    "budget": ("budget", units.money),
    "ttl": ("ttl_s", _seconds),
    "idle": ("idle_s", _seconds),
    "name": ("name", _text),
    "keep": ("keep", _flag),
    "ready": ("ready", _choice),
    "wait": ("wait_s", _seconds),
    "deadline": ("deadline_s", _seconds),
}
_OPTIONS.update({field: (field, read) for field, read in list(_OPTIONS.values())})
