"""The calls on machines: create, look, list, end, and the driver extension."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from providers.azure import errors, groups, images, instances
from providers.azure.client import COMPUTE, Client
from providers.errors import OutcomeUnknown, ProviderError, Unavailable

DRIVER = "orch-nvidia-driver"


async def create(client: Client, group: str, name: str, body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """PUT the machine, sent once and only if there is none of that name; its row, and the operation's path.

    Raises:
        OutcomeUnknown: no readable answer, or there is one of that name already.
    """

    def call(sdk: Any) -> tuple[Any, str]:
        headers: dict[str, str] = {}

        def noted(answer: Any) -> None:
            headers.update({str(key).lower(): str(value) for key, value in answer.http_response.headers.items()})

        # Without polling: Azure's Retry-After of 50 s would decide when we hear of the machine.
        poller = sdk.virtual_machines.begin_create_or_update(
            group, name, body, polling=False, headers={"If-None-Match": "*"}, raw_response_hook=noted
        )
        return _plain(poller.result()), headers.get("azure-asyncoperation", "")

    row, operation = await client.sdk(call, verb="launch", effect=True)
    if not _whole(row):
        raise OutcomeUnknown("Azure: the answer to the create is no machine", code="malformed")
    return row, operation_path(operation)


async def get(client: Client, group: str, name: str, *, verb: str) -> dict[str, Any] | None:
    """The machine with its states, or None if it is not there."""
    try:
        row = await client.sdk(
            lambda sdk: _plain(sdk.virtual_machines.get(group, name, expand="instanceView")), verb=verb
        )
    except ProviderError as error:
        if groups.is_absent(error):
            return None
        raise
    if not _whole(row):
        raise Unavailable("Azure: the answer is no machine", code="malformed")
    return dict(row)


async def listed(client: Client, *, verb: str) -> list[dict[str, Any]]:
    """Every machine of the subscription, all pages, without power states."""
    return await _pages(client, verb, None)


async def states(client: Client, *, verb: str) -> dict[str, list[Any]]:
    """The statuses of every machine of the subscription, by id in lower case: a list of its own at Azure."""
    found: dict[str, list[Any]] = {}
    for row in await _pages(client, verb, {"statusOnly": "true"}):
        view = (row.get("properties") or {}).get("instanceView")
        statuses = view.get("statuses") if isinstance(view, dict) else None
        if isinstance(statuses, list):
            found[str(row.get("id") or "").lower()] = statuses
    return found


async def delete(client: Client, group: str, name: str) -> bool:
    """Ask for the machine's end, without waiting for its system to shut down; True if it is not there."""

    def call(sdk: Any) -> int:
        status: list[int] = []
        sdk.virtual_machines.begin_delete(
            group,
            name,
            force_deletion=True,
            polling=False,
            raw_response_hook=lambda answer: status.append(int(answer.http_response.status_code)),
        )
        return status[-1] if status else 0

    try:
        return bool(await client.sdk(call, verb="terminate") == 204)
    except ProviderError as error:
        if groups.is_absent(error):
            return True
        if groups.is_under_way(error):
            return False
        raise


async def cause(client: Client, operation: str) -> ProviderError | None:
    """Why the operation behind a create failed, or None if it says nothing of it."""
    if not operation:
        return None
    try:
        said = await client.arm("GET", operation, version="", verb="find")
    except ProviderError:
        return None  # operations are forgotten after some time
    error = said.get("error") if isinstance(said, dict) else None
    if not isinstance(error, dict) or str(said.get("status") or "").lower() != "failed":
        return None
    what = errors.said({"error": error})
    return errors.failure(what.code, what.message)


async def install_driver(client: Client, group: str, name: str, region: str) -> None:
    """PUT the extension that installs the GRID driver, and do not wait for it. Safe to repeat."""
    body = images.extension(region)

    def call(sdk: Any) -> None:
        sdk.virtual_machine_extensions.begin_create_or_update(group, name, DRIVER, body, polling=False)

    await client.sdk(call, verb="find", repeat=False)


async def driver_state(client: Client, group: str, name: str, row: dict[str, Any]) -> str | None:
    """How far the driver extension is, in lower case; None if there is none. *row* is the machine's."""
    known = instances.extension_state(row, DRIVER)
    if known is not None:
        return known
    try:
        found = await client.sdk(
            lambda sdk: _plain(sdk.virtual_machine_extensions.get(group, name, DRIVER)), verb="find"
        )
    except ProviderError as error:
        if groups.is_absent(error):
            return None
        raise
    properties = found.get("properties") if isinstance(found, dict) else None
    return str((properties or {}).get("provisioningState") or "").lower()


def operation_path(url: str) -> str:
    """The path of an operation's address with its query; a host in it is not believed."""
    parts = urlsplit(url)
    at = parts.path.lower().find("/subscriptions/")
    return "" if at < 0 else parts.path[at:] + (f"?{parts.query}" if parts.query else "")


async def _pages(client: Client, verb: str, params: dict[str, str] | None) -> list[dict[str, Any]]:
    path = f"{await client.root()}/providers/Microsoft.Compute/virtualMachines"
    rows = await client.pages(path, version=COMPUTE, verb=verb, params=params)
    if not all(isinstance(row, dict) for row in rows):
        raise Unavailable("Azure: the list of machines holds something else", code="malformed")
    return rows


def _plain(model: Any) -> Any:
    """A model of the SDK as the JSON that came over the wire."""
    return model.as_dict() if hasattr(model, "as_dict") else model


def _whole(row: Any) -> bool:
    return isinstance(row, dict) and bool(row.get("id")) and isinstance(row.get("properties"), dict)
