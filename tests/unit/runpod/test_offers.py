"""The catalogue as offers, and the re-quote before a launch."""

from __future__ import annotations

import json
from copy import deepcopy
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from providers import gpus
from providers.base import Offer, Query
from providers.env import ManualEnv
from providers.errors import AuthFailed, Unavailable
from providers.http import Reply
from providers.runpod import offers, places
from providers.runpod.adapter import RunPod
from tests.contract import runpod_golden as golden

GPUS, CENTERS = "/v2/catalog/gpus", "/v2/catalog/datacenters"


def exact(document: Any) -> Any:
    """*document* as it comes off the wire: decimals, no floats."""
    return Reply(200, {}, json.dumps(document).encode()).json()


def l40s(**changes: Any) -> dict[str, Any]:
    return {**deepcopy(exact(golden.GPUS)["gpus"][0]), **changes}


def serve(wire: respx.MockRouter, catalogue: Any = golden.GPUS) -> None:
    wire.get(GPUS).respond(json=catalogue)
    wire.get(CENTERS).respond(json=golden.DATA_CENTERS)


async def market(runpod: RunPod, **query: Any) -> dict[str, Offer]:
    listing = await runpod.offers(Query(**query))
    found = {offer.offer_id: offer for offer in listing.offers}
    assert len(found) == len(listing.offers), "offer ids are unique"
    return found


async def test_secure_makes_an_offer_a_data_centre_and_community_one_without(
    runpod: RunPod, wire: respx.MockRouter
) -> None:
    serve(wire)
    found = await market(runpod, gpus=("l40s",))
    assert sorted(found) == [
        "runpod/community/-/NVIDIA L40S/1",
        "runpod/secure/EU-RO-1/NVIDIA L40S/1",
        "runpod/secure/US-DE-1/NVIDIA L40S/1",
    ]
    secure = found["runpod/secure/EU-RO-1/NVIDIA L40S/1"]
    assert (secure.gpu, secure.gpu_count, secure.gpu_memory_gib) == ("l40s", 1, 48.0)
    assert (secure.region, secure.country, secure.market) == ("EU-RO-1", "RO", "marketplace-secure")
    assert secure.usd_per_hour == Decimal("0.99")
    assert (secure.compliance, secure.compliance_evidence) == (("soc2", "gdpr"), "api")
    assert (secure.available, secure.native["availability"]) == (True, "LOW")
    assert (secure.reliability, secure.vcpus, secure.memory_gib) == (0.98, None, None)
    community = found["runpod/community/-/NVIDIA L40S/1"]
    assert (community.region, community.country, community.market) == (None, None, "marketplace-community")
    assert community.usd_per_hour == Decimal("0.79")
    assert (community.compliance, community.compliance_evidence) == ((), None)
    assert community.reliability == 0.95


async def test_both_clouds_are_asked_once_with_the_count(runpod: RunPod, wire: respx.MockRouter) -> None:
    serve(wire)
    await market(runpod, count=2)
    asked = [dict(call.request.url.params) for call in wire.calls if call.request.url.path == GPUS]
    common = {"include": "AVAILABILITY", "product": "POD", "count": "2"}
    assert sorted(asked, key=lambda q: q["cloud"]) == [
        common | {"cloud": "COMMUNITY"},
        common | {"cloud": "SECURE"},
    ]
    assert len(wire.calls) == 3


async def test_a_price_is_for_all_gpus_of_the_pod(runpod: RunPod, wire: respx.MockRouter) -> None:
    serve(wire)
    found = await market(runpod, gpus=("a100-80gb",), count=2)
    assert found["runpod/secure/EUR-IS-1/NVIDIA A100 80GB PCIe/2"].usd_per_hour == Decimal("2.78")
    assert found["runpod/community/-/NVIDIA A100 80GB PCIe/2"].usd_per_hour == Decimal("2.38")


