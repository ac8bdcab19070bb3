"""What one run of the command line knows: its global options, where it prints, and how it reaches the engine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from orchestrator.cli.output import Output


def _engine(**arguments: Any) -> Any:
    from orchestrator import Orchestrator

    return Orchestrator(**arguments)


def _execute(argv: list[str]) -> NoReturn:
    """Become the program *argv*; what is buffered is written first, because nothing returns from here."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvp(argv[0], argv)  # noqa: S606 - no shell on purpose


class App:
    """Stands as `obj` on the root context.

    Attributes:
        json, sandbox, state_dir, verbose, no_color: the global options, given before or after the command.
        factory: makes the engine; called with ``sandbox`` and ``state_dir``.
        embedded: the engine is the usual one, on the store in the state folder.
        execute: replaces this process by a program (`orch ssh`).
        terminal: whether a person can answer a question here; None asks the system.
        hard_exit: leave by `os._exit` when the user gives up waiting, as threads may still hang.
    """

    def __init__(
        self,
        *,
        factory: Callable[..., Any] | None = None,
        execute: Callable[[list[str]], Any] | None = None,
        terminal: bool | None = None,
        hard_exit: bool = False,
    ) -> None:
        self.json = False
        self.sandbox = False
        self.state_dir: str | None = None
        self.verbose = False
        self.no_color = False
        self.factory = factory or _engine
        self.embedded = factory is None
        self.execute = execute or _execute
        self.terminal = terminal
        self.hard_exit = hard_exit
        self._out: Output | None = None

    @property
    def out(self) -> Output:
        """Where everything is printed. Made at first use, when the global options are known."""
        if self._out is None or self._out.json != self.json:
            from orchestrator.cli.output import Output

            self._out = Output(json=self.json, no_color=self.no_color)
        return self._out

    def engine(self) -> Any:
        """A fresh engine with the global options; an async context manager."""
        # Not asked for is not the same as not wanted: ORCH_SANDBOX may still say so.
        return self.factory(sandbox=self.sandbox or None, state_dir=self.state_dir)

    def can_ask(self) -> bool:
        """Whether there is a terminal on which a question can be shown and answered."""
        if self.terminal is not None:
            return self.terminal
        return sys.stdin.isatty() and sys.stderr.isatty()


def current() -> App:
    """The `App` of the command that is running."""
    app = click.get_current_context().find_root().obj
    assert isinstance(app, App)
    return app
