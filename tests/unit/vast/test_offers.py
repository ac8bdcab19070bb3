"""Rows of a search as offers: the money, the place, and what is unknown."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from policies.cost import Coster
from policies.request import Request
from providers.base import EgressTier, Offer, Query
from providers.errors import InvalidRequest
from providers.vast import names, offers
from providers.vast.fields import disk_gb, moment
from tests.contract import vast_golden as golden

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
Build = Callable[..., dict[str, Any]]


def exact(row: Any) -> Any:
    """*row* with its numbers as the HTTP layer reads them."""
    if any(isinstance(value, Decimal) for value in row.values()):
        return row
    return json.loads(json.dumps(row), parse_float=Decimal)


def read(row: Any, kind: Any = "on-demand", disk: int = 50) -> Offer:
    found = offers.read(exact(row), kind, disk=disk, account="271828", now=NOW)
    assert found is not None
    return found


def test_the_documented_row_is_read_whole() -> None:
    offer = read(golden.OFFER)
    assert (offer.offer_id, offer.provider, offer.account) == ("vast/on-demand/31415926", "vast", "271828")
    assert (offer.gpu, offer.gpu_count, offer.gpu_fraction, offer.instance_type) == ("l40s", 1, 1.0, "1x L40S")
    assert (offer.usd_per_hour, offer.pricing, offer.market) == (Decimal("0.52"), "on-demand", "marketplace-secure")
    assert (offer.egress, offer.egress_evidence, offer.ingress_usd_per_gb) == ((EgressTier(),), "api", Decimal(0))
    assert (offer.region, offer.country, offer.host_id) == ("Frankfurt, DE", "DE", "88888")
    assert (offer.vcpus, offer.arch, offer.reliability) == (16.0, "x86_64", 0.9981)
    assert offer.memory_gib == pytest.approx(515823 / 1024 * 16 / 128)
    assert offer.gpu_memory_gib == pytest.approx(44.99, abs=0.01)
    assert (offer.disk_gib, offer.available, offer.available_count) == (0, True, 1)
    assert offer.disk_max_gib == pytest.approx(812.4e9 / 2**30)
    assert offer.billing.while_booting is False
    assert (offer.billing.increment_s, offer.billing.minimum_s) == (1, 0)
    assert offer.observed_at == NOW
    assert (offer.native["ask_id"], offer.native["machine_id"]) == (31415926, "88888")


def test_the_disk_is_priced_by_months_of_720_hours_and_turned_into_gib_once() -> None:
    offer = read(golden.OFFER)
    assert offer.storage_usd_per_gib_month is not None
    assert offer.storage_usd_per_gib_month == pytest.approx(Decimal("0.2") * 730 / 720 * 2**30 / 10**9)
    # An hour of 50 GB, said in GiB, costs what the vendor says: 0.2 x 50 / 720.
    hour = offer.storage_usd_per_gib_month / 730 * Decimal(50 * 10**9) / 2**30
    assert float(hour) == pytest.approx(0.2 * 50 / 720, rel=1e-12)


def test_the_engines_cost_of_ten_hours_is_what_the_vendor_would_charge() -> None:
    offer = read(golden.COMMUNITY_OFFER)
    request = Request(gpu="rtx-4090", hours=10, disk_gib=50, egress_gb=100)
    cost = Coster(request, NOW).cost(offer)
    gb = 50 * 2**30 / 10**9
    assert float(cost.compute_usd) == pytest.approx(8.0)
    assert float(cost.storage_usd) == pytest.approx(0.3 * gb / 720 * 10)
    assert float(cost.egress_usd) == pytest.approx(0.4)
    assert float(cost.ingress_usd) == pytest.approx(0.02)  # 10 GB assumed for the image
    assert cost.boot_usd == 0


def test_a_persons_machine_is_community_and_null_cores_leave_the_memory_unknown() -> None:
    offer = read(golden.COMMUNITY_OFFER)
    assert (offer.market, offer.memory_gib, offer.country) == ("marketplace-community", None, "CA")
    assert offer.egress == (EgressTier(usd_per_gb=Decimal("0.004")),)
    assert (offer.gpu, offer.gpu_count) == ("rtx-4090", 2)


@pytest.mark.parametrize(
    ("fields", "price"),
    [
        ({"inet_up_cost": 0.0}, Decimal(0)),
        ({"inet_up_cost": 0}, Decimal(0)),
        ({"inet_up_cost": 0.02, "internet_up_cost_per_tb": 20.0}, Decimal("0.02")),
        ({"inet_up_cost": None, "internet_up_cost_per_tb": 3.0}, Decimal("0.003")),
        ({"inet_up_cost": None, "internet_up_cost_per_tb": None}, None),
        ({"inet_up_cost": -1, "internet_up_cost_per_tb": None}, None),
        ({"inet_up_cost": "free", "internet_up_cost_per_tb": None}, None),
        # Free by one field and not by the other is not free.
        ({"inet_up_cost": 0.0, "internet_up_cost_per_tb": 5.0}, Decimal("0.005")),
    ],
)
def test_zero_egress_is_free_and_missing_egress_is_unknown(row: Build, fields: Any, price: Decimal | None) -> None:
    offer = read(row(**fields))
    assert offer.egress == (None if price is None else (EgressTier(usd_per_gb=price),))
    assert offer.egress_evidence == (None if price is None else "api")


def test_ingress_is_read_like_egress(row: Build) -> None:
    assert read(row(inet_down_cost=0.01)).ingress_usd_per_gb == Decimal("0.01")
    assert read(row(inet_down_cost=None, internet_down_cost_per_tb=None)).ingress_usd_per_gb is None


@pytest.mark.parametrize(
    ("fields", "rate"),
    [
        ({"dph_base": 0.52, "dph_total": 0.5338}, "0.52"),
        ({"dph_base": 0.52, "dph_total": None}, "0.52"),
        ({"dph_base": None, "dph_total": 0.55, "storage_cost": 0.36}, "0.525"),
        ({"dph_base": None, "dph_total": None}, None),
        ({"dph_base": 0, "dph_total": 0}, None),
        ({"dph_base": 1e9, "dph_total": None}, None),
        ({"dph_base": None, "dph_total": 0.01, "storage_cost": 0.36}, None),
        # A total that holds more than base and disk: what is paid counts.
        ({"dph_base": 0.52, "dph_total": 0.625, "storage_cost": 0.36}, "0.6"),
    ],
)
def test_the_hourly_price_has_no_disk_in_it_and_zero_is_unknown(row: Build, fields: Any, rate: str | None) -> None:
    assert read(row(**fields)).usd_per_hour == (None if rate is None else Decimal(rate))


def test_a_missing_disk_price_is_worked_out_or_unknown(row: Build) -> None:
    worked_out = read(row(storage_cost=None, storage_total_cost=0.0125))
    assert Decimal(worked_out.native["storage_usd_per_gb_month"]) == Decimal("0.18")
    unknown = read(row(storage_cost=None, storage_total_cost=None))
    assert unknown.storage_usd_per_gib_month is None
    assert read(row(storage_cost=0)).storage_usd_per_gib_month == 0


def test_a_bid_costs_its_least_price_for_the_whole_machine() -> None:
    offer = read(golden.BID_OFFER, "bid")
    assert (offer.offer_id, offer.pricing, offer.usd_per_hour) == ("vast/bid/31415926", "spot", Decimal("0.21"))
    assert offer.interruptions_per_hour is None
    assert offer.storage_usd_per_gib_month == read(golden.OFFER).storage_usd_per_gib_month


@pytest.mark.parametrize("least", [None, 0, 0.0001, 500])
def test_without_a_bid_that_can_be_made_there_is_no_interruptible_offer(row: Build, least: Any) -> None:
    assert offers.read(exact(row(min_bid=least)), "bid", disk=50, account="1", now=NOW) is None


def test_the_listing_ends_at_its_end_date_or_when_its_seconds_are_over(row: Build) -> None:
    assert read(golden.OFFER).available_until == NOW + timedelta(seconds=2592000.5)
    assert read(row(duration=None)).available_until == moment(1798592000) + timedelta(microseconds=600000)  # type: ignore[operator]
    assert read(row(duration=3600, end_date=None)).available_until == NOW + timedelta(hours=1)
    assert read(row(duration=None, end_date=None)).available_until is None
    assert read(row(duration=None, end_date=-5)).available_until is None


@pytest.mark.parametrize(
    ("place", "country"),
    [
        ("Frankfurt, DE", "DE"),
        (" Quebec, CA \n", "CA"),
        (", US", "US"),
        ("DE", "DE"),
        ("California, United States", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_the_country_is_the_code_at_the_end(row: Build, place: Any, country: str | None) -> None:
    assert read(row(geolocation=place)).country == country


@pytest.mark.parametrize(
    ("fields", "available"),
    [({}, True), ({"rentable": False}, False), ({"rented": True}, False), ({"rentable": None, "rented": None}, True)],
)
def test_a_taken_machine_is_marked_sold_out(row: Build, fields: Any, available: bool) -> None:
    assert read(row(**fields)).available is available


@pytest.mark.parametrize(
    ("fields", "market"),
    [
        ({"hosting_type": 1}, "marketplace-secure"),
        ({"hosting_type": None, "datacenter": True}, "marketplace-secure"),
        ({"hosting_type": 0}, "marketplace-community"),
        ({"hosting_type": None}, "marketplace-community"),
    ],
)
def test_only_vetted_data_centres_are_secure(row: Build, fields: Any, market: str) -> None:
    assert read(row(**fields)).market == market


def test_reliability_has_two_names_and_may_be_missing(row: Build) -> None:
    assert read(row(reliability=None, reliability2=0.9)).reliability == 0.9
    assert read(row(reliability=None, reliability2=None)).reliability is None
    assert read(row(reliability=7, reliability2=None)).reliability is None


@pytest.mark.parametrize("field", ["ask_contract_id", "gpu_name", "num_gpus"])
def test_a_row_that_does_not_say_what_it_is_is_no_offer(row: Build, field: str) -> None:
    assert offers.read(exact(row(**{field: None, "id": None})), "on-demand", disk=50, account="1", now=NOW) is None


def test_the_ask_is_rented_by_its_contract_id_and_else_by_its_id(row: Build) -> None:
    assert read(row(id=5)).native["ask_id"] == 31415926
    assert read(row(id=5, ask_contract_id=None)).native["ask_id"] == 5


def test_an_offer_is_found_again_by_its_id_alone() -> None:
    bare = Offer(offer_id="vast/bid/12", provider="vast", gpu="l40")
    assert offers.target(bare) == ("bid", 12)
    assert offers.disk_of(bare) == disk_gb(50)


@pytest.mark.parametrize("wrong", ["vast/12", "vast/reserved/12", "vast/bid/x", "runpod/bid/12", ""])
def test_other_houses_offers_are_refused(wrong: str) -> None:
    with pytest.raises(InvalidRequest):
        offers.target(Offer(offer_id=wrong, provider="x", gpu="l40"))


@pytest.mark.parametrize(
    ("name", "mib", "gpu"),
    [
        ("L40", 46068, "l40"),
        ("L40S", 46068, "l40s"),
        ("L4", 23034, "l4"),
        ("RTX 6000Ada", 49140, "rtx-6000-ada"),
        ("RTX_4090", 24564, "rtx-4090"),
        ("A100 PCIE", 40960, "a100-40gb"),
        ("A100 SXM4", 81920, "a100-80gb"),
        ("Tesla V100", 16160, "v100-16gb"),
        ("Tesla T4", 15360, "t4"),
        ("H100 NVL", 95830, "h100-nvl"),
        ("A10g", 23028, "a10g"),
        # Not certain what it is, or not what the name says: no model's name.
        ("A100 PCIE", None, "a100-pcie"),
        ("L40S", 12288, "l40s-12gib"),
        ("A100X", 81920, "a100x"),
        ("Imaginary RTX 9999", 24576, "imaginary-rtx-9999"),
    ],
)
def test_wire_names_with_usable_memory_become_ours(row: Build, name: str, mib: int | None, gpu: str) -> None:
    assert read(row(gpu_name=name, gpu_ram=mib)).gpu == gpu


def test_every_model_of_the_table_can_be_asked_for_and_read_back() -> None:
    from providers import gpus

    for name, gpu in gpus.GPUS.items():
        asked = names.wire_names([name])
        assert asked, name
        assert any(names.canonical(word, gpu.memory_gib * 0.97) == name for word in asked), (name, asked)
        assert not any("_" in word for word in asked)


@pytest.mark.parametrize(
    ("fields", "query", "kept"),
    [
        ({}, Query(gpus=("l40s",), countries=("DE",), egress_free=True), True),
        ({}, Query(gpus=("l40",)), False),
        ({}, Query(count=2), False),
        ({}, Query(countries=("FR",)), False),
        ({"geolocation": None}, Query(countries=("FR",)), True),  # unknown: the judge says so
        ({"inet_up_cost": 0.01}, Query(egress_free=True), False),
        ({"inet_up_cost": None, "internet_up_cost_per_tb": None}, Query(egress_free=True), True),
        ({"inet_up_cost": 0.01}, Query(), True),
        ({"verification": "unverified"}, Query(), False),
        ({"verification": "deverified"}, Query(), False),
        ({"verification": None}, Query(), True),
        ({"direct_port_count": 0}, Query(), False),
        ({"direct_port_count": -1}, Query(), False),
        ({"direct_port_count": None}, Query(), True),
    ],
)
def test_what_the_server_let_through_is_looked_at_again(row: Build, fields: Any, query: Query, kept: bool) -> None:
    raw = exact(row(**fields))
    assert offers.fits(raw, read(raw), query) is kept


def test_disks_are_rounded_up_to_whole_gb_and_to_the_least_disk() -> None:
    assert [disk_gb(gib) for gib in (0, 1, 7, 8, 50, 1000)] == [8, 8, 8, 9, 54, 1074]
