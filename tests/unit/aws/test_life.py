"""Finding, listing and ending machines; the account; the check; settings."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from providers import errors
from providers.aws import bulk, credentials, regions
from providers.aws.adapter import Aws
from providers.base import AttemptRef, Context, Instance, Phase
from providers.env import ManualEnv
from providers.http import BadUrl
from tests.unit.aws.conftest import ACCOUNT, KEY_ID, OTHER_OWNER, OWNER, SECRET, TOKEN
from tests.unit.aws.wire import (
    Answer,
    Asked,
    Wire,
    identity,
    instance,
    items,
    json_refused,
    refused,
    reservations,
    said,
    tag_set,
    terminating,
    xml,
)

ID = "i-0123456789abcdef0"
OURS = tag_set(Name=TOKEN, orch_owner=OWNER, orch_lease="abcdefghi", orch_token=TOKEN)
NOT_FOUND = refused("InvalidInstanceID.NotFound", 400, f"The instance ID '{ID}' does not exist")
GROUPS = items("groupSet", "<groupId>sg-0b</groupId><groupName>orch-x-ssh</groupName>") + ""


def described(*found: str) -> Answer:
    return xml("DescribeInstances", reservations(*found))


@pytest.fixture
def machine() -> Instance:
    """A machine made at noon, by its handle alone."""
    handle = {"region": "us-east-1", "made_at": "2026-11-22T12:00:00+00:00", "groups": "sg-0b"}
    return Instance(provider="aws", account=ACCOUNT, id=ID, handle=handle, token=TOKEN)


# -- find and owned ---------------------------------------------------------------------------------------


async def test_an_attempt_is_found_by_its_zonal_client_token(aws: Aws, wire: Wire, attempt: AttemptRef) -> None:
    wire.on("DescribeInstances", described(instance(state="running", ip="198.18.0.7", tags=OURS)))
    found = await aws.find(attempt)
    assert found is not None
    assert (found.id, found.token, found.owner, found.phase) == (ID, TOKEN, OWNER, Phase.RUNNING)
    assert found.address is not None
    assert (found.address.host, found.address.port, found.address.user) == ("198.18.0.7", 22, "ubuntu")
    asked = wire.of("DescribeInstances")[0].params
    assert (asked["Filter.1.Name"], asked["Filter.1.Value.1"]) == ("client-token", f"{TOKEN}-us-east-1a")


async def test_a_known_machine_is_found_by_its_id_and_none_if_ec2_does_not_know_it(
    aws: Aws, wire: Wire, attempt: AttemptRef
) -> None:
    known = msgspec.structs.replace(attempt, instance_id=ID, handle={"region": "eu-north-1"})
    wire.on("DescribeInstances", described(instance(tags=OURS)), NOT_FOUND)
    found = await aws.find(known)
    assert found is not None
    assert found.phase is Phase.PENDING
    asked = wire.of("DescribeInstances")[0]
    assert (asked.params["InstanceId.1"], asked.region) == (ID, "eu-north-1")
    assert "MaxResults" not in asked.params  # refused beside ids
    assert await aws.find(known) is None


async def test_somebody_elses_machine_with_our_token_is_not_ours(aws: Aws, wire: Wire, attempt: AttemptRef) -> None:
    wire.on("DescribeInstances", described(instance(tags=tag_set(orch_owner=OTHER_OWNER))))
    assert await aws.find(attempt) is None


async def test_of_two_with_one_token_the_living_one_counts(aws: Aws, wire: Wire, attempt: AttemptRef) -> None:
    dead = instance("i-dead", "terminated", launched="2026-11-22T12:05:00.000Z")
    wire.on("DescribeInstances", described(dead, instance("i-live", "running", tags=OURS)))
    found = await aws.find(attempt)
    assert found is not None
    assert found.id == "i-live"


STATES = [
    ("pending", None, Phase.PENDING, None),
    ("running", None, Phase.RUNNING, None),
    ("shutting-down", ("Client.UserInitiatedShutdown", "x"), Phase.STOPPING, None),
    ("terminated", ("Client.UserInitiatedShutdown", "x"), Phase.GONE, None),
    ("terminated", ("Client.InstanceInitiatedShutdown", "x"), Phase.GONE, None),
    ("terminated", None, Phase.GONE, None),
    ("terminated", ("Server.InsufficientInstanceCapacity", "full"), Phase.FAILED, errors.NoCapacity),
    ("terminated", ("Server.SpotInstanceTermination", "spot"), Phase.FAILED, errors.NoCapacity),
    ("shutting-down", ("Server.InternalError", "broken"), Phase.FAILED, errors.BootFailed),
    ("terminated", ("Client.VolumeLimitExceeded", "disks"), Phase.FAILED, errors.QuotaExceeded),
    ("stopping", None, Phase.STOPPING, None),
    ("stopped", ("Client.UserInitiatedShutdown", "x"), Phase.FAILED, errors.BootFailed),
    ("levitating", None, Phase.UNKNOWN, None),
]


@pytest.mark.parametrize(("state", "reason", "phase", "failure"), STATES)
async def test_every_state_has_its_phase_and_its_reason(
    state: str,
    reason: tuple[str, str] | None,
    phase: Phase,
    failure: type[errors.ProviderError] | None,
    aws: Aws,
    wire: Wire,
    attempt: AttemptRef,
) -> None:
    wire.on("DescribeInstances", described(instance(state=state, reason=reason, tags=OURS)))
    found = await aws.find(attempt)
    assert found is not None
    assert found.phase is phase
    assert type(found.failure) is (failure or type(None))
    assert found.address is None


async def test_only_machines_with_the_full_owner_id_are_owned_in_every_searched_region(
    context: Context, wire: Wire
) -> None:
    def by_region(asked: Asked) -> Answer:
        if asked.region == "us-east-1":
            return described(instance("i-1", "running", tags=OURS), instance("i-x", tags=tag_set(Name=TOKEN)))
        near = OWNER[:12] + "0" * 20
        return described(instance("i-2", "stopped", tags=OURS), instance("i-y", tags=tag_set(orch_owner=near)))

    wire.on("DescribeInstances", by_region)
    settings = {**context.settings, "ORCH_AWS_REGIONS": "us-east-1 eu-north-1"}
    aws = Aws(Context(env=context.env, settings=settings, owner=OWNER))
    try:
        owned = await aws.owned()
    finally:
        await aws.aclose()
    assert [(one.id, one.handle["region"], one.token) for one in owned] == [
        ("i-1", "us-east-1", TOKEN),
        ("i-2", "eu-north-1", TOKEN),
    ]
    asked = wire.of("DescribeInstances")[0].params
    assert (asked["Filter.1.Name"], asked["Filter.1.Value.1"]) == ("tag:orch-owner", OWNER)


@pytest.mark.parametrize(
    ("bad", "everywhere", "expected"),
    [
        (refused("InternalError", 500), False, errors.Unavailable),
        (refused("UnauthorizedOperation", 403), False, errors.Forbidden),
        (refused("AuthFailure", 401), True, errors.AuthFailed),
        (refused("AuthFailure", 401), False, None),  # that region is not enabled: nothing can be there
    ],
)
async def test_one_region_that_cannot_be_read_fails_the_whole_listing(
    bad: Answer, everywhere: bool, expected: type[errors.ProviderError] | None, context: Context, wire: Wire
) -> None:
    good = described(instance("i-1", "running", tags=OURS))
    wire.on("DescribeInstances", lambda asked: good if asked.region == "us-east-1" and not everywhere else bad)
    settings = {**context.settings, "ORCH_AWS_REGIONS": "us-east-1 eu-north-1"}
    aws = Aws(Context(env=context.env, settings=settings, owner=OWNER))
    try:
        if expected is None:
            assert [one.id for one in await aws.owned()] == ["i-1"]
        else:
            with pytest.raises(expected):
                await aws.owned()
    finally:
        await aws.aclose()


async def test_the_token_of_a_machine_whose_tags_faded_is_read_from_its_client_token(
    aws: Aws, wire: Wire, attempt: AttemptRef
) -> None:
    wire.on("DescribeInstances", described(instance(state="terminated", token=f"{TOKEN}-us-east-1a")))
    found = await aws.find(attempt)
    assert found is not None
    assert (found.token, found.owner, found.phase) == (TOKEN, None, Phase.GONE)


# -- terminate --------------------------------------------------------------------------------------------


async def test_the_end_is_asked_for_looked_for_and_takes_the_group_along(
    aws: Aws, wire: Wire, machine: Instance
) -> None:
    wire.on(
        "DescribeInstances",
        described(instance(state="running")),
        described(instance(state="shutting-down")),
        described(instance(state="terminated")),
    )
    wire.on("TerminateInstances", terminating(ID, "shutting-down"))
    wire.on("DeleteSecurityGroup", xml("DeleteSecurityGroup", "<return>true</return>"))
    assert [await aws.terminate(machine) for _ in range(3)] == [False, False, True]
    assert len(wire.of("TerminateInstances")) == 1
    assert [one.params["GroupId"] for one in wire.of("DeleteSecurityGroup")] == ["sg-0b"]


async def test_a_group_that_others_use_does_not_hold_up_the_end(aws: Aws, wire: Wire, machine: Instance) -> None:
    wire.on("DescribeInstances", described(instance(state="terminated")))
    wire.on("DeleteSecurityGroup", refused("DependencyViolation", 400))
    assert await aws.terminate(machine)
    assert await aws.terminate(machine)


async def test_an_end_that_is_accepted_and_ignored_is_asked_for_again(aws: Aws, wire: Wire, machine: Instance) -> None:
    wire.on("DescribeInstances", described(instance(state="running")))
    wire.on("TerminateInstances", terminating(ID, "running"))
    assert [await aws.terminate(machine) for _ in range(3)] == [False] * 3
    assert len(wire.of("TerminateInstances")) == 3


async def test_a_machine_that_was_not_seen_yet_is_not_called_gone(
    aws: Aws, wire: Wire, machine: Instance, env: ManualEnv
) -> None:
    wire.on("DescribeInstances", NOT_FOUND)
    wire.on("TerminateInstances", NOT_FOUND)
    wire.on("DeleteSecurityGroup", refused("InvalidGroup.NotFound", 400))
    assert not await aws.terminate(machine)
    env.advance(299)
    assert not await aws.terminate(machine)
    env.advance(2)
    assert await aws.terminate(machine)


async def test_a_machine_that_only_describe_does_not_know_yet_is_ended_all_the_same(
    aws: Aws, wire: Wire, machine: Instance
) -> None:
    wire.on("DescribeInstances", NOT_FOUND)
    wire.on("TerminateInstances", terminating(ID, "shutting-down"))
    assert not await aws.terminate(machine)
    assert wire.of("TerminateInstances")


async def test_under_another_account_not_finding_proves_nothing(
    aws: Aws, wire: Wire, machine: Instance, env: ManualEnv
) -> None:
    wire.on("GetCallerIdentity", identity("999999999999"))
    wire.on("DescribeInstances", NOT_FOUND)
    wire.on("TerminateInstances", NOT_FOUND)
    env.advance(3600)
    with pytest.raises(errors.Forbidden):
        await aws.terminate(machine)


@pytest.mark.parametrize("answer", [Answer(cut=True), Answer("<html/>"), refused("InternalError", 500), Answer("")])
async def test_an_end_that_could_not_be_asked_for_is_never_called_gone(
    answer: Answer, aws: Aws, wire: Wire, machine: Instance
) -> None:
    wire.on("DescribeInstances", described(instance(state="running")))
    wire.on("TerminateInstances", answer)
    with pytest.raises(errors.Unavailable):
        await aws.terminate(machine)
    wire.on("TerminateInstances", terminating("i-another", "terminated"))
    with pytest.raises(errors.Unavailable):
        await aws.terminate(machine)


# -- account, check, settings -----------------------------------------------------------------------------


async def test_the_account_is_awss_own_number(aws: Aws, wire: Wire) -> None:
    assert await aws.account() == await aws.account() == ACCOUNT
    assert len(wire.of("GetCallerIdentity")) == 1


async def test_the_check_shows_rights_and_quotas_and_no_secret(aws: Aws, wire: Wire) -> None:
    wire.on("GetParameter", said({"Parameter": {"Value": "ami-0abc12345"}}))
    wire.on("RunInstances", refused("DryRunOperation", 412, "Request would have succeeded"))
    quota = said({"Quota": {"Value": 96.0}})
    wire.on("GetServiceQuota", quota, quota, json_refused("NoSuchResourceException"))
    shown = await aws.check()
    assert shown["account"] == ACCOUNT
    assert shown["rights"] == "may rent in us-east-1"
    assert shown["quota G, on-demand"] == "96 G and VT vCPUs, on-demand in us-east-1"
    assert shown["quota G, spot"] == "unknown"
    assert wire.of("RunInstances")[0].params["DryRun"] == "true"
    assert not any(secret in value for secret in (SECRET, KEY_ID) for value in shown.values())
    wire.on("RunInstances", refused("UnauthorizedOperation", 403))
    assert "may not rent" in (await aws.check())["rights"]


async def test_without_credentials_every_call_says_so(context: Context) -> None:
    settings = {k: v for k, v in context.settings.items() if k not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    aws = Aws(Context(env=context.env, settings=settings, owner=OWNER))
    try:
        with pytest.raises(errors.AuthFailed) as caught:
            await aws.account()
        assert caught.value.code == "no-key"
    finally:
        await aws.aclose()


async def test_a_profile_of_the_shared_files_is_used_where_no_keys_are_set(
    context: Context, wire: Wire, tmp_path: Path
) -> None:
    (tmp_path / ".aws").mkdir()
    text = "[work]\naws_access_key_id = AKIAWORK\naws_secret_access_key = x\n"
    (tmp_path / ".aws" / "credentials").write_text(text)
    settings = {k: v for k, v in context.settings.items() if not k.startswith("AWS_")} | {"AWS_PROFILE": "work"}
    settings["AWS_EC2_METADATA_DISABLED"] = "true"
    aws = Aws(Context(env=context.env, settings=settings, owner=OWNER))
    try:
        assert await aws.account() == ACCOUNT
    finally:
        await aws.aclose()
    assert wire.asked[0].key_id == "AKIAWORK"
    assert credentials.source(settings) == "profile work"


async def test_keys_of_the_settings_win_over_the_real_environment(
    aws: Aws, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREAL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "real")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://192.0.2.1:1")
    await aws.account()
    assert wire.asked[0].key_id == KEY_ID


def test_a_missing_boto3_is_said_with_the_extra_that_brings_it(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "boto3" else find(name))
    with pytest.raises(credentials.MissingExtra, match=r"gpu-orch\[aws\]"):
        Aws(context)


def test_a_base_url_in_the_clear_is_refused(context: Context) -> None:
    settings = {**context.settings, "ORCH_AWS_URL": "http://example.com"}
    with pytest.raises(BadUrl):
        Aws(Context(env=context.env, settings=settings))


def test_the_regions_are_a_short_list_that_can_be_replaced() -> None:
    assert regions.searched({}) == regions.DEFAULT
    assert regions.home({}) == "us-east-1"
    assert regions.searched({"AWS_REGION": "eu-west-1"}) == ("eu-west-1", *regions.DEFAULT)
    assert regions.searched({"AWS_REGION": "us-west-2"})[:2] == ("us-west-2", "us-east-1")
    assert regions.home({"AWS_DEFAULT_REGION": "eu-west-1"}) == "eu-west-1"
    assert regions.searched({"ORCH_AWS_REGIONS": "eu-west-2, eu-west-1 eu-west-2", "AWS_REGION": "us-west-1"}) == (
        "eu-west-2",
        "eu-west-1",
    )
    assert [regions.country(name) for name in regions.DEFAULT] == ["US", "US", "US", "DE", "SE"]
    assert regions.country("xx-north-9") is None
    for setting in ("ORCH_AWS_REGIONS", "AWS_REGION"):
        with pytest.raises(regions.BadRegion, match=setting):
            regions.searched({setting: "evil.example.com"})


# -- the public price list --------------------------------------------------------------------------------

HEADER = (
    '"SKU","TermType","Unit","PricePerUnit","Currency","Instance Type","Tenancy","Operating System",'
    '"CapacityStatus","Pre Installed S/W","Region Code","MarketOption"'
)


def line(name: str, usd: str, os: str = "Linux", status: str = "Used", term: str = "OnDemand") -> str:
    cells = ["S", term, "Hrs", usd, "USD", name, "Shared", os, status, "NA", "us-east-1", "OnDemand"]
    return ",".join(f'"{cell}"' for cell in cells)


CSV = "\n".join(
    [
        *(f'"Disclaimer {n}","x"' for n in range(5)),
        HEADER,
        line("g6e.xlarge", "1.8610000000"),
        line("g6e.xlarge", "2.5", os="Windows"),
        line("g6e.xlarge", "0.0", status="AllocatedCapacityReservation"),
        line("g6e.xlarge", "0.9", term="Reserved"),
        line("m5.large", "0.096"),
        line("p6-b200.48xlarge", "113.9328"),
        "",
    ]
)
PATH = "/aws/offers/v1.0/aws/AmazonEC2/current/us-east-1/index.csv"


async def test_a_key_that_may_not_ask_for_prices_reads_the_public_list_once(
    aws: Aws, wire: Wire, attempt: AttemptRef
) -> None:
    wire.on("GetProducts", json_refused("AccessDeniedException", "not authorized to perform pricing:GetProducts"))
    rows = "<instanceType>g6e.xlarge</instanceType><location>us-east-1a</location>"
    sold = xml("DescribeInstanceTypeOfferings", items("instanceTypeOfferingSet", rows))
    wire.on("DescribeInstanceTypeOfferings", sold)
    wire.on(PATH, Answer(CSV))
    for _ in range(2):
        quote = await aws.price(attempt.offer)
        assert quote is not None
        assert quote.usd_per_hour == Decimal("1.861")
    assert len(wire.of(PATH)) == 1
    assert wire.of(PATH)[0].key_id == ""  # no credentials


async def test_a_read_of_the_public_list_stops_when_nobody_waits_any_more(wire: Wire) -> None:
    stop = threading.Event()
    stop.set()
    wire.on(PATH, Answer(CSV))
    with pytest.raises(errors.Unavailable, match="nobody waits"):
        await asyncio.to_thread(bulk.Bulk(ManualEnv(), wire.url)._read, "us-east-1", stop)


@pytest.mark.parametrize(
    "answer", [Answer("<html/>"), Answer("", 404), Answer(CSV, short=True), Answer(cut=True), Answer("")]
)
async def test_a_public_list_that_cannot_be_read_is_never_an_empty_one(answer: Answer, wire: Wire) -> None:
    wire.on(PATH, answer)
    with pytest.raises(errors.Unavailable):
        await bulk.Bulk(ManualEnv(), wire.url).hourly(["g6e.xlarge"], ["us-east-1"])


async def test_only_linux_on_demand_counts_in_the_public_list(wire: Wire) -> None:
    wire.on(PATH, Answer(CSV))
    found = await bulk.Bulk(ManualEnv(), wire.url).hourly(["g6e.xlarge", "p6-b200.48xlarge", "m5.large"], ["us-east-1"])
    assert found == {
        ("g6e.xlarge", "us-east-1"): Decimal("1.861"),
        ("p6-b200.48xlarge", "us-east-1"): Decimal("113.9328"),
    }
