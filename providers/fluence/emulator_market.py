"""What the emulated Fluence sells: the market file's rows as plans, and the two shapes of its price list.

Rows carry no stock: Fluence's wire has none. Every listed plan can be rented until a fault says otherwise.
"""

from __future__ import annotations

import tomllib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

#: Hours that leave the balance at create: one is charged at once, the others are the instance's reserve.
UPFRONT_HOURS = 3

_FILE = Path(__file__).with_name("market.toml")

#: (model, interface) to the name and the memory in MiB that `nvidia-smi` prints on such a card.
_DEVICES = {
    ("l40", "pcie"): ("NVIDIA L40", 46068),
    ("rtx6000ada", "pcie"): ("NVIDIA RTX 6000 Ada Generation", 49140),
    ("rtxa6000", "pcie"): ("NVIDIA RTX A6000", 49140),
    ("a4000", "pcie"): ("NVIDIA RTX A4000", 16376),
    ("a10", "pcie"): ("NVIDIA A10", 23028),
    ("rtx3090", "pcie"): ("NVIDIA GeForce RTX 3090", 24576),
    ("rtx4090", "pcie"): ("NVIDIA GeForce RTX 4090", 24564),
    ("rtx5090", "pcie"): ("NVIDIA GeForce RTX 5090", 32607),
    ("v100", "sxm"): ("Tesla V100-SXM2-32GB", 32768),
    ("a100", "pcie"): ("NVIDIA A100 80GB PCIe", 81920),
    ("a100", "sxm"): ("NVIDIA A100-SXM4-80GB", 81920),
    ("h100", "pcie"): ("NVIDIA H100 PCIe", 81559),
    ("h100", "sxm"): ("NVIDIA H100 80GB HBM3", 81559),
    ("h200", "sxm"): ("NVIDIA H200", 143771),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """One thing for rent; `usd_per_hour` pays for all its `gpus`. Containers may have several `locations`."""

    id: str
    kind: str
    gpu: str
    vram: str
    interface: str
    gpus: int
    usd_per_hour: Decimal
    locations: tuple[str, ...]
    vcpu: int
    memory_gib: int
    storage_gib: int
    device: str
    device_mib: int
    provider: str = ""
    nvlink: bool = False
    os_options: tuple[str, ...] = ()
    ssh_user: str = "ubuntu"
    ssh_port: int = 22

    def subject(self, location: str | None = None) -> str:
        """What a fault's `subject` is looked for in: GPU, kind, place, id, upstream and device name."""
        place = location or " ".join(self.locations)
        return f"{self.gpu} {self.kind} {place} {self.id} {self.provider} {self.device}"

    def supply(self) -> dict[str, Any]:
        """The resources as every answer writes them."""
        return {
            "vcpu": {"count": self.vcpu},
            "memory": {"count": self.memory_gib, "units": "Gi"},
            "storage": {"count": self.storage_gib, "units": "Gi"},
            "gpu_count": self.gpus,
        }

    def model(self, *, upper: bool = False) -> dict[str, str]:
        """The `gpu_model` object; container plans, and they alone, write the interface in upper case."""
        interface = self.interface.upper() if upper else self.interface
        return {"vendor": "nvidia", "model": self.gpu, "vram": self.vram, "interface": interface}

    def pricing(self) -> dict[str, Any]:
        """The `pricing` object. A float stands on the wire only."""
        return {"hour": float(self.usd_per_hour), "upfront_hours": UPFRONT_HOURS, "currency": "USDC"}


class Catalogue:
    """All plans, with the prices that changed and the plans that vanished since the market file was read.

    Args:
        market: the market file's content for Fluence, or None for the file beside this module.
    """

    def __init__(self, market: dict[str, Any] | None) -> None:
        rows = tomllib.loads(_FILE.read_text("utf-8")) if market is None else market
        self._plans: dict[str, Plan] = {}
        self._changed: dict[str, Decimal] = {}
        self._gone: set[str] = set()
        for kind in ("vms", "baremetal", "containers"):
            for row in rows.get(kind, []):
                plan = _plan(kind, row, taken=self._plans.keys())
                self._plans[plan.id] = plan

    def on_sale(self, kind: str) -> list[Plan]:
        """Plans of one kind that can be rented, at their present prices, in the file's order."""
        return [self._now(p) for p in self._plans.values() if p.kind == kind and p.id not in self._gone]

    def get(self, kind: str, plan_id: str) -> Plan | None:
        """One plan that is on sale."""
        plan = self._plans.get(plan_id)
        if plan is None or plan.kind != kind or plan_id in self._gone:
            return None
        return self._now(plan)

    def change_price(self, plan_id: str, factor: Decimal) -> None:
        """From now on the plan costs *factor* times as much as before."""
        self._changed[plan_id] = self._now(self._plans[plan_id]).usd_per_hour * factor

    def changed(self, plan_id: str) -> bool:
        """Whether the plan's price is no longer the market file's."""
        return plan_id in self._changed

    def remove(self, plan_id: str) -> None:
        """Take the plan out of the price list."""
        self._gone.add(plan_id)

    def _now(self, plan: Plan) -> Plan:
        price = self._changed.get(plan.id)
        return plan if price is None else replace(plan, usd_per_hour=price)

    def dump(self) -> dict[str, Any]:
        """What differs from the market file, ready for JSON."""
        return {
            "changed": {plan: str(price) for plan, price in self._changed.items()},
            "gone": sorted(self._gone),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `dump` gave; plans that the market file has no more are forgotten."""
        self._changed = {k: Decimal(v) for k, v in state["changed"].items() if k in self._plans}
        self._gone = set(state["gone"])


def container_list(plans: list[Plan]) -> list[dict[str, Any]]:
    """The answer to `GET /gpu/plans/`: a bare array."""
    return [
        {
            "plan": {
                "id": plan.id,
                "name": _container_name(plan),
                "supply": plan.supply(),
                "gpu_model": plan.model(upper=True),
                "pricing": plan.pricing(),
            },
            "attributes": {"location": list(plan.locations)},
        }
        for plan in plans
    ]


def machine_list(plans: list[Plan]) -> dict[str, Any]:
    """The answer to `GET /gpu/plans/vms` and `/baremetal`: model, then GPU count, then options."""
    models: dict[tuple[str, str, str], list[Plan]] = {}
    for plan in plans:
        models.setdefault((plan.gpu, plan.vram, plan.interface), []).append(plan)
    return {
        "data": [
            {
                "gpu_model": group[0].model(),
                "minimum_price": _cheapest(group),
                "availability_by_number": [
                    _by_number(number, [p for p in group if p.gpus == number])
                    for number in sorted({p.gpus for p in group})
                ],
            }
            for group in models.values()
        ]
    }


def _by_number(number: int, plans: list[Plan]) -> dict[str, Any]:
    locations = list(dict.fromkeys(plan.locations[0] for plan in plans))
    providers = list(dict.fromkeys(plan.provider for plan in plans))
    return {
        "gpu_count": number,
        "minimum_price": _cheapest(plans),
        "options_available_total": len(plans),
        "providers_available_total": len(providers),
        "data_center_available_total": len(locations),
        "locations": locations,
        "providers": providers,
        "options": [_option(plan) for plan in plans],
    }


def _option(plan: Plan) -> dict[str, Any]:
    supply = plan.supply()
    return {
        "id": plan.id,
        "location": plan.locations[0],
        "provider": plan.provider,
        "vcpu": supply["vcpu"],
        "memory": supply["memory"],
        "storage": supply["storage"],
        "deployment_type": "VM" if plan.kind == "vms" else "BAREMETAL",
        "pricing": plan.pricing(),
        "nvlink": plan.nvlink,
        "os_options": list(plan.os_options),
    }


def _cheapest(plans: list[Plan]) -> float:
    return float(min(plan.usd_per_hour for plan in plans))


def _container_name(plan: Plan) -> str:
    shape = f"{plan.gpus}gpu-{plan.vcpu}cpu-{plan.memory_gib}gb-{plan.storage_gib}gb"
    return f"{plan.gpu}-{plan.vram}-{plan.interface}-{shape}".lower()


def _plan(kind: str, row: dict[str, Any], *, taken: Iterable[str]) -> Plan:
    """One row of the market file as a plan. Ids follow from the row, so that they outlive a restart."""
    locations = tuple(row["locations"]) if kind == "containers" else (str(row["location"]),)
    interface = str(row["interface"]).lower()
    device, device_mib = _DEVICES.get((row["gpu"], interface), (f"NVIDIA {row['gpu'].upper()}", 0))
    words = [kind, row["gpu"], interface, row["gpus"], *locations, row["vcpu"], row["memory_gib"]]
    plan_id, again = row.get("id") or _id(words), 0
    while plan_id in taken:
        again += 1
        plan_id = _id([*words, again])
    return Plan(
        id=plan_id,
        kind=kind,
        gpu=row["gpu"],
        vram=row["vram"],
        interface=interface,
        gpus=row["gpus"],
        usd_per_hour=Decimal(str(row["usd_per_hour"])),
        locations=locations,
        vcpu=row["vcpu"],
        memory_gib=row["memory_gib"],
        storage_gib=row["storage_gib"],
        device=row.get("device", device),
        device_mib=row.get("device_mib", device_mib or int(row["vram"].removesuffix("Gi")) * 1024),
        provider=row.get("provider", ""),
        nvlink=row.get("nvlink", False),
        os_options=tuple(row.get("os_options", ())),
        ssh_user=row.get("ssh_user", "ubuntu" if kind != "containers" else "root"),
        ssh_port=row.get("ssh_port", 22),
    )


def _id(words: list[Any]) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "https://fluence.invalid/" + "/".join(map(str, words))))
