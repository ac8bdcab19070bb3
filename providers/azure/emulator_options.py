"""How an emulated Azure is set up, and switches for what the documents leave open."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Options:
    """Settings of one emulated Azure. Times are seconds of Azure's usual pace; `World.boot_scale` shortens them.

    Attributes:
        subscription, tenant: GUIDs; there is one subscription.
        client_id, client_secret, object_id: the service principal that the token endpoint knows.
        token: a bearer token that is accepted beside those that the token endpoint issued.
        token_s: how long an issued token is good.
        subscription_state: Enabled, Warned, PastDue, Disabled or Deleted; writes need one of the first three.
        denied: RBAC actions that the principal lacks, for example ``Microsoft.Compute/virtualMachines/write``.
        unregistered: resource providers that the subscription has not registered yet.
        register_s: how long registering one takes.
        throttling: whether calls are counted against Azure's limits.
        retry_after: whether running operations carry Retry-After, 10 s, and 50 s at the first poll. The SDK's poller
            obeys it in real time.
        second_delete: the answer to a DELETE of a VM that is being deleted, 202 or 409: not verified.
        nic_reserved_s: how long a NIC stays reserved for a VM that could not be made.
        reserve_on_refusal: whether a VM that was refused at once for want of capacity reserves its NICs, too.
        page_size: entries on one page of a list of VMs, resources, disks or NICs; `sku_page` of SKUs, 0 for all.
        price_page: items on one page of retail prices, at most 1000.
        list_lag_s: how long a new VM stays out of lists.
        resources_lag_s: the same for the generic list of resources, which also shows deleted ones for as long.
        no_power_state: instance views never tell PowerState.
        failed_disk: whether a VM that failed for want of capacity has its OS disk already.
        evict_cascades: whether an eviction with policy Delete takes NICs and addresses by their deleteOption.
        extra_fields: every object of an answer has a field that no documentation knows.
        plant_group: the resource group of machines that tests plant.
        network_s, network_delete_s: a network resource settles, or is gone.
        start_s, run_s, ready_s, made_s: after a VM's PUT: PowerState/starting (it bills from then on), running, SSH,
            provisioningState Succeeded. A Windows D2 took 76 s to the last.
        delete_s, deallocate_s, group_delete_s, evict_s, extension_s: how long these take.
    """

    subscription: str = "6d7a1f6e-3c52-4c0b-9a8e-5b1f0d4c7e21"
    tenant: str = "a2f0c1d4-77be-4c56-8d0c-2f4b9e6a1357"
    client_id: str = "0f3b2c84-5d19-4e77-b1a0-c66d8f2e9ab1"
    client_secret: str = "sandbox~azure~client~secret"  # noqa: S105 - a fake
    object_id: str = "c81f7a30-9d42-4f0e-8c55-13b7de20f964"
    token: str = "sandbox-azure-token"  # noqa: S105 - a fake
    token_s: int = 3599
    subscription_state: str = "Enabled"
    denied: frozenset[str] = frozenset()
    unregistered: set[str] = field(default_factory=set)
    register_s: float = 30
    throttling: bool = True
    retry_after: bool = True
    second_delete: int = 202
    nic_reserved_s: float = 180
    reserve_on_refusal: bool = True
    page_size: int = 100
    sku_page: int = 0
    price_page: int = 1000
    list_lag_s: float = 0
    resources_lag_s: float = 0
    no_power_state: bool = False
    failed_disk: bool = True
    evict_cascades: bool = True
    extra_fields: bool = False
    plant_group: str = "workshop"
    network_s: float = 3
    network_delete_s: float = 8
    start_s: float = 15
    run_s: float = 40
    ready_s: float = 55
    made_s: float = 76
    delete_s: float = 35
    deallocate_s: float = 30
    group_delete_s: float = 90
    evict_s: float = 30
    extension_s: float = 180
