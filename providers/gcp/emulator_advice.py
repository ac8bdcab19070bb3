"""The emulated Google Cloud's advice: how likely capacity is, and how spot's price and preemptions went.

Source: the description of Compute v1 of November 2026 (`advice.capacity`, `advice.capacityHistory`). The numbers are
the sandbox's own: they follow its stock.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from providers.gcp.emulator_cloud import Cloud
from providers.gcp.emulator_market import MODELS, Shape
from providers.gcp.emulator_skus import money
from providers.gcp.emulator_wire import Call, Refusal, invalid, last, link

Answer = dict[str, Any]
_PLENTY = 10
_DAYS = 30


def capacity(cloud: Cloud, call: Call) -> Answer:
    """Where *size* machines could be had: the best zone and machine type first."""
    _open(cloud, call)
    size = call.body.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise invalid("size", size, "Must be a positive number.")
    properties = call.body.get("instanceProperties") or {}
    model = (properties.get("scheduling") or {}).get("provisioningModel", "STANDARD")
    if model not in MODELS:
        raise invalid("instanceProperties.scheduling.provisioningModel", model, "The model cannot be asked about.")
    found = []
    for zone in _zones(cloud, call):
        for name in _types(call):
            shape = cloud.market.shape(zone, name)
            if shape is not None and model in shape.models:
                found.append((min(cloud.market.free(zone, name, model) - size + 1, _PLENTY), zone, name))
    found = sorted((row for row in found if row[0] > 0), key=lambda row: (-row[0], row[1], row[2]))
    return {"recommendations": [_recommendation(call, size, model, *row) for row in found[:1]]} if found else {}


def _recommendation(call: Call, size: int, model: str, left: int, zone: str, name: str) -> Answer:
    scores: Answer = {"obtainability": left / _PLENTY}
    if model == "SPOT":
        scores["estimatedUptime"] = f"{3600 * left}s"
    shard = {
        "zone": link(f"projects/{call.project}/zones/{zone}"),
        "machineType": name,
        "instanceCount": size,
        "provisioningModel": model,
    }
    return {"scores": scores, "shards": [shard]}


def _types(call: Call) -> list[str]:
    policy = call.body.get("instanceFlexibilityPolicy") or {}
    selections = policy.get("instanceSelections") or {}
    names = [last(str(name)) for one in selections.values() for name in one.get("machineTypes", ())]
    if not names:
        raise invalid("instanceFlexibilityPolicy.instanceSelections", "", "Machine types are required.")
    return names


def _zones(cloud: Cloud, call: Call) -> list[str]:
    rows = (call.body.get("distributionPolicy") or {}).get("zones") or []
    region = cloud.market.regions[call.parts["region"]]
    names = [last(str(row.get("zone"))) for row in rows] or list(region.zones)
    for name in names:
        if name not in region.zones:
            raise invalid("distributionPolicy.zones", name, f"The zone is not in the region '{region.name}'.")
    return names


def capacity_history(cloud: Cloud, call: Call) -> Answer:
    """Spot's price and the share that was preempted, day by day."""
    _open(cloud, call)
    properties = call.body.get("instanceProperties") or {}
    name = last(str(properties.get("machineType", "")))
    if (properties.get("scheduling") or {}).get("provisioningModel") != "SPOT":
        raise invalid("instanceProperties.scheduling.provisioningModel", "", "Only SPOT is supported.")
    place = last(str((call.body.get("locationPolicy") or {}).get("location", call.parts["region"])))
    region = cloud.market.regions[call.parts["region"]]
    zones = [zone for zone in region.zones if place in (zone, region.name) and cloud.market.shape(zone, name)]
    if not zones:
        raise invalid("instanceProperties.machineType", name, "The machine type is not there.")
    shape = cloud.market.shapes[name]
    wanted = call.body.get("types") or []
    answer: Answer = {"machineType": name, "location": link(f"projects/{call.project}/zones/{zones[0]}")}
    if "PREEMPTION" in wanted:
        answer["preemptionHistory"] = _preemptions(cloud)
    if "PRICE" in wanted:
        answer["priceHistory"] = [_price(cloud, shape, zones[0])]
    return answer


def _preemptions(cloud: Cloud) -> list[Answer]:
    today = cloud.world.now().replace(hour=0, minute=0, second=0, microsecond=0)
    return [
        {"interval": _interval(today - timedelta(days=day), today - timedelta(days=day - 1)), "preemptionRate": rate}
        for day, rate in zip(range(_DAYS, 0, -1), (0.02, 0.05, 0.11) * (_DAYS // 3), strict=True)
    ]


def _price(cloud: Cloud, shape: Shape, zone: str) -> Answer:
    now = cloud.world.now()
    usd = cloud.market.usd_per_hour(shape, zone, spot=True).quantize(Decimal("1e-9"))
    return {"interval": _interval(now - timedelta(days=_DAYS), now), "listPrice": money(usd)}


def _interval(start: datetime, end: datetime) -> Answer:
    return {"startTime": _utc(start), "endTime": _utc(end)}


def _utc(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _open(cloud: Cloud, call: Call) -> None:
    permission = "compute.advice.capacity"
    cloud.allow(call, permission, f"projects/{call.project}/regions/{call.parts['region']}")
    if cloud.options.advice == "closed":
        raise Refusal(403, "forbidden", "This project is not allowed to use the advice API.")
