"""The insert itself: sent once, watched until it is known whether there was capacity, adopted if it was made before."""

from __future__ import annotations

from dataclasses import replace

from providers.base import Context, Instance, LaunchSpec, Offer
from providers.errors import OutcomeUnknown, ProviderError, Unclassified
from providers.gcp import instances, offers, operations, request
from providers.gcp.client import Client
from providers.gcp.errors import EXISTS
from providers.gcp.together import tried

#: How long a launch watches its operation. Missing capacity mostly shows within 30 s; later ones show in `find`.
WATCHED_S = 60.0


async def insert(
    client: Client, context: Context, account: str, offer: Offer, spec: LaunchSpec, token: str
) -> Instance:
    """Ask for the machine of *offer* under the name *token*, in the offer's zone; *spec* has been resolved.

    Raises:
        ProviderError: as `Provider.launch`; a failed operation's by the same table as a refusal.
    """
    zone = offers.zone_of(offer)
    path = f"zones/{zone}/instances"
    body = request.instance(offer, spec, token, project=client.project)
    try:
        operation = await client.post(path, body, verb="launch", request_id=request.request_id("insert", token, zone))
    except OutcomeUnknown as error:
        if error.code not in EXISTS:
            raise
        return await _adopt(client, account, zone, spec, token, error)
    # It is accepted: not to be able to look at it changes nothing about that.
    watched = await tried(
        operations.until_done(client, context.env, f"zones/{zone}", operation, limit_s=WATCHED_S, verb="find")
    )
    operation = operation if isinstance(watched, ProviderError) else watched
    failure = operations.failure(operation)
    rule = str(spec.native.get("firewall") or "")
    made = instances.begun(operation, account=account, zone=zone, name=token, owner=spec.owner, firewall=rule)
    if failure is None:
        return made if operation.get("targetId") else await _numbered(client, made, f"{path}/{token}")
    if failure.code in EXISTS:
        return await _adopt(client, account, zone, spec, token, failure)
    if isinstance(failure, Unclassified) and context.on_unclassified is not None:
        context.on_unclassified("gcp", failure.code, failure.message)
    # A failed insert leaves nothing, says Google; asking for its end proves it, and nothing less does.
    if await tried(delete(client, f"{path}/{token}")) is not False:
        failure.left = (made,)
    raise failure


async def delete(client: Client, path: str) -> bool:
    """Ask for a machine's end; whether there is one.

    Raises:
        ProviderError: it was refused, at once or by the operation.
    """
    operation = await client.delete(path, verb="terminate")
    if operation is None:
        return False
    failure = operations.failure(operation)
    if failure is not None:
        raise failure
    return True


async def _adopt(
    client: Client, account: str, zone: str, spec: LaunchSpec, token: str, error: ProviderError
) -> Instance:
    """The machine that has the name already, if it is the same attempt's."""
    row = await client.seek(f"zones/{zone}/instances/{token}", verb="find")
    if row is None:
        raise OutcomeUnknown(f"{error.message} (and it cannot be seen)", code=error.code)
    marks = instances.labels(row)
    if not instances.is_ours(row, spec.owner) or marks.get(request.TOKEN_LABEL) != token:
        raise Unclassified(f"the name {token} is taken by a machine that is not ours", code="name-taken")
    return instances.read(row, account=account, zone=zone, user=str(spec.native.get("ssh_user") or "") or None)


async def _numbered(client: Client, made: Instance, path: str) -> Instance:
    """*made* under Google's own id, which its operation did not tell; under its name if that cannot be had."""
    row = await tried(client.seek(path, verb="find"))
    return replace(made, id=str(row["id"])) if isinstance(row, dict) and row.get("id") else made
