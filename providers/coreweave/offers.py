"""What a cluster has for rent: idle GPUs of nodes that are paid for anyway, and nodes that could be added.

Both kinds are listed side by side and never mixed: GPUs on a node that is there cost nothing more (`prepaid`, the
share of the node's price is shown in `native`), while one GPU on a node that must be added costs the whole node.
Stock is live; prices are not on the wire: they come from a setting, from a ConfigMap of the cluster, or from the
dated snapshot, and `native` says from which.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from providers import gpus
from providers.base import Billing, EgressTier, Offer, Pricing, Query
from providers.coreweave import catalog, pools
from providers.coreweave.config import Config, usd
from providers.coreweave.nodes import Kind, Node
from providers.coreweave.quantities import GIB

Json = dict[str, Any]

PRICES_CONFIG_MAP = "orch-prices"
BILLS_ON = "the node is paid for already and bills on when the lease ends"
#: Whole nodes: minutes, says CoreWeave, most of it a node that comes and is not charged for yet.
NODE_BOOT_S, IDLE_BOOT_S = 900.0, 60.0
_SHARE_DIGITS = Decimal("0.0001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The cluster that an offer is in."""

    account: str
    cluster: str
    context: str
    zone: str | None


@dataclass(frozen=True, slots=True)
class Rates:
    """Whole nodes' prices in USD per hour, by instance type (``TYPE:spot`` for spot)."""

    configured: Mapping[str, Decimal] = field(default_factory=dict)
    published: Mapping[str, Decimal] = field(default_factory=dict)

    def of(self, name: str | None) -> tuple[Decimal | None, str]:
        """A price and where it comes from."""
        if name is None:
            return None, "unknown"
        if name in self.configured:
            return self.configured[name], "ORCH_COREWEAVE_PRICES"
        if name in self.published:
            return self.published[name], f"ConfigMap {PRICES_CONFIG_MAP}"
        kind = catalog.TYPES.get(name)
        if kind is None or kind.usd_per_hour is None:
            return None, "unknown"
        return kind.usd_per_hour, catalog.PRICE_SOURCE


def published(config_map: Json | None) -> dict[str, Decimal]:
    """The rates that the cluster's people have written down for everybody in it."""
    data = (config_map or {}).get("data")
    found = {}
    # A ConfigMap's keys know no colon, so spot is written TYPE.spot there.
    for name, text in data.items() if isinstance(data, dict) else ():
        figure = usd(str(text))
        if figure:
            found[f"{name.removesuffix('.spot')}:spot" if name.endswith(".spot") else name] = figure
    return found


def idle(nodes: Iterable[Node], query: Query, place: Place, rates: Rates, config: Config, now: datetime) -> list[Offer]:
    """One offer for each kind of node that is there, for Pods of `query.count` GPUs."""
    groups: dict[Kind, list[Node]] = {}
    for node in nodes:
        if node.gpus >= query.count and (not query.gpus or node.kind.gpu in query.gpus):
            groups.setdefault(node.kind, []).append(node)
    return [_idle(kind, group, query.count, place, rates, config, now) for kind, group in groups.items()]


def added(
    pool_list: list[Json], query: Query, place: Place, rates: Rates, config: Config, now: datetime, *, room: bool
) -> list[Offer]:
    """One offer for each type of node that managed mode may add.

    Args:
        pool_list: every NodePool of the cluster; their conditions tell of quota and capacity.
        room: whether the limit of nodes allows one more.
    """
    found = []
    for name in config.types or tuple(catalog.TYPES):
        kind = catalog.TYPES.get(name)
        if kind is None or kind.count < query.count or (query.gpus and kind.gpu not in query.gpus):
            continue
        for pricing in ("on-demand", "spot"):
            if pricing not in query.pricing:
                continue
            price, source = rates.of(name if pricing == "on-demand" else f"{name}:spot")
            # Spot rates are not public; without one there is nothing to compare. Chosen types stay in view.
            if price is None and (pricing == "spot" or not config.types):
                continue
            can = _can_grow(pool_list, name, kind, place.zone, spot=pricing == "spot") if room else False
            why = "" if room else f"limit of {config.max_nodes} nodes reached"
            found.append(_node(name, kind, pricing, price, source, place, config, now, available=can, why=why))
    return found


