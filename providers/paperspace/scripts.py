"""The startup script of a launch: made just before its machine, named like it, gone with it.

One a lease and attempt, under the attempt's own name, so that it is found again whatever crashed when, and taking it
away hurts nobody else. It costs nothing, but the team's list of scripts is read by people. What comes after what:
script, machine; end of the machine, end of the script. A script whose machine was never made is ended by

- the refused launch itself, or through `left` where that failed or nobody knows whether the machine was made;
- `owned`, which shows it as an instance of kind ``startup-script`` that the sweep ends;
- `find`, once it is older than any launch that is still going on (`ORPHAN_S`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from providers import naming
from providers.base import Instance
from providers.errors import Forbidden, InvalidRequest, OutcomeUnknown, ProviderError, Unavailable
from providers.paperspace import instances
from providers.paperspace.client import Client
from providers.paperspace.fields import moment, text

#: Seconds after which a script without a machine belongs to no launch that still goes on: a launch sends its two
#: calls one right after the other, each with a limit of 60 s.
ORPHAN_S = 600.0


def named(rows: Iterable[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """The rows with exactly that name and an id; the list's own filter may match more."""
    return [row for row in rows if text(row.get("name")) == name and text(row.get("id"))]


async def make(client: Client, name: str, script: str, *, account: str, secrets: tuple[str, ...]) -> str:
    """The id of a new script called *name*.

    Raises:
        Forbidden: it was refused as it is, for example by the firewall: no launch here will go better.
        Unavailable: it cannot be told whether it is there (`left` names it). No machine was asked for.
        ProviderError: it was refused.
    """
    try:
        return await client.create_script(name, script, secrets)
    except InvalidRequest as error:
        raise Forbidden(f"the startup script was refused: {error.message}", code=error.code or "script") from error
    except OutcomeUnknown as error:
        lost: ProviderError = error
    try:
        rows = named(await client.scripts(verb="account", name=name), name)
    except ProviderError:
        rows = []
    if rows:
        return str(rows[0]["id"])
    # By its name alone: that is all that is known of it, and all that its end needs.
    left = instances.read_script({"id": name, "name": name}, account=account)
    what = f"nobody knows whether the startup script was made: {lost.message}"
    raise Unavailable(what, code="startup-script", scope="provider", left=(left,))


async def drop(client: Client, id_: str, name: str, *, account: str) -> tuple[Instance, ...]:
    """End the script of a machine that was refused; what is left of it where that failed."""
    try:
        await client.delete_script(id_)
    except ProviderError:
        return (instances.read_script({"id": id_, "name": name}, account=account),)
    return ()


async def end_all(client: Client, name: str) -> bool:
    """End every script called *name*; True once none is listed any more."""
    rows = named(await client.scripts(verb="terminate", name=name), name)
    if not rows:
        return True
    for row in rows:
        await client.delete_script(str(row["id"]))
    return not named(await client.scripts(verb="terminate", name=name), name)


async def end_one(client: Client, id_: str, name: str, *, now: datetime, settled_s: float) -> bool:
    """End one script without a machine, and no other of its name: a later try may have made that one for a machine
    that is not listed yet. True once it is not listed any more.

    Args:
        id_: its id; or *name* where only that is known. Then all of the name are meant that are *settled_s* seconds
            old: by then their machine would be listed.
    """

    async def there() -> list[Mapping[str, Any]]:
        rows = named(await client.scripts(verb="terminate", name=name), name)
        return [row for row in rows if id_ in (name, row["id"])]

    rows = await there()
    for row in rows:
        made = moment(row.get("dtCreated"))
        if id_ != name or made is None or (now - made).total_seconds() >= settled_s:
            await client.delete_script(str(row["id"]))
    return not rows or not await there()


async def sweep(client: Client, name: str, *, owner: str, now: datetime) -> None:
    """End the scripts called *name* that are too old to belong to a launch; whoever calls knows of no machine.

    What goes wrong here is left to the next time.
    """
    if not naming.is_ours(name, owner):
        return
    try:
        for row in named(await client.scripts(verb="find", name=name), name):
            made = moment(row.get("dtCreated"))
            if made is not None and (now - made).total_seconds() >= ORPHAN_S:
                await client.delete_script(str(row["id"]))
    except ProviderError:
        return