async def test_more_gpus_than_one_host_has_are_sold_out(runpod: RunPod, wire: respx.MockRouter) -> None:
    serve(wire)
    found = await market(runpod, gpus=("a100-80gb",), count=4)
    assert found["runpod/community/-/NVIDIA A100 80GB PCIe/4"].available is False
    assert found["runpod/secure/EUR-IS-1/NVIDIA A100 80GB PCIe/4"].available is True
    nine = await market(runpod, gpus=("a100-80gb",), count=9)
    assert [offer.available for offer in nine.values()] == [False, False]


async def test_what_is_sold_out_is_listed_and_marked(runpod: RunPod, wire: respx.MockRouter) -> None:
    serve(wire)
    found = await market(runpod)
    assert found["runpod/secure/US-DE-1/NVIDIA L40S/1"].available is False  # NONE there, LOW elsewhere
    l40 = [offer for offer in found.values() if offer.gpu == "l40"]
    assert {(offer.offer_id, offer.available) for offer in l40} == {
        ("runpod/secure/-/NVIDIA L40/1", False),
        ("runpod/community/-/NVIDIA L40/1", False),
    }


async def test_the_sentinel_is_dropped(runpod: RunPod, wire: respx.MockRouter) -> None:
    serve(wire)
    assert not [offer for offer in (await market(runpod)).values() if "unknown" in offer.offer_id]


async def test_terms_that_hold_for_every_offer(runpod: RunPod, wire: respx.MockRouter, env: ManualEnv) -> None:
    serve(wire)
    account = await runpod.account()
    for offer in (await market(runpod)).values():
        assert offer.egress is not None
        assert [(tier.up_to_gb, tier.usd_per_gb) for tier in offer.egress] == [(None, 0)]
        assert (offer.egress_evidence, offer.ingress_usd_per_gb, offer.address_usd_per_hour) == ("claim", 0, 0)
        # 0.10 USD per GB is this per GiB; nothing is included.
        assert offer.storage_usd_per_gib_month == Decimal("0.1073741824")
        assert (offer.disk_gib, offer.disk_min_gib, offer.disk_max_gib) == (0, 1, None)
        assert (offer.billing.increment_s, offer.billing.while_booting) == (1, True)
        assert (offer.pricing, offer.workloads, offer.account) == ("on-demand", ("container",), account)
        assert (offer.observed_at, offer.source) == (env.now(), "live")
        assert msgspec.json.decode(msgspec.json.encode(offer), type=Offer) == offer


async def test_a_failing_data_centre_list_leaves_offers_without_certificates(
    runpod: RunPod, wire: respx.MockRouter
) -> None:
    wire.get(GPUS).respond(json=golden.GPUS)
    wire.get(CENTERS).respond(503, html="<html>down</html>")
    listing = await runpod.offers(Query(gpus=("l40s",)))
    assert listing.partial
    assert "data centres not read" in listing.note
    romania = next(offer for offer in listing.offers if offer.region == "EU-RO-1")
    assert (romania.country, romania.compliance, romania.compliance_evidence) == ("RO", (), None)


async def test_one_failing_cloud_makes_the_listing_partial(runpod: RunPod, wire: respx.MockRouter) -> None:
    wire.get(GPUS, params={"cloud": "COMMUNITY"}).respond(400, json=golden.RULE_BROKEN)
    serve(wire)
    listing = await runpod.offers(Query(gpus=("l40s",)))
    assert listing.partial
    assert "COMMUNITY not read" in listing.note
    assert {offer.market for offer in listing.offers} == {"marketplace-secure"}


async def test_a_failed_cloud_and_nothing_else_raises_rather_than_looking_empty(
    runpod: RunPod, wire: respx.MockRouter
) -> None:
    wire.get(GPUS, params={"cloud": "SECURE"}).respond(503)
    wire.get(GPUS).respond(json={"gpus": []})
    wire.get(CENTERS).respond(json=golden.DATA_CENTERS)
    with pytest.raises(Unavailable):
        await runpod.offers(Query(gpus=("l40s",)))


