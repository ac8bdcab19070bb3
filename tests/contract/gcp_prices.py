"""Reads prices out of the emulated price catalogue, for tests."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

Row = dict[str, Any]


def usd(row: Row, tier: int = 0) -> Decimal:
    """The price of a tier."""
    money = row["pricingInfo"][0]["pricingExpression"]["tieredRates"][tier]["unitPrice"]
    return Decimal(money["units"]) + Decimal(money["nanos"]) / 10**9


def only(rows: list[Row], text: str, region: str, usage: str = "OnDemand") -> Row:
    """The one row that begins with *text* in a region and is no variant of it."""
    [found] = [
        row
        for row in rows
        if row["description"].startswith(text)
        and row["category"]["usageType"] == usage
        and (region in row["serviceRegions"] or row["serviceRegions"] == ["global"])
        and " Virtual " not in row["description"]
        and " DWS " not in row["description"]
        and " Sole " not in row["description"]
    ]
    return found


def price(rows: list[Row], region: str, *, spot: bool) -> Decimal:
    """A g2-standard-4."""
    prefix, usage = ("Spot Preemptible ", "Preemptible") if spot else ("", "OnDemand")
    gpu = "Nvidia L4 GPU attached to Spot Preemptible VMs" if spot else "Nvidia L4 GPU running"
    core = only(rows, f"{prefix}G2 Instance Core running", region, usage)
    ram = only(rows, f"{prefix}G2 Instance Ram running", region, usage)
    return 4 * usd(core) + 16 * usd(ram) + usd(only(rows, gpu, region, usage))
