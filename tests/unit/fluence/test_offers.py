from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
import pytest

from providers.base import EgressTier, Offer, Query
from providers.errors import InvalidRequest, ProviderError, Unavailable
from tests.contract import fluence_golden as golden
from tests.unit.fluence.kit import (
    World,
    changed,
    container_offer,
    listing,
    serve_golden_plans,
    serve_plans,
    vm_offer,
    without,
)


def vm_plans(gpu: dict[str, Any] | None = None, count: int = 1, **option: Any) -> dict[str, Any]:
    """The VM sample with another GPU, count or option."""
    group = golden.VM_PLANS["data"][0]
    level = group["availability_by_number"][0]
    options = [changed(level["options"][0], **option)]
    levels = [changed(level, gpu_count=count, options=options)]
    return {"data": [changed(group, gpu_model={**group["gpu_model"], **(gpu or {})}, availability_by_number=levels)]}


def container_plans(plan: dict[str, Any] | None = None, locations: Any = None) -> list[dict[str, Any]]:
    row = golden.CONTAINER_PLANS[0]
    places = row["attributes"] if locations is None else {"location": locations}
    return [{"plan": {**row["plan"], **(plan or {})}, "attributes": places}]


async def only(world: World, router: Any, **plans: Any) -> Offer:
    serve_plans(router, **plans)
    found = (await world.provider.offers(Query())).offers
    assert len(found) == 1
    return found[0]


async def test_the_vm_sample_becomes_one_offer_with_every_known_field(world: World, router: Any) -> None:
    offer = await vm_offer(world, router)
    assert offer.offer_id == "fluence/vms/5a1e0000-0000-4000-8000-000000000002"
    assert (offer.gpu, offer.gpu_count, offer.gpu_memory_gib, offer.arch) == ("l40", 1, 48.0, "x86_64")
    assert (offer.vcpus, offer.memory_gib, offer.disk_gib) == (14.0, 119.0, 582.0)
    assert (offer.usd_per_hour, offer.deposit_usd) == (Decimal("0.76"), Decimal("2.28"))
    assert (offer.region, offer.country, offer.market) == ("us-central-3", "US", "decentralized")
    assert offer.workloads == ("vm",)
    assert (offer.available, offer.available_count) == (True, None)
    assert (offer.reliability, offer.reliability_source) == (0.97, "assumed")
    assert (offer.compliance, offer.boot_s) == ((), 150.0)
    assert offer.account == await world.provider.account()
    assert offer.observed_at == world.env.now()
    assert offer.native["os_options"] == "Ubuntu Server 22.04"


async def test_billing_runs_in_full_hours_of_the_utc_clock_and_has_no_minimum(world: World, router: Any) -> None:
    billing = (await vm_offer(world, router)).billing
    assert (billing.increment_s, billing.minimum_s, billing.aligned_to) == (3600, 0, "clock")
    assert billing.while_booting


async def test_egress_is_free_by_the_providers_claim_only(world: World, router: Any) -> None:
    offer = await vm_offer(world, router)
    assert offer.egress == (EgressTier(up_to_gb=None, usd_per_gb=Decimal(0)),)
    assert offer.egress_evidence == "claim"


async def test_a_container_plan_for_two_countries_becomes_two_offers(world: World, router: Any) -> None:
    serve_golden_plans(router)
    found = (await listing(world, "rtx-4090")).offers
    assert [offer.offer_id for offer in found] == [
        "fluence/containers/1d0f3c7e-0000-4000-8000-000000000001/US",
        "fluence/containers/1d0f3c7e-0000-4000-8000-000000000001/DE",
    ]
    assert [offer.country for offer in found] == ["US", "DE"]
    assert {offer.workloads for offer in found} == {("container",)}
    assert {offer.usd_per_hour for offer in found} == {Decimal("0.48")}
    assert {offer.deposit_usd for offer in found} == {Decimal("1.44")}


async def test_a_container_plan_without_a_place_is_still_one_offer(world: World, router: Any) -> None:
    offer = await only(world, router, containers=container_plans(locations=[]))
    assert offer.offer_id == "fluence/containers/1d0f3c7e-0000-4000-8000-000000000001"
    assert (offer.region, offer.country) == (None, None)


async def test_the_price_of_an_option_is_for_all_its_gpus(world: World, router: Any) -> None:
    pricing = {"hour": 2.9, "upfront_hours": 3, "currency": "USDC"}
    plans = vm_plans({"model": "v100", "vram": "32Gi", "interface": "sxm"}, count=8, pricing=pricing)
    offer = await only(world, router, vms=plans)
    assert (offer.gpu_count, offer.usd_per_hour, offer.gpu_memory_gib) == (8, Decimal("2.9"), 32.0)


