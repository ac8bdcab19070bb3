"""`GET /v2/catalog/...`: GPU types and data centres, their query rules, prices and stock.

Source: the API description's listGpuTypes, getGpuType, listDataCenters. A malformed value is a 422, a parameter
without the one that it needs a 400, an unknown parameter is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from providers.runpod.emulator_market import DataCenter, Gpu, Market, cuda_choice, level
from providers.runpod.emulator_rules import CLOUDS, CUDA
from providers.runpod.emulator_wire import Refusal, invalid, number

_PRODUCTS = ("POD", "CLUSTER", "SERVERLESS")
_REGIONS = (
    *("NORTH_AMERICA", "SOUTH_AMERICA", "EUROPE", "ASIA", "MIDDLE_EAST", "AFRICA", "OCEANIA"),
    *("ANTARCTICA", "UNKNOWN"),
)
_COMPLIANCE = (
    *("GDPR", "ISO_IEC_27001", "ISO_14001", "PCI_DSS", "HITRUST", "SOC_1_TYPE_2", "SOC_2_TYPE_2"),
    *("SOC_3_TYPE_2", "ITAR", "FISMA_HIGH", "HIPAA", "RENEWABLE"),
)
_VOLUMES = ("STANDARD", "HIGH_PERFORMANCE")
_COUNTRY = re.compile(r"[A-Z]{2}")
_CUDA_FLOOR = re.compile(r"[0-9]+(\.[0-9]+)?")
_ONLY_WITH_INCLUDE = ("product", "count", "cloud", "countryCodes", "cudaVersions", "minCudaVersion")


class Params:
    """Query parameters that collect what is malformed about them."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self.query = query
        self.errors: list[str] = []

    def values(self, name: str, allowed: tuple[str, ...] | re.Pattern[str]) -> tuple[str, ...]:
        """The comma-separated values of *name*, each of which has to be *allowed*."""
        if name not in self.query:
            return ()
        values = tuple(self.query[name].split(","))
        for value in values:
            fits = allowed.fullmatch(value) if isinstance(allowed, re.Pattern) else value in allowed
            if not fits:
                self.errors.append(f"query.{name}: invalid value {value!r}")
        return values

    def value(self, name: str, allowed: tuple[str, ...] | re.Pattern[str]) -> str | None:
        """The one value of *name*."""
        if name not in self.query:
            return None
        if len(found := self.values(name, allowed)) != 1:
            self.errors.append(f"query.{name}: want a single value")
        return found[0]

    def whole(self, name: str, minimum: int, maximum: int | None = None) -> int | None:
        """The integer in *name*."""
        text = self.query.get(name)
        if text is None:
            return None
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            self.errors.append(f"query.{name}: want an integer")
            return None
        if int(text) < minimum or (maximum is not None and int(text) > maximum):
            self.errors.append(f"query.{name}: out of range")
        return int(text)

    def done(self) -> None:
        """Refuse the request if anything was malformed.

        Raises:
            Refusal: 422.
        """
        if self.errors:
            raise invalid(self.errors)


@dataclass(frozen=True, slots=True)
class GpuQuery:
    """A valid catalogue query."""

    include: bool = False
    products: tuple[str, ...] = ()
    count: int = 1
    cloud: str = "SECURE"
    countries: tuple[str, ...] = ()
    exact_cuda: tuple[str, ...] = ()
    min_cuda: str | None = None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> GpuQuery:
        """Read the query parameters.

        Raises:
            Refusal: 422 for a malformed value, 400 for a combination that is not allowed.
        """
        params = Params(query)
        include = params.value("include", ("AVAILABILITY",)) is not None
        parsed = cls(
            include=include,
            products=params.values("product", _PRODUCTS),
            count=params.whole("count", 1) or 1,
            cloud=params.value("cloud", CLOUDS) or "SECURE",
            countries=params.values("countryCodes", _COUNTRY),
            exact_cuda=params.values("cudaVersions", CUDA),
            min_cuda=params.value("minCudaVersion", _CUDA_FLOOR),
        )
        params.done()
        if include and not parsed.products:
            raise Refusal(400, "product is required with include=AVAILABILITY")
        if not include and (stray := [name for name in _ONLY_WITH_INCLUDE if name in query]):
            raise Refusal(400, f"{', '.join(stray)} requires include=AVAILABILITY")
        if parsed.exact_cuda and parsed.min_cuda:
            raise Refusal(400, "cudaVersions and minCudaVersion are mutually exclusive")
        return parsed


