"""A saved market: read, and refused with the line that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from policies.errors import BadOffers
from policies.judge import judge
from policies.offers import load_offers
from policies.policy import load
from policies.request import Request
from providers.base import Offer

Make = Callable[..., Offer]
GOOD: dict[str, Any] = {"offer_id": "a", "provider": "x", "gpu": "l40", "usd_per_hour": "0.69"}


def lines(*offers: dict[str, Any]) -> bytes:
    return "\n".join(json.dumps(offer) for offer in offers).encode()


def array(*offers: dict[str, Any]) -> bytes:
    return ("[\n" + ",\n".join(json.dumps(offer) for offer in offers) + "\n]\n").encode()


def test_an_array_and_lines_give_what_was_written(make: Make) -> None:
    offers = [make(), make(offer_id="b", native={"k": 1}, available_until=datetime(2027, 1, 1, tzinfo=UTC))]
    assert load_offers(msgspec.json.encode(offers)) == offers
    assert load_offers(b"\n".join(msgspec.json.encode(offer) for offer in offers) + b"\n\n") == offers
    assert load_offers(b'{"offers": ' + msgspec.json.encode(offers) + b', "sources": []}') == offers
    assert load_offers(b"\xef\xbb\xbf[]") == []


def test_missing_fields_are_unknown_and_a_bare_offer_can_be_planned() -> None:
    [offer] = load_offers(lines(GOOD))
    assert (offer.account, offer.egress, offer.disk_gib, offer.workloads) == (None, None, None, ())
    plan = judge([offer], Request.of(gpu="l40"), load("cheapest"), now=datetime(2026, 11, 22, tzinfo=UTC))
    assert plan.candidates[0].cost.total_usd == Decimal("16.56")
    assert plan.candidates[0].flags == ("egress_assumed", "boot_unknown", "disk_unknown")


def test_null_means_missing_even_where_a_field_has_a_default() -> None:
    bare = {**GOOD, "billing": None, "workloads": None, "gpu_count": None, "native": None, "zone": None}
    for text in (lines(bare), array(bare)):
        assert load_offers(text) == load_offers(lines(GOOD))


def test_prices_may_be_numbers_and_stay_exact() -> None:
    [offer] = load_offers(b'[{"offer_id": "a", "provider": "x", "gpu": "l40", "usd_per_hour": 0.1}]')
    assert offer.usd_per_hour == Decimal("0.1")


def test_model_names_are_made_canonical_and_unknown_ones_stay() -> None:
    found = load_offers(lines({**GOOD, "gpu": "NVIDIA L40S"}, {**GOOD, "gpu": "Wonder 9"}, {**GOOD, "gpu": "L40"}))
    assert [offer.gpu for offer in found] == ["l40s", "Wonder 9", "l40"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"offer_id": 5}, "offer_id: expected `str`, got `int`"),
        ({"usd_per_hour": "cheap"}, "usd_per_hour: "),
        ({"usd_per_hour": "NaN"}, "usd_per_hour: NaN is no amount"),
        ({"address_usd_per_hour": "Infinity"}, "address_usd_per_hour: Infinity is no amount"),
        ({"pricing": "gratis"}, "pricing: invalid enum value"),
        ({"observed_at": "2026-11-22T12:00:00"}, "observed_at: the time has no zone"),
        ({"available_until": "2026-11-22T12:00:00"}, "available_until: the time has no zone"),
        ({"egress": []}, "egress: the tiers must be a list of at least one"),
        ({"egress": [{"usd_per_gb": "NaN"}]}, "egress: the tiers"),
        ({"egress": [{"usd_per_gb": "x"}]}, "egress[0].usd_per_gb: "),
        ({"billing": {"increment_s": 0}}, "billing: increment_s must be at least 1"),
        ({"gpu": None}, "offer: object missing required field `gpu`"),
    ],
)
def test_a_wrong_offer_is_refused_with_its_line(bad: dict[str, Any], message: str) -> None:
    for text, line in ((lines(GOOD, GOOD, {**GOOD, **bad}), 3), (array(GOOD, GOOD, {**GOOD, **bad}, GOOD), 4)):
        with pytest.raises(BadOffers) as error:
            load_offers(text, file="market.json")
        assert str(error.value).startswith(f"market.json:{line}: {message}")


def test_a_wrong_offer_in_a_pretty_array_is_refused_with_the_line_where_it_begins() -> None:
    text = json.dumps([GOOD, {**GOOD, "gpu": 4}], indent=2).encode()
    with pytest.raises(BadOffers, match=r"^m\.json:8: gpu: "):
        load_offers(text, file="m.json")
    wrapped = json.dumps({"sources": [], "offers": [GOOD, {**GOOD, "gpu": 4}]}, indent=2).encode()
    with pytest.raises(BadOffers, match=r"^m\.json:10: gpu: "):
        load_offers(wrapped, file="m.json")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"", None),
        (b" \n ", None),
        (b"[1, 2", 1),
        (b'[\n{"offer_id": "a"},\n{"offer_id" "b"}]', 3),
        (lines(GOOD) + b"\n{oops}\n", 2),
        (lines(GOOD) + b"\n5\n", 2),
        (b"hello", 1),
        (b'{\n "offer_id": "a"\n}', 1),
        (b'["\xff"]', None),
    ],
)
def test_what_is_no_market_is_refused(text: bytes, line: int | None) -> None:
    with pytest.raises(BadOffers) as error:
        load_offers(text, file="m.json")
    assert line is None or error.value.line == line
    assert str(error.value).startswith("m.json:")
