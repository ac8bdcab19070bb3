"""What an inventory offers: each machine whole, and where it is shared, parts of its GPUs."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from providers.base import Billing, EgressTier, Offer
from providers.errors import InvalidRequest
from providers.ssh.inventory import Machine
from providers.ssh.price import share
from providers.ssh.state import State

#: From accepted to ready: SSH answers already, so it is the GPU probe's time.
BOOT_S = 3.0


def sizes(machine: Machine) -> list[int]:
    """How many of its GPUs can be had: powers of two, and all of them."""
    if not machine.share:
        return [machine.gpu_count]
    return [size for size in (1, 2, 4, 8, 16, 32) if size < machine.gpu_count] + [machine.gpu_count]


def offers_of(machine: Machine, state: State | None, *, account: str, now: datetime) -> list[Offer]:
    """The offers of one machine; without a *state* (it cannot be reached) they are marked as not available."""
    return [_offer(machine, size, state, account, now) for size in sizes(machine)]


def target(offer: Offer) -> tuple[str, int]:
    """The machine's name and the number of GPUs.

    Raises:
        InvalidRequest: it is no offer of this provider.
    """
    name, count = offer.native.get("machine"), offer.native.get("count")
    if not isinstance(name, str) or not isinstance(count, int):
        raise InvalidRequest(f"{offer.offer_id} is no offer of an own machine", code="bad-offer")
    return name, count


def obstacle(machine: Machine, state: State) -> str | None:
    """Why nothing can be rented on a machine that answers, or None."""
    if state.lacks:
        return f"lacks {', '.join(state.lacks)}"
    if state.place == "readonly":
        return f"{machine.lock_dir} is not writable for its login"
    if len(state.of_model(machine.gpu)) < machine.gpu_count:
        there = ", ".join(gpu.name for gpu in state.gpus) or "no GPU"
        return f"holds {there}, and the inventory says {machine.gpu_count}x {machine.gpu}"
    return None


def _offer(machine: Machine, count: int, state: State | None, account: str, now: datetime) -> Offer:
    free = 0
    if state is not None and obstacle(machine, state) is None:
        free = min(len(state.free(machine.gpu)) // count, len(state.free_logins(machine)))
    price = share(machine.usd_per_hour, count, machine.gpu_count)
    part = Decimal(count) / machine.gpu_count
    return Offer(
        offer_id=f"ssh/{machine.name}/{count}x{machine.gpu}",
        provider="ssh",
        account=account,
        gpu=machine.gpu,
        gpu_count=count,
        arch=machine.arch,
        region=machine.region,
        country=machine.country,
        host_id=machine.name,
        instance_type=f"{machine.name} {count}x {machine.gpu}",
        vcpus=_part(machine.vcpus, part),
        memory_gib=_part(machine.memory_gib, part),
        disk_gib=machine.disk_gib,
        disk_max_gib=machine.disk_gib,
        market="own",
        # A zero price means that the machine is paid for anyway.
        pricing="on-demand" if price else "prepaid",
        workloads=("bare-metal",),
        usd_per_hour=price,
        billing=Billing(increment_s=1),
        egress=None if machine.egress_usd_per_gb is None else (EgressTier(usd_per_gb=machine.egress_usd_per_gb),),
        egress_evidence=None if machine.egress_usd_per_gb is None else "claim",
        ingress_usd_per_gb=machine.ingress_usd_per_gb,
        address_usd_per_hour=Decimal(0),
        reliability=machine.reliability,
        reliability_source=machine.reliability_source,
        compliance=machine.compliance,
        compliance_evidence="claim" if machine.compliance else None,
        boot_s=BOOT_S,
        available=free > 0,
        available_count=free,
        observed_at=now,
        native={"machine": machine.name, "count": count},
    )


def _part(whole: float | None, part: Decimal) -> float | None:
    return None if whole is None else float(Decimal(str(whole)) * part)
