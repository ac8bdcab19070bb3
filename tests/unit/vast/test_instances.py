"""Instances as the wire shows them: phase, failure, address, rate and mark."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from providers.base import Address, AttemptRef, Instance, Phase
from providers.errors import BadWorkload, BootFailed, NoCapacity, PriceChanged
from providers.vast import instances
from providers.vast.instances import Promise
from tests.contract import vast_golden as golden

NOW = datetime(2026, 11, 22, 12, 10, tzinfo=UTC)
OWNER = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"
TOKEN = "orch-aerukz4-abcdefghi-01"
PROMISE = Promise(storage=Decimal("0.2"), egress=Decimal(0), ingress=Decimal(0))


def exact(row: Any) -> Any:
    return json.loads(json.dumps(row), parse_float=Decimal)


def read(row: Any, promise: Promise = PROMISE, now: datetime = NOW, **changes: Any) -> Instance:
    return instances.read(exact({**row, **changes}), account="271828", now=now, promise=promise)


def test_a_running_machine_has_its_own_ssh_port_and_never_the_proxys() -> None:
    seen = read(golden.INSTANCE)
    assert (seen.id, seen.token, seen.owner, seen.phase) == ("27182818", TOKEN, OWNER, Phase.RUNNING)
    assert seen.address == Address(host="203.0.113.42", port=41022, user="root")
    assert (seen.failure, seen.usd_per_hour) == (None, Decimal("0.52"))
    assert seen.created_at == datetime(2026, 11, 22, 12, 0, 0, 200000, tzinfo=UTC)
    assert seen.handle == {"kind": "instance", "made_at": "2026-11-22T12:00:00.200000+00:00"}


@pytest.mark.parametrize(
    "changes",
    [
        {"ports": None},
        {"ports": {}},
        {"ports": [8080, 22]},
        {"ports": {"22/tcp": None}},
        {"ports": {"22/tcp": [{"HostPort": "x"}, {}, 7]}},
        {"ports": {"22/tcp": [{"HostPort": "70000"}]}},
        {"public_ipaddr": None},
        {"public_ipaddr": " \n"},
        {"public_ipaddr": "-oProxyCommand=evil"},
    ],
)
def test_without_a_direct_port_there_is_no_address(changes: dict[str, Any]) -> None:
    seen = read(golden.INSTANCE, **changes)
    assert (seen.phase, seen.address) == (Phase.RUNNING, None)


def test_an_address_may_be_a_number_or_the_second_of_two() -> None:
    ports = {"22/tcp": [{"HostPort": ""}, {"HostIp": "::", "HostPort": 41023}]}
    assert read(golden.INSTANCE, ports=ports).address == Address(host="203.0.113.42", port=41023)


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        (None, Phase.PENDING),
        ("created", Phase.PENDING),
        ("loading", Phase.PENDING),
        (" Loading\n", Phase.PENDING),
        ("running", Phase.RUNNING),
        ("frozen", Phase.UNKNOWN),
        ("rebooting", Phase.UNKNOWN),
        ("some new word", Phase.UNKNOWN),
        (7, Phase.PENDING),
    ],
)
def test_what_the_host_reports_is_the_phase(status: Any, phase: Phase) -> None:
    seen = read(golden.NEW, actual_status=status)
    assert (seen.phase, seen.failure) == (phase, None)
    assert seen.address is None


@pytest.mark.parametrize(("status", "code"), [("exited", "exited"), ("offline", "offline"), ("unknown", "unknown")])
def test_a_host_that_fails_is_blamed(status: str, code: str) -> None:
    seen = read(golden.INSTANCE, actual_status=status)
    assert seen.phase is Phase.FAILED
    assert isinstance(seen.failure, BootFailed)
    assert (seen.failure.code, seen.failure.scope) == (code, "host")
    assert seen.usd_per_hour is None


def test_no_news_of_a_host_is_a_failure_while_it_boots_and_no_certainty_later() -> None:
    assert read(golden.INSTANCE, actual_status="unknown").phase is Phase.FAILED
    later = read(golden.INSTANCE, now=NOW + timedelta(hours=2), actual_status="unknown")
    assert (later.phase, later.failure) == (Phase.UNKNOWN, None)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"actual_status": "running"},
        {"actual_status": "stopped"},
        {"actual_status": None},
        {"actual_status": "exited", "cur_state": "running"},
        {"actual_status": "stopped", "cur_state": "unloaded", "next_state": None},
    ],
)
def test_an_outbid_machine_has_failed_for_lack_of_capacity(changes: dict[str, Any]) -> None:
    seen = read(golden.OUTBID, **changes)
    assert (seen.phase, seen.address) == (Phase.FAILED, None)
    assert isinstance(seen.failure, NoCapacity)
    assert (seen.failure.code, seen.failure.scope) == ("outbid", "offer")
    assert "0.21" in seen.failure.message


def test_what_a_too_low_bid_left_has_failed() -> None:
    assert read(golden.LEFT).phase is Phase.FAILED


@pytest.mark.parametrize("states", [("stopped", "stopped", "running"), ("stopped", "running", "running")])
def test_a_machine_on_its_way_up_is_not_taken_for_outbid(states: tuple[str, str, str]) -> None:
    cur, following, intended = states
    seen = read(
        golden.NEW, is_bid=True, cur_state=cur, next_state=following, intended_status=intended, actual_status=None
    )
    assert seen.phase is Phase.PENDING


@pytest.mark.parametrize("status", ["stopped", "running"])
def test_a_stopped_machine_that_was_no_bid_blames_nobody(status: str) -> None:
    stopped = {"cur_state": "stopped", "next_state": "stopped", "intended_status": "stopped"}
    seen = read(golden.INSTANCE, actual_status=status, **stopped)
    assert isinstance(seen.failure, NoCapacity)
    assert (seen.phase, seen.failure.code, seen.failure.scope) == (Phase.FAILED, "stopped", "offer")


def test_a_machine_whose_listing_has_ended_says_so() -> None:
    seen = read(golden.OUTBID, end_date=1795348900)
    assert isinstance(seen.failure, NoCapacity)
    assert seen.failure.code == "listing-ended"


@pytest.mark.parametrize("status", ["loading", "created"])
def test_an_image_that_cannot_be_had_is_the_users_fault_only_if_it_is_the_users(status: str) -> None:
    mine = read(golden.LOADING, actual_status=status, status_msg=golden.STATUS_BAD_IMAGE)
    assert (type(mine.failure), mine.phase) == (BootFailed, Phase.FAILED)
    theirs = read(golden.LOADING, Promise(own_image=False), actual_status=status, status_msg=golden.STATUS_BAD_IMAGE)
    assert (type(theirs.failure), theirs.phase) == (BadWorkload, Phase.FAILED)


@pytest.mark.parametrize(
    "text", ["pull access denied for me/mine", "failed to resolve reference x", "unauthorized: no"]
)
def test_other_words_for_an_image_that_cannot_be_had(text: str) -> None:
    assert read(golden.LOADING, status_msg=text).phase is Phase.FAILED


def test_a_container_that_cannot_be_started_is_the_hosts_fault() -> None:
    seen = read(golden.NEW, Promise(own_image=False), actual_status="created", status_msg=golden.STATUS_OCI)
    assert isinstance(seen.failure, BootFailed)
    assert (seen.failure.code, seen.failure.scope) == ("oci-runtime", "host")


def test_words_of_a_running_machine_are_not_read_for_failures() -> None:
    assert read(golden.INSTANCE, status_msg=golden.STATUS_OCI).phase is Phase.RUNNING


@pytest.mark.parametrize(
    ("changes", "rate"),
    [
        ({}, "0.52"),
        ({"dph_total": None}, "0.52"),
        ({"dph_base": None}, "0.52"),
        ({"dph_base": 0.6, "dph_total": 0.615}, "0.6"),
        ({"dph_base": None, "dph_total": None}, None),
        ({"disk_space": None}, "0.52"),
        ({"dph_base": 0, "dph_total": 0}, None),
        # A total with more in it than was promised: a dearer disk, or something nobody named.
        ({"storage_cost": 0.4, "dph_total": 0.55}, "0.535"),
        ({"dph_total": 0.615}, "0.6"),
        # While it is loading the GPU may not be in the total.
        ({"actual_status": "loading", "dph_total": 0.015}, "0.52"),
    ],
)
def test_the_reported_rate_compares_with_the_offers(changes: dict[str, Any], rate: str | None) -> None:
    assert read(golden.INSTANCE, **changes).usd_per_hour == (None if rate is None else Decimal(rate))


def test_without_a_promise_the_machines_own_disk_price_is_taken_off() -> None:
    seen = read(golden.INSTANCE, Promise(), storage_cost=0.4, dph_total=0.55)
    assert seen.usd_per_hour == Decimal("0.52")


@pytest.mark.parametrize("field", ["inet_up_cost", "inet_down_cost"])
def test_traffic_dearer_than_promised_dooms_the_machine(field: str) -> None:
    seen = read(golden.INSTANCE, **{field: 0.01})
    assert isinstance(seen.failure, PriceChanged)
    assert seen.phase is Phase.FAILED
    assert read(golden.INSTANCE, Promise(), **{field: 0.01}).phase is Phase.RUNNING
    paid = Promise(egress=Decimal("0.01"), ingress=Decimal("0.01"))
    assert read(golden.INSTANCE, paid, **{field: 0.0101}).phase is Phase.RUNNING


def test_the_promise_of_an_attempt(attempt: Callable[..., AttemptRef]) -> None:
    assert instances.promise_of(attempt()) == PROMISE


# -- whose it is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "ours"),
    [
        ({}, True),
        ({"extra_env": None}, True),  # the name alone has to do
        ({"extra_env": {"ORCH_OWNER": OWNER}}, True),
        ({"extra_env": [f"ORCH_OWNER={OWNER}"]}, True),
        ({"extra_env": [["ORCH_OWNER", OTHER]]}, False),
        ({"extra_env": [f"ORCH_OWNER={OTHER}"]}, False),
        ({"extra_env": [["ORCH_OWNER"], 7, None, ["A", "B", "C"]]}, True),
        ({"label": "my-training-box"}, False),  # a person's copy keeps our environment
        ({"label": None}, False),
        ({"label": "orch-but-not-really", "extra_env": []}, False),
        ({"label": None, "extra_env": []}, False),
        ({"label": f" {TOKEN}\n"}, True),
    ],
)
def test_our_mark_is_the_label_and_the_full_owner_id(changes: dict[str, Any], ours: bool) -> None:
    row = exact({**golden.INSTANCE, **changes})
    assert instances.is_ours(row, OWNER) is ours
    assert instances.has_token(row, TOKEN, OWNER) is ours


def test_an_answer_without_labels_is_known_by_its_environment() -> None:
    row = {name: value for name, value in golden.INSTANCE.items() if name != "label"}
    assert instances.is_ours(row, OWNER)
    assert instances.token_of(row) == TOKEN


def test_an_owner_with_the_same_seven_characters_is_somebody_else() -> None:
    twin = OWNER[:12] + "0" * 20
    assert not instances.is_ours(golden.INSTANCE, twin)


def test_the_time_of_creation_comes_back_out_of_the_handle() -> None:
    seen = read(golden.INSTANCE)
    assert instances.made_at(seen.handle) == seen.created_at
    assert instances.made_at({}) is None
    assert instances.made_at(None) is None
    assert instances.made_at({"made_at": "yesterday"}) is None
