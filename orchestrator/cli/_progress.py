"""Progress of launches and ends on stderr: one line an event on a pipe, one living line an attempt on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.cli import _words as words
from orchestrator.cli.output import Output

if TYPE_CHECKING:
    from orchestrator.models import Event

Listener = Callable[["Event"], None]

#: Events that end an attempt's living line, with the colour of the line that stays.
_LAST = {"running": "green", "attempt-failed": "red", "terminated": ""}
#: Events that are worth a line of their own on a terminal, although they belong to no attempt's life.
_ASIDE = {"warning", "source-failed", "interrupted", "resumed", "orphan-found", "orphan-ended", "price-changed"}


def line(event: Event, *, many: bool = True) -> str:
    """One event as a line of stable text, without times; with the lease's id if there are *many*."""
    who = f"{event.lease} " if event.lease and many else ""
    attempt = f"attempt {event.attempt} " if event.attempt else ""
    return f"{who}{attempt}{event.kind}: {event.message}".rstrip(": ")


def plain(out: Output, *, many: bool = True) -> Listener:
    """A listener that writes each event as a line on stderr."""
    return lambda event: out.note(line(event, many=many))


@contextmanager
def progress(out: Output, *, many: bool) -> Iterator[Listener]:
    """A listener for as long as the block runs, fit for what stderr is."""
    if not sys.stderr.isatty():
        yield plain(out, many=many)
        return
    from providers.env import SystemEnv

    live = Living(SystemEnv().monotonic, colored=out.colored(sys.stderr), many=many)
    with live.on_screen():
        yield live


class Living:
    """Keeps one line an attempt up to date, with the time it has taken; lines that are final stay above.

    Args:
        monotonic: seconds of real time, which is what the person in front of the screen waits in.
    """

    def __init__(self, monotonic: Callable[[], float], *, colored: bool, many: bool) -> None:
        self._monotonic = monotonic
        self._many = many
        self._colored = colored
        self._begun: dict[tuple[str | None, int], float] = {}
        self._latest: dict[tuple[str | None, int], Event] = {}
        self._live: Any = None

    @contextmanager
    def on_screen(self) -> Iterator[None]:
        """Show the lines until the block ends; unfinished ones are taken away then."""
        from rich.console import Console
        from rich.live import Live

        console = Console(file=sys.stderr, no_color=not self._colored, highlight=False)
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=2, transient=True)
        with self._live:
            yield

    def __call__(self, event: Event) -> None:
        if event.attempt is None:
            if event.kind in _ASIDE:
                self._print(self._line(event), "yellow")
            return
        key = (event.lease, event.attempt)
        begun = self._begun.setdefault(key, self._monotonic())
        self._latest[key] = event
        if event.kind in _LAST:
            del self._latest[key]
            self._live.refresh()  # before the line that stays, or the old one would be drawn again under it
            self._print(f"{self._line(event)} ({words.span(self._monotonic() - begun)})", _LAST[event.kind])
        elif event.kind in _ASIDE:
            self._print(self._line(event), "yellow")
        else:
            self._live.refresh()

    def render(self) -> Any:
        """The living lines, one an attempt."""
        from rich.console import Group
        from rich.text import Text

        now = self._monotonic()
        return Group(
            *(
                Text(f"{self._line(event)} ({words.span(now - self._begun[key])})", no_wrap=True, overflow="ellipsis")
                for key, event in self._latest.items()
            )
        )

    def _line(self, event: Event) -> str:
        return line(event, many=self._many)

    def _print(self, text: str, style: str) -> None:
        from rich.text import Text

        self._live.console.print(Text(text, style))