@pytest.mark.parametrize("interface", ["PCIE", "pcie", "Pcie"])
async def test_the_interface_is_read_in_any_case(world: World, router: Any, interface: str) -> None:
    gpu = {"model": "h100", "vram": "80Gi", "interface": interface}
    assert (await only(world, router, vms=vm_plans(gpu))).gpu == "h100-pcie"


@pytest.mark.parametrize(
    ("model", "vram", "interface", "name"),
    [
        ("l40", "48Gi", "pcie", "l40"),
        ("l40s", "48Gi", "pcie", "l40s"),
        ("rtx6000ada", "48Gi", "pcie", "rtx-6000-ada"),
        ("rtxa6000", "48Gi", "pcie", "rtx-a6000"),
        ("a10", "24Gi", "pcie", "a10"),
        ("rtx4090", "24Gi", "PCIE", "rtx-4090"),
        ("a100", "80Gi", "SXM", "a100-80gb"),
        ("a100", "40Gi", "pcie", "a100-40gb"),
        ("h100", "80Gi", "SXM", "h100-sxm"),
        ("h200", "141Gi", "SXM", "h200"),
        ("tachyon9", "16Gi", "pcie", "tachyon9"),
    ],
)
async def test_models_get_their_canonical_names(
    world: World, router: Any, model: str, vram: str, interface: str, name: str
) -> None:
    gpu = {"model": model, "vram": vram, "interface": interface}
    assert (await only(world, router, vms=vm_plans(gpu))).gpu == name


async def test_a_slice_of_a_gpu_does_not_pass_for_the_whole_one(world: World, router: Any) -> None:
    offer = await only(world, router, vms=vm_plans({"model": "l40", "vram": "12Gi"}))
    assert offer.gpu == "l40-12gib"
    assert (await listing(world, "l40")).offers == []


async def test_sizes_are_read_by_their_units(world: World, router: Any) -> None:
    option: dict[str, Any] = {"memory": {"count": 2048, "units": "Mi"}, "storage": {"count": 1, "units": "TB"}}
    offer = await only(world, router, vms=vm_plans(**option))
    assert offer.memory_gib == 2.0
    assert offer.disk_gib == pytest.approx(931.32, abs=0.01)


async def test_a_size_without_a_known_unit_is_unknown(world: World, router: Any) -> None:
    option: dict[str, Any] = {"memory": {"count": 2048}, "storage": {"count": 1, "units": "furlong"}}
    offer = await only(world, router, vms=vm_plans({"vram": 48}, **option))
    assert (offer.memory_gib, offer.disk_gib, offer.gpu_memory_gib) == (None, None, None)


@pytest.mark.parametrize(
    "pricing",
    [
        {"hour": 0, "upfront_hours": 3, "currency": "USDC"},
        {"hour": None, "upfront_hours": 3, "currency": "USDC"},
        {"hour": "abc", "upfront_hours": 3, "currency": "USDC"},
        {"hour": -1, "upfront_hours": 3, "currency": "USDC"},
        {"hour": 0.76, "upfront_hours": 3, "currency": "FLT"},
        {"hour": True, "upfront_hours": 3, "currency": "USDC"},
        None,
    ],
)
async def test_a_price_that_is_no_price_in_dollars_is_unknown(world: World, router: Any, pricing: Any) -> None:
    offer = await only(world, router, vms=vm_plans(pricing=pricing))
    assert (offer.usd_per_hour, offer.deposit_usd) == (None, None)


async def test_prices_stay_exact_and_may_be_texts(world: World, router: Any) -> None:
    pricing = {"hour": "0.7600000001", "upfront_hours": "3", "currency": "USD"}
    offer = await only(world, router, vms=vm_plans(pricing=pricing))
    assert (offer.usd_per_hour, offer.deposit_usd) == (Decimal("0.7600000001"), Decimal("2.2800000003"))


async def test_without_upfront_hours_the_deposit_is_unknown(world: World, router: Any) -> None:
    offer = await only(world, router, vms=vm_plans(pricing={"hour": 1, "currency": "USDC"}))
    assert (offer.usd_per_hour, offer.deposit_usd) == (Decimal(1), None)


