"""One refresh of the market: at most three searches, paged by price, and told apart from a whole answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from providers.base import Listing, Offer, Query
from providers.errors import ProviderError
from providers.vast import names, offers, search
from providers.vast.client import Client
from providers.vast.fields import disk_gb
from providers.vast.search import Kind

#: Real seconds for all searches after the first. They only add dearer offers: a slow one must not cost the answer,
#: for which nobody waits longer than eight.
MORE_S = 4.0


@dataclass(slots=True)
class Sweep:
    """What one refresh has found so far.

    Attributes:
        found: offers by id, cheapest search results first.
        starts: per kind that was read, the price from which the market goes on; None: that was all.
        searches: how many were sent.
    """

    client: Client
    query: Query
    account: str
    now: Callable[[], datetime]
    found: dict[str, Offer] = field(default_factory=dict)
    starts: dict[Kind, Decimal | None] = field(default_factory=dict)
    searches: int = 0
    stuck: bool = False
    notes: list[str] = field(default_factory=list)
    _seen: set[tuple[Kind, int | None]] = field(default_factory=set)

    async def run(self) -> Listing:
        """Read the market.

        Raises:
            ProviderError: the first search failed. A later one that fails makes the listing partial.
        """
        kinds = search.kinds(self.query)
        if not kinds:
            return Listing([], note="rents on demand and interruptibly only")
        if self.query.gpus and not names.wire_names(self.query.gpus):
            return Listing([], note=f"rents no {', '.join(self.query.gpus)}")
        await self._page(kinds[0], "offers")
        try:
            async with asyncio.timeout(MORE_S):
                await self._more(kinds)
        except TimeoutError:
            self.notes.append("stopped for time")
        except ProviderError as error:
            self.notes.append(f"a further search failed: {error}")
        return self._listing(kinds)

    async def _more(self, kinds: tuple[Kind, ...]) -> None:
        for kind in kinds[1:]:
            await self._page(kind, "more")
        while self.searches < search.MOST_SEARCHES and not self.stuck:
            kind_left = next((kind for kind in kinds if self.starts[kind] is not None), None)
            if kind_left is None:
                return
            await self._page(kind_left, "more")

    async def _page(self, kind: Kind, verb: str) -> None:
        start = self.starts.get(kind)
        self.searches += 1
        rows = await self.client.search(search.body(self.query, kind, start=start), verb=verb)
        now, disk, before = self.now(), disk_gb(self.query.disk_gib), len(self._seen)
        for row in rows:
            self._seen.add((kind, search.ask_of(row)))
            offer = offers.read(row, kind, disk=disk, account=self.account, now=now)
            if offer is not None and offers.fits(row, offer, self.query):
                self.found.setdefault(offer.offer_id, offer)
        self.starts[kind] = search.next_start(rows, kind)
        # More than a page at one price: the next search would show the same rows.
        self.stuck = start is not None and len(self._seen) == before

    def _listing(self, kinds: tuple[Kind, ...]) -> Listing:
        unread = [kind for kind in kinds if kind not in self.starts]
        capped = any(self.starts.values())
        notes = [f"{kind} offers not read" for kind in unread]
        if capped:
            notes.append(f"the {len(self.found)} cheapest: a search shows {search.MOST_ROWS} offers")
        notes += self.notes
        if not self.found and not notes:
            notes.append(f"rents no {', '.join(self.query.gpus) or 'GPU'} now")
        partial = capped or bool(unread or self.notes)
        return Listing(list(self.found.values()), partial=partial, note="; ".join(notes))
