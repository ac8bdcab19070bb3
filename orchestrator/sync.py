"""The blocking twin of the Python API, for scripts, notebooks and pipelines that have no event loop of their own.

It runs the engine in a thread of its own, so it works inside a running loop (a notebook), too. Ctrl-C while a call
is waiting cancels it, which ends what it had begun, before KeyboardInterrupt goes on; so does whatever else a signal
handler raises there.

::

    from orchestrator.sync import Orchestrator

    with Orchestrator() as orch, orch.rented(gpu="l40", hours=2) as machine:
        machine.run("python train.py")
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from orchestrator.catalog import Market
from orchestrator.core import OnEvent
from orchestrator.core import Orchestrator as AsyncOrchestrator
from orchestrator.machine import Completed
from orchestrator.machine import Machine as AsyncMachine
from orchestrator.models import Event, Lease, Receipt, Stray
from policies.plan import Plan
from policies.request import Request
from providers.base import Query

_T = TypeVar("_T")


class Machine:
    """The blocking twin of `orchestrator.machine.Machine`."""

    def __init__(self, machine: AsyncMachine, thread: _Thread) -> None:
        self._machine, self._thread = machine, thread

    @property
    def lease(self) -> Lease:
        """Our record of it, as it was when the machine became ready."""
        return self._machine.lease

    @property
    def receipt(self) -> Receipt | None:
        """Proof of its end, once `rented` has ended it."""
        return self._machine.receipt

    def run(self, command: str | Sequence[str], *, check: bool = True, timeout_s: float | None = None) -> Completed:
        """See `orchestrator.machine.Machine.run`."""
        return self._thread.call(self._machine.run(command, check=check, timeout_s=timeout_s))

    def put(self, local: str | Path, remote: str) -> None:
        """See `orchestrator.machine.Machine.put`."""
        self._thread.call(self._machine.put(local, remote))

    def get(self, remote: str, local: str | Path) -> None:
        """See `orchestrator.machine.Machine.get`."""
        self._thread.call(self._machine.get(remote, local))


class Orchestrator:
    """The blocking twin of `orchestrator.Orchestrator`; the arguments are the same."""

    def __init__(self, **options: Any) -> None:
        self._async = AsyncOrchestrator(**options)
        self._thread = _Thread()

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._thread.call(self._async.__aenter__())
        except BaseException:
            self._thread.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._thread.call(self._async.__aexit__(kind, error, trace))
        finally:
            self._thread.stop()

    def offers(self, query: Query) -> Market:
        """See `orchestrator.Orchestrator.offers`."""
        return self._thread.call(self._async.offers(query))

    def plan(self, request: Request) -> Plan:
        """See `orchestrator.Orchestrator.plan`."""
        return self._thread.call(self._async.plan(request))

    def up(self, request: Request, *, plan: Plan | None = None, on_event: OnEvent | None = None) -> list[Lease]:
        """See `orchestrator.Orchestrator.up`. *on_event* is called in the engine's thread."""
        return self._thread.call(self._async.up(request, plan=plan, on_event=on_event))

    def down(self, *refs: str | Lease, everything: bool = False, on_event: OnEvent | None = None) -> list[Lease]:
        """See `orchestrator.Orchestrator.down`."""
        return self._thread.call(self._async.down(*refs, everything=everything, on_event=on_event))

    def leases(self, *, everything: bool = False) -> list[Lease]:
        """See `orchestrator.Orchestrator.leases`."""
        return self._thread.call(self._async.leases(everything=everything))

    def lease(self, ref: str) -> Lease:
        """See `orchestrator.Orchestrator.lease`."""
        return self._thread.call(self._async.lease(ref))

    def events(self, ref: str | None = None, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """See `orchestrator.Orchestrator.events`."""
        return self._thread.call(self._async.events(ref, after=after, limit=limit))

    def resume(self, *, limit_s: float | None = None) -> list[Lease]:
        """See `orchestrator.Orchestrator.resume`."""
        return self._thread.call(self._async.resume(limit_s=limit_s))

    def gc(self, *, delete: bool = False) -> list[Stray]:
        """See `orchestrator.Orchestrator.gc`."""
        return self._thread.call(self._async.gc(delete=delete))

    @contextlib.contextmanager
    def rented(self, request: Request | None = None, **options: Any) -> Iterator[Machine]:
        """Rent for the length of the block, and prove the end on the way out; see the async twin."""
        context = self._async.rented(request, **options)
        machine = self._thread.call(context.__aenter__())
        try:
            yield Machine(machine, self._thread)
        except BaseException as error:
            self._thread.call(context.__aexit__(type(error), error, error.__traceback__))
            raise
        else:
            self._thread.call(context.__aexit__(None, None, None))


class _Thread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        loop = asyncio.new_event_loop()
        self._loop = loop
        self._thread = threading.Thread(target=loop.run_forever, name="orch", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run *work* there and wait. What a signal handler raises here cancels it and waits for its clean-up."""
        if self._loop is None:
            work.close()
            raise RuntimeError("the Orchestrator is not open: use it in a `with` block")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            if future.done():
                raise  # the work's own failure
            # KeyboardInterrupt, or what a pipeline tool's handler of SIGTERM or SIGALRM raises in this thread.
            future.cancel()
            with contextlib.suppress(BaseException):
                concurrent.futures.wait([future])
            self._settle()
            raise

    def _settle(self) -> None:
        """Wait for the tasks that a cancel has set to cleaning up."""
        assert self._loop is not None

        async def others() -> None:
            rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            await asyncio.gather(*rest, return_exceptions=True)

        with contextlib.suppress(BaseException):
            asyncio.run_coroutine_threadsafe(others(), self._loop).result()

    def stop(self) -> None:
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._loop.shutdown_asyncgens(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None
