from __future__ import annotations

from copy import deepcopy
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import respx

from providers.base import Offer, Query
from providers.env import ManualEnv
from providers.errors import InvalidRequest, ProviderError, Unavailable
from providers.lambda_cloud import offers
from providers.lambda_cloud.adapter import Lambda
from providers.lambda_cloud.places import country_of
from tests.contract import lambda_golden as golden
from tests.unit.lambda_cloud.conftest import ACCOUNT

NOW = ManualEnv().now()
TYPES: dict[str, Any] = golden.INSTANCE_TYPES["data"]


def sold(name: str, **changes: Any) -> list[Offer]:
    """The offers of a golden type, with other fields in its `instance_type`."""
    item = deepcopy(TYPES[name])
    item["instance_type"] |= changes
    return list(offers.offers_of(name, item, account=ACCOUNT, now=NOW))


async def test_a_type_is_offered_once_in_each_region_that_has_it(cloud: Lambda, wire: respx.MockRouter) -> None:
    wire.get(golden.INSTANCE_TYPES_PATH).respond(json=golden.INSTANCE_TYPES)
    listing = await cloud.offers(Query(gpus=("a10",)))
    assert [(o.offer_id, o.region, o.country, o.available) for o in listing.offers] == [
        ("lambda/gpu_1x_a10/us-west-1", "us-west-1", "US", True),
        ("lambda/gpu_1x_a10/europe-central-1", "europe-central-1", "DE", True),
    ]
    assert (listing.partial, listing.note) == (False, "")


def test_an_offer_says_all_that_the_list_says() -> None:
    [offer] = sold("gpu_8x_h100_sxm5")
    assert (offer.gpu, offer.gpu_count, offer.gpu_memory_gib) == ("h100-sxm", 8, 80.0)
    assert (offer.vcpus, offer.memory_gib, offer.disk_gib, offer.disk_max_gib) == (208.0, 1800.0, 22528.0, 22528.0)
    assert (offer.usd_per_hour, offer.pricing, offer.market) == (Decimal("31.92"), "on-demand", "specialist")
    assert (offer.workloads, offer.arch, offer.instance_type) == (("vm",), "x86_64", "gpu_8x_h100_sxm5")
    assert (offer.account, offer.observed_at, offer.boot_s) == (ACCOUNT, NOW, 750.0)
    assert (offer.reliability, offer.reliability_source) == (0.99, "assumed by tier")
    assert offer.native == {"instance_type": "gpu_8x_h100_sxm5", "region": "us-south-1", "arch": "x86_64"}


def test_traffic_is_free_by_the_vendors_claim_and_minutes_count_from_when_it_is_up() -> None:
    [offer, _] = sold("gpu_1x_a10")
    assert offer.egress is not None
    assert [(tier.up_to_gb, tier.usd_per_gb) for tier in offer.egress] == [(None, Decimal(0))]
    assert (offer.egress_evidence, offer.ingress_usd_per_gb) == ("claim", Decimal(0))
    assert (offer.billing.increment_s, offer.billing.minimum_s, offer.billing.while_booting) == (60, 0, False)
    assert (offer.compliance, offer.compliance_evidence) == ((), None)
    assert offer.storage_usd_per_gib_month is None


def test_what_no_region_has_is_offered_once_and_sold_out() -> None:
    [offer] = sold("gpu_8x_a100_80gb_sxm4")
    assert (offer.offer_id, offer.gpu) == ("lambda/gpu_8x_a100_80gb_sxm4/-", "a100-80gb")
    assert (offer.available, offer.region, offer.country) == (False, None, None)
    assert offer.usd_per_hour == Decimal("22.32")


@pytest.mark.parametrize(
    ("name", "gpu", "count", "arch"),
    [
        ("gpu_1x_a10", "a10", 1, "x86_64"),
        ("gpu_1x_rtx6000", "quadro-rtx-6000", 1, "x86_64"),
        ("gpu_2x_a6000", "rtx-a6000", 2, "x86_64"),
        ("gpu_1x_a100_sxm4", "a100-40gb", 1, "x86_64"),
        ("gpu_8x_a100_80gb_sxm4", "a100-80gb", 8, "x86_64"),
        ("gpu_1x_h100_pcie", "h100-pcie", 1, "x86_64"),
        ("gpu_1x_gh200", "gh200", 1, "arm64"),
        ("gpu_1x_b200_sxm6", "b200", 1, "x86_64"),
        ("gpu_8x_v100", "v100-16gb", 8, "x86_64"),
    ],
)
def test_models_are_read_from_their_descriptions(name: str, gpu: str, count: int, arch: str) -> None:
    found = sold(name)
    assert {(o.gpu, o.gpu_count, o.arch, o.native["arch"]) for o in found} == {(gpu, count, arch, arch)}


