"""What the shell may complete beside the options' names. Fast, and silent when anything is amiss."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

    from orchestrator.cli._app import App

Completer = Callable[["click.Context", "click.Parameter", str], list[str]]


def quietly(find: Callable[[click.Context], Iterable[str]]) -> Completer:
    """A completer of what *find* finds; a comma list is completed at its last word."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        before, comma, word = incomplete.rpartition(",")
        try:
            names = list(find(ctx))
        except Exception:  # a traceback in the middle of a typed line helps nobody
            return []
        return [f"{before}{comma}{name}" for name in names if name.startswith(word)]

    return complete


@quietly
def gpus(ctx: click.Context) -> Iterable[str]:
    """GPU models and families."""
    from providers.gpus import GPUS

    return sorted({gpu.family for gpu in GPUS.values() if gpu.family} | set(GPUS))


@quietly
def policies(ctx: click.Context) -> Iterable[str]:
    """Built-in policies, without loading them."""
    folder = Path(__file__).parents[2] / "policies" / "builtin"
    return sorted(file.stem for file in folder.glob("*.toml"))


@quietly
def providers(ctx: click.Context) -> Iterable[str]:
    """Providers, configured or not."""
    from providers.registry import entries

    return sorted(entries())


@quietly
def refs(ctx: click.Context) -> Iterable[str]:
    """Names of the leases in the store, open ones only; SQLite alone, because that takes milliseconds."""
    import sqlite3

    app = ctx.find_root().obj
    sandbox = bool(app and app.sandbox) or os.environ.get("ORCH_SANDBOX", "0").lower() in ("1", "true", "yes")
    if os.environ.get("ORCH_DATABASE_URL") and not sandbox:
        return []
    file = _state_dir(app) / ("sandbox.db" if sandbox else "orch.db")
    if not file.is_file():
        return []
    connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=0.2)
    try:
        rows = connection.execute(
            "SELECT name FROM lease WHERE state NOT IN ('ended', 'failed') ORDER BY created_at DESC LIMIT 200"
        )
        return [name for (name,) in rows]
    finally:
        connection.close()


def _state_dir(app: App | None) -> Path:
    """The state folder as `orchestrator.settings` finds it, less `.env`, which is not worth the wait."""
    given = (app.state_dir if app else None) or os.environ.get("ORCH_STATE_DIR")
    if given:
        return Path(given).expanduser().resolve()
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "orch"
