"""What the emulated Azure tells of the subscription: standing, rights, regions, providers, and all its resources."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import Response

import providers.azure.emulator_resources as kinds
from providers.azure.emulator_catalog import paged
from providers.azure.emulator_cloud import Cloud
from providers.azure.emulator_market import Region
from providers.azure.emulator_odata import BadFilter, parse
from providers.azure.emulator_wire import Call, Refusal, reply

_USABLE = ("Enabled", "Warned", "PastDue")


# The subscription.


def subscription(cloud: Cloud, call: Call) -> Response:
    """`GET /subscriptions/{id}`."""
    return reply(_subscription(cloud))


def subscriptions(cloud: Cloud, call: Call) -> Response:
    """`GET /subscriptions`: those that the token can see."""
    return reply({"value": [_subscription(cloud)], "count": {"type": "Total", "value": 1}})


def _subscription(cloud: Cloud) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{cloud.options.subscription}",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionId": cloud.options.subscription,
        "tenantId": cloud.options.tenant,
        "displayName": "Sandbox",
        "state": cloud.options.subscription_state,
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }


def check_standing(cloud: Cloud) -> None:
    """Refuse a write where the subscription may only be read.

    Raises:
        Refusal: it is disabled.
    """
    if cloud.options.subscription_state not in _USABLE:
        text = (
            f"The subscription '{cloud.options.subscription}' is disabled and therefore marked as read only. "
            "You cannot perform any write actions on this subscription until it is re-enabled."
        )
        raise Refusal("ReadOnlyDisabledSubscription", text, 409)


def permissions(cloud: Cloud, call: Call) -> Response:
    """What the token may do."""
    row = {"actions": ["*"], "notActions": sorted(cloud.options.denied), "dataActions": [], "notDataActions": []}
    return reply({"value": [row]})


def locations(cloud: Cloud, call: Call) -> Response:
    """The regions."""
    rows = [_location(cloud, region) for region in cloud.market.regions.values()]
    return reply({"value": rows})


def _location(cloud: Cloud, region: Region) -> dict[str, Any]:
    home = f"/subscriptions/{cloud.options.subscription}/locations"
    zones = [{"logicalZone": zone, "physicalZone": f"{region.name}-az{zone}"} for zone in region.zones]
    body: dict[str, Any] = {
        "id": f"{home}/{region.name}",
        "name": region.name,
        "type": "Region",
        "displayName": region.display,
        "regionalDisplayName": f"({region.geography}) {region.display}",
        "metadata": {
            "regionType": "Physical",
            "regionCategory": "Recommended",
            "geography": region.geography,
            "geographyGroup": region.geography,
            "pairedRegion": [{"name": region.paired, "id": f"{home}/{region.paired}"}],
        },
    }
    return body | ({"availabilityZoneMappings": zones} if zones else {})


def resource_provider(cloud: Cloud, call: Call) -> Response:
    """`GET /subscriptions/{id}/providers/{namespace}`."""
    return reply(_provider(cloud, call.parts["namespace"]))


def register(cloud: Cloud, call: Call) -> Response:
    """Register a resource provider; it takes a while."""
    name = _canonical(call.parts["namespace"])
    if name in cloud.options.unregistered:
        cloud.store.plan(cloud.store.later(cloud.options.register_s), "registered", None, uid=name)
        return reply(_provider(cloud, name) | {"registrationState": "Registering"})
    return reply(_provider(cloud, name))


def check_registered(cloud: Cloud, namespace: str) -> None:
    """Refuse a write to a resource provider that the subscription has not registered.

    Raises:
        Refusal: it has not.
    """
    if namespace in cloud.options.unregistered:
        text = (
            f"The subscription is not registered to use namespace '{namespace}'. "
            "See https://aka.ms/rps-not-found for how to register subscriptions."
        )
        target = {"code": "MissingSubscriptionRegistration", "target": namespace, "message": text}
        raise Refusal("MissingSubscriptionRegistration", text, 409, details=[target])


def _provider(cloud: Cloud, namespace: str) -> dict[str, Any]:
    name = _canonical(namespace)
    running = any(event.what == "registered" and event.uid == name for event in cloud.store.events)
    state = "Registered" if name not in cloud.options.unregistered else "Registering" if running else "NotRegistered"
    return {
        "id": f"/subscriptions/{cloud.options.subscription}/providers/{name}",
        "namespace": name,
        "registrationPolicy": "RegistrationRequired",
        "resourceTypes": [],
        "registrationState": state,
    }


def _canonical(namespace: str) -> str:
    known = ("Microsoft.Compute", "Microsoft.Network", "Microsoft.Resources", "Microsoft.Storage")
    found = next((name for name in known if name.lower() == namespace.lower()), None)
    if found is None:
        text = f"The resource namespace '{namespace}' is invalid."
        raise Refusal("InvalidResourceNamespace", text, 404)
    return found


# Resources of all types.


def resources(cloud: Cloud, call: Call) -> Response:
    """The generic list, of the subscription or of one group. It may lag behind writes."""
    now, lag = cloud.world.now(), cloud.options.resources_lag_s
    found = [one for one in cloud.store.resources.values() if not one.hidden(now)]
    if group := call.parts.get("group"):
        name = cloud.store.group(group).name
        found = [one for one in found if one.group == name]
    rows = [_row(one) for one in found if (now - one.created_at).total_seconds() >= lag]
    rows += [row for when, row in cloud.store.ended if not group and (now - when).total_seconds() < lag]
    if text := call.query.get("$filter", ""):
        rows = _filtered(rows, text)
    return reply(paged(call, rows, cloud.options.page_size))


def _row(one: kinds.Resource) -> dict[str, Any]:
    row: dict[str, Any] = {"id": one.id, "name": one.name, "type": one.kind, "location": one.location}
    if one.tags:
        row["tags"] = dict(one.tags)
    return row | {name: one.body[name] for name in ("sku", "managedBy", "zones") if one.body.get(name)}


def _filtered(rows: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    match = re.fullmatch(r"\s*tagName\s+eq\s+'([^']*)'(?:\s+and\s+tagValue\s+eq\s+'((?:[^']|'')*)')?\s*", text, re.I)
    if match is not None:
        name, value = match[1].lower(), match[2]
        tags = [{key.lower(): one for key, one in row.get("tags", {}).items()} for row in rows]
        wanted = None if value is None else value.replace("''", "'")
        return [
            row for row, own in zip(rows, tags, strict=True) if name in own and (wanted is None or own[name] == wanted)
        ]
    try:
        test, fields = parse(text, case=False)
    except BadFilter:
        fields, test = {"?"}, (lambda _: False)
    if fields - {"resourceType", "resourceGroup", "name", "location"}:
        # A filter for tags stands alone.
        raise Refusal("InvalidFilterInQueryString", f"Invalid $filter '{text}' specified in the query string.")
    named = [row | {"resourceType": row["type"], "resourceGroup": row["id"].split("/")[4]} for row in rows]
    return [row for row, full in zip(rows, named, strict=True) if test(full)]