def sizes(gpus_wanted: int, gpus_there: int, cpu: Decimal, memory: Decimal) -> dict[str, str]:
    """CPU and memory for so many GPUs of a node: a fair share as limit, half of it for certain.

    System Pods need room, too: 8 CPUs and 64 GiB on CoreWeave's nodes, a tenth of small ones.
    """
    cpu_share = (cpu - min(Decimal(8), cpu / 10)) / gpus_there * gpus_wanted
    memory_share = (memory - min(Decimal(64 * GIB), memory / 10)) / gpus_there * gpus_wanted
    milli, mebi = int(cpu_share * 1000), int(memory_share / 2**20)
    return {
        "cpu": f"{milli}m",
        "memory": f"{mebi}Mi",
        "cpu_request": f"{milli // 2}m",
        "memory_request": f"{mebi // 2}Mi",
    }


def _idle(
    kind: Kind, group: list[Node], count: int, place: Place, rates: Rates, config: Config, now: datetime
) -> Offer:
    smallest = min(group, key=lambda node: (node.cpu / node.gpus, node.memory / node.gpus))
    share = sizes(count, smallest.gpus, smallest.cpu, smallest.memory)
    rooms = [_room(node, count, share) for node in group if node.usable]
    known = all(room is not None for room in rooms)
    total = sum(room or 0 for room in rooms)
    price, source = rates.of(kind.instance_type)
    name = kind.instance_type or kind.product or kind.gpu
    if kind.product and kind.instance_type:
        name = f"{kind.instance_type}+{kind.product}"
    native = {
        **_native("idle", place, config, kind.coreweave, share),
        "gpus_per_node": smallest.gpus,
        "note": BILLS_ON,
        **_money(price, source, count, smallest.gpus),
    }
    if kind.product:
        native["product"] = kind.product
    if kind.region:
        native["node_region"] = kind.region  # what is promised is what the Pod asks for
    return Offer(
        offer_id=f"coreweave/{place.cluster}/{name}/{kind.region or '-'}/idle/{count}",
        provider="coreweave",
        gpu=kind.gpu,
        account=place.account,
        region=kind.region or place.zone,
        zone=_zone(group) or place.zone,
        country=catalog.country(kind.region or place.zone) if kind.coreweave else None,
        instance_type=kind.instance_type,
        gpu_count=count,
        gpu_memory_gib=gpus.GPUS[kind.gpu].memory_gib if kind.gpu in gpus.GPUS else None,
        arch=kind.arch,
        vcpus=_vcpus(share),
        memory_gib=_memory_gib(share),
        disk_gib=_disk(smallest, kind, count),
        market="specialist" if kind.coreweave else "own",
        pricing="prepaid",
        workloads=("container",),
        usd_per_hour=Decimal(0),
        billing=Billing(increment_s=1, while_booting=False),
        **_traffic(config, kind.coreweave),
        reliability=0.99 if kind.coreweave else 0.97,
        reliability_source="assumed by tier",
        boot_s=IDLE_BOOT_S,
        available=total > 0 if known else (None if rooms else False),
        available_count=total if known else None,
        observed_at=now,
        native=native,
    )


def _node(
    name: str,
    kind: catalog.NodeType,
    pricing: Pricing,
    price: Decimal | None,
    source: str,
    place: Place,
    config: Config,
    now: datetime,
    *,
    available: bool | None,
    why: str,
) -> Offer:
    share = sizes(kind.count, kind.count, Decimal(kind.vcpus), Decimal(kind.memory_gb) * 10**9)
    native = {
        **_native("node", place, config, True, share),
        "gpus_per_node": kind.count,
        **_money(price, source, kind.count, kind.count),
    }
    if why:
        native["note"] = why
    return Offer(
        offer_id=f"coreweave/{place.cluster}/{name}/{pricing}",
        provider="coreweave",
        gpu=kind.gpu,
        account=place.account,
        region=region_of(place.zone),
        zone=place.zone,
        country=catalog.country(place.zone),
        instance_type=name,
        gpu_count=kind.count,
        gpu_memory_gib=gpus.GPUS[kind.gpu].memory_gib,
        arch=kind.arch,
        vcpus=_vcpus(share),
        memory_gib=_memory_gib(share),
        disk_gib=_nvme_gib(kind, kind.count),
        market="specialist",
        pricing=pricing,
        workloads=("container",),
        usd_per_hour=price,
        # By the minute, says the older documentation; the present one names the hour as the unit of the price and
        # no step. A node is not charged for while it is being added.
        billing=Billing(increment_s=60, while_booting=False),
        **_traffic(config, True),
        reliability=0.99,
        reliability_source="assumed by tier",
        boot_s=NODE_BOOT_S,
        available=available,
        observed_at=now,
        native=native,
    )