def gpu_list(market: Market, query: GpuQuery) -> list[dict[str, Any]]:
    """All GPU types; with countries asked for, only those that have a place there."""
    rows = []
    for gpu in market.listed():
        if query.countries and not _places(market, gpu, query):
            continue
        rows.append(gpu_view(market, gpu, query))
    return rows


def gpu_view(market: Market, gpu: Gpu, query: GpuQuery) -> dict[str, Any]:
    """One GPU type as JSON, with its stock if asked for."""
    price = {cloud.lower(): number(market.usd(gpu, cloud) or Decimal(0)) for cloud in CLOUDS}
    if gpu.serverless_usd is not None:
        price["serverless"] = number(gpu.serverless_usd)
    row = {
        "id": gpu.id,
        "name": gpu.name,
        "pool": gpu.pool,
        "manufacturer": gpu.manufacturer,
        "memory": gpu.memory_gb,
        "secure": "SECURE" in gpu.usd,
        "community": "COMMUNITY" in gpu.usd,
        # The description demands a number for both clouds; what stands there for a cloud that does not offer the
        # GPU was not seen. 0 is the trap: it is no price.
        "price": price,
        "maxCount": {cloud.lower(): gpu.max_count[cloud] for cloud in CLOUDS},
    }
    return row | _stock(market, gpu, query) if query.include else row


def _stock(market: Market, gpu: Gpu, query: GpuQuery) -> dict[str, Any]:
    units = _places(market, gpu, query)
    total = sum(units.values())
    row: dict[str, Any] = {"availability": level(total)}
    # COMMUNITY hosts have no data centre id; they are known by country alone.
    if total and query.cloud == "SECURE":
        row["dataCenters"] = [
            {"id": name, "name": market.data_centers[name].name, "availability": level(free)}
            for name, free in units.items()
        ]
    if versions := cuda_choice(gpu, exact=query.exact_cuda, minimum=query.min_cuda):
        row["cudaVersions"] = [{"version": name, "available": free and total > 0} for name, free in versions]
    return row


def _places(market: Market, gpu: Gpu, query: GpuQuery) -> dict[str, int]:
    """How often `count` GPUs fit, for every place in the asked countries that offers the GPU."""
    if market.usd(gpu, query.cloud) is None:
        return {}
    versions = cuda_choice(gpu, exact=query.exact_cuda, minimum=query.min_cuda)
    # Only stock for pods is modelled; other products find nothing.
    suits = "POD" in query.products and query.count <= gpu.max_count[query.cloud] and any(free for _, free in versions)
    units = {}
    for name in gpu.stock[query.cloud]:
        country = market.data_centers[name].country if query.cloud == "SECURE" else name
        if not query.countries or country in query.countries:
            units[name] = market.free(gpu, query.cloud, name) // query.count if suits else 0
    return units


def center_list(market: Market, query: Mapping[str, str]) -> list[dict[str, Any]]:
    """The data centres that pass all filters.

    Raises:
        Refusal: 422 for a malformed value.
    """
    params = Params(query)
    include = params.values("include", ("GPU_AVAILABILITY", "CPU_AVAILABILITY"))
    regions = params.values("regions", _REGIONS)
    compliance = params.values("compliance", _COMPLIANCE)
    volumes = params.values("networkVolumeTypes", _VOLUMES)
    linked = params.value("globalNetwork", ("true", "false"))
    params.done()
    return [
        center_view(market, center, include)
        for center in market.data_centers.values()
        if (not regions or center.region in regions)
        and set(compliance) <= set(center.compliance)
        and set(volumes) <= set(center.volumes)
        and linked in (None, str(center.global_network).lower())
    ]


def center_include(query: Mapping[str, str]) -> tuple[str, ...]:
    """The expansions asked for at a single data centre.

    Raises:
        Refusal: 422 for a malformed value.
    """
    params = Params(query)
    include = params.values("include", ("GPU_AVAILABILITY", "CPU_AVAILABILITY"))
    params.done()
    return include


def center_view(market: Market, center: DataCenter, include: tuple[str, ...]) -> dict[str, Any]:
    """One data centre as JSON. It has no CPU pods, so `cpuAvailability` never appears."""
    row: dict[str, Any] = {
        "id": center.id,
        "name": center.name,
        "region": center.region,
        "globalNetwork": center.global_network,
        "networkVolumeTypes": list(center.volumes),
        "compliance": list(center.compliance),
    }
    offered = [gpu for gpu in market.listed() if center.id in gpu.stock["SECURE"]]
    if "GPU_AVAILABILITY" in include and offered:
        row["gpuAvailability"] = [
            {"id": gpu.id, "name": gpu.name, "availability": level(market.free(gpu, "SECURE", center.id))}
            for gpu in offered
        ]
    return row
