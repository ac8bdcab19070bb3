"""Google Cloud's emulator: the price catalogue, whose parts make a machine, and what only looks like a part."""

from __future__ import annotations

from decimal import Decimal

from providers.gcp.emulator_options import Options
from tests.contract.gcp_bench import BILLING, SPOT_USD, USD, bench
from tests.contract.gcp_prices import only, price, usd


async def test_services_are_listed_and_compute_engine_has_its_well_known_id() -> None:
    async with bench() as served:
        found = (await served.http.get("/v1/services")).json()
        assert {"6F81-5844-456A": "Compute Engine"}.items() <= {
            row["serviceId"]: row["displayName"] for row in found["services"]
        }.items()
        assert found["nextPageToken"] == ""


async def test_a_machines_price_is_the_sum_of_its_parts() -> None:
    async with bench() as served:
        rows = await served.skus()
        assert price(rows, "us-central1", spot=False) == USD
        assert price(rows, "us-central1", spot=True) == SPOT_USD
        assert price(rows, "us-east4", spot=False) == USD * Decimal("1.12")
        assert only(rows, "Nvidia L4 GPU running", "us-central1")["description"].endswith("in Americas")
        assert only(rows, "Nvidia L4 GPU running", "europe-west4")["description"].endswith("in Netherlands")


async def test_one_g4_costs_what_dstack_saw() -> None:
    async with bench() as served:
        rows = await served.skus()
        parts = [only(rows, f"G4 Instance {part} running in Iowa", "us-central1") for part in ("Core", "Ram")]
        gpu = only(rows, "RTX 6000 96GB running in Iowa", "us-central1")
        assert 48 * usd(parts[0]) + 180 * usd(parts[1]) + usd(gpu) == Decimal("4.5001")


async def test_a_b200_is_a_slice_with_everything_whose_spot_price_is_called_on_demand() -> None:
    async with bench() as served:
        texts = ("A4 Nvidia B200 (1 gpu slice) running in", "Spot Preemptible A4 Nvidia B200 (1 gpu slice) running in")
        rows = [row for row in await served.skus() if row["description"].startswith(texts)]
        rows = [row for row in rows if "us-central1" in row["serviceRegions"]]
        found = {row["description"].partition(" running")[0]: usd(row) for row in rows}
        assert found["A4 Nvidia B200 (1 gpu slice)"] == Decimal("16.11")
        assert found["Spot Preemptible A4 Nvidia B200 (1 gpu slice)"] == Decimal("4.9542")
        assert {row["category"]["usageType"] for row in rows} == {"OnDemand"}
        assert not [row for row in await served.skus() if row["description"].startswith("A4 Instance Core")]


async def test_egress_has_tiers_and_standard_is_free_at_first() -> None:
    async with bench() as served:
        rows = await served.skus()
        premium = only(rows, "Network Internet Data Transfer Out from Americas to Americas", "us-central1")
        standard = only(rows, "Network Standard Data Transfer Out to Internet from Iowa", "us-central1")
        assert [usd(premium, tier) for tier in range(3)] == [Decimal("0.12"), Decimal("0.11"), Decimal("0.08")]
        rates = standard["pricingInfo"][0]["pricingExpression"]["tieredRates"]
        assert [rate["startUsageAmount"] for rate in rates] == [0, 200, 10240, 153600]
        assert [usd(standard, tier) for tier in range(4)] == [0, *map(Decimal, ("0.085", "0.065", "0.045"))]
        assert standard["pricingInfo"][0]["aggregationInfo"]["aggregationInterval"] == "MONTHLY"
        assert standard["category"]["resourceGroup"] == "StandardInternetEgress"


async def test_the_first_tier_of_an_address_and_of_a_standard_disk_is_free_and_no_price() -> None:
    async with bench() as served:
        rows = await served.skus()
        address = only(rows, "External IP Charge on a Standard VM", "us-central1")
        assert [usd(address, tier) for tier in range(2)] == [0, Decimal("0.005")]
        assert address["geoTaxonomy"] == {"type": "GLOBAL", "regions": []}
        disk = only(rows, "Storage PD Capacity", "us-central1")
        assert [usd(disk, tier) for tier in range(2)] == [0, Decimal("0.04")]
        assert usd(only(rows, "Balanced PD Capacity", "us-central1")) == Decimal("0.1")


async def test_decoys_stand_beside_every_part() -> None:
    async with bench() as served:
        here = [row for row in await served.skus() if "us-central1" in row["serviceRegions"]]
        for word in ("Sole Tenancy", "Custom", "Commitment v1", "DWS Defined Duration", "Calendar Mode", "Premium"):
            assert [row for row in here if word in row["description"]], word
        l4 = [row for row in here if "L4" in row["description"] and row["category"]["usageType"] == "OnDemand"]
        assert len({usd(row) for row in l4}) > 1
        assert {row["category"]["usageType"] for row in here} == {"OnDemand", "Preemptible", "Commit1Yr"}
        assert len({row["skuId"] for row in here}) == len(here)


async def test_the_catalogue_is_paged() -> None:
    async with bench() as served:
        whole = await served.skus()
        assert await served.skus(pageSize="100") == whole
        served.emulator.options.sku_page = 300
        first = (await served.http.get(BILLING, params={"pageSize": "5000"})).json()
        assert (len(first["skus"]), first["nextPageToken"]) == (300, "300")


async def test_other_currencies_are_converted_and_unknown_ones_refused() -> None:
    async with bench() as served:
        euro = only(await served.skus(currencyCode="EUR"), "Nvidia L4 GPU running", "us-central1")
        rate = euro["pricingInfo"][0]["pricingExpression"]["tieredRates"][0]["unitPrice"]
        assert rate["currencyCode"] == "EUR"
        assert usd(euro) < Decimal("0.560004")
        assert (await served.http.get(BILLING, params={"currencyCode": "XXX"})).status_code == 400
        assert (await served.http.get("/v1/services/0000-0000-0000/skus")).status_code == 404
        assert (await served.http.get(BILLING, params={"pageSize": "x"})).status_code == 400


async def test_all_prices_that_the_emulator_bills_are_those_of_its_catalogue() -> None:
    async with bench(Options()) as served:
        rows, market = await served.skus(), served.emulator.market
        for name, region, zone in (
            ("g2-standard-4", "asia-southeast1", "asia-southeast1-b"),
            ("g2-standard-4", "us-west1", "us-west1-a"),
        ):
            for spot in (False, True):
                assert market.usd_per_hour(market.shapes[name], zone, spot=spot) == price(rows, region, spot=spot)