async def test_a_refused_key_raises(runpod: RunPod, wire: respx.MockRouter) -> None:
    wire.get(url__startswith="https://api.runpod.io/").respond(401, json=golden.NO_TOKEN)
    with pytest.raises(AuthFailed):
        await runpod.offers(Query())


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"gpus": null}', b'{"gpus": [3]}', b"{}", b"<html>"])
async def test_an_unreadable_catalogue_never_comes_back_empty(
    runpod: RunPod, wire: respx.MockRouter, body: bytes
) -> None:
    wire.get(GPUS).respond(200, content=body)
    wire.get(CENTERS).respond(json=golden.DATA_CENTERS)
    with pytest.raises(Unavailable):
        await runpod.offers(Query())


async def test_spot_is_not_sold_and_a_missing_model_is_said(runpod: RunPod, wire: respx.MockRouter) -> None:
    serve(wire)
    spot = await runpod.offers(Query(pricing=("spot",)))
    assert (spot.offers, spot.note, len(wire.calls)) == ([], "rents on demand only", 0)
    a10 = await runpod.offers(Query(gpus=("a10",)))
    assert (a10.offers, a10.partial, a10.note) == ([], False, "rents no a10")


def read(*rows: dict[str, Any], cloud: offers.Cloud = "SECURE", count: int = 1) -> list[Offer]:
    now = ManualEnv().now()
    return offers.read(rows, Query(count=count), cloud=cloud, account="a", now=now, places=None)


def test_a_cloud_that_does_not_have_the_gpu_now_but_names_a_price_is_sold_out() -> None:
    assert [offer.available for offer in read(l40s(community=False), cloud="COMMUNITY")] == [False]
    assert read(l40s(community=False, price={"secure": Decimal("0.99")}), cloud="COMMUNITY") == []


def test_stock_without_data_centres_is_left_to_the_scheduler() -> None:
    row = l40s(availability="HIGH")
    del row["dataCenters"]
    [offer] = read(row)
    assert (offer.available, offer.region, "data_center" in offer.native) == (True, None, False)


@pytest.mark.parametrize("level", ["PLENTY", None, 3])
def test_an_unknown_word_for_stock_is_unknown_stock(level: Any) -> None:
    row = l40s(dataCenters=[{"id": "EU-RO-1", "availability": level}])
    assert [offer.available for offer in read(row)] == [None]


@pytest.mark.parametrize("price", [0, Decimal(0), None, "0.99", True, float("nan"), -1, Decimal("1E+99999")])
def test_an_absurd_price_is_unknown_and_never_free(price: Any) -> None:
    assert {offer.usd_per_hour for offer in read(l40s(price={"secure": price}))} == {None}


def test_the_same_row_twice_makes_each_offer_once() -> None:
    assert len(read(l40s(), l40s())) == 2


@pytest.mark.parametrize(("gpu_id", "name"), sorted(offers.GPU_IDS.items()))
def test_every_documented_id_has_a_known_model(gpu_id: str, name: str) -> None:
    assert gpus.get(name)
    assert offers.gpu_of({"id": gpu_id}) == name


@pytest.mark.parametrize(
    ("gpu_id", "memory", "name"),
    [
        ("NVIDIA GeForce RTX 4090", 24, "rtx-4090"),
        ("NVIDIA A30", 24, gpus.canonical("NVIDIA A30", memory_gib=24) or "a30"),
        ("AMD Instinct MI300X OAM", 192, "mi300x"),
        ("NVIDIA X9000 Hypothetical", 48, "x9000-hypothetical"),
    ],
)
def test_other_ids_go_through_the_common_table_or_keep_a_plain_name(gpu_id: str, memory: int, name: str) -> None:
    assert offers.gpu_of({"id": gpu_id, "memory": memory}) == name


