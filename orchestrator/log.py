"""Logs on stderr: one line an event, past-tense word and stable keys, secrets never.

structlog is imported at the first line that is really written; without `--verbose` or `ORCH_LOG_FORMAT` nothing is.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from orchestrator.models import Event

_logger: Any = None


def configure(format_: Literal["console", "json"] | None, *, verbose: bool = False) -> None:
    """Switch logging on. `format_` None means console on a terminal, else JSON."""
    global _logger
    if format_ is None and not verbose:
        _logger = None
        return
    import structlog

    chosen = format_ or ("console" if sys.stderr.isatty() else "json")
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if chosen == "console"
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[structlog.processors.add_log_level, renderer],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    _logger = structlog.get_logger()


def event(happened: Event) -> None:
    """Log one event of the engine."""
    if _logger is None:
        return
    level = _logger.warning if happened.kind in ("warning", "attempt-failed", "source-failed") else _logger.info
    level(
        happened.kind,
        at=happened.at.isoformat(timespec="milliseconds"),
        lease=happened.lease,
        attempt=happened.attempt,
        provider=happened.provider,
        message=happened.message,
        **{key: value for key, value in happened.data.items() if key not in ("event", "level")},
    )


def unclassified(provider: str, code: str, text: str) -> None:
    """Log a refusal that no code table knows, with the provider's own words."""
    if _logger is not None:
        _logger.warning("unclassified-refusal", provider=provider, code=code, message=text)
