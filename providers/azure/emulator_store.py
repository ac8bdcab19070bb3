"""The emulated subscription's contents, its clock's agenda and its long-running operations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from providers.azure.emulator_options import Options
from providers.azure.emulator_resources import NIC, Event, Group, Operation, Resource, Vm, pack, unpack
from providers.azure.emulator_wire import Refusal, no_group
from providers.sandbox.world import World


@dataclass(frozen=True, slots=True)
class Gone:
    """A VM that was: what `Emulator.records` still tells of it."""

    id: str
    name: str
    offer: str


class Store:
    """Everything there is, by lower-case resource id.

    Attributes:
        past: virtual machines that are no more.
        ended: (when, row of the generic list) of deleted resources, which that list may show for a while.
    """

    def __init__(self, world: World, options: Options) -> None:
        self.world = world
        self.options = options
        self.groups: dict[str, Group] = {}
        self.resources: dict[str, Resource] = {}
        self.operations: dict[str, Operation] = {}
        self.events: list[Event] = []
        self.past: list[Gone] = []
        self.ended: list[tuple[datetime, dict[str, Any]]] = []
        self._number = 0

    # Groups.

    def group(self, name: str, *, write: bool = False) -> Group:
        """The group of that name.

        Raises:
            Refusal: there is none, or it is being deleted and the call would write into it.
        """
        found = self.groups.get(name.lower())
        if found is None:
            raise no_group(name)
        if write and found.deleting:
            text = f"The resource group '{found.name}' is in deprovisioning state and cannot perform this operation."
            raise Refusal("ResourceGroupBeingDeleted", text, 409)
        return found

    # Resources.

    def add(self, resource: Resource) -> None:
        """Take in a new resource."""
        self.resources[resource.key] = resource

    def get(self, resource_id: str) -> Resource | None:
        """The resource of that id, in any case."""
        return self.resources.get(resource_id.rstrip("/").lower())

    def find(self, kind: str, group: str, name: str) -> Resource | None:
        """The resource of that type, group and name, in any case."""
        wanted = f"/subscriptions/{self.options.subscription}/resourcegroups/{group}/providers/{kind}/{name}"
        return self.get(wanted)

    def of(self, kind: str, group: str | None = None) -> list[Resource]:
        """All resources of a type, in one group or all, oldest first."""
        return [
            one
            for one in self.resources.values()
            if one.kind == kind and (group is None or one.group.lower() == group.lower())
        ]

    def vms(self) -> list[Vm]:
        """All virtual machines there are."""
        return [one for one in self.resources.values() if isinstance(one, Vm)]

    def vm(self, uid: str) -> Vm | None:
        """The machine with that `vmId`."""
        return next((one for one in self.vms() if one.uid == uid), None)

    def nics(self, vm: Vm) -> list[tuple[Resource, dict[str, Any]]]:
        """A machine's network interfaces that exist, each with its entry in the machine's networkProfile."""
        rows = vm.properties.get("networkProfile", {}).get("networkInterfaces", [])
        found = [(self.get(str(row.get("id", ""))), row) for row in rows]
        return [(nic, row) for nic, row in found if nic is not None]

    def user_of(self, nic: Resource) -> Vm | None:
        """The machine that a network interface is attached to."""
        return next((vm for vm in self.vms() if any(one is nic for one, _ in self.nics(vm))), None)

    def holder_of(self, address: Resource) -> tuple[Resource, dict[str, Any]] | None:
        """The network interface that has a public address, and its configuration's reference to it."""
        for nic in self.of(NIC):
            for reference in addresses(nic):
                if str(reference.get("id", "")).lower() == address.key:
                    return nic, reference
        return None

    # Time.

    def later(self, seconds: float, start: datetime | None = None) -> datetime:
        """The moment in *seconds* of Azure's usual time, shortened by the world's boot scale."""
        return (start or self.world.now()) + timedelta(seconds=seconds * self.world.boot_scale)

    def plan(self, when: datetime, what: str, resource: Resource | None, *, uid: str = "", operation: str = "") -> None:
        """Let *what* happen at *when* to a resource, or to the group or provider named by *uid*."""
        self._number += 1
        name, flow = (resource.uid, resource.flow) if resource else (uid, 0)
        self.events.append(Event(when, self._number, what, name, flow, operation))

    def due(self, now: datetime) -> Iterator[Event]:
        """The events that have come due, in order, each taken off the agenda; those of an overruled flow are void."""
        while self.events:
            event = min(self.events, key=lambda one: (one.when, one.number))
            if event.when > now:
                return
            self.events.remove(event)
            yield event

    def by_uid(self, uid: str) -> Resource | None:
        """The resource of that GUID."""
        return next((one for one in self.resources.values() if one.uid == uid), None)

    # Operations.

    def begin(self, namespace: str, location: str, *, final: int = 200) -> Operation:
        """A new long-running operation."""
        operation = Operation(self.world.uuid(), namespace, location, self.world.now(), final=final)
        self.operations[operation.id] = operation
        return operation

    def finish(self, operation: str, when: datetime, error: tuple[str, str] | None = None, status: str = "") -> None:
        """End an operation that still runs: Succeeded, or Failed with an error's code and message."""
        found = self.operations.get(operation)
        if found is None or found.ended is not None:
            return
        found.ended = when
        found.status = status or ("Failed" if error else "Succeeded")
        if error:
            found.error = {"code": error[0], "message": error[1]}

    # The state as a file.

    def dump(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        return {
            "groups": [pack(one) for one in self.groups.values()],
            "resources": [pack(one) for one in self.resources.values() if not isinstance(one, Vm)],
            "vms": [pack(one) for one in self.vms()],
            "operations": [pack(one) for one in self.operations.values()],
            "events": [pack(one) for one in self.events],
            "past": [[one.id, one.name, one.offer] for one in self.past],
            "number": self._number,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave."""
        self.groups = {one["name"].lower(): unpack(Group, one) for one in state["groups"]}
        found = [unpack(Resource, one) for one in state["resources"]] + [unpack(Vm, one) for one in state["vms"]]
        self.resources = {one.key: one for one in sorted(found, key=lambda one: one.created_at)}
        self.operations = {one["id"]: unpack(Operation, one) for one in state["operations"]}
        self.events = [unpack(Event, one) for one in state["events"]]
        self.past = [Gone(*one) for one in state["past"]]
        self._number = state["number"]


def addresses(nic: Resource) -> list[dict[str, Any]]:
    """The references to public addresses in a network interface's configurations."""
    rows = nic.properties.get("ipConfigurations", [])
    found = [row.get("properties", {}).get("publicIPAddress") for row in rows]
    return [one for one in found if isinstance(one, dict)]
