from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import respx

from tests.unit.fluence.kit import URL, World


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    """Fluence's host; a call to a path that a test did not name fails."""
    with respx.mock(base_url=URL, assert_all_called=False) as found:
        yield found


@pytest.fixture
async def world() -> AsyncIterator[World]:
    found = World()
    yield found
    await found.provider.aclose()
