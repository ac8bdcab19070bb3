"""The price list, read once and kept for hours; a re-quote reads only the pages that its prices stand on.

The list is public and the same for every project. Its pages follow one another, so reading all of them takes some
seconds; a caller who gives up in between does not stop the reading, and the next one finds it done.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from providers.env import Env
from providers.errors import InvalidRequest, OfferGone, Unavailable
from providers.gcp.client import Client
from providers.gcp.prices import GLOBAL, Book, Key, Rates, decode
from providers.gcp.together import together

#: Google says that its list is up to twelve hours old, and that spot prices change at most once a day.
KEPT_S = 6 * 3600.0
_MOST_PAGES = 200


class Catalog:
    """The prices of Compute Engine.

    Raises (every method):
        ProviderError: the list cannot be read to its end; half a list would make machines look free of a part.
    """

    def __init__(self, client: Client, env: Env) -> None:
        self._client = client
        self._env = env
        self._kept: tuple[float, Rates] | None = None
        self._reading: asyncio.Task[Rates] | None = None

    async def rates(self) -> Rates:
        """All prices, some hours old at most."""
        if self._kept is not None and self._env.monotonic() - self._kept[0] < KEPT_S:
            return self._kept[1]
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all())
            self._reading.add_done_callback(_noticed)
        return await asyncio.shield(self._reading)

    async def fresh(self, keys: Iterable[Key], region: str) -> Rates:
        """All prices, those for *keys* in *region* as Google lists them now."""
        wanted = [(key, place) for key in keys for place in (region, GLOBAL)]
        if self._kept is None:
            return await self.rates()
        _, rates = self._kept
        known = [place for place in wanted if place in rates.book]
        tokens = sorted({rates.book[place].page for place in known})
        book: Book = {}
        try:
            for found, _ in await together(self._page(token) for token in tokens):
                _merge(book, found)
        except (InvalidRequest, OfferGone):
            book = {}  # the tokens of pages are not kept for ever
        if tokens and all(place in book for place in known):
            # No other price: what else these pages hold may be dearer on another one.
            rates.book |= {place: book[place] for place in known}
            return rates
        # The pages have moved, or something new is priced.
        self._kept = None
        return await self.rates()

    async def aclose(self) -> None:
        """Stop reading."""
        if self._reading is not None and not self._reading.done():
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._reading

    async def _read_all(self) -> Rates:
        book: Book = {}
        token, seen = "", {""}
        for _ in range(_MOST_PAGES):
            found, token = await self._page(token)
            _merge(book, found)
            if not token:
                rates = Rates(book)
                self._kept = (self._env.monotonic(), rates)
                return rates
            if token in seen:
                break
            seen.add(token)
        raise Unavailable("gcp: the price list does not end", code="malformed", scope="provider")

    async def _page(self, token: str) -> tuple[Book, str]:
        body = await self._client.skus(token)
        try:
            return decode(body, token)
        except ValueError as error:
            raise Unavailable(f"gcp: no price list: {error}", code="malformed", scope="provider") from None


def _merge(book: Book, found: Book) -> None:
    """Add *found* to *book*; of two prices for one thing the dearer."""
    for place, price in found.items():
        known = book.get(place)
        if known is None or known.usd <= price.usd:
            book[place] = price


def _noticed(task: asyncio.Task[Rates]) -> None:
    """Look at the task's failure, so that one nobody waits for any more is no unhandled one."""
    if not task.cancelled():
        task.exception()
