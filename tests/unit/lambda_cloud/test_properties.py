"""Answers with missing, replaced and unknown fields: read with care, or refused with a typed error, never worse."""

from __future__ import annotations

import copy
import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.base import Offer, Phase
from providers.env import ManualEnv
from providers.errors import ProviderError
from providers.http import Reply
from providers.lambda_cloud import instances, keys, offers, request
from providers.lambda_cloud.errors import classify
from tests.contract import lambda_golden as golden

NOW = ManualEnv().now()
DELETE = object()

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text(max_size=20)
    | st.sampled_from(["129", "NaN", "-1", "1e9999", "active", "A10 (24 GB PCIe)", "0x L40 (0 GB)", "١x A10 (24 GB)"])
)
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside *value*."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


def spoiled(sample: Any) -> st.SearchStrategy[Any]:
    """*sample* with up to six of its values missing, replaced or extended."""
    change = st.tuples(st.sampled_from(places(sample)), st.just(DELETE) | junk)
    return st.lists(change, min_size=1, max_size=6).map(lambda changes: spoil(sample, changes))


def spoil(sample: Any, changes: list[tuple[tuple[Any, ...], Any]]) -> Any:
    whole = copy.deepcopy(sample)
    for path, value in changes:
        holder = whole
        try:
            for key in path[:-1]:
                holder = holder[key]
            if value is DELETE:
                del holder[path[-1]]
            else:
                holder[path[-1]] = value
            if isinstance(holder, dict):
                holder["some_new_field"] = 1 if value is DELETE else value
        except (LookupError, TypeError):
            continue  # an earlier change took that place away
    return whole


@given(spoiled(golden.INSTANCE_TYPES["data"]))
def test_any_catalogue_gives_sensible_offers(types: Any) -> None:
    for name, item in types.items():
        for offer in offers.offers_of(name, item, account="a", now=NOW):
            assert offer.usd_per_hour is None or 0 < offer.usd_per_hour <= 10_000
            assert offer.gpu_count >= 1
            assert offer.gpu == offer.gpu.lower() != ""
            assert (offer.available is True) == (offer.region is not None)
            assert msgspec.json.decode(msgspec.json.encode(offer), type=Offer) == offer
            fresh = offers.requote(offer, item, NOW)
            assert (fresh.usd_per_hour, fresh.offer_id) == (offer.usd_per_hour, offer.offer_id)
            if offer.available:
                assert fresh.available


@given(junk, st.text(max_size=20))
def test_any_entry_gives_offers_or_none(item: Any, name: str) -> None:
    for offer in offers.offers_of(name, item, account="a", now=NOW):
        assert offer.usd_per_hour is None or offer.usd_per_hour > 0


@given(spoiled(golden.ACTIVE), st.sampled_from([golden.OWNER, "f" * 32]))
def test_any_machine_can_be_read(machine: Any, owner: str) -> None:
    machine["id"] = golden.INSTANCE_ID
    seen = instances.read(machine, account="a")
    assert seen.phase in Phase
    assert seen.usd_per_hour is None or isinstance(seen.usd_per_hour, Decimal)
    assert seen.address is None or (seen.phase is Phase.RUNNING and seen.address.port == 22)
    assert all(isinstance(text, str) for pair in seen.handle.items() for text in pair)
    assert instances.has_token(machine, golden.TOKEN, owner) <= instances.is_ours(machine, owner)
    if instances.is_ours(machine, golden.OWNER):
        assert instances.is_marked(machine)


@given(st.lists(junk | spoiled(golden.SSH_KEY_ADDED["data"]), max_size=4))
def test_any_list_of_keys_finds_ours_or_nothing(rows: list[Any]) -> None:
    listed = [row for row in rows if isinstance(row, dict)]
    name = keys.registered(listed, golden.PUBLIC_KEY, golden.OWNER)
    assert name is None or any(row.get("name") == name for row in listed)


@given(spoiled(golden.IMAGES["data"]))
def test_any_list_of_images_gives_a_fitting_one_or_none(rows: list[Any]) -> None:
    listed = [row for row in rows if isinstance(row, dict)]
    chosen = request.image_for(listed, region="europe-central-1", arch="arm64")
    assert chosen is None or any(row.get("id") == chosen and row.get("architecture") == "arm64" for row in listed)


@given(
    st.integers(400, 599),
    spoiled(golden.ERRORS["quota-exceeded"][1]) | junk,
    st.sampled_from(["launch", "find", "terminate", "owned", "offers", "account"]),
)
def test_any_refusal_is_classed_with_a_text(status: int, body: Any, verb: str) -> None:
    raw = json.dumps(body, default=str).encode()
    error = classify(Reply(status, {}, raw), verb)
    assert isinstance(error, ProviderError)
    assert error.message
    assert error.code
    if status >= 500 and verb == "launch":
        assert error.type in {"OutcomeUnknown", "Unavailable", "Unclassified"}


@given(st.integers(400, 599), st.binary(max_size=80))
def test_any_bytes_are_classed(status: int, raw: bytes) -> None:
    assert classify(Reply(status, {}, raw), "find").message


@pytest.mark.parametrize("text", ["", "now", "2026-99-99", "2026-11-22T12:00:00", "2026-11-22T12:00:00+05:00"])
def test_any_time_in_a_handle_is_read_or_unknown(text: str) -> None:
    age = instances.age_s({"made_at": text}, NOW)
    assert (age is None) == (len(text) < 19)
    assert instances.age_s(None, NOW) is None
