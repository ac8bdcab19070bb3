"""Several calls at once, none of which is left running behind a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from providers.errors import ProviderError

T = TypeVar("T")
S = TypeVar("S")


async def together(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results, or the first failure once no call is under way any more."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def both(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, S]) -> tuple[T, S]:
    """Both results, with the care of `together`."""
    one, two = asyncio.ensure_future(first), asyncio.ensure_future(second)
    try:
        return await one, await two
    except BaseException:
        for task in (one, two):
            task.cancel()
        await asyncio.gather(one, two, return_exceptions=True)
        raise


async def tried(call: Coroutine[Any, Any, T]) -> T | ProviderError:
    """The result, or the failure as a value."""
    try:
        return await call
    except ProviderError as error:
        return error
