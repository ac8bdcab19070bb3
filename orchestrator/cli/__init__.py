"""The `orch` command. `main` is the console script's entry point; nothing is imported before it runs."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run `orch` with this process's arguments and exit with the code that belongs to the outcome."""
    from orchestrator.cli._group import cli

    cli.main()
