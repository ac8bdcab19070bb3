"""Resource groups, long-running operations, and what every resource can: be read, listed, tagged, deleted."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import Response

import providers.azure.emulator_resources as kinds
from providers.azure.emulator_catalog import paged
from providers.azure.emulator_cloud import Cloud
from providers.azure.emulator_resources import Group, Resource
from providers.azure.emulator_wire import Call, Refusal, not_found, reply

_GROUP = re.compile(r"[\w.()-]{0,89}[\w()-]")
_TAGS = 50
_FORBIDDEN = set("<>%&\\?/")


def check_tags(body: dict[str, Any]) -> dict[str, str]:
    """The tags of a body.

    Raises:
        Refusal: they break a rule: at most 50, keys of at most 512 characters, values of at most 256.
    """
    tags = body.get("tags") or {}
    if not isinstance(tags, dict) or len(tags) > _TAGS:
        raise Refusal("InvalidTags", f"A resource can have at most {_TAGS} tags.")
    for key, value in tags.items():
        if not key or len(key) > 512 or _FORBIDDEN & set(key):
            raise Refusal(
                "InvalidTagNameCharacters", f"The tag name '{key}' has reserved characters or a wrong length."
            )
        if not isinstance(value, str) or len(value) > 256:
            raise Refusal("InvalidTagValueLength", f"The value of tag '{key}' is no text of at most 256 characters.")
    return dict(tags)


# Groups.


def put_group(cloud: Cloud, call: Call) -> Response:
    """Make a group, or change its tags; done when it answers."""
    name, body = call.parts["group"], call.json()
    if not _GROUP.fullmatch(name):
        raise Refusal("InvalidResourceGroup", f"The provided resource group name '{name}' has invalid characters.")
    place, tags = cloud.place(body.get("location"), "Microsoft.Resources/resourceGroups"), check_tags(body)
    there = cloud.store.groups.get(name.lower())
    if there is None:
        made = cloud.store.groups[name.lower()] = Group(name, place, tags)
        return reply(_group(cloud, made), 201)
    cloud.store.group(name, write=True)
    if there.location != place:
        text = (
            f"Invalid resource group location '{place}'. The Resource group already exists in location "
            f"'{there.location}'."
        )
        raise Refusal("InvalidResourceGroupLocation", text, 409)
    there.tags = tags
    return reply(_group(cloud, there))


def patch_group(cloud: Cloud, call: Call) -> Response:
    """Change a group's tags."""
    group = cloud.store.group(call.parts["group"], write=True)
    group.tags = check_tags(call.json())
    return reply(_group(cloud, group))


def get_group(cloud: Cloud, call: Call) -> Response:
    """One group."""
    return reply(_group(cloud, cloud.store.group(call.parts["group"])))


def head_group(cloud: Cloud, call: Call) -> Response:
    """204 if there is such a group, else 404."""
    return reply(None, 204 if call.parts["group"].lower() in cloud.store.groups else 404)


def groups(cloud: Cloud, call: Call) -> Response:
    """All groups, or those with a tag."""
    rows = [_group(cloud, one) for one in cloud.store.groups.values()]
    if text := call.query.get("$filter", ""):
        match = re.fullmatch(r"\s*tagName\s+eq\s+'([^']*)'(?:\s+and\s+tagValue\s+eq\s+'([^']*)')?\s*", text, re.I)
        if match is None:
            raise Refusal("InvalidFilterInQueryString", f"Invalid $filter '{text}' specified in the query string.")
        rows = [
            row for row in rows if row["tags"].get(match[1], None) in ([match[2]] if match[2] else row["tags"].values())
        ]
    return reply(paged(call, rows, cloud.options.page_size))


def delete_group(cloud: Cloud, call: Call) -> Response:
    """End a group and everything in it."""
    group = cloud.store.group(call.parts["group"])
    running = [event for event in cloud.store.events if event.what == "group" and event.uid == group.name.lower()]
    inside = [vm for vm in cloud.store.vms() if vm.group == group.name]
    if running:
        operation = cloud.store.operations[running[0].operation]
    elif any(cloud.fault("ignore_terminate", verb="terminate", subject=vm.subject()) for vm in inside):
        operation = cloud.store.begin("Microsoft.Resources", group.location)
        cloud.store.finish(operation.id, cloud.world.now())
    else:
        operation = cloud.store.begin("Microsoft.Resources", group.location)
        cloud.life.end_group(group.name, operation.id)
    headers = cloud.running(call, operation)
    headers["location"] = headers.pop("azure-asyncoperation")
    headers.pop("azure-asyncnotification")
    return reply(None, 202, headers)