def test_a_rtx_6000_of_24_gb_is_never_the_ada_one() -> None:
    [offer] = sold("gpu_1x_rtx6000", gpu_description="RTX 6000 (24 GB)")
    assert offer.gpu == "quadro-rtx-6000"
    [offer] = sold("gpu_1x_rtx6000", gpu_description="RTX 6000", description="1x RTX 6000")
    assert offer.gpu == "rtx6000"  # without its memory nobody can tell, so it is no model of ours


@pytest.mark.parametrize(
    ("changes", "gpu", "count"),
    [
        ({"gpu_description": None}, "a10", 1),
        ({"gpu_description": "A10", "description": "1x A10 (24 GB PCIe)"}, "a10", 1),
        ({"gpu_description": None, "description": None}, "a10", 1),
        ({"gpu_description": "Tesla A10 (24 GB)", "specs": {}}, "a10", 1),
        ({"gpu_description": None, "description": "4x A10 (24 GB PCIe)", "specs": None}, "a10", 4),
        ({"gpu_description": "H100 (94 GB SXM5)"}, "h100", 1),
        ({"gpu_description": "A10 (12 GB PCIe)"}, "a10-12gib", 1),
        ({"gpu_description": "Quantum 9 (512 GB)"}, "quantum-9", 1),
    ],
)
def test_missing_and_strange_descriptions_are_read_with_care(changes: dict[str, Any], gpu: str, count: int) -> None:
    assert {(o.gpu, o.gpu_count) for o in sold("gpu_1x_a10", **changes)} == {(gpu, count)}


def test_a_type_without_gpus_is_no_offer() -> None:
    assert sold("cpu_4x_general") == []
    assert sold("gpu_1x_a10", specs={"gpus": 0}) == []


def test_an_entry_that_does_not_name_its_regions_is_neither_there_nor_sold_out() -> None:
    item = {"instance_type": TYPES["gpu_1x_a10"]["instance_type"]}
    [offer] = offers.offers_of("gpu_1x_a10", item, account=ACCOUNT, now=NOW)
    assert (offer.available, offer.region) == (None, None)


@pytest.mark.parametrize(
    ("cents", "usd"),
    [
        (129, Decimal("1.29")),
        ("129", Decimal("1.29")),
        (Decimal("129.5"), Decimal("1.295")),
        (0, None),
        (-5, None),
        (None, None),
        ("", None),
        ("free", None),
        ("NaN", None),
        (True, None),
        (10**9, None),
        ([129], None),
    ],
)
def test_a_price_is_cents_and_what_is_no_price_is_unknown(cents: Any, usd: Decimal | None) -> None:
    assert offers.usd_per_hour(cents) == usd
    assert {offer.usd_per_hour for offer in sold("gpu_1x_a10", price_cents_per_hour=cents)} == {usd}


@pytest.mark.parametrize("gpu", ["l40", "l40s", "l4", "t4", "rtx-6000-ada"])
async def test_it_says_that_it_rents_no_l40(cloud: Lambda, wire: respx.MockRouter, gpu: str) -> None:
    wire.get(golden.INSTANCE_TYPES_PATH).respond(json=golden.INSTANCE_TYPES)
    listing = await cloud.offers(Query(gpus=(gpu,)))
    assert listing.offers == []
    assert listing.note.startswith(f"rents no {gpu} (it has ")


async def test_a_missing_model_is_named_beside_those_that_are_there(cloud: Lambda, wire: respx.MockRouter) -> None:
    wire.get(golden.INSTANCE_TYPES_PATH).respond(json=golden.INSTANCE_TYPES)
    listing = await cloud.offers(Query(gpus=("l40", "b200")))
    assert [offer.gpu for offer in listing.offers] == ["b200"]
    assert listing.note.startswith("rents no l40 (it has ")
    assert listing.note.endswith("; sold out in every region now")


async def test_all_models_are_listed_each_offer_once(cloud: Lambda, wire: respx.MockRouter) -> None:
    wire.get(golden.INSTANCE_TYPES_PATH).respond(json=golden.INSTANCE_TYPES)
    listing = await cloud.offers(Query())
    ids = [offer.offer_id for offer in listing.offers]
    assert len(ids) == len(set(ids)) == 11
    for offer in listing.offers:
        assert msgspec.json.decode(msgspec.json.encode(offer), type=Offer) == offer


async def test_a_market_of_spot_machines_is_not_asked_for(cloud: Lambda, wire: respx.MockRouter) -> None:
    listing = await cloud.offers(Query(pricing=("spot",)))
    assert (listing.offers, listing.note) == ([], "rents on demand only")
    assert not wire.calls


