"""Plans as offers: price, deposit, place and GPU of each, and the way back from an offer to its plan."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from providers import gpus
from providers.base import Billing, EgressTier, Offer, Workload
from providers.errors import InvalidRequest
from providers.fluence.locations import country_of
from providers.fluence.wire import KINDS, Kind, Plan

#: Full hours of the UTC clock, whatever the minute of the start; prepaid. There is no minimum beyond the hour
#: that is touched: the two further hours that leave the account at create are a deposit.
BILLING = Billing(increment_s=3600, minimum_s=0, aligned_to="clock", while_booting=True)

#: "Zero egress fees" is said in marketing only; neither plans nor billing have a field for traffic.
EGRESS = (EgressTier(up_to_gb=None, usd_per_gb=Decimal(0)),)

WORKLOADS: dict[Kind, Workload] = {"containers": "container", "vms": "vm", "baremetal": "bare-metal"}

RELIABILITY = 0.97  # assumed for the decentralized market: Fluence publishes no figure and no SLA for GPUs
BOOT_S = 150.0  # documented: typically two to three minutes

_DOLLARS = frozenset({"USDC", "USD"})  # older texts say USDC, newer ones USD: one for one


def offers_of(plan: Plan, *, account: str, observed_at: datetime) -> list[Offer]:
    """One offer per place where *plan* can be put, or a single one without a place if it names none."""
    return [_offer(plan, place, account, observed_at) for place in plan.locations or (None,)]


def gpu_name(plan: Plan) -> str:
    """The canonical name, or a plain one that is no model's canonical name where the model is not certain."""
    known = gpus.canonical(plan.model, memory_gib=plan.vram_gib, interface=plan.interface)
    if known is not None:
        return known
    plain = gpus.slug(plan.model)
    if plain not in gpus.GPUS:
        return plain
    # The name is known but the memory is not that model's (a slice?): it must not pass for the whole thing.
    return f"{plain}-{plan.vram_gib:g}gib" if plan.vram_gib is not None else f"{plain}-unknown"


def usd(amount: Decimal | None, currency: str | None) -> Decimal | None:
    """*amount* in USD; None where it is 0 or in a currency we do not know, because unknown is not free."""
    if amount is None or amount <= 0 or (currency is not None and currency.upper() not in _DOLLARS):
        return None
    return amount


def offer_id(plan_id: str, kind: Kind, place: str | None) -> str:
    """``fluence/vms/<option>``, or ``fluence/containers/<plan>/<place>``: a plan has one offer per place."""
    base = f"fluence/{kind}/{plan_id}"
    return f"{base}/{place}" if kind == "containers" and place else base


def target(offer: Offer) -> tuple[Kind, str, str | None]:
    """Tree, plan id and place that *offer* stands for.

    Raises:
        InvalidRequest: it is none of ours.
    """
    provider, _, rest = offer.offer_id.partition("/")
    tree, _, rest = rest.partition("/")
    tree = str(offer.native.get("kind") or tree)
    plan_id, _, place = rest.partition("/")
    plan_id = str(offer.native.get("plan_id") or plan_id)
    place = str(offer.native.get("location") or place)
    for kind in KINDS:
        if provider == "fluence" and kind == tree and plan_id:
            return kind, plan_id, place or None
    raise InvalidRequest(f"{offer.offer_id!r} is no offer of Fluence", code="foreign-offer")


def pick(offers: Iterable[Offer], wanted: Offer) -> Offer | None:
    """The offer among *offers* that has *wanted*'s plan and place, freshly read."""
    kind, plan_id, place = target(wanted)
    for offer in offers:
        its_kind, its_id, its_place = target(offer)
        if (its_kind, its_id) == (kind, plan_id) and (place is None or its_place == place):
            return offer
    return None


def _offer(plan: Plan, place: str | None, account: str, observed_at: datetime) -> Offer:
    gpu = gpu_name(plan)
    model = gpus.GPUS.get(gpu)
    hour = usd(plan.hour, plan.currency)
    deposit = hour * plan.upfront_hours if hour is not None and plan.upfront_hours is not None else None
    return Offer(
        offer_id=offer_id(plan.id, plan.kind, place),
        provider="fluence",
        account=account,
        gpu=gpu,
        region=place,
        country=country_of(place, iso=plan.kind == "containers"),
        instance_type=plan.name or f"{plan.upstream or plan.kind}/{gpu}-x{plan.gpu_count}",
        gpu_count=plan.gpu_count,
        gpu_memory_gib=plan.vram_gib,
        arch=(model.host_arch or "x86_64") if model else None,
        vcpus=plan.vcpus,
        memory_gib=plan.memory_gib,
        disk_gib=plan.storage_gib,
        disk_max_gib=plan.storage_gib,  # no disk can be asked for: what the plan has is all there is
        market="decentralized",
        workloads=(WORKLOADS[plan.kind],),
        usd_per_hour=hour,
        deposit_usd=deposit,
        billing=BILLING,
        egress=EGRESS,
        egress_evidence="claim",
        address_usd_per_hour=Decimal(0),  # the plan's price includes disk and address
        reliability=RELIABILITY,
        reliability_source="assumed",
        boot_s=BOOT_S,
        available=True,  # what is taken is not listed; there is no stock count
        observed_at=observed_at,
        native=_native(plan, place),
    )


def _native(plan: Plan, place: str | None) -> dict[str, str]:
    native = {"kind": plan.kind, "plan_id": plan.id}
    if place:
        native["location"] = place
    if plan.upstream:
        native["upstream"] = plan.upstream
    if plan.os_options:
        native["os_options"] = "\n".join(plan.os_options)
    return native