@pytest.mark.parametrize(
    ("data_center", "country"),
    [
        ("EU-RO-1", "RO"),
        ("EU-SE-1", "SE"),
        ("EU-CZ-1", "CZ"),
        ("EU-NL-1", "NL"),
        ("EU-FR-1", "FR"),
        ("EUR-IS-3", "IS"),
        ("EUR-NO-2", "NO"),
        ("US-TX-3", "US"),
        ("US-DE-1", "US"),  # Delaware
        ("US-GA-2", "US"),
        ("CA-MTL-4", "CA"),
        ("OC-AU-1", "AU"),
        ("AP-JP-1", "JP"),
        ("AP-IN-1", "IN"),
        ("SEA-SG-1", "SG"),
        ("EU-XX-1", None),
        ("SA-BR-1", None),
        ("RO", None),
        ("", None),
    ],
)
def test_the_country_is_read_from_the_id_where_it_is_certain(data_center: str, country: str | None) -> None:
    assert places.country(data_center) == country


def test_certificates_are_named_as_policies_name_them() -> None:
    held = ["GDPR", "ISO_IEC_27001", "SOC_2_TYPE_2", "HIPAA", "PCI_DSS", "RENEWABLE", 3]
    found = places.read([{"id": "EU-RO-1", "region": "EUROPE", "compliance": held}, {"name": "no id"}])
    assert found == {"EU-RO-1": places.Place("EUROPE", ("soc2", "iso27001", "gdpr", "hipaa"))}


async def test_price_reads_the_catalogue_anew_with_one_call(
    runpod: RunPod, wire: respx.MockRouter, offer: Offer
) -> None:
    catalogue = deepcopy(golden.GPUS)
    catalogue["gpus"][0]["price"]["secure"] = 1.05
    wire.get(GPUS).respond(json=catalogue)
    now = await runpod.price(offer)
    assert now is not None
    assert (now.usd_per_hour, now.available, now.offer_id) == (Decimal("1.05"), True, offer.offer_id)
    assert len(wire.calls) == 1
    assert dict(wire.calls[0].request.url.params)["cloud"] == "SECURE"


async def test_price_keeps_what_only_the_listing_knew(runpod: RunPod, wire: respx.MockRouter) -> None:
    serve(wire)
    listed = (await market(runpod))["runpod/secure/EU-RO-1/NVIDIA L40S/1"]
    assert await runpod.price(listed) == listed


async def test_a_data_centre_that_is_not_listed_any_more_is_sold_out(
    runpod: RunPod, wire: respx.MockRouter, offer: Offer
) -> None:
    catalogue = deepcopy(golden.GPUS)
    catalogue["gpus"][0]["dataCenters"] = [{"id": "US-TX-3", "availability": "HIGH"}]
    wire.get(GPUS).respond(json=catalogue)
    now = await runpod.price(offer)
    assert now is not None
    assert now.available is False


async def test_a_model_that_is_not_sold_any_more_has_no_price(
    runpod: RunPod, wire: respx.MockRouter, offer: Offer
) -> None:
    wire.get(GPUS).mock(return_value=httpx.Response(200, json={"gpus": [{"name": "no id"}]}))
    assert await runpod.price(offer) is None
    assert await runpod.price(msgspec.structs.replace(offer, native={})) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = sorted(golden.GPUS["gpus"][0])


@given(
    changes=st.dictionaries(st.sampled_from([*FIELDS, "somethingNew"]), JSON, max_size=5),
    missing=st.sets(st.sampled_from(FIELDS)),
    cloud=st.sampled_from(offers.CLOUDS),
    count=st.integers(0, 9),
)
def test_no_row_breaks_the_reader(changes: dict[str, Any], missing: set[str], cloud: offers.Cloud, count: int) -> None:
    row = {key: value for key, value in {**l40s(), **changes}.items() if key not in missing}
    for offer in read(row, cloud=cloud, count=count):
        assert offer.usd_per_hour is None or offer.usd_per_hour >= 0
        assert offers.requote(offer, row, ManualEnv().now()).offer_id == offer.offer_id
        msgspec.json.encode(offer)


@given(st.lists(st.dictionaries(st.sampled_from(["id", "region", "compliance"]), JSON), max_size=3))
def test_no_data_centre_breaks_the_reader(rows: list[dict[str, Any]]) -> None:
    assert all(isinstance(name, str) and isinstance(place, tuple) for name, place in places.read(rows).items())
