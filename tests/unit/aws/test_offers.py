"""What is sold, where and for how much; live figures, and None for what is not known."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import errors
from providers.aws import egress, hardware, prices
from providers.aws.adapter import Aws
from providers.base import Context, EgressTier, Offer, Query
from tests.unit.aws.wire import Answer, Asked, Wire, items, json_refused, refused, said, xml

SPECS = Path(os.environ.get("ORCH_SPEC_DIR") or Path(__file__).parents[4] / "shared" / "specs") / "aws"


def product(price: str, unit: str = "Hrs", *, begin: str = "0", end: str = "Inf", **attributes: str) -> str:
    """An entry of the price list, in the form that GetProducts hands out."""
    dimension = {"unit": unit, "beginRange": begin, "endRange": end, "pricePerUnit": {"USD": price}}
    return json.dumps(
        {
            "product": {"productFamily": "x", "sku": "S", "attributes": attributes},
            "terms": {"OnDemand": {"S.T": {"priceDimensions": {"S.T.1": dimension}}}},
            "publicationDate": "2026-11-20T00:00:00Z",
        }
    )


def machine(price: str, name: str = "g6e.xlarge", region: str = "us-east-1", **more: str) -> str:
    return product(price, instanceType=name, regionCode=region, **{**prices.MACHINE, **more})


def traffic(*steps: tuple[str, str, str], region: str = "us-east-1") -> str:
    dimensions = {
        f"S.T.{begin}": {"unit": "GB", "beginRange": begin, "endRange": end, "pricePerUnit": {"USD": usd}}
        for begin, end, usd in steps
    }
    attributes = {"transferType": "AWS Outbound", "fromRegionCode": region, "toLocation": "External"}
    terms = {"OnDemand": {"S.T": {"priceDimensions": dimensions}}}
    return json.dumps({"product": {"productFamily": "Data Transfer", "attributes": attributes}, "terms": terms})


STEPS = [
    ("0", "10240", "0.0900000000"),
    ("10240", "51200", "0.0850000000"),
    ("51200", "153600", "0.0700000000"),
    ("153600", "Inf", "0.0500000000"),
]


def price_list(asked: Asked) -> Answer:
    """A price list that knows one machine, the disk and the traffic of us-east-1."""
    fields = {one["Field"] for one in asked.params["Filters"]}
    if asked.params["ServiceCode"] == "AWSDataTransfer":
        return said({"FormatVersion": "aws_v1", "PriceList": [traffic(*STEPS)]})
    if "volumeApiName" in fields:
        disk = product("0.0800000000", "GB-Mo", regionCode="us-east-1", volumeApiName="gp3", productFamily="Storage")
        return said({"PriceList": [disk]})
    block = machine("0.0000000000", marketoption="CapacityBlock")
    return said({"PriceList": [machine("1.8610000000"), machine("0", "g6e.2xlarge"), block]})


def gpu_type(
    name: str, gpu: str = "L40S", mib: int = 45776, count: int = 1, more: str = "", arch: str = "x86_64"
) -> str:
    one = (
        f"<name>{gpu}</name><manufacturer>NVIDIA</manufacturer><count>{count}</count>{more}"
        f"<memoryInfo><sizeInMiB>{mib}</sizeInMiB></memoryInfo>"
    )
    return (
        f"<instanceType>{name}</instanceType><bareMetal>false</bareMetal>"
        f"{items('supportedUsageClasses', 'on-demand', 'spot')}"
        f"<processorInfo>{items('supportedArchitectures', arch)}</processorInfo>"
        "<vCpuInfo><defaultVCpus>4</defaultVCpus></vCpuInfo><memoryInfo><sizeInMiB>32768</sizeInMiB></memoryInfo>"
        f"<gpuInfo>{items('gpus', one)}</gpuInfo>"
    )


def offerings(*pairs: tuple[str, str]) -> Answer:
    rows = (f"<instanceType>{name}</instanceType><location>{zone}</location>" for name, zone in pairs)
    return xml("DescribeInstanceTypeOfferings", items("instanceTypeOfferingSet", *rows))


def spot_prices(*rows: tuple[str, str, str, str]) -> Answer:
    found = (
        f"<instanceType>{name}</instanceType><availabilityZone>{zone}</availabilityZone><spotPrice>{usd}</spotPrice>"
        f"<productDescription>Linux/UNIX</productDescription><timestamp>{at}</timestamp>"
        for name, zone, usd, at in rows
    )
    return xml("DescribeSpotPriceHistory", items("spotPriceHistorySet", *found))


@pytest.fixture
def sold(wire: Wire) -> Wire:
    """g6e.xlarge in two zones, g6e.2xlarge in one; spot in the first zone."""
    wire.on(
        "DescribeInstanceTypeOfferings",
        offerings(("g6e.xlarge", "us-east-1a"), ("g6e.xlarge", "us-east-1b"), ("g6e.2xlarge", "us-east-1a")),
    )
    types = items("instanceTypeSet", gpu_type("g6e.xlarge"), gpu_type("g6e.2xlarge"))
    wire.on("DescribeInstanceTypes", xml("DescribeInstanceTypes", types))
    wire.on(
        "DescribeSpotPriceHistory",
        spot_prices(
            ("g6e.xlarge", "us-east-1a", "0.810000", "2026-11-22T11:00:00.000Z"),
            ("g6e.xlarge", "us-east-1a", "0.930000", "2026-11-22T11:59:00.000Z"),
        ),
    )
    wire.on("GetProducts", price_list)
    return wire


L40S = Query(gpus=("l40s",), pricing=("on-demand", "spot"))


async def test_every_zone_and_way_of_paying_is_an_offer_of_its_own(aws: Aws, sold: Wire) -> None:
    listing = await aws.offers(L40S)
    assert {offer.offer_id: offer.usd_per_hour for offer in listing.offers} == {
        "aws/us-east-1a/g6e.xlarge/on-demand": Decimal("1.861"),
        "aws/us-east-1b/g6e.xlarge/on-demand": Decimal("1.861"),
        "aws/us-east-1a/g6e.2xlarge/on-demand": None,
        "aws/us-east-1a/g6e.xlarge/spot": Decimal("0.93"),
    }
    assert (listing.partial, listing.note) == (False, "")


async def test_an_offer_says_all_that_its_cost_rests_on(aws: Aws, sold: Wire, context: Context) -> None:
    offer = (await aws.offers(L40S)).offers[1]
    assert (offer.gpu, offer.gpu_count, offer.gpu_memory_gib) == ("l40s", 1, 48)
    assert (offer.account, offer.region, offer.zone, offer.country) == (
        "123456789012",
        "us-east-1",
        "us-east-1a",
        "US",
    )
    assert (offer.vcpus, offer.memory_gib, offer.arch) == (4, 32, "x86_64")
    assert (offer.billing.increment_s, offer.billing.minimum_s) == (1, 60)
    assert offer.storage_usd_per_gib_month == Decimal("0.08")
    assert offer.address_usd_per_hour == Decimal("0.005")
    assert (offer.egress, offer.egress_evidence) == (egress.PUBLISHED, "contract")
    assert offer.available is None
    assert offer.observed_at == context.env.now()


async def test_there_is_never_an_l40_and_the_note_says_so(aws: Aws, sold: Wire) -> None:
    listing = await aws.offers(Query(gpus=("l40",)))
    assert listing.offers == []
    assert "no L40" in listing.note
    assert "L40S" in listing.note
    both = await aws.offers(Query(gpus=("l40", "l40s")))
    assert {offer.gpu for offer in both.offers} == {"l40s"}
    assert "no L40:" in both.note


async def test_a_gpu_that_nobody_has_heard_of_gives_a_note(aws: Aws, sold: Wire) -> None:
    listing = await aws.offers(Query(gpus=("mi300x",)))
    assert listing.offers == []
    assert "mi300x" in listing.note
    filters = sold.of("DescribeInstanceTypeOfferings")[0].params
    assert (filters["Filter.1.Value.1"], filters["Filter.1.Value.2"]) == ("g*", "p*")


async def test_spot_is_not_asked_for_unless_it_matters(aws: Aws, sold: Wire) -> None:
    listing = await aws.offers(Query(gpus=("l40s",)))
    assert {offer.pricing for offer in listing.offers} == {"on-demand"}
    assert not sold.of("DescribeSpotPriceHistory")


async def test_a_region_that_cannot_be_read_makes_the_listing_partial(context: Context, sold: Wire) -> None:
    def by_region(good: Answer) -> Callable[[Asked], Answer]:
        return lambda asked: refused("AuthFailure", 401, "no") if asked.region == "eu-south-2" else good

    sold.on("DescribeInstanceTypeOfferings", by_region(offerings(("g6e.xlarge", "us-east-1a"))))
    settings = {**context.settings, "ORCH_AWS_REGIONS": "eu-south-2,us-east-1", "AWS_REGION": "us-east-1"}
    aws = Aws(Context(env=context.env, settings=settings, owner=context.owner))
    try:
        listing = await aws.offers(L40S)
        assert {offer.region for offer in listing.offers} == {"us-east-1"}
        assert listing.partial
        assert "eu-south-2 not read" in listing.note
        sold.on("DescribeInstanceTypeOfferings", refused("AuthFailure", 401, "no"))
        with pytest.raises(errors.AuthFailed):
            await aws.offers(L40S)
    finally:
        await aws.aclose()


async def test_a_price_list_that_cannot_be_read_gives_unknown_prices_and_says_so(aws: Aws, sold: Wire) -> None:
    sold.on("GetProducts", Answer('{"oops": [1, 2'))
    listing = await aws.offers(L40S)
    assert {offer.usd_per_hour for offer in listing.offers} == {None, Decimal("0.93")}
    assert {offer.storage_usd_per_gib_month for offer in listing.offers} == {None}
    assert {offer.egress_evidence for offer in listing.offers} == {"claim"}
    assert listing.partial
    assert "prices not read" in listing.note


async def test_values_are_asked_for_one_by_one_where_any_of_is_not_known(aws: Aws, sold: Wire) -> None:
    def old(asked: Asked) -> Answer:
        if any(one["Type"] == "ANY_OF" for one in asked.params["Filters"]):
            return json_refused("InvalidParameterException", "unknown filter type")
        return price_list(asked)

    sold.on("GetProducts", old)
    listing = await aws.offers(L40S)
    assert Decimal("1.861") in {offer.usd_per_hour for offer in listing.offers}
    assert not listing.partial


async def test_the_price_list_is_asked_in_its_own_region(aws: Aws, sold: Wire) -> None:
    await aws.offers(L40S)
    assert {(one.service, one.region) for one in sold.of("GetProducts")} == {("pricing", "us-east-1")}


async def test_a_quote_is_fresh_and_none_where_the_zone_sells_no_more(aws: Aws, sold: Wire, offer: Offer) -> None:
    quote = await aws.price(offer)
    assert quote is not None
    assert (quote.offer_id, quote.usd_per_hour) == (offer.offer_id, Decimal("1.861"))
    sold.on("DescribeInstanceTypeOfferings", offerings(("g6e.xlarge", "us-east-1c")))
    assert await aws.price(offer) is None


async def test_a_spot_price_that_vanished_is_no_offer_any_more(aws: Aws, sold: Wire) -> None:
    spot = next(offer for offer in (await aws.offers(L40S)).offers if offer.pricing == "spot")
    quote = await aws.price(spot)
    assert quote is not None
    assert quote.usd_per_hour == Decimal("0.93")
    sold.on("DescribeSpotPriceHistory", spot_prices())
    assert await aws.price(spot) is None


# -- hardware ---------------------------------------------------------------------------------------------


def described(name: str, gpu: str, mib: int, count: int = 1, **more: Any) -> dict[str, Any]:
    device = {"Name": gpu, "Manufacturer": "NVIDIA", "Count": count, "MemoryInfo": {"SizeInMiB": mib}, **more}
    return {"InstanceType": name, "GpuInfo": {"Gpus": [device]}}


def test_a_fraction_of_a_gpu_has_count_0_and_is_still_understood() -> None:
    row = described("g6f.large", "L4", 2861, 0, LogicalGpuCount=1, GpuPartitionSize=0.125)
    one = hardware.read([row])["g6f.large"]
    assert (one.gpu, one.gpu_count, one.gpu_fraction, one.gpu_memory_gib) == ("l4", 1, 0.125, 3.0)


def test_a_fraction_whose_size_an_old_sdk_drops_is_left_out() -> None:
    assert hardware.read([described("g6f.large", "L4", 2861, 0)]) == {}


@pytest.mark.parametrize(
    "row", [{}, {"InstanceType": 3}, {"InstanceType": "m5.large"}, {"InstanceType": "x", "GpuInfo": 1}]
)
def test_types_without_a_gpu_or_without_sense_are_left_out(row: dict[str, Any]) -> None:
    assert hardware.read([row]) == {}


def test_gpus_of_other_makers_are_left_out() -> None:
    row = described("g4ad.xlarge", "Radeon Pro V520", 8192)
    row["GpuInfo"]["Gpus"][0]["Manufacturer"] = "AMD"
    assert hardware.read([row]) == {}


def test_every_gpu_type_of_the_scraped_list_is_understood() -> None:
    file = SPECS / "gpu-instance-types.json"
    if not file.is_file():
        pytest.skip(f"no official descriptions at {SPECS} (ORCH_SPEC_DIR)")
    types = json.loads(file.read_text(encoding="utf-8"))["types"]
    rows = [
        described(
            name,
            one["gpu"],
            one["gpu_memory_mib_each"],
            one["gpu_count"],
            LogicalGpuCount=one["logical_gpu_count"],
            GpuPartitionSize=one["gpu_partition_size"],
        )
        for name, one in types.items()
    ]
    found = hardware.read(rows)
    assert set(found) == set(types)
    assert "l40" not in {one.gpu for one in found.values()}
    for name, one in found.items():
        family = name.split(".")[0]
        assert family in hardware.FAMILIES[one.gpu], f"{name} is said to be {one.gpu}"
        assert one.gpu_count == types[name]["logical_gpu_count"]
        assert one.gpu_fraction == types[name]["gpu_partition_size"]
        assert one.gpu_memory_gib
    assert (found["p5.48xlarge"].gpu, found["p5.48xlarge"].gpu_memory_gib) == ("h100-sxm", 80)
    assert (found["p4de.24xlarge"].gpu, found["p4d.24xlarge"].gpu) == ("a100-80gb", "a100-40gb")
    assert (found["g5.12xlarge"].gpu, found["g5.12xlarge"].gpu_count) == ("a10g", 4)


def test_a_search_is_narrowed_to_the_families_that_can_have_it() -> None:
    assert hardware.patterns(["l40s"]) == ["g6e.*"]
    assert hardware.patterns(["l4"]) == ["g6.*", "gr6.*", "g6f.*", "gr6f.*"]
    assert hardware.patterns([]) == hardware.patterns(["l40s", "unheard-of"]) == ["g*", "p*"]


# -- prices and egress ------------------------------------------------------------------------------------


def test_a_price_keeps_its_exact_decimals_and_drops_the_padding() -> None:
    found = prices.hourly_of([prices.parse(machine("10.4926400000", "g6e.12xlarge")), prices.parse(machine("10.0000"))])
    assert found["g6e.12xlarge", "us-east-1"] == Decimal("10.49264")
    assert str(found["g6e.xlarge", "us-east-1"]) == "10"


@pytest.mark.parametrize("price", ["0.0000000000", "-1", "NaN", "Infinity", "", "cheap", "99999"])
def test_a_zero_or_absurd_price_is_unknown(price: str) -> None:
    assert prices.hourly_of([prices.parse(machine(price))]) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"product": []}', '{"product": {"attributes": 1}}', "null"])
def test_an_entry_that_is_no_product_is_a_failure_and_not_an_empty_list(text: str) -> None:
    with pytest.raises(errors.Unavailable):
        prices.parse(text)


@pytest.mark.parametrize("terms", [None, {}, {"OnDemand": []}, {"OnDemand": {"a": {"priceDimensions": {"b": 3}}}}])
def test_a_product_without_terms_has_no_price(terms: Any) -> None:
    made = prices.parse(json.dumps({"product": {"attributes": {"instanceType": "g6e.xlarge"}}, "terms": terms}))
    assert made.dimensions == ()


def test_a_price_in_another_currency_only_is_unknown() -> None:
    text = machine("13.1").replace('"USD"', '"CNY"')
    assert prices.hourly_of([prices.parse(text)]) == {}


def tiers(*steps: tuple[str, str, str]) -> tuple[EgressTier, ...] | None:
    return egress.tiers_of([prices.parse(traffic(*steps))]).get("us-east-1")


def test_egress_is_100_gb_free_and_then_the_lists_tiers_with_cumulative_borders() -> None:
    made = tiers(*reversed(STEPS))
    assert made is not None
    assert [(tier.up_to_gb, tier.usd_per_gb) for tier in made] == [
        (Decimal(100), Decimal(0)),
        (Decimal(10_240), Decimal("0.09")),
        (Decimal(51_200), Decimal("0.085")),
        (Decimal(153_600), Decimal("0.07")),
        (None, Decimal("0.05")),
    ]
    assert made == egress.PUBLISHED


def test_a_free_tier_that_the_list_shows_itself_is_not_given_twice() -> None:
    made = tiers(("0", "100", "0.0000000000"), ("100", "Inf", "0.09"))
    assert made == (
        EgressTier(up_to_gb=Decimal(100), usd_per_gb=Decimal(0)),
        EgressTier(up_to_gb=None, usd_per_gb=Decimal("0.09")),
    )


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [("0", "10240", "0.09")],
        [("0", "10240", "0.09"), ("20480", "Inf", "0.05")],
        [("10240", "Inf", "0.09")],
        [("0", "Inf", "0.09"), ("0", "Inf", "0.12")],
    ],
)
def test_tiers_with_gaps_or_two_prices_are_unknown(steps: list[tuple[str, str, str]]) -> None:
    made = egress.tiers_of([prices.parse(traffic(step)) for step in steps])
    assert made.get("us-east-1") is None


def test_a_region_without_published_figures_has_unknown_egress() -> None:
    assert egress.published("us-east-1") == egress.PUBLISHED
    assert egress.published("ap-south-2") is None


@given(st.integers(0, 400_000))
def test_the_first_100_gb_cost_nothing_and_more_never_costs_less(volume: int) -> None:
    def cost(gb: int) -> Decimal:
        total, reached = Decimal(0), Decimal(0)
        for tier in egress.PUBLISHED:
            top = Decimal(gb) if tier.up_to_gb is None else min(Decimal(gb), tier.up_to_gb)
            total += max(Decimal(0), top - reached) * tier.usd_per_gb
            reached = max(reached, top)
        return total

    assert cost(min(volume, 100)) == 0
    assert cost(volume + 1) >= cost(volume)
    assert cost(10_240) == Decimal("912.6")


def test_the_newest_spot_price_counts_and_windows_does_not() -> None:
    def row(usd: str, hour: int, product: str = "Linux/UNIX") -> dict[str, Any]:
        at = datetime(2026, 11, 22, hour, tzinfo=UTC)
        return {
            "InstanceType": "g6e.xlarge",
            "AvailabilityZone": "us-east-1a",
            "SpotPrice": usd,
            "Timestamp": at,
            "ProductDescription": product,
        }

    rows = [row("0.9", 3), row("0.8", 5), row("0.7", 4), row("2.5", 6, "Windows"), row("zero", 7), row("0", 8)]
    assert prices.spot(rows) == {("g6e.xlarge", "us-east-1a"): Decimal("0.8")}
