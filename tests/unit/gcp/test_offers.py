"""Offers: which there are, at which price, and what is said of those that cannot be had."""

from __future__ import annotations

from decimal import Decimal

import httpx
import pytest

from providers import errors
from providers.base import Query
from providers.env import ManualEnv
from providers.gcp import egress
from providers.gcp.adapter import Gcp
from providers.gcp.prices import Rates, Step
from tests.unit.gcp.conftest import offer_of
from tests.unit.gcp.google import NUMBER, Google, refusal, sku

BOTH = ("on-demand", "spot")


async def test_a_machine_costs_its_cores_memory_and_gpus(cloud: Gcp) -> None:
    offer = await offer_of(cloud, "g2-standard-4")
    assert offer.usd_per_hour == 4 * Decimal("0.024988") + 16 * Decimal("0.002927") + Decimal("0.560004")
    assert (offer.gpu, offer.gpu_count, offer.vcpus, offer.memory_gib) == ("l4", 1, 4.0, 16.0)
    assert (offer.account, offer.region, offer.country) == (NUMBER, "us-central1", "US")
    assert offer.storage_usd_per_gib_month == Decimal("0.1")
    assert offer.address_usd_per_hour == Decimal("0.005")


async def test_spot_has_its_own_prices_also_for_the_address(cloud: Gcp) -> None:
    offer = await offer_of(cloud, "g2-standard-4", "spot")
    assert offer.usd_per_hour == 4 * Decimal("0.01") + 16 * Decimal("0.001") + Decimal("0.2")
    assert offer.address_usd_per_hour == Decimal("0.0025")


async def test_local_ssds_that_come_along_are_paid(cloud: Gcp) -> None:
    offer = await offer_of(cloud, "a2-ultragpu-1g")
    ssd = 375 * Decimal("0.08") / 730
    assert offer.gpu == "a100-80gb"
    expected = 12 * Decimal("0.031611") + 170 * Decimal("0.004237") + Decimal("3.92808") + ssd
    assert offer.usd_per_hour == expected


async def test_a_gpu_slice_is_the_price_of_its_share_of_the_machine(cloud: Gcp) -> None:
    offer = await offer_of(cloud, "a4-highgpu-8g", "spot")
    assert (offer.gpu, offer.usd_per_hour) == ("b200", 8 * Decimal("4.5"))


async def test_gpus_are_attached_to_n1_machines_where_the_zone_has_them(cloud: Gcp) -> None:
    listing = await cloud.offers(Query(gpus=("t4",)))
    names = {offer.instance_type: offer for offer in listing.offers}
    assert set(names) == {"n1-standard-4+t4x1", "n1-standard-8+t4x1", "n1-standard-16+t4x2"}
    assert names["n1-standard-16+t4x2"].gpu_count == 2
    assert names["n1-standard-4+t4x1"].usd_per_hour == 4 * Decimal("0.031611") + 15 * Decimal("0.004237") + Decimal(
        "0.35"
    )


async def test_what_is_not_sold_on_demand_is_not_offered_on_demand(cloud: Gcp) -> None:
    listing = await cloud.offers(Query(pricing=BOTH))
    on_demand = {offer.instance_type for offer in listing.offers if offer.pricing == "on-demand"}
    assert "a3-highgpu-8g" in on_demand
    assert not {"a3-highgpu-1g", "a4-highgpu-8g"} & on_demand


async def test_only_searched_regions_are_offered(cloud: Gcp) -> None:
    listing = await cloud.offers(Query(gpus=("l4",)))
    assert {offer.region for offer in listing.offers} == {"us-central1", "europe-west4"}


async def test_only_the_families_that_may_hold_the_gpu_are_asked_for(cloud: Gcp, google: Google) -> None:
    await cloud.offers(Query(gpus=("l4",)))
    [call] = google.sent("GET", "/aggregated/machineTypes")
    assert call.url.params["filter"] == 'name eq "g2-.+"'
    assert google.sent("GET", "/aggregated/acceleratorTypes") == []


@pytest.mark.parametrize("gpu", ["l40", "l40s", "a10", "rtx-6000-ada"])
async def test_a_gpu_that_google_never_had_is_answered_without_asking(cloud: Gcp, google: Google, gpu: str) -> None:
    listing = await cloud.offers(Query(gpus=(gpu,)))
    assert listing.offers == []
    assert listing.note.startswith(f"rents no {gpu.upper()} (it has L4, T4")
    assert google.calls == []


