"""What the emulated Azure tells of itself: SKUs, quotas and images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

import providers.azure.emulator_resources as kinds
from providers.azure.emulator_cloud import Cloud
from providers.azure.emulator_market import Image, Region, Size
from providers.azure.emulator_wire import Call, Refusal, invalid, reply


def paged(call: Call, rows: Sequence[Any], size: int) -> dict[str, Any]:
    """One page of a list, with an absolute `nextLink` if there is more."""
    token = call.query.get("$skiptoken", "0")
    if not token.isdigit():
        raise Refusal("InvalidSkipToken", f"The skip token '{token}' is not valid.")
    start, size = int(token), size or max(1, len(rows))
    body: dict[str, Any] = {"value": list(rows[start : start + size])}
    if start + size < len(rows):
        body["nextLink"] = call.again(__skiptoken=str(start + size))
    return body


# SKUs.


def skus(cloud: Cloud, call: Call) -> Response:
    """The Resource SKUs API; only the filter for a location exists."""
    regions = [*cloud.market.regions]
    if text := call.query.get("$filter", ""):
        match = re.fullmatch(r"\s*location\s+eq\s+'([^']*)'\s*", text)
        if match is None:
            raise invalid("The filter is not valid: only 'location' with 'eq' is supported.", "$filter")
        place = cloud.market.place(match[1])
        regions = [place] if place in cloud.market.regions and place else []
    rows = []
    for name in regions:
        for size in list(cloud.market.sizes_in(name)):
            gone = size.rentable and cloud.fault("gone", verb="offers", subject=f"{size.name} {name}")
            if gone:
                if gone.times >= 0:  # a lasting fault hides it for as long as it stands
                    cloud.market.remove(size, name)
                continue
            rows.append(_sku(cloud, size, cloud.market.regions[name]))
        rows += [_disk_sku(kind, cloud.market.regions[name]) for kind in cloud.market.given["fees"]["disk_month"]]
    body = paged(call, rows, cloud.options.sku_page)
    return reply({"value": body["value"], "nextLink": body.get("nextLink")})


def _sku(cloud: Cloud, size: Size, region: Region) -> dict[str, Any]:
    zones = list(cloud.market.zones(size, region.name))
    info: dict[str, Any] = {"location": region.sku_name, "zones": zones}
    if zones:
        ultra = {"name": "UltraSSDAvailable", "value": "True"}
        # The SDK reads `Name`; the official example has `name`.
        info["zoneDetails"] = [{"Name": zones[:1], "capabilities": [ultra]}]
    return {
        "resourceType": "virtualMachines",
        "name": size.name,
        "tier": "Standard",
        "size": size.short,
        "family": size.family,
        "locations": [region.sku_name],
        "locationInfo": [info],
        "capabilities": [{"name": name, "value": value} for name, value in _capabilities(size)],
        "restrictions": _restrictions(size, region),
    }


def _capabilities(size: Size) -> list[tuple[str, str]]:
    found = [
        ("MaxResourceVolumeMB", str(size.vcpus * 40960)),
        ("OSVhdSizeMB", "1047552"),
        ("vCPUs", str(size.vcpus)),
        ("MemoryPreservingMaintenanceSupported", "False"),
        ("HyperVGenerations", size.generations),
        ("CpuArchitectureType", "x64"),
        ("MemoryGB", str(size.memory_gib)),
        ("MaxDataDiskCount", "16"),
        ("LowPriorityCapable", str(size.spot)),
        ("PremiumIO", "True"),
        ("VMDeploymentTypes", "IaaS"),
        ("vCPUsAvailable", str(size.vcpus)),
        ("vCPUsPerCore", "1"),
        ("GPUs", str(size.gpus)),
        ("EphemeralOSDiskSupported", "True"),
        ("EncryptionAtHostSupported", "True"),
        ("AcceleratedNetworkingEnabled", "True"),
        ("RdmaEnabled", "False"),
        ("MaxNetworkInterfaces", "8"),
    ]
    return [(name, value) for name, value in found if (name, value) != ("GPUs", "0")]


def _restrictions(size: Size, region: Region) -> list[dict[str, Any]]:
    if not size.gpus:
        return []
    found = []
    if region.restricted:
        found.append(_restriction("Location", [region.sku_name], {"locations": [region.sku_name]}, region.restricted))
    if zones := list(region.zones if region.restricted else region.restricted_zones):
        where = {"locations": [region.sku_name], "zones": zones}
        found.append(_restriction("Zone", [region.sku_name], where, region.restricted or "NotAvailableForSubscription"))
    return found


def _restriction(kind: str, values: list[str], where: dict[str, Any], reason: str) -> dict[str, Any]:
    return {"type": kind, "values": values, "restrictionInfo": where, "reasonCode": reason}


def _disk_sku(kind: str, region: Region) -> dict[str, Any]:
    return {
        "resourceType": "disks",
        "name": kind,
        "tier": kind.partition("_")[0].replace("SSD", ""),
        "locations": [region.sku_name],
        "locationInfo": [{"location": region.sku_name, "zones": list(region.zones)}],
        "capabilities": [{"name": "MaxSizeGiB", "value": "32767"}],
        "restrictions": [],
    }


# Quotas.


def used(cloud: Cloud, name: str, region: str) -> int:
    """How much of a quota is in use. Deallocated and failed machines count as well as running ones."""
    here = [(vm, cloud.market.sizes[vm.size.lower()]) for vm in cloud.store.vms() if vm.location == region]
    match name.lower():
        case "virtualmachines":
            return len(here)
        case "cores":
            return sum(size.vcpus for vm, size in here if not vm.spot)
        case "lowprioritycores":
            return sum(size.vcpus for vm, size in here if vm.spot)
        case "publicipaddresses":
            return sum(1 for one in cloud.store.of(kinds.ADDRESS) if one.location == region)
    return sum(size.vcpus for vm, size in here if not vm.spot and size.family.lower() == name.lower())


def usages(cloud: Cloud, call: Call) -> Response:
    """Compute's quotas of a region."""
    region = _region(cloud, call)
    names = {
        "availabilitySets": ("Availability Sets", 2500),
        "cores": ("Total Regional vCPUs", None),
        "virtualMachines": ("Virtual Machines", None),
        "virtualMachineScaleSets": ("Virtual Machine Scale Sets", 2500),
        "lowPriorityCores": ("Total Regional Spot vCPUs", None),
    }
    rows = [_usage(cloud, region, name, title, limit) for name, (title, limit) in names.items()]
    families = {size.family: size.quota_name for size in cloud.market.sizes.values()}
    families |= {size.family: size.quota_name for size in cloud.market.others.values() if size.listed}
    rows += [_usage(cloud, region, family, title, None) for family, title in families.items()]
    return reply({"value": rows})


