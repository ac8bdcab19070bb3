"""How many GPUs the project may still rent, by region and over all."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from providers.gcp.client import Client
from providers.gcp.errors import ALL_GPUS
from providers.gcp.hardware import Machine, quota_metric
from providers.gcp.regions import of_zone
from providers.gcp.together import both

Table = dict[str, tuple[Decimal, Decimal]]


class Quotas:
    """Limits and use: of the whole project, and by region."""

    def __init__(self, project: Table, regions: Mapping[str, Table]) -> None:
        self.project = project
        self.regions = dict(regions)

    def lacking(self, machine: Machine, *, spot: bool) -> str | None:
        """Which quota *machine* exceeds, in words; None if it fits or nothing is known.

        Spot machines count against the ordinary quota where none is set for them (from memory), so only both being
        too small rules them out.
        """
        region = of_zone(machine.zone)
        table = self.regions.get(region, {})
        metric = quota_metric(machine.accelerator, spot=spot)
        if metric is None:
            return None
        names = [metric, metric.removeprefix("PREEMPTIBLE_")] if spot else [metric]
        known = [name for name in names if name in table]
        if known and all(_free(table, name) < machine.gpu_count for name in known):
            return f"{known[0]} {_shown(table, known[0])} in {region}"
        if not spot and ALL_GPUS in self.project and _free(self.project, ALL_GPUS) < machine.gpu_count:
            return f"{ALL_GPUS} {_shown(self.project, ALL_GPUS)}"
        return None

    def summary(self, regions: tuple[str, ...]) -> str:
        """One line for people: what may be rented at all in *regions*."""
        places: dict[str, list[str]] = {}
        for region in regions:
            table = self.regions.get(region, {})
            for metric in sorted(table):
                counts_gpus = metric.startswith("NVIDIA_") and metric.endswith("_GPUS") and "_VWS_" not in metric
                if counts_gpus and table[metric][0] > 0:
                    places.setdefault(f"{metric} {_shown(table, metric)}", []).append(region)
        parts = [f"{ALL_GPUS} {_shown(self.project, ALL_GPUS)}"] if ALL_GPUS in self.project else []
        parts += [f"{what} in {', '.join(where)}" for what, where in sorted(places.items())]
        return "; ".join(parts) or "no GPU quota is listed"


async def read(client: Client, *, verb: str) -> Quotas:
    """The project's quotas: two calls and their pages."""
    project, regions = await both(client.get("", verb=verb), _regions(client, verb))
    return Quotas(table(project), regions)


def table(row: Mapping[str, Any]) -> Table:
    """Limit and use by metric, from a project's or region's ``quotas``."""
    found: Table = {}
    listed = row.get("quotas")
    for quota in listed if isinstance(listed, list) else ():
        if not isinstance(quota, Mapping) or not isinstance(quota.get("metric"), str):
            continue
        limit, usage = _number(quota.get("limit")), _number(quota.get("usage", 0))
        if limit is not None:
            found[quota["metric"]] = (limit, usage or Decimal(0))
    return found


async def _regions(client: Client, verb: str) -> dict[str, Table]:
    found: dict[str, Table] = {}
    async for page in client.pages("regions", verb=verb):
        items = page.get("items")
        for row in items if isinstance(items, list) else ():
            if isinstance(row, Mapping) and isinstance(row.get("name"), str):
                found[row["name"]] = table(row)
    return found


def _free(quotas: Table, metric: str) -> Decimal:
    limit, usage = quotas[metric]
    return limit - usage


def _shown(quotas: Table, metric: str) -> str:
    limit, usage = quotas[metric]
    return f"{usage.normalize():f} of {limit.normalize():f} used"


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return None