def region_of(zone: str | None) -> str | None:
    """The region that nodes of *zone* bear in their label: US-EAST-04A lies in US-EAST-04."""
    return re.sub(r"(?<=\d)[A-Z]$", "", zone) if zone else None


def _can_grow(pool_list: list[Json], name: str, kind: catalog.NodeType, zone: str | None, *, spot: bool) -> bool | None:
    """Whether a node of that type would come: by what is seen of pools of the same type, else by the zone's list."""
    same = [pool for pool in pool_list if pools.type_of(pool) == name and pools.is_spot(pool) == spot]
    words = [pools.can_grow(pool) for pool in same if not pool["metadata"].get("deletionTimestamp")]
    if any(word is False for word in words):
        return False
    if any(words):
        return True
    return False if catalog.sold_in(kind, zone) is False else None


def _zone(group: list[Node]) -> str | None:
    """The zone that all of them are in, if it is one."""
    zones = {node.zone for node in group}
    return zones.pop() if len(zones) == 1 else None


def _room(node: Node, count: int, share: Mapping[str, str]) -> int | None:
    """How many such Pods the node could take now; None if that is not known."""
    if node.free_gpus is None or node.free_cpu is None or node.free_memory is None:
        return None
    fits = [Decimal(node.free_gpus) / count]
    cpu, memory = _number(share["cpu_request"]), _number(share["memory_request"])
    fits += [node.free_cpu * 1000 / cpu] if cpu else []
    fits += [node.free_memory / 2**20 / memory] if memory else []
    return max(0, int(min(fits)))


def _native(kind: str, place: Place, config: Config, coreweave: bool, share: Mapping[str, str]) -> dict[str, Any]:
    return {
        "kind": kind,
        "cluster": place.cluster,
        "context": place.context,
        "namespace": config.namespace,
        "coreweave": int(coreweave),
        **share,
    }


def _money(price: Decimal | None, source: str, count: int, per_node: int) -> dict[str, str]:
    """What the node costs and this lease's share of it, as text: both are shown and neither is charged twice."""
    if price is None:
        return {"price_source": source}
    allocated = (price * count / per_node).quantize(_SHARE_DIGITS)
    return {
        "price_source": source,
        "node_usd_per_hour": str(price),
        "allocated_usd_per_hour": f"{allocated.normalize():f}",
    }


def _traffic(config: Config, coreweave: bool) -> dict[str, Any]:
    """Egress, ingress and address: by the user's word, else CoreWeave's, else unknown."""
    known: dict[str, Any] = {"egress": None, "egress_evidence": None}
    if config.egress_usd_per_gb is not None:
        tier = EgressTier(usd_per_gb=config.egress_usd_per_gb)
        known = {"egress": (tier,), "egress_evidence": "contract", "egress_route": "as configured"}
    elif coreweave:
        # Free, says the page on storage prices; no page on traffic in general was found.
        known = {"egress": (EgressTier(),), "egress_evidence": "claim", "egress_route": "internet"}
    if coreweave:
        known["ingress_usd_per_gb"] = Decimal(0)
        if config.service == "LoadBalancer":
            monthly = catalog.ADDRESS_USD_PER_MONTH / catalog.HOURS_PER_MONTH
            known["address_usd_per_hour"] = monthly.quantize(Decimal("0.000001"))
    return known


def _disk(node: Node, kind: Kind, count: int) -> float | None:
    """GiB of the node's disk that fall to *count* GPUs."""
    known = catalog.TYPES.get(kind.instance_type or "")
    if known is not None and known.nvme_tb is not None:
        # What the kubelet reports there is a small RAM disk; volumes lie on the NVMe drives.
        return _nvme_gib(known, count)
    return None if node.storage is None else float(int(node.storage / GIB / node.gpus * count))


def _nvme_gib(kind: catalog.NodeType, count: int) -> float | None:
    return None if kind.nvme_tb is None else float(int(kind.nvme_tb * 10**12 / GIB / kind.count * count))


def _vcpus(share: Mapping[str, str]) -> float:
    return _number(share["cpu"]) / 1000


def _memory_gib(share: Mapping[str, str]) -> float:
    return round(_number(share["memory"]) / 1024, 1)


def _number(text: str) -> int:
    return int(text.rstrip("mMi"))
