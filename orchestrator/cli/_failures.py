"""Turns whatever went wrong into one error, one hint and one of the fixed exit codes."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from dataclasses import dataclass, field
from typing import Any

import click

from orchestrator.cli._app import App
from orchestrator.errors import Interrupted, OrchError


@dataclass(frozen=True, slots=True)
class Failure:
    """What is told about an exception.

    Attributes:
        type: the word in the JSON document, for example ``NoOffer``.
        leases: records that the exception carries, so that a pipeline sees what was tried.
    """

    type: str
    message: str
    hint: str | None
    code: int
    leases: tuple[Any, ...] = field(default=())

    def document(self) -> dict[str, Any]:
        """The failure as `--json` prints it."""
        found: dict[str, Any] = {
            "error": {"type": self.type, "message": self.message, "hint": self.hint},
        }
        if self.leases:
            found["leases"] = self.leases
        return found


class Abandoned(Interrupted):
    """The user would not wait until the engine had stopped: its tasks, and perhaps threads, are still there."""


def report(app: App, error: BaseException, argv: list[str]) -> int:
    """Print *error* where it belongs and return the exit code."""
    if _is_broken_pipe(error):
        silence_stdout()
        return 1
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return error.exit_code
    # An error while parsing comes before the options were read, so the words themselves are looked at.
    if isinstance(error, click.UsageError) and "--json" in _before_dashes(argv):
        app.json = True
    failure = explain(error)
    if app.verbose and failure.code == 1:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    if app.json and not app.out.answered:
        app.out.document(failure.document())
    app.out.error(failure.message, failure.hint)
    return failure.code


def explain(error: BaseException) -> Failure:
    """What to tell about *error*."""
    if isinstance(error, OrchError):
        leases = tuple(getattr(error, "leases", ()))
        name = "Interrupted" if isinstance(error, Interrupted) else type(error).__name__
        return Failure(name, error.message, error.hint, error.exit_code, leases)
    if isinstance(error, click.UsageError):
        return Failure("UsageError", error.format_message(), _usage_hint(error), 2)
    if isinstance(error, ValueError) and (mistake := _mistake(error)):
        return mistake
    if (sandbox := sys.modules.get("providers.sandbox.client")) and isinstance(error, sandbox.SandboxError):
        return Failure("ConfigError", str(error), "orch sandbox status", 5)
    if isinstance(error, click.ClickException):
        return Failure("UsageError", error.format_message(), None, 2)
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return Failure("Interrupted", "stopped", None, 130)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Failure("Unexpected", what, "run it again with --verbose for the traceback", 1)


def _mistake(error: ValueError) -> Failure | None:
    """What policies and the GPU table say about words that a person wrote, if it is one of theirs."""
    from policies.errors import BadInput

    if isinstance(error, BadInput):
        return Failure("UsageError", str(error), error.hint, 2)
    from providers.gpus import UnknownGpu

    if isinstance(error, UnknownGpu):
        near = f"did you mean {', '.join(error.nearest)}?" if error.nearest else "orch gpus lists them"
        return Failure("UsageError", f"no GPU model is called {error.word!r}", near, 2)
    return None


def _usage_hint(error: click.UsageError) -> str | None:
    hint: str | None = getattr(error, "hint", None)
    if hint:
        return hint
    return f"{error.ctx.command_path} --help" if error.ctx else "orch --help"


def _before_dashes(argv: list[str]) -> list[str]:
    return argv[: argv.index("--")] if "--" in argv else argv


def _is_broken_pipe(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def silence_stdout() -> None:
    """Whoever read our output has gone: let the interpreter's last flush go nowhere, without a word."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
