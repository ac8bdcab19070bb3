"""Runs a command's work on the engine, and makes Ctrl-C mean: first end it properly, then stop waiting."""

from __future__ import annotations

import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.cli._app import App
from orchestrator.cli._failures import Abandoned
from orchestrator.errors import Interrupted

if TYPE_CHECKING:
    import asyncio  # at run time inside functions: completing a line must not pay for it

T = TypeVar("T")

#: Seconds that the engine has after the second Ctrl-C to save what is left to do.
LAST_WAIT_S = 2.0


class GaveUp(KeyboardInterrupt):
    """Leaves the event loop from wherever it is: asyncio lets this kind through."""


class Interrupts:
    """Handles SIGINT and SIGTERM while the engine works.

    The first one cancels the work: the engine then ends what was begun and raises `Interrupted`. The second
    cancels that, too; the engine then only saves what is left to do. If it hangs even so, or at a third one, the
    event loop is left as it stands: what is unfinished is in the store, and the next command goes on with it.

    Args:
        app: for telling what happens.
        stopping: what to say at the first one, or None to stop without a word (commands that begin nothing).
    """

    def __init__(self, app: App, stopping: str | None) -> None:
        self._app = app
        self._stopping = stopping
        self._count = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.gave_up = False

    def arm(self) -> None:
        """The running task is the one to cancel."""
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()

    def disarm(self) -> None:
        """The work is done; only closing is left."""
        if self._timer:
            self._timer.cancel()

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._loop is None or self._loop.is_closed():
            raise KeyboardInterrupt
        if self._count > 2:
            self._give_up()
        # Not from here: the handler may stand in the middle of a print, and the loop may sleep in select.
        self._loop.call_soon_threadsafe(self._stop, self._count)

    def _stop(self, count: int) -> None:
        if count == 1 and self._stopping:
            self._app.out.note(self._stopping, "yellow")
        if self._task and not self._task.done():
            self._task.cancel()
            if count == 2 and self._loop:
                self._timer = self._loop.call_later(LAST_WAIT_S, self._give_up)

    def _give_up(self) -> None:
        self.gave_up = True
        raise GaveUp


READ_ONLY = ("stopped waiting", "nothing was changed by this command")


def run(
    app: App,
    work: Callable[[Any], Awaitable[T]],
    *,
    stopping: str | None = None,
    stopped: str = "stopped; nothing was begun",
    abandoning: tuple[str, str] = READ_ONLY,
) -> T:
    """Open the engine, await ``work(engine)``, close it.

    Args:
        stopping: said at the first Ctrl-C, if stopping takes a while.
        stopped: the message when the work was cancelled and the engine had nothing to say about it.
        abandoning: message and hint when the user presses Ctrl-C again.

    Raises:
        Interrupted: the user stopped it, and what was begun is ended.
        Abandoned: the user stopped it again; things may still be under way.
    """
    import asyncio

    interrupts = Interrupts(app, stopping)

    async def body() -> T:
        interrupts.arm()
        async with app.engine() as engine:
            _log(app, engine)
            return await work(engine)

    try:
        with _handling(interrupts):
            runner = asyncio.Runner()
            try:
                return runner.run(body())
            except asyncio.CancelledError:
                raise Interrupted(stopped) from None
            finally:
                interrupts.disarm()
                _close(runner, interrupts)
    except GaveUp:
        raise Abandoned(abandoning[0], hint=abandoning[1]) from None


@contextmanager
def _handling(interrupts: Interrupts) -> Iterator[None]:
    """Install the handlers; outside the main thread there are none to install."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    saved = {number: signal.signal(number, interrupts) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in saved.items():
            signal.signal(number, handler)


def _log(app: App, engine: Any) -> None:
    format_ = getattr(getattr(engine, "settings", None), "orch_log_format", None)
    if app.verbose or format_:
        from orchestrator import log

        log.configure(format_, verbose=app.verbose)


def _close(runner: asyncio.Runner, interrupts: Interrupts) -> None:
    if not interrupts.gave_up:
        runner.close()
        return
    import asyncio

    # Closing would wait for the very tasks that nobody waits for any more. The process ends now.
    runner.get_loop().set_exception_handler(lambda loop, context: None)
    for task in asyncio.all_tasks(runner.get_loop()):
        task._log_destroy_pending = False  # type: ignore[attr-defined]


@contextmanager
def asking() -> Iterator[None]:
    """While a question is on the screen, Ctrl-C answers it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    saved = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, saved)
