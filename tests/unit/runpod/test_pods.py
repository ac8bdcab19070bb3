"""Pods as instances: whose, which phase, where."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.base import Address, Instance, Phase
from providers.errors import BootFailed
from providers.http import Reply
from providers.naming import make
from providers.runpod import pods
from tests.contract import runpod_golden as golden

OWNER = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"
TOKEN = make(OWNER, "abcdefghi", 1)
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

Build = Callable[..., dict[str, Any]]


def read(pod: dict[str, Any], **more: Any) -> Instance:
    wired = Reply(200, {}, json.dumps(pod).encode()).json()
    return pods.read(wired, str(pod.get("id")), account="a", seen_at=NOW, **more)


def test_a_ready_pod_has_its_address_rate_and_mark(pod: Build) -> None:
    seen = read(pod())
    assert (seen.id, seen.token, seen.owner, seen.phase) == ("5xpma5eg46tqjq", TOKEN, OWNER, Phase.RUNNING)
    assert seen.address == Address(host="213.173.104.74", port=35558, user="root")
    assert seen.usd_per_hour == Decimal("0.99")
    assert seen.created_at == datetime(2026, 8, 20, 6, 16, 19, 436000, tzinfo=UTC)
    assert all(isinstance(value, str) for value in seen.handle.values())


def test_running_without_runtime_and_address_is_still_booting(pod: Build) -> None:
    seen = read(pod(golden.RUNNING_BUT_BOOTING))
    assert (seen.phase, seen.address, seen.failure) == (Phase.RUNNING, None, None)


def test_the_proxy_is_never_handed_out(pod: Build) -> None:
    for base in (golden.CREATED, golden.RUNNING_BUT_BOOTING, golden.STOPPED):
        assert base["ssh"]["proxy"]
        assert read(pod(base)).address is None


@pytest.mark.parametrize(
    ("status", "phase", "fails"),
    [
        ("PROVISIONING", Phase.PENDING, False),
        ("STARTING", Phase.PENDING, False),
        ("RUNNING", Phase.RUNNING, False),
        ("EXITED", Phase.FAILED, True),
        ("ERROR", Phase.FAILED, True),
        ("TERMINATED", Phase.GONE, False),
        ("HIBERNATING", Phase.UNKNOWN, False),
        (None, Phase.UNKNOWN, False),
        (3, Phase.UNKNOWN, False),
    ],
)
def test_each_status_has_its_phase(pod: Build, status: Any, phase: Phase, fails: bool) -> None:
    seen = read(pod(status=status))
    assert seen.phase is phase
    assert isinstance(seen.failure, BootFailed) is fails
    if seen.failure:
        assert (seen.failure.scope, seen.failure.code) == ("host", f"pod-{str(status).lower()}")
    assert (seen.address is not None) is (phase is Phase.RUNNING), "an old address of a stopped pod is no address"


def test_the_cost_of_a_pod_that_does_not_run_is_not_trusted(pod: Build) -> None:
    assert golden.STOPPED["cost"] == 0.72
    assert read(pod(golden.STOPPED)).usd_per_hour is None
    assert read(pod(golden.CREATED)).usd_per_hour is None
    assert read(pod(golden.CREATED), created=True).usd_per_hour == Decimal("0.99")
    assert read(pod(cost=0)).usd_per_hour is None


@pytest.mark.parametrize(
    "direct",
    [
        None,
        {},
        [],
        {"host": "", "port": 22},
        {"host": "1.2.3.4", "port": 0},
        {"host": "1.2.3.4", "port": 70001},
        {"host": "1.2.3.4", "port": True},
        {"host": "1.2.3.4", "port": "22"},
        {"port": 22},
    ],
)
def test_half_an_address_is_none(pod: Build, direct: Any) -> None:
    assert read(pod(ssh={"proxy": None, "direct": direct})).address is None


def test_the_mark_is_the_name_and_the_owner_in_the_environment(pod: Build) -> None:
    assert pods.is_ours(pod(), OWNER)
    assert not pods.is_ours(pod(), OTHER)
    # The name mark alone counts where the environment does not say.
    for env in ({}, None, {"ORCH_OWNER": ""}, "redacted"):
        assert pods.is_ours(pod(env=env), OWNER)
    # The same seven characters, another installation.
    assert not pods.is_ours(pod(env={"ORCH_OWNER": OTHER}), OWNER)
    # A clone that a person made and named, with our environment.
    assert not pods.is_ours(pod(name="my copy"), OWNER)


def test_a_pod_whose_name_is_left_out_is_known_by_its_environment(pod: Build) -> None:
    nameless = pod()
    del nameless["name"]
    assert pods.is_ours(nameless, OWNER)
    assert read(nameless).token == TOKEN
    assert not pods.is_ours({"id": "x"}, OWNER)


def test_an_attempt_is_known_by_name_and_owner(pod: Build) -> None:
    assert pods.has_token(pod(), TOKEN, OWNER)
    assert not pods.has_token(pod(env={"ORCH_OWNER": OTHER}), TOKEN, OWNER)
    assert not pods.has_token(pod(name=make(OWNER, "abcdefghi", 2)), TOKEN, OWNER)


def test_our_clock_tells_when_we_made_it_and_theirs_when_we_only_found_it(pod: Build) -> None:
    assert pods.made_at(read(pod(), created=True).handle) == NOW
    assert pods.made_at(read(pod()).handle) == datetime(2026, 8, 20, 6, 16, 19, 436000, tzinfo=UTC)
    assert pods.made_at(read(pod(createdAt="2026-08-20 06:16:19.436 +0000 UTC")).handle) == NOW
    assert pods.made_at(None) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
SSH = st.fixed_dictionaries({"direct": st.dictionaries(st.sampled_from(["host", "port", "username"]), JSON)})
FIELDS = sorted(golden.READY)


@given(
    changes=st.dictionaries(st.sampled_from([*FIELDS, "somethingNew"]), JSON | SSH, max_size=6),
    missing=st.sets(st.sampled_from(FIELDS)),
    created=st.booleans(),
)
def test_no_pod_breaks_the_reader(changes: dict[str, Any], missing: set[str], created: bool) -> None:
    built = {key: value for key, value in {**golden.READY, **changes}.items() if key not in missing}
    seen = read(built, created=created)
    assert isinstance(seen.phase, Phase)
    assert seen.created_at is None or seen.created_at.tzinfo is UTC
    assert seen.usd_per_hour is None or seen.usd_per_hour > 0
    assert pods.is_ours(built, OWNER) in (True, False)
    assert pods.has_token(built, TOKEN, OWNER) in (True, False)


@given(st.datetimes().map(str) | st.text(max_size=30))
def test_no_time_breaks_the_reader(text: str) -> None:
    moment = pods.made_at({"made_at": text})
    assert moment is None or moment.tzinfo is UTC
