"""The one question that commands ask, on a terminal only."""

from __future__ import annotations

import click

from orchestrator.cli._app import App
from orchestrator.cli._run import asking
from orchestrator.errors import Interrupted, UsageError


def confirm(app: App, question: str, instead: str) -> None:
    """Ask *question* on stderr and return if the answer is yes.

    Args:
        instead: the option that answers yes beforehand.

    Raises:
        UsageError: there is nobody to ask.
        Interrupted: the answer is no.
    """
    if not app.can_ask():
        raise UsageError(
            f"there is no terminal to ask on: {question}", hint=f"say {instead} to go ahead without a question"
        )
    with asking():
        if not click.confirm(question, err=True, default=False):
            raise Interrupted("not confirmed; nothing was begun")
