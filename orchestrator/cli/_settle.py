"""Going on with what a command that died has left: part of every command that changes something."""

from __future__ import annotations

from typing import Any

from orchestrator.cli._app import App
from orchestrator.cli._progress import plain
from orchestrator.errors import Interrupted, OrchError


async def settle(app: App, engine: Any, *, limit_s: float | None = None) -> None:
    """Finish or end it, and tell what runs. What cannot be settled now is a warning: the next command tries again.

    Args:
        limit_s: real seconds to spend on each lease; what still boots then is left to the next command.

    Raises:
        Interrupted: the user stopped it.
    """
    try:
        leases = await engine.resume(limit_s=limit_s, on_event=plain(app.out))
    except Interrupted:
        raise
    except OrchError as error:
        app.out.note(f"warning: what earlier commands left is not settled: {error.message}", "yellow")
        if error.hint:
            app.out.note(f"hint: {error.hint}")
        return
    for lease in leases:
        if lease.state == "running":
            said = f"{lease.name}, left by an earlier command, runs and bills: `orch down {lease.name}` ends it"
            app.out.note(said, "yellow")
