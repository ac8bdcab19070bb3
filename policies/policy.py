"""Policies by name: built in, in a TOML file, or brought by an entry point; and `--require` on top of them.

A file extends others by name or path. What several of them require is combined by tightening, so the result
satisfies each; then the file's own keys replace what they name. Reading files is all the I/O there is here, and only
on request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from policies import units
from policies.errors import BadPolicy, BadRequest, nearest
from policies.keys import DEFAULT_PRICING, KEYS, key_named
from policies.model import Failover, Minimize, Objective, Policy, PolicyLike, Require, describe
from policies.tomlfile import TomlFile

__all__ = [
    "Failover",
    "Minimize",
    "Objective",
    "Policy",
    "PolicyLike",
    "Require",
    "as_policy",
    "check_evidence",
    "describe",
    "load",
    "names",
    "read_policy",
    "tighten",
    "tighten_require",
]

BUILTIN = Path(__file__).parent / "builtin"
GROUP = "orch.policies"

_TABLES = {
    "require": tuple(KEYS),
    "minimize": ("objective",),
    "failover": ("deadline_s", "max_spend_usd"),
}
_TOP = ("name", "description", "extends", *_TABLES)


@dataclass(slots=True)
class _Layer:
    """What a file states, and nothing that it leaves out."""

    require: dict[str, Any] = field(default_factory=dict)
    objective: Objective | None = None
    failover: dict[str, Any] = field(default_factory=dict)
    description: str = ""
    score: Any = None


def load(name: str) -> Policy:
    """The policy of that name, or in the file of that path (one that has a ``/`` or ends in ``.toml``).

    Raises:
        BadPolicy: there is none (the hint names the nearest), or it cannot be read: file, line and suggestion.
    """
    layer, source = _find(name, None, ())
    return _finish(name, layer, source)


def read_policy(text: str, file: str) -> Policy:
    """The policy in *text*, which came from *file*; paths that it extends start from that file's folder.

    Raises:
        BadPolicy: as for `load`.
    """
    return _finish(file, _read(text, file, Path(file).parent, (str(Path(file).resolve()),)), "file")


def names() -> tuple[str, ...]:
    """All policies there are by name: built in, then entry points."""
    return tuple(dict.fromkeys([*_builtin_names(), *sorted(_entry_points())]))


def as_policy(policy: PolicyLike) -> Policy:
    """A policy object of any class as data."""
    if isinstance(policy, Policy):
        return policy
    return Policy(
        name=policy.name,
        description=policy.description,
        require=policy.require,
        minimize=policy.minimize,
        failover=policy.failover,
        source="entry point",
        score=getattr(policy, "score", None),
    )


def tighten(policy: PolicyLike, pairs: Iterable[str]) -> Policy:
    """*policy* with ``KEY=VALUE`` requirements on top. A value that would loosen it changes nothing.

    Raises:
        BadPolicy: a key is unknown (the hint names the nearest), or a value cannot be read.
    """
    data = as_policy(policy)
    return msgspec.structs.replace(data, require=tighten_require(data.require, pairs))


def tighten_require(require: Require, pairs: Iterable[str]) -> Require:
    """As `tighten`, for the requirements alone. Doing it twice is doing it once.

    Raises:
        BadPolicy: as for `tighten`.
    """
    changes: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        key = key_named(name)
        if not sign:
            hint = f"write {key.name}=true" if key.kind == "flag" else f"write {key.name}=VALUE"
            raise BadPolicy(f"{key.name}: no value is given", hint=hint)
        old = changes.get(key.name, getattr(require, key.name))
        if old is None and key.name == "pricing":
            old = DEFAULT_PRICING  # naming spot here would let more in, not less
        new = key.read_text(text)
        changes[key.name] = new if old is None else key.tighten(old, new)
    if not changes:
        return require
    tight = msgspec.structs.replace(require, **changes)
    check_evidence(tight)
    return tight


def check_evidence(require: Require) -> None:
    """Refuse an `evidence` that vouches for nothing.

    Raises:
        BadPolicy: neither egress nor compliance is required beside it.
    """
    if require.evidence and not require.wants_egress and not require.compliance:
        raise BadPolicy(
            "evidence: nothing is required that it could vouch for",
            hint="require egress_free, max_egress_usd_per_gb or compliance, too",
        )


def _finish(name: str, layer: _Layer, source: Literal["builtin", "file", "entry point"]) -> Policy:
    require = Require(**layer.require)
    try:
        check_evidence(require)
    except BadPolicy as error:
        raise BadPolicy(error.message, hint=error.hint, file=name if source == "file" else None) from None
    return Policy(
        name=name,
        description=layer.description,
        require=require,
        minimize=Minimize(objective=layer.objective or "expected-cost"),
        failover=Failover(**layer.failover),
        source=source,
        score=layer.score,
    )


def _find(
    name: str, folder: Path | None, chain: tuple[str, ...]
) -> tuple[_Layer, Literal["builtin", "file", "entry point"]]:
    """The layer behind a name. *chain* holds what is being read already, outermost first."""
    if "/" in name or name.endswith(".toml"):
        path = (folder or Path()) / Path(name).expanduser()
        return _read(_text(path), str(path), path.parent, _longer(chain, str(path.resolve()))), "file"
    if name in _builtin_names():
        path = BUILTIN / f"{name}.toml"
        return _read(_text(path), f"{name}.toml", BUILTIN, _longer(chain, name)), "builtin"
    points = _entry_points()
    if name in points:
        return _of_object(name, points[name].load()), "entry point"
    hint = nearest(name, (*_builtin_names(), *points))
    raise BadPolicy(f"there is no policy {name!r}", hint=f"{hint} A file's path has a / or ends in .toml")


def _longer(chain: tuple[str, ...], link: str) -> tuple[str, ...]:
    if link in chain:
        raise BadPolicy("extends: the policies extend each other: " + " -> ".join((*chain, link)))
    return (*chain, link)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadPolicy(f"cannot be read: {error.strerror or error}", file=str(path)) from error
    except UnicodeDecodeError as error:
        raise BadPolicy("is not UTF-8 text", file=str(path)) from error


def _builtin_names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in BUILTIN.glob("*.toml")))


def _entry_points() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=GROUP)}


def _of_object(name: str, loaded: Any) -> _Layer:
    made = loaded() if callable(loaded) else loaded
    try:
        policy = as_policy(made)
        stated = policy.require.stated()
        failover = {key: value for key, value in msgspec.structs.asdict(policy.failover).items() if value is not None}
        return _Layer(stated, policy.minimize.objective, failover, policy.description, policy.score)
    except AttributeError as error:
        raise BadPolicy(f"the object behind policy {name!r} is no policy: {error}") from error


def _read(text: str, file: str, folder: Path, chain: tuple[str, ...]) -> _Layer:
    document = TomlFile.parse(text, file, BadPolicy)
    layer = _Layer()
    for parent, place in _parents(document):
        try:
            _combine(layer, _find(parent, folder, chain)[0])
        except BadPolicy as error:
            if error.file is not None:
                raise
            raise BadPolicy(error.message, hint=error.hint, file=file, line=place) from None
    _check_tables(document)
    with _Place(document, (), "description"):
        layer.description = _string(document.data.get("description", ""), "description")
    for name, value in document.data.get("require", {}).items():
        with _Place(document, ("require",), name):
            layer.require[name] = key_named(name).read(value)
    for name, value in document.data.get("minimize", {}).items():
        with _Place(document, ("minimize",), name):
            layer.objective = _objective(value)
    for name, value in document.data.get("failover", {}).items():
        with _Place(document, ("failover",), name):
            layer.failover[name] = _bound(name, value)
    return layer


def _combine(layer: _Layer, parent: _Layer) -> None:
    """Take on what *parent* states: of requirements and bounds the stricter, of objectives the later."""
    for name, value in parent.require.items():
        old = layer.require.get(name)
        layer.require[name] = value if old is None else KEYS[name].tighten(old, value)
    for name, value in parent.failover.items():
        layer.failover[name] = min(value, layer.failover.get(name, value))
    layer.objective = parent.objective or layer.objective
    layer.score = parent.score or layer.score


def _parents(document: TomlFile) -> Iterator[tuple[str, int | None]]:
    """The names after `extends`, each with its line."""
    line = document.line_of((), "extends")
    value = document.data.get("extends", [])
    if isinstance(value, str) or not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise BadPolicy(
            "extends: must be a list of names", hint='write extends = ["cheapest"]', file=document.name, line=line
        )
    for name in value:
        yield name, line


def _check_tables(document: TomlFile) -> None:
    for name, value in document.data.items():
        with _Place(document, (), name):
            if name not in _TOP:
                where = next((table for table, keys in _TABLES.items() if name in keys), None)
                hint = f"it belongs under [{where}]" if where else nearest(name, _TOP)
                raise BadPolicy(f"{name!r} is no key of a policy", hint=hint)
            if name in _TABLES and not isinstance(value, dict):
                raise BadPolicy(f"{name}: must be a table", hint=f"write [{name}] on a line of its own")
    for table, keys in _TABLES.items():
        for name in document.data.get(table, {}):
            with _Place(document, (table,), name):
                if name not in keys:
                    raise BadPolicy(f"{name!r} is no key of [{table}]", hint=_elsewhere(name, table))


def _elsewhere(name: str, table: str) -> str | None:
    other = next((other for other, keys in _TABLES.items() if name in keys), None)
    return f"it belongs under [{other}]" if other else nearest(name, _TABLES[table])


def _string(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise BadPolicy(f"{name}: must be text")
    return value


def _objective(value: object) -> Objective:
    known: tuple[Objective, ...] = get_args(Objective)
    for objective in known:
        if value == objective:
            return objective
    raise BadPolicy(f"objective: {value!r} is not one of its words", hint=nearest(str(value), known))


def _bound(name: str, value: Any) -> Any:
    if isinstance(value, str):
        raise BadPolicy(f"{name}: {value!r} is text", hint=f"it must be a number, for example {name} = 10")
    try:
        number = units.decimal(value, name)
    except BadRequest as error:
        raise BadPolicy(error.message, hint=error.hint) from error
    if number < 0 or (number == 0 and name == "deadline_s"):
        raise BadPolicy(f"{name}: {value} is too little")
    return float(number) if name == "deadline_s" else number


class _Place:
    """Adds file and line to the errors raised under it."""

    def __init__(self, document: TomlFile, table: tuple[str, ...], *keys: str) -> None:
        self._document, self._table, self._keys = document, table, keys

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BadPolicy) and error.file is None:
            error.file = self._document.name
            error.line = self._document.line_of(self._table, *self._keys)
