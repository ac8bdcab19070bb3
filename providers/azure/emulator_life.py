"""What happens to the emulated subscription's resources over time: boot, bill, fail, stop, end, be evicted.

Everything happens at its own moment of the world's clock, in order, however rarely somebody looks.

Billing: compute by the second from PowerState/starting until the machine is deallocated or deleted (a machine that is
only stopped bills on); a managed disk and a Standard address for as long as they exist. What is attached to a machine
bills under the machine's id, everything else under its own.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import providers.azure.emulator_resources as kinds
from providers.azure.emulator_market import Market, Size
from providers.azure.emulator_options import Options
from providers.azure.emulator_reach import opens_ssh, public_address
from providers.azure.emulator_resources import Event, Resource, Vm
from providers.azure.emulator_store import Gone, Store, addresses
from providers.sandbox.world import World

PROVIDER = "azure"
#: Failures of the machine's inside: it is there, and runs.
RUNNING_FAILURES = frozenset({"OSProvisioningTimedOut", "OSProvisioningInternalError", "VMExtensionProvisioningError"})
_HOURS_A_MONTH = 730
_PREEMPTED = ("OperationPreempted", "Operation execution has been preempted by a more recent operation.")


class Life:
    """The clock and the bill of all resources."""

    def __init__(self, world: World, options: Options, market: Market, store: Store) -> None:
        self.world = world
        self.options = options
        self.market = market
        self.store = store
        self._hosts: dict[str, str] = {}

    def advance(self) -> None:
        """Play everything that has come due by the world's time."""
        for event in self.store.due(self.world.now()):
            self._play(event)
            self.sync(event.when)

    def _play(self, event: Event) -> None:
        match event.what:
            case "group":
                self._end_group(event)
                return
            case "registered":
                self.options.unregistered.discard(event.uid)
                return
        found = self.store.by_uid(event.uid)
        if found is None or found.flow != event.flow:
            return
        if isinstance(found, Vm):
            self._play_vm(found, event)
        elif event.what == "settled":
            found.state = "Succeeded"
        elif event.what == "gone":
            self.remove(found, event.when)
        if event.what != "failed":
            self.store.finish(event.operation, event.when)

    def _play_vm(self, vm: Vm, event: Event) -> None:
        when = vm.changed_at = event.when
        match event.what:
            case "starting":
                vm.power, vm.allocated, vm.detail = "starting", True, ""
            case "running":
                vm.power, vm.detail = "running", "OSProvisioningInProgress"
            case "ready":
                vm.ready, vm.detail = True, "OSProvisioningComplete"
            case "made" | "settled":
                vm.state, vm.detail = "Succeeded", ""
            case "restarted":
                vm.state, vm.power, vm.detail, vm.ready, vm.allocated = "Succeeded", "running", "", True, True
            case "failed":
                self._fail(vm, when, event.operation)
            case "stopped":
                vm.state, vm.power = "Succeeded", "stopped"
            case "deallocated":
                vm.state, vm.power, vm.allocated = "Succeeded", "deallocated", False
            case "evicted":
                self.evict(vm, when)
            case "deleted":
                self.remove(vm, when)
            case _:
                extension = vm.extensions.get(event.what.partition(":")[2])
                if extension is not None:
                    extension["properties"]["provisioningState"] = "Succeeded"

    # A machine's life.

    def free(self, size: Size, region: str, *, spot: bool) -> int:
        """How many more of a size there are."""
        held = sum(
            1
            for vm in self.store.vms()
            if (vm.size, vm.location, vm.spot) == (size.name, region, spot)
            and (vm.allocated or (vm.state == "Creating" and vm.fate is None))
        )
        return max(0, self.market.stock(size, region, spot=spot) - held)

    def boot(self, vm: Vm, operation: str) -> None:
        """Begin a machine's first boot, or that of one whose earlier boot failed."""
        vm.flow += 1
        vm.state, vm.detail, vm.error, vm.creating = "Creating", "", None, operation
        vm.changed_at = self.world.now()
        times = self.options
        steps: list[tuple[float, str]] = [(times.start_s, "starting"), (times.run_s, "running")]
        if vm.fate is not None:
            code, seconds = vm.fate
            steps = [*steps, (times.ready_s, "ready")] if code in RUNNING_FAILURES else []
            steps = [step for step in steps if step[0] <= seconds] + [(seconds, "failed")]
        elif vm.stuck:
            # It may hang before it holds hardware, before the machine runs, or with a machine that nobody reaches.
            steps = {"creating": [], "starting": steps[:1]}.get(vm.stuck, [*steps, (times.made_s, "made")])
        else:
            steps += [(times.ready_s, "ready"), (times.made_s, "made")]
        for seconds, what in steps:
            final = operation if what in ("made", "failed") else ""
            self.store.plan(self.store.later(seconds), what, vm, operation=final)

    def run_at_once(self, vm: Vm) -> None:
        """Skip the boot of a new machine."""
        vm.flow += 1
        vm.state, vm.power, vm.allocated, vm.ready = "Succeeded", "running", True, True
        self.sync(self.world.now())

    def _fail(self, vm: Vm, when: datetime, operation: str) -> None:
        assert vm.fate is not None, "only a machine with a fate fails"
        code = vm.fate[0]
        vm.state, vm.error, vm.detail = "Failed", (code, failure_text(code, vm)), code
        if code not in RUNNING_FAILURES:
            vm.power, vm.allocated = "", False
            self.reserve(vm, when)
        vm.fate = None
        self.store.finish(operation, when, vm.error)

    def reserve(self, vm: Vm, when: datetime) -> None:
        """Keep the machine's network interfaces for it a while, though it could not be made."""
        for nic, _ in self.store.nics(vm):
            nic.reserved_until = when + timedelta(seconds=self.options.nic_reserved_s * self.world.boot_scale)
            nic.reserved_for = vm.id

    def overrule(self, vm: Vm, state: str, power: str) -> None:
        """A new operation: what was to happen will not, and whoever waits for it is told."""
        vm.flow += 1
        self.store.finish(vm.creating, self.world.now(), _PREEMPTED, "Canceled")
        vm.state, vm.detail, vm.ready = state, "", False
        vm.power = power if vm.allocated else vm.power
        vm.changed_at = self.world.now()
        self.sync(self.world.now())

    def evict(self, vm: Vm, when: datetime) -> None:
        """Spot takes a machine: with policy Delete it vanishes, otherwise it is deallocated."""
        vm.flow += 1
        if vm.eviction == "Delete":
            self.remove(vm, when, cascade=self.options.evict_cascades)
        else:
            vm.state, vm.power, vm.allocated, vm.ready = "Succeeded", "deallocated", False, False
        self.sync(when)

    def lose(self, vm: Vm) -> None:
        """No notice: spot takes it, or its host fails and Azure cannot heal it (illustrative: Failed, deallocated)."""
        if vm.spot:
            self.evict(vm, self.world.now())
            return
        self.overrule(vm, "Failed", "")
        vm.error = ("InternalExecutionError", "An internal execution error occurred. Please retry later.")
        vm.detail, vm.power, vm.allocated = vm.error[0], "deallocated", False
        self.sync(self.world.now())

    # Ends.

    def remove(self, resource: Resource, when: datetime, *, cascade: bool = True) -> None:
        """A resource is gone, and with it what its deleteOptions say."""
        if self.store.resources.pop(resource.key, None) is None:
            return
        if self.options.resources_lag_s:
            row: dict[str, Any] = {
                "id": resource.id,
                "name": resource.name,
                "type": resource.kind,
                "location": resource.location,
            }
            self.store.ended.append((when, row | ({"tags": resource.tags} if resource.tags else {})))
        if isinstance(resource, Vm):
            vm = resource
            market = "spot" if vm.spot else "on-demand"
            self.store.past.append(Gone(vm.id, vm.name, f"{vm.size} {vm.location} {market}"))
            self.world.machines.stop(f"{PROVIDER}:{vm.uid}")
            self._hosts.pop(f"{PROVIDER}:{vm.uid}", None)
            self.world.ledger.close(PROVIDER, vm.id, at=when, what="compute")
            rows = self.store.nics(vm)
            disk = self.store.get(vm.disk)
            os_disk = vm.properties.get("storageProfile", {}).get("osDisk", {})
            if disk is not None and os_disk.get("deleteOption") == "Delete":
                self.remove(disk, when)
            for nic, row in rows if cascade else ():
                if row.get("properties", {}).get("deleteOption") == "Delete":
                    self.remove(nic, when)
        elif resource.kind == kinds.NIC:
            for reference in addresses(resource):
                address = self.store.get(str(reference.get("id", "")))
                if address is not None and reference.get("properties", {}).get("deleteOption") == "Delete":
                    self.remove(address, when)
        elif resource.billed_to:
            self.world.ledger.close(PROVIDER, resource.billed_to, at=when, what=_what(resource))

    def end_group(self, name: str, operation: str) -> None:
        """Begin the end of a group and of everything in it."""
        group = self.store.group(name)
        group.deleting = True
        for resource in [one for one in self.store.resources.values() if one.group == group.name]:
            if isinstance(resource, Vm):
                self.overrule(resource, "Deleting", "stopping")
            resource.flow += 1
            resource.state = "Deleting"
        seconds = self.options.group_delete_s
        self.store.plan(self.store.later(seconds), "group", None, uid=name.lower(), operation=operation)

    def _end_group(self, event: Event) -> None:
        group = self.store.groups.pop(event.uid)
        inside = [one for one in self.store.resources.values() if one.group == group.name]
        for resource in sorted(inside, key=lambda one: not isinstance(one, Vm)):
            self.remove(resource, event.when)
        self.store.finish(event.operation, event.when)

    # Money and machines.

    def sync(self, when: datetime) -> None:
        """Let bill and SSH be as the resources are."""
        for resource in self.store.resources.values():
            if isinstance(resource, Vm):
                self._bill_vm(resource, when)
                self._serve(resource)
            elif resource.kind in (kinds.DISK, kinds.ADDRESS):
                self._bill(resource, when)

    def _bill_vm(self, vm: Vm, when: datetime) -> None:
        if vm.allocated and not vm.billed_to:
            self._open(vm.id, "compute", Decimal(vm.rate), vm.name, when)
            vm.billed_to = vm.id
        elif not vm.allocated and vm.billed_to:
            self.world.ledger.close(PROVIDER, vm.id, at=when, what="compute")
            vm.billed_to = ""

    def _bill(self, resource: Resource, when: datetime) -> None:
        vm = self.machine_of(resource)
        target = vm.id if vm else resource.id
        if resource.billed_to == target:
            return
        what = _what(resource)
        if resource.billed_to:
            self.world.ledger.close(PROVIDER, resource.billed_to, at=when, what=what)
        self._open(target, what, self._rate(resource), vm.name if vm else resource.name, when)
        resource.billed_to = target

    def machine_of(self, resource: Resource) -> Vm | None:
        """The machine that a disk or an address belongs to now."""
        if resource.kind == kinds.DISK:
            return next((vm for vm in self.store.vms() if vm.disk.lower() == resource.key), None)
        held = self.store.holder_of(resource)
        return self.store.user_of(held[0]) if held else None

    def _rate(self, resource: Resource) -> Decimal:
        if resource.kind == kinds.ADDRESS:
            return Decimal(self.market.given["fees"]["public_ip_hour"])
        kind = str(resource.body.get("sku", {}).get("name", "Standard_LRS"))
        return self.market.disk_month(kind, int(resource.properties.get("diskSizeGB", 32))) / _HOURS_A_MONTH

    def _open(self, instance: str, what: str, usd: Decimal, name: str, when: datetime) -> None:
        account = self.options.subscription
        self.world.ledger.open(
            PROVIDER, instance, at=when, usd_per_hour=usd, name=name, account=account, what=what, increment_s=1
        )

    def resume(self) -> None:
        """Start the machines again after the state was loaded."""
        self._hosts.clear()
        self.sync(self.world.now())

    def _serve(self, vm: Vm) -> None:
        """Let SSH answer if the machine runs, has a public address, and security rules let the world in at 22."""
        key = f"{PROVIDER}:{vm.uid}"
        host = public_address(self.store, vm) if vm.ready and vm.power == "running" else None
        if host is not None and not opens_ssh(self.store, vm):
            host = None
        if self._hosts.get(key) == host:
            return
        self.world.machines.stop(key)
        self._hosts.pop(key, None)
        if host is None:
            return
        size = self.market.sizes[vm.size.lower()]
        gpu, memory_mib = vm.device or (size.device, size.device_mib)
        self.world.machines.start(
            key,
            host=host,
            port=22,
            user=vm.user,
            authorized_keys=list(vm.keys),
            gpu=gpu,
            memory_mib=memory_mib,
            count=size.devices,
        )
        self._hosts[key] = host


def _what(resource: Resource) -> str:
    return f"{'disk' if resource.kind == kinds.DISK else 'address'} {resource.name}"


def failure_text(code: str, vm: Vm) -> str:
    """Azure's words for a failed operation."""
    more = "Read more about improving likelihood of allocation success at http://aka.ms/allocation-guidance"
    texts = {
        "AllocationFailed": "Allocation failed. We do not have sufficient capacity for the requested VM size in this "
        f"region. {more}",
        "ZonalAllocationFailed": "Allocation failed. We do not have sufficient capacity for the requested VM size in "
        f"this zone. {more}",
        "OverconstrainedAllocationRequest": "Allocation failed. VM(s) with the following constraints cannot be "
        "allocated, because the condition is too restrictive. Please remove some constraints and try again. "
        f"Constraints applied are: VM Size, Low Priority VMs ({vm.size}).",
        "OSProvisioningTimedOut": f"OS Provisioning for VM '{vm.name}' did not finish in the allotted time. The VM may "
        "still finish provisioning successfully. Please check provisioning state later.",
        "VMExtensionProvisioningError": "VM has reported a failure when processing extension.",
    }
    return texts.get(code, "An internal execution error occurred. Please retry later.")
