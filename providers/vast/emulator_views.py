"""What a rental looks like on the wire.

Sources: the official descriptions of the two instance reads; clients, for what those have wrong: `ports` is a map
like Docker's, `extra_env` pairs, and texts carry line ends.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from providers.vast.emulator_billing import Billing
from providers.vast.emulator_instance import Instance
from providers.vast.emulator_machines import Machines
from providers.vast.emulator_market import Market
from providers.vast.emulator_offers import bundle_id, machine_columns, price_parts
from providers.vast.emulator_wire import number


def instance_view(
    instance: Instance, market: Market, machines: Machines, billing: Billing, now: datetime
) -> dict[str, Any]:
    """A rental as both instance reads show it."""
    address = machines.address(instance.ask.machine_id)
    view = machine_columns(instance.ask, f"{address}\n")
    # An instance's disk is what it rents, and the columns of the machine's market value are an offer's alone.
    for name in ("external", "reliability", "hostname", "vericode"):
        view.pop(name)
    current, coming, intended = instance.states()
    view |= {
        "id": instance.id,
        "bundle_id": bundle_id(instance.ask),
        "label": instance.label,
        "actual_status": instance.actual,
        "cur_state": current,
        "next_state": coming,
        "intended_status": intended,
        "status_msg": instance.status_msg,
        "template_id": None,
        "template_hash_id": None,
        "template_name": None,
        "start_date": instance.created_at.timestamp(),
        "end_date": instance.end_at.timestamp(),
        "duration": (instance.end_at - now).total_seconds(),
        "uptime_mins": None if instance.up_at is None else (now - instance.up_at).total_seconds() / 60,
        "external": False,
        "rentable": False,
        "gpu_totalram": instance.ask.model.gpu_ram * instance.ask.num_gpus,
        "country_code": None,
        "volume_info": [],
        "time_remaining": "",
        "time_remaining_isbid": "",
    }
    return (
        view
        | _container(instance)
        | _network(instance, machines, address)
        | _usage(instance)
        | _money(instance, market, billing, now)
    )


def _container(instance: Instance) -> dict[str, Any]:
    return {
        "image_uuid": instance.image,
        "image_args": list(instance.args),
        "image_runtype": instance.runtype,
        "extra_env": [[name, value] for name, value in instance.env.items()],
        "onstart": instance.onstart or "",
        "jupyter_token": instance.jupyter_token,
        "disk_space": float(instance.disk),
    }


def _network(instance: Instance, machines: Machines, address: str) -> dict[str, Any]:
    mapped = {
        inner: [{"HostIp": host, "HostPort": str(outer)} for host in ("0.0.0.0", "::")]  # noqa: S104 - Docker's words
        for inner, outer in instance.ports.items()
    }
    return {
        "public_ipaddr": f"{address}\n",
        "local_ipaddrs": "172.17.0.1 \n",
        # The real one is a host name such as ssh5.vast.ai, which would lead a client out of the sandbox.
        "ssh_host": machines.proxy,
        "ssh_idx": str(instance.id % 9 + 1),
        "ssh_port": instance.ssh_port,
        "machine_dir_ssh_port": 21000,
        "direct_port_start": -1,
        "direct_port_end": -1,
        "ports": mapped or None,
    }


def _usage(instance: Instance) -> dict[str, Any]:
    up = instance.running
    return {
        "gpu_util": 0.0 if up else None,
        "gpu_temp": 34.0 if up else None,
        "cpu_util": 0.0,
        "mem_limit": 62.9 if up else None,
        "mem_usage": 0.4 if up else None,
        "vmem_usage": 0.0 if up else None,
        "disk_util": 0.01 if up else -1,
        "disk_usage": 0.01 if up else -1,
    }


def _money(instance: Instance, market: Market, billing: Billing, now: datetime) -> dict[str, Any]:
    disk = billing.disk_usd(instance)
    total = instance.hourly + disk
    dlperf = Decimal(str(instance.ask.model.dlperf)) * instance.ask.num_gpus
    flops = Decimal(str(instance.ask.model.total_flops)) * instance.ask.num_gpus
    money = {
        "is_bid": instance.bid is not None,
        "dph_base": number(instance.hourly),
        "dph_total": number(total),
        "dlperf": number(dlperf),
        "total_flops": number(flops),
        "dlperf_per_dphtotal": number(dlperf / total) if total else 0.0,
        "flops_per_dphtotal": number(flops / total) if total else 0.0,
        "score": number(dlperf / total * instance.ask.reliability) if total else 0.0,
        "vram_costperhour": number(total / (instance.ask.model.gpu_ram * instance.ask.num_gpus)),
        "search": price_parts(instance.hourly, disk),
        "instance": price_parts(instance.hourly if instance.running else Decimal(0), disk),
        "storage_total_cost": number(disk),
        "credit_balance": None,
        "credit_discount": None,
        "credit_discount_max": 0.4,
        "client_run_time": (now - instance.created_at).total_seconds() / 3600,
        "host_run_time": 2592000.0,
    }
    if instance.ask.min_bid is not None:
        # While it runs, the price that it would take to stay; inferred.
        money["min_bid"] = number(market.to_beat(instance.ask))
    return money