def network_usages(cloud: Cloud, call: Call) -> Response:
    """The network's quotas of a region."""
    region = _region(cloud, call)
    rows = []
    for name, title in (("PublicIPAddresses", "Public IP Addresses"), ("StandardSkuPublicIpAddresses", "Standard SKU")):
        row = _usage(cloud, region, "PublicIPAddresses", title, None)
        home = f"/subscriptions/{cloud.options.subscription}/providers/Microsoft.Network/locations/{region}"
        rows.append(row | {"id": f"{home}/usages/{name}", "name": {"value": name, "localizedValue": title}})
    return reply({"value": rows})


def _usage(cloud: Cloud, region: str, name: str, title: str, limit: int | None) -> dict[str, Any]:
    return {
        "unit": "Count",
        "currentValue": used(cloud, name, region) if limit is None else 0,
        "limit": cloud.market.limit(name, region) if limit is None else limit,
        "name": {"value": name, "localizedValue": title},
    }


def _region(cloud: Cloud, call: Call) -> str:
    found = cloud.market.place(call.parts["location"])
    if found is None:
        namespace = call.parts.get("namespace", "Microsoft.Compute")
        text = f"No registered resource provider found for location '{call.parts['location']}' in '{namespace}'."
        raise Refusal("NoRegisteredProviderFound", text)
    return found


# Images.


def image(cloud: Cloud, call: Call) -> Response:
    """One version of a platform image."""
    found, region, home = _image(cloud, call)
    wanted = call.parts["version"]
    version = found.versions[-1] if wanted.lower() == "latest" else wanted
    if version not in found.versions:
        raise _no_image(call.parts | {"version": wanted}, region)
    body = {
        "properties": {
            "hyperVGeneration": found.generation,
            "architecture": "x64",
            "osDiskImage": {"operatingSystem": "Linux"},
            "dataDiskImages": [],
            "disallowed": {"vmDiskType": "Unmanaged"},
            "automaticOSUpgradeProperties": {"automaticOSUpgradeSupported": False},
            "imageDeprecationStatus": {"imageState": "Active"},
            "features": [{"name": "SecurityType", "value": "TrustedLaunchSupported"}],
        },
        "location": region,
        "name": version,
        "id": f"{home}/versions/{version}",
    }
    return reply(body)


def image_versions(cloud: Cloud, call: Call) -> Response:
    """All versions of a platform image, a bare list."""
    found, region, home = _image(cloud, call)
    rows = [{"location": region, "name": name, "id": f"{home}/versions/{name}"} for name in found.versions]
    if "desc" in call.query.get("$orderby", ""):
        rows.reverse()
    return reply(rows[: int(call.query.get("$top", len(rows)) or 0)])


def _image(cloud: Cloud, call: Call) -> tuple[Image, str, str]:
    region = _region(cloud, call)
    parts = call.parts
    found = cloud.market.image(parts["publisher"], parts["offer"], parts["sku"])
    if found is None:
        raise _no_image(parts | {"version": parts.get("version", "")}, region)
    home = (
        f"/Subscriptions/{cloud.options.subscription}/Providers/Microsoft.Compute/Locations/{region}"
        f"/Publishers/{found.publisher}/ArtifactTypes/VMImage/Offers/{found.offer}/Skus/{found.sku}"
    )
    return found, region, home


def _no_image(parts: dict[str, str], region: str) -> Refusal:
    name = "Artifact: VMImage was not found."
    text = f"{name} {parts['publisher']}:{parts['offer']}:{parts['sku']}:{parts['version']} in {region}"
    return Refusal("NotFound", text, 404)
