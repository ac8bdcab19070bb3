"""Pacing that all processes share: spacings of a second or more live in the store, shorter ones in memory."""

from __future__ import annotations

from orchestrator.store import Store
from providers.base import LocalPace
from providers.env import Env


class StorePace:
    """A `providers.base.Pace` with its memory in the store."""

    def __init__(self, store: Store, env: Env) -> None:
        self._store, self._env = store, env
        self._local = LocalPace(env)

    async def wait(self, key: str, spacing_s: float) -> None:
        """Return once it is this caller's turn under *key*."""
        if spacing_s < 1.0:
            await self._local.wait(key, spacing_s)
            return
        pause = await self._store.take_turn(key, spacing_s)
        if pause > 0:
            await self._env.sleep(pause)
