"""What is offered: sizes, restrictions, quotas and prices joined, and the way out of each region."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from providers.azure import egress, quota, sizes
from providers.azure.adapter import Azure
from providers.azure.egress import Meter
from providers.base import Context, Query
from providers.env import ManualEnv
from providers.errors import AuthFailed, Unavailable
from tests.unit.azure.conftest import OWNER, SUBSCRIPTION
from tests.unit.azure.wire import Answer, Asked, Wire, refused, rows

BOTH: Any = ("on-demand", "spot")
T4, A10, SIXTH = "Standard_NC4as_T4_v3", "Standard_NV36ads_A10_v5", "Standard_NV6ads_A10_v5"
FAMILIES = {
    T4: "Standard NCASv3_T4 Family",
    A10: "StandardNVADSA10v5Family",
    SIXTH: "StandardNVADSA10v5Family",
}
CPUS = {T4: 4, A10: 36, SIXTH: 6}


def sku(name: str, region: str = "EastUS", *, restrictions: list[Any] | None = None, **more: str) -> dict[str, Any]:
    able = {"vCPUs": str(CPUS.get(name, 8)), "MemoryGB": "28", "GPUs": "1", "LowPriorityCapable": "True"}
    able |= {"HyperVGenerations": "V1,V2", **more}
    return {
        "resourceType": "virtualMachines",
        "name": name,
        "family": FAMILIES.get(name, "standardDFamily"),
        "locations": [region],
        "capabilities": [{"name": key, "value": value} for key, value in able.items()],
        "restrictions": restrictions or [],
    }


def usage(name: str, now: int, limit: int) -> dict[str, Any]:
    return {"unit": "Count", "currentValue": now, "limit": limit, "name": {"value": name, "localizedValue": f"{name}!"}}


def meter(
    name: str, usd: str, *, words: str = "", product: str = "Virtual Machines Series", **more: Any
) -> dict[str, Any]:
    return {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": float(usd),
        "armRegionName": "eastus",
        "effectiveStartDate": "2026-09-01T00:00:00Z",
        "meterName": f"{name}{words}",
        "skuName": f"{name}{words}",
        "productName": product,
        "serviceName": "Virtual Machines",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "armSkuName": name,
        **more,
    }


def items(*found: Any, link: str | None = None) -> Answer:
    return Answer(200, {"BillingCurrency": "USD", "Items": list(found), "NextPageLink": link, "Count": len(found)})


def sells(wire: Wire, *meters: dict[str, Any], extras: tuple[dict[str, Any], ...] = ()) -> None:
    def prices(asked: Asked) -> Answer:
        return items(*meters) if "Virtual Machines" in asked.query["$filter"] else items(*extras)

    wire.on("GET", "/api/retail/prices", prices)


@pytest.fixture
def shop(wire: Wire) -> Wire:
    """Three sizes in eastus, with quota for all."""
    wire.on("GET", "/skus", rows(sku(T4), sku(A10), sku(SIXTH), sku("Standard_D4s_v5"), {"resourceType": "disks"}))
    wire.on(
        "GET",
        "/usages",
        rows(
            usage("cores", 0, 200),
            usage("lowPriorityCores", 0, 100),
            usage("standardNCASv3_T4Family", 0, 64),
            usage("StandardNVADSA10v5Family", 0, 72),
        ),
    )
    sells(
        wire,
        meter(T4, "0.526"),
        meter(T4, "0.149", words=" Spot"),
        meter(T4, "0.2", words=" Low Priority"),
        meter(T4, "0.71", product="Virtual Machines NCasT4_v3 Series Windows"),
        meter(T4, "0.1", type="Reservation"),
        meter(T4, "9", unitOfMeasure="1 GB"),
        meter(A10, "3.2"),
        meter(SIXTH, "0.454"),
        meter(SIXTH, "0"),
        meter(SIXTH, "0.3", effectiveEndDate="2026-10-01T00:00:00Z"),
        meter(SIXTH, "0.9", effectiveStartDate="2027-01-01T00:00:00Z"),
    )
    return wire


async def test_sizes_restrictions_quotas_and_prices_are_joined(azure: Azure, shop: Wire, env: ManualEnv) -> None:
    listing = await azure.offers(Query(gpus=("t4",), pricing=BOTH))
    regular, spot = sorted(listing.offers, key=lambda offer: offer.pricing)
    assert (regular.offer_id, regular.usd_per_hour) == (f"azure/eastus/{T4}/on-demand", Decimal("0.526"))
    assert (spot.pricing, spot.usd_per_hour) == ("spot", Decimal("0.149"))
    assert (regular.gpu, regular.gpu_count, regular.gpu_fraction, regular.gpu_memory_gib) == ("t4", 1, 1.0, 16.0)
    assert (regular.vcpus, regular.memory_gib, regular.country) == (4, 28.0, "US")
    assert (regular.account, regular.observed_at, regular.available) == (SUBSCRIPTION, env.now(), None)
    assert regular.storage_usd_per_gib_month == Decimal("0.075")
    assert regular.native["generations"] == "V1,V2"
    assert listing.note == ""
    first = {one.path.rsplit("/", 1)[-1] for one in shop.asked[:2]}
    assert first == {"skus", "usages"}, "what may be rented is asked before what it costs"
    asked = shop.of("GET", "/prices")
    assert all("authorization" not in one.headers for one in asked), "the price list needs no key"
    [machines] = [one.query["$filter"] for one in asked if "Virtual Machines" in one.query["$filter"]]
    assert "priceType eq 'Consumption'" in machines
    assert f"armRegionName eq 'eastus' and armSkuName eq '{T4}'" in machines


async def test_parts_of_a_gpu_are_offered_as_parts(azure: Azure, shop: Wire) -> None:
    listing = await azure.offers(Query(gpus=("a10",)))
    by_size = {offer.instance_type: offer for offer in listing.offers}
    sixth = by_size[SIXTH]
    assert sixth.gpu_fraction == pytest.approx(1 / 6)
    assert sixth.gpu_memory_gib == pytest.approx(4.0)
    assert sixth.usd_per_hour == Decimal("0.454"), "expired, future and free meters do not count"
    assert by_size[A10].gpu_fraction == 1.0
    assert sixth.boot_s is not None
    assert sixth.boot_s > 300, "the driver is installed after the boot"


async def test_no_quota_and_a_restriction_are_shown_and_not_hidden(azure: Azure, shop: Wire) -> None:
    barred = {
        "type": "Location",
        "values": ["eastus"],
        "restrictionInfo": {"locations": ["EastUS"]},
        "reasonCode": "NotAvailableForSubscription",
    }
    zone = {"type": "Zone", "values": ["eastus"], "restrictionInfo": {"zones": ["1"]}, "reasonCode": "QuotaId"}
    shop.on("GET", "/skus", rows(sku(T4, restrictions=[zone]), sku(A10, restrictions=[barred, zone]), sku(SIXTH)))
    shop.on("GET", "/usages", rows(usage("cores", 0, 10), usage("standardnvadsa10v5family", 30, 35)))
    listing = await azure.offers(Query())
    by_size = {offer.instance_type: offer for offer in listing.offers}
    assert by_size[T4].available is None, "a barred zone does not bar the region, and an unlisted family is unknown"
    assert by_size[A10].available is False
    assert "NotAvailableForSubscription" in by_size[A10].native["unavailable"]
    assert by_size[SIXTH].available is False
    assert "5 of 6 vCPUs left" in by_size[SIXTH].native["unavailable"]
    assert "forbids 2 of 3 offers" in listing.note


async def test_spot_counts_against_its_own_quota_only(azure: Azure, shop: Wire) -> None:
    shop.on(
        "GET",
        "/usages",
        rows(usage("cores", 0, 0), usage("standardNCASv3_T4Family", 0, 0), usage("lowPriorityCores", 96, 100)),
    )
    listing = await azure.offers(Query(gpus=("t4",), pricing=BOTH))
    assert {offer.pricing: offer.available for offer in listing.offers} == {"on-demand": False, "spot": None}
    shop.on("GET", "/skus", rows(sku(T4, LowPriorityCapable="False")))
    listing = await azure.offers(Query(gpus=("t4",), pricing=BOTH))
    assert [offer.pricing for offer in listing.offers] == ["on-demand"]


async def test_quotas_that_cannot_be_read_leave_availability_unknown_and_say_so(azure: Azure, shop: Wire) -> None:
    shop.on("GET", "/usages", refused("AuthorizationFailed", 403, "no usages/read"))
    listing = await azure.offers(Query(gpus=("t4",)))
    assert [offer.available for offer in listing.offers] == [None]
    assert "quotas of eastus not read" in listing.note


@pytest.mark.parametrize("gpu", ["l40", "l40s", "l4", "mi300x"])
async def test_what_azure_does_not_rent_is_answered_without_asking(azure: Azure, wire: Wire, gpu: str) -> None:
    listing = await azure.offers(Query(gpus=(gpu,)))
    assert listing.offers == []
    assert listing.note.startswith("rents no ")
    assert "A10, T4, A100, H100, H200, RTX PRO 6000" in listing.note
    assert wire.asked == []


async def test_a_region_that_fails_is_noted_and_all_failing_raises(context: Context, shop: Wire) -> None:
    settings = {**context.settings, "ORCH_AZURE_REGIONS": "eastus, westus9"}
    two = Azure(Context(env=context.env, settings=settings, owner=OWNER))
    shop.on("GET", "/locations/westus9/usages", rows())

    def skus(asked: Asked) -> Answer:
        bad = "westus9" in asked.query["$filter"]
        return refused("NoRegisteredProviderFound", 400, "no such location") if bad else rows(sku(T4))

    shop.on("GET", "/skus", skus)
    try:
        listing = await two.offers(Query(gpus=("t4",)))
        assert [offer.region for offer in listing.offers] == ["eastus"]
        assert listing.partial
        assert "westus9 not read" in listing.note
        shop.on("GET", "/skus", refused("InvalidAuthenticationToken", 401))
        with pytest.raises(AuthFailed):
            await two.offers(Query(gpus=("t4",)))
    finally:
        await two.aclose()


async def test_the_price_list_is_read_to_its_last_page_and_only_on_its_own_host(azure: Azure, shop: Wire) -> None:
    def prices(asked: Asked) -> Answer:
        if "Virtual Machines" not in asked.query.get("$filter", "") and "$skip" not in asked.query:
            return items()
        if asked.query.get("$skip") == "1000":
            return items(meter(T4, "0.526"))
        return items(link="https://prices.azure.com:443/api/retail/prices?$filter=x&$skip=1000")

    shop.on("GET", "/api/retail/prices", prices)
    listing = await azure.offers(Query(gpus=("t4",)))
    assert [offer.usd_per_hour for offer in listing.offers] == [Decimal("0.526")]


async def test_a_price_list_that_cannot_be_read_is_no_empty_market(azure: Azure, shop: Wire) -> None:
    shop.on("GET", "/api/retail/prices", Answer(200, {"oops": []}))
    with pytest.raises(Unavailable):
        await azure.offers(Query(gpus=("t4",)))
    listing_of = (await _t4(azure, shop)).offers[0]
    shop.on("GET", "/api/retail/prices", Answer(404, text="nothing here"))
    with pytest.raises(Unavailable):
        await azure.price(listing_of)


async def _t4(azure: Azure, shop: Wire) -> Any:
    sells(shop, meter(T4, "0.526"), meter(T4, "0.149", words=" Spot"))
    return await azure.offers(Query(gpus=("t4",), pricing=BOTH))


async def test_a_quote_is_one_call_for_exactly_that_offer(azure: Azure, shop: Wire) -> None:
    for offer in (await _t4(azure, shop)).offers:
        before = len(shop.asked)
        quote = await azure.price(offer)
        assert quote is not None
        assert (quote.offer_id, quote.usd_per_hour) == (offer.offer_id, offer.usd_per_hour)
        assert len(shop.asked) == before + 1
        sells(shop, meter(T4, "1.052"), meter(T4, "0.298", words=" Spot"))
        dearer = await azure.price(offer)
        assert dearer is not None
        assert dearer.usd_per_hour == 2 * (offer.usd_per_hour or 0)
        sells(shop)
        assert await azure.price(offer) is None
        await _t4(azure, shop)


async def test_the_cheaper_way_out_is_chosen_named_and_launched_with(azure: Azure, shop: Wire) -> None:
    plain = (await azure.offers(Query(gpus=("t4",)))).offers[0]
    assert (plain.egress_evidence, plain.native["route"]) == ("claim", "internet")
    assert plain.egress is not None
    assert [tier.usd_per_gb for tier in plain.egress] == [0, Decimal("0.04")]

    def out(product: str, begin: float, usd: str) -> dict[str, Any]:
        line = meter("", usd, product=product, unitOfMeasure="1 GB", tierMinimumUnits=begin, serviceName="Bandwidth")
        return {**line, "meterName": "Standard Data Transfer Out"}

    net = "Bandwidth - Routing Preference: Internet"
    extras = (
        out("Rtn Preference: MGN", 0, "0"),
        out("Rtn Preference: MGN", 100, "0.087"),
        out(net, 0, "0"),
        out(net, 100, "0.05"),
        out(net, 10340, "0.045"),
        {**meter("", "9.6", unitOfMeasure="1/Month"), "meterName": "E10 LRS Disk"},
        {**meter("", "0.0036"), "meterName": "Standard IPv4 Static Public IP"},
    )
    sells(shop, meter(T4, "0.526"), extras=extras)
    live = (await azure.offers(Query(gpus=("t4",)))).offers[0]
    assert (live.egress_evidence, live.egress_route) == ("contract", "internet routing preference (ISP)")
    assert live.egress is not None
    assert [(tier.up_to_gb, tier.usd_per_gb) for tier in live.egress] == [
        (100, 0),
        (10340, Decimal("0.05")),
        (None, Decimal("0.045")),
    ]
    assert live.storage_usd_per_gib_month == Decimal("9.6") / 128
    assert live.address_usd_per_hour == Decimal("0.0036")


def test_microsofts_network_is_taken_where_it_is_cheaper_and_unknown_stays_unknown() -> None:
    meters = [
        Meter("microsoft", Decimal(0), Decimal("0.01")),
        Meter("internet", Decimal(0), Decimal("0.02")),
    ]
    best = egress.best("eastus", meters)
    assert best is not None
    assert best.route == "microsoft"
    assert egress.best("southafricanorth", []) is None
    gap = egress.best("southafricanorth", [Meter("internet", Decimal(100), Decimal("0.02"))])
    assert gap is None, "tiers that do not begin at 0 are no price list"
    europe = egress.best("westeurope", [])
    assert europe is not None
    assert europe.route == "microsoft"
    assert europe.tiers[-1].up_to_gb is None


# -- sizes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "gpu", "count", "fraction", "driver"),
    [
        ("Standard_NV6ads_A10_v5", "a10", 1, 1 / 6, "grid"),
        ("Standard_NV12ads_A10_v5", "a10", 1, 1 / 3, "grid"),
        ("Standard_NV18ads_A10_v5", "a10", 1, 1 / 2, "grid"),
        ("Standard_NV36adms_A10_v5", "a10", 1, 1, "grid"),
        ("Standard_NV72ads_A10_v5", "a10", 2, 1, "grid"),
        ("standard_nc64as_t4_v3", "t4", 4, 1, "cuda"),
        ("Standard_NC48ads_A100_v4", "a100-80gb", 2, 1, "cuda"),
        ("Standard_ND96asr_v4", "a100-40gb", 8, 1, "cuda"),
        ("Standard_ND96amsr_A100_v4", "a100-80gb", 8, 1, "cuda"),
        ("Standard_NC80adis_H100_v5", "h100-nvl", 2, 1, "cuda"),
        ("Standard_ND96isr_H100_v5", "h100-sxm", 8, 1, "cuda"),
        ("Standard_ND96isr_H200_v5", "h200", 8, 1, "cuda"),
        ("Standard_NC144ds_xl_RTXPRO6000BSE_v6", "rtx-pro-6000", 1, 1, "own"),
        ("Standard_NC36lds_xl_RTXPRO6000BSE_v6", "rtx-pro-6000", 1, 1 / 4, "own"),
    ],
)
def test_a_size_says_what_it_holds(name: str, gpu: str, count: int, fraction: float, driver: str) -> None:
    found = sizes.held(name)
    assert found is not None
    assert (found.gpu, found.number, found.driver) == (gpu, count, driver)
    assert found.fraction == pytest.approx(fraction)


@pytest.mark.parametrize(
    "name",
    ["Standard_D4s_v5", "Standard_NC6s_v3", "Standard_NV12s_v3", "Standard_NV4as_v4", "Standard_NV7ads_A10_v5", ""],
)
def test_other_retired_and_impossible_sizes_are_none_of_ours(name: str) -> None:
    assert sizes.held(name) is None


def test_every_priced_size_of_the_public_table_is_known_or_left_out_on_purpose(spec_dir: Path) -> None:
    file = spec_dir / "azure" / "gpu-ondemand-usd-per-hour.2026-06-18.json"
    if not file.is_file():
        pytest.skip("official specs of Azure are not there: set ORCH_SPEC_DIR")
    unknown = {name for name in json.loads(file.read_text())["prices"] if sizes.held(name) is None}
    small = {f"Standard_NC{cpus}lds_xl_RTXPRO6000BSE_v6" for cpus in (8, 16, 24)}
    assert unknown == {"Standard_NCC40ads_H100_v5", *small}


def test_the_official_lists_can_be_read(spec_dir: Path) -> None:
    folder = spec_dir / "azure"
    if not folder.is_dir():
        pytest.skip("official specs of Azure are not there: set ORCH_SPEC_DIR")
    document = json.loads((folder / "ListAvailableResourceSkusForARegion.json").read_text())
    listed = document["responses"]["200"]["body"]["value"]
    region = str(listed[0]["locations"][0]).lower()
    found = quota.sizes(listed, region)
    machines = [row for row in listed if row["resourceType"] == "virtualMachines"]
    assert [one.name for one in found] == [row["name"] for row in machines if region in str(row["locations"]).lower()]
    usage_rows = json.loads((folder / "Usage_List_MaximumSet_Gen.json").read_text())["responses"]["200"]["body"][
        "value"
    ]
    held = quota.usages(usage_rows)
    assert {(one.now, one.limit) for one in held.values()} == {(r["currentValue"], r["limit"]) for r in usage_rows}


@pytest.mark.parametrize(
    "row", [None, 1, {}, {"name": 3}, {"resourceType": "virtualMachines", "name": "x", "locations": 4}]
)
def test_strange_rows_do_not_crash(row: Any) -> None:
    quota.sizes([row], "eastus")
    quota.usages([row])