async def test_a_used_up_quota_marks_offers_and_says_which(cloud: Gcp, google: Google) -> None:
    google.quotas["us-central1"] = [{"metric": "NVIDIA_L4_GPUS", "limit": 1.0, "usage": 0.0}]
    listing = await cloud.offers(Query(gpus=("l4",)))
    available = {(offer.zone, offer.instance_type): offer.available for offer in listing.offers}
    assert available["us-central1-a", "g2-standard-4"] is None
    assert available["us-central1-a", "g2-standard-24"] is False
    assert available["europe-west4-b", "g2-standard-4"] is None
    assert "NVIDIA_L4_GPUS 0 of 1 used in us-central1" in listing.note


async def test_the_quota_of_all_regions_counts_everywhere(cloud: Gcp, google: Google) -> None:
    google.project_quotas = [{"metric": "GPUS_ALL_REGIONS", "limit": 0.0, "usage": 0.0}]
    listing = await cloud.offers(Query(gpus=("l4",)))
    assert {offer.available for offer in listing.offers} == {False}
    assert "GPUS_ALL_REGIONS 0 of 0 used" in listing.note


async def test_spot_may_use_either_quota(cloud: Gcp, google: Google) -> None:
    google.quotas["us-central1"] = [
        {"metric": "PREEMPTIBLE_NVIDIA_L4_GPUS", "limit": 0, "usage": 0},
        {"metric": "NVIDIA_L4_GPUS", "limit": 1, "usage": 0},
    ]
    assert (await offer_of(cloud, "g2-standard-4", "spot")).available is None
    google.quotas["us-central1"][1]["limit"] = 0
    assert (await offer_of(cloud, "g2-standard-4", "spot")).available is False


async def test_quotas_that_may_not_be_read_leave_it_open(cloud: Gcp, google: Google) -> None:
    google.answer("GET", "regions", refusal(403, "forbidden", "Required 'compute.regions.list' permission for 'x'"))
    listing = await cloud.offers(Query(gpus=("l4",)))
    assert {offer.available for offer in listing.offers} == {None}
    assert "compute.regions.list" in listing.note


async def test_a_price_list_that_breaks_off_raises(cloud: Gcp, google: Google) -> None:
    billing = "v1/services/6F81-5844-456A/skus"
    google.answer("GET", billing, *[refusal(403, "accessNotConfigured", "Cloud Billing API has not been used")])
    with pytest.raises(errors.Forbidden, match="enable the Compute Engine and Cloud Billing APIs"):
        await cloud.offers(Query(gpus=("l4",)))


async def test_a_zone_that_cannot_be_read_makes_the_listing_partial(cloud: Gcp, google: Google) -> None:
    body = {
        "kind": "compute#machineTypeAggregatedList",
        "items": {
            "zones/us-central1-a": {"machineTypes": google.types["us-central1-a"]},
            "zones/us-central1-b": {"warning": {"code": "UNREACHABLE"}},
        },
    }
    google.answer("GET", "aggregated/machineTypes", httpx.Response(200, json=body))
    listing = await cloud.offers(Query(gpus=("l4",)))
    assert listing.partial
    assert "us-central1-b" in listing.note


async def test_the_price_list_is_read_once_in_hours(cloud: Gcp, google: Google, env: ManualEnv) -> None:
    await cloud.offers(Query(gpus=("l4",)))
    await cloud.offers(Query(gpus=("t4",)))
    assert len(google.sent("GET", "/skus")) == 2  # its two pages
    env.advance(7 * 3600)
    await cloud.offers(Query(gpus=("l4",)))
    assert len(google.sent("GET", "/skus")) == 4


async def test_a_requote_reads_only_the_page_of_its_prices_and_sees_a_change(cloud: Gcp, google: Google) -> None:
    offer = await offer_of(cloud, "g2-standard-4")
    same = await cloud.price(offer)
    assert same is not None
    assert same.usd_per_hour == offer.usd_per_hour
    google.skus[0][2] = sku("Nvidia L4 GPU running in Americas", "1.560004")
    google.calls.clear()
    quote = await cloud.price(offer)
    assert quote is not None
    assert offer.usd_per_hour is not None
    assert quote.usd_per_hour == offer.usd_per_hour + 1
    assert len(google.sent("GET", "/skus")) == 1


async def test_a_requote_reads_everything_again_where_the_pages_have_moved(cloud: Gcp, google: Google) -> None:
    offer = await offer_of(cloud, "g2-standard-4")
    google.skus.reverse()
    quote = await cloud.price(offer)
    assert quote is not None
    assert quote.usd_per_hour == offer.usd_per_hour


