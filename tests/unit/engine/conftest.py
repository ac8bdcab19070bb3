"""The engine on the cloud in memory: same contract, no network, time that jumps."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core import Orchestrator
from orchestrator.models import Event
from policies.request import Request
from providers.base import Context
from providers.env import ManualEnv
from providers.fake import FakeCloud, connect


@dataclass
class House:
    """A cloud, a state folder, and as many Orchestrators as processes would have."""

    state: Path
    env: ManualEnv
    cloud: FakeCloud
    events: list[Event] = field(default_factory=list)
    _open: list[Orchestrator] = field(default_factory=list)

    def orch(self, **more: Any) -> Orchestrator:
        """A fresh process."""
        made = Orchestrator(
            state_dir=self.state,
            settings={"HOME": str(self.state)},
            env=self.env,
            adapters={"fake": lambda context: self.adapter(context)},
            **more,
        )
        self._open.append(made)
        return made

    def adapter(self, context: Context) -> Any:
        return connect(self.cloud, context)

    def request(self, **options: Any) -> Request:
        # The fake's addresses answer no SSH: the provider's word is enough here.
        return Request.of(**{"gpu": "l40", "ready": "none", **options})

    def billing(self) -> list[str]:
        self.cloud.advance()
        return self.cloud.ledger.billing()

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


@pytest.fixture
def house(tmp_path: Path) -> House:
    env = ManualEnv()
    return House(tmp_path / "state", env, FakeCloud(env))