@pytest.mark.parametrize("answer", [{"data": []}, {"data": None}, {}, [], "x"])
async def test_a_list_that_cannot_be_read_raises(cloud: Lambda, wire: respx.MockRouter, answer: Any) -> None:
    wire.get(golden.INSTANCE_TYPES_PATH).respond(json=answer)
    with pytest.raises(Unavailable) as caught:
        await cloud.offers(Query())
    assert caught.value.code == "malformed"


async def test_an_empty_catalogue_says_so(cloud: Lambda, wire: respx.MockRouter) -> None:
    wire.get(golden.INSTANCE_TYPES_PATH).respond(json={"data": {}})
    assert (await cloud.offers(Query())).note == "lists no GPUs"


async def test_a_path_that_is_not_there_is_no_empty_list(cloud: Lambda, wire: respx.MockRouter) -> None:
    wire.get(golden.INSTANCE_TYPES_PATH).respond(404, json=golden.ERRORS["not-found"][1])
    with pytest.raises(Unavailable):
        await cloud.offers(Query())


# -- quotes ------------------------------------------------------------------------------------------------


async def quote(cloud: Lambda, wire: respx.MockRouter, offer: Offer, types: Any) -> Offer | None:
    wire.get(golden.INSTANCE_TYPES_PATH).respond(json={"data": types})
    return await cloud.price(offer)


async def test_a_quote_has_the_price_of_now(cloud: Lambda, wire: respx.MockRouter, env: ManualEnv) -> None:
    [offer, _] = sold("gpu_1x_a10")
    env.advance(60)
    types = deepcopy(TYPES)
    types["gpu_1x_a10"]["instance_type"]["price_cents_per_hour"] = 150
    fresh = await quote(cloud, wire, offer, types)
    assert fresh == msgspec.structs.replace(offer, usd_per_hour=Decimal("1.50"), observed_at=env.now())


async def test_a_region_that_has_none_any_more_is_sold_out(cloud: Lambda, wire: respx.MockRouter) -> None:
    [offer, _] = sold("gpu_1x_a10")
    types = deepcopy(TYPES)
    del types["gpu_1x_a10"]["regions_with_capacity_available"][0]
    fresh = await quote(cloud, wire, offer, types)
    assert fresh is not None
    assert fresh.available is False


async def test_a_type_that_is_not_listed_any_more_is_gone(cloud: Lambda, wire: respx.MockRouter) -> None:
    [offer, _] = sold("gpu_1x_a10")
    assert await quote(cloud, wire, offer, {}) is None


async def test_an_offer_without_a_region_stays_sold_out(cloud: Lambda, wire: respx.MockRouter) -> None:
    [offer] = sold("gpu_8x_v100")
    types = deepcopy(TYPES)
    types["gpu_8x_v100"]["regions_with_capacity_available"] = [{"name": "us-west-1", "description": "California, USA"}]
    fresh = await quote(cloud, wire, offer, types)
    assert fresh is not None
    assert fresh.available is False  # the same type in that region is another offer


async def test_another_providers_offer_is_not_quoted(cloud: Lambda) -> None:
    with pytest.raises(InvalidRequest):
        await cloud.price(Offer(offer_id="vast/1", provider="vast", gpu="a10"))


async def test_a_bad_key_fails_the_listing(cloud: Lambda, wire: respx.MockRouter) -> None:
    wire.get(golden.INSTANCE_TYPES_PATH).respond(401, json=golden.ERRORS["invalid-api-key"][1])
    with pytest.raises(ProviderError) as caught:
        await cloud.offers(Query())
    assert caught.value.type == "AuthFailed"


# -- places ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("region", "description", "country"),
    [
        ("us-west-1", "California, USA", "US"),
        ("us-midwest-1", None, "US"),
        ("us-south-1", "Texas", "US"),
        ("europe-central-1", "Germany", "DE"),
        ("europe-central-1", "Frankfurt, Germany", "DE"),
        ("me-west-1", "Tel Aviv, Israel", "IL"),
        ("asia-northeast-1", "Osaka, Japan", "JP"),
        ("asia-south-1", "India", "IN"),
        ("australia-east-1", "Sydney, Australia", "AU"),
        ("europe-south-1", "Southern Europe", None),
        ("europe-south-1", None, None),
        ("asia-northeast-2", "", None),
        ("eu-west-9", "Georgia", None),
        ("us-east-1", "Berlin, Germany", None),
    ],
)
def test_a_country_is_named_only_where_it_is_certain(region: str, description: str | None, country: str | None) -> None:
    assert country_of(region, description) == country
