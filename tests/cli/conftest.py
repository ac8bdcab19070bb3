"""What the tests of the command line share: a hand-written engine, records to show, and a way to run `orch`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli._app import App
from orchestrator.cli._group import cli
from orchestrator.errors import NoSuchLease
from orchestrator.models import AttemptView, Dialled, ErrorView, Event, Lease, ProviderState, Receipt, Stray
from providers.base import Billing, EgressTier, Offer
from providers.env import ManualEnv

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FREE = (EgressTier(),)


@dataclass
class FakeRemote:
    """A machine that is never dialled: what is run there is this computer's `sh`."""

    host: str = "127.0.0.1"
    port: int = 2222
    user: str = "root"
    key_file: Path = Path("/keys/id_ed25519")
    status: int = 0
    ran: list[list[str]] = field(default_factory=list)

    def ssh_argv(self, command: Sequence[str] | None = None, *, tty: bool = False) -> list[str]:
        if command is None:
            return ["ssh", "-p", str(self.port), f"{self.user}@{self.host}"]
        return ["sh", "-c", 'exec "$@"', "remote", *command]

    def ssh_line(self) -> str:
        return f"ssh -p {self.port} {self.user}@{self.host}"

    async def run(self, command: Sequence[str]) -> int:
        self.ran.append(list(command))
        return self.status


