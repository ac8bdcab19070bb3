"""EC2's actions on what there is to rent: regions, zones, types, offerings, spot prices, images, placement scores."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import providers.aws.emulator_filters as filters
from providers.aws.emulator_cloud import Action, Cloud
from providers.aws.emulator_market import Image, Kind, Place
from providers.aws.emulator_wire import Call, Refusal, Tree

#: What spot prices exist for, and how much dearer than plain Linux; the second is illustrative.
_PRODUCTS = {"Linux/UNIX": Decimal(1), "Windows": Decimal("1.35")}
_PRICE_AGE = timedelta(hours=3)


def _no_tags(_: object) -> dict[str, str]:
    return {}


def describe_regions(cloud: Cloud, call: Call) -> Tree:
    filters.check(call, ("region-name", "opt-in-status", "endpoint"))
    wanted = call.items("RegionName")
    rows = []
    for region in cloud.market.regions.values():
        if not (region.enabled or call.flag("AllRegions")) or (wanted and region.name not in wanted):
            continue
        status = "opt-in-not-required" if region.enabled else "not-opted-in"
        endpoint = f"ec2.{region.name}.amazonaws.com"
        rows.append({"regionName": region.name, "regionEndpoint": endpoint, "optInStatus": status})
    for name in wanted:
        if name not in cloud.market.regions:
            raise Refusal("InvalidParameterValue", f"Invalid region provided: {name}")

    def known(row: Tree) -> dict[str, list[str]]:
        return {
            "region-name": [row["regionName"]],
            "opt-in-status": [row["optInStatus"]],
            "endpoint": [row["regionEndpoint"]],
        }

    return {"regionInfo": filters.select(call, rows, known, _no_tags)}


def describe_availability_zones(cloud: Cloud, call: Call) -> Tree:
    filters.check(call, ("zone-name", "zone-id", "state", "region-name", "opt-in-status", "zone-type", "group-name"))
    zones, wanted = cloud.market.regions[call.region].zones, call.items("ZoneName")
    for name in wanted:
        if name not in zones:
            raise Refusal("InvalidParameterValue", f"Invalid availability zone: [{name}]")
    rows = [
        {
            "zoneName": name,
            "zoneId": zone_id,
            "zoneState": "available",
            "regionName": call.region,
            "optInStatus": "opt-in-not-required",
            "messageSet": [],
            "groupName": f"{call.region}-zg-1",
            "networkBorderGroup": call.region,
            "zoneType": "availability-zone",
        }
        for name, zone_id in zones.items()
        if (not wanted or name in wanted) and (not call.items("ZoneId") or zone_id in call.items("ZoneId"))
    ]

    def known(row: Tree) -> dict[str, list[str]]:
        return {
            "zone-name": [row["zoneName"]],
            "zone-id": [row["zoneId"]],
            "state": [row["zoneState"]],
            "region-name": [call.region],
            "opt-in-status": [row["optInStatus"]],
            "zone-type": [row["zoneType"]],
            "group-name": [row["groupName"]],
        }

    return {"availabilityZoneInfo": filters.select(call, rows, known, _no_tags)}


# Types.


def _kinds(cloud: Cloud, call: Call) -> list[Kind]:
    """The types that the region offers, or those of them that the request names."""
    here = {kind.name: kind for kind in cloud.market.kinds.values() if cloud.market.zones_of(kind, call.region)}
    wanted = call.items("InstanceType")
    if len(wanted) > 100:
        raise Refusal("InvalidParameterValue", "The maximum number of instance types in a request is 100")
    missing = [name for name in wanted if name not in here]
    if missing:
        text = f"The following supplied instance types do not exist: [{', '.join(missing)}]"
        raise Refusal("InvalidInstanceType", text)
    return [here[name] for name in dict.fromkeys(wanted)] if wanted else list(here.values())


def describe_instance_types(cloud: Cloud, call: Call) -> Tree:
    if call.items("InstanceType") and call.number("MaxResults") is not None:
        both = "The parameter InstanceType cannot be used with the parameter MaxResults"
        raise Refusal("InvalidParameterCombination", both)
    filters.check(
        call, ("instance-type", "supported-usage-class", "processor-info.supported-architecture", "bare-metal")
    )

    def known(kind: Kind) -> dict[str, list[str]]:
        return {
            "instance-type": [kind.name],
            "supported-usage-class": list(kind.usage_classes),
            "processor-info.supported-architecture": ["x86_64"],
            "bare-metal": ["false"],
        }

    found = filters.select(call, _kinds(cloud, call), known, _no_tags)
    shown, token = _page_of_100(call, found)
    return {"instanceTypeSet": [_kind(kind) for kind in shown], "nextToken": token}


def _page_of_100(call: Call, found: list[Kind]) -> tuple[list[Kind], str | None]:
    # Without MaxResults a page still holds 100 types at most.
    if call.number("MaxResults") is None:
        call.params["MaxResults"] = "100"
    return filters.page(call, found, most=100)


def _kind(kind: Kind) -> Tree:
    gpu = {
        "name": kind.gpu,
        "manufacturer": "NVIDIA",
        "count": kind.gpus,
        "logicalGpuCount": kind.logical_gpus,
        "gpuPartitionSize": kind.partition,
        "memoryInfo": {"sizeInMiB": kind.gpu_mib},
    }
    cores = kind.vcpus // 2
    return {
        "instanceType": kind.name,
        "currentGeneration": True,
        "freeTierEligible": False,
        "supportedUsageClasses": list(kind.usage_classes),
        "supportedRootDeviceTypes": ["ebs"],
        "supportedVirtualizationTypes": ["hvm"],
        "bareMetal": False,
        "hypervisor": "nitro",
        "processorInfo": {"supportedArchitectures": ["x86_64"]},
        "vCpuInfo": {"defaultVCpus": kind.vcpus, "defaultCores": cores, "defaultThreadsPerCore": 2},
        "memoryInfo": {"sizeInMiB": kind.memory_mib},
        "instanceStorageSupported": kind.storage_gb > 0,
        "instanceStorageInfo": {"totalSizeInGB": kind.storage_gb, "nvmeSupport": "required"},
        "networkInfo": {"networkPerformance": kind.network, "maximumNetworkCards": kind.network_cards},
        "gpuInfo": {"gpus": [gpu], "totalGpuMemoryInMiB": kind.gpu_mib * max(1, kind.gpus)},
    }


def describe_instance_type_offerings(cloud: Cloud, call: Call) -> Tree:
    by = call.text("LocationType") or "region"
    if by not in ("region", "availability-zone", "availability-zone-id"):
        raise Refusal("InvalidParameterValue", f"Invalid value '{by}' for LocationType")
    filters.check(call, ("instance-type", "location"))
    pairs = [(place.kind.name, _location(cloud, place, by)) for place in cloud.market.places(call.region)]

    def known(pair: tuple[str, str]) -> dict[str, list[str]]:
        return {"instance-type": [pair[0]], "location": [pair[1]]}

    shown, token = filters.page(call, filters.select(call, list(dict.fromkeys(pairs)), known, _no_tags))
    rows = [{"instanceType": name, "locationType": by, "location": where} for name, where in shown]
    return {"instanceTypeOfferingSet": rows, "nextToken": token}


def _location(cloud: Cloud, place: Place, by: str) -> str:
    if by == "region":
        return place.region
    return place.zone if by == "availability-zone" else cloud.market.zone_id(place.zone)


# Spot prices.


def describe_spot_price_history(cloud: Cloud, call: Call) -> Tree:
    names = (
        "availability-zone",
        "availability-zone-id",
        "instance-type",
        "product-description",
        "spot-price",
        "timestamp",
    )
    filters.check(call, names)
    move_prices(cloud, region=call.region)
    now = cloud.world.now()
    start = _time(call, "StartTime") or now - timedelta(days=90)
    end = _time(call, "EndTime") or now
    rows = [row for place in _spot_places(cloud, call) for row in _history(cloud, place, start, end)]
    products = call.items("ProductDescription")
    rows = [row for row in rows if not products or row["productDescription"] in products]

    def known(row: Tree) -> dict[str, list[str]]:
        return {
            "availability-zone": [row["availabilityZone"]],
            "availability-zone-id": [row["availabilityZoneId"]],
            "instance-type": [row["instanceType"]],
            "product-description": [row["productDescription"]],
            "spot-price": [str(row["spotPrice"])],
            "timestamp": [row["timestamp"].strftime("%Y-%m-%dT%H:%M:%S.000Z")],
        }

    found = filters.select(call, rows, known, _no_tags)
    if call.number("MaxResults") is None:
        call.params["MaxResults"] = "1000"
    shown, token = filters.page(call, found, least=1)
    # An empty element, not a missing one, ends the list here.
    return {"spotPriceHistorySet": shown, "nextToken": token or ""}


def _spot_places(cloud: Cloud, call: Call) -> Iterator[Place]:
    kinds, zone, zone_id = call.items("InstanceType"), call.text("AvailabilityZone"), call.text("AvailabilityZoneId")
    for place in cloud.market.places(call.region):
        fits = zone in (None, place.zone) and zone_id in (None, cloud.market.zone_id(place.zone))
        if fits and (not kinds or place.kind.name in kinds):
            yield place


def _history(cloud: Cloud, place: Place, start: datetime, end: datetime) -> list[Tree]:
    """The prices from *start* to *end*, newest first, with the one that held at *start*."""
    first = cloud.market.first_spot(place)
    if first is None:
        return []
    changes = cloud.market.spot_changes.get((place.kind.name, place.zone), [])
    opened = (changes[0].at if changes else cloud.world.now()).replace(minute=0, second=0, microsecond=0) - _PRICE_AGE
    points = [(opened, first), *((change.at, change.usd) for change in changes)]
    held = max((at for at, _ in points if at <= start), default=start)
    return [
        {
            "availabilityZone": place.zone,
            "availabilityZoneId": cloud.market.zone_id(place.zone),
            "instanceType": place.kind.name,
            "productDescription": product,
            "spotPrice": f"{(usd * factor).quantize(Decimal('0.000001')):f}",
            "timestamp": at,
        }
        for at, usd in reversed(points)
        if held <= at <= end
        for product, factor in _PRODUCTS.items()
    ]


def _time(call: Call, name: str) -> datetime | None:
    value = call.text(name)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        raise Refusal("InvalidParameterValue", f"Invalid value '{value}' for {name}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def move_prices(cloud: Cloud, *, region: str | None = None) -> None:
    """Let waiting price changes happen: one without a subject takes the whole market, others what they name."""
    places = [place for name in cloud.market.regions for place in cloud.market.places(name)]
    for verb in ("offers", "price"):
        if change := cloud.fault("price_changed", verb=verb):
            _move(cloud, places, change)
        about = [
            place.subject(spot=spot) for place in places if region in (None, place.region) for spot in (False, True)
        ]
        if change := cloud.fault("price_changed", verb=verb, subject="\n".join(about)):
            _move(cloud, places, change)


def _move(cloud: Cloud, places: list[Place], change: Any) -> None:
    factor, wanted = Decimal(str(change.args.get("factor", "1.5"))), change.subject.casefold()
    moved: set[tuple[str, str]] = set()
    for place in places:
        key = (place.kind.name, place.region)
        if wanted in place.subject(spot=False).casefold() and key not in moved:
            moved.add(key)
            # A fault that lasts for ever means one lasting rise, not one with every read.
            if change.times >= 0 or key not in cloud.market.factors:
                cloud.market.change_on_demand(place.kind, place.region, factor)
        spot = (place.kind.name, place.zone)
        if wanted in place.subject(spot=True).casefold() and (
            change.times >= 0 or spot not in cloud.market.spot_changes
        ):
            cloud.market.change_spot(place, factor, cloud.world.now())


# Images.


def describe_images(cloud: Cloud, call: Call) -> Tree:
    wanted, owners = call.items("ImageId"), call.items("Owner")
    for key in wanted:
        if cloud.market.image(key, call.region) is None:
            raise Refusal("InvalidAMIID.NotFound", f"The image id '[{key}]' does not exist")
    names = "name image-id owner-id owner-alias state architecture root-device-name is-public virtualization-type"
    filters.check(call, (*names.split(), "root-device-type", "image-type", "description", "platform-details"))

    def known(image: Image) -> dict[str, list[str]]:
        return {
            "name": [image.name],
            "image-id": [image.id(call.region)],
            "owner-id": [image.owner],
            "owner-alias": [image.alias],
            "state": ["available"],
            "architecture": ["x86_64"],
            "root-device-name": [image.root],
            "is-public": ["true"],
            "virtualization-type": ["hvm"],
            "root-device-type": ["ebs"],
            "image-type": ["machine"],
            "description": [image.name],
            "platform-details": ["Linux/UNIX"],
        }

    found = [
        image
        for image in cloud.market.images
        if (not wanted or image.id(call.region) in wanted)
        and (not owners or image.owner in owners or (image.alias and image.alias in owners))
    ]
    shown, token = filters.page(call, filters.select(call, found, known, _no_tags), least=1)
    return {"imagesSet": [_image(image, call.region) for image in shown], "nextToken": token}


def _image(image: Image, region: str) -> Tree:
    ebs = {"volumeSize": image.size_gb, "volumeType": "gp3", "deleteOnTermination": True, "encrypted": False}
    return {
        "imageId": image.id(region),
        "imageLocation": f"amazon/{image.name}",
        "imageState": "available",
        "imageOwnerId": image.owner,
        "imageOwnerAlias": image.alias or None,
        "creationDate": image.created,
        "isPublic": True,
        "architecture": "x86_64",
        "imageType": "machine",
        "platformDetails": "Linux/UNIX",
        "name": image.name,
        "description": image.name,
        "rootDeviceType": "ebs",
        "rootDeviceName": image.root,
        "virtualizationType": "hvm",
        "hypervisor": "xen",
        "enaSupport": True,
        "blockDeviceMapping": [{"deviceName": image.root, "ebs": ebs}],
    }


_PAGE = "Filter MaxResults NextToken"
ACTIONS = {
    "DescribeRegions": Action(describe_regions, "RegionName AllRegions Filter"),
    "DescribeAvailabilityZones": Action(describe_availability_zones, "ZoneName ZoneId AllAvailabilityZones Filter"),
    "DescribeInstanceTypes": Action(describe_instance_types, f"{_PAGE} InstanceType IncludeUnsupportedInRegion"),
    "DescribeInstanceTypeOfferings": Action(describe_instance_type_offerings, f"{_PAGE} LocationType"),
    "DescribeSpotPriceHistory": Action(
        describe_spot_price_history,
        f"{_PAGE} AvailabilityZone AvailabilityZoneId StartTime EndTime InstanceType ProductDescription",
    ),
    "DescribeImages": Action(describe_images, f"{_PAGE} ImageId Owner ExecutableBy IncludeDeprecated IncludeDisabled"),
}
