"""Quantities as people write them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from policies import units
from policies.errors import BadRequest


@pytest.mark.parametrize(
    ("text", "gb"),
    [
        ("500", 500),
        ("500GB", 500),
        ("1.5TB", 1500),
        ("200GiB", 214.7483648),
        ("2TiB", 2199.023255552),
        (0, 0),
        (2.5, 2.5),
    ],
)
def test_a_volume_is_read_in_gb_of_ten_to_the_ninth(text: str | float, gb: float) -> None:
    assert units.volume_gb(text, "egress") == gb


@pytest.mark.parametrize(("text", "gib"), [("50", 50), ("200GiB", 200), ("2TiB", 2048), ("107.3741824GB", 100)])
def test_a_size_is_read_in_gib_of_two_to_the_thirtieth(text: str, gib: float) -> None:
    assert units.size_gib(text, "disk") == pytest.approx(gib, abs=1e-9)


@pytest.mark.parametrize(
    "text", ["", "GB", "-5", "-5GB", "500 GB", "500G", "500MB", "500gb", "5e3", "1,5TB", "ten", "nan", "inf"]
)
def test_anything_else_is_refused_as_a_volume(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^egress: "):
        units.volume_gb(text, "egress")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, None, [1]])
def test_values_that_are_no_numbers_are_refused(value: object) -> None:
    with pytest.raises(BadRequest, match=r"^egress: "):
        units.volume_gb(value, "egress")  # type: ignore[arg-type]


def test_a_unit_with_the_wrong_case_gets_a_hint() -> None:
    with pytest.raises(BadRequest) as error:
        units.volume_gb("500gb", "egress")
    assert error.value.hint == "write 500GB"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400), ("1.5h", 5400), ("0", 0)]
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert units.duration_s(text, "ttl") == seconds


def test_a_bare_duration_is_refused_where_no_unit_is_agreed_and_read_where_one_is() -> None:
    with pytest.raises(BadRequest, match="no unit") as error:
        units.duration_s("2", "ttl")
    assert error.value.hint == "write 2m, 2h or 2s"
    assert units.duration_s("2", "hours", bare="h") == 7200


@pytest.mark.parametrize("text", ["2w", "2 h", "h", "-1h", "2H", "1h30m"])
def test_anything_else_is_refused_as_a_duration(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^ttl: "):
        units.duration_s(text, "ttl")


def test_money_is_exact_and_may_have_a_dollar_sign() -> None:
    assert units.money("$0.10", "budget") == Decimal("0.10")
    assert units.money(0.1, "budget") == Decimal("0.1")
    with pytest.raises(BadRequest):
        units.money("NaN", "budget")
    with pytest.raises(BadRequest, match="not a whole number"):
        units.whole("1.5", "count")
