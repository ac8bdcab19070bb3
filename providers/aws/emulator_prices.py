"""The two ways to the price list: the Pricing service's GetProducts, and the public bulk files."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

from starlette.responses import Response

import providers.aws.emulator_filters as filters
from providers.aws.emulator_catalog import move_prices
from providers.aws.emulator_cloud import Action, Cloud
from providers.aws.emulator_products import TERM, Product, products
from providers.aws.emulator_wire import Call, Refusal, Tree

#: The regions in which the Pricing service answers.
REGIONS = ("us-east-1", "ap-south-1", "eu-central-1")

SERVICES = ("AmazonEC2", "AmazonVPC", "AWSDataTransfer")
_TYPES = ("TERM_MATCH", "EQUALS", "CONTAINS", "ANY_OF", "NONE_OF")
_FILE = re.compile(
    r"/offers/v1\.0/aws/(?P<service>[A-Za-z0-9]+)/current/(?:(?P<region>[a-z0-9-]+)/)?index\.(?P<form>json|csv)"
)
_PREAMBLE = 5  # rows of the CSV files before the header


def get_products(cloud: Cloud, call: Call) -> Tree:
    service = call.params.get("ServiceCode")
    if service not in SERVICES:
        raise Refusal("InvalidParameterException", f"Invalid service code: {service}")
    if call.params.get("FormatVersion", "aws_v1") != "aws_v1":
        raise Refusal("InvalidParameterException", "Invalid FormatVersion")
    move_prices(cloud)
    wanted = [_filter(one) for one in call.params.get("Filters") or []]
    found = [one for one in products(cloud.market, service) if all(_fits(one, *rule) for rule in wanted)]
    shown, token = filters.json_page(call.params, found)
    answer: Tree = {
        "FormatVersion": "aws_v1",
        "PriceList": [json.dumps(one.document(cloud.market.published), separators=(",", ":")) for one in shown],
    }
    return answer | ({"NextToken": token} if token else {})


def _filter(one: Any) -> tuple[str, str, str]:
    kind, name, value = (one.get(key) for key in ("Type", "Field", "Value")) if isinstance(one, dict) else (None,) * 3
    if kind not in _TYPES or not isinstance(name, str) or not isinstance(value, str):
        raise Refusal("InvalidParameterException", "Input Parameters are invalid")
    return str(kind), name, value


def _fits(one: Product, kind: str, name: str, value: str) -> bool:
    values = {
        **one.attributes,
        "ServiceCode": one.service,
        "productFamily": one.family,
        "sku": one.sku,
        "termType": "OnDemand",
    }
    has = next((v for k, v in values.items() if k.casefold() == name.casefold()), None)
    if has is None:
        return kind == "NONE_OF"
    has, options = has.casefold(), [part.strip().casefold() for part in value.split(",")]
    match kind:
        case "CONTAINS":
            return value.casefold() in has
        case "ANY_OF":
            return has in options
        case "NONE_OF":
            return has not in options
        case _:
            return has == value.casefold()


PRICING = {"GetProducts": Action(get_products)}


def bulk(cloud: Cloud, path: str) -> Response:
    """A file of the public price list, by its path; no signature is asked for."""
    if path == "/offers/v1.0/aws/index.json":
        return _json(_index(cloud))
    region_index = re.fullmatch(r"/offers/v1\.0/aws/([A-Za-z0-9]+)/current/region_index\.json", path)
    if region_index and region_index[1] in SERVICES:
        return _json(_region_index(cloud, region_index[1]))
    match = _FILE.fullmatch(path)
    if match is None or match["service"] not in SERVICES or not _known(cloud, match["region"]):
        body = "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
        return Response(body, status_code=404, media_type="application/xml")
    move_prices(cloud)
    found = [one for one in products(cloud.market, match["service"]) if match["region"] in (None, _region(one))]
    if match["form"] == "csv":
        return Response(_csv(cloud, match["service"], found), media_type="text/csv")
    return _json(_offer(cloud, match["service"], found))


def _json(value: Any) -> Response:
    return Response(json.dumps(value), media_type="application/json")


def _known(cloud: Cloud, region: str | None) -> bool:
    return region is None or (region in cloud.market.regions and cloud.market.regions[region].enabled)


def _region(one: Product) -> str | None:
    return one.attributes.get("regionCode") or one.attributes.get("fromRegionCode")


def _index(cloud: Cloud) -> dict[str, Any]:
    offers = {
        name: {
            "offerCode": name,
            "versionIndexUrl": f"/offers/v1.0/aws/{name}/index.json",
            "currentVersionUrl": f"/offers/v1.0/aws/{name}/current/index.json",
            "currentRegionIndexUrl": f"/offers/v1.0/aws/{name}/current/region_index.json",
        }
        for name in SERVICES
    }
    return {"formatVersion": "v1.0", "publicationDate": cloud.market.published, "offers": offers}


def _region_index(cloud: Cloud, service: str) -> dict[str, Any]:
    regions = {
        name: {"regionCode": name, "currentVersionUrl": f"/offers/v1.0/aws/{service}/current/{name}/index.json"}
        for name in cloud.market.regions
        if _known(cloud, name)
    }
    return {"formatVersion": "v1.0", "publicationDate": cloud.market.published, "regions": regions}


def _offer(cloud: Cloud, service: str, found: list[Product]) -> dict[str, Any]:
    return {
        "formatVersion": "v1.0",
        "offerCode": service,
        "publicationDate": cloud.market.published,
        "products": {one.sku: one.product() for one in found},
        "terms": {"OnDemand": {one.sku: one.term(cloud.market.published) for one in found}},
    }


#: The CSV files' own names for some attributes.
_COLUMNS = {
    "servicecode": "serviceCode",
    "location": "Location",
    "locationType": "Location Type",
    "instanceType": "Instance Type",
    "currentGeneration": "Current Generation",
    "vcpu": "vCPU",
    "memory": "Memory",
    "storage": "Storage",
    "networkPerformance": "Network Performance",
    "volumeType": "Volume Type",
    "volumeApiName": "Volume API Name",
    "operatingSystem": "Operating System",
    "licenseModel": "License Model",
    "tenancy": "Tenancy",
    "preInstalledSw": "Pre Installed S/W",
    "capacitystatus": "CapacityStatus",
    "marketoption": "MarketOption",
    "gpu": "GPU",
    "usagetype": "usageType",
    "operation": "operation",
    "regionCode": "Region Code",
    "transferType": "Transfer Type",
    "fromLocation": "From Location",
    "fromRegionCode": "From Region Code",
    "toLocation": "To Location",
}
_PRICE_COLUMNS = """
    SKU OfferTermCode RateCode TermType PriceDescription EffectiveDate StartingRange EndingRange Unit PricePerUnit
    Currency
""".split()  # noqa: SIM905 - a table


def _csv(cloud: Cloud, service: str, found: list[Product]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    preamble = [
        ("FormatVersion", "v1.0"),
        ("Disclaimer", "This pricing list is for informational purposes only."),
        ("Publication Date", cloud.market.published),
        ("Version", cloud.market.published),
        ("OfferCode", service),
    ]
    assert len(preamble) == _PREAMBLE
    writer.writerows(preamble)
    writer.writerow([*_PRICE_COLUMNS, "Product Family", *_COLUMNS.values()])
    for one in found:
        for begin, end, usd in one.tiers:
            price = [
                one.sku,
                TERM,
                f"{one.sku}.{TERM}",
                "OnDemand",
                f"${usd} per {one.unit}",
                cloud.market.published[:10],
            ]
            row = [*price, begin, end, one.unit, f"{usd:.10f}", "USD", one.family]
            writer.writerow([*row, *(one.attributes.get(name, "") for name in _COLUMNS)])
    return out.getvalue()
