"""One real provider at a time, with records of its own that outlive the test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator import settings
from orchestrator.core import Orchestrator
from providers import registry

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=sorted(registry.entries()))
def name(request: pytest.FixtureRequest) -> str:
    """A registered provider; skipped unless live tests are asked for."""
    if os.environ.get("ORCH_LIVE") != "1":
        pytest.skip("set ORCH_LIVE=1: these tests talk to real providers and cost money")
    found: str = request.param
    return found


@pytest.fixture
async def orch(name: str) -> AsyncIterator[Orchestrator]:
    """The engine with that provider alone; skipped where there are no credentials for it."""
    values = settings.environment(ROOT)
    # Never the user's own records: what these tests find without a lease of theirs, they end.
    values.pop("ORCH_DATABASE_URL", None)
    state = Path(os.environ.get("ORCH_LIVE_STATE_DIR") or ROOT / ".orch" / "live")
    async with Orchestrator(state_dir=state, settings=values, providers=[name]) as opened:
        if name not in opened.engine.providers:
            pytest.skip(f"{name} is not configured: set {registry.entries()[name].keys[0]}")
        yield opened
