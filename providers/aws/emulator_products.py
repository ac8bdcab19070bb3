"""The price list's rows: what the emulated AWS publishes about machines, disks, addresses and traffic.

Every machine comes with the rows that real lists have beside the one that is wanted: Windows, dedicated tenancy,
capacity reservations at 0 USD, capacity blocks at 0 USD. Prices of those are illustrative.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from providers.aws.emulator_market import Kind, Market, Region

TERM, RATE = "JRTCKXETXF", "6YS6EN2CT7"

#: (begin, end, USD); bounds as the list writes them.
Tier = tuple[str, str, Decimal]


@dataclass(frozen=True, slots=True)
class Product:
    """One SKU with its on-demand price tiers."""

    service: str
    family: str
    attributes: dict[str, str]
    unit: str
    tiers: tuple[Tier, ...]

    @property
    def sku(self) -> str:
        """Always the same for the same attributes."""
        text = "/".join([self.service, self.family, *(f"{k}={v}" for k, v in sorted(self.attributes.items()))])
        return hashlib.sha256(text.encode()).hexdigest()[:16].upper()

    def product(self) -> dict[str, Any]:
        """As in ``products``."""
        return {"productFamily": self.family, "attributes": self.attributes, "sku": self.sku}

    def term(self, published: str) -> dict[str, Any]:
        """As in ``terms.OnDemand.<sku>``."""
        code = f"{self.sku}.{TERM}"
        dimensions = {}
        for index, (begin, end, usd) in enumerate(self.tiers):
            rate = f"{code}.{RATE if index == 0 else RATE[:-1] + str(index)}"
            dimensions[rate] = {
                "unit": self.unit,
                "beginRange": begin,
                "endRange": end,
                "description": f"${usd} per {self.unit}",
                "appliesTo": [],
                "rateCode": rate,
                "pricePerUnit": {"USD": f"{usd:.10f}"},
            }
        return {
            code: {
                "priceDimensions": dimensions,
                "sku": self.sku,
                "effectiveDate": published,
                "offerTermCode": TERM,
                "termAttributes": {},
            }
        }

    def document(self, published: str) -> dict[str, Any]:
        """As GetProducts lists it."""
        return {
            "product": self.product(),
            "serviceCode": self.service,
            "terms": {"OnDemand": self.term(published)},
            "version": published.replace("-", "").replace(":", "").replace("T", "").replace("Z", ""),
            "publicationDate": published,
        }


def products(market: Market, service: str) -> Iterator[Product]:
    """The rows of one service."""
    regions = [region for region in market.regions.values() if region.enabled]
    match service:
        case "AmazonEC2":
            for region in regions:
                for kind in market.kinds.values():
                    yield from _machine(market, kind, region)
                yield _disk(region)
        case "AmazonVPC":
            for region in regions:
                yield _address(region, Decimal(market.fees["public_ipv4"]))
        case "AWSDataTransfer":
            yield _free_traffic(Decimal(market.fees["egress_free_gb"]))
            for region in regions:
                yield _traffic(region, market.fees["egress"])


def _machine(market: Market, kind: Kind, region: Region) -> Iterator[Product]:
    usd = market.on_demand(kind, region.name)
    # A type that no zone offers any more stays in the list for a while; it does so here, too.
    if usd is None:
        return
    rows = [
        ("Linux", "Shared", "Used", "OnDemand", usd),
        ("Linux", "Shared", "AllocatedCapacityReservation", "OnDemand", Decimal(0)),
        ("Linux", "Shared", "UnusedCapacityReservation", "OnDemand", usd),
        ("Linux", "Dedicated", "Used", "OnDemand", usd * Decimal("1.1")),
        ("Windows", "Shared", "Used", "OnDemand", usd * Decimal("1.35")),
    ]
    if "capacity-block" in kind.usage_classes:
        rows.append(("Linux", "Shared", "Used", "CapacityBlock", Decimal(0)))
    for system, tenancy, capacity, market_option, price in rows:
        attributes = {
            **_place(region),
            "servicecode": "AmazonEC2",
            "instanceType": kind.name,
            "currentGeneration": "Yes",
            "vcpu": str(kind.vcpus),
            "memory": f"{kind.memory_mib // 1024:,} GiB",
            "gpu": str(kind.gpus),
            "storage": f"1 x {kind.storage_gb} NVMe SSD",
            "networkPerformance": kind.network,
            "operatingSystem": system,
            "tenancy": tenancy,
            "preInstalledSw": "NA",
            "licenseModel": "No License required",
            "capacitystatus": capacity,
            "marketoption": market_option,
            "usagetype": f"BoxUsage:{kind.name}",
            "operation": "RunInstances" if system == "Linux" else "RunInstances:0002",
        }
        yield Product("AmazonEC2", "Compute Instance", attributes, "Hrs", (("0", "Inf", price),))


def _place(region: Region) -> dict[str, str]:
    return {"location": region.location, "locationType": "AWS Region", "regionCode": region.name}


def _disk(region: Region) -> Product:
    attributes = {
        **_place(region),
        "servicecode": "AmazonEC2",
        "volumeType": "General Purpose",
        "volumeApiName": "gp3",
        "storageMedia": "SSD-backed",
        "usagetype": "EBS:VolumeUsage.gp3",
    }
    return Product("AmazonEC2", "Storage", attributes, "GB-Mo", (("0", "Inf", region.gp3),))


def _address(region: Region, usd: Decimal) -> Product:
    attributes = {
        **_place(region),
        "servicecode": "AmazonVPC",
        "group": "VPCPublicIPv4Address",
        "groupDescription": "Hourly charge for In-use Public IPv4 Addresses",
        "usagetype": "PublicIPv4:InUseAddress",
    }
    return Product("AmazonVPC", "VpcPublicIPv4Address", attributes, "Hrs", (("0", "Inf", usd),))


def _traffic(region: Region, tiers: list[Any]) -> Product:
    attributes = {
        "servicecode": "AWSDataTransfer",
        "transferType": "AWS Outbound",
        "fromLocation": region.location,
        "fromLocationType": "AWS Region",
        "fromRegionCode": region.name,
        "toLocation": "External",
        "toLocationType": "Other",
        "usagetype": "DataTransfer-Out-Bytes",
    }
    begins = ["0", *(str(end) for end, _ in tiers)]
    rows = tuple((begin, str(end), Decimal(usd)) for begin, (end, usd) in zip(begins, tiers, strict=False))
    return Product("AWSDataTransfer", "Data Transfer", attributes, "GB", rows)


def _free_traffic(free_gb: Decimal) -> Product:
    attributes = {
        "servicecode": "AWSDataTransfer",
        "transferType": "AWS Outbound",
        "fromLocation": "Any",
        "fromLocationType": "AWS Region",
        "toLocation": "External",
        "toLocationType": "Other",
        "usagetype": "Global-DataTransfer-Out-Bytes",
    }
    return Product("AWSDataTransfer", "Data Transfer", attributes, "GB", (("0", str(free_gb), Decimal(0)),))