def _group(cloud: Cloud, group: Group) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{cloud.options.subscription}/resourceGroups/{group.name}",
        "name": group.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": group.location,
        "tags": dict(group.tags),
        "properties": {"provisioningState": "Deleting" if group.deleting else "Succeeded"},
    }


# Operations.


def operation(cloud: Cloud, call: Call) -> Response:
    """How a long-running operation goes.

    Its status always comes with 200; the `Location` (``monitor=true``, and everything of Microsoft.Resources) answers
    202 while it runs, then 200 or 204.
    """
    found = cloud.store.operations.get(call.parts["operation"].lower())
    if found is None:
        raise Refusal("NotFound", f"The entity was not found: operation {call.parts['operation']}.", 404)
    first, found.polled = not found.polled, True
    headers = {}
    if found.status == "InProgress" and cloud.options.retry_after:
        headers["retry-after"] = "50" if first and found.namespace == "Microsoft.Compute" else "10"
    if found.namespace == "Microsoft.Resources" or call.query.get("monitor") == "true":
        if found.status == "InProgress":
            return reply(None, 202, headers | {"location": call.again()})
        if found.error:
            raise Refusal(found.error["code"], found.error["message"], 409)
        return reply(None, found.final)
    body: dict[str, Any] = {"status": found.status}
    if found.namespace == "Microsoft.Compute":
        ended = {"endTime": found.ended.isoformat()} if found.ended else {}
        body = {"startTime": found.started.isoformat(), **ended, "status": found.status, "name": found.id}
    if found.error:
        body["error"] = dict(found.error)
    return reply(body, headers=headers)


# Resources.


def need(cloud: Cloud, kind: str, call: Call, *, write: bool = False) -> Resource:
    """The resource that a path names.

    Raises:
        Refusal: there is none, or no such group.
    """
    group = cloud.store.group(call.parts["group"], write=write)
    found = cloud.store.find(kind, group.name, call.parts["name"])
    if found is None:
        raise not_found(kind, call.parts["name"], call.parts["group"])
    return found


def seen(cloud: Cloud, kind: str, call: Call) -> list[Resource]:
    """The resources that a list shows now: of the path's group, or of the subscription."""
    group = call.parts.get("group")
    name = cloud.store.group(group).name if group else None
    now = cloud.world.now()
    return [one for one in cloud.store.of(kind, name) if not one.hidden(now)]


def check_created(resource: Resource | None, call: Call) -> None:
    """`If-None-Match: *` makes a PUT create-only; `If-Match: *` lets it only change.

    Raises:
        Refusal: 412.
    """
    text = "The condition '{}' in the request header was not satisfied."
    if resource is not None and call.headers.get("if-none-match") == "*":
        raise Refusal("PreconditionFailed", text.format("If-None-Match"), 412)
    if resource is None and call.headers.get("if-match"):
        raise Refusal("PreconditionFailed", text.format("If-Match"), 412)


def check_location(resource: Resource, place: str) -> None:
    """A resource stays where it is.

    Raises:
        Refusal: the PUT names another region.
    """
    if resource.location != place:
        text = (
            f"The resource '{resource.name}' already exists in location '{resource.location}' in resource group "
            f"'{resource.group}'. A resource with the same name cannot be created in location '{place}'. "
            "Please select a new resource name."
        )
        raise Refusal("InvalidResourceLocation", text, 409)


def end(cloud: Cloud, call: Call, resource: Resource, seconds: float) -> Response:
    """Begin the end of a resource that is no machine: 202, and gone a little later."""
    operation = cloud.store.begin(resource.kind.partition("/")[0], resource.location, final=204)
    resource.flow += 1
    resource.state = "Deleting"
    cloud.store.plan(cloud.store.later(seconds), "gone", resource, operation=operation.id)
    return reply(None, 202, cloud.running(call, operation, location=True))


def is_used(resource: Resource, code: str, by: str) -> Refusal:
    """Why a resource that another one needs cannot be deleted."""
    kind = {kinds.NIC: "Network interface", kinds.ADDRESS: "Public IP address"}.get(resource.kind, "Resource")
    text = f"{kind} {resource.id} is in use by {by}. It must be dissociated from it before it can be deleted."
    return Refusal(code, text, 400, details=[])
