"""The request options that `up`, `plan` and `offers` share, and how they become a `Request`.

Click only collects words; `policies.options` reads them, so that the command line, a file and Python understand
the same units and give the same errors. A file comes first, the options given beside it win.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.cli import _complete
from orchestrator.cli._group import Option
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from policies.request import Request

F = TypeVar("F", bound=Callable[..., Any])

WHAT, COST, MACHINE, WHERE, LIMITS, LAUNCH = "What", "Use", "Machine", "Where", "Limits", "Launch"
_MANY: dict[str, Any] = {"multiple": True}
_FLAG: dict[str, Any] = {"is_flag": True, "default": None}

#: Section, declaration, metavar, help, more arguments of the option.
_OPTIONS: tuple[tuple[str, tuple[str, ...], str, str, dict[str, Any]], ...] = (
    (WHAT, ("--gpu", "-g"), "NAME[,NAME]", "GPU model or family; `orch gpus` lists them.",
        {**_MANY, "shell_complete": _complete.gpus}),
    (WHAT, ("--count", "-n"), "N", "GPUs on one machine (default 1).", {}),
    (WHAT, ("--replicas",), "N", "Machines (default 1).", {}),
    (WHAT, ("--or-better",), "", "Also models at least as good in memory, bandwidth and speed.", _FLAG),
    (WHAT, ("--policy", "-p"), "NAME|FILE", "Which offers may win, and by what (default cheapest).",
        {"shell_complete": _complete.policies}),
    (WHAT, ("--require",), "KEY=VALUE", "Tighten the policy; may be repeated.", _MANY),
    (WHAT, ("-f", "--file"), "FILE", "Read options from a TOML file; options given here win.",
        {"type": click.Path(dir_okay=False)}),
    (COST, ("--hours",), "H", "Expected duration, for the cost only; ends nothing (default 24).", {}),
    (COST, ("--egress",), "SIZE", "Data that leaves each machine in all, in GB (default 0).", {}),
    (COST, ("--ingress",), "SIZE", "Data that enters each machine in all, in GB (default 0).", {}),
    (COST, ("--checkpoint",), "TIME", "Time between checkpoints, for the cost of losses (default 30m).", {}),
    (MACHINE, ("--disk",), "SIZE", "Disk in GiB (default 50).", {}),
    (MACHINE, ("--cpus",), "N", "At least so many vCPUs.", {}),
    (MACHINE, ("--memory",), "SIZE", "At least so much memory, in GiB.", {}),
    (MACHINE, ("--workload",), "KIND", "container, vm or bare-metal (default any).", {}),
    (MACHINE, ("--image",), "IMAGE", "Container image to run.", {}),
    (MACHINE, ("--cmd",), "CMD", "Command to run in the image.", {}),
    (MACHINE, ("--env",), "NAME=VALUE", "Environment variable of the workload; may be repeated.", _MANY),
    (MACHINE, ("--port",), "PORT/PROTO", "Port to open, for example 8080/http; may be repeated.", _MANY),
    (WHERE, ("--region",), "NAME[,NAME]", "Only these regions or zones; * matches any text.", _MANY),
    (WHERE, ("--country",), "CC[,CC]", "Only these countries, by two-letter code.", _MANY),
    (WHERE, ("--provider",), "NAME[,NAME]", "Only these providers.",
        {**_MANY, "shell_complete": _complete.providers}),
    (WHERE, ("--exclude-provider",), "NAME[,NAME]", "Not these providers.",
        {**_MANY, "shell_complete": _complete.providers}),
    (LIMITS, ("--max-price",), "USD", "Most USD an hour for one machine.", {}),
    (LIMITS, ("--budget",), "USD", "Most USD for the whole request, as planned.", {}),
    (LIMITS, ("--ttl",), "TIME", "End the machine after so long, where the provider itself can do that.", {}),
    (LIMITS, ("--idle",), "TIME", "End it after so long without GPU use. Needs a daemon.", {}),
    (LAUNCH, ("--name",), "NAME", "What to call the machine (default: a made-up name).", {}),
    (LAUNCH, ("--ready",), "gpu|ssh|none", "What must be proven before it counts as ready (default gpu).", {}),
    (LAUNCH, ("--wait",), "TIME", "When every candidate failed: read the market again for so long.", {}),
    (LAUNCH, ("--keep",), "", "Replace a machine that is lost. Needs a daemon.", _FLAG),
    (LAUNCH, ("--detach",), "", "Return once the wish is saved. Needs a daemon.", _FLAG),
    (LAUNCH, ("--yes", "-y"), "", "Do not ask before renting.", {"is_flag": True}),
)  # fmt: skip

#: Options of the command line that are no part of a request.
_OURS = frozenset({"file", "detach", "yes"})
_UNIT = re.compile(r"_(?:gb|gib|s)$")


def request_options(command: F) -> F:
    """Add the request options to a command; they arrive as keyword arguments for `request_of`."""
    for section, names, metavar, text, more in reversed(_OPTIONS):
        kind: dict[str, Any] = {"help": text, "section": section, **more}
        if not kind.get("is_flag"):
            kind["metavar"] = metavar
        command = click.option(*names, cls=Option, **kind)(command)
    return command


def request_of(given: dict[str, Any]) -> Request:
    """The request that a command's options and its file mean.

    Raises:
        UsageError: a value cannot be read or meant, or the file cannot; says where, and what to write.
    """
    from policies.errors import BadInput
    from policies.options import build

    flags = {name: _value(value) for name, value in given.items() if name not in _OURS and _is_given(value)}
    source = _File(given.get("file"))
    merged = {name: value for name, value in source.data.items() if _option(name) not in flags} | flags
    try:
        return build(merged)
    except BadInput as error:
        option = _option(error.message.partition(":")[0])
        if option in flags:
            flag = "--" + option.replace("_", "-")
            message = flag + error.message[error.message.index(":") :]
        else:
            message = source.at(error.message.partition(":")[0]) + error.message
        raise UsageError(message, hint=error.hint) from error


def refuse_unenforced(request: Request, *, detach: bool) -> None:
    """Refuse what nobody would carry out: better no machine than one that never ends.

    Raises:
        UsageError: with what to do instead.
    """
    if detach:
        raise UsageError(
            "--detach needs a daemon, and this version has none",
            hint="leave it out: `orch up` returns when the machine is ready",
        )
    if request.idle_s is not None:
        raise UsageError(
            "--idle needs a daemon that watches the machine, and this version has none",
            hint="leave it out and end the machine with `orch down`",
        )
    if request.keep:
        raise UsageError(
            "--keep needs a daemon that replaces lost machines, and this version has none",
            hint="leave it out and run `orch up` again when the machine is lost",
        )


def _is_given(value: Any) -> bool:
    return value is not None and value != ()


def _value(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _option(name: str) -> str:
    """The option behind a key of a file: ``exclude-provider`` and ``disk_gib`` are options, too."""
    return _UNIT.sub("", name.replace("-", "_"))


class _File:
    """The request file, or nothing."""

    def __init__(self, name: str | None) -> None:
        self._toml: Any = None
        self.data: dict[str, Any] = {}
        if name is None:
            return
        from policies.errors import BadRequest
        from policies.tomlfile import TomlFile

        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "is not UTF-8 text"
            raise UsageError(f"{name}: {why}", hint="-f takes a TOML file with option names as keys") from None
        try:
            self._toml = TomlFile.parse(text, name, BadRequest)
        except BadRequest as error:
            raise UsageError(str(error), hint=error.hint) from error
        self.data = self._toml.data

    def at(self, option: str) -> str:
        """``file:line: `` of *option*, or nothing where it does not stand in the file."""
        if self._toml is None or not any(_option(key) == _option(option) for key in self.data):
            return ""
        keys = [key for key in self.data if _option(key) == _option(option)]
        line = self._toml.line_of((), *keys)
        return f"{self._toml.name}:{line}: " if line else f"{self._toml.name}: "