class FakeEngine:
    """Answers like `Orchestrator` from what a test puts in, and remembers in `calls` what it was asked."""

    def __init__(self) -> None:
        self.env = ManualEnv(NOW)
        self.sandbox = False
        self.calls: list[tuple[Any, ...]] = []
        self.opened_with: dict[str, Any] | None = None
        self.open: list[Lease] = []
        self.over: list[Lease] = []
        self.planned: Any = None
        self.market: Any = None
        self.happened: list[Event] = []
        self.strays: list[Stray] = []
        self.states: list[ProviderState] = []
        self.checked: list[dict[str, Any]] = []
        self.left: list[Lease] = []
        self.far = FakeRemote()
        self.fails: dict[str, Exception] = {}

    def __call__(self, **arguments: Any) -> FakeEngine:
        self.opened_with = arguments
        self.sandbox = self.sandbox or bool(arguments["sandbox"])
        return self

    async def __aenter__(self) -> FakeEngine:
        self._note("open")
        return self

    async def __aexit__(self, *error: object) -> None:
        self.calls.append(("close",))

    def _note(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *arguments))
        if name in self.fails:
            raise self.fails[name]

    def called(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of every call of *name*."""
        return [call[1:] for call in self.calls if call[0] == name]

    def _tell(self, on_event: Callable[[Event], None] | None) -> None:
        for event in self.happened:
            if on_event:
                on_event(event)

    async def offers(self, query: Any, *, providers: Sequence[str] = (), refresh: bool = True) -> Any:
        self._note("offers", query, tuple(providers))
        return self.market

    async def plan(self, request: Any) -> Any:
        self._note("plan", request)
        return self.planned

    async def up(self, request: Any, *, plan: Any = None, on_event: Any = None) -> list[Lease]:
        self._tell(on_event)
        self._note("up", request, plan)
        return self.open

    async def down(self, *refs: str, everything: bool = False, on_event: Any = None) -> list[Lease]:
        self._tell(on_event)
        self._note("down", refs, everything)
        return self.over

    async def leases(self, *, everything: bool = False) -> list[Lease]:
        self._note("leases", everything)
        return self.open + (self.over if everything else [])

    async def lease(self, ref: str) -> Lease:
        self._note("lease", ref)
        for lease in self.open + self.over:
            if ref in (lease.id, lease.name):
                return lease
        raise NoSuchLease(f"no lease is called {ref!r}", hint="orch ps --all shows them")

    async def events(self, ref: str | None = None, *, after: int = 0, limit: int = 1000) -> list[Event]:
        self._note("events", ref, after, limit)
        return [event for event in self.happened if event.id > after][:limit]

    async def resume(self, *, limit_s: float | None = None, on_event: Any = None) -> list[Lease]:
        self._note("resume")
        return self.left

    async def gc(self, *, delete: bool = False, on_event: Any = None) -> list[Stray]:
        self._note("gc", delete)
        return self.strays

    async def providers(self) -> list[ProviderState]:
        self._note("providers")
        return self.states

    async def check(self, names: Sequence[str] = ()) -> list[dict[str, Any]]:
        self._note("check", tuple(names))
        return self.checked

    async def remote(self, ref: str) -> FakeRemote:
        await self.lease(ref)
        self._note("remote", ref)
        return self.far


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees this computer's state folder, credentials, colours or `.env`."""
    for name in list(os.environ):
        if (
            name.startswith(("ORCH_", "_ORCH"))
            or name.endswith("_API_KEY")
            or name in ("NO_COLOR", "FORCE_COLOR", "TERM")
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def app(engine: FakeEngine) -> App:
    """An app on the fake engine, without a terminal; `executed` collects what would replace the process."""
    return App(factory=engine, terminal=False)


@pytest.fixture
def orch(app: App) -> Callable[..., Result]:
    """Run a command line given as one text, or as words; `answer` answers questions."""

    def run(*words: str, answer: str | None = None) -> Result:
        argv = words[0].split() if len(words) == 1 else list(words)
        return CliRunner().invoke(cli, argv, obj=app, input=answer)

    return run


@pytest.fixture
def one_document() -> Callable[[Result], Any]:
    """The JSON document on stdout; fails if stdout holds anything else, or more than one."""

    def parse(result: Result) -> Any:
        assert result.stdout.endswith("\n")
        return json.loads(result.stdout)

    return parse


@pytest.fixture
def make() -> SimpleNamespace:
    """Makers of records, each with every field overridable."""
    return SimpleNamespace(offer=offer, attempt=attempt, lease=lease, ended=ended, event=event, plan=plan, now=NOW)


def offer(offer_id: str = "fluence/de/l40-1", **fields: Any) -> Offer:
    given: dict[str, Any] = {
        "provider": "fluence",
        "gpu": "l40",
        "region": "DE-EAST",
        "country": "DE",
        "market": "decentralized",
        "workloads": ("vm",),
        "instance_type": "l40.1x",
        "usd_per_hour": Decimal("0.70"),
        "billing": Billing(increment_s=1),
        "disk_gib": 100.0,
        "vcpus": 8.0,
        "memory_gib": 64.0,
        "egress": FREE,
        "available": True,
        "observed_at": NOW - timedelta(seconds=3),
        "boot_s": 60.0,
    }
    return Offer(offer_id=offer_id, **(given | fields))


def attempt(n: int = 1, **fields: Any) -> AttemptView:
    given: dict[str, Any] = {
        "token": f"orch-aaaaaaa-lease2345-0{n}",
        "state": "live",
        "offer": offer(),
        "outcome": None,
        "error": None,
        "started_at": NOW - timedelta(minutes=10),
        "ended_at": None,
    }
    return AttemptView(n=n, **(given | fields))


def lease(name: str = "trainer", **fields: Any) -> Lease:
    given: dict[str, Any] = {
        "id": "lease2345",
        "state": "running",
        "request": {"gpu": ["l40"], "hours": 24, "policy": "cheapest", "region": []},
        "policy": "cheapest",
        "provider": "fluence",
        "account": "key-1234",
        "region": "DE-EAST",
        "instance_type": "l40.1x",
        "gpu": "l40",
        "gpu_count": 1,
        "instance_id": "vm-77",
        "address": Dialled(host="127.0.0.1", port=2222, user="root"),
        "usd_per_hour": Decimal("0.70"),
        "promised_total_usd": Decimal("16.80"),
        "spent_usd": Decimal("0.1166"),
        "created_at": NOW - timedelta(minutes=12),
        "running_at": NOW - timedelta(minutes=10),
        "ends_at": None,
        "ended_at": None,
        "attempts": (attempt(),),
        "receipt": None,
    }
    return Lease(name=name, **(given | fields))


def ended(name: str = "trainer", **fields: Any) -> Lease:
    """A lease that is over, with its receipt."""
    receipt = Receipt(
        asked_at=NOW - timedelta(minutes=1),
        answer="gone",
        last_seen_at=NOW - timedelta(minutes=1),
        evidence="not listed in two answers",
        cost_usd=Decimal("0.13"),
    )
    closed = attempt(
        state="closed",
        outcome="user",
        ended_at=NOW,
        error=ErrorView(type="NoCapacity", code="sold-out", message="none left"),
    )
    given: dict[str, Any] = {
        "state": "ended",
        "address": None,
        "ended_at": NOW,
        "receipt": receipt,
        "attempts": (closed,),
    }
    return lease(name, **(given | fields))


def event(number: int, kind: str, message: str, **fields: Any) -> Event:
    given: dict[str, Any] = {"at": NOW, "lease": "lease2345", "attempt": 1, "provider": "fluence"}
    return Event(id=number, kind=kind, message=message, **(given | fields))


def plan(*offers: Offer, **options: Any) -> Any:
    """A real plan of the real judge."""
    from policies.judge import judge
    from policies.plan import SourceState
    from policies.policy import load
    from policies.request import Request

    request = Request.of(**({"gpu": "l40"} | options))
    sources = (SourceState(provider="fluence", offers=len(offers), observed_at=NOW),)
    return judge(list(offers), request, load(request.policy), now=NOW, sources=sources)
