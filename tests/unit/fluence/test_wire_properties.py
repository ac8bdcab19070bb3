from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from providers.errors import ProviderError
from providers.fluence import wire
from providers.fluence.errors import classify
from providers.fluence.instances import doomed, instance_of, ssh_address
from providers.fluence.offers import offers_of, target
from providers.http import Reply
from tests.contract import fluence_golden as golden

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DELETE = object()

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text(max_size=20)
    | st.sampled_from(["48Gi", "0Gi", "1e9", "USDC", "NaN", "-1", "22", "ACTIVE"])
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
    return st.lists(change, min_size=1, max_size=6).map(lambda changes: _spoil(sample, changes))


def _spoil(sample: Any, changes: list[tuple[tuple[Any, ...], Any]]) -> Any:
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
                holder["some_new_field"] = value if value is not DELETE else 1
        except (LookupError, TypeError):
            continue  # an earlier change took that place away
    return whole


PLANS: dict[str, tuple[Any, Callable[[Any], list[wire.Plan]]]] = {
    "containers": (golden.CONTAINER_PLANS, wire.container_plans),
    "vms": (golden.VM_PLANS, lambda answer: wire.machine_plans("vms", answer)),
}


def check_plans(read: Callable[[Any], list[wire.Plan]], answer: Any) -> None:
    try:
        plans = read(answer)
    except ProviderError:
        return
    for plan in plans:
        for offer in offers_of(plan, account="key-1", observed_at=NOW):
            assert offer.gpu
            assert offer.gpu_count > 0
            assert offer.usd_per_hour is None or offer.usd_per_hour > 0
            assert offer.gpu_memory_gib is None or offer.gpu_memory_gib > 0
            assert target(offer)[:2] == (plan.kind, plan.id)
            assert all(isinstance(value, str) for value in offer.native.values())


@pytest.mark.parametrize("kind", PLANS)
def test_plans_with_random_holes_and_extras_are_read_or_refused(kind: str) -> None:
    sample, read = PLANS[kind]

    @given(spoiled(sample))
    @example(sample)
    def hold(answer: Any) -> None:
        check_plans(read, answer)

    hold()


@given(junk)
def test_any_json_as_a_plan_list_is_read_or_refused(answer: Any) -> None:
    for _, read in PLANS.values():
        check_plans(read, answer)


@given(spoiled(golden.CONTAINER_DETAIL) | spoiled(golden.VM_DETAIL) | junk)
def test_any_detail_is_read_or_refused(answer: Any) -> None:
    for kind in wire.KINDS:
        machine = wire.machine(kind, answer)
        if machine is not None:
            seen = instance_of(machine, account="key-1", with_address=True)
            assert seen.id
            assert seen.usd_per_hour is None or seen.usd_per_hour > 0
            assert seen.created_at is None or seen.created_at.tzinfo is UTC


@given(spoiled(golden.VM_LIST) | spoiled(golden.CONTAINER_LIST) | junk)
def test_any_instance_list_is_read_or_refused(answer: Any) -> None:
    try:
        found = wire.machines("vms", answer)
    except ProviderError:
        return
    assert len(found) == len(answer["data"] if isinstance(answer, dict) else answer)


@given(st.integers(400, 599), st.binary(max_size=200), st.sampled_from(["offers", "launch", "terminate"]))
def test_any_refusal_becomes_a_typed_error(status: int, body: bytes, verb: str) -> None:
    error = classify(Reply(status, {}, body), verb)
    assert error.message


@given(st.text())
def test_any_text_may_stand_where_an_ssh_command_should(text: str) -> None:
    found = ssh_address(text)
    assert found is None or not found.host.startswith("-")


@given(st.lists(st.text(), max_size=5), st.booleans())
def test_any_event_lines_are_read(events: list[str], own_image: bool) -> None:
    doomed(events, own_image=own_image)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, Decimal(1)),
        ("0.5", Decimal("0.5")),
        (Decimal("1e-30"), None),
        (Decimal("1e999999"), None),
        (float("nan"), None),
        (float("inf"), None),
        (-1, None),
        (True, None),
        ("", None),
        (None, None),
    ],
)
def test_numbers_are_read_only_if_they_make_sense(value: Any, number: Decimal | None) -> None:
    assert wire.number(value) == number


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026-03-04T09:12:05.100200Z", "2026-03-04T09:12:05.100200+00:00"),
        ("+002025-03-04T09:12:05Z", "2025-03-04T09:12:05+00:00"),
        ("2026-03-04T11:12:05+02:00", "2026-03-04T09:12:05+00:00"),
        ("2026-03-04T09:12:05", "2026-03-04T09:12:05+00:00"),
    ],
)
def test_times_are_read_in_utc_even_with_a_bogus_year(text: str, iso: str) -> None:
    found = wire.moment(text)
    assert found is not None
    assert found.isoformat() == iso


@pytest.mark.parametrize("text", ["", "yesterday", None, 7, "9999-12-31T23:59:59-23:00"])
def test_what_is_no_time_is_none(text: Any) -> None:
    assert wire.moment(text) is None