async def test_a_type_that_the_zone_lost_is_not_quoted(cloud: Gcp, google: Google) -> None:
    offer = await offer_of(cloud, "g2-standard-4")
    google.types["us-central1-a"] = []
    assert await cloud.price(offer) is None


async def test_a_part_without_a_price_makes_the_whole_unknown_and_never_cheap(cloud: Gcp, google: Google) -> None:
    google.skus[0] = [row for row in google.skus[0] if "Ram" not in row["description"]]
    assert (await offer_of(cloud, "g2-standard-4")).usd_per_hour is None


async def test_the_cheaper_network_tier_is_taken_and_sent(cloud: Gcp) -> None:
    offer = await offer_of(cloud, "g2-standard-4")
    assert offer.egress_route == "Standard Tier"
    assert offer.native["network_tier"] == "STANDARD"
    assert offer.egress is not None
    assert offer.egress[0].usd_per_gb == Decimal("0.085") / Decimal("1.073741824")
    assert offer.egress[0].up_to_gb == 10240 * Decimal("1.073741824")
    assert offer.egress[-1].up_to_gb is None


def test_where_the_standard_tier_is_not_known_premium_is_taken() -> None:
    way = egress.route("asia-southeast1", Rates())
    assert (way.network_tier, way.evidence) == ("PREMIUM", "claim")
    assert egress.route("africa-south1", Rates()).tiers is None


def test_a_free_allowance_is_a_tier_of_nothing() -> None:
    tiers = egress.in_gb((Step(Decimal(0), Decimal(0)), Step(Decimal(200), Decimal("0.085"))))
    assert tiers is not None
    assert [tier.usd_per_gb == 0 for tier in tiers] == [True, False]
    assert egress.in_gb((Step(Decimal(5), Decimal(1)),)) is None


async def test_disks_are_of_the_kind_that_the_machine_boots_from(cloud: Gcp) -> None:
    assert (await offer_of(cloud, "g4-standard-48")).native["disk_type"] == "hyperdisk-balanced"
    assert (await offer_of(cloud, "g2-standard-4")).native["disk_type"] == "pd-balanced"


async def test_a_part_of_a_gpu_is_never_taken_for_a_whole_one(cloud: Gcp) -> None:
    part, whole = await offer_of(cloud, "g4-standard-6"), await offer_of(cloud, "g4-standard-48")
    assert (part.gpu_fraction, part.gpu_memory_gib, part.usd_per_hour) == (0.125, 12.0, None)
    assert (whole.gpu_fraction, whole.gpu_memory_gib) == (1.0, 96.0)
    assert whole.usd_per_hour == 48 * Decimal("0.03") + 180 * Decimal("0.003") + Decimal("2.5")


@pytest.mark.parametrize("reason", ["invalid", "notFound"])
async def test_a_page_token_that_google_has_forgotten_makes_the_list_be_read_anew(
    cloud: Gcp, google: Google, reason: str
) -> None:
    offer = await offer_of(cloud, "n1-standard-4+t4x1")
    status = 404 if reason == "notFound" else 400
    billing = "v1/services/6F81-5844-456A/skus"
    google.answer("GET", billing, refusal(status, reason, "Page token is invalid or has expired"))
    quote = await cloud.price(offer)
    assert quote is not None
    assert quote.usd_per_hour == offer.usd_per_hour


async def test_a_requote_of_one_price_makes_no_other_cheaper(cloud: Gcp, google: Google) -> None:
    # Two SKUs for the same GPU, on two pages: the dearer is promised.
    google.skus[0].append(sku("Nvidia Tesla T4 GPU running in Americas", "0.05"))
    dear = await offer_of(cloud, "n1-standard-4+t4x1")
    await cloud.price(await offer_of(cloud, "g2-standard-4"))  # reads the page with the cheaper one
    again = await offer_of(cloud, "n1-standard-4+t4x1")
    assert again.usd_per_hour == dear.usd_per_hour


async def test_a_zone_whose_gpus_cannot_be_read_makes_the_listing_partial_and_no_offer_gone(
    cloud: Gcp, google: Google
) -> None:
    offer = await offer_of(cloud, "n1-standard-4+t4x1")
    body = {
        "kind": "compute#acceleratorTypeAggregatedList",
        "items": {"zones/us-central1-a": {"warning": {"code": "UNREACHABLE"}}},
    }
    google.answer("GET", "aggregated/acceleratorTypes", *[httpx.Response(200, json=body)] * 2)
    listing = await cloud.offers(Query(gpus=("t4",)))
    assert listing.partial
    assert "us-central1-a" in listing.note
    with pytest.raises(errors.Unavailable):
        await cloud.price(offer)
