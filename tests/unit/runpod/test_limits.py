"""How long a 429 asks to wait."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.http import Reply
from providers.runpod.limits import GUESS_S, LONGEST_S, wait_s, windows
from tests.contract import runpod_golden as golden


def reply(headers: dict[str, str]) -> Reply:
    return Reply(429, httpx.Headers(headers), b"{}")


def test_the_documented_header_is_read() -> None:
    assert windows(golden.TOO_FAST_HEADERS["RateLimit"]) == {
        "minute": {"r": 0, "t": 12},
        "hour": {"r": 2800, "t": 1812},
        "day": {"r": 49500, "t": 45012},
    }


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("minute;r=0;t=12", ["minute"]),
        ('"a,b;c";r=1;t=2,"hour" ; r=3', ["a,b;c", "hour"]),
        ('"minute";r=0;t=12;pk="x;y,z"', ["minute"]),
        ("limit=60, remaining=0", []),
        ('"minute";r=0;t=12 garbage "hour"', []),
        ("", []),
        ('"unclosed;r=0;t=1', []),
    ],
)
def test_only_a_well_formed_list_counts(header: str, names: list[str]) -> None:
    assert list(windows(header)) == names


def test_numbers_inside_a_string_are_no_numbers() -> None:
    assert windows('"minute";r=3;pk=";r=0;t=99;"') == {"minute": {"r": 3}}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "12"}, 12.0),
        ({"RateLimit": '"minute";r=0;t=12, "hour";r=5;t=1812'}, 12.0),
        ({"RateLimit": '"minute";r=0;t=12, "hour";r=0;t=1812'}, 1812.0),
        ({"Retry-After": "12", "RateLimit": '"minute";r=0;t=12, "hour";r=0;t=1812'}, 1812.0),
        ({"Retry-After": "30", "RateLimit": '"minute";r=3;t=50'}, 30.0),
        ({}, GUESS_S),
        ({"RateLimit": '"minute";r=0'}, GUESS_S),
        ({"Retry-After": "soon"}, GUESS_S),
        ({"Retry-After": "9" * 400}, LONGEST_S),
        (
            {"Retry-After": "Sun, 22 Nov 2026 12:01:00 GMT", "Date": "Sun, 22 Nov 2026 12:00:00 GMT"},
            60.0,
        ),
        ({"Retry-After": "Sun, 22 Nov 2026 12:01:00 GMT"}, GUESS_S),
    ],
)
def test_the_longest_word_of_the_server_counts(headers: dict[str, str], seconds: float) -> None:
    assert wait_s(reply(headers)) == seconds


@given(st.text(alphabet='";=, rt0123456789abc\\*', max_size=60), st.text(max_size=20))
def test_no_header_breaks_the_reader(limit: str, retry: str) -> None:
    headers = {"RateLimit": limit, "Retry-After": retry.encode("ascii", "ignore").decode()}
    assert 0 <= wait_s(Reply(429, {k.lower(): v for k, v in headers.items()}, b"")) <= LONGEST_S
