"""Which verb of the contract a request serves."""

from __future__ import annotations

from providers.coreweave.emulator_resources import (
    ACCESS,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    POOLS,
    SECRETS,
    SERVICES,
    WHOAMI,
    Place,
    Resource,
)

#: Nothing is rented before the Pod is there: what is made beside it (node pools, Secrets, Services) is no launch,
#: and does not take the faults that are meant for one.
_READS: dict[Resource, tuple[str, str]] = {
    # A list, and one object.
    PODS: ("owned", "find"),
    SERVICES: ("find", "find"),
    EVENTS: ("find", "find"),
    NODES: ("offers", "offers"),
    POOLS: ("offers", "offers"),
    NAMESPACES: ("account", "account"),
}


def verb_of(method: str, place: Place | None) -> str:
    """The verb, ``other`` for what serves none or several."""
    if place is None or not place.known:
        return "other"
    if place.page:
        return "account" if place.page in ("version", "clusters") else "other"
    if place.resource in (ACCESS, WHOAMI):
        return "account"
    if method == "GET" and not place.sub:
        return _READS.get(place.resource, ("other", "other"))[bool(place.name)]
    if method == "POST" and place.resource is PODS and not place.sub:
        return "launch"
    ends = place.resource in (PODS, SERVICES, SECRETS)
    return "terminate" if ends and (method == "DELETE" or place.sub == "eviction") else "other"
