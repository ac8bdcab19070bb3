"""A hold is as narrow as the failure's scope."""

from __future__ import annotations

from decimal import Decimal

import pytest

from orchestrator.holds import hold_for, matches
from providers import errors
from providers.base import Offer

BASE: dict[str, object] = {
    "provider": "p",
    "account": "a",
    "region": "r1",
    "zone": "z1",
    "host_id": "h1",
    "instance_type": "t1",
    "gpu": "l40",
    "usd_per_hour": Decimal(1),
}


def offer(offer_id: str = "o1", **changes: object) -> Offer:
    return Offer(**{"offer_id": offer_id, **BASE, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "inside", "outside"),
    [
        (errors.NoCapacity("x"), {}, {"offer_id": "o2"}),
        (errors.NoCapacity("x", scope="host"), {"offer_id": "o2"}, {"offer_id": "o2", "host_id": "h2"}),
        (errors.NoCapacity("x", scope="zone"), {"offer_id": "o2"}, {"offer_id": "o2", "zone": "z2"}),
        (errors.NoCapacity("x", scope="zone"), {"offer_id": "o2"}, {"offer_id": "o2", "instance_type": "t2"}),
        (errors.NoCapacity("x", scope="region"), {"zone": "z2"}, {"region": "r2"}),
        (errors.NoCapacity("x", scope="type"), {"region": "r2"}, {"instance_type": "t2"}),
        (errors.Unavailable("x"), {"instance_type": "t2"}, {"region": "r2"}),
        (errors.QuotaExceeded("x"), {"region": "r2", "gpu": "h100"}, {"account": "b"}),
        (errors.AuthFailed("x"), {"account": "b", "region": "r2"}, {"provider": "q"}),
        (errors.NoFunds("x"), {"usd_per_hour": Decimal(2)}, {"usd_per_hour": Decimal("0.5")}),
        (errors.WrongGpu("x"), {"offer_id": "o2"}, {"offer_id": "o2", "host_id": "h2"}),
    ],
)
def test_a_hold_holds_what_is_inside_its_scope_and_nothing_else(
    error: errors.ProviderError, inside: dict[str, object], outside: dict[str, object]
) -> None:
    hold = hold_for(error, offer())
    assert hold is not None
    assert matches(hold, offer())
    assert matches(hold, offer(**{"offer_id": "o1", **inside}))  # type: ignore[arg-type]
    assert not matches(hold, offer(**{"offer_id": "o1", **outside}))  # type: ignore[arg-type]


def test_a_failed_boot_on_an_unnamed_host_blames_only_the_offer() -> None:
    hold = hold_for(errors.BootFailed("x"), offer(host_id=None))
    assert hold is not None
    assert not matches(hold, offer("o2", host_id=None))


def test_errors_that_stop_hold_nothing() -> None:
    assert hold_for(errors.InvalidRequest("x"), offer()) is None
    assert hold_for(errors.BadWorkload("x"), offer()) is None


def test_capacity_ranks_last_and_credentials_money_and_quota_drop() -> None:
    for error, drops in (
        (errors.NoCapacity("x"), False),
        (errors.BootFailed("x"), False),
        (errors.AuthFailed("x"), True),
        (errors.NoFunds("x"), True),
        (errors.QuotaExceeded("x"), True),
    ):
        hold = hold_for(error, offer())
        assert hold is not None
        assert hold.drops is drops
