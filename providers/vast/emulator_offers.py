"""What an ask looks like in a search's answer.

Sources: the example of the official search description; the SDK's list of columns for what may be null.
"""

from __future__ import annotations

import zlib
from datetime import datetime
from decimal import Decimal
from typing import Any

from providers.vast.emulator_market import Ask, Market
from providers.vast.emulator_wire import number

_LONGEST_DISCOUNT = 0.4


def offer(market: Market, ask: Ask, kind: str, storage_gb: Decimal, address: str, now: datetime) -> dict[str, Any]:
    """One row of a search.

    Args:
        kind: ``bid`` shows the lowest bid that wins as the price; anything else the on-demand price.
        storage_gb: the disk that the totals count in.
        address: the machine's public address.
    """
    base = market.hourly(ask, kind) or Decimal(0)
    disk = ask.storage_usd(storage_gb)
    total = base + disk
    least = market.min_bid(ask)
    row = machine_columns(ask, address)
    row |= _scores(ask, total)
    row |= {
        "id": ask.id,
        "ask_contract_id": ask.id,
        "bundle_id": bundle_id(ask),
        "bundled_results": None,
        "dph_base": number(base),
        "dph_total": number(total),
        "dph_total_adj": number(total),
        "min_bid": None if least is None else number(least),
        "is_bid": kind == "bid",
        "storage_total_cost": number(disk),
        "search": price_parts(base, disk),
        "instance": price_parts(Decimal(0), disk),
        "discount_rate": None,
        "discounted_hourly": 0.0,
        "discounted_dph_total": number(total),
        "credit_discount_max": _LONGEST_DISCOUNT,
        "start_date": market.opened.timestamp(),
        "end_date": market.ends_at(ask).timestamp(),
        "duration": (market.ends_at(ask) - now).total_seconds(),
        "rentable": market.rentable(ask),
        "rented": ask.id in market.taken,
        "time_remaining": "",
        "time_remaining_isbid": "",
        "resource_type": "gpu",
        "rn": 1,
    }
    return row


def machine_columns(ask: Ask, address: str) -> dict[str, Any]:
    """What offers and instances have in common: the machine and its slice."""
    gpus = ask.num_gpus
    return {
        "machine_id": ask.machine_id,
        "host_id": ask.host_id,
        "hosting_type": int(ask.datacenter),
        "hostname": None,
        "public_ipaddr": address,
        "geolocation": ask.geolocation,
        "geolocode": zlib.crc32(ask.geolocation.encode()) & 0x7FFFFFFF,
        "verification": ask.verification,
        "vericode": {"verified": 1}.get(ask.verification, 0),
        "external": None,
        "reliability": number(ask.reliability),
        "reliability2": number(ask.reliability),
        "expected_reliability": number(ask.reliability - Decimal("0.008")),
        "reliability_mult": number(ask.reliability),
        "gpu_name": ask.gpu_name,
        "num_gpus": gpus,
        "gpu_frac": number(Decimal(gpus) / ask.machine_gpus),
        "gpu_ram": ask.model.gpu_ram,
        "gpu_total_ram": ask.model.gpu_ram * gpus,
        "gpu_arch": ask.model.gpu_arch,
        "gpu_lanes": 16,
        "gpu_mem_bw": ask.model.gpu_mem_bw,
        "gpu_max_power": None,
        "gpu_max_temp": None,
        "gpu_display_active": False,
        "bw_nvlink": 0.0,
        "compute_cap": ask.model.compute_cap,
        "cuda_max_good": ask.cuda_max_good,
        "driver_version": ask.driver_version,
        "driver_vers": driver_number(ask.driver_version),
        "cpu_arch": "amd64",
        "cpu_cores": ask.cpu_cores,
        "cpu_cores_effective": ask.cpu_cores_effective,
        "cpu_ghz": 2.9,
        "cpu_name": "EPYC 7702 64-Core",
        "cpu_ram": ask.cpu_ram,
        "has_avx": 1,
        "mobo_name": "sandbox",
        "os_version": "22.04",
        "pci_gen": 4.0,
        "pcie_bw": 24.8,
        "disk_name": "nvme",
        "disk_space": float(ask.disk_space),
        "disk_bw": ask.disk_bw,
        "inet_up": ask.inet_up,
        "inet_down": ask.inet_down,
        "inet_up_cost": number(ask.inet_up_cost),
        "inet_down_cost": number(ask.inet_down_cost),
        "internet_up_cost_per_tb": number(ask.inet_up_cost * 1000),
        "internet_down_cost_per_tb": number(ask.inet_down_cost * 1000),
        "static_ip": ask.static_ip,
        "direct_port_count": ask.direct_port_count,
        "storage_cost": number(ask.storage_cost),
        "vms_enabled": ask.vms_enabled,
        "logo": "/static/logos/vastai_small2.png",
        "webpage": None,
    }


def _scores(ask: Ask, total: Decimal) -> dict[str, Any]:
    """Benchmarks of the slice, and how much of them a dollar buys."""
    dlperf = Decimal(str(ask.model.dlperf)) * ask.num_gpus
    flops = Decimal(str(ask.model.total_flops)) * ask.num_gpus
    return {
        "dlperf": number(dlperf),
        "total_flops": number(flops),
        "dlperf_per_dphtotal": number(dlperf / total),
        "flops_per_dphtotal": number(flops / total),
        # How Vast makes its score is not published; value for money times reliability comes near its order.
        "score": number(dlperf / total * ask.reliability),
        "vram_costperhour": number(total / (ask.model.gpu_ram * ask.num_gpus)),
    }


def price_parts(gpus: Decimal, disk: Decimal) -> dict[str, Any]:
    """The objects `search` and `instance`: what the GPUs and the disk add to the total."""
    return {
        "gpuCostPerHour": number(gpus),
        "diskHour": number(disk),
        "totalHour": number(gpus + disk),
        "discountTotalHour": 0,
        "discountedTotalPerHour": number(gpus + disk),
    }


def bundle_id(ask: Ask) -> int:
    """Identifies like slices of like machines."""
    return 900_000_000 + zlib.crc32(f"{ask.gpu_name}/{ask.num_gpus}/{ask.host_id}".encode()) % 90_000_000


def driver_number(version: str) -> int:
    """A driver version to compare as a number: 570.86.15 is 570086015."""
    parts = [int(part) for part in version.split(".")]
    return parts[0] * 1_000_000 + parts[1] * 1000 + (parts[2] if len(parts) > 2 else 0)