async def test_bare_metal_has_its_own_tree(world: World, router: Any) -> None:
    offer = await only(world, router, metal=vm_plans(deployment_type="BAREMETAL"))
    assert offer.offer_id.startswith("fluence/baremetal/")
    assert (offer.workloads, offer.native["kind"]) == (("bare-metal",), "baremetal")


async def test_the_data_wrapper_may_come_and_go(world: World, router: Any) -> None:
    serve_plans(router, containers={"data": golden.CONTAINER_PLANS}, vms=golden.VM_PLANS["data"])
    assert len((await listing(world)).offers) == 3


async def test_an_option_listed_twice_is_one_offer(world: World, router: Any) -> None:
    serve_plans(router, vms={"data": golden.VM_PLANS["data"] * 2})
    assert len((await listing(world)).offers) == 1


async def test_unreadable_rows_are_left_out_and_the_rest_stays(world: World, router: Any) -> None:
    bad = {"plan": without(golden.CONTAINER_PLANS[0]["plan"], "id"), "attributes": {}}
    serve_plans(router, containers=[bad, None, "x", *golden.CONTAINER_PLANS])
    assert len((await listing(world)).offers) == 2


@pytest.mark.parametrize("body", [{}, {"data": None}, [{"plan": {}}], ["x"], "plans", 7, None])
async def test_a_list_that_cannot_be_read_raises_and_never_looks_empty(world: World, router: Any, body: Any) -> None:
    serve_plans(router)
    router.get("/gpu/plans/").respond(json=body)
    with pytest.raises(Unavailable) as caught:
        await listing(world)
    assert caught.value.code == "malformed"


@pytest.mark.parametrize("tree", ["/gpu/plans/", "/gpu/plans/vms", "/gpu/plans/baremetal"])
async def test_one_broken_tree_fails_the_whole_listing(world: World, router: Any, tree: str) -> None:
    serve_golden_plans(router)
    router.get(tree).respond(503, html="<h1>down</h1>")
    with pytest.raises(Unavailable):
        await listing(world)


async def test_a_redirect_is_not_followed(world: World, router: Any) -> None:
    serve_plans(router)
    router.get("/gpu/plans/").mock(return_value=httpx.Response(307, headers={"location": "https://evil.example/"}))
    with pytest.raises(ProviderError) as caught:
        await listing(world)
    assert caught.value.code == "redirect"


async def test_asking_for_a_gpu_that_is_not_sold_says_so(world: World, router: Any) -> None:
    serve_golden_plans(router)
    found = await listing(world, "b200")
    assert found.offers == []
    assert "b200" in found.note


async def test_calls_are_spaced_to_two_a_second(world: World, router: Any) -> None:
    serve_golden_plans(router)
    await listing(world)
    assert sum(world.env.slept) >= 1.0  # three calls: the second waits half a second, the third a whole one


async def test_price_reads_the_same_tree_again_and_keeps_plan_and_place(world: World, router: Any) -> None:
    serve_golden_plans(router)
    german = (await listing(world, "rtx-4090")).offers[1]
    dearer = container_plans({"pricing": {"hour": 0.6, "upfront_hours": 3, "currency": "USDC"}})
    router.get("/gpu/plans/").respond(json=dearer)
    fresh = await world.provider.price(german)
    assert fresh is not None
    assert (fresh.offer_id, fresh.country, fresh.usd_per_hour) == (german.offer_id, "DE", Decimal("0.6"))


async def test_price_is_none_once_the_plan_left_that_country(world: World, router: Any) -> None:
    offer = await container_offer(world, router)
    router.get("/gpu/plans/").respond(json=container_plans(locations=["DE"]))
    assert await world.provider.price(offer) is None


async def test_price_is_none_once_the_option_is_gone(world: World, router: Any) -> None:
    offer = await vm_offer(world, router)
    router.get("/gpu/plans/vms").respond(json={"data": []})
    assert await world.provider.price(offer) is None


async def test_an_offer_from_a_file_without_native_fields_can_be_priced(world: World, router: Any) -> None:
    serve_golden_plans(router)
    offer = Offer(
        offer_id="fluence/containers/1d0f3c7e-0000-4000-8000-000000000001/DE", provider="fluence", gpu="rtx-4090"
    )
    fresh = await world.provider.price(offer)
    assert fresh is not None
    assert fresh.region == "DE"


async def test_a_foreign_offer_is_refused(world: World) -> None:
    with pytest.raises(InvalidRequest):
        await world.provider.price(Offer(offer_id="runpod/pods/1", provider="runpod", gpu="l40"))
