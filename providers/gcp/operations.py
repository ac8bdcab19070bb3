"""Operations: a create is only asked for when Google answers 200; what became of it stands in its operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from providers.env import Env
from providers.errors import ProviderError
from providers.gcp.client import Client
from providers.gcp.errors import operation_error

_FIRST_POLL_S, _LONGEST_POLL_S = 0.7, 5.0


def is_done(operation: Mapping[str, Any]) -> bool:
    """Whether the operation has ended, well or not."""
    return operation.get("status") == "DONE"


def failure(operation: Mapping[str, Any]) -> ProviderError | None:
    """Why a finished operation failed, or None."""
    return operation_error(operation) if is_done(operation) else None


async def get(client: Client, scope: str, name: str, *, verb: str) -> dict[str, Any] | None:
    """The operation *name* in *scope* (``zones/Z`` or ``global``); None if it is forgotten."""
    return await client.seek(f"{scope}/operations/{name}", verb=verb)


async def until_done(
    client: Client, env: Env, scope: str, operation: dict[str, Any], *, limit_s: float, verb: str
) -> dict[str, Any]:
    """The operation once it has ended, or as it was last seen when *limit_s* seconds are over.

    (`wait` would hold the connection for two minutes, which is longer than any answer may take here.)

    Raises:
        ProviderError: it cannot be looked at.
    """
    end = env.monotonic() + limit_s
    pause, name = _FIRST_POLL_S, str(operation["name"])
    while not is_done(operation) and env.monotonic() < end:
        await env.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_POLL_S)
        operation = await get(client, scope, name, verb=verb) or operation
    return operation


async def find_insert(client: Client, zone: str, instance: str, request_id: str, *, verb: str) -> dict[str, Any] | None:
    """The operation that was to make *instance*, when its answer was lost; None if there is none."""
    params = {"filter": f'clientOperationId = "{request_id}"'}
    found: list[dict[str, Any]] = []
    async for page in client.pages(f"zones/{zone}/operations", verb=verb, params=params):
        items = page.get("items")
        for row in items if isinstance(items, list) else ():
            if isinstance(row, dict) and _made(row, instance, request_id):
                found.append(row)
    # One that still runs counts before one that has ended.
    return min(found, key=is_done, default=None)


def _made(row: Mapping[str, Any], instance: str, request_id: str) -> bool:
    if row.get("operationType") != "insert":
        return False
    return row.get("clientOperationId") == request_id or str(row.get("targetLink")).endswith(f"/instances/{instance}")
