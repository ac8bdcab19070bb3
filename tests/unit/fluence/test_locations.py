from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.fluence.locations import country_of


@pytest.mark.parametrize(
    ("text", "country"),
    [
        ("us-central-3", "US"),
        ("dulles-usa-1", "US"),
        ("sanjose-usa-2", "US"),
        ("kristiansand-norway-2", "NO"),
        ("paris-france-3", "FR"),
        ("Finland 2", "FI"),
        ("Texas", "US"),
        ("newyork-1", "US"),
        ("London, United Kingdom", "GB"),
        ("unitedkingdom-2", "GB"),
        ("albuquerque new mexico", "US"),
        ("fr-central-1", "FR"),
        ("atlanta-georgia-usa", "US"),
    ],
)
def test_documented_and_likely_places_are_understood(text: str, country: str) -> None:
    assert country_of(text) == country


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "eu-west-1",
        "georgia",
        "ca-central-1",
        "wilmington-de-1",
        "CA",
        "DE",
        "moon base",
        "1234",
        "paris-texas-france",
        "france or germany",
        "us and canada",
        "europe",
    ],
)
def test_what_does_not_settle_the_country_is_none(text: str | None) -> None:
    assert country_of(text) is None


@pytest.mark.parametrize(("text", "country"), [("US", "US"), ("gb", "GB"), ("DE", "DE"), ("CA", "CA")])
def test_container_places_are_iso_codes(text: str, country: str) -> None:
    assert country_of(text, iso=True) == country


@pytest.mark.parametrize("text", ["XX", "EU", "", None, "U"])
def test_a_code_that_does_not_exist_is_none(text: str | None) -> None:
    assert country_of(text, iso=True) is None


@given(st.text(), st.booleans())
def test_no_text_crashes_and_every_answer_is_a_code(text: str, iso: bool) -> None:
    found = country_of(text, iso=iso)
    assert found is None or (len(found) == 2 and found.isupper())
