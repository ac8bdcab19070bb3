"""Answers with holes, extras and values of other types are read or refused; nothing else ever comes out."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from providers.base import Offer, Query
from providers.errors import Unavailable
from providers.http import Reply
from providers.vast import fields, instances, limits, offers, search
from providers.vast.client import _object, _rows
from providers.vast.errors import classify
from tests.contract import vast_golden as golden

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DELETE = object()
OWNER = "0123456789abcdef0123456789abcdef"

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text(max_size=20)
    | st.sampled_from(
        ["NaN", "-1", "22", "stopped", "L40S", "Frankfurt, DE", "1e9", Decimal("1e999999"), Decimal("1e-999999")]
    )
)
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def spoiled(sample: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """*sample* with up to eight of its fields missing or replaced, and some that nobody knows."""
    change = st.tuples(st.sampled_from(sorted(sample)), st.just(DELETE) | junk)
    extra = st.dictionaries(st.text(min_size=1, max_size=8), junk, max_size=3)
    return st.builds(_spoil, st.just(sample), st.lists(change, max_size=8), extra)


def _spoil(sample: dict[str, Any], changes: list[tuple[str, Any]], extra: dict[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {**extra, **json.loads(json.dumps(copy.deepcopy(sample)), parse_float=Decimal)}
    for name, value in changes:
        if value is DELETE:
            whole.pop(name, None)
        else:
            whole[name] = value
    return whole


def check_offer(offer: Offer, kind: str) -> None:
    assert offers.target(offer)[0] == kind
    assert offer.gpu == offer.gpu.lower()
    assert offer.gpu_count > 0
    assert offer.usd_per_hour is None or 0 < offer.usd_per_hour <= 10_000
    assert offer.egress is None or offer.egress[0].usd_per_gb >= 0
    assert offer.ingress_usd_per_gb is None or offer.ingress_usd_per_gb >= 0
    assert offer.storage_usd_per_gib_month is None or offer.storage_usd_per_gib_month >= 0
    assert offer.reliability is None or 0 <= offer.reliability <= 1
    assert offer.country is None or len(offer.country) == 2
    assert offer.available_until is None or offer.available_until.tzinfo is UTC
    assert msgspec.json.decode(msgspec.json.encode(offer), type=Offer) == offer


@pytest.mark.parametrize("kind", ["on-demand", "bid"])
@pytest.mark.parametrize("sample", [golden.OFFER, golden.COMMUNITY_OFFER])
def test_rows_with_random_holes_and_extras_are_offers_or_nothing(kind: search.Kind, sample: dict[str, Any]) -> None:
    @given(spoiled(sample))
    @example(sample)
    def hold(row: dict[str, Any]) -> None:
        offer = offers.read(row, kind, disk=54, account="1", now=NOW)
        if offer is not None:
            check_offer(offer, kind)
            offers.fits(row, offer, Query(gpus=("l40s",), countries=("DE",), egress_free=True))
            offers.dearer(offer, offer)
        start = search.next_start([row] * golden.MOST_ROWS, kind)
        assert start is None or start > 0

    hold()


@given(spoiled(golden.OFFER), spoiled(golden.OFFER))
def test_terms_can_always_be_compared_and_never_differ_from_themselves(one: Any, other: Any) -> None:
    first = offers.read(one, "on-demand", disk=54, account="1", now=NOW)
    second = offers.read(other, "on-demand", disk=54, account="1", now=NOW)
    if first is not None and second is not None:
        assert offers.dearer(first, first) is None
        offers.dearer(first, second)


@given(spoiled(golden.INSTANCE) | spoiled(golden.OUTBID) | spoiled(golden.NEW))
@example(golden.LEFT)
def test_any_instance_with_an_id_is_read(row: dict[str, Any]) -> None:
    row["id"] = 7
    promise = instances.Promise(storage=Decimal("0.2"), egress=Decimal(0), ingress=Decimal(0))
    seen = instances.read(row, account="1", now=NOW, promise=promise)
    assert seen.id == "7"
    assert seen.address is None or (seen.address.host and 0 < seen.address.port < 65_536)
    assert seen.usd_per_hour is None or seen.usd_per_hour > 0
    assert (seen.failure is None) == (str(seen.phase) != "failed")
    assert all(isinstance(part, str) for pair in seen.handle.items() for part in pair)
    assert instances.made_at(seen.handle) is not None
    instances.is_ours(row, OWNER)
    instances.has_token(row, "x", OWNER)


@given(junk)
def test_any_json_as_an_envelope_is_read_or_refused(answer: Any) -> None:
    for read in (_object, _rows):
        with contextlib.suppress(Unavailable):
            assert read(answer, "x") == answer


def _verbs() -> Iterator[str]:
    yield from ("account", "offers", "more", "price", "launch", "find", "owned", "terminate", "key", "new")


@given(st.sampled_from([200, *range(400, 600)]), st.binary(max_size=200), st.sampled_from(list(_verbs())))
def test_any_refusal_becomes_a_typed_error(status: int, body: bytes, verb: str) -> None:
    assert classify(Reply(status, {}, body), verb).message


@given(
    st.sampled_from([200, *range(400, 600)]),
    st.dictionaries(st.sampled_from(["success", "error", "msg", "detail"]), junk),
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_refusal_in_json_becomes_a_typed_error(status: int, body: dict[str, Any]) -> None:
    reply = Reply(status, {}, json.dumps(body, default=str).encode())
    for verb in _verbs():
        assert classify(reply, verb).message


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40), st.binary(max_size=60))
def test_any_headers_give_a_wait_in_bounds(after: str, reset: str, date: str, body: bytes) -> None:
    reply = Reply(429, {"retry-after": after, "x-ratelimit-reset": reset, "date": date}, body)
    for verb in _verbs():
        assert 0 < limits.wait_s(reply, verb) <= limits.LONGEST_S
    assert 0 < limits.quota_s(reply) <= limits.LONGEST_S


@given(scalars)
def test_single_values_are_read_only_if_they_make_sense(value: Any) -> None:
    found = fields.number(value)
    assert found is None or (found.is_finite() and found >= 0)
    whole = fields.whole(value)
    assert whole is None or whole > 0
    when = fields.moment(value)
    assert when is None or 2000 <= when.year <= 2100
    assert fields.country(value) is None or isinstance(value, str)


@given(st.integers(0, 100_000))
def test_a_disk_in_gb_is_never_smaller_than_asked_for(gib: int) -> None:
    gb = fields.disk_gb(gib)
    assert gb * 10**9 >= gib * 2**30
    assert gb >= 8
    assert gb == 8 or (gb - 1) * 10**9 < gib * 2**30
