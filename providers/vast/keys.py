"""Our SSH key on one instance, and never on the account.

The start script writes the key already. Attaching it is the documented way beside that one, works on running
containers only, and reaches images whose start script does not run.
"""

from __future__ import annotations

from providers.errors import ProviderError
from providers.vast.client import Client


class Keys:
    """Sees to it that instances have our key. What it remembers saves calls and decides nothing."""

    def __init__(self) -> None:
        self._tried: set[str] = set()
        self._there: set[str] = set()

    async def give(self, client: Client, id_: str, public_key: str, *, running: bool) -> None:
        """Attach *public_key*, unless the instance has it. Failing is no failure: SSH shows whether it works.

        Before the container runs it is tried once, since whether the wire keeps a key for later is not documented.
        """
        key = public_key.strip()
        if id_ in self._there or (not running and id_ in self._tried):
            return
        first = id_ not in self._tried
        self._tried.add(id_)
        try:
            if running and any(_same(key, listed) for listed in await client.keys(id_)):
                self._there.add(id_)
                return
            if running or first:
                await client.attach(id_, key)
        except ProviderError:
            return


def _same(ours: str, listed: str) -> bool:
    """Whether two lines are the same key; comments differ."""
    return ours.split()[:2] == listed.split()[:2]
