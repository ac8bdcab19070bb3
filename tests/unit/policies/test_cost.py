"""Cost, worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from policies.cost import Cost, Coster, billed_s, walk
from policies.request import Request
from providers.base import Billing, EgressTier, Offer

Make = Callable[..., Offer]
NOW = datetime(2026, 11, 22, 14, 43, tzinfo=UTC)
CLOCK = Billing(increment_s=3600, aligned_to="clock")
FLUENCE: dict[str, Any] = {"usd_per_hour": Decimal("0.76"), "billing": CLOCK, "deposit_usd": Decimal("2.28")}
#: As hyperscalers sell it: 100 GB a month free, then falling prices.
TIERS = (
    EgressTier(up_to_gb=Decimal(100)),
    EgressTier(up_to_gb=Decimal(1000), usd_per_gb=Decimal("0.09")),
    EgressTier(usd_per_gb=Decimal("0.05")),
)


def cost(offer: Offer, *, now: datetime = NOW, success: float | None = None, **request: object) -> Cost:
    rate = None if success is None else lambda _: success
    return Coster(Request(gpu=("l40",), **request), now, success_rate=rate).cost(offer)  # type: ignore[arg-type]


def flags(offer: Offer, **request: object) -> tuple[str, ...]:
    return Coster(Request(gpu=("l40",), **request), NOW).flags(offer)  # type: ignore[arg-type]


def test_a_day_at_a_plain_price_is_24_times_the_hour(make: Make) -> None:
    found = cost(make(usd_per_hour=Decimal("0.69")))
    assert found.compute_usd == found.total_usd == Decimal("16.56")
    assert str(found.total_usd) == "16.56"


def test_fluence_bills_two_clock_hours_from_14_43_to_15_10(make: Make) -> None:
    assert cost(make(**FLUENCE), hours=27 / 60).compute_usd == Decimal("1.52")


@pytest.mark.parametrize(
    ("start", "minutes", "hours"),
    [("14:43", 17, 1), ("14:43", 18, 2), ("15:00", 60, 1), ("15:00", 61, 2), ("14:59", 61, 2), ("14:59", 62, 3)],
)
def test_clock_hours_are_counted_from_full_hour_to_full_hour(make: Make, start: str, minutes: int, hours: int) -> None:
    now = datetime.fromisoformat(f"2026-11-22T{start}+00:00")
    assert cost(make(**FLUENCE), now=now, hours=minutes / 60).compute_usd == Decimal("0.76") * hours


def test_the_time_zone_of_now_changes_nothing(make: Make) -> None:
    elsewhere = NOW.astimezone(datetime.strptime("+0530", "%z").tzinfo)
    assert cost(make(**FLUENCE), now=elsewhere, hours=0.45) == cost(make(**FLUENCE), hours=0.45)


def test_a_deposit_is_no_cost(make: Make) -> None:
    with_deposit = make(usd_per_hour=Decimal("0.76"), deposit_usd=Decimal("2.28"))
    assert cost(with_deposit, hours=1.0).total_usd == Decimal("0.76")


def test_use_is_rounded_up_to_the_increment_and_to_the_minimum() -> None:
    second, minute_s = 10**6, 60 * 10**6
    assert billed_s(Billing(increment_s=60), 61 * second, 0) == 120
    assert billed_s(Billing(increment_s=60), 60 * second, 0) == 60
    assert billed_s(Billing(increment_s=1, minimum_s=600), 5 * minute_s, 0) == 600
    assert billed_s(Billing(increment_s=3600, minimum_s=3600), 90 * minute_s, 0) == 7200
    assert billed_s(Billing(increment_s=3600, minimum_s=7200, aligned_to="clock"), minute_s, 0) == 7200


def test_hours_that_binary_numbers_cannot_hold_buy_no_extra_increment(make: Make) -> None:
    offer = make(billing=Billing(increment_s=3600), usd_per_hour=Decimal(1))
    assert cost(offer, hours=0.1 + 0.2 + 0.7).compute_usd == 1
    assert cost(offer, hours=3 * 1.1).compute_usd == 4
    assert cost(make(usd_per_hour=Decimal("0.60")), hours=1 / 6).compute_usd == Decimal("0.1")


def test_booting_is_paid_where_it_is_billed(make: Make) -> None:
    booting = make(boot_s=180.0, usd_per_hour=Decimal("0.60"))
    assert cost(booting, hours=2.0).boot_usd == Decimal("0.03")
    free = make(boot_s=180.0, billing=Billing(while_booting=False))
    assert cost(free, hours=2.0).boot_usd == 0


def test_booting_within_an_hour_that_is_paid_anyway_costs_nothing(make: Make) -> None:
    offer = make(boot_s=120.0, **FLUENCE)
    assert cost(offer, hours=15 / 60).boot_usd == 0
    # 14:43 + 16 minutes is 14:59; two minutes of boot reach into the next clock hour.
    assert cost(offer, hours=16 / 60).boot_usd == Decimal("0.76")


def test_egress_walks_through_the_tiers_in_order(make: Make) -> None:
    offer = make(egress=TIERS)
    assert cost(offer, egress_gb=80.0).egress_usd == 0
    assert cost(offer, egress_gb=100.0).egress_usd == 0
    assert cost(offer, egress_gb=500.0).egress_usd == Decimal("36.00")
    assert cost(offer, egress_gb=3000.0).egress_usd == 900 * Decimal("0.09") + 2000 * Decimal("0.05")


def test_every_month_has_its_own_tiers(make: Make) -> None:
    offer = make(egress=TIERS)
    assert cost(offer, egress_gb=500.0, hours=730.0).egress_usd == Decimal("36.00")
    # Two months of 250 GB, 100 of which are free.
    assert cost(offer, egress_gb=500.0, hours=731.0).egress_usd == Decimal("27.00")
    # Three months of 333.33 GB: the volume is never rounded.
    assert cost(offer, egress_gb=1000.0, hours=2000.0).egress_usd == Decimal("63.00")


def test_replicas_share_one_account_and_so_its_tiers(make: Make) -> None:
    found = cost(make(egress=TIERS), egress_gb=300.0, replicas=2, hours=10.0)
    assert found.egress_usd == 500 * Decimal("0.09")
    assert found.compute_usd == 16


def test_tiers_that_other_use_fills_come_first(make: Make) -> None:
    request = Request(gpu=("l40",), egress_gb=100.0)
    coster = Coster(request, NOW, egress_used_gb={"runpod": 950.0})
    assert coster.cost(make(egress=TIERS)).egress_usd == 50 * Decimal("0.09") + 50 * Decimal("0.05")
    assert coster.cost(make(egress=TIERS, provider="aws")).egress_usd == 0


def test_volume_beyond_the_last_bound_costs_as_in_the_last_tier() -> None:
    tiers = (EgressTier(up_to_gb=Decimal(10)), EgressTier(up_to_gb=Decimal(20), usd_per_gb=Decimal("0.1")))
    assert walk(tiers, Decimal(50)) == Decimal("4.0")
    assert walk(tiers, Decimal(50), used_gb=Decimal(100)) == Decimal("5.0")


def test_unknown_egress_is_assumed_dear_and_flagged_never_free(make: Make) -> None:
    unknown = make(egress=None)
    assert cost(unknown, egress_gb=500.0, replicas=2).egress_usd == Decimal("120.00")
    assert flags(unknown, egress_gb=500.0) == ("egress_assumed",)
    assert flags(unknown) == ("egress_assumed",)


def test_ingress_is_paid_per_replica_and_an_image_weighs_ten_gb(make: Make) -> None:
    vm = make(workloads=("vm",), ingress_usd_per_gb=Decimal("0.02"))
    assert cost(vm, ingress_gb=100.0, replicas=2).ingress_usd == Decimal("4.00")
    assert flags(vm, ingress_gb=100.0) == ()
    container = make(ingress_usd_per_gb=Decimal("0.02"))
    assert cost(container, ingress_gb=100.0, replicas=2).ingress_usd == Decimal("4.40")
    assert flags(container) == ("ingress_assumed",)
    either = make(workloads=("vm", "container"), ingress_usd_per_gb=Decimal("0.02"))
    assert cost(either).ingress_usd == 0
    assert cost(either, image="pytorch/pytorch").ingress_usd == Decimal("0.20")
    assert cost(make(ingress_usd_per_gb=Decimal(0)), ingress_gb=100.0).ingress_usd == 0


def test_unknown_ingress_is_flagged_where_data_comes_in(make: Make) -> None:
    assert flags(make(), ingress_gb=1.0) == ("ingress_unknown",)
    assert flags(make()) == ()


def test_disk_beyond_what_is_included_is_paid_for_the_billed_time(make: Make) -> None:
    offer = make(disk_gib=20.0, storage_usd_per_gib_month=Decimal("0.10"))
    assert cost(offer, hours=73.0, disk_gib=120).storage_usd == Decimal("1.00")
    assert cost(offer, hours=73.0, disk_gib=120, replicas=3).storage_usd == Decimal("3.00")
    assert cost(offer, hours=73.0, disk_gib=20).storage_usd == 0
    at_least = make(disk_gib=0.0, disk_min_gib=73.0, storage_usd_per_gib_month=Decimal("0.10"))
    assert cost(at_least, hours=10.0, disk_gib=1).storage_usd == Decimal("0.10")
    assert cost(make(disk_gib=20.0, storage_usd_per_gib_month=Decimal(0)), disk_gib=500).storage_usd == 0


def test_disk_that_is_not_stated_is_bought_whole_or_flagged(make: Make) -> None:
    priced = make(disk_gib=None, storage_usd_per_gib_month=Decimal("0.73"))
    assert cost(priced, hours=1.0, disk_gib=50).storage_usd == Decimal("0.05")
    assert flags(priced) == ()
    assert flags(make(disk_gib=None)) == ("disk_unknown",)


def test_an_address_is_paid_for_the_billed_time(make: Make) -> None:
    offer = make(address_usd_per_hour=Decimal("0.005"), billing=Billing(increment_s=3600))
    assert cost(offer, hours=1.5, replicas=2).address_usd == Decimal("0.020")


def test_risk_is_the_work_lost_and_the_boot_again(make: Make) -> None:
    spot = make(pricing="spot", interruptions_per_hour=0.1, boot_s=300.0, usd_per_hour=Decimal("0.40"))
    # 20 hours see two interruptions; each loses half of 30 minutes and boots five: 20 minutes at 0.40.
    assert cost(spot, hours=20.0).risk_usd == Decimal("0.40") * 2 * 20 / 60
    assert cost(spot, hours=20.0, checkpoint_s=0.0, replicas=3).risk_usd == Decimal("0.40") * 2 * 5 / 60 * 3


def test_unknown_interruptions_are_none_but_for_spot(make: Make) -> None:
    for pricing in ("on-demand", "reserved"):
        assert cost(make(pricing=pricing, interruptions_per_hour=None)).risk_usd == 0
    spot = make(pricing="spot", interruptions_per_hour=None)
    assert cost(spot, hours=20.0).risk_usd == Decimal("0.80") * 1 * 15 / 60
    assert flags(spot) == ("interruptions_assumed",)
    assert cost(make(interruptions_per_hour=0.1), hours=20.0).risk_usd == Decimal("0.80") * 2 * 15 / 60


def test_failed_boots_cost_what_their_billed_time_costs(make: Make) -> None:
    offer = make(boot_s=360.0, usd_per_hour=Decimal(2))
    assert cost(offer, success=0.5).failed_boot_usd == Decimal("0.2")
    assert cost(offer, success=0.8, replicas=4).failed_boot_usd == Decimal("0.2")
    assert cost(offer, success=1.0).failed_boot_usd == 0
    assert cost(offer).failed_boot_usd == 0
    assert cost(offer, success=0.0).failed_boot_usd == Decimal("0.2") * 19
    assert cost(make(boot_s=360.0, billing=Billing(while_booting=False)), success=0.5).failed_boot_usd == 0
    assert cost(make(boot_s=60.0, **FLUENCE), success=0.5).failed_boot_usd == Decimal("0.76")


def test_an_unknown_boot_time_is_flagged_where_booting_is_billed(make: Make) -> None:
    assert flags(make(boot_s=None)) == ("boot_unknown",)
    assert flags(make(boot_s=None, billing=Billing(while_booting=False))) == ()


def test_a_machine_with_more_gpus_is_paid_whole(make: Make) -> None:
    assert cost(make(gpu_count=8, usd_per_hour=Decimal("6.40")), hours=10.0).compute_usd == 64


def test_a_prepaid_machine_costs_nothing_more(make: Make) -> None:
    found = cost(make(pricing="prepaid", usd_per_hour=Decimal(0), boot_s=60.0), egress_gb=10.0)
    assert found.total_usd == 0


def test_the_total_is_the_sum_of_the_parts(make: Make) -> None:
    offer = make(
        egress=TIERS,
        ingress_usd_per_gb=Decimal("0.01"),
        disk_gib=10.0,
        storage_usd_per_gib_month=Decimal("0.13"),
        address_usd_per_hour=Decimal("0.005"),
        interruptions_per_hour=0.02,
        boot_s=77.0,
    )
    found = cost(offer, success=0.7, hours=5.5, egress_gb=400.0)
    parts = [getattr(found, name) for name in found.__struct_fields__ if name != "total_usd"]
    assert all(part > 0 for part in parts)
    assert sum(parts) == found.total_usd


def test_an_offer_without_a_price_has_no_cost(make: Make) -> None:
    with pytest.raises(ValueError, match="has no price"):
        cost(make(usd_per_hour=None))


def test_a_start_between_seconds_counts_to_the_microsecond(make: Make) -> None:
    hour = timedelta(hours=1)
    late = datetime(2026, 11, 22, 14, 0, 0, 1, tzinfo=UTC)
    assert cost(make(**FLUENCE), now=late, hours=1.0).compute_usd == Decimal("1.52")
    assert cost(make(**FLUENCE), now=late + hour - timedelta(microseconds=1), hours=1.0).compute_usd == Decimal("0.76")
